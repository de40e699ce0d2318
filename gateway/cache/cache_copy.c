#include <errno.h>
#include <stdlib.h>

#include "gateway/base/grow.h"
#include "gateway/cache/cache_internal.h"

static size_t copy_size(const struct entry *e)
{
	return (entry_size(e) + 7) / 8 * 8;
}

static int copy_entry(struct entry_copies *copies, const struct entry *e)
{
	size_t size = copy_size(e);

	if (room_grow((void **)&copies->bytes, &copies->room, copies->len, size, 1))
		return -ENOMEM;
	memcpy(copies->bytes + copies->len, e, entry_size(e));
	copies->len += size;
	return 0;
}

static int copy_queue(struct entry_copies *copies, const struct queue *q)
{
	int err = 0;

	for (const struct entry *e = q->newest; e && !err; e = e->older)
		err = copy_entry(copies, e);
	return err;
}

int copies_take(struct entry_copies *copies, const struct shard *s)
{
	int err = copy_queue(copies, &s->queues[QUEUE_MAIN]);

	return err ? err : copy_queue(copies, &s->queues[QUEUE_SMALL]);
}

int copies_take_name(struct entry_copies *copies, const struct shard *s, uint32_t hash,
	const struct dns_name *name)
{
	int err = 0;

	for (const struct bucket *b = table_bucket(s, hash); b && !err; b = b->more) {
		for (unsigned i = 0; i < b->n && !err; i++)
			err = entry_has_name(b->entries[i], name)
				      ? copy_entry(copies, b->entries[i])
				      : 0;
	}
	return err;
}

struct entry *copies_next(struct entry_copies *copies)
{
	struct entry *e;

	if (copies->at == copies->len)
		return NULL;
	e = (struct entry *)(void *)(copies->bytes + copies->at);
	copies->at += copy_size(e);
	return e;
}

void copies_empty(struct entry_copies *copies)
{
	copies->at = copies->len = 0;
}

void copies_fini(struct entry_copies *copies)
{
	free(copies->bytes);
}
