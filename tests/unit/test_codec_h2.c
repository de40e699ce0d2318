/* DNS over HTTPS as a codec: requests as RFC 8484 has them, answers in any order and torn anywhere,
 * and servers that answer badly, lie, flood or go away. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "tests/unit/h2_stage.h"

#define DNS "application/dns-message"

static const struct conf_server by_name = {.transport = CONF_HTTPS,
	.host = "dns.test",
	.tls_name = "dns.test",
	.at.port = 443,
	.path = "/dns-query"};
static const uint8_t body[70000] = "\0\0the answer";

static struct stage *open_stage(void)
{
	return h2_stage_new(&by_name, NULL, 0);
}

static void ask(struct stage *st, unsigned number)
{
	assert_int_equal(h2_stage_ask(st, number, 128), 0);
	h2_stage_turn(st);
}

static void answer_well(struct stage *st, unsigned i, size_t len)
{
	h2_stage_answer(st, i, "200", DNS, body, len, NULL);
	h2_stage_turn(st);
}

/* What a stream's failure leaves: the next question on the same connection is answered. */
static void assert_goes_on(struct stage *st, unsigned number)
{
	unsigned i = st->n_requests;

	assert_int_equal(st->feed, 0);
	ask(st, number);
	assert_int_equal(st->n_requests, i + 1);
	answer_well(st, i, 77);
	assert_int_equal(st->tries[number].answer_len, 77);
}

static void a_post_is_what_rfc_8484_says(void **state)
{
	struct stage *st = open_stage();
	const struct stage_request *r = &st->requests[0];

	(void)state;
	ask(st, 0);
	assert_int_equal(st->n_requests, 1);
	assert_true(r->complete);
	assert_string_equal(r->text,
		":method: POST\n:scheme: https\n:authority: dns.test\n"
		":path: /dns-query\naccept: " DNS "\ncontent-type: " DNS "\ncontent-length: 128\n");
	assert_int_equal(r->body_len, 128);
	assert_memory_equal(r->body, "\0\0ppp", 5); /* id 0, padded */
	assert_int_equal(st->tries[0].t.id, 0);
	answer_well(st, 0, 100);
	assert_int_equal(st->tries[0].answer_len, 100);
	assert_memory_equal(st->tries[0].answer, body, 12);
	assert_int_equal(st->tries[0].age_s, 0);
	assert_null(st->tries[0].t.codec_link);
	h2_stage_free(st);
}

static void a_get_carries_the_question_in_its_path(void **state)
{
	struct conf_server conf = by_name;
	struct stage *st;

	(void)state;
	conf.method = CONF_GET;
	st = h2_stage_new(&conf, NULL, 0);
	for (unsigned i = 0; i < 3; i++)
		assert_int_equal(h2_stage_ask(st, i, 3 + i), 0);
	h2_stage_turn(st);
	assert_string_equal(st->requests[0].text,
		":method: GET\n:scheme: https\n:authority: dns.test\n"
		":path: /dns-query?dns=AABw\naccept: " DNS "\n");
	assert_true(h2_stage_asked(st, 1, ":path: /dns-query?dns=AABwcA"));
	assert_true(h2_stage_asked(st, 2, ":path: /dns-query?dns=AABwcHA"));
	assert_true(st->requests[0].complete);
	assert_int_equal(st->requests[0].body_len, 0);
	answer_well(st, 2, 12);
	assert_int_equal(st->tries[2].answer_len, 12);
	h2_stage_free(st);
	conf.path = "/q?key=1";
	st = h2_stage_new(&conf, NULL, 0);
	assert_int_equal(h2_stage_ask(st, 0, TRANSPORT_QUESTION_MAX), 0);
	h2_stage_turn(st);
	assert_non_null(strstr(st->requests[0].text, ":path: /q?key=1&dns=AABwcHBw"));
	h2_stage_free(st);
}

static void assert_authority(const struct conf_server *conf, const char *line)
{
	struct stage *st = h2_stage_new(conf, NULL, 0);

	ask(st, 0);
	assert_true(h2_stage_asked(st, 0, line));
	h2_stage_free(st);
}

static void the_authority_is_the_name_or_the_address(void **state)
{
	struct conf_server conf = by_name;

	(void)state;
	conf.at.port = 8443;
	assert_authority(&conf, ":authority: dns.test:8443");
	conf.host = conf.tls_name = NULL;
	conf.at.port = 443;
	ip_addr_parse("192.0.2.1", &conf.at.addr);
	assert_authority(&conf, ":authority: 192.0.2.1");
	ip_addr_parse("2001:db8::1", &conf.at.addr);
	assert_authority(&conf, ":authority: [2001:db8::1]");
	conf.at.port = 8443;
	assert_authority(&conf, ":authority: [2001:db8::1]:8443");
	conf.tls_name = "other.test";
	assert_authority(&conf, ":authority: other.test:8443");
}

static void answers_come_in_any_order(void **state)
{
	struct stage *st = open_stage();

	(void)state;
	for (unsigned i = 0; i < 100; i++)
		assert_int_equal(h2_stage_ask(st, i, 128), 0);
	h2_stage_turn(st);
	assert_int_equal(st->n_requests, 100);
	for (unsigned i = 100; i-- > 0;)
		h2_stage_answer(st, i, "200", DNS, body, 100 + i, NULL);
	h2_stage_turn(st);
	for (unsigned i = 0; i < 100; i++)
		assert_int_equal(st->tries[i].answer_len, 100 + i);
	assert_goes_on(st, 100);
	h2_stage_free(st);
}

static void bytes_are_torn_anywhere(void **state)
{
	struct stage *st = open_stage();
	static const char *const more[] = {"x-long", "a value of some length", NULL};

	(void)state;
	st->piece = 1;
	for (unsigned i = 0; i < 4; i++)
		ask(st, i);
	for (unsigned i = 0; i < 4; i++)
		h2_stage_answer(st, i, "200", DNS, body, 300, more);
	h2_stage_turn(st);
	for (unsigned i = 0; i < 4; i++)
		assert_int_equal(st->tries[i].answer_len, 300);
	h2_stage_free(st);
}

static uint32_t age_of(const char *age)
{
	const char *const more[] = {"age", age, NULL};
	struct stage *st = open_stage();
	uint32_t age_s;

	ask(st, 0);
	h2_stage_answer(st, 0, "200", "Application/DNS-message; x=y", body, 12, more);
	h2_stage_turn(st);
	assert_int_equal(st->tries[0].answer_len, 12);
	age_s = st->tries[0].age_s;
	h2_stage_free(st);
	return age_s;
}

static void the_age_is_told(void **state)
{
	(void)state;
	assert_int_equal(age_of("50"), 50);
	assert_int_equal(age_of("99999999999999999999"), INT32_MAX);
	assert_int_equal(age_of("-5"), 0);
	assert_int_equal(age_of("5 days"), 0);
}

static int error_of(const char *status, const char *type, size_t len)
{
	struct stage *st = open_stage();
	int error;

	ask(st, 0);
	h2_stage_answer(st, 0, status, type, len ? body : NULL, len, NULL);
	h2_stage_turn(st);
	assert_true(st->tries[0].over);
	assert_int_equal(st->tries[0].answer_len, 0);
	assert_false(st->tries[0].may_retry);
	error = st->tries[0].error;
	assert_goes_on(st, 1);
	h2_stage_free(st);
	return error;
}

static void what_is_no_answer_fails_alone(void **state)
{
	(void)state;
	assert_int_equal(error_of("500", DNS, 50), -EREMOTEIO);
	assert_int_equal(error_of("500", "text/html", 50), -EREMOTEIO);
	assert_int_equal(error_of("500", NULL, 0), -EREMOTEIO);
	assert_int_equal(error_of("301", NULL, 0), -EREMOTEIO);
	assert_int_equal(error_of("204", DNS, 0), -EREMOTEIO);
	assert_int_equal(error_of("200", "text/html", 50), -EREMOTEIO);
	assert_int_equal(error_of("200", "application/dns-messages", 50), -EREMOTEIO);
	assert_int_equal(error_of("200", "application/dns", 50), -EREMOTEIO);
	assert_int_equal(error_of("200", NULL, 50), -EREMOTEIO);
	assert_int_equal(error_of("200", DNS, 65536), -EMSGSIZE);
	assert_int_equal(error_of("200", DNS, 70000), -EMSGSIZE);
	assert_int_equal(error_of("404", "text/html", 70000), -EREMOTEIO);
}

static void the_largest_message_is_taken(void **state)
{
	struct stage *st = open_stage();

	(void)state;
	ask(st, 0);
	answer_well(st, 0, 65535);
	assert_int_equal(st->tries[0].answer_len, 65535);
	assert_memory_equal(st->tries[0].answer, body, sizeof st->tries[0].answer);
	for (unsigned i = 1; i < 60; i++) { /* the windows are opened again */
		ask(st, i);
		answer_well(st, i, 65535);
		assert_int_equal(st->tries[i].answer_len, 65535);
	}
	h2_stage_free(st);
}

static void large_answers_share_a_bound(void **state)
{
	struct stage *st = open_stage();
	unsigned answered = 0, refused = 0;

	(void)state;
	for (unsigned i = 0; i < 90; i++)
		assert_int_equal(h2_stage_ask(st, i, 128), 0);
	h2_stage_turn(st);
	for (unsigned i = 0; i < 90; i++)
		h2_stage_answer(st, i, "200", DNS, body, 65000, NULL);
	h2_stage_turn(st);
	for (unsigned i = 0; i < 90; i++) {
		answered += st->tries[i].answer_len == 65000;
		refused += st->tries[i].error == -ENOBUFS;
	}
	assert_int_equal(answered + refused, 90);
	assert_in_range(answered, 10, 90);
	assert_goes_on(st, 90);
	h2_stage_free(st);
}

static void a_truncated_body_is_no_answer(void **state)
{
	static const char *const more[] = {"content-length", "200", NULL};
	struct stage *st = open_stage();

	(void)state;
	ask(st, 0);
	h2_stage_answer(st, 0, "200", DNS, body, 100, more);
	h2_stage_turn(st);
	assert_int_equal(st->tries[0].error, -EPROTO);
	assert_int_equal(st->tries[0].answer_len, 0);
	assert_goes_on(st, 1);
	h2_stage_free(st);
}

static void an_answer_that_is_refused_ends_its_stream(void **state)
{
	struct stage *st = open_stage();

	(void)state;
	st->tries[0].refuse = true;
	ask(st, 0);
	answer_well(st, 0, 100);
	assert_int_equal(st->tries[0].error, -EPROTO);
	assert_goes_on(st, 1);
	h2_stage_free(st);
}

static void goaway_sends_the_later_ones_elsewhere(void **state)
{
	struct stage *st = open_stage();

	(void)state;
	for (unsigned i = 0; i < 3; i++) {
		ask(st, i);
		st->tries[i].t.again = true;
	}
	nghttp2_submit_goaway(
		st->server, NGHTTP2_FLAG_NONE, st->requests[0].id, NGHTTP2_NO_ERROR, NULL, 0);
	h2_stage_turn(st);
	assert_true(st->conn.retired);
	assert_false(st->tries[0].over);
	for (unsigned i = 1; i < 3; i++) {
		assert_true(st->tries[i].over && st->tries[i].may_retry);
		assert_int_equal(st->tries[i].error, -ECONNRESET);
		assert_false(st->tries[i].t.again); /* the server gets on */
	}
	assert_int_equal(h2_stage_ask(st, 3, 128), -EAGAIN);
	answer_well(st, 0, 40);
	assert_int_equal(st->tries[0].answer_len, 40);
	assert_int_equal(st->feed, 0); /* it ends without harm */
	h2_stage_free(st);
}

static void what_has_not_left_before_goaway_is_asked_elsewhere(void **state)
{
	struct stage *st = open_stage();

	(void)state;
	ask(st, 0);
	assert_int_equal(h2_stage_ask(st, 1, 128), 0);
	h2_stage_raw(st, (const uint8_t *)"\0\0\10\7\0\0\0\0\0\0\0\0\1\0\0\0\0", 17);
	assert_int_equal(st->feed, 0);
	assert_true(st->tries[1].over && st->tries[1].may_retry);
	assert_false(st->tries[0].over);
	h2_stage_free(st);
}

static void goaway_that_takes_nothing_counts(void **state)
{
	struct stage *st = open_stage();

	(void)state;
	ask(st, 0);
	st->tries[0].t.again = true;
	nghttp2_submit_goaway(st->server, NGHTTP2_FLAG_NONE, 0, NGHTTP2_NO_ERROR, NULL, 0);
	h2_stage_turn(st);
	assert_true(st->tries[0].over && st->tries[0].may_retry);
	assert_true(st->tries[0].t.again);
	h2_stage_free(st);
}

static void a_reset_stream_fails_alone(void **state)
{
	struct stage *st = open_stage();

	(void)state;
	ask(st, 0);
	ask(st, 1);
	nghttp2_submit_rst_stream(
		st->server, NGHTTP2_FLAG_NONE, st->requests[0].id, NGHTTP2_REFUSED_STREAM);
	nghttp2_submit_rst_stream(
		st->server, NGHTTP2_FLAG_NONE, st->requests[1].id, NGHTTP2_INTERNAL_ERROR);
	h2_stage_turn(st);
	assert_true(st->tries[0].over && st->tries[0].may_retry);
	assert_true(st->tries[1].over && !st->tries[1].may_retry);
	assert_int_equal(st->tries[1].error, -ECONNRESET);
	assert_goes_on(st, 2);
	h2_stage_free(st);
}

static void the_peers_limit_of_streams_is_kept(void **state)
{
	const nghttp2_settings_entry one = {NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS, 1};
	struct stage *st = h2_stage_new(&by_name, &one, 1);

	(void)state;
	ask(st, 0);
	assert_int_equal(h2_stage_ask(st, 1, 128), -EAGAIN);
	assert_null(st->tries[1].t.codec_link);
	answer_well(st, 0, 50);
	assert_goes_on(st, 1);
	h2_stage_free(st);
}

static void there_is_a_limit_of_our_own(void **state)
{
	const nghttp2_settings_entry many = {NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS, 100000};
	struct stage *st = h2_stage_new(&by_name, &many, 1);
	unsigned n = 0;

	(void)state;
	while (n < STAGE_TRIES && h2_stage_ask(st, n, 128) == 0)
		n++;
	assert_in_range(n, 100, STAGE_TRIES - 1);
	h2_stage_turn(st);
	assert_int_equal(st->n_requests, n);
	h2_stage_free(st);
}

static void forgotten_streams_are_reset_for_room_only(void **state)
{
	const nghttp2_settings_entry two = {NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS, 2};
	struct stage *st = h2_stage_new(&by_name, &two, 1);

	(void)state;
	ask(st, 0);
	ask(st, 1);
	h2_stage_close(st, 0);
	h2_stage_turn(st);
	assert_int_equal(st->requests[0].reset, 0);
	answer_well(st, 0, 100); /* dropped */
	assert_int_equal(st->tries[0].answer_len, 0);
	ask(st, 2);
	h2_stage_close(st, 2);
	h2_stage_turn(st);
	ask(st, 3); /* there is none but the second's and the third's place */
	assert_int_equal(st->requests[2].reset, NGHTTP2_CANCEL + 1);
	assert_int_equal(st->n_requests, 4);
	answer_well(st, 1, 60);
	answer_well(st, 3, 61);
	assert_int_equal(st->tries[1].answer_len, 60);
	assert_int_equal(st->tries[3].answer_len, 61);
	/* One that has not even left. */
	assert_int_equal(h2_stage_ask(st, 4, 128), 0);
	h2_stage_close(st, 4);
	assert_int_equal(h2_stage_ask(st, 5, 128), 0);
	h2_stage_close(st, 5);
	assert_int_equal(h2_stage_ask(st, 6, 128), 0);
	h2_stage_turn(st);
	answer_well(st, st->n_requests - 1, 62);
	assert_int_equal(st->tries[6].answer_len, 62);
	assert_int_equal(st->feed, 0);
	h2_stage_free(st);
}

static void a_forgotten_stream_does_not_pour_for_ever(void **state)
{
	struct stage *st = open_stage();

	(void)state;
	ask(st, 0);
	h2_stage_close(st, 0);
	h2_stage_answer(st, 0, "200", DNS, body, sizeof body, NULL);
	h2_stage_turn(st);
	assert_int_equal(st->requests[0].reset, NGHTTP2_CANCEL + 1);
	assert_goes_on(st, 1);
	h2_stage_free(st);
}

static void an_answer_may_close_other_tries_and_the_connection(void **state)
{
	struct stage *st = open_stage();

	(void)state;
	ask(st, 0);
	ask(st, 1);
	st->tries[0].closes = &st->tries[1];
	h2_stage_answer(st, 0, "200", DNS, body, 50, NULL);
	h2_stage_answer(st, 1, "200", DNS, body, 50, NULL);
	h2_stage_turn(st);
	assert_int_equal(st->tries[0].answer_len, 50);
	assert_int_equal(st->tries[1].answer_len, 0);
	ask(st, 2);
	ask(st, 3);
	st->conn.close_on_answer = true;
	h2_stage_answer(st, 2, "200", DNS, body, 50, NULL);
	h2_stage_answer(st, 3, "200", DNS, body, 50, NULL);
	h2_stage_turn(st);
	assert_int_equal(st->feed, 0);
	assert_int_equal(st->tries[2].answer_len + st->tries[3].answer_len, 50);
	h2_stage_free(st);
}

static void a_window_of_nothing_holds_questions_back(void **state)
{
	const nghttp2_settings_entry none = {NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE, 0};
	const nghttp2_settings_entry some = {NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE, 100};
	struct stage *st = h2_stage_new(&by_name, &none, 1);

	(void)state;
	ask(st, 0);
	ask(st, 1);
	assert_int_equal(st->n_requests, 2);
	assert_int_equal(st->requests[0].body_len, 0);
	/* An answer to what was not asked. */
	answer_well(st, 1, 50);
	assert_int_equal(st->tries[1].error, -EPROTO);
	nghttp2_submit_settings(st->server, NGHTTP2_FLAG_NONE, &some, 1);
	h2_stage_turn(st);
	/* A hundred bytes, and then what the server opens by itself. */
	assert_int_equal(st->requests[0].body_len, 128);
	answer_well(st, 0, 50);
	assert_int_equal(st->tries[0].answer_len, 50);
	h2_stage_free(st);
}

static void interim_responses_and_trailers_are_passed_over(void **state)
{
	/* 103 with an indexed :status and a type; then 200 with content-type, a body, trailers. */
	static const uint8_t interim[] = "\0\0\5\1\4\0\0\0\1\x08\x03"
					 "103",
			     data[] = "\0\0\5\0\0\0\0\0\1"
				      "hello",
			     trailer[] = "\0\0\11\1\5\0\0\0\1\0\3age\3"
					 "900";
	static const uint8_t head[] = "\0\0\x1b\1\4\0\0\0\1\x88\x5f\x17"
				      "application/dns-message";
	struct stage *st = open_stage();

	(void)state;
	ask(st, 0);
	h2_stage_raw(st, interim, sizeof interim - 1);
	h2_stage_raw(st, (const uint8_t *)"\0\0\x1a\1\4\0\0\0\1\x88\x5f\x17", 12);
	h2_stage_raw(st, head + 12, 23);
	h2_stage_raw(st, data, sizeof data - 1);
	assert_false(st->tries[0].over);
	h2_stage_raw(st, trailer, sizeof trailer - 1);
	assert_int_equal(st->feed, 0);
	assert_int_equal(st->tries[0].answer_len, 5);
	assert_int_equal(st->tries[0].age_s, 0);
	h2_stage_free(st);
}

static void garbage_breaks_the_connection(void **state)
{
	uint8_t bytes[300];

	(void)state;
	for (unsigned seed = 0; seed < 200; seed++) {
		struct stage *st = open_stage();
		uint32_t random = seed;

		for (size_t i = 0; i < sizeof bytes; i++) {
			random = random * 1664525 + 1013904223;
			bytes[i] = (uint8_t)(random >> 24);
		}
		ask(st, 0);
		h2_stage_raw(st, bytes, sizeof bytes);
		assert_true(st->feed <= 0);
		h2_stage_free(st);
	}
	struct stage *st = open_stage();

	ask(st, 0);
	h2_stage_raw(st, (const uint8_t *)"HTTP/1.1 400 Bad Request\r\n\r\n", 28);
	assert_int_equal(st->feed, -EPROTO);
	h2_stage_free(st);
}

static void pushes_are_refused(void **state)
{
	struct stage *st = open_stage();

	(void)state;
	ask(st, 0);
	h2_stage_raw(st, (const uint8_t *)"\0\0\10\5\4\0\0\0\1\0\0\0\2\x82\x84\x87\x88", 17);
	assert_int_equal(st->feed, -EPROTO);
	h2_stage_free(st);
}

/* A frame of the server's, the same n times in one piece. */
static int flood(struct stage *st, const uint8_t *frame, size_t len, size_t n)
{
	uint8_t *all = malloc(len * n);

	assert_non_null(all);
	for (size_t i = 0; i < n; i++)
		memcpy(all + i * len, frame, len);
	h2_stage_raw(st, all, len * n);
	free(all);
	return st->feed;
}

static void floods_end_the_connection(void **state)
{
	static const uint8_t ping[] = "\0\0\10\6\0\0\0\0\0\0\0\0\0\0\0\0",
			     settings[] = "\0\0\0\4\0\0\0\0";
	struct stage *st = open_stage();

	(void)state;
	assert_int_equal(flood(st, ping, sizeof ping, 20), 0);
	h2_stage_turn(st);
	assert_int_equal(st->acks, 20);
	assert_int_equal(flood(st, ping, sizeof ping, 10000), -EPROTO);
	h2_stage_free(st);
	st = open_stage();
	assert_int_equal(flood(st, settings, sizeof settings, 10000), -EPROTO);
	h2_stage_free(st);
}

/* HEADERS on stream 1 that inserts a field of 4,000 bytes into the table, and names it again
 * `times` times. */
static size_t write_bomb(uint8_t *to, size_t times)
{
	size_t len = 1 + 1 + 1 + 1 + 3 + 4000 + times, at = 9;

	memset(to, 0, 9);
	to[0] = (uint8_t)(len >> 16);
	to[1] = (uint8_t)(len >> 8);
	to[2] = (uint8_t)len;
	to[3] = NGHTTP2_HEADERS;
	to[4] = NGHTTP2_FLAG_END_HEADERS;
	to[8] = 1;
	to[at++] = 0x88; /* :status 200 */
	to[at++] = 0x40;
	to[at++] = 1;
	to[at++] = 'x';
	to[at++] = 0x7f; /* 127 + 3873 */
	to[at++] = 0xa1;
	to[at++] = 0x1e;
	memset(to + at, 'v', 4000);
	at += 4000;
	memset(to + at, 0xbe, times);
	return at + times;
}

static void header_bombs_are_cut_off(void **state)
{
	static uint8_t bomb[16000];
	struct stage *st = open_stage();
	size_t len;

	(void)state;
	ask(st, 0);
	ask(st, 1);
	len = write_bomb(bomb, 10000);
	h2_stage_raw(st, bomb, len);
	assert_int_equal(st->feed, 0);
	assert_int_equal(st->tries[0].error, -EPROTO);
	assert_false(st->tries[1].over);
	h2_stage_free(st);
}

static void endless_continuations_end_the_connection(void **state)
{
	static const uint8_t headers[] = "\0\0\1\1\0\0\0\0\1\x88",
			     continuation[] = "\0\0\0\x9\0\0\0\0\1";
	struct stage *st = open_stage();

	(void)state;
	ask(st, 0);
	assert_int_equal(h2_stage_raw(st, headers, sizeof headers - 1), 0);
	assert_int_equal(flood(st, continuation, sizeof continuation - 1, 1000), -EPROTO);
	h2_stage_free(st);
}

static void a_path_too_long_is_refused(void **state)
{
	struct conn c = {.conf = by_name};
	char path[5000];

	(void)state;
	memset(path, 'a', sizeof path);
	path[0] = '/';
	path[sizeof path - 1] = 0;
	c.conf.path = path;
	assert_int_equal(conn_codec_h2.start(&c), -ENAMETOOLONG);
	assert_null(c.state);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_post_is_what_rfc_8484_says),
		cmocka_unit_test(a_get_carries_the_question_in_its_path),
		cmocka_unit_test(the_authority_is_the_name_or_the_address),
		cmocka_unit_test(answers_come_in_any_order),
		cmocka_unit_test(bytes_are_torn_anywhere),
		cmocka_unit_test(the_age_is_told),
		cmocka_unit_test(what_is_no_answer_fails_alone),
		cmocka_unit_test(the_largest_message_is_taken),
		cmocka_unit_test(large_answers_share_a_bound),
		cmocka_unit_test(a_truncated_body_is_no_answer),
		cmocka_unit_test(an_answer_that_is_refused_ends_its_stream),
		cmocka_unit_test(goaway_sends_the_later_ones_elsewhere),
		cmocka_unit_test(what_has_not_left_before_goaway_is_asked_elsewhere),
		cmocka_unit_test(goaway_that_takes_nothing_counts),
		cmocka_unit_test(a_reset_stream_fails_alone),
		cmocka_unit_test(the_peers_limit_of_streams_is_kept),
		cmocka_unit_test(there_is_a_limit_of_our_own),
		cmocka_unit_test(forgotten_streams_are_reset_for_room_only),
		cmocka_unit_test(a_forgotten_stream_does_not_pour_for_ever),
		cmocka_unit_test(an_answer_may_close_other_tries_and_the_connection),
		cmocka_unit_test(a_window_of_nothing_holds_questions_back),
		cmocka_unit_test(interim_responses_and_trailers_are_passed_over),
		cmocka_unit_test(garbage_breaks_the_connection),
		cmocka_unit_test(pushes_are_refused),
		cmocka_unit_test(floods_end_the_connection),
		cmocka_unit_test(header_bombs_are_cut_off),
		cmocka_unit_test(endless_continuations_end_the_connection),
		cmocka_unit_test(a_path_too_long_is_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
