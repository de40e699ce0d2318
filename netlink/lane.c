/* One thread that commits. Parts of jobs come over a lock-free stack that it empties as a whole, so
 * what has gathered while it was in the kernel is its next batch; nothing sleeps to gather more. */
#include "netlink/writer_internal.h"
#include "gateway/base/clock.h"
#include "gateway/base/count.h"
#include "gateway/base/thread.h"

#include <errno.h>
#include <limits.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

/* The kernel tells nothing about ipsets (interface.md, "Sets"). */
#define IPSETS_EVERY_MS 2000
#define AROUND_EVERY_MS 1000
#define SWEEP_EVERY_MS	30000
/* A transaction of a large interval set holds the lock that all of nft commits under: the slow lane
 * leaves it to others for as long as it had it, and for several times that if it was long (its own
 * answers are late then anyway, and what gathers meanwhile is one transaction). */
#define SLOW_LONG_US  2000
#define SLOW_SHARE    4
#define SLOW_PAUSE_US 400000 /* at most */

/* --- waking --- */

void lane_wake(struct lane *l)
{
	uint64_t one = 1;

	if (atomic_load(&l->sleeping) && write(l->wake_fd, &one, sizeof one) < 0)
		return; /* the counter is full: it is awake */
}

static bool has_work(struct lane *l)
{
	return atomic_load(&l->submitted) || atomic_load(&l->stopping) || atomic_load(&l->news) ||
	       atomic_load(&l->tend_due) || (l->kind == LANE_HASH && writer_calls_waiting(l->w));
}

/* Sleeps until something was asked or something is due. Whoever asks looks at `sleeping` after it
 * has asked, and `sleeping` is set before it is looked whether something was asked: one of the two
 * sees the other. */
static void sleep_until(struct lane *l, int64_t due_ms)
{
	struct pollfd p = {.fd = l->wake_fd, .events = POLLIN};
	int64_t left_ms = due_ms - clock_ms();
	uint64_t n;

	atomic_store(&l->sleeping, true);
	if (!has_work(l) && left_ms > 0)
		(void)poll(&p, 1, left_ms > INT_MAX ? INT_MAX : (int)left_ms);
	atomic_store(&l->sleeping, false);
	if (p.revents && read(l->wake_fd, &n, sizeof n) < 0)
		return;
}

/* --- parts --- */

void lane_submit(struct lane *l, struct writer_part *part)
{
	struct writer_part *below = atomic_load_explicit(&l->submitted, memory_order_relaxed);

	do {
		part->next = below;
	} while (!atomic_compare_exchange_weak(&l->submitted, &below, part));
	lane_wake(l);
}

/* All that was submitted, oldest first, behind what is pending. */
static void take_submitted(struct lane *l)
{
	struct writer_part *part = atomic_exchange(&l->submitted, NULL), *list = NULL;

	while (part) {
		struct writer_part *below = part->next;

		part->next = list;
		list = part;
		part = below;
	}
	*l->pending_end = list;
	while (*l->pending_end)
		l->pending_end = &(*l->pending_end)->next;
}

static unsigned part_size(const struct lane *l, const struct writer_part *part)
{
	unsigned n = 0;

	for (unsigned i = 0; i < part->job->n; i++)
		n += part->job->elements[i].lane == l->kind;
	return n;
}

/* Puts one element into the commit. 0, or its error. */
static int add_element(struct lane *l, const struct writer_job *job, struct lane_element *ret)
{
	struct writer *w = l->w;
	struct writer_element *e = ret->e;
	struct commit_element element;
	enum commit_op op = COMMIT_ADD;
	struct commit_target *t = NULL;
	int r;

	if (e->op == WRITER_SET_ADD)
		return set_add(l, e, &job->asker, ret);
	r = own_set_find(w, e, &t, &ret->shadow);
	if (r < 0 || !t)
		return r;
	element = (struct commit_element){
		.timeout_ms = (uint64_t)e->timeout_s * 1000, .need_ms = (uint64_t)e->need_s * 1000};
	memcpy(element.key, e->addr.b, t->key_size);
	if (e->op == WRITER_NAT_SET) {
		element.has_value = true;
		element.value =
			(struct element_value){.b = e->real.b, .size = (uint8_t)t->value_size};
	}
	switch (e->op) {
	case WRITER_NAT_SET:
		op = COMMIT_MAP;
		break;
	case WRITER_NAT_DELETE:
		op = COMMIT_DELETE;
		break;
	default:
		op = COMMIT_RENEW;
		break;
	}
	if (ret->shadow) {
		if (shadow_holds(ret->shadow, element.key, t->key_size, NULL,
			    clock_ms() + (int64_t)element.need_ms))
			return 0;
		ret->mark = shadow_mark(ret->shadow);
	}
	ret->item = (int16_t)commit_add(l->commit, t, op, &element);
	return ret->item < 0 ? ret->item : 0;
}

static int64_t until(uint64_t life_ms, int64_t since_ms)
{
	_Static_assert(COMMIT_FOREVER == ELEMENT_NO_TIMEOUT, "without end, either");

	if (life_ms == 0 || life_ms == COMMIT_FOREVER)
		return SHADOW_FOREVER;
	return since_ms + (int64_t)life_ms;
}

/* What the kernel has now is remembered. */
static void remember(struct lane *l, const struct lane_element *x, int64_t since_ms)
{
	const struct commit_item *item = &l->commit->items[x->item];
	uint64_t life_ms = item->found_ms ? item->found_ms : item->e.timeout_ms;
	bool fresh;

	shadow_put(x->shadow, item->e.key, item->target->key_size,
		item->e.has_value ? item->e.value.b : NULL, until(life_ms, since_ms),
		commit_is_foreign(item), x->mark, since_ms, &fresh);
	/* Lost again while it was being put in, perhaps. */
	if (x->e->op == WRITER_SET_ADD && shadow_mark(x->shadow) != x->mark)
		sets_fill_soon(x->e->set->set);
	x->e->fresh = fresh && !item->found_ms && !item->in_range;
}

/* The set went while the batch was on its way. */
static void remember_lost(struct lane *l, const struct lane_element *x, int64_t since_ms)
{
	const struct commit_item *item = &l->commit->items[x->item];

	set_keep_lost(x->e->set->set, item->e.key, item->target->key_size,
		item->e.has_value ? item->e.value.b : NULL, until(item->e.timeout_ms, since_ms));
}

static int outcome(struct lane *l, struct lane_element *x, int64_t since_ms)
{
	bool committed = l->commit && x->item >= 0;
	int result = committed ? l->commit->items[x->item].result : x->result;

	if (committed && result == 0 && x->shadow)
		remember(l, x, since_ms);
	if (x->e->op != WRITER_SET_ADD || result == -ESTALE)
		return result;
	if (committed)
		sets_note(x->e->set, result);
	if (committed && result == -ESRCH)
		atomic_store(&x->e->set->refused_ms, clock_ms());
	if (committed && result == -ENOENT)
		remember_lost(l, x, since_ms);
	if (result < 0)
		count_add_shared(&x->e->set->errors, 1);
	return result;
}

/* One part's outcome; false: its set has become another kind meanwhile, and it is tried again,
 * once. */
static bool finish(struct lane *l, struct writer_part *part, unsigned first, int64_t since_ms)
{
	struct writer *w = l->w;
	unsigned n = part_size(l, part);
	int error = 0;

	for (unsigned i = first; i < first + n; i++) {
		int result = outcome(l, &l->elements[i], since_ms);

		if (result == -ESTALE && !part->again) {
			part->again = true;
			return false;
		}
		if (result < 0) {
			count_add_shared(&w->n_errors, 1);
			if (result == -ETIMEDOUT)
				count_add_shared(&w->n_timeouts, 1);
			error = error ? error : result;
		}
	}
	writer_part_done(part, error);
	return true;
}

static void run_commit(struct lane *l)
{
	if (!l->commit || !l->commit->n_items)
		return;
	commit_run(l->commit);
	count_add_shared(&l->w->n_batches, 1);
}

static void commit(struct lane *l)
{
	int64_t since_ms = clock_ms();
	struct writer_part *part = l->pending, *next, *end, *again = NULL, **again_end = &again;
	unsigned n = 0, first = 0;

	if (l->commit)
		commit_begin(l->commit);
	for (end = part; end && n + part_size(l, end) <= COMMIT_ITEMS_MAX; end = end->next) {
		struct writer_job *job = end->job;

		for (unsigned i = 0; i < job->n; i++) {
			struct lane_element *x = &l->elements[n];

			if (job->elements[i].lane != l->kind)
				continue;
			*x = (struct lane_element){.e = &job->elements[i], .item = -1};
			x->result = (int16_t)add_element(l, job, x);
			n++;
		}
	}
	run_commit(l);
	count_add_shared(&l->w->n_elements, n);
	for (; part != end; part = next) {
		unsigned size = part_size(l, part);

		next = part->next;
		if (!finish(l, part, first, since_ms)) {
			*again_end = part;
			again_end = &part->next;
		}
		first += size;
	}
	if (!end)
		l->pending_end = again ? again_end : &l->pending;
	*again_end = end;
	l->pending = again;
}

/* --- the thread --- */

static int64_t due_ms(const struct lane *l)
{
	return l->kind == LANE_SLOW ? l->sweep_due_ms : l->look_due_ms;
}

static void pause_after(struct lane *l, int64_t began_us)
{
	int64_t pause_us = clock_us() - began_us;
	struct timespec t;

	if (l->kind != LANE_SLOW)
		return;
	if (pause_us >= SLOW_LONG_US) {
		pause_us *= SLOW_SHARE;
		pause_us = pause_us < SLOW_PAUSE_US ? pause_us : SLOW_PAUSE_US;
	}
	t = (struct timespec){.tv_nsec = 1000L * pause_us};
	(void)nanosleep(&t, NULL);
}

static void turn(struct lane *l)
{
	int64_t now_ms = clock_ms(), began_us = clock_us();

	if (l->kind == LANE_HASH)
		writer_calls_run(l->w);
	if (l->kind != LANE_SLOW && now_ms >= l->look_due_ms) {
		l->look_due_ms =
			now_ms + (l->kind == LANE_HASH ? AROUND_EVERY_MS : IPSETS_EVERY_MS);
		if (l->kind == LANE_HASH)
			sets_look_around(&l->w->sets, l);
		else
			sets_look_at_ipsets(&l->w->sets, l);
	}
	if (now_ms >= l->sweep_due_ms) {
		l->sweep_due_ms = now_ms + SWEEP_EVERY_MS;
		sets_sweep(&l->w->sets, l, now_ms);
	}
	if (atomic_exchange(&l->news, false) && l->commit)
		commit_forget(l->commit);
	take_submitted(l);
	if (l->pending)
		commit(l);
	if (atomic_exchange(&l->tend_due, false) || l->tends)
		l->tends = sets_fill(&l->w->sets, l);
	pause_after(l, began_us);
	if (!l->pending && !l->tends)
		sleep_until(l, due_ms(l));
}

void lane_settle(struct lane *l)
{
	const struct timespec t = {.tv_nsec = 100000};
	unsigned turns = atomic_load(&l->turns);

	while (atomic_load(&l->started) && atomic_load(&l->turns) == turns &&
		!atomic_load(&l->sleeping))
		(void)nanosleep(&t, NULL);
}

static void *run(void *arg)
{
	struct lane *l = arg;

	while (!atomic_load(&l->stopping)) {
		turn(l);
		atomic_fetch_add(&l->turns, 1);
	}
	/* What still comes in gets its answer. */
	if (l->kind == LANE_HASH)
		writer_calls_run(l->w);
	take_submitted(l);
	while (l->pending)
		commit(l);
	return NULL;
}

static int make(struct lane *l)
{
	int r;

	l->elements = calloc(COMMIT_ITEMS_MAX, sizeof *l->elements);
	l->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (!l->elements || l->wake_fd < 0)
		return -ENOMEM;
	l->pending_end = &l->pending;
	if (l->kind == LANE_IPSET)
		return 0;
	l->commit = calloc(1, sizeof *l->commit);
	if (!l->commit)
		return -ENOMEM;
	r = commit_init(l->commit, &l->socket, &l->w->tables);
	return r;
}

static void unmake(struct lane *l)
{
	if (l->commit)
		commit_fini(l->commit);
	free(l->commit);
	free(l->elements);
	if (l->wake_fd >= 0)
		close(l->wake_fd);
	l->commit = NULL;
	l->elements = NULL;
	l->wake_fd = -1;
}

int lane_start(struct lane *l)
{
	int r;

	if (atomic_load(&l->started))
		return 0;
	r = make(l);
	if (r < 0) {
		unmake(l);
		return r;
	}
	r = thread_start(&l->thread, 0, run, l);
	if (r < 0)
		unmake(l);
	else
		atomic_store(&l->started, true);
	return r;
}

void lane_stop(struct lane *l)
{
	if (!atomic_load(&l->started))
		return;
	atomic_store(&l->stopping, true);
	lane_wake(l);
	pthread_join(l->thread, NULL);
	unmake(l);
}
