/* Reading one list of a policy (build_list.c), for who decides whether it must be read
 * (build_lists.c). */
#ifndef TUNGATE_POLICY_BUILD_LIST_H
#define TUNGATE_POLICY_BUILD_LIST_H

#include "gateway/lists/list_build.h"
#include "gateway/policy/build.h"

struct reading {
	struct build *b;
	struct policy_list *list;
	struct policy_list_info *info;
	const struct conf_list_file *at; /* the file in the configuration */
	/* Whether it can be read is tried: the list's entries are dropped, but for patterns, which
	 * have to compile. NULL: it is read. */
	struct list_build *trial;
	size_t tried_names, tried_prefixes;
	bool tried, failed;
	char error[512]; /* the first */
};

/* Can it be read at all? If not (r->failed) it is better to keep what was. */
int reading_try(struct reading *r, const struct conf_list *from);
/* Reads all files of the list into the builders; lb is to be ended after them. */
int reading_load(struct reading *r, const struct conf_list *from, struct list_build *lb);

/* The source of a part of the list in the matcher (list_build.part_source). */
int reading_source(void *arg, enum list_part part);
/* Complaints of the list's files (list_sink.complain). */
void reading_told(void *arg, bool is_error, const char *text);
/* A file that was read, or is missing: then its stamp is zeroes. */
int reading_add_file(struct build *b, struct policy_list *list, const char *path,
	const struct list_stamp *stamp);

#endif
