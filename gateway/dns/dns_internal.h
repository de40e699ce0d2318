/* What only this folder sees: a cursor over a message, and the shape of records. The cursor never
 * reads behind the message; its error is sticky, so a caller may read several fields and look once
 * at the end. What it hands out after an error is zero. */
#ifndef TUNGATE_DNS_INTERNAL_H
#define TUNGATE_DNS_INTERNAL_H

#include "gateway/dns/message.h"

#include <string.h>

#define DNS_OPCODE	 0x7800 /* the field's bits in the flags */
#define DNS_OPT_SIZE	 11	/* an OPT without options (RFC 6891 6.1.2) */
#define DNS_EDE_SIZE	 6	/* an extended error without text (RFC 8914 2) */
#define DNS_OPT_DO	 0x8000
#define DNS_RECORD_NAMES 3 /* owner and the names in the data of one record, at most */

struct dns_reader {
	const uint8_t *msg;
	size_t len, off;
	bool bad;
};

/* The next size bytes, or NULL. */
static inline const uint8_t *dns_reader_take(struct dns_reader *r, size_t size)
{
	if (r->bad || size > r->len - r->off) {
		r->bad = true;
		return NULL;
	}
	r->off += size;
	return r->msg + r->off - size;
}

/* Steps over a name without following its pointers. */
static inline void dns_reader_skip_name(struct dns_reader *r)
{
	if (!r->bad && dns_name_skip(r->msg, r->len, &r->off))
		r->bad = true;
}

/* Offsets count from the message's start. */
struct dns_record {
	size_t owner, ttl_at, data, end;
	uint32_t ttl; /* as received; an OPT's is no time */
	uint16_t type, class;
};

/* Steps over one record and tells its parts; false after an error. Names are not followed. */
bool dns_reader_record(struct dns_reader *r, struct dns_record *ret);

/* Where the names of a record start: its owner's and, for the types whose data may hold compressed
 * names (RFC 3597 4), those in its data. Returns how many, or -EBADMSG if the data has not the
 * shape of its type. */
int dns_record_names(
	const uint8_t *msg, const struct dns_record *rec, size_t ret_at[DNS_RECORD_NAMES]);

/* A walk along the answer section: the question's name, then where its CNAMEs lead. */
#define DNS_CNAMES_MAX 16 /* RFC 6604 speaks of chains; none needs more */
struct dns_chain {
	const uint8_t *msg;
	size_t len;
	uint16_t type; /* the question's */
	unsigned n;    /* names so far; the last one owns the record that is visited */
	struct dns_name names[1 + DNS_CNAMES_MAX];
};

/* Visits each record of class IN that the answer section has for its question, name after name: A,
 * AAAA, the question's type, and the CNAMEs that are followed. What is no readable response has
 * none. */
typedef void dns_chain_visit(void *arg, const struct dns_chain *c, const struct dns_record *rec);
void dns_chain_walk(const uint8_t *msg, size_t len, dns_chain_visit *visit, void *arg);
bool dns_chain_contains(const struct dns_chain *c, const struct dns_name *name);

/* Visits the address hints of an SVCB or HTTPS record; a malformed one has none (RFC 9460 2.2).
 * Returns how many. */
size_t dns_svcb_hints(
	const uint8_t *msg, const struct dns_record *rec, dns_address_visit *visit, void *arg);

/* How many hints of an SVCB or HTTPS record are dropped; -EBADMSG: it is malformed. */
struct dns_store_how;
int dns_svcb_dropped(
	const uint8_t *msg, const struct dns_record *rec, const struct dns_store_how *how);
/* The data of a well-formed one without them: its size; out: NULL only counts. */
size_t dns_svcb_store(const uint8_t *msg, const struct dns_record *rec,
	const struct dns_store_how *how, uint8_t *out);

/* The data of a record with its names in full: between them, bytes. Returns its size; 0 with *bad:
 * it cannot be read. out: NULL only counts. */
size_t dns_data_expand(
	const uint8_t *msg, size_t len, const struct dns_record *rec, uint8_t *out, bool *bad);

/* The head of a record owned by the question's name. Returns where its data goes, NULL if that does
 * not fit or there is no question that could own it. The caller counts it. */
uint8_t *dns_writer_record(struct dns_writer *w, unsigned type, uint32_t ttl_s, size_t size);

/* dns_name_read() with its case kept: for copying, not for comparing or hashing. */
int dns_name_expand(const uint8_t *msg, size_t len, size_t *off, struct dns_name *ret);

/* dns_name_read() without keeping what was read. Returns how many pointers were followed, or
 * -EBADMSG. */
int dns_name_check(const uint8_t *msg, size_t len, size_t *off);

/* Writes the name with the case of its letters drawn from seed (0: lower). */
void dns_name_draw_case(uint8_t *to, const struct dns_name *name, uint64_t seed);

/* Where the pointer at the end of the name at off leads; 0 if it has none. -EBADMSG as
 * dns_name_skip(). */
int dns_name_pointer(const uint8_t *msg, size_t len, size_t off, size_t *ret_target);

/* TTLs with the most significant bit set mean 0 (RFC 2181 8). */
static inline uint32_t dns_ttl_s(uint32_t wire)
{
	return wire & 0x80000000 ? 0 : wire;
}

/* Is it a response to q's question? */
bool dns_response_answers(const uint8_t *msg, size_t len, const struct dns_query *q);

/* The flags of a response with those of upstream's, for who asked q: AD only to who wants it (RFC
 * 6840 5.7). */
static inline unsigned dns_relay_flags(unsigned theirs, const struct dns_query *q)
{
	unsigned ad = q->dnssec_ok || q->flags & DNS_AD ? DNS_AD : 0;

	return DNS_QR | DNS_RA | (q->flags & (DNS_RD | DNS_CD)) | (theirs & (DNS_TC | 15 | ad));
}

static inline size_t dns_opt_size(enum dns_ede ede)
{
	return DNS_OPT_SIZE + (ede == DNS_EDE_NONE ? 0 : DNS_EDE_SIZE);
}

/* Writes an OPT at p as the last record of an answer to q. Returns its size, dns_opt_size(). */
size_t dns_opt_write(uint8_t *p, const struct dns_query *q, unsigned rcode, enum dns_ede ede);

#endif
