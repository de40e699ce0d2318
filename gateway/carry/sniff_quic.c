/* Packets and frames of QUIC as far as a client's first flight has them. A datagram may hold
 * several packets (RFC 9000 12.2), and a browser cuts its ClientHello into CRYPTO frames that it
 * shuffles over two datagrams. Of bytes that are told twice the first stand, as they do in a
 * server. */
#include "gateway/base/wire.h"
#include "gateway/carry/sniff_internal.h"

#include <string.h>

#define PACKETS_MAX 8  /* of one datagram are opened */
#define DCID_MAX    20 /* RFC 9000 17.2 */

enum packet_type { /* RFC 9000 17.2; version 2 counts one further, RFC 9369 3.2 */
	PACKET_INITIAL,
	PACKET_0RTT,
	PACKET_HANDSHAKE,
	PACKET_RETRY,
};

enum frame_type { /* that Initial packets may hold, RFC 9000 12.4 */
	FRAME_PADDING = 0x00,
	FRAME_PING = 0x01,
	FRAME_ACK = 0x02,
	FRAME_ACK_ECN = 0x03,
	FRAME_CRYPTO = 0x06,
};

/* What is left to read; `bad` once something reached beyond it. */
struct bytes {
	const uint8_t *p;
	size_t len;
	bool bad;
};

static const uint8_t *take(struct bytes *b, uint64_t n)
{
	const uint8_t *p = b->p;

	if (b->bad || n > b->len) {
		b->bad = true;
		return NULL;
	}
	b->p += n;
	b->len -= (size_t)n;
	return p;
}

/* 0 if it is not there. */
static uint8_t byte(struct bytes *b)
{
	const uint8_t *p = take(b, 1);

	return p ? *p : 0;
}

/* RFC 9000 16; 0 if it is not there. */
static uint64_t varint(struct bytes *b)
{
	uint8_t first = byte(b);
	size_t more = ((size_t)1 << (first >> 6)) - 1;
	const uint8_t *p = take(b, more);
	uint64_t n = first & 0x3f;

	for (size_t i = 0; p && i < more; i++)
		n = n << 8 | p[i];
	return p ? n : 0;
}

struct header {
	enum packet_type type;
	uint32_t version;
	const uint8_t *dcid;
	size_t dcid_len;
	struct sniff_quic_packet packet;
};

/* The next packet of a datagram; false: what is left is none that a client begins with. */
static bool header_read(struct bytes *b, struct header *ret)
{
	const uint8_t *begin = b->p, *version;
	uint8_t first = byte(b);
	uint64_t size;

	/* The fixed bit may be greased (RFC 9287), the version tells QUIC from others. */
	version = take(b, 4);
	if (!version || !(first & 0x80))
		return false;
	ret->version = wire_get32(version);
	ret->type = first >> 4 & 3;
	if (ret->version == SNIFF_QUIC_V2)
		ret->type = (ret->type + 3) & 3;
	else if (ret->version != SNIFF_QUIC_V1)
		return false;
	ret->dcid_len = byte(b);
	ret->dcid = take(b, ret->dcid_len);
	take(b, byte(b)); /* source connection id */
	if (ret->type == PACKET_INITIAL)
		take(b, varint(b)); /* token */
	size = varint(b);
	if (b->bad || ret->dcid_len > DCID_MAX || ret->type > PACKET_0RTT || size > b->len)
		return false;
	ret->packet.data = begin;
	ret->packet.number_at = (size_t)(b->p - begin);
	ret->packet.len = ret->packet.number_at + (size_t)size;
	take(b, size);
	return true;
}

static void crypto_add(struct sniff_quic *q, uint64_t offset, const uint8_t *data, uint64_t len)
{
	if (offset >= SNIFF_QUIC_MAX)
		return;
	if (len > SNIFF_QUIC_MAX - offset)
		len = SNIFF_QUIC_MAX - offset;
	for (size_t i = 0, at = (size_t)offset; i < len; i++, at++) {
		uint8_t bit = (uint8_t)(1u << at % 8);

		if (q->seen[at / 8] & bit)
			continue;
		q->seen[at / 8] |= bit;
		q->crypto[at] = data[i];
	}
	while (q->whole < SNIFF_QUIC_MAX && q->seen[q->whole / 8] & 1u << q->whole % 8)
		q->whole++;
}

static void ack_skip(struct bytes *b, bool ecn) /* RFC 9000 19.3 */
{
	uint64_t ranges;

	varint(b); /* largest */
	varint(b); /* delay */
	ranges = varint(b);
	varint(b);				  /* first range */
	for (; ranges > 0 && !b->bad; ranges--) { /* each takes two bytes or more */
		varint(b);
		varint(b);
	}
	for (unsigned i = 0; ecn && i < 3; i++)
		varint(b);
}

/* Up to the first frame that does not belong here, as CONNECTION_CLOSE. */
static void frames_read(struct sniff_quic *q, const uint8_t *plain, size_t len)
{
	struct bytes b = {.p = plain, .len = len};

	while (b.len > 0) {
		uint64_t type = varint(&b), offset, size;
		const uint8_t *data;

		if (b.bad)
			return;
		switch (type) {
		case FRAME_PADDING:
			while (b.len > 0 && *b.p == FRAME_PADDING)
				take(&b, 1);
			break;
		case FRAME_PING:
			break;
		case FRAME_ACK:
		case FRAME_ACK_ECN:
			ack_skip(&b, type == FRAME_ACK_ECN);
			break;
		case FRAME_CRYPTO:
			offset = varint(&b);
			size = varint(&b);
			data = take(&b, size);
			if (data)
				crypto_add(q, offset, data, size);
			break;
		default:
			return;
		}
	}
}

static bool keys_fit(const struct sniff_quic_keys *keys, const struct header *h)
{
	return keys->version == h->version && keys->dcid_len == h->dcid_len &&
	       memcmp(keys->dcid, h->dcid, h->dcid_len) == 0;
}

/* Whether it could be read. Its keys have become the connection's then, and if they are others, a
 * connection begins: a client that follows a Retry (RFC 9001 5.2), or its next one. */
static bool initial_read(struct sniff_quic *q, struct sniff_quic_keys *keys, const struct header *h)
{
	uint8_t plain[SNIFF_QUIC_PLAIN_MAX];
	int len;

	if (!keys_fit(keys, h) &&
		sniff_quic_keys_derive(h->version, h->dcid, h->dcid_len, keys) < 0)
		return false;
	len = sniff_quic_open(keys, &h->packet, plain);
	if (len < 0)
		return false;
	if (!keys_fit(&q->keys, h)) {
		q->keys = *keys;
		q->whole = 0;
		memset(q->seen, 0, sizeof q->seen);
	}
	frames_read(q, plain, (size_t)len);
	return true;
}

/* How many packets there were of a kind that goes before a name. Packets of another connection
 * than the datagram's first are nobody's (RFC 9000 12.2). */
static unsigned packets_read(struct sniff_quic *q, const uint8_t *data, size_t len)
{
	struct bytes b = {.p = data, .len = len};
	struct sniff_quic_keys keys = q->keys;
	struct header first = {0}, h;
	unsigned n = 0;

	for (unsigned i = 0; i < PACKETS_MAX && b.len > 0 && header_read(&b, &h); i++) {
		if (i == 0)
			first = h;
		if (h.version != first.version || h.dcid_len != first.dcid_len ||
			memcmp(h.dcid, first.dcid, h.dcid_len) != 0)
			continue;
		if (h.type == PACKET_0RTT || initial_read(q, &keys, &h))
			n++;
	}
	return n;
}

enum sniff_result sniff_quic_datagram(
	struct sniff_quic *q, const uint8_t *data, size_t len, char ret_name[SNIFF_NAME_SIZE])
{
	enum sniff_result result;

	if (q->datagrams >= SNIFF_QUIC_DATAGRAMS_MAX)
		return SNIFF_NONE;
	q->datagrams++;
	if (packets_read(q, data, len) == 0 && q->keys.version == 0)
		return SNIFF_NONE;
	result = sniff_client_hello(q->crypto, q->whole, ret_name);
	if (result == SNIFF_MORE &&
		(q->whole == SNIFF_QUIC_MAX || q->datagrams == SNIFF_QUIC_DATAGRAMS_MAX))
		return SNIFF_NONE;
	return result;
}
