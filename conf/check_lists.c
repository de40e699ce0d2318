/* What must hold of the files of lists, and lists that nobody uses. */
#include "conf/check.h"

#include "conf/list_path.h"

static void file_check(
	struct conf_reader *r, const struct conf_list_file *file, struct conf_node *node)
{
	struct conf_node *tag = conf_node_get(node, "tag");
	const char *why;

	if (!conf_node_broken(node) &&
		conf_list_tag_check(file->format, file->tag, file->attribute, &why))
		conf_error(r, tag ? tag : node,
			file->tag || file->attribute ? "no tag"
						     : "PATH:TAG, {path: PATH, tag: TAG}",
			"%s", why);
}

static void use(bool *used, const int *lists, size_t n)
{
	for (size_t i = 0; i < n; i++)
		if (lists[i] >= 0)
			used[lists[i]] = true;
}

static void unused_check(struct conf_reader *r)
{
	const struct config *c = r->config;
	struct conf_node *node = conf_node_at(conf_node_get(r->root, "lists"), 0);
	bool *used = arena_array(r->scratch, c->n_lists + 1, sizeof *used);

	/* A name that is mistyped there is told there. */
	if (!used || conf_node_broken(conf_node_get(r->root, "rules")) ||
		conf_node_broken(conf_node_get(r->root, "upstreams")) ||
		conf_node_broken(conf_node_get(r->root, "fakeip")))
		return;
	use(used, c->fakeip.except, c->fakeip.n_except);
	for (size_t i = 0; i < c->n_upstreams; i++)
		use(used, c->upstreams[i].lists, c->upstreams[i].n_lists);
	for (size_t i = 0; i < c->n_rules; i++) {
		const struct conf_rule *rule = &c->rules[i];

		use(used, rule->lists, rule->n_lists);
		use(used, rule->except_lists, rule->n_except_lists);
		use(used, rule->to, rule->n_to);
		for (size_t j = 0; j < rule->n_unless; j++)
			use(used, rule->unless[j].lists, rule->unless[j].n_lists);
		for (size_t j = 0; j < rule->n_checks; j++)
			use(used, rule->checks[j].lists, rule->checks[j].n_lists);
	}
	for (size_t i = 0; i < c->n_lists && node; i++, node = node->next)
		if (!used[i] && !conf_node_broken(node))
			conf_say(r, CONF_NOTE, node, NULL, NULL,
				"neither a rule, a group in upstreams nor fakeip.except names this "
				"list");
}

void conf_lists_check(struct conf_reader *r)
{
	const struct config *c = r->config;
	struct conf_node *node = conf_node_at(conf_node_get(r->root, "lists"), 0);

	for (size_t i = 0; i < c->n_lists && node; i++, node = node->next) {
		struct conf_node *file = node->kind == CONF_NODE_LIST ? node->first : node;

		for (size_t j = 0; j < c->lists[i].n_files && file; j++) {
			file_check(r, &c->lists[i].files[j], file);
			file = file->next;
		}
	}
	unused_check(r);
}
