/* Connections that wait for their client: claimed once, taken once, never lost, never kept. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <string.h>

#include <cmocka.h>

#include "gateway/carry/waiting.h"

static _Atomic unsigned dropped, dropped_sum;

static void drop(void *arg, const struct waiting_conn *c)
{
	(void)arg;
	atomic_fetch_add(&dropped, 1);
	atomic_fetch_add(&dropped_sum, (unsigned)c->fd);
}

static struct waiting_key key(unsigned client, unsigned port)
{
	struct waiting_key k;

	memset(&k, 0, sizeof k);
	k.client.addr = ip_addr_v4((uint8_t[]){192, 168, (uint8_t)(client >> 8), (uint8_t)client});
	k.client.port = (uint16_t)port;
	k.fake.addr = ip_addr_v4((uint8_t[]){198, 18, 0, 9});
	k.fake.port = 443;
	return k;
}

static struct waiting_conn conn(int fd)
{
	return (struct waiting_conn){.fd = fd, .index = (uint32_t)fd + 1, .idle_ms = 5};
}

static struct waiting *fresh(unsigned max)
{
	struct waiting *w;

	dropped = dropped_sum = 0;
	assert_int_equal(waiting_new(max, drop, NULL, &w), 0);
	return w;
}

static void test_a_syn_that_is_sent_again_is_not_dialled_again(void **state)
{
	struct waiting *w = fresh(100);
	struct waiting_key k = key(1, 1000), others = key(1, 1001);
	struct waiting_conn c = conn(7), got;

	(void)state;
	assert_int_equal(waiting_claim(w, &k, 0), 0);
	assert_int_equal(waiting_claim(w, &k, 1), -EINPROGRESS);
	assert_int_equal(waiting_claim(w, &others, 1), 0);
	assert_int_equal(waiting_take(w, &k, &got), -ENOENT);
	waiting_ready(w, &k, &c, 50);
	assert_int_equal(waiting_claim(w, &k, 60), -EEXIST);
	assert_int_equal(waiting_count(w), 2);
	assert_int_equal(waiting_take(w, &others, &got), -ENOENT);
	assert_int_equal(waiting_take(w, &k, &got), 0);
	assert_int_equal(got.fd, 7);
	assert_int_equal(got.index, 8);
	assert_int_equal(got.idle_ms, 5);
	assert_int_equal(waiting_take(w, &k, &got), -ENOENT);
	assert_int_equal(waiting_claim(w, &k, 70), 0);
	waiting_fail(w, &k);
	assert_int_equal(waiting_claim(w, &k, 70), 0);
	assert_int_equal(dropped, 0);
	waiting_free(w);
	assert_int_equal(dropped, 0); /* claims hold nothing */
}

static void test_every_part_of_the_key_counts(void **state)
{
	struct waiting *w = fresh(100);
	struct waiting_key k = key(1, 1000), other[5];

	(void)state;
	for (unsigned i = 0; i < 5; i++)
		other[i] = k;
	other[0].client.port = 1001;
	other[1].fake.port = 80;
	other[2].fake.addr.b[3] ^= 1;
	other[3].client.addr = ip_addr_v6((uint8_t[16]){0xfd, [15] = 1});
	other[4].client.scope = 3;
	assert_int_equal(waiting_claim(w, &k, 0), 0);
	for (unsigned i = 0; i < 5; i++)
		assert_int_equal(waiting_claim(w, &other[i], 0), 0);
	assert_int_equal(waiting_count(w), 6);
	waiting_free(w);
}

static void test_what_nobody_comes_for_is_dropped(void **state)
{
	struct waiting *w = fresh(100);
	struct waiting_key a = key(1, 1), b = key(2, 2), claimed = key(3, 3);
	struct waiting_conn c = conn(10), d = conn(20), got;

	(void)state;
	assert_int_equal(waiting_claim(w, &a, 0), 0);
	assert_int_equal(waiting_claim(w, &b, 0), 0);
	assert_int_equal(waiting_claim(w, &claimed, 0), 0);
	waiting_ready(w, &a, &c, 1000);
	waiting_ready(w, &b, &d, 5000);
	waiting_expire(w, 1000 + WAITING_MS);
	assert_int_equal(dropped, 0);
	waiting_expire(w, 1001 + WAITING_MS);
	assert_int_equal(dropped, 1);
	assert_int_equal(dropped_sum, 10);
	assert_int_equal(waiting_take(w, &a, &got), -ENOENT);
	waiting_expire(w, WAITING_CLAIM_MS);
	assert_int_equal(dropped, 2);
	assert_int_equal(waiting_claim(w, &claimed, WAITING_CLAIM_MS), -EINPROGRESS);
	waiting_expire(w, WAITING_CLAIM_MS + 1);
	assert_int_equal(waiting_count(w), 0);
	waiting_free(w);
	assert_int_equal(dropped, 2);
}

static void test_an_old_entry_of_the_same_numbers_gives_way(void **state)
{
	struct waiting *w = fresh(100);
	struct waiting_key k = key(1, 1);
	struct waiting_conn c = conn(10), late = conn(30), got;

	(void)state;
	assert_int_equal(waiting_claim(w, &k, 0), 0);
	waiting_ready(w, &k, &c, 0);
	assert_int_equal(waiting_claim(w, &k, WAITING_MS + 1), 0);
	assert_int_equal(dropped_sum, 10);
	waiting_fail(w, &k);
	/* Its claim is gone: the dialler is late, but what it brings is good. */
	waiting_ready(w, &k, &late, WAITING_MS + 2);
	/* The second is not wanted. */
	waiting_ready(w, &k, &c, WAITING_MS + 2);
	assert_int_equal(dropped_sum, 20);
	waiting_fail(w, &k); /* nor does a failure take it away */
	assert_int_equal(waiting_take(w, &k, &got), 0);
	assert_int_equal(got.fd, 30);
	waiting_free(w);
	assert_int_equal(dropped, 2);
}

static void test_the_bound(void **state)
{
	struct waiting *w = fresh(500);
	struct waiting_conn c = conn(1);

	(void)state;
	for (unsigned i = 0; i < 500; i++) {
		struct waiting_key k = key(i, i);

		assert_int_equal(waiting_claim(w, &k, 0), 0);
		if (i % 2)
			waiting_ready(w, &k, &c, 0);
	}
	assert_int_equal(waiting_claim(w, &(struct waiting_key){.client.port = 9}, 0), -ENOSPC);
	for (unsigned i = 0; i < 500; i++) { /* all are found */
		struct waiting_key k = key(i, i);

		assert_int_equal(waiting_claim(w, &k, 1), i % 2 ? -EEXIST : -EINPROGRESS);
	}
	assert_int_equal(waiting_count(w), 500);
	waiting_expire(w, WAITING_MS + 1);
	assert_int_equal(dropped, 250);
	assert_int_equal(waiting_claim(w, &(struct waiting_key){.client.port = 9}, 0), 0);
	waiting_free(w);
	assert_int_equal(dropped, 250);
}

static void test_free_drops_all(void **state)
{
	struct waiting *w = fresh(50);

	(void)state;
	for (unsigned i = 0; i < 50; i++) {
		struct waiting_key k = key(i, 4);
		struct waiting_conn c = conn((int)i);

		assert_int_equal(waiting_claim(w, &k, 0), 0);
		waiting_ready(w, &k, &c, 0);
	}
	waiting_free(w);
	assert_int_equal(dropped, 50);
	assert_int_equal(dropped_sum, 49 * 50 / 2);
	waiting_free(NULL);
}

/* --- threads: whatever they do at once, each connection is taken or dropped, once --- */

#define THREADS 4
#define ROUNDS	30000
#define KEYS	64

struct team {
	struct waiting *w;
	_Atomic unsigned made, taken;
	_Atomic int64_t now_ms;
};

static void *carry(void *arg)
{
	struct team *t = arg;
	uint32_t random = (uint32_t)(uintptr_t)&random | 1;

	for (unsigned i = 0; i < ROUNDS; i++) {
		struct waiting_key k;
		struct waiting_conn c = conn(1);

		random ^= random << 13;
		random ^= random >> 17;
		random ^= random << 5;
		k = key(random % KEYS, 1);
		switch (random / KEYS % 4) {
		case 0:
			if (waiting_claim(t->w, &k, t->now_ms))
				break;
			if (random / 1024 % 4 == 0) {
				waiting_fail(t->w, &k);
				break;
			}
			t->made++;
			waiting_ready(t->w, &k, &c, t->now_ms);
			break;
		case 1:
		case 2:
			if (waiting_take(t->w, &k, &c) == 0)
				t->taken++;
			break;
		default:
			if (random / 1024 % 64 == 0) {
				t->now_ms += 3000;
				waiting_expire(t->w, t->now_ms);
			}
		}
	}
	return NULL;
}

static void test_threads(void **state)
{
	struct team t = {.w = fresh(40)};
	pthread_t threads[THREADS];
	unsigned left;

	(void)state;
	for (unsigned i = 0; i < THREADS; i++)
		assert_int_equal(pthread_create(&threads[i], NULL, carry, &t), 0);
	for (unsigned i = 0; i < THREADS; i++)
		pthread_join(threads[i], NULL);
	assert_true(t.taken > 0 && dropped > 0);
	left = t.made - t.taken - dropped;
	assert_true(left <= waiting_count(t.w));
	waiting_free(t.w);
	assert_int_equal(t.made, t.taken + dropped);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_a_syn_that_is_sent_again_is_not_dialled_again),
		cmocka_unit_test(test_every_part_of_the_key_counts),
		cmocka_unit_test(test_what_nobody_comes_for_is_dropped),
		cmocka_unit_test(test_an_old_entry_of_the_same_numbers_gives_way),
		cmocka_unit_test(test_the_bound),
		cmocka_unit_test(test_free_drops_all),
		cmocka_unit_test(test_threads),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
