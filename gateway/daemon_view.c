/* What the control room is told: copies, made on demand. */
#include "gateway/daemon_internal.h"
#include "gateway/base/clock.h"
#include "gateway/base/count.h"
#include "gateway/base/log.h"
#include "gateway/carry/verdict.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

static void pool_text(const struct ip_prefix *p, char *ret)
{
	if (p->addr.family == IP_NONE)
		memcpy(ret, "off", sizeof "off");
	else
		ip_prefix_format(p, ret);
}

static void add_carry(const struct carry *c, struct daemon_status *ret)
{
	const struct relay_counters *tcp = carry_relay_counters(c);
	const struct udp_relay_counters *udp = carry_udp_counters(c);

	ret->unmapped += count_get(&carry_counters(c)->unmapped);
	ret->loops_stopped += count_get(&carry_counters(c)->loops) + count_get(&udp->loops);
	ret->tcp.flows += count_get(&tcp->flows);
	ret->tcp.live += count_get(&tcp->live);
	ret->tcp.to_egress_bytes += count_get(&tcp->to_egress_bytes);
	ret->tcp.to_client_bytes += count_get(&tcp->to_client_bytes);
	ret->udp.flows += count_get(&udp->flows);
	ret->udp.live += count_get(&udp->live);
	ret->udp.to_egress += count_get(&udp->to_egress);
	ret->udp.to_client += count_get(&udp->to_client);
	ret->udp.dropped += count_get(&udp->dropped);
}

static void add_worker(const struct worker *w, struct daemon_status *ret)
{
	const struct query_counters *q = worker_query_counters(w);

	ret->queries.total += count_get(&q->total);
	ret->queries.fake += count_get(&q->fake);
	ret->queries.real += count_get(&q->real);
	ret->queries.block += count_get(&q->block);
	ret->queries.local += count_get(&q->local);
	ret->queries.failed += count_get(&q->failed);
	ret->queries.rerouted += count_get(&q->rerouted);
	ret->loops_stopped += count_get(&q->loops);
	ret->push_errors += count_get(&q->push_errors);
	ret->pushes.waited += count_get(&q->pushes);
	ret->pushes.held += count_get(&q->push_held);
	ret->pushes.late += count_get(&q->push_late);
	ret->pushes.async += count_get(&q->push_async);
	ret->pushes.queued += count_get(&q->push_queued);
	ret->pushes.dropped += count_get(&q->push_dropped);
	add_carry(worker_carry(w), ret);
}

static void add_writer(const struct daemon *d, struct daemon_status *ret)
{
	struct forgetter_stats forgotten;
	struct writer_stats writer;

	writer_stats(d->writer, &writer);
	forgetter_stats(d->forgetter, &forgotten);
	ret->pushes.refilled = writer.refilled;
	ret->pushes.forgotten = forgotten.flows;
	ret->pushes.dropped += forgotten.dropped;
}

static void add_lapses(const struct daemon *d, struct daemon_status *ret)
{
	uint64_t since_ms = count_get(&d->lapsed_since_ms);

	ret->lapses.now = since_ms > 0;
	ret->lapses.times = count_get(&d->lapses);
	ret->lapses.ms = count_get(&d->lapsed_ms);
	if (since_ms)
		ret->lapses.ms += (uint64_t)clock_ms() - since_ms;
}

void daemon_status(struct daemon *d, struct daemon_status *ret)
{
	struct plumbing_marks marks = plumbing_marks(&d->config->gateway);
	enum conf_intercept mode = d->plumbing.mode;

	memset(ret, 0, sizeof *ret);
	add_writer(d, ret);
	ret->state = d->state;
	ret->uptime_s = (clock_ms() - d->started_ms) / 1000;
	ret->workers = d->n_workers;
	ret->intercept = mode == CONF_INTERCEPT_TUN	 ? "tun"
			 : mode == CONF_INTERCEPT_TPROXY ? "tproxy"
							 : "off";
	ret->mark_value = marks.value;
	ret->mark_mask = marks.mask;
	ret->mark_tun = marks.tun;
	ret->mark_tproxy = marks.tproxy;
	for (unsigned i = 0; i < d->n_workers; i++)
		add_worker(d->workers[i], ret);
	fakeip_stats(d->fakeip, daemon_clock_s(), &ret->fakeip);
	pool_text(&d->plumbing.pool4, ret->pool4);
	pool_text(&d->plumbing.pool6, ret->pool6);
	ret->store = !d->store			       ? "memory"
		     : fakeip_is_persistent(d->fakeip) ? store_path(d->store)
		     : d->problems[PROBLEM_STORE]      ? d->problems[PROBLEM_STORE]
						       : "memory: the file cannot be written";
	cache_stats(d->cache, &ret->cache);
	resolve_counters(d->gen->groups, &ret->answers);
	ret->leaks_stopped = count_get(&d->leaks);
	add_lapses(d, ret);
	writer_counter(d->writer, "stray", &ret->stray);
	writer_counter(d->writer, "outside", &ret->outside);
}

size_t daemon_servers(struct daemon *d, struct resolve_server_info *ret, size_t max)
{
	return resolve_servers(d->gen->groups, ret, max);
}

size_t daemon_egresses(struct daemon *d, struct egress_info *ret, size_t max)
{
	return egress_list(d->gen->egresses, ret, max);
}

size_t daemon_sets(struct daemon *d, struct writer_set_info *ret, size_t max)
{
	return writer_set_list(d->writer, ret, max);
}

size_t daemon_problems(struct daemon *d, const char **ret, size_t max)
{
	size_t n = 0;

	for (size_t i = 0; i < DAEMON_PROBLEMS_MAX && n < max; i++)
		if (d->problems[i])
			ret[n++] = d->problems[i];
	return n;
}

const struct policy *daemon_policy(struct daemon *d)
{
	return d->gen->policy;
}

const char *daemon_group_name(struct daemon *d, int group)
{
	return group < 0 ? NULL : resolve_group_name(d->gen->groups, group);
}

/* --- mappings --- */

static void describe_verdict(struct daemon *d, struct daemon_mapping *ret)
{
	const struct policy_egress *by = NULL;
	struct decisions *decisions = d->carry_shared->decisions;
	struct dns_name name = verdict_name(&ret->m);
	struct decision known;

	memset(&ret->verdict, 0, sizeof ret->verdict);
	if (!decisions_get(decisions, decisions_key(decisions, ret->m.index, &name, ret->m.view),
		    daemon_clock_s(), &known))
		return;
	if (known.carried_by)
		by = policy_egress_by_id(d->gen->policy, known.carried_by);
	ret->verdict.egress = by ? by->name : NULL;
	ret->verdict.unless = known.by == DECISION_UNLESS;
	ret->verdict.address4 = known.pin4.real;
	ret->verdict.address6 = known.pin6.real;
}

static void describe(struct daemon *d, struct daemon_mapping *ret)
{
	const struct policy_rule *rule = policy_rule_by_id(d->gen->policy, ret->m.rule);
	uint32_t now_s = daemon_clock_s(), ttl_s = d->gen->fake_ttl_s;

	dns_name_format(ret->m.name, ret->name);
	ret->view_text[0] = 0;
	if (ret->m.view)
		snprintf(ret->view_text, sizeof ret->view_text, "%016" PRIx64, ret->m.view);
	ret->view = ret->view_text;
	ret->rule = rule ? rule->name : NULL;
	ret->egress = rule && rule->egress ? rule->egress->name : NULL;
	ret->last_answer_s = now_s > ret->m.last_answer_s ? now_s - ret->m.last_answer_s : 0;
	ret->expires_in_s = ret->last_answer_s < ttl_s ? ttl_s - ret->last_answer_s : 0;
	ret->in_hold = ret->m.flushed || (ret->expires_in_s == 0 && ret->m.flows == 0);
	describe_verdict(d, ret);
}

int daemon_mapping_next(struct daemon *d, uint32_t after, struct daemon_mapping *ret)
{
	int error = fakeip_next(d->fakeip, after, &ret->m);

	if (!error)
		describe(d, ret);
	return error;
}

static bool find_address(struct daemon *d, const struct ip_addr *a, struct fakeip_mapping *ret)
{
	uint32_t index;

	return (a->family == IP_V4 ? fakeip_index4(d->fakeip, a->b, &index)
				   : fakeip_index6(d->fakeip, a->b, &index)) &&
	       fakeip_get(d->fakeip, index, ret) == 0;
}

static size_t find_name(
	struct daemon *d, const struct dns_name *name, struct fakeip_mapping *ret, size_t max)
{
	size_t n = fakeip_find(
		d->fakeip, name->b, name->len, dns_name_hash(name, d->hash_key), ret, max);

	return n < max ? n : max;
}

#define VIEWS_MAX 64

size_t daemon_mapping_find(
	struct daemon *d, const char *query, struct daemon_mapping *ret, size_t max)
{
	struct fakeip_mapping found[VIEWS_MAX];
	struct dns_name name;
	struct ip_addr a;
	size_t n = 0;

	if (max > VIEWS_MAX)
		max = VIEWS_MAX;
	if (max == 0)
		return 0;
	if (ip_addr_parse(query, &a) == 0)
		n = find_address(d, &a, found);
	else if (dns_name_parse(query, strlen(query), &name) == 0)
		n = find_name(d, &name, found, max);
	for (size_t i = 0; i < n; i++) {
		ret[i].m = found[i];
		describe(d, &ret[i]);
	}
	return n;
}

/* --- flush --- */

static void flush(struct daemon *d, uint32_t index, struct daemon_flush *ret)
{
	bool kept;

	if (fakeip_flush(d->fakeip, index, daemon_clock_s(), &kept))
		return;
	ret->flushed++;
	ret->kept += kept;
	if (!kept)
		decisions_forget(d->carry_shared->decisions, index);
}

static void flush_all(struct daemon *d, struct daemon_flush *ret)
{
	struct fakeip_mapping m = {.index = UINT32_MAX};

	while (fakeip_next(d->fakeip, m.index, &m) == 0)
		flush(d, m.index, ret);
}

int daemon_flush(struct daemon *d, const char *query, struct daemon_flush *ret)
{
	struct daemon_mapping found[VIEWS_MAX];
	size_t n = query ? daemon_mapping_find(d, query, found, VIEWS_MAX) : 0;
	int error;

	memset(ret, 0, sizeof *ret);
	if (query && n == 0)
		return -ENOENT;
	(void)daemon_sweep(d); /* so that only what is in use is kept; without it all is */
	if (query)
		for (size_t i = 0; i < n; i++)
			flush(d, found[i].m.index, ret);
	else
		flush_all(d, ret);
	error = fakeip_commit(d->fakeip);
	if (error)
		log_error("fakeip.store: %s; the table is kept in memory only from now on",
			strerror(-error));
	return 0;
}
