/* Generations: what one takes from its configuration, what it shares with the one before, and when
 * it ends (told by the sanitizers). */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "conf/conf.h"
#include "gateway/generation.h"

static char folder[] = "/tmp/tungate-generation-XXXXXX";
static char lease_path[64], told[4096];
static unsigned errors;

static int setup(void **state)
{
	FILE *f;

	(void)state;
	if (!mkdtemp(folder))
		return -1;
	(void)snprintf(lease_path, sizeof lease_path, "%s/leases", folder);
	f = fopen(lease_path, "w");
	if (!f || fputs("0 m 192.168.1.2 nas *\nnonsense\n", f) < 0)
		return -1;
	return fclose(f);
}

static int teardown(void **state)
{
	(void)state;
	(void)unlink(lease_path);
	return rmdir(folder);
}

static void say(void *arg, enum conf_severity severity, const char *text)
{
	(void)arg;
	if (severity == CONF_ERROR)
		print_message("%s\n", text);
}

static void tell(void *arg, bool is_error, const char *text)
{
	size_t n = strlen(told);

	assert_ptr_equal(arg, told);
	errors += is_error;
	(void)snprintf(told + n, sizeof told - n, "%s\n", text);
}

static int try_generation(
	const char *fakeip, const char *rest, struct generation *previous, struct generation **ret)
{
	char yaml[2048];
	struct config *config;
	struct policy *policy;
	int error;

	(void)snprintf(yaml, sizeof yaml,
		"upstreams: {isp: {servers: [udp://192.0.2.1]}}\n"
		"egress:\n"
		"  proxy: {type: socks5, server: 192.0.2.9:1080}\n"
		"fakeip: {store: \"\", %s}\n"
		"%s"
		"rules:\n"
		"- {name: all, domain: [.], answer: fake, egress: proxy, upstream: isp}\n",
		fakeip, rest);
	assert_int_equal(conf_parse("t.yaml", yaml, strlen(yaml), say, NULL, &config), 0);
	told[0] = 0;
	errors = 0;
	error = policy_build(
		&(struct policy_build_config){.config = config, .report = tell, .report_arg = told},
		&policy);
	if (error) {
		conf_free(config);
		return error;
	}
	error = generation_new(
		&(struct generation_config){
			.config = config,
			.policy = policy,
			.own_mark = 1,
			.previous = previous,
			.report = tell,
			.report_arg = told,
		},
		ret);
	conf_free(config);
	return error;
}

static bool holds(const struct generation *g, const char *text)
{
	struct dns_name name;

	assert_int_equal(dns_name_parse(text, strlen(text), &name), 0);
	return leases_hold(g->leases, &name);
}

static void test_new(void **state)
{
	struct generation *g;
	char leases[128];

	(void)state;
	assert_int_equal(try_generation("ttl: 7s, https: rewrite, ech: drop", "", NULL, &g), 0);
	assert_string_equal(told, "");
	assert_int_equal(g->fake_ttl_s, 7);
	assert_int_equal(g->https, CONF_HTTPS_REWRITE);
	assert_int_equal(g->ech, CONF_ECH_DROP);
	assert_int_equal(g->exhausted, CONF_EXHAUSTED_REAL);
	assert_null(g->leases);
	assert_non_null(g->policy);
	assert_non_null(g->groups);
	assert_int_equal(egress_type(g->egresses, 0), CONF_EGRESS_SOCKS5);
	assert_ptr_equal(generation_ref(g), g);
	generation_unref(g);
	generation_unref(g);
	generation_unref(NULL);

	(void)snprintf(leases, sizeof leases, "leases: {files: [%s]}\n", lease_path);
	assert_int_equal(try_generation("exhausted: servfail", leases, NULL, &g), 0);
	assert_int_equal(g->exhausted, CONF_EXHAUSTED_SERVFAIL);
	assert_int_equal(errors, 0);
	assert_non_null(strstr(told, "leases:2:1: warning: leases.files: not a lease; "));
	assert_true(holds(g, "nas.lan"));
	generation_unref(g);
}

static void test_faults(void **state)
{
	struct generation *g = NULL;

	(void)state;
	assert_int_equal(
		try_generation("except: [gone]", "lists: {gone: /nowhere/gone.txt}\n", NULL, &g),
		-EINVAL);
	assert_null(g);
	assert_int_equal(errors, 1);
	assert_non_null(strstr(told, "/nowhere/gone.txt: No such file or directory"));
}

/* All that is wrong is told at once, each at its place. */
static void test_check(void **state)
{
	static const char yaml[] =
		"upstreams:\n"
		"  one: {servers: [tls://192.0.2.1, tls://192.0.2.2],\n"
		"    ca: /nowhere/ca.pem}\n"
		"  two: {servers: [tls://192.0.2.1], ca: /}\n"
		"leases: {files: [/]}\n"
		"records: {files: [/nowhere/records.json]}\n"
		"rules: [{name: all, domain: [.], answer: real, upstream: one}]\n";
	struct config *config;

	(void)state;
	assert_int_equal(conf_parse("t.yaml", yaml, strlen(yaml), say, NULL, &config), 0);
	told[0] = 0;
	errors = 0;
	assert_int_equal(generation_check(config, tell, told), -EINVAL);
	assert_int_equal(errors, 3);
	assert_non_null(strstr(told, "t.yaml:3:9: upstreams.one.ca: /nowhere/ca.pem: No such "));
	assert_non_null(strstr(told, "t.yaml:4:41: upstreams.two.ca: /: no certificates in it"));
	assert_non_null(strstr(told, "/:1:1: warning: leases.files: "));
	assert_non_null(strstr(told, "/nowhere/records.json:1:1: records: No such file"));
	conf_free(config);
}

#define SETS_OF_RULE 63

static int check_sets(unsigned n)
{
	struct config *config;
	char *yaml = NULL;
	size_t len;
	FILE *f = open_memstream(&yaml, &len);
	int error;

	assert_non_null(f);
	fputs("upstreams: {isp: {servers: [udp://192.0.2.1]}}\nrules:\n", f);
	for (unsigned i = 0; i < n; i++) {
		if (i % SETS_OF_RULE == 0)
			fprintf(f, "%s- {name: r%u, domain: [a%u], answer: real, nftset: [t#none",
				i ? "]}\n" : "", i, i);
		fprintf(f, ", 4#t#s%u", i);
	}
	fputs("]}\n", f);
	assert_int_equal(fclose(f), 0);
	assert_int_equal(conf_parse("t.yaml", yaml, len, say, NULL, &config), 0);
	told[0] = 0;
	error = generation_check(config, tell, told);
	conf_free(config);
	free(yaml);
	return error;
}

/* One of all rules is the same one. */
static void test_check_sets(void **state)
{
	(void)state;
	assert_int_equal(check_sets(4095), 0);
	assert_string_equal(told, "");
	assert_int_equal(check_sets(4097), -EINVAL);
	assert_string_equal(told, "t.yaml:68:3: rules: more than 4096 sets are named\n");
}

/* A flow of before a reload is one of the egress still. */
static void test_previous(void **state)
{
	struct generation *old, *fresh;
	struct egress_state *flow;
	struct egress_info info;

	(void)state;
	assert_int_equal(try_generation("ttl: 1s", "", NULL, &old), 0);
	flow = egress_flow_begin(old->egresses, 0);
	assert_non_null(flow);
	assert_int_equal(try_generation("ttl: 2s", "", old, &fresh), 0);
	generation_unref(old);
	assert_int_equal(egress_list(fresh->egresses, &info, 1), 1);
	assert_string_equal(info.name, "proxy");
	assert_int_equal(info.flows, 1);
	egress_flow_end(flow);
	assert_int_equal(egress_list(fresh->egresses, &info, 1), 1);
	assert_int_equal(info.flows, 0);
	generation_unref(fresh);
}

static void test_new_leases(void **state)
{
	char *paths[] = {lease_path}, lan[] = "lan";
	struct conf_leases c = {.files = {paths, 1}, .domain = lan};
	struct generation *old, *fresh;
	struct leases *leases;

	(void)state;
	assert_int_equal(try_generation("ttl: 9s, https: rewrite", "", NULL, &old), 0);
	assert_int_equal(leases_read(&c, 1, NULL, &leases), 0);
	assert_int_equal(generation_new_leases(old, leases, &fresh), 0);
	assert_ptr_equal(fresh->policy, old->policy);
	assert_ptr_equal(fresh->groups, old->groups);
	assert_ptr_equal(fresh->egresses, old->egresses);
	assert_null(old->leases);
	generation_unref(old);
	assert_true(holds(fresh, "nas"));
	assert_int_equal(fresh->fake_ttl_s, 9);
	assert_int_equal(fresh->https, CONF_HTTPS_REWRITE);
	old = fresh;
	assert_int_equal(generation_new_leases(old, NULL, &fresh), 0);
	generation_unref(old);
	assert_null(fresh->leases);
	assert_non_null(policy_rule_by_id(fresh->policy, policy_id("all")));
	generation_unref(fresh);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_new),
		cmocka_unit_test(test_faults),
		cmocka_unit_test(test_check),
		cmocka_unit_test(test_check_sets),
		cmocka_unit_test(test_previous),
		cmocka_unit_test(test_new_leases),
	};

	return cmocka_run_group_tests(tests, setup, teardown);
}
