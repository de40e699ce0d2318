/* Address lists: a prefix, an address or a range a line; and how `ipset save` and nft write sets.
 */
#include "gateway/lists/lists_internal.h"

#include <errno.h>
#include <string.h>

#include "gateway/lists/list_range.h"

struct cidr {
	bool inside; /* the braces of a set's elements */
};

struct word {
	const char *at;
	size_t len;
};

static int prefix_take(void *arg, const struct ip_prefix *prefix)
{
	return list_emit_prefix(arg, prefix);
}

/* A whole address; -EINVAL. */
static int address_read(const char *text, size_t len, struct ip_addr *ret)
{
	struct ip_prefix prefix;

	if (memchr(text, '/', len) || list_prefix_parse(text, len, &prefix))
		return -EINVAL;
	*ret = prefix.addr;
	return 0;
}

/* The address, prefix or range that the text is. */
static int element_read(struct list_reader *r, const char *text, size_t len)
{
	const char *dash = memchr(text, '-', len);
	struct ip_addr first, last;
	struct ip_prefix prefix;
	int err;

	if (!dash) {
		if (list_prefix_parse(text, len, &prefix) == 0)
			return list_emit_prefix(r, &prefix);
		list_bad_at(r, text, "neither an address nor a prefix");
		return 0;
	}
	if (address_read(text, (size_t)(dash - text), &first) ||
		address_read(dash + 1, len - (size_t)(dash - text) - 1, &last) ||
		first.family != last.family) {
		list_bad_at(r, text, "neither a range of addresses nor a prefix");
		return 0;
	}
	err = list_range_each(first.b, last.b, ip_addr_size(&first), prefix_take, r);
	if (err != -EINVAL)
		return err;
	list_bad_at(r, text, "a range whose end lies before its beginning");
	return 0;
}

/* The elements of a set, as far as this line has them: separated by commas, each with what it
 * counts or how long it lives behind it. */
static int elements_read(struct list_reader *r, struct cidr *c, const char *at, const char *end)
{
	const char *brace = memchr(at, '}', (size_t)(end - at));
	int err = 0;

	c->inside = brace == NULL;
	if (brace)
		end = brace;
	while (at < end && !err) {
		const char *comma = memchr(at, ',', (size_t)(end - at));
		const char *stop = comma ? comma : end;
		size_t len;
		const char *word = list_word(&at, stop, &len);

		if (len > 0)
			err = element_read(r, word, len);
		at = stop + 1;
	}
	return err;
}

static bool is_word(const struct word *w, const char *text)
{
	return w->len == strlen(text) && memcmp(w->at, text, w->len) == 0;
}

static bool is_among(const struct word *w, const char *const *words)
{
	for (; *words; words++)
		if (is_word(w, *words))
			return true;
	return false;
}

/* What stands around the elements of sets. */
static bool is_frame(const struct word *w)
{
	static const char *const frames[] = {"create", "-N", "flush", "destroy", "COMMIT", "table",
		"set", "map", "type", "typeof", "flags", "auto-merge", "size", "policy", "comment",
		"timeout", "gc-interval", "counter", "delete", "}", "};", NULL};

	return is_among(w, frames);
}

/* `add NAME 10.0.0.0/8 timeout 0` of ipset. An element may go on with a port. */
static int ipset_read(struct list_reader *r, const char *at, const char *end)
{
	struct word set, entry;
	const char *comma;

	set.at = list_word(&at, end, &set.len);
	entry.at = list_word(&at, end, &entry.len);
	if (entry.len == 0) {
		list_bad_at(r, at, "a set without an element");
		return 0;
	}
	for (;;) {
		struct word option;

		option.at = list_word(&at, end, &option.len);
		if (option.len == 0)
			break;
		if (is_word(&option, "nomatch")) { /* taken out of the set: there is no such part */
			list_unused(r);
			return 0;
		}
	}
	comma = memchr(entry.at, ',', entry.len);
	return element_read(r, entry.at, comma ? (size_t)(comma - entry.at) : entry.len);
}

static int cidr_line(struct list_reader *r, char *line, size_t len)
{
	static const char *const nft[] = {"element", "set", "table", "chain", "rule", "map", NULL};
	static const char *const elements[] = {"element", "elements", "define", NULL};
	struct cidr *c = r->format_state;
	const char *at = line, *end, *brace;
	struct word first, second;

	len = list_comment_cut(line, len);
	end = line + len;
	if (c->inside)
		return elements_read(r, c, line, end);
	first.at = list_word(&at, end, &first.len);
	if (first.len == 0)
		return 0;
	if (is_word(&first, "add") || is_word(&first, "-A")) {
		const char *behind = at;

		second.at = list_word(&at, end, &second.len);
		if (!is_among(&second, nft))
			return ipset_read(r, behind, end);
		first = second;
	}
	brace = memchr(line, '{', len);
	if (brace && is_among(&first, elements))
		return elements_read(r, c, brace + 1, end);
	if (is_frame(&first) || is_among(&first, nft)) {
		list_passed(r);
		return 0;
	}
	return element_read(r, line, len);
}

int list_cidr_pull(struct list_reader *r, struct list_bytes *in)
{
	struct cidr c = {.inside = false};
	int err;

	r->format_state = &c; /* cppcheck-suppress autoVariables ; until the end of this */
	err = list_lines(r, in, cidr_line);
	r->format_state = NULL;
	return err;
}
