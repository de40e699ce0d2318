/* `unless`: found out when a fake answer leaves, or by the first packet, which waits; and the real
 * address that stays behind a fake one. */
#include "tests/unit/carry_stage.h"

#define FAR 0xc6336405 /* 198.51.100.5 */
#define NOT 0xcb007105 /* 203.0.113.5 */

static struct fakeip_pair maybe(struct world *w)
{
	return map(w->s, "www.maybe.test", "maybe");
}

static void tell_faked(struct world *w, uint32_t index)
{
	struct dns_name name = name_of("www.maybe.test");
	struct policy_question q = {.name = &name, .type = DNS_A};
	struct ip_addr client = stage_origin("10.1.1.1", false).client.addr;

	carry_faked(w->carry, index, policy_decide(w->s->gen->policy, &q).rule, &client, &name);
}

static void answer_a(struct world *w, uint32_t address, uint32_t ttl_s)
{
	assert_int_equal(question(w)->type, DNS_A);
	answer(w, "www.maybe.test", 1, &address, ttl_s);
}

static void syn(struct world *w, const struct fakeip_pair *pair)
{
	build_tcp(pair->v4, false, TUN_TCP_SYN, 1);
	give(w, 0);
}

static void a_hit_found_in_the_background(void **state)
{
	struct world *w = *state;
	struct fakeip_pair pair = maybe(w);

	tell_faked(w, pair.index);
	/* Both families at once, of the first one's upstream; the same name is not asked twice. */
	assert_int_equal(w->s->n_asked, 2);
	assert_int_equal(w->s->asked[0].type, DNS_A);
	assert_int_equal(w->s->asked[1].type, DNS_AAAA);
	assert_int_equal(w->s->asked[0].group, 0);
	assert_int_equal(w->s->asked[0].deadline_ms, w->s->now_ms + 1000);
	tell_faked(w, pair.index);
	assert_int_equal(w->s->n_asked, 2);
	answer_a(w, REAL, 300);
	/* One is enough. */
	assert_null(question(w));
	/* The packets take the other egress, which is direct. */
	syn(w, &pair);
	assert_int_equal(played.n_dials, 0);
	assert_int_equal(question(w)->type, DNS_A);
	assert_int_equal(question(w)->group, 0);
	answer(w, "www.maybe.test", 1, (const uint32_t[]){REAL}, 300);
	stage_written(w->s, 0);
	assert_put_back(0, packet, packet_len);
	/* It is remembered: neither the next answer nor the next packet asks again. */
	tell_faked(w, pair.index);
	assert_null(question(w));
}

static void a_hit_in_ipv6_alone(void **state)
{
	struct world *w = *state;
	struct fakeip_pair pair = maybe(w);

	tell_faked(w, pair.index);
	answer_a(w, NOT, 300);
	assert_int_equal(question(w)->type, DNS_AAAA);
	answer_v6(w, "www.maybe.test", REAL6, 300);
	assert_null(question(w));
	syn(w, &pair);
	assert_int_equal(played.n_dials, 0);
}

static void the_second_list(void **state)
{
	struct world *w = *state;
	struct fakeip_pair pair = maybe(w);

	tell_faked(w, pair.index);
	answer_a(w, FAR, 300);
	answer_v6(w, "www.maybe.test", NULL, 0);
	/* Not of the first: the second asks its own upstream. */
	assert_int_equal(question(w)->group, 1);
	assert_int_equal(question(w)->deadline_ms, w->s->now_ms + 3000);
	answer_a(w, FAR, 300);
	assert_null(question(w));
	syn(w, &pair);
	assert_int_equal(played.n_dials, 1);
	assert_int_equal(played.dials[0].egress, NO_QUIC);
	dial_end(-1, -ETIMEDOUT);
}

static void the_first_packet_waits(void **state)
{
	struct world *w = *state;
	struct fakeip_pair pair = maybe(w);

	syn(w, &pair);
	build_udp(pair.v4, false, 4);
	give(w, 0);
	assert_int_equal(w->s->n_asked, 2);
	assert_int_equal(played.n_dials + played.n_udp_opened, 0);
	assert_int_equal(n_sent, 0);
	/* The other family's address waits for the same verdict. */
	build_tcp(pair.v6, true, TUN_TCP_SYN, 1);
	give(w, 0);
	assert_int_equal(w->s->n_asked, 2);
	for (unsigned i = 0; i < 2; i++) { /* no list has them */
		answer_a(w, NOT, 300);
		answer_v6(w, "www.maybe.test", NULL, 0);
	}
	assert_null(question(w));
	assert_int_equal(played.n_dials, 2);
	assert_int_equal(played.dials[0].egress, PROXY);
	assert_int_equal(played.dials[1].egress, PROXY);
	assert_int_equal(played.n_udp_opened, 1);
	assert_int_equal(played.n_udp_taken, 1);
	dial_end(-1, -ETIMEDOUT);
	dial_end(-1, -ETIMEDOUT);
}

/* error 0: a name without addresses. */
static void answer_without(struct world *w, int error)
{
	if (error)
		answer_nothing(w, error);
	else if (question(w)->type == DNS_A)
		answer(w, "www.maybe.test", 0, NULL, 0);
	else
		answer_v6(w, "www.maybe.test", NULL, 0);
}

/* Broken and negative answers leave the rule's own egress at once; failures are forgotten sooner.
 */
static void no_verdict(void **state)
{
	static const struct {
		int error;
		unsigned remembered_s;
	} v[] = {{0, 60}, {-EIO, 5}, {-EAGAIN, 5}, {-ETIMEDOUT, 5}};
	struct world *w = *state;
	struct fakeip_pair pair = maybe(w);

	for (unsigned i = 0; i < sizeof v / sizeof *v; i++) {
		played.n_dials = played.n_ended = 0;
		syn(w, &pair);
		for (unsigned k = 0; k < 4; k++)
			answer_without(w, v[i].error);
		assert_null(question(w));
		assert_int_equal(played.n_dials, 1);
		assert_int_equal(played.dials[0].egress, PROXY);
		dial_end(-1, -ETIMEDOUT);
		w->s->now_ms += (v[i].remembered_s - 1) * 1000;
		syn(w, &pair);
		assert_null(question(w));
		assert_int_equal(played.n_dials, 2);
		dial_end(-1, -ETIMEDOUT);
		w->s->now_ms += 2000;
	}
	/* Errors that are found at once. */
	played.n_dials = played.n_ended = 0;
	w->s->ask_error = -ENOBUFS;
	syn(w, &pair);
	assert_int_equal(played.n_dials, 1);
	dial_end(-1, -ETIMEDOUT);
	w->s->ask_error = 0;
}

/* More at once than are asked about: the rule's own egress carries, for a while. */
static void too_many_to_ask_about(void **state)
{
	struct world *w = *state;
	struct fakeip_pair pair = maybe(w);
	struct ip_addr client = stage_origin("10.1.1.1", false).client.addr;

	for (unsigned i = 0; i < 512; i++) {
		char text[32];
		struct dns_name name;
		struct policy_question q = {.name = &name, .type = DNS_A};

		snprintf(text, sizeof text, "n%u.maybe.test", i);
		name = name_of(text);
		carry_faked(w->carry, map(w->s, text, "maybe").index,
			policy_decide(w->s->gen->policy, &q).rule, &client, &name);
	}
	assert_int_equal(w->s->n_asked, 1024);
	syn(w, &pair);
	assert_int_equal(w->s->n_asked, 1024);
	assert_int_equal(COUNTER(w, overflow), 1);
	assert_int_equal(played.n_dials, 1);
	assert_int_equal(played.dials[0].egress, PROXY);
	dial_end(-1, -ETIMEDOUT);
	while (question(w))
		answer_nothing(w, -EIO);
	w->s->now_ms += 6000;
	syn(w, &pair);
	assert_int_equal(question(w)->type, DNS_A);
}

static void a_verdict_lives_for_its_ttl(void **state)
{
	struct world *w = *state;
	struct fakeip_pair pair = maybe(w);

	tell_faked(w, pair.index);
	answer_a(w, REAL, 30);
	w->s->now_ms += 29000;
	tell_faked(w, pair.index);
	assert_null(question(w));
	w->s->now_ms += 2000;
	tell_faked(w, pair.index);
	assert_non_null(question(w));
	answer_a(w, NOT, 30);
	answer_v6(w, "www.maybe.test", NULL, 0);
	answer_a(w, NOT, 30);
	answer_v6(w, "www.maybe.test", NULL, 0);
	syn(w, &pair);
	assert_int_equal(played.n_dials, 1);
	assert_int_equal(played.dials[0].egress, PROXY);
	dial_end(-1, -ETIMEDOUT);
}

static void a_reload_asks_anew(void **state)
{
	struct world *w = *state;
	struct fakeip_pair pair = maybe(w);

	tell_faked(w, pair.index);
	answer_a(w, REAL, 300);
	decisions_forget_verdicts(w->shared->decisions);
	tell_faked(w, pair.index);
	assert_int_equal(question(w)->type, DNS_A);
}

/* As a cache would: before the question has been put. */
static void a_hit_that_comes_at_once(void **state)
{
	struct world *w = *state;
	struct fakeip_pair pair = maybe(w);
	struct packet reply;

	put_header(&reply, 1, DNS_QR | DNS_RD | DNS_RA, COUNTS(1, 1, 0, 0));
	put_question(&reply, "www.maybe.test", DNS_A, 1);
	put_a(&reply, "@12", 300, REAL);
	w->s->ask_reply = reply.b;
	w->s->ask_reply_len = reply.len;
	syn(w, &pair);
	w->s->ask_reply = NULL;
	/* Of the list: direct, and the address, too, was there at once. */
	assert_int_equal(played.n_dials, 0);
	assert_non_null(w->s->job);
	assert_memory_equal(w->s->job->elements[1].real.b, "\300\0\2\5", 4);
	stage_written(w->s, 0);
	assert_put_back(0, packet, packet_len);
	assert_int_equal(w->s->n_asked, 0);
}

static void the_end_while_it_is_asked(void **state)
{
	struct world *w = *state;
	struct fakeip_pair pair = maybe(w);

	syn(w, &pair);
	carry_stop(w->carry);
	assert_false(carry_idle(w->carry));
	answer_nothing(w, -ECANCELED);
	answer_nothing(w, -ECANCELED);
	assert_null(question(w));
	assert_true(carry_idle(w->carry));
	assert_int_equal(played.n_dials, 0);
}

/* --- the real address behind a fake one --- */

static void carried_by_the_kernel(struct world *w, uint32_t address, uint32_t ttl_s)
{
	build_tcp(w->v4, false, TUN_TCP_SYN, 1);
	give(w, 0);
	answer_one(w, address, ttl_s);
	stage_written(w->s, 0);
	assert_put_back(n_sent - 1, packet, packet_len);
}

static const uint8_t *written_address(struct world *w)
{
	assert_non_null(w->s->job);
	assert_int_equal(w->s->job->elements[1].op, WRITER_NAT_SET);
	return w->s->job->elements[1].real.b;
}

static void an_element_that_was_lost(void **state)
{
	struct world *w = *state;

	carried_by_the_kernel(w, REAL, 300);
	w->s->now_ms += 100000;
	build_tcp(w->v4, false, TUN_TCP_SYN, 2);
	give(w, 0);
	assert_null(question(w));
	assert_memory_equal(written_address(w), "\300\0\2\5", 4);
	assert_int_equal(w->s->job->elements[1].timeout_s, 200);
	stage_written(w->s, 0);
	assert_put_back(1, packet, packet_len);
}

static void an_address_stays_while_flows_live(void **state)
{
	struct world *w = *state;

	carried_by_the_kernel(w, REAL, 60);
	w->s->now_ms += 61000;
	played.has_flows = true;
	give(w, 0);
	answer_one(w, FAR, 60);
	assert_memory_equal(written_address(w), "\300\0\2\5", 4);
	assert_int_equal(w->s->job->elements[1].timeout_s, 60);
	stage_written(w->s, 0);
	/* Among several it is the one that is kept. */
	w->s->now_ms += 61000;
	played.has_flows = false;
	give(w, 0);
	answer(w, "www.fake.test", 2, (const uint32_t[]){FAR, REAL}, 60);
	assert_memory_equal(written_address(w), "\300\0\2\5", 4);
	stage_written(w->s, 0);
	/* Nobody uses it any more. */
	w->s->now_ms += 61000;
	give(w, 0);
	answer_one(w, FAR, 60);
	assert_memory_equal(written_address(w), "\306\63\144\5", 4);
	stage_written(w->s, 0);
}

/* The name has addresses of the other family only: the relay carries. */
static void only_the_other_family(void **state)
{
	struct world *w = *state;

	build_tcp(w->v4, false, TUN_TCP_SYN, 1);
	give(w, 0);
	answer(w, "www.fake.test", 0, NULL, 0);
	assert_int_equal(question(w)->type, DNS_AAAA);
	answer_v6(w, "www.fake.test", REAL6, 300);
	assert_null(w->s->job);
	assert_int_equal(played.n_dials, 1);
	assert_int_equal(played.dials[0].egress, DIRECT);
	assert_string_equal(played.dials[0].target.host, "");
	assert_int_equal(played.dials[0].target.at.addr.family, IP_V6);
	assert_int_equal(played.dials[0].target.at.port, 80);
	dial_end(-1, -ECONNREFUSED);
	assert_reset(0);
	/* Known now. */
	build_udp(w->v4, false, 4);
	give(w, 0);
	assert_null(question(w));
	assert_int_equal(played.n_udp_opened, 1);
	assert_int_equal(played.udp_way.target.at.addr.family, IP_V6);
	build_echo(w->v4, false);
	give(w, 0);
	assert_host_unreachable(1);
}

static void addresses_of_neither_family(void **state)
{
	struct world *w = *state;

	build_tcp(w->v4, false, TUN_TCP_SYN, 1);
	give(w, 0);
	answer(w, "www.fake.test", 0, NULL, 0);
	answer_v6(w, "www.fake.test", NULL, 0);
	assert_int_equal(n_sent, 1);
	assert_host_unreachable(0);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, open_world, close_world)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(a_hit_found_in_the_background),
		TEST(a_hit_in_ipv6_alone),
		TEST(the_second_list),
		TEST(the_first_packet_waits),
		TEST(no_verdict),
		TEST(too_many_to_ask_about),
		TEST(a_verdict_lives_for_its_ttl),
		TEST(a_reload_asks_anew),
		TEST(a_hit_that_comes_at_once),
		TEST(the_end_while_it_is_asked),
		TEST(an_element_that_was_lost),
		TEST(an_address_stays_while_flows_live),
		TEST(only_the_other_family),
		TEST(addresses_of_neither_family),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
