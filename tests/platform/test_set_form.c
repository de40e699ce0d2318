/* Elements made by a set's form are what nft(8) reads as meant: each kind of set is made by nft,
 * read by us, written by us and shown by nft again. */
#include "tests/platform/nft_lab.h"

#include "netlink/batch.h"
#include "netlink/elements.h"
#include "netlink/set_form.h"

#include <libmnl/libmnl.h>
#include <linux/netfilter.h>
#include <linux/netfilter/nf_tables.h>

static struct nft_socket nft;

static void fill_get(struct nlmsghdr *h, const void *arg)
{
	(void)arg;
	mnl_attr_put_strz(h, NFTA_SET_TABLE, "t");
	mnl_attr_put_strz(h, NFTA_SET_NAME, "s");
}

static int take_kind(void *arg, const struct nlmsghdr *answer)
{
	return set_kind_read(answer, arg);
}

static void write_element(const struct set_form *f, const uint8_t *key)
{
	struct element_set at = {"t", "s", NFPROTO_INET, f->interval, f->concat};
	struct element_value value = {f->value, f->value_size, f->code, f->chain};
	struct nft_batch b;

	assert_int_equal(nft_batch_init(&b, 4096), 0);
	nft_batch_begin(&b, &nft);
	elements_open(&b, &at, NFT_MSG_NEWSETELEM, NLM_F_CREATE);
	elements_put(&b, &at, key, f->key_size, f->map ? &value : NULL,
		f->has_timeout ? 3600000 : ELEMENT_NO_TIMEOUT, 0);
	elements_close(&b);
	assert_int_equal(nft_batch_commit(&b, &nft, 2000, NULL, NULL), 0);
	nft_batch_fini(&b);
}

/* nft reads both orders of bytes; what it writes itself must be the same element. */
static void assert_is_there(const char *shown)
{
	char command[256], text[128];

	snprintf(text, sizeof text, "%s", shown);
	text[strcspn(text, "}")] = 0;
	(void)snprintf(command, sizeof command, "nft 'create element inet t s %s }'", text);
	if (works(command))
		fail_msg("nft's own %s is another", shown);
}

/* kind: how nft makes the set; shown: how it shows the element. */
static void check(const char *kind, const char *template, const char *value, const char *addr,
	const char *shown)
{
	char command[256], key_text[64], value_text[64], why[128] = "";
	uint8_t key[SET_KEY_MAX];
	struct ip_addr a = address(addr), client = address("192.0.2.9");
	struct conf_set conf = {0};
	struct set_kind k;
	struct set_form f;

	(void)snprintf(command, sizeof command, "nft 'add %s inet t s { %s; }'",
		value ? "map" : "set", kind);
	must(command);
	if (template)
		conf.key = strcpy(key_text, template);
	if (value)
		conf.value = strcpy(value_text, value);
	assert_int_equal(nft_request(&nft, NFT_MSG_GETSET, NFPROTO_INET, 0, fill_get, NULL,
				 take_kind, &k, 1000),
		0);
	if (set_form_make(&conf, &k, &f, why, sizeof why))
		fail_msg("%s: %s", kind, why);
	assert_true(set_form_key(&f, &a, &client, key));
	write_element(&f, key);
	assert_shows("nft list table inet t", shown);
	if (!value)
		assert_is_there(shown);
	must(value ? "nft delete map inet t s" : "nft delete set inet t s");
}

static void sets(void **state)
{
	(void)state;
	check("type ipv4_addr", NULL, NULL, "192.0.2.1", "{ 192.0.2.1 }");
	check("type ipv6_addr; flags interval", NULL, NULL, "fd00::1", "{ fd00::1 }");
	check("type ipv4_addr; flags interval", NULL, NULL, "255.255.255.255",
		"{ 255.255.255.255 }");
	check("type ipv4_addr . inet_service", "$addr . 443", NULL, "192.0.2.1",
		"{ 192.0.2.1 . 443 }");
	check("type ipv4_addr . inet_service; flags interval", "$addr . 443", NULL, "192.0.2.1",
		"{ 192.0.2.1 . 443 }");
	check("type inet_proto . ipv6_addr . inet_service; flags interval,timeout",
		"udp . $addr . 53", NULL, "fd00::1", "{ udp . fd00::1 . 53 timeout 1h");
	check("typeof ip daddr . meta l4proto . th dport", "$addr . sctp . 80", NULL, "192.0.2.1",
		"{ 192.0.2.1 . sctp . 80 }");
	check("type ifname . ipv4_addr", "lan0 . $addr", NULL, "192.0.2.1",
		"{ \"lan0\" . 192.0.2.1 }");
	check("type ifname . ipv4_addr; flags interval", "lan0 . $addr", NULL, "192.0.2.1",
		"{ \"lan0\" . 192.0.2.1 }");
	check("type ipv4_addr . mark", "$addr . 0x1234", NULL, "192.0.2.1",
		"{ 192.0.2.1 . 0x00001234 }");
	check("type ether_addr . ipv4_addr; flags interval", "02:03:04:05:06:07 . $addr", NULL,
		"192.0.2.1", "{ 02:03:04:05:06:07 . 192.0.2.1 }");
	check("type ipv4_addr . ipv4_addr", "$client . $addr", NULL, "192.0.2.1",
		"{ 192.0.2.9 . 192.0.2.1 }");
	check("type ipv4_addr . uid", "$addr . 4321", NULL, "192.0.2.1", "{ 192.0.2.1 . 4321 }");
	check("typeof ip daddr . ip dscp", "$addr . 0x2e", NULL, "192.0.2.1", "{ 192.0.2.1 . ef }");
	check("typeof ip daddr . ct zone", "$addr . 258", NULL, "192.0.2.1", "{ 192.0.2.1 . 258 }");
	check("typeof ip daddr . ip length; flags interval", "$addr . 258", NULL, "192.0.2.1",
		"{ 192.0.2.1 . 258 }");
	check("typeof vlan id . ip daddr", "258 . $addr", NULL, "192.0.2.1", "{ 258 . 192.0.2.1 }");
	check("typeof ip daddr . meta length", "$addr . 258", NULL, "192.0.2.1",
		"{ 192.0.2.1 . 258 }");
	check("type ipv4_addr . mark; flags interval", "$addr . 0x1234", NULL, "192.0.2.1",
		"{ 192.0.2.1 . 0x00001234 }");
	check("type ipv4_addr . uid . ipv4_addr; flags interval", "$client . 4321 . $addr", NULL,
		"192.0.2.1", "{ 192.0.2.9 . 4321 . 192.0.2.1 }");
	check("typeof ip daddr . meta length; flags interval", "$addr . 258", NULL, "192.0.2.1",
		"{ 192.0.2.1 . 258 }");
	check("typeof ip daddr . ct zone; flags interval", "$addr . 258", NULL, "192.0.2.1",
		"{ 192.0.2.1 . 258 }");
	check("type ether_type . ipv4_addr", "ip . $addr", NULL, "192.0.2.1", "{ ip . 192.0.2.1 }");
}

static void maps(void **state)
{
	(void)state;
	must("nft add chain inet t web");
	check("type ipv4_addr : mark", NULL, "0x10", "192.0.2.1", "192.0.2.1 : 0x00000010");
	check("typeof ip6 daddr : meta mark; flags interval", NULL, "16", "fd00::1",
		"fd00::1 : 0x00000010");
	check("type ipv4_addr : verdict", NULL, "jump web", "192.0.2.1", "192.0.2.1 : jump web");
	check("type ipv4_addr : verdict", NULL, "return", "192.0.2.1", "192.0.2.1 : return");
	check("type ipv4_addr : verdict; flags interval", NULL, "drop", "192.0.2.1",
		"192.0.2.1 : drop");
	check("type ipv4_addr : ipv4_addr . inet_service", NULL, "192.0.2.7 . 8080", "192.0.2.1",
		"192.0.2.1 : 192.0.2.7 . 8080");
	check("type ipv4_addr . inet_service : mark; flags timeout", "$addr . 443", "0x10",
		"192.0.2.1", "192.0.2.1 . 443 timeout 1h");
	check("typeof ip daddr : ct zone", NULL, "258", "192.0.2.1", "192.0.2.1 : 258");
	check("typeof ip daddr : ip length", NULL, "258", "192.0.2.1", "192.0.2.1 : 258");
	check("type ipv4_addr : classid", NULL, "0x10007", "192.0.2.1", "192.0.2.1 : 1:7");
}

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(sets), cmocka_unit_test(maps)};

	netns_enter();
	assert_int_equal(nft_socket_open(&nft), 0);
	must("nft add table inet t");
	return cmocka_run_group_tests(tests, NULL, NULL);
}
