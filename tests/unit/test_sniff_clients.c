/* What real programs say first to a listening socket: curl and openssl, where they are installed.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>
#include <cmocka.h>

#include "gateway/carry/sniff.h"

#define WAIT_MS 10000

/* On a loop-back port of the kernel's choice. */
static int listen_somewhere(uint16_t *ret_port)
{
	struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	socklen_t size = sizeof at;
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	assert_true(fd >= 0);
	assert_int_equal(bind(fd, (struct sockaddr *)&at, size), 0);
	assert_int_equal(listen(fd, 1), 0);
	assert_int_equal(getsockname(fd, (struct sockaddr *)&at, &size), 0);
	*ret_port = ntohs(at.sin_port);
	return fd;
}

static bool installed(const char *program)
{
	char command[64];

	snprintf(command, sizeof command, "command -v %s >/dev/null", program);
	return system(command) == 0;
}

static pid_t start(const char *program, char *const arguments[])
{
	pid_t child = fork();

	assert_true(child >= 0);
	if (child == 0) {
		int null = open("/dev/null", O_RDWR);

		for (int fd = 0; null >= 0 && fd < 3; fd++)
			dup2(null, fd);
		execvp(program, arguments);
		_exit(127);
	}
	return child;
}

static int accept_soon(int listener)
{
	struct pollfd wait = {.fd = listener, .events = POLLIN};
	int fd;

	assert_int_equal(poll(&wait, 1, WAIT_MS), 1);
	fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
	assert_true(fd >= 0);
	return fd;
}

/* As a relay asks: after each piece that has come. */
static enum sniff_result sniff_socket(int fd, char ret_name[SNIFF_NAME_SIZE])
{
	static uint8_t data[SNIFF_STREAM_MAX];
	enum sniff_result result = SNIFF_MORE;
	size_t len = 0;

	while (result == SNIFF_MORE) {
		struct pollfd wait = {.fd = fd, .events = POLLIN};
		ssize_t n;

		assert_int_equal(poll(&wait, 1, WAIT_MS), 1);
		assert_true(len < sizeof data);
		n = read(fd, data + len, sizeof data - len);
		assert_true(n > 0);
		len += (size_t)n;
		result = sniff_stream(true, true, data, len, ret_name);
	}
	return result;
}

/* Starts it with these arguments, in which PORT is where it shall connect. want NULL: no name. */
static void expect_of(const char *program, const char *const *arguments, const char *want)
{
	char text[8][128], *all[9] = {NULL}, name[SNIFF_NAME_SIZE] = "", port[8];
	uint16_t number;
	int listener, fd, status;
	pid_t child;

	if (!installed(program)) {
		print_message("%s is not installed\n", program);
		skip();
	}
	listener = listen_somewhere(&number);
	snprintf(port, sizeof port, "%u", number);
	for (size_t i = 0; arguments[i]; i++) {
		const char *at = strstr(arguments[i], "PORT");

		assert_true(i < 8);
		snprintf(text[i], sizeof text[i], "%.*s%s%s",
			(int)(at ? at - arguments[i] : (ptrdiff_t)strlen(arguments[i])),
			arguments[i], at ? port : "", at ? at + 4 : "");
		all[i] = text[i];
	}
	child = start(program, all);
	fd = accept_soon(listener);
	assert_int_equal(sniff_socket(fd, name), want ? SNIFF_NAME : SNIFF_NONE);
	assert_string_equal(name, want ? want : "");
	close(fd);
	close(listener);
	kill(child, SIGKILL);
	assert_int_equal(waitpid(child, &status, 0), child);
}

static void curl_http(void **state)
{
	(void)state;
	expect_of("curl",
		(const char *const[]){"curl", "-q", "-s", "--noproxy", "*", "--connect-to",
			"::127.0.0.1:PORT", "http://Plain.Test:81/x", NULL},
		"plain.test");
}

static void curl_https(void **state)
{
	(void)state;
	expect_of("curl",
		(const char *const[]){"curl", "-q", "-s", "--noproxy", "*", "--connect-to",
			"::127.0.0.1:PORT", "https://Tls.Test/", NULL},
		"tls.test");
}

static void curl_by_address(void **state)
{
	(void)state;
	expect_of("curl",
		(const char *const[]){
			"curl", "-q", "-s", "--noproxy", "*", "http://127.0.0.1:PORT/", NULL},
		NULL);
	expect_of("curl",
		(const char *const[]){
			"curl", "-q", "-s", "--noproxy", "*", "https://127.0.0.1:PORT/", NULL},
		NULL);
}

static void curl_to_a_proxy(void **state)
{
	(void)state;
	expect_of("curl",
		(const char *const[]){"curl", "-q", "-s", "--noproxy", "", "-x",
			"http://127.0.0.1:PORT", "http://absolute.test/", NULL},
		"absolute.test");
	expect_of("curl",
		(const char *const[]){"curl", "-q", "-s", "--noproxy", "", "-x",
			"http://127.0.0.1:PORT", "https://tunnel.test/", NULL},
		NULL);
}

static void openssl_tls(void **state)
{
	(void)state;
	expect_of("openssl",
		(const char *const[]){"openssl", "s_client", "-connect", "127.0.0.1:PORT",
			"-servername", "s-client.test", NULL},
		"s-client.test");
	expect_of("openssl",
		(const char *const[]){"openssl", "s_client", "-tls1_2", "-connect",
			"127.0.0.1:PORT", "-servername", "old.test", NULL},
		"old.test");
	expect_of("openssl",
		(const char *const[]){
			"openssl", "s_client", "-connect", "127.0.0.1:PORT", "-noservername", NULL},
		NULL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(curl_http),
		cmocka_unit_test(curl_https), cmocka_unit_test(curl_by_address),
		cmocka_unit_test(curl_to_a_proxy), cmocka_unit_test(openssl_tls)};

	signal(SIGPIPE, SIG_IGN);
	return cmocka_run_group_tests_name("sniff_clients", tests, NULL, NULL);
}
