/* TLS as a client, in memory: ciphertext in, plaintext out and back; who moves the bytes is not
 * this file's business. OpenSSL 3; no type of it leaves tls*.c, and its error queue is always left
 * empty. TLS 1.2 or later (RFC 8310 9), without renegotiation. */
#ifndef TUNGATE_TRANSPORT_TLS_H
#define TUNGATE_TRANSPORT_TLS_H

#include "conf/config.h"

/* What is the same for all connections to one server: what its certificate must show, and the
 * sessions it gave us (RFC 8446 2.2), so that they are never offered to another. Immutable but for
 * the sessions; any thread. */
struct tls_context;
struct tls_config {
	const char *name;	/* the certificate's, and SNI; NULL: the address, no SNI */
	struct ip_addr address; /* family IP_NONE with a name */
	const char *ca;		/* file; NULL: SSL_CERT_FILE or the system's store */
	/* If there are any, a certificate of the presented chain must have one of these keys, and
	 * dates are not looked at. The server's own key alone decides then (RFC 8310 6.5), neither
	 * issuer nor name is looked at; from a key above it the chain must lead to a certificate
	 * for this name: anyone may present certificates of others beside his own. */
	const struct conf_pin *pins;
	size_t n_pins;
	const char *alpn; /* "dot" (RFC 7858 errata), "h2"; h2 must be agreed to */
};
/* Copies config. -ENOENT: certificates cannot be read; -EBADMSG: the file has none; -EINVAL: name;
 * -ENOMEM; all told in why. A file is read by the first context that needs it, and again
 * when it has changed. */
int tls_context_new(const struct tls_config *config, struct tls_context **ret, char why[128]);
void tls_context_free(struct tls_context *c); /* after its connections; NULL is fine */

struct tls; /* one connection */
int tls_new(
	struct tls_context *c, struct tls **ret); /* the ClientHello is pending at once; -ENOMEM */
void tls_free(struct tls *t);			  /* NULL is fine; keeps its session */
/* Received bytes go in, at most 1 MiB before they are read. -ENOMEM. */
int tls_feed(struct tls *t, const uint8_t *data, size_t len);
/* Goes on with the handshake if it is not over, then the next plaintext into buf: its length; 0:
 * needs more; -ECONNRESET: closed by the peer (with or without close_notify), -EKEYREJECTED: its
 * certificate, -EPROTO. */
ssize_t tls_read(struct tls *t, uint8_t *buf, size_t size);
bool tls_is_ready(const struct tls *t); /* the handshake is over */
bool tls_is_resumed(const struct tls *t);
/* Ready ones. -EPROTO; -ENOMEM: also when too much is pending already. */
int tls_write(struct tls *t, const uint8_t *data, size_t len);
void tls_close(struct tls *t); /* close_notify is pending; nothing may be written any more */
/* What is to be sent, in one piece; valid until the next call. tls_sent() takes it off. */
size_t tls_pending(struct tls *t, const uint8_t **ret);
void tls_sent(struct tls *t, size_t len);
const char *tls_why(const struct tls *t); /* of the last error, for people: "certificate has
					     expired", "certificate is for another name" */

#endif
