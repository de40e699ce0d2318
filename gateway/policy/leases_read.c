/* Theory of operation: each line of a file is taken for what it looks like, so one reader does for
 * all of them.
 *
 *	EXPIRY MAC ADDRESS HOST CLIENTID	dnsmasq; HOST "*": none; EXPIRY 0: never
 *	duid DUID				dnsmasq, of the server; its IPv6 leases follow
 *	EXPIRY IAID ADDRESS HOST DUID		dnsmasq, IPv6
 *	ADDRESS HOST.DOMAIN HOST		odhcpd's hosts lines, before the lease they are of
 *	# IFACE DUID IAID HOST EXPIRY ID LENGTH ADDRESS/LENGTH...
 *						odhcpd; HOST "-": none, "broken\x20HOST": refused by
 *						it; EXPIRY -1: never, 0: it is over; a LENGTH below
 *						that of an address: a delegated prefix
 *
 * Names come from whoever asks for a lease, so they are believed in their own zone only: one label,
 * or something below `domain`. Else a guest's phone could call itself www.bank.example. */
#include "gateway/base/grow.h"
#include "gateway/policy/leases_internal.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define FILE_MAX_BYTES (4u << 20)
#define WORDS_MAX      64u
#define ALLOWED	       "lines as dnsmasq and odhcpd write them"

struct word {
	const char *text;
	size_t len;
};

/* --- telling --- */

__attribute__((format(printf, 4, 5))) static void complain(
	const struct leases_reading *r, unsigned line, const char *mark, const char *format, ...)
{
	char text[LIST_COMPLAIN_MAX];
	va_list args;
	int n;

	if (!r->complain || !r->complain->complain)
		return;
	n = snprintf(text, sizeof text, "%s:%u:1: %s: leases.files: ", r->path, line, mark);
	va_start(args, format);
	if (n >= 0 && (size_t)n < sizeof text)
		(void)vsnprintf(text + n, sizeof text - (size_t)n, format, args);
	va_end(args);
	r->complain->complain(r->complain->arg, false, text);
}

static void line_skip(struct leases_reading *r, const char *what)
{
	if (++r->skipped <= LIST_TOLD_MAX)
		complain(r, r->line, "warning", "%s; allowed: " ALLOWED, what);
}

/* --- words --- */

static size_t words_split(const char *text, size_t len, struct word *ret)
{
	size_t n = 0, at = 0;

	while (n < WORDS_MAX) {
		size_t from;

		while (at < len && (text[at] == ' ' || text[at] == '\t' || text[at] == '\r'))
			at++;
		from = at;
		while (at < len && text[at] != ' ' && text[at] != '\t' && text[at] != '\r')
			at++;
		if (at == from)
			break;
		ret[n++] = (struct word){text + from, at - from};
	}
	return n;
}

static bool word_is(struct word w, const char *text)
{
	return w.len == strlen(text) && memcmp(w.text, text, w.len) == 0;
}

static bool word_number(struct word w, int64_t *ret)
{
	bool negative = w.len > 1 && w.text[0] == '-';
	int64_t value = 0;

	if (w.len == 0 || w.len > 18)
		return false;
	for (size_t i = negative; i < w.len; i++) {
		if (w.text[i] < '0' || w.text[i] > '9')
			return false;
		value = value * 10 + (w.text[i] - '0');
	}
	*ret = negative ? -value : value;
	return true;
}

/* An address of one host. */
static bool word_address(struct word w, struct ip_addr *ret)
{
	static const struct ip_addr any4 = {.family = IP_V4}, any6 = {.family = IP_V6};
	char text[IP_TEXT_MAX];

	if (w.len >= sizeof text)
		return false;
	memcpy(text, w.text, w.len);
	text[w.len] = 0;
	return ip_addr_parse(text, ret) == 0 && !ip_addr_is_loopback(ret) &&
	       !ip_addr_equal(ret, &any4) && !ip_addr_equal(ret, &any6) &&
	       (ret->family == IP_V4 ? ret->b[0] < 224 : ret->b[0] != 0xff);
}

/* Pairs of hexadecimal digits, with or without ":" between them; 0: something else, or more than
 * max. */
static size_t word_hex(struct word w, uint8_t *ret, size_t max)
{
	size_t n = 0;

	for (size_t at = 0; at < w.len; n++) {
		uint8_t value = 0;

		at += n > 0 && w.text[at] == ':';
		if (n == max || w.len - at < 2)
			return 0;
		for (size_t end = at + 2; at < end; at++) {
			char c = w.text[at];

			if (c >= '0' && c <= '9')
				value = (uint8_t)(value << 4 | (c - '0'));
			else if ((c | 0x20) >= 'a' && (c | 0x20) <= 'f')
				value = (uint8_t)(value << 4 | ((c | 0x20) - 'a' + 10));
			else
				return 0;
		}
		ret[n] = value;
	}
	return n;
}

/* The MAC address that a word is, or that a DUID has in it (RFC 8415 11.2 and 11.4: of an Ethernet
 * interface, with or without the time). False: none. */
static bool word_mac(struct word w, uint8_t ret[LEASES_MAC_SIZE])
{
	static const uint8_t with_time[] = {0, 1, 0, 1}, without[] = {0, 3, 0, 1},
			     none[LEASES_MAC_SIZE] = {0};
	uint8_t b[32];
	size_t n = word_hex(w, b, sizeof b), at;

	if (n == LEASES_MAC_SIZE)
		at = 0;
	else if (n == sizeof without + LEASES_MAC_SIZE && memcmp(b, without, sizeof without) == 0)
		at = sizeof without;
	else if (n == sizeof with_time + 4 + LEASES_MAC_SIZE &&
		 memcmp(b, with_time, sizeof with_time) == 0)
		at = sizeof with_time + 4;
	else
		return false;
	memcpy(ret, b + at, LEASES_MAC_SIZE);
	return memcmp(ret, none, sizeof none) != 0;
}

/* --- names --- */

/* A host name's bytes (RFC 1123 2.1), and the '_' that many have. */
static bool is_host_name(struct word w)
{
	for (size_t i = 0; i < w.len; i++) {
		char c = w.text[i];

		if (!(c >= 'a' && c <= 'z') && !(c >= 'A' && c <= 'Z') && !(c >= '0' && c <= '9') &&
			c != '-' && c != '_' && c != '.')
			return false;
	}
	return w.len > 0;
}

bool leases_name_qualify(const struct leases *l, struct dns_name *name)
{
	size_t at = name->len - 1u;

	if (name->labels != 1 || l->domain.len == 0)
		return true;
	if (at + l->domain.len > DNS_NAME_MAX)
		return false;
	memcpy(name->b + at, l->domain.b, l->domain.len);
	name->len = (uint8_t)(at + l->domain.len);
	name->labels = (uint8_t)(1 + l->domain.labels);
	return true;
}

/* The name as it is kept; false: not one that a lease may have. */
static bool name_read(const struct leases *l, struct word w, struct dns_name *ret)
{
	static const uint8_t localhost[] = "\011localhost";

	if (!is_host_name(w) || dns_name_parse(w.text, w.len, ret) || ret->labels == 0)
		return false;
	if (memcmp(ret->b, localhost, sizeof localhost - 1) == 0) /* RFC 6761 6.3 */
		return false;
	if (ret->labels == 1)
		return leases_name_qualify(l, ret);
	return l->domain.len > 0 && dns_name_is_below(ret, &l->domain) &&
	       !dns_name_equal(ret, &l->domain);
}

/* --- lines --- */

/* who: the word that may tell the MAC address; NULL: there is none. */
static int lease_add(struct leases_reading *r, const struct dns_name *name,
	const struct ip_addr *addr, const struct word *who)
{
	struct leases *l = r->l;
	struct lease *lease;
	int err;

	if (l->n == LEASES_MAX) {
		if (!r->full)
			complain(r, r->line, "warning", "too many leases; allowed: %u in all files",
				LEASES_MAX);
		r->full = true;
		return 0;
	}
	err = room_grow((void **)&l->leases, &r->room, l->n, 1, sizeof *l->leases);
	if (err)
		return err;
	lease = &l->leases[l->n];
	*lease = (struct lease){.name = *name, .addr = *addr, .order = (uint32_t)l->n};
	lease->has_mac = who && word_mac(*who, lease->mac);
	l->n++;
	return 0;
}

static int line_dnsmasq(struct leases_reading *r, const struct word *w, size_t n, int64_t expiry_s)
{
	struct dns_name name;
	struct ip_addr addr;

	if (n < 4 || !word_address(w[2], &addr)) {
		line_skip(r, "not a lease: EXPIRY MAC ADDRESS HOST CLIENTID is expected");
		return 0;
	}
	if (word_is(w[3], "*") || (expiry_s && expiry_s <= r->now_s))
		return 0;
	if (!name_read(r->l, w[3], &name)) {
		line_skip(r, "the name is no host name, or outside of leases.domain");
		return 0;
	}
	/* Of IPv6 the second word is the IAID. */
	return lease_add(r, &name, &addr, addr.family == IP_V4 ? &w[1] : n > 4 ? &w[4] : NULL);
}

/* The names that lie elsewhere are odhcpd's idea of a domain; HOST alone stands beside them. */
static int line_hosts(
	struct leases_reading *r, const struct word *w, size_t n, const struct ip_addr *addr)
{
	bool any = false;

	for (size_t i = 1; i < n; i++) {
		struct dns_name name;
		int err;

		if (!name_read(r->l, w[i], &name))
			continue;
		any = true;
		err = lease_add(r, &name, addr, NULL);
		if (err)
			return err;
	}
	if (!any)
		line_skip(r, "no name that is a host name, or below leases.domain");
	return 0;
}

static int line_odhcpd(struct leases_reading *r, const struct word *w, size_t n)
{
	static const char broken[] = "broken\\x20";
	struct dns_name name;
	int64_t expiry_s;

	if (!word_number(w[5], &expiry_s)) {
		line_skip(r, "not a lease: # IFACE DUID IAID HOST EXPIRY ID LENGTH ADDRESS/LENGTH… "
			     "is expected");
		return 0;
	}
	/* It is over, or refused: so are the hosts lines before it. */
	if ((expiry_s >= 0 && expiry_s <= r->now_s) ||
		(w[4].len >= sizeof broken - 1 &&
			memcmp(w[4].text, broken, sizeof broken - 1) == 0)) {
		r->l->n = r->pending;
		return 0;
	}
	if (word_is(w[4], "-"))
		return 0;
	if (!name_read(r->l, w[4], &name)) {
		line_skip(r, "the name is no host name, or outside of leases.domain");
		return 0;
	}
	for (size_t i = 8; i < n; i++) {
		const char *slash = memchr(w[i].text, '/', w[i].len);
		struct word address = {w[i].text, slash ? (size_t)(slash - w[i].text) : w[i].len};
		struct word bits = {
			slash ? slash + 1 : "", w[i].len - address.len - (slash != NULL)};
		struct ip_addr addr;
		int err;

		if (!word_address(address, &addr) || !slash) {
			line_skip(r, "not ADDRESS/LENGTH of a host");
			return 0;
		}
		if (!word_is(bits, addr.family == IP_V4 ? "32" : "128"))
			continue; /* a delegated prefix */
		/* Of IPv4 the MAC address stands where the DUID does. */
		err = lease_add(r, &name, &addr, &w[2]);
		if (err)
			return err;
	}
	return 0;
}

static int line_read(struct leases_reading *r, const char *text, size_t len)
{
	struct word w[WORDS_MAX];
	size_t n = words_split(text, len, w);
	struct ip_addr addr;
	int64_t expiry_s;
	int err;

	if (n == 0 || word_is(w[0], "duid"))
		return 0;
	if (w[0].text[0] == '#') {
		if (n < 8) /* a comment */
			return 0;
		err = line_odhcpd(r, w, n);
		r->pending = r->l->n;
		return err;
	}
	if (word_address(w[0], &addr))
		return line_hosts(r, w, n, &addr);
	if (word_number(w[0], &expiry_s)) {
		err = line_dnsmasq(r, w, n, expiry_s);
		r->pending = r->l->n;
		return err;
	}
	line_skip(r, "not a lease");
	return 0;
}

static int text_read(struct leases_reading *r, const char *text, size_t len)
{
	r->pending = r->l->n;
	while (len > 0) {
		const char *newline = memchr(text, '\n', len);
		size_t line = newline ? (size_t)(newline - text) : len;
		int err;

		r->line++;
		err = line_read(r, text, line);
		if (err)
			return err;
		text += line + (newline != NULL);
		len -= line + (newline != NULL);
	}
	if (r->skipped > LIST_TOLD_MAX)
		complain(r, r->line, "note", "%u lines skipped in all, the first %d are told above",
			r->skipped, LIST_TOLD_MAX);
	return 0;
}

int leases_file_read(struct leases_reading *r, struct lease_file *file)
{
	char *text;
	size_t len;
	int err;

	r->path = file->path;
	r->line = r->skipped = 0;
	/* The stamp first: what changes while we read is a change. */
	(void)list_stamp_read(file->path, &file->stamp);
	err = list_text_load(file->path, FILE_MAX_BYTES, &text, &len);
	if (err == -ENOENT)
		return 0; /* nothing has been given out yet */
	if (err == -ENOMEM)
		return err;
	if (err == -EFBIG) {
		complain(r, 1, "warning", "too large; allowed: at most %u bytes", FILE_MAX_BYTES);
		return 0;
	}
	if (err) {
		complain(r, 1, "warning", "%s; allowed: a readable file",
			err == -EINVAL ? "neither a file nor a link to one" : strerror(-err));
		return 0;
	}
	err = text_read(r, text, len);
	free(text);
	return err;
}
