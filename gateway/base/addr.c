#include "gateway/base/addr.h"

#include <arpa/inet.h>
#include <errno.h>
#include <net/if.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct ip_addr ip_addr_v4(const void *four_bytes)
{
	struct ip_addr a = {.family = IP_V4};

	memcpy(a.b, four_bytes, 4);
	return a;
}

struct ip_addr ip_addr_v6(const void *sixteen_bytes)
{
	static const uint8_t mapped[12] = {[10] = 0xff, [11] = 0xff};
	struct ip_addr a = {.family = IP_V6};

	if (memcmp(sixteen_bytes, mapped, sizeof mapped) == 0)
		return ip_addr_v4((const uint8_t *)sixteen_bytes + 12);
	memcpy(a.b, sixteen_bytes, 16);
	return a;
}

struct ip_addr ip_addr_of(const void *bytes, size_t size)
{
	return size == 4 ? ip_addr_v4(bytes) : ip_addr_v6(bytes);
}

size_t ip_addr_size(const struct ip_addr *a)
{
	return a->family == IP_V4 ? 4 : a->family == IP_V6 ? 16 : 0;
}

bool ip_addr_equal(const struct ip_addr *a, const struct ip_addr *b)
{
	return a->family == b->family && memcmp(a->b, b->b, sizeof a->b) == 0;
}

bool ip_addr_is_among(const struct ip_addr *a, const struct ip_addr *v, size_t n)
{
	for (size_t i = 0; i < n; i++)
		if (ip_addr_equal(&v[i], a))
			return true;
	return false;
}

bool ip_addr_is_loopback(const struct ip_addr *a)
{
	static const uint8_t loopback6[16] = {[15] = 1};

	if (a->family == IP_V4)
		return a->b[0] == 127;
	return a->family == IP_V6 && memcmp(a->b, loopback6, 16) == 0;
}

bool ip_addr_is_link_local(const struct ip_addr *a)
{
	if (a->family == IP_V4)
		return a->b[0] == 169 && a->b[1] == 254;
	return a->family == IP_V6 && a->b[0] == 0xfe && (a->b[1] & 0xc0) == 0x80;
}

bool ip_addr_is_private(const struct ip_addr *a)
{
	const uint8_t *b = a->b;

	if (a->family == IP_V6)
		return (b[0] & 0xfe) == 0xfc;
	if (a->family != IP_V4)
		return false;
	return b[0] == 10 || (b[0] == 172 && (b[1] & 0xf0) == 16) || (b[0] == 192 && b[1] == 168) ||
	       (b[0] == 100 && (b[1] & 0xc0) == 64);
}

uint64_t ip_addr_hash(const struct ip_addr *a)
{
	uint64_t h, rest;

	/* A product's low bits know nothing of the factor's high ones, and there lie the last bytes
	 * of an address, in which those of one pool differ: fold, and multiply again. */
	memcpy(&h, a->b, 8);
	memcpy(&rest, a->b + 8, 8);
	h = (h ^ a->family) * 0x9e3779b97f4a7c15ULL;
	h = (h ^ h >> 32 ^ rest) * 0xbf58476d1ce4e5b9ULL;
	h = (h ^ h >> 32) * 0x94d049bb133111ebULL;
	return h ^ h >> 32;
}

int ip_addr_parse(const char *text, struct ip_addr *ret)
{
	uint8_t bytes[16];

	if (inet_pton(AF_INET, text, bytes) == 1) {
		*ret = ip_addr_v4(bytes);
		return 0;
	}
	if (inet_pton(AF_INET6, text, bytes) == 1) {
		*ret = ip_addr_v6(bytes);
		return 0;
	}
	return -EINVAL;
}

static int decimal(const char *text, unsigned long max, unsigned long *ret)
{
	char *end;

	if (text[0] < '0' || text[0] > '9')
		return -EINVAL;
	errno = 0;
	*ret = strtoul(text, &end, 10);
	return *end || errno || *ret > max ? -EINVAL : 0;
}

static void mask_bytes(uint8_t *b, size_t size, unsigned len)
{
	for (size_t i = 0; i < size; i++) {
		unsigned keep = len > i * 8 ? len - (unsigned)i * 8 : 0;

		if (keep < 8)
			b[i] &= (uint8_t)(0xff00 >> keep);
	}
}

int ip_prefix_parse(const char *text, struct ip_prefix *ret)
{
	char host[INET6_ADDRSTRLEN];
	const char *slash = strchr(text, '/');
	size_t n = slash ? (size_t)(slash - text) : strlen(text);
	struct ip_prefix p;
	struct ip_addr whole;
	unsigned long len;

	if (n >= sizeof host)
		return -EINVAL;
	memcpy(host, text, n);
	host[n] = 0;
	if (ip_addr_parse(host, &p.addr))
		return -EINVAL;
	len = ip_addr_size(&p.addr) * 8;
	if (slash && decimal(slash + 1, len, &len))
		return -EINVAL;
	p.len = (uint8_t)len;
	whole = p.addr;
	mask_bytes(p.addr.b, ip_addr_size(&p.addr), p.len);
	if (!ip_addr_equal(&whole, &p.addr))
		return -ERANGE;
	*ret = p;
	return 0;
}

int ip_port_parse(const char *text, uint16_t default_port, struct ip_port *ret)
{
	struct ip_port p = {.port = default_port};
	char host[INET6_ADDRSTRLEN + IF_NAMESIZE + 1];
	const char *port = NULL, *end = text + strlen(text);
	unsigned long number;
	char *scope;

	if (text[0] == '[') {
		const char *close = strchr(++text, ']');

		if (!close || (close[1] && close[1] != ':'))
			return -EINVAL;
		port = close[1] ? close + 2 : NULL;
		end = close;
	} else {
		const char *colon = strchr(text, ':');

		/* A second colon means a bare IPv6 address. */
		if (colon && !strchr(colon + 1, ':')) {
			port = colon + 1;
			end = colon;
		}
	}
	if ((size_t)(end - text) >= sizeof host)
		return -EINVAL;
	memcpy(host, text, (size_t)(end - text));
	host[end - text] = 0;
	scope = strchr(host, '%');
	if (scope) {
		*scope++ = 0;
		p.scope = if_nametoindex(scope);
		if (!p.scope)
			return -EINVAL;
	}
	if (ip_addr_parse(host, &p.addr))
		return -EINVAL;
	if (scope && (p.addr.family != IP_V6 || !ip_addr_is_link_local(&p.addr)))
		return -EINVAL;
	if (port) {
		if (decimal(port, 65535, &number) || number == 0)
			return -EINVAL;
		p.port = (uint16_t)number;
	}
	*ret = p;
	return 0;
}

const char *ip_addr_format(const struct ip_addr *a, char *buf)
{
	if (a->family == IP_NONE)
		return memcpy(buf, "none", sizeof "none");
	inet_ntop(a->family == IP_V4 ? AF_INET : AF_INET6, a->b, buf, IP_TEXT_MAX);
	return buf;
}

const char *ip_prefix_format(const struct ip_prefix *p, char *buf)
{
	ip_addr_format(&p->addr, buf);
	if (p->addr.family != IP_NONE) {
		size_t n = strlen(buf);

		snprintf(buf + n, IP_TEXT_MAX - n, "/%u", p->len);
	}
	return buf;
}

const char *ip_port_format(const struct ip_port *p, char *buf)
{
	char text[IP_TEXT_MAX];

	ip_addr_format(&p->addr, text);
	if (p->addr.family == IP_V6 && p->scope)
		snprintf(buf, IP_TEXT_MAX, "[%.46s%%%u]:%u", text, p->scope, p->port);
	else if (p->addr.family == IP_V6)
		snprintf(buf, IP_TEXT_MAX, "[%.46s]:%u", text, p->port);
	else
		snprintf(buf, IP_TEXT_MAX, "%.46s:%u", text, p->port);
	return buf;
}

bool ip_prefix_contains(const struct ip_prefix *p, const struct ip_addr *a)
{
	unsigned full = p->len / 8, rest = p->len % 8;

	if (p->addr.family != a->family || a->family == IP_NONE)
		return false;
	if (memcmp(p->addr.b, a->b, full) != 0)
		return false;
	return rest == 0 || ((p->addr.b[full] ^ a->b[full]) & (0xff00 >> rest) & 0xff) == 0;
}

bool ip_prefix_overlaps(const struct ip_prefix *a, const struct ip_prefix *b)
{
	return a->len <= b->len ? ip_prefix_contains(a, &b->addr) : ip_prefix_contains(b, &a->addr);
}

socklen_t ip_port_to_sockaddr(const struct ip_port *p, struct sockaddr_storage *ret)
{
	memset(ret, 0, sizeof *ret);
	if (p->addr.family == IP_V4) {
		struct sockaddr_in *in = (struct sockaddr_in *)ret;

		in->sin_family = AF_INET;
		in->sin_port = htons(p->port);
		memcpy(&in->sin_addr, p->addr.b, 4);
		return sizeof *in;
	}
	if (p->addr.family == IP_V6) {
		struct sockaddr_in6 *in6 = (struct sockaddr_in6 *)ret;

		in6->sin6_family = AF_INET6;
		in6->sin6_port = htons(p->port);
		in6->sin6_scope_id = p->scope;
		memcpy(&in6->sin6_addr, p->addr.b, 16);
		return sizeof *in6;
	}
	return 0;
}

void ip_port_from_sockaddr(const struct sockaddr *sa, struct ip_port *ret)
{
	memset(ret, 0, sizeof *ret);
	if (sa->sa_family == AF_INET) {
		const struct sockaddr_in *in = (const struct sockaddr_in *)sa;

		ret->addr = ip_addr_v4(&in->sin_addr);
		ret->port = ntohs(in->sin_port);
	} else if (sa->sa_family == AF_INET6) {
		const struct sockaddr_in6 *in6 = (const struct sockaddr_in6 *)sa;

		ret->addr = ip_addr_v6(&in6->sin6_addr);
		ret->port = ntohs(in6->sin6_port);
		if (ret->addr.family == IP_V6 && ip_addr_is_link_local(&ret->addr))
			ret->scope = in6->sin6_scope_id;
	}
}
