/* Which connection of a server takes a question, and how long one is kept. */
#include <errno.h>
#include <netinet/tcp.h>
#include <stdlib.h>

#include "gateway/transport/conn_internal.h"

struct pool {
	struct pool *next; /* in the bucket */
	struct transports *transports;
	struct transport_server *server; /* held by the connections */
	struct ip_port to;
	struct conn *conns; /* at least one */
	unsigned n;
};

/* --- pools --- */

static struct pool **pool_bucket(
	struct transports *ts, const struct transport_server *s, const struct ip_port *to)
{
	uint64_t h = (uint64_t)(uintptr_t)s / sizeof *s ^ ip_addr_hash(&to->addr);

	return &ts->pools[(h ^ h >> 32) % TRANSPORT_POOLS];
}

static struct pool **pool_find(
	struct transports *ts, const struct transport_server *s, const struct ip_port *to)
{
	struct pool **p = pool_bucket(ts, s, to);

	while (*p &&
		!((*p)->server == s && (*p)->to.port == to->port && (*p)->to.scope == to->scope &&
			ip_addr_equal(&(*p)->to.addr, &to->addr)))
		p = &(*p)->next;
	return p;
}

static struct pool *pool_get(struct transports *ts, const struct transport_try *t)
{
	struct pool **at = pool_find(ts, t->server, &t->to), *p = *at;

	if (p)
		return p;
	p = calloc(1, sizeof *p);
	if (!p)
		return NULL;
	p->transports = ts;
	p->server = t->server;
	p->to = t->to;
	*at = p;
	return p;
}

static void pool_free_if_empty(struct pool *p)
{
	if (p->conns)
		return;
	*pool_find(p->transports, p->server, &p->to) = p->next;
	free(p);
}

static void pool_add(struct pool *p, struct conn *c)
{
	c->next = p->conns;
	c->prev = &p->conns;
	if (c->next)
		c->next->prev = &c->next;
	p->conns = c;
	p->n++;
}

void pool_remove(struct conn *c)
{
	struct pool *p = c->pool;

	*c->prev = c->next;
	if (c->next)
		c->next->prev = c->prev;
	c->pool = NULL;
	p->n--;
	pool_free_if_empty(p);
}

void pool_each(struct transports *ts, void (*visit)(struct conn *c, void *arg), void *arg)
{
	uint64_t newest = ts->serial;

	/* A visit may close any, and make new ones: those need none. Each is visited once, by age
	 * downwards. */
	for (;;) {
		struct conn *found = NULL;

		for (size_t i = 0; i < TRANSPORT_POOLS; i++) {
			for (struct pool *p = ts->pools[i]; p; p = p->next) {
				for (struct conn *c = p->conns; c; c = c->next) {
					if (c->serial <= newest &&
						(!found || c->serial > found->serial))
						found = c;
				}
			}
		}
		if (!found)
			return;
		newest = found->serial - 1;
		visit(found, arg);
	}
}

/* --- giving --- */

static bool conn_life_is_over(const struct conn *c)
{
	unsigned max_ms = c->server->conf.max_life_ms;

	return max_ms && loop_now_ms(c->transports->loop) - c->born_ms >= max_ms;
}

static void conn_retire_by_age(struct conn *c)
{
	c->retired = true;
	conn_dirty(c);
}

static unsigned conn_load(const struct conn *c)
{
	return c->waiting.n + c->asked.n;
}

/* The oldest that has room, else the least loaded; *ret_n: how many take questions. */
static struct conn *pool_pick(struct pool *p, uint64_t after, unsigned *ret_n)
{
	struct conn *best = NULL;
	bool best_has_room = false;

	*ret_n = 0;
	for (struct conn *c = p->conns; c; c = c->next) {
		bool has_room = conn_load(c) < CONN_TRIES_MAX && !c->full;

		if (conn_life_is_over(c) && !c->retired)
			conn_retire_by_age(c);
		if (c->retired || c->stalled || c->serial <= after)
			continue;
		++*ret_n;
		if (!best || has_room || (!best_has_room && conn_load(c) < conn_load(best))) {
			best = c;
			best_has_room = has_room;
		}
	}
	return best;
}

/* So that neither a server that does not answer nor one that is asked little on each connection
 * gathers them. 0 or -ENOBUFS. */
static int pool_make_room(const struct pool *p)
{
	struct conn *oldest = NULL;

	for (struct conn *c = p->conns; c && p->n >= POOL_STALLED_MAX; c = c->next) {
		if (c->stalled && !c->doomed && (!oldest || c->serial < oldest->serial))
			oldest = c;
	}
	if (oldest) {
		oldest->doomed = true;
		conn_dirty(oldest);
	}
	return p->n < POOL_ALL_MAX ? 0 : -ENOBUFS;
}

int pool_give(struct transports *ts, struct transport_try *t, uint64_t after)
{
	struct pool *p;
	struct conn *c, *made;
	unsigned n;
	int error = 0;

	if (ts->stopping)
		return -ECANCELED;
	p = pool_get(ts, t);
	if (!p)
		return -ENOMEM;
	c = pool_pick(p, after, &n);
	if (!c || ((c->full || conn_load(c) >= CONN_TRIES_MAX) && n < POOL_CONNS_MAX)) {
		error = pool_make_room(p);
		if (error == 0)
			error = conn_new(p, t->server, &t->to, ts, &made);
		if (error == 0) {
			pool_add(p, made);
			c = made;
		}
	}
	if (c)
		conn_give(c, t);
	else
		pool_free_if_empty(p);
	return c ? 0 : error;
}

/* --- watching --- */

/* When the silence has been long enough. */
static int64_t conn_stall_ms(const struct conn *c)
{
	int64_t three_ms = 3 * c->rtt_us / 1000;
	int64_t least_ms = c->heard_since_ms == c->silent_since_ms ? CONN_SLOW_MS : CONN_STALL_MS;

	return c->silent_since_ms + (three_ms > least_ms ? three_ms : least_ms);
}

/* All that was sent has been acknowledged: somebody is there (RFC 9293 3.4). Through a proxy that
 * is the proxy. */
static bool conn_is_heard(const struct conn *c)
{
	struct tcp_info info;
	socklen_t len = sizeof info;

	return getsockopt(c->fd, IPPROTO_TCP, TCP_INFO, &info, &len) == 0 && info.tcpi_unacked == 0;
}

static int64_t earlier(int64_t a, int64_t b)
{
	return a < b ? a : b;
}

/* When there may be something to do. */
static int64_t conn_due_ms(const struct conn *c)
{
	const struct conf_server *conf = &c->server->conf;
	int64_t due = TRANSPORT_NEVER_MS;

	if (c->state != CONN_OPEN)
		return c->set_up_by_ms;
	if (c->silent_since_ms && !c->stalled)
		due = conn_stall_ms(c);
	if (!conn_load(c))
		due = earlier(due, c->idle_since_ms + conf->idle_ms);
	if (conf->max_life_ms && !c->retired)
		due = earlier(due, c->born_ms + conf->max_life_ms);
	return due;
}

int pool_watch(struct conn *c)
{
	int64_t due = conn_due_ms(c);

	/* One that fires early looks again: cheaper than to move it with each question. */
	if (c->watch.slot && c->watch.due_ms <= due)
		return 0;
	return loop_timer_set(c->transports->loop, &c->watch, due);
}

static void conn_look(struct conn *c, int64_t now)
{
	if (c->state != CONN_OPEN) {
		if (now >= c->set_up_by_ms)
			conn_break(c, -ETIMEDOUT);
		return;
	}
	if (c->silent_since_ms && !c->stalled && now >= conn_stall_ms(c) && conn_is_heard(c))
		c->heard_since_ms = c->silent_since_ms;
	if (c->silent_since_ms && !c->stalled && now >= conn_stall_ms(c)) {
		c->stalled = true;
		conn_move_tries(c, c->heard_since_ms == c->silent_since_ms);
	} else if (conn_life_is_over(c) ||
		   (!conn_load(c) && now >= c->idle_since_ms + c->server->conf.idle_ms)) {
		c->retired = true;
	}
	conn_settle(c);
}

void pool_watch_fired(struct loop_timer *timer)
{
	struct conn *c = container_of(timer, struct conn, watch);

	conn_pin(c);
	conn_look(c, loop_now_ms(c->transports->loop));
	if (c->state != CONN_CLOSING && pool_watch(c) < 0)
		conn_break(c, -ENOMEM);
	conn_unpin(c);
}

/* --- the table --- */

static int stream_open(struct transports *ts, struct transport_try *t)
{
	return pool_give(ts, t, 0);
}

static int stream_resend(struct transport_try *t)
{
	(void)t;
	return 0;
}

const struct transport transport_stream = {
	.open = stream_open,
	.resend = stream_resend,
	.close = conn_close_try,
};
