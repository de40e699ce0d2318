/* One list, from its path to the last entry. */
#include "gateway/lists/lists_internal.h"

#include <errno.h>

static const struct {
	list_line *line; /* of a text that is read line by line */
	list_pull *pull;
} formats[LIST_FORMATS] = {
	[LIST_PLAIN] = {.line = list_plain_line},
	[LIST_V2FLY] = {.line = list_v2fly_line},
	[LIST_GEOSITE] = {.pull = list_geosite_pull},
	[LIST_GEOIP] = {.pull = list_geoip_pull},
	[LIST_DNSMASQ] = {.line = list_dnsmasq_line},
	[LIST_HOSTS] = {.line = list_hosts_line},
	[LIST_ADBLOCK] = {.line = list_adblock_line},
	[LIST_GFWLIST] = {.pull = list_gfwlist_pull},
	[LIST_CLASH] = {.pull = list_clash_pull},
	[LIST_MRS] = {.pull = list_mrs_pull},
	[LIST_SRS] = {.pull = list_srs_pull},
	[LIST_SINGBOX] = {.pull = list_singbox_pull},
	[LIST_SMARTDNS] = {.line = list_smartdns_line},
	[LIST_RPZ] = {.pull = list_rpz_pull},
	[LIST_CIDR] = {.pull = list_cidr_pull},
	[LIST_COMPILED] = {.pull = list_compiled_pull},
};

int list_read_bytes(struct list_reader *r, struct list_bytes *in)
{
	int err = formats[r->format].line ? list_lines(r, in, formats[r->format].line)
					  : formats[r->format].pull(r, in);

	if (!err)
		err = list_file_end(r);
	if (err == -EBADMSG && !r->broken)
		err = list_broken(r, r->line, 1, "this %s file is damaged or ends early",
			list_format_name(r->format));
	return err;
}

static int format_of(const struct list_source *source, struct list_bytes *in, enum list_format *ret)
{
	const uint8_t *head;
	size_t len;
	int err;

	if (source->format != LIST_AUTO) {
		*ret = source->format;
		return 0;
	}
	err = list_bytes_peek(in, LIST_DETECT_BYTES, &head, &len);
	if (err)
		return err;
	*ret = list_detect_head(source->path, head, len);
	/* Bare names with a filter: a list in which nothing has an attribute just now. */
	if (*ret == LIST_PLAIN && source->attribute && !source->tag)
		*ret = LIST_V2FLY;
	return 0;
}

/* Where only the content tells the format, only now it is known whether it can be chosen from. */
static int choice_check(struct list_reader *r)
{
	const struct list_source *s = r->source;

	if (s->tag && r->format != LIST_GEOSITE && r->format != LIST_GEOIP)
		return list_broken(r, 0, 1,
			"the tag \"%s\" is asked for, but this is a %s file; allowed: geosite, "
			"geoip",
			s->tag, list_format_name(r->format));
	if (s->attribute && r->format != LIST_GEOSITE && r->format != LIST_V2FLY)
		return list_broken(r, 0, 1,
			"the attribute \"%s\" is asked for, but this is a %s file; allowed: "
			"geosite, v2fly",
			s->attribute, list_format_name(r->format));
	return 0;
}

/* Takes *in along: gunzip may come before it. */
static int read_all(const struct list_source *source, const struct list_sink *sink,
	struct list_bytes **in, const struct list_stamp *stamp, struct list_counts *ret_counts,
	enum list_format *ret_format)
{
	struct list_counts counts = {0};
	struct list_reader r = {
		.source = source,
		.path = source->path,
		.sink = sink,
		.format = LIST_PLAIN,
		.counts = &counts,
		.device = stamp->device,
		.inode = stamp->inode,
	};
	int err = list_bytes_look_through(in);

	if (!err)
		err = format_of(source, *in, &r.format);
	if (err == -EBADMSG)
		err = list_broken(&r, 0, 1, "what is packed in it is damaged or ends early");
	if (!err)
		err = choice_check(&r);
	if (!err)
		err = list_read_bytes(&r, *in);
	list_files_free(r.files);
	if (err)
		return err;
	if (ret_counts)
		*ret_counts = counts;
	if (ret_format)
		*ret_format = r.format;
	return 0;
}

int list_read(const struct list_source *source, const struct list_sink *sink,
	struct list_counts *ret_counts, enum list_format *ret_format)
{
	struct list_bytes *in = NULL;
	struct list_stamp stamp;
	int err = list_file_bytes(source->path, LIST_FILE_MAX, &in, &stamp);

	if (err)
		return err;
	if (sink->file)
		err = sink->file(sink->arg, source->path, &stamp);
	if (!err)
		err = read_all(source, sink, &in, &stamp, ret_counts, ret_format);
	list_bytes_free(in);
	return err;
}

int list_read_text(const struct list_source *source, const char *text, size_t len,
	const struct list_sink *sink, struct list_counts *ret_counts)
{
	static const struct list_stamp no_stamp;
	struct list_bytes *in = NULL;
	int err = list_bytes_memory(text, len, &in);

	if (!err)
		err = read_all(source, sink, &in, &no_stamp, ret_counts, NULL);
	list_bytes_free(in);
	return err;
}

int list_detect(const char *path, enum list_format *ret)
{
	const struct list_source source = {.path = path, .format = LIST_AUTO};
	struct list_bytes *in = NULL;
	struct list_stamp stamp;
	int err = list_file_bytes(path, LIST_FILE_MAX, &in, &stamp);

	if (err)
		return err;
	err = list_bytes_look_through(&in);
	if (!err)
		err = format_of(&source, in, ret);
	list_bytes_free(in);
	return err;
}
