/* Which client was told which real address for which name: how the name of real traffic is found
 * without looking into it. The last SEEN_NAMES names of each (client, address), for the answers'
 * TTL and SEEN_GRACE_S more; the oldest give way. Shared by all workers, sharded, bounded (320
 * bytes an entry, resident once used). */
#ifndef TUNGATE_CARRY_SEEN_H
#define TUNGATE_CARRY_SEEN_H

#include "gateway/base/addr.h"
#include "gateway/dns/name.h"

#define SEEN_NAMES   4
#define SEEN_GRACE_S 600

struct seen;
int seen_new(unsigned max, struct seen **ret);
void seen_free(struct seen *s); /* NULL is fine */
void seen_note(struct seen *s, const struct ip_addr *client, const struct ip_addr *address,
	const struct dns_name *name, uint32_t ttl_s, uint32_t now_s);
/* Names that this client was told with this address, the latest first; returns how many. */
size_t seen_find(struct seen *s, const struct ip_addr *client, const struct ip_addr *address,
	uint32_t now_s, struct dns_name ret[SEEN_NAMES]);

#endif
