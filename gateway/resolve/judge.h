/* What is believed of what comes back (interface.md, "Messages from upstream"). Pure but for the
 * table of poisoned names. Only gateway/resolve sees this. */
#ifndef TUNGATE_RESOLVE_JUDGE_H
#define TUNGATE_RESOLVE_JUDGE_H

#include <stdatomic.h>

#include "conf/config.h"
#include "gateway/dns/message.h"

/* Of a group; what they point to is the group's. */
struct judge_rules {
	struct conf_prefixes ignore_ip, bogus_nxdomain;
	bool require_edns;
	unsigned min_rtt_ms;
};

enum judgement {
	JUDGE_TAKE,
	JUDGE_BOGUS,  /* it becomes NXDOMAIN */
	JUDGE_FORGED, /* counted, waited past */
	JUDGE_TRUNCATED,
	JUDGE_DECLINED, /* SERVFAIL, NOTIMP, REFUSED, FORMERR, an extended rcode: the next server */
	JUDGE_BROKEN,	/* dns_response_check() */
};
/* msg matches the question already (id, name, type, class, case). took_us: since the question left,
 * 0: not known. datagram: min_rtt and require_edns are for these alone: nobody injects into TLS,
 * and into TCP only who sees everything. */
enum judgement judge(const struct judge_rules *rules, const uint8_t *msg, size_t len,
	int64_t took_us, bool datagram);

/* Do two answers say the same addresses and rcode (the order does not matter)? For `window`: of
 * differing ones the first is a forgery. */
bool judge_same(const uint8_t *a, size_t a_len, const uint8_t *b, size_t b_len);

/* Names for which forgeries were seen: hashes, each with its time, bounded (the oldest of a window
 * goes); any thread, no lock. A name is taken for a poisoned one once in some 10^8 look-ups. */
#define POISONED_SLOTS 4096
#define POISONED_MS    3600000 /* since the last forgery */
struct poisoned {
	_Atomic uint64_t slots[POISONED_SLOTS]; /* 32 bits of the hash, 32 of seconds */
};
void poisoned_add(struct poisoned *p, uint64_t hash, int64_t now_ms);
bool poisoned_has(const struct poisoned *p, uint64_t hash, int64_t now_ms);
size_t poisoned_count(const struct poisoned *p, int64_t now_ms);

#endif
