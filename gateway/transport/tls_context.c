/* What is common to all TLS connections to one server: parameters and sessions. */
#include "gateway/transport/tls_internal.h"

#include <errno.h>
#include <openssl/err.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

/* Forward secrecy and authenticated encryption only (RFC 9325 4.2; RFC 9113 9.2.2 forbids others).
 * 128 bits first: they cost less on small machines. SHA-1 and short keys are below level 2. */
#define CIPHERS_1_2 "ECDHE+AESGCM+AES128:ECDHE+CHACHA20:ECDHE+AESGCM:@SECLEVEL=2"
#define CIPHERS_1_3 "TLS_AES_128_GCM_SHA256:TLS_CHACHA20_POLY1305_SHA256:TLS_AES_256_GCM_SHA384"
/* A resumed session's certificate is not looked at again. */
#define SESSION_AGE_MAX_S (24l * 3600)

static bool session_is_fresh(const SSL_SESSION *s)
{
	unsigned long hint = SSL_SESSION_get_ticket_lifetime_hint(s);
	long age_s = (long)time(NULL) - SSL_SESSION_get_time(s);

	return age_s >= 0 && age_s < SESSION_AGE_MAX_S &&
	       (hint ? (unsigned long)age_s < hint : age_s < SSL_SESSION_get_timeout(s));
}

SSL_SESSION *tls_sessions_take(struct tls_context *c)
{
	SSL_SESSION *found = NULL;

	pthread_mutex_lock(&c->lock);
	while (c->n_sessions && !found) {
		SSL_SESSION *s = c->sessions[c->n_sessions - 1];

		if (!session_is_fresh(s)) {
			SSL_SESSION_free(s);
			c->n_sessions--;
		} else if (SSL_SESSION_get_protocol_version(s) >= TLS1_3_VERSION) {
			found = s;
			c->n_sessions--;
		} else if (!(found = SSL_SESSION_dup(s))) {
			break;
		}
	}
	pthread_mutex_unlock(&c->lock);
	return found;
}

static void sessions_drop(struct tls_context *c, size_t n)
{
	for (size_t i = 0; i < n; i++)
		SSL_SESSION_free(c->sessions[i]);
	c->n_sessions -= n;
	memmove(c->sessions, c->sessions + n, c->n_sessions * sizeof *c->sessions);
}

void tls_sessions_forget(struct tls_context *c)
{
	pthread_mutex_lock(&c->lock);
	sessions_drop(c, c->n_sessions);
	pthread_mutex_unlock(&c->lock);
}

/* OpenSSL has a new one. What we keep is a copy: the connection goes on with its own, which no
 * other thread may see. One of TLS 1.2 makes all before it needless. */
static int session_keep(SSL *ssl, SSL_SESSION *s)
{
	struct tls_context *c = SSL_CTX_get_app_data(SSL_get_SSL_CTX(ssl));
	SSL_SESSION *copy = SSL_SESSION_is_resumable(s) ? SSL_SESSION_dup(s) : NULL;

	if (!copy)
		return 0;
	pthread_mutex_lock(&c->lock);
	if (SSL_SESSION_get_protocol_version(s) < TLS1_3_VERSION)
		sessions_drop(c, c->n_sessions);
	else if (c->n_sessions == TLS_SESSIONS_MAX)
		sessions_drop(c, 1);
	c->sessions[c->n_sessions++] = copy;
	pthread_mutex_unlock(&c->lock);
	return 0;
}

static int parameters_set(struct tls_context *c)
{
	uint8_t protocols[1 + UINT8_MAX];
	size_t len = c->alpn ? strlen(c->alpn) : 0;

	SSL_CTX_set_app_data(c->ssl, c);
	SSL_CTX_set_options(c->ssl, SSL_OP_NO_RENEGOTIATION);
	SSL_CTX_set_mode(c->ssl, SSL_MODE_RELEASE_BUFFERS);
	SSL_CTX_set_session_cache_mode(c->ssl, SSL_SESS_CACHE_CLIENT | SSL_SESS_CACHE_NO_INTERNAL);
	SSL_CTX_sess_set_new_cb(c->ssl, session_keep);
	if (SSL_CTX_set_min_proto_version(c->ssl, TLS1_2_VERSION) != 1 ||
		SSL_CTX_set_max_proto_version(c->ssl, 0) != 1 ||
		SSL_CTX_set_cipher_list(c->ssl, CIPHERS_1_2) != 1 ||
		SSL_CTX_set_ciphersuites(c->ssl, CIPHERS_1_3) != 1)
		return -ENOMEM;
	if (!len)
		return 0;
	protocols[0] = (uint8_t)len;
	memcpy(protocols + 1, c->alpn, len);
	return SSL_CTX_set_alpn_protos(c->ssl, protocols, (unsigned)len + 1) ? -ENOMEM : 0;
}

static int config_copy(struct tls_context *c, const struct tls_config *config)
{
	if ((config->name && strlen(config->name) > TLSEXT_MAXLEN_host_name) ||
		(config->alpn && strlen(config->alpn) > UINT8_MAX))
		return -EINVAL;
	if ((config->name && !(c->name = strdup(config->name))) ||
		(config->alpn && !(c->alpn = strdup(config->alpn))))
		return -ENOMEM;
	c->must_agree = c->alpn && !strcmp(c->alpn, "h2");
	if (!config->n_pins)
		return 0;
	if (!(c->pins = calloc(config->n_pins, sizeof *c->pins)))
		return -ENOMEM;
	memcpy(c->pins, config->pins, config->n_pins * sizeof *c->pins);
	c->n_pins = config->n_pins;
	return 0;
}

int tls_context_new(const struct tls_config *config, struct tls_context **ret, char why[128])
{
	struct tls_context *c = calloc(1, sizeof *c);
	struct tls_config as_address = *config;
	int r = -ENOMEM;

	*why = '\0';
	if (!c)
		return r;
	pthread_mutex_init(&c->lock, NULL);
	/* An address is no name to send (RFC 6066 3). */
	if (config->name && !ip_addr_parse(config->name, &as_address.address))
		as_address.name = NULL;
	if ((c->ssl = SSL_CTX_new(TLS_client_method())) && !(r = config_copy(c, &as_address)) &&
		!(r = parameters_set(c)))
		r = tls_verify_setup(c, &as_address, why);
	ERR_clear_error();
	if (r) {
		if (!*why)
			snprintf(why, 128, "%s", strerror(-r));
		tls_context_free(c);
		return r;
	}
	*ret = c;
	return 0;
}

void tls_context_free(struct tls_context *c)
{
	if (!c)
		return;
	tls_sessions_forget(c);
	SSL_CTX_free(c->ssl);
	tls_store_put(c->store);
	pthread_mutex_destroy(&c->lock);
	free(c->pins);
	free(c->alpn);
	free(c->name);
	free(c);
}
