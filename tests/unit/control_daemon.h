/* A daemon for the tests of the control room and the command line: what gateway/daemon.h declares,
 * over a table that the test fills in. */
#ifndef TUNGATE_TESTS_CONTROL_DAEMON_H
#define TUNGATE_TESTS_CONTROL_DAEMON_H

#include "gateway/daemon.h"
#include "gateway/loop/loop.h"

struct daemon {
	enum daemon_state state;
	unsigned n_mappings; /* of n0.test, n1.test, ... at index 10, 20, ... */
	unsigned n_problems;
	const char *problems[4];
	enum conf_https https; /* of the configuration */
	bool reload_fails;
	unsigned reloads;
	struct loop *loop; /* a reload ends in a turn of it */
	struct {
		struct loop_timer timer;
		daemon_tell *tell;
		daemon_reloaded *done;
		void *arg;
		unsigned wait_ms;
	} reloading;
	unsigned long nexts; /* calls of daemon_mapping_next() */
	unsigned flushes;    /* calls of daemon_flush() */
	char pushed[256];    /* "SOURCE JSON" of the last push, "SOURCE" of a deletion */
	const char *stored;  /* what records.list finds; NULL: a disk error */
};

#endif
