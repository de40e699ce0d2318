/* Who looks after proxies: members of groups are checked every check_ms, one that stands alone only
 * while it is down, ever more seldom. A check is a dial that ends where the proxy's own part does.
 */
#include <stdlib.h>
#include <unistd.h>

#include "gateway/egress/egress_internal.h"

#define TICK_MS 1000

struct check {
	struct egress_dial dial;
	struct checker *checker;
	unsigned egress;
	unsigned every_ms; /* 0: only while it is down */
	unsigned pause_ms; /* 0: it is up */
	int64_t next_ms;
};

struct checker {
	struct egress_dialer *dialer;
	struct egress_set *set;
	struct loop_timer timer;
	size_t n;
	struct check v[];
};

static int64_t now_ms(const struct checker *k)
{
	return loop_now_ms(k->dialer->loop);
}

static void check_done(struct egress_dial *dial, int fd, unsigned egress, int error)
{
	struct check *c = container_of(dial, struct check, dial);

	(void)egress;
	if (fd >= 0)
		close(fd);
	if (!error) {
		c->pause_ms = 0;
		c->next_ms = now_ms(c->checker) + c->every_ms;
		return;
	}
	c->pause_ms = c->pause_ms ? c->pause_ms * 2 : EGRESS_CHECK_DOWN_MS;
	if (c->pause_ms > EGRESS_CHECK_SLOW_MS)
		c->pause_ms = EGRESS_CHECK_SLOW_MS;
	if (c->every_ms && c->pause_ms > c->every_ms)
		c->pause_ms = c->every_ms;
	c->next_ms = now_ms(c->checker) + c->pause_ms;
}

static void check_tick(struct check *c)
{
	static const struct dial_order order = {.purpose = DIAL_CHECK};
	static const struct egress_target nothing;
	struct checker *k = c->checker;

	if (c->dial.priv)
		return;
	if (!set_leaf_is_up(k->set, c->egress)) {
		if (!c->pause_ms) { /* a dial has just found out */
			c->pause_ms = EGRESS_CHECK_DOWN_MS;
			c->next_ms = now_ms(k) + c->pause_ms;
		}
	} else if (!c->every_ms) {
		c->pause_ms = 0;
		return;
	}
	if (now_ms(k) >= c->next_ms)
		dial_start(k->dialer, k->set, c->egress, &nothing, &order, &c->dial, check_done);
}

static void checker_fired(struct loop_timer *timer)
{
	struct checker *k = container_of(timer, struct checker, timer);

	/* It was in the heap a moment ago: there is room. */
	(void)loop_timer_set(k->dialer->loop, &k->timer, now_ms(k) + TICK_MS);
	for (size_t i = 0; i < k->n; i++)
		check_tick(&k->v[i]);
}

static bool is_proxy(const struct egress_set *s, unsigned i)
{
	return s->v[i].conf.type == CONF_EGRESS_SOCKS5 || s->v[i].conf.type == CONF_EGRESS_HTTP;
}

/* The shortest that a group it is in wants; 0: it is in none. */
static unsigned every_ms(const struct egress_set *s, unsigned leaf)
{
	unsigned ms = 0;

	for (unsigned i = 0; i < s->n; i++) {
		const struct egress *e = &s->v[i];

		if (e->conf.type != CONF_EGRESS_GROUP)
			continue;
		for (unsigned k = 0; k < e->n_leaves; k++) {
			if (e->leaves[k] == leaf && (!ms || e->conf.check_ms < ms))
				ms = e->conf.check_ms;
		}
	}
	return ms;
}

void checker_stop(struct egress_dialer *d)
{
	struct checker *k = d->checker;

	if (!k)
		return;
	d->checker = NULL;
	for (size_t i = 0; i < k->n; i++)
		egress_cancel(&k->v[i].dial);
	loop_timer_cancel(d->loop, &k->timer);
	egress_set_unref(k->set);
	free(k);
}

void egress_dialer_check(struct egress_dialer *d, struct egress_set *s)
{
	struct checker *k;
	size_t n = 0;

	checker_stop(d);
	for (unsigned i = 0; i < s->n; i++)
		n += is_proxy(s, i);
	if (!n || d->stopping)
		return;
	k = calloc(1, sizeof *k + n * sizeof k->v[0]);
	if (!k)
		return; /* dials still tell what they find */
	k->timer.fire = checker_fired;
	if (loop_timer_set(d->loop, &k->timer, loop_now_ms(d->loop)) < 0) {
		free(k);
		return;
	}
	k->dialer = d;
	k->set = egress_set_ref(s);
	for (unsigned i = 0; i < s->n; i++) {
		if (!is_proxy(s, i))
			continue;
		k->v[k->n++] = (struct check){
			.checker = k,
			.egress = i,
			.every_ms = every_ms(s, i),
		};
	}
	d->checker = k;
}
