/* What is said about a wrong configuration, word for word. */
#include "tests/unit/conf_messages.h"

#include <stdio.h>
#include <stdlib.h>

#include "conf/conf_internal.h"

/* Keeps the text of a case to what it is about: a group, and a default so that nothing warns. */
#define GROUP                                                                                      \
	"upstreams: {u: {servers: tls://192.0.2.1}}\ndefault: {upstream: u}\nfakeip: {pool6: "     \
	"off}\n"

#define MARKS	 "; allowed: VALUE or VALUE/MASK, each decimal or 0x and hexadecimal\n"
#define NETWORKS "; allowed: ADDRESS or NETWORK/LENGTH, IPv4 or IPv6\n"
#define LISTENERS                                                                                  \
	"; allowed: udp://ADDRESS[:PORT], tcp://ADDRESS[:PORT]; IPv6 as [ADDRESS]:PORT, "          \
	"link-local ones with %INTERFACE\n"
#define SERVERS                                                                                    \
	"; allowed: udp://HOST[:PORT], tcp://HOST[:PORT], dns://HOST[:PORT], "                     \
	"tls://HOST[:PORT][@TLS-NAME], https://HOST[:PORT][/PATH][@TLS-NAME]; IPv6 as [ADDRESS], " \
	"link-local ones with %INTERFACE\n"
#define DOMAINS                                                                                    \
	"; allowed: NAME (it and all below), full:NAME, keyword:TEXT, regexp:EXPRESSION, '.' "     \
	"(every name), unqualified (a name without a dot)\n"
#define NFTSETS                                                                                    \
	"; allowed: 4#inet#TABLE#SET, 6#inet#TABLE#SET, inet#TABLE#SET; inet, ip or ip6; behind "  \
	"it ' = ' and fields such as $addr . 443\n"
#define IPSETS "SET, 4#SET, 6#SET; behind it ' = ' and fields such as $addr . tcp:443"
#define FILES  "; allowed: a path, PATH:TAG, {path, format, tag, optional}\n"
#define CLIENTS                                                                                    \
	"; allowed: ADDRESS or NETWORK/LENGTH, IPv4 or IPv6; a MAC address such as "               \
	"02:00:5e:10:00:01; a name in clients; !NETWORK/LENGTH\n"
#define TIMES " is not a time such as 500ms, 30, 10m or 1d12h"

static void yaml_itself(void **state)
{
	static const struct wrong cases[] = {
		{"a: [1, 2\nb: 3\n", "2:2: yaml: did not find expected ',' or ']' while parsing a "
				     "flow sequence\n"},
		{"\tgateway: {}\n", "1:1: yaml: found character that cannot start any token while "
				    "scanning for the next token\n"},
		{GROUP "gateway: {tun: &x a}\n", "4:16: gateway.tun: YAML anchors (&x) are not "
						 "supported; allowed: the value itself\n"},
		{GROUP "gateway: {lan: a, tun: *x}\n",
			"4:24: gateway.tun: YAML aliases (*x) are not supported; allowed: the "
			"value itself\n"},
		{GROUP "rules:\n- {name: a, client: !10.0.0.0/8, answer: real}\n",
			"5:21: rules[0].client: YAML tags ('!10.0.0.0/8') are not supported; "
			"allowed: the value itself, between quotes if it begins with '!'\n"},
		{GROUP "---\n{}\n", "4:1: yaml: a second document begins; allowed: one\n"},
		{"? [a]\n: b\n", "1:3: yaml: a key must be a plain word; allowed: KEY: value\n"},
		{GROUP "gateway: {tun: \"a\\0b\"}\n",
			"4:16: gateway.tun: contains a NUL character\n"},
		{"gateway: {tun: \"\xff\"}\n", "1:17: yaml: invalid leading UTF-8 octet\n"},
		{"- a\n",
			"1:1: file: is a list instead of a map; allowed: log, cache, lists, rules, "
			"listen, egress, fakeip, leases, gateway, clients, records, builtin, "
			"default, control, upstreams\n"},
		{"word\n", "1:1: file: is a single value instead of a map; allowed: log, cache, "
			   "lists, "
			   "rules, listen, egress, fakeip, leases, gateway, clients, records, "
			   "builtin, default, control, upstreams\n"},
	};

	(void)state;
	CHECK(cases);
}

static void keys(void **state)
{
	static const struct wrong cases[] = {
		{GROUP "logg: {}\n",
			"4:1: logg: unknown key; allowed: log, lists, listen, cache, leases, "
			"rules, "
			"clients, egress, fakeip, records, builtin, control, gateway, default, "
			"upstreams\n"},
		{GROUP "gateway: {lan: a, snif: tls}\n",
			"4:19: gateway.snif: unknown key; allowed: sniff, self, lan, tun, mtu, "
			"mark, "
			"watch, exempt, workers, intercept, lame_duck, relay_mark, "
			"relay_clients\n"},
		{GROUP "log: {level: info, queries: off}\n",
			"4:20: log.queries: unknown key; allowed: level\n"},
		{GROUP "log: {level: info, level: debug}\n",
			"4:20: log.level: is there twice, first in line 4\n"},
		{GROUP "log: {}\nlog: {}\n", "5:1: log: is there twice, first in line 4\n"},
		{GROUP "log: info\n",
			"4:6: log: is a single value instead of a map; allowed: level\n"},
		{GROUP "log: {\"a\\nb\\e\": 1}\n",
			"4:7: log.a\\x0ab\\x1b: unknown key; allowed: level\n"},
		{GROUP "log: {level: [info]}\n",
			"4:14: log.level: is a list; allowed: error, warn, info, debug\n"},
		{GROUP "log: {level: }\n",
			"4:14: log.level: is nothing; allowed: error, warn, info, debug\n"},
		{GROUP "log: {level: Info}\n",
			"4:14: log.level: 'Info' is unknown; allowed: error, warn, info, debug\n"},
		{GROUP "lists: [a]\n", "4:8: lists: is a list; allowed: a map of names\n"},
		{GROUP "lists: {'a b': x}\n", "4:9: lists.a b: is not a name; allowed: letters, "
					      "digits, '_', '-', '.', at most 64\n"},
		{GROUP "lists: {a: []}\n", "4:12: lists.a: is empty" FILES},
		{GROUP "lists: {a: ''}\n", "4:12: lists.a: is empty" FILES},
		{GROUP "rules: {}\n", "4:8: rules: is a map; allowed: a list of maps\n"},
	};

	(void)state;
	CHECK(cases);
}

static void gateway(void **state)
{
	static const struct wrong cases[] = {
		{GROUP "gateway: {lan: [a, b/c, '*', abcdefghijklmnop]}\n",
			"4:20: gateway.lan[1]: 'b/c' is not the name of an interface; allowed: an "
			"interface name of 1 to 15 characters, or its beginning and '*'\n"
			"4:25: gateway.lan[2]: '*' is not the name of an interface; allowed: an "
			"interface name of 1 to 15 characters, or its beginning and '*'\n"
			"4:30: gateway.lan[3]: 'abcdefghijklmnop' is not the name of an interface; "
			"allowed: an interface name of 1 to 15 characters, or its beginning and "
			"'*'\n"},
		{GROUP "gateway: {lan: [a, 'tun*']}\n",
			"4:20: gateway.lan[1]: takes in 'tungate0', the gateway's own TUN "
			"device\n"},
		{GROUP "gateway: {lan: tungate0}\n",
			"4:16: gateway.lan: takes in 'tungate0', the gateway's own TUN device\n"},
		{GROUP "gateway: {self: maybe}\n", "4:17: gateway.self: 'maybe' is neither yes nor "
						   "no; allowed: yes, no, true, false, on, off\n"},
		{GROUP "gateway: {tun: tun%d}\n",
			"4:16: gateway.tun: 'tun%d' is not the name of an interface; allowed: 1 to "
			"15 characters without space, '/', ':', '%', '*'\n"},
		{GROUP "gateway: {mtu: 1279}\n",
			"4:16: gateway.mtu: '1279' is out of bounds; allowed: 1280 to 9000\n"},
		{GROUP "gateway: {mtu: 9001}\n",
			"4:16: gateway.mtu: '9001' is out of bounds; allowed: 1280 to 9000\n"},
		{GROUP "gateway: {mtu: 99999999999999999999}\n",
			"4:16: gateway.mtu: '99999999999999999999' is out of bounds; allowed: 1280 "
			"to 9000\n"},
		{GROUP "gateway: {mtu: 5m}\n",
			"4:16: gateway.mtu: '5m' is out of bounds; allowed: 1280 to 9000\n"},
		{GROUP "gateway: {mtu: -5}\n",
			"4:16: gateway.mtu: '-5' is not a number; allowed: 1280 to 9000\n"},
		{GROUP "gateway: {mtu: 1500x}\n",
			"4:16: gateway.mtu: '1500x' is not a number; allowed: 1280 to 9000\n"},
		{GROUP "gateway: {intercept: nft}\n", "4:22: gateway.intercept: 'nft' is unknown; "
						      "allowed: auto, tun, tproxy, off\n"},
		{GROUP "gateway: {workers: 0}\n",
			"4:20: gateway.workers: '0' is out of bounds; allowed: auto, 1 to 64\n"},
		{GROUP "gateway: {workers: 65}\n",
			"4:20: gateway.workers: '65' is out of bounds; allowed: auto, 1 to 64\n"},
		{GROUP "gateway: {exempt: {uid: no-such-user, gid: 4294967295}}\n",
			"4:25: gateway.exempt.uid: this host has no user 'no-such-user'; allowed: "
			"a user's name or number\n"
			"4:44: gateway.exempt.gid: this host has no group '4294967295'; allowed: a "
			"group's name or number\n"},
		{GROUP "gateway: {exempt: {cgroup: [/, a//b, a/../b]}}\n",
			"4:29: gateway.exempt.cgroup[0]: '/' is the root of all control groups; "
			"allowed: a path below the cgroup2 mount\n"
			"4:32: gateway.exempt.cgroup[1]: 'a//b' is not a plain path; allowed: a "
			"path below the cgroup2 mount\n"
			"4:38: gateway.exempt.cgroup[2]: 'a/../b' is not a plain path; allowed: a "
			"path below the cgroup2 mount\n"},
		{GROUP "gateway: {exempt: {to: 10.0.0.1/8}}\n",
			"4:24: gateway.exempt.to: '10.0.0.1/8' has host bits set, the network is "
			"10.0.0.0/8" NETWORKS},
		{GROUP "gateway: {self: no}\n",
			"4:10: warning: gateway: nobody is answered: nothing is intercepted and "
			"nothing is in listen\n"},
		{GROUP "gateway: {intercept: off}\n",
			"4:22: warning: gateway.intercept: nobody is answered: nothing is "
			"intercepted and nothing is in listen\n"},
	};

	(void)state;
	CHECK(cases);
}

static void marks(void **state)
{
	static const struct wrong cases[] = {
		{GROUP "gateway: {mark: 1/0}\n",
			"4:17: gateway.mark: the mask of '1/0' is 0" MARKS},
		{GROUP "gateway: {mark: 0}\n", "4:17: gateway.mark: the mask of '0' is 0" MARKS},
		{GROUP "gateway: {mark: 0/1}\n", "4:17: gateway.mark: the value of '0/1' is 0, as "
						 "of any packet without a mark" MARKS},
		{GROUP "gateway: {mark: 0x3/0x1}\n",
			"4:17: gateway.mark: '0x3/0x1' has bits outside its mask" MARKS},
		{GROUP "gateway: {mark: 0x100000000}\n",
			"4:17: gateway.mark: '0x100000000' is not a mark of 32 bits" MARKS},
		{GROUP "gateway: {mark: 0x}\n",
			"4:17: gateway.mark: '0x' is not a mark of 32 bits" MARKS},
		{GROUP "gateway: {mark: 1/2/3}\n",
			"4:17: gateway.mark: '1/2/3' is not a mark of 32 bits" MARKS},
		{GROUP "gateway: {mark: 0x40000000}\n",
			"4:17: gateway.mark: the mask leaves less than two bits above it, which "
			"mark the ways in; allowed: a mask below 0x40000000\n"},
		{GROUP "egress: {e: {type: direct, mark: 0x10000000}}\n",
			"4:34: egress.e.mark: the bits 0x10000000 are those of gateway.mark or of "
			"the two above it; allowed: bits of 0x8fffffff\n"},
		{GROUP "egress: {e: {type: direct, mark: 0x40000001}}\ngateway: {mark: "
		       "0x10000000}\n",
			"4:34: egress.e.mark: the bits 0x40000000 are those of gateway.mark or of "
			"the two above it; allowed: bits of 0x8fffffff\n"},
		{"upstreams: {u: {servers: tls://192.0.2.1, mark: 2/0xff}}\ngateway: {mark: "
		 "1}\ndefault: {}\nfakeip: {pool6: off}\n",
			"1:49: upstreams.u.mark: the bits 0x7 are those of gateway.mark or of the "
			"two above it; allowed: bits of 0xfffffff8\n"},
		{GROUP "egress: {e: {type: direct, mark: 0x80000000}, f: {type: direct, mark: "
		       "1}}\n",
			""},
		{GROUP "gateway: {mark: 0x20000000}\n", ""},
		{GROUP "gateway: {exempt: {mark: [0x10000000, 0x60000000/0x7fffffff]}}\n",
			"4:39: gateway.exempt.mark[1]: the bits 0x60000000 are the two above "
			"gateway.mark; "
			"allowed: bits of 0x9fffffff\n"},
	};

	(void)state;
	CHECK(cases);
}

static void addresses(void **state)
{
	static const struct wrong cases[] = {
		{GROUP "listen: [tls://192.0.2.5, 192.0.2.5, udp://host.example, "
		       "'udp://192.0.2.5:0', 'udp://[::1', udp://fe80::1, udp://224.0.0.251]\n",
			"4:10: listen[0]: 'tls://192.0.2.5' has an unknown scheme" LISTENERS
			"4:27: listen[1]: '192.0.2.5' does not begin with udp:// or "
			"tcp://" LISTENERS
			"4:38: listen[2]: 'host.example' is not a literal address with a port, or "
			"its interface does not exist" LISTENERS
			"4:58: listen[3]: '192.0.2.5:0' is not a literal address with a port, or "
			"its interface does not exist" LISTENERS
			"4:79: listen[4]: '[::1' is not a literal address with a port, or its "
			"interface does not exist" LISTENERS
			"4:93: listen[5]: 'fe80::1' is a link-local address without its "
			"interface" LISTENERS
			"4:108: listen[6]: '224.0.0.251' is a multicast address" LISTENERS},
		{GROUP "listen:\n- udp://192.0.2.5\n- tcp://192.0.2.5\n- udp://192.0.2.5:53\n",
			"7:3: listen[2]: is there twice, first in line 5\n"},
		{GROUP "listen: {url: udp://192.0.2.5}\n", "4:9: listen: is a map" LISTENERS},
		{GROUP "listen: [{url: udp://192.0.2.5}]\n", "4:10: listen[0]: is a map" LISTENERS},
		{GROUP "listen: tcp://192.0.2.1:853\n",
			"1:26: upstreams.u.servers: is in listen too (line 4): the gateway would "
			"ask itself\n"},
		{GROUP "listen: tcp://192.0.2.1:54\n", ""},
		{GROUP "listen: udp://198.18.0.1\n",
			"4:9: listen: lies in a pool of fake addresses\n"},
		{"default: {}\nupstreams: {u: {servers: [udp://0.0.0.0, udp://dns.example, "
		 "'udp://198.19.1.1']}}\nfakeip: {pool6: off}\n",
			"2:27: upstreams.u.servers[0]: '0.0.0.0' is no address of a "
			"server" SERVERS
			"2:61: upstreams.u.servers[2]: lies in a pool of fake addresses\n"},
	};

	(void)state;
	CHECK(cases);
}

#define FAKE(keys)                                                                                 \
	"upstreams: {u: {servers: tls://192.0.2.1}}\ndefault: {upstream: u}\nfakeip: {" keys "}\n"

static void pools(void **state)
{
	static const struct wrong cases[] = {
		{FAKE("pool6: off, pool4: 10.0.0.0/7"),
			"3:29: fakeip.pool4: the length of '10.0.0.0/7' is not 8 to 30; allowed: "
			"an IPv4 network from /8 to /30, off\n"},
		{FAKE("pool6: off, pool4: 10.0.0.0/31"),
			"3:29: fakeip.pool4: the length of '10.0.0.0/31' is not 8 to 30; allowed: "
			"an IPv4 network from /8 to /30, off\n"},
		{FAKE("pool6: off, pool4: 10.0.0.1"),
			"3:29: fakeip.pool4: the length of '10.0.0.1' is not 8 to 30; allowed: an "
			"IPv4 network from /8 to /30, off\n"},
		{FAKE("pool6: off, pool4: 10.1.0.0/8"),
			"3:29: fakeip.pool4: '10.1.0.0/8' has host bits set, the network is "
			"10.0.0.0/8; allowed: an IPv4 network from /8 to /30, off\n"},
		{FAKE("pool6: off, pool4: fd00::/64"),
			"3:29: fakeip.pool4: 'fd00::/64' is not IPv4; allowed: an IPv4 network "
			"from /8 to /30, off\n"},
		{FAKE("pool6: off, pool4: 10.0.0.0/8x"),
			"3:29: fakeip.pool4: '10.0.0.0/8x' is not an address or a network; "
			"allowed: an IPv4 network from /8 to /30, off\n"},
		{FAKE("pool6: off, pool4: 127.1.0.0/16"),
			"3:29: fakeip.pool4: overlaps 127.0.0.0/8, loopback\n"},
		{FAKE("pool6: off, pool4: 169.0.0.0/8"),
			"3:29: fakeip.pool4: overlaps 169.254.0.0/16, link-local\n"},
		{FAKE("pool6: off, pool4: 239.0.0.0/8"),
			"3:29: fakeip.pool4: overlaps 224.0.0.0/4, multicast\n"},
		{FAKE("pool6: off, pool4: 255.0.0.0/8"),
			"3:29: fakeip.pool4: overlaps 255.255.255.255, broadcast\n"},
		{FAKE("pool6: off, pool4: 240.0.0.0/8"), ""},
		{FAKE("pool6: 10.0.0.0/8"), "3:17: fakeip.pool6: '10.0.0.0/8' is not IPv6; "
					    "allowed: an IPv6 network from /16 to /120, off\n"},
		{FAKE("pool6: 2001:2::/121"),
			"3:17: fakeip.pool6: the length of '2001:2::/121' is not 16 to 120; "
			"allowed: an IPv6 network from /16 to /120, off\n"},
		{FAKE("pool6: fe80::/64"), "3:17: fakeip.pool6: overlaps fe80::/10, link-local\n"},
		{FAKE("pool6: ff0e::/64"), "3:17: fakeip.pool6: overlaps ff00::/8, multicast\n"},
		{FAKE("pool6: '::/64'"), "3:17: fakeip.pool6: overlaps ::/127, loopback\n"},
		{FAKE("pool6: 2001:2::/112"), "3:17: note: fakeip.pool6: is smaller than pool4, "
					      "the rest of which is not used\n"},
		{FAKE("pool6: 'fd12::/64'"),
			"3:17: note: fakeip.pool6: Chromium's Local Network Access takes fc00::/7 "
			"for local, but the usual pool4 for public, and may refuse a page that "
			"mixes them; 2001:2::/64 avoids that\n"},
		{FAKE(""), "3:9: note: fakeip.pool6: Chromium's Local Network Access takes "
			   "fc00::/7 for local, but the usual pool4 for public, and may refuse a "
			   "page that mixes them; 2001:2::/64 avoids that\n"},
		{FAKE("pool6: off, ttl: 1x"),
			"3:27: fakeip.ttl: '1x'" TIMES "; allowed: 0 to 1d\n"},
		{FAKE("pool6: off, ttl: 1h30"),
			"3:27: fakeip.ttl: '1h30'" TIMES "; allowed: 0 to 1d\n"},
		{FAKE("pool6: off, ttl: 1.5s"),
			"3:27: fakeip.ttl: '1.5s'" TIMES "; allowed: 0 to 1d\n"},
		{FAKE("pool6: off, ttl: 100ms"), "3:27: fakeip.ttl: '100ms' is not a whole number "
						 "of seconds; allowed: 0 to 1d\n"},
		{FAKE("pool6: off, ttl: 1d1s"),
			"3:27: fakeip.ttl: '1d1s' is out of bounds; allowed: 0 to 1d\n"},
		{FAKE("pool6: off, ttl: 99999999999999999999d"),
			"3:27: fakeip.ttl: '99999999999999999999d' is too long; allowed: 0 to "
			"1d\n"},
		{FAKE("pool6: off, ttl: ''"), "3:27: fakeip.ttl: ''" TIMES "; allowed: 0 to 1d\n"},
	};

	(void)state;
	CHECK(cases);
}

static void sections(void **state)
{
	static const struct wrong cases[] = {
		{GROUP "egress: {e: {}}\n", "4:13: egress.e.type: is missing; allowed: direct, "
					    "socks5, http, reject, group\n"},
		{GROUP "egress: {e: {type: socks4}}\n",
			"4:20: egress.e.type: 'socks4' is unknown; allowed: direct, socks5, http, "
			"reject, group\n"},
		{GROUP "egress: {e: {type: direct, upstream: v}}\n",
			"4:38: egress.e.upstream: there is no group in upstreams named 'v'; "
			"allowed: u\n"},
		{"egress: {e: {type: direct, upstream: v}}\ndefault: {}\nfakeip: {pool6: off}\n",
			"1:1: warning: upstreams: is missing: names that no rule takes get no "
			"answer\n"
			"1:38: egress.e.upstream: there is no group in upstreams named 'v'; "
			"allowed: a name in upstreams\n"},
		{"upstreams:\n  u:\n  v: {servers: []}\n  w: {servers: tls://192.0.2.1, strategy: "
		 "rice, timeout: 49ms}\ndefault: {upstream: x}\nfakeip: {pool6: off}\n",
			"2:5: upstreams.u.servers: is missing" SERVERS
			"3:16: upstreams.v.servers: is empty" SERVERS
			"4:43: upstreams.w.strategy: 'rice' is unknown; allowed: race, sequential, "
			"random, round_robin, fastest\n"
			"4:58: upstreams.w.timeout: '49ms' is out of bounds; allowed: 50ms to 1m\n"
			"5:21: default.upstream: there is no group in upstreams named 'x'; "
			"allowed: u, v, w\n"},
		{"upstreams: {u: {servers: tls://192.0.2.1}}\nfakeip: {pool6: off}\ndefault: "
		 "{answer: fake}\n",
			"3:19: default.answer: 'fake' is unknown; allowed: real\n"},
		{GROUP "control: {mode: 999, group: no-such-group, socket: ''}\n",
			"4:17: control.mode: '999' is not a file mode; allowed: three octal digits "
			"such as 0660\n"
			"4:29: control.group: this host has no group 'no-such-group'; allowed: a "
			"group's name or number\n"
			"4:52: control.socket: is empty; allowed: a path\n"},
		{GROUP "control: {mode: 4755}\n", "4:17: control.mode: '4755' is not a file mode; "
						  "allowed: three octal digits such as 0660\n"},
		{"upstreams: {u: {servers: tls://192.0.2.1}}\nfakeip: {pool6: off}\n",
			"1:1: warning: default: is missing, and no rule takes every name: other "
			"names are asked at 'u', the first group\n"},
		{"fakeip: {pool6: off}\n", "1:1: warning: upstreams: is missing: names that no "
					   "rule takes get no answer\n"},
	};

	(void)state;
	CHECK(cases);
}

#define RULE(keys)                                                                                 \
	GROUP "egress: {d: {type: direct, upstream: u}, n: {type: direct}}\nrules:\n- {name: "     \
	      "a, " keys "}\n"

static void rules(void **state)
{
	static const struct wrong cases[] = {
		{GROUP "rules: [x]\n", "4:9: rules[0]: is a single value instead of a map; "
				       "allowed: to, ttl, name, list, type, also, push, block, "
				       "cname, carry, cache, check, ipset, domain, "
				       "except, client, answer, filter, egress, rebind, unless, "
				       "nftset, nftmap, address, records, set_ttl, listener, "
				       "upstream, on_error, conntrack, push_timeout\n"},
		{GROUP "rules: [{}]\n",
			"4:9: rules[0].name: is missing; allowed: a name that no other rule "
			"has\n4:9: rules[0].answer: is missing; allowed: fake, real, block, "
			"local\n"},
		{GROUP "rules:\n- {name: a, domain: x, answer: block}\n- {name: a, domain: y, "
		       "answer: block}\n",
			"6:10: rules[1].name: is there twice, first in line 5; allowed: a name "
			"that no other rule has\n"},
		{GROUP "rules:\n- {name: \"\\n\", domain: x, answer: block}\n",
			"5:10: rules[0].name: contains a control character; allowed: a name that "
			"no other rule has\n"},
		{RULE("answer: drop"), "6:21: rules[0].answer: 'drop' is unknown; allowed: fake, "
				       "real, block, local\n"},
		{RULE("domain: x, answer: fake"), "6:3: rules[0].egress: is missing; answer: fake "
						  "needs a way for the traffic\n"},
		{RULE("domain: x, answer: fake, egress: e"),
			"6:46: rules[0].egress: there is no egress named 'e'; allowed: d, n\n"},
		{RULE("domain: x, answer: fake, egress: n"),
			"4:45: egress.n.upstream: is missing; the rule 'a' answers fake with it; "
			"allowed: u\n"},
		{RULE("domain: x, answer: real, upstream: x"),
			"6:48: rules[0].upstream: there is no group in upstreams named 'x'; "
			"allowed: u\n"},
		{RULE("domain: [x, 'a..b', '', 'full:', 'keywrd:x', '*.x', Unqualified, 'a b', "
		      "'ä.example']\n  , answer: block"),
			"6:25: rules[0].domain[1]: 'a..b' has a label of 0 characters" DOMAINS
			"6:33: rules[0].domain[2]: '' is too short for a domain name" DOMAINS
			"6:37: rules[0].domain[3]: '' is too short for a domain name" DOMAINS
			"6:46: rules[0].domain[4]: 'keywrd:x' has an unknown prefix" DOMAINS
			"6:58: rules[0].domain[5]: '*.x' has a character that no domain name "
			"has" DOMAINS "6:78: rules[0].domain[7]: 'a b' has a character that no "
			"domain name has" DOMAINS
			"6:85: rules[0].domain[8]: 'ä.example' is not in its ASCII "
			"form (xn--)" DOMAINS},
		{RULE("domain: abcdefghijklmnopqrstuvwxyzabcdefghijklmnopqrstuvwxyzabcdefghijklm, "
		      "answer: block"),
			"6:21: rules[0].domain: "
			"'abcdefghijklmnopqrstuvwxyzabcdefghijklmnopqrstuvwxyzabcdefghijklm' has a "
			"label of 65 characters" DOMAINS},
		{RULE("list: l, answer: block"), "6:19: rules[0].list: there is no list named 'l'; "
						 "allowed: a name in lists\n"},
		{RULE("client: [10.0.0.1/24, 'aa:bb:cc:dd:ee'], answer: block"),
			"6:22: rules[0].client[0]: '10.0.0.1/24' has host bits set, the network is "
			"10.0.0.0/24" CLIENTS "6:35: rules[0].client[1]: 'aa:bb:cc:dd:ee' is not "
			"an address or a network" CLIENTS},
		{RULE("type: [AAA, TYPE0, TYPE65536, TYPE], answer: block"),
			"6:20: rules[0].type[0]: 'AAA' is not a record type; allowed: A, AAAA, "
			"HTTPS, MX, ... or TYPE1 to TYPE65535\n"
			"6:25: rules[0].type[1]: 'TYPE0' is not a record type; allowed: A, AAAA, "
			"HTTPS, MX, ... or TYPE1 to TYPE65535\n"
			"6:32: rules[0].type[2]: 'TYPE65536' is not a record type; allowed: A, "
			"AAAA, HTTPS, MX, ... or TYPE1 to TYPE65535\n"
			"6:43: rules[0].type[3]: 'TYPE' is not a record type; allowed: A, AAAA, "
			"HTTPS, MX, ... or TYPE1 to TYPE65535\n"},
		{RULE("client: [], domain: x, answer: block"),
			"6:21: rules[0].client: has no entry; allowed: no such key, to match "
			"everything\n"},
		{RULE("domain: x, answer: real, on_error: drop"),
			"6:48: rules[0].on_error: 'drop' is unknown; allowed: answer, servfail\n"},
		{"fakeip: {pool4: off, pool6: off}\nupstreams: {u: {servers: "
		 "tls://192.0.2.1}}\negress: {d: {type: direct, upstream: u}}\nrules: [{name: a, "
		 "answer: fake, egress: d}]\n",
			"4:27: rules[0].answer: fakeip.pool4 and fakeip.pool6 are both off; "
			"allowed: real, block, local\n"},
		{"fakeip: {pool6: off}\nrules: [{name: a, answer: real}]\n",
			"2:9: rules[0].upstream: is missing; answer: real needs a group to ask, "
			"and upstreams has none; allowed: a name in upstreams\n"},
	};

	(void)state;
	CHECK(cases);
}

static void rule_warnings(void **state)
{
	static const struct wrong cases[] = {
		{GROUP "rules:\n- {name: a, answer: real}\n- {name: b, domain: x, answer: real}\n",
			"6:3: warning: rules[1]: is never reached: the rule 'a' takes every "
			"name\n"},
		{GROUP "rules:\n- {name: a, domain: [x, .], answer: real}\n- {name: b, answer: "
		       "block}\n",
			"6:3: warning: rules[1]: is never reached: the rule 'a' takes every "
			"name\n"},
		{GROUP "rules:\n- {name: a, domain: ., type: A, answer: real}\n- {name: b, answer: "
		       "block}\n",
			""},
		{GROUP "rules:\n- {name: a, client: 10.0.0.0/8, answer: real}\n- {name: b, answer: "
		       "block}\n",
			""},
		{"upstreams: {u: {servers: tls://192.0.2.1}}\nfakeip: {pool6: off}\nrules: [{name: "
		 "a, answer: real}]\n",
			""},
		{"upstreams: {u: {servers: tls://192.0.2.1}}\nfakeip: {pool6: off}\nrules: [{name: "
		 "a, type: A, answer: real}]\n",
			"1:1: warning: default: is missing, and no rule takes every name: other "
			"names are asked at 'u', the first group\n"},
		{"upstreams: {u: {servers: tls://192.0.2.1}, v: {servers: "
		 "tls://192.0.2.2}}\nfakeip: {pool6: off}\ndefault: {}\n"
		 "egress: {d: {type: direct, upstream: u}}\nrules:\n- {name: a, domain: x, answer: "
		 "fake, egress: d, upstream: v}\n",
			"6:59: warning: rules[0].upstream: v is not the upstream of the egress "
			"d, which is u: names may be resolved for another place than the traffic "
			"leaves from\n"},
		{RULE("domain: x, answer: block, egress: d, ipset: s"),
			"6:47: warning: rules[0].egress: has no effect with answer: block\n6:57: "
			"warning: rules[0].ipset: has no effect with answer: block\n"},
		{RULE("domain: x, answer: fake, egress: d, ipset: s"),
			"6:56: warning: rules[0].ipset: has no effect with answer: fake\n"},
	};

	(void)state;
	CHECK(cases);
}

static void sets(void **state)
{
	static const struct wrong cases[] = {
		{RULE("domain: x, answer: real, nftset: ['4#ip6#t#s', '6#ip#t#s', '6#t#s', s, "
		      "'4#s', 'bridge#t#s', 't#', '4#inet#t#s#x', 'inet#t#1s', '4#inet#t#s x']"),
			"6:47: rules[0].nftset[0]: '4#ip6#t#s' puts IPv4 addresses into a table of "
			"the family ip6" NFTSETS "6:60: rules[0].nftset[1]: '6#ip#t#s' puts IPv6 "
			"addresses into a table of the family ip" NFTSETS
			"6:72: rules[0].nftset[2]: '6#t#s' puts IPv6 addresses into a table of the "
			"family ip, which is the default" NFTSETS
			"6:81: rules[0].nftset[3]: 's' is not the name of a set in a table" NFTSETS
			"6:84: rules[0].nftset[4]: '4#s' is not the name of a set in a "
			"table" NFTSETS "6:91: rules[0].nftset[5]: 'bridge' is not a family of "
			"tables that is supported: inet, ip, ip6" NFTSETS
			"6:105: rules[0].nftset[6]: '' is not a name for nft" NFTSETS
			"6:111: rules[0].nftset[7]: '4#inet#t#s#x' is not the name of a set in a "
			"table" NFTSETS
			"6:127: rules[0].nftset[8]: '1s' is not a name for nft" NFTSETS
			"6:140: rules[0].nftset[9]: 's x' is not a name for nft" NFTSETS},
		{RULE("domain: x, answer: real, ipset: ['', 'a b', '4#', '7#x', "
		      "abcdefghijklmnopqrstuvwxyzabcdef]"),
			"6:46: rules[0].ipset[0]: the name of '' has not 1 to 31 characters; "
			"allowed: " IPSETS "\n"
			"6:50: rules[0].ipset[1]: 'a b' is not a name for ipset; allowed: " IPSETS
			"\n"
			"6:57: rules[0].ipset[2]: the name of '4#' has not 1 to 31 characters; "
			"allowed: " IPSETS "\n"
			"6:63: rules[0].ipset[3]: '7#x' is not a name for ipset; allowed: " IPSETS
			"\n"
			"6:70: rules[0].ipset[4]: the name of 'abcdefghijklmnopqrstuvwxyzabcdef' "
			"has not 1 to 31 characters; allowed: " IPSETS "\n"},
		{RULE("domain: x, answer: real, set_ttl: 0"),
			"6:47: rules[0].set_ttl: '0' is out of bounds; allowed: {min, grace}, a "
			"time from 1s to 24d, permanent\n"},
		{RULE("domain: x, answer: real, set_ttl: 25d"),
			"6:47: rules[0].set_ttl: '25d' is out of bounds; allowed: {min, grace}, a "
			"time from 1s to 24d, permanent\n"},
		{RULE("domain: x, answer: real, set_ttl: forever"),
			"6:47: rules[0].set_ttl: 'forever'" TIMES
			"; allowed: {min, grace}, a time from 1s to 24d, permanent\n"},
		{RULE("domain: x, answer: real, set_ttl: [1h]"),
			"6:47: rules[0].set_ttl: is a list; allowed: {min, grace}, a time from 1s "
			"to 24d, permanent\n"},
		{RULE("domain: x, answer: real, set_ttl: {min: 21d, max: 1}"),
			"6:53: rules[0].set_ttl.min: '21d' is out of bounds; allowed: 0 to "
			"20d\n6:58: rules[0].set_ttl.max: unknown key; allowed: min, grace\n"},
	};

	(void)state;
	CHECK(cases);
}

static void environment(void **state)
{
	static const struct wrong cases[] = {
		{GROUP "gateway: {tun: '${TG_TEST_NONE}'}\n",
			"4:16: gateway.tun: the environment variable TG_TEST_NONE is not set\n"},
		{GROUP "gateway: {tun: 'x${TG_TEST_NONE'}\n",
			"4:16: gateway.tun: '${' without '}'; allowed: ${NAME}, "
			"${NAME:-default}\n"},
		{GROUP "gateway: {tun: 'x${a b}'}\n",
			"4:16: gateway.tun: 'a b' is not the name of an environment variable; "
			"allowed: ${NAME}, ${NAME:-default}\n"},
		{GROUP "gateway: {tun: 'x${}'}\n",
			"4:16: gateway.tun: '' is not the name of an environment variable; "
			"allowed: ${NAME}, ${NAME:-default}\n"},
		{GROUP "gateway: {mtu: '${TG_TEST_NONE:-7}'}\n",
			"4:16: gateway.mtu: '7' is out of bounds; allowed: 1280 to 9000\n"},
	};

	(void)state;
	unsetenv("TG_TEST_NONE");
	CHECK(cases);
}

static void repeat(char *text, size_t size, const char *head, const char *part, unsigned n)
{
	size_t len = (size_t)snprintf(text, size, "%s", head);

	for (unsigned i = 0; i < n; i++)
		len += (size_t)snprintf(text + len, size - len, "%s", part);
}

static void everything_is_bounded(void **state)
{
	static char text[CONF_FILE_BYTES_MAX];
	static struct messages m;

	(void)state;
	repeat(text, sizeof text, "gateway: ", "[", 100000);
	assert_null(parse(text, &m));
	assert_string_equal(m.text, "1:42: yaml: nested more than 32 levels deep\n");
	repeat(text, sizeof text, "gateway: [", "a,", 300000);
	assert_null(parse(text, &m));
	assert_string_equal(m.text, "1:400007: file: has more than 200000 values\n");
	repeat(text, sizeof text, "rules:\n", "- {name: a, answer: block}\n", CONF_RULES_MAX + 1);
	assert_null(parse(text, &m));
	assert_non_null(strstr(m.text, "2:1: rules: has more than 4096 entries\n"));
	repeat(text, sizeof text, "listen:\n", "- udp://192.0.2.1\n", 65);
	assert_null(parse(text, &m));
	assert_non_null(strstr(m.text, "2:1: listen: has more than 16 entries\n"));
	repeat(text, sizeof text, "gateway: {tun: '", "${TG_TEST_NONE:-a}", 17);
	strcat(text, "'}");
	assert_null(parse(text, &m));
	assert_non_null(strstr(m.text, "gateway.tun: more than 16 variables in one value\n"));
	memset(text, '\n', sizeof text);
	parse_len("t", text, sizeof text + 1, &m);
	assert_string_equal(m.text, "1:1: file: is larger than 4194304 bytes\n");
}

static void messages_are_bounded_and_in_order(void **state)
{
	static char text[1 << 20];
	static struct messages m;
	unsigned line = 0, count = 0;
	size_t len = 0;

	(void)state;
	for (unsigned i = 0; i < 990; i++)
		len += (size_t)snprintf(text + len, sizeof text - len, "key%u: 1\n", i);
	snprintf(text + len, sizeof text - len, "rules:\n- [1]\n- [2]\n%s", "log: 3\nlog: 4\n");
	assert_null(parse(text, &m));
	assert_int_equal(m.n[CONF_ERROR], 994);
	for (const char *p = m.text; *p; p = strchr(p, '\n') + 1) {
		unsigned at = (unsigned)strtoul(p, NULL, 10);

		assert_true(at >= line);
		line = at;
		count++;
	}
	assert_true(count > 100);
	repeat(text, sizeof text, "listen: ", "", 0);
	repeat(text, sizeof text, "rules:\n", "- 1\n", 3000);
	assert_null(parse(text, &m));
	assert_int_equal(
		m.n[CONF_ERROR] + m.n[CONF_WARNING] + m.n[CONF_NOTE], CONF_MESSAGES_MAX + 1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(yaml_itself),
		cmocka_unit_test(keys),
		cmocka_unit_test(gateway),
		cmocka_unit_test(marks),
		cmocka_unit_test(addresses),
		cmocka_unit_test(pools),
		cmocka_unit_test(sections),
		cmocka_unit_test(rules),
		cmocka_unit_test(rule_warnings),
		cmocka_unit_test(sets),
		cmocka_unit_test(environment),
		cmocka_unit_test(everything_is_bounded),
		cmocka_unit_test(messages_are_bounded_and_in_order),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
