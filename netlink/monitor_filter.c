/* What reaches us at all: programs of classic BPF that the kernel runs for each datagram. */
#include "netlink/monitor_internal.h"
#include "netlink/rt.h"

#include <arpa/inet.h>
#include <errno.h>
#include <libmnl/libmnl.h>
#include <linux/filter.h>
#include <linux/netfilter/nf_tables.h>
#include <linux/netfilter/nfnetlink.h>
#include <linux/rtnetlink.h>
#include <stddef.h>
#include <sys/socket.h>

#define NFT_TYPE(message) (NFNL_SUBSYS_NFTABLES << 8 | (message))

#define PASS (struct sock_filter) BPF_STMT(BPF_RET | BPF_K, UINT32_MAX)
#define DROP (struct sock_filter) BPF_STMT(BPF_RET | BPF_K, 0)

/* A message of nf_tables that adds one element has this many bytes at least, and the kernel sends
 * no more than a page of them at once. */
#define STEPS_MAX (4096 / 52 + 1)
#define STEP_CODE 10
/* Additions by others, which may give an element of ours another time: so large is some twenty. */
#define FEW_BYTES 2048

struct program {
	struct sock_filter code[MONITOR_OWN_MAX * 2 + 12 + STEPS_MAX * STEP_CODE];
	size_t n;
};

static void put(struct program *p, struct sock_filter f)
{
	p->code[p->n++] = f;
}

static int attach(int fd, struct sock_filter *code, size_t len)
{
	struct sock_fprog program = {.len = (unsigned short)len, .filter = code};
	int r = setsockopt(fd, SOL_SOCKET, SO_ATTACH_FILTER, &program, sizeof program);

	return r < 0 ? -errno : 0;
}

/* Netlink keeps in host order what the program loads in network order. */
static struct sock_filter unless_type(unsigned type, uint8_t skip)
{
	return (struct sock_filter)BPF_JUMP(
		BPF_JMP | BPF_JEQ | BPF_K, htons((uint16_t)type), 0, skip);
}

/* One message at X is an added element, shorter than 256 bytes: on to the next. Behind the last
 * there is nothing to load, which ends the program with 0: dropped. */
static void put_step(struct program *p)
{
	enum { SHORT = 0xff, SHIFT = __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__ ? 24 : 0 };

	_Static_assert(offsetof(struct nlmsghdr, nlmsg_len) == 0, "loaded at X");
	put(p, (struct sock_filter)BPF_STMT(BPF_LD | BPF_W | BPF_IND, 0));
	put(p, (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JSET | BPF_K, ~htonl(SHORT), 4, 0));
	put(p, (struct sock_filter)BPF_STMT(BPF_ALU | BPF_RSH | BPF_K, SHIFT));
	put(p, (struct sock_filter)BPF_STMT(BPF_ST, 0));
	put(p, (struct sock_filter)BPF_STMT(
		       BPF_LD | BPF_H | BPF_IND, offsetof(struct nlmsghdr, nlmsg_type)));
	put(p, (struct sock_filter)BPF_JUMP(
		       BPF_JMP | BPF_JEQ | BPF_K, htons(NFT_TYPE(NFT_MSG_NEWSETELEM)), 1, 0));
	put(p, PASS);
	put(p, (struct sock_filter)BPF_STMT(BPF_LD | BPF_MEM, 0));
	put(p, (struct sock_filter)BPF_STMT(BPF_ALU | BPF_ADD | BPF_X, 0));
	put(p, (struct sock_filter)BPF_STMT(BPF_MISC | BPF_TAX, 0));
}

/* What one transaction changed comes as messages of one sender, as many at once as a page holds.
 * Ours, thousands in a second, are known by it. Of others' a load of elements, which may be
 * millions, is dropped where nothing else stands among it: so each message is looked at. */
static void write_nft(struct program *p, const uint32_t *own, size_t n, size_t steps)
{
	p->n = 0;
	put(p, (struct sock_filter)BPF_STMT(
		       BPF_LD | BPF_W | BPF_ABS, offsetof(struct nlmsghdr, nlmsg_pid)));
	for (size_t i = 0; i < n; i++) {
		put(p, (struct sock_filter)BPF_JUMP(
			       BPF_JMP | BPF_JEQ | BPF_K, htonl(own[i]), 0, 1));
		put(p, DROP);
	}
	put(p, (struct sock_filter)BPF_STMT(
		       BPF_LD | BPF_H | BPF_ABS, offsetof(struct nlmsghdr, nlmsg_type)));
	put(p, unless_type(NFT_TYPE(NFT_MSG_NEWGEN), 1));
	put(p, DROP);
	put(p, (struct sock_filter)BPF_STMT(BPF_LD | BPF_W | BPF_LEN, 0));
	put(p, (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JGT | BPF_K, FEW_BYTES, 1, 0));
	put(p, PASS);
	put(p, (struct sock_filter)BPF_STMT(BPF_LDX | BPF_W | BPF_IMM, 0));
	/* The kernel's check goes by lines: what a step loads must be stored above. */
	put(p, (struct sock_filter)BPF_STMT(BPF_ST, 0));
	for (size_t i = 0; i < steps; i++)
		put_step(p);
	put(p, PASS);
}

/* The old one's room is needed, perhaps. */
static int attach_instead(int fd, struct program *p)
{
	int r = attach(fd, p->code, p->n);

	if (r != -ENOMEM)
		return r;
	(void)setsockopt(fd, SOL_SOCKET, SO_DETACH_FILTER, &(int){0}, sizeof(int));
	return attach(fd, p->code, p->n);
}

int monitor_filter_nft(int fd, const uint32_t *own, size_t n)
{
	struct program p;
	int r;

	if (n > MONITOR_OWN_MAX)
		return -EINVAL;
	/* Before Linux 6.7 a socket has 20 kB of room for programs, the old one's included, unless
	 * told otherwise. What is not looked at is passed on. */
	for (size_t steps = STEPS_MAX;; steps /= 2) {
		write_nft(&p, own, n, steps);
		r = attach_instead(fd, &p);
		if (r != -ENOMEM || steps == 0)
			return r;
	}
}

/* Of the routes the removal of ours counts, and of others' the short ones: a router with a full
 * table must not wake us for each of its own. */
int monitor_filter_route(int fd)
{
	enum {
		PROTOCOL = MNL_NLMSG_HDRLEN + offsetof(struct rtmsg, rtm_protocol),
		LENGTH = MNL_NLMSG_HDRLEN + offsetof(struct rtmsg, rtm_dst_len),
	};
	struct sock_filter code[] = {
		BPF_STMT(BPF_LD | BPF_H | BPF_ABS, offsetof(struct nlmsghdr, nlmsg_type)),
		unless_type(RTM_DELROUTE, 2),
		BPF_STMT(BPF_LD | BPF_B | BPF_ABS, PROTOCOL),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, RT_PROTOCOL, 5, 3),
		unless_type(RTM_NEWROUTE, 4),
		BPF_STMT(BPF_LD | BPF_B | BPF_ABS, PROTOCOL),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, RT_PROTOCOL, 3, 0),
		BPF_STMT(BPF_LD | BPF_B | BPF_ABS, LENGTH),
		BPF_JUMP(BPF_JMP | BPF_JGT | BPF_K, MONITOR_ROUTE_SHORT_MAX, 1, 0),
		BPF_STMT(BPF_RET | BPF_K, UINT32_MAX),
		BPF_STMT(BPF_RET | BPF_K, 0),
	};

	return attach(fd, code, sizeof code / sizeof code[0]);
}
