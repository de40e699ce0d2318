#include "tests/bench/in_set.h"

#include <errno.h>
#include <fcntl.h>
#include <libmnl/libmnl.h>
#include <linux/netfilter.h>
#include <linux/netfilter/ipset/ip_set.h>
#include <linux/netfilter/nf_tables.h>
#include <linux/netfilter/nfnetlink.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define MESSAGE_MAX 512
#define ANSWER_MAX  8192
#define KEY_MAX	    64

struct in_set {
	struct mnl_socket *socket;
	unsigned port;
	_Alignas(struct nlmsghdr) char element[MESSAGE_MAX],
		set[MESSAGE_MAX]; /* the two questions */
	uint8_t *address;	  /* in the first */
};

static _Noreturn void die(const char *what)
{
	perror(what);
	exit(1);
}

static void enter(const char *path)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);

	if (fd < 0 || setns(fd, CLONE_NEWNET))
		die(path);
	close(fd);
}

static struct mnl_socket *open_in(const char *netns)
{
	struct mnl_socket *socket;
	char there[256], here[64];
	int home = open("/proc/self/ns/net", O_RDONLY | O_CLOEXEC);

	snprintf(there, sizeof there, "/run/netns/%s", netns);
	snprintf(here, sizeof here, "/proc/self/fd/%d", home);
	enter(there);
	socket = mnl_socket_open(NETLINK_NETFILTER);
	if (!socket || mnl_socket_bind(socket, 0, MNL_SOCKET_AUTOPID))
		die("netlink");
	enter(here);
	close(home);
	return socket;
}

static struct nlmsghdr *begin(char *at, unsigned system, unsigned type, unsigned family)
{
	struct nlmsghdr *message = mnl_nlmsg_put_header(at);
	struct nfgenmsg *more = mnl_nlmsg_put_extra_header(message, sizeof *more);

	message->nlmsg_type = (uint16_t)(system << 8 | type);
	message->nlmsg_flags = NLM_F_REQUEST;
	more->nfgen_family = (uint8_t)family;
	more->version = NFNETLINK_V0;
	more->res_id = 0;
	return message;
}

static size_t read_hex(const char *text, uint8_t *ret, size_t size)
{
	size_t n = 0;
	unsigned byte;

	for (; n < size && sscanf(text + 2 * n, "%2x", &byte) == 1; n++)
		ret[n] = (uint8_t)byte;
	return n;
}

static void ask_nft(struct in_set *s, const char *table, const char *set, const char *behind)
{
	struct nlmsghdr *m =
		begin(s->element, NFNL_SUBSYS_NFTABLES, NFT_MSG_GETSETELEM, NFPROTO_INET);
	struct nlattr *list, *item, *key;
	uint8_t bytes[KEY_MAX] = {0};
	size_t len = 4 + read_hex(behind, bytes + 4, sizeof bytes - 4);

	mnl_attr_put_strz(m, NFTA_SET_ELEM_LIST_TABLE, table);
	mnl_attr_put_strz(m, NFTA_SET_ELEM_LIST_SET, set);
	list = mnl_attr_nest_start(m, NFTA_SET_ELEM_LIST_ELEMENTS);
	item = mnl_attr_nest_start(m, NFTA_LIST_ELEM);
	key = mnl_attr_nest_start(m, NFTA_SET_ELEM_KEY);
	s->address = (uint8_t *)mnl_nlmsg_get_payload_tail(m) + MNL_ATTR_HDRLEN;
	mnl_attr_put(m, NFTA_DATA_VALUE, len, bytes);
	mnl_attr_nest_end(m, key);
	mnl_attr_nest_end(m, item);
	mnl_attr_nest_end(m, list);

	m = begin(s->set, NFNL_SUBSYS_NFTABLES, NFT_MSG_GETSET, NFPROTO_INET);
	mnl_attr_put_strz(m, NFTA_SET_TABLE, table);
	mnl_attr_put_strz(m, NFTA_SET_NAME, set);
}

static void ask_ipset(struct in_set *s, const char *set)
{
	struct nlmsghdr *m = begin(s->element, NFNL_SUBSYS_IPSET, IPSET_CMD_TEST, NFPROTO_IPV4);
	struct nlattr *data, *address;
	uint8_t bytes[4] = {0};

	m->nlmsg_flags |= NLM_F_ACK; /* it has no other answer */
	mnl_attr_put_u8(m, IPSET_ATTR_PROTOCOL, IPSET_PROTOCOL);
	mnl_attr_put_strz(m, IPSET_ATTR_SETNAME, set);
	data = mnl_attr_nest_start(m, IPSET_ATTR_DATA);
	address = mnl_attr_nest_start(m, IPSET_ATTR_IP);
	s->address = (uint8_t *)mnl_nlmsg_get_payload_tail(m) + MNL_ATTR_HDRLEN;
	mnl_attr_put(m, IPSET_ATTR_IPADDR_IPV4 | NLA_F_NET_BYTEORDER, sizeof bytes, bytes);
	mnl_attr_nest_end(m, address);
	mnl_attr_nest_end(m, data);

	m = begin(s->set, NFNL_SUBSYS_IPSET, IPSET_CMD_HEADER, NFPROTO_IPV4);
	mnl_attr_put_u8(m, IPSET_ATTR_PROTOCOL, IPSET_PROTOCOL);
	mnl_attr_put_strz(m, IPSET_ATTR_SETNAME, set);
}

struct in_set *in_set_open(const char *netns, const char *text)
{
	struct in_set *s = calloc(1, sizeof *s);
	char copy[256], *rest = copy;
	const char *kind, *first, *second, *third;

	if (!s)
		exit(1);
	snprintf(copy, sizeof copy, "%s", text);
	kind = strsep(&rest, "#");
	first = strsep(&rest, "#");
	second = strsep(&rest, "#");
	third = strsep(&rest, "#");
	if (strcmp(kind, "nft") == 0 && second) {
		ask_nft(s, first, second, third ? third : "");
	} else if (strcmp(kind, "ipset") == 0 && first) {
		ask_ipset(s, first);
	} else {
		fprintf(stderr, "%s: not a set\n", text);
		exit(2);
	}
	s->socket = open_in(netns);
	return s;
}

/* 0: it is there. */
static int ask(struct in_set *s, const void *question)
{
	_Alignas(struct nlmsghdr) char answer[ANSWER_MAX];
	const struct nlmsghdr *m = question;
	const struct nlmsgerr *error;

	if (mnl_socket_sendto(s->socket, m, m->nlmsg_len) < 0 ||
		mnl_socket_recvfrom(s->socket, answer, sizeof answer) < (ssize_t)sizeof *m)
		die("netlink");
	m = (const struct nlmsghdr *)answer;
	if (m->nlmsg_type != NLMSG_ERROR)
		return 0;
	error = mnl_nlmsg_get_payload(m);
	return error->error;
}

bool in_set_has(struct in_set *s, const uint8_t address[4])
{
	int error;

	memcpy(s->address, address, 4);
	error = ask(s, s->element);
	if (error && error != -ENOENT && error != -IPSET_ERR_EXIST) { /* the question was wrong */
		fprintf(stderr, "is the element there: error %d\n", error);
		exit(1);
	}
	return error == 0;
}

bool in_set_exists(struct in_set *s)
{
	return ask(s, s->set) == 0;
}
