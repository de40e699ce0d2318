#include "tests/unit/control_daemon.h"
#include "gateway/base/container.h"

#include <arpa/inet.h>
#include <errno.h>
#include <linux/netfilter.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* --- the policy --- */

static const struct policy_egress egresses[] = {{.name = "direct"}, {.name = "vpn", .index = 1}};
static const struct policy_list_info lists[] = {
	{.name = "work", .names = 3, .cidrs = 2, .files = 1, .loaded_at_s = 1700000000}};
static struct conf_set sets[] = {
	{.family = IP_V4, .nfproto = NFPROTO_INET, .table = (char *)"fw4", .name = (char *)"work4"},
	{.nfproto = NFPROTO_IPV6, .table = (char *)"t", .name = (char *)"s"},
	{.is_ipset = true, .family = IP_V6, .name = (char *)"old6"},
};
static const struct policy_rule rules[] = {
	{.name = "fakes", .answer = CONF_ANSWER_FAKE, .egress = &egresses[1], .upstream = 0},
	{.name = "work", .answer = CONF_ANSWER_REAL, .upstream = 1, .sets = sets, .n_sets = 3},
	{.answer = CONF_ANSWER_REAL, .upstream = -1},
};

const struct policy_rule *policy_also(const struct policy *p, unsigned i)
{
	(void)p;
	return &rules[i];
}

const struct policy *daemon_policy(struct daemon *d)
{
	return (const struct policy *)(void *)d;
}

size_t policy_lists(const struct policy *p, const struct policy_list_info **ret)
{
	(void)p;
	*ret = lists;
	return 1;
}

/* --- status --- */

void daemon_status(struct daemon *d, struct daemon_status *ret)
{
	*ret = (struct daemon_status){
		.state = d->state,
		.uptime_s = 3725,
		.workers = 2,
		.intercept = "tun",
		.mark_value = 0x10000000,
		.mark_mask = 0x10000000,
		.mark_tun = 0x20000000,
		.mark_tproxy = 0x40000000,
		.queries =
			{.total = 9, .fake = 4, .real = 3, .block = 1, .local = 1, .rerouted = 2},
		.fakeip = {.size = 1000000,
			.used = d->n_mappings,
			.flushed = 2,
			.in_hold = 1,
			.exhausted = 3},
		.pool4 = "198.18.0.0/15",
		.pool6 = "fd00:198:18::/64",
		.store = "memory",
		.cache = {.entries = 41,
			.bytes = 4100,
			.hits = 42,
			.misses = 43,
			.stale = 44,
			.refreshes = 45,
			.evicted = 46},
		.answers = {.rebind = 47, .forged = 48, .bogus = 49, .poisoned = 50},
		.leaks_stopped = 51,
		.lapses = {.times = 2, .ms = 4321, .now = true},
		.loops_stopped = 7,
		.push_errors = 8,
		.stray = 9,
		.outside = 10,
		.unmapped = 11,
		.tcp = {.flows = 20,
			.live = 4,
			.to_egress_bytes = UINT64_MAX,
			.to_client_bytes = 5000000000},
		.udp = {.flows = 30, .live = 5, .to_egress = 31, .to_client = 32, .dropped = 33},
	};
}

/* One of each type; a name is what a configuration says, so it may be anything. */
size_t daemon_egresses(struct daemon *d, struct egress_info *ret, size_t max)
{
	static const struct egress_info all[] = {
		{.name = "direct", .type = CONF_EGRESS_DIRECT, .up = true},
		{.name = "proxy",
			.type = CONF_EGRESS_SOCKS5,
			.up = true,
			.flows = 3,
			.rtt_us = 2300,
			.dropped = 6},
		{.name = "e\x1b[31m\xff\"\n", .type = CONF_EGRESS_HTTP, .failures = 12},
		{.name = "none", .type = CONF_EGRESS_REJECT, .up = true},
		{.name = "best", .type = CONF_EGRESS_GROUP, .up = true, .member = "proxy"},
		{.name = "lost", .type = CONF_EGRESS_GROUP},
	};
	const size_t n = sizeof all / sizeof all[0];

	(void)d;
	memcpy(ret, all, (n < max ? n : max) * sizeof all[0]);
	return n;
}

size_t daemon_servers(struct daemon *d, struct resolve_server_info *ret, size_t max)
{
	(void)d;
	if (max > 0)
		ret[0] = (struct resolve_server_info){.group = "public",
			.url = "udp://9.9.9.9",
			.up = true,
			.rtt_us = 1500,
			.queries = 3};
	return 1;
}

size_t daemon_sets(struct daemon *d, struct writer_set_info *ret, size_t max)
{
	(void)d;
	if (max > 0)
		ret[0] = (struct writer_set_info){
			.text = "4#inet#fw4#work4", .state = "ok", .elements = 5};
	return 1;
}

size_t daemon_problems(struct daemon *d, const char **ret, size_t max)
{
	size_t n = 0;

	for (; n < d->n_problems && n < max; n++)
		ret[n] = d->problems[n];
	return n;
}

int64_t daemon_cache_show(
	struct daemon *d, const char *name, size_t max, cache_visit *visit, void *arg)
{
	/* a.test A, one address, no error */
	static const uint8_t msg[] = {0, 0, 0x81, 0x80, 0, 1, 0, 1, 0, 0, 0, 0, 1, 'a', 4, 't', 'e',
		's', 't', 0, 0, 1, 0, 1, 0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 9, 0, 4, 192, 0, 2, 1};
	struct cache_shown shown = {.type = DNS_A,
		.ttl_s = 9,
		.hits = 3,
		.state = CACHE_FRESH,
		.msg = msg,
		.len = sizeof msg};

	(void)d;
	if (name && strchr(name, ' '))
		return -EINVAL;
	(void)dns_name_parse("a.test", 6, &shown.name);
	if (max > 0)
		visit(arg, &shown);
	shown = (struct cache_shown){.name = shown.name, .type = DNS_AAAA, .state = CACHE_FAILED};
	if (max > 1)
		visit(arg, &shown);
	return max < 2 ? (int64_t)max : 2;
}

int64_t daemon_cache_flush(struct daemon *d, const char *name)
{
	(void)d;
	if (name && strchr(name, ' '))
		return -EINVAL;
	return name ? 2 : 100;
}

const char *daemon_group_name(struct daemon *d, int group)
{
	(void)d;
	return group < 0 ? NULL : "public";
}

/* --- learned names: two for `work`, one for a rule whose name is for no terminal --- */

static void visit_learned(daemon_learned_visit *visit, void *arg, unsigned i)
{
	const uint8_t v4[4] = {192, 0, 2, 1}, v6[16] = {0x20, 0x01, 0x0d, 0xb8, [15] = 1};
	const struct ip_addr addresses[] = {ip_addr_v4(v4), ip_addr_v6(v6)};
	struct dns_name name = {.len = 0};
	struct learned_name n = {.name = &name, .asked_at_s = 1700000009};
	char text[16];

	(void)snprintf(text, sizeof text, "l%u.test", i);
	(void)dns_name_parse(text, strlen(text), &name);
	if (i == 0) {
		n.learned_at_s = 1700000001;
		n.verified_at_s = 1700000002;
		n.list = "geo";
		n.addresses = addresses;
		n.n_addresses = 2;
	}
	visit(arg, i < 2 ? "work" : "e\x1b[31m\xff", &n);
}

int daemon_learned(struct daemon *d, const char *rule, daemon_learned_visit *visit, void *arg)
{
	(void)d;
	if (rule && strcmp(rule, "none") == 0)
		return 0;
	if (rule && strcmp(rule, "work") != 0)
		return -ENOENT;
	for (unsigned i = 0; i < (rule ? 2 : 3); i++)
		visit_learned(visit, arg, i);
	return 0;
}

size_t daemon_learned_files(struct daemon *d, struct daemon_learned_file *ret, size_t max)
{
	(void)d;
	if (max < 2)
		return 0;
	ret[0] = (struct daemon_learned_file){.file = "/var/lib/learned",
		.rule = "work",
		.info = {.names = 1,
			.lines = 2,
			.learned = 3,
			.unlearned = 4,
			.evicted_capacity = 5,
			.evicted_age = 6,
			.compactions = 7,
			.restored = 8}};
	ret[1] = (struct daemon_learned_file){.file = "f\xff", .rule = "x", .info.error = -ENOSPC};
	return 2;
}

/* --- mappings --- */

/* Every third one carried nothing yet, one went as its rule says, one as `unless` decided. */
static void describe_verdict(unsigned i, struct daemon_mapping *ret)
{
	const uint8_t v4[4] = {10, 0, 0, 1}, v6[16] = {0x20, 0x01, 0x0d, 0xb8, [15] = 1};

	if (i % 3 == 0)
		return;
	ret->verdict.egress = i % 3 == 1 ? "vpn" : "e\x1b[31m\xff";
	ret->verdict.unless = i % 3 == 2;
	ret->verdict.address4 = ip_addr_v4(v4);
	if (i % 3 == 2)
		ret->verdict.address6 = ip_addr_v6(v6);
}

static void describe(unsigned i, struct daemon_mapping *ret)
{
	memset(ret, 0, sizeof *ret);
	snprintf(ret->name, sizeof ret->name, "n%u.test", i);
	ret->m.index = (i + 1) * 10;
	ret->m.has4 = ret->m.has6 = true;
	memcpy(ret->m.v4, (uint8_t[]){198, 18, (uint8_t)(i >> 8), (uint8_t)i}, 4);
	memcpy(ret->m.v6, (uint8_t[]){0xfd, [14] = (uint8_t)(i >> 8), [15] = (uint8_t)i}, 16);
	ret->view = "";
	ret->rule = i % 2 ? NULL : "fakes"; /* every second one's rule is gone */
	ret->egress = i % 2 ? NULL : "vpn";
	ret->last_answer_s = i;
	ret->in_hold = i % 2;
	ret->expires_in_s = i % 2 ? 0 : 7;
	ret->m.flushed = i % 4 == 3;
	ret->m.flows = i;
	describe_verdict(i, ret);
}

int daemon_mapping_next(struct daemon *d, uint32_t after, struct daemon_mapping *ret)
{
	unsigned i = after == UINT32_MAX ? 0 : after / 10;

	d->nexts++;
	if (i >= d->n_mappings)
		return -ENOENT;
	describe(i, ret);
	return 0;
}

/* twice.test has two views. */
static size_t find_twice(struct daemon_mapping *ret, size_t max)
{
	for (unsigned i = 0; i < 2 && i < max; i++) {
		describe(i, &ret[i]);
		strcpy(ret[i].name, "twice.test");
		snprintf(ret[i].view_text, sizeof ret[i].view_text, "%016x", i + 1);
		ret[i].view = ret[i].view_text;
	}
	return 2;
}

size_t daemon_mapping_find(
	struct daemon *d, const char *query, struct daemon_mapping *ret, size_t max)
{
	struct daemon_mapping m;
	char v4[INET_ADDRSTRLEN], v6[INET6_ADDRSTRLEN];

	if (strcmp(query, "twice.test") == 0)
		return find_twice(ret, max);
	for (unsigned i = 0; i < d->n_mappings && max > 0; i++) {
		describe(i, &m);
		inet_ntop(AF_INET, m.m.v4, v4, sizeof v4);
		inet_ntop(AF_INET6, m.m.v6, v6, sizeof v6);
		if (strcmp(query, m.name) == 0 || strcmp(query, v4) == 0 ||
			strcmp(query, v6) == 0) {
			*ret = m;
			return 1;
		}
	}
	return 0;
}

/* Those in hold are kept. */
int daemon_flush(struct daemon *d, const char *query, struct daemon_flush *ret)
{
	struct daemon_mapping found[2];
	size_t n = query ? daemon_mapping_find(d, query, found, 2) : 0;

	d->flushes++;
	memset(ret, 0, sizeof *ret);
	if (query && n == 0)
		return -ENOENT;
	if (!query)
		*ret = (struct daemon_flush){.flushed = d->n_mappings, .kept = d->n_mappings / 2};
	for (size_t i = 0; i < n; i++) {
		ret->flushed++;
		ret->kept += found[i].in_hold;
	}
	return 0;
}

/* --- explain: nN.test is fake, twice.test fake for one client, work.test real, else the default
 * --- */

int daemon_explain(struct daemon *d, const char *name, const char *type, const char *client,
	const struct policy_explain_sink *sink, struct daemon_explanation *ret,
	const char **ret_error)
{
	struct policy_explain_rule rule = {"fakes", false, "no list of the rule holds the name"};
	bool twice = strcmp(name, "twice.test") == 0;

	memset(ret, 0, sizeof *ret);
	*ret_error = strlen(name) > 255			    ? "name: not a domain name"
		     : client && strcmp(client, "bad") == 0 ? "client: not an address"
							    : NULL;
	if (*ret_error)
		return -EINVAL;
	strcpy(ret->name, name);
	strcpy(ret->type, type ? type : "A");
	ret->rule = &rules[2];
	if (name[0] == 'n' || twice) {
		ret->rule = &rules[0];
		rule.matched = true;
		rule.why = "domain: test is at or above the name";
	}
	sink->rule(sink->arg, &rule);
	if (strcmp(name, "work.test") == 0) {
		struct policy_explain_list list = {"work", "w\xff.txt", "work.test\t\x1b[31m", 7};

		sink->list(sink->arg, &list);
		list = (struct policy_explain_list){"other", "gone.txt", "", 0};
		sink->list(sink->arg, &list);
		ret->rule = &rules[1];
		rule = (struct policy_explain_rule){"work", true, "list: work holds the name"};
		sink->rule(sink->arg, &rule);
	}
	ret->https = d->https;
	if (strcmp(name, "never.test") == 0) {
		ret->never_fake = true;
		sink->note(sink->arg, "never fake: it is in fakeip.except (built-in)");
	}
	ret->upstream = daemon_group_name(d, ret->rule->upstream);
	ret->cache.state = CACHE_STALE;
	if (twice) {
		ret->has_mapping = client != NULL;
		find_twice(&ret->mapping, 1);
	} else if (name[0] == 'n') {
		ret->has_mapping = daemon_mapping_find(d, name, &ret->mapping, 1) == 1;
	}
	return 0;
}

/* --- reload --- */

static void reloaded(struct loop_timer *t)
{
	struct daemon *d = container_of(t, struct daemon, reloading.timer);
	daemon_reloaded *done = d->reloading.done;

	d->reloading.done = NULL;
	d->reloading.tell(d->reloading.arg, false, "rules: 2");
	done(d->reloading.arg, 0);
}

int daemon_reload(struct daemon *d, daemon_tell *tell, daemon_reloaded *done, void *arg)
{
	if (d->reloading.done)
		return -EBUSY;
	d->reloads++;
	if (d->reload_fails) {
		tell(arg, true, "t.yaml:3:5: gateway.mtu: not a number; allowed: 576 to 65535");
		tell(arg, true, "t.yaml:9:1: rulez: unknown key; allowed: rules");
		tell(arg, false, "t.yaml:12:1: warning: something");
		return -EINVAL;
	}
	d->reloading.tell = tell;
	d->reloading.done = done;
	d->reloading.arg = arg;
	d->reloading.timer.fire = reloaded;
	loop_timer_set(d->loop, &d->reloading.timer, loop_now_ms(d->loop) + d->reloading.wait_ms);
	return 0;
}

/* --- pushed records --- */

int daemon_records_set(
	struct daemon *d, const char *source, const char *json, char *ret_why, size_t size)
{
	static const struct {
		const char *source, *why;
		int error;
	} troubles[] = {
		{"bad", "records[3].rdata: not an IPv4 address; allowed: an IPv4 address", -EINVAL},
		{"gone", "", -ENOENT},
		{"disk", "/var/lib/\xff: No space left on device", -ENOSPC},
	};

	for (size_t i = 0; i < sizeof troubles / sizeof troubles[0]; i++) {
		if (strcmp(troubles[i].source, source) != 0)
			continue;
		snprintf(ret_why, size, "%s", troubles[i].why);
		return troubles[i].error;
	}
	snprintf(d->pushed, sizeof d->pushed, "%s%s%s", source, json ? " " : "", json ? json : "");
	return 0;
}

int daemon_records_list(struct daemon *d, char **ret_json)
{
	*ret_json = d->stored ? strdup(d->stored) : NULL;
	return d->stored ? 0 : -EIO;
}
