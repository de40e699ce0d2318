#include "netlink/sets.h"
#include "gateway/base/clock.h"
#include "netlink/ipset.h"

#include <arpa/inet.h>
#include <errno.h>
#include <libmnl/libmnl.h>
#include <linux/netfilter.h>
#include <linux/netfilter/nf_tables.h>
#include <linux/netfilter/nfnetlink.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define LOOK_TIMEOUT_MS 50
#define LOOK_EVERY_MS	1000
/* A set that hovers at its limit is told about once in this time. */
#define RECOVERED_AFTER_MS 60000

/* nft's numbers of data types; 0: made by a program that names none. */
enum { TYPE_NONE = 0, TYPE_IPADDR = 7, TYPE_IP6ADDR = 8 };

struct nl_set {
	struct commit_target target; /* must be first: settled() finds the set by it */
	struct sets *owner;
	char text[256];
	char *table, *name;
	bool is_ipset;
	uint8_t want_family; /* of the rule; IP_NONE: the key's */
	uint8_t nfproto;
	int state;  /* 0, or the errno that its elements get */
	bool known; /* its description was read and is in force */
	int64_t looked_ms, told_ms;
	uint32_t looked_generation; /* of all nft tables; 0: not known */
	uint64_t added, errors;
};

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

static void set_state(struct nl_set *set, int state)
{
	static const char *const meanings[] = {"there is no such set",
		"its elements are not single addresses of the family, or it is constant",
		"it was made without `flags timeout`, and a permanent element would stay for ever",
		"it is full"};
	char line[512];
	int64_t now = clock_ms();
	const char *meaning;

	if (state == set->state)
		return;
	/* Good news about a set that was full waits, so that it cannot alternate. */
	if (state == 0 && set->state == -ENFILE && now - set->told_ms < RECOVERED_AFTER_MS)
		return;
	meaning = state == -ENOENT	 ? meanings[0]
		  : state == -EINVAL	 ? meanings[1]
		  : state == -EOPNOTSUPP ? meanings[2]
		  : state == -ENFILE	 ? meanings[3]
					 : strerror(-state);
	if (state == 0)
		snprintf(line, sizeof line, "%s %s: ok again", set->is_ipset ? "ipset" : "nftset",
			set->text);
	else
		snprintf(line, sizeof line, "%s %s: %s: %s; answers leave without it",
			set->is_ipset ? "ipset" : "nftset", set->text, state_name(state), meaning);
	set->state = state;
	set->told_ms = now;
	if (set->owner->changed)
		set->owner->changed(set->owner->arg, line);
}

/* --- reading what a set is --- */

struct description {
	uint32_t flags, key_type, key_size;
};

static int take_attr(const struct nlattr *attr, void *arg)
{
	struct description *d = arg;
	uint32_t value = mnl_attr_get_payload_len(attr) == 4 ? ntohl(mnl_attr_get_u32(attr)) : 0;

	switch (mnl_attr_get_type(attr)) {
	case NFTA_SET_FLAGS:
		d->flags = value;
		break;
	case NFTA_SET_KEY_TYPE:
		d->key_type = value;
		break;
	case NFTA_SET_KEY_LEN:
		d->key_size = value;
		break;
	}
	return MNL_CB_OK;
}

static int take_answer(void *arg, const struct nlmsghdr *answer)
{
	mnl_attr_parse(answer, sizeof(struct nfgenmsg), take_attr, arg);
	return 0;
}

static void fill_get(struct nlmsghdr *h, const void *arg)
{
	const struct nl_set *set = arg;

	mnl_attr_put_strz(h, NFTA_SET_TABLE, set->table);
	mnl_attr_put_strz(h, NFTA_SET_NAME, set->name);
}

static uint8_t family_of(const struct description *d)
{
	if (d->flags & (NFT_SET_MAP | NFT_SET_OBJECT | NFT_SET_CONCAT | NFT_SET_CONSTANT))
		return IP_NONE;
	if (d->key_size == 4 && (d->key_type == TYPE_IPADDR || d->key_type == TYPE_NONE))
		return IP_V4;
	if (d->key_size == 16 && (d->key_type == TYPE_IP6ADDR || d->key_type == TYPE_NONE))
		return IP_V6;
	return IP_NONE;
}

static int read_nft(struct nl_set *set)
{
	struct description d = {0};
	uint8_t family;
	int r = nft_request(set->owner->socket, NFT_MSG_GETSET, set->nfproto, 0, fill_get, set,
		take_answer, &d, LOOK_TIMEOUT_MS);

	if (r < 0)
		return r;
	family = family_of(&d);
	if (family == IP_NONE || (set->want_family != IP_NONE && family != set->want_family))
		return -EINVAL;
	set->target.at.family = family;
	set->target.at.interval = d.flags & NFT_SET_INTERVAL;
	set->target.has_timeout = d.flags & NFT_SET_TIMEOUT;
	return 0;
}

static int read_ipset(struct nl_set *set)
{
	uint8_t family;
	int r;

	if (!set->owner->ipset) {
		r = ipset_writer_open(&set->owner->ipset);
		if (r < 0)
			return r;
	}
	r = ipset_writer_look(set->owner->ipset, set->name, &family);
	if (r < 0)
		return r;
	if (set->want_family != IP_NONE && family != set->want_family)
		return -EINVAL;
	set->target.at.family = family;
	set->target.has_timeout = true; /* the kernel says so itself when an element is added */
	return 0;
}

static uint32_t generation_of(const struct nl_set *set)
{
	uint32_t generation;

	if (set->is_ipset || nft_generation(set->owner->socket, &generation, LOOK_TIMEOUT_MS) < 0)
		return 0;
	return generation;
}

/* 0, or what is wrong with the set. */
static int look(struct nl_set *set)
{
	uint32_t generation = generation_of(set); /* before: a change while we read is seen later */
	int r = set->is_ipset ? read_ipset(set) : read_nft(set);

	set->looked_generation = generation;
	set->looked_ms = clock_ms();
	set->known = r == 0;
	/* What only an element can show is not forgotten by looking. */
	if (r != 0 || (set->state != -ENFILE && set->state != -EOPNOTSUPP))
		set_state(set, r);
	return r;
}

static int look_at_target(struct commit_target *t)
{
	return look((struct nl_set *)t);
}

static void settled(struct commit_target *t, unsigned n_done, unsigned n_failed, int error)
{
	struct nl_set *set = (struct nl_set *)t;

	set->added += n_done;
	set->errors += n_failed;
	if (n_failed)
		set_state(set, error);
	else if (n_done)
		set_state(set, 0);
	if (error == -ENOENT)
		set->known = false;
}

/* --- handles --- */

void sets_init(
	struct sets *s, struct nft_socket *socket, void (*changed)(void *, const char *), void *arg)
{
	*s = (struct sets){.socket = socket, .changed = changed, .arg = arg};
}

static void set_free(struct nl_set *set)
{
	free(set->table);
	free(set->name);
	free(set);
}

void sets_fini(struct sets *s)
{
	for (size_t i = 0; i < s->n; i++)
		set_free(s->v[i]);
	s->n = 0;
	ipset_writer_close(s->ipset);
	s->ipset = NULL;
}

int sets_get(struct sets *s, const struct conf_set *conf, struct nl_set **ret)
{
	struct nl_set *set;

	for (size_t i = 0; i < s->n; i++) {
		set = s->v[i];
		if (set->is_ipset == conf->is_ipset && set->want_family == conf->family &&
			strcmp(set->name, conf->name) == 0 &&
			(set->is_ipset || (set->nfproto == conf->nfproto &&
						  strcmp(set->table, conf->table) == 0))) {
			*ret = set;
			return 0;
		}
	}
	if (s->n == SETS_MAX)
		return -ENOSPC;
	set = calloc(1, sizeof *set);
	if (!set)
		return -ENOMEM;
	set->name = strdup(conf->name);
	set->table = strdup(conf->is_ipset ? "" : conf->table);
	if (!set->name || !set->table) {
		set_free(set);
		return -ENOMEM;
	}
	set->owner = s;
	set->is_ipset = conf->is_ipset;
	set->want_family = conf->family;
	set->nfproto = conf->nfproto;
	set->target.at = (struct element_set){
		.table = set->table, .name = set->name, .nfproto = conf->nfproto};
	set->target.look = look_at_target;
	set->target.settled = settled;
	conf_set_format(conf, set->text, sizeof set->text);
	s->v[s->n++] = set;
	look(set);
	*ret = set;
	return 0;
}

void sets_look_at_all(struct sets *s)
{
	for (size_t i = 0; i < s->n; i++)
		look(s->v[i]);
}

void sets_info(const struct nl_set *set, struct writer_set_info *ret)
{
	memcpy(ret->text, set->text, sizeof ret->text);
	ret->state = state_name(set->state);
	ret->elements = set->added;
	ret->errors = set->errors;
}

/* --- adding --- */

static int add_failed(struct nl_set *set, int error)
{
	set->errors++;
	set_state(set, error);
	return error;
}

static int ipset_add(struct nl_set *set, const struct ip_addr *addr, uint32_t timeout_s)
{
	int r = ipset_writer_add(set->owner->ipset, set->name, addr, timeout_s);

	if (r < 0) {
		set->known = r != -ENOENT;
		return add_failed(set, r);
	}
	set->added++;
	set_state(set, 0);
	return 0;
}

/* What cannot take an element is perhaps made anew: looked at when anything of nft has changed,
 * else once a second (ipset tells nothing). */
static bool look_is_due(const struct nl_set *set)
{
	uint32_t generation = generation_of(set);

	return clock_ms() - set->looked_ms >= LOOK_EVERY_MS ||
	       (generation && generation != set->looked_generation);
}

int sets_add(struct nl_set *set, const struct ip_addr *addr, uint32_t timeout_s, struct commit *c,
	int *ret_item)
{
	uint64_t timeout_ms = (uint64_t)timeout_s * 1000;

	*ret_item = -1;
	if (set->want_family != IP_NONE && addr->family != set->want_family)
		return 0;
	if ((!set->known || (!set->target.has_timeout && timeout_s)) && look_is_due(set))
		look(set);
	if (!set->known) {
		set->errors++;
		return set->state ? set->state : -ENOENT;
	}
	if (addr->family != set->target.at.family)
		return 0;
	if (!set->target.has_timeout && timeout_s)
		return add_failed(set, -EOPNOTSUPP);
	if (set->is_ipset)
		return ipset_add(set, addr, timeout_s);
	if (!set->target.has_timeout)
		timeout_ms = ELEMENT_NO_TIMEOUT;
	*ret_item = commit_add(c, &set->target, COMMIT_ADD, addr, NULL, timeout_ms);
	return *ret_item < 0 ? *ret_item : 0;
}
