/* Who asks servers that are down how they are: `. NS`, the one question that every resolver can
 * answer from memory, through a transport and no cache. A trial that traffic makes first is as
 * good: server_state() tells one of both. */
#include <errno.h>
#include <stdlib.h>

#include "gateway/resolve/resolve_internal.h"

#define PROBES_MAX  16 /* at once */
#define TICK_MIN_MS 100
#define TICK_MAX_MS 1000
#define PAD	    128 /* RFC 8467 4.1 */

struct probe {
	struct transport_try t;
	struct server_wait wait;
	struct loop_timer timer;
	struct health *health;
	struct server *server; /* NULL: nothing is going on */
	unsigned timeout_ms;
	bool resent;
};

struct health {
	struct resolver *resolver;
	struct resolve_groups *groups;
	struct loop_timer timer;
	unsigned tick_ms; /* 0: nobody is probed */
	struct probe probes[PROBES_MAX];
};

/* --- a probe --- */

static void probe_end(struct probe *p)
{
	struct server *s = p->server;

	loop_timer_cancel(p->health->resolver->loop, &p->timer);
	server_wait_cancel(&p->wait);
	transport_close(&p->t);
	p->server = NULL;
	server_unref(s);
}

static void probe_fail(struct probe *p, int error)
{
	/* A trial that was not the server's fault is due again after the interval. */
	server_failed(p->server, error_is_local(error), loop_now_ms(p->health->resolver->loop));
	if (p->t.to.addr.family != IP_NONE && !error_is_local(error))
		server_address_failed(p->server, &p->t.to.addr);
	probe_end(p);
}

static size_t ask_write(const struct transport_try *t, uint8_t *buf, bool pad)
{
	const struct dns_name root = {.len = 1};
	const struct dns_ask ask = {
		.name = &root, .id = t->id, .type = DNS_NS, .pad = pad ? PAD : 0};

	return dns_question_write(buf, TRANSPORT_QUESTION_MAX, &ask);
}

static bool answer_take(struct transport_try *t, const uint8_t *msg, size_t len, uint32_t age_s)
{
	const struct dns_name root = {.len = 1};
	const struct dns_ask ask = {.name = &root, .id = t->id, .type = DNS_NS};
	struct probe *p = container_of(t, struct probe, t);

	(void)age_s;
	if (!dns_response_matches(msg, len, &ask)) {
		count_add_shared(&p->server->wrong_answers, 1);
		return false;
	}
	if (dns_response_check(msg, len) < 0) {
		probe_fail(p, -EBADMSG);
		return true;
	}
	resolver_answered(
		p->health->resolver, p->server, t->asked_us ? clock_us() - t->asked_us : 0);
	probe_end(p);
	return true;
}

static void try_failed(struct transport_try *t, int error)
{
	probe_fail(container_of(t, struct probe, t), error);
}

static void probe_open(struct probe *p)
{
	static const struct transport_owner owner = {
		.question = ask_write, .take = answer_take, .fail = try_failed};
	bool fresh;
	int error;

	p->t = (struct transport_try){.owner = &owner, .server = p->server->transport};
	error = server_address(p->server, &p->t.to, &fresh);
	if (!error)
		error = transport_open(p->health->resolver->transports, &p->t);
	if (error)
		probe_fail(p, error);
	else
		server_asked(p->server);
}

static void address_done(struct server_wait *w, int error)
{
	struct probe *p = container_of(w, struct probe, wait);

	if (error == -ECANCELED)
		probe_end(p);
	else if (error)
		probe_fail(p, error);
	else
		probe_open(p);
}

/* Half of the time is over, or all of it. */
static void probe_fired(struct loop_timer *timer)
{
	struct probe *p = container_of(timer, struct probe, timer);
	struct loop *loop = p->health->resolver->loop;
	int error = 0;

	if (p->resent) {
		probe_fail(p, -ETIMEDOUT);
		return;
	}
	p->resent = true;
	/* It was in the heap a moment ago: there is room. */
	(void)loop_timer_set(loop, timer, loop_now_ms(loop) + p->timeout_ms / 2);
	if (transport_is_open(&p->t) && transport_is_lossy(&p->t))
		error = transport_resend(&p->t);
	if (error)
		probe_fail(p, error);
}

static void probe_start(struct probe *p, struct server *s, const struct group *group)
{
	struct resolver *r = p->health->resolver;
	struct ip_port at;
	bool fresh;
	int error;

	p->timer.fire = probe_fired;
	if (loop_timer_set(r->loop, &p->timer, loop_now_ms(r->loop) + group->timeout_ms / 2) < 0)
		return;
	p->server = server_ref(s);
	p->timeout_ms = group->timeout_ms;
	p->resent = false;
	p->t = (struct transport_try){0};
	p->wait = (struct server_wait){.done = address_done};
	error = server_address(s, &at, &fresh);
	if (error || !fresh)
		server_resolve(r, p->health->groups, s, group->bootstrap, error ? &p->wait : NULL);
	if (!error)
		probe_open(p);
}

/* --- all of them --- */

static struct probe *probe_free(struct health *h)
{
	for (size_t i = 0; i < PROBES_MAX; i++) {
		if (!h->probes[i].server)
			return &h->probes[i];
	}
	return NULL;
}

/* A try may last longer than the interval. */
static bool is_being_asked(const struct health *h, const struct server *s)
{
	for (size_t i = 0; i < PROBES_MAX; i++) {
		if (h->probes[i].server == s)
			return true;
	}
	return false;
}

static void look(struct health *h)
{
	int64_t now_ms = loop_now_ms(h->resolver->loop);
	struct probe *p = probe_free(h);

	for (size_t i = 0; i < h->groups->n_groups; i++) {
		const struct group *group = &h->groups->groups[i];

		for (size_t k = 0; p && k < group->n_servers; k++) {
			struct server *s = group->servers[k];

			if (!s->health_ms || server_is_up(s) || is_being_asked(h, s) ||
				server_state(s, now_ms) != SERVER_TRIAL)
				continue;
			probe_start(p, s, group);
			p = probe_free(h);
		}
	}
}

static void health_fired(struct loop_timer *timer)
{
	struct health *h = container_of(timer, struct health, timer);
	struct loop *loop = h->resolver->loop;

	(void)loop_timer_set(loop, timer, loop_now_ms(loop) + h->tick_ms);
	look(h);
}

/* Often enough for the most eager one; 0: nobody is probed. */
static unsigned tick_of(const struct resolve_groups *g)
{
	unsigned least = 0;

	for (size_t i = 0; i < g->n_groups; i++) {
		for (size_t k = 0; k < g->groups[i].n_servers; k++) {
			unsigned ms = g->groups[i].servers[k]->health_ms;

			if (ms && (!least || ms < least))
				least = ms;
		}
	}
	if (!least)
		return 0;
	least /= 4;
	if (least < TICK_MIN_MS)
		return TICK_MIN_MS;
	return least < TICK_MAX_MS ? least : TICK_MAX_MS;
}

/* Trials of theirs that are not over become due again by themselves. */
static void probes_end(struct health *h)
{
	for (size_t i = 0; i < PROBES_MAX; i++) {
		if (h->probes[i].server)
			probe_end(&h->probes[i]);
	}
}

int health_new(struct resolver *r, struct health **ret)
{
	struct health *h = calloc(1, sizeof *h);

	if (!h)
		return -ENOMEM;
	h->resolver = r;
	h->timer.fire = health_fired;
	for (size_t i = 0; i < PROBES_MAX; i++)
		h->probes[i].health = h;
	/* Always set, so that setting it needs no memory. */
	if (loop_timer_set(r->loop, &h->timer, RESOLVE_NEVER_MS) < 0) {
		free(h);
		return -ENOMEM;
	}
	*ret = h;
	return 0;
}

void health_use(struct health *h, struct resolve_groups *g)
{
	struct loop *loop = h->resolver->loop;

	probes_end(h);
	resolve_groups_unref(h->groups);
	h->groups = resolve_groups_ref(g);
	h->tick_ms = tick_of(g);
	(void)loop_timer_set(
		loop, &h->timer, h->tick_ms ? loop_now_ms(loop) + h->tick_ms : RESOLVE_NEVER_MS);
}

void health_now(struct health *h)
{
	struct loop *loop = h->resolver->loop;

	for (size_t i = 0; h->groups && i < h->groups->n_groups; i++) {
		for (size_t k = 0; k < h->groups->groups[i].n_servers; k++) {
			struct server *s = h->groups->groups[i].servers[k];

			server_try_soon(s, loop_now_ms(loop));
			server_addresses_forgive(s);
		}
	}
	if (h->tick_ms)
		(void)loop_timer_set(loop, &h->timer, loop_now_ms(loop));
}

void health_free(struct health *h)
{
	if (!h)
		return;
	probes_end(h);
	loop_timer_cancel(h->resolver->loop, &h->timer);
	resolve_groups_unref(h->groups);
	free(h);
}
