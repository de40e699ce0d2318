/* Egresses, groups of them, and what else decides where traffic goes: what becomes of them, and
 * what is said about a wrong one, word for word. */
#include "tests/unit/conf_messages.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

/* Four lines; the fourth is up to the case. */
#define GROUPS                                                                                     \
	"upstreams: {u: {servers: tls://192.0.2.1}, v: {servers: tls://192.0.2.2}}\n"              \
	"default: {upstream: u}\nfakeip: {pool6: off}\n"
#define EGRESS(keys) GROUPS "egress: {e: {" keys "}}\n"

#define SERVERS                                                                                    \
	"; allowed: ADDRESS[:PORT], HOST[:PORT]; IPv6 as [ADDRESS]:PORT, link-local ones with "    \
	"%INTERFACE\n"
#define LEAVES	"; allowed: with type direct, socks5, http\n"
#define PROXIES "; allowed: with type socks5, http\n"
#define GROUP	"; allowed: with type group\n"

/* --- values --- */

static void egress_defaults(void **state)
{
	struct messages m;
	struct config *c = parse(EGRESS("type: socks5, server: 192.0.2.9"), &m);
	const struct conf_egress *e = c->egresses;

	(void)state;
	assert_string_equal(m.text, "");
	assert_int_equal(e->type, CONF_EGRESS_SOCKS5);
	assert_null(e->server.host);
	assert_int_equal(e->server.at.addr.family, IP_V4);
	assert_int_equal(e->server.at.port, 1080);
	assert_null(e->user);
	assert_null(e->password);
	assert_int_equal(e->bootstrap, -1);
	assert_int_equal(e->upstream, -1);
	assert_int_equal(e->mark.mask, 0);
	assert_int_equal(e->masquerade, CONF_MASQUERADE_AUTO);
	assert_int_equal(e->udp, CONF_CARRY);
	assert_int_equal(e->quic, CONF_CARRY);
	assert_int_equal(e->connect_timeout_ms, 5000);
	assert_int_equal(e->idle_ms, 300000);
	assert_int_equal(e->udp_idle_ms, 60000);
	assert_int_equal(e->ping, CONF_PING_UNREACHABLE);
	assert_int_equal(e->n_of, 0);
	assert_int_equal(e->strategy, CONF_GROUP_SEQUENTIAL);
	assert_int_equal(e->check_ms, 30000);
	assert_int_equal(e->line, 4);
	assert_int_equal(e->column, 13);
	conf_free(c);
}

static void servers(void **state)
{
	static const struct {
		const char *type, *server, *host, *at;
	} cases[] = {{"socks5", "192.0.2.9:1081", NULL, "192.0.2.9:1081"},
		{"http", "192.0.2.9", NULL, "192.0.2.9:8080"},
		{"http", "2001:db8::9", NULL, "[2001:db8::9]:8080"},
		{"socks5", "[2001:db8::9]", NULL, "[2001:db8::9]:1080"},
		{"socks5", "[fe80::1%lo]:7", NULL, "[fe80::1%1]:7"}, {"http", "p", "p", NULL},
		{"socks5", "P.Example.:443", "p.example", NULL}};

	(void)state;
	for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
		char text[512], buf[IP_TEXT_MAX];
		struct messages m;
		struct config *c;

		snprintf(text, sizeof text, EGRESS("type: %s, server: '%s', udp: reject%s"),
			cases[i].type, cases[i].server, cases[i].host ? ", bootstrap: v" : "");
		c = parse(text, &m);
		assert_string_equal(m.text, "");
		if (cases[i].at) {
			assert_null(c->egresses[0].server.host);
			assert_string_equal(
				ip_port_format(&c->egresses[0].server.at, buf), cases[i].at);
		} else {
			assert_string_equal(c->egresses[0].server.host, cases[i].host);
			assert_int_equal(c->egresses[0].server.at.addr.family, IP_NONE);
			assert_int_equal(c->egresses[0].bootstrap, 1);
		}
		conf_free(c);
	}
}

static void default_ports_of_names(void **state)
{
	struct messages m;
	struct config *c = parse(GROUPS
		"egress:\n"
		"  a: {type: socks5, server: p.example, bootstrap: u}\n"
		"  b: {type: http, server: p.example, bootstrap: u, udp: reject}\n"
		"  c: {type: http, server: 'p.example:81', bootstrap: u, udp: reject}\n",
		&m);

	(void)state;
	assert_string_equal(m.text, "");
	assert_int_equal(c->egresses[0].server.at.port, 1080);
	assert_int_equal(c->egresses[1].server.at.port, 8080);
	assert_int_equal(c->egresses[2].server.at.port, 81);
	conf_free(c);
}

static void idle_bounds_udp(void **state)
{
	static const struct {
		const char *idle;
		unsigned ms, udp_ms;
	} cases[] = {{"1s", 1000, 1000}, {"59999ms", 59999, 59999}, {"1m", 60000, 60000},
		{"7d", 604800000, 60000}};

	(void)state;
	for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
		char text[512];
		struct messages m;
		struct config *c;

		snprintf(text, sizeof text, EGRESS("type: direct, idle: %s"), cases[i].idle);
		c = parse(text, &m);
		assert_string_equal(m.text, "");
		assert_int_equal(c->egresses[0].idle_ms, cases[i].ms);
		assert_int_equal(c->egresses[0].udp_idle_ms, cases[i].udp_ms);
		conf_free(c);
	}
}

static void groups_may_hold_groups(void **state)
{
	struct messages m;
	struct config *c =
		parse(GROUPS "egress:\n  a: {type: group, of: [b, d]}\n"
			     "  b: {type: group, of: d}\n  d: {type: direct, upstream: v}\n"
			     "rules: [{name: r, answer: fake, egress: a, domain: x}]\n",
			&m);

	(void)state;
	assert_string_equal(m.text, "");
	assert_int_equal(c->egresses[0].n_of, 2);
	assert_int_equal(c->egresses[0].of[0], 1);
	assert_int_equal(c->egresses[0].of[1], 2);
	assert_int_equal(c->egresses[1].n_of, 1);
	assert_int_equal(c->egresses[1].of[0], 2);
	conf_free(c);
}

/* A proxy is told the name: nothing has to resolve. */
static void a_proxy_needs_no_group(void **state)
{
	struct messages m;
	struct config *c = parse("fakeip: {pool6: off}\n"
				 "egress: {e: {type: socks5, server: 192.0.2.9}}\n"
				 "rules: [{name: r, answer: fake, egress: e}]\n",
		&m);

	(void)state;
	assert_string_equal(m.text, "");
	assert_int_equal(c->rules[0].upstream, -1);
	conf_free(c);
}

static void upstreams_of_rules(void **state)
{
	struct messages m;
	struct config *c =
		parse(GROUPS "egress:\n  p: {type: socks5, server: 192.0.2.9, upstream: v}\n"
			     "  q: {type: socks5, server: 192.0.2.9}\n  n: {type: reject}\n"
			     "rules:\n"
			     "- {name: a, domain: a, answer: fake, egress: p}\n"
			     "- {name: b, domain: b, answer: fake, egress: q}\n"
			     "- {name: c, domain: c, answer: real, egress: p}\n"
			     "- {name: d, domain: d, answer: real, egress: n}\n"
			     "- {name: e, domain: e, answer: fake, egress: n}\n",
			&m);

	(void)state;
	assert_string_equal(m.text, "");
	assert_int_equal(c->rules[0].upstream, 1);
	assert_int_equal(c->rules[1].upstream, 0); /* that of default */
	assert_int_equal(c->rules[2].upstream, 1);
	assert_int_equal(c->rules[3].upstream, 0);
	assert_int_equal(c->rules[4].upstream, 0);
	conf_free(c);
}

static void short_forms(void **state)
{
	struct messages m;
	struct config *c = parse("fakeip: {pool6: off, except: [b, a]}\nlists: {a: x, b: y}\n"
				 "upstreams: {u: {servers: tls://192.0.2.1}}\n"
				 "default: {upstream: u}\n"
				 "gateway: {sniff: off, relay_clients: 192.0.2.1}\n",
		&m);

	(void)state;
	assert_string_equal(m.text, "");
	assert_true(c->fakeip.except_builtin);
	assert_int_equal(c->fakeip.n_except, 2);
	assert_int_equal(c->fakeip.except[0], 1);
	assert_int_equal(c->fakeip.except[1], 0);
	assert_int_equal(c->gateway.sniff, 0);
	assert_int_equal(c->gateway.relay_clients.prefixes.n, 1);
	conf_free(c);
	c = parse(GROUPS "gateway: {sniff: http}\nlists: {a: x}\n", &m);
	assert_int_equal(c->gateway.sniff, CONF_SNIFF_HTTP);
	conf_free(c);
	c = parse("fakeip: {pool6: off, except: a}\nlists: {a: x}\n", &m);
	assert_true(c->fakeip.except_builtin);
	assert_int_equal(c->fakeip.n_except, 1);
	conf_free(c);
	c = parse("fakeip: {pool6: off, except: {builtin: no}}\n", &m);
	assert_false(c->fakeip.except_builtin);
	assert_int_equal(c->fakeip.n_except, 0);
	conf_free(c);
}

static void many_relay_clients(void **state)
{
	char text[8192] = "gateway: {relay_clients: [";
	struct messages m;
	struct config *c;

	(void)state;
	for (unsigned i = 0; i < 100; i++)
		snprintf(text + strlen(text), sizeof text - strlen(text),
			"192.0.2.%u, '02:00:00:00:00:%02X',", i, i);
	strcat(text, "]}\n");
	c = parse(text, &m);
	assert_non_null(c);
	assert_int_equal(c->gateway.relay_clients.prefixes.n, 100);
	assert_int_equal(c->gateway.relay_clients.n_macs, 100);
	for (unsigned i = 0; i < 100; i++) {
		assert_int_equal(c->gateway.relay_clients.prefixes.v[i].addr.b[3], i);
		assert_int_equal(c->gateway.relay_clients.macs[i].b[0], 2);
		assert_int_equal(c->gateway.relay_clients.macs[i].b[5], i);
	}
	conf_free(c);
}

/* --- a password from a file --- */

static struct config *with_password_file(
	const char *content, size_t len, char *path, struct messages *m)
{
	char text[512];
	struct config *c;
	int fd;

	strcpy(path, "/tmp/tungate-test-XXXXXX");
	fd = mkstemp(path);
	assert_true(fd >= 0);
	assert_int_equal(write(fd, content, len), len);
	close(fd);
	snprintf(text, sizeof text,
		EGRESS("type: socks5, server: 192.0.2.9, user: a, password_file: %s"), path);
	c = parse(text, m);
	unlink(path);
	return c;
}

static void password_files(void **state)
{
	static const char *const contents[] = {
		"s3cret", "s3cret\n", "s3cret\r\n", "s3cret\nmore\n", "s3cret\n\0"};
	char path[64], longest[300];
	struct messages m;
	struct config *c;

	(void)state;
	for (size_t i = 0; i < sizeof contents / sizeof contents[0]; i++) {
		c = with_password_file(contents[i], strlen(contents[i]), path, &m);
		assert_string_equal(m.text, "");
		assert_string_equal(c->egresses[0].password, "s3cret");
		conf_free(c);
	}
	memset(longest, 'x', sizeof longest);
	c = with_password_file(longest, 255, path, &m);
	assert_non_null(c);
	assert_int_equal(strlen(c->egresses[0].password), 255);
	conf_free(c);
	longest[255] = '\r';
	longest[256] = '\n';
	c = with_password_file(longest, sizeof longest, path, &m);
	assert_non_null(c);
	assert_int_equal(strlen(c->egresses[0].password), 255);
	conf_free(c);
}

static void password_file_fails(const char *content, size_t len, const char *want)
{
	char path[64], line[512];
	struct messages m;

	assert_null(with_password_file(content, len, path, &m));
	snprintf(line, sizeof line, "4:71: egress.e.password_file: the first line of '%s' %s", path,
		want);
	assert_string_equal(m.text, line);
}

#define FILES "; allowed: a file whose first line is the password, 1 to 255 bytes\n"

static void wrong_password_files(void **state)
{
	static const struct wrong cases[] = {
		{EGRESS("type: socks5, server: 192.0.2.9, user: a, password_file: /no/such"),
			"4:71: egress.e.password_file: '/no/such' cannot be read: No such file or "
			"directory" FILES},
		{EGRESS("type: socks5, server: 192.0.2.9, user: a, password_file: /tmp"),
			"4:71: egress.e.password_file: '/tmp' cannot be read: it is a "
			"directory" FILES},
		{EGRESS("type: socks5, server: 192.0.2.9, user: a, password_file: /dev/zero"),
			"4:71: egress.e.password_file: '/dev/zero' cannot be read: it is not a "
			"file" FILES},
		{EGRESS("type: socks5, server: 192.0.2.9, user: a, password_file: ''"),
			"4:71: egress.e.password_file: is empty" FILES},
	};
	char too_long[256];

	(void)state;
	CHECK(cases);
	memset(too_long, 'x', sizeof too_long);
	password_file_fails("", 0, "is empty" FILES);
	password_file_fails("\nsecret\n", 8, "is empty" FILES);
	password_file_fails("s\0cret\n", 7, "contains a NUL character" FILES);
	password_file_fails(too_long, sizeof too_long, "is longer than 255 bytes" FILES);
}

/* --- mistakes --- */

static void wrong_servers(void **state)
{
	static const struct wrong cases[] = {
		{EGRESS("type: socks5"), "4:13: egress.e.server: is missing; type socks5 needs it; "
					 "allowed: ADDRESS[:PORT], HOST[:PORT]\n"},
		{EGRESS("type: http, udp: reject"),
			"4:13: egress.e.server: is missing; type http needs it; allowed: "
			"ADDRESS[:PORT], HOST[:PORT]\n"},
		{EGRESS("type: socks5, server: p.example"),
			"4:13: egress.e.bootstrap: is missing; it resolves the server's name "
			"'p.example'; allowed: u, v\n"},
		{EGRESS("type: socks5, server: p.example, bootstrap: w"),
			"4:58: egress.e.bootstrap: there is no group in upstreams named 'w'; "
			"allowed: u, v\n"},
		{EGRESS("type: socks5, server: 192.0.2.9, bootstrap: v"),
			"4:58: warning: egress.e.bootstrap: has no effect: the server is an "
			"address\n"},
		{EGRESS("type: socks5, server: 198.19.255.1"),
			"4:36: egress.e.server: lies in a pool of fake addresses\n"},
		{EGRESS("type: socks5, server: 0.0.0.0"),
			"4:36: egress.e.server: '0.0.0.0' is no address of a server" SERVERS},
		{EGRESS("type: socks5, server: 224.0.0.1"),
			"4:36: egress.e.server: '224.0.0.1' is a multicast address" SERVERS},
		{EGRESS("type: socks5, server: 'fe80::1'"),
			"4:36: egress.e.server: 'fe80::1' is a link-local address without its "
			"interface" SERVERS},
		{EGRESS("type: socks5, server: '192.0.2.9:0'"),
			"4:36: egress.e.server: '0' is not a port" SERVERS},
		{EGRESS("type: socks5, server: 'p.example:65536'"),
			"4:36: egress.e.server: '65536' is not a port" SERVERS},
		{EGRESS("type: socks5, server: 192.0.2.999"),
			"4:36: egress.e.server: '192.0.2.999' is neither an address nor a host "
			"name" SERVERS},
		{EGRESS("type: socks5, server: 'p..example'"),
			"4:36: egress.e.server: 'p..example' has a label of 0 characters" SERVERS},
		{EGRESS("type: socks5, server: ':1080'"),
			"4:36: egress.e.server: '' is too short for a domain name" SERVERS},
		{EGRESS("type: socks5, server: '[::1'"),
			"4:36: egress.e.server: '[::1' is not an address with a port, or its "
			"interface does not exist" SERVERS},
		{EGRESS("type: socks5, server: 'fe80::1%nosuch'"),
			"4:36: egress.e.server: 'fe80::1%nosuch' is not an address with a port, or "
			"its interface does not exist" SERVERS},
		/* What may hold a password is not shown. */
		{EGRESS("type: socks5, server: 'socks5://me:s3cret@192.0.2.9'"),
			"4:36: egress.e.server: is not the server alone; type, user and password "
			"have keys of their own" SERVERS},
		{EGRESS("type: socks5, server: 'me:s3cret@192.0.2.9'"),
			"4:36: egress.e.server: is not the server alone; type, user and password "
			"have keys of their own" SERVERS},
	};

	(void)state;
	CHECK(cases);
}

static void wrong_secrets(void **state)
{
	static char text[700] = EGRESS("type: socks5, server: 192.0.2.9, user: a, password: ");
	static const struct wrong cases[] = {
		{EGRESS("type: socks5, server: 192.0.2.9, user: a"),
			"4:13: egress.e.password: is missing; user needs one\n"},
		{EGRESS("type: socks5, server: 192.0.2.9, password: s3cret"),
			"4:13: egress.e.user: is missing; password needs one\n"},
		{EGRESS("type: socks5, server: 192.0.2.9, password_file: "
			"/proc/sys/kernel/ostype"),
			"4:13: egress.e.user: is missing; password_file needs one\n"},
		{EGRESS("type: socks5, server: 192.0.2.9, user: a, password: s3cret, "
			"password_file: /proc/sys/kernel/ostype"),
			"4:74: egress.e.password_file: is there beside password; allowed: one of "
			"the two\n"},
		{EGRESS("type: socks5, server: 192.0.2.9, user: '', password: s3cret"),
			"4:53: egress.e.user: has 0 characters, not 1 to 255; allowed: 1 to 255 "
			"bytes\n"},
		{EGRESS("type: socks5, server: 192.0.2.9, user: a, password: \"s3\\ncret\""),
			"4:66: egress.e.password: contains a control character; allowed: 1 to 255 "
			"bytes\n"},
		{EGRESS("type: socks5, server: 192.0.2.9, user: a, password: [s3cret]"),
			"4:66: egress.e.password: is a list; allowed: 1 to 255 bytes\n"},
#define OF_YAML                                                                                    \
	"4:66: egress.e.password: begins with a character that YAML takes for itself; allowed: "   \
	"the value between quotes\n"
		{EGRESS("type: socks5, server: 192.0.2.9, user: a, password: *s3cret"), OF_YAML},
		{EGRESS("type: socks5, server: 192.0.2.9, user: a, password: !s3cret x"), OF_YAML},
		{EGRESS("type: socks5, server: 192.0.2.9, user: a, password: &s3cret x"), OF_YAML},
		{EGRESS("type: socks5, server: 192.0.2.9, user: a, password: &s3cret [x]"),
			OF_YAML},
		{EGRESS("type: http, server: 192.0.2.9, user: 'a:b', password: c, udp: reject"),
			"4:51: egress.e.user: contains ':', which ends a user's name in HTTP\n"},
		{EGRESS("type: socks5, server: 192.0.2.9, user: 'a:b', password: c"), ""},
		{text, "4:66: egress.e.password: has 256 characters, not 1 to 255; allowed: 1 to "
		       "255 bytes\n"},
	};
	size_t n = strlen(text) - 3; /* before the brackets and the newline */

	(void)state;
	memset(text + n, 'x', 256);
	strcpy(text + n + 256, "}}\n");
	CHECK(cases);
}

static void options_of_other_types(void **state)
{
	static const struct wrong cases[] = {
		{EGRESS("type: direct, server: 192.0.2.9, bootstrap: u, user: a, password: s3cret, "
			"ping: local, of: e, strategy: fastest, check: 1m"),
			"4:28: egress.e.server: is no option of type direct" PROXIES
			"4:47: egress.e.bootstrap: is no option of type direct" PROXIES
			"4:61: egress.e.user: is no option of type direct" PROXIES
			"4:70: egress.e.password: is no option of type direct" PROXIES
			"4:88: egress.e.ping: is no option of type direct" PROXIES
			"4:101: egress.e.of: is no option of type direct" GROUP
			"4:108: egress.e.strategy: is no option of type direct" GROUP
			"4:127: egress.e.check: is no option of type direct" GROUP},
		{EGRESS("type: direct, password_file: /proc/sys/kernel/ostype"),
			"4:28: egress.e.password_file: is no option of type direct" PROXIES},
		{EGRESS("type: socks5, server: 192.0.2.9, masquerade: yes, of: [e], check: 1m"),
			"4:47: egress.e.masquerade: is no option of type socks5; allowed: with "
			"type direct\n"
			"4:64: egress.e.of: is no option of type socks5" GROUP
			"4:73: egress.e.check: is no option of type socks5" GROUP},
		{EGRESS("type: reject, upstream: u, mark: 1, udp: reject, quic: reject, "
			"connect_timeout: 1s, idle: 1m"),
			"4:28: egress.e.upstream: is no option of type reject; allowed: with type "
			"direct, socks5, http, group\n"
			"4:41: egress.e.mark: is no option of type reject" LEAVES
			"4:50: egress.e.udp: is no option of type reject" LEAVES
			"4:63: egress.e.quic: is no option of type reject" LEAVES
			"4:77: egress.e.connect_timeout: is no option of type reject" LEAVES
			"4:98: egress.e.idle: is no option of type reject" LEAVES},
		{GROUPS "egress: {e: {type: group, of: f, mark: 1, server: 192.0.2.9}, f: {type: "
			"reject}}\n",
			"4:34: egress.e.mark: is no option of type group" LEAVES
			"4:43: egress.e.server: is no option of type group" PROXIES},
		/* One mistake is told once. */
		{EGRESS("type: reject, mark: x"),
			"4:34: egress.e.mark: 'x' is not a mark of 32 bits; allowed: VALUE or "
			"VALUE/MASK, each decimal or 0x and hexadecimal\n"},
	};

	(void)state;
	CHECK(cases);
}

static void wrong_values(void **state)
{
	static const struct wrong cases[] = {
		{EGRESS("type: direct, masquerade: on, udp: drop, quic: no"),
			"4:40: egress.e.masquerade: 'on' is unknown; allowed: auto, yes, no\n"
			"4:49: egress.e.udp: 'drop' is unknown; allowed: carry, reject\n"
			"4:61: egress.e.quic: 'no' is unknown; allowed: carry, reject\n"},
		{EGRESS("type: direct, connect_timeout: 99ms, idle: 0"),
			"4:45: egress.e.connect_timeout: '99ms' is out of bounds; allowed: 100ms "
			"to 2m\n4:57: egress.e.idle: '0' is out of bounds; allowed: 1s to 7d\n"},
		{EGRESS("type: socks5, server: 192.0.2.9, ping: yes"),
			"4:53: egress.e.ping: 'yes' is unknown; allowed: unreachable, local\n"},
		{GROUPS "egress: {e: {type: group, of: f, strategy: random, check: 500ms}, f: "
			"{type: reject}}\n",
			"4:44: egress.e.strategy: 'random' is unknown; allowed: sequential, "
			"fastest\n"
			"4:59: egress.e.check: '500ms' is out of bounds; allowed: 1s to 1d\n"},
		/* CONNECT carries no UDP. */
		{EGRESS("type: http, server: 192.0.2.9"),
			"4:13: note: egress.e.udp: an HTTP proxy carries no UDP: it is rejected\n"},
		{EGRESS("type: http, server: 192.0.2.9, udp: carry"),
			"4:50: note: egress.e.udp: an HTTP proxy carries no UDP: it is rejected\n"},
		{EGRESS("type: http, server: 192.0.2.9, udp: reject"), ""},
	};

	(void)state;
	CHECK(cases);
}

static void wrong_groups(void **state)
{
	static const struct wrong cases[] = {
		{EGRESS("type: group"), "4:13: egress.e.of: is missing; a group has members; "
					"allowed: names in egress\n"},
		{EGRESS("type: group, of: []"),
			"4:31: egress.e.of: is empty; allowed: names in egress\n"},
		{EGRESS("type: group, of: [f, e]"),
			"4:32: egress.e.of[0]: there is no egress named 'f'; allowed: e\n"
			"4:35: egress.e.of[1]: is the group itself\n"},
		{EGRESS("type: group, of: e"), "4:31: egress.e.of: is the group itself\n"},
		{GROUPS "egress: {e: {type: group, of: [f, f]}, f: {type: reject}}\n",
			"4:35: egress.e.of[1]: is there twice\n"},
		{GROUPS "egress:\n  a: {type: group, of: [n, b]}\n  b: {type: group, of: c}\n  c: "
			"{type: group, of: [n, a]}\n  n: {type: reject}\n",
			"7:28: egress.c.of[1]: leads back to the group 'c'\n"},
		/* A rule on a circle asks nothing more of it. */
		{GROUPS "egress: {a: {type: group, of: b}, b: {type: group, of: a}}\n"
			"rules: [{name: r, domain: x, answer: fake, egress: a}]\n",
			"4:56: egress.b.of: leads back to the group 'b'\n"},
	};

	(void)state;
	CHECK(cases);
}

#define FAKE(egress) "rules: [{name: r, domain: x, answer: fake, egress: " egress "}]\n"

static void what_fake_needs(void **state)
{
	static const struct wrong cases[] = {
		/* A direct member of a group, told once for all rules. */
		{GROUPS "egress: {g: {type: group, of: [d, n]}, d: {type: direct}, n: {type: "
			"reject}}\nrules:\n- {name: a, domain: x, answer: fake, egress: g}\n"
			"- {name: b, domain: y, answer: fake, egress: g}\n",
			"4:43: egress.d.upstream: is missing; the rule 'a' answers fake with it; "
			"allowed: u, v\n"},
		{GROUPS "egress: {n: {type: reject}}\n" FAKE("n"), ""},
		{GROUPS "egress: {g: {type: group, of: [p]}, p: {type: socks5, server: "
			"192.0.2.9}}\n" FAKE("g"),
			""},
		/* Rewritten HTTPS records come from an upstream that was meant for it. */
		{"upstreams: {u: {servers: tls://192.0.2.1}}\ndefault: {}\n"
		 "fakeip: {pool6: off, https: rewrite}\n"
		 "egress: {p: {type: socks5, server: 192.0.2.9}}\n" FAKE("p"),
			"4:13: egress.p.upstream: is missing; fakeip.https: rewrite needs it for "
			"the rule 'r'; allowed: u\n"},
		{"upstreams: {u: {servers: tls://192.0.2.1}}\ndefault: {}\n"
		 "fakeip: {pool6: off, https: rewrite}\n"
		 "egress: {p: {type: socks5, server: 192.0.2.9}}\n" FAKE("p, upstream: u"),
			""},
		{"upstreams: {u: {servers: tls://192.0.2.1}}\ndefault: {}\n"
		 "fakeip: {pool6: off, https: rewrite}\n"
		 "egress: {p: {type: socks5, server: 192.0.2.9, upstream: u}}\n" FAKE("p"),
			""},
		{"upstreams: {u: {servers: tls://192.0.2.1}}\ndefault: {}\n"
		 "fakeip: {pool6: off, https: rewrite}\negress: {n: {type: reject}}\n" FAKE("n"),
			""},
		{"fakeip: {pool6: off}\negress: {p: {type: socks5, server: 192.0.2.9}}\n"
		 "rules: [{name: r, answer: real, egress: p}]\n",
			"3:9: rules[0].upstream: is missing; answer: real needs a group to ask, "
			"and upstreams has none; allowed: a name in upstreams\n"},
	};

	(void)state;
	CHECK(cases);
}

/* Six lines before the rule. */
#define RULE(keys)                                                                                 \
	"upstreams: {u: {servers: tls://192.0.2.1}, v: {servers: tls://192.0.2.2}}\n"              \
	"default: {upstream: u}\nfakeip: {pool6: off, except: [l, k]}\n"                           \
	"egress: {d: {type: direct, upstream: v}, n: {type: direct}, p: {type: socks5, "           \
	"server: 192.0.2.9}, m: {type: direct, mark: 4}}\n"                                        \
	"lists: {l: x, k: y}\nrules:\n- {name: r, domain: x, " keys "}\n"

static void unless(void **state)
{
	static const struct wrong cases[] = {
		{RULE("answer: fake, egress: p, unless: {resolves_in: l, egress: d}"),
			"7:57: note: rules[0].unless: every name of the rule is asked at 'v'\n"},
		{RULE("answer: fake, egress: p, unless: [{resolves_in: l, egress: n, upstream: "
		      "u}]"),
			"7:96: note: rules[0].unless[0].upstream: every name of the rule is asked "
			"at 'u'\n"},
		{RULE("answer: fake, egress: p, unless: {resolves_in: l, egress: n}"),
			"7:57: rules[0].unless.upstream: is missing; the egress 'n' has none; "
			"allowed: u, v\n"},
		{RULE("answer: fake, egress: d, unless: {resolves_in: l, egress: p}"),
			"7:57: rules[0].unless.upstream: is missing; the egress 'p' has none; "
			"allowed: u, v\n"},
		{RULE("answer: fake, egress: d, unless: {resolves_in: l, egress: d}"),
			"7:57: note: rules[0].unless: every name of the rule is asked at 'v'\n"
			"7:82: warning: rules[0].unless.egress: is the rule's own egress, which is "
			"taken anyway\n"},
		{RULE("answer: real, egress: p, unless: {resolves_in: l, egress: d}"),
			"7:49: rules[0].unless: needs a fake answer; allowed: with answer: fake\n"},
		{RULE("answer: block, unless: {resolves_in: l, egress: d}"),
			"7:39: rules[0].unless: needs a fake answer; allowed: with answer: fake\n"},
		{RULE("answer: fake, egress: p, unless: {}"),
			"7:57: rules[0].unless.resolves_in: is missing; allowed: a name in lists\n"
			"7:57: rules[0].unless.egress: is missing; allowed: a name in egress\n"},
		{RULE("answer: fake, egress: p, unless: [{resolves_in: [], egress: x, upstream: y, "
		      "within: 1ms, when: 1}]"),
			"7:72: rules[0].unless[0].resolves_in: is empty; allowed: a name in "
			"lists\n"
			"7:84: rules[0].unless[0].egress: there is no egress named 'x'; allowed: "
			"d, n, p, m\n"
			"7:97: rules[0].unless[0].upstream: there is no group in upstreams named "
			"'y'; allowed: u, v\n"
			"7:108: rules[0].unless[0].within: '1ms' is out of bounds; allowed: 10ms "
			"to "
			"1m\n"
			"7:113: rules[0].unless[0].when: unknown key; allowed: within, egress, "
			"upstream, resolves_in\n"},
		{RULE("answer: fake, egress: p, unless: {resolves_in: [l, z], egress: d}"),
			"7:57: note: rules[0].unless: every name of the rule is asked at 'v'\n"
			"7:75: rules[0].unless.resolves_in[1]: there is no list named 'z'; "
			"allowed: l, k\n"},
		{RULE("answer: fake, egress: p, unless: d"),
			"7:57: rules[0].unless: is a single value; allowed: a map, a list of "
			"maps\n"},
		{RULE("answer: fake, egress: p, unless: [d]"),
			"7:58: rules[0].unless[0]: is a single value instead of a map; allowed: "
			"egress, within, upstream, resolves_in\n"},
		{RULE("answer: fake, egress: p, carry: no"),
			"7:56: warning: rules[0].carry: has no effect with answer: fake\n"},
		{RULE("answer: real, egress: d, carry: yes"),
			"7:56: warning: rules[0].carry: has no effect: the rule has no egress that "
			"is a proxy or has a mark\n"},
		{RULE("answer: real, carry: no"),
			"7:45: warning: rules[0].carry: has no effect: the rule has no egress that "
			"is a proxy or has a mark\n"},
		{RULE("answer: real, egress: m, carry: no"), ""},
		{RULE("answer: real, egress: p, carry: no"), ""},
	};

	(void)state;
	CHECK(cases);
}

static void relay(void **state)
{
#define CLIENTS                                                                                    \
	"; allowed: ADDRESS or NETWORK/LENGTH, IPv4 or IPv6; a MAC address such as "               \
	"02:00:5e:10:00:01; a name in clients\n"
#define WORDS "; allowed: a list of tls, http, quic; or off\n"
	static const struct wrong cases[] = {
		{GROUPS "gateway: {relay_clients: [192.0.2.1/24, xbox, '02:00:5e:10:00', "
			"'03:00:5e:10:00:01', '02:00:5e:10:00:0g']}\n",
			"4:27: gateway.relay_clients[0]: '192.0.2.1/24' has host bits set, the "
			"network is 192.0.2.0/24" CLIENTS
			"4:41: gateway.relay_clients[1]: there is no group in clients named "
			"'xbox'" CLIENTS
			"4:47: gateway.relay_clients[2]: '02:00:5e:10:00' is not an address or a "
			"network" CLIENTS
			"4:65: gateway.relay_clients[3]: '03:00:5e:10:00:01' is the address of a "
			"group of stations" CLIENTS
			"4:86: gateway.relay_clients[4]: '02:00:5e:10:00:0g' is not an address or "
			"a network" CLIENTS},
		{GROUPS "gateway: {relay_clients: {a: 1}}\n",
			"4:26: gateway.relay_clients: is a map" CLIENTS},
		{GROUPS "gateway: {relay_clients: }\n", ""},
		{GROUPS "gateway: {sniff: ssh}\n", "4:18: gateway.sniff: 'ssh' is unknown" WORDS},
		{GROUPS "gateway: {sniff: [tls, off]}\n",
			"4:24: gateway.sniff[1]: 'off' stands among others" WORDS},
		{GROUPS "gateway: {sniff: []}\n", "4:18: gateway.sniff: is empty" WORDS},
		{GROUPS "gateway: {sniff: }\n", "4:18: gateway.sniff: is nothing" WORDS},
		{GROUPS "gateway: {sniff: [tls, tls, tls, tls]}\n",
			"4:18: gateway.sniff: has more than 3 entries\n"},
		{GROUPS "gateway: {watch: 99ms, lame_duck: 61s}\n",
			"4:18: gateway.watch: '99ms' is out of bounds; allowed: 0, 100ms to 1h\n"
			"4:35: gateway.lame_duck: '61s' is out of bounds; allowed: 0 to 1m\n"},
		{GROUPS "gateway: {watch: 0}\n", ""},
		{GROUPS "gateway: {relay_mark: 0x30000000}\n",
			"4:23: gateway.relay_mark: the bits 0x30000000 are those of gateway.mark "
			"or "
			"of the two above it; allowed: bits of 0x8fffffff\n"},
		{GROUPS "gateway: {relay_mark: 0}\n",
			"4:23: gateway.relay_mark: the mask of '0' is 0; allowed: VALUE or "
			"VALUE/MASK, each decimal or 0x and hexadecimal\n"},
		{EGRESS("type: direct, mark: 0x10") "gateway: {relay_mark: 0x10}\n",
			"4:34: egress.e.mark: has the bits of gateway.relay_mark (line 5): the "
			"relay would take its own packets\n"},
		{EGRESS("type: direct, mark: 0x11/0xff") "gateway: {relay_mark: 0x10/0xf0}\n",
			"4:34: egress.e.mark: has the bits of gateway.relay_mark (line 5): the "
			"relay would take its own packets\n"},
		{EGRESS("type: direct, mark: 0x31") "gateway: {relay_mark: 0x10/0xf0}\n", ""},
		{"upstreams: {u: {servers: tls://192.0.2.1, mark: 2}}\ngateway: {relay_mark: "
		 "2}\ndefault: {}\nfakeip: {pool6: off}\n",
			"1:49: upstreams.u.mark: has the bits of gateway.relay_mark (line 2): the "
			"relay would take its own packets\n"},
	};

	(void)state;
	CHECK(cases);
}

#define FAKEIP(keys)                                                                               \
	"upstreams: {u: {servers: tls://192.0.2.1}}\ndefault: {upstream: u}\nlists: {l: "          \
	"x}\nfakeip: {pool6: off, " keys "}\n"

static void fakeip(void **state)
{
	static const struct wrong cases[] = {
		{FAKEIP("hold: 31d, sync: 500ms"),
			"4:28: fakeip.hold: '31d' is out of bounds; allowed: 0 to 30d\n"
			"4:39: fakeip.sync: '500ms' is not a whole number of seconds; allowed: 0 "
			"to 1h\n"},
		{FAKEIP("exhausted: nodata, https: keep, ech: no"),
			"4:33: fakeip.exhausted: 'nodata' is unknown; allowed: real, servfail\n"
			"4:48: fakeip.https: 'keep' is unknown; allowed: empty, rewrite\n"
			"4:59: fakeip.ech: 'no' is unknown; allowed: keep, drop\n"},
		{FAKEIP("ech: drop, except: l"),
			"4:27: warning: fakeip.ech: has no effect with https: empty\n"},
		{FAKEIP("store: '', sync: 1s, except: l"),
			"4:39: warning: fakeip.sync: has no effect with store: \"\"\n"},
		{FAKEIP("except: m"), "4:30: fakeip.except: there is no list named 'm'; allowed: "
				      "l\n"},
		{FAKEIP("except: [l, m]"),
			"4:34: fakeip.except[1]: there is no list named 'm'; allowed: l\n"},
		{FAKEIP("except: {builtin: some, list: l}"),
			"4:40: fakeip.except.builtin: 'some' is neither yes nor no; allowed: yes, "
			"no, true, false, on, off\n"
			"4:46: fakeip.except.list: unknown key; allowed: lists, builtin\n"},
		{FAKEIP("except: [[l]]"),
			"4:31: fakeip.except[0]: is a list; allowed: names in lists, {builtin, "
			"lists}\n"},
		{FAKEIP("except: []"), "3:12: note: lists.l: neither a rule, a group in upstreams "
				       "nor fakeip.except names this "
				       "list\n"},
	};

	(void)state;
	CHECK(cases);
}

static void leases(void **state)
{
	static const struct wrong cases[] = {
		{GROUPS "leases: {domain: lan}\n",
			"4:9: leases.files: is missing; allowed: a path\n"},
		{GROUPS "leases: {files: []}\n", "4:17: leases.files: is empty; allowed: a path\n"},
		{GROUPS "leases: {files: ''}\n", "4:17: leases.files: is empty; allowed: a path\n"},
		{GROUPS "leases: /tmp/dhcp.leases\n",
			"4:9: leases: is a single value instead of a map; allowed: files, domain, "
			"answer\n"},
		{GROUPS "leases: {files: a, domain: 'full:lan', answer: maybe}\n",
			"4:28: leases.domain: 'full:lan' has a character that no domain name has; "
			"allowed: a domain name\n"
			"4:48: leases.answer: 'maybe' is neither yes nor no; allowed: yes, no, "
			"true, false, on, off\n"},
		{GROUPS "leases:\n", ""},
		{GROUPS "leases: {files: a, domain: '.'}\n",
			"4:28: leases.domain: '.' is too short for a domain name; allowed: a "
			"domain name\n"},
	};

	(void)state;
	CHECK(cases);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(egress_defaults),
		cmocka_unit_test(servers),
		cmocka_unit_test(default_ports_of_names),
		cmocka_unit_test(idle_bounds_udp),
		cmocka_unit_test(groups_may_hold_groups),
		cmocka_unit_test(a_proxy_needs_no_group),
		cmocka_unit_test(upstreams_of_rules),
		cmocka_unit_test(short_forms),
		cmocka_unit_test(many_relay_clients),
		cmocka_unit_test(password_files),
		cmocka_unit_test(wrong_password_files),
		cmocka_unit_test(wrong_servers),
		cmocka_unit_test(wrong_secrets),
		cmocka_unit_test(options_of_other_types),
		cmocka_unit_test(wrong_values),
		cmocka_unit_test(wrong_groups),
		cmocka_unit_test(what_fake_needs),
		cmocka_unit_test(unless),
		cmocka_unit_test(relay),
		cmocka_unit_test(fakeip),
		cmocka_unit_test(leases),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
