#include "netlink/table.h"
#include "netlink/table_internal.h"

#include <arpa/inet.h>
#include <errno.h>
#include <libmnl/libmnl.h>
#include <linux/netfilter.h>
#include <linux/netfilter/nf_tables.h>
#include <linux/netfilter/nfnetlink.h>
#include <stdio.h>
#include <string.h>

#define MESSAGE_BYTES_MAX 512

static bool needs_always(const struct table_config *c)
{
	(void)c;
	return true;
}

static bool needs_dns(const struct table_config *c)
{
	return c->mode != CONF_INTERCEPT_OFF;
}

static bool needs_own_dns(const struct table_config *c)
{
	return c->self && c->mode != CONF_INTERCEPT_OFF;
}

bool table_has_pool(const struct table_config *c)
{
	return c->pool4.addr.family != IP_NONE || c->pool6.addr.family != IP_NONE;
}

bool table_egress_has_set(const struct table_egress *e)
{
	return e->mask || e->masquerade != CONF_MASQUERADE_AUTO || e->reject_udp || e->reject_quic;
}

bool table_egress_has_real(const struct table_egress *e)
{
	return e->mask && e->real;
}

bool table_have_real(const struct table_egress *v, size_t n, const struct table_egress *mark)
{
	for (size_t i = 0; i < n; i++) {
		if (table_egress_has_real(&v[i]) && v[i].value == mark->value &&
			v[i].mask == mark->mask)
			return true;
	}
	return false;
}

static bool needs_marks(const struct table_config *c)
{
	for (size_t i = 0; i < c->n_egresses; i++) {
		if (table_egress_has_real(&c->egresses[i]) ||
			(c->egresses[i].mask && table_has_pool(c)))
			return true;
	}
	return false;
}

static bool needs_marks_real(const struct table_config *c)
{
	for (size_t i = 0; i < c->n_egresses; i++) {
		if (table_egress_has_real(&c->egresses[i]))
			return true;
	}
	return false;
}

bool table_relays_fakes(const struct table_config *c)
{
	return (c->pool4.addr.family != IP_NONE && c->relay_tcp4.addr.family != IP_NONE) ||
	       (c->pool6.addr.family != IP_NONE && c->relay_tcp6.addr.family != IP_NONE);
}

static bool has_relay(const struct table_config *c)
{
	return c->relay_tcp4.addr.family != IP_NONE || c->relay_tcp6.addr.family != IP_NONE ||
	       c->relay_udp4.addr.family != IP_NONE || c->relay_udp6.addr.family != IP_NONE;
}

bool table_relays_real(const struct table_config *c)
{
	const struct conf_who *clients = c->relay_clients;

	return has_relay(c) && (c->carried || c->relay_mark.mask ||
				       (clients && (clients->prefixes.n || clients->n_macs)));
}

static bool needs_own_relay(const struct table_config *c)
{
	return table_relays_real(c) || (c->self && table_relays_fakes(c));
}

static bool needs_own_fake(const struct table_config *c)
{
	return c->self && table_relays_fakes(c);
}

static bool needs_own_real(const struct table_config *c)
{
	return c->self && table_relays_real(c);
}

bool table_loops(const struct table_config *c)
{
	return table_relays_fakes(c) || needs_own_real(c);
}

static bool needs_forward(const struct table_config *c)
{
	return c->mode == CONF_INTERCEPT_TPROXY && c->nflog_group && table_has_pool(c);
}

bool table_probes(const struct table_config *c)
{
	return c->probe_from.family != IP_NONE;
}

uint32_t table_own_way(const struct table_config *c)
{
	return c->mark_tun | c->mark_tproxy;
}

void table_alive_match(struct table_plan *p)
{
	match_family_in(&p->rules, IS, "alive");
}

void table_gate_build(struct table_plan *p, const char *chain)
{
	struct ruleset *r = &p->rules;

	RULE(r, chain, match_family_in(r, IS_NOT, "alive"), act_accept(r));
}

static const struct table_chain {
	const char *name;
	bool (*needed)(const struct table_config *c);
	const char *type; /* NULL: not a base chain */
	uint32_t hook;
	int32_t priority;
} chains[] = {
	{"raw", needs_always, "filter", NF_INET_PRE_ROUTING, -300},
	{"lan", needs_always, NULL, 0, 0},
	{"from_tun", needs_always, NULL, 0, 0},
	{"dns", needs_dns, NULL, 0, 0},
	{"to_socket", needs_dns, NULL, 0, 0},
	{"fake", table_has_pool, NULL, 0, 0},
	{"looped", table_loops, NULL, 0, 0},
	{"forward", needs_forward, "filter", NF_INET_FORWARD, -1},
	{"copied", needs_forward, NULL, 0, 0},
	{"to_tun", table_has_pool, "filter", NF_INET_POST_ROUTING, 0},
	{"probe", table_probes, "filter", NF_INET_POST_ROUTING, 300},
	/* A route chain, so that one place both leaves conntrack and chooses the way. */
	{"out", needs_always, "route", NF_INET_LOCAL_OUT, -300},
	{"own", needs_always, NULL, 0, 0},
	{"out_dns", needs_own_dns, NULL, 0, 0},
	{"out_fake", table_has_pool, NULL, 0, 0},
	{"nat_in", table_has_pool, "nat", NF_INET_PRE_ROUTING, -105},
	{"nat_out", table_has_pool, "nat", NF_INET_LOCAL_OUT, -105},
	/* Behind srcnat: what a rule of the user's has rewritten is not ours any more. */
	{"nat_source", table_has_pool, "nat", NF_INET_POST_ROUTING, 105},
	{"marks_in", needs_marks, "filter", NF_INET_PRE_ROUTING, -150},
	{"marks_out", needs_marks, "route", NF_INET_LOCAL_OUT, -150},
	{"marks_real", needs_marks_real, NULL, 0, 0},
	/* Behind mangle, so that marks which users set there count. */
	{"relay_in", table_relays_real, "filter", NF_INET_PRE_ROUTING, -145},
	{"relay_lan", table_relays_real, NULL, 0, 0},
	{"relay_new", table_relays_real, NULL, 0, 0},
	{"to_relay", table_relays_real, NULL, 0, 0},
	{"relay_out", needs_own_relay, "route", NF_INET_LOCAL_OUT, -145},
	{"own_peer", table_relays_real, NULL, 0, 0},
	{"own_fake", needs_own_fake, NULL, 0, 0},
	{"own_new", needs_own_real, NULL, 0, 0},
};
/* No name is a keyword of nft, so that a listing can be loaded again. */
#define N_CHAINS (sizeof chains / sizeof chains[0])
_Static_assert(N_CHAINS <= 32, "table_state.chains");

static const char *const counters[] = {
	"taken_udp", "taken_tcp", "relayed_udp", "relayed_tcp", "stray", "outside", "probe"};

static struct nlmsghdr *message(
	struct nft_batch *b, uint16_t type, uint16_t flags, uint16_t table_attr)
{
	struct nlmsghdr *h = nft_batch_open(b, type, NFPROTO_INET, flags, MESSAGE_BYTES_MAX);

	mnl_attr_put_strz(h, table_attr, TABLE_NAME);
	return h;
}

void table_drop_build(struct nft_batch *b)
{
	message(b, NFT_MSG_DELTABLE, 0, NFTA_TABLE_NAME);
	nft_batch_close(b);
}

static void add_table(struct nft_batch *b)
{
	struct nlmsghdr *h;

	/* A table of this name that nobody owns is left over from somebody's experiment; ours
	 * begins empty. */
	message(b, NFT_MSG_NEWTABLE, NLM_F_CREATE, NFTA_TABLE_NAME);
	nft_batch_close(b);
	table_drop_build(b);
	h = message(b, NFT_MSG_NEWTABLE, NLM_F_CREATE, NFTA_TABLE_NAME);
	mnl_attr_put_u32(h, NFTA_TABLE_FLAGS, htonl(NFT_TABLE_F_OWNER));
	nft_batch_close(b);
	for (size_t i = 0; i < sizeof counters / sizeof counters[0]; i++) {
		struct nlattr *nest;

		h = message(b, NFT_MSG_NEWOBJ, NLM_F_CREATE, NFTA_OBJ_TABLE);
		mnl_attr_put_strz(h, NFTA_OBJ_NAME, counters[i]);
		mnl_attr_put_u32(h, NFTA_OBJ_TYPE, htonl(NFT_OBJECT_COUNTER));
		nest = mnl_attr_nest_start(h, NFTA_OBJ_DATA);
		mnl_attr_nest_end(h, nest);
		nft_batch_close(b);
	}
}

static void add_chain(struct nft_batch *b, const struct table_chain *chain)
{
	struct nlmsghdr *h = message(b, NFT_MSG_NEWCHAIN, NLM_F_CREATE, NFTA_CHAIN_TABLE);

	mnl_attr_put_strz(h, NFTA_CHAIN_NAME, chain->name);
	if (chain->type) {
		struct nlattr *nest = mnl_attr_nest_start(h, NFTA_CHAIN_HOOK);

		mnl_attr_put_u32(h, NFTA_HOOK_HOOKNUM, htonl(chain->hook));
		mnl_attr_put_u32(h, NFTA_HOOK_PRIORITY, htonl((uint32_t)chain->priority));
		mnl_attr_nest_end(h, nest);
		mnl_attr_put_u32(h, NFTA_CHAIN_POLICY, htonl(NF_ACCEPT));
		mnl_attr_put_strz(h, NFTA_CHAIN_TYPE, chain->type);
	}
	nft_batch_close(b);
}

/* Rules go all, chains only when they are not needed any more: a base chain stays hooked all the
 * time. */
static void chains_build(
	struct table_plan *p, const struct table_state *old, struct table_state *next)
{
	struct nft_batch *b = p->rules.batch;

	next->chains = 0;
	for (size_t i = 0; i < N_CHAINS; i++) {
		if (chains[i].needed(p->c))
			next->chains |= 1U << i;
	}
	for (size_t i = 0; i < N_CHAINS; i++) {
		if (old->chains & ~next->chains & 1U << i) {
			struct nlmsghdr *h = message(b, NFT_MSG_DELCHAIN, 0, NFTA_CHAIN_TABLE);

			mnl_attr_put_strz(h, NFTA_CHAIN_NAME, chains[i].name);
			nft_batch_close(b);
		} else if (next->chains & ~old->chains & 1U << i) {
			add_chain(b, &chains[i]);
		}
	}
}

static void plan_init(struct table_plan *p, struct nft_batch *b, const struct table_config *c)
{
	p->c = c;
	p->rules = (struct ruleset){.batch = b, .table = TABLE_NAME};
	p->families[0] = (struct table_family){.family = IP_V4,
		.pool = c->pool4,
		.tun = c->tun4,
		.udp = c->udp4,
		.tcp = c->tcp4,
		.relay_udp = c->relay_udp4,
		.relay_tcp = c->relay_tcp4,
		.nat = "nat4",
		.exempt = "exempt4",
		.carried = "carried4"};
	p->families[1] = (struct table_family){.family = IP_V6,
		.pool = c->pool6,
		.tun = c->tun6,
		.udp = c->udp6,
		.tcp = c->tcp6,
		.relay_udp = c->relay_udp6,
		.relay_tcp = c->relay_tcp6,
		.nat = "nat6",
		.exempt = "exempt6",
		.carried = "carried6"};
	EACH_FAMILY(p, f)
	{
		f->taken = f->tun.family != IP_NONE || f->udp.addr.family != IP_NONE ||
			   f->tcp.addr.family != IP_NONE;
		for (size_t i = 0; c->exempt && i < c->exempt->to.n; i++) {
			if (c->exempt->to.v[i].addr.family == f->family)
				f->has_exempt = true;
		}
	}
}

int table_build(struct nft_batch *b, const struct table_state *old, const struct table_config *c,
	table_note *note, void *arg, struct table_state *ret)
{
	struct table_plan p = {.note = note, .note_arg = arg};
	struct table_state next = {.exists = true};

	if (c->n_egresses > TABLE_EGRESSES_MAX)
		return -E2BIG;
	plan_init(&p, b, c);
	if (old->exists) {
		/* Without the name of a chain: all rules of the table. */
		message(b, NFT_MSG_DELRULE, 0, NFTA_RULE_TABLE);
		nft_batch_close(b);
	} else {
		add_table(b);
	}
	table_sets_build(&p, old, &next);
	chains_build(&p, old, &next);
	table_in_build(&p);
	table_out_build(&p);
	table_nat_build(&p);
	table_relay_build(&p);
	if (p.rules.error || b->error)
		return p.rules.error ? p.rules.error : b->error;
	*ret = next;
	return 0;
}

/* The next attribute of this type in [at, at + len), or any (type 0); NULL: none. */
static const struct nlattr *find(const void *at, size_t len, uint16_t type)
{
	const struct nlattr *attr = at;

	while (mnl_attr_ok(attr, (int)len)) {
		size_t size = MNL_ALIGN(attr->nla_len);

		if (type == 0 || mnl_attr_get_type(attr) == type)
			return attr;
		len -= size < len ? size : len;
		attr = mnl_attr_next(attr);
	}
	return NULL;
}

static const struct nlattr *find_in_message(const struct nlmsghdr *h, uint16_t type)
{
	size_t skip = MNL_ALIGN(sizeof(struct nfgenmsg));

	return find((const char *)mnl_nlmsg_get_payload(h) + skip,
		mnl_nlmsg_get_payload_len(h) - skip, type);
}

/* The name of the expression that lies around `offset` of a rule's message. */
static const char *expression_at(const struct nlmsghdr *h, uint32_t offset)
{
	const struct nlattr *list = find_in_message(h, NFTA_RULE_EXPRESSIONS), *name;
	const char *end, *at;

	if (!list)
		return NULL;
	at = mnl_attr_get_payload(list);
	end = at + mnl_attr_get_payload_len(list);
	while (at < end) {
		const struct nlattr *expression = find(at, (size_t)(end - at), 0);

		if (!expression)
			return NULL;
		at += MNL_ALIGN(expression->nla_len);
		if (offset >= (size_t)(at - (const char *)h))
			continue;
		name = find(mnl_attr_get_payload(expression), mnl_attr_get_payload_len(expression),
			NFTA_EXPR_NAME);
		return name && offset >= (size_t)((const char *)expression - (const char *)h)
			       ? mnl_attr_get_str(name)
			       : NULL;
	}
	return NULL;
}

static const char *text_of(const struct nlmsghdr *h, uint16_t type)
{
	const struct nlattr *attr = find_in_message(h, type);

	return attr ? mnl_attr_get_str(attr) : NULL;
}

const char *table_blame(
	const struct nft_batch *b, const struct nft_error *error, char *buf, size_t size_bytes)
{
	const struct nlmsghdr *h = error->seq ? nft_batch_message(b, error->seq) : NULL;
	const char *text = NULL, *form = "%s";

	switch (h ? h->nlmsg_type & 0xff : NFT_MSG_MAX) {
	case NFT_MSG_NEWRULE:
		text = expression_at(h, error->offset);
		if (!text) {
			text = text_of(h, NFTA_RULE_CHAIN);
			form = "a rule of chain %s";
		}
		break;
	case NFT_MSG_NEWCHAIN:
		text = text_of(h, NFTA_CHAIN_TYPE);
		form = "chain type %s";
		break;
	case NFT_MSG_NEWSET:
		text = text_of(h, NFTA_SET_NAME);
		form = "set %s";
		break;
	case NFT_MSG_NEWTABLE:
		text = error->error == -EPERM ? "another process owns the table " TABLE_NAME
					      : "owner flag";
		break;
	default:
		text = "nf_tables";
		break;
	}
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral"
	snprintf(buf, size_bytes, form, text ? text : "nf_tables");
#pragma GCC diagnostic pop
	return buf;
}
