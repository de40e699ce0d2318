/* A reload builds everything new beside what runs and then swaps; errors leave the running
 * configuration in force. The lists are read by the loader's thread meanwhile. */
#include "gateway/daemon_internal.h"
#include "gateway/base/clock.h"
#include "gateway/base/log.h"

#include <errno.h>
#include <malloc.h>
#include <stdio.h>
#include <string.h>

struct reload {
	daemon_tell *tell;
	void *arg;
};

static void tell_conf(void *arg, enum conf_severity severity, const char *text)
{
	struct reload *r = arg;

	if (severity != CONF_NOTE)
		r->tell(r->arg, severity == CONF_ERROR, text);
}

static void tell_lists(void *arg, bool is_error, const char *text)
{
	struct reload *r = arg;

	r->tell(r->arg, is_error, text);
}

static bool same_prefix(const struct ip_prefix *a, const struct ip_prefix *b)
{
	return a->len == b->len && ip_addr_equal(&a->addr, &b->addr);
}

static bool same_listen(const struct config *a, const struct config *b)
{
	if (a->n_listen != b->n_listen)
		return false;
	for (size_t i = 0; i < a->n_listen; i++)
		if (strcmp(a->listen[i].url, b->listen[i].url) != 0)
			return false;
	return true;
}

/* The tproxy sockets are opened at start, unless interception was off then. */
static bool opens_interception(const struct daemon *d, const struct config *fresh)
{
	return d->plumbing.tcp4.port == 0 && fresh->gateway.intercept != CONF_INTERCEPT_OFF;
}

/* What the running process cannot change under itself; the rest is taken over at once. */
static void tell_kept(const struct daemon *d, const struct config *fresh, struct reload *r)
{
	const struct config *old = d->config;
	const char *store = d->store ? store_path(d->store) : "";
	static const char *const text = "needs a restart; the running value stays in force";
	char line[256];
	const struct {
		bool changed;
		const char *key;
	} keys[] = {
		{strcmp(d->plumbing.tun, fresh->gateway.tun) != 0, "gateway.tun"},
		{old->gateway.workers != fresh->gateway.workers, "gateway.workers"},
		{old->gateway.mark.value != fresh->gateway.mark.value ||
				old->gateway.mark.mask != fresh->gateway.mark.mask,
			"gateway.mark"},
		{!same_prefix(&old->fakeip.pool4, &fresh->fakeip.pool4), "fakeip.pool4"},
		{!same_prefix(&old->fakeip.pool6, &fresh->fakeip.pool6), "fakeip.pool6"},
		{strcmp(store, fresh->fakeip.store) != 0, "fakeip.store"},
		{strcmp(old->control_socket, fresh->control_socket) != 0, "control.socket"},
		{!same_listen(old, fresh), "listen"},
		{opens_interception(d, fresh), "gateway.intercept"},
	};

	for (size_t i = 0; i < sizeof keys / sizeof keys[0]; i++) {
		if (!keys[i].changed)
			continue;
		snprintf(line, sizeof line, "%s %s", keys[i].key, text);
		r->tell(r->arg, false, line);
	}
}

/* Fields that were fixed at start keep their old values in the new configuration. */
static void keep_fixed(const struct daemon *d, struct config *fresh)
{
	const struct config *old = d->config;

	fresh->gateway.mark = old->gateway.mark;
	fresh->gateway.workers = old->gateway.workers;
	if (opens_interception(d, fresh))
		fresh->gateway.intercept = CONF_INTERCEPT_OFF;
	fresh->fakeip.pool4 = old->fakeip.pool4;
	fresh->fakeip.pool6 = old->fakeip.pool6;
}

/* --- the new configuration takes over --- */

static void take_over(struct daemon *d, struct config *fresh, struct generation *gen)
{
	struct config *old = d->config;

	/* A longer TTL is the table's before anybody answers with it, a shorter one when nobody
	 * answers with the longer one any more (daemon_upkeep.c). */
	if (fresh->fakeip.ttl_s > d->table_ttl_s)
		d->table_ttl_s = fresh->fakeip.ttl_s;
	fakeip_set_times(d->fakeip, d->table_ttl_s, fresh->fakeip.hold_s);
	daemon_use(d, gen);
	d->config = fresh;
	if (d->store)
		store_set_sync(d->store, fresh->fakeip.sync_s);
	daemon_cache_configure(d);
	daemon_note_lists(d);
	daemon_clear_problem(d, PROBLEM_LEASES);
	daemon_clear_problem(d, PROBLEM_RECORDS);
	daemon_files_start(d);
	daemon_set_ways(d);
	log_set_level((enum log_level)fresh->log_level);
	d->plumbing.forget = true; /* new connections go the new way */
	daemon_choose_again(d, true);
	conf_free(old);
}

static int finish(struct daemon *d, struct config *fresh, struct policy *policy, struct reload *r)
{
	struct generation *gen;
	int error;

	daemon_files_seen(d, fresh);
	error = generation_new(
		&(struct generation_config){
			.config = fresh,
			.policy = policy,
			.writer = d->writer,
			.own_mark = plumbing_marks(&fresh->gateway).value,
			.leaks = &d->leaks,
			.previous = d->gen,
			.report = tell_lists,
			.report_arg = r,
		},
		&gen);
	if (error)
		return error;
	take_over(d, fresh, gen);
	(void)malloc_trim(0); /* building took several times what stays */
	return 0;
}

static void tell_log(void *arg, bool is_error, const char *text)
{
	(void)arg;
	if (is_error)
		log_error("%s", text);
	else
		log_info("%s", text);
}

/* What has changed since the reload under way began is not in it. */
void daemon_reload_by_signal(struct daemon *d)
{
	d->reload.again = daemon_reload(d, tell_log, NULL, NULL) == -EBUSY;
}

static void end(struct daemon *d, int error)
{
	daemon_reloaded *done = d->reload.done;
	void *arg = d->reload.arg;

	if (error) {
		log_error("reload: the lists or records have errors; the running configuration "
			  "stays in force");
		conf_free(d->reload.config);
	} else {
		d->reload.tell(arg, false,
			"rules, lists, records, upstreams, egresses and interception are in force "
			"as configured");
		log_info("reloaded %s", d->config_path);
	}
	d->reload.config = NULL;
	if (done)
		done(arg, error);
	if (d->reload.again)
		daemon_reload_by_signal(d);
}

static void built(void *arg, struct policy *policy, int error)
{
	struct daemon *d = arg;
	struct reload r = {d->reload.tell, d->reload.arg};

	if (!error)
		error = finish(d, d->reload.config, policy, &r);
	end(d, error);
}

static void report_built(void *arg, bool is_error, const char *text)
{
	struct daemon *d = arg;

	d->reload.tell(d->reload.arg, is_error, text);
}

static int read_lists(struct daemon *d)
{
	const struct loader_job job = {
		.config = d->reload.config,
		.previous = d->gen->policy,
		.learned = d->learned,
		.report = report_built,
		.done = built,
		.arg = d,
	};

	return loader_start(d->loader, &job);
}

void daemon_reload_next(struct daemon *d)
{
	int error;

	if (!d->reload.config || loader_busy(d->loader))
		return;
	error = read_lists(d);
	if (error)
		end(d, error);
}

/* The daemon ends. */
void daemon_reload_stop(struct daemon *d)
{
	if (!d->reload.config)
		return;
	conf_free(d->reload.config);
	d->reload.config = NULL;
	if (d->reload.done)
		d->reload.done(d->reload.arg, -ECANCELED);
}

int daemon_reload(struct daemon *d, daemon_tell *tell, daemon_reloaded *done, void *arg)
{
	struct reload r = {tell, arg};
	struct config *fresh;
	int error;

	if (d->reload.config)
		return -EBUSY;
	if (conf_load(d->config_path, tell_conf, &r, &fresh)) {
		log_error("reload: %s has errors; the running configuration stays in force",
			d->config_path);
		return -EINVAL;
	}
	tell_kept(d, fresh, &r);
	keep_fixed(d, fresh);
	d->reload.config = fresh;
	d->reload.tell = tell;
	d->reload.done = done;
	d->reload.arg = arg;
	error = loader_busy(d->loader) ? 0 : read_lists(d);
	if (error) {
		log_error("reload: the lists cannot be read: %s; the running configuration stays "
			  "in force",
			strerror(-error));
		conf_free(fresh);
		d->reload.config = NULL;
	}
	return error;
}
