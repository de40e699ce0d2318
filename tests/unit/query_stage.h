/* A query engine between a real policy, a real table of fake addresses, and an upstream, a writer
 * and a clock that the test plays: what is asked of them is kept until the test lets it end. */
#ifndef TUNGATE_TESTS_QUERY_STAGE_H
#define TUNGATE_TESTS_QUERY_STAGE_H

#include "gateway/dns/message.h"
#include "gateway/query/query.h"

#define STAGE_ASKED_MAX	    6500
#define STAGE_SETS_MAX	    16
#define STAGE_REFRESHED_MAX 16

#define STAGE_TIMERS_MAX 4096
struct stage_question {
	struct resolve_request *rq;
	struct resolve_groups *groups;
	struct dns_name name;
	uint16_t type;
	unsigned flags;
	int group;
	int64_t deadline_ms;
};

struct stage_reply {
	unsigned n;	  /* that came in all */
	unsigned appends; /* to the log of the table, before it */
	struct query_origin origin;
	size_t len;
	uint8_t msg[DNS_MESSAGE_MAX];
};

/* One at a time. */
struct stage {
	struct query_engine *engine;
	struct generation *gen;
	struct learned_files *learned;
	struct fakeip_table *fakeip;

	struct stage_question asked[STAGE_ASKED_MAX];
	size_t n_asked, n_answered;
	int ask_error; /* 0: a question waits; else it ends at once with this */
	/* Not NULL: what every question is answered at once. */
	const uint8_t *ask_reply;
	size_t ask_reply_len;
	bool ask_stale;

	/* What resolve_look() finds; 0: nothing. */
	uint8_t cached[DNS_MESSAGE_MAX];
	size_t cached_len;
	bool cached_stale;
	unsigned n_looks, look_flags;
	struct dns_name refreshed[STAGE_REFRESHED_MAX];
	size_t n_refreshed;

	struct writer_job *job;	       /* that waits; the engine never has two of one query, */
	struct writer_job *job_before; /* but with one that no answer waits for */
	/* What the sets have; NULL: nothing. */
	bool (*held)(const struct stage *s, const struct writer_element *e);
	uint32_t last_need_s;
	unsigned n_forgotten;
	unsigned n_jobs;
	unsigned n_wanted; /* elements without a job */

	/* What the hooks were told. */
	unsigned n_faked, n_told;
	uint32_t faked_index;
	const struct policy_rule *faked_rule;
	struct ip_addr hook_client;
	struct dns_name hook_name;
	size_t told_len, replies_when_told;
	uint8_t told[DNS_MESSAGE_MAX];

	struct loop_timer *timers[STAGE_TIMERS_MAX];
	uint32_t n_timers;
	struct stage_reply reply;

	struct ip_addr neighbour_at; /* whom the kernel knows, */
	struct neighbour neighbour;  /* and as whom */
	bool no_way4, no_way6;	     /* of every egress */
	struct ip_addr own, server;  /* of this host, of upstream */
	unsigned sightings;	     /* what resolve_sighted() says */
	int64_t now_ms;
	unsigned appends; /* to the log of the table */
	int append_error;
	size_t groups_alive;
};

/* The engine decides by this configuration. pool4_len 0: 198.18.0.0/15. */
struct stage *stage_open(const char *yaml, unsigned pool4_len);
void stage_close(struct stage *s);
struct generation *stage_generation(struct stage *s, const char *yaml);

struct query_origin stage_origin(const char *client, bool stream);
/* Ends the oldest question that waits. */
void stage_answer(struct stage *s, const uint8_t *msg, size_t len, int error);
/* Time passes; what is due fires. */
void stage_pass(struct stage *s, int64_t ms);
/* Ends the job that waits. */
void stage_written(struct stage *s, int result);
/* The name of the set behind a handle: "s4". */
const char *stage_set_name(const struct nl_set *set);

#endif
