#include "gateway/dns/dns_internal.h"

/* AD asks for the AD of the answer without DNSSEC records (RFC 6840 5.7); dns_response_relay()
 * gives it on only to who wants it. */
size_t dns_question_write(uint8_t *buf, uint16_t id, const struct dns_name *name, uint16_t type,
	bool checking_disabled, bool dnssec_ok)
{
	const struct dns_query opt = {.dnssec_ok = dnssec_ok};
	size_t len = DNS_HEADER_SIZE;

	dns_put16(buf, id);
	dns_put16(buf + 2, DNS_RD | DNS_AD | (checking_disabled ? DNS_CD : 0));
	dns_put16(buf + 4, 1);
	dns_put32(buf + 6, 0);
	dns_put16(buf + 10, 1);
	memcpy(buf + len, name->b, name->len);
	len += name->len;
	dns_put16(buf + len, type);
	dns_put16(buf + len + 2, DNS_CLASS_IN);
	len += 4;
	return len + dns_opt_write(buf + len, &opt, 0, DNS_EDE_NONE);
}
