/* Expressions, by PCRE2. What one may cost is bounded: a list's author is not the user, and whoever
 * asks a name chooses the text. */
#define PCRE2_CODE_UNIT_WIDTH 8
#include "gateway/match/patterns_internal.h"

#include <errno.h>
#include <pcre2.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

enum {
	/* Steps back of one place in the name, some nanoseconds each. */
	MATCH_LIMIT = 1000,
	DEPTH_LIMIT = 1000,
	HEAP_LIMIT_KIB = 256, /* of a thread */
	CODE_BYTES_MAX = 32768,
};

struct regexp {
	pcre2_code *code;
};

/* What a thread needs to match. Made once, so that a look-up does not allocate. */
struct bench {
	pcre2_match_data *data;
	pcre2_match_context *limits;
};

static _Thread_local struct bench *own_bench;
static pthread_once_t bench_once = PTHREAD_ONCE_INIT;
static pthread_key_t bench_key;

static void bench_free(void *arg)
{
	struct bench *b = arg;

	pcre2_match_data_free(b->data);
	pcre2_match_context_free(b->limits);
	free(b);
	own_bench = NULL;
}

static void bench_key_make(void)
{
	/* Without a key a thread's end leaks its bench, and no thread of ours comes and goes. */
	(void)pthread_key_create(&bench_key, bench_free);
}

/* NULL: no memory. */
static struct bench *bench_new(void)
{
	struct bench *b = calloc(1, sizeof *b);

	if (!b)
		return NULL;
	b->data = pcre2_match_data_create(1, NULL);
	b->limits = pcre2_match_context_create(NULL);
	if (!b->data || !b->limits) {
		bench_free(b);
		return NULL;
	}
	(void)pcre2_set_match_limit(b->limits, MATCH_LIMIT);
	(void)pcre2_set_depth_limit(b->limits, DEPTH_LIMIT);
	(void)pcre2_set_heap_limit(b->limits, HEAP_LIMIT_KIB);
	(void)pthread_once(&bench_once, bench_key_make);
	(void)pthread_setspecific(bench_key, b);
	own_bench = b;
	return b;
}

/* For people, who count from one. */
static void why_write(char *ret_why, size_t size, int error, size_t at)
{
	PCRE2_UCHAR text[128];

	if (pcre2_get_error_message(error, text, sizeof text) < 0)
		text[0] = 0;
	(void)snprintf(ret_why, size, "%s, at byte %zu", (const char *)text, at + 1);
}

int regexp_compile(const char *pattern, size_t len, struct regexp **ret, char *ret_why, size_t size)
{
	/* A name's text is bytes, so an expression cannot turn it to UTF-8. */
	const uint32_t options =
		PCRE2_CASELESS | PCRE2_NEVER_UTF | PCRE2_NEVER_UCP | PCRE2_NEVER_BACKSLASH_C;
	struct regexp *r;
	int error;
	size_t at;

	if (len == 0 || len > PATTERNS_REGEXP_MAX) {
		(void)snprintf(
			ret_why, size, "%zu bytes; allowed: 1 to %d", len, PATTERNS_REGEXP_MAX);
		return -EINVAL;
	}
	r = calloc(1, sizeof *r);
	if (!r)
		return -ENOMEM;
	r->code = pcre2_compile((PCRE2_SPTR)pattern, len, options, &error, &at, NULL);
	if (!r->code) {
		bool no_memory = error == PCRE2_ERROR_HEAP_FAILED;

		if (!no_memory)
			why_write(ret_why, size, error, at);
		regexp_free(r);
		return no_memory ? -ENOMEM : -EINVAL;
	}
	if (regexp_size_bytes(r) > CODE_BYTES_MAX) {
		(void)snprintf(ret_why, size, "takes %zu bytes compiled; allowed: %d",
			regexp_size_bytes(r), CODE_BYTES_MAX);
		regexp_free(r);
		return -EINVAL;
	}
	*ret = r;
	return 0;
}

void regexp_speed_up(struct regexp *r)
{
	(void)pcre2_jit_compile(r->code, PCRE2_JIT_COMPLETE);
}

int regexp_find(const struct regexp *r, const uint8_t *text, size_t len)
{
	struct bench *b = own_bench ? own_bench : bench_new();
	int n;

	if (!b)
		return -1;
	n = pcre2_match(r->code, text, len, 0, 0, b->data, b->limits);
	if (n == PCRE2_ERROR_NOMATCH)
		return 0;
	return n >= 0 ? 1 : -1;
}

size_t regexp_size_bytes(const struct regexp *r)
{
	size_t code = 0, machine = 0;

	(void)pcre2_pattern_info(r->code, PCRE2_INFO_SIZE, &code);
	(void)pcre2_pattern_info(r->code, PCRE2_INFO_JITSIZE, &machine);
	return sizeof *r + code + machine;
}

void regexp_free(struct regexp *r)
{
	if (!r)
		return;
	pcre2_code_free(r->code);
	free(r);
}
