/* Pipes through which the kernel moves bytes from one socket to another. A relay's, made when one
 * is needed, at most PIPES_MAX, kept for the next who needs one, closed when nobody did for a
 * while. The first few are large. What pipes may hold is limited for each user
 * (/proc/sys/fs/pipe-user-pages-soft, 64 MiB): four relays with all their pipes stay below that;
 * when others use it up, pipes are small, and at last there are none. One thread. */
#ifndef TUNGATE_CARRY_PIPES_H
#define TUNGATE_CARRY_PIPES_H

#include <stdbool.h>
#include <stdint.h>

#define PIPES_MAX 64

struct pipes {
	int fds[PIPES_MAX][2];	     /* read, write; -1: not made */
	uint8_t free[PIPES_MAX];     /* a stack */
	unsigned n_free, least_free; /* the least since the last rest */
	bool refused; /* the kernel gives no more: not asked again before the next rest */
};

void pipes_init(struct pipes *p);
void pipes_fini(struct pipes *p); /* all have been given back */
/* Number of an empty pipe, or negative: there is none now. */
int pipes_take(struct pipes *p);
void pipes_give(struct pipes *p, int pipe, bool empty);
/* Now and then: closes those that were not needed since the last time. */
void pipes_rest(struct pipes *p);

#endif
