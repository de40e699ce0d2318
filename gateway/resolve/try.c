/* One server that is asked: its way, its question, and what is made of what comes back. */
#include <errno.h>
#include <string.h>

#include "gateway/resolve/resolve_internal.h"

/* A datagram may be lost: it is sent again when the server usually has answered by far, and after
 * each quarter of the try's time: of four or five in all one comes through even when every fifth
 * is lost. Three also make a loop show itself within one try (query/query.c). */
#define RESEND_SHARE  4
#define RESEND_MIN_MS 100
#define PAD_BYTES     128 /* RFC 8467 4.1 */
#define SUSPECT_MS    200 /* how long one listens for a better answer if no window is configured */
#define BOGUS_TTL_S   300

bool error_is_local(int error)
{
	return error == -EMFILE || error == -ENFILE || error == -ENOMEM || error == -ENOBUFS ||
	       error == -EPERM || error == -EIO;
}

static uint32_t p95_us(const struct server *s)
{
	return atomic_load_explicit(&s->p95_us, memory_order_relaxed);
}

static int64_t now_ms(const struct try *y)
{
	return loop_now_ms(y->flight->resolver->loop);
}

/* --- the question --- */

static void ask_fill(const struct try *y, struct dns_ask *ask)
{
	const struct flight *f = y->flight;

	*ask = (struct dns_ask){.name = &f->name,
		.id = y->t.id,
		.type = f->type,
		.checking_disabled = f->flags & RESOLVE_CD,
		.dnssec_ok = f->flags & RESOLVE_DO,
		.ecs = y->group->ecs.family ? &y->group->ecs : NULL,
		.case_seed = y->case_seed};
}

static size_t try_question(const struct transport_try *t, uint8_t *buf, bool pad)
{
	const struct try *y = container_of(t, const struct try, t);
	struct dns_ask ask;

	ask_fill(y, &ask);
	ask.pad = pad ? PAD_BYTES : 0;
	return dns_question_write(buf, TRANSPORT_QUESTION_MAX, &ask);
}

/* Some servers answer in lower case. Over a stream that is let pass; a datagram in other letters is
 * waited past, but then the question is sent again without the game. */
static bool is_answer(struct try *y, const uint8_t *msg, size_t len)
{
	struct dns_ask ask;

	ask_fill(y, &ask);
	if (len < DNS_HEADER_SIZE)
		return false;
	if (dns_response_matches(msg, len, &ask))
		return true;
	if (!ask.case_seed)
		return false;
	ask.case_seed = 0;
	if (!dns_response_matches(msg, len, &ask))
		return false;
	y->case_lost = true;
	return !transport_is_lossy(&y->t);
}

/* --- what comes back --- */

static void silent_or_broken(struct try *y, bool local)
{
	server_failed(y->server, local, now_ms(y));
	if (!local && y->t.to.addr.family != IP_NONE)
		server_address_failed(y->server, &y->t.to.addr);
}

static int try_open(struct try *y);

/* The server may stand at another address that has not failed yet: it is asked there. */
static bool try_moves(struct try *y, int error)
{
	const struct flight *f = y->flight;
	bool fresh;

	if (f->pinned || f->lingers || error_is_local(error) || y->t.to.addr.family == IP_NONE)
		return false;
	server_address_failed(y->server, &y->t.to.addr);
	return server_has_address(y->server) && server_address(y->server, &y->t.to, &fresh) == 0;
}

/* y was no help: the next one. */
static void try_next(struct try *y, int error)
{
	struct flight *f = y->flight;

	try_close(y);
	f->error = error;
	if (f->lingers || !f->pinned) /* else whoever pinned it goes on */
		flight_go_on(f, 1);
}

static void learn_forgery(struct try *y)
{
	struct flight *f = y->flight;

	count_add_shared(&f->groups->guards->forged, 1);
	if (y->group->suspects)
		poisoned_add(&y->group->suspects->names, f->hash, now_ms(y));
}

/* Who injects an answer to a question injects one to its second sending as well. 0: not known. */
static int64_t since_sent_us(const struct try *y)
{
	int64_t sent_us = y->resent_us ? y->resent_us : y->t.asked_us;

	return sent_us ? clock_us() - sent_us : 0;
}

/* Too early for an answer to the last sending, but perhaps the late one to an earlier one. */
static bool is_doubtful(const struct try *y)
{
	return y->resent_us && since_sent_us(y) < (int64_t)y->group->rules.min_rtt_ms * 1000;
}

/* Whoever forges a datagram is not the server, whose answer comes later. A stream has only one. In
 * doubt no name is poisoned, and what is the last sending stays so: the answer to it tells. */
static bool take_forged(struct try *y)
{
	if (is_doubtful(y)) {
		count_add_shared(&y->flight->groups->guards->forged, 1);
		y->resend_ms = 0;
		return false;
	}
	learn_forgery(y);
	if (transport_is_lossy(&y->t))
		return false;
	server_declined(y->server);
	try_next(y, -EBADMSG);
	return true;
}

static bool take_truncated(struct try *y)
{
	struct server *s = y->server;
	struct group *group = y->group;
	bool lossy = transport_is_lossy(&y->t);
	int error = -EBADMSG;

	if (lossy) {
		try_close(y);
		error = try_start(y, group, s, true);
	}
	if (error < 0)
		try_next(y, error);
	else
		flight_timer_renew(y->flight);
	return true;
}

static unsigned window_ms(const struct try *y)
{
	if (!transport_is_lossy(&y->t))
		return 0;
	if (!y->group->window_ms && y->flight->suspect && y->group == y->flight->group)
		return SUSPECT_MS;
	return y->group->window_ms;
}

static void window_fill(struct windowed *w, const uint8_t *msg, size_t len, uint32_t age_s)
{
	memcpy(w->msg, msg, len);
	w->len = len;
	w->age_s = age_s;
}

/* False: no window is open now. */
static bool window_open(struct try *y, const uint8_t *msg, size_t len, uint32_t age_s)
{
	struct flight *f = y->flight;
	unsigned ms = window_ms(y);

	f->window = ms && len <= sizeof f->window->msg ? slab_take(&f->resolver->windows) : NULL;
	if (!f->window)
		return false;
	f->window->try = y;
	f->window->end_ms = now_ms(y) + ms < f->end_ms ? now_ms(y) + ms : f->end_ms;
	window_fill(f->window, msg, len, age_s);
	y->end_ms = INT64_MAX;
	y->resend_ms = 0;
	f->hedge_ms = f->group_end_ms = INT64_MAX;
	if (flight_timer_set(f) == 0)
		return true;
	slab_give(&f->resolver->windows, f->window);
	f->window = NULL;
	return false;
}

/* Another answer of the same server, within the window: the first was somebody else's. */
static bool take_second(struct try *y, const uint8_t *msg, size_t len, uint32_t age_s)
{
	struct windowed *w = y->flight->window;

	if (len <= sizeof w->msg && !judge_same(w->msg, w->len, msg, len)) {
		learn_forgery(y);
		window_fill(w, msg, len, age_s);
	}
	return false;
}

static bool take_good(struct try *y, const uint8_t *msg, size_t len, uint32_t age_s)
{
	struct flight *f = y->flight;
	int error;

	if (f->window && f->window->try == y)
		return take_second(y, msg, len, age_s);
	if (f->window && transport_is_lossy(&y->t)) {
		try_close(y);
		return true;
	}
	if (!f->window && window_open(y, msg, len, age_s))
		return false;
	error = flight_answer(f, y, msg, len, age_s);
	if (error < 0)
		try_next(y, error);
	return true;
}

static bool take_bogus(struct try *y)
{
	struct flight *f = y->flight;
	uint8_t nx[512];
	size_t len = result_empty(f, DNS_NXDOMAIN, BOGUS_TTL_S, nx);
	int error;

	count_add_shared(&f->groups->guards->bogus, 1);
	error = flight_answer(f, y, nx, len, 0);
	if (error < 0)
		try_next(y, error);
	return true;
}

/* Of two that differ the first is a forgery, whatever the second is. */
static bool take_declined(struct try *y, const uint8_t *msg)
{
	struct flight *f = y->flight;

	if (f->window && f->window->try == y) {
		learn_forgery(y);
		slab_give(&f->resolver->windows, f->window);
		f->window = NULL;
	}
	f->rcode = msg[3] & 15 ? msg[3] & 15 : DNS_SERVFAIL;
	try_next(y, -EREMOTEIO);
	return true;
}

/* The numbers of a server. */
static void note(struct try *y, enum judgement j, int64_t took_us)
{
	if (j == JUDGE_FORGED)
		return;
	if (j == JUDGE_BROKEN)
		silent_or_broken(y, false);
	else
		resolver_answered(y->flight->resolver, y->server, took_us);
	if (j == JUDGE_DECLINED)
		server_declined(y->server);
}

/* Of a question that was sent again it cannot be told which one was answered (Karn): it took at
 * least the time since the last. That counts if it is much, or a server that has become slow would
 * be asked twice for ever. */
static int64_t rtt_known_us(const struct try *y, int64_t took_us)
{
	int64_t least_us = y->resent_us ? clock_us() - y->resent_us : 0;

	if (took_us || least_us <= (int64_t)p95_us(y->server))
		return took_us;
	return least_us;
}

static bool try_take(struct transport_try *t, const uint8_t *msg, size_t len, uint32_t age_s)
{
	struct try *y = container_of(t, struct try, t);
	struct flight *f = y->flight;
	int64_t took_us = t->asked_us ? clock_us() - t->asked_us : 0;
	enum judgement j;

	if (!is_answer(y, msg, len)) {
		count_add_shared(&y->server->wrong_answers, 1);
		return false;
	}
	j = judge(&y->group->rules, msg, len, since_sent_us(y), transport_is_lossy(t));
	note(y, j, rtt_known_us(y, took_us));
	if (f->lingers && j != JUDGE_FORGED) {
		try_next(y, 0);
		return true;
	}
	switch (j) {
	case JUDGE_TAKE:
		return take_good(y, msg, len, age_s);
	case JUDGE_BOGUS:
		return take_bogus(y);
	case JUDGE_FORGED:
		return take_forged(y);
	case JUDGE_TRUNCATED:
		return take_truncated(y);
	case JUDGE_DECLINED:
		return take_declined(y, msg);
	case JUDGE_BROKEN:
		try_next(y, -EBADMSG);
		return true;
	}
	return false;
}

static void try_failed(struct transport_try *t, int error)
{
	struct try *y = container_of(t, struct try, t);
	struct flight *f = y->flight;
	bool is_windowed = f->window && f->window->try == y;

	if (!is_windowed && try_moves(y, error)) {
		error = try_open(y);
		if (error < 0)
			try_next(y, error);
		else if (flight_timer_set(f) < 0)
			flight_fail(f, -ENOMEM);
		return;
	}
	silent_or_broken(y, error_is_local(error));
	if (is_windowed)
		flight_answer_window(f);
	else
		try_next(y, error);
}

/* The same server once more, over another connection; whichever answers first. */
static void try_slow(struct transport_try *t)
{
	const struct try *y = container_of(t, const struct try, t);
	struct flight *f = y->flight;
	struct try *beside = f->lingers ? NULL : flight_slot(f);

	if (!beside)
		return;
	beside->flight = f;
	if (try_start(beside, y->group, y->server, t->stream) < 0)
		return;
	beside->t.again = true;
	if (flight_timer_set(f) < 0)
		flight_fail(f, -ENOMEM);
}

static const struct transport_owner owner = {
	.question = try_question,
	.take = try_take,
	.slow = try_slow,
	.fail = try_failed,
};

/* --- life --- */

static unsigned resend_after_ms(const struct try *y)
{
	unsigned latest = y->group->timeout_ms / RESEND_SHARE;
	unsigned ms = 2 * (p95_us(y->server) / 1000);

	if (!p95_us(y->server))
		return latest;
	if (ms < RESEND_MIN_MS)
		ms = RESEND_MIN_MS;
	return ms < latest ? ms : latest;
}

static int try_open(struct try *y)
{
	struct flight *f = y->flight;
	const struct group *g = y->group;
	int error;

	if (g->case_randomization && !y->server->encrypted && !y->t.stream)
		y->case_seed = resolver_random(f->resolver) | 1;
	server_asked(y->server);
	f->asked = true;
	y->end_ms = now_ms(y) + g->timeout_ms;
	y->resent_us = 0;
	do {
		error = transport_open(f->resolver->transports, &y->t);
	} while (error < 0 && try_moves(y, error));
	if (error < 0) {
		silent_or_broken(y, error_is_local(error));
		y->state = TRY_FREE;
		return error;
	}
	y->state = TRY_OPEN;
	y->resend_ms = transport_is_lossy(&y->t) ? now_ms(y) + resend_after_ms(y) : 0;
	return 0;
}

static void address_known(struct server_wait *w, int error)
{
	struct try *y = container_of(w, struct try, wait);
	bool fresh;

	y->state = TRY_FREE;
	if (error == 0)
		error = server_address(y->server, &y->t.to, &fresh);
	if (error == 0)
		error = try_open(y);
	else
		server_failed(y->server, true, now_ms(y));
	if (error < 0)
		try_next(y, error == -EAGAIN ? -EHOSTUNREACH : error);
	else
		flight_timer_renew(y->flight);
}

int try_start(struct try *y, struct group *group, struct server *s, bool stream)
{
	struct flight *f = y->flight;
	struct resolver *r = f->resolver;
	bool fresh = true;
	int error;

	*y = (struct try){.flight = f,
		.group = group,
		.server = s,
		.trial = !server_is_up(s),
		.wait.done = address_known,
		.t = {.owner = &owner,
			.server = s->transport,
			.stream = stream || (s->follows_client && f->flags & RESOLVE_STREAM)}};
	error = server_address(s, &y->t.to, &fresh);
	if (error == -EAGAIN) {
		y->state = TRY_WAITS;
		y->end_ms = now_ms(y) + group->timeout_ms;
		server_resolve(r, f->groups, s, group->bootstrap, &y->wait);
		return 0;
	}
	if (error < 0)
		return error;
	if (!fresh)
		server_resolve(r, f->groups, s, group->bootstrap, NULL);
	return try_open(y);
}

/* The next quarter; 0: that is the end. */
static int64_t resend_next_ms(const struct try *y)
{
	unsigned share = y->group->timeout_ms / RESEND_SHARE;
	int64_t left = (y->end_ms - now_ms(y) - 1) / share;

	return left > 0 ? y->end_ms - left * share : 0;
}

int try_resend(struct try *y)
{
	int error;

	y->resend_ms = resend_next_ms(y);
	y->resent_us = clock_us();
	if (y->case_lost)
		y->case_seed = 0;
	error = transport_resend(&y->t);
	if (error < 0) {
		silent_or_broken(y, error_is_local(error));
		try_close(y);
	}
	return error;
}

void try_give_up(struct try *y)
{
	if (y->state == TRY_OPEN)
		silent_or_broken(y, false);
	else
		server_failed(y->server, true, now_ms(y));
	try_close(y);
}

void try_close(struct try *y)
{
	if (y->state == TRY_WAITS)
		server_wait_cancel(&y->wait);
	else if (y->state == TRY_OPEN)
		transport_close(&y->t);
	y->state = TRY_FREE;
}
