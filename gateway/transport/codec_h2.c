/* DNS over HTTPS (RFC 8484) as a client over HTTP/2 (RFC 9113): a question is a stream.
 *
 * A question whose try has closed is left to be answered, and the answer is dropped: a server that
 * sees many streams reset takes that for an attack. Only when there is no room for another question
 * the oldest of them is reset.
 *
 * Bounds: streams (H2_STREAMS_MAX and the peer's), a body (DNS_MESSAGE_MAX), all bodies of a
 * connection beyond what their streams hold (H2_BODIES_MAX), headers of a response
 * (H2_HEADERS_MAX), answers to PING and SETTINGS that are not sent yet (H2_ACKS_MAX). */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "gateway/transport/codec_h2_internal.h"

#define H2_STREAMS_MAX 256
#define H2_WINDOW      (1 << 20) /* of a connection; a stream's is the default, 65535 */
#define H2_BODIES_MAX  (1 << 20)
#define H2_HEADERS_MAX 16384
#define H2_ACKS_MAX    100

static struct h2 *h2_of(struct conn *c)
{
	return *conn_codec_state(c);
}

/* --- streams --- */

static struct h2_stream *stream_new(struct h2 *h2, struct transport_try *t)
{
	struct h2_stream *s = slab_take(&h2->slab);

	if (!s)
		return NULL;
	memset(s, 0, offsetof(struct h2_stream, bytes));
	s->body = s->bytes;
	s->body_room = sizeof s->bytes;
	s->t = t;
	t->codec_link = s;
	s->prev = h2->last;
	*h2->last = s;
	h2->last = &s->next;
	h2->n_open++;
	h2->n_wanted++;
	return s;
}

static struct transport_try *stream_detach(struct h2 *h2, struct h2_stream *s)
{
	struct transport_try *t = s->t;

	if (t) {
		t->codec_link = NULL;
		s->t = NULL;
		h2->n_wanted--;
	}
	return t;
}

static void stream_free(struct h2 *h2, struct h2_stream *s)
{
	stream_detach(h2, s);
	h2->n_open -= !s->reset;
	if (s->body != s->bytes) {
		h2->bodies_bytes -= s->body_room;
		free(s->body);
	}
	*s->prev = s->next;
	if (s->next)
		s->next->prev = s->prev;
	else
		h2->last = s->prev;
	slab_give(&h2->slab, s);
}

static void stream_reset(struct h2 *h2, struct h2_stream *s)
{
	if (s->reset ||
		nghttp2_submit_rst_stream(h2->session, NGHTTP2_FLAG_NONE, s->id, NGHTTP2_CANCEL))
		return;
	s->reset = true;
	h2->n_open--;
}

static void stream_fail(struct h2 *h2, struct h2_stream *s, int error, bool may_retry)
{
	struct transport_try *t = stream_detach(h2, s);

	if (t)
		conn_fail(h2->conn, t, error, may_retry);
}

/* Room for a body of body_len, whose last bytes are not there yet: 0, -EMSGSIZE, -ENOBUFS, -ENOMEM.
 * A body that nobody waits for is counted only. */
static int stream_reserve(struct h2 *h2, struct h2_stream *s)
{
	size_t room = s->body_room, held = s->body == s->bytes ? 0 : s->body_room;
	uint8_t *body;

	if (s->body_len > DNS_MESSAGE_MAX)
		return -EMSGSIZE;
	if (s->body_len <= room || !s->t)
		return 0;
	while (room < s->body_len)
		room *= 2;
	if (h2->bodies_bytes - held + room > H2_BODIES_MAX)
		return -ENOBUFS;
	body = realloc(held ? s->body : NULL, room);
	if (!body)
		return -ENOMEM;
	if (!held)
		memcpy(body, s->bytes, sizeof s->bytes);
	h2->bodies_bytes += room - held;
	s->body = body;
	s->body_room = room;
	return 0;
}

/* --- requests --- */

static bool has_room(struct h2 *h2)
{
	uint32_t most = nghttp2_session_get_remote_settings(
		h2->session, NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS);

	if (most > H2_STREAMS_MAX)
		most = H2_STREAMS_MAX;
	for (struct h2_stream *s = h2->streams; s && h2->n_open >= most; s = s->next)
		if (!s->t)
			stream_reset(h2, s);
	return h2->n_open < most;
}

static int h2_ask(struct conn *c, struct transport_try *t)
{
	struct h2 *h2 = h2_of(c);
	struct h2_stream *s;

	if (h2->retired || !has_room(h2))
		return -EAGAIN;
	if (!nghttp2_session_check_request_allowed(h2->session)) { /* no stream ids are left */
		h2->retired = true;
		conn_retire(c);
		return -EAGAIN;
	}
	s = stream_new(h2, t);
	if (!s)
		return -EAGAIN;
	t->id = 0; /* RFC 8484 4.1 */
	s->question_len = (uint16_t)t->owner->question(t, s->bytes, true);
	s->id = h2_submit(h2, s, conn_conf(c)->method);
	if (s->id < 0) {
		stream_free(h2, s);
		return -ENOMEM;
	}
	return 0;
}

static void h2_forget(struct conn *c, struct transport_try *t)
{
	if (t->codec_link)
		stream_detach(h2_of(c), t->codec_link);
}

/* --- responses --- */

static bool is_named(const char *name, const uint8_t *bytes, size_t len)
{
	return strlen(name) == len && memcmp(name, bytes, len) == 0;
}

/* Digits only (RFC 9111 1.2.2); a value too large is the largest, what is none is 0. */
static uint32_t read_seconds(const uint8_t *value, size_t len)
{
	uint64_t n = 0;

	for (size_t i = 0; i < len; i++) {
		if (value[i] < '0' || value[i] > '9')
			return 0;
		n = n * 10 + (uint64_t)(value[i] - '0');
		if (n > INT32_MAX)
			n = INT32_MAX;
	}
	return (uint32_t)n;
}

static bool is_dns_message(const uint8_t *value, size_t len)
{
	static const char type[] = "application/dns-message";
	size_t type_len = sizeof type - 1;

	return len >= type_len && strncasecmp((const char *)value, type, type_len) == 0 &&
	       (len == type_len || value[type_len] == ';' || value[type_len] == ' ');
}

static int on_begin_headers(nghttp2_session *session, const nghttp2_frame *frame, void *arg)
{
	struct h2_stream *s = nghttp2_session_get_stream_user_data(session, frame->hd.stream_id);

	(void)arg;
	if (!s)
		return 0;
	s->headers_bytes = 0;
	if (s->in_body)
		return 0;
	s->status = 0; /* what came before was an interim response (RFC 9110 15.2) */
	s->is_dns = false;
	s->age_s = 0;
	return 0;
}

static int on_header(nghttp2_session *session, const nghttp2_frame *frame, const uint8_t *name,
	size_t name_len, const uint8_t *value, size_t value_len, uint8_t flags, void *arg)
{
	struct h2_stream *s = nghttp2_session_get_stream_user_data(session, frame->hd.stream_id);
	struct h2 *h2 = arg;

	(void)flags;
	if (!s)
		return 0;
	s->headers_bytes += (uint32_t)(name_len + value_len + 32); /* RFC 9113 6.5.2 */
	if (s->headers_bytes > H2_HEADERS_MAX) {
		stream_fail(h2, s, -EPROTO, false);
		return NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE; /* resets the stream */
	}
	if (s->in_body)
		return 0;
	if (is_named(":status", name, name_len))
		s->status = (uint16_t)read_seconds(value, value_len);
	else if (is_named("content-type", name, name_len))
		s->is_dns = is_dns_message(value, value_len);
	else if (is_named("age", name, name_len))
		s->age_s = read_seconds(value, value_len);
	return 0;
}

static int on_data(nghttp2_session *session, uint8_t flags, int32_t id, const uint8_t *data,
	size_t len, void *arg)
{
	struct h2_stream *s = nghttp2_session_get_stream_user_data(session, id);
	struct h2 *h2 = arg;
	int r;

	(void)flags;
	if (!s || s->reset)
		return 0;
	s->body_len += len;
	if (s->question_sent < s->question_len)
		r = -EPROTO; /* it lies where the body goes, and nobody answers half a question */
	else
		r = stream_reserve(h2, s);
	if (r) {
		stream_reset(h2, s);
		stream_fail(h2, s, r, false);
		return conn_is_closing(h2->conn) ? NGHTTP2_ERR_CALLBACK_FAILURE : 0;
	}
	if (s->t)
		memcpy(s->body + s->body_len - len, data, len);
	return 0;
}

static void take_answer(struct h2 *h2, struct h2_stream *s)
{
	if (!conn_answer(h2->conn, s->t, s->body, s->body_len, s->age_s) &&
		!conn_is_closing(h2->conn))
		stream_fail(h2, s, -EPROTO, false); /* nothing else will come on this stream */
}

static void on_response(struct h2 *h2, struct h2_stream *s, const nghttp2_frame *frame)
{
	bool is_end = (frame->hd.flags & NGHTTP2_FLAG_END_STREAM) != 0;

	if (frame->hd.type == NGHTTP2_HEADERS && !s->in_body && s->status >= 200) {
		s->in_body = true;
		if (s->status != 200 || !s->is_dns)
			stream_fail(h2, s, -EREMOTEIO, false);
	}
	if (is_end && s->t)
		take_answer(h2, s);
}

static int on_frame(nghttp2_session *session, const nghttp2_frame *frame, void *arg)
{
	struct h2 *h2 = arg;
	struct h2_stream *s;

	switch (frame->hd.type) {
	case NGHTTP2_GOAWAY: /* on_close() follows for the streams above its last */
		h2->retired = true;
		h2->last_taken = frame->goaway.last_stream_id;
		conn_retire(h2->conn);
		break;
	case NGHTTP2_HEADERS:
	case NGHTTP2_DATA:
		s = nghttp2_session_get_stream_user_data(session, frame->hd.stream_id);
		if (s)
			on_response(h2, s, frame);
		break;
	default:
		break;
	}
	return conn_is_closing(h2->conn) ? NGHTTP2_ERR_CALLBACK_FAILURE : 0;
}

/* The peer's GOAWAY came before this left. */
static int on_not_sent(nghttp2_session *session, const nghttp2_frame *frame, int error, void *arg)
{
	struct h2_stream *s;

	(void)error, (void)arg;
	if (frame->hd.type != NGHTTP2_HEADERS)
		return 0;
	s = nghttp2_session_get_stream_user_data(session, frame->hd.stream_id);
	if (s)
		s->refused = true;
	return 0;
}

static int on_close(nghttp2_session *session, int32_t id, uint32_t code, void *arg)
{
	struct h2_stream *s = nghttp2_session_get_stream_user_data(session, id);
	struct h2 *h2 = arg;

	if (!s)
		return 0;
	/* A server may take a few questions on each connection only: as long as it takes some,
	 * those left over are asked again without counting. */
	if (s->t && h2->last_taken > 0 && id > h2->last_taken)
		s->t->again = false;
	if (code == NGHTTP2_REFUSED_STREAM || s->refused) /* RFC 9113 8.7 */
		stream_fail(h2, s, -ECONNRESET, true);
	else
		stream_fail(h2, s, code == NGHTTP2_PROTOCOL_ERROR ? -EPROTO : -ECONNRESET, false);
	stream_free(h2, s);
	return 0;
}

/* --- the session --- */

static nghttp2_session_callbacks *new_callbacks(void)
{
	nghttp2_session_callbacks *cb;

	if (nghttp2_session_callbacks_new(&cb))
		return NULL;
	nghttp2_session_callbacks_set_on_begin_headers_callback(cb, on_begin_headers);
	nghttp2_session_callbacks_set_on_header_callback(cb, on_header);
	nghttp2_session_callbacks_set_on_data_chunk_recv_callback(cb, on_data);
	nghttp2_session_callbacks_set_on_frame_recv_callback(cb, on_frame);
	nghttp2_session_callbacks_set_on_frame_not_send_callback(cb, on_not_sent);
	nghttp2_session_callbacks_set_on_stream_close_callback(cb, on_close);
	return cb;
}

static int open_session(struct h2 *h2)
{
	static const nghttp2_settings_entry settings[] = {
		{NGHTTP2_SETTINGS_ENABLE_PUSH, 0},
		{NGHTTP2_SETTINGS_MAX_HEADER_LIST_SIZE, H2_HEADERS_MAX},
	};
	nghttp2_session_callbacks *cb = new_callbacks();
	nghttp2_option *option = NULL;
	int r = -ENOMEM;

	if (!cb || nghttp2_option_new(&option))
		goto out;
	nghttp2_option_set_max_outbound_ack(option, H2_ACKS_MAX);
	nghttp2_option_set_max_reserved_remote_streams(option, 0);
	if (nghttp2_session_client_new2(&h2->session, cb, h2, option))
		goto out;
	if (nghttp2_submit_settings(h2->session, NGHTTP2_FLAG_NONE, settings, 2) == 0 &&
		nghttp2_session_set_local_window_size(
			h2->session, NGHTTP2_FLAG_NONE, 0, H2_WINDOW) == 0)
		r = 0;
out:
	nghttp2_option_del(option);
	nghttp2_session_callbacks_del(cb);
	return r;
}

static void h2_end(struct conn *c)
{
	struct h2 *h2 = h2_of(c);

	nghttp2_session_del(h2->session);
	while (h2->streams)
		stream_free(h2, h2->streams);
	slab_fini(&h2->slab);
	free(h2);
	*conn_codec_state(c) = NULL;
}

static int h2_start(struct conn *c)
{
	const struct conf_server *conf = conn_conf(c);
	struct h2 *h2 = calloc(1, sizeof *h2);
	int r;

	if (!h2)
		return -ENOMEM;
	h2->conn = c;
	h2->last = &h2->streams;
	/* Streams that were reset live until the turn ends. */
	slab_init(&h2->slab, sizeof(struct h2_stream), 2 * H2_STREAMS_MAX);
	*conn_codec_state(c) = h2;
	h2_write_authority(conf, h2->authority);
	r = snprintf(h2->path, sizeof h2->path, "%s", conf->path) < (int)sizeof h2->path
		    ? open_session(h2)
		    : -ENAMETOOLONG;
	if (r)
		h2_end(c);
	return r;
}

static int h2_flush(struct conn *c)
{
	struct h2 *h2 = h2_of(c);
	const uint8_t *data;
	ssize_t len = 0;
	int r = 0;

	while (!r && !conn_is_closing(c) &&
		(len = nghttp2_session_mem_send(h2->session, &data)) > 0)
		r = conn_write(c, data, (size_t)len);
	if (len < 0)
		r = len == NGHTTP2_ERR_NOMEM ? -ENOMEM : -EPROTO;
	return r;
}

static int h2_feed(struct conn *c, const uint8_t *data, size_t len)
{
	struct h2 *h2 = h2_of(c);
	ssize_t n = nghttp2_session_mem_recv(h2->session, data, len);
	int r;

	if (conn_is_closing(c))
		return 0;
	if (n < 0)
		return n == NGHTTP2_ERR_NOMEM ? -ENOMEM : -EPROTO;
	r = h2_flush(c);
	if (r || nghttp2_session_want_read(h2->session))
		return r;
	return h2->retired && h2->n_wanted == 0 ? 0 : -EPROTO; /* of GOAWAY, or we broke it off */
}

const struct conn_codec conn_codec_h2 = {
	.start = h2_start,
	.end = h2_end,
	.ask = h2_ask,
	.forget = h2_forget,
	.feed = h2_feed,
	.flush = h2_flush,
};
