#include "gateway/dns/message.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

static const struct {
	uint16_t type;
	const char name[11];
} names[] = {
	{DNS_A, "A"},
	{DNS_AAAA, "AAAA"},
	{DNS_HTTPS, "HTTPS"},
	{DNS_PTR, "PTR"},
	{DNS_CNAME, "CNAME"},
	{DNS_NS, "NS"},
	{DNS_SOA, "SOA"},
	{DNS_MX, "MX"},
	{DNS_TXT, "TXT"},
	{DNS_SRV, "SRV"},
	{DNS_SVCB, "SVCB"},
	{DNS_OPT, "OPT"},
	{DNS_ANY, "ANY"},
	{13, "HINFO"},
	{14, "MINFO"},
	{17, "RP"},
	{18, "AFSDB"},
	{24, "SIG"},
	{25, "KEY"},
	{29, "LOC"},
	{35, "NAPTR"},
	{36, "KX"},
	{37, "CERT"},
	{DNS_DNAME, "DNAME"},
	{42, "APL"},
	{43, "DS"},
	{44, "SSHFP"},
	{45, "IPSECKEY"},
	{46, "RRSIG"},
	{47, "NSEC"},
	{48, "DNSKEY"},
	{49, "DHCID"},
	{50, "NSEC3"},
	{51, "NSEC3PARAM"},
	{52, "TLSA"},
	{53, "SMIMEA"},
	{55, "HIP"},
	{59, "CDS"},
	{60, "CDNSKEY"},
	{61, "OPENPGPKEY"},
	{62, "CSYNC"},
	{63, "ZONEMD"},
	{99, "SPF"},
	{108, "EUI48"},
	{109, "EUI64"},
	{249, "TKEY"},
	{250, "TSIG"},
	{251, "IXFR"},
	{252, "AXFR"},
	{253, "MAILB"},
	{254, "MAILA"},
	{256, "URI"},
	{DNS_CAA, "CAA"},
};

const char *dns_type_format(uint16_t type, char *buf)
{
	const char *name = NULL;

	for (size_t i = 0; i < sizeof names / sizeof *names && !name; i++) {
		if (names[i].type == type)
			name = names[i].name;
	}
	if (name)
		snprintf(buf, 16, "%s", name);
	else
		snprintf(buf, 16, "TYPE%u", type);
	return buf;
}

int dns_type_parse(const char *text, uint16_t *ret)
{
	unsigned value = 0;

	for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
		if (strcasecmp(names[i].name, text) == 0) {
			*ret = names[i].type;
			return 0;
		}
	}
	if (strncasecmp(text, "TYPE", 4) != 0 || !text[4])
		return -EINVAL;
	for (text += 4; *text; text++) {
		if (*text < '0' || *text > '9')
			return -EINVAL;
		value = value * 10 + (unsigned)(*text - '0');
		if (value > 65535)
			return -EINVAL;
	}
	*ret = (uint16_t)value;
	return 0;
}
