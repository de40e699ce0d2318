#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "gateway/tun/packet.h"
#include "tests/unit/tun_packets.h"

#define VECTOR(name)                                                                               \
	{                                                                                          \
		name, sizeof name                                                                  \
	}
static const struct {
	const uint8_t *data;
	size_t len;
} vectors[] = {
	VECTOR(udp4), VECTOR(udp6), VECTOR(syn4), VECTOR(syn6), VECTOR(echo4), VECTOR(echo6)};

enum { VECTORS = sizeof vectors / sizeof vectors[0] };

/* A copy that ends where the heap block ends, so that a byte too far is seen. */
static uint8_t *copy_of(const void *data, size_t len)
{
	uint8_t *p = malloc(len);

	assert_non_null(p);
	memcpy(p, data, len);
	return p;
}

static void fix_v4(uint8_t *d)
{
	uint16_t sum;

	memset(d + 10, 0, 2);
	sum = tun_packet_checksum(d, (size_t)(d[0] & 15) * 4);
	memcpy(d + 10, &sum, 2);
}

static void assert_inside(const struct tun_packet *p, size_t len)
{
	assert_true(p->len <= len);
	assert_true(p->next_at < p->len);
	assert_true(p->transport + p->transport_len <= p->len);
	assert_true(p->payload >= p->transport);
	assert_true(p->payload + p->payload_len == p->transport + p->transport_len);
}

/* RFC 1071 as it is written there: sixteen bits at a time. */
static uint16_t reference_sum(const uint8_t *p, size_t len)
{
	uint32_t sum = 0;
	uint8_t stored[2];
	uint16_t result;

	for (size_t i = 0; i < len; i++)
		sum += i % 2 ? p[i] : (uint32_t)p[i] << 8;
	while (sum >> 16)
		sum = (sum & 0xffff) + (sum >> 16);
	stored[0] = (uint8_t)(~sum >> 8);
	stored[1] = (uint8_t)~sum;
	memcpy(&result, stored, 2);
	return result;
}

static void checksums(void **state)
{
	static const uint8_t rfc1071[] = {0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7};
	static uint8_t buf[65535 + 8];
	uint32_t random = 1;
	uint16_t sum = tun_packet_checksum(rfc1071, sizeof rfc1071);

	(void)state;
	assert_memory_equal(&sum, "\x22\x0d", 2);
	for (size_t i = 0; i < sizeof buf; i++) {
		random = random * 1664525 + 1013904223;
		buf[i] = (uint8_t)(random >> 24);
	}
	for (size_t len = 0; len < 200; len++) {
		for (size_t at = 0; at < 8; at++)
			assert_int_equal(
				tun_packet_checksum(buf + at, len), reference_sum(buf + at, len));
	}
	assert_int_equal(tun_packet_checksum(buf, 65535), reference_sum(buf, 65535));
	/* The most that can be added up. */
	memset(buf, 0xff, sizeof buf);
	assert_int_equal(tun_packet_checksum(buf, 65535), reference_sum(buf, 65535));
	assert_int_equal(tun_packet_checksum(buf, 65534), 0);
}

static void kernel_packets(void **state)
{
	static const uint8_t protocols[] = {17, 17, 6, 6, 1, 58}, headers[] = {8, 8, 40, 40, 8, 8};

	(void)state;
	for (size_t i = 0; i < VECTORS; i++) {
		uint8_t *d = copy_of(vectors[i].data, vectors[i].len);
		size_t ip = i % 2 ? 40 : 20;
		bool ports = protocols[i] == 6 || protocols[i] == 17;
		struct ip_addr a;
		struct tun_packet p;

		assert_int_equal(tun_packet_parse(d, vectors[i].len, &p), 0);
		assert_int_equal(p.family, i % 2 ? IP_V6 : IP_V4);
		assert_int_equal(p.protocol, protocols[i]);
		assert_int_equal(p.len, vectors[i].len);
		assert_int_equal(p.hop_limit, 64);
		assert_int_equal(p.fragment, TUN_WHOLE);
		assert_int_equal(p.transport, ip);
		assert_int_equal(p.payload, ip + headers[i]);
		assert_int_equal(p.payload_len, vectors[i].len - ip - headers[i]);
		assert_int_equal(p.source_port, ports ? 4001 : 0);
		assert_int_equal(p.target_port, ports ? (protocols[i] == 17 ? 53 : 80) : 0);
		a = tun_packet_source(&p);
		assert_int_equal(a.b[0], i % 2 ? 0xfd : 10);
		assert_int_equal(a.b[i % 2 ? 15 : 3], 1);
		a = tun_packet_target(&p);
		assert_int_equal(a.family, p.family);
		assert_int_equal(a.b[i % 2 ? 15 : 3], 2);
		/* The kernel's checksums hold, and making them again gives the same. */
		assert_true(tun_packet_checksum_ok(&p));
		tun_packet_checksum_set(&p);
		assert_memory_equal(d, vectors[i].data, vectors[i].len);
		free(d);
	}
}

static void truncations(void **state)
{
	(void)state;
	for (size_t i = 0; i < VECTORS; i++) {
		for (size_t len = 0; len < vectors[i].len; len++) {
			uint8_t *d = copy_of(vectors[i].data, len);
			bool v6 = i % 2;
			size_t ip = v6 ? 40 : 20;
			struct tun_packet p;

			assert_int_equal(tun_packet_parse(d, len, &p), -EBADMSG);
			/* Now the IP header tells the truth about the cut, and the upper one lies.
			 */
			if (len >= ip) {
				d[v6 ? 5 : 3] = (uint8_t)(v6 ? len - 40 : len);
				if (!v6)
					fix_v4(d);
				if (tun_packet_parse(d, len, &p) == 0) {
					assert_inside(&p, len);
					assert_true(
						p.protocol != 17); /* UDP says its length itself */
					assert_false(tun_packet_checksum_ok(&p));
				}
			}
			free(d);
		}
	}
}

/* A single wrong bit is always seen, wherever a checksum covers it. */
static void bit_errors(void **state)
{
	(void)state;
	for (size_t i = 0; i < VECTORS; i++) {
		size_t from = i % 2 ? 8 : 0;

		for (size_t bit = from * 8; bit < vectors[i].len * 8; bit++) {
			uint8_t *d = copy_of(vectors[i].data, vectors[i].len);
			struct tun_packet p;

			d[bit / 8] ^= (uint8_t)(1 << bit % 8);
			if (tun_packet_parse(d, vectors[i].len, &p) == 0) {
				assert_inside(&p, vectors[i].len);
				assert_false(tun_packet_checksum_ok(&p));
			}
			free(d);
		}
	}
}

/* Every value of every byte of the headers, the IPv4 checksum made right each time: never outside.
 */
static void hostile_bytes(void **state)
{
	(void)state;
	for (size_t i = 0; i < VECTORS; i++) {
		for (size_t at = 0; at < vectors[i].len; at++) {
			uint8_t *d = copy_of(vectors[i].data, vectors[i].len);

			for (unsigned value = 0; value < 256; value++) {
				struct tun_packet p;

				d[at] = (uint8_t)value;
				if ((d[0] & 15) >= 5 && (d[0] & 15) * 4u <= vectors[i].len &&
					i % 2 == 0)
					fix_v4(d);
				if (tun_packet_parse(d, vectors[i].len, &p) == 0) {
					assert_inside(&p, vectors[i].len);
					(void)tun_packet_checksum_ok(&p);
					tun_packet_checksum_set(&p);
				}
				memcpy(d, vectors[i].data, vectors[i].len);
			}
			free(d);
		}
	}
}

static int parse_changed(
	const uint8_t *data, size_t len, size_t at, unsigned value, struct tun_packet *p)
{
	static uint8_t d[1500];

	memcpy(d, data, len);
	d[at] = (uint8_t)value;
	if (d[0] >> 4 == 4 && (d[0] & 15) >= 5)
		fix_v4(d);
	return tun_packet_parse(d, len, p);
}

static void lying_lengths(void **state)
{
	struct tun_packet p;

	(void)state;
	assert_int_equal(parse_changed(udp4, sizeof udp4, 3, sizeof udp4 + 1, &p), -EBADMSG);
	assert_int_equal(parse_changed(udp4, sizeof udp4, 3, 19, &p), -EBADMSG);
	assert_int_equal(parse_changed(udp4, sizeof udp4, 0, 0x44, &p), -EBADMSG);
	assert_int_equal(parse_changed(udp4, sizeof udp4, 0, 0x4f, &p), -EBADMSG);
	assert_int_equal(parse_changed(udp4, sizeof udp4, 0, 0x55, &p), -EBADMSG);
	assert_int_equal(parse_changed(udp4, sizeof udp4, 25, 14, &p), -EBADMSG); /* UDP length */
	assert_int_equal(parse_changed(udp4, sizeof udp4, 25, 7, &p), -EBADMSG);
	assert_int_equal(parse_changed(udp4, sizeof udp4, 25, 0, &p), -EBADMSG);
	/* Shorter than IP says: the rest is no payload. */
	assert_int_equal(parse_changed(udp4, sizeof udp4, 25, 10, &p), 0);
	assert_int_equal(p.payload_len, 2);
	assert_int_equal(parse_changed(udp4, sizeof udp4, 25, 8, &p), 0);
	assert_int_equal(p.payload_len, 0);
	assert_int_equal(parse_changed(udp6, sizeof udp6, 5, 14, &p), -EBADMSG);
	assert_int_equal(
		parse_changed(udp6, sizeof udp6, 5, 0, &p), -EBADMSG); /* jumbo or nothing */
	assert_int_equal(
		parse_changed(syn4, sizeof syn4, 32, 0x40, &p), -EBADMSG); /* data offset */
	assert_int_equal(parse_changed(syn4, sizeof syn4, 32, 0xb0, &p), -EBADMSG);
	assert_int_equal(parse_changed(syn4, sizeof syn4, 32, 0x50, &p), 0);
	assert_int_equal(p.payload_len, 20);
}

/* More in the buffer than IP says is padding. */
static void padding(void **state)
{
	uint8_t d[sizeof udp4 + 13] = {0};
	struct tun_packet p;

	(void)state;
	memcpy(d, udp4, sizeof udp4);
	assert_int_equal(tun_packet_parse(d, sizeof d, &p), 0);
	assert_int_equal(p.len, sizeof udp4);
	assert_int_equal(p.payload_len, 5);
	assert_true(tun_packet_checksum_ok(&p));
}

static void zero_udp_checksum(void **state)
{
	uint8_t d4[sizeof udp4], d6[sizeof udp6];
	struct tun_packet p;

	(void)state;
	memcpy(d4, udp4, sizeof d4);
	memset(d4 + 26, 0, 2);
	assert_int_equal(tun_packet_parse(d4, sizeof d4, &p), 0);
	assert_true(tun_packet_checksum_ok(&p));
	memcpy(d6, udp6, sizeof d6);
	memset(d6 + 46, 0, 2);
	assert_int_equal(tun_packet_parse(d6, sizeof d6, &p), 0);
	assert_false(tun_packet_checksum_ok(&p));
	tun_packet_checksum_set(&p);
	assert_memory_equal(d6, udp6, sizeof d6);
}

static void fragments(void **state)
{
	uint8_t d[56];
	struct tun_packet p;

	(void)state;
	assert_int_equal(parse_changed(udp4, sizeof udp4, 6, 0x20, &p), 0); /* MF */
	assert_int_equal(p.fragment, TUN_FRAGMENT_FIRST);
	assert_int_equal(p.target_port, 53);
	assert_int_equal(p.payload, 20);
	assert_true(tun_packet_checksum_ok(&p)); /* cannot be told */
	assert_int_equal(parse_changed(udp4, sizeof udp4, 7, 1, &p), 0);
	assert_int_equal(p.fragment, TUN_FRAGMENT_LATER);
	assert_int_equal(p.target_port, 0);
	assert_int_equal(p.protocol, 17);

	memcpy(d, frag6, sizeof d);
	assert_int_equal(tun_packet_parse(d, sizeof d, &p), 0);
	assert_int_equal(p.fragment, TUN_FRAGMENT_FIRST);
	assert_int_equal(p.transport, 48);
	assert_int_equal(p.protocol, 17);
	assert_int_equal(p.target_port, 53);
	memcpy(d, frag6_later, sizeof d);
	assert_int_equal(tun_packet_parse(d, sizeof d, &p), 0);
	assert_int_equal(p.fragment, TUN_FRAGMENT_LATER);
	assert_int_equal(p.target_port, 0);

	/* Atomic: a fragment header that fragments nothing. */
	memcpy(d, frag6, sizeof d);
	d[43] = 0;
	d[53] = 8;
	assert_int_equal(parse_changed(d, sizeof d, 52, 0, &p), 0);
	assert_int_equal(p.fragment, TUN_WHOLE);
	assert_int_equal(p.payload_len, 0);
}

/* udp6 with n extension headers of 8 bytes in front of UDP; kinds[] from the first on. */
static size_t with_extensions(uint8_t *d, const uint8_t *kinds, size_t n)
{
	memcpy(d, udp6, 40);
	d[5] = (uint8_t)(d[5] + 8 * n);
	d[6] = n > 0 ? kinds[0] : 17;
	memset(d + 40, 0, 8 * n);
	for (size_t i = 0; i < n; i++)
		d[40 + 8 * i] = i + 1 < n ? kinds[i + 1] : 17;
	memcpy(d + 40 + 8 * n, udp6 + 40, sizeof udp6 - 40);
	return sizeof udp6 + 8 * n;
}

static void extension_headers(void **state)
{
	static const uint8_t all[] = {0, 60, 43, 51, 60}, late_hops[] = {60, 0};
	uint8_t many[9], d[200];
	struct tun_packet p;
	size_t len;

	(void)state;
	len = with_extensions(d, all, 5);
	/* AH counts in words of four. */
	assert_int_equal(tun_packet_parse(d, len, &p), 0);
	assert_int_equal(p.protocol, 17);
	assert_int_equal(p.transport, 80);
	assert_int_equal(p.next_at, 72);
	assert_true(tun_packet_checksum_ok(&p));
	for (size_t cut = 1; cut < len; cut++) {
		uint8_t *copy = copy_of(d, len - cut);

		if (len - cut >= 40)
			copy[5] = (uint8_t)(len - cut - 40);
		assert_int_equal(tun_packet_parse(copy, len - cut, &p), -EBADMSG);
		free(copy);
	}
	d[40 + 16 + 3] = 1; /* segments left */
	assert_int_equal(tun_packet_parse(d, len, &p), -EBADMSG);
	d[40 + 16 + 3] = 0;
	d[41] = 255; /* longer than the packet */
	assert_int_equal(tun_packet_parse(d, len, &p), -EBADMSG);

	len = with_extensions(d, late_hops, 2);
	assert_int_equal(tun_packet_parse(d, len, &p), -EBADMSG);
	memset(many, 60, sizeof many);
	len = with_extensions(d, many, 8);
	assert_int_equal(tun_packet_parse(d, len, &p), 0);
	assert_true(tun_packet_checksum_ok(&p));
	len = with_extensions(d, many, 9);
	assert_int_equal(tun_packet_parse(d, len, &p), -EBADMSG);
	/* Two fragment headers. */
	memset(many, 44, sizeof many);
	len = with_extensions(d, many, 2);
	d[43] = d[51] = 1;
	assert_int_equal(tun_packet_parse(d, len, &p), -EBADMSG);
	/* No next header (59) and ESP end the walk. */
	assert_int_equal(parse_changed(udp6, sizeof udp6, 6, 59, &p), 0);
	assert_int_equal(p.protocol, 59);
	assert_int_equal(p.payload, 40);
}

static void mapped_addresses(void **state)
{
	uint8_t d[sizeof udp6];
	struct tun_packet p;

	(void)state;
	memcpy(d, udp6, sizeof d);
	memcpy(d + 8, "\0\0\0\0\0\0\0\0\0\0\xff\xff\x0a\x09\0\x01", 16);
	assert_int_equal(tun_packet_parse(d, sizeof d, &p), -EBADMSG);
	memcpy(d, udp6, sizeof d);
	memcpy(d + 24, "\0\0\0\0\0\0\0\0\0\0\xff\xff\x0a\x09\0\x01", 16);
	assert_int_equal(tun_packet_parse(d, sizeof d, &p), -EBADMSG);
}

static void views(void **state)
{
	uint8_t d[sizeof syn4], e4[sizeof echo4], e6[sizeof echo6];
	struct tun_packet p;
	struct tun_tcp t;
	struct tun_echo e;

	(void)state;
	memcpy(d, syn4, sizeof d);
	assert_int_equal(tun_packet_parse(d, sizeof d, &p), 0);
	assert_true(tun_packet_tcp(&p, &t));
	assert_int_equal(t.flags, TUN_TCP_SYN);
	assert_int_equal(t.len, 1);
	assert_int_equal(t.seq, (uint32_t)d[24] << 24 | d[25] << 16 | d[26] << 8 | d[27]);
	assert_int_equal(t.ack, 0);
	assert_false(tun_packet_echo(&p, &e));
	memcpy(e4, echo4, sizeof e4);
	assert_int_equal(tun_packet_parse(e4, sizeof e4, &p), 0);
	assert_true(tun_packet_echo(&p, &e));
	assert_int_equal(e.id, 77);
	assert_int_equal(e.seq, 1);
	assert_false(tun_packet_tcp(&p, &t));
	memcpy(e6, echo6, sizeof e6);
	assert_int_equal(tun_packet_parse(e6, sizeof e6, &p), 0);
	assert_true(tun_packet_echo(&p, &e));
	assert_int_equal(e.id, 77);
	assert_int_equal(e.seq, 1);
	e6[40] = 129; /* a reply */
	assert_false(tun_packet_echo(&p, &e));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(checksums),
		cmocka_unit_test(kernel_packets),
		cmocka_unit_test(truncations),
		cmocka_unit_test(bit_errors),
		cmocka_unit_test(hostile_bytes),
		cmocka_unit_test(lying_lengths),
		cmocka_unit_test(padding),
		cmocka_unit_test(zero_udp_checksum),
		cmocka_unit_test(fragments),
		cmocka_unit_test(extension_headers),
		cmocka_unit_test(mapped_addresses),
		cmocka_unit_test(views),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
