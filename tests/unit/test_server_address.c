/* Addresses of servers that have names, and their file. */
#include "server_stage.h"

#include <sys/stat.h>

struct waiter {
	struct server_wait wait;
	unsigned told;
	int error;
	void (*then)(struct waiter *w);
};

static void told(struct server_wait *w, int error)
{
	struct waiter *waiter = container_of(w, struct waiter, wait);

	waiter->told++;
	waiter->error = error;
	if (waiter->then)
		waiter->then(waiter);
}

static void ask(struct stage *st, struct waiter *w)
{
	*w = (struct waiter){.wait.done = told, .then = w->then};
	server_resolve(st->resolver, st->groups, stage_server(st, 0, 0), 1, &w->wait);
	assert_int_equal(w->told, 0);
}

static struct server *named(struct stage *st)
{
	stage_conf(st, 0, "tls://dns.test", "dns.test", NULL);
	stage_conf(st, 1, "udp://192.0.2.53", NULL, "192.0.2.53");
	st->upstreams[0].bootstrap = 1;
	stage_groups(st);
	return stage_server(st, 0, 0);
}

static const char *first(struct server *s)
{
	static char text[IP_TEXT_MAX];
	struct ip_port at;
	bool fresh;

	assert_int_equal(server_address(s, &at, &fresh), 0);
	assert_int_equal(at.port, 53);
	return ip_addr_format(&at.addr, text);
}

static const char *all(struct server *s)
{
	static char text[SERVER_ADDRESSES_MAX * IP_TEXT_MAX];
	struct ip_addr v[SERVER_ADDRESSES_MAX];
	size_t n = server_addresses_get(s, v);

	*text = 0;
	for (size_t i = 0; i < n; i++) {
		char one[IP_TEXT_MAX];

		strcat(strcat(text, i ? " " : ""), ip_addr_format(&v[i], one));
	}
	return text;
}

static void failed(struct server *s, const char *address)
{
	struct ip_addr a;

	assert_int_equal(ip_addr_parse(address, &a), 0);
	server_address_failed(s, &a);
}

static bool is_fresh(struct server *s)
{
	struct ip_port at;
	bool fresh;

	return server_address(s, &at, &fresh) == 0 && fresh;
}

/* --- look-ups --- */

static void literal_ones_are_known(void **state)
{
	struct stage *st = *state;
	struct waiter w = {0};
	struct server *s;

	stage_conf(st, 0, "udp://192.0.2.53", NULL, "192.0.2.53");
	stage_groups(st);
	s = stage_server(st, 0, 0);
	assert_string_equal(first(s), "192.0.2.53");
	assert_true(is_fresh(s));
	failed(s, "192.0.2.53");
	assert_string_equal(first(s), "192.0.2.53");
	ask(st, &w);
	STAGE_UNTIL(st, w.told);
	assert_int_equal(w.error, 0);
	assert_int_equal(st->n_asked, 0);
}

static void all_who_wait_share_a_look_up(void **state)
{
	static const char *const v4[] = {"192.0.2.1", "192.0.2.2"}, *const v6[] = {"2001:db8::1"};
	struct stage *st = *state;
	struct waiter w[3] = {0};
	struct server *s = named(st);
	struct ip_port at;
	bool fresh;

	assert_int_equal(server_address(s, &at, &fresh), -EAGAIN);
	for (size_t i = 0; i < 3; i++)
		ask(st, &w[i]);
	server_resolve(st->resolver, st->groups, s, 1, NULL);
	assert_int_equal(st->n_asked, 2);
	assert_string_equal(st->asked[0].name, "dns.test");
	assert_int_equal(st->asked[0].type, DNS_AAAA);
	assert_int_equal(st->asked[1].type, DNS_A);
	assert_int_equal(st->asked[1].group, 1);
	assert_int_equal(st->asked[1].flags, RESOLVE_ALLOW_REBIND);
	server_wait_cancel(&w[1].wait);
	stage_answer(st, 1, DNS_NOERROR, 60, v4, 2);
	assert_int_equal(w[0].told, 0);
	stage_answer(st, 0, DNS_NOERROR, 60, v6, 1);
	assert_int_equal(w[0].told, 1);
	assert_int_equal(w[0].error, 0);
	assert_int_equal(w[1].told, 0);
	assert_int_equal(w[2].told, 1);
	assert_string_equal(all(s), "2001:db8::1 192.0.2.1 192.0.2.2");
	assert_true(is_fresh(s));
	server_wait_cancel(&w[0].wait);
	assert_int_equal(st->resolver->holds, 0);
}

static void an_answer_at_once_is_told_later(void **state)
{
	struct stage *st = *state;
	struct waiter w = {0};
	struct server *s = named(st);

	st->at_once = true;
	ask(st, &w);
	STAGE_UNTIL(st, w.told);
	assert_int_equal(w.error, 0);
	assert_string_equal(all(s), "2001:db8::1 192.0.2.1");
}

static void one_family_is_enough(void **state)
{
	static const char *const v4[] = {"192.0.2.1"}, *const v6[] = {"2001:db8::1"};
	struct stage *st = *state;
	struct waiter w = {0}, late = {0};
	struct server *s = named(st);

	ask(st, &w);
	stage_answer(st, 1, DNS_NOERROR, 60, v4, 1);
	STAGE_UNTIL(st, w.told);
	assert_int_equal(w.error, 0);
	assert_string_equal(first(s), "192.0.2.1");
	ask(st, &late); /* joins what is still going on */
	assert_int_equal(st->n_asked, 2);
	stage_answer(st, 0, DNS_NOERROR, 60, v6, 1);
	assert_int_equal(late.told, 1);
	assert_string_equal(all(s), "192.0.2.1 2001:db8::1"); /* the one that is used stays */
}

static void failures_are_not_repeated_at_once(void **state)
{
	static const char *const v4[] = {"192.0.2.1"};
	struct stage *st = *state;
	struct waiter w = {0};
	struct server *s = named(st);

	ask(st, &w);
	stage_fail(st, 0, -ETIMEDOUT);
	assert_int_equal(w.told, 0);
	stage_fail(st, 1, -ETIMEDOUT);
	assert_int_equal(w.told, 1);
	assert_int_equal(w.error, -ETIMEDOUT);
	for (int i = 0; i < 3; i++) {
		ask(st, &w);
		STAGE_UNTIL(st, w.told);
		assert_int_equal(w.error, -ETIMEDOUT);
		server_resolve(st->resolver, st->groups, s, 1, NULL);
	}
	assert_int_equal(st->n_asked, 2);
	assert_in_range(s->lookup_after_ms - clock_ms(), 500, 1000);
	for (unsigned k = 2; k <= 64; k *= 2) {
		st->n_asked = 0;
		s->lookup_after_ms = 0;
		ask(st, &w);
		stage_answer(st, 0, DNS_NXDOMAIN, 0, NULL, 0);
		stage_answer(st, 1, DNS_SERVFAIL, 0, NULL, 0);
		assert_int_equal(w.error, -EHOSTUNREACH);
		assert_int_equal(s->lookup_pause_ms, k < 30 ? k * 1000 : 30000);
	}
	server_addresses_forgive(s); /* the network has changed */
	st->n_asked = 0;
	ask(st, &w);
	stage_answer(st, 1, DNS_NOERROR, 60, v4, 1);
	stage_fail(st, 0, -ETIMEDOUT);
	assert_int_equal(w.error, 0);
	assert_int_equal(s->lookup_pause_ms, 0);
}

static void known_ones_outlive_failures(void **state)
{
	struct stage *st = *state;
	struct waiter w = {0};
	struct server *s = named(st);

	st->at_once = true;
	ask(st, &w);
	STAGE_UNTIL(st, w.told);
	s->addresses_until_ms = clock_ms() - 1;
	assert_false(is_fresh(s));
	st->at_once = false;
	st->at_once_error = -ENETUNREACH;
	for (int i = 0; i < 2; i++) {
		ask(st, &w);
		STAGE_UNTIL(st, w.told);
		assert_int_equal(w.error, 0);
	}
	assert_int_equal(st->n_asked, 4);
	assert_string_equal(all(s), "2001:db8::1 192.0.2.1");
}

static void a_family_that_fails_is_kept(void **state)
{
	static const char *const v4[] = {"192.0.2.7"}, *const v6[] = {"2001:db8::7"};
	struct stage *st = *state;
	struct waiter w = {0};
	struct server *s = named(st);

	st->at_once = true;
	ask(st, &w);
	STAGE_UNTIL(st, w.told);
	st->at_once = false;
	ask(st, &w);
	stage_answer(st, 2, DNS_NOERROR, 60, v6, 1);
	STAGE_UNTIL(st, w.told); /* the other one has told nothing yet */
	assert_string_equal(all(s), "2001:db8::7 192.0.2.1");
	stage_answer(st, 3, DNS_SERVFAIL, 0, NULL, 0);
	assert_string_equal(all(s), "2001:db8::7 192.0.2.1");
	ask(st, &w);
	stage_answer(st, 5, DNS_NOERROR, 60, v4, 1);
	stage_answer(st, 4, DNS_NOERROR, 60, NULL, 0); /* there are none any more */
	assert_string_equal(all(s), "192.0.2.7");
	assert_int_equal(w.error, 0);
}

static void cancelled_is_no_failure(void **state)
{
	struct stage *st = *state;
	struct waiter w = {0};
	struct server *s = named(st);

	ask(st, &w);
	stage_fail(st, 0, -ECANCELED);
	stage_fail(st, 1, -ECANCELED);
	assert_int_equal(w.error, -ECANCELED);
	assert_int_equal(s->lookup_after_ms, 0);
}

static void without_bootstrap_there_is_no_way(void **state)
{
	struct stage *st = *state;
	struct waiter w = {.wait.done = told};
	struct server *s = named(st);

	server_resolve(st->resolver, st->groups, s, -1, &w.wait);
	assert_int_equal(w.told, 0);
	STAGE_UNTIL(st, w.told);
	assert_int_equal(w.error, -EHOSTUNREACH);
	server_resolve(st->resolver, st->groups, s, -1, NULL);
	assert_int_equal(loop_turn(st->loop, 0), 0);
}

static void times_are_bounded(void **state)
{
	static const char *const v4[] = {"192.0.2.1"};
	static const struct {
		uint32_t ttl_s;
		int64_t life_ms;
	} cases[] = {{0, 30000}, {29, 30000}, {77, 77000}, {86400 * 7, 86400000}};
	struct stage *st = *state;
	struct waiter w = {0};
	struct server *s = named(st);

	for (size_t i = 0; i < 4; i++) {
		int64_t left;

		st->n_asked = 0;
		ask(st, &w);
		stage_answer(st, 1, DNS_NOERROR, cases[i].ttl_s, v4, 1);
		stage_fail(st, 0, -ETIMEDOUT);
		left = s->addresses_until_ms - clock_ms();
		assert_int_equal(left, cases[i].life_ms);
	}
}

static void eight_of_both_families(void **state)
{
	static const char *const v4[] = {"192.0.2.1", "192.0.2.2", "192.0.2.3", "192.0.2.4",
		"192.0.2.5", "192.0.2.6", "192.0.2.7", "192.0.2.8", "192.0.2.9", "192.0.2.1"};
	static const char *const v6[] = {"2001:db8::1", "2001:db8::2", "2001:db8::3", "2001:db8::4",
		"2001:db8::5", "2001:db8::6", "::", "ff02::1"};
	static const char *const none[] = {"0.0.0.0", "224.0.0.1", "255.255.255.255", "0.1.2.3"};
	struct stage *st = *state;
	struct waiter w = {0};
	struct server *s = named(st);

	ask(st, &w);
	stage_answer(st, 0, DNS_NOERROR, 60, v6, 8);
	stage_answer(st, 1, DNS_NOERROR, 60, v4, 10);
	assert_string_equal(all(s), "2001:db8::1 2001:db8::2 2001:db8::3 2001:db8::4 192.0.2.1 "
				    "192.0.2.2 192.0.2.3 192.0.2.4");
	st->n_asked = 0;
	ask(st, &w);
	stage_answer(st, 0, DNS_NOERROR, 60, v6 + 5, 1);
	stage_answer(st, 1, DNS_NOERROR, 60, v4, 10);
	assert_string_equal(all(s), "2001:db8::6 192.0.2.1 192.0.2.2 192.0.2.3 192.0.2.4 "
				    "192.0.2.5 192.0.2.6 192.0.2.7");
	st->n_asked = 0;
	ask(st, &w);
	stage_answer(st, 0, DNS_NOERROR, 60, v6 + 6, 2);
	stage_answer(st, 1, DNS_NOERROR, 60, none, 4); /* nothing that could be a server's */
	assert_int_equal(w.error, 0);
	assert_string_equal(first(s), "2001:db8::6");
}

static void failing_ones_go_last(void **state)
{
	static const char *const v4[] = {"192.0.2.1", "192.0.2.2"};
	static const char *const v6[] = {"2001:db8::1", "2001:db8::2", "2001:db8::3"};
	struct stage *st = *state;
	struct waiter w = {0};
	struct server *s = named(st);

	ask(st, &w);
	stage_answer(st, 0, DNS_NOERROR, 300, v6, 2);
	stage_answer(st, 1, DNS_NOERROR, 300, v4, 2);
	failed(s, "192.0.2.77");
	assert_string_equal(all(s), "2001:db8::1 2001:db8::2 192.0.2.1 192.0.2.2");
	failed(s, "2001:db8::1"); /* perhaps all of its family */
	assert_string_equal(all(s), "192.0.2.1 192.0.2.2 2001:db8::2 2001:db8::1");
	st->n_asked = 0; /* what is known of them outlives a look-up */
	ask(st, &w);
	stage_answer(st, 0, DNS_NOERROR, 300, v6, 3);
	stage_answer(st, 1, DNS_NOERROR, 300, v4, 2);
	assert_string_equal(all(s), "192.0.2.1 192.0.2.2 2001:db8::2 2001:db8::3 2001:db8::1");
	failed(s, "192.0.2.1");
	assert_string_equal(all(s), "2001:db8::2 2001:db8::3 2001:db8::1 192.0.2.2 192.0.2.1");
	assert_true(server_has_address(s));
	failed(s, "2001:db8::2");
	failed(s, "192.0.2.2");
	failed(s, "2001:db8::3");
	s->addresses_at_ms -= 60000;
	assert_true(is_fresh(s) == false || s->addresses_failed == 0x1f);
	failed(s, first(s)); /* none is left: they may have moved */
	assert_false(is_fresh(s));
	assert_int_equal(s->addresses_failed, 0x1f);
	assert_false(server_has_address(s));
	server_addresses_forgive(s);
	assert_int_equal(s->addresses_failed, 0);
}

static void again(struct waiter *w)
{
	if (w->told < 2)
		server_resolve(the_stage->resolver, the_stage->groups,
			stage_server(the_stage, 0, 0), 1, &w->wait);
}

static void who_is_told_may_ask_again(void **state)
{
	struct stage *st = *state;
	struct waiter w = {.then = again};

	named(st);
	st->at_once_error = -ENOMEM;
	ask(st, &w);
	STAGE_UNTIL(st, w.told == 2);
	assert_int_equal(st->n_asked, 2);
}

static void a_successor_inherits(void **state)
{
	struct stage *st = *state;
	struct waiter w = {0};
	struct server *s = named(st);

	st->at_once = true;
	ask(st, &w);
	STAGE_UNTIL(st, w.told);
	st->servers[0][0].idle_ms = 5; /* another server, by its settings */
	stage_groups(st);
	assert_ptr_not_equal(stage_server(st, 0, 0), s);
	s = stage_server(st, 0, 0);
	assert_string_equal(all(s), "2001:db8::1 192.0.2.1");
	assert_false(is_fresh(s));
}

/* --- the file --- */

static char folder[64], path[96];

static int file_setup(void **state)
{
	(void)snprintf(folder, sizeof folder, "/tmp/test-addresses-XXXXXX");
	assert_non_null(mkdtemp(folder));
	(void)snprintf(path, sizeof path, "%s/addresses", folder);
	return stage_setup(state);
}

static int file_teardown(void **state)
{
	(void)unlink(path);
	assert_int_equal(rmdir(folder), 0); /* and nothing else is left there */
	return stage_teardown(state);
}

static void write_file(const char *text, size_t len)
{
	FILE *f = fopen(path, "w");

	assert_non_null(f);
	assert_int_equal(fwrite(text, 1, len, f), len);
	assert_int_equal(fclose(f), 0);
}

static ino_t inode(void)
{
	struct stat st;

	assert_int_equal(stat(path, &st), 0);
	return st.st_ino;
}

static void what_is_saved_is_loaded(void **state)
{
	struct stage *st = *state;
	struct waiter w = {0};
	struct server *s = named(st);
	ino_t before;

	assert_int_equal(resolve_addresses_load(st->groups, path), -ENOENT);
	assert_int_equal(resolve_addresses_save(st->groups, path), 0); /* nothing to tell */
	assert_int_equal(access(path, F_OK), -1);
	st->at_once = true;
	ask(st, &w);
	STAGE_UNTIL(st, w.told);
	failed(s, "2001:db8::1");
	assert_int_equal(resolve_addresses_save(st->groups, path), 0);
	before = inode();
	assert_int_equal(resolve_addresses_save(st->groups, path), 0);
	assert_int_equal(inode(), before);
	resolve_groups_unref(st->groups);
	st->groups = NULL;
	stage_groups(st);
	s = stage_server(st, 0, 0);
	assert_string_equal(all(s), "");
	assert_int_equal(resolve_addresses_load(st->groups, path), 0);
	assert_string_equal(all(s), "192.0.2.1 2001:db8::1");
	assert_false(is_fresh(s));
	failed(s, "192.0.2.1");
	assert_int_equal(resolve_addresses_save(st->groups, path), 0);
	assert_int_not_equal(inode(), before);
	assert_int_equal(resolve_addresses_load(st->groups, path), 0);
	assert_string_equal(all(s), "2001:db8::1 192.0.2.1"); /* what is known is not replaced */
}

static void a_folder_that_is_not_there(void **state)
{
	struct stage *st = *state;
	struct waiter w = {0};

	named(st);
	st->at_once = true;
	ask(st, &w);
	STAGE_UNTIL(st, w.told);
	assert_int_equal(
		resolve_addresses_save(st->groups, "/tmp/no/such/folder/addresses"), -ENOENT);
	assert_int_equal(resolve_addresses_load(st->groups, folder), -EISDIR);
}

static void nonsense_is_refused_whole(void **state)
{
	static const char good[] = "{\"one\": {\"dns.test\": [\"192.0.2.1\"]}";
	static const char *const bad[] = {"", " ", "[]", "null", "1", "\"x\"", "{", "{}}", "{} {}",
		"{}x", "{\"one\": []}", "{\"one\": {\"dns.test\": \"192.0.2.1\"}}",
		"{\"one\": {\"dns.test\": {}}}", "{\"one\": {\"dns.test\": [1]}}",
		"{\"one\": {\"dns.test\": [[\"192.0.2.1\"]]}}",
		"{\"one\": {\"dns.test\": [\"192.0.2.1:53\"]}}",
		"{\"one\": {\"dns.test\": [\"dns.test\"]}}",
		"{\"one\": {\"dns.test\": [\"192.0.2.1\\u0000x\"]}}",
		"{\"one\": {\"dns.test\": [\"0.0.0.0\"]}}", "{\"one\": {\"dns.test\": [\"::\"]}}",
		"{\"one\": {\"dns.test\": [\"192.0.2.1\", \"192.0.2.1\"]}}",
		"{\"one\": {\"dns.test\": [\"192.0.2.1\"]}, \"two\": {\"x\": [\"\"]}}",
		"{\"one\": {\"dns.test\": [null]}}", "{\"one\": {\"dns.test\": null}}",
		"{\"one\": null}",
		"{\"one\": {\"dns.test\": [\"192.0.2.1\",\"192.0.2.2\",\"192.0.2.3\","
		"\"192.0.2.4\",\"192.0.2.5\",\"192.0.2.6\",\"192.0.2.7\",\"192.0.2.8\","
		"\"192.0.2.9\"]}}"};
	struct stage *st = *state;
	struct server *s = named(st);
	char *large = malloc(512 * 1024);

	for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
		write_file(bad[i], strlen(bad[i]));
		assert_int_equal(resolve_addresses_load(st->groups, path), -EBADMSG);
		assert_string_equal(all(s), "");
	}
	for (size_t n = 0; n < sizeof good; n++) { /* torn anywhere */
		write_file(good, n);
		assert_int_equal(resolve_addresses_load(st->groups, path), -EBADMSG);
	}
	assert_non_null(large);
	memset(large, ' ', 512 * 1024);
	memcpy(large, "{}", 2);
	write_file(large, 256 * 1024);
	assert_int_equal(resolve_addresses_load(st->groups, path), 0);
	write_file(large, 256 * 1024 + 1);
	assert_int_equal(resolve_addresses_load(st->groups, path), -EBADMSG);
	memset(large, '[', 1000);
	write_file(large, 1000);
	assert_int_equal(resolve_addresses_load(st->groups, path), -EBADMSG);
	write_file("{}\0", 3);
	assert_int_equal(resolve_addresses_load(st->groups, path), -EBADMSG);
	free(large);
	assert_string_equal(all(s), "");
}

static void others_names_are_let_pass(void **state)
{
	static const char text[] = "{\"one\": {\"dns.test\": [\"::ffff:192.0.2.1\"], \"x\": []},\n"
				   " \"gone\": {\"dns.test\": [\"192.0.2.9\"]}, \"two\": {}}\n";
	struct stage *st = *state;
	struct server *s = named(st);

	write_file(text, sizeof text - 1);
	assert_int_equal(resolve_addresses_load(st->groups, path), 0);
	assert_string_equal(all(s), "192.0.2.1");
	assert_string_equal(all(stage_server(st, 1, 0)), "192.0.2.53");
}

#define TEST(f)	     cmocka_unit_test_setup_teardown(f, stage_setup, stage_teardown)
#define TEST_FILE(f) cmocka_unit_test_setup_teardown(f, file_setup, file_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(literal_ones_are_known),
		TEST(all_who_wait_share_a_look_up),
		TEST(an_answer_at_once_is_told_later),
		TEST(one_family_is_enough),
		TEST(failures_are_not_repeated_at_once),
		TEST(known_ones_outlive_failures),
		TEST(a_family_that_fails_is_kept),
		TEST(cancelled_is_no_failure),
		TEST(without_bootstrap_there_is_no_way),
		TEST(times_are_bounded),
		TEST(eight_of_both_families),
		TEST(failing_ones_go_last),
		TEST(who_is_told_may_ask_again),
		TEST(a_successor_inherits),
		TEST_FILE(what_is_saved_is_loaded),
		TEST_FILE(a_folder_that_is_not_there),
		TEST_FILE(nonsense_is_refused_whole),
		TEST_FILE(others_names_are_let_pass),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
