/* Telling formats by their content: binary ones by how they begin, texts by what their lines look
 * like. A line that can only be of one format counts for it; bare names, types before them and
 * addresses occur in several, and decide if nothing else does. */
#include "gateway/lists/lists_internal.h"

#include <string.h>
#include <strings.h>

enum look {
	LOOK_NOTHING, /* empty, or a comment */
	LOOK_OTHER,   /* of no format that we know */
	LOOK_NAME,
	LOOK_TYPED, /* full:x */
	LOOK_V2FLY,
	LOOK_PREFIX,
	LOOK_SET, /* dumps of ipset and nft */
	LOOK_DNSMASQ,
	LOOK_HOSTS,
	LOOK_ADBLOCK,
	LOOK_CLASH,
	LOOK_SMARTDNS,
	LOOK_RPZ,
	LOOKS
};

struct text {
	unsigned n[LOOKS];
	unsigned bangs;		 /* '!' comments */
	enum list_format header; /* the first line, or one that stands nowhere else, tells */
};

struct word {
	const char *at;
	size_t len;
};

/* --- binary files --- */

/* A length of protobuf's at *at; false: there is none. */
static bool varint_read(const uint8_t **at, const uint8_t *end, uint64_t *ret)
{
	*ret = 0;
	for (unsigned shift = 0; *at < end && shift < 64; shift += 7) {
		uint8_t byte = *(*at)++;

		*ret |= (uint64_t)(byte & 0x7f) << shift;
		if (!(byte & 0x80))
			return true;
	}
	return false;
}

/* GeoSiteList and GeoIPList begin with an entry (0x0a), which begins with its code (0x0a) and goes
 * on with a domain or network (0x12). A network begins with its address of 4 or 16 bytes. */
static enum list_format geo_detect(const uint8_t *at, size_t len)
{
	const uint8_t *end = at + len;
	uint64_t n;

	if (len < 8 || *at++ != 0x0a || !varint_read(&at, end, &n) || at == end || *at++ != 0x0a ||
		!varint_read(&at, end, &n) || n == 0 || n >= (uint64_t)(end - at))
		return LIST_AUTO;
	for (; n > 0; n--, at++)
		if (*at <= ' ' || *at >= 0x7f)
			return LIST_AUTO;
	if (*at++ != 0x12 || !varint_read(&at, end, &n) || end - at < 2)
		return LIST_AUTO;
	if (at[0] == 0x0a && (at[1] == 4 || at[1] == 16))
		return LIST_GEOIP;
	return at[0] == 0x08 || at[0] == 0x12 ? LIST_GEOSITE : LIST_AUTO;
}

static enum list_format binary_detect(const char *path, const uint8_t *head, size_t len)
{
	static const uint8_t zstd[] = {0x28, 0xb5, 0x2f, 0xfd}; /* RFC 8878 3.1.1 */
	const char *name = strrchr(path, '/');
	size_t path_len = strlen(path);
	enum list_format geo = geo_detect(head, len);

	name = name ? name + 1 : path;
	if (len >= IMAGE_MAGIC_SIZE && memcmp(head, IMAGE_MAGIC, IMAGE_MAGIC_SIZE) == 0)
		return LIST_COMPILED;
	if (len >= sizeof zstd && memcmp(head, zstd, sizeof zstd) == 0)
		return LIST_MRS;
	if (len >= 4 && memcmp(head, "SRS", 3) == 0 && head[3] < ' ')
		return LIST_SRS;
	/* A damaged one, or of a later version: the name has to do. */
	if (geo == LIST_AUTO && path_len > 4 && strcasecmp(path + path_len - 4, ".dat") == 0 &&
		memchr(head, 0, len))
		return strcasestr(name, "geoip") ? LIST_GEOIP : LIST_GEOSITE;
	return geo;
}

/* --- base64 --- */

static int base64_digit(char c)
{
	static const char digits[] =
		"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
	const char *at = c ? strchr(digits, c) : NULL;

	return at ? (int)(at - digits) : -1;
}

/* Does the text begin, decoded (RFC 4648 4), as AutoProxy lists do? */
static bool is_gfwlist(const char *text, size_t len)
{
	char decoded[16];
	size_t n = 0;

	for (size_t i = 0; i + 4 <= len && n + 3 <= sizeof decoded - 1; i += 4) {
		unsigned bits = 0;

		for (size_t k = 0; k < 4; k++) {
			int digit = base64_digit(text[i + k]);

			if (digit < 0)
				return false;
			bits = bits << 6 | (unsigned)digit;
		}
		decoded[n++] = (char)(bits >> 16);
		decoded[n++] = (char)(bits >> 8);
		decoded[n++] = (char)bits;
	}
	decoded[n] = 0;
	return strncmp(decoded, "[AutoProxy", 10) == 0 || strncmp(decoded, "[Adblock", 8) == 0;
}

/* --- lines --- */

static bool begins(const char *line, size_t len, const char *with)
{
	size_t n = strlen(with);

	return len >= n && strncasecmp(line, with, n) == 0;
}

static bool begins_with_one(const char *line, size_t len, const char *const *words, size_t n)
{
	for (size_t i = 0; i < n; i++)
		if (begins(line, len, words[i]))
			return true;
	return false;
}

#define BEGINS_WITH_ONE(line, len, ...)                                                            \
	begins_with_one(line, len, (const char *const[]){__VA_ARGS__},                             \
		sizeof((const char *const[]){__VA_ARGS__}) / sizeof(char *))

static bool is_name(const char *text, size_t len)
{
	for (size_t i = 0; i < len; i++)
		if (!((text[i] >= 'a' && text[i] <= 'z') || (text[i] >= 'A' && text[i] <= 'Z') ||
			    (text[i] >= '0' && text[i] <= '9') || text[i] == '-' ||
			    text[i] == '_' || text[i] == '.'))
			return false;
	return len > 0 && text[0] != '.' && !(len > 1 && text[0] == '-' && text[1] == '.');
}

static bool is_address(const char *text, size_t len)
{
	const char *scope = memchr(text, '%', len);
	struct ip_prefix prefix;

	return list_prefix_parse(text, scope ? (size_t)(scope - text) : len, &prefix) == 0;
}

/* 10.0.0.1-10.0.0.9 */
static bool is_range(const char *text, size_t len)
{
	const char *dash = memchr(text, '-', len);

	return dash && is_address(text, (size_t)(dash - text)) &&
	       is_address(dash + 1, len - (size_t)(dash - text) - 1);
}

/* TYPE,value of classical rules: letters, digits and dashes before a comma. */
static bool is_classical(const char *line, size_t len)
{
	const char *comma = memchr(line, ',', len);

	if (!comma || comma == line || comma + 1 == line + len)
		return false;
	for (const char *c = line; c < comma; c++)
		if (!(*c >= 'A' && *c <= 'Z') && !(*c >= 'a' && *c <= 'z') &&
			!(*c >= '0' && *c <= '9') && *c != '-')
			return false;
	return true;
}

static bool is_adblock(const char *line, size_t len)
{
	return BEGINS_WITH_ONE(line, len, "||", "@@", "|http", "://", "//") ||
	       (len > 2 && line[0] == '/' && line[len - 1] == '/') || memchr(line, '^', len) ||
	       memmem(line, len, "##", 2) || memmem(line, len, "#@#", 3);
}

/* The words behind the first: is one of them the type of a record? */
static bool is_record(const char *at, const char *end)
{
	for (unsigned i = 0; i < 4; i++) {
		size_t len;
		const char *word = list_word(&at, end, &len), *behind = at;

		if (list_word_is(word, len, "CNAME") || list_word_is(word, len, "SOA"))
			return true;
		if (list_word_is(word, len, "A") || list_word_is(word, len, "AAAA")) {
			word = list_word(&behind, end, &len);
			return is_address(word, len);
		}
	}
	return false;
}

/* A line of one word, comments cut. */
static enum look word_look(const char *line, size_t len)
{
	if (is_address(line, len) || is_range(line, len))
		return LOOK_PREFIX;
	if (begins(line, len, "include:") || memmem(line, len, ":@", 2))
		return LOOK_V2FLY;
	if (BEGINS_WITH_ONE(line, len, "full:", "domain:", "keyword:", "regexp:"))
		return LOOK_TYPED;
	if (is_name(line, len))
		return LOOK_NAME;
	if (begins(line, len, "-.") && is_name(line + 2, len - 2))
		return LOOK_SMARTDNS;
	if (is_adblock(line, len))
		return LOOK_ADBLOCK;
	if (is_classical(line, len) || BEGINS_WITH_ONE(line, len, "+.", "*.", "."))
		return LOOK_CLASH;
	return LOOK_OTHER;
}

static enum look words_look(const char *line, size_t len, const struct word *first)
{
	const char *end = line + len, *at = first->at + first->len, *behind = at;
	struct word second;

	second.at = list_word(&at, end, &second.len);
	if (*second.at == '/' &&
		BEGINS_WITH_ONE(line, len, "address ", "nameserver ", "domain-rules ", "ipset ",
			"nftset ", "domain-rule ", "cname "))
		return LOOK_SMARTDNS;
	if (is_address(first->at, first->len) ||
		BEGINS_WITH_ONE(line, len, "ip dns static", "/ip dns static", "add name=",
			"add address=", "add regexp=", "add disabled=", "add comment="))
		return LOOK_HOSTS; /* of RouterOS */
	if (BEGINS_WITH_ONE(line, len, "add ", "create ", "-A ", "-N ", "table ") ||
		memmem(line, len, "elements = {", 12))
		return LOOK_SET;
	if (is_record(behind, end))
		return LOOK_RPZ;
	if (BEGINS_WITH_ONE(line, len, "||", "@@"))
		return LOOK_ADBLOCK;
	if (is_classical(line, len)) /* PROCESS-NAME,Some Program.exe */
		return LOOK_CLASH;
	if ((*second.at == '@' || *second.at == '&') && second.len > 1)
		return LOOK_V2FLY;
	return LOOK_OTHER;
}

static enum look line_look(struct text *t, const char *line, size_t len)
{
	const char *at = line;
	struct word first;
	enum look look;

	if (*line == '#' || *line == ';' || *line == '!') {
		t->bangs += *line == '!';
		/* Rules of AdBlock for what is hidden in pages begin so, too. */
		return LOOK_NOTHING;
	}
	if (BEGINS_WITH_ONE(line, len,
		    "server=", "local=", "address=", "ipset=", "nftset=", "bogus-nxdomain="))
		return LOOK_DNSMASQ;
	len = is_adblock(line, len) ? len : list_comment_cut(line, len);
	first.at = list_word(&at, line + len, &first.len);
	look = first.len == len ? word_look(line, len) : words_look(line, len, &first);
	if (begins(line, len, "payload:"))
		t->header = LIST_CLASH;
	else if (BEGINS_WITH_ONE(line, len, "$TTL", "$ORIGIN") || memmem(line, len, " SOA ", 5) ||
		 memmem(line, len, "\tSOA\t", 5))
		t->header = LIST_RPZ;
	return look;
}

/* What the first line that is not empty tells. */
static enum list_format first_line_format(const char *line, size_t len)
{
	if (*line == '{')
		return LIST_SINGBOX;
	if (BEGINS_WITH_ONE(line, len, "[AutoProxy", "[Adblock"))
		return LIST_ADBLOCK;
	return is_gfwlist(line, len) ? LIST_GFWLIST : LIST_AUTO;
}

static void text_look(struct text *t, const char *text, size_t len, bool is_whole)
{
	const char *end = text + len;
	bool is_first = true;

	if (len >= 3 && memcmp(text, "\xef\xbb\xbf", 3) == 0)
		text += 3;
	while (text < end && t->header == LIST_AUTO) {
		const char *newline = memchr(text, '\n', (size_t)(end - text));
		const char *stop = newline ? newline : end;

		if (!newline && !is_whole && !is_first)
			break; /* only the beginning of a line */
		while (text < stop && list_is_blank(*text))
			text++;
		len = (size_t)(stop - text);
		while (len > 0 && (list_is_blank(text[len - 1]) || text[len - 1] == '\r'))
			len--;
		if (len > 0) {
			if (is_first)
				t->header = first_line_format(text, len);
			is_first = false;
			t->n[line_look(t, text, len)]++;
		}
		text = stop + 1;
	}
}

static enum list_format text_format(const struct text *t)
{
	static const struct {
		enum look look;
		enum list_format format;
	} own[] = {{LOOK_DNSMASQ, LIST_DNSMASQ}, {LOOK_HOSTS, LIST_HOSTS},
		{LOOK_SMARTDNS, LIST_SMARTDNS}, {LOOK_ADBLOCK, LIST_ADBLOCK},
		{LOOK_CLASH, LIST_CLASH}, {LOOK_RPZ, LIST_RPZ}, {LOOK_SET, LIST_CIDR},
		{LOOK_V2FLY, LIST_V2FLY}};
	size_t best = 0;
	unsigned shared = t->n[LOOK_NAME] + t->n[LOOK_TYPED], n;

	if (t->header != LIST_AUTO)
		return t->header;
	for (size_t i = 1; i < sizeof own / sizeof *own; i++)
		if (t->n[own[i].look] > t->n[own[best].look])
			best = i;
	n = t->n[own[best].look];
	/* Clash, SmartDNS and AdBlock lists may have many bare names among their own lines, and no
	 * other takes those lines; v2fly's may have attributes at few. */
	if (n > 0 && (own[best].look == LOOK_V2FLY || n >= shared / 20) && n >= t->n[LOOK_OTHER])
		return own[best].format;
	if (t->bangs > 0 && t->n[LOOK_OTHER] == 0 && t->n[LOOK_PREFIX] == 0 && shared > 0)
		return LIST_ADBLOCK;
	if (t->n[LOOK_TYPED] > 0 && t->n[LOOK_PREFIX] == 0)
		return LIST_V2FLY;
	return t->n[LOOK_PREFIX] > 0 && shared == 0 ? LIST_CIDR : LIST_PLAIN;
}

enum list_format list_detect_head(const char *path, const uint8_t *head, size_t len)
{
	enum list_format format = binary_detect(path, head, len);
	struct text t = {.header = LIST_AUTO};

	if (format != LIST_AUTO)
		return format;
	if (memchr(head, 0, len)) /* no text; the reader tells where */
		return LIST_PLAIN;
	text_look(&t, (const char *)head, len, len < LIST_DETECT_BYTES);
	return text_format(&t);
}
