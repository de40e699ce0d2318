/* One list in many formats: each gives what its format means, and where formats mean the same, the
 * same. The files are not part of the project; without them the test is skipped. */
#include "tests/unit/lists_held.h"

#include <unistd.h>

/* An entry without its line, as one text: "suffix x.test". */
struct rule {
	char *text;
};

struct rules {
	struct rule *at;
	size_t n, room;
	struct list_counts counts;
	enum list_format format;
};

/* Beside the project's folder, of which this file is in tests/unit. */
static const char *rules_folder(void)
{
	static char path[512];
	const char *data = getenv("TUNGATE_DATA");
	const char *slash = strrchr(__FILE__, '/');

	if (data)
		(void)snprintf(path, sizeof path, "%s/rules/AWAvenue/Filters", data);
	else
		(void)snprintf(path, sizeof path,
			"%.*s/../../../shared/data/rules/AWAvenue/Filters",
			slash ? (int)(slash - __FILE__) : 1, slash ? __FILE__ : ".");
	return path;
}

static int rule_add(void *arg, const struct list_entry *e, const char **ret_why)
{
	static const char *const kinds[] = {"exact", "suffix", "below", "child"};
	struct rules *s = arg;
	char text[DNS_NAME_TEXT_MAX + 16], name[DNS_NAME_TEXT_MAX];

	(void)ret_why;
	assert_int_equal(e->part, LIST_HOLDS);
	assert_int_not_equal(e->is, LIST_ENTRY_PREFIX);
	if (e->is == LIST_ENTRY_NAME)
		(void)snprintf(text, sizeof text, "%s %s", kinds[e->kind],
			dns_name_format(e->name->b, name));
	else
		(void)snprintf(text, sizeof text, "%s %.*s",
			e->is == LIST_ENTRY_KEYWORD ? "keyword" : "regexp", (int)e->pattern_len,
			e->pattern);
	if (s->n == s->room) {
		s->room = s->room ? s->room * 2 : 1024;
		s->at = realloc(s->at, s->room * sizeof *s->at);
		assert_non_null(s->at);
	}
	s->at[s->n].text = strdup(text);
	assert_non_null(s->at[s->n].text);
	s->n++;
	return 0;
}

static int rule_order(const void *a, const void *b)
{
	return strcmp(((const struct rule *)a)->text, ((const struct rule *)b)->text);
}

static void rules_read(struct rules *ret, const char *file)
{
	char path[1024];
	const struct list_source source = {.path = path, .key = "lists.l", .format = LIST_AUTO};
	const struct list_sink sink = {.arg = ret, .entry = rule_add};

	*ret = (struct rules){0};
	(void)snprintf(path, sizeof path, "%s/AWAvenue-Ads-Rule-%s", rules_folder(), file);
	if (list_read(&source, &sink, &ret->counts, &ret->format))
		fail_msg("%s cannot be read", path);
	assert_int_equal(ret->counts.skipped, 0);
	qsort(ret->at, ret->n, sizeof *ret->at, rule_order);
}

static void rules_free(struct rules *s)
{
	for (size_t i = 0; i < s->n; i++)
		free(s->at[i].text);
	free(s->at);
}

/* Lines that are no comment and no frame, counted by what they begin with. */
static unsigned lines_of(const char *file, const char *comments)
{
	char path[1024], line[4096];
	unsigned n = 0;
	FILE *f;

	(void)snprintf(path, sizeof path, "%s/AWAvenue-Ads-Rule-%s", rules_folder(), file);
	f = fopen(path, "r");
	assert_non_null(f);
	while (fgets(line, sizeof line, f)) {
		const char *at = line + strspn(line, " \t\r\n");

		n += *at && !strchr(comments, *at) && strcmp(at, "payload:\n") != 0;
	}
	assert_int_equal(fclose(f), 0);
	return n;
}

static void assert_same(const struct rules *a, const struct rules *b)
{
	assert_int_equal(a->n, b->n);
	for (size_t i = 0; i < a->n; i++)
		assert_string_equal(a->at[i].text, b->at[i].text);
}

static bool rule_is(const struct rule *rule, const char *kind)
{
	size_t n = strlen(kind);

	return strncmp(rule->text, kind, n) == 0 && rule->text[n] == ' ';
}

static void rules_drop(struct rules *s, const char *kind)
{
	size_t n = 0;

	for (size_t i = 0; i < s->n; i++) {
		if (rule_is(&s->at[i], kind))
			free(s->at[i].text);
		else
			s->at[n++] = s->at[i];
	}
	s->n = n;
}

static void rules_rename(struct rules *s, const char *kind, const char *to)
{
	for (size_t i = 0; i < s->n; i++) {
		char renamed[DNS_NAME_TEXT_MAX + 16];

		if (!rule_is(&s->at[i], kind))
			continue;
		(void)snprintf(renamed, sizeof renamed, "%s%s", to, s->at[i].text + strlen(kind));
		free(s->at[i].text);
		s->at[i].text = strdup(renamed);
		assert_non_null(s->at[i].text);
	}
	qsort(s->at, s->n, sizeof *s->at, rule_order);
}

static bool is_absent(void)
{
	if (access(rules_folder(), R_OK) == 0)
		return false;
	print_message("skipped: no ../shared/data (%s)\n", rules_folder());
	return true;
}

static void each_gives_all_of_its_lines(void **state)
{
	static const struct {
		const char *file, *comments;
		enum list_format format;
		unsigned unused;
	} files[] = {
		{"Adblock.txt", "!#[", LIST_ADBLOCK, 0},
		{"Adguard.txt", "!#[", LIST_ADBLOCK, 0},
		{"Strict.txt", "!#[", LIST_ADBLOCK, 0},
		{"Replenish.txt", "!#[", LIST_ADBLOCK, 1},
		{"Clash-Classical.yaml", "#", LIST_CLASH, 0},
		{"Clash.yaml", "#", LIST_CLASH, 0},
		{"QuantumultX.list", "#", LIST_CLASH, 0},
		{"Surge-RULE-SET.list", "#", LIST_CLASH, 0},
		{"Surge.list", "#", LIST_CLASH, 0},
	};

	(void)state;
	if (is_absent())
		return;
	for (size_t i = 0; i < HELD_COUNT(files); i++) {
		struct rules s;

		rules_read(&s, files[i].file);
		assert_int_equal(s.format, files[i].format);
		assert_int_equal(s.counts.unused, files[i].unused);
		assert_int_equal(s.counts.entries + s.counts.unused,
			lines_of(files[i].file, files[i].comments));
		assert_int_equal(s.n, s.counts.entries);
		assert_true(s.n > 10);
		rules_free(&s);
	}
}

static void formats_that_mean_the_same(void **state)
{
	struct rules classical, other;

	(void)state;
	if (is_absent())
		return;
	/* Exact names, suffixes and keywords. */
	rules_read(&classical, "Clash-Classical.yaml");
	rules_read(&other, "QuantumultX.list");
	assert_same(&classical, &other);
	rules_free(&other);
	rules_read(&other, "Surge-RULE-SET.list");
	assert_same(&classical, &other);
	rules_free(&other);
	/* The same without keywords, which a domain provider does not have. */
	rules_drop(&classical, "keyword");
	rules_read(&other, "Clash.yaml");
	assert_same(&classical, &other);
	rules_free(&other);
	/* A domain set in which all lines begin with a dot: all of them with what is below. */
	rules_rename(&classical, "exact", "suffix");
	rules_read(&other, "Surge.list");
	assert_same(&classical, &other);
	rules_free(&other);
	rules_free(&classical);
	/* AdBlock: the same, with keywords. */
	rules_read(&classical, "Clash-Classical.yaml");
	rules_rename(&classical, "exact", "suffix");
	rules_read(&other, "Adblock.txt");
	assert_same(&classical, &other);
	rules_free(&classical);
	rules_read(&classical, "Adguard.txt");
	assert_same(&classical, &other);
	rules_free(&other);
	rules_free(&classical);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(each_gives_all_of_its_lines),
		cmocka_unit_test(formats_that_mean_the_same),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
