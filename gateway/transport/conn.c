#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "gateway/base/clock.h"
#include "gateway/base/grow.h"
#include "gateway/transport/conn_internal.h"

#define COMPLAIN_MS 60000

/* --- lists of tries --- */

static void list_init(struct try_list *l)
{
	*l = (struct try_list){.end = &l->first};
}

static void list_add(struct try_list *l, struct transport_try *t)
{
	t->next = NULL;
	t->prev = l->end;
	*l->end = t;
	l->end = &t->next;
	l->n++;
}

static void list_remove(struct try_list *l, struct transport_try *t)
{
	*t->prev = t->next;
	*(t->next ? &t->next->prev : &l->end) = t->prev;
	l->n--;
}

/* --- life --- */

int conn_new(struct pool *p, struct transport_server *s, const struct ip_port *to,
	struct transports *ts, struct conn **ret)
{
	struct conn *c = slab_take(&ts->conns);
	int error;

	if (!c)
		return -ENOBUFS;
	*c = (struct conn){
		.transports = ts,
		.server = transport_server_ref(s),
		.pool = p,
		.codec = s->conf.transport == CONF_HTTPS ? &conn_codec_h2 : &conn_codec_dns,
		.fd = -1,
		.serial = ++ts->serial,
		.born_ms = loop_now_ms(ts->loop),
	};
	c->watch.fire = pool_watch_fired;
	c->set_up_by_ms = c->born_ms + CONN_SET_UP_MS;
	c->idle_since_ms = c->born_ms;
	list_init(&c->waiting);
	list_init(&c->asked);
	error = s->tls ? tls_new(s->tls, &c->tls) : 0;
	if (error == 0)
		error = pool_watch(c);
	if (error == 0)
		error = way_open(c, to);
	if (error < 0) {
		loop_timer_cancel(ts->loop, &c->watch);
		tls_free(c->tls);
		transport_server_unref(s);
		slab_give(&ts->conns, c);
		return error;
	}
	transports_hold(ts);
	*ret = c;
	return 0;
}

static void conn_free(struct conn *c)
{
	struct transports *ts = c->transports;

	if (c->started)
		c->codec->end(c);
	way_free(c);
	tls_free(c->tls);
	free(c->plain);
	transport_server_unref(c->server);
	slab_give(&ts->conns, c);
	transports_release(ts);
}

void conn_pin(struct conn *c)
{
	c->pins++;
}

void conn_unpin(struct conn *c)
{
	if (--c->pins == 0 && c->state == CONN_CLOSING && !way_is_busy(c))
		conn_free(c);
}

/* c is pinned by the caller. */
static void conn_shut(struct conn *c)
{
	if (c->state == CONN_CLOSING)
		return;
	c->state = CONN_CLOSING;
	pool_remove(c);
	loop_timer_cancel(c->transports->loop, &c->watch);
	if (c->stalled)
		way_abandon(c);
	way_close(c);
}

void conn_settle(struct conn *c)
{
	if (c->state != CONN_CLOSING && (c->retired || c->stalled) && !c->asked.n && !c->waiting.n)
		conn_shut(c);
}

void conn_dirty(struct conn *c)
{
	struct transports *ts = c->transports;

	if (c->dirty)
		return;
	c->dirty = true;
	conn_pin(c);
	if (!ts->dirty)
		transports_soon(ts);
	c->next_dirty = ts->dirty;
	ts->dirty = c;
}

void conn_stands(struct conn *c)
{
	int error = c->codec->start(c);

	if (error < 0) {
		conn_break(c, error);
		return;
	}
	c->started = true;
	c->state = CONN_OPEN;
	conn_dirty(c);
}

/* --- tries --- */

void conn_give(struct conn *c, struct transport_try *t)
{
	unsigned max = c->server->conf.max_queries;

	t->link = c;
	t->codec_link = NULL;
	t->asked_us = 0;
	list_add(&c->waiting, t);
	if (++c->given == max)
		c->retired = true;
	if (c->state == CONN_OPEN)
		conn_dirty(c);
}

/* Takes t out; true: it had been asked. */
static bool conn_drop(struct conn *c, struct transport_try *t)
{
	bool asked = t->asked_us != 0;

	list_remove(asked ? &c->asked : &c->waiting, t);
	if (asked)
		c->codec->forget(c, t);
	t->link = NULL;
	c->full = false;
	if (!c->asked.n && !c->waiting.n)
		c->idle_since_ms = loop_now_ms(c->transports->loop);
	return asked;
}

void conn_close_try(struct transport_try *t)
{
	struct conn *c = t->link;

	(void)conn_drop(c, t);
	if (c->waiting.n || ((c->retired || c->stalled) && !c->asked.n))
		conn_dirty(c);
}

static void conn_move(struct conn *c, struct transport_try *t)
{
	int error;

	if (!c->moved_at_serial)
		c->moved_at_serial = c->transports->serial;
	(void)conn_drop(c, t);
	error = pool_give(c->transports, t, c->moved_at_serial);
	if (error < 0) {
		t->transport = NULL;
		t->owner->fail(t, transport_error(error));
	}
}

/* A server may end a connection after a few answers whatever else was asked on it: as long as it
 * answers something each time, those left over are asked again without counting. */
static bool conn_may_move(const struct conn *c, struct transport_try *t)
{
	if (c->transports->stopping || !c->answered_us)
		return false;
	if (c->answered_us >= t->asked_us) /* also if it has not been asked */
		return true;
	if (t->again)
		return false;
	t->again = true;
	return true;
}

/* What more patience does not cure. */
static void conn_complain(const struct conn *c, int error)
{
	bool refused = error == -EKEYREJECTED || (error == -EPROTO && c->state == CONN_HANDSHAKE);

	if (refused && c->tls && log_gate_open(&c->server->complained, COMPLAIN_MS))
		log_warn("%s: %s", c->server->conf.url, tls_why(c->tls));
}

static void conn_end_tries(struct conn *c, struct try_list *l, int error)
{
	while (l->first) {
		struct transport_try *t = l->first;

		if (conn_may_move(c, t))
			conn_move(c, t);
		else
			transport_fail(t, error);
	}
}

void conn_break(struct conn *c, int error)
{
	conn_pin(c);
	conn_complain(c, error);
	conn_shut(c);
	conn_end_tries(c, &c->asked, error);
	conn_end_tries(c, &c->waiting, error);
	conn_unpin(c);
}

void conn_move_tries(struct conn *c, bool slow)
{
	struct transport_try *t, *next;

	conn_pin(c);
	/* Callbacks may run; then all are looked at anew. */
	for (t = c->asked.first; t; t = next) {
		next = t->next;
		if (t->again)
			continue;
		t->again = true;
		if (slow && t->owner->slow)
			t->owner->slow(t);
		else
			conn_move(c, t);
		next = c->asked.first;
	}
	while (c->waiting.first)
		conn_move(c, c->waiting.first);
	conn_settle(c);
	conn_unpin(c);
}

/* --- the end of a turn --- */

static int conn_ask(struct conn *c)
{
	struct transport_try *t;
	int64_t now_us = clock_us();
	int error;

	while ((t = c->waiting.first) && !c->full && c->plain_len < CONN_UNSENT_MAX) {
		t->asked_us = now_us;
		error = c->codec->ask(c, t);
		if (error < 0)
			t->asked_us = 0;
		c->full = error == -EAGAIN;
		if (c->full)
			break;
		if (error < 0)
			return error;
		list_remove(&c->waiting, t);
		list_add(&c->asked, t);
		if (!c->silent_since_ms)
			c->silent_since_ms = loop_now_ms(c->transports->loop);
	}
	return 0;
}

static void conn_flush(struct conn *c)
{
	int error = 0;

	if (c->state == CONN_CLOSING)
		return;
	if (c->doomed) {
		conn_break(c, -ETIMEDOUT);
		return;
	}
	if (c->state == CONN_OPEN && c->refuses) {
		while (c->waiting.first && c->state == CONN_OPEN)
			conn_move(c, c->waiting.first);
	} else if (c->state == CONN_OPEN && c->waiting.first) {
		error = conn_ask(c);
	}
	if (c->state == CONN_CLOSING)
		return;
	if (error == 0 && c->state == CONN_OPEN && c->codec->flush)
		error = c->codec->flush(c);
	if (error == 0)
		error = way_write(c);
	if (error == 0)
		error = pool_watch(c);
	if (error < 0)
		conn_break(c, error);
	else
		conn_settle(c);
}

void conns_flush(struct transports *ts)
{
	struct conn *c = ts->dirty, *next;

	ts->dirty = NULL;
	for (; c; c = next) {
		next = c->next_dirty;
		c->dirty = false;
		conn_flush(c);
		conn_unpin(c);
	}
}

static void conn_visit_close(struct conn *c, void *arg)
{
	(void)arg;
	conn_break(c, -ECANCELED);
}

void conns_close(struct transports *ts)
{
	pool_each(ts, conn_visit_close, NULL);
}

struct check {
	bool (*is_ours)(void *arg, const struct ip_addr *a);
	void *arg;
};

static void conn_visit_check(struct conn *c, void *arg)
{
	const struct check *k = arg;

	if (c->fd < 0 || transport_stands(c->fd, k->is_ours, k->arg))
		return;
	conn_pin(c);
	way_abandon(c);
	conn_shut(c);
	while (c->asked.first)
		conn_move(c, c->asked.first);
	while (c->waiting.first)
		conn_move(c, c->waiting.first);
	conn_unpin(c);
}

void conns_check(
	struct transports *ts, bool (*is_ours)(void *arg, const struct ip_addr *a), void *arg)
{
	struct check k = {is_ours, arg};

	pool_each(ts, conn_visit_check, &k);
}

/* --- for codecs --- */

struct transport_server *conn_server(const struct conn *c)
{
	return c->server;
}

const struct conf_server *conn_conf(const struct conn *c)
{
	return &c->server->conf;
}

void **conn_codec_state(struct conn *c)
{
	return &c->codec_state;
}

int conn_write(struct conn *c, const uint8_t *data, size_t len)
{
	void *p = c->plain;
	int error;

	if (c->state == CONN_CLOSING)
		return 0;
	if (len > CONN_WRITE_MAX - c->plain_len)
		return -ENOMEM;
	error = room_grow(&p, &c->plain_room, c->plain_len, len, 1);
	c->plain = p;
	if (error < 0)
		return error;
	memcpy(c->plain + c->plain_len, data, len);
	c->plain_len += len;
	conn_dirty(c);
	return 0;
}

/* The way's own: down at once, up slowly, for many an answer takes the server its time. */
static void conn_note_rtt(struct conn *c, int64_t took_us)
{
	if (!c->rtt_us || took_us < c->rtt_us)
		c->rtt_us = took_us;
	else
		c->rtt_us += (took_us - c->rtt_us) / 32;
}

bool conn_answer(
	struct conn *c, struct transport_try *t, const uint8_t *msg, size_t len, uint32_t age_s)
{
	int64_t took_us = c->heard_us - t->asked_us;
	bool over = t->owner->take(t, msg, len, age_s);

	if (!over)
		return false;
	c->answered_us = c->heard_us;
	conn_note_rtt(c, took_us);
	return true;
}

void conn_fail(struct conn *c, struct transport_try *t, int error, bool may_retry)
{
	if (may_retry && !t->again && !c->transports->stopping) {
		t->again = true;
		conn_move(c, t);
	} else {
		transport_fail(t, error);
	}
}

void conn_retire(struct conn *c)
{
	c->retired = c->refuses = true;
	conn_dirty(c);
}

bool conn_is_closing(const struct conn *c)
{
	return c->state == CONN_CLOSING;
}

uint16_t conn_random(struct conn *c)
{
	uint16_t r;

	/* Over a connection an id needs to be another, not to be a secret. */
	return transports_random(c->transports, &r) == 0 ? r : (uint16_t)c->given;
}
