/* Checks of rules, and the tables of what they learn. */
#include "gateway/policy/build.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "gateway/base/clock.h"
#include "gateway/learned/learned.h"

struct reading { /* a file of learned names */
	struct build *build;
	bool told; /* an error */
};

static void complain(void *arg, bool is_error, const char *text)
{
	struct reading *r = arg;

	r->told |= is_error;
	build_report(r->build, is_error, text);
}

/* Two checks may share a file: its faults are told once. */
static bool was_checked(const struct config *config, const struct conf_check *check)
{
	for (size_t i = 0; i < config->n_rules; i++)
		for (size_t j = 0; j < config->rules[i].n_checks; j++) {
			const struct conf_check *other = &config->rules[i].checks[j];

			if (other == check)
				return false;
			if (other->learn && strcmp(other->learn, check->learn) == 0)
				return true;
		}
	return false;
}

static bool is_there(const char *path)
{
	struct stat st;

	return stat(path[0] ? path : "/", &st) == 0;
}

/* learned_file.c makes one folder, not the one around it. */
static void folder_check(
	struct build *b, const struct conf_rule *rule, const struct conf_check *check)
{
	char *folder = strdup(check->learn), text[LIST_COMPLAIN_MAX];
	bool can_be = !folder;

	for (unsigned i = 0; i < 2 && !can_be; i++) {
		*strrchr(folder, '/') = 0;
		can_be = is_there(folder) || !strchr(folder, '/');
	}
	free(folder);
	if (can_be)
		return;
	(void)snprintf(text, sizeof text,
		"%s:%u:%u: warning: rules.%s.check.learn: %s: there is no folder for it, and of "
		"folders only the last one is made",
		b->config->path, check->line, check->column, rule->name, check->learn);
	build_report(b, false, text);
}

/* A file that cannot be used is told and leaves the check without a table. */
static int learned_open_for(struct build *b, const struct conf_rule *rule,
	const struct conf_check *from, struct learned **ret)
{
	const struct learned_config config = {.capacity = from->capacity,
		.max_age_s = from->max_age_s,
		.verify_s = from->verify_s};
	struct reading r = {.build = b};
	int err = 0;

	if (b->c->learned)
		err = learned_files_get(
			b->c->learned, from->learn, &config, clock_wall_s(), complain, &r, ret);
	else if (!was_checked(b->config, from)) {
		err = learned_check(from->learn, complain, &r);
		folder_check(b, rule, from);
	}
	if (err && err != -ENOMEM && !r.told)
		build_complain(b, from->line, from->column,
			"rules.%s.check.learn: %s: %s; allowed: a file that can be read, or none "
			"yet",
			rule->name, from->learn, strerror(-err));
	return err == -ENOMEM ? err : 0;
}

static int check_build(struct build *b, const struct conf_rule *rule, const struct conf_check *from,
	struct policy_check *check)
{
	struct policy *p = b->p;
	uint16_t *lists = arena_array(p->arena, from->n_lists, sizeof *lists);
	int err;

	if (!lists)
		return -ENOMEM;
	for (size_t i = 0; i < from->n_lists; i++)
		lists[i] = (uint16_t)from->lists[i];
	check->answers = from->answers;
	check->match = from->match;
	check->lists = lists;
	check->n_lists = from->n_lists;
	check->rule = &p->rules[from->rule];
	check->capacity = from->capacity;
	check->max_age_s = from->max_age_s;
	check->verify_s = from->verify_s;
	if (!from->learn)
		return 0;
	err = learned_open_for(b, rule, from, &check->learned);
	if (!err && check->learned)
		p->learning[p->n_learning++] = check;
	return err;
}

int build_checks(struct build *b, const struct conf_rule *from, struct policy_rule *rule,
	struct policy_condition *condition)
{
	struct policy_check *checks;
	int err = 0;

	if (from->answer != CONF_ANSWER_REAL || from->n_checks == 0)
		return 0;
	checks = arena_array(b->p->arena, from->n_checks, sizeof *checks);
	if (!checks)
		return -ENOMEM;
	rule->checks = checks;
	rule->n_checks = from->n_checks;
	for (size_t i = 0; i < from->n_checks && !err; i++) {
		checks[i].owner = rule;
		err = check_build(b, from, &from->checks[i], &checks[i]);
		condition->learns |= checks[i].learned != NULL;
	}
	return err;
}
