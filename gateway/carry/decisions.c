/* Sets of WAYS entries. Neighbouring indexes share a set, since the table gives indexes out in a
 * row: memory is touched densely, and as long as there are not more mappings than room nothing is
 * evicted. */
#include "gateway/carry/decisions.h"

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/random.h>

#define WAYS  8u
#define LOCKS 64u

struct entry {
	struct decision decision;
	uint64_t owner;
	uint32_t index;
	uint32_t used_s; /* last; decides who gives way */
	uint32_t epoch;	 /* of the verdict */
	bool taken;
};

struct decisions {
	pthread_mutex_t locks[LOCKS];
	_Atomic uint32_t epoch; /* verdicts of another are forgotten */
	uint64_t hash_key;
	uint32_t sets;
	struct entry *entries;
};

int decisions_new(unsigned max, struct decisions **ret)
{
	struct decisions *d = calloc(1, sizeof *d);

	if (!d)
		return -ENOMEM;
	if (getrandom(&d->hash_key, sizeof d->hash_key, 0) != sizeof d->hash_key) {
		free(d);
		return -EIO;
	}
	d->sets = max < WAYS ? 1 : max / WAYS;
	/* Becomes resident as it is used. */
	d->entries = calloc((size_t)d->sets * WAYS, sizeof *d->entries);
	if (!d->entries) {
		free(d);
		return -ENOMEM;
	}
	for (unsigned i = 0; i < LOCKS; i++)
		pthread_mutex_init(&d->locks[i], NULL);
	*ret = d;
	return 0;
}

void decisions_free(struct decisions *d)
{
	if (!d)
		return;
	for (unsigned i = 0; i < LOCKS; i++)
		pthread_mutex_destroy(&d->locks[i]);
	free(d->entries);
	free(d);
}

struct decision_key decisions_key(
	const struct decisions *d, uint32_t index, const struct dns_name *name, uint64_t view)
{
	return (struct decision_key){
		.index = index, .owner = dns_name_hash(name, d->hash_key ^ view)};
}

static struct entry *set_of(struct decisions *d, uint32_t index)
{
	return d->entries + (size_t)(index / WAYS % d->sets) * WAYS;
}

static pthread_mutex_t *lock_of(struct decisions *d, uint32_t index)
{
	return &d->locks[index / WAYS % d->sets % LOCKS];
}

static struct entry *find(struct decisions *d, uint32_t index)
{
	struct entry *set = set_of(d, index);

	for (unsigned i = 0; i < WAYS; i++)
		if (set[i].taken && set[i].index == index)
			return &set[i];
	return NULL;
}

static struct entry *make(struct decisions *d, uint32_t index)
{
	struct entry *set = set_of(d, index), *best = set;

	for (unsigned i = 0; i < WAYS && best->taken; i++)
		if (!set[i].taken || set[i].used_s < best->used_s)
			best = &set[i];
	*best = (struct entry){.index = index, .taken = true};
	return best;
}

/* What is known is about another name. */
static void clear_foreign(struct entry *e, uint64_t owner)
{
	if (e->owner != owner)
		*e = (struct entry){.index = e->index, .taken = true, .owner = owner};
}

static void verdict_drop_old(struct decisions *d, struct entry *e)
{
	uint32_t epoch = atomic_load_explicit(&d->epoch, memory_order_relaxed);

	if (e->epoch == epoch)
		return;
	e->epoch = epoch;
	e->decision.rule = e->decision.egress = 0;
	e->decision.verdict_until_s = 0;
}

/* Locks; the caller changes the entry and unlocks. */
static struct decision *begin(struct decisions *d, struct decision_key k, uint32_t now_s)
{
	struct entry *e;

	pthread_mutex_lock(lock_of(d, k.index));
	e = find(d, k.index);
	if (!e)
		e = make(d, k.index);
	clear_foreign(e, k.owner);
	e->used_s = now_s;
	verdict_drop_old(d, e);
	return &e->decision;
}

static void end(struct decisions *d, uint32_t index)
{
	pthread_mutex_unlock(lock_of(d, index));
}

bool decisions_get(struct decisions *d, struct decision_key k, uint32_t now_s, struct decision *ret)
{
	struct entry *e;

	*ret = (struct decision){0};
	pthread_mutex_lock(lock_of(d, k.index));
	e = find(d, k.index);
	if (e && e->owner != k.owner)
		e = NULL;
	if (e) {
		e->used_s = now_s;
		verdict_drop_old(d, e);
		*ret = e->decision;
	}
	end(d, k.index);
	return e;
}

void decisions_set_verdict(struct decisions *d, struct decision_key k, uint64_t rule,
	uint64_t egress, uint32_t until_s, uint32_t now_s)
{
	struct decision *c = begin(d, k, now_s);

	c->rule = rule;
	c->egress = egress;
	c->verdict_until_s = until_s;
	end(d, k.index);
}

void decisions_set_pin(struct decisions *d, struct decision_key k, uint8_t family,
	const struct decision_pin *pin, uint32_t now_s)
{
	struct decision *c = begin(d, k, now_s);

	*(family == IP_V6 ? &c->pin6 : &c->pin4) = *pin;
	end(d, k.index);
}

void decisions_set_carried(struct decisions *d, struct decision_key k, uint64_t egress,
	enum decision_by by, uint32_t now_s)
{
	struct decision *c = begin(d, k, now_s);

	c->carried_by = egress;
	c->by = by;
	end(d, k.index);
}

void decisions_forget(struct decisions *d, uint32_t index)
{
	struct entry *e;

	pthread_mutex_lock(lock_of(d, index));
	e = find(d, index);
	if (e)
		e->taken = false;
	end(d, index);
}

void decisions_forget_verdicts(struct decisions *d)
{
	atomic_fetch_add(&d->epoch, 1);
}
