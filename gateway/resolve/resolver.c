#include <errno.h>
#include <stdlib.h>
#include <sys/random.h>

#include "gateway/resolve/resolve_internal.h"

/* --- the end: flights, then probes and connections, then the dialer, then the memory --- */

static void resolver_free(struct resolver *r)
{
	loop_timer_cancel(r->loop, &r->end);
	lookups_fini(&r->lookups);
	slab_fini(&r->windows);
	slab_fini(&r->flights);
	for (unsigned i = 0; i < RESOLVE_SCRATCHES_MAX; i++)
		free(r->scratches[i]);
	resolve_groups_unref(r->groups);
	free(r);
}

static void dialer_stopped(void *arg)
{
	struct resolver *r = arg;
	void (*stopped)(void *arg) = r->stopped;
	void *stopped_arg = r->stopped_arg;

	resolver_free(r);
	if (stopped)
		stopped(stopped_arg);
}

static void transports_stopped(void *arg)
{
	struct resolver *r = arg;

	egress_dialer_stop(r->dialer, dialer_stopped, r);
}

static void resolver_shut(struct resolver *r)
{
	r->shut = true;
	if (r->health)
		health_free(r->health);
	transports_stop(r->transports, transports_stopped, r);
}

static void resolver_end(struct loop_timer *timer)
{
	struct resolver *r = container_of(timer, struct resolver, end);

	if (r->stopping && !r->shut && r->holds == 0)
		resolver_shut(r);
}

void resolver_release(struct resolver *r)
{
	if (--r->holds == 0 && r->stopping && !r->shut)
		(void)loop_timer_set(r->loop, &r->end, loop_now_ms(r->loop));
}

static void bucket_cancel(struct flight **bucket)
{
	struct flight *f = *bucket;

	/* A callback may cancel others, so the bucket is read anew. A pinned flight is below us on
	 * the stack and ends itself when it sees `stopping`. */
	while (f) {
		if (f->pinned) {
			f = f->next;
			continue;
		}
		flight_cancel(f);
		f = *bucket;
	}
}

void resolver_stop(struct resolver *r, void (*done)(void *arg), void *arg)
{
	r->stopping = true;
	r->stopped = done;
	r->stopped_arg = arg;
	if (r->holds == 0) { /* so no callback of ours is running */
		resolver_shut(r);
		return;
	}
	resolver_hold(r);
	for (size_t i = 0; i < RESOLVE_BUCKETS; i++)
		bucket_cancel(&r->buckets[i]);
	while (r->lingering)
		flight_drop(r->lingering);
	resolver_release(r);
}

/* --- the start --- */

static bool forbidden(void *arg, const struct ip_port *to)
{
	const struct resolver *r = arg;

	return r->c.forbidden && r->c.forbidden(r->c.arg, to);
}

/* For the dialer that reaches servers; the relay's asks carry. */
static void proxy_look_up(void *arg, const struct egress_set *s, int bootstrap, const char *host,
	struct egress_lookup *l)
{
	struct resolver *r = arg;
	struct resolve_groups *g = r->groups;

	lookups_begin(&r->lookups, g, g ? groups_bootstrap(g, s, bootstrap, host) : -1, host, l);
}

static int ways_new(struct resolver *r)
{
	struct egress_dialer_config dialer = {
		.loop = r->loop,
		.resolve = proxy_look_up,
		.resolve_cancel = lookups_cancel,
		.forbidden = forbidden,
		.arg = r,
	};
	struct transports_config transports = {.loop = r->loop};
	int error = egress_dialer_new(&dialer, &r->dialer);

	if (error < 0)
		return error;
	transports.dialer = r->dialer;
	error = transports_new(&transports, &r->transports);
	if (error == 0 && r->c.probes)
		error = health_new(r, &r->health);
	return error;
}

/* Nothing is in flight: each is over before it returns. */
static void nothing(void *arg)
{
	(void)arg;
}

static void ways_free(struct resolver *r)
{
	if (r->transports)
		transports_stop(r->transports, nothing, NULL);
	if (r->dialer)
		egress_dialer_stop(r->dialer, nothing, NULL);
}

int resolver_new(const struct resolver_config *config, struct resolver **ret)
{
	struct resolver *r = calloc(1, sizeof *r);
	int error;

	if (!r)
		return -ENOMEM;
	r->loop = config->loop;
	r->c = *config;
	slab_init(&r->flights, sizeof(struct flight), RESOLVE_FLIGHTS_MAX);
	slab_init(&r->windows, sizeof(struct windowed), RESOLVE_WINDOWS_MAX);
	lookups_init(&r->lookups, r->loop, r, RESOLVE_LOOKUPS_MAX);
	r->end.fire = resolver_end;
	error = loop_timer_set(r->loop, &r->end, RESOLVE_NEVER_MS);
	if (error == 0 && getrandom(r->random, sizeof r->random, 0) != sizeof r->random)
		error = -EIO;
	r->random_left = RESOLVE_RANDOM_WORDS;
	if (error == 0)
		error = ways_new(r);
	if (error < 0) {
		ways_free(r);
		resolver_free(r);
		return error;
	}
	*ret = r;
	return 0;
}

/* --- while it runs --- */

void resolver_use(struct resolver *r, struct resolve_groups *g)
{
	resolve_groups_ref(g);
	resolve_groups_unref(r->groups);
	r->groups = g;
	if (r->health && !r->stopping)
		health_use(r->health, g);
}

static void servers_try_soon(struct resolve_groups *g, int64_t now_ms)
{
	for (size_t i = 0; i < g->n_groups; i++)
		for (size_t k = 0; k < g->groups[i].n_servers; k++)
			server_try_soon(g->groups[i].servers[k], now_ms);
}

/* Why a question failed while the server was down says nothing about the next try. */
void resolver_answered(struct resolver *r, struct server *s, int64_t rtt_us)
{
	if (server_answered(s, rtt_us))
		cache_flush_failures(r->c.cache);
}

void resolver_network_changed(
	struct resolver *r, bool (*is_ours)(void *arg, const struct ip_addr *a), void *arg)
{
	if (r->stopping)
		return;
	resolver_hold(r); /* what breaks by it is told to those who wait */
	if (r->groups)
		servers_try_soon(r->groups, loop_now_ms(r->loop));
	cache_flush_failures(r->c.cache);
	transports_addresses_changed(r->transports, is_ours, arg);
	if (r->health && !r->stopping)
		health_now(r->health);
	resolver_release(r);
}

unsigned resolve_flights(const struct resolver *r)
{
	return r->n_flights;
}

/* A pool that cannot be filled again is drawn from once more with its words mixed: ids stay hard to
 * guess, and asking goes on. getrandom(2) of so few bytes does not fail once the kernel has
 * started.
 */
uint64_t resolver_random(struct resolver *r)
{
	if (r->random_left == 0) {
		if (getrandom(r->random, sizeof r->random, 0) != sizeof r->random)
			for (size_t i = 0; i < RESOLVE_RANDOM_WORDS; i++)
				r->random[i] = (r->random[i] ^ r->random[i] >> 31) *
					       UINT64_C(0x9e3779b97f4a7c15);
		r->random_left = RESOLVE_RANDOM_WORDS;
	}
	return r->random[--r->random_left];
}

uint8_t *scratch_take(struct resolver *r)
{
	unsigned i = r->n_scratches;

	if (i == RESOLVE_SCRATCHES_MAX)
		return NULL;
	if (!r->scratches[i])
		r->scratches[i] = malloc(DNS_MESSAGE_MAX);
	if (r->scratches[i])
		r->n_scratches++;
	return r->scratches[i];
}

void scratch_give(struct resolver *r)
{
	r->n_scratches--;
}
