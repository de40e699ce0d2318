/* Random steps against what clients were told: the table is asked by a world that remembers every
 * promise. A promise is an address that was answered for a name, good until the answer's TTL, the
 * last packet and the last flow are over, and the hold after them. Whatever happens (a crash in any
 * write, a full disk, a flush, a snapshot, a sweep, other times, other pools), a promise is kept
 * or, where nothing could be written, forgotten; the address never means another name meanwhile.
 *
 * TUNGATE_STEPS: how many steps in all, in thousands. */
#include "test_fakeip.h"

#define NAMES	  24
#define VIEWS	  2
#define ADDRESSES 32 /* of 198.18.0.0/27 */
#define TTL_MAX	  7

struct promise {
	int key;	/* -1: none */
	uint32_t use_s; /* somebody may use it up to here, without the hold */
	bool over;	/* it was, with a shorter hold */
	bool written;	/* it must survive a crash */
	bool flushed, flush_written;
	unsigned flows;	 /* of ours */
	unsigned kernel; /* flows that only a sweep meets */
};

struct world {
	struct fakeip_pool_config pools;
	struct fakeip_table *t;
	struct test_file file;
	uint64_t random;
	uint32_t now_s, swept_s, restart_s;
	struct promise at[ADDRESSES];
	int index_of[NAMES *
		     VIEWS]; /* address of a key that is not flushed; 0: none that we know */
	size_t dies_after;   /* bytes; SIZE_MAX: lives on */
	bool dead, lost;
	unsigned crashes, losses, snapshots, flushes, sweeps, reuses, exhausted, moves;
};

static uint32_t pick(struct world *w, uint32_t n)
{
	w->random ^= w->random << 13;
	w->random ^= w->random >> 7;
	w->random ^= w->random << 17;
	return (uint32_t)(w->random >> 32) % n;
}

/* --- a file that is written up to some byte, and then the process is dead --- */

static ssize_t write_until_death(struct world *w, const void *data, size_t len,
	ssize_t (*write)(void *arg, const void *data, size_t len))
{
	size_t n = len < w->dies_after ? len : w->dies_after;

	if (w->dead)
		return -EIO;
	w->dies_after -= w->dies_after == SIZE_MAX ? 0 : n;
	if (n == len)
		return write(&w->file, data, len);
	w->dead = true;
	(void)write(&w->file, data, n);
	return -EIO;
}

static ssize_t append(void *arg, const void *data, size_t len)
{
	return write_until_death(arg, data, len, test_file_append);
}

static ssize_t add(void *arg, const void *data, size_t len)
{
	return write_until_death(arg, data, len, test_file_add);
}

static int cut(void *arg, uint64_t len)
{
	struct world *w = arg;

	return w->dead ? -EIO : test_file_truncate(&w->file, len);
}

static int sync_it(void *arg)
{
	struct world *w = arg;

	return w->dead ? -EIO : test_file_sync(&w->file);
}

static ssize_t read_it(void *arg, uint64_t at, void *data, size_t len)
{
	struct world *w = arg;

	return test_file_read(&w->file, at, data, len);
}

static int begin(void *arg)
{
	struct world *w = arg;

	return w->dead ? -EIO : test_file_begin(&w->file);
}

static int become(void *arg)
{
	struct world *w = arg;

	return w->dead ? -EIO : test_file_become(&w->file);
}

static void drop(void *arg)
{
	struct world *w = arg;

	test_file_drop(&w->file);
}

static struct fakeip_log_io io(struct world *w)
{
	return (struct fakeip_log_io){.arg = w,
		.append = append,
		.truncate = cut,
		.sync = sync_it,
		.read = read_it,
		.snapshot = {begin, add, sync_it, become, drop}};
}

/* --- what must hold --- */

static unsigned base(const struct world *w)
{
	return w->pools.net4[3];
}

static unsigned size(const struct world *w)
{
	return (1U << (32 - w->pools.len4)) - 1;
}

static uint32_t clock_s(const struct world *w)
{
	return w->pools.needs_sweep && w->swept_s < w->now_s ? w->swept_s : w->now_s;
}

static bool is_busy(const struct world *w, const struct promise *p)
{
	return p->key >= 0 && !p->over &&
	       (p->flows || p->kernel || p->use_s + w->pools.hold_s >= clock_s(w));
}

static int key_of(const struct fakeip_mapping *m)
{
	int number = 0;

	assert_int_equal(m->name[1], 'n');
	for (unsigned i = 2; i <= m->name[0]; i++)
		number = number * 10 + m->name[i] - '0';
	assert_in_range(number, 0, NAMES - 1);
	assert_in_range(m->view, 0, VIEWS - 1);
	return number * VIEWS + (int)m->view;
}

static void check_address(const struct world *w, unsigned address)
{
	const struct promise *p = &w->at[address];
	struct fakeip_mapping m;
	int r = fakeip_get(w->t, address - base(w), &m);

	if (!is_busy(w, p))
		return;
	assert_int_equal(r, 0);
	assert_int_equal(key_of(&m), p->key);
	assert_int_equal(m.flows, p->flows);
	assert_int_equal(m.flushed, p->flushed);
	assert_int_equal(m.v4[3], address);
}

static void check_all(const struct world *w)
{
	for (unsigned i = 2; i < size(w); i++)
		check_address(w, base(w) + i);
	test_bijection(w->t);
}

/* Then every address is taken, or waits: since the start at the latest. */
static void check_exhausted(const struct world *w)
{
	uint32_t waits_s = w->restart_s + TTL_MAX + w->pools.hold_s;

	if (!fakeip_is_persistent(w->t) || waits_s + 1 >= clock_s(w))
		return;
	for (unsigned i = 2; i < size(w); i++) {
		const struct promise *p = &w->at[base(w) + i];

		assert_true(p->over || p->flows || p->kernel ||
			    p->use_s + TTL_MAX + w->pools.hold_s + 1 >= clock_s(w));
	}
}

/* --- steps --- */

static void use_until(struct promise *p, uint32_t use_s)
{
	p->use_s = p->use_s < use_s ? use_s : p->use_s;
	p->over = false;
}

static void step_assign(struct world *w)
{
	int key = (int)pick(w, NAMES * VIEWS), known = w->index_of[key];
	struct test_name n = test_name_number((unsigned)key / VIEWS);
	struct fakeip_pair pair;
	struct promise *p;
	int r = fakeip_assign(
		w->t, n.b, n.len, n.hash, (uint64_t)key % VIEWS, pick(w, 3), w->now_s, &pair);
	bool must = known && is_busy(w, &w->at[known]);
	unsigned address;

	if (w->dead)
		return;
	if (r) {
		assert_int_equal(r, -ENOSPC);
		assert_false(must);
		w->exhausted++;
		check_exhausted(w);
		return;
	}
	address = base(w) + pair.index;
	assert_in_range(pair.index, 2, size(w) - 1);
	assert_int_equal(pair.v4[3], address);
	p = &w->at[address];
	if (must)
		assert_int_equal(address, known);
	if (p->key != key || p->flushed) {
		/* Nobody can have it in mind any more. */
		assert_false(is_busy(w, p));
		w->reuses += p->key >= 0;
		if (p->key >= 0 && w->index_of[p->key] == (int)address)
			w->index_of[p->key] = 0;
		*p = (struct promise){.key = key};
	}
	if (w->index_of[key] && w->index_of[key] != (int)address)
		assert_false(is_busy(w, &w->at[w->index_of[key]]));
	p->written = !pair.pending && (p->written || fakeip_is_persistent(w->t));
	w->index_of[key] = (int)address;
	use_until(p, w->now_s + w->pools.ttl_s);
}

static void step_commit(struct world *w)
{
	int r = fakeip_commit(w->t);

	if (w->dead)
		return;
	if (r)
		assert_false(fakeip_is_persistent(w->t));
	for (unsigned i = 0; i < ADDRESSES && fakeip_is_persistent(w->t); i++) {
		w->at[i].written = true;
		w->at[i].flush_written = w->at[i].flushed;
	}
}

static void step_use(struct world *w, uint32_t what)
{
	unsigned address = base(w) + 2 + pick(w, size(w) - 2);
	uint32_t index = address - base(w), until_s = w->now_s + pick(w, 20);
	struct promise *p = &w->at[address];

	if (!is_busy(w, p))
		return;
	if (what == 0) {
		fakeip_touch(w->t, index, w->now_s);
		use_until(p, w->now_s);
	} else if (what == 1) {
		fakeip_touch_until(w->t, index, until_s);
		use_until(p, until_s);
	} else if (what == 2 && p->flows < 2) {
		fakeip_hold(w->t, index);
		p->flows++;
	} else if (what <= 3 && p->flows) {
		fakeip_release(w->t, index);
		p->flows--;
	} else if (what == 4 && w->pools.needs_sweep && p->use_s + w->pools.hold_s >= w->now_s) {
		p->kernel = 1;
	} else if (what == 5) {
		p->kernel = 0;
	}
}

static void step_flush(struct world *w)
{
	unsigned address = base(w) + 2 + pick(w, size(w) - 2);
	struct promise *p = &w->at[address];
	bool kept, busy = is_busy(w, p);
	int r = fakeip_flush(w->t, address - base(w), w->now_s, &kept);

	if (w->dead || r) {
		assert_true(w->dead || r == -ENOENT);
		assert_true(w->dead || !busy || p->flushed);
		return;
	}
	w->flushes++;
	if (busy)
		assert_true(kept);
	p->flushed = true;
	p->flush_written = false;
	if (p->key >= 0 && w->index_of[p->key] == (int)address)
		w->index_of[p->key] = 0;
	if (!kept)
		p->key = -1;
}

static void step_sweep(struct world *w)
{
	uint32_t began_s = w->now_s;

	if (!w->pools.needs_sweep)
		return;
	w->now_s += pick(w, 3);
	for (unsigned i = 2; i < size(w); i++) {
		struct promise *p = &w->at[base(w) + i];

		if (!p->kernel)
			continue;
		fakeip_touch(w->t, i, w->now_s);
		use_until(p, w->now_s);
	}
	fakeip_swept(w->t, began_s);
	w->swept_s = began_s;
	w->sweeps++;
}

/* What was over stays over when the hold gets longer. */
static void step_times(struct world *w)
{
	for (unsigned i = 0; i < ADDRESSES; i++)
		w->at[i].over |= !is_busy(w, &w->at[i]);
	w->pools.ttl_s = 1 + pick(w, TTL_MAX);
	w->pools.hold_s = 5 + pick(w, 3) * 20;
	fakeip_set_times(w->t, w->pools.ttl_s, w->pools.hold_s);
	w->swept_s = 0; /* what is out of use now may not have been when it was looked at */
}

/* One step of it; when it is through, everything is in the file. */
static void step_snapshot(struct world *w)
{
	int r = fakeip_snapshot_step(w->t);

	if (w->dead || r != 0)
		return;
	assert_true(fakeip_is_persistent(w->t));
	w->lost = false;
	w->snapshots++;
	step_commit(w);
}

/* --- restarts --- */

/* Promises that the file need not know, and flows, end with the process. */
static void forget(struct world *w)
{
	for (unsigned i = 0; i < ADDRESSES; i++) {
		struct promise *p = &w->at[i];
		bool here = i >= base(w) + 2 && i < base(w) + size(w);

		p->flows = p->kernel = 0;
		if (!p->written || !here)
			*p = (struct promise){.key = -1};
	}
}

/* What the table says now is the truth, as far as it breaks no promise. */
static void learn(struct world *w)
{
	memset(w->index_of, 0, sizeof w->index_of);
	for (unsigned i = 2; i < size(w); i++) {
		struct promise *p = &w->at[base(w) + i];
		bool busy = is_busy(w, p);
		struct fakeip_mapping m;
		int r = fakeip_get(w->t, i, &m), key = r ? -1 : key_of(&m);

		if (busy) {
			assert_int_equal(key, p->key);
			assert_true(m.flushed || !p->flush_written);
		}
		*p = (struct promise){.key = key,
			.use_s = w->now_s + w->pools.ttl_s,
			.written = true,
			.flushed = key >= 0 && m.flushed};
		p->flush_written = p->flushed;
		if (key >= 0 && !m.flushed)
			w->index_of[key] = (int)(base(w) + i);
	}
}

static void start(struct world *w)
{
	struct fakeip_log_io files = io(w);
	struct fakeip_load_result loaded;
	uint8_t *copy = malloc(w->file.len + 1);
	size_t len = w->file.len;

	w->dead = false;
	w->dies_after = SIZE_MAX;
	w->file.room = SIZE_MAX;
	w->pools.ttl_s = 1 + pick(w, TTL_MAX);
	if (len)
		memcpy(copy, w->file.bytes, len);
	w->t = test_table(&w->pools);
	assert_int_equal(fakeip_load(w->t, copy, len, w->now_s, &files, &loaded), 0);
	free(copy);
	assert_false(loaded.foreign);
	assert_in_range(loaded.lost, 0, 1); /* a torn tail */
	w->restart_s = w->now_s;
	w->lost = false;
	forget(w);
	learn(w); /* by the last sweep of the one before */
	w->swept_s = 0;
	test_bijection(w->t);
}

/* 198.18.0.0/27, its two halves. */
static void other_pools(struct world *w)
{
	uint32_t what = pick(w, 3);

	w->pools.len4 = what ? 28 : 27;
	w->pools.net4[3] = what == 2 ? 16 : 0;
	w->moves++;
}

static void step_restart(struct world *w, bool clean)
{
	if (clean)
		fakeip_close(w->t);
	if (clean && !w->dead)
		step_commit(w);
	fakeip_free(w->t);
	test_file_drop(&w->file);
	w->crashes++;
	if (pick(w, 8) == 0 && w->pools.len4 >= 27)
		other_pools(w);
	start(w);
}

static void step(struct world *w)
{
	uint32_t what = pick(w, 1000);

	if (what < 480)
		step_assign(w);
	else if (what < 700)
		step_use(w, what % 6);
	else if (what < 780)
		w->now_s += pick(w, w->pools.hold_s / 4 + 2);
	else if (what < 880)
		step_commit(w);
	else if (what < 900)
		step_flush(w);
	else if (what < 920 || fakeip_wants_sweep(w->t, w->now_s))
		step_sweep(w);
	else if (what < 965)
		step_snapshot(w);
	else if (what < 968)
		step_times(w);
	else if (what < 970)
		w->file.room = pick(w, 2) ? SIZE_MAX : pick(w, 500);
	else if (what < 975)
		w->file.room = SIZE_MAX;
	else if (what < 978)
		w->dies_after = pick(w, 600);
	else if (what < 995)
		check_all(w);
	else if (what < 997)
		step_restart(w, what % 2);
	if (w->dead)
		step_restart(w, false);
	w->losses += !w->lost && !fakeip_is_persistent(w->t);
	w->lost = !fakeip_is_persistent(w->t);
}

static void run(uint8_t len4, bool needs_sweep, uint64_t seed)
{
	const char *scale = getenv("TUNGATE_STEPS");
	unsigned steps = (scale ? (unsigned)atoi(scale) : 2000) * 1000 / 4;
	struct world w = {.pools = test_pools(len4, 0),
		.random = seed,
		.now_s = 1000,
		.file = {.room = SIZE_MAX}};

	w.pools.needs_sweep = needs_sweep;
	w.pools.hold_s = 25;
	for (unsigned i = 0; i < ADDRESSES; i++)
		w.at[i].key = -1;
	start(&w);
	for (unsigned i = 0; i < steps; i++)
		step(&w);
	check_all(&w);
	print_message("%u steps: %u restarts, %u losses, %u snapshots, %u flushes, %u sweeps, "
		      "%u reuses, %u times full, %u moves\n",
		steps, w.crashes, w.losses, w.snapshots, w.flushes, w.sweeps, w.reuses, w.exhausted,
		w.moves);
	assert_true(steps < 100000 ||
		    (w.crashes && w.losses && w.snapshots && w.flushes && w.reuses && w.exhausted));
	fakeip_free(w.t);
	test_file_drop(&w.file);
	free(w.file.bytes);
}

static void no_promise_is_broken(void **state)
{
	(void)state;
	run(27, false, 1);
	run(28, false, 2);
}

static void no_promise_is_broken_with_sweeps(void **state)
{
	(void)state;
	run(27, true, 3);
	run(28, true, 4);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(no_promise_is_broken),
		cmocka_unit_test(no_promise_is_broken_with_sweeps),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
