/* Readers of kernel sets: their names in dnsmasq's form, what of an element is written into them,
 * and what a map gives for it. */
#include "conf/options.h"

#include <errno.h>
#include <linux/netfilter.h>
#include <string.h>

#include "gateway/base/container.h"

enum {
	SET_NAME_MAX = 255,
	IPSET_NAME_MAX = 31,
	CHAIN_NAME_MAX = 127,
	IPSET_FIELDS_MAX = 3, /* IPSET_DIM_MAX */
	/* What CONF_SET_TEXT_MAX leaves beside two names. */
	TEMPLATE_BYTES_MAX = CONF_SET_TEXT_MAX - 2 * SET_NAME_MAX - 18,
};

/* Splits at '#' into at most max parts; returns their number, 0 if there are more. */
static size_t parts_split(char *text, char *parts[], size_t max)
{
	size_t n = 0;

	while (text && n < max) {
		parts[n++] = text;
		text = strchr(text, '#');
		if (text)
			*text++ = 0;
	}
	return text ? 0 : n;
}

static bool is_identifier(const char *text, size_t max)
{
	static const char chars[] =
		"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_.-/\\";
	size_t n = strlen(text);

	return n > 0 && n <= max && strspn(text, chars) == n && !strchr("0123456789.-/\\", text[0]);
}

static const char blanks[] = " \t\r\n";

/* The name in front of '=', without the blanks around it, in r->arena; *ret_rest: what is behind,
 * NULL: there is no '='. NULL: no memory. */
static char *name_split(struct conf_reader *r, const char *text, const char **ret_rest)
{
	const char *equals = strchr(text, '=');
	size_t len = equals ? (size_t)(equals - text) : strlen(text);

	while (equals && len && strchr(blanks, text[len - 1]))
		len--;
	*ret_rest = equals ? equals + 1 : NULL;
	return arena_strndup(r->arena, text, len);
}

struct template
{ /* what stands behind '=', while it is read */
	struct conf_reader *r;
	const char *text; /* all that is written, for messages */
	char out[TEMPLATE_BYTES_MAX + 1];
	size_t len, fields, fields_max, addrs, clients;
	bool variables; /* may have some */
};

static bool out_add(struct template *t, const char *text, size_t len)
{
	if (len > TEMPLATE_BYTES_MAX - t->len)
		return false;
	memcpy(t->out + t->len, text, len);
	t->len += len;
	t->out[t->len] = 0;
	return true;
}

static bool is_word(const char *text, size_t len)
{
	for (size_t i = 0; i < len; i++)
		if ((unsigned char)text[i] <= ' ' || (unsigned char)text[i] >= 0x7f ||
			strchr("\"'$,;{}#=\\", text[i]))
			return false;
	return len > 0;
}

/* Quotes are taken off: what they enclose has no blank either. Which literals fit is known when the
 * kernel has told what the set is. */
static int literal_check(struct template *t, const char **word, size_t *len)
{
	const char *w = *word;

	if (*len > 1 && (w[0] == '"' || w[0] == '\'') && w[*len - 1] == w[0]) {
		(*word)++;
		*len -= 2;
	}
	if (is_word(*word, *len))
		return 0;
	t->r->allowed = "numbers, addresses, names of ports, protocols and interfaces";
	return conf_wrong(t->r, "%s is not a literal",
		conf_quote(t->r, arena_strndup(t->r->scratch, w, *word == w ? *len : *len + 2)));
}

static int variable_count(struct template *t, const char *word, size_t len)
{
	const char *name = arena_strndup(t->r->scratch, word, len);

	if (!name)
		return -ENOMEM;
	t->r->allowed = t->variables ? "$addr, $client" : "literals";
	if (!t->variables)
		return conf_wrong(t->r, "%s is a variable, and a map's value has none",
			conf_quote(t->r, name));
	if (strcmp(name, "$addr") == 0)
		t->addrs++;
	else if (strcmp(name, "$client") == 0)
		t->clients++;
	else
		return conf_wrong(t->r, "%s is no variable that is known", conf_quote(t->r, name));
	t->r->allowed = NULL;
	return 0;
}

static int field_add(struct template *t, const char *word, size_t len)
{
	int err = word[0] == '$' ? variable_count(t, word, len) : literal_check(t, &word, &len);

	if (err)
		return err;
	if (++t->fields > t->fields_max)
		return conf_wrong(t->r, "%s has more than %zu fields", conf_quote(t->r, t->text),
			t->fields_max);
	if ((t->len && !out_add(t, " . ", 3)) || !out_add(t, word, len))
		return conf_wrong(t->r, "what is behind '=' is longer than %d bytes",
			(int)TEMPLATE_BYTES_MAX);
	return 0;
}

static bool is_dot(const char *word, size_t len)
{
	return len == 1 && word[0] == '.';
}

/* Fields and dots in turn, blanks around each. */
static int fields_read(struct template *t, const char *rest)
{
	bool dot = true; /* or the beginning: a field has to follow */

	for (rest += strspn(rest, blanks); *rest; rest += strspn(rest, blanks)) {
		size_t len = strcspn(rest, blanks);
		int err;

		if (dot == is_dot(rest, len))
			break;
		err = dot ? field_add(t, rest, len) : 0;
		if (err)
			return err;
		dot = !dot;
		rest += len;
	}
	if (!*rest && !dot)
		return 0;
	t->r->allowed = "fields separated by ' . ', as in $addr . 443";
	return conf_wrong(t->r,
		t->len ? "%s has no field on one side of a dot, or no dot between "
			 "two"
		       : "%s has nothing behind '='",
		conf_quote(t->r, t->text));
}

/* The template behind '=' into set->key. */
static int key_read(struct conf_reader *r, const char *text, const char *rest, struct conf_set *set)
{
	struct template t = {.r = r,
		.text = text,
		.variables = true,
		.fields_max = set->is_ipset ? IPSET_FIELDS_MAX : CONF_SET_FIELDS_MAX};
	int err = fields_read(&t, rest);

	if (err)
		return err;
	if (t.addrs != 1) {
		r->allowed = "$addr once";
		return conf_wrong(r, t.addrs ? "%s has $addr more than once" : "%s has no $addr",
			conf_quote(r, text));
	}
	if (t.clients > 1) {
		r->allowed = "$client once at most";
		return conf_wrong(r, "%s has $client more than once", conf_quote(r, text));
	}
	if (t.fields == 1) /* the address alone */
		return 0;
	set->key = arena_strdup(r->arena, t.out);
	return set->key ? 0 : -ENOMEM;
}

/* "jump CHAIN" and "goto CHAIN", blanks made single. 1: it is none of these. */
static int verdict_read(struct conf_reader *r, const char *rest, struct conf_set *set)
{
	const char *chain;
	size_t len;
	char *name;

	if ((strncmp(rest, "jump", 4) != 0 && strncmp(rest, "goto", 4) != 0) ||
		(rest[4] && !strchr(blanks, rest[4])))
		return 1;
	chain = rest + 4 + strspn(rest + 4, blanks);
	len = strcspn(chain, blanks);
	name = arena_strndup(r->scratch, chain, len);
	if (!name)
		return -ENOMEM;
	if (chain[len + strspn(chain + len, blanks)] || !is_identifier(name, CHAIN_NAME_MAX)) {
		r->allowed = "accept, drop, jump CHAIN, goto CHAIN";
		return conf_wrong(r, len ? "%s is not the name of a chain" : "%s names no chain",
			conf_quote(r, len ? chain : rest));
	}
	set->value = arena_printf(r->arena, "%.4s %s", rest, name);
	return set->value ? 0 : -ENOMEM;
}

static int value_read(
	struct conf_reader *r, const char *text, const char *rest, struct conf_set *set)
{
	struct template t = {.r = r, .text = text, .fields_max = CONF_SET_FIELDS_MAX};
	int err;

	rest += strspn(rest, blanks);
	err = verdict_read(r, rest, set);
	if (err <= 0)
		return err;
	err = fields_read(&t, rest);
	if (err)
		return err;
	set->value = arena_strdup(r->arena, t.out);
	return set->value ? 0 : -ENOMEM;
}

static int nfproto_read(const char *text, uint8_t *ret)
{
	static const struct {
		const char *name;
		uint8_t nfproto;
	} families[] = {{"inet", NFPROTO_INET}, {"ip", NFPROTO_IPV4}, {"ip6", NFPROTO_IPV6}};

	for (size_t i = 0; i < sizeof families / sizeof families[0]; i++)
		if (strcmp(text, families[i].name) == 0) {
			*ret = families[i].nfproto;
			return 0;
		}
	return -EINVAL;
}

/* dnsmasq's [(6|4)#[FAMILY#]TABLE#SET]; the family of the table is ip if there is none, as for nft.
 * name is cut into its parts. */
static int name_read(struct conf_reader *r, const char *text, char *name, struct conf_set *set)
{
	char *all[4], **part = all;
	size_t n = parts_split(name, all, 4);

	set->nfproto = NFPROTO_IPV4;
	if (n && (strcmp(part[0], "4") == 0 || strcmp(part[0], "6") == 0)) {
		set->family = part[0][0] == '4' ? IP_V4 : IP_V6;
		part++;
		n--;
	}
	if (n < 2 || n > 3)
		return conf_wrong(r, "%s is not the name of a set in a table", conf_quote(r, text));
	if (n == 2 && nfproto_read(part[0], &(uint8_t){0}) == 0)
		return conf_wrong(
			r, "%s has a family and a set, but no table", conf_quote(r, text));
	if (n == 3 && nfproto_read(*part++, &set->nfproto))
		return conf_wrong(r,
			"%s is not a family of tables that is supported: inet, ip, ip6",
			conf_quote(r, part[-1]));
	if (!is_identifier(part[0], SET_NAME_MAX) || !is_identifier(part[1], SET_NAME_MAX))
		return conf_wrong(r, "%s is not a name for nft",
			conf_quote(r, part[is_identifier(part[0], SET_NAME_MAX)]));
	if ((set->family == IP_V4 && set->nfproto == NFPROTO_IPV6) ||
		(set->family == IP_V6 && set->nfproto == NFPROTO_IPV4))
		return conf_wrong(r, "%s puts IPv%u addresses into a table of the family %s%s",
			conf_quote(r, text), set->family,
			set->nfproto == NFPROTO_IPV6 ? "ip6" : "ip",
			n == 2 ? ", which is the default" : "");
	set->table = part[0];
	set->name = part[1];
	return 0;
}

static int nft_read(struct conf_reader *r, const char *text, bool map, void *ret)
{
	struct conf_set set = {0};
	const char *rest;
	char *name = name_split(r, text, &rest);
	int err = name ? name_read(r, text, name, &set) : -ENOMEM;

	if (!err && map && !rest)
		err = conf_wrong(r, "%s has no value", conf_quote(r, text));
	if (!err && rest)
		err = map ? value_read(r, text, rest, &set) : key_read(r, text, rest, &set);
	if (!err)
		*(struct conf_set *)ret = set;
	return err;
}

static int nftset_read(struct conf_reader *r, const struct conf_option *o,
	const struct conf_node *node, const char *text, void *ret)
{
	(void)o, (void)node;
	return nft_read(r, text, false, ret);
}

const struct conf_type conf_type_nftset = {"set",
	"4#inet#TABLE#SET, 6#inet#TABLE#SET, inet#TABLE#SET; inet, ip or ip6; behind it ' = ' and "
	"fields such as $addr . 443",
	sizeof(struct conf_set), NULL, .read = nftset_read};

static int nftmap_read(struct conf_reader *r, const struct conf_option *o,
	const struct conf_node *node, const char *text, void *ret)
{
	(void)o, (void)node;
	return nft_read(r, text, true, ret);
}

const struct conf_type conf_type_nftmap = {"map",
	"4#inet#TABLE#MAP = VALUE; inet, ip or ip6; VALUE: literals, or accept, drop, jump CHAIN, "
	"goto CHAIN",
	sizeof(struct conf_set), NULL, .read = nftmap_read};

static int ipset_read(struct conf_reader *r, const struct conf_option *o,
	const struct conf_node *node, const char *text, void *ret)
{
	struct conf_set set = {.is_ipset = true};
	const char *rest;
	char *name = name_split(r, text, &rest);
	int err;

	(void)o, (void)node;
	if (!name)
		return -ENOMEM;
	if ((name[0] == '4' || name[0] == '6') && name[1] == '#') {
		set.family = name[0] == '4' ? IP_V4 : IP_V6;
		name += 2;
	}
	if (!name[0] || strlen(name) > IPSET_NAME_MAX)
		return conf_wrong(r, "the name of %s has not 1 to %d characters",
			conf_quote(r, text), IPSET_NAME_MAX);
	for (const char *p = name; *p; p++)
		if (*p <= ' ' || *p == 0x7f || strchr("#,:\"'", *p))
			return conf_wrong(r, "%s is not a name for ipset", conf_quote(r, name));
	set.name = name;
	err = rest ? key_read(r, text, rest, &set) : 0;
	if (!err)
		*(struct conf_set *)ret = set;
	return err;
}

const struct conf_type conf_type_ipset = {"set",
	"SET, 4#SET, 6#SET; behind it ' = ' and fields such as $addr . tcp:443",
	sizeof(struct conf_set), NULL, .read = ipset_read};

/* Of one set; the set itself is read before. */
static int set_timeout_read(struct conf_reader *r, const struct conf_option *o,
	const struct conf_node *node, const char *text, void *ret)
{
	struct conf_set *set = container_of(ret, struct conf_set, ttl);
	int err = conf_type_set_ttl.read(r, o, node, text, ret);

	set->has_ttl = !err;
	return err;
}

const struct conf_type conf_type_set_timeout = {
	"time", NULL, sizeof(struct conf_set_ttl), NULL, .read = set_timeout_read};
