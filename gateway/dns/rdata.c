/* The data of records: from text, and looked through. Which fields the data of a type has is one
 * line of a table; each kind of field is a function. */
#include "gateway/dns/record.h"

#include <arpa/inet.h>
#include <errno.h>

#include "gateway/dns/rdata_internal.h"

#define STRING_MAX  255 /* RFC 1035 3.3 */
#define CAA_TAG_MAX 15	/* RFC 8659 4.1.1 */

enum field {
	FIELD_END,
	FIELD_IPV4,
	FIELD_IPV6,
	FIELD_NAME,
	FIELD_U8,
	FIELD_U16,
	FIELD_U32,
	FIELD_TAG,     /* of a CAA */
	FIELD_VALUE,   /* one string without a length, the data's last */
	FIELD_STRINGS, /* all that follows */
	FIELD_PARAMS,  /* all that follows; the first field is the priority */
};

#define FIELDS_MAX 8

static const struct form {
	uint16_t type;
	uint8_t fields[FIELDS_MAX];
	const char *text;
} forms[] = {
	{DNS_A, {FIELD_IPV4}, "an IPv4 address"},
	{DNS_AAAA, {FIELD_IPV6}, "an IPv6 address"},
	{DNS_CNAME, {FIELD_NAME}, "a name"},
	{DNS_NS, {FIELD_NAME}, "a name"},
	{DNS_PTR, {FIELD_NAME}, "a name"},
	{DNS_DNAME, {FIELD_NAME}, "a name"},
	{DNS_MX, {FIELD_U16, FIELD_NAME}, "PREFERENCE EXCHANGE"},
	{DNS_SRV, {FIELD_U16, FIELD_U16, FIELD_U16, FIELD_NAME}, "PRIORITY WEIGHT PORT TARGET"},
	{DNS_SOA, {FIELD_NAME, FIELD_NAME, FIELD_U32, FIELD_U32, FIELD_U32, FIELD_U32, FIELD_U32},
		"MNAME RNAME SERIAL REFRESH RETRY EXPIRE MINIMUM"},
	{DNS_TXT, {FIELD_STRINGS}, "a text, or several in quotes"},
	{DNS_CAA, {FIELD_U8, FIELD_TAG, FIELD_VALUE}, "FLAGS TAG \"VALUE\""},
	{DNS_SVCB, {FIELD_U16, FIELD_NAME, FIELD_PARAMS}, "PRIORITY TARGET KEY=VALUE…"},
	{DNS_HTTPS, {FIELD_U16, FIELD_NAME, FIELD_PARAMS}, "PRIORITY TARGET KEY=VALUE…"},
};

static const struct form *form_of(uint16_t type)
{
	for (size_t i = 0; i < sizeof forms / sizeof *forms; i++) {
		if (forms[i].type == type)
			return &forms[i];
	}
	return NULL;
}

const char *dns_rdata_form(uint16_t type)
{
	const struct form *form = form_of(type);

	return form ? form->text : "\\# LENGTH HEX";
}

/* --- bytes --- */

void rdata_put(struct rdata *d, const void *bytes, size_t size)
{
	if (d->full || size > d->size - d->n) {
		d->full = true;
		return;
	}
	if (size)
		memcpy(d->b + d->n, bytes, size);
	d->n += size;
}

void rdata_put8(struct rdata *d, unsigned v)
{
	uint8_t b = (uint8_t)v;

	rdata_put(d, &b, 1);
}

void rdata_put16(struct rdata *d, unsigned v)
{
	uint8_t b[2];

	wire_put16(b, v);
	rdata_put(d, b, sizeof b);
}

void rdata_bad(struct rdata *d, const char *why)
{
	if (!d->why)
		d->why = why;
}

/* --- words --- */

static bool is_blank(char c)
{
	return c == ' ' || c == '\t' || c == '\n' || c == '\r';
}

static void skip_blanks(struct rdata_text *rest)
{
	while (rest->len > 0 && is_blank(*rest->s)) {
		rest->s++;
		rest->len--;
	}
}

/* Takes the quotes off a text that is all in them. */
static void unquote(struct rdata_text *w)
{
	if (w->len < 2 || w->s[0] != '"')
		return;
	w->quoted = true;
	w->s++;
	w->len -= 2;
}

bool rdata_word(struct rdata *d, struct rdata_text *rest, struct rdata_text *ret)
{
	bool open = false;
	size_t n = 0;

	skip_blanks(rest);
	if (rest->len == 0)
		return false;
	while (n < rest->len && (open || !is_blank(rest->s[n]))) {
		bool begins = n == 0 || rest->s[n - 1] == '=';

		if (rest->s[n] == '\\' && n + 1 < rest->len) {
			n += 2;
			continue;
		}
		if (rest->s[n++] != '"')
			continue;
		if (!open && !begins) {
			rdata_bad(d, "a quote within a word");
			return false;
		}
		open = !open;
		if (!open && n < rest->len && !is_blank(rest->s[n])) {
			rdata_bad(d, "no blank behind a quote");
			return false;
		}
	}
	if (open) {
		rdata_bad(d, "a quote is left open");
		return false;
	}
	*ret = (struct rdata_text){.s = rest->s, .len = n};
	rest->s += n;
	rest->len -= n;
	unquote(ret);
	return true;
}

bool rdata_byte(struct rdata *d, struct rdata_text *rest, uint8_t *ret)
{
	unsigned value = 0, digits = 0;

	if (rest->len == 0 || d->why)
		return false;
	*ret = (uint8_t)*rest->s++;
	rest->len--;
	if (*ret != '\\')
		return true;
	while (digits < 3 && digits < rest->len && rest->s[digits] >= '0' && rest->s[digits] <= '9')
		value = value * 10 + (unsigned)(rest->s[digits++] - '0');
	if (rest->len == 0 || (digits > 0 && (digits < 3 || value > 255))) {
		rdata_bad(d, "not an escape; \\DDD is a byte in decimal");
		return false;
	}
	*ret = digits ? (uint8_t)value : (uint8_t)*rest->s;
	digits += digits == 0;
	rest->s += digits;
	rest->len -= digits;
	return true;
}

unsigned long rdata_number(
	struct rdata *d, const struct rdata_text *w, unsigned long max, const char *why)
{
	unsigned long value = 0;
	bool bad = w->len == 0 || w->len > 10;

	for (size_t i = 0; i < w->len && !bad; i++) {
		bad = w->s[i] < '0' || w->s[i] > '9';
		value = value * 10 + (unsigned long)(w->s[i] - '0');
	}
	if (!bad && value <= max)
		return value;
	rdata_bad(d, why);
	return 0;
}

/* --- fields --- */

static void read_address(struct rdata *d, const struct rdata_text *w, int family)
{
	char text[INET6_ADDRSTRLEN];
	uint8_t address[16];

	if (w->len < sizeof text) {
		memcpy(text, w->s, w->len);
		text[w->len] = 0;
		if (strlen(text) == w->len && inet_pton(family, text, address) == 1) {
			rdata_put(d, address, family == AF_INET ? 4 : 16);
			return;
		}
	}
	rdata_bad(d, family == AF_INET ? "not an IPv4 address" : "not an IPv6 address");
}

static void read_name(struct rdata *d, const struct rdata_text *w)
{
	struct dns_name name;

	if (dns_name_parse(w->s, w->len, &name))
		rdata_bad(d, "not a domain name");
	else
		rdata_put(d, name.b, name.len);
}

/* Strings are at most 255 bytes long; a longer text becomes several, which readers join (RFC 7208
 * 3.3). */
static void read_string(struct rdata *d, struct rdata_text text)
{
	size_t at = d->n, n = 0;
	uint8_t byte;

	rdata_put8(d, 0);
	while (rdata_byte(d, &text, &byte)) {
		if (n == STRING_MAX) {
			if (!d->full)
				d->b[at] = STRING_MAX;
			at = d->n;
			n = 0;
			rdata_put8(d, 0);
		}
		rdata_put8(d, byte);
		n++;
	}
	if (!d->full)
		d->b[at] = (uint8_t)n;
}

/* Quoted: as in a zone file. Else the whole is meant, blanks included: nobody who writes "v=spf1
 * -all" into JSON wants two strings. */
static void read_strings(struct rdata *d, struct rdata_text *rest)
{
	struct rdata_text w;

	skip_blanks(rest);
	if (rest->len == 0 || *rest->s != '"') {
		while (rest->len > 0 && is_blank(rest->s[rest->len - 1]))
			rest->len--;
		read_string(d, *rest);
		rest->len = 0;
		return;
	}
	while (!d->why && !d->full && rdata_word(d, rest, &w))
		read_string(d, w);
}

static void read_tag(struct rdata *d, const struct rdata_text *w)
{
	bool bad = w->len == 0 || w->len > CAA_TAG_MAX;

	for (size_t i = 0; i < w->len && !bad; i++) {
		char c = w->s[i];

		bad = !((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9'));
	}
	if (bad) {
		rdata_bad(d, "the tag is not 1 to 15 letters and digits");
		return;
	}
	rdata_put8(d, (unsigned)w->len);
	rdata_put(d, w->s, w->len);
}

static void read_value(struct rdata *d, struct rdata_text w)
{
	uint8_t byte;

	while (!d->full && rdata_byte(d, &w, &byte))
		rdata_put8(d, byte);
}

static void read_number(struct rdata *d, const struct rdata_text *w, enum field field)
{
	unsigned long v;

	switch (field) {
	case FIELD_U8:
		rdata_put8(d, (unsigned)rdata_number(d, w, 255, "not a number from 0 to 255"));
		break;
	case FIELD_U16:
		rdata_put16(d, (unsigned)rdata_number(d, w, 65535, "not a number from 0 to 65535"));
		break;
	default:
		v = rdata_number(d, w, UINT32_MAX, "not a number from 0 to 4294967295");
		rdata_put16(d, (unsigned)(v >> 16));
		rdata_put16(d, (unsigned)(v & 0xffff));
	}
}

static void read_field(struct rdata *d, enum field field, struct rdata_text *rest)
{
	struct rdata_text w;

	if (field == FIELD_STRINGS) {
		read_strings(d, rest);
		return;
	}
	if (field == FIELD_PARAMS) {
		rdata_svcb_params(d, rest, d->n >= 2 && wire_get16(d->b) == 0);
		return;
	}
	if (!rdata_word(d, rest, &w)) {
		rdata_bad(d, "something is missing at its end");
		return;
	}
	if (field == FIELD_IPV4 || field == FIELD_IPV6)
		read_address(d, &w, field == FIELD_IPV4 ? AF_INET : AF_INET6);
	else if (field == FIELD_NAME)
		read_name(d, &w);
	else if (field == FIELD_TAG)
		read_tag(d, &w);
	else if (field == FIELD_VALUE)
		read_value(d, w);
	else
		read_number(d, &w, field);
}

static void read_form(struct rdata *d, const struct form *form, struct rdata_text *rest)
{
	for (size_t i = 0; form->fields[i] != FIELD_END && !d->why && !d->full; i++)
		read_field(d, form->fields[i], rest);
	skip_blanks(rest);
	if (rest->len > 0 && !d->full)
		rdata_bad(d, "there is more than the data of this type has");
}

/* --- unknown ones: \# LENGTH HEX (RFC 3597 5) --- */

static int hex_digit(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	c |= 0x20;
	return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

static void read_hex(struct rdata *d, const struct rdata_text *w)
{
	if (w->len % 2) {
		rdata_bad(d, "an odd number of hexadecimal digits");
		return;
	}
	for (size_t i = 0; i < w->len && !d->full; i += 2) {
		int high = hex_digit(w->s[i]), low = hex_digit(w->s[i + 1]);

		if (high < 0 || low < 0) {
			rdata_bad(d, "not hexadecimal digits");
			return;
		}
		rdata_put8(d, (unsigned)(high << 4 | low));
	}
}

/* The names in data that is known are in lower case like those that were read from text. */
static void lower_names(uint16_t type, uint8_t *rdata, size_t len)
{
	struct dns_record rec = {.type = type, .class = DNS_CLASS_IN, .end = len};
	size_t at[DNS_RECORD_NAMES];
	int n = dns_record_names(rdata, &rec, at);

	for (int i = 1; i < n; i++) {
		struct dns_name name;
		size_t off = at[i];

		if (dns_name_read(rdata, len, &off, &name) == 0)
			memcpy(rdata + at[i], name.b, name.len);
	}
}

static void read_unknown(struct rdata *d, uint16_t type, struct rdata_text *rest)
{
	struct rdata_text w;
	unsigned long len;

	if (!rdata_word(d, rest, &w)) {
		rdata_bad(d, "no length behind \\#");
		return;
	}
	len = rdata_number(d, &w, DNS_RDATA_MAX, "the length is not a number from 0 to 65535");
	while (!d->why && !d->full && rdata_word(d, rest, &w))
		read_hex(d, &w);
	if (d->why || d->full)
		return;
	if (d->n != len)
		rdata_bad(d, "the length is not that of the digits");
	else if (dns_rdata_check(type, d->b, d->n))
		rdata_bad(d, "these bytes are no data of this type");
	else
		lower_names(type, d->b, d->n);
}

int dns_rdata_parse(uint16_t type, const char *text, size_t len, uint8_t *ret, size_t size,
	const char **ret_why)
{
	struct rdata d = {.b = ret, .size = size < DNS_RDATA_MAX ? size : DNS_RDATA_MAX};
	struct rdata_text rest = {.s = text, .len = len};
	const struct form *form = form_of(type);

	skip_blanks(&rest);
	if (type == 0 || type == DNS_OPT || (type >= 128 && type <= 255)) {
		rdata_bad(&d, "no record has this type"); /* RFC 6895 3.1 */
	} else if (rest.len >= 2 && memcmp(rest.s, "\\#", 2) == 0 &&
		   (rest.len == 2 || is_blank(rest.s[2]))) {
		rest.s += 2;
		rest.len -= 2;
		read_unknown(&d, type, &rest);
	} else if (form) {
		read_form(&d, form, &rest);
	} else {
		rdata_bad(&d, "data of this type can only be given as bytes");
	}
	if (!d.why && !d.full && dns_rdata_check(type, d.b, d.n))
		rdata_bad(&d, "the parts do not go together");
	if (d.why) {
		*ret_why = d.why;
		return -EINVAL;
	}
	return d.full ? -ENOSPC : (int)d.n;
}

/* --- checking --- */

/* 3.3.14: one string at least. */
static bool are_strings(const uint8_t *rdata, size_t len)
{
	size_t at = 0;

	while (at < len)
		at += rdata[at] + 1u;
	return len > 0 && at == len;
}

/* RFC 8659 4.1 */
static bool is_caa(const uint8_t *rdata, size_t len)
{
	return len >= 3 && rdata[1] > 0 && (size_t)rdata[1] + 2 <= len;
}

int dns_rdata_check(uint16_t type, const uint8_t *rdata, size_t len)
{
	struct dns_record rec = {.type = type, .class = DNS_CLASS_IN, .end = len};
	size_t at[DNS_RECORD_NAMES];
	int n;

	if (len > DNS_RDATA_MAX)
		return -EBADMSG;
	if (type == DNS_TXT)
		return are_strings(rdata, len) ? 0 : -EBADMSG;
	if (type == DNS_CAA)
		return is_caa(rdata, len) ? 0 : -EBADMSG;
	if (type == DNS_SVCB || type == DNS_HTTPS)
		return dns_svcb_check(rdata, len) ? 0 : -EBADMSG;
	n = dns_record_names(rdata, &rec, at);
	for (int i = 1; i < n; i++) {
		struct dns_name name;
		size_t off = at[i];

		/* Uncompressed: as long as what was read of it. */
		if (dns_name_read(rdata, len, &off, &name) || off - at[i] != name.len)
			return -EBADMSG;
	}
	return n < 0 ? n : 0;
}
