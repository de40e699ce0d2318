/* Theory of operation. A flow has two sides. Each side's bytes go to the other: that is a
 * direction, named after the side that it reads. One poll watches each socket for what is wanted of
 * it now: to be readable while its direction may read, to take bytes while the other direction is
 * blocked by it, and always to be broken. A poll tells once and of a state, so what is left over
 * when a flow has had its share is told again, behind all other flows.
 *
 * Bytes move in two ways. Little at a time is copied: looked at (MSG_PEEK), sent, and what the
 * other side took is then removed; what it did not take stays in the socket that it came by. Bulk
 * goes through a pipe by splice(2), which moves pages; what the other side does not take stays in
 * the pipe, and the pipe with the flow until it has left. If there is no pipe, bulk is copied.
 *
 *	reading --nothing more to read--> reading (polled)
 *	        --the other side is full--> blocked (the other side is polled) --> reading
 *	        --end of the stream--> over: the other side is told (SHUT_WR)
 *
 * Both over: the flow ends. An error on either side ends it with a reset on both. */
#include "gateway/carry/relay.h"

#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "gateway/base/container.h"
#include "gateway/base/count.h"
#include "gateway/base/slab.h"
#include "gateway/carry/pipes.h"

/* What one direction may move before the next flow has its turn: little enough that a turn stays
 * short when many have much to say, a millisecond for each 4 MiB. */
#define SHARE_BYTES	(256u << 10)
#define SHARE_FEW_BYTES (1u << 20)
#define FEW		8
#define LITTLE_BYTES	(8 << 10) /* so much at once is bulk */
#define BUFFER_BYTES	(256u << 10)

/* The wheel: a flow lies in the slot in which it is looked at next. */
#define TICK_MS	   500
#define SLOTS	   128
#define SETTLED_MS 4000 /* it lives longer than most: from now on it is kept alive */

#define KEEPALIVE_S	 60
#define KEEPALIVE_STEP_S 15
#define KEEPALIVE_TRIES	 4

enum side_flag {
	SIDE_OVER = 1,	    /* its stream has ended, and the other side knows */
	SIDE_BLOCKED = 2,   /* the other side did not take what this one brought */
	SIDE_BULK = 4,	    /* brings much at once */
	SIDE_HUNG_UP = 8,   /* no more will come: a poll of states would tell it for ever */
	SIDE_CLIENT = 16,   /* else the egress */
	SIDE_NONBLOCK = 32, /* O_NONBLOCK is set, without which splice(2) waits */
	SIDE_EDGES = 64,    /* the poll tells of news, not of a state */
};

enum moved {
	MOVED,	   /* what was there, or a share of it: the poll tells of more */
	MOVED_NOT, /* it is bulk, not for copying */
	MOVED_BLOCKED,
	MOVED_END,
	MOVED_BROKEN
};

struct side {
	struct loop_op poll;
	int fd;
	uint32_t piped; /* bytes in the pipe */
	int16_t pipe;	/* negative: none */
	uint8_t flags;	/* enum side_flag */
	uint8_t asked;	/* POLLIN, POLLOUT of the poll that is busy */
};

struct flow {
	struct relay *relay;
	struct side client, egress;
	struct flow *next, **prev; /* in its slot */
	void *owner;
	uint64_t number;
	uint8_t *first; /* what of config.first the egress has not taken yet; NULL: nothing */
	uint32_t first_at, first_len;
	uint32_t idle_ms, moved_ms; /* loop_now_ms(), its low half */
	bool ending, reset, settled;
};

struct relay {
	struct relay_config config;
	struct relay_counters counters;
	struct slab flows;
	struct pipes pipes;
	struct loop_timer tick;
	int64_t tick_ms; /* time of the slot at hand */
	unsigned slot;
	bool stopped;
	struct flow *slots[SLOTS];
	uint8_t *buffer;
};

int relay_new(const struct relay_config *config, struct relay **ret)
{
	struct relay *r = calloc(1, sizeof *r);

	if (!r)
		return -ENOMEM;
	r->buffer = malloc(BUFFER_BYTES);
	if (!r->buffer) {
		free(r);
		return -ENOMEM;
	}
	r->config = *config;
	slab_init(&r->flows, sizeof(struct flow), config->max);
	pipes_init(&r->pipes);
	*ret = r;
	return 0;
}

bool relay_idle(const struct relay *r)
{
	return count_get(&r->counters.live) == 0;
}

void relay_free(struct relay *r)
{
	if (!r)
		return;
	loop_timer_cancel(r->config.loop, &r->tick);
	pipes_fini(&r->pipes);
	slab_fini(&r->flows);
	free(r->buffer);
	free(r);
}

const struct relay_counters *relay_counters(const struct relay *r)
{
	return &r->counters;
}

static struct flow *flow_of(struct side *s)
{
	return s->flags & SIDE_CLIENT ? container_of(s, struct flow, client)
				      : container_of(s, struct flow, egress);
}

static struct side *other(struct side *s)
{
	struct flow *f = flow_of(s);

	return s == &f->client ? &f->egress : &f->client;
}

/* --- the wheel --- */

static void wheel_put(struct relay *r, struct flow *f, int64_t in_ms)
{
	int64_t ticks = in_ms / TICK_MS + 1;
	struct flow **slot = &r->slots[(r->slot + (ticks < SLOTS ? ticks : SLOTS - 1)) % SLOTS];

	f->next = *slot;
	f->prev = slot;
	if (f->next)
		f->next->prev = &f->next;
	*slot = f;
}

static void wheel_remove(struct flow *f)
{
	*f->prev = f->next;
	if (f->next)
		f->next->prev = f->prev;
}

/* --- its end --- */

static void pipe_give(struct side *s)
{
	if (s->pipe >= 0)
		pipes_give(&flow_of(s)->relay->pipes, s->pipe, s->piped == 0);
	s->pipe = -1;
}

static void close_with(int fd, bool reset)
{
	const struct linger now = {.l_onoff = 1, .l_linger = 0};

	if (reset)
		(void)setsockopt(fd, SOL_SOCKET, SO_LINGER, &now, sizeof now);
	close(fd);
}

/* close() cancels nothing, and the socket lives on while a poll is there: it comes last. */
static void flow_close_when_quiet(struct flow *f)
{
	struct relay *r = f->relay;
	void *owner = f->owner;
	uint64_t number = f->number;

	if (loop_op_busy(&f->client.poll) || loop_op_busy(&f->egress.poll))
		return;
	close_with(f->client.fd, f->reset);
	close_with(f->egress.fd, f->reset);
	slab_give(&r->flows, f);
	count_add(&r->counters.live, (uint64_t)-1);
	r->config.ended(r->config.arg, owner, number);
}

static void flow_end(struct flow *f, bool reset)
{
	f->ending = true;
	f->reset = reset;
	if (reset)
		count_add(&f->relay->counters.resets, 1);
	wheel_remove(f);
	pipe_give(&f->client);
	pipe_give(&f->egress);
	free(f->first);
	f->first = NULL;
	loop_op_cancel(&f->client.poll);
	loop_op_cancel(&f->egress.poll);
	flow_close_when_quiet(f);
}

/* --- moving bytes --- */

static void count_moved(struct flow *f, const struct side *from, size_t n)
{
	struct relay *r = f->relay;

	f->moved_ms = (uint32_t)loop_now_ms(r->config.loop);
	count_add(from->flags & SIDE_CLIENT ? &r->counters.to_egress_bytes
					    : &r->counters.to_client_bytes,
		n);
}

static enum moved judge_errno(enum moved if_again)
{
	return errno == EAGAIN || errno == EINTR ? if_again : MOVED_BROKEN;
}

static enum moved send_first(struct flow *f)
{
	while (f->first_at < f->first_len) {
		ssize_t n = send(f->egress.fd, f->first + f->first_at, f->first_len - f->first_at,
			MSG_DONTWAIT | MSG_NOSIGNAL);

		if (n < 0)
			return judge_errno(MOVED_BLOCKED);
		f->first_at += (uint32_t)n;
		count_moved(f, &f->client, (size_t)n);
	}
	free(f->first);
	f->first = NULL;
	return MOVED;
}

static enum moved copy(struct side *s, size_t max)
{
	struct flow *f = flow_of(s);
	uint8_t *buffer = f->relay->buffer;
	ssize_t n = recv(s->fd, buffer, max, MSG_DONTWAIT | MSG_PEEK), sent;

	if (n <= 0)
		return n ? judge_errno(MOVED) : MOVED_END;
	if (n == LITTLE_BYTES && max == LITTLE_BYTES)
		return MOVED_NOT;
	sent = send(other(s)->fd, buffer, (size_t)n, MSG_DONTWAIT | MSG_NOSIGNAL);
	if (sent < 0)
		return judge_errno(MOVED_BLOCKED);
	/* Without a copy: MSG_TRUNC on TCP throws away, tcp(7). A buffer is named all the same, for
	 * TSan, which takes it for written to. */
	if (recv(s->fd, buffer, (size_t)sent, MSG_DONTWAIT | MSG_TRUNC) != sent)
		return MOVED_BROKEN;
	count_moved(f, s, (size_t)sent);
	return sent < n ? MOVED_BLOCKED : MOVED;
}

static enum moved pipe_drain(struct side *s)
{
	struct flow *f = flow_of(s);
	ssize_t n;

	if (!s->piped)
		return MOVED;
	/* Exactly what is there: asked for more, older kernels would hold the last part back. */
	n = splice(f->relay->pipes.fds[s->pipe][0], NULL, other(s)->fd, NULL, s->piped,
		SPLICE_F_MOVE | SPLICE_F_NONBLOCK);
	if (n <= 0)
		return n ? judge_errno(MOVED_BLOCKED) : MOVED_BROKEN;
	s->piped -= (uint32_t)n;
	count_moved(f, s, (size_t)n);
	return s->piped ? MOVED_BLOCKED : MOVED;
}

static enum moved pipe_fill(struct side *s)
{
	struct relay *r = flow_of(s)->relay;
	size_t share = count_get(&r->counters.live) <= FEW ? SHARE_FEW_BYTES : SHARE_BYTES;
	ssize_t n = splice(s->fd, NULL, r->pipes.fds[s->pipe][1], NULL, share,
		SPLICE_F_MOVE | SPLICE_F_NONBLOCK);

	if (n <= 0)
		return n ? judge_errno(MOVED) : MOVED_END;
	if (n < LITTLE_BYTES)
		s->flags &= (uint8_t)~SIDE_BULK;
	s->piped = (uint32_t)n;
	return MOVED;
}

static void set_nonblock(struct side *s)
{
	if (s->flags & SIDE_NONBLOCK)
		return;
	s->flags |= SIDE_NONBLOCK;
	(void)fcntl(s->fd, F_SETFL, O_RDWR | O_NONBLOCK);
}

static bool pipe_ready(struct side *s)
{
	if (s->pipe < 0)
		s->pipe = (int16_t)pipes_take(&flow_of(s)->relay->pipes);
	if (s->pipe < 0)
		return false;
	set_nonblock(s);
	set_nonblock(other(s));
	return true;
}

static enum moved move_bulk(struct side *s)
{
	enum moved m;

	s->flags |= SIDE_BULK;
	if (!pipe_ready(s))
		return copy(s, BUFFER_BYTES);
	m = pipe_fill(s);
	return m == MOVED ? pipe_drain(s) : m;
}

/* What s brings goes to the other side, as far as that takes it. One piece, whatever more there is:
 * while other flows have their turn the next one grows, and larger pieces cost less. */
static enum moved move(struct side *s)
{
	struct flow *f = flow_of(s);
	enum moved m = MOVED;

	if (f->first && s->flags & SIDE_CLIENT)
		m = send_first(f);
	if (m == MOVED)
		m = pipe_drain(s);
	if (m == MOVED)
		m = s->flags & SIDE_BULK ? move_bulk(s) : copy(s, LITTLE_BYTES);
	if (m == MOVED_NOT)
		m = move_bulk(s);
	if (!s->piped)
		pipe_give(s);
	return m;
}

/* --- polls --- */

static void told(struct loop_op *op, int32_t res, uint8_t *data, bool last);

static void watch_state(struct side *s, uint8_t wanted)
{
	if (loop_op_busy(&s->poll)) {
		if (s->flags & SIDE_EDGES || wanted & ~s->asked)
			loop_op_cancel(&s->poll); /* told() comes back here */
		return;
	}
	s->flags &= (uint8_t)~SIDE_EDGES;
	s->asked = wanted;
	(void)loop_poll_once(flow_of(s)->relay->config.loop, &s->poll, s->fd, wanted, told);
}

static void watch_edges(struct side *s)
{
	if (loop_op_busy(&s->poll))
		return; /* one of a state will tell in this turn */
	s->flags |= SIDE_EDGES;
	(void)loop_poll_start(flow_of(s)->relay->config.loop, &s->poll, s->fd, POLLOUT, told);
}

static void watch(struct side *s)
{
	bool reading = !(s->flags & (SIDE_OVER | SIDE_BLOCKED));

	/* io_uring asks for POLLRDHUP, too, wanted or not. */
	if (s->flags & SIDE_HUNG_UP && !reading)
		watch_edges(s);
	else
		watch_state(s, (uint8_t)((reading ? POLLIN : 0) |
					 (other(s)->flags & SIDE_BLOCKED ? POLLOUT : 0)));
}

/* False: the flow is broken. */
static bool go_on(struct side *s)
{
	switch (move(s)) {
	case MOVED:
	case MOVED_NOT:
		break;
	case MOVED_BLOCKED:
		s->flags |= SIDE_BLOCKED;
		break;
	case MOVED_END:
		s->flags |= SIDE_OVER;
		(void)shutdown(other(s)->fd, SHUT_WR); /* if it is broken, its poll tells */
		break;
	case MOVED_BROKEN:
		return false;
	}
	return true;
}

static bool handle(struct side *s, uint32_t events)
{
	struct side *o = other(s);

	if (events & (POLLRDHUP | POLLHUP))
		s->flags |= SIDE_HUNG_UP;
	if (o->flags & SIDE_BLOCKED && events & (POLLOUT | POLLERR | POLLHUP)) {
		o->flags &= (uint8_t)~SIDE_BLOCKED;
		if (!go_on(o))
			return false;
	}
	if (!(s->flags & (SIDE_OVER | SIDE_BLOCKED)))
		return !(events & (POLLIN | POLLERR | POLLHUP)) || go_on(s);
	/* Nothing is read from it now, so nothing else would find out. */
	if (events & POLLERR)
		return false;
	return true;
}

static void told(struct loop_op *op, int32_t res, uint8_t *data, bool last)
{
	struct side *s = container_of(op, struct side, poll);
	struct flow *f = flow_of(s);

	(void)data;
	(void)last;
	if (f->ending) {
		flow_close_when_quiet(f);
		return;
	}
	if (res != -ECANCELED && (res < 0 || !handle(s, (uint32_t)res))) {
		flow_end(f, true);
		return;
	}
	if (f->client.flags & f->egress.flags & SIDE_OVER) {
		flow_end(f, false);
		return;
	}
	watch(&f->client);
	watch(&f->egress);
}

/* --- time --- */

/* Only now: most connections are over before, and need no such care. */
static void keep_alive(int fd)
{
	static const struct {
		int level, name, value;
	} options[] = {
		{IPPROTO_TCP, TCP_KEEPIDLE, KEEPALIVE_S},
		{IPPROTO_TCP, TCP_KEEPINTVL, KEEPALIVE_STEP_S},
		{IPPROTO_TCP, TCP_KEEPCNT, KEEPALIVE_TRIES},
		{SOL_SOCKET, SO_KEEPALIVE, 1},
	};

	for (size_t i = 0; i < sizeof options / sizeof options[0]; i++)
		(void)setsockopt(fd, options[i].level, options[i].name, &options[i].value,
			sizeof options[i].value);
}

static void flow_look(struct relay *r, struct flow *f)
{
	uint32_t idle_ms = (uint32_t)loop_now_ms(r->config.loop) - f->moved_ms;

	if (idle_ms >= f->idle_ms) {
		count_add(&r->counters.idled, 1);
		flow_end(f, f->first || f->client.piped || f->egress.piped);
		return;
	}
	if (!f->settled) {
		f->settled = true;
		keep_alive(f->client.fd);
		keep_alive(f->egress.fd);
	}
	wheel_remove(f);
	wheel_put(r, f, f->idle_ms - idle_ms);
}

static void tick(struct loop_timer *t)
{
	struct relay *r = container_of(t, struct relay, tick);
	int64_t now_ms = loop_now_ms(r->config.loop);

	for (; r->tick_ms <= now_ms; r->tick_ms += TICK_MS) {
		r->slot = (r->slot + 1) % SLOTS;
		while (r->slots[r->slot]) /* none comes back to the same slot */
			flow_look(r, r->slots[r->slot]);
	}
	pipes_rest(&r->pipes);
	if (relay_idle(r))
		pipes_rest(&r->pipes);
	else
		(void)loop_timer_set(r->config.loop, t, r->tick_ms);
}

static int tick_start(struct relay *r)
{
	if (r->tick.slot)
		return 0;
	r->tick.fire = tick;
	r->tick_ms = loop_now_ms(r->config.loop) + TICK_MS;
	return loop_timer_set(r->config.loop, &r->tick, r->tick_ms);
}

/* --- start and stop --- */

static int flow_make(struct relay *r, const struct relay_flow_config *config, struct flow **ret)
{
	struct flow *f;
	int error = r->stopped ? -ENOSPC : tick_start(r);

	if (error)
		return error;
	f = slab_take(&r->flows);
	if (!f)
		return r->flows.made < r->flows.max ? -ENOMEM : -ENOSPC;
	*f = (struct flow){
		.relay = r,
		.client = {.fd = config->client_fd, .pipe = -1, .flags = SIDE_CLIENT},
		.egress = {.fd = config->egress_fd, .pipe = -1},
		.owner = config->owner,
		.number = config->number,
		.idle_ms = config->idle_ms,
		.moved_ms = (uint32_t)loop_now_ms(r->config.loop),
	};
	if (config->first_len) {
		f->first = malloc(config->first_len);
		if (!f->first) {
			slab_give(&r->flows, f);
			return -ENOMEM;
		}
		memcpy(f->first, config->first, config->first_len);
		f->first_len = (uint32_t)config->first_len;
	}
	*ret = f;
	return 0;
}

int relay_start(struct relay *r, const struct relay_flow_config *config)
{
	const int one = 1;
	struct flow *f;
	int error = flow_make(r, config, &f);

	if (error) {
		close_with(config->client_fd, true);
		close_with(config->egress_fd, true);
		return error;
	}
	count_add(&r->counters.flows, 1);
	count_add(&r->counters.live, 1);
	wheel_put(r, f, f->idle_ms < SETTLED_MS ? f->idle_ms : SETTLED_MS);
	/* What came in small pieces leaves so. */
	(void)setsockopt(config->client_fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
	/* An error is the poll's to tell: nothing ends within this call. */
	if (f->first && send_first(f) != MOVED)
		f->client.flags |= SIDE_BLOCKED;
	watch(&f->client);
	watch(&f->egress);
	return 0;
}

void relay_stop(struct relay *r)
{
	r->stopped = true;
	for (unsigned i = 0; i < SLOTS; i++)
		while (r->slots[i])
			flow_end(r->slots[i], true);
	loop_timer_cancel(r->config.loop, &r->tick);
}
