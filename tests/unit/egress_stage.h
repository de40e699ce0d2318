/* A dialer on a loop of its own, and servers that behave as a test wants: each accepted connection
 * plays a script, byte for byte. All in one thread: the servers are looked at between the turns.
 * The clock stands still but in stage_turn(), and so in STAGE_UNTIL(). */
#ifndef TUNGATE_TESTS_EGRESS_STAGE_H
#define TUNGATE_TESTS_EGRESS_STAGE_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "gateway/egress/egress_internal.h"
#include "tests/unit/descriptors.h"
#include "tests/unit/hand_clock.h"

/* Steps of a script: what is expected to come, and what is then sent. */
struct play {
	const void *expect; /* NULL with expect_len 0: nothing is waited for */
	size_t expect_len;
	const void *say;
	size_t say_len;
	bool by_bytes; /* each byte in a segment and a turn of its own */
	enum { THEN_GO_ON, THEN_CLOSE, THEN_RESET, THEN_HANG } then;
};

#define STAGE_CONNECTIONS 128
struct server {
	int listener;
	struct ip_port at;
	const struct play *play; /* ends with a step of zeroes */
	struct connection {
		int fd; /* -1: none */
		size_t step, got, said;
		uint8_t in[1024];
	} connections[STAGE_CONNECTIONS];
	size_t accepted;
	size_t unexpected; /* bytes that were not those of the script */
};

struct stage {
	struct loop *loop;
	struct egress_dialer *dialer;
	struct egress_set *set;
	struct server servers[4];
	bool stopped;
	unsigned fds; /* open before */
	/* what the stage answers */
	struct ip_addr lookup[4];
	size_t n_lookup;
	int lookup_error;
	bool lookup_later; /* kept in `asked` */
	struct egress_lookup *asked;
	unsigned lookups, lookups_cancelled;
	char looked_up[EGRESS_HOST_MAX + 1];
	struct ip_port forbidden;
	/* configuration */
	struct conf_egress egresses[8];
	struct config config;
};

/* A dial and what came of it. */
struct call {
	struct egress_dial dial;
	unsigned ends;
	int fd, error;
	unsigned egress;
};

int stage_setup(void **state);
int stage_setup_single(void **state); /* as on a kernel without any multishot operation */
int stage_teardown(void **state);
struct conf_egress *stage_egress(
	struct stage *st, const char *name, enum conf_egress_type type, const struct server *at);
void stage_set(struct stage *st); /* makes or remakes the set of what was configured */
void server_open(struct server *s, const char *address, const struct play *play);
void server_open_at(struct server *s, const struct ip_port *at, const struct play *play);
void server_close(struct server *s);	       /* its port refuses from now on */
void stage_serve(struct stage *st);	       /* a turn, in no time */
void stage_turn(struct stage *st, int64_t ms); /* … in which so much passes */

void call_start(struct stage *st, struct call *c, unsigned egress, const char *host, uint16_t port);
void call_start_at(struct stage *st, struct call *c, unsigned egress, const struct ip_port *at);
void call_done(struct egress_dial *dial, int fd, unsigned egress, int error);

#define STAGE_UNTIL(st, what)                                                                      \
	do {                                                                                       \
		for (int turns_ = 0; turns_ < 20000 && !(what); turns_++)                          \
			stage_turn(st, 1);                                                         \
		assert_true(what);                                                                 \
	} while (0)

/* The end of a dial: the error, or 0 with a descriptor that is the caller's. */
#define CALL_END(st, c)                                                                            \
	({                                                                                         \
		STAGE_UNTIL(st, (c)->ends);                                                        \
		assert_int_equal((c)->ends, 1);                                                    \
		assert_int_equal((c)->fd >= 0, !(c)->error);                                       \
		assert_null((c)->dial.priv);                                                       \
		(c)->error;                                                                        \
	})

#endif
