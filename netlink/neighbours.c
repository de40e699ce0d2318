/* Theory of operation: buckets of a few neighbours each, chosen by a keyed hash of the address, so
 * that nobody on the LAN can push somebody else out by his own addresses. A bucket has a sequence
 * number that is odd while it is written; a reader that saw it odd, or another one behind its
 * reading, reads again. All words are atomic, so nothing is torn and nothing is undefined: what is
 * stored with release between the two changes of the number, and loaded with acquire, cannot be
 * seen without the first of them. */
#include "netlink/neighbours.h"
#include "netlink/rt_internal.h"

#include <errno.h>
#include <linux/filter.h>
#include <linux/neighbour.h>
#include <sched.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <unistd.h>

enum {
	WAYS_EACH = 8, /* neighbours of a bucket */
	BUCKETS = NEIGHBOURS_MAX / WAYS_EACH,
	PREFIXES_MAX = 256,
	LINKS_MAX = 1024,
	READ_BYTES = 32768,
	READS_MAX = 4096, /* in one call: more than the queue holds */
	QUEUE_BYTES = 1 << 20,
	SPINS_MAX = 64, /* until the writer, whom we may keep from it, gets the processor */
};

/* info: the MAC address in the low bits, then these. */
#define INFO_MAC    ((1ULL << 48) - 1)
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

struct place {
	_Atomic uint64_t address[2];
	_Atomic uint32_t ifindex, kind; /* kind: family << 8 | length of the prefix */
};

struct link {
	_Atomic uint64_t name[IF_NAMESIZE / 8];
	_Atomic uint32_t ifindex;
};

/* What lies where; longer prefixes first. */
struct places {
	_Atomic uint32_t sequence, n_prefixes, n_links;
	struct place prefixes[PREFIXES_MAX];
	struct link links[LINKS_MAX];
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

/* --- sequence numbers --- */

static void write_begin(_Atomic uint32_t *sequence)
{
	uint32_t s = atomic_load_explicit(sequence, memory_order_relaxed);

	atomic_store_explicit(sequence, s + 1, memory_order_relaxed);
}

static void write_end(_Atomic uint32_t *sequence)
{
	uint32_t s = atomic_load_explicit(sequence, memory_order_relaxed);

	atomic_store_explicit(sequence, s + 1, memory_order_release);
}

static uint32_t read_begin(const _Atomic uint32_t *sequence)
{
	for (unsigned spins = 1;; spins++) {
		uint32_t s = atomic_load_explicit(sequence, memory_order_acquire);

		if (s % 2 == 0)
			return s;
		if (spins % SPINS_MAX == 0)
			(void)sched_yield();
	}
}

static bool read_failed(const _Atomic uint32_t *sequence, uint32_t began)
{
	return atomic_load_explicit(sequence, memory_order_relaxed) != began;
}

#define PUT(word, value) atomic_store_explicit(&(word), (value), memory_order_release)
#define GET(word)	 atomic_load_explicit(&(word), memory_order_acquire)

/* --- the table --- */

static struct bucket *bucket_of(const struct neighbours *n, const uint64_t address[2])
{
	uint64_t h = (address[0] ^ n->key[0]) * 0x9e3779b97f4a7c15ULL;

	h = (h ^ h >> 32 ^ address[1] ^ n->key[1]) * 0xbf58476d1ce4e5b9ULL;
	h = (h ^ h >> 29) * 0x94d049bb133111ebULL;
	return (struct bucket *)&n->buckets[(h >> 32) % BUCKETS];
}

static void address_words(const struct ip_addr *a, uint64_t ret[2])
{
	memcpy(ret, a->b, sizeof a->b);
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

static int subscribe(int *ret)
{
	struct sockaddr_nl local = {.nl_family = AF_NETLINK};
	int fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC | SOCK_NONBLOCK, NETLINK_ROUTE);
	int group = RTNLGRP_NEIGH, size = QUEUE_BYTES, r;

	if (fd < 0)
		return -errno;
	/* Needs a right that we may lack; a short queue is told by ENOBUFS. */
	(void)setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &size, sizeof size);
	r = filter_families(fd);
	if (r == 0 && (bind(fd, (struct sockaddr *)&local, sizeof local) < 0 ||
			      setsockopt(fd, SOL_NETLINK, NETLINK_ADD_MEMBERSHIP, &group,
				      sizeof group) < 0))
		r = -errno;
	if (r < 0) {
		close(fd);
		return r;
	}
	*ret = fd;
	return 0;
}

int neighbours_new(struct neighbours **ret)
{
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
		r = subscribe(&n->fd);
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

/* --- where prefixes lie --- */

struct seen_prefix {
	struct ip_prefix prefix;
	unsigned ifindex;
};

struct seen_link {
	unsigned ifindex;
	char name[IF_NAMESIZE];
};

struct seen {
	struct seen_prefix prefixes[PREFIXES_MAX];
	struct seen_link links[LINKS_MAX];
	size_t n_prefixes, n_links;
};

static void see_address(void *arg, unsigned ifindex, const struct ip_addr *a, uint8_t len)
{
	struct seen *s = arg;

	/* Every interface has the link-local prefix. */
	if (s->n_prefixes == PREFIXES_MAX || ip_addr_is_loopback(a) || ip_addr_is_link_local(a) ||
		len > 8 * ip_addr_size(a))
		return;
	s->prefixes[s->n_prefixes++] = (struct seen_prefix){{*a, len}, ifindex};
}

static void see_link(void *arg, unsigned ifindex, const char *name)
{
	struct seen *s = arg;

	if (s->n_links == LINKS_MAX || strlen(name) >= IF_NAMESIZE)
		return;
	s->links[s->n_links].ifindex = ifindex;
	strcpy(s->links[s->n_links++].name, name);
}

static int prefix_compare(const void *a, const void *b)
{
	const struct seen_prefix *p = a, *q = b;

	if (p->prefix.len != q->prefix.len)
		return q->prefix.len - p->prefix.len;
	return p->ifindex < q->ifindex ? -1 : p->ifindex > q->ifindex;
}

static int link_compare(const void *a, const void *b)
{
	const struct seen_link *p = a, *q = b;

	return p->ifindex < q->ifindex ? -1 : p->ifindex > q->ifindex;
}

static void places_set(struct places *p, const struct seen *s)
{
	write_begin(&p->sequence);
	for (size_t i = 0; i < s->n_prefixes; i++) {
		const struct ip_prefix *prefix = &s->prefixes[i].prefix;
		uint64_t words[2];

		address_words(&prefix->addr, words);
		PUT(p->prefixes[i].address[0], words[0]);
		PUT(p->prefixes[i].address[1], words[1]);
		PUT(p->prefixes[i].kind, (uint32_t)prefix->addr.family << 8 | prefix->len);
		PUT(p->prefixes[i].ifindex, s->prefixes[i].ifindex);
	}
	for (size_t i = 0; i < s->n_links; i++) {
		uint64_t words[IF_NAMESIZE / 8];

		memcpy(words, s->links[i].name, sizeof words);
		for (size_t w = 0; w < IF_NAMESIZE / 8; w++)
			PUT(p->links[i].name[w], words[w]);
		PUT(p->links[i].ifindex, s->links[i].ifindex);
	}
	PUT(p->n_prefixes, (uint32_t)s->n_prefixes);
	PUT(p->n_links, (uint32_t)s->n_links);
	write_end(&p->sequence);
}

int neighbours_reload(struct neighbours *n, struct rt *rt)
{
	struct seen *s = calloc(1, sizeof *s);
	int r;

	if (!s)
		return -ENOMEM;
	r = rt_addresses(rt, see_address, s);
	if (r == 0)
		r = rt_links(rt, see_link, s);
	if (r == 0) {
		qsort(s->prefixes, s->n_prefixes, sizeof s->prefixes[0], prefix_compare);
		qsort(s->links, s->n_links, sizeof s->links[0], link_compare);
		places_set(&n->places, s);
	}
	free(s);
	return r;
}

/* --- look-up --- */

/* The interface in whose prefix the address lies, 0: none. */
static unsigned places_interface(const struct places *p, const struct ip_addr *a)
{
	uint32_t n = GET(p->n_prefixes);

	for (uint32_t i = 0; i < n; i++) {
		uint32_t kind = GET(p->prefixes[i].kind);
		uint64_t words[2] = {
			GET(p->prefixes[i].address[0]), GET(p->prefixes[i].address[1])};
		struct ip_prefix prefix = {
			.addr.family = (uint8_t)(kind >> 8), .len = (uint8_t)kind};

		memcpy(prefix.addr.b, words, sizeof words);
		if (ip_prefix_contains(&prefix, a))
			return GET(p->prefixes[i].ifindex);
	}
	return 0;
}

static void places_name(const struct places *p, unsigned ifindex, char ret[IF_NAMESIZE])
{
	uint32_t from = 0, n = GET(p->n_links);

	ret[0] = 0;
	while (n > 0) {
		uint32_t half = n / 2, found = GET(p->links[from + half].ifindex);

		if (found == ifindex) {
			uint64_t words[IF_NAMESIZE / 8];

			for (size_t w = 0; w < IF_NAMESIZE / 8; w++)
				words[w] = GET(p->links[from + half].name[w]);
			memcpy(ret, words, sizeof words);
			ret[IF_NAMESIZE - 1] = 0;
			return;
		}
		if (found < ifindex) {
			from += half + 1;
			n -= half + 1;
		} else {
			n = half;
		}
	}
}

/* The neighbour with this address; of several, on several interfaces, that on `preferred`, else the
 * one that was told of last. */
static void bucket_find(const struct bucket *b, const struct ip_addr *a, const uint64_t words[2],
	unsigned preferred, struct neighbour *ret)
{
	uint32_t newest = 0;
	bool found = false;

	for (unsigned i = 0; i < WAYS_EACH; i++) {
		const struct slot *s = &b->slots[i];
		uint32_t stamp, ifindex;
		uint64_t info;

		if (!slot_is(s, a, words))
			continue;
		info = GET(s->info);
		ifindex = GET(s->ifindex);
		stamp = GET(s->stamp);
		if (found && ifindex != preferred && (int32_t)(stamp - newest) <= 0)
			continue;
		found = true;
		newest = stamp;
		ret->ifindex = ifindex;
		ret->has_mac = info & INFO_HAS;
		for (unsigned byte = 0; byte < 6; byte++)
			ret->mac[byte] = (uint8_t)(info >> 8 * byte); /* zero without one */
		if (ifindex == preferred)
			return;
	}
}

bool neighbours_find(
	const struct neighbours *n, const struct ip_addr *address, struct neighbour *ret)
{
	const struct bucket *b;
	unsigned preferred;
	uint64_t words[2];
	uint32_t began;

	if (!n || address->family == IP_NONE)
		return false;
	do {
		began = read_begin(&n->places.sequence);
		preferred = places_interface(&n->places, address);
	} while (read_failed(&n->places.sequence, began));
	address_words(address, words);
	b = bucket_of(n, words);
	do {
		memset(ret, 0, sizeof *ret);
		began = read_begin(&b->sequence);
		bucket_find(b, address, words, preferred, ret);
	} while (read_failed(&b->sequence, began));
	if (ret->ifindex == 0)
		ret->ifindex = preferred;
	if (ret->ifindex == 0)
		return false;
	do {
		began = read_begin(&n->places.sequence);
		places_name(&n->places, ret->ifindex, ret->interface);
	} while (read_failed(&n->places.sequence, began));
	return true;
}
