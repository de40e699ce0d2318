/* MRS of mihomo: a rule provider made ready to load. All of it is packed by zstd.
 *
 *   "MRS" 1 | behaviour u8 | rules i64 | length of extra i64, extra | body        (big-endian)
 *   domain (0): version 1 u8 | a trie of reversed names (list_trie.h), lengths as i64
 *   ipcidr (1): version 1 u8 | n i64 | n ranges of two 16-byte addresses
 *
 * The trie does not hold what somebody wrote but what mihomo made of it: "+.x" became the two
 * strings "x" and "+.x", and ".x" became "+.x". So "+.x" alone means below x only; "x" is exact; a
 * label "*" stands for any one label. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "gateway/lists/list_pattern.h"
#include "gateway/lists/list_range.h"
#include "gateway/lists/list_trie.h"

#define MRS_VERSION 1
#define SET_VERSION 1
#define ANY_BELOW   '+'

enum { MRS_DOMAIN, MRS_IPCIDR };

/* Is every '*' a label of its own, and is there no '+'? */
static bool wildcards_good(const char *text, size_t len)
{
	for (size_t i = 0; i < len; i++) {
		if (text[i] == ANY_BELOW)
			return false;
		if (text[i] == '*' &&
			((i > 0 && text[i - 1] != '.') || (i + 1 < len && text[i + 1] != '.')))
			return false;
	}
	return true;
}

static int wildcards_emit(
	struct list_reader *r, enum matcher_kind kind, const char *text, size_t len)
{
	struct list_pattern pattern;

	list_pattern_init(&pattern);
	list_pattern_add(&pattern, kind == MATCHER_EXACT    ? "^"
				   : kind == MATCHER_SUFFIX ? LIST_PATTERN_LABEL
							    : "\\.");
	list_pattern_add_text(&pattern, text, len, "[^.]+", NULL);
	list_pattern_add(&pattern, "$");
	if (pattern.full) {
		list_bad(r, 1, "too long");
		return 0;
	}
	return list_emit_regexp(r, LIST_HOLDS, pattern.b, pattern.len);
}

static int domain_emit(struct list_reader *r, const char *key, size_t len, bool with_apex)
{
	enum matcher_kind kind = MATCHER_EXACT;

	if (!key) {
		list_bad(r, 1, "not a domain name: above 1 KiB");
		return 0;
	}
	if (len == 1 && *key == ANY_BELOW)
		return list_emit_name(r, LIST_HOLDS, MATCHER_SUFFIX, ".", 1);
	if (len == 1 && *key == '*')
		return list_emit_name(r, LIST_HOLDS, MATCHER_CHILD, ".", 1);
	if (len > 2 && key[0] == ANY_BELOW && key[1] == '.') {
		kind = with_apex ? MATCHER_SUFFIX : MATCHER_BELOW;
		key += 2;
		len -= 2;
	}
	if (!wildcards_good(key, len)) {
		list_bad(r, 1, "not a domain name: a wildcard that is no label");
		return 0;
	}
	if (kind == MATCHER_EXACT && len > 2 && key[0] == '*' && !memchr(key + 1, '*', len - 1))
		return list_emit_name(r, LIST_HOLDS, MATCHER_CHILD, key + 2, len - 2);
	if (memchr(key, '*', len))
		return wildcards_emit(r, kind, key, len);
	return list_emit_name(r, LIST_HOLDS, kind, key, len);
}

static int domain_item(void *arg, const char *key, size_t len, bool with_apex)
{
	struct list_reader *r = arg;
	int err;

	list_item_begin(r);
	err = domain_emit(r, key, len, with_apex);
	list_item_end(r);
	return err;
}

static int domains_read(struct list_reader *r, struct list_wire *w)
{
	struct list_trie trie;
	int err = list_trie_read(w, LIST_TRIE_BE64, &trie);

	if (err)
		return err;
	err = list_trie_each(&trie, ANY_BELOW, domain_item, r);
	list_trie_fini(&trie);
	return err;
}

static int prefix_item(void *arg, const struct ip_prefix *prefix)
{
	struct list_reader *r = arg;

	return list_emit_prefix(r, prefix);
}

static int ranges_read(struct list_reader *r, struct list_wire *w)
{
	uint64_t n;
	int err = list_wire_be64(w, &n);

	for (; !err && n > 0; n--) {
		uint8_t range[32];

		err = list_wire_bytes(w, range, sizeof range);
		if (err)
			break;
		list_item_begin(r);
		err = list_range_each(range, range + 16, 16, prefix_item, r);
		if (err == -EINVAL) {
			list_bad(r, 1, "not a range: its end comes first");
			err = 0;
		}
		list_item_end(r);
	}
	return err;
}

static int header_read(struct list_reader *r, struct list_wire *w, uint8_t *ret_behaviour)
{
	uint8_t magic[4], version;
	uint64_t rules, extra;
	int err = list_wire_bytes(w, magic, sizeof magic);

	if (!err && memcmp(magic, "MRS", 3) != 0)
		return list_broken(r, 0, 1, "not an MRS file");
	if (!err && magic[3] != MRS_VERSION)
		return list_broken(r, 0, 1, "version %u of MRS; allowed: 1", magic[3]);
	if (!err)
		err = list_wire_u8(w, ret_behaviour);
	if (!err)
		err = list_wire_be64(w, &rules);
	if (!err)
		err = list_wire_be64(w, &extra);
	if (!err)
		err = list_wire_skip(w, extra);
	if (!err && *ret_behaviour > MRS_IPCIDR)
		return list_broken(
			r, 0, 1, "behaviour %u; allowed: 0 (domain), 1 (ipcidr)", *ret_behaviour);
	if (!err)
		err = list_wire_u8(w, &version);
	if (!err && version != SET_VERSION)
		return list_broken(r, 0, 1, "version %u of its rules; allowed: 1", version);
	return err;
}

int list_mrs_pull(struct list_reader *r, struct list_bytes *in)
{
	struct list_wire *w = malloc(sizeof *w);
	struct list_bytes *unpacked = NULL;
	uint8_t behaviour = MRS_DOMAIN;
	int err = -ENOMEM;

	if (w)
		err = list_bytes_unzstd(in, LIST_FILE_MAX, &unpacked);
	if (err)
		goto out;
	list_wire_init(w, unpacked);
	err = header_read(r, w, &behaviour);
	if (!err)
		err = behaviour == MRS_DOMAIN ? domains_read(r, w) : ranges_read(r, w);
	if (!err && list_wire_ended(w) < 0) /* the checksum, too, has come and is right */
		err = -EBADMSG;
	if (err == -EBADMSG)
		err = list_wire_broken(r, w);
out:
	list_bytes_free(unpacked);
	free(w);
	return err;
}
