/* The manual page tungate.yaml(5) in the tree is what the option table says. "test_conf_man
 * --write" renews it. */
#include "tests/unit/conf_messages.h"

#include <stdio.h>
#include <stdlib.h>

#include "conf/options.h"

static const char page[] = SOURCE_DIR "/conf/man/tungate.yaml.5";

static char *made(size_t *ret_len)
{
	char *text = NULL;
	FILE *out = open_memstream(&text, ret_len);

	assert_non_null(out);
	assert_int_equal(conf_write_man(out), 0);
	fclose(out);
	return text;
}

static void page_is_up_to_date(void **state)
{
	size_t len = 0, n;
	char *want = made(&len), *have = malloc(len + 2);
	FILE *in = fopen(page, "r");

	(void)state;
	assert_non_null(in);
	assert_non_null(have);
	n = fread(have, 1, len + 1, in);
	fclose(in);
	have[n] = 0;
	if (n != len || memcmp(want, have, len) != 0)
		fail_msg("%s is out of date; renew it with: test_conf_man --write", page);
	free(want);
	free(have);
}

static void every_option_is_documented(void **state)
{
	size_t len = 0;
	char *text = made(&len);

	(void)state;
	for (size_t i = 0; i < conf_options_n; i++) {
		const struct conf_option *o = &conf_options[i];
		char item[128];

		if (!o->type)
			continue;
		snprintf(item, sizeof item, ".It Cm \"%s\" Ar ", o->path);
		if (!strstr(text, item))
			fail_msg("%s is missing", o->path);
		assert_non_null(o->text);
		assert_true(o->text[0] != 0);
	}
	free(text);
}

static void a_full_disk_is_told(void **state)
{
	FILE *out = fopen("/dev/full", "w");

	(void)state;
	if (!out)
		skip();
	assert_int_equal(conf_write_man(out), -EIO);
	fclose(out);
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(page_is_up_to_date),
		cmocka_unit_test(every_option_is_documented),
		cmocka_unit_test(a_full_disk_is_told),
	};

	if (argc == 2 && strcmp(argv[1], "--write") == 0) {
		FILE *out = fopen(page, "w");
		int err = out ? conf_write_man(out) : -EIO;

		if (out && fclose(out))
			err = -EIO;
		return err ? 1 : 0;
	}
	return cmocka_run_group_tests(tests, NULL, NULL);
}
