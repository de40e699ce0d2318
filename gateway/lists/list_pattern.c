/* Wildcards, and what of an expression over URLs is one over names. */
#include "gateway/lists/list_pattern.h"

#include <string.h>

void list_pattern_init(struct list_pattern *p)
{
	p->len = 0;
	p->full = false;
}

static void add_bytes(struct list_pattern *p, const char *bytes, size_t len)
{
	if (p->full || len > sizeof p->b - p->len) {
		p->full = true;
		return;
	}
	memcpy(p->b + p->len, bytes, len);
	p->len += len;
}

void list_pattern_add(struct list_pattern *p, const char *expression)
{
	add_bytes(p, expression, strlen(expression));
}

static bool is_word_byte(char c)
{
	return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
	       c == '_' || (unsigned char)c >= 0x80;
}

void list_pattern_add_text(struct list_pattern *p, const char *text, size_t len, const char *star,
	const char *question)
{
	for (size_t i = 0; i < len; i++) {
		if (text[i] == '*' && star) {
			list_pattern_add(p, star);
		} else if (text[i] == '?' && question) {
			list_pattern_add(p, question);
		} else {
			/* A backslash makes any other byte than these stand for itself. */
			if (!is_word_byte(text[i]) && text[i] != '-')
				add_bytes(p, "\\", 1);
			add_bytes(p, text + i, 1);
		}
	}
}

/* --- expressions over URLs --- */

/* An expression being walked through. */
struct walk {
	const char *at, *end;
	unsigned depth, look_depth; /* groups; the one that only looks ahead or behind */
	bool ends_at_host;	    /* nothing comes behind the host */
};

/* "http://" as such expressions write it; what is left of the text, NULL: it has no scheme. */
static const char *scheme_skip(const char *text, const char *end)
{
	static const char *const schemes[] = {"^https?:", "^http:", "^https:", "^http(s)?:",
		"^http(?:s)?:", "^(https?):", "^(http|https):", "^(?:http|https):", "^(https?:)?",
		"^(?:https?:)?", "^[a-z]+:", "^\\w+:", "^[\\w\\-]+:", ":",
		"https?:", "http:", "https:", ""};
	static const char *const slashes[] = {"\\/\\/", "//", "\\/+", "/+"};

	for (size_t i = 0; i < sizeof schemes / sizeof schemes[0]; i++) {
		size_t n = strlen(schemes[i]);

		if ((size_t)(end - text) < n || memcmp(text, schemes[i], n) != 0)
			continue;
		for (size_t k = 0; k < sizeof slashes / sizeof slashes[0]; k++) {
			size_t m = strlen(slashes[k]);

			if ((size_t)(end - text) - n >= m && memcmp(text + n, slashes[k], m) == 0)
				return text + n + m;
		}
	}
	return NULL;
}

static bool tail_cut(const char *from, const char **end, const char *tail)
{
	size_t n = strlen(tail);

	if ((size_t)(*end - from) < n || memcmp(*end - n, tail, n) != 0)
		return false;
	/* An escaped first byte is another thing. */
	if ((size_t)(*end - from) > n && (*end)[-(ptrdiff_t)n - 1] == '\\')
		return false;
	*end -= n;
	return true;
}

static bool tails_cut(const char *from, const char **end, const char *const *tails)
{
	for (; *tails; tails++)
		if (tail_cut(from, end, *tails))
			return true;
	return false;
}

/* What may follow the host: anything, or a slash and anything. True: the host ends here. */
static bool path_cut(const char *from, const char **end)
{
	static const char *const anything[] = {
		"(.*)$", "(?:.*)$", ".*$", "(.*)", "(?:.*)", ".*?", ".*", NULL};
	static const char *const ends[] = {"\\/?$", "/?$", "$", NULL};
	static const char *const slash[] = {"\\/", "/", NULL};

	if (!tails_cut(from, end, anything) && tails_cut(from, end, ends))
		return true;
	return tails_cut(from, end, slash);
}

/* A class, of which at stands behind the '['. May it take a slash? */
static bool class_takes_slash(struct walk *w)
{
	bool negated = w->at < w->end && *w->at == '^', has = false;
	char before = 0;

	if (negated)
		w->at++;
	for (bool first = true; w->at < w->end && (first || *w->at != ']'); first = false) {
		char c = *w->at++;

		if (c == '[')
			return true; /* a POSIX class, or nothing that we know */
		if (c == '\\' && w->at < w->end) {
			c = *w->at++;
			if (c == 'w' || c == 'd')
				c = 'a';
			else if (is_word_byte(c))
				return true;
		} else if (c == '-' && before && w->at < w->end && *w->at != ']') {
			has = has || (before <= '/' && *w->at >= '/');
		}
		has = has || c == '/';
		before = c;
	}
	if (w->at == w->end)
		return true; /* it does not end, or needs a look at what we do not know */
	w->at++;
	return negated ? !has : has;
}

/* One step. False: it may look behind the host. */
static bool step(struct walk *w)
{
	char c = *w->at++;
	bool looks = w->look_depth > 0;

	switch (c) {
	case '/':
		return false;
	case '.':
		return looks && w->ends_at_host;
	case '[':
		return !class_takes_slash(w) || (looks && w->ends_at_host);
	case '\\':
		if (w->at == w->end)
			return false;
		c = *w->at++;
		return c == 'w' || c == 'd' || c == 'b' || (!is_word_byte(c) && c != '/');
	case '|': /* outside of groups it would part the scheme from the rest */
	case '$':
		return w->depth > 0 && c == '|';
	case '(':
		w->depth++;
		if (w->at + 1 < w->end && w->at[0] == '?') {
			if (w->at[1] == ':')
				w->at += 2;
			else if (w->at[1] == '=' || w->at[1] == '!')
				w->look_depth = looks ? w->look_depth : w->depth;
			else
				return false;
		}
		return w->depth < 32;
	case ')':
		if (w->depth == 0)
			return false;
		if (w->depth-- == w->look_depth)
			w->look_depth = 0;
		return true;
	default:
		return (unsigned char)c < 0x80;
	}
}

bool list_pattern_from_url(struct list_pattern *p, const char *url, size_t len)
{
	const char *end = url + len, *host = scheme_skip(url, end);
	struct walk w;

	/* Without a scheme or a path it is one over names already: so is it written for DNS. */
	list_pattern_init(p);
	if (!host) {
		add_bytes(p, url, len);
		return !p->full && !memchr(url, '/', len);
	}
	w = (struct walk){.at = host};
	w.ends_at_host = path_cut(host, &end);
	w.end = end;
	while (w.at < w.end)
		if (!step(&w))
			return false;
	if (w.depth > 0 || host == end)
		return false;
	list_pattern_add(p, "^");
	add_bytes(p, host, (size_t)(end - host));
	if (w.ends_at_host)
		list_pattern_add(p, "$");
	return !p->full;
}
