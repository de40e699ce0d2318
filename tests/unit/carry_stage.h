/* Carrying on the stage of query_stage.h (which plays upstream and the writer), between egresses,
 * relays and a way out that are played here. */
#ifndef TUNGATE_TESTS_CARRY_STAGE_H
#define TUNGATE_TESTS_CARRY_STAGE_H

#include "tests/unit/dns_packet.h"
#include "tests/unit/query_stage.h"

#include <errno.h>
#include <netinet/in.h>
#include <stdio.h>

#include "gateway/carry/carry.h"
#include "gateway/carry/verdict.h"
#include "gateway/tun/packet.h"

#define LAN	5 /* an interface */
#define TUN_FD	77
#define OUT_MAX 1200

/* In the order of the configuration. */
enum { DIRECT, VPN, PROXY, WEB, NO_QUIC, NO_UDP, PINGS, ANY, NOBODY };

/* --- what went out --- */

struct sent {
	enum sent_how { PUT_BACK, ERROR, TO_RELAY } how;
	bool own;
	int tun_fd;
	unsigned ifindex;
	size_t len;
	uint8_t packet[1500];
};
extern struct sent sent[OUT_MAX];
extern size_t n_sent;
extern int put_back_error;

/* --- egresses and relays --- */

#define DIALS_MAX 16
struct played {
	/* Dials that wait for dial_end(). */
	struct {
		struct egress_dial *dial;
		unsigned egress;
		struct egress_target target;
	} dials[DIALS_MAX];
	unsigned n_dials, n_ended;
	unsigned choice; /* which member every group takes */
	bool takes_no_udp;
	int flows; /* that count on egresses */
	unsigned n_checked;
	struct egress_dialer_config dialer;
	/* The TCP relay. */
	unsigned n_relayed;
	struct relay_flow_config relayed;
	int relay_error;
	struct relay_config relay_config;
	/* The UDP relay. */
	bool udp_has_flow;
	int udp_error;
	unsigned n_udp_opened, n_udp_taken, n_udp_real;
	uint32_t udp_index;
	struct udp_way udp_way;
	/* real.c */
	unsigned n_real, n_real_datagrams;
	int real_fd;
	struct ip_port real_client, real_to;
	/* Connection tracking. */
	bool has_flows;
	unsigned forgotten;
	/* The listener. */
	struct loop_op *accepting, *receiving;
	int accept_error;
	loop_done *accepted, *received;
};
extern struct played played;

/* The oldest dial ends: with a descriptor, or -1 and an error. */
void dial_end(int fd, int error);

/* --- the world --- */

struct world {
	struct stage *s;
	struct carry *carry;
	struct carry_shared *shared;
	uint8_t v4[4], v6[16]; /* of www.fake.test, which goes direct */
};
int open_world(void **state);
int close_world(void **state);
struct fakeip_pair map(struct stage *s, const char *text, const char *rule);
uint32_t stage_clock_s(void);

/* --- packets --- */

extern uint8_t packet[16384];
extern size_t packet_len;

/* From 10.1.1.1 or fd01::1, port 4001, to port 80 of target, with `size` bytes behind the IP
 * header. */
uint8_t *build(const uint8_t *target, bool v6, unsigned protocol, size_t size);
void checksum4(uint8_t *p);
void finish(void); /* after a change behind the IP header */
void build_tcp(const uint8_t *target, bool v6, unsigned flags, uint32_t seq);
void build_udp(const uint8_t *target, bool v6, size_t payload);
void build_echo(const uint8_t *target, bool v6);
void give(struct world *w, unsigned ifindex);

struct tun_packet parse_sent(size_t i);
void assert_icmp(size_t i, unsigned type, unsigned code);
void assert_host_unreachable(size_t i);
void assert_reset(size_t i);
void assert_put_back(size_t i, const uint8_t *bytes, size_t len);

/* --- upstream --- */

#define REAL  0xc0000205 /* 192.0.2.5 */
#define REAL6 "\x20\1\xd\xb8\0\0\0\0\0\0\0\0\0\0\0\5"

/* Ends the oldest question that waits and was not cancelled, with these addresses. */
void answer(
	struct world *w, const char *name, unsigned n, const uint32_t *addresses, uint32_t ttl_s);
void answer_one(struct world *w, uint32_t address, uint32_t ttl_s); /* for www.fake.test */
void answer_v6(struct world *w, const char *name, const void *address, uint32_t ttl_s);
void answer_nothing(struct world *w, int error);
/* The question that would be answered next; NULL: none waits. */
struct stage_question *question(struct world *w);

static inline uint64_t counter_of(const _Atomic uint64_t *c)
{
	return *c;
}
#define COUNTER(w, name) counter_of(&carry_counters((w)->carry)->name)

#endif
