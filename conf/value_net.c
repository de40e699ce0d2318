/* Readers of single values of the network: addresses, pools, URLs, record types, kernel sets. */
#include "conf/options.h"

#include <errno.h>
#include <linux/netfilter.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

enum { SET_NAME_MAX = 255, IPSET_NAME_MAX = 31 };

/* "a.b.c.d/n" whose host bits are set, with these cleared; NULL if it is no such thing. */
static const char *network_text(struct conf_reader *r, const char *text)
{
	const char *slash = strchr(text, '/');
	char buf[IP_TEXT_MAX], *host;
	struct ip_prefix p;
	unsigned long len;

	if (!slash)
		return NULL;
	host = arena_strndup(r->scratch, text, (size_t)(slash - text));
	if (!host || ip_addr_parse(host, &p.addr))
		return NULL;
	len = strtoul(slash + 1, NULL, 10);
	if (len > ip_addr_size(&p.addr) * 8)
		return NULL;
	p.len = (uint8_t)len;
	for (unsigned bit = p.len; bit < ip_addr_size(&p.addr) * 8; bit++)
		p.addr.b[bit / 8] &= (uint8_t) ~(0x80 >> bit % 8);
	return arena_strdup(r->scratch, ip_prefix_format(&p, buf));
}

static int prefix_read(struct conf_reader *r, const struct conf_option *o,
	const struct conf_node *node, const char *text, void *ret)
{
	int err = ip_prefix_parse(text, ret);
	const char *network = err == -ERANGE ? network_text(r, text) : NULL;

	(void)o, (void)node;
	if (!err)
		return 0;
	if (network)
		return conf_wrong(
			r, "%s has host bits set, the network is %s", conf_quote(r, text), network);
	return conf_wrong(r, "%s is not an address or a network", conf_quote(r, text));
}

const struct conf_type conf_type_prefix = {"network", "ADDRESS or NETWORK/LENGTH, IPv4 or IPv6",
	sizeof(struct ip_prefix), NULL, .read = prefix_read};

static int ecs_read(struct conf_reader *r, const struct conf_option *o,
	const struct conf_node *node, const char *text, void *ret)
{
	if (strcmp(text, "strip") != 0)
		return prefix_read(r, o, node, text, ret);
	*(struct ip_prefix *)ret = (struct ip_prefix){0};
	return 0;
}

const struct conf_type conf_type_ecs = {"network", "strip, ADDRESS or NETWORK/LENGTH",
	sizeof(struct ip_prefix), NULL, .read = ecs_read};

static int address_read(struct conf_reader *r, const struct conf_option *o,
	const struct conf_node *node, const char *text, void *ret)
{
	(void)o, (void)node;
	return ip_addr_parse(text, ret) ? conf_wrong(r, "%s is not an address", conf_quote(r, text))
					: 0;
}

const struct conf_type conf_type_address = {
	"address", "an address, IPv4 or IPv6", sizeof(struct ip_addr), NULL, .read = address_read};

static int pool_read(struct conf_reader *r, const struct conf_option *o, const char *text,
	uint8_t family, unsigned len_min, unsigned len_max, struct ip_prefix *ret)
{
	struct ip_prefix p;
	int err;

	if (strcasecmp(text, "off") == 0) {
		*ret = (struct ip_prefix){0};
		return 0;
	}
	err = prefix_read(r, o, NULL, text, &p);
	if (err)
		return err;
	if (p.addr.family != family)
		return conf_wrong(r, "%s is not IPv%u", conf_quote(r, text), family);
	if (p.len < len_min || p.len > len_max)
		return conf_wrong(r, "the length of %s is not %u to %u", conf_quote(r, text),
			len_min, len_max);
	*ret = p;
	return 0;
}

static int pool4_read(struct conf_reader *r, const struct conf_option *o,
	const struct conf_node *node, const char *text, void *ret)
{
	(void)node;
	return pool_read(r, o, text, IP_V4, 8, 30, ret);
}

const struct conf_type conf_type_pool4 = {"network", "an IPv4 network from /8 to /30, off",
	sizeof(struct ip_prefix), NULL, .read = pool4_read};

static int pool6_read(struct conf_reader *r, const struct conf_option *o,
	const struct conf_node *node, const char *text, void *ret)
{
	(void)node;
	return pool_read(r, o, text, IP_V6, 16, 120, ret);
}

const struct conf_type conf_type_pool6 = {"network", "an IPv6 network from /16 to /120, off",
	sizeof(struct ip_prefix), NULL, .read = pool6_read};

bool conf_address_is_any(const struct ip_addr *a)
{
	static const uint8_t zero[16];

	return memcmp(a->b, zero, sizeof zero) == 0;
}

static bool is_multicast(const struct ip_addr *a)
{
	return a->family == IP_V4 ? (a->b[0] & 0xf0) == 0xe0 : a->b[0] == 0xff;
}

int conf_address_check(struct conf_reader *r, const char *text, const struct ip_port *at)
{
	if (is_multicast(&at->addr))
		return conf_wrong(r, "%s is a multicast address", conf_quote(r, text));
	if (at->addr.family == IP_V6 && ip_addr_is_link_local(&at->addr) && !at->scope)
		return conf_wrong(
			r, "%s is a link-local address without its interface", conf_quote(r, text));
	return 0;
}

static int listener_read(struct conf_reader *r, const struct conf_option *o,
	const struct conf_node *node, const char *text, void *ret)
{
	static const struct {
		const char *scheme;
		enum conf_transport transport;
	} schemes[] = {{"udp://", CONF_UDP}, {"tcp://", CONF_TCP}};
	struct conf_endpoint *e = ret;
	const char *rest = NULL;

	(void)o;
	for (size_t i = 0; i < sizeof schemes / sizeof schemes[0] && !rest; i++)
		if (strncasecmp(text, schemes[i].scheme, 6) == 0) {
			e->transport = schemes[i].transport;
			rest = text + 6;
		}
	if (!rest && strstr(text, "://"))
		return conf_wrong(r, "%s has an unknown scheme", conf_quote(r, text));
	if (!rest)
		return conf_wrong(
			r, "%s does not begin with udp:// or tcp://", conf_quote(r, text));
	if (ip_port_parse(rest, 53, &e->at))
		return conf_wrong(r,
			"%s is not a literal address with a port, or its interface "
			"does not exist",
			conf_quote(r, rest));
	if (conf_address_check(r, rest, &e->at))
		return -EINVAL;
	e->url = arena_strdup(r->arena, text);
	e->line = node->line;
	e->column = node->column;
	return e->url ? 0 : -ENOMEM;
}

const struct conf_type conf_type_listener = {"URL",
	"udp://ADDRESS[:PORT], tcp://ADDRESS[:PORT]; IPv6 as [ADDRESS]:PORT, link-local ones with "
	"%INTERFACE",
	sizeof(struct conf_endpoint), NULL, .read = listener_read};

/* The types that a query may ask for, by the IANA registry. */
static const struct {
	const char *name;
	uint16_t type;
} rrtypes[] = {{"A", 1}, {"NS", 2}, {"CNAME", 5}, {"SOA", 6}, {"PTR", 12}, {"HINFO", 13},
	{"MX", 15}, {"TXT", 16}, {"RP", 17}, {"AFSDB", 18}, {"SIG", 24}, {"KEY", 25}, {"AAAA", 28},
	{"LOC", 29}, {"SRV", 33}, {"NAPTR", 35}, {"KX", 36}, {"CERT", 37}, {"DNAME", 39},
	{"APL", 42}, {"DS", 43}, {"SSHFP", 44}, {"IPSECKEY", 45}, {"RRSIG", 46}, {"NSEC", 47},
	{"DNSKEY", 48}, {"DHCID", 49}, {"NSEC3", 50}, {"NSEC3PARAM", 51}, {"TLSA", 52},
	{"SMIMEA", 53}, {"HIP", 55}, {"CDS", 59}, {"CDNSKEY", 60}, {"OPENPGPKEY", 61},
	{"CSYNC", 62}, {"ZONEMD", 63}, {"SVCB", 64}, {"HTTPS", 65}, {"SPF", 99}, {"EUI48", 108},
	{"EUI64", 109}, {"IXFR", 251}, {"AXFR", 252}, {"ANY", 255}, {"URI", 256}, {"CAA", 257}};

static int rrtype_read(struct conf_reader *r, const struct conf_option *o,
	const struct conf_node *node, const char *text, void *ret)
{
	(void)o, (void)node;
	for (size_t i = 0; i < sizeof rrtypes / sizeof rrtypes[0]; i++)
		if (strcasecmp(text, rrtypes[i].name) == 0) {
			*(uint16_t *)ret = rrtypes[i].type;
			return 0;
		}
	if (strncasecmp(text, "TYPE", 4) == 0 && text[4] && strlen(text) <= 9 &&
		strspn(text + 4, "0123456789") == strlen(text + 4)) {
		unsigned long type = strtoul(text + 4, NULL, 10);

		if (type > 0 && type <= UINT16_MAX) {
			*(uint16_t *)ret = (uint16_t)type;
			return 0;
		}
	}
	return conf_wrong(r, "%s is not a record type", conf_quote(r, text));
}

const struct conf_type conf_type_rrtype = {"type", "A, AAAA, HTTPS, MX, ... or TYPE1 to TYPE65535",
	sizeof(uint16_t), NULL, .read = rrtype_read};

/* Splits at '#' into at most max parts; returns their number, 0 if there are more. */
static size_t parts_split(char *text, char *parts[], size_t max)
{
	size_t n = 0;

	while (text && n < max) {
		parts[n++] = text;
		text = strchr(text, '#');
		if (text)
			*text++ = 0;
	}
	return text ? 0 : n;
}

static bool is_identifier(const char *text, size_t max)
{
	static const char chars[] =
		"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_.-/\\";
	size_t n = strlen(text);

	return n > 0 && n <= max && strspn(text, chars) == n && !strchr("0123456789.-/\\", text[0]);
}

static int nfproto_read(const char *text, uint8_t *ret)
{
	static const struct {
		const char *name;
		uint8_t nfproto;
	} families[] = {{"inet", NFPROTO_INET}, {"ip", NFPROTO_IPV4}, {"ip6", NFPROTO_IPV6}};

	for (size_t i = 0; i < sizeof families / sizeof families[0]; i++)
		if (strcmp(text, families[i].name) == 0) {
			*ret = families[i].nfproto;
			return 0;
		}
	return -EINVAL;
}

/* dnsmasq's [(6|4)#[FAMILY#]TABLE#SET]; the family of the table is ip if there is none, as for nft.
 */
static int nftset_read(struct conf_reader *r, const struct conf_option *o,
	const struct conf_node *node, const char *text, void *ret)
{
	struct conf_set set = {.nfproto = NFPROTO_IPV4};
	char *copy = arena_strdup(r->arena, text), *all[4], **part = all;
	size_t n;

	(void)o, (void)node;
	if (!copy)
		return -ENOMEM;
	n = parts_split(copy, all, 4);
	if (n && (strcmp(part[0], "4") == 0 || strcmp(part[0], "6") == 0)) {
		set.family = part[0][0] == '4' ? IP_V4 : IP_V6;
		part++;
		n--;
	}
	if (n < 2 || n > 3)
		return conf_wrong(r, "%s is not the name of a set in a table", conf_quote(r, text));
	if (n == 3 && nfproto_read(*part++, &set.nfproto))
		return conf_wrong(r,
			"%s is not a family of tables that is supported: inet, ip, ip6",
			conf_quote(r, part[-1]));
	if (!is_identifier(part[0], SET_NAME_MAX) || !is_identifier(part[1], SET_NAME_MAX))
		return conf_wrong(r, "%s is not a name for nft",
			conf_quote(r, part[is_identifier(part[0], SET_NAME_MAX)]));
	if ((set.family == IP_V4 && set.nfproto == NFPROTO_IPV6) ||
		(set.family == IP_V6 && set.nfproto == NFPROTO_IPV4))
		return conf_wrong(r, "%s puts IPv%u addresses into a table of the family %s%s",
			conf_quote(r, text), set.family, set.nfproto == NFPROTO_IPV6 ? "ip6" : "ip",
			n == 2 ? ", which is the default" : "");
	set.table = part[0];
	set.name = part[1];
	*(struct conf_set *)ret = set;
	return 0;
}

const struct conf_type conf_type_nftset = {"set",
	"4#inet#TABLE#SET, 6#inet#TABLE#SET, inet#TABLE#SET; inet, ip or ip6",
	sizeof(struct conf_set), NULL, .read = nftset_read};

static int ipset_read(struct conf_reader *r, const struct conf_option *o,
	const struct conf_node *node, const char *text, void *ret)
{
	struct conf_set set = {.is_ipset = true};
	const char *name = text;

	(void)o, (void)node;
	if ((text[0] == '4' || text[0] == '6') && text[1] == '#') {
		set.family = text[0] == '4' ? IP_V4 : IP_V6;
		name += 2;
	}
	if (!name[0] || strlen(name) > IPSET_NAME_MAX)
		return conf_wrong(r, "the name of %s has not 1 to %d characters",
			conf_quote(r, text), IPSET_NAME_MAX);
	for (const char *p = name; *p; p++)
		if (*p <= ' ' || *p == 0x7f || strchr("#,=:\"'", *p))
			return conf_wrong(r, "%s is not a name for ipset", conf_quote(r, name));
	set.name = arena_strdup(r->arena, name);
	if (!set.name)
		return -ENOMEM;
	*(struct conf_set *)ret = set;
	return 0;
}

const struct conf_type conf_type_ipset = {
	"set", "SET, 4#SET, 6#SET", sizeof(struct conf_set), NULL, .read = ipset_read};
