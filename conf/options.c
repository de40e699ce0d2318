#include "conf/options.h"

#include <string.h>

#include "conf/list_path.h"

#define DAY_S INT64_C(86400)

#define GLOBAL(field)	offsetof(struct config, field)
#define UPSTREAM(field) offsetof(struct conf_upstream, field)
#define SERVER(field)	offsetof(struct conf_server, field)
#define EGRESS(field)	offsetof(struct conf_egress, field)
#define LIST(field)	offsetof(struct conf_list, field)
#define FILE_OF(field)	offsetof(struct conf_list_file, field)
#define CLIENTS(field)	offsetof(struct conf_clients, field)
#define LINE(field)	offsetof(struct conf_line, field)
#define RULE(field)	offsetof(struct conf_rule, field)
#define UNLESS(field)	offsetof(struct conf_unless, field)
#define SET(field)	offsetof(struct conf_set, field)
#define CHECK(field)	offsetof(struct conf_check, field)

/* nftset, ipset and nftmap: all of a rule's sets stand in one array. */
#define SETS_OF_RULE                                                                               \
	.offset = RULE(sets), .item_bytes = sizeof(struct conf_set), .name_offset = CONF_NOWHERE,  \
	.place_offset = CONF_NOWHERE, .items_max = 64, .single = true, .append = true
#define TIMEOUT_OF_SET                                                                             \
	CONF_ONE, &conf_type_set_timeout, SET(ttl), .allowed = "a time from 1s to 24d, permanent", \
						    .min = 1, .max = 24 * DAY_S

/* clang-format off */
const struct conf_option conf_options[] = {
	{"gateway", CONF_MAP, .text = "What is intercepted, and how."},
	{"gateway.lan", CONF_MANY, &conf_type_interface, GLOBAL(gateway.lan),
		.items_max = 64, .text = "Interfaces whose packets to port 53 are taken. A trailing * stands for any rest of the name."},
	{"gateway.self", CONF_ONE, &conf_type_bool, GLOBAL(gateway.self), .fallback = "yes",
		.text = "Take this host's own queries too."},
	{"gateway.exempt", CONF_MAP,
		.text = "Packets of this host that are not taken: those of a DNS server for a guest network, of a VPN client."},
	{"gateway.exempt.uid", CONF_MANY, &conf_type_uid, GLOBAL(gateway.exempt.uid),
		.items_max = 256, .text = "Users, by name or number."},
	{"gateway.exempt.gid", CONF_MANY, &conf_type_gid, GLOBAL(gateway.exempt.gid),
		.items_max = 256, .text = "Groups, by name or number."},
	{"gateway.exempt.cgroup", CONF_MANY, &conf_type_cgroup, GLOBAL(gateway.exempt.cgroup),
		.items_max = 256, .text = "Control groups, by their path below the cgroup2 mount, such as system.slice/dnsmasq.service."},
	{"gateway.exempt.mark", CONF_MANY, &conf_type_mark, GLOBAL(gateway.exempt.mark),
		.items_max = 64, .text = "Packets with these marks."},
	{"gateway.exempt.to", CONF_MANY, &conf_type_prefix, GLOBAL(gateway.exempt.to),
		.items_max = 256, .text = "Queries to these addresses."},
	{"gateway.tun", CONF_ONE, &conf_type_tun, GLOBAL(gateway.tun), .fallback = "tungate0",
		.text = "Name of the TUN device."},
	{"gateway.mtu", CONF_ONE, &conf_type_number, GLOBAL(gateway.mtu), .fallback = "1500",
		.allowed = "1280 to 9000", .min = 1280, .max = 9000,
		.text = "MTU of the TUN device."},
	{"gateway.intercept", CONF_ONE, &conf_type_enum, GLOBAL(gateway.intercept), .fallback = "auto",
		.allowed = "auto tun tproxy off",
		.text = "How queries are taken; the answers are the same. auto: through TUN where this host's firewall lets "
			"the packets pass, else tproxy. off: only the listeners answer."},
	{"gateway.mark", CONF_ONE, &conf_type_mark, GLOBAL(gateway.mark), .fallback = "0x10000000/0x10000000",
		.text = "The mark of the gateway's own packets; whoever else sets it is exempt as well. The two bits above "
			"its mask are used too, so the mask must leave them free."},
	{"gateway.workers", CONF_ONE, &conf_type_workers, GLOBAL(gateway.workers), .fallback = "auto",
		.allowed = "auto, 1 to 64", .min = 1, .max = 64,
		.text = "Number of threads. auto: one for each processor, at most 4."},
	{"gateway.relay_mark", CONF_ONE, &conf_type_mark, GLOBAL(gateway.relay_mark),
		.text = "Traffic to real addresses that rules of your own give this mark is carried by the relay, and the rules "
			"below decide its egress."},
	{"gateway.relay_clients", CONF_FOLD, &conf_type_relay_client, GLOBAL(gateway.relay_clients),
		.items_max = 256, .text = "All traffic of these clients that leaves the LAN is carried by the relay: full-cone UDP for a console. Groups "
			"of clients may be named that hold nothing but addresses, networks and MAC addresses."},
	{"gateway.sniff", CONF_FOLD, &conf_type_sniff, GLOBAL(gateway.sniff), .fallback = "tls http quic",
		.items_max = 3, .text = "Where the relay looks for the name of a connection to a real address that no answer tells: in the "
			"first bytes of TLS, HTTP, QUIC. off: nowhere, only the address decides."},
	{"gateway.watch", CONF_ONE, &conf_type_milliseconds, GLOBAL(gateway.watch_ms), .fallback = "2s",
		.allowed = "0, 100ms to 1h", .zero = true, .min = 100, .max = 3600000,
		.text = "A changed file of a list, of records or of leases is in force within this time. 0: only by reload."},
	{"gateway.lame_duck", CONF_ONE, &conf_type_milliseconds, GLOBAL(gateway.lame_duck_ms), .fallback = "1s",
		.allowed = "0 to 1m", .min = 0, .max = 60000,
		.text = "An orderly stop takes so long; names are answered with real addresses meanwhile, and what is under way is "
			"carried on."},

	{"listen", CONF_MANY, &conf_type_listener, GLOBAL(listen),
		.items_max = 16, .text = "Addresses to answer on, beside interception."},

	{"clients", CONF_NAMED, .offset = GLOBAL(clients), .item_bytes = sizeof(struct conf_clients),
		.name_offset = CLIENTS(name), .place_offset = CLIENTS(line), .items_max = CONF_KEYS_MAX,
		.text = "Groups of clients, each with a name of your choice, for client in rules and for gateway.relay_clients."},
	{"clients.NAME", CONF_FOLD, &conf_type_client, CLIENTS(who), .required = true, .items_max = 4096,
		.text = "Who belongs to it: addresses and networks, MAC addresses (where the neighbour table knows them), host:NAME for "
			"the host with a DHCP lease of that name, if:INTERFACE for whoever is on that interface, and other groups."},

	{"upstreams", CONF_NAMED, .offset = GLOBAL(upstreams), .item_bytes = sizeof(struct conf_upstream),
		.name_offset = UPSTREAM(name), .place_offset = UPSTREAM(line), .items_max = CONF_KEYS_MAX,
		.text = "Groups of DNS servers, each with a name of your choice."},
	{"upstreams.NAME", CONF_MAP, .text = NULL},
	{"upstreams.NAME.servers", CONF_ITEMS, &conf_type_server, UPSTREAM(servers), .required = true, .single = true,
		.item_bytes = sizeof(struct conf_server), .name_offset = CONF_NOWHERE, .place_offset = SERVER(line), .items_max = 64,
		.text = "The servers, each a URL or a map with the options below. udp:// goes over TCP where an answer is too long, "
			"dns:// goes over UDP or TCP as the client came. tls:// and https:// check the certificate: it must be for "
			"TLS-NAME, else for HOST. The port is 53, 853 for tls and 443 for https if none is written, the path "
			"/dns-query."},
	{"upstreams.NAME.servers[]", CONF_MAP, .text = NULL},
	{"upstreams.NAME.servers[].url", CONF_ONE, &conf_type_server_url, SERVER(url), .required = true,
		.text = "The server."},
	{"upstreams.NAME.servers[].pin", CONF_MANY, &conf_type_pin, SERVER(pins), .items_max = 16,
		.text = "tls, https: SHA-256 of the public key of a certificate of the server's chain (RFC 7858). Where there are "
			"pins, one of them must fit, and they alone decide."},
	{"upstreams.NAME.servers[].bind", CONF_ONE, &conf_type_bind, SERVER(bind),
		.text = "The address that queries to it come from, or the interface that they leave by."},
	{"upstreams.NAME.servers[].mark", CONF_ONE, &conf_type_mark, SERVER(mark),
		.text = "A mark on the packets to it. Default: the group's."},
	{"upstreams.NAME.servers[].max_queries", CONF_ONE, &conf_type_number, SERVER(max_queries), .fallback = "0",
		.allowed = "0 to 1m", .min = 0, .max = 1000000,
		.text = "tcp, tls, https: a connection is renewed after so many queries. 0: never for that reason."},
	{"upstreams.NAME.servers[].max_life", CONF_ONE, &conf_type_milliseconds, SERVER(max_life_ms), .fallback = "0",
		.allowed = "0, 100ms to 7d", .zero = true, .min = 100, .max = 7 * DAY_S * 1000,
		.text = "tcp, tls, https: a connection is renewed when it is so old. 0: never for that reason."},
	{"upstreams.NAME.servers[].idle", CONF_ONE, &conf_type_milliseconds, SERVER(idle_ms), .fallback = "30s",
		.allowed = "100ms to 1d", .min = 100, .max = DAY_S * 1000,
		.text = "tcp, tls, https: a connection on which nothing was asked for so long is closed."},
	{"upstreams.NAME.servers[].method", CONF_ONE, &conf_type_enum, SERVER(method), .fallback = "post",
		.allowed = "post get",
		.text = "https: how queries are sent (RFC 8484)."},
	{"upstreams.NAME.strategy", CONF_ONE, &conf_type_enum, UPSTREAM(strategy), .fallback = "fastest",
		.allowed = "race sequential random round_robin fastest",
		.text = "Which server is asked first. race: several at once, the first answer counts. sequential: in the order "
			"written. random, round_robin: each in its turn. fastest: the one that has answered soonest of late. The "
			"next one is asked when one fails, and already when one takes longer than it usually does."},
	{"upstreams.NAME.timeout", CONF_ONE, &conf_type_milliseconds, UPSTREAM(timeout_ms), .fallback = "2s",
		.allowed = "50ms to 1m", .min = 50, .max = 60000,
		.text = "How long a server may take."},
	{"upstreams.NAME.total", CONF_ONE, &conf_type_milliseconds, UPSTREAM(total_ms),
		.allowed = "50ms to 5m", .min = 50, .max = 300000,
		.text = "How long all tries together may take. Default: 5s, or timeout if that is longer."},
	{"upstreams.NAME.via", CONF_ONE, &conf_type_egress, UPSTREAM(via),
		.text = "The egress through which the servers are reached. A proxy is told their names, and carries udp:// and dns:// "
			"over TCP. A direct one lends its mark."},
	{"upstreams.NAME.bootstrap", CONF_ONE, &conf_type_upstream, UPSTREAM(bootstrap),
		.text = "The group that resolves the names of the servers. Required if one is given by name, unless via is a "
			"proxy. It must be reachable without this group. The last good addresses are kept in the file "
			"bootstrap.json in the folder of fakeip.store (nowhere if that is empty), so that the next start does not "
			"depend on it."},
	{"upstreams.NAME.ca", CONF_ONE, &conf_type_path_placed, UPSTREAM(ca), .min = 1, .max = 4000,
		.text = "A file of CA certificates for the tls and https servers. Default: that of the environment variable "
			"SSL_CERT_FILE, else the system's."},
	{"upstreams.NAME.fallback", CONF_ONE, &conf_type_upstream, UPSTREAM(fallback),
		.text = "The group that is asked when all servers fail. Of fall-backs in a row, three are asked."},
	{"upstreams.NAME.downgrade", CONF_ONE, &conf_type_bool, UPSTREAM(downgrade), .fallback = "no",
		.text = "yes: the fall-back may be unencrypted where this group is encrypted. no: its servers that are not tls or "
			"https are left out then."},
	{"upstreams.NAME.all_down", CONF_ONE, &conf_type_enum, UPSTREAM(all_down), .fallback = "spray",
		.allowed = "spray none",
		.text = "When all servers look dead and there is no fall-back. spray: all are asked all the same. none: the query "
			"fails at once."},
	{"upstreams.NAME.mark", CONF_ONE, &conf_type_mark, UPSTREAM(mark),
		.text = "A mark on the queries, for policy routing of your own."},
	{"upstreams.NAME.rebind", CONF_ONE, &conf_type_enum, UPSTREAM(rebind), .fallback = "protect",
		.allowed = "protect allow",
		.text = "protect: private, loopback and link-local addresses and those of the pools of fakeip are removed from "
			"answers, so that no name of others leads into your network. allow: for the group of a company or of "
			"your own network. Rules may say otherwise."},
	{"upstreams.NAME.health", CONF_ONE, &conf_type_milliseconds_or_off, UPSTREAM(health_ms), .fallback = "2s",
		.allowed = "off, 100ms to 1h", .zero = true, .min = 100, .max = 3600000,
		.text = "How often a server that failed is probed, at first; it doubles up to a minute. off: only queries find out."},
	{"upstreams.NAME.ignore_ip", CONF_MANY, &conf_type_prefix, UPSTREAM(ignore_ip), .items_max = 65536,
		.text = "An answer with one of these addresses is a forgery: it is waited past and never given out."},
	{"upstreams.NAME.bogus_nxdomain", CONF_MANY, &conf_type_prefix, UPSTREAM(bogus_nxdomain), .items_max = 65536,
		.text = "An answer with one of these addresses means that there is no such name: it becomes NXDOMAIN."},
	{"upstreams.NAME.require_edns", CONF_ONE, &conf_type_bool, UPSTREAM(require_edns), .fallback = "no",
		.text = "An answer over UDP without EDNS is a forgery."},
	{"upstreams.NAME.min_rtt", CONF_ONE, &conf_type_milliseconds, UPSTREAM(min_rtt_ms), .fallback = "0",
		.allowed = "0 to 5s", .min = 0, .max = 5000,
		.text = "An answer over UDP that comes sooner than this is a forgery. 0: none is."},
	{"upstreams.NAME.window", CONF_ONE, &conf_type_milliseconds, UPSTREAM(window_ms), .fallback = "0",
		.allowed = "0 to 5s", .min = 0, .max = 5000,
		.text = "So long is listened on after an answer over UDP: of two that differ, the first is a forgery. 0: not at all."},
	{"upstreams.NAME.ecs", CONF_ONE, &conf_type_ecs, UPSTREAM(ecs), .fallback = "strip",
		.text = "EDNS Client Subnet. strip: none is sent. A network: that is sent, whoever asks. What clients send "
			"never leaves."},
	{"upstreams.NAME.case_randomization", CONF_ONE, &conf_type_bool, UPSTREAM(case_randomization), .fallback = "no",
		.text = "Names are asked in random case (0x20), which an answer over UDP must repeat."},
	{"upstreams.NAME.leak", CONF_ONE, &conf_type_choice, UPSTREAM(leak_strict), .fallback = "off",
		.allowed = "off strict",
		.text = "strict: only names of lists are asked here, whatever a rule says; others are asked at strict_to instead, "
			"counted and logged."},
	{"upstreams.NAME.lists", CONF_MANY, &conf_type_list, UPSTREAM(lists), .items_max = 64,
		.text = "With leak: strict: names of lists. Required for it."},
	{"upstreams.NAME.strict_to", CONF_ONE, &conf_type_upstream, UPSTREAM(strict_to),
		.text = "With leak: strict: the group that answers other names. Without it they get SERVFAIL."},

	{"cache", CONF_MAP, .text = "What is kept of the upstreams' answers."},
	{"cache.size", CONF_ONE, &conf_type_size, GLOBAL(cache.size), .fallback = "10k",
		.allowed = "0 to 10m", .min = 0, .max = 10000000,
		.text = "How many answers. 0: none are kept."},
	{"cache.bytes", CONF_ONE, &conf_type_size, GLOBAL(cache.bytes), .fallback = "0",
		.allowed = "0 to 4g", .min = 0, .max = 4000000000,
		.text = "How many bytes they may take. 0: only their number is bounded."},
	{"cache.min_ttl", CONF_ONE, &conf_type_seconds, GLOBAL(cache.min_ttl_s), .fallback = "0",
		.allowed = "0 to 1d", .min = 0, .max = DAY_S,
		.text = "A TTL that is shorter is raised to this."},
	{"cache.max_ttl", CONF_ONE, &conf_type_seconds, GLOBAL(cache.max_ttl_s), .fallback = "1d",
		.allowed = "0 to 365d", .min = 0, .max = 365 * DAY_S,
		.text = "A TTL that is longer is lowered to this."},
	{"cache.negative_ttl", CONF_ONE, &conf_type_seconds, GLOBAL(cache.negative_ttl_s), .fallback = "1h",
		.allowed = "0 to 7d", .min = 0, .max = 7 * DAY_S,
		.text = "The longest time for which it is kept that there is no such name or record (RFC 2308)."},
	{"cache.failure_ttl", CONF_ONE, &conf_type_seconds, GLOBAL(cache.failure_ttl_s), .fallback = "5s",
		.allowed = "0 to 5m", .min = 0, .max = 300,
		.text = "How long it is kept that nobody answered, or with SERVFAIL (RFC 9520). It is forgotten when a "
			"server is up again, or an address or a default route of this host changes. 0: not at all."},
	{"cache.serve_stale", CONF_ONE, &conf_type_seconds_or_off, GLOBAL(cache.serve_stale_s), .fallback = "1d",
		.allowed = "off, 1s to 30d", .min = 0, .max = 30 * DAY_S,
		.text = "How long past its TTL an answer may be given when the upstreams fail (RFC 8767)."},
	{"cache.prefetch", CONF_MAP, &conf_type_share, GLOBAL(cache.prefetch_percent), .min = 1, .max = 90,
		.allowed = "off, a share such as 20%, {share, hits}",
		.text = "Answers are renewed in the background when they are asked for and less than this share of their TTL is left. "
			"Default: off."},
	{"cache.prefetch.share", CONF_ONE, &conf_type_share, GLOBAL(cache.prefetch_percent),
		.allowed = "off, 1% to 90%", .min = 1, .max = 90,
		.text = "The share. Default: 20% if the map is written."},
	{"cache.prefetch.hits", CONF_ONE, &conf_type_number, GLOBAL(cache.prefetch_hits), .fallback = "1",
		.allowed = "1 to 1m", .min = 1, .max = 1000000,
		.text = "Only answers that were asked for so often."},
	{"cache.store", CONF_ONE, &conf_type_path, GLOBAL(cache.store), .fallback = "",
		.allowed = "a path, or \"\"", .min = 0, .max = 4000,
		.text = "The file that keeps the answers over a restart. \"\" keeps them in memory only."},
	{"cache.store_every", CONF_ONE, &conf_type_seconds, GLOBAL(cache.store_every_s), .fallback = "15m",
		.allowed = "0 to 7d", .min = 0, .max = 7 * DAY_S,
		.text = "How often it is written. 0: on an orderly stop only."},
	{"cache.warmup", CONF_MAP, .text = "After a start, the answers of the store that were asked for most are renewed."},
	{"cache.warmup.count", CONF_ONE, &conf_type_number, GLOBAL(cache.warmup_count), .fallback = "200",
		.allowed = "0 to 100k", .min = 0, .max = 100000,
		.text = "How many."},
	{"cache.warmup.rate", CONF_ONE, &conf_type_number, GLOBAL(cache.warmup_rate), .fallback = "10",
		.allowed = "1 to 1000", .min = 1, .max = 1000,
		.text = "How many a second."},

	{"egress", CONF_NAMED, .offset = GLOBAL(egresses), .item_bytes = sizeof(struct conf_egress),
		.name_offset = EGRESS(name), .place_offset = EGRESS(line), .items_max = CONF_KEYS_MAX,
		.text = "Ways out for traffic, each with a name of your choice. An option that the type does not have is an error."},
	{"egress.NAME", CONF_MAP, .text = NULL},
	{"egress.NAME.type", CONF_ONE, &conf_type_enum, EGRESS(type), .allowed = "direct socks5 http reject group", .required = true,
		.text = "direct: to the real address, by this host's routes. socks5: through a SOCKS5 proxy. http: through an HTTP "
			"proxy, by CONNECT. Both proxies are told the name. reject: refused at once. group: through one of several "
			"egresses."},
	{"egress.NAME.upstream", CONF_ONE, &conf_type_upstream, EGRESS(upstream),
		.text = "All but reject: the group that resolves for this way. Needed by direct where a rule answers fake with it, "
			"and by all for fakeip.https: rewrite and for unless."},
	{"egress.NAME.mark", CONF_ONE, &conf_type_mark, EGRESS(mark),
		.text = "direct, socks5, http: a mark on the traffic, for policy routing of your own."},
	{"egress.NAME.server", CONF_ONE, &conf_type_proxy, EGRESS(server),
		.text = "socks5, http: the proxy, by address or by name. Required for these. Without a port it is 1080 for socks5, 8080 for http."},
	{"egress.NAME.bootstrap", CONF_ONE, &conf_type_upstream, EGRESS(bootstrap),
		.text = "socks5, http: the group that resolves the name of the proxy. Required if the server is given by name."},
	{"egress.NAME.user", CONF_ONE, &conf_type_text, EGRESS(user), .allowed = "1 to 255 bytes", .min = 1, .max = CONF_SECRET_MAX,
		.text = "socks5, http: the user's name at the proxy. It needs a password."},
	{"egress.NAME.password", CONF_ONE, &conf_type_text, EGRESS(password), .allowed = "1 to 255 bytes", .min = 1, .max = CONF_SECRET_MAX,
		.text = "socks5, http: the user's password. It is shown nowhere."},
	{"egress.NAME.password_file", CONF_ONE, &conf_type_password_file, EGRESS(password),
		.text = "socks5, http: a file that has the password in its first line, instead of password. It is read at start and by reload."},
	{"egress.NAME.masquerade", CONF_ONE, &conf_type_enum, EGRESS(masquerade), .fallback = "auto",
		.allowed = "auto yes no",
		.text = "direct: whether the source address is replaced by this host's. auto: only where replies could not come "
			"back otherwise; your own firewall decides the rest."},
	{"egress.NAME.udp", CONF_ONE, &conf_type_enum, EGRESS(udp), .fallback = "carry",
		.allowed = "carry reject",
		.text = "direct, socks5, http: reject answers UDP with port unreachable at once. An http proxy carries none, it is always rejected there."},
	{"egress.NAME.quic", CONF_ONE, &conf_type_enum, EGRESS(quic), .fallback = "carry",
		.allowed = "carry reject",
		.text = "The same for UDP to port 443 only: browsers take TCP then."},
	{"egress.NAME.connect_timeout", CONF_ONE, &conf_type_milliseconds, EGRESS(connect_timeout_ms), .fallback = "5s",
		.allowed = "100ms to 2m", .min = 100, .max = 120000,
		.text = "direct, socks5, http: how long a connection may take to stand, the proxy's part included."},
	{"egress.NAME.idle", CONF_ONE, &conf_type_milliseconds, EGRESS(idle_ms), .fallback = "5m",
		.allowed = "1s to 7d", .min = 1000, .max = 7 * DAY_S * 1000,
		.text = "direct, socks5, http: a relayed connection on which nothing moves is closed after this time. For UDP it is 60s, "
			"or this time if it is shorter."},
	{"egress.NAME.ping", CONF_ONE, &conf_type_enum, EGRESS(ping), .fallback = "unreachable",
		.allowed = "unreachable local",
		.text = "socks5, http: what an ICMP echo request to a fake address gets, which no proxy carries: host unreachable, or "
			"a reply by the gateway itself."},
	{"egress.NAME.of", CONF_MANY, &conf_type_egress, EGRESS(of), .items_max = 64,
		.text = "group: its members, other groups included. Required for it."},
	{"egress.NAME.strategy", CONF_ONE, &conf_type_enum, EGRESS(strategy), .fallback = "sequential",
		.allowed = "sequential fastest",
		.text = "group: which member takes a new connection. sequential: the first that works. fastest: the one whose proxy "
			"answers soonest. Live connections stay where they are."},
	{"egress.NAME.check", CONF_ONE, &conf_type_milliseconds, EGRESS(check_ms), .fallback = "30s",
		.allowed = "1s to 1d", .min = 1000, .max = 1000 * DAY_S,
		.text = "group: how often its members are checked."},

	{"lists", CONF_NAMED, .offset = GLOBAL(lists), .item_bytes = sizeof(struct conf_list),
		.name_offset = LIST(name), .place_offset = LIST(line), .items_max = CONF_KEYS_MAX,
		.text = "Lists of names and of networks, each with a name of your choice."},
	{"lists.NAME", CONF_ITEMS, &conf_type_list_file, LIST(files), .required = true, .single = true,
		.item_bytes = sizeof(struct conf_list_file), .name_offset = CONF_NOWHERE, .place_offset = FILE_OF(line), .items_max = 4096,
		.text = "Its files. PATH:TAG and PATH:TAG@ATTRIBUTE are a category of a file of the format geosite or geoip, and of "
			"one whose path ends in .dat. Files packed with gzip are read as well. Names are for list and except of "
			"rules, networks for to, resolves_in and check."},
	{"lists.NAME[]", CONF_MAP, .text = NULL},
	{"lists.NAME[].format", CONF_ONE, &conf_type_enum, FILE_OF(format), .fallback = "auto",
		.allowed = CONF_LIST_FORMATS,
		.text = "What the file is; each format means what its home program takes it for. auto: its content tells. plain: one "
			"name a line, which covers all names below it, or one address or network. v2fly: text with domain:, full:, "
			"keyword:, regexp: and include:. geosite, geoip: V2Ray's databases. dnsmasq: server=, address=, local=, "
			"ipset=, nftset=. adblock: rules as ||x^ and @@||x^. gfwlist: AutoProxy, base64 or not. clash: mihomo's rule "
			"sets as YAML or text, mrs: as binary. srs, singbox: sing-box's rule sets, binary and JSON. rpz: response "
			"policy zones. cidr: networks. compiled: made by tungate compile."},
	{"lists.NAME[].path", CONF_ONE, &conf_type_list_path, FILE_OF(path), .required = true,
		.text = "The file, perhaps with a tag."},
	{"lists.NAME[].tag", CONF_ONE, &conf_type_list_tag, FILE_OF(tag),
		.text = "geosite, geoip: the category. With an attribute, or with that alone for v2fly, only the entries that have "
			"the attribute."},
	{"lists.NAME[].optional", CONF_ONE, &conf_type_bool, FILE_OF(optional), .fallback = "no",
		.text = "yes: start without the file if it cannot be read."},

	{"fakeip", CONF_MAP, .text = "The fake addresses."},
	{"fakeip.pool4", CONF_ONE, &conf_type_pool4, GLOBAL(fakeip.pool4), .fallback = "198.18.0.0/15",
		.text = "Pool of the fake IPv4 addresses. off: a fake name has no A record."},
	{"fakeip.pool6", CONF_ONE, &conf_type_pool6, GLOBAL(fakeip.pool6), .fallback = "fd00:198:18::/64",
		.text = "Pool of the fake IPv6 addresses. off: a fake name has no AAAA record. Chromium's Local Network Access "
			"takes a range of fc00::/7 for local, but 198.18.0.0/15 and 2001:2::/48 for public, and may refuse a "
			"page that mixes them; 2001:2::/64 avoids that."},
	{"fakeip.ttl", CONF_ONE, &conf_type_seconds, GLOBAL(fakeip.ttl_s), .fallback = "1s",
		.allowed = "0 to 1d", .min = 0, .max = DAY_S,
		.text = "TTL of a fake answer."},
	{"fakeip.store", CONF_ONE, &conf_type_path, GLOBAL(fakeip.store), .fallback = "/var/lib/tungate/fakeip.db",
		.allowed = "a path, or \"\"", .min = 0, .max = 4000,
		.text = "The file that keeps the table over a restart. \"\" keeps it in memory only."},
	{"fakeip.hold", CONF_ONE, &conf_type_seconds, GLOBAL(fakeip.hold_s), .fallback = "1h",
		.allowed = "0 to 30d", .min = 0, .max = 30 * DAY_S,
		.text = "A fake address is not given to another name before its TTL and this time have passed since the last "
			"answer, and this time since the last packet."},
	{"fakeip.sync", CONF_ONE, &conf_type_seconds, GLOBAL(fakeip.sync_s), .fallback = "5s",
		.allowed = "0 to 1h", .min = 0, .max = 3600,
		.text = "What is written to the store is on the disk at most so late; a power cut loses no more. 0: at once."},
	{"fakeip.exhausted", CONF_ONE, &conf_type_enum, GLOBAL(fakeip.exhausted), .fallback = "real",
		.allowed = "real servfail",
		.text = "What a name is answered for which no fake address is free: its real address, or SERVFAIL."},
	{"fakeip.https", CONF_ONE, &conf_type_enum, GLOBAL(fakeip.https), .fallback = "empty",
		.allowed = "empty rewrite",
		.text = "What a query for HTTPS or SVCB records of a fake name gets. empty: no record. rewrite: what the rule's "
			"upstream says, with the fake addresses as hints."},
	{"fakeip.ech", CONF_ONE, &conf_type_enum, GLOBAL(fakeip.ech), .fallback = "keep",
		.allowed = "keep drop",
		.text = "The keys for Encrypted Client Hello in rewritten HTTPS records."},
	{"fakeip.except", CONF_MAP_OR_MANY, &conf_type_list, GLOBAL(fakeip.except),
		.allowed = "names in lists, {builtin, lists}", .items_max = 64,
		.text = "Lists of names that are never faked, beside the names of hosts with a lease and the built-in ones. A rule "
			"with a domain of its own at or below such a name fakes it all the same."},
	{"fakeip.except.builtin", CONF_ONE, &conf_type_bool, GLOBAL(fakeip.except_builtin), .fallback = "yes",
		.text = "Nor names without a dot and those of never-fake.txt in the documentation folder: names of local networks, "
			"connectivity checks, time servers, STUN, consoles. no: only the lists."},
	{"fakeip.except.lists", CONF_MANY, &conf_type_list, GLOBAL(fakeip.except),
		.items_max = 64, .text = "Names of lists."},

	{"leases", CONF_MAP, .text = "The hosts of the LAN, by their DHCP leases. Their names are never faked."},
	{"leases.files", CONF_MANY, &conf_type_path, GLOBAL(leases.files), .min = 1, .max = 4000,
		.items_max = 16, .text = "Lease files of dnsmasq and odhcpd."},
	{"leases.domain", CONF_ONE, &conf_type_name, GLOBAL(leases.domain), .fallback = "lan",
		.text = "The domain of the LAN: HOST and HOST.lan are the host of that name."},
	{"leases.answer", CONF_ONE, &conf_type_bool, GLOBAL(leases.answer), .fallback = "yes",
		.text = "Answer A, AAAA and PTR of these hosts from the files. no: by the rules."},

	{"records", CONF_MAP,
		.text = "Local records: names that this host answers itself, before any rule."},
	{"records.files", CONF_MANY, &conf_type_path, GLOBAL(records.files), .min = 1, .max = 4000,
		.items_max = 256,
		.text = "Files of records, as JSON (an array of objects with name, type, ttl, rdata, labels, status) or as hosts."},
	{"records.lines", CONF_NAMED, .offset = GLOBAL(records.lines), .item_bytes = sizeof(struct conf_line),
		.name_offset = LINE(name), .place_offset = CONF_NOWHERE, .items_max = 64,
		.text = "Groups of clients, each with a name of your choice: a record with a label is for the clients of the line of "
			"that name only."},
	{"records.lines.NAME", CONF_MANY, &conf_type_prefix, LINE(clients), .required = true, .items_max = 4096,
		.text = "The clients of the line."},
	{"records.lines_file", CONF_ONE, &conf_type_path, GLOBAL(records.lines_file), .min = 1, .max = 4000,
		.text = "A JSON file with more of them: {\"NAME\": [\"NETWORK/LENGTH\"]}."},
	{"records.inline", CONF_MANY, &conf_type_record, GLOBAL(records.records), .items_max = 65536,
		.text = "Records written here, with the same keys as in a file."},
	{"records.ttl", CONF_ONE, &conf_type_seconds, GLOBAL(records.ttl_s), .fallback = "60s",
		.allowed = "0 to 365d", .min = 0, .max = 365 * DAY_S,
		.text = "The TTL of records that have none."},
	{"records.no_line", CONF_ONE, &conf_type_choice, GLOBAL(records.no_line_none), .fallback = "all",
		.allowed = "all none",
		.text = "Which of the records with labels are for clients of no line."},
	{"records.whole", CONF_ONE, &conf_type_bool, GLOBAL(records.whole), .fallback = "no",
		.text = "A name that has addresses or a CNAME here has none of the other family and no HTTPS records. yes: nor of any "
			"other type; no: the rules decide about these."},
	{"records.store", CONF_ONE, &conf_type_path, GLOBAL(records.store), .fallback = "/var/lib/tungate/records.json",
		.allowed = "a path, or \"\"", .min = 0, .max = 4000,
		.text = "The file that keeps the records that are pushed over the control socket. \"\": none can be pushed."},

	{"builtin", CONF_MAP,
		.text = "Names with an answer of their own, which never leave this host. A rule whose own domain lies at or below such "
			"a name goes before."},
	{"builtin.localhost", CONF_ONE, &conf_type_builtin, GLOBAL(builtin), .fallback = "yes", .max = CONF_BUILTIN_LOCALHOST,
		.text = "localhost and all below: the loopback addresses."},
	{"builtin.special", CONF_ONE, &conf_type_builtin, GLOBAL(builtin), .fallback = "yes", .max = CONF_BUILTIN_SPECIAL,
		.text = "invalid, local, onion, alt: NXDOMAIN. lan, internal, home.arpa: too, unless records or leases know the name."},
	{"builtin.canary", CONF_ONE, &conf_type_builtin, GLOBAL(builtin), .fallback = "yes", .max = CONF_BUILTIN_CANARY,
		.text = "use-application-dns.net: NXDOMAIN, so that Firefox stays with this host."},
	{"builtin.relay", CONF_ONE, &conf_type_builtin, GLOBAL(builtin), .fallback = "yes", .max = CONF_BUILTIN_RELAY,
		.text = "mask.icloud.com, mask-h2.icloud.com: NXDOMAIN, so that iCloud's relay stays off."},
	{"builtin.ddr", CONF_ONE, &conf_type_builtin, GLOBAL(builtin), .fallback = "yes", .max = CONF_BUILTIN_DDR,
		.text = "resolver.arpa: no record, so that clients are not led to an encrypted resolver elsewhere."},
	{"builtin.private_reverse", CONF_ONE, &conf_type_builtin, GLOBAL(builtin), .fallback = "yes", .max = CONF_BUILTIN_PRIVATE_REVERSE,
		.text = "The reverse zones of private networks (RFC 6303): NXDOMAIN unless records or leases know the address."},
	{"builtin.ipv4only", CONF_ONE, &conf_type_builtin, GLOBAL(builtin), .fallback = "yes", .max = CONF_BUILTIN_IPV4ONLY,
		.text = "ipv4only.arpa: its two addresses (RFC 8880)."},

	{"rules", CONF_ITEMS, .offset = GLOBAL(rules), .item_bytes = sizeof(struct conf_rule),
		.name_offset = CONF_NOWHERE, .place_offset = RULE(line), .items_max = CONF_RULES_MAX,
		.text = "What is done with which names. The first rule that matches decides. A rule matches if one of its "
			"domain or list entries does, none of except, and its client, type, listener and to as well; what is not "
			"written matches everything."},
	{"rules[]", CONF_MAP, .text = NULL},
	{"rules[].name", CONF_ONE, &conf_type_text, RULE(name), .allowed = "a name that no other rule has",
		.required = true, .min = 1, .max = 64,
		.text = "Its name, in logs and in explain; no two rules share one."},
	{"rules[].domain", CONF_FOLD, &conf_type_domain, RULE(domain),
		.text = "x is x and all below it, full:x is x alone, keyword:x is any name that contains x, regexp:x any that the "
			"expression (PCRE2, on the name in lower case) is found in, unqualified a name without a dot, \".\" every name."},
	{"rules[].list", CONF_MANY, &conf_type_list, RULE(lists),
		.text = "Names of lists."},
	{"rules[].except", CONF_FOLD, &conf_type_except, RULE(except_names),
		.text = "Not the names of these lists, nor these domains. What is the name of a list is the list."},
	{"rules[].to", CONF_MANY, &conf_type_list, RULE(to),
		.text = "Names of lists one of whose networks holds the destination. It is for traffic to real addresses that the "
			"relay carries; no query has a destination, so none matches."},
	{"rules[].client", CONF_FOLD, &conf_type_rule_client, RULE(client),
		.text = "Who asks: one of these, and in none of the networks behind an exclamation mark."},
	{"rules[].type", CONF_MANY, &conf_type_rrtype, RULE(types),
		.text = "Types of the question."},
	{"rules[].listener", CONF_FOLD, &conf_type_bits, RULE(listeners), .allowed = "tun tproxy udp tcp", .items_max = 4,
		.text = "How the query came: taken by one of the two ways of interception, or asked of an address in listen. Queries "
			"over TCP, those to addresses of this host and its own come by tproxy with intercept: tun, too."},
	{"rules[].also", CONF_ONE, &conf_type_bool, RULE(also), .fallback = "no",
		.text = "yes: the rule adds its nftset, ipset and nftmap and decides nothing; the next rules are looked at. At most 64 rules."},
	{"rules[].answer", CONF_ONE, &conf_type_enum, RULE(answer), .allowed = "fake real block local",
		.text = "fake: a fake address, whose traffic takes the egress. real: what the upstream says. block: see block. local: "
			"address, cname or records. Required unless the rule has also."},
	{"rules[].block", CONF_ONE, &conf_type_enum, RULE(block), .fallback = "nxdomain",
		.allowed = "nxdomain refused zero nodata",
		.text = "With answer: block: there is no such name; the query is refused; the address is 0.0.0.0 or ::; there is such a "
			"name without records."},
	{"rules[].address", CONF_MANY, &conf_type_address, RULE(addresses), .items_max = 64,
		.text = "With answer: local: the addresses."},
	{"rules[].cname", CONF_ONE, &conf_type_name, RULE(cname),
		.text = "With answer: local: another name, which is resolved on by the rules; safe search is made so."},
	{"rules[].records", CONF_MANY, &conf_type_rule_record, RULE(records), .items_max = 1024,
		.text = "With answer: local: records as in records.inline, without name and labels: each has the name that is asked."},
	{"rules[].filter", CONF_ONE, &conf_type_enum, RULE(filter), .fallback = "none", .allowed = "none ipv4 ipv6 auto",
		.text = "The family that is answered without records, hints in HTTPS records included. auto: the one that the egress "
			"has no route for."},
	{"rules[].egress", CONF_ONE, &conf_type_egress, RULE(egress),
		.text = "The way of the traffic; fake needs one. A real address is carried there too, see carry."},
	{"rules[].upstream", CONF_ONE, &conf_type_upstream, RULE(upstream),
		.text = "The group that is asked. Default: that of the egress, then that of default, then the first. One that is not the "
			"egress's gets a warning of check: names would be resolved for another place than the traffic leaves from."},
	{"rules[].carry", CONF_ONE, &conf_type_bool, RULE(carry), .fallback = "yes",
		.text = "With answer: real and an egress that is a proxy or has a mark: the traffic to the real addresses takes the "
			"egress too."},
	{"rules[].ttl", CONF_MAP, .text = "Bounds for the TTLs of what the upstream says, before those of cache. A fake answer has fakeip.ttl."},
	{"rules[].ttl.min", CONF_ONE, &conf_type_seconds, RULE(ttl.min_s), .fallback = "0",
		.allowed = "0 to 365d", .min = 0, .max = 365 * DAY_S,
		.text = "A TTL that is shorter is raised to this."},
	{"rules[].ttl.max", CONF_ONE, &conf_type_seconds_bound, RULE(ttl.max_s),
		.allowed = "0 to 365d", .min = 0, .max = 365 * DAY_S,
		.text = "A TTL that is longer is lowered to this."},
	{"rules[].cache", CONF_ONE, &conf_type_bool, RULE(cache), .fallback = "yes",
		.text = "no: what the upstream says is not kept, each query is asked there."},
	{"rules[].rebind", CONF_ONE, &conf_type_enum, RULE(rebind), .allowed = "protect allow",
		.text = "As upstreams.NAME.rebind, for the names of the rule. Default: as the upstream says."},
	{"rules[].unless", CONF_ITEMS, .offset = RULE(unless), .item_bytes = sizeof(struct conf_unless),
		.name_offset = CONF_NOWHERE, .place_offset = UNLESS(line), .items_max = 16, .single = true,
		.text = "With answer: fake: another egress for names that have an address in a list. One map or a list of maps, the "
			"first that holds decides. The fake answer leaves at once, only the first packet waits. Every name of the rule is asked at the upstream."},
	{"rules[].unless[]", CONF_MAP, .text = NULL},
	{"rules[].unless[].resolves_in", CONF_MANY, &conf_type_list, UNLESS(lists), .required = true,
		.items_max = 64, .text = "Names of lists: one address in one of them is enough."},
	{"rules[].unless[].egress", CONF_ONE, &conf_type_egress, UNLESS(egress), .required = true,
		.text = "The way of the traffic then."},
	{"rules[].unless[].upstream", CONF_ONE, &conf_type_upstream, UNLESS(upstream),
		.text = "The group that is asked. Default: that of this egress."},
	{"rules[].unless[].within", CONF_ONE, &conf_type_milliseconds, UNLESS(within_ms), .fallback = "2s",
		.allowed = "10ms to 1m", .min = 10, .max = 60000,
		.text = "How long the first packet waits for it; then the rule's own egress is taken."},
	{"rules[].check", CONF_ITEMS, .offset = RULE(checks), .item_bytes = sizeof(struct conf_check),
		.name_offset = CONF_NOWHERE, .place_offset = CHECK(line), .items_max = 16, .single = true,
		.text = "With answer: real: another rule for names by the addresses of their answer, hints in HTTPS records included and "
			"those that filter leaves out not, within the same query, once. One map or a list of maps, the first that holds "
			"decides. Every name of the rule is asked at its own upstream first."},
	{"rules[].check[]", CONF_MAP, .text = NULL},
	{"rules[].check[].answers", CONF_ONE, &conf_type_enum, CHECK(answers), .allowed = "in out", .required = true,
		.text = "Whether the addresses lie in the lists, or in none of them."},
	{"rules[].check[].of", CONF_MANY, &conf_type_list, CHECK(lists), .required = true, .items_max = 64,
		.text = "Names of lists with networks."},
	{"rules[].check[].match", CONF_ONE, &conf_type_enum, CHECK(match), .fallback = "all", .allowed = "any all",
		.text = "Whether that must be so of one address of the answer or of each. An answer without addresses never is."},
	{"rules[].check[].rule", CONF_ONE, &conf_type_rule, CHECK(rule), .required = true,
		.text = "The rule that takes the name then, before or behind this one; its domain, list and except do not matter, its client, "
			"type and listener do. None with also."},
	{"rules[].check[].learn", CONF_ONE, &conf_type_path, CHECK(learn), .min = 1, .max = 4000,
		.text = "A file that keeps such names: they belong to the other rule from then on, and are looked up just before this "
			"one. A line is full:NAME; one that is written by hand never ages."},
	{"rules[].check[].capacity", CONF_ONE, &conf_type_number, CHECK(capacity), .fallback = "10k",
		.allowed = "1 to 1m", .min = 1, .max = 1000000,
		.text = "With learn: how many names are kept. The one that was asked for longest ago goes first."},
	{"rules[].check[].max_age", CONF_ONE, &conf_type_seconds, CHECK(max_age_s), .fallback = "30d",
		.allowed = "0 to 3650d", .min = 0, .max = 3650 * DAY_S,
		.text = "With learn: a name that nobody asked for so long is forgotten. 0: none is."},
	{"rules[].check[].verify", CONF_ONE, &conf_type_seconds, CHECK(verify_s), .fallback = "1d",
		.allowed = "0 to 3650d", .min = 0, .max = 3650 * DAY_S,
		.text = "With learn: a name that is asked for is looked at again after this time, in the background, and forgotten if its "
			"addresses have changed so that the check no longer holds. 0: never again."},
	{"rules[].nftset", CONF_ITEMS, &conf_type_nftset, SETS_OF_RULE,
		.text = "nftables sets that get the addresses before the answer leaves, in dnsmasq's form. The family is inet, "
			"ip or ip6; without one it is ip. 4# and 6# restrict it to IPv4 or IPv6 addresses; else the "
			"type of the set decides. A set whose key is a concatenation needs its fields behind ' = ': "
			"$addr, $client (who asks), and literals as nft writes them, such as 443, tcp, lan0."},
	{"rules[].nftset[]", CONF_MAP, .text = NULL},
	{"rules[].nftset[].set", CONF_ONE, &conf_type_nftset, .required = true,
		.text = "The set."},
	{"rules[].nftset[].timeout", TIMEOUT_OF_SET,
		.text = "How long an address stays in this one, instead of set_ttl."},
	{"rules[].nftmap", CONF_ITEMS, &conf_type_nftmap, SETS_OF_RULE,
		.text = "The same for nftables maps from an address to a value, which stands behind ' = '; of a verdict map it is accept, "
			"drop, jump CHAIN or goto CHAIN."},
	{"rules[].nftmap[]", CONF_MAP, .text = NULL},
	{"rules[].nftmap[].set", CONF_ONE, &conf_type_nftmap, .required = true,
		.text = "The map and the value."},
	{"rules[].nftmap[].timeout", TIMEOUT_OF_SET,
		.text = "How long an address stays in this one, instead of set_ttl."},
	{"rules[].ipset", CONF_ITEMS, &conf_type_ipset, SETS_OF_RULE,
		.text = "The same as nftset for ipset. The fields of a set of several, such as hash:ip,port, are as ipset writes them."},
	{"rules[].ipset[]", CONF_MAP, .text = NULL},
	{"rules[].ipset[].set", CONF_ONE, &conf_type_ipset, .required = true,
		.text = "The set."},
	{"rules[].ipset[].timeout", TIMEOUT_OF_SET,
		.text = "How long an address stays in this one, instead of set_ttl."},
	{"rules[].set_ttl", CONF_MAP, &conf_type_set_ttl, RULE(set_ttl), .allowed = "{min, grace}, a time from 1s to 24d, permanent",
		.min = 1, .max = 24 * DAY_S,
		.text = "How long an address stays in the sets: a time, or permanent, or by its TTL with the two bounds below."},
	{"rules[].set_ttl.min", CONF_ONE, &conf_type_seconds, RULE(set_ttl.min_s), .fallback = "10m",
		.allowed = "0 to 20d", .min = 0, .max = 20 * DAY_S,
		.text = "The least time an address stays, if its TTL is shorter."},
	{"rules[].set_ttl.grace", CONF_ONE, &conf_type_seconds, RULE(set_ttl.grace_s), .fallback = "1m",
		.allowed = "0 to 4d", .min = 0, .max = 4 * DAY_S,
		.text = "How much longer than that it stays."},
	{"rules[].push", CONF_ONE, &conf_type_enum, RULE(push), .fallback = "before", .allowed = "before async",
		.text = "before: the answer leaves when its addresses are in the sets. async: it leaves at once, and the addresses follow; "
			"the first packets may go another way."},
	{"rules[].push_timeout", CONF_ONE, &conf_type_milliseconds, RULE(push_timeout_ms), .fallback = "50ms",
		.allowed = "1ms to 5s", .min = 1, .max = 5000,
		.text = "How long an answer waits for its addresses; then it is as on_error says."},
	{"rules[].on_error", CONF_ONE, &conf_type_enum, RULE(on_error), .fallback = "answer",
		.allowed = "answer servfail",
		.text = "When an address could not be put into a set: answer all the same, or with SERVFAIL."},
	{"rules[].conntrack", CONF_ONE, &conf_type_enum, RULE(conntrack), .fallback = "keep", .allowed = "keep forget",
		.text = "forget: when an address has just got into a set, the flows that the client had to it are removed from conntrack, "
			"so that they take the new way."},

	{"default", CONF_MAP, .text = "What is done with names that no rule takes."},
	{"default.answer", CONF_ONE, &conf_type_enum, .fallback = "real", .allowed = "real", .discard = true,
		.text = "real: what the upstream says."},
	{"default.upstream", CONF_ONE, &conf_type_upstream, GLOBAL(default_upstream),
		.text = "The group that is asked. Default: the first one."},

	{"control", CONF_MAP, .text = "The socket for tungate(8)."},
	{"control.socket", CONF_ONE, &conf_type_path_placed, GLOBAL(control_socket), .fallback = "/run/tungate.sock",
		.min = 1, .max = 107,
		.text = "Its path."},
	{"control.mode", CONF_ONE, &conf_type_octal, GLOBAL(control_mode), .fallback = "0660",
		.text = "Its access rights."},
	{"control.group", CONF_ONE, &conf_type_group, GLOBAL(control_group),
		.text = "The group that owns it. Default: the group of the daemon."},

	{"log", CONF_MAP, .text = "The log, on standard error."},
	{"log.level", CONF_ONE, &conf_type_enum, GLOBAL(log_level), .fallback = "info",
		.allowed = "error warn info debug",
		.text = "What is logged: this and what is worse."},
};
/* clang-format on */

const size_t conf_options_n = sizeof conf_options / sizeof conf_options[0];

const char *conf_option_below(const struct conf_option *o, const struct conf_option *section)
{
	const char *key = o->path;

	if (section) {
		size_t n = strlen(section->path);

		if (strncmp(o->path, section->path, n) != 0 || o->path[n] != '.')
			return NULL;
		key += n + 1;
	}
	return strpbrk(key, ".[") ? NULL : key;
}

const struct conf_option *conf_option_item(const struct conf_option *o)
{
	const char *suffix = o->shape == CONF_NAMED ? ".NAME" : "[]";
	size_t n = strlen(o->path);

	for (size_t i = 0; i < conf_options_n; i++)
		if (strncmp(conf_options[i].path, o->path, n) == 0 &&
			strcmp(conf_options[i].path + n, suffix) == 0)
			return &conf_options[i];
	return NULL;
}
