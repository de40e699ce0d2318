/* SYN first: a client's SYN is held until the egress has connected, then put back for the relay's
 * listener, which takes the waiting connection over (accept.c). If the egress cannot connect, the
 * client hears it at once. So a port is open only if it is open at the far end, and nothing is
 * accepted on faith. */
#include "gateway/base/container.h"
#include "gateway/base/count.h"
#include "gateway/carry/carry_internal.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define SYNS_MAX  16384
#define SYN_BYTES 160 /* IPv6, TCP and 60 bytes of options; longer ones are allocated */

struct syn {
	struct carry *carry;
	struct generation *gen; /* a reference */
	struct waiting_key key;
	uint32_t index; /* held */
	unsigned ifindex, egress;
	struct egress_dial dial;
	size_t len;
	uint8_t *packet; /* small, or allocated */
	uint8_t small[SYN_BYTES];
};

void syn_init(struct carry *c)
{
	slab_init(&c->syns, sizeof(struct syn), SYNS_MAX);
}

static void give_back(struct syn *s)
{
	struct carry *c = s->carry;

	if (s->packet != s->small)
		free(s->packet);
	generation_unref(s->gen);
	c->n_syns--;
	slab_give(&c->syns, s);
}

static void tell(struct carry *c, const struct syn *s, int error)
{
	struct tun_packet p;

	answer_note_failure(c, error, "a connection to a fake address");
	if (c->stopping || tun_packet_parse(s->packet, s->len, &p))
		return;
	answer_dial_error(c, &p, s->ifindex, error);
}

/* The proxies of a group have failed, and its direct member, which was given no address, is next.
 */
static bool is_direct_by_now(const struct syn *s)
{
	const struct egress_set *set = s->gen->egresses;

	return s->gen == s->carry->gen && egress_type(set, s->egress) == CONF_EGRESS_GROUP &&
	       egress_type(set, egress_choose(set, s->egress)) == CONF_EGRESS_DIRECT;
}

static void dialled(struct egress_dial *dial, int fd, unsigned egress, int error)
{
	struct syn *s = container_of(dial, struct syn, dial);
	struct carry *c = s->carry;
	struct waiting_conn conn;
	struct tun_packet p;

	if (fd < 0) {
		waiting_fail(c->c.shared->waiting, &s->key);
		fakeip_release(c->c.fakeip, s->index);
		if (is_direct_by_now(s) && !tun_packet_parse(s->packet, s->len, &p))
			carry_arrived(c, &p, s->ifindex);
		else
			tell(c, s, error);
		give_back(s);
		return;
	}
	conn = (struct waiting_conn){.fd = fd,
		.state = egress_flow_begin(s->gen->egresses, egress),
		.index = s->index,
		.idle_ms = egress_conf(s->gen->egresses, egress)->idle_ms};
	waiting_ready(c->c.shared->waiting, &s->key, &conn, loop_now_ms(c->c.loop));
	count_add(&c->counters.decided, 1);
	/* It waits there for the SYN to be sent again if this fails. */
	(void)inject_to_relay(c->c.inject, s->packet, s->len);
	give_back(s);
}

static bool keep_packet(struct syn *s, const struct tun_packet *p)
{
	s->packet = p->len <= sizeof s->small ? s->small : malloc(p->len);
	if (!s->packet)
		return false;
	memcpy(s->packet, p->data, p->len);
	s->len = p->len;
	return true;
}

static void begin(struct carry *c, const struct arrival *a, const struct waiting_key *key,
	unsigned egress, const struct egress_target *target)
{
	struct syn *s = slab_take(&c->syns);

	if (s)
		*s = (struct syn){.carry = c,
			.key = *key,
			.index = a->index,
			.ifindex = a->ifindex,
			.egress = egress};
	if (!s || !keep_packet(s, a->p)) {
		if (s)
			slab_give(&c->syns, s);
		waiting_fail(c->c.shared->waiting, key);
		count_add(&c->counters.overflow, 1);
		answer_refuse(c, a->p, a->ifindex, TUN_HOST_UNREACHABLE, false);
		return;
	}
	s->gen = generation_ref(c->gen);
	c->n_syns++;
	fakeip_hold(c->c.fakeip, a->index);
	egress_connect(c->dialer, c->gen->egresses, egress, target, &s->dial, dialled);
}

void syn_arrived(struct carry *c, const struct arrival *a, unsigned egress,
	const struct egress_target *target)
{
	struct waiting_key key = {.client = {.addr = a->source, .port = a->p->source_port},
		.fake = {.addr = a->target, .port = a->p->target_port}};

	if (a->ifindex) /* what was made on this machine may not have its checksum yet */
		tun_packet_checksum_set(a->p);
	switch (waiting_claim(c->c.shared->waiting, &key, loop_now_ms(c->c.loop))) {
	case 0:
		begin(c, a, &key, egress, target);
		break;
	case -EEXIST: /* what was put back did not arrive */
		(void)inject_to_relay(c->c.inject, a->p->data, a->p->len);
		break;
	case -EINPROGRESS: /* sent again meanwhile */
		break;
	default:
		count_add(&c->counters.overflow, 1);
		answer_refuse(c, a->p, a->ifindex, TUN_HOST_UNREACHABLE, false);
		break;
	}
}
