/* A connection as conn.c (its life and its tries), way.c (its bytes) and pool.c (who gets which)
 * see it.
 *
 *	CONNECTING -> HANDSHAKE (TLS) -> OPEN -> CLOSING -> freed
 *
 * A try given to a connection waits there until the end of the turn, or until the way stands, is
 * then asked, and leaves by its answer, by its owner's will, or when the connection breaks. All
 * codecs' asking and all writing is done by conns_flush() at the end of a turn: what a turn brought
 * leaves in one piece, and no owner is called back from within transport_open().
 *
 * A connection is freed when it is CLOSING, no operation is busy and nobody has pinned it: whoever
 * runs callbacks or a codec, and the list of those to be flushed. */
#ifndef TUNGATE_TRANSPORT_CONN_INTERNAL_H
#define TUNGATE_TRANSPORT_CONN_INTERNAL_H

#include "gateway/transport/conn.h"
#include "gateway/transport/transport_internal.h"

#define CONN_TRIES_MAX 128 /* then another connection is made */
/* Silence after a question: that of a way that is dead, whose far end has not even acknowledged the
 * question, and that of a server that is slow or hangs. Three round trips of its own at least. */
#define CONN_STALL_MS	700
#define CONN_SLOW_MS	1000
#define CONN_SET_UP_MS	3000
#define CONN_USER_MS	5000	  /* TCP_USER_TIMEOUT */
#define CONN_UNSENT_MAX 65536	  /* then no more is asked */
#define CONN_WRITE_MAX	(1 << 20) /* and a codec can write no more */

#define POOL_CONNS_MAX	 4   /* to one server, those that take questions */
#define POOL_STALLED_MAX 8   /* with silent ones: the oldest of those is given up */
#define POOL_ALL_MAX	 256 /* with those that only wait for their last answers */

enum conn_state { CONN_CONNECTING, CONN_HANDSHAKE, CONN_OPEN, CONN_CLOSING };

struct try_list { /* oldest first */
	struct transport_try *first, **end;
	unsigned n;
};

struct conn {
	struct loop_op in, out; /* out: connect, then waiting for room to write */
	struct loop_timer watch;
	struct egress_dial dial;
	struct transports *transports;
	struct transport_server *server;
	struct pool *pool;
	struct conn *next, **prev; /* in the pool until it is CLOSING */
	struct conn *next_dirty;
	const struct conn_codec *codec;
	void *codec_state;
	struct tls *tls;
	int fd; /* -1: none yet */
	struct sockaddr_storage to;
	enum conn_state state;
	unsigned pins;
	bool dirty;
	bool started; /* the codec was */
	bool retired; /* gets no more tries */
	bool refuses; /* asks none of those that wait, too */
	bool full;    /* the codec takes no more at once */
	bool doomed;  /* others need its place */
	bool stalled; /* silent; gets no more tries until it speaks */
	struct try_list waiting, asked;
	unsigned given;		  /* tries, ever */
	uint64_t serial;	  /* later ones are greater */
	uint64_t moved_at_serial; /* tries that moved from here go to later ones; 0: none has */
	int64_t born_ms, set_up_by_ms, idle_since_ms;
	int64_t heard_since_ms;	 /* a silence during which the far end's kernel spoke */
	int64_t silent_since_ms; /* of what was asked nothing has been heard; 0: nothing is to be */
	int64_t heard_us, answered_us; /* clock_us(); 0: never */
	int64_t rtt_us;		       /* 0: not known yet */
	uint8_t *plain;		       /* written, not sent (TLS: not encrypted) */
	size_t plain_len, plain_room;
};

/* --- conn.c --- */

/* It is on its way when this returns. */
int conn_new(struct pool *p, struct transport_server *s, const struct ip_port *to,
	struct transports *ts, struct conn **ret);
void conn_give(struct conn *c, struct transport_try *t); /* to be asked */
void conn_close_try(struct transport_try *t);
void conn_pin(struct conn *c);
void conn_unpin(struct conn *c);
void conn_dirty(struct conn *c);  /* to be flushed */
void conn_stands(struct conn *c); /* the way does: the codec starts */
/* Closes it; its tries are asked again elsewhere or fail. */
void conn_break(struct conn *c, int error);
/* Those that may be asked elsewhere are, once; the others stay. slow: their owners are told
 * instead, if they want to know. */
void conn_move_tries(struct conn *c, bool slow);
void conn_settle(struct conn *c); /* closes it if its last try is gone and it gets no more */

void conns_flush(struct transports *ts);
void conns_close(struct transports *ts);
void conns_check(
	struct transports *ts, bool (*is_ours)(void *arg, const struct ip_addr *a), void *arg);

/* --- way.c --- */

int way_open(struct conn *c, const struct ip_port *to);
int way_write(struct conn *c);	  /* what is there, as far as it goes */
void way_abandon(struct conn *c); /* before way_close(): nobody is there to say goodbye to */
void way_close(struct conn *c);	  /* its operations end later */
bool way_is_busy(const struct conn *c);
void way_free(struct conn *c); /* when it is not busy */

/* --- pool.c --- */

/* Gives t to a connection that was made after `after`. 0 or a negative errno. */
int pool_give(struct transports *ts, struct transport_try *t, uint64_t after);
void pool_remove(struct conn *c);
int pool_watch(struct conn *c); /* sets its timer; -ENOMEM */
void pool_watch_fired(struct loop_timer *timer);
void pool_each(struct transports *ts, void (*visit)(struct conn *c, void *arg), void *arg);

#endif
