#include "gateway/egress/socks5.h"
#include "gateway/base/wire.h"

#include <errno.h>
#include <string.h>

enum { VERSION = 5, AUTH_VERSION = 1, NO_METHOD = 0xff };
enum { ATYP_V4 = 1, ATYP_NAME = 3, ATYP_V6 = 4 };

size_t socks5_greeting_write(bool with_user, uint8_t buf[SOCKS5_GREETING_MAX])
{
	buf[0] = VERSION;
	buf[1] = with_user ? 2 : 1;
	buf[2] = SOCKS5_METHOD_NONE;
	buf[3] = SOCKS5_METHOD_USER;
	return with_user ? 4 : 3;
}

int socks5_method_parse(const uint8_t b[2], bool with_user)
{
	if (b[0] != VERSION)
		return -EPROTO;
	if (b[1] == SOCKS5_METHOD_NONE || (with_user && b[1] == SOCKS5_METHOD_USER))
		return b[1];
	return b[1] == NO_METHOD ? -EACCES : -EPROTO;
}

static size_t text_write(const char *text, uint8_t *buf)
{
	size_t len = strnlen(text, 255);

	buf[0] = (uint8_t)len;
	memcpy(buf + 1, text, len);
	return 1 + len;
}

size_t socks5_auth_write(const char *user, const char *password, uint8_t buf[SOCKS5_AUTH_MAX])
{
	size_t n = 1;

	buf[0] = AUTH_VERSION;
	n += text_write(user, buf + n);
	return n + text_write(password, buf + n);
}

int socks5_auth_parse(const uint8_t b[2])
{
	/* Servers are known that say 5 here. */
	if (b[0] != AUTH_VERSION && b[0] != VERSION)
		return -EPROTO;
	return b[1] ? -EACCES : 0;
}

static size_t address_write(const char *host, const struct ip_port *at, uint8_t *buf)
{
	size_t n;

	if (host[0]) {
		buf[0] = ATYP_NAME;
		n = 1 + text_write(host, buf + 1);
	} else if (at->addr.family == IP_V6) {
		buf[0] = ATYP_V6;
		memcpy(buf + 1, at->addr.b, 16);
		n = 17;
	} else { /* nobody's address is 0.0.0.0 */
		buf[0] = ATYP_V4;
		memcpy(buf + 1, at->addr.b, 4);
		n = 5;
	}
	wire_put16(buf + n, at->port);
	return n + 2;
}

size_t socks5_request_write(enum socks5_command command, const char *host, const struct ip_port *at,
	uint8_t buf[SOCKS5_REQUEST_MAX])
{
	buf[0] = VERSION;
	buf[1] = (uint8_t)command;
	buf[2] = 0;
	return 3 + address_write(host, at, buf + 3);
}

size_t socks5_header_write(
	const char *host, const struct ip_port *at, uint8_t buf[SOCKS5_HEADER_MAX])
{
	memset(buf, 0, 3);
	return 3 + address_write(host, at, buf + 3);
}

/* Length of what begins with an ATYP byte; 0 while it is not known, -EPROTO. */
static int address_length(const uint8_t *b, size_t len)
{
	if (len == 0)
		return 0;
	switch (b[0]) {
	case ATYP_V4:
		return 1 + 4 + 2;
	case ATYP_V6:
		return 1 + 16 + 2;
	case ATYP_NAME:
		return len < 2 ? 0 : 1 + 1 + b[1] + 2;
	default:
		return -EPROTO;
	}
}

static void address_read(const uint8_t *b, size_t len, struct socks5_address *ret)
{
	memset(&ret->at, 0, sizeof ret->at);
	ret->host[0] = 0;
	if (b[0] == ATYP_V4) {
		ret->at.addr = ip_addr_v4(b + 1);
	} else if (b[0] == ATYP_V6) {
		ret->at.addr = ip_addr_v6(b + 1);
	} else {
		memcpy(ret->host, b + 2, b[1]);
		ret->host[b[1]] = 0;
	}
	ret->at.port = wire_get16(b + len - 2);
}

int socks5_reply_error(uint8_t code)
{
	switch (code) {
	case 0:
		return 0;
	case 2: /* not allowed by ruleset */
		return -EACCES;
	case 3:
		return -ENETUNREACH;
	case 5:
		return -ECONNREFUSED;
	case 6: /* TTL expired */
		return -ETIMEDOUT;
	case 7: /* command not supported */
	case 8: /* address type not supported */
		return -EOPNOTSUPP;
	default: /* 1 general failure, 4 host unreachable, unassigned ones */
		return -EHOSTUNREACH;
	}
}

int socks5_reply_parse(const uint8_t *b, size_t len, struct socks5_address *ret_bound)
{
	int n;

	if (len > 0 && b[0] != VERSION)
		return -EPROTO;
	if (len > 1 && b[1])
		return socks5_reply_error(b[1]);
	n = address_length(b + 3, len > 3 ? len - 3 : 0);
	if (n < 0)
		return n;
	if (n == 0) /* the shortest reply, that with a name of no bytes, has seven */
		return (int)(7 - len);
	if (len < 3 + (size_t)n)
		return (int)(3 + (size_t)n - len);
	address_read(b + 3, (size_t)n, ret_bound);
	return 0;
}

int socks5_header_parse(const uint8_t *b, size_t len, struct socks5_address *ret_from)
{
	int n;

	if (len < 4)
		return -EPROTO;
	if (b[2])
		return -EOPNOTSUPP;
	n = address_length(b + 3, len - 3);
	if (n <= 0 || len < 3 + (size_t)n)
		return -EPROTO;
	address_read(b + 3, (size_t)n, ret_from);
	return 3 + n;
}
