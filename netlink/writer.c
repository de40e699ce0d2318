/* The writer's thread. Jobs come over a lock-free stack that the thread empties as a whole, so what
 * has gathered while it was in the kernel is its next batch; nothing sleeps to gather more.
 * Everything else that other threads ask for (the table, handles of sets, counters) is a call that
 * this thread runs between two batches: all state is its own. */
#include "netlink/writer_internal.h"
#include "netlink/table_internal.h"
#include "gateway/base/clock.h"
#include "gateway/base/count.h"

#include <errno.h>
#include <limits.h>
#include <linux/netfilter.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#define BEAT_EVERY_MS 500
/* A batch that leaves anyway takes the heartbeat along after this time. */
#define BEAT_EARLY_MS 250

struct writer_client {
	struct writer *w;
	void (*wake)(void *arg);
	void *arg;
	struct writer_job *_Atomic finished; /* a stack; the client takes all of it */
};

/* --- waking --- */

void writer_wake(struct writer *w)
{
	uint64_t one = 1;

	if (atomic_load(&w->sleeping) && write(w->wake_fd, &one, sizeof one) < 0)
		return; /* the counter is full: it is awake */
}

static bool has_work(struct writer *w)
{
	return atomic_load(&w->submitted) || atomic_load(&w->stopping) ||
	       atomic_load(&w->sets_changed) || writer_calls_waiting(w);
}

/* Sleeps until something was asked or the heartbeat is due. Whoever asks looks at `sleeping` after
 * it has asked, and `sleeping` is set before it is looked whether something was asked: one of the
 * two sees the other. */
static void sleep_until(struct writer *w, int64_t due_ms)
{
	struct pollfd p = {.fd = w->wake_fd, .events = POLLIN};
	int64_t left_ms = due_ms - clock_ms();
	uint64_t n;

	atomic_store(&w->sleeping, true);
	if (!has_work(w) && left_ms > 0) {
		(void)poll(&p, 1, left_ms > INT_MAX ? INT_MAX : (int)left_ms);
	}
	atomic_store(&w->sleeping, false);
	if (p.revents && read(w->wake_fd, &n, sizeof n) < 0)
		return;
}

/* --- jobs --- */

static void push(
	struct writer_job *_Atomic *stack, struct writer_job *job, struct writer_job **ret_below)
{
	struct writer_job *below = atomic_load_explicit(stack, memory_order_relaxed);

	do {
		job->next = below;
	} while (!atomic_compare_exchange_weak(stack, &below, job));
	*ret_below = below;
}

/* All of a stack, oldest first. */
static struct writer_job *take_all(struct writer_job *_Atomic *stack)
{
	struct writer_job *job = atomic_exchange(stack, NULL), *list = NULL;

	while (job) {
		struct writer_job *below = job->next;

		job->next = list;
		list = job;
		job = below;
	}
	return list;
}

static void take_submitted(struct writer *w)
{
	*w->pending_end = take_all(&w->submitted);
	while (*w->pending_end)
		w->pending_end = &(*w->pending_end)->next;
}

static struct commit_target *nat_target(struct writer *w, const struct ip_addr *fake)
{
	const struct ip_prefix *pool = fake->family == IP_V4 ? &w->table.pool4 : &w->table.pool6;

	if (!w->table.exists || !ip_prefix_contains(pool, fake))
		return NULL;
	return fake->family == IP_V4 ? &w->nat4 : &w->nat6;
}

static void target_init(struct commit_target *t, const char *name, uint8_t family)
{
	t->at = (struct element_set){
		.table = TABLE_NAME, .name = name, .nfproto = NFPROTO_INET, .family = family};
}

static struct commit_target *egress_target(
	struct writer *w, unsigned number, const struct ip_addr *fake)
{
	struct writer_target *t;

	if (number >= w->table.n_egresses || !table_egress_has_set(&w->table.egresses[number]) ||
		!nat_target(w, fake))
		return NULL;
	t = &w->egresses[number][fake->family == IP_V6];
	table_egress_set_name(t->name, number, fake->family);
	target_init(&t->target, t->name, fake->family);
	return &t->target;
}

static struct commit_target *real_target(
	struct writer *w, unsigned number, const struct ip_addr *real)
{
	struct writer_target *t;

	if (real->family != IP_V4 && real->family != IP_V6)
		return NULL;
	if (number >= w->table.n_egresses || !table_egress_has_real(&w->table.egresses[number]))
		return w->table.carried ? &w->carried[real->family == IP_V6] : NULL;
	t = &w->real[number][real->family == IP_V6];
	table_real_set_name(t->name, number, real->family);
	target_init(&t->target, t->name, real->family);
	return &t->target;
}

/* Puts one element into the commit. 0 and *ret_item (-1: nothing to wait for), or its error. */
static int add_element(struct writer *w, const struct writer_element *e, int *ret_item)
{
	const struct ip_addr *data = NULL;
	enum commit_op op = COMMIT_ADD;
	struct commit_target *t = NULL;

	*ret_item = -1;
	switch (e->op) {
	case WRITER_SET_ADD:
		return sets_add(e->set, &e->addr, e->timeout_s, &w->commit, ret_item);
	case WRITER_NAT_SET:
		t = nat_target(w, &e->addr);
		if (!t)
			return -ENOENT;
		if (e->real.family != e->addr.family)
			return -EINVAL;
		op = COMMIT_MAP;
		data = &e->real;
		break;
	case WRITER_NAT_DELETE:
		t = nat_target(w, &e->addr);
		op = COMMIT_DELETE;
		break;
	case WRITER_EGRESS_SET:
		t = egress_target(w, e->number, &e->addr);
		break;
	case WRITER_REAL_SET:
		t = real_target(w, e->number, &e->addr);
		break;
	}
	if (!t)
		return 0;
	*ret_item = commit_add(&w->commit, t, op, &e->addr, data, (uint64_t)e->timeout_s * 1000);
	return *ret_item < 0 ? *ret_item : 0;
}

static unsigned job_size(const struct writer_job *job)
{
	return job->n < WRITER_JOB_ELEMENTS ? job->n : WRITER_JOB_ELEMENTS;
}

static void finish_job(struct writer *w, struct writer_job *job, unsigned first)
{
	struct writer_client *client = job->client;
	struct writer_job *below;

	job->result = 0;
	for (unsigned i = first; i < first + job_size(job); i++) {
		int item = w->element_items[i];
		int result = item < 0 ? w->element_results[i] : w->commit.items[item].result;

		if (result < 0) {
			count_add(&w->n_errors, 1);
			if (result == -ETIMEDOUT)
				count_add(&w->n_timeouts, 1);
			job->result = job->result ? job->result : result;
		}
	}
	push(&client->finished, job, &below);
	if (!below)
		client->wake(client->arg);
}

/* One group commit of the oldest jobs, as many as fit. */
static void commit_jobs(struct writer *w, bool beat)
{
	struct writer_job *job, *next, *end;
	unsigned n = 0, first = 0;
	bool beaten;

	commit_begin(&w->commit);
	for (end = w->pending; end && n + job_size(end) <= COMMIT_ITEMS_MAX; end = end->next) {
		for (unsigned i = 0; i < job_size(end); i++, n++) {
			int item;

			w->element_results[n] = add_element(w, &end->elements[i], &item);
			w->element_items[n] = (int16_t)item;
		}
	}
	if (w->commit.n_items || beat) {
		commit_run(&w->commit, beat, &beaten);
		count_add(&w->n_batches, 1);
		if (beaten) {
			w->beaten_ms = clock_ms();
			count_add(&w->n_beats, 1);
		}
	}
	count_add(&w->n_elements, n);
	for (job = w->pending; job != end; job = next) {
		unsigned size = job_size(job);

		next = job->next;
		finish_job(w, job, first); /* from here on it is the client's */
		first += size;
	}
	w->pending = end;
	if (!end)
		w->pending_end = &w->pending;
}

/* --- the thread --- */

static bool beat_is_due(struct writer *w, int64_t now_ms)
{
	bool due = now_ms >= w->pulse_due_ms;

	if (due) {
		w->pulse_due_ms = now_ms + BEAT_EVERY_MS;
		w->alive = !w->config.pulse || w->config.pulse(w->config.arg);
	}
	return w->alive && w->table.exists &&
	       (due || (w->pending && now_ms - w->beaten_ms >= BEAT_EARLY_MS));
}

void writer_open_gate(struct writer *w)
{
	w->pulse_due_ms = 0;
	if (beat_is_due(w, clock_ms()))
		commit_jobs(w, true);
}

static void *run(void *arg)
{
	struct writer *w = arg;

	while (!atomic_load(&w->stopping)) {
		bool beat;

		if (atomic_exchange(&w->sets_changed, false)) {
			commit_forget(&w->commit);
			sets_look_at_all(&w->sets);
		}
		writer_calls_run(w);
		take_submitted(w);
		beat = beat_is_due(w, clock_ms());
		if (w->pending || beat)
			commit_jobs(w, beat);
		if (!w->pending)
			sleep_until(w, w->pulse_due_ms);
	}
	/* What still comes in gets its answer. */
	writer_calls_run(w);
	take_submitted(w);
	while (w->pending)
		commit_jobs(w, false);
	return NULL;
}

static void targets_init(struct writer *w)
{
	target_init(&w->nat4, "nat4", IP_V4);
	target_init(&w->nat6, "nat6", IP_V6);
	target_init(&w->carried[0], "carried4", IP_V4);
	target_init(&w->carried[1], "carried6", IP_V6);
}

static int start_thread(struct writer *w)
{
	sigset_t all, old;
	int r;

	/* Signals are for the main thread. */
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &old);
	r = pthread_create(&w->thread, NULL, run, w);
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	return -r;
}

static void writer_free(struct writer *w)
{
	sets_fini(&w->sets);
	commit_fini(&w->commit);
	nft_socket_close(&w->socket);
	if (w->wake_fd >= 0)
		close(w->wake_fd);
	pthread_cond_destroy(&w->called);
	pthread_mutex_destroy(&w->lock);
	free(w);
}

int writer_start(const struct writer_config *config, struct writer **ret)
{
	struct writer *w = calloc(1, sizeof *w);
	int r;

	if (!w)
		return -ENOMEM;
	w->config = *config;
	w->wake_fd = -1;
	w->socket.fd = -1;
	w->pending_end = &w->pending;
	pthread_mutex_init(&w->lock, NULL);
	pthread_cond_init(&w->called, NULL);
	targets_init(w);
	r = nft_socket_open(&w->socket);
	if (r < 0)
		goto fail;
	sets_init(&w->sets, &w->socket, config->set_changed, config->arg);
	r = commit_init(&w->commit, &w->socket);
	if (r < 0)
		goto fail;
	w->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (w->wake_fd < 0) {
		r = -errno;
		goto fail;
	}
	r = start_thread(w);
	if (r < 0)
		goto fail;
	*ret = w;
	return 0;
fail:
	writer_free(w);
	return r;
}

void writer_stop(struct writer *w)
{
	if (!w)
		return;
	atomic_store(&w->stopping, true);
	writer_wake(w);
	pthread_join(w->thread, NULL);
	writer_free(w);
}

/* --- clients --- */

int writer_client_new(
	struct writer *w, void (*wake_client)(void *arg), void *arg, struct writer_client **ret)
{
	struct writer_client *c = calloc(1, sizeof *c);

	if (!c)
		return -ENOMEM;
	c->w = w;
	c->wake = wake_client;
	c->arg = arg;
	*ret = c;
	return 0;
}

static void run_nothing(struct writer *w, void *arg)
{
	(void)w;
	(void)arg;
}

void writer_client_free(struct writer_client *c)
{
	if (!c)
		return;
	/* The thread may still be about to wake this client for a job that it has already taken
	 * back. */
	writer_call(c->w, run_nothing, NULL);
	free(c);
}

void writer_submit(struct writer *w, struct writer_job *job)
{
	struct writer_job *below;

	push(&w->submitted, job, &below);
	writer_wake(w);
}

void writer_client_run(struct writer_client *c)
{
	struct writer_job *job = take_all(&c->finished);

	while (job) {
		struct writer_job *next = job->next;

		job->done(job);
		job = next;
	}
}

void writer_stats(struct writer *w, struct writer_stats *ret)
{
	ret->batches = count_get(&w->n_batches);
	ret->elements = count_get(&w->n_elements);
	ret->errors = count_get(&w->n_errors);
	ret->timeouts = count_get(&w->n_timeouts);
	ret->beats = count_get(&w->n_beats);
}
