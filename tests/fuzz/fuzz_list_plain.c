/* Lists come from strangers. Whatever the bytes: no harm, the same result however they are torn,
 * and a name or prefix that was read is found again. The first byte is the size of the pieces. */
#include <stdlib.h>
#include <string.h>

#include "gateway/match/addresses.h"
#include "gateway/lists/lists.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct result {
	struct matcher_builder *names;
	struct addresses_builder *addresses;
	struct dns_name last;
	struct ip_prefix last_prefix;
	int err;
	unsigned complaints, errors;
	struct list_counts counts;
};

static int entry_add(void *arg, const struct list_entry *entry)
{
	struct result *r = arg;

	if (entry->prefix) {
		r->last_prefix = *entry->prefix;
		return addresses_builder_add(r->addresses, 0, entry->prefix);
	}
	r->last = *entry->name;
	return matcher_builder_add(r->names, 0, entry->kind, entry->name, NULL);
}

static void complain_count(void *arg, bool is_error, const char *text)
{
	struct result *r = arg;

	r->complaints++;
	r->errors += is_error;
	if (strncmp(text, "f:", 2) != 0)
		abort();
}

static void read_all(struct result *r, const char *bytes, size_t size, size_t piece)
{
	const struct list_sink sink = {r, entry_add, complain_count};
	struct list_plain *reader;
	struct matcher *matcher;
	struct matcher_hits hits;
	struct addresses *addresses;
	size_t n;

	if (addresses_builder_new(&r->addresses) || matcher_builder_new(1, 1, &r->names) ||
		list_plain_new("f", "k", &sink, &reader))
		abort();
	for (size_t at = 0; at < size && !r->err; at += piece)
		r->err = list_plain_feed(reader, bytes + at, size - at < piece ? size - at : piece);
	if (!r->err)
		r->err = list_plain_end(reader, &r->counts);
	list_plain_free(reader);
	if (matcher_builder_finish(r->names, &matcher))
		abort();
	if (r->last.len > 0) {
		matcher_find(matcher, &r->last, &hits);
		if (!matcher_hits_has(&hits, 0))
			abort();
	}
	matcher_free(matcher);
	if (addresses_builder_finish(r->addresses, NULL, &addresses))
		abort();
	(void)addresses_find(addresses, &r->last_prefix.addr, &n);
	if (n != (r->last_prefix.addr.family != IP_NONE))
		abort();
	addresses_free(addresses);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct result whole = {.err = 0}, torn = {.err = 0};
	const char *bytes = (const char *)data + 1;

	if (size < 2)
		return 0;
	read_all(&whole, bytes, size - 1, size - 1);
	read_all(&torn, bytes, size - 1, data[0] % 16 + 1u);
	if (whole.err != torn.err || whole.complaints != torn.complaints ||
		whole.errors != torn.errors || (whole.err != 0) != (whole.errors != 0) ||
		whole.errors > 1 || memcmp(&whole.counts, &torn.counts, sizeof whole.counts) != 0)
		abort();
	return 0;
}
