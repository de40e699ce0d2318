/* Traffic control: what TUN receives appears on another interface. */
#include "netlink/rt_internal.h"

#include <arpa/inet.h>
#include <linux/if_ether.h>
#include <linux/pkt_cls.h>
#include <linux/pkt_sched.h>
#include <linux/tc_act/tc_mirred.h>

enum {
	PRIORITY = 1,
	/* Hash table 800, the first a u32 classifier makes, node 1: so that a second call changes
	   the one filter. */
	FILTER_HANDLE = (int)0x80000001,
};

static struct nlmsghdr *tc_message(
	void *buf, uint16_t type, uint16_t flags, unsigned ifindex, const char *kind)
{
	struct nlmsghdr *h = rt_message(buf, type, NLM_F_CREATE | flags, sizeof(struct tcmsg));
	struct tcmsg *tc = mnl_nlmsg_get_payload(h);

	tc->tcm_family = AF_UNSPEC;
	tc->tcm_ifindex = (int)ifindex;
	mnl_attr_put_strz(h, TCA_KIND, kind);
	return h;
}

static int add_clsact(struct rt *rt, unsigned ifindex)
{
	uint8_t buf[RT_REQUEST_BYTES];
	struct nlmsghdr *h = tc_message(buf, RTM_NEWQDISC, NLM_F_EXCL, ifindex, "clsact");
	struct tcmsg *tc = mnl_nlmsg_get_payload(h);

	tc->tcm_parent = TC_H_CLSACT;
	tc->tcm_handle = TC_H_MAKE(TC_H_CLSACT, 0);
	return rt_add(rt, h);
}

static void put_mirred(struct nlmsghdr *h, unsigned to_ifindex)
{
	struct tc_mirred mirred = {
		.action = TC_ACT_STOLEN, .eaction = TCA_INGRESS_REDIR, .ifindex = to_ifindex};
	struct nlattr *list = mnl_attr_nest_start(h, TCA_U32_ACT);
	struct nlattr *first = mnl_attr_nest_start(h, 1);
	struct nlattr *options;

	mnl_attr_put_strz(h, TCA_ACT_KIND, "mirred");
	options = mnl_attr_nest_start(h, TCA_ACT_OPTIONS);
	mnl_attr_put(h, TCA_MIRRED_PARMS, sizeof mirred, &mirred);
	mnl_attr_nest_end(h, options);
	mnl_attr_nest_end(h, first);
	mnl_attr_nest_end(h, list);
}

/* u32 and not matchall: every kernel package that has a classifier at all has this one. */
int rt_redirect_ingress(struct rt *rt, unsigned from_ifindex, unsigned to_ifindex)
{
	union {
		uint8_t bytes[sizeof(struct tc_u32_sel) + sizeof(struct tc_u32_key)];
		struct tc_u32_sel sel; /* its one key has mask 0: matches everything */
	} match = {.bytes = {0}};
	uint8_t buf[RT_REQUEST_BYTES];
	struct nlmsghdr *h = tc_message(buf, RTM_NEWTFILTER, 0, from_ifindex, "u32");
	struct tcmsg *tc = mnl_nlmsg_get_payload(h);
	struct nlattr *options;
	int r = add_clsact(rt, from_ifindex);

	if (r < 0)
		return r;
	match.sel.flags = TC_U32_TERMINAL;
	match.sel.nkeys = 1;
	tc->tcm_parent = TC_H_MAKE(TC_H_CLSACT, TC_H_MIN_INGRESS);
	tc->tcm_handle = (uint32_t)FILTER_HANDLE;
	tc->tcm_info = TC_H_MAKE(PRIORITY << 16, htons(ETH_P_ALL));
	options = mnl_attr_nest_start(h, TCA_OPTIONS);
	mnl_attr_put(h, TCA_U32_SEL, sizeof match, &match);
	put_mirred(h, to_ifindex);
	mnl_attr_nest_end(h, options);
	return rt_request(rt, h);
}
