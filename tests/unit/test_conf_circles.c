/* What groups of servers need of one another, to be reached and when they fail, and who learns
 * which names: what is said about a wrong or a risky configuration, word for word. */
#include "tests/unit/conf_groups.h"
#include "tests/unit/conf_messages.h"

#include <stdio.h>
#include <stdlib.h>

#define WAYS                                                                                       \
	"fakeip: {pool6: off}\n"                                                                   \
	"lists: {l: x}\n"                                                                          \
	"upstreams:\n"                                                                             \
	"  t: {servers: tls://192.0.2.1}\n"                                                        \
	"  p: {servers: udp://192.0.2.2}\n"                                                        \
	"  q: {servers: [tls://192.0.2.3, tcp://192.0.2.3]}\n"                                     \
	"  b: {servers: udp://192.0.2.4, via: s}\n"                                                \
	"  f: {servers: tls://192.0.2.5, fallback: p, downgrade: yes}\n"                           \
	"  n: {servers: tls://192.0.2.5, fallback: q}\n"                                           \
	"  k: {servers: tls://192.0.2.6, leak: strict, lists: l, strict_to: p}\n"                  \
	"egress:\n"                                                                                \
	"  s: {type: socks5, server: 192.0.2.9, upstream: p}\n"                                    \
	"  o: {type: socks5, server: 192.0.2.9, upstream: t}\n"                                    \
	"  d: {type: direct, upstream: p}\n"                                                       \
	"  e: {type: direct, upstream: t}\n"                                                       \
	"  g: {type: group, of: [s, d, e]}\n"

/* A chain of groups, each of which needs the next one; the last needs the first. */
static char *chain_text(size_t n)
{
	char *text = malloc(n * 80 + 256), *p = text;

	assert_non_null(text);
	p += sprintf(p, HEAD);
	for (size_t i = 0; i < n; i++)
		p += sprintf(p, "  g%zu: {servers: tls://a%zu.example, bootstrap: g%zu}\n", i, i,
			(i + 1) % n);
	return text;
}

static void a_long_circle_is_told_once(void **state)
{
	char *text = chain_text(900);
	struct messages m;

	(void)state;
	assert_null(parse(text, &m));
	assert_int_equal(m.n[CONF_ERROR], 1);
	assert_non_null(strstr(m.text, "can only be reached through itself: g"));
	free(text);
}

static void leaks(void **state)
{
	static const struct wrong cases[] = {
		{GROUP("leak: strict"), "2:6: upstreams.u.lists: is missing; leak: strict says "
					"which names may be asked; allowed: "
					"names in lists\n"
					"2:39: note: upstreams.u.leak: names that are not in lists "
					"get SERVFAIL, for strict_to "
					"is missing\n"},
		{GROUP("leak: strict, lists: []"), "2:39: note: upstreams.u.leak: names that are "
						   "not in lists get SERVFAIL, for strict_to "
						   "is missing\n"
						   "2:54: upstreams.u.lists: is empty; leak: "
						   "strict says which names may be asked; allowed: "
						   "names in lists\n"},
		{GROUP("leak: strict, lists: l"), "2:39: note: upstreams.u.leak: names that are "
						  "not in lists get SERVFAIL, for strict_to "
						  "is missing\n"},
		{GROUP("leak: strict, lists: l, strict_to: v"), ""},
		{GROUP("leak: strict, lists: l, strict_to: u"),
			"2:68: upstreams.u.strict_to: is the group itself; allowed: another "
			"group\n"},
		{GROUP("lists: l, strict_to: v"),
			"2:40: warning: upstreams.u.lists: has no effect without leak: strict\n"
			"2:54: warning: upstreams.u.strict_to: has no effect without leak: "
			"strict\n"},
		{GROUP("leak: strict, lists: l, strict_to: s}\n"
		       "  s: {servers: tls://192.0.2.4, leak: strict, lists: l, strict_to: v"),
			"2:68: upstreams.u.strict_to: 's' takes only names of its lists, too "
			"(leak: strict); allowed: "
			"a group without leak: strict\n"},
		{GROUP("fallback: s}\n"
		       "  s: {servers: tls://192.0.2.4, leak: strict, lists: l, strict_to: v"),
			"2:43: upstreams.u.fallback: 's' takes only names of its lists (leak: "
			"strict); allowed: "
			"a group without leak: strict\n"},
		{GROUP("x: 1, leak: strict, lists: l, strict_to: v"),
			"2:33: upstreams.u.x: unknown key; allowed: ca, via, ecs, mark, leak, "
			"total, lists, rebind, "
			"health, window, servers, timeout, min_rtt, strategy, fallback, all_down, "
			"bootstrap, downgrade, "
			"ignore_ip, strict_to, require_edns, bogus_nxdomain, case_randomization\n"},
	};

	(void)state;
	CHECK(cases);
}

static void fallbacks(void **state)
{
	static const struct wrong cases[] = {
		{GROUP("fallback: u"), "2:43: upstreams.u.fallback: leads back to the group "
				       "itself: u -> u; allowed: a group "
				       "that does not fall back to this one\n"},
		{GROUP("fallback: w"),
			"2:43: upstreams.u.fallback: no server of 'w' is encrypted, as servers of "
			"this group are; "
			"allowed: a group with tls:// or https://, or downgrade: yes\n"},
		{GROUP("fallback: w, downgrade: yes"), ""},
		{GROUP("fallback: m}\n"
		       "  m: {servers: [tls://192.0.2.4, udp://192.0.2.5]"),
			"2:43: warning: upstreams.u.fallback: the unencrypted servers of 'm' are "
			"never asked without "
			"downgrade: yes\n"},
		{GROUP("fallback: a}\n"
		       "  a: {servers: tls://192.0.2.4, fallback: b}\n"
		       "  b: {servers: tls://192.0.2.5, fallback: a"),
			"3:43: upstreams.a.fallback: leads back to the group itself: a -> b -> a; "
			"allowed: a group "
			"that does not fall back to this one\n"},
		{GROUP("fallback: a}\n"
		       "  a: {servers: tls://192.0.2.4, fallback: b}\n"
		       "  b: {servers: tls://192.0.2.5, fallback: u"),
			"2:43: upstreams.u.fallback: leads back to the group itself: u -> a -> b "
			"-> u; allowed: "
			"a group that does not fall back to this one\n"},
	};

	(void)state;
	CHECK(cases);
}

static void names_need_a_way(void **state)
{
	static const struct wrong cases[] = {
		{HEAD "  u: {servers: tls://a.example}\n",
			"5:6: upstreams.u.bootstrap: is missing; it resolves the server's name "
			"'a.example'; allowed: "
			"v\n"},
		{"fakeip: {pool6: off}\n"
		 "default: {answer: real, upstream: u}\n"
		 "upstreams: {u: {servers: tls://a.example}}\n",
			"3:16: upstreams.u.bootstrap: is missing; it resolves the server's name "
			"'a.example'; allowed: a group of servers that are given by address\n"},
		{HEAD "  u: {servers: [tls://192.0.2.1, udp://a.example]}\n",
			"5:6: upstreams.u.bootstrap: is missing; it resolves the server's name "
			"'a.example'; allowed: "
			"v\n"},
		{HEAD "  u: {servers: tls://a.example, bootstrap: v}\n", ""},
		{HEAD "  u: {servers: tls://192.0.2.1, bootstrap: v}\n",
			"5:44: warning: upstreams.u.bootstrap: has no effect: no server is given "
			"by name\n"},
		{HEAD "  u: {servers: tls://a.example, via: p}\n"
		      "egress: {p: {type: http, udp: reject, server: 192.0.2.9}}\n",
			""},
		{HEAD "  u: {servers: tls://a.example, via: p, bootstrap: v}\n"
		      "egress: {p: {type: socks5, server: 192.0.2.9}}\n",
			"5:52: warning: upstreams.u.bootstrap: has no effect: the proxy resolves "
			"the names of "
			"servers\n"},
		{HEAD "  u: {servers: tls://a.example, via: d}\n"
		      "egress: {d: {type: direct}}\n",
			"5:6: upstreams.u.bootstrap: is missing; it resolves the server's name "
			"'a.example'; allowed: "
			"v\n"},
		{HEAD "  u: {servers: tls://a.example, via: g}\n"
		      "egress: {g: {type: group, of: [p, d]}, p: {type: socks5, server: "
		      "192.0.2.9}, d: {type: "
		      "direct}}\n",
			"5:6: upstreams.u.bootstrap: is missing; it resolves the server's name "
			"'a.example'; allowed: "
			"v\n"},
		{HEAD "  u: {servers: tls://a.example, via: g}\n"
		      "egress: {g: {type: group, of: [p, n]}, p: {type: socks5, server: "
		      "192.0.2.9}, n: {type: "
		      "reject}}\n",
			""},
		{HEAD "  u: {servers: {url: tls://192.0.2.1, bind: eth0}, via: p}\n"
		      "egress: {p: {type: socks5, server: 192.0.2.9}}\n",
			"5:45: warning: upstreams.u.servers.bind: has no effect: the proxy asks "
			"the server\n"},
		{HEAD "  u: {servers: tls://a.example, bootstrap: s}\n"
		      "  s: {servers: tls://192.0.2.4, leak: strict, lists: l, strict_to: v}\n"
		      "lists: {l: x}\n"
		      "egress: {p: {type: socks5, server: p.example, bootstrap: s}}\n",
			"5:44: warning: upstreams.u.bootstrap: the name of the server is asked at "
			"'s' whether "
			"its lists have it or not (leak: strict)\n"
			"8:58: warning: egress.p.bootstrap: the name of the server is asked at 's' "
			"whether its "
			"lists have it or not (leak: strict)\n"},
	};

	(void)state;
	CHECK(cases);
}

static void circles(void **state)
{
	static const struct wrong cases[] = {
		{HEAD "  u: {servers: tls://a.example, bootstrap: u}\n",
			"5:44: upstreams.u.bootstrap: can only be reached through itself: u -> "
			"bootstrap u; allowed: "
			"a way that does not need the group\n"},
		{HEAD "  u: {servers: [tls://a.example, tls://192.0.2.1], bootstrap: u}\n", ""},
		{HEAD "  a: {servers: tls://a.example, bootstrap: b}\n"
		      "  b: {servers: tls://b.example, bootstrap: c}\n"
		      "  c: {servers: tls://c.example, bootstrap: a}\n"
		      "  d: {servers: tls://d.example, bootstrap: a}\n",
			"7:44: upstreams.c.bootstrap: can only be reached through itself: c -> "
			"bootstrap a -> "
			"bootstrap b -> bootstrap c; allowed: a way that does not need the "
			"group\n"},
		{HEAD "  u: {servers: tls://a.example, via: p}\n"
		      "egress: {p: {type: socks5, server: p.example, bootstrap: u}}\n",
			"5:38: upstreams.u.via: can only be reached through itself: u -> via p -> "
			"bootstrap u; "
			"allowed: a way that does not need the group\n"},
		{HEAD "  u: {servers: tls://192.0.2.1, via: p}\n"
		      "  w: {servers: tls://w.example, bootstrap: u}\n"
		      "egress: {p: {type: socks5, server: p.example, bootstrap: w}}\n",
			"6:44: upstreams.w.bootstrap: can only be reached through itself: w -> "
			"bootstrap u -> "
			"via p -> bootstrap w; allowed: a way that does not need the group\n"},
		{HEAD "  u: {servers: tls://192.0.2.1, via: g}\n"
		      "egress:\n"
		      "  g: {type: group, of: [h, p]}\n"
		      "  h: {type: group, of: p}\n"
		      "  p: {type: socks5, server: p.example, bootstrap: u}\n",
			"5:38: upstreams.u.via: can only be reached through itself: u -> via g -> "
			"of h -> of p "
			"-> bootstrap u; allowed: a way that does not need the group\n"},
		{HEAD "  u: {servers: tls://192.0.2.1, via: g}\n"
		      "egress:\n"
		      "  g: {type: group, of: [p, q]}\n"
		      "  p: {type: socks5, server: p.example, bootstrap: u}\n"
		      "  q: {type: socks5, server: 192.0.2.9}\n",
			""},
		{HEAD "  u: {servers: tls://192.0.2.1, via: p}\n"
		      "egress: {p: {type: socks5, server: 192.0.2.9, upstream: u}}\n",
			""},
		{HEAD "  u: {servers: tls://192.0.2.1, via: p}\n"
		      "egress: {p: {type: socks5, server: p.example, bootstrap: v, upstream: u}}\n",
			""},
		{HEAD "  u: {servers: tls://192.0.2.1, via: d}\n"
		      "egress: {d: {type: direct, upstream: u}}\n",
			""},
		{HEAD "  a: {servers: tls://a.example, bootstrap: b}\n"
		      "  b: {servers: tls://b.example, bootstrap: x}\n",
			"6:44: upstreams.b.bootstrap: there is no group in upstreams named 'x'; "
			"allowed: v, a, "
			"b\n"},
		{HEAD "  u: {servers: tls://192.0.2.1, via: g}\n"
		      "egress: {g: {type: group, of: h}, h: {type: group, of: g}}\n",
			"6:56: egress.h.of: leads back to the group 'h'\n"},
	};

	(void)state;
	CHECK(cases);
}

static void what_can_be_read_on_the_way(void **state)
{
	static const struct wrong cases[] = {
		{WAYS "default: {upstream: t}\n"
		      "rules:\n"
		      "- {name: a, domain: a, answer: real, upstream: p}\n"
		      "- {name: b, domain: b, answer: real, upstream: q}\n"
		      "- {name: c, domain: c, answer: real, upstream: t}\n",
			"7:38: note: upstreams.b.via: through a proxy, udp:// and dns:// go over "
			"TCP\n"
			"9:43: warning: upstreams.n.fallback: the unencrypted servers of 'q' are "
			"never asked without "
			"downgrade: yes\n"
			"19:48: note: rules[0].upstream: the names of the rule are asked at 'p', "
			"neither encrypted "
			"nor reached through a proxy\n"
			"20:48: note: rules[1].upstream: the names of the rule are asked at 'q', "
			"neither encrypted "
			"nor reached through a proxy\n"},
		{WAYS "default: {upstream: t}\n"
		      "rules:\n"
		      "- {name: a, domain: a, answer: real, upstream: b}\n",
			"7:38: note: upstreams.b.via: through a proxy, udp:// and dns:// go over "
			"TCP\n"
			"9:43: warning: upstreams.n.fallback: the unencrypted servers of 'q' are "
			"never asked without "
			"downgrade: yes\n"},
		{WAYS "default: {upstream: t}\n"
		      "rules:\n"
		      "- {name: a, domain: a, answer: real, upstream: f}\n"
		      "- {name: b, domain: b, answer: real, upstream: n}\n"
		      "- {name: c, domain: c, answer: real, upstream: k}\n",
			"7:38: note: upstreams.b.via: through a proxy, udp:// and dns:// go over "
			"TCP\n"
			"9:43: warning: upstreams.n.fallback: the unencrypted servers of 'q' are "
			"never asked without "
			"downgrade: yes\n"
			"19:48: note: rules[0].upstream: the names of the rule are asked at 'p', "
			"neither encrypted "
			"nor reached through a proxy\n"
			"21:48: note: rules[2].upstream: the names of the rule are asked at 'p', "
			"neither encrypted "
			"nor reached through a proxy\n"},
		{WAYS "default: {upstream: t}\n"
		      "rules:\n"
		      "- {name: a, domain: a, answer: real, egress: d}\n"
		      "- {name: b, domain: b, answer: fake, egress: d}\n"
		      "- {name: c, domain: c, answer: fake, egress: g}\n",
			"7:38: note: upstreams.b.via: through a proxy, udp:// and dns:// go over "
			"TCP\n"
			"9:43: warning: upstreams.n.fallback: the unencrypted servers of 'q' are "
			"never asked without "
			"downgrade: yes\n"
			"19:46: note: rules[0].egress: the names of the rule are asked at 'p', "
			"neither encrypted "
			"nor reached through a proxy\n"
			"20:46: note: rules[1].egress: the names of the rule are asked at 'p', "
			"neither encrypted "
			"nor reached through a proxy\n"
			"21:46: note: rules[2].egress: the names of the rule are asked at 'p', "
			"neither encrypted "
			"nor reached through a proxy\n"},
		{WAYS "default: {upstream: t}\n"
		      "rules:\n"
		      "- {name: a, domain: a, answer: fake, egress: s}\n"
		      "- {name: b, domain: b, answer: fake, egress: o}\n",
			"7:38: note: upstreams.b.via: through a proxy, udp:// and dns:// go over "
			"TCP\n"
			"9:43: warning: upstreams.n.fallback: the unencrypted servers of 'q' are "
			"never asked without "
			"downgrade: yes\n"
			"19:46: note: rules[0].egress: names of the rule that are not faked "
			"(fakeip.except, gateway.lame_duck) "
			"are asked at 'p', neither encrypted nor reached through a proxy\n"},
		{WAYS "default: {upstream: t}\n"
		      "rules:\n"
		      "- {name: a, domain: a, answer: fake, egress: o, unless: [{resolves_in: l, "
		      "egress: d}, "
		      "{resolves_in: l, egress: e, upstream: p}]}\n",
			"7:38: note: upstreams.b.via: through a proxy, udp:// and dns:// go over "
			"TCP\n"
			"9:43: warning: upstreams.n.fallback: the unencrypted servers of 'q' are "
			"never asked without "
			"downgrade: yes\n"
			"19:58: note: rules[0].unless[0]: every name of the rule is asked at 'p'\n"
			"19:58: note: rules[0].unless[0]: the names of the rule are asked at 'p', "
			"neither encrypted "
			"nor reached through a proxy\n"
			"19:125: note: rules[0].unless[1].upstream: every name of the rule is "
			"asked at 'p'\n"},
		{"fakeip: {pool6: off, https: rewrite}\n"
		 "lists: {l: x}\n"
		 "upstreams:\n"
		 "  t: {servers: tls://192.0.2.1}\n"
		 "  p: {servers: udp://192.0.2.2}\n"
		 "  q: {servers: [tls://192.0.2.3, tcp://192.0.2.3]}\n"
		 "  b: {servers: udp://192.0.2.4, via: s}\n"
		 "  f: {servers: tls://192.0.2.5, fallback: p, downgrade: yes}\n"
		 "  n: {servers: tls://192.0.2.5, fallback: q}\n"
		 "  k: {servers: tls://192.0.2.6, leak: strict, lists: l, strict_to: p}\n"
		 "egress:\n"
		 "  s: {type: socks5, server: 192.0.2.9, upstream: p}\n"
		 "  o: {type: socks5, server: 192.0.2.9, upstream: t}\n"
		 "  d: {type: direct, upstream: p}\n"
		 "  e: {type: direct, upstream: t}\n"
		 "  g: {type: group, of: [s, d, e]}\n"
		 "default: {upstream: t}\n"
		 "rules:\n"
		 "- {name: a, domain: a, answer: fake, egress: s}\n",
			"7:38: note: upstreams.b.via: through a proxy, udp:// and dns:// go over "
			"TCP\n"
			"9:43: warning: upstreams.n.fallback: the unencrypted servers of 'q' are "
			"never asked without "
			"downgrade: yes\n"
			"19:46: note: rules[0].egress: the names of the rule are asked at 'p', "
			"neither encrypted "
			"nor reached through a proxy\n"},
		{WAYS "default: {upstream: t}\n"
		      "rules:\n"
		      "- {name: a, domain: a, answer: block}\n"
		      "- {name: b, domain: b, answer: local, address: 192.0.2.1}\n",
			"7:38: note: upstreams.b.via: through a proxy, udp:// and dns:// go over "
			"TCP\n"
			"9:43: warning: upstreams.n.fallback: the unencrypted servers of 'q' are "
			"never asked without "
			"downgrade: yes\n"},
		{WAYS "default: {upstream: p}\n",
			"7:38: note: upstreams.b.via: through a proxy, udp:// and dns:// go over "
			"TCP\n"
			"9:43: warning: upstreams.n.fallback: the unencrypted servers of 'q' are "
			"never asked without "
			"downgrade: yes\n"
			"17:21: note: default.upstream: names that no rule takes are asked at 'p', "
			"neither encrypted "
			"nor reached through a proxy\n"},
		{WAYS "default: {}\n", "7:38: note: upstreams.b.via: through a proxy, udp:// and "
				       "dns:// go over TCP\n"
				       "9:43: warning: upstreams.n.fallback: the unencrypted "
				       "servers of 'q' are never asked without "
				       "downgrade: yes\n"},
		{WAYS "default: {upstream: p}\n"
		      "rules: [{name: a, answer: real, upstream: t}]\n",
			"7:38: note: upstreams.b.via: through a proxy, udp:// and dns:// go over "
			"TCP\n"
			"9:43: warning: upstreams.n.fallback: the unencrypted servers of 'q' are "
			"never asked without "
			"downgrade: yes\n"},
		{"fakeip: {pool6: off}\n"
		 "lists: {l: x}\n"
		 "upstreams:\n"
		 "  t: {servers: tcp://192.0.2.1}\n"
		 "  p: {servers: udp://192.0.2.2}\n"
		 "  q: {servers: [tls://192.0.2.3, tcp://192.0.2.3]}\n"
		 "  b: {servers: udp://192.0.2.4, via: s}\n"
		 "  f: {servers: tls://192.0.2.5, fallback: p, downgrade: yes}\n"
		 "  n: {servers: tls://192.0.2.5, fallback: q}\n"
		 "  k: {servers: tls://192.0.2.6, leak: strict, lists: l, strict_to: p}\n"
		 "egress:\n"
		 "  s: {type: socks5, server: 192.0.2.9, upstream: p}\n"
		 "  o: {type: socks5, server: 192.0.2.9, upstream: t}\n"
		 "  d: {type: direct, upstream: p}\n"
		 "  e: {type: direct, upstream: t}\n"
		 "  g: {type: group, of: [s, d, e]}\n",
			"1:1: warning: default: is missing, and no rule takes every name: other "
			"names are asked "
			"at 't', the first group\n"
			"1:1: note: default: names that no rule takes are asked at 't', neither "
			"encrypted nor "
			"reached through a proxy\n"
			"7:38: note: upstreams.b.via: through a proxy, udp:// and dns:// go over "
			"TCP\n"
			"9:43: warning: upstreams.n.fallback: the unencrypted servers of 'q' are "
			"never asked without "
			"downgrade: yes\n"},
	};

	(void)state;
	CHECK(cases);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(leaks),
		cmocka_unit_test(fallbacks),
		cmocka_unit_test(names_need_a_way),
		cmocka_unit_test(circles),
		cmocka_unit_test(what_can_be_read_on_the_way),
		cmocka_unit_test(a_long_circle_is_told_once),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
