#include "gateway/query/parked.h"
#include "gateway/base/container.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define OPT_ROOM 64 /* what an answer may be longer than the response it is made of: our OPT */

struct parked_chunk {
	struct parked_chunk *next;
	struct parked v[PARKED_CHUNK];
};

static bool grow(struct parked_slab *s)
{
	struct parked_chunk *chunk;

	if (s->total + PARKED_CHUNK > PARKED_MAX)
		return false;
	chunk = malloc(sizeof *chunk);
	if (!chunk)
		return false;
	chunk->next = s->chunks;
	s->chunks = chunk;
	s->total += PARKED_CHUNK;
	for (size_t i = 0; i < PARKED_CHUNK; i++) {
		chunk->v[i].next_free = s->free;
		s->free = &chunk->v[i];
	}
	return true;
}

struct parked *parked_get(struct parked_slab *s, const struct ip_addr *client)
{
	uint16_t who = (uint16_t)(ip_addr_hash(client) % PARKED_CLIENTS);
	struct parked *p;

	if (s->used >= PARKED_MAX / 2 && s->clients[who] >= PARKED_SHARE)
		return NULL;
	if (!s->free && !grow(s))
		return NULL;
	p = s->free;
	s->free = p->next_free;
	s->used++;
	s->clients[who]++;
	p->client = who;
	p->request = (struct resolve_request){0};
	p->push_timer = (struct loop_timer){0};
	p->pushing = p->replied = p->push_again = false;
	p->push_timeout_ms = 0;
	p->forget = p->strict = 0;
	p->pushed = 0;
	p->response = p->answer = NULL;
	p->response_len = p->answer_len = p->answer_size = 0;
	return p;
}

void parked_drop_answer(struct parked *p)
{
	if (p->answer != p->small)
		free(p->answer);
	p->answer = p->small;
	p->answer_size = sizeof p->small;
}

void parked_put(struct parked_slab *s, struct parked *p)
{
	parked_drop_answer(p);
	if (p->response != p->small_response)
		free(p->response);
	p->next_free = s->free;
	s->free = p;
	s->clients[p->client]--;
	if (--s->used == 0 && s->total > PARKED_KEPT)
		parked_slab_fini(s);
}

void parked_slab_fini(struct parked_slab *s)
{
	while (s->chunks) {
		struct parked_chunk *next = s->chunks->next;

		free(s->chunks);
		s->chunks = next;
	}
	*s = (struct parked_slab){0};
}

int parked_make_room(struct parked *p, size_t size, size_t limit)
{
	p->answer_size = size + OPT_ROOM < limit ? size + OPT_ROOM : limit;
	if (p->answer_size < DNS_UDP_MAX)
		p->answer_size = limit < DNS_UDP_MAX ? limit : DNS_UDP_MAX;
	p->answer = p->answer_size <= sizeof p->small ? p->small : malloc(p->answer_size);
	return p->answer ? 0 : -ENOMEM;
}

int parked_keep_response(struct parked *p, const uint8_t *msg, size_t len)
{
	p->response = len <= sizeof p->small_response ? p->small_response : malloc(len);
	if (!p->response)
		return -ENOMEM;
	memcpy(p->response, msg, len);
	p->response_len = len;
	return 0;
}

struct parked *parked_of_request(struct resolve_request *rq)
{
	return container_of(rq, struct parked, request);
}

struct parked *parked_of_job(struct writer_job *job)
{
	return container_of(job, struct parked, job);
}
