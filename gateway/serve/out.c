#include "gateway/serve/out.h"
#include "gateway/base/container.h"
#include "gateway/base/count.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define SLOTS 64

struct slot {
	_Alignas(16) uint8_t data[SERVE_SLOT_SIZE];
	size_t len;
	int fd;
	bool is_packet;
};

struct serve_out {
	struct query_engine *engine;
	struct loop_hook hook;
	struct serve_out_counters counters;
	unsigned used;
	struct slot slots[SLOTS];
	struct mmsghdr messages[SLOTS];
	struct iovec iovecs[SLOTS];
	struct sockaddr_storage to[SLOTS];
	_Alignas(8) uint8_t control[SLOTS][CMSG_SPACE(sizeof(struct in6_pktinfo))];
};

static void send_packet(struct serve_out *o, const struct slot *s)
{
	ssize_t n;

	do
		n = write(s->fd, s->data, s->len);
	while (n < 0 && errno == EINTR);
	count_add(n < 0 ? &o->counters.send_errors : &o->counters.sent, 1);
}

/* Datagrams first..end of one socket. One that the kernel refuses is skipped, not allowed to hold
 * up the others. */
static void send_datagrams(struct serve_out *o, unsigned first, unsigned end)
{
	while (first < end) {
		int n = sendmmsg(
			o->slots[first].fd, o->messages + first, end - first, MSG_DONTWAIT);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0) {
			count_add(&o->counters.send_errors, 1);
			n = 1;
		} else {
			count_add(&o->counters.sent, (uint64_t)n);
		}
		first += (unsigned)n;
	}
}

static void flush(struct serve_out *o)
{
	unsigned i = 0, end;

	query_engine_commit(o->engine);
	while (i < o->used) {
		if (o->slots[i].is_packet) {
			send_packet(o, &o->slots[i++]);
			continue;
		}
		for (end = i + 1; end < o->used && !o->slots[end].is_packet &&
				  o->slots[end].fd == o->slots[i].fd;)
			end++;
		send_datagrams(o, i, end);
		i = end;
	}
	o->used = 0;
}

static void turn_end(struct loop_hook *hook)
{
	flush(container_of(hook, struct serve_out, hook));
}

int serve_out_new(struct loop *loop, struct query_engine *engine, struct serve_out **ret)
{
	struct serve_out *o = calloc(1, sizeof *o);

	if (!o)
		return -ENOMEM;
	o->engine = engine;
	o->hook.run = turn_end;
	loop_on_turn_end(loop, &o->hook);
	*ret = o;
	return 0;
}

void serve_out_free(struct serve_out *o)
{
	free(o);
}

const struct serve_out_counters *serve_out_counters(const struct serve_out *o)
{
	return &o->counters;
}

uint8_t *serve_out_slot(struct serve_out *o)
{
	if (o->used == SLOTS)
		flush(o);
	return o->slots[o->used].data;
}

void serve_out_packet(struct serve_out *o, int tun_fd, size_t len)
{
	struct slot *s = &o->slots[o->used++];

	s->is_packet = true;
	s->fd = tun_fd;
	s->len = len;
}

static size_t put_source(uint8_t *control, const struct ip_addr *from, unsigned scope)
{
	struct cmsghdr *c = (struct cmsghdr *)control;

	if (from->family == IP_V4) {
		struct in_pktinfo *info = (struct in_pktinfo *)CMSG_DATA(c);

		*c = (struct cmsghdr){.cmsg_level = IPPROTO_IP,
			.cmsg_type = IP_PKTINFO,
			.cmsg_len = CMSG_LEN(sizeof *info)};
		memset(info, 0, sizeof *info);
		memcpy(&info->ipi_spec_dst, from->b, 4);
		return CMSG_SPACE(sizeof *info);
	}
	if (from->family == IP_V6) {
		struct in6_pktinfo *info = (struct in6_pktinfo *)CMSG_DATA(c);

		*c = (struct cmsghdr){.cmsg_level = IPPROTO_IPV6,
			.cmsg_type = IPV6_PKTINFO,
			.cmsg_len = CMSG_LEN(sizeof *info)};
		memcpy(&info->ipi6_addr, from->b, 16);
		info->ipi6_ifindex = scope;
		return CMSG_SPACE(sizeof *info);
	}
	return 0;
}

void serve_out_datagram(struct serve_out *o, int fd, const struct ip_port *to,
	const struct ip_addr *from, unsigned from_scope, size_t len)
{
	unsigned i = o->used++;
	struct slot *s = &o->slots[i];

	s->is_packet = false;
	s->fd = fd;
	s->len = len;
	o->iovecs[i] = (struct iovec){.iov_base = s->data, .iov_len = len};
	o->messages[i].msg_hdr = (struct msghdr){
		.msg_name = &o->to[i],
		.msg_namelen = ip_port_to_sockaddr(to, &o->to[i]),
		.msg_iov = &o->iovecs[i],
		.msg_iovlen = 1,
		.msg_control = o->control[i],
		.msg_controllen = put_source(o->control[i], from, from_scope),
	};
}
