/* The plain format: one domain name, address or prefix a line. A name stands for itself and all
 * below it; lists that are exported from v2fly's mix in lines with a type. */
#include "gateway/lists/lists_internal.h"

#include <errno.h>
#include <string.h>

/* Is there anything that only addresses have: a colon, or nothing but digits, dots and a slash?
 * Names are many, and this is quicker than trying. */
static bool may_be_prefix(const char *text, size_t len)
{
	bool digits = true;

	if (len > IP_TEXT_MAX)
		return false;
	for (size_t i = 0; i < len; i++) {
		if (text[i] == ':')
			return true;
		if ((text[i] < '0' || text[i] > '9') && text[i] != '.') {
			if (text[i] == '/')
				return true;
			digits = false;
			if (i == 4) /* no colon and no dot yet: no address has so long a part */
				return memchr(text, ':', len) || memchr(text, '/', len);
		}
	}
	return digits;
}

static int prefix_line(
	struct list_reader *r, const char *text, const struct ip_prefix *prefix, int err)
{
	if (!err)
		return list_emit_prefix(r, prefix);
	list_bad_at(r, text,
		err == -ERANGE ? "not a prefix: there are bits behind its length"
			       : "not a prefix: its length is not one");
	return 0;
}

static int typed_line(struct list_reader *r, const char *text, size_t len, bool *ret_is)
{
	*ret_is = true;
	if (len >= 5 && memcmp(text, "full:", 5) == 0)
		return list_emit_name(r, LIST_HOLDS, MATCHER_EXACT, text + 5, len - 5);
	if (len >= 7 && memcmp(text, "domain:", 7) == 0)
		return list_emit_name(r, LIST_HOLDS, MATCHER_SUFFIX, text + 7, len - 7);
	if (len >= 7 && memcmp(text, "regexp:", 7) == 0)
		return list_emit_regexp(r, LIST_HOLDS, text + 7, len - 7);
	if (len >= 8 && memcmp(text, "keyword:", 8) == 0)
		return list_emit_keyword(r, LIST_HOLDS, text + 8, len - 8);
	*ret_is = false;
	return 0;
}

int list_plain_line(struct list_reader *r, char *line, size_t len)
{
	struct ip_prefix prefix;

	len = list_comment_cut(line, len);
	r->text_len = len;
	if (len == 0)
		return 0;
	if (may_be_prefix(line, len)) {
		bool is_typed;
		int err = typed_line(r, line, len, &is_typed);

		if (is_typed)
			return err;
		err = list_prefix_parse_strict(line, len, &prefix);
		if (err != -EINVAL)
			return prefix_line(r, line, &prefix, err);
	}
	if (len > 1 && (line[0] == '.' || line[0] == '+' || line[0] == '*')) {
		list_bad(r, 1, "looks like a line of another format, which `format` can name");
		return 0;
	}
	return list_emit_name(r, LIST_HOLDS, MATCHER_SUFFIX, line, len);
}
