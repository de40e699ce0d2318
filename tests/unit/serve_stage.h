/* A real loop and the rooms of serve/, before a query engine that the test plays, in no time but
 * what the test lets pass. A message is obeyed by its byte behind the header:
 *
 *  e  echoed at once
 *  p  parked; stage_release() echoes it
 *  w  parked, and echoed from within query_handle()
 *  b  answered with STAGE_BIG bytes, for streams
 *  n  not answered */
#ifndef TUNGATE_TESTS_SERVE_STAGE_H
#define TUNGATE_TESTS_SERVE_STAGE_H

#include "gateway/dns/message.h"
#include "gateway/loop/loop.h"
#include "gateway/query/query.h"
#include "gateway/serve/socket.h"
#include "tests/unit/hand_clock.h"

#define STAGE_BIG	 60000
#define STAGE_PARKED_MAX 1100

struct stage_parked {
	struct query_origin origin;
	size_t len;
	uint8_t msg[64];
};

struct stage {
	struct loop *loop;
	struct loop_buffers *buffers;
	unsigned n_handled, n_commits;
	struct query_origin last; /* where the last query came from */
	size_t last_len;
	struct stage_parked parked[STAGE_PARKED_MAX];
	size_t n_parked;
	/* Until an answer is committed nothing may be readable here; -1: not watched. */
	int watch_fd;
	bool uncommitted;
};

struct stage *stage_open(void);
void stage_close(struct stage *s);
struct query_engine *stage_engine(struct stage *s);

/* A query of len bytes, at least 13: header, command, and zeros. */
void stage_query(uint8_t *msg, size_t len, unsigned id, char command);
void stage_release(struct stage *s, size_t parked);

/* Turns until something is readable on fd, or, false, for ms. */
bool stage_turn_until_readable(struct stage *s, int fd, int ms);
void stage_turns(struct stage *s, unsigned n);

/* A listener on this address and any port. */
int stage_listen(const char *address, bool stream);

#endif
