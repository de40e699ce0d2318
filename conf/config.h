/* The configuration as the daemon reads it: one immutable value, made by conf_load() from one YAML
 * file. All strings and arrays belong to the struct config and live until conf_free(). References
 * between sections are already resolved: an `int` named after a section is an index into that
 * section's array, -1 for none. */
#ifndef TUNGATE_CONF_CONFIG_H
#define TUNGATE_CONF_CONFIG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "gateway/base/addr.h"

struct conf_mark {
	uint32_t value, mask; /* mask 0: none is set */
};

struct conf_strings {
	char **v;
	size_t n;
};

struct conf_prefixes {
	struct ip_prefix *v;
	size_t n;
};

struct conf_ids { /* user or group ids; names are looked up when read */
	uint32_t *v;
	size_t n;
};

enum conf_intercept {
	CONF_INTERCEPT_AUTO,
	CONF_INTERCEPT_TUN,
	CONF_INTERCEPT_TPROXY,
	CONF_INTERCEPT_OFF
};

struct conf_exempt {
	struct conf_ids uid, gid;
	struct conf_strings cgroup; /* paths below the cgroup2 mount, without a leading slash */
	struct conf_mark *mark;
	size_t n_mark;
	struct conf_prefixes to;
};

struct conf_mac {
	uint8_t b[6];
};

/* Clients: whoever is meant by one of these. Names of `clients` groups are already replaced by what
 * the groups hold. */
struct conf_who {
	struct conf_prefixes prefixes;
	struct conf_mac *macs;
	size_t n_macs;
	struct conf_strings hosts;	/* names of DHCP leases, `host:NAME` */
	struct conf_strings interfaces; /* `if:IFACE` */
};

struct conf_clients {
	char *name;
	struct conf_who who;
	unsigned line, column;
};

enum conf_sniff { CONF_SNIFF_TLS = 1, CONF_SNIFF_HTTP = 2, CONF_SNIFF_QUIC = 4 };

struct conf_gateway {
	struct conf_strings lan; /* interface names, a trailing '*' allowed */
	bool self;
	struct conf_exempt exempt;
	char *tun;
	unsigned mtu;
	enum conf_intercept intercept;
	struct conf_mark mark; /* our own packets; the two bits above the highest bit of its mask
				  are the ways in */
	unsigned workers;      /* 0: auto */
	struct conf_mark relay_mark;   /* mask 0: none */
	struct conf_who relay_clients; /* prefixes and MACs only */
	unsigned sniff;		       /* bits: enum conf_sniff */
	unsigned watch_ms;	       /* 0: only by reload */
	unsigned lame_duck_ms;
};

/* CONF_DNS: UDP or TCP, as the client came; upstreams only, like TLS and HTTPS. */
enum conf_transport { CONF_UDP, CONF_TCP, CONF_DNS, CONF_TLS, CONF_HTTPS };

struct conf_endpoint { /* a listener */
	enum conf_transport transport;
	struct ip_port at;
	char *url; /* as written */
	unsigned line, column;
};

enum conf_exhausted { CONF_EXHAUSTED_REAL, CONF_EXHAUSTED_SERVFAIL };
enum conf_https { CONF_HTTPS_EMPTY, CONF_HTTPS_REWRITE };
enum conf_ech { CONF_ECH_KEEP, CONF_ECH_DROP };

struct conf_fakeip {
	struct ip_prefix pool4, pool6; /* family IP_NONE: off */
	uint32_t ttl_s, hold_s;
	char *store; /* absolute path; "" keeps the table in memory */
	uint32_t sync_s;
	enum conf_exhausted exhausted;
	enum conf_https https;
	enum conf_ech ech;
	bool except_builtin;
	int *except; /* lists */
	size_t n_except;
};

struct conf_leases {
	struct conf_strings files; /* absolute paths; n 0: no leases */
	char *domain;		   /* "lan": HOST.lan and HOST mean the lease's host */
	bool answer;		   /* else the names are only never faked */
};

enum conf_method { CONF_POST, CONF_GET };

struct conf_pin { /* of the certificate's SubjectPublicKeyInfo (RFC 7858 4.2) */
	uint8_t sha256[32];
};

struct conf_server { /* of an upstream */
	enum conf_transport transport;
	char *host;	   /* NULL: the address is literal */
	struct ip_port at; /* family IP_NONE with a host; the port is always set: 53, 853, 443 */
	char *tls_name;	   /* what the certificate must be for: behind '@', else host; NULL: the
			      address */
	char *path;	   /* https: "/dns-query" */
	char *url;	   /* as written */
	struct conf_pin *pins;
	size_t n_pins;
	enum conf_method method;
	struct conf_bind {
		struct ip_addr address; /* family IP_NONE: none */
		char *interface;	/* NULL: none */
	} bind;
	struct conf_mark mark;	       /* mask 0: the upstream's */
	unsigned max_queries;	       /* of a connection; 0: no bound */
	unsigned max_life_ms, idle_ms; /* of a connection; 0 max_life: no bound */
	unsigned line, column;
};

enum conf_strategy {
	CONF_STRATEGY_RACE,
	CONF_STRATEGY_SEQUENTIAL,
	CONF_STRATEGY_RANDOM,
	CONF_STRATEGY_ROUND_ROBIN,
	CONF_STRATEGY_FASTEST
};
enum conf_all_down { CONF_ALL_DOWN_SPRAY, CONF_ALL_DOWN_NONE };
enum conf_rebind { CONF_REBIND_PROTECT, CONF_REBIND_ALLOW };

struct conf_upstream {
	char *name;
	struct conf_server *servers;
	size_t n_servers;
	enum conf_strategy strategy;
	unsigned timeout_ms; /* a try */
	unsigned total_ms;   /* all tries: 5 s, or the timeout if that is longer */
	struct conf_mark mark;
	int via;		     /* egress, -1: none */
	int bootstrap;		     /* upstream, -1: none */
	char *ca;		     /* absolute path, NULL: the system's store */
	unsigned ca_line, ca_column; /* belong behind ca; as below */
	int fallback;		     /* upstream, -1: none */
	bool downgrade;		     /* the fall-back may be less encrypted */
	enum conf_all_down all_down;
	enum conf_rebind rebind;
	unsigned health_ms; /* 0: off */
	struct conf_prefixes ignore_ip, bogus_nxdomain;
	bool require_edns;
	unsigned min_rtt_ms, window_ms;
	struct ip_prefix ecs; /* family IP_NONE: strip */
	bool case_randomization;
	bool leak_strict;
	int *lists; /* leak: strict: whose names may be asked here */
	size_t n_lists;
	int strict_to; /* upstream, -1: none; then others are refused */
	unsigned line, column;
};

struct conf_cache {
	size_t size, bytes; /* entries (0: off), bytes (0: no bound) */
	uint32_t min_ttl_s, max_ttl_s, negative_ttl_s, failure_ttl_s;
	uint32_t serve_stale_s;			  /* 0: off */
	unsigned prefetch_percent, prefetch_hits; /* percent 0: off */
	char *store;				  /* absolute path; "": none */
	uint32_t store_every_s;			  /* 0: on stop only */
	unsigned warmup_count, warmup_rate;	  /* rate: a second */
};

struct conf_ttl { /* of a rule; 0 min, UINT32_MAX max: not bounded */
	uint32_t min_s, max_s;
};

enum conf_egress_type {
	CONF_EGRESS_DIRECT,
	CONF_EGRESS_SOCKS5,
	CONF_EGRESS_HTTP,
	CONF_EGRESS_REJECT,
	CONF_EGRESS_GROUP
};
enum conf_masquerade { CONF_MASQUERADE_AUTO, CONF_MASQUERADE_YES, CONF_MASQUERADE_NO };
enum conf_carry_or_reject { CONF_CARRY, CONF_CARRY_REJECT };
enum conf_ping { CONF_PING_UNREACHABLE, CONF_PING_LOCAL };
enum conf_group_strategy { CONF_GROUP_SEQUENTIAL, CONF_GROUP_FASTEST };

struct conf_proxy {	   /* where a proxy listens: a literal address, or a name to be resolved */
	char *host;	   /* NULL: literal */
	struct ip_port at; /* family IP_NONE with a host; its port counts in both cases, and is 1080
			      for socks5 and 8080 for http if none is written */
};

struct conf_egress {
	char *name;
	enum conf_egress_type type;
	int upstream;
	struct conf_mark mark;
	struct conf_proxy server; /* socks5, http */
	char *user, *password;	  /* NULL: none; the password also from password_file */
	int bootstrap;		  /* the group that resolves server.host, -1: none */
	enum conf_masquerade masquerade;
	enum conf_carry_or_reject udp, quic; /* http: always reject */
	unsigned connect_timeout_ms, idle_ms;
	unsigned udp_idle_ms; /* 60 s, or idle if that is shorter */
	enum conf_ping ping;
	int *of; /* group: its members */
	size_t n_of;
	enum conf_group_strategy strategy;
	unsigned check_ms;
	unsigned line, column;
};

struct conf_list_file {
	char *path;	       /* absolute, without the tag */
	char *tag, *attribute; /* "dlc.dat:cn@ads"; NULL: none */
	int format;	       /* enum list_format; 0: the content tells */
	bool optional;
	unsigned line, column;
};

struct conf_list {
	char *name;
	struct conf_list_file *files;
	size_t n_files;
	unsigned line, column;
};

/* A local record as JSON text, one object: {"name": "a.lan", "type": "A", "rdata": "192.0.2.1"}. */
struct conf_record {
	char *json;
	unsigned line, column;
};

struct conf_line { /* a group of clients that labelled records are for */
	char *name;
	struct conf_prefixes clients;
};

struct conf_records {
	const char *from;	   /* the configuration's path, for complaints */
	struct conf_strings files; /* absolute paths */
	struct conf_line *lines;
	size_t n_lines;
	char *lines_file;	     /* absolute, NULL: none */
	struct conf_record *records; /* inline ones */
	size_t n_records;
	uint32_t ttl_s;
	bool no_line_none; /* clients of no line get unlabelled records only */
	bool whole;	   /* no type of a name that has addresses passes on */
	char *store;	   /* absolute path of the pushed ones; "": nothing can be pushed */
};

enum conf_builtin { /* names with an answer of their own */
	CONF_BUILTIN_LOCALHOST = 1,
	CONF_BUILTIN_SPECIAL = 2,
	CONF_BUILTIN_CANARY = 4,
	CONF_BUILTIN_RELAY = 8,
	CONF_BUILTIN_DDR = 16,
	CONF_BUILTIN_PRIVATE_REVERSE = 32,
	CONF_BUILTIN_IPV4ONLY = 64,
	CONF_BUILTIN_ALL = 127
};

enum conf_answer { CONF_ANSWER_FAKE, CONF_ANSWER_REAL, CONF_ANSWER_BLOCK, CONF_ANSWER_LOCAL };
enum conf_block { CONF_BLOCK_NXDOMAIN, CONF_BLOCK_REFUSED, CONF_BLOCK_ZERO, CONF_BLOCK_NODATA };
enum conf_filter { CONF_FILTER_NONE, CONF_FILTER_IPV4, CONF_FILTER_IPV6, CONF_FILTER_AUTO };
enum conf_listener { /* bits of conf_rule.listeners; tls and https come with their listeners */
	CONF_LISTENER_TUN = 1,
	CONF_LISTENER_TPROXY = 2,
	CONF_LISTENER_UDP = 4,
	CONF_LISTENER_TCP = 8
};

struct conf_set_ttl {
	bool permanent;
	uint32_t fixed_s;	 /* 0: max(TTL, min_s) + grace_s */
	uint32_t min_s, grace_s; /* 600, 60 */
};

struct conf_set { /* one nftset, ipset or nftmap of a rule, dnsmasq's form */
	bool is_ipset;
	uint8_t family;	 /* IP_V4, IP_V6; IP_NONE: the family of the set's key */
	uint8_t nfproto; /* NFPROTO_*; of the table, nft only */
	char *table;	 /* nft only */
	char *name;
	/* What of an element is written, fields joined by " . ": "$addr", "$client", literals;
	 * NULL: the address alone. Blanks are single here, whatever was written. */
	char *key;
	char *value;  /* nftmap: what the address maps to; NULL: a set */
	bool has_ttl; /* this set's own time in place of the rule's set_ttl */
	struct conf_set_ttl ttl;
};

/* A set as it is written in the configuration: "4#inet#fw4#cn4", "6#cn6", "4#inet#t#s = $addr .
 * 443", "4#inet#t#m = 0x10". The same text is the same set. Returns buf; CONF_SET_TEXT_MAX bytes
 * hold any. */
#define CONF_SET_TEXT_MAX 768
const char *conf_set_format(const struct conf_set *set, char *buf, size_t size);
/* The fields of `key` or `value`; text points into them. At most CONF_SET_FIELDS_MAX, which the
 * reader has made sure of; NULL has none. Returns their number. */
#define CONF_SET_FIELDS_MAX 16
enum conf_set_field_kind { CONF_FIELD_ADDR, CONF_FIELD_CLIENT, CONF_FIELD_LITERAL };
struct conf_set_field {
	enum conf_set_field_kind kind;
	const char *text;
	size_t len;
};
size_t conf_set_fields(const char *text, struct conf_set_field ret[CONF_SET_FIELDS_MAX]);

enum conf_on_error { CONF_ON_ERROR_ANSWER, CONF_ON_ERROR_SERVFAIL };
enum conf_push { CONF_PUSH_BEFORE, CONF_PUSH_ASYNC };
enum conf_conntrack { CONF_CONNTRACK_KEEP, CONF_CONNTRACK_FORGET };

enum conf_check_answers { CONF_CHECK_IN, CONF_CHECK_OUT };
enum conf_check_match { CONF_CHECK_ANY, CONF_CHECK_ALL };
struct conf_check { /* addresses of a real answer that are in lists, or out: another rule instead */
	enum conf_check_answers answers;
	int *lists;
	size_t n_lists;
	enum conf_check_match match;
	int rule;    /* index of another rule without `also` */
	char *learn; /* path of the file of learned names; NULL: nothing is learned */
	uint32_t capacity, max_age_s, verify_s; /* 10000, 30d, 1d; max_age_s 0: never old, verify_s
						   0: never looked at again */
	unsigned line, column;
};

struct conf_unless { /* an address of the name in one of the lists: this egress instead */
	int *lists;
	size_t n_lists;
	int egress;
	int upstream; /* filled in from the egress */
	unsigned within_ms;
	unsigned line, column;
};

struct conf_rule {
	char *name;
	struct conf_strings domain; /* "x", "full:x", "keyword:x", "regexp:x"; names in lower case,
				       no trailing dot; "." is every name */
	bool unqualified;	    /* `domain: unqualified`: or-ed to these, a name of one label */
	int *lists;
	size_t n_lists;
	int *except_lists;
	size_t n_except_lists;
	struct conf_strings except_names; /* as domain */
	int *to;			  /* lists: the destination of real traffic */
	size_t n_to;
	struct conf_who client;
	struct conf_prefixes not_client; /* !CIDR: in none of these */
	uint16_t *types;		 /* RR types */
	size_t n_types;
	unsigned listeners; /* bits; 0: all */
	bool also;	    /* adds its sets and decides nothing; at most POLICY_ALSO_MAX (64) */
	enum conf_answer answer; /* with also: real */
	enum conf_block block;
	enum conf_filter filter;
	struct ip_addr *addresses; /* answer: local */
	size_t n_addresses;
	char *cname;		     /* NULL: none */
	struct conf_record *records; /* without "name" */
	size_t n_records;
	int egress, upstream; /* upstream is filled in from the egress, then from `default`; -1 for
				 block, local and also, and for fake if there are no upstreams and
				 none is needed */
	struct conf_set *sets;
	size_t n_sets;
	struct conf_set_ttl set_ttl;
	enum conf_push push;
	unsigned push_timeout_ms; /* 50 */
	enum conf_on_error on_error;
	enum conf_conntrack conntrack;
	struct conf_check *checks; /* of a real answer */
	size_t n_checks;
	bool carry; /* a real answer whose egress is a proxy or has a mark */
	struct conf_ttl ttl;
	bool cache;
	enum conf_rebind rebind; /* the upstream's unless written */
	bool rebind_set;
	struct conf_unless *unless;
	size_t n_unless;
	unsigned line, column;
};

struct config {
	char *path; /* as given */
	struct conf_gateway gateway;
	struct conf_endpoint *listen;
	size_t n_listen;
	struct conf_fakeip fakeip;
	struct conf_leases leases;
	struct conf_upstream *upstreams;
	size_t n_upstreams;
	struct conf_cache cache;
	struct conf_egress *egresses;
	size_t n_egresses;
	struct conf_list *lists;
	size_t n_lists;
	struct conf_clients *clients;
	size_t n_clients;
	struct conf_records records;
	unsigned builtin; /* bits: enum conf_builtin */
	struct conf_rule *rules;
	size_t n_rules;
	int default_upstream; /* for names that no rule takes; -1 only if there are no upstreams */
	char *control_socket;
	unsigned control_line, control_column; /* of the path; 0: it is the default */
	unsigned control_mode;
	char *control_group; /* NULL: none */
	int log_level;	     /* enum log_level */
	void *arena;
};

#endif
