/* What only this folder sees: the engine, a query on its way through the steps, and the steps. */
#ifndef TUNGATE_QUERY_INTERNAL_H
#define TUNGATE_QUERY_INTERNAL_H

#include "gateway/base/count.h"
#include "gateway/base/slab.h"
#include "gateway/policy/records.h"
#include "gateway/query/parked.h"

#include <string.h>

struct query_engine {
	struct query_engine_config c;
	struct generation *gen;
	struct parked_slab parked;
	struct slab chased; /* of struct chased */
	unsigned n_chased;
	struct slab later;     /* of struct later */
	struct later *filling; /* NULL: none */
	unsigned n_late;       /* answered, while the writer still has their job */
	struct query_counters counters;
	bool commit_due, stopped, lame;
	uint8_t scratch[2][DNS_MESSAGE_MAX];	       /* of chase.c */
	uint8_t cached[DNS_MESSAGE_MAX];	       /* of real.c */
	struct warm *warm;			       /* NULL: nothing to warm up */
	struct ip_addr addresses[QUERY_ADDRESSES_MAX]; /* of check.c and verify.c */
	uint8_t rerouted[DNS_MESSAGE_MAX];	       /* of check.c */
	struct verify *verifying;		       /* NULL: nothing was verified yet */
};

/* A query that is being answered now. What it points to lives as long as the step. */
struct query {
	struct query_engine *engine;
	struct generation *gen; /* that decides it */
	const struct query_origin *origin;
	const struct dns_query *dns;
	uint8_t *out;
	size_t limit;		 /* of the answer; out holds as much */
	uint64_t also;		 /* rules that add sets, see policy_also() */
	enum conf_filter filter; /* that is in force: none, ipv4 or ipv6 */
	uint64_t hash;		 /* of the name, for the table */
	bool checked;		 /* the rule was chosen by addresses: its answer is not checked */
};

/* Answers a question, whoever asked it: 0, a length or QUERY_PARKED. */
size_t query_answer(struct query *q);
/* The last part of it: as the rule of the decision says. */
size_t query_answer_as(struct query *q, const struct policy_decision *d);
/* What the policy is asked about q; points into who and q. */
struct policy_question query_policy_question(const struct query *q, struct policy_who *who);
size_t query_limit(const struct query_origin *o, const struct dns_query *dns);
/* A parked query, to be answered into p->answer. */
struct query query_of_parked(struct parked *p);

/* Each of these writes an answer into q->out and returns its length. */
size_t query_answer_empty(
	const struct query *q, enum dns_rcode rcode, uint16_t flags, enum dns_ede ede);
size_t query_answer_failed(const struct query *q, enum dns_ede ede); /* SERVFAIL, counted */

/* What is asked at a group for q by a rule. */
struct resolve_question query_question(
	const struct query *q, const struct policy_rule *rule, int group, unsigned flags);
/* q, waiting. NULL: too many are parked (counted). */
struct parked *query_park(const struct query *q, const struct policy_rule *rule, bool carry);
/* Parks q and asks; done is called with the request of a struct parked, perhaps before this
 * returns. False: too many are parked. */
bool query_ask(const struct query *q, const struct policy_rule *rule, bool carry,
	const struct resolve_question *question, resolve_done *done);
/* Sends p->answer and ends p; while a push is out, that ends it. */
void query_reply(struct parked *p);
void query_end(struct parked *p);
/* Is the question one of ours that has come back? Counted and logged. */
bool query_is_loop(const struct query *q);

/* fake.c: the pair of a name, and what that name answers besides. */
int fake_assign(const struct query *q, const struct policy_rule *rule, struct fakeip_pair *ret);
size_t fake_answer(const struct query *q, const struct policy_rule *rule); /* 0: none is free */
size_t fake_answer_reverse(const struct query *q); /* 0: it is no address of a pool */

/* https.c: SVCB and HTTPS of a fake name, rewritten. */
bool https_wanted(const struct query *q);
size_t https_answer(const struct query *q, const struct policy_rule *rule);

/* local.c: what this host answers on its own. */
size_t local_answer_records(struct query *q); /* `records`; 0: the name is not ours */
size_t local_answer_rule(struct query *q, const struct policy_rule *rule);
size_t local_answer_builtin(const struct query *q, enum policy_builtin builtin);
size_t block_answer(const struct query *q, const struct policy_rule *rule);

/* chase.c: an answer that begins with a CNAME of ours: what it leads to is asked as the client
 * would ask it, by the rules. */
void chase_init(struct query_engine *e);
size_t chase_answer(struct query *q, const struct dns_name *target, uint32_t ttl_s);
void chase_fini(struct query_engine *e);

/* filter.c */
bool filter_drops(const struct query *q); /* the question is for the family that is left out */
size_t filter_answer_empty(const struct query *q, const struct policy_rule *rule); /* NODATA */
bool filter_rewrites(const struct query *q); /* its answer has hints */
/* The answer without the hints that are filtered; 0: relay it as it is. */
size_t filter_answer(const struct query *q, const uint8_t *msg, size_t len);

/* lease.c */
bool lease_holds(const struct query *q);
bool lease_holds_reverse(const struct query *q);
size_t lease_answer(const struct query *q); /* 0: the rules answer it */

/* warm.c */
void warm_stop(struct query_engine *e);

/* real.c: upstream's answer, or the cache's, after its addresses were pushed. */
size_t real_answer(const struct query *q, const struct policy_rule *rule, int upstream, bool carry);
void real_reply(struct parked *p, const uint8_t *response, size_t response_len);
void real_reply_failed(struct parked *p, enum dns_ede ede);

/* check.c: a real answer is there. If a check of its rule holds for it, the check's rule answers
 * instead, and what is there goes nowhere. 0: none holds; else as query_answer(). */
size_t check_cached(
	const struct query *q, const struct policy_rule *rule, const uint8_t *msg, size_t len);
/* The same for p->rule. True: p has ended. */
bool check_parked(struct parked *p, const uint8_t *msg, size_t len);

/* verify.c: does what the check has learned about q's name still hold? In the background. */
void verify_begin(const struct query *q, const struct policy_check *check);
void verify_stop(struct query_engine *e);

#define PUSH_LATE_MAX (PARKED_MAX / 8) /* answers that left while their job is out */
/* push.c: hands the addresses of p->response to the writer; real_reply() or real_reply_failed()
 * follow. False: there is nothing to wait for. */
bool push_start(struct parked *p);
/* Is there an address in the answer that a set of the rule, or of q->also, has not got yet? */
bool push_needed(const struct query *q, const struct policy_rule *rule, bool carry,
	const uint8_t *msg, size_t len);
bool push_wanted(const struct parked *p); /* the rule, or one of p->also, has sets */
/* The client's old flows to those of the job's addresses that were not in their sets before. */
void push_forget(struct query_engine *e, const struct writer_job *job, uint64_t which);

/* later.c: what no answer waits for. */
#define LATER_MAX 256 /* jobs that are out */
void later_init(struct query_engine *e);
void later_fini(struct query_engine *e);
void later_add(
	struct parked *p, const struct policy_rule *rule, const struct writer_element *element);
void later_commit(struct query_engine *e);

#endif
