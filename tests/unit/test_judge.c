#include "tests/unit/dns_packet.h"

#include <pthread.h>

#include "gateway/resolve/judge.h"

#define ANSWER (DNS_QR | DNS_RD | DNS_RA)

static struct ip_prefix prefixes[3];

static struct judge_rules rules_of(const char *ignore, const char *bogus)
{
	struct judge_rules rules = {0};

	if (ignore) {
		assert_int_equal(ip_prefix_parse(ignore, &prefixes[0]), 0);
		rules.ignore_ip = (struct conf_prefixes){.v = &prefixes[0], .n = 1};
	}
	if (bogus) {
		assert_int_equal(ip_prefix_parse(bogus, &prefixes[1]), 0);
		rules.bogus_nxdomain = (struct conf_prefixes){.v = &prefixes[1], .n = 1};
	}
	return rules;
}

static void begin(struct packet *p, unsigned flags, unsigned answers, unsigned additionals)
{
	put_header(p, 1, flags, COUNTS(1, answers, 0, additionals));
	put_question(p, "a.test", DNS_A, 1);
}

static enum judgement verdict(
	const struct judge_rules *rules, const struct packet *p, int64_t took_us, bool datagram)
{
	uint8_t *copy = exact(p->b, p->len);
	enum judgement j = judge(rules, copy, p->len, took_us, datagram);

	free(copy);
	return j;
}

static void by_addresses(void **state)
{
	struct judge_rules rules = rules_of("198.51.100.0/24", "203.0.113.7");
	struct packet p;

	(void)state;
	begin(&p, ANSWER, 1, 0);
	put_a(&p, "@12", 60, 0xc0000201);
	assert_int_equal(verdict(&rules, &p, 0, true), JUDGE_TAKE);
	/* One of several, and on a stream too. */
	begin(&p, ANSWER, 2, 0);
	put_a(&p, "@12", 60, 0xc0000201);
	put_a(&p, "@12", 60, 0xc6336409);
	assert_int_equal(verdict(&rules, &p, 0, true), JUDGE_FORGED);
	assert_int_equal(verdict(&rules, &p, 0, false), JUDGE_FORGED);
	/* Whoever owns it. */
	begin(&p, ANSWER, 1, 0);
	put_a(&p, "elsewhere.test", 60, 0xcb007107);
	assert_int_equal(verdict(&rules, &p, 0, false), JUDGE_BOGUS);
	/* A forgery rather than a lie of the provider's. */
	begin(&p, ANSWER, 2, 0);
	put_a(&p, "@12", 60, 0xcb007107);
	put_a(&p, "@12", 60, 0xc6336409);
	assert_int_equal(verdict(&rules, &p, 0, false), JUDGE_FORGED);
	/* A hint, and an address in IPv6's clothes. */
	put_header(&p, 1, ANSWER, COUNTS(1, 1, 0, 0));
	put_question(&p, "a.test", DNS_HTTPS, 1);
	put_record(&p, "@12", DNS_HTTPS, 60, 11);
	put_bytes(&p, "\0\1\0\0\4\0\4\xc6\x33\x64\1", 11);
	assert_int_equal(verdict(&rules, &p, 0, false), JUDGE_FORGED);
	begin(&p, ANSWER, 1, 0);
	put_record(&p, "@12", DNS_AAAA, 60, 16);
	put_bytes(&p, "\0\0\0\0\0\0\0\0\0\0\xff\xff\xc6\x33\x64\1", 16);
	assert_int_equal(verdict(&rules, &p, 0, false), JUDGE_FORGED);
	rules = rules_of(NULL, NULL);
	assert_int_equal(verdict(&rules, &p, 0, false), JUDGE_TAKE);
}

static void by_injection(void **state)
{
	struct judge_rules rules = {.min_rtt_ms = 20};
	struct packet p;

	(void)state;
	begin(&p, ANSWER | DNS_TC, 1, 0); /* cut, with TC */
	assert_int_equal(verdict(&rules, &p, 19999, true), JUDGE_FORGED);
	assert_int_equal(verdict(&rules, &p, 20000, true), JUDGE_TRUNCATED);
	assert_int_equal(verdict(&rules, &p, 0, true), JUDGE_TRUNCATED);
	assert_int_equal(verdict(&rules, &p, 19999, false), JUDGE_TRUNCATED);

	rules = (struct judge_rules){.require_edns = true};
	begin(&p, ANSWER, 1, 0);
	put_a(&p, "@12", 60, 1);
	assert_int_equal(verdict(&rules, &p, 5, true), JUDGE_FORGED);
	assert_int_equal(verdict(&rules, &p, 5, false), JUDGE_TAKE);
	begin(&p, ANSWER, 1, 1);
	put_a(&p, "@12", 60, 1);
	put_opt(&p, 1232, 0, "", 0);
	assert_int_equal(verdict(&rules, &p, 5, true), JUDGE_TAKE);
}

static void by_rcode_and_body(void **state)
{
	struct judge_rules rules = {0};
	struct packet p;

	(void)state;
	for (unsigned rcode = 0; rcode < 16; rcode++) {
		begin(&p, ANSWER | rcode, 0, 0);
		assert_int_equal(verdict(&rules, &p, 5, true),
			rcode == DNS_NOERROR || rcode == DNS_NXDOMAIN ? JUDGE_TAKE
								      : JUDGE_DECLINED);
	}
	begin(&p, ANSWER, 0, 1);
	put_opt(&p, 1232, 0x01000000, "", 0);
	assert_int_equal(verdict(&rules, &p, 5, true), JUDGE_DECLINED);
	begin(&p, ANSWER, 1, 0);
	put_a(&p, "@12", 60, 1);
	p.len--;
	assert_int_equal(verdict(&rules, &p, 5, true), JUDGE_BROKEN);
	for (p.len = 0; p.len < DNS_HEADER_SIZE; p.len++)
		assert_int_equal(verdict(&rules, &p, 5, true), JUDGE_BROKEN);
}

static struct packet answer_of(unsigned flags, const uint32_t *addresses, unsigned n)
{
	struct packet p;

	begin(&p, flags, n, 0);
	for (unsigned i = 0; i < n; i++)
		put_a(&p, "@12", 60, addresses[i]);
	return p;
}

static bool same(const struct packet *a, const struct packet *b)
{
	bool there = judge_same(a->b, a->len, b->b, b->len);

	assert_int_equal(there, judge_same(b->b, b->len, a->b, a->len));
	return there;
}

static void sameness(void **state)
{
	struct packet a = answer_of(ANSWER, (uint32_t[]){1, 2, 3}, 3),
		      b = answer_of(ANSWER | DNS_AD, (uint32_t[]){3, 1, 2, 2}, 4),
		      c = answer_of(ANSWER, (uint32_t[]){1, 2, 4}, 3),
		      d = answer_of(ANSWER, (uint32_t[]){1, 2}, 2),
		      none = answer_of(ANSWER, NULL, 0),
		      nx = answer_of(ANSWER | DNS_NXDOMAIN, NULL, 0);

	(void)state;
	assert_true(same(&a, &b));
	assert_false(same(&a, &c));
	assert_false(same(&a, &d));
	assert_false(same(&a, &none));
	assert_false(same(&none, &nx));
	assert_true(same(&nx, &nx));
	nx.len = 4;
	assert_false(same(&nx, &none));
}

/* --- poisoned names --- */

static uint64_t hash_of(uint64_t i)
{
	return i * 0x9e3779b97f4a7c15ULL ^ i << 40;
}

static void poisoned_for_a_while(void **state)
{
	struct poisoned *p = calloc(1, sizeof *p);

	(void)state;
	assert_non_null(p);
	assert_false(poisoned_has(p, 0, 0));
	poisoned_add(p, 0, 500); /* the hash that looks like a free slot */
	assert_true(poisoned_has(p, 0, 500));
	assert_false(poisoned_has(p, 1ULL << 32, 500));
	poisoned_add(p, hash_of(7), 1000);
	assert_int_equal(poisoned_count(p, 1000), 2);
	assert_true(poisoned_has(p, hash_of(7), POISONED_MS - 1000));
	assert_false(poisoned_has(p, hash_of(7), POISONED_MS + 2000));
	assert_int_equal(poisoned_count(p, POISONED_MS + 2000), 0);
	/* Since the last forgery. */
	poisoned_add(p, hash_of(7), POISONED_MS - 1000);
	assert_true(poisoned_has(p, hash_of(7), 2 * POISONED_MS - 3000));
	assert_int_equal(poisoned_count(p, POISONED_MS), 1);
	free(p);
}

/* The oldest of a window goes; the newest is always there. */
static void poisoned_is_bounded(void **state)
{
	struct poisoned *p = calloc(1, sizeof *p);
	unsigned kept = 0;

	(void)state;
	assert_non_null(p);
	for (uint64_t i = 1; i <= 20000; i++) {
		poisoned_add(p, hash_of(i), (int64_t)i * 10);
		assert_true(poisoned_has(p, hash_of(i), (int64_t)i * 10));
	}
	assert_in_range(poisoned_count(p, 200000), 4000, POISONED_SLOTS);
	for (uint64_t i = 19001; i <= 20000; i++)
		kept += poisoned_has(p, hash_of(i), 200000);
	assert_in_range(kept, 900, 1000);
	for (uint64_t i = 100001; i <= 200000; i++)
		assert_false(poisoned_has(p, hash_of(i), 200000));
	free(p);
}

static void *add_many(void *arg)
{
	struct poisoned *p = arg;

	for (uint64_t i = 0; i < 20000; i++) {
		poisoned_add(p, hash_of(i % 500 + 1), 1000);
		(void)poisoned_has(p, hash_of(i % 700), 1000);
	}
	return NULL;
}

static void poisoned_by_threads(void **state)
{
	struct poisoned *p = calloc(1, sizeof *p);
	pthread_t threads[4];
	unsigned kept = 0;

	(void)state;
	assert_non_null(p);
	for (int i = 0; i < 4; i++)
		assert_int_equal(pthread_create(&threads[i], NULL, add_many, p), 0);
	for (int i = 0; i < 4; i++)
		pthread_join(threads[i], NULL);
	for (uint64_t i = 1; i <= 500; i++)
		kept += poisoned_has(p, hash_of(i), 1000);
	assert_in_range(kept, 495, 500);
	free(p);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(by_addresses),
		cmocka_unit_test(by_injection),
		cmocka_unit_test(by_rcode_and_body),
		cmocka_unit_test(sameness),
		cmocka_unit_test(poisoned_for_a_while),
		cmocka_unit_test(poisoned_is_bounded),
		cmocka_unit_test(poisoned_by_threads),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
