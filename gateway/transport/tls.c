/* A TLS connection over two buffers. Both are given back once they are empty, as OpenSSL does with
 * its own: most connections are idle most of the time. */
#include "gateway/transport/tls_internal.h"

#include <errno.h>
#include <limits.h>
#include <openssl/bio.h>
#include <openssl/err.h>
#include <stdlib.h>
#include <string.h>

#include "gateway/base/grow.h"

#define PENDING_MAX (1u << 20)
/* A peer that does not read, but makes us answer (KeyUpdate), gets no more than that. */
#define ANSWERED_MAX (2ul * PENDING_MAX)
#define FEED_MAX     (1u << 20)

struct bytes {
	uint8_t *data;
	size_t room, at, end; /* what is in it lies between at and end */
};
struct tls {
	struct tls_context *context;
	SSL *ssl;
	struct bytes in, out;
	bool has_offered; /* a session */
	bool is_ready, is_closed;
	int error; /* 0 or what the peer did; for good */
	const char *why;
};

static int bytes_add(struct bytes *b, const uint8_t *data, size_t len)
{
	void *grown = b->data;

	if (b->at) {
		memmove(b->data, b->data + b->at, b->end - b->at);
		b->end -= b->at;
		b->at = 0;
	}
	if (room_grow(&grown, &b->room, b->end, len, 1))
		return -ENOMEM;
	b->data = grown;
	memcpy(b->data + b->end, data, len);
	b->end += len;
	return 0;
}

static void bytes_take(struct bytes *b, size_t len)
{
	b->at += len;
	if (b->at < b->end)
		return;
	free(b->data);
	*b = (struct bytes){0};
}

/* --- what OpenSSL reads from and writes to --- */

static int bio_read(BIO *bio, char *buf, size_t size, size_t *ret_len)
{
	struct tls *t = BIO_get_data(bio);
	size_t n = t->in.end - t->in.at < size ? t->in.end - t->in.at : size;

	BIO_clear_retry_flags(bio);
	if (!n) {
		BIO_set_retry_read(bio);
		return 0;
	}
	memcpy(buf, t->in.data + t->in.at, n);
	bytes_take(&t->in, n);
	*ret_len = n;
	return 1;
}

static int bio_write(BIO *bio, const char *data, size_t len, size_t *ret_len)
{
	struct tls *t = BIO_get_data(bio);

	BIO_clear_retry_flags(bio);
	if (t->out.end - t->out.at > ANSWERED_MAX ||
		bytes_add(&t->out, (const uint8_t *)data, len)) {
		ERR_raise(ERR_LIB_BIO, ERR_R_MALLOC_FAILURE); /* else it looks like an end */
		return 0;
	}
	*ret_len = len;
	return 1;
}

static long bio_ctrl(BIO *bio, int command, long number, void *pointer)
{
	(void)bio;
	(void)number;
	(void)pointer;
	return command == BIO_CTRL_FLUSH;
}

static BIO_METHOD *method;
static pthread_once_t method_once = PTHREAD_ONCE_INIT;

static void method_make(void)
{
	method = BIO_meth_new(BIO_get_new_index() | BIO_TYPE_SOURCE_SINK, "tungate");
	if (method && BIO_meth_set_read_ex(method, bio_read) &&
		BIO_meth_set_write_ex(method, bio_write) && BIO_meth_set_ctrl(method, bio_ctrl))
		return;
	BIO_meth_free(method);
	method = NULL;
}

static int bio_attach(struct tls *t)
{
	BIO *bio;

	pthread_once(&method_once, method_make);
	if (!method || !(bio = BIO_new(method)))
		return -ENOMEM;
	BIO_set_data(bio, t);
	BIO_set_init(bio, 1);
	SSL_set_bio(t->ssl, bio, bio);
	return 0;
}

/* --- the connection --- */

static int failed(struct tls *t, int error, const char *why)
{
	t->error = error;
	t->why = why;
	return error;
}

/* ret: what an SSL function returned. 0: it needs more. */
static int stopped(struct tls *t, int ret)
{
	int e = SSL_get_error(t->ssl, ret);

	if (e == SSL_ERROR_WANT_READ || e == SSL_ERROR_WANT_WRITE)
		return 0;
	e = tls_error(t->ssl, e, &t->why);
	return failed(t, e, t->why);
}

static int alpn_check(struct tls *t)
{
	const struct tls_context *c = t->context;
	const uint8_t *got;
	unsigned len;

	SSL_get0_alpn_selected(t->ssl, &got, &len);
	if (len ? c->alpn && len == strlen(c->alpn) && !memcmp(got, c->alpn, len) : !c->must_agree)
		return 0;
	return failed(t, -EPROTO, "server does not speak this protocol (ALPN)");
}

/* 1: it is over. */
static int handshake(struct tls *t)
{
	int ret = SSL_do_handshake(t->ssl), r;

	if (ret != 1)
		return stopped(t, ret);
	if ((r = alpn_check(t)))
		return r;
	t->is_ready = true;
	return 1;
}

int tls_new(struct tls_context *c, struct tls **ret)
{
	struct tls *t = calloc(1, sizeof *t);
	SSL_SESSION *session = NULL;
	int r = -ENOMEM;

	if (!t)
		return r;
	t->context = c;
	t->why = "";
	ERR_clear_error();
	if (!(t->ssl = SSL_new(c->ssl)) || bio_attach(t) ||
		(c->name && SSL_set_tlsext_host_name(t->ssl, c->name) != 1))
		goto out;
	SSL_set_connect_state(t->ssl);
	t->has_offered = (session = tls_sessions_take(c)) != NULL;
	if (session && SSL_set_session(t->ssl, session) != 1)
		goto out;
	r = handshake(t) < 0 ? -ENOMEM : 0;
out:
	SSL_SESSION_free(session);
	ERR_clear_error();
	if (r)
		tls_free(t);
	else
		*ret = t;
	return r;
}

void tls_free(struct tls *t)
{
	if (!t)
		return;
	/* Should what we offered be the reason, it is not offered again. */
	if (t->has_offered && !t->is_ready)
		tls_sessions_forget(t->context);
	SSL_free(t->ssl);
	ERR_clear_error();
	free(t->in.data);
	free(t->out.data);
	free(t);
}

int tls_feed(struct tls *t, const uint8_t *data, size_t len)
{
	if (t->error || !len)
		return 0;
	return len > FEED_MAX - (t->in.end - t->in.at) ? -ENOMEM : bytes_add(&t->in, data, len);
}

static ssize_t read_some(struct tls *t, uint8_t *buf, size_t size)
{
	int r;

	if (!t->is_ready && (r = handshake(t)) <= 0)
		return r;
	r = SSL_read(t->ssl, buf, size < INT_MAX ? (int)size : INT_MAX);
	return r > 0 ? r : stopped(t, r);
}

ssize_t tls_read(struct tls *t, uint8_t *buf, size_t size)
{
	ssize_t r;

	if (t->error)
		return t->error;
	ERR_clear_error();
	r = read_some(t, buf, size);
	ERR_clear_error();
	return r;
}

bool tls_is_ready(const struct tls *t)
{
	return t->is_ready;
}

bool tls_is_resumed(const struct tls *t)
{
	return SSL_session_reused(t->ssl) == 1;
}

int tls_write(struct tls *t, const uint8_t *data, size_t len)
{
	size_t written;

	if (!t->is_ready || t->is_closed || t->error)
		return -EPROTO;
	if (!len)
		return 0;
	if (t->out.end - t->out.at + len > PENDING_MAX)
		return -ENOMEM;
	ERR_clear_error();
	if (SSL_write_ex(t->ssl, data, len, &written) == 1)
		return 0;
	failed(t, -EPROTO, "TLS is broken");
	ERR_clear_error();
	return t->error;
}

void tls_close(struct tls *t)
{
	if (!t->is_ready || t->is_closed || t->error)
		return;
	t->is_closed = true;
	ERR_clear_error();
	SSL_shutdown(t->ssl);
	ERR_clear_error();
}

size_t tls_pending(struct tls *t, const uint8_t **ret)
{
	*ret = t->out.data ? t->out.data + t->out.at : NULL;
	return t->out.end - t->out.at;
}

void tls_sent(struct tls *t, size_t len)
{
	bytes_take(&t->out, len);
}

const char *tls_why(const struct tls *t)
{
	return t->why;
}
