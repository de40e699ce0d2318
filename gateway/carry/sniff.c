#include "gateway/carry/sniff_internal.h"

#include <string.h>

#define HOST_MAX      253
#define LABEL_MAX     63
#define TLS_HANDSHAKE 22 /* the first byte of a TLS record, and of no HTTP request */

static bool is_digit(uint8_t c)
{
	return c >= '0' && c <= '9';
}

/* Lower-cased, or 0 if host names have no such character. */
static char host_character(uint8_t c)
{
	if (c >= 'A' && c <= 'Z')
		return (char)(c - 'A' + 'a');
	if ((c >= 'a' && c <= 'z') || is_digit(c) || c == '-' || c == '_' || c == '.')
		return (char)c;
	return 0;
}

/* What the C library would read as an IPv4 address ("192.0.2.1", "3221225985", "0x7f.1") ends in a
 * number, as no name does (RFC 3696 2). */
static bool is_number(const char *label, size_t len)
{
	bool hexadecimal = len >= 2 && label[0] == '0' && label[1] == 'x';

	for (size_t i = hexadecimal ? 2 : 0; i < len; i++)
		if (!is_digit((uint8_t)label[i]) &&
			!(hexadecimal && label[i] >= 'a' && label[i] <= 'f'))
			return false;
	return true;
}

enum sniff_result sniff_host_name(const uint8_t *text, size_t len, char ret_name[SNIFF_NAME_SIZE])
{
	char name[HOST_MAX + 1];
	size_t label = 0; /* where it begins */

	if (len > 0 && text[len - 1] == '.')
		len--;
	if (len == 0 || len > HOST_MAX)
		return SNIFF_NONE;
	for (size_t i = 0; i <= len; i++) {
		name[i] = i < len ? host_character(text[i]) : '\0';
		if (i < len && name[i] == '\0')
			return SNIFF_NONE;
		if (i < len && name[i] != '.')
			continue;
		if (i == label || i - label > LABEL_MAX)
			return SNIFF_NONE;
		if (i < len)
			label = i + 1;
	}
	if (is_number(name + label, len - label))
		return SNIFF_NONE;
	memcpy(ret_name, name, len + 1);
	return SNIFF_NAME;
}

enum sniff_result sniff_stream(
	bool tls, bool http, const uint8_t *data, size_t len, char ret_name[SNIFF_NAME_SIZE])
{
	if (!tls && !http)
		return SNIFF_NONE;
	if (len == 0)
		return SNIFF_MORE;
	if (data[0] == TLS_HANDSHAKE)
		return tls ? sniff_tls(data, len, ret_name) : SNIFF_NONE;
	return http ? sniff_http(data, len, ret_name) : SNIFF_NONE;
}
