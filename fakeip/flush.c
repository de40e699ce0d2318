/* A mapping that its name has left. */
#include "fakeip/fakeip_internal.h"

#include <errno.h>

/* Under lock. A reader that found the index by its name sees another sequence now, and asks under
 * the lock, where the name has no index. */
static int flush(struct fakeip_table *t, uint32_t index, uint32_t now_s, bool *ret_kept)
{
	struct record r = {.kind = RECORD_FLUSH, .index = index};
	struct entry *e = &t->entries[index];
	uint32_t record;

	if (!e->name_len || e->flushed)
		return -ENOENT;
	entry_begin(e);
	*ret_kept = reuse_free_at(t, e) > reuse_clock(t, now_s);
	if (*ret_kept) {
		table_set_flushed(t, index);
	} else {
		r.kind = RECORD_FREE;
		r.bits = 1;
		table_unbind(t, index);
	}
	record = log_queue_record(t, &r);
	if (record != RECORD_NONE)
		atomic_store_explicit(&e->record, record, memory_order_release);
	entry_end(e);
	return 0;
}

int fakeip_flush(struct fakeip_table *t, uint32_t index, uint32_t now_s, bool *ret_kept)
{
	int r;

	if (!table_given(t, index))
		return -ENOENT;
	for (;;) {
		table_lock(t);
		r = log_has_room(t) ? flush(t, index, now_s, ret_kept) : -EAGAIN;
		table_unlock(t);
		if (r != -EAGAIN)
			return r;
		log_make_room(t);
	}
}
