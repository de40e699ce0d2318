/* The table of the UDP relay's flows alone: order, bounds, and the walk that finds idle ones. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdlib.h>
#include <string.h>

#include "gateway/carry/udp_flow.h"

#define MANY 10000

static struct udp_flows flows;
static unsigned n_ended;

static void end_flow(struct udp_flow *f)
{
	n_ended++;
	udp_flows_remove(&flows, f);
}

static int begin(void **state)
{
	(void)state;
	n_ended = 0;
	return udp_flows_init(&flows, MANY);
}

static int end(void **state)
{
	(void)state;
	while (udp_flows_oldest(&flows))
		end_flow(udp_flows_oldest(&flows));
	assert_int_equal(flows.n, 0);
	udp_flows_fini(&flows);
	return 0;
}

/* Client sockets of few addresses and few fake ones, as an attacker or a NAT would have them. */
static struct udp_flow_key key_of(unsigned i)
{
	struct udp_flow_key k = {.port = (uint16_t)(i % 100 + 1)};

	k.client = ip_addr_v4((uint8_t[]){10, 1, 1, (uint8_t)(i / 100 % 10)});
	if (i / 1000)
		k.fake = ip_addr_v4((uint8_t[]){198, 18, 0, (uint8_t)(i / 1000)});
	return k;
}

static struct udp_flow *add(unsigned i, unsigned idle_ms, int64_t now_ms)
{
	struct udp_flow_key k = key_of(i);

	assert_null(udp_flows_find(&flows, &k));
	return udp_flows_add(&flows, &k, idle_ms, now_ms);
}

static void each_is_found(void **state)
{
	static struct udp_flow *of[MANY];
	struct udp_flow_key k;
	unsigned longest = 0;

	(void)state;
	for (unsigned i = 0; i < MANY; i++)
		assert_non_null(of[i] = add(i, 1000, i));
	k = key_of(0);
	k.port = 60000;
	assert_null(udp_flows_add(&flows, &k, 1000, 0)); /* the bound */
	for (unsigned i = 0; i < MANY; i += 2)
		udp_flows_remove(&flows, of[i]);
	for (unsigned i = 0; i < MANY; i++) {
		k = key_of(i);
		assert_ptr_equal(udp_flows_find(&flows, &k), i % 2 ? of[i] : NULL);
	}
	/* None is far from where it is looked for. */
	for (uint32_t b = 0; b <= flows.mask; b++) {
		unsigned n = 0;

		for (struct udp_flow *f = flows.buckets[b]; f; f = f->next)
			n++;
		longest = n > longest ? n : longest;
	}
	assert_in_range(longest, 1, 12);
	assert_int_equal(flows.n, MANY / 2);
	/* A place that was given back is as new. */
	of[0] = add(0, 77, 5);
	assert_null(of[0]->relay);
	assert_int_equal(of[0]->idle_ms, 77);
}

static void the_oldest_is_who_was_idle_longest(void **state)
{
	struct udp_flow *a = add(1, 60000, 1000), *b = add(2, 60000, 2000),
			*c = add(3, 60000, 3000);

	(void)state;
	assert_ptr_equal(udp_flows_oldest(&flows), a);
	udp_flows_use(&flows, a, 4000);
	assert_ptr_equal(udp_flows_oldest(&flows), b);
	udp_flows_use(&flows, c, 3500); /* too soon to matter */
	udp_flows_use(&flows, b, 5000);
	assert_ptr_equal(udp_flows_oldest(&flows), c);
	end_flow(c);
	assert_ptr_equal(udp_flows_oldest(&flows), a);
}

/* All are found by and by, though each walk looks at a part only, and those that may be idle for
 * longer stand before the others. */
static void idle_ones_behind_patient_ones(void **state)
{
	unsigned most = 0;
	int64_t now_ms = 0;

	(void)state;
	for (unsigned i = 0; i < MANY / 2; i++)
		assert_non_null(add(i, 1000000, now_ms));
	now_ms += 100;
	for (unsigned i = MANY / 2; i < MANY; i++)
		assert_non_null(add(i, 30000, now_ms));
	for (; now_ms < 30000; now_ms += 1000) {
		udp_flows_walk(&flows, now_ms, end_flow);
		assert_int_equal(n_ended, 0);
	}
	for (unsigned walks = 0; walks < 6; walks++) {
		unsigned before = n_ended;

		now_ms += 1000;
		udp_flows_walk(&flows, now_ms, end_flow);
		most = n_ended - before > most ? n_ended - before : most;
	}
	assert_int_equal(n_ended, MANY / 2);
	assert_in_range(most, 1, MANY / 2 - 1);
	assert_int_equal(flows.n, MANY / 2);
	for (unsigned walks = 0; walks < 4; walks++)
		udp_flows_walk(&flows, 1000000, end_flow);
	assert_int_equal(flows.n, 0);
}

/* Where the walk would go on is taken away, or used. */
static void the_hand_is_moved(void **state)
{
	(void)state;
	for (unsigned i = 0; i < MANY; i++)
		add(i, 10000 + i, 0);
	udp_flows_walk(&flows, 9999, end_flow);
	assert_int_equal(n_ended, 0);
	udp_flows_walk(&flows, 10001, end_flow);
	assert_int_equal(n_ended, 2);
	assert_non_null(flows.hand);
	for (unsigned i = 0; i < 10; i++) {
		struct udp_flow *hand = flows.hand;

		if (i % 2)
			udp_flows_use(&flows, hand, 50000);
		else
			end_flow(hand);
		assert_ptr_not_equal(flows.hand, hand);
	}
	for (unsigned walks = 0; walks < 8; walks++)
		udp_flows_walk(&flows, 50000, end_flow);
	assert_int_equal(flows.n, 5); /* those that were used */
	for (unsigned i = 0; i < 3; i++)
		udp_flows_walk(&flows, 80000, end_flow);
	assert_int_equal(flows.n, 0);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, begin, end)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(each_is_found),
		TEST(the_oldest_is_who_was_idle_longest),
		TEST(idle_ones_behind_patient_ones),
		TEST(the_hand_is_moved),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
