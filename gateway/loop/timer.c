/* Timers: a binary heap of pointers; a timer knows its place, so moving and cancelling need no
 * search. */
#include <errno.h>
#include <stdlib.h>

#include "gateway/loop/loop_internal.h"

#define TIMERS_FIRST 64
#define TIMERS_MAX   (1u << 24)

static void heap_put(struct loop *l, uint32_t i, struct loop_timer *t)
{
	l->heap[i] = t;
	t->slot = i + 1;
}

static void heap_up(struct loop *l, uint32_t i, struct loop_timer *t)
{
	while (i > 0) {
		uint32_t parent = (i - 1) / 2;

		if (l->heap[parent]->due_ms <= t->due_ms)
			break;
		heap_put(l, i, l->heap[parent]);
		i = parent;
	}
	heap_put(l, i, t);
}

static void heap_down(struct loop *l, uint32_t i, struct loop_timer *t)
{
	for (;;) {
		uint32_t child = 2 * i + 1;

		if (child >= l->timer_count)
			break;
		if (child + 1 < l->timer_count &&
			l->heap[child + 1]->due_ms < l->heap[child]->due_ms)
			child++;
		if (l->heap[child]->due_ms >= t->due_ms)
			break;
		heap_put(l, i, l->heap[child]);
		i = child;
	}
	heap_put(l, i, t);
}

static int heap_make_room(struct loop *l)
{
	if (l->timer_count < l->timer_room)
		return 0;
	uint32_t room = l->timer_room ? l->timer_room * 2 : TIMERS_FIRST;
	struct loop_timer **heap;

	if (room > TIMERS_MAX)
		return -ENOMEM;
	heap = reallocarray(l->heap, room, sizeof(l->heap[0]));
	if (!heap)
		return -ENOMEM;
	l->heap = heap;
	l->timer_room = room;
	return 0;
}

int loop_timer_set(struct loop *l, struct loop_timer *t, int64_t due_ms)
{
	if (t->slot) {
		bool later = due_ms > t->due_ms;

		t->due_ms = due_ms;
		if (later)
			heap_down(l, t->slot - 1, t);
		else
			heap_up(l, t->slot - 1, t);
		return 0;
	}
	int err = heap_make_room(l);

	if (err)
		return err;
	t->due_ms = due_ms;
	heap_up(l, l->timer_count++, t);
	return 0;
}

void loop_timer_cancel(struct loop *l, struct loop_timer *t)
{
	if (!t->slot)
		return;
	uint32_t i = t->slot - 1;
	struct loop_timer *last = l->heap[--l->timer_count];

	t->slot = 0;
	if (last == t)
		return;
	if (last->due_ms < t->due_ms)
		heap_up(l, i, last);
	else
		heap_down(l, i, last);
}

void loop_timers_fire(struct loop *l)
{
	/* One that sets itself to "now" again waits for the next turn: a turn always ends. */
	uint32_t budget = l->timer_count;

	while (budget-- && l->timer_count && l->heap[0]->due_ms <= l->now_ms) {
		struct loop_timer *t = l->heap[0];

		loop_timer_cancel(l, t);
		t->fire(t);
	}
}

int64_t loop_timers_wait_ms(const struct loop *l)
{
	if (!l->timer_count)
		return -1;
	int64_t wait = l->heap[0]->due_ms - l->now_ms;

	return wait > 0 ? wait : 0;
}
