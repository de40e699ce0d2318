/* Queries that wait: for upstream, then for the kernel. Slab objects of one engine, bounded; no
 * allocation once the slab has grown, but for answers that are larger than UDP takes. What a flood
 * made it grow by is given back when nothing waits any more. */
#ifndef TUNGATE_QUERY_PARKED_H
#define TUNGATE_QUERY_PARKED_H

#include "gateway/query/query.h"

#define PARKED_MAX 4096
/* When half of them are taken, a client that has a quarter gets no more: a flood of one leaves
 * room for others. Clients are told apart by a hash of their address. */
#define PARKED_SHARE   (PARKED_MAX / 4)
#define PARKED_CLIENTS 1024
#define PARKED_KEPT    64 /* by a slab that is idle */
#define PARKED_CHUNK   32

struct parked {
	struct parked *next_free;
	struct query_engine *engine;
	struct generation *gen; /* a reference */
	const struct policy_rule *rule;
	struct query_origin origin;
	struct dns_query q;
	struct resolve_request request;
	struct writer_job job;
	struct loop_timer push_timer;
	uint64_t also; /* rules that add their sets */
	uint64_t hash; /* of the name, for the table */
	enum conf_filter filter;
	uint16_t client; /* its place in parked_slab.clients */
	bool carry;	 /* the addresses go into our own sets, too */
	bool checked;	 /* see struct query */
	bool pushing, replied;
	bool push_again;	  /* the time of the push began anew */
	unsigned push_timeout_ms; /* the longest of the rules that push */
	uint64_t forget;	  /* elements of the job whose client's old flows are forgotten */
	uint64_t strict;	  /* elements of the job without which the answer is SERVFAIL */
	size_t pushed; /* elements of the answer that the writer was handed, or that it has */
	/* Upstream's response, kept while elements of it are pushed; and the answer made of it.
	 * Either is in the object if it fits there, else allocated. */
	uint8_t *response, *answer;
	size_t response_len, answer_len, answer_size;
	uint8_t small[DNS_UDP_MAX], small_response[DNS_UDP_MAX];
};

struct parked_chunk;
struct parked_slab {
	struct parked *free;
	struct parked_chunk *chunks;
	size_t total, used;
	uint16_t clients[PARKED_CLIENTS]; /* how many each has */
};

/* NULL: full, for this client at least, or no memory. */
struct parked *parked_get(struct parked_slab *s, const struct ip_addr *client);
void parked_put(struct parked_slab *s, struct parked *p); /* p is gone */
void parked_slab_fini(struct parked_slab *s);

/* Makes room for an answer of size bytes and our OPT, at most limit. -ENOMEM. */
int parked_make_room(struct parked *p, size_t size, size_t limit);
int parked_keep_response(struct parked *p, const uint8_t *msg, size_t len); /* -ENOMEM */

void parked_drop_answer(struct parked *p); /* back to the room in the object */

struct parked *parked_of_request(struct resolve_request *rq);
struct parked *parked_of_job(struct writer_job *job);

#endif
