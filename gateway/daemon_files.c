/* Files that are followed while the daemon runs: lists, local records, DHCP leases, learned names.
 * One that has changed is in force within gateway.watch; one that has become bad changes nothing
 * but `problems`.
 *
 * A list is read when it looks the same twice in a row, so that one that is being written is not
 * taken for whole. */
#include "gateway/daemon_internal.h"
#include "gateway/base/clock.h"
#include "gateway/base/container.h"
#include "gateway/base/log.h"

#include <errno.h>
#include <malloc.h>
#include <string.h>

#define LOOKS_A_WATCH 4 /* a change is seen, seen again, and read within the time */
#define LOOK_LEAST_MS 20
#define LOG_EVERY_MS  60000

static void complain(void *arg, bool is_error, const char *text)
{
	(void)arg;
	if (is_error)
		log_error("%s", text);
	else
		log_warn("%s", text);
}

/* --- lists --- */

void daemon_note_lists(struct daemon *d)
{
	const struct policy_list_info *lists;
	size_t n = policy_lists(d->gen->policy, &lists);

	for (size_t i = 0; i < n; i++)
		if (lists[i].error) {
			daemon_set_problem(d, PROBLEM_LISTS,
				"%s; the list of before stays in force", lists[i].error);
			return;
		}
	daemon_clear_problem(d, PROBLEM_LISTS);
}

static void lists_read(void *arg, struct policy *policy, int error)
{
	struct daemon *d = arg;
	struct generation *gen;

	if (!error)
		error = generation_new_policy(d->gen, policy, d->writer, &gen);
	if (error) {
		daemon_set_problem(d, PROBLEM_LISTS, "lists: %s; those of before stay in force",
			error == -EINVAL ? "they have errors, see the log" : strerror(-error));
	} else {
		d->lists_tried = 0;
		daemon_use(d, gen);
		daemon_forget_decisions(d);
		daemon_note_lists(d);
		log_info("lists were read again");
		(void)malloc_trim(0); /* building took several times what stays */
	}
	daemon_reload_next(d);
}

static void look_at_lists(struct daemon *d)
{
	static struct log_gate gate;
	uint64_t state;
	bool changed = policy_changed(d->gen->policy, &state), still = state == d->lists_seen;
	int error;

	d->lists_seen = state;
	if (loader_busy(d->loader))
		return;
	if (!changed && d->lists_tried) { /* they are as they were before */
		d->lists_tried = 0;
		daemon_note_lists(d);
	}
	if (!changed || !still || state == d->lists_tried)
		return;
	error = loader_start(d->loader, &(struct loader_job){
						.config = d->config,
						.previous = d->gen->policy,
						.keep_failed = true,
						.learned = d->learned,
						.report = complain,
						.done = lists_read,
						.arg = d,
					});
	if (!error)
		d->lists_tried = state;
	else if (log_gate_open(&gate, LOG_EVERY_MS))
		log_warn("lists have changed, but cannot be read: %s", strerror(-error));
}

/* --- leases --- */

static int renew_leases(struct daemon *d)
{
	const struct list_sink sink = {.complain = complain};
	struct generation *gen;
	struct leases *leases;
	int error = leases_read(&d->config->leases, clock_wall_s(), &sink, &leases);

	if (!error)
		error = generation_new_leases(d->gen, leases, &gen);
	if (!error)
		daemon_use(d, gen);
	return error;
}

static void look_at_leases(struct daemon *d)
{
	int error;

	if (!d->gen->leases || !leases_changed(d->gen->leases))
		return;
	error = renew_leases(d);
	if (error)
		daemon_set_problem(d, PROBLEM_LEASES, "leases: %s; those of before stay in force",
			strerror(-error));
	else
		daemon_clear_problem(d, PROBLEM_LEASES);
}

/* --- records --- */

int daemon_renew_records(struct daemon *d)
{
	const struct list_sink sink = {.complain = complain};
	struct generation *gen;
	struct records *records;
	int error = records_read(&d->config->records, &sink, &records);

	if (!error)
		error = generation_new_records(d->gen, records, &gen);
	if (error) {
		daemon_set_problem(d, PROBLEM_RECORDS, "records: %s; those of before stay in force",
			error == -EINVAL ? "they have errors, see the log" : strerror(-error));
		return error;
	}
	daemon_use(d, gen);
	daemon_clear_problem(d, PROBLEM_RECORDS);
	return 0;
}

static uint64_t mix_file(uint64_t state, const char *path)
{
	struct list_stamp now;

	(void)list_stamp_read(path, &now);
	return list_stamp_mix(state, &now);
}

/* Tells one state of the files from another. */
static uint64_t records_state(const struct conf_records *c)
{
	uint64_t state = 0;

	for (size_t i = 0; i < c->files.n; i++)
		state = mix_file(state, c->files.v[i]);
	return c->lines_file ? mix_file(state, c->lines_file) : state;
}

/* What is wrong is told once, and tried again when the files have changed. */
static void look_at_records(struct daemon *d)
{
	uint64_t state = records_state(&d->config->records);
	bool still = state == d->records_seen;

	d->records_seen = state;
	if (!still || state == d->records_read)
		return;
	d->records_read = state;
	(void)daemon_renew_records(d);
}

/* --- the look --- */

static void look(struct loop_timer *t)
{
	struct daemon *d = container_of(t, struct daemon, files);

	if (d->state == DAEMON_RUNNING && !d->reload.config) {
		look_at_leases(d);
		look_at_records(d);
		look_at_lists(d);
		daemon_learned_tend(d);
	}
	daemon_files_start(d);
}

void daemon_files_seen(struct daemon *d, const struct config *config)
{
	d->records_read = d->records_seen = records_state(&config->records);
}

void daemon_files_start(struct daemon *d)
{
	unsigned every_ms = d->config->gateway.watch_ms / LOOKS_A_WATCH;

	d->files.fire = look;
	loop_timer_cancel(d->loop, &d->files);
	if (d->config->gateway.watch_ms)
		loop_timer_set(d->loop, &d->files,
			loop_now_ms(d->loop) +
				(every_ms > LOOK_LEAST_MS ? every_ms : LOOK_LEAST_MS));
}

void daemon_files_stop(struct daemon *d)
{
	if (d->loop)
		loop_timer_cancel(d->loop, &d->files);
	if (d->loader)
		loader_stop(d->loader);
}
