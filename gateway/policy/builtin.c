/* Names that have an answer of their own, and never leave the house. */
#include "gateway/policy/policy_internal.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

static const struct {
	enum policy_zone zone;
	enum matcher_kind kind;
	const char *name;
} zones[] = {
	{POLICY_ZONE_LOCALHOST, MATCHER_SUFFIX, "localhost"}, /* RFC 6761 6.3 */
	{POLICY_ZONE_SPECIAL, MATCHER_SUFFIX, "invalid"},     /* RFC 6761 6.4 */
	{POLICY_ZONE_SPECIAL, MATCHER_SUFFIX, "local"},	      /* RFC 6762 22.1 */
	{POLICY_ZONE_SPECIAL, MATCHER_SUFFIX, "onion"},	      /* RFC 7686 2 */
	{POLICY_ZONE_SPECIAL, MATCHER_SUFFIX, "alt"},	      /* RFC 9476 2 */
	{POLICY_ZONE_HOUSE, MATCHER_SUFFIX, "lan"}, {POLICY_ZONE_HOUSE, MATCHER_SUFFIX, "internal"},
	{POLICY_ZONE_HOUSE, MATCHER_SUFFIX, "home.arpa"}, /* RFC 8375 4 */
	/* Browsers take NXDOMAIN for "this network's resolver is to be used". */
	{POLICY_ZONE_CANARY, MATCHER_SUFFIX, "use-application-dns.net"},
	{POLICY_ZONE_RELAY, MATCHER_EXACT, "mask.icloud.com"},
	{POLICY_ZONE_RELAY, MATCHER_EXACT, "mask-h2.icloud.com"},
	{POLICY_ZONE_DDR, MATCHER_SUFFIX, "resolver.arpa"},	 /* RFC 9462 6.4 */
	{POLICY_ZONE_IPV4ONLY, MATCHER_SUFFIX, "ipv4only.arpa"}, /* RFC 8880 7.1 */
	/* RFC 6303 4.1 to 4.6, and RFC 7793 for 100.64/10, below. */
	{POLICY_ZONE_REVERSE, MATCHER_SUFFIX, "10.in-addr.arpa"},
	{POLICY_ZONE_REVERSE, MATCHER_SUFFIX, "168.192.in-addr.arpa"},
	{POLICY_ZONE_REVERSE, MATCHER_SUFFIX, "0.in-addr.arpa"},
	{POLICY_ZONE_REVERSE, MATCHER_SUFFIX, "127.in-addr.arpa"},
	{POLICY_ZONE_REVERSE, MATCHER_SUFFIX, "254.169.in-addr.arpa"},
	{POLICY_ZONE_REVERSE, MATCHER_SUFFIX, "2.0.192.in-addr.arpa"},
	{POLICY_ZONE_REVERSE, MATCHER_SUFFIX, "100.51.198.in-addr.arpa"},
	{POLICY_ZONE_REVERSE, MATCHER_SUFFIX, "113.0.203.in-addr.arpa"},
	{POLICY_ZONE_REVERSE, MATCHER_SUFFIX, "255.255.255.255.in-addr.arpa"},
	{POLICY_ZONE_REVERSE, MATCHER_SUFFIX, /* :: */
		"0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.ip6.arpa"},
	{POLICY_ZONE_REVERSE, MATCHER_SUFFIX, /* ::1 */
		"1.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.ip6.arpa"},
	{POLICY_ZONE_REVERSE, MATCHER_SUFFIX, "d.f.ip6.arpa"},	 /* fd00::/8 */
	{POLICY_ZONE_REVERSE, MATCHER_SUFFIX, "8.e.f.ip6.arpa"}, /* fe80::/10 */
	{POLICY_ZONE_REVERSE, MATCHER_SUFFIX, "9.e.f.ip6.arpa"},
	{POLICY_ZONE_REVERSE, MATCHER_SUFFIX, "a.e.f.ip6.arpa"},
	{POLICY_ZONE_REVERSE, MATCHER_SUFFIX, "b.e.f.ip6.arpa"},
	{POLICY_ZONE_REVERSE, MATCHER_SUFFIX, "8.b.d.0.1.0.0.2.ip6.arpa"}, /* 2001:db8::/32 */
};

static const struct {
	const char *behind;
	unsigned from, to; /* the octet before it */
} reverse_ranges[] = {
	{"172.in-addr.arpa", 16, 31},
	{"100.in-addr.arpa", 64, 127},
};

/* By the order of the bits of enum conf_builtin. */
static bool switched_on(enum policy_zone zone, unsigned bits)
{
	static const unsigned bit[POLICY_ZONES] = {
		[POLICY_ZONE_LOCALHOST] = CONF_BUILTIN_LOCALHOST,
		[POLICY_ZONE_SPECIAL] = CONF_BUILTIN_SPECIAL,
		[POLICY_ZONE_HOUSE] = CONF_BUILTIN_SPECIAL,
		[POLICY_ZONE_CANARY] = CONF_BUILTIN_CANARY,
		[POLICY_ZONE_RELAY] = CONF_BUILTIN_RELAY,
		[POLICY_ZONE_DDR] = CONF_BUILTIN_DDR,
		[POLICY_ZONE_REVERSE] = CONF_BUILTIN_PRIVATE_REVERSE,
		[POLICY_ZONE_IPV4ONLY] = CONF_BUILTIN_IPV4ONLY,
	};

	return bit[zone] & bits;
}

static int zone_add(
	struct matcher_builder *b, enum policy_zone zone, enum matcher_kind kind, const char *text)
{
	struct dns_name name;
	int error = dns_name_parse(text, strlen(text), &name);

	return error ? error : matcher_builder_add(b, zone, kind, &name);
}

int policy_builtin_add(struct matcher_builder *b, unsigned bits)
{
	int error = 0;

	for (unsigned i = 0; i < POLICY_ZONES; i++)
		matcher_builder_keep(b, i);
	for (size_t i = 0; i < sizeof zones / sizeof zones[0] && !error; i++)
		if (switched_on(zones[i].zone, bits))
			error = zone_add(b, zones[i].zone, zones[i].kind, zones[i].name);
	if (!switched_on(POLICY_ZONE_REVERSE, bits))
		return error;
	for (size_t i = 0; i < sizeof reverse_ranges / sizeof reverse_ranges[0]; i++)
		for (unsigned n = reverse_ranges[i].from; n <= reverse_ranges[i].to && !error;
			n++) {
			char text[32];

			(void)snprintf(text, sizeof text, "%u.%s", n, reverse_ranges[i].behind);
			error = zone_add(b, POLICY_ZONE_REVERSE, MATCHER_SUFFIX, text);
		}
	return error;
}
