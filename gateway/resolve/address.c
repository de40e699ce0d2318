/* Where servers are, as far as it is known: those that have failed last, and their family behind
 * the other one. What was known stays in use when its time is over. */
#include <errno.h>
#include <string.h>

#include "gateway/base/clock.h"
#include "gateway/resolve/server.h"

void server_addresses_init(struct server *s, const struct ip_addr *literal)
{
	pthread_mutex_init(&s->lock, NULL);
	if (literal) {
		s->addresses[0] = *literal;
		s->n_addresses = 1;
		s->addresses_until_ms = INT64_MAX;
	}
}

void server_addresses_fini(struct server *s)
{
	pthread_mutex_destroy(&s->lock);
}

bool server_address_is_usable(const struct ip_addr *a)
{
	static const uint8_t zero[16];

	if (memcmp(a->b, zero, sizeof zero) == 0)
		return false;
	return a->family == IP_V4 ? a->b[0] != 0 && a->b[0] < 224 : a->b[0] != 0xff;
}

int server_address(struct server *s, struct ip_port *ret, bool *ret_fresh)
{
	int error = 0;

	*ret_fresh = true;
	*ret = s->at;
	if (!s->host || s->by_name)
		return 0;
	pthread_mutex_lock(&s->lock);
	if (s->n_addresses) {
		ret->addr = s->addresses[0];
		*ret_fresh = clock_ms() < s->addresses_until_ms;
	} else {
		error = -EAGAIN;
	}
	pthread_mutex_unlock(&s->lock);
	return error;
}

size_t server_addresses_get(struct server *s, struct ip_addr *ret)
{
	size_t n;

	pthread_mutex_lock(&s->lock);
	n = s->n_addresses;
	memcpy(ret, s->addresses, n * sizeof *ret);
	pthread_mutex_unlock(&s->lock);
	return n;
}

static size_t find(const struct server *s, const struct ip_addr *a)
{
	size_t i = 0;

	while (i < s->n_addresses && !ip_addr_equal(&s->addresses[i], a))
		i++;
	return i;
}

/* Less goes first. */
static unsigned rank(const struct server *s, const struct ip_addr *a)
{
	size_t i = find(s, a);
	bool known = i < s->n_addresses;
	bool failed = known && (s->addresses_failed >> i & 1);

	return (a->family == s->family_failed) * 4U + failed * 2U + !(known && i == 0);
}

/* Keeps the order of equals. */
void server_addresses_put(struct server *s, const struct ip_addr *v, size_t n)
{
	struct ip_addr sorted[SERVER_ADDRESSES_MAX] = {0};
	size_t out = 0;
	uint8_t failed = 0;

	for (unsigned r = 0; r < 8; r++) {
		for (size_t i = 0; i < n; i++) {
			if (rank(s, &v[i]) != r)
				continue;
			if (r & 2)
				failed |= (uint8_t)(1U << out);
			sorted[out++] = v[i];
		}
	}
	memcpy(s->addresses, sorted, out * sizeof *sorted);
	s->n_addresses = out;
	s->addresses_failed = failed;
}

void server_address_failed(struct server *s, const struct ip_addr *a)
{
	struct ip_addr v[SERVER_ADDRESSES_MAX];
	int64_t again_ms;
	size_t i, n;

	if (!s->host)
		return;
	pthread_mutex_lock(&s->lock);
	i = find(s, a);
	n = s->n_addresses;
	if (i < n) {
		s->family_failed = a->family;
		s->addresses_failed |= (uint8_t)(1U << i);
		memcpy(v, s->addresses, n * sizeof *v);
		memmove(v + i, v + i + 1, (n - i - 1) * sizeof *v);
		v[n - 1] = *a; /* behind those that failed before */
		server_addresses_put(s, v, n);
	}
	again_ms = s->addresses_at_ms + (int64_t)SERVER_TTL_MIN_S * 1000;
	if (s->addresses_failed == (1U << n) - 1 && s->addresses_until_ms > again_ms)
		s->addresses_until_ms = again_ms; /* it may have moved */
	pthread_mutex_unlock(&s->lock);
}

bool server_has_address(struct server *s)
{
	bool has;

	pthread_mutex_lock(&s->lock);
	has = s->host && !s->by_name && s->n_addresses && !(s->addresses_failed & 1U);
	pthread_mutex_unlock(&s->lock);
	return has;
}

void server_addresses_forgive(struct server *s)
{
	pthread_mutex_lock(&s->lock);
	s->addresses_failed = 0;
	s->family_failed = IP_NONE;
	s->lookup_after_ms = 0;
	s->lookup_pause_ms = 0;
	pthread_mutex_unlock(&s->lock);
}

void server_addresses_load(struct server *s, const struct ip_addr *v, size_t n)
{
	pthread_mutex_lock(&s->lock);
	if (!s->n_addresses)
		server_addresses_put(s, v, n < SERVER_ADDRESSES_MAX ? n : SERVER_ADDRESSES_MAX);
	pthread_mutex_unlock(&s->lock);
}

void server_addresses_adopt(struct server *s, struct server *from)
{
	struct ip_addr v[SERVER_ADDRESSES_MAX];

	server_addresses_load(s, v, server_addresses_get(from, v));
}
