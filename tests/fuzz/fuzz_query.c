/* A query from anybody, and upstream's response to it, which is also that to the question of the
 * rule that a check leads to. Whatever the bytes: one answer at most, to whom it belongs, within
 * its limit, that is itself readable; no address of upstream's in a fake answer, no address of ours
 * or of nobody's that an egress is to carry; a name is led elsewhere once; and nothing stays
 * parked.
 *
 * The first byte: bit 0 TCP, bit 1 upstream fails, bit 2 the kernel fails. Two bytes: the length of
 * the query. Then the query and the response. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "tests/unit/query_stage.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* What stands for %s: where the files are. */
static const char yaml_format[] =
	"gateway: { lan: [lan0] }\n"
	"fakeip: { pool4: 198.18.0.0/15, pool6: 'fd00::/64', store: '', https: rewrite }\n"
	"upstreams: { up: { servers: udp://192.0.2.53 } }\n"
	"egress:\n"
	"  direct: { type: direct, upstream: up }\n"
	"  proxy: { type: socks5, server: '127.0.0.1:1080', upstream: up }\n"
	"lists: { near: [%s.near] }\n"
	"rules:\n"
	"  - { name: ads, domain: [ads.test], answer: block }\n"
	"  - { name: fake, domain: [fake.test], answer: fake, egress: direct }\n"
	"  - { name: proxied, domain: [proxy.test], answer: real, egress: proxy }\n"
	"  - { name: sets, domain: [set.test], answer: real, upstream: up, on_error: servfail,\n"
	"      nftset: ['4#inet#t#s4', '6#inet#t#s6', 'inet#t#any'] }\n"
	"  - { name: to-fake, domain: [a.check.test], answer: real, upstream: up, filter: ipv6,\n"
	"      check: { answers: out, of: near, match: any, rule: fake } }\n"
	"  - { name: to-sets, domain: [b.check.test], answer: real, upstream: up,\n"
	"      check: { answers: in, of: near, rule: sets, learn: %s.learned, capacity: 8,\n"
	"        verify: 0 } }\n"
	"  - { name: to-alias, domain: [c.check.test], answer: real, upstream: up,\n"
	"      check: { answers: out, of: near, rule: alias } }\n"
	"  - { name: alias, domain: [alias.test], answer: local, cname: www.a.check.test }\n"
	"  - { name: rest, domain: [.], answer: real, upstream: up }\n";

static void require(bool holds)
{
	if (!holds)
		abort();
}

static void require_pool(void *arg, const uint8_t *address, size_t size, uint32_t ttl_s)
{
	const struct stage *s = arg;

	require(ttl_s <= 60 && fakeip_in_pools(s->fakeip, address, size));
}

static void check_job(const struct stage *s, const struct writer_job *job)
{
	for (unsigned i = 0; i < job->n; i++) {
		const struct writer_element *e = &job->elements[i];

		if (e->op == WRITER_REAL_SET)
			require(e->timeout_s > 0 && !ip_addr_is_loopback(&e->addr) &&
				!fakeip_in_pools(s->fakeip, e->addr.b, ip_addr_size(&e->addr)));
		else
			require(e->op == WRITER_SET_ADD && e->set);
	}
}

static void check_answer(const uint8_t *query, bool stream, const uint8_t *msg, size_t len)
{
	require(len >= DNS_HEADER_SIZE && len <= (stream ? DNS_MESSAGE_MAX : DNS_UDP_MAX));
	require(memcmp(msg, query, 2) == 0);
	require(dns_message_flags(msg) & DNS_QR);
	/* Without a question it is only a header, and perhaps an OPT. */
	require((msg[4] == 0 && msg[5] == 0) || dns_response_check(msg, len) == 0);
}

static void play_upstream(
	struct stage *s, unsigned how, const uint8_t *response, size_t response_len)
{
	while (s->n_answered < s->n_asked) {
		require(s->n_asked <= 3 && s->reply.n == 0);
		if (how & 2 || dns_response_check(response, response_len))
			stage_answer(s, NULL, 0, -ETIMEDOUT);
		else
			stage_answer(s, response, response_len, 0);
	}
	while (s->job) {
		check_job(s, s->job);
		stage_written(s, how & 4 ? -ENOENT : 0);
	}
}

static char base[64];

static const char *path(const char *end)
{
	static char text[sizeof base + 16];

	(void)snprintf(text, sizeof text, "%s%s", base, end);
	return text;
}

static void forget_files(void)
{
	(void)unlink(path(".near"));
	(void)unlink(path(".learned"));
}

static struct stage *open_stage(void)
{
	char yaml[sizeof yaml_format + 2 * sizeof base];
	FILE *near;

	(void)snprintf(base, sizeof base, "/tmp/tungate-fuzz-query-%d", (int)getpid());
	(void)snprintf(yaml, sizeof yaml, yaml_format, base, base);
	near = fopen(path(".near"), "w");
	require(near && fputs("192.0.2.0/24\n2001:db8::/32\n", near) >= 0 && fclose(near) == 0);
	(void)atexit(forget_files);
	return stage_open(yaml, 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct stage *s;
	static uint8_t out[DNS_MESSAGE_MAX];
	struct query_origin origin;
	size_t query_len, n;
	uint64_t fake;
	uint8_t *query;
	bool stream;

	if (!s)
		s = open_stage();
	if (size < 3)
		return 0;
	stream = data[0] & 1;
	query_len = (size_t)data[1] << 8 | data[2];
	if (query_len > size - 3)
		query_len = size - 3;
	query = malloc(query_len + 1); /* of its own, so that a byte read too far is seen */
	require(query);
	memcpy(query, data + 3, query_len);
	s->n_asked = s->n_answered = 0;
	s->reply.n = 0;
	fake = query_engine_counters(s->engine)->fake;
	origin = stage_origin("10.1.1.1", stream);
	n = query_handle(s->engine, &origin, query, query_len, out);
	query_engine_commit(s->engine);
	if (n == QUERY_PARKED) {
		require(s->n_asked == 1 && s->reply.n == 0);
		play_upstream(s, data[0], data + 3 + query_len, size - 3 - query_len);
		require(s->reply.n == 1);
		n = s->reply.len;
		memcpy(out, s->reply.msg, n);
	}
	if (n)
		check_answer(query, stream, out, n);
	if (query_engine_counters(s->engine)->fake > fake)
		dns_response_addresses(out, n, require_pool, s);
	require(query_engine_idle(s->engine));
	free(query);
	return 0;
}
