/* Ways to bring one whole DNS message to a server and whole messages back: datagrams, connections
 * that carry many questions at once (TCP, TLS, HTTP/2), ours or through an egress. Knows no groups,
 * no cache and no rules.
 *
 * A try is one question at one server, embedded in its owner. transport_open() begins it; the owner
 * hears take() for each message that may be its answer and fail() once if the way broke; both may
 * close it, and other tries, before they return. transport_close() ends the interest at any time:
 * what is still going on in the kernel ends by itself and tells nothing more. All of a
 * `struct transports` belongs to its worker's thread; servers are shared.
 *
 * Connections: one or a few to each server (pool.c), kept for the server's `idle`, retired after
 * `max_queries` and `max_life`; answers in any order (RFC 7766 6.2.1.1). A question on a connection
 * that was used before and breaks, or that has told nothing for a while since the question went
 * out, is asked again once on a new connection (by its owner, if the old one's answer may still
 * come); the silent one gets no other question. So a half-open connection costs one query and at
 * most 1.5 s. */
#ifndef TUNGATE_TRANSPORT_TRANSPORT_H
#define TUNGATE_TRANSPORT_TRANSPORT_H

#include "conf/config.h"
#include "gateway/dns/message.h"
#include "gateway/egress/egress.h"
#include "gateway/loop/loop.h"

/* A padded question of the longest name with all options. */
#define TRANSPORT_QUESTION_MAX 640

/* --- servers: any thread, immutable but for the TLS sessions that they keep --- */

struct transport_server;
/* How packets to it are made. via NULL: as they are; else through egress number `egress` of via:
 * a direct one lends its mark, a proxy carries a connection (also for udp:// and dns://, which
 * become TCP then), by name if the server has one. */
struct transport_way {
	uint32_t mark; /* 0: none */
	struct egress_set *via;
	unsigned egress;
	const char *ca; /* NULL: the system's certificates, or SSL_CERT_FILE */
};
/* Copies conf, takes a reference of via. -ENOMEM; -ENOENT, -EBADMSG: the CA file, told in why. */
int transport_server_new(const struct conf_server *conf, const struct transport_way *way,
	struct transport_server **ret, char why[128]);
struct transport_server *transport_server_ref(struct transport_server *s);
void transport_server_unref(struct transport_server *s); /* NULL is fine */
bool transport_server_is_encrypted(const struct transport_server *s);
/* It needs no address: a proxy resolves its name. */
bool transport_server_goes_by_name(const struct transport_server *s);

/* --- a worker's --- */

struct transports;
struct transports_config {
	struct loop *loop;
	struct egress_dialer *dialer; /* for `via` */
};
int transports_new(const struct transports_config *config, struct transports **ret);
/* No try may be open. Closes everything; done(arg) once the last operation has ended: before this
 * returns if nothing was in flight. Frees. */
void transports_stop(struct transports *ts, void (*done)(void *arg), void *arg);
/* The host's addresses changed: what stands on one that is no longer ours is dead; its questions
 * are asked again at once, and datagrams whose socket stands on such a one too. */
void transports_addresses_changed(
	struct transports *ts, bool (*is_ours)(void *arg, const struct ip_addr *a), void *arg);

struct transport_try;
struct transport_owner {
	/* Writes the question with t->id; pad: to a multiple of 128 bytes (RFC 8467 4.1).
	 * buf[TRANSPORT_QUESTION_MAX]; returns the length. May be asked for again. */
	size_t (*question)(const struct transport_try *t, uint8_t *buf, bool pad);
	/* False: this is not t's answer (told with t->id as the message has it, if any); go on.
	 * True: t has been closed. age_s: RFC 8484 5.1. msg is valid until this returns. */
	bool (*take)(struct transport_try *t, const uint8_t *msg, size_t len, uint32_t age_s);
	/* There has been no word for long on the connection that t was asked on, though somebody is
	 * there: the server is slow, or hangs. t stays as it is; a new try goes another way. Once,
	 * may be NULL: then t is asked again there, as one is whose connection is dead. */
	void (*slow)(struct transport_try *t);
	/* t has been given up by the transport and is closed already. -ETIMEDOUT, -ECONNREFUSED,
	 * -ECONNRESET, -EHOSTUNREACH, -EKEYREJECTED (certificate), -EPROTO (nonsense in TLS or
	 * HTTP), -EREMOTEIO (HTTP status, content type), -EMSGSIZE, -EMFILE, -ENOMEM, -ENOBUFS. */
	void (*fail)(struct transport_try *t, int error);
};
struct transport_try {
	const struct transport_owner *owner;
	struct transport_server *server; /* the owner's reference lasts as long as the try */
	struct ip_port to;		 /* family IP_NONE: transport_server_goes_by_name() */
	bool stream;			 /* udp://, dns://: over TCP */
	/* Set by transport_open(). */
	uint16_t id;	  /* random; 0 over HTTPS */
	int64_t asked_us; /* clock_us() when the question left; 0: has not, or was sent twice, and
			     which of them is answered cannot be told (Karn) */
	/* The transport's own. */
	const struct transport *transport; /* NULL: closed */
	struct transports *transports;
	void *link;
	void *codec_link; /* the codec's: what a question is there */
	struct transport_try *next, **prev;
	bool again; /* it is on its second connection */
};
/* 0 or a negative errno; then it is closed, and fail() is not called. Neither take() nor fail() is
 * called before this returns. */
int transport_open(struct transports *ts, struct transport_try *t);
/* A datagram may be lost: the question again. Does nothing for streams. 0 or a negative errno. */
int transport_resend(struct transport_try *t);
bool transport_is_lossy(const struct transport_try *t);
void transport_close(struct transport_try *t); /* fine when it is closed */
static inline bool transport_is_open(const struct transport_try *t)
{
	return t->transport != NULL;
}

#endif
