#include "gateway/resolve/judge.h"

#include <string.h>

#include "gateway/base/addr.h"

/* --- one answer --- */

struct sight {
	const struct judge_rules *rules;
	bool ignored, bogus;
};

static bool is_among(const struct conf_prefixes *prefixes, const struct ip_addr *a)
{
	for (size_t i = 0; i < prefixes->n; i++) {
		if (ip_prefix_contains(&prefixes->v[i], a))
			return true;
	}
	return false;
}

static void look_at(void *arg, const uint8_t *address, size_t size, uint32_t ttl_s)
{
	struct sight *s = arg;
	struct ip_addr a = ip_addr_of(address, size);

	(void)ttl_s;
	s->ignored |= is_among(&s->rules->ignore_ip, &a);
	s->bogus |= is_among(&s->rules->bogus_nxdomain, &a);
}

static bool looks_injected(
	const struct judge_rules *rules, const uint8_t *msg, size_t len, int64_t took_us)
{
	if (took_us > 0 && took_us < (int64_t)rules->min_rtt_ms * 1000)
		return true;
	return rules->require_edns && !dns_response_has_opt(msg, len);
}

/* What tells a forgery from outside comes first: a forged TC would send us to a way that is slower
 * or blocked. A truncated body may be cut anywhere, and is not looked at. */
enum judgement judge(const struct judge_rules *rules, const uint8_t *msg, size_t len,
	int64_t took_us, bool datagram)
{
	struct sight s = {.rules = rules};
	unsigned rcode;

	if (len < DNS_HEADER_SIZE)
		return JUDGE_BROKEN;
	if (datagram && looks_injected(rules, msg, len, took_us))
		return JUDGE_FORGED;
	if (dns_message_flags(msg) & DNS_TC)
		return JUDGE_TRUNCATED;
	if (dns_response_check(msg, len))
		return JUDGE_BROKEN;
	rcode = dns_response_rcode(msg, len);
	if (rcode != DNS_NOERROR && rcode != DNS_NXDOMAIN)
		return JUDGE_DECLINED;
	if (rules->ignore_ip.n || rules->bogus_nxdomain.n)
		(void)dns_response_all_addresses(msg, len, look_at, &s);
	if (s.ignored)
		return JUDGE_FORGED;
	return s.bogus ? JUDGE_BOGUS : JUDGE_TAKE;
}

/* --- two answers --- */

#define SAME_MAX 64 /* addresses of an answer that are compared; more are not told apart */

struct addresses {
	struct ip_addr v[SAME_MAX];
	size_t n;
};

static void gather(void *arg, const uint8_t *address, size_t size, uint32_t ttl_s)
{
	struct addresses *set = arg;
	struct ip_addr a = ip_addr_of(address, size);

	(void)ttl_s;
	if (set->n < SAME_MAX && !ip_addr_is_among(&a, set->v, set->n))
		set->v[set->n++] = a;
}

bool judge_same(const uint8_t *a, size_t a_len, const uint8_t *b, size_t b_len)
{
	struct addresses of_a, of_b;

	if (a_len < DNS_HEADER_SIZE || b_len < DNS_HEADER_SIZE ||
		dns_response_rcode(a, a_len) != dns_response_rcode(b, b_len))
		return false;
	of_a.n = of_b.n = 0;
	(void)dns_response_addresses(a, a_len, gather, &of_a);
	(void)dns_response_addresses(b, b_len, gather, &of_b);
	if (of_a.n != of_b.n)
		return false;
	for (size_t i = 0; i < of_a.n; i++) {
		if (!ip_addr_is_among(&of_a.v[i], of_b.v, of_b.n))
			return false;
	}
	return true;
}

/* --- poisoned names ---
 * A hash may stand in the slots of one cache line. A slot is the upper half of the hash and the
 * second of the last forgery, plus one: 0 is a free slot. */

#define WINDOW 8

static _Atomic uint64_t *window_of(const struct poisoned *p, uint64_t hash)
{
	size_t first = hash % POISONED_SLOTS / WINDOW * WINDOW;

	return (_Atomic uint64_t *)&p->slots[first];
}

static uint32_t second_of(int64_t now_ms)
{
	return (uint32_t)(now_ms / 1000) + 1;
}

static bool is_live(uint64_t slot, int64_t now_ms)
{
	return slot && second_of(now_ms) - (uint32_t)slot < POISONED_MS / 1000;
}

/* Where the hash stands, or else the free or oldest slot. */
static _Atomic uint64_t *slot_for(
	struct poisoned *p, uint64_t hash, int64_t now_ms, uint64_t *ret_held)
{
	_Atomic uint64_t *window = window_of(p, hash), *best = NULL;
	uint32_t best_age = 0;

	for (unsigned i = 0; i < WINDOW; i++) {
		uint64_t held = atomic_load_explicit(&window[i], memory_order_relaxed);
		uint32_t age =
			is_live(held, now_ms) ? second_of(now_ms) - (uint32_t)held : UINT32_MAX;

		if (held && held >> 32 == hash >> 32) {
			*ret_held = held;
			return &window[i];
		}
		if (!best || age > best_age) {
			best = &window[i];
			best_age = age;
			*ret_held = held;
		}
	}
	return best;
}

/* Another thread may take the slot first; who loses a second time lets the name be: the next
 * forgery adds it. */
void poisoned_add(struct poisoned *p, uint64_t hash, int64_t now_ms)
{
	uint64_t entry = hash >> 32 << 32 | second_of(now_ms);

	for (int tries = 0; tries < 2; tries++) {
		uint64_t held;
		_Atomic uint64_t *slot = slot_for(p, hash, now_ms, &held);

		if (atomic_compare_exchange_strong_explicit(
			    slot, &held, entry, memory_order_relaxed, memory_order_relaxed))
			return;
	}
}

bool poisoned_has(const struct poisoned *p, uint64_t hash, int64_t now_ms)
{
	const _Atomic uint64_t *window = window_of(p, hash);

	for (unsigned i = 0; i < WINDOW; i++) {
		uint64_t held = atomic_load_explicit(&window[i], memory_order_relaxed);

		if (held >> 32 == hash >> 32 && is_live(held, now_ms))
			return true;
	}
	return false;
}

size_t poisoned_count(const struct poisoned *p, int64_t now_ms)
{
	size_t n = 0;

	for (size_t i = 0; i < POISONED_SLOTS; i++)
		n += is_live(atomic_load_explicit(&p->slots[i], memory_order_relaxed), now_ms);
	return n;
}
