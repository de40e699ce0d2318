#include "netlink/set_literal.h"

#include "gateway/base/addr.h"

#include <arpa/inet.h>
#include <errno.h>
#include <net/if.h>
#include <netdb.h>
#include <stdlib.h>
#include <string.h>

#define LITERAL_MAX 255

struct name {
	const char *text;
	uint16_t number;
};

static const struct name protocols[] = {{"icmp", 1}, {"igmp", 2}, {"tcp", 6}, {"udp", 17},
	{"dccp", 33}, {"ipv6", 41}, {"gre", 47}, {"esp", 50}, {"ah", 51}, {"icmpv6", 58},
	{"ipv6-icmp", 58}, {"comp", 108}, {"sctp", 132}, {"udplite", 136}, {NULL, 0}};
static const struct name nfprotos[] = {{"ipv4", 2}, {"ipv6", 10}, {NULL, 0}};
static const struct name ethertypes[] = {
	{"ip", 0x0800}, {"arp", 0x0806}, {"vlan", 0x8100}, {"ip6", 0x86dd}, {NULL, 0}};
static const struct name booleans[] = {{"missing", 0}, {"exists", 1}, {NULL, 0}};

enum way { AN_ADDRESS, AN_ETHERNET, AN_INTERFACE, A_PORT, A_NUMBER, A_HOST_NUMBER };

static const struct type {
	uint32_t type;
	uint8_t size; /* 0: not told */
	enum way way;
	const char *text;
	const struct name *names;
} types[] = {
	{2, 1, A_NUMBER, "a protocol family", nfprotos},
	{SET_TYPE_INTEGER, 0, A_NUMBER, "a number", NULL},
	{SET_TYPE_IPADDR, 4, AN_ADDRESS, "an IPv4 address", NULL},
	{SET_TYPE_IP6ADDR, 16, AN_ADDRESS, "an IPv6 address", NULL},
	{9, 6, AN_ETHERNET, "an Ethernet address", NULL},
	{10, 2, A_NUMBER, "an Ethernet type", ethertypes},
	{12, 1, A_NUMBER, "a protocol", protocols},
	{13, 2, A_PORT, "a port", NULL},
	{14, 1, A_NUMBER, "an ICMP type", NULL},
	{19, 4, A_HOST_NUMBER, "a mark", NULL},
	{20, 4, A_HOST_NUMBER, "an interface's number", NULL},
	{21, 2, A_HOST_NUMBER, "a hardware type", NULL},
	{22, 4, A_HOST_NUMBER, "a realm", NULL},
	{23, 4, A_HOST_NUMBER, "a priority", NULL},
	{24, 4, A_HOST_NUMBER, "a user's number", NULL},
	{25, 4, A_HOST_NUMBER, "a group's number", NULL},
	{29, 1, A_NUMBER, "an ICMPv6 type", NULL},
	{31, 1, A_NUMBER, "a packet type", NULL},
	{35, 4, A_HOST_NUMBER, "a device group", NULL},
	{36, 1, A_NUMBER, "a DSCP", NULL},
	{37, 1, A_NUMBER, "an ECN", NULL},
	{39, 1, A_NUMBER, "a boolean", booleans},
	{41, IF_NAMESIZE, AN_INTERFACE, "an interface's name", NULL},
	{46, 8, A_HOST_NUMBER, "a control group's number", NULL},
};

static const struct type *type_of(uint32_t type)
{
	for (size_t i = 0; i < sizeof types / sizeof types[0]; i++)
		if (types[i].type == type)
			return &types[i];
	return NULL;
}

uint8_t set_type_size(uint32_t type)
{
	const struct type *t = type_of(type);

	return t ? t->size : 0;
}

const char *set_type_text(uint32_t type)
{
	const struct type *t = type_of(type);

	return t ? t->text : NULL;
}

/* --- literals --- */

/* Decimal or 0x. */
static int number_read(const char *text, uint8_t size, uint64_t *ret)
{
	bool hex = text[0] == '0' && (text[1] == 'x' || text[1] == 'X');
	static const char digits[] = "0123456789abcdefABCDEF";
	uint64_t max = size >= 8 ? UINT64_MAX : (1ULL << size * 8) - 1;

	text += hex ? 2 : 0;
	if (!*text || text[strspn(text, hex ? digits : "0123456789")])
		return -EINVAL;
	errno = 0;
	*ret = strtoull(text, NULL, hex ? 16 : 10);
	return errno || *ret > max ? -EINVAL : 0;
}

static void number_write(uint64_t number, uint8_t size, bool host_order, uint8_t *ret)
{
	bool little = host_order && __BYTE_ORDER == __LITTLE_ENDIAN;

	for (unsigned i = 0; i < size; i++)
		ret[i] = (uint8_t)(number >> (little ? i : size - 1 - i) * 8);
}

static int named_number_write(const struct name *names, const struct set_field *field,
	bool host_order, const char *text, uint8_t *ret)
{
	uint64_t number;

	for (; names && names->text; names++)
		if (strcmp(names->text, text) == 0) {
			number_write(names->number, field->size, host_order, ret);
			return 0;
		}
	if (field->size > 8 || number_read(text, field->size, &number))
		return -EINVAL;
	number_write(number, field->size, host_order, ret);
	return 0;
}

/* A number, or a service of /etc/services. */
static int port_write(const char *text, uint8_t *ret)
{
	struct servent entry, *found = NULL;
	uint64_t number;
	char buf[2048];

	if (number_read(text, 2, &number)) {
		if (getservbyname_r(text, NULL, &entry, buf, sizeof buf, &found) || !found)
			return -EINVAL;
		number = ntohs((uint16_t)found->s_port);
	}
	number_write(number, 2, false, ret);
	return 0;
}

static int address_write(const char *text, uint8_t size, uint8_t *ret)
{
	struct ip_addr a;

	if (ip_addr_parse(text, &a) || ip_addr_size(&a) != size)
		return -EINVAL;
	memcpy(ret, a.b, size);
	return 0;
}

static int hex_digit(char c)
{
	static const char digits[] = "0123456789abcdef";
	const char *at = c ? strchr(digits, c | 0x20) : NULL;

	return at ? (int)(at - digits) : -1;
}

/* Six times two digits, separated by colons. */
static int ethernet_write(const char *text, uint8_t *ret)
{
	if (strlen(text) != 17)
		return -EINVAL;
	for (int i = 0; i < 6; i++, text += 3) {
		int high = hex_digit(text[0]), low = hex_digit(text[1]);

		if (high < 0 || low < 0 || text[2] != (i < 5 ? ':' : 0))
			return -EINVAL;
		ret[i] = (uint8_t)(high << 4 | low);
	}
	return 0;
}

/* "lan*" would be all that begin so: an interval, which no single element is. */
static int interface_write(const char *text, uint8_t *ret)
{
	size_t len = strlen(text);

	if (len == 0 || len >= IF_NAMESIZE || text[len - 1] == '*' || strchr(text, '/'))
		return -EINVAL;
	(void)strncpy((char *)ret, text, IF_NAMESIZE); /* zeros behind it */
	return 0;
}

static int typed_write(
	const struct type *t, const struct set_field *field, const char *text, uint8_t *ret)
{
	if (t->size && t->size != field->size)
		return -EINVAL;
	switch (t->way) {
	case AN_ADDRESS:
		return address_write(text, field->size, ret);
	case AN_ETHERNET:
		return ethernet_write(text, ret);
	case AN_INTERFACE:
		return interface_write(text, ret);
	case A_PORT:
		return port_write(text, ret);
	case A_NUMBER:
		return named_number_write(
			t->names, field, field->host_order && !field->network_order, text, ret);
	case A_HOST_NUMBER:
		return named_number_write(t->names, field, !field->network_order, text, ret);
	}
	return -EINVAL;
}

int set_literal_write(const struct set_field *field, const char *text, size_t len, uint8_t *ret)
{
	/* What a field of a size can be, where no type tells: the first that the literal is. */
	static const uint32_t guesses[] = {
		SET_TYPE_IPADDR, SET_TYPE_IP6ADDR, 9, 13, 12, SET_TYPE_INTEGER, 41};
	const struct type *t = type_of(field->type);
	char copy[LITERAL_MAX + 1];

	if (len > LITERAL_MAX || (!t && field->type != SET_TYPE_NONE))
		return -EINVAL;
	memcpy(copy, text, len);
	copy[len] = 0;
	if (t)
		return typed_write(t, field, copy, ret);
	for (size_t i = 0; i < sizeof guesses / sizeof guesses[0]; i++)
		if (typed_write(type_of(guesses[i]), field, copy, ret) == 0)
			return 0;
	return -EINVAL;
}
