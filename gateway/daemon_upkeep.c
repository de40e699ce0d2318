/* What the daemon looks after while it runs: that the table's file is written in time and does not
 * grow, that addresses become free again. */
#include "gateway/daemon_internal.h"
#include "gateway/base/clock.h"
#include "gateway/base/container.h"
#include "gateway/base/descriptors.h"
#include "gateway/base/log.h"
#include "netlink/conntrack.h"

#include <errno.h>
#include <string.h>
#include <time.h>

#define UPKEEP_MS   1000
#define TAKE_MS	    500	  /* workers take a generation at their next turn, if they get the CPU */
#define EXHAUSTED_S 10	  /* a pool is called full so long after a name found no address, */
#define SCARCE_MS   60000 /* and descriptors scarce so long after somebody got none */

/* --- addresses that become free again --- */

static void note_flow(void *arg, const struct ip_addr *target)
{
	struct daemon *d = arg;
	uint32_t index;

	if (target->family == IP_V4 ? fakeip_index4(d->fakeip, target->b, &index)
				    : fakeip_index6(d->fakeip, target->b, &index))
		fakeip_touch(d->fakeip, index, daemon_clock_s());
}

/* A connection that the kernel carries may be idle for longer than the hold: before an address
 * means another name, connection tracking is asked for flows to it. */
int daemon_sweep(struct daemon *d)
{
	uint32_t began_s = daemon_clock_s();
	int error = 0;

	if (d->conntrack)
		error = conntrack_each(
			d->conntrack, &d->plumbing.pool4, &d->plumbing.pool6, note_flow, d);
	if (!error)
		fakeip_swept(d->fakeip, began_s);
	return error;
}

static void sweep_if_wanted(struct daemon *d)
{
	int error;

	if (!fakeip_wants_sweep(d->fakeip, daemon_clock_s()))
		return;
	error = daemon_sweep(d);
	if (error)
		log_warn("connection tracking does not tell its flows: %s; no fake address is "
			 "given to another name",
			strerror(-error));
}

/* After a reload. */
static void shorten_ttl(struct daemon *d)
{
	const struct conf_fakeip *f = &d->config->fakeip;

	for (unsigned i = 0; i < d->n_workers; i++)
		if (d->table_ttl_s == f->ttl_s || !worker_uses_latest(d->workers[i]))
			return;
	d->table_ttl_s = f->ttl_s;
	fakeip_set_times(d->fakeip, f->ttl_s, f->hold_s);
}

/* Addresses that an earlier run may have given out count as free, but wait for the hold: that names
 * were refused lately tells more than the numbers do. */
static void look_at_room(struct daemon *d)
{
	uint32_t now_s = daemon_clock_s();
	struct fakeip_stats s;

	if (fakeip_exhausted(d->fakeip) == d->exhausted && !d->problems[PROBLEM_EXHAUSTED])
		return; /* the usual case, without a look at every mapping */
	fakeip_stats(d->fakeip, now_s, &s);
	if (s.exhausted != d->exhausted)
		d->exhausted_s = now_s;
	d->exhausted = s.exhausted;
	if (s.reusable || (s.used < s.size && now_s - d->exhausted_s > EXHAUSTED_S))
		daemon_clear_problem(d, PROBLEM_EXHAUSTED);
	else
		daemon_set_problem(d, PROBLEM_EXHAUSTED,
			"all %u fake addresses are in use: new names are answered %s; a larger "
			"fakeip.pool4 and fakeip.pool6, or a shorter fakeip.hold, help",
			s.size,
			d->config->fakeip.exhausted == CONF_EXHAUSTED_SERVFAIL ? "SERVFAIL"
									       : "real");
}

static void look_at_descriptors(struct daemon *d)
{
	uint64_t refused = descriptors_refused();

	if (refused != d->refused) {
		d->refused = refused;
		d->refused_ms = loop_now_ms(d->loop);
		daemon_set_problem(d, PROBLEM_DESCRIPTORS,
			"file descriptors are scarce, the limit is %u: connections, and questions "
			"to upstreams, may be refused until others have ended; raise it "
			"(LimitNOFILE, ulimit -n)",
			d->files_max);
	} else if (loop_now_ms(d->loop) - d->refused_ms > SCARCE_MS) {
		daemon_clear_problem(d, PROBLEM_DESCRIPTORS);
	}
}

/* --- the table's file --- */

/* A worker may have met the error; it shows here within a second. */
static void tend_store(struct daemon *d)
{
	int r = d->store ? store_tick(d->store, daemon_clock_s()) : 0;

	if (r == 1) {
		log_info("fakeip.store %s is written again: all mappings are kept",
			store_path(d->store));
		daemon_clear_problem(d, PROBLEM_STORE);
	} else if (r < 0) {
		daemon_set_problem(d, PROBLEM_STORE,
			"fakeip.store %s: %s; the table is kept in memory only, and tried again",
			store_path(d->store), strerror(-r));
	} else if (d->store && !fakeip_is_persistent(d->fakeip) && !d->problems[PROBLEM_STORE]) {
		daemon_set_problem(d, PROBLEM_STORE,
			"fakeip.store %s cannot be written; the table is kept in memory only, and "
			"tried again",
			store_path(d->store));
	}
}

static void upkeep(struct loop_timer *t)
{
	struct daemon *d = container_of(t, struct daemon, upkeep);

	shorten_ttl(d);
	sweep_if_wanted(d);
	look_at_room(d);
	look_at_descriptors(d);
	tend_store(d);
	daemon_cache_tend(d);
	daemon_learned_tend(d);
	loop_timer_set(d->loop, t, loop_now_ms(d->loop) + UPKEEP_MS);
}

/* --- generations --- */

/* What our table has to know of real answers. */
static void note_carried(struct daemon *d)
{
	d->plumbing.carried = policy_carries(d->gen->policy, true, 0);
	for (unsigned i = 0; i < TABLE_EGRESSES_MAX; i++)
		d->plumbing.real[i] = policy_carries(d->gen->policy, false, i);
}

static bool workers_use_latest(const struct daemon *d)
{
	for (unsigned i = 0; i < d->n_workers && d->workers[i]; i++)
		if (!worker_uses_latest(d->workers[i]))
			return false;
	return true;
}

/* Whoever is told that something is in force may ask at once, and a query can be with a worker
 * before its waker is. */
static void await_workers(const struct daemon *d)
{
	const struct timespec moment = {.tv_nsec = 200000};
	int64_t end_ms = clock_ms() + TAKE_MS;

	while (!workers_use_latest(d) && clock_ms() < end_ms)
		(void)nanosleep(&moment, NULL);
}

void daemon_use(struct daemon *d, struct generation *gen)
{
	for (unsigned i = 0; i < d->n_workers && d->workers[i]; i++)
		worker_use(d->workers[i], gen);
	await_workers(d);
	generation_unref(d->gen);
	d->gen = gen;
	note_carried(d);
}

void daemon_upkeep_start(struct daemon *d)
{
	d->upkeep.fire = upkeep;
	loop_timer_set(d->loop, &d->upkeep, loop_now_ms(d->loop) + UPKEEP_MS);
}

void daemon_upkeep_stop(struct daemon *d)
{
	if (d->loop)
		loop_timer_cancel(d->loop, &d->upkeep);
}
