/* The control socket as its clients meet it: a loop that the test turns by hand, a daemon of the
 * test's own behind it, real sockets in front. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>
#include <json-c/json.h>

#include "gateway/control/control.h"
#include "tests/unit/control_daemon.h"

#define CONNECTIONS    32
#define LINE_MAX_BYTES 65536

/* The loop's clock, so that half a minute of silence need not be waited for. */
static time_t clock_ahead_s;

int clock_gettime(clockid_t id, struct timespec *t)
{
	long r = syscall(SYS_clock_gettime, id, t);

	t->tv_sec += clock_ahead_s;
	return (int)r;
}

struct fixture {
	struct loop *loop;
	struct control *control;
	struct daemon d;
	char dir[64], path[96];
};

struct peer {
	int fd;
	bool ended;
	size_t len;
	char *bytes;
};

static int setup(void **state)
{
	struct fixture *f = calloc(1, sizeof *f);
	int pid;

	strcpy(f->dir, "/tmp/tg-control-XXXXXX");
	if (!mkdtemp(f->dir))
		return -1;
	snprintf(f->path, sizeof f->path, "%s/s", f->dir);
	f->d.state = DAEMON_RUNNING;
	if (loop_new(&f->loop) ||
		control_open(f->loop, &f->d, f->path, 0600, NULL, &pid, &f->control))
		return -1;
	f->d.loop = f->loop;
	clock_ahead_s = 0;
	*state = f;
	return 0;
}

static int teardown(void **state)
{
	struct fixture *f = *state;

	if (f->control) {
		control_stop(f->control);
		for (int i = 0; i < 100 && !control_idle(f->control); i++)
			loop_turn(f->loop, 20);
		if (!control_idle(f->control) || access(f->path, F_OK) == 0)
			return -1;
		control_free(f->control);
	}
	loop_free(f->loop);
	if (rmdir(f->dir))
		return -1;
	free(f);
	return 0;
}

/* --- a client --- */

static struct peer peer_open(struct fixture *f)
{
	struct sockaddr_un at = {.sun_family = AF_UNIX};
	struct peer p = {.fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0)};

	strcpy(at.sun_path, f->path);
	assert_int_equal(connect(p.fd, (struct sockaddr *)&at, sizeof at), 0);
	return p;
}

static void peer_close(struct peer *p)
{
	close(p->fd);
	free(p->bytes);
	*p = (struct peer){.fd = -1};
}

static const char list_all[] = "{\"cmd\":\"fakeip.list\",\"limit\":100000}\n";

static void turn(struct fixture *f)
{
	assert_int_equal(loop_turn(f->loop, 5), 0);
}

/* Sends all, turning the loop while the socket is full. */
static void peer_send(struct fixture *f, struct peer *p, const char *bytes, size_t len)
{
	for (size_t at = 0; at < len;) {
		ssize_t n = send(p->fd, bytes + at, len - at, MSG_DONTWAIT | MSG_NOSIGNAL);

		if (n < 0)
			assert_int_equal(errno, EAGAIN);
		at += n > 0 ? (size_t)n : 0;
		if (n < 0)
			turn(f);
	}
}

static void peer_receive(struct peer *p)
{
	static char piece[1 << 16];
	ssize_t n;

	while ((n = recv(p->fd, piece, sizeof piece, MSG_DONTWAIT)) > 0) {
		p->bytes = realloc(p->bytes, p->len + (size_t)n);
		memcpy(p->bytes + p->len, piece, (size_t)n);
		p->len += (size_t)n;
	}
	if (n == 0 || errno != EAGAIN)
		p->ended = true;
}

/* The next reply; NULL: the connection has ended, or nothing came. */
static struct json_object *peer_reply(struct fixture *f, struct peer *p)
{
	struct json_tokener *t = json_tokener_new();
	struct json_object *reply;
	char *newline = NULL;

	json_tokener_set_flags(t, JSON_TOKENER_STRICT | JSON_TOKENER_VALIDATE_UTF8);
	for (int i = 0; i < 400 && !newline; i++) {
		peer_receive(p);
		newline = p->len ? memchr(p->bytes, '\n', p->len) : NULL;
		if (!newline && p->ended)
			break;
		if (!newline)
			turn(f);
	}
	if (!newline) {
		json_tokener_free(t);
		return NULL;
	}
	reply = json_tokener_parse_ex(t, p->bytes, (int)(newline - p->bytes));
	assert_int_equal(json_tokener_get_error(t), json_tokener_success);
	json_tokener_free(t);
	assert_true(json_object_is_type(reply, json_type_object));
	p->len -= (size_t)(newline + 1 - p->bytes);
	memmove(p->bytes, newline + 1, p->len);
	return reply;
}

static struct json_object *peer_ask(struct fixture *f, struct peer *p, const char *line)
{
	struct json_object *reply;

	peer_send(f, p, line, strlen(line));
	peer_send(f, p, "\n", 1);
	reply = peer_reply(f, p);
	assert_non_null(reply);
	return reply;
}

/* "a.b.2": the value there. */
static struct json_object *at(struct json_object *from, const char *path)
{
	char key[64];
	struct json_object *v = from;

	while (*path) {
		size_t n = strcspn(path, ".");

		assert_true(n < sizeof key);
		memcpy(key, path, n);
		key[n] = 0;
		path += n + (path[n] == '.');
		if (json_object_is_type(v, json_type_array))
			v = json_object_array_get_idx(v, strtoul(key, NULL, 10));
		else if (!json_object_object_get_ex(v, key, &v))
			fail_msg("no %s in %s", key, json_object_to_json_string(from));
	}
	return v;
}

static const char *text_at(struct json_object *from, const char *path)
{
	const char *text = json_object_get_string(at(from, path));

	return text ? text : "null";
}

static int64_t number_at(struct json_object *from, const char *path)
{
	assert_true(json_object_is_type(at(from, path), json_type_int));
	return json_object_get_int64(at(from, path));
}

static void assert_ok(struct json_object *reply)
{
	if (!json_object_get_boolean(at(reply, "ok")))
		fail_msg("%s", json_object_to_json_string(reply));
}

/* Asks and expects a refusal. */
static void assert_refused(struct fixture *f, struct peer *p, const char *line, int code)
{
	struct json_object *reply = peer_ask(f, p, line);

	assert_false(json_object_get_boolean(at(reply, "ok")));
	assert_int_equal(number_at(reply, "code"), code);
	assert_true(strlen(text_at(reply, "error")) > 5);
	json_object_put(reply);
}

/* --- commands --- */

static void status_tells_all(void **state)
{
	struct fixture *f = *state;
	struct peer p = peer_open(f);
	struct json_object *r;

	f->d.n_mappings = 12;
	f->d.n_problems = 2;
	f->d.problems[0] = "a \"quoted\"\nproblem";
	f->d.problems[1] = "bytes \xff\xc0\x80 \xe2\x82\xac \xed\xa0\x80 \xf4\x90\x80\x80 \xe2\x82";
	r = peer_ask(f, &p, "{\"cmd\":\"status\"}");
	assert_ok(r);
	assert_string_equal(text_at(r, "result.version"), TUNGATE_VERSION);
	assert_int_equal(number_at(r, "result.pid"), getpid());
	assert_int_equal(number_at(r, "result.uptime_s"), 3725);
	assert_string_equal(text_at(r, "result.state"), "running");
	assert_string_equal(text_at(r, "result.intercept"), "tun");
	assert_int_equal(number_at(r, "result.workers"), 2);
	assert_string_equal(text_at(r, "result.marks.own"), "0x10000000/0x10000000");
	assert_string_equal(text_at(r, "result.marks.tun"), "0x20000000/0x20000000");
	assert_int_equal(number_at(r, "result.queries.total"), 9);
	assert_int_equal(number_at(r, "result.queries.failed"), 0);
	assert_int_equal(number_at(r, "result.queries.rerouted"), 2);
	assert_string_equal(text_at(r, "result.fakeip.pool4"), "198.18.0.0/15");
	assert_int_equal(number_at(r, "result.fakeip.used"), 12);
	assert_int_equal(number_at(r, "result.fakeip.free"), 1000000 - 12);
	assert_int_equal(number_at(r, "result.fakeip.in_hold"), 1);
	assert_int_equal(number_at(r, "result.cache.entries"), 41);
	assert_int_equal(number_at(r, "result.cache.bytes"), 4100);
	assert_int_equal(number_at(r, "result.cache.hits"), 42);
	assert_int_equal(number_at(r, "result.cache.misses"), 43);
	assert_int_equal(number_at(r, "result.cache.stale"), 44);
	assert_int_equal(number_at(r, "result.cache.refreshes"), 45);
	assert_int_equal(number_at(r, "result.cache.evicted"), 46);
	assert_int_equal(number_at(r, "result.answers.rebind"), 47);
	assert_int_equal(number_at(r, "result.answers.forged"), 48);
	assert_int_equal(number_at(r, "result.answers.bogus"), 49);
	assert_int_equal(number_at(r, "result.answers.poisoned_names"), 50);
	assert_string_equal(text_at(r, "result.upstreams.0.url"), "udp://9.9.9.9");
	assert_int_equal(number_at(r, "result.upstreams.0.rtt_us"), 1500);
	assert_int_equal(number_at(r, "result.fakeip.flushed"), 2);
	assert_int_equal(number_at(r, "result.fakeip.exhausted"), 3);
	assert_int_equal(number_at(r, "result.loops_stopped"), 7);
	assert_int_equal(number_at(r, "result.leaks_stopped"), 51);
	assert_int_equal(number_at(r, "result.lapses.times"), 2);
	assert_int_equal(number_at(r, "result.lapses.ms"), 4321);
	assert_int_equal(number_at(r, "result.push_errors"), 8);
	assert_int_equal(number_at(r, "result.stray"), 9);
	assert_int_equal(number_at(r, "result.outside"), 10);
	assert_int_equal(number_at(r, "result.unmapped"), 11);
	assert_string_equal(text_at(r, "result.sets.0.set"), "4#inet#fw4#work4");
	assert_int_equal(number_at(r, "result.sets.0.elements"), 5);
	assert_int_equal(number_at(r, "result.lists.0.names"), 3);
	assert_int_equal(number_at(r, "result.lists.0.cidrs"), 2);
	assert_string_equal(text_at(r, "result.problems.0"), "a \"quoted\"\nproblem");
	assert_string_equal(text_at(r, "result.problems.1"),
		"bytes \xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd \xe2\x82\xac "
		"\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd "
		"\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd \xef\xbf\xbd\xef\xbf\xbd");
	json_object_put(r);
	peer_close(&p);
}

static void status_tells_every_egress(void **state)
{
	static const char *const types[] = {"direct", "socks5", "http", "reject", "group", "group"};
	struct fixture *f = *state;
	struct peer p = peer_open(f);
	struct json_object *r = peer_ask(f, &p, "{\"cmd\":\"status\"}"), *all, *none;

	assert_ok(r);
	all = at(r, "result.egress");
	assert_int_equal(json_object_array_length(all), sizeof types / sizeof types[0]);
	for (size_t i = 0; i < sizeof types / sizeof types[0]; i++) {
		struct json_object *one = json_object_array_get_idx(all, i);

		assert_string_equal(text_at(one, "type"), types[i]);
		assert_int_equal(json_object_get_boolean(at(one, "up")), i != 2 && i != 5);
		assert_int_equal(
			json_object_object_get_ex(one, "member", &none), types[i][0] == 'g');
	}
	assert_int_equal(number_at(all, "1.flows"), 3);
	assert_int_equal(number_at(all, "1.rtt_us"), 2300);
	assert_int_equal(number_at(all, "1.failures"), 0);
	assert_int_equal(number_at(all, "1.dropped"), 6);
	assert_string_equal(text_at(all, "2.name"), "e\x1b[31m\xef\xbf\xbd\"\n");
	assert_int_equal(number_at(all, "2.failures"), 12);
	assert_string_equal(text_at(all, "4.member"), "proxy");
	assert_null(at(all, "5.member"));
	json_object_put(r);
	peer_close(&p);
}

static void status_tells_what_the_relay_did(void **state)
{
	struct fixture *f = *state;
	struct peer p = peer_open(f);
	struct json_object *r = peer_ask(f, &p, "{\"cmd\":\"status\"}"), *relay;

	assert_ok(r);
	relay = at(r, "result.relay");
	assert_int_equal(number_at(relay, "tcp.flows"), 20);
	assert_int_equal(number_at(relay, "tcp.live"), 4);
	assert_true(json_object_get_uint64(at(relay, "tcp.to_egress_bytes")) == UINT64_MAX);
	assert_int_equal(number_at(relay, "tcp.to_client_bytes"), 5000000000);
	assert_int_equal(number_at(relay, "udp.flows"), 30);
	assert_int_equal(number_at(relay, "udp.live"), 5);
	assert_int_equal(number_at(relay, "udp.to_egress"), 31);
	assert_int_equal(number_at(relay, "udp.to_client"), 32);
	assert_int_equal(number_at(relay, "udp.dropped"), 33);
	json_object_put(r);
	peer_close(&p);
}

static void status_tells_how_far_a_stop_has_come(void **state)
{
	static const char *const names[] = {[DAEMON_STARTING] = "starting",
		[DAEMON_RUNNING] = "running",
		[DAEMON_LAME_DUCK] = "lame_duck",
		[DAEMON_STOPPING] = "lame_duck"};
	struct fixture *f = *state;
	struct peer p = peer_open(f);

	for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
		struct json_object *r;

		f->d.state = (enum daemon_state)i;
		r = peer_ask(f, &p, "{\"cmd\":\"status\"}");
		assert_string_equal(text_at(r, "result.state"), names[i]);
		json_object_put(r);
	}
	peer_close(&p);
}

static void help_lists_every_command(void **state)
{
	static const char *const names[] = {"status", "fakeip.list", "fakeip.lookup",
		"fakeip.flush", "explain", "cache.show", "cache.flush", "learned", "reload",
		"records.set", "records.delete", "records.list", "help", "version"};
	struct fixture *f = *state;
	struct peer p = peer_open(f);
	struct json_object *r = peer_ask(f, &p, "{\"cmd\":\"help\"}"), *all = at(r, "result");

	assert_int_equal(json_object_array_length(all), sizeof names / sizeof names[0]);
	for (size_t i = 0; i < sizeof names / sizeof names[0]; i++)
		assert_string_equal(text_at(json_object_array_get_idx(all, i), "cmd"), names[i]);
	assert_string_equal(text_at(all, "3.arguments"), "name, address");
	json_object_put(r);
	r = peer_ask(f, &p, "{\"cmd\":\"version\"}");
	assert_string_equal(text_at(r, "result.version"), TUNGATE_VERSION);
	json_object_put(r);
	peer_close(&p);
}

static void the_cache_is_shown_and_flushed(void **state)
{
	struct fixture *f = *state;
	struct peer p = peer_open(f);
	struct json_object *r = peer_ask(f, &p, "{\"cmd\":\"cache.show\",\"name\":\"a.test\"}");

	assert_ok(r);
	assert_int_equal(json_object_array_length(at(r, "result")), 2);
	assert_string_equal(text_at(r, "result.0.name"), "a.test");
	assert_string_equal(text_at(r, "result.0.type"), "A");
	assert_int_equal(number_at(r, "result.0.ttl_s"), 9);
	assert_int_equal(number_at(r, "result.0.rcode"), 0);
	assert_string_equal(text_at(r, "result.0.addresses.0"), "192.0.2.1");
	assert_string_equal(text_at(r, "result.0.state"), "fresh");
	assert_int_equal(number_at(r, "result.0.records"), 1);
	assert_string_equal(text_at(r, "result.1.type"), "AAAA");
	assert_int_equal(number_at(r, "result.1.rcode"), 2);
	assert_string_equal(text_at(r, "result.1.state"), "failed");
	assert_int_equal(json_object_array_length(at(r, "result.1.addresses")), 0);
	json_object_put(r);
	r = peer_ask(f, &p, "{\"cmd\":\"cache.show\",\"limit\":1}");
	assert_int_equal(json_object_array_length(at(r, "result")), 1);
	json_object_put(r);
	r = peer_ask(f, &p, "{\"cmd\":\"cache.flush\"}");
	assert_int_equal(number_at(r, "result.flushed"), 100);
	json_object_put(r);
	r = peer_ask(f, &p, "{\"cmd\":\"cache.flush\",\"name\":\"a.test\"}");
	assert_int_equal(number_at(r, "result.flushed"), 2);
	json_object_put(r);
	r = peer_ask(f, &p, "{\"cmd\":\"cache.flush\",\"name\":\"no name\"}");
	assert_int_equal(number_at(r, "code"), 400);
	json_object_put(r);
	r = peer_ask(f, &p, "{\"cmd\":\"cache.show\",\"name\":\"no name\"}");
	assert_int_equal(number_at(r, "code"), 400);
	json_object_put(r);
	peer_close(&p);
}

static void learned_names_are_shown(void **state)
{
	struct fixture *f = *state;
	struct peer p = peer_open(f);
	struct json_object *r = peer_ask(f, &p, "{\"cmd\":\"learned\"}");

	assert_ok(r);
	assert_int_equal(json_object_array_length(at(r, "result")), 3);
	assert_string_equal(text_at(r, "result.0.name"), "l0.test");
	assert_string_equal(text_at(r, "result.0.rule"), "work");
	assert_string_equal(text_at(r, "result.0.list"), "geo");
	assert_int_equal(number_at(r, "result.0.learned_at"), 1700000001);
	assert_int_equal(number_at(r, "result.0.asked_at"), 1700000009);
	assert_int_equal(number_at(r, "result.0.verified_at"), 1700000002);
	assert_string_equal(text_at(r, "result.0.addresses.0"), "192.0.2.1");
	assert_string_equal(text_at(r, "result.0.addresses.1"), "2001:db8::1");
	assert_null(at(r, "result.1.list"));
	assert_null(at(r, "result.1.learned_at"));
	assert_null(at(r, "result.1.verified_at"));
	assert_int_equal(json_object_array_length(at(r, "result.1.addresses")), 0);
	assert_string_equal(text_at(r, "result.2.rule"), "e\x1b[31m\xef\xbf\xbd");
	json_object_put(r);
	r = peer_ask(f, &p, "{\"cmd\":\"learned\",\"rule\":\"work\"}");
	assert_int_equal(json_object_array_length(at(r, "result")), 2);
	json_object_put(r);
	r = peer_ask(f, &p, "{\"cmd\":\"learned\",\"rule\":\"none\"}");
	assert_int_equal(json_object_array_length(at(r, "result")), 0);
	json_object_put(r);
	r = peer_ask(f, &p, "{\"cmd\":\"learned\",\"limit\":2}");
	assert_int_equal(json_object_array_length(at(r, "result")), 2);
	assert_string_equal(text_at(r, "result.0.name"), "l0.test");
	json_object_put(r);
	assert_refused(f, &p, "{\"cmd\":\"learned\",\"rule\":\"gone\"}", 404);
	assert_refused(f, &p, "{\"cmd\":\"learned\",\"rule\":7}", 400);
	assert_refused(f, &p, "{\"cmd\":\"learned\",\"name\":\"a.test\"}", 400);
	r = peer_ask(f, &p, "{\"cmd\":\"status\"}");
	assert_int_equal(json_object_array_length(at(r, "result.learned")), 2);
	assert_string_equal(text_at(r, "result.learned.0.file"), "/var/lib/learned");
	assert_string_equal(text_at(r, "result.learned.0.rule"), "work");
	assert_int_equal(number_at(r, "result.learned.0.names"), 1);
	assert_int_equal(number_at(r, "result.learned.0.lines"), 2);
	assert_int_equal(number_at(r, "result.learned.0.learned"), 3);
	assert_int_equal(number_at(r, "result.learned.0.unlearned"), 4);
	assert_int_equal(number_at(r, "result.learned.0.evicted.capacity"), 5);
	assert_int_equal(number_at(r, "result.learned.0.evicted.age"), 6);
	assert_int_equal(number_at(r, "result.learned.0.compactions"), 7);
	assert_int_equal(number_at(r, "result.learned.0.restored"), 8);
	assert_null(at(r, "result.learned.0.error"));
	assert_string_equal(text_at(r, "result.learned.1.file"), "f\xef\xbf\xbd");
	assert_string_equal(text_at(r, "result.learned.1.error"), "No space left on device");
	json_object_put(r);
	peer_close(&p);
}

static void lookup_finds_names_and_addresses(void **state)
{
	struct fixture *f = *state;
	struct peer p = peer_open(f);
	struct json_object *r;

	f->d.n_mappings = 300;
	r = peer_ask(f, &p, "{\"cmd\":\"fakeip.lookup\",\"name\":\"n258.test\"}");
	assert_ok(r);
	assert_string_equal(text_at(r, "result.name"), "n258.test");
	assert_string_equal(text_at(r, "result.view"), "");
	assert_string_equal(text_at(r, "result.v4"), "198.18.1.2");
	assert_string_equal(text_at(r, "result.v6"), "fd00::102");
	assert_string_equal(text_at(r, "result.egress"), "vpn");
	assert_string_equal(text_at(r, "result.state"), "live");
	assert_int_equal(number_at(r, "result.last_answer_s"), 258);
	assert_null(at(r, "result.verdict"));
	json_object_put(r);

	r = peer_ask(f, &p, "{\"cmd\":\"fakeip.lookup\",\"address\":\"fd00::3\"}");
	assert_string_equal(text_at(r, "result.name"), "n3.test");
	assert_string_equal(text_at(r, "result.state"), "hold");
	assert_null(at(r, "result.rule"));
	json_object_put(r);

	r = peer_ask(f, &p, "{\"cmd\":\"fakeip.lookup\",\"name\":\"twice.test\"}");
	assert_int_equal(json_object_array_length(at(r, "result")), 2);
	assert_string_equal(text_at(r, "result.1.view"), "0000000000000002");
	json_object_put(r);

	r = peer_ask(f, &p,
		"{\"cmd\":\"fakeip.lookup\",\"name\":\"twice.test\",\"client\":\"10.0.0.1\"}");
	assert_string_equal(text_at(r, "result.view"), "0000000000000001");
	json_object_put(r);

	assert_refused(f, &p, "{\"cmd\":\"fakeip.lookup\",\"name\":\"nothere.test\"}", 404);
	assert_refused(f, &p, "{\"cmd\":\"fakeip.lookup\",\"address\":\"198.18.9.9\"}", 404);
	assert_refused(f, &p, "{\"cmd\":\"fakeip.lookup\"}", 400);
	assert_refused(f, &p,
		"{\"cmd\":\"fakeip.lookup\",\"name\":\"n1.test\",\"address\":\"198.18.0.1\"}", 400);
	assert_refused(
		f, &p, "{\"cmd\":\"fakeip.lookup\",\"name\":\"n1.test\",\"client\":\"bad\"}", 400);
	peer_close(&p);
}

/* What went on behind the fake pair. */
static void lookup_tells_the_verdict(void **state)
{
	struct fixture *f = *state;
	struct peer p = peer_open(f);
	struct json_object *r;

	f->d.n_mappings = 10;
	r = peer_ask(f, &p, "{\"cmd\":\"fakeip.lookup\",\"name\":\"n0.test\"}");
	assert_null(at(r, "result.verdict"));
	assert_int_equal(number_at(r, "result.expires_in_s"), 7);
	assert_int_equal(number_at(r, "result.flows"), 0);
	assert_false(json_object_get_boolean(at(r, "result.flushed")));
	json_object_put(r);

	r = peer_ask(f, &p, "{\"cmd\":\"fakeip.lookup\",\"name\":\"n7.test\"}");
	assert_string_equal(text_at(r, "result.verdict.egress"), "vpn");
	assert_string_equal(text_at(r, "result.verdict.by"), "rule");
	assert_string_equal(text_at(r, "result.verdict.address4"), "10.0.0.1");
	assert_null(at(r, "result.verdict.address6"));
	assert_int_equal(number_at(r, "result.flows"), 7);
	assert_true(json_object_get_boolean(at(r, "result.flushed")));
	json_object_put(r);

	r = peer_ask(f, &p, "{\"cmd\":\"fakeip.lookup\",\"address\":\"198.18.0.8\"}");
	assert_string_equal(text_at(r, "result.verdict.egress"), "e\x1b[31m\xef\xbf\xbd");
	assert_string_equal(text_at(r, "result.verdict.by"), "unless");
	assert_string_equal(text_at(r, "result.verdict.address4"), "10.0.0.1");
	assert_string_equal(text_at(r, "result.verdict.address6"), "2001:db8::1");
	json_object_put(r);
	peer_close(&p);
}

/* Asks for a flush and expects these counts. */
static void flushed(
	struct fixture *f, struct peer *p, const char *line, int64_t flushed, int64_t kept)
{
	struct json_object *r = peer_ask(f, p, line);

	assert_ok(r);
	assert_int_equal(number_at(r, "result.flushed"), flushed);
	assert_int_equal(number_at(r, "result.kept"), kept);
	json_object_put(r);
}

static void flush_takes_a_name_an_address_or_all(void **state)
{
	static const struct {
		const char *line;
		int code;
	} wrong[] = {
		{"{\"cmd\":\"fakeip.flush\",\"name\":\"nothere.test\"}", 404},
		{"{\"cmd\":\"fakeip.flush\",\"address\":\"198.18.9.9\"}", 404},
		{"{\"cmd\":\"fakeip.flush\",\"name\":\"\"}", 404}, /* not: all */
		{"{\"cmd\":\"fakeip.flush\",\"address\":\"\"}", 404},
		{"{\"cmd\":\"fakeip.flush\",\"name\":\"n\xc3\xa9\x7f\\u001b[31m\"}", 404},
	};
	static const char *const refused[] = {
		"{\"cmd\":\"fakeip.flush\",\"name\":\"n1.test\",\"address\":\"198.18.0.1\"}",
		"{\"cmd\":\"fakeip.flush\",\"name\":\"\",\"address\":\"\"}",
		"{\"cmd\":\"fakeip.flush\",\"name\":[\"n1.test\"]}",
		"{\"cmd\":\"fakeip.flush\",\"name\":false}",
		"{\"cmd\":\"fakeip.flush\",\"name\":\"n1.test\\u0000\"}",
		"{\"cmd\":\"fakeip.flush\",\"client\":\"10.0.0.1\"}",
		"{\"cmd\":\"fakeip.flush\",\"nmae\":\"n1.test\"}",
	};
	struct fixture *f = *state;
	struct peer p = peer_open(f);

	f->d.n_mappings = 12;
	flushed(f, &p, "{\"cmd\":\"fakeip.flush\"}", 12, 6);
	flushed(f, &p, "{\"cmd\":\"fakeip.flush\",\"name\":\"n4.test\"}", 1, 0);
	flushed(f, &p, "{\"cmd\":\"fakeip.flush\",\"name\":\"twice.test\"}", 2, 1);
	flushed(f, &p, "{\"cmd\":\"fakeip.flush\",\"address\":\"fd00::5\"}", 1, 1);
	for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++)
		assert_refused(f, &p, wrong[i].line, wrong[i].code);
	assert_int_equal(f->d.flushes, 4 + sizeof wrong / sizeof wrong[0]);
	for (size_t i = 0; i < sizeof refused / sizeof refused[0]; i++)
		assert_refused(f, &p, refused[i], 400);
	assert_int_equal(f->d.flushes, 4 + sizeof wrong / sizeof wrong[0]);
	peer_close(&p);
}

/* Asks for a page, checks that it goes on where `from` says, returns how many it has. */
static size_t page(struct fixture *f, struct peer *p, const char *line, unsigned from)
{
	struct json_object *r = peer_ask(f, p, line), *result, *next;
	size_t n;
	char name[32];

	assert_ok(r);
	result = at(r, "result");
	n = json_object_array_length(result);
	for (size_t i = 0; i < n; i++) {
		snprintf(name, sizeof name, "n%zu.test", from + i);
		assert_string_equal(text_at(json_object_array_get_idx(result, i), "name"), name);
	}
	if (from + n < f->d.n_mappings && n > 0)
		assert_int_equal(number_at(r, "next"), (from + n) * 10);
	else
		assert_false(json_object_object_get_ex(r, "next", &next));
	json_object_put(r);
	return n;
}

static void list_is_paged(void **state)
{
	struct fixture *f = *state;
	struct peer p = peer_open(f);

	assert_int_equal(page(f, &p, "{\"cmd\":\"fakeip.list\"}", 0), 0);
	f->d.n_mappings = 2500;
	assert_int_equal(page(f, &p, "{\"cmd\":\"fakeip.list\"}", 0), 1000);
	assert_int_equal(page(f, &p, "{\"cmd\":\"fakeip.list\",\"after\":10000}", 1000), 1000);
	assert_int_equal(page(f, &p, "{\"cmd\":\"fakeip.list\",\"after\":20000}", 2000), 500);
	assert_int_equal(page(f, &p, "{\"cmd\":\"fakeip.list\",\"limit\":1}", 0), 1);
	assert_int_equal(page(f, &p, "{\"cmd\":\"fakeip.list\",\"limit\":2,\"after\":70}", 7), 2);
	assert_int_equal(page(f, &p, "{\"cmd\":\"fakeip.list\",\"limit\":0}", 0), 0);
	assert_int_equal(page(f, &p, "{\"cmd\":\"fakeip.list\",\"after\":25000}", 2500), 0);
	/* A reply of many pieces. */
	assert_int_equal(page(f, &p, "{\"cmd\":\"fakeip.list\",\"limit\":100000}", 0), 2500);
	f->d.n_mappings = 1000;
	assert_int_equal(page(f, &p, "{\"cmd\":\"fakeip.list\"}", 0), 1000);
	peer_close(&p);
}

static void explain_tells_the_way(void **state)
{
	struct fixture *f = *state;
	struct peer p = peer_open(f);
	struct json_object *r = peer_ask(f, &p, "{\"cmd\":\"explain\",\"name\":\"work.test\"}");

	assert_ok(r);
	assert_string_equal(text_at(r, "result.type"), "A");
	assert_null(at(r, "result.client"));
	assert_string_equal(text_at(r, "result.lists.0.file"), "w\xef\xbf\xbd.txt");
	assert_int_equal(number_at(r, "result.lists.0.line"), 7);
	assert_string_equal(text_at(r, "result.lists.0.text"), "work.test\t\x1b[31m");
	assert_null(at(r, "result.lists.1.line"));
	assert_false(json_object_get_boolean(at(r, "result.rules.0.matched")));
	assert_true(json_object_get_boolean(at(r, "result.rules.1.matched")));
	assert_string_equal(text_at(r, "result.rules.1.why"), "list: work holds the name");
	assert_string_equal(text_at(r, "result.rule"), "work");
	assert_string_equal(text_at(r, "result.answer"), "real");
	assert_null(at(r, "result.egress"));
	assert_string_equal(text_at(r, "result.upstream"), "public");
	assert_string_equal(text_at(r, "result.sets.0"), "4#inet#fw4#work4");
	assert_string_equal(text_at(r, "result.sets.1"), "ip6#t#s");
	assert_string_equal(text_at(r, "result.sets.2"), "6#old6");
	assert_null(at(r, "result.fakeip"));
	assert_string_equal(text_at(r, "result.cache.state"), "stale");
	assert_int_equal(number_at(r, "result.cache.ttl_s"), 0);
	assert_false(json_object_get_boolean(at(r, "result.records")));
	assert_int_equal(json_object_array_length(at(r, "result.notes")), 0);
	json_object_put(r);

	f->d.n_mappings = 5;
	r = peer_ask(f, &p,
		"{\"cmd\":\"explain\",\"name\":\"n4.test\",\"type\":\"HTTPS\",\"client\":\"10.0.0."
		"1\"}");
	assert_string_equal(text_at(r, "result.client"), "10.0.0.1");
	assert_string_equal(text_at(r, "result.answer"), "fake");
	assert_string_equal(text_at(r, "result.egress"), "vpn");
	assert_string_equal(text_at(r, "result.fakeip.v4"), "198.18.0.4");
	assert_non_null(strstr(text_at(r, "result.notes.0"), "NODATA"));
	json_object_put(r);

	f->d.https = CONF_HTTPS_REWRITE;
	r = peer_ask(f, &p, "{\"cmd\":\"explain\",\"name\":\"n4.test\",\"type\":\"HTTPS\"}");
	assert_non_null(strstr(text_at(r, "result.notes.0"), "fake addresses as hints"));
	json_object_put(r);

	r = peer_ask(f, &p, "{\"cmd\":\"explain\",\"name\":\"never.test\"}");
	assert_string_equal(text_at(r, "result.rule"), "fakes");
	assert_string_equal(text_at(r, "result.answer"), "real");
	assert_non_null(strstr(text_at(r, "result.notes.0"), "fakeip.except (built-in)"));
	json_object_put(r);

	r = peer_ask(f, &p, "{\"cmd\":\"explain\",\"name\":\"else.test\"}");
	assert_null(at(r, "result.rule"));
	assert_non_null(strstr(text_at(r, "result.notes.0"), "default"));
	assert_non_null(strstr(text_at(r, "result.notes.1"), "SERVFAIL"));
	json_object_put(r);
	assert_refused(f, &p, "{\"cmd\":\"explain\"}", 400);
	assert_refused(f, &p, "{\"cmd\":\"explain\",\"name\":\"x\",\"client\":\"bad\"}", 400);
	peer_close(&p);
}

static void reload_tells_changes_or_errors(void **state)
{
	struct fixture *f = *state;
	struct peer p = peer_open(f);
	struct json_object *r = peer_ask(f, &p, "{\"cmd\":\"reload\"}");

	assert_ok(r);
	assert_string_equal(text_at(r, "result.changed.0"), "rules: 2");
	json_object_put(r);
	f->d.reload_fails = true;
	r = peer_ask(f, &p, "{\"cmd\":\"reload\"}");
	assert_false(json_object_get_boolean(at(r, "ok")));
	assert_int_equal(number_at(r, "code"), 422);
	assert_string_equal(text_at(r, "error"), text_at(r, "errors.0"));
	assert_int_equal(json_object_array_length(at(r, "errors")), 2);
	assert_non_null(strstr(text_at(r, "errors.1"), "rulez"));
	json_object_put(r);
	assert_int_equal(f->d.reloads, 2);
	peer_close(&p);
}

static void a_reload_that_lasts(void **state)
{
	struct fixture *f = *state;
	struct peer p = peer_open(f), other = peer_open(f);
	static const char reload[] = "{\"cmd\":\"reload\"}\n";
	struct json_object *r;

	f->d.reloading.wait_ms = 30;
	peer_send(f, &p, reload, sizeof reload - 1);
	while (!f->d.reloading.done)
		turn(f);
	r = peer_ask(f, &other, "{\"cmd\":\"version\"}"); /* others do not wait for it */
	assert_ok(r);
	json_object_put(r);
	assert_refused(f, &other, "{\"cmd\":\"reload\"}", 503);
	peer_close(&p); /* who asked is gone before it ends: nobody is told */
	while (f->d.reloading.done)
		turn(f);
	r = peer_ask(f, &other, "{\"cmd\":\"reload\"}");
	assert_ok(r);
	json_object_put(r);
	assert_int_equal(f->d.reloads, 2);
	peer_close(&other);
}

/* --- the protocol --- */

static void records_are_pushed_and_deleted(void **state)
{
	struct fixture *f = *state;
	struct peer p = peer_open(f);
	struct json_object *r = peer_ask(f, &p,
		"{\"cmd\":\"records.set\",\"source\":\"dhcp\",\"records\": [ {\"name\": \"a/b\","
		"\"rdata\":{\"params\":{\"alpn\":[\"h2\"]}}}, {} ]}");

	assert_ok(r);
	assert_string_equal(text_at(r, "result.source"), "dhcp");
	assert_int_equal(number_at(r, "result.records"), 2);
	assert_string_equal(f->d.pushed,
		"dhcp [{\"name\":\"a/b\",\"rdata\":{\"params\":{\"alpn\":[\"h2\"]}}},{}]");
	json_object_put(r);
	r = peer_ask(f, &p, "{\"cmd\":\"records.set\",\"source\":\"dhcp\",\"records\":[]}");
	assert_int_equal(number_at(r, "result.records"), 0);
	assert_string_equal(f->d.pushed, "dhcp []");
	json_object_put(r);
	r = peer_ask(f, &p, "{\"cmd\":\"records.delete\",\"source\":\"dhcp\"}");
	assert_ok(r);
	assert_string_equal(f->d.pushed, "dhcp");
	json_object_put(r);

	assert_refused(f, &p, "{\"cmd\":\"records.delete\",\"source\":\"gone\"}", 404);
	assert_refused(f, &p, "{\"cmd\":\"records.delete\"}", 400);
	assert_refused(f, &p, "{\"cmd\":\"records.set\",\"source\":\"a\"}", 400);
	assert_refused(f, &p, "{\"cmd\":\"records.set\",\"records\":[]}", 400);
	assert_refused(f, &p, "{\"cmd\":\"records.set\",\"source\":\"a\",\"records\":{}}", 400);
	assert_refused(f, &p, "{\"cmd\":\"records.set\",\"source\":\"a\",\"records\":\"[]\"}", 400);
	assert_refused(f, &p, "{\"cmd\":\"records.set\",\"source\":5,\"records\":[]}", 400);
	assert_refused(f, &p,
		"{\"cmd\":\"records.set\",\"source\":\"a\",\"records\":[[[[[[[[]]]]]]]]}", 400);
	assert_refused(f, &p, "{\"cmd\":\"records.set\",\"source\":\"disk\",\"records\":[]}", 500);
	assert_string_equal(f->d.pushed, "dhcp");
	r = peer_ask(f, &p, "{\"cmd\":\"records.set\",\"source\":\"bad\",\"records\":[]}");
	assert_int_equal(number_at(r, "code"), 422);
	assert_string_equal(text_at(r, "error"),
		"records[3].rdata: not an IPv4 address; allowed: an IPv4 address");
	json_object_put(r);
	peer_close(&p);
}

static void records_are_listed(void **state)
{
	struct fixture *f = *state;
	struct peer p = peer_open(f);
	struct json_object *r;

	f->d.stored = "{\n\"one\": [{\"name\": \"a.test\"}],\n\"two\": []\n}\n";
	r = peer_ask(f, &p, "{\"cmd\":\"records.list\"}");
	assert_ok(r);
	assert_string_equal(text_at(r, "result.one.0.name"), "a.test");
	assert_int_equal(json_object_object_length(at(r, "result")), 2);
	json_object_put(r);
	r = peer_ask(f, &p, "{\"cmd\":\"records.list\",\"source\":\"one\"}");
	assert_string_equal(text_at(r, "result.one.0.name"), "a.test");
	assert_int_equal(json_object_object_length(at(r, "result")), 1);
	json_object_put(r);
	assert_refused(f, &p, "{\"cmd\":\"records.list\",\"source\":\"three\"}", 404);
	f->d.stored = "{\"one\": [}";
	assert_refused(f, &p, "{\"cmd\":\"records.list\"}", 500);
	f->d.stored = "{\"\xff\": []}";
	assert_refused(f, &p, "{\"cmd\":\"records.list\"}", 500);
	f->d.stored = NULL;
	assert_refused(f, &p, "{\"cmd\":\"records.list\"}", 500);
	peer_close(&p);
}

static void nonsense_is_refused_and_the_connection_stays(void **state)
{
	static const struct {
		const char *line;
		int code;
	} cases[] = {
		{"", 400},
		{" \t\r", 400},
		{"hello", 400},
		{"{", 400},
		{"}", 400},
		{"[]", 400},
		{"null", 400},
		{"\"status\"", 400},
		{"{\"cmd\":\"status\"", 400},
		{"{\"cmd\":\"status\"}}", 400},
		{"{\"cmd\":\"status\"} {\"cmd\":\"status\"}", 400},
		{"{\"cmd\":status}", 400},
		{"{'cmd':'status'}", 400},
		{"{}", 400},
		{"{\"cmd\":null}", 400},
		{"{\"cmd\":1}", 400},
		{"{\"cmd\":[\"status\"]}", 400},
		{"{\"cmd\":\"sta\\u0000tus\"}", 400},
		{"{\"cmd\":\"sta\xff\"}", 400},
		{"{\"cmd\":\"status\",\"nmae\":1}", 400},
		{"{\"cmd\":\"status\",\"name\":\"a\"}", 400},
		{"{\"cmd\":\"explain\",\"name\":5}", 400},
		{"{\"cmd\":\"fakeip.list\",\"limit\":-1}", 400},
		{"{\"cmd\":\"fakeip.list\",\"limit\":1.5}", 400},
		{"{\"cmd\":\"fakeip.list\",\"limit\":\"5\"}", 400},
		{"{\"cmd\":\"fakeip.list\",\"after\":4294967295}", 400},
		{"{\"cmd\":\"fakeip.list\",\"after\":99999999999999999999999}", 400},
		{"{\"cmd\":{\"a\":{\"a\":{\"a\":{\"a\":{\"a\":{\"a\":{\"a\":{\"a\":{}}}}}}}}}}",
			400},
		{"{\"cmd\":\"\"}", 405},
		{"{\"cmd\":\"fakeip.flush \"}", 405},
		{"{\"cmd\":\"fakeip\"}", 405},
		{"{\"cmd\":\"no\\u20acsuch\"}", 405},
	};
	static const char nul[] = "{\"cmd\":\"sta\0tus\"}\n";
	struct fixture *f = *state;
	struct peer p = peer_open(f);
	struct json_object *r;

	for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++)
		assert_refused(f, &p, cases[i].line, cases[i].code);
	peer_send(f, &p, nul, sizeof nul - 1);
	r = peer_reply(f, &p);
	assert_int_equal(number_at(r, "code"), 400);
	json_object_put(r);
	r = peer_ask(f, &p, " {\"cmd\" : \"version\", \"name\" : null}\r");
	assert_ok(r);
	json_object_put(r);
	peer_close(&p);
}

static void lines_may_be_torn_or_many_at_once(void **state)
{
	static const char line[] = "{\"cmd\":\"version\"}\n";
	struct fixture *f = *state;
	struct peer p = peer_open(f);
	struct json_object *r;
	char many[200 * 64];
	size_t len = 0;

	for (size_t i = 0; i < sizeof line - 1; i++) {
		peer_send(f, &p, line + i, 1);
		turn(f);
		peer_receive(&p);
		assert_true(i == sizeof line - 2 || p.len == 0);
	}
	r = peer_reply(f, &p);
	assert_ok(r);
	json_object_put(r);

	f->d.n_mappings = 200;
	for (unsigned i = 0; i < 200; i++)
		len += (size_t)snprintf(many + len, sizeof many - len,
			"{\"cmd\":\"fakeip.lookup\",\"name\":\"n%u.test\"}\n", i);
	peer_send(f, &p, many, len);
	for (unsigned i = 0; i < 200; i++) {
		char name[32];

		snprintf(name, sizeof name, "n%u.test", i);
		r = peer_reply(f, &p);
		assert_non_null(r);
		assert_string_equal(text_at(r, "result.name"), name);
		json_object_put(r);
	}
	peer_close(&p);
}

static void a_line_has_64_kib_at_most(void **state)
{
	struct fixture *f = *state;
	struct peer p = peer_open(f);
	char *line = malloc(4 * LINE_MAX_BYTES);
	struct json_object *r;

	memset(line, ' ', 4 * LINE_MAX_BYTES);
	memcpy(line, "{\"cmd\":\"version\"", 16);
	line[LINE_MAX_BYTES - 1] = '}';
	line[LINE_MAX_BYTES] = '\n';
	peer_send(f, &p, line, LINE_MAX_BYTES + 1);
	r = peer_reply(f, &p);
	assert_ok(r);
	json_object_put(r);

	line[LINE_MAX_BYTES] = '}';
	line[LINE_MAX_BYTES - 1] = ' ';
	line[LINE_MAX_BYTES + 1] = '\n';
	peer_send(f, &p, line, LINE_MAX_BYTES + 2);
	r = peer_reply(f, &p);
	assert_int_equal(number_at(r, "code"), 413);
	json_object_put(r);

	/* Told before the line has ended, once, and the rest of it is no request. */
	memset(line, 'x', 4 * LINE_MAX_BYTES);
	peer_send(f, &p, line, 2 * LINE_MAX_BYTES);
	r = peer_reply(f, &p);
	assert_int_equal(number_at(r, "code"), 413);
	json_object_put(r);
	peer_send(f, &p, line, 2 * LINE_MAX_BYTES);
	peer_send(f, &p, "\n", 1);
	r = peer_ask(f, &p, "{\"cmd\":\"version\"}");
	assert_ok(r);
	json_object_put(r);
	free(line);
	peer_close(&p);
}

static void what_came_before_the_end_is_answered(void **state)
{
	struct fixture *f = *state;
	struct peer p = peer_open(f);
	struct json_object *r;
	static const char two[] = "{\"cmd\":\"version\"}\n{\"cmd\":\"status\"}";

	peer_send(f, &p, two, sizeof two - 1);
	shutdown(p.fd, SHUT_WR);
	r = peer_reply(f, &p);
	assert_ok(r);
	json_object_put(r);
	r = peer_reply(f, &p);
	assert_ok(r);
	assert_string_equal(text_at(r, "result.state"), "running");
	json_object_put(r);
	assert_null(peer_reply(f, &p));
	assert_true(p.ended);
	peer_close(&p);
}

static void a_slow_reader_holds_up_only_itself(void **state)
{
	enum { LISTS = 12, MAPPINGS = 5000 };
	struct fixture *f = *state;
	struct peer slow = peer_open(f), other = peer_open(f);
	struct json_object *r;
	unsigned long nexts;

	f->d.n_mappings = MAPPINGS;
	for (int i = 0; i < LISTS; i++)
		peer_send(f, &slow, list_all, sizeof list_all - 1);
	for (int i = 0; i < 50; i++)
		turn(f);
	/* 12 replies of over 1 MB each: no more is made than the socket takes. */
	nexts = f->d.nexts;
	assert_true(nexts > 0 && nexts < MAPPINGS);
	for (int i = 0; i < 20; i++) {
		r = peer_ask(f, &other, "{\"cmd\":\"version\"}");
		assert_ok(r);
		json_object_put(r);
	}
	assert_int_equal(f->d.nexts, nexts);
	for (int i = 0; i < LISTS; i++) {
		r = peer_reply(f, &slow);
		assert_non_null(r);
		assert_int_equal(json_object_array_length(at(r, "result")), MAPPINGS);
		json_object_put(r);
	}
	/* Gone in the middle of a reply. */
	peer_send(f, &slow, list_all, sizeof list_all - 1);
	turn(f);
	peer_close(&slow);
	r = peer_ask(f, &other, "{\"cmd\":\"status\"}");
	assert_ok(r);
	json_object_put(r);
	peer_close(&other);
}

static void connections_are_bounded(void **state)
{
	struct fixture *f = *state;
	struct peer p[CONNECTIONS], more;
	struct json_object *r;

	for (int i = 0; i < CONNECTIONS; i++) {
		p[i] = peer_open(f);
		r = peer_ask(f, &p[i], "{\"cmd\":\"version\"}");
		assert_ok(r);
		json_object_put(r);
	}
	more = peer_open(f);
	r = peer_reply(f, &more);
	assert_int_equal(number_at(r, "code"), 503);
	json_object_put(r);
	assert_null(peer_reply(f, &more));
	assert_true(more.ended);
	peer_close(&more);

	peer_close(&p[5]);
	turn(f);
	p[5] = peer_open(f);
	r = peer_ask(f, &p[5], "{\"cmd\":\"version\"}");
	assert_ok(r);
	json_object_put(r);
	for (int i = 0; i < CONNECTIONS; i++)
		peer_close(&p[i]);
}

static void the_silent_give_way(void **state)
{
	struct fixture *f = *state;
	struct peer p[CONNECTIONS], more;
	struct json_object *r;

	for (int i = 0; i < CONNECTIONS; i++) {
		p[i] = peer_open(f);
		turn(f);
	}
	clock_ahead_s = 31;
	turn(f);
	for (int i = 0; i < CONNECTIONS; i++) {
		if (i == 7)
			continue;
		r = peer_ask(f, &p[i], "{\"cmd\":\"version\"}");
		assert_ok(r);
		json_object_put(r);
	}
	more = peer_open(f); /* makes room, and is asked to come again */
	r = peer_reply(f, &more);
	assert_int_equal(number_at(r, "code"), 503);
	json_object_put(r);
	peer_close(&more);
	assert_null(peer_reply(f, &p[7]));
	assert_true(p[7].ended);
	more = peer_open(f);
	r = peer_ask(f, &more, "{\"cmd\":\"version\"}");
	assert_ok(r);
	json_object_put(r);
	peer_close(&more);
	for (int i = 0; i < CONNECTIONS; i++)
		peer_close(&p[i]);
}

static void stop_ends_busy_connections(void **state)
{
	struct fixture *f = *state;
	struct peer idle = peer_open(f), slow = peer_open(f), fresh;

	f->d.n_mappings = 5000;
	peer_send(f, &slow, list_all, sizeof list_all - 1);
	for (int i = 0; i < 10; i++)
		turn(f);
	fresh = peer_open(f); /* accepted by nobody yet */
	control_stop(f->control);
	for (int i = 0; i < 100 && !control_idle(f->control); i++)
		loop_turn(f->loop, 20);
	assert_true(control_idle(f->control));
	peer_receive(&idle);
	assert_true(idle.ended);
	control_free(f->control);
	f->control = NULL;
	peer_close(&idle);
	peer_close(&slow);
	peer_close(&fresh);
}

/* --- the socket's file --- */

static int open_again(struct fixture *f, const char *path, const char *group, int *ret_pid)
{
	struct control *c = NULL;
	int err = control_open(f->loop, &f->d, path, 0640, group, ret_pid, &c);

	if (err)
		return err;
	control_stop(c);
	while (!control_idle(c))
		loop_turn(f->loop, 20);
	control_free(c);
	return 0;
}

static void a_second_one_learns_who_holds_it(void **state)
{
	struct fixture *f = *state;
	int pid = -1, status = 0;
	pid_t child;

	assert_int_equal(open_again(f, f->path, NULL, &pid), -EADDRINUSE);
	assert_int_equal(pid, getpid());
	assert_int_equal(access(f->path, F_OK), 0);

	/* Asked from another process it is still the holder's. */
	child = fork();
	if (child == 0) {
		struct loop *loop;
		struct control *c;
		int err = loop_new(&loop);

		if (!err)
			err = control_open(loop, &f->d, f->path, 0600, NULL, &pid, &c);
		_exit(err == -EADDRINUSE && pid == getppid() ? 0 : 1);
	}
	assert_int_equal(waitpid(child, &status, 0), child);
	assert_int_equal(status, 0);
}

static void bind_and_leave(const char *path)
{
	struct sockaddr_un at = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_STREAM, 0);

	strcpy(at.sun_path, path);
	assert_int_equal(bind(fd, (struct sockaddr *)&at, sizeof at), 0);
	assert_int_equal(listen(fd, 1), 0);
	close(fd);
}

static void a_stale_file_is_taken_over(void **state)
{
	struct fixture *f = *state;
	char path[128];
	struct stat st;
	int pid = -1;
	struct control *c;

	snprintf(path, sizeof path, "%s/stale", f->dir);
	bind_and_leave(path);
	assert_int_equal(access(path, F_OK), 0);
	assert_int_equal(control_open(f->loop, &f->d, path, 0640, NULL, &pid, &c), 0);
	assert_int_equal(stat(path, &st), 0);
	assert_int_equal(st.st_mode & 07777, 0640);
	/* Another process took the name meanwhile: its file is not ours to remove. */
	unlink(path);
	bind_and_leave(path);
	control_stop(c);
	while (!control_idle(c))
		loop_turn(f->loop, 20);
	control_free(c);
	assert_int_equal(access(path, F_OK), 0);
	unlink(path);
}

static void a_hanging_one_counts_as_living(void **state)
{
	struct fixture *f = *state;
	struct sockaddr_un at = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_STREAM, 0), waiting[8], n = 0, pid = -1;

	snprintf(at.sun_path, sizeof at.sun_path, "%s/hang", f->dir);
	assert_int_equal(bind(fd, (struct sockaddr *)&at, sizeof at), 0);
	assert_int_equal(listen(fd, 1), 0);
	for (; n < 8; n++) {
		waiting[n] = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0);
		if (connect(waiting[n], (struct sockaddr *)&at, sizeof at))
			break;
	}
	assert_true(n > 0 && n < 8 && errno == EAGAIN);
	assert_int_equal(open_again(f, at.sun_path, NULL, &pid), -EADDRINUSE);
	assert_int_equal(pid, 0);
	for (int i = 0; i <= n; i++)
		close(waiting[i]);
	close(fd);
	unlink(at.sun_path);
}

/* The kernel keeps the socket of a killed process for a while, if its io_uring was using it. */
static void the_socket_of_the_dead_is_taken_over(void **state)
{
	struct fixture *f = *state;
	struct sockaddr_un at = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_STREAM, 0), pid = -1, status;
	pid_t child;

	snprintf(at.sun_path, sizeof at.sun_path, "%s/dead", f->dir);
	assert_int_equal(bind(fd, (struct sockaddr *)&at, sizeof at), 0);
	child = fork();
	if (child == 0)
		_exit(listen(fd, 5) ? 1 : 0);
	while (waitid(P_PID, (id_t)child, &(siginfo_t){0}, WEXITED | WNOWAIT) && errno == EINTR)
		continue;
	/* A zombie: ended, though its pid is taken. */
	assert_int_equal(open_again(f, at.sun_path, NULL, &pid), 0);
	assert_int_equal(access(at.sun_path, F_OK), -1);
	assert_int_equal(waitpid(child, &status, 0), child);
	assert_int_equal(status, 0);
	close(fd);
}

static void what_is_no_socket_is_left_alone(void **state)
{
	struct fixture *f = *state;
	char path[128], long_path[200];
	int pid = -1;
	FILE *file;

	snprintf(path, sizeof path, "%s/file", f->dir);
	file = fopen(path, "w");
	assert_non_null(file);
	fclose(file);
	assert_int_equal(open_again(f, path, NULL, &pid), -EEXIST);
	assert_int_equal(access(path, F_OK), 0);
	unlink(path);
	assert_int_equal(symlink("/nonexistent/x", path), 0);
	assert_int_equal(open_again(f, path, NULL, &pid), -EEXIST);
	unlink(path);

	assert_int_equal(open_again(f, path, "no such group", &pid), -EINVAL);
	assert_int_equal(access(path, F_OK), -1);
	assert_int_equal(open_again(f, path, "0", &pid), 0);
	assert_int_equal(open_again(f, path, "root", &pid), geteuid() == 0 ? 0 : -EPERM);
	assert_int_equal(open_again(f, "", NULL, &pid), -EINVAL);
	memset(long_path, 'x', sizeof long_path);
	long_path[0] = '/';
	long_path[sizeof long_path - 1] = 0;
	assert_int_equal(open_again(f, long_path, NULL, &pid), -ENAMETOOLONG);
	snprintf(path, sizeof path, "%s/no/folder", f->dir);
	assert_int_equal(open_again(f, path, NULL, &pid), -ENOENT);
}

#define test(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		test(status_tells_all),
		test(status_tells_every_egress),
		test(status_tells_what_the_relay_did),
		test(status_tells_how_far_a_stop_has_come),
		test(help_lists_every_command),
		test(the_cache_is_shown_and_flushed),
		test(learned_names_are_shown),
		test(lookup_finds_names_and_addresses),
		test(lookup_tells_the_verdict),
		test(flush_takes_a_name_an_address_or_all),
		test(list_is_paged),
		test(explain_tells_the_way),
		test(reload_tells_changes_or_errors),
		test(a_reload_that_lasts),
		test(records_are_pushed_and_deleted),
		test(records_are_listed),
		test(nonsense_is_refused_and_the_connection_stays),
		test(lines_may_be_torn_or_many_at_once),
		test(a_line_has_64_kib_at_most),
		test(what_came_before_the_end_is_answered),
		test(a_slow_reader_holds_up_only_itself),
		test(connections_are_bounded),
		test(the_silent_give_way),
		test(stop_ends_busy_connections),
		test(a_second_one_learns_who_holds_it),
		test(a_stale_file_is_taken_over),
		test(a_hanging_one_counts_as_living),
		test(the_socket_of_the_dead_is_taken_over),
		test(what_is_no_socket_is_left_alone),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
