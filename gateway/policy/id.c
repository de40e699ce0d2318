/* Ids that outlive a generation: of names, and of the views that `client` conditions make. They are
 * kept in files, so what is here must not change. */
#include "gateway/policy/policy_internal.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define FNV_START 0xcbf29ce484222325ULL /* FNV-1a, 64 bits */
#define FNV_PRIME 0x100000001b3ULL

static uint64_t id_add(uint64_t h, const char *text)
{
	for (; *text; text++)
		h = (h ^ (uint8_t)*text) * FNV_PRIME;
	return h;
}

/* Spreads over all bits, so that users may take any of them as a hash; 0 means none. */
static uint64_t id_end(uint64_t h)
{
	h = (h ^ h >> 30) * 0xbf58476d1ce4e5b9ULL;
	h = (h ^ h >> 27) * 0x94d049bb133111ebULL;
	h ^= h >> 31;
	return h ? h : 1;
}

uint64_t policy_id(const char *text)
{
	return text ? id_end(id_add(FNV_START, text)) : 0;
}

static int prefix_compare(const void *a, const void *b)
{
	const struct ip_prefix *p = a, *q = b;
	int order;

	if (p->addr.family != q->addr.family)
		return p->addr.family < q->addr.family ? -1 : 1;
	order = memcmp(p->addr.b, q->addr.b, sizeof p->addr.b);
	return order ? order : (int)p->len - (int)q->len;
}

size_t policy_clients_normalise(struct ip_prefix *v, size_t n)
{
	size_t kept = 0;

	if (n > 1)
		qsort(v, n, sizeof *v, prefix_compare);
	/* In this order a prefix comes right behind the one around it, or behind others inside that
	 * one. */
	for (size_t i = 0; i < n; i++) {
		if (kept > 0 && v[kept - 1].len <= v[i].len &&
			ip_prefix_contains(&v[kept - 1], &v[i].addr))
			continue;
		v[kept++] = v[i];
	}
	return kept;
}

/* The text of what a view was before there were other clients than prefixes is still the same. */
static uint64_t view_add(uint64_t h, const char *kind, const char *text)
{
	if (h != FNV_START)
		h = id_add(h, ",");
	return id_add(id_add(h, kind), text);
}

uint64_t policy_view_id(const struct policy_whom *w)
{
	uint64_t h = FNV_START;
	char text[IP_TEXT_MAX];

	for (size_t i = 0; i < w->n_prefixes; i++)
		h = view_add(h, "", ip_prefix_format(&w->prefixes[i], text));
	for (size_t i = 0; i < w->n_macs; i++) {
		const uint8_t *b = w->macs[i].b;

		(void)snprintf(text, sizeof text, "%02x%02x%02x%02x%02x%02x", b[0], b[1], b[2],
			b[3], b[4], b[5]);
		h = view_add(h, "mac:", text);
	}
	for (size_t i = 0; i < w->n_hosts; i++)
		h = view_add(h, "host:", w->hosts[i]);
	for (size_t i = 0; i < w->n_interfaces; i++)
		h = view_add(h, "if:", w->interfaces[i]);
	for (size_t i = 0; i < w->n_not; i++)
		h = view_add(h, "!", ip_prefix_format(&w->not [i], text));
	return h == FNV_START ? 0 : id_end(h);
}
