#include "gateway/carry/shared.h"

#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

#include "gateway/egress/egress.h"

#define DECISIONS_MAX 65536
#define SEEN_MAX      16384

static void drop_waiting(void *arg, const struct waiting_conn *c)
{
	struct carry_shared *s = arg;

	close(c->fd);
	egress_flow_end(c->state);
	fakeip_release(s->fakeip, c->index);
}

int carry_shared_new(struct fakeip_table *fakeip, unsigned max_flows, struct carry_shared **ret)
{
	struct carry_shared *s = calloc(1, sizeof *s);
	int error;

	if (!s)
		return -ENOMEM;
	s->fakeip = fakeip;
	error = waiting_new(max_flows, drop_waiting, s, &s->waiting);
	if (!error)
		error = decisions_new(DECISIONS_MAX, &s->decisions);
	if (!error)
		error = seen_new(SEEN_MAX, &s->seen);
	if (error) {
		carry_shared_free(s);
		return error;
	}
	*ret = s;
	return 0;
}

void carry_shared_free(struct carry_shared *s)
{
	if (!s)
		return;
	waiting_free(s->waiting);
	decisions_free(s->decisions);
	seen_free(s->seen);
	free(s);
}
