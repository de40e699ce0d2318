/* A loop, the transports of a worker and a peer on loop-back, all played by the test's own
 * thread: the peer's sockets do not block and are served between the turns. A question is a
 * header and four bytes that say which asker's it is; so is an answer, longer as the test wants. */
#ifndef TUNGATE_TESTS_TRANSPORT_STAGE_H
#define TUNGATE_TESTS_TRANSPORT_STAGE_H

#include "gateway/transport/conn_internal.h"
#include "tests/unit/hand_clock.h"

#define PEER_CONNS_MAX 400
#define PEER_HELD_MAX  1024
#define PEER_SEEN_MAX  16384
#define ASKERS_MAX     1024
#define QUESTION_BYTES 16

struct peer_question {
	uint16_t id;
	uint32_t tag;
	unsigned conn;		      /* of the peer's connections */
	struct sockaddr_storage from; /* of a datagram */
};

struct peer_conn {
	int fd;
	unsigned asked, answered, socks_step;
	bool reads; /* false: half-open, nothing more comes */
	size_t in_len, out_len, out_at;
	uint8_t in[8192];
	uint8_t *out;
};

struct peer {
	int listener, udp;
	uint16_t port;
	bool hold;	       /* answers when the test says so */
	bool torn;	       /* a byte each time it is served */
	bool socks;	       /* is reached by SOCKS5 */
	bool noise;	       /* before each answer: a message of no bytes and a wrong id */
	unsigned resets;       /* the next so many questions meet half an answer and a reset */
	unsigned closes_after; /* so many answers; 0: never */
	size_t size;	       /* of an answer */
	unsigned asked;	       /* questions that came, over all */
	unsigned got_resets;
	unsigned n_conns, n_held;
	struct peer_conn conns[PEER_CONNS_MAX];
	struct peer_question held[PEER_HELD_MAX];
	uint8_t socks_request[300]; /* the last */
	uint32_t seen_tag[PEER_SEEN_MAX];
	uint16_t seen_id[PEER_SEEN_MAX], seen_port[PEER_SEEN_MAX];
};

struct stage;
struct asker {
	struct transport_try try;
	struct stage *stage;
	uint32_t tag;
	unsigned answers, failures, told; /* told: messages that were not its answer */
	int error;
	size_t len;
	bool picky;	      /* takes nothing */
	bool patient;	      /* wants to know of slow servers; asks `opens` then */
	unsigned slow;	      /* how often it was told */
	struct asker *closes; /* that one, from its callback */
	struct asker *opens;
	bool stops;
};

struct stage {
	struct loop *loop;
	struct egress_dialer *dialer;
	struct egress_set *via; /* NULL: servers are reached directly */
	struct transports *transports;
	struct transport_server *server;
	struct conf_server conf;
	const char *ca;
	struct peer *peer;
	struct asker askers[ASKERS_MAX];
	bool stopped, dialer_stopped;
	bool pads; /* questions are to be padded */
	unsigned fds;
};

struct stage *stage_open(enum conf_transport transport);
void stage_server(struct stage *s); /* anew, from s->conf */
void stage_turn(struct stage *s);
void stage_play(struct stage *s, int64_t ms); /* so much time passes; else the clock stands still */
#define STAGE_UNTIL(s, what) HAND_UNTIL(what, stage_turn(s))
void stage_stopped(void *arg);
void stage_close(struct stage *s); /* no descriptor may be left */

/* Number i's question; its tag is i. */
struct asker *ask(struct stage *s, unsigned i);
int ask_try(struct stage *s, unsigned i);
void play_until_over(struct stage *s, unsigned first, unsigned n);
void play_time_until_over(struct stage *s, unsigned i);
void assert_answered(const struct stage *s, unsigned first, unsigned n);
unsigned conns_now(const struct stage *s); /* ours that are not closing */

void peer_serve(struct peer *f);
void peer_answer(struct peer *f, unsigned i); /* a held one */
void peer_close(struct peer *f, unsigned conn);
void peer_reset(struct peer *f, unsigned conn);

#endif
