#include "tests/unit/serve_stage.h"

#include <poll.h>
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

static bool readable(int fd)
{
	struct pollfd p = {.fd = fd, .events = POLLIN};

	return poll(&p, 1, 0) == 1;
}

size_t query_handle(struct query_engine *e, const struct query_origin *origin, const uint8_t *msg,
	size_t len, uint8_t *out)
{
	struct stage *s = (struct stage *)e;

	s->n_handled++;
	s->last = *origin;
	s->last_len = len;
	if (len <= DNS_HEADER_SIZE)
		return 0;
	switch (msg[DNS_HEADER_SIZE]) {
	case 'e':
		s->uncommitted = true;
		memcpy(out, msg, len);
		return len;
	case 'b':
		s->uncommitted = true;
		assert_true(origin->stream);
		memset(out, 'B', STAGE_BIG);
		memcpy(out, msg, len);
		return STAGE_BIG;
	case 'w':
		origin->reply(origin, msg, len);
		return QUERY_PARKED;
	case 'p':
		assert_in_range(s->n_parked, 0, STAGE_PARKED_MAX - 1);
		assert_in_range(len, 1, sizeof s->parked[0].msg);
		s->parked[s->n_parked].origin = *origin;
		s->parked[s->n_parked].len = len;
		memcpy(s->parked[s->n_parked++].msg, msg, len);
		return QUERY_PARKED;
	default:
		return 0;
	}
}

void query_engine_commit(struct query_engine *e)
{
	struct stage *s = (struct stage *)e;

	s->n_commits++;
	if (s->uncommitted && s->watch_fd >= 0)
		assert_false(readable(s->watch_fd));
	s->uncommitted = false;
}

struct stage *stage_open(void)
{
	struct stage *s = calloc(1, sizeof *s);

	assert_non_null(s);
	s->watch_fd = -1;
	assert_int_equal(loop_new(&s->loop), 0);
	assert_int_equal(loop_buffers_new(s->loop, 2048, 64, &s->buffers), 0);
	return s;
}

void stage_close(struct stage *s)
{
	loop_buffers_free(s->buffers);
	loop_free(s->loop);
	free(s);
}

struct query_engine *stage_engine(struct stage *s)
{
	return (struct query_engine *)s;
}

void stage_query(uint8_t *msg, size_t len, unsigned id, char command)
{
	memset(msg, 0, len);
	msg[0] = (uint8_t)(id >> 8);
	msg[1] = (uint8_t)id;
	msg[DNS_HEADER_SIZE] = (uint8_t)command;
}

void stage_release(struct stage *s, size_t parked)
{
	struct stage_parked *p = &s->parked[parked];

	assert_true(parked < s->n_parked);
	p->origin.reply(&p->origin, p->msg, p->len);
}

bool stage_turn_until_readable(struct stage *s, int fd, int ms)
{
	int64_t end_ms = hand_clock_real_ms() + ms;

	/* What is under way comes within a few turns, however late they are. */
	for (unsigned turns = 0; turns < 10 || hand_clock_real_ms() < end_ms; turns++) {
		if (readable(fd))
			return true;
		assert_int_equal(loop_turn(s->loop, 5), 0);
	}
	return false;
}

void stage_turns(struct stage *s, unsigned n)
{
	while (n--)
		assert_int_equal(loop_turn(s->loop, 2), 0);
}

int stage_listen(const char *address, bool stream)
{
	struct serve_socket_config c = {.stream = stream};
	int fd;

	assert_int_equal(ip_addr_parse(address, &c.at.addr), 0);
	fd = serve_socket_open(&c);
	assert_true(fd >= 0);
	return fd;
}
