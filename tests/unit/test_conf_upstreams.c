/* Groups of servers and the cache: what becomes of URLs, and what is said about a wrong or a risky
 * configuration, word for word. */
#include "tests/unit/conf_groups.h"
#include "tests/unit/conf_messages.h"

#include <stdio.h>
#include <stdlib.h>

#define FORMS                                                                                      \
	"; allowed: udp://HOST[:PORT], tcp://HOST[:PORT], dns://HOST[:PORT], "                     \
	"tls://HOST[:PORT][@TLS-NAME], "                                                           \
	"https://HOST[:PORT][/PATH][@TLS-NAME]; IPv6 as [ADDRESS], link-local ones with "          \
	"%INTERFACE\n"

#define URL(url)     GROUPS("servers: '" url "'")
#define SERVER(keys) GROUPS("servers: {" keys "}")
#define PLAIN(keys)  GROUPS("servers: udp://192.0.2.1, " keys)
#define ONE                                                                                        \
	"upstreams: {u: {servers: tls://192.0.2.1}}\n"                                             \
	"default: {upstream: u}\n"                                                                 \
	"fakeip: {pool6: off}\n"
#define CACHE(keys) ONE "cache: {" keys "}\n"
#define RULE(keys)                                                                                 \
	ONE "egress: {e: {type: direct, upstream: u}}\nrules: [{name: a, domain: a, " keys "}]\n"

static void good_urls(void **state)
{
	static const struct {
		const char *url;
		enum conf_transport transport;
		const char *host, *at;
		unsigned port;
		const char *tls_name, *path;
	} cases[] = {
		{"udp://192.0.2.1", CONF_UDP, NULL, "192.0.2.1:53", 53, NULL, NULL},
		{"UDP://192.0.2.1:5353", CONF_UDP, NULL, "192.0.2.1:5353", 5353, NULL, NULL},
		{"tcp://[2001:db8::1]", CONF_TCP, NULL, "[2001:db8::1]:53", 53, NULL, NULL},
		{"dns://2001:db8::1", CONF_DNS, NULL, "[2001:db8::1]:53", 53, NULL, NULL},
		{"udp://[fe80::1%lo]:54", CONF_UDP, NULL, "[fe80::1%1]:54", 54, NULL, NULL},
		{"udp://A.Example.", CONF_UDP, "a.example", NULL, 53, "a.example", NULL},
		{"tls://192.0.2.1", CONF_TLS, NULL, "192.0.2.1:853", 853, NULL, NULL},
		{"tls://192.0.2.1@Dns.Example.", CONF_TLS, NULL, "192.0.2.1:853", 853,
			"dns.example", NULL},
		{"tls://[2001:db8::1]:443@a.example", CONF_TLS, NULL, "[2001:db8::1]:443", 443,
			"a.example", NULL},
		{"tls://2001:db8::1@a.example", CONF_TLS, NULL, "[2001:db8::1]:853", 853,
			"a.example", NULL},
		{"tls://Dns.Example:8853", CONF_TLS, "dns.example", NULL, 8853, "dns.example",
			NULL},
		{"tls://dns.example@other.example", CONF_TLS, "dns.example", NULL, 853,
			"other.example", NULL},
		{"https://192.0.2.1", CONF_HTTPS, NULL, "192.0.2.1:443", 443, NULL, "/dns-query"},
		{"https://192.0.2.1/", CONF_HTTPS, NULL, "192.0.2.1:443", 443, NULL, "/"},
		{"HTTPS://dns.example/DNS-Query{?dns}", CONF_HTTPS, "dns.example", NULL, 443,
			"dns.example", "/DNS-Query"},
		{"https://192.0.2.1/dns-query@dns.example", CONF_HTTPS, NULL, "192.0.2.1:443", 443,
			"dns.example", "/dns-query"},
		{"https://192.0.2.1/p{?dns}@dns.example", CONF_HTTPS, NULL, "192.0.2.1:443", 443,
			"dns.example", "/p"},
		{"https://192.0.2.1@dns.example", CONF_HTTPS, NULL, "192.0.2.1:443", 443,
			"dns.example", "/dns-query"},
		{"https://[2001:db8::1]:8443/a:b/%7Ex?k=v&x=1", CONF_HTTPS, NULL,
			"[2001:db8::1]:8443", 8443, NULL, "/a:b/%7Ex?k=v&x=1"},
	};

	(void)state;
	for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
		char text[512], buf[IP_TEXT_MAX];
		const struct conf_server *s;
		struct messages m;
		struct config *c;

		snprintf(text, sizeof text, HEAD "  u: {servers: '%s', rebind: protect%s}\n",
			cases[i].url, cases[i].host ? ", bootstrap: v" : "");
		c = parse(text, &m);
		assert_string_equal(m.text, "");
		s = c->upstreams[1].servers;
		assert_string_equal(s->url, cases[i].url);
		assert_int_equal(s->transport, cases[i].transport);
		assert_int_equal(s->at.port, cases[i].port);
		assert_int_equal(!s->host, !cases[i].host);
		if (s->host)
			assert_string_equal(s->host, cases[i].host);
		else
			assert_string_equal(ip_port_format(&s->at, buf), cases[i].at);
		assert_int_equal(!s->tls_name, !cases[i].tls_name);
		if (s->tls_name)
			assert_string_equal(s->tls_name, cases[i].tls_name);
		assert_int_equal(!s->path, !cases[i].path);
		if (s->path)
			assert_string_equal(s->path, cases[i].path);
		conf_free(c);
	}
}

static void defaults(void **state)
{
	struct messages m;
	struct config *c = parse(ONE, &m);
	const struct conf_upstream *u = c->upstreams;

	(void)state;
	assert_string_equal(m.text, "");
	assert_int_equal(u->strategy, CONF_STRATEGY_FASTEST);
	assert_int_equal(u->timeout_ms, 2000);
	assert_int_equal(u->total_ms, 5000);
	assert_int_equal(u->via, -1);
	assert_int_equal(u->bootstrap, -1);
	assert_null(u->ca);
	assert_int_equal(u->fallback, -1);
	assert_false(u->downgrade);
	assert_int_equal(u->all_down, CONF_ALL_DOWN_SPRAY);
	assert_int_equal(u->rebind, CONF_REBIND_PROTECT);
	assert_int_equal(u->health_ms, 2000);
	assert_int_equal(u->ignore_ip.n + u->bogus_nxdomain.n, 0);
	assert_false(u->require_edns);
	assert_int_equal(u->min_rtt_ms + u->window_ms, 0);
	assert_int_equal(u->ecs.addr.family, IP_NONE);
	assert_false(u->case_randomization);
	assert_false(u->leak_strict);
	assert_int_equal(u->strict_to, -1);
	assert_int_equal(u->servers[0].method, CONF_POST);
	assert_int_equal(u->servers[0].idle_ms, 30000);
	assert_int_equal(u->servers[0].max_queries + u->servers[0].max_life_ms, 0);
	assert_int_equal(u->servers[0].bind.address.family, IP_NONE);
	assert_null(u->servers[0].bind.interface);
	conf_free(c);
}

static void total_follows_timeout(void **state)
{
	static const struct {
		const char *keys;
		unsigned want_ms;
	} cases[] = {{"timeout: 6s", 6000}, {"timeout: 50ms", 5000}, {"total: 1s", 1000},
		{"timeout: 10s, total: 3s", 3000}};

	(void)state;
	for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
		char text[256];
		struct messages m;
		struct config *c;

		snprintf(text, sizeof text, HEAD "  u: {servers: tls://192.0.2.1, %s}\n",
			cases[i].keys);
		c = parse(text, &m);
		assert_string_equal(m.text, "");
		assert_int_equal(c->upstreams[1].total_ms, cases[i].want_ms);
		conf_free(c);
	}
}

static void rebind_of_rules(void **state)
{
	struct messages m;
	struct config *c =
		parse(HEAD "  u: {servers: tls://192.0.2.1, rebind: allow}\n"
			   "rules:\n"
			   "- {name: a, domain: a, answer: real, upstream: u}\n"
			   "- {name: b, domain: b, answer: real, upstream: u, rebind: protect}\n"
			   "- {name: c, domain: c, answer: real, upstream: v, rebind: allow}\n"
			   "- {name: d, domain: d, answer: real}\n",
			&m);
	static const enum conf_rebind want[] = {
		CONF_REBIND_ALLOW, CONF_REBIND_PROTECT, CONF_REBIND_ALLOW, CONF_REBIND_PROTECT};

	(void)state;
	assert_string_equal(m.text, "");
	for (size_t i = 0; i < 4; i++) {
		assert_int_equal(c->rules[i].rebind, want[i]);
		assert_int_equal(c->rules[i].rebind_set, i == 1 || i == 2);
		assert_true(c->rules[i].cache);
		assert_int_equal(c->rules[i].ttl.min_s, 0);
		assert_int_equal(c->rules[i].ttl.max_s, UINT32_MAX);
	}
	conf_free(c);
}

static void prefetch(void **state)
{
	static const struct {
		const char *text;
		unsigned percent, hits;
	} cases[] = {{"off", 0, 1}, {"1%", 1, 1}, {"90%", 90, 1}, {"{hits: 4}", 20, 4},
		{"{share: off, hits: 4}", 0, 4}, {"{share: 7%}", 7, 1}};

	(void)state;
	for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
		char text[256];
		struct messages m;
		struct config *c;

		snprintf(text, sizeof text, ONE "cache: {prefetch: %s}\n", cases[i].text);
		c = parse(text, &m);
		assert_string_equal(m.text, "");
		assert_int_equal(c->cache.prefetch_percent, cases[i].percent);
		assert_int_equal(c->cache.prefetch_hits, cases[i].hits);
		conf_free(c);
	}
}

static void a_secret_in_a_url_is_not_shown(void **state)
{
	static const char *const urls[] = {"https://u:secret@192.0.2.1/dns-query",
		"tls://u:secret@192.0.2.1", "udp://u:secret@192.0.2.1:53",
		"https://u:secret@a.example:443", "socks5://u:secret@192.0.2.1"};

	(void)state;
	for (size_t i = 0; i < sizeof urls / sizeof urls[0]; i++) {
		char text[256];
		struct messages m;

		snprintf(text, sizeof text, HEAD "  u: {servers: '%s'}\n", urls[i]);
		assert_null(parse(text, &m));
		assert_null(strstr(m.text, "secret"));
	}
}

static void a_nul_in_a_url(void **state)
{
	static const struct wrong cases[] = {{HEAD "  u: {servers: \"tls://a.example\\0@b\"}\n",
		"5:16: upstreams.u.servers: contains a NUL character\n"}};

	(void)state;
	CHECK(cases);
}

static void wrong_urls(void **state)
{
	static const struct wrong cases[] = {
		{URL("192.0.2.1"), "2:16: upstreams.u.servers: does not begin with udp://, tcp://, "
				   "dns://, tls:// or https://" FORMS},
		{URL("quic://192.0.2.1"),
			"2:16: upstreams.u.servers: has the unknown scheme 'quic'" FORMS},
		{URL("://192.0.2.1"), "2:16: upstreams.u.servers: has the unknown scheme ''" FORMS},
		{URL("tls:/192.0.2.1"), "2:16: upstreams.u.servers: does not begin with udp://, "
					"tcp://, dns://, tls:// or https://" FORMS},
		{URL(""), "2:16: upstreams.u.servers: does not begin with udp://, tcp://, dns://, "
			  "tls:// or https://" FORMS},
		{URL("tls://"), "2:16: upstreams.u.servers: has no host" FORMS},
		{URL("tls:///"), "2:16: upstreams.u.servers: has no host" FORMS},
		{URL("tls://@a.example"), "2:16: upstreams.u.servers: has no host" FORMS},
		{URL("tls://:853"),
			"2:16: upstreams.u.servers: '' is too short for a domain name" FORMS},
		{URL("tls://192.0.2.1:"), "2:16: upstreams.u.servers: '' is not a port" FORMS},
		{URL("tls://192.0.2.1:0"), "2:16: upstreams.u.servers: '0' is not a port" FORMS},
		{URL("tls://192.0.2.1:65536"),
			"2:16: upstreams.u.servers: '65536' is not a port" FORMS},
		{URL("tls://192.0.2.1:99999999999999999999"),
			"2:16: upstreams.u.servers: '99999999999999999999' is not a port" FORMS},
		{URL("tls://dns.example:853853"),
			"2:16: upstreams.u.servers: '853853' is not a port" FORMS},
		{URL("tls://dns.example:-1"),
			"2:16: upstreams.u.servers: '-1' is not a port" FORMS},
		{URL("tls://192.0.2.1:853:853"), "2:16: upstreams.u.servers: '192.0.2.1:853:853' "
						 "is not an address with a port, or its "
						 "interface does not exist" FORMS},
		{URL("tls://192.0.2"), "2:16: upstreams.u.servers: '192.0.2' is neither an address "
				       "nor a host name" FORMS},
		{URL("tls://1.2.3.4.5"), "2:16: upstreams.u.servers: '1.2.3.4.5' is neither an "
					 "address nor a host name" FORMS},
		{URL("tls://a..example"), "2:16: upstreams.u.servers: 'a..example' has a label of "
					  "0 characters" FORMS},
		{URL("tls://.example"),
			"2:16: upstreams.u.servers: '.example' has a label of 0 characters" FORMS},
		{URL("tls://dns example"), "2:16: upstreams.u.servers: 'dns example' has a "
					   "character that no domain name has" FORMS},
		{URL("tls://d\xc3\xbcns.example"),
			"2:16: upstreams.u.servers: 'd\xc3\xbcns.example' is not in its ASCII form "
			"(xn--)" FORMS},
		{URL("tls://dns%2eexample"), "2:16: upstreams.u.servers: 'dns%2eexample' is not an "
					     "address with a port, or its interface "
					     "does not exist" FORMS},
		{URL("tls://[2001:db8::1"), "2:16: upstreams.u.servers: '[2001:db8::1' is not an "
					    "address with a port, or its interface "
					    "does not exist" FORMS},
		{URL("tls://[dns.example]:853"), "2:16: upstreams.u.servers: '[dns.example]:853' "
						 "is not an address with a port, or its "
						 "interface does not exist" FORMS},
		{URL("tls://[fe80::1]"), "2:16: upstreams.u.servers: '[fe80::1]' is a link-local "
					 "address without its interface" FORMS},
		{URL("tls://[fe80::1%no-such-if]"),
			"2:16: upstreams.u.servers: '[fe80::1%no-such-if]' is not an address with "
			"a port, or its "
			"interface does not exist" FORMS},
		{URL("tls://224.0.0.251"),
			"2:16: upstreams.u.servers: '224.0.0.251' is a multicast address" FORMS},
		{URL("tls://0.0.0.0"),
			"2:16: upstreams.u.servers: '0.0.0.0' is no address of a server" FORMS},
		{URL("udp://198.18.0.5"),
			"2:16: upstreams.u.servers: lies in a pool of fake addresses\n"},
		{URL("udp://192.0.2.1/"), "2:16: upstreams.u.servers: has a path, which udp:// has "
					  "not; allowed: a path with https://\n"},
		{URL("dns://192.0.2.1/x"), "2:16: upstreams.u.servers: has a path, which dns:// "
					   "has not; allowed: a path with https://\n"},
		{URL("tls://192.0.2.1/dns-query@a.example"),
			"2:16: upstreams.u.servers: has a path, which tls:// has not; allowed: a "
			"path with https://\n"},
		{URL("tcp://192.0.2.1@a.example"), "2:16: upstreams.u.servers: has an '@', which "
						   "tcp:// has not; allowed: @TLS-NAME with "
						   "tls://, https://\n"},
		{URL("udp://192.0.2.1@"), "2:16: upstreams.u.servers: has an '@', which udp:// has "
					  "not; allowed: @TLS-NAME with "
					  "tls://, https://\n"},
		{URL("tls://192.0.2.1@"),
			"2:16: upstreams.u.servers: ends in '@', without a name behind it" FORMS},
		{URL("https://192.0.2.1@"),
			"2:16: upstreams.u.servers: ends in '@', without a name behind it" FORMS},
		{URL("https://192.0.2.1/dns-query@"),
			"2:16: upstreams.u.servers: ends in '@', without a name behind it" FORMS},
		{URL("tls://192.0.2.1@192.0.2.1"), "2:16: upstreams.u.servers: '192.0.2.1' is not "
						   "a name, and an address needs none" FORMS},
		{URL("tls://192.0.2.1@a..b"),
			"2:16: upstreams.u.servers: 'a..b' has a label of 0 characters" FORMS},
		{URL("tls://192.0.2.1@a@b"), "2:16: upstreams.u.servers: has more before or behind "
					     "an '@' than a name; a user and a "
					     "password are not supported" FORMS},
		{URL("https://user:secret@192.0.2.1/dns-query"),
			"2:16: upstreams.u.servers: has more before or behind an '@' than a name; "
			"a user and a "
			"password are not supported" FORMS},
		{URL("https://192.0.2.1:secret@a.example"),
			"2:16: upstreams.u.servers: has more before or behind an '@' than a name; "
			"a user and a "
			"password are not supported" FORMS},
		{URL("dns://user:secret@192.0.2.1"), "2:16: upstreams.u.servers: has more before "
						     "or behind an '@' than a name; a user and a "
						     "password are not supported" FORMS},
		{URL("https://192.0.2.1/a@b/c@d.example"),
			"2:16: upstreams.u.servers: has more before or behind an '@' than a name; "
			"a user and a "
			"password are not supported" FORMS},
		{URL("https://192.0.2.1@a.example/dns-query"),
			"2:16: upstreams.u.servers: has more before or behind an '@' than a name; "
			"a user and a "
			"password are not supported" FORMS},
		{URL("tls://192.0.2.1@a.example:853"), "2:16: upstreams.u.servers: has more before "
						       "or behind an '@' than a name; a user and a "
						       "password are not supported" FORMS},
		{URL("https://192.0.2.1/%zz"), "2:16: upstreams.u.servers: the path '/%zz' has a "
					       "character that must be %XX" FORMS},
		{URL("https://192.0.2.1/%4"), "2:16: upstreams.u.servers: the path '/%4' has a "
					      "character that must be %XX" FORMS},
		{URL("https://192.0.2.1/%"), "2:16: upstreams.u.servers: the path '/%' has a "
					     "character that must be %XX" FORMS},
		{URL("https://192.0.2.1/a b"), "2:16: upstreams.u.servers: the path '/a b' has a "
					       "character that must be %XX" FORMS},
		{URL("https://192.0.2.1/a#b"), "2:16: upstreams.u.servers: the path '/a#b' has a "
					       "character that must be %XX" FORMS},
		{URL("https://192.0.2.1/{?dns}/x"),
			"2:16: upstreams.u.servers: the path '/{?dns}/x' has a character that must "
			"be %XX" FORMS},
		{URL("https://192.0.2.1/{?name}"), "2:16: upstreams.u.servers: the path '/{?name}' "
						   "has a character that must be %XX" FORMS},
		{URL("https://192.0.2.1{?dns}"), "2:16: upstreams.u.servers: '192.0.2.1{?dns}' has "
						 "a character that no domain name has" FORMS},
		{URL("https://192.0.2.1?x"), "2:16: upstreams.u.servers: '192.0.2.1?x' has a "
					     "character that no domain name has" FORMS},
		{URL("https://192.0.2.1/\xc3\xbc"),
			"2:16: upstreams.u.servers: the path '/\xc3\xbc' has a character that must "
			"be %XX" FORMS},
		{URL("tls://"
		     "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa.example"),
			"2:16: upstreams.u.servers: "
			"'aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa.example'"
			" "
			"has a label of 64 characters" FORMS},
		{URL("https://"
		     "a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a."
		     "a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a."
		     "a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a."
		     "a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.example/"),
			"2:16: upstreams.u.servers: "
			"'a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a."
			"a...' "
			"is too long for a domain name" FORMS},
	};

	(void)state;
	CHECK(cases);
}

static void server_options(void **state)
{
	static const struct wrong cases[] = {
		{SERVER("url: tls://192.0.2.1, mark: 0x10000000"),
			"2:45: upstreams.u.servers.mark: the bits 0x10000000 are those of "
			"gateway.mark or of the "
			"two above it; allowed: bits of 0x8fffffff\n"},
		{SERVER("pin: sha256/x"), "2:16: upstreams.u.servers.url: is missing" FORMS
					  "2:22: upstreams.u.servers.pin: 'x' is not 32 bytes in "
					  "base64; allowed: sha256/BASE64 "
					  "of 32 bytes\n"},
		{SERVER("url: tls://192.0.2.1, pin: "
			"sha256/47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU"),
			"2:44: upstreams.u.servers.pin: "
			"'47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU' is not 32 "
			"bytes in base64; allowed: sha256/BASE64 of 32 bytes\n"},
		{SERVER("url: tls://192.0.2.1, pin: "
			"[sha256/47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFV=, "
			"sha1/47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=, "
			"'sha256/47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSu U=']"),
			"2:45: upstreams.u.servers.pin[0]: "
			"'47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFV=' is not "
			"32 bytes in base64; allowed: sha256/BASE64 of 32 bytes\n"
			"2:98: upstreams.u.servers.pin[1]: "
			"'sha1/47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=' "
			"does not begin with sha256/; allowed: sha256/BASE64 of 32 bytes\n"
			"2:149: upstreams.u.servers.pin[2]: "
			"'47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSu U=' is "
			"not 32 bytes in base64; allowed: sha256/BASE64 of 32 bytes\n"},
		{SERVER("url: udp://192.0.2.1, pin: "
			"sha256/47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=, method: "
			"get, max_queries: 1, max_life: 1s, idle: 1s"),
			"2:39: upstreams.u.servers.pin: is no option of udp://; allowed: with "
			"tls://, https://\n"
			"2:97: upstreams.u.servers.method: is no option of udp://; allowed: with "
			"https://\n"
			"2:123: warning: upstreams.u.servers.max_queries: has no effect with "
			"udp://\n"
			"2:136: warning: upstreams.u.servers.max_life: has no effect with udp://\n"
			"2:146: warning: upstreams.u.servers.idle: has no effect with udp://\n"},
		{SERVER("url: dns://192.0.2.1, max_queries: 1, max_life: 1s, idle: 1s, method: "
			"post"),
			"2:79: upstreams.u.servers.method: is no option of dns://; allowed: with "
			"https://\n"},
		{SERVER("url: tls://192.0.2.1, method: put"),
			"2:47: upstreams.u.servers.method: 'put' is unknown; allowed: post, get\n"},
		{SERVER("url: https://192.0.2.1, method: Get, max_queries: 2m, max_life: 99ms, "
			"idle: 0"),
			"2:49: upstreams.u.servers.method: 'Get' is unknown; allowed: post, get\n"
			"2:67: upstreams.u.servers.max_queries: '2m' is out of bounds; allowed: 0 "
			"to 1m\n"
			"2:81: upstreams.u.servers.max_life: '99ms' is out of bounds; allowed: 0, "
			"100ms to 7d\n"
			"2:93: upstreams.u.servers.idle: '0' is out of bounds; allowed: 100ms to "
			"1d\n"},
		{SERVER("url: tls://192.0.2.1, bind: '2001:db8::1'"),
			"2:45: upstreams.u.servers.bind: is of the other family than the server; "
			"allowed: an IPv4 "
			"address, an interface\n"},
		{SERVER("url: 'tls://[2001:db8::1]', bind: 192.0.2.7"),
			"2:51: upstreams.u.servers.bind: is of the other family than the server; "
			"allowed: an IPv6 "
			"address, an interface\n"},
		{SERVER("url: tls://192.0.2.1, bind: 0.0.0.0"),
			"2:45: upstreams.u.servers.bind: '0.0.0.0' is any address; allowed: an "
			"address, the name "
			"of an interface\n"},
		{SERVER("url: tls://192.0.2.1, bind: 192.0.2"),
			"2:45: upstreams.u.servers.bind: '192.0.2' is neither an address nor the "
			"name of an interface; "
			"allowed: an address, the name of an interface\n"},
		{SERVER("url: tls://192.0.2.1, bind: fe80::1"),
			"2:45: upstreams.u.servers.bind: 'fe80::1' is a link-local address without "
			"its interface; "
			"allowed: an address, the name of an interface\n"},
		{SERVER("url: tls://192.0.2.1, bind: a/b"),
			"2:45: upstreams.u.servers.bind: 'a/b' is neither an address nor the name "
			"of an interface; "
			"allowed: an address, the name of an interface\n"},
		{SERVER("url: tls://192.0.2.1, port: 853"),
			"2:39: upstreams.u.servers.port: unknown key; allowed: url, pin, mark, "
			"bind, idle, method, "
			"max_life, max_queries\n"},
	};

	(void)state;
	CHECK(cases);
}

static void group_options(void **state)
{
	static const struct wrong cases[] = {
		{GROUP("strategy: quickest, timeout: 0, total: 10m"),
			"2:43: upstreams.u.strategy: 'quickest' is unknown; allowed: race, "
			"sequential, random, "
			"round_robin, fastest\n"
			"2:62: upstreams.u.timeout: '0' is out of bounds; allowed: 50ms to 1m\n"
			"2:72: upstreams.u.total: '10m' is out of bounds; allowed: 50ms to 5m\n"},
		{GROUP("via: y, bootstrap: y, fallback: y, strict_to: y, lists: y"),
			"2:38: upstreams.u.via: there is no egress named 'y'; allowed: p, d, x\n"
			"2:52: upstreams.u.bootstrap: there is no group in upstreams named 'y'; "
			"allowed: u, v, "
			"w\n"
			"2:65: upstreams.u.fallback: there is no group in upstreams named 'y'; "
			"allowed: u, v, "
			"w\n"
			"2:79: upstreams.u.strict_to: there is no group in upstreams named 'y'; "
			"allowed: u, v, "
			"w\n"
			"2:89: upstreams.u.lists: there is no list named 'y'; allowed: l\n"},
		{GROUP("ca: ''"), "2:37: upstreams.u.ca: is empty; allowed: a path\n"},
		{GROUP("downgrade: maybe, all_down: all, rebind: deny, leak: loose"),
			"2:44: upstreams.u.downgrade: 'maybe' is neither yes nor no; allowed: yes, "
			"no, true, false, "
			"on, off\n"
			"2:61: upstreams.u.all_down: 'all' is unknown; allowed: spray, none\n"
			"2:74: upstreams.u.rebind: 'deny' is unknown; allowed: protect, allow\n"
			"2:86: upstreams.u.leak: 'loose' is unknown; allowed: off, strict\n"},
		{GROUP("health: 99ms"), "2:41: upstreams.u.health: '99ms' is out of bounds; "
					"allowed: off, 100ms to 1h\n"},
		{GROUP("health: never"), "2:41: upstreams.u.health: 'never' is not a time such as "
					 "500ms, 30, 10m or 1d12h; allowed: "
					 "off, 100ms to 1h\n"},
		{GROUP("ignore_ip: 192.0.2.1/24, bogus_nxdomain: [x]"),
			"2:44: upstreams.u.ignore_ip: '192.0.2.1/24' has host bits set, the "
			"network is 192.0.2.0/24; "
			"allowed: ADDRESS or NETWORK/LENGTH, IPv4 or IPv6\n"
			"2:75: upstreams.u.bogus_nxdomain[0]: 'x' is not an address or a network; "
			"allowed: ADDRESS "
			"or NETWORK/LENGTH, IPv4 or IPv6\n"},
		{GROUP("ecs: send, min_rtt: 6s, window: -1"),
			"2:38: upstreams.u.ecs: 'send' is not an address or a network; allowed: "
			"strip, ADDRESS "
			"or NETWORK/LENGTH\n"
			"2:53: upstreams.u.min_rtt: '6s' is out of bounds; allowed: 0 to 5s\n"
			"2:65: upstreams.u.window: '-1' is not a time such as 500ms, 30, 10m or "
			"1d12h; allowed: "
			"0 to 5s\n"},
		{GROUP("via: x"), "2:38: upstreams.u.via: nothing leaves by the egress 'x'; "
				  "allowed: an egress of another "
				  "type\n"},
		{GROUP("via: p"), ""},
		{GROUP("via: d, bootstrap: v"), "2:52: warning: upstreams.u.bootstrap: has no "
						"effect: no server is given by name\n"},
		{GROUP("downgrade: no"),
			"2:44: warning: upstreams.u.downgrade: has no effect without fallback\n"},
		{GROUP("mark: 0x10000000"), "2:39: upstreams.u.mark: the bits 0x10000000 are those "
					    "of gateway.mark or of the two above "
					    "it; allowed: bits of 0x8fffffff\n"},
		{GROUP("require_edns: yes, min_rtt: 1ms, window: 1ms"),
			"2:47: warning: upstreams.u.require_edns: has no effect: no server is "
			"asked over UDP\n"
			"2:61: warning: upstreams.u.min_rtt: has no effect: no server is asked "
			"over UDP\n"
			"2:74: warning: upstreams.u.window: has no effect: no server is asked over "
			"UDP\n"},
		{GROUP("ca: /etc/ca.pem"), ""},
	};

	(void)state;
	CHECK(cases);
}

static void plain_group_options(void **state)
{
	static const struct wrong cases[] = {
		{PLAIN("min_rtt: 2s"), "2:42: upstreams.u.min_rtt: leaves no answer to be "
				       "believed; allowed: less than timeout\n"},
		{PLAIN("min_rtt: 1999ms, require_edns: yes, window: 1s"), ""},
		{PLAIN("min_rtt: 300ms, timeout: 200ms"),
			"2:42: upstreams.u.min_rtt: leaves no answer to be believed; allowed: less "
			"than timeout\n"},
		{PLAIN("ca: ca.pem"), "2:37: warning: upstreams.u.ca: has no effect: no server is "
				      "tls:// or https://\n"},
		{PLAIN("via: p"), "2:38: note: upstreams.u.via: through a proxy, udp:// and dns:// "
				  "go over TCP\n"},
		{PLAIN("via: p, window: 10ms"), "2:38: note: upstreams.u.via: through a proxy, "
						"udp:// and dns:// go over TCP\n"
						"2:49: warning: upstreams.u.window: has no effect: "
						"no server is asked over UDP\n"},
		{PLAIN("fallback: w"), ""},
	};

	(void)state;
	CHECK(cases);
}

static void private_servers(void **state)
{
	static const struct wrong cases[] = {
		{HEAD "  u: {servers: udp://192.168.1.1}\n",
			"5:16: note: upstreams.u.servers: private addresses are removed from "
			"answers of these "
			"servers, which have such ones themselves; see rebind\n"},
		{HEAD "  u: {servers: [udp://10.0.0.1, 'udp://[fd00::1]', udp://127.0.0.1]}\n",
			"5:16: note: upstreams.u.servers: private addresses are removed from "
			"answers of these "
			"servers, which have such ones themselves; see rebind\n"},
		{HEAD "  u: {servers: udp://192.168.1.1, rebind: protect}\n", ""},
		{HEAD "  u: {servers: udp://192.168.1.1, rebind: allow}\n", ""},
		{HEAD "  u: {servers: [udp://192.168.1.1, udp://192.0.2.1]}\n", ""},
	};

	(void)state;
	CHECK(cases);
}

static void cache(void **state)
{
	static const struct wrong cases[] = {
		{CACHE("size: 11m, bytes: 5g"),
			"4:15: cache.size: '11m' is out of bounds; allowed: 0 to 10m\n"
			"4:27: cache.bytes: '5g' is out of bounds; allowed: 0 to 4g\n"},
		{CACHE("size: -1, min_ttl: 2d"),
			"4:15: cache.size: '-1' is not a number; allowed: 0 to 10m\n"
			"4:28: cache.min_ttl: '2d' is out of bounds; allowed: 0 to 1d\n"},
		{CACHE("min_ttl: 2h, max_ttl: 1h"), "4:18: cache.min_ttl: is more than the "
						    "longest, 3600s; allowed: 3600s at most\n"},
		{CACHE("max_ttl: 0, min_ttl: 1s"),
			"4:30: cache.min_ttl: is more than the longest, 0s; allowed: 0s at most\n"},
		{CACHE("failure_ttl: 301s, negative_ttl: 1ms"),
			"4:22: cache.failure_ttl: '301s' is out of bounds; allowed: 0 to 5m\n"
			"4:42: cache.negative_ttl: '1ms' is not a whole number of seconds; "
			"allowed: 0 to 7d\n"},
		{CACHE("serve_stale: no"), "4:22: cache.serve_stale: 'no' is not a time such as "
					   "500ms, 30, 10m or 1d12h; allowed: "
					   "off, 1s to 30d\n"},
		{CACHE("serve_stale: 31d"), "4:22: cache.serve_stale: '31d' is out of bounds; "
					    "allowed: off, 1s to 30d\n"},
		{CACHE("prefetch: 20"), "4:19: cache.prefetch: '20' is not a share such as 20%; "
					"allowed: off, a share such as "
					"20%, {share, hits}\n"},
		{CACHE("prefetch: 91%"), "4:19: cache.prefetch: '91%' is out of bounds; allowed: "
					 "off, a share such as 20%, {share, "
					 "hits}\n"},
		{CACHE("prefetch: 0%"), "4:19: cache.prefetch: '0%' is out of bounds; allowed: "
					"off, a share such as 20%, {share, "
					"hits}\n"},
		{CACHE("prefetch: {share: x, hits: 0}"),
			"4:27: cache.prefetch.share: 'x' is not a share such as 20%; allowed: off, "
			"1% to 90%\n"
			"4:36: cache.prefetch.hits: '0' is out of bounds; allowed: 1 to 1m\n"},
		{CACHE("prefetch: [20%]"), "4:19: cache.prefetch: is a list; allowed: off, a share "
					   "such as 20%, {share, hits}\n"},
		{CACHE("store_every: 1m"),
			"4:22: warning: cache.store_every: has no effect without store\n"},
		{CACHE("store: /var/lib/tungate/fakeip.db"),
			"4:16: cache.store: is the file of fakeip.store, too; allowed: a file of "
			"its own\n"},
		{CACHE("store: /var/lib/tungate/records.json"),
			"4:16: cache.store: is the file of records.store, too; allowed: a file of "
			"its own\n"},
		{CACHE("warmup: {count: 100001, rate: 0}"),
			"4:25: cache.warmup.count: '100001' is out of bounds; allowed: 0 to 100k\n"
			"4:39: cache.warmup.rate: '0' is out of bounds; allowed: 1 to 1000\n"},
		{CACHE("warmup: off"), "4:17: cache.warmup: is a single value instead of a map; "
				       "allowed: rate, count\n"},
		{CACHE("ttl: 1s"), "4:9: cache.ttl: unknown key; allowed: size, bytes, min_ttl, "
				   "max_ttl, store, warmup, prefetch, "
				   "failure_ttl, negative_ttl, serve_stale, store_every\n"},
		{CACHE("size: 0, bytes: 4g, serve_stale: off, prefetch: off, store: '', warmup: "
		       "{count: 0}"),
			""},
	};

	(void)state;
	CHECK(cases);
}

static void rules(void **state)
{
	static const struct wrong cases[] = {
		{RULE("answer: real, ttl: {min: 2s, max: 1s}"),
			"5:55: rules[0].ttl.min: is more than the longest, 1s; allowed: 1s at "
			"most\n"},
		{RULE("answer: real, ttl: {min: 2s}, cache: maybe, rebind: no"),
			"5:67: rules[0].cache: 'maybe' is neither yes nor no; allowed: yes, no, "
			"true, false, on, "
			"off\n"
			"5:82: rules[0].rebind: 'no' is unknown; allowed: protect, allow\n"},
		{RULE("answer: real, ttl: 5s"), "5:49: rules[0].ttl: is a single value instead of "
						"a map; allowed: min, max\n"},
		{RULE("answer: block, ttl: {max: 1s}, cache: no, rebind: allow"),
			"5:50: warning: rules[0].ttl: has no effect with answer: block\n"
			"5:68: warning: rules[0].cache: has no effect with answer: block\n"
			"5:80: warning: rules[0].rebind: has no effect with answer: block\n"},
		{RULE("also: yes, ipset: s, cache: no"),
			"5:51: rules[0].cache: decides, and a rule with also: yes decides nothing; "
			"allowed: "
			"nftset, nftmap, ipset, set_ttl, push, push_timeout, on_error, "
			"conntrack\n"},
		{RULE("answer: fake, egress: e, ttl: {max: 1s}, cache: no, rebind: allow"), ""},
	};

	(void)state;
	CHECK(cases);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(good_urls),
		cmocka_unit_test(defaults),
		cmocka_unit_test(total_follows_timeout),
		cmocka_unit_test(rebind_of_rules),
		cmocka_unit_test(prefetch),
		cmocka_unit_test(a_secret_in_a_url_is_not_shown),
		cmocka_unit_test(a_nul_in_a_url),
		cmocka_unit_test(wrong_urls),
		cmocka_unit_test(server_options),
		cmocka_unit_test(group_options),
		cmocka_unit_test(plain_group_options),
		cmocka_unit_test(private_servers),
		cmocka_unit_test(cache),
		cmocka_unit_test(rules),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
