/* The cache's life: its file, read at the start and written on stop and by interval; and the file
 * of the addresses of servers that have names, which lies beside the table of fake addresses. */
#include "gateway/daemon_internal.h"
#include "gateway/base/clock.h"
#include "gateway/base/file.h"
#include "gateway/base/log.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define ADDRESSES_FILE	   "bootstrap.json"
#define ADDRESSES_EVERY_MS 10000
/* Without a clock of its own a router begins at 1970, or when its firmware was made. */
#define CLOCK_TRUSTED_S INT64_C(1704067200) /* 2024 */

static struct cache_config wanted(const struct daemon *d, const struct conf_cache *c)
{
	return (struct cache_config){.entries = c->size,
		.bytes = c->bytes,
		.serve_stale_s = c->serve_stale_s,
		.prefetch_percent = c->prefetch_percent,
		.prefetch_hits = c->prefetch_hits,
		.hash_key = d->hash_key};
}

static uint32_t now_s(void)
{
	return (uint32_t)(clock_ms() / 1000);
}

static int64_t wall_s(void)
{
	int64_t wall = clock_wall_s();

	return wall < CLOCK_TRUSTED_S ? 0 : wall;
}

/* --- the cache's file --- */

/* It may be somebody else's, and ours takes its place soon. */
static void keep_foreign(const char *path)
{
	static const char *const what = "is damaged, or was not written by this program";
	char *kept;
	int error = file_keep_aside(path, &kept);

	if (error) {
		log_warn("cache.store %s %s; it cannot be kept aside (%s), and is written over",
			path, what,
			error == -EEXIST ? "nine others are already" : strerror(-error));
		return;
	}
	log_warn("cache.store %s %s; kept as %s, started anew", path, what, kept);
	free(kept);
}

static const char *trouble(int error)
{
	return error == -ENOTSUP ? "neither a file nor a link to one" : strerror(-error);
}

static void load(struct daemon *d)
{
	const struct conf_cache *c = &d->config->cache;
	struct cache_stats stats;
	int error;

	d->hot.v = calloc(c->warmup_count + 1, sizeof *d->hot.v);
	if (!d->hot.v)
		return;
	error = cache_load(
		d->cache, c->store, now_s(), wall_s(), d->hot.v, c->warmup_count, &d->hot.n);
	if (error == -ENOENT)
		return;
	if (error == -EBADMSG)
		keep_foreign(c->store);
	else if (error)
		log_warn("cache.store %s: %s; nothing is taken from it", c->store, trouble(error));
	if (error)
		return;
	cache_stats(d->cache, &stats);
	log_info("cache.store %s: %zu answers, %zu of them are asked again", c->store,
		stats.entries, d->hot.n);
}

int daemon_cache_start(struct daemon *d)
{
	const struct cache_config config = wanted(d, &d->config->cache);
	int error = cache_new(&config, &d->cache);

	if (!error && d->config->cache.store[0] && config.entries)
		load(d);
	d->cache_saved_ms = d->addresses_saved_ms = clock_ms();
	return error;
}

void daemon_cache_configure(struct daemon *d)
{
	const struct cache_config config = wanted(d, &d->config->cache);

	if (cache_configure(d->cache, &config))
		log_warn("cache: no memory; its size is the one of before");
}

static void save(struct daemon *d)
{
	const struct conf_cache *c = &d->config->cache;
	int error;

	d->cache_saved_ms = clock_ms();
	if (!c->store[0] || !c->size)
		return;
	error = cache_save(d->cache, c->store, now_s(), wall_s());
	if (error)
		daemon_set_problem(d, PROBLEM_CACHE,
			"cache.store %s: %s; the answers are lost at "
			"the next start",
			c->store, trouble(error));
	else
		daemon_clear_problem(d, PROBLEM_CACHE);
}

/* --- the file of addresses --- */

/* Returns buf; NULL: none is kept. */
static const char *addresses_path(const struct daemon *d, char *buf, size_t size)
{
	const char *store = d->config->fakeip.store, *name = strrchr(store, '/');
	int n;

	if (!store[0])
		return NULL;
	n = snprintf(buf, size, "%.*s" ADDRESSES_FILE, name ? (int)(name - store + 1) : 0, store);
	return n > 0 && (size_t)n < size ? buf : NULL;
}

void daemon_addresses_load(struct daemon *d)
{
	char buf[4096];
	const char *path = addresses_path(d, buf, sizeof buf);
	int error = path ? resolve_addresses_load(d->gen->groups, path) : -ENOENT;

	if (error && error != -ENOENT)
		log_warn("%s: %s; the servers' names are resolved anew", path,
			error == -EBADMSG ? "it is damaged" : strerror(-error));
}

static void save_addresses(struct daemon *d)
{
	static struct log_gate gate;
	char buf[4096];
	const char *path = addresses_path(d, buf, sizeof buf);
	int error = path && d->gen ? resolve_addresses_save(d->gen->groups, path) : 0;

	d->addresses_saved_ms = clock_ms();
	if (error && log_gate_open(&gate, 3600000))
		log_warn("%s: %s; the servers' names are resolved anew at the next start", path,
			strerror(-error));
}

/* --- both --- */

void daemon_cache_tend(struct daemon *d)
{
	int64_t now = clock_ms(), every_ms = (int64_t)d->config->cache.store_every_s * 1000;

	if (every_ms && now - d->cache_saved_ms >= every_ms)
		save(d);
	if (now - d->addresses_saved_ms >= ADDRESSES_EVERY_MS)
		save_addresses(d);
}

void daemon_cache_stop(struct daemon *d)
{
	if (d->cache && d->gen) { /* else it did not get as far as to answer anything */
		save(d);
		save_addresses(d);
	}
	free(d->hot.v);
	cache_free(d->cache);
}

/* --- for the control room --- */

static int parse_name(const char *text, struct dns_name *ret)
{
	return dns_name_parse(text, strlen(text), ret) ? -EINVAL : 0;
}

int64_t daemon_cache_show(
	struct daemon *d, const char *name, size_t max, cache_visit *visit, void *arg)
{
	struct dns_name parsed;

	if (name && parse_name(name, &parsed))
		return -EINVAL;
	return (int64_t)cache_show(d->cache, name ? &parsed : NULL, now_s(), max, visit, arg);
}

int64_t daemon_cache_flush(struct daemon *d, const char *name)
{
	struct dns_name parsed;

	if (name && parse_name(name, &parsed))
		return -EINVAL;
	return (int64_t)cache_flush(d->cache, name ? &parsed : NULL);
}
