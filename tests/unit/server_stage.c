#include "server_stage.h"

struct stage *the_stage;

struct transport_server {
	unsigned refs;
	struct transport_way way;
	enum conf_transport transport;
};

/* --- transports --- */

int transport_server_new(const struct conf_server *conf, const struct transport_way *way,
	struct transport_server **ret, char why[128])
{
	struct transport_server *s;

	if (the_stage->server_error) {
		(void)snprintf(why, 128, "ca: %s", "no certificate in it");
		return the_stage->server_error;
	}
	s = calloc(1, sizeof *s);
	assert_non_null(s);
	s->refs = 1;
	s->way = *way;
	s->transport = conf->transport;
	the_stage->way = *way;
	the_stage->n_servers++;
	*ret = s;
	return 0;
}

struct transport_server *transport_server_ref(struct transport_server *s)
{
	s->refs++;
	return s;
}

void transport_server_unref(struct transport_server *s)
{
	if (s && --s->refs == 0) {
		the_stage->n_servers--;
		free(s);
	}
}

bool transport_server_is_encrypted(const struct transport_server *s)
{
	return s->transport == CONF_TLS || s->transport == CONF_HTTPS;
}

bool transport_server_goes_by_name(const struct transport_server *s)
{
	return s->way.via && egress_goes_by_name(s->way.via, s->way.egress);
}

void resolver_answered(struct resolver *r, struct server *s, int64_t rtt_us)
{
	assert_ptr_equal(r, the_stage->resolver);
	the_stage->n_back += server_answered(s, rtt_us);
}

int transport_open(struct transports *ts, struct transport_try *t)
{
	struct stage *st = the_stage;

	(void)ts;
	if (st->open_error)
		return st->open_error;
	assert_true(st->n_tries < STAGE_TRIES);
	t->id = (uint16_t)(1000 + st->n_tries);
	t->asked_us = clock_us() - 5000;
	t->transport = (const struct transport *)st;
	st->tries[st->n_tries++] = t;
	st->n_open++;
	return 0;
}

int transport_resend(struct transport_try *t)
{
	assert_true(transport_is_open(t));
	the_stage->n_resent++;
	if (the_stage->resend_error)
		transport_close(t);
	return the_stage->resend_error;
}

bool transport_is_lossy(const struct transport_try *t)
{
	(void)t;
	return the_stage->lossy;
}

void transport_close(struct transport_try *t)
{
	struct stage *st = the_stage;

	if (!transport_is_open(t))
		return;
	t->transport = NULL;
	for (size_t i = 0; i < st->n_tries; i++) {
		if (st->tries[i] == t) {
			st->tries[i] = NULL;
			st->n_open--;
		}
	}
}

/* --- resolving --- */

void resolve_ask(struct resolver *r, struct resolve_groups *g, const struct resolve_question *q,
	int64_t deadline_ms, struct resolve_request *rq, resolve_done *done)
{
	static const char *const v4[] = {"192.0.2.1"}, *const v6[] = {"2001:db8::1"};
	struct stage *st = the_stage;
	struct asked *a = &st->asked[st->n_asked];

	assert_ptr_equal(r, st->resolver);
	assert_non_null(g);
	assert_true(deadline_ms > loop_now_ms(st->loop));
	assert_true(st->n_asked < STAGE_ASKED);
	*rq = (struct resolve_request){.done = done};
	*a = (struct asked){.rq = rq, .group = q->group, .type = q->type, .flags = q->flags};
	(void)dns_name_format(q->name->b, a->name);
	st->n_asked++;
	if (st->at_once_error)
		stage_fail(st, st->n_asked - 1, st->at_once_error);
	else if (st->at_once)
		stage_answer(st, st->n_asked - 1, DNS_NOERROR, 300, q->type == DNS_A ? v4 : v6, 1);
}

size_t stage_message(uint8_t *buf, const char *name, uint16_t type, uint32_t ttl_s,
	enum dns_rcode rcode, const char *const *addresses, size_t n)
{
	struct dns_query q = {.type = type, .class = DNS_CLASS_IN, .udp_size = 512};
	struct dns_writer w;

	assert_int_equal(dns_name_parse(name, strlen(name), &q.name), 0);
	memcpy(q.question, q.name.b, q.name.len);
	q.question[q.name.len] = (uint8_t)(type >> 8);
	q.question[q.name.len + 1] = (uint8_t)type;
	q.question[q.name.len + 3] = DNS_CLASS_IN;
	q.question_len = (uint16_t)(q.name.len + 4);
	dns_answer_begin(&w, buf, 4096, &q, rcode, 0);
	for (size_t i = 0; i < n; i++) {
		struct ip_addr a;

		assert_int_equal(ip_addr_parse(addresses[i], &a), 0);
		dns_answer_address(&w, a.b, ip_addr_size(&a), ttl_s);
	}
	return dns_answer_end(&w, DNS_EDE_NONE);
}

void stage_answer(struct stage *st, unsigned i, enum dns_rcode rcode, uint32_t ttl_s,
	const char *const *addresses, size_t n)
{
	struct asked *a = &st->asked[i];
	struct resolve_request *rq = a->rq;
	uint8_t buf[4096];
	size_t len = stage_message(buf, a->name, a->type, ttl_s, rcode, addresses, n);

	assert_non_null(rq);
	a->rq = NULL;
	rq->done(rq, buf, len, 0);
}

void stage_fail(struct stage *st, unsigned i, int error)
{
	struct resolve_request *rq = st->asked[i].rq;

	assert_non_null(rq);
	st->asked[i].rq = NULL;
	rq->done(rq, NULL, 0, error);
}

void resolver_release(struct resolver *r)
{
	assert_true(r->holds > 0);
	r->holds--;
}

bool error_is_local(int error)
{
	return error == -EMFILE || error == -ENFILE || error == -ENOMEM || error == -ENOBUFS;
}

/* --- groups --- */

struct resolve_groups *resolve_groups_ref(struct resolve_groups *g)
{
	atomic_fetch_add(&g->refs, 1);
	return g;
}

void resolve_groups_unref(struct resolve_groups *g)
{
	if (!g || atomic_fetch_sub(&g->refs, 1) > 1)
		return;
	for (size_t i = 0; i < g->n_groups; i++) {
		for (size_t k = 0; k < g->groups[i].n_servers; k++)
			server_unref(g->groups[i].servers[k]);
		free(g->groups[i].servers);
		free(g->groups[i].name);
	}
	egress_set_unref(g->egresses);
	free(g->groups);
	free(g);
}

void stage_report(void *arg, unsigned line, unsigned column, const char *text)
{
	struct stage *st = arg;

	(void)column;
	st->reports++;
	st->report_line = line;
	(void)snprintf(st->report, sizeof st->report, "%s", text);
}

static void group_make(
	struct group *group, struct conf_upstream *u, const struct resolve_groups_config *c)
{
	group->name = strdup(u->name);
	group->timeout_ms = u->timeout_ms;
	group->bootstrap = u->bootstrap;
	group->servers = calloc(u->n_servers + 1, sizeof *group->servers);
	assert_true(group->name && group->servers);
	for (size_t k = 0; k < u->n_servers; k++) {
		assert_int_equal(server_new(&u->servers[k], u, c, &group->servers[k]), 0);
		group->n_servers++;
	}
}

void stage_groups(struct stage *st)
{
	struct resolve_groups *g = calloc(1, sizeof *g);
	struct resolve_groups_config c = {.config = &st->config,
		.previous = st->groups,
		.report = stage_report,
		.report_arg = st};

	assert_non_null(g);
	atomic_init(&g->refs, 1);
	assert_int_equal(egress_set_new(&st->config, 0, st->groups ? st->groups->egresses : NULL,
				 &g->egresses),
		0);
	c.egresses = g->egresses;
	g->n_groups = st->config.n_upstreams;
	g->groups = calloc(g->n_groups + 1, sizeof *g->groups);
	assert_non_null(g->groups);
	for (size_t i = 0; i < g->n_groups; i++)
		group_make(&g->groups[i], &st->upstreams[i], &c);
	resolve_groups_unref(st->groups);
	st->groups = g;
}

struct server *stage_server(struct stage *st, size_t i, size_t k)
{
	return st->groups->groups[i].servers[k];
}

struct conf_server *stage_conf(
	struct stage *st, size_t i, const char *url, const char *host, const char *address)
{
	struct conf_upstream *u = &st->upstreams[i];
	struct conf_server *s = &u->servers[u->n_servers++];

	if (st->config.n_upstreams <= i)
		st->config.n_upstreams = i + 1;
	*s = (struct conf_server){.url = (char *)url, .host = (char *)host, .at.port = 53};
	if (address)
		assert_int_equal(ip_addr_parse(address, &s->at.addr), 0);
	return s;
}

void stage_play(struct stage *st, int64_t ms)
{
	while (ms-- > 0) {
		hand_clock_move_ms(1);
		assert_int_equal(loop_turn(st->loop, 0), 0);
	}
}

void stage_down(struct server *s, int64_t now_ms)
{
	for (int i = 0; i < SERVER_FAILS_MAX; i++)
		server_failed(s, false, now_ms);
	assert_false(server_is_up(s));
}

int stage_setup(void **state)
{
	static const char *const names[] = {"one", "two", "three", "four"};
	struct stage *st = calloc(1, sizeof *st);

	assert_non_null(st);
	the_stage = st;
	st->resolver = calloc(1, sizeof *st->resolver);
	assert_non_null(st->resolver);
	assert_int_equal(loop_new(&st->loop), 0);
	st->resolver->loop = st->loop;
	st->config.upstreams = st->upstreams;
	for (size_t i = 0; i < 4; i++)
		st->upstreams[i] = (struct conf_upstream){.name = (char *)names[i],
			.servers = st->servers[i],
			.timeout_ms = 200,
			.via = -1,
			.bootstrap = -1,
			.fallback = -1,
			.health_ms = 2000};
	*state = st;
	return 0;
}

int stage_teardown(void **state)
{
	struct stage *st = *state;

	resolve_groups_unref(st->groups);
	assert_int_equal(st->n_servers, 0);
	assert_int_equal(st->resolver->holds, 0);
	loop_free(st->loop);
	free(st->resolver);
	free(st);
	return 0;
}
