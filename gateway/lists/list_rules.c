/* What the rules of a rule-set mean for a list. */
#include "gateway/lists/list_rules.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "gateway/base/grow.h"

#define TOP 0 /* the file: the `or` of its rules */

enum use { UNUSED, USED_NAMES, USED };

struct rule {
	uint32_t parent, child, next; /* 0: none; the first rule below it, the next beside it */
	uint32_t last;		      /* below it */
	uint32_t n_values, n_other, n_prefixes;
	bool logical, is_and, inverted;
	enum use use;
	enum list_part part;
};

/* In front of each value's bytes; a prefix is the first of them. */
struct value {
	uint32_t rule, line, column;
	uint32_t len : 24;
	uint32_t kind : 8; /* enum list_rule_value */
};

struct list_rules {
	struct rule *rules;
	size_t n_rules, rules_room;
	uint32_t open, line, column;
	unsigned depth;
	char *values;
	size_t values_size, values_room;
};

int list_rules_new(struct list_rules **ret)
{
	struct list_rules *s = calloc(1, sizeof *s);
	int err = -ENOMEM;

	if (s)
		err = room_grow((void **)&s->rules, &s->rules_room, 0, 1, sizeof s->rules[0]);
	if (err) {
		free(s);
		return err;
	}
	s->rules[TOP] = (struct rule){.logical = true};
	s->n_rules = 1;
	*ret = s;
	return 0;
}

void list_rules_free(struct list_rules *s)
{
	if (!s)
		return;
	free(s->rules);
	free(s->values);
	free(s);
}

/* --- reading --- */

int list_rules_begin(struct list_rules *s)
{
	uint32_t index = (uint32_t)s->n_rules;
	struct rule *parent;
	int err;

	if (s->n_rules > LIST_RULES_MAX || s->depth == LIST_RULES_DEPTH_MAX)
		return -E2BIG;
	err = room_grow((void **)&s->rules, &s->rules_room, s->n_rules, 1, sizeof s->rules[0]);
	if (err)
		return err;
	parent = &s->rules[s->open];
	if (parent->last)
		s->rules[parent->last].next = index;
	else
		parent->child = index;
	parent->last = index;
	s->rules[s->n_rules++] = (struct rule){.parent = s->open};
	s->open = index;
	s->depth++;
	return 0;
}

void list_rules_logical(struct list_rules *s, bool is_and)
{
	s->rules[s->open].logical = true;
	s->rules[s->open].is_and = is_and;
}

void list_rules_invert(struct list_rules *s)
{
	s->rules[s->open].inverted = true;
}

void list_rules_end(struct list_rules *s)
{
	s->open = s->rules[s->open].parent;
	s->depth--;
}

void list_rules_place(struct list_rules *s, size_t line, size_t column)
{
	s->line = (uint32_t)line;
	s->column = (uint32_t)column;
}

static void *value_new(struct list_rules *s, enum list_rule_value kind, size_t len, int *ret_err)
{
	struct rule *rule = &s->rules[s->open];
	struct value value = {
		.rule = s->open, .line = s->line, .column = s->column, .kind = (uint8_t)kind};
	size_t size = sizeof value + len;
	char *at;

	*ret_err = -EFBIG;
	if (len > LIST_LINE_MAX + sizeof(struct ip_prefix) ||
		s->values_size + size > LIST_MEMORY_MAX)
		return NULL;
	value.len = len & 0xffffff;
	*ret_err = room_grow((void **)&s->values, &s->values_room, s->values_size, size, 1);
	if (*ret_err)
		return NULL;
	at = s->values + s->values_size;
	memcpy(at, &value, sizeof value);
	s->values_size += size;
	rule->n_values++;
	rule->n_other += kind == LIST_RULE_OTHER;
	rule->n_prefixes += kind == LIST_RULE_PREFIX;
	return at + sizeof value;
}

int list_rules_add(struct list_rules *s, enum list_rule_value kind, const char *text, size_t len)
{
	int err;
	char *to = value_new(s, kind, len, &err);

	if (to && len > 0)
		memcpy(to, text, len);
	return err;
}

int list_rules_add_prefix(
	struct list_rules *s, const struct ip_prefix *prefix, const char *text, size_t len)
{
	int err;
	char *to = value_new(s, LIST_RULE_PREFIX, sizeof *prefix + len, &err);

	if (!to)
		return err;
	memcpy(to, prefix, sizeof *prefix);
	if (len > 0)
		memcpy(to + sizeof *prefix, text, len);
	return 0;
}

int list_rules_add_bad(struct list_rules *s, const char *why)
{
	return list_rules_add(s, LIST_RULE_BAD, why, strlen(why) + 1);
}

/* --- meaning --- */

/* The rule itself, or what it is by another name: a logical one with one rule in it. */
static struct rule *rule_bare(struct list_rules *s, uint32_t index)
{
	struct rule *rule = &s->rules[index];

	while (rule->logical && !rule->inverted && !rule->n_values && rule->child &&
		!s->rules[rule->child].next)
		rule = &s->rules[rule->child];
	return rule;
}

/* Names alone, joined by `or`, all of which can be told; without a look at its own inversion. */
static bool is_names(struct list_rules *s, const struct rule *rule)
{
	if (!rule->logical)
		return rule->n_values > 0 && !rule->n_other && !rule->n_prefixes;
	if (rule->is_and || rule->n_values || !rule->child)
		return false;
	for (uint32_t i = rule->child; i; i = s->rules[i].next) {
		const struct rule *child = rule_bare(s, i);

		if (child->inverted || !is_names(s, child))
			return false;
	}
	return true;
}

static bool is_of_use(struct list_rules *s, const struct rule *rule);

/* An `and` of inverted rules that hold names alone, at least one, and of one other of which
 * something can be told, which is returned; NULL: it is none. */
static struct rule *difference_of(struct list_rules *s, const struct rule *rule)
{
	struct rule *from = NULL;
	unsigned n = 0;

	if (!rule->logical || !rule->is_and || rule->inverted || rule->n_values)
		return NULL;
	for (uint32_t i = rule->child; i; i = s->rules[i].next, n++) {
		struct rule *child = rule_bare(s, i);

		if (child->inverted && is_names(s, child))
			continue;
		if (child->inverted || from)
			return NULL;
		from = child;
	}
	return n > 1 && from && is_of_use(s, from) ? from : NULL;
}

static bool is_of_use(struct list_rules *s, const struct rule *rule)
{
	if (!rule->logical)
		return rule->n_values > 0 && !rule->n_other && !rule->child;
	if (rule->n_values)
		return false;
	if (rule->is_and)
		return difference_of(s, rule) != NULL;
	for (uint32_t i = rule->child; i; i = s->rules[i].next) {
		const struct rule *child = rule_bare(s, i);

		if (!child->inverted && is_of_use(s, child))
			return true;
	}
	return false;
}

static void rule_use(struct list_rules *s, struct rule *rule, enum list_part part, enum use use)
{
	if (!rule->logical) {
		rule->use = rule->n_other || rule->child ? UNUSED : use;
		rule->part = part;
		return;
	}
	if (rule->is_and || rule->n_values)
		return;
	for (uint32_t i = rule->child; i; i = s->rules[i].next) {
		struct rule *child = rule_bare(s, i);

		if (!child->inverted)
			rule_use(s, child, part, use);
	}
}

static void exceptions_use(struct list_rules *s, const struct rule *difference, enum list_part part)
{
	for (uint32_t i = difference->child; i; i = s->rules[i].next) {
		struct rule *child = rule_bare(s, i);

		if (child->inverted)
			rule_use(s, child, part, USED);
	}
}

/* A difference with exceptions of the first kind. */
static bool difference_use(struct list_rules *s, const struct rule *rule)
{
	struct rule *from = difference_of(s, rule);

	if (!from)
		return false;
	exceptions_use(s, rule, LIST_EXCEPT);
	rule_use(s, from, LIST_HOLDS, USED_NAMES);
	return true;
}

/* The one difference in an `or`; NULL: there is none, or more than one. */
static struct rule *difference_in(struct list_rules *s, const struct rule *rule)
{
	struct rule *found = NULL;

	if (!rule->logical || rule->is_and || rule->inverted || rule->n_values)
		return NULL;
	for (uint32_t i = rule->child; i; i = s->rules[i].next) {
		struct rule *child = rule_bare(s, i);

		if (!difference_of(s, child))
			continue;
		if (found)
			return NULL;
		found = child;
	}
	return found;
}

/* A difference, or an `or` with one in it, or without any. */
static void whole_use(struct list_rules *s, struct rule *rule, enum use use)
{
	const struct rule *difference;

	if (rule->inverted || difference_use(s, rule))
		return;
	difference = difference_in(s, rule);
	rule_use(s, rule, difference ? LIST_HOLDS_IMPORTANT : LIST_HOLDS, use);
	if (difference)
		(void)difference_use(s, difference);
}

static void rules_plan(struct list_rules *s)
{
	struct rule *top = rule_bare(s, TOP), *from = difference_of(s, top);

	if (!from || !(difference_of(s, from) || difference_in(s, from))) {
		whole_use(s, top, USED);
		return;
	}
	exceptions_use(s, top, LIST_EXCEPT_IMPORTANT);
	whole_use(s, from, USED_NAMES);
}

/* --- telling --- */

static int value_emit(
	struct list_reader *r, const struct rule *rule, const struct value *value, const char *text)
{
	struct ip_prefix prefix;

	if (value->kind == LIST_RULE_BAD) {
		list_bad(r, 1, text);
		return 0;
	}
	if (rule->use == UNUSED || value->kind == LIST_RULE_OTHER ||
		(rule->use == USED_NAMES && value->kind == LIST_RULE_PREFIX)) {
		list_unused(r);
		return 0;
	}
	switch ((enum list_rule_value)value->kind) {
	case LIST_RULE_EXACT:
		return list_emit_name(r, rule->part, MATCHER_EXACT, text, value->len);
	case LIST_RULE_SUFFIX:
		return list_emit_name(r, rule->part, MATCHER_SUFFIX, text, value->len);
	case LIST_RULE_BELOW:
		return list_emit_name(r, rule->part, MATCHER_BELOW, text, value->len);
	case LIST_RULE_KEYWORD:
		return list_emit_keyword(r, rule->part, text, value->len);
	case LIST_RULE_REGEXP:
		return list_emit_regexp(r, rule->part, text, value->len);
	case LIST_RULE_PREFIX:
		memcpy(&prefix, text, sizeof prefix);
		return list_emit_prefix(r, &prefix);
	case LIST_RULE_OTHER:
	case LIST_RULE_BAD:
		break;
	}
	return 0;
}

/* What stands in the file, for those that have lines; of a prefix it is kept behind its value. */
static void place_set(struct list_reader *r, const struct value *value, const char *text)
{
	size_t skip = value->kind == LIST_RULE_PREFIX ? sizeof(struct ip_prefix) : 0;
	bool has_text = value->line > 0 && value->kind != LIST_RULE_BAD;

	r->line = value->line;
	r->text = has_text ? text + skip : NULL;
	r->text_len = has_text ? value->len - skip : 0;
	r->indent = value->column ? value->column - 1 : 0;
}

int list_rules_emit(struct list_rules *s, struct list_reader *r)
{
	int err = 0;

	rules_plan(s);
	for (size_t at = 0; at < s->values_size && !err;) {
		struct value value;
		const char *text = s->values + at + sizeof value;

		memcpy(&value, s->values + at, sizeof value);
		at += sizeof value + value.len;
		list_item_begin(r);
		place_set(r, &value, text);
		err = value_emit(r, &s->rules[value.rule], &value, text);
		list_item_end(r);
	}
	r->text = NULL;
	r->text_len = r->indent = 0;
	return err;
}
