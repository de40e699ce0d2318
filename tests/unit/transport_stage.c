#include "tests/unit/transport_stage.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <dirent.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "gateway/base/clock.h"

static void put16(uint8_t *p, unsigned v)
{
	p[0] = (uint8_t)(v >> 8);
	p[1] = (uint8_t)v;
}

/* --- the far end --- */

void far_close(struct far *f, unsigned conn)
{
	struct far_conn *c = &f->conns[conn];

	if (c->fd >= 0)
		close(c->fd);
	c->fd = -1;
	free(c->out);
	c->out = NULL;
}

void far_reset(struct far *f, unsigned conn)
{
	static const struct linger reset = {.l_onoff = 1};

	setsockopt(f->conns[conn].fd, SOL_SOCKET, SO_LINGER, &reset, sizeof reset);
	far_close(f, conn);
}

static void far_put(struct far_conn *c, const uint8_t *data, size_t len)
{
	c->out = realloc(c->out, c->out_len + len);
	assert_non_null(c->out);
	memcpy(c->out + c->out_len, data, len);
	c->out_len += len;
}

static void far_put_message(struct far_conn *c, const uint8_t *msg, size_t len)
{
	uint8_t prefix[2];

	put16(prefix, (unsigned)len);
	far_put(c, prefix, 2);
	far_put(c, msg, len);
}

static size_t far_write(const struct far *f, const struct far_question *q, uint8_t *msg)
{
	size_t len = f->size ? f->size : QUESTION_BYTES;

	memset(msg, 0x5a, len);
	memset(msg, 0, DNS_HEADER_SIZE);
	put16(msg, q->id);
	msg[2] = 0x81;
	memcpy(msg + DNS_HEADER_SIZE, &q->tag, 4);
	return len;
}

static void far_reply(struct far *f, const struct far_question *q)
{
	static uint8_t msg[65536];
	struct far_conn *c = &f->conns[q->conn];
	size_t len = far_write(f, q, msg);

	if (q->from.ss_family) {
		(void)!sendto(f->udp, msg, len, 0, (const struct sockaddr *)&q->from,
			sizeof(struct sockaddr_in));
		return;
	}
	if (c->fd < 0)
		return;
	if (f->noise) {
		far_put_message(c, msg, 0);
		msg[1] ^= 1;
		far_put_message(c, msg, len);
		msg[1] ^= 1;
	}
	far_put_message(c, msg, len);
	c->answered++;
}

void far_answer(struct far *f, unsigned i)
{
	far_reply(f, &f->held[i]);
}

static void far_flush(struct far *f, unsigned conn)
{
	struct far_conn *c = &f->conns[conn];
	size_t len = f->torn && c->out_len - c->out_at > 1 ? 1 : c->out_len - c->out_at;
	ssize_t n = len ? send(c->fd, c->out + c->out_at, len, MSG_NOSIGNAL) : 0;

	if (n > 0)
		c->out_at += (size_t)n;
	if (c->out_at == c->out_len)
		c->out_at = c->out_len = 0;
	if (f->closes_after && c->answered >= f->closes_after && !c->out_len)
		far_close(f, conn);
}

static void far_question(struct far *f, const struct far_question *q, uint16_t port)
{
	static uint8_t msg[65536];

	assert_true(f->asked < 4096);
	f->seen_id[f->asked] = q->id;
	f->seen_tag[f->asked] = q->tag;
	f->seen_port[f->asked] = port;
	f->asked++;
	if (f->resets) {
		struct far_conn *c = &f->conns[q->conn];
		size_t len = far_write(f, q, msg + 2);

		f->resets--;
		put16(msg, (unsigned)len);
		(void)!send(c->fd, msg, len / 2, MSG_NOSIGNAL);
		far_reset(f, q->conn);
	} else if (f->hold) {
		assert_true(f->n_held < FAR_HELD_MAX);
		f->held[f->n_held++] = *q;
	} else {
		far_reply(f, q);
	}
}

static void far_parse(const uint8_t *msg, size_t len, struct far_question *ret)
{
	assert_int_equal(len, QUESTION_BYTES);
	ret->id = (uint16_t)(msg[0] << 8 | msg[1]);
	memcpy(&ret->tag, msg + DNS_HEADER_SIZE, 4);
}

static void far_read(struct far *f, unsigned conn)
{
	struct far_conn *c = &f->conns[conn];
	struct far_question q = {.conn = conn};
	size_t at = 0, len;
	ssize_t n = recv(c->fd, c->in + c->in_len, sizeof c->in - c->in_len, MSG_DONTWAIT);

	if (n == 0 || (n < 0 && errno != EAGAIN)) {
		far_close(f, conn);
		return;
	}
	if (n < 0)
		return;
	c->in_len += (size_t)n;
	while (c->fd >= 0 && c->in_len - at >= 2) {
		len = (size_t)(c->in[at] << 8 | c->in[at + 1]);
		if (c->in_len - at < 2 + len)
			break;
		if (f->closes_after && c->answered >= f->closes_after)
			break;
		far_parse(c->in + at + 2, len, &q);
		c->asked++;
		at += 2 + len;
		far_question(f, &q, 0);
	}
	memmove(c->in, c->in + at, c->in_len - at);
	c->in_len -= at;
}

static void far_read_datagrams(struct far *f)
{
	struct far_question q = {0};
	uint8_t msg[512];
	socklen_t len = sizeof q.from;
	ssize_t n;

	while ((n = recvfrom(f->udp, msg, sizeof msg, MSG_DONTWAIT, (struct sockaddr *)&q.from,
			&len)) >= 0) {
		far_parse(msg, (size_t)n, &q);
		far_question(f, &q, ntohs(((struct sockaddr_in *)&q.from)->sin_port));
		len = sizeof q.from;
	}
}

static void far_accept(struct far *f)
{
	int fd, one = 1;

	while ((fd = accept4(f->listener, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK)) >= 0) {
		assert_true(f->n_conns < FAR_CONNS_MAX);
		setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
		memset(&f->conns[f->n_conns], 0, sizeof f->conns[0]);
		f->conns[f->n_conns].fd = fd;
		f->conns[f->n_conns++].reads = true;
	}
}

void far_serve(struct far *f)
{
	if (f->listener >= 0)
		far_accept(f);
	far_read_datagrams(f);
	for (unsigned i = 0; i < f->n_conns; i++) {
		if (f->conns[i].fd >= 0 && f->conns[i].reads)
			far_read(f, i);
		if (f->conns[i].fd >= 0)
			far_flush(f, i);
	}
}

static int far_bind(int type, uint16_t *port)
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

static struct far *far_new(void)
{
	struct far *f = calloc(1, sizeof *f);

	assert_non_null(f);
	/* The port that is free for UDP may be taken for TCP. */
	for (f->listener = -1; f->listener < 0;) {
		f->port = 0;
		f->udp = far_bind(SOCK_DGRAM, &f->port);
		assert_true(f->udp >= 0);
		f->listener = far_bind(SOCK_STREAM, &f->port);
		if (f->listener < 0)
			close(f->udp);
	}
	assert_int_equal(listen(f->listener, 512), 0);
	return f;
}

static void far_free(struct far *f)
{
	for (unsigned i = 0; i < f->n_conns; i++)
		far_close(f, i);
	if (f->listener >= 0)
		close(f->listener);
	close(f->udp);
	free(f);
}

/* --- the near end --- */

static size_t asker_question(const struct transport_try *t, uint8_t *buf, bool pad)
{
	const struct asker *a = container_of(t, struct asker, try);

	assert_false(pad);
	memset(buf, 0, DNS_HEADER_SIZE);
	put16(buf, t->id);
	memcpy(buf + DNS_HEADER_SIZE, &a->tag, 4);
	return QUESTION_BYTES;
}

static void asker_over(struct asker *a)
{
	struct stage *s = a->stage;

	a->over_ms = clock_ms();
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

static const struct transport_owner asker = {asker_question, asker_take, asker_fail};

int ask_try(struct stage *s, unsigned i)
{
	struct asker *a = &s->askers[i];
	int error;

	a->stage = s;
	a->tag = i;
	a->answers = a->failures = 0;
	a->asked_ms = clock_ms();
	a->try.owner = &asker;
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
	for (int64_t end = clock_ms() + 20000; n > 0; first++, n--) {
		const struct asker *a = &s->askers[first];

		while (!a->answers && !a->failures && clock_ms() < end)
			stage_turn(s);
		assert_int_equal(a->answers + a->failures, 1);
	}
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

static unsigned count_fds(void)
{
	DIR *d = opendir("/proc/self/fd");
	unsigned n = 0;

	assert_non_null(d);
	while (readdir(d))
		n++;
	closedir(d);
	return n;
}

void stage_server(struct stage *s)
{
	struct transport_way way = {0};
	char why[128];

	transport_server_unref(s->server);
	assert_int_equal(transport_server_new(&s->conf, &way, &s->server, why), 0);
}

struct stage *stage_open(enum conf_transport transport)
{
	struct stage *s = calloc(1, sizeof *s);
	struct transports_config config = {0};

	assert_non_null(s);
	s->fds = count_fds();
	s->far = far_new();
	s->conf = (struct conf_server){
		.transport = transport,
		.at = {.addr = {.b = {127, 0, 0, 1}, .family = IP_V4}, .port = s->far->port},
		.url = (char *)"test",
		.idle_ms = 10000,
	};
	stage_server(s);
	assert_int_equal(loop_new(&s->loop), 0);
	config.loop = s->loop;
	assert_int_equal(transports_new(&config, &s->transports), 0);
	loop_turn(s->loop, 0);
	return s;
}

void stage_turn(struct stage *s)
{
	far_serve(s->far);
	assert_int_equal(loop_turn(s->loop, 1), 0);
}

void stage_play(struct stage *s, int64_t ms)
{
	for (int64_t end = clock_ms() + ms; clock_ms() < end;)
		stage_turn(s);
}

void stage_stopped(void *arg)
{
	struct stage *s = arg;

	assert_false(s->stopped);
	s->stopped = true;
}

void stage_close(struct stage *s)
{
	if (s->transports) {
		for (unsigned i = 0; i < ASKERS_MAX; i++)
			transport_close(&s->askers[i].try);
		transports_stop(s->transports, stage_stopped, s);
	}
	for (int i = 0; i < 1000 && !s->stopped; i++)
		stage_turn(s);
	assert_true(s->stopped);
	transport_server_unref(s->server);
	loop_free(s->loop);
	far_free(s->far);
	assert_int_equal(count_fds(), s->fds);
	free(s);
}
