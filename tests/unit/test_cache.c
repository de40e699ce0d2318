#include "tests/unit/cache_stage.h"

static const struct cache_config usual = {
	.entries = 1000, .serve_stale_s = 3600, .hash_key = HASH_KEY};

static struct cache_found found;
static uint8_t buf[70000];

static enum cache_state get(struct cache *c, const struct cache_key *key, uint32_t now_s)
{
	cache_get(c, key, now_s, buf, sizeof buf, &found);
	return found.state;
}

static void put_text(struct cache *c, const struct cache_key *key, const char *name, unsigned value,
	uint32_t life_s, uint32_t now_s)
{
	static struct packet p;

	answer_make(&p, name, key->type, life_s, value);
	cache_put(c, key, p.b, p.len, life_s, now_s);
}

static unsigned value_found(void)
{
	assert_true(found.len >= 4);
	return (unsigned)buf[found.len - 2] << 8 | buf[found.len - 1];
}

static void what_was_put_is_found(void **state)
{
	struct cache *c = cache_made(&usual);
	struct cache_asked a;
	struct packet p;

	(void)state;
	answer_make(&p, "WwW.Example.test", DNS_A, 60, 1);
	assert_int_equal(get(c, asked_text(&a, "www.example.test", DNS_A), 100), CACHE_MISS);
	cache_put(c, &a.key, p.b, p.len, 60, 100);
	assert_int_equal(get(c, asked_text(&a, "www.EXAMPLE.test", DNS_A), 110), CACHE_FRESH);
	assert_int_equal(found.len, p.len);
	assert_int_equal(found.age_s, 10);
	assert_int_equal(found.left_s, 50);
	assert_false(found.refresh);
	assert_false(found.failed_lately);
	assert_memory_equal(buf + p.len - 16, p.b + p.len - 16, 16);
	assert_memory_equal(buf, p.b, 12);
	cache_free(c);
}

static void each_part_of_the_key_counts(void **state)
{
	struct cache *c = cache_made(&usual);
	struct cache_asked a, b;

	(void)state;
	put_text(c, asked_text(&a, "a.test", DNS_A), "a.test", 1, 60, 1);
	asked_text(&b, "a.test", DNS_AAAA);
	assert_int_equal(get(c, &b.key, 1), CACHE_MISS);
	for (unsigned flags = 1; flags < 4; flags++) {
		a.key.flags = (uint8_t)flags;
		assert_int_equal(get(c, &a.key, 1), CACHE_MISS);
		put_text(c, &a.key, "a.test", flags + 1, 60, 1);
	}
	a.key.view = 1ULL << 63;
	assert_int_equal(get(c, &a.key, 1), CACHE_MISS);
	put_text(c, &a.key, "a.test", 9, 60, 1);
	assert_int_equal(get(c, &a.key, 1), CACHE_FRESH);
	assert_int_equal(value_found(), 9);
	a.key.view = 0;
	for (unsigned flags = 0; flags < 4; flags++) {
		a.key.flags = (uint8_t)flags;
		assert_int_equal(get(c, &a.key, 1), CACHE_FRESH);
		assert_int_equal(value_found(), flags + 1);
	}
	assert_int_equal(stats_of(c).entries, 5);
	cache_free(c);
}

static void life_ends_in_staleness_and_then_in_nothing(void **state)
{
	struct cache *c = cache_made(&usual);

	(void)state;
	put_number(c, 1, 60, 1000);
	assert_int_equal(get_number(c, 1, 1059), CACHE_FRESH);
	assert_int_equal(get_number(c, 1, 1060), CACHE_STALE);
	assert_int_equal(get_number(c, 1, 1060 + 3599), CACHE_STALE);
	assert_int_equal(get_number(c, 1, 1060 + 3600), CACHE_MISS);
	cache_free(c);
}

static void without_serve_stale_the_end_is_the_end(void **state)
{
	struct cache_config config = {.entries = 10, .hash_key = HASH_KEY};
	struct cache *c = cache_made(&config);

	(void)state;
	put_number(c, 1, 1, 1000);
	assert_int_equal(get_number(c, 1, 1000), CACHE_FRESH);
	assert_int_equal(get_number(c, 1, 1001), CACHE_MISS);
	cache_free(c);
}

static void clocks_that_wrap_or_lag_do_no_harm(void **state)
{
	struct cache *c = cache_made(&usual);
	struct cache_asked a;

	(void)state;
	put_number(c, 1, 60, UINT32_MAX - 9);
	assert_int_equal(get(c, asked_number(&a, 1), 10), CACHE_FRESH);
	assert_int_equal(found.age_s, 20);
	assert_int_equal(get(c, &a.key, 50), CACHE_STALE);
	assert_int_equal(get(c, &a.key, UINT32_MAX - 11), CACHE_FRESH); /* before it was stored */
	assert_int_equal(found.age_s, 0);
	assert_int_equal(found.left_s, 60);
	put_text(
		c, &a.key, "n1.example.test", 1, UINT32_MAX, 5); /* no life is longer than clocks */
	assert_int_equal(get(c, &a.key, 5 + (1U << 29)), CACHE_FRESH);
	cache_free(c);
}

static void a_longer_message_than_the_buffer_is_a_miss(void **state)
{
	struct cache *c = cache_made(&usual);
	struct cache_asked a;

	(void)state;
	put_number(c, 1, 60, 1);
	assert_int_equal(get(c, asked_number(&a, 1), 1), CACHE_FRESH);
	cache_get(c, &a.key, 1, buf, found.len - 1, &found);
	assert_int_equal(found.state, CACHE_MISS);
	assert_int_equal(found.len, 0);
	assert_int_equal(stats_of(c).misses, 1);
	cache_free(c);
}

static void a_new_answer_takes_the_place_of_the_old(void **state)
{
	struct cache *c = cache_made(&usual);
	struct cache_asked a;
	struct packet p;

	(void)state;
	put_text(c, asked_text(&a, "a.test", DNS_A), "a.test", 1, 600, 1);
	put_text(c, &a.key, "a.test", 2, 10, 5);
	assert_int_equal(get(c, &a.key, 5), CACHE_FRESH);
	assert_int_equal(value_found(), 2);
	assert_int_equal(found.left_s, 10);
	put_header(&p, 0, DNS_QR | DNS_RD | DNS_RA | DNS_NXDOMAIN, COUNTS(1, 0, 0, 0));
	put_question(&p, "a.test", DNS_A, DNS_CLASS_IN);
	cache_put(c, &a.key, p.b, p.len, 3, 6);
	assert_int_equal(get(c, &a.key, 6), CACHE_FRESH);
	assert_int_equal(found.len, p.len);
	assert_int_equal(stats_of(c).entries, 1);
	cache_put(c, &a.key, p.b, p.len, 0, 7); /* not kept, and what was there goes */
	assert_int_equal(get(c, &a.key, 7), CACHE_MISS);
	assert_int_equal(stats_of(c).entries, 0);
	cache_free(c);
}

static void what_does_not_answer_the_key_is_not_kept(void **state)
{
	struct cache *c = cache_made(&usual);
	struct cache_asked a;
	struct packet p;

	(void)state;
	answer_make(&p, "b.test", DNS_A, 60, 1);
	cache_put(c, asked_text(&a, "a.test", DNS_A), p.b, p.len, 60, 1);
	asked_text(&a, "b.test", DNS_AAAA);
	cache_put(c, &a.key, p.b, p.len, 60, 1);
	asked_text(&a, "b.test", DNS_A);
	for (size_t len = 0; len < 12 + 8 + 4; len++)
		cache_put(c, &a.key, p.b, len, 60, 1);
	cache_put(c, &a.key, p.b, sizeof p.b, 60, 1); /* longer than a message */
	assert_int_equal(stats_of(c).entries, 0);
	p.b[12] = 0xc0; /* no name in front may lead elsewhere */
	p.b[13] = 12;
	cache_put(c, &a.key, p.b, p.len, 60, 1);
	assert_int_equal(stats_of(c).entries, 0);
	cache_free(c);
}

static void the_longest_message_is_kept(void **state)
{
	struct cache *c = cache_made(&usual);
	struct cache_asked a;
	static struct packet p;

	(void)state;
	answer_make(&p, "a.test", DNS_A, 60, 1);
	memset(p.b + p.len, 7, sizeof p.b - p.len);
	cache_put(c, asked_text(&a, "a.test", DNS_A), p.b, DNS_MESSAGE_MAX, 60, 1);
	assert_int_equal(get(c, &a.key, 1), CACHE_FRESH);
	assert_int_equal(found.len, DNS_MESSAGE_MAX);
	assert_memory_equal(buf, p.b, DNS_MESSAGE_MAX);
	cache_free(c);
}

static void the_root_has_answers_too(void **state)
{
	struct cache *c = cache_made(&usual);
	struct cache_asked a;

	(void)state;
	asked_text(&a, ".", DNS_NS);
	cache_fail(c, &a.key, 5, 1);
	assert_int_equal(get(c, &a.key, 1), CACHE_FAILED);
	put_text(c, &a.key, "", 1, 60, 1);
	assert_int_equal(get(c, &a.key, 1), CACHE_FRESH);
	assert_int_equal(cache_flush(c, &a.name), 1);
	cache_free(c);
}

/* --- failures --- */

static void a_failure_is_remembered_for_its_time(void **state)
{
	struct cache *c = cache_made(&usual);
	struct cache_asked a;

	(void)state;
	cache_fail(c, asked_number(&a, 1), 5, 100);
	assert_int_equal(get(c, &a.key, 104), CACHE_FAILED);
	assert_int_equal(found.len, 0);
	assert_int_equal(get(c, &a.key, 105), CACHE_MISS);
	cache_fail(c, &a.key, 5, 105);
	assert_int_equal(get(c, &a.key, 106), CACHE_FAILED);
	assert_int_equal(stats_of(c).entries, 1);
	put_number(c, 1, 60, 107);
	assert_int_equal(get(c, &a.key, 107), CACHE_FRESH);
	assert_int_equal(stats_of(c).entries, 1);
	cache_fail(c, asked_number(&a, 2), 0, 107);
	assert_int_equal(stats_of(c).entries, 1);
	cache_free(c);
}

static void a_stale_answer_outlives_a_failure(void **state)
{
	struct cache *c = cache_made(&usual);
	struct cache_asked a;

	(void)state;
	put_number(c, 1, 60, 100);
	assert_int_equal(get(c, asked_number(&a, 1), 200), CACHE_STALE);
	assert_false(found.failed_lately);
	cache_fail(c, &a.key, 5, 200);
	assert_int_equal(get(c, &a.key, 229), CACHE_STALE);
	assert_true(found.failed_lately);
	assert_int_equal(get(c, &a.key, 230), CACHE_STALE);
	assert_false(found.failed_lately);
	cache_fail(c, &a.key, 5, 100 + 60 + 3599);
	assert_int_equal(get(c, &a.key, 100 + 60 + 3600), CACHE_FAILED); /* its time is over */
	assert_int_equal(get(c, &a.key, 100 + 60 + 3604), CACHE_MISS);
	cache_free(c);
}

static void failures_alone_can_be_forgotten(void **state)
{
	struct cache *c = cache_made(&usual);
	struct cache_asked a, b;

	(void)state;
	put_number(c, 1, 60, 100);
	cache_fail(c, asked_number(&a, 1), 50, 160);
	cache_fail(c, asked_number(&b, 2), 50, 160);
	cache_flush_failures(c);
	assert_int_equal(get(c, &a.key, 161), CACHE_STALE);
	assert_false(found.failed_lately);
	assert_int_equal(get(c, &b.key, 161), CACHE_MISS);
	assert_int_equal(stats_of(c).entries, 1);
	cache_free(c);
}

/* --- refreshing --- */

static const struct cache_config prefetching = {.entries = 100,
	.serve_stale_s = 60,
	.prefetch_percent = 20,
	.prefetch_hits = 2,
	.hash_key = HASH_KEY};

static bool refresh_told(struct cache *c, const struct cache_key *key, uint32_t now_s)
{
	assert_int_equal(get(c, key, now_s), CACHE_FRESH);
	return found.refresh;
}

static void a_refresh_is_told_once(void **state)
{
	struct cache *c = cache_made(&prefetching);
	struct cache_asked a;

	(void)state;
	put_number(c, 1, 100, 0);
	asked_number(&a, 1);
	assert_false(refresh_told(c, &a.key, 80)); /* a fifth is left, not less */
	assert_true(refresh_told(c, &a.key, 81));
	assert_false(refresh_told(c, &a.key, 82));
	assert_false(refresh_told(c, &a.key, 90));
	assert_true(refresh_told(c, &a.key, 91)); /* nothing came of it for 10 s */
	cache_fail(c, &a.key, 5, 92);
	assert_false(refresh_told(c, &a.key, 96));
	assert_true(refresh_told(c, &a.key, 97));
	assert_int_equal(stats_of(c).refreshes, 3);
	put_number(c, 1, 100, 98);
	assert_false(refresh_told(c, &a.key, 99));
	assert_true(refresh_told(c, &a.key, 98 + 81));
	cache_free(c);
}

static void what_nobody_asks_for_is_not_refreshed(void **state)
{
	struct cache *c = cache_made(&prefetching);
	struct cache_asked a;

	(void)state;
	put_number(c, 1, 100, 0);
	cache_peek(c, asked_number(&a, 1), 90, buf, sizeof buf, &found);
	assert_int_equal(found.state, CACHE_FRESH);
	assert_false(refresh_told(c, &a.key, 90));
	assert_true(refresh_told(c, &a.key, 90));
	cache_peek(c, &a.key, 90, buf, sizeof buf, &found);
	assert_false(found.refresh);
	cache_free(c);
}

static void without_prefetch_nothing_is_refreshed(void **state)
{
	struct cache *c = cache_made(&usual);
	struct cache_asked a;

	(void)state;
	put_number(c, 1, 100, 0);
	assert_false(refresh_told(c, asked_number(&a, 1), 99));
	cache_free(c);
}

/* --- flushing and counting --- */

static void a_name_is_flushed_with_all_its_entries(void **state)
{
	struct cache *c = cache_made(&usual);
	struct cache_asked a, other;

	(void)state;
	put_text(c, asked_text(&other, "b.test", DNS_A), "b.test", 1, 60, 1);
	for (unsigned view = 0; view < 40; view++) {
		asked_text(&a, "a.test", view & 1 ? DNS_A : DNS_AAAA);
		a.key.view = view;
		a.key.flags = view & 3;
		if (view % 5)
			put_text(c, &a.key, "a.test", view, 60, 1);
		else
			cache_fail(c, &a.key, 60, 1);
	}
	for (unsigned view = 0; view < 40; view++) {
		asked_text(&a, "a.test", view & 1 ? DNS_A : DNS_AAAA);
		a.key.view = view;
		a.key.flags = view & 3;
		assert_int_equal(get(c, &a.key, 1), view % 5 ? CACHE_FRESH : CACHE_FAILED);
	}
	assert_int_equal(stats_of(c).entries, 41);
	assert_int_equal(cache_flush(c, &a.name), 40);
	assert_int_equal(cache_flush(c, &a.name), 0);
	assert_int_equal(get(c, &a.key, 1), CACHE_MISS);
	assert_int_equal(get(c, &other.key, 1), CACHE_FRESH);
	cache_free(c);
}

static void all_is_flushed(void **state)
{
	struct cache_config config = {.entries = 50000, .hash_key = HASH_KEY};
	struct cache *c = cache_made(&config);
	size_t empty = stats_of(c).bytes;

	(void)state;
	for (unsigned i = 0; i < 3000; i++)
		put_number(c, i, 60, 1);
	assert_int_equal(cache_flush(c, NULL), 3000);
	assert_int_equal(stats_of(c).entries, 0);
	assert_true(stats_of(c).bytes - empty < (size_t)3000 * 64); /* the table stays */
	assert_int_equal(get_number(c, 1, 1), CACHE_MISS);
	cache_free(c);
	cache_free(NULL);
}

static void what_was_asked_is_counted(void **state)
{
	struct cache *c = cache_made(&usual);
	struct cache_stats s;
	struct cache_asked a;

	(void)state;
	put_number(c, 1, 60, 100);
	(void)get_number(c, 1, 100);
	(void)get_number(c, 1, 101);
	(void)get_number(c, 1, 160);
	(void)get_number(c, 2, 160);
	cache_fail(c, asked_number(&a, 2), 5, 160);
	(void)get_number(c, 2, 161);
	cache_peek(c, &a.key, 161, buf, sizeof buf, &found);
	s = stats_of(c);
	assert_int_equal(s.hits, 3); /* a failure that is known, too */
	assert_int_equal(s.stale, 1);
	assert_int_equal(s.misses, 1);
	assert_int_equal(s.refreshes, 0);
	assert_int_equal(s.evicted, 0);
	cache_prefetch(c, a.key.hash);
	cache_free(c);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(what_was_put_is_found),
		cmocka_unit_test(each_part_of_the_key_counts),
		cmocka_unit_test(life_ends_in_staleness_and_then_in_nothing),
		cmocka_unit_test(without_serve_stale_the_end_is_the_end),
		cmocka_unit_test(clocks_that_wrap_or_lag_do_no_harm),
		cmocka_unit_test(a_longer_message_than_the_buffer_is_a_miss),
		cmocka_unit_test(a_new_answer_takes_the_place_of_the_old),
		cmocka_unit_test(what_does_not_answer_the_key_is_not_kept),
		cmocka_unit_test(the_longest_message_is_kept),
		cmocka_unit_test(the_root_has_answers_too),
		cmocka_unit_test(a_failure_is_remembered_for_its_time),
		cmocka_unit_test(a_stale_answer_outlives_a_failure),
		cmocka_unit_test(failures_alone_can_be_forgotten),
		cmocka_unit_test(a_refresh_is_told_once),
		cmocka_unit_test(what_nobody_asks_for_is_not_refreshed),
		cmocka_unit_test(without_prefetch_nothing_is_refreshed),
		cmocka_unit_test(a_name_is_flushed_with_all_its_entries),
		cmocka_unit_test(all_is_flushed),
		cmocka_unit_test(what_was_asked_is_counted),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
