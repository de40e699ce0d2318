/* For the tests of conf: reads a text and keeps what is said about it. */
#ifndef TUNGATE_TESTS_CONF_MESSAGES_H
#define TUNGATE_TESTS_CONF_MESSAGES_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <string.h>

#include "conf/conf.h"

struct messages {
	char text[65536]; /* one a line, without "t:" in front */
	size_t len;
	unsigned n[3];
};

static inline void message_keep(void *arg, enum conf_severity severity, const char *text)
{
	struct messages *m = arg;
	size_t n = strlen(text);

	m->n[severity]++;
	assert_null(strchr(text, '\n'));
	if (strncmp(text, "t:", 2) == 0) {
		text += 2;
		n -= 2;
	}
	if (m->len + n + 2 > sizeof m->text)
		return;
	memcpy(m->text + m->len, text, n);
	m->len += n;
	m->text[m->len++] = '\n';
	m->text[m->len] = 0;
}

static inline struct config *parse_len(
	const char *path, const char *text, size_t len, struct messages *m)
{
	struct config *config = NULL;
	int err;

	memset(m, 0, sizeof *m);
	err = conf_parse(path, text, len, message_keep, m, &config);
	assert_int_equal(err, m->n[CONF_ERROR] ? -EINVAL : 0);
	assert_int_equal(config != NULL, !err);
	return config;
}

static inline struct config *parse(const char *text, struct messages *m)
{
	return parse_len("t", text, strlen(text), m);
}

/* What is said about a text, word for word. */
struct wrong {
	const char *text, *want;
};

static inline void check_all(const struct wrong *cases, size_t n)
{
	static struct messages m;

	for (size_t i = 0; i < n; i++) {
		struct config *c = parse(cases[i].text, &m);

		if (strcmp(m.text, cases[i].want) != 0)
			fail_msg(
				"of:\n%s\ngot:\n%swant:\n%s", cases[i].text, m.text, cases[i].want);
		conf_free(c);
	}
}

#define CHECK(cases) check_all(cases, sizeof cases / sizeof cases[0])

#endif
