/* The names that checks have learned: their files are looked after, and people are shown them. */
#include "gateway/daemon_internal.h"
#include "gateway/base/clock.h"
#include "gateway/base/log.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#define TEND_LEAST_MS 15 /* two looks at a file that is being written are not one */
#define PROBLEM_HEAD  "learned names: "

/* One look at all files. */
struct look {
	bool changed;
	char wrong[512]; /* the last error of a file that was read: FILE:LINE:COLUMN: what */
};

static void complain(void *arg, bool is_error, const char *text)
{
	struct look *look = arg;

	if (!is_error) {
		log_warn("%s", text);
		return;
	}
	log_error("%s", text);
	(void)snprintf(look->wrong, sizeof look->wrong, "%s", text);
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

/* "PATH:" and what is wrong; the rest of what is told is ours. */
static bool is_about(const char *text, const char *path)
{
	size_t len = strlen(path);

	return text && strncmp(text, path, len) == 0 && text[len] == ':';
}

/* False: what is told of it stays. Where a file is wrong is known from the look that found it. */
static bool describe(const struct daemon *d, const struct look *look, const char *path, int error,
	char *ret, size_t size)
{
	const char *told = d->problems[PROBLEM_LEARNED];

	if (error == -EBUSY)
		(void)snprintf(ret, size,
			"%s: it is mounted by itself and cannot be replaced; mount its folder",
			path);
	else if (error != -EINVAL)
		(void)snprintf(ret, size, "%s: %s", path, strerror(-error));
	else if (is_about(look->wrong, path))
		(void)snprintf(ret, size, "%s", look->wrong);
	else if (told && is_about(told + strlen(PROBLEM_HEAD), path))
		return false;
	else
		(void)snprintf(ret, size, "%s: it has errors, see the log", path);
	return true;
}

static void note_problem(struct daemon *d, const struct look *look)
{
	char text[512], others[48] = "";
	const struct policy_check *c;
	const char *path = NULL;
	struct learned_info info;
	size_t at = 0, n = 0;
	int error = 0;

	while ((c = next_table(d, NULL, &at))) {
		learned_info(c->learned, &info);
		if (!info.error || n++ > 0)
			continue;
		error = info.error;
		path = learned_path(c->learned);
	}
	if (n == 0) {
		daemon_clear_problem(d, PROBLEM_LEARNED);
		return;
	}
	if (n > 1)
		(void)snprintf(
			others, sizeof others, " (and %zu other file%s)", n - 1, n > 2 ? "s" : "");
	if (describe(d, look, path, error, text, sizeof text))
		daemon_set_problem(d, PROBLEM_LEARNED,
			PROBLEM_HEAD
			"%s%s; those of before stay in force, new ones are kept in memory",
			text, others);
}

static void tended(void *arg, struct learned *l, int result)
{
	struct look *look = arg;

	if (result == 1)
		log_info("learned names, %s: read or written anew, and in order", learned_path(l));
	look->changed |= result != 0;
}

/* As the policy in force wants them; there a table has one configuration. */
static void configure(struct daemon *d)
{
	const struct policy_check *c;
	size_t at = 0;

	while ((c = next_table(d, NULL, &at)))
		learned_configure(c->learned, &(struct learned_config){.capacity = c->capacity,
						      .max_age_s = c->max_age_s,
						      .verify_s = c->verify_s});
}

void daemon_learned_tend(struct daemon *d)
{
	/* The table that has a problem may be gone. */
	struct look look = {.changed = d->problems[PROBLEM_LEARNED] != NULL};
	int64_t now_ms = clock_ms();

	if (now_ms - d->learned_tended_ms < TEND_LEAST_MS)
		return;
	d->learned_tended_ms = now_ms;
	configure(d);
	learned_files_tend(d->learned, clock_wall_s(), complain, tended, &look);
	if (look.changed)
		note_problem(d, &look);
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
