/* SRS: a binary rule-set of sing-box, versions 1 to 5. What its rules mean: list_rules.h.
 *
 *   "SRS" version u8 | packed by zlib: n, n rules                         (numbers are LEB128)
 *   rule:  0, items: kind u8 and value, the last 255 and u8 inverted
 *          1, u8 and (0) or or (1), n, n rules, u8 inverted
 *   domain (2): u8, a trie (list_trie.h) of reversed strings that may have a mark in front:
 *          "x" is exact, "\n" "x" x and below, "\r" ".x" below x, "\r" "x" what ends with it.
 *          Version 1 has no "\n" and writes two strings instead
 *   AdGuard (16): the same with '*' for any run of bytes, and "\b" behind what need not end there
 *   prefixes (5, 6): 1, n as u64, n ranges of two addresses, each with its size in front
 *   others: n, n values; an unknown one ends the reading, for its size is unknown, too */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "gateway/lists/list_pattern.h"
#include "gateway/lists/list_range.h"
#include "gateway/lists/list_rules.h"
#include "gateway/lists/list_trie.h"

#define SRS_VERSION_MAX	 5
#define RANGES_VERSION	 1
#define MARK_SUFFIX	 '\n'
#define MARK_ENDS_WITH	 '\r'
#define MARK_BEGINS_WITH '\b'

enum { RULE_DEFAULT, RULE_LOGICAL };
enum { MODE_AND, MODE_OR };

enum item {
	ITEM_QUERY_TYPE,
	ITEM_NETWORK,
	ITEM_DOMAIN,
	ITEM_KEYWORD,
	ITEM_REGEXP,
	ITEM_SOURCE_PREFIX,
	ITEM_PREFIX,
	ITEM_SOURCE_PORT,
	ITEM_SOURCE_PORT_RANGE,
	ITEM_PORT,
	ITEM_PORT_RANGE,
	ITEM_PROCESS_NAME,
	ITEM_PROCESS_PATH,
	ITEM_PACKAGE_NAME,
	ITEM_WIFI_SSID,
	ITEM_WIFI_BSSID,
	ITEM_ADGUARD,
	ITEM_PROCESS_PATH_REGEXP,
	ITEM_NETWORK_TYPE,
	ITEM_EXPENSIVE,
	ITEM_CONSTRAINED,
	ITEM_INTERFACE_ADDRESS,
	ITEM_DEFAULT_INTERFACE_ADDRESS,
	ITEM_PACKAGE_NAME_REGEXP,
	ITEMS,
	ITEM_FINAL = 0xff
};

struct srs {
	struct list_reader *r;
	struct list_wire w;
	struct list_rules *rules;
	char text[LIST_LINE_MAX];
};

/* --- names --- */

static int text_add(struct srs *s, enum list_rule_value kind, const char *text, size_t len)
{
	return list_rules_add(s->rules, kind, text, len);
}

static int pattern_add(struct srs *s, const struct list_pattern *p)
{
	if (p->full)
		return list_rules_add_bad(s->rules, "an expression above 4 KiB");
	return text_add(s, LIST_RULE_REGEXP, p->b, p->len);
}

/* What ends with a text: below a name if the text begins with a dot. */
static int ending_add(struct srs *s, const char *text, size_t len, bool with_apex)
{
	struct list_pattern p;

	if (len > 1 && text[0] == '.')
		return text_add(
			s, with_apex ? LIST_RULE_SUFFIX : LIST_RULE_BELOW, text + 1, len - 1);
	list_pattern_init(&p);
	list_pattern_add_text(&p, text, len, NULL, NULL);
	list_pattern_add(&p, "$");
	return pattern_add(s, &p);
}

static int domain_add(void *arg, const char *key, size_t len, bool with_apex)
{
	struct srs *s = arg;

	if (!key)
		return list_rules_add_bad(s->rules, "not a domain name: above 1 KiB");
	if (key[0] == MARK_ENDS_WITH)
		return ending_add(s, key + 1, len - 1, with_apex);
	if (key[0] == MARK_SUFFIX)
		return text_add(s, LIST_RULE_SUFFIX, key + 1, len - 1);
	return text_add(s, LIST_RULE_EXACT, key, len);
}

/* Those with wildcards, or that need not end where a label does. */
static int adguard_pattern_add(
	struct srs *s, char mark, const char *text, size_t len, bool begins_with)
{
	struct list_pattern p;

	list_pattern_init(&p);
	if (mark != MARK_ENDS_WITH)
		list_pattern_add(&p, mark == MARK_SUFFIX ? LIST_PATTERN_LABEL : "^");
	list_pattern_add_text(&p, text, len, ".*", NULL);
	if (!begins_with)
		list_pattern_add(&p, "$");
	return pattern_add(s, &p);
}

static int adguard_add(void *arg, const char *key, size_t len, bool with_apex)
{
	struct srs *s = arg;
	bool begins_with = false;
	char mark;

	if (!key)
		return list_rules_add_bad(s->rules, "an AdGuard rule above 1 KiB");
	mark = key[0];
	if (key[len - 1] == MARK_BEGINS_WITH) {
		begins_with = true;
		len--;
	}
	if (!begins_with && !memchr(key, '*', len))
		return domain_add(s, key, len, with_apex);
	if (with_apex) { /* "\r" ".x", and "x" beside it */
		mark = MARK_SUFFIX;
		key++;
		len--;
	}
	if (len > 0 && (mark == MARK_SUFFIX || mark == MARK_ENDS_WITH)) {
		key++;
		len--;
	}
	return adguard_pattern_add(s, mark, key, len, begins_with);
}

static int trie_read(struct srs *s, list_trie_visit *visit)
{
	struct list_trie trie;
	uint8_t version; /* 0; nobody looks at it */
	int err = list_wire_u8(&s->w, &version);

	if (!err)
		err = list_trie_read(&s->w, LIST_TRIE_VARINT, &trie);
	if (err)
		return err;
	err = list_trie_each(&trie, MARK_ENDS_WITH, visit, s);
	list_trie_fini(&trie);
	return err;
}

/* --- other values --- */

static int other_add(struct srs *s)
{
	return list_rules_add(s->rules, LIST_RULE_OTHER, NULL, 0);
}

/* n strings. */
static int strings_read(struct srs *s, enum list_rule_value kind)
{
	uint64_t n, len;
	int err = list_wire_varint(&s->w, &n);

	for (; !err && n > 0; n--) {
		err = list_wire_varint(&s->w, &len);
		if (err)
			break;
		if (kind == LIST_RULE_OTHER || len > sizeof s->text) {
			err = list_wire_skip(&s->w, len);
			if (!err && kind == LIST_RULE_OTHER)
				err = other_add(s);
			else if (!err)
				err = list_rules_add_bad(s->rules, "a value above 64 KiB");
			continue;
		}
		err = list_wire_bytes(&s->w, s->text, (size_t)len);
		if (!err)
			err = text_add(s, kind, s->text, (size_t)len);
	}
	return err;
}

/* n numbers of so many bytes. */
static int numbers_skip(struct srs *s, uint64_t size)
{
	uint64_t n;
	int err = list_wire_varint(&s->w, &n);

	for (; !err && n > 0; n--) {
		err = list_wire_skip(&s->w, size);
		if (!err)
			err = other_add(s);
	}
	return err;
}

/* Its size, or -EBADMSG: it is none. */
static int address_read(struct srs *s, uint8_t ret[16])
{
	uint64_t size;
	int err = list_wire_varint(&s->w, &size);

	if (!err && size != 4 && size != 16)
		err = -EBADMSG;
	if (!err)
		err = list_wire_bytes(&s->w, ret, (size_t)size);
	return err ? err : (int)size;
}

static int prefix_add(void *arg, const struct ip_prefix *prefix)
{
	struct srs *s = arg;

	return list_rules_add_prefix(s->rules, prefix, NULL, 0);
}

static int range_read(struct srs *s, bool is_source)
{
	uint8_t first[16], last[16];
	int size = address_read(s, first), last_size, err;

	if (size < 0)
		return size;
	last_size = address_read(s, last);
	if (last_size < 0)
		return last_size;
	if (is_source)
		return other_add(s);
	err = size == last_size ? list_range_each(first, last, (size_t)size, prefix_add, s)
				: -EINVAL;
	if (err == -EINVAL)
		err = list_rules_add_bad(
			s->rules, "not a range: its ends are not in order, or of two families");
	return err;
}

static int ranges_read(struct srs *s, bool is_source)
{
	uint8_t version;
	uint64_t n;
	int err = list_wire_u8(&s->w, &version);

	if (!err && version != RANGES_VERSION)
		return list_broken(s->r, 0, 1, "version %u of its prefixes; allowed: 1", version);
	if (!err)
		err = list_wire_be64(&s->w, &n);
	for (; !err && n > 0; n--)
		err = range_read(s, is_source);
	return err;
}

/* n addresses, each with a length. */
static int interface_addresses_skip(struct srs *s)
{
	uint64_t n;
	uint8_t address[16], bits;
	int err = list_wire_varint(&s->w, &n);

	for (; !err && n > 0; n--) {
		err = address_read(s, address);
		if (err < 0)
			return err;
		err = list_wire_u8(&s->w, &bits);
		if (!err)
			err = other_add(s);
	}
	return err;
}

/* n times a type of interface and such addresses. */
static int interface_types_skip(struct srs *s)
{
	uint64_t n;
	uint8_t type;
	int err = list_wire_varint(&s->w, &n);

	for (; !err && n > 0; n--) {
		err = list_wire_u8(&s->w, &type);
		if (!err)
			err = interface_addresses_skip(s);
	}
	return err;
}

/* --- rules --- */

static int item_read(struct srs *s, uint8_t kind)
{
	switch ((enum item)kind) {
	case ITEM_DOMAIN:
		return trie_read(s, domain_add);
	case ITEM_ADGUARD:
		return trie_read(s, adguard_add);
	case ITEM_KEYWORD:
		return strings_read(s, LIST_RULE_KEYWORD);
	case ITEM_REGEXP:
		return strings_read(s, LIST_RULE_REGEXP);
	case ITEM_SOURCE_PREFIX:
	case ITEM_PREFIX:
		return ranges_read(s, kind == ITEM_SOURCE_PREFIX);
	case ITEM_QUERY_TYPE:
	case ITEM_SOURCE_PORT:
	case ITEM_PORT:
		return numbers_skip(s, 2);
	case ITEM_NETWORK_TYPE:
		return numbers_skip(s, 1);
	case ITEM_NETWORK:
	case ITEM_SOURCE_PORT_RANGE:
	case ITEM_PORT_RANGE:
	case ITEM_PROCESS_NAME:
	case ITEM_PROCESS_PATH:
	case ITEM_PACKAGE_NAME:
	case ITEM_WIFI_SSID:
	case ITEM_WIFI_BSSID:
	case ITEM_PROCESS_PATH_REGEXP:
	case ITEM_PACKAGE_NAME_REGEXP:
		return strings_read(s, LIST_RULE_OTHER);
	case ITEM_EXPENSIVE:
	case ITEM_CONSTRAINED:
		return other_add(s);
	case ITEM_INTERFACE_ADDRESS:
		return interface_types_skip(s);
	case ITEM_DEFAULT_INTERFACE_ADDRESS:
		return interface_addresses_skip(s);
	case ITEMS:
	case ITEM_FINAL:
		break;
	}
	return list_broken(s->r, 0, 1, "a condition of an unknown kind (%u), noticed at byte %llu",
		kind, (unsigned long long)s->w.at);
}

static int inversion_read(struct srs *s)
{
	uint8_t inverted;
	int err = list_wire_u8(&s->w, &inverted);

	if (!err && inverted)
		list_rules_invert(s->rules);
	return err;
}

static int default_read(struct srs *s)
{
	uint8_t kind;
	int err = list_wire_u8(&s->w, &kind);

	while (!err && kind != ITEM_FINAL) {
		err = item_read(s, kind);
		if (!err)
			err = list_wire_u8(&s->w, &kind);
	}
	return err ? err : inversion_read(s);
}

static int rules_read(struct srs *s);

/* Is called by itself for the rules within, LIST_RULES_DEPTH_MAX times at most. */
static int rule_read(struct srs *s)
{
	uint8_t kind, mode;
	int err = list_rules_begin(s->rules);

	if (err == -E2BIG)
		return list_broken(s->r, 0, 1, LIST_RULES_TOO_MANY);
	if (!err)
		err = list_wire_u8(&s->w, &kind);
	if (err)
		return err;
	if (kind == RULE_DEFAULT) {
		err = default_read(s);
	} else if (kind == RULE_LOGICAL) {
		err = list_wire_u8(&s->w, &mode);
		if (!err && mode > MODE_OR)
			err = -EBADMSG;
		if (err)
			return err;
		list_rules_logical(s->rules, mode == MODE_AND);
		err = rules_read(s);
		if (!err)
			err = inversion_read(s);
	} else {
		err = -EBADMSG;
	}
	list_rules_end(s->rules);
	return err;
}

static int rules_read(struct srs *s)
{
	uint64_t n;
	int err = list_wire_varint(&s->w, &n);

	for (; !err && n > 0; n--)
		err = rule_read(s);
	return err;
}

static int unpacked_read(struct srs *s, struct list_bytes *unpacked)
{
	int err;

	list_wire_init(&s->w, unpacked);
	err = rules_read(s);
	if (!err && list_wire_ended(&s->w) < 0) /* the checksum, too, has come and is right */
		err = -EBADMSG;
	if (!err)
		err = list_rules_emit(s->rules, s->r);
	return err == -EBADMSG ? list_wire_broken(s->r, &s->w) : err;
}

static int header_read(struct list_reader *r, struct list_bytes *in)
{
	uint8_t head[4];
	int err = list_bytes_exactly(in, head, sizeof head);

	if (err)
		return err;
	if (memcmp(head, "SRS", 3) != 0)
		return list_broken(r, 0, 1, "not a binary rule-set of sing-box");
	if (head[3] < 1 || head[3] > SRS_VERSION_MAX)
		return list_broken(r, 0, 1, "version %u of a rule-set; allowed: 1 to 5", head[3]);
	return 0;
}

int list_srs_pull(struct list_reader *r, struct list_bytes *in)
{
	struct srs *s = malloc(sizeof *s);
	struct list_bytes *unpacked = NULL;
	int err;

	if (!s)
		return -ENOMEM;
	s->r = r;
	s->rules = NULL;
	err = header_read(r, in);
	if (!err)
		err = list_rules_new(&s->rules);
	if (!err)
		err = list_bytes_inflate(in, LIST_FILE_MAX, &unpacked);
	if (!err)
		err = unpacked_read(s, unpacked);
	list_bytes_free(unpacked);
	list_rules_free(s->rules);
	free(s);
	return err;
}
