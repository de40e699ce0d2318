/* DNS messages: what a client asked, what we answer, and upstream answers passed on. Pure: no I/O,
 * no clock, no randomness. All buffers belong to the caller; nothing here allocates.
 *
 *                                 1  1  1  1  1  1
 *   0  1  2  3  4  5  6  7  8  9  0  1  2  3  4  5     RFC 1035 4.1.1
 * | ID                                            |
 * |QR|  Opcode   |AA|TC|RD|RA| Z|AD|CD|   RCODE   |
 * | QDCOUNT | ANCOUNT | NSCOUNT | ARCOUNT         |
 */
#ifndef TUNGATE_DNS_MESSAGE_H
#define TUNGATE_DNS_MESSAGE_H

#include "gateway/base/wire.h"
#include "gateway/dns/name.h"

#define DNS_HEADER_SIZE 12
#define DNS_UDP_MAX	1232  /* what we send over UDP at most (RFC 9715) */
#define DNS_MESSAGE_MAX 65535 /* RFC 1035 4.2.2 */

enum dns_flag {
	DNS_QR = 0x8000,
	DNS_AA = 0x0400,
	DNS_TC = 0x0200,
	DNS_RD = 0x0100,
	DNS_RA = 0x0080,
	DNS_AD = 0x0020,
	DNS_CD = 0x0010,
};

enum dns_rcode {
	DNS_NOERROR = 0,
	DNS_FORMERR = 1,
	DNS_SERVFAIL = 2,
	DNS_NXDOMAIN = 3,
	DNS_NOTIMP = 4,
	DNS_REFUSED = 5,
	DNS_BADVERS = 16, /* RFC 6891 6.1.3 */
};

enum dns_type {
	DNS_A = 1,
	DNS_NS = 2,
	DNS_CNAME = 5,
	DNS_SOA = 6,
	DNS_PTR = 12,
	DNS_MX = 15,
	DNS_TXT = 16,
	DNS_AAAA = 28,
	DNS_SRV = 33,
	DNS_DNAME = 39,
	DNS_OPT = 41,
	DNS_SVCB = 64,
	DNS_HTTPS = 65,
	DNS_ANY = 255,
	DNS_CAA = 257,
};

#define DNS_CLASS_IN 1

/* Extended errors (RFC 8914). DNS_EDE_NONE is ours: no option. */
enum dns_ede {
	DNS_EDE_NONE = -1,
	DNS_EDE_OTHER = 0,
	DNS_EDE_STALE = 3,
	DNS_EDE_FORGED = 4, /* what a fake answer is */
	DNS_EDE_CACHED_ERROR = 13,
	DNS_EDE_BLOCKED = 15,
	DNS_EDE_FILTERED = 17,
	DNS_EDE_PROHIBITED = 18,
	DNS_EDE_NO_REACHABLE_AUTHORITY = 22,
	DNS_EDE_NETWORK_ERROR = 23,
};

/* A client's query after dns_query_parse(). */
struct dns_query {
	uint16_t id, flags; /* host order, flags with opcode and rcode as received */
	uint16_t type, class;
	uint16_t udp_size; /* at least 512 (RFC 6891 6.2.3); 512 without OPT */
	bool has_opt, dnssec_ok;
	uint8_t opt_version;
	uint16_t question_len;		    /* bytes of name, type and class */
	uint8_t question[DNS_NAME_MAX + 4]; /* as asked, case kept, for the answer */
	struct dns_name name;
};

enum dns_parse {
	DNS_PARSE_QUERY,  /* a query to be decided */
	DNS_PARSE_ANSWER, /* answer at once with the returned rcode */
	DNS_PARSE_IGNORE, /* answer nothing: QR set, or shorter than a header */
};

/* Reads a message from the listening side. With DNS_PARSE_ANSWER *ret_rcode is FORMERR (unreadable
 * question, QDCOUNT not 1, RFC 9619; two OPT or an OPT not at the root, RFC 6891 6.1.1; records
 * unreadable, fewer than counted or with bytes behind them; type 0, OPT, TSIG), NOTIMP (opcode, RFC
 * 8906; TKEY, MAILA, MAILB), BADVERS, or REFUSED (class not IN; AXFR, IXFR); as much of q as could
 * be read is set, question_len 0 if the question could not. */
enum dns_parse dns_query_parse(
	const uint8_t *msg, size_t len, struct dns_query *q, enum dns_rcode *ret_rcode);

/* --- answers of our own ---
 * A writer never overruns: what does not fit sets `full`, and dns_answer_end() then sends the
 * header and question with TC (whole RRsets only, RFC 2181 9). RA is always set, RD, CD and the
 * question are the query's. */
struct dns_writer {
	uint8_t *buf;
	size_t cap, len;
	const struct dns_query *q;
	enum dns_rcode rcode; /* its upper bits go into the OPT */
	uint16_t answers, authorities, additionals;
	bool full;
};

/* limit: the most the transport takes: dns_udp_limit(q) or DNS_MESSAGE_MAX. buf holds at least
 * limit bytes; at least 512. An answer that reserves room for OPT when the query had one. */
void dns_answer_begin(struct dns_writer *w, uint8_t *buf, size_t limit, const struct dns_query *q,
	enum dns_rcode rcode, uint16_t flags);
/* RRs owned by the question's name. */
void dns_answer_address(
	struct dns_writer *w, const uint8_t *address, size_t size, uint32_t ttl_s); /* A or AAAA */
void dns_answer_ptr(struct dns_writer *w, const uint8_t *target_wire, uint32_t ttl_s);
/* The SOA of a negative answer (RFC 2308 3), owned by the question's name: made up, MINIMUM and TTL
 * ttl_s. */
void dns_answer_soa(struct dns_writer *w, uint32_t ttl_s);
/* Adds OPT if the query had one (version 0, DO copied, UDP size 1232, EDE if not NONE; RFC
 * 6891 6.1.1), finishes the counts. Returns the message's length. */
size_t dns_answer_end(struct dns_writer *w, enum dns_ede ede);
/* begin + end in one: an answer without records; a SOA with soa_ttl_s if it is not 0. */
size_t dns_answer_empty(uint8_t *buf, size_t limit, const struct dns_query *q, enum dns_rcode rcode,
	uint32_t soa_ttl_s, enum dns_ede ede);
size_t dns_udp_limit(const struct dns_query *q); /* min(udp_size, DNS_UDP_MAX), at least 512 */

/* --- upstream --- */

struct dns_ecs {	/* client subnet (RFC 7871 6); bits behind the prefix are not sent */
	uint8_t family; /* 1 IPv4, 2 IPv6 */
	uint8_t prefix_len;
	uint8_t address[16];
};
struct dns_ask {
	const struct dns_name *name;
	uint16_t id, type;
	bool checking_disabled, dnssec_ok;
	const struct dns_ecs *ecs; /* NULL: none */
	uint64_t case_seed;	   /* letters' case is drawn from it (0x20); 0: lower */
	unsigned pad;		   /* to a multiple of so many bytes (RFC 7830); 0: not */
};
/* A question to upstream: RD, EDNS with 1232. AD is set, so that upstream tells AD (RFC 6840 5.7);
 * the relay gives it on only to who asked. Returns its length, 0: it does not fit size.
 * DNS_QUESTION_MAX holds any without padding. */
#define DNS_QUESTION_MAX (DNS_HEADER_SIZE + DNS_NAME_MAX + 4 + 11 + 24)
size_t dns_question_write(uint8_t *buf, size_t size, const struct dns_ask *ask);

/* Is msg a response (QR, opcode QUERY, one question, class IN) to this question? Everything else is
 * not ours and is waited past. Of ask count id, name, type and, if there is a seed, the case. */
bool dns_response_matches(const uint8_t *msg, size_t len, const struct dns_ask *ask);
bool dns_response_has_opt(const uint8_t *msg, size_t len);
/* With the upper bits that an OPT holds (RFC 6891 6.1.3); msg is a header long at least. */
unsigned dns_response_rcode(const uint8_t *msg, size_t len);

/* Walks all records and checks that each is whole and every compressed name readable, that there is
 * one question and at most one OPT, in its place. Bytes behind the last record are let pass. 0 or
 * -EBADMSG. A message that passes is cheap to walk again: its pointers are bounded. */
int dns_response_check(const uint8_t *msg, size_t len);

static inline uint16_t dns_message_flags(const uint8_t *msg)
{
	return wire_get16(msg + 2);
}
static inline enum dns_rcode dns_message_rcode(const uint8_t *msg) /* without OPT's upper bits */
{
	return (enum dns_rcode)(msg[3] & 15);
}

/* The addresses that a checked response gives for its question: A and AAAA records of the answer
 * section whose owner is the question's name or is reached from it by the section's CNAMEs (at most
 * 16, RFC 6604); to a question for SVCB or HTTPS also the address hints of such records. Calls
 * visit for each with its TTL in seconds (MSB set means 0, RFC 2181 8). Returns how many. */
typedef void dns_address_visit(void *arg, const uint8_t *address, size_t size, uint32_t ttl_s);
size_t dns_response_addresses(const uint8_t *msg, size_t len, dns_address_visit *visit, void *arg);
/* Those of its whole answer section, whatever their owners. */
size_t dns_response_all_addresses(
	const uint8_t *msg, size_t len, dns_address_visit *visit, void *arg);

/* What the SVCB or HTTPS records of a faked name say instead of what upstream says. */
struct dns_svcb_rewrite {
	bool has4, has6; /* the fake pair: families that are faked; neither: hints only go */
	uint8_t v4[4], v6[16];
	/* Instead: hints of this family stay as they are (`filter`, for a name that is not faked).
	 */
	bool own4, own6;
	bool drop_ech;
	uint32_t ttl_max_s;
};

/* Adds to an answer the SVCB or HTTPS records (the question's type, RFC 9460) of a checked response
 * to the same question. CNAMEs are flattened: all records are owned by the question's name, and
 * ".", a TargetName that is one of the chain, means it; their TTL is the least of all, at most
 * ttl_max_s.
 *
 * A ServiceMode record for that name that has address hints, of whatever family, gets the fake pair
 * as hints; one for another name loses its hints (who wants that name asks for it). `mandatory`
 * loses what is gone. AliasMode keeps its TargetName alone (SvcParams mean nothing there, 2.4.2).
 * Left out: malformed records (2.2), an alias that leads back into the chain, what is the same once
 * rewritten, and what is beyond the 64th. Returns how many were added; so also if the writer was
 * full. */
unsigned dns_answer_svcb(
	struct dns_writer *w, const uint8_t *msg, size_t len, const struct dns_svcb_rewrite *how);

/* Turns a checked upstream response into the answer to q in buf: the records byte for byte and with
 * their TTLs (MSB set becomes 0), but id, RD, CD and the question's case of q; QR and RA set, AA
 * cleared, AD only if q had AD or DO (RFC 6840 5.7); upstream's OPT dropped (hop by hop, RFC
 * 6891 6.2.6), ours added if q had one, with ede; truncated to limit with TC (the additional
 * section alone goes without, RFC 2181 9). What cannot be the answer to q (another question, an
 * extended rcode, which is between upstream and us) becomes SERVFAIL. Returns the length; buf holds
 * limit bytes and is not msg. */
size_t dns_response_relay(uint8_t *buf, size_t limit, const uint8_t *msg, size_t len,
	const struct dns_query *q, enum dns_ede ede);

/* Names of types for texts: "A", "HTTPS", "TYPE65280" (RFC 3597). buf[16]. Parsing knows the same;
 * -EINVAL. */
const char *dns_type_format(uint16_t type, char *buf);
int dns_type_parse(const char *text, uint16_t *ret);

#endif
