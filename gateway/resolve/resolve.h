/* Resolving upstream. resolve_ask() is the only way in, for queries, carrying, and later prefetch,
 * bootstrap and health. Each worker has a resolver of its own (its sockets, its flights); identical
 * questions share one flight.
 *
 * A flight: servers of the group in their order (`strategy: sequential`); each try has
 * `timeout_ms`, within which a UDP question is sent again after a quarter and a half; then the next
 * server; all within total_ms and the caller's deadline. Each try has a connected UDP socket of its
 * own (the kernel picks a random port), a random id; only a response (QR) with our id and question
 * is ours, all else is counted (wrong_answers) and waited past. TC: the same server over TCP. A
 * broken body, SERVFAIL, NOTIMP, REFUSED or FORMERR: the next server, the last of these is handed
 * on if no server does better. */
#ifndef TUNGATE_RESOLVE_RESOLVE_H
#define TUNGATE_RESOLVE_RESOLVE_H

#include "conf/config.h"
#include "gateway/dns/message.h"
#include "gateway/loop/loop.h"

struct resolve_groups; /* the configuration's upstreams with their counters: immutable but for
			  these; shared by workers */
struct resolver;

/* own_mark goes on every packet, or-ed with the group's mark. Copies what it needs. */
int resolve_groups_new(const struct config *config, struct resolve_groups **ret);
struct resolve_groups *resolve_groups_ref(struct resolve_groups *g);
void resolve_groups_unref(struct resolve_groups *g); /* any thread */

struct resolve_server_info {
	const char *group, *url;
	bool up; /* the last try brought an answer, be it an error */
	uint32_t rtt_us;
	uint64_t queries, failures, wrong_answers;
};
size_t resolve_servers(const struct resolve_groups *g, struct resolve_server_info *ret, size_t max);
const char *resolve_group_name(const struct resolve_groups *g, int group);
/* Is this one of the servers' addresses? For the loop detection. */
bool resolve_is_server(const struct resolve_groups *g, const struct ip_addr *a);

int resolver_new(struct loop *loop, struct resolver **ret);
/* Ends all flights with -ECANCELED and frees once the last operation has ended; calls done(arg)
 * then: before this returns if nothing was in flight, else in a later turn. Also from a callback of
 * resolve_ask(); asking until done gives -ECANCELED. */
void resolver_stop(struct resolver *r, void (*done)(void *arg), void *arg);

enum resolve_flag {
	RESOLVE_CD = 1,
	RESOLVE_DO = 2,
};

/* Embedded in who asks; stays where it is until answered or cancelled. */
struct resolve_request;
/* msg: a checked response, valid until the callback returns, or NULL with error: -ETIMEDOUT nobody
 * answered in time, -EHOSTUNREACH/-ECONNREFUSED/… the last server's socket error, -EBADMSG its
 * answer was broken, -EMFILE/-ENOMEM/-ENOBUFS (4096 questions are in flight already), -ECANCELED.
 */
typedef void resolve_done(struct resolve_request *rq, const uint8_t *msg, size_t len, int error);
struct resolve_request {
	resolve_done *done;
	struct resolve_request *next,
		**prev; /* from here on resolve's own: among those of the flight */
	void *flight;
	int64_t deadline_ms;
};

/* Asks group of g (an index of the configuration) for name and type. The flight holds a reference
 * to g. The callback may come before this returns only for errors found at once. deadline_ms: on
 * loop_now_ms()'s clock; of several who share a flight each has its own. */
void resolve_ask(struct resolver *r, struct resolve_groups *g, int group,
	const struct dns_name *name, uint16_t type, unsigned flags, int64_t deadline_ms,
	struct resolve_request *rq, resolve_done *done);
/* No callback. Also when it was answered already. The last one who waited ends the flight. */
void resolve_cancel(struct resolve_request *rq);

/* Is this question in flight upstream in any worker? Counts such a sighting; used for the loop
 * detection (interface.md, "Loops"). Returns which sighting within the flight it is (1, 2, 3 …), 0
 * if it is not in flight. Any thread. */
unsigned resolve_sighted(struct resolve_groups *g, const struct dns_name *name, uint16_t type);

#endif
