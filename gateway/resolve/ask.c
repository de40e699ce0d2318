/* Those who wait, and the cache before the flights. */
#include <assert.h>
#include <errno.h>

#include "gateway/resolve/resolve_internal.h"

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

static unsigned *waiting_for(struct resolver *r, unsigned group)
{
	return &r->waiting[group % RESOLVE_WAITING_SLOTS];
}

static unsigned *waiting_beside(const struct flight *f)
{
	return waiting_for(f->resolver, (unsigned)(f->first - f->groups->groups));
}

/* It is nobody's any more. */
static void request_part(struct resolve_request *rq)
{
	--*waiting_beside(rq->flight);
	request_remove(rq);
	rq->flight = NULL;
}

static void request_join(struct flight *f, struct resolve_request *rq)
{
	rq->flight = f;
	request_add(&f->requests, rq);
	++*waiting_beside(f);
	if (rq->deadline_ms < f->due_ms)
		f->due_ms = rq->deadline_ms;
	if (rq->stale_ms && rq->stale_ms < f->due_ms)
		f->due_ms = rq->stale_ms;
}

/* --- the cache --- */

#define KEY_FLAGS (RESOLVE_CD | RESOLVE_DO)
_Static_assert((int)CACHE_CD == (int)RESOLVE_CD && (int)CACHE_DO == (int)RESOLVE_DO, "one meaning");

void flight_key(const struct flight *f, struct cache_key *ret)
{
	*ret = (struct cache_key){.name = &f->name,
		.hash = f->hash,
		.view = f->view,
		.type = f->type,
		.flags = f->flags & KEY_FLAGS};
}

void resolve_cache_key(const struct resolver *r, const struct resolve_groups *g,
	const struct resolve_question *q, struct cache_key *ret)
{
	*ret = (struct cache_key){.name = q->name,
		.hash = q->hash ? q->hash : dns_name_hash(q->name, r->c.hash_key),
		.view = resolve_view(g, q),
		.type = q->type,
		.flags = q->flags & KEY_FLAGS};
}

static bool has_answer(const struct cache_found *found)
{
	return found->state == CACHE_FRESH || found->state == CACHE_STALE;
}

/* What is past its time, or was when somebody began to wait. Its length; 0: it is gone. */
static size_t stale_answer(struct resolver *r, const struct cache_key *key, uint8_t *buf)
{
	struct cache_found found;

	cache_peek(r->c.cache, key, resolver_now_s(r), buf, DNS_MESSAGE_MAX, &found);
	if (!has_answer(&found))
		return 0;
	dns_stored_set_ttl(buf, found.len, STALE_TTL_S);
	return found.len;
}

static void look(struct resolver *r, const struct cache_key *key, uint8_t *buf, size_t size,
	struct cache_found *ret)
{
	cache_get(r->c.cache, key, resolver_now_s(r), buf, size, ret);
	if (ret->state == CACHE_FRESH)
		dns_stored_age(buf, ret->len, ret->age_s);
	else if (ret->state == CACHE_STALE)
		dns_stored_set_ttl(buf, ret->len, STALE_TTL_S);
}

void resolve_prefetch(const struct resolver *r, uint64_t hash)
{
	cache_prefetch(r->c.cache, hash);
}

size_t resolve_look(struct resolver *r, struct resolve_groups *g, const struct resolve_question *q,
	uint8_t *buf, size_t size, bool *ret_stale)
{
	struct cache_found found;
	struct cache_key key;

	*ret_stale = false;
	if (q->flags & RESOLVE_NO_CACHE)
		return 0;
	resolve_cache_key(r, g, q, &key);
	look(r, &key, buf, size, &found);
	if (found.state == CACHE_FRESH) {
		if (found.refresh)
			resolve_refresh(r, g, q);
		return found.len;
	}
	*ret_stale = found.state == CACHE_STALE && found.failed_lately;
	r->looked = (struct looked){.hash = key.hash,
		.view = key.view,
		.type = key.type,
		.flags = key.flags,
		.state = found.state};
	return *ret_stale ? found.len : 0;
}

/* What resolve_look() has just found need not be looked for again. */
static bool was_looked(const struct resolver *r, const struct cache_key *key)
{
	const struct looked *l = &r->looked;

	return l->hash == key->hash && l->view == key->view && l->type == key->type &&
	       l->flags == key->flags && l->state == CACHE_MISS;
}

/* For resolve_ask(). buf is DNS_MESSAGE_MAX bytes. */
static void find(struct resolver *r, const struct resolve_question *q, const struct cache_key *key,
	uint8_t *buf, struct cache_found *ret)
{
	*ret = (struct cache_found){.state = CACHE_MISS};
	if (q->flags & RESOLVE_NO_CACHE)
		return;
	if (!(q->flags & RESOLVE_LOOKED)) {
		look(r, key, buf, DNS_MESSAGE_MAX, ret);
	} else if (!was_looked(r, key)) {
		cache_peek(r->c.cache, key, resolver_now_s(r), buf, DNS_MESSAGE_MAX, ret);
		if (ret->state == CACHE_FRESH)
			dns_stored_age(buf, ret->len, ret->age_s);
		else if (ret->state == CACHE_STALE)
			dns_stored_set_ttl(buf, ret->len, STALE_TTL_S);
	}
}

/* --- asking --- */

static int depart(struct resolver *r, struct resolve_groups *g, const struct resolve_question *q,
	struct resolve_request *rq)
{
	struct flight *f;

	if (g->n_groups > 1 && *waiting_for(r, (unsigned)q->group) >= RESOLVE_WAITING_MAX)
		return -ENOBUFS;
	f = flight_find(r, &g->groups[q->group], q);
	if (f) {
		request_join(f, rq);
		(void)flight_timer_set(f); /* it stands in the heap: no memory is needed */
		return 0;
	}
	f = flight_new(r, g, q);
	if (!f)
		return -ENOBUFS;
	request_join(f, rq);
	flight_start(f);
	return 0;
}

/* True: the cache's word is all that is to be had. */
static bool answer_found(
	struct resolve_request *rq, const struct cache_found *found, const uint8_t *buf)
{
	if (found->state == CACHE_FAILED) {
		rq->done(rq, NULL, 0, -EAGAIN);
		return true;
	}
	rq->stale = found->state == CACHE_STALE && found->failed_lately;
	if (found->state != CACHE_FRESH && !rq->stale)
		return false;
	rq->done(rq, buf, found->len, 0);
	return true;
}

/* There is no room to ask: better an old answer than none (RFC 8767 5). False: it is gone. */
static bool answer_unasked(
	struct resolver *r, const struct cache_key *key, struct resolve_request *rq)
{
	uint8_t *buf = scratch_take(r);
	size_t len = buf ? stale_answer(r, key, buf) : 0;

	if (len) {
		rq->stale = true;
		rq->done(rq, buf, len, 0);
	}
	if (buf)
		scratch_give(r);
	return len > 0;
}

static int ask(struct resolver *r, struct resolve_groups *g, const struct resolve_question *q,
	struct resolve_request *rq)
{
	uint8_t *buf = scratch_take(r);
	struct cache_found found;
	struct cache_key key;
	bool answered; /* then rq may be gone */
	int error;

	if (!buf)
		return -ENOMEM;
	resolve_cache_key(r, g, q, &key);
	find(r, q, &key, buf, &found);
	if (found.state == CACHE_STALE)
		rq->stale_ms = loop_now_ms(r->loop) + STALE_WAIT_MS;
	if (found.state == CACHE_FRESH && found.refresh)
		resolve_refresh(r, g, q);
	answered = answer_found(rq, &found, buf);
	scratch_give(r);
	error = answered ? 0 : depart(r, g, q, rq);
	return error < 0 && found.state == CACHE_STALE && answer_unasked(r, &key, rq) ? 0 : error;
}

void resolve_ask(struct resolver *r, struct resolve_groups *g, const struct resolve_question *q,
	int64_t deadline_ms, struct resolve_request *rq, resolve_done *done)
{
	struct resolve_question with_hash = *q;
	int error;

	assert(q->group >= 0 && (size_t)q->group < g->n_groups);
	*rq = (struct resolve_request){.done = done, .deadline_ms = deadline_ms};
	if (r->stopping) {
		done(rq, NULL, 0, -ECANCELED);
		return;
	}
	if (deadline_ms <= loop_now_ms(r->loop)) {
		done(rq, NULL, 0, -ETIMEDOUT);
		return;
	}
	if (!with_hash.hash)
		with_hash.hash = dns_name_hash(q->name, r->c.hash_key);
	resolver_hold(r);
	error = ask(r, g, &with_hash, rq);
	if (error < 0)
		done(rq, NULL, 0, error);
	resolver_release(r);
}

void resolve_refresh(struct resolver *r, struct resolve_groups *g, const struct resolve_question *q)
{
	struct flight *f;

	if (r->stopping || q->flags & RESOLVE_NO_CACHE || r->n_refreshes == RESOLVE_REFRESHES_MAX)
		return;
	f = flight_find(r, &g->groups[q->group], q);
	if (f)
		f->refresh = true;
	else
		f = flight_new(r, g, q);
	if (!f || f->requests || f->refresh)
		return;
	f->refresh = f->counted_refresh = true;
	r->n_refreshes++;
	flight_start(f);
}

void resolve_cancel(struct resolve_request *rq)
{
	struct flight *f = rq->flight;

	if (!f)
		return;
	request_part(rq);
	if (!f->requests && !f->refresh && !f->pinned)
		flight_cancel(f);
}

/* --- answering --- */

static void answer_all(
	struct resolve_request **list, const uint8_t *msg, size_t len, int error, bool stale)
{
	while (*list) {
		struct resolve_request *rq = *list;

		request_part(rq);
		rq->stale = stale;
		rq->done(rq, msg, len, msg ? 0 : error);
	}
}

/* Moves those from the flight's requests to its leaving ones that have (or have not) a stale
 * answer, and whose time has come. */
static void requests_leave(struct flight *f, bool stale, int64_t now_ms)
{
	struct resolve_request *rq, *next;

	for (rq = f->requests; rq; rq = next) {
		bool late = rq->deadline_ms <= now_ms;

		next = rq->next;
		if (stale ? rq->stale_ms && (late || rq->stale_ms <= now_ms)
			  : late && !rq->stale_ms) {
			request_remove(rq);
			request_add(&f->leaving, rq);
		}
	}
}

/* A stale answer may have been flushed meanwhile: its people wait as the others do. */
static void stale_gone(struct flight *f)
{
	while (f->leaving) {
		struct resolve_request *rq = f->leaving;

		request_remove(rq);
		rq->stale_ms = 0;
		request_add(&f->requests, rq);
	}
}

/* To those who may have one and whose time has come. True: somebody got it. */
static bool answer_stale(struct flight *f, int64_t now_ms)
{
	struct resolver *r = f->resolver;
	struct cache_key key;
	uint8_t *buf;
	size_t len;

	requests_leave(f, true, now_ms);
	if (!f->leaving)
		return false;
	flight_key(f, &key);
	buf = scratch_take(r);
	len = buf ? stale_answer(r, &key, buf) : 0;
	if (len)
		answer_all(&f->leaving, buf, len, 0, true);
	else
		stale_gone(f);
	if (buf)
		scratch_give(r);
	return len > 0;
}

void requests_answer(struct flight *f, const uint8_t *msg, size_t len, int error)
{
	/* Better an old answer than none (RFC 8767 5). */
	if (error < 0 && error != -ECANCELED)
		(void)answer_stale(f, INT64_MAX);
	answer_all(&f->requests, msg, len, error, false);
}

bool requests_due(struct flight *f, int64_t now_ms)
{
	uint8_t buf[512];
	size_t len = f->rcode ? result_empty(f, (enum dns_rcode)f->rcode, 0, buf) : 0;

	f->pinned = true;
	if (answer_stale(f, now_ms))
		f->refresh = true;
	requests_leave(f, false, now_ms);
	answer_all(&f->leaving, len ? buf : NULL, len, -ETIMEDOUT, false);
	f->pinned = false;
	f->due_ms = INT64_MAX;
	for (const struct resolve_request *rq = f->requests; rq; rq = rq->next) {
		if (rq->deadline_ms < f->due_ms)
			f->due_ms = rq->deadline_ms;
		if (rq->stale_ms && rq->stale_ms < f->due_ms)
			f->due_ms = rq->stale_ms;
	}
	if (f->resolver->stopping)
		flight_cancel(f);
	else if (!f->requests && !f->refresh)
		flight_end(f, true);
	else
		return true;
	return false;
}
