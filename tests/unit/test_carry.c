/* Packets to fake addresses that go direct: held until the kernel can carry them, then put back; or
 * answered with what the sender must know. */
#include "tests/unit/carry_stage.h"

#define DECIDING 512 /* bounds of deciding.c */
#define HELD	 8

static struct packet response;

/* --- carried --- */

static void a_first_packet_waits_for_the_kernel(void **state)
{
	struct world *w = *state;
	const struct writer_element *e;
	uint8_t syn[40];

	build_tcp(w->v4, false, TUN_TCP_SYN, 1);
	memcpy(syn, packet, sizeof syn);
	give(w, 0);
	assert_int_equal(w->s->n_asked, 1);
	assert_int_equal(w->s->asked[0].type, DNS_A);
	assert_int_equal(w->s->asked[0].group, 0);
	assert_int_equal(w->s->asked[0].name.len, 15);
	assert_memory_equal(w->s->asked[0].name.b, "\3www\4fake\4test", 15);
	assert_false(carry_idle(w->carry));
	answer_one(w, REAL, 300);
	assert_int_equal(n_sent, 0);
	assert_int_equal(w->s->job->n, 2);
	e = &w->s->job->elements[0];
	assert_int_equal(e->op, WRITER_EGRESS_SET);
	assert_int_equal(e->number, DIRECT);
	assert_memory_equal(e->addr.b, w->v4, 4);
	assert_int_equal(e->timeout_s, 300);
	e = &w->s->job->elements[1];
	assert_int_equal(e->op, WRITER_NAT_SET);
	assert_memory_equal(e->addr.b, w->v4, 4);
	assert_memory_equal(e->real.b, "\300\0\2\5", 4);
	assert_int_equal(e->timeout_s, 300);
	stage_written(w->s, 0);
	assert_int_equal(n_sent, 1);
	assert_put_back(0, syn, sizeof syn);
	assert_int_equal(sent[0].tun_fd, TUN_FD);
	assert_int_equal(sent[0].ifindex, 0);
	assert_false(sent[0].own);
	assert_int_equal(COUNTER(w, decided), 1);
	assert_int_equal(COUNTER(w, packets), 1);
	assert_null(question(w));
}

static void the_other_family(void **state)
{
	struct world *w = *state;

	build_tcp(w->v6, true, TUN_TCP_SYN, 1);
	give(w, LAN);
	assert_int_equal(w->s->asked[0].type, DNS_AAAA);
	put_header(&response, 1, DNS_QR, COUNTS(1, 2, 0, 0));
	put_question(&response, "www.fake.test", DNS_AAAA, 1);
	/* A v4-mapped address is no IPv6 address. */
	put_record(&response, "@12", DNS_AAAA, 60, 16);
	put_bytes(&response, "\0\0\0\0\0\0\0\0\0\0\xff\xff\300\0\2\5", 16);
	put_record(&response, "@12", DNS_AAAA, 60, 16);
	put_bytes(&response, "\x20\1\xd\xb8\0\0\0\0\0\0\0\0\0\0\0\5", 16);
	stage_answer(w->s, response.b, response.len, 0);
	assert_int_equal(w->s->job->elements[1].addr.family, IP_V6);
	assert_int_equal(w->s->job->elements[1].real.family, IP_V6);
	assert_int_equal(w->s->job->elements[1].real.b[15], 5);
	stage_written(w->s, 0);
	assert_put_back(0, packet, packet_len);
	assert_int_equal(sent[0].ifindex, LAN);
}

static void an_egress_with_a_mark(void **state)
{
	struct world *w = *state;
	struct fakeip_pair pair = map(w->s, "www.vpn.test", "vpn");
	uint32_t real = REAL;

	build_udp(pair.v4, false, 4);
	give(w, 0);
	assert_int_equal(w->s->asked[0].group, 1); /* the egress's upstream */
	answer(w, "www.vpn.test", 1, &real, 300);
	assert_int_equal(w->s->job->elements[0].op, WRITER_EGRESS_SET);
	assert_int_equal(w->s->job->elements[0].number, VPN);
	assert_memory_equal(w->s->job->elements[0].addr.b, pair.v4, 4);
	assert_int_equal(w->s->job->elements[1].op, WRITER_NAT_SET);
	stage_written(w->s, 0);
	assert_put_back(0, packet, packet_len);
}

/* The rule that takes the name has an egress of its own, but its check gave this address. */
static void an_address_that_a_check_gave(void **state)
{
	struct world *w = *state;
	struct fakeip_pair pair = map(w->s, "www.checked.test", "vpn");

	build_udp(pair.v4, false, 4);
	give(w, 0);
	answer_one(w, REAL, 60);
	assert_int_equal(w->s->job->elements[0].op, WRITER_EGRESS_SET);
	assert_int_equal(w->s->job->elements[0].number, VPN);
	stage_written(w->s, 0);
	assert_int_equal(n_sent, 1);
}

static void timeouts_follow_the_ttl_within_bounds(void **state)
{
	static const uint32_t ttls[][2] = {{0, 20}, {61, 61}, {86400, 3600}};
	struct world *w = *state;

	for (size_t i = 0; i < 3; i++) {
		build_tcp(w->v4, false, TUN_TCP_SYN, 1);
		give(w, 0);
		answer_one(w, REAL, ttls[i][0]);
		assert_int_equal(w->s->job->elements[0].timeout_s, ttls[i][1]);
		assert_int_equal(w->s->job->elements[1].timeout_s, ttls[i][1]);
		stage_written(w->s, 0);
		w->s->now_ms += 3700000;
	}
}

static void packets_that_wait_keep_their_order(void **state)
{
	struct world *w = *state;
	uint8_t held[HELD][64];
	size_t len[HELD];

	for (unsigned i = 0; i < HELD; i++) {
		if (i == 3)
			build_echo(w->v4, false);
		else if (i % 2)
			build_udp(w->v4, false, i);
		else
			build_tcp(w->v4, false, TUN_TCP_SYN, i);
		memcpy(held[i], packet, packet_len);
		len[i] = packet_len;
		give(w, i == 5 ? LAN : 0);
	}
	assert_int_equal(COUNTER(w, overflow), 0);
	give(w, 0); /* one too many */
	assert_int_equal(COUNTER(w, overflow), 1);
	assert_int_equal(w->s->n_asked, 1);
	answer_one(w, REAL, 60);
	build_udp(w->v4, false, 1);
	give(w, 0); /* while the writer works: still too many */
	assert_int_equal(COUNTER(w, overflow), 2);
	stage_written(w->s, 0);
	assert_int_equal(n_sent, HELD);
	for (size_t i = 0; i < HELD; i++) {
		assert_put_back(i, held[i], len[i]);
		assert_int_equal(sent[i].ifindex, i == 5 ? LAN : 0);
	}
}

static void two_addresses_are_decided_apart(void **state)
{
	struct world *w = *state;
	struct fakeip_pair other = map(w->s, "other.fake.test", "fake");

	build_tcp(w->v4, false, TUN_TCP_SYN, 1);
	give(w, 0);
	build_tcp(other.v4, false, TUN_TCP_SYN, 2);
	give(w, 0);
	build_tcp(w->v6, true, TUN_TCP_SYN, 3);
	give(w, 0);
	assert_int_equal(w->s->n_asked, 3);
	answer_one(w, REAL, 60);
	stage_written(w->s, 0);
	assert_int_equal(n_sent, 1);
	assert_int_equal(sent[0].packet[27], 1);
	for (unsigned i = 0; i < 4; i++) /* each in both families */
		answer_nothing(w, -ETIMEDOUT);
	assert_int_equal(n_sent, 3);
}

static void packets_of_this_host(void **state)
{
	struct world *w = *state;

	w->s->own = stage_origin("10.1.1.1", false).client.addr;
	build_tcp(w->v4, false, TUN_TCP_SYN, 1);
	give(w, 0);
	answer_one(w, REAL, 60);
	stage_written(w->s, 0);
	assert_true(sent[0].own);
}

/* NFLOG sees packets of this machine before the device would have made their checksum. */
static void checksums_are_completed(void **state)
{
	struct world *w = *state;
	uint8_t whole[64];

	build_udp(w->v4, false, 4);
	memcpy(whole, packet, packet_len);
	packet[26] ^= 0xff;
	give(w, LAN);
	answer_one(w, REAL, 60);
	stage_written(w->s, 0);
	assert_put_back(0, whole, packet_len);
}

static void the_queue_can_change_meanwhile(void **state)
{
	struct world *w = *state;

	build_tcp(w->v4, false, TUN_TCP_SYN, 1);
	give(w, 0);
	carry_set_tun(w->carry, TUN_FD + 1);
	answer_one(w, REAL, 60);
	stage_written(w->s, 0);
	assert_int_equal(sent[0].tun_fd, TUN_FD + 1);
}

/* --- refused --- */

static void nobody_has_this_address(void **state)
{
	struct world *w = *state;

	w->v4[3]++;
	w->v6[15]++;
	build_tcp(w->v4, false, TUN_TCP_SYN, 1);
	give(w, 0);
	assert_reset(0);
	build_tcp(w->v6, true, TUN_TCP_SYN, 1);
	give(w, LAN);
	assert_reset(1);
	assert_int_equal(sent[1].ifindex, LAN);
	build_udp(w->v4, false, 5);
	give(w, 0);
	assert_icmp(2, 3, 3);
	build_udp(w->v6, true, 5);
	give(w, 0);
	assert_icmp(3, 1, 4);
	build_echo(w->v4, false);
	give(w, 0);
	assert_icmp(4, 3, 1);
	build_echo(w->v6, true);
	give(w, 0);
	assert_icmp(5, 1, 3);
	build(w->v4, false, 47, 20); /* GRE */
	give(w, 0);
	assert_icmp(6, 3, 1);
	assert_int_equal(n_sent, 7);
	assert_int_equal(COUNTER(w, unmapped), 7);
	assert_int_equal(COUNTER(w, refused), 7);
	assert_int_equal(w->s->n_asked, 0);
	/* A reset is never answered, nor is a later fragment. */
	build_tcp(w->v4, false, TUN_TCP_RST, 1);
	give(w, 0);
	build_udp(w->v4, false, 8);
	packet[7] = 9;
	checksum4(packet);
	give(w, 0);
	assert_int_equal(n_sent, 7);
}

static void a_connection_that_the_kernel_forgot(void **state)
{
	static const unsigned flags[] = {
		TUN_TCP_ACK, TUN_TCP_FIN | TUN_TCP_ACK, TUN_TCP_FIN, 0, TUN_TCP_SYN | TUN_TCP_ACK};
	struct world *w = *state;
	size_t n = sizeof flags / sizeof flags[0];

	for (size_t i = 0; i < n; i++) {
		build_tcp(w->v4, false, flags[i], 1);
		give(w, 0);
		assert_reset(i);
	}
	build_tcp(w->v4, false, TUN_TCP_RST | TUN_TCP_ACK, 1);
	give(w, 0);
	build_tcp(w->v4, false, TUN_TCP_RST | TUN_TCP_SYN, 1);
	give(w, 0);
	assert_int_equal(n_sent, n);
	assert_int_equal(w->s->n_asked, 0);
}

static void a_name_that_cannot_be_resolved(void **state)
{
	struct world *w = *state;

	build_tcp(w->v4, false, TUN_TCP_SYN, 1);
	give(w, 0);
	build_udp(w->v4, false, 1);
	give(w, LAN);
	answer_nothing(w, -ETIMEDOUT);
	assert_int_equal(n_sent, 0);
	assert_int_equal(question(w)->type, DNS_AAAA); /* the relay could carry to that */
	answer_nothing(w, -ETIMEDOUT);
	assert_int_equal(n_sent, 2);
	assert_host_unreachable(0);
	assert_host_unreachable(1);
	assert_int_equal(sent[1].ifindex, LAN);
	assert_int_equal(COUNTER(w, failed), 2);
	/* Not remembered: the next packet asks again. */
	build_tcp(w->v6, true, TUN_TCP_SYN, 1);
	give(w, 0);
	put_header(&response, 1, DNS_QR | DNS_NXDOMAIN, COUNTS(1, 0, 0, 0));
	put_question(&response, "www.fake.test", DNS_AAAA, 1);
	stage_answer(w->s, response.b, response.len, 0);
	answer(w, "www.fake.test", 0, NULL, 0);
	assert_host_unreachable(2);
	/* At once. */
	w->s->ask_error = -ENOBUFS;
	build_tcp(w->v4, false, TUN_TCP_SYN, 1);
	give(w, 0);
	assert_host_unreachable(3);
	assert_null(question(w));
}

static void addresses_that_must_not_be_dialled(void **state)
{
	static const uint32_t bad[] = {
		0,	    /* this host, to the kernel */
		0x00000001, /* 0.0.0.1 */
		0x7f000001, /* loop-back */
		0xc0000263, /* this host's own, below */
		0xc6120009, /* of a pool */
		0xe0000001, /* a group */
		0xffffffff, /* everybody */
	};
	struct world *w = *state;
	size_t n = sizeof bad / sizeof bad[0];
	uint32_t good_behind[2];

	w->s->own = stage_origin("192.0.2.99", false).client.addr;
	for (size_t i = 0; i < n; i++) {
		build_tcp(w->v4, false, TUN_TCP_SYN, 1);
		give(w, 0);
		if (bad[i] == 0x7f000001) /* hosts_contain() knows them all */
			w->s->own = stage_origin("127.0.0.1", false).client.addr;
		answer_one(w, bad[i], 60);
		answer_v6(w, "www.fake.test", NULL, 0);
		w->s->own = stage_origin("192.0.2.99", false).client.addr;
		assert_null(w->s->job);
		assert_int_equal(n_sent, i + 1);
		assert_host_unreachable(i);
	}
	build_tcp(w->v4, false, TUN_TCP_SYN, 1);
	give(w, 0);
	good_behind[0] = 0;
	good_behind[1] = REAL;
	answer(w, "www.fake.test", 2, good_behind, 60);
	assert_memory_equal(w->s->job->elements[1].real.b, "\300\0\2\5", 4);
	stage_written(w->s, 0);
}

static void ipv6_addresses_that_must_not_be_dialled(void **state)
{
	static const char bad[][17] = {
		"\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0",	  /* :: */
		"\xfe\x80\0\0\0\0\0\0\0\0\0\0\0\0\0\5",	  /* link-local */
		"\xff\2\0\0\0\0\0\0\0\0\0\0\0\0\0\1",	  /* a group */
		"\xfd\0\0\0\0\0\0\0\0\0\0\0\0\0\0\5",	  /* of the pool */
		"\0\0\0\0\0\0\0\0\0\0\xff\xff\300\0\2\5", /* v4-mapped */
	};
	struct world *w = *state;

	for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
		build_tcp(w->v6, true, TUN_TCP_SYN, 1);
		give(w, 0);
		put_header(&response, 1, DNS_QR, COUNTS(1, 1, 0, 0));
		put_question(&response, "www.fake.test", DNS_AAAA, 1);
		put_record(&response, "@12", DNS_AAAA, 60, 16);
		put_bytes(&response, bad[i], 16);
		stage_answer(w->s, response.b, response.len, 0);
		answer(w, "www.fake.test", 0, NULL, 0);
		assert_null(w->s->job);
		assert_int_equal(n_sent, i + 1);
		assert_host_unreachable(i);
	}
}

static void a_kernel_that_does_not_take_it(void **state)
{
	struct world *w = *state;

	build_tcp(w->v4, false, TUN_TCP_SYN, 1);
	give(w, 0);
	answer_one(w, REAL, 60);
	stage_written(w->s, -ETIMEDOUT);
	assert_int_equal(n_sent, 1);
	assert_host_unreachable(0);
	assert_int_equal(COUNTER(w, failed), 1);
	/* Written, but it cannot be put back. */
	put_back_error = -EAFNOSUPPORT;
	give(w, 0); /* its address is known from before */
	stage_written(w->s, 0);
	assert_int_equal(n_sent, 2);
	assert_host_unreachable(1);
}

static void rules_that_say_no(void **state)
{
	struct world *w = *state;
	struct fakeip_pair pair = map(w->s, "www.no.test", "gone");

	build_tcp(pair.v4, false, TUN_TCP_SYN, 1);
	give(w, 0);
	assert_icmp(0, 3, 13);
	build_udp(pair.v6, true, 1);
	give(w, 0);
	assert_icmp(1, 1, 1);
	assert_int_equal(w->s->n_asked, 0);
}

/* The name's rule has no egress now: its traffic goes by the rule that made the mapping, if that is
 * still there. */
static void a_rule_that_changed_its_mind(void **state)
{
	struct world *w = *state;
	struct fakeip_pair pair = map(w->s, "www.real.test", "vpn");
	struct fakeip_mapping m;
	struct ip_addr client = stage_origin("10.1.1.1", false).client.addr;
	struct verdict v;

	assert_int_equal(fakeip_get(w->s->fakeip, pair.index, &m), 0);
	v = verdict_fake(w->s->gen->policy, &m, &client, NULL);
	assert_string_equal(v.egress->name, "vpn");
	assert_string_equal(v.rule->name, "vpn");
	assert_int_equal(v.upstream, 1);
	m.rule = policy_id("gone");
	v = verdict_fake(w->s->gen->policy, &m, &client, NULL);
	assert_null(v.egress);
	m.rule = policy_id("no");
	v = verdict_fake(w->s->gen->policy, &m, &client, NULL);
	assert_null(v.egress);
}

/* The question that brought the mapping may have been for AAAA. */
static void a_rule_for_one_type(void **state)
{
	struct world *w = *state;
	struct ip_addr client = stage_origin("10.1.1.1", false).client.addr;
	static const struct {
		const char *name, *maker, *rule, *egress;
	} cases[] = {
		{"www.six.test", "six", "six", "proxy"},
		{"www.away.test", "six-away", "six-away", "vpn"},
		{"x.away.test", "four-away", "four-away", "proxy"},
		/* The rule that made it is gone. */
		{"y.away.test", "gone", "four-away", "proxy"},
		{"x.six.test", "gone", "six", "proxy"},
	};

	for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
		struct fakeip_pair pair = map(w->s, cases[i].name, cases[i].maker);
		struct fakeip_mapping m;
		struct verdict v;

		assert_int_equal(fakeip_get(w->s->fakeip, pair.index, &m), 0);
		v = verdict_fake(w->s->gen->policy, &m, &client, NULL);
		assert_non_null(v.egress);
		assert_string_equal(v.rule->name, cases[i].rule);
		assert_string_equal(v.egress->name, cases[i].egress);
	}
}

/* --- bounds, life cycle --- */

static void decisions_are_bounded(void **state)
{
	struct world *w = *state;
	struct fakeip_pair pair;
	char name[32];

	for (unsigned i = 0; i <= DECIDING; i++) {
		snprintf(name, sizeof name, "n%u.fake.test", i);
		pair = map(w->s, name, "fake");
		build_tcp(pair.v4, false, TUN_TCP_SYN, 1);
		give(w, 0);
	}
	assert_int_equal(w->s->n_asked, DECIDING);
	assert_int_equal(COUNTER(w, overflow), 1);
	assert_int_equal(n_sent, 1);
	assert_host_unreachable(0);
	for (unsigned i = 0; i < DECIDING; i++)
		stage_answer(w->s, NULL, 0, -ECANCELED);
	assert_int_equal(n_sent, 1 + DECIDING);
	assert_null(question(w));
	give(w, 0);
	assert_int_equal(w->s->n_asked, DECIDING + 1);
	stage_answer(w->s, NULL, 0, -ECANCELED);
}

static void held_packets_are_bounded(void **state)
{
	struct world *w = *state;
	struct fakeip_pair pair;
	char name[32];

	for (unsigned i = 0; i < 80; i++) {
		snprintf(name, sizeof name, "n%u.fake.test", i);
		pair = map(w->s, name, "fake");
		build_udp(pair.v4, false, 1);
		for (unsigned k = 0; k < HELD; k++)
			give(w, 0);
	}
	assert_int_equal(COUNTER(w, overflow), 80 * HELD - 512);
	while (w->s->n_answered < w->s->n_asked)
		stage_answer(w->s, NULL, 0, -ECANCELED);
	assert_int_equal(n_sent, 512);
	/* Too long to be held; the decision is made all the same. */
	build_udp(w->v4, false, 10000);
	give(w, 0);
	assert_int_equal(COUNTER(w, overflow), 80 * HELD - 512 + 1);
	answer_one(w, REAL, 60);
	stage_written(w->s, 0);
	assert_int_equal(n_sent, 512);
}

/* Its generation lives as long as it is asked for, but what is found is decided by the new one. */
static void a_reload_decides_anew(void **state)
{
	static const char other[] = "gateway: { lan: [lan0] }\n"
				    "upstreams: { three: { servers: udp://192.0.2.55 } }\n"
				    "egress: { direct: { type: direct, upstream: three } }\n"
				    "rules: [ { name: all, domain: [.], answer: block } ]\n";
	struct world *w = *state;
	struct generation *old = w->s->gen;

	build_tcp(w->v4, false, TUN_TCP_SYN, 1);
	give(w, 0);
	w->s->gen = stage_generation(w->s, other);
	carry_use(w->carry, w->s->gen);
	query_engine_use(w->s->engine, w->s->gen);
	generation_unref(old);
	assert_int_equal(w->s->groups_alive, 2);
	build_tcp(w->v6, true, TUN_TCP_SYN, 1);
	give(w, 0); /* by the new one */
	assert_icmp(0, 1, 1);
	answer_one(w, REAL, 60);
	assert_null(w->s->job);
	assert_int_equal(n_sent, 2);
	assert_icmp(1, 3, 13);
	assert_int_equal(w->s->groups_alive, 1);
}

static void an_address_in_use_is_not_given_away(void **state)
{
	struct world *w = *state;
	struct fakeip_mapping m;
	uint32_t index;

	w->s->now_ms += 5000000;
	build_udp(w->v4, false, 1);
	give(w, 0);
	stage_answer(w->s, NULL, 0, -ECANCELED);
	assert_true(fakeip_index4(w->s->fakeip, w->v4, &index));
	assert_int_equal(fakeip_get(w->s->fakeip, index, &m), 0);
	assert_int_equal(m.last_packet_s, stage_clock_s());
}

static void broken_packets(void **state)
{
	struct world *w = *state;

	build_tcp(w->v4, false, TUN_TCP_SYN, 1);
	for (size_t len = packet_len; len-- > 0;) {
		uint8_t *copy = exact(packet, len);

		carry_packet(w->carry, copy, len, LAN);
		free(copy);
	}
	packet[10] ^= 1;
	give(w, 0);
	assert_int_equal(COUNTER(w, packets), 0);
	assert_int_equal(n_sent, 0);
	/* Outside the pools: refused, not carried. */
	build_tcp((const uint8_t *)"\10\10\10\10", false, TUN_TCP_SYN, 1);
	give(w, 0);
	assert_reset(0);
	assert_int_equal(w->s->n_asked, 0);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, open_world, close_world)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(a_first_packet_waits_for_the_kernel),
		TEST(the_other_family),
		TEST(an_egress_with_a_mark),
		TEST(an_address_that_a_check_gave),
		TEST(timeouts_follow_the_ttl_within_bounds),
		TEST(packets_that_wait_keep_their_order),
		TEST(two_addresses_are_decided_apart),
		TEST(packets_of_this_host),
		TEST(checksums_are_completed),
		TEST(the_queue_can_change_meanwhile),
		TEST(nobody_has_this_address),
		TEST(a_connection_that_the_kernel_forgot),
		TEST(a_name_that_cannot_be_resolved),
		TEST(addresses_that_must_not_be_dialled),
		TEST(ipv6_addresses_that_must_not_be_dialled),
		TEST(a_kernel_that_does_not_take_it),
		TEST(rules_that_say_no),
		TEST(a_rule_that_changed_its_mind),
		TEST(a_rule_for_one_type),
		TEST(decisions_are_bounded),
		TEST(held_packets_are_bounded),
		TEST(a_reload_decides_anew),
		TEST(an_address_in_use_is_not_given_away),
		TEST(broken_packets),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
