#include "gateway/probe.h"
#include "gateway/base/clock.h"
#include "gateway/tun/packet.h"

#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define MAGIC	"tungate probe"
#define WAIT_MS 60 /* a packet on its way through one host */

struct payload {
	char magic[sizeof MAGIC];
	uint32_t nonce;
} __attribute__((packed));

/* A neighbour of this address on its own subnet: strict rp_filter would not let our own address
 * come in there. */
static bool neighbour(const struct ip_prefix *own, struct ip_addr *ret)
{
	if (own->addr.family != IP_V4 || own->len > 30)
		return false;
	*ret = own->addr;
	ret->b[3] ^= 1; /* neither network nor broadcast unless the own address is one of the two
			   beside them */
	if ((ret->b[3] & 3) == 0 || (ret->b[3] & 3) == 3)
		ret->b[3] = own->addr.b[3] ^ 3;
	return true;
}

/* An IPv4 UDP packet with the payload. */
static size_t build(uint8_t *out, const struct ip_addr *from, uint16_t from_port,
	const struct ip_addr *to, uint16_t to_port, const struct payload *payload)
{
	uint8_t blank[28] = {0x45, 0, 0, 28, [8] = 64, [9] = 17};
	struct tun_packet reverse;
	uint16_t sum;

	/* The builder answers packets: give it the one that this would answer. */
	memcpy(blank + 12, to->b, 4);
	memcpy(blank + 16, from->b, 4);
	blank[20] = (uint8_t)(to_port >> 8);
	blank[21] = (uint8_t)to_port;
	blank[22] = (uint8_t)(from_port >> 8);
	blank[23] = (uint8_t)from_port;
	blank[25] = 8;
	sum = tun_packet_checksum(blank, 20);
	memcpy(blank + 10, &sum, sizeof sum);
	if (tun_packet_parse(blank, sizeof blank, &reverse))
		return 0;
	memcpy(out + tun_packet_udp_headroom(&reverse), payload, sizeof *payload);
	return tun_packet_udp_reply(out, &reverse, sizeof *payload);
}

static void pause_ms(long ms)
{
	struct timespec t = {.tv_nsec = ms * 1000000};

	nanosleep(&t, NULL);
}

static bool lan_to_tun(struct inject *inject, struct worker_probe *target, unsigned ifindex,
	const struct ip_addr *client)
{
	struct payload payload = {.magic = MAGIC, .nonce = atomic_fetch_add(&target->nonce, 1) + 1};
	uint8_t packet[128];
	size_t n = build(packet, client, PLUMBING_PROBE_PORT, &target->to, 53, &payload);
	int64_t until_ms = clock_ms() + WAIT_MS;

	if (!n || inject_from(inject, ifindex, packet, n))
		return true; /* no device to put it in: the way back alone decides */
	while (atomic_load(&target->seen) != payload.nonce && clock_ms() < until_ms)
		pause_ms(2);
	return atomic_load(&target->seen) == payload.nonce;
}

static bool tun_to_lan(struct plumbing *p, struct writer *w, struct worker_probe *target,
	const struct ip_addr *client)
{
	struct payload payload = {.magic = MAGIC};
	uint64_t before = 0, after = 0;
	int64_t until_ms = clock_ms() + WAIT_MS;
	uint8_t packet[128];
	size_t n = build(packet, &target->to, 53, client, PLUMBING_PROBE_PORT, &payload);

	if (!n || writer_counter(w, "probe", &before) || write(p->tun_fds[0], packet, n) < 0)
		return false;
	do {
		pause_ms(2);
		if (writer_counter(w, "probe", &after))
			return false;
	} while (after == before && clock_ms() < until_ms);
	return after != before;
}

enum probe_result probe_run(struct plumbing *p, const struct config *config, struct writer *w,
	struct inject *inject, struct worker_probe *target, unsigned *ret_ifindex)
{
	enum probe_result result = PROBE_UNKNOWN;
	struct plumbing_lan lan;
	struct ip_addr client;

	*ret_ifindex = 0;
	if (plumbing_lan(p, config, &lan))
		return PROBE_UNKNOWN;
	for (size_t i = 0; i < lan.n; i++) {
		if (!neighbour(&lan.address[i], &client))
			continue;
		*ret_ifindex = lan.ifindex[i];
		if (!lan_to_tun(inject, target, lan.ifindex[i], &client))
			return PROBE_LAN_TO_TUN_BLOCKED;
		if (!tun_to_lan(p, w, target, &client))
			return PROBE_TUN_TO_LAN_BLOCKED;
		result = PROBE_PASSES;
	}
	return result;
}

bool probe_take(struct worker_probe *target, const uint8_t *payload, size_t len)
{
	struct payload got;

	if (len != sizeof got)
		return false;
	memcpy(&got, payload, sizeof got);
	if (memcmp(got.magic, MAGIC, sizeof got.magic) != 0)
		return false;
	atomic_store(&target->seen, got.nonce);
	return true;
}
