/* compile: makes one list of many, in the form that is read as it is (gateway/match/image.h). */
#include "gateway/cmd.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "conf/list_path.h"
#include "gateway/lists/list_build.h"

struct compile {
	const struct cmd_args *args;
	enum list_format format;
	struct matcher_builder *names;
	struct addresses_builder *addresses;
	struct list_build build;
	struct list_counts counts; /* of all files */
	struct matcher *m;
	struct addresses *a;
	size_t n_prefixes;
};

static int failed(const char *what, const char *why)
{
	fprintf(stderr, "tungate: %s: %s\n", what, why);
	return CMD_FAILED;
}

static int wrong_usage(const char *what, const char *why)
{
	fprintf(stderr, "tungate: %s: %s\n", what, why);
	return CMD_USAGE;
}

/* The image's sources are the parts of one list. */
static int part_source(void *arg, enum list_part part)
{
	(void)arg;
	return (int)part;
}

static void complain(void *arg, bool is_error, const char *text)
{
	(void)arg;
	(void)is_error; /* it is in the text */
	fprintf(stderr, "%s\n", text);
}

static const char *reason(int err)
{
	switch (err) {
	case -EFBIG:
		return "it is too large";
	case -ENOSPC:
		return "too many names, prefixes or patterns in all lists";
	case -EINVAL:
		return "it is neither a file nor a link to one";
	default:
		return strerror(-err);
	}
}

static int list_add(struct compile *c, const char *word)
{
	static const struct list_sink tell = {.complain = complain};
	struct conf_list_path at;
	const char *why;
	struct list_counts counts;
	struct list_source source = {.path = at.path, .key = "compile", .format = c->format};
	struct list_sink sink = list_build_sink(&c->build);
	int err;

	if (conf_list_path_split(word, (int)c->format, &at, &why) ||
		conf_list_tag_check((int)c->format, *at.tag, *at.attribute, &why))
		return wrong_usage(word, why);
	source.tag = *at.tag ? at.tag : NULL;
	source.attribute = *at.attribute ? at.attribute : NULL;
	c->build.tell = &tell;
	err = list_read(&source, &sink, &counts, NULL);
	if (err == -EBADMSG) /* it is told */
		return CMD_FAILED;
	if (err)
		return failed(word, reason(err));
	c->counts.lines += counts.lines;
	c->counts.entries += counts.entries;
	c->counts.skipped += counts.skipped;
	c->counts.unused += counts.unused;
	return CMD_DONE;
}

/* Ends both builders. */
static int lists_finish(struct compile *c)
{
	int err = matcher_builder_finish(c->names, &c->m);

	if (err)
		return err;
	c->names = NULL;
	err = addresses_builder_finish(c->addresses, &c->n_prefixes, &c->a);
	if (!err)
		c->addresses = NULL;
	return err;
}

struct numbers {
	size_t names, kept, keywords, regexps;
	uint64_t bytes;
	double bytes_a_name;
};

static struct numbers numbers_of(const struct compile *c)
{
	struct numbers n = {.kept = matcher_names(c->m)};
	struct list_stamp stamp;

	for (unsigned part = 0; part < LIST_PARTS; part++)
		n.names += matcher_count(c->m, part);
	matcher_patterns_count(c->m, &n.keywords, &n.regexps);
	n.names -= n.keywords + n.regexps;
	(void)list_stamp_read(c->args->output, &stamp);
	n.bytes = stamp.size;
	n.bytes_a_name = n.names ? (double)n.bytes / (double)n.names : 0;
	return n;
}

static void print_json(const struct compile *c, const struct numbers *n)
{
	printf("{\"names\":%zu,\"names_kept\":%zu,\"keywords\":%zu,\"regexps\":%zu,"
	       "\"prefixes\":%zu,\"lines\":%u,\"skipped\":%u,\"unused\":%u,\"bytes\":%" PRIu64
	       ",\"bytes_per_name\":%.2f}\n",
		n->names, n->kept, n->keywords, n->regexps, c->n_prefixes, c->counts.lines,
		c->counts.skipped, c->counts.unused, n->bytes, n->bytes_a_name);
}

static void print_text(const struct compile *c, const struct numbers *n)
{
	printf("names        %zu", n->names);
	if (n->kept < n->names)
		printf(", of which %zu are kept: they hold the others", n->kept);
	printf("\nkeywords     %zu\nexpressions  %zu\nprefixes     %zu\n", n->keywords, n->regexps,
		c->n_prefixes);
	printf("skipped      %u\nunused       %u\n", c->counts.skipped, c->counts.unused);
	printf("bytes        %" PRIu64, n->bytes);
	if (n->names)
		printf(", %.2f a name", n->bytes_a_name);
	printf("\n");
}

static int compile(struct compile *c)
{
	struct numbers n;
	int err = matcher_builder_new(MATCHER_IMAGE_KEY, LIST_PARTS, &c->names);

	if (!err)
		err = addresses_builder_new(&c->addresses);
	if (err)
		return failed("compile", reason(err));
	list_build_init(&c->build, c->names, c->addresses);
	c->build.part_source = part_source;
	for (unsigned i = 0; i < c->args->n_words; i++) {
		int status = list_add(c, c->args->words[i]);

		if (status != CMD_DONE)
			return status;
	}
	err = lists_finish(c);
	if (err)
		return failed("compile", reason(err));
	err = image_write(c->args->output, c->m, c->a);
	if (err)
		return failed(c->args->output,
			err == -ENOTSUP ? "neither a file nor a link to one" : strerror(-err));
	n = numbers_of(c);
	if (c->args->given & CMD_JSON)
		print_json(c, &n);
	else
		print_text(c, &n);
	return CMD_DONE;
}

int cmd_compile(const struct cmd_args *a)
{
	struct compile c = {.args = a};
	int format = a->format ? conf_list_format_parse(a->format) : LIST_AUTO;
	int status;

	if (format < 0)
		return wrong_usage(a->format, "no such format; allowed: " CONF_LIST_FORMATS);
	if (!a->output || !*a->output)
		return wrong_usage("something is missing", "-o FILE");
	c.format = (enum list_format)format;
	status = compile(&c);
	matcher_builder_free(c.names);
	addresses_builder_free(c.addresses);
	list_build_fini(&c.build);
	matcher_free(c.m);
	addresses_free(c.a);
	return status;
}
