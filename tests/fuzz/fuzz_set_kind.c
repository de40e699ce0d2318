/* What the kernel tells of a set goes through user data and types that whoever made it has chosen.
 * Whatever the bytes: no harm, and a form that is made of them writes its addresses into its key.
 */
#include <linux/netlink.h>
#include <stdlib.h>
#include <string.h>

#include "netlink/set_form.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void expect(bool holds)
{
	if (!holds)
		abort();
}

static void check_key(const struct set_form *f, const struct ip_addr *addr)
{
	uint8_t key[SET_KEY_MAX];
	struct ip_addr client = {{192, 0, 2, 9}, IP_V4};

	if (!set_form_key(f, addr, f->client_family == IP_V6 ? addr : &client, key))
		return;
	if (f->addr_at < 0)
		return;
	expect(addr->family == f->family);
	expect((size_t)f->addr_at + ip_addr_size(addr) <= f->key_size);
	expect(memcmp(key + f->addr_at, addr->b, ip_addr_size(addr)) == 0);
	for (size_t i = f->key_size; i < SET_KEY_MAX; i++)
		expect(key[i] == 0);
}

static void check_form(const struct conf_set *conf, const struct set_kind *kind)
{
	static const struct ip_addr v4 = {{192, 0, 2, 1}, IP_V4},
				    v6 = {{0x20, 1, 0xd, 0xb8, [15] = 1}, IP_V6};
	struct set_form f, again;
	char why[128] = "";

	if (set_form_make(conf, kind, &f, why, sizeof why)) {
		expect(why[0] && memchr(why, 0, sizeof why));
		return;
	}
	expect(f.key_size <= SET_KEY_MAX && f.value_size <= SET_KEY_MAX);
	expect(f.map == !!conf->value);
	expect(set_form_make(conf, kind, &again, why, sizeof why) == 0);
	expect(set_form_equal(&f, &again));
	check_key(&f, &v4);
	check_key(&f, &v6);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const char *const templates[][2] = {{NULL, NULL}, {"$addr . 443", NULL},
		{"$addr . tcp . 443", NULL}, {"tcp . $addr . domain", NULL}, {"$addr . lan0", NULL},
		{"lan0 . $addr", NULL}, {"$addr . $client", NULL},
		{"02:00:00:00:00:01 . $addr", NULL}, {"$addr . 0x10", NULL}, {NULL, "0x10"},
		{NULL, "jump chain"}, {NULL, "192.0.2.7 . 8080"}, {"$addr . 443", "drop"},
		{"$addr . 443", "7"}};
	struct nlmsghdr *message = malloc(size < sizeof *message ? sizeof *message : size);
	char key[64], value[64];
	struct set_kind kind;

	if (!message)
		abort();
	memset(message, 0, sizeof *message);
	memcpy(message, data, size);
	message->nlmsg_len = (uint32_t)size; /* which the socket's reader has made sure of */
	for (size_t i = 0; i < sizeof templates / sizeof templates[0]; i++) {
		struct conf_set conf = {0};

		if (templates[i][0])
			conf.key = strcpy(key, templates[i][0]);
		if (templates[i][1])
			conf.value = strcpy(value, templates[i][1]);
		if (set_kind_read(message, &kind) == 0)
			check_form(&conf, &kind);
	}
	free(message);
	return 0;
}
