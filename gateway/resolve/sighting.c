#include "gateway/resolve/resolve_internal.h"

#define SIGHTING_ONE   (UINT64_C(1) << 12) /* a flight */
#define SIGHTING_COUNT (SIGHTING_ONE - 1)

static inline uint64_t sighting_tag(uint64_t word)
{
	return word >> 24;
}

static inline uint64_t sighting_flights(uint64_t word)
{
	return word >> 12 & SIGHTING_COUNT;
}

/* The tag is never 0, so that no word in use is. */
static uint64_t sighting_hash(const struct resolve_groups *g, const struct dns_name *name,
	uint16_t type, unsigned *ret_slot)
{
	uint64_t h = dns_name_hash(name, g->sighting_key ^ (uint64_t)type << 48);

	*ret_slot = (unsigned)(h % SIGHTING_SLOTS);
	return h >> 24 ? h >> 24 : 1;
}

/* One more flight in the slot, if it is tag's. */
static bool sighting_join(_Atomic uint64_t *slot, uint64_t tag)
{
	uint64_t word = atomic_load_explicit(slot, memory_order_relaxed);

	while (sighting_tag(word) == tag && sighting_flights(word) < SIGHTING_COUNT)
		if (atomic_compare_exchange_weak(slot, &word, word + SIGHTING_ONE))
			return true;
	return false;
}

int sighting_enter(struct resolve_groups *g, const struct dns_name *name, uint16_t type)
{
	unsigned first, i;
	uint64_t tag = sighting_hash(g, name, type, &first);

	for (i = 0; i < SIGHTING_WINDOW; i++) {
		unsigned slot = (first + i) % SIGHTING_SLOTS;

		if (sighting_join(&g->sightings[slot], tag))
			return (int)slot;
	}
	/* Two workers may enter one question twice at the same moment: the sightings are then
	 * counted in either. */
	for (i = 0; i < SIGHTING_WINDOW; i++) {
		unsigned slot = (first + i) % SIGHTING_SLOTS;
		uint64_t free_word = 0;

		if (atomic_compare_exchange_strong(
			    &g->sightings[slot], &free_word, tag << 24 | SIGHTING_ONE))
			return (int)slot;
	}
	return -1;
}

void sighting_leave(struct resolve_groups *g, int slot)
{
	uint64_t word, next;

	if (slot < 0)
		return;
	word = atomic_load_explicit(&g->sightings[slot], memory_order_relaxed);
	do
		next = sighting_flights(word) == 1 ? 0 : word - SIGHTING_ONE;
	while (!atomic_compare_exchange_weak(&g->sightings[slot], &word, next));
}

unsigned resolve_sighted(struct resolve_groups *g, const struct dns_name *name, uint16_t type)
{
	unsigned first;
	uint64_t tag = sighting_hash(g, name, type, &first);

	for (unsigned i = 0; i < SIGHTING_WINDOW; i++) {
		_Atomic uint64_t *slot = &g->sightings[(first + i) % SIGHTING_SLOTS];
		uint64_t word = atomic_load_explicit(slot, memory_order_relaxed);

		while (sighting_tag(word) == tag) {
			uint64_t seen = word & SIGHTING_COUNT;

			if (seen == SIGHTING_COUNT)
				return (unsigned)seen;
			if (atomic_compare_exchange_weak(slot, &word, word + 1))
				return (unsigned)seen + 1;
		}
	}
	return 0;
}
