/* Files of records, and what is pushed over the socket. Whatever the bytes: no harm; what is read
 * answers with data of its type; what is refused is told; and what is pushed is read again as it
 * was. The first byte is the way: a file, the file of lines, the store, a push. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "gateway/policy/records.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void require(bool holds)
{
	if (!holds)
		abort();
}

static void count(void *arg, bool is_error, const char *text)
{
	*(unsigned *)arg += is_error;
	require(strlen(text) < LIST_COMPLAIN_MAX);
}

static void visit(void *arg, const struct record *record)
{
	++*(unsigned *)arg;
	require(dns_rdata_check(record->type, record->rdata, record->len) == 0);
}

static void ask(const struct records *r)
{
	static const char *const names[] = {
		"a.test", "b.test", "x.y.test", "*.test", "test", ".", "5.1.168.192.in-addr.arpa"};
	static const uint16_t types[] = {DNS_A, DNS_MX, DNS_PTR, DNS_HTTPS, DNS_ANY, 65280};
	const struct ip_addr clients[] = {{{192, 0, 2, 1}, IP_V4}, {{0}, IP_NONE}};

	for (size_t i = 0; i < sizeof names / sizeof *names * 12; i++) {
		struct dns_name name;
		unsigned n = 0;
		enum records_result result;

		require(dns_name_parse(names[i / 12], strlen(names[i / 12]), &name) == 0);
		result = records_find(r, &name, types[i % 6], &clients[i / 6 % 2], visit, &n);
		require((result == RECORDS_FOUND) == (n > 0));
		require(result == RECORDS_NONE || records_count(r) > 0);
	}
}

static void read_all(const struct conf_records *c)
{
	unsigned errors = 0;
	const struct list_sink sink = {.arg = &errors, .complain = count};
	struct records *r = NULL;
	int err = records_read(c, &sink, &r);

	require(err == 0 || (err == -EINVAL && errors > 0 && !r));
	require(err != 0 || errors == 0);
	ask(r);
	records_unref(r);
}

static void push(struct conf_records *c, const char *json)
{
	char path[64], why[RECORDS_WHY_MAX], *text;
	int err;

	(void)snprintf(path, sizeof path, "/tmp/fuzz-records-%d", (int)getpid());
	c->store = path;
	err = records_store_set(c, "fuzz", json, why, sizeof why);
	require(err == 0 || (err == -EINVAL && *why));
	if (err == 0) {
		require(records_store_list(path, &text) == 0 && strstr(text, json));
		free(text);
		read_all(c);
		require(records_store_set(c, "fuzz", NULL, why, sizeof why) == 0);
	}
	(void)unlink(path);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct ip_prefix client = {{{192, 0, 2}, IP_V4}, 24};
	char path[64], name[] = "l1", *paths[1] = {path}, *json;
	struct conf_line line = {name, {&client, 1}};
	struct conf_records c = {.lines = &line, .n_lines = 1, .ttl_s = 60};
	int fd = memfd_create("records", MFD_CLOEXEC);

	require(fd >= 0);
	if (size > 0 && data[0] % 4 < 3) {
		require(write(fd, data + 1, size - 1) == (ssize_t)size - 1);
		(void)snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
		if (data[0] % 4 == 0)
			c.files = (struct conf_strings){paths, 1};
		else if (data[0] % 4 == 1)
			c.lines_file = path;
		else
			c.store = path;
		read_all(&c);
	} else if (size > 0) {
		json = strndup((const char *)data + 1, size - 1);
		require(json);
		push(&c, json);
		free(json);
	}
	(void)close(fd);
	return 0;
}
