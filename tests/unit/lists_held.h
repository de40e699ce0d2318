/* A list as a whole: which names and addresses a text holds. Shared by the tests of gateway/lists.
 */
#ifndef TUNGATE_TESTS_LISTS_HELD_H
#define TUNGATE_TESTS_LISTS_HELD_H

#include "tests/unit/lists_log.h"

#include "gateway/match/addresses.h"
#include "gateway/match/matcher.h"

#define HELD_COUNT(a) (sizeof(a) / sizeof(a)[0])

struct held {
	struct matcher_builder *names;
	struct addresses_builder *prefixes;
	struct matcher *matcher;
	struct addresses *addresses;
	int sources[LIST_PARTS];
	struct list_counts counts;
	char why[128];
};

static inline int held_entry(void *arg, const struct list_entry *e, const char **ret_why)
{
	struct held *h = arg;
	unsigned source = (unsigned)e->part;
	int err = 0;

	switch (e->is) {
	case LIST_ENTRY_NAME:
		return matcher_builder_add(h->names, source, e->kind, e->name);
	case LIST_ENTRY_PREFIX:
		return addresses_builder_add(h->prefixes, 0, e->prefix);
	case LIST_ENTRY_KEYWORD:
		return matcher_builder_add_keyword(h->names, source, e->pattern, e->pattern_len);
	default:
		err = matcher_builder_add_regexp(
			h->names, source, e->pattern, e->pattern_len, h->why, sizeof h->why);
		*ret_why = h->why;
		return err;
	}
}

static inline void held_open(struct held *h, enum list_format format, const char *text)
{
	const struct list_source source = {.path = "f", .key = "lists.l", .format = format};
	const struct list_sink sink = {.arg = h, .entry = held_entry};

	*h = (struct held){0};
	assert_int_equal(matcher_builder_new(1, LIST_PARTS, &h->names), 0);
	assert_int_equal(addresses_builder_new(&h->prefixes), 0);
	for (int part = 0; part < LIST_PARTS; part++) {
		h->sources[part] = part;
		matcher_builder_keep(h->names, (unsigned)part);
	}
	assert_int_equal(list_read_text(&source, text, strlen(text), &sink, &h->counts), 0);
	assert_int_equal(h->counts.skipped, 0);
	assert_int_equal(matcher_builder_finish(h->names, &h->matcher), 0);
	assert_int_equal(addresses_builder_finish(h->prefixes, NULL, &h->addresses), 0);
}

static inline void held_close(struct held *h)
{
	matcher_free(h->matcher);
	addresses_free(h->addresses);
}

static inline bool held_name(const struct held *h, const char *text)
{
	struct dns_name name;
	struct matcher_hits hits;

	assert_int_equal(dns_name_parse(text, strlen(text), &name), 0);
	matcher_find(h->matcher, &name, &hits);
	return list_parts_hold(h->matcher, h->sources, &name, &hits);
}

static inline bool held_address(const struct held *h, const char *text)
{
	struct ip_addr address;
	size_t n = 0;

	assert_int_equal(ip_addr_parse(text, &address), 0);
	(void)addresses_find(h->addresses, &address, &n);
	return n > 0;
}

/* The text holds the names in `in`, and none of those in `out`; words, parted by blanks. */
static inline void held_takes(
	enum list_format format, const char *text, const char *in, const char *out)
{
	struct held h;
	char words[1024], *word, *more = NULL;

	held_open(&h, format, text);
	for (int held = 0; held < 2; held++) {
		(void)snprintf(words, sizeof words, "%s", held ? in : out);
		for (word = strtok_r(words, " ", &more); word; word = strtok_r(NULL, " ", &more))
			if (held_name(&h, word) != held)
				fail_msg("\"%s\" %s %s", text, held ? "does not hold" : "holds",
					word);
	}
	held_close(&h);
}

/* The line gives this entry (as lists_log.h writes it, without the line's number); "": it is no
 * rule; "unused". */
static inline void held_line(enum list_format format, const char *line, const char *want)
{
	static struct log log;
	struct list_counts counts;
	bool unused = strcmp(want, "unused") == 0;
	char entry[1200];

	assert_int_equal(log_read(&log, format, line, strlen(line), &counts), 0);
	(void)snprintf(entry, sizeof entry, "1:%s\n", want);
	if (strcmp(log.entries, unused || !*want ? "" : entry) != 0 || counts.unused != unused ||
		counts.skipped != 0)
		fail_msg("\"%s\" gives \"%s\", %u unused, %u skipped; not \"%s\"", line,
			log.entries, counts.unused, counts.skipped, want);
}

struct held_case {
	const char *line, *want;
};

static inline void held_lines(enum list_format format, const struct held_case *cases, size_t n)
{
	for (size_t i = 0; i < n; i++)
		held_line(format, cases[i].line, cases[i].want);
}

#endif
