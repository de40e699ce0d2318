#include "tests/unit/transport_stage.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "tests/unit/descriptors.h"

static void put16(uint8_t *p, unsigned v)
{
	p[0] = (uint8_t)(v >> 8);
	p[1] = (uint8_t)v;
}

/* --- the peer --- */

void peer_close(struct peer *f, unsigned conn)
{
	struct peer_conn *c = &f->conns[conn];

	if (c->fd >= 0)
		close(c->fd);
	c->fd = -1;
	free(c->out);
	c->out = NULL;
}

void peer_reset(struct peer *f, unsigned conn)
{
	static const struct linger reset = {.l_onoff = 1};

	setsockopt(f->conns[conn].fd, SOL_SOCKET, SO_LINGER, &reset, sizeof reset);
	peer_close(f, conn);
}

static void peer_put(struct peer_conn *c, const uint8_t *data, size_t len)
{
	c->out = realloc(c->out, c->out_len + len);
	assert_non_null(c->out);
	memcpy(c->out + c->out_len, data, len);
	c->out_len += len;
}

static void peer_put_message(struct peer_conn *c, const uint8_t *msg, size_t len)
{
	uint8_t prefix[2];

	put16(prefix, (unsigned)len);
	peer_put(c, prefix, 2);
	peer_put(c, msg, len);
}

static size_t peer_write(const struct peer *f, const struct peer_question *q, uint8_t *msg)
{
	size_t len = f->size ? f->size : QUESTION_BYTES;

	memset(msg, 0x5a, len);
	memset(msg, 0, DNS_HEADER_SIZE);
	put16(msg, q->id);
	msg[2] = 0x81;
	memcpy(msg + DNS_HEADER_SIZE, &q->tag, 4);
	return len;
}

static void peer_reply(struct peer *f, const struct peer_question *q)
{
	static uint8_t msg[65536];
	struct peer_conn *c = &f->conns[q->conn];
	size_t len = peer_write(f, q, msg);

	if (q->from.ss_family) {
		(void)!sendto(f->udp, msg, len, 0, (const struct sockaddr *)&q->from,
			sizeof(struct sockaddr_in));
		return;
	}
	if (c->fd < 0)
		return;
	if (f->noise) {
		peer_put_message(c, msg, 0);
		msg[1] ^= 1;
		peer_put_message(c, msg, len);
		msg[1] ^= 1;
	}
	peer_put_message(c, msg, len);
	c->answered++;
}

void peer_answer(struct peer *f, unsigned i)
{
	peer_reply(f, &f->held[i]);
}

static void peer_flush(struct peer *f, unsigned conn)
{
	struct peer_conn *c = &f->conns[conn];
	size_t len = f->torn && c->out_len - c->out_at > 1 ? 1 : c->out_len - c->out_at;
	ssize_t n = len ? send(c->fd, c->out + c->out_at, len, MSG_NOSIGNAL) : 0;

	if (n > 0)
		c->out_at += (size_t)n;
	if (c->out_at == c->out_len)
		c->out_at = c->out_len = 0;
	if (f->closes_after && c->answered >= f->closes_after && !c->out_len)
		peer_close(f, conn);
}

static void peer_question(struct peer *f, const struct peer_question *q, uint16_t port)
{
	static uint8_t msg[65536];

	assert_true(f->asked < PEER_SEEN_MAX);
	f->seen_id[f->asked] = q->id;
	f->seen_tag[f->asked] = q->tag;
	f->seen_port[f->asked] = port;
	f->asked++;
	if (f->resets) {
		struct peer_conn *c = &f->conns[q->conn];
		size_t len = peer_write(f, q, msg + 2);

		f->resets--;
		put16(msg, (unsigned)len);
		(void)!send(c->fd, msg, len / 2, MSG_NOSIGNAL);
		peer_reset(f, q->conn);
	} else if (f->hold) {
		assert_true(f->n_held < PEER_HELD_MAX);
		f->held[f->n_held++] = *q;
	} else {
		peer_reply(f, q);
	}
}

static void peer_parse(const uint8_t *msg, size_t len, struct peer_question *ret)
{
	assert_int_equal(len, QUESTION_BYTES);
	ret->id = (uint16_t)(msg[0] << 8 | msg[1]);
	memcpy(&ret->tag, msg + DNS_HEADER_SIZE, 4);
}

/* How much of what came is not for the server behind the proxy. */
static size_t peer_socks(struct peer *f, struct peer_conn *c)
{
	static const uint8_t method[] = {5, 0}, ok[] = {5, 0, 0, 1, 0, 0, 0, 0, 0, 0};
	size_t len;

	if (c->socks_step == 0) {
		len = 2u + (c->in_len > 1 ? c->in[1] : 1);
		if (c->in_len < len)
			return 0;
		peer_put(c, method, sizeof method);
	} else {
		len = c->in_len < 5 ? 5 : c->in[3] == 1 ? 10 : 7u + c->in[4];
		if (c->in_len < len)
			return 0;
		memcpy(f->socks_request, c->in, len);
		peer_put(c, ok, sizeof ok);
	}
	c->socks_step++;
	return len;
}

static void peer_read(struct peer *f, unsigned conn)
{
	struct peer_conn *c = &f->conns[conn];
	struct peer_question q = {.conn = conn};
	size_t at = 0, len;
	ssize_t n = recv(c->fd, c->in + c->in_len, sizeof c->in - c->in_len, MSG_DONTWAIT);

	if (n == 0 || (n < 0 && errno != EAGAIN)) {
		f->got_resets += n < 0 && errno == ECONNRESET;
		peer_close(f, conn);
		return;
	}
	if (n < 0)
		return;
	c->in_len += (size_t)n;
	if (f->socks && c->socks_step < 2)
		at = peer_socks(f, c);
	while ((!f->socks || c->socks_step == 2) && c->fd >= 0 && c->in_len - at >= 2) {
		len = (size_t)(c->in[at] << 8 | c->in[at + 1]);
		if (c->in_len - at < 2 + len)
			break;
		if (f->closes_after && c->answered >= f->closes_after)
			break;
		peer_parse(c->in + at + 2, len, &q);
		c->asked++;
		at += 2 + len;
		peer_question(f, &q, 0);
	}
	memmove(c->in, c->in + at, c->in_len - at);
	c->in_len -= at;
}

static void peer_read_datagrams(struct peer *f)
{
	struct peer_question q = {0};
	uint8_t msg[512];
	socklen_t len = sizeof q.from;
	ssize_t n;

	while ((n = recvfrom(f->udp, msg, sizeof msg, MSG_DONTWAIT, (struct sockaddr *)&q.from,
			&len)) >= 0) {
		peer_parse(msg, (size_t)n, &q);
		peer_question(f, &q, ntohs(((struct sockaddr_in *)&q.from)->sin_port));
		len = sizeof q.from;
	}
}

static void peer_accept(struct peer *f)
{
	int fd, one = 1;

	while ((fd = accept4(f->listener, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK)) >= 0) {
		assert_true(f->n_conns < PEER_CONNS_MAX);
		setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
		memset(&f->conns[f->n_conns], 0, sizeof f->conns[0]);
		f->conns[f->n_conns].fd = fd;
		f->conns[f->n_conns++].reads = true;
	}
}

void peer_serve(struct peer *f)
{
	if (f->listener >= 0)
		peer_accept(f);
	peer_read_datagrams(f);
	for (unsigned i = 0; i < f->n_conns; i++) {
		if (f->conns[i].fd >= 0 && f->conns[i].reads)
			peer_read(f, i);
		if (f->conns[i].fd >= 0)
			peer_flush(f, i);
	}
}

static int peer_bind(int type, uint16_t *port)
{
	struct sockaddr_in at = {.sin_family = AF_INET,
		.sin_port = htons(*port),
		.sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	socklen_t len = sizeof at;
	int fd = socket(AF_INET, type | SOCK_NONBLOCK | SOCK_CLOEXEC, 0), size = 4 << 20;

	assert_true(fd >= 0);
	setsockopt(fd, SOL_SOCKET, type == SOCK_DGRAM ? SO_RCVBUF : SO_SNDBUF, &size, sizeof size);
	if (bind(fd, (struct sockaddr *)&at, sizeof at) < 0) {
		close(fd);
		return -1;
	}
	assert_int_equal(getsockname(fd, (struct sockaddr *)&at, &len), 0);
	*port = ntohs(at.sin_port);
	return fd;
}

static struct peer *peer_new(void)
{
	struct peer *f = calloc(1, sizeof *f);

	assert_non_null(f);
	/* The port that is free for UDP may be taken for TCP. */
	for (f->listener = -1; f->listener < 0;) {
		f->port = 0;
		f->udp = peer_bind(SOCK_DGRAM, &f->port);
		assert_true(f->udp >= 0);
		f->listener = peer_bind(SOCK_STREAM, &f->port);
		if (f->listener < 0)
			close(f->udp);
	}
	assert_int_equal(listen(f->listener, 512), 0);
	return f;
}

static void peer_free(struct peer *f)
{
	for (unsigned i = 0; i < f->n_conns; i++)
		peer_close(f, i);
	if (f->listener >= 0)
		close(f->listener);
	close(f->udp);
	free(f);
}

/* --- the near end --- */

static size_t asker_question(const struct transport_try *t, uint8_t *buf, bool pad)
{
	const struct asker *a = container_of(t, struct asker, try);

	assert_int_equal(pad, a->stage->pads);
	memset(buf, 0, DNS_HEADER_SIZE);
	put16(buf, t->id);
	memcpy(buf + DNS_HEADER_SIZE, &a->tag, 4);
	return QUESTION_BYTES;
}

static void asker_over(struct asker *a)
{
	struct stage *s = a->stage;

	assert_false(transport_is_open(&a->try));
	if (a->closes)
		transport_close(&a->closes->try);
	if (a->opens)
		assert_int_equal(ask_try(s, (unsigned)(a->opens - s->askers)), 0);
	if (a->stops) {
		for (unsigned i = 0; i < ASKERS_MAX; i++)
			transport_close(&s->askers[i].try);
		transports_stop(s->transports, stage_stopped, s);
		s->transports = NULL;
	}
}

static bool asker_take(struct transport_try *t, const uint8_t *msg, size_t len, uint32_t age_s)
{
	struct asker *a = container_of(t, struct asker, try);

	assert_int_equal(age_s, 0);
	assert_true(t->asked_us > 0);
	if (a->picky || len < QUESTION_BYTES || msg[0] != t->id >> 8 || msg[1] != (uint8_t)t->id ||
		memcmp(msg + DNS_HEADER_SIZE, &a->tag, 4) != 0) {
		a->told++;
		return false;
	}
	for (size_t i = QUESTION_BYTES; i < len; i++)
		assert_int_equal(msg[i], 0x5a);
	transport_close(t);
	a->answers++;
	a->len = len;
	asker_over(a);
	return true;
}

static void asker_fail(struct transport_try *t, int error)
{
	struct asker *a = container_of(t, struct asker, try);

	a->failures++;
	a->error = error;
	asker_over(a);
}

static void asker_slow(struct transport_try *t)
{
	struct asker *a = container_of(t, struct asker, try);

	a->slow++;
	ask(a->stage, (unsigned)(a->opens - a->stage->askers));
	a->opens = NULL;
}

static const struct transport_owner asker = {
	.question = asker_question, .take = asker_take, .fail = asker_fail};
static const struct transport_owner patient = {
	.question = asker_question, .take = asker_take, .slow = asker_slow, .fail = asker_fail};

int ask_try(struct stage *s, unsigned i)
{
	struct asker *a = &s->askers[i];
	int error;

	a->stage = s;
	a->tag = i;
	a->answers = a->failures = 0;
	a->try.owner = a->patient ? &patient : &asker;
	a->try.server = s->server;
	a->try.to = s->conf.at;
	error = transport_open(s->transports, &a->try);
	assert_int_equal(a->answers + a->failures, 0);
	return error;
}

struct asker *ask(struct stage *s, unsigned i)
{
	assert_int_equal(ask_try(s, i), 0);
	return &s->askers[i];
}

void play_until_over(struct stage *s, unsigned first, unsigned n)
{
	for (; n > 0; first++, n--) {
		const struct asker *a = &s->askers[first];

		STAGE_UNTIL(s, a->answers + a->failures > 0);
		assert_int_equal(a->answers + a->failures, 1);
	}
}

void play_time_until_over(struct stage *s, unsigned i)
{
	const struct asker *a = &s->askers[i];

	for (int ms = 0; ms < 60000 && !a->answers && !a->failures; ms++)
		stage_play(s, 1);
	play_until_over(s, i, 1);
}

void assert_answered(const struct stage *s, unsigned first, unsigned n)
{
	for (unsigned i = first; i < first + n; i++) {
		assert_int_equal(s->askers[i].answers, 1);
		assert_int_equal(s->askers[i].failures, 0);
	}
}

static void count_conn(struct conn *c, void *arg)
{
	unsigned *n = arg;

	assert_int_not_equal(c->state, CONN_CLOSING);
	++*n;
}

unsigned conns_now(const struct stage *s)
{
	unsigned n = 0;

	pool_each(s->transports, count_conn, &n);
	return n;
}

/* --- life --- */

void stage_server(struct stage *s)
{
	struct transport_way way = {.via = s->via, .ca = s->ca};
	char why[128];

	transport_server_unref(s->server);
	assert_int_equal(transport_server_new(&s->conf, &way, &s->server, why), 0);
}

struct stage *stage_open(enum conf_transport transport)
{
	struct stage *s = calloc(1, sizeof *s);
	struct egress_dialer_config dialer = {0};
	struct transports_config config = {0};

	assert_non_null(s);
	s->fds = descriptors_open();
	s->peer = peer_new();
	s->conf = (struct conf_server){
		.transport = transport,
		.at = {.addr = {.b = {127, 0, 0, 1}, .family = IP_V4}, .port = s->peer->port},
		.url = (char *)"test",
		.idle_ms = 10000,
	};
	stage_server(s);
	assert_int_equal(loop_new(&s->loop), 0);
	dialer.loop = config.loop = s->loop;
	assert_int_equal(egress_dialer_new(&dialer, &s->dialer), 0);
	config.dialer = s->dialer;
	assert_int_equal(transports_new(&config, &s->transports), 0);
	loop_turn(s->loop, 0);
	return s;
}

void stage_turn(struct stage *s)
{
	peer_serve(s->peer);
	assert_int_equal(loop_turn(s->loop, 1), 0);
}

void stage_play(struct stage *s, int64_t ms)
{
	while (ms-- > 0) {
		hand_clock_move_ms(1);
		peer_serve(s->peer);
		assert_int_equal(loop_turn(s->loop, 0), 0);
	}
}

void stage_stopped(void *arg)
{
	struct stage *s = arg;

	assert_false(s->stopped);
	s->stopped = true;
}

static void stage_dialer_stopped(void *arg)
{
	struct stage *s = arg;

	s->dialer_stopped = true;
}

void stage_close(struct stage *s)
{
	if (s->transports) {
		for (unsigned i = 0; i < ASKERS_MAX; i++)
			transport_close(&s->askers[i].try);
		transports_stop(s->transports, stage_stopped, s);
	}
	STAGE_UNTIL(s, s->stopped);
	egress_dialer_stop(s->dialer, stage_dialer_stopped, s);
	STAGE_UNTIL(s, s->dialer_stopped);
	egress_set_unref(s->via);
	transport_server_unref(s->server);
	loop_free(s->loop);
	peer_free(s->peer);
	assert_int_equal(descriptors_open(), s->fds);
	free(s);
}
