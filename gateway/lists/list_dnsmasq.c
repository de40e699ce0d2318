/* dnsmasq's configuration: the names between the slashes of `server=/a/b/ADDRESS` and its like. */
#include "gateway/lists/lists_internal.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* Those that a list has no use for, sorted; of version 2.90, and what older and newer ones have
 * besides. A word that is not among them is a mistake that dnsmasq would not take either. */
static const char *const options[] = {"add-cpe-id", "add-mac", "add-subnet", "addn-hosts", "alias",
	"all-servers", "auth-peer", "auth-sec-servers", "auth-server", "auth-soa", "auth-ttl",
	"auth-zone", "bind-dynamic", "bind-interfaces", "bogus-priv", "bootp-dynamic",
	"bridge-interface", "caa-record", "cache-rr", "cache-size", "clear-on-reload", "cname",
	"conf-dir", "conf-file", "conf-script", "connmark-allowlist", "connmark-allowlist-enable",
	"conntrack", "dhcp-alternate-port", "dhcp-authoritative", "dhcp-boot", "dhcp-broadcast",
	"dhcp-circuitid", "dhcp-client-update", "dhcp-duid", "dhcp-fqdn", "dhcp-generate-names",
	"dhcp-host", "dhcp-hostsdir", "dhcp-hostsfile", "dhcp-ignore", "dhcp-ignore-clid",
	"dhcp-ignore-names", "dhcp-lease-max", "dhcp-leasefile", "dhcp-luascript", "dhcp-mac",
	"dhcp-match", "dhcp-name-match", "dhcp-no-override", "dhcp-option", "dhcp-option-force",
	"dhcp-option-pxe", "dhcp-optsdir", "dhcp-optsfile", "dhcp-proxy", "dhcp-pxe-vendor",
	"dhcp-range", "dhcp-rapid-commit", "dhcp-relay", "dhcp-remoteid", "dhcp-reply-delay",
	"dhcp-script", "dhcp-scriptuser", "dhcp-sequential-ip", "dhcp-split-relay", "dhcp-subscrid",
	"dhcp-ttl", "dhcp-userclass", "dhcp-vendorclass", "dns-forward-max", "dns-loop-detect",
	"dns-rr", "dnssec", "dnssec-check-unsigned", "dnssec-debug", "dnssec-limits",
	"dnssec-no-timecheck", "dnssec-timestamp", "do-0x20-encode", "domain", "domain-needed",
	"domain-suffix", "dumpfile", "dumpmask", "dynamic-host", "edns-packet-max", "enable-dbus",
	"enable-ra", "enable-tftp", "enable-ubus", "except-interface", "expand-hosts",
	"fast-dns-retry", "filter-A", "filter-AAAA", "filter-rr", "filterwin2k", "group",
	"host-record", "hostsdir", "ignore-address", "interface", "interface-name",
	"keep-in-foreground", "leasefile-ro", "leasequery", "listen-address", "local-service",
	"local-ttl", "localise-queries", "localmx", "log-async", "log-debug", "log-dhcp",
	"log-facility", "log-malloc", "log-queries", "max-cache-ttl", "max-port",
	"max-tcp-connections", "max-ttl", "min-cache-ttl", "min-port", "mx-host", "mx-target",
	"naptr-record", "neg-ttl", "no-0x20-encode", "no-daemon", "no-dhcp-interface",
	"no-dhcpv4-interface", "no-dhcpv6-interface", "no-hosts", "no-ident", "no-negcache",
	"no-ping", "no-poll", "no-resolv", "no-round-robin", "pid-file", "port", "port-limit",
	"proxy-dnssec", "ptr-record", "pxe-prompt", "pxe-service", "query-port", "quiet-dhcp",
	"quiet-dhcp6", "quiet-ra", "quiet-tftp", "ra-param", "read-ethers", "rebind-domain-ok",
	"rebind-localhost-ok", "resolv-file", "rev-server", "script-arp", "script-on-renewal",
	"selfmx", "servers-file", "shared-network", "srv-host", "stop-dns-rebind", "strict-order",
	"strip-mac", "strip-subnet", "synth-domain", "tag-if", "tftp-lowercase", "tftp-max",
	"tftp-mtu", "tftp-no-blocksize", "tftp-no-fail", "tftp-port-range", "tftp-root",
	"tftp-secure", "tftp-single-port", "tftp-unique-root", "trust-anchor", "txt-record",
	"umbrella", "use-stale-cache", "user"};

struct word {
	const char *at;
	size_t len;
};

static int option_compare(const void *key, const void *entry)
{
	const struct word *word = key;
	const char *option = *(const char *const *)entry;
	int order = strncmp(word->at, option, word->len);

	return order || !option[word->len] ? order : -1;
}

static bool is_option(const struct word *key)
{
	return bsearch(key, options, sizeof options / sizeof *options, sizeof *options,
		       option_compare) != NULL;
}

/* One name of a line. Leading dots say nothing; "#" is every name; "*x" every one that ends with
 * x, which need not be a label. */
static int name_read(struct list_reader *r, enum list_part part, const char *text, size_t len)
{
	static const struct dns_name root = {.b = {0}, .len = 1};

	if (len == 1 && (*text == '#' || *text == '*'))
		return list_emit_dns_name(r, part, MATCHER_SUFFIX, &root);
	if (len > 1 && *text == '*')
		return list_emit_ending(r, part, text + 1, len - 1);
	while (len > 0 && *text == '.') {
		text++;
		len--;
	}
	if (len == 0) { /* "//": names without a dot */
		list_unused(r);
		return 0;
	}
	return list_emit_name(r, part, MATCHER_SUFFIX, text, len);
}

/* `/a/b/VALUE`. Names given to the usual servers are those that this list does not hold. */
static int names_read(struct list_reader *r, const struct word *value, bool is_server)
{
	const char *at = value->at + 1, *end = value->at + value->len;
	const char *last = memrchr(value->at, '/', value->len);
	enum list_part part = LIST_HOLDS;
	int err = 0;

	if (last == value->at) {
		list_bad_at(r, value->at, "no slash behind the name");
		return 0;
	}
	if (is_server && end - last == 2 && last[1] == '#')
		part = LIST_EXCEPT_CLOSER;
	while (at <= last && !err) {
		const char *slash = memchr(at, '/', (size_t)(end - at));

		err = name_read(r, part, at, (size_t)(slash - at));
		at = slash + 1;
	}
	return err;
}

static int bogus_read(struct list_reader *r, const struct word *value)
{
	struct ip_prefix prefix;

	if (list_prefix_parse(value->at, value->len, &prefix)) {
		list_bad_at(r, value->at, "neither an address nor a prefix");
		return 0;
	}
	return list_emit_prefix(r, &prefix);
}

static bool is_key(const struct word *key, const char *name)
{
	return key->len == strlen(name) && memcmp(key->at, name, key->len) == 0;
}

static int option_read(struct list_reader *r, const struct word *key, const struct word *value)
{
	bool is_server = is_key(key, "server") || is_key(key, "local");

	if (is_key(key, "bogus-nxdomain"))
		return bogus_read(r, value);
	if (is_server || is_key(key, "address") || is_key(key, "ipset") || is_key(key, "nftset")) {
		if (value->len > 0 && *value->at == '/')
			return names_read(r, value, is_server);
		if (is_server) /* for all names */
			list_unused(r);
		else
			list_bad_at(r, value->at, "no name between slashes");
	} else if (is_option(key)) {
		list_unused(r);
	} else {
		list_bad(r, 1, "not an option of dnsmasq");
	}
	return 0;
}

int list_dnsmasq_line(struct list_reader *r, char *line, size_t len)
{
	struct word key = {line, 0}, value = {"", 0};
	const char *equals, *end;

	len = list_comment_cut(line, len);
	if (len == 0)
		return 0;
	end = line + len;
	equals = memchr(line, '=', len);
	if (equals) {
		value.at = equals + 1;
		while (value.at < end && list_is_blank(*value.at))
			value.at++;
		value.len = (size_t)(end - value.at);
	}
	key.len = equals ? (size_t)(equals - line) : len;
	while (key.len > 0 && list_is_blank(line[key.len - 1]))
		key.len--;
	return option_read(r, &key, &value);
}
