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
#include <stdbool.h>
#include <string.h>

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

/* --- user data: nft's own notes, of types and lengths of one byte each (libnftnl/udata.h) --- */

enum { NOTE_KEY_ORDER = 0, NOTE_DATA_ORDER = 1, NOTE_KEY_TYPEOF = 3 };
enum { ORDER_HOST = 1 };
enum { TYPEOF_EXPRESSION = 0, TYPEOF_OF = 1 };
/* Kinds of expressions (enum expr_types of nft's expression.h), and what is noted of them. */
enum { EXPRESSION_PAYLOAD = 7, EXPRESSION_META = 9, EXPRESSION_CT = 12, EXPRESSION_CONCAT = 13 };
enum { PAYLOAD_BITS = 4, META_KEY = 0, CT_KEY = 0 };

struct notes {
	const uint8_t *b;
	size_t left;
};

/* Whoever made the set may have put in anything: what is not nft's ends the reading. */
static bool note_next(struct notes *n, uint8_t *ret_type, struct notes *ret)
{
	if (n->left < 2 || (size_t)n->b[1] + 2 > n->left)
		return false;
	*ret_type = n->b[0];
	*ret = (struct notes){n->b + 2, n->b[1]};
	n->b += ret->left + 2;
	n->left -= ret->left + 2;
	return true;
}

static bool note_find(struct notes n, uint8_t type, struct notes *ret)
{
	uint8_t found;

	while (note_next(&n, &found, ret))
		if (found == type)
			return true;
	return false;
}

static bool note_u32(struct notes n, uint8_t type, uint32_t *ret)
{
	struct notes found;

	if (!note_find(n, type, &found) || found.left != sizeof *ret)
		return false;
	memcpy(ret, found.b, sizeof *ret); /* as the host wrote it */
	return true;
}

/* Those that are integers of a size of their own, and in the host's order. */
static uint8_t meta_size(uint32_t key)
{
	return key == NFT_META_LEN || key == NFT_META_CPU || key == NFT_META_CGROUP ? 4 : 0;
}

static uint8_t ct_size(uint32_t key)
{
	return key == NFT_CT_ZONE ? 2 : 0;
}

/* One expression of a concatenation. */
static struct set_kind_integer integer_of(struct notes field)
{
	struct set_kind_integer i = {0};
	uint32_t expression, value;
	struct notes of;

	if (!note_u32(field, TYPEOF_EXPRESSION, &expression) || !note_find(field, TYPEOF_OF, &of))
		return i;
	if (expression == EXPRESSION_PAYLOAD && note_u32(of, PAYLOAD_BITS, &value) && value &&
		value <= 64) {
		i.size = (uint8_t)((value + 7) / 8);
		i.order = SET_ORDER_NETWORK;
	} else if (expression == EXPRESSION_META && note_u32(of, META_KEY, &value)) {
		i.size = meta_size(value);
		i.order = SET_ORDER_HOST;
	} else if (expression == EXPRESSION_CT && note_u32(of, CT_KEY, &value)) {
		i.size = ct_size(value);
		i.order = SET_ORDER_HOST;
	}
	return i.size ? i : (struct set_kind_integer){0};
}

static void take_typeof(struct notes key, struct set_kind *k)
{
	struct notes fields, field;
	uint32_t expression;
	uint8_t number;

	if (!note_u32(key, TYPEOF_EXPRESSION, &expression) || expression != EXPRESSION_CONCAT ||
		!note_find(key, TYPEOF_OF, &fields))
		return;
	while (note_next(&fields, &number, &field))
		if (number < SET_KIND_FIELDS)
			k->integers[number] = integer_of(field);
}

static void take_user_data(const struct nlattr *attr, struct set_kind *k)
{
	struct notes n = {mnl_attr_get_payload(attr), mnl_attr_get_payload_len(attr)}, key;
	uint32_t order;

	k->key_host_order = note_u32(n, NOTE_KEY_ORDER, &order) && order == ORDER_HOST;
	k->data_host_order = note_u32(n, NOTE_DATA_ORDER, &order) && order == ORDER_HOST;
	if (note_find(n, NOTE_KEY_TYPEOF, &key))
		take_typeof(key, k);
}

/* --- the message --- */

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
