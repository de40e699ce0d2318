#include "conf/list_path.h"

#include <errno.h>
#include <stddef.h>
#include <string.h>
#include <strings.h>

enum { FORMAT_AUTO, FORMAT_PLAIN, FORMAT_V2FLY, FORMAT_GEOSITE, FORMAT_GEOIP };

int conf_list_format_parse(const char *word)
{
	const char *p = CONF_LIST_FORMATS;
	size_t len = strlen(word);

	for (int format = 0; p; format++) {
		size_t n = strcspn(p, " ");

		if (n == len && memcmp(p, word, n) == 0)
			return format;
		p = p[n] ? p + n + 1 : NULL;
	}
	return -EINVAL;
}

static int wrong(const char **ret_why, const char *why)
{
	*ret_why = why;
	return -EINVAL;
}

static int part_copy(char *to, size_t max, const char *from, size_t len, const char **ret_why)
{
	if (len > max)
		return wrong(ret_why, max == CONF_LIST_TAG_MAX
					      ? "the tag is longer than 255 bytes"
					      : "the path is longer than 4000 bytes");
	memcpy(to, from, len);
	to[len] = 0;
	return 0;
}

int conf_list_tag_split(const char *text, struct conf_list_path *ret, const char **ret_why)
{
	const char *at = strchr(text, '@');
	size_t tag = at ? (size_t)(at - text) : strlen(text);
	int err;

	if (at ? !at[1] : !text[0])
		return wrong(ret_why, at ? "no attribute follows '@'" : "the tag is empty");
	for (const char *p = text; *p; p++)
		if ((unsigned char)*p <= ' ' || *p == 0x7f || *p == '/' || *p == ':' ||
			(*p == '@' && p != at))
			return wrong(ret_why, "the tag has a character that no tag has");
	err = part_copy(ret->tag, CONF_LIST_TAG_MAX, text, tag, ret_why);
	return err ? err
		   : part_copy(ret->attribute, CONF_LIST_TAG_MAX, at ? at + 1 : "",
			     at ? strlen(at + 1) : 0, ret_why);
}

static bool ends_in_dat(const char *text, size_t len)
{
	return len >= 4 && strncasecmp(text + len - 4, ".dat", 4) == 0;
}

int conf_list_path_split(
	const char *text, int format, struct conf_list_path *ret, const char **ret_why)
{
	const char *colon = strrchr(text, ':');
	bool has_tag = colon && (format == FORMAT_GEOSITE || format == FORMAT_GEOIP ||
					ends_in_dat(text, (size_t)(colon - text)));
	size_t path = has_tag ? (size_t)(colon - text) : strlen(text);

	ret->tag[0] = ret->attribute[0] = 0;
	if (path == 0)
		return wrong(ret_why, "the path is empty");
	if (part_copy(ret->path, CONF_LIST_PATH_MAX, text, path, ret_why))
		return -EINVAL;
	return has_tag ? conf_list_tag_split(colon + 1, ret, ret_why) : 0;
}

int conf_list_tag_check(int format, bool has_tag, bool has_attribute, const char **ret_why)
{
	bool geo = format == FORMAT_GEOSITE || format == FORMAT_GEOIP;

	if (geo && !has_tag)
		return wrong(ret_why, "a file of this format is read by one of its tags");
	if (has_tag && !geo && format != FORMAT_AUTO)
		return wrong(ret_why, "a file of this format has no tags");
	if (has_attribute && format != FORMAT_AUTO && format != FORMAT_V2FLY &&
		format != FORMAT_GEOSITE)
		return wrong(ret_why, "a file of this format has no attributes");
	return 0;
}
