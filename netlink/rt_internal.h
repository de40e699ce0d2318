/* The socket of rt.h as its files share it: one request, its answers, done. */
#ifndef TUNGATE_NETLINK_RT_INTERNAL_H
#define TUNGATE_NETLINK_RT_INTERNAL_H

#include <libmnl/libmnl.h>
#include <linux/rtnetlink.h>

#include "netlink/rt.h"

#define RT_REQUEST_BYTES 512

/* A message of this type in buf[RT_REQUEST_BYTES], its second header of extra_size bytes zeroed. */
struct nlmsghdr *rt_message(void *buf, uint16_t type, uint16_t flags, size_t extra_size);
/* Sends it with an acknowledgement asked for and waits. 0 or the kernel's errno. */
int rt_request(struct rt *rt, struct nlmsghdr *message);
/* As rt_request(), and what exists already counts as done. */
int rt_add(struct rt *rt, struct nlmsghdr *message);

typedef void rt_answer(void *arg, const struct nlmsghdr *answer);
/* As rt_request(); visit (NULL: none) gets what the kernel answers before the acknowledgement. */
int rt_ask(struct rt *rt, struct nlmsghdr *message, rt_answer *visit, void *arg);

/* Dumps all of a type (RTM_GET…) and family; visit gets each answer. An interrupted dump is begun
 * again, so visit may see an object twice. */
int rt_dump(struct rt *rt, uint16_t type, uint8_t family, rt_answer *visit, void *arg);

/* The attributes behind a second header of extra_size bytes, by type; those beyond max are left
 * out. */
void rt_attributes(
	const struct nlmsghdr *h, size_t extra_size, const struct nlattr **table, uint16_t max);
/* 0 if there is none or it is too short. */
uint32_t rt_attribute_u32(const struct nlattr *attr);
struct ip_addr rt_attribute_address(
	const struct nlattr *attr, uint8_t family); /* IP_NONE if it is not one */
void rt_put_address(struct nlmsghdr *h, uint16_t type, const struct ip_addr *a);
uint8_t rt_af(uint8_t family);

#endif
