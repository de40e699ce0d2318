/* Look-up: from the root down to the closest encloser of a name, then its own records or those of
 * the wildcard there (RFC 4592 3.3.1). */
#include "gateway/policy/records_internal.h"

#include <stdlib.h>

#define LABELS_MAX 128

struct records *records_ref(struct records *r)
{
	if (r)
		atomic_fetch_add_explicit(&r->refs, 1, memory_order_relaxed);
	return r;
}

void records_unref(struct records *r)
{
	if (!r || atomic_fetch_sub_explicit(&r->refs, 1, memory_order_acq_rel) != 1)
		return;
	free(r->nodes);
	free(r->slots);
	addresses_free(r->lines);
	free(r);
}

size_t records_count(const struct records *r)
{
	return r ? r->n_records : 0;
}

/* --- nodes --- */

static unsigned node_records(const uint8_t *node)
{
	uint16_t n;

	memcpy(&n, node + 2, sizeof n);
	return n;
}

static const uint8_t *node_first(const uint8_t *node)
{
	return node + NODE_HEAD + node[0];
}

/* What one record says. */
struct entry {
	struct record record;
	uint64_t lines; /* all bits: for everybody */
	bool deny;
};

/* Reads the record at p, returns where the next one is. */
static const uint8_t *entry_read(const uint8_t *p, struct entry *ret)
{
	uint16_t len;
	uint8_t flags;

	memcpy(&ret->record.type, p, 2);
	memcpy(&len, p + 2, 2);
	memcpy(&ret->record.ttl_s, p + 4, 4);
	flags = p[8];
	p += RECORD_HEAD;
	ret->lines = RECORDS_ALL_LINES;
	ret->deny = flags & RECORD_DENY;
	if (flags & RECORD_LINES) {
		memcpy(&ret->lines, p, 8);
		p += 8;
	}
	ret->record.rdata = p;
	ret->record.len = len;
	return p + len;
}

/* The first node of this hash; 0: none. */
static uint32_t slot_find(const struct records *r, uint64_t hash)
{
	uint32_t tag = records_tag(hash), i = records_slot_of(tag, r->n_slots);

	while (r->slots[i].at && r->slots[i].tag != tag)
		i = i + 1 == r->n_slots ? 0 : i + 1;
	return r->slots[i].at;
}

/* The node of this hash with the name: the label at `label` and what is at `behind`. */
static const uint8_t *node_exactly(const struct records *r, uint64_t hash, const uint8_t *label,
	const uint8_t *behind, size_t behind_len)
{
	uint32_t tag = records_tag(hash), i = records_slot_of(tag, r->n_slots);
	size_t first = *label + 1u;

	for (; r->slots[i].at; i = i + 1 == r->n_slots ? 0 : i + 1) {
		const uint8_t *node = r->nodes + r->slots[i].at;

		if (r->slots[i].tag == tag && node[0] == first + behind_len &&
			memcmp(node + NODE_HEAD, label, first) == 0 &&
			memcmp(node + NODE_HEAD + first, behind, behind_len) == 0)
			return node;
	}
	return NULL;
}

/* A walk from the root to the closest encloser. */
struct walk {
	const struct dns_name *name;
	uint8_t start[LABELS_MAX];
	unsigned labels, depth; /* depth: of the node that was reached */
	uint64_t hash;
	const uint8_t *node;
};

/* By hashes alone: no node is touched but the last one, whose name says whether all was right, as
 * a node's ancestors are all there. */
static bool walk_quickly(const struct records *r, struct walk *w)
{
	uint32_t last = 0, at;
	size_t suffix;

	for (w->depth = 0; w->depth < w->labels; w->depth++) {
		uint64_t hash =
			records_hash_label(w->hash, w->name->b, w->start[w->labels - w->depth - 1]);

		at = slot_find(r, hash);
		if (!at)
			break;
		last = at;
		w->hash = hash;
	}
	w->node = r->nodes + last;
	if (w->depth == 0 || (w->depth < w->labels && !r->wildcards))
		return true;
	suffix = w->start[w->labels - w->depth];
	return w->node[0] == w->name->len - suffix &&
	       memcmp(w->node + NODE_HEAD, w->name->b + suffix, w->node[0]) == 0;
}

/* Step by step, once two names have one tag. */
static void walk_carefully(const struct records *r, struct walk *w)
{
	w->node = r->nodes;
	w->hash = 0;
	for (w->depth = 0; w->depth < w->labels; w->depth++) {
		size_t at = w->start[w->labels - w->depth - 1];
		uint64_t hash = records_hash_label(w->hash, w->name->b, at);
		const uint8_t *node =
			node_exactly(r, hash, w->name->b + at, w->node + NODE_HEAD, w->node[0]);

		if (!node)
			break;
		w->node = node;
		w->hash = hash;
	}
}

/* The node of the name itself, that of the wildcard that makes it up, or NULL. */
static const uint8_t *node_find(const struct records *r, const struct dns_name *name, bool exactly)
{
	struct walk w; /* large: start is not cleared */

	w.name = name;
	w.hash = 0;
	w.labels = 0;
	for (size_t at = 0; name->b[at]; at += name->b[at] + 1u)
		w.start[w.labels++] = (uint8_t)at;
	if (!walk_quickly(r, &w))
		walk_carefully(r, &w);
	if (w.depth == w.labels)
		return w.node;
	if (exactly || !r->wildcards || !(w.node[1] & NODE_WILDCARD))
		return NULL;
	return node_exactly(r, records_hash_wildcard(w.hash), (const uint8_t *)"\1*",
		w.node + NODE_HEAD, w.node[0]);
}

bool records_hold(const struct records *r, const struct dns_name *name)
{
	return r && r->n_records > 0 && node_find(r, name, true) != NULL;
}

/* --- answers --- */

/* The lines whose records this client gets. */
static uint64_t lines_of(const struct records *r, const struct ip_addr *client)
{
	uint64_t lines = 0;
	size_t n = 0;

	if (r->lines && client && client->family != IP_NONE) {
		const uint16_t *ids = addresses_find(r->lines, client, &n);

		for (size_t i = 0; i < n; i++)
			lines |= 1ULL << ids[i];
	}
	if (lines == 0 && !r->no_line_none)
		return RECORDS_ALL_LINES;
	return lines;
}

/* What a node has for a question. */
struct seen {
	bool type, cname, any; /* that the client gets */
	bool hidden;	       /* of the type, that it does not get */
	bool deny, deny_type;  /* everything; or this type */
};

static bool is_for(const struct entry *e, uint64_t lines)
{
	return e->lines == RECORDS_ALL_LINES || (e->lines & lines);
}

static struct seen node_look(const uint8_t *node, uint16_t type, uint64_t lines)
{
	const uint8_t *p = node_first(node);
	struct seen seen = {0};

	for (unsigned n = node_records(node); n > 0; n--) {
		struct entry e;
		bool visible, same;

		p = entry_read(p, &e);
		visible = is_for(&e, lines);
		same = e.record.type == type;
		if (e.deny) {
			seen.deny |= visible && e.record.type == 0;
			seen.deny_type |= visible && (same || type == DNS_ANY);
		} else if (visible) {
			seen.any = true;
			seen.type |= same;
			seen.cname |= e.record.type == DNS_CNAME;
		} else {
			seen.hidden |= same || type == DNS_ANY;
		}
	}
	return seen;
}

/* All for ANY, but of CNAMEs (each of other lines) the first. */
static void node_visit(
	const uint8_t *node, uint16_t type, uint64_t lines, records_visit *visit, void *arg)
{
	const uint8_t *p = node_first(node);
	bool cname = false;

	for (unsigned n = node_records(node); n > 0; n--) {
		struct entry e;

		p = entry_read(p, &e);
		if (e.deny || !is_for(&e, lines) || (type != DNS_ANY && e.record.type != type) ||
			(e.record.type == DNS_CNAME && cname))
			continue;
		cname |= e.record.type == DNS_CNAME;
		visit(arg, &e.record);
	}
}

static bool is_address_type(uint16_t type)
{
	return type == DNS_A || type == DNS_AAAA || type == DNS_SVCB || type == DNS_HTTPS;
}

/* What a record of the type itself says goes before a CNAME: both are there only if they are for
 * different lines. */
static enum records_result node_answer(const uint8_t *node, uint16_t type, uint64_t lines,
	bool whole, records_visit *visit, void *arg)
{
	struct seen seen = node_look(node, type, lines);
	bool found = type == DNS_ANY ? seen.any : seen.type || seen.cname;

	if (seen.deny || (seen.deny_type && (type != DNS_ANY || !found)))
		return RECORDS_DENY;
	if (found) {
		node_visit(
			node, type == DNS_ANY || seen.type ? type : DNS_CNAME, lines, visit, arg);
		return RECORDS_FOUND;
	}
	if (seen.hidden)
		return RECORDS_NODATA;
	if (node[1] & NODE_OURS && (whole || is_address_type(type) || type == DNS_ANY))
		return RECORDS_NODATA;
	return RECORDS_PASS;
}

enum records_result records_find(const struct records *r, const struct dns_name *name,
	uint16_t type, const struct ip_addr *client, records_visit *visit, void *arg)
{
	const uint8_t *node;
	uint64_t lines;

	if (!r || r->n_records == 0)
		return RECORDS_NONE;
	node = node_find(r, name, false);
	if (!node || node_records(node) == 0)
		return RECORDS_NONE;
	lines = node[1] & NODE_LINES ? lines_of(r, client) : RECORDS_ALL_LINES;
	return node_answer(node, type, lines, r->whole, visit, arg);
}

enum records_result records_rule_find(
	const struct records *r, uint16_t type, records_visit *visit, void *arg)
{
	enum records_result result;

	if (!r || r->n_records == 0)
		return RECORDS_NONE;
	result = node_answer(r->nodes, type, RECORDS_ALL_LINES, true, visit, arg);
	return result == RECORDS_PASS ? RECORDS_NODATA : result;
}
