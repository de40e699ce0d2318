/* Building a policy takes as long as its lists are large, so a thread of its own does it, one at a
 * time, while the main thread goes on. What it says about the lists is told when it is done, on the
 * main thread, which all functions belong to. */
#ifndef TUNGATE_LOADER_H
#define TUNGATE_LOADER_H

#include "gateway/loop/loop.h"
#include "gateway/policy/policy.h"

struct loader;

struct loader_job {
	const struct config *config; /* stays as it is until done */
	struct policy *previous;     /* see policy_build_config; the loader takes a reference */
	bool keep_failed;
	struct learned_files *learned; /* see policy_build_config */
	policy_report *report;	       /* called before done */
	/* policy: the caller's from now on; NULL after an error. Another job may be started. */
	void (*done)(void *arg, struct policy *policy, int error);
	void *arg;
};

int loader_new(struct loop *loop, struct loader **ret); /* before loop_run() */
/* -EBUSY: one is under way; -EAGAIN: no thread. */
int loader_start(struct loader *l, const struct loader_job *job);
bool loader_busy(const struct loader *l);
/* Waits for a job that is under way and drops what comes of it: done is not called. */
void loader_stop(struct loader *l);
void loader_free(struct loader *l); /* after the loop's last turn; NULL is fine */

#endif
