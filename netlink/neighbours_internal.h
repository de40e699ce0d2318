/* What the neighbours' table and the places of prefixes share: how one thread writes and any other
 * reads without a lock.
 *
 * A sequence number is odd while its words are written; a reader that saw it odd, or another one
 * behind its reading, reads again. All words are atomic, so nothing is torn and nothing is
 * undefined: what is stored with release between the two changes of the number, and loaded with
 * acquire, cannot be seen without the first of them. */
#ifndef TUNGATE_NETLINK_NEIGHBOURS_INTERNAL_H
#define TUNGATE_NETLINK_NEIGHBOURS_INTERNAL_H

#include <sched.h>
#include <stdatomic.h>
#include <string.h>

#include "netlink/neighbours.h"

enum {
	PLACES_PREFIXES_MAX = 256,
	PLACES_LINKS_MAX = 1024,
	SPINS_MAX = 64, /* until the writer, whom we may keep from it, gets the processor */
};

static inline void write_begin(_Atomic uint32_t *sequence)
{
	uint32_t s = atomic_load_explicit(sequence, memory_order_relaxed);

	atomic_store_explicit(sequence, s + 1, memory_order_relaxed);
}

static inline void write_end(_Atomic uint32_t *sequence)
{
	uint32_t s = atomic_load_explicit(sequence, memory_order_relaxed);

	atomic_store_explicit(sequence, s + 1, memory_order_release);
}

static inline uint32_t read_begin(const _Atomic uint32_t *sequence)
{
	for (unsigned spins = 1;; spins++) {
		uint32_t s = atomic_load_explicit(sequence, memory_order_acquire);

		if (s % 2 == 0)
			return s;
		if (spins % SPINS_MAX == 0)
			(void)sched_yield();
	}
}

static inline bool read_failed(const _Atomic uint32_t *sequence, uint32_t began)
{
	return atomic_load_explicit(sequence, memory_order_relaxed) != began;
}

#define PUT(word, value) atomic_store_explicit(&(word), (value), memory_order_release)
#define GET(word)	 atomic_load_explicit(&(word), memory_order_acquire)

static inline void address_words(const struct ip_addr *a, uint64_t ret[2])
{
	memcpy(ret, a->b, sizeof a->b);
}

/* --- where prefixes lie (neighbours_places.c) --- */

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
	struct place prefixes[PLACES_PREFIXES_MAX];
	struct link links[PLACES_LINKS_MAX];
};

/* Reads addresses and links anew. The main thread's. */
int places_reload(struct places *p, struct rt *rt);
/* The interface in whose prefix the address lies, 0: none. Any thread. */
unsigned places_interface(const struct places *p, const struct ip_addr *a);
/* Its name, "": not known. Any thread. */
void places_name(const struct places *p, unsigned ifindex, char ret[IF_NAMESIZE]);

#endif
