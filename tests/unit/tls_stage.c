#include "tls_stage.h"

#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/sha.h>
#include <openssl/x509v3.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define DAY_S (24L * 3600)

static void require(bool holds)
{
	if (holds)
		return;
	ERR_print_errors_fp(stderr);
	abort();
}

/* --- certificates --- */

static void extension_add(X509 *cert, X509 *issuer, int nid, const char *text)
{
	X509V3_CTX ctx;
	X509_EXTENSION *e;

	X509V3_set_ctx(&ctx, issuer, cert, NULL, NULL, 0);
	e = X509V3_EXT_conf_nid(NULL, &ctx, nid, text);
	require(e && X509_add_ext(cert, e, -1));
	X509_EXTENSION_free(e);
}

struct identity identity_new(const struct identity_plan *plan)
{
	static long serial;
	struct identity i = {EVP_EC_gen("P-256"), X509_new()};
	const struct identity *issuer = plan->issuer ? plan->issuer : &i;
	X509_NAME *name = X509_get_subject_name(i.cert);
	bool dated = plan->from_s || plan->to_s;

	require(i.key && X509_set_version(i.cert, X509_VERSION_3));
	ASN1_INTEGER_set(X509_get_serialNumber(i.cert), ++serial);
	X509_gmtime_adj(X509_getm_notBefore(i.cert), dated ? plan->from_s : -DAY_S);
	X509_gmtime_adj(X509_getm_notAfter(i.cert), dated ? plan->to_s : DAY_S);
	X509_NAME_add_entry_by_txt(
		name, "CN", MBSTRING_ASC, (const uint8_t *)plan->name, -1, -1, 0);
	X509_set_issuer_name(i.cert, X509_get_subject_name(issuer->cert));
	X509_set_pubkey(i.cert, i.key);
	extension_add(i.cert, issuer->cert, NID_basic_constraints,
		plan->alt ? "critical,CA:FALSE" : "critical,CA:TRUE");
	if (plan->alt)
		extension_add(i.cert, issuer->cert, NID_subject_alt_name, plan->alt);
	require(X509_sign(i.cert, issuer->key, EVP_sha256()));
	return i;
}

void identity_free(struct identity *i)
{
	EVP_PKEY_free(i->key);
	X509_free(i->cert);
}

struct conf_pin identity_pin(const struct identity *i)
{
	struct conf_pin pin;
	uint8_t *key = NULL;
	int len = i2d_PUBKEY(i->key, &key);

	require(len > 0);
	SHA256(key, (size_t)len, pin.sha256);
	OPENSSL_free(key);
	return pin;
}

void identity_write(const struct identity *i, char *path)
{
	int fd = mkstemp(path);
	FILE *f = fdopen(fd, "w");

	require(f && PEM_write_X509(f, i->cert));
	require(!fclose(f));
}

/* --- the server --- */

static int alpn_select(SSL *ssl, const unsigned char **ret, unsigned char *ret_len,
	const unsigned char *offered, unsigned len, void *arg)
{
	(void)ssl;
	(void)offered;
	(void)len;
	*ret = arg;
	*ret_len = (unsigned char)strlen(arg);
	return SSL_TLSEXT_ERR_OK;
}

SSL_CTX *server_context(const struct server_plan *plan)
{
	SSL_CTX *ctx = SSL_CTX_new(TLS_server_method());

	require(ctx);
	/* Old versions are below the usual level. */
	SSL_CTX_set_security_level(ctx, 0);
	require(SSL_CTX_use_certificate(ctx, plan->own->cert) &&
		SSL_CTX_use_PrivateKey(ctx, plan->own->key));
	if (plan->above)
		require(SSL_CTX_add1_chain_cert(ctx, plan->above->cert));
	SSL_CTX_set_mode(ctx, SSL_MODE_AUTO_RETRY);
	SSL_CTX_set_options(ctx, SSL_OP_NO_RENEGOTIATION);
	SSL_CTX_set_session_id_context(ctx, (const uint8_t *)"t", 1);
	SSL_CTX_set_min_proto_version(ctx, plan->version);
	SSL_CTX_set_max_proto_version(ctx, plan->version);
	if (plan->alpn)
		SSL_CTX_set_alpn_select_cb(ctx, alpn_select, (void *)plan->alpn);
	return ctx;
}

void far_start(struct far *f, SSL_CTX *ctx)
{
	f->ssl = SSL_new(ctx);
	f->in = BIO_new(BIO_s_mem());
	f->out = BIO_new(BIO_s_mem());
	require(f->ssl && f->in && f->out);
	BIO_set_mem_eof_return(f->in, -1);
	SSL_set_bio(f->ssl, f->in, f->out);
	SSL_set_accept_state(f->ssl);
}

void far_end(struct far *f)
{
	SSL_free(f->ssl);
}

static void far_work(struct far *f)
{
	uint8_t buf[1 << 14];
	int n;

	while ((n = SSL_read(f->ssl, buf, sizeof buf)) > 0)
		require(SSL_write(f->ssl, buf, n) == n);
	ERR_clear_error();
}

static bool there(const struct talk *talk, struct tls *t, struct far *f)
{
	const uint8_t *data;
	size_t n = tls_pending(t, &data);

	if (n > talk->piece)
		n = talk->piece;
	if (n)
		require(BIO_write(f->in, data, (int)n) == (int)n);
	tls_sent(t, n);
	far_work(f);
	return n;
}

static ssize_t back(struct talk *talk, struct tls *t, struct far *f, bool *moved)
{
	uint8_t *piece = malloc(talk->piece);
	int n = BIO_read(f->out, piece, (int)talk->piece);
	ssize_t r;

	*moved |= n > 0;
	if (n > 0)
		require(!tls_feed(t, piece, (size_t)n));
	free(piece);
	while ((r = tls_read(t, talk->got + talk->got_len, sizeof talk->got - talk->got_len)) > 0)
		talk->got_len += (size_t)r;
	return r;
}

ssize_t talk_run(struct talk *talk, struct tls *t, struct far *f)
{
	bool moved = true;
	ssize_t r = 0;

	while (moved && !r) {
		moved = there(talk, t, f);
		r = back(talk, t, f, &moved);
		require(!ERR_peek_error());
	}
	while (there(talk, t, f))
		;
	return r;
}
