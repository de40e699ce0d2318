/* HTTP CONNECT on the wire (RFC 9110 9.3.6; RFC 7617 for the user): the request, and the head of
 * the reply as it comes in, in any pieces. Pure; any thread. Nothing of a reply is kept, and no
 * byte behind its head is taken: that is the far end's. */
#ifndef TUNGATE_EGRESS_HTTP_CONNECT_H
#define TUNGATE_EGRESS_HTTP_CONNECT_H

#include "gateway/base/addr.h"

#define HTTP_HEAD_MAX 8192 /* interim replies included */
/* "CONNECT host:port HTTP/1.1", "Host: host:port", "Proxy-Authorization: Basic …" */
#define HTTP_CREDENTIALS_MAX ((255 + 1 + 255 + 2) / 3 * 4 + 1)
#define HTTP_REQUEST_MAX     (2 * (255 + 8) + HTTP_CREDENTIALS_MAX + 100)

/* "user:password" in base64. Longer than 255 bytes each is cut. */
void http_credentials_write(const char *user, const char *password, char ret[HTTP_CREDENTIALS_MAX]);
/* host "": by address. credentials NULL: none. Returns the length; 0: the host has bytes that would
 * not stay within the request line. */
size_t http_request_write(const char *host, const struct ip_port *at, const char *credentials,
	char buf[HTTP_REQUEST_MAX]);

struct http_head { /* zero-initialise */
	uint16_t taken, status;
	uint8_t step, column;
};

/* Takes what belongs to the head: *ret_taken bytes, all of them if there is more to come (0). 1:
 * the head of the final reply is whole (status). -EPROTO: no head of HTTP/1.x, or too long. */
int http_head_feed(struct http_head *h, const uint8_t *data, size_t len, size_t *ret_taken);
int http_status_error(unsigned status); /* 0: connected; else as in egress.h */

#endif
