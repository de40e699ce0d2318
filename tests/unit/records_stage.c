#include "tests/unit/records_stage.h"

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "tests/unit/folder.h"

char stage_told[16384];

int stage_teardown(void **state)
{
	return folder_clear(state);
}

const char *stage_path(const char *file)
{
	return folder_path(file);
}

void stage_write_bytes(const char *file, const void *bytes, size_t len)
{
	(void)folder_write_bytes(file, bytes, len);
}

const char *stage_write(const char *file, const char *text)
{
	return folder_write(file, text);
}

char *stage_slurp(const char *file)
{
	char *text = NULL;
	size_t len;

	return list_text_load(stage_path(file), 1 << 24, &text, &len) ? NULL : text;
}

static struct ip_prefix clients1[1], clients2[2];
static char name1[] = "l1", name2[] = "l2";
static struct conf_line lines[] = {{name1, {clients1, 1}}, {name2, {clients2, 2}}};

struct conf_records stage_conf(void)
{
	static char none[] = "";

	assert_int_equal(ip_prefix_parse("192.0.2.0/25", &clients1[0]), 0);
	assert_int_equal(ip_prefix_parse("192.0.2.64/26", &clients2[0]), 0);
	assert_int_equal(ip_prefix_parse("2001:db8::/32", &clients2[1]), 0);
	return (struct conf_records){
		.from = "conf.yaml", .lines = lines, .n_lines = 2, .ttl_s = 60, .store = none};
}

static void tell(void *arg, bool is_error, const char *text)
{
	size_t n = strlen(stage_told), in = strlen(folder());
	const char *at = strstr(text, folder());

	assert_ptr_equal(arg, stage_told);
	assert_int_equal(is_error, strstr(text, ": warning: ") == NULL);
	if (at == text)
		text += in + 1;
	(void)snprintf(stage_told + n, sizeof stage_told - n, "%s\n", text);
}

int stage_read(const struct conf_records *c, struct records **ret)
{
	const struct list_sink sink = {.arg = stage_told, .complain = tell};

	stage_told[0] = 0;
	*ret = NULL;
	return records_read(c, &sink, ret);
}

static int read_text(const char *text, struct records **ret)
{
	struct conf_records c = stage_conf();
	char *path = (char *)stage_write("r", text);

	c.files = (struct conf_strings){&path, 1};
	return stage_read(&c, ret);
}

struct records *stage_read_text(const char *text)
{
	struct records *r;
	int err = read_text(text, &r);

	if (err || *stage_told)
		fail_msg("%s: %d, %s", text, err, stage_told);
	assert_non_null(r);
	return r;
}

void stage_refuses(const char *text, const char *complaint)
{
	struct records *r;
	int err = read_text(text, &r);
	size_t n = strlen(stage_told);

	if (n > 0 && stage_told[n - 1] == '\n')
		stage_told[n - 1] = 0;
	if (err != -EINVAL || strcmp(stage_told, complaint) != 0)
		fail_msg("%.500s: %d, %s", text, err, stage_told);
	assert_null(r);
}

/* --- asking --- */

static char answer[8192];

static void visit(void *arg, const struct record *record)
{
	char text[DNS_NAME_TEXT_MAX] = "", type[16];
	size_t n = strlen(answer);

	(void)arg;
	assert_int_equal(dns_rdata_check(record->type, record->rdata, record->len), 0);
	if (record->type == DNS_A || record->type == DNS_AAAA) {
		struct ip_addr a = ip_addr_of(record->rdata, record->len);

		(void)ip_addr_format(&a, text);
	} else if (record->type == DNS_CNAME || record->type == DNS_PTR || record->type == DNS_NS) {
		(void)dns_name_format(record->rdata, text);
	} else {
		for (size_t i = 0, at = 0; i < record->len && at < sizeof text - 8; i++)
			at += (size_t)snprintf(text + at, sizeof text - at,
				record->rdata[i] > ' ' && record->rdata[i] < 127 ? "%c" : "<%x>",
				record->rdata[i]);
	}
	(void)snprintf(answer + n, sizeof answer - n, "%s%s %u %s", n ? ", " : "",
		dns_type_format(record->type, type), record->ttl_s, text);
}

static const char *answer_of(enum records_result result)
{
	static const char *const results[] = {[RECORDS_NONE] = "NONE",
		[RECORDS_NODATA] = "NODATA",
		[RECORDS_DENY] = "DENY",
		[RECORDS_PASS] = "PASS"};

	assert_int_equal(result == RECORDS_FOUND, *answer != 0);
	return result == RECORDS_FOUND ? answer : results[result];
}

const char *stage_ask(
	const struct records *r, const char *name, const char *type, const char *client)
{
	struct ip_addr a = {.family = IP_NONE};
	struct dns_name n;
	uint16_t t;

	assert_int_equal(dns_name_parse(name, strlen(name), &n), 0);
	assert_int_equal(dns_type_parse(type, &t), 0);
	if (client)
		assert_int_equal(ip_addr_parse(client, &a), 0);
	answer[0] = 0;
	return answer_of(records_find(r, &n, t, &a, visit, NULL));
}

const char *stage_ask_rule(const struct records *r, const char *type)
{
	uint16_t t;

	assert_int_equal(dns_type_parse(type, &t), 0);
	answer[0] = 0;
	return answer_of(records_rule_find(r, t, visit, NULL));
}
