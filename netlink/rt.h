/* What we put into the kernel's links, addresses, routes and rules (rtnetlink), and take out again.
 * Everything of ours carries protocol 198, which names it after a crash. Synchronous; the main
 * thread's, at start, stop and repair. Functions return 0 or a negative errno, the kernel's own
 * word (-EEXIST from an add counts as done: 0). */
#ifndef TUNGATE_NETLINK_RT_H
#define TUNGATE_NETLINK_RT_H

#include "gateway/base/addr.h"

#define RT_PROTOCOL 198

struct rt;
int rt_open(struct rt **ret);
void rt_close(struct rt *rt);

int rt_link_index(struct rt *rt, const char *name, unsigned *ret);
/* mtu, txqlen: 0 leaves it as it is. */
int rt_link_up(struct rt *rt, unsigned ifindex, unsigned mtu, unsigned txqlen);

int rt_address_add(struct rt *rt, unsigned ifindex, const struct ip_prefix *address_and_len);

enum rt_route_type { RT_UNICAST, RT_LOCAL, RT_UNREACHABLE };
struct rt_route {
	struct ip_prefix to; /* len 0: default; the family must be set */
	enum rt_route_type type;
	unsigned ifindex; /* 0 for RT_UNREACHABLE */
	uint32_t table;	  /* 0: main */
	uint32_t metric;  /* 0: the kernel's default */
};
int rt_route_add(struct rt *rt, const struct rt_route *route);
int rt_route_delete(struct rt *rt, const struct rt_route *route);

struct rt_rule {
	uint8_t family; /* enum ip_family */
	uint32_t pref, mark, mask;
	uint32_t table; /* to be looked up in; or 0 */
	uint32_t skip;	/* go on at the rule of this pref; or 0: go on at the next, as such a target
			 */
	const char *iif; /* "lo": also what this host sends; NULL: any */
};
int rt_rule_add(struct rt *rt, const struct rt_rule *rule);

/* Removes every rule and route of protocol 198 in all tables. ret_removed may be NULL. */
int rt_clean(struct rt *rt, unsigned *ret_removed);

/* Addresses of this host. visit gets prefix length and interface. */
typedef void rt_address_visit(
	void *arg, unsigned ifindex, const struct ip_addr *address, uint8_t len);
int rt_addresses(struct rt *rt, rt_address_visit *visit, void *arg);
/* Names and indexes of the links that are there. */
typedef void rt_link_visit(void *arg, unsigned ifindex, const char *name);
int rt_links(struct rt *rt, rt_link_visit *visit, void *arg);
/* Unicast routes of the main table that overlap prefix and are not ours (protocol 198): for
 * warnings about the pools. */
typedef void rt_route_visit(void *arg, const struct ip_prefix *to, unsigned ifindex);
int rt_routes_overlapping(
	struct rt *rt, const struct ip_prefix *prefix, rt_route_visit *visit, void *arg);

/* Every packet that is received on `from` (a TUN device of ours) appears as if it had been received
 * on `to`: clsact with a u32 match-all filter and mirred ingress redirect. Goes with the device.
 * -EOPNOTSUPP or -ENOENT: the kernel lacks sch_ingress, cls_u32 or act_mirred. */
int rt_redirect_ingress(struct rt *rt, unsigned from_ifindex, unsigned to_ifindex);

/* /proc/sys/net/…: path below it, for example "ipv4/conf/all/rp_filter". */
int rt_sysctl_get(const char *path, int *ret);
int rt_sysctl_set(const char *path, int value);

#endif
