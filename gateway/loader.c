#include "gateway/loader.h"

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "gateway/base/container.h"
#include "gateway/base/grow.h"
#include "gateway/base/thread.h"

#define NICENESS 10 /* beside workers that answer */
#define TOLD_MAX 4096

struct said {
	bool is_error;
	char *text;
};

struct loader {
	struct loop *loop;
	struct loop_waker waker;
	struct loader_job job;
	pthread_t thread;
	bool busy;
	_Atomic bool done;
	/* The thread's, until it is done. */
	struct policy *policy;
	int error;
	struct said *said;
	size_t n_said, room_said;
};

/* --- the thread --- */

static void keep(void *arg, bool is_error, const char *text)
{
	struct loader *l = arg;
	struct said *said;

	if (l->n_said == TOLD_MAX ||
		room_grow((void **)&l->said, &l->room_said, l->n_said, 1, sizeof *said))
		return;
	said = &l->said[l->n_said];
	said->is_error = is_error;
	said->text = strdup(text);
	l->n_said += said->text != NULL;
}

static void *run(void *arg)
{
	struct loader *l = arg;
	const struct policy_build_config c = {
		.config = l->job.config,
		.previous = l->job.previous,
		.keep_failed = l->job.keep_failed,
		.learned = l->job.learned,
		.report = keep,
		.report_arg = l,
	};

	(void)setpriority(PRIO_PROCESS, (id_t)gettid(), NICENESS);
	l->error = policy_build(&c, &l->policy);
	atomic_store(&l->done, true);
	loop_wake(l->loop);
	return NULL;
}

/* --- the main thread --- */

static void end_thread(struct loader *l)
{
	pthread_join(l->thread, NULL);
	policy_unref(l->job.previous);
	l->busy = false;
}

static void forget_said(struct loader *l)
{
	for (size_t i = 0; i < l->n_said; i++)
		free(l->said[i].text);
	l->n_said = 0;
}

static void woken(struct loop_waker *w)
{
	struct loader *l = container_of(w, struct loader, waker);
	struct policy *policy;

	if (!l->busy || !atomic_load(&l->done))
		return;
	end_thread(l);
	for (size_t i = 0; i < l->n_said; i++)
		l->job.report(l->job.arg, l->said[i].is_error, l->said[i].text);
	forget_said(l);
	policy = l->policy;
	l->policy = NULL;
	l->job.done(l->job.arg, policy, l->error);
}

int loader_start(struct loader *l, const struct loader_job *job)
{
	int error;

	if (l->busy)
		return -EBUSY;
	l->job = *job;
	l->policy = NULL;
	atomic_store(&l->done, false);
	if (l->job.previous)
		policy_ref(l->job.previous);
	error = thread_start(&l->thread, 0, run, l);
	if (error)
		policy_unref(l->job.previous);
	else
		l->busy = true;
	return error;
}

bool loader_busy(const struct loader *l)
{
	return l->busy;
}

int loader_new(struct loop *loop, struct loader **ret)
{
	struct loader *l = calloc(1, sizeof *l);

	if (!l)
		return -ENOMEM;
	l->loop = loop;
	l->waker.woken = woken;
	loop_on_wake(loop, &l->waker);
	*ret = l;
	return 0;
}

void loader_stop(struct loader *l)
{
	if (!l->busy)
		return;
	end_thread(l);
	policy_unref(l->policy);
	l->policy = NULL;
}

void loader_free(struct loader *l)
{
	if (!l)
		return;
	loader_stop(l);
	forget_said(l);
	free(l->said);
	free(l);
}
