/* Small numbers for the few views and rules. A number is read without a lock: it means another
 * value only after no entry had it any more, and an entry that let go of it has another sequence.
 */
#include "fakeip/fakeip_internal.h"

#include <errno.h>
#include <string.h>

#define SLOTS	     (2 * (IDS_MAX + (size_t)1))
#define VALUES_BYTES ((IDS_MAX + (size_t)1) * sizeof(uint64_t))
#define SLOTS_BYTES  (SLOTS * sizeof(uint16_t))

int ids_init(struct id_table *ids)
{
	ids->values = region_map(VALUES_BYTES);
	ids->slots = region_map(SLOTS_BYTES);
	ids->n = 1;
	return ids->values && ids->slots ? 0 : -ENOMEM;
}

void ids_fini(struct id_table *ids)
{
	region_unmap((void *)ids->values, VALUES_BYTES);
	region_unmap(ids->slots, SLOTS_BYTES);
}

/* Its slot, or the empty one where it belongs. */
static uint16_t *slot_of(const struct id_table *ids, uint64_t value)
{
	uint32_t at = (uint32_t)((value * 0x9e3779b97f4a7c15ULL) >> 32) % SLOTS;

	while (ids->slots[at] && ids_value(ids, ids->slots[at]) != value)
		at = (at + 1) % SLOTS;
	return &ids->slots[at];
}

/* Keeps the numbers that entries have; the others become 0, to be found again. */
static void collect(struct fakeip_table *t, uint16_t keep)
{
	struct id_table *ids = &t->ids;
	uint8_t used[(IDS_MAX + 1) / 8] = {0};

	used[keep / 8] |= (uint8_t)(1U << keep % 8);
	for (uint32_t i = table_given_next(t, 0); i; i = table_given_next(t, i)) {
		const struct entry *e = &t->entries[i];
		uint16_t view = e->view, rule = e->rule;

		if (!e->name_len)
			continue;
		used[view / 8] |= (uint8_t)(1U << view % 8);
		used[rule / 8] |= (uint8_t)(1U << rule % 8);
	}
	memset(ids->slots, 0, SLOTS_BYTES);
	ids->n = 1;
	for (uint32_t i = 1; i <= IDS_MAX; i++) {
		if (!(used[i / 8] >> i % 8 & 1)) {
			atomic_store_explicit(&ids->values[i], 0, memory_order_release);
			continue;
		}
		*slot_of(ids, ids_value(ids, (uint16_t)i)) = (uint16_t)i;
		ids->n++;
	}
}

/* Numbers are used up in turn; after that, whatever nobody has is looked for. */
static uint16_t unused(const struct id_table *ids)
{
	if (ids->n <= IDS_MAX && !ids_value(ids, (uint16_t)ids->n))
		return (uint16_t)ids->n;
	for (uint32_t i = 1; i <= IDS_MAX; i++)
		if (!ids_value(ids, (uint16_t)i))
			return (uint16_t)i;
	return 0;
}

bool ids_number(struct fakeip_table *t, uint64_t value, uint16_t keep, uint16_t *ret)
{
	struct id_table *ids = &t->ids;
	uint16_t *slot, number;

	*ret = 0;
	if (!value)
		return true;
	slot = slot_of(ids, value);
	if (!*slot) {
		number = unused(ids);
		if (!number) {
			collect(t, keep);
			number = unused(ids);
			slot = slot_of(ids, value);
		}
		if (!number)
			return false;
		atomic_store_explicit(&ids->values[number], value, memory_order_release);
		*slot = number;
		ids->n++;
	}
	*ret = *slot;
	return true;
}
