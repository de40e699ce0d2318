/* What one message of nf_tables means. Pure. */
#include "netlink/monitor_internal.h"
#include "netlink/table.h"

#include <arpa/inet.h>
#include <libmnl/libmnl.h>
#include <linux/netfilter.h>
#include <linux/netfilter/nf_tables.h>
#include <linux/netfilter/nfnetlink.h>
#include <string.h>

/* Messages of a table, a set and a set's elements have the same numbers for what we read. */
_Static_assert((int)NFTA_TABLE_NAME == (int)NFTA_SET_TABLE &&
		       (int)NFTA_SET_TABLE == (int)NFTA_SET_ELEM_LIST_TABLE &&
		       (int)NFTA_SET_NAME == (int)NFTA_SET_ELEM_LIST_SET,
	"one reader for all");

struct names {
	const char *table, *set;
	const struct nlattr *elements;
};

static const char *text_of(const struct nlattr *attr)
{
	return mnl_attr_validate(attr, MNL_TYPE_NUL_STRING) == 0 ? mnl_attr_get_str(attr) : NULL;
}

static int see_table(const struct nlattr *attr, void *data)
{
	if (mnl_attr_get_type(attr) == NFTA_TABLE_NAME)
		((struct names *)data)->table = text_of(attr);
	return MNL_CB_OK;
}

static int see_set(const struct nlattr *attr, void *data)
{
	if (mnl_attr_get_type(attr) == NFTA_SET_NAME)
		((struct names *)data)->set = text_of(attr);
	return see_table(attr, data);
}

static int see_elements(const struct nlattr *attr, void *data)
{
	if (mnl_attr_get_type(attr) == NFTA_SET_ELEM_LIST_ELEMENTS)
		((struct names *)data)->elements = attr;
	return see_set(attr, data);
}

struct element {
	const uint8_t *key; /* NULL: the element that catches all has none */
	size_t key_size;
	bool ends; /* an interval, and is no address of the set's */
};

static int see_value(const struct nlattr *attr, void *data)
{
	struct element *e = data;

	if (mnl_attr_get_type(attr) == NFTA_DATA_VALUE && mnl_attr_get_payload_len(attr) > 0) {
		e->key = mnl_attr_get_payload(attr);
		e->key_size = mnl_attr_get_payload_len(attr);
	}
	return MNL_CB_OK;
}

static int see_element(const struct nlattr *attr, void *data)
{
	if (mnl_attr_get_type(attr) == NFTA_SET_ELEM_KEY)
		return mnl_attr_parse_nested(attr, see_value, data);
	if (mnl_attr_get_type(attr) == NFTA_SET_ELEM_FLAGS &&
		mnl_attr_validate(attr, MNL_TYPE_U32) == 0)
		((struct element *)data)->ends =
			(ntohl(mnl_attr_get_u32(attr)) & NFT_SET_ELEM_INTERVAL_END) != 0;
	return MNL_CB_OK;
}

struct teller {
	monitor_set_visit *visit;
	void *arg;
	struct monitor_set_event event;
};

static int tell_element(const struct nlattr *attr, void *data)
{
	struct element e = {NULL, 0, false};
	struct teller *t = data;

	(void)mnl_attr_parse_nested(attr, see_element, &e);
	if (e.key && !e.ends) {
		t->event.key = e.key;
		t->event.key_size = e.key_size;
		t->visit(t->arg, &t->event);
	}
	return MNL_CB_OK;
}

/* Which attributes a message is read for; NULL: it is no news. */
static mnl_attr_cb_t reader_of(uint8_t message)
{
	switch (message) {
	case NFT_MSG_NEWTABLE:
	case NFT_MSG_DELTABLE:
	case NFT_MSG_NEWCHAIN:
	case NFT_MSG_DELCHAIN:
	case NFT_MSG_NEWRULE:
	case NFT_MSG_DELRULE:
		return see_table;
	case NFT_MSG_NEWSET:
	case NFT_MSG_DELSET:
		return see_set;
	case NFT_MSG_NEWSETELEM:
	case NFT_MSG_DELSETELEM:
		return see_elements;
	default:
		return NULL;
	}
}

static void tell(struct teller *t, uint8_t message, const struct names *names)
{
	t->event.table = names->table;
	t->event.set = names->set;
	switch (message) {
	case NFT_MSG_NEWTABLE:
	case NFT_MSG_DELTABLE:
		t->event.what = MONITOR_TABLE_WENT;
		t->visit(t->arg, &t->event);
		break;
	case NFT_MSG_NEWSET:
	case NFT_MSG_DELSET:
		t->event.what = message == NFT_MSG_NEWSET ? MONITOR_SET_CAME : MONITOR_SET_WENT;
		if (names->set)
			t->visit(t->arg, &t->event);
		break;
	case NFT_MSG_NEWSETELEM:
	case NFT_MSG_DELSETELEM:
		t->event.what =
			message == NFT_MSG_NEWSETELEM ? MONITOR_ELEMENT_CAME : MONITOR_ELEMENT_WENT;
		if (names->set && names->elements)
			(void)mnl_attr_parse_nested(names->elements, tell_element, t);
		break;
	default:
		break;
	}
}

/* What is destroyed rather than deleted is told as deleted (seen in Linux 6.18). */
void monitor_nft_take(
	const struct nlmsghdr *h, monitor_set_visit *visit, void *arg, struct monitor_news *news)
{
	const struct nfgenmsg *g = mnl_nlmsg_get_payload(h);
	struct teller teller = {.visit = visit, .arg = arg};
	struct names names = {NULL, NULL, NULL};
	uint8_t message = (uint8_t)h->nlmsg_type;
	mnl_attr_cb_t reader = reader_of(message);

	/* (libmnl reads on to where the next message would begin.) */
	if (h->nlmsg_type >> 8 != NFNL_SUBSYS_NFTABLES || !reader ||
		mnl_nlmsg_get_payload_len(h) < sizeof *g || h->nlmsg_len % NLMSG_ALIGNTO != 0)
		return;
	(void)mnl_attr_parse(h, sizeof *g, reader, &names);
	teller.event.nfproto = g->nfgen_family;
	if (g->nfgen_family == NFPROTO_INET && names.table && strcmp(names.table, TABLE_NAME) == 0)
		return;
	/* (A table may go with all that it holds.) */
	if (reader == see_table)
		news->nft_rules = true;
	if (visit && names.table)
		tell(&teller, message, &names);
}
