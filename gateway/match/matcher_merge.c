#include "gateway/match/matcher_internal.h"
#include "gateway/base/grow.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#define UNIONS	    1024 /* remembered ones */
#define TOUCH_BYTES (1u << 20)

/* One of the tables, at its smallest hash that is not merged yet. */
struct run {
	const struct matcher_table *t;
	uint32_t *map;	  /* its sets to ours, 0: left out; NULL: they are ours */
	bool is_whole;	  /* nothing is left out */
	uint32_t at, set; /* set: ours */
	uint64_t bucket, hash;
};

struct united {
	uint32_t a, b, both; /* both 0: empty */
};

struct merge {
	struct matcher_builder *b;
	struct run *runs; /* all; the first n_live are a heap, by hash, of those not at their end */
	size_t n_live, n_runs;
	struct matcher_writer w; /* t NULL: only counting */
	size_t n;		 /* names so far */
	/* For each set: how often it was united with others, less how often that gave it. */
	int32_t *united;
	size_t united_n, united_room;
	struct united memory[UNIONS];
};

/* --- sets --- */

static int element_compare(const void *a, const void *b)
{
	return (int)*(const uint16_t *)a - (int)*(const uint16_t *)b;
}

/* One set of a matcher that is joined, as one of ours. */
static int set_translate(
	struct matcher_builder *b, const struct matcher_from *from, uint32_t set, uint32_t *ret)
{
	const struct matcher_sets *s = &from->m->sets;
	size_t n = 0, kept = 0;

	for (uint32_t i = s->starts[set]; i < s->starts[set + 1]; i++) {
		int source = from->map[matcher_element_source(s->pool[i])];

		if (source >= 0)
			b->scratch[n++] =
				matcher_element((unsigned)source, matcher_element_kind(s->pool[i]));
	}
	qsort(b->scratch, n, sizeof b->scratch[0], element_compare);
	for (size_t i = 0; i < n; i++)
		if (kept == 0 || b->scratch[i] != b->scratch[kept - 1])
			b->scratch[kept++] = b->scratch[i];
	return matcher_intern(&b->sets, b->scratch, kept, ret);
}

static int sets_translate(
	struct matcher_builder *b, const struct matcher_from *from, uint32_t **ret)
{
	uint32_t n = from->m->sets.n, *map = malloc((n + 1u) * sizeof *map);
	int err = map ? 0 : -ENOMEM;

	for (uint32_t set = 0; set < n && !err; set++)
		err = set_translate(b, from, set, &map[set]);
	if (err)
		free(map);
	else
		*ret = map;
	return err;
}

/* The set of all elements of both. */
static int set_unite(struct merge *m, uint32_t a, uint32_t b, uint32_t *ret)
{
	const struct matcher_sets *s = &m->b->sets.sets;
	struct united *memory = &m->memory[(a * 0x9e3779b1u ^ b * 0x85ebca6bu) >> 22];
	uint32_t i = s->starts[a], j = s->starts[b], i_end = s->starts[a + 1],
		 j_end = s->starts[b + 1];
	size_t n = 0;
	int err;

	_Static_assert(UNIONS == 1 << (32 - 22), "the hash above");
	if (memory->both && memory->a == a && memory->b == b) {
		*ret = memory->both;
		return 0;
	}
	while (i < i_end || j < j_end) {
		bool is_a = j == j_end || (i < i_end && s->pool[i] <= s->pool[j]);
		bool is_b = i == i_end || (j < j_end && s->pool[j] <= s->pool[i]);

		m->b->scratch[n++] = is_a ? s->pool[i] : s->pool[j];
		i += is_a;
		j += is_b;
	}
	err = matcher_intern(&m->b->sets, m->b->scratch, n, ret);
	if (!err)
		*memory = (struct united){a, b, *ret};
	return err;
}

static int united_count(struct merge *m, uint32_t set, int by)
{
	size_t n = m->b->sets.sets.n;
	int err = n <= m->united_n ? 0
				   : room_grow((void **)&m->united, &m->united_room, m->united_n,
					     n - m->united_n, sizeof m->united[0]);

	if (err)
		return err;
	for (; m->united_n < n; m->united_n++)
		m->united[m->united_n] = 0;
	m->united[set] += by;
	return 0;
}

/* What more than one had counted is counted once. */
static void counts_correct(struct merge *m)
{
	const struct matcher_sets *s = &m->b->sets.sets;

	for (uint32_t set = 0; set < m->united_n; set++)
		for (uint32_t i = s->starts[set]; m->united[set] && i < s->starts[set + 1]; i++)
			m->b->counts[matcher_element_source(s->pool[i])] -=
				(uint32_t)m->united[set];
}

/* --- runs --- */

/* Goes on to the first entry from `at` on that is not left out; false: there is none. */
static inline bool run_load(struct run *r)
{
	const struct matcher_table *t = r->t;

	for (; r->at < t->n; r->at++) {
		uint64_t entry = t->entries[r->at];

		r->set = matcher_entry_set(t, entry);
		if (r->map)
			r->set = r->map[r->set];
		if (!r->set)
			continue;
		while (t->starts[r->bucket + 1] <= r->at)
			r->bucket++;
		r->hash = matcher_entry_hash(t, r->bucket, entry);
		return true;
	}
	return false;
}

/* Puts the heap's run i to its place among those below it. */
static void heap_sink(struct merge *m, size_t i)
{
	for (size_t child; (child = 2 * i + 1) < m->n_live; i = child) {
		struct run swap = m->runs[i];

		if (child + 1 < m->n_live && m->runs[child + 1].hash < m->runs[child].hash)
			child++;
		if (swap.hash <= m->runs[child].hash)
			return;
		m->runs[i] = m->runs[child];
		m->runs[child] = swap;
	}
}

/* The first run's next entry. */
static void heap_advance(struct merge *m)
{
	struct run *r = &m->runs[0];

	r->at++;
	if (!run_load(r)) {
		struct run ended = *r;

		*r = m->runs[--m->n_live];
		m->runs[m->n_live] = ended;
	}
	heap_sink(m, 0);
}

static void heap_make(struct merge *m)
{
	m->n_live = 0;
	for (size_t i = 0; i < m->n_runs; i++) {
		struct run *r = &m->runs[i];

		r->at = 0;
		r->bucket = 0;
		if (run_load(r)) {
			struct run swap = m->runs[m->n_live];

			m->runs[m->n_live++] = *r;
			*r = swap;
		}
	}
	for (size_t i = m->n_live / 2; i-- > 0;)
		heap_sink(m, i);
}

/* How many entries come before the hash. */
static uint32_t table_rank(const struct matcher_table *t, uint64_t hash)
{
	uint64_t bucket = matcher_bucket(t, hash);
	uint32_t at = t->starts[bucket];

	while (at < t->starts[bucket + 1] && matcher_entry_hash(t, bucket, t->entries[at]) < hash)
		at++;
	return at;
}

/* All that the first run has before the next one's hash: of one large table among small ones,
 * nearly everything. */
static void merge_stretch(struct merge *m)
{
	struct run r = m->runs[0];
	uint64_t limit = UINT64_MAX;
	bool more = true;

	for (size_t i = 1; i < 3 && i < m->n_live; i++)
		if (m->runs[i].hash < limit)
			limit = m->runs[i].hash;
	if (!m->w.t && r.is_whole && r.hash < limit) {
		uint32_t end = table_rank(r.t, limit);

		m->n += end - r.at;
		r.at = end;
		more = run_load(&r);
	}
	while (more && r.hash < limit) {
		if (m->w.t)
			matcher_write(&m->w, r.hash, r.set);
		m->n++;
		r.at++;
		more = run_load(&r);
	}
	m->runs[0] = r;
	if (more)
		heap_sink(m, 0);
	else
		heap_advance(m);
}

/* The name of the smallest hash, out of all runs that have it. */
static int merge_name(struct merge *m)
{
	uint64_t hash = m->runs[0].hash;
	uint32_t set = m->runs[0].set;
	bool united = false;
	int err = 0;

	for (heap_advance(m); !err && m->n_live > 0 && m->runs[0].hash == hash; heap_advance(m)) {
		uint32_t other = m->runs[0].set;

		if (!m->w.t) {
			err = united_count(m, other, 1);
			if (!err && !united)
				err = united_count(m, set, 1);
		}
		united = true;
		if (!err)
			err = set_unite(m, set, other, &set);
	}
	if (!err && united && !m->w.t)
		err = united_count(m, set, -1);
	if (!err && m->w.t)
		matcher_write(&m->w, hash, set);
	m->n++;
	return err;
}

static int merge_all(struct merge *m)
{
	int err = 0;

	m->n = 0;
	heap_make(m);
	while (m->n_live > 0 && !err) {
		err = merge_name(m);
		if (!err && m->n_live > 0)
			merge_stretch(m);
	}
	return err;
}

static int merge_init(struct merge *m, struct matcher_table *own)
{
	struct matcher_builder *b = m->b;

	m->runs = calloc(b->n_froms + 1, sizeof m->runs[0]);
	if (!m->runs)
		return -ENOMEM;
	m->runs[0] = (struct run){.t = own, .is_whole = true};
	m->n_runs = 1;
	for (size_t i = 0; i < b->n_froms; i++) {
		const struct matcher_from *from = &b->froms[i];
		struct run *r = &m->runs[m->n_runs];
		int err = sets_translate(b, from, &r->map);

		if (err)
			return err;
		r->t = &from->m->table;
		r->is_whole = true;
		for (uint32_t set = 1; set < from->m->sets.n; set++)
			r->is_whole &= r->map[set] != 0;
		m->n_runs++;
	}
	return 0;
}

static void merge_fini(struct merge *m)
{
	for (size_t i = 0; i < m->n_runs; i++)
		free(m->runs[i].map);
	free(m->runs);
	free(m->united);
	free(m);
}

/* All pages at once cost less than one by one when they are written (Linux 5.14; else nothing
 * happens). */
static void memory_touch(void *at, size_t size)
{
#ifdef MADV_POPULATE_WRITE
	size_t page = (size_t)sysconf(_SC_PAGESIZE);
	size_t before = (page - (uintptr_t)at % page) % page; /* the first whole page */

	if (size > TOUCH_BYTES)
		(void)madvise(
			(char *)at + before, (size - before) / page * page, MADV_POPULATE_WRITE);
#else
	(void)at;
	(void)size;
#endif
}

/* First counts, so that the table is as large as it must be and knows how many sets there are. */
static int merge_into(struct merge *m, struct matcher_table *ret)
{
	int err = merge_all(m);

	if (err)
		return err;
	if (m->n > MATCHER_NAMES_MAX)
		return -ENOSPC;
	counts_correct(m);
	ret->n = 0;
	ret->bits = matcher_table_bits(m->n, m->b->sets.sets.n);
	ret->starts = malloc(((1u << ret->bits) + 1u) * sizeof ret->starts[0]);
	ret->entries = malloc((m->n + 1) * sizeof ret->entries[0]);
	if (!ret->starts || !ret->entries)
		return -ENOMEM;
	memory_touch(ret->entries, (m->n + 1) * sizeof ret->entries[0]);
	m->w.t = ret;
	err = merge_all(m);
	matcher_write_end(&m->w);
	return err;
}

int matcher_merge(struct matcher_builder *b, struct matcher_table *t)
{
	struct merge *m = calloc(1, sizeof *m);
	struct matcher_table joined = {.n = 0};
	int err;

	if (!m)
		return -ENOMEM;
	m->b = b;
	err = merge_init(m, t);
	if (!err)
		err = merge_into(m, &joined);
	merge_fini(m);
	if (err) {
		matcher_table_free(&joined);
		return err;
	}
	matcher_table_free(t);
	*t = joined;
	return 0;
}
