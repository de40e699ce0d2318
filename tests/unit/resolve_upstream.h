/* Scripted upstreams on 127.0.0.1 for the tests of gateway/resolve: non-blocking sockets that the
 * test serves between the turns of the loop, so that one thread plays both ends and every test runs
 * the same each time. */
#ifndef TUNGATE_TESTS_RESOLVE_UPSTREAM_H
#define TUNGATE_TESTS_RESOLVE_UPSTREAM_H

#include <netinet/in.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>

/* What an upstream does with a question. */
enum act {
	ACT_ANSWER,
	ACT_SILENT,
	ACT_HOLD, /* upstream_release() answers */
	/* Something that is not the answer, then the answer. */
	ACT_WRONG_ID,
	ACT_WRONG_NAME,
	ACT_WRONG_TYPE,
	ACT_NOT_RESPONSE,
	ACT_OTHER_SOURCE, /* the right answer with other data from another port: never seen */
	ACT_GARBAGE,
	ACT_EMPTY, /* a datagram of no bytes */
	/* Instead of the answer. */
	ACT_TC,
	ACT_SERVFAIL,
	ACT_REFUSED,
	ACT_NOTIMP,
	ACT_FORMERR,
	ACT_NXDOMAIN,
	ACT_BROKEN, /* ANCOUNT says more than there is */
	/* TCP. */
	ACT_TORN,      /* as ACT_WRONG_FIRST, a byte at a time */
	ACT_CLOSE_MID, /* half of it, then FIN */
	ACT_RESET,
	ACT_LARGE,	 /* 65,000 bytes */
	ACT_WRONG_FIRST, /* a wrong id, a message of no bytes and the answer in one segment */
};

#define SCRIPT_MAX	   8
#define UPSTREAM_HELD_MAX  2048
#define UPSTREAM_CONNS_MAX 300
#define UPSTREAM_SEEN_MAX  2048

/* The n-th question takes the n-th act, the last one repeats. */
struct script {
	unsigned n;
	enum act acts[SCRIPT_MAX];
};

struct upstream_question {
	struct sockaddr_storage from;
	socklen_t from_len;
	size_t len;
	uint8_t msg[300];
};

struct upstream_conn {
	int fd;
	size_t in_len;
	uint8_t in[600];
	size_t out_len, out_at; /* what trickles out, a byte each time it is served */
	uint8_t out[300];
};

struct upstream {
	const char *at; /* "127.0.0.1" or "::1" */
	uint8_t id;	/* the last byte of the address that it answers: 192.0.2.id */
	uint16_t port;
	int udp, other, listener; /* other: a socket with another port; -1: closed */
	struct script script, script_tcp;
	unsigned asked, asked_tcp; /* questions that came */
	unsigned n_held, n_conns;
	struct upstream_question held[UPSTREAM_HELD_MAX];
	struct upstream_conn conns[UPSTREAM_CONNS_MAX];
	uint16_t seen_port[UPSTREAM_SEEN_MAX], seen_id[UPSTREAM_SEEN_MAX];
};

/* At 127.0.0.1 or ::1, with the same port for UDP and TCP; answers. */
struct upstream *upstream_new(const char *at, uint8_t id);
void upstream_free(struct upstream *u);
/* Nothing listens there any more: ICMP port unreachable, RST. */
void upstream_close_udp(struct upstream *u);
void upstream_close_tcp(struct upstream *u);
void upstream_serve(struct upstream *u);   /* whatever has come */
void upstream_release(struct upstream *u); /* answers what was held */

#endif
