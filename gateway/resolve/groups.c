#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "gateway/resolve/resolve_internal.h"
#include "gateway/base/count.h"

static const struct transport *const transports[] = {
	[CONF_UDP] = &transport_udp,
	[CONF_TCP] = &transport_tcp,
};

static int server_init(struct server *s, const struct conf_endpoint *endpoint,
	const struct group *g, uint32_t mark)
{
	s->transport = transports[endpoint->transport];
	s->address = endpoint->at.addr;
	s->at_len = ip_port_to_sockaddr(&endpoint->at, &s->at);
	s->mark = mark;
	s->group = g->name;
	s->url = strdup(endpoint->url);
	return s->url ? 0 : -ENOMEM;
}

static int group_init(struct group *g, const struct conf_upstream *upstream, uint32_t own_mark)
{
	uint32_t mark = own_mark | (upstream->mark.mask ? upstream->mark.value : 0);
	int r;

	g->timeout_ms = upstream->timeout_ms;
	g->total_ms = upstream->total_ms;
	g->name = strdup(upstream->name);
	if (!g->name)
		return -ENOMEM;
	if (upstream->n_servers == 0)
		return 0;
	g->servers =
		aligned_alloc(_Alignof(struct server), upstream->n_servers * sizeof *g->servers);
	if (!g->servers)
		return -ENOMEM;
	memset(g->servers, 0, upstream->n_servers * sizeof *g->servers);
	for (g->n_servers = 0; g->n_servers < upstream->n_servers; g->n_servers++) {
		struct server *s = &g->servers[g->n_servers];

		r = server_init(s, &upstream->servers[g->n_servers], g, mark);
		if (r < 0)
			return r;
	}
	return 0;
}

static void groups_free(struct resolve_groups *g)
{
	for (size_t i = 0; i < g->n_groups; i++) {
		struct group *group = &g->groups[i];

		for (size_t k = 0; k < group->n_servers; k++)
			free(group->servers[k].url);
		free(group->servers);
		free(group->name);
	}
	free(g->groups);
	free(g);
}

int resolve_groups_new(const struct config *config, struct resolve_groups **ret)
{
	struct resolve_groups *g = calloc(1, sizeof *g);
	int r = -ENOMEM;

	if (!g)
		return r;
	atomic_init(&g->refs, 1);
	if (getrandom(&g->sighting_key, sizeof g->sighting_key, 0) != sizeof g->sighting_key) {
		r = -EIO;
		goto fail;
	}
	g->groups = calloc(config->n_upstreams + 1, sizeof *g->groups);
	if (!g->groups)
		goto fail;
	g->n_groups = config->n_upstreams;
	for (size_t i = 0; i < g->n_groups; i++) {
		r = group_init(&g->groups[i], &config->upstreams[i], config->gateway.mark.value);
		if (r < 0)
			goto fail;
	}
	*ret = g;
	return 0;
fail:
	groups_free(g);
	return r;
}

struct resolve_groups *resolve_groups_ref(struct resolve_groups *g)
{
	atomic_fetch_add_explicit(&g->refs, 1, memory_order_relaxed);
	return g;
}

void resolve_groups_unref(struct resolve_groups *g)
{
	if (g && atomic_fetch_sub_explicit(&g->refs, 1, memory_order_acq_rel) == 1)
		groups_free(g);
}

size_t resolve_servers(const struct resolve_groups *g, struct resolve_server_info *ret, size_t max)
{
	size_t n = 0;

	for (size_t i = 0; i < g->n_groups; i++) {
		for (size_t k = 0; k < g->groups[i].n_servers && n < max; k++) {
			const struct server *s = &g->groups[i].servers[k];

			ret[n++] = (struct resolve_server_info){
				.group = s->group,
				.url = s->url,
				.up = !atomic_load_explicit(&s->down, memory_order_relaxed),
				.rtt_us = atomic_load_explicit(&s->rtt_us, memory_order_relaxed),
				.queries = atomic_load_explicit(&s->queries, memory_order_relaxed),
				.failures =
					atomic_load_explicit(&s->failures, memory_order_relaxed),
				.wrong_answers = atomic_load_explicit(
					&s->wrong_answers, memory_order_relaxed),
			};
		}
	}
	return n;
}

const char *resolve_group_name(const struct resolve_groups *g, int group)
{
	return group >= 0 && (size_t)group < g->n_groups ? g->groups[group].name : NULL;
}

bool resolve_is_server(const struct resolve_groups *g, const struct ip_addr *a)
{
	for (size_t i = 0; i < g->n_groups; i++)
		for (size_t k = 0; k < g->groups[i].n_servers; k++)
			if (ip_addr_equal(&g->groups[i].servers[k].address, a))
				return true;
	return false;
}

void server_answered(struct server *s, int64_t rtt_us)
{
	int64_t old = atomic_load_explicit(&s->rtt_us, memory_order_relaxed);

	if (rtt_us > UINT32_MAX)
		rtt_us = UINT32_MAX;
	if (rtt_us > 0)
		atomic_store_explicit(&s->rtt_us,
			(uint32_t)(old ? old + (rtt_us - old) / 8 : rtt_us), memory_order_relaxed);
	/* Looked at before it is written, so that the line is not torn from the other workers each
	 * time. */
	if (atomic_load_explicit(&s->down, memory_order_relaxed))
		atomic_store_explicit(&s->down, false, memory_order_relaxed);
}

void server_failed(struct server *s, bool silent_or_broken)
{
	count_add_shared(&s->failures, 1);
	if (silent_or_broken)
		atomic_store_explicit(&s->down, true, memory_order_relaxed);
}

/* --- sightings --- */

#define SIGHTING_ONE   (UINT64_C(1) << 12) /* a flight */
#define SIGHTING_COUNT (SIGHTING_ONE - 1)

static inline uint64_t sighting_tag(uint64_t word)
{
	return word >> 24;
}

static inline uint64_t sighting_flights(uint64_t word)
{
	return word >> 12 & SIGHTING_COUNT;
}

/* The tag is never 0, so that no word in use is. */
static uint64_t sighting_hash(const struct resolve_groups *g, const struct dns_name *name,
	uint16_t type, unsigned *ret_slot)
{
	uint64_t h = dns_name_hash(name, g->sighting_key ^ (uint64_t)type << 48);

	*ret_slot = (unsigned)(h % SIGHTING_SLOTS);
	return h >> 24 ? h >> 24 : 1;
}

/* One more flight in the slot, if it is tag's. */
static bool sighting_join(_Atomic uint64_t *slot, uint64_t tag)
{
	uint64_t word = atomic_load_explicit(slot, memory_order_relaxed);

	while (sighting_tag(word) == tag && sighting_flights(word) < SIGHTING_COUNT)
		if (atomic_compare_exchange_weak(slot, &word, word + SIGHTING_ONE))
			return true;
	return false;
}

int sighting_enter(struct resolve_groups *g, const struct dns_name *name, uint16_t type)
{
	unsigned first, i;
	uint64_t tag = sighting_hash(g, name, type, &first);

	for (i = 0; i < SIGHTING_WINDOW; i++) {
		unsigned slot = (first + i) % SIGHTING_SLOTS;

		if (sighting_join(&g->sightings[slot], tag))
			return (int)slot;
	}
	/* Two workers may enter one question twice at the same moment: the sightings are then
	 * counted in either. */
	for (i = 0; i < SIGHTING_WINDOW; i++) {
		unsigned slot = (first + i) % SIGHTING_SLOTS;
		uint64_t free_word = 0;

		if (atomic_compare_exchange_strong(
			    &g->sightings[slot], &free_word, tag << 24 | SIGHTING_ONE))
			return (int)slot;
	}
	return -1;
}

void sighting_leave(struct resolve_groups *g, int slot)
{
	uint64_t word, next;

	if (slot < 0)
		return;
	word = atomic_load_explicit(&g->sightings[slot], memory_order_relaxed);
	do
		next = sighting_flights(word) == 1 ? 0 : word - SIGHTING_ONE;
	while (!atomic_compare_exchange_weak(&g->sightings[slot], &word, next));
}

unsigned resolve_sighted(struct resolve_groups *g, const struct dns_name *name, uint16_t type)
{
	unsigned first;
	uint64_t tag = sighting_hash(g, name, type, &first);

	for (unsigned i = 0; i < SIGHTING_WINDOW; i++) {
		_Atomic uint64_t *slot = &g->sightings[(first + i) % SIGHTING_SLOTS];
		uint64_t word = atomic_load_explicit(slot, memory_order_relaxed);

		while (sighting_tag(word) == tag) {
			uint64_t seen = word & SIGHTING_COUNT;

			if (seen == SIGHTING_COUNT)
				return (unsigned)seen;
			if (atomic_compare_exchange_weak(slot, &word, word + 1))
				return (unsigned)seen + 1;
		}
	}
	return 0;
}
