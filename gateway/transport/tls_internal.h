/* What tls.c (a connection) and tls_context.c (what is common to a server's) share. */
#ifndef TUNGATE_TRANSPORT_TLS_INTERNAL_H
#define TUNGATE_TRANSPORT_TLS_INTERNAL_H

#include "gateway/transport/tls.h"

#include <openssl/ssl.h>
#include <pthread.h>

/* Enough for workers that connect at the same time; servers give two a handshake (RFC 8446 C.4). */
#define TLS_SESSIONS_MAX 8

struct tls_context {
	SSL_CTX *ssl;
	char *name; /* NULL: no SNI */
	char *alpn; /* NULL: none */
	bool must_agree;
	struct conf_pin *pins;
	size_t n_pins;
	struct tls_store *store;		 /* NULL: pins alone decide */
	pthread_mutex_t lock;			 /* of what follows */
	SSL_SESSION *sessions[TLS_SESSIONS_MAX]; /* the newest last */
	size_t n_sessions;
};

/* A session to offer, the caller's; NULL: none. One of TLS 1.3 is offered once (RFC 8446 C.4). */
SSL_SESSION *tls_sessions_take(struct tls_context *c);
void tls_sessions_forget(struct tls_context *c);

/* The trusted issuers of a file, or the system's (NULL): a reference. -ENOENT, -EBADMSG told in
 * why; -ENOMEM. Any thread. */
struct tls_store;
int tls_store_get(const char *path, struct tls_store **ret, char why[128]);
void tls_store_use(struct tls_store *s, SSL_CTX *ssl);
void tls_store_put(struct tls_store *s); /* NULL is fine */

/* For tls_context_new(): what the peer's certificate must show. */
int tls_verify_setup(struct tls_context *c, const struct tls_config *config, char why[128]);

/* What a failed handshake or record means. ssl_error: SSL_get_error(); the error queue is as
 * OpenSSL left it. Returns -EKEYREJECTED, -ECONNRESET or -EPROTO; *ret_why is static. */
int tls_error(const SSL *ssl, int ssl_error, const char **ret_why);

#endif
