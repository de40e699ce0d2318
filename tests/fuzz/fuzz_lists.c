/* Lists come from strangers. Whatever the bytes, in whatever format: no harm, entries that are what
 * they say, one error told exactly if there is one, the same result again. The first byte chooses
 * the format. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "gateway/lists/lists.h"

#define PATH "/nonexistent/f" /* includes find nothing beside it */

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct result {
	int err;
	unsigned entries, errors, told;
	uint64_t sum;
	struct list_counts counts;
};

static void check(bool good)
{
	if (!good)
		abort();
}

static void name_check(const struct dns_name *name)
{
	unsigned at = 0, labels = 0;

	for (; at < name->len && name->b[at]; labels++)
		at += name->b[at] + 1u;
	check(at + 1 == name->len && labels == name->labels);
	for (at = 0; at < name->len; at++)
		check(name->b[at] < 'A' || name->b[at] > 'Z');
}

static int entry_check(void *arg, const struct list_entry *e, const char **ret_why)
{
	struct result *r = arg;
	char text[IP_TEXT_MAX];
	struct ip_prefix again;

	r->entries++;
	check(e->part < LIST_PARTS && !*ret_why && strcmp(e->path, PATH) == 0);
	for (size_t i = 0; i < e->text_len; i++)
		r->sum = r->sum * 31 + (uint8_t)e->text[i];
	switch (e->is) {
	case LIST_ENTRY_NAME:
		check(e->kind < MATCHER_NAME_KINDS);
		name_check(e->name);
		break;
	case LIST_ENTRY_PREFIX:
		check(e->part == LIST_HOLDS);
		check(ip_prefix_parse(ip_prefix_format(e->prefix, text), &again) == 0);
		check(again.len == e->prefix->len && ip_addr_equal(&again.addr, &e->prefix->addr));
		break;
	default:
		check(e->pattern_len > 0);
		for (size_t i = 0; i < e->pattern_len; i++)
			r->sum = r->sum * 31 + (uint8_t)e->pattern[i];
	}
	return 0;
}

static int prefix_count(void *arg, unsigned list, const struct ip_prefix *prefix)
{
	struct result *r = arg;

	check(list == 0 && prefix->len <= ip_addr_size(&prefix->addr) * 8);
	r->entries++;
	return 0;
}

static int image_check(void *arg, struct image *image)
{
	struct result *r = arg;

	for (unsigned part = 0; part < LIST_PARTS; part++)
		r->entries += (unsigned)matcher_count(image->matcher, part);
	return addresses_each(image->addresses, prefix_count, r);
}

static void complain_count(void *arg, bool is_error, const char *text)
{
	struct result *r = arg;

	r->told++;
	r->errors += is_error;
	check(strncmp(text, PATH ":", sizeof PATH) == 0 && strstr(text, ": k: "));
}

static void read_once(struct result *r, enum list_format format, const char *text, size_t len)
{
	const struct list_sink sink = {
		.arg = r, .entry = entry_check, .image = image_check, .complain = complain_count};
	const struct list_source source = {.path = PATH,
		.key = "k",
		.format = format,
		.tag = format == LIST_GEOSITE || format == LIST_GEOIP ? "cn" : NULL};

	r->err = list_read_text(&source, text, len, &sink, &r->counts);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct result r = {.err = 0}, again = {.err = 0};

	if (size < 1)
		return 0;
	read_once(&r, data[0] % LIST_FORMATS, (const char *)data + 1, size - 1);
	read_once(&again, data[0] % LIST_FORMATS, (const char *)data + 1, size - 1);
	check(r.err == again.err && r.sum == again.sum && r.told == again.told);
	check(r.err == 0 || r.err == -EBADMSG || r.err == -EFBIG);
	check(r.errors == (r.err == -EBADMSG));
	if (!r.err)
		check(r.counts.entries <= r.entries && r.counts.skipped <= r.counts.lines);
	return 0;
}
