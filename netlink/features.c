#include "netlink/features.h"
#include "netlink/element_read.h"

#include <arpa/inet.h>
#include <libmnl/libmnl.h>
#include <linux/netfilter.h>
#include <linux/netfilter/nf_tables.h>
#include <stdio.h>
#include <unistd.h>

#define TRIAL_MS      1000
#define LIFE_MS	      600000
#define SHORT_LIFE_MS 60000

static const uint8_t key = 1, other_key = 2;

struct trial {
	char table[40];
	struct element_set set;
};

static void table_message(struct nft_batch *b, const struct trial *t, uint16_t type, uint32_t flags)
{
	struct nlmsghdr *h = nft_batch_open(b, type, NFPROTO_INET, 0, 256);

	mnl_attr_put_strz(h, NFTA_TABLE_NAME, t->table);
	if (type == NFT_MSG_NEWTABLE) {
		h->nlmsg_flags |= NLM_F_CREATE;
		mnl_attr_put_u32(h, NFTA_TABLE_FLAGS, htonl(flags));
	}
	nft_batch_close(b);
}

static void set_message(struct nft_batch *b, const struct trial *t)
{
	struct nlmsghdr *h = nft_batch_open(b, NFT_MSG_NEWSET, NFPROTO_INET, NLM_F_CREATE, 256);

	mnl_attr_put_strz(h, NFTA_SET_TABLE, t->table);
	mnl_attr_put_strz(h, NFTA_SET_NAME, t->set.name);
	mnl_attr_put_u32(h, NFTA_SET_FLAGS, htonl(NFT_SET_TIMEOUT));
	mnl_attr_put_u32(h, NFTA_SET_KEY_TYPE, htonl(1));
	mnl_attr_put_u32(h, NFTA_SET_KEY_LEN, htonl(1));
	mnl_attr_put_u32(h, NFTA_SET_ID, htonl(1));
	nft_batch_close(b);
}

static bool try_renew(struct nft_socket *s, struct nft_batch *b, const struct trial *t)
{
	struct element_found found;

	nft_batch_begin(b, s);
	elements_open(b, &t->set, NFT_MSG_NEWSETELEM, NLM_F_CREATE);
	/* The same life, but less of it left: shows whether the kernel looks at it. */
	elements_put_raw(b, &key, 1, LIFE_MS, SHORT_LIFE_MS);
	elements_close(b);
	if (nft_batch_commit(b, s, TRIAL_MS, NULL, NULL) < 0)
		return false;
	return element_read(s, &t->set, &key, 1, &found, TRIAL_MS) == 0 &&
	       found.left_ms <= SHORT_LIFE_MS;
}

static bool try_destroy(struct nft_socket *s, struct nft_batch *b, const struct trial *t)
{
	nft_batch_begin(b, s);
	elements_open(b, &t->set, ELEMENTS_DESTROY, 0);
	elements_put_raw(b, &other_key, 1, ELEMENT_NO_TIMEOUT, 0);
	elements_close(b);
	return nft_batch_commit(b, s, TRIAL_MS, NULL, NULL) == 0;
}

int nft_features_try(struct nft_socket *s, struct nft_batch *b, struct nft_features *ret)
{
	struct trial t = {.set = {.name = "trial", .nfproto = NFPROTO_INET}};
	int r;

	*ret = (struct nft_features){0};
	snprintf(t.table, sizeof t.table, "tungate-trial-%d", (int)getpid());
	t.set.table = t.table;
	nft_batch_begin(b, s);
	table_message(b, &t, NFT_MSG_NEWTABLE, NFT_TABLE_F_OWNER);
	set_message(b, &t);
	elements_open(b, &t.set, NFT_MSG_NEWSETELEM, NLM_F_CREATE);
	elements_put_raw(b, &key, 1, LIFE_MS, 0);
	elements_close(b);
	r = nft_batch_commit(b, s, TRIAL_MS, NULL, NULL);
	if (r < 0)
		return r;
	ret->renew = try_renew(s, b, &t);
	ret->destroy = try_destroy(s, b, &t);
	nft_batch_begin(b, s);
	table_message(b, &t, NFT_MSG_DELTABLE, 0);
	return nft_batch_commit(b, s, TRIAL_MS, NULL, NULL);
}
