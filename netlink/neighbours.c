/* Theory of operation: buckets of a few neighbours each, chosen by a keyed hash of the address, so
 * that nobody on the LAN can push somebody else out by his own addresses. Each has a sequence
 * number (neighbours_internal.h). */
#include "netlink/neighbours_internal.h"
#include "netlink/rt_internal.h"
#include "netlink/subscribe.h"

#include <errno.h>
#include <linux/filter.h>
#include <linux/neighbour.h>
#include <stddef.h>
#include <stdlib.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <unistd.h>

enum {
	WAYS_EACH = 8, /* neighbours of a bucket */
	BUCKETS = NEIGHBOURS_MAX / WAYS_EACH,
	READ_BYTES = 32768,
	READS_MAX = 4096, /* in one call: more than the queue holds */
	QUEUE_BYTES = 1 << 20,
};

/* info: the MAC address in the low 48 bits, then these. */
#define INFO_HAS    (1ULL << 48)
#define INFO_FAMILY 56 /* enum ip_family; 0: the slot is free */

struct slot {
	_Atomic uint64_t address[2], info;
	_Atomic uint32_t ifindex, stamp; /* stamp: when it was told of, in news */
};

struct bucket {
	_Atomic uint32_t sequence;
	struct slot slots[WAYS_EACH];
};

struct neighbours {
	int fd;
	struct rt *rt; /* for whole tables */
	uint64_t key[2];
	uint32_t stamp;
	struct bucket buckets[BUCKETS];
	struct places places;
	uint8_t buf[READ_BYTES];
};

/* --- the table --- */

static struct bucket *bucket_of(const struct neighbours *n, const uint64_t address[2])
{
	uint64_t h = (address[0] ^ n->key[0]) * 0x9e3779b97f4a7c15ULL;

	h = (h ^ h >> 32 ^ address[1] ^ n->key[1]) * 0xbf58476d1ce4e5b9ULL;
	h = (h ^ h >> 29) * 0x94d049bb133111ebULL;
	return (struct bucket *)&n->buckets[(h >> 32) % BUCKETS];
}

static bool slot_is(const struct slot *s, const struct ip_addr *a, const uint64_t words[2])
{
	return GET(s->info) >> INFO_FAMILY == a->family && GET(s->address[0]) == words[0] &&
	       GET(s->address[1]) == words[1];
}

/* The slot of this neighbour; else a free one, else the one of which nothing was told for the
 * longest time. The address may be on several interfaces. */
static struct slot *slot_choose(struct neighbours *n, struct bucket *b, const struct ip_addr *a,
	unsigned ifindex, bool *ret_is)
{
	struct slot *best = NULL;
	uint32_t best_age = 0;
	uint64_t words[2];

	address_words(a, words);
	*ret_is = false;
	for (unsigned i = 0; i < WAYS_EACH; i++) {
		struct slot *s = &b->slots[i];
		uint32_t age = n->stamp - GET(s->stamp);

		if (slot_is(s, a, words) && GET(s->ifindex) == ifindex) {
			*ret_is = true;
			return s;
		}
		if (GET(s->info) == 0)
			age = UINT32_MAX;
		if (!best || age > best_age) {
			best = s;
			best_age = age;
		}
	}
	return best;
}

static void neighbour_set(
	struct neighbours *n, const struct ip_addr *a, unsigned ifindex, const uint8_t *mac)
{
	uint64_t words[2], info = (uint64_t)a->family << INFO_FAMILY;
	struct bucket *b;
	struct slot *s;
	bool is;

	address_words(a, words);
	for (unsigned i = 0; mac && i < 6; i++)
		info |= (uint64_t)mac[i] << 8 * i;
	if (mac)
		info |= INFO_HAS;
	b = bucket_of(n, words);
	s = slot_choose(n, b, a, ifindex, &is);
	PUT(s->stamp, n->stamp);
	/* Mostly it is told again what is known. */
	if (is && GET(s->info) == info)
		return;
	write_begin(&b->sequence);
	PUT(s->address[0], words[0]);
	PUT(s->address[1], words[1]);
	PUT(s->ifindex, ifindex);
	PUT(s->info, info);
	write_end(&b->sequence);
}

static void slot_clear(struct bucket *b, struct slot *s)
{
	write_begin(&b->sequence);
	PUT(s->info, 0);
	write_end(&b->sequence);
}

static void neighbour_remove(struct neighbours *n, const struct ip_addr *a, unsigned ifindex)
{
	uint64_t words[2];
	struct bucket *b;
	struct slot *s;
	bool is;

	address_words(a, words);
	b = bucket_of(n, words);
	s = slot_choose(n, b, a, ifindex, &is);
	if (is)
		slot_clear(b, s);
}

/* --- the kernel's words --- */

static void take(void *arg, const struct nlmsghdr *h)
{
	/* A neighbour that the kernel does not believe in any more is none, and NOARP are no hosts
	 * but groups and broadcasts. */
	const unsigned valid = NUD_REACHABLE | NUD_STALE | NUD_DELAY | NUD_PROBE | NUD_PERMANENT;
	static const uint8_t none[6] = {0};
	struct neighbours *n = arg;
	const struct ndmsg *m = mnl_nlmsg_get_payload(h);
	const struct nlattr *attrs[NDA_LLADDR + 1];
	const uint8_t *mac = NULL;
	struct ip_addr a;

	if ((h->nlmsg_type != RTM_NEWNEIGH && h->nlmsg_type != RTM_DELNEIGH) ||
		mnl_nlmsg_get_payload_len(h) < sizeof *m || m->ndm_flags & NTF_PROXY ||
		m->ndm_ifindex <= 0)
		return;
	rt_attributes(h, sizeof *m, attrs, NDA_LLADDR);
	a = rt_attribute_address(attrs[NDA_DST], m->ndm_family);
	if (a.family == IP_NONE)
		return;
	/* With more than 128 neighbours the kernel drops those that were silent for a minute, and
	 * all when their link goes down, and tells their last state (seen on 6.18). The first
	 * question of such a client may come before the kernel has asked for it again, and a rule
	 * for it would not hold. Where somebody takes an entry away it is told as failed. */
	if (h->nlmsg_type == RTM_DELNEIGH && m->ndm_state & valid)
		return;
	if (h->nlmsg_type == RTM_DELNEIGH || !(m->ndm_state & valid)) {
		neighbour_remove(n, &a, (unsigned)m->ndm_ifindex);
		return;
	}
	if (attrs[NDA_LLADDR] && mnl_attr_get_payload_len(attrs[NDA_LLADDR]) == sizeof none)
		mac = mnl_attr_get_payload(attrs[NDA_LLADDR]);
	if (mac && memcmp(mac, none, sizeof none) == 0)
		mac = NULL;
	n->stamp++;
	neighbour_set(n, &a, (unsigned)m->ndm_ifindex, mac);
}

/* Reads the whole table and forgets what is not in it. What changes meanwhile lies in the socket's
 * queue and is read afterwards. */
static int table_read(struct neighbours *n)
{
	uint32_t began = n->stamp;
	int r = rt_dump(n->rt, RTM_GETNEIGH, AF_UNSPEC, take, n);

	if (r < 0)
		return r;
	for (unsigned i = 0; i < BUCKETS; i++) {
		for (unsigned j = 0; j < WAYS_EACH; j++) {
			struct slot *s = &n->buckets[i].slots[j];

			if (GET(s->info) && (int32_t)(GET(s->stamp) - began) <= 0)
				slot_clear(&n->buckets[i], s);
		}
	}
	return 0;
}

/* Bridges tell about their ports' neighbours in the same group. */
static int filter_families(int fd)
{
	enum { FAMILY = MNL_NLMSG_HDRLEN + offsetof(struct ndmsg, ndm_family) };
	struct sock_filter code[] = {
		BPF_STMT(BPF_LD | BPF_B | BPF_ABS, FAMILY),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, AF_INET, 1, 0),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, AF_INET6, 0, 1),
		BPF_STMT(BPF_RET | BPF_K, UINT32_MAX),
		BPF_STMT(BPF_RET | BPF_K, 0),
	};
	struct sock_fprog program = {sizeof code / sizeof code[0], code};
	int r = setsockopt(fd, SOL_SOCKET, SO_ATTACH_FILTER, &program, sizeof program);

	return r < 0 ? -errno : 0;
}

int neighbours_new(struct neighbours **ret)
{
	static const int groups[] = {RTNLGRP_NEIGH};
	struct neighbours *n = calloc(1, sizeof *n);
	int r;

	if (!n)
		return -ENOMEM;
	n->fd = -1;
	n->stamp = 1;
	/* At boot the kernel may have none yet, and then nobody has come to aim. */
	(void)getrandom(n->key, sizeof n->key, GRND_NONBLOCK);
	r = rt_open(&n->rt);
	if (r == 0)
		r = netlink_subscribe(
			NETLINK_ROUTE, QUEUE_BYTES, filter_families, groups, 1, &n->fd);
	if (r == 0)
		r = table_read(n);
	if (r < 0) {
		neighbours_free(n);
		return r;
	}
	*ret = n;
	return 0;
}

void neighbours_free(struct neighbours *n)
{
	if (!n)
		return;
	if (n->fd >= 0)
		close(n->fd);
	rt_close(n->rt);
	free(n);
}

int neighbours_fd(const struct neighbours *n)
{
	return n->fd;
}

int neighbours_read(struct neighbours *n)
{
	bool lost = false;

	for (int i = 0; i < READS_MAX; i++) {
		const struct nlmsghdr *h = (const struct nlmsghdr *)n->buf;
		ssize_t len = recv(n->fd, n->buf, sizeof n->buf, MSG_DONTWAIT | MSG_TRUNC);
		int left;

		if (len < 0 && errno == EAGAIN)
			break;
		if (len < 0 && errno != EINTR && errno != ENOBUFS)
			return -errno;
		lost |= len > (ssize_t)sizeof n->buf || (len < 0 && errno == ENOBUFS);
		if (len < 0)
			continue;
		left = len > (ssize_t)sizeof n->buf ? (int)sizeof n->buf : (int)len;
		for (; mnl_nlmsg_ok(h, left); h = mnl_nlmsg_next(h, &left))
			take(n, h);
	}
	return lost ? table_read(n) : 0;
}

int neighbours_reload(struct neighbours *n, struct rt *rt)
{
	return places_reload(&n->places, rt);
}

/* --- look-up --- */

/* How many neighbours have this address; of several, on several interfaces, ret is that on
 * `preferred`, else the one that was told of last. */
static unsigned bucket_read(const struct bucket *b, const struct ip_addr *a,
	const uint64_t words[2], unsigned preferred, struct neighbour *ret)
{
	uint32_t newest = 0;
	unsigned n = 0;

	memset(ret, 0, sizeof *ret);
	for (unsigned i = 0; i < WAYS_EACH; i++) {
		const struct slot *s = &b->slots[i];
		uint32_t stamp, ifindex;
		uint64_t info;

		if (!slot_is(s, a, words))
			continue;
		info = GET(s->info);
		ifindex = GET(s->ifindex);
		stamp = GET(s->stamp);
		if (n++ > 0 && ifindex != preferred &&
			(ret->ifindex == preferred || (int32_t)(stamp - newest) <= 0))
			continue;
		newest = stamp;
		ret->ifindex = ifindex;
		ret->has_mac = info & INFO_HAS;
		for (unsigned byte = 0; byte < 6; byte++)
			ret->mac[byte] = (uint8_t)(info >> 8 * byte); /* zero without one */
	}
	return n;
}

static unsigned bucket_find(const struct bucket *b, const struct ip_addr *a,
	const uint64_t words[2], unsigned preferred, struct neighbour *ret)
{
	uint32_t began;
	unsigned n;

	do {
		began = read_begin(&b->sequence);
		n = bucket_read(b, a, words, preferred, ret);
	} while (read_failed(&b->sequence, began));
	return n;
}

bool neighbours_find(
	const struct neighbours *n, const struct ip_addr *address, struct neighbour *ret)
{
	const struct bucket *b;
	unsigned found, interface;
	uint64_t words[2];

	if (!n || address->family == IP_NONE)
		return false;
	address_words(address, words);
	b = bucket_of(n, words);
	found = bucket_find(b, address, words, 0, ret);
	if (found != 1) {
		interface = places_interface(&n->places, address);
		if (found > 1)
			(void)bucket_find(b, address, words, interface, ret);
		if (ret->ifindex == 0)
			ret->ifindex = interface;
		if (ret->ifindex == 0)
			return false;
	}
	places_name(&n->places, ret->ifindex, ret->interface);
	return true;
}
