#include "tests/unit/resolve_upstream.h"

#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define HEADER	  12
#define LARGE_MAX 65000

/* --- messages --- */

static void put16(uint8_t *p, unsigned v)
{
	p[0] = (uint8_t)(v >> 8);
	p[1] = (uint8_t)v;
}

/* Where the question ends: behind name, type and class. */
static size_t question_end(const struct upstream_question *q)
{
	size_t end = HEADER;

	while (q->msg[end])
		end += 1u + q->msg[end];
	end += 1 + 4;
	assert_true(end <= q->len);
	return end;
}

/* Header and question of what was asked, as a response without records. */
static size_t response(const struct upstream_question *q, unsigned flags, uint8_t *out)
{
	size_t len = question_end(q);

	memcpy(out, q->msg, len);
	put16(out + 2, 0x8180 | flags);
	memset(out + 6, 0, 6);
	return len;
}

/* An A record of the question's name. */
static size_t add_address(uint8_t *out, size_t len, uint8_t last)
{
	static const uint8_t record[] = {0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 60, 0, 4, 192, 0, 2};

	memcpy(out + len, record, sizeof record);
	out[len + sizeof record] = last;
	put16(out + 6, (unsigned)(out[6] << 8 | out[7]) + 1);
	return len + sizeof record + 1;
}

static size_t answer(const struct upstream *u, const struct upstream_question *q, uint8_t *out)
{
	return add_address(out, response(q, 0, out), u->id);
}

static size_t large_answer(
	const struct upstream *u, const struct upstream_question *q, uint8_t *out)
{
	size_t len = response(q, 0, out);

	while (len + 16 <= LARGE_MAX)
		len = add_address(out, len, u->id);
	return len;
}

static unsigned error_flags(enum act act)
{
	switch (act) {
	case ACT_TC:
		return 0x0200;
	case ACT_FORMERR:
		return 1;
	case ACT_SERVFAIL:
		return 2;
	case ACT_NXDOMAIN:
		return 3;
	case ACT_NOTIMP:
		return 4;
	default:
		return 5;
	}
}

/* What is sent instead of, or before, the answer. */
static size_t other_message(
	const struct upstream *u, const struct upstream_question *q, enum act act, uint8_t *out)
{
	size_t len = answer(u, q, out);

	switch (act) {
	case ACT_WRONG_ID:
	case ACT_WRONG_FIRST:
		out[0] ^= 0x55;
		return len;
	case ACT_WRONG_NAME:
		out[HEADER + 1] ^= 1;
		return len;
	case ACT_WRONG_TYPE:
		out[question_end(q) - 3] = 99;
		return len;
	case ACT_NOT_RESPONSE:
		out[2] &= 0x7f;
		return len;
	case ACT_OTHER_SOURCE:
		out[len - 1] = 250;
		return len;
	case ACT_GARBAGE:
		memset(out + 2, 0xff, len - 2);
		return len;
	case ACT_EMPTY:
		return 0;
	case ACT_BROKEN:
		put16(out + 6, 9);
		return len;
	default:
		return response(q, error_flags(act), out);
	}
}

static enum act next_act(const struct script *s, unsigned asked)
{
	assert_true(s->n > 0);
	return s->acts[asked < s->n ? asked : s->n - 1];
}

/* --- UDP --- */

static void udp_reply(int fd, const struct upstream_question *q, const uint8_t *msg, size_t len)
{
	(void)!sendto(fd, msg, len, 0, (const struct sockaddr *)&q->from, q->from_len);
}

static void udp_act(struct upstream *u, const struct upstream_question *q, enum act act)
{
	uint8_t out[1024];

	if (act == ACT_SILENT)
		return;
	if (act == ACT_HOLD) {
		assert_true(u->n_held < UPSTREAM_HELD_MAX);
		u->held[u->n_held++] = *q;
		return;
	}
	if (act != ACT_ANSWER)
		udp_reply(act == ACT_OTHER_SOURCE ? u->other : u->udp, q, out,
			other_message(u, q, act, out));
	if (act <= ACT_EMPTY)
		udp_reply(u->udp, q, out, answer(u, q, out));
}

static uint16_t port_of(const struct sockaddr_storage *a)
{
	return ntohs(a->ss_family == AF_INET ? ((const struct sockaddr_in *)a)->sin_port
					     : ((const struct sockaddr_in6 *)a)->sin6_port);
}

static bool udp_take(const struct upstream *u, struct upstream_question *ret)
{
	ssize_t n;

	ret->from_len = sizeof ret->from;
	n = recvfrom(u->udp, ret->msg, sizeof ret->msg, MSG_DONTWAIT, (struct sockaddr *)&ret->from,
		&ret->from_len);
	ret->len = n < 0 ? 0 : (size_t)n;
	return n >= 0;
}

static void udp_serve(struct upstream *u)
{
	struct upstream_question q;

	while (udp_take(u, &q)) {
		if (u->asked < UPSTREAM_SEEN_MAX) {
			u->seen_port[u->asked] = port_of(&q.from);
			u->seen_id[u->asked] = (uint16_t)(q.msg[0] << 8 | q.msg[1]);
		}
		udp_act(u, &q, next_act(&u->script, u->asked++));
	}
}

void upstream_release(struct upstream *u)
{
	for (unsigned i = 0; i < u->n_held; i++)
		udp_act(u, &u->held[i], ACT_ANSWER);
	u->n_held = 0;
}

/* --- TCP --- */

static void conn_end(struct upstream_conn *c)
{
	if (c->fd >= 0)
		close(c->fd);
	c->fd = -1;
}

/* The socket's buffer takes all that is written here at once. */
static void conn_write(struct upstream_conn *c, const uint8_t *data, size_t len)
{
	(void)!send(c->fd, data, len, MSG_NOSIGNAL);
}

static size_t with_length(uint8_t *out, size_t len)
{
	put16(out, (unsigned)len);
	return len + 2;
}

/* A wrong id, a message of no bytes, the answer. */
static size_t wrong_first(const struct upstream *u, const struct upstream_question *q, uint8_t *out)
{
	size_t len = with_length(out, other_message(u, q, ACT_WRONG_ID, out + 2));

	put16(out + len, 0);
	len += 2;
	return len + with_length(out + len, answer(u, q, out + len + 2));
}

static void tcp_act(const struct upstream *u, struct upstream_conn *c,
	const struct upstream_question *q, enum act act)
{
	static uint8_t out[2 + LARGE_MAX];
	static const struct linger reset = {.l_onoff = 1};
	size_t len;

	switch (act) {
	case ACT_SILENT:
		return;
	case ACT_ANSWER:
		conn_write(c, out, with_length(out, answer(u, q, out + 2)));
		return;
	case ACT_LARGE:
		conn_write(c, out, with_length(out, large_answer(u, q, out + 2)));
		return;
	case ACT_TORN:
		c->out_len = wrong_first(u, q, c->out);
		c->out_at = 0;
		return;
	case ACT_CLOSE_MID:
		len = with_length(out, answer(u, q, out + 2));
		conn_write(c, out, len / 2);
		conn_end(c);
		return;
	case ACT_RESET:
		setsockopt(c->fd, SOL_SOCKET, SO_LINGER, &reset, sizeof reset);
		conn_end(c);
		return;
	case ACT_WRONG_FIRST:
		conn_write(c, out, wrong_first(u, q, out));
		return;
	default:
		conn_write(c, out, with_length(out, other_message(u, q, act, out + 2)));
	}
}

static void conn_serve(struct upstream *u, struct upstream_conn *c)
{
	struct upstream_question q;
	ssize_t n;

	if (c->fd >= 0 && c->out_at < c->out_len) {
		conn_write(c, c->out + c->out_at, 1);
		c->out_at++;
	}
	n = c->fd < 0 ? -1 : recv(c->fd, c->in + c->in_len, sizeof c->in - c->in_len, MSG_DONTWAIT);
	if (n == 0 || (n < 0 && c->fd >= 0 && errno != EAGAIN))
		conn_end(c);
	if (n <= 0)
		return;
	c->in_len += (size_t)n;
	while (c->fd >= 0 && c->in_len >= 2) {
		q.len = (size_t)(c->in[0] << 8 | c->in[1]);
		if (c->in_len < 2 + q.len)
			return;
		assert_true(q.len <= sizeof q.msg);
		memcpy(q.msg, c->in + 2, q.len);
		c->in_len -= 2 + q.len;
		memmove(c->in, c->in + 2 + q.len, c->in_len);
		tcp_act(u, c, &q, next_act(&u->script_tcp, u->asked_tcp++));
	}
}

static void tcp_serve(struct upstream *u)
{
	int fd, one = 1;

	while ((fd = accept4(u->listener, NULL, NULL, SOCK_CLOEXEC)) >= 0) {
		assert_true(u->n_conns < UPSTREAM_CONNS_MAX);
		setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
		u->conns[u->n_conns++] = (struct upstream_conn){.fd = fd};
	}
}

void upstream_serve(struct upstream *u)
{
	if (u->udp >= 0)
		udp_serve(u);
	if (u->listener >= 0)
		tcp_serve(u);
	for (unsigned i = 0; i < u->n_conns; i++)
		conn_serve(u, &u->conns[i]);
}

/* --- life --- */

static int bind_local(const char *at, int type, uint16_t port)
{
	struct sockaddr_in v4 = {.sin_family = AF_INET, .sin_port = htons(port)};
	struct sockaddr_in6 v6 = {.sin6_family = AF_INET6, .sin6_port = htons(port)};
	bool is_v4 = inet_pton(AF_INET, at, &v4.sin_addr) == 1;
	int fd = socket(is_v4 ? AF_INET : AF_INET6, type | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	int size = 4 << 20;

	assert_true(fd >= 0);
	assert_true(is_v4 || inet_pton(AF_INET6, at, &v6.sin6_addr) == 1);
	setsockopt(fd, SOL_SOCKET, type == SOCK_DGRAM ? SO_RCVBUF : SO_SNDBUF, &size, sizeof size);
	if (bind(fd, is_v4 ? (struct sockaddr *)&v4 : (struct sockaddr *)&v6,
		    is_v4 ? sizeof v4 : sizeof v6) == 0)
		return fd;
	close(fd);
	return -1;
}

static uint16_t local_port(int fd)
{
	struct sockaddr_storage a;
	socklen_t len = sizeof a;

	assert_int_equal(getsockname(fd, (struct sockaddr *)&a, &len), 0);
	return port_of(&a);
}

struct upstream *upstream_new(const char *at, uint8_t id)
{
	struct upstream *u = calloc(1, sizeof *u);

	assert_non_null(u);
	u->at = at;
	u->id = id;
	u->script = u->script_tcp = (struct script){1, {ACT_ANSWER}};
	/* The port that is free for UDP may be taken for TCP. */
	for (u->listener = -1; u->listener < 0;) {
		u->udp = bind_local(at, SOCK_DGRAM, 0);
		assert_true(u->udp >= 0);
		u->port = local_port(u->udp);
		u->listener = bind_local(at, SOCK_STREAM, u->port);
		if (u->listener < 0)
			close(u->udp);
	}
	assert_int_equal(listen(u->listener, 512), 0);
	u->other = bind_local(at, SOCK_DGRAM, 0);
	assert_true(u->other >= 0);
	return u;
}

void upstream_close_udp(struct upstream *u)
{
	close(u->udp);
	u->udp = -1;
}

void upstream_close_tcp(struct upstream *u)
{
	close(u->listener);
	u->listener = -1;
}

void upstream_free(struct upstream *u)
{
	for (unsigned i = 0; i < u->n_conns; i++)
		conn_end(&u->conns[i]);
	if (u->udp >= 0)
		upstream_close_udp(u);
	if (u->listener >= 0)
		upstream_close_tcp(u);
	close(u->other);
	free(u);
}
