/* Questions by datagrams. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

#include "gateway/base/descriptors.h"
#include "tests/unit/transport_stage.h"

#define BUSY 32 /* from so many on sockets are shared */

/* In turns, not in time: the machine may be busy. */
static void settle(struct stage *s)
{
	for (unsigned i = 0; i < 20; i++)
		stage_turn(s);
}

static unsigned ports_seen(const struct peer *f, unsigned first, unsigned end)
{
	unsigned n = 0;

	for (unsigned i = first; i < end; i++) {
		unsigned j = first;

		while (j < i && f->seen_port[j] != f->seen_port[i])
			j++;
		n += j == i;
	}
	return n;
}

static void few_have_a_port_each(void **state)
{
	struct stage *s = stage_open(CONF_UDP);
	unsigned same_id = 0;

	(void)state;
	for (unsigned i = 0; i < 20; i++) {
		for (unsigned j = 0; j < BUSY - 1; j++)
			ask(s, j);
		play_until_over(s, 0, BUSY - 1);
		assert_answered(s, 0, BUSY - 1);
	}
	/* Sockets are used again, ports and ids are not. */
	assert_true(ports_seen(s->peer, 0, s->peer->asked) > s->peer->asked - 30);
	for (unsigned i = 1; i < s->peer->asked; i++)
		same_id += s->peer->seen_id[i] == s->peer->seen_id[i - 1];
	assert_true(same_id < 5);
	stage_close(s);
}

static void many_share_sockets(void **state)
{
	struct stage *s = stage_open(CONF_UDP);
	struct peer *f = s->peer;

	(void)state;
	f->hold = true;
	for (unsigned i = 0; i < 1000; i++)
		assert_true(transport_is_lossy(&ask(s, i)->try));
	settle(s);
	assert_int_equal(f->asked, 1000);
	assert_in_range(ports_seen(f, 0, f->asked), BUSY + 4, BUSY + 20);
	for (unsigned i = 0; i < 1000; i++) {
		for (unsigned j = 0; j < i; j++)
			assert_false(f->seen_port[i] == f->seen_port[j] &&
				     f->seen_id[i] == f->seen_id[j]);
	}
	for (unsigned i = 1000; i-- > 0;)
		peer_answer(f, i);
	play_until_over(s, 0, 1000);
	assert_answered(s, 0, 1000);
	for (unsigned i = 0; i < 1000; i++)
		assert_int_equal(s->askers[i].told, 0);
	/* No port stays open for nothing. */
	for (int ms = 0; ms < 5000 && s->transports->udp_open; ms++)
		stage_play(s, 1);
	assert_null(s->transports->udp_open);
	f->hold = false;
	ask(s, 0);
	play_until_over(s, 0, 1);
	stage_close(s);
}

static void few_descriptors_are_shared_and_given_back(void **state)
{
	struct stage *s = stage_open(CONF_UDP);
	struct peer *f = s->peer;
	unsigned limit = s->fds + 16; /* half of them the reserve, a quarter to spare */

	(void)state;
	descriptors_init(limit);
	for (unsigned round = 0; round < 3; round++) {
		unsigned first = f->asked;

		for (unsigned i = 0; i < 200; i++)
			ask(s, i);
		play_until_over(s, 0, 200);
		assert_answered(s, 0, 200);
		assert_in_range(ports_seen(f, first, f->asked), 2, 8);
	}
	for (int ms = 0; ms < 5000 && s->transports->udp_open; ms++)
		stage_play(s, 1);
	assert_null(s->transports->udp_open);
	assert_in_range(s->transports->udp_idle_count, 0, 4);
	descriptors_init(UINT32_MAX);
	stage_close(s);
}

/* The numbers of those that share the socket of number i. */
static unsigned sharers(const struct peer *f, unsigned i, unsigned n, unsigned *ret)
{
	unsigned k = 0;

	for (unsigned j = 0; j < n; j++) {
		if (f->seen_port[j] == f->seen_port[i])
			ret[k++] = j;
	}
	return k;
}

static unsigned told(const struct stage *s, unsigned n)
{
	unsigned sum = 0;

	for (unsigned i = 0; i < n; i++)
		sum += s->askers[i].told;
	return sum;
}

static uint16_t unknown_id(const struct peer *f, unsigned n)
{
	uint16_t id = 0;

	for (unsigned i = 0; i < n; i++) {
		if (f->held[i].id == id) {
			id++;
			i = 0;
		}
	}
	return id;
}

static void wrong_answers_to_sharers(void **state)
{
	struct stage *s = stage_open(CONF_UDP);
	struct peer *f = s->peer;
	const unsigned n = 400, last = n - 1;
	unsigned with[400], k;
	struct peer_question forged;

	(void)state;
	f->hold = true;
	for (unsigned i = 0; i < n; i++)
		ask(s, i);
	settle(s);
	k = sharers(f, last, n, with);
	assert_true(k > 2);
	/* An id that nobody has: the oldest is told. */
	forged = f->held[last];
	f->held[last].id = unknown_id(f, n);
	peer_answer(f, last);
	settle(s);
	assert_int_equal(told(s, n), 1);
	assert_int_equal(s->askers[with[0]].told, 1);
	/* Another's id: who has it is told. */
	f->held[last].id = f->held[with[1]].id;
	peer_answer(f, last);
	settle(s);
	assert_int_equal(told(s, n), 2);
	assert_int_equal(s->askers[with[1]].told, 1);
	/* No header at all. */
	f->size = DNS_HEADER_SIZE;
	f->held[last] = forged;
	peer_answer(f, last);
	settle(s);
	assert_int_equal(s->askers[last].told, 1);
	assert_int_equal(told(s, n), 3);
	assert_int_equal(sendto(f->udp, "", 0, 0, (struct sockaddr *)&forged.from,
				 sizeof(struct sockaddr_in)),
		0);
	settle(s);
	assert_int_equal(told(s, n), 4);
	/* The right one, and once more: late is not wrong. */
	f->size = 0;
	peer_answer(f, last);
	peer_answer(f, last);
	transport_close(&s->askers[with[1]].try);
	peer_answer(f, with[1]);
	settle(s);
	assert_answered(s, last, 1);
	assert_int_equal(told(s, n), 4);
	assert_int_equal(s->askers[with[1]].answers, 0);
	stage_close(s);
}

/* A port that the kernel happens to pick once more is let pass in both. */
static void a_shared_port_takes_so_many_questions(void **state)
{
	struct stage *s = stage_open(CONF_UDP);
	struct peer *f = s->peer;
	unsigned *count = calloc(65536, sizeof *count), over = 0;

	(void)state;
	assert_non_null(count);
	for (unsigned round = 0; round < 15; round++) {
		for (unsigned i = 0; i < 900; i++)
			ask(s, i);
		play_until_over(s, 0, 900);
		assert_answered(s, 0, 900);
	}
	for (unsigned i = 0; i < f->asked; i++)
		over += ++count[f->seen_port[i]] > 512;
	assert_true(over <= 512);
	assert_true(ports_seen(f, 0, f->asked) >= BUSY + 15 * 800 / 512);
	free(count);
	stage_close(s);
}

static void a_shared_port_lives_so_long(void **state)
{
	struct stage *s = stage_open(CONF_UDP);
	struct peer *f = s->peer;
	unsigned before, after;

	(void)state;
	f->hold = true;
	for (unsigned i = 0; i < 200; i++)
		ask(s, i);
	stage_play(s, 2100);
	before = ports_seen(f, 0, 200);
	for (unsigned i = 200; i < 300; i++)
		ask(s, i);
	settle(s);
	assert_int_equal(f->asked, 300);
	after = ports_seen(f, 200, 300);
	assert_in_range(after, 1, 16);
	assert_true(ports_seen(f, 0, 300) >= before + after - 2);
	for (unsigned i = 0; i < 300; i++)
		peer_answer(f, i);
	play_until_over(s, 0, 300);
	assert_answered(s, 0, 300);
	stage_close(s);
}

static void wrong_answers_are_told_and_waited_past(void **state)
{
	struct stage *s = stage_open(CONF_UDP);
	struct asker *a;

	(void)state;
	s->peer->hold = true;
	a = ask(s, 0);
	settle(s);
	assert_int_equal(s->peer->n_held, 1);
	s->peer->held[0].id ^= 1;
	peer_answer(s->peer, 0);
	s->peer->size = DNS_HEADER_SIZE;
	peer_answer(s->peer, 0);
	s->peer->size = 0;
	settle(s);
	assert_int_equal(a->told, 2);
	s->peer->held[0].id ^= 1;
	peer_answer(s->peer, 0);
	play_until_over(s, 0, 1);
	assert_answered(s, 0, 1);
	stage_close(s);
}

static void sent_again_its_time_is_not_known(void **state)
{
	struct stage *s = stage_open(CONF_UDP);
	struct asker *a;

	(void)state;
	s->peer->hold = true;
	a = ask(s, 0);
	assert_true(a->try.asked_us > 0);
	stage_play(s, 10);
	assert_int_equal(transport_resend(&a->try), 0);
	assert_int_equal(a->try.asked_us, 0);
	STAGE_UNTIL(s, s->peer->asked == 2);
	assert_int_equal(s->peer->seen_id[0], s->peer->seen_id[1]);
	assert_int_equal(s->peer->seen_port[0], s->peer->seen_port[1]);
	stage_close(s);
}

static void a_refused_one_fails_at_once(void **state)
{
	struct stage *s = stage_open(CONF_UDP);
	struct asker *a;

	(void)state;
	s->conf.at.port = 1;
	a = ask(s, 0);
	play_until_over(s, 0, 1);
	assert_int_equal(a->error, -ECONNREFUSED);
	stage_close(s);
}

static void refused_ones_fail_whatever_they_share(void **state)
{
	struct stage *s = stage_open(CONF_UDP);

	(void)state;
	s->conf.at.port = 1;
	for (unsigned i = 0; i < 300; i++) {
		int error = ask_try(s, i);

		/* On loop-back the error may be there before the next question is sent. */
		assert_true(error == 0 || error == -ECONNREFUSED);
		if (error < 0)
			s->askers[i].failures = 1;
	}
	settle(s);
	for (unsigned i = 0; i < 300; i++) {
		assert_int_equal(s->askers[i].failures, 1);
		assert_false(transport_is_open(&s->askers[i].try));
	}
	stage_close(s);
}

static void an_error_is_all_sharers(void **state)
{
	struct stage *s = stage_open(CONF_UDP);
	struct peer *f = s->peer;
	const unsigned n = 200, last = n - 1;
	unsigned with[200], k, failed = 0;
	int other = socket(AF_INET, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

	(void)state;
	f->hold = true;
	for (unsigned i = 0; i < n; i++)
		ask(s, i);
	settle(s);
	k = sharers(f, last, n, with);
	assert_true(k > 2);
	assert_true(dup2(other, f->udp) == f->udp); /* nobody listens any more */
	close(other);
	/* The second finds the first one's error. One of them closes another. */
	s->askers[with[0]].closes = &s->askers[with[1]];
	assert_int_equal(transport_resend(&s->askers[last].try), 0);
	assert_int_equal(transport_resend(&s->askers[with[1]].try), 0);
	settle(s);
	for (unsigned i = 0; i < n; i++)
		failed += s->askers[i].failures;
	assert_int_equal(failed, k - 1);
	for (unsigned i = 0; i < k; i++)
		assert_false(transport_is_open(&s->askers[with[i]].try));
	stage_close(s);
}

static void callbacks_may_close_open_and_stop(unsigned others)
{
	struct stage *s = stage_open(CONF_UDP);
	struct peer *f = s->peer;
	const unsigned first = others;
	struct asker *a = &s->askers[first];

	f->hold = true;
	for (unsigned i = 0; i < first + 3; i++)
		ask(s, i);
	settle(s);
	a[0].closes = &a[1];
	a[0].opens = &a[3];
	for (unsigned i = first; i < first + 2; i++)
		peer_answer(f, i);
	f->hold = false;
	play_until_over(s, first + 3, 1);
	assert_int_equal(a[1].answers + a[1].failures, 0);
	assert_false(transport_is_open(&a[1].try));
	a[2].stops = true;
	for (unsigned i = first + 2; i-- > 0;)
		peer_answer(f, i + 1);
	play_until_over(s, first + 2, 1);
	stage_close(s);
}

static void callbacks_of_few(void **state)
{
	(void)state;
	callbacks_may_close_open_and_stop(0);
}

static void callbacks_of_sharers(void **state)
{
	(void)state;
	callbacks_may_close_open_and_stop(300);
}

static void an_answer_closes_all_of_its_socket(void **state)
{
	struct stage *s = stage_open(CONF_UDP);
	struct peer *f = s->peer;
	unsigned with[300], k;

	(void)state;
	f->hold = true;
	for (unsigned i = 0; i < 300; i++)
		ask(s, i);
	settle(s);
	k = sharers(f, 299, 300, with);
	for (unsigned i = 0; i + 1 < k; i++)
		s->askers[with[i]].closes = &s->askers[with[i + 1]];
	for (unsigned i = 0; i < k; i += 2)
		peer_answer(f, with[i]);
	settle(s);
	for (unsigned i = 0; i < k; i++) {
		assert_int_equal(s->askers[with[i]].answers, i % 2 == 0);
		assert_false(transport_is_open(&s->askers[with[i]].try));
	}
	stage_close(s);
}

static void bound_to_an_address(void **state)
{
	struct stage *s = stage_open(CONF_UDP);

	(void)state;
	s->conf.bind.address = (struct ip_addr){.b = {127, 0, 0, 9}, .family = IP_V4};
	stage_server(s);
	s->peer->hold = true;
	ask(s, 0);
	STAGE_UNTIL(s, s->peer->n_held);
	assert_int_equal(
		((struct sockaddr_in *)&s->peer->held[0].from)->sin_addr.s_addr, htonl(0x7f000009));
	peer_answer(s->peer, 0);
	play_until_over(s, 0, 1);
	assert_answered(s, 0, 1);
	s->peer->hold = false;
	for (unsigned i = 0; i < 100; i++)
		ask(s, i);
	play_until_over(s, 0, 100);
	assert_answered(s, 0, 100);
	/* An address that is nobody's. */
	s->conf.bind.address = (struct ip_addr){.b = {192, 0, 2, 1}, .family = IP_V4};
	stage_server(s);
	assert_int_equal(ask_try(s, 1), -EHOSTUNREACH);
	s->conf.bind.address.family = IP_NONE;
	s->conf.bind.interface = (char *)"none0";
	stage_server(s);
	assert_int_equal(ask_try(s, 1), -EHOSTUNREACH);
	stage_close(s);
}

static bool is_ours(void *arg, const struct ip_addr *a)
{
	assert_int_equal(a->b[0], 127);
	return *(bool *)arg;
}

static void what_stands_on_a_lost_address_is_asked_again(unsigned n)
{
	struct stage *s = stage_open(CONF_UDP);
	bool ours = true;

	s->peer->hold = true;
	for (unsigned i = 0; i < n; i++)
		ask(s, i);
	settle(s);
	transports_addresses_changed(s->transports, is_ours, &ours);
	settle(s);
	assert_int_equal(s->peer->asked, n);
	ours = false;
	transports_addresses_changed(s->transports, is_ours, &ours);
	settle(s);
	assert_int_equal(s->peer->asked, 2 * n);
	for (unsigned i = 0; i < 2 * n; i++)
		peer_answer(s->peer, i);
	play_until_over(s, 0, n);
	assert_answered(s, 0, n);
	/* Also those that wait for their next question. */
	transports_addresses_changed(s->transports, is_ours, &ours);
	assert_null(s->transports->udp_open);
	stage_close(s);
}

static void few_on_a_lost_address(void **state)
{
	(void)state;
	what_stands_on_a_lost_address_is_asked_again(10);
}

static void sharers_on_a_lost_address(void **state)
{
	(void)state;
	what_stands_on_a_lost_address_is_asked_again(300);
}

static void dns_is_asked_as_the_client_came(void **state)
{
	struct stage *s = stage_open(CONF_DNS);

	(void)state;
	ask(s, 0);
	assert_true(transport_is_lossy(&s->askers[0].try));
	s->askers[1].try.stream = true;
	ask(s, 1);
	assert_false(transport_is_lossy(&s->askers[1].try));
	play_until_over(s, 0, 2);
	assert_answered(s, 0, 2);
	assert_int_equal(s->peer->n_conns, 1);
	stage_close(s);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(few_have_a_port_each),
		cmocka_unit_test(many_share_sockets),
		cmocka_unit_test(few_descriptors_are_shared_and_given_back),
		cmocka_unit_test(wrong_answers_are_told_and_waited_past),
		cmocka_unit_test(wrong_answers_to_sharers),
		cmocka_unit_test(a_shared_port_takes_so_many_questions),
		cmocka_unit_test(a_shared_port_lives_so_long),
		cmocka_unit_test(sent_again_its_time_is_not_known),
		cmocka_unit_test(a_refused_one_fails_at_once),
		cmocka_unit_test(refused_ones_fail_whatever_they_share),
		cmocka_unit_test(an_error_is_all_sharers),
		cmocka_unit_test(callbacks_of_few),
		cmocka_unit_test(callbacks_of_sharers),
		cmocka_unit_test(an_answer_closes_all_of_its_socket),
		cmocka_unit_test(bound_to_an_address),
		cmocka_unit_test(few_on_a_lost_address),
		cmocka_unit_test(sharers_on_a_lost_address),
		cmocka_unit_test(dns_is_asked_as_the_client_came),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
