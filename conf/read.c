/* The tree of a YAML text to the configuration, by the option table. A section is read with its
 * node being NULL where it is not written, so that defaults come the same way as values. */
#include "conf/options.h"

#include <assert.h>
#include <errno.h>
#include <string.h>

enum { NAME_MAX_BYTES = 64, BELOW_MAX = 48 };

struct many { /* how every list in struct config lies in memory */
	void *v;
	size_t n;
};

static void section_read(struct conf_reader *r, const struct conf_option *section,
	struct conf_node *node, char *base);

int conf_wrong(struct conf_reader *r, const char *format, ...)
{
	va_list args;

	va_start(args, format);
	r->why = arena_vprintf(r->scratch, format, args);
	va_end(args);
	return -EINVAL;
}

static const char *option_allowed(struct conf_reader *r, const struct conf_option *o)
{
	const char *text = o->allowed ? o->allowed : o->type ? o->type->allowed : NULL;
	char *list, *space;

	if (!text || !o->type || !o->type->words || !strchr(text, ' '))
		return text;
	/* "a b c" becomes "a, b, c". */
	list = arena_strndup(r->scratch, "", 0);
	for (; list && (space = strchr(text, ' ')); text = space + 1)
		list = arena_printf(r->scratch, "%s%.*s, ", list, (int)(space - text), text);
	return list ? arena_printf(r->scratch, "%s%s", list, text) : NULL;
}

static void value_read(
	struct conf_reader *r, const struct conf_option *o, struct conf_node *node, void *ret)
{
	if (node->bad)
		return;
	if (o->type->map ? node->kind != CONF_NODE_MAP
			 : node->kind != CONF_NODE_SCALAR || node->null) {
		conf_error(r, node, option_allowed(r, o), "is %s", conf_node_kind_text(node));
		return;
	}
	r->why = r->allowed = NULL;
	if (o->type->read(r, o, node, node->text, ret) == 0)
		return;
	conf_error(r, node, r->allowed ? r->allowed : option_allowed(r, o), "%s",
		r->why ? r->why : "cannot be read");
}

static void one_read(
	struct conf_reader *r, const struct conf_option *o, struct conf_node *node, char *base)
{
	uint64_t unused[8];
	void *ret = o->discard ? (void *)unused : base + o->offset;

	assert(o->type->size_bytes <= sizeof unused);
	if (o->type->unset && !o->discard)
		memcpy(ret, o->type->unset, o->type->size_bytes);
	if (o->fallback) {
		int err = o->type->read(r, o, NULL, o->fallback, ret);

		/* A default fails only for want of memory, which the arena remembers. */
		assert(!err || arena_failed(r->arena) || arena_failed(r->scratch));
		(void)err;
	}
	if (node)
		value_read(r, o, node, ret);
}

static void many_read(
	struct conf_reader *r, const struct conf_option *o, struct conf_node *node, char *base)
{
	struct many many;
	struct conf_node *child;
	size_t n, size = o->type->size_bytes;
	char *v;

	if (!node || node->bad)
		return;
	n = node->kind == CONF_NODE_LIST ? node->n : node->null ? 0 : 1;
	if (node->kind == CONF_NODE_MAP && !o->type->map) {
		value_read(r, o, node, NULL);
		return;
	}
	if (n == 0) {
		if (o->required)
			conf_error(r, node, option_allowed(r, o), "is empty");
		return;
	}
	if (o->items_max && n > o->items_max) {
		conf_error(r, node, NULL, "has more than %zu entries", o->items_max);
		return;
	}
	memcpy(&many, base + o->offset, sizeof many);
	v = arena_alloc(r->arena, (many.n + n) * size);
	if (!v)
		return;
	if (many.n)
		memcpy(v, many.v, many.n * size);
	child = node->kind == CONF_NODE_LIST ? node->first : node;
	for (size_t i = 0; i < n; i++, child = child->next)
		value_read(r, o, child, v + (many.n + i) * size);
	many.v = v;
	many.n += n;
	memcpy(base + o->offset, &many, sizeof many);
}

static bool is_empty(const struct conf_node *node)
{
	return node->null || (node->kind == CONF_NODE_LIST && node->n == 0);
}

/* All values into one place. An empty list would be the same as none, unless there is a default. */
static void fold_read(
	struct conf_reader *r, const struct conf_option *o, struct conf_node *node, char *base)
{
	void *ret = base + o->offset;

	if (!node) {
		char *words = o->fallback ? arena_strdup(r->scratch, o->fallback) : NULL, *rest;

		for (char *w = words ? strtok_r(words, " ", &rest) : NULL; w;
			w = strtok_r(NULL, " ", &rest))
			o->type->read(r, o, NULL, w, ret);
		return;
	}
	if (node->bad || (node->null && !o->fallback && !o->required))
		return;
	if (is_empty(node) && (o->required || !node->null)) {
		if (o->required || o->fallback)
			conf_error(r, node, option_allowed(r, o), "is empty");
		return;
	}
	if (node->kind != CONF_NODE_LIST) {
		value_read(r, o, node, ret);
		return;
	}
	if (o->items_max && node->n > o->items_max)
		conf_error(r, node, NULL, "has more than %zu entries", o->items_max);
	else
		for (struct conf_node *c = node->first; c; c = c->next)
			value_read(r, o, c, ret);
}

static bool is_name(const char *text)
{
	size_t n = strlen(text);

	return n > 0 && n <= NAME_MAX_BYTES &&
	       strspn(text, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_.-") ==
		       n;
}

static void option_read(
	struct conf_reader *r, const struct conf_option *o, struct conf_node *node, char *base);

/* The names of a section's items, all before the first item is read: items refer to one another. */
static void names_read(
	struct conf_reader *r, const struct conf_option *o, struct conf_node *node, char *item)
{
	if (o->name_offset == CONF_NOWHERE)
		return;
	for (struct conf_node *c = node->first; c; c = c->next, item += o->item_bytes) {
		char *name = arena_strdup(r->arena, c->key);

		memcpy(item + o->name_offset, &name, sizeof name);
		if (!is_name(c->key))
			conf_say_key(r, c, "letters, digits, '_', '-', '.', at most 64",
				"is not a name");
	}
}

/* What may stand for the items of o instead of a list or a map of names. */
static bool is_alone(const struct conf_option *o, const struct conf_node *node)
{
	return o->single &&
	       (node->kind == CONF_NODE_MAP || (o->type && node->kind == CONF_NODE_SCALAR));
}

static bool items_fit(struct conf_reader *r, const struct conf_option *o, struct conf_node *node)
{
	enum conf_node_kind kind = o->shape == CONF_NAMED ? CONF_NODE_MAP : CONF_NODE_LIST;

	if (o->required && is_empty(node))
		conf_error(r, node, option_allowed(r, o), "is empty");
	if (node->bad || node->null)
		return false;
	if (node->kind != kind && !is_alone(o, node)) {
		conf_error(r, node,
			kind == CONF_NODE_MAP ? "a map of names"
			: o->single	      ? "a map, a list of maps"
					      : "a list of maps",
			"is %s", conf_node_kind_text(node));
		return false;
	}
	if (node->kind == kind && node->n > o->items_max) {
		conf_error(r, node, NULL, "has more than %zu entries", o->items_max);
		return false;
	}
	return true;
}

static void item_read(
	struct conf_reader *r, const struct conf_option *o, struct conf_node *node, char *item)
{
	const struct conf_option *item_option = conf_option_item(o);

	if (o->place_offset != CONF_NOWHERE)
		memcpy(item + o->place_offset, &(unsigned[2]){node->line, node->column},
			2 * sizeof(unsigned));
	if (!o->type || node->kind == CONF_NODE_MAP) {
		option_read(r, item_option, node, item);
		return;
	}
	section_read(r, item_option, NULL, item); /* the defaults */
	value_read(r, o, node, item);
}

/* Makes the items of a list or a map of names, and reads no more of them than their names. Made
 * ones are left alone, or others appended to them. */
static void items_make(
	struct conf_reader *r, const struct conf_option *o, struct conf_node *node, char *base)
{
	struct many many;
	size_t old, n;
	char *v;

	memcpy(&many, base + o->offset, sizeof many);
	old = many.n;
	if ((old && !o->append) || !node || node->bad || !items_fit(r, o, node))
		return;
	n = is_alone(o, node) ? 1 : node->n;
	v = arena_alloc(r->arena, (old + n) * o->item_bytes);
	if (!v)
		return;
	if (old)
		memcpy(v, many.v, old * o->item_bytes);
	many.v = v;
	many.n = old + n;
	memcpy(base + o->offset, &many, sizeof many);
	names_read(r, o, node, v + old * o->item_bytes);
}

static void items_read(
	struct conf_reader *r, const struct conf_option *o, struct conf_node *node, char *base)
{
	struct conf_node *c;
	struct many many;
	size_t first;
	char *item;

	memcpy(&many, base + o->offset, sizeof many);
	first = o->append ? many.n : 0;
	items_make(r, o, node, base);
	memcpy(&many, base + o->offset, sizeof many);
	if (!node || many.n == first)
		return;
	item = (char *)many.v + first * o->item_bytes;
	c = is_alone(o, node) ? node : node->first;
	for (size_t i = first; i < many.n; i++, c = c->next) {
		item_read(r, o, c, item);
		item += o->item_bytes;
	}
}

static size_t distance(const char *a, const char *b)
{
	size_t row[BELOW_MAX + 1], m = strlen(b);

	if (m > BELOW_MAX || strlen(a) > BELOW_MAX)
		return BELOW_MAX;
	for (size_t j = 0; j <= m; j++)
		row[j] = j;
	for (size_t i = 1; a[i - 1]; i++) {
		size_t diagonal = row[0];

		row[0] = i;
		for (size_t j = 1; j <= m; j++) {
			size_t best = diagonal + (a[i - 1] != b[j - 1]);

			if (row[j] + 1 < best)
				best = row[j] + 1;
			if (row[j - 1] + 1 < best)
				best = row[j - 1] + 1;
			diagonal = row[j];
			row[j] = best;
		}
	}
	return row[m];
}

/* The keys of a section, the most alike first. */
static const char *keys_near(
	struct conf_reader *r, const struct conf_option *section, const char *wrong)
{
	struct {
		const char *key;
		size_t distance;
	} near[BELOW_MAX], one;
	size_t n = 0;
	char *text;

	if (r->n_messages > CONF_MESSAGES_MAX)
		return NULL;
	text = arena_strndup(r->scratch, "", 0);
	for (size_t i = 0; i < conf_options_n && n < BELOW_MAX; i++) {
		size_t at = n;

		one.key = conf_option_below(&conf_options[i], section);
		if (!one.key)
			continue;
		one.distance = distance(wrong, one.key);
		for (; at > 0 && near[at - 1].distance > one.distance; at--)
			near[at] = near[at - 1];
		near[at] = one;
		n++;
	}
	for (size_t i = 0; text && i < n; i++)
		text = arena_printf(r->scratch, "%s%s%s", text, i ? ", " : "", near[i].key);
	return text;
}

static const struct conf_option *option_find(const struct conf_option *section, const char *key)
{
	for (size_t i = 0; i < conf_options_n; i++) {
		const char *below = conf_option_below(&conf_options[i], section);

		if (below && strcmp(below, key) == 0)
			return &conf_options[i];
	}
	return NULL;
}

/* node: the section's map, or NULL if nothing is written. */
static void section_read(struct conf_reader *r, const struct conf_option *section,
	struct conf_node *node, char *base)
{
	for (size_t i = 0; i < conf_options_n; i++) {
		const struct conf_option *o = &conf_options[i];
		const char *key = conf_option_below(o, section);
		struct conf_node *child = key ? conf_node_get(node, key) : NULL;

		if (!key)
			continue;
		if (!child && node && o->required)
			conf_say(r, CONF_ERROR, node, key, option_allowed(r, o), "is missing");
		option_read(r, o, child, base);
	}
	for (struct conf_node *c = node ? node->first : NULL; c; c = c->next)
		if (!option_find(section, c->key))
			conf_say_key(r, c, keys_near(r, section, c->key), "unknown key");
}

static void map_read(
	struct conf_reader *r, const struct conf_option *o, struct conf_node *node, char *base)
{
	struct conf_node *map = node;

	if (node && node->bad)
		map = NULL;
	else if (node && node->kind == CONF_NODE_SCALAR && node->null)
		map = o->type ? NULL : node; /* all of a section may be commented out */
	else if (node && node->kind != CONF_NODE_MAP) {
		if (!o->type)
			conf_error(r, node, keys_near(r, o, ""), "is %s instead of a map",
				conf_node_kind_text(node));
		map = NULL;
	}
	section_read(r, o, map, base);
	if (!node || !o->type || node->kind == CONF_NODE_MAP)
		return;
	if (o->shape == CONF_MAP_OR_MANY)
		many_read(r, o, node, base);
	else
		value_read(r, o, node, base + o->offset);
}

static void option_read(
	struct conf_reader *r, const struct conf_option *o, struct conf_node *node, char *base)
{
	switch (o->shape) {
	case CONF_MAP:
	case CONF_MAP_OR_MANY:
		map_read(r, o, node, base);
		break;
	case CONF_NAMED:
	case CONF_ITEMS:
		items_read(r, o, node, base);
		break;
	case CONF_ONE:
		one_read(r, o, node, base);
		break;
	case CONF_MANY:
		many_read(r, o, node, base);
		break;
	case CONF_FOLD:
		fold_read(r, o, node, base);
		break;
	}
}

/* The names of all sections, before what refers to them: two may refer to each other. */
static void sections_make(struct conf_reader *r, struct conf_node *root)
{
	for (size_t i = 0; i < conf_options_n; i++)
		if (conf_options[i].shape == CONF_NAMED &&
			conf_option_below(&conf_options[i], NULL))
			items_make(r, &conf_options[i], conf_node_get(root, conf_options[i].path),
				(char *)r->config);
}

void conf_tree_read(struct conf_reader *r)
{
	struct conf_node *root = r->root;

	if (root && root->kind != CONF_NODE_MAP) {
		if (!root->null && !root->bad)
			conf_error(r, root, keys_near(r, NULL, ""), "is %s instead of a map",
				conf_node_kind_text(root));
		root = NULL;
	}
	sections_make(r, root);
	section_read(r, NULL, root, (char *)r->config);
}
