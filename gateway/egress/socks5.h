/* SOCKS5 on the wire (RFC 1928, RFC 1929): what we send and what comes back, bytes to values. Pure;
 * any thread. An answer is never read further than it goes: what follows a reply is the far end's.
 */
#ifndef TUNGATE_EGRESS_SOCKS5_H
#define TUNGATE_EGRESS_SOCKS5_H

#include "gateway/base/addr.h"

#define SOCKS5_NAME_MAX	    255
#define SOCKS5_GREETING_MAX 4
#define SOCKS5_AUTH_MAX	    (3 + 255 + 255)
#define SOCKS5_REQUEST_MAX  (4 + 1 + SOCKS5_NAME_MAX + 2)
#define SOCKS5_REPLY_MAX    SOCKS5_REQUEST_MAX
#define SOCKS5_HEADER_MAX   SOCKS5_REQUEST_MAX

enum socks5_command { SOCKS5_CONNECT = 1, SOCKS5_UDP_ASSOCIATE = 3 };
enum socks5_method { SOCKS5_METHOD_NONE = 0, SOCKS5_METHOD_USER = 2 };

/* Writers return the length. */
size_t socks5_greeting_write(bool with_user, uint8_t buf[SOCKS5_GREETING_MAX]);
/* user and password: at most 255 bytes each. */
size_t socks5_auth_write(const char *user, const char *password, uint8_t buf[SOCKS5_AUTH_MAX]);
/* host "": by address; else by name, at most SOCKS5_NAME_MAX bytes, and at's port. */
size_t socks5_request_write(enum socks5_command command, const char *host, const struct ip_port *at,
	uint8_t buf[SOCKS5_REQUEST_MAX]);
size_t socks5_header_write(
	const char *host, const struct ip_port *at, uint8_t buf[SOCKS5_HEADER_MAX]);

/* The method that the proxy chose; -EACCES: none of ours; -EPROTO. */
int socks5_method_parse(const uint8_t b[2], bool with_user);
int socks5_auth_parse(const uint8_t b[2]); /* 0, -EACCES, -EPROTO */

struct socks5_address {
	struct ip_port at;		/* family IP_NONE: a name, its port counts in both cases */
	char host[SOCKS5_NAME_MAX + 1]; /* "" for an address */
};

/* 0: a whole reply, and it says yes. n > 0: n bytes more belong to it at least. Else what the proxy
 * says is wrong, told as soon as it is known (whose: see egress.h), or -EPROTO. */
int socks5_reply_parse(const uint8_t *b, size_t len, struct socks5_address *ret_bound);
int socks5_reply_error(uint8_t code); /* RFC 1928 6 */

/* A datagram's header: its length, or -EPROTO; -EOPNOTSUPP: a fragment (RFC 1928 7: to be dropped).
 */
int socks5_header_parse(const uint8_t *b, size_t len, struct socks5_address *ret_from);

#endif
