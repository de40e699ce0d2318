#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "gateway/resolve/resolve_internal.h"

#define EGRESSES_MAX 256

/* --- what answers depend on (FNV-1a) --- */

static uint64_t mix(uint64_t h, const void *bytes, size_t n)
{
	const uint8_t *p = bytes;

	for (size_t i = 0; i < n; i++)
		h = (h ^ p[i]) * UINT64_C(0x100000001b3);
	return h;
}

/* In one byte order on all machines is not asked for: the file of a cache stays at home. */
static uint64_t mix_number(uint64_t h, uint64_t v)
{
	return mix(h, &v, sizeof v);
}

static uint64_t mix_text(uint64_t h, const char *text)
{
	return text ? mix(h, text, strlen(text) + 1) : mix_number(h, 1);
}

static uint64_t mix_prefix(uint64_t h, const struct ip_prefix *p)
{
	h = mix_number(h, (uint64_t)p->addr.family << 8 | p->len);
	return mix(h, p->addr.b, sizeof p->addr.b);
}

static uint64_t mix_prefixes(uint64_t h, const struct conf_prefixes *p)
{
	h = mix_number(h, p->n);
	for (size_t i = 0; i < p->n; i++)
		h = mix_prefix(h, &p->v[i]);
	return h;
}

static uint64_t mix_server(uint64_t h, const struct conf_server *s)
{
	h = mix_text(h, s->url);
	h = mix_number(h, s->mark.value);
	h = mix(h, s->bind.address.b, sizeof s->bind.address.b);
	h = mix_text(h, s->bind.interface);
	h = mix_number(h, s->n_pins);
	for (size_t i = 0; i < s->n_pins; i++)
		h = mix(h, s->pins[i].sha256, sizeof s->pins[i].sha256);
	return h;
}

/* Where it leads decides what servers answer; the port or the user may say so. */
static uint64_t mix_one_egress(uint64_t h, const struct conf_egress *e)
{
	h = mix_text(h, e->name);
	h = mix_number(h, (uint64_t)e->type << 32 | e->mark.value);
	h = mix(h, e->server.at.addr.b, sizeof e->server.at.addr.b);
	h = mix_number(h, e->server.at.port);
	h = mix_text(h, e->server.host);
	h = mix_text(h, e->user);
	return mix(mix_number(h, e->n_of), e->of, e->n_of * sizeof *e->of);
}

/* Any egress may be a member of a group, or of its members. */
static uint64_t mix_egress(uint64_t h, const struct config *config, int egress)
{
	const struct conf_egress *e;

	if (egress < 0)
		return mix_number(h, 0);
	e = &config->egresses[egress];
	h = mix_one_egress(h, e);
	for (size_t i = 0; e->type == CONF_EGRESS_GROUP && i < config->n_egresses; i++)
		h = mix_one_egress(h, &config->egresses[i]);
	return h;
}

static uint64_t upstream_identity(const struct config *config, const struct conf_upstream *u)
{
	uint64_t h = mix_text(UINT64_C(0xcbf29ce484222325), u->name);

	for (size_t i = 0; i < u->n_servers; i++)
		h = mix_server(h, &u->servers[i]);
	h = mix_egress(h, config, u->via);
	h = mix_number(h, u->mark.value);
	h = mix_text(h, u->ca);
	h = mix_number(h, (uint64_t)u->rebind << 2 | (uint64_t)u->require_edns << 1 | u->downgrade);
	h = mix_prefixes(h, &u->ignore_ip);
	h = mix_prefixes(h, &u->bogus_nxdomain);
	h = mix_number(h, (uint64_t)u->min_rtt_ms << 32 | u->window_ms);
	return mix_prefix(h, &u->ecs);
}

/* An answer may be a fall-back's. What lies in a pool today may have been kept before. */
static uint64_t chain_identity(const struct config *config, size_t group)
{
	const struct conf_upstream *u = &config->upstreams[group];
	uint64_t h = upstream_identity(config, u);

	for (int i = 1; i < FLIGHT_GROUPS_MAX && u->fallback >= 0; i++) {
		u = &config->upstreams[u->fallback];
		h = mix_number(h, upstream_identity(config, u));
	}
	return mix_prefix(mix_prefix(h, &config->fakeip.pool4), &config->fakeip.pool6);
}

/* --- what outlives a configuration --- */

static int guards_hand_on(struct resolve_groups *g, const struct resolve_groups *previous)
{
	if (previous) {
		g->guards = previous->guards;
		atomic_fetch_add_explicit(&g->guards->refs, 1, memory_order_relaxed);
		return 0;
	}
	g->guards = calloc(1, sizeof *g->guards);
	if (!g->guards)
		return -ENOMEM;
	atomic_init(&g->guards->refs, 1);
	return 0;
}

static void guards_unref(struct guards *guards)
{
	if (guards && atomic_fetch_sub_explicit(&guards->refs, 1, memory_order_acq_rel) == 1)
		free(guards);
}

static int suspects_hand_on(struct group *group, const struct resolve_groups *previous)
{
	for (size_t i = 0; previous && i < previous->n_groups; i++) {
		struct suspects *s = previous->groups[i].suspects;

		if (s && strcmp(previous->groups[i].name, group->name) == 0) {
			atomic_fetch_add_explicit(&s->refs, 1, memory_order_relaxed);
			group->suspects = s;
			return 0;
		}
	}
	group->suspects = calloc(1, sizeof *group->suspects);
	if (!group->suspects)
		return -ENOMEM;
	atomic_init(&group->suspects->refs, 1);
	return 0;
}

static void suspects_unref(struct suspects *s)
{
	if (s && atomic_fetch_sub_explicit(&s->refs, 1, memory_order_acq_rel) == 1)
		free(s);
}

/* --- groups --- */

static int prefixes_copy(struct conf_prefixes *to, const struct conf_prefixes *from)
{
	if (from->n == 0)
		return 0;
	to->v = malloc(from->n * sizeof *to->v);
	if (!to->v)
		return -ENOMEM;
	memcpy(to->v, from->v, from->n * sizeof *to->v);
	to->n = from->n;
	return 0;
}

static void group_settings(struct group *g, const struct conf_upstream *u)
{
	g->strategy = u->strategy;
	g->all_down = u->all_down;
	g->timeout_ms = u->timeout_ms;
	g->total_ms = u->total_ms;
	g->window_ms = u->window_ms;
	g->bootstrap = u->bootstrap;
	g->fallback = u->fallback;
	g->downgrade = u->downgrade;
	g->rebind_protect = u->rebind == CONF_REBIND_PROTECT;
	g->case_randomization = u->case_randomization;
	g->rules.require_edns = u->require_edns;
	g->rules.min_rtt_ms = u->min_rtt_ms;
	if (u->ecs.addr.family == IP_NONE)
		return;
	g->ecs.family = u->ecs.addr.family == IP_V4 ? 1 : 2;
	g->ecs.prefix_len = u->ecs.len;
	memcpy(g->ecs.address, u->ecs.addr.b, sizeof g->ecs.address);
}

static bool sees_forgeries(const struct conf_upstream *u)
{
	return u->ignore_ip.n > 0 || u->require_edns || u->min_rtt_ms || u->window_ms;
}

static int group_init(
	struct group *g, const struct conf_upstream *u, const struct resolve_groups_config *config)
{
	int r = 0;

	group_settings(g, u);
	g->name = strdup(u->name);
	g->servers = calloc(u->n_servers + 1, sizeof *g->servers);
	if (!g->name || !g->servers)
		return -ENOMEM;
	if (sees_forgeries(u))
		r = suspects_hand_on(g, config->previous);
	if (r == 0)
		r = prefixes_copy(&g->rules.ignore_ip, &u->ignore_ip);
	if (r == 0)
		r = prefixes_copy(&g->rules.bogus_nxdomain, &u->bogus_nxdomain);
	for (size_t i = 0; i < u->n_servers && r == 0; i++) {
		r = server_new(&u->servers[i], u, config, &g->servers[i]);
		if (r < 0)
			return r;
		g->n_servers++;
		g->encrypted |= g->servers[i]->encrypted;
	}
	return r;
}

static void group_fini(struct group *g)
{
	for (size_t i = 0; i < g->n_servers; i++)
		server_unref(g->servers[i]);
	suspects_unref(g->suspects);
	free(g->rules.ignore_ip.v);
	free(g->rules.bogus_nxdomain.v);
	free(g->servers);
	free(g->name);
}

static void groups_free(struct resolve_groups *g)
{
	for (size_t i = 0; i < g->n_groups; i++)
		group_fini(&g->groups[i]);
	egress_set_unref(g->egresses);
	guards_unref(g->guards);
	free(g->groups);
	free(g);
}

static int groups_init(struct resolve_groups *g, const struct resolve_groups_config *c)
{
	const struct conf_cache *cache = &c->config->cache;
	size_t n = c->config->n_upstreams;
	int r = guards_hand_on(g, c->previous), error = 0;

	g->groups = calloc(n + 1, sizeof *g->groups);
	if (r < 0 || !g->groups)
		return -ENOMEM;
	if (getrandom(&g->sighting_key, sizeof g->sighting_key, 0) != sizeof g->sighting_key)
		return -EIO;
	g->egresses = c->egresses ? egress_set_ref(c->egresses) : NULL;
	g->min_ttl_s = cache->min_ttl_s;
	g->max_ttl_s = cache->max_ttl_s;
	g->negative_ttl_s = cache->negative_ttl_s;
	g->failure_ttl_s = cache->failure_ttl_s;
	for (; g->n_groups < n && error != -ENOMEM; g->n_groups++) {
		struct group *group = &g->groups[g->n_groups];

		r = group_init(group, &c->config->upstreams[g->n_groups], c);
		group->identity = chain_identity(c->config, g->n_groups);
		error = r < 0 ? r : error; /* the others have theirs told, too */
	}
	return error;
}

int resolve_groups_new(const struct resolve_groups_config *config, struct resolve_groups **ret)
{
	struct resolve_groups *g = calloc(1, sizeof *g);
	int r;

	if (!g)
		return -ENOMEM;
	atomic_init(&g->refs, 1);
	r = groups_init(g, config);
	if (r < 0)
		groups_free(g);
	else
		*ret = g;
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

/* --- what people look at --- */

size_t resolve_servers(const struct resolve_groups *g, struct resolve_server_info *ret, size_t max)
{
	size_t n = 0;

	for (size_t i = 0; i < g->n_groups; i++) {
		for (size_t k = 0; k < g->groups[i].n_servers && n < max; k++) {
			const struct server *s = g->groups[i].servers[k];

			ret[n++] = (struct resolve_server_info){
				.group = g->groups[i].name,
				.url = s->url,
				.up = server_is_up(s),
				.rtt_us = atomic_load_explicit(&s->rtt_us, memory_order_relaxed),
				.p95_us = atomic_load_explicit(&s->p95_us, memory_order_relaxed),
				.queries = count_get(&s->queries),
				.failures = count_get(&s->failures),
				.wrong_answers = count_get(&s->wrong_answers),
			};
		}
	}
	return n;
}

void resolve_counters(const struct resolve_groups *g, struct resolve_counters *ret)
{
	int64_t now_ms = clock_ms();

	*ret = (struct resolve_counters){
		.rebind = count_get(&g->guards->rebind),
		.forged = count_get(&g->guards->forged),
		.bogus = count_get(&g->guards->bogus),
	};
	for (size_t i = 0; i < g->n_groups; i++)
		if (g->groups[i].suspects)
			ret->poisoned += poisoned_count(&g->groups[i].suspects->names, now_ms);
}

const char *resolve_group_name(const struct resolve_groups *g, int group)
{
	return group >= 0 && (size_t)group < g->n_groups ? g->groups[group].name : NULL;
}

/* A server may have been taken over from an older configuration with its egress, whose group number
 * means another one by now: what counts is who resolves this proxy today. */
static int bootstrap_today(const struct egress_set *s, const char *host)
{
	struct egress_info info[EGRESSES_MAX];
	size_t n = s ? egress_list(s, info, EGRESSES_MAX) : 0;

	for (unsigned i = 0; i < n; i++) {
		const struct conf_egress *e = egress_conf(s, i);

		if (e->server.host && strcmp(e->server.host, host) == 0)
			return e->bootstrap;
	}
	return -1;
}

int groups_bootstrap(
	const struct resolve_groups *g, const struct egress_set *s, int bootstrap, const char *host)
{
	int group = s == g->egresses ? bootstrap : bootstrap_today(g->egresses, host);

	return group >= 0 && (size_t)group < g->n_groups ? group : -1;
}

static bool server_is_at(struct server *s, const struct ip_addr *a)
{
	struct ip_addr known[SERVER_ADDRESSES_MAX];
	size_t n = server_addresses_get(s, known);

	return ip_addr_is_among(a, known, n);
}

bool resolve_is_server(const struct resolve_groups *g, const struct ip_addr *a)
{
	for (size_t i = 0; i < g->n_groups; i++)
		for (size_t k = 0; k < g->groups[i].n_servers; k++)
			if (server_is_at(g->groups[i].servers[k], a))
				return true;
	return false;
}

/* --- views --- */

bool result_is_protected(const struct group *by, unsigned flags)
{
	if (flags & (RESOLVE_ALLOW_REBIND | RESOLVE_PROTECT_REBIND))
		return flags & RESOLVE_PROTECT_REBIND;
	return by->rebind_protect;
}

uint64_t resolve_view(const struct resolve_groups *g, const struct resolve_question *q)
{
	uint64_t rebind = q->flags & (RESOLVE_ALLOW_REBIND | RESOLVE_PROTECT_REBIND);
	uint64_t ttl = q->ttl ? (uint64_t)q->ttl->min_s << 32 | q->ttl->max_s : UINT32_MAX;
	uint64_t h = g->groups[q->group].identity ^ rebind;

	h = (h ^ h >> 32) * UINT64_C(0x9e3779b97f4a7c15) ^ ttl;
	h = (h ^ h >> 29) * UINT64_C(0xbf58476d1ce4e5b9);
	return h ^ h >> 32;
}
