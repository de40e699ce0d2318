/* A table of names in the order in which they were asked. */
#include "gateway/learned/learned_internal.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define BUCKETS_MIN	64
#define CLOCK_TRUSTED_S INT64_C(1704067200) /* 2024 */

int64_t learned_time_believed(int64_t t_s, int64_t now_s)
{
	if (now_s < CLOCK_TRUSTED_S)
		return t_s;
	return t_s < CLOCK_TRUSTED_S || t_s > now_s ? now_s : t_s;
}

struct why *learned_why_new(const struct learned_why *why)
{
	size_t n =
		why->n_addresses < LEARNED_ADDRESSES_MAX ? why->n_addresses : LEARNED_ADDRESSES_MAX;
	struct why *w = calloc(1, sizeof *w + n * sizeof w->addresses[0]);

	if (!w)
		return NULL;
	if (why->list)
		strncpy(w->list, why->list, sizeof w->list - 1);
	w->n_addresses = n;
	if (n)
		memcpy(w->addresses, why->addresses, n * sizeof w->addresses[0]);
	return w;
}

void learned_entry_free(struct entry *e)
{
	if (e)
		free(e->why);
	free(e);
}

/* --- buckets --- */

static int buckets_grow(struct names *t)
{
	size_t n = t->n_buckets ? t->n_buckets * 2 : BUCKETS_MIN;
	struct entry **fresh;

	if (t->n < t->n_buckets)
		return 0;
	fresh = calloc(n, sizeof(*fresh));
	if (!fresh)
		return t->n_buckets ? 0 : -ENOMEM; /* longer chains, then */
	for (size_t i = 0; i < t->n_buckets; i++) {
		struct entry *next;

		for (struct entry *e = t->buckets[i]; e; e = next) {
			struct entry **to = &fresh[e->hash & (n - 1)];

			next = e->next;
			e->next = *to;
			*to = e;
		}
	}
	free(t->buckets);
	t->buckets = fresh;
	t->n_buckets = n;
	t->version++;
	return 0;
}

struct entry *learned_names_find(const struct names *t, const struct dns_name *name, uint64_t hash)
{
	struct entry *e = t->n_buckets ? t->buckets[hash & (t->n_buckets - 1)] : NULL;

	while (e && (e->hash != hash || e->len != name->len ||
			    memcmp(e->name, name->b, name->len) != 0))
		e = e->next;
	return e;
}

/* --- order --- */

static void order_add(struct names *t, struct entry *e)
{
	e->newer = NULL;
	e->older = t->newest;
	if (t->newest)
		t->newest->newer = e;
	else
		t->oldest = e;
	t->newest = e;
	e->use = ++t->uses;
}

static void order_remove(struct names *t, struct entry *e)
{
	if (e->newer)
		e->newer->older = e->older;
	else
		t->newest = e->older;
	if (e->older)
		e->older->newer = e->newer;
	else
		t->oldest = e->newer;
}

void learned_names_touch(struct names *t, struct entry *e)
{
	if (t->newest == e)
		return;
	order_remove(t, e);
	order_add(t, e);
}

int learned_names_take(struct names *t, struct entry *e)
{
	struct entry **bucket;

	if (buckets_grow(t))
		return -ENOMEM;
	bucket = &t->buckets[e->hash & (t->n_buckets - 1)];
	e->next = *bucket;
	*bucket = e;
	order_add(t, e);
	t->n++;
	return 0;
}

struct entry *learned_names_add(struct names *t, const struct dns_name *name, uint64_t hash)
{
	struct entry *e = calloc(1, sizeof *e + name->len);

	if (!e)
		return NULL;
	e->hash = hash;
	e->len = name->len;
	e->labels = name->labels;
	memcpy(e->name, name->b, name->len);
	if (learned_names_take(t, e)) {
		free(e);
		return NULL;
	}
	return e;
}

void learned_names_unlink(struct names *t, struct entry *e)
{
	struct entry **at = &t->buckets[e->hash & (t->n_buckets - 1)];

	while (*at != e)
		at = &(*at)->next;
	*at = e->next;
	order_remove(t, e);
	t->n--;
}

void learned_names_delete(struct names *t, struct entry *e)
{
	learned_names_unlink(t, e);
	learned_entry_free(e);
}

void learned_names_empty(struct names *t)
{
	struct entry *older;

	for (struct entry *e = t->newest; e; e = older) {
		older = e->older;
		learned_entry_free(e);
	}
	free(t->buckets);
	*t = (struct names){.key = t->key, .version = t->version + 1};
}

/* --- sorting --- */

struct placed {
	int64_t asked_s;
	struct entry *e;
};

static int by_time(const void *a, const void *b)
{
	const struct placed *x = a, *y = b;

	if (x->asked_s != y->asked_s)
		return x->asked_s < y->asked_s ? -1 : 1;
	return x->e->use < y->e->use ? -1 : 1;
}

int learned_names_sort(struct names *t, int64_t now_s)
{
	struct placed *v;
	size_t n = 0;

	if (t->n < 2)
		return 0;
	v = malloc(t->n * sizeof *v);
	if (!v)
		return -ENOMEM;
	for (struct entry *e = t->newest; e; e = e->older)
		v[n++] = (struct placed){e->timed ? e->asked_s : now_s, e};
	qsort(v, n, sizeof *v, by_time);
	t->newest = t->oldest = NULL;
	for (size_t i = 0; i < n; i++)
		order_add(t, v[i].e);
	free(v);
	return 0;
}
