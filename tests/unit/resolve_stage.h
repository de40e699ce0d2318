/* A loop, a cache, a resolver and a few scripted upstreams, all played by the test's own thread.
 * The clock stands still but in stage_play() and play_time_until(). */
#ifndef TUNGATE_TESTS_RESOLVE_STAGE_H
#define TUNGATE_TESTS_RESOLVE_STAGE_H

#include "gateway/resolve/resolve_internal.h"
#include "tests/unit/hand_clock.h"
#include "tests/unit/names.h"
#include "tests/unit/resolve_upstream.h"

#define SERVERS_MAX 6
#define GROUPS_MAX  2
#define TIMEOUT_MS  300
#define TOTAL_MS    1000

struct stage {
	struct loop *loop;
	struct cache *cache; /* keeps nothing until stage_cache() */
	struct resolver *resolver;
	struct resolve_groups *groups;
	struct upstream *up[SERVERS_MAX];
	size_t n;
	/* What groups_renew() makes groups of; the second one holds the same servers. */
	struct config config;
	struct conf_upstream upstreams[GROUPS_MAX];
	struct conf_server servers[SERVERS_MAX];
	char urls[SERVERS_MAX][64];
	struct resolve_question question; /* what is asked, but for the name */
	bool stopped;
	unsigned fds;
};

struct asker {
	struct resolve_request rq;
	struct stage *stage;
	unsigned calls;
	int error;
	size_t len;
	uint8_t head[512];
	uint8_t address[4]; /* the last of the answer, 0.0.0.0 if there is none */
	size_t addresses;
	uint32_t ttl_s; /* of the last address */
	int64_t asked_ms, answered_ms;
	struct asker *cancels; /* its callback cancels that one */
	struct asker *asks;    /* … or asks with that one */
	bool stops;
};

/* Replaces the stage's groups by those of its config, which is "up" of all its upstreams. */
void groups_renew(struct stage *s);
void groups_make(
	struct stage *s, enum conf_transport transport, unsigned timeout_ms, unsigned total_ms);
void stage_cache(struct stage *s, uint32_t serve_stale_s, unsigned prefetch_percent);
/* With n upstreams that answer. Assertions fail the test in all of these. */
struct stage *stage_open_at(const char *at, size_t n, enum conf_transport transport);
struct stage *stage_open(size_t n, enum conf_transport transport);
void stage_turn(struct stage *s);
void stage_play(struct stage *s, int64_t ms); /* so much time passes */
#define STAGE_UNTIL(s, what) HAND_UNTIL(what, stage_turn(s))
void resolver_has_stopped(void *arg); /* for resolver_stop(), arg is the stage */
/* Stops the resolver unless a test did (and has set it to NULL); no descriptor may be left. */
void stage_close(struct stage *s);
struct resolve_server_info server_info(const struct stage *s, size_t i);
void asker_done(struct resolve_request *rq, const uint8_t *msg, size_t len, int error);
/* Keep what the asker was told to do; the answer is copied into it. */
void ask_name(struct stage *s, struct asker *a, const struct dns_name *name, int64_t within_ms);
void ask(struct stage *s, struct asker *a, const char *text, int64_t within_ms);
void play_until(struct stage *s, const struct asker *a);      /* its answer came, once */
void play_time_until(struct stage *s, const struct asker *a); /* the same, and time passes */
void ask_and_play(struct stage *s, struct asker *a, const char *text);
void assert_answered_by(const struct asker *a, const struct upstream *u);
int64_t took_ms(const struct asker *a);
void stage_raise_limits(void); /* many sockets */

#endif
