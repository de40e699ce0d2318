/* Reading what a user's set is, and what follows for those who write into it. */
#include "netlink/sets.h"
#include "gateway/base/clock.h"
#include "netlink/writer_internal.h"

#include <errno.h>
#include <libmnl/libmnl.h>
#include <linux/netfilter/nf_tables.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define LOOK_TIMEOUT_MS 50
#define LOOK_EVERY_MS	1000

static int take_answer(void *arg, const struct nlmsghdr *answer)
{
	return set_kind_read(answer, arg);
}

static void fill_get(struct nlmsghdr *h, const void *arg)
{
	const struct kernel_set *set = arg;

	mnl_attr_put_strz(h, NFTA_SET_TABLE, set->table);
	mnl_attr_put_strz(h, NFTA_SET_NAME, set->name);
}

static uint32_t generation_of(struct lane *lane)
{
	uint32_t generation;

	return nft_generation(&lane->socket, &generation, LOOK_TIMEOUT_MS) < 0 ? 0 : generation;
}

/* --- forms --- */

/* True: it is another than before. Behind the lock. */
static bool form_use(struct nl_set *h, const struct set_form *form)
{
	struct kept_form *old = (struct kept_form *)atomic_load(&h->form), *k;

	if (old && set_form_equal(&old->form, form))
		return false;
	for (k = h->forms; k && !set_form_equal(&k->form, form); k = k->older)
		;
	if (!k) {
		k = calloc(1, sizeof *k);
		if (!k) {
			atomic_store(&h->form, NULL);
			return true;
		}
		k->form = *form;
		k->older = h->forms;
		h->forms = k;
	}
	h->last = k;
	atomic_store(&h->form, k);
	return true;
}

/* What is wrong with all of them, 0 if one can be used. */
static int make_forms(struct kernel_set *set,
	int (*make)(const struct nl_set *h, const void *kind, struct set_form *ret, char *why,
		size_t size),
	const void *kind, bool *ret_changed)
{
	int all = -EINVAL;

	for (struct nl_set *h = atomic_load(&set->handles); h; h = h->next) {
		struct set_form form;
		int r = make(h, kind, &form, h->why, sizeof h->why);

		if (r == 0)
			*ret_changed |= form_use(h, &form);
		else
			atomic_store(&h->form, NULL);
		all = r == 0 ? 0 : all;
	}
	return all;
}

static void note_all(struct kernel_set *set, int error)
{
	for (struct nl_set *h = atomic_load(&set->handles); h; h = h->next) {
		int r = error ? error : atomic_load(&h->form) ? 0 : -EINVAL;
		int state = atomic_load(&h->state);

		/* What only an element can show is not forgotten by looking. */
		if (r != 0 || (state != -ENFILE && state != -EOPNOTSUPP))
			sets_note(h, r);
	}
}

static void forget_forms(struct kernel_set *set)
{
	for (struct nl_set *h = atomic_load(&set->handles); h; h = h->next)
		atomic_store(&h->form, NULL);
}

/* That of any handle; NULL: none is in force. */
const struct set_form *set_any_form(const struct kernel_set *set)
{
	for (const struct nl_set *h = atomic_load(&set->handles); h; h = h->next) {
		const struct kept_form *k = atomic_load(&h->form);

		if (k)
			return &k->form;
	}
	return NULL;
}

/* --- nft --- */

static int make_nft(
	const struct nl_set *h, const void *kind, struct set_form *ret, char *why, size_t size)
{
	return set_form_make(&h->conf, kind, ret, why, size);
}

/* Large interval sets and concatenations take the kernel long; see writer.h. */
static enum lane_kind lane_of(struct kernel_set *set, const struct set_kind *kind)
{
	struct writer *w = set->owner->w;

	if (kind->flags & (NFT_SET_INTERVAL | NFT_SET_CONCAT) &&
		lane_start(&w->lanes[LANE_SLOW]) == 0)
		return LANE_SLOW;
	return LANE_HASH;
}

/* The view's target is what the kernel has now. True: it was another. */
static bool target_use(struct commit_target *t, const struct set_kind *kind)
{
	struct commit_target old = *t;

	t->key_size = (uint8_t)kind->key_size;
	t->value_size = kind->flags & NFT_SET_MAP ? (uint8_t)kind->data_size : 0;
	t->at.interval = kind->flags & NFT_SET_INTERVAL;
	t->at.concat = kind->flags & NFT_SET_CONCAT;
	t->has_timeout = kind->flags & NFT_SET_TIMEOUT;
	return old.key_size != t->key_size || old.value_size != t->value_size ||
	       old.at.interval != t->at.interval || old.at.concat != t->at.concat ||
	       old.has_timeout != t->has_timeout;
}

static int look_nft(struct kernel_set *set, struct lane *lane, bool *ret_changed)
{
	struct set_view *view = &set->views[lane->kind];
	struct set_kind kind;
	/* Before: a change while we read is seen later. */
	uint32_t generation = generation_of(lane);
	int r = nft_request(&lane->socket, NFT_MSG_GETSET, set->nfproto, 0, fill_get, set,
		take_answer, &kind, LOOK_TIMEOUT_MS);

	view->looked_generation = generation;
	view->looked_ms = clock_ms();
	pthread_mutex_lock(&set->owner->lock);
	if (r == 0)
		r = make_forms(set, make_nft, &kind, ret_changed);
	else if (r == -ENOENT)
		forget_forms(set);
	if (r == 0) {
		*ret_changed |= target_use(&view->target, &kind);
		shadow_shape(&set->shadow, view->target.key_size, set_any_form(set)->kept_size);
	}
	pthread_mutex_unlock(&set->owner->lock);
	if (r == -ETIMEDOUT) /* it says nothing about the set */
		return r;
	view->known = r == 0;
	if (r < 0) {
		shadow_lose_all(&set->shadow);
		return r;
	}
	atomic_store(&set->lane, (uint8_t)lane_of(set, &kind));
	sets_fill_soon(set);
	return 0;
}

static int look_at_target(struct commit_target *t)
{
	struct set_view *view = (struct set_view *)t;
	bool changed = false;
	int r = look_nft(view->set, view->lane, &changed);

	note_all(view->set, r);
	return r == 0 && changed ? -ESTALE : r;
}

/* --- ipset --- */

static int make_ipset(
	const struct nl_set *h, const void *arg, struct set_form *ret, char *why, size_t size)
{
	const struct ipset_kind *kind = arg;
	struct conf_set_field fields[CONF_SET_FIELDS_MAX];
	size_t n = conf_set_fields(h->conf.key, fields), bytes = kind->family == IP_V4 ? 4 : 16;

	*ret = (struct set_form){
		.family = kind->family,
		.has_timeout = kind->timeout,
		.key_size = (uint8_t)bytes,
		.client_at = -1,
	};
	for (size_t i = 0; i < n; i++)
		if (fields[i].kind == CONF_FIELD_CLIENT) {
			ret->client_at = (int8_t)bytes;
			ret->client_family = kind->family;
			ret->key_size = (uint8_t)(2 * bytes);
		}
	if (kind->fields == (n ? n : 1) &&
		(h->conf.family == IP_NONE || h->conf.family == kind->family))
		return 0;
	snprintf(why, size, "it has IPv%u addresses and elements of %u field%s", kind->family,
		kind->fields, kind->fields == 1 ? "" : "s");
	return -EINVAL;
}

static int look_ipset(struct kernel_set *set)
{
	struct sets *s = set->owner;
	bool changed = false;
	int r = 0;

	pthread_mutex_lock(&s->ipset_lock);
	if (!s->ipset)
		r = ipset_writer_open(&s->ipset);
	if (r == 0)
		r = ipset_writer_look(s->ipset, set->name, &set->kind);
	set->looked_ms = clock_ms();
	pthread_mutex_lock(&s->lock);
	if (r == 0)
		r = make_forms(set, make_ipset, &set->kind, &changed);
	else if (r == -ENOENT)
		forget_forms(set);
	if (r == 0)
		shadow_shape(&set->shadow, set_any_form(set)->key_size, 0);
	pthread_mutex_unlock(&s->lock);
	set->known = r == 0;
	if (r == 0)
		sets_fill_soon(set);
	pthread_mutex_unlock(&s->ipset_lock);
	return r;
}

/* --- both --- */

int set_look(struct kernel_set *set, struct lane *lane)
{
	bool changed = false;
	int r = set->is_ipset ? look_ipset(set) : look_nft(set, lane, &changed);

	note_all(set, r);
	return r;
}

void set_look_init(struct kernel_set *set, struct writer *w)
{
	for (size_t i = 0; i < SETS_NFT_LANES; i++)
		set->views[i] = (struct set_view){
			.target = {.at = {.table = set->table,
					   .name = set->name,
					   .nfproto = set->nfproto},
				.look = look_at_target},
			.set = set,
			.lane = &w->lanes[i],
		};
}

void set_look_if_due(struct kernel_set *set, struct lane *lane)
{
	const struct set_view *view = set->is_ipset ? NULL : &set->views[lane->kind];
	int64_t looked_ms = view ? view->looked_ms : set->looked_ms;
	uint32_t generation;

	if (looked_ms && clock_ms() - looked_ms < LOOK_EVERY_MS && !atomic_load(&set->look_due)) {
		generation = view ? generation_of(lane) : 0;
		if (!generation || generation == view->looked_generation)
			return;
	}
	(void)set_look(set, lane);
}
