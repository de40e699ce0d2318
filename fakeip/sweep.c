/* When all live flows are to be looked at, and that they were. */
#include "fakeip/fakeip_internal.h"

#define LOW_PART 16 /* of the pool: fewer never used indexes than that are few */
#define LOW_MAX	 4096

static uint32_t few(const struct fakeip_table *t)
{
	uint32_t part = (t->pool.end - POOL_FIRST) / LOW_PART;

	return part > LOW_MAX ? LOW_MAX : part ? part : 1;
}

void fakeip_swept(struct fakeip_table *t, uint32_t began_s)
{
	t->exhausted_before = atomic_load_explicit(&t->exhausted, memory_order_relaxed);
	raise_to(&t->swept_s, began_s);
}

static bool is_running_out(const struct fakeip_table *t)
{
	return atomic_load(&t->top) - atomic_load(&t->fresh) < few(t) ||
	       atomic_load(&t->exhausted) != t->exhausted_before;
}

/* Enough are free, or something could be. When nothing could, the time until then is kept, so that
 * a pool full of live mappings is not looked through every second; what a flow leaves behind in
 * that time is found a little later. */
bool fakeip_wants_sweep(struct fakeip_table *t, uint32_t now_s)
{
	uint32_t swept_s = atomic_load(&t->swept_s), soonest = SOONEST_NEVER, free = 0;
	bool could = false;

	if (!t->needs_sweep || !is_running_out(t) || now_s < t->idle_until_s)
		return false;
	for (uint32_t i = table_given_next(t, 0); i && free < few(t); i = table_given_next(t, i)) {
		uint32_t at = reuse_free_at(t, &t->entries[i]);

		free += at <= swept_s;
		could |= at > swept_s && at <= now_s;
		soonest = at < soonest ? at : soonest;
	}
	if (free >= few(t))
		return false;
	if (!could && !free)
		t->idle_until_s = soonest < now_s + 10 ? soonest : now_s + 10;
	return could;
}
