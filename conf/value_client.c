/* Readers of single values that say who a client is. Names of groups are only looked at here:
 * check_clients.c puts in their place what the groups hold. */
#include "conf/options.h"

#include <errno.h>
#include <string.h>

#include "gateway/base/container.h"

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

int conf_client_group(struct conf_reader *r, const char *text)
{
	const struct conf_node *groups = conf_node_get(r->root, "clients");
	const struct conf_node *group = conf_node_get(groups, text);
	int i = 0;

	if (!group)
		return -1;
	for (const struct conf_node *c = groups->first; c != group; c = c->next)
		i++;
	return i;
}

int conf_prefix_add(
	struct conf_reader *r, struct conf_prefixes *prefixes, const struct ip_prefix *prefix)
{
	struct ip_prefix *v = conf_array_room(r, prefixes->v, prefixes->n, sizeof *v);

	if (!v)
		return -ENOMEM;
	v[prefixes->n++] = *prefix;
	prefixes->v = v;
	return 0;
}

int conf_mac_add(struct conf_reader *r, struct conf_who *who, const struct conf_mac *mac)
{
	struct conf_mac *v = conf_array_room(r, who->macs, who->n_macs, sizeof *v);

	if (!v)
		return -ENOMEM;
	v[who->n_macs++] = *mac;
	who->macs = v;
	return 0;
}

/* Looks like the name of a group, and not like an address gone wrong. */
static bool is_word(const char *text)
{
	return text[0] && !strpbrk(text, ":/") && strspn(text, "0123456789.") < strlen(text);
}

static const char *group_names(struct conf_reader *r)
{
	const struct conf_node *groups = conf_node_get(r->root, "clients");
	const char *names = NULL;
	unsigned n = 0;

	for (const struct conf_node *c = groups ? groups->first : NULL; c && c->key && n < 32;
		c = c->next, n++)
		names = arena_printf(
			r->scratch, "%s%s%.40s", names ? names : "", names ? ", " : "", c->key);
	return names;
}

/* An address, a network, a MAC address, the name of a group. */
static int station_read(struct conf_reader *r, const struct conf_option *o,
	const struct conf_node *node, const char *text, struct conf_who *who)
{
	struct ip_prefix prefix;
	struct conf_mac mac;
	const char *names;

	if (mac_parse(text, &mac) == 0) {
		if (mac.b[0] & 1)
			return conf_wrong(
				r, "%s is the address of a group of stations", conf_quote(r, text));
		return conf_mac_add(r, who, &mac);
	}
	if (conf_type_prefix.read(r, o, node, text, &prefix) == 0)
		return conf_prefix_add(r, &who->prefixes, &prefix);
	if (conf_client_group(r, text) >= 0)
		return 0;
	if (!is_word(text))
		return -EINVAL;
	names = group_names(r);
	if (names)
		r->allowed = arena_printf(r->scratch, "%s; %s", names, o->type->allowed);
	return conf_wrong(r, "there is no group in clients named %s", conf_quote(r, text));
}

static int host_read(struct conf_reader *r, const char *text, struct conf_who *who)
{
	char name[CONF_DOMAIN_MAX + 1];
	int err = conf_domain_canonical(r, text, name);

	return err ? err : conf_strings_add(r, &who->hosts, name);
}

static int client_read(struct conf_reader *r, const struct conf_option *o,
	const struct conf_node *node, const char *text, void *ret)
{
	struct conf_who *who = ret;

	if (strncmp(text, "host:", 5) == 0)
		return host_read(r, text + 5, who);
	if (strncmp(text, "if:", 3) != 0)
		return station_read(r, o, node, text, who);
	if (!conf_is_interface(text + 3, strlen(text + 3)))
		return conf_wrong(r, "%s is not the name of an interface", conf_quote(r, text + 3));
	return conf_strings_add(r, &who->interfaces, text + 3);
}

#define STATIONS                                                                                   \
	"ADDRESS or NETWORK/LENGTH, IPv4 or IPv6; a MAC address such as 02:00:5e:10:00:01; a "     \
	"name in clients"

const struct conf_type conf_type_client = {"client", STATIONS "; host:NAME; if:INTERFACE",
	sizeof(struct conf_who), NULL, .read = client_read};

/* host: and if: have a place in clients only, where they get a name. */
static int station_only(struct conf_reader *r, const struct conf_option *o,
	const struct conf_node *node, const char *text, struct conf_who *who)
{
	if (strncmp(text, "host:", 5) == 0 || strncmp(text, "if:", 3) == 0)
		return conf_wrong(
			r, "%s can only be written in a group of clients", conf_quote(r, text));
	return station_read(r, o, node, text, who);
}

static int rule_client_read(struct conf_reader *r, const struct conf_option *o,
	const struct conf_node *node, const char *text, void *ret)
{
	struct conf_rule *rule = container_of(ret, struct conf_rule, client);
	struct ip_prefix prefix;

	if (text[0] != '!')
		return station_only(r, o, node, text, &rule->client);
	if (conf_type_prefix.read(r, o, node, text + 1, &prefix)) {
		r->allowed = "!ADDRESS, !NETWORK/LENGTH";
		return -EINVAL;
	}
	return conf_prefix_add(r, &rule->not_client, &prefix);
}

const struct conf_type conf_type_rule_client = {"client", STATIONS "; !NETWORK/LENGTH",
	sizeof(struct conf_who), NULL, .read = rule_client_read};

static int relay_client_read(struct conf_reader *r, const struct conf_option *o,
	const struct conf_node *node, const char *text, void *ret)
{
	return station_only(r, o, node, text, ret);
}

const struct conf_type conf_type_relay_client = {
	"client", STATIONS, sizeof(struct conf_who), NULL, .read = relay_client_read};
