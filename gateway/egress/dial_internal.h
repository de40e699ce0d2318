/* A dial as dial.c and handshake.c see it. Its worker's thread. */
#ifndef TUNGATE_EGRESS_DIAL_INTERNAL_H
#define TUNGATE_EGRESS_DIAL_INTERNAL_H

#include "gateway/egress/egress_internal.h"

enum dial_step { STEP_LOOKUP, STEP_CONNECT, STEP_METHOD, STEP_AUTH, STEP_REPLY, STEP_HEAD };

/* What a step comes to; negative: the error that ends this try. */
enum { WAITS = 0, CONNECTED = 1 };

struct dial {
	struct loop_op op;
	struct loop_timer timer;
	struct egress_lookup lookup;
	struct egress_dialer *dialer;
	struct egress_dial *owner; /* NULL: not wanted, freed when its operation has ended */
	struct dial *next, **link; /* among the dialer's, or free */
	egress_done *done;
	struct egress_set *set;
	struct dial_order order;
	unsigned egress, leaf; /* what was asked for, who is tried */
	uint64_t tried;	       /* members, a bit each */
	uint8_t step;
	bool proxys_fault; /* a failure now would be the proxy's own */
	bool looking, looked_up_at_once, timed_out;
	int fd;
	int guard_slot; /* -1: none */
	struct egress_state *guarded;
	int64_t deadline_ms, began_us;
	uint32_t rtt_us;
	struct sockaddr_storage sa;
	struct ip_addr addresses[EGRESS_ADDRESSES_MAX];
	uint8_t n, at; /* addresses of this member, the one that is tried */
	uint16_t got;
	union {
		uint8_t bytes[SOCKS5_REPLY_MAX];
		struct http_head head;
	} in;
	struct egress_target target;
};

static inline const struct egress *dial_leaf(const struct dial *d)
{
	return &d->set->v[d->leaf];
}

int dial_timer_set(struct dial *d, int64_t due_ms);
void dial_op_done(struct loop_op *op, int32_t res, uint8_t *data, bool last);
/* Errors of the kernel to those of egress.h. */
int dial_kernel_error(int error);

/* handshake.c: from the connected proxy to the connected target, or as far as the order's purpose
 * goes. Both return WAITS (a byte is waited for), CONNECTED or an error; proxys_fault says whose.
 */
int handshake_start(struct dial *d);
int handshake_received(struct dial *d, uint8_t byte);

#endif
