/* What udp.c (sockets and tries), udp_far.c (which socket takes a question) and udp_batch.c (when
 * it leaves) know of each other.
 */
#ifndef TUNGATE_TRANSPORT_UDP_INTERNAL_H
#define TUNGATE_TRANSPORT_UDP_INTERNAL_H

#include "gateway/transport/transport_internal.h"

#define UDP_SLOTS    256
#define UDP_SLOTS_IN 128 /* used at once, so that a free one is drawn soon */
#define UDP_SHARED   16	 /* sockets of a far end */

/* The questions of a shared socket, by the low byte of their ids. */
struct udp_table {
	struct transport_try *slots[UDP_SLOTS];
	uint16_t gone[UDP_SLOTS]; /* the slot's last question that is over: what still comes to it
				     is late, not wrong */
	unsigned used;
};

/* A connected socket. Open as long as it has tries, a callback of it runs, or it is in its far
 * end's set; then it waits for the end of receive, and is closed or kept idle. */
struct udp_link {
	struct loop_op receive;
	struct transports *transports;
	struct udp_far *far;		    /* while it is open */
	struct transport_try *first, **end; /* its tries, the oldest first */
	struct udp_table *table;	    /* NULL: it is not shared */
	struct udp_link *next, **prev;	    /* idle (next alone), or open */
	int64_t born_ms;
	int fd;
	uint32_t mark;
	unsigned given, pins;
	int error; /* what send() was told that concerns all tries; they hear it from receive */
	bool v6, bound, open;
	bool in_set;
	bool sent, doubtful; /* doubtful: more datagrams may come, or an error */
};

/* Where questions go: what they are counted by, and the sockets that they share. There is one while
 * it has tries or shared sockets. */
struct udp_far {
	struct udp_far *next; /* in the bucket */
	struct transports *transports;
	struct transport_server *server; /* ours */
	struct ip_port to;
	unsigned tries;
	unsigned n_shared;
	int64_t busy_until_ms;
	uint32_t batch; /* for which place was drawn */
	unsigned place;
	struct loop_timer sweep; /* set while n_shared > 0 */
	struct udp_link *shared[UDP_SHARED];
};

/* --- udp_far.c --- */

/* Where t goes, for as long as t is open. -ENOMEM. */
int udp_far_take(struct transports *ts, const struct transport_try *t, struct udp_far **ret);
void udp_far_give(struct udp_far *f);
/* Whether the next question shares a socket. */
bool udp_far_is_busy(struct udp_far *f);
void udp_far_now_busy(struct udp_far *f); /* for a while */
/* A randomly chosen socket of the set that has room, the same for all of a batch; *ret is NULL if a
 * new one should take its place, number *ret_place. Negative errno: no randomness. */
int udp_far_choose(struct udp_far *f, uint32_t mark, struct udp_link **ret, unsigned *ret_place);
/* One of the set that has room; NULL: none. */
struct udp_link *udp_far_any(const struct udp_far *f, uint32_t mark);
/* -ENOMEM. */
int udp_far_share(struct udp_far *f, struct udp_link *u, unsigned place);
/* u takes no more questions; it may end here. */
void udp_far_retire(struct udp_link *u);

/* --- udp_batch.c --- */

/* Asks for the question now; what send() tells of it comes by udp_link_failed(). */
void udp_batch_add(struct udp_link *u, const struct transport_try *t);

/* --- udp.c --- */

/* A pinned one stays open. */
void udp_link_pin(struct udp_link *u);
void udp_link_unpin(struct udp_link *u);
/* send() told error, which is returned. The kernel tells one of an earlier datagram to whoever
 * comes first: of a shared socket it concerns all, and those hear it when the receive has ended. */
int udp_link_failed(struct udp_link *u, int error);

/* Ends u if nothing holds it open. */
void udp_link_settle(struct udp_link *u);

#endif
