/* What goes to the relay's sockets although it was not put back: traffic to real addresses that an
 * answer, a mark or its client sends there, and the later segments of this host's own connections
 * to fake addresses (those of the LAN find their socket in table_in.c).
 *
 * A connection to a real address is tracked. That the relay has it stands as our bit in its
 * connection mark: so it stays there when the element that brought it is gone, and what began
 * before the element came goes on as it was. */
#include "netlink/table_internal.h"

#include <linux/rtnetlink.h>
#include <netinet/tcp.h>

#define DNS_PORT 53
#define FLAGS	 (TH_SYN | TH_ACK | TH_RST)

static const struct ip_prefix link_local = {
	.addr = {.b = {0xfe, 0x80}, .family = IP_V6}, .len = 10};

/* Without a socket the packet goes on as if we were not here. */
static void socket_rule(struct table_plan *p, uint8_t protocol, const struct ip_port *socket)
{
	struct ruleset *r = &p->rules;
	uint32_t bit = p->c->mark_tproxy;

	if (socket->addr.family == IP_NONE)
		return;
	RULE(r, "to_relay", match_family(r, socket->addr.family), match_protocol(r, protocol),
		act_tproxy(r, socket),
		act_count(r, protocol == IPPROTO_UDP ? "relayed_udp" : "relayed_tcp"),
		act_ct_mark(r, bit, bit), act_mark(r, bit, bit), act_accept(r));
}

/* An error about what the relay sent belongs to its connection, and to this host. */
static void error_rule(struct table_plan *p, uint8_t family, uint8_t protocol)
{
	struct ruleset *r = &p->rules;
	uint32_t bit = p->c->mark_tproxy;

	RULE(r, "to_relay", match_family(r, family), match_protocol(r, protocol),
		match_ct_mark(r, bit, bit), act_mark(r, bit, bit), act_accept(r));
}

/* What never goes to the relay, first of all segments of connections that began without it. */
static void not_relayed_build(struct table_plan *p, const char *chain)
{
	static const uint32_t types[] = {RTN_LOCAL, RTN_BROADCAST, RTN_ANYCAST, RTN_MULTICAST};
	static const uint8_t protocols[] = {IPPROTO_UDP, IPPROTO_TCP};
	struct ruleset *r = &p->rules;

	RULE(r, chain, match_tcp_flags(r, IS_NOT, FLAGS, TH_SYN), act_return(r));
	for (size_t i = 0; i < sizeof protocols && p->c->mode != CONF_INTERCEPT_OFF; i++)
		RULE(r, chain, match_protocol(r, protocols[i]),
			match_port(r, DESTINATION, DNS_PORT), act_return(r));
	for (size_t i = 0; i < sizeof types / sizeof types[0]; i++)
		RULE(r, chain, match_destination_type(r, IS, types[i]), act_return(r));
	RULE(r, chain, match_address(r, DESTINATION, IS, &link_local), act_return(r));
}

static void clients_build(struct table_plan *p)
{
	const struct conf_who *clients = p->c->relay_clients;
	struct ruleset *r = &p->rules;

	for (size_t i = 0; clients && i < clients->prefixes.n; i++)
		RULE(r, "relay_new", match_address(r, SOURCE, IS, &clients->prefixes.v[i]),
			act_goto(r, "to_relay"));
	for (size_t i = 0; clients && i < clients->n_macs; i++)
		RULE(r, "relay_new", match_ether_source(r, clients->macs[i].b),
			act_goto(r, "to_relay"));
}

/* The first packet of a connection from the LAN. */
static void new_build(struct table_plan *p)
{
	const struct table_config *c = p->c;
	const struct conf_exempt *e = c->exempt;
	struct ruleset *r = &p->rules;

	RULE(r, "relay_new", match_mark(r, c->mark_value, c->mark_mask), act_return(r));
	for (size_t i = 0; e && i < e->n_mark; i++)
		RULE(r, "relay_new", match_mark(r, e->mark[i].value, e->mark[i].mask),
			act_return(r));
	not_relayed_build(p, "relay_new");
	EACH_FAMILY(p, f)
	{
		if (c->carried)
			RULE(r, "relay_new",
				match_address_in(r, DESTINATION, f->family, f->carried),
				act_goto(r, "to_relay"));
	}
	/* A mark or a client says nothing about fake addresses, nor what stays in the LAN. */
	EACH_FAMILY(p, f)
	{
		if (f->pool.addr.family != IP_NONE)
			RULE(r, "relay_new", match_address(r, DESTINATION, IS, &f->pool),
				act_return(r));
	}
	for (size_t i = 0; i < c->n_lan; i++)
		RULE(r, "relay_new", match_destination_behind(r, c->lan[i]), act_return(r));
	if (c->relay_mark.mask)
		RULE(r, "relay_new", match_mark(r, c->relay_mark.value, c->relay_mark.mask),
			act_goto(r, "to_relay"));
	clients_build(p);
}

static void lan_build(struct table_plan *p)
{
	const struct table_config *c = p->c;
	struct ruleset *r = &p->rules;

	for (size_t i = 0; i < c->n_lan && !c->no_lan_tproxy; i++)
		RULE(r, "relay_in", match_iif(r, IS, c->lan[i]), act_jump(r, "relay_lan"));
	RULE(r, "relay_lan", match_ct_mark(r, c->mark_tproxy, c->mark_tproxy),
		act_goto(r, "to_relay"));
	RULE(r, "relay_lan", match_ct_new(r), act_goto(r, "relay_new"));
	new_build(p);
	table_gate_build(p, "to_relay");
	socket_rule(p, IPPROTO_TCP, &c->relay_tcp4);
	socket_rule(p, IPPROTO_UDP, &c->relay_udp4);
	socket_rule(p, IPPROTO_TCP, &c->relay_tcp6);
	socket_rule(p, IPPROTO_UDP, &c->relay_udp6);
	error_rule(p, IP_V4, IPPROTO_ICMP);
	error_rule(p, IP_V6, IPPROTO_ICMPV6);
}

/* --- this host's own --- */

/* By lo to the relay's sockets (table_in.c, looped). */
static void act_loop(struct table_plan *p)
{
	uint32_t way = table_own_way(p->c);

	act_mark(&p->rules, way, way);
	act_accept(&p->rules);
}

/* Later segments: conntrack knows the connections that the kernel carries. */
static void own_fake_build(struct table_plan *p)
{
	struct ruleset *r = &p->rules;

	EACH_FAMILY(p, f)
	{
		if (f->pool.addr.family != IP_NONE && f->relay_tcp.addr.family != IP_NONE)
			RULE(r, "relay_out", match_address(r, DESTINATION, IS, &f->pool),
				act_goto(r, "own_fake"));
	}
	table_gate_build(p, "own_fake");
	RULE(r, "own_fake", match_ct_dnat(r), act_accept(r));
	RULE(r, "own_fake", match_tcp_flags(r, IS_NOT, FLAGS, TH_SYN), act_loop(p));
}

static void own_real_build(struct table_plan *p)
{
	const struct table_config *c = p->c;
	struct ruleset *r = &p->rules;

	EACH_FAMILY(p, f)
	{
		if (f->pool.addr.family != IP_NONE)
			RULE(r, "relay_out", match_address(r, DESTINATION, IS, &f->pool),
				act_accept(r));
	}
	RULE(r, "relay_out", match_ct_mark(r, c->mark_tproxy, c->mark_tproxy), table_alive_match(p),
		act_loop(p));
	RULE(r, "relay_out", match_ct_new(r), act_goto(r, "own_new"));
	table_gate_build(p, "own_new");
	table_exempt_build(p, "own_new", false);
	not_relayed_build(p, "own_new");
	EACH_FAMILY(p, f)
	{
		if (c->carried)
			RULE(r, "own_new", match_address_in(r, DESTINATION, f->family, f->carried),
				act_loop(p));
	}
	if (c->relay_mark.mask)
		RULE(r, "own_new", match_mark(r, c->relay_mark.value, c->relay_mark.mask),
			act_loop(p));
}

/* A peer that the relay speaks for sends first (endpoint-independent UDP): the client's answer to
 * it is the relay's as well. Such a packet has a source that is not this host's. */
static void peer_build(struct table_plan *p)
{
	const struct table_config *c = p->c;
	struct ruleset *r = &p->rules;

	RULE(r, "own_peer", match_protocol(r, IPPROTO_UDP), match_ct_new(r),
		match_source_type(r, IS_NOT, RTN_LOCAL),
		act_ct_mark(r, c->mark_tproxy, c->mark_tproxy));
	RULE(r, "own_peer", act_accept(r));
}

static void out_build(struct table_plan *p)
{
	const struct table_config *c = p->c;
	struct ruleset *r = &p->rules;

	rule_open(r, "relay_out");
	match_mark(r, c->mark_value, c->mark_mask);
	if (table_relays_real(c))
		act_goto(r, "own_peer");
	else
		act_accept(r);
	rule_close(r);
	if (table_relays_real(c))
		peer_build(p);
	RULE(r, "relay_out", match_oif(r, IS, "lo"), act_accept(r));
	if (c->self && table_relays_fakes(c))
		own_fake_build(p);
	if (c->self && table_relays_real(c))
		own_real_build(p);
}

void table_relay_build(struct table_plan *p)
{
	const struct table_config *c = p->c;

	if (table_relays_real(c))
		lan_build(p);
	if (table_relays_real(c) || (c->self && table_relays_fakes(c)))
		out_build(p);
}
