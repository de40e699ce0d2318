/* Look-ups of servers' addresses. One look-up of a server is under way in a resolver, however many
 * wait; both families are asked, and 50 ms after the first has told addresses (RFC 8305 3) who
 * waits goes on with these. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "gateway/base/clock.h"
#include "gateway/resolve/resolve_internal.h"

#define PAUSE_MIN_MS 1000 /* after a look-up that failed; doubles */
#define PAUSE_MAX_MS 30000
#define OTHER_MS     50
#define LOOKUP_MS    10000

struct lookup_family {
	struct resolve_request request;
	struct server_lookup *lookup;
	struct ip_addr v[SERVER_ADDRESSES_MAX];
	size_t n;
	bool asked;
	bool told; /* addresses, or that there are none */
};

struct server_lookup {
	struct server *server;
	struct resolver *resolver;
	struct server_lookup *next; /* of other resolvers */
	struct server_wait *waits;
	struct lookup_family families[2]; /* IPv6 first, as resolvers tell them: RFC 6724 */
	struct loop_timer timer;	  /* always set, so that setting it needs no memory */
	unsigned pending;		  /* families that have told nothing yet */
	bool asking;			  /* server_resolve() has not returned */
	uint32_t ttl_s;
	int error;
};

static uint32_t bounded(uint32_t ttl_s)
{
	if (ttl_s < SERVER_TTL_MIN_S)
		return SERVER_TTL_MIN_S;
	return ttl_s < SERVER_TTL_MAX_S ? ttl_s : SERVER_TTL_MAX_S;
}

/* What f told; if it failed, or has told nothing yet, what was known of the family. With the lock.
 */
static size_t family_get(
	const struct server *s, const struct lookup_family *f, uint8_t family, struct ip_addr *ret)
{
	size_t n = f->n;

	memcpy(ret, f->v, n * sizeof *ret);
	for (size_t i = 0; !f->told && i < s->n_addresses; i++) {
		if (s->addresses[i].family == family)
			ret[n++] = s->addresses[i];
	}
	return n;
}

/* Of both families some, if there are too many. With the lock. */
static size_t gather(const struct server_lookup *l, struct ip_addr *ret)
{
	struct ip_addr v6[SERVER_ADDRESSES_MAX], v4[SERVER_ADDRESSES_MAX];
	size_t n6 = family_get(l->server, &l->families[0], IP_V6, v6);
	size_t n4 = family_get(l->server, &l->families[1], IP_V4, v4);
	const size_t max = SERVER_ADDRESSES_MAX;

	if (n6 + n4 > max) {
		if (n6 > max / 2)
			n6 = n4 < max / 2 ? max - n4 : max / 2;
		n4 = max - n6;
	}
	memcpy(ret, v6, n6 * sizeof *ret);
	memcpy(ret + n6, v4, n4 * sizeof *ret);
	return n6 + n4;
}

/* 0: something is known, of now or of before. */
static int outcome(struct server_lookup *l)
{
	struct server *s = l->server;
	struct ip_addr v[SERVER_ADDRESSES_MAX];
	int64_t now_ms = clock_ms();
	int error = 0;

	pthread_mutex_lock(&s->lock);
	if (l->families[0].n || l->families[1].n) {
		server_addresses_put(s, v, gather(l, v));
		s->addresses_at_ms = now_ms;
		s->addresses_until_ms = now_ms + (int64_t)bounded(l->ttl_s) * 1000;
		s->lookup_after_ms = 0;
		s->lookup_pause_ms = 0;
	} else if (l->error != -ECANCELED) {
		unsigned twice = s->lookup_pause_ms * 2;

		s->lookup_pause_ms = twice < PAUSE_MIN_MS   ? PAUSE_MIN_MS
				     : twice > PAUSE_MAX_MS ? PAUSE_MAX_MS
							    : twice;
		s->lookup_after_ms = now_ms + s->lookup_pause_ms;
		s->lookup_error = l->error;
	}
	if (!s->n_addresses)
		error = l->error;
	pthread_mutex_unlock(&s->lock);
	return error;
}

static void unlink_wait(struct server_wait *w)
{
	*w->prev = w->next;
	if (w->next)
		w->next->prev = w->prev;
	w->prev = NULL;
}

/* l may be over after it: a callback may have stopped the resolver. */
static void tell(struct server_lookup *l, int error)
{
	struct server_wait *told = l->waits; /* without those who ask anew meanwhile */

	l->waits = NULL;
	if (told)
		told->prev = &told;
	while (told) {
		struct server_wait *w = told;

		unlink_wait(w);
		w->done(w, error);
	}
}

static void lookup_unlink(struct server_lookup *l)
{
	struct server *s = l->server;
	struct server_lookup **at;

	pthread_mutex_lock(&s->lock);
	for (at = &s->lookups; *at != l;)
		at = &(*at)->next;
	*at = l->next;
	pthread_mutex_unlock(&s->lock);
}

static void lookup_end(struct server_lookup *l, int error)
{
	struct resolver *r = l->resolver;

	lookup_unlink(l);
	loop_timer_cancel(r->loop, &l->timer);
	tell(l, error);
	server_unref(l->server);
	free(l);
	resolver_release(r);
}

static void lookup_fired(struct loop_timer *timer)
{
	struct server_lookup *l = container_of(timer, struct server_lookup, timer);
	struct resolver *r = l->resolver;

	if (!l->pending) {
		lookup_end(l, l->families[0].asked ? outcome(l) : l->error);
		return;
	}
	(void)loop_timer_set(r->loop, timer, RESOLVE_NEVER_MS);
	resolver_hold(r);
	tell(l, outcome(l));
	resolver_release(r);
}

static void address_take(void *arg, const uint8_t *address, size_t size, uint32_t ttl_s)
{
	struct lookup_family *f = arg;
	struct ip_addr a = ip_addr_of(address, size);

	if (f->n == SERVER_ADDRESSES_MAX || !server_address_is_usable(&a) ||
		ip_addr_is_among(&a, f->v, f->n))
		return;
	f->v[f->n++] = a;
	if (ttl_s < f->lookup->ttl_s)
		f->lookup->ttl_s = ttl_s;
}

static void family_done(struct resolve_request *rq, const uint8_t *msg, size_t len, int error)
{
	struct lookup_family *f = container_of(rq, struct lookup_family, request);
	struct server_lookup *l = f->lookup;

	l->pending--;
	if (msg && dns_message_rcode(msg) == DNS_NOERROR)
		(void)dns_response_addresses(msg, len, address_take, f);
	f->told = msg &&
		  (dns_message_rcode(msg) == DNS_NOERROR || dns_message_rcode(msg) == DNS_NXDOMAIN);
	if (error)
		l->error = error;
	if (l->asking)
		return;
	if (!l->pending)
		lookup_end(l, outcome(l));
	else if (f->n)
		(void)loop_timer_set(
			l->resolver->loop, &l->timer, loop_now_ms(l->resolver->loop) + OTHER_MS);
}

static int families_ask(struct server_lookup *l, struct resolve_groups *g, int bootstrap)
{
	static const uint16_t types[2] = {DNS_AAAA, DNS_A};
	const char *host = l->server->host;
	struct dns_name name;
	struct resolve_question q = {
		.group = bootstrap, .name = &name, .flags = RESOLVE_ALLOW_REBIND};

	if (bootstrap < 0 || dns_name_parse(host, strlen(host), &name) < 0)
		return -EHOSTUNREACH;
	l->pending = 2;
	for (size_t i = 0; i < 2; i++) {
		struct lookup_family *f = &l->families[i];

		f->lookup = l;
		f->asked = true;
		q.type = types[i];
		resolve_ask(l->resolver, g, &q, loop_now_ms(l->resolver->loop) + LOOKUP_MS,
			&f->request, family_done);
	}
	return 0;
}

static struct server_lookup *lookup_find(struct server *s, const struct resolver *r)
{
	struct server_lookup *l;

	pthread_mutex_lock(&s->lock);
	for (l = s->lookups; l && l->resolver != r;)
		l = l->next;
	pthread_mutex_unlock(&s->lock);
	return l; /* of r alone: it stays */
}

static struct server_lookup *lookup_new(struct resolver *r, struct server *s)
{
	struct server_lookup *l = calloc(1, sizeof *l);

	if (!l)
		return NULL;
	l->timer.fire = lookup_fired;
	if (loop_timer_set(r->loop, &l->timer, RESOLVE_NEVER_MS) < 0) {
		free(l);
		return NULL;
	}
	resolver_hold(r);
	l->resolver = r;
	l->server = server_ref(s);
	l->ttl_s = SERVER_TTL_MAX_S;
	l->error = -EHOSTUNREACH;
	pthread_mutex_lock(&s->lock);
	l->next = s->lookups;
	s->lookups = l;
	pthread_mutex_unlock(&s->lock);
	return l;
}

static void wait_add(struct server_lookup *l, struct server_wait *w)
{
	w->next = l->waits;
	w->prev = &l->waits;
	if (w->next)
		w->next->prev = &w->next;
	l->waits = w;
}

/* Why not to ask now: 0, or what who waits is told. *ret_known: there is nothing to find out. */
static int refused(struct server *s, bool *ret_known)
{
	int error = 0;

	pthread_mutex_lock(&s->lock);
	*ret_known = !s->host || s->by_name;
	if (!*ret_known && clock_ms() < s->lookup_after_ms) {
		*ret_known = s->n_addresses > 0;
		error = s->lookup_error;
	}
	pthread_mutex_unlock(&s->lock);
	return *ret_known ? 0 : error;
}

void server_resolve(struct resolver *r, struct resolve_groups *g, struct server *s, int bootstrap,
	struct server_wait *w)
{
	struct server_lookup *l = lookup_find(s, r);
	bool known = false;
	int error = 0;

	if (w)
		w->prev = NULL;
	if (!l) {
		error = refused(s, &known);
		if ((error || known) && !w)
			return;
		l = lookup_new(r, s);
		if (!l)
			return;
		l->asking = true;
		if (!error && !known)
			error = families_ask(l, g, bootstrap);
		l->asking = false;
		if (known || error)
			l->error = error;
		/* Told later, in this turn's timers: not before this returns. */
		if (!l->pending)
			(void)loop_timer_set(r->loop, &l->timer, loop_now_ms(r->loop));
		else if (l->families[0].n || l->families[1].n)
			(void)loop_timer_set(r->loop, &l->timer, loop_now_ms(r->loop) + OTHER_MS);
	}
	if (w)
		wait_add(l, w);
}

void server_wait_cancel(struct server_wait *w)
{
	if (w->prev)
		unlink_wait(w);
}
