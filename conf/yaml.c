/* YAML text to a tree of nodes, by libyaml's events. YAML's own extras (anchors, aliases, tags,
 * several documents) are refused: they make it hard to say where a value comes from. */
#include "conf/conf_internal.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <yaml.h>

struct yaml_reader {
	yaml_parser_t parser;
	struct conf_reader *conf;
	const char *text;
	size_t len, nodes;
};

static int node_build(
	struct yaml_reader *y, const yaml_event_t *event, struct conf_node *node, unsigned depth);

struct conf_node *conf_node_get(const struct conf_node *node, const char *key)
{
	if (!node || node->kind != CONF_NODE_MAP)
		return NULL;
	for (struct conf_node *c = node->first; c; c = c->next)
		if (strcmp(c->key, key) == 0)
			return c;
	return NULL;
}

struct conf_node *conf_node_at(const struct conf_node *node, size_t index)
{
	struct conf_node *c = node ? node->first : NULL;

	while (c && index--)
		c = c->next;
	return c;
}

bool conf_node_good(const struct conf_node *node)
{
	return node && !node->bad && !node->null;
}

bool conf_node_broken(const struct conf_node *node)
{
	if (!node)
		return false;
	if (node->bad)
		return true;
	for (const struct conf_node *c = node->first; c; c = c->next)
		if (conf_node_broken(c))
			return true;
	return false;
}

const char *conf_node_kind_text(const struct conf_node *node)
{
	switch (node->kind) {
	case CONF_NODE_LIST:
		return "a list";
	case CONF_NODE_MAP:
		return "a map";
	default:
		return node->null ? "nothing" : "a single value";
	}
}

static unsigned place(size_t from_zero)
{
	return from_zero < 0x7fffffff ? (unsigned)from_zero + 1 : 0x7fffffff;
}

static void syntax_error(struct yaml_reader *y)
{
	const yaml_parser_t *p = &y->parser;
	size_t line = p->problem_mark.line, column = p->problem_mark.column;

	if (p->error == YAML_MEMORY_ERROR) {
		conf_say_at(y->conf, 1, 1, "file", "there is not enough memory to read it");
		return;
	}
	/* The byte reader knows only an offset. */
	if (p->error == YAML_READER_ERROR) {
		line = column = 0;
		for (size_t i = 0; i < p->problem_offset && i < y->len; i++) {
			column = y->text[i] == '\n' ? 0 : column + 1;
			line += y->text[i] == '\n';
		}
	}
	conf_say_at(y->conf, place(line), place(column), "yaml", "%s%s%s",
		p->problem ? p->problem : "cannot be read", p->context ? " " : "",
		p->context ? p->context : "");
}

static int event_next(struct yaml_reader *y, yaml_event_t *event)
{
	if (yaml_parser_parse(&y->parser, event))
		return 0;
	syntax_error(y);
	return -EINVAL;
}

/* "${NAME}" or "${NAME:-default}" at *from, which points behind the "${". */
static int variable_expand(struct conf_reader *r, struct conf_node *node, const char **from,
	const char *end, const char **ret, size_t *ret_len)
{
	const char *close = memchr(*from, '}', (size_t)(end - *from));
	const char *stop, *fallback = NULL, *value;
	char *name;

	if (!close) {
		conf_error(r, node, "${NAME}, ${NAME:-default}", "'${' without '}'");
		return -EINVAL;
	}
	stop = close;
	for (const char *p = *from; p + 1 < close; p++)
		if (p[0] == ':' && p[1] == '-') {
			stop = p;
			fallback = p + 2;
			break;
		}
	name = arena_strndup(r->scratch, *from, (size_t)(stop - *from));
	if (!name)
		return -ENOMEM;
	if (!name[0] || strspn(name, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz_"
				     "0123456789") != strlen(name)) {
		conf_error(r, node, "${NAME}, ${NAME:-default}",
			"%s is not the name of an environment variable", conf_quote(r, name));
		return -EINVAL;
	}
	value = getenv(name);
	if (!fallback && !value) {
		conf_error(r, node, NULL, "the environment variable %s is not set", name);
		return -EINVAL;
	}
	if (fallback && (!value || !value[0])) {
		*ret = fallback;
		*ret_len = (size_t)(close - fallback);
	} else {
		*ret = value;
		*ret_len = strlen(value);
	}
	*from = close + 1;
	return 0;
}

/* Replaces the variables of a scalar. What an environment variable brings is not looked at again.
 */
static void scalar_expand(
	struct conf_reader *r, struct conf_node *node, const char *text, size_t len)
{
	const char *end = text + len, *p = text;
	char *out = arena_strndup(r->scratch, "", 0);
	unsigned variables = 0;
	size_t n = 0;

	while (out && p < end) {
		const char *dollar = memmem(p, (size_t)(end - p), "${", 2);
		const char *value = "";
		size_t plain = (size_t)((dollar ? dollar : end) - p), value_len = 0;
		char *longer;
		const char *rest = dollar ? dollar + 2 : end;

		if (dollar && ++variables > CONF_VARIABLES_MAX) {
			conf_error(r, node, NULL, "more than %d variables in one value",
				CONF_VARIABLES_MAX);
			return;
		}
		if (dollar && variable_expand(r, node, &rest, end, &value, &value_len))
			return;
		if (variables && value_len > CONF_VARIABLE_BYTES_MAX) {
			conf_error(
				r, node, NULL, "the value of an environment variable is too long");
			return;
		}
		longer = arena_alloc(r->scratch, n + plain + value_len + 1);
		if (!longer)
			return;
		memcpy(longer, out, n);
		memcpy(longer + n, p, plain);
		memcpy(longer + n + plain, value, value_len);
		n += plain + value_len;
		out = longer;
		p = rest;
	}
	node->text = out;
}

static bool is_null(const yaml_event_t *event)
{
	static const char *const words[] = {"", "~", "null", "Null", "NULL"};

	if (event->data.scalar.style != YAML_PLAIN_SCALAR_STYLE)
		return false;
	for (size_t i = 0; i < sizeof words / sizeof words[0]; i++)
		if (strcmp((const char *)event->data.scalar.value, words[i]) == 0)
			return true;
	return false;
}

static void scalar_build(struct conf_reader *r, struct conf_node *node, const yaml_event_t *event)
{
	const char *text = (const char *)event->data.scalar.value;
	size_t len = event->data.scalar.length;

	node->text = arena_strndup(r->scratch, "", 0);
	node->null = is_null(event);
	node->plain = event->data.scalar.style == YAML_PLAIN_SCALAR_STYLE;
	if (memchr(text, 0, len))
		conf_error(r, node, NULL, "contains a NUL character");
	else
		scalar_expand(r, node, text, len);
	if (!node->text)
		node->bad = true;
}

/* A password that begins like one of YAML's extras is told without being shown. */
static bool secret_refuse(struct conf_reader *r, struct conf_node *node)
{
	if (!node->key || strcmp(node->key, "password") != 0)
		return false;
	conf_error(r, node, "the value between quotes",
		"begins with a character that YAML takes for itself");
	return true;
}

static void extras_refuse(struct conf_reader *r, struct conf_node *node, const yaml_char_t *anchor,
	const yaml_char_t *tag)
{
	if ((anchor || tag) && secret_refuse(r, node))
		return;
	if (anchor)
		conf_error(r, node, "the value itself", "YAML anchors (&%s) are not supported",
			(const char *)anchor);
	else if (tag)
		conf_error(r, node, "the value itself, between quotes if it begins with '!'",
			"YAML tags (%s) are not supported", conf_quote(r, (const char *)tag));
}

static struct conf_node *child_add(
	struct yaml_reader *y, struct conf_node *parent, const yaml_event_t *event)
{
	struct conf_node *node;

	if (++y->nodes > CONF_NODES_MAX) {
		conf_say_at(y->conf, place(event->start_mark.line), place(event->start_mark.column),
			"file", "has more than %d values", CONF_NODES_MAX);
		return NULL;
	}
	node = arena_alloc(y->conf->scratch, sizeof *node);
	if (!node)
		return NULL;
	node->parent = parent;
	node->index = parent ? parent->n : 0;
	return node;
}

static void child_link(struct conf_node *parent, struct conf_node *node)
{
	if (parent->last)
		parent->last->next = node;
	else
		parent->first = node;
	parent->last = node;
	parent->n++;
}

static int list_build(struct yaml_reader *y, struct conf_node *list, unsigned depth)
{
	for (;;) {
		yaml_event_t event;
		struct conf_node *node;
		int err = event_next(y, &event);

		if (err)
			return err;
		if (event.type == YAML_SEQUENCE_END_EVENT) {
			yaml_event_delete(&event);
			return 0;
		}
		node = child_add(y, list, &event);
		err = node ? node_build(y, &event, node, depth + 1) : -EINVAL;
		yaml_event_delete(&event);
		if (err)
			return err;
		child_link(list, node);
	}
}

/* The key of an entry. -EINVAL also for keys that are lists or maps: nothing sensible can follow.
 */
static int key_read(struct yaml_reader *y, const yaml_event_t *event, struct conf_node *node)
{
	struct conf_reader *r = y->conf;
	const char *text;

	node->line = node->key_line = place(event->start_mark.line);
	node->column = node->key_column = place(event->start_mark.column);
	if (event->type != YAML_SCALAR_EVENT) {
		conf_say_at(r, node->line, node->column, "yaml",
			"a key must be a plain word; allowed: KEY: value");
		return -EINVAL;
	}
	text = (const char *)event->data.scalar.value;
	node->key = arena_strdup(r->scratch, text);
	if (!node->key)
		return -ENOMEM;
	extras_refuse(r, node, event->data.scalar.anchor, event->data.scalar.tag);
	if (strlen(text) != event->data.scalar.length)
		conf_say_key(r, node, NULL, "the key contains a NUL character");
	return 0;
}

static int map_build(struct yaml_reader *y, struct conf_node *map, unsigned depth)
{
	for (;;) {
		yaml_event_t event;
		struct conf_node *node, *before;
		int err = event_next(y, &event);

		if (err)
			return err;
		if (event.type == YAML_MAPPING_END_EVENT) {
			yaml_event_delete(&event);
			return 0;
		}
		node = child_add(y, map, &event);
		err = node ? key_read(y, &event, node) : -EINVAL;
		yaml_event_delete(&event);
		if (err || (err = event_next(y, &event)))
			return err;
		err = node_build(y, &event, node, depth + 1);
		yaml_event_delete(&event);
		if (err)
			return err;
		before = conf_node_get(map, node->key);
		if (before) {
			conf_say_key(y->conf, node, NULL, "is there twice, first in line %u",
				before->key_line);
			continue;
		}
		if (map->n >= CONF_KEYS_MAX) {
			conf_say_key(
				y->conf, node, NULL, "more than %d keys in one map", CONF_KEYS_MAX);
			return -EINVAL;
		}
		child_link(map, node);
	}
}

static int node_build(
	struct yaml_reader *y, const yaml_event_t *event, struct conf_node *node, unsigned depth)
{
	node->line = place(event->start_mark.line);
	node->column = place(event->start_mark.column);
	if (depth > CONF_DEPTH_MAX) {
		conf_say_at(y->conf, node->line, node->column, "yaml",
			"nested more than %d levels deep", CONF_DEPTH_MAX);
		return -EINVAL;
	}
	switch (event->type) {
	case YAML_SCALAR_EVENT:
		node->kind = CONF_NODE_SCALAR;
		extras_refuse(y->conf, node, event->data.scalar.anchor, event->data.scalar.tag);
		scalar_build(y->conf, node, event);
		return 0;
	case YAML_SEQUENCE_START_EVENT:
		node->kind = CONF_NODE_LIST;
		extras_refuse(y->conf, node, event->data.sequence_start.anchor,
			event->data.sequence_start.tag);
		return list_build(y, node, depth);
	case YAML_MAPPING_START_EVENT:
		node->kind = CONF_NODE_MAP;
		extras_refuse(y->conf, node, event->data.mapping_start.anchor,
			event->data.mapping_start.tag);
		return map_build(y, node, depth);
	case YAML_ALIAS_EVENT:
		node->text = arena_strndup(y->conf->scratch, "", 0);
		if (!secret_refuse(y->conf, node))
			conf_error(y->conf, node, "the value itself",
				"YAML aliases (*%s) are not supported",
				(const char *)event->data.alias.anchor);
		return 0;
	default: /* libyaml sends nothing else here */
		return -EINVAL;
	}
}

static int document_build(struct yaml_reader *y, struct conf_node **ret)
{
	yaml_event_t event;
	struct conf_node *root;
	int err = event_next(y, &event);

	if (err)
		return err;
	root = child_add(y, NULL, &event);
	err = root ? node_build(y, &event, root, 0) : -EINVAL;
	yaml_event_delete(&event);
	if (!err)
		*ret = root;
	return err;
}

static int stream_build(struct yaml_reader *y, struct conf_node **ret)
{
	unsigned documents = 0;

	for (;;) {
		yaml_event_t event;
		yaml_event_type_t type;
		yaml_mark_t mark;
		int err = event_next(y, &event);

		if (err)
			return err;
		type = event.type;
		mark = event.start_mark;
		yaml_event_delete(&event);
		if (type == YAML_STREAM_END_EVENT)
			return 0;
		if (type != YAML_DOCUMENT_START_EVENT)
			continue;
		if (documents++) {
			conf_say_at(y->conf, place(mark.line), place(mark.column), "yaml",
				"a second document begins; allowed: one");
			return -EINVAL;
		}
		err = document_build(y, ret);
		if (err)
			return err;
	}
}

int conf_yaml_read(struct conf_reader *r, const char *text, size_t len, struct conf_node **ret)
{
	struct yaml_reader y = {.conf = r, .text = text, .len = len};
	struct conf_node *root = NULL;
	int err;

	if (!yaml_parser_initialize(&y.parser))
		return -ENOMEM;
	/* Without this the first bytes could turn the file into UTF-16. */
	yaml_parser_set_encoding(&y.parser, YAML_UTF8_ENCODING);
	yaml_parser_set_input_string(&y.parser, (const unsigned char *)text, len);
	err = stream_build(&y, &root);
	yaml_parser_delete(&y.parser);
	if (!err)
		*ret = root;
	return err;
}
