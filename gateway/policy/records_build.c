/* The table of records: sorted by name, looked through name by name, written down.
 *
 * Names that are shorter come first, so a name's ancestors with records are there before it; those
 * without are made as empty nodes while it is added. */
#include "gateway/policy/records_internal.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "gateway/base/grow.h"

#define SLOTS_FIRST 64

struct build {
	struct records_reading *reading;
	struct records *r;
	size_t nodes_room;
	struct record_parsed **group; /* the records of one name that are kept */
};

/* --- what goes together --- */

static int parsed_compare(const void *a, const void *b)
{
	const struct record_parsed *p = a, *q = b;
	int order = (int)p->name_len - (int)q->name_len;

	if (!order)
		order = memcmp(p->name, q->name, p->name_len);
	return order ? order : p->order < q->order ? -1 : p->order > q->order;
}

static bool same_name(const struct record_parsed *a, const struct record_parsed *b)
{
	return a->name_len == b->name_len && memcmp(a->name, b->name, a->name_len) == 0;
}

static bool same_data(const struct record_parsed *a, const struct record_parsed *b)
{
	return a->type == b->type && a->deny == b->deny && a->len == b->len &&
	       (a->len == 0 || memcmp(a->rdata, b->rdata, a->len) == 0);
}

static struct records_source *source_of(
	const struct records_reading *reading, const struct record_parsed *p)
{
	int source = reading->origins[p->origin].source;

	return source < 0 ? NULL : &reading->sources[source];
}

static bool is_dropped(const struct records_reading *reading, const struct record_parsed *p)
{
	const struct records_source *source = source_of(reading, p);

	return source && source->dropped;
}

/* RFC 1034 3.6.2, for each set of lines on its own. */
static bool conflict(const struct record_parsed *a, const struct record_parsed *b)
{
	if (a->deny || b->deny || (a->type != DNS_CNAME && b->type != DNS_CNAME) || same_data(a, b))
		return false;
	return a->lines == b->lines || (a->lines & b->lines);
}

/* Of two that do not go together the pushed one goes, of two pushed ones the one that is tried. */
static void conflict_tell(struct records_reading *reading, const struct record_parsed *a,
	const struct record_parsed *b)
{
	const struct records_source *of_a = source_of(reading, a), *of_b = source_of(reading, b);
	const struct record_parsed *blamed = b;
	char name[DNS_NAME_TEXT_MAX];

	if (of_a && (!of_b || (of_a->trial && !of_b->trial)))
		blamed = a;
	records_bad_at(reading, blamed,
		"a CNAME stands beside other records of %s; allowed: one CNAME and nothing else",
		dns_name_format(blamed->name, name));
}

/* False: told. First of all, so that no file makes the pairs of a name too many to look at. */
static bool group_fits(struct records_reading *reading, size_t from, size_t end)
{
	const struct record_parsed *last = NULL;
	char name[DNS_NAME_TEXT_MAX];
	size_t n = 0;

	for (size_t i = from; i < end; i++)
		if (!is_dropped(reading, &reading->v[i])) {
			last = &reading->v[i];
			n++;
		}
	if (n <= RECORDS_NAME_MAX)
		return true;
	records_bad_at(reading, last, "too many records of %s; allowed: at most %u",
		dns_name_format(last->name, name), RECORDS_NAME_MAX);
	return false;
}

/* Once for each name. */
static void group_check(struct records_reading *reading, size_t from, size_t end)
{
	if (!group_fits(reading, from, end))
		return;
	for (size_t i = from; i < end; i++) {
		const struct record_parsed *a = &reading->v[i];

		if (a->type != DNS_CNAME || a->deny || is_dropped(reading, a))
			continue;
		for (size_t j = from; j < end; j++) {
			const struct record_parsed *b = &reading->v[j];

			if (j == i || is_dropped(reading, b) || !conflict(a, b))
				continue;
			conflict_tell(reading, j < i ? b : a, j < i ? a : b);
			return;
		}
	}
}

static size_t group_end(const struct records_reading *reading, size_t from)
{
	size_t end = from + 1;

	while (end < reading->n && same_name(&reading->v[from], &reading->v[end]))
		end++;
	return end;
}

/* A pushed source that is dropped may have been all that was wrong: then once more. */
static void all_check(struct records_reading *reading)
{
	size_t dropped = 0, before;

	do {
		before = dropped;
		for (size_t from = 0, end; from < reading->n; from = end) {
			end = group_end(reading, from);
			group_check(reading, from, end);
		}
		dropped = 0;
		for (size_t i = 0; i < reading->n_sources; i++)
			dropped += reading->sources[i].dropped;
	} while (reading->errors == 0 && dropped > before);
}

/* The records of one name that stay: without what is dropped, what is there twice (for the lines of
 * both), and what gives way. */
static size_t group_keep(struct build *b, size_t from, size_t end)
{
	struct records_reading *reading = b->reading;
	bool written = false;
	size_t n = 0;

	for (size_t i = from; i < end; i++)
		written |= reading->v[i].type == DNS_PTR && !reading->v[i].weak &&
			   !is_dropped(reading, &reading->v[i]);
	for (size_t i = from; i < end && n < RECORDS_NAME_MAX; i++) {
		struct record_parsed *p = &reading->v[i];
		size_t j = 0;

		if (is_dropped(reading, p) || (p->weak && written))
			continue;
		written |= p->weak; /* the first one */
		while (j < n && !same_data(b->group[j], p))
			j++;
		if (j < n)
			b->group[j]->lines =
				b->group[j]->lines && p->lines ? b->group[j]->lines | p->lines : 0;
		else
			b->group[n++] = p;
	}
	return n;
}

/* --- writing --- */

static void slot_put(struct records_slot *slots, uint32_t n_slots, struct records_slot slot)
{
	uint32_t i = records_slot_of(slot.tag, n_slots);

	while (slots[i].at)
		i = i + 1 == n_slots ? 0 : i + 1;
	slots[i] = slot;
}

static int slots_resize(struct records *r, uint32_t n_slots)
{
	struct records_slot *slots = calloc(n_slots, sizeof *slots);

	if (!slots)
		return -ENOMEM;
	for (uint32_t i = 0; i < r->n_slots; i++) {
		if (r->slots[i].at)
			slot_put(slots, n_slots, r->slots[i]);
	}
	free(r->slots);
	r->slots = slots;
	r->n_slots = n_slots;
	return 0;
}

static uint64_t hash_of(const uint8_t *name, size_t len)
{
	uint8_t b[DNS_NAME_MAX + 1] = {0}, start[DNS_NAME_MAX];
	uint64_t hash = 0;
	unsigned n = 0;

	memcpy(b, name, len);
	for (size_t at = 0; b[at]; at += b[at] + 1u)
		start[n++] = (uint8_t)at;
	while (n > 0)
		hash = records_hash_label(hash, b, start[--n]);
	return hash;
}

static int put(struct build *b, const void *bytes, size_t size)
{
	struct records *r = b->r;
	int err = 0;

	if (size > UINT32_MAX - r->nodes_size)
		return -EFBIG;
	err = room_grow((void **)&r->nodes, &b->nodes_room, r->nodes_size, size, 1);
	if (err)
		return err;
	if (size)
		memcpy(r->nodes + r->nodes_size, bytes, size);
	r->nodes_size += size;
	return 0;
}

/* Where the node of the name is; 0 also for the root; -ENOENT. */
static int64_t node_at(const struct records *r, const uint8_t *name, size_t len)
{
	uint32_t tag = records_tag(hash_of(name, len)), i;

	if (len == 1)
		return r->n_nodes > 0 ? 0 : -ENOENT;
	if (!r->slots)
		return -ENOENT;
	for (i = records_slot_of(tag, r->n_slots); r->slots[i].at;
		i = i + 1 == r->n_slots ? 0 : i + 1) {
		const uint8_t *node = r->nodes + r->slots[i].at;

		if (r->slots[i].tag == tag && node[0] == len &&
			memcmp(node + NODE_HEAD, name, len) == 0)
			return r->slots[i].at;
	}
	return -ENOENT;
}

static int node_begin(struct build *b, const uint8_t *name, size_t len, uint8_t flags, uint16_t n)
{
	const uint8_t head[2] = {(uint8_t)len, flags};
	struct records *r = b->r;
	size_t at = r->nodes_size;
	int err = 0;

	if (r->n_nodes >= (size_t)r->n_slots / 4 * 3)
		err = slots_resize(r, r->n_slots ? r->n_slots * 2 : SLOTS_FIRST);
	if (!err)
		err = put(b, head, sizeof head);
	if (!err)
		err = put(b, &n, sizeof n);
	if (!err)
		err = put(b, name, len);
	if (err)
		return err;
	if (at > 0)
		slot_put(r->slots, r->n_slots,
			(struct records_slot){records_tag(hash_of(name, len)), (uint32_t)at});
	r->n_nodes++;
	return 0;
}

static int record_put(struct build *b, const struct record_parsed *p)
{
	uint8_t flags = (uint8_t)((p->lines ? RECORD_LINES : 0) | (p->deny ? RECORD_DENY : 0));
	int err = put(b, &p->type, 2);

	if (!err)
		err = put(b, &p->len, 2);
	if (!err)
		err = put(b, &p->ttl_s, 4);
	if (!err)
		err = put(b, &flags, 1);
	if (!err && p->lines)
		err = put(b, &p->lines, 8);
	return err ? err : put(b, p->rdata, p->len);
}

static size_t name_size(const uint8_t *name)
{
	size_t size = 1;

	while (name[size - 1])
		size += name[size - 1] + 1u;
	return size;
}

/* The names above one that are not there yet; the root always is. */
static int ancestors_add(struct build *b, const uint8_t *name)
{
	const uint8_t *above = name + *name + 1, *parent = above;
	int64_t at;
	int err = 0;

	if (!*name)
		return 0;
	while (!err && node_at(b->r, parent, name_size(parent)) < 0) {
		err = node_begin(b, parent, name_size(parent), 0, 0);
		parent += *parent + 1;
	}
	if (err || name[0] != 1 || name[1] != '*')
		return err;
	at = node_at(b->r, above, name_size(above));
	if (at >= 0 && b->r->nodes) {
		b->r->nodes[at + 1] |= NODE_WILDCARD;
		b->r->wildcards = true;
	}
	return 0;
}

static int group_put(struct build *b, size_t n)
{
	const struct record_parsed *first = b->group[0];
	uint8_t flags = 0;
	int err;

	for (size_t i = 0; i < n; i++) {
		const struct record_parsed *p = b->group[i];

		if (!p->deny && (p->type == DNS_A || p->type == DNS_AAAA || p->type == DNS_CNAME))
			flags |= NODE_OURS;
		if (p->lines)
			flags |= NODE_LINES;
	}
	/* The root is the first node, whether it has records or not. */
	err = b->r->n_nodes == 0 && first->name_len > 1
		      ? node_begin(b, (const uint8_t *)"", 1, 0, 0)
		      : 0;
	if (!err)
		err = ancestors_add(b, first->name);
	if (!err)
		err = node_begin(b, first->name, first->name_len, flags, (uint16_t)n);
	for (size_t i = 0; i < n && !err; i++)
		err = record_put(b, b->group[i]);
	b->r->n_records += n;
	return err;
}

static int all_put(struct build *b)
{
	struct records_reading *reading = b->reading;
	struct records *r = b->r;
	int err = 0;

	for (size_t from = 0, end; from < reading->n && !err; from = end) {
		size_t n;

		end = group_end(reading, from);
		n = group_keep(b, from, end);
		if (n > 0)
			err = group_put(b, n);
	}
	if (err || r->n_nodes == 0)
		return err;
	/* Two slots for three: memory against a probe or two. */
	err = slots_resize(r, (uint32_t)(r->n_nodes + r->n_nodes / 2 + 1));
	if (!err) {
		uint8_t *fitting = realloc(r->nodes, r->nodes_size);

		r->nodes = fitting ? fitting : r->nodes;
	}
	return err;
}

int records_build(struct records_reading *reading, struct records **ret)
{
	struct build b = {.reading = reading, .r = calloc(1, sizeof *b.r)};
	int err = b.r ? 0 : -ENOMEM;

	if (err)
		return err;
	b.r->refs = 1;
	b.group = malloc(RECORDS_NAME_MAX * sizeof(struct record_parsed *));
	if (!b.group)
		err = -ENOMEM;
	if (reading->n > 1)
		qsort(reading->v, reading->n, sizeof reading->v[0], parsed_compare);
	if (!err)
		all_check(reading);
	if (!err && reading->errors == 0)
		err = all_put(&b);
	if (!err && reading->n_lines > 0) {
		err = addresses_builder_finish(reading->lines, NULL, &b.r->lines);
		if (!err)
			reading->lines = NULL;
	}
	free(b.group);
	if (err) {
		records_unref(b.r);
		return err;
	}
	*ret = b.r;
	return 0;
}
