#include "gateway/probe.h"
#include "gateway/base/clock.h"
#include "gateway/base/wire.h"
#include "gateway/tun/packet.h"

#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define MAGIC  "tungate probe"
#define TRIES  12
#define TRY_MS 15 /* a packet on its way through one host; on a busy one the tries add up */

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
	wire_put16(blank + 20, to_port);
	wire_put16(blank + 22, from_port);
	blank[25] = 8;
	sum = tun_packet_checksum(blank, 20);
	memcpy(blank + 10, &sum, sizeof sum);
	if (tun_packet_parse(blank, sizeof blank, &reverse))
		return 0;
	memcpy(out + tun_packet_udp_headroom(&reverse), payload, sizeof *payload);
	return tun_packet_udp_reply(out, &reverse, sizeof *payload);
}

/* Looks every millisecond, for one try, whether `arrived` says so. */
static bool wait_for(bool (*arrived)(void *arg), void *arg)
{
	struct timespec pause = {.tv_nsec = 1000000};
	int64_t until_ms = clock_ms() + TRY_MS;

	do {
		nanosleep(&pause, NULL);
		if (arrived(arg))
			return true;
	} while (clock_ms() < until_ms);
	return false;
}

struct question {
	struct worker_probe *target;
	uint32_t nonce;
};

static bool came_out_of_tun(void *arg)
{
	const struct question *q = arg;

	return atomic_load(&q->target->seen) == q->nonce;
}

static bool lan_to_tun(struct inject *inject, struct worker_probe *target, unsigned ifindex,
	const struct ip_addr *client)
{
	struct question q = {target, atomic_fetch_add(&target->nonce, 1) + 1};
	struct payload payload = {.magic = MAGIC, .nonce = q.nonce};
	uint8_t packet[128];
	size_t n = build(packet, client, PLUMBING_PROBE_PORT, &target->to, 53, &payload);

	for (int i = 0; i < TRIES; i++) {
		if (!n || inject_from(inject, ifindex, packet, n))
			return true; /* no device to put it in: the way back alone decides */
		if (wait_for(came_out_of_tun, &q))
			return true;
	}
	return false;
}

struct answer {
	struct writer *writer;
	uint64_t before;
};

static bool reached_postrouting(void *arg)
{
	const struct answer *a = arg;
	uint64_t now;

	return writer_counter(a->writer, "probe", &now) == 0 && now != a->before;
}

static bool tun_to_lan(struct plumbing *p, struct writer *w, struct worker_probe *target,
	const struct ip_addr *client)
{
	struct payload payload = {.magic = MAGIC};
	struct answer a = {.writer = w};
	uint8_t packet[128];
	size_t n = build(packet, &target->to, 53, client, PLUMBING_PROBE_PORT, &payload);

	if (!n || writer_counter(w, "probe", &a.before))
		return false;
	for (int i = 0; i < TRIES; i++)
		if (write(p->tun_fds[0], packet, n) == (ssize_t)n &&
			wait_for(reached_postrouting, &a))
			return true;
	return false;
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
		if (!neighbour(&lan.v[i].prefix, &client))
			continue;
		*ret_ifindex = lan.v[i].ifindex;
		if (!lan_to_tun(inject, target, lan.v[i].ifindex, &client))
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
