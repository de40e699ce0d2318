/* geosite.dat: one category out of many, its kinds and attributes, and files that are damaged. */
#include <strings.h>
#include <unistd.h>

#include "tests/unit/lists_pack.h"

#define SHARED "/work/shared/data/rules/domain-list-community/release/"

enum { KEYWORD, REGEXP, DOMAIN, FULL };

/* attributes: separated by blanks. */
static void domain_add(struct pack *site, unsigned type, const char *value, const char *attributes)
{
	static struct pack domain, attribute;
	char list[256], *save = NULL;

	domain.n = 0;
	if (type != KEYWORD) /* what a missing field means */
		pack_field(&domain, 1, type);
	pack_field_text(&domain, 2, value);
	(void)snprintf(list, sizeof list, "%s", attributes ? attributes : "");
	for (char *key = strtok_r(list, " ", &save); key; key = strtok_r(NULL, " ", &save)) {
		attribute.n = 0;
		pack_field_text(&attribute, 1, key);
		pack_field(&attribute, 2, 1);
		pack_field_pack(&domain, 3, &attribute);
	}
	pack_field_pack(site, 2, &domain);
}

static struct pack site, file;

static void site_begin(const char *name)
{
	site.n = 0;
	pack_field_text(&site, 1, name);
}

static void site_end(void)
{
	pack_field_pack(&file, 1, &site);
}

static void file_make(void)
{
	file.n = 0;
	site_begin("APPLE");
	domain_add(&site, DOMAIN, "apple.test", NULL);
	site_end();
	site_begin("CN");
	domain_add(&site, DOMAIN, "A.test", "cn");
	domain_add(&site, FULL, "b.test", "ads !cn");
	domain_add(&site, KEYWORD, "-ad.", NULL);
	domain_add(&site, REGEXP, "^c[0-9]+\\.test$", "ads");
	site_end();
	site_begin("GEOLOCATION-!CN");
	domain_add(&site, DOMAIN, "d.test", NULL);
	site_end();
}

static int file_read(
	struct log *log, const char *tag, const char *attribute, size_t n, struct list_counts *ret)
{
	const struct list_source source = {"f", "lists.l", LIST_GEOSITE, tag, attribute};

	return pack_read(log, &source, file.b, n, ret);
}

static void gives(const char *tag, const char *attribute, const char *entries)
{
	static struct log log;
	struct list_counts counts;

	assert_int_equal(file_read(&log, tag, attribute, file.n, &counts), 0);
	assert_string_equal(log.told, "");
	assert_string_equal(log.entries, entries);
	assert_int_equal(counts.entries, log.n);
	assert_int_equal(counts.skipped + counts.unused, 0);
}

static void refused(const char *tag, const char *why)
{
	static struct log log;

	assert_int_equal(file_read(&log, tag, NULL, file.n, NULL), -EBADMSG);
	assert_int_equal(strncmp(log.told, "f:1:1: lists.l: ", 16), 0);
	assert_non_null(strstr(log.told, why));
}

static void test_gives_one_category(void **state)
{
	static const char cn[] = "0:suffix a.test\n0:exact b.test\n0:keyword -ad.\n"
				 "0:regexp ^c[0-9]+\\.test$\n";

	(void)state;
	file_make();
	gives("cn", NULL, cn);
	gives("CN", NULL, cn);
	gives("Cn", NULL, cn);
	gives("apple", NULL, "0:suffix apple.test\n");
	gives("geolocation-!cn", NULL, "0:suffix d.test\n");
}

static void test_attributes(void **state)
{
	(void)state;
	file_make();
	gives("cn", "cn", "0:suffix a.test\n");
	gives("cn", "!cn", "0:exact b.test\n");
	gives("cn", "ADS", "0:exact b.test\n0:regexp ^c[0-9]+\\.test$\n");
	gives("cn", "none", "");
	gives("apple", "cn", "");
}

static void test_category_in_two_places(void **state)
{
	(void)state;
	file_make();
	site_begin("cn");
	domain_add(&site, FULL, "e.test", NULL);
	site_end();
	gives("cn", "ads", "0:exact b.test\n0:regexp ^c[0-9]+\\.test$\n");
	gives("CN", NULL,
		"0:suffix a.test\n0:exact b.test\n0:keyword -ad.\n0:regexp ^c[0-9]+\\.test$\n"
		"0:exact e.test\n");
}

static void test_no_such_category(void **state)
{
	(void)state;
	file_make();
	refused(NULL, "path:tag");
	refused("", "path:tag");
	refused("appel", "no category \"appel\" among its 3; allowed: APPLE, CN, GEOLOCATION-!CN");
	file.n = 0;
	refused("cn", "among its 0; allowed: none");
	/* Of many only the closest are told. */
	for (char name[] = "category-a"; name[9] <= 'z'; name[9]++) {
		site_begin(name);
		site_end();
	}
	site_begin("google");
	site_end();
	refused("gogle", "no category \"gogle\" among its 27; the closest: google, category-");
	refused("goo", "the closest: google, ");
	refused("zzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzz"
		"z",
		"among its 27");
}

/* A later version may add fields; their order is the writer's. */
static void test_unknown_fields(void **state)
{
	static const uint8_t fixed[] = {7 << 3 | 1, 1, 2, 3, 4, 5, 6, 7, 8, 8 << 3 | 5, 1, 2, 3, 4};
	static struct pack domain;

	(void)state;
	file.n = domain.n = 0;
	pack_field(&file, 9, 1);
	pack_bytes(&file, fixed, sizeof fixed);
	pack_field_text(&file, 68000, "path");
	pack_field_text(&domain, 2, "a.test");
	pack_bytes(&domain, fixed, sizeof fixed);
	pack_field(&domain, 1, FULL);
	pack_field_text(&domain, 99, "more");
	site_begin("CN");
	pack_field_text(&site, 3, "hash");
	pack_field_pack(&site, 2, &domain);
	pack_field(&site, 4, UINT64_MAX);
	site_end();
	gives("cn", NULL, "0:exact a.test\n");
}

static void test_values_that_cannot_be_used(void **state)
{
	static struct log log;
	static char long_value[8192];
	struct list_counts counts;

	(void)state;
	memset(long_value, 'a', sizeof long_value - 1);
	file.n = 0;
	site_begin("CN");
	domain_add(&site, DOMAIN, "a.test", NULL);
	domain_add(&site, 4, "b.test", NULL);
	domain_add(&site, REGEXP, long_value, NULL);
	domain_add(&site, DOMAIN, "", NULL);
	domain_add(&site, KEYWORD, "", NULL);
	domain_add(&site, FULL, "a b", NULL);
	for (int i = 0; i < 8; i++)
		domain_add(&site, DOMAIN, "c.test", NULL);
	site_end();
	assert_int_equal(file_read(&log, "cn", NULL, file.n, &counts), 0);
	assert_int_equal(counts.lines, 14);
	assert_int_equal(counts.entries, 9);
	assert_int_equal(counts.skipped, 5);
	assert_non_null(strstr(log.told, "warning: lists.l: a domain of an unknown type"));
	assert_non_null(strstr(log.told, "a value above 4 KiB"));
}

static void test_name_comes_first(void **state)
{
	(void)state;
	file.n = site.n = 0;
	domain_add(&site, DOMAIN, "a.test", NULL);
	pack_field_text(&site, 1, "CN");
	site_end();
	refused("cn", "a category without a name in front");
	file.n = site.n = 0;
	site_end();
	refused("cn", "a category without a name in front");
}

/* Cut between two categories, nothing is missing that anybody could know of; else it is told. */
static void test_cut_short(void **state)
{
	static struct log log;
	size_t ends[3], n_ends = 0, at = 0;

	(void)state;
	file_make();
	while (at < file.n) {
		at += 2u + file.b[at + 1]; /* all below 128 bytes */
		ends[n_ends++] = at;
	}
	assert_int_equal(at, file.n);
	for (size_t n = 0; n < file.n; n++) {
		bool whole = n == 0;

		for (size_t i = 0; i < n_ends; i++)
			whole |= n == ends[i];
		assert_int_equal(
			file_read(&log, "cn", NULL, n, NULL), whole && n >= ends[1] ? 0 : -EBADMSG);
		if (!whole)
			assert_non_null(strstr(log.told, "cut short or damaged, noticed at byte "));
	}
}

/* One length at a time says something else. */
static void test_lengths_that_lie(void **state)
{
	static const uint64_t lies[] = {127, 128, 1u << 20, UINT32_MAX, 1ULL << 62, UINT64_MAX};
	static struct pack domain, value;

	(void)state;
	for (size_t i = 0; i < sizeof lies / sizeof lies[0]; i++) {
		file.n = 0; /* of a category */
		pack_varint(&file, 1 << 3 | 2);
		pack_varint(&file, lies[i]);
		pack_field_text(&file, 1, "CN");
		refused("cn", "cut short or damaged");
		file.n = 0; /* of its name */
		site.n = 0;
		pack_varint(&site, 1 << 3 | 2);
		pack_varint(&site, lies[i]);
		pack_bytes(&site, "CN", 2);
		site_end();
		refused("cn", "cut short or damaged");
		file.n = 0; /* of a domain */
		site_begin("CN");
		pack_varint(&site, 2 << 3 | 2);
		pack_varint(&site, lies[i]);
		pack_bytes(&site, "abc", 3);
		site_end();
		refused("cn", "cut short or damaged");
		file.n = domain.n = value.n = 0; /* of a value */
		pack_varint(&domain, 2 << 3 | 2);
		pack_varint(&domain, lies[i]);
		pack_bytes(&domain, "a.test", 6);
		site_begin("CN");
		pack_field_pack(&site, 2, &domain);
		pack_field_text(&site, 2, "xxxxxxxxxxxxxxxxxxxxxxxxxx");
		site_end();
		refused("cn", "cut short or damaged");
	}
}

static void test_no_protocol_buffer(void **state)
{
	static const struct {
		uint8_t b[16];
		size_t n;
	} bad[] = {
		{{0x0b}, 1},			  /* a group begins */
		{{0x0c}, 1},			  /* and ends */
		{{0x0f, 1, 1, 1, 1, 1, 1, 1}, 8}, /* no such wire type */
		{{0x02, 1, 'a'}, 3},		  /* field 0 */
		{{0x08, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1}, 12},
		{{0x08, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 2}, 11},
		{{'a', '.', 't', 'e', 's', 't', '\n'}, 7}, /* a text */
	};

	(void)state;
	for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
		file.n = 0;
		pack_bytes(&file, bad[i].b, bad[i].n);
		refused("cn", "");
	}
}

/* A category of a name that nobody can ask for is skipped like others. */
static void test_long_names(void **state)
{
	static char name[300];

	(void)state;
	memset(name, 'x', sizeof name - 1);
	file_make();
	site_begin(name);
	domain_add(&site, DOMAIN, "x.test", NULL);
	site_end();
	gives("apple", NULL, "0:suffix apple.test\n");
	refused(name, "no category");
}

static void test_sink_ends_reading(void **state)
{
	static struct log log = {.stop = -ENOSPC};

	(void)state;
	file_make();
	assert_int_equal(file_read(&log, "cn", NULL, file.n, NULL), -ENOSPC);
	assert_string_equal(log.entries, "0:suffix a.test\n");
}

/* --- real data --- */

struct compare {
	FILE *text;
	unsigned n;
};

/* The next line of the list as v2fly exports it: "domain:x:@cn,@ads". */
static int entry_compare(void *arg, const struct list_entry *e, const char **ret_why)
{
	struct compare *c = arg;
	char line[1024], want[1024], name[DNS_NAME_TEXT_MAX];
	char *attributes;

	(void)ret_why;
	assert_non_null(fgets(line, sizeof line, c->text));
	line[strcspn(line, "\n")] = 0;
	attributes = strstr(line, ":@");
	if (attributes)
		*attributes = 0;
	if (e->is == LIST_ENTRY_NAME)
		(void)snprintf(want, sizeof want, "%s:%s",
			e->kind == MATCHER_EXACT ? "full" : "domain",
			dns_name_format(e->name->b, name));
	else
		(void)snprintf(want, sizeof want, "%s:%.*s",
			e->is == LIST_ENTRY_KEYWORD ? "keyword" : "regexp", (int)e->pattern_len,
			e->pattern);
	assert_int_equal(strcasecmp(line, want), 0);
	c->n++;
	return 0;
}

static void test_community_list(void **state)
{
	static const char *const tags[] = {"cn", "geolocation-!cn", "category-ads-all", "tld-cn"};
	struct compare c = {.n = 0};
	const struct list_sink sink = {.arg = &c, .entry = entry_compare};

	(void)state;
	if (access(SHARED "dlc.dat", R_OK) != 0) {
		print_message("skipped: no ../shared/data\n");
		skip();
	}
	for (size_t i = 0; i < sizeof tags / sizeof tags[0]; i++) {
		const struct list_source source = {
			SHARED "dlc.dat", "lists.l", LIST_GEOSITE, tags[i], NULL};
		struct list_counts counts;
		char path[256], line[1024];

		(void)snprintf(path, sizeof path, SHARED "%s.txt", tags[i]);
		c.n = 0;
		c.text = fopen(path, "r");
		assert_non_null(c.text);
		assert_int_equal(list_read(&source, &sink, &counts, NULL), 0);
		assert_null(fgets(line, sizeof line, c.text));
		assert_int_equal(counts.entries, c.n);
		assert_int_equal(counts.skipped, 0);
		(void)fclose(c.text);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_gives_one_category),
		cmocka_unit_test(test_attributes),
		cmocka_unit_test(test_category_in_two_places),
		cmocka_unit_test(test_no_such_category),
		cmocka_unit_test(test_unknown_fields),
		cmocka_unit_test(test_values_that_cannot_be_used),
		cmocka_unit_test(test_name_comes_first),
		cmocka_unit_test(test_cut_short),
		cmocka_unit_test(test_lengths_that_lie),
		cmocka_unit_test(test_no_protocol_buffer),
		cmocka_unit_test(test_long_names),
		cmocka_unit_test(test_sink_ends_reading),
		cmocka_unit_test(test_community_list),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
