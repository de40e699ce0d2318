/* Readers of single values of the network: addresses, pools, URLs, record types. */
#include "conf/options.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

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
