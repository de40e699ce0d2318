/* The users' sets: nft sets in their own tables, and ipsets. What a set is (type, flags) is read
 * from the kernel once and again when it changes; each change of its state is told in one clear
 * line. Nothing here makes or deletes a set. Writer's thread. */
#ifndef TUNGATE_NETLINK_SETS_H
#define TUNGATE_NETLINK_SETS_H

#include "netlink/commit.h"
#include "netlink/writer.h"

#define SETS_MAX 4096

struct ipset_writer;
struct sets {
	struct nl_set *v[SETS_MAX];
	size_t n;
	struct nft_socket *socket;
	struct ipset_writer *ipset; /* opened at the first use */
	void (*changed)(void *arg, const char *text);
	void *arg;
};

void sets_init(struct sets *s, struct nft_socket *socket, void (*changed)(void *, const char *),
	void *arg);
void sets_fini(struct sets *s);

int sets_get(
	struct sets *s, const struct conf_set *conf, struct nl_set **ret); /* -ENOSPC, -ENOMEM */
void sets_look_at_all(struct sets *s);
/* Puts an address into the commit, or into the ipset at once. *ret_item: the item whose result is
 * this one's, -1: the result is returned. An address of the other family than the set's is left
 * out: 0. */
int sets_add(struct nl_set *set, const struct ip_addr *addr, uint32_t timeout_s, struct commit *c,
	int *ret_item);
void sets_info(const struct nl_set *set, struct writer_set_info *ret);

#endif
