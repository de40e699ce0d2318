/* Expressions made of what lists write: texts with wildcards, and expressions over URLs.
 *
 * They are meant for the text of a name (patterns.h): lower case, labels joined by dots. Pure. */
#ifndef TUNGATE_LISTS_PATTERN_H
#define TUNGATE_LISTS_PATTERN_H

#include <stdbool.h>
#include <stddef.h>

#include "gateway/match/patterns.h"

/* An expression being written. What does not fit makes it full, and it must not be used. */
struct list_pattern {
	char b[PATTERNS_REGEXP_MAX];
	size_t len;
	bool full;
};

#define LIST_PATTERN_LABEL "(?:^|\\.)" /* a label begins here */

void list_pattern_init(struct list_pattern *p);
void list_pattern_add(struct list_pattern *p, const char *expression);
/* Each byte stands for itself, except '*', which becomes the expression star, and '?', which
 * becomes question; NULL: it stands for itself too. */
void list_pattern_add_text(struct list_pattern *p, const char *text, size_t len, const char *star,
	const char *question);

/* An expression over URLs, without the slashes around it, that says nothing about anything but the
 * host: the same for the host's name. False: it looks at something that a DNS rule cannot know. */
bool list_pattern_from_url(struct list_pattern *p, const char *url, size_t len);

#endif
