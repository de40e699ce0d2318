/* Readers of single values that are domain names or patterns of them. */
#include "conf/options.h"

#include <errno.h>
#include <string.h>

#include "gateway/base/container.h"

enum { LABEL_MAX = 63 };

static char lower(char c)
{
	return c >= 'A' && c <= 'Z' ? (char)(c - 'A' + 'a') : c;
}

/* A character of text, which is a domain name or a part of one. */
static int character_check(struct conf_reader *r, const char *text, char c)
{
	static const char known[] =
		"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_/+.";

	if ((unsigned char)c >= 0x80)
		return conf_wrong(r, "%s is not in its ASCII form (xn--)", conf_quote(r, text));
	if (!c || !strchr(known, c))
		return conf_wrong(
			r, "%s has a character that no domain name has", conf_quote(r, text));
	return 0;
}

/* Lower case, no trailing dot, every label there and of the right length. */
int conf_domain_canonical(struct conf_reader *r, const char *text, char *out)
{
	size_t n = strlen(text), label = 0;

	if (n && text[n - 1] == '.')
		n--;
	if (n == 0 || n > CONF_DOMAIN_MAX)
		return conf_wrong(r, "%s is %s for a domain name", conf_quote(r, text),
			n ? "too long" : "too short");
	for (size_t i = 0; i <= n; i++) {
		char c = i < n ? text[i] : '.';

		if (c == '.' && (label == 0 || label > LABEL_MAX))
			return conf_wrong(
				r, "%s has a label of %zu characters", conf_quote(r, text), label);
		if (character_check(r, text, c))
			return -EINVAL;
		label = c == '.' ? 0 : label + 1;
		if (i < n)
			out[i] = lower(c);
	}
	out[n] = 0;
	return 0;
}

/* Any part of a name, dots included. */
static int keyword_canonical(struct conf_reader *r, const char *text, char *out)
{
	size_t n = strlen(text);

	if (n == 0 || n > CONF_DOMAIN_MAX)
		return conf_wrong(r, "%s is %s for a part of a domain name", conf_quote(r, text),
			n ? "too long" : "too short");
	for (size_t i = 0; i <= n; i++) {
		if (text[i] && character_check(r, text, text[i]))
			return -EINVAL;
		out[i] = lower(text[i]);
	}
	return 0;
}

/* What follows "regexp:"; whether it compiles is seen where it is used. */
static int regexp_check(struct conf_reader *r, const char *text)
{
	if (!text[0])
		return conf_wrong(r, "the expression is empty");
	if (strlen(text) > CONF_REGEXP_MAX)
		return conf_wrong(
			r, "the expression is longer than %d bytes", (int)CONF_REGEXP_MAX);
	return 0;
}

/* "x", "full:x", "keyword:x", "regexp:x" or "." into strings, a name being in lower case. */
static int pattern_add(struct conf_reader *r, const char *text, struct conf_strings *strings)
{
	const char *colon = strchr(text, ':');
	size_t prefix = colon ? (size_t)(colon - text) + 1 : 0;
	char out[sizeof "keyword:" + CONF_DOMAIN_MAX];
	int err;

	if (strcmp(text, ".") == 0)
		return conf_strings_add(r, strings, text);
	if (strncmp(text, "regexp:", 7) == 0) {
		err = regexp_check(r, text + 7);
		return err ? err : conf_strings_add(r, strings, text);
	}
	if (prefix && strncmp(text, "full:", 5) != 0 && strncmp(text, "keyword:", 8) != 0)
		return conf_wrong(r, "%s has an unknown prefix", conf_quote(r, text));
	if (strncmp(text + prefix, "+.", 2) == 0) /* as in lists for Clash */
		return conf_wrong(
			r, "%s begins with a label that no name has", conf_quote(r, text));
	memcpy(out, text, prefix);
	err = prefix == 8 ? keyword_canonical(r, text + prefix, out + prefix)
			  : conf_domain_canonical(r, text + prefix, out + prefix);
	return err ? err : conf_strings_add(r, strings, out);
}

#define PATTERNS                                                                                   \
	"NAME (it and all below), full:NAME, keyword:TEXT, regexp:EXPRESSION, '.' (every name)"

static int domain_read(struct conf_reader *r, const struct conf_option *o,
	const struct conf_node *node, const char *text, void *ret)
{
	struct conf_rule *rule = container_of(ret, struct conf_rule, domain);

	(void)o, (void)node;
	if (strcmp(text, "unqualified") != 0)
		return pattern_add(r, text, &rule->domain);
	rule->unqualified = true;
	return 0;
}

const struct conf_type conf_type_domain = {"domain",
	PATTERNS ", unqualified (a name without a dot)", sizeof(struct conf_strings), NULL,
	.read = domain_read};

/* The name of a list, else a domain. What has neither dot nor prefix is more likely a list's name
 * gone wrong than a top-level domain. */
static int except_read(struct conf_reader *r, const struct conf_option *o,
	const struct conf_node *node, const char *text, void *ret)
{
	struct conf_rule *rule = container_of(ret, struct conf_rule, except_names);
	int list = -1, *lists;

	if (strcmp(text, ".") == 0)
		return conf_wrong(r, "'.' takes every name: the rule would take none");
	if (conf_type_list.read(r, o, node, text, &list)) {
		if (strpbrk(text, ".:")) {
			r->allowed = NULL;
			return pattern_add(r, text, &rule->except_names);
		}
		r->allowed = arena_printf(r->scratch, "%s; or NAME with a dot, full:NAME",
			r->allowed ? r->allowed : "a name in lists");
		return -EINVAL;
	}
	lists = conf_array_room(r, rule->except_lists, rule->n_except_lists, sizeof *lists);
	if (!lists)
		return -ENOMEM;
	lists[rule->n_except_lists++] = list;
	rule->except_lists = lists;
	return 0;
}

const struct conf_type conf_type_except = {"list",
	"a name in lists, or NAME (it and all below), full:NAME, keyword:TEXT, regexp:EXPRESSION",
	sizeof(struct conf_strings), NULL, .read = except_read};

/* A domain name that is no pattern. */
static int name_read(struct conf_reader *r, const struct conf_option *o,
	const struct conf_node *node, const char *text, void *ret)
{
	char name[CONF_DOMAIN_MAX + 1];

	(void)o, (void)node;
	return conf_domain_canonical(r, text, name) ? -EINVAL : conf_text_store(r, name, ret);
}

const struct conf_type conf_type_name = {
	"name", "a domain name", sizeof(char *), NULL, .read = name_read};
