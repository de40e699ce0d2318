/* What the readers of data share: the words of a text, and where its bytes go. */
#ifndef TUNGATE_DNS_RDATA_INTERNAL_H
#define TUNGATE_DNS_RDATA_INTERNAL_H

#include "gateway/dns/dns_internal.h"

/* Bytes being made. Both errors are sticky: the first `why` stays, and once full nothing is
 * written. */
struct rdata {
	uint8_t *b;
	size_t size, n;
	bool full;
	const char *why; /* NULL: all is well */
};

void rdata_put(struct rdata *d, const void *bytes, size_t size);
void rdata_put8(struct rdata *d, unsigned v);
void rdata_put16(struct rdata *d, unsigned v);
void rdata_bad(struct rdata *d, const char *why);

/* A text without its quotes, escapes still in it (RFC 1035 5.1). */
struct rdata_text {
	const char *s;
	size_t len;
	bool quoted;
};

/* Cuts the next word off. Blanks between quotes belong to it; quotes around the whole are taken
 * away. False: there is none, or a quote is left open (rdata_bad). */
bool rdata_word(struct rdata *d, struct rdata_text *rest, struct rdata_text *ret);
/* The next byte, its escape undone. False: the end, or a wrong escape (rdata_bad). */
bool rdata_byte(struct rdata *d, struct rdata_text *rest, uint8_t *ret);
/* The whole text as a decimal number; rdata_bad(). */
unsigned long rdata_number(
	struct rdata *d, const struct rdata_text *w, unsigned long max, const char *why);

enum { /* keys of SvcParams: RFC 9460 14.3.2; RFC 9461 5; RFC 9540 4 */
	KEY_MANDATORY = 0,
	KEY_ALPN = 1,
	KEY_NO_DEFAULT_ALPN = 2,
	KEY_PORT = 3,
	KEY_IPV4HINT = 4,
	KEY_ECH = 5,
	KEY_IPV6HINT = 6,
	KEY_DOHPATH = 7,
	KEY_OHTTP = 8,
	KEY_NONE = 65535, /* never valid */
};

/* SvcParams in presentation form (RFC 9460 2.1), the rest of the text. */
void rdata_svcb_params(struct rdata *d, struct rdata_text *rest, bool alias);
/* Data of an SVCB or HTTPS record, whole and well-formed. */
bool dns_svcb_check(const uint8_t *rdata, size_t len);

#endif
