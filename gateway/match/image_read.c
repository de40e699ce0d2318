#include "gateway/match/image_internal.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

/* A file being read. Every section lies inside it: checked once, by header_check(). */
struct reader {
	uint8_t *bytes; /* the table's, once there is one */
	struct image_header h;
	struct image_layout at;
	struct matcher *m;
	const char *why;
};

static int damaged(struct reader *r, const char *what)
{
	r->why = what;
	return -EBADMSG;
}

/* A version that is not ours is told by its number. The text is the thread's until it reads again.
 */
static int version_wrong(struct reader *r)
{
	static _Thread_local char why[80];

	(void)snprintf(why, sizeof why,
		"compiled in version %u of the format, but only %u can be read", r->h.version,
		(unsigned)IMAGE_VERSION);
	return damaged(r, why);
}

static int header_check(struct reader *r, size_t len)
{
	const struct image_header *h = &r->h;

	if (len < IMAGE_MAGIC_SIZE || memcmp(r->bytes, IMAGE_MAGIC, IMAGE_MAGIC_SIZE) != 0)
		return damaged(r, "no compiled list");
	if (len < IMAGE_HEADER_SIZE)
		return damaged(r, "a compiled list that is cut short");
	image_header_read(r->bytes, &r->h);
	if (h->version != IMAGE_VERSION)
		return version_wrong(r);
	if (h->size != len)
		return damaged(r, h->size > len ? "a compiled list that is cut short"
						: "a compiled list with something behind it");
	if (h->checksum != image_checksum(r->bytes, len))
		return damaged(r, "a damaged compiled list: its checksum is wrong");
	if (h->n_sources > IMAGE_PARTS_MAX || h->n_names > MATCHER_NAMES_MAX || h->bits < 1 ||
		h->bits > MATCHER_BITS_MAX || h->n_sets < 1 || h->n_sets > 1u << h->bits ||
		h->n_patterns > 2 * PATTERNS_MAX || (uint64_t)h->n_v4 + h->n_v6 > ADDRESSES_MAX)
		return damaged(r, "a damaged compiled list: its numbers cannot be");
	r->at = image_layout(h);
	if (r->at.end != len)
		return damaged(r, "a damaged compiled list: its sections do not fill it");
	return 0;
}

static int read_sets(struct reader *r)
{
	const struct image_header *h = &r->h;
	const uint8_t *starts = r->bytes + r->at.set_starts, *pool = r->bytes + r->at.elements;
	struct matcher_sets *s = &r->m->sets;

	s->starts = malloc(((size_t)h->n_sets + 1) * sizeof s->starts[0]);
	s->pool = malloc(((size_t)h->n_elements + 1) * sizeof s->pool[0]);
	if (!s->starts || !s->pool)
		return -ENOMEM;
	s->n = h->n_sets;
	for (uint32_t i = 0; i <= s->n; i++) {
		s->starts[i] = (uint32_t)image_get(starts + 4ULL * i, 4);
		/* The first set, and no other, is empty. */
		if (i < 2 ? s->starts[i] != 0 : s->starts[i] <= s->starts[i - 1])
			return damaged(r, "a damaged compiled list: its sets are out of order");
	}
	if (s->starts[s->n] != h->n_elements)
		return damaged(r, "a damaged compiled list: its sets are out of order");
	for (uint32_t set = 1; set < s->n; set++)
		for (uint32_t i = s->starts[set]; i < s->starts[set + 1]; i++) {
			uint16_t element = (uint16_t)image_get(pool + 2ULL * i, 2);

			if (matcher_element_source(element) >= h->n_sources ||
				matcher_element_kind(element) >= MATCHER_NAME_KINDS ||
				(i > s->starts[set] && element <= s->pool[i - 1]))
				return damaged(r, "a damaged compiled list: a set cannot be");
			s->pool[i] = element;
		}
	return 0;
}

/* The entries of one bucket: ascending, each with a set. */
static bool read_bucket(const struct reader *r, uint32_t from, uint32_t end)
{
	const struct matcher_table *t = &r->m->table;
	bool is_right = true;

	for (uint32_t i = from; i < end; i++) {
		uint64_t entry = le64toh(t->entries[i]);
		uint32_t set = matcher_entry_set(t, entry);

		is_right &= set > 0 && set < r->h.n_sets;
		is_right &= i == from || entry >> t->bits > t->entries[i - 1] >> t->bits;
		t->entries[i] = entry;
	}
	return is_right;
}

/* The table stays where it was read to: copying it would cost more than all that is looked at.
 * malloc() and the layout see to the alignment (image_internal.h). */
static int read_table(struct reader *r)
{
	struct matcher_table *t = &r->m->table;
	uint32_t buckets;

	t->bits = r->h.bits;
	t->n = r->h.n_names;
	t->entries = (uint64_t *)(void *)(r->bytes + r->at.entries);
	t->starts = (uint32_t *)(void *)(r->bytes + r->at.starts);
	buckets = 1u << t->bits;
	t->starts[0] = le32toh(t->starts[0]);
	if (t->starts[0] != 0)
		return damaged(r, "a damaged compiled list: its names are out of order");
	for (uint32_t i = 0; i < buckets; i++) {
		t->starts[i + 1] = le32toh(t->starts[i + 1]);
		if (t->starts[i + 1] < t->starts[i] || t->starts[i + 1] > t->n ||
			!read_bucket(r, t->starts[i], t->starts[i + 1]))
			return damaged(r, "a damaged compiled list: its names are out of order");
	}
	return t->starts[buckets] == t->n
		       ? 0
		       : damaged(r, "a damaged compiled list: its names are out of order");
}

static int read_counts(struct reader *r)
{
	const uint8_t *counts = r->bytes + r->at.counts;

	r->m->counts = calloc(r->h.n_sources + 1u, sizeof r->m->counts[0]);
	if (!r->m->counts)
		return -ENOMEM;
	for (uint32_t i = 0; i < r->h.n_sources; i++) {
		r->m->counts[i] = (uint32_t)image_get(counts + 4ULL * i, 4);
		if (r->m->counts[i] > MATCHER_NAMES_MAX)
			return damaged(r, "a damaged compiled list: its numbers cannot be");
	}
	return 0;
}

/* One pattern at bytes[*at]; moves behind it. */
static int read_pattern(struct reader *r, struct patterns_builder *b, uint64_t *at)
{
	const uint8_t *head = r->bytes + *at;
	uint64_t left = r->at.v4 - *at;
	uint32_t source, is_regexp, len;
	char why[64]; /* nobody asks */
	int err;

	if (left < IMAGE_PATTERN_HEAD)
		return damaged(r, "a damaged compiled list: a pattern cannot be");
	source = (uint32_t)image_get(head, 2);
	is_regexp = (uint32_t)image_get(head + 2, 2);
	len = (uint32_t)image_get(head + 4, 4);
	if (source >= r->h.n_sources || is_regexp > 1 || len > left - IMAGE_PATTERN_HEAD)
		return damaged(r, "a damaged compiled list: a pattern cannot be");
	*at += IMAGE_PATTERN_HEAD;
	if (is_regexp)
		err = patterns_builder_add_regexp(
			b, source, (const char *)r->bytes + *at, len, why, sizeof why);
	else
		err = patterns_builder_add_keyword(b, source, (const char *)r->bytes + *at, len);
	*at += len;
	return !err || err == -ENOMEM ? err
				      : damaged(r, "a compiled list with a pattern that is none");
}

static int read_patterns(struct reader *r)
{
	struct patterns_builder *b;
	uint64_t at = r->at.patterns;
	int err;

	if (r->h.n_patterns == 0 && at == r->at.v4)
		return 0;
	err = patterns_builder_new(&b);
	if (err)
		return err;
	for (uint32_t i = 0; i < r->h.n_patterns && !err; i++)
		err = read_pattern(r, b, &at);
	if (!err && at != r->at.v4)
		err = damaged(r, "a damaged compiled list: a pattern cannot be");
	if (!err)
		err = matcher_take_patterns(r->m, &b);
	patterns_builder_free(b);
	return err;
}

static int read_matcher(struct reader *r)
{
	struct matcher *m = r->m;
	int err;

	m->key = MATCHER_IMAGE_KEY;
	m->n_sources = r->h.n_sources;
	m->n_words = (m->n_sources + 63) / 64;
	memcpy(m->depths, r->h.depths, sizeof m->depths);
	m->deepest = matcher_deepest(m->depths);
	err = read_sets(r);
	if (!err)
		err = read_table(r);
	if (!err)
		err = read_counts(r);
	return err ? err : read_patterns(r);
}

/* Is `next` behind `before`, in the order of addresses, a shorter one first? */
static bool is_ascending(const struct ip_prefix *before, const struct ip_prefix *next)
{
	int order = memcmp(before->addr.b, next->addr.b, sizeof next->addr.b);

	return order < 0 || (order == 0 && before->len < next->len);
}

/* No bits behind its length; and no IPv6 address that means an IPv4 one (gateway/base/addr.h). */
static bool is_prefix(const struct ip_prefix *p)
{
	static const uint8_t mapped[12] = {[10] = 0xff, [11] = 0xff};
	size_t size = ip_addr_size(&p->addr);

	if (p->len > 8 * size)
		return false;
	for (size_t bit = p->len; bit < 8 * size; bit++)
		if (p->addr.b[bit / 8] & 0x80 >> bit % 8)
			return false;
	return p->addr.family == IP_V4 || p->len < 96 ||
	       memcmp(p->addr.b, mapped, sizeof mapped) != 0;
}

static int read_prefixes(struct reader *r, struct addresses_builder *b, enum ip_family family)
{
	const uint8_t *at = r->bytes + (family == IP_V4 ? r->at.v4 : r->at.v6);
	uint32_t n = family == IP_V4 ? r->h.n_v4 : r->h.n_v6;
	struct ip_prefix p, before;
	int err = 0;

	for (uint32_t i = 0; i < n && !err; i++, before = p) {
		p = (struct ip_prefix){.addr.family = (uint8_t)family, .len = *at++};
		memcpy(p.addr.b, at, ip_addr_size(&p.addr));
		at += ip_addr_size(&p.addr);
		if (!is_prefix(&p) || (i > 0 && !is_ascending(&before, &p)))
			return damaged(r, "a damaged compiled list: a prefix cannot be");
		err = addresses_builder_add(b, 0, &p);
	}
	return err;
}

static int read_addresses(struct reader *r, struct addresses **ret)
{
	struct addresses_builder *b;
	int err = addresses_builder_new(&b);

	if (err)
		return err;
	err = read_prefixes(r, b, IP_V4);
	if (!err)
		err = read_prefixes(r, b, IP_V6);
	if (!err)
		err = addresses_builder_finish(b, NULL, ret);
	if (err)
		addresses_builder_free(b);
	return err;
}

int image_take(uint8_t *bytes, size_t len, struct image *ret, const char **ret_why)
{
	struct reader r = {.bytes = bytes};
	struct addresses *addresses = NULL;
	int err = header_check(&r, len);

	if (!err) {
		r.m = calloc(1, sizeof *r.m);
		err = r.m ? 0 : -ENOMEM;
	}
	if (err) {
		free(bytes);
	} else {
		r.m->table.file = bytes;
		err = read_matcher(&r);
		if (!err)
			err = read_addresses(&r, &addresses);
	}
	if (err) {
		matcher_free(r.m);
		if (err == -EBADMSG)
			*ret_why = r.why;
		return err;
	}
	*ret = (struct image){r.m, addresses};
	return 0;
}
