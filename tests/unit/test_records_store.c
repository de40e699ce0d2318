/* Pushed records: all of a source or nothing, on disk before anybody is told so. */
#include "tests/unit/records_stage.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#define ONE "[{\"name\": \"a.test\", \"type\": \"A\", \"rdata\": \"192.0.2.1\"}]"
#define TWO                                                                                        \
	"[{\"name\": \"a.test\", \"type\": \"A\", \"rdata\": \"192.0.2.2\"},"                      \
	" {\"name\": \"b.test\", \"type\": \"TXT\", \"rdata\": \"x\\\"]}\", \"labels\": "          \
	"[\"l1\"]}]"

static char why[RECORDS_WHY_MAX];

static struct conf_records conf_with_store(void)
{
	static char path[256];
	struct conf_records c = stage_conf();

	strcpy(path, stage_path("store"));
	c.store = path;
	return c;
}

static int store_gone(void **state)
{
	(void)state;
	(void)unlink(stage_path("store"));
	(void)unlink(stage_path("store.broken"));
	return 0;
}

static void check_set(const struct conf_records *c, const char *source, const char *json)
{
	int err = records_store_set(c, source, json, why, sizeof why);

	if (err || *why)
		fail_msg("%s: %d, %s", source, err, why);
	assert_true(access(stage_path("store.new"), F_OK) < 0);
}

/* Nothing changes. */
static void check_refused(const struct conf_records *c, const char *source, const char *json,
	int error, const char *expected)
{
	char *before = stage_slurp("store"), *after;
	int err = records_store_set(c, source, json, why, sizeof why);

	if (err != error || !strstr(why, expected))
		fail_msg("%s: %d, %s", source, err, why);
	after = stage_slurp("store");
	assert_int_equal(!before, !after);
	if (before)
		assert_string_equal(before, after);
	assert_true(access(stage_path("store.new"), F_OK) < 0);
	free(before);
	free(after);
}

static void sets_and_deletes(void **state)
{
	struct conf_records c = conf_with_store();
	struct records *r;
	struct stat st;
	char *json;

	(void)state;
	assert_int_equal(records_store_list(c.store, &json), 0);
	assert_string_equal(json, "{}");
	free(json);
	check_set(&c, "dhcp", ONE);
	assert_int_equal(stat(c.store, &st), 0);
	assert_int_equal(st.st_mode & 07777, 0600);
	check_set(&c, "k8s \"\\/\xc3\xa4", TWO);
	assert_int_equal(stage_read(&c, &r), 0);
	assert_string_equal(stage_told, "");
	assert_int_equal(records_count(r), 3);
	ASK(r, "a.test", "A", NULL, "A 60 192.0.2.1, A 60 192.0.2.2");
	ASK(r, "b.test", "TXT", "192.0.2.1", "TXT 60 <4>x\"]}");
	records_unref(r);

	/* The same source again replaces, and keeps what is not its own. */
	check_set(&c, "dhcp", "[]");
	assert_int_equal(records_store_list(c.store, &json), 0);
	assert_string_equal(json, "{\n\"k8s \\\"\\\\/\xc3\xa4\": " TWO ",\n\"dhcp\": []\n}\n");
	free(json);
	assert_int_equal(stage_read(&c, &r), 0);
	ASK(r, "a.test", "A", NULL, "A 60 192.0.2.2");
	records_unref(r);

	check_set(&c, "k8s \"\\/\xc3\xa4", NULL);
	check_refused(&c, "k8s \"\\/\xc3\xa4", NULL, -ENOENT, "no such source");
	check_set(&c, "dhcp", NULL);
	assert_int_equal(stage_read(&c, &r), 0);
	assert_null(r);
}

static void refuses_all_of_it(void **state)
{
	struct conf_records c = conf_with_store();
	char long_name[200];

	(void)state;
	check_set(&c, "one", ONE);
	check_refused(&c, "one",
		"[{\"name\": \"b.test\", \"type\": \"A\", \"rdata\": \"192.0.2.7\"},"
		"{\"name\": \"b.test\", \"type\": \"A\", \"rdata\": \"192.0.2\"}]",
		-EINVAL, "records[1].rdata: not an IPv4 address; allowed: an IPv4 address");
	check_refused(&c, "two", "[{\"name\": \"a\", \"status\": \"deny\", \"labels\": [\"l8\"]}]",
		-EINVAL, "records[0].labels: no such line: l8; allowed: l1, l2");
	check_refused(&c, "two", "[{\"name\": \"A.test\", \"type\": \"CNAME\", \"rdata\": \"b\"}]",
		-EINVAL, "records[0]: a CNAME stands beside other records of a.test");
	check_refused(&c, "two", "{\"name\": \"a\"}", -EINVAL, "records: not an array");
	check_refused(&c, "two", "[], \"three\": []", -EINVAL, "records: not an array");
	check_refused(&c, "two", "[]]", -EINVAL, "records: not an array");
	check_refused(&c, "two", "[", -EINVAL, "records");
	check_refused(&c, "two", "[{]", -EINVAL, "not JSON");
	check_refused(&c, "two", "[\"]", -EINVAL, "");
	check_refused(&c, "two", "", -EINVAL, "records: not an array");
	check_refused(&c, "", ONE, -EINVAL, "source: not a name");
	check_refused(&c, "a\nb", ONE, -EINVAL, "source: not a name");
	memset(long_name, 'x', sizeof long_name);
	long_name[129] = 0;
	check_refused(&c, long_name, ONE, -EINVAL, "source: not a name");
	long_name[128] = 0;
	check_set(&c, long_name, ONE);
	c.store = (char *)"";
	assert_int_equal(records_store_set(&c, "two", ONE, why, sizeof why), -EINVAL);
	assert_non_null(strstr(why, "records.store is \"\""));
}

/* Also against what files and the configuration say. */
static void must_go_with_the_rest(void **state)
{
	struct conf_records c = conf_with_store();
	char *path = (char *)stage_write(
		"r", "[{\"name\": \"a.test\", \"type\": \"CNAME\", \"rdata\": \"b.test\"}]");
	struct records *r;

	(void)state;
	check_set(&c, "one", ONE);
	c.files = (struct conf_strings){&path, 1};
	check_refused(&c, "two", ONE, -EINVAL, "records[0]: a CNAME stands beside");
	/* One that was pushed before the file said so is left out, and no outage. */
	assert_int_equal(stage_read(&c, &r), 0);
	ASK(r, "a.test", "A", NULL, "CNAME 60 b.test");
	assert_string_equal(stage_told,
		"store:2:9: warning: one[0]: a CNAME stands beside other records of a.test; "
		"allowed: one CNAME and nothing else (all of this source is left out)\n");
	records_unref(r);
	(void)stage_write("r", "[5]");
	check_refused(&c, "three", "[]", -EINVAL, "r:1:2: records[0]: not an object");
}

/* Lines go from the configuration: what was pushed for them is left out whole. */
static void leaves_out_a_source(void **state)
{
	struct conf_records c = conf_with_store();
	struct records *r;

	(void)state;
	check_set(&c, "two", TWO);
	check_set(&c, "one", ONE);
	c.n_lines = 0;
	assert_int_equal(stage_read(&c, &r), 0);
	assert_string_equal(stage_told,
		"store:2:126: warning: two[1].labels: no such line: l1; allowed: labels of "
		"records.lines, of which there are none (all of this source is left out)\n");
	assert_int_equal(records_count(r), 1);
	ASK(r, "a.test", "A", NULL, "A 60 192.0.2.1");
	records_unref(r);
	check_set(&c, "three", "[]"); /* the others' troubles are not this one's */
}

static void broken_store(void **state)
{
	static const char *const broken[] = {"", "x", "[]", "{\"a\": 5}", "{\"a\": []",
		"{\"a\": [}", "{\"a\": []} x", "{\"a\" []}", "{\"a\": [],}", "{[]: []}",
		"{\"a\\u0000\": []}"};
	struct conf_records c = conf_with_store();
	struct records *r;
	char *kept, *json;

	(void)state;
	for (size_t i = 0; i < sizeof broken / sizeof *broken; i++) {
		(void)unlink(stage_path("store.broken"));
		(void)stage_write("store", broken[i]);
		assert_int_equal(stage_read(&c, &r), 0);
		assert_null(r);
		assert_non_null(strstr(stage_told, "warning: "));
		check_set(&c, "one", ONE);
		kept = stage_slurp("store.broken");
		assert_non_null(kept);
		assert_string_equal(kept, broken[i]);
		free(kept);
		assert_int_equal(stage_read(&c, &r), 0);
		assert_int_equal(records_count(r), 1);
		records_unref(r);
	}
	/* What was kept before is not lost. */
	(void)stage_write("store", "x");
	assert_int_equal(records_store_list(c.store, &json), -EBADMSG);
	check_set(&c, "one", ONE);
	assert_int_equal(access(stage_path("store.broken.2"), F_OK), 0);
}

/* Nothing is moved or replaced that is no file. */
static void no_file(void **state)
{
	struct conf_records c = conf_with_store();
	struct stat st;

	(void)state;
	assert_int_equal(mkfifo(stage_path("store"), 0600), 0);
	assert_true(records_store_set(&c, "one", ONE, why, sizeof why) < 0);
	assert_int_equal(stat(stage_path("store"), &st), 0);
	assert_true(S_ISFIFO(st.st_mode));
}

static void disk_errors(void **state)
{
	struct conf_records c = conf_with_store();
	struct rlimit limit, none;
	static char big[20000];
	size_t n = 0;

	(void)state;
	check_set(&c, "one", ONE);
	/* Full: a file may not grow over 4096 bytes. */
	n += (size_t)sprintf(big, "[");
	for (unsigned i = 0; i < 200; i++)
		n += (size_t)sprintf(big + n,
			"%s{\"name\":\"n%u\",\"type\":\"A\",\"rdata\":\"192.0.2.1\"}", i ? "," : "",
			i);
	strcat(big, "]");
	assert_int_equal(getrlimit(RLIMIT_FSIZE, &limit), 0);
	none = limit;
	none.rlim_cur = 4096;
	assert_int_equal(setrlimit(RLIMIT_FSIZE, &none), 0);
	check_refused(&c, "big", big, -EFBIG, "store: File too large");
	assert_int_equal(setrlimit(RLIMIT_FSIZE, &limit), 0);
	check_set(&c, "big", big);
	/* A folder that is not there and cannot be made. */
	c.store = (char *)"/proc/tungate/store";
	assert_true(records_store_set(&c, "one", ONE, why, sizeof why) < 0);
	assert_memory_equal(why, "/proc/tungate/store: ", 21);
	/* A folder in the store's place. */
	c.store = (char *)"/tmp";
	assert_int_equal(records_store_set(&c, "one", ONE, why, sizeof why), -EISDIR);
}

static void bounds(void **state)
{
	struct conf_records c = conf_with_store();
	char name[32], *huge = malloc(17u << 20);

	(void)state;
	memset(huge, ' ', 17u << 20);
	huge[0] = '[';
	huge[(17u << 20) - 2] = ']';
	huge[(17u << 20) - 1] = 0;
	check_refused(&c, "huge", huge, -EINVAL, "too much; allowed: at most 16777216 bytes");
	free(huge);
	/* A thousand sources at once are written by hand: pushing each costs a sync. */
	huge = malloc(1024 * 32);
	strcpy(huge, "{");
	for (unsigned i = 0; i < 1024; i++)
		(void)sprintf(huge + strlen(huge), "%s\"s%u\": []", i ? "," : "", i);
	strcat(huge, "}");
	(void)stage_write("store", huge);
	free(huge);
	check_refused(&c, "one more", ONE, -EINVAL, "too many sources; allowed: at most 1024");
	(void)sprintf(name, "s%u", 5);
	check_set(&c, name, ONE);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_teardown(sets_and_deletes, store_gone),
		cmocka_unit_test_teardown(refuses_all_of_it, store_gone),
		cmocka_unit_test_teardown(must_go_with_the_rest, store_gone),
		cmocka_unit_test_teardown(leaves_out_a_source, store_gone),
		cmocka_unit_test_teardown(broken_store, store_gone),
		cmocka_unit_test_teardown(no_file, store_gone),
		cmocka_unit_test_teardown(disk_errors, store_gone),
		cmocka_unit_test_teardown(bounds, store_gone),
	};

	(void)signal(SIGXFSZ, SIG_IGN);
	return cmocka_run_group_tests(tests, NULL, stage_teardown);
}
