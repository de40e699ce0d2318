/* explain: what comes before the policy and behind it, in the order in which a query meets it
 * (query/query.c). */
#include "gateway/daemon_internal.h"
#include "gateway/base/clock.h"
#include "gateway/dns/message.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#define VIEWS_MAX 64

struct explaining {
	struct daemon *d;
	const struct policy_question *q;
	const struct policy_explain_sink *sink;
	struct daemon_explanation *ret;
};

static void note(const struct explaining *x, const char *text)
{
	if (x->sink->note)
		x->sink->note(x->sink->arg, text);
}

/* --- before the rules --- */

static bool reverse_address(const struct explaining *x, struct ip_addr *ret)
{
	uint8_t address[16];
	size_t size;

	if (!dns_name_reverse_address(x->q->name, address, &size))
		return false;
	*ret = ip_addr_of(address, size);
	return true;
}

static void explain_reverse(const struct explaining *x)
{
	struct ip_addr a;

	if (!reverse_address(x, &a) || !fakeip_in_pools(x->d->fakeip, a.b, ip_addr_size(&a)))
		return;
	note(x, "the reverse name of an address of the pools: answered from the table, before any "
		"rule");
	x->ret->own = true;
}

static void ignore_record(void *arg, const struct record *record)
{
	(void)arg;
	(void)record;
}

static void explain_records(const struct explaining *x)
{
	switch (records_find(
		x->d->gen->records, x->q->name, x->q->type, &x->q->client, ignore_record, NULL)) {
	case RECORDS_NONE:
		return;
	case RECORDS_PASS:
		note(x, "local records have the name, but not this type: the rules decide");
		return;
	case RECORDS_FOUND:
		note(x, "local records have the name: answered from them, before any rule");
		break;
	case RECORDS_NODATA:
		note(x, "local records have the name, but not this type for this client: NODATA, "
			"before any rule");
		break;
	case RECORDS_DENY:
		note(x, "local records deny the name: REFUSED, before any rule");
		break;
	}
	x->ret->records = x->ret->own = true;
}

/* Returns whether a lease has the name, or the address that a reverse name is of. */
static bool explain_lease(const struct explaining *x)
{
	const struct leases *leases = x->d->gen->leases;
	struct ip_addr a;

	if (!leases || (!leases_hold(leases, x->q->name) &&
			       !(reverse_address(x, &a) && leases_name(leases, &a))))
		return false;
	if (leases_answer(leases)) {
		note(x, "a DHCP lease has the name: answered from it, whatever the rules say");
		x->ret->own = true;
	}
	return true;
}

/* --- the rules, and behind them --- */

static void explain_builtin(
	const struct explaining *x, const struct policy_decision *decision, bool is_leased)
{
	bool is_house = decision->builtin == POLICY_BUILTIN_HOUSE;
	char text[160];

	if (decision->builtin == POLICY_BUILTIN_NONE || (is_house && is_leased))
		return;
	(void)snprintf(text, sizeof text,
		"a built-in name (builtin.%s): answered by ourselves, before the rule%s",
		decision->builtin_zone,
		is_house && records_hold(x->d->gen->records, x->q->name)
			? ", and NODATA, since records know it"
			: "");
	note(x, text);
	x->ret->own = true;
}

static void explain_cname(const struct explaining *x)
{
	char text[DNS_NAME_TEXT_MAX + 64], name[DNS_NAME_TEXT_MAX];
	const struct policy_rule *rule = x->ret->rule;

	if (rule->answer != CONF_ANSWER_LOCAL || !rule->cname)
		return;
	(void)snprintf(text, sizeof text, "cname: %s, whose own answer follows; explain it, too",
		dns_name_format(rule->cname->b, name));
	note(x, text);
}

static void explain_filter(const struct explaining *x)
{
	static const char *const texts[] = {
		NULL, "filter: A is answered NODATA", "filter: AAAA is answered NODATA"};
	enum conf_filter f = query_filter(x->ret->rule, x->d->ways);

	if (x->ret->rule->answer == CONF_ANSWER_BLOCK)
		return;
	x->ret->filter = f;
	if ((f == CONF_FILTER_IPV4 && x->q->type == DNS_A) ||
		(f == CONF_FILTER_IPV6 && x->q->type == DNS_AAAA))
		note(x, texts[f]);
}

/* Where `leak: strict` has the name asked instead. */
static int leak_group(const struct explaining *x, int group)
{
	int where = policy_group(x->d->gen->policy, group, x->q->name);
	const char *to = daemon_group_name(x->d, where);
	char text[200];

	if (where == group)
		return group;
	(void)snprintf(text, sizeof text, "leak: strict: %s may not be asked for this name%s%s",
		daemon_group_name(x->d, group), to ? "; it is asked at " : "; nobody is asked",
		to ? to : "");
	note(x, text);
	return where;
}

/* The answer that is kept is checked when it is given; the name need not be learned. */
static void explain_check(const struct explaining *x, const uint8_t *msg)
{
	const struct policy_rule *rule = x->ret->rule;
	struct ip_addr v[QUERY_ADDRESSES_MAX];
	size_t n = query_addresses(
		msg, x->ret->cache.len, query_filter(rule, x->d->ways), v, QUERY_ADDRESSES_MAX);
	const struct policy_check *check;
	char text[300];
	const char *list;

	check = policy_check_find(x->d->gen->policy, rule, x->q, v, n, &list);
	if (!check)
		return;
	(void)snprintf(text, sizeof text,
		"check: by the addresses of the answer that is kept (list %.63s), rule %.63s "
		"answers instead",
		list, check->rule->name);
	note(x, text);
}

/* As most clients ask: without DO and CD. */
static void find_cached(const struct explaining *x, int group, bool is_learned)
{
	const struct policy_rule *rule = x->ret->rule;
	const struct resolve_question q = {.group = group,
		.name = x->q->name,
		.type = x->q->type,
		.flags = (uint8_t)generation_flags(rule),
		.ttl = &rule->ttl};
	const struct cache_key key = {.name = q.name,
		.hash = dns_name_hash(q.name, x->d->hash_key),
		.type = q.type,
		.view = resolve_view(x->d->gen->groups, &q)};
	uint8_t msg[DNS_MESSAGE_MAX];

	cache_peek(
		x->d->cache, &key, (uint32_t)(clock_ms() / 1000), msg, sizeof msg, &x->ret->cache);
	if (!is_learned && x->ret->cache.state == CACHE_FRESH)
		explain_check(x, msg);
}

static void explain_upstream(const struct explaining *x, bool is_learned)
{
	const struct policy_rule *rule = x->ret->rule;
	bool is_fake = rule->answer == CONF_ANSWER_FAKE && !x->ret->never_fake;
	int group = is_fake ? query_upstream(rule) : rule->upstream;

	if (group < 0)
		return;
	group = leak_group(x, group);
	x->ret->upstream = daemon_group_name(x->d, group);
	if (group >= 0 && rule->cache)
		find_cached(x, group, is_learned);
}

static void explain_rules(const struct explaining *x)
{
	struct daemon_explanation *ret = x->ret;
	struct policy_decision decision = policy_explain(x->d->gen->policy, x->q, x->sink);
	bool was_own = ret->own, is_leased = was_own ? false : explain_lease(x);

	ret->rule = decision.rule;
	ret->also = decision.also;
	ret->never_fake = decision.never_fake;
	if (!ret->own)
		explain_builtin(x, &decision, is_leased);
	if (ret->own)
		return;
	if (is_leased && ret->rule->answer == CONF_ANSWER_FAKE) {
		ret->never_fake = true;
		note(x, "never fake: a DHCP lease has the name");
	}
	explain_upstream(x, decision.learned);
	explain_cname(x);
	explain_filter(x);
}

static void find_mapping(const struct explaining *x)
{
	struct daemon_mapping found[VIEWS_MAX];
	size_t n = daemon_mapping_find(x->d, x->ret->name, found, VIEWS_MAX);

	for (size_t i = 0; i < n; i++) {
		if (found[i].m.view != x->ret->rule->view)
			continue;
		x->ret->has_mapping = true;
		x->ret->mapping = found[i];
		x->ret->mapping.view = x->ret->mapping.view_text;
	}
}

/* How the queries of most clients come. */
static unsigned usual_listener(const struct daemon *d)
{
	switch (d->plumbing.mode) {
	case CONF_INTERCEPT_TUN:
		return CONF_LISTENER_TUN;
	case CONF_INTERCEPT_TPROXY:
		return CONF_LISTENER_TPROXY;
	case CONF_INTERCEPT_AUTO:
	case CONF_INTERCEPT_OFF:
		break;
	}
	return CONF_LISTENER_UDP;
}

int daemon_explain(struct daemon *d, const char *name, const char *type, const char *client,
	const struct policy_explain_sink *sink, struct daemon_explanation *ret,
	const char **ret_error)
{
	struct dns_name wire;
	struct policy_question q = {.name = &wire, .type = DNS_A, .listener = usual_listener(d)};
	const struct explaining x = {d, &q, sink, ret};
	struct policy_who who;

	memset(ret, 0, sizeof *ret);
	*ret_error = "name: not a domain name";
	if (dns_name_parse(name, strlen(name), &wire))
		return -EINVAL;
	*ret_error = "type: not a record type; allowed: A, AAAA, HTTPS, …, TYPE65280";
	if (type && dns_type_parse(type, &q.type))
		return -EINVAL;
	*ret_error = "client: not an address";
	if (client && ip_addr_parse(client, &q.client))
		return -EINVAL;
	*ret_error = NULL;
	dns_name_format(wire.b, ret->name);
	dns_type_format(q.type, ret->type);
	q.who = generation_who(d->gen, d->neighbours, &q.client, &who);
	ret->https = d->gen->https;
	explain_reverse(&x);
	if (!ret->own)
		explain_records(&x);
	explain_rules(&x);
	find_mapping(&x);
	return 0;
}
