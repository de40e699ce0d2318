/* The writer's thread. Jobs come over a lock-free stack that the thread empties as a whole, so what
 * has gathered while it was in the kernel is its next batch; nothing sleeps to gather more.
 * Everything else that other threads ask for (the table, handles of sets, counters) is a call that
 * this thread runs between two batches: all state is its own. */
#include "netlink/writer.h"
#include "gateway/base/clock.h"
#include "netlink/sets.h"

#include <arpa/inet.h>
#include <endian.h>
#include <errno.h>
#include <libmnl/libmnl.h>
#include <limits.h>
#include <linux/netfilter.h>
#include <linux/netfilter/nf_tables.h>
#include <linux/netfilter/nfnetlink.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#define BEAT_EVERY_MS 500
#define BEAT_EARLY_MS                                                                              \
	250 /* a batch that leaves anyway takes the heartbeat along after this time                \
	     */
#define TABLE_TIMEOUT_MS 2000
#define GET_TIMEOUT_MS	 200
#define TABLE_BYTES	 (64 << 10)

struct writer_client {
	struct writer *w;
	void (*wake)(void *arg);
	void *arg;
	struct writer_job *_Atomic finished; /* a stack; the client takes all of it */
};

struct call {
	void (*run)(struct writer *w, void *arg);
	void *arg;
	bool done;
	struct call *next;
};

struct writer {
	struct writer_config config;
	pthread_t thread;
	int wake_fd;
	struct writer_job *_Atomic submitted; /* a stack */
	_Atomic bool sleeping, stopping, sets_changed;

	pthread_mutex_t lock; /* calls */
	pthread_cond_t called;
	struct call *calls;

	/* The thread's own. */
	struct nft_socket socket;
	struct commit commit;
	struct sets sets;
	struct table_state table;
	struct commit_target nat4, nat6, marks[TABLE_MARKS_MAX][2];
	char mark_names[TABLE_MARKS_MAX][2][16];
	char what[64];		    /* of the last writer_table_set() */
	struct writer_job *pending; /* in the order of submission */
	struct writer_job **pending_end;
	int64_t pulse_due_ms, beaten_ms;
	bool alive;
	int16_t element_items[COMMIT_ITEMS_MAX]; /* of the elements of a commit, in order; -1: none
						  */
	int element_results[COMMIT_ITEMS_MAX];

	_Atomic uint64_t n_batches, n_elements, n_errors, n_timeouts, n_beats;
};

static void count(_Atomic uint64_t *counter, uint64_t n)
{
	atomic_fetch_add_explicit(counter, n, memory_order_relaxed);
}

/* --- waking --- */

static void wake(struct writer *w)
{
	uint64_t one = 1;

	if (atomic_load(&w->sleeping) && write(w->wake_fd, &one, sizeof one) < 0)
		return; /* the counter is full: it is awake */
}

/* Sleeps until something was asked or the heartbeat is due. Whoever asks looks at `sleeping` after
 * it has asked, and `sleeping` is set before it is looked whether something was asked: one of the
 * two sees the other. */
static bool has_work(struct writer *w);
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

/* --- calls of other threads --- */

static void call(struct writer *w, void (*run)(struct writer *w, void *arg), void *arg)
{
	struct call c = {.run = run, .arg = arg};
	struct call **end;

	pthread_mutex_lock(&w->lock);
	for (end = &w->calls; *end; end = &(*end)->next)
		;
	*end = &c;
	wake(w);
	while (!c.done)
		pthread_cond_wait(&w->called, &w->lock);
	pthread_mutex_unlock(&w->lock);
}

static void run_calls(struct writer *w)
{
	struct call *list, *c;

	pthread_mutex_lock(&w->lock);
	list = w->calls;
	w->calls = NULL;
	pthread_mutex_unlock(&w->lock);
	while ((c = list)) {
		list = c->next;
		c->run(w, c->arg);
		pthread_mutex_lock(&w->lock);
		c->done = true;
		pthread_cond_broadcast(&w->called);
		pthread_mutex_unlock(&w->lock);
	}
}

static bool has_calls(struct writer *w)
{
	bool has;

	pthread_mutex_lock(&w->lock);
	has = w->calls != NULL;
	pthread_mutex_unlock(&w->lock);
	return has;
}

static bool has_work(struct writer *w)
{
	return atomic_load(&w->submitted) || atomic_load(&w->stopping) ||
	       atomic_load(&w->sets_changed) || has_calls(w);
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

static struct commit_target *mark_target(
	struct writer *w, unsigned number, const struct ip_addr *fake)
{
	if (number >= w->table.n_marks || !w->table.marks[number].mask || !nat_target(w, fake))
		return NULL;
	return &w->marks[number][fake->family == IP_V6];
}

/* Puts one element into the commit. 0 and *ret_item (-1: nothing to wait for), or its error. */
static int add_element(struct writer *w, const struct writer_element *e, int *ret_item)
{
	struct commit_target *t;

	*ret_item = -1;
	if (e->op == WRITER_SET_ADD)
		return sets_add(e->set, &e->addr, e->timeout_s, &w->commit, ret_item);
	t = e->op == WRITER_MARK_SET ? mark_target(w, e->number, &e->addr)
				     : nat_target(w, &e->addr);
	if (!t)
		return e->op == WRITER_NAT_DELETE ? 0 : -ENOENT;
	if (e->op == WRITER_NAT_SET && e->real.family != e->addr.family)
		return -EINVAL;
	*ret_item = commit_add(&w->commit, t,
		e->op == WRITER_MARK_SET  ? COMMIT_ADD
		: e->op == WRITER_NAT_SET ? COMMIT_MAP
					  : COMMIT_DELETE,
		&e->addr, e->op == WRITER_NAT_SET ? &e->real : NULL, (uint64_t)e->timeout_s * 1000);
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
			count(&w->n_errors, 1);
			if (result == -ETIMEDOUT)
				count(&w->n_timeouts, 1);
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
		count(&w->n_batches, 1);
		if (beaten) {
			w->beaten_ms = clock_ms();
			count(&w->n_beats, 1);
		}
	}
	count(&w->n_elements, n);
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

static void *run(void *arg)
{
	struct writer *w = arg;

	while (!atomic_load(&w->stopping)) {
		bool beat;

		if (atomic_exchange(&w->sets_changed, false)) {
			commit_forget(&w->commit);
			sets_look_at_all(&w->sets);
		}
		run_calls(w);
		take_submitted(w);
		beat = beat_is_due(w, clock_ms());
		if (w->pending || beat)
			commit_jobs(w, beat);
		if (!w->pending)
			sleep_until(w, w->pulse_due_ms);
	}
	/* What still comes in gets its answer. */
	run_calls(w);
	take_submitted(w);
	while (w->pending)
		commit_jobs(w, false);
	return NULL;
}

static void targets_init(struct writer *w)
{
	static const uint8_t families[] = {IP_V4, IP_V6};

	w->nat4.at = (struct element_set){
		.table = TABLE_NAME, .name = "nat4", .nfproto = NFPROTO_INET, .family = IP_V4};
	w->nat6.at = (struct element_set){
		.table = TABLE_NAME, .name = "nat6", .nfproto = NFPROTO_INET, .family = IP_V6};
	for (unsigned i = 0; i < TABLE_MARKS_MAX; i++) {
		for (unsigned k = 0; k < 2; k++) {
			snprintf(w->mark_names[i][k], sizeof w->mark_names[i][k], "mark%u_%u", i,
				families[k]);
			w->marks[i][k].at = (struct element_set){.table = TABLE_NAME,
				.name = w->mark_names[i][k],
				.nfproto = NFPROTO_INET,
				.family = families[k]};
		}
	}
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
	wake(w);
	pthread_join(w->thread, NULL);
	writer_free(w);
}

/* --- the table --- */

struct table_call {
	const struct table_config *config;
	int result;
	struct nft_batch batch;
	struct writer *w;
	bool blamed;
};

static void table_error(void *arg, const struct nft_error *error)
{
	struct table_call *c = arg;

	if (!c->blamed)
		table_blame(&c->batch, error, c->w->what, sizeof c->w->what);
	c->blamed = true;
}

static void run_table_set(struct writer *w, void *arg)
{
	struct table_call *c = arg;
	struct table_state next;
	int r = nft_batch_init(&c->batch, TABLE_BYTES);

	c->w = w;
	if (r == 0) {
		nft_batch_begin(&c->batch, &w->socket);
		r = table_build(&c->batch, &w->table, c->config, w->config.set_changed,
			w->config.arg, &next);
	}
	if (r == 0)
		r = nft_batch_commit(&c->batch, &w->socket, TABLE_TIMEOUT_MS, table_error, c);
	if (r == 0) {
		w->table = next;
		commit_forget(&w->commit);
		w->pulse_due_ms = 0; /* the new table's gate opens at once */
	}
	nft_batch_fini(&c->batch);
	c->result = r == -ENOENT && c->blamed ? -EOPNOTSUPP : r;
}

int writer_table_set(struct writer *w, const struct table_config *config, const char **ret_what)
{
	struct table_call c = {.config = config};

	call(w, run_table_set, &c);
	if (c.result < 0 && ret_what)
		*ret_what = c.blamed		 ? w->what
			    : c.result == -E2BIG ? "more egresses than the table has mark sets for"
						 : "nf_tables";
	return c.result;
}

static void run_table_drop(struct writer *w, void *arg)
{
	struct nft_batch batch;
	int *result = arg;

	*result = w->table.exists ? nft_batch_init(&batch, TABLE_BYTES) : 0;
	if (*result || !w->table.exists)
		return;
	nft_batch_begin(&batch, &w->socket);
	table_drop_build(&batch);
	*result = nft_batch_commit(&batch, &w->socket, TABLE_TIMEOUT_MS, NULL, NULL);
	if (*result == 0)
		w->table.exists = false;
	nft_batch_fini(&batch);
}

int writer_table_drop(struct writer *w)
{
	int result;

	call(w, run_table_drop, &result);
	return result;
}

struct counter_call {
	const char *name;
	uint64_t packets;
	bool found;
	int result;
};

static int take_packets(const struct nlattr *attr, void *arg)
{
	struct counter_call *c = arg;

	if (mnl_attr_get_type(attr) == NFTA_COUNTER_PACKETS &&
		mnl_attr_get_payload_len(attr) == 8) {
		c->packets = be64toh(mnl_attr_get_u64(attr));
		c->found = true;
	}
	return MNL_CB_OK;
}

static int take_object(const struct nlattr *attr, void *arg)
{
	if (mnl_attr_get_type(attr) == NFTA_OBJ_DATA)
		return mnl_attr_parse_nested(attr, take_packets, arg);
	return MNL_CB_OK;
}

static int take_counter(void *arg, const struct nlmsghdr *answer)
{
	mnl_attr_parse(answer, sizeof(struct nfgenmsg), take_object, arg);
	return 0;
}

static void fill_counter(struct nlmsghdr *h, const void *arg)
{
	const struct counter_call *c = arg;

	mnl_attr_put_strz(h, NFTA_OBJ_TABLE, TABLE_NAME);
	mnl_attr_put_strz(h, NFTA_OBJ_NAME, c->name);
	mnl_attr_put_u32(h, NFTA_OBJ_TYPE, htonl(NFT_OBJECT_COUNTER));
}

static void run_counter(struct writer *w, void *arg)
{
	struct counter_call *c = arg;

	c->result = nft_request(&w->socket, NFT_MSG_GETOBJ, NFPROTO_INET, 0, fill_counter, c,
		take_counter, c, GET_TIMEOUT_MS);
	if (c->result == 0 && !c->found)
		c->result = -EBADMSG;
}

int writer_counter(struct writer *w, const char *name, uint64_t *ret_packets)
{
	struct counter_call c = {.name = name};

	call(w, run_counter, &c);
	if (c.result == 0)
		*ret_packets = c.packets;
	return c.result;
}

/* --- users' sets --- */

struct set_call {
	const struct conf_set *conf;
	struct nl_set *set;
	int result;
};

static void run_set_get(struct writer *w, void *arg)
{
	struct set_call *c = arg;

	c->result = sets_get(&w->sets, c->conf, &c->set);
}

int writer_set_get(struct writer *w, const struct conf_set *set, struct nl_set **ret)
{
	struct set_call c = {.conf = set};

	call(w, run_set_get, &c);
	if (c.result == 0)
		*ret = c.set;
	return c.result;
}

void writer_sets_changed(struct writer *w)
{
	atomic_store(&w->sets_changed, true);
	wake(w);
}

struct list_call {
	struct writer_set_info *ret;
	size_t max, n;
};

static void run_set_list(struct writer *w, void *arg)
{
	struct list_call *c = arg;

	for (c->n = 0; c->n < w->sets.n && c->n < c->max; c->n++)
		sets_info(w->sets.v[c->n], &c->ret[c->n]);
}

size_t writer_set_list(struct writer *w, struct writer_set_info *ret, size_t max)
{
	struct list_call c = {.ret = ret, .max = max};

	call(w, run_set_list, &c);
	return c.n;
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
	call(c->w, run_nothing, NULL);
	free(c);
}

void writer_submit(struct writer *w, struct writer_job *job)
{
	struct writer_job *below;

	push(&w->submitted, job, &below);
	wake(w);
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
	ret->batches = atomic_load_explicit(&w->n_batches, memory_order_relaxed);
	ret->elements = atomic_load_explicit(&w->n_elements, memory_order_relaxed);
	ret->errors = atomic_load_explicit(&w->n_errors, memory_order_relaxed);
	ret->timeouts = atomic_load_explicit(&w->n_timeouts, memory_order_relaxed);
	ret->beats = atomic_load_explicit(&w->n_beats, memory_order_relaxed);
}
