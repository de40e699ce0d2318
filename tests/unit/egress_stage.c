#include "egress_stage.h"

#include <fcntl.h>
#include <stdlib.h>

#include "gateway/loop/loop_internal.h"

/* --- servers --- */

static void server_init(struct server *s)
{
	memset(s, 0, sizeof *s);
	s->listener = -1;
	for (size_t i = 0; i < STAGE_CONNECTIONS; i++)
		s->connections[i].fd = -1;
}

void server_open_at(struct server *s, const struct ip_port *at, const struct play *play)
{
	struct sockaddr_storage sa;
	socklen_t len = ip_port_to_sockaddr(at, &sa);
	int one = 1;

	server_init(s);
	s->play = play;
	s->listener = socket(sa.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	assert_true(s->listener >= 0);
	assert_int_equal(setsockopt(s->listener, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one), 0);
	assert_int_equal(bind(s->listener, (struct sockaddr *)&sa, len), 0);
	assert_int_equal(listen(s->listener, 1024), 0);
	assert_int_equal(getsockname(s->listener, (struct sockaddr *)&sa, &len), 0);
	ip_port_from_sockaddr((struct sockaddr *)&sa, &s->at);
}

void server_open(struct server *s, const char *address, const struct play *play)
{
	struct ip_port at = {0};

	assert_int_equal(ip_addr_parse(address, &at.addr), 0);
	server_open_at(s, &at, play);
}

static void connection_close(struct connection *c)
{
	if (c->fd >= 0)
		close(c->fd);
	c->fd = -1;
}

void server_close(struct server *s)
{
	if (s->listener >= 0)
		close(s->listener);
	s->listener = -1;
	for (size_t i = 0; i < STAGE_CONNECTIONS; i++)
		connection_close(&s->connections[i]);
}

static void connection_finish(struct connection *c, const struct play *p)
{
	struct linger at_once = {.l_onoff = 1};

	if (p->then == THEN_RESET)
		(void)setsockopt(c->fd, SOL_SOCKET, SO_LINGER, &at_once, sizeof at_once);
	if (p->then == THEN_RESET || p->then == THEN_CLOSE)
		connection_close(c);
	else if (p->then == THEN_GO_ON)
		c->step++;
	c->got = c->said = 0;
}

static bool is_end(const struct play *p)
{
	return !p->expect_len && !p->say_len && p->then == THEN_GO_ON;
}

/* False: nothing more to do for now. */
static bool connection_step(struct server *s, struct connection *c)
{
	const struct play *p = &s->play[c->step];
	size_t n;

	if (c->fd < 0 || is_end(p) || (p->then == THEN_HANG && c->said && c->said == p->say_len))
		return false;
	if (c->got < p->expect_len) {
		ssize_t r = recv(c->fd, c->in + c->got, p->expect_len - c->got, MSG_DONTWAIT);

		if (r == 0)
			connection_close(c);
		if (r <= 0)
			return false;
		c->got += (size_t)r;
		if (memcmp(c->in, p->expect, c->got) != 0)
			s->unexpected++;
		return true;
	}
	if (c->said < p->say_len) {
		n = p->by_bytes ? 1 : p->say_len - c->said;
		assert_int_equal(
			send(c->fd, (const uint8_t *)p->say + c->said, n, MSG_NOSIGNAL), n);
		c->said += n;
		if (p->by_bytes && c->said < p->say_len)
			return false;
	}
	if (p->then == THEN_HANG)
		return false;
	connection_finish(c, p);
	return true;
}

static void server_look(struct server *s)
{
	int fd;

	if (s->listener < 0)
		return;
	while ((fd = accept4(s->listener, NULL, NULL, SOCK_CLOEXEC)) >= 0) {
		struct connection *c = &s->connections[s->accepted++ % STAGE_CONNECTIONS];
		int one = 1;

		connection_close(c);
		*c = (struct connection){.fd = fd};
		(void)setsockopt(fd, 6, 1, &one, sizeof one); /* TCP_NODELAY */
	}
	for (size_t i = 0; i < STAGE_CONNECTIONS; i++) {
		while (connection_step(s, &s->connections[i]))
			;
	}
}

/* --- what the dialer asks for --- */

static void stage_resolve(void *arg, const struct egress_set *s, int bootstrap, const char *host,
	struct egress_lookup *l)
{
	struct stage *st = arg;

	(void)bootstrap;
	assert_ptr_equal(s, st->set);
	st->lookups++;
	snprintf(st->looked_up, sizeof st->looked_up, "%s", host);
	if (st->lookup_later) {
		assert_null(st->asked);
		st->asked = l;
		return;
	}
	l->done(l, st->lookup, st->lookup_error ? 0 : st->n_lookup, 1, st->lookup_error);
}

static void stage_resolve_cancel(void *arg, struct egress_lookup *l)
{
	struct stage *st = arg;

	assert_ptr_equal(st->asked, l);
	st->asked = NULL;
	st->lookups_cancelled++;
}

static bool stage_forbidden(void *arg, const struct ip_port *to)
{
	struct stage *st = arg;

	return st->forbidden.port == to->port && ip_addr_equal(&st->forbidden.addr, &to->addr);
}

/* --- the stage --- */

static int setup_with(void **state, unsigned missing)
{
	struct stage *st = calloc(1, sizeof *st);
	struct egress_dialer_config config = {
		.resolve = stage_resolve,
		.resolve_cancel = stage_resolve_cancel,
		.forbidden = stage_forbidden,
		.arg = st,
	};

	if (!st)
		return -1;
	for (size_t i = 0; i < 4; i++)
		server_init(&st->servers[i]);
	st->fds = descriptors_open();
	if (loop_new(&st->loop))
		return -1;
	loop_force_missing(st->loop, missing);
	config.loop = st->loop;
	if (egress_dialer_new(&config, &st->dialer))
		return -1;
	*state = st;
	return 0;
}

int stage_setup(void **state)
{
	return setup_with(state, 0);
}

int stage_setup_single(void **state)
{
	return setup_with(state, LOOP_MISSING_ALL);
}

static void stage_stopped(void *arg)
{
	((struct stage *)arg)->stopped = true;
}

int stage_teardown(void **state)
{
	struct stage *st = *state;
	unsigned fds = st->fds;

	if (st->dialer)
		egress_dialer_stop(st->dialer, stage_stopped, st);
	if (st->dialer)
		HAND_UNTIL(st->stopped, (void)loop_turn(st->loop, 10));
	egress_set_unref(st->set);
	for (size_t i = 0; i < 4; i++)
		server_close(&st->servers[i]);
	for (size_t i = 0; i < st->config.n_egresses; i++)
		free(st->egresses[i].of);
	loop_free(st->loop);
	free(st);
	return descriptors_open() == fds ? 0 : -1; /* none is lost */
}

struct conf_egress *stage_egress(
	struct stage *st, const char *name, enum conf_egress_type type, const struct server *at)
{
	struct conf_egress *e = &st->egresses[st->config.n_egresses++];

	*e = (struct conf_egress){
		.name = (char *)name,
		.type = type,
		.upstream = -1,
		.bootstrap = -1,
		.connect_timeout_ms = 1000,
		.check_ms = 200,
	};
	if (at)
		e->server.at = at->at;
	st->config.egresses = st->egresses;
	return e;
}

void stage_set(struct stage *st)
{
	struct egress_set *old = st->set;

	assert_int_equal(egress_set_new(&st->config, 0, old, &st->set), 0);
	egress_set_unref(old);
}

void stage_serve(struct stage *st)
{
	assert_int_equal(loop_turn(st->loop, 1), 0);
	for (size_t i = 0; i < 4; i++)
		server_look(&st->servers[i]);
}

void stage_turn(struct stage *st, int64_t ms)
{
	hand_clock_move_ms(ms);
	stage_serve(st);
}

/* --- dials --- */

void call_done(struct egress_dial *dial, int fd, unsigned egress, int error)
{
	struct call *c = container_of(dial, struct call, dial);

	c->ends++;
	c->fd = fd;
	c->egress = egress;
	c->error = error;
}

static void call_begin(
	struct stage *st, struct call *c, unsigned egress, const struct egress_target *t)
{
	*c = (struct call){.fd = -1};
	egress_connect(st->dialer, st->set, egress, t, &c->dial, call_done);
	assert_int_equal(c->ends, 0);
	assert_non_null(c->dial.priv);
}

void call_start(struct stage *st, struct call *c, unsigned egress, const char *host, uint16_t port)
{
	struct egress_target t = {.at.port = port};

	snprintf(t.host, sizeof t.host, "%s", host);
	call_begin(st, c, egress, &t);
}

void call_start_at(struct stage *st, struct call *c, unsigned egress, const struct ip_port *at)
{
	struct egress_target t = {.at = *at};

	call_begin(st, c, egress, &t);
}
