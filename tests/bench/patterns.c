/* What keywords and expressions cost a look-up: patterns EXPRESSIONS NAMES. One expression a line
 * ("regexp:" before it or not), one name a line. Taken are 300 expressions; if there are fewer they
 * are made up to 300 by small changes. Prints how many of them have no text that must occur, and
 * the nanoseconds of a look-up: of keywords alone (the texts without what makes them expressions),
 * of expressions alone, and with the interpreter instead of machine code. */
#include "gateway/match/patterns_internal.h"
#include "tests/bench/self.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <time.h>

#ifndef PR_SET_MDWE
#define PR_SET_MDWE 65 /* no memory that was written can be run */
#endif

#define EXPRESSIONS 300
#define NAMES_MAX   100000
#define LINE_MAX    4096
#define ROUNDS	    5

struct lines {
	char **v;
	size_t n;
};

static struct lines lines_read(const char *path, size_t max)
{
	struct lines l = {calloc(max, sizeof(char *)), 0};
	FILE *f = fopen(path, "r");
	char line[LINE_MAX];

	if (!f || !l.v) {
		(void)fprintf(stderr, "%s: cannot be read\n", path);
		exit(1);
	}
	while (l.n < max && fgets(line, sizeof line, f)) {
		char *text = strncmp(line, "regexp:", 7) == 0 ? line + 7 : line;

		text[strcspn(text, " \t\r\n")] = 0;
		if (*text)
			l.v[l.n++] = strdup(text);
	}
	(void)fclose(f);
	return l;
}

/* Number `round` of an expression: its first letters turned to others. */
static void expression_vary(const char *from, unsigned round, char *ret)
{
	char before = 0;
	unsigned letters = 0;

	for (; *from; before = *from++, ret++) {
		*ret = *from;
		if (round && islower((unsigned char)*from) && before != '\\' && before != '[' &&
			before != '-' && letters++ < 2)
			*ret = (char)('a' + (*from - 'a' + 7 * round) % 26);
	}
	*ret = 0;
}

static struct patterns *build(const struct lines *expressions, bool is_regexp, unsigned *ret_n)
{
	struct patterns_builder *b;
	struct patterns *p = NULL;
	char text[LINE_MAX], why[256];

	*ret_n = 0;
	if (patterns_builder_new(&b))
		exit(1);
	for (unsigned i = 0; *ret_n < EXPRESSIONS && i < 100 * EXPRESSIONS; i++) {
		uint8_t literal[REGEXP_LITERAL_MAX];
		size_t len;
		int r;

		expression_vary(
			expressions->v[i % expressions->n], (unsigned)(i / expressions->n), text);
		len = regexp_literal(text, strlen(text), literal);
		if (is_regexp)
			r = patterns_builder_add_regexp(
				b, *ret_n, text, strlen(text), why, sizeof why);
		else
			r = patterns_builder_add_keyword(b, *ret_n, (char *)literal, len);
		*ret_n += r == 0;
	}
	if (patterns_builder_finish(b, &p) || !p)
		exit(1);
	return p;
}

/* Nanoseconds of one, in the best of some rounds; hits of all. */
static double look_up(
	const struct patterns *p, const struct dns_name *names, size_t n, size_t *ret_hits)
{
	double best = 1e9;

	for (unsigned round = 0; round < ROUNDS; round++) {
		double start = self_cpu_s(), took;

		*ret_hits = 0;
		for (size_t i = 0; i < n; i++) {
			struct matcher_hits hits;

			/* As many as there are sources; the matcher clears no more either. */
			memset(hits.bits, 0, (EXPRESSIONS + 63) / 64 * sizeof hits.bits[0]);
			patterns_find(p, &names[i], &hits);
			for (unsigned w = 0; w < (EXPRESSIONS + 63) / 64; w++)
				*ret_hits += (size_t)__builtin_popcountll(hits.bits[w]);
		}
		took = (self_cpu_s() - start) / (double)n * 1e9;
		if (took < best)
			best = took;
	}
	return best;
}

int main(int argc, char **argv)
{
	struct lines expressions, lines;
	struct dns_name *names;
	size_t n = 0, hits;
	unsigned n_keywords, n_regexps;
	struct patterns *keywords, *regexps;
	double took;

	if (argc != 3) {
		(void)fprintf(stderr, "usage: patterns EXPRESSIONS NAMES\n");
		return 2;
	}
	expressions = lines_read(argv[1], EXPRESSIONS);
	lines = lines_read(argv[2], NAMES_MAX);
	names = calloc(lines.n + 1, sizeof *names);
	if (!names || expressions.n == 0)
		return 1;
	for (size_t i = 0; i < lines.n; i++)
		n += dns_name_parse(lines.v[i], strlen(lines.v[i]), &names[n]) == 0;
	keywords = build(&expressions, false, &n_keywords);
	took = look_up(keywords, names, n, &hits);
	printf("keywords           %8u\nkeywords_ns        %8.1f\nkeywords_hits      %8zu\n",
		n_keywords, took, hits);
	regexps = build(&expressions, true, &n_regexps);
	took = look_up(regexps, names, n, &hits);
	printf("regexps            %8u\nregexps_no_text    %8zu\nregexps_ns         %8.1f\n",
		n_regexps, patterns_always(regexps), took);
	printf("regexps_hits       %8zu\nregexps_bytes      %8zu\n", hits,
		patterns_size_bytes(regexps));
	patterns_free(keywords);
	patterns_free(regexps);
	/* As under systemd's MemoryDenyWriteExecute=; Linux 6.3. */
	if (prctl(PR_SET_MDWE, 1UL, 0UL, 0UL, 0UL) == 0) {
		regexps = build(&expressions, true, &n_regexps);
		took = look_up(regexps, names, n, &hits);
		printf("interpreted_ns     %8.1f\n", took);
		patterns_free(regexps);
	}
	return 0;
}
