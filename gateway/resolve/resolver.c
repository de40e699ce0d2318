#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "gateway/resolve/resolve_internal.h"

static void resolver_free(struct resolver *r)
{
	void (*stopped)(void *arg) = r->stopped;
	void *arg = r->stopped_arg;

	loop_timer_cancel(r->loop, &r->end);
	transport_udp_fini(r);
	slab_fini(&r->tcp_links);
	slab_fini(&r->udp_links);
	slab_fini(&r->flights);
	loop_buffers_free(r->buffers);
	free(r);
	if (stopped)
		stopped(arg);
}

static void resolver_end(struct loop_timer *timer)
{
	struct resolver *r = container_of(timer, struct resolver, end);

	if (r->stopping && r->holds == 0)
		resolver_free(r);
}

int resolver_new(struct loop *loop, struct resolver **ret)
{
	struct resolver *r = calloc(1, sizeof *r);
	int error;

	if (!r)
		return -ENOMEM;
	r->loop = loop;
	slab_init(&r->flights, sizeof(struct flight), RESOLVE_FLIGHTS_MAX);
	slab_init(&r->udp_links, transport_udp_link_size(), RESOLVE_UDP_MAX);
	slab_init(&r->tcp_links, transport_tcp_link_size(), RESOLVE_TCP_MAX);
	if (getrandom(&r->hash_key, sizeof r->hash_key, 0) != sizeof r->hash_key) {
		error = -EIO;
		goto fail;
	}
	r->end.fire = resolver_end;
	error = loop_timer_set(loop, &r->end, RESOLVE_NEVER_MS);
	if (error < 0)
		goto fail;
	error = loop_buffers_new(loop, RESOLVE_BUFFER_BYTES, RESOLVE_BUFFERS, &r->buffers);
	if (error < 0)
		goto cancel;
	*ret = r;
	return 0;
cancel:
	loop_timer_cancel(loop, &r->end);
fail:
	free(r);
	return error;
}

void resolver_release(struct resolver *r)
{
	if (--r->holds == 0 && r->stopping)
		(void)loop_timer_set(r->loop, &r->end, loop_now_ms(r->loop));
}

void resolver_stop(struct resolver *r, void (*done)(void *arg), void *arg)
{
	r->stopping = true;
	r->stopped = done;
	r->stopped_arg = arg;
	if (r->holds == 0) { /* so no callback of ours is running */
		resolver_free(r);
		return;
	}
	for (size_t i = 0; i < RESOLVE_BUCKETS; i++) {
		struct flight *f = r->buckets[i];

		/* A callback may cancel others, so the bucket is read anew. A pinned flight is
		 * below us on the stack and ends itself when it sees `stopping`. */
		while (f) {
			if (f->pinned) {
				f = f->next;
				continue;
			}
			flight_finish(f, NULL, 0, -ECANCELED);
			f = r->buckets[i];
		}
	}
}

int resolver_random(struct resolver *r, uint16_t *ret)
{
	if (r->random_left < sizeof *ret) {
		if (getrandom(r->random, sizeof r->random, 0) != sizeof r->random)
			return -EIO;
		r->random_left = sizeof r->random;
	}
	r->random_left -= sizeof *ret;
	memcpy(ret, r->random + r->random_left, sizeof *ret);
	return 0;
}
