/* Files of local records in a folder of the test's own, and what they answer, as text. */
#ifndef TUNGATE_TESTS_RECORDS_STAGE_H
#define TUNGATE_TESTS_RECORDS_STAGE_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "gateway/policy/records.h"

extern char stage_told[16384]; /* a line each, without the folder */

int stage_teardown(void **state);

const char *stage_path(const char *file); /* lives for the next 7 calls */
const char *stage_write(const char *file, const char *text);
void stage_write_bytes(const char *file, const void *bytes, size_t len);
char *stage_slurp(const char *file); /* the caller frees; NULL: there is none */

/* A configuration with these lines: l1 192.0.2.0/25, l2 192.0.2.64/26 and 2001:db8::/32; TTL 60. */
struct conf_records stage_conf(void);
/* One file with this text; -EINVAL and stage_told, or 0. */
int stage_read(const struct conf_records *c, struct records **ret);
struct records *stage_read_text(const char *text); /* must be good */
/* Must be bad: one complaint, which is this; the file is r. */
void stage_refuses(const char *text, const char *complaint);

/* "A 60 192.0.2.1, A 60 192.0.2.2"; NONE, NODATA, DENY, PASS. client: NULL for none. */
const char *stage_ask(
	const struct records *r, const char *name, const char *type, const char *client);
const char *stage_ask_rule(const struct records *r, const char *type);
#define ASK(r, name, type, client, expected)                                                       \
	assert_string_equal(stage_ask(r, name, type, client), expected)

#endif
