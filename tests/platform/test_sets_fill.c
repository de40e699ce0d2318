/* Users' sets that the kernel loses: flushed, deleted, made anew, under the monitor. What was put
 * in and is still live comes back; what others put in is left as it is. */
#include "tests/platform/nft_lab.h"

#include "gateway/base/clock.h"

#include <linux/netfilter.h>

#define WITHIN_MS 60000 /* however slow the machine is; what it took is printed */

static struct lab lab;
static struct monitor *monitor;
static bool done;
static const struct ip_addr nobody = {.family = IP_NONE};

static void event(void *arg, const struct monitor_set_event *e)
{
	(void)arg;
	writer_set_event(lab.writer, e);
}

static int setup(void **state)
{
	uint32_t ports[MONITOR_OWN_MAX];
	size_t n;

	(void)state;
	must("nft flush ruleset; nft add table inet u; ipset destroy");
	lab_open(&lab);
	assert_int_equal(monitor_open(event, NULL, &monitor), 0);
	n = writer_ports(lab.writer, ports);
	assert_int_equal(monitor_set_own(monitor, ports, n), 0);
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	monitor_close(monitor);
	lab_close(&lab);
	return 0;
}

static struct nl_set *handle(struct conf_set conf)
{
	struct nl_set *set;

	conf.nfproto = NFPROTO_INET;
	conf.table = conf.is_ipset ? NULL : (char *)"u";
	assert_int_equal(writer_set_get(lab.writer, &conf, &set), 0);
	return set;
}

static struct nl_set *nft_set(const char *name, const char *key)
{
	return handle((struct conf_set){.name = (char *)name, .key = (char *)key});
}

static void job_done(struct writer_job *job)
{
	(void)job;
	done = true;
}

static struct writer_element element(
	struct nl_set *set, const struct ip_addr *a, uint32_t timeout_s)
{
	return (struct writer_element){.op = WRITER_SET_ADD,
		.set = set,
		.addr = *a,
		.timeout_s = timeout_s,
		.need_s = (timeout_s + 1) / 2};
}

static int submit(struct writer_job *job)
{
	done = false;
	job->client = lab.client;
	job->done = job_done;
	writer_submit(lab.writer, job);
	while (!done)
		lab_wait(&lab);
	return job->result;
}

static struct writer_element add_for(
	struct nl_set *set, const char *addr, uint32_t timeout_s, const char *client)
{
	struct ip_addr a = address(addr);
	struct writer_job job = {.n = 1, .asker = client ? address(client) : nobody};

	job.elements[0] = element(set, &a, timeout_s);
	assert_int_equal(submit(&job), 0);
	return job.elements[0];
}

static struct writer_element add(struct nl_set *set, const char *addr, uint32_t timeout_s)
{
	return add_for(set, addr, timeout_s, NULL);
}

static struct ip_addr numbered(unsigned i)
{
	const uint8_t b[] = {10, (uint8_t)(i >> 16), (uint8_t)(i >> 8), (uint8_t)i};

	return ip_addr_v4(b);
}

static void add_many(struct nl_set *set, unsigned n)
{
	for (unsigned i = 0; i < n;) {
		struct writer_job job = {.asker = nobody};

		for (; i < n && job.n < WRITER_JOB_ELEMENTS; i++) {
			struct ip_addr a = numbered(i);

			job.elements[job.n++] = element(set, &a, 600);
		}
		assert_int_equal(submit(&job), 0);
	}
}

static unsigned held(struct nl_set *set, unsigned n)
{
	unsigned n_held = 0;

	for (unsigned i = 0; i < n; i++) {
		struct ip_addr a = numbered(i);
		struct writer_element e = element(set, &a, 600);

		n_held += writer_holds(lab.writer, &e, &nobody, clock_ms());
	}
	return n_held;
}

static bool holds(struct nl_set *set, const char *addr)
{
	struct ip_addr a = address(addr);
	struct writer_element e = element(set, &a, 600);

	return writer_holds(lab.writer, &e, &nobody, clock_ms());
}

static unsigned elements(const char *set)
{
	char command[128];

	snprintf(command, sizeof command, "nft list set inet u %s | grep -o expires | wc -l", set);
	return (unsigned)strtoul(output(command, NULL), NULL, 10);
}

static void news(void)
{
	struct monitor_news n = {0};

	assert_int_equal(monitor_read(monitor, &n), 0);
	if (n.lost)
		writer_sets_lost(lab.writer);
}

static bool has(const char *set, const char *addr)
{
	char command[128];

	snprintf(command, sizeof command, "nft get element inet u %s '{ %s }'", set, addr);
	return works(command);
}

static uint64_t refilled(void)
{
	struct writer_stats stats;

	writer_stats(lab.writer, &stats);
	return stats.refilled;
}

/* The news come in, and what was lost, n_lost elements, is back; then n are there. */
static void wait_until_back(struct nl_set *set, unsigned n_lost, unsigned n, const char *what)
{
	uint64_t before = refilled();
	int64_t began = clock_ms();

	while (refilled() - before < n_lost || held(set, n) < n) {
		if (clock_ms() - began > WITHIN_MS)
			fail_msg("%s: %u of %u are back", what, held(set, n), n);
		news();
		usleep(200);
	}
	print_message("%s of %u elements: back after %d ms\n", what, n, (int)(clock_ms() - began));
}

static void flushed(void **state)
{
	static const unsigned counts[] = {100, 10000};
	struct nl_set *s;

	(void)state;
	must("nft 'add set inet u s { type ipv4_addr; flags timeout; }'");
	s = nft_set("s", NULL);
	news();
	for (size_t i = 0; i < 2; i++) {
		add_many(s, counts[i]);
		assert_int_equal(held(s, counts[i]), counts[i]);
		must("nft flush set inet u s");
		wait_until_back(s, counts[i], counts[i], "flush");
		assert_int_equal(elements("s"), counts[i]);
	}
}

static void made_anew(void **state)
{
	static const char *const how[] = {
		"nft 'delete set inet u s; add set inet u s { type ipv4_addr; flags timeout; }'",
		"nft 'delete table inet u; add table inet u; add set inet u s { type ipv4_addr; "
		"flags "
		"timeout; }'",
		"nft 'flush ruleset; add table inet u; add set inet u s { type ipv4_addr; flags "
		"timeout; }; add element inet u s { 1.2.3.4 }'",
		"nft flush ruleset; nft 'add table inet u; add set inet u s { type ipv4_addr; "
		"flags "
		"timeout; }'",
		/* Another kind with the same key. */
		"nft 'delete set inet u s; add set inet u s { type ipv4_addr; flags "
		"interval,timeout; "
		"}'",
	};
	struct nl_set *s;

	(void)state;
	must("nft 'add set inet u s { type ipv4_addr; flags timeout; }'");
	s = nft_set("s", NULL);
	news();
	add_many(s, 300);
	for (size_t i = 0; i < sizeof how / sizeof how[0]; i++) {
		must(how[i]);
		wait_until_back(s, 300, 300, how[i]);
		assert_true(has("s", "10.0.0.0"));
		assert_true(has("s", "10.0.1.43"));
		assert_false(has("s", "10.0.1.44"));
	}
}

static void one_element_deleted(void **state)
{
	struct nl_set *s;

	(void)state;
	must("nft 'add set inet u s { type ipv4_addr; flags timeout; }'");
	s = nft_set("s", NULL);
	news();
	add_many(s, 10);
	must("nft 'delete element inet u s { 10.0.0.3 }'");
	wait_until_back(s, 1, 10, "deletion");
	assert_true(has("s", "10.0.0.3"));
}

/* What nobody needs any more is not put in again, and life that was left is what it gets. */
static void life_goes_on(void **state)
{
	struct nl_set *s;

	(void)state;
	must("nft 'add set inet u s { type ipv4_addr; flags timeout; }'");
	s = nft_set("s", NULL);
	news();
	add_many(s, 3);
	add(s, "192.0.2.1", 1);
	add(s, "192.0.2.2", 100);
	usleep(1100000);
	must("nft flush set inet u s");
	wait_until_back(s, 4, 3, "flush");
	assert_false(has("s", "192.0.2.1"));
	assert_shows("nft get element inet u s '{ 192.0.2.2 }'", "timeout 1m");
	assert_hides("nft get element inet u s '{ 192.0.2.2 }'", "timeout 1m4"); /* not 1m40s */
}

static void others_elements_are_left_alone(void **state)
{
	struct nl_set *s;

	(void)state;
	must("nft 'add set inet u s { type ipv4_addr; flags timeout; }; add element inet u s { "
	     "192.0.2.1, 192.0.2.2 timeout 7d, 192.0.2.3 timeout 1m }'");
	s = nft_set("s", NULL);
	news();
	for (int i = 0; i < 2; i++) { /* looked at, then known */
		add(s, "192.0.2.1", 600);
		add(s, "192.0.2.2", 600);
		add(s, "192.0.2.3", 600);
	}
	assert_hides("nft get element inet u s '{ 192.0.2.1 }'", "expires");
	assert_shows("nft get element inet u s '{ 192.0.2.2 }'", "timeout 7d");
	assert_shows("nft get element inet u s '{ 192.0.2.3 }'", "timeout 10m");
	assert_true(holds(s, "192.0.2.1"));
	/* Who deletes his own does not get it back from us, until the next answer. */
	must("nft 'delete element inet u s { 192.0.2.1, 192.0.2.3 }'");
	news();
	assert_false(holds(s, "192.0.2.1"));
	lab_until(has("s", "192.0.2.3"));
	assert_false(has("s", "192.0.2.1"));
	add(s, "192.0.2.1", 600);
	assert_shows("nft get element inet u s '{ 192.0.2.1 }'", "timeout 10m");
}

/* What was put in before we were started anew is ours, too: answers rely on it. */
static void what_was_there_comes_back(void **state)
{
	struct nl_set *s;

	(void)state;
	must("nft 'add set inet u s { type ipv4_addr; flags timeout; }; add element inet u s { "
	     "192.0.2.1 timeout 9m }'");
	s = nft_set("s", NULL);
	news();
	assert_false(add(s, "192.0.2.1", 600).fresh);
	must("nft flush set inet u s");
	wait_until_back(s, 1, 0, "flush");
	assert_shows("nft get element inet u s '{ 192.0.2.1 }'", "timeout 8m59s");
}

/* The user's elements come back with his set, before ours: they are his. */
static void users_elements_come_back(void **state)
{
	static const char *const flags[] = {"timeout", "timeout,interval"};

	(void)state;
	for (size_t i = 0; i < 2; i++) {
		char command[512];
		struct nl_set *s;

		must("nft 'delete table inet u; add table inet u'");
		(void)snprintf(command, sizeof command,
			"nft 'add set inet u s { type ipv4_addr; flags %s; }'", flags[i]);
		must(command);
		s = nft_set("s", NULL);
		news();
		add(s, "192.0.2.1", 600);
		add(s, "192.0.2.2", 600);
		add(s, "192.0.2.3", 600);
		(void)snprintf(command, sizeof command,
			"nft 'delete set inet u s; add set inet u s { type ipv4_addr; flags %s; }; "
			"add element inet u s { 192.0.2.1, 192.0.2.2 timeout 7d }'",
			flags[i]);
		must(command);
		wait_until_back(s, 3, 0, flags[i]);
		assert_hides("nft get element inet u s '{ 192.0.2.1 }'", "expires");
		assert_shows("nft get element inet u s '{ 192.0.2.2 }'", "timeout 7d");
		assert_true(has("s", "192.0.2.3"));
	}
}

/* Another program's addition of what is ours gives it the set's own time, or another. */
static void put_in_by_others_too(void **state)
{
	static const char *const kinds[] = {"timeout", "interval,timeout"};

	(void)state;
	for (size_t i = 0; i < 2; i++) {
		struct nl_set *s;
		char command[256];

		must("nft 'delete table inet u; add table inet u'");
		(void)snprintf(command, sizeof command,
			"nft 'add set inet u s { type ipv4_addr; flags %s; timeout 20s; }'",
			kinds[i]);
		must(command);
		s = nft_set("s", NULL);
		news();
		add(s, "192.0.2.1", 600);
		add(s, "192.0.2.2", 600);
		must("nft 'add element inet u s { 192.0.2.1 }'");
		must("nft 'add element inet u s { 192.0.2.2 timeout 7d }'");
		wait_until_back(s, 2, 0, "what others put in, too");
		assert_shows("nft get element inet u s '{ 192.0.2.1 }'", "expires 9m");
		assert_shows("nft get element inet u s '{ 192.0.2.2 }'", "timeout 7d");
		/* The answer holds, whoever takes it out. */
		must("nft flush set inet u s");
		wait_until_back(s, 2, 0, "what others put in, too, flushed");
		assert_shows("nft get element inet u s '{ 192.0.2.1 }'", "expires 9m");
		assert_shows("nft get element inet u s '{ 192.0.2.2 }'", "expires 9m");
	}
}

/* An answer that had to leave without its set; the set comes when its client is long at work. */
static void missing_when_it_was_needed(void **state)
{
	struct ip_addr a = address("192.0.2.1");
	struct writer_job job = {.n = 2, .asker = nobody};
	struct nl_set *never = handle((struct conf_set){.name = (char *)"n", .family = IP_V4});
	struct nl_set *gone;

	(void)state;
	must("nft 'add map inet u m { type ipv4_addr : mark; flags timeout; }'");
	gone = handle((struct conf_set){.name = (char *)"m", .value = (char *)"0x10"});
	must("nft delete map inet u m");
	news();
	job.elements[0] = element(never, &a, 600);
	job.elements[1] = element(gone, &a, 600);
	assert_int_equal(submit(&job), -ENOENT);
	must("nft 'add set inet u n { type ipv4_addr; flags timeout; }; add map inet u m { type "
	     "ipv4_addr : mark; flags timeout; }'");
	news();
	for (int i = 0; i < 60000 && !(holds(never, "192.0.2.1") && holds(gone, "192.0.2.1")); i++)
		usleep(1000);
	assert_true(has("n", "192.0.2.1"));
	assert_shows("nft list map inet u m", ": 0x00000010");
}

static struct nl_set *want(struct nl_set *set, const char *addr, uint32_t timeout_s)
{
	struct ip_addr a = address(addr);
	struct writer_element e = element(set, &a, timeout_s);

	assert_true(writer_want(lab.writer, &e, &nobody));
	return set;
}

static void assert_held_soon(struct nl_set *set, const char *addr)
{
	for (int i = 0; i < 60000 && !holds(set, addr); i++)
		usleep(1000);
	assert_true(holds(set, addr));
}

/* No job brings it: the lane puts it in with what was lost. */
static void wanted(void **state)
{
	struct conf_set map = {.name = (char *)"m", .value = (char *)"0x10"};
	struct nl_set *s, *i, *m, *n, *b;

	(void)state;
	must("nft 'add set inet u s { type ipv4_addr; flags timeout; }; add set inet u i { type "
	     "ipv4_addr; flags interval,timeout; }; add map inet u m { type ipv4_addr : mark; "
	     "flags timeout; }'; ipset create b hash:ip timeout 0");
	s = want(nft_set("s", NULL), "192.0.2.1", 600);
	i = want(nft_set("i", NULL), "192.0.2.2", 600);
	m = want(handle(map), "192.0.2.3", 600);
	b = want(
		handle((struct conf_set){.is_ipset = true, .name = (char *)"b"}), "192.0.2.4", 600);
	n = want(handle((struct conf_set){.name = (char *)"n", .family = IP_V4}), "192.0.2.5", 600);
	assert_held_soon(s, "192.0.2.1");
	assert_held_soon(i, "192.0.2.2");
	assert_held_soon(m, "192.0.2.3");
	assert_held_soon(b, "192.0.2.4");
	assert_true(has("s", "192.0.2.1") && has("i", "192.0.2.2"));
	assert_shows("nft list map inet u m", ": 0x00000010");
	assert_true(works("ipset test b 192.0.2.4"));
	/* What has less than it needs is renewed. */
	add(s, "192.0.2.6", 30);
	want(s, "192.0.2.6", 600);
	for (int k = 0; k < 60000 && works("nft list set inet u s | grep -q 'timeout 30s'"); k++)
		usleep(1000);
	assert_hides("nft list set inet u s", "timeout 30s");
	must("nft 'add set inet u n { type ipv4_addr; flags timeout; }'");
	news();
	assert_held_soon(n, "192.0.2.5");
	assert_true(has("n", "192.0.2.5"));
}

/* In an interval set each touches the next: none is taken for a part of somebody's range. */
static void neighbours_are_no_range(void **state)
{
	struct nl_set *s;

	(void)state;
	must("nft 'add set inet u s { type ipv4_addr; flags interval,timeout; }'");
	must("for i in $(seq 0 63); do echo \"add element inet u s { 10.0.0.$i timeout 1m }\"; "
	     "done "
	     "| shuf | nft -f -");
	s = nft_set("s", NULL);
	add_many(s, 64);
	assert_hides("nft list set inet u s", "timeout 1m");
	assert_int_equal(elements("s"), 64);
}

/* Nobody has heard anything: all is read and put in again. */
static void news_were_lost(void **state)
{
	struct nl_set *s, *still;

	(void)state;
	must("nft 'add set inet u s { type ipv4_addr; flags timeout; }; add set inet u t { type "
	     "ipv4_addr; flags timeout; }'");
	s = nft_set("s", NULL);
	still = nft_set("t", NULL);
	add_many(s, 100);
	add_many(still, 100);
	monitor_close(monitor);
	must("nft flush set inet u s");
	assert_int_equal(held(s, 100), 100); /* as far as is known */
	assert_int_equal(monitor_open(event, NULL, &monitor), 0);
	writer_sets_lost(lab.writer);
	for (int i = 0; i < 60000 && (held(s, 100) < 100 || held(still, 100) < 100); i++)
		usleep(1000);
	assert_int_equal(elements("s"), 100);
	assert_int_equal(elements("t"), 100);
}

static void templates_and_maps(void **state)
{
	struct nl_set *port, *client, *map, *other;

	(void)state;
	must("nft 'add set inet u p { type ipv4_addr . inet_service; flags timeout; }; "
	     "add set inet u c { type ipv4_addr . ipv4_addr; flags timeout; }; "
	     "add map inet u m { type ipv4_addr : mark; flags timeout; }'");
	port = nft_set("p", "$addr . 443");
	client = nft_set("c", "$client . $addr");
	map = handle((struct conf_set){.name = (char *)"m", .value = (char *)"0x10"});
	other = handle((struct conf_set){.name = (char *)"m", .value = (char *)"0x20"});
	assert_true(add(port, "192.0.2.1", 600).fresh);
	assert_false(add(port, "192.0.2.1", 600).fresh);
	add_for(client, "192.0.2.1", 600, "192.168.1.7");
	add(map, "192.0.2.1", 600);
	assert_true(has("p", "192.0.2.1 . 443"));
	assert_true(has("c", "192.168.1.7 . 192.0.2.1"));
	assert_shows("nft list map inet u m", ": 0x00000010");
	assert_true(holds(map, "192.0.2.1"));
	assert_false(holds(other, "192.0.2.1"));
	add(other, "192.0.2.1", 600); /* the later rule's */
	assert_shows("nft list map inet u m", ": 0x00000020");
	assert_false(holds(map, "192.0.2.1"));
	must("nft flush table inet u; nft 'flush set inet u p; flush set inet u c; flush map inet "
	     "u "
	     "m'");
	news();
	for (int i = 0; i < 60000 && !has("p", "192.0.2.1 . 443"); i++)
		usleep(1000);
	assert_true(has("p", "192.0.2.1 . 443"));
	for (int i = 0; i < 60000 && !has("c", "192.168.1.7 . 192.0.2.1"); i++)
		usleep(1000);
	assert_true(has("c", "192.168.1.7 . 192.0.2.1"));
	for (int i = 0; i < 60000 && !strstr(output("nft list map inet u m", NULL), "0x00000020");
		i++)
		usleep(1000);
	assert_shows("nft list map inet u m", ": 0x00000020");
}

/* A rule that wrote another value is gone: what it put in does not come back. */
static void values_of_rules_that_are_gone(void **state)
{
	struct conf_set conf = {.name = (char *)"m", .value = (char *)"0x10"};
	struct nl_set *gone, *map;

	(void)state;
	must("nft 'add map inet u m { type ipv4_addr : mark; flags timeout; }'");
	gone = handle(conf);
	conf.value = (char *)"0x20";
	map = handle(conf);
	add(gone, "192.0.2.1", 600);
	add(map, "192.0.2.2", 600);
	writer_set_unref(gone);
	must("nft flush map inet u m");
	news();
	assert_held_soon(map, "192.0.2.2");
	usleep(10000);
	assert_hides("nft list map inet u m", "0x00000010");
	assert_int_equal(lab.n_told, 0); /* the map is well */
}

/* A refused batch takes the kernel long, so there is not one for each answer. */
static void a_verdict_without_its_chain(void **state)
{
	struct conf_set conf = {.name = (char *)"v", .value = (char *)"jump x"};
	struct ip_addr a = address("192.0.2.1");
	struct writer_job job = {.n = 1, .asker = nobody};
	struct writer_stats before, after;
	struct nl_set *map;

	(void)state;
	must("nft 'add map inet u v { type ipv4_addr : verdict; flags timeout; }'");
	map = handle(conf);
	job.elements[0] = element(map, &a, 600);
	assert_int_equal(submit(&job), -ESRCH);
	writer_stats(lab.writer, &before);
	for (int i = 0; i < 20; i++)
		assert_int_equal(submit(&job), -ESRCH);
	writer_stats(lab.writer, &after);
	assert_true(after.batches - before.batches < 10);
	assert_int_equal(lab.n_told, 1);
	must("nft add chain inet u x");
	for (int i = 0; i < 60000 && submit(&job) != 0; i++)
		usleep(10000);
	assert_true(holds(map, "192.0.2.1"));
}

/* One job, elements of all lanes: it is done when all have them. */
static void all_lanes(void **state)
{
	struct writer_job job = {.n = 3, .asker = nobody};
	struct ip_addr a = address("192.0.2.1");

	(void)state;
	must("ipset create i4 hash:ip timeout 0");
	must("nft 'add set inet u s { type ipv4_addr; flags timeout; }; "
	     "add set inet u i { type ipv4_addr; flags interval,timeout; }'");
	job.elements[0] = element(nft_set("s", NULL), &a, 600);
	job.elements[1] = element(nft_set("i", NULL), &a, 600);
	job.elements[2] =
		element(handle((struct conf_set){.is_ipset = true, .name = (char *)"i4"}), &a, 600);
	assert_int_equal(submit(&job), 0);
	assert_true(has("s", "192.0.2.1"));
	assert_true(has("i", "192.0.2.1"));
	assert_true(works("ipset test i4 192.0.2.1"));
	assert_int_not_equal(job.elements[0].lane, job.elements[1].lane);
	assert_int_not_equal(job.elements[1].lane, job.elements[2].lane);
	must("nft delete set inet u i; ipset destroy i4");
	assert_true(submit(&job) == 0 || job.result == -ENOENT);
	news();
	for (int i = 0; i < 60000 && submit(&job) == 0; i++)
		usleep(1000);
	assert_int_equal(job.result, -ENOENT);
}

static void ipset_flushed(void **state)
{
	struct nl_set *s;

	(void)state;
	must("ipset create i4 hash:ip,port timeout 0");
	s = handle((struct conf_set){
		.is_ipset = true, .name = (char *)"i4", .key = (char *)"$addr . tcp:443"});
	add_many(s, 1000);
	must("ipset flush i4");
	for (int i = 0; i < 60000 && !works("ipset test i4 10.0.3.231,tcp:443"); i++)
		usleep(1000);
	for (int i = 0; i < 60000 && held(s, 1000) < 1000; i++)
		usleep(1000);
	assert_int_equal(held(s, 1000), 1000);
}

static bool is_listed(const char *text)
{
	static struct writer_set_info list[64];
	size_t n = writer_set_list(lab.writer, list, 64);

	for (size_t i = 0; i < n; i++)
		if (strcmp(list[i].text, text) == 0)
			return true;
	return false;
}

/* What no rule names any more is the user's alone. */
static void who_is_not_used_is_left_alone(void **state)
{
	struct nl_set *s, *other;

	(void)state;
	must("nft 'add set inet u s { type ipv4_addr; flags timeout; }; "
	     "add set inet u t { type ipv4_addr; flags timeout; }'");
	s = nft_set("s", NULL);
	other = nft_set("t", NULL);
	news();
	add_many(s, 10);
	add_many(other, 10);
	assert_ptr_equal(nft_set("s", NULL), s);
	writer_set_unref(s);
	assert_true(is_listed("inet#u#s"));
	writer_set_unref(s);
	assert_false(is_listed("inet#u#s"));
	assert_true(is_listed("inet#u#t"));
	must("nft 'flush set inet u s; flush set inet u t'");
	wait_until_back(other, 10, 10, "flush");
	assert_int_equal(elements("s"), 0);
	must("nft delete set inet u s");
	news();
	assert_ptr_equal(nft_set("s", NULL), s);
	assert_true(is_listed("inet#u#s"));
	assert_int_equal(lab.n_told, 1); /* that it is missing now */
}

/* Reloads with ever new names of sets. */
static void places_are_used_again(void **state)
{
	struct nl_set *s, *kept = nft_set("kept", NULL);
	char name[16];

	(void)state;
	for (unsigned i = 0; i < 5000; i++) {
		(void)snprintf(name, sizeof name, "n%u", i);
		s = nft_set(name, NULL);
		if (i % 1000 == 0)
			writer_sets_lost(lab.writer);
		writer_set_unref(s);
	}
	assert_ptr_equal(nft_set("kept", NULL), kept);
}

/* It takes some and refuses others: that is told once, whatever is asked for next. */
static void bitmap_refuses_what_is_outside(void **state)
{
	struct nl_set *s;

	(void)state;
	must("ipset create b bitmap:ip range 192.0.2.0/24 timeout 0");
	s = handle((struct conf_set){.is_ipset = true, .name = (char *)"b"});
	for (unsigned i = 1; i <= 3; i++) {
		struct writer_job job = {.n = 1, .asker = nobody};
		struct ip_addr inside = ip_addr_v4((const uint8_t[]){192, 0, 2, (uint8_t)i});
		struct ip_addr outside = numbered(i);

		job.elements[0] = element(s, &inside, 600);
		assert_int_equal(submit(&job), 0);
		job.elements[0] = element(s, &outside, 600);
		assert_int_equal(submit(&job), -EINVAL);
	}
	assert_true(works("ipset test b 192.0.2.3"));
	assert_int_equal(lab.n_told, 1);
	assert_non_null(strstr(lab.told[0], "it does not take every address"));
}

int main(void)
{
#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
	const struct CMUnitTest tests[] = {TEST(flushed), TEST(made_anew),
		TEST(one_element_deleted), TEST(life_goes_on), TEST(others_elements_are_left_alone),
		TEST(what_was_there_comes_back), TEST(users_elements_come_back),
		TEST(put_in_by_others_too), TEST(missing_when_it_was_needed), TEST(wanted),
		TEST(neighbours_are_no_range), TEST(news_were_lost), TEST(templates_and_maps),
		TEST(values_of_rules_that_are_gone), TEST(a_verdict_without_its_chain),
		TEST(all_lanes), TEST(ipset_flushed), TEST(who_is_not_used_is_left_alone),
		TEST(places_are_used_again), TEST(bitmap_refuses_what_is_outside)};

	netns_enter();
	return cmocka_run_group_tests(tests, NULL, NULL);
}
