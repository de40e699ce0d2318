/* Any bytes from TUN: read, and answered in every way we answer. Nothing outside the packet is
 * touched, and every answer is itself a right packet to which no error and no reset may be sent. */
#include "gateway/tun/packet.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void require(bool holds)
{
	if (!holds)
		abort();
}

static void require_right(uint8_t *answer, size_t len, const struct tun_packet *p)
{
	struct ip_addr from, to;
	struct tun_packet r;

	require(tun_packet_parse(answer, len, &r) == 0 && r.len == len &&
		tun_packet_checksum_ok(&r));
	from = tun_packet_source(p);
	to = tun_packet_target(&r);
	require(memcmp(&from, &to, sizeof from) == 0);
}

static void answer_all_ways(const struct tun_packet *p)
{
	uint8_t *reply = malloc(tun_packet_udp_headroom(p) + 9), reset[TUN_RESET_MAX];
	uint8_t error[TUN_ERROR_MAX], again[TUN_ERROR_MAX];
	struct tun_packet r;
	size_t len;

	require(reply != NULL);
	memset(reply + tun_packet_udp_headroom(p), 'x', 9);
	len = tun_packet_udp_reply(reply, p, 9);
	if (len > 0)
		require_right(reply, len, p);
	free(reply);
	len = tun_packet_tcp_reset(reset, p);
	if (len > 0) {
		require_right(reset, len, p);
		require(tun_packet_parse(reset, len, &r) == 0 &&
			tun_packet_tcp_reset(again, &r) == 0);
	}
	for (enum tun_error e = TUN_NO_ROUTE; e <= TUN_TIME_EXCEEDED; e++) {
		len = tun_packet_icmp_error(error, p, e, NULL, 1280);
		if (len == 0)
			continue;
		require_right(error, len, p);
		require(tun_packet_parse(error, len, &r) == 0 &&
			tun_packet_icmp_error(again, &r, e, NULL, 0) == 0);
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	uint8_t *copy = malloc(size + (size == 0));
	struct tun_packet p;
	struct tun_echo echo;
	struct tun_tcp tcp;

	require(copy != NULL);
	memcpy(copy, data, size);
	if (tun_packet_parse(copy, size, &p) == 0) {
		require(p.len <= size && p.next_at < p.len && p.transport <= p.payload);
		require(p.payload + p.payload_len == p.transport + p.transport_len);
		require(p.transport + p.transport_len <= p.len);
		(void)tun_packet_checksum_ok(&p);
		(void)tun_packet_tcp(&p, &tcp);
		(void)tun_packet_echo(&p, &echo);
		answer_all_ways(&p);
		tun_packet_checksum_set(&p);
		require(tun_packet_checksum_ok(&p));
	}
	free(copy);
	return 0;
}
