/* The leases of all files, in two orders: by name, and by address. */
#include "gateway/policy/leases_internal.h"

#include <errno.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#define OF_NAME_MAX 64u /* of one name; more are left out */

/* --- order --- */

static int name_compare(const struct dns_name *a, const struct dns_name *b)
{
	return a->len != b->len ? (int)a->len - (int)b->len : memcmp(a->b, b->b, a->len);
}

static int address_compare(const struct ip_addr *a, const struct ip_addr *b)
{
	return a->family != b->family ? (int)a->family - (int)b->family
				      : memcmp(a->b, b->b, sizeof a->b);
}

static int lease_compare(const void *a, const void *b)
{
	const struct lease *p = a, *q = b;
	int order = name_compare(&p->name, &q->name);

	if (!order)
		order = (int)p->addr.family - (int)q->addr.family;
	return order ? order : p->order < q->order ? -1 : p->order > q->order;
}

static int by_address_compare(const void *a, const void *b)
{
	const struct lease_address *p = a, *q = b;
	int order = address_compare(&p->addr, &q->addr);

	return order ? order : p->order < q->order ? -1 : p->order > q->order;
}

/* A hosts line knows no MAC address, its lease does. */
static void lease_learn(struct lease *l, const struct lease *same)
{
	if (l->has_mac || !same->has_mac)
		return;
	l->has_mac = true;
	memcpy(l->mac, same->mac, sizeof l->mac);
}

/* The same name and address twice (a hosts line and its lease) is one. Those of one name are few.
 */
static void leases_unique(struct leases *l)
{
	size_t kept = 0, group = 0;

	for (size_t i = 0; i < l->n; i++) {
		const struct lease *lease = &l->leases[i];
		size_t j;

		if (kept == 0 || name_compare(&l->leases[kept - 1].name, &lease->name) != 0)
			group = kept;
		for (j = group; j < kept; j++)
			if (ip_addr_equal(&l->leases[j].addr, &lease->addr))
				break;
		if (j < kept)
			lease_learn(&l->leases[j], lease);
		else if (kept - group < OF_NAME_MAX)
			l->leases[kept++] = *lease;
	}
	l->n = kept;
}

static int leases_sort(struct leases *l)
{
	if (l->n > 1)
		qsort(l->leases, l->n, sizeof l->leases[0], lease_compare);
	leases_unique(l);
	l->by_address = malloc((l->n + 1) * sizeof l->by_address[0]);
	if (!l->by_address)
		return -ENOMEM;
	for (size_t i = 0; i < l->n; i++)
		l->by_address[i] =
			(struct lease_address){l->leases[i].addr, l->leases[i].order, (uint32_t)i};
	if (l->n > 1)
		qsort(l->by_address, l->n, sizeof l->by_address[0], by_address_compare);
	return 0;
}

/* --- life --- */

static int files_init(struct leases *l, const struct conf_strings *paths)
{
	l->files = calloc(paths->n + 1, sizeof *l->files);
	if (!l->files)
		return -ENOMEM;
	for (; l->n_files < paths->n; l->n_files++) {
		l->files[l->n_files].path = strdup(paths->v[l->n_files]);
		if (!l->files[l->n_files].path)
			return -ENOMEM;
	}
	return 0;
}

int leases_read(const struct conf_leases *c, int64_t now_s, const struct list_sink *complain_to,
	struct leases **ret)
{
	struct leases *l = calloc(1, sizeof *l);
	struct leases_reading r = {.l = l, .now_s = now_s, .complain = complain_to};
	int err;

	if (!l)
		return -ENOMEM;
	l->refs = 1;
	l->answer = c->answer;
	if (!c->domain || dns_name_parse(c->domain, strlen(c->domain), &l->domain) ||
		l->domain.labels == 0)
		l->domain.len = 0;
	err = files_init(l, &c->files);
	for (size_t i = 0; i < l->n_files && !err; i++)
		err = leases_file_read(&r, &l->files[i]);
	if (!err)
		err = leases_sort(l);
	if (err) {
		leases_unref(l);
		return err;
	}
	*ret = l;
	return 0;
}

struct leases *leases_ref(struct leases *l)
{
	atomic_fetch_add_explicit(&l->refs, 1, memory_order_relaxed);
	return l;
}

void leases_unref(struct leases *l)
{
	if (!l || atomic_fetch_sub_explicit(&l->refs, 1, memory_order_acq_rel) != 1)
		return;
	for (size_t i = 0; i < l->n_files; i++)
		free(l->files[i].path);
	free(l->files);
	free(l->leases);
	free(l->by_address);
	free(l);
}

bool leases_changed(const struct leases *l)
{
	for (size_t i = 0; i < l->n_files; i++) {
		struct list_stamp stamp;

		(void)list_stamp_read(l->files[i].path, &stamp);
		if (!list_stamp_equal(&stamp, &l->files[i].stamp))
			return true;
	}
	return false;
}

/* --- look-up --- */

/* The first lease of the name; l->n: it has none. */
static size_t name_find(const struct leases *l, const struct dns_name *name)
{
	struct dns_name full = *name;
	size_t from = 0, n = l->n;

	if (!leases_name_qualify(l, &full))
		return l->n;
	while (n > 0) {
		size_t half = n / 2;

		if (name_compare(&l->leases[from + half].name, &full) < 0) {
			from += half + 1;
			n -= half + 1;
		} else {
			n = half;
		}
	}
	return from < l->n && dns_name_equal(&l->leases[from].name, &full) ? from : l->n;
}

bool leases_hold(const struct leases *l, const struct dns_name *name)
{
	return name_find(l, name) < l->n;
}

size_t leases_addresses(const struct leases *l, const struct dns_name *name, uint8_t family,
	struct ip_addr *ret, size_t max)
{
	size_t first = name_find(l, name), found = 0;

	for (size_t i = first; i < l->n && found < max; i++) {
		if (name_compare(&l->leases[i].name, &l->leases[first].name) != 0)
			break;
		if (l->leases[i].addr.family == family)
			ret[found++] = l->leases[i].addr;
	}
	return found;
}

const struct dns_name *leases_name(const struct leases *l, const struct ip_addr *a)
{
	size_t from = 0, n = l->n;

	while (n > 0) {
		size_t half = n / 2;

		if (address_compare(&l->by_address[from + half].addr, a) < 0) {
			from += half + 1;
			n -= half + 1;
		} else {
			n = half;
		}
	}
	if (from == l->n || !ip_addr_equal(&l->by_address[from].addr, a))
		return NULL;
	return &l->leases[l->by_address[from].lease].name;
}

bool leases_client_is(
	const struct leases *l, const char *host, const struct ip_addr *addr, const uint8_t *mac)
{
	struct dns_name name;
	size_t first;

	if (!l || dns_name_parse(host, strlen(host), &name))
		return false;
	first = name_find(l, &name);
	for (size_t i = first; i < l->n; i++) {
		const struct lease *lease = &l->leases[i];

		if (name_compare(&lease->name, &l->leases[first].name) != 0)
			break;
		if (ip_addr_equal(&lease->addr, addr) ||
			(mac && lease->has_mac && memcmp(lease->mac, mac, LEASES_MAC_SIZE) == 0))
			return true;
	}
	return false;
}

bool leases_answer(const struct leases *l)
{
	return l->answer;
}

size_t leases_count(const struct leases *l)
{
	return l->n;
}
