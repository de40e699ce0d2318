/* Packets that wait until it is known where their fake address leads. */
#include "gateway/base/count.h"
#include "gateway/carry/carry_internal.h"

#include <stdlib.h>
#include <string.h>

#define DECIDING_MAX 512
#define HELD_EACH    8	 /* packets of one flow's beginning */
#define HELD_MAX     512 /* in all */
#define PACKET_MAX   9216

static struct deciding **bucket(struct carry *c, const struct ip_addr *fake)
{
	return &c->deciding[ip_addr_hash(fake) % CARRY_BUCKETS];
}

struct deciding *deciding_find(struct carry *c, const struct ip_addr *fake)
{
	struct deciding *d = *bucket(c, fake);

	while (d && !ip_addr_equal(&d->fake, fake))
		d = d->next;
	return d;
}

void deciding_hold(struct deciding *d, const struct tun_packet *p, unsigned ifindex)
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

struct deciding *deciding_begin(struct carry *c, const struct arrival *a)
{
	struct deciding *d = c->n_deciding < DECIDING_MAX ? calloc(1, sizeof *d) : NULL;

	if (!d) {
		count_add(&c->counters.overflow, 1);
		answer_refuse(c, a->p, a->ifindex, TUN_HOST_UNREACHABLE, false);
		return NULL;
	}
	d->carry = c;
	d->fake = a->target;
	d->index = a->index;
	d->key = a->key;
	d->name = verdict_name(a->m);
	d->gen = generation_ref(c->gen);
	d->held_end = &d->held;
	d->next = *bucket(c, &d->fake);
	*bucket(c, &d->fake) = d;
	c->n_deciding++;
	deciding_hold(d, a->p, a->ifindex);
	return d;
}

void deciding_end(struct deciding *d, each_held *hand_on)
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

void deciding_again(struct deciding *d, const struct tun_packet *p, unsigned ifindex)
{
	carry_arrived(d->carry, p, ifindex);
}

void deciding_unreachable(struct deciding *d, const struct tun_packet *p, unsigned ifindex)
{
	count_add(&d->carry->counters.failed, 1);
	answer_refuse(d->carry, p, ifindex, TUN_HOST_UNREACHABLE, false);
}
