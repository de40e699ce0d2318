#include "tests/unit/h2_stage.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "gateway/base/container.h"

/* --- what conn.c is to the codec --- */

struct transport_server *conn_server(const struct conn *c)
{
	(void)c;
	return NULL;
}

const struct conf_server *conn_conf(const struct conn *c)
{
	return &c->conf;
}

void **conn_codec_state(struct conn *c)
{
	return &c->state;
}

int conn_write(struct conn *c, const uint8_t *data, size_t len)
{
	if (c->out_len + len > STAGE_BYTES)
		return -ENOMEM;
	memcpy(c->out + c->out_len, data, len);
	c->out_len += len;
	return 0;
}

bool conn_answer(
	struct conn *c, struct transport_try *t, const uint8_t *msg, size_t len, uint32_t age_s)
{
	if (!t->owner->take(t, msg, len, age_s))
		return false;
	if (c->close_on_answer)
		c->closing = true;
	return true;
}

void conn_fail(struct conn *c, struct transport_try *t, int error, bool may_retry)
{
	container_of(t, struct stage_try, t)->may_retry = may_retry;
	conn_codec_h2.forget(c, t);
	t->owner->fail(t, error);
}

void conn_retire(struct conn *c)
{
	c->retired = true;
}

bool conn_is_closing(const struct conn *c)
{
	return c->closing;
}

uint16_t conn_random(struct conn *c)
{
	(void)c;
	return 4711;
}

/* --- tries --- */

static size_t try_question(const struct transport_try *t, uint8_t *buf, bool pad)
{
	const struct stage_try *one = container_of(t, struct stage_try, t);

	memset(buf, pad ? 'p' : '-', one->question_len);
	buf[0] = (uint8_t)(t->id >> 8);
	buf[1] = (uint8_t)t->id;
	return one->question_len;
}

static void try_close(struct stage_try *one)
{
	if (one->over)
		return;
	one->over = true;
	conn_codec_h2.forget(one->t.link, &one->t);
}

static bool try_take(struct transport_try *t, const uint8_t *msg, size_t len, uint32_t age_s)
{
	struct stage_try *one = container_of(t, struct stage_try, t);

	if (one->refuse)
		return false;
	one->answer_len = len;
	one->age_s = age_s;
	memcpy(one->answer, msg, len < sizeof one->answer ? len : sizeof one->answer);
	try_close(one);
	if (one->closes)
		try_close(one->closes);
	return true;
}

static void try_fail(struct transport_try *t, int error)
{
	struct stage_try *one = container_of(t, struct stage_try, t);

	one->over = true;
	one->error = error;
}

static const struct transport_owner owner = {
	.question = try_question, .take = try_take, .fail = try_fail};

int h2_stage_ask(struct stage *st, unsigned number, size_t question_len)
{
	struct stage_try *one = &st->tries[number];
	int r;

	one->t.owner = &owner;
	one->t.link = &st->conn;
	one->t.id = 0xffff;
	one->question_len = question_len;
	r = conn_codec_h2.ask(&st->conn, &one->t);
	one->over = r != 0;
	return r;
}

void h2_stage_close(struct stage *st, unsigned number)
{
	try_close(&st->tries[number]);
}

/* --- the server --- */

static struct stage_request *request_of(struct stage *st, int32_t id)
{
	for (unsigned i = 0; i < st->n_requests; i++)
		if (st->requests[i].id == id)
			return &st->requests[i];
	return NULL;
}

static int on_begin(nghttp2_session *session, const nghttp2_frame *frame, void *arg)
{
	struct stage *st = arg;

	(void)session;
	if (st->n_requests < STAGE_TRIES)
		st->requests[st->n_requests++].id = frame->hd.stream_id;
	return 0;
}

static int on_header(nghttp2_session *session, const nghttp2_frame *frame, const uint8_t *name,
	size_t name_len, const uint8_t *value, size_t value_len, uint8_t flags, void *arg)
{
	struct stage_request *r = request_of(arg, frame->hd.stream_id);
	size_t used = r ? strlen(r->text) : 0;

	(void)session, (void)flags;
	if (r)
		snprintf(r->text + used, sizeof r->text - used, "%.*s: %.*s\n", (int)name_len,
			(const char *)name, (int)value_len, (const char *)value);
	return 0;
}

static int on_data(nghttp2_session *session, uint8_t flags, int32_t id, const uint8_t *data,
	size_t len, void *arg)
{
	struct stage_request *r = request_of(arg, id);

	(void)session, (void)flags;
	if (r && r->body_len + len <= sizeof r->body) {
		memcpy(r->body + r->body_len, data, len);
		r->body_len += len;
	}
	return 0;
}

static int on_frame(nghttp2_session *session, const nghttp2_frame *frame, void *arg)
{
	struct stage *st = arg;
	struct stage_request *r = request_of(st, frame->hd.stream_id);

	(void)session;
	if (r && frame->hd.type == NGHTTP2_RST_STREAM)
		r->reset = frame->rst_stream.error_code + 1;
	else if (r && (frame->hd.flags & NGHTTP2_FLAG_END_STREAM))
		r->complete = true;
	st->goaways += frame->hd.type == NGHTTP2_GOAWAY;
	st->acks += frame->hd.type == NGHTTP2_PING;
	return 0;
}

static ssize_t read_reply(nghttp2_session *session, int32_t id, uint8_t *buf, size_t size,
	uint32_t *flags, nghttp2_data_source *source, void *arg)
{
	struct stage_request *r = source->ptr;
	size_t n = r->reply_len - r->reply_sent;

	(void)session, (void)id, (void)arg;
	if (n > size)
		n = size;
	memcpy(buf, r->reply + r->reply_sent, n);
	r->reply_sent += n;
	if (r->reply_sent == r->reply_len)
		*flags |= NGHTTP2_DATA_FLAG_EOF;
	return (ssize_t)n;
}

static nghttp2_nv nv(const char *name, const char *value)
{
	return (nghttp2_nv){.name = (uint8_t *)name,
		.namelen = strlen(name),
		.value = (uint8_t *)value,
		.valuelen = strlen(value)};
}

void h2_stage_answer(struct stage *st, unsigned i, const char *status, const char *type,
	const uint8_t *body, size_t len, const char *const *more)
{
	struct stage_request *r = &st->requests[i];
	nghttp2_data_provider data = {.source.ptr = r, .read_callback = read_reply};
	nghttp2_nv headers[16];
	size_t n = 0;

	headers[n++] = nv(":status", status);
	if (type)
		headers[n++] = nv("content-type", type);
	for (; more && more[0]; more += 2)
		headers[n++] = nv(more[0], more[1]);
	r->reply = body;
	r->reply_len = len;
	if (nghttp2_submit_response(st->server, r->id, headers, n, body ? &data : NULL))
		abort();
}

bool h2_stage_asked(const struct stage *st, unsigned i, const char *line)
{
	const char *at = strstr(st->requests[i].text, line);

	return at && at[strlen(line)] == '\n' && (at == st->requests[i].text || at[-1] == '\n');
}

/* --- bytes --- */

/* An exact copy, so that ASan sees who reads beyond it. */
static int feed(struct stage *st, const uint8_t *bytes, size_t len)
{
	uint8_t *exact = malloc(len);
	int r;

	if (!exact)
		abort();
	memcpy(exact, bytes, len);
	r = conn_codec_h2.feed(&st->conn, exact, len);
	free(exact);
	return r;
}

int h2_stage_raw(struct stage *st, const uint8_t *bytes, size_t len)
{
	size_t step = st->piece ? st->piece : len;

	for (size_t at = 0; at < len && !st->feed && !st->conn.closing; at += step)
		st->feed = feed(st, bytes + at, len - at < step ? len - at : step);
	return st->feed;
}

void h2_stage_turn(struct stage *st)
{
	bool moved;

	do {
		const uint8_t *bytes;
		ssize_t len;

		if (!st->feed && !st->conn.closing)
			st->feed = conn_codec_h2.flush(&st->conn);
		moved = st->conn.out_len > 0;
		len = nghttp2_session_mem_recv(st->server, st->conn.out, st->conn.out_len);
		if (len != (ssize_t)st->conn.out_len)
			abort();
		st->conn.out_len = 0;
		while ((len = nghttp2_session_mem_send(st->server, &bytes)) > 0) {
			h2_stage_raw(st, bytes, (size_t)len);
			moved = true;
		}
	} while (moved);
}

static void open_server(struct stage *st)
{
	nghttp2_session_callbacks *cb;

	if (nghttp2_session_callbacks_new(&cb))
		abort();
	nghttp2_session_callbacks_set_on_begin_headers_callback(cb, on_begin);
	nghttp2_session_callbacks_set_on_header_callback(cb, on_header);
	nghttp2_session_callbacks_set_on_data_chunk_recv_callback(cb, on_data);
	nghttp2_session_callbacks_set_on_frame_recv_callback(cb, on_frame);
	if (nghttp2_session_server_new(&st->server, cb, st))
		abort();
	nghttp2_session_callbacks_del(cb);
}

struct stage *h2_stage_new(
	const struct conf_server *conf, const nghttp2_settings_entry *settings, size_t n)
{
	struct stage *st = calloc(1, sizeof *st);

	if (!st || !(st->conn.out = malloc(STAGE_BYTES)))
		abort();
	st->conn.conf = *conf;
	open_server(st);
	nghttp2_submit_settings(st->server, NGHTTP2_FLAG_NONE, settings, n);
	if (conn_codec_h2.start(&st->conn))
		abort();
	h2_stage_turn(st);
	return st;
}

void h2_stage_free(struct stage *st)
{
	for (unsigned i = 0; i < STAGE_TRIES; i++)
		if (st->tries[i].t.codec_link)
			try_close(&st->tries[i]);
	conn_codec_h2.end(&st->conn);
	nghttp2_session_del(st->server);
	free(st->conn.out);
	free(st);
}
