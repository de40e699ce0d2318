#include "netlink/sets.h"
#include "gateway/base/clock.h"
#include "gateway/base/count.h"
#include "netlink/writer_internal.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

/* A set that takes some elements and refuses others (it is at its limit, or a bitmap) is told about
 * once in this time. */
#define RECOVERED_AFTER_MS 60000

/* --- states --- */

static const char *state_name(int state)
{
	switch (state) {
	case 0:
		return "ok";
	case -ENOENT:
		return "missing";
	case -EINVAL:
		return "wrong type";
	case -EOPNOTSUPP:
		return "no timeout";
	case -ENFILE:
		return "full";
	default:
		return "error";
	}
}

static const char *meaning(const struct nl_set *h, int state)
{
	switch (state) {
	case -ENOENT:
		return "there is no such set";
	case -EINVAL:
		return !atomic_load(&h->form) && h->why[0] ? h->why
							   : "it does not take every address";
	case -EOPNOTSUPP:
		return "it was made without `flags timeout`, and a permanent element would stay "
		       "for ever";
	case -ENFILE:
		return "it is full";
	case -ESRCH:
		return "the chain of its verdict is not there";
	default:
		return strerror(-state);
	}
}

/* Behind the lock. */
static void change_state(struct nl_set *h, int state)
{
	const struct sets *s = h->set->owner;
	const char *kind = h->conf.is_ipset ? "ipset" : h->conf.value ? "nftmap" : "nftset";
	int64_t now = clock_ms();
	char line[CONF_SET_TEXT_MAX + 256];

	/* Good news about it wait, so that they cannot alternate. */
	if (state == 0 && h->refuses && now - h->told_ms < RECOVERED_AFTER_MS)
		return;
	if (state == 0)
		snprintf(line, sizeof line, "%s %s: ok again", kind, h->text);
	else
		snprintf(line, sizeof line, "%s %s: %s: %s; answers leave without it", kind,
			h->text, state_name(state), meaning(h, state));
	atomic_store(&h->state, state);
	h->refuses = state == -ENFILE || (state == -EINVAL && atomic_load(&h->form));
	h->told_ms = now;
	if (s->changed)
		s->changed(s->arg, line);
}

void sets_note(struct nl_set *h, int error)
{
	struct sets *s = h->set->owner;

	if (atomic_load_explicit(&h->state, memory_order_relaxed) == error ||
		!atomic_load(&h->users))
		return;
	pthread_mutex_lock(&s->lock);
	if (atomic_load(&h->state) != error)
		change_state(h, error);
	pthread_mutex_unlock(&s->lock);
}

/* --- handles --- */

int sets_init(struct sets *s, struct writer *w)
{
	s->w = w;
	s->changed = w->config.set_changed;
	s->arg = w->config.arg;
	pthread_mutex_init(&s->lock, NULL);
	pthread_mutex_init(&s->ipset_lock, NULL);
	return getrandom(&s->seed, sizeof s->seed, 0) == sizeof s->seed ? 0 : -EIO;
}

static void handle_free(struct nl_set *h)
{
	while (h->forms) {
		struct kept_form *k = h->forms;

		h->forms = k->older;
		free(k);
	}
	free(h->conf.table);
	free(h->conf.name);
	free(h->conf.key);
	free(h->conf.value);
	free(h);
}

static void kernel_set_free(struct kernel_set *set)
{
	struct nl_set *h, *next;

	if (!set)
		return;
	for (h = atomic_load(&set->handles); h; h = next) {
		next = h->next;
		handle_free(h);
	}
	shadow_fini(&set->shadow);
	free(set->table);
	free(set->name);
	free(set);
}

void sets_fini(struct sets *s)
{
	for (size_t i = 0; i < atomic_load(&s->n); i++)
		kernel_set_free(s->v[i]);
	ipset_writer_close(s->ipset);
	pthread_mutex_destroy(&s->lock);
	pthread_mutex_destroy(&s->ipset_lock);
}

static bool copy(char **ret, const char *text)
{
	*ret = text ? strdup(text) : NULL;
	return *ret || !text;
}

static struct nl_set *handle_new(const struct conf_set *conf, const char *text)
{
	struct nl_set *h = calloc(1, sizeof *h);

	if (!h)
		return NULL;
	h->conf = *conf;
	h->conf.table = h->conf.name = h->conf.key = h->conf.value = NULL;
	if (!copy(&h->conf.table, conf->table) || !copy(&h->conf.name, conf->name) ||
		!copy(&h->conf.key, conf->key) || !copy(&h->conf.value, conf->value)) {
		handle_free(h);
		return NULL;
	}
	snprintf(h->text, sizeof h->text, "%s", text);
	atomic_init(&h->users, 1);
	return h;
}

/* The elements of an ipset are told apart by what is written, so those of another template are
 * another set to us. */
static const char *table_of(const struct conf_set *conf)
{
	if (!conf->is_ipset)
		return conf->table;
	return conf->key ? conf->key : "";
}

struct set_name {
	bool is_ipset;
	uint8_t nfproto;
	const char *table, *name;
};

static struct set_name name_of(const struct conf_set *conf)
{
	return (struct set_name){conf->is_ipset, conf->nfproto, table_of(conf), conf->name};
}

static bool same_name(const struct set_name *a, const struct set_name *b)
{
	return a->is_ipset == b->is_ipset && (a->is_ipset || a->nfproto == b->nfproto) &&
	       strcmp(a->name, b->name) == 0 && strcmp(a->table, b->table) == 0;
}

bool writer_set_is_same(const struct conf_set *a, const struct conf_set *b)
{
	const struct set_name x = name_of(a), y = name_of(b);

	return same_name(&x, &y);
}

static struct kernel_set *find(struct sets *s, const struct set_name *name)
{
	for (size_t i = 0; i < atomic_load(&s->n); i++) {
		struct kernel_set *set = s->v[i];
		const struct set_name its = {set->is_ipset, set->nfproto, set->table, set->name};

		if (same_name(&its, name))
			return set;
	}
	return NULL;
}

static struct kernel_set *kernel_set_new(struct sets *s, const struct conf_set *conf)
{
	struct kernel_set *set = calloc(1, sizeof *set);

	if (!set)
		return NULL;
	shadow_init(&set->shadow, s->seed);
	set->owner = s;
	set->is_ipset = conf->is_ipset;
	set->nfproto = conf->nfproto;
	set->lane = conf->is_ipset ? LANE_IPSET : LANE_HASH;
	if (!copy(&set->name, conf->name) || !copy(&set->table, table_of(conf))) {
		kernel_set_free(set);
		return NULL;
	}
	set_look_init(set, s->w);
	return set;
}

static struct nl_set *find_handle(const struct kernel_set *set, const char *text)
{
	for (struct nl_set *h = atomic_load(&set->handles); h; h = h->next)
		if (strcmp(h->text, text) == 0)
			return h;
	return NULL;
}

static void add_handle(struct kernel_set *set, struct nl_set *h)
{
	struct sets *s = set->owner;

	h->set = set;
	pthread_mutex_lock(&s->lock);
	h->next = atomic_load(&set->handles);
	atomic_store(&set->handles, h);
	pthread_mutex_unlock(&s->lock);
}

void sets_ref(struct nl_set *h)
{
	atomic_fetch_add(&h->users, 1);
}

void sets_unref(struct nl_set *h)
{
	if (h)
		atomic_fetch_sub(&h->users, 1);
}

bool set_is_used(const struct kernel_set *set)
{
	for (const struct nl_set *h = atomic_load(&set->handles); h; h = h->next)
		if (atomic_load(&h->users))
			return true;
	return false;
}

/* Takes the place of one that nobody uses. No job is out for that; the other lanes may be looking
 * at it. */
static int replace_unused(struct sets *s, struct kernel_set *set)
{
	struct kernel_set *old = NULL;

	for (size_t i = 0; i < WRITER_SETS_MAX && !old; i++)
		if (!set_is_used(s->v[i]))
			old = atomic_exchange(&s->v[i], set);
	if (!old)
		return -ENOSPC;
	s->last = NULL; /* whose thread waits for this */
	for (size_t i = 0; i < WRITER_LANES; i++)
		if (i != LANE_HASH)
			lane_settle(&s->w->lanes[i]);
	kernel_set_free(old);
	return 0;
}

static int place(struct sets *s, struct kernel_set *set)
{
	size_t n = atomic_load(&s->n);

	if (n == WRITER_SETS_MAX)
		return replace_unused(s, set);
	s->v[n] = set;
	atomic_store(&s->n, n + 1);
	return 0;
}

int sets_get(struct sets *s, const struct conf_set *conf, struct nl_set **ret)
{
	char text[CONF_SET_TEXT_MAX];
	const struct set_name name = name_of(conf);
	struct kernel_set *set = find(s, &name);
	struct nl_set *h;
	int r;

	conf_set_format(conf, text, sizeof text);
	/* What was put in for rules that are gone is no business of these. */
	if (set && !set_is_used(set))
		shadow_clear(&set->shadow);
	h = set ? find_handle(set, text) : NULL;
	if (h) {
		if (atomic_fetch_add(&h->users, 1) == 0)
			(void)set_look(set, &s->w->lanes[LANE_HASH]);
		*ret = h;
		return 0;
	}
	r = conf->is_ipset ? lane_start(&s->w->lanes[LANE_IPSET]) : 0;
	if (r < 0)
		return r;
	h = handle_new(conf, text);
	if (!h)
		return -ENOMEM;
	if (!set) {
		set = kernel_set_new(s, conf);
		if (!set) {
			handle_free(h);
			return -ENOMEM;
		}
		add_handle(set, h);
		r = place(s, set);
		if (r < 0) {
			kernel_set_free(set);
			return r;
		}
	} else {
		add_handle(set, h);
	}
	(void)set_look(set, &s->w->lanes[LANE_HASH]);
	*ret = h;
	return 0;
}

static void info(const struct nl_set *h, struct writer_set_info *ret)
{
	struct shadow_count count;

	shadow_count(&h->set->shadow, &count);
	memcpy(ret->text, h->text, sizeof ret->text);
	ret->state = state_name(atomic_load(&h->state));
	ret->elements = count.held - count.foreign;
	ret->errors = count_get(&h->errors);
}

size_t sets_list(struct sets *s, struct writer_set_info *ret, size_t max)
{
	size_t n = 0;

	for (size_t i = 0; i < atomic_load(&s->n); i++)
		for (const struct nl_set *h = atomic_load(&s->v[i]->handles); h && n < max;
			h = h->next)
			if (atomic_load(&h->users))
				info(h, &ret[n++]);
	return n;
}

/* --- what others ask --- */

bool sets_hold(const struct nl_set *h, const struct writer_element *e, const struct ip_addr *client,
	int64_t now_ms)
{
	const struct kept_form *k = atomic_load_explicit(&h->form, memory_order_acquire);
	uint8_t key[SET_KEY_MAX];

	if (!k)
		return false;
	if (!set_form_key(&k->form, &e->addr, client, key))
		return true;
	if (!k->form.has_timeout && e->timeout_s)
		return false;
	return shadow_holds(&h->set->shadow, key, k->form.key_size, set_form_kept(&k->form),
		e->timeout_s ? now_ms + (int64_t)e->need_s * 1000 : SHADOW_FOREVER);
}

void sets_tell_lane(struct kernel_set *set)
{
	struct lane *l = &set->owner->w->lanes[atomic_load(&set->lane)];

	atomic_store(&l->tend_due, true);
	lane_wake(l);
}

void sets_look_soon(struct kernel_set *set)
{
	struct lane *l = &set->owner->w->lanes[atomic_load(&set->lane)];

	atomic_store(&set->look_due, true);
	atomic_store(&l->news, true);
	sets_tell_lane(set);
}

void sets_fill_soon(struct kernel_set *set)
{
	atomic_store(&set->fill_due, true);
	sets_tell_lane(set);
}

static void lose(struct kernel_set *set)
{
	shadow_lose_all(&set->shadow);
	sets_look_soon(set);
}

void sets_lost(struct sets *s)
{
	for (size_t i = 0; i < atomic_load(&s->n); i++)
		lose(s->v[i]);
}

static void table_event(struct sets *s, const struct monitor_set_event *event)
{
	for (size_t i = 0; i < atomic_load(&s->n); i++)
		if (!s->v[i]->is_ipset && s->v[i]->nfproto == event->nfproto &&
			strcmp(s->v[i]->table, event->table) == 0)
			lose(s->v[i]);
}

/* A flush tells each element by itself. */
static struct kernel_set *event_set(struct sets *s, const struct monitor_set_event *event)
{
	const struct set_name name = {false, event->nfproto, event->table, event->set};
	struct kernel_set *last = s->last;

	if (!last || last->nfproto != event->nfproto || strcmp(last->name, event->set) != 0 ||
		strcmp(last->table, event->table) != 0)
		last = find(s, &name);
	if (last)
		s->last = last;
	return last;
}

/* The end of somebody's range takes with it what of ours was only covered by it. */
static bool may_have_covered(struct kernel_set *set, const struct monitor_set_event *event)
{
	const struct set_form *form = set_any_form(set);
	struct shadow_count count;

	if (!form || !form->interval || shadow_owns(&set->shadow, event->key, event->key_size))
		return false;
	shadow_count(&set->shadow, &count);
	return count.foreign > 0;
}

void sets_event(struct sets *s, const struct monitor_set_event *event)
{
	struct kernel_set *set;

	if (!event->set) {
		table_event(s, event);
		return;
	}
	set = event_set(s, event);
	if (!set)
		return;
	if (event->what != MONITOR_ELEMENT_WENT && event->what != MONITOR_ELEMENT_CAME) {
		lose(set);
	} else if (event->what == MONITOR_ELEMENT_WENT && may_have_covered(set, event)) {
		shadow_lose_all(&set->shadow);
		sets_fill_soon(set);
	} else if (shadow_lose(&set->shadow, event->key, event->key_size, clock_ms())) {
		sets_fill_soon(set);
	}
}
