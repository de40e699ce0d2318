/* The other side of a TLS connection: certificates made at run time and a server in memory. */
#ifndef TUNGATE_TESTS_TLS_STAGE_H
#define TUNGATE_TESTS_TLS_STAGE_H

#include <openssl/ssl.h>

#include "gateway/transport/tls.h"

struct identity {
	EVP_PKEY *key;
	X509 *cert;
};
struct identity_plan {
	const char *name; /* common name */
	const char *alt;  /* subjectAltName as OpenSSL's configuration writes it; NULL: a CA */
	const struct identity *issuer; /* NULL: self-signed */
	long from_s, to_s;	       /* from now; both 0: two days around now */
};
struct identity identity_new(const struct identity_plan *plan);
void identity_free(struct identity *i);
struct conf_pin identity_pin(const struct identity *i);
/* path: "/tmp/…XXXXXX", becomes the file's. */
void identity_write(const struct identity *i, char *path);

struct server_plan {
	const struct identity *own, *above; /* above: presented, too, or NULL */
	int version;			    /* TLS1_2_VERSION …; 0: any */
	const char *alpn;		    /* what it selects, whatever is offered; NULL: none */
};
SSL_CTX *server_context(const struct server_plan *plan);

/* A connection's server side. */
struct far {
	SSL *ssl;
	BIO *in, *out;
};
void far_start(struct far *f, SSL_CTX *ctx);
void far_end(struct far *f);

/* Bytes to and fro, in pieces of that size, until both are silent; what t tells is put into got,
 * its length in *got_len. The server echoes. Returns what tls_read() ended with. */
struct talk {
	size_t piece;
	uint8_t got[1 << 18];
	size_t got_len;
};
ssize_t talk_run(struct talk *talk, struct tls *t, struct far *f);

#endif
