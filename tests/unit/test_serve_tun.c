/* Queries as packets: what comes in at TUN goes out of it as the answer. */
#include "tests/unit/serve_stage.h"

#include <errno.h>
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>
#include <cmocka.h>

#include "gateway/serve/tun.h"

#define QUERY 20

struct world {
	struct stage *s;
	struct serve_out *out;
	struct serve_tun tun;
	int far; /* the other end of the device */
};

static int open_world(void **state)
{
	struct world *w = calloc(1, sizeof *w);
	int fds[2], bytes = 1 << 20;

	assert_non_null(w);
	w->s = stage_open();
	assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_NONBLOCK, 0, fds), 0);
	assert_int_equal(setsockopt(fds[0], SOL_SOCKET, SO_SNDBUF, &bytes, sizeof bytes), 0);
	w->far = fds[1];
	assert_int_equal(serve_out_new(w->s->loop, stage_engine(w->s), &w->out), 0);
	w->tun = (struct serve_tun){.engine = stage_engine(w->s), .out = w->out, .fd = fds[0]};
	*state = w;
	return 0;
}

static int close_world(void **state)
{
	struct world *w = *state;

	close(w->tun.fd);
	close(w->far);
	serve_out_free(w->out);
	stage_close(w->s);
	free(w);
	return 0;
}

/* --- packets --- */

/* A query from 10.1.1.1 or fd01::1, port 4001, to port 53 of 8.8.8.8 or fd08::8. `extra` bytes:
 * IPv4 options (no-operation) or an IPv6 destination options header (padding). */
static size_t build(uint8_t *packet, bool v6, size_t extra, unsigned id, char command)
{
	size_t ip = v6 ? 40 : 20, udp = ip + extra, len = udp + 8 + QUERY;
	struct tun_packet p;

	memset(packet, 0, len);
	packet[udp] = 4001 >> 8;
	packet[udp + 1] = 4001 & 255;
	packet[udp + 3] = 53;
	packet[udp + 5] = 8 + QUERY;
	stage_query(packet + udp + 8, QUERY, id, command);
	if (v6) {
		packet[0] = 0x60;
		packet[5] = (uint8_t)(len - 40);
		packet[6] = extra ? 60 : 17;
		packet[7] = 64;
		packet[8] = packet[24] = 0xfd;
		packet[9] = packet[23] = 1;
		packet[25] = packet[39] = 8;
		if (extra) {
			packet[40] = 17;
			packet[41] = (uint8_t)(extra / 8 - 1);
			packet[42] = 1; /* PadN */
			packet[43] = (uint8_t)(extra - 4);
		}
	} else {
		uint16_t sum;

		packet[0] = (uint8_t)(0x40 | (5 + extra / 4));
		packet[3] = (uint8_t)len;
		packet[6] = 0x40;
		packet[8] = 64;
		packet[9] = 17;
		memcpy(packet + 12, "\12\1\1\1\10\10\10\10", 8);
		memset(packet + 20, 1, extra);
		sum = tun_packet_checksum(packet, 20 + extra);
		memcpy(packet + 10, &sum, 2);
	}
	assert_int_equal(tun_packet_parse(packet, len, &p), 0);
	tun_packet_checksum_set(&p);
	return len;
}

/* As the worker does. The packet's memory ends with it, and is gone when the call returns. */
static void give(struct world *w, const uint8_t *packet, size_t len)
{
	uint8_t *copy = malloc(len);
	struct tun_packet p;

	assert_non_null(copy);
	memcpy(copy, packet, len);
	assert_int_equal(tun_packet_parse(copy, len, &p), 0);
	serve_tun_packet(&w->tun, &p);
	free(copy);
}

static void ask(struct world *w, bool v6, size_t extra, unsigned id, char command)
{
	uint8_t packet[256];

	give(w, packet, build(packet, v6, extra, id, command));
}

static void expect_nothing(struct world *w)
{
	uint8_t byte;

	assert_int_equal(recv(w->far, &byte, 1, 0), -1);
	assert_int_equal(errno, EAGAIN);
}

static void expect_answer(struct world *w, bool v6, unsigned id)
{
	uint8_t packet[2048];
	struct ip_addr asked, client, from, to;
	struct tun_packet p;
	ssize_t len = recv(w->far, packet, sizeof packet, 0);

	assert_int_equal(len, (v6 ? 40 : 20) + 8 + QUERY);
	assert_int_equal(tun_packet_parse(packet, (size_t)len, &p), 0);
	assert_int_equal(p.len, len);
	assert_true(tun_packet_checksum_ok(&p));
	assert_int_equal(p.protocol, 17);
	assert_int_equal(p.source_port, 53);
	assert_int_equal(p.target_port, 4001);
	from = tun_packet_source(&p);
	to = tun_packet_target(&p);
	assert_int_equal(ip_addr_parse(v6 ? "fd08::8" : "8.8.8.8", &asked), 0);
	assert_int_equal(ip_addr_parse(v6 ? "fd01::1" : "10.1.1.1", &client), 0);
	assert_true(ip_addr_equal(&from, &asked));
	assert_true(ip_addr_equal(&to, &client));
	assert_int_equal(p.payload_len, QUERY);
	assert_int_equal(packet[p.payload] << 8 | packet[p.payload + 1], id);
}

/* --- tests --- */

static void answers_come_from_the_address_that_was_asked(void **state)
{
	struct world *w = *state;

	for (int v6 = 0; v6 < 2; v6++) {
		ask(w, v6, 0, 77, 'e');
		assert_int_equal(w->s->last.listener, QUERY_TUN);
		assert_false(w->s->last.stream);
		assert_int_equal(w->s->last.client.port, 4001);
		assert_int_equal(w->s->last.client.addr.family, v6 ? IP_V6 : IP_V4);
		assert_int_equal(w->s->last_len, QUERY);
		expect_nothing(w); /* before the turn's end */
		stage_turns(w->s, 1);
		expect_answer(w, v6, 77);
		expect_nothing(w);
	}
	assert_int_equal(serve_out_counters(w->out)->sent, 2);
}

static void the_log_is_written_first(void **state)
{
	struct world *w = *state;

	w->s->watch_fd = w->far;
	ask(w, false, 0, 1, 'e');
	stage_turns(w->s, 1);
	assert_int_equal(w->s->n_commits, 1);
	w->s->watch_fd = -1;
	expect_answer(w, false, 1);
}

static void parked_answers_are_built_from_the_querys_headers(void **state)
{
	static const struct {
		bool v6;
		size_t extra;
	} cases[] = {{false, 0}, {true, 0}, {false, 40}, {true, 8}, {true, 64}};
	struct world *w = *state;

	for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
		ask(w, cases[i].v6, cases[i].extra, 1000 + (unsigned)i, 'p');
		stage_turns(w->s, 1);
		expect_nothing(w);
	}
	for (size_t i = sizeof cases / sizeof cases[0]; i-- > 0;) {
		stage_release(w->s, i);
		stage_turns(w->s, 1);
		expect_answer(w, cases[i].v6, 1000 + (unsigned)i);
	}
}

static void options_and_extension_headers_are_not_in_the_answer(void **state)
{
	struct world *w = *state;

	ask(w, false, 40, 1, 'e');
	ask(w, true, 64, 2, 'e');
	stage_turns(w->s, 1);
	expect_answer(w, false, 1);
	expect_answer(w, true, 2);
}

static void replied_from_within(void **state)
{
	struct world *w = *state;

	ask(w, false, 0, 5, 'w');
	ask(w, true, 0, 6, 'w');
	stage_turns(w->s, 1);
	expect_answer(w, false, 5);
	expect_answer(w, true, 6);
	expect_nothing(w);
}

static void what_gets_no_answer(void **state)
{
	struct world *w = *state;
	uint8_t packet[256];
	size_t len;

	ask(w, false, 0, 1, 'n');
	for (int v6 = 0; v6 < 2; v6++) { /* a byte of the payload is wrong */
		len = build(packet, v6, 0, 1, 'e');
		packet[len - 1] ^= 1;
		give(w, packet, len);
	}
	assert_int_equal(w->s->n_handled, 1);
	/* From nobody who could be answered: 255.255.255.255, ff02::1. */
	len = build(packet, false, 0, 1, 'e');
	memset(packet + 12, 255, 4);
	packet[10] = packet[11] = 0;
	{
		uint16_t sum = tun_packet_checksum(packet, 20);

		memcpy(packet + 10, &sum, 2);
	}
	packet[26] = packet[27] = 0; /* no UDP checksum */
	give(w, packet, len);
	stage_turns(w->s, 2);
	expect_nothing(w);
	assert_int_equal(serve_out_counters(w->out)->sent, 0);
}

static void more_answers_than_slots_in_one_turn(void **state)
{
	struct world *w = *state;

	for (unsigned i = 0; i < 150; i++)
		ask(w, i % 2, 0, i, i % 3 == 0 ? 'w' : 'e');
	stage_turns(w->s, 1);
	for (unsigned next = 0; next < 150; next++)
		expect_answer(w, next % 2, next);
	expect_nothing(w);
	assert_int_equal(serve_out_counters(w->out)->sent, 150);
}

static void a_device_that_is_gone_is_counted(void **state)
{
	struct world *w = *state;
	int fd = w->tun.fd;

	w->tun.fd = -1;
	ask(w, false, 0, 1, 'e');
	stage_turns(w->s, 1);
	assert_int_equal(serve_out_counters(w->out)->send_errors, 1);
	w->tun.fd = fd;
	ask(w, false, 0, 2, 'e');
	stage_turns(w->s, 1);
	expect_answer(w, false, 2);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, open_world, close_world)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(answers_come_from_the_address_that_was_asked),
		TEST(the_log_is_written_first),
		TEST(parked_answers_are_built_from_the_querys_headers),
		TEST(options_and_extension_headers_are_not_in_the_answer),
		TEST(replied_from_within),
		TEST(what_gets_no_answer),
		TEST(more_answers_than_slots_in_one_turn),
		TEST(a_device_that_is_gone_is_counted),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
