#include "gateway/carry/sniff_internal.h"

#include <string.h>
#include <strings.h>

#define METHOD_MAX 20
#define PORT_MAX   5 /* digits */

/* The bytes that are still to be read. */
struct text {
	const uint8_t *p, *end;
};

static enum sniff_result expect(struct text *t, const char *what)
{
	for (; *what; what++, t->p++) {
		if (t->p == t->end)
			return SNIFF_MORE;
		if (*t->p != (uint8_t)*what)
			return SNIFF_NONE;
	}
	return SNIFF_NAME;
}

/* uri-host [ ":" port ] (RFC 9110 7.2) */
static enum sniff_result read_host(struct text host, char ret_name[SNIFF_NAME_SIZE])
{
	size_t len = (size_t)(host.end - host.p);
	const uint8_t *colon = len > 0 ? memchr(host.p, ':', len) : NULL;

	if (colon) {
		if (host.end - colon - 1 > PORT_MAX)
			return SNIFF_NONE;
		for (const uint8_t *p = colon + 1; p < host.end; p++)
			if (*p < '0' || *p > '9')
				return SNIFF_NONE;
		len = (size_t)(colon - host.p);
	}
	return sniff_host_name(host.p, len, ret_name);
}

/* Only capital letters, '-' and '_': what other protocols say first is soon told apart. */
static enum sniff_result read_method(struct text *t, bool *ret_connect)
{
	const uint8_t *begin = t->p;
	size_t len;

	while (t->p < t->end && ((*t->p >= 'A' && *t->p <= 'Z') || *t->p == '-' || *t->p == '_'))
		t->p++;
	len = (size_t)(t->p - begin);
	if (len > METHOD_MAX)
		return SNIFF_NONE;
	if (t->p == t->end)
		return SNIFF_MORE;
	if (len == 0)
		return SNIFF_NONE;
	*ret_connect = len == 7 && memcmp(begin, "CONNECT", 7) == 0;
	return expect(t, " ");
}

static enum sniff_result read_target(struct text *t, struct text *ret_target)
{
	ret_target->p = t->p;
	while (t->p<t->end && * t->p> ' ' && *t->p != 0x7f)
		t->p++;
	ret_target->end = t->p;
	if (t->p == t->end)
		return SNIFF_MORE;
	return t->p > ret_target->p ? expect(t, " ") : SNIFF_NONE;
}

static enum sniff_result read_version(struct text *t)
{
	enum sniff_result result = expect(t, "HTTP/1.");

	if (result != SNIFF_NAME)
		return result;
	if (t->p == t->end)
		return SNIFF_MORE;
	if (*t->p < '0' || *t->p > '9')
		return SNIFF_NONE;
	t->p++;
	if (t->p < t->end && *t->p == '\n') /* a lone LF does, too: RFC 9112 2.2 */
		return expect(t, "\n");
	return expect(t, "\r\n");
}

/* SNIFF_NAME: the line is as it should be, and what follows it is next. */
static enum sniff_result read_request_line(
	struct text *t, bool *ret_connect, struct text *ret_target)
{
	enum sniff_result result;

	if (t->p < t->end && *t->p == '\r') { /* one empty line before it: RFC 9112 2.2 */
		result = expect(t, "\r\n");
		if (result != SNIFF_NAME)
			return result;
	} else if (t->p < t->end && *t->p == '\n') {
		t->p++;
	}
	result = read_method(t, ret_connect);
	if (result == SNIFF_NAME)
		result = read_target(t, ret_target);
	if (result == SNIFF_NAME)
		result = read_version(t);
	return result;
}

/* The authority of an absolute target (RFC 9112 3.2.2), without user and password. */
static bool find_authority(struct text target, struct text *ret_host)
{
	size_t len = (size_t)(target.end - target.p);
	const uint8_t *p = memmem(target.p, len, "://", 3), *end;

	if (!p || p == target.p)
		return false;
	for (const uint8_t *s = target.p; s < p; s++)
		if (!((*s | 0x20) >= 'a' && (*s | 0x20) <= 'z'))
			return false;
	p += 3;
	for (end = p; end < target.end && *end != '/' && *end != '?' && *end != '#'; end++)
		if (*end == '@')
			p = end + 1;
	*ret_host = (struct text){p, end};
	return true;
}

static bool is_blank(uint8_t c)
{
	return c == ' ' || c == '\t';
}

static bool is_text(struct text line)
{
	for (; line.p < line.end; line.p++)
		if ((*line.p < ' ' && *line.p != '\t') || *line.p == 0x7f)
			return false;
	return true;
}

/* A whole line without its end. SNIFF_MORE: not the Host field, go on. */
static enum sniff_result read_field(struct text line, char ret_name[SNIFF_NAME_SIZE])
{
	const uint8_t *colon;

	if (line.p == line.end)
		return SNIFF_NONE; /* the fields are over */
	if (!is_text(line))
		return SNIFF_NONE;
	if (is_blank(*line.p))
		return SNIFF_MORE; /* the line before goes on: RFC 9112 5.2 */
	colon = memchr(line.p, ':', (size_t)(line.end - line.p));
	if (!colon)
		return SNIFF_NONE;
	if (colon - line.p != 4 || strncasecmp((const char *)line.p, "host", 4) != 0)
		return SNIFF_MORE;
	line.p = colon + 1;
	while (line.p < line.end && is_blank(*line.p))
		line.p++;
	while (line.p < line.end && is_blank(line.end[-1]))
		line.end--;
	return read_host(line, ret_name);
}

static enum sniff_result read_fields(struct text *t, char ret_name[SNIFF_NAME_SIZE])
{
	enum sniff_result result = SNIFF_MORE;

	while (result == SNIFF_MORE && t->p < t->end) {
		const uint8_t *newline = memchr(t->p, '\n', (size_t)(t->end - t->p));
		struct text line = {t->p, newline ? newline : t->end};

		if (line.end > line.p && line.end[-1] == '\r')
			line.end--;
		if (!newline)
			return is_text(line) ? SNIFF_MORE : SNIFF_NONE;
		t->p = newline + 1;
		result = read_field(line, ret_name);
	}
	return result;
}

static enum sniff_result read_request(struct text *t, char ret_name[SNIFF_NAME_SIZE])
{
	bool connect = false;
	struct text target, host;
	enum sniff_result result = read_request_line(t, &connect, &target);

	if (result != SNIFF_NAME)
		return result;
	if (connect)
		return SNIFF_NONE;
	if (*target.p == '/' || (*target.p == '*' && target.end - target.p == 1))
		return read_fields(t, ret_name);
	return find_authority(target, &host) ? read_host(host, ret_name) : SNIFF_NONE;
}

enum sniff_result sniff_http(const uint8_t *data, size_t len, char ret_name[SNIFF_NAME_SIZE])
{
	struct text t = {data, data + (len < SNIFF_STREAM_MAX ? len : SNIFF_STREAM_MAX)};
	enum sniff_result result = read_request(&t, ret_name);

	return result == SNIFF_MORE && len >= SNIFF_STREAM_MAX ? SNIFF_NONE : result;
}
