#include "tests/unit/cache_stage.h"

static const struct cache_config usual = {
	.entries = 2000, .serve_stale_s = 100, .hash_key = HASH_KEY};

struct seen {
	unsigned n, states[4];
	struct cache_shown last;
	uint8_t msg[512];
	uint32_t ttl_s; /* of the first record of msg */
};

static void see(void *arg, const struct cache_shown *e)
{
	struct seen *s = arg;

	s->n++;
	s->states[e->state]++;
	s->last = *e;
	if (!e->msg) {
		assert_int_equal(e->len, 0);
		return;
	}
	assert_true(e->len <= sizeof s->msg);
	memcpy(s->msg, e->msg, e->len);
	/* What stands behind the name, type and class of the question and of the record. */
	s->ttl_s = s->msg[12 + e->name.len + 4 + 2 + 4 + 3];
}

static void a_name_is_shown_with_all_its_entries(void **state)
{
	struct cache *c = cache_made(&usual);
	struct seen seen = {0};
	struct cache_asked a;
	struct packet p;

	(void)state;
	put_number(c, 1, 60, 10);
	put_number(c, 2, 60, 10);
	answer_make(&p, "n1.example.test", DNS_AAAA, 20, 1);
	cache_put(c, asked_text(&a, "n1.example.test", DNS_AAAA), p.b, p.len, 20, 10);
	a.key.flags = CACHE_DO;
	a.key.view = 77;
	cache_fail(c, &a.key, 50, 10);
	assert_int_equal(cache_show(c, &a.name, 40, 100, see, &seen), 3);
	assert_int_equal(seen.n, 3);
	assert_int_equal(seen.states[CACHE_FRESH], 1);
	assert_int_equal(seen.states[CACHE_STALE], 1);
	assert_int_equal(seen.states[CACHE_FAILED], 1);
	assert_int_equal(cache_show(c, &a.name, 40, 2, see, &seen), 2);
	assert_int_equal(cache_show(c, &a.name, 40, 0, see, &seen), 0);
	assert_int_equal(cache_show(c, asked_number(&a, 3)->name, 40, 9, see, &seen), 0);
	cache_free(c);
}

static void what_is_shown_is_as_it_would_be_served(void **state)
{
	struct cache *c = cache_made(&usual);
	struct seen seen = {0};
	struct cache_asked a;
	uint8_t buf[512];
	struct cache_found f;

	(void)state;
	put_number(c, 1, 60, 10);
	cache_get(c, asked_number(&a, 1), 20, buf, sizeof buf, &f);
	assert_int_equal(cache_show(c, &a.name, 30, 9, see, &seen), 1);
	assert_true(dns_name_equal(&seen.last.name, &a.name));
	assert_int_equal(seen.last.type, DNS_A);
	assert_int_equal(seen.last.hits, 1);
	assert_int_equal(seen.last.ttl_s, 40);
	assert_int_equal(seen.ttl_s, 40);
	assert_int_equal(seen.last.len, f.len);
	cache_get(c, &a.key, 30, buf, sizeof buf, &f); /* the entry itself has not aged */
	assert_int_equal(buf[12 + a.name.len + 4 + 2 + 4 + 3], 60);
	assert_int_equal(cache_show(c, &a.name, 100, 9, see, &seen), 1);
	assert_int_equal(seen.last.ttl_s, 0);
	assert_int_equal(seen.last.state, CACHE_STALE);
	assert_int_equal(cache_show(c, &a.name, 170, 9, see, &seen), 0); /* dead */
	cache_fail(c, &a.key, 10, 170);
	assert_int_equal(cache_show(c, &a.name, 171, 9, see, &seen), 1);
	assert_null(seen.last.msg); /* what is dead is not shown with the failure */
	cache_free(c);
}

static void all_are_shown_up_to_a_number(void **state)
{
	struct cache *c = cache_made(&usual);
	struct seen seen = {0};

	(void)state;
	for (unsigned i = 0; i < 500; i++)
		put_number(c, i, 60, 10);
	assert_int_equal(cache_show(c, NULL, 10, SIZE_MAX, see, &seen), 500);
	assert_int_equal(seen.n, 500);
	assert_int_equal(cache_show(c, NULL, 10, 123, see, &seen), 123);
	assert_int_equal(seen.n, 623);
	cache_free(c);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_name_is_shown_with_all_its_entries),
		cmocka_unit_test(what_is_shown_is_as_it_would_be_served),
		cmocka_unit_test(all_are_shown_up_to_a_number),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
