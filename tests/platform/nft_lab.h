/* What the tests of our nft table and of the writer share: a table to ask for, a client that waits
 * for its jobs, and looking at the kernel with nft(8), ipset(8) and ip(8). */
#ifndef TUNGATE_TESTS_NFT_LAB_H
#define TUNGATE_TESTS_NFT_LAB_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <poll.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <string.h>
#include <sys/eventfd.h>

#include "gateway/base/clock.h"
#include "netlink/writer.h"
#include "tests/platform/netns.h"

/* What a command prints, both streams; *ret_status (may be NULL): 0 if it said that all is well. */
static inline const char *output(const char *command, int *ret_status)
{
	static char text[1 << 16];
	char line[1024];
	FILE *f;
	size_t n;
	int status;

	assert_in_range(snprintf(line, sizeof line, "{ %s ; } 2>&1", command), 1, sizeof line - 1);
	f = popen(line, "r");
	assert_non_null(f);
	n = fread(text, 1, sizeof text - 1, f);
	text[n] = 0;
	status = pclose(f);
	if (ret_status)
		*ret_status = status;
	return text;
}

static inline bool works(const char *command)
{
	int status;

	output(command, &status);
	return status == 0;
}

static inline void must(const char *command)
{
	int status;
	const char *text = output(command, &status);

	if (status != 0)
		fail_msg("%s: %s", command, text);
}

static inline void assert_shows(const char *command, const char *text)
{
	const char *shown = output(command, NULL);

	if (!strstr(shown, text))
		fail_msg("%s does not show \"%s\" but:\n%s", command, text, shown);
}

static inline void assert_hides(const char *command, const char *text)
{
	const char *shown = output(command, NULL);

	if (strstr(shown, text))
		fail_msg("%s shows \"%s\":\n%s", command, text, shown);
}

static inline struct ip_addr address(const char *text)
{
	struct ip_addr a;

	assert_int_equal(ip_addr_parse(text, &a), 0);
	return a;
}

static inline struct ip_prefix prefix(const char *text)
{
	struct ip_prefix p;

	assert_int_equal(ip_prefix_parse(text, &p), 0);
	return p;
}

static inline struct ip_port port(const char *text)
{
	struct ip_port p;

	assert_int_equal(ip_port_parse(text, 53, &p), 0);
	return p;
}

#define LAB_MARK	0x10000000
#define LAB_MARK_TUN	0x20000000
#define LAB_MARK_TPROXY 0x40000000

static inline struct table_config lab_table(enum conf_intercept mode)
{
	static const char *const lan[] = {"lan0", "br-*"};

	return (struct table_config){
		.lan = lan,
		.n_lan = 2,
		.self = true,
		.tun = "tungate0",
		.mode = mode,
		.mark_value = LAB_MARK,
		.mark_mask = LAB_MARK,
		.mark_tun = LAB_MARK_TUN,
		.mark_tproxy = LAB_MARK_TPROXY,
		.pool4 = prefix("198.18.0.0/15"),
		.pool6 = prefix("fd00:198:18::/64"),
		.tun4 = address("198.18.0.1"),
		.tun6 = address("fd00:198:18::1"),
		.udp4 = port("127.1.1.53:53"),
		.udp6 = port("[fd00:198:18::1]:53"),
		.tcp4 = port("127.1.1.53:5353"),
		.tcp6 = port("[fd00:198:18::1]:5353"),
		.nflog_group = 5,
	};
}

/* --- a writer, and one client of it --- */

struct lab {
	struct writer *writer;
	struct writer_client *client;
	int woken;
	_Atomic bool alive, lapsed;
	_Atomic int lapse_error;
	_Atomic int n_told;
	char told[16][512]; /* lines of set_changed; written before n_told grows */
};

static inline bool lab_pulse(void *arg)
{
	return ((struct lab *)arg)->alive;
}

static inline void lab_lapsed(void *arg, bool lapsed, int64_t ms, int error)
{
	struct lab *lab = arg;

	assert_true(ms >= 0);
	lab->lapse_error = error;
	lab->lapsed = lapsed;
}

static inline void lab_told(void *arg, const char *text)
{
	struct lab *lab = arg;
	int n = lab->n_told;

	snprintf(lab->told[n % 16], sizeof lab->told[0], "%s", text);
	lab->n_told = n + 1;
}

static inline void lab_wake(void *arg)
{
	uint64_t one = 1;

	assert_int_equal(write(((struct lab *)arg)->woken, &one, sizeof one), sizeof one);
}

static inline void lab_open(struct lab *lab)
{
	struct writer_config config = {
		.heartbeat = {.pulse = lab_pulse, .lapsed = lab_lapsed, .arg = lab},
		.set_changed = lab_told,
		.arg = lab};

	memset(lab, 0, sizeof *lab);
	lab->alive = true;
	lab->woken = eventfd(0, EFD_NONBLOCK);
	assert_true(lab->woken >= 0);
	assert_int_equal(writer_start(&config, &lab->writer), 0);
	assert_int_equal(writer_client_new(lab->writer, lab_wake, lab, &lab->client), 0);
}

static inline void lab_close(struct lab *lab)
{
	writer_client_free(lab->client);
	writer_stop(lab->writer);
	close(lab->woken);
}

static inline void lab_set_table(struct lab *lab, const struct table_config *config)
{
	const char *what = "";
	int r = writer_table_set(lab->writer, config, &what);

	if (r != 0)
		fail_msg("writer_table_set: %s: %s", strerror(-r), what);
}

/* However slow the machine is. */
#define lab_until(condition)                                                                       \
	do {                                                                                       \
		for (int n_ = 0; !(condition) && n_ < 60000 / 5; n_++)                             \
			usleep(5000);                                                              \
		assert_true(condition);                                                            \
	} while (0)

/* Waits until the client has been woken, and takes its jobs back. */
static inline void lab_wait(struct lab *lab)
{
	struct pollfd p = {.fd = lab->woken, .events = POLLIN};
	uint64_t n;

	assert_int_equal(poll(&p, 1, 60000), 1);
	assert_int_equal(read(lab->woken, &n, sizeof n), sizeof n);
	writer_client_run(lab->client);
}

#endif
