/* The group commit: what each item finds in the kernel, and what becomes of it. The outcome is the
 * same whether the kernel is asked first or the batch is tried, and with what older kernels can do:
 * without the renewal of elements (6.12) and without deletions that may find nothing (6.3). */
#include "tests/platform/nft_lab.h"

#include <arpa/inet.h>
#include <linux/netfilter.h>
#include <linux/netfilter/nf_tables.h>
#include <stdlib.h>
#include <sys/socket.h>

#include "netlink/commit.h"
#include "netlink/element_read.h"

#define HOUR_MS 3600000
#define LIFE_MS 60000 /* what we want of an element */
#define NEED_MS 30000 /* what is enough of one that is there */

static struct nft_socket sock;
static struct commit *commit;
static struct commit_tables tables;
static struct nft_features found;
static bool sure; /* that what is added is new, as far as the commit knows */

/* --- what is written --- */

static uint8_t value_bytes[64][16];
static size_t n_values;

static int look_ok(struct commit_target *t)
{
	t->has_timeout = true;
	return 0;
}

static struct commit_target target(const char *name, uint8_t key_size, uint8_t value_size)
{
	return (struct commit_target){.at = {.table = "u", .name = name, .nfproto = NFPROTO_INET},
		.key_size = key_size,
		.value_size = value_size,
		.has_timeout = true,
		.n_absent = sure ? COMMIT_SURE_AFTER : 0,
		.look = look_ok};
}

static struct commit_target interval_target(const char *name, uint8_t key_size, bool concat)
{
	struct commit_target t = target(name, key_size, 0);

	t.at.interval = true;
	t.at.concat = concat;
	return t;
}

/* "192.0.2.1", "192.0.2.1 . 443", "192.0.2.1 . lan0" */
static void make_key(const char *text, uint8_t ret[COMMIT_KEY_MAX])
{
	char first[64];
	const char *second = strstr(text, " . ");
	struct ip_addr a;
	size_t size;

	snprintf(first, sizeof first, "%.*s", second ? (int)(second - text) : 60, text);
	a = address(first);
	size = ip_addr_size(&a);
	memset(ret, 0, COMMIT_KEY_MAX);
	memcpy(ret, a.b, size);
	if (!second)
		return;
	second += 3;
	if (second[0] >= '0' && second[0] <= '9') {
		ret[size] = (uint8_t)(atoi(second) >> 8);
		ret[size + 1] = (uint8_t)atoi(second);
	} else {
		memcpy(ret + size, second, strlen(second));
	}
}

/* "192.0.2.1", "0x10" (a mark), "drop", "jump c" */
static struct element_value make_value(const char *text)
{
	uint8_t *b = value_bytes[n_values++ % 64];
	uint32_t mark;
	struct ip_addr a;

	if (strcmp(text, "drop") == 0)
		return (struct element_value){.code = NF_DROP};
	if (strncmp(text, "jump ", 5) == 0)
		return (struct element_value){.code = NFT_JUMP, .chain = text + 5};
	if (strncmp(text, "0x", 2) == 0) {
		mark = (uint32_t)strtoul(text, NULL, 16);
		memcpy(b, &mark, sizeof mark);
	} else {
		a = address(text);
		memcpy(b, a.b, 4);
	}
	return (struct element_value){.b = b, .size = 4};
}

static int put(struct commit_target *t, enum commit_op op, const char *key, const char *value,
	uint64_t timeout_ms)
{
	struct commit_element e = {
		.has_value = value != NULL, .timeout_ms = timeout_ms, .need_ms = NEED_MS};
	int item;

	make_key(key, e.key);
	if (value)
		e.value = make_value(value);
	item = commit_add(commit, t, op, &e);
	assert_true(item >= 0);
	return item;
}

/* What is believed of the generation of the tables is never ahead of it: what others commit would
 * make it true. */
static void assert_not_ahead(void)
{
	uint32_t generation;

	if (!tables.generation)
		return;
	assert_int_equal(nft_generation(&sock, &generation, 1000), 0);
	assert_in_range(generation - tables.generation, 0, INT32_MAX);
}

static void run(void)
{
	commit_run(commit);
	assert_not_ahead();
}

static int result(int item)
{
	return commit->items[item].result;
}

static uint64_t found_ms(int item)
{
	return commit->items[item].found_ms;
}

/* One element alone. */
static int add(struct commit_target *t, const char *key, const char *value)
{
	int item;

	commit_begin(commit);
	item = put(t, COMMIT_ADD, key, value, LIFE_MS);
	run();
	return item;
}

/* --- what is there --- */

static int read_element(const struct commit_target *t, const char *key, struct element_found *ret)
{
	uint8_t bytes[COMMIT_KEY_MAX];

	make_key(key, bytes);
	return element_read(&sock, &t->at, bytes, t->key_size, ret, 1000);
}

static uint64_t left(const struct commit_target *t, const char *key)
{
	struct element_found e;
	int r = read_element(t, key, &e);

	if (r != 0)
		fail_msg("%s in %s: %s", key, t->at.name, strerror(-r));
	return e.left_ms;
}

static bool is_in(const struct commit_target *t, const char *key)
{
	struct element_found e;
	int r = read_element(t, key, &e);

	assert_true(r == 0 || r == -ENOENT);
	return r == 0;
}

static bool has_value(const struct commit_target *t, const char *key, const char *value)
{
	struct element_value v = make_value(value);
	struct element_found e;

	assert_int_equal(read_element(t, key, &e), 0);
	return element_has_value(&e, &v);
}

static void assert_ours(const struct commit_target *t, const char *key)
{
	assert_in_range(left(t, key), LIFE_MS - 20000, LIFE_MS);
}

static int setup(void **state)
{
	(void)state;
	must("nft 'flush ruleset; add table inet u; add chain inet u c; add chain inet u d; "
	     "add map inet u m { type ipv4_addr : ipv4_addr; flags timeout; }; "
	     "add map inet u k { type ipv4_addr : mark; flags timeout; }; "
	     "add map inet u v { type ipv4_addr : verdict; flags timeout; }; "
	     "add set inet u s { type ipv4_addr; flags timeout; }; "
	     "add set inet u i { type ipv4_addr; flags interval,timeout; }; "
	     "add set inet u i6 { type ipv6_addr; flags interval,timeout; }; "
	     "add set inet u p { type ipv4_addr . inet_service; flags timeout; }; "
	     "add set inet u n { type ipv4_addr . ifname; flags timeout; }; "
	     "add set inet u r { type ipv4_addr . inet_service; flags interval,timeout; }'");
	sure = true;
	commit_tables_init(&tables);
	commit = calloc(1, sizeof *commit);
	assert_non_null(commit);
	assert_int_equal(nft_socket_open(&sock), 0);
	assert_int_equal(commit_init(commit, &sock, &tables), 0);
	assert_hides("nft list tables", "trial");
	found = commit->features;
	return 0;
}

static int setup_unsure(void **state)
{
	int r = setup(state);

	sure = false;
	return r;
}

static int setup_old(void **state)
{
	int r = setup(state);

	commit->features = (struct nft_features){0};
	return r;
}

static int teardown(void **state)
{
	(void)state;
	commit_fini(commit);
	commit_tables_fini(&tables);
	free(commit);
	nft_socket_close(&sock);
	return 0;
}

/* --- our own map --- */

static void maps(void **state)
{
	struct commit_target map = target("m", 4, 4);
	uint64_t rounds;
	int a, b, c, d;

	(void)state;
	map.look = NULL;
	commit_begin(commit);
	put(&map, COMMIT_MAP, "198.18.0.1", "192.0.2.1", LIFE_MS);
	put(&map, COMMIT_MAP, "198.18.0.2", "192.0.2.2", LIFE_MS);
	run();
	/* One is replaced, one fresh, one deleted, one was never there: nothing is refused. */
	rounds = commit->rounds;
	commit_begin(commit);
	a = put(&map, COMMIT_MAP, "198.18.0.1", "192.0.2.9", 2 * LIFE_MS);
	b = put(&map, COMMIT_MAP, "198.18.0.3", "192.0.2.3", LIFE_MS);
	c = put(&map, COMMIT_DELETE, "198.18.0.2", NULL, 0);
	d = put(&map, COMMIT_DELETE, "198.18.0.4", NULL, 0);
	run();
	assert_int_equal(commit->rounds - rounds, 1);
	assert_int_equal(result(a), 0);
	assert_int_equal(result(b), 0);
	assert_int_equal(result(c), 0);
	assert_int_equal(result(d), 0);
	assert_true(left(&map, "198.18.0.1") > LIFE_MS);
	assert_true(has_value(&map, "198.18.0.1", "192.0.2.9"));
	assert_true(has_value(&map, "198.18.0.3", "192.0.2.3"));
	assert_false(is_in(&map, "198.18.0.2"));
}

/* It changes nothing, and is no commit to the kernel. */
static void nothing_to_delete(void **state)
{
	struct commit_target map = target("m", 4, 4), set = target("s", 4, 0);

	(void)state;
	assert_int_equal(result(add(&set, "192.0.2.1", NULL)), 0);
	for (int i = 0; i < 3; i++) {
		commit_begin(commit);
		put(&map, COMMIT_DELETE, "198.18.0.2", NULL, 0);
		run();
		assert_int_equal(result(0), 0);
	}
	assert_int_equal(result(add(&set, "192.0.2.2", NULL)), 0);
}

static void missing_map(void **state)
{
	struct commit_target map = target("gone", 4, 4), set = target("s", 4, 0);
	int gone, good;

	(void)state;
	map.look = NULL;
	commit_begin(commit);
	gone = put(&map, COMMIT_MAP, "198.18.0.1", "192.0.2.1", LIFE_MS);
	put(&map, COMMIT_MAP, "198.18.0.2", "192.0.2.1", LIFE_MS);
	good = put(&set, COMMIT_ADD, "192.0.2.77", NULL, LIFE_MS);
	run();
	assert_int_equal(result(gone), -ENOENT);
	assert_int_equal(result(good), 0);
	assert_ours(&set, "192.0.2.77");
}

/* --- users' sets, one element at a time --- */

struct kind {
	struct commit_target target;
	const char *key, *value;
};

static size_t kinds(struct kind ret[8])
{
	size_t n = 0;

	ret[n++] = (struct kind){target("s", 4, 0), "192.0.2.1", NULL};
	ret[n++] = (struct kind){target("k", 4, 4), "192.0.2.1", "0x10"};
	ret[n++] = (struct kind){target("v", 4, 0), "192.0.2.1", "jump c"};
	ret[n++] = (struct kind){interval_target("i", 4, false), "192.0.2.1", NULL};
	ret[n++] = (struct kind){interval_target("i6", 16, false), "2001:db8::1", NULL};
	ret[n++] = (struct kind){target("p", 8, 0), "192.0.2.1 . 443", NULL};
	ret[n++] = (struct kind){target("n", 20, 0), "192.0.2.1 . lan0", NULL};
	ret[n++] = (struct kind){interval_target("r", 8, true), "192.0.2.1 . 443", NULL};
	return n;
}

static void put_by_user(const struct kind *k, const char *options)
{
	char command[256], name[16];

	/* nft wants a chain's name bare, and a mark as it is. */
	snprintf(name, sizeof name, "%s", k->value ? k->value : "");
	snprintf(command, sizeof command, "nft 'add element inet u %s { %s %s %s %s }'",
		k->target.at.name, k->key, options, k->value ? ":" : "", name);
	must(command);
}

static void fresh(void **state)
{
	struct kind k[8];
	size_t n = kinds(k);

	(void)state;
	for (size_t i = 0; i < n; i++) {
		uint64_t rounds = commit->rounds;
		int item = add(&k[i].target, k[i].key, k[i].value);

		assert_int_equal(result(item), 0);
		assert_int_equal(found_ms(item), 0);
		assert_int_equal(commit->rounds - rounds, 1);
		assert_ours(&k[i].target, k[i].key);
		if (k[i].value)
			assert_true(has_value(&k[i].target, k[i].key, k[i].value));
	}
	assert_shows("nft list table inet u", "192.0.2.1 . \"lan0\" timeout 1m");
	assert_shows("nft list table inet u", "192.0.2.1 . 443 timeout 1m");
}

static void permanent_by_user(void **state)
{
	struct kind k[8];
	size_t n = kinds(k);

	(void)state;
	for (size_t i = 0; i < n; i++) {
		int item;

		put_by_user(&k[i], "");
		item = add(&k[i].target, k[i].key, k[i].value);
		assert_int_equal(result(item), 0);
		assert_true(found_ms(item) == COMMIT_FOREVER);
		assert_true(left(&k[i].target, k[i].key) == ELEMENT_FOREVER);
		/* Who wants just that has found nothing else. */
		commit_begin(commit);
		item = put(&k[i].target, COMMIT_ADD, k[i].key, k[i].value, 0);
		run();
		assert_int_equal(result(item), 0);
		assert_int_equal(found_ms(item), 0);
	}
}

static void shorter_by_user(void **state)
{
	struct kind k[8];
	size_t n = kinds(k);

	(void)state;
	for (size_t i = 0; i < n; i++) {
		int item;

		put_by_user(&k[i], "timeout 20s");
		item = add(&k[i].target, k[i].key, k[i].value);
		assert_int_equal(result(item), 0);
		assert_int_equal(found_ms(item), 0);
		assert_ours(&k[i].target, k[i].key);
	}
}

static void longer_by_user(void **state)
{
	struct kind k[8];
	size_t n = kinds(k);

	(void)state;
	for (size_t i = 0; i < n; i++) {
		int item;

		put_by_user(&k[i], "timeout 1h");
		item = add(&k[i].target, k[i].key, k[i].value);
		assert_int_equal(result(item), 0);
		assert_in_range(found_ms(item), HOUR_MS - LIFE_MS, HOUR_MS);
		assert_in_range(left(&k[i].target, k[i].key), HOUR_MS - LIFE_MS, HOUR_MS);
	}
}

/* It lived for a while, and lives as long as at first again. */
static void renewal(void **state)
{
	struct kind k[8];
	size_t n = kinds(k);
	uint64_t before[8];

	(void)state;
	commit_begin(commit);
	for (size_t i = 0; i < n; i++)
		put(&k[i].target, COMMIT_RENEW, k[i].key, k[i].value, LIFE_MS);
	run();
	usleep(200000);
	for (size_t i = 0; i < n; i++)
		before[i] = left(&k[i].target, k[i].key);
	commit_begin(commit);
	for (size_t i = 0; i < n; i++)
		put(&k[i].target, COMMIT_RENEW, k[i].key, k[i].value, LIFE_MS);
	run();
	for (size_t i = 0; i < n; i++) {
		assert_int_equal(result((int)i), 0);
		assert_int_equal(found_ms((int)i), 0);
		assert_true(left(&k[i].target, k[i].key) > before[i]);
	}
}

static int renew(struct kind *k)
{
	int item;

	commit_begin(commit);
	item = put(&k->target, COMMIT_RENEW, k->key, k->value, LIFE_MS);
	run();
	assert_int_equal(result(item), 0);
	return item;
}

/* Somebody's own addition of what was ours already is not made to end with ours. */
static void renewal_of_what_became_anothers(void **state)
{
	struct kind k[8];
	size_t n = kinds(k);

	(void)state;
	if (!found.renew)
		skip(); /* an older kernel leaves what is there as it is */
	for (size_t i = 0; i < n; i++) {
		const struct commit_target *t = &k[i].target;
		int item;

		assert_int_equal(result(add(&k[i].target, k[i].key, k[i].value)), 0);
		put_by_user(&k[i], "timeout 20s");
		item = renew(&k[i]);
		assert_int_equal(found_ms(item), 0);
		assert_ours(t, k[i].key);
		put_by_user(&k[i], "timeout 1h");
		item = renew(&k[i]);
		assert_int_equal(found_ms(item), 0); /* it goes on to be ours, too */
		assert_in_range(left(t, k[i].key), HOUR_MS - LIFE_MS, HOUR_MS);
		put_by_user(&k[i], "");
		item = renew(&k[i]);
		assert_int_equal(found_ms(item), 0);
		assert_true(left(t, k[i].key) == ELEMENT_FOREVER);
	}
}

static void other_values(void **state)
{
	struct commit_target marks = target("k", 4, 4), verdicts = target("v", 4, 0);
	int a, b, c, d;

	(void)state;
	must("nft 'add element inet u k { 192.0.2.1 : 0x20, 192.0.2.2 timeout 1h : 0x20 }'");
	must("nft 'add element inet u v { 192.0.2.1 : drop, 192.0.2.2 timeout 1h : jump d }'");
	commit_begin(commit);
	a = put(&marks, COMMIT_ADD, "192.0.2.1", "0x10", LIFE_MS);
	b = put(&marks, COMMIT_ADD, "192.0.2.2", "0x10", LIFE_MS);
	c = put(&verdicts, COMMIT_ADD, "192.0.2.1", "jump c", LIFE_MS);
	d = put(&verdicts, COMMIT_ADD, "192.0.2.2", "jump c", LIFE_MS);
	run();
	for (int i = 0; i < commit->n_items; i++) {
		assert_int_equal(result(i), 0);
		assert_int_equal(found_ms(i), 0);
	}
	assert_true(has_value(&marks, "192.0.2.1", "0x10"));
	assert_true(has_value(&marks, "192.0.2.2", "0x10"));
	assert_true(has_value(&verdicts, "192.0.2.1", "jump c"));
	assert_true(has_value(&verdicts, "192.0.2.2", "jump c"));
	assert_ours(&marks, "192.0.2.1");
	assert_ours(&verdicts, "192.0.2.2");
	assert_int_equal(a + b + c + d, 6);
}

/* Two rules that give the same address another value, in one batch: one of them is there. */
static void contradiction(void **state)
{
	struct commit_target one = target("k", 4, 4), other = target("k", 4, 4);
	struct commit_target set = target("s", 4, 0), again = target("s", 4, 0);

	(void)state;
	commit_begin(commit);
	put(&one, COMMIT_ADD, "192.0.2.1", "0x10", LIFE_MS);
	put(&other, COMMIT_ADD, "192.0.2.1", "0x20", LIFE_MS);
	put(&set, COMMIT_ADD, "192.0.2.1", NULL, LIFE_MS);
	put(&again, COMMIT_ADD, "192.0.2.1", NULL, LIFE_MS);
	run();
	for (int i = 0; i < commit->n_items; i++)
		assert_int_equal(result(i), 0);
	assert_true(has_value(&one, "192.0.2.1", "0x10") || has_value(&one, "192.0.2.1", "0x20"));
	assert_ours(&set, "192.0.2.1");
}

static void merged(void **state)
{
	struct commit_target set = target("s", 4, 0), map = target("k", 4, 4);

	(void)state;
	commit_begin(commit);
	assert_int_equal(put(&set, COMMIT_ADD, "192.0.2.1", NULL, HOUR_MS), 0);
	assert_int_equal(put(&set, COMMIT_ADD, "192.0.2.1", NULL, LIFE_MS), 0);
	assert_int_equal(put(&set, COMMIT_ADD, "192.0.2.2", NULL, 0), 1);
	assert_int_equal(put(&set, COMMIT_RENEW, "192.0.2.2", NULL, LIFE_MS), 1);
	assert_int_equal(put(&map, COMMIT_ADD, "192.0.2.1", "0x10", HOUR_MS), 2);
	assert_int_equal(put(&map, COMMIT_ADD, "192.0.2.1", "0x20", LIFE_MS), 2);
	assert_int_equal(put(&map, COMMIT_ADD, "192.0.2.2", "0x10", LIFE_MS), 3);
	assert_int_equal(put(&map, COMMIT_DELETE, "192.0.2.2", NULL, 0), 3);
	run();
	assert_true(left(&set, "192.0.2.1") > LIFE_MS);
	assert_true(left(&set, "192.0.2.2") == ELEMENT_FOREVER);
	assert_ours(&map, "192.0.2.1");
	assert_true(has_value(&map, "192.0.2.1", "0x20"));
	assert_false(is_in(&map, "192.0.2.2"));
}

/* --- intervals --- */

/* The end of an address carries over, and behind the last there is none. */
static void last_addresses(void **state)
{
	static const char *const v4[] = {
		"0.0.0.0", "10.0.0.255", "10.255.255.255", "255.255.255.255"};
	static const char *const v6[] = {
		"::", "2001:db8::ffff", "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff"};
	struct commit_target i4 = interval_target("i", 4, false);
	struct commit_target i6 = interval_target("i6", 16, false);
	struct commit_target r = interval_target("r", 8, true);

	(void)state;
	/* The second time they are there, and too short. */
	for (int turn = 1; turn <= 2; turn++) {
		commit_begin(commit);
		for (size_t i = 0; i < 4; i++)
			put(&i4, COMMIT_ADD, v4[i], NULL, (uint64_t)turn * 20000);
		for (size_t i = 0; i < 3; i++)
			put(&i6, COMMIT_ADD, v6[i], NULL, (uint64_t)turn * 20000);
		put(&r, COMMIT_ADD, "255.255.255.255 . 65535", NULL, (uint64_t)turn * 20000);
		run();
		for (int i = 0; i < commit->n_items; i++)
			assert_int_equal(result(i), 0);
		for (size_t i = 0; i < 4; i++)
			assert_in_range(left(&i4, v4[i]), turn * 20000 - 10000, turn * 20000);
		for (size_t i = 0; i < 3; i++)
			assert_in_range(left(&i6, v6[i]), turn * 20000 - 10000, turn * 20000);
		assert_in_range(
			left(&r, "255.255.255.255 . 65535"), turn * 20000 - 10000, turn * 20000);
	}
	assert_false(is_in(&i4, "0.0.0.1"));
	assert_false(is_in(&i4, "10.0.0.254"));
	assert_false(is_in(&i4, "10.0.1.0"));
	assert_false(is_in(&i4, "11.0.0.0"));
	assert_false(is_in(&i4, "255.255.255.254"));
	assert_false(is_in(&i6, "2001:db8::1:0"));
	assert_false(is_in(&i6, "ffff:ffff:ffff:ffff:ffff:ffff:ffff:fffe"));
	assert_true(works("nft get element inet u i '{ 255.255.255.255 }'"));
	assert_false(works("nft get element inet u i '{ 255.255.255.254 }'"));
}

/* Left as they are, and told for how long they hold the address, even if that is not enough. */
static void ranges_of_users(void **state)
{
	struct commit_target i = interval_target("i", 4, false);
	struct commit_target i6 = interval_target("i6", 16, false);
	struct commit_target r = interval_target("r", 8, true);
	static const char *const listed = "nft -s list table inet u";
	char *before;

	(void)state;
	must("nft 'add element inet u i { 10.0.0.0/24 timeout 1h, 10.1.0.0/16, "
	     "10.2.0.0-10.2.0.9 timeout 10s, 250.0.0.0-255.255.255.255 timeout 10s }'");
	must("nft 'add element inet u i6 { fd00::/8 }'");
	must("nft 'add element inet u r { 10.0.0.0/24 . 80-90 timeout 1h, "
	     "10.1.0.0 . 80-443 timeout 10s }'");
	before = strdup(output(listed, NULL));
	commit_begin(commit);
	put(&i, COMMIT_ADD, "10.0.0.7", NULL, LIFE_MS);
	put(&i, COMMIT_ADD, "10.1.255.255", NULL, LIFE_MS);
	put(&i, COMMIT_ADD, "10.2.0.0", NULL, LIFE_MS);
	put(&i, COMMIT_RENEW, "10.2.0.9", NULL, LIFE_MS);
	put(&i, COMMIT_ADD, "250.0.0.0", NULL, LIFE_MS);
	put(&i, COMMIT_ADD, "255.255.255.255", NULL, LIFE_MS);
	put(&i6, COMMIT_ADD, "fd00::", NULL, LIFE_MS);
	put(&r, COMMIT_ADD, "10.0.0.7 . 85", NULL, LIFE_MS);
	put(&r, COMMIT_ADD, "10.1.0.0 . 80", NULL, LIFE_MS);
	put(&r, COMMIT_RENEW, "10.1.0.0 . 443", NULL, LIFE_MS);
	run();
	for (int k = 0; k < commit->n_items; k++)
		assert_int_equal(result(k), 0);
	assert_in_range(found_ms(0), HOUR_MS - LIFE_MS, HOUR_MS);
	assert_true(found_ms(1) == COMMIT_FOREVER);
	for (int k = 2; k <= 5; k++)
		assert_in_range(found_ms(k), 1, 10000);
	assert_true(found_ms(6) == COMMIT_FOREVER);
	assert_in_range(found_ms(7), HOUR_MS - LIFE_MS, HOUR_MS);
	assert_in_range(found_ms(8), 1, 10000);
	assert_in_range(found_ms(9), 1, 10000);
	assert_string_equal(before, output(listed, NULL));
	free(before);
}

/* --- many --- */

static void one_of_sixteen(void **state)
{
	struct commit_target set = target("s", 4, 0);

	(void)state;
	must("nft 'add element inet u s { 192.0.2.7, 192.0.2.20 timeout 10s }'");
	for (int first = 0; first < 48; first += 16) {
		uint64_t rounds = commit->rounds;

		commit_begin(commit);
		for (int i = 0; i < 16; i++) {
			char key[32];

			snprintf(key, sizeof key, "192.0.2.%d", first + i);
			put(&set, COMMIT_ADD, key, NULL, LIFE_MS);
		}
		run();
		for (int i = 0; i < 16; i++)
			assert_int_equal(result(i), 0);
		/* From the first surprise on the kernel is asked. */
		assert_int_equal(commit->rounds - rounds, sure && first == 0 ? 2 : 1);
	}
	assert_true(left(&set, "192.0.2.7") == ELEMENT_FOREVER);
	assert_ours(&set, "192.0.2.20");
}

/* After a restart of ours all of them are there. */
static void all_are_there(void **state)
{
	struct commit_target set = target("s", 4, 0);
	uint64_t rounds = 0;

	(void)state;
	for (int turn = 0; turn < 2; turn++) {
		rounds = commit->rounds;
		commit_begin(commit);
		for (int i = 0; i < 100; i++) {
			char key[32];

			snprintf(key, sizeof key, "192.0.2.%d", i);
			put(&set, COMMIT_ADD, key, NULL, LIFE_MS);
		}
		run();
		for (int i = 0; i < 100; i++) {
			assert_int_equal(result(i), 0);
			assert_in_range(found_ms(i), turn ? NEED_MS : 0, turn ? LIFE_MS : 0);
		}
	}
	assert_in_range(commit->rounds - rounds, 1, 2);
}

static void thousand_in_fifty(void **state)
{
	static struct commit_target targets[50];
	static char names[50][16];
	uint64_t rounds;

	(void)state;
	for (int i = 0; i < 50; i++) {
		char command[256];

		snprintf(names[i], sizeof names[i], "t%d", i);
		targets[i] = target(names[i], 4, 0);
		if (i == 25)
			continue; /* this one is missing */
		snprintf(command, sizeof command,
			"nft 'add set inet u t%d { type ipv4_addr; flags timeout; elements = { "
			"10.0.0.1, 10.0.0.2 timeout 1h, 10.0.0.3 timeout 5s } }'",
			i);
		must(command);
	}
	rounds = commit->rounds;
	commit_begin(commit);
	for (int i = 0; i < 1000; i++) {
		char key[32];

		snprintf(key, sizeof key, "10.0.0.%d", i / 50);
		put(&targets[i % 50], COMMIT_ADD, key, NULL, LIFE_MS);
	}
	run();
	for (int i = 0; i < 1000; i++)
		assert_int_equal(result(i), i % 50 == 25 ? -ENOENT : 0);
	for (int i = 0; i < 50; i++) {
		if (i == 25)
			continue;
		assert_true(left(&targets[i], "10.0.0.1") == ELEMENT_FOREVER);
		assert_true(left(&targets[i], "10.0.0.2") > LIFE_MS);
		assert_ours(&targets[i], "10.0.0.3");
		assert_ours(&targets[i], "10.0.0.19");
	}
	print_message("%u rounds\n", (unsigned)(commit->rounds - rounds));
	assert_in_range(commit->rounds - rounds, 1, 5);
}

static void bounds(void **state)
{
	struct commit_target set = target("s", 4, 0);
	struct commit_element e = {.timeout_ms = LIFE_MS};

	(void)state;
	commit_begin(commit);
	for (unsigned i = 0; i < COMMIT_ITEMS_MAX; i++) {
		memcpy(e.key, (uint8_t[]){10, 0, (uint8_t)(i >> 8), (uint8_t)i}, 4);
		assert_int_equal(commit_add(commit, &set, COMMIT_ADD, &e), i);
	}
	make_key("10.0.0.5", e.key);
	assert_int_equal(commit_add(commit, &set, COMMIT_ADD, &e), 5);
	make_key("10.9.9.9", e.key);
	assert_int_equal(commit_add(commit, &set, COMMIT_ADD, &e), -ENOSPC);
	run();
	for (int i = 0; i < commit->n_items; i++)
		assert_int_equal(result(i), 0);
	assert_true(is_in(&set, "10.0.3.255"));
}

/* The largest elements that there are: a message holds as many as fit. */
static void large_elements(void **state)
{
	struct commit_target wide = interval_target("w", 64, true);
	struct commit_element e = {.timeout_ms = LIFE_MS};
	struct element_found is;

	(void)state;
	must("nft 'add set inet u w { type ipv6_addr . ipv6_addr . ipv6_addr . ipv6_addr; "
	     "flags interval,timeout; }'");
	commit_begin(commit);
	for (unsigned i = 0; i < 600; i++) {
		memset(e.key, 0xfd, sizeof e.key);
		e.key[62] = (uint8_t)(i >> 8);
		e.key[63] = (uint8_t)i;
		assert_int_equal(commit_add(commit, &wide, COMMIT_ADD, &e), i);
	}
	run();
	for (int i = 0; i < commit->n_items; i++)
		assert_int_equal(result(i), 0);
	assert_int_equal(element_read(&sock, &wide.at, e.key, 64, &is, 1000), 0);
	assert_false(is.wider);
}

/* --- what goes wrong --- */

static void full_set(void **state)
{
	struct commit_target full = target("f", 4, 0), set = target("s", 4, 0);
	int done = 0;

	(void)state;
	must("nft 'add set inet u f { type ipv4_addr; size 4; flags timeout; elements = { "
	     "10.0.0.0 } }'");
	commit_begin(commit);
	for (int i = 0; i < 8; i++) {
		char key[32];

		snprintf(key, sizeof key, "10.0.0.%d", i);
		put(&full, COMMIT_ADD, key, NULL, LIFE_MS);
	}
	put(&set, COMMIT_ADD, "10.0.0.1", NULL, LIFE_MS);
	run();
	for (int i = 0; i < 8; i++) {
		assert_true(result(i) == 0 || result(i) == -ENFILE);
		done += result(i) == 0;
	}
	assert_int_equal(result(0), 0);
	assert_in_range(done, 3, 4);
	assert_int_equal(result(8), 0);
	assert_ours(&set, "10.0.0.1");
	/* For a while it is not tried, but what is there is there. */
	must("nft 'flush set inet u f; add element inet u f { 10.0.0.1 }'");
	commit_begin(commit);
	put(&full, COMMIT_ADD, "10.0.0.1", NULL, LIFE_MS);
	put(&full, COMMIT_ADD, "10.0.0.2", NULL, LIFE_MS);
	run();
	assert_int_equal(result(0), 0);
	assert_int_equal(result(1), -ENFILE);
	full.full_until_ms -= COMMIT_FULL_MS;
	assert_int_equal(result(add(&full, "10.0.0.2", NULL)), 0);
	assert_ours(&full, "10.0.0.2");
}

/* Deleting and adding it in one batch needs no room beside it. */
static void full_set_renewed(void **state)
{
	struct commit_target full = target("f", 4, 0), set = target("s", 4, 0);

	(void)state;
	must("nft 'add set inet u f { type ipv4_addr; size 2; flags timeout; elements = { "
	     "10.0.0.1 timeout 50s, 10.0.0.2 } }'");
	commit_begin(commit);
	put(&full, COMMIT_RENEW, "10.0.0.1", NULL, LIFE_MS);
	put(&set, COMMIT_RENEW, "10.0.0.1", NULL, LIFE_MS);
	run();
	assert_int_equal(result(0), 0);
	assert_int_equal(found_ms(0), 0);
	assert_int_equal(result(1), 0);
	assert_in_range(left(&full, "10.0.0.1"), 50001, LIFE_MS);
	assert_ours(&set, "10.0.0.1");
}

static int kinds_seen, look_result;

/* Somebody deletes the set `s` while the commit looks at another. */
static int look_and_delete(struct commit_target *t)
{
	(void)t;
	if (kinds_seen++ == 1)
		must("nft delete set inet u s");
	return kinds_seen == 1 ? 0 : -ENOENT;
}

static int look_fails(struct commit_target *t)
{
	(void)t;
	return look_result;
}

static void deleted_between_rounds(void **state)
{
	struct commit_target gone = target("nowhere", 4, 0), set = target("s", 4, 0);
	struct commit_target own = target("s", 4, 0), good = target("p", 8, 0);
	int a, b, c;

	(void)state;
	gone.look = look_and_delete;
	own.look = NULL;
	kinds_seen = 0;
	commit_begin(commit);
	put(&gone, COMMIT_ADD, "192.0.2.1", NULL, LIFE_MS);
	a = put(&set, COMMIT_ADD, "192.0.2.1", NULL, LIFE_MS);
	b = put(&own, COMMIT_ADD, "192.0.2.2", NULL, LIFE_MS);
	c = put(&good, COMMIT_ADD, "192.0.2.3 . 443", NULL, LIFE_MS);
	run();
	assert_int_equal(result(0), -ENOENT);
	assert_int_equal(result(a), -ENOENT);
	assert_int_equal(result(b), -ENOENT);
	assert_int_equal(result(c), 0);
	assert_ours(&good, "192.0.2.3 . 443");
}

/* Without its end the element would mean all addresses from it on. */
static void another_kind(void **state)
{
	struct commit_target set = target("s", 4, 0), good = target("p", 8, 0);
	int a, b;

	(void)state;
	assert_int_equal(result(add(&set, "192.0.2.1", NULL)), 0);
	must("nft 'delete set inet u s; add set inet u s { type ipv4_addr; flags "
	     "interval,timeout; }'");
	look_result = -ESTALE;
	set.look = look_fails;
	commit_begin(commit);
	a = put(&set, COMMIT_ADD, "192.0.2.2", NULL, LIFE_MS);
	b = put(&good, COMMIT_ADD, "192.0.2.3 . 443", NULL, LIFE_MS);
	run();
	assert_int_equal(result(a), -ESTALE);
	assert_int_equal(result(b), 0);
	assert_hides("nft list set inet u s", "192.0.2");
}

static int look_grows(struct commit_target *t)
{
	t->key_size = 8;
	return 0;
}

static void another_size(void **state)
{
	struct commit_target set = target("s", 4, 0);

	(void)state;
	set.look = look_grows;
	assert_int_equal(result(add(&set, "192.0.2.1", NULL)), -ESTALE);
	assert_false(works("nft get element inet u s '{ 192.0.2.1 }'"));
}

static int look_no_timeout(struct commit_target *t)
{
	t->has_timeout = false;
	return 0;
}

static void no_timeouts(void **state)
{
	struct commit_target plain = target("plain", 4, 0);
	int a, b;

	(void)state;
	must("nft 'add set inet u plain { type ipv4_addr; elements = { 192.0.2.2 } }'");
	plain.look = look_no_timeout;
	commit_begin(commit);
	a = put(&plain, COMMIT_ADD, "192.0.2.1", NULL, ELEMENT_NO_TIMEOUT);
	b = put(&plain, COMMIT_ADD, "192.0.2.2", NULL, ELEMENT_NO_TIMEOUT);
	put(&plain, COMMIT_ADD, "192.0.2.3", NULL, LIFE_MS);
	run();
	assert_int_equal(result(a), 0);
	assert_int_equal(result(b), 0);
	assert_int_equal(found_ms(b), 0);
	assert_int_equal(result(2), -EOPNOTSUPP);
	assert_true(left(&plain, "192.0.2.1") == ELEMENT_FOREVER);
}

/* What others do meanwhile makes the commit read the sets again, and it still arrives. */
static void others_commit_too(void **state)
{
	struct commit_target set = target("s", 4, 0);

	(void)state;
	for (int i = 0; i < 3; i++) {
		char key[32];

		snprintf(key, sizeof key, "192.0.2.%d", i + 1);
		must("nft 'add table inet somebody; delete table inet somebody'");
		assert_int_equal(result(add(&set, key, NULL)), 0);
	}
	assert_true(is_in(&set, "192.0.2.3"));
}

/* A refusal that nothing explains ends, and is its own items' alone. */
static void not_explained(void **state)
{
	struct commit_target wrong = target("s", 8, 0), verdicts = target("v", 4, 0);
	struct commit_target good = target("p", 8, 0);

	(void)state;
	commit_begin(commit);
	put(&wrong, COMMIT_ADD, "192.0.2.1", NULL, LIFE_MS);
	put(&wrong, COMMIT_RENEW, "192.0.2.2", NULL, LIFE_MS);
	put(&verdicts, COMMIT_ADD, "192.0.2.1", "jump nowhere", LIFE_MS);
	put(&good, COMMIT_ADD, "192.0.2.3 . 443", NULL, LIFE_MS);
	run();
	assert_int_equal(result(0), -EINVAL);
	assert_int_equal(result(1), -EINVAL);
	assert_int_equal(result(2), -ESRCH);
	assert_int_equal(result(3), 0);
}

/* A verdict whose chain has gone is that element's misfortune: the map is there. */
static void no_such_chain(void **state)
{
	struct commit_target map = target("v", 4, 0);
	int jumps, a, b;

	(void)state;
	commit_begin(commit);
	a = put(&map, COMMIT_ADD, "192.0.2.1", "drop", LIFE_MS);
	jumps = put(&map, COMMIT_ADD, "192.0.2.2", "jump nowhere", LIFE_MS);
	b = put(&map, COMMIT_ADD, "192.0.2.3", "jump c", LIFE_MS);
	run();
	assert_int_equal(result(a), 0);
	assert_int_equal(result(jumps), -ESRCH);
	assert_int_equal(result(b), 0);
	assert_true(has_value(&map, "192.0.2.1", "drop"));
	assert_true(has_value(&map, "192.0.2.3", "jump c"));
	assert_false(is_in(&map, "192.0.2.2"));
}

/* A chain's name may be as long as the kernel lets it be, somebody's or ours. */
static void long_chain(void **state)
{
	struct commit_target map = target("v", 4, 0);
	char chain[240], command[300];

	(void)state;
	memset(chain, 'x', sizeof chain - 1);
	chain[sizeof chain - 1] = 0;
	snprintf(command, sizeof command, "nft 'add chain inet u %s'", chain);
	must(command);
	snprintf(command, sizeof command, "nft 'add element inet u v { 192.0.2.1 : jump %s }'",
		chain);
	must(command);
	assert_int_equal(result(add(&map, "192.0.2.1", "drop")), 0);
	assert_true(has_value(&map, "192.0.2.1", "drop"));
	snprintf(command, sizeof command, "jump %s", chain);
	assert_int_equal(result(add(&map, "192.0.2.2", command)), 0);
	assert_true(has_value(&map, "192.0.2.2", command));
}

/* Sequence numbers wrap within days; an error of the message that has 0 is none of the batch. */
static void sequence_numbers_wrap(void **state)
{
	struct commit_target set = target("s", 4, 0), other = target("p", 8, 0);

	(void)state;
	must("nft 'add element inet u s { 192.0.2.1 }'");
	for (uint32_t n = 1; n < 12; n++) {
		char key[32];

		sock.seq = -n;
		set.n_absent = COMMIT_SURE_AFTER; /* it is tried, and refused */
		snprintf(key, sizeof key, "192.0.2.1 . %u", n);
		commit_begin(commit);
		put(&set, COMMIT_ADD, "192.0.2.1", NULL, LIFE_MS);
		put(&other, COMMIT_ADD, key, NULL, LIFE_MS);
		run();
		assert_int_equal(result(0), 0);
		assert_int_equal(result(1), 0);
		assert_true(is_in(&other, key));
	}
}

/* Another look than the commit's own has found that the set is another: what was made before is
 * not written in its new size. */
static void outgrown(void **state)
{
	struct commit_target set = target("p", 4, 0);
	int a, b;

	(void)state;
	commit_begin(commit);
	a = put(&set, COMMIT_ADD, "192.0.2.1", NULL, LIFE_MS);
	set.key_size = 8;
	b = put(&set, COMMIT_ADD, "192.0.2.2 . 443", NULL, LIFE_MS);
	run();
	assert_int_equal(result(a), -ESTALE);
	assert_int_equal(result(b), 0);
	assert_hides("nft list set inet u p", "192.0.2.1");
	assert_ours(&set, "192.0.2.2 . 443");
}

/* The kernel's answers do not fit into the socket: the outcome is unknown, and the next commit is
 * not confused by what was left. */
static void answers_lost(void **state)
{
	static struct commit_target targets[50];
	struct commit_target set = target("s", 4, 0);
	int tiny = 1, large = 4 << 20;

	(void)state;
	must("nft 'add element inet u s { 192.0.2.1, 192.0.2.2 }'");
	assert_int_equal(setsockopt(sock.fd, SOL_SOCKET, SO_RCVBUFFORCE, &tiny, sizeof tiny), 0);
	for (int turn = 0; turn < 3; turn++) {
		commit_begin(commit);
		for (int i = 0; i < 50; i++) {
			targets[i] = target("s", 4, 0);
			put(&targets[i], COMMIT_ADD, "192.0.2.1", NULL, LIFE_MS);
			put(&targets[i], COMMIT_ADD, "192.0.2.2", NULL, LIFE_MS);
		}
		put(&set, COMMIT_ADD, "192.0.2.3", NULL, LIFE_MS);
		run();
		for (int i = 0; i < commit->n_items; i++)
			assert_int_equal(result(i), -ETIMEDOUT);
		assert_false(works("nft get element inet u s '{ 192.0.2.3 }'"));
		/* One answer fits. */
		assert_int_equal(result(add(&set, turn ? "192.0.2.5" : "192.0.2.4", NULL)), 0);
	}
	assert_int_equal(setsockopt(sock.fd, SOL_SOCKET, SO_RCVBUFFORCE, &large, sizeof large), 0);
	commit_begin(commit);
	for (int i = 0; i < 50; i++)
		put(&targets[i], COMMIT_ADD, "192.0.2.1", NULL, LIFE_MS);
	run();
	for (int i = 0; i < commit->n_items; i++) {
		assert_int_equal(result(i), 0);
		assert_true(found_ms(i) == COMMIT_FOREVER);
	}
	assert_ours(&set, "192.0.2.4");
	assert_ours(&set, "192.0.2.5");
}

/* The kernel these tests run on is a new one: the trial must find both. Elsewhere it says what is
 * missing. */
static void features(void **state)
{
	(void)state;
	print_message("renew: %s, destroy: %s\n", found.renew ? "yes" : "no",
		found.destroy ? "yes" : "no");
	assert_true(!found.renew || found.destroy); /* 6.12 came after 6.3 */
}

int main(void)
{
#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
#define OLD(f)                                                                                     \
	{                                                                                          \
#f ", older kernel", f, setup_old, teardown, NULL                                  \
	}
#define ASKED(f)                                                                                   \
	{                                                                                          \
#f ", asked first", f, setup_unsure, teardown, NULL                                \
	}
	const struct CMUnitTest tests[] = {TEST(maps), OLD(maps), TEST(nothing_to_delete),
		OLD(nothing_to_delete), TEST(missing_map), OLD(missing_map), TEST(fresh),
		OLD(fresh), ASKED(fresh), TEST(permanent_by_user), OLD(permanent_by_user),
		ASKED(permanent_by_user), TEST(shorter_by_user), OLD(shorter_by_user),
		ASKED(shorter_by_user), TEST(longer_by_user), OLD(longer_by_user),
		ASKED(longer_by_user), TEST(renewal), OLD(renewal),
		TEST(renewal_of_what_became_anothers), OLD(renewal_of_what_became_anothers),
		TEST(other_values), OLD(other_values), ASKED(other_values), TEST(contradiction),
		OLD(contradiction), ASKED(contradiction), TEST(merged), OLD(merged),
		TEST(last_addresses), OLD(last_addresses), ASKED(last_addresses),
		TEST(ranges_of_users), OLD(ranges_of_users), ASKED(ranges_of_users),
		TEST(one_of_sixteen), OLD(one_of_sixteen), ASKED(one_of_sixteen),
		TEST(all_are_there), OLD(all_are_there), ASKED(all_are_there),
		TEST(thousand_in_fifty), OLD(thousand_in_fifty), ASKED(thousand_in_fifty),
		TEST(bounds), TEST(large_elements), TEST(full_set), OLD(full_set), ASKED(full_set),
		TEST(full_set_renewed), OLD(full_set_renewed), TEST(deleted_between_rounds),
		ASKED(deleted_between_rounds), TEST(another_kind), ASKED(another_kind),
		TEST(another_size), TEST(no_timeouts), TEST(others_commit_too), TEST(not_explained),
		OLD(not_explained), TEST(no_such_chain), OLD(no_such_chain), ASKED(no_such_chain),
		TEST(long_chain), TEST(sequence_numbers_wrap), TEST(outgrown), ASKED(outgrown),
		TEST(answers_lost), TEST(features)};

	netns_enter();
	return cmocka_run_group_tests(tests, NULL, NULL);
}
