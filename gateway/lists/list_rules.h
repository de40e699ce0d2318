/* The rules of a sing-box rule-set, in memory, until all of them are known.
 *
 * Source (JSON) and binary (SRS) files hold the same rules and differ in how they are written; here
 * is what they mean. What a rule is good for is told by what comes last in it (`invert`, a `port`),
 * hence the memory: LIST_MEMORY_MAX, -EFBIG beyond.
 *
 * A default rule holds if any of its domains, suffixes, keywords, expressions and prefixes holds
 * and each of its other conditions does. A logical rule joins rules by `or` or `and`; either kind
 * may be inverted; the file is the `or` of its rules. A list is a set of names and prefixes, so
 * exactly these can be told:
 *   - default rules with names and prefixes alone, and an `or` of such rules, however deep;
 *   - one difference, an `and` of such a rule with inverted ones that hold names alone: these are
 *     the list's exceptions (LIST_EXCEPT). Rules beside it are held whatever these say
 *     (LIST_HOLDS_IMPORTANT); and all of that may stand in one more difference, whose exceptions go
 *     before everything (LIST_EXCEPT_IMPORTANT). That is how sing-box writes AdBlock lists.
 *     Exceptions are of names, so prefixes under them are not used; and they are the list's, so
 *     they hold for its other files, too.
 * Everything else (other conditions, other uses of `and` and `invert`) is unused: each value in it
 * is counted as that. Leaving out what an `or` joins makes the list smaller, never wrong. */
#ifndef TUNGATE_LISTS_RULES_H
#define TUNGATE_LISTS_RULES_H

#include "gateway/lists/lists_internal.h"

#define LIST_RULES_MAX	     65536
#define LIST_RULES_DEPTH_MAX 32

enum list_rule_value {
	LIST_RULE_EXACT,
	LIST_RULE_SUFFIX, /* x and below */
	LIST_RULE_BELOW,
	LIST_RULE_KEYWORD,
	LIST_RULE_REGEXP,
	LIST_RULE_PREFIX, /* of list_rules_add_prefix() */
	LIST_RULE_OTHER,  /* a condition that no name and no address meets */
	LIST_RULE_BAD	  /* of list_rules_add_bad() */
};

struct list_rules;

int list_rules_new(struct list_rules **ret); /* -ENOMEM */
void list_rules_free(struct list_rules *s);  /* NULL is fine */

/* A rule begins, in the logical one that is open or at the top; it ends with list_rules_end().
 * -E2BIG: too many, or too deep; -ENOMEM. */
int list_rules_begin(struct list_rules *s);
#define LIST_RULES_TOO_MANY "more than 65536 rules, or 32 of them in one another"
/* Of the rule that is open: it is a logical one. */
void list_rules_logical(struct list_rules *s, bool is_and);
void list_rules_invert(struct list_rules *s);
/* Where what is added from now on stands, 1-based; a binary file has no such places. */
void list_rules_place(struct list_rules *s, size_t line, size_t column);
/* A value of the rule that is open, as it stands in the file. -EFBIG: above LIST_LINE_MAX, or too
 * many; -ENOMEM. */
int list_rules_add(struct list_rules *s, enum list_rule_value kind, const char *text, size_t len);
int list_rules_add_prefix(
	struct list_rules *s, const struct ip_prefix *prefix, const char *text, size_t len);
/* Something that cannot be read. */
int list_rules_add_bad(struct list_rules *s, const char *why);
void list_rules_end(struct list_rules *s);

/* Tells the reader all values as items. Returns 0, or what ended the reading. */
int list_rules_emit(struct list_rules *s, struct list_reader *r);

#endif
