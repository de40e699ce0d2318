/* Names as text: what users write, what we print, and addresses written as names. */
#include "gateway/dns/dns_internal.h"

#include <errno.h>

/* One character of text at *at, escapes undone (RFC 1035 5.1). -1: not possible here. Other
 * alphabets must come in their ASCII form (RFC 5890); what is not visible must be escaped. */
static int text_byte(const char *text, size_t len, size_t *at)
{
	unsigned char c = (unsigned char)text[(*at)++];
	int value = 0;

	if (c != '\\')
		return c > ' ' && c < 0x7f ? c : -1;
	if (*at == len)
		return -1;
	c = (unsigned char)text[*at];
	if (c < '0' || c > '9') {
		(*at)++;
		return c >= ' ' && c < 0x7f ? c : -1;
	}
	if (len - *at < 3)
		return -1;
	for (int i = 0; i < 3; i++) {
		c = (unsigned char)text[(*at)++];
		if (c < '0' || c > '9')
			return -1;
		value = value * 10 + (c - '0');
	}
	return value <= 255 ? value : -1;
}

int dns_name_parse(const char *text, size_t len, struct dns_name *ret)
{
	size_t at = 0, label = 0, n = 1; /* label: where the length byte of the open one is */
	unsigned labels = 0;

	if (len == 0)
		return -EINVAL;
	if (len == 1 && text[0] == '.')
		at = len;
	while (at < len) {
		bool dot = text[at] == '.';
		int c = dot ? 0 : text_byte(text, len, &at);

		if (dot) {
			if (n == label + 1)
				return -EINVAL;
			ret->b[label] = (uint8_t)(n - label - 1);
			label = n++;
			labels++;
			at++;
		} else {
			if (c < 0 || n - label > 63 || n >= DNS_NAME_MAX)
				return -EINVAL;
			ret->b[n++] = (uint8_t)(c >= 'A' && c <= 'Z' ? c + ('a' - 'A') : c);
		}
	}
	if (n > label + 1) { /* no dot at the end */
		ret->b[label] = (uint8_t)(n - label - 1);
		label = n++;
		labels++;
	}
	if (n > DNS_NAME_MAX)
		return -EINVAL;
	ret->b[label] = 0;
	ret->len = (uint8_t)n;
	ret->labels = (uint8_t)labels;
	for (; n % 8; n++)
		ret->b[n] = 0;
	return 0;
}

const char *dns_name_format(const uint8_t *wire, char *buf)
{
	char *out = buf;

	if (!*wire)
		*out++ = '.';
	while (*wire) {
		if (out != buf)
			*out++ = '.';
		for (unsigned left = *wire++; left; left--, wire++) {
			uint8_t c = *wire;

			if (c <= ' ' || c >= 0x7f) {
				*out++ = '\\';
				*out++ = (char)('0' + c / 100);
				*out++ = (char)('0' + c / 10 % 10);
				*out++ = (char)('0' + c % 10);
				continue;
			}
			if (c == '.' || c == '\\')
				*out++ = '\\';
			*out++ = (char)c;
		}
	}
	*out = 0;
	return buf;
}

/* A label as a decimal byte without leading zeros; -1 if it is none. */
static int label_decimal(const uint8_t *label)
{
	int value = 0;

	if (label[0] < 1 || label[0] > 3 || (label[0] > 1 && label[1] == '0'))
		return -1;
	for (int i = 1; i <= label[0]; i++) {
		if (label[i] < '0' || label[i] > '9')
			return -1;
		value = value * 10 + (label[i] - '0');
	}
	return value <= 255 ? value : -1;
}

static int label_nibble(const uint8_t *label)
{
	if (label[0] != 1)
		return -1;
	if (label[1] >= '0' && label[1] <= '9')
		return label[1] - '0';
	return label[1] >= 'a' && label[1] <= 'f' ? label[1] - 'a' + 10 : -1;
}

static bool ends_in(const struct dns_name *name, const char *wire, size_t size)
{
	return name->len > size && memcmp(name->b + name->len - size, wire, size) == 0;
}

/* The label count decides where the zone's labels start, so a suffix of equal bytes within a label
 * cannot pass: the walk below reads the labels in front of it one by one. */
bool dns_name_reverse_address(
	const struct dns_name *name, uint8_t ret_address[16], size_t *ret_size)
{
	static const char zone4[] = "\7in-addr\4arpa", zone6[] = "\3ip6\4arpa";
	const uint8_t *label = name->b;
	uint8_t address[16];

	if (name->labels == 6 && ends_in(name, zone4, sizeof zone4)) {
		for (int i = 3; i >= 0; i--, label += 1 + *label) {
			int value = label_decimal(label);

			if (value < 0)
				return false;
			address[i] = (uint8_t)value;
		}
		*ret_size = 4;
	} else if (name->labels == 34 && ends_in(name, zone6, sizeof zone6)) {
		for (int i = 15; i >= 0; i--, label += 4) {
			int low = label_nibble(label),
			    high = low < 0 ? -1 : label_nibble(label + 2);

			if (high < 0)
				return false;
			address[i] = (uint8_t)(high << 4 | low);
		}
		*ret_size = 16;
	} else {
		return false;
	}
	memcpy(ret_address, address, *ret_size);
	return true;
}
