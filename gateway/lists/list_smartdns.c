/* SmartDNS: lines of its configuration that have a name between slashes, and its domain sets, which
 * are such names alone. `-.x` is x alone, `*.x` all below it, `*x` every name that ends so. */
#include "gateway/lists/lists_internal.h"

#include <string.h>

struct word {
	const char *at;
	size_t len;
};

static int name_read(struct list_reader *r, enum list_part part, const char *text, size_t len)
{
	static const struct dns_name root = {.b = {0}, .len = 1};
	enum matcher_kind kind = MATCHER_SUFFIX;

	if (len > 2 && (text[0] == '-' || text[0] == '*') && text[1] == '.') {
		kind = text[0] == '-' ? MATCHER_EXACT : MATCHER_BELOW;
		text += 2;
		len -= 2;
	} else if (len > 1 && text[0] == '*') {
		return list_emit_ending(r, part, text + 1, len - 1);
	} else if (len > 1 && text[0] == '.') {
		text++;
		len--;
	} else if (len == 0 || (len == 1 && (*text == '*' || *text == '.'))) {
		return list_emit_dns_name(r, part, MATCHER_SUFFIX, &root);
	}
	return list_emit_name(r, part, kind, text, len);
}

/* `/NAME/VALUE`; `-` in place of the value takes the name out of what a shorter one says. */
static int names_read(struct list_reader *r, const struct word *value)
{
	static const char set[] = "domain-set:";
	const char *name = value->at + 1, *end = value->at + value->len;
	const char *slash = memchr(name, '/', value->len - 1);
	size_t len;

	if (value->len == 1) /* "/": every name */
		return name_read(r, LIST_HOLDS, name, 0);
	if (!slash) {
		list_bad_at(r, value->at, "no slash behind the name");
		return 0;
	}
	len = (size_t)(slash - name);
	if (len >= sizeof set - 1 && memcmp(name, set, sizeof set - 1) == 0) {
		list_unused(r); /* its file is a list of its own */
		return 0;
	}
	return name_read(r, end - slash == 2 && slash[1] == '-' ? LIST_EXCEPT_CLOSER : LIST_HOLDS,
		name, len);
}

static bool is_key(const struct word *key, const char *const names[], size_t n)
{
	for (size_t i = 0; i < n; i++)
		if (key->len == strlen(names[i]) && memcmp(key->at, names[i], key->len) == 0)
			return true;
	return false;
}

static bool is_option(const struct word *key)
{
	for (size_t i = 0; i < key->len; i++)
		if (!(key->at[i] >= 'a' && key->at[i] <= 'z') &&
			!(key->at[i] >= '0' && key->at[i] <= '9') && key->at[i] != '-' &&
			key->at[i] != '_')
			return false;
	return key->at[0] >= 'a' && key->at[0] <= 'z';
}

int list_smartdns_line(struct list_reader *r, char *line, size_t len)
{
	static const char *const named[] = {
		"address", "nameserver", "domain-rules", "ipset", "nftset", "cname", "domain-rule"};
	const size_t n_named = sizeof named / sizeof *named;
	struct word key, value;
	const char *at = line, *end = line + len;

	if (*line == '#')
		return 0;
	key.at = list_word(&at, end, &key.len);
	value.at = list_word(&at, end, &value.len);
	/* One word is a name of a domain set, also with a comment behind it; but "address #" and
	 * "group-end" are options. */
	if ((value.len == 0 || *value.at == '#') && !is_key(&key, named, n_named) &&
		!is_key(&key, &(const char *){"group-end"}, 1))
		return name_read(r, LIST_HOLDS, key.at, key.len);
	if (value.len > 0 && *value.at == '/' && is_key(&key, named, n_named))
		return names_read(r, &value);
	if (is_option(&key))
		list_unused(r);
	else
		list_bad(r, 1, "not an option of SmartDNS");
	return 0;
}
