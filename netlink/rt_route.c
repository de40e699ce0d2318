/* Routes and rules, and their removal by protocol. */
#include "netlink/rt_internal.h"

#include <errno.h>
#include <linux/fib_rules.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

static int fill_route(struct nlmsghdr *h, const struct rt_route *route)
{
	static const uint8_t types[] = {
		[RT_UNICAST] = RTN_UNICAST,
		[RT_LOCAL] = RTN_LOCAL,
		[RT_UNREACHABLE] = RTN_UNREACHABLE,
	};
	static const uint8_t scopes[] = {
		[RT_UNICAST] = RT_SCOPE_LINK,
		[RT_LOCAL] = RT_SCOPE_HOST,
		[RT_UNREACHABLE] = RT_SCOPE_UNIVERSE,
	};
	struct rtmsg *m = mnl_nlmsg_get_payload(h);

	if (route->to.addr.family == IP_NONE)
		return -EINVAL;
	m->rtm_family = rt_af(route->to.addr.family);
	m->rtm_dst_len = route->to.len;
	m->rtm_protocol = RT_PROTOCOL;
	m->rtm_type = types[route->type];
	/* IPv6 knows no scope of routes. */
	if (route->to.addr.family == IP_V4)
		m->rtm_scope = scopes[route->type];
	if (route->to.len > 0)
		rt_put_address(h, RTA_DST, &route->to.addr);
	mnl_attr_put_u32(h, RTA_TABLE, route->table ? route->table : RT_TABLE_MAIN);
	if (route->ifindex)
		mnl_attr_put_u32(h, RTA_OIF, route->ifindex);
	if (route->metric)
		mnl_attr_put_u32(h, RTA_PRIORITY, route->metric);
	return 0;
}

int rt_route_add(struct rt *rt, const struct rt_route *route)
{
	uint8_t buf[RT_REQUEST_BYTES];
	struct nlmsghdr *h =
		rt_message(buf, RTM_NEWROUTE, NLM_F_CREATE | NLM_F_EXCL, sizeof(struct rtmsg));
	int r = fill_route(h, route);

	return r < 0 ? r : rt_add(rt, h);
}

int rt_route_delete(struct rt *rt, const struct rt_route *route)
{
	uint8_t buf[RT_REQUEST_BYTES];
	struct nlmsghdr *h = rt_message(buf, RTM_DELROUTE, 0, sizeof(struct rtmsg));
	int r = fill_route(h, route);

	return r < 0 ? r : rt_request(rt, h);
}

int rt_rule_add(struct rt *rt, const struct rt_rule *rule)
{
	uint8_t buf[RT_REQUEST_BYTES];
	struct nlmsghdr *h = rt_message(
		buf, RTM_NEWRULE, NLM_F_CREATE | NLM_F_EXCL, sizeof(struct fib_rule_hdr));
	struct fib_rule_hdr *m = mnl_nlmsg_get_payload(h);

	if (rule->family == IP_NONE)
		return -EINVAL;
	m->family = rt_af(rule->family);
	m->action = rule->table ? FR_ACT_TO_TBL : rule->skip ? FR_ACT_GOTO : FR_ACT_NOP;
	mnl_attr_put_u32(h, FRA_PRIORITY, rule->pref);
	if (rule->table)
		mnl_attr_put_u32(h, FRA_TABLE, rule->table);
	else if (rule->skip)
		mnl_attr_put_u32(h, FRA_GOTO, rule->skip);
	if (rule->iif)
		mnl_attr_put_strz(h, FRA_IIFNAME, rule->iif);
	mnl_attr_put_u8(h, FRA_PROTOCOL, RT_PROTOCOL);
	if (rule->mask) {
		mnl_attr_put_u32(h, FRA_FWMARK, rule->mark);
		mnl_attr_put_u32(h, FRA_FWMASK, rule->mask);
	}
	return rt_add(rt, h);
}

/* What is to be deleted: messages of a dump, one behind the other. The kernel finds an object again
 * by what it told about it. What does not fit any more is found by the next round. */
struct clean {
	uint8_t *buf;
	size_t len;
	uint16_t delete_type;
};
enum {
	CLEAN_BYTES = 1 << 16,
	CLEAN_ROUNDS_MAX = 1000,
};

static bool is_ours(const struct nlmsghdr *h)
{
	const struct nlattr *attrs[FRA_PROTOCOL + 1];

	if (h->nlmsg_type == RTM_NEWROUTE) {
		const struct rtmsg *m = mnl_nlmsg_get_payload(h);

		return mnl_nlmsg_get_payload_len(h) >= sizeof *m &&
		       m->rtm_protocol == RT_PROTOCOL && !(m->rtm_flags & RTM_F_CLONED);
	}
	if (h->nlmsg_type != RTM_NEWRULE)
		return false;
	rt_attributes(h, sizeof(struct fib_rule_hdr), attrs, FRA_PROTOCOL);
	return attrs[FRA_PROTOCOL] && mnl_attr_get_payload_len(attrs[FRA_PROTOCOL]) >= 1 &&
	       mnl_attr_get_u8(attrs[FRA_PROTOCOL]) == RT_PROTOCOL;
}

static void collect(void *arg, const struct nlmsghdr *h)
{
	struct clean *c = arg;
	size_t size = MNL_ALIGN(h->nlmsg_len);
	struct nlmsghdr *copy = (struct nlmsghdr *)(c->buf + c->len);

	if (!is_ours(h) || size > CLEAN_BYTES - c->len)
		return;
	memcpy(copy, h, h->nlmsg_len);
	copy->nlmsg_type = c->delete_type;
	copy->nlmsg_flags = NLM_F_REQUEST;
	c->len += size;
}

/* One dump and the deletion of what it found: how many are gone. The first error of a deletion is
 * left in *error. */
static int clean_round(
	struct rt *rt, struct clean *c, uint16_t get_type, uint8_t family, int *error)
{
	int removed = 0, r;

	c->len = 0;
	r = rt_dump(rt, get_type, family, collect, c);
	if (r < 0)
		return r;
	for (size_t at = 0; at < c->len;) {
		struct nlmsghdr *h = (struct nlmsghdr *)(c->buf + at);

		at += MNL_ALIGN(h->nlmsg_len);
		r = rt_request(rt, h);
		if (r == 0)
			removed++;
		/* Gone by itself, or seen twice in one dump. */
		else if (r != -ESRCH && r != -ENOENT && *error == 0)
			*error = r;
	}
	return removed;
}

static int clean_all(
	struct rt *rt, struct clean *c, uint16_t get_type, uint8_t family, unsigned *removed)
{
	int error = 0, n = 1;

	for (int i = 0; i < CLEAN_ROUNDS_MAX && n > 0; i++) {
		error = 0;
		n = clean_round(rt, c, get_type, family, &error);
		if (n < 0)
			return n;
		*removed += (unsigned)n;
	}
	return error;
}

int rt_clean(struct rt *rt, unsigned *ret_removed)
{
	static const struct {
		uint16_t get, delete;
		uint8_t family;
	} kinds[] = {
		/* Rules first: none may point into a table that is half gone. */
		{RTM_GETRULE, RTM_DELRULE, AF_INET},
		{RTM_GETRULE, RTM_DELRULE, AF_INET6},
		{RTM_GETROUTE, RTM_DELROUTE, AF_INET},
		{RTM_GETROUTE, RTM_DELROUTE, AF_INET6},
	};
	struct clean c = {.buf = malloc(CLEAN_BYTES)};
	unsigned removed = 0;
	int result = 0;

	if (!c.buf)
		return -ENOMEM;
	for (size_t i = 0; i < sizeof kinds / sizeof kinds[0]; i++) {
		int r;

		c.delete_type = kinds[i].delete;
		r = clean_all(rt, &c, kinds[i].get, kinds[i].family, &removed);
		/* A kernel without IPv6 or policy routing has none of them. */
		if (r < 0 && r != -EOPNOTSUPP && r != -EAFNOSUPPORT && result == 0)
			result = r;
	}
	free(c.buf);
	if (ret_removed)
		*ret_removed = removed;
	return result;
}

struct overlap {
	const struct ip_prefix *prefix;
	rt_route_visit *visit;
	void *arg;
};

static unsigned route_interface(const struct nlattr *oif, const struct nlattr *multipath)
{
	const struct rtnexthop *hop;

	if (oif)
		return rt_attribute_u32(oif);
	if (!multipath || mnl_attr_get_payload_len(multipath) < sizeof *hop)
		return 0;
	hop = mnl_attr_get_payload(multipath);
	return (unsigned)hop->rtnh_ifindex;
}

static void visit_overlap(void *arg, const struct nlmsghdr *h)
{
	const struct overlap *o = arg;
	const struct rtmsg *m = mnl_nlmsg_get_payload(h);
	const struct nlattr *attrs[RTA_TABLE + 1];
	struct ip_prefix to;
	uint32_t table;

	if (h->nlmsg_type != RTM_NEWROUTE || mnl_nlmsg_get_payload_len(h) < sizeof *m)
		return;
	/* A default route overlaps everything and harms nothing. */
	if (m->rtm_type != RTN_UNICAST || m->rtm_protocol == RT_PROTOCOL || m->rtm_dst_len == 0 ||
		m->rtm_flags & RTM_F_CLONED)
		return;
	rt_attributes(h, sizeof *m, attrs, RTA_TABLE);
	table = attrs[RTA_TABLE] ? rt_attribute_u32(attrs[RTA_TABLE]) : m->rtm_table;
	to = (struct ip_prefix){
		.addr = rt_attribute_address(attrs[RTA_DST], m->rtm_family), .len = m->rtm_dst_len};
	if (table == RT_TABLE_MAIN && to.addr.family != IP_NONE &&
		ip_prefix_overlaps(&to, o->prefix))
		o->visit(o->arg, &to, route_interface(attrs[RTA_OIF], attrs[RTA_MULTIPATH]));
}

int rt_routes_overlapping(
	struct rt *rt, const struct ip_prefix *prefix, rt_route_visit *visit, void *arg)
{
	struct overlap o = {prefix, visit, arg};

	return rt_dump(rt, RTM_GETROUTE, rt_af(prefix->addr.family), visit_overlap, &o);
}
