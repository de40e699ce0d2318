/* The sets and maps of our table. nat4, nat6, the egresses' and the relay's sets are what the
 * writer fills: a rebuild keeps them, with all that is in them, as long as what they mean is the
 * same. */
#include "netlink/table_internal.h"
#include "netlink/elements.h"

#include <arpa/inet.h>
#include <errno.h>
#include <libmnl/libmnl.h>
#include <linux/netfilter.h>
#include <linux/netfilter/nf_tables.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MESSAGE_BYTES_MAX 512

/* nft's numbers of data types, which it needs to print a set. */
enum { TYPE_NFPROTO = 2, TYPE_IPADDR = 7, TYPE_IP6ADDR = 8 };

const char *table_egress_set_name(char *buf, size_t n, uint8_t family)
{
	snprintf(buf, TABLE_SET_NAME_MAX, "egress%u_%u", (unsigned)n & 0xfff, family);
	return buf;
}

const char *table_real_set_name(char *buf, const struct table_egress *e, uint8_t family)
{
	snprintf(buf, TABLE_SET_NAME_MAX, "real_%x_%x_%u", e->value, e->mask, family);
	return buf;
}

static uint32_t key_type(uint8_t family)
{
	return family == IP_V4 ? TYPE_IPADDR : TYPE_IP6ADDR;
}

static uint32_t key_size(uint8_t family)
{
	return family == IP_V4 ? 4 : 16;
}

static void put_be(struct nlmsghdr *h, uint16_t attr, uint32_t value)
{
	mnl_attr_put_u32(h, attr, htonl(value));
}

static void add_set(
	struct table_plan *p, const char *name, uint32_t flags, uint32_t type, uint32_t size)
{
	struct nft_batch *b = p->rules.batch;
	struct nlmsghdr *h = nft_batch_open(
		b, NFT_MSG_NEWSET, NFPROTO_INET, NLM_F_CREATE | NLM_F_EXCL, MESSAGE_BYTES_MAX);

	mnl_attr_put_strz(h, NFTA_SET_TABLE, TABLE_NAME);
	mnl_attr_put_strz(h, NFTA_SET_NAME, name);
	put_be(h, NFTA_SET_FLAGS, flags);
	put_be(h, NFTA_SET_KEY_TYPE, type);
	put_be(h, NFTA_SET_KEY_LEN, size);
	if (flags & NFT_SET_MAP) {
		put_be(h, NFTA_SET_DATA_TYPE, type);
		put_be(h, NFTA_SET_DATA_LEN, size);
	}
	put_be(h, NFTA_SET_ID, b->next_seq); /* only has to be unique in the batch */
	nft_batch_close(b);
}

static void delete_set(struct table_plan *p, const char *name)
{
	struct nft_batch *b = p->rules.batch;
	struct nlmsghdr *h = nft_batch_open(b, NFT_MSG_DELSET, NFPROTO_INET, 0, MESSAGE_BYTES_MAX);

	mnl_attr_put_strz(h, NFTA_SET_TABLE, TABLE_NAME);
	mnl_attr_put_strz(h, NFTA_SET_NAME, name);
	nft_batch_close(b);
}

static int prefix_compare(const void *a, const void *b)
{
	const struct ip_prefix *x = a, *y = b;
	int r = memcmp(x->addr.b, y->addr.b, sizeof x->addr.b);

	return r ? r : (int)x->len - (int)y->len;
}

/* An interval set takes no overlapping ranges: after sorting, a prefix that lies in the one before
 * it is left out. */
static void fill_exempt(struct table_plan *p, const struct table_family *f)
{
	const struct conf_prefixes *to = &p->c->exempt->to;
	struct ip_prefix *sorted = malloc(to->n * sizeof *sorted);
	struct element_set set = {
		.nfproto = NFPROTO_INET, .table = TABLE_NAME, .name = f->exempt, .interval = true};
	struct nft_batch *b = p->rules.batch;
	const struct ip_prefix *last = NULL;
	size_t n = 0;
	bool open = false;

	if (!sorted) {
		p->rules.error = -ENOMEM;
		return;
	}
	for (size_t i = 0; i < to->n; i++) {
		if (to->v[i].addr.family == f->family)
			sorted[n++] = to->v[i];
	}
	qsort(sorted, n, sizeof *sorted, prefix_compare);
	for (size_t i = 0; i < n; i++) {
		if (last && ip_prefix_contains(last, &sorted[i].addr))
			continue;
		last = &sorted[i];
		if (!open)
			elements_open(b, &set, NFT_MSG_NEWSETELEM, NLM_F_CREATE);
		elements_put_prefix(b, last);
		open = !elements_full(b);
		if (!open)
			elements_close(b);
	}
	if (open)
		elements_close(b);
	free(sorted);
}

static bool pool_equal(const struct ip_prefix *a, const struct ip_prefix *b)
{
	return ip_addr_equal(&a->addr, &b->addr) && (a->addr.family == IP_NONE || a->len == b->len);
}

/* Elements are kept only where they still lead the same way. */
static void filled_set_build(struct table_plan *p, const char *name, uint8_t family, uint32_t flags,
	bool had, bool has, bool same)
{
	if (had && !(has && same))
		delete_set(p, name);
	if (has && !(had && same))
		add_set(p, name, flags | NFT_SET_TIMEOUT, key_type(family), key_size(family));
}

static void egress_sets_build(struct table_plan *p, const struct table_family *f, bool same_pool,
	bool had_pool, const struct table_state *old, const struct table_state *next)
{
	static const struct table_egress none;
	bool has_pool = f->pool.addr.family != IP_NONE;
	size_t n = old->n_egresses > next->n_egresses ? old->n_egresses : next->n_egresses;
	char name[TABLE_SET_NAME_MAX];

	for (size_t i = 0; i < n; i++) {
		const struct table_egress *was = i < old->n_egresses ? &old->egresses[i] : &none,
					  *is = i < next->n_egresses ? &next->egresses[i] : &none;
		bool same = was->mask == is->mask && was->value == is->value;

		filled_set_build(p, table_egress_set_name(name, i, f->family), f->family, 0,
			had_pool && table_egress_has_set(was), has_pool && table_egress_has_set(is),
			same && same_pool);
	}
}

/* Of egresses with the same mark the first makes it, the first takes it away. */
static void real_sets_build(struct table_plan *p, const struct table_family *f,
	const struct table_state *old, const struct table_state *next)
{
	char name[TABLE_SET_NAME_MAX];

	for (size_t i = 0; i < old->n_egresses; i++) {
		const struct table_egress *was = &old->egresses[i];

		if (table_egress_has_real(was) && !table_have_real(old->egresses, i, was) &&
			!table_have_real(next->egresses, next->n_egresses, was))
			delete_set(p, table_real_set_name(name, was, f->family));
	}
	for (size_t i = 0; i < next->n_egresses; i++) {
		const struct table_egress *is = &next->egresses[i];

		if (table_egress_has_real(is) && !table_have_real(next->egresses, i, is) &&
			!table_have_real(old->egresses, old->n_egresses, is))
			add_set(p, table_real_set_name(name, is, f->family), NFT_SET_TIMEOUT,
				key_type(f->family), key_size(f->family));
	}
}

static void family_sets_build(struct table_plan *p, const struct table_family *f,
	const struct ip_prefix *old_pool, bool had_exempt, const struct table_state *old,
	const struct table_state *next)
{
	bool had = old_pool->addr.family != IP_NONE, has = f->pool.addr.family != IP_NONE;
	bool same = pool_equal(old_pool, &f->pool) && !p->c->forget;

	filled_set_build(p, f->nat, f->family, NFT_SET_MAP, had, has, same);
	filled_set_build(p, f->carried, f->family, 0, old->carried, next->carried, true);
	egress_sets_build(p, f, same, had, old, next);
	real_sets_build(p, f, old, next);
	if (had_exempt)
		delete_set(p, f->exempt);
	if (f->has_exempt) {
		add_set(p, f->exempt, NFT_SET_INTERVAL, key_type(f->family), key_size(f->family));
		fill_exempt(p, f);
	}
}

void table_sets_build(struct table_plan *p, const struct table_state *old, struct table_state *next)
{
	const struct table_family *v4 = &p->families[0], *v6 = &p->families[1];

	if (!old->exists)
		add_set(p, "alive", NFT_SET_TIMEOUT | NFT_SET_EVAL, TYPE_NFPROTO, 1);
	next->pool4 = v4->pool;
	next->pool6 = v6->pool;
	next->exempt4 = v4->has_exempt;
	next->exempt6 = v6->has_exempt;
	next->carried = p->c->carried && table_relays_real(p->c);
	next->n_egresses = p->c->n_egresses;
	if (p->c->n_egresses)
		memcpy(next->egresses, p->c->egresses, p->c->n_egresses * sizeof next->egresses[0]);
	family_sets_build(p, v4, &old->pool4, old->exempt4, old, next);
	family_sets_build(p, v6, &old->pool6, old->exempt6, old, next);
}
