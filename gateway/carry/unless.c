/* `unless`: a name whose addresses lie in a list goes another way. Found out in the background:
 * when a fake answer leaves, or, if nobody was asked yet, when the first packet comes. Both
 * families are asked at once; one address of either in a list is enough. What is negative or broken
 * leaves the rule's own egress at once, silence after `within`. A failure tells nothing of the
 * name: what was decided by it is found out again soon. */
#include "gateway/base/container.h"
#include "gateway/base/count.h"
#include "gateway/carry/carry_internal.h"

#include <errno.h>
#include <stdlib.h>

#define ASKING_MAX     512
#define REMEMBER_MIN_S 10
#define REMEMBER_MAX_S 3600
#define NEGATIVE_S     60
#define FAILURE_S      5

struct asking {
	struct asking *next; /* in its bucket */
	struct carry *carry;
	struct generation *gen; /* a reference */
	const struct policy_rule *rule;
	struct decision_key key;
	struct dns_name name;
	size_t at; /* which of the rule's */
	struct resolve_request a, aaaa;
	unsigned pending;
	bool hit, failed, beginning; /* ask() is going on */
	uint32_t ttl_s;
	struct deciding *waiters;
};

static struct asking **bucket(struct carry *c, uint32_t index)
{
	return &c->asking[index % CARRY_BUCKETS];
}

static struct asking *find(struct carry *c, const struct decision_key *key)
{
	struct asking *k = *bucket(c, key->index);

	while (k && (k->key.index != key->index || k->key.owner != key->owner))
		k = k->next;
	return k;
}

static void note_verdict(struct asking *k, const struct policy_egress *egress, uint32_t ttl_s)
{
	struct carry *c = k->carry;
	uint32_t now_s = c->c.clock_s();

	decisions_set_verdict(c->c.shared->decisions, k->key, k->rule->id, egress ? egress->id : 0,
		now_s + ttl_s, now_s);
}

/* egress NULL: the rule's own. */
static void end(struct asking *k, const struct policy_egress *egress, uint32_t ttl_s)
{
	struct carry *c = k->carry;
	struct asking **at = bucket(c, k->key.index);

	while (*at != k)
		at = &(*at)->next;
	*at = k->next;
	c->n_asking--;
	if (k->gen->policy == c->gen->policy) /* else the lists may say otherwise now */
		note_verdict(k, egress, ttl_s);
	while (k->waiters) {
		struct deciding *d = k->waiters;

		k->waiters = d->next_waiter;
		deciding_end(d, deciding_again);
	}
	generation_unref(k->gen);
	free(k);
}

struct look {
	struct asking *k;
};

static void look_at(void *arg, const uint8_t *address, size_t size, uint32_t ttl_s)
{
	struct asking *k = ((struct look *)arg)->k;
	struct ip_addr a = ip_addr_of(address, size);

	if (ttl_s < k->ttl_s)
		k->ttl_s = ttl_s;
	k->hit |= policy_unless_holds(k->gen->policy, &k->rule->unless[k->at], &a);
}

static void ask(struct asking *k);

static uint32_t remembered_s(uint32_t ttl_s)
{
	if (ttl_s == UINT32_MAX)
		return NEGATIVE_S;
	return ttl_s < REMEMBER_MIN_S	? REMEMBER_MIN_S
	       : ttl_s > REMEMBER_MAX_S ? REMEMBER_MAX_S
					: ttl_s;
}

static bool is_failure(const uint8_t *msg)
{
	enum dns_rcode rcode = dns_message_rcode(msg);

	return rcode != DNS_NOERROR && rcode != DNS_NXDOMAIN;
}

static void answered(struct asking *k, const uint8_t *msg, size_t len, int error)
{
	struct look look = {k};

	if (!error)
		dns_response_addresses(msg, len, look_at, &look);
	k->failed |= error ? error != -ECANCELED : is_failure(msg);
	k->pending--;
	if (k->hit && !k->beginning) {
		resolve_cancel(&k->a);
		resolve_cancel(&k->aaaa);
		end(k, k->rule->unless[k->at].egress, remembered_s(k->ttl_s));
		return;
	}
	if (k->pending)
		return;
	if (++k->at < k->rule->n_unless && !k->carry->stopping)
		ask(k);
	else
		end(k, NULL, k->failed ? FAILURE_S : remembered_s(k->ttl_s));
}

static void answered_a(struct resolve_request *rq, const uint8_t *msg, size_t len, int error)
{
	answered(container_of(rq, struct asking, a), msg, len, error);
}

static void answered_aaaa(struct resolve_request *rq, const uint8_t *msg, size_t len, int error)
{
	answered(container_of(rq, struct asking, aaaa), msg, len, error);
}

/* Either may be answered before this is through: nothing ends before that. */
static void ask(struct asking *k)
{
	const struct policy_unless *u = &k->rule->unless[k->at];
	struct carry *c = k->carry;
	int64_t deadline_ms = loop_now_ms(c->c.loop) + u->within_ms;
	struct resolve_question q = {.group = u->upstream,
		.name = &k->name,
		.type = DNS_A,
		.flags = (uint8_t)generation_flags(k->rule),
		.ttl = &k->rule->ttl};

	k->pending = 3;
	k->beginning = true;
	generation_ask(k->gen, c->c.resolver, &q, deadline_ms, &k->a, answered_a);
	q.type = DNS_AAAA;
	generation_ask(k->gen, c->c.resolver, &q, deadline_ms, &k->aaaa, answered_aaaa);
	k->beginning = false;
	/* The third of the pending: this call. k may be gone after it. */
	answered(k, NULL, 0, -ECANCELED);
}

/* Too many are being asked: as after `within`. */
static void ask_nobody(struct carry *c, struct decision_key key, const struct policy_rule *rule,
	struct deciding *waiter)
{
	uint32_t now_s = c->c.clock_s();

	count_add(&c->counters.overflow, 1);
	decisions_set_verdict(c->c.shared->decisions, key, rule->id, 0, now_s + FAILURE_S, now_s);
	if (waiter)
		deciding_end(waiter, deciding_again);
}

void unless_ask(struct carry *c, struct decision_key key, const struct policy_rule *rule,
	const struct dns_name *name, struct deciding *waiter)
{
	struct asking *k = find(c, &key);

	if (!k) {
		k = c->n_asking < ASKING_MAX && !c->stopping ? calloc(1, sizeof *k) : NULL;
		if (!k) {
			ask_nobody(c, key, rule, waiter);
			return;
		}
		*k = (struct asking){.carry = c,
			.gen = generation_ref(c->gen),
			.rule = rule,
			.key = key,
			.name = *name,
			.ttl_s = UINT32_MAX,
			.waiters = waiter};
		k->next = *bucket(c, key.index);
		*bucket(c, key.index) = k;
		c->n_asking++;
		ask(k);
	} else if (waiter) {
		waiter->next_waiter = k->waiters;
		k->waiters = waiter;
	}
}

bool unless_apply(struct carry *c, const struct arrival *a, struct verdict *v)
{
	uint32_t now_s = c->c.clock_s();
	struct dns_name name;
	struct decision known;
	struct deciding *d;

	if (decisions_get(c->c.shared->decisions, a->key, now_s, &known) &&
		known.rule == v->rule->id && known.verdict_until_s > now_s) {
		for (size_t i = 0; i < v->rule->n_unless; i++) {
			const struct policy_unless *u = &v->rule->unless[i];

			if (u->egress->id != known.egress)
				continue;
			verdict_set_egress(v, u->egress, u->upstream);
			break;
		}
		return true;
	}
	name = verdict_name(a->m);
	d = deciding_begin(c, a);
	if (d)
		unless_ask(c, a->key, v->rule, &name, d);
	return false;
}
