#include "gateway/egress/http_connect.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

enum head_step { HEAD_STATUS, HEAD_REST_OF_LINE, HEAD_LINE, HEAD_LAST_LF };

void http_credentials_write(const char *user, const char *password, char ret[HTTP_CREDENTIALS_MAX])
{
	static const char digit[] =
		"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
	char text[255 + 1 + 255 + 1];
	size_t len = (size_t)snprintf(text, sizeof text, "%.255s:%.255s", user, password), n = 0;

	for (size_t i = 0; i < len; i += 3) {
		size_t left = len - i;
		uint32_t three = (uint32_t)(uint8_t)text[i] << 16;

		three |= left > 1 ? (uint32_t)(uint8_t)text[i + 1] << 8 : 0;
		three |= left > 2 ? (uint32_t)(uint8_t)text[i + 2] : 0;
		ret[n++] = digit[three >> 18];
		ret[n++] = digit[three >> 12 & 63];
		ret[n++] = left > 1 ? digit[three >> 6 & 63] : '=';
		ret[n++] = left > 2 ? digit[three & 63] : '=';
	}
	ret[n] = 0;
}

/* reg-name of RFC 3986 3.2.2, without percent signs. */
static bool is_host(const char *host)
{
	static const char digits[] = "0123456789", marks[] = "-._~!$&'()*+,;=";

	for (; *host; host++) {
		bool letter = (*host | 0x20) >= 'a' && (*host | 0x20) <= 'z';

		if (!letter && !strchr(digits, *host) && !strchr(marks, *host))
			return false;
	}
	return true;
}

size_t http_request_write(const char *host, const struct ip_port *at, const char *credentials,
	char buf[HTTP_REQUEST_MAX])
{
	char authority[255 + 8], literal[IP_TEXT_MAX];

	if (!is_host(host))
		return 0;
	if (host[0]) {
		snprintf(authority, sizeof authority, "%.255s:%u", host, at->port);
	} else {
		struct ip_port plain = {.addr = at->addr, .port = at->port}; /* no scope */

		snprintf(authority, sizeof authority, "%s", ip_port_format(&plain, literal));
	}
	return (size_t)snprintf(buf, HTTP_REQUEST_MAX,
		"CONNECT %s HTTP/1.1\r\nHost: %s\r\n%s%s%s\r\n", authority, authority,
		credentials ? "Proxy-Authorization: Basic " : "", credentials ? credentials : "",
		credentials ? "\r\n" : "");
}

/* "HTTP/1.x SSS", and then a space or the line's end (RFC 9112 4; the reason may be missing). */
static int status_byte(struct http_head *h, uint8_t c)
{
	static const char shape[] = "HTTP/1.d ddd";
	bool is_digit = c >= '0' && c <= '9';

	if (h->column == sizeof shape - 1) {
		h->step = c == '\n' ? HEAD_LINE : HEAD_REST_OF_LINE;
		return c == ' ' || c == '\r' || c == '\n' ? 0 : -EPROTO;
	}
	if (shape[h->column] == 'd' ? !is_digit : c != (uint8_t)shape[h->column])
		return -EPROTO;
	if (h->column > 8)
		h->status = (uint16_t)(h->status * 10 + (c - '0'));
	h->column++;
	return 0;
}

/* 1: the empty line is over. */
static int head_byte(struct http_head *h, uint8_t c)
{
	switch ((enum head_step)h->step) {
	case HEAD_STATUS:
		return status_byte(h, c);
	case HEAD_LINE:
		if (c == '\n')
			return 1;
		h->step = c == '\r' ? HEAD_LAST_LF : HEAD_REST_OF_LINE;
		return 0;
	case HEAD_REST_OF_LINE:
		if (c == '\n')
			h->step = HEAD_LINE;
		return c ? 0 : -EPROTO;
	case HEAD_LAST_LF:
		return c == '\n' ? 1 : -EPROTO;
	}
	return -EPROTO;
}

int http_head_feed(struct http_head *h, const uint8_t *data, size_t len, size_t *ret_taken)
{
	int end = 0;

	for (size_t i = 0; i < len; i++) {
		*ret_taken = i + 1;
		if (++h->taken > HTTP_HEAD_MAX)
			return -EPROTO;
		end = head_byte(h, data[i]);
		if (end < 0)
			return end;
		if (!end)
			continue;
		if (h->status < 100 || h->status == 101)
			return -EPROTO; /* nobody asked to switch protocols */
		if (h->status >= 200)
			return 1;
		*h = (struct http_head){.taken = h->taken}; /* interim: the reply is to come */
	}
	return 0;
}

int http_status_error(unsigned status)
{
	switch (status) {
	case 404:
	case 410:
		return -EHOSTUNREACH;
	case 405: /* no CONNECT here */
	case 501:
		return -EOPNOTSUPP;
	case 408:
	case 504:
		return -ETIMEDOUT;
	}
	if (status >= 200 && status < 300)
		return 0;
	if (status >= 400 && status < 500)
		return -EACCES;
	return status >= 500 && status < 600 ? -EHOSTUNREACH : -EPROTO;
}
