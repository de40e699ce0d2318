#include "netlink/ways.h"
#include "netlink/rt_internal.h"

#include <errno.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#define OWN 0 /* way of packets without an egress; egress i is way i + 1 */
#define ALL UINT64_MAX

enum way_kind {
	WAY_BOTH, /* not known to us: a proxy's; or there is none: reject */
	WAY_ASKED,
	WAY_GROUP,
};

struct way {
	enum way_kind kind;
	uint32_t mark;
	uint64_t of; /* of a group: the ways of its leaves, a bit each */
};

struct ways {
	/* For readers, a bit each way. Ways that are not in use have all. */
	_Atomic uint64_t has4, has6;
	/* The main thread's. */
	size_t n;
	struct way v[WAYS_MAX];
};

int ways_new(struct ways **ret)
{
	struct ways *w = calloc(1, sizeof *w);

	if (!w)
		return -ENOMEM;
	atomic_init(&w->has4, ALL);
	atomic_init(&w->has6, ALL);
	*ret = w;
	return 0;
}

void ways_free(struct ways *w)
{
	free(w);
}

/* --- one question --- */

/* A way out, and one by which answers come back. An IPv6 packet whose only source would be
 * link-local does not leave the link (RFC 4291 2.5.6), and one with a unique local source is not
 * routed on the internet (RFC 4193 4.1): a delegated prefix was lost, or never came, and the
 * default route stayed. IPv4 private sources are translated on their way. */
static void look_at_route(void *arg, const struct nlmsghdr *h)
{
	const struct rtmsg *m = mnl_nlmsg_get_payload(h);
	const struct nlattr *attrs[RTA_PREFSRC + 1];
	bool *has = arg;
	struct ip_addr source;

	if (h->nlmsg_type != RTM_NEWROUTE || mnl_nlmsg_get_payload_len(h) < sizeof *m ||
		m->rtm_type != RTN_UNICAST)
		return;
	rt_attributes(h, sizeof *m, attrs, RTA_PREFSRC);
	source = rt_attribute_address(attrs[RTA_PREFSRC], m->rtm_family);
	*has = m->rtm_family == AF_INET ||
	       (source.family == IP_V6 && !ip_addr_is_link_local(&source) &&
		       !ip_addr_is_private(&source));
}

/* What the kernel says where a route is missing, unreachable, prohibit, blackhole or throw, or the
 * family is not there at all. */
static bool is_no_route(int error)
{
	return error == -ENETUNREACH || error == -EHOSTUNREACH || error == -EACCES ||
	       error == -EINVAL || error == -EAGAIN || error == -ENETDOWN || error == -EOPNOTSUPP ||
	       error == -EAFNOSUPPORT || error == -EPFNOSUPPORT;
}

static int ask(struct rt *rt, const struct ip_addr *to, uint32_t mark, bool *ret_has)
{
	uint8_t buf[RT_REQUEST_BYTES];
	struct nlmsghdr *h = rt_message(buf, RTM_GETROUTE, 0, sizeof(struct rtmsg));
	struct rtmsg *m = mnl_nlmsg_get_payload(h);
	int r;

	m->rtm_family = rt_af(to->family);
	m->rtm_dst_len = (uint8_t)(8 * ip_addr_size(to));
	rt_put_address(h, RTA_DST, to);
	if (mark)
		mnl_attr_put_u32(h, RTA_MARK, mark);
	*ret_has = false;
	r = rt_ask(rt, h, look_at_route, ret_has);
	return is_no_route(r) ? 0 : r;
}

/* Two addresses that are far from each other: people block or redirect a well-known one alone. */
static int ask_family(struct rt *rt, uint8_t family, uint32_t mark, bool *ret_has)
{
	static const struct ip_addr to4[] = {
		{.b = {1, 1, 1, 1}, .family = IP_V4},
		{.b = {193, 0, 14, 129}, .family = IP_V4},
	};
	static const struct ip_addr to6[] = {
		{.b = {0x26, 0x06, 0x47, 0, 0x47, 0, [14] = 0x11, 0x11}, .family = IP_V6},
		{.b = {0x20, 0x01, 0x07, 0xfd, [15] = 1}, .family = IP_V6},
	};
	const struct ip_addr *to = family == IP_V4 ? to4 : to6;
	int r = ask(rt, &to[0], mark, ret_has);

	if (r == 0 && !*ret_has)
		r = ask(rt, &to[1], mark, ret_has);
	return r;
}

/* --- all of them --- */

static uint64_t bit(size_t way)
{
	return 1ULL << way;
}

/* A group has what one of its leaves has. */
static uint64_t with_groups(const struct ways *w, uint64_t has)
{
	for (size_t i = 0; i < w->n; i++)
		if (w->v[i].kind == WAY_GROUP && w->v[i].of & has)
			has |= bit(i);
	return has;
}

static int ask_all(const struct ways *w, struct rt *rt, uint8_t family, uint64_t *ret)
{
	uint64_t has = w->n < WAYS_MAX ? ALL << w->n : 0;

	for (size_t i = 0; i < w->n; i++) {
		bool way = w->v[i].kind == WAY_BOTH;
		int r = 0;

		/* Most egresses go where packets without one go. */
		if (w->v[i].kind == WAY_ASKED && i > OWN && w->v[i].mark == w->v[OWN].mark)
			way = has & bit(OWN);
		else if (w->v[i].kind == WAY_ASKED)
			r = ask_family(rt, family, w->v[i].mark, &way);
		if (r < 0)
			return r;
		has |= way ? bit(i) : 0;
	}
	*ret = with_groups(w, has);
	return 0;
}

int ways_reload(struct ways *w, struct rt *rt, bool *ret_changed)
{
	uint64_t has4 = 0, has6 = 0;
	int r = ask_all(w, rt, IP_V4, &has4);

	*ret_changed = false;
	if (r == 0)
		r = ask_all(w, rt, IP_V6, &has6);
	if (r < 0)
		return r;
	*ret_changed = atomic_load(&w->has4) != has4 || atomic_load(&w->has6) != has6;
	atomic_store(&w->has4, has4);
	atomic_store(&w->has6, has6);
	return 0;
}

/* False: one of the members has no way here, so that nothing is known of the group. */
static bool members(const struct conf_egress *e, uint64_t *ret)
{
	*ret = 0;
	for (size_t i = 0; i < e->n_of; i++) {
		if (e->of[i] < 0 || e->of[i] + 1 >= WAYS_MAX)
			return false;
		*ret |= bit((size_t)e->of[i] + 1);
	}
	return true;
}

/* Groups in groups: the leaves alone are left. Each round goes one level down. */
static void groups_flatten(struct ways *w)
{
	for (size_t round = 0; round < w->n; round++)
		for (size_t i = 0; i < w->n; i++)
			for (size_t j = 0; j < w->n; j++)
				if (w->v[j].kind == WAY_GROUP && w->v[i].of & bit(j))
					w->v[i].of |= w->v[j].of;
}

int ways_set(struct ways *w, struct rt *rt, const struct config *config, struct conf_mark own)
{
	bool changed;
	int r;

	w->n = 1;
	w->v[OWN] = (struct way){.kind = WAY_ASKED, .mark = own.value};
	for (size_t i = 0; i < config->n_egresses && w->n < WAYS_MAX; i++) {
		const struct conf_egress *e = &config->egresses[i];
		struct way *way = &w->v[w->n++];

		*way = (struct way){.kind = WAY_BOTH, .mark = own.value | e->mark.value};
		if (e->type == CONF_EGRESS_DIRECT)
			way->kind = WAY_ASKED;
		if (e->type == CONF_EGRESS_GROUP && members(e, &way->of))
			way->kind = WAY_GROUP;
	}
	groups_flatten(w);
	r = ways_reload(w, rt, &changed);
	if (r < 0) { /* the answers of before are of other egresses */
		atomic_store(&w->has4, ALL);
		atomic_store(&w->has6, ALL);
	}
	return r;
}

bool ways_has(const struct ways *w, int egress, uint8_t family)
{
	size_t way = egress < 0 ? OWN : (size_t)egress + 1;

	if (!w || way >= WAYS_MAX)
		return true;
	return atomic_load_explicit(family == IP_V4 ? &w->has4 : &w->has6, memory_order_relaxed) &
	       bit(way);
}
