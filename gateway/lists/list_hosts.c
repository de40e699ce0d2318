/* Hosts files: `ADDRESS NAME..`, each name alone; and RouterOS' static names, which are its hosts
 * file: `/ip dns static add address=ADDRESS name=NAME`, or `add name=NAME` below that menu. */
#include "gateway/lists/lists_internal.h"

#include <string.h>
#include <strings.h>

static bool is_address(const char *text, size_t len)
{
	const char *scope = memchr(text, '%', len);
	struct ip_prefix prefix;

	/* "fe80::1%lo0": which interface does not matter here. */
	if (scope && memchr(text, ':', len))
		len = (size_t)(scope - text);
	return !memchr(text, '/', len) && list_prefix_parse(text, len, &prefix) == 0;
}

/* Names of the host itself and of its network, which stand in every hosts file, lists of what is to
 * be blocked among them. */
static bool is_local(const char *text, size_t len)
{
	static const char *const names[] = {"localhost", "localhost.localdomain", "local",
		"broadcasthost", "localhost4", "localhost6", "localhost4.localdomain4",
		"localhost6.localdomain6"};

	if (len > 0 && text[len - 1] == '.')
		len--;
	for (size_t i = 0; i < sizeof names / sizeof *names; i++)
		if (list_word_is(text, len, names[i]))
			return true;
	return len > 4 && strncasecmp(text, "ip6-", 4) == 0;
}

/* --- RouterOS --- */

/* Behind "/ip dns static" and blanks, or NULL: the line is none of that menu. */
static const char *menu_skip(const char *line, const char *end)
{
	static const char *const menu[] = {"ip", "dns", "static"};
	const char *at = line, *word;
	size_t n;

	if (at < end && *at == '/')
		at++;
	for (size_t i = 0; i < sizeof menu / sizeof *menu; i++) {
		word = list_word(&at, end, &n);
		if (!list_word_is(word, n, menu[i]))
			return NULL;
	}
	return at;
}

/* The next KEY=VALUE of an `add`; a value in quotes may have blanks and loses its backslashes, in
 * place. False: there is none. */
static bool pair_next(char **at, const char *end, char **ret_key, char **ret_value, size_t *ret_len)
{
	char *read = *at, *write;
	bool quoted = false;

	while (read < end && list_is_blank(*read))
		read++;
	*ret_key = read;
	while (read < end && *read != '=' && !list_is_blank(*read))
		read++;
	if (read == end || *read != '=')
		return false;
	*read++ = 0;
	*ret_value = write = read;
	for (; read < end && (quoted || !list_is_blank(*read)); read++) {
		if (*read == '"') {
			quoted = !quoted;
			continue;
		}
		if (quoted && *read == '\\' && read + 1 < end)
			read++;
		*write++ = *read;
	}
	*ret_len = (size_t)(write - *ret_value);
	*at = read;
	return true;
}

static int static_add(struct list_reader *r, char *at, const char *end)
{
	char *key, *value, *name = NULL, *expression = NULL;
	size_t len, name_len = 0, expression_len = 0;
	bool below = false, disabled = false;

	while (pair_next(&at, end, &key, &value, &len)) {
		if (strcmp(key, "name") == 0) {
			name = value;
			name_len = len;
		} else if (strcmp(key, "regexp") == 0) {
			expression = value;
			expression_len = len;
		} else if (strcmp(key, "match-subdomain") == 0) {
			below = list_word_is(value, len, "yes");
		} else if (strcmp(key, "disabled") == 0) {
			disabled = list_word_is(value, len, "yes");
		}
	}
	if (disabled) {
		list_passed(r);
		return 0;
	}
	if (expression)
		return list_emit_regexp(r, LIST_HOLDS, expression, expression_len);
	if (name)
		return list_emit_name(
			r, LIST_HOLDS, below ? MATCHER_SUFFIX : MATCHER_EXACT, name, name_len);
	list_bad(r, 1, "a static entry without a name");
	return 0;
}

/* False: it is no line of RouterOS. */
static bool static_line(struct list_reader *r, char *line, size_t len, int *ret)
{
	const char *end = line + len, *in_menu = menu_skip(line, end), *word;
	char copy[1024];
	size_t n;

	*ret = 0;
	if (!in_menu && line[0] != 'a')
		return false;
	if (!in_menu)
		in_menu = line;
	word = list_word(&in_menu, end, &n);
	if (n == 0) { /* the menu alone */
		list_passed(r);
		return true;
	}
	if (!list_word_is(word, n, "add"))
		return false;
	n = (size_t)(end - in_menu);
	if (n >= sizeof copy) {
		list_bad(r, 1, "a static entry above 1 KB");
		return true;
	}
	/* The line itself is told in complaints and by `explain`. */
	memcpy(copy, in_menu, n);
	copy[n] = 0;
	*ret = static_add(r, copy, copy + n);
	return true;
}

int list_hosts_line(struct list_reader *r, char *line, size_t len)
{
	const char *hash = memchr(line, '#', len), *at = line, *end = hash ? hash : line + len,
		   *word;
	size_t n;
	int err = 0;

	word = list_word(&at, end, &n);
	if (n == 0 || *word == '!') /* a list made from an AdBlock one has its comments */
		return 0;
	if (!is_address(word, n)) {
		if (!static_line(r, line, len, &err))
			list_bad(r, 1, "does not begin with an address");
		return err;
	}
	word = list_word(&at, end, &n);
	if (n == 0)
		list_bad_at(r, at, "an address without a name");
	for (; n > 0 && !err; word = list_word(&at, end, &n)) {
		if (is_local(word, n) || is_address(word, n))
			list_passed(r);
		else
			err = list_emit_name(r, LIST_HOLDS, MATCHER_EXACT, word, n);
	}
	return err;
}
