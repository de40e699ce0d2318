/* Local records: a YAML map becomes the JSON text of one object, as it would stand in a file of
 * records. Scalars are texts, but for whole numbers, true and false that are written without
 * quotes; what is always a text (names, data in one string) stays one. What the values mean is seen
 * where records are made of them. */
#include "conf/options.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

enum { JSON_BYTES_MAX = 262144 }; /* of one record: hexadecimal data of 64 KB and then some */

struct json {
	struct conf_reader *r;
	char *text;
	size_t n, room;
	bool full;
};

static void json_write(struct json *j, const char *text, size_t n)
{
	if (n == 0)
		return;
	if (j->full || n > JSON_BYTES_MAX - j->n) {
		j->full = true;
		return;
	}
	if (j->n + n > j->room) {
		size_t room = 2 * (j->n + n) + 64;
		char *more = arena_alloc(j->r->scratch, room);

		if (!more) {
			j->full = true;
			return;
		}
		if (j->n)
			memcpy(more, j->text, j->n);
		j->text = more;
		j->room = room;
	}
	memcpy(j->text + j->n, text, n);
	j->n += n;
}

static void json_string(struct json *j, const char *text)
{
	json_write(j, "\"", 1);
	for (const char *p = text; *p; p++) {
		char escaped[8];

		if (*p == '"' || *p == '\\')
			json_write(j, "\\", 1);
		if ((unsigned char)*p >= 0x20) {
			json_write(j, p, 1);
			continue;
		}
		snprintf(escaped, sizeof escaped, "\\u%04x", (unsigned)*p);
		json_write(j, escaped, 6);
	}
	json_write(j, "\"", 1);
}

/* Whole numbers are all that records have. */
static bool is_number(const char *text)
{
	size_t n = strlen(text);

	return n > 0 && n <= 10 && strspn(text, "0123456789") == n && (n == 1 || text[0] != '0');
}

/* Values of these keys are texts whatever they look like: "hex: 10", "rdata: 12". */
static bool is_text_key(const struct conf_node *node)
{
	static const char *const keys[] = {"name", "rdata", "labels", "hex", "value", "tag", "ech"};
	const char *key = node->key ? node->key : node->parent ? node->parent->key : NULL;

	for (size_t i = 0; key && i < sizeof keys / sizeof keys[0]; i++)
		if (strcmp(key, keys[i]) == 0)
			return true;
	return false;
}

static void json_scalar(struct json *j, const struct conf_node *node)
{
	const char *text = node->text ? node->text : "";

	if (node->null)
		json_write(j, "null", 4);
	else if (node->plain && !is_text_key(node) &&
		 (is_number(text) || strcmp(text, "true") == 0 || strcmp(text, "false") == 0))
		json_write(j, text, strlen(text));
	else
		json_string(j, text);
}

/* As deep as the configuration is, which yaml.c bounds. */
static void json_node(struct json *j, const struct conf_node *node)
{
	bool map = node->kind == CONF_NODE_MAP;

	if (node->kind == CONF_NODE_SCALAR) {
		json_scalar(j, node);
		return;
	}
	json_write(j, map ? "{" : "[", 1);
	for (const struct conf_node *c = node->first; c && !j->full; c = c->next) {
		if (c != node->first)
			json_write(j, ", ", 2);
		if (map) {
			json_string(j, c->key);
			json_write(j, ": ", 2);
		}
		json_node(j, c);
	}
	json_write(j, map ? "}" : "]", 1);
}

#define KEYS	  "name, type, ttl, rdata, labels, status"
#define RULE_KEYS "type, ttl, rdata, status"

/* Those of a rule have the name that is asked, and the rule's clients. */
static bool keys_check(struct conf_reader *r, const struct conf_node *node, bool named)
{
	static const char *const keys[] = {"type", "ttl", "rdata", "status", "name", "labels"};
	bool good = true;

	for (struct conf_node *c = node->first; c; c = c->next) {
		size_t i = 0;

		while (i < sizeof keys / sizeof keys[0] && strcmp(c->key, keys[i]) != 0)
			i++;
		if (i == sizeof keys / sizeof keys[0])
			conf_say_key(r, c, named ? KEYS : RULE_KEYS, "unknown key");
		else if (i >= 4 && !named)
			conf_say_key(r, c, RULE_KEYS,
				i == 4 ? "a rule's records have the name that is asked"
				       : "a rule's records are for all clients of the rule");
		good &= !c->bad;
	}
	return good;
}

static int record_store(
	struct conf_reader *r, const struct conf_node *node, bool named, struct conf_record *ret)
{
	struct json j = {.r = r};

	if (conf_node_broken(node) || !keys_check(r, node, named))
		return 0; /* told already */
	if (named && !conf_node_get(node, "name"))
		return conf_wrong(r, "has no name");
	json_node(&j, node);
	if (j.full)
		return conf_wrong(r, "is larger than %d bytes", (int)JSON_BYTES_MAX);
	ret->json = arena_strndup(r->arena, j.text, j.n);
	ret->line = node->line;
	ret->column = node->column;
	return ret->json ? 0 : -ENOMEM;
}

static int record_read(struct conf_reader *r, const struct conf_option *o,
	const struct conf_node *node, const char *text, void *ret)
{
	(void)o, (void)text;
	return record_store(r, node, true, ret);
}

const struct conf_type conf_type_record = {
	"record", "{" KEYS "}", sizeof(struct conf_record), NULL, .read = record_read, .map = true};

static int rule_record_read(struct conf_reader *r, const struct conf_option *o,
	const struct conf_node *node, const char *text, void *ret)
{
	(void)o, (void)text;
	return record_store(r, node, false, ret);
}

const struct conf_type conf_type_rule_record = {"record", "{" RULE_KEYS "}",
	sizeof(struct conf_record), NULL, .read = rule_record_read, .map = true};
