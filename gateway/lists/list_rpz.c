/* Response policy zones (draft-vixie-dnsop-dns-rpz-00) in the form of master files (RFC 1035 5).
 *
 * What is asked about is held by its name, whatever the zone would answer (NXDOMAIN, NODATA, drop,
 * TCP only, data of its own); rpz-passthru, or a CNAME to the name itself as older zones write it,
 * is the exception of names that are closer. "*.x" is all below x. A trigger by an address in the
 * answer (rpz-ip) gives the prefix; those by client, by name server or its address are unused.
 *
 * Names are taken without the zone's own: it is the owner of the SOA, before that the first
 * $ORIGIN; with neither, owners stand for themselves. A record's class and TTL mean nothing here.
 * $INCLUDE and $GENERATE are not read. */
#include <ctype.h>
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "gateway/lists/lists_internal.h"

#define PIECE_BYTES 16384

/* A record: its text without comments, in one line. */
struct zone {
	struct list_reader *r;
	struct dns_name origin, apex, owner;
	bool has_apex, has_soa, has_owner;
	/* Where the text is. */
	unsigned line;	    /* being read */
	unsigned open_line; /* of the last parenthesis that opened a record, */
	size_t open_column; /* and its place */
	unsigned depth;	    /* of parentheses; more than one is an error that others forgive */
	size_t column;
	bool quoted, escaped, comment;
	bool too_long;
	unsigned record_line;
	size_t len;
	char text[LIST_LINE_MAX + 1];
};

/* Words of a record; a quoted one is marked by its quotes. */
struct words {
	const char *at, *end;
};

static const char *word_next(struct words *w, size_t *ret_len)
{
	const char *word;
	bool quoted = false;

	while (w->at < w->end && list_is_blank(*w->at))
		w->at++;
	for (word = w->at; w->at < w->end && (quoted || !list_is_blank(*w->at)); w->at++) {
		if (*w->at == '\\' && w->at + 1 < w->end)
			w->at++;
		else if (*w->at == '"')
			quoted = !quoted;
	}
	*ret_len = (size_t)(w->at - word);
	return word;
}

/* --- names --- */

/* The last dot is no part of a label. */
static bool is_absolute(const char *text, size_t len)
{
	size_t escapes = 0;

	if (len == 0 || text[len - 1] != '.')
		return false;
	while (escapes + 1 < len && text[len - 2 - escapes] == '\\')
		escapes++;
	return escapes % 2 == 0;
}

/* A name of the file: one without a dot at its end is relative to the origin. */
static int name_read(const struct zone *z, const char *text, size_t len, struct dns_name *ret)
{
	struct dns_name name, whole;
	size_t room;

	if (len == 1 && text[0] == '@') {
		*ret = z->origin;
		return 0;
	}
	if (dns_name_parse(text, len, &name))
		return -EINVAL;
	if (is_absolute(text, len) || z->origin.len <= 1) {
		*ret = name;
		return 0;
	}
	room = (size_t)name.len - 1 + z->origin.len;
	if (room > DNS_NAME_MAX)
		return -EINVAL;
	whole = (struct dns_name){
		.len = (uint8_t)room, .labels = (uint8_t)(name.labels + z->origin.labels)};
	memcpy(whole.b, name.b, name.len - 1u);
	memcpy(whole.b + name.len - 1, z->origin.b, z->origin.len);
	*ret = whole; /* which may be the origin itself */
	return 0;
}

/* The first `labels` labels of a name. */
static struct dns_name name_front(const struct dns_name *name, unsigned labels)
{
	struct dns_name front = {.labels = (uint8_t)labels};
	unsigned at = 0;

	while (labels--)
		at += name->b[at] + 1u;
	memcpy(front.b, name->b, at);
	front.len = (uint8_t)(at + 1);
	return front;
}

/* Without its first label. */
static struct dns_name name_behind(const struct dns_name *name)
{
	struct dns_name rest = {.labels = (uint8_t)(name->labels - 1)};
	unsigned at = name->b[0] + 1u;

	rest.len = (uint8_t)(name->len - at);
	memcpy(rest.b, name->b + at, rest.len);
	return rest;
}

static bool label_is(const uint8_t *label, const char *text)
{
	return label[0] == strlen(text) && memcmp(label + 1, text, label[0]) == 0;
}

/* --- triggers --- */

/* A byte of IPv4, a group of IPv6, or "zz" for "::". */
static bool is_group(const uint8_t *label)
{
	for (unsigned i = 1; i <= label[0]; i++)
		if (!isxdigit(label[i]))
			return label_is(label, "zz");
	return label[0] <= 4;
}

/* The prefix length in the first label. */
static unsigned bits_read(const uint8_t *label)
{
	unsigned bits = 0;

	for (unsigned i = 1; i <= label[0]; i++) {
		if (!isdigit(label[i]) || i > 3)
			return UINT_MAX;
		bits = bits * 10 + (label[i] - '0');
	}
	return bits;
}

/* "24.0.2.0.192": the length, then the address from its end; of IPv6 its groups. */
static int address_read(const struct dns_name *name, struct ip_prefix *ret)
{
	const uint8_t *labels[DNS_NAME_MAX / 2];
	char text[IP_TEXT_MAX] = "";
	bool good = name->labels <= 9, v4 = name->labels == 5;
	size_t n = 0, len = 0;

	for (const uint8_t *l = name->b; good && *l; l += *l + 1) {
		good = n == 0 || is_group(l);
		v4 = v4 && !label_is(l, "zz");
		labels[n++] = l;
	}
	if (!good || n < 3 || bits_read(labels[0]) > (v4 ? 32 : 128))
		return -EINVAL;
	while (--n > 0) {
		bool zeros = label_is(labels[n], "zz");

		/* "::" brings a colon with it on either side. */
		if (len > 0 && text[len - 1] != ':' && !zeros)
			text[len++] = v4 ? '.' : ':';
		memcpy(text + len, zeros ? (const uint8_t *)"::" : labels[n] + 1, labels[n][0]);
		len += labels[n][0];
	}
	len += (size_t)snprintf(text + len, sizeof text - len, "/%u", bits_read(labels[0]));
	return list_prefix_parse(text, len, ret);
}

static int address_trigger(struct list_reader *r, const struct dns_name *name)
{
	struct ip_prefix prefix;

	if (address_read(name, &prefix) == 0)
		return list_emit_prefix(r, &prefix);
	list_bad(r, 1, "not an address of rpz-ip");
	return 0;
}

static int name_trigger(struct zone *z, const struct dns_name *name, bool passes)
{
	enum list_part part = passes ? LIST_EXCEPT_CLOSER : LIST_HOLDS;
	struct dns_name below;

	if (!label_is(name->b, "*"))
		return list_emit_dns_name(z->r, part, MATCHER_EXACT, name);
	below = name_behind(name);
	return list_emit_dns_name(z->r, part, MATCHER_BELOW, &below);
}

/* A record that is a policy; name: its owner without the zone's. */
static int policy_read(struct zone *z, const struct dns_name *name, bool passes)
{
	struct dns_name front = name_front(name, name->labels - 1u);
	const uint8_t *last = name->b + front.len - 1;

	if (label_is(last, "rpz-ip") && !passes)
		return address_trigger(z->r, &front);
	if (label_is(last, "rpz-ip") || label_is(last, "rpz-client-ip") ||
		label_is(last, "rpz-nsip") || label_is(last, "rpz-nsdname")) {
		list_unused(z->r);
		return 0;
	}
	return name_trigger(z, name, passes);
}

/* --- records --- */

static bool is_ttl(const char *text, size_t len)
{
	for (size_t i = 0; i < len; i++)
		if ((text[i] < '0' || text[i] > '9') && (i == 0 || !strchr("smhdwSMHDW", text[i])))
			return false;
	return len > 0;
}

static bool is_class(const char *text, size_t len)
{
	return list_word_is(text, len, "in") || list_word_is(text, len, "ch") ||
	       list_word_is(text, len, "hs") || list_word_is(text, len, "any") ||
	       (len > 5 && list_word_is(text, 5, "class"));
}

/* Of the zone itself, and of DNSSEC, which says nothing about policies. */
static bool is_of_the_zone(const char *type, size_t len)
{
	static const char *const types[] = {"soa", "ns", "rrsig", "nsec", "nsec3", "nsec3param",
		"dnskey", "ds", "cds", "cdnskey", "zonemd"};

	for (size_t i = 0; i < sizeof types / sizeof types[0]; i++)
		if (list_word_is(type, len, types[i]))
			return true;
	return false;
}

static bool is_type(const char *text, size_t len)
{
	for (size_t i = 0; i < len; i++)
		if (!((text[i] >= 'a' && text[i] <= 'z') || (text[i] >= 'A' && text[i] <= 'Z') ||
			    (i > 0 && ((text[i] >= '0' && text[i] <= '9') || text[i] == '-'))))
			return false;
	return len > 0;
}

/* Does the record say that the name is let through? */
static bool is_passthru(const struct zone *z, const struct dns_name *name, const char *type,
	size_t type_len, struct words *w)
{
	struct dns_name target;
	size_t len;
	const char *text;

	if (!list_word_is(type, type_len, "cname"))
		return false;
	text = word_next(w, &len);
	if (name_read(z, text, len, &target))
		return false;
	return (target.labels == 1 && label_is(target.b, "rpz-passthru")) ||
	       (target.labels > 0 && dns_name_equal(&target, name));
}

static int record_read(struct zone *z, const char *type, size_t type_len, struct words *w)
{
	struct dns_name name = z->owner;

	if (list_word_is(type, type_len, "soa") && !z->has_soa) {
		z->apex = z->owner;
		z->has_apex = z->has_soa = true;
	}
	if (is_of_the_zone(type, type_len)) {
		list_passed(z->r);
		return 0;
	}
	if (z->has_apex) {
		if (!dns_name_is_below(&name, &z->apex)) {
			list_bad(z->r, 1, "not a name of this zone");
			return 0;
		}
		name = name_front(&name, (unsigned)name.labels - z->apex.labels);
	}
	if (name.labels == 0) {
		list_unused(z->r); /* of the zone's own name */
		return 0;
	}
	return policy_read(z, &name, is_passthru(z, &name, type, type_len, w));
}

/* $ORIGIN, $TTL, $INCLUDE, $GENERATE. */
static int directive_read(struct zone *z, const char *word, size_t len, struct words *w)
{
	size_t n;
	const char *value = word_next(w, &n);

	if (list_word_is(word, len, "$ttl")) {
		list_passed(z->r);
	} else if (!list_word_is(word, len, "$origin")) {
		list_bad(z->r, 1, "not a directive that is read here");
	} else if (name_read(z, value, n, &z->origin)) {
		list_bad_at(z->r, value, "not a domain name");
	} else {
		if (!z->has_apex)
			z->apex = z->origin;
		z->has_apex = true;
		list_passed(z->r);
	}
	return 0;
}

static int text_read(struct zone *z)
{
	struct words w = {.at = z->text, .end = z->text + z->len};
	bool blank = z->len > 0 && list_is_blank(z->text[0]);
	const char *word;
	size_t len;

	if (!blank) {
		word = word_next(&w, &len);
		if (word[0] == '$')
			return directive_read(z, word, len, &w);
		z->has_owner = name_read(z, word, len, &z->owner) == 0;
		if (!z->has_owner) {
			list_bad_at(z->r, word, "not a domain name");
			return 0;
		}
	}
	do {
		word = word_next(&w, &len);
	} while (is_ttl(word, len) || is_class(word, len));
	if (!is_type(word, len))
		list_bad_at(z->r, word, "no type: NAME [TTL] [CLASS] TYPE DATA");
	else if (!z->has_owner)
		list_bad(z->r, 1, "the owner of the record before, of which there is none");
	else
		return record_read(z, word, len, &w);
	return 0;
}

/* --- text --- */

static int record_end(struct zone *z)
{
	size_t start = 0, len = z->len;
	int err = 0;

	while (len > 0 && list_is_blank(z->text[len - 1]))
		len--;
	while (start < len && list_is_blank(z->text[start]))
		start++;
	if (start < len || z->too_long) {
		z->r->line = z->record_line;
		z->r->text = z->text + start;
		z->r->text_len = z->too_long ? 0 : len - start;
		z->r->indent = start;
		list_item_begin(z->r);
		if (z->too_long)
			list_bad(z->r, 1, "a record above 64 KiB");
		else
			err = text_read(z);
		list_item_end(z->r);
		z->r->text = "";
		z->r->text_len = z->r->indent = 0;
	}
	z->len = 0;
	z->too_long = false;
	return err;
}

static void byte_keep(struct zone *z, char c)
{
	if (z->len == 0)
		z->record_line = z->line;
	if (z->len < LIST_LINE_MAX)
		z->text[z->len++] = c;
	else
		z->too_long = true;
}

static int newline_take(struct zone *z)
{
	int err = 0;

	/* A quoted text ends with its line: what follows must not be swallowed. */
	z->quoted = z->escaped = z->comment = false;
	if (z->depth > 0)
		byte_keep(z, ' ');
	else
		err = record_end(z);
	z->line++;
	z->column = 0;
	return err;
}

static int byte_take(struct zone *z, char c)
{
	z->column++;
	if (c == 0)
		return list_broken(z->r, z->line, z->column,
			"a NUL byte: this is not a text file; allowed: %s",
			list_format_allows(z->r->format));
	if (c == '\n')
		return newline_take(z);
	if (z->comment || c == '\r')
		return 0;
	if (z->escaped || c == '\\') {
		z->escaped = !z->escaped;
		byte_keep(z, c);
		return 0;
	}
	if (c == '"')
		z->quoted = !z->quoted;
	if (z->quoted || !strchr(";()", c)) {
		byte_keep(z, c);
		return 0;
	}
	if (c == ';') {
		z->comment = true;
		return 0;
	}
	byte_keep(z, ' ');
	if (c == '(' && z->depth++ == 0) {
		z->open_line = z->line;
		z->open_column = z->column;
	} else if (c == ')') {
		if (z->depth == 0)
			return list_broken(z->r, z->line, z->column, "')' without '('; allowed: %s",
				list_format_allows(z->r->format));
		z->depth--;
	}
	return 0;
}

static int zone_read(struct zone *z, struct list_bytes *in)
{
	char piece[PIECE_BYTES];
	const uint8_t *head;
	size_t len;
	int err = list_bytes_peek(in, 3, &head, &len);

	if (!err && len == 3 && memcmp(head, "\xef\xbb\xbf", 3) == 0)
		err = list_bytes_skip(in, 3);
	while (!err) {
		ssize_t n = list_bytes_read(in, piece, sizeof piece);

		if (n < 0)
			return (int)n;
		if (n == 0)
			break;
		for (ssize_t i = 0; i < n && !err; i++)
			err = byte_take(z, piece[i]);
	}
	if (err)
		return err;
	if (z->depth > 0)
		return list_broken(z->r, z->open_line, z->open_column,
			"'(' is not closed; allowed: %s", list_format_allows(z->r->format));
	return record_end(z);
}

int list_rpz_pull(struct list_reader *r, struct list_bytes *in)
{
	struct zone *z = malloc(sizeof *z);
	int err;

	if (!z)
		return -ENOMEM;
	memset(z, 0, offsetof(struct zone, text));
	z->r = r;
	z->line = 1;
	z->origin.len = 1; /* the root */
	err = zone_read(z, in);
	free(z);
	return err;
}
