#include "conf/config.h"

#include <linux/netfilter.h>
#include <stdio.h>

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

	if (set->is_ipset)
		snprintf(buf, size, "%s%s", family, set->name);
	else
		snprintf(buf, size, "%s%s#%s#%s", family, nfproto_name(set->nfproto), set->table,
			set->name);
	return buf;
}
