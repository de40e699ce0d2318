/* Clients: by address, MAC, interface, or the name of a DHCP lease. */
#include "gateway/policy/policy_internal.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "gateway/policy/leases.h"

bool policy_whom_asks(const struct policy_whom *w)
{
	return w->n_macs + w->n_hosts + w->n_interfaces > 0;
}

static void mac_format(const uint8_t *b, char *ret, size_t size)
{
	(void)snprintf(
		ret, size, "%02x:%02x:%02x:%02x:%02x:%02x", b[0], b[1], b[2], b[3], b[4], b[5]);
}

static const struct ip_prefix *prefix_match(
	const struct ip_prefix *v, size_t n, const struct ip_addr *a)
{
	for (size_t i = 0; i < n && a->family != IP_NONE; i++)
		if (ip_prefix_contains(&v[i], a))
			return &v[i];
	return NULL;
}

/* The first that is the client, as text in ret. */
static bool positive(const struct policy_whom *w, const struct policy_question *q, char *ret)
{
	const struct ip_prefix *prefix = prefix_match(w->prefixes, w->n_prefixes, &q->client);
	const struct policy_who *who = q->who;

	if (prefix) {
		if (ret)
			ip_prefix_format(prefix, ret);
		return true;
	}
	if (!who)
		return false;
	for (size_t i = 0; i < w->n_macs && who->has_mac; i++)
		if (memcmp(w->macs[i].b, who->mac, sizeof who->mac) == 0) {
			if (ret)
				mac_format(who->mac, ret, POLICY_WHOM_TEXT);
			return true;
		}
	for (size_t i = 0; i < w->n_interfaces; i++)
		if (strcmp(w->interfaces[i], who->interface) == 0) {
			if (ret)
				(void)snprintf(ret, POLICY_WHOM_TEXT, "if:%s", w->interfaces[i]);
			return true;
		}
	for (size_t i = 0; i < w->n_hosts && who->leases; i++)
		if (leases_client_is(
			    who->leases, w->hosts[i], &q->client, who->has_mac ? who->mac : NULL)) {
			if (ret)
				(void)snprintf(ret, POLICY_WHOM_TEXT, "host:%s", w->hosts[i]);
			return true;
		}
	return false;
}

bool policy_whom_matches(const struct policy_whom *w, const struct policy_question *q, char *ret)
{
	const struct ip_prefix *not = prefix_match(w->not, w->n_not, &q->client);
	bool all = w->n_prefixes + w->n_macs + w->n_hosts + w->n_interfaces == 0;

	/* Of a client that is not known nobody can say that it is not one of these. */
	if (q->client.family == IP_NONE)
		return false;
	if (not ) {
		if (ret) {
			ret[0] = '!';
			ip_prefix_format(not, ret + 1);
		}
		return false;
	}
	if (!all)
		return positive(w, q, ret);
	if (ret)
		(void)snprintf(ret, POLICY_WHOM_TEXT, "all others");
	return true;
}

struct text {
	char *buf;
	size_t size, len;
};

__attribute__((format(printf, 2, 3))) static void add(struct text *t, const char *format, ...)
{
	va_list args;
	int n;

	if (t->len + 1 >= t->size)
		return;
	if (t->len > 0)
		t->buf[t->len++] = ' ';
	va_start(args, format);
	n = vsnprintf(t->buf + t->len, t->size - t->len, format, args);
	va_end(args);
	if (n > 0)
		t->len = t->len + (size_t)n < t->size ? t->len + (size_t)n : t->size - 1;
}

void policy_whom_format(const struct policy_whom *w, char *buf, size_t size)
{
	struct text t = {buf, size, 0};
	char text[IP_TEXT_MAX];

	buf[0] = 0;
	for (size_t i = 0; i < w->n_prefixes; i++)
		add(&t, "%s", ip_prefix_format(&w->prefixes[i], text));
	for (size_t i = 0; i < w->n_macs; i++) {
		mac_format(w->macs[i].b, text, sizeof text);
		add(&t, "%s", text);
	}
	for (size_t i = 0; i < w->n_hosts; i++)
		add(&t, "host:%s", w->hosts[i]);
	for (size_t i = 0; i < w->n_interfaces; i++)
		add(&t, "if:%s", w->interfaces[i]);
	for (size_t i = 0; i < w->n_not; i++)
		add(&t, "!%s", ip_prefix_format(&w->not [i], text));
}
