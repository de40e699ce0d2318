/* `push: async`: the answer leaves at once, and its addresses go into the sets when they do. A
 * bounded number of jobs is out; what finds none is dropped and counted. */
#include "gateway/base/container.h"
#include "gateway/query/query_internal.h"

struct later {
	struct query_engine *engine;
	struct generation *gen; /* a reference: its sets are in use */
	struct writer_job job;
	uint64_t forget; /* elements whose client's old flows are forgotten */
};

static void later_done(struct writer_job *job)
{
	struct later *l = container_of(job, struct later, job);
	struct query_engine *e = l->engine;

	count_add(&e->counters.push_errors, job->result < 0);
	push_forget(e, job, l->forget);
	count_add(&e->counters.push_queued, (uint64_t)-1);
	generation_unref(l->gen);
	slab_give(&e->later, l);
}

void later_init(struct query_engine *e)
{
	slab_init(&e->later, sizeof(struct later), LATER_MAX);
}

void later_fini(struct query_engine *e)
{
	slab_fini(&e->later);
}

/* The job that is being filled leaves: it is full, or its answer is. */
void later_commit(struct query_engine *e)
{
	struct later *l = e->filling;

	if (!l)
		return;
	e->filling = NULL;
	count_add(&e->counters.push_async, l->job.n);
	writer_submit(e->c.writer, &l->job);
}

static struct later *later_new(
	struct query_engine *e, struct generation *gen, const struct ip_addr *client)
{
	struct later *l = slab_take(&e->later);

	if (!l)
		return NULL;
	count_add(&e->counters.push_queued, 1);
	l->engine = e;
	l->gen = generation_ref(gen);
	l->forget = 0;
	l->job.n = 0;
	l->job.client = e->c.writer_client;
	l->job.done = later_done;
	l->job.asker = *client;
	return l;
}

void later_add(
	struct parked *p, const struct policy_rule *rule, const struct writer_element *element)
{
	struct query_engine *e = p->engine;
	struct later *l = e->filling;

	if (l && l->job.n == WRITER_JOB_ELEMENTS)
		later_commit(e);
	l = e->filling = e->filling ? e->filling : later_new(e, p->gen, &p->origin.client.addr);
	if (!l) {
		count_add(&e->counters.push_dropped, 1);
		return;
	}
	if (rule->conntrack_forget)
		l->forget |= 1ULL << l->job.n;
	l->job.elements[l->job.n++] = *element;
}
