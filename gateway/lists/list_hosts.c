/* Hosts files: `ADDRESS NAME..`, each name alone. */
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
		list_bad(r, 1, "does not begin with an address");
		return 0;
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
