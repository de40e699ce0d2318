/* DNS load: keeps a window of queries in flight on one UDP socket and counts the answers.
 *   load ADDRESS SECONDS WINDOW SUFFIX NAMES [PREFIX]
 * asks A of h0.SUFFIX to h<NAMES-1>.SUFFIX at random; NAMES 0: a new name each time. PREFIX keeps
 * the new names of two runs apart.
 *   load ADDRESS SECONDS WINDOW file PATH found|blocked
 * asks A of the names in a file, one a line, at random; SECONDS 0: each once, in order.
 * Prints "answers_per_s lost wrong slowest_ms": lost were not answered until a second after the
 * end, wrong are not NOERROR with at least one record; or not blocked (bench.h). */
#include "tests/bench/bench.h"

#include <poll.h>
#include <stdbool.h>
#include <stdint.h>

#define BATCH	   64
#define QUERY_MAX  320
#define SILENCE_MS 100 /* then what is in flight is no longer waited for, and others are asked */
#define LATE_S	   1.0

struct names { /* of a file: their queries, one behind the other */
	uint8_t *bytes;
	uint32_t *at; /* where each begins; at[n] where the last ends */
	size_t n;
};

struct load {
	const char *prefix, *suffix;
	unsigned long n_names; /* to choose from; 0: a new one each time */
	struct names file;
	bool blocked, each_once;
	int fd, window, in_flight;
	uint32_t random;
	unsigned long sent, got, lost, wrong;
	double slowest_s;
	double asked_s[65536]; /* by id; 0: not waited for */
	bool given_up[65536];
};

static size_t question_number(uint8_t *q, const struct load *l, unsigned long number)
{
	char text[256];

	snprintf(text, sizeof text, "%s%lu.%s", l->prefix, number, l->suffix);
	return bench_question(q, text);
}

static void names_read(const char *path, struct names *ret)
{
	FILE *f = fopen(path, "r");
	uint8_t query[QUERY_MAX];
	char line[512];
	size_t used = 0, room = 0, slots = 0;

	if (!f) {
		perror(path);
		exit(1);
	}
	while (fgets(line, sizeof line, f)) {
		size_t len;

		line[strcspn(line, "\r\n")] = 0;
		len = bench_question(query, line);
		if (len == 0)
			continue;
		if (used + len > room)
			ret->bytes = realloc(ret->bytes, room = 2 * room + QUERY_MAX);
		if (ret->n + 2 > slots)
			ret->at = realloc(ret->at, (slots = 2 * slots + 2) * sizeof *ret->at);
		if (!ret->bytes || !ret->at)
			exit(1);
		memcpy(ret->bytes + used, query, len);
		ret->at[ret->n++] = (uint32_t)used;
		ret->at[ret->n] = (uint32_t)(used += len);
	}
	fclose(f);
	if (ret->n == 0) {
		fprintf(stderr, "%s: no names\n", path);
		exit(1);
	}
}

static size_t question(struct load *l, uint8_t *q, unsigned long number)
{
	unsigned long chosen = number;
	size_t len;

	l->random = l->random * 1664525 + 1013904223;
	if (l->n_names && !l->each_once)
		chosen = (l->random >> 8) % l->n_names;
	if (l->file.n == 0) {
		len = question_number(q, l, chosen);
	} else {
		len = l->file.at[chosen + 1] - l->file.at[chosen];
		memcpy(q, l->file.bytes + l->file.at[chosen], len);
	}
	q[0] = (uint8_t)(number >> 8);
	q[1] = (uint8_t)number;
	return len;
}

/* Fills the window. False: nothing is left to ask. */
static bool ask(struct load *l)
{
	static uint8_t out[BATCH][QUERY_MAX];
	static struct iovec vec[BATCH];
	static struct mmsghdr messages[BATCH];

	while (l->in_flight < l->window) {
		int n = l->window - l->in_flight < BATCH ? l->window - l->in_flight : BATCH;
		double now_s = bench_now_s();

		if (l->each_once && l->n_names - l->sent < (unsigned long)n)
			n = (int)(l->n_names - l->sent);
		if (n == 0)
			return false;
		for (int i = 0; i < n; i++) {
			vec[i].iov_base = out[i];
			vec[i].iov_len = question(l, out[i], l->sent + (unsigned long)i);
			messages[i].msg_hdr = (struct msghdr){.msg_iov = &vec[i], .msg_iovlen = 1};
		}
		n = sendmmsg(l->fd, messages, (unsigned)n, 0);
		if (n <= 0)
			break;
		for (int i = 0; i < n; i++, l->sent++) {
			uint16_t id = (uint16_t)l->sent;

			l->lost += l->asked_s[id] > 0; /* the one with this id before it */
			l->asked_s[id] = now_s;
			l->given_up[id] = false;
		}
		l->in_flight += n;
	}
	return true;
}

/* Takes what has come; returns how many. */
static int take(struct load *l)
{
	static uint8_t in[BATCH][1500];
	static struct iovec vec[BATCH];
	static struct mmsghdr messages[BATCH];
	double now_s;
	int n;

	for (int i = 0; i < BATCH; i++) {
		vec[i] = (struct iovec){in[i], sizeof in[i]};
		messages[i].msg_hdr = (struct msghdr){.msg_iov = &vec[i], .msg_iovlen = 1};
	}
	n = recvmmsg(l->fd, messages, BATCH, MSG_DONTWAIT, NULL);
	now_s = n > 0 ? bench_now_s() : 0;
	for (int i = 0; i < n; i++) {
		uint16_t id = (uint16_t)(in[i][0] << 8 | in[i][1]);
		size_t len = messages[i].msg_len;

		if (len < 12 || l->asked_s[id] == 0) {
			l->wrong++; /* nobody asked */
			continue;
		}
		if (now_s - l->asked_s[id] > l->slowest_s)
			l->slowest_s = now_s - l->asked_s[id];
		l->asked_s[id] = 0;
		l->in_flight -= !l->given_up[id];
		l->got++;
		l->wrong += l->blocked ? !bench_blocked(in[i], len)
				       : ((in[i][3] & 15) != 0 || in[i][7] == 0);
	}
	return n;
}

static void give_up(struct load *l)
{
	for (unsigned id = 0; id < 65536; id++)
		l->given_up[id] = l->asked_s[id] > 0;
	l->in_flight = 0;
}

static int open_socket(const char *address)
{
	struct sockaddr_storage to;
	socklen_t to_len = bench_address(address, "53", &to);
	int fd = socket(to.ss_family, SOCK_DGRAM, 0);

	bench_set(fd, SOL_SOCKET, SO_RCVBUFFORCE, 8 << 20);
	bench_set(fd, SOL_SOCKET, SO_SNDBUFFORCE, 8 << 20);
	if (fd < 0 || connect(fd, (struct sockaddr *)&to, to_len)) {
		perror("socket");
		exit(1);
	}
	return fd;
}

int main(int argc, char **argv)
{
	static struct load l = {.random = 12345};
	double start_s, end_s, took_s;
	unsigned long got;

	if (argc < 6 || (strcmp(argv[4], "file") == 0 && argc != 7)) {
		fprintf(stderr, "usage: load ADDRESS SECONDS WINDOW SUFFIX NAMES [PREFIX]\n"
				"       load ADDRESS SECONDS WINDOW file PATH found|blocked\n");
		return 2;
	}
	l.window = atoi(argv[3]);
	if (strcmp(argv[4], "file") == 0) {
		names_read(argv[5], &l.file);
		l.n_names = l.file.n;
		l.blocked = strcmp(argv[6], "blocked") == 0;
		l.each_once = atof(argv[2]) == 0;
	} else {
		l.suffix = argv[4];
		l.n_names = strtoul(argv[5], NULL, 10);
		l.prefix = argc > 6 ? argv[6] : "h";
	}
	l.fd = open_socket(argv[1]);
	start_s = bench_now_s();
	end_s = start_s + (l.each_once ? 60 : atof(argv[2]));
	while (bench_now_s() < end_s && (ask(&l) || l.in_flight > 0)) {
		struct pollfd p = {.fd = l.fd, .events = POLLIN};

		if (take(&l) <= 0 && poll(&p, 1, SILENCE_MS) == 0)
			give_up(&l);
	}
	took_s = bench_now_s() - start_s;
	got = l.got;
	while (bench_now_s() < start_s + took_s + LATE_S && l.in_flight > 0) {
		struct pollfd p = {.fd = l.fd, .events = POLLIN};

		if (take(&l) <= 0)
			poll(&p, 1, SILENCE_MS);
	}
	for (unsigned id = 0; id < 65536; id++)
		l.lost += l.asked_s[id] > 0;
	printf("%.0f %lu %lu %.1f\n", (double)got / took_s, l.lost, l.wrong, l.slowest_s * 1e3);
	return 0;
}
