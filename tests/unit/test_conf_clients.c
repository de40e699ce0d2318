/* Groups of clients: what stands for their names, circles, and where which may be named. */
#include "tests/unit/conf_messages.h"

#include <stdio.h>

/* Clients are in line 4, what follows is up to the case. */
#define BASE                                                                                       \
	"upstreams: {u: {servers: tls://192.0.2.1}}\ndefault: {upstream: u}\n"                     \
	"fakeip: {pool6: off}\n"
#define CLIENTS(groups) BASE "clients: {" groups "}\n"
#define RULE(clients)	"rules:\n- {name: r, client: " clients ", answer: real}\n"

#define STATIONS                                                                                   \
	"ADDRESS or NETWORK/LENGTH, IPv4 or IPv6; a MAC address such as 02:00:5e:10:00:01; a "     \
	"name in clients"

static void assert_prefix(const struct ip_prefix *p, const char *text)
{
	char buf[IP_TEXT_MAX];

	assert_string_equal(ip_prefix_format(p, buf), text);
}

/* Each group once, whatever number of ways leads to it. */
static void names_give_way_to_what_they_hold(void **state)
{
	struct messages m;
	struct config *c = parse(
		CLIENTS("all: [b, c, a], a: [10.0.0.1, 02:00:00:00:00:01], b: [a, 10.0.0.2], "
			"c: [a, 'if:br0', 10.0.0.3, b]") "leases: {files: /l}\n"
							 "gateway: {relay_clients: [b, "
							 "10.9.9.9]}\n" RULE("[all, 10.0.0.4, c]"),
		&m);
	const struct conf_who *who;

	(void)state;
	assert_string_equal(m.text, "");
	who = &c->clients[0].who;
	assert_int_equal(who->prefixes.n, 3);
	assert_prefix(&who->prefixes.v[0], "10.0.0.2/32");
	assert_prefix(&who->prefixes.v[1], "10.0.0.1/32");
	assert_prefix(&who->prefixes.v[2], "10.0.0.3/32");
	assert_int_equal(who->n_macs, 1);
	assert_int_equal(who->interfaces.n, 1);
	assert_int_equal(c->clients[1].who.prefixes.n, 1);
	assert_int_equal(c->clients[2].who.prefixes.n, 2);
	assert_int_equal(c->clients[3].who.prefixes.n, 3);
	who = &c->rules[0].client;
	assert_int_equal(who->prefixes.n, 4);
	assert_prefix(&who->prefixes.v[0], "10.0.0.4/32");
	assert_int_equal(who->n_macs, 1);
	assert_string_equal(who->interfaces.v[0], "br0");
	who = &c->gateway.relay_clients;
	assert_int_equal(who->prefixes.n, 3);
	assert_prefix(&who->prefixes.v[0], "10.9.9.9/32");
	assert_int_equal(who->n_macs, 1);
	conf_free(c);
}

static void excluded_networks_stand_apart(void **state)
{
	struct messages m;
	struct config *c = parse(BASE RULE("['!10.0.0.0/8', 192.0.2.0/24, '!2001:db8::1']"), &m);
	const struct conf_rule *rule = c->rules;

	(void)state;
	assert_string_equal(m.text, "");
	assert_int_equal(rule->client.prefixes.n, 1);
	assert_prefix(&rule->client.prefixes.v[0], "192.0.2.0/24");
	assert_int_equal(rule->not_client.n, 2);
	assert_prefix(&rule->not_client.v[0], "10.0.0.0/8");
	assert_prefix(&rule->not_client.v[1], "2001:db8::1/128");
	conf_free(c);
}

/* 2 to the power of 60 ways lead to the first group. */
static void many_ways_are_gone_once(void **state)
{
	char text[8192];
	struct messages m;
	struct config *c;
	size_t n = (size_t)snprintf(text, sizeof text, BASE "clients:\n  g0: 10.0.0.1\n");

	(void)state;
	for (unsigned i = 1; i <= 60; i++)
		n += (size_t)snprintf(text + n, sizeof text - n, "  g%u: [g%u, g%u, 10.0.1.%u]\n",
			i, i - 1, i - 1, i);
	snprintf(text + n, sizeof text - n, RULE("g60"));
	c = parse(text, &m);
	assert_string_equal(m.text, "");
	assert_int_equal(c->rules[0].client.prefixes.n, 61);
	conf_free(c);
}

static void groups_are_bounded(void **state)
{
	static char text[1 << 18];
	struct messages m;
	size_t n = (size_t)snprintf(text, sizeof text, BASE "clients:\n");

	(void)state;
	for (unsigned i = 0; i < 2; i++) {
		n += (size_t)snprintf(text + n, sizeof text - n, "  g%u: [10.0.0.0", i);
		for (unsigned j = 1; j < 2048; j++)
			n += (size_t)snprintf(
				text + n, sizeof text - n, ", 10.%u.%u.%u", i, j >> 8, j & 255);
		n += (size_t)snprintf(text + n, sizeof text - n, "]\n");
	}
	snprintf(text + n, sizeof text - n, RULE("[g0, g1]"));
	conf_free(parse(text, &m));
	assert_string_equal(m.text, "");
	snprintf(text + n, sizeof text - n, RULE("[g0, g1, 192.0.2.1]"));
	assert_null(parse(text, &m));
	assert_string_equal(m.text,
		"8:21: rules[0].client: has more than 4096 entries with those of "
		"its groups\n");
}

static void wrong_groups(void **state)
{
	static const struct wrong cases[] = {
		{CLIENTS("a: ") RULE("a"), "4:14: clients.a: is empty; allowed: " STATIONS
					   "; host:NAME; if:INTERFACE\n"},
		{CLIENTS("a: [10.0.0.1/8, 'host:', 'host:a b', 'if:', 'if:a/b', b, 1.2.3, "
			 "'if:br*']") RULE("a"),
			"4:15: clients.a[0]: '10.0.0.1/8' has host bits set, the network is "
			"10.0.0.0/8; allowed: " STATIONS "; host:NAME; if:INTERFACE\n"
			"4:27: clients.a[1]: '' is too short for a domain name; allowed: " STATIONS
			"; host:NAME; if:INTERFACE\n"
			"4:36: clients.a[2]: 'a b' has a character that no domain name has; "
			"allowed: " STATIONS "; host:NAME; if:INTERFACE\n"
			"4:48: clients.a[3]: '' is not the name of an interface; allowed: " STATIONS
			"; host:NAME; if:INTERFACE\n"
			"4:55: clients.a[4]: 'a/b' is not the name of an interface; "
			"allowed: " STATIONS "; host:NAME; if:INTERFACE\n"
			"4:65: clients.a[5]: there is no group in clients named 'b'; allowed: "
			"a; " STATIONS "; host:NAME; if:INTERFACE\n"
			"4:68: clients.a[6]: '1.2.3' is not an address or a network; "
			"allowed: " STATIONS "; host:NAME; if:INTERFACE\n"
			"4:75: clients.a[7]: 'br*' is not the name of an interface; "
			"allowed: " STATIONS "; host:NAME; if:INTERFACE\n"},
		{CLIENTS("10.0.0.1: 10.0.0.2") RULE("10.0.0.1"),
			"4:11: clients.10.0.0.1: is an address; allowed: a name that is no "
			"address\n"},
		{CLIENTS("a: {b: c}") RULE("a"), "4:14: clients.a: is a map; allowed: " STATIONS
						 "; host:NAME; if:INTERFACE\n"},
		/* Circles. */
		{CLIENTS("a: [10.0.0.1, a]") RULE("a"),
			"4:25: clients.a[1]: is the group itself; allowed: groups that do not "
			"lead back\n"},
		{CLIENTS("a: [b], b: c, c: [10.0.0.1, a]") RULE("a"),
			"4:39: clients.c[1]: leads back to the group 'c'; allowed: groups that do "
			"not lead back\n"},
		/* What nobody uses, what cannot be. */
		{CLIENTS("a: 10.0.0.1, b: [10.0.0.2, a]") RULE("10.0.0.3"),
			"4:27: note: clients.b: nothing names this group\n"},
		{CLIENTS("a: 'host:phone'") RULE("a"),
			"4:14: warning: clients.a: host:phone is nobody: there are no leases, see "
			"leases.files\n"},
	};

	(void)state;
	CHECK(cases);
}

static void wrong_uses(void **state)
{
	static const struct wrong cases[] = {
		{CLIENTS("kids: 10.0.0.1, tv: 10.0.0.2") RULE("[kds, tv, kids]"),
			"6:22: rules[0].client[0]: there is no group in clients named 'kds'; "
			"allowed: kids, tv; " STATIONS "; !NETWORK/LENGTH\n"},
		{CLIENTS("a: 10.0.0.1") RULE("['!a', 'host:x', 'if:br0', '!02:00:5e:10:00:01', a]"),
			"6:22: rules[0].client[0]: 'a' is not an address or a network; allowed: "
			"!ADDRESS, !NETWORK/LENGTH\n"
			"6:28: rules[0].client[1]: 'host:x' can only be written in a group of "
			"clients; allowed: " STATIONS "; !NETWORK/LENGTH\n"
			"6:38: rules[0].client[2]: 'if:br0' can only be written in a group of "
			"clients; allowed: " STATIONS "; !NETWORK/LENGTH\n"
			"6:48: rules[0].client[3]: '02:00:5e:10:00:01' is not an address or a "
			"network; allowed: !ADDRESS, !NETWORK/LENGTH\n"},
		{CLIENTS("a: 10.0.0.1, b: ['if:br0'], c: [b, 10.0.0.3], d: 'host:x'") "leases: "
										      "{files: "
										      "/l}"
										      "\ngateway: "
										      "{relay_"
										      "clients: "
										      "[a, c, "
										      "d]}\n",
			"6:30: gateway.relay_clients[1]: the group 'c' has if: entries; allowed: "
			"groups of addresses, networks and MAC addresses only\n"
			"6:33: gateway.relay_clients[2]: the group 'd' has host: entries; "
			"allowed: groups of addresses, networks and MAC addresses only\n"},
	};

	(void)state;
	CHECK(cases);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(names_give_way_to_what_they_hold),
		cmocka_unit_test(excluded_networks_stand_apart),
		cmocka_unit_test(many_ways_are_gone_once),
		cmocka_unit_test(groups_are_bounded),
		cmocka_unit_test(wrong_groups),
		cmocka_unit_test(wrong_uses),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
