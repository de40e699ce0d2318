/* What the files of carrying share. carry.c is the way of a packet; deciding.c holds packets while
 * their fake address is being decided, direct.c makes the kernel carry, unless.c finds out where a
 * name resolves, syn.c holds a SYN until its egress has connected, accept.c hands connections to
 * the relay, real.c decides about real traffic, answer.c tells a sender what it must know. */
#ifndef TUNGATE_CARRY_INTERNAL_H
#define TUNGATE_CARRY_INTERNAL_H

#include "gateway/base/slab.h"
#include "gateway/carry/carry.h"
#include "gateway/carry/verdict.h"
#include "gateway/resolve/lookup.h"
#include "gateway/tun/packet.h"
#include "netlink/conntrack.h"

#define CARRY_BUCKETS	512
#define CARRY_LISTENERS 4

struct carry_listener {
	struct carry *carry;
	int fd;
	struct loop_op op;
	struct loop_timer again; /* after an error that passes (no descriptors) */
};

struct carry {
	struct carry_config c;
	struct generation *gen;
	struct carry_counters counters;
	bool stopping, dialer_stopped;
	bool wants_names; /* traffic to real addresses comes, or came: whose they are is noted */

	struct egress_dialer *dialer;
	struct relay *relay;
	struct udp_relay *udp;
	struct conntrack *conntrack; /* NULL: the kernel has none */

	struct deciding *deciding[CARRY_BUCKETS];
	unsigned n_deciding, n_held;
	struct asking *asking[CARRY_BUCKETS];
	unsigned n_asking;
	struct slab syns;
	unsigned n_syns;
	struct lookups lookups; /* for the dialer */

	struct carry_listener tcp[CARRY_LISTENERS], udp_in[CARRY_LISTENERS];
	unsigned n_tcp, n_udp_in;
	struct loop_buffers *udp_buffers; /* made with the first UDP socket */
	struct loop_timer tick;
	struct real *real;
};

/* A packet to a fake address on its way through the rooms; nothing in it outlives the call. */
struct arrival {
	const struct tun_packet *p;
	unsigned ifindex;
	struct ip_addr source, target;
	uint32_t index;
	const struct fakeip_mapping *m;
	struct decision_key key;
};

/* --- carry.c --- */

/* From the beginning once more: what was held comes back here when it can be decided. */
void carry_arrived(struct carry *c, const struct tun_packet *p, unsigned ifindex);
/* Not by the kernel: through egress to target, whose port is the packet's. leaf: what the
 * configuration says of it or, of a group, of the member whose turn it is. */
void carry_relayed(struct carry *c, const struct arrival *a, const struct policy_egress *leaf,
	unsigned egress, const struct egress_target *target);
/* How a group's choice is configured. */
const struct policy_egress *carry_leaf(const struct carry *c, const struct policy_egress *egress);
/* The name as a proxy gets it; false: it is no host name. */
bool carry_host(const struct dns_name *name, char ret[EGRESS_HOST_MAX + 1]);
/* May be dialled: one host's address, not ours, not a pool's. */
bool carry_is_far(const struct carry *c, const struct ip_addr *a);
unsigned carry_udp_idle_ms(const struct conf_egress *e);

/* --- answer.c --- */

/* Nobody is there: a TCP client gets a reset (if reset is set), others an ICMP error. */
void answer_refuse(struct carry *c, const struct tun_packet *p, unsigned ifindex,
	enum tun_error error, bool reset);
/* Counts a dial that failed, and tells of a loop, once a minute. what: "a relayed connection". */
void answer_note_failure(struct carry *c, int error, const char *what);
/* What a dial's error means to the client. */
void answer_dial_error(struct carry *c, const struct tun_packet *p, unsigned ifindex, int error);
void answer_echo(struct carry *c, const struct tun_packet *p, unsigned ifindex);

/* --- deciding.c --- */

struct held {
	struct held *next;
	size_t len;
	unsigned ifindex;
	uint8_t packet[];
};

/* One fake address whose way is being found; packets to it wait here. */
struct deciding {
	struct deciding *next; /* in its bucket */
	struct carry *carry;
	struct ip_addr fake;
	uint32_t index;
	struct decision_key key;
	struct generation *gen; /* a reference */
	struct held *held, **held_end;
	unsigned n_held;
	struct deciding *next_waiter; /* of the same asking */
	/* direct.c */
	struct verdict verdict;
	const struct policy_egress *leaf;
	struct dns_name name;
	struct resolve_request request;
	struct writer_job job;
	struct decision_pin pin;
	bool other_family;
};

struct deciding *deciding_find(struct carry *c, const struct ip_addr *fake);
/* With its first packet held. NULL: there are too many; the sender was told. */
struct deciding *deciding_begin(struct carry *c, const struct arrival *a);
void deciding_hold(struct deciding *d, const struct tun_packet *p, unsigned ifindex);
/* Takes it out of the table, hands every packet on, frees all. */
typedef void each_held(struct deciding *d, const struct tun_packet *p, unsigned ifindex);
void deciding_end(struct deciding *d, each_held *hand_on);
void deciding_again(struct deciding *d, const struct tun_packet *p, unsigned ifindex);
void deciding_unreachable(struct deciding *d, const struct tun_packet *p, unsigned ifindex);

/* --- direct.c --- */

void direct_packet(struct carry *c, const struct arrival *a, const struct verdict *v,
	const struct policy_egress *leaf);

/* --- unless.c --- */

/* Changes the verdict if `unless` has been decided. False: that goes on now; the packet waits. */
bool unless_apply(struct carry *c, const struct arrival *a, struct verdict *v);
void unless_ask(struct carry *c, struct decision_key key, const struct policy_rule *rule,
	const struct dns_name *name, struct deciding *waiter);

/* --- syn.c --- */

void syn_init(struct carry *c);
void syn_arrived(struct carry *c, const struct arrival *a, unsigned egress,
	const struct egress_target *target);

/* --- accept.c --- */

void accept_stop(struct carry *c);
bool accept_idle(const struct carry *c);
void accept_free(struct carry *c); /* when idle */
/* Closes with a reset. */
void accept_refuse(int fd);

/* --- real.c: traffic to real addresses --- */

struct real;
int real_new(struct carry *c, struct real **ret);
void real_stop(struct real *r);
bool real_idle(const struct real *r);
void real_free(struct real *r); /* NULL is fine */
/* An answer for name with this address leaves for client. */
void real_told(struct carry *c, const struct ip_addr *client, const struct ip_addr *address,
	const struct dns_name *name, uint32_t ttl_s);
/* fd is real's from now on. */
void real_accepted(struct real *r, int fd, const struct ip_port *client, const struct ip_port *to);
void real_datagram(struct real *r, const struct udp_datagram *d);

#endif
