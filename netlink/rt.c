#include "netlink/rt_internal.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/if.h>
#include <linux/if_addr.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

enum {
	ANSWER_BYTES = 32768, /* what the kernel fills at most in one read of a dump */
	DUMP_TRIES = 8,
	WAIT_S = 5,
};

struct rt {
	struct mnl_socket *socket;
	unsigned port;
	uint32_t seq;
	uint8_t answer[ANSWER_BYTES];
};

int rt_open(struct rt **ret)
{
	/* The kernel answers within send(); the limit is for one that does not. */
	struct timeval wait = {.tv_sec = WAIT_S};
	struct rt *rt = malloc(sizeof *rt);
	int r;

	if (!rt)
		return -ENOMEM;
	rt->seq = 1;
	rt->socket = mnl_socket_open2(NETLINK_ROUTE, SOCK_CLOEXEC);
	if (!rt->socket) {
		r = -errno;
		goto fail;
	}
	if (mnl_socket_bind(rt->socket, 0, MNL_SOCKET_AUTOPID) < 0 ||
		setsockopt(mnl_socket_get_fd(rt->socket), SOL_SOCKET, SO_RCVTIMEO, &wait,
			sizeof wait) < 0) {
		r = -errno;
		goto fail;
	}
	rt->port = mnl_socket_get_portid(rt->socket);
	*ret = rt;
	return 0;
fail:
	rt_close(rt);
	return r;
}

void rt_close(struct rt *rt)
{
	if (!rt)
		return;
	if (rt->socket)
		mnl_socket_close(rt->socket);
	free(rt);
}

struct nlmsghdr *rt_message(void *buf, uint16_t type, uint16_t flags, size_t extra_size)
{
	struct nlmsghdr *h = mnl_nlmsg_put_header(buf);

	h->nlmsg_type = type;
	h->nlmsg_flags = NLM_F_REQUEST | flags;
	mnl_nlmsg_put_extra_header(h, extra_size);
	return h;
}

struct visitor {
	rt_answer *visit;
	void *arg;
};

static int visit_one(const struct nlmsghdr *h, void *data)
{
	const struct visitor *v = data;

	if (v->visit)
		v->visit(v->arg, h);
	return MNL_CB_OK;
}

/* Sends h and takes its answers until the acknowledgement or the end of the dump. */
static int exchange(struct rt *rt, struct nlmsghdr *h, rt_answer *visit, void *arg)
{
	struct visitor v = {visit, arg};
	int fd = mnl_socket_get_fd(rt->socket), r = MNL_CB_OK;

	/* What an exchange that failed half-way left must not be read as an answer to this one. */
	while (recv(fd, rt->answer, sizeof rt->answer, MSG_DONTWAIT) > 0)
		;
	h->nlmsg_seq = ++rt->seq;
	if (mnl_socket_sendto(rt->socket, h, h->nlmsg_len) < 0)
		return -errno;
	do {
		ssize_t n = mnl_socket_recvfrom(rt->socket, rt->answer, sizeof rt->answer);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return errno == EAGAIN ? -ETIMEDOUT : -errno;
		r = mnl_cb_run(rt->answer, (size_t)n, h->nlmsg_seq, rt->port, visit_one, &v);
		if (r < 0)
			return -errno;
	} while (r != MNL_CB_STOP);
	return 0;
}

int rt_request(struct rt *rt, struct nlmsghdr *message)
{
	return rt_ask(rt, message, NULL, NULL);
}

int rt_ask(struct rt *rt, struct nlmsghdr *message, rt_answer *visit, void *arg)
{
	message->nlmsg_flags |= NLM_F_ACK;
	return exchange(rt, message, visit, arg);
}

int rt_add(struct rt *rt, struct nlmsghdr *message)
{
	int r = rt_request(rt, message);

	return r == -EEXIST ? 0 : r;
}

int rt_dump(struct rt *rt, uint16_t type, uint8_t family, rt_answer *visit, void *arg)
{
	uint8_t buf[RT_REQUEST_BYTES];
	int r = -EINTR;

	/* EINTR: the tables changed while they were read (NLM_F_DUMP_INTR). */
	for (int i = 0; i < DUMP_TRIES && r == -EINTR; i++) {
		struct nlmsghdr *h = rt_message(buf, type, NLM_F_DUMP, sizeof(struct rtgenmsg));

		((struct rtgenmsg *)mnl_nlmsg_get_payload(h))->rtgen_family = family;
		r = exchange(rt, h, visit, arg);
	}
	return r;
}

struct attribute_table {
	const struct nlattr **attrs;
	uint16_t max;
};

static int take_attribute(const struct nlattr *attr, void *data)
{
	const struct attribute_table *t = data;

	if (mnl_attr_get_type(attr) <= t->max)
		t->attrs[mnl_attr_get_type(attr)] = attr;
	return MNL_CB_OK;
}

void rt_attributes(
	const struct nlmsghdr *h, size_t extra_size, const struct nlattr **table, uint16_t max)
{
	struct attribute_table t = {table, max};

	for (unsigned i = 0; i <= max; i++)
		table[i] = NULL;
	if (mnl_nlmsg_get_payload_len(h) >= extra_size)
		(void)mnl_attr_parse(h, (unsigned)extra_size, take_attribute, &t);
}

uint32_t rt_attribute_u32(const struct nlattr *attr)
{
	return attr && mnl_attr_get_payload_len(attr) >= 4 ? mnl_attr_get_u32(attr) : 0;
}

struct ip_addr rt_attribute_address(const struct nlattr *attr, uint8_t family)
{
	if (attr && family == AF_INET && mnl_attr_get_payload_len(attr) == 4)
		return ip_addr_v4(mnl_attr_get_payload(attr));
	if (attr && family == AF_INET6 && mnl_attr_get_payload_len(attr) == 16)
		return ip_addr_v6(mnl_attr_get_payload(attr));
	return (struct ip_addr){.family = IP_NONE};
}

void rt_put_address(struct nlmsghdr *h, uint16_t type, const struct ip_addr *a)
{
	mnl_attr_put(h, type, ip_addr_size(a), a->b);
}

uint8_t rt_af(uint8_t family)
{
	return family == IP_V6 ? AF_INET6 : AF_INET;
}

struct link_search {
	const char *name;
	unsigned ifindex;
};

static void match_link(void *arg, unsigned ifindex, const char *name)
{
	struct link_search *s = arg;

	if (strcmp(s->name, name) == 0)
		s->ifindex = ifindex;
}

int rt_link_index(struct rt *rt, const char *name, unsigned *ret)
{
	struct link_search s = {.name = name};
	int r = rt_links(rt, match_link, &s);

	if (r < 0)
		return r;
	if (s.ifindex == 0)
		return -ENODEV;
	*ret = s.ifindex;
	return 0;
}

int rt_link_up(struct rt *rt, unsigned ifindex, unsigned mtu, unsigned txqlen)
{
	uint8_t buf[RT_REQUEST_BYTES];
	struct nlmsghdr *h = rt_message(buf, RTM_NEWLINK, 0, sizeof(struct ifinfomsg));
	struct ifinfomsg *link = mnl_nlmsg_get_payload(h);

	link->ifi_index = (int)ifindex;
	link->ifi_flags = link->ifi_change = IFF_UP;
	if (mtu)
		mnl_attr_put_u32(h, IFLA_MTU, mtu);
	if (txqlen)
		mnl_attr_put_u32(h, IFLA_TXQLEN, txqlen);
	return rt_request(rt, h);
}

int rt_address_add(struct rt *rt, unsigned ifindex, const struct ip_prefix *address_and_len)
{
	uint8_t buf[RT_REQUEST_BYTES];
	struct nlmsghdr *h =
		rt_message(buf, RTM_NEWADDR, NLM_F_CREATE | NLM_F_EXCL, sizeof(struct ifaddrmsg));
	struct ifaddrmsg *a = mnl_nlmsg_get_payload(h);

	if (address_and_len->addr.family == IP_NONE)
		return -EINVAL;
	a->ifa_family = rt_af(address_and_len->addr.family);
	a->ifa_prefixlen = address_and_len->len;
	a->ifa_index = ifindex;
	/* Nobody else is on this link, and an address in doubt cannot be bound to. */
	if (address_and_len->addr.family == IP_V6)
		a->ifa_flags = IFA_F_NODAD;
	rt_put_address(h, IFA_LOCAL, &address_and_len->addr);
	rt_put_address(h, IFA_ADDRESS, &address_and_len->addr);
	return rt_add(rt, h);
}

struct address_visitor {
	rt_address_visit *visit;
	void *arg;
};

static void visit_address(void *arg, const struct nlmsghdr *h)
{
	const struct address_visitor *v = arg;
	const struct ifaddrmsg *m = mnl_nlmsg_get_payload(h);
	const struct nlattr *attrs[IFA_LOCAL + 1];
	struct ip_addr a;

	if (h->nlmsg_type != RTM_NEWADDR || mnl_nlmsg_get_payload_len(h) < sizeof *m)
		return;
	rt_attributes(h, sizeof *m, attrs, IFA_LOCAL);
	/* On a point-to-point link ADDRESS is the other end. */
	a = rt_attribute_address(
		attrs[IFA_LOCAL] ? attrs[IFA_LOCAL] : attrs[IFA_ADDRESS], m->ifa_family);
	if (a.family != IP_NONE)
		v->visit(v->arg, m->ifa_index, &a, m->ifa_prefixlen);
}

int rt_addresses(struct rt *rt, rt_address_visit *visit, void *arg)
{
	struct address_visitor v = {visit, arg};

	return rt_dump(rt, RTM_GETADDR, AF_UNSPEC, visit_address, &v);
}

struct link_visitor {
	rt_link_visit *visit;
	void *arg;
};

static void visit_link(void *arg, const struct nlmsghdr *h)
{
	const struct link_visitor *v = arg;
	const struct ifinfomsg *m = mnl_nlmsg_get_payload(h);
	const struct nlattr *attrs[IFLA_IFNAME + 1];

	if (h->nlmsg_type != RTM_NEWLINK || mnl_nlmsg_get_payload_len(h) < sizeof *m)
		return;
	rt_attributes(h, sizeof *m, attrs, IFLA_IFNAME);
	if (attrs[IFLA_IFNAME] && mnl_attr_validate(attrs[IFLA_IFNAME], MNL_TYPE_NUL_STRING) == 0)
		v->visit(v->arg, (unsigned)m->ifi_index, mnl_attr_get_str(attrs[IFLA_IFNAME]));
}

int rt_links(struct rt *rt, rt_link_visit *visit, void *arg)
{
	struct link_visitor v = {visit, arg};

	return rt_dump(rt, RTM_GETLINK, AF_UNSPEC, visit_link, &v);
}

static int sysctl_open(const char *path, int flags)
{
	char full[256];
	int fd;

	if ((size_t)snprintf(full, sizeof full, "/proc/sys/net/%s", path) >= sizeof full)
		return -ENAMETOOLONG;
	fd = open(full, flags | O_CLOEXEC);
	return fd < 0 ? -errno : fd;
}

int rt_sysctl_get(const char *path, int *ret)
{
	char text[32], *end;
	int fd = sysctl_open(path, O_RDONLY), r = 0;
	ssize_t n;
	long value;

	if (fd < 0)
		return fd;
	n = read(fd, text, sizeof text - 1);
	if (n < 0)
		r = -errno;
	close(fd);
	if (r < 0)
		return r;
	text[n] = 0;
	value = strtol(text, &end, 10);
	if (end == text)
		return -EBADMSG;
	*ret = (int)value;
	return 0;
}

int rt_sysctl_set(const char *path, int value)
{
	char text[32];
	int n = snprintf(text, sizeof text, "%d\n", value);
	int fd = sysctl_open(path, O_WRONLY), r = 0;

	if (fd < 0)
		return fd;
	if (write(fd, text, (size_t)n) != n)
		r = -errno;
	close(fd);
	return r;
}
