/* What comes in. Traps, all met in tests (facts/kernel.md a4, d3):
 * - tproxy stands first in its rule: without a listener the rest of the rule is skipped and the
 * packet goes on as if we were not here;
 * - what comes from TUN to a pool and is taken by nobody would return to TUN for ever: it is
 * dropped and counted;
 * - every packet of the router meets the base chains: they compare what is at hand and leave the
 * gate, a look-up, to the chains behind them;
 * - a flow that conntrack has seen once without NAT never gets NAT: what goes to TUN is not
 * tracked. */
#include "netlink/table_internal.h"

#include <linux/rtnetlink.h>
#include <netinet/tcp.h>

#define DNS_PORT 53
/* An IPv4 packet of 576 bytes, which every link carries whole (RFC 791). */
#define TUN_UDP_MAX 548
#define FLAGS	    (TH_SYN | TH_ACK | TH_RST)

/* This host's own queries. */
static bool loops_dns(const struct table_config *c)
{
	return c->mode != CONF_INTERCEPT_OFF && (c->self || c->mode == CONF_INTERCEPT_TPROXY);
}

static void raw_build(struct table_plan *p)
{
	struct ruleset *r = &p->rules;
	const struct table_config *c = p->c;

	RULE(r, "raw", match_iif(r, IS, c->tun), act_goto(r, "from_tun"));
	/* What the output chains, or the daemon by its raw socket, sent back to us. */
	if (table_loops(c) || loops_dns(c))
		RULE(r, "raw", match_iif(r, IS, "lo"),
			match_mark(r, table_own_way(c), table_own_way(c)), table_alive_match(p),
			act_goto(r, table_loops(c) ? "looped" : "to_socket"));
	RULE(r, "raw", match_iif(r, IS, "lo"), act_accept(r));
	for (size_t i = 0; i < c->n_lan; i++)
		RULE(r, "raw", match_iif(r, IS, c->lan[i]), act_jump(r, "lan"));
	EACH_FAMILY(p, f)
	{
		if (f->pool.addr.family != IP_NONE)
			RULE(r, "raw", match_address(r, DESTINATION, IS, &f->pool),
				table_alive_match(p), act_count(r, "outside"), act_drop(r));
	}
}

static struct ip_prefix probe_host(const struct table_config *c)
{
	return (struct ip_prefix){
		.addr = c->probe_from, .len = (uint8_t)(ip_addr_size(&c->probe_from) * 8)};
}

/* The probe's question goes to TUN in every mode: whether it gets there is what is asked. */
static void lan_probe_build(struct table_plan *p)
{
	struct ip_prefix to = probe_host(p->c);
	struct ruleset *r = &p->rules;

	if (table_probes(p->c))
		RULE(r, "lan", match_address(r, DESTINATION, IS, &to),
			match_protocol(r, IPPROTO_UDP), match_port(r, SOURCE, p->c->probe_port),
			match_port(r, DESTINATION, DNS_PORT), act_notrack(r),
			act_mark(r, p->c->mark_tun, p->c->mark_tun), act_accept(r));
}

static void lan_build(struct table_plan *p)
{
	struct ruleset *r = &p->rules;

	lan_probe_build(p);
	if (p->c->mode != CONF_INTERCEPT_OFF) {
		RULE(r, "lan", match_protocol(r, IPPROTO_UDP), match_port(r, DESTINATION, DNS_PORT),
			act_goto(r, "dns"));
		RULE(r, "lan", match_protocol(r, IPPROTO_TCP), match_port(r, DESTINATION, DNS_PORT),
			act_goto(r, "dns"));
	}
	EACH_FAMILY(p, f)
	{
		if (f->pool.addr.family != IP_NONE)
			RULE(r, "lan", match_address(r, DESTINATION, IS, &f->pool),
				act_goto(r, "fake"));
	}
}

/* UDP to where routing can send it: into TUN. The router's own and link-local addresses it cannot,
 * nor where no route leads. What came in fragments was joined before this chain and would be cut
 * again on its way to TUN; queries that large are left to tproxy. */
static void dns_to_tun_build(struct table_plan *p, const struct table_family *f)
{
	static const struct ip_prefix link_local = {
		.addr = {.b = {0xfe, 0x80}, .family = IP_V6}, .len = 10};
	const struct table_config *c = p->c;
	struct ruleset *r = &p->rules;

	rule_open(r, "dns");
	match_protocol(r, IPPROTO_UDP);
	if (f->family == IP_V6)
		match_address(r, DESTINATION, IS_NOT, &link_local);
	else
		match_family(r, f->family);
	match_udp_length_up_to(r, TUN_UDP_MAX);
	match_destination_type(r, IS, RTN_UNICAST);
	act_count(r, "taken_udp");
	act_notrack(r);
	act_mark(r, c->mark_tun, c->mark_tun);
	act_accept(r);
	rule_close(r);
}

static void dns_build(struct table_plan *p)
{
	static const uint32_t not_taken[] = {RTN_BROADCAST, RTN_ANYCAST, RTN_MULTICAST};
	const struct table_config *c = p->c;
	struct ruleset *r = &p->rules;

	table_gate_build(p, "dns");
	for (size_t i = 0; c->exempt && i < c->exempt->n_mark; i++)
		RULE(r, "dns", match_mark(r, c->exempt->mark[i].value, c->exempt->mark[i].mask),
			act_accept(r));
	RULE(r, "dns", match_mark(r, c->mark_value, c->mark_mask), act_accept(r));
	EACH_FAMILY(p, f)
	{
		if (f->has_exempt)
			RULE(r, "dns", match_address_in(r, DESTINATION, f->family, f->exempt),
				act_accept(r));
	}
	if (c->mode == CONF_INTERCEPT_TUN) { /* first: one look-up in the fib for most packets */
		EACH_FAMILY(p, f)
		{
			if (f->taken)
				dns_to_tun_build(p, f);
		}
	}
	for (size_t i = 0; i < sizeof not_taken / sizeof not_taken[0]; i++)
		RULE(r, "dns", match_destination_type(r, IS, not_taken[i]), act_accept(r));
	if (!c->no_lan_tproxy)
		RULE(r, "dns", act_goto(r, "to_socket"));
}

static void tproxy_rule(struct table_plan *p, uint8_t protocol, const struct ip_port *listener)
{
	struct ruleset *r = &p->rules;
	uint32_t bit = p->c->mark_tproxy;

	if (listener->addr.family == IP_NONE)
		return;
	RULE(r, "to_socket", match_family(r, listener->addr.family), match_protocol(r, protocol),
		act_tproxy(r, listener),
		act_count(r, protocol == IPPROTO_UDP ? "taken_udp" : "taken_tcp"), act_notrack(r),
		act_mark(r, bit, bit), act_accept(r));
}

/* A connection to a fake address whose egress is open, put back by the daemon or sent by this host:
 * to the relay. Without its listener this host itself gets it, and refuses. */
static void looped_build(struct table_plan *p)
{
	const struct table_config *c = p->c;
	struct ruleset *r = &p->rules;

	if (loops_dns(c)) {
		RULE(r, "looped", match_protocol(r, IPPROTO_UDP),
			match_port(r, DESTINATION, DNS_PORT), act_goto(r, "to_socket"));
		RULE(r, "looped", match_protocol(r, IPPROTO_TCP),
			match_port(r, DESTINATION, DNS_PORT), act_goto(r, "to_socket"));
	}
	EACH_FAMILY(p, f)
	{
		if (f->pool.addr.family == IP_NONE)
			continue;
		if (f->relay_tcp.addr.family != IP_NONE)
			RULE(r, "looped", match_address(r, DESTINATION, IS, &f->pool),
				match_protocol(r, IPPROTO_TCP), act_tproxy(r, &f->relay_tcp),
				act_notrack(r), act_mark(r, c->mark_tproxy, c->mark_tproxy),
				act_accept(r));
		RULE(r, "looped", match_address(r, DESTINATION, IS, &f->pool), act_accept(r));
	}
	if (c->self && table_relays_real(c))
		RULE(r, "looped", act_goto(r, "to_relay"));
}

/* TUN's own address lies in the pool, but is this host's: its own connections to fake addresses
 * begin there, and what we write to them is not tracked as they are not. */
static void to_tun_address_rule(
	struct table_plan *p, const char *chain, const struct table_family *f)
{
	struct ip_prefix tun = {.addr = f->tun, .len = (uint8_t)(ip_addr_size(&f->tun) * 8)};
	struct ruleset *r = &p->rules;

	if (tun.addr.family != IP_NONE)
		RULE(r, chain, match_address(r, DESTINATION, IS, &tun), act_notrack(r),
			act_accept(r));
}

/* To us: as a copy where the host's firewall keeps packets from TUN. */
static void to_daemon(struct table_plan *p)
{
	struct ruleset *r = &p->rules;

	if (p->c->mode == CONF_INTERCEPT_TPROXY && p->c->nflog_group) {
		act_log(r, p->c->nflog_group);
		act_drop(r);
	} else {
		act_notrack(r);
		act_accept(r);
	}
}

/* What an egress rejects is answered by the daemon. */
static void reject_build(struct table_plan *p, const struct table_family *f)
{
	struct ruleset *r = &p->rules;

	for (size_t i = 0; i < p->c->n_egresses; i++) {
		const struct table_egress *e = &p->c->egresses[i];

		if (!e->reject_udp && !e->reject_quic)
			continue;
		rule_open(r, "fake");
		table_reject_match(p, f, i);
		to_daemon(p);
		rule_close(r);
	}
}

/* A SYN for a connection that the relay has closed and that waits for its end (TIME-WAIT), or that
 * is just being opened. It must be held like any other, but the kernel has a socket for it and will
 * not forward it to TUN: it comes as a copy. If nobody reads those, the relay takes it at once. */
static void syn_again_build(struct table_plan *p, const struct table_family *f)
{
	const struct table_config *c = p->c;
	struct ruleset *r = &p->rules;

	rule_open(r, "fake");
	match_family(r, f->family);
	match_protocol(r, IPPROTO_TCP);
	match_socket_transparent(r);
	if (c->nflog_group) {
		act_log(r, c->nflog_group);
		act_drop(r);
	} else {
		act_tproxy(r, &f->relay_tcp);
		act_notrack(r);
		act_mark(r, c->mark_tproxy, c->mark_tproxy);
		act_accept(r);
	}
	rule_close(r);
}

/* To a pool, from where it is carried. */
static void fake_build(struct table_plan *p)
{
	struct ruleset *r = &p->rules;

	table_gate_build(p, "fake");
	if (table_relays_fakes(p->c))
		RULE(r, "fake", match_tcp_flags(r, IS_NOT, FLAGS, TH_SYN),
			match_socket_transparent(r), act_notrack(r),
			act_mark(r, p->c->mark_tproxy, p->c->mark_tproxy), act_accept(r));
	EACH_FAMILY(p, f)
	{
		if (f->pool.addr.family == IP_NONE)
			continue;
		to_tun_address_rule(p, "fake", f);
		reject_build(p, f);
		RULE(r, "fake", match_address_in(r, DESTINATION, f->family, f->nat), act_accept(r));
	}
	/* Of a direct connection that outlived its element: conntrack knows where it goes. */
	RULE(r, "fake", match_tcp_flags(r, IS_NOT, FLAGS, TH_SYN), act_accept(r));
	EACH_FAMILY(p, f)
	{
		if (f->pool.addr.family == IP_NONE || f->relay_tcp.addr.family == IP_NONE)
			continue;
		syn_again_build(p, f);
		/* An error about what the relay sent, such as "packet too big". */
		RULE(r, "fake", match_family(r, f->family),
			match_protocol(r, f->family == IP_V4 ? IPPROTO_ICMP : IPPROTO_ICMPV6),
			match_socket_transparent(r), act_notrack(r),
			act_mark(r, p->c->mark_tproxy, p->c->mark_tproxy), act_accept(r));
	}
	RULE(r, "fake", to_daemon(p));
}

static void from_tun_build(struct table_plan *p)
{
	struct ruleset *r = &p->rules;

	table_gate_build(p, "from_tun");
	EACH_FAMILY(p, f)
	{
		if (f->pool.addr.family == IP_NONE)
			continue;
		to_tun_address_rule(p, "from_tun", f);
		RULE(r, "from_tun", match_address_in(r, DESTINATION, f->family, f->nat),
			act_accept(r));
		RULE(r, "from_tun", match_address(r, DESTINATION, IS, &f->pool),
			act_count(r, "stray"), act_drop(r));
	}
	/* DNS answers, ICMP errors, RSTs and echo replies that we wrote. */
	RULE(r, "from_tun", act_notrack(r), act_accept(r));
}

/* What conntrack takes for broken never gets its NAT (a wrong checksum, an error about nothing that
 * it knows, a source that is the target): it would be put back and come again, for ever if it is
 * this host's. Stray segments, which are answered, do not get here. */
static void broken_rule(struct table_plan *p, const char *chain, const struct table_family *f)
{
	struct ruleset *r = &p->rules;

	RULE(r, chain, match_address(r, DESTINATION, IS, &f->pool), match_ct_invalid(r),
		act_count(r, "stray"), act_drop(r));
}

static void to_tun_build(struct table_plan *p)
{
	const struct table_config *c = p->c;
	struct ruleset *r = &p->rules;

	RULE(r, "to_tun", match_oif(r, IS_NOT, c->tun), act_accept(r));
	/* What we have put back for the kernel to carry, and it did not. */
	EACH_FAMILY(p, f)
	{
		if (f->pool.addr.family != IP_NONE)
			RULE(r, "to_tun", match_mark(r, c->mark_value, c->mark_mask),
				match_address(r, DESTINATION, IS, &f->pool), act_count(r, "stray"),
				act_drop(r));
	}
	RULE(r, "to_tun", match_tcp_flags(r, IS_NOT, FLAGS, TH_SYN), act_accept(r));
	EACH_FAMILY(p, f)
	{
		if (f->pool.addr.family != IP_NONE)
			broken_rule(p, "to_tun", f);
	}
}

/* Without TUN, what no NAT took reaches forward with its fake address: it comes to us as a copy. */
static void forward_build(struct table_plan *p)
{
	struct ruleset *r = &p->rules;

	if (table_probes(p->c))
		RULE(r, "forward", match_mark(r, p->c->mark_tun, p->c->mark_tun), act_accept(r));
	EACH_FAMILY(p, f)
	{
		if (f->pool.addr.family != IP_NONE)
			RULE(r, "forward", match_address(r, DESTINATION, IS, &f->pool),
				act_goto(r, "copied"));
	}
	RULE(r, "copied", match_tcp_flags(r, IS_NOT, FLAGS, TH_SYN), act_log(r, p->c->nflog_group),
		act_drop(r));
	EACH_FAMILY(p, f)
	{
		if (f->pool.addr.family != IP_NONE)
			broken_rule(p, "copied", f);
	}
	RULE(r, "copied", act_log(r, p->c->nflog_group), act_drop(r));
}

static void probe_build(struct table_plan *p)
{
	struct ruleset *r = &p->rules;
	struct ip_prefix from = probe_host(p->c);

	RULE(r, "probe", match_address(r, SOURCE, IS, &from), match_protocol(r, IPPROTO_UDP),
		match_port(r, SOURCE, DNS_PORT), match_port(r, DESTINATION, p->c->probe_port),
		act_count(r, "probe"), act_drop(r));
}

void table_in_build(struct table_plan *p)
{
	const struct table_config *c = p->c;
	bool pools = table_has_pool(c);

	raw_build(p);
	lan_build(p);
	from_tun_build(p);
	if (c->mode != CONF_INTERCEPT_OFF) {
		dns_build(p);
		tproxy_rule(p, IPPROTO_UDP, &c->udp4);
		tproxy_rule(p, IPPROTO_UDP, &c->udp6);
		tproxy_rule(p, IPPROTO_TCP, &c->tcp4);
		tproxy_rule(p, IPPROTO_TCP, &c->tcp6);
	}
	if (table_loops(c))
		looped_build(p);
	if (pools) {
		fake_build(p);
		to_tun_build(p);
	}
	if (pools && c->mode == CONF_INTERCEPT_TPROXY && c->nflog_group)
		forward_build(p);
	if (table_probes(c))
		probe_build(p);
}
