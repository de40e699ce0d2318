/* The way of a packet to a fake address: what does it mean → what does the rule say → who carries
 * it. carry_arrived() is at the end of that part; what it calls stands above it. */
#include "gateway/base/container.h"
#include "gateway/base/count.h"
#include "gateway/carry/carry_internal.h"

#include <ctype.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define TICK_MS	    1000
#define UDP_IDLE_MS 60000 /* interface.md, idle: of UDP at most */
#define LOOKUPS_MAX 256	  /* proxies' names */

/* --- what a configuration says --- */

const struct policy_egress *carry_leaf(const struct carry *c, const struct policy_egress *egress)
{
	const struct policy_egress *all;

	if (egress->type != CONF_EGRESS_GROUP)
		return egress;
	policy_egresses(c->gen->policy, &all);
	return &all[egress_choose(c->gen->egresses, egress->index)];
}

unsigned carry_udp_idle_ms(const struct conf_egress *e)
{
	return e->udp_idle_ms ? e->udp_idle_ms : UDP_IDLE_MS;
}

bool carry_host(const struct dns_name *name, char ret[EGRESS_HOST_MAX + 1])
{
	size_t n = 0;

	for (size_t at = 0; name->b[at]; at += name->b[at] + 1u) {
		if (n)
			ret[n++] = '.';
		for (size_t i = 1; i <= name->b[at]; i++) {
			uint8_t b = name->b[at + i];

			if (!isalnum(b) && b != '-' && b != '_')
				return false;
			ret[n++] = (char)b;
		}
	}
	ret[n] = 0;
	return n > 0;
}

/* 0/8 and :: are this host to the kernel, multicast and broadcast are many hosts or none, and a
 * link-local IPv6 address needs an interface that no answer tells. */
static bool is_one_host(const struct ip_addr *a)
{
	static const uint8_t none[16];

	if (a->family == IP_V4)
		return a->b[0] != 0 && a->b[0] < 224;
	return a->b[0] != 0xff && memcmp(a->b, none, 16) != 0 && !ip_addr_is_link_local(a);
}

bool carry_is_far(const struct carry *c, const struct ip_addr *a)
{
	return is_one_host(a) && !fakeip_in_pools(c->c.fakeip, a->b, ip_addr_size(a)) &&
	       !hosts_contain(c->c.hosts, a);
}

/* Proxies may listen on this host, but not where we do. */
static bool is_ourselves(void *arg, const struct ip_port *to)
{
	const struct carry *c = arg;

	if (fakeip_in_pools(c->c.fakeip, to->addr.b, ip_addr_size(&to->addr)))
		return true;
	if (!hosts_contain(c->c.hosts, &to->addr) && !ip_addr_is_loopback(&to->addr))
		return false;
	for (size_t i = 0; i < c->c.n_own_ports; i++)
		if (c->c.own_ports[i] == to->port)
			return true;
	return false;
}

/* A dial may outlive its configuration; the number of a group means another one by now. */
static void proxy_look_up(void *arg, const struct egress_set *s, int bootstrap, const char *host,
	struct egress_lookup *l)
{
	struct carry *c = arg;

	lookups_begin(&c->lookups, c->gen->groups, s == c->gen->egresses ? bootstrap : -1, host, l);
}

/* --- the way of a packet --- */

static void relayed_udp(struct carry *c, const struct arrival *a, const struct policy_egress *leaf,
	unsigned egress, const struct egress_target *target)
{
	const struct conf_egress *e = egress_conf(c->gen->egresses, leaf->index);
	struct udp_way way = {.egresses = c->gen->egresses,
		.egress = egress_goes_by_name(c->gen->egresses, egress) ? egress : leaf->index,
		.idle_ms = carry_udp_idle_ms(e),
		.target = *target};

	if (verdict_rejects_udp(leaf, a->p->target_port) ||
		!egress_takes_udp(c->gen->egresses, way.egress)) {
		answer_refuse(c, a->p, a->ifindex, TUN_PORT_UNREACHABLE, false);
		return;
	}
	if (udp_relay_fake_open(c->udp, a->p, a->ifindex, a->index, &way)) {
		count_add(&c->counters.overflow, 1);
		answer_refuse(c, a->p, a->ifindex, TUN_PORT_UNREACHABLE, false);
		return;
	}
	count_add(&c->counters.decided, 1);
	udp_relay_fake(c->udp, a->p, a->ifindex);
}

void carry_relayed(struct carry *c, const struct arrival *a, const struct policy_egress *leaf,
	unsigned egress, const struct egress_target *target)
{
	struct egress_target to = *target;
	struct tun_echo echo;

	to.at.port = a->p->target_port;
	to.client = a->source;
	to.client_is_host = hosts_contain(c->c.hosts, &a->source);
	if (a->p->protocol == IPPROTO_TCP && a->p->fragment == TUN_WHOLE)
		syn_arrived(c, a, egress, &to);
	else if (a->p->protocol == IPPROTO_UDP && a->p->fragment == TUN_WHOLE)
		relayed_udp(c, a, leaf, egress, &to);
	else if (tun_packet_echo(a->p, &echo) && leaf->ping)
		answer_echo(c, a->p, a->ifindex);
	else if (tun_packet_echo(a->p, &echo) || a->p->fragment != TUN_WHOLE)
		answer_refuse(c, a->p, a->ifindex, TUN_HOST_UNREACHABLE, false);
	else
		answer_refuse(c, a->p, a->ifindex, TUN_PROTOCOL_UNREACHABLE, false);
}

static void by_proxy(
	struct carry *c, const struct arrival *a, const struct policy_egress *leaf, unsigned egress)
{
	struct dns_name name = verdict_name(a->m);
	struct egress_target target = {0};

	if (carry_host(&name, target.host))
		carry_relayed(c, a, leaf, egress, &target);
	else
		answer_refuse(c, a->p, a->ifindex, TUN_HOST_UNREACHABLE, false);
}

static void go(struct carry *c, const struct arrival *a, const struct verdict *v)
{
	const struct policy_egress *leaf = v->egress ? carry_leaf(c, v->egress) : NULL;

	if (!leaf || leaf->type == CONF_EGRESS_REJECT) {
		answer_refuse(c, a->p, a->ifindex, TUN_PROHIBITED, false);
		return;
	}
	decisions_set_carried(c->c.shared->decisions, a->key, leaf->id,
		v->egress == v->rule->egress ? DECISION_RULE : DECISION_UNLESS, c->c.clock_s());
	if (leaf->type == CONF_EGRESS_DIRECT)
		direct_packet(c, a, v, leaf);
	else
		by_proxy(c, a, leaf, v->egress->index);
}

/* A segment of a connection that the kernel no longer knows: the other end must hear that it is
 * gone. On its way here it may have become one that is tracked, without NAT: the next connection
 * from the same port would miss its NAT. */
static bool is_stray(const struct tun_packet *p)
{
	struct tun_tcp tcp;

	return tun_packet_tcp(p, &tcp) &&
	       (tcp.flags & (TUN_TCP_SYN | TUN_TCP_ACK | TUN_TCP_RST)) != TUN_TCP_SYN;
}

static void end_stray(struct carry *c, const struct tun_packet *p, unsigned ifindex)
{
	struct ip_port source = {.addr = tun_packet_source(p), .port = p->source_port};
	struct ip_port target = {.addr = tun_packet_target(p), .port = p->target_port};

	if (c->conntrack)
		(void)conntrack_forget(c->conntrack, IPPROTO_TCP, &source, &target);
	answer_refuse(c, p, ifindex, TUN_HOST_UNREACHABLE, true);
}

/* The index behind an address, kept from being given to another name from now on. */
static bool touch(struct carry *c, const struct ip_addr *target, uint32_t *ret_index)
{
	if (!(target->family == IP_V4 ? fakeip_index4(c->c.fakeip, target->b, ret_index)
				      : fakeip_index6(c->c.fakeip, target->b, ret_index)))
		return false;
	fakeip_touch(c->c.fakeip, *ret_index, c->c.clock_s());
	return true;
}

void carry_arrived(struct carry *c, const struct tun_packet *p, unsigned ifindex)
{
	struct arrival a = {.p = p,
		.ifindex = ifindex,
		.source = tun_packet_source(p),
		.target = tun_packet_target(p)};
	struct fakeip_mapping m;
	struct policy_who who;
	struct dns_name name;
	struct deciding *d;
	struct verdict v;

	if (c->stopping)
		return;
	/* First of all: of what comes here, only datagrams come all the time. */
	if (p->protocol == IPPROTO_UDP && udp_relay_fake(c->udp, p, ifindex))
		return;
	if (!touch(c, &a.target, &a.index) || fakeip_get(c->c.fakeip, a.index, &m)) {
		count_add(&c->counters.unmapped, 1);
		answer_refuse(c, p, ifindex,
			p->protocol == IPPROTO_UDP ? TUN_PORT_UNREACHABLE : TUN_HOST_UNREACHABLE,
			true);
		return;
	}
	if (is_stray(p)) {
		end_stray(c, p, ifindex);
		return;
	}
	d = deciding_find(c, &a.target);
	if (d) {
		deciding_hold(d, p, ifindex);
		return;
	}
	a.m = &m;
	name = verdict_name(&m);
	a.key = decisions_key(c->c.shared->decisions, a.index, &name, m.view);
	v = verdict_fake(c->gen->policy, &m, &a.source,
		generation_who(c->gen, c->c.neighbours, &a.source, &who));
	if (v.egress && v.rule->n_unless && !unless_apply(c, &a, &v))
		return;
	go(c, &a, &v);
}

/* What came by NFLOG has not passed the kernel's own look at where it says that it is from, and of
 * IPv6 the kernel lets this host's own addresses in: nobody is dialled for those, and nobody could
 * be told. */
static bool has_sender(const struct carry *c, const struct tun_packet *p, unsigned ifindex)
{
	struct ip_addr source = tun_packet_source(p);
	bool own = hosts_contain(c->c.hosts, &source);

	if (!is_one_host(&source) || ip_addr_is_loopback(&source))
		return false;
	if (own)
		return ifindex == 0;
	return !fakeip_in_pools(c->c.fakeip, source.b, ip_addr_size(&source));
}

void carry_packet(struct carry *c, uint8_t *packet, size_t len, unsigned ifindex)
{
	struct tun_packet p;

	if (tun_packet_parse(packet, len, &p))
		return;
	count_add(&c->counters.packets, 1);
	if (has_sender(c, &p, ifindex))
		carry_arrived(c, &p, ifindex);
	else
		count_add(&c->counters.refused, 1);
}

/* --- what queries tell --- */

void carry_faked(struct carry *c, uint32_t index, const struct policy_rule *rule,
	const struct ip_addr *client, const struct dns_name *name)
{
	struct decision_key key = decisions_key(c->c.shared->decisions, index, name, rule->view);
	struct decision known;
	uint32_t now_s = c->c.clock_s();

	(void)client;
	if (c->stopping || (decisions_get(c->c.shared->decisions, key, now_s, &known) &&
				   known.rule == rule->id && known.verdict_until_s > now_s))
		return;
	unless_ask(c, key, rule, name, NULL);
}

struct told {
	struct carry *carry;
	const struct ip_addr *client;
	const struct dns_name *name;
};

static void note_address(void *arg, const uint8_t *address, size_t size, uint32_t ttl_s)
{
	const struct told *t = arg;
	struct ip_addr a = ip_addr_of(address, size);

	real_told(t->carry, t->client, &a, t->name, ttl_s);
}

void carry_told(struct carry *c, const struct ip_addr *client, const struct dns_name *name,
	const uint8_t *msg, size_t len)
{
	struct told t = {c, client, name};

	if (!c->wants_names)
		return;
	dns_response_addresses(msg, len, note_address, &t);
}

/* --- start and stop --- */

static void relay_ended(void *arg, void *owner, uint64_t number)
{
	struct carry *c = arg;

	egress_flow_end(owner);
	if (number != UINT32_MAX) {
		fakeip_touch(c->c.fakeip, (uint32_t)number, c->c.clock_s());
		fakeip_release(c->c.fakeip, (uint32_t)number);
	}
}

static void tick(struct loop_timer *t)
{
	struct carry *c = container_of(t, struct carry, tick);

	if (c->c.checks)
		waiting_expire(c->c.shared->waiting, loop_now_ms(c->c.loop));
	loop_timer_set(c->c.loop, t, loop_now_ms(c->c.loop) + TICK_MS);
}

static int make_rooms(struct carry *c)
{
	struct egress_dialer_config dc = {.loop = c->c.loop,
		.resolve = proxy_look_up,
		.resolve_cancel = lookups_cancel,
		.forbidden = is_ourselves,
		.arg = c};
	struct relay_config rc = {
		.loop = c->c.loop, .ended = relay_ended, .arg = c, .max = c->c.max_flows};
	struct udp_relay_config uc = {.loop = c->c.loop,
		.fakeip = c->c.fakeip,
		.inject = c->c.inject,
		.hosts = c->c.hosts,
		.clock_s = c->c.clock_s,
		.max = c->c.max_flows};
	int error = egress_dialer_new(&dc, &c->dialer);

	if (!error)
		error = relay_new(&rc, &c->relay);
	uc.dialer = c->dialer;
	if (!error)
		error = udp_relay_new(&uc, &c->udp);
	if (!error)
		error = real_new(c, &c->real);
	return error;
}

int carry_new(const struct carry_config *config, struct carry **ret)
{
	struct carry *c = calloc(1, sizeof *c);
	int error;

	if (!c)
		return -ENOMEM;
	c->c = *config;
	c->tick.fire = tick;
	syn_init(c);
	lookups_init(&c->lookups, c->c.loop, c->c.resolver, LOOKUPS_MAX);
	if (conntrack_open(&c->conntrack)) /* the kernel has none: then it carries nothing either */
		c->conntrack = NULL;
	error = make_rooms(c);
	if (error) {
		carry_free(c);
		return error;
	}
	udp_relay_set_tun(c->udp, c->c.tun_fd);
	loop_timer_set(c->c.loop, &c->tick, loop_now_ms(c->c.loop) + TICK_MS);
	*ret = c;
	return 0;
}

static void dialer_is_stopped(void *arg)
{
	((struct carry *)arg)->dialer_stopped = true;
}

void carry_stop(struct carry *c)
{
	c->stopping = true;
	loop_timer_cancel(c->c.loop, &c->tick);
	accept_stop(c);
	real_stop(c->real);
	udp_relay_stop(c->udp);
	relay_stop(c->relay);
	egress_dialer_stop(c->dialer, dialer_is_stopped, c);
}

bool carry_idle(const struct carry *c)
{
	return c->n_deciding == 0 && c->n_asking == 0 && c->n_syns == 0 && c->lookups.n == 0 &&
	       c->dialer_stopped && accept_idle(c) && real_idle(c->real) && relay_idle(c->relay);
}

void carry_free(struct carry *c)
{
	if (!c)
		return;
	if (c->dialer && !c->dialer_stopped) /* never ran: nothing is in flight */
		egress_dialer_stop(c->dialer, dialer_is_stopped, c);
	real_free(c->real);
	udp_relay_free(c->udp);
	relay_free(c->relay);
	accept_free(c);
	conntrack_close(c->conntrack);
	slab_fini(&c->syns);
	lookups_fini(&c->lookups);
	generation_unref(c->gen);
	free(c);
}

void carry_use(struct carry *c, struct generation *g)
{
	/* Each worker says so: once the last has changed over, nobody notes a verdict of the old
	 * policy any more. */
	if (c->gen && c->gen->policy != g->policy)
		decisions_forget_verdicts(c->c.shared->decisions);
	generation_ref(g);
	generation_unref(c->gen);
	c->gen = g;
	c->wants_names |= g->relays_real || policy_carries(g->policy, true, 0);
	if (c->c.checks && !c->stopping)
		egress_dialer_check(c->dialer, g->egresses);
}

void carry_set_tun(struct carry *c, int tun_fd)
{
	c->c.tun_fd = tun_fd;
	udp_relay_set_tun(c->udp, tun_fd);
}

const struct carry_counters *carry_counters(const struct carry *c)
{
	return &c->counters;
}

const struct relay_counters *carry_relay_counters(const struct carry *c)
{
	return relay_counters(c->relay);
}

const struct udp_relay_counters *carry_udp_counters(const struct carry *c)
{
	return udp_relay_counters(c->udp);
}
