/* The heartbeat: a packet over lo twice a second, which a rule of our table (table_out.c) answers
 * by renewing the set `alive`, as long as the workers live. A thread of its own, and no netlink:
 * who commits waits for everybody else's transactions, seconds for a set of 100,000 ranges, and the
 * LAN would lose its gateway meanwhile. */
#ifndef TUNGATE_NETLINK_HEARTBEAT_H
#define TUNGATE_NETLINK_HEARTBEAT_H

#include <stdbool.h>
#include <stdint.h>

#define HEARTBEAT_EVERY_MS 500
#define HEARTBEAT_LIFE_MS  2500 /* of an element of `alive` */

struct heartbeat;

struct heartbeat_config {
	/* Whether the workers live. With each beat, in the thread of the heartbeat. */
	bool (*pulse)(void *arg);
	/* Interception lapsed, or is back after ms. error: why the packet was not answered
	 * (-ENOENT: no rule took it); -ETIME: this thread itself did not run; 0: no pulse. The same
	 * thread; NULL is fine. */
	void (*lapsed)(void *arg, bool lapsed, int64_t ms, int error);
	void *arg;
};

int heartbeat_start(const struct heartbeat_config *config, struct heartbeat **ret); /* -errno */
void heartbeat_stop(struct heartbeat *h); /* NULL is fine */
/* Of 127.0.0.1, UDP: source and target of the packet, which nobody else can send. */
uint16_t heartbeat_port(const struct heartbeat *h);
/* The table is in force, or will not be. It beats at once. Any thread. */
void heartbeat_hold(struct heartbeat *h, bool held);
uint64_t heartbeat_count(const struct heartbeat *h); /* beats that were answered */

#endif
