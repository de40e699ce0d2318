/* Theory of operation. A flight is one question on its way through the servers of a group. It
 *starts with its first request, tries one server at a time and is finished by an answer, by the
 *last server's failure, by total_ms, or when nobody waits any more. One timer serves the whole
 *flight: the second send, the end of the try, the earliest deadline.
 *
 *	flight_start -> flight_try_next -> open, send -> resolve_try_take -> flight_finish
 *	                     ^                  |  resolve_try_fail, try_end_ms, SERVFAIL ...
 *	                     +------------------+
 *
 * Callbacks may ask, cancel and stop. So a function that runs them pins the flight. */
#include <assert.h>
#include <errno.h>

#include "gateway/base/clock.h"
#include "gateway/base/count.h"
#include "gateway/resolve/resolve_internal.h"

/* A datagram may be lost: it is sent again after a quarter and a half of the try's time. Three
 * times in all also make a loop show itself within one try (query/query.c). */
#define RESENDS	     2
#define RESEND_SHARE 4

/* --- requests --- */

static void request_add(struct resolve_request **list, struct resolve_request *rq)
{
	rq->next = *list;
	rq->prev = list;
	if (rq->next)
		rq->next->prev = &rq->next;
	*list = rq;
}

static void request_remove(struct resolve_request *rq)
{
	*rq->prev = rq->next;
	if (rq->next)
		rq->next->prev = rq->prev;
}

static void requests_answer(
	struct resolve_request **list, const uint8_t *msg, size_t len, int error)
{
	while (*list) {
		struct resolve_request *rq = *list;

		request_remove(rq);
		rq->flight = NULL;
		rq->done(rq, msg, len, msg ? 0 : error);
	}
}

/* --- the table --- */

static uint64_t question_hash(const struct resolver *r, int group, const struct dns_name *name,
	uint16_t type, unsigned flags)
{
	uint64_t rest = (uint64_t)type | (uint64_t)flags << 16 | (uint64_t)group << 32;

	return dns_name_hash(name, r->hash_key ^ rest * UINT64_C(0x9e3779b97f4a7c15));
}

static struct flight *flight_find(struct resolver *r, const struct group *group,
	const struct dns_name *name, uint16_t type, unsigned flags, uint64_t hash)
{
	struct flight *f = r->buckets[hash % RESOLVE_BUCKETS];

	while (f && !(f->hash == hash && f->group == group && f->type == type &&
			    f->flags == flags && dns_name_equal(&f->name, name)))
		f = f->next;
	return f;
}

static void flight_insert(struct flight *f)
{
	struct flight **bucket = &f->resolver->buckets[f->hash % RESOLVE_BUCKETS];

	f->next = *bucket;
	f->prev = bucket;
	if (f->next)
		f->next->prev = &f->next;
	*bucket = f;
}

static void flight_remove(struct flight *f)
{
	*f->prev = f->next;
	if (f->next)
		f->next->prev = f->prev;
}

/* --- tries --- */

static int flight_timer_set(struct flight *f)
{
	int64_t due = f->end_ms;

	if (f->deadline_ms < due)
		due = f->deadline_ms;
	if (f->try_end_ms < due)
		due = f->try_end_ms;
	if (f->resend_ms && f->resend_ms < due)
		due = f->resend_ms;
	return loop_timer_set(f->resolver->loop, &f->timer, due);
}

static void flight_try_close(struct flight *f)
{
	if (f->try.transport)
		f->try.transport->close(&f->try);
	f->try.transport = NULL;
}

/* What happened to us, not to the server. */
static bool error_is_local(int error)
{
	return error == -EMFILE || error == -ENFILE || error == -ENOMEM || error == -ENOBUFS ||
	       error == -EPERM || error == -EIO;
}

static int flight_try_open(struct flight *f, const struct transport *transport)
{
	struct resolve_try *t = &f->try;
	int64_t now = loop_now_ms(f->resolver->loop);
	int error;

	assert(!t->transport);
	t->server = &f->group->servers[f->server];
	t->began_us = clock_us();
	count_add_shared(&t->server->queries, 1);
	f->try_end_ms = now + f->group->timeout_ms;
	f->resends = transport->lossy ? RESENDS : 0;
	f->resend_ms = f->resends ? now + f->group->timeout_ms / RESEND_SHARE : 0;
	error = flight_timer_set(f);
	if (error == 0)
		error = resolver_random(f->resolver, &t->id);
	if (error == 0)
		error = transport->open(t);
	if (error == 0) {
		t->transport = transport;
		error = transport->send(t);
	}
	if (error < 0) {
		flight_try_close(f);
		server_failed(t->server, !error_is_local(error));
	}
	return error;
}

/* Asks the next server that takes the question; finishes the flight if there is none. */
static void flight_try_next(struct flight *f, int error)
{
	flight_try_close(f);
	while (error < 0 && ++f->server < f->group->n_servers)
		error = flight_try_open(f, f->group->servers[f->server].transport);
	if (error < 0)
		flight_finish(f, NULL, 0, error);
}

size_t resolve_try_question(const struct resolve_try *t, uint8_t *buf)
{
	const struct flight *f = t->flight;

	return dns_question_write(
		buf, t->id, &f->name, f->type, f->flags & RESOLVE_CD, f->flags & RESOLVE_DO);
}

void resolve_try_fail(struct resolve_try *t, int error)
{
	server_failed(t->server, !error_is_local(error));
	flight_try_next(t->flight, error);
}

static bool rcode_is_final(enum dns_rcode rcode)
{
	return rcode != DNS_SERVFAIL && rcode != DNS_NOTIMP && rcode != DNS_REFUSED &&
	       rcode != DNS_FORMERR;
}

bool resolve_try_take(struct resolve_try *t, const uint8_t *msg, size_t len)
{
	struct flight *f = t->flight;
	bool sent_once = f->resends == RESENDS || !t->transport->lossy;
	const struct transport *whole = t->transport->whole;
	int error;

	if (len < DNS_HEADER_SIZE || !dns_response_matches(msg, len, t->id, &f->name, f->type)) {
		count_add_shared(&t->server->wrong_answers, 1);
		return false;
	}
	/* Which of two questions an answer belongs to cannot be told (Karn's rule). */
	server_answered(t->server, sent_once ? clock_us() - t->began_us : 0);
	if (!rcode_is_final(dns_message_rcode(msg))) {
		f->error_flags = (uint16_t)(dns_message_flags(msg) & ~(DNS_AA | DNS_TC | DNS_AD));
		server_failed(t->server, false);
		flight_try_next(f, -EREMOTEIO);
		return true;
	}
	if (whole && dns_message_flags(msg) & DNS_TC) {
		flight_try_close(f);
		error = flight_try_open(f, whole);
		if (error < 0)
			flight_try_next(f, error);
		return true;
	}
	error = dns_response_check(msg, len);
	if (error < 0)
		resolve_try_fail(t, error);
	else
		flight_finish(f, msg, len, 0);
	return true;
}

/* --- the end --- */

/* The answer that is handed on when no server had a better one: header and question, for an error
 * has nothing else that counts. Its length, 0 if there is none. buf[DNS_QUESTION_MAX]. */
static size_t flight_error_answer(const struct flight *f, uint8_t *buf)
{
	if (!f->error_flags)
		return 0;
	(void)dns_question_write(buf, f->try.id, &f->name, f->type, false, false);
	buf[2] = (uint8_t)(f->error_flags >> 8);
	buf[3] = (uint8_t)f->error_flags;
	buf[10] = buf[11] = 0; /* ARCOUNT: without the OPT that stands behind the question */
	return DNS_HEADER_SIZE + (size_t)f->name.len + 4;
}

/* msg may lie in the try's link, so that is closed after the callbacks. */
void flight_finish(struct flight *f, const uint8_t *msg, size_t len, int error)
{
	struct resolver *r = f->resolver;
	uint8_t buf[DNS_QUESTION_MAX];
	size_t kept = msg || error == -ECANCELED ? 0 : flight_error_answer(f, buf);

	assert(!f->pinned);
	f->pinned = true;
	flight_remove(f);
	loop_timer_cancel(r->loop, &f->timer);
	sighting_leave(f->groups, f->sighting);
	requests_answer(&f->requests, kept ? buf : msg, kept ? kept : len, error);
	flight_try_close(f);
	resolve_groups_unref(f->groups);
	slab_give(&r->flights, f);
	resolver_release(r);
}

/* Answers the requests whose own deadline has come. False: nobody is left, and the flight is
 * finished. */
static bool flight_expire(struct flight *f, int64_t now)
{
	uint8_t buf[DNS_QUESTION_MAX];
	size_t len = flight_error_answer(f, buf);
	struct resolve_request *rq, *next;

	f->deadline_ms = INT64_MAX;
	for (rq = f->requests; rq; rq = next) {
		next = rq->next;
		if (rq->deadline_ms <= now) {
			request_remove(rq);
			request_add(&f->expired, rq);
		} else if (rq->deadline_ms < f->deadline_ms) {
			f->deadline_ms = rq->deadline_ms;
		}
	}
	f->pinned = true;
	requests_answer(&f->expired, len ? buf : NULL, len, -ETIMEDOUT);
	f->pinned = false;
	if (f->requests && !f->resolver->stopping)
		return true;
	flight_finish(f, NULL, 0, -ECANCELED);
	return false;
}

static void flight_resend(struct flight *f)
{
	int error;

	f->resends--;
	f->resend_ms = f->resends ? f->resend_ms + f->group->timeout_ms / RESEND_SHARE : 0;
	error = f->try.transport->send(&f->try);
	if (error == 0)
		error = flight_timer_set(f);
	if (error < 0)
		resolve_try_fail(&f->try, error);
}

static void flight_due(struct loop_timer *timer)
{
	struct flight *f = container_of(timer, struct flight, timer);
	struct resolver *r = f->resolver;
	int64_t now = loop_now_ms(r->loop);
	int error;

	if (f->deadline_ms <= now && !flight_expire(f, now))
		return;
	if (f->end_ms <= now) {
		server_failed(f->try.server, true);
		flight_finish(f, NULL, 0, -ETIMEDOUT);
	} else if (f->try_end_ms <= now) {
		resolve_try_fail(&f->try, -ETIMEDOUT);
	} else if (f->resend_ms && f->resend_ms <= now) {
		flight_resend(f);
	} else {
		error = flight_timer_set(f);
		if (error < 0)
			resolve_try_fail(&f->try, error);
	}
}

/* --- asking --- */

static struct flight *flight_new(struct resolver *r, struct resolve_groups *g,
	const struct group *group, const struct dns_name *name, uint16_t type, unsigned flags,
	uint64_t hash)
{
	struct flight *f = slab_take(&r->flights);

	if (!f)
		return NULL;
	*f = (struct flight){
		.resolver = r,
		.groups = resolve_groups_ref(g),
		.group = group,
		.timer.fire = flight_due,
		.try = {.flight = f, .resolver = r},
		.server = SIZE_MAX, /* before the first */
		.end_ms = loop_now_ms(r->loop) + group->total_ms,
		.deadline_ms = INT64_MAX,
		.type = type,
		.flags = (uint8_t)flags,
		.sighting = sighting_enter(g, name, type),
		.hash = hash,
		.name = *name,
	};
	flight_insert(f);
	resolver_hold(r);
	return f;
}

static void flight_join(struct flight *f, struct resolve_request *rq)
{
	rq->flight = f;
	request_add(&f->requests, rq);
	if (rq->deadline_ms < f->deadline_ms)
		f->deadline_ms = rq->deadline_ms;
}

void resolve_ask(struct resolver *r, struct resolve_groups *g, int group,
	const struct dns_name *name, uint16_t type, unsigned flags, int64_t deadline_ms,
	struct resolve_request *rq, resolve_done *done)
{
	uint64_t hash = question_hash(r, group, name, type, flags);
	struct flight *f;
	int error = 0;

	assert(group >= 0 && (size_t)group < g->n_groups);
	*rq = (struct resolve_request){.done = done, .deadline_ms = deadline_ms};
	if (r->stopping)
		error = -ECANCELED;
	else if (deadline_ms <= loop_now_ms(r->loop))
		error = -ETIMEDOUT;
	if (error < 0)
		goto answer;
	f = flight_find(r, &g->groups[group], name, type, flags, hash);
	if (f) {
		flight_join(f, rq);
		/* The timer stands in the heap, and moving it needs no memory. */
		(void)flight_timer_set(f);
		return;
	}
	f = flight_new(r, g, &g->groups[group], name, type, flags, hash);
	if (!f) {
		error = -ENOBUFS;
		goto answer;
	}
	flight_join(f, rq);
	flight_try_next(f, -EHOSTUNREACH);
	return;
answer:
	done(rq, NULL, 0, error);
}

void resolve_cancel(struct resolve_request *rq)
{
	struct flight *f = rq->flight;

	if (!f)
		return;
	request_remove(rq);
	rq->flight = NULL;
	if (!f->requests && !f->pinned)
		flight_finish(f, NULL, 0, -ECANCELED);
}
