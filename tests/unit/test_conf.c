/* What a correct configuration becomes. */
#include "tests/unit/conf_messages.h"

#include <fcntl.h>
#include <limits.h>
#include <linux/netfilter.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "conf/options.h"
#include "gateway/base/log.h"
#include "gateway/lists/lists.h"

/* Every option there is, none with its default. */
static const char full[] =
	"gateway:\n"
	"  lan: [br-lan, 'wlan*']\n"
	"  self: off\n"
	"  exempt:\n"
	"    uid: [root, 1000]\n"
	"    gid: root\n"
	"    cgroup: /system.slice/dnsmasq.service/\n"
	"    mark: [0x80000, 3/7]\n"
	"    to: [192.0.2.0/24, 2001:db8::1]\n"
	"  tun: tg1\n"
	"  mtu: 9k\n"
	"  intercept: tproxy\n"
	"  mark: 0x1000000/0x3000000\n"
	"  workers: 3\n"
	"  relay_mark: 0x40/0xc0\n"
	"  relay_clients: [192.168.1.64/28, '02:00:5E:10:00:0f', '2001:db8::7', "
	"02-00-5e-10-00-02]\n"
	"  sniff: [quic, tls]\n"
	"  watch: 500ms\n"
	"  lame_duck: 0\n"
	"listen:\n"
	"  - udp://127.0.0.1:5353\n"
	"  - 'tcp://[::1]'\n"
	"fakeip:\n"
	"  pool4: 100.64.0.0/10\n"
	"  pool6: 2001:2::/64\n"
	"  ttl: 1m30s\n"
	"  store: state/fakeip.db\n"
	"  hold: 2h\n"
	"  sync: 0\n"
	"  exhausted: servfail\n"
	"  https: rewrite\n"
	"  ech: drop\n"
	"  except: { builtin: no, lists: [two, one] }\n"
	"leases:\n"
	"  files: [/tmp/dhcp.leases, odhcpd]\n"
	"  domain: Home.Arpa.\n"
	"  answer: no\n"
	"upstreams:\n"
	"  first: { servers: tls://192.0.2.1 }\n"
	"  second:\n"
	"    servers: [tls://192.0.2.2:5300, 'tls://[2001:db8::2]:54', 'tls://2001:db8::3']\n"
	"    strategy: sequential\n"
	"    timeout: 7500ms\n"
	"    mark: 0x10/0xff\n"
	"  third:\n"
	"    servers:\n"
	"      - { url: 'https://Dns.Example:8443/q?x=1@TLS.example.', bind: eth0.5, mark: 0x100,\n"
	"          pin: [sha256/47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=,\n"
	"                sha256///////////////////////////////////////////8=],\n"
	"          max_queries: 1k, max_life: 1h, idle: 10s, method: get }\n"
	"      - 'dns://[fe80::1%lo]'\n"
	"    strategy: race\n"
	"    total: 9s\n"
	"    via: plain\n"
	"    bootstrap: first\n"
	"    ca: ca.pem\n"
	"    fallback: second\n"
	"    downgrade: yes\n"
	"    all_down: none\n"
	"    rebind: allow\n"
	"    health: off\n"
	"    ignore_ip: [192.0.2.66, 198.51.100.0/24]\n"
	"    bogus_nxdomain: 2001:db8::/32\n"
	"    require_edns: yes\n"
	"    min_rtt: 5ms\n"
	"    window: 300ms\n"
	"    ecs: 203.0.113.0/24\n"
	"    case_randomization: yes\n"
	"    leak: strict\n"
	"    lists: [two, one]\n"
	"    strict_to: first\n"
	"egress:\n"
	"  plain: { type: direct }\n"
	"  vpn: { type: direct, upstream: second, mark: 0x20 }\n"
	"  any: { type: group, of: [web, far, none], strategy: fastest, check: 1m }\n"
	"  far:\n"
	"    type: socks5\n"
	"    server: Proxy.Example.\n"
	"    bootstrap: first\n"
	"    user: me\n"
	"    password: 's3cret: #'\n"
	"    mark: 1\n"
	"    udp: reject\n"
	"    quic: reject\n"
	"    upstream: second\n"
	"    connect_timeout: 1500ms\n"
	"    idle: 20s\n"
	"    ping: local\n"
	"  web: { type: http, server: '[2001:db8::80]:3128', udp: reject, user: you,\n"
	"    password_file: /proc/sys/kernel/ostype }\n"
	"  none: { type: reject }\n"
	"  near: { type: direct, masquerade: no }\n"
	"lists:\n"
	"  one: { path: a.bin, format: geosite, tag: cn@ads, optional: yes }\n"
	"  two: [/b.txt, c/d.txt]\n"
	"rules:\n"
	"  - { name: blocked, list: [two, one], answer: block, block: nodata }\n"
	"  - name: faked\n"
	"    domain: [Example.COM., 'full:A.b']\n"
	"    client: [192.168.0.0/16, '2001:db8::/32']\n"
	"    type: [A, aaaa, TYPE65280]\n"
	"    answer: fake\n"
	"    egress: vpn\n"
	"    on_error: servfail\n"
	"    unless:\n"
	"      - { resolves_in: [two, one], egress: near, upstream: first, within: 300ms }\n"
	"      - { resolves_in: one, egress: far }\n"
	"  - name: set\n"
	"    domain: x\n"
	"    answer: real\n"
	"    upstream: first\n"
	"    nftset: ['4#inet#fw4#v4', '6#ip6#t#v6', 'inet#t#both', 't#s', '4#t#s']\n"
	"    ipset: [plain, '4#four', '6#six']\n"
	"    set_ttl: { min: 1h, grace: 0 }\n"
	"  - { name: fixed, domain: f, answer: real, set_ttl: 1d12h }\n"
	"  - { name: forever, domain: p, answer: real, egress: plain, set_ttl: permanent }\n"
	"  - { name: adds, domain: y, except: [two, b.example], also: yes, to: one, ipset: more }\n"
	"  - { name: safe, domain: s, client: [all, '!192.168.8.0/30'], answer: local, cname: "
	"Safe.Example. }\n"
	"  - name: ours\n"
	"    domain: o\n"
	"    listener: [udp, tun]\n"
	"    answer: local\n"
	"    filter: ipv6\n"
	"    address: 192.0.2.7\n"
	"    records: { type: MX, rdata: { preference: 10, exchange: m.example } }\n"
	"  - { name: rest, domain: '.', answer: real, egress: vpn, carry: no, cache: no,\n"
	"      ttl: { min: 10s, max: 20s }, rebind: allow, nftmap: { set: 't#m = 1', timeout: 1d "
	"},\n"
	"      push: before, push_timeout: 20ms, conntrack: forget, check: { answers: in, of: "
	"two,\n"
	"      match: any, rule: faked, learn: far.txt, capacity: 5k, max_age: 7d, verify: 0 } }\n"
	"default: { answer: real, upstream: second }\n"
	"control: { socket: tg.sock, mode: 0600, group: root }\n"
	"log: { level: debug }\n"
	"clients:\n"
	"  kids: [192.168.9.0/24, 'host:Tablet', 'if:wlan1', 02-00-5e-10-00-03]\n"
	"  all: [kids, 192.168.8.1]\n"
	"records:\n"
	"  files: [r.json, /etc/hosts]\n"
	"  lines: { home: [192.168.9.0/24, 2001:db8::/32] }\n"
	"  lines_file: l.json\n"
	"  inline: [{ name: a.lan, type: A, rdata: 192.0.2.8, labels: [home] }]\n"
	"  ttl: 5m\n"
	"  no_line: none\n"
	"  whole: yes\n"
	"  store: pushed.json\n"
	"builtin: { localhost: no, special: no, canary: no, relay: yes, ddr: no,\n"
	"  private_reverse: no, ipv4only: yes }\n"
	"cache:\n"
	"  size: 5k\n"
	"  bytes: 20m\n"
	"  min_ttl: 5s\n"
	"  max_ttl: 2h\n"
	"  negative_ttl: 10m\n"
	"  failure_ttl: 2s\n"
	"  serve_stale: off\n"
	"  prefetch: { share: 30%, hits: 3 }\n"
	"  store: cache.zst\n"
	"  store_every: 1h\n"
	"  warmup: { count: 50, rate: 5 }\n";

static struct config *parse_full(void)
{
	struct messages m;
	struct config *c = parse_len("/etc/t/full.yaml", full, sizeof full - 1, &m);

	assert_string_equal(m.text,
		"/etc/t/full.yaml:106:60: note: rules[1].unless[0].upstream: every name of the "
		"rule is asked at 'first'\n"
		"/etc/t/full.yaml:107:9: note: rules[1].unless[1]: every name of the rule is asked "
		"at 'second'\n");
	assert_non_null(c);
	return c;
}

static void assert_prefix(const struct ip_prefix *p, const char *text)
{
	char buf[IP_TEXT_MAX];

	assert_string_equal(ip_prefix_format(p, buf), text);
}

static void assert_at(const struct ip_port *at, const char *text)
{
	char buf[IP_TEXT_MAX];

	assert_string_equal(ip_port_format(at, buf), text);
}

static void every_option_is_in_the_text(void **state)
{
	(void)state;
	for (size_t i = 0; i < conf_options_n; i++) {
		const char *key = strrchr(conf_options[i].path, '.');
		char word[64];

		key = key ? key + 1 : conf_options[i].path;
		if (strcmp(key, "NAME") == 0 || key[strlen(key) - 1] == ']')
			continue;
		snprintf(word, sizeof word, "%s:", key);
		if (!strstr(full, word))
			fail_msg("%s is in no test", conf_options[i].path);
	}
}

static void gateway_values(void **state)
{
	struct config *c = parse_full();
	const struct conf_gateway *g = &c->gateway;

	(void)state;
	assert_string_equal(c->path, "/etc/t/full.yaml");
	assert_int_equal(g->lan.n, 2);
	assert_string_equal(g->lan.v[0], "br-lan");
	assert_string_equal(g->lan.v[1], "wlan*");
	assert_false(g->self);
	assert_int_equal(g->exempt.uid.n, 2);
	assert_int_equal(g->exempt.uid.v[0], 0);
	assert_int_equal(g->exempt.uid.v[1], 1000);
	assert_int_equal(g->exempt.gid.n, 1);
	assert_int_equal(g->exempt.gid.v[0], 0);
	assert_int_equal(g->exempt.cgroup.n, 1);
	assert_string_equal(g->exempt.cgroup.v[0], "system.slice/dnsmasq.service");
	assert_int_equal(g->exempt.n_mark, 2);
	assert_int_equal(g->exempt.mark[0].value, 0x80000);
	assert_int_equal(g->exempt.mark[0].mask, 0x80000);
	assert_int_equal(g->exempt.mark[1].value, 3);
	assert_int_equal(g->exempt.mark[1].mask, 7);
	assert_int_equal(g->exempt.to.n, 2);
	assert_prefix(&g->exempt.to.v[0], "192.0.2.0/24");
	assert_prefix(&g->exempt.to.v[1], "2001:db8::1/128");
	assert_string_equal(g->tun, "tg1");
	assert_int_equal(g->mtu, 9000);
	assert_int_equal(g->intercept, CONF_INTERCEPT_TPROXY);
	assert_int_equal(g->mark.value, 0x1000000);
	assert_int_equal(g->mark.mask, 0x3000000);
	assert_int_equal(g->workers, 3);
	assert_int_equal(g->watch_ms, 500);
	assert_int_equal(g->lame_duck_ms, 0);
	conf_free(c);
}

static void relay_values(void **state)
{
	static const uint8_t macs[2][6] = {{2, 0, 0x5e, 0x10, 0, 0xf}, {2, 0, 0x5e, 0x10, 0, 2}};
	struct config *c = parse_full();
	const struct conf_gateway *g = &c->gateway;

	(void)state;
	assert_int_equal(g->relay_mark.value, 0x40);
	assert_int_equal(g->relay_mark.mask, 0xc0);
	assert_int_equal(g->relay_clients.prefixes.n, 2);
	assert_prefix(&g->relay_clients.prefixes.v[0], "192.168.1.64/28");
	assert_prefix(&g->relay_clients.prefixes.v[1], "2001:db8::7/128");
	assert_int_equal(g->relay_clients.n_macs, 2);
	for (size_t i = 0; i < 2; i++)
		assert_memory_equal(g->relay_clients.macs[i].b, macs[i], 6);
	assert_int_equal(g->sniff, CONF_SNIFF_TLS | CONF_SNIFF_QUIC);
	conf_free(c);
}

static void fakeip_and_lease_values(void **state)
{
	struct config *c = parse_full();
	const struct conf_fakeip *f = &c->fakeip;

	(void)state;
	assert_int_equal(f->hold_s, 7200);
	assert_int_equal(f->sync_s, 0);
	assert_int_equal(f->exhausted, CONF_EXHAUSTED_SERVFAIL);
	assert_int_equal(f->https, CONF_HTTPS_REWRITE);
	assert_int_equal(f->ech, CONF_ECH_DROP);
	assert_false(f->except_builtin);
	assert_int_equal(f->n_except, 2);
	assert_int_equal(f->except[0], 1);
	assert_int_equal(f->except[1], 0);
	assert_int_equal(c->leases.files.n, 2);
	assert_string_equal(c->leases.files.v[0], "/tmp/dhcp.leases");
	assert_string_equal(c->leases.files.v[1], "/etc/t/odhcpd");
	assert_string_equal(c->leases.domain, "home.arpa");
	assert_false(c->leases.answer);
	conf_free(c);
}

static void egress_values(void **state)
{
	struct config *c = parse_full();
	const struct conf_egress *e = c->egresses;

	(void)state;
	assert_int_equal(e[2].type, CONF_EGRESS_GROUP);
	assert_int_equal(e[2].line, 75);
	assert_int_equal(e[2].column, 8);
	assert_int_equal(e[2].n_of, 3);
	assert_int_equal(e[2].of[0], 4); /* further down in the file */
	assert_int_equal(e[2].of[1], 3);
	assert_int_equal(e[2].of[2], 5);
	assert_int_equal(e[2].strategy, CONF_GROUP_FASTEST);
	assert_int_equal(e[2].check_ms, 60000);
	assert_int_equal(e[3].type, CONF_EGRESS_SOCKS5);
	assert_string_equal(e[3].server.host, "proxy.example");
	assert_int_equal(e[3].server.at.addr.family, IP_NONE);
	assert_int_equal(e[3].server.at.port, 1080);
	assert_int_equal(e[3].bootstrap, 0);
	assert_string_equal(e[3].user, "me");
	assert_string_equal(e[3].password, "s3cret: #");
	assert_int_equal(e[3].mark.value, 1);
	assert_int_equal(e[3].udp, CONF_CARRY_REJECT);
	assert_int_equal(e[3].quic, CONF_CARRY_REJECT);
	assert_int_equal(e[3].upstream, 1);
	assert_int_equal(e[3].connect_timeout_ms, 1500);
	assert_int_equal(e[3].idle_ms, 20000);
	assert_int_equal(e[3].udp_idle_ms, 20000);
	assert_int_equal(e[3].ping, CONF_PING_LOCAL);
	assert_int_equal(e[4].type, CONF_EGRESS_HTTP);
	assert_null(e[4].server.host);
	assert_int_equal(e[4].server.at.port, 3128);
	assert_string_equal(e[4].user, "you");
	assert_string_equal(e[4].password, "Linux");
	assert_int_equal(e[4].server.at.addr.family, IP_V6);
	assert_int_equal(e[4].quic, CONF_CARRY_REJECT);
	assert_int_equal(e[5].type, CONF_EGRESS_REJECT);
	assert_int_equal(e[6].masquerade, CONF_MASQUERADE_NO);
	conf_free(c);
}

static void unless_values(void **state)
{
	struct config *c = parse_full();
	const struct conf_rule *r = &c->rules[1];

	(void)state;
	assert_int_equal(r->n_unless, 2);
	assert_int_equal(r->unless[0].n_lists, 2);
	assert_int_equal(r->unless[0].lists[0], 1);
	assert_int_equal(r->unless[0].lists[1], 0);
	assert_int_equal(r->unless[0].egress, 6);
	assert_int_equal(r->unless[0].upstream, 0);
	assert_int_equal(r->unless[0].within_ms, 300);
	assert_int_equal(r->unless[0].line, 106);
	assert_int_equal(r->unless[0].column, 9);
	assert_int_equal(r->unless[1].n_lists, 1);
	assert_int_equal(r->unless[1].lists[0], 0);
	assert_int_equal(r->unless[1].egress, 3);
	assert_int_equal(r->unless[1].upstream, 1); /* its egress's */
	assert_int_equal(r->unless[1].within_ms, 2000);
	assert_int_equal(c->rules[0].n_unless, 0);
	assert_true(r->carry);
	assert_false(c->rules[8].carry);
	conf_free(c);
}

static void address_values(void **state)
{
	struct config *c = parse_full();

	(void)state;
	assert_int_equal(c->n_listen, 2);
	assert_int_equal(c->listen[0].transport, CONF_UDP);
	assert_at(&c->listen[0].at, "127.0.0.1:5353");
	assert_int_equal(c->listen[1].transport, CONF_TCP);
	assert_at(&c->listen[1].at, "[::1]:53");
	assert_string_equal(c->listen[1].url, "tcp://[::1]");
	assert_int_equal(c->listen[1].line, 22);
	assert_int_equal(c->listen[1].column, 5);
	assert_prefix(&c->fakeip.pool4, "100.64.0.0/10");
	assert_prefix(&c->fakeip.pool6, "2001:2::/64");
	assert_int_equal(c->fakeip.ttl_s, 90);
	assert_string_equal(c->fakeip.store, "/etc/t/state/fakeip.db");
	assert_string_equal(c->control_socket, "/etc/t/tg.sock");
	assert_int_equal(c->control_line, 131);
	assert_int_equal(c->control_column, 20);
	assert_int_equal(c->control_mode, 0600);
	assert_string_equal(c->control_group, "root");
	assert_int_equal(c->log_level, LOG_LEVEL_DEBUG);
	conf_free(c);
}

static void section_values(void **state)
{
	struct config *c = parse_full();

	(void)state;
	assert_int_equal(c->n_upstreams, 3);
	assert_string_equal(c->upstreams[0].name, "first");
	assert_int_equal(c->upstreams[0].n_servers, 1);
	assert_int_equal(c->upstreams[0].servers[0].transport, CONF_TLS);
	assert_at(&c->upstreams[0].servers[0].at, "192.0.2.1:853");
	assert_int_equal(c->upstreams[0].timeout_ms, 2000);
	assert_int_equal(c->upstreams[0].total_ms, 5000);
	assert_int_equal(c->upstreams[0].mark.mask, 0);
	assert_int_equal(c->upstreams[1].n_servers, 3);
	assert_at(&c->upstreams[1].servers[0].at, "192.0.2.2:5300");
	assert_at(&c->upstreams[1].servers[1].at, "[2001:db8::2]:54");
	assert_at(&c->upstreams[1].servers[2].at, "[2001:db8::3]:853");
	assert_int_equal(c->upstreams[1].timeout_ms, 7500);
	assert_int_equal(c->upstreams[1].total_ms, 7500);
	assert_int_equal(c->upstreams[1].mark.value, 0x10);
	assert_int_equal(c->upstreams[1].mark.mask, 0xff);
	assert_int_equal(c->n_egresses, 7);
	assert_string_equal(c->egresses[0].name, "plain");
	assert_int_equal(c->egresses[0].upstream, -1);
	assert_int_equal(c->egresses[0].mark.mask, 0);
	assert_int_equal(c->egresses[1].upstream, 1);
	assert_int_equal(c->egresses[1].type, CONF_EGRESS_DIRECT);
	assert_int_equal(c->egresses[1].mark.value, 0x20);
	assert_int_equal(c->egresses[1].mark.mask, 0x20);
	assert_int_equal(c->n_lists, 2);
	assert_int_equal(c->lists[0].n_files, 1);
	assert_string_equal(c->lists[0].files[0].path, "/etc/t/a.bin");
	assert_int_equal(c->lists[0].files[0].format, LIST_GEOSITE);
	assert_string_equal(c->lists[0].files[0].tag, "cn");
	assert_string_equal(c->lists[0].files[0].attribute, "ads");
	assert_true(c->lists[0].files[0].optional);
	assert_int_equal(c->lists[1].n_files, 2);
	assert_string_equal(c->lists[1].files[0].path, "/b.txt");
	assert_int_equal(c->lists[1].files[0].format, LIST_AUTO);
	assert_null(c->lists[1].files[0].tag);
	assert_false(c->lists[1].files[0].optional);
	assert_string_equal(c->lists[1].files[1].path, "/etc/t/c/d.txt");
	assert_int_equal(c->lists[1].line, 95);
	assert_int_equal(c->lists[1].column, 8);
	assert_int_equal(c->default_upstream, 1);
	conf_free(c);
}

static void server_values(void **state)
{
	/* SHA-256 of nothing. */
	static const uint8_t first[4] = {0xe3, 0xb0, 0xc4, 0x42},
			     last[4] = {0x78, 0x52, 0xb8, 0x55};
	struct config *c = parse_full();
	const struct conf_server *s = c->upstreams[2].servers;
	uint8_t ones[32];

	(void)state;
	memset(ones, 0xff, sizeof ones);
	assert_int_equal(c->upstreams[2].n_servers, 2);
	assert_int_equal(s->transport, CONF_HTTPS);
	assert_string_equal(s->url, "https://Dns.Example:8443/q?x=1@TLS.example.");
	assert_string_equal(s->host, "dns.example");
	assert_int_equal(s->at.addr.family, IP_NONE);
	assert_int_equal(s->at.port, 8443);
	assert_string_equal(s->tls_name, "tls.example");
	assert_string_equal(s->path, "/q?x=1");
	assert_int_equal(s->n_pins, 2);
	assert_memory_equal(s->pins[0].sha256, first, 4);
	assert_memory_equal(s->pins[0].sha256 + 28, last, 4);
	assert_memory_equal(s->pins[1].sha256, ones, 32);
	assert_int_equal(s->method, CONF_GET);
	assert_string_equal(s->bind.interface, "eth0.5");
	assert_int_equal(s->bind.address.family, IP_NONE);
	assert_int_equal(s->mark.value, 0x100);
	assert_int_equal(s->max_queries, 1000);
	assert_int_equal(s->max_life_ms, 3600000);
	assert_int_equal(s->idle_ms, 10000);
	assert_int_equal(s->line, 47);
	assert_int_equal(s->column, 9);
	s++;
	assert_int_equal(s->transport, CONF_DNS);
	assert_null(s->host);
	assert_at(&s->at, "[fe80::1%1]:53");
	assert_null(s->tls_name);
	assert_null(s->path);
	assert_int_equal(s->n_pins, 0);
	assert_int_equal(s->mark.mask, 0);
	assert_int_equal(s->max_queries + s->max_life_ms, 0);
	assert_int_equal(s->idle_ms, 30000);
	conf_free(c);
}

static void upstream_values(void **state)
{
	struct config *c = parse_full();
	const struct conf_upstream *u = &c->upstreams[2];

	(void)state;
	assert_int_equal(u->line, 46);
	assert_int_equal(u->strategy, CONF_STRATEGY_RACE);
	assert_int_equal(u->timeout_ms, 2000);
	assert_int_equal(u->total_ms, 9000);
	assert_int_equal(u->via, 0);
	assert_int_equal(u->bootstrap, 0);
	assert_string_equal(u->ca, "/etc/t/ca.pem");
	assert_int_equal(u->fallback, 1);
	assert_true(u->downgrade);
	assert_int_equal(u->all_down, CONF_ALL_DOWN_NONE);
	assert_int_equal(u->rebind, CONF_REBIND_ALLOW);
	assert_int_equal(u->health_ms, 0);
	assert_int_equal(u->ignore_ip.n, 2);
	assert_prefix(&u->ignore_ip.v[0], "192.0.2.66/32");
	assert_prefix(&u->ignore_ip.v[1], "198.51.100.0/24");
	assert_int_equal(u->bogus_nxdomain.n, 1);
	assert_true(u->require_edns);
	assert_int_equal(u->min_rtt_ms, 5);
	assert_int_equal(u->window_ms, 300);
	assert_prefix(&u->ecs, "203.0.113.0/24");
	assert_true(u->case_randomization);
	assert_true(u->leak_strict);
	assert_int_equal(u->n_lists, 2);
	assert_int_equal(u->lists[0], 1);
	assert_int_equal(u->lists[1], 0);
	assert_int_equal(u->strict_to, 0);
	conf_free(c);
}

static void cache_values(void **state)
{
	struct config *c = parse_full();

	(void)state;
	assert_int_equal(c->cache.size, 5000);
	assert_int_equal(c->cache.bytes, 20000000);
	assert_int_equal(c->cache.min_ttl_s, 5);
	assert_int_equal(c->cache.max_ttl_s, 7200);
	assert_int_equal(c->cache.negative_ttl_s, 600);
	assert_int_equal(c->cache.failure_ttl_s, 2);
	assert_int_equal(c->cache.serve_stale_s, 0);
	assert_int_equal(c->cache.prefetch_percent, 30);
	assert_int_equal(c->cache.prefetch_hits, 3);
	assert_string_equal(c->cache.store, "/etc/t/cache.zst");
	assert_int_equal(c->cache.store_every_s, 3600);
	assert_int_equal(c->cache.warmup_count, 50);
	assert_int_equal(c->cache.warmup_rate, 5);
	conf_free(c);
}

static void rule_values(void **state)
{
	struct config *c = parse_full();
	const struct conf_rule *r = c->rules;

	(void)state;
	assert_int_equal(c->n_rules, 9);
	assert_string_equal(r->name, "blocked");
	assert_int_equal(r->line, 97);
	assert_int_equal(r->column, 5);
	assert_int_equal(r->answer, CONF_ANSWER_BLOCK);
	assert_int_equal(r->block, CONF_BLOCK_NODATA);
	assert_int_equal(r->n_lists, 2);
	assert_int_equal(r->lists[0], 1);
	assert_int_equal(r->lists[1], 0);
	assert_int_equal(r->upstream, -1);
	assert_int_equal(r->egress, -1);
	r++;
	assert_int_equal(r->answer, CONF_ANSWER_FAKE);
	assert_int_equal(r->domain.n, 2);
	assert_string_equal(r->domain.v[0], "example.com");
	assert_string_equal(r->domain.v[1], "full:a.b");
	assert_int_equal(r->client.prefixes.n, 2);
	assert_prefix(&r->client.prefixes.v[0], "192.168.0.0/16");
	assert_int_equal(r->n_types, 3);
	assert_int_equal(r->types[0], 1);
	assert_int_equal(r->types[1], 28);
	assert_int_equal(r->types[2], 65280);
	assert_int_equal(r->egress, 1);
	assert_int_equal(r->upstream, 1); /* the egress's */
	assert_int_equal(r->on_error, CONF_ON_ERROR_SERVFAIL);
	assert_int_equal(r->set_ttl.min_s, 600);
	assert_int_equal(r->set_ttl.grace_s, 60);
	assert_int_equal(r->set_ttl.fixed_s, 0);
	assert_false(r->set_ttl.permanent);
	assert_int_equal(c->rules[2].upstream, 0); /* its own */
	assert_int_equal(c->rules[2].on_error, CONF_ON_ERROR_ANSWER);
	assert_int_equal(c->rules[2].set_ttl.min_s, 3600);
	assert_int_equal(c->rules[2].set_ttl.grace_s, 0);
	assert_int_equal(c->rules[3].upstream, 1); /* that of default */
	assert_int_equal(c->rules[3].set_ttl.fixed_s, 129600);
	assert_true(c->rules[4].set_ttl.permanent);
	assert_int_equal(c->rules[4].upstream, 1); /* its egress has none */
	assert_string_equal(c->rules[8].domain.v[0], ".");
	conf_free(c);
}

static void client_values(void **state)
{
	static const uint8_t mac[6] = {2, 0, 0x5e, 0x10, 0, 3};
	struct config *c = parse_full();
	const struct conf_who *who = &c->clients[0].who;

	(void)state;
	assert_int_equal(c->n_clients, 2);
	assert_string_equal(c->clients[0].name, "kids");
	assert_int_equal(c->clients[0].line, 134);
	assert_int_equal(who->prefixes.n, 1);
	assert_prefix(&who->prefixes.v[0], "192.168.9.0/24");
	assert_int_equal(who->n_macs, 1);
	assert_memory_equal(who->macs[0].b, mac, 6);
	assert_int_equal(who->hosts.n, 1);
	assert_string_equal(who->hosts.v[0], "tablet");
	assert_int_equal(who->interfaces.n, 1);
	assert_string_equal(who->interfaces.v[0], "wlan1");
	who = &c->rules[6].client; /* by the group that names the other */
	assert_int_equal(who->prefixes.n, 2);
	assert_prefix(&who->prefixes.v[0], "192.168.8.1/32");
	assert_prefix(&who->prefixes.v[1], "192.168.9.0/24");
	assert_int_equal(who->n_macs + who->hosts.n + who->interfaces.n, 3);
	assert_int_equal(c->rules[6].not_client.n, 1);
	assert_prefix(&c->rules[6].not_client.v[0], "192.168.8.0/30");
	conf_free(c);
}

static void record_values(void **state)
{
	struct config *c = parse_full();
	const struct conf_records *r = &c->records;

	(void)state;
	assert_string_equal(r->from, "/etc/t/full.yaml");
	assert_int_equal(r->files.n, 2);
	assert_string_equal(r->files.v[0], "/etc/t/r.json");
	assert_string_equal(r->files.v[1], "/etc/hosts");
	assert_int_equal(r->n_lines, 1);
	assert_string_equal(r->lines[0].name, "home");
	assert_int_equal(r->lines[0].clients.n, 2);
	assert_prefix(&r->lines[0].clients.v[1], "2001:db8::/32");
	assert_string_equal(r->lines_file, "/etc/t/l.json");
	assert_int_equal(r->n_records, 1);
	assert_string_equal(r->records[0].json,
		"{\"name\": \"a.lan\", \"type\": \"A\", \"rdata\": \"192.0.2.8\", \"labels\": "
		"[\"home\"]}");
	assert_int_equal(r->records[0].line, 140);
	assert_int_equal(r->records[0].column, 12);
	assert_int_equal(r->ttl_s, 300);
	assert_true(r->no_line_none);
	assert_true(r->whole);
	assert_string_equal(r->store, "/etc/t/pushed.json");
	assert_int_equal(c->builtin, CONF_BUILTIN_RELAY | CONF_BUILTIN_IPV4ONLY);
	conf_free(c);
}

static void local_and_also_values(void **state)
{
	struct config *c = parse_full();
	const struct conf_rule *r = &c->rules[5];
	char buf[IP_TEXT_MAX];

	(void)state;
	assert_true(r->also);
	assert_int_equal(r->upstream, -1);
	assert_int_equal(r->n_except_lists, 1);
	assert_int_equal(r->except_lists[0], 1);
	assert_int_equal(r->except_names.n, 1);
	assert_string_equal(r->except_names.v[0], "b.example");
	assert_int_equal(r->n_to, 1);
	assert_int_equal(r->to[0], 0);
	assert_int_equal(r->n_sets, 1);
	r = &c->rules[6];
	assert_int_equal(r->answer, CONF_ANSWER_LOCAL);
	assert_string_equal(r->cname, "safe.example");
	assert_int_equal(r->upstream, -1);
	assert_int_equal(r->filter, CONF_FILTER_NONE);
	r = &c->rules[7];
	assert_int_equal(r->listeners, CONF_LISTENER_UDP | CONF_LISTENER_TUN);
	assert_int_equal(r->filter, CONF_FILTER_IPV6);
	assert_int_equal(r->n_addresses, 1);
	assert_string_equal(ip_addr_format(&r->addresses[0], buf), "192.0.2.7");
	assert_int_equal(r->n_records, 1);
	assert_string_equal(r->records[0].json,
		"{\"type\": \"MX\", \"rdata\": "
		"{\"preference\": 10, \"exchange\": \"m.example\"}}");
	assert_null(r->cname);
	conf_free(c);
}

#define NFT(at, proto, in, called)                                                                 \
	{                                                                                          \
		.family = at, .nfproto = proto, .table = in, .name = called                        \
	}
#define IPSET(at, called)                                                                          \
	{                                                                                          \
		.is_ipset = true, .family = at, .name = called                                     \
	}

static void set_values(void **state)
{
	static const struct conf_set want[] = {NFT(IP_V4, NFPROTO_INET, "fw4", "v4"),
		NFT(IP_V6, NFPROTO_IPV6, "t", "v6"), NFT(IP_NONE, NFPROTO_INET, "t", "both"),
		NFT(IP_NONE, NFPROTO_IPV4, "t", "s"), NFT(IP_V4, NFPROTO_IPV4, "t", "s"),
		IPSET(IP_NONE, "plain"), IPSET(IP_V4, "four"), IPSET(IP_V6, "six")};
	struct config *c = parse_full();
	const struct conf_rule *r = &c->rules[2];

	(void)state;
	assert_int_equal(r->n_sets, sizeof want / sizeof want[0]);
	for (size_t i = 0; i < r->n_sets; i++) {
		assert_int_equal(r->sets[i].is_ipset, want[i].is_ipset);
		assert_int_equal(r->sets[i].family, want[i].family);
		assert_int_equal(r->sets[i].nfproto, want[i].nfproto);
		assert_string_equal(r->sets[i].name, want[i].name);
		if (want[i].table)
			assert_string_equal(r->sets[i].table, want[i].table);
		else
			assert_null(r->sets[i].table);
	}
	conf_free(c);
}

static void defaults(void **state)
{
	struct messages m;
	struct config *c = parse("upstreams: { a: { servers: tls://192.0.2.1 } }\n", &m);
	char cwd[PATH_MAX];

	(void)state;
	assert_non_null(getcwd(cwd, sizeof cwd));
	assert_int_equal(m.n[CONF_WARNING], 1);
	assert_int_equal(m.n[CONF_NOTE], 1);
	assert_int_equal(c->cache.size, 10000);
	assert_int_equal(c->cache.bytes + c->cache.min_ttl_s + c->cache.prefetch_percent, 0);
	assert_int_equal(c->cache.max_ttl_s, 86400);
	assert_int_equal(c->cache.negative_ttl_s, 3600);
	assert_int_equal(c->cache.failure_ttl_s, 5);
	assert_int_equal(c->cache.serve_stale_s, 86400);
	assert_int_equal(c->cache.prefetch_hits, 1);
	assert_string_equal(c->cache.store, "");
	assert_int_equal(c->cache.store_every_s, 900);
	assert_int_equal(c->cache.warmup_count, 200);
	assert_int_equal(c->cache.warmup_rate, 10);
	assert_int_equal(c->gateway.lan.n, 0);
	assert_true(c->gateway.self);
	assert_string_equal(c->gateway.tun, "tungate0");
	assert_int_equal(c->gateway.mtu, 1500);
	assert_int_equal(c->gateway.intercept, CONF_INTERCEPT_AUTO);
	assert_int_equal(c->gateway.mark.value, 0x10000000);
	assert_int_equal(c->gateway.mark.mask, 0x10000000);
	assert_int_equal(c->gateway.workers, 0);
	assert_int_equal(c->gateway.relay_mark.mask, 0);
	assert_int_equal(c->gateway.relay_clients.prefixes.n + c->gateway.relay_clients.n_macs, 0);
	assert_int_equal(c->gateway.sniff, CONF_SNIFF_TLS | CONF_SNIFF_HTTP | CONF_SNIFF_QUIC);
	assert_int_equal(c->gateway.watch_ms, 2000);
	assert_int_equal(c->gateway.lame_duck_ms, 1000);
	assert_int_equal(c->n_listen, 0);
	assert_prefix(&c->fakeip.pool4, "198.18.0.0/15");
	assert_prefix(&c->fakeip.pool6, "fd00:198:18::/64");
	assert_int_equal(c->fakeip.ttl_s, 1);
	assert_string_equal(c->fakeip.store, "/var/lib/tungate/fakeip.db");
	assert_int_equal(c->fakeip.hold_s, 3600);
	assert_int_equal(c->fakeip.sync_s, 5);
	assert_int_equal(c->fakeip.exhausted, CONF_EXHAUSTED_REAL);
	assert_int_equal(c->fakeip.https, CONF_HTTPS_EMPTY);
	assert_int_equal(c->fakeip.ech, CONF_ECH_KEEP);
	assert_true(c->fakeip.except_builtin);
	assert_int_equal(c->fakeip.n_except, 0);
	assert_int_equal(c->records.ttl_s, 60);
	assert_string_equal(c->records.store, "/var/lib/tungate/records.json");
	assert_null(c->records.lines_file);
	assert_false(c->records.no_line_none || c->records.whole);
	assert_int_equal(c->records.n_records + c->records.n_lines + c->records.files.n, 0);
	assert_int_equal(c->builtin, CONF_BUILTIN_ALL);
	assert_int_equal(c->n_clients, 0);
	assert_int_equal(c->leases.files.n, 0);
	assert_string_equal(c->leases.domain, "lan");
	assert_true(c->leases.answer);
	assert_int_equal(c->default_upstream, 0);
	assert_string_equal(c->control_socket, "/run/tungate.sock");
	assert_int_equal(c->control_line, 0);
	assert_int_equal(c->control_mode, 0660);
	assert_null(c->control_group);
	assert_int_equal(c->log_level, LOG_LEVEL_INFO);
	conf_free(c);
}

static void nothing_is_a_configuration(void **state)
{
	static const char *const texts[] = {
		"", "# only a comment\n", "---\n", "gateway:\nrules:\n", "{}", "\xef\xbb\xbf{}\n"};
	struct messages m;

	(void)state;
	for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++) {
		struct config *c = parse(texts[i], &m);

		assert_non_null(c);
		assert_int_equal(c->default_upstream, -1);
		assert_int_equal(c->n_rules, 0);
		assert_int_equal(c->gateway.mtu, 1500);
		conf_free(c);
	}
}

static void pools_off_and_store_empty(void **state)
{
	struct messages m;
	struct config *c = parse("fakeip: { pool4: off, pool6: off, store: '' }\n"
				 "default: {answer: real, upstream: a}\n"
				 "upstreams: { a: { servers: tls://192.0.2.1 } }\n",
		&m);

	(void)state;
	assert_string_equal(m.text, "");
	assert_int_equal(c->fakeip.pool4.addr.family, IP_NONE);
	assert_int_equal(c->fakeip.pool6.addr.family, IP_NONE);
	assert_string_equal(c->fakeip.store, "");
	conf_free(c);
}

static void words_and_times(void **state)
{
	static const struct {
		const char *text;
		bool want;
	} bools[] = {{"yes", true}, {"no", false}, {"true", true}, {"false", false}, {"on", true},
		{"off", false}, {"'Yes'", true}};
	static const struct {
		const char *text;
		unsigned want_s;
	} times[] = {{"0", 0}, {"30", 30}, {"5s", 5}, {"2000ms", 2}, {"1m30s", 90}, {"1h", 3600},
		{"1d", 86400}, {"23h59m60s", 86400}, {"1s1000ms", 2}};
	struct messages m;
	char text[128];

	(void)state;
	for (size_t i = 0; i < sizeof bools / sizeof bools[0]; i++) {
		struct config *c;

		snprintf(text, sizeof text, "gateway: {lan: a, self: %s}", bools[i].text);
		c = parse(text, &m);
		assert_non_null(c);
		assert_int_equal(c->gateway.self, bools[i].want);
		conf_free(c);
	}
	for (size_t i = 0; i < sizeof times / sizeof times[0]; i++) {
		struct config *c;

		snprintf(text, sizeof text, "fakeip: {ttl: %s}", times[i].text);
		c = parse(text, &m);
		assert_non_null(c);
		assert_int_equal(c->fakeip.ttl_s, times[i].want_s);
		conf_free(c);
	}
}

static void environment(void **state)
{
	struct messages m;
	struct config *c;

	(void)state;
	setenv("TG_TEST_A", "tg7", 1);
	setenv("TG_TEST_EMPTY", "", 1);
	setenv("TG_TEST_NESTED", "${TG_TEST_A}", 1);
	unsetenv("TG_TEST_NONE");
	c = parse("gateway: { tun: 'x${TG_TEST_A}y', mtu: '${TG_TEST_NONE:-14}00',\n"
		  "  lan: ['${TG_TEST_EMPTY:-e}', 'a$b', '$a${TG_TEST_EMPTY}{}']}\n"
		  "fakeip: { store: '${TG_TEST_NESTED}/${TG_TEST_NONE:-}' }\n",
		&m);
	assert_non_null(c);
	assert_string_equal(c->gateway.tun, "xtg7y");
	assert_int_equal(c->gateway.mtu, 1400);
	assert_string_equal(c->gateway.lan.v[0], "e");
	assert_string_equal(c->gateway.lan.v[1], "a$b");
	assert_string_equal(c->gateway.lan.v[2], "$a{}");
	assert_non_null(strstr(c->fakeip.store, "/${TG_TEST_A}/")); /* not looked at again */
	conf_free(c);
}

static void a_group_is_kept_by_name(void **state)
{
	struct messages m;
	struct config *c = parse("control: {group: 0}", &m);

	(void)state;
	assert_non_null(c);
	assert_string_equal(c->control_group, "root");
	conf_free(c);
}

static void relative_paths(void **state)
{
	static const char text[] = "fakeip: { store: s }\n";
	char cwd[PATH_MAX], want[PATH_MAX + 16];
	struct messages m;
	struct config *c;

	(void)state;
	assert_non_null(getcwd(cwd, sizeof cwd));
	c = parse_len("conf/x.yaml", text, strlen(text), &m);
	snprintf(want, sizeof want, "%s/conf/s", cwd);
	assert_string_equal(c->fakeip.store, want);
	conf_free(c);
	c = parse_len("x.yaml", text, strlen(text), &m);
	snprintf(want, sizeof want, "%s/s", cwd);
	assert_string_equal(c->fakeip.store, want);
	conf_free(c);
	c = parse_len("/x.yaml", text, strlen(text), &m);
	assert_string_equal(c->fakeip.store, "/s");
	conf_free(c);
}

static void shipped_files_are_right(void **state)
{
	static const char *const files[] = {"tungate.yaml", "examples/home.yaml",
		"examples/sets.yaml", "examples/server.yaml", "examples/proxy.yaml",
		"examples/lists.yaml", "examples/private.yaml", "examples/learned-routes.yaml",
		"examples/policy-routing.yaml"};

	(void)state;
	for (size_t i = 0; i < sizeof files / sizeof files[0]; i++) {
		char path[PATH_MAX];
		struct config *c = NULL;
		struct messages m = {0};

		snprintf(path, sizeof path, "%s/conf/%s", SOURCE_DIR, files[i]);
		if (conf_load(path, message_keep, &m, &c))
			fail_msg("%s", m.text);
		assert_int_equal(m.n[CONF_WARNING], 0);
		assert_true(c->n_upstreams > 0);
		conf_free(c);
	}
}

static void load_fails(const char *path, const char *want)
{
	struct messages m = {0};
	struct config *c = NULL;
	char line[PATH_MAX + 256];

	snprintf(line, sizeof line, "%s:1:1: file: %s\n", path, want);
	assert_int_equal(conf_load(path, message_keep, &m, &c), -EINVAL);
	assert_null(c);
	assert_string_equal(m.text, line);
}

static void files_that_cannot_be_read(void **state)
{
	char folder[] = "/tmp/tungate-test-XXXXXX", path[64];
	int fd;

	(void)state;
	assert_non_null(mkdtemp(folder));
	load_fails(folder, "cannot be read: it is a directory");
	load_fails("/dev/zero", "cannot be read: it is not a file");
	snprintf(path, sizeof path, "%s/none", folder);
	load_fails(path, "cannot be read: No such file or directory");
	snprintf(path, sizeof path, "%s/large", folder);
	fd = open(path, O_CREAT | O_WRONLY, 0600);
	assert_true(fd >= 0);
	assert_int_equal(ftruncate(fd, CONF_FILE_BYTES_MAX + 1), 0);
	close(fd);
	load_fails(path, "is larger than 4194304 bytes");
	unlink(path);
	snprintf(path, sizeof path, "%s/x/y", folder);
	load_fails(path, "cannot be read: No such file or directory");
	rmdir(folder);
}

static void a_fifo_without_writer_does_not_hang(void **state)
{
	char folder[] = "/tmp/tungate-test-XXXXXX", path[64];
	struct messages m = {0};
	struct config *c = NULL;

	(void)state;
	assert_non_null(mkdtemp(folder));
	snprintf(path, sizeof path, "%s/fifo", folder);
	assert_int_equal(mkfifo(path, 0600), 0);
	assert_int_equal(conf_load(path, message_keep, &m, &c), 0);
	conf_free(c);
	unlink(path);
	rmdir(folder);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_option_is_in_the_text),
		cmocka_unit_test(gateway_values),
		cmocka_unit_test(relay_values),
		cmocka_unit_test(fakeip_and_lease_values),
		cmocka_unit_test(egress_values),
		cmocka_unit_test(unless_values),
		cmocka_unit_test(address_values),
		cmocka_unit_test(section_values),
		cmocka_unit_test(server_values),
		cmocka_unit_test(upstream_values),
		cmocka_unit_test(cache_values),
		cmocka_unit_test(rule_values),
		cmocka_unit_test(client_values),
		cmocka_unit_test(record_values),
		cmocka_unit_test(local_and_also_values),
		cmocka_unit_test(set_values),
		cmocka_unit_test(defaults),
		cmocka_unit_test(nothing_is_a_configuration),
		cmocka_unit_test(pools_off_and_store_empty),
		cmocka_unit_test(words_and_times),
		cmocka_unit_test(environment),
		cmocka_unit_test(a_group_is_kept_by_name),
		cmocka_unit_test(relative_paths),
		cmocka_unit_test(shipped_files_are_right),
		cmocka_unit_test(files_that_cannot_be_read),
		cmocka_unit_test(a_fifo_without_writer_does_not_hang),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
