/* The table of learned names, as threads share it. */
#include "gateway/learned/learned_internal.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "gateway/base/arena.h"
#include "gateway/base/grow.h"

#define CLAIM_S	  60  /* so long one caller has the verification to do */
#define PUT_OFF_S 300 /* after one without an answer */
#define CHUNK	  256 /* buckets that are copied without letting go of the lock */

/* --- the filter --- */

#define FILTER_MIN    (1U << 12)
#define FILTER_MAX    (1U << 23)
#define FILTER_A_NAME 8	  /* places: every eighth name or so that is not learned meets one */
#define FILTER_STICKS 255 /* it counts no further, and not back */

static struct filter *filter_new(uint32_t capacity)
{
	uint32_t n = FILTER_MIN;
	struct filter *f;

	while (n < FILTER_MAX && n / FILTER_A_NAME < capacity)
		n *= 2;
	f = calloc(1, sizeof *f + n);
	if (f)
		f->mask = n - 1;
	return f;
}

static _Atomic uint8_t *filter_count(struct filter *f, uint64_t hash)
{
	return &f->counts[(hash >> 32) & f->mask];
}

static void count_up(struct filter *f, uint64_t hash)
{
	_Atomic uint8_t *count = filter_count(f, hash);
	uint8_t n = atomic_load_explicit(count, memory_order_relaxed);

	if (n < FILTER_STICKS)
		atomic_store_explicit(count, (uint8_t)(n + 1), memory_order_relaxed);
}

void learned_filter_add(struct learned *l, const struct entry *e)
{
	count_up(l->filter, e->hash);
}

void learned_filter_sub(struct learned *l, const struct entry *e)
{
	_Atomic uint8_t *count = filter_count(l->filter, e->hash);
	uint8_t n = atomic_load_explicit(count, memory_order_relaxed);

	if (n < FILTER_STICKS)
		atomic_store_explicit(count, (uint8_t)(n - 1), memory_order_relaxed);
}

static bool filter_holds(struct learned *l, uint64_t hash)
{
	struct filter *f = atomic_load_explicit(&l->filter, memory_order_acquire);

	return atomic_load_explicit(filter_count(f, hash), memory_order_relaxed) != 0;
}

/* For a larger table. Without memory the old one tells less, but nothing wrong. */
static void filter_grow(struct learned *l)
{
	struct filter *old = l->filter, *f = filter_new(l->config.capacity);

	if (!f || f->mask <= old->mask) {
		free(f);
		return;
	}
	for (const struct entry *e = l->names.newest; e; e = e->older)
		count_up(f, e->hash);
	f->before = old;
	atomic_store_explicit(&l->filter, f, memory_order_release);
}

static void filters_free(struct filter *f)
{
	while (f) {
		struct filter *before = f->before;

		free(f);
		f = before;
	}
}

/* --- life --- */

static void drop(struct learned *l, struct entry *e)
{
	learned_filter_sub(l, e);
	learned_names_delete(&l->names, e);
}

/* What is beyond it stays in the file until that is written anew: reading bounds it, too. */
void learned_bound(struct learned *l)
{
	while (l->names.n > l->config.capacity) {
		drop(l, l->names.oldest);
		l->evicted_capacity++;
	}
}

static struct learned_config config_usable(const struct learned_config *config)
{
	struct learned_config c = *config;

	c.capacity = c.capacity ? c.capacity : 1;
	return c;
}

static void learned_free(struct learned *l)
{
	learned_names_empty(&l->names);
	filters_free(l->filter);
	free(l->head.text);
	free(l->late);
	free(l->path);
	pthread_mutex_destroy(&l->lock);
	pthread_mutex_destroy(&l->file_lock);
	pthread_cond_destroy(&l->was_written);
	free(l);
}

static struct learned *learned_new(const char *path, const struct learned_config *config)
{
	struct learned *l = calloc(1, sizeof *l);

	if (!l)
		return NULL;
	pthread_mutex_init(&l->lock, NULL);
	pthread_mutex_init(&l->file_lock, NULL);
	pthread_cond_init(&l->was_written, NULL);
	atomic_init(&l->refs, 1);
	l->config = config_usable(config);
	atomic_init(&l->capacity, l->config.capacity);
	l->path = strdup(path);
	l->filter = filter_new(l->config.capacity);
	if (!l->path || !l->filter || getrandom(&l->key, sizeof l->key, 0) != sizeof l->key) {
		learned_free(l);
		return NULL;
	}
	return l;
}

int learned_open(const char *path, const struct learned_config *config, int64_t now_s,
	learned_complain *complain, void *arg, struct learned **ret)
{
	struct learned *l = learned_new(path, config);
	struct reading r;
	int err;

	if (!l)
		return -ENOMEM;
	err = learned_read(path, l->key, l->config.capacity, now_s, complain, arg, &r);
	if (err) {
		learned_free(l);
		return err;
	}
	l->names = r.names;
	l->head = r.head;
	l->lines = r.lines;
	l->ended = r.ended;
	l->torn = r.torn;
	l->unwritten = r.torn;
	l->known = r.stamp;
	l->restored = l->names.n;
	l->wrote_s = l->tried_s = now_s;
	for (const struct entry *e = l->names.newest; e; e = e->older)
		learned_filter_add(l, e);
	*ret = l;
	return 0;
}

struct learned *learned_ref(struct learned *l)
{
	atomic_fetch_add(&l->refs, 1);
	return l;
}

void learned_unref(struct learned *l)
{
	if (!l || atomic_fetch_sub(&l->refs, 1) != 1)
		return;
	learned_file_last(l);
	learned_free(l);
}

const char *learned_path(const struct learned *l)
{
	return l->path;
}

static bool config_equal(const struct learned_config *a, const struct learned_config *b)
{
	return a->capacity == b->capacity && a->max_age_s == b->max_age_s &&
	       a->verify_s == b->verify_s;
}

void learned_configure(struct learned *l, const struct learned_config *config)
{
	struct learned_config c = config_usable(config);

	pthread_mutex_lock(&l->lock);
	if (!config_equal(&l->config, &c)) {
		l->config = c;
		atomic_store(&l->capacity, c.capacity);
		filter_grow(l);
		learned_bound(l);
		l->next_old_s = INT64_MIN;
	}
	pthread_mutex_unlock(&l->lock);
}

/* --- names --- */

/* Under the lock. */
static bool is_old(struct learned *l, struct entry *e, int64_t now_s)
{
	if (!e->timed || !l->config.max_age_s)
		return false;
	e->asked_s = learned_time_believed(e->asked_s, now_s);
	return now_s - e->asked_s > l->config.max_age_s;
}

static void drop_old(struct learned *l, struct entry *e)
{
	drop(l, e);
	l->evicted_age++;
	l->aged = true;
}

static struct entry *find(
	struct learned *l, const struct dns_name *name, uint64_t hash, int64_t now_s)
{
	struct entry *e = learned_names_find(&l->names, name, hash);

	if (e && is_old(l, e, now_s)) {
		drop_old(l, e);
		e = NULL;
	}
	return e;
}

static void note_asked(struct learned *l, struct entry *e, int64_t now_s)
{
	learned_names_touch(&l->names, e);
	if (!e->timed || e->asked_s == now_s)
		return;
	e->asked_s = learned_time_believed(e->asked_s, now_s) > now_s ? e->asked_s : now_s;
	l->times_changed = true;
}

static bool claim(const struct learned *l, struct entry *e, int64_t now_s)
{
	if (!e->timed || !l->config.verify_s)
		return false;
	if (e->quiet_s > now_s && e->quiet_s <= now_s + PUT_OFF_S)
		return false;
	if (e->verified_s)
		e->verified_s = learned_time_believed(e->verified_s, now_s);
	if (e->verified_s && now_s - e->verified_s < l->config.verify_s)
		return false;
	e->quiet_s = now_s + CLAIM_S;
	return true;
}

bool learned_holds(struct learned *l, const struct dns_name *name, int64_t now_s, bool *ret_due)
{
	uint64_t hash = dns_name_hash(name, l->key);
	struct entry *e;
	bool due = false;

	if (ret_due)
		*ret_due = false;
	if (!filter_holds(l, hash))
		return false;
	pthread_mutex_lock(&l->lock);
	e = find(l, name, hash, now_s);
	if (e) {
		note_asked(l, e, now_s);
		due = ret_due && claim(l, e, now_s);
	}
	pthread_mutex_unlock(&l->lock);
	if (due)
		*ret_due = true;
	return e != NULL;
}

bool learned_peek(struct learned *l, const struct dns_name *name)
{
	uint64_t hash = dns_name_hash(name, l->key);
	bool holds;

	if (!filter_holds(l, hash))
		return false;
	pthread_mutex_lock(&l->lock);
	holds = learned_names_find(&l->names, name, hash) != NULL;
	pthread_mutex_unlock(&l->lock);
	return holds;
}

static struct entry *add_new(
	struct learned *l, const struct dns_name *name, uint64_t hash, int64_t now_s)
{
	struct entry *e = learned_names_add(&l->names, name, hash);

	if (!e)
		return NULL;
	e->timed = true;
	e->asked_s = e->learned_s = now_s;
	learned_filter_add(l, e);
	l->learned++;
	learned_bound(l); /* never this one: it is the newest */
	return e;
}

static void note_verified(struct learned *l, struct entry *e, struct why *why, int64_t now_s)
{
	free(e->why);
	e->why = why;
	e->quiet_s = 0;
	note_asked(l, e, now_s);
	if (e->timed && e->verified_s != now_s) {
		e->verified_s = now_s;
		l->times_changed = true;
	}
}

int learned_add(struct learned *l, const struct dns_name *name, const struct learned_why *why,
	int64_t now_s)
{
	uint64_t hash = dns_name_hash(name, l->key);
	struct why *w = why ? learned_why_new(why) : NULL;
	struct entry *e;
	bool is_new;

	if (why && !w)
		return -ENOMEM;
	pthread_mutex_lock(&l->lock);
	e = find(l, name, hash, now_s);
	is_new = !e;
	if (is_new)
		e = add_new(l, name, hash, now_s);
	if (e)
		note_verified(l, e, w, now_s);
	pthread_mutex_unlock(&l->lock);
	if (!e) {
		free(w);
		return -ENOMEM;
	}
	if (is_new)
		(void)learned_file_append(l, name, now_s); /* told by learned_info() */
	return is_new;
}

bool learned_remove(struct learned *l, const struct dns_name *name)
{
	uint64_t hash = dns_name_hash(name, l->key);
	struct entry *e;

	pthread_mutex_lock(&l->lock);
	e = learned_names_find(&l->names, name, hash);
	if (e) {
		drop(l, e);
		l->unlearned++;
		l->removed = true;
	}
	pthread_mutex_unlock(&l->lock);
	return e != NULL;
}

void learned_put_off(struct learned *l, const struct dns_name *name, int64_t now_s)
{
	struct entry *e;

	pthread_mutex_lock(&l->lock);
	e = learned_names_find(&l->names, name, dns_name_hash(name, l->key));
	if (e)
		e->quiet_s = now_s + PUT_OFF_S;
	pthread_mutex_unlock(&l->lock);
}

/* They are in the order of asking, but for those without times. What is next was told by a clock
 * that has gone back since if it lies further ahead than a name can. */
void learned_age(struct learned *l, int64_t now_s)
{
	struct entry *e, *newer;
	int64_t all_s;

	pthread_mutex_lock(&l->lock);
	all_s = now_s + l->config.max_age_s;
	e = l->names.oldest;
	if (!l->config.max_age_s || (now_s < l->next_old_s && l->next_old_s <= all_s))
		e = NULL;
	if (e)
		l->next_old_s = all_s;
	for (; e; e = newer) {
		newer = e->newer;
		if (!e->timed)
			continue;
		if (!is_old(l, e, now_s)) {
			l->next_old_s = e->asked_s + l->config.max_age_s;
			break;
		}
		drop_old(l, e);
	}
	pthread_mutex_unlock(&l->lock);
}

/* --- all of them --- */

static int copy_entry(struct copies *c, const struct entry *e, bool with_why)
{
	struct arena *arena = c->chunks;
	struct copy *to;

	if (room_grow((void **)&c->v, &c->room, c->n, 1, sizeof *c->v))
		return -ENOMEM;
	to = &c->v[c->n];
	*to = (struct copy){.use = e->use,
		.asked_s = e->asked_s,
		.verified_s = e->verified_s,
		.learned_s = e->learned_s,
		.timed = e->timed,
		.len = e->len,
		.labels = e->labels};
	to->name = arena_copy(arena, e->name, e->len);
	if (with_why && e->why)
		to->why = arena_copy(arena, e->why,
			sizeof *e->why + e->why->n_addresses * sizeof e->why->addresses[0]);
	c->n++;
	return arena_failed(arena) ? -ENOMEM : 0;
}

/* Buckets from *at on. Again from the first if entries have changed their buckets meanwhile: what
 * came, went or was asked meanwhile may be there or not, everything else is there once. */
static int copy_chunk(
	struct learned *l, bool with_why, size_t *at, unsigned *version, struct copies *c)
{
	const struct names *t = &l->names;
	int err = 0;

	if (*version != t->version) {
		*version = t->version;
		*at = c->n = 0;
	}
	for (unsigned i = 0; i < CHUNK && *at < t->n_buckets && !err; i++, (*at)++)
		for (const struct entry *e = t->buckets[*at]; e && !err; e = e->next)
			err = copy_entry(c, e, with_why);
	return err ? err : *at < t->n_buckets;
}

static int by_use(const void *a, const void *b)
{
	const struct copy *x = a, *y = b;

	return x->use < y->use ? -1 : x->use > y->use;
}

int learned_copies_take(struct learned *l, bool with_why, struct copies *ret)
{
	unsigned version = 0;
	size_t at = SIZE_MAX;
	int more;

	*ret = (struct copies){.chunks = arena_new()};
	if (!ret->chunks)
		return -ENOMEM;
	do {
		pthread_mutex_lock(&l->lock);
		if (at == SIZE_MAX) {
			version = l->names.version;
			at = 0;
		}
		more = copy_chunk(l, with_why, &at, &version, ret);
		pthread_mutex_unlock(&l->lock);
	} while (more > 0);
	if (more < 0) {
		learned_copies_fini(ret);
		return more;
	}
	if (ret->n)
		qsort(ret->v, ret->n, sizeof *ret->v, by_use);
	return 0;
}

void learned_copies_fini(struct copies *c)
{
	free(c->v);
	arena_free(c->chunks);
	*c = (struct copies){0};
}

void learned_each(struct learned *l, learned_visit *visit, void *arg)
{
	struct copies c;

	if (learned_copies_take(l, true, &c))
		return;
	for (size_t i = c.n; i-- > 0;) {
		const struct copy *from = &c.v[i];
		struct dns_name name = {.len = from->len, .labels = from->labels};
		struct learned_name n = {.name = &name,
			.learned_at_s = from->learned_s,
			.asked_at_s = from->asked_s,
			.verified_at_s = from->verified_s};

		memcpy(name.b, from->name, from->len);
		if (from->why) {
			n.list = from->why->list[0] ? from->why->list : NULL;
			n.addresses = from->why->addresses;
			n.n_addresses = from->why->n_addresses;
		}
		visit(arg, &n);
	}
	learned_copies_fini(&c);
}

void learned_info(struct learned *l, struct learned_info *ret)
{
	*ret = (struct learned_info){0};
	pthread_mutex_lock(&l->file_lock);
	ret->lines = l->lines;
	ret->error = l->error;
	ret->compactions = l->compactions;
	pthread_mutex_unlock(&l->file_lock);
	pthread_mutex_lock(&l->lock);
	ret->names = l->names.n;
	ret->learned = l->learned;
	ret->unlearned = l->unlearned;
	ret->evicted_capacity = l->evicted_capacity;
	ret->evicted_age = l->evicted_age;
	ret->restored = l->restored;
	pthread_mutex_unlock(&l->lock);
}
