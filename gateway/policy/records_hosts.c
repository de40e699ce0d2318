/* Files like /etc/hosts: ADDRESS NAME... Each name has the address, and the address the first of
 * its names (as dnsmasq does it), unless a PTR record is written somewhere. */
#include "gateway/policy/records_internal.h"

#include <errno.h>
#include <stdio.h>

#define LINE_ALLOWED "ADDRESS NAME…"

struct word {
	const char *text;
	size_t len;
};

static bool is_blank(char c)
{
	return c == ' ' || c == '\t' || c == '\r';
}

static bool word_next(const char *text, size_t len, size_t *at, struct word *ret)
{
	size_t from;

	while (*at < len && is_blank(text[*at]))
		++*at;
	from = *at;
	while (*at < len && !is_blank(text[*at]))
		++*at;
	*ret = (struct word){text + from, *at - from};
	return ret->len > 0;
}

static bool word_address(struct word w, struct ip_addr *ret)
{
	char text[IP_TEXT_MAX];

	if (w.len >= sizeof text)
		return false;
	memcpy(text, w.text, w.len);
	text[w.len] = 0;
	return strlen(text) == w.len && ip_addr_parse(text, ret) == 0;
}

/* The name under which the address is asked back (RFC 1035 3.5, RFC 3596 2.5). */
static void reverse_name(const struct ip_addr *a, struct dns_name *ret)
{
	char text[80];
	size_t n = 0;

	for (size_t i = ip_addr_size(a); i > 0; i--) {
		unsigned b = a->b[i - 1];

		if (a->family == IP_V4)
			n += (size_t)snprintf(text + n, sizeof text - n, "%u.", b);
		else
			n += (size_t)snprintf(text + n, sizeof text - n, "%x.%x.", b & 15, b >> 4);
	}
	n += (size_t)snprintf(
		text + n, sizeof text - n, "%s", a->family == IP_V4 ? "in-addr.arpa" : "ip6.arpa");
	(void)dns_name_parse(text, n, ret); /* it is one */
}

static int address_add(
	struct records_reading *r, const struct dns_name *name, const struct ip_addr *a)
{
	struct record_parsed record = {
		.name = name->b,
		.name_len = name->len,
		.type = a->family == IP_V4 ? DNS_A : DNS_AAAA,
		.ttl_s = r->ttl_s,
		.rdata = a->b,
		.len = (uint16_t)ip_addr_size(a),
	};

	return records_add(r, &record);
}

/* 0.0.0.0 and :: are nobody's. */
static int reverse_add(
	struct records_reading *r, const struct dns_name *name, const struct ip_addr *a)
{
	static const struct ip_addr any4 = {.family = IP_V4}, any6 = {.family = IP_V6};
	struct dns_name reverse;
	struct record_parsed record = {
		.type = DNS_PTR,
		.ttl_s = r->ttl_s,
		.rdata = name->b,
		.len = name->len,
		.weak = true,
	};

	if (ip_addr_equal(a, &any4) || ip_addr_equal(a, &any6))
		return 0;
	reverse_name(a, &reverse);
	record.name = reverse.b;
	record.name_len = reverse.len;
	return records_add(r, &record);
}

static int line_read(struct records_reading *r, const char *text, size_t len)
{
	const char *comment = memchr(text, '#', len);
	bool first = true;
	struct ip_addr a;
	struct word w;
	size_t at = 0;
	int err = 0;

	if (comment)
		len = (size_t)(comment - text);
	if (!word_next(text, len, &at, &w))
		return 0;
	r->column = (unsigned)(at - w.len + 1);
	if (!word_address(w, &a)) {
		records_bad(r, NULL, "not an address; allowed: " LINE_ALLOWED);
		return 0;
	}
	while (!err && word_next(text, len, &at, &w)) {
		struct dns_name name;

		r->column = (unsigned)(at - w.len + 1);
		if (dns_name_parse(w.text, w.len, &name) || name.labels == 0) {
			records_bad(r, NULL, "not a domain name; allowed: " LINE_ALLOWED);
			return 0;
		}
		err = address_add(r, &name, &a);
		if (!err && first)
			err = reverse_add(r, &name, &a);
		first = false;
	}
	if (first && !err)
		records_bad(r, NULL, "an address without a name; allowed: " LINE_ALLOWED);
	return err;
}

int records_hosts_read(struct records_reading *r, const char *text, size_t len)
{
	int err = 0;

	r->element = NULL;
	r->index = RECORDS_NO_INDEX;
	for (r->line = 1; len > 0 && !err && !records_hopeless(r); r->line++) {
		const char *newline = memchr(text, '\n', len);
		size_t line = newline ? (size_t)(newline - text) : len;

		err = line_read(r, text, line);
		text += line + (newline != NULL);
		len -= line + (newline != NULL);
	}
	return err;
}
