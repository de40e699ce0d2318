#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "netlink/set_form.h"

#include <errno.h>
#include <libmnl/libmnl.h>
#include <linux/netfilter.h>
#include <linux/netfilter/nf_tables.h>
#include <linux/netfilter/nfnetlink.h>
#include <netdb.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const struct ip_addr v4 = {{1, 2, 3, 4}, IP_V4}, v6 = {{0xfd, [15] = 1}, IP_V6},
			    mapped = {{[10] = 0xff, 0xff, 1, 2, 3, 4}, IP_V6},
			    client4 = {{10, 0, 0, 9}, IP_V4}, client6 = {{0xfe, [15] = 9}, IP_V6};

/* What a 6.18 kernel answered for sets that nft 1.0.6 had made; the name says how. */
static struct set_kind told(const char *name)
{
	char path[512];
	uint8_t buf[2048];
	struct set_kind kind;
	FILE *file;
	size_t n;

	(void)snprintf(path, sizeof path, SOURCE_DIR "/tests/fuzz/seeds/fuzz_set_kind/%s", name);
	file = fopen(path, "rb");
	assert_non_null(file);
	n = fread(buf, 1, sizeof buf, file);
	(void)fclose(file);
	assert_int_equal(((struct nlmsghdr *)(void *)buf)->nlmsg_len, n);
	assert_int_equal(set_kind_read((struct nlmsghdr *)(void *)buf, &kind), 0);
	return kind;
}

static int make(
	const char *set, const char *key, const char *value, struct set_form *ret, char why[128])
{
	char key_text[256], value_text[512];
	struct conf_set conf = {0};
	struct set_kind kind = told(set);

	if (key)
		conf.key = strcpy(key_text, key);
	if (value)
		conf.value = strcpy(value_text, value);
	why[0] = 0;
	return set_form_make(&conf, &kind, ret, why, 128);
}

static struct set_form form(const char *set, const char *key, const char *value)
{
	struct set_form f;
	char why[128];

	if (make(set, key, value, &f, why))
		fail_msg("%s: %s", set, why);
	return f;
}

static void refused(const char *set, const char *key, const char *value, const char *reason)
{
	struct set_form f;
	char why[128];

	assert_int_equal(make(set, key, value, &f, why), -EINVAL);
	assert_string_equal(why, reason);
}

static void has_key(const struct set_form *f, const struct ip_addr *addr, const char *hex)
{
	uint8_t key[SET_KEY_MAX];
	char text[2 * SET_KEY_MAX + 1];

	assert_true(set_form_key(f, addr, &client4, key));
	for (size_t i = 0; i < f->key_size; i++)
		(void)snprintf(text + 2 * i, 3, "%02x", key[i]);
	assert_string_equal(text, hex);
}

static bool takes(const struct set_form *f, const struct ip_addr *addr)
{
	uint8_t key[SET_KEY_MAX];

	return set_form_key(f, addr, NULL, key);
}

/* --- what a set is --- */

static void a_kind_is_read(void **state)
{
	struct set_kind k = told("timeout4");

	(void)state;
	assert_int_equal(k.flags, NFT_SET_TIMEOUT);
	assert_int_equal(k.key_type, 7);
	assert_int_equal(k.key_size, 4);
	assert_int_equal(k.timeout_ms, 3600000);
	assert_int_equal(k.size, 65535);
	assert_int_equal(k.n_fields, 0);
	k = told("verdictc");
	assert_int_equal(k.flags, NFT_SET_MAP | NFT_SET_INTERVAL | NFT_SET_CONCAT);
	assert_int_equal(k.n_fields, 2);
	assert_int_equal(k.field_size[0], 4);
	assert_int_equal(k.field_size[1], 2);
	assert_int_equal(k.data_type, NFT_DATA_VERDICT);
	assert_true(told("tzone").data_host_order);
	assert_false(told("tlen").data_host_order);
	assert_true(told("mark4").data_host_order);
	k = told("event_range_ifname"); /* an event is written as an answer is */
	assert_int_equal(k.key_size, 32);
}

static void a_broken_message_is_refused(void **state)
{
	char buf[512] __attribute__((aligned(8))) = {0};
	struct nlmsghdr *h = mnl_nlmsg_put_header(buf);
	struct set_kind k;
	struct nlattr *attr;

	(void)state;
	h->nlmsg_type = NFNL_SUBSYS_NFTABLES << 8 | NFT_MSG_NEWSET;
	assert_int_equal(set_kind_read(h, &k), -EBADMSG);
	mnl_nlmsg_put_extra_header(h, sizeof(struct nfgenmsg));
	assert_int_equal(set_kind_read(h, &k), -EBADMSG); /* no key */
	mnl_attr_put_u32(h, NFTA_SET_KEY_LEN, htonl(4));
	assert_int_equal(set_kind_read(h, &k), 0);
	attr = mnl_nlmsg_get_payload_tail(h);
	mnl_attr_put_u32(h, NFTA_SET_KEY_LEN, htonl(SET_KEY_MAX + 1));
	assert_int_equal(set_kind_read(h, &k), -EBADMSG);
	h->nlmsg_len = (uint32_t)((char *)attr - buf);
	mnl_attr_put_u16(h, NFTA_SET_FLAGS, 0);
	assert_int_equal(set_kind_read(h, &k), -EBADMSG);
	h->nlmsg_len = (uint32_t)((char *)attr - buf);
	mnl_attr_put_u32(h, NFTA_SET_TABLE, 0);
	attr->nla_len += 4; /* beyond the message */
	assert_int_equal(set_kind_read(h, &k), -EBADMSG);
	attr->nla_len -= 4;
	assert_int_equal(set_kind_read(h, &k), 0);
	h->nlmsg_type++;
	assert_int_equal(set_kind_read(h, &k), -EBADMSG);
}

/* Bytes that are not nft's are no reason to give a set up. */
static void foreign_user_data_is_left_alone(void **state)
{
	char buf[512] __attribute__((aligned(8))) = {0};
	struct nlmsghdr *h = mnl_nlmsg_put_header(buf);
	struct set_kind k;

	(void)state;
	h->nlmsg_type = NFNL_SUBSYS_NFTABLES << 8 | NFT_MSG_NEWSET;
	mnl_nlmsg_put_extra_header(h, sizeof(struct nfgenmsg));
	mnl_attr_put_u32(h, NFTA_SET_KEY_LEN, htonl(4));
	mnl_attr_put(h, NFTA_SET_USERDATA, 5, "\0\xff\1\0");
	assert_int_equal(set_kind_read(h, &k), 0);
	assert_false(k.key_host_order);
}

/* --- sets --- */

static void plain_sets_take_their_family(void **state)
{
	struct set_form f = form("plain4", NULL, NULL);

	(void)state;
	assert_int_equal(f.family, IP_V4);
	assert_false(f.interval || f.concat || f.map || f.has_timeout);
	has_key(&f, &v4, "01020304");
	has_key(&f, &mapped, "01020304");
	assert_false(takes(&f, &v6));
	f = form("interval6", NULL, NULL);
	assert_true(f.interval && f.has_timeout && !f.concat);
	has_key(&f, &v6, "fd000000000000000000000000000001");
	assert_false(takes(&f, &v4));
	assert_false(takes(&f, &mapped));
	assert_int_equal(form("typeof4", NULL, NULL).family, IP_V4);
	assert_int_equal(form("typeof6", "$addr", NULL).family, IP_V6);
	assert_true(form("dynamic6", NULL, NULL).has_timeout);
}

/* A set of a program that names no type. */
static void sizes_tell_where_types_do_not(void **state)
{
	struct set_kind k = {.key_size = 16};
	struct conf_set conf = {0};
	char why[128], key[] = "$addr . 443 . lan0";
	struct set_form f;

	(void)state;
	assert_int_equal(set_form_make(&conf, &k, &f, why, sizeof why), 0);
	assert_int_equal(f.family, IP_V6);
	k.key_size = 8;
	assert_int_equal(set_form_make(&conf, &k, &f, why, sizeof why), -EINVAL);
	assert_string_equal(why, "its elements are not addresses");
	k = (struct set_kind){.key_size = 24, .n_fields = 3, .field_size = {4, 2, 16}};
	conf.key = key;
	assert_int_equal(set_form_make(&conf, &k, &f, why, sizeof why), 0);
	has_key(&f, &v4, "0102030401bb00006c616e30000000000000000000000000");
	k.key_size = 28;
	assert_int_equal(set_form_make(&conf, &k, &f, why, sizeof why), -EINVAL);
	assert_string_equal(why, "its key has 28 bytes, which its fields do not fill");
	k.key_size = 20;
	assert_int_equal(set_form_make(&conf, &k, &f, why, sizeof why), -EINVAL);
}

static void what_takes_no_address_is_refused(void **state)
{
	char why[8];
	struct set_kind k = told("const4");
	struct conf_set conf = {.family = IP_V6};
	struct set_form f;

	(void)state;
	refused("const4", NULL, NULL, "it is constant");
	refused("ifonly", NULL, NULL, "its elements are not addresses");
	refused("numg", NULL, "192.0.2.1", "its elements are not addresses");
	refused("port", NULL, NULL,
		"its elements have 2 fields: a template is needed, as in = $addr . 443");
	refused("plain4", "$addr . 443", NULL, "its elements have 1 field, the template has 2");
	refused("proto_port", "$addr . 443", NULL,
		"its elements have 3 fields, the template has 2");
	/* Long reasons are cut. */
	assert_int_equal(set_form_make(&conf, &k, &f, why, sizeof why), -EINVAL);
	assert_string_equal(why, "it is c");
}

static void the_family_that_is_written_counts(void **state)
{
	struct set_kind k = told("plain6");
	struct conf_set conf = {.family = IP_V4};
	struct set_form f;
	char why[128];

	(void)state;
	assert_int_equal(set_form_make(&conf, &k, &f, why, sizeof why), -EINVAL);
	assert_string_equal(why, "its addresses are IPv6");
	conf.family = IP_V6;
	assert_int_equal(set_form_make(&conf, &k, &f, why, sizeof why), 0);
}

/* --- templates: the bytes are those that nft 1.0.6 wrote for the same element --- */

static void templates_are_written_as_nft_does(void **state)
{
	static const struct {
		const char *set, *key, *hex;
	} cases[] = {
		{"port", "$addr . 443", "0102030401bb0000"},
		{"port", "$addr . 0x1bb", "0102030401bb0000"},
		{"typeofc", "$addr . 443", "0102030401bb0000"},
		{"range_port", "$addr . 443", "0102030401bb0000"},
		{"proto_port", "$addr . tcp . 443", "010203040600000001bb0000"},
		{"l4", "$addr . udp . 53", "010203041100000000350000"},
		{"l4", "$addr . ipv6-icmp . 0", "010203043a00000000000000"},
		{"ifnam", "$addr . lan0", "010203046c616e30000000000000000000000000"},
		{"typeofi", "$addr . lan0", "010203046c616e30000000000000000000000000"},
		{"etherm", "02:03:04:05:06:07 . $addr", "020304050607000001020304"},
		{"etherm", "aA:bb:CC:00:00:ff . $addr", "aabbcc0000ff000001020304"},
		{"ethertype", "ip . $addr", "0800000001020304"},
		{"ethertype", "0x86dd . $addr", "86dd000001020304"},
		{"dscpm", "$addr . 0x2e", "010203042e000000"},
		{"client", "$addr . $client", "010203040a000009"},
		{"client", "192.0.2.7 . $addr", "c000020701020304"},
	};

	(void)state;
	for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
		struct set_form f = form(cases[i].set, cases[i].key, NULL);

		assert_int_equal(f.family, IP_V4);
		has_key(&f, &v4, cases[i].hex);
		assert_int_equal(f.concat, strcmp(cases[i].set, "range_port") == 0);
	}
}

static void ports_have_names(void **state)
{
	struct set_form f;

	(void)state;
	if (!getservbyname("domain", NULL)) /* no /etc/services */
		skip();
	f = form("port", "$addr . domain", NULL);
	has_key(&f, &v4, "0102030400350000");
}

static void templates_of_ipv6(void **state)
{
	struct set_form f = form("range_ifname", "lan0 . $addr", NULL);

	(void)state;
	assert_true(f.interval && f.concat && f.has_timeout);
	has_key(&f, &v6, "6c616e30000000000000000000000000fd000000000000000000000000000001");
	f = form("port_first", "udp . $addr . 443", NULL);
	has_key(&f, &v6, "11000000fd00000000000000000000000000000101bb0000");
	f = form("nfp", "ipv6 . $addr", NULL);
	has_key(&f, &v6, "0a000000fd000000000000000000000000000001");
	f = form("event_range_ifname", "eth1.100 . $addr", NULL);
	has_key(&f, &v6, "657468312e3130300000000000000000fd000000000000000000000000000001");
}

static void the_hosts_own_numbers(void **state)
{
	static const char *const sets[] = {"markc", "uidm", "ifindexm"};
	const uint32_t want = 0x12345;

	(void)state;
	for (size_t i = 0; i < 3; i++) {
		struct set_form f = form(sets[i], "$addr . 0x12345", NULL);

		assert_memory_equal(f.key + 4, &want, 4);
	}
}

static void a_client_has_a_family_of_its_own(void **state)
{
	struct set_kind k = {.key_type = 8 << 6 | 7, .key_size = 20};
	char key[] = "$client . $addr", twice[] = "$addr . $addr", why[128];
	struct conf_set conf = {.key = key};
	uint8_t out[SET_KEY_MAX];
	struct set_form f;

	(void)state;
	assert_int_equal(set_form_make(&conf, &k, &f, why, sizeof why), 0);
	assert_int_equal(f.family, IP_V4);
	assert_int_equal(f.client_family, IP_V6);
	assert_int_equal(f.client_at, 0);
	assert_int_equal(f.addr_at, 16);
	assert_true(set_form_key(&f, &v4, &client6, out));
	assert_memory_equal(out, client6.b, 16);
	assert_memory_equal(out + 16, v4.b, 4);
	assert_false(set_form_key(&f, &v4, &client4, out));
	assert_false(set_form_key(&f, &v4, &(struct ip_addr){0}, out));
	assert_false(set_form_key(&f, &v4, NULL, out));
	assert_false(set_form_key(&f, &v6, &client6, out));
	conf.key = twice;
	k = (struct set_kind){.key_type = 7 << 6 | 7, .key_size = 8};
	assert_int_equal(set_form_make(&conf, &k, &f, why, sizeof why), -EINVAL);
	assert_string_equal(why, "$addr stands twice");
}

static void literals_that_do_not_fit(void **state)
{
	static const char *const ports[] = {"$addr . 65536", "$addr . -1", "$addr . 0x",
		"$addr . lan0", "$addr . 4 43", "$addr . 443-445", "$addr . 1.2.3.4"};
	static const char *const names[] = {
		"$addr . lan*", "$addr . a23456789012345x", "$addr . a/b"};
	static const char *const macs[] = {"02:03:04:05:06 . $addr", "02:03:04:05:06:07:08 . $addr",
		"02:03:04:05:06:0g . $addr", "02-03-04-05-06-07 . $addr"};
	struct set_form f;
	char why[128];

	(void)state;
	for (size_t i = 0; i < sizeof ports / sizeof ports[0]; i++)
		assert_int_equal(make("port", ports[i], NULL, &f, why), -EINVAL);
	for (size_t i = 0; i < sizeof names / sizeof names[0]; i++)
		assert_int_equal(make("ifnam", names[i], NULL, &f, why), -EINVAL);
	for (size_t i = 0; i < sizeof macs / sizeof macs[0]; i++)
		assert_int_equal(make("etherm", macs[i], NULL, &f, why), -EINVAL);
	refused("port", "$addr . lan0", NULL,
		"the second field of its key is a port, 'lan0' is none");
	refused("port", "443 . $addr", NULL,
		"the first field of its key is an IPv4 address, '443' is none");
	refused("proto_port", "$addr . $client . 443", NULL,
		"the second field of its key is a protocol, '$client' is none");
	refused("markc", "$addr . 0x10/0xff", NULL,
		"the second field of its key is a mark, '0x10/0xff' is none");
	refused("client", "::1 . $addr", NULL,
		"the first field of its key is an IPv4 address, '::1' is none");
}

/* Numbers that have no type: nft has noted what they are. */
static void numbers_of_typeof(void **state)
{
	const uint16_t zone = 258;
	const uint32_t cpu = 7;
	struct set_form f = form("typeofzone", "$addr . 258", NULL);
	struct set_kind k = told("typeoflen");
	char key[] = "$addr . 7", why[128];
	struct conf_set conf = {.key = key};

	(void)state;
	assert_memory_equal(f.key + 4, &zone, 2);
	assert_memory_equal(form("typeofcpu", "$addr . 7", NULL).key + 4, &cpu, 4);
	f = form("typeoflen", "$addr . 258", NULL);
	has_key(&f, &v4, "0102030401020000");
	f = form("typeofri", "$addr . 258", NULL);
	has_key(&f, &v4, "0102030401020000");
	assert_true(f.interval && f.concat);
	memset(k.integers, 0, sizeof k.integers);
	assert_int_equal(set_form_make(&conf, &k, &f, why, sizeof why), -EINVAL);
	assert_string_equal(why, "its second field is a number whose form is not told");
	k.n_fields = 2;
	k.field_size[0] = 4;
	k.field_size[1] = 2; /* but not in which order */
	assert_int_equal(set_form_make(&conf, &k, &f, why, sizeof why), -EINVAL);
	k.field_size[1] = 1;
	assert_int_equal(set_form_make(&conf, &k, &f, why, sizeof why), 0);
}

/* --- maps --- */

static void maps_take_values(void **state)
{
	const uint32_t mark = 0x10;
	const uint16_t zone = 7;
	struct set_form f = form("mark4", NULL, "0x10");

	(void)state;
	assert_true(f.map && !f.verdict && f.value_size == 4);
	assert_memory_equal(f.value, &mark, 4);
	has_key(&f, &v4, "01020304");
	assert_memory_equal(form("mark6", NULL, "16").value, &mark, 4);
	assert_memory_equal(form("tmark", NULL, "16").value, &mark, 4);
	assert_memory_equal(form("tzone", NULL, "7").value, &zone, 2);
	assert_memory_equal(form("tlen", NULL, "7").value, "\0\7", 2);
	assert_memory_equal(form("dscpmap", NULL, "0x2e").value, "\x2e", 1);
	f = form("addrport", NULL, "5.6.7.8 . 80");
	assert_int_equal(f.value_size, 8);
	assert_memory_equal(f.value, "\5\6\7\10\0\x50\0\0", 8);
	f = form("portmap", "$addr . 443", "16");
	assert_true(f.has_timeout);
	has_key(&f, &v4, "0102030401bb0000");
}

static void maps_take_verdicts(void **state)
{
	static const struct {
		const char *text;
		int32_t code;
		const char *chain;
	} verdicts[] = {{"accept", NF_ACCEPT, ""}, {"drop", NF_DROP, ""},
		{"return", NFT_RETURN, ""}, {"continue", NFT_CONTINUE, ""},
		{"jump foo", NFT_JUMP, "foo"}, {"goto accept", NFT_GOTO, "accept"}};
	static const char *const wrong[] = {
		"jump", "jump ", "goto", "accepted", "queue", "0x10", "jump a b", ""};
	char why[128], chain[SET_CHAIN_MAX + 8] = "jump ";
	struct set_form f;

	(void)state;
	for (size_t i = 0; i < sizeof verdicts / sizeof verdicts[0]; i++) {
		f = form("verdict4", NULL, verdicts[i].text);
		assert_true(f.map && f.verdict && f.value_size == 0);
		assert_int_equal(f.code, verdicts[i].code);
		assert_string_equal(f.chain, verdicts[i].chain);
	}
	for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++)
		assert_int_equal(make("verdict4", NULL, wrong[i], &f, why), -EINVAL);
	refused("verdict4", NULL, "reject", "its value is a verdict, 'reject' is none");
	memset(chain + 5, 'c', SET_CHAIN_MAX - 1);
	f = form("verdictc", "$addr . 443", chain);
	assert_true(f.interval && f.concat && f.verdict);
	assert_string_equal(f.chain, chain + 5);
	chain[5 + SET_CHAIN_MAX - 1] = 'c';
	assert_int_equal(make("verdictc", "$addr . 443", chain, &f, why), -EINVAL);
}

static void maps_and_sets_are_told_apart(void **state)
{
	(void)state;
	refused("plain4", NULL, "0x10", "it is a set, not a map");
	refused("mark4", NULL, NULL, "it is a map, and no value is written");
	refused("objs", NULL, "c1", "it is a map of objects");
	refused("mark4", NULL, "lan0", "its value is a mark, 'lan0' is none");
	refused("mark4", NULL, "0x100000000", "its value is a mark, '0x100000000' is none");
	refused("mark4", NULL, "1 . 2", "its values have 1 field, the one written has 2");
	refused("addrport", NULL, "1.2.3.4 . http-",
		"the second field of its value is a port, 'http-' is none");
	refused("addrport", NULL, "$addr . 80",
		"the first field of its value is an IPv4 address, '$addr' is none");
	refused("addrrange", NULL, "192.0.2.1",
		"the first field of its value has 8 bytes, an IPv4 address has 4");
}

static void forms_are_compared(void **state)
{
	struct set_form a = form("mark4", NULL, "0x10"), b = form("mark4", NULL, "16");

	(void)state;
	assert_true(set_form_equal(&a, &b));
	b = form("mark4", NULL, "17");
	assert_false(set_form_equal(&a, &b));
	a = form("port", "$addr . 443", NULL);
	b = form("port", "$addr . 80", NULL);
	assert_false(set_form_equal(&a, &b));
	b = form("range_port", "$addr . 443", NULL);
	assert_false(set_form_equal(&a, &b));
	a = form("verdict4", NULL, "jump a");
	b = form("verdict4", NULL, "jump b");
	assert_false(set_form_equal(&a, &b));
	b = form("verdict4", NULL, "goto a");
	assert_false(set_form_equal(&a, &b));
}

/* --- ipset --- */

static void ipset_elements_are_text(void **state)
{
	char key[] = "$addr . tcp:443 . $client", buf[80];
	struct conf_set conf = {.is_ipset = true};

	(void)state;
	assert_true(set_form_text(&conf, &v6, NULL, buf, sizeof buf));
	assert_string_equal(buf, "fd00::1");
	assert_true(set_form_text(&conf, &mapped, NULL, buf, sizeof buf));
	assert_string_equal(buf, "1.2.3.4");
	conf.family = IP_V4;
	assert_false(set_form_text(&conf, &v6, NULL, buf, sizeof buf));
	conf.key = key;
	assert_true(set_form_text(&conf, &v4, &client4, buf, sizeof buf));
	assert_string_equal(buf, "1.2.3.4,tcp:443,10.0.0.9");
	assert_true(set_form_text(&conf, &v4, &client4, buf, 25));
	assert_false(set_form_text(&conf, &v4, &client4, buf, 24));
	assert_false(set_form_text(&conf, &v4, &client6, buf, sizeof buf));
	assert_false(set_form_text(&conf, &v4, NULL, buf, sizeof buf));
	assert_false(set_form_text(&conf, &(struct ip_addr){0}, &client4, buf, sizeof buf));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_kind_is_read),
		cmocka_unit_test(a_broken_message_is_refused),
		cmocka_unit_test(foreign_user_data_is_left_alone),
		cmocka_unit_test(plain_sets_take_their_family),
		cmocka_unit_test(sizes_tell_where_types_do_not),
		cmocka_unit_test(what_takes_no_address_is_refused),
		cmocka_unit_test(the_family_that_is_written_counts),
		cmocka_unit_test(templates_are_written_as_nft_does),
		cmocka_unit_test(ports_have_names),
		cmocka_unit_test(templates_of_ipv6),
		cmocka_unit_test(the_hosts_own_numbers),
		cmocka_unit_test(a_client_has_a_family_of_its_own),
		cmocka_unit_test(literals_that_do_not_fit),
		cmocka_unit_test(numbers_of_typeof),
		cmocka_unit_test(maps_take_values),
		cmocka_unit_test(maps_take_verdicts),
		cmocka_unit_test(maps_and_sets_are_told_apart),
		cmocka_unit_test(forms_are_compared),
		cmocka_unit_test(ipset_elements_are_text),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
