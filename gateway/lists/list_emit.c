/* What a line becomes: entries, complaints and counts. */
#include "gateway/lists/lists_internal.h"

#include <arpa/inet.h>
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "gateway/lists/list_pattern.h"

#define MAPPED_BITS 96 /* before the IPv4 address in a v4-mapped one (RFC 4291 2.5.5.2) */

const char *list_format_name(enum list_format f)
{
	static const char *const names[LIST_FORMATS] = {"auto", "plain", "v2fly", "geosite",
		"geoip", "dnsmasq", "hosts", "adblock", "gfwlist", "clash", "mrs", "srs", "singbox",
		"smartdns", "rpz", "cidr", "compiled"};

	return names[f];
}

const char *list_format_allows(enum list_format f)
{
	static const char plain[] = "one domain name, address or prefix a line, 'full:' 'domain:' "
				    "'keyword:' 'regexp:' before it, '#' comments";
	static const char singbox[] =
		"domain domain_suffix domain_keyword domain_regex ip_cidr, in "
		"rules with a mode if they are logical";
	static const char *const allows[LIST_FORMATS] = {
		[LIST_PLAIN] = plain,
		[LIST_V2FLY] = "TYPE:VALUE or include:FILE, with @ATTRIBUTE, '#' comments",
		[LIST_GEOSITE] = "domains, full names, keywords and expressions",
		[LIST_GEOIP] = "addresses of 4 or 16 bytes, each with a length in bits",
		[LIST_DNSMASQ] = "lines of a dnsmasq configuration",
		[LIST_HOSTS] = "ADDRESS NAME.., '#' comments",
		[LIST_ADBLOCK] = "AdBlock rules, '!' comments",
		[LIST_GFWLIST] = "AutoProxy rules, base64",
		[LIST_CLASH] = "a domain, address or classical rule a line, or YAML with 'payload'",
		[LIST_MRS] = "NAME +.NAME .NAME, '*' for a label, ranges of addresses",
		[LIST_SRS] = "what a DNS rule of sing-box takes",
		[LIST_SINGBOX] = singbox,
		[LIST_SMARTDNS] = "lines of a SmartDNS configuration, or of its domain sets",
		[LIST_RPZ] = "records of a zone",
		[LIST_CIDR] = "one address, range or prefix a line, '#' comments",
	};

	return allows[f] ? allows[f] : list_format_name(f);
}

/* --- complaints --- */

static void complain(const struct list_reader *r, unsigned line, size_t column, bool is_error,
	const char *mark, const char *what)
{
	char text[LIST_COMPLAIN_MAX];

	if (!r->sink->complain)
		return;
	/* What is too long is cut. */
	if (snprintf(text, sizeof text, "%s:%u:%zu: %s%s: %s", r->path, line ? line : 1, column,
		    mark, r->source->key, what) >= 0)
		r->sink->complain(r->sink->arg, is_error, text);
}

int list_broken(struct list_reader *r, unsigned line, size_t column, const char *format, ...)
{
	char what[LIST_COMPLAIN_MAX];
	va_list args;

	r->broken = true;
	va_start(args, format);
	(void)vsnprintf(what, sizeof what, format, args);
	va_end(args);
	complain(r, line, column, true, "", what);
	return -EBADMSG;
}

void list_bad(struct list_reader *r, size_t column, const char *what)
{
	char text[512];

	if (r->failed)
		return;
	r->failed = true;
	if (r->own.skipped >= LIST_TOLD_MAX)
		return;
	(void)snprintf(text, sizeof text, "%s; allowed: %s", what, list_format_allows(r->format));
	complain(r, r->line, r->indent + column, false, "warning: ", text);
}

static size_t column_of(const struct list_reader *r, const char *at)
{
	uintptr_t text = (uintptr_t)r->text, place = (uintptr_t)at;

	return r->text && place >= text && place - text <= r->text_len ? place - text + 1 : 1;
}

void list_bad_at(struct list_reader *r, const char *at, const char *what)
{
	list_bad(r, column_of(r, at), what);
}

void list_unused(struct list_reader *r)
{
	r->unused = true;
}

void list_passed(struct list_reader *r)
{
	r->passed = true;
}

/* --- counts --- */

void list_item_begin(struct list_reader *r)
{
	r->gave = r->failed = r->unused = r->passed = false;
}

void list_item_end(struct list_reader *r)
{
	bool unused = r->unused && !r->gave && !r->failed;

	r->own.lines++;
	r->own.entries += r->gave;
	r->own.skipped += r->failed;
	r->own.unused += unused;
	r->counts->lines++;
	r->counts->entries += r->gave;
	r->counts->skipped += r->failed;
	r->counts->unused += unused;
	r->read += r->gave || r->passed || unused;
}

int list_file_end(struct list_reader *r)
{
	const struct list_counts *c = &r->own;
	char note[80];

	if (c->skipped > LIST_TOLD_MAX) {
		(void)snprintf(note, sizeof note,
			"%u lines skipped in all, the first %d are told above", c->skipped,
			LIST_TOLD_MAX);
		complain(r, r->line, 1, false, "note: ", note);
	}
	if (c->skipped <= r->read)
		return 0;
	return list_broken(r, 1, 1, "%u of %u lines cannot be read; allowed: %s", c->skipped,
		c->skipped + r->read, list_format_allows(r->format));
}

/* --- entries --- */

static int emit(struct list_reader *r, struct list_entry *entry, const char *at)
{
	const char *why = NULL;
	int err;

	entry->path = r->path;
	entry->text = r->text ? r->text : "";
	entry->text_len = r->text ? r->text_len : 0;
	entry->line = r->line;
	err = r->sink->entry(r->sink->arg, entry, &why);
	if (err == -EINVAL && why) {
		list_bad_at(r, at, why);
		return 0;
	}
	if (!err)
		r->gave = true;
	return err;
}

/* Names need not be host names (RFC 2181 11): '_', a leading '-' and labels of digits occur.
 * Everything else is a sign of another format, and taking it would make an entry that no question
 * can ever meet. */
static inline bool is_name_byte(char c)
{
	return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
	       c == '-' || c == '_' || c == '.' || c == '\\';
}

static const char *name_fault(const char *text, size_t len, size_t *ret_at)
{
	*ret_at = 0;
	for (size_t i = 0; i < len; i++) {
		if (is_name_byte(text[i]) || (i > 0 && text[i - 1] == '\\'))
			continue;
		*ret_at = i;
		if (list_is_blank(text[i]))
			return "more than one word";
		return (unsigned char)text[i] >= 0x80
			       ? "not ASCII: a name is written in its xn-- form"
			       : "not a domain name: this character is not part of one";
	}
	return NULL;
}

int list_emit_name(struct list_reader *r, enum list_part part, enum matcher_kind kind,
	const char *text, size_t len)
{
	struct dns_name name;
	size_t at;
	const char *fault = name_fault(text, len, &at);

	if (!fault && dns_name_parse(text, len, &name))
		fault = "not a domain name: an empty label, one above 63 bytes, or above 255 bytes "
			"in all";
	if (fault) {
		list_bad_at(r, text + at, fault);
		return 0;
	}
	return list_emit_dns_name(r, part, kind, &name);
}

int list_emit_dns_name(struct list_reader *r, enum list_part part, enum matcher_kind kind,
	const struct dns_name *name)
{
	struct list_entry entry = {.is = LIST_ENTRY_NAME, .part = part, .kind = kind, .name = name};

	return emit(r, &entry, r->text);
}

int list_emit_keyword(struct list_reader *r, enum list_part part, const char *text, size_t len)
{
	struct list_entry entry = {
		.is = LIST_ENTRY_KEYWORD, .part = part, .pattern = text, .pattern_len = len};

	if (len == 0) {
		list_bad_at(r, text, "a keyword without text");
		return 0;
	}
	return emit(r, &entry, text);
}

int list_emit_regexp(struct list_reader *r, enum list_part part, const char *text, size_t len)
{
	struct list_entry entry = {
		.is = LIST_ENTRY_REGEXP, .part = part, .pattern = text, .pattern_len = len};

	if (len == 0) {
		list_bad_at(r, text, "an expression without text");
		return 0;
	}
	return emit(r, &entry, text);
}

int list_emit_ending(struct list_reader *r, enum list_part part, const char *text, size_t len)
{
	struct list_pattern p;

	list_pattern_init(&p);
	list_pattern_add_text(&p, text, len, NULL, NULL);
	list_pattern_add(&p, "$");
	if (p.full) {
		list_bad_at(r, text, "not the end of a domain name: too long");
		return 0;
	}
	return list_emit_regexp(r, part, p.b, p.len);
}

int list_emit_prefix(struct list_reader *r, const struct ip_prefix *prefix)
{
	struct list_entry entry = {.is = LIST_ENTRY_PREFIX, .part = LIST_HOLDS, .prefix = prefix};

	return emit(r, &entry, r->text);
}

/* --- prefixes --- */

/* Clears the bits behind len; true if there were any. */
static bool mask(uint8_t *bytes, size_t size, unsigned len)
{
	uint8_t cleared = 0;

	for (size_t i = len / 8; i < size; i++) {
		uint8_t keep = 0;

		if (i == len / 8)
			keep = (uint8_t)(0xff00 >> len % 8);
		cleared = (uint8_t)(cleared | (bytes[i] & ~keep));
		bytes[i] &= keep;
	}
	return cleared != 0;
}

static int length_parse(const char *text, unsigned max, unsigned *ret)
{
	unsigned n = 0, digits = 0;

	for (; *text >= '0' && *text <= '9' && digits < 4; text++, digits++)
		n = n * 10 + (unsigned)(*text - '0');
	*ret = n;
	return digits == 0 || *text || n > max ? -EDOM : 0;
}

int list_prefix_parse_strict(const char *text, size_t len, struct ip_prefix *ret)
{
	static const uint8_t mapped[12] = {[10] = 0xff, [11] = 0xff};
	char copy[IP_TEXT_MAX];
	uint8_t bytes[16];
	unsigned bits;
	size_t size;
	char *slash;
	bool more;
	int err = 0;

	if (len >= sizeof copy || memchr(text, 0, len))
		return -EINVAL;
	memcpy(copy, text, len);
	copy[len] = 0;
	slash = memchr(copy, '/', len);
	if (slash)
		*slash = 0;
	if (inet_pton(AF_INET, copy, bytes) == 1)
		size = 4;
	else if (inet_pton(AF_INET6, copy, bytes) == 1)
		size = 16;
	else
		return -EINVAL;
	bits = (unsigned)size * 8;
	if (slash)
		err = length_parse(slash + 1, bits, &bits);
	if (err)
		return err;
	/* A length above that of the mapped block itself is one of the IPv4 address. */
	if (size == 16 && bits >= MAPPED_BITS && memcmp(bytes, mapped, sizeof mapped) == 0) {
		memmove(bytes, bytes + 12, 4);
		size = 4;
		bits -= MAPPED_BITS;
	}
	more = mask(bytes, size, bits);
	ret->addr = ip_addr_of(bytes, size);
	ret->len = (uint8_t)bits;
	return more ? -ERANGE : 0;
}

int list_prefix_parse(const char *text, size_t len, struct ip_prefix *ret)
{
	int err = list_prefix_parse_strict(text, len, ret);

	return !err || err == -ERANGE ? 0 : -EINVAL;
}
