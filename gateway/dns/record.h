/* Resource records of our own: their data from text, and answers made of them. Pure.
 *
 * Data is kept in wire form with uncompressed names (RFC 3597 4); names inside are lower-cased. */
#ifndef TUNGATE_DNS_RECORD_H
#define TUNGATE_DNS_RECORD_H

#include "gateway/dns/message.h"

#define DNS_RDATA_MAX 65535

/* Data as in a zone file (RFC 1035 5.1, each type's own RFC): "192.0.2.1", "10 mail.a.test",
 * "10 5 443 a.test" (SRV: priority weight port target), quoted or bare strings (TXT, CAA), "1 .
 * alpn=h2,h3 ipv4hint=192.0.2.1" (SVCB, HTTPS, RFC 9460 2.1), "mname rname serial refresh retry
 * expire minimum" (SOA), and for any type "\# LENGTH HEX" (RFC 3597 5). Names are taken as
 * absolute. A TXT that does not begin with a quote is one text, blanks included; texts of more than
 * 255 bytes become several strings. Known: A AAAA CNAME NS PTR DNAME MX TXT SRV CAA SOA SVCB HTTPS.
 * Writes at most size bytes; returns how many, -EINVAL and *ret_why (a text of ours), -ENOSPC. */
int dns_rdata_parse(uint16_t type, const char *text, size_t len, uint8_t *ret, size_t size,
	const char **ret_why);
/* What data of this type looks like, for people: "PREFERENCE EXCHANGE". */
const char *dns_rdata_form(uint16_t type);
/* Is this data of the type? Known types are read through, others pass. 0 or -EBADMSG. */
int dns_rdata_check(uint16_t type, const uint8_t *rdata, size_t len);

/* A record owned by a name of its own (uncompressed wire form); owner NULL: the question's. Like
 * all of a writer, what does not fit makes it full. */
void dns_answer_record(struct dns_writer *w, const uint8_t *owner, uint16_t type, uint32_t ttl_s,
	const uint8_t *rdata, size_t len);
/* The answer records of a checked response, names decompressed, owners as they are; TTLs at most
 * ttl_max_s. Returns how many; a record that cannot be read is left out. */
unsigned dns_answer_copy(struct dns_writer *w, const uint8_t *msg, size_t len, uint32_t ttl_max_s);

#endif
