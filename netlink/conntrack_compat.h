/* Names of ctnetlink that the headers of the oldest system that we build on lack. The kernel may
 * lack them as well: it then leaves the filter out of account (before Linux 5.8 and 5.14). */
#ifndef TUNGATE_NETLINK_CONNTRACK_COMPAT_H
#define TUNGATE_NETLINK_CONNTRACK_COMPAT_H

enum {
	CONNTRACK_ATTR_STATUS_MASK = 26,       /* CTA_STATUS_MASK */
	CONNTRACK_ATTR_FILTER = 25,	       /* CTA_FILTER */
	CONNTRACK_ATTR_FILTER_ORIGINAL = 1,    /* CTA_FILTER_ORIG_FLAGS */
	CONNTRACK_FILTER_SOURCE = 1 << 0,      /* of its bits: CTA_FILTER_F_CTA_IP_SRC */
	CONNTRACK_FILTER_DESTINATION = 1 << 1, /* CTA_FILTER_F_CTA_IP_DST */
};

#endif
