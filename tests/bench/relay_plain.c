/* The plainest TCP relay behind tproxy, and the bar for ours: accepts, connects to one place, a
 * thread for each direction. relay_plain ADDRESS PORT TO TO_PORT copy|splice; prints "ready", ends
 * with SIGTERM. */
#include "tests/bench/bench.h"
#include "tests/bench/pump.h"

#include <netinet/tcp.h>
#include <signal.h>
#include <unistd.h>

#define PIPE_BYTES ((size_t)1 << 20)

static struct sockaddr_storage to;
static socklen_t to_len;
static size_t pipe_bytes;

static void serve(int client)
{
	int far = socket(to.ss_family, SOCK_STREAM | SOCK_CLOEXEC, 0);

	if (far < 0 || connect(far, (struct sockaddr *)&to, to_len)) {
		perror("connect");
		close(client);
		close(far);
		return;
	}
	bench_set(client, IPPROTO_TCP, TCP_NODELAY, 1);
	bench_set(far, IPPROTO_TCP, TCP_NODELAY, 1);
	pump_both(client, far, pipe_bytes);
}

int main(int argc, char **argv)
{
	struct sockaddr_storage at;
	socklen_t at_len;
	int listener;

	if (argc < 6)
		return 2;
	signal(SIGPIPE, SIG_IGN);
	at_len = bench_address(argv[1], argv[2], &at);
	to_len = bench_address(argv[3], argv[4], &to);
	pipe_bytes = strcmp(argv[5], "splice") ? 0 : PIPE_BYTES;
	listener = bench_bind(SOCK_STREAM, &at, at_len);
	bench_ready();
	pump_accept(listener, serve);
	return 0;
}
