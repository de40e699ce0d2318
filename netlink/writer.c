/* Jobs and who submits them. Everything else that other threads ask for (the table, handles of
 * sets, counters) is a call that the first lane runs between two batches. */
#include "netlink/writer_internal.h"
#include "gateway/base/clock.h"
#include "gateway/base/count.h"

#include <errno.h>
#include <stdlib.h>
#include <linux/netlink.h>
#include <sys/socket.h>

struct writer_client {
	struct writer *w;
	void (*wake)(void *arg);
	void *arg;
	struct writer_job *_Atomic finished; /* a stack; the client takes all of it */
};

/* --- life --- */

static void writer_free(struct writer *w)
{
	sets_fini(&w->sets);
	own_sets_fini(w);
	for (size_t i = 0; i < WRITER_LANES; i++)
		nft_socket_close(&w->lanes[i].socket);
	commit_tables_fini(&w->tables);
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
	pthread_mutex_init(&w->lock, NULL);
	pthread_cond_init(&w->called, NULL);
	for (size_t i = 0; i < WRITER_LANES; i++) {
		w->lanes[i].w = w;
		w->lanes[i].kind = (enum lane_kind)i;
		w->lanes[i].wake_fd = w->lanes[i].socket.fd = -1;
	}
	commit_tables_init(&w->tables);
	own_sets_init(w);
	r = sets_init(&w->sets, w);
	/* Both at once: the monitor is told their ports when it begins. */
	for (size_t i = 0; r == 0 && i < SETS_NFT_LANES; i++)
		r = nft_socket_open(&w->lanes[i].socket);
	if (r == 0)
		r = heartbeat_start(&config->heartbeat, &w->heartbeat);
	if (r == 0)
		r = lane_start(&w->lanes[LANE_HASH]);
	if (r < 0) {
		heartbeat_stop(w->heartbeat);
		writer_free(w);
		return r;
	}
	*ret = w;
	return 0;
}

void writer_stop(struct writer *w)
{
	if (!w)
		return;
	heartbeat_stop(w->heartbeat);
	/* The first is the one that starts others. */
	for (size_t i = 0; i < WRITER_LANES; i++)
		lane_stop(&w->lanes[i]);
	writer_free(w);
}

size_t writer_ports(const struct writer *w, uint32_t ret[MONITOR_OWN_MAX])
{
	size_t n = 0;

	for (size_t i = 0; i < SETS_NFT_LANES; i++) {
		struct sockaddr_nl own = {0};
		socklen_t len = sizeof own;

		if (getsockname(w->lanes[i].socket.fd, (struct sockaddr *)&own, &len) == 0)
			ret[n++] = own.nl_pid;
	}
	return n;
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

void writer_client_free(struct writer_client *c)
{
	if (!c)
		return;
	/* The thread may still be about to wake this client for a job that it has already taken
	 * back. */
	for (size_t i = 0; i < WRITER_LANES; i++)
		lane_settle(&c->w->lanes[i]);
	free(c);
}

/* --- jobs --- */

static void job_done(struct writer_job *job)
{
	struct writer_client *client = job->client;
	struct writer_job *below = atomic_load_explicit(&client->finished, memory_order_relaxed);

	job->result = atomic_load(&job->error);
	do {
		job->next = below;
	} while (!atomic_compare_exchange_weak(&client->finished, &below, job));
	/* From here on it is the client's. */
	if (!below)
		client->wake(client->arg);
}

void writer_part_done(struct writer_part *part, int error)
{
	struct writer_job *job = part->job;
	int none = 0;

	if (error)
		(void)atomic_compare_exchange_strong(&job->error, &none, error);
	if (atomic_fetch_sub(&job->n_parts, 1) == 1)
		job_done(job);
}

static enum lane_kind lane_of(const struct writer_element *e)
{
	return e->op == WRITER_SET_ADD ? atomic_load(&e->set->set->lane) : LANE_HASH;
}

void writer_submit(struct writer *w, struct writer_job *job)
{
	unsigned lanes = 1 << LANE_HASH, n_parts = 0;

	if (job->n > WRITER_JOB_ELEMENTS)
		job->n = WRITER_JOB_ELEMENTS;
	for (unsigned i = 0; i < job->n; i++) {
		enum lane_kind lane = lane_of(&job->elements[i]);

		lanes = i == 0 ? 1u << lane : lanes | 1u << lane;
		job->elements[i].lane = (uint8_t)lane;
		job->elements[i].fresh = false;
	}
	for (unsigned i = 0; i < WRITER_LANES; i++)
		n_parts += lanes >> i & 1;
	atomic_store(&job->error, 0);
	atomic_store(&job->n_parts, n_parts);
	for (unsigned i = 0; i < WRITER_LANES; i++) {
		if (!(lanes >> i & 1))
			continue;
		job->parts[i] = (struct writer_part){.job = job};
		/* The last one that is submitted may be done before this returns. */
		lane_submit(&w->lanes[i], &job->parts[i]);
	}
}

void writer_client_run(struct writer_client *c)
{
	struct writer_job *job = atomic_exchange(&c->finished, NULL), *list = NULL, *next;

	for (; job; job = next) { /* oldest first */
		next = job->next;
		job->next = list;
		list = job;
	}
	for (job = list; job; job = next) {
		next = job->next;
		job->done(job);
	}
}

bool writer_holds(struct writer *w, const struct writer_element *e, const struct ip_addr *client,
	int64_t now_ms)
{
	if (e->op == WRITER_SET_ADD)
		return sets_hold(e->set, e, client, now_ms);
	return e->op == WRITER_REAL_SET && own_set_holds(w, e, now_ms);
}

bool writer_want(struct writer *w, const struct writer_element *e, const struct ip_addr *client)
{
	(void)w;
	if (e->op != WRITER_SET_ADD)
		return false;
	set_want(e->set, e, client);
	return true;
}

void writer_stats(struct writer *w, struct writer_stats *ret)
{
	ret->batches = count_get(&w->n_batches);
	ret->elements = count_get(&w->n_elements);
	ret->errors = count_get(&w->n_errors);
	ret->timeouts = count_get(&w->n_timeouts);
	ret->beats = heartbeat_count(w->heartbeat);
	ret->refilled = count_get(&w->n_refilled);
}
