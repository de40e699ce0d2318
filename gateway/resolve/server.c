/* A server's life and numbers. All workers write the latter, relaxed and without a lock: a sample
 * that is lost among thousands changes no estimate. */
#include "gateway/resolve/server.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "gateway/base/count.h"
#include "gateway/resolve/resolve_internal.h"

#define PAUSE_OFF_MS 10000 /* health: off */
#define PAUSE_MAX_MS 60000

#define TAIL_SAMPLES 20	 /* of so many the greatest is an estimate of the 95th percentile */
#define TAIL_STEP    256 /* of the value: a step down; up are 19 */
#define TAIL_BELOW   60	 /* in a row: below is the rule now, it has become faster… */
#define TAIL_HURRY   8	 /* …and steps are longer */

#define FNV_START 0xcbf29ce484222325ULL /* FNV-1a, 64 bits */
#define FNV_PRIME 0x100000001b3ULL

/* --- identity --- */

static uint64_t add(uint64_t h, const void *bytes, size_t len)
{
	const uint8_t *b = bytes;

	for (size_t i = 0; i < len; i++)
		h = (h ^ b[i]) * FNV_PRIME;
	return h;
}

static uint64_t add_number(uint64_t h, uint64_t n)
{
	return add(h, &n, sizeof n);
}

static uint64_t add_text(uint64_t h, const char *text)
{
	return text ? add(h, text, strlen(text) + 1) : add_number(h, 0);
}

static uint64_t add_address(uint64_t h, const struct ip_addr *a)
{
	return add(add(h, a->b, sizeof a->b), &a->family, sizeof a->family);
}

/* A file that has been replaced is another one. */
static uint64_t add_file(uint64_t h, const char *path)
{
	struct stat st;

	h = add_text(h, path);
	if (!path || stat(path, &st) < 0)
		return h;
	h = add_number(h, (uint64_t)st.st_ino);
	h = add_number(h, (uint64_t)st.st_size);
	h = add_number(h, (uint64_t)st.st_mtim.tv_sec);
	return add_number(h, (uint64_t)st.st_mtim.tv_nsec);
}

static uint64_t identity_of(
	const struct conf_server *conf, const struct conf_upstream *upstream, uint32_t mark)
{
	uint64_t h = add_text(FNV_START, upstream->name);

	h = add_text(h, conf->url);
	h = add_number(h, conf->transport);
	h = add_text(h, conf->host);
	h = add_address(h, &conf->at.addr);
	h = add_number(h, conf->at.port);
	h = add_number(h, conf->at.scope);
	h = add_text(h, conf->tls_name);
	h = add_text(h, conf->path);
	h = add_number(h, conf->n_pins);
	for (size_t i = 0; i < conf->n_pins; i++)
		h = add(h, conf->pins[i].sha256, sizeof conf->pins[i].sha256);
	h = add_number(h, conf->method);
	h = add_address(h, &conf->bind.address);
	h = add_text(h, conf->bind.interface);
	h = add_number(h, mark);
	h = add_number(h, conf->max_queries);
	h = add_number(h, conf->max_life_ms);
	h = add_number(h, conf->idle_ms);
	h = add_number(h, upstream->health_ms);
	return add_file(h, upstream->ca);
}

static bool is_the_same(const struct server *s, uint64_t identity,
	const struct conf_upstream *upstream, const struct resolve_groups_config *config)
{
	if (s->identity != identity || (s->via != NULL) != (upstream->via >= 0))
		return false;
	return !s->via || egress_same(s->via, s->egress, config->egresses, (unsigned)upstream->via);
}

static struct server *previous_find(uint64_t identity, const struct conf_upstream *upstream,
	const struct resolve_groups_config *config)
{
	const struct resolve_groups *g = config->previous;

	for (size_t i = 0; g && i < g->n_groups; i++) {
		for (size_t k = 0; k < g->groups[i].n_servers; k++) {
			struct server *s = g->groups[i].servers[k];

			if (is_the_same(s, identity, upstream, config))
				return s;
		}
	}
	return NULL;
}

/* --- life --- */

/* Another one of the same name in the group of that name: where it is may be known already. */
static void addresses_inherit(struct server *s, const struct resolve_groups *previous)
{
	for (size_t i = 0; previous && s->host && i < previous->n_groups; i++) {
		for (size_t k = 0; k < previous->groups[i].n_servers; k++) {
			struct server *from = previous->groups[i].servers[k];

			if (from->host && strcmp(from->host, s->host) == 0 &&
				strcmp(from->group, s->group) == 0)
				server_addresses_adopt(s, from);
		}
	}
}

static int transport_make(struct server *s, const struct conf_server *conf,
	const struct conf_upstream *upstream, uint32_t mark,
	const struct resolve_groups_config *config)
{
	const struct transport_way way = {
		.mark = mark, .via = s->via, .egress = s->egress, .ca = upstream->ca};
	char why[128] = "", text[256];
	int error = transport_server_new(conf, &way, &s->transport, why);
	bool ca = upstream->ca_line;

	if (!error || error == -ENOMEM)
		return error;
	(void)snprintf(text, sizeof text, "upstreams.%s.%s: %s", upstream->name,
		ca ? "ca" : "servers", *why ? why : strerror(-error));
	if (config->report)
		config->report(config->report_arg, ca ? upstream->ca_line : conf->line,
			ca ? upstream->ca_column : conf->column, text);
	return -EINVAL;
}

static int texts_copy(struct server *s, const char *group, const char *url, const char *host)
{
	s->group = strdup(group);
	s->url = strdup(url);
	s->host = host ? strdup(host) : NULL;
	return s->group && s->url && (s->host || !host) ? 0 : -ENOMEM;
}

static void server_free(struct server *s)
{
	server_addresses_fini(s);
	transport_server_unref(s->transport);
	egress_set_unref(s->via);
	free(s->group);
	free(s->url);
	free(s->host);
	free(s);
}

static unsigned pause_first(const struct server *s)
{
	return s->health_ms ? s->health_ms : PAUSE_OFF_MS;
}

static int server_make(const struct conf_server *conf, const struct conf_upstream *upstream,
	const struct resolve_groups_config *config, uint32_t mark, struct server **ret)
{
	struct server *s = aligned_alloc(_Alignof(struct server), sizeof *s);
	int error;

	if (!s)
		return -ENOMEM;
	memset(s, 0, sizeof *s);
	atomic_init(&s->refs, 1);
	server_addresses_init(s, conf->host ? NULL : &conf->at.addr);
	s->at = conf->at;
	s->follows_client = conf->transport == CONF_DNS;
	s->health_ms = upstream->health_ms;
	atomic_init(&s->pause_ms, pause_first(s));
	if (upstream->via >= 0) {
		s->via = egress_set_ref(config->egresses);
		s->egress = (unsigned)upstream->via;
	}
	error = texts_copy(s, upstream->name, conf->url, conf->host);
	if (!error)
		error = transport_make(s, conf, upstream, mark, config);
	if (error) {
		server_free(s);
		return error;
	}
	s->encrypted = transport_server_is_encrypted(s->transport);
	s->by_name = conf->host && transport_server_goes_by_name(s->transport);
	addresses_inherit(s, config->previous);
	*ret = s;
	return 0;
}

int server_new(const struct conf_server *conf, const struct conf_upstream *upstream,
	const struct resolve_groups_config *config, struct server **ret)
{
	const struct conf_mark *own = conf->mark.mask ? &conf->mark : &upstream->mark;
	uint32_t mark = config->config->gateway.mark.value | (own->mask ? own->value : 0);
	uint64_t identity = identity_of(conf, upstream, mark);
	struct server *s = previous_find(identity, upstream, config);
	int error;

	if (s) {
		*ret = server_ref(s);
		return 0;
	}
	error = server_make(conf, upstream, config, mark, ret);
	if (!error)
		(*ret)->identity = identity;
	return error;
}

struct server *server_ref(struct server *s)
{
	atomic_fetch_add_explicit(&s->refs, 1, memory_order_relaxed);
	return s;
}

void server_unref(struct server *s)
{
	if (s && atomic_fetch_sub_explicit(&s->refs, 1, memory_order_acq_rel) == 1)
		server_free(s);
}

/* --- how fast --- */

static uint32_t get(const _Atomic uint32_t *v)
{
	return atomic_load_explicit(v, memory_order_relaxed);
}

/* Looked at first, so that a line that all workers read is not torn from them each time. */
static void set(_Atomic uint32_t *v, uint32_t to)
{
	if (get(v) != to)
		atomic_store_explicit(v, to, memory_order_relaxed);
}

/* 19 steps up for one above, one down for one below: it rests where one of 20 is above. */
static uint32_t tail_next(struct server *s, uint32_t tail, uint32_t us)
{
	uint32_t step = tail / TAIL_STEP + 1, below = get(&s->below);
	uint64_t next;

	if (us > tail) {
		set(&s->below, 0);
		next = (uint64_t)tail + (uint64_t)step * 19;
		return next < UINT32_MAX ? (uint32_t)next : UINT32_MAX;
	}
	if (below < TAIL_BELOW)
		set(&s->below, below + 1);
	else
		step *= TAIL_HURRY;
	return tail > step ? tail - step : 1;
}

static void tail_add(struct server *s, uint32_t us)
{
	uint32_t tail = get(&s->tail_us), samples = get(&s->samples);

	if (samples < TAIL_SAMPLES) {
		set(&s->samples, samples + 1);
		tail = us > tail ? us : tail;
	} else {
		tail = tail_next(s, tail, us);
	}
	set(&s->tail_us, tail);
	if (samples + 1 >= TAIL_SAMPLES)
		set(&s->p95_us, tail);
}

static void rtt_add(struct server *s, int64_t us)
{
	int64_t old = get(&s->rtt_us), next;

	if (us > UINT32_MAX)
		us = UINT32_MAX;
	next = old ? old + (us - old) / 8 : us;
	set(&s->rtt_us, (uint32_t)next);
	tail_add(s, (uint32_t)us);
}

/* --- whether it answers --- */

static int64_t retry_get(const struct server *s)
{
	return atomic_load_explicit(&s->retry_ms, memory_order_relaxed);
}

static bool is_alive(struct server *s)
{
	set(&s->fails, 0);
	if (!retry_get(s))
		return false;
	atomic_store_explicit(&s->on_trial, false, memory_order_relaxed);
	atomic_store_explicit(&s->pause_ms, pause_first(s), memory_order_relaxed);
	return atomic_exchange_explicit(&s->retry_ms, 0, memory_order_relaxed) != 0;
}

void server_asked(struct server *s)
{
	count_add_shared(&s->queries, 1);
}

bool server_answered(struct server *s, int64_t rtt_us)
{
	if (rtt_us > 0)
		rtt_add(s, rtt_us);
	return is_alive(s);
}

void server_declined(struct server *s)
{
	count_add_shared(&s->failures, 1);
	(void)is_alive(s);
}

/* Up to an eighth longer, so that servers that went down together are not asked together. */
static int64_t later(const struct server *s, int64_t now_ms, uint32_t pause_ms)
{
	uint64_t h = (s->identity ^ (uint64_t)now_ms) * 0x9e3779b97f4a7c15ULL;
	int64_t at = now_ms + pause_ms + (int64_t)((h >> 32) % (pause_ms / 8 + 1));

	return at ? at : 1;
}

static uint32_t pause_next(const struct server *s)
{
	uint32_t first = pause_first(s), pause = get(&s->pause_ms);

	if (!s->health_ms || pause > PAUSE_MAX_MS / 2)
		return first > PAUSE_MAX_MS ? first : s->health_ms ? PAUSE_MAX_MS : first;
	return pause * 2;
}

void server_failed(struct server *s, bool local, int64_t now_ms)
{
	int64_t up = 0;
	uint32_t pause;

	count_add_shared(&s->failures, 1);
	if (local)
		return;
	if (!retry_get(s)) {
		if (atomic_fetch_add_explicit(&s->fails, 1, memory_order_relaxed) + 1 <
			SERVER_FAILS_MAX)
			return;
		atomic_compare_exchange_strong_explicit(&s->retry_ms, &up,
			later(s, now_ms, get(&s->pause_ms)), memory_order_relaxed,
			memory_order_relaxed);
		return;
	}
	/* Of the many that may fail while it is down, one is the trial: any, since it is over. */
	if (!atomic_exchange_explicit(&s->on_trial, false, memory_order_relaxed))
		return;
	pause = pause_next(s);
	atomic_store_explicit(&s->pause_ms, pause, memory_order_relaxed);
	up = retry_get(s);
	if (up) /* else another worker's answer came: it is up */
		atomic_compare_exchange_strong_explicit(&s->retry_ms, &up, later(s, now_ms, pause),
			memory_order_relaxed, memory_order_relaxed);
}

enum server_state server_state(struct server *s, int64_t now_ms)
{
	int64_t retry = retry_get(s);

	if (!retry)
		return SERVER_UP;
	if (now_ms < retry)
		return SERVER_DOWN;
	/* The next one is due when this one never reports. */
	if (!atomic_compare_exchange_strong_explicit(&s->retry_ms, &retry,
		    later(s, now_ms, get(&s->pause_ms)), memory_order_relaxed,
		    memory_order_relaxed))
		return retry ? SERVER_DOWN : SERVER_UP;
	atomic_store_explicit(&s->on_trial, true, memory_order_relaxed);
	return SERVER_TRIAL;
}

bool server_is_up(const struct server *s)
{
	return !retry_get(s);
}

void server_try_soon(struct server *s, int64_t now_ms)
{
	int64_t retry = retry_get(s);

	atomic_store_explicit(&s->pause_ms, pause_first(s), memory_order_relaxed);
	if (retry)
		atomic_compare_exchange_strong_explicit(&s->retry_ms, &retry, now_ms ? now_ms : 1,
			memory_order_relaxed, memory_order_relaxed);
}
