/* A connection to a server that carries many questions: the bytes' way (a socket of ours or one
 * that an egress dialled), TLS over it, and a codec that makes messages of the bytes. conn.c owns
 * the way and TLS, a codec file (codec_dns.c: RFC 7766; codec_h2.c: RFC 8484) the rest, pool.c who
 * gets which connection. Only gateway/transport sees this. */
#ifndef TUNGATE_TRANSPORT_CONN_H
#define TUNGATE_TRANSPORT_CONN_H

#include "gateway/transport/tls.h"
#include "gateway/transport/transport.h"

struct conn;

/* A codec may call conn_* from each of these; conn.c copes with what they lead to. */
struct conn_codec {
	int (*start)(struct conn *c); /* when the way stands: 0 or -errno, then nothing was made */
	void (*end)(struct conn *c);  /* frees c->codec_state; tries are gone already */
	/* Puts t's question on the way (conn_write) and remembers it; sets t->id. Only at the end
	 * of a turn, never from within feed(). 0; -EAGAIN: not more at once (it is asked when
	 * something has come or a try has left); another -errno breaks the connection. */
	int (*ask)(struct conn *c, struct transport_try *t);
	/* t leaves, whatever the reason: its owner closed it (also within conn_answer()),
	 * conn_fail() was called, it moved, the connection broke. Once for each try that was asked.
	 */
	void (*forget)(struct conn *c, struct transport_try *t);
	/* Received plaintext, torn anywhere. Messages go to conn_answer(). 0; -errno breaks the
	 * connection; the codec says conn_retire() if it is to end without harm (GOAWAY). */
	int (*feed)(struct conn *c, const uint8_t *data, size_t len);
	/* Called before what was written leaves, once a turn at most: a codec that gathers writes
	 * here. May be NULL. */
	int (*flush)(struct conn *c);
};
extern const struct conn_codec conn_codec_dns, conn_codec_h2;

/* For codecs. */
struct transport_server *conn_server(const struct conn *c);
const struct conf_server *conn_conf(const struct conn *c); /* url, path, method, tls_name … */
void **conn_codec_state(struct conn *c);
/* Plaintext to the server; leaves at the end of the turn, with what else is written. -ENOMEM. */
int conn_write(struct conn *c, const uint8_t *data, size_t len);
/* A message for t: t->owner->take(). Returns true if t is over (the codec has been told to forget
 * it by then). msg may be the codec's. After it c may be going down: conn_is_closing(). */
bool conn_answer(
	struct conn *c, struct transport_try *t, const uint8_t *msg, size_t len, uint32_t age_s);
/* t alone failed (an HTTP status, RST_STREAM), and forget() is told; may_retry: it may be asked on
 * another connection (REFUSED_STREAM, above GOAWAY's last). As after conn_answer(), c may be going
 * down then. */
void conn_fail(struct conn *c, struct transport_try *t, int error, bool may_retry);
void conn_retire(struct conn *c); /* no new questions; ends when the last one is answered */
bool conn_is_closing(const struct conn *c);
uint16_t conn_random(struct conn *c); /* for ids */

#endif
