/* The relay between real TCP sockets of this host. The test plays both ends in the loop's own
 * thread: what they see is what counts, byte by byte. The clock stands still but where a test moves
 * it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <arpa/inet.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include <cmocka.h>

#include "gateway/base/count.h"
#include "gateway/carry/relay.h"
#include "tests/unit/hand_clock.h"

#define FLOWS_MAX 256

struct fixture {
	struct loop *l;
	struct relay *r;
	unsigned ended;
	uint64_t last_number;
	void *last_owner;
	unsigned fds_before;
};

/* A flow as the test sees it: what the client and the egress hold. */
struct ends {
	int client, egress;
	int relay_client, relay_egress; /* the relay's, to be looked at only */
};

/* Open descriptors; of these, pipes. */
static unsigned count_fds(unsigned *ret_pipes)
{
	DIR *d = opendir("/proc/self/fd");
	unsigned n = 0;

	*ret_pipes = 0;
	for (struct dirent *e; (e = readdir(d)); n++) {
		char to[64] = "";

		if (readlinkat(dirfd(d), e->d_name, to, sizeof to - 1) > 0)
			*ret_pipes += strncmp(to, "pipe:", 5) == 0;
	}
	closedir(d);
	return n;
}

static unsigned pipes_before; /* the test's own standard output may be one */

static unsigned pipes_now(void)
{
	unsigned pipes;

	count_fds(&pipes);
	return pipes - pipes_before;
}

static void ended(void *arg, void *owner, uint64_t number)
{
	struct fixture *f = arg;

	f->ended++;
	f->last_owner = owner;
	f->last_number = number;
}

static int setup(void **state)
{
	struct fixture *f = calloc(1, sizeof *f);
	struct relay_config config = {.ended = ended, .arg = f, .max = FLOWS_MAX};

	f->fds_before = count_fds(&pipes_before);
	if (loop_new(&f->l))
		return -1;
	config.loop = f->l;
	*state = f;
	return relay_new(&config, &f->r);
}

static int teardown(void **state)
{
	struct fixture *f = *state;
	unsigned pipes;

	relay_stop(f->r);
	HAND_UNTIL(relay_idle(f->r), loop_turn(f->l, 1));
	relay_free(f->r);
	loop_free(f->l);
	assert_int_equal(count_fds(&pipes), f->fds_before);
	free(f);
	return 0;
}

static void connect_pair(int *ret_a, int *ret_b, int buffer)
{
	struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(0x7f000001)};
	socklen_t len = sizeof at;
	int l = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), segment = 1448, one = 1;

	*ret_a = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (buffer) { /* inherited by what is accepted */
		setsockopt(l, SOL_SOCKET, SO_RCVBUF, &buffer, sizeof buffer);
		setsockopt(l, SOL_SOCKET, SO_SNDBUF, &buffer, sizeof buffer);
		setsockopt(*ret_a, SOL_SOCKET, SO_RCVBUF, &buffer, sizeof buffer);
		setsockopt(*ret_a, SOL_SOCKET, SO_SNDBUF, &buffer, sizeof buffer);
		/* Else the loopback's are larger than the window, and wait for timers. */
		setsockopt(l, IPPROTO_TCP, TCP_MAXSEG, &segment, sizeof segment);
		setsockopt(*ret_a, IPPROTO_TCP, TCP_MAXSEG, &segment, sizeof segment);
	}
	/* As the dialer leaves it. */
	setsockopt(*ret_a, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
	assert_int_equal(bind(l, (void *)&at, sizeof at), 0);
	assert_int_equal(listen(l, 1), 0);
	assert_int_equal(getsockname(l, (void *)&at, &len), 0);
	assert_int_equal(connect(*ret_a, (void *)&at, sizeof at), 0);
	*ret_b = accept4(l, NULL, NULL, SOCK_CLOEXEC);
	assert_true(*ret_b >= 0);
	close(l);
}

static int start(struct fixture *f, struct ends *e, int buffer, struct relay_flow_config config)
{
	connect_pair(&e->client, &e->relay_client, buffer);
	connect_pair(&e->relay_egress, &e->egress, buffer);
	config.client_fd = e->relay_client;
	config.egress_fd = e->relay_egress;
	fcntl(e->client, F_SETFL, O_NONBLOCK);
	fcntl(e->egress, F_SETFL, O_NONBLOCK);
	return relay_start(f->r, &config);
}

static void start_plain(struct fixture *f, struct ends *e, int buffer)
{
	assert_int_equal(start(f, e, buffer, (struct relay_flow_config){.idle_ms = 60000}), 0);
}

static void reset(int fd)
{
	const struct linger now = {.l_onoff = 1};

	setsockopt(fd, SOL_SOCKET, SO_LINGER, &now, sizeof now);
	close(fd);
}

/* Turns until the end has something to say: bytes, 0, or a negative errno. */
static ssize_t hear(struct fixture *f, int fd, void *data, size_t max)
{
	ssize_t n;

	HAND_UNTIL((n = recv(fd, data, max, MSG_DONTWAIT)) >= 0 || errno != EAGAIN,
		assert_int_equal(loop_turn(f->l, 10), 0));
	return n < 0 ? -errno : n;
}

static void expect_text(struct fixture *f, int fd, const char *text)
{
	char got[64] = "";
	size_t len = 0;

	while (len < strlen(text)) {
		ssize_t n = hear(f, fd, got + len, sizeof got - 1 - len);

		assert_true(n > 0);
		len += (size_t)n;
	}
	assert_string_equal(got, text);
}

static void say(int fd, const char *text)
{
	assert_int_equal(send(fd, text, strlen(text), MSG_NOSIGNAL), strlen(text));
}

static void expect_end(struct fixture *f, int fd)
{
	char c;

	assert_int_equal(hear(f, fd, &c, 1), 0);
}

static void expect_reset(struct fixture *f, int fd)
{
	char c;

	assert_int_equal(hear(f, fd, &c, 1), -ECONNRESET);
}

/* As expect_reset(), of one that has heard the end of the stream before. */
static void expect_broken(struct fixture *f, int fd)
{
	int error = 0;
	socklen_t len = sizeof error;

	HAND_UNTIL(getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &len) == 0 && error,
		loop_turn(f->l, 10));
	assert_true(error == EPIPE || error == ECONNRESET);
}

static void expect_ended(struct fixture *f, unsigned n)
{
	HAND_UNTIL(f->ended >= n, assert_int_equal(loop_turn(f->l, 10), 0));
	assert_int_equal(f->ended, n);
	assert_int_equal(count_get(&relay_counters(f->r)->live),
		count_get(&relay_counters(f->r)->flows) - n);
}

static bool rests(struct fixture *f)
{
	int64_t began = hand_clock_real_ms();

	for (int i = 0; i < 5; i++)
		loop_turn(f->l, 40);
	return hand_clock_real_ms() - began > 150;
}

/* Nothing happens by itself once what is under way has come: a relay that asks for what it cannot
 * use would never sleep. */
static void expect_rest(struct fixture *f)
{
	HAND_UNTIL(rests(f), (void)0);
}

/* --- streams --- */

/* Bytes that follow from their place: a seed tells one stream from another. */
struct stream {
	int from, to;
	uint32_t seed;
	size_t sent, received, total;
	size_t chunk;	/* at most so many at once, a random number of them */
	unsigned pause; /* one in so many reads happens; 0: all */
	bool closed, ended;
};

static uint32_t random_state = 1;

static uint32_t pick(uint32_t n)
{
	random_state ^= random_state << 13;
	random_state ^= random_state >> 17;
	random_state ^= random_state << 5;
	return random_state % n;
}

static uint8_t byte_at(const struct stream *s, size_t i)
{
	return (uint8_t)((i * 2654435761u + s->seed) >> 13);
}

static uint8_t stream_buffer[1 << 20];

static void stream_send(struct stream *s)
{
	size_t n = 1 + pick((uint32_t)s->chunk);
	ssize_t sent;

	if (n > s->total - s->sent)
		n = s->total - s->sent;
	for (size_t i = 0; i < n; i++)
		stream_buffer[i] = byte_at(s, s->sent + i);
	sent = n ? send(s->from, stream_buffer, n, MSG_DONTWAIT | MSG_NOSIGNAL) : 0;
	if (sent < 0)
		assert_int_equal(errno, EAGAIN);
	else
		s->sent += (size_t)sent;
	if (s->sent == s->total && !s->closed) {
		s->closed = true;
		shutdown(s->from, SHUT_WR);
	}
}

static void stream_receive(struct stream *s)
{
	ssize_t n;

	if (s->ended || (s->pause && pick(s->pause)))
		return;
	n = recv(s->to, stream_buffer, 1 + pick((uint32_t)s->chunk), MSG_DONTWAIT);
	if (n < 0) {
		assert_int_equal(errno, EAGAIN);
		return;
	}
	for (ssize_t i = 0; i < n; i++)
		assert_int_equal(stream_buffer[i], byte_at(s, s->received + (size_t)i));
	s->received += (size_t)n;
	s->ended = n == 0;
	if (s->ended) /* not a byte earlier */
		assert_int_equal(s->received, s->total);
}

static void streams_run(struct fixture *f, struct stream *s, unsigned n)
{
	int64_t until = hand_clock_real_ms() + HAND_CLOCK_LIMIT_MS;
	unsigned running = n;

	while (running) {
		running = 0;
		for (unsigned i = 0; i < n; i++) {
			size_t before = s[i].received;

			if (s[i].sent < s[i].total || !s[i].closed)
				stream_send(&s[i]);
			stream_receive(&s[i]);
			running += !s[i].ended;
			if (s[i].received > before) /* slow, perhaps, but it goes on */
				until = hand_clock_real_ms() + HAND_CLOCK_LIMIT_MS;
		}
		assert_int_equal(loop_turn(f->l, 0), 0);
		assert_true(hand_clock_real_ms() < until);
	}
}

static void both_ways(struct fixture *f, int buffer, size_t total, size_t chunk, unsigned pause)
{
	struct ends e;
	struct stream s[2] = {
		{.seed = 7, .total = total, .chunk = chunk, .pause = pause},
		{.seed = 99, .total = total / 2 + 1, .chunk = chunk, .pause = pause},
	};
	uint64_t before = count_get(&relay_counters(f->r)->to_egress_bytes);
	unsigned over = f->ended;

	start_plain(f, &e, buffer);
	s[0].from = s[1].to = e.client;
	s[0].to = s[1].from = e.egress;
	streams_run(f, s, 2);
	expect_ended(f, over + 1);
	assert_int_equal(count_get(&relay_counters(f->r)->resets), 0);
	assert_int_equal(count_get(&relay_counters(f->r)->to_egress_bytes) - before, total);
	close(e.client);
	close(e.egress);
}

static void test_little_by_little_both_ways(void **state)
{
	both_ways(*state, 0, 100000, 700, 0);
}

static void test_bulk_both_ways(void **state)
{
	both_ways(*state, 0, 24 << 20, 1 << 20, 0);
}

static void test_bulk_to_slow_readers(void **state)
{
	both_ways(*state, 0, 16 << 20, 600000, 5);
	both_ways(*state, 8192, 2 << 20, 100000, 3);
	both_ways(*state, 8192, 1 << 20, 20000, 2);
}

static void test_sizes_about_the_border_of_bulk(void **state)
{
	for (size_t total = (8 << 10) - 2; total <= (8 << 10) + 2; total++)
		both_ways(*state, 0, total, 100000, 0);
	both_ways(*state, 0, 0, 1, 0);
	both_ways(*state, 0, 1, 1, 0);
}

static void test_many_flows_at_once(void **state)
{
	struct fixture *f = *state;
	enum { N = 90 }; /* more than there are pipes */
	static struct stream s[2 * N];
	static struct ends e[N];

	for (unsigned i = 0; i < N; i++) {
		start_plain(f, &e[i], 0);
		s[2 * i] = (struct stream){.from = e[i].client,
			.to = e[i].egress,
			.seed = i,
			.total = 1 << 20,
			.chunk = 300000,
			.pause = i % 3 * 10};
		s[2 * i + 1] = (struct stream){.from = e[i].egress,
			.to = e[i].client,
			.seed = 1000 + i,
			.total = 300000 + i,
			.chunk = 1 + 1000 * (size_t)i};
	}
	streams_run(f, s, 2 * N);
	expect_ended(f, N);
	assert_int_equal(count_get(&relay_counters(f->r)->resets), 0);
	for (unsigned i = 0; i < N; i++) {
		close(e[i].client);
		close(e[i].egress);
	}
}

static void test_without_pipes(void **state)
{
	struct rlimit before, low;
	struct fixture *f = *state;
	struct ends e;
	struct stream s = {.total = 8 << 20, .chunk = 1 << 20, .pause = 3};
	int free_fd;

	start_plain(f, &e, 0);
	free_fd = dup(0);
	close(free_fd);
	getrlimit(RLIMIT_NOFILE, &before);
	low = (struct rlimit){(rlim_t)free_fd, before.rlim_max};
	setrlimit(RLIMIT_NOFILE, &low);
	s.from = e.client;
	s.to = e.egress;
	streams_run(f, &s, 1);
	setrlimit(RLIMIT_NOFILE, &before);
	assert_int_equal(pipes_now(), 0);
	close(e.client);
	close(e.egress);
}

/* --- order and ends --- */

static void test_a_request_is_passed_on_in_the_turn_that_sees_it(void **state)
{
	struct fixture *f = *state;
	struct ends e;
	char got[8];

	start_plain(f, &e, 0);
	loop_turn(f->l, 0);
	say(e.client, "hello");
	loop_turn(f->l, 100);
	assert_int_equal(recv(e.egress, got, sizeof got, MSG_DONTWAIT), 5);
	say(e.egress, "you");
	loop_turn(f->l, 100);
	assert_int_equal(recv(e.client, got, sizeof got, MSG_DONTWAIT), 3);
	expect_rest(f);
	close(e.client);
	expect_end(f, e.egress);
	close(e.egress);
	expect_ended(f, 1);
}

static void test_first_goes_first(void **state)
{
	struct fixture *f = *state;
	struct ends e;
	uint8_t first[] = "first ";

	connect_pair(&e.client, &e.relay_client, 0);
	connect_pair(&e.relay_egress, &e.egress, 0);
	say(e.client, "second");
	assert_int_equal(relay_start(f->r, &(struct relay_flow_config){.client_fd = e.relay_client,
						   .egress_fd = e.relay_egress,
						   .idle_ms = 60000,
						   .first = first,
						   .first_len = 6,
						   .owner = f,
						   .number = 42}),
		0);
	memset(first, 'x', sizeof first);
	expect_text(f, e.egress, "first second");
	close(e.client);
	close(e.egress);
	expect_ended(f, 1);
	assert_ptr_equal(f->last_owner, f);
	assert_int_equal(f->last_number, 42);
}

static void test_a_first_that_does_not_fit_at_once(void **state)
{
	struct fixture *f = *state;
	struct ends e;
	struct stream s = {.seed = 3, .total = 1 << 20, .chunk = 5000, .sent = 900000};
	uint8_t *first = malloc(s.sent);

	for (size_t i = 0; i < s.sent; i++)
		first[i] = byte_at(&s, i);
	assert_int_equal(start(f, &e, 4096,
				 (struct relay_flow_config){
					 .idle_ms = 60000, .first = first, .first_len = s.sent}),
		0);
	free(first);
	expect_rest(f);
	s.from = e.client;
	s.to = e.egress;
	streams_run(f, &s, 1);
	close(e.client);
	close(e.egress);
	expect_ended(f, 1);
}

static void half_close(struct fixture *f, bool client_first)
{
	struct ends e;
	unsigned before = f->ended;
	int a, b;

	start_plain(f, &e, 0);
	a = client_first ? e.client : e.egress;
	b = client_first ? e.egress : e.client;
	say(a, "question");
	shutdown(a, SHUT_WR);
	expect_text(f, b, "question");
	expect_end(f, b);
	expect_rest(f);
	assert_int_equal(f->ended, before);
	say(b, "answer");
	expect_text(f, a, "answer");
	expect_rest(f);
	say(b, " and more");
	close(b);
	expect_text(f, a, " and more");
	expect_end(f, a);
	expect_ended(f, before + 1);
	close(a);
	assert_int_equal(count_get(&relay_counters(f->r)->resets), 0);
}

static void test_half_close(void **state)
{
	half_close(*state, true);
	half_close(*state, false);
}

static void test_both_close_at_once(void **state)
{
	struct fixture *f = *state;
	struct ends e;

	start_plain(f, &e, 0);
	say(e.client, "a");
	say(e.egress, "b");
	shutdown(e.client, SHUT_WR);
	shutdown(e.egress, SHUT_WR);
	expect_text(f, e.client, "b");
	expect_text(f, e.egress, "a");
	expect_end(f, e.client);
	expect_end(f, e.egress);
	expect_ended(f, 1);
	close(e.client);
	close(e.egress);
	assert_int_equal(count_get(&relay_counters(f->r)->resets), 0);
}

static void test_reset_is_passed_on(void **state)
{
	struct fixture *f = *state;
	struct ends e;

	start_plain(f, &e, 0);
	loop_turn(f->l, 0);
	reset(e.client);
	expect_reset(f, e.egress);
	close(e.egress);
	expect_ended(f, 1);
	start_plain(f, &e, 0);
	reset(e.egress); /* before the first turn */
	expect_reset(f, e.client);
	close(e.client);
	expect_ended(f, 2);
	assert_int_equal(count_get(&relay_counters(f->r)->resets), 2);
}

static void test_reset_of_a_half_closed_flow(void **state)
{
	struct fixture *f = *state;
	struct ends e;

	start_plain(f, &e, 0);
	shutdown(e.client, SHUT_WR);
	expect_end(f, e.egress);
	expect_rest(f);
	reset(e.client);
	expect_broken(f, e.egress);
	close(e.egress);
	expect_ended(f, 1);
}

/* The client has sent more than the egress takes, and goes. */
static void test_reset_while_blocked(void **state)
{
	struct fixture *f = *state;
	struct ends e;
	char *data = calloc(1, 4 << 20);

	for (int who = 0; who < 2; who++) {
		int sender, reader;
		unsigned over = f->ended;

		start_plain(f, &e, 8192);
		sender = who ? e.egress : e.client;
		reader = who ? e.client : e.egress;
		for (int i = 0; i < 50; i++) {
			(void)!send(sender, data, 4 << 20, MSG_DONTWAIT | MSG_NOSIGNAL);
			loop_turn(f->l, 1);
		}
		expect_rest(f);
		reset(sender);
		expect_ended(f, over + 1);
		for (ssize_t n = 1; n > 0;)
			n = hear(f, reader, data, 4 << 20);
		assert_int_equal(errno, ECONNRESET);
		close(reader);
	}
	free(data);
	assert_int_equal(pipes_now(), 0);
}

static void test_the_other_end_is_gone_when_we_send(void **state)
{
	struct fixture *f = *state;
	struct ends e;

	start_plain(f, &e, 0);
	say(e.egress, "bye");
	expect_text(f, e.client, "bye");
	close(e.egress);
	expect_end(f, e.client);
	say(e.client, "are you there?"); /* its socket is closed: a reset comes back */
	expect_broken(f, e.client);
	expect_ended(f, 1);
	close(e.client);
}

/* All has been said, and more than the other takes; then it takes it. */
static void tail(struct fixture *f, bool by_client)
{
	struct ends e;
	struct stream s = {.total = 3 << 20, .chunk = 1 << 20};
	unsigned over = f->ended;

	start_plain(f, &e, 262144);
	s.from = by_client ? e.client : e.egress;
	s.to = by_client ? e.egress : e.client;
	for (int i = 0; i < 200 && !s.closed; i++) {
		stream_send(&s);
		loop_turn(f->l, 1);
		if (!s.closed && i >= 20 && i % 4 == 0) /* the least that lets it say all */
			stream_receive(&s);
	}
	assert_true(s.closed);
	expect_rest(f);
	say(s.to, "stop");
	expect_text(f, s.from, "stop");
	shutdown(s.to, SHUT_WR);
	expect_end(f, s.from);
	expect_rest(f);
	streams_run(f, &s, 1);
	expect_ended(f, over + 1);
	assert_int_equal(count_get(&relay_counters(f->r)->resets), 0);
	close(e.client);
	close(e.egress);
}

static void test_the_tail_of_a_stream_waits_for_its_reader(void **state)
{
	tail(*state, true);
	tail(*state, false);
}

static void test_a_half_closed_end_reads_slowly(void **state)
{
	struct fixture *f = *state;
	struct ends e;
	struct stream s = {.total = 4 << 20, .chunk = 300000, .pause = 4};

	start_plain(f, &e, 16384);
	shutdown(e.client, SHUT_WR);
	expect_end(f, e.egress);
	s.from = e.egress;
	s.to = e.client;
	for (int i = 0; i < 100; i++) {
		stream_send(&s);
		loop_turn(f->l, 1);
	}
	expect_rest(f); /* blocked by one that has hung up */
	streams_run(f, &s, 1);
	expect_ended(f, 1);
	assert_int_equal(count_get(&relay_counters(f->r)->resets), 0);
	close(e.client);
	close(e.egress);
}

static void test_a_slow_reader_stops_the_sender(void **state)
{
	struct fixture *f = *state;
	struct ends e;
	struct stream s = {.total = 64 << 20, .chunk = 1 << 20};
	size_t before;

	start_plain(f, &e, 65536);
	s.from = e.client;
	s.to = e.egress;
	for (int i = 0; i < 300; i++) {
		stream_send(&s);
		loop_turn(f->l, 1);
	}
	before = s.sent;
	expect_rest(f);
	stream_send(&s);
	assert_int_equal(s.sent, before);
	assert_true(s.sent < 4 << 20);
	s.total = s.sent;
	streams_run(f, &s, 1);
	close(e.client);
	close(e.egress);
}

/* --- time, bounds --- */

static void pass(struct fixture *f, int64_t ms)
{
	for (; ms > 0; ms -= 50) {
		hand_clock_move_ms(50);
		assert_int_equal(loop_turn(f->l, 0), 0);
	}
}

static void test_idle_flows_are_closed(void **state)
{
	struct fixture *f = *state;
	struct ends e, busy;
	int64_t began = clock_ms();

	assert_int_equal(start(f, &e, 0, (struct relay_flow_config){.idle_ms = 700}), 0);
	assert_int_equal(start(f, &busy, 0, (struct relay_flow_config){.idle_ms = 700}), 0);
	while (f->ended < 1 && clock_ms() - began < 20000) {
		say(busy.client, "x");
		expect_text(f, busy.egress, "x");
		pass(f, 50);
	}
	assert_in_range(clock_ms() - began, 700, 2500);
	expect_end(f, e.client);
	expect_end(f, e.egress);
	assert_int_equal(count_get(&relay_counters(f->r)->idled), 1);
	while (f->ended < 2 && clock_ms() - began < 20000)
		pass(f, 50);
	expect_ended(f, 2); /* now the other, too */
	assert_in_range(clock_ms() - began, 1400, 5000);
	close(e.client);
	close(e.egress);
	close(busy.client);
	close(busy.egress);
}

static void test_a_flow_that_lives_is_kept_alive(void **state)
{
	struct fixture *f = *state;
	struct ends e;
	int on = 0, idle_s = 0;
	socklen_t len = sizeof on;

	start_plain(f, &e, 0);
	pass(f, 5500);
	getsockopt(e.relay_client, SOL_SOCKET, SO_KEEPALIVE, &on, &len);
	assert_int_equal(on, 1);
	on = 0;
	getsockopt(e.relay_egress, SOL_SOCKET, SO_KEEPALIVE, &on, &len);
	assert_int_equal(on, 1);
	getsockopt(e.relay_egress, IPPROTO_TCP, TCP_KEEPIDLE, &idle_s, &len);
	assert_int_equal(idle_s, 60);
	close(e.client);
	close(e.egress);
}

static void test_no_pipe_is_held_by_idle_flows(void **state)
{
	struct fixture *f = *state;
	struct ends e;
	char *data = calloc(1, 1 << 20);

	start_plain(f, &e, 0);
	for (size_t got = 0, sent = 0; got < 8 << 20;) {
		ssize_t n = sent < 8 << 20 ? send(e.client, data, 1 << 20, MSG_NOSIGNAL) : 0;

		sent += n > 0 ? (size_t)n : 0;
		loop_turn(f->l, 1);
		n = recv(e.egress, data, 1 << 20, 0);
		got += n > 0 ? (size_t)n : 0;
		if (got >= sent && sent >= 8 << 20)
			break;
	}
	assert_true(pipes_now() > 0);
	pass(f, 1800);
	assert_int_equal(f->ended, 0);
	assert_int_equal(pipes_now(), 0);
	free(data);
	close(e.client);
	close(e.egress);
}

static void test_stop_resets_everybody(void **state)
{
	struct fixture *f = *state;
	struct ends e[20], late;
	char *data = calloc(1, 1 << 20);

	for (unsigned i = 0; i < 20; i++) {
		start_plain(f, &e[i], i % 2 ? 8192 : 0);
		(void)!send(e[i].client, data, 1 << 20, MSG_DONTWAIT);
	}
	for (int i = 0; i < 10; i++)
		loop_turn(f->l, 1);
	relay_stop(f->r);
	expect_ended(f, 20);
	assert_true(relay_idle(f->r));
	for (unsigned i = 0; i < 20; i++) {
		expect_reset(f, e[i].client);
		close(e[i].client);
		close(e[i].egress);
	}
	assert_int_equal(start(f, &late, 0, (struct relay_flow_config){.idle_ms = 60000}), -ENOSPC);
	expect_reset(f, late.client);
	close(late.client);
	close(late.egress);
	assert_int_equal(f->ended, 20);
	free(data);
}

static void test_no_more_flows_than_max(void **state)
{
	struct fixture *f = *state;
	static struct ends e[FLOWS_MAX + 1];

	for (unsigned i = 0; i < FLOWS_MAX; i++)
		start_plain(f, &e[i], 0);
	assert_int_equal(
		start(f, &e[FLOWS_MAX], 0, (struct relay_flow_config){.idle_ms = 60000}), -ENOSPC);
	expect_reset(f, e[FLOWS_MAX].client);
	close(e[FLOWS_MAX].client);
	close(e[FLOWS_MAX].egress);
	close(e[0].client);
	close(e[0].egress);
	expect_ended(f, 1);
	start_plain(f, &e[0], 0);
	say(e[0].client, "again");
	expect_text(f, e[0].egress, "again");
	for (unsigned i = 0; i < FLOWS_MAX; i++) {
		close(e[i].client);
		close(e[i].egress);
	}
	expect_ended(f, FLOWS_MAX + 1);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(test_##name, setup, teardown)
	const struct CMUnitTest tests[] = {
		TEST(little_by_little_both_ways),
		TEST(bulk_both_ways),
		TEST(bulk_to_slow_readers),
		TEST(sizes_about_the_border_of_bulk),
		TEST(many_flows_at_once),
		TEST(without_pipes),
		TEST(a_request_is_passed_on_in_the_turn_that_sees_it),
		TEST(first_goes_first),
		TEST(a_first_that_does_not_fit_at_once),
		TEST(half_close),
		TEST(both_close_at_once),
		TEST(reset_is_passed_on),
		TEST(reset_of_a_half_closed_flow),
		TEST(reset_while_blocked),
		TEST(the_other_end_is_gone_when_we_send),
		TEST(the_tail_of_a_stream_waits_for_its_reader),
		TEST(a_half_closed_end_reads_slowly),
		TEST(a_slow_reader_stops_the_sender),
		TEST(idle_flows_are_closed),
		TEST(a_flow_that_lives_is_kept_alive),
		TEST(no_pipe_is_held_by_idle_flows),
		TEST(stop_resets_everybody),
		TEST(no_more_flows_than_max),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
