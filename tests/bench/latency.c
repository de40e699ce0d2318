/* How long answers take when there is little to do: one question each 1/RATE s whatever becomes of
 * the ones before, all names new.
 *   latency ADDRESS PORT COUNT RATE SUFFIX PREFIX
 * asks A of PREFIX<n>.SUFFIX; COUNT is at most 65536. Prints "p50 p99 p999 slowest" in
 * microseconds, "lost wrong": lost were not answered until 5 s after the last question and count as
 * that long, wrong are not NOERROR with at least one record. */
#include "tests/bench/bench.h"

#include <poll.h>

#define LATE_S 5.0

static double asked_s[65536], took_s[65536]; /* by id; took 0: not answered */
static unsigned wrong;

static void ask(int fd, unsigned number, const char *suffix, const char *prefix)
{
	uint8_t query[320];
	char name[256];
	size_t len;

	snprintf(name, sizeof name, "%s%u.%s", prefix, number, suffix);
	len = bench_question(query, name);
	query[0] = (uint8_t)(number >> 8);
	query[1] = (uint8_t)number;
	asked_s[number] = bench_now_s();
	(void)send(fd, query, len, 0);
}

/* True: one has come. */
static bool take(int fd)
{
	uint8_t answer[1500];
	ssize_t n = recv(fd, answer, sizeof answer, MSG_DONTWAIT);
	unsigned id;

	if (n < 12)
		return false;
	id = (unsigned)(answer[0] << 8 | answer[1]);
	if (asked_s[id] == 0 || took_s[id] > 0) {
		wrong++;
		return false;
	}
	took_s[id] = bench_now_s() - asked_s[id];
	wrong += (answer[3] & 15) != 0 || answer[7] == 0;
	return true;
}

static void wait_until(int fd, double until_s)
{
	double left_s = until_s - bench_now_s();
	struct pollfd p = {.fd = fd, .events = POLLIN};
	struct timespec pause = {.tv_sec = (time_t)left_s,
		.tv_nsec = (long)((left_s - (double)(time_t)left_s) * 1e9)};

	if (left_s > 0)
		(void)ppoll(&p, 1, &pause, NULL);
}

static int compare(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return (x > y) - (x < y);
}

static void print(unsigned count, unsigned got)
{
	for (unsigned i = 0; i < count; i++)
		if (took_s[i] == 0)
			took_s[i] = LATE_S;
	qsort(took_s, count, sizeof *took_s, compare);
	printf("%.1f %.1f %.1f %.1f %u %u\n", took_s[count / 2] * 1e6,
		took_s[count * 99UL / 100] * 1e6, took_s[count * 999UL / 1000] * 1e6,
		took_s[count - 1] * 1e6, count - got, wrong);
}

int main(int argc, char **argv)
{
	struct sockaddr_storage to;
	unsigned count, sent = 0, got = 0;
	double start_s, rate;
	socklen_t to_len;
	int fd;

	if (argc != 7)
		return 2;
	count = (unsigned)atoi(argv[3]);
	rate = atof(argv[4]);
	to_len = bench_address(argv[1], argv[2], &to);
	fd = socket(to.ss_family, SOCK_DGRAM, 0);
	if (count == 0 || count > 65536 || rate <= 0)
		return 2;
	if (fd < 0 || connect(fd, (struct sockaddr *)&to, to_len)) {
		perror("socket");
		return 1;
	}
	start_s = bench_now_s();
	while (sent < count) {
		if (bench_now_s() >= start_s + sent / rate)
			ask(fd, sent++, argv[5], argv[6]);
		wait_until(fd, start_s + sent / rate);
		while (take(fd))
			got++;
	}
	while (got < count && bench_now_s() < asked_s[count - 1] + LATE_S) {
		wait_until(fd, asked_s[count - 1] + LATE_S);
		while (take(fd))
			got++;
	}
	print(count, got);
	return 0;
}
