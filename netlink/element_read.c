#include "netlink/element_read.h"

#include <arpa/inet.h>
#include <endian.h>
#include <errno.h>
#include <libmnl/libmnl.h>
#include <linux/netfilter/nf_tables.h>
#include <linux/netfilter/nfnetlink.h>
#include <string.h>

/* --- parsing --- */

static const struct nlattr *find(const void *data, size_t size, uint16_t type)
{
	const struct nlattr *attr = data;
	const uint8_t *end = (const uint8_t *)data + size;

	while (mnl_attr_ok(attr, (int)(end - (const uint8_t *)attr))) {
		if (mnl_attr_get_type(attr) == type)
			return attr;
		attr = mnl_attr_next(attr);
	}
	return NULL;
}

/* in NULL: not found, too. */
static const struct nlattr *find_in(const struct nlattr *in, uint16_t type)
{
	return in ? find(mnl_attr_get_payload(in), mnl_attr_get_payload_len(in), type) : NULL;
}

/* The bytes of NFTA_DATA_VALUE. */
static int take_value(const struct nlattr *data, uint8_t ret[ELEMENT_KEY_MAX], uint8_t *ret_size)
{
	const struct nlattr *value = find_in(data, NFTA_DATA_VALUE);
	size_t size = value ? mnl_attr_get_payload_len(value) : 0;

	if (size == 0 || size > ELEMENT_KEY_MAX)
		return -EBADMSG;
	memcpy(ret, mnl_attr_get_payload(value), size);
	*ret_size = (uint8_t)size;
	return 0;
}

static int take_verdict(const struct nlattr *verdict, struct element_found *ret)
{
	const struct nlattr *code = find_in(verdict, NFTA_VERDICT_CODE);
	const struct nlattr *chain = find_in(verdict, NFTA_VERDICT_CHAIN);
	size_t size = chain ? mnl_attr_get_payload_len(chain) : 0;

	if (!code || mnl_attr_get_payload_len(code) != 4 || size > sizeof ret->chain)
		return -EBADMSG;
	ret->code = (int32_t)ntohl(mnl_attr_get_u32(code));
	if (size) {
		memcpy(ret->chain, mnl_attr_get_payload(chain), size);
		if (ret->chain[size - 1] != 0)
			return -EBADMSG;
	}
	return 0;
}

static int take_data(const struct nlattr *data, struct element_found *ret)
{
	const struct nlattr *verdict = find_in(data, NFTA_DATA_VERDICT);

	ret->has_value = true;
	return verdict ? take_verdict(verdict, ret)
		       : take_value(data, ret->value, &ret->value_size);
}

int element_parse(const struct nlmsghdr *message, struct element_found *ret)
{
	const size_t header = MNL_NLMSG_HDRLEN + MNL_ALIGN(sizeof(struct nfgenmsg));
	const struct nlattr *list, *element, *end, *data, *left;
	int r;

	*ret = (struct element_found){.left_ms = ELEMENT_FOREVER};
	if (message->nlmsg_len < header)
		return -EBADMSG;
	list = find((const uint8_t *)message + header, message->nlmsg_len - header,
		NFTA_SET_ELEM_LIST_ELEMENTS);
	element = find_in(list, NFTA_LIST_ELEM);
	end = find_in(element, NFTA_SET_ELEM_KEY_END);
	data = find_in(element, NFTA_SET_ELEM_DATA);
	/* Of a permanent one the kernel says nothing, or only that its timeout is 0. */
	left = find_in(element, NFTA_SET_ELEM_EXPIRATION);
	r = take_value(find_in(element, NFTA_SET_ELEM_KEY), ret->key, &ret->key_size);
	if (r == 0 && end)
		r = take_value(end, ret->end, &ret->end_size);
	if (r == 0 && data)
		r = take_data(data, ret);
	if (r == 0 && left) {
		if (mnl_attr_get_payload_len(left) != 8)
			return -EBADMSG;
		ret->left_ms = be64toh(mnl_attr_get_u64(left));
	}
	return r;
}

bool element_has_value(const struct element_found *e, const struct element_value *value)
{
	if (!value || !e->has_value)
		return !value && !e->has_value;
	if (value->size || e->value_size)
		return value->size == e->value_size && memcmp(value->b, e->value, value->size) == 0;
	return value->code == e->code && strcmp(value->chain ? value->chain : "", e->chain) == 0;
}

/* --- asking --- */

struct question {
	const struct element_set *set;
	const uint8_t *key;
	uint8_t key_size;
};

struct reply {
	struct element_found *found;
	bool arrived;
	int error;
};

static void fill(struct nlmsghdr *h, const void *arg)
{
	const struct question *q = arg;
	struct nlattr *list, *element, *key;

	mnl_attr_put_strz(h, NFTA_SET_ELEM_LIST_TABLE, q->set->table);
	mnl_attr_put_strz(h, NFTA_SET_ELEM_LIST_SET, q->set->name);
	list = mnl_attr_nest_start(h, NFTA_SET_ELEM_LIST_ELEMENTS);
	element = mnl_attr_nest_start(h, NFTA_LIST_ELEM);
	key = mnl_attr_nest_start(h, NFTA_SET_ELEM_KEY);
	mnl_attr_put(h, NFTA_DATA_VALUE, q->key_size, q->key);
	mnl_attr_nest_end(h, key);
	mnl_attr_nest_end(h, element);
	mnl_attr_nest_end(h, list);
}

/* To the end of the answer, so that nothing of it is left in the socket. */
static int take_answer(void *arg, const struct nlmsghdr *message)
{
	struct reply *reply = arg;

	if (!reply->arrived)
		reply->error = element_parse(message, reply->found);
	reply->arrived = true;
	return 0;
}

static int ask(
	struct nft_socket *s, const struct question *q, struct element_found *ret, int timeout_ms)
{
	struct reply reply = {.found = ret};
	int r = nft_request(s, NFT_MSG_GETSETELEM, q->set->nfproto, 0, fill, q, take_answer, &reply,
		timeout_ms);

	if (r < 0)
		return r;
	return reply.arrived ? reply.error : -ENOENT;
}

static bool is_key(const struct question *q, const uint8_t *key, uint8_t size)
{
	return size == q->key_size && memcmp(key, q->key, size) == 0;
}

static bool is_last(const struct question *q)
{
	unsigned i = 0;

	while (i < q->key_size && q->key[i] == 0xff)
		i++;
	return i == q->key_size;
}

/* Does the range that begins at the key reach further? Then the next key lies in it, too. (Asked
 * for the end of a range the kernel may find none where two ranges touch: Linux 6.18.) */
static int look_behind(
	struct nft_socket *s, const struct question *q, bool *ret_wider, int timeout_ms)
{
	uint8_t next[ELEMENT_KEY_MAX];
	struct question of_next = *q;
	struct element_found found;
	unsigned i = q->key_size;
	int r;

	*ret_wider = false;
	if (is_last(q))
		return 0;
	memcpy(next, q->key, q->key_size);
	while (++next[--i] == 0)
		;
	of_next.key = next;
	r = ask(s, &of_next, &found, timeout_ms);
	if (r < 0 && r != -ENOENT)
		return r;
	*ret_wider = r == 0 && is_key(q, found.key, found.key_size);
	return 0;
}

int element_read(struct nft_socket *s, const struct element_set *set, const uint8_t *key,
	uint8_t key_size, struct element_found *ret, int timeout_ms)
{
	struct question q = {.set = set, .key = key, .key_size = key_size};
	int r = ask(s, &q, ret, timeout_ms);

	if (r < 0)
		return r;
	ret->wider = !is_key(&q, ret->key, ret->key_size) ||
		     (ret->end_size && !is_key(&q, ret->end, ret->end_size));
	if (ret->wider || !set->interval || set->concat)
		return 0;
	return look_behind(s, &q, &ret->wider, timeout_ms);
}
