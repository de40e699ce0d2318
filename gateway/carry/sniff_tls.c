/* A ClientHello is read through a cursor that steps over the heads of TLS records, so its bytes are
 * never put together. A length that reaches beyond what holds it is a lie and ends the reading. */
#include "gateway/base/wire.h"
#include "gateway/carry/sniff_internal.h"

#include <string.h>

enum {
	RECORD_HANDSHAKE = 22, /* RFC 8446 5.1 */
	RECORD_HEAD = 5,       /* type, version, length */
	RECORD_MAX = 16384,    /* bytes without its head */
	CLIENT_HELLO = 1,      /* RFC 8446 4 */
	MESSAGE_HEAD = 4,      /* type, length */
	MESSAGE_MAX = 65535,   /* no ClientHello is longer; a pre-shared key takes most */
	SESSION_ID_MAX = 32,   /* RFC 8446 4.1.2 */
	EXTENSION_SERVER_NAME = 0,
	NAME_HOST = 0, /* RFC 6066 3 */
};

struct hello {
	const uint8_t *data;
	size_t len;	    /* there are still so many bytes */
	size_t record_left; /* so many does the open record; SIZE_MAX if there are no records */
	size_t left;	    /* so many does the innermost open structure hold */
	bool stopped;
	enum sniff_result why;
};

static void stop(struct hello *h, enum sniff_result why)
{
	if (!h->stopped)
		h->why = why;
	h->stopped = true;
}

static void record_open(struct hello *h)
{
	const uint8_t *d = h->data;
	size_t size;

	if ((h->len > 0 && d[0] != RECORD_HANDSHAKE) || (h->len > 1 && d[1] != 3))
		stop(h, SNIFF_NONE);
	if (h->len < RECORD_HEAD)
		stop(h, SNIFF_MORE);
	if (h->stopped)
		return;
	size = wire_get16(d + 3);
	if (size == 0 || size > RECORD_MAX) {
		stop(h, SNIFF_NONE);
		return;
	}
	h->record_left = size;
	h->data += RECORD_HEAD;
	h->len -= RECORD_HEAD;
}

/* To `to`, or nowhere if it is NULL. Nothing once the reading has stopped. */
static void take(struct hello *h, uint8_t *to, size_t n)
{
	if (n > h->left)
		stop(h, SNIFF_NONE);
	while (n > 0 && !h->stopped) {
		size_t part = n < h->len ? n : h->len;

		if (h->record_left == 0) {
			record_open(h);
			continue;
		}
		if (part > h->record_left)
			part = h->record_left;
		if (part == 0) {
			stop(h, SNIFF_MORE);
			break;
		}
		if (to) {
			memcpy(to, h->data, part);
			to += part;
		}
		h->data += part;
		h->len -= part;
		h->record_left -= part;
		h->left -= part;
		n -= part;
	}
}

/* 0 once the reading has stopped. */
static size_t number(struct hello *h, unsigned bytes)
{
	uint8_t b[3] = {0};
	size_t n = 0;

	take(h, b, bytes);
	for (unsigned i = 0; i < bytes && !h->stopped; i++)
		n = n << 8 | b[i];
	return n;
}

static void require(struct hello *h, bool holds)
{
	if (!holds)
		stop(h, SNIFF_NONE);
}

/* ServerNameList (RFC 6066 3): one name of each type, of which there is but one. */
static enum sniff_result read_server_name(struct hello *h, char ret_name[SNIFF_NAME_SIZE])
{
	uint8_t name[SNIFF_NAME_SIZE];
	size_t size = number(h, 2);

	require(h, size == h->left);
	while (!h->stopped && h->left > 0) {
		size_t type = number(h, 1);

		size = number(h, 2);
		require(h, size <= h->left);
		if (type != NAME_HOST) {
			take(h, NULL, size);
			continue;
		}
		require(h, size <= sizeof name);
		take(h, name, size);
		if (!h->stopped)
			return sniff_host_name(name, size, ret_name);
	}
	stop(h, SNIFF_NONE);
	return h->why;
}

/* From the message's head to the extensions, whose length closes the message. */
static void read_to_extensions(struct hello *h)
{
	size_t size;

	h->left = MESSAGE_HEAD;
	require(h, number(h, 1) == CLIENT_HELLO);
	size = number(h, 3);
	require(h, size <= MESSAGE_MAX);
	if (h->stopped)
		return;
	h->left = size;
	require(h, number(h, 1) == 3); /* legacy_version */
	take(h, NULL, 1 + 32);	       /* and random */
	size = number(h, 1);
	require(h, size <= SESSION_ID_MAX);
	take(h, NULL, size);
	size = number(h, 2); /* cipher suites */
	require(h, size >= 2 && size % 2 == 0);
	take(h, NULL, size);
	size = number(h, 1); /* compression methods */
	require(h, size >= 1);
	take(h, NULL, size);
	size = number(h, 2);
	require(h, size == h->left);
}

static enum sniff_result read_hello(struct hello *h, char ret_name[SNIFF_NAME_SIZE])
{
	read_to_extensions(h);
	while (!h->stopped && h->left > 0) {
		size_t type = number(h, 2), size = number(h, 2);

		require(h, size <= h->left);
		if (type == EXTENSION_SERVER_NAME && !h->stopped) {
			h->left = size;
			return read_server_name(h, ret_name);
		}
		take(h, NULL, size);
	}
	stop(h, SNIFF_NONE);
	return h->why;
}

enum sniff_result sniff_client_hello(
	const uint8_t *data, size_t len, char ret_name[SNIFF_NAME_SIZE])
{
	struct hello h = {.data = data, .len = len, .record_left = SIZE_MAX};

	return read_hello(&h, ret_name);
}

enum sniff_result sniff_tls(const uint8_t *data, size_t len, char ret_name[SNIFF_NAME_SIZE])
{
	struct hello h = {.data = data, .len = len < SNIFF_STREAM_MAX ? len : SNIFF_STREAM_MAX};
	enum sniff_result result = read_hello(&h, ret_name);

	return result == SNIFF_MORE && len >= SNIFF_STREAM_MAX ? SNIFF_NONE : result;
}
