#include <errno.h>

#include "gateway/transport/udp_internal.h"

/* More than a page of a browser asks for at once. Once there were as many, questions share sockets
 * for a while: answers come in bursts, so that in between there are few. */
#define BUSY_TRIES 32
#define BUSY_MS	   100
/* A port that lives long could be found and then only the id be guessed. */
#define QUESTIONS_MAX 512
#define LIFE_MS	      2000
#define SWEEP_MS      500

/* --- far ends --- */

static struct udp_far **far_find(
	struct transports *ts, const struct transport_server *s, const struct ip_port *to)
{
	uint64_t h = (uint64_t)(uintptr_t)s / sizeof *s ^ ip_addr_hash(&to->addr);
	struct udp_far **f = &ts->udp_fars[(h ^ h >> 32) % TRANSPORT_POOLS];

	while (*f &&
		!((*f)->server == s && (*f)->to.port == to->port && (*f)->to.scope == to->scope &&
			ip_addr_equal(&(*f)->to.addr, &to->addr)))
		f = &(*f)->next;
	return f;
}

static void far_swept(struct loop_timer *timer);

int udp_far_take(struct transports *ts, const struct transport_try *t, struct udp_far **ret)
{
	struct udp_far **at = far_find(ts, t->server, &t->to), *f = *at;

	if (!f) {
		f = slab_take(&ts->udp_far_slab);
		if (!f)
			return -ENOMEM;
		*f = (struct udp_far){.transports = ts,
			.server = transport_server_ref(t->server),
			.to = t->to,
			.sweep.fire = far_swept};
		*at = f;
	}
	f->tries++;
	*ret = f;
	return 0;
}

static void far_settle(struct udp_far *f)
{
	struct transports *ts = f->transports;

	if (f->tries || f->n_shared)
		return;
	*far_find(ts, f->server, &f->to) = f->next;
	loop_timer_cancel(ts->loop, &f->sweep);
	transport_server_unref(f->server);
	slab_give(&ts->udp_far_slab, f);
}

void udp_far_give(struct udp_far *f)
{
	f->tries--;
	far_settle(f);
}

void udp_far_now_busy(struct udp_far *f)
{
	f->busy_until_ms = loop_now_ms(f->transports->loop) + BUSY_MS;
}

bool udp_far_is_busy(struct udp_far *f)
{
	if (f->tries > BUSY_TRIES)
		udp_far_now_busy(f);
	return loop_now_ms(f->transports->loop) < f->busy_until_ms;
}

/* --- the set of shared sockets --- */

void udp_far_retire(struct udp_link *u)
{
	struct udp_far *f = u->far;

	if (!u->in_set)
		return;
	for (size_t i = 0; i < UDP_SHARED; i++) {
		if (f->shared[i] == u)
			f->shared[i] = NULL;
	}
	u->in_set = false;
	f->n_shared--;
	udp_link_settle(u);
	far_settle(f);
}

/* f stays. */
static void far_retire_older(struct udp_far *f, int64_t life_ms)
{
	int64_t now_ms = loop_now_ms(f->transports->loop);

	f->tries++;
	for (size_t i = 0; i < UDP_SHARED; i++) {
		if (f->shared[i] && now_ms - f->shared[i]->born_ms >= life_ms)
			udp_far_retire(f->shared[i]);
	}
	f->tries--;
}

static void far_swept(struct loop_timer *timer)
{
	struct udp_far *f = container_of(timer, struct udp_far, sweep);
	struct loop *loop = f->transports->loop;

	far_retire_older(f, udp_far_is_busy(f) ? LIFE_MS : 0);
	if (f->n_shared && loop_timer_set(loop, &f->sweep, loop_now_ms(loop) + SWEEP_MS) < 0)
		far_retire_older(f, 0);
	far_settle(f);
}

static bool has_room(const struct udp_link *u, uint32_t mark)
{
	int64_t now_ms = loop_now_ms(u->transports->loop);

	return u->table->used < UDP_SLOTS_IN && u->given < QUESTIONS_MAX && u->mark == mark &&
	       now_ms - u->born_ms < LIFE_MS;
}

int udp_far_choose(struct udp_far *f, uint32_t mark, struct udp_link **ret, unsigned *ret_place)
{
	struct transports *ts = f->transports;
	uint16_t random;
	int error;

	if (!f->n_shared || f->batch != ts->udp_batches) {
		error = transports_random(ts, &random);
		if (error < 0)
			return error;
		f->place = random % UDP_SHARED;
		f->batch = ts->udp_batches;
	}
	*ret_place = f->place;
	*ret = f->shared[f->place];
	if (*ret && !has_room(*ret, mark)) {
		udp_far_retire(*ret);
		*ret = NULL;
	}
	return 0;
}

struct udp_link *udp_far_any(const struct udp_far *f, uint32_t mark)
{
	for (size_t i = 0; i < UDP_SHARED; i++) {
		if (f->shared[i] && has_room(f->shared[i], mark))
			return f->shared[i];
	}
	return NULL;
}

int udp_far_share(struct udp_far *f, struct udp_link *u, unsigned place)
{
	struct loop *loop = f->transports->loop;

	if (!f->n_shared && loop_timer_set(loop, &f->sweep, loop_now_ms(loop) + SWEEP_MS) < 0)
		return -ENOMEM;
	f->shared[place] = u;
	f->n_shared++;
	u->in_set = true;
	return 0;
}

void transport_udp_stop(struct transports *ts)
{
	transport_udp_flush(ts);
	for (size_t i = 0; i < TRANSPORT_POOLS; i++) {
		struct udp_far *f, *next;

		for (f = ts->udp_fars[i]; f; f = next) {
			next = f->next;
			far_retire_older(f, 0);
			far_settle(f);
		}
	}
}
