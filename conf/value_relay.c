/* Readers of single values of the relay: whose traffic it takes, where it looks for names. */
#include "conf/options.h"

#include <errno.h>
#include <string.h>
#include <strings.h>

/* One more at the end of *v. Room is there up to the next power of two. */
static void *room_for_one(struct conf_reader *r, void *v, size_t n, size_t size)
{
	void *more;

	if (n & (n - 1))
		return v;
	more = arena_array(r->arena, n ? 2 * n : 1, size);
	if (more && n)
		memcpy(more, v, n * size);
	return more;
}

static int hex_digit(char c)
{
	static const char digits[] = "0123456789abcdef0123456789ABCDEF";
	const char *at = c ? strchr(digits, c) : NULL;

	return at ? (int)(at - digits) % 16 : -1;
}

/* aa:bb:cc:dd:ee:ff, or with hyphens. */
static int mac_parse(const char *text, struct conf_mac *ret)
{
	if (strlen(text) != 3 * sizeof ret->b - 1)
		return -EINVAL;
	for (size_t i = 0; i < sizeof ret->b; i++, text += 3) {
		int high = hex_digit(text[0]), low = hex_digit(text[1]);

		if (high < 0 || low < 0 || (text[2] && text[2] != ':' && text[2] != '-'))
			return -EINVAL;
		ret->b[i] = (uint8_t)(high << 4 | low);
	}
	return 0;
}

static int relay_client_read(struct conf_reader *r, const struct conf_option *o,
	const struct conf_node *node, const char *text, void *ret)
{
	struct conf_who *clients = ret;
	struct ip_prefix prefix;
	struct conf_mac mac, *macs;
	struct ip_prefix *v;

	if (mac_parse(text, &mac) == 0) {
		if (mac.b[0] & 1)
			return conf_wrong(
				r, "%s is the address of a group of stations", conf_quote(r, text));
		macs = room_for_one(r, clients->macs, clients->n_macs, sizeof *macs);
		if (!macs)
			return -ENOMEM;
		macs[clients->n_macs++] = mac;
		clients->macs = macs;
		return 0;
	}
	if (conf_type_prefix.read(r, o, node, text, &prefix))
		return -EINVAL;
	v = room_for_one(r, clients->prefixes.v, clients->prefixes.n, sizeof *v);
	if (!v)
		return -ENOMEM;
	v[clients->prefixes.n++] = prefix;
	clients->prefixes.v = v;
	return 0;
}

const struct conf_type conf_type_relay_client = {"client",
	"ADDRESS or NETWORK/LENGTH, IPv4 or IPv6; a MAC address such as 02:00:5e:10:00:01",
	sizeof(struct conf_who), NULL, relay_client_read};

static int sniff_read(struct conf_reader *r, const struct conf_option *o,
	const struct conf_node *node, const char *text, void *ret)
{
	static const struct {
		const char *word;
		enum conf_sniff bit;
	} words[] = {{"tls", CONF_SNIFF_TLS}, {"http", CONF_SNIFF_HTTP}, {"quic", CONF_SNIFF_QUIC}};

	(void)o;
	if (strcasecmp(text, "off") == 0) {
		const struct conf_node *list = node ? node->parent : NULL;

		if (list && list->kind == CONF_NODE_LIST && list->n > 1)
			return conf_wrong(r, "'off' stands among others");
		return 0;
	}
	for (size_t i = 0; i < sizeof words / sizeof words[0]; i++)
		if (strcmp(text, words[i].word) == 0) {
			*(unsigned *)ret |= words[i].bit;
			return 0;
		}
	return conf_wrong(r, "%s is unknown", conf_quote(r, text));
}

const struct conf_type conf_type_sniff = {
	"word", "a list of tls, http, quic; or off", sizeof(unsigned), NULL, sniff_read};
