#include "conf/config.h"

#include <linux/netfilter.h>
#include <stdio.h>
#include <string.h>

static const char *nfproto_name(uint8_t nfproto)
{
	switch (nfproto) {
	case NFPROTO_INET:
		return "inet";
	case NFPROTO_IPV4:
		return "ip";
	case NFPROTO_IPV6:
		return "ip6";
	case NFPROTO_ARP:
		return "arp";
	case NFPROTO_NETDEV:
		return "netdev";
	case NFPROTO_BRIDGE:
		return "bridge";
	default:
		return "?";
	}
}

const char *conf_set_format(const struct conf_set *set, char *buf, size_t size)
{
	const char *family = set->family == IP_V4 ? "4#" : set->family == IP_V6 ? "6#" : "";
	const char *more = set->value ? set->value : set->key;
	int n;

	if (set->is_ipset)
		n = snprintf(buf, size, "%s%s", family, set->name);
	else
		n = snprintf(buf, size, "%s%s#%s#%s", family, nfproto_name(set->nfproto),
			set->table, set->name);
	if (more && n >= 0 && (size_t)n < size)
		snprintf(buf + n, size - (size_t)n, " = %s", more);
	return buf;
}

static enum conf_set_field_kind field_kind(const char *text, size_t len)
{
	if (len == 5 && memcmp(text, "$addr", 5) == 0)
		return CONF_FIELD_ADDR;
	return len == 7 && memcmp(text, "$client", 7) == 0 ? CONF_FIELD_CLIENT : CONF_FIELD_LITERAL;
}

size_t conf_set_fields(const char *text, struct conf_set_field ret[CONF_SET_FIELDS_MAX])
{
	size_t n = 0;

	while (text && n < CONF_SET_FIELDS_MAX) {
		const char *dot = strstr(text, " . ");
		size_t len = dot ? (size_t)(dot - text) : strlen(text);

		ret[n++] = (struct conf_set_field){field_kind(text, len), text, len};
		text = dot ? dot + 3 : NULL;
	}
	return n;
}
