/* gateway/tun/packet_build.c: what answers a packet, and what may not be answered. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <string.h>

#include "gateway/tun/packet.h"
#include "tests/unit/tun_packets.h"
#include "tests/unit/addresses.h"

static uint8_t in[2000], out[2000];

/* A parsed copy of a vector in `in`. */
static struct tun_packet load(const uint8_t *data, size_t len)
{
	struct tun_packet p;

	memcpy(in, data, len);
	assert_int_equal(tun_packet_parse(in, len, &p), 0);
	return p;
}
#define LOAD(vector) load(vector, sizeof vector)

/* The same after bytes in `in` have changed. */
static struct tun_packet reload(size_t len)
{
	struct tun_packet p;
	uint16_t sum;

	if (in[0] >> 4 == 4) {
		memset(in + 10, 0, 2);
		sum = tun_packet_checksum(in, (size_t)(in[0] & 15) * 4);
		memcpy(in + 10, &sum, 2);
	}
	assert_int_equal(tun_packet_parse(in, len, &p), 0);
	return p;
}

/* out holds a right packet of this length from the target of p to its source. */
static struct tun_packet check_answer(const struct tun_packet *p, size_t len, uint8_t protocol)
{
	struct ip_addr a, b;
	struct tun_packet r;

	assert_int_equal(tun_packet_parse(out, len, &r), 0);
	assert_int_equal(r.len, len);
	assert_int_equal(r.protocol, protocol);
	assert_int_equal(r.fragment, TUN_WHOLE);
	assert_int_equal(r.hop_limit, 64);
	assert_true(tun_packet_checksum_ok(&r));
	a = tun_packet_source(&r);
	b = tun_packet_target(p);
	assert_true(memcmp(&a, &b, sizeof a) == 0);
	a = tun_packet_target(&r);
	b = tun_packet_source(p);
	assert_true(memcmp(&a, &b, sizeof a) == 0);
	return r;
}

static void udp_reply(void **state)
{
	(void)state;
	for (int v6 = 0; v6 < 2; v6++) {
		struct tun_packet p = v6 ? LOAD(udp6) : LOAD(udp4);
		size_t room = tun_packet_udp_headroom(&p);

		assert_int_equal(room, v6 ? 48 : 28);
		for (size_t n = 0; n < 1400; n += 7) {
			struct tun_packet r;

			memset(out, 0xee, sizeof out);
			for (size_t i = 0; i < n; i++)
				out[room + i] = (uint8_t)(i * 31);
			assert_int_equal(tun_packet_udp_reply(out, &p, n), room + n);
			r = check_answer(&p, room + n, 17);
			assert_int_equal(r.source_port, 53);
			assert_int_equal(r.target_port, 4001);
			assert_int_equal(r.payload_len, n);
			for (size_t i = 0; i < n; i++)
				assert_int_equal(out[room + i], (uint8_t)(i * 31));
			assert_int_equal(out[room + n], 0xee);
			/* There always is a checksum. */
			assert_true(out[room - 2] != 0 || out[room - 1] != 0);
		}
		assert_int_equal(tun_packet_udp_reply(out, &p, 65536 - room), 0);
		assert_int_equal(tun_packet_udp_reply(out, &p, SIZE_MAX), 0);
	}
}

/* A sum that comes out as zero is sent as 0xffff. */
static void udp_zero_sum(void **state)
{
	(void)state;
	for (int v6 = 0; v6 < 2; v6++) {
		struct tun_packet p = v6 ? LOAD(udp6) : LOAD(udp4), r;
		size_t room = tun_packet_udp_headroom(&p);

		/* With the checksum of the same packet over two zero bytes as payload the sum is
		 * 0xffff. */
		memset(out + room, 0, 2);
		assert_int_equal(tun_packet_udp_reply(out, &p, 2), room + 2);
		memcpy(out + room, out + room - 2, 2);
		assert_int_equal(tun_packet_udp_reply(out, &p, 2), room + 2);
		assert_int_equal(out[room - 2], 0xff);
		assert_int_equal(out[room - 1], 0xff);
		r = check_answer(&p, room + 2, 17);
		assert_int_equal(r.payload_len, 2);
	}
}

/* --- datagrams of our own --- */

static const char *const ends[2][2] = {
	{"198.18.0.9:443", "10.1.1.1:4001"}, {"[2001:2::9]:443", "[fd01::1]:4001"}};

static void udp_from_anywhere(void **state)
{
	(void)state;
	for (int v6 = 0; v6 < 2; v6++) {
		struct ip_port from = at_of(ends[v6][0]), to = at_of(ends[v6][1]);
		size_t room = v6 ? TUN_UDP_HEADROOM_V6 : TUN_UDP_HEADROOM_V4;

		for (size_t n = 0; n < 1400; n += 13) {
			struct tun_packet r;
			struct ip_addr a;

			memset(out, 0xee, sizeof out);
			for (size_t i = 0; i < n; i++)
				out[room + i] = (uint8_t)(i * 29);
			assert_int_equal(tun_packet_udp_build(out, &from, &to, n), room + n);
			assert_int_equal(tun_packet_parse(out, room + n, &r), 0);
			assert_int_equal(r.len, room + n);
			assert_int_equal(r.protocol, 17);
			assert_int_equal(r.fragment, TUN_WHOLE);
			assert_true(tun_packet_checksum_ok(&r));
			assert_int_equal(r.source_port, 443);
			assert_int_equal(r.target_port, 4001);
			a = tun_packet_source(&r);
			assert_true(ip_addr_equal(&a, &from.addr));
			a = tun_packet_target(&r);
			assert_true(ip_addr_equal(&a, &to.addr));
			for (size_t i = 0; i < n; i++)
				assert_int_equal(out[room + i], (uint8_t)(i * 29));
			assert_int_equal(out[room + n], 0xee);
			/* A narrow link may cut it. */
			assert_true(v6 || (out[6] & 0x40) == 0);
		}
		assert_int_equal(tun_packet_udp_build(out, &from, &to, 65536 - room), 0);
		assert_int_equal(tun_packet_udp_build(out, &from, &to, SIZE_MAX), 0);
		to = at_of(ends[!v6][1]);
		assert_int_equal(tun_packet_udp_build(out, &from, &to, 5), 0);
		from.addr.family = to.addr.family = IP_NONE;
		assert_int_equal(tun_packet_udp_build(out, &from, &to, 5), 0);
	}
}

/* The pieces of a packet make it again. */
static void packets_in_pieces(void **state)
{
	static uint8_t packet[65536], whole[65536], piece[1500];
	static const size_t sizes[] = {1473, 1479, 1480, 1481, 2960, 4000, 65000};
	static const size_t mtus[] = {1500, 1280};

	(void)state;
	for (unsigned k = 0; k < 2 * 2 * sizeof sizes / sizeof sizes[0]; k++) {
		int v6 = k % 2;
		size_t mtu = mtus[k / 2 % 2], n = sizes[k / 4], done = 0, got, sum = 0, len;
		struct ip_port from = at_of(ends[v6][0]), to = at_of(ends[v6][1]);
		size_t ip = v6 ? 40 : 20;
		struct tun_packet p;
		bool last = false;

		for (size_t i = 0; i < n; i++)
			packet[ip + 8 + i] = (uint8_t)(i * 7 + i / 256);
		len = tun_packet_udp_build(packet, &from, &to, n);
		assert_int_equal(len, ip + 8 + n);
		memset(whole, 0, sizeof whole);
		memcpy(whole, packet, ip);
		while ((got = tun_packet_fragment(piece, packet, len, mtu, 0x12345, &done)) > 0) {
			bool first = sum == 0;

			assert_false(last);
			assert_in_range(got, ip + 1, mtu);
			assert_int_equal(tun_packet_parse(piece, got, &p), 0);
			assert_int_equal(
				p.fragment, first ? TUN_FRAGMENT_FIRST : TUN_FRAGMENT_LATER);
			assert_int_equal(p.protocol, 17);
			assert_int_equal(v6 ? piece[47] : piece[5], 0x45);
			if (v6) {
				last = !(piece[43] & 1);
				assert_int_equal((piece[42] << 8 | piece[43]) & ~7, sum);
			} else {
				last = !(piece[6] & 0x20);
				assert_int_equal(((piece[6] & 31) << 8 | piece[7]) * 8, sum);
			}
			assert_true(last || (p.len - p.transport) % 8 == 0);
			memcpy(whole + ip + sum, piece + p.transport,
				(size_t)(p.len - p.transport));
			sum += (size_t)(p.len - p.transport);
		}
		assert_true(last);
		assert_int_equal(sum, len - ip);
		assert_memory_equal(whole, packet, len);
		assert_int_equal(tun_packet_fragment(piece, packet, len, mtu, 1, &done), 0);
	}
}

/* --- echo --- */

static void echo_replies(void **state)
{
	(void)state;
	for (int v6 = 0; v6 < 2; v6++) {
		struct tun_packet p = v6 ? LOAD(echo6) : LOAD(echo4), r;
		struct tun_echo asked;
		size_t n = tun_packet_echo_reply(out, &p), at = p.transport;

		assert_true(tun_packet_echo(&p, &asked));
		assert_int_equal(n, p.len);
		r = check_answer(&p, n, v6 ? 58 : 1);
		assert_int_equal(out[r.transport], v6 ? 129 : 0);
		assert_int_equal(out[r.transport + 1], 0);
		/* Identifier, number and data come back. */
		assert_memory_equal(out + r.transport + 4, in + at + 4, p.transport_len - 4u);
		/* A reply is no request, and nobody is echoed to. */
		in[at] = v6 ? 129 : 0;
		assert_int_equal(tun_packet_echo_reply(out, &p), 0);
		in[at] = v6 ? 128 : 8;
		memset(in + (v6 ? 8 : 12), 0xff, v6 ? 16 : 4);
		assert_int_equal(tun_packet_echo_reply(out, &p), 0);
		p = v6 ? LOAD(udp6) : LOAD(udp4);
		assert_int_equal(tun_packet_echo_reply(out, &p), 0);
	}
}

static void reset_of_syn(void **state)
{
	struct tun_tcp t, u;

	(void)state;
	for (int v6 = 0; v6 < 2; v6++) {
		struct tun_packet p = v6 ? LOAD(syn6) : LOAD(syn4), r;

		assert_true(tun_packet_tcp(&p, &t));
		assert_int_equal(tun_packet_tcp_reset(out, &p), v6 ? 60 : 40);
		r = check_answer(&p, v6 ? 60 : 40, 6);
		assert_int_equal(r.source_port, 80);
		assert_int_equal(r.target_port, 4001);
		assert_true(tun_packet_tcp(&r, &u));
		assert_int_equal(u.flags, TUN_TCP_RST | TUN_TCP_ACK);
		assert_int_equal(u.seq, 0);
		assert_int_equal(u.ack, t.seq + 1);
		/* Never to itself. */
		memcpy(in, out, r.len);
		p = reload(r.len);
		assert_int_equal(tun_packet_tcp_reset(out, &p), 0);
	}
}

static void reset_of_segments(void **state)
{
	struct tun_packet p = LOAD(syn4), r;
	struct tun_tcp t;

	(void)state;
	/* SYN, FIN and 20 bytes of data where the options were, at the end of the sequence space.
	 */
	in[32] = 0x50;
	in[33] = TUN_TCP_SYN | TUN_TCP_FIN;
	memset(in + 24, 0xff, 4);
	p = reload(sizeof syn4);
	assert_int_equal(tun_packet_tcp_reset(out, &p), 40);
	r = check_answer(&p, 40, 6);
	assert_true(tun_packet_tcp(&r, &t));
	assert_int_equal(t.ack, 21);
	/* With ACK: from where the sender thinks we are, and without one of our own. */
	in[33] = TUN_TCP_ACK;
	memcpy(in + 28, "\x12\x34\x56\x78", 4);
	p = reload(sizeof syn4);
	assert_int_equal(tun_packet_tcp_reset(out, &p), 40);
	r = check_answer(&p, 40, 6);
	assert_true(tun_packet_tcp(&r, &t));
	assert_int_equal(t.flags, TUN_TCP_RST);
	assert_int_equal(t.seq, 0x12345678);
	assert_int_equal(t.ack, 0);
	in[33] = TUN_TCP_RST | TUN_TCP_ACK;
	p = reload(sizeof syn4);
	assert_int_equal(tun_packet_tcp_reset(out, &p), 0);
	p = LOAD(udp4);
	assert_int_equal(tun_packet_tcp_reset(out, &p), 0);
}

static void error_codes(void **state)
{
	static const struct {
		enum tun_error error;
		uint8_t v4[2], v6[2];
	} cases[] = {
		{TUN_NO_ROUTE, {3, 0}, {1, 0}},
		{TUN_HOST_UNREACHABLE, {3, 1}, {1, 3}},
		{TUN_PROTOCOL_UNREACHABLE, {3, 2}, {4, 1}},
		{TUN_PORT_UNREACHABLE, {3, 3}, {1, 4}},
		{TUN_TOO_BIG, {3, 4}, {2, 0}},
		{TUN_PROHIBITED, {3, 13}, {1, 1}},
		{TUN_TIME_EXCEEDED, {11, 0}, {3, 0}},
	};

	(void)state;
	for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
		struct tun_packet p = LOAD(udp4);
		size_t n = tun_packet_icmp_error(out, &p, cases[i].error, NULL, 1400);

		assert_int_equal(n, 28 + sizeof udp4);
		(void)check_answer(&p, n, 1);
		assert_memory_equal(out + 20, cases[i].v4, 2);
		assert_memory_equal(
			out + 24, cases[i].error == TUN_TOO_BIG ? "\0\0\x05\x78" : "\0\0\0\0", 4);
		assert_memory_equal(out + 28, udp4, sizeof udp4);

		p = LOAD(udp6);
		n = tun_packet_icmp_error(out, &p, cases[i].error, NULL, 1400);
		assert_int_equal(n, 48 + sizeof udp6);
		(void)check_answer(&p, n, 58);
		assert_memory_equal(out + 40, cases[i].v6, 2);
		/* An unrecognized next header is pointed at. */
		assert_int_equal(out[47], cases[i].error == TUN_TOO_BIG		       ? 0x78
					  : cases[i].error == TUN_PROTOCOL_UNREACHABLE ? 6
										       : 0);
		assert_memory_equal(out + 48, udp6, sizeof udp6);
	}
}

static void error_quotes_what_fits(void **state)
{
	struct tun_packet p;
	struct ip_addr from;

	(void)state;
	memcpy(in, udp4, sizeof udp4);
	in[2] = 1500 >> 8;
	in[3] = 1500 & 0xff;
	in[24] = 1480 >> 8;
	in[25] = 1480 & 0xff;
	p = reload(1500);
	assert_int_equal(tun_packet_icmp_error(out, &p, TUN_PORT_UNREACHABLE, NULL, 0), 576);
	(void)check_answer(&p, 576, 1);
	assert_memory_equal(out + 28, in, 548);
	/* The gateway's own address as its source. */
	from = ip_addr_v4((uint8_t[]){10, 9, 0, 254});
	assert_int_equal(tun_packet_icmp_error(out, &p, TUN_TIME_EXCEEDED, &from, 0), 576);
	assert_memory_equal(out + 12, from.b, 4);
	assert_int_equal(tun_packet_parse(out, 576, &p), 0);
	assert_true(tun_packet_checksum_ok(&p));

	memcpy(in, udp6, sizeof udp6);
	in[4] = in[44] = 1460 >> 8;
	in[5] = in[45] = 1460 & 0xff;
	p = reload(1500);
	assert_int_equal(tun_packet_icmp_error(out, &p, TUN_PORT_UNREACHABLE, NULL, 0), 1280);
	(void)check_answer(&p, 1280, 58);
	assert_memory_equal(out + 48, in, 1232);
	/* An address of the other family cannot say it. */
	assert_int_equal(tun_packet_icmp_error(out, &p, TUN_TIME_EXCEEDED, &from, 0), 0);
}

static bool any_error(const struct tun_packet *p)
{
	return tun_packet_icmp_error(out, p, TUN_HOST_UNREACHABLE, NULL, 0) > 0;
}

static void no_error_for_errors(void **state)
{
	/* Echo reply, source quench, router advertisement, mask request, and what nobody has
	 * assigned. */
	static const struct {
		uint8_t type;
		bool answered;
	} types4[] = {{0, true}, {3, false}, {4, false}, {5, false}, {8, true}, {9, true},
		{11, false}, {12, false}, {17, true}, {30, false}, {200, false}},
	  types6[] = {{1, false}, {2, false}, {3, false}, {4, false}, {127, false}, {128, true},
		  {129, true}, {133, true}, {137, false}};
	struct tun_packet p;

	(void)state;
	for (size_t i = 0; i < sizeof types4 / sizeof types4[0]; i++) {
		p = LOAD(echo4);
		in[20] = types4[i].type;
		assert_int_equal(any_error(&p), types4[i].answered);
	}
	for (size_t i = 0; i < sizeof types6 / sizeof types6[0]; i++) {
		p = LOAD(echo6);
		in[40] = types6[i].type;
		assert_int_equal(any_error(&p), types6[i].answered);
	}
	/* What the builder made is itself such an error. */
	p = LOAD(udp6);
	in[sizeof udp6 - 1]++; /* in the payload: no matter */
	assert_true(any_error(&p));
	memcpy(in, out, 48 + sizeof udp6);
	p = reload(48 + sizeof udp6);
	assert_false(any_error(&p));
}

static void no_answer_to_groups(void **state)
{
	static const struct {
		uint8_t a[4];
		bool host;
	} v4[] = {{{0, 0, 0, 0}, false}, {{127, 0, 0, 1}, false}, {{224, 0, 0, 251}, false},
		{{240, 0, 0, 1}, false}, {{255, 255, 255, 255}, false}, {{198, 18, 0, 0}, true},
		{{223, 255, 255, 255}, true}};
	static const struct {
		const char *a;
		bool host;
	} v6[] = {{"\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0", false},
		{"\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\1", false},
		{"\xff\x02\0\0\0\0\0\0\0\0\0\0\0\0\0\xfb", false},
		{"\xfe\x80\0\0\0\0\0\0\0\0\0\0\0\0\0\1", true}};

	(void)state;
	for (size_t i = 0; i < sizeof v4 / sizeof v4[0]; i++) {
		for (size_t at = 12; at <= 16; at += 4) {
			struct tun_packet p = LOAD(udp4);

			memcpy(in + at, v4[i].a, 4);
			p = reload(sizeof udp4);
			assert_int_equal(tun_packet_udp_reply(out, &p, 5) > 0, v4[i].host);
			assert_int_equal(any_error(&p), v4[i].host);
			p = LOAD(syn4);
			memcpy(in + at, v4[i].a, 4);
			p = reload(sizeof syn4);
			assert_int_equal(tun_packet_tcp_reset(out, &p) > 0, v4[i].host);
		}
	}
	for (size_t i = 0; i < sizeof v6 / sizeof v6[0]; i++) {
		for (size_t at = 8; at <= 24; at += 16) {
			struct tun_packet p = LOAD(udp6);

			memcpy(in + at, v6[i].a, 16);
			p = reload(sizeof udp6);
			assert_int_equal(tun_packet_udp_reply(out, &p, 5) > 0, v6[i].host);
			assert_int_equal(any_error(&p), v6[i].host);
		}
	}
}

static void no_answer_to_pieces(void **state)
{
	struct tun_packet p = LOAD(frag6_later);

	(void)state;
	assert_false(any_error(&p));
	assert_int_equal(tun_packet_udp_reply(out, &p, 5), 0);
	/* The first one may be told an error, and is no datagram. */
	p = LOAD(frag6);
	assert_true(any_error(&p));
	assert_int_equal(tun_packet_udp_reply(out, &p, 5), 0);
	p = LOAD(syn4);
	in[6] = 0x20;
	p = reload(sizeof syn4);
	assert_int_equal(tun_packet_tcp_reset(out, &p), 0);
	/* An ICMP fragment that ends before its type: it may be an error. */
	p = LOAD(echo4);
	in[3] = 20;
	in[6] = 0x20;
	p = reload(20);
	assert_false(any_error(&p));
	/* Port 0 says that no reply is wanted. */
	p = LOAD(udp4);
	memset(in + 20, 0, 2);
	p = reload(sizeof udp4);
	assert_int_equal(tun_packet_udp_reply(out, &p, 5), 0);
	p = LOAD(echo4);
	assert_int_equal(tun_packet_udp_reply(out, &p, 5), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(udp_reply),
		cmocka_unit_test(udp_zero_sum),
		cmocka_unit_test(udp_from_anywhere),
		cmocka_unit_test(packets_in_pieces),
		cmocka_unit_test(echo_replies),
		cmocka_unit_test(reset_of_syn),
		cmocka_unit_test(reset_of_segments),
		cmocka_unit_test(error_codes),
		cmocka_unit_test(error_quotes_what_fits),
		cmocka_unit_test(no_error_for_errors),
		cmocka_unit_test(no_answer_to_groups),
		cmocka_unit_test(no_answer_to_pieces),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
