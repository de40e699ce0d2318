/* What the files of this folder share: the tree of a YAML text, the messages about it, and the
 * reader that holds both. A reading goes yaml.c (text to tree) → read.c (tree to struct config, by
 * the table of options.c and the readers of value*.c) → check.c (what must hold between options).
 * Each step reports all it finds; messages are sorted and handed out when the last is done. A node
 * about which an error was reported is `bad` and left alone by later steps, so that one mistake is
 * told once. */
#ifndef TUNGATE_CONF_CONF_INTERNAL_H
#define TUNGATE_CONF_CONF_INTERNAL_H

#include "conf/conf.h"
#include "gateway/base/arena.h"

enum {
	CONF_FILE_BYTES_MAX = 4 << 20,
	CONF_DEPTH_MAX = 32,
	CONF_NODES_MAX = 200000,
	CONF_KEYS_MAX = 1000, /* of one map */
	CONF_RULES_MAX = 4096,
	CONF_MESSAGES_MAX = 1000,
	CONF_VARIABLES_MAX = 16, /* of one value */
	CONF_VARIABLE_BYTES_MAX = 65536,
};

enum conf_node_kind { CONF_NODE_SCALAR, CONF_NODE_LIST, CONF_NODE_MAP };

struct conf_node {
	enum conf_node_kind kind;
	unsigned line, column; /* from 1 */
	char *text;	       /* scalar: the value, variables replaced */
	bool null;	       /* scalar: nothing, ~ or null was written */
	bool plain;	       /* scalar: written without quotes */
	bool bad;
	char *key; /* in a map: its name there */
	unsigned key_line, key_column;
	size_t index; /* in a list: its place there */
	struct conf_node *parent, *next, *first, *last;
	size_t n; /* children */
};

struct conf_message {
	unsigned line, column, order;
	enum conf_severity severity;
	char *text;
};

struct conf_reader {
	struct arena *scratch; /* nodes and messages */
	struct arena *arena;   /* what the configuration keeps */
	struct config *config;
	const char *path;
	const char *folder; /* of path, absolute */
	struct conf_node *root;
	struct conf_message *messages;
	unsigned n_messages, n_errors;
	const char *why,
		*allowed; /* left by a value reader that failed; allowed NULL: see the option */
};

/* Reports about node, or about `sub`, a key that node has not. allowed may be NULL. An error makes
 * the node bad. */
void conf_say(struct conf_reader *r, enum conf_severity severity, struct conf_node *node,
	const char *sub, const char *allowed, const char *format, ...)
	__attribute__((format(printf, 6, 7)));
/* The same at the node's key. */
void conf_say_key(struct conf_reader *r, struct conf_node *node, const char *allowed,
	const char *format, ...) __attribute__((format(printf, 4, 5)));
/* Reports at a place that has no node. */
void conf_say_at(struct conf_reader *r, unsigned line, unsigned column, const char *key,
	const char *format, ...) __attribute__((format(printf, 5, 6)));
#define conf_error(r, node, allowed, ...) conf_say(r, CONF_ERROR, node, NULL, allowed, __VA_ARGS__)
#define conf_warning(r, node, ...)	  conf_say(r, CONF_WARNING, node, NULL, NULL, __VA_ARGS__)
/* Hands out all messages in the order of their places. */
void conf_messages_report(struct conf_reader *r, conf_report *report, void *arg);

/* text between apostrophes, fit for a line of a message. */
const char *conf_quote(struct conf_reader *r, const char *text);

/* The tree of text; NULL for an empty one. -EINVAL: cannot be read on, told. */
int conf_yaml_read(struct conf_reader *r, const char *text, size_t len, struct conf_node **ret);
/* The child of that name, NULL if there is none or node is no map (or NULL). */
struct conf_node *conf_node_get(const struct conf_node *node, const char *key);
struct conf_node *conf_node_at(const struct conf_node *node, size_t index);
/* There, and nothing wrong was found about it. */
bool conf_node_good(const struct conf_node *node);
/* Something was found wrong in it or below. NULL is fine. */
bool conf_node_broken(const struct conf_node *node);
const char *conf_node_kind_text(const struct conf_node *node);

void conf_tree_read(struct conf_reader *r);
void conf_check(struct conf_reader *r);

#endif
