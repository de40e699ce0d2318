/* What is known of an egress, whatever the configuration of the moment. */
#include "gateway/egress/egress_internal.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char *server_text(const struct conf_egress *conf, char *buf, size_t size)
{
	char at[IP_TEXT_MAX];

	if (conf->type != CONF_EGRESS_SOCKS5 && conf->type != CONF_EGRESS_HTTP)
		snprintf(buf, size, "%s", "");
	else if (conf->server.host)
		snprintf(buf, size, "%s:%u", conf->server.host, conf->server.at.port);
	else
		snprintf(buf, size, "%s", ip_port_format(&conf->server.at, at));
	return buf;
}

int state_new(const struct conf_egress *conf, struct egress_state **ret)
{
	struct egress_state *st = calloc(1, sizeof *st);
	char server[EGRESS_HOST_MAX + 8];

	if (!st)
		return -ENOMEM;
	st->name = strdup(conf->name);
	st->server = strdup(server_text(conf, server, sizeof server));
	if (!st->name || !st->server) {
		free(st->name);
		free(st->server);
		free(st);
		return -ENOMEM;
	}
	pthread_mutex_init(&st->lock, NULL);
	st->type = conf->type;
	atomic_init(&st->refs, 1);
	atomic_init(&st->up, true);
	atomic_init(&st->here, !conf->server.host && ip_addr_is_loopback(&conf->server.at.addr));
	*ret = st;
	return 0;
}

struct egress_state *state_ref(struct egress_state *st)
{
	atomic_fetch_add_explicit(&st->refs, 1, memory_order_relaxed);
	return st;
}

void state_unref(struct egress_state *st)
{
	if (!st || atomic_fetch_sub_explicit(&st->refs, 1, memory_order_acq_rel) > 1)
		return;
	pthread_mutex_destroy(&st->lock);
	free(st->name);
	free(st->server);
	free(st);
}

bool state_is_of(const struct egress_state *st, const struct conf_egress *conf)
{
	char server[EGRESS_HOST_MAX + 8];

	return st->type == conf->type && strcmp(st->name, conf->name) == 0 &&
	       strcmp(st->server, server_text(conf, server, sizeof server)) == 0;
}

void state_worked(struct egress_state *st, uint32_t rtt_us)
{
	if (rtt_us)
		atomic_store_explicit(&st->rtt_us, rtt_us, memory_order_relaxed);
	/* Looked at first: the line stays shared among the workers. */
	if (!atomic_load_explicit(&st->up, memory_order_relaxed))
		atomic_store_explicit(&st->up, true, memory_order_relaxed);
}

void state_failed(struct egress_state *st, bool count)
{
	atomic_store_explicit(&st->up, false, memory_order_relaxed);
	if (count)
		atomic_fetch_add_explicit(&st->failures, 1, memory_order_relaxed);
}

/* --- a named proxy's addresses --- */

size_t state_addresses_get(
	struct egress_state *st, int64_t now_ms, struct ip_addr *ret, bool *ret_fresh)
{
	size_t n;

	pthread_mutex_lock(&st->lock);
	n = st->n;
	memcpy(ret, st->addresses, n * sizeof *ret);
	*ret_fresh = n && st->valid_until_ms > now_ms;
	pthread_mutex_unlock(&st->lock);
	return n;
}

/* The families take turns, the one that came first begins: one that does not work costs one try. */
static size_t interleave(const struct ip_addr *v, size_t n, struct ip_addr *ret)
{
	size_t next[2] = {0, 0}, out = 0;
	bool second = false;

	while (out < EGRESS_ADDRESSES_MAX && (next[0] < n || next[1] < n)) {
		size_t *i = &next[second];

		while (*i < n && (v[*i].family != v[0].family) != second)
			++*i;
		if (*i < n)
			ret[out++] = v[(*i)++];
		second = !second;
	}
	return out;
}

void state_addresses_set(
	struct egress_state *st, const struct ip_addr *v, size_t n, uint32_t ttl_s, int64_t now_ms)
{
	pthread_mutex_lock(&st->lock);
	if (n) {
		st->n = interleave(v, n, st->addresses);
		st->valid_until_ms =
			now_ms +
			(int64_t)(ttl_s > EGRESS_ADDRESSES_MIN_S ? ttl_s : EGRESS_ADDRESSES_MIN_S) *
				1000;
	} else {
		st->valid_until_ms = now_ms + EGRESS_LOOKUP_AGAIN_MS;
	}
	pthread_mutex_unlock(&st->lock);
}

void state_address_worked(struct egress_state *st, const struct ip_addr *a)
{
	pthread_mutex_lock(&st->lock);
	for (size_t i = 1; i < st->n; i++) {
		if (!ip_addr_equal(&st->addresses[i], a))
			continue;
		st->addresses[i] = st->addresses[0];
		st->addresses[0] = *a;
		break;
	}
	pthread_mutex_unlock(&st->lock);
}
