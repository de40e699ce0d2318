/* Questions by datagrams. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <unistd.h>

#include "tests/unit/transport_stage.h"

static void many_at_once_are_answered(void **state)
{
	struct stage *s = stage_open(CONF_UDP);
	unsigned same_port = 0, same_id = 0;

	(void)state;
	for (unsigned i = 0; i < 500; i++)
		assert_true(transport_is_lossy(&ask(s, i)->try));
	play_until_over(s, 0, 500);
	assert_answered(s, 0, 500);
	for (unsigned i = 0; i < 500; i++)
		ask(s, i);
	play_until_over(s, 0, 500);
	/* Sockets are used again, ports and ids are not. */
	for (unsigned i = 1; i < s->peer->asked; i++) {
		same_port += s->peer->seen_port[i] == s->peer->seen_port[i - 1];
		same_id += s->peer->seen_id[i] == s->peer->seen_id[i - 1];
	}
	assert_true(same_port < 5 && same_id < 5);
	stage_close(s);
}

static void wrong_answers_are_told_and_waited_past(void **state)
{
	struct stage *s = stage_open(CONF_UDP);
	struct asker *a;

	(void)state;
	s->peer->hold = true;
	a = ask(s, 0);
	stage_play(s, 20);
	assert_int_equal(s->peer->n_held, 1);
	s->peer->held[0].id ^= 1;
	peer_answer(s->peer, 0);
	s->peer->size = DNS_HEADER_SIZE;
	peer_answer(s->peer, 0);
	s->peer->size = 0;
	stage_play(s, 20);
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
	stage_play(s, 10);
	assert_int_equal(s->peer->asked, 2);
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

static void callbacks_may_close_open_and_stop(void **state)
{
	struct stage *s = stage_open(CONF_UDP);

	(void)state;
	s->peer->hold = true;
	for (unsigned i = 0; i < 3; i++)
		ask(s, i);
	stage_play(s, 10);
	s->askers[0].closes = &s->askers[1];
	s->askers[0].opens = &s->askers[3];
	for (unsigned i = 0; i < 2; i++)
		peer_answer(s->peer, i);
	s->peer->hold = false;
	play_until_over(s, 3, 1);
	assert_int_equal(s->askers[1].answers + s->askers[1].failures, 0);
	assert_false(transport_is_open(&s->askers[1].try));
	s->askers[2].stops = true;
	peer_answer(s->peer, 2);
	play_until_over(s, 2, 1);
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
	stage_play(s, 10);
	assert_int_equal(
		((struct sockaddr_in *)&s->peer->held[0].from)->sin_addr.s_addr, htonl(0x7f000009));
	peer_answer(s->peer, 0);
	play_until_over(s, 0, 1);
	assert_answered(s, 0, 1);
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

static void what_stands_on_a_lost_address_is_asked_again(void **state)
{
	struct stage *s = stage_open(CONF_UDP);
	bool ours = true;

	(void)state;
	s->peer->hold = true;
	for (unsigned i = 0; i < 10; i++)
		ask(s, i);
	stage_play(s, 10);
	transports_addresses_changed(s->transports, is_ours, &ours);
	stage_play(s, 10);
	assert_int_equal(s->peer->asked, 10);
	ours = false;
	transports_addresses_changed(s->transports, is_ours, &ours);
	stage_play(s, 10);
	assert_int_equal(s->peer->asked, 20);
	for (unsigned i = 0; i < 20; i++)
		peer_answer(s->peer, i);
	play_until_over(s, 0, 10);
	assert_answered(s, 0, 10);
	stage_close(s);
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
		cmocka_unit_test(many_at_once_are_answered),
		cmocka_unit_test(wrong_answers_are_told_and_waited_past),
		cmocka_unit_test(sent_again_its_time_is_not_known),
		cmocka_unit_test(a_refused_one_fails_at_once),
		cmocka_unit_test(callbacks_may_close_open_and_stop),
		cmocka_unit_test(bound_to_an_address),
		cmocka_unit_test(what_stands_on_a_lost_address_is_asked_again),
		cmocka_unit_test(dns_is_asked_as_the_client_came),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
