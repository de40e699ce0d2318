/* What the kernel tells of a set (struct nft_set, NFT_MSG_NEWSET). Numbers are in network order,
 * but for those in the user data, which nft keeps for itself in its host's. */
#include "netlink/set_form.h"

#include <arpa/inet.h>
#include <endian.h>
#include <errno.h>
#include <libmnl/libmnl.h>
#include <linux/netfilter.h>
#include <linux/netfilter/nf_tables.h>
#include <linux/netfilter/nfnetlink.h>
#include <string.h>

/* nft's user data (libnftnl/udata.h): type and length of one byte each, then the value. */
enum { UDATA_KEY_BYTEORDER = 0, UDATA_DATA_BYTEORDER = 1 };
enum { BYTEORDER_HOST = 1 };

typedef int take_attr(const struct nlattr *attr, struct set_kind *k);

/* Takes all attributes in size bytes; those must be attributes to their end. */
static int take_all(const void *from, size_t size, take_attr *take, struct set_kind *k)
{
	const uint8_t *end = (const uint8_t *)from + size;
	const struct nlattr *attr = from;
	int err;

	while ((const uint8_t *)attr < end) {
		if (!mnl_attr_ok(attr, (int)(end - (const uint8_t *)attr)))
			return -EBADMSG;
		err = take(attr, k);
		if (err)
			return err;
		attr = mnl_attr_next(attr);
	}
	return 0;
}

static int take_nest(const struct nlattr *attr, take_attr *take, struct set_kind *k)
{
	return take_all(mnl_attr_get_payload(attr), mnl_attr_get_payload_len(attr), take, k);
}

static int take_u32(const struct nlattr *attr, uint32_t *ret)
{
	if (mnl_attr_get_payload_len(attr) != sizeof *ret)
		return -EBADMSG;
	*ret = ntohl(mnl_attr_get_u32(attr));
	return 0;
}

static int take_field_attr(const struct nlattr *attr, struct set_kind *k)
{
	uint32_t size;

	if (mnl_attr_get_type(attr) != NFTA_SET_FIELD_LEN)
		return 0;
	if (take_u32(attr, &size) || size == 0 || size > SET_KEY_MAX ||
		k->n_fields == SET_KIND_FIELDS)
		return -EBADMSG;
	k->field_size[k->n_fields++] = (uint8_t)size;
	return 0;
}

static int take_field(const struct nlattr *attr, struct set_kind *k)
{
	return take_nest(attr, take_field_attr, k);
}

static int take_description(const struct nlattr *attr, struct set_kind *k)
{
	switch (mnl_attr_get_type(attr)) {
	case NFTA_SET_DESC_SIZE:
		return take_u32(attr, &k->size);
	case NFTA_SET_DESC_CONCAT:
		return take_nest(attr, take_field, k);
	default:
		return 0;
	}
}

/* Whoever made the set may have put in anything: what is not nft's is left alone. */
static void take_user_data(const struct nlattr *attr, struct set_kind *k)
{
	const uint8_t *b = mnl_attr_get_payload(attr);
	size_t left = mnl_attr_get_payload_len(attr);

	while (left >= 2 && (size_t)b[1] + 2 <= left) {
		uint32_t order;

		if (b[0] <= UDATA_DATA_BYTEORDER && b[1] == sizeof order) {
			memcpy(&order, b + 2, sizeof order);
			if (b[0] == UDATA_KEY_BYTEORDER)
				k->key_host_order = order == BYTEORDER_HOST;
			else
				k->data_host_order = order == BYTEORDER_HOST;
		}
		left -= (size_t)b[1] + 2;
		b += (size_t)b[1] + 2;
	}
}

static int take_set(const struct nlattr *attr, struct set_kind *k)
{
	switch (mnl_attr_get_type(attr)) {
	case NFTA_SET_FLAGS:
		return take_u32(attr, &k->flags);
	case NFTA_SET_KEY_TYPE:
		return take_u32(attr, &k->key_type);
	case NFTA_SET_KEY_LEN:
		return take_u32(attr, &k->key_size);
	case NFTA_SET_DATA_TYPE:
		return take_u32(attr, &k->data_type);
	case NFTA_SET_DATA_LEN:
		return take_u32(attr, &k->data_size);
	case NFTA_SET_TIMEOUT:
		if (mnl_attr_get_payload_len(attr) != sizeof k->timeout_ms)
			return -EBADMSG;
		k->timeout_ms = be64toh(mnl_attr_get_u64(attr));
		return 0;
	case NFTA_SET_DESC:
		return take_nest(attr, take_description, k);
	case NFTA_SET_USERDATA:
		take_user_data(attr, k);
		return 0;
	default:
		return 0;
	}
}

int set_kind_read(const struct nlmsghdr *message, struct set_kind *ret)
{
	struct set_kind k = {0};
	const size_t head = sizeof *message + sizeof(struct nfgenmsg);
	int err;

	if (message->nlmsg_type != (NFNL_SUBSYS_NFTABLES << 8 | NFT_MSG_NEWSET) ||
		message->nlmsg_len < head)
		return -EBADMSG;
	err = take_all((const uint8_t *)message + head, message->nlmsg_len - head, take_set, &k);
	if (err)
		return err;
	if (k.key_size == 0 || k.key_size > SET_KEY_MAX || k.data_size > SET_KEY_MAX)
		return -EBADMSG;
	*ret = k;
	return 0;
}
