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
	assert_memory_equal(buf + p.len - 16, p.b + p.len - 16, 16);
	cache_free(c);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(what_was_put_is_found),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
