/* A network namespace of the test's own, so that nothing here can touch the host. Needs
 * CAP_SYS_ADMIN; without it the program ends with 77 ("skipped"). */
#ifndef TUNGATE_TESTS_NETNS_H
#define TUNGATE_TESTS_NETNS_H

#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

static inline void netns_enter(void)
{
	if (unshare(CLONE_NEWNET) == 0 && access("/dev/net/tun", R_OK | W_OK) == 0)
		return;
	perror("a network namespace with /dev/net/tun");
	exit(77);
}

/* Lines for ip(8) and nft(8): what the test needs around it, not what it tests. */
static inline int netns_run(const char *command)
{
	int status = system(command);

	if (status != 0)
		fprintf(stderr, "failed (%d): %s\n", status, command);
	return status;
}

#endif
