/* What prefix lies on which interface, and what the interfaces are called. */
#include "netlink/neighbours_internal.h"

#include <errno.h>
#include <stdlib.h>

struct seen_prefix {
	struct ip_prefix prefix;
	unsigned ifindex;
};

struct seen_link {
	unsigned ifindex;
	char name[IF_NAMESIZE];
};

struct seen {
	struct seen_prefix prefixes[PLACES_PREFIXES_MAX];
	struct seen_link links[PLACES_LINKS_MAX];
	size_t n_prefixes, n_links;
};

static void see_address(void *arg, unsigned ifindex, const struct ip_addr *a, uint8_t len)
{
	struct seen *s = arg;

	/* Every interface has the link-local prefix. */
	if (s->n_prefixes == PLACES_PREFIXES_MAX || ip_addr_is_loopback(a) ||
		ip_addr_is_link_local(a) || len > 8 * ip_addr_size(a))
		return;
	s->prefixes[s->n_prefixes++] = (struct seen_prefix){{*a, len}, ifindex};
}

static void see_link(void *arg, unsigned ifindex, const char *name)
{
	struct seen *s = arg;
	size_t size = strlen(name) + 1;

	if (s->n_links == PLACES_LINKS_MAX || size > IF_NAMESIZE)
		return;
	s->links[s->n_links].ifindex = ifindex;
	memcpy(s->links[s->n_links++].name, name, size);
}

static int prefix_compare(const void *a, const void *b)
{
	const struct seen_prefix *p = a, *q = b;

	if (p->prefix.len != q->prefix.len)
		return q->prefix.len - p->prefix.len;
	return p->ifindex < q->ifindex ? -1 : p->ifindex > q->ifindex;
}

static int link_compare(const void *a, const void *b)
{
	const struct seen_link *p = a, *q = b;

	return p->ifindex < q->ifindex ? -1 : p->ifindex > q->ifindex;
}

static void places_set(struct places *p, const struct seen *s)
{
	write_begin(&p->sequence);
	for (size_t i = 0; i < s->n_prefixes; i++) {
		const struct ip_prefix *prefix = &s->prefixes[i].prefix;
		uint64_t words[2];

		address_words(&prefix->addr, words);
		PUT(p->prefixes[i].address[0], words[0]);
		PUT(p->prefixes[i].address[1], words[1]);
		PUT(p->prefixes[i].kind, (uint32_t)prefix->addr.family << 8 | prefix->len);
		PUT(p->prefixes[i].ifindex, s->prefixes[i].ifindex);
	}
	for (size_t i = 0; i < s->n_links; i++) {
		uint64_t words[IF_NAMESIZE / 8];

		memcpy(words, s->links[i].name, sizeof words);
		for (size_t w = 0; w < IF_NAMESIZE / 8; w++)
			PUT(p->links[i].name[w], words[w]);
		PUT(p->links[i].ifindex, s->links[i].ifindex);
	}
	PUT(p->n_prefixes, (uint32_t)s->n_prefixes);
	PUT(p->n_links, (uint32_t)s->n_links);
	write_end(&p->sequence);
}

int places_reload(struct places *p, struct rt *rt)
{
	struct seen *s = calloc(1, sizeof *s);
	int r;

	if (!s)
		return -ENOMEM;
	r = rt_addresses(rt, see_address, s);
	if (r == 0)
		r = rt_links(rt, see_link, s);
	if (r == 0) {
		qsort(s->prefixes, s->n_prefixes, sizeof s->prefixes[0], prefix_compare);
		qsort(s->links, s->n_links, sizeof s->links[0], link_compare);
		places_set(p, s);
	}
	free(s);
	return r;
}

/* --- look-up --- */

static unsigned interface_find(const struct places *p, const struct ip_addr *a)
{
	uint32_t n = GET(p->n_prefixes);

	for (uint32_t i = 0; i < n; i++) {
		uint32_t kind = GET(p->prefixes[i].kind);
		uint64_t words[2] = {
			GET(p->prefixes[i].address[0]), GET(p->prefixes[i].address[1])};
		struct ip_prefix prefix = {
			.addr.family = (uint8_t)(kind >> 8), .len = (uint8_t)kind};

		memcpy(prefix.addr.b, words, sizeof words);
		if (ip_prefix_contains(&prefix, a))
			return GET(p->prefixes[i].ifindex);
	}
	return 0;
}

static void name_find(const struct places *p, unsigned ifindex, char ret[IF_NAMESIZE])
{
	uint32_t from = 0, n = GET(p->n_links);

	ret[0] = 0;
	while (n > 0) {
		uint32_t half = n / 2, found = GET(p->links[from + half].ifindex);

		if (found == ifindex) {
			uint64_t words[IF_NAMESIZE / 8] = {0};

			for (size_t w = 0; w < IF_NAMESIZE / 8; w++)
				words[w] = GET(p->links[from + half].name[w]);
			memcpy(ret, words, sizeof words);
			ret[IF_NAMESIZE - 1] = 0;
			return;
		}
		if (found < ifindex) {
			from += half + 1;
			n -= half + 1;
		} else {
			n = half;
		}
	}
}

unsigned places_interface(const struct places *p, const struct ip_addr *a)
{
	unsigned ifindex;
	uint32_t began;

	do {
		began = read_begin(&p->sequence);
		ifindex = interface_find(p, a);
	} while (read_failed(&p->sequence, began));
	return ifindex;
}

void places_name(const struct places *p, unsigned ifindex, char ret[IF_NAMESIZE])
{
	uint32_t began;

	do {
		began = read_begin(&p->sequence);
		name_find(p, ifindex, ret);
	} while (read_failed(&p->sequence, began));
}
