#include "gateway/carry/carry.h"
#include "gateway/base/container.h"
#include "gateway/base/count.h"
#include "gateway/carry/verdict.h"
#include "gateway/tun/packet.h"

#include <errno.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>

#define DECIDING_MAX  512
#define BUCKETS	      256
#define HELD_EACH     8	  /* packets of one flow's beginning */
#define HELD_MAX      512 /* in all */
#define PACKET_MAX    9216
#define DECIDE_MS     6000 /* above any group's own total */
#define ELEMENT_MIN_S 60
#define ELEMENT_MAX_S 3600

struct held {
	struct held *next;
	size_t len;
	unsigned ifindex;
	uint8_t packet[];
};

/* One fake address whose egress is being made ready; packets to it wait here. */
struct deciding {
	struct deciding *next; /* in its bucket */
	struct carry *carry;
	struct ip_addr fake;
	struct generation *gen; /* a reference */
	struct verdict verdict;
	struct dns_name name;
	struct resolve_request request;
	struct writer_job job;
	struct held *held, **held_end;
	unsigned n_held;
};

struct carry {
	struct carry_config c;
	struct generation *gen;
	struct carry_counters counters;
	struct deciding *buckets[BUCKETS];
	unsigned n_deciding, n_held;
};

int carry_new(const struct carry_config *config, struct carry **ret)
{
	struct carry *c = calloc(1, sizeof *c);

	if (!c)
		return -ENOMEM;
	c->c = *config;
	*ret = c;
	return 0;
}

void carry_free(struct carry *c)
{
	if (!c)
		return;
	generation_unref(c->gen);
	free(c);
}

bool carry_idle(const struct carry *c)
{
	return c->n_deciding == 0;
}

void carry_use(struct carry *c, struct generation *g)
{
	generation_ref(g);
	generation_unref(c->gen);
	c->gen = g;
}

void carry_set_tun(struct carry *c, int tun_fd)
{
	c->c.tun_fd = tun_fd;
}

const struct carry_counters *carry_counters(const struct carry *c)
{
	return &c->counters;
}

/* --- what the sender is told --- */

/* Nobody is there: a TCP client gets a reset, others an ICMP error. */
static void refuse(struct carry *c, const struct tun_packet *p, unsigned ifindex,
	enum tun_error error, bool reset)
{
	uint8_t out[TUN_ERROR_MAX];
	size_t n = reset && p->protocol == IPPROTO_TCP
			   ? tun_packet_tcp_reset(out, p)
			   : tun_packet_icmp_error(out, p, error, NULL, 0);

	if (n)
		inject_error(c->c.inject, c->c.tun_fd, out, n, ifindex);
	count_add(&c->counters.refused, 1);
}

/* --- packets that wait --- */

static struct deciding **bucket(struct carry *c, const struct ip_addr *fake)
{
	return &c->buckets[ip_addr_hash(fake) % BUCKETS];
}

static struct deciding *find(struct carry *c, const struct ip_addr *fake)
{
	struct deciding *d = *bucket(c, fake);

	while (d && !ip_addr_equal(&d->fake, fake))
		d = d->next;
	return d;
}

static void hold(struct deciding *d, const struct tun_packet *p, unsigned ifindex)
{
	struct carry *c = d->carry;
	struct held *h;

	if (d->n_held == HELD_EACH || c->n_held == HELD_MAX || p->len > PACKET_MAX) {
		count_add(&c->counters.overflow, 1);
		return;
	}
	h = malloc(sizeof *h + p->len);
	if (!h)
		return;
	*h = (struct held){.len = p->len, .ifindex = ifindex};
	memcpy(h->packet, p->data, p->len);
	*d->held_end = h;
	d->held_end = &h->next;
	d->n_held++;
	c->n_held++;
}

typedef void each_held(struct deciding *d, const struct tun_packet *p, unsigned ifindex);

/* Takes the flow out of the table, hands every packet on, frees all. */
static void end(struct deciding *d, each_held *hand_on)
{
	struct carry *c = d->carry;
	struct deciding **at = bucket(c, &d->fake);

	while (*at != d)
		at = &(*at)->next;
	*at = d->next;
	c->n_deciding--;
	while (d->held) {
		struct held *h = d->held;
		struct tun_packet p;

		d->held = h->next;
		c->n_held--;
		if (tun_packet_parse(h->packet, h->len, &p) == 0)
			hand_on(d, &p, h->ifindex);
		free(h);
	}
	generation_unref(d->gen);
	free(d);
}

static void put_back(struct deciding *d, const struct tun_packet *p, unsigned ifindex)
{
	struct carry *c = d->carry;
	struct ip_addr source = tun_packet_source(p);
	bool own = hosts_contain(c->c.hosts, &source);

	/* What was made on this machine may not have its checksum yet (NFLOG sees it before the
	 * device would). */
	if (ifindex && p->fragment == TUN_WHOLE)
		tun_packet_checksum_set(p);
	if (inject_put_back(c->c.inject, c->c.tun_fd, p->data, p->len, ifindex, own))
		refuse(c, p, ifindex, TUN_HOST_UNREACHABLE, false);
}

static void tell_unreachable(struct deciding *d, const struct tun_packet *p, unsigned ifindex)
{
	refuse(d->carry, p, ifindex, TUN_HOST_UNREACHABLE, false);
}

/* --- the decision --- */

static void fail(struct deciding *d)
{
	count_add(&d->carry->counters.failed, 1);
	end(d, tell_unreachable);
}

static void written(struct writer_job *job)
{
	struct deciding *d = container_of(job, struct deciding, job);

	if (job->result < 0) {
		fail(d);
		return;
	}
	count_add(&d->carry->counters.decided, 1);
	end(d, put_back);
}

struct pick {
	const struct carry *carry;
	size_t size;
	struct ip_addr real;
	uint32_t ttl_s;
};

/* May stand behind a fake address: 0/8 and :: are this host to the kernel, the others are many
 * hosts or none, and a link-local IPv6 address needs an interface that no answer tells. */
static bool is_one_host(const struct ip_addr *a)
{
	static const uint8_t none[16];

	if (a->family == IP_V4)
		return a->b[0] != 0 && a->b[0] < 224;
	return a->b[0] != 0xff && memcmp(a->b, none, 16) != 0 && !ip_addr_is_link_local(a);
}

/* The first address of the fake one's family that is another host's: neither in a pool nor ours
 * (never dial ourselves). */
static void pick_address(void *arg, const uint8_t *address, size_t size, uint32_t ttl_s)
{
	struct pick *pick = arg;
	struct ip_addr a = size == 4 ? ip_addr_v4(address) : ip_addr_v6(address);

	if (pick->real.family != IP_NONE || size != pick->size || ip_addr_size(&a) != size)
		return;
	if (!is_one_host(&a) || fakeip_in_pools(pick->carry->c.fakeip, address, size) ||
		hosts_contain(pick->carry->c.hosts, &a))
		return;
	pick->real = a;
	pick->ttl_s = ttl_s;
}

static void resolved(struct resolve_request *rq, const uint8_t *msg, size_t len, int error)
{
	struct deciding *d = container_of(rq, struct deciding, request);
	struct pick pick = {.carry = d->carry, .size = ip_addr_size(&d->fake)};
	uint32_t timeout_s;

	if (!error)
		dns_response_addresses(msg, len, pick_address, &pick);
	if (pick.real.family == IP_NONE) {
		fail(d);
		return;
	}
	timeout_s = pick.ttl_s < ELEMENT_MIN_S	 ? ELEMENT_MIN_S
		    : pick.ttl_s > ELEMENT_MAX_S ? ELEMENT_MAX_S
						 : pick.ttl_s;
	d->job.client = d->carry->c.writer_client;
	d->job.done = written;
	d->job.n = 0;
	if (d->verdict.egress->mark.mask)
		d->job.elements[d->job.n++] = (struct writer_element){.op = WRITER_MARK_SET,
			.number = d->verdict.egress->index,
			.timeout_s = timeout_s,
			.addr = d->fake};
	d->job.elements[d->job.n++] = (struct writer_element){
		.op = WRITER_NAT_SET, .timeout_s = timeout_s, .addr = d->fake, .real = pick.real};
	writer_submit(d->carry->c.writer, &d->job);
}

static void decide(struct carry *c, const struct tun_packet *p, unsigned ifindex,
	const struct fakeip_mapping *m, const struct verdict *v)
{
	struct deciding *d = c->n_deciding < DECIDING_MAX ? calloc(1, sizeof *d) : NULL;

	if (!d) {
		count_add(&c->counters.overflow, 1);
		refuse(c, p, ifindex, TUN_HOST_UNREACHABLE, false);
		return;
	}
	d->carry = c;
	d->fake = tun_packet_target(p);
	d->gen = generation_ref(c->gen);
	d->verdict = *v;
	d->name = verdict_name(m);
	d->held_end = &d->held;
	d->next = *bucket(c, &d->fake);
	*bucket(c, &d->fake) = d;
	c->n_deciding++;
	hold(d, p, ifindex);
	resolve_ask(c->c.resolver, d->gen->groups, v->upstream, &d->name,
		d->fake.family == IP_V4 ? DNS_A : DNS_AAAA, 0, loop_now_ms(c->c.loop) + DECIDE_MS,
		&d->request, resolved);
}

/* A segment of a connection that the kernel no longer knows: the other end must hear that it is
 * gone. */
static bool is_stray(const struct tun_packet *p)
{
	struct tun_tcp tcp;

	return tun_packet_tcp(p, &tcp) &&
	       (tcp.flags & (TUN_TCP_SYN | TUN_TCP_ACK | TUN_TCP_RST)) != TUN_TCP_SYN;
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

void carry_packet(struct carry *c, uint8_t *packet, size_t len, unsigned ifindex)
{
	struct fakeip_mapping m;
	struct tun_packet p;
	struct ip_addr target, source;
	struct deciding *d;
	struct verdict v;
	uint32_t index;

	if (tun_packet_parse(packet, len, &p))
		return;
	count_add(&c->counters.packets, 1);
	target = tun_packet_target(&p);
	source = tun_packet_source(&p);
	if (!touch(c, &target, &index) || fakeip_get(c->c.fakeip, index, &m)) {
		count_add(&c->counters.unmapped, 1);
		refuse(c, &p, ifindex,
			p.protocol == IPPROTO_UDP ? TUN_PORT_UNREACHABLE : TUN_HOST_UNREACHABLE,
			true);
		return;
	}
	if (is_stray(&p)) {
		refuse(c, &p, ifindex, TUN_HOST_UNREACHABLE, true);
		return;
	}
	d = find(c, &target);
	if (d) {
		hold(d, &p, ifindex);
		return;
	}
	v = verdict_make(c->gen->policy, &m, &source);
	if (v.way == VERDICT_REJECT)
		refuse(c, &p, ifindex, TUN_PROHIBITED, false);
	else
		decide(c, &p, ifindex, &m, &v);
}
