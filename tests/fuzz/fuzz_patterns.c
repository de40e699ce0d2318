/* Lists bring keywords and expressions, and whoever asks brings the name. Input: lines of patterns,
 * each taken as both; the last line is the name. Whatever they are: a look-up of all at once finds
 * what each alone finds, and what does not compile says why. */
#include <stdlib.h>
#include <string.h>

#include "gateway/match/patterns.h"

#define PATTERNS 8

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct line {
	const char *text;
	size_t len;
	bool is_regexp; /* it compiles, too */
};

static void add(struct patterns_builder *b, struct line *l, unsigned i)
{
	char why[128] = "";

	if (l->len > 0 && patterns_builder_add_keyword(b, 2 * i, l->text, l->len))
		abort();
	l->is_regexp =
		patterns_builder_add_regexp(b, 2 * i + 1, l->text, l->len, why, sizeof why) == 0;
	if (!l->is_regexp && !why[0])
		abort();
}

static void check(
	const struct patterns *p, const struct line *lines, unsigned n, const struct dns_name *name)
{
	struct matcher_hits hits = {{0}};

	patterns_find(p, name, &hits);
	if (patterns_gave_up(p))
		return; /* alone it may be given up elsewhere */
	for (unsigned i = 0; i < n; i++) {
		const struct line *l = &lines[i];

		if (matcher_hits_has(&hits, 2 * i) != patterns_keyword_holds(l->text, l->len, name))
			abort();
		if (l->is_regexp && matcher_hits_has(&hits, 2 * i + 1) !=
					    patterns_regexp_holds(l->text, l->len, name))
			abort();
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	const char *text = (const char *)data, *newline;
	struct patterns_builder *b;
	struct patterns *p;
	struct line lines[PATTERNS];
	struct dns_name name;
	unsigned n = 0;

	if (patterns_builder_new(&b))
		abort();
	while (n < PATTERNS && size > 0 && (newline = memchr(text, '\n', size))) {
		lines[n] = (struct line){text, (size_t)(newline - text), false};
		add(b, &lines[n], n);
		n++;
		size -= (size_t)(newline - text) + 1;
		text = newline + 1;
	}
	if (patterns_builder_finish(b, &p))
		abort();
	if (dns_name_parse(text, size, &name) == 0)
		check(p, lines, n, &name);
	patterns_free(p);
	return 0;
}
