/* The source form of a sing-box rule-set: JSON. What its rules mean: list_rules.h.
 *
 *   {"version": 1 to 5, "rules": [RULE..]}
 *   RULE  {"domain": V, "domain_suffix": V, "domain_keyword": V, "domain_regex": V, "ip_cidr": V,
 *          other conditions, "invert": true}
 *         {"type": "logical", "mode": "and" or "or", "rules": [RULE..], "invert": true}
 *   V     a value or an array of them; an empty array is no condition, and neither is false
 *
 * A domain is exact, a suffix takes the name along unless it begins with a dot. JSON is YAML in its
 * flow style, so libyaml gives it piece by piece, with lines. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <yaml.h>

#include "gateway/lists/list_rules.h"

#define VERSION_MAX 5
/* Of everything in one another: two for each rule, and what the values of others may be. */
#define NESTING_MAX (2 * LIST_RULES_DEPTH_MAX + 64)

struct singbox {
	struct list_reader *r;
	struct list_bytes *in;
	struct list_rules *rules;
	yaml_parser_t parser;
	yaml_event_t event;
	unsigned depth;
	int read_err; /* of in */
	bool has_version;
};

/* --- events --- */

static int bytes_give(void *arg, unsigned char *buf, size_t size, size_t *ret_size)
{
	struct singbox *s = arg;
	ssize_t n = list_bytes_read(s->in, buf, size);

	if (n < 0)
		s->read_err = (int)n;
	*ret_size = n < 0 ? 0 : (size_t)n;
	return n >= 0;
}

static unsigned event_line(const struct singbox *s)
{
	return (unsigned)s->event.start_mark.line + 1;
}

static int broken(struct singbox *s, const char *what)
{
	return list_broken(s->r, event_line(s), s->event.start_mark.column + 1, "%s", what);
}

static int parser_broken(struct singbox *s)
{
	const yaml_parser_t *p = &s->parser;
	bool at_problem = p->problem_mark.line > 0 || p->problem_mark.column > 0;
	const yaml_mark_t *mark = at_problem ? &p->problem_mark : &p->mark;

	if (s->read_err)
		return s->read_err;
	if (p->error == YAML_MEMORY_ERROR)
		return -ENOMEM;
	return list_broken(s->r, (unsigned)mark->line + 1, mark->column + 1, "not JSON: %s",
		p->problem ? p->problem : "it cannot be read");
}

/* The next event takes the place of the last one. */
static int event_next(struct singbox *s)
{
	yaml_event_delete(&s->event);
	memset(&s->event, 0, sizeof s->event);
	if (!yaml_parser_parse(&s->parser, &s->event))
		return parser_broken(s);
	list_rules_place(s->rules, event_line(s), s->event.start_mark.column + 1);
	if (s->event.type == YAML_ALIAS_EVENT)
		return broken(s, "not JSON: an alias");
	if (s->event.type == YAML_MAPPING_START_EVENT || s->event.type == YAML_SEQUENCE_START_EVENT)
		s->depth++;
	else if (s->event.type == YAML_MAPPING_END_EVENT ||
		 s->event.type == YAML_SEQUENCE_END_EVENT)
		s->depth--;
	if (s->depth > NESTING_MAX)
		return broken(s, "nested too deep");
	return 0;
}

static bool scalar_is(const struct singbox *s, const char *text)
{
	return s->event.type == YAML_SCALAR_EVENT && s->event.data.scalar.length == strlen(text) &&
	       memcmp(s->event.data.scalar.value, text, s->event.data.scalar.length) == 0;
}

/* Not one in quotes: true, false, null, a number. */
static bool literal_is(const struct singbox *s, const char *text)
{
	return scalar_is(s, text) && s->event.data.scalar.style == YAML_PLAIN_SCALAR_STYLE;
}

/* The event that has come, and all within it. */
static int value_skip(struct singbox *s)
{
	unsigned depth = 0;
	int err = 0;

	while (!err) {
		if (s->event.type == YAML_MAPPING_START_EVENT ||
			s->event.type == YAML_SEQUENCE_START_EVENT)
			depth++;
		else if (s->event.type != YAML_SCALAR_EVENT)
			depth--;
		if (depth == 0)
			break;
		err = event_next(s);
	}
	return err;
}

/* --- values --- */

static int prefix_add(struct singbox *s, const char *text, size_t len)
{
	struct ip_prefix prefix;

	if (list_prefix_parse(text, len, &prefix))
		return list_rules_add_bad(s->rules, "not an address or prefix");
	return list_rules_add_prefix(s->rules, &prefix, text, len);
}

/* One value of a condition. */
static int value_add(struct singbox *s, enum list_rule_value kind)
{
	const char *text;
	size_t len;

	if (kind == LIST_RULE_OTHER || s->event.type != YAML_SCALAR_EVENT) {
		int err = list_rules_add(s->rules, LIST_RULE_OTHER, NULL, 0);

		return err ? err : value_skip(s);
	}
	text = (const char *)s->event.data.scalar.value;
	len = s->event.data.scalar.length;
	if (len > LIST_LINE_MAX)
		return list_rules_add_bad(s->rules, "a value above 64 KiB");
	if (memchr(text, 0, len))
		return list_rules_add_bad(s->rules, "a value with a NUL byte");
	if (kind == LIST_RULE_PREFIX)
		return prefix_add(s, text, len);
	if (kind == LIST_RULE_SUFFIX && len > 1 && text[0] == '.')
		return list_rules_add(s->rules, LIST_RULE_BELOW, text + 1, len - 1);
	return list_rules_add(s->rules, kind, text, len);
}

/* A value or an array of them. */
static int values_add(struct singbox *s, enum list_rule_value kind)
{
	int err = 0;

	if (literal_is(s, "null") || literal_is(s, "false"))
		return 0;
	if (s->event.type != YAML_SEQUENCE_START_EVENT)
		return value_add(s, kind);
	while (!err) {
		err = event_next(s);
		if (!err && s->event.type == YAML_SEQUENCE_END_EVENT)
			break;
		if (!err)
			err = value_add(s, kind);
	}
	return err;
}

static enum list_rule_value key_value(const struct singbox *s)
{
	static const struct {
		const char *key;
		enum list_rule_value value;
	} known[] = {
		{"domain", LIST_RULE_EXACT},
		{"domain_suffix", LIST_RULE_SUFFIX},
		{"domain_keyword", LIST_RULE_KEYWORD},
		{"domain_regex", LIST_RULE_REGEXP},
		{"ip_cidr", LIST_RULE_PREFIX},
	};

	for (size_t i = 0; i < sizeof known / sizeof known[0]; i++)
		if (scalar_is(s, known[i].key))
			return known[i].value;
	return LIST_RULE_OTHER;
}

/* --- rules --- */

struct rule_state {
	bool logical, has_mode, is_and, has_rules, inverted, has_values;
};

static int rules_read(struct singbox *s);

static int type_read(struct singbox *s, struct rule_state *rule)
{
	rule->logical = scalar_is(s, "logical");
	if (rule->logical || scalar_is(s, "default") || scalar_is(s, ""))
		return 0;
	return broken(s, "rules.type: not a type of rule; allowed: default logical");
}

static int mode_read(struct singbox *s, struct rule_state *rule)
{
	rule->has_mode = true;
	rule->is_and = scalar_is(s, "and");
	if (rule->is_and || scalar_is(s, "or"))
		return 0;
	return broken(s, "rules.mode: not a mode; allowed: and or");
}

static int invert_read(struct singbox *s, struct rule_state *rule)
{
	rule->inverted = literal_is(s, "true");
	if (rule->inverted || literal_is(s, "false"))
		return 0;
	return broken(s, "rules.invert: not a boolean; allowed: true false");
}

/* A key of a rule has come: reads its value. */
static int member_read(struct singbox *s, struct rule_state *rule)
{
	enum {
		TYPE,
		MODE,
		INVERT,
		RULES,
		VALUE
	} member = scalar_is(s, "type")	    ? TYPE
		   : scalar_is(s, "mode")   ? MODE
		   : scalar_is(s, "invert") ? INVERT
		   : scalar_is(s, "rules")  ? RULES
					    : VALUE;
	enum list_rule_value kind = key_value(s);
	int err;

	if (s->event.type != YAML_SCALAR_EVENT)
		return broken(s, "not JSON: a key that is no string");
	err = event_next(s);
	if (err)
		return err;
	switch (member) {
	case TYPE:
		return type_read(s, rule);
	case MODE:
		return mode_read(s, rule);
	case INVERT:
		return invert_read(s, rule);
	case RULES:
		rule->has_rules = true;
		return rules_read(s);
	case VALUE:
		break;
	}
	rule->has_values = true;
	return values_add(s, kind);
}

/* What makes no rule in sing-box either. */
static const char *rule_fault(const struct rule_state *rule)
{
	if (rule->logical && !rule->has_mode)
		return "a logical rule without a mode";
	if (rule->logical ? !rule->has_rules : !rule->has_values)
		return "a rule without conditions";
	if (rule->logical ? rule->has_values : rule->has_rules || rule->has_mode)
		return "a rule that is half logical, half not";
	return NULL;
}

/* Is called by itself for the rules within, LIST_RULES_DEPTH_MAX times at most. */
static int rule_read(struct singbox *s)
{
	struct rule_state rule = {.logical = false};
	size_t line = event_line(s), column = s->event.start_mark.column + 1;
	const char *fault;
	int err;

	if (s->event.type != YAML_MAPPING_START_EVENT)
		return broken(s, "rules: not an object; allowed: an array of rules");
	err = list_rules_begin(s->rules);
	if (err == -E2BIG)
		return broken(s, LIST_RULES_TOO_MANY);
	while (!err) {
		err = event_next(s);
		if (!err && s->event.type == YAML_MAPPING_END_EVENT)
			break;
		if (!err)
			err = member_read(s, &rule);
	}
	if (err)
		return err;
	if (rule.logical)
		list_rules_logical(s->rules, rule.is_and);
	if (rule.inverted)
		list_rules_invert(s->rules);
	fault = rule_fault(&rule);
	list_rules_place(s->rules, line, column);
	if (fault)
		err = list_rules_add_bad(s->rules, fault);
	list_rules_end(s->rules);
	return err;
}

/* An array of rules, or one. */
static int rules_read(struct singbox *s)
{
	int err = 0;

	if (s->event.type != YAML_SEQUENCE_START_EVENT)
		return rule_read(s);
	while (!err) {
		err = event_next(s);
		if (!err && s->event.type == YAML_SEQUENCE_END_EVENT)
			break;
		if (!err)
			err = rule_read(s);
	}
	return err;
}

static int version_read(struct singbox *s)
{
	s->has_version = true;
	for (char version[2] = "1"; version[0] <= '0' + VERSION_MAX; version[0]++)
		if (literal_is(s, version))
			return 0;
	return broken(s, "version: not a version of a rule-set; allowed: 1 to 5");
}

/* A key of the file has come. */
static int top_read(struct singbox *s)
{
	bool is_version = scalar_is(s, "version"), is_rules = scalar_is(s, "rules");
	int err;

	if (!is_version && !is_rules)
		return broken(s, "not a rule-set of sing-box; allowed: version rules");
	err = event_next(s);
	if (err)
		return err;
	if (is_version)
		return version_read(s);
	if (s->event.type != YAML_SEQUENCE_START_EVENT)
		return broken(s, "rules: not an array; allowed: an array of rules");

	return rules_read(s);
}

static int file_read(struct singbox *s)
{
	int err = event_next(s); /* the stream */

	if (!err)
		err = event_next(s);
	if (!err && s->event.type == YAML_DOCUMENT_START_EVENT)
		err = event_next(s);
	if (err)
		return err;
	if (s->event.type != YAML_MAPPING_START_EVENT ||
		s->event.data.mapping_start.style != YAML_FLOW_MAPPING_STYLE)
		return broken(s, "not JSON: it does not begin with {");
	while (!err) {
		err = event_next(s);
		if (!err && s->event.type == YAML_MAPPING_END_EVENT)
			break;
		if (!err)
			err = top_read(s);
	}
	if (!err && !s->has_version)
		err = broken(s, "a rule-set without a version; allowed: 1 to 5");
	if (!err)
		err = event_next(s); /* the document's end */
	if (!err)
		err = event_next(s);
	if (!err && s->event.type != YAML_STREAM_END_EVENT)
		err = broken(s, "not JSON: something behind its end");
	return err;
}

int list_singbox_pull(struct list_reader *r, struct list_bytes *in)
{
	struct singbox *s = calloc(1, sizeof *s);
	int err = -ENOMEM;

	if (!s)
		return err;
	s->r = r;
	s->in = in;
	if (!yaml_parser_initialize(&s->parser))
		goto out;
	yaml_parser_set_input(&s->parser, bytes_give, s);
	err = list_rules_new(&s->rules);
	if (!err)
		err = file_read(s);
	if (!err)
		err = list_rules_emit(s->rules, r);
	list_rules_free(s->rules);
	yaml_event_delete(&s->event);
	yaml_parser_delete(&s->parser);
out:
	free(s);
	return err;
}
