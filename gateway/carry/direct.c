/* Direct egress: the real address is resolved where the connection leaves and written into our nft
 * maps; the held packets are put back, and the kernel carries. What stands behind a fake address is
 * remembered longer than the kernel's element (decisions.h): as long as flows live it stays the
 * same, and an element that was lost is written again without asking anybody. */
#include "gateway/base/container.h"
#include "gateway/base/count.h"
#include "gateway/carry/carry_internal.h"

#include <errno.h>
#include <string.h>

#define DECIDE_MS     6000 /* above any group's own total */
#define ELEMENT_MIN_S 20
#define ELEMENT_MAX_S 3600

static uint32_t now_s(const struct carry *c)
{
	return c->c.clock_s();
}

static struct decision_pin *pin_of(struct decision *d, uint8_t family)
{
	return family == IP_V4 ? &d->pin4 : &d->pin6;
}

/* --- the kernel carries --- */

static void put_back(struct deciding *d, const struct tun_packet *p, unsigned ifindex)
{
	struct carry *c = d->carry;
	struct ip_addr source = tun_packet_source(p);
	bool own = hosts_contain(c->c.hosts, &source);

	if (p->protocol == IPPROTO_UDP && verdict_rejects_udp(d->leaf, p->target_port)) {
		answer_refuse(c, p, ifindex, TUN_PORT_UNREACHABLE, false);
		return;
	}
	/* What was made on this machine may not have its checksum yet (NFLOG sees it before the
	 * device would). */
	if (ifindex && p->fragment == TUN_WHOLE)
		tun_packet_checksum_set(p);
	/* A connection of this host by the relay leaves an entry without NAT behind, which the next
	 * one from the same port must not meet. */
	if (own && p->protocol == IPPROTO_TCP && c->conntrack) {
		struct ip_port from = {.addr = source, .port = p->source_port};
		struct ip_port to = {.addr = d->fake, .port = p->target_port};

		(void)conntrack_forget(c->conntrack, IPPROTO_TCP, &from, &to);
	}
	if (inject_put_back(c->c.inject, c->c.tun_fd, p->data, p->len, ifindex, own))
		answer_refuse(c, p, ifindex, TUN_HOST_UNREACHABLE, false);
}

static void written(struct writer_job *job)
{
	struct deciding *d = container_of(job, struct deciding, job);

	if (job->result < 0) {
		deciding_end(d, deciding_unreachable);
		return;
	}
	count_add(&d->carry->counters.decided, 1);
	deciding_end(d, put_back);
}

static void write_element(struct deciding *d)
{
	struct carry *c = d->carry;
	uint32_t now = now_s(c), timeout_s = d->pin.until_s > now ? d->pin.until_s - now : 1;

	/* Packets that the kernel carries are not seen here: in use for as long as it may. */
	fakeip_touch_until(c->c.fakeip, d->index, d->pin.until_s);
	d->job.client = c->c.writer_client;
	d->job.done = written;
	d->job.n = 2;
	d->job.elements[0] = (struct writer_element){.op = WRITER_EGRESS_SET,
		.number = d->leaf->index,
		.timeout_s = timeout_s,
		.addr = d->fake};
	d->job.elements[1] = (struct writer_element){
		.op = WRITER_NAT_SET, .timeout_s = timeout_s, .addr = d->fake, .real = d->pin.real};
	writer_submit(c->c.writer, &d->job);
}

/* --- the relay carries: the real side has only the other family --- */

static void relay_direct(struct carry *c, const struct arrival *a, const struct policy_egress *leaf,
	const struct ip_addr *real)
{
	struct egress_target target = {.at.addr = *real};

	carry_relayed(c, a, leaf, leaf->index, &target);
}

/* --- resolving --- */

struct pick {
	const struct carry *carry;
	const struct ip_addr *pinned;
	size_t size;
	struct ip_addr real;
	uint32_t ttl_s;
};

/* The first address that may be dialled, or the one that flows have already. */
static void pick_address(void *arg, const uint8_t *address, size_t size, uint32_t ttl_s)
{
	struct pick *pick = arg;
	struct ip_addr a = ip_addr_of(address, size);

	if (size != pick->size || ip_addr_size(&a) != size || !carry_is_far(pick->carry, &a))
		return;
	if (pick->real.family != IP_NONE && !ip_addr_equal(&a, pick->pinned))
		return;
	pick->real = a;
	pick->ttl_s = ttl_s;
}

static void ask(struct deciding *d);

static uint8_t asked_family(const struct deciding *d)
{
	bool v4 = (d->fake.family == IP_V4) != d->other_family;

	return v4 ? IP_V4 : IP_V6;
}

/* Flows that live go on to the address that they have, whatever a resolver says meanwhile. */
static bool has_flows(struct carry *c, const struct ip_addr *fake)
{
	return c->conntrack && conntrack_has(c->conntrack, fake) > 0;
}

static void resolved(struct resolve_request *rq, const uint8_t *msg, size_t len, int error)
{
	struct deciding *d = container_of(rq, struct deciding, request);
	struct carry *c = d->carry;
	struct ip_addr pinned = d->pin.real;
	struct pick pick = {
		.carry = c, .size = asked_family(d) == IP_V4 ? 4 : 16, .pinned = &pinned};
	uint32_t ttl_s;

	/* Its rule and its egress's number are of a configuration that is over. */
	if (error != -ECANCELED && d->gen->policy != c->gen->policy) {
		deciding_end(d, deciding_again);
		return;
	}
	if (!error)
		dns_response_addresses(msg, len, pick_address, &pick);
	if (pick.real.family == IP_NONE && !d->other_family && error != -ECANCELED) {
		d->other_family = true;
		ask(d);
		return;
	}
	if (pick.real.family == IP_NONE) {
		deciding_end(d, deciding_unreachable);
		return;
	}
	if (pinned.family == d->fake.family && !ip_addr_equal(&pinned, &pick.real) &&
		has_flows(c, &d->fake))
		pick.real = pinned;
	ttl_s = pick.ttl_s < ELEMENT_MIN_S   ? ELEMENT_MIN_S
		: pick.ttl_s > ELEMENT_MAX_S ? ELEMENT_MAX_S
					     : pick.ttl_s;
	d->pin = (struct decision_pin){
		.real = pick.real, .egress = d->leaf->id, .until_s = now_s(c) + ttl_s};
	decisions_set_pin(c->c.shared->decisions, d->key, d->fake.family, &d->pin, now_s(c));
	if (d->pin.real.family == d->fake.family)
		write_element(d);
	else
		deciding_end(d, deciding_again);
}

static void ask(struct deciding *d)
{
	struct carry *c = d->carry;
	const struct resolve_question q = {.group = d->verdict.upstream,
		.name = &d->name,
		.type = asked_family(d) == IP_V4 ? DNS_A : DNS_AAAA,
		.flags = (uint8_t)generation_flags(d->verdict.rule),
		.ttl = &d->verdict.rule->ttl};

	generation_ask(d->gen, c->c.resolver, &q, loop_now_ms(c->c.loop) + DECIDE_MS, &d->request,
		resolved);
}

void direct_packet(struct carry *c, const struct arrival *a, const struct verdict *v,
	const struct policy_egress *leaf)
{
	const struct decision_pin *pin;
	struct decision known;
	struct deciding *d;
	bool fresh;

	decisions_get(c->c.shared->decisions, a->key, now_s(c), &known);
	pin = pin_of(&known, a->target.family);
	fresh = pin->egress == leaf->id && pin->until_s > now_s(c);
	if (fresh && pin->real.family != a->target.family && pin->real.family != IP_NONE) {
		relay_direct(c, a, leaf, &pin->real);
		return;
	}
	if (a->p->protocol == IPPROTO_UDP && verdict_rejects_udp(leaf, a->p->target_port)) {
		answer_refuse(c, a->p, a->ifindex, TUN_PORT_UNREACHABLE, false);
		return;
	}
	if (v->upstream < 0) {
		answer_refuse(c, a->p, a->ifindex, TUN_PROHIBITED, false);
		return;
	}
	d = deciding_begin(c, a);
	if (!d)
		return;
	d->verdict = *v;
	d->leaf = leaf;
	if (pin->egress == leaf->id)
		d->pin = *pin;
	if (fresh)
		write_element(d);
	else
		ask(d);
}
