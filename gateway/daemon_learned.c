/* The names that checks have learned: their files are looked after, and people are shown them. */
#include "gateway/daemon_internal.h"
#include "gateway/base/clock.h"
#include "gateway/base/log.h"

#include <errno.h>
#include <string.h>

#define TEND_LEAST_MS 15 /* two looks at a file that is being written are not one */

static void complain(void *arg, bool is_error, const char *text)
{
	(void)arg;
	if (is_error)
		log_error("%s", text);
	else
		log_warn("%s", text);
}

/* The tables in force, with one of the checks that each has: of `rule`, or any. NULL: no more. */
static const struct policy_check *next_table(struct daemon *d, const char *rule, size_t *at)
{
	const struct policy_check *const *v;
	size_t n = policy_learning(d->gen->policy, &v);

	while (*at < n) {
		const struct policy_check *c = v[(*at)++];
		bool is_known = rule && strcmp(c->rule->name, rule) != 0;

		for (size_t i = 0; i + 1 < *at && !is_known; i++)
			is_known = v[i]->learned == c->learned &&
				   (!rule || strcmp(v[i]->rule->name, rule) == 0);
		if (!is_known)
			return c;
	}
	return NULL;
}

/* --- upkeep --- */

static void note_problem(struct daemon *d)
{
	const struct policy_check *c;
	struct learned_info info;
	size_t at = 0;

	while ((c = next_table(d, NULL, &at))) {
		learned_info(c->learned, &info);
		if (!info.error)
			continue;
		daemon_set_problem(d, PROBLEM_LEARNED,
			"learned names, %s: %s; those of before stay in force, new ones are kept "
			"in memory",
			learned_path(c->learned),
			info.error == -EINVAL ? "it has errors, see the log"
					      : strerror(-info.error));
		return;
	}
	daemon_clear_problem(d, PROBLEM_LEARNED);
}

static void tended(void *arg, struct learned *l, int result)
{
	bool *changed = arg;

	if (result == 1)
		log_info("learned names, %s: read or written anew, and in order", learned_path(l));
	*changed |= result != 0;
}

void daemon_learned_tend(struct daemon *d)
{
	bool changed = d->problems[PROBLEM_LEARNED] != NULL; /* the table may be gone */
	int64_t now_ms = clock_ms();

	if (now_ms - d->learned_tended_ms < TEND_LEAST_MS)
		return;
	d->learned_tended_ms = now_ms;
	learned_files_tend(d->learned, clock_wall_s(), complain, tended, &changed);
	if (changed)
		note_problem(d);
}

/* --- for the control room --- */

struct visit {
	const char *rule;
	daemon_learned_visit *visit;
	void *arg;
};

static void visit_name(void *arg, const struct learned_name *name)
{
	const struct visit *v = arg;

	v->visit(v->arg, v->rule, name);
}

int daemon_learned(struct daemon *d, const char *rule, daemon_learned_visit *visit, void *arg)
{
	const struct policy_check *c;
	size_t at = 0, n = 0;

	for (; (c = next_table(d, rule, &at)); n++) {
		struct visit v = {c->rule->name, visit, arg};

		learned_each(c->learned, visit_name, &v);
	}
	return rule && n == 0 ? -ENOENT : 0;
}

size_t daemon_learned_files(struct daemon *d, struct daemon_learned_file *ret, size_t max)
{
	const struct policy_check *c;
	size_t at = 0, n = 0;

	while (n < max && (c = next_table(d, NULL, &at))) {
		ret[n].file = learned_path(c->learned);
		ret[n].rule = c->rule->name;
		learned_info(c->learned, &ret[n++].info);
	}
	return n;
}
