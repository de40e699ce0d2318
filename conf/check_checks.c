/* What must hold of the checks of rules (`check`), and between them and files that others own. */
#include "conf/check.h"

#include <string.h>

enum { FILES_MAX = 256 };

struct checks {
	struct conf_reader *r;
	/* The first of each file that is learned into. */
	const struct conf_check *learning[FILES_MAX];
	size_t n_learning;
};

/* Which other option has this file, NULL: none. */
static const char *file_owner(struct conf_reader *r, const char *path)
{
	const struct config *c = r->config;
	const char *slash = strrchr(r->path, '/');
	const char *own = arena_printf(r->scratch, "%s/%s", strcmp(r->folder, "/") ? r->folder : "",
		slash ? slash + 1 : r->path);
	const struct {
		const char *key, *path;
	} files[] = {{"the configuration", own}, {"fakeip.store", c->fakeip.store},
		{"cache.store", c->cache.store}, {"records.store", c->records.store},
		{"records.lines_file", c->records.lines_file}};

	for (size_t i = 0; i < sizeof files / sizeof files[0]; i++)
		if (files[i].path && strcmp(files[i].path, path) == 0)
			return files[i].key;
	for (size_t i = 0; i < c->records.files.n; i++)
		if (c->records.files.v[i] && strcmp(c->records.files.v[i], path) == 0)
			return "records.files";
	for (size_t i = 0; i < c->leases.files.n; i++)
		if (c->leases.files.v[i] && strcmp(c->leases.files.v[i], path) == 0)
			return "leases.files";
	for (size_t i = 0; i < c->n_lists; i++)
		for (size_t j = 0; j < c->lists[i].n_files; j++) {
			const char *list = c->lists[i].files[j].path;

			if (list && strcmp(list, path) == 0)
				return arena_printf(r->scratch, "lists.%s", c->lists[i].name);
		}
	return NULL;
}

static void learn_keys_check(struct conf_reader *r, struct conf_node *item)
{
	static const char *const keys[] = {"capacity", "max_age", "verify"};

	for (size_t i = 0; i < sizeof keys / sizeof keys[0]; i++) {
		struct conf_node *node = conf_node_get(item, keys[i]);

		if (conf_node_good(node))
			conf_say_key(r, node, "with learn", "needs a file to learn into");
	}
}

/* One file, one table: those who share it mean the same. */
static void same_file_check(struct conf_reader *r, struct conf_node *item,
	const struct conf_check *check, const struct conf_check *first)
{
	const struct {
		const char *key;
		bool same;
	} fields[] = {{"rule", check->rule == first->rule},
		{"capacity", check->capacity == first->capacity},
		{"max_age", check->max_age_s == first->max_age_s},
		{"verify", check->verify_s == first->verify_s}};

	for (size_t i = 0; i < sizeof fields / sizeof fields[0]; i++) {
		struct conf_node *node = conf_node_get(item, fields[i].key);

		if (!fields[i].same)
			conf_say(r, CONF_ERROR, node ? node : item, node ? NULL : fields[i].key,
				"the same rule, capacity, max_age and verify, or another file",
				"differs from that of the check in line %u, which learns into the "
				"same file",
				first->line);
	}
}

static void learn_check(struct checks *x, const struct conf_check *check, struct conf_node *item)
{
	struct conf_node *learn = conf_node_get(item, "learn");
	const char *owner;

	if (!learn) {
		learn_keys_check(x->r, item);
		return;
	}
	if (conf_node_broken(item) || !check->learn)
		return;
	for (size_t i = 0; i < x->n_learning; i++)
		if (strcmp(x->learning[i]->learn, check->learn) == 0) {
			same_file_check(x->r, item, check, x->learning[i]);
			return;
		}
	if (x->n_learning == FILES_MAX) {
		conf_error(
			x->r, learn, "256 files at most", "more files are learned into than that");
		return;
	}
	owner = file_owner(x->r, check->learn);
	if (check->learn[strlen(check->learn) - 1] == '/')
		conf_error(x->r, learn, "a file", "is a folder");
	else if (owner)
		conf_error(x->r, learn, "a file of its own", "is the file of %s, too", owner);
	else
		x->learning[x->n_learning++] = check;
}

/* The group that is asked for what the rule takes, other than `but`; NULL: none is. */
static const char *asked_at(struct conf_reader *r, const struct conf_rule *rule, int but)
{
	const struct config *c = r->config;
	int group = -1;

	if (rule->answer == CONF_ANSWER_REAL)
		group = rule->upstream;
	else if (rule->answer == CONF_ANSWER_FAKE && rule->egress >= 0 &&
		 c->egresses[rule->egress].type == CONF_EGRESS_DIRECT)
		group = c->egresses[rule->egress].upstream;
	return group >= 0 && group != but ? c->upstreams[group].name : NULL;
}

static void item_check(
	struct checks *x, size_t owner, const struct conf_check *check, struct conf_node *item)
{
	struct conf_reader *r = x->r;
	const struct config *c = r->config;
	struct conf_node *rule = conf_node_get(item, "rule");
	const struct conf_rule *target;
	const char *asked;

	learn_check(x, check, item);
	if (!conf_node_good(rule))
		return;
	target = &c->rules[check->rule];
	if ((size_t)check->rule == owner)
		conf_error(r, rule, "another rule", "is the rule itself");
	else if (target->also)
		conf_error(r, rule, "a rule without also", "has also: yes and decides nothing");
	else if (target->n_to > 0)
		conf_warning(r, rule,
			"has the condition to, which no query meets: the check holds for none");
	else if (!conf_node_broken(conf_item_node(r, "rules", (size_t)check->rule))) {
		asked = asked_at(r, target, c->rules[owner].upstream);
		if (asked)
			conf_say(r, CONF_NOTE, rule, NULL, NULL,
				"names that the check holds for are asked at %s, too",
				conf_quote(r, asked));
	}
}

void conf_checks_check(struct conf_reader *r)
{
	const struct config *c = r->config;
	struct conf_node *node = conf_node_at(conf_node_get(r->root, "rules"), 0);
	struct checks x = {.r = r};

	for (size_t i = 0; i < c->n_rules && node; i++, node = node->next) {
		const struct conf_rule *rule = &c->rules[i];
		struct conf_node *check = conf_node_get(node, "check");

		if (!conf_node_good(check) || rule->also || rule->answer != CONF_ANSWER_REAL)
			continue;
		for (size_t j = 0; j < rule->n_checks; j++) {
			struct conf_node *item = conf_value_node(check, j);

			if (conf_node_good(item))
				item_check(&x, i, &rule->checks[j], item);
		}
	}
}
