/* Addresses as the whole house passes them: one type for both families, in network byte order.
 * Pure; any thread. A v4-mapped IPv6 address never occurs here: ip_addr_v6(), through which all
 * that come from outside pass, makes it the IPv4 address that it means. */
#ifndef TUNGATE_BASE_ADDR_H
#define TUNGATE_BASE_ADDR_H

#include <netinet/in.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum ip_family { IP_NONE = 0, IP_V4 = 4, IP_V6 = 6 };

struct ip_addr {
	uint8_t b[16];	/* IPv4 in the first four, the rest zero */
	uint8_t family; /* enum ip_family */
};

struct ip_prefix {
	struct ip_addr addr; /* host bits are zero */
	uint8_t len;	     /* bits */
};

struct ip_port {
	struct ip_addr addr;
	uint16_t port;	/* host order */
	uint32_t scope; /* interface index of a link-local address, else 0 */
};

/* Longest text: "[v6%scope]:port" with its NUL. */
#define IP_TEXT_MAX 72

struct ip_addr ip_addr_v4(const void *four_bytes);
struct ip_addr ip_addr_v6(const void *sixteen_bytes);	   /* a v4-mapped one comes back as v4 */
struct ip_addr ip_addr_of(const void *bytes, size_t size); /* 4 or 16, as ip_addr_size() has it */
size_t ip_addr_size(const struct ip_addr *a);		   /* 4, 16, or 0 for IP_NONE */
bool ip_addr_equal(const struct ip_addr *a, const struct ip_addr *b);
bool ip_addr_is_among(const struct ip_addr *a, const struct ip_addr *v, size_t n);
bool ip_addr_is_loopback(const struct ip_addr *a);
bool ip_addr_is_link_local(const struct ip_addr *a);
/* RFC 1918, the shared space of RFC 6598, unique local ones (RFC 4193). */
bool ip_addr_is_private(const struct ip_addr *a);
uint64_t ip_addr_hash(const struct ip_addr *a);

/* Text to value: 0, or -EINVAL. The whole string must be the value. */
int ip_addr_parse(const char *text, struct ip_addr *ret);
int ip_prefix_parse(const char *text,
	struct ip_prefix *ret); /* a bare address is /32 or /128; host bits set: -ERANGE */
/* "127.0.0.1:53", "[::1]:53", a bare address takes default_port. "%eth0" behind a link-local IPv6
 * address is looked up. */
int ip_port_parse(const char *text, uint16_t default_port, struct ip_port *ret);

/* Value to text in buf[IP_TEXT_MAX]; returns buf. */
const char *ip_addr_format(const struct ip_addr *a, char *buf);
const char *ip_prefix_format(const struct ip_prefix *p, char *buf);
const char *ip_port_format(const struct ip_port *p, char *buf);

bool ip_prefix_contains(const struct ip_prefix *p, const struct ip_addr *a);
bool ip_prefix_overlaps(const struct ip_prefix *a, const struct ip_prefix *b);

/* To and from the kernel's form. Length of the sockaddr is returned; 0 for IP_NONE. */
socklen_t ip_port_to_sockaddr(const struct ip_port *p, struct sockaddr_storage *ret);
void ip_port_from_sockaddr(const struct sockaddr *sa, struct ip_port *ret);

#endif
