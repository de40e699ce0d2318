/* Answers of upstreams as they are kept and handed around inside: the stored form. A stored message
 * is a whole response that passed dns_response_check(), without OPT, with the TTLs of an RRset made
 * equal (RFC 2181 5.2) and within bounds, the question in lower case, id 0, AA and TC clear, QR and
 * RA set, RD as upstream told, AD too unless addresses were dropped; no name runs through a TTL, so
 * the TTLs can be changed in place. Everything that reads responses reads it. Pure. */
#ifndef TUNGATE_DNS_STORED_H
#define TUNGATE_DNS_STORED_H

#include "gateway/dns/message.h"

struct dns_store_how {
	uint32_t ttl_min_s, ttl_max_s; /* of each record; a minimum does not lengthen a TTL of 0
					  unless it is the rule's: see zero */
	bool zero;		       /* ttl_min_s raises 0 as well */
	uint32_t negative_max_s;       /* of the life of a negative answer, and its SOA's TTL */
	uint32_t age_s; /* it is so old already (the Age of RFC 8484 5.1): taken off each TTL */
	/* Addresses to leave out of A, AAAA and SVCB hints; NULL: none. */
	bool (*drop)(void *arg, const uint8_t *address, size_t size);
	void *arg;
};
struct dns_stored_info {
	/* How long it may be kept: the least TTL of the answer section, as upstream sent it: what
	 * is dropped counts too; of NXDOMAIN and NODATA the SOA's as well (RFC 2308 5), 0 without
	 * one; 0 for other rcodes but NOERROR, and for a truncated message. */
	uint32_t life_s;
	unsigned dropped; /* addresses */
	bool negative;	  /* NXDOMAIN or NODATA by upstream, not by what was dropped */
};
/* Turns a checked response into its stored form in buf (size bytes, not msg). Returns its length,
 * -ENOSPC, -EBADMSG (so also an extended rcode). An A, AAAA record whose address is dropped goes,
 * an SVCB record loses the hint (`mandatory` mended, key gone if it was the last), a malformed one
 * goes. Records of the authority and additional sections are kept but for OPT, TSIG and SIG(0), and
 * for addresses that `drop` takes. */
int dns_store(uint8_t *buf, size_t size, const uint8_t *msg, size_t len,
	const struct dns_store_how *how, struct dns_stored_info *ret);

/* A stored message (not yet with an OPT) grows older: each TTL less age_s, at least 1 (0 stays 0).
 */
void dns_stored_age(uint8_t *msg, size_t len, uint32_t age_s);
/* Each TTL is ttl_s: of a stale answer (RFC 8767 4). */
void dns_stored_set_ttl(uint8_t *msg, size_t len, uint32_t ttl_s);

/* The fast way from the cache to a client: buf holds a stored message of len bytes that answers
 * q's question; it becomes the answer to q in place: id, RD, CD, AD, the question's case, OPT with
 * ede. Returns the length; 0: it does not fit limit (take dns_response_relay()) or is another
 * question's. buf has room for limit bytes. */
size_t dns_stored_answer(
	uint8_t *buf, size_t len, size_t limit, const struct dns_query *q, enum dns_ede ede);

#endif
