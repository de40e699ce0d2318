/* What the sender of a packet is told when nobody carries it. */
#include "gateway/base/count.h"
#include "gateway/base/log.h"
#include "gateway/carry/carry_internal.h"

#include <errno.h>
#include <netinet/in.h>

#define ECHO_MAX	  9216
#define LOOP_LOG_EVERY_MS 60000

void answer_refuse(struct carry *c, const struct tun_packet *p, unsigned ifindex,
	enum tun_error error, bool reset)
{
	uint8_t out[TUN_ERROR_MAX];
	size_t n = reset && p->protocol == IPPROTO_TCP
			   ? tun_packet_tcp_reset(out, p)
			   : tun_packet_icmp_error(out, p, error, NULL, 0);

	if (n)
		inject_error(c->c.inject, c->c.tun_fd, out, n, ifindex);
	count_add(&c->counters.refused, 1);
}

void answer_note_failure(struct carry *c, int error, const char *what)
{
	static struct log_gate gate;

	count_add(&c->counters.failed, 1);
	if (error != -ELOOP)
		return;
	count_add(&c->counters.loops, 1);
	if (log_gate_open(&gate, LOOP_LOG_EVERY_MS))
		log_warn("loop: %s would lead back to this gateway; refused. Exempt the proxy's "
			 "own traffic (gateway.exempt), or give it another egress",
			what);
}

void answer_dial_error(struct carry *c, const struct tun_packet *p, unsigned ifindex, int error)
{
	switch (error) {
	case -ECONNREFUSED:
	case -ECONNRESET:
	case -ELOOP:
		answer_refuse(c, p, ifindex, TUN_PORT_UNREACHABLE, true);
		break;
	case -EACCES:
		answer_refuse(c, p, ifindex, TUN_PROHIBITED, false);
		break;
	case -ENETUNREACH:
		answer_refuse(c, p, ifindex, TUN_NO_ROUTE, false);
		break;
	default:
		answer_refuse(c, p, ifindex, TUN_HOST_UNREACHABLE, false);
		break;
	}
}

void answer_echo(struct carry *c, const struct tun_packet *p, unsigned ifindex)
{
	uint8_t out[ECHO_MAX];
	size_t n = p->len <= sizeof out ? tun_packet_echo_reply(out, p) : 0;

	if (n)
		inject_error(c->c.inject, c->c.tun_fd, out, n, ifindex);
	else
		answer_refuse(c, p, ifindex, TUN_HOST_UNREACHABLE, false);
}
