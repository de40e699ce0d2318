/* Servers in groups, and what stands for the rest of the room: resolve_ask() and transports do what
 * a test says. The clock stands still but in stage_play() and STAGE_UNTIL(). */
#ifndef TUNGATE_TESTS_SERVER_STAGE_H
#define TUNGATE_TESTS_SERVER_STAGE_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "gateway/resolve/resolve_internal.h"
#include "tests/unit/hand_clock.h"

#define STAGE_ASKED 8
#define STAGE_TRIES 64

struct asked {
	struct resolve_request *rq; /* NULL: answered */
	int group;
	uint16_t type;
	uint8_t flags;
	char name[DNS_NAME_TEXT_MAX];
};

struct stage {
	struct loop *loop;
	struct resolver *resolver;
	struct config config;
	struct conf_upstream upstreams[4];
	struct conf_server servers[4][64];
	struct resolve_groups *groups;
	unsigned reports, report_line;
	char report[256];
	/* resolve_ask() */
	struct asked asked[STAGE_ASKED];
	unsigned n_asked;
	bool at_once;	   /* both families: 192.0.2.1, 2001:db8::1 with TTL 300… */
	int at_once_error; /* …or this */
	/* transports */
	int server_error, open_error, resend_error;
	bool lossy;
	struct transport_try *tries[STAGE_TRIES]; /* NULL: closed */
	unsigned n_tries, n_open, n_resent, n_servers;
	unsigned n_back;	  /* servers that were told to be up again */
	struct transport_way way; /* the last one's */
};

int stage_setup(void **state);
int stage_teardown(void **state);
extern struct stage *the_stage;

/* Server k of upstream i as the configuration has it. host NULL: address. */
struct conf_server *stage_conf(
	struct stage *st, size_t i, const char *url, const char *host, const char *address);
/* The groups of what was configured, the ones before handed over. */
void stage_groups(struct stage *st);
void stage_report(void *arg, unsigned line, unsigned column, const char *text);
struct server *stage_server(struct stage *st, size_t i, size_t k);
void stage_down(struct server *s, int64_t now_ms); /* it goes down */

/* A response of name's type with so many addresses, as text; its length. */
size_t stage_message(uint8_t *buf, const char *name, uint16_t type, uint32_t ttl_s,
	enum dns_rcode rcode, const char *const *addresses, size_t n);
/* Answers what waits in asked[i]. */
void stage_answer(struct stage *st, unsigned i, enum dns_rcode rcode, uint32_t ttl_s,
	const char *const *addresses, size_t n);
void stage_fail(struct stage *st, unsigned i, int error);

void stage_play(struct stage *st, int64_t ms); /* so much time passes */

#define STAGE_UNTIL(st, what)                                                                      \
	do {                                                                                       \
		for (int ms_ = 0; ms_ < 3000 && !(what); ms_++)                                    \
			stage_play(st, 1);                                                         \
		assert_true(what);                                                                 \
	} while (0)

#endif
