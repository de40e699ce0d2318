/* The command line from outside: what is printed where, and the exit status. Each command runs in
 * a process of its own; the daemon's side is the real control room over a daemon of the test's. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>
#include <json-c/json.h>

#include "gateway/control/control.h"
#include "gateway/generation.h"
#include "tests/unit/control_daemon.h"

int tungate_main(int argc, char **argv); /* main() of gateway/main.c */

#define WORDS_MAX 12

struct fixture {
	char dir[64], socket[96], file[96];
	struct daemon d;
	pid_t server;
	int status;
	char *out, *err; /* of the last command */
};

/* --- what the commands call beside the socket --- */

int daemon_main(const char *config_path)
{
	printf("run %s\n", config_path);
	return strstr(config_path, "broken") ? 1 : 0;
}

int policy_build(const struct policy_build_config *c, struct policy **ret)
{
	const struct config *config = c->config;
	policy_report *report = c->report;
	void *arg = c->report_arg;

	for (size_t i = 0; i < config->n_lists; i++) {
		if (strcmp(config->lists[i].name, "bad") == 0) {
			report(arg, true, "bad.txt: cannot be read");
			return -EINVAL;
		}
		report(arg, false, "odd.txt:3:1: warning: skipped");
	}
	*ret = NULL;
	return 0;
}

int generation_check(const struct config *config, policy_report *report, void *arg)
{
	if (config->records.n_records == 0)
		return 0;
	report(arg, true, "t.yaml:9:9: records: wrong");
	return -EINVAL;
}

void policy_unref(struct policy *p)
{
	assert_null(p);
}

/* --- the fixture --- */

static int setup(void **state)
{
	struct fixture *f = calloc(1, sizeof *f);

	strcpy(f->dir, "/tmp/tg-cmd-XXXXXX");
	if (!mkdtemp(f->dir))
		return -1;
	snprintf(f->socket, sizeof f->socket, "%s/s", f->dir);
	snprintf(f->file, sizeof f->file, "%s/t.yaml", f->dir);
	f->d.state = DAEMON_RUNNING;
	*state = f;
	return 0;
}

static int teardown(void **state)
{
	struct fixture *f = *state;

	if (f->server > 0) {
		kill(f->server, SIGTERM);
		waitpid(f->server, NULL, 0);
	}
	unlink(f->socket);
	unlink(f->file);
	if (rmdir(f->dir))
		return -1;
	free(f->out);
	free(f->err);
	free(f);
	return 0;
}

/* Starts the control room in another process; it is ready when this returns. */
static void serve(struct fixture *f)
{
	int ready[2], pid;
	char byte;

	assert_int_equal(pipe(ready), 0);
	f->server = fork();
	if (f->server == 0) {
		struct loop *loop;
		struct control *c;

		close(ready[0]);
		if (loop_new(&loop) || control_open(loop, &f->d, f->socket, 0600, NULL, &pid, &c) ||
			write(ready[1], "r", 1) != 1)
			_exit(1);
		f->d.loop = loop;
		close(ready[1]);
		_exit(loop_run(loop) ? 1 : 0);
	}
	close(ready[1]);
	assert_int_equal(read(ready[0], &byte, 1), 1);
	close(ready[0]);
}

static char *take_all(int fd)
{
	off_t len = lseek(fd, 0, SEEK_END);
	char *text = calloc(1, (size_t)len + 1);

	assert_int_equal(pread(fd, text, (size_t)len, 0), len);
	close(fd);
	return text;
}

static int file_for_output(const struct fixture *f)
{
	int fd = open(f->dir, O_TMPFILE | O_RDWR, 0600);

	assert_true(fd >= 0);
	return fd;
}

/* Runs "tungate WORDS", the words parted by blanks; "@" stands for "-s SOCKET". */
static int run(struct fixture *f, const char *line)
{
	int out = file_for_output(f), err = file_for_output(f), status;
	char *copy = strdup(line), *rest = copy, *word;
	char *argv[WORDS_MAX + 2] = {(char *)"tungate"};
	int argc = 1;
	pid_t child;

	while ((word = strtok_r(NULL, " ", &rest)) && argc < WORDS_MAX) {
		argv[argc++] = strcmp(word, "@") == 0 ? (char *)"-s" : word;
		if (strcmp(word, "@") == 0)
			argv[argc++] = f->socket;
	}
	fflush(NULL);
	child = fork();
	if (child == 0) {
		dup2(out, STDOUT_FILENO);
		dup2(err, STDERR_FILENO);
		exit(tungate_main(argc, argv));
	}
	assert_int_equal(waitpid(child, &status, 0), child);
	assert_true(WIFEXITED(status));
	free(copy);
	free(f->out);
	free(f->err);
	f->out = take_all(out);
	f->err = take_all(err);
	f->status = WEXITSTATUS(status);
	return f->status;
}

static void assert_has(const char *text, const char *part)
{
	if (!strstr(text, part))
		fail_msg("no \"%s\" in: %s", part, text);
}

static size_t lines(const char *text)
{
	size_t n = 0;

	for (; *text; text++)
		n += *text == '\n';
	return n;
}

/* --- usage --- */

static void wrong_usage_ends_with_2(void **state)
{
	static const char *const wrong[] = {"", "nonsense", "fakeip", "fakeip purge",
		"fakeip flush a b", "fakeip flush a --client 1.2.3.4", "fakeip flush --type A",
		"fakeip flush -c x", "fakeip lookup", "fakeip lookup a b", "fakeip list x",
		"explain", "explain a b", "status x", "reload x", "check x", "run x", "run --json",
		"check -s x", "status -c x", "status --client 1.2.3.4", "status --type A",
		"fakeip lookup x --type A", "status --no-such", "status -x", "status -s",
		"explain a --type", "check -c", "status --json=1", "status --jsonx",
		"explain a --typeA", "version x", "explain a b c d e f g h i", "Status",
		"-- --help", "compile", "compile a", "compile -o x", "compile a -o",
		"compile a -o x -c y", "compile a -o x --format nonsense", "compile a -o x -s y",
		"compile a.dat:b@c@d -o x", "compile a:b@c --format geoip -o x", "status -o x",
		"status --format plain", "learned a", "learned --rule", "learned --client 1.2.3.4",
		"status --rule a"};
	struct fixture *f = *state;

	for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
		if (run(f, wrong[i]) != 2)
			fail_msg("tungate %s: %d", wrong[i], f->status);
		assert_string_equal(f->out, "");
		assert_has(f->err, "tungate: ");
		assert_true(strstr(f->err, "usage:") || strstr(f->err, "tungate help"));
	}
}

static void help_and_version_are_printed(void **state)
{
	static const char *const commands[] = {"run [-c FILE]", "check", "status", "fakeip list",
		"fakeip lookup NAME|ADDRESS", "fakeip flush [NAME|ADDRESS]", "explain NAME",
		"cache show [NAME]", "cache flush [NAME]", "learned [--rule RULE]", "reload",
		"compile LIST...", "version", "help"};
	struct fixture *f = *state;

	assert_int_equal(run(f, "help"), 0);
	for (size_t i = 0; i < sizeof commands / sizeof commands[0]; i++)
		assert_has(f->out, commands[i]);
	assert_string_equal(f->err, "");
	assert_int_equal(run(f, "fakeip flush a b"), 2);
	assert_string_equal(f->err, "tungate: too much: b\nusage: tungate fakeip flush "
				    "[NAME|ADDRESS] [--json] [-s SOCKET]\n");
	assert_int_equal(run(f, "--help"), 0);
	assert_int_equal(run(f, "-h"), 0);
	assert_has(f->out, "explain NAME");
	assert_int_equal(run(f, "version"), 0);
	assert_string_equal(f->out, "tungate " TUNGATE_VERSION "\n");
	assert_int_equal(run(f, "--version"), 0);
	assert_string_equal(f->out, "tungate " TUNGATE_VERSION "\n");
	assert_int_equal(run(f, "version --json"), 0);
	assert_string_equal(f->out, "{\"version\":\"" TUNGATE_VERSION "\"}\n");
}

/* Each line of the summary that shows a command names it by its words in lower case. */
static void every_command_is_in_the_manual(void **state)
{
	struct fixture *f = *state;
	char *page, *line, *rest;
	unsigned n = 0;

	page = take_all(open(SOURCE_DIR "/conf/man/tungate.8", O_RDONLY | O_CLOEXEC));
	assert_int_equal(run(f, "help"), 0);
	for (rest = f->out; (line = strsep(&rest, "\n"));) {
		char item[64];

		if (strncmp(line, "  tungate ", 10) != 0)
			continue;
		line += 10;
		line[strspn(line, "abcdefghijklmnopqrstuvwxyz ")] = 0;
		while (*line && line[strlen(line) - 1] == ' ')
			line[strlen(line) - 1] = 0;
		snprintf(item, sizeof item, "\n.It Cm %s\n", line);
		assert_has(page, item);
		snprintf(item, sizeof item, "\n.Nm\n.Cm %s\n", line);
		assert_has(page, item);
		n++;
	}
	assert_true(n >= 11);
	free(page);
}

static void run_takes_a_file(void **state)
{
	struct fixture *f = *state;

	assert_int_equal(run(f, "run -c my.yaml"), 0);
	assert_string_equal(f->out, "run my.yaml\n");
	assert_int_equal(run(f, "-cmy.yaml run"), 0);
	assert_string_equal(f->out, "run my.yaml\n");
	assert_int_equal(run(f, "run"), 0);
	assert_string_equal(f->out, "run /etc/tungate/tungate.yaml\n");
	assert_int_equal(run(f, "run -c broken.yaml"), 1);
}

/* --- check --- */

static int check(struct fixture *f, const char *text)
{
	FILE *file = fopen(f->file, "w");
	char line[128];

	assert_non_null(file);
	fputs(text, file);
	fclose(file);
	snprintf(line, sizeof line, "check -c %s", f->file);
	return run(f, line);
}

#define GOOD                                                                                       \
	"gateway: { lan: [br-lan] }\n"                                                             \
	"upstreams: { public: { servers: [\"udp://9.9.9.9\"], strategy: sequential } }\n"          \
	"default: { answer: real, upstream: public }\n"                                            \
	"fakeip: { pool6: \"2001:2::/64\" }\n"

static void check_tells_errors(void **state)
{
	struct fixture *f = *state;

	assert_int_equal(check(f, GOOD), 0);
	assert_string_equal(f->out, "");
	assert_int_equal(check(f, GOOD "lists: { odd: odd.txt }\n"), 0);
	assert_has(f->err, "odd.txt:3:1: warning: skipped\n");
	assert_int_equal(check(f, GOOD "lists: { bad: bad.txt }\n"), 1);
	assert_has(f->err, "bad.txt: cannot be read\n");
	assert_int_equal(check(f, GOOD "nonsense: 1\nlog: { level: loud }\n"), 1);
	assert_has(f->err, "t.yaml:5:1: nonsense: ");
	assert_has(f->err, "t.yaml:6:15: log.level: ");
	assert_string_equal(f->out, "");
	assert_int_equal(run(f, "check -c /nonexistent/x.yaml"), 1);
	assert_has(f->err, "/nonexistent/x.yaml");
	assert_int_equal(run(f, "check -c /tmp"), 1);
}

/* What neither the reader of the configuration nor that of the lists finds. */
static void check_tells_what_run_would(void **state)
{
	struct fixture *f = *state;
	char text[512];

	assert_int_equal(
		check(f, GOOD "records: { inline: [{ name: a, type: A, rdata: 1 }] }\n"), 1);
	assert_has(f->err, "t.yaml:9:9: records: wrong\n");
	assert_int_equal(check(f, GOOD "control: { socket: t.yaml }\n"), 1);
	assert_has(f->err, "t.yaml:5:20: control.socket: ");
	assert_has(f->err, "t.yaml: there is something else than a socket\n");
	assert_int_equal(check(f, GOOD "control: { socket: gone/s, mode: 0600 }\n"), 1);
	assert_has(f->err, "/gone/s: No such file or directory\n");
	serve(f);
	snprintf(text, sizeof text, GOOD "control: { socket: %s }\n", f->socket);
	assert_int_equal(check(f, text), 0); /* somebody listens there now: fine */
	assert_null(strstr(f->err, "control.socket"));
}

/* --- compile --- */

static void compile_makes_one_of_many(void **state)
{
	struct fixture *f = *state;
	struct json_object *counted, *value;
	char line[512], compiled[128];
	FILE *file = fopen(f->file, "w");

	assert_non_null(file);
	fputs("a.test\nb.a.test\nkeyword:ads\n10.0.0.0/8\na b\n", file);
	fclose(file);
	snprintf(compiled, sizeof compiled, "%s/compiled", f->dir);
	snprintf(line, sizeof line, "compile %s --json -o %s", f->file, compiled);
	assert_int_equal(run(f, line), 0);
	assert_has(f->err, ":5:2: warning: compile: more than one word");
	assert_int_equal(lines(f->out), 1);
	counted = json_tokener_parse(f->out);
	assert_true(json_object_object_get_ex(counted, "names", &value));
	assert_int_equal(json_object_get_int(value), 2);
	assert_true(json_object_object_get_ex(counted, "skipped", &value));
	assert_int_equal(json_object_get_int(value), 1);
	json_object_put(counted);
	snprintf(line, sizeof line, "compile %s %s -o %s", compiled, compiled, compiled);
	assert_int_equal(run(f, line), 0);
	assert_has(f->out, "keywords     1\nexpressions  0\nprefixes     1\nskipped      0\n");
	assert_string_equal(f->err, "");
	snprintf(line, sizeof line, "compile %s/none -o %s", f->dir, compiled);
	assert_int_equal(run(f, line), 1);
	assert_has(f->err, "/none: No such file or directory\n");
	assert_string_equal(f->out, "");
	assert_int_equal(unlink(compiled), 0);
}

/* --- with a daemon --- */

static void status_is_a_screen_or_json(void **state)
{
	struct fixture *f = *state;
	struct json_object *status, *value;

	f->d.n_problems = 1;
	f->d.problems[0] = "red \x1b[31m \xc2\x9b[0m\nalert";
	serve(f);
	assert_int_equal(run(f, "status @"), 0);
	assert_has(f->out, "running for 1h 2m");
	assert_has(f->out, "udp://9.9.9.9");
	assert_has(f->out, "rtt 1.5 ms");
	assert_has(f->out, "4#inet#fw4#work4");
	assert_has(f->out, "red ?[31m ?[0m?alert\n");
	assert_null(strchr(f->out, '\x1b'));
	assert_string_equal(f->err, "");
	assert_has(f->out, "exhausted 3\n");
	assert_has(f->out, "failed 0  rerouted 2\n");
	assert_has(f->out, "\nlapsed     2 times, 4.3 s in all, and is lapsed NOW\n");
	assert_has(f->out, "\nrelay      tcp 20 flows, 4 live, 18446744073709551615 bytes out, "
			   "5000000000 in; udp 30 flows, 5 live, 31 datagrams out, 32 in, "
			   "33 dropped\n");
	assert_int_equal(run(f, "--json status @"), 0);
	assert_int_equal(lines(f->out), 1);
	status = json_tokener_parse(f->out);
	assert_true(json_object_object_get_ex(status, "intercept", &value));
	assert_string_equal(json_object_get_string(value), "tun");
	json_object_put(status);
}

static void status_has_a_line_for_each_egress(void **state)
{
	static const char *const rows[] = {
		"\negress     direct       direct   up   flows 0  failures 0\n",
		"\n           proxy        socks5   up   flows 3  failures 0  rtt 2.3 ms\n",
		" http     DOWN flows 0  failures 12\n",
		"\n           none         reject   up   flows 0  failures 0\n",
		"\n           best         group    up   flows 0  failures 0  takes proxy\n",
		"\n           lost         group    DOWN flows 0  failures 0\n",
	};
	struct fixture *f = *state;

	serve(f);
	assert_int_equal(run(f, "status @"), 0);
	for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++)
		assert_has(f->out, rows[i]);
	assert_has(f->out, "\n           e?[31m\xef\xbf\xbd\"? ");
	assert_null(strchr(f->out, '\x1b'));
}

static void status_tells_of_a_stop(void **state)
{
	struct fixture *f = *state;

	f->d.state = DAEMON_LAME_DUCK;
	serve(f);
	assert_int_equal(run(f, "status @"), 0);
	assert_has(f->out, "lame_duck for 1h 2m");
}

static void list_shows_every_page(void **state)
{
	struct fixture *f = *state;
	struct json_object *all;

	f->d.n_mappings = 2500;
	serve(f);
	assert_int_equal(run(f, "fakeip list @"), 0);
	assert_int_equal(lines(f->out), 2501);
	assert_has(f->out, " n0.test\n");
	assert_has(f->out, " n2499.test\n");
	assert_int_equal(run(f, "fakeip list --json @"), 0);
	all = json_tokener_parse(f->out);
	assert_int_equal(json_object_array_length(all), 2500);
	json_object_put(all);
}

static void an_empty_list_says_so(void **state)
{
	struct fixture *f = *state;

	serve(f);
	assert_int_equal(run(f, "fakeip list @"), 0);
	assert_string_equal(f->out, "no name has a fake address\n");
	assert_int_equal(run(f, "fakeip list --json @"), 0);
	assert_string_equal(f->out, "[]\n");
}

static void lookup_tells_or_fails(void **state)
{
	struct fixture *f = *state;

	f->d.n_mappings = 10;
	serve(f);
	assert_int_equal(run(f, "fakeip lookup n4.test @"), 0);
	assert_has(f->out, "198.18.0.4\n");
	assert_has(f->out, "fd00::4\n");
	assert_int_equal(run(f, "fakeip lookup fd00::4 @ --json"), 0);
	assert_has(f->out, "\"name\":\"n4.test\"");
	assert_int_equal(run(f, "fakeip lookup twice.test @"), 0);
	assert_has(f->out, "0000000000000002");
	assert_int_equal(run(f, "fakeip lookup --client 10.0.0.1 twice.test @"), 0);
	assert_null(strstr(f->out, "0000000000000002"));
	assert_int_equal(run(f, "fakeip lookup nope.test @"), 1);
	assert_string_equal(f->out, "");
	assert_string_equal(f->err, "tungate: no such name\n");
	assert_int_equal(run(f, "fakeip lookup 198.18.3.3 @ --json"), 1);
	assert_string_equal(f->out, "");
	assert_string_equal(f->err, "tungate: no such address\n");
}

static void lookup_tells_the_verdict(void **state)
{
	struct fixture *f = *state;

	f->d.n_mappings = 12;
	serve(f);
	assert_int_equal(run(f, "fakeip lookup n0.test @"), 0);
	assert_null(strstr(f->out, "verdict"));
	assert_int_equal(run(f, "fakeip lookup n4.test @"), 0);
	assert_has(f->out, "the answer expires in 7s, flows 4\n");
	assert_has(f->out, "\n  verdict   vpn (by rule)  10.0.0.1 -\n");
	assert_int_equal(run(f, "fakeip lookup 198.18.0.5 @"), 0);
	assert_has(f->out, "\n  verdict   e?[31m\xef\xbf\xbd (by unless)  10.0.0.1 2001:db8::1\n");
	assert_int_equal(run(f, "fakeip lookup n4.test @ --json"), 0);
	assert_has(f->out, "\"verdict\":{\"egress\":\"vpn\",\"address4\":\"10.0.0.1\","
			   "\"address6\":null,\"by\":\"rule\"}");
}

static void the_cache_is_shown_and_flushed(void **state)
{
	struct fixture *f = *state;

	serve(f);
	assert_int_equal(run(f, "cache show @"), 0);
	assert_has(f->out, "a.test");
	assert_has(f->out, "A      9s");
	assert_has(f->out, "192.0.2.1");
	assert_has(f->out, "failed");
	assert_int_equal(run(f, "cache flush @"), 0);
	assert_string_equal(f->out, "100 flushed\n");
	assert_int_equal(run(f, "cache flush a.test @"), 0);
	assert_string_equal(f->out, "2 flushed\n");
	assert_int_equal(run(f, "cache flush a b"), 2);
	assert_int_equal(run(f, "cache"), 2);
}

static void flush_tells_how_many(void **state)
{
	struct fixture *f = *state;

	f->d.n_mappings = 12;
	serve(f);
	assert_int_equal(run(f, "fakeip flush @"), 0);
	assert_string_equal(
		f->out, "12 flushed, of these 6 still in use: kept until their hold is over\n");
	assert_int_equal(run(f, "fakeip flush twice.test @"), 0);
	assert_has(f->out, "2 flushed, of these 1 ");
	assert_int_equal(run(f, "@ fakeip flush fd00::4 --json"), 0);
	assert_string_equal(f->out, "{\"flushed\":1,\"kept\":0}\n");
	assert_int_equal(run(f, "fakeip flush 198.18.0.5 @ --json"), 0);
	assert_string_equal(f->out, "{\"flushed\":1,\"kept\":1}\n");
	assert_int_equal(run(f, "fakeip flush nope.test @"), 1);
	assert_string_equal(f->out, "");
	assert_string_equal(f->err, "tungate: no such name\n");
	assert_int_equal(run(f, "fakeip flush 198.18.3.3 @"), 1);
	assert_string_equal(f->err, "tungate: no such address\n");
	assert_int_equal(run(f, "fakeip flush 198.18.0.999 @"), 1);
	assert_string_equal(f->err, "tungate: no such name\n");
}

static void learned_names_are_shown(void **state)
{
	struct fixture *f = *state;

	serve(f);
	assert_int_equal(run(f, "learned @"), 0);
	assert_int_equal(lines(f->out), 3);
	assert_has(f->out, " geo 192.0.2.1 2001:db8::1\n");
	assert_has(f->out, " verified -        -\n");
	assert_has(f->out, "e?[31m");
	assert_int_equal(run(f, "learned --rule=work @"), 0);
	assert_int_equal(lines(f->out), 2);
	assert_int_equal(run(f, "learned --rule none @"), 0);
	assert_string_equal(f->out, "nothing is learned\n");
	assert_int_equal(run(f, "learned --rule work --json @"), 0);
	assert_has(f->out, "\"verified_at\":1700000002");
	assert_int_equal(run(f, "learned --rule gone @"), 1);
	assert_string_equal(f->err, "tungate: rule: no check learns names for gone; "
				    "allowed: work, x\n");
	assert_int_equal(run(f, "status @"), 0);
	assert_has(f->out, "learned    work         /var/lib/learned  names 1  learned 3  "
			   "unlearned 4\n");
	assert_has(f->out, "No space left on device\n");
}

static void explain_tells_a_story(void **state)
{
	struct fixture *f = *state;
	const char *list, *loser, *winner, *set;

	f->d.n_mappings = 5;
	serve(f);
	assert_int_equal(run(f, "explain work.test @ --client 10.0.0.1"), 0);
	assert_has(f->out, "work.test A, asked by 10.0.0.1\n");
	list = strstr(f->out, "line 7: work.test??[31m");
	loser = strstr(f->out, "no list of the rule");
	winner = strstr(f->out, "list: work holds");
	set = strstr(f->out, "4#inet#fw4#work4");
	assert_non_null(list);
	assert_true(list < loser && loser < winner && winner < set);
	assert_int_equal(run(f, "explain n3.test --type=AAAA @"), 0);
	assert_has(f->out, "n3.test AAAA\n");
	assert_has(f->out, "198.18.0.3");
	assert_int_equal(run(f, "explain never.test @"), 0);
	assert_has(f->out, "  answer     real, by rule fakes\n");
	assert_has(f->out, "  note       never fake: it is in fakeip.except (built-in)\n");
	assert_int_equal(run(f, "explain work.test @ --json"), 0);
	assert_has(f->out, "\"rule\":\"work\"");
	assert_int_equal(run(f, "explain work.test @ --client bad"), 1);
	assert_string_equal(f->err, "tungate: client: not an address\n");
	assert_int_equal(run(f, "explain bad\xff.test @"), 1);
	assert_int_equal(lines(f->err), 1);
}

static void reload_tells_what_changed(void **state)
{
	struct fixture *f = *state;

	serve(f);
	assert_int_equal(run(f, "reload @"), 0);
	assert_string_equal(f->out, "rules: 2\n");
	assert_int_equal(run(f, "reload @ --json"), 0);
	assert_string_equal(f->out, "{\"changed\":[\"rules: 2\"]}\n");
}

static void reload_tells_errors(void **state)
{
	struct fixture *f = *state;

	f->d.reload_fails = true;
	serve(f);
	assert_int_equal(run(f, "reload @"), 1);
	assert_string_equal(f->out, "");
	assert_int_equal(lines(f->err), 2);
	assert_has(f->err, "t.yaml:9:1: rulez: unknown key");
}

/* --- without one --- */

static void no_daemon_is_one_clear_line(void **state)
{
	static const char *const commands[] = {"status @", "fakeip list @", "fakeip lookup x @",
		"fakeip flush @", "fakeip flush x @ --json", "explain x @", "reload @",
		"status @ --json", "fakeip list @ --json"};
	struct fixture *f = *state;

	for (size_t i = 0; i < sizeof commands / sizeof commands[0]; i++) {
		assert_int_equal(run(f, commands[i]), 1);
		assert_string_equal(f->out, "");
		assert_has(f->err, "not running");
		assert_int_equal(lines(f->err), 1);
	}
}

/* A server that says this and closes. */
static void serve_text(struct fixture *f, const char *text)
{
	struct sockaddr_un at = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	strcpy(at.sun_path, f->socket);
	unlink(f->socket);
	assert_int_equal(bind(fd, (struct sockaddr *)&at, sizeof at), 0);
	assert_int_equal(listen(fd, 1), 0);
	f->server = fork();
	if (f->server == 0) {
		char request[4096];
		int peer = accept(fd, NULL, NULL);

		_exit(read(peer, request, sizeof request) > 0 &&
					write(peer, text, strlen(text)) == (ssize_t)strlen(text)
				? 0
				: 1);
	}
	close(fd);
}

static void a_broken_daemon_is_told(void **state)
{
	static const char *const texts[] = {"", "{\"ok\":true,\"res", "no json\n", "[]\n", "\n",
		"{}\n", "{\"ok\":false}\n", "{\"ok\":false,\"error\":5,\"errors\":7}\n"};
	struct fixture *f = *state;

	for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++) {
		serve_text(f, texts[i]);
		assert_int_equal(run(f, "status @"), 1);
		waitpid(f->server, NULL, 0);
		assert_string_equal(f->out, "");
		assert_int_equal(lines(f->err), 1);
	}
	/* Of another make: what is missing is shown as such. */
	serve_text(f, "{\"ok\":true,\"result\":{\"queries\":3,\"sets\":{},\"lists\":[1,null]}}\n");
	assert_int_equal(run(f, "status @"), 0);
	waitpid(f->server, NULL, 0);
	f->server = 0;
}

#define test(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		test(wrong_usage_ends_with_2),
		test(help_and_version_are_printed),
		test(every_command_is_in_the_manual),
		test(run_takes_a_file),
		test(check_tells_errors),
		test(check_tells_what_run_would),
		test(compile_makes_one_of_many),
		test(status_is_a_screen_or_json),
		test(status_has_a_line_for_each_egress),
		test(status_tells_of_a_stop),
		test(list_shows_every_page),
		test(an_empty_list_says_so),
		test(lookup_tells_or_fails),
		test(lookup_tells_the_verdict),
		test(the_cache_is_shown_and_flushed),
		test(learned_names_are_shown),
		test(flush_tells_how_many),
		test(explain_tells_a_story),
		test(reload_tells_what_changed),
		test(reload_tells_errors),
		test(no_daemon_is_one_clear_line),
		test(a_broken_daemon_is_told),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
