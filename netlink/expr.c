#include "netlink/expr.h"

#include <errno.h>
#include <libmnl/libmnl.h>
#include <libnftnl/expr.h>
#include <libnftnl/rule.h>
#include <linux/netfilter.h>
#include <linux/netfilter/nf_conntrack_common.h>
#include <linux/netfilter/nf_conntrack_tuple_common.h>
#include <linux/netfilter/nf_tables.h>
#include <linux/netlink.h>
#include <net/if.h>
#include <net/if_arp.h>
#include <net/ethernet.h>
#include <string.h>

/* The longest rule of ours is far below this. */
#define RULE_BYTES_MAX 8192

static uint8_t nfproto(uint8_t family)
{
	return family == IP_V4 ? NFPROTO_IPV4 : NFPROTO_IPV6;
}

void rule_open(struct ruleset *r, const char *chain)
{
	r->rule = nftnl_rule_alloc();
	if (!r->rule) {
		r->error = -ENOMEM;
		return;
	}
	nftnl_rule_set_u32(r->rule, NFTNL_RULE_FAMILY, NFPROTO_INET);
	if (nftnl_rule_set_str(r->rule, NFTNL_RULE_TABLE, r->table) < 0 ||
		nftnl_rule_set_str(r->rule, NFTNL_RULE_CHAIN, chain) < 0)
		r->error = -ENOMEM;
}

void rule_close(struct ruleset *r)
{
	if (r->rule && !r->error) {
		struct nlmsghdr *h = nft_batch_open(r->batch, NFT_MSG_NEWRULE, NFPROTO_INET,
			NLM_F_CREATE | NLM_F_APPEND, RULE_BYTES_MAX);

		nftnl_rule_nlmsg_build_payload(h, r->rule);
		nft_batch_close(r->batch);
	}
	if (r->rule)
		nftnl_rule_free(r->rule);
	r->rule = NULL;
}

/* A new expression at the end of the open rule; NULL after an error. */
static struct nftnl_expr *add(struct ruleset *r, const char *name)
{
	struct nftnl_expr *e = r->error ? NULL : nftnl_expr_alloc(name);

	if (e)
		nftnl_rule_add_expr(r->rule, e);
	else if (!r->error)
		r->error = -ENOMEM;
	return e;
}

static void put_u32(struct nftnl_expr *e, uint16_t attr, uint32_t value)
{
	if (e)
		nftnl_expr_set_u32(e, attr, value);
}

static void put_data(
	struct ruleset *r, struct nftnl_expr *e, uint16_t attr, const void *data, size_t len)
{
	if (e && nftnl_expr_set(e, attr, data, (uint32_t)len) < 0)
		r->error = -ENOMEM;
}

static void put_name(struct ruleset *r, struct nftnl_expr *e, uint16_t attr, const char *name)
{
	if (e && nftnl_expr_set_str(e, attr, name) < 0)
		r->error = -ENOMEM;
}

static void meta_load(struct ruleset *r, uint32_t key)
{
	struct nftnl_expr *e = add(r, "meta");

	put_u32(e, NFTNL_EXPR_META_KEY, key);
	put_u32(e, NFTNL_EXPR_META_DREG, NFT_REG_1);
}

static void meta_store(struct ruleset *r, uint32_t key)
{
	struct nftnl_expr *e = add(r, "meta");

	put_u32(e, NFTNL_EXPR_META_KEY, key);
	put_u32(e, NFTNL_EXPR_META_SREG, NFT_REG_1);
}

static void ct_load(struct ruleset *r, uint32_t key)
{
	struct nftnl_expr *e = add(r, "ct");

	put_u32(e, NFTNL_EXPR_CT_KEY, key);
	put_u32(e, NFTNL_EXPR_CT_DREG, NFT_REG_1);
}

static void payload_load(struct ruleset *r, uint32_t base, uint32_t offset, uint32_t len)
{
	struct nftnl_expr *e = add(r, "payload");

	put_u32(e, NFTNL_EXPR_PAYLOAD_DREG, NFT_REG_1);
	put_u32(e, NFTNL_EXPR_PAYLOAD_BASE, base);
	put_u32(e, NFTNL_EXPR_PAYLOAD_OFFSET, offset);
	put_u32(e, NFTNL_EXPR_PAYLOAD_LEN, len);
}

static void compare_by(struct ruleset *r, uint32_t op, const void *data, size_t len)
{
	struct nftnl_expr *e = add(r, "cmp");

	put_u32(e, NFTNL_EXPR_CMP_SREG, NFT_REG_1);
	put_u32(e, NFTNL_EXPR_CMP_OP, op);
	put_data(r, e, NFTNL_EXPR_CMP_DATA, data, len);
}

static void compare(struct ruleset *r, enum rule_is is, const void *data, size_t len)
{
	compare_by(r, is == IS ? NFT_CMP_EQ : NFT_CMP_NEQ, data, len);
}

/* reg = (reg & mask) ^ change */
static void bitwise(struct ruleset *r, const void *mask, const void *change, size_t len)
{
	struct nftnl_expr *e = add(r, "bitwise");

	put_u32(e, NFTNL_EXPR_BITWISE_SREG, NFT_REG_1);
	put_u32(e, NFTNL_EXPR_BITWISE_DREG, NFT_REG_1);
	put_u32(e, NFTNL_EXPR_BITWISE_OP, NFT_BITWISE_BOOL);
	put_u32(e, NFTNL_EXPR_BITWISE_LEN, (uint32_t)len);
	put_data(r, e, NFTNL_EXPR_BITWISE_MASK, mask, len);
	put_data(r, e, NFTNL_EXPR_BITWISE_XOR, change, len);
}

static void lookup(struct ruleset *r, const char *set, uint32_t flags)
{
	struct nftnl_expr *e = add(r, "lookup");

	put_u32(e, NFTNL_EXPR_LOOKUP_SREG, NFT_REG_1);
	put_name(r, e, NFTNL_EXPR_LOOKUP_SET, set);
	if (flags)
		put_u32(e, NFTNL_EXPR_LOOKUP_FLAGS, flags);
}

static void immediate(struct ruleset *r, uint32_t reg, const void *data, size_t len)
{
	struct nftnl_expr *e = add(r, "immediate");

	put_u32(e, NFTNL_EXPR_IMM_DREG, reg);
	put_data(r, e, NFTNL_EXPR_IMM_DATA, data, len);
}

static void verdict(struct ruleset *r, int code, const char *chain)
{
	struct nftnl_expr *e = add(r, "immediate");

	put_u32(e, NFTNL_EXPR_IMM_DREG, NFT_REG_VERDICT);
	put_u32(e, NFTNL_EXPR_IMM_VERDICT, (uint32_t)code);
	if (chain)
		put_name(r, e, NFTNL_EXPR_IMM_CHAIN, chain);
}

/* --- what a packet must be --- */

void match_family(struct ruleset *r, uint8_t family)
{
	uint8_t value = nfproto(family);

	meta_load(r, NFT_META_NFPROTO);
	compare(r, IS, &value, 1);
}

void match_protocol(struct ruleset *r, uint8_t protocol)
{
	meta_load(r, NFT_META_L4PROTO);
	compare(r, IS, &protocol, 1);
}

void match_port(struct ruleset *r, enum rule_side side, uint16_t port)
{
	uint16_t value = htons(port);

	payload_load(r, NFT_PAYLOAD_TRANSPORT_HEADER, side == SOURCE ? 0 : 2, 2);
	compare(r, IS, &value, 2);
}

void match_udp_length_up_to(struct ruleset *r, uint16_t bytes)
{
	uint16_t value = htons(bytes);

	payload_load(r, NFT_PAYLOAD_TRANSPORT_HEADER, 4, 2);
	compare_by(r, NFT_CMP_LTE, &value, 2);
}

void match_tcp_flags(struct ruleset *r, enum rule_is is, uint8_t mask, uint8_t value)
{
	static const uint8_t zero;

	match_protocol(r, IPPROTO_TCP);
	payload_load(r, NFT_PAYLOAD_TRANSPORT_HEADER, 13, 1);
	bitwise(r, &mask, &zero, 1);
	compare(r, is, &value, 1);
}

/* Compares the interface's name in the register; trailing '*': all that begin so. */
static void compare_name(struct ruleset *r, enum rule_is is, const char *name)
{
	char padded[IFNAMSIZ] = {0};
	size_t len = strnlen(name, IFNAMSIZ - 1);
	bool prefix = len > 0 && name[len - 1] == '*';

	memcpy(padded, name, prefix ? len - 1 : len);
	compare(r, is, padded, prefix ? len - 1 : sizeof padded);
}

static void match_interface(struct ruleset *r, uint32_t key, enum rule_is is, const char *name)
{
	if (strcmp(name, "*") == 0) /* all of them */
		return;
	meta_load(r, key);
	compare_name(r, is, name);
}

void match_iif(struct ruleset *r, enum rule_is is, const char *name)
{
	match_interface(r, NFT_META_IIFNAME, is, name);
}

void match_oif(struct ruleset *r, enum rule_is is, const char *name)
{
	match_interface(r, NFT_META_OIFNAME, is, name);
}

static void match_bits(struct ruleset *r, uint32_t value, uint32_t mask)
{
	static const uint32_t zero;

	bitwise(r, &mask, &zero, 4);
	compare(r, IS, &value, 4);
}

void match_mark(struct ruleset *r, uint32_t value, uint32_t mask)
{
	meta_load(r, NFT_META_MARK);
	match_bits(r, value, mask);
}

void match_uid(struct ruleset *r, uint32_t uid)
{
	meta_load(r, NFT_META_SKUID);
	compare(r, IS, &uid, 4);
}

void match_gid(struct ruleset *r, uint32_t gid)
{
	meta_load(r, NFT_META_SKGID);
	compare(r, IS, &gid, 4);
}

void match_cgroup(struct ruleset *r, uint32_t level, uint64_t id)
{
	struct nftnl_expr *e = add(r, "socket");

	put_u32(e, NFTNL_EXPR_SOCKET_KEY, NFT_SOCKET_CGROUPV2);
	put_u32(e, NFTNL_EXPR_SOCKET_DREG, NFT_REG_1);
	put_u32(e, NFTNL_EXPR_SOCKET_LEVEL, level);
	compare(r, IS, &id, sizeof id);
}

void match_socket_transparent(struct ruleset *r)
{
	static const uint8_t yes = 1;
	struct nftnl_expr *e = add(r, "socket");

	put_u32(e, NFTNL_EXPR_SOCKET_KEY, NFT_SOCKET_TRANSPARENT);
	put_u32(e, NFTNL_EXPR_SOCKET_DREG, NFT_REG_1);
	compare(r, IS, &yes, 1);
}

static void load_address(struct ruleset *r, enum rule_side side, uint8_t family)
{
	if (family == IP_V4)
		payload_load(r, NFT_PAYLOAD_NETWORK_HEADER, side == SOURCE ? 12 : 16, 4);
	else
		payload_load(r, NFT_PAYLOAD_NETWORK_HEADER, side == SOURCE ? 8 : 24, 16);
}

/* Compares the address in the register. */
static void match_prefix(struct ruleset *r, enum rule_is is, const struct ip_prefix *prefix)
{
	static const uint8_t zero[16];
	uint8_t mask[16] = {0};
	size_t size = ip_addr_size(&prefix->addr);

	for (unsigned bit = 0; bit < prefix->len; bit++)
		mask[bit / 8] |= (uint8_t)(0x80 >> bit % 8);
	if (prefix->len < size * 8)
		bitwise(r, mask, zero, size);
	compare(r, is, prefix->addr.b, size);
}

void match_address(
	struct ruleset *r, enum rule_side side, enum rule_is is, const struct ip_prefix *prefix)
{
	match_family(r, prefix->addr.family);
	load_address(r, side, prefix->addr.family);
	match_prefix(r, is, prefix);
}

void match_address_in(struct ruleset *r, enum rule_side side, uint8_t family, const char *set)
{
	match_family(r, family);
	load_address(r, side, family);
	lookup(r, set, 0);
}

void match_family_in(struct ruleset *r, enum rule_is is, const char *set)
{
	meta_load(r, NFT_META_NFPROTO);
	lookup(r, set, is == IS ? 0 : NFT_LOOKUP_F_INV);
}

static void fib_load(struct ruleset *r, uint32_t flags, uint32_t result)
{
	struct nftnl_expr *e = add(r, "fib");

	put_u32(e, NFTNL_EXPR_FIB_DREG, NFT_REG_1);
	put_u32(e, NFTNL_EXPR_FIB_RESULT, result);
	put_u32(e, NFTNL_EXPR_FIB_FLAGS, flags);
}

void match_destination_type(struct ruleset *r, enum rule_is is, uint32_t rtn_type)
{
	fib_load(r, NFTA_FIB_F_DADDR, NFT_FIB_RESULT_ADDRTYPE);
	compare(r, is, &rtn_type, 4);
}

void match_source_type(struct ruleset *r, enum rule_is is, uint32_t rtn_type)
{
	fib_load(r, NFTA_FIB_F_SADDR, NFT_FIB_RESULT_ADDRTYPE);
	compare(r, is, &rtn_type, 4);
}

void match_destination_behind(struct ruleset *r, const char *name)
{
	fib_load(r, NFTA_FIB_F_DADDR, NFT_FIB_RESULT_OIFNAME);
	compare_name(r, IS, name);
}

void match_ether_source(struct ruleset *r, const uint8_t address[6])
{
	uint16_t type = ARPHRD_ETHER;

	meta_load(r, NFT_META_IIFTYPE);
	compare(r, IS, &type, sizeof type);
	payload_load(r, NFT_PAYLOAD_LL_HEADER, ETH_ALEN, ETH_ALEN);
	compare(r, IS, address, ETH_ALEN);
}

void match_ct_original(struct ruleset *r)
{
	static const uint8_t original = IP_CT_DIR_ORIGINAL;

	ct_load(r, NFT_CT_DIRECTION);
	compare(r, IS, &original, 1);
}

static void match_any_bit(struct ruleset *r, uint32_t bits)
{
	static const uint32_t zero;

	bitwise(r, &bits, &zero, 4);
	compare(r, IS_NOT, &zero, 4);
}

void match_ct_new(struct ruleset *r)
{
	ct_load(r, NFT_CT_STATE);
	match_any_bit(r, NF_CT_STATE_BIT(IP_CT_NEW));
}

void match_ct_invalid(struct ruleset *r)
{
	ct_load(r, NFT_CT_STATE);
	match_any_bit(r, NF_CT_STATE_INVALID_BIT);
}

void match_ct_dnat(struct ruleset *r)
{
	ct_load(r, NFT_CT_STATUS);
	match_any_bit(r, IPS_DST_NAT);
}

static void load_ct_destination(struct ruleset *r, uint8_t family)
{
	struct nftnl_expr *e;

	match_family(r, family);
	e = add(r, "ct");
	put_u32(e, NFTNL_EXPR_CT_KEY, family == IP_V4 ? NFT_CT_DST_IP : NFT_CT_DST_IP6);
	put_u32(e, NFTNL_EXPR_CT_DREG, NFT_REG_1);
	if (e)
		nftnl_expr_set_u8(e, NFTNL_EXPR_CT_DIR, IP_CT_DIR_ORIGINAL);
}

void match_ct_destination(struct ruleset *r, const struct ip_prefix *prefix)
{
	load_ct_destination(r, prefix->addr.family);
	match_prefix(r, IS, prefix);
}

void match_ct_destination_in(struct ruleset *r, uint8_t family, const char *set)
{
	load_ct_destination(r, family);
	lookup(r, set, 0);
}

void match_ct_mark(struct ruleset *r, uint32_t value, uint32_t mask)
{
	ct_load(r, NFT_CT_MARK);
	match_bits(r, value, mask);
}

/* --- what is done with it --- */

void act_mark(struct ruleset *r, uint32_t value, uint32_t mask)
{
	uint32_t keep = ~mask;

	meta_load(r, NFT_META_MARK);
	bitwise(r, &keep, &value, 4);
	meta_store(r, NFT_META_MARK);
}

void act_ct_mark(struct ruleset *r, uint32_t value, uint32_t mask)
{
	uint32_t keep = ~mask;
	struct nftnl_expr *e;

	ct_load(r, NFT_CT_MARK);
	bitwise(r, &keep, &value, 4);
	e = add(r, "ct");
	put_u32(e, NFTNL_EXPR_CT_KEY, NFT_CT_MARK);
	put_u32(e, NFTNL_EXPR_CT_SREG, NFT_REG_1);
}

void act_count(struct ruleset *r, const char *counter)
{
	struct nftnl_expr *e = add(r, "objref");

	put_u32(e, NFTNL_EXPR_OBJREF_IMM_TYPE, NFT_OBJECT_COUNTER);
	put_name(r, e, NFTNL_EXPR_OBJREF_IMM_NAME, counter);
}

void act_notrack(struct ruleset *r)
{
	add(r, "notrack");
}

void act_tproxy(struct ruleset *r, const struct ip_port *listener)
{
	uint16_t port = htons(listener->port);
	struct nftnl_expr *e;

	immediate(r, NFT_REG_1, listener->addr.b, ip_addr_size(&listener->addr));
	immediate(r, NFT_REG_2, &port, 2);
	e = add(r, "tproxy");
	put_u32(e, NFTNL_EXPR_TPROXY_FAMILY, nfproto(listener->addr.family));
	put_u32(e, NFTNL_EXPR_TPROXY_REG_ADDR, NFT_REG_1);
	put_u32(e, NFTNL_EXPR_TPROXY_REG_PORT, NFT_REG_2);
}

void act_log(struct ruleset *r, uint16_t group)
{
	struct nftnl_expr *e = add(r, "log");

	if (!e)
		return;
	nftnl_expr_set_u16(e, NFTNL_EXPR_LOG_GROUP, group);
	nftnl_expr_set_u32(e, NFTNL_EXPR_LOG_SNAPLEN, 65535);
	nftnl_expr_set_u16(e, NFTNL_EXPR_LOG_QTHRESHOLD, 1);
}

void act_dnat_by(struct ruleset *r, uint8_t family, const char *map)
{
	struct nftnl_expr *e;

	load_address(r, DESTINATION, family);
	e = add(r, "lookup");
	put_u32(e, NFTNL_EXPR_LOOKUP_SREG, NFT_REG_1);
	put_u32(e, NFTNL_EXPR_LOOKUP_DREG, NFT_REG_1);
	put_name(r, e, NFTNL_EXPR_LOOKUP_SET, map);
	e = add(r, "nat");
	put_u32(e, NFTNL_EXPR_NAT_TYPE, NFT_NAT_DNAT);
	put_u32(e, NFTNL_EXPR_NAT_FAMILY, nfproto(family));
	put_u32(e, NFTNL_EXPR_NAT_REG_ADDR_MIN, NFT_REG_1);
}

void act_masquerade(struct ruleset *r)
{
	add(r, "masq");
}

static void renew(struct ruleset *r, uint8_t nfproto, const char *set, uint64_t timeout_ms)
{
	static const uint8_t none = 0;
	struct nftnl_expr *e;

	/* A constant, in a way that nft can print. */
	meta_load(r, NFT_META_NFPROTO);
	bitwise(r, &none, &nfproto, sizeof nfproto);
	e = add(r, "dynset");
	put_u32(e, NFTNL_EXPR_DYNSET_SREG_KEY, NFT_REG_1);
	put_u32(e, NFTNL_EXPR_DYNSET_OP, NFT_DYNSET_OP_UPDATE);
	put_name(r, e, NFTNL_EXPR_DYNSET_SET_NAME, set);
	if (e)
		nftnl_expr_set_u64(e, NFTNL_EXPR_DYNSET_TIMEOUT, timeout_ms);
}

void act_renew_families(struct ruleset *r, const char *set, uint64_t timeout_ms)
{
	renew(r, NFPROTO_IPV4, set, timeout_ms);
	renew(r, NFPROTO_IPV6, set, timeout_ms);
}

void act_accept(struct ruleset *r)
{
	verdict(r, NF_ACCEPT, NULL);
}

void act_drop(struct ruleset *r)
{
	verdict(r, NF_DROP, NULL);
}

void act_return(struct ruleset *r)
{
	verdict(r, NFT_RETURN, NULL);
}

void act_jump(struct ruleset *r, const char *chain)
{
	verdict(r, NFT_JUMP, chain);
}

void act_goto(struct ruleset *r, const char *chain)
{
	verdict(r, NFT_GOTO, chain);
}
