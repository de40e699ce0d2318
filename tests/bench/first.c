/* From the start of a program to its first right answer: runs COMMAND in network namespace
 * NAMESPACE and meanwhile asks ADDRESS from its own namespace every 0.5 ms until an answer with an
 * address of 198.18.0.0/15 comes.
 *   first [-n NAME] [-b] [-t SECONDS] ADDRESS NAMESPACE PIDFILE COMMAND...
 * asks for A of NAME (first.test); -b: until NAME is blocked (bench.h); at most SECONDS (5).
 * Prints milliseconds; the program stays alive, its process id is in PIDFILE. */
#include "tests/bench/bench.h"

#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <stdbool.h>
#include <signal.h>
#include <stdint.h>
#include <sys/prctl.h>
#include <unistd.h>

static pid_t start(const char *namespace, char **command)
{
	char path[256];
	pid_t pid;

	snprintf(path, sizeof path, "/run/netns/%s", namespace);
	pid = fork();
	if (pid == 0) {
		int fd = open(path, O_RDONLY | O_CLOEXEC);

		if (fd < 0 || setns(fd, CLONE_NEWNET)) {
			perror(path);
			_exit(1);
		}
		execv(command[0], command);
		perror(command[0]);
		_exit(1);
	}
	return pid;
}

static bool is_right(const uint8_t *answer, size_t len, bool blocked)
{
	if (blocked)
		return bench_blocked(answer, len);
	return len > 16 && answer[len - 4] == 198 && (answer[len - 3] & 0xfe) == 18;
}

int main(int argc, char **argv)
{
	struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons(53)};
	const char *name = "first.test";
	uint8_t query[320], answer[1500];
	double started_s, at_most_s = 5;
	bool blocked = false;
	size_t query_len;
	FILE *file;
	pid_t pid;
	int option, fd = socket(AF_INET, SOCK_DGRAM, 0);

	while ((option = getopt(argc, argv, "+n:bt:")) != -1) {
		if (option == 'n')
			name = optarg;
		else if (option == 'b')
			blocked = true;
		else if (option == 't')
			at_most_s = atof(optarg);
		else
			return 2;
	}
	argv += optind;
	query_len = bench_question(query, name);
	if (argc - optind < 4 || query_len == 0 || inet_pton(AF_INET, argv[0], &to.sin_addr) != 1)
		return 2;
	(void)prctl(PR_SET_PDEATHSIG, SIGTERM); /* no longer than the benchmark */
	started_s = bench_now_s();
	pid = start(argv[1], argv + 3);
	file = fopen(argv[2], "w");
	if (pid < 0 || !file)
		return 1;
	fprintf(file, "%d\n", pid);
	fclose(file);
	while (bench_now_s() - started_s < at_most_s) {
		struct pollfd p = {.fd = fd, .events = POLLIN};
		struct timespec pause = {.tv_nsec = 500000};

		sendto(fd, query, query_len, 0, (struct sockaddr *)&to, sizeof to);
		while (ppoll(&p, 1, &pause, NULL) > 0) {
			ssize_t n = recv(fd, answer, sizeof answer, MSG_DONTWAIT);

			if (n < 0 || !is_right(answer, (size_t)n, blocked))
				continue;
			printf("%.1f\n", (bench_now_s() - started_s) * 1e3);
			return 0;
		}
	}
	fprintf(stderr, "no answer within %g s\n", at_most_s);
	return 1;
}
