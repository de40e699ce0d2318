/* Putting elements into the users' sets: those of answers, and again those that the kernel has
 * lost. */
#include "gateway/base/clock.h"
#include "gateway/base/count.h"
#include "netlink/writer_internal.h"

#include <errno.h>
#include <string.h>

#define FILL_ELEMENTS	 64   /* of one commit: answers that come meanwhile wait for it */
#define LOOK_AROUND_SETS 64   /* a second */
#define SLACK_MS	 1000 /* of lives that are compared */
#define SAMPLE_ELEMENTS	 2    /* of an ipset that are asked for in one look */
#define IPSET_TEXT_MAX	 256
#define HELD_OFF_MS	 1000 /* for a verdict that was refused */

static int add_failed(struct nl_set *h, int error)
{
	sets_note(h, error);
	return error;
}

/* --- ipset --- */

static int64_t until_of(uint32_t timeout_s, int64_t now_ms)
{
	return timeout_s ? now_ms + (int64_t)timeout_s * 1000 : SHADOW_FOREVER;
}

static int put_ipset(struct kernel_set *set, const char *text, uint32_t timeout_s)
{
	struct sets *s = set->owner;
	int r;

	pthread_mutex_lock(&s->ipset_lock);
	r = s->ipset ? ipset_writer_add(s->ipset, set->name, text, timeout_s, set->kind.timeout)
		     : -EPROTONOSUPPORT;
	if (r == -ENOENT)
		set->known = false;
	pthread_mutex_unlock(&s->ipset_lock);
	return r;
}

static int add_ipset(struct lane *lane, struct writer_element *e, const struct ip_addr *client)
{
	struct nl_set *h = e->set;
	struct kernel_set *set = h->set;
	const struct kept_form *k = atomic_load(&h->form);
	uint32_t timeout_s =
		e->timeout_s < IPSET_TIMEOUT_MAX_S ? e->timeout_s : IPSET_TIMEOUT_MAX_S;
	uint8_t key[SET_KEY_MAX];
	char text[IPSET_TEXT_MAX];
	int64_t now_ms = clock_ms();
	uint32_t mark;
	int r;

	if (!k || !set->known || (e->timeout_s && !k->form.has_timeout)) {
		set_look_if_due(set, lane);
		k = atomic_load(&h->form);
	}
	if (!k || !set->known)
		return add_failed(h, atomic_load(&h->state) ? atomic_load(&h->state) : -ENOENT);
	if (!set_form_key(&k->form, &e->addr, client, key) ||
		!set_form_text(&h->conf, &e->addr, client, text, sizeof text))
		return 0;
	if (e->timeout_s && !k->form.has_timeout)
		return add_failed(h, -EOPNOTSUPP);
	mark = shadow_mark(&set->shadow);
	r = put_ipset(set, text, timeout_s);
	sets_note(h, r);
	if (r == 0)
		shadow_put(&set->shadow, key, k->form.key_size, NULL, until_of(timeout_s, now_ms),
			false, mark, now_ms, &e->fresh);
	return r;
}

/* The element's text from what is remembered of it. */
static bool text_of(const struct kernel_set *set, const struct shadow_element *e, char *text)
{
	const struct nl_set *h = atomic_load(&set->handles);
	const struct set_form *form = set_any_form(set);
	struct ip_addr addr = {.family = IP_NONE}, client = {.family = IP_NONE};

	if (!form)
		return false;
	addr = ip_addr_of(e->key, form->family == IP_V4 ? 4 : 16);
	if (form->client_at > 0)
		client = ip_addr_of(e->key + form->client_at, form->family == IP_V4 ? 4 : 16);
	return set_form_text(&h->conf, &addr, &client, text, IPSET_TEXT_MAX);
}

/* An element that is refused by itself (out of the range of a bitmap) keeps no other back. */
static int worse(int error, int other)
{
	return error || other == -EINVAL ? error : other;
}

static uint32_t seconds_left(const struct shadow_element *e, int64_t now_ms)
{
	return e->until_ms == SHADOW_FOREVER ? 0 : (uint32_t)((e->until_ms - now_ms + 999) / 1000);
}

static int fill_ipset(struct kernel_set *set, const struct shadow_element *v, size_t n)
{
	struct sets *s = set->owner;
	const struct set_form *form = set_any_form(set);
	char texts[FILL_ELEMENTS][IPSET_TEXT_MAX];
	struct ipset_element elements[FILL_ELEMENTS];
	uint32_t mark = shadow_mark(&set->shadow);
	int64_t now_ms = clock_ms();
	int error = 0;

	if (!form)
		return -EINVAL;
	for (size_t i = 0; i < n; i++) {
		if (!text_of(set, &v[i], texts[i]))
			texts[i][0] = 0; /* which is refused */
		elements[i] = (struct ipset_element){
			.text = texts[i], .timeout_s = seconds_left(&v[i], now_ms)};
	}
	pthread_mutex_lock(&s->ipset_lock);
	(void)ipset_writer_fill(s->ipset, set->name, set->kind.timeout, elements, n);
	pthread_mutex_unlock(&s->ipset_lock);
	for (size_t i = 0; i < n; i++) {
		if (elements[i].result == 0)
			shadow_put(&set->shadow, v[i].key, form->key_size, NULL, v[i].until_ms,
				false, mark, now_ms, NULL);
		error = worse(error, elements[i].result);
	}
	return error;
}

/* Has it still what we put in? A flush shows in any of them, the loss of one in their number,
 * unless others put their own in. */
static bool ipset_is_whole(struct kernel_set *set)
{
	struct shadow_element v[SAMPLE_ELEMENTS];
	size_t n = shadow_sample(&set->shadow, &set->sample_cursor, clock_ms(), v, SAMPLE_ELEMENTS);
	char text[IPSET_TEXT_MAX];
	struct shadow_count count;
	bool whole;

	shadow_sweep(&set->shadow, clock_ms());
	shadow_count(&set->shadow, &count);
	pthread_mutex_lock(&set->owner->ipset_lock);
	whole = count.held <= set->kind.elements;
	pthread_mutex_unlock(&set->owner->ipset_lock);
	for (size_t i = 0; i < n && whole; i++) {
		if (!text_of(set, &v[i], text))
			continue;
		pthread_mutex_lock(&set->owner->ipset_lock);
		whole = ipset_writer_test(set->owner->ipset, set->name, text) == 1;
		pthread_mutex_unlock(&set->owner->ipset_lock);
	}
	return whole;
}

void sets_look_at_ipsets(struct sets *s, struct lane *lane)
{
	for (size_t i = 0; i < atomic_load(&s->n); i++) {
		struct kernel_set *set = s->v[i];

		if (!set->is_ipset || !set_is_used(set))
			continue;
		if (set_look(set, lane) < 0 || !ipset_is_whole(set))
			shadow_lose_all(&set->shadow);
	}
}

/* --- nft --- */

static void element_of(const struct set_form *form, struct commit_element *ret)
{
	ret->has_value = form->map;
	if (form->map)
		ret->value = (struct element_value){.b = form->value,
			.size = form->value_size,
			.code = form->code,
			.chain = form->chain[0] ? form->chain : NULL};
}

void set_keep_lost(struct kernel_set *set, const uint8_t *key, uint8_t key_size,
	const uint8_t *value, int64_t until_ms)
{
	uint32_t before = shadow_mark(&set->shadow);

	shadow_lose_all(&set->shadow);
	shadow_put(&set->shadow, key, key_size, value, until_ms, false, before, clock_ms(), NULL);
}

/* Behind the lock. A set that was never there yet: of a plain one of a family the key is known. */
static bool guess_key(const struct nl_set *h, const struct ip_addr *addr)
{
	struct kernel_set *set = h->set;

	if (h->conf.key || h->conf.value || h->conf.family != addr->family)
		return false;
	for (const struct nl_set *other = atomic_load(&set->handles); other; other = other->next)
		if (other->last || other->conf.key || other->conf.value ||
			other->conf.family != addr->family)
			return false;
	shadow_shape(&set->shadow, (uint8_t)ip_addr_size(addr), 0);
	return true;
}

/* The set is not there, and the answer leaves all the same: when it comes, as it was, its address
 * goes in. */
static void add_later(
	struct nl_set *h, const struct writer_element *e, const struct ip_addr *client)
{
	struct sets *s = h->set->owner;
	int64_t until_ms = until_of(e->timeout_s, clock_ms());
	const struct kept_form *k;
	uint8_t key[SET_KEY_MAX];
	bool guessed;

	pthread_mutex_lock(&s->lock);
	k = h->last;
	guessed = !k && guess_key(h, &e->addr);
	pthread_mutex_unlock(&s->lock);
	if (guessed)
		set_keep_lost(h->set, e->addr.b, (uint8_t)ip_addr_size(&e->addr), NULL, until_ms);
	else if (k && set_form_key(&k->form, &e->addr, client, key))
		set_keep_lost(h->set, key, k->form.key_size, set_form_kept(&k->form), until_ms);
}

void set_want(struct nl_set *h, const struct writer_element *e, const struct ip_addr *client)
{
	const struct kept_form *k = atomic_load(&h->form);
	int64_t now_ms = clock_ms();
	uint8_t key[SET_KEY_MAX];

	if (!k && !h->set->is_ipset)
		add_later(h, e, client);
	if (!k || !set_form_key(&k->form, &e->addr, client, key) ||
		(e->timeout_s && !k->form.has_timeout))
		return;
	shadow_want(&h->set->shadow, key, k->form.key_size, set_form_kept(&k->form),
		until_of(e->timeout_s, now_ms), now_ms);
	sets_fill_soon(h->set);
}

/* The kernel takes long to refuse a verdict whose chain is not there, and all that is in the batch
 * waits: so it is tried now and then. */
static bool is_held_off(const struct nl_set *h)
{
	return atomic_load(&h->state) == -ESRCH &&
	       clock_ms() - atomic_load(&h->refused_ms) < HELD_OFF_MS;
}

static int add_nft(struct lane *lane, struct writer_element *e, const struct ip_addr *client,
	struct lane_element *ret)
{
	struct nl_set *h = e->set;
	struct kernel_set *set = h->set;
	struct set_view *view = &set->views[lane->kind];
	const struct kept_form *k = atomic_load(&h->form);
	struct commit_element element = {.timeout_ms = ELEMENT_NO_TIMEOUT};
	int64_t need_ms;

	if (!view->known || !k || (e->timeout_s && !k->form.has_timeout)) {
		set_look_if_due(set, lane);
		k = atomic_load(&h->form);
	}
	if (!view->known || !k) {
		add_later(h, e, client);
		return add_failed(h, atomic_load(&h->state) ? atomic_load(&h->state) : -ENOENT);
	}
	if (!set_form_key(&k->form, &e->addr, client, element.key))
		return 0;
	if (e->timeout_s && !k->form.has_timeout)
		return add_failed(h, -EOPNOTSUPP);
	if (is_held_off(h))
		return -ESRCH;
	element_of(&k->form, &element);
	if (k->form.has_timeout)
		element.timeout_ms = (uint64_t)e->timeout_s * 1000;
	element.need_ms = e->timeout_s ? (uint64_t)e->need_s * 1000 : COMMIT_FOREVER;
	need_ms = e->timeout_s ? clock_ms() + (int64_t)e->need_s * 1000 : SHADOW_FOREVER;
	/* Another job may just have brought it. */
	if (shadow_holds(
		    &set->shadow, element.key, k->form.key_size, set_form_kept(&k->form), need_ms))
		return 0;
	ret->shadow = &set->shadow;
	ret->mark = shadow_mark(&set->shadow);
	ret->item = (int16_t)commit_add(lane->commit, &view->target,
		shadow_owns(&set->shadow, element.key, k->form.key_size) ? COMMIT_RENEW
									 : COMMIT_ADD,
		&element);
	return ret->item < 0 ? ret->item : 0;
}

int set_add(struct lane *lane, struct writer_element *e, const struct ip_addr *client,
	struct lane_element *ret)
{
	return lane->kind == LANE_IPSET ? add_ipset(lane, e, client)
					: add_nft(lane, e, client, ret);
}

/* Somebody may have put it in since it was lost, and for longer than we would. */
static uint64_t need_again_ms(const struct commit_element *e)
{
	if (!e->timeout_ms || e->timeout_ms == ELEMENT_NO_TIMEOUT)
		return COMMIT_FOREVER;
	return e->timeout_ms > SLACK_MS ? e->timeout_ms - SLACK_MS : 0;
}

static void put_again(struct kernel_set *set, const struct commit_item *item,
	const struct shadow_element *e, uint32_t mark, int64_t now_ms)
{
	int64_t until_ms = e->until_ms;

	/* Who has put it in meanwhile, for longer, has not done so for us. */
	if (item->in_range)
		until_ms = item->found_ms == COMMIT_FOREVER ? SHADOW_FOREVER
							    : now_ms + (int64_t)item->found_ms;
	shadow_put(&set->shadow, e->key, item->target->key_size,
		item->e.has_value ? e->value : NULL, until_ms, item->in_range, mark, now_ms, NULL);
}

/* The form by which a rule of today puts such an element in. NULL: none does any more. */
static const struct set_form *form_with(const struct kernel_set *set, const uint8_t *value)
{
	for (const struct nl_set *h = atomic_load(&set->handles); h; h = h->next) {
		const struct kept_form *k = atomic_load(&h->form);

		if (k && atomic_load(&h->users) &&
			memcmp(k->form.value, value, k->form.kept_size) == 0)
			return &k->form;
	}
	return NULL;
}

static int fill_nft(
	struct lane *lane, struct kernel_set *set, const struct shadow_element *v, size_t n)
{
	struct commit *c = lane->commit;
	struct commit_target *t = &set->views[lane->kind].target;
	const struct set_form *form;
	uint32_t mark = shadow_mark(&set->shadow);
	int64_t now_ms = clock_ms();
	int items[FILL_ELEMENTS], error = 0;

	commit_begin(c);
	for (size_t i = 0; i < n; i++) {
		struct commit_element e = {.timeout_ms = ELEMENT_NO_TIMEOUT};

		memcpy(e.key, v[i].key, t->key_size);
		form = form_with(set, v[i].value);
		items[i] = -EINVAL; /* no rule writes it any more */
		if (!form)
			continue;
		element_of(form, &e);
		if (t->has_timeout)
			e.timeout_ms = v[i].until_ms == SHADOW_FOREVER
					       ? 0
					       : (uint64_t)(v[i].until_ms - now_ms);
		e.need_ms = need_again_ms(&e);
		items[i] = commit_add(c, t, COMMIT_ADD, &e);
	}
	commit_run(c);
	for (size_t i = 0; i < n; i++) {
		int r = items[i] < 0 ? items[i] : c->items[items[i]].result;

		if (r == 0)
			put_again(set, &c->items[items[i]], &v[i], mark, now_ms);
		error = worse(error, r);
	}
	return error;
}

/* --- both --- */

static bool is_known(const struct kernel_set *set, const struct lane *lane)
{
	return set->is_ipset ? set->known : set->views[lane->kind].known;
}

/* In a set without timeouts what has an end would stay for ever. Returns how many have none, which
 * come first. */
static size_t permanent_first(struct shadow_element *v, size_t n)
{
	size_t n_permanent = 0;

	for (size_t i = 0; i < n; i++)
		if (v[i].until_ms == SHADOW_FOREVER)
			v[n_permanent++] = v[i];
	return n_permanent;
}

static int fill_some(struct kernel_set *set, struct lane *lane, struct shadow_element *v, size_t n)
{
	const struct set_form *form = set_any_form(set);
	size_t n_fit = form && !form->has_timeout ? permanent_first(v, n) : n;
	int r = 0;

	if (n_fit > 0)
		r = set->is_ipset ? fill_ipset(set, v, n_fit) : fill_nft(lane, set, v, n_fit);
	count_add_shared(&lane->w->n_refilled, r == 0 ? n_fit : 0);
	return r == 0 && n_fit < n ? -EOPNOTSUPP : r;
}

/* A set that was found full, or without timeouts, is well again when it takes what it lost. */
static void note_filled(struct kernel_set *set, int error)
{
	for (struct nl_set *h = atomic_load(&set->handles); h; h = h->next) {
		const struct kept_form *k = atomic_load(&h->form);

		if (error || (k && k->form.has_timeout))
			sets_note(h, error);
	}
}

/* Some of what it has lost. True: there may be more. */
static bool fill(struct kernel_set *set, struct lane *lane)
{
	struct shadow_element v[FILL_ELEMENTS];
	size_t n;
	int r;

	if (set->fill_cursor == 0)
		set->fill_mark = shadow_mark(&set->shadow);
	n = shadow_next_lost(&set->shadow, &set->fill_cursor, clock_ms(), v, FILL_ELEMENTS);
	/* What was lost on the way may lie behind us. */
	if (n == 0)
		return shadow_mark(&set->shadow) != set->fill_mark;
	r = fill_some(set, lane, v, n);
	/* A set of another kind is looked at first; one that is gone, or full, is filled when it is
	 * told again. */
	if (r == -ESTALE)
		atomic_store(&set->look_due, true);
	else
		note_filled(set, r);
	return r == 0 || r == -ESTALE || r == -EOPNOTSUPP;
}

/* True: there is more to do, in this lane. */
static bool tend(struct kernel_set *set, struct lane *lane)
{
	if (!set_is_used(set))
		return false;
	if (atomic_load_explicit(&set->look_due, memory_order_relaxed) &&
		atomic_exchange(&set->look_due, false))
		(void)set_look(set, lane);
	if (atomic_load(&set->lane) != lane->kind ||
		!atomic_load_explicit(&set->fill_due, memory_order_relaxed) ||
		!atomic_exchange(&set->fill_due, false))
		return false;
	if (!is_known(set, lane))
		(void)set_look(set, lane);
	if (!is_known(set, lane) || !fill(set, lane)) {
		set->fill_cursor = 0;
		return false;
	}
	atomic_store(&set->fill_due, true);
	if (atomic_load(&set->lane) == lane->kind)
		return true;
	sets_tell_lane(set); /* it has become another's meanwhile */
	return false;
}

bool sets_fill(struct sets *s, struct lane *lane)
{
	size_t n = atomic_load(&s->n);
	bool more = false;

	for (size_t i = 0; i < n; i++) {
		struct kernel_set *set = s->v[lane->tended++ % n];

		if (atomic_load_explicit(&set->lane, memory_order_relaxed) != lane->kind)
			continue;
		if (!tend(set, lane))
			continue;
		more = true;
		/* Answers wait: the others have their turn after those. */
		if (atomic_load_explicit(&lane->submitted, memory_order_relaxed))
			break;
	}
	return more;
}

/* A table goes without a word when its owner does (Linux 6.18). Some at a time. */
void sets_look_around(struct sets *s, struct lane *lane)
{
	size_t n = atomic_load(&s->n);

	for (size_t i = 0; i < LOOK_AROUND_SETS && i < n; i++) {
		struct kernel_set *set = s->v[s->around++ % n];

		if (set->is_ipset || !set_is_used(set))
			continue;
		if (atomic_load(&set->lane) == LANE_HASH)
			(void)set_look(set, lane);
		else
			sets_look_soon(set);
	}
}

void sets_sweep(struct sets *s, const struct lane *lane, int64_t now_ms)
{
	for (size_t i = 0; i < atomic_load(&s->n); i++) {
		struct kernel_set *set = s->v[i];

		if (atomic_load(&set->lane) != lane->kind)
			continue;
		if (set_is_used(set))
			shadow_sweep(&set->shadow, now_ms);
		else
			shadow_clear(&set->shadow);
	}
}
