/* The netlink writer against the kernel: what a job asked for is there when it comes back, whatever
 * the other sets of its batch are like. */
#include "tests/platform/nft_lab.h"

#include <linux/netfilter.h>
#include <pthread.h>

static struct lab lab;
static int n_done;
static unsigned done_order[1024];

static int setup(void **state)
{
	(void)state;
	must("nft flush ruleset");
	must("nft add table inet u");
	lab_open(&lab);
	n_done = 0;
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	lab_close(&lab);
	return 0;
}

static struct nl_set *nft_set(const char *name, uint8_t family)
{
	struct conf_set conf = {.family = family,
		.nfproto = NFPROTO_INET,
		.table = (char *)"u",
		.name = (char *)name};
	struct nl_set *set;

	assert_int_equal(writer_set_get(lab.writer, &conf, &set), 0);
	return set;
}

static struct nl_set *ipset(const char *name, uint8_t family)
{
	struct conf_set conf = {.is_ipset = true, .family = family, .name = (char *)name};
	struct nl_set *set;

	assert_int_equal(writer_set_get(lab.writer, &conf, &set), 0);
	return set;
}

static void job_done(struct writer_job *job)
{
	done_order[n_done++ % 1024] = job->elements[0].number;
}

static struct writer_job job_new(void)
{
	return (struct writer_job){.client = lab.client, .done = job_done};
}

static void put(struct writer_job *job, struct nl_set *set, const char *addr, uint32_t timeout_s)
{
	job->elements[job->n++] = (struct writer_element){.op = WRITER_SET_ADD,
		.set = set,
		.addr = address(addr),
		.timeout_s = timeout_s,
		.need_s = (timeout_s + 1) / 2};
}

static void put_nat(struct writer_job *job, enum writer_op op, const char *fake, const char *real)
{
	job->elements[job->n++] = (struct writer_element){.op = op,
		.addr = address(fake),
		.real = real ? address(real) : (struct ip_addr){.family = IP_NONE},
		.timeout_s = 60};
}

/* Its result, when it is done. */
static int submit(struct writer_job *job)
{
	int before = n_done;

	writer_submit(lab.writer, job);
	while (n_done == before)
		lab_wait(&lab);
	assert_int_equal(n_done, before + 1);
	return job->result;
}

static int add(struct nl_set *set, const char *addr, uint32_t timeout_s)
{
	struct writer_job job = job_new();

	put(&job, set, addr, timeout_s);
	return submit(&job);
}

static bool has(const char *set, const char *addr)
{
	char command[128];

	snprintf(command, sizeof command, "nft get element inet u %s '{ %s }'", set, addr);
	return works(command);
}

static const char *state_of(const char *text, uint64_t *ret_errors)
{
	static struct writer_set_info info[16];
	size_t n = writer_set_list(lab.writer, info, 16);

	for (size_t i = 0; i < n; i++) {
		if (strcmp(info[i].text, text) == 0) {
			*ret_errors = info[i].errors;
			return info[i].state;
		}
	}
	return "unknown";
}

static void assert_state(const char *text, const char *state, uint64_t errors)
{
	uint64_t n = 0;

	assert_string_equal(state_of(text, &n), state);
	assert_int_equal(n, errors);
}

static void added_before_done(void **state)
{
	struct nl_set *s4, *s6;

	(void)state;
	must("nft 'add set inet u a4 { type ipv4_addr; flags timeout; }'");
	must("nft 'add set inet u a6 { type ipv6_addr; flags timeout; }'");
	s4 = nft_set("a4", IP_V4);
	s6 = nft_set("a6", IP_NONE);
	assert_ptr_equal(nft_set("a4", IP_V4), s4);
	assert_int_equal(add(s4, "192.0.2.1", 600), 0);
	assert_true(has("a4", "192.0.2.1"));
	assert_int_equal(add(s6, "2001:db8::1", 600), 0);
	assert_true(has("a6", "2001:db8::1"));
	/* The other family is not for this set, and that is no error. */
	assert_int_equal(add(s4, "2001:db8::1", 600), 0);
	assert_int_equal(add(s6, "192.0.2.1", 600), 0);
	assert_state("4#inet#u#a4", "ok", 0);
	assert_state("inet#u#a6", "ok", 0);
	assert_shows("nft get element inet u a4 '{ 192.0.2.1 }'", "timeout 10m");
	/* Renewed with another timeout, then for ever. */
	assert_int_equal(add(s4, "192.0.2.1", 3600), 0);
	assert_shows("nft get element inet u a4 '{ 192.0.2.1 }'", "timeout 1h");
	assert_int_equal(add(s4, "192.0.2.9", 0), 0);
	assert_hides("nft get element inet u a4 '{ 192.0.2.9 }'", "timeout 1");
	assert_int_equal(lab.n_told, 0);
}

static void renewed(void **state)
{
	struct nl_set *s;
	int64_t began_ms;
	bool is_there;

	(void)state;
	must("nft 'add set inet u r { type ipv4_addr; flags timeout; }'");
	s = nft_set("r", IP_V4);
	do { /* on a slow machine it is over before we look */
		assert_int_equal(add(s, "192.0.2.1", 2), 0);
		usleep(1200000);
		began_ms = clock_ms();
		assert_int_equal(add(s, "192.0.2.1", 2), 0);
		usleep(1200000);
		is_there = has("r", "192.0.2.1");
	} while (!is_there && clock_ms() - began_ms > 1900);
	assert_true(is_there);
	lab_until(!has("r", "192.0.2.1"));
}

/* One job, one good set and five that cannot take it. */
static void bad_sets_hurt_no_other(void **state)
{
	struct writer_job job = job_new();

	(void)state;
	must("nft 'add set inet u good { type ipv4_addr; flags timeout; }'");
	must("nft 'add set inet u full { type ipv4_addr; flags timeout; size 2; }'");
	must("nft 'add set inet u ports { type inet_service; flags timeout; }'");
	must("nft 'add map inet u m4 { type ipv4_addr : ipv4_addr; flags timeout; }'");
	must("nft 'add set inet u plain { type ipv4_addr; }'");
	put(&job, nft_set("good", IP_V4), "192.0.2.1", 600);
	put(&job, nft_set("full", IP_V4), "192.0.2.1", 600);
	put(&job, nft_set("full", IP_V4), "192.0.2.2", 600);
	put(&job, nft_set("full", IP_V4), "192.0.2.3", 600);
	put(&job, nft_set("ports", IP_NONE), "192.0.2.1", 600);
	put(&job, nft_set("m4", IP_NONE), "192.0.2.1", 600);
	put(&job, nft_set("plain", IP_NONE), "192.0.2.1", 600);
	put(&job, nft_set("none", IP_V4), "192.0.2.1", 600);
	put(&job, nft_set("good", IP_V6), "2001:db8::1", 600);
	put(&job, nft_set("good", IP_V4), "192.0.2.2", 600);
	assert_true(submit(&job) < 0);
	assert_true(has("good", "192.0.2.1"));
	assert_true(has("good", "192.0.2.2"));
	assert_false(has("plain", "192.0.2.1"));
	assert_state("4#inet#u#good", "ok", 0);
	assert_state("6#inet#u#good", "wrong type", 1);
	assert_state("4#inet#u#full", "full", 1);
	assert_state("inet#u#ports", "wrong type", 1);
	assert_state("inet#u#m4", "wrong type", 1);
	assert_state("inet#u#plain", "no timeout", 1);
	assert_state("4#inet#u#none", "missing", 1);
	/* One line each, and no second one for the same. */
	assert_int_equal(lab.n_told, 6);
	assert_int_equal(add(nft_set("none", IP_V4), "192.0.2.1", 600), -ENOENT);
	assert_int_equal(add(nft_set("full", IP_V4), "192.0.2.9", 600), -ENFILE);
	assert_int_equal(lab.n_told, 6);
	/* What a permanent rule asks for is there for ever. */
	assert_int_equal(add(nft_set("plain", IP_NONE), "192.0.2.7", 0), 0);
	assert_true(has("plain", "192.0.2.7"));
}

static void deleted_and_made_anew(void **state)
{
	struct writer_job job = job_new();
	struct nl_set *s, *other;

	(void)state;
	must("nft 'add set inet u d { type ipv4_addr; flags timeout; }'");
	must("nft 'add set inet u other { type ipv4_addr; flags timeout; }'");
	s = nft_set("d", IP_V4);
	other = nft_set("other", IP_V4);
	assert_int_equal(add(s, "192.0.2.1", 600), 0);
	must("nft 'delete set inet u d'");
	put(&job, s, "192.0.2.2", 600);
	put(&job, other, "192.0.2.2", 600);
	assert_int_equal(submit(&job), -ENOENT);
	assert_true(has("other", "192.0.2.2"));
	assert_state("4#inet#u#d", "missing", 1);
	assert_int_equal(lab.n_told, 1);
	/* The monitor says so: at once. */
	must("nft 'add set inet u d { type ipv4_addr; flags timeout; }'");
	writer_sets_lost(lab.writer);
	assert_int_equal(add(s, "192.0.2.3", 600), 0);
	assert_true(has("d", "192.0.2.3"));
	assert_state("4#inet#u#d", "ok", 1);
	/* Nobody says so, and it is of another kind now: the kernel's refusal shows it. */
	must("nft 'delete set inet u d; add set inet u d { type ipv4_addr; flags interval,timeout; "
	     "}'");
	assert_int_equal(add(s, "192.0.2.4", 600), 0);
	assert_true(has("d", "192.0.2.4"));
	assert_false(has("d", "192.0.2.5"));
	must("nft 'delete set inet u d; add set inet u d { type ipv4_addr; }'");
	assert_int_equal(add(s, "192.0.2.6", 600), -EOPNOTSUPP);
	assert_int_equal(add(s, "192.0.2.6", 600), -EOPNOTSUPP);
	/* All of it, at once, and back after a second without a word. */
	must("nft flush ruleset");
	assert_int_equal(add(other, "192.0.2.4", 600), -ENOENT);
	must("nft 'add table inet u; add set inet u other { type ipv4_addr; flags timeout; }'");
	usleep(1100000);
	assert_int_equal(add(other, "192.0.2.4", 600), 0);
	assert_true(has("other", "192.0.2.4"));
}

static void interval_sets(void **state)
{
	struct writer_job job = job_new();
	struct nl_set *s4, *s6;

	(void)state;
	must("nft 'add set inet u i4 { type ipv4_addr; flags interval,timeout; }'");
	must("nft 'add set inet u i6 { type ipv6_addr; flags interval,timeout; }'");
	must("nft 'add element inet u i4 { 10.0.0.0/8 }'");
	s4 = nft_set("i4", IP_V4);
	s6 = nft_set("i6", IP_V6);
	put(&job, s4, "10.1.1.1", 600); /* inside a range that is there */
	put(&job, s4, "192.0.2.8", 600);
	put(&job, s4, "192.0.2.7", 600); /* touches */
	put(&job, s4, "192.0.2.255", 600);
	put(&job, s4, "255.255.255.255", 600);
	put(&job, s6, "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", 600);
	put(&job, s6, "2001:db8::ffff", 600);
	assert_int_equal(submit(&job), 0);
	assert_true(has("i4", "192.0.2.7"));
	assert_true(has("i4", "192.0.2.8"));
	assert_false(has("i4", "192.0.2.9"));
	assert_false(has("i4", "192.0.2.6"));
	assert_true(has("i4", "192.0.2.255"));
	assert_false(has("i4", "192.0.3.0"));
	assert_true(has("i4", "255.255.255.255"));
	assert_false(has("i4", "255.255.255.254"));
	assert_true(has("i6", "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff"));
	assert_true(has("i6", "2001:db8::ffff"));
	assert_false(has("i6", "2001:db8::1:0"));
	/* Again: renewed. */
	job.n = 0;
	put(&job, s4, "192.0.2.7", 3600);
	put(&job, s4, "10.1.1.1", 3600);
	assert_int_equal(submit(&job), 0);
	assert_state("4#inet#u#i4", "ok", 0);
}

static void same_twice_in_a_batch(void **state)
{
	struct writer_job job = job_new();
	struct nl_set *s;

	(void)state;
	must("nft 'add set inet u t { type ipv4_addr; flags timeout; }'");
	s = nft_set("t", IP_V4);
	put(&job, s, "192.0.2.1", 7200);
	put(&job, s, "192.0.2.1", 600);
	assert_int_equal(submit(&job), 0);
	assert_shows("nft get element inet u t '{ 192.0.2.1 }'", "timeout 2h");
}

static void nat(void **state)
{
	struct table_egress egresses[] = {{0}, {.value = 0x10, .mask = 0xf0}};
	struct table_config c = lab_table(CONF_INTERCEPT_TUN);
	struct writer_job job = job_new();

	(void)state;
	put_nat(&job, WRITER_NAT_SET, "198.18.0.9", "192.0.2.1");
	assert_int_equal(submit(&job), -ENOENT); /* there is no table */
	c.egresses = egresses;
	c.n_egresses = 2;
	lab_set_table(&lab, &c);
	job.n = 0;
	put_nat(&job, WRITER_NAT_SET, "198.18.0.9", "192.0.2.1");
	put_nat(&job, WRITER_NAT_SET, "fd00:198:18::9", "2001:db8::1");
	put_nat(&job, WRITER_EGRESS_SET, "198.18.0.9", NULL);
	job.elements[2].number = 1;
	assert_int_equal(submit(&job), 0);
	assert_shows("nft get element inet tungate nat4 '{ 198.18.0.9 }'", ": 192.0.2.1");
	assert_shows("nft get element inet tungate nat6 '{ fd00:198:18::9 }'", ": 2001:db8::1");
	assert_true(works("nft get element inet tungate egress1_4 '{ 198.18.0.9 }'"));
	job.n = 0;
	put_nat(&job, WRITER_NAT_SET, "198.18.0.9", "192.0.2.2");
	put_nat(&job, WRITER_NAT_SET, "198.18.0.10", "192.0.2.3");
	assert_int_equal(submit(&job), 0);
	assert_shows("nft get element inet tungate nat4 '{ 198.18.0.9 }'", ": 192.0.2.2");
	/* A reload keeps what is valid: the pool of IPv4 stays, that of IPv6 is another one. */
	c.mode = CONF_INTERCEPT_TPROXY;
	c.pool6 = prefix("fd00:199::/64");
	lab_set_table(&lab, &c);
	assert_shows("nft get element inet tungate nat4 '{ 198.18.0.9 }'", ": 192.0.2.2");
	assert_true(works("nft get element inet tungate egress1_4 '{ 198.18.0.9 }'"));
	assert_hides("nft list map inet tungate nat6", "2001:db8::1");
	job.n = 0;
	put_nat(&job, WRITER_NAT_DELETE, "198.18.0.9", NULL);
	put_nat(&job, WRITER_NAT_DELETE, "198.18.0.77", NULL);
	assert_int_equal(submit(&job), 0);
	assert_false(works("nft get element inet tungate nat4 '{ 198.18.0.9 }'"));
	assert_true(works("nft get element inet tungate nat4 '{ 198.18.0.10 }'"));
	/* Outside of the pools, of an egress that needs no set, of two families. */
	job.n = 0;
	put_nat(&job, WRITER_NAT_SET, "203.0.113.1", "192.0.2.2");
	assert_int_equal(submit(&job), -ENOENT);
	job.n = 0;
	put_nat(&job, WRITER_EGRESS_SET, "198.18.0.9", NULL);
	assert_int_equal(submit(&job), 0);
	job.n = 0;
	put_nat(&job, WRITER_NAT_SET, "198.18.0.11", "2001:db8::1");
	assert_int_equal(submit(&job), -EINVAL);
}

#define N_JOBS 300

static void order(void **state)
{
	static struct writer_job jobs[N_JOBS];
	struct table_config c = lab_table(CONF_INTERCEPT_TUN);

	(void)state;
	lab_set_table(&lab, &c);
	for (unsigned i = 0; i < N_JOBS; i++) {
		char real[32];

		snprintf(real, sizeof real, "192.0.2.%u", i % 250 + 1);
		jobs[i] = job_new();
		put_nat(&jobs[i], i % 7 == 3 ? WRITER_NAT_DELETE : WRITER_NAT_SET, "198.18.0.9",
			real);
		jobs[i].elements[0].number = i;
		writer_submit(lab.writer, &jobs[i]);
	}
	while (n_done < N_JOBS)
		lab_wait(&lab);
	for (unsigned i = 0; i < N_JOBS; i++) {
		assert_int_equal(done_order[i], i);
		assert_int_equal(jobs[i].result, 0);
	}
	/* 299 % 7 is 5: a set, of 192.0.2.50 */
	assert_shows("nft get element inet tungate nat4 '{ 198.18.0.9 }'", ": 192.0.2.50");
}

static void big_jobs(void **state)
{
	static struct writer_job jobs[40];
	struct nl_set *s;
	struct writer_stats stats;

	(void)state;
	must("nft 'add set inet u big { type ipv4_addr; flags timeout; }'");
	s = nft_set("big", IP_V4);
	for (unsigned i = 0; i < 40; i++) {
		jobs[i] = job_new();
		for (unsigned k = 0; k < WRITER_JOB_ELEMENTS; k++) {
			char text[32];

			snprintf(text, sizeof text, "10.0.%u.%u", i, k);
			put(&jobs[i], s, text, 600);
		}
		writer_submit(lab.writer, &jobs[i]);
	}
	while (n_done < 40)
		lab_wait(&lab);
	for (unsigned i = 0; i < 40; i++)
		assert_int_equal(jobs[i].result, 0);
	assert_true(has("big", "10.0.39.63"));
	writer_stats(lab.writer, &stats);
	assert_int_equal(stats.elements, 40 * WRITER_JOB_ELEMENTS);
	assert_int_equal(stats.errors, 0);
}

/* How long the element has to live, s. */
static unsigned long ipset_timeout(const char *set, const char *addr)
{
	char command[128];

	snprintf(command, sizeof command, "ipset list %s | awk '$1 == \"%s\" {print $3}'", set,
		addr);
	return strtoul(output(command, NULL), NULL, 10);
}

static void ipsets(void **state)
{
	struct writer_job job = job_new();

	(void)state;
	must("ipset destroy; ipset create i4 hash:ip timeout 0; ipset create i6 hash:ip family "
	     "inet6 timeout 0");
	must("ipset create inet4 hash:net timeout 0; ipset create iplain hash:ip; ipset create "
	     "iports bitmap:port range 1-9");
	must("ipset create ifull hash:ip timeout 0 maxelem 1 hashsize 64");
	put(&job, ipset("i4", IP_V4), "192.0.2.1", 600);
	put(&job, ipset("i6", IP_NONE), "2001:db8::1", 600);
	put(&job, ipset("i6", IP_NONE), "192.0.2.1", 600); /* not for it */
	put(&job, ipset("inet4", IP_NONE), "192.0.2.1", 600);
	assert_int_equal(submit(&job), 0);
	assert_in_range(ipset_timeout("i4", "192.0.2.1"), 590, 600);
	assert_shows("ipset list i6", "2001:db8::1 timeout ");
	assert_shows("ipset list inet4", "192.0.2.1 timeout ");
	assert_hides("ipset list i6", "192.0.2.1");
	assert_int_equal(add(ipset("i4", IP_V4), "192.0.2.1", 3600), 0);
	assert_true(ipset_timeout("i4", "192.0.2.1") > 3500);
	assert_int_equal(add(ipset("iplain", IP_V4), "192.0.2.1", 600), -EOPNOTSUPP);
	assert_int_equal(add(ipset("iplain", IP_V4), "192.0.2.2", 0), 0);
	assert_int_equal(add(ipset("iports", IP_V4), "192.0.2.1", 600), -EINVAL);
	assert_int_equal(add(ipset("inone", IP_V4), "192.0.2.1", 600), -ENOENT);
	assert_int_equal(add(ipset("i4", IP_V6), "2001:db8::1", 600), -EINVAL);
	assert_int_equal(add(ipset("ifull", IP_V4), "192.0.2.1", 600), 0);
	assert_int_equal(add(ipset("ifull", IP_V4), "192.0.2.2", 600), -ENFILE);
	assert_state("4#iplain", "ok", 1);
	assert_state("4#inone", "missing", 1);
	assert_state("4#ifull", "full", 1);
	/* Gone, and made anew. */
	must("ipset destroy i4");
	assert_int_equal(add(ipset("i4", IP_V4), "192.0.2.3", 600), -ENOENT);
	must("ipset create i4 hash:ip timeout 0");
	writer_sets_lost(lab.writer);
	assert_int_equal(add(ipset("i4", IP_V4), "192.0.2.3", 600), 0);
	assert_shows("ipset list i4", "192.0.2.3");
}

/* --- from several threads at once --- */

struct worker {
	pthread_t thread;
	unsigned number;
	struct nl_set *set;
	struct lab lab; /* its own client and wake-up, the common writer */
	int n_done;
	int failures;
};

static _Thread_local struct worker *self;

static void worker_done(struct writer_job *job)
{
	self->n_done++;
	self->failures += job->result != 0;
}

static void *worker_run(void *arg)
{
	static struct writer_job all[3][500];
	struct worker *w = arg;

	self = w;
	for (unsigned i = 0; i < 500; i++) {
		uint8_t bytes[4] = {10, (uint8_t)w->number, (uint8_t)(i >> 8), (uint8_t)i};
		struct writer_job *job = &all[w->number][i];

		*job = (struct writer_job){.client = w->lab.client, .done = worker_done, .n = 1};
		job->elements[0] = (struct writer_element){.op = WRITER_SET_ADD,
			.set = w->set,
			.addr = ip_addr_v4(bytes),
			.timeout_s = 600};
		writer_submit(lab.writer, job);
		if (i % 16 == 0)
			writer_client_run(w->lab.client);
	}
	while (w->n_done < 500) {
		struct pollfd p = {.fd = w->lab.woken, .events = POLLIN};
		uint64_t n;

		if (poll(&p, 1, 60000) != 1 || read(w->lab.woken, &n, sizeof n) < 0) {
			w->failures++;
			break;
		}
		writer_client_run(w->lab.client);
	}
	writer_client_free(w->lab.client);
	return NULL;
}

static void threads(void **state)
{
	static struct worker workers[3];
	struct writer_stats stats;

	(void)state;
	must("nft 'add set inet u many { type ipv4_addr; flags timeout; }'");
	for (unsigned i = 0; i < 3; i++) {
		workers[i] = (struct worker){.number = i, .set = nft_set("many", IP_V4)};
		workers[i].lab.woken = eventfd(0, EFD_NONBLOCK);
		assert_int_equal(writer_client_new(lab.writer, lab_wake, &workers[i].lab,
					 &workers[i].lab.client),
			0);
		assert_int_equal(
			pthread_create(&workers[i].thread, NULL, worker_run, &workers[i]), 0);
	}
	writer_sets_lost(lab.writer);
	for (unsigned i = 0; i < 3; i++) {
		assert_int_equal(pthread_join(workers[i].thread, NULL), 0);
		assert_int_equal(workers[i].n_done, 500);
		assert_int_equal(workers[i].failures, 0);
		close(workers[i].lab.woken);
	}
	writer_stats(lab.writer, &stats);
	assert_int_equal(stats.elements, 1500);
	assert_true(has("many", "10.2.1.243"));
}

int main(void)
{
#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
	const struct CMUnitTest tests[] = {TEST(added_before_done), TEST(renewed),
		TEST(bad_sets_hurt_no_other), TEST(deleted_and_made_anew), TEST(interval_sets),
		TEST(same_twice_in_a_batch), TEST(nat), TEST(order), TEST(big_jobs), TEST(ipsets),
		TEST(threads)};

	netns_enter();
	return cmocka_run_group_tests(tests, NULL, NULL);
}
