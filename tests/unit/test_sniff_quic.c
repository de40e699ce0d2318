/* Names in QUIC's Initial packets: the RFCs' examples, and what a client could send instead. */
#include "tests/unit/quic_vectors.h"
#include "tests/unit/sniff_stage.h"

#include <pthread.h>
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>
#include <openssl/err.h>

#include "gateway/carry/sniff_internal.h"

#define COUNT(array) (sizeof(array) / sizeof *(array))

static const uint32_t versions[] = {SNIFF_QUIC_V1, SNIFF_QUIC_V2};

static struct stage_bytes hello, frames, datagram;
static struct sniff_quic quic;
static char name[SNIFF_NAME_SIZE];

static size_t from_hex(const char *hex, uint8_t *ret)
{
	size_t n = strlen(hex) / 2;

	for (size_t i = 0; i < n; i++) {
		unsigned value;

		assert_int_equal(sscanf(hex + 2 * i, "%2x", &value), 1);
		ret[i] = (uint8_t)value;
	}
	return n;
}

/* A datagram that ends where its heap block ends. */
static enum sniff_result feed(const uint8_t *data, size_t len)
{
	uint8_t *copy = malloc(len + (len == 0));
	enum sniff_result result;

	assert_non_null(copy);
	if (len > 0)
		memcpy(copy, data, len);
	memset(name, '#', sizeof name);
	result = sniff_quic_datagram(&quic, copy, len, name);
	free(copy);
	if (result != SNIFF_NAME)
		assert_int_equal(name[0], '#');
	assert_int_equal(ERR_peek_error(), 0);
	return result;
}

static enum sniff_result feed_datagram(void)
{
	return feed(datagram.b, datagram.len);
}

/* A new connection, and a new ClientHello of about 300 bytes and `more`. */
static struct stage_initial begin(uint32_t version, const char *host, size_t more)
{
	memset(&quic, 0, sizeof quic);
	hello.len = frames.len = datagram.len = 0;
	stage_hello(&hello, host, strlen(host), more, 200);
	return (struct stage_initial){.version = version,
		.dcid = "destinat",
		.scid = "src",
		.number_size = 1,
		.padded = 1200};
}

static void crypto(size_t offset, size_t len)
{
	stage_crypto(&frames, offset, hello.b + offset, len);
}

/* The frames gathered so far become a packet of the datagram. */
static void seal(const struct stage_initial *how)
{
	stage_seal(&datagram, how, frames.b, frames.len);
	frames.len = 0;
}

/* RFC 9001 A.1 and RFC 9369 A.1 */
static void keys_of_the_rfcs(void **state)
{
	static const struct {
		uint32_t version;
		const char *key, *iv, *hp;
	} want[] = {
		{SNIFF_QUIC_V1, "1f369613dd76d5467730efcbe3b1a22d", "fa044b2f42a3fd3b46fb255c",
			"9f50449e04a0e810283a1e9933adedd2"},
		{SNIFF_QUIC_V2, "8b1a0bc121284290a29e0971b5cd045d", "91f73e2351d8fa91660e909f",
			"45b95e15235d6f45a6b19cbcb0294ba9"},
	};
	uint8_t dcid[8], b[16];
	struct sniff_quic_keys keys;

	(void)state;
	from_hex("8394c8f03e515708", dcid);
	for (size_t i = 0; i < COUNT(want); i++) {
		assert_int_equal(sniff_quic_keys_derive(want[i].version, dcid, 8, &keys), 0);
		assert_memory_equal(keys.key, b, from_hex(want[i].key, b));
		assert_memory_equal(keys.iv, b, from_hex(want[i].iv, b));
		assert_memory_equal(keys.hp, b, from_hex(want[i].hp, b));
	}
}

static void initials_of_the_rfcs(void **state)
{
	static const char *const packets[] = {RFC9001_A2, RFC9369_A2};
	uint8_t packet[1200], frame[512], plain[SNIFF_QUIC_PLAIN_MAX];
	size_t frame_len = from_hex(RFC9001_A2_FRAME, frame);

	(void)state;
	for (size_t i = 0; i < COUNT(packets); i++) {
		struct sniff_quic_packet p = {packet, sizeof packet, 18};
		struct sniff_quic_keys keys;

		assert_int_equal(from_hex(packets[i], packet), sizeof packet);
		assert_int_equal(sniff_quic_keys_derive(versions[i], packet + 6, 8, &keys), 0);
		assert_int_equal(sniff_quic_open(&keys, &p, plain), 1162);
		assert_memory_equal(plain, frame, frame_len);
		for (size_t at = frame_len; at < 1162; at++)
			assert_int_equal(plain[at], 0);
		memset(&quic, 0, sizeof quic);
		assert_int_equal(feed(packet, sizeof packet), SNIFF_NAME);
		assert_string_equal(name, "example.com");
		assert_int_equal(quic.whole, frame_len - 4);
		assert_memory_equal(quic.crypto, frame + 4, frame_len - 4);
	}
}

static void one_packet(void **state)
{
	(void)state;
	for (size_t v = 0; v < COUNT(versions); v++)
		for (unsigned size = 1; size <= 4; size++) {
			struct stage_initial how = begin(versions[v], "A.test", 0);

			how.number = 0x12345678u & (uint32_t)((1ull << 8 * size) - 1);
			how.number_size = size;
			how.token_len = 30 * size;
			crypto(0, hello.len);
			seal(&how);
			assert_int_equal(datagram.len, 1200);
			assert_int_equal(feed_datagram(), SNIFF_NAME);
			assert_string_equal(name, "a.test");
			assert_int_equal(feed_datagram(), SNIFF_NAME); /* sent again */
		}
}

static void connection_ids(void **state)
{
	static const char *const ids[] = {"", "x", "12345678901234567890"};

	(void)state;
	for (size_t i = 0; i < COUNT(ids); i++) {
		struct stage_initial how = begin(SNIFF_QUIC_V1, "ids.test", 0);

		how.dcid = ids[i];
		how.scid = ids[COUNT(ids) - 1 - i];
		crypto(0, hello.len);
		seal(&how);
		assert_int_equal(feed_datagram(), SNIFF_NAME);
		assert_string_equal(name, "ids.test");
	}
}

/* As browsers do it: pieces in disorder, PING and PADDING between them, over two datagrams. */
static void shuffled_over_datagrams(void **state)
{
	(void)state;
	for (size_t v = 0; v < COUNT(versions); v++)
		for (unsigned first = 0; first < 2; first++) {
			struct stage_initial how = begin(versions[v], "shuffled.test", 1300);
			size_t half = hello.len / 2, end = hello.len;
			static struct stage_bytes both[2];

			crypto(half + 200, 500);
			stage_number(&frames, 0x01, 1);
			stage_zeros(&frames, 3);
			crypto(half - 5, 205);
			crypto(0, 1);
			seal(&how);
			both[0] = datagram;
			datagram.len = 0;
			how.number = 1;
			crypto(half + 700, end - half - 700);
			crypto(100, half - 105);
			stage_number(&frames, 0x01, 1);
			crypto(1, 99);
			seal(&how);
			both[1] = datagram;
			assert_int_equal(feed(both[first].b, both[first].len), SNIFF_MORE);
			assert_int_equal(feed(both[!first].b, both[!first].len), SNIFF_NAME);
			assert_string_equal(name, "shuffled.test");
			assert_int_equal(quic.whole, hello.len);
			assert_memory_equal(quic.crypto, hello.b, hello.len);
		}
}

static uint32_t random_next(uint32_t *seed)
{
	*seed = *seed * 1664525u + 1013904223u;
	return *seed >> 8;
}

/* Any cut, any order, some of it twice: the message comes out as it went in. */
static void random_pieces(void **state)
{
	uint32_t seed = 4711;

	(void)state;
	for (unsigned round = 0; round < 60; round++) {
		struct stage_initial how = begin(versions[round % 2], "random.test", 1500);
		struct {
			size_t at, end;
		} pieces[64];
		enum sniff_result result;
		size_t n = 0;

		for (size_t at = 0; at < hello.len && n < COUNT(pieces); n++) {
			size_t end = at + 40 + random_next(&seed) % 90;

			pieces[n].at = at;
			pieces[n].end = end < hello.len ? end : hello.len;
			at = end - random_next(&seed) % 20;
		}
		for (size_t i = 0; i < n; i++) {
			size_t other = i + random_next(&seed) % (n - i), at = pieces[other].at,
			       end = pieces[other].end;

			pieces[other] = pieces[i];
			crypto(at, end - at);
			if (frames.len < 900 && i + 1 < n)
				continue;
			datagram.len = 0;
			seal(&how);
			how.number++;
			result = feed_datagram();
			assert_int_equal(result == SNIFF_NAME, quic.whole >= hello.len - 200);
		}
		assert_int_equal(feed_datagram(), SNIFF_NAME);
		assert_string_equal(name, "random.test");
		assert_int_equal(quic.whole, hello.len);
		assert_memory_equal(quic.crypto, hello.b, hello.len);
	}
}

static void coalesced(void **state)
{
	static const uint8_t zero_rtt[] = "\xd0\x00\x00\x00\x01\x08"
					  "destinat\x03src\x20"
					  "................................";
	struct stage_initial how = begin(SNIFF_QUIC_V1, "coalesced.test", 0);

	(void)state;
	/* 0-RTT (version 1), two Initials, then bytes that are no packet. */
	stage_put(&datagram, zero_rtt, sizeof zero_rtt - 1);
	assert_int_equal(feed_datagram(), SNIFF_MORE);
	how.padded = 0;
	crypto(60, hello.len - 60);
	seal(&how);
	how.number = 1;
	crypto(0, 60);
	seal(&how);
	stage_zeros(&datagram, 100);
	assert_int_equal(feed_datagram(), SNIFF_NAME);
	assert_string_equal(name, "coalesced.test");
	/* A packet of another connection in between is nobody's. */
	how = begin(SNIFF_QUIC_V1, "mixed.test", 0);
	how.padded = 0;
	crypto(60, hello.len - 60);
	seal(&how);
	how.dcid = "somebody";
	crypto(0, 60);
	seal(&how);
	assert_int_equal(feed_datagram(), SNIFF_MORE);
	assert_int_equal(quic.whole, 0);
}

static void acks_are_skipped(void **state)
{
	struct stage_initial how = begin(SNIFF_QUIC_V1, "acks.test", 0);

	(void)state;
	crypto(30, hello.len - 30);
	stage_put(&frames, "\x02\x05\x00\x02\x00\x01\x00\x00\x00", 9); /* two ranges more */
	stage_put(&frames, "\x03\x40\x05\x00\x00\x00\x01\x02\x03", 9); /* with ECN */
	crypto(0, 30);
	seal(&how);
	assert_int_equal(feed_datagram(), SNIFF_NAME);
	assert_string_equal(name, "acks.test");
	/* One that lies about its ranges ends the packet. */
	how = begin(SNIFF_QUIC_V1, "acks.test", 0);
	stage_put(&frames, "\x02\x05\x00\xff\xff\xff\xff\xff\xff\xff\xff\x00", 12);
	crypto(0, hello.len);
	seal(&how);
	assert_int_equal(feed_datagram(), SNIFF_MORE);
	assert_int_equal(quic.whole, 0);
}

/* A frame whose type is cut off is no PADDING without an end. */
static void frame_cut_off(void **state)
{
	static const uint8_t cut[] = {0xff, 0, 0, 0, 0};
	struct stage_initial how = begin(SNIFF_QUIC_V1, "cut.test", 0);

	(void)state;
	how.padded = 0;
	crypto(0, 20);
	stage_put(&frames, cut, sizeof cut);
	seal(&how);
	assert_int_equal(feed_datagram(), SNIFF_MORE);
	assert_int_equal(quic.whole, 20);
}

static void wrong_tag(void **state)
{
	struct stage_initial how = begin(SNIFF_QUIC_V1, "tag.test", 0);

	(void)state;
	crypto(0, hello.len);
	seal(&how);
	for (size_t at = 0; at < datagram.len; at += at < 30 || at > 1180 ? 1 : 50) {
		memset(&quic, 0, sizeof quic);
		datagram.b[at] ^= 0x20;
		assert_int_equal(feed_datagram(), SNIFF_NONE);
		datagram.b[at] ^= 0x20;
	}
	/* A forged one takes nothing away from a connection that has begun. */
	begin(SNIFF_QUIC_V1, "tag.test", 0);
	crypto(0, 40);
	seal(&how);
	assert_int_equal(feed_datagram(), SNIFF_MORE);
	datagram.b[datagram.len - 1] ^= 1;
	assert_int_equal(feed_datagram(), SNIFF_MORE);
	datagram.b[6] ^= 1; /* of another connection id */
	assert_int_equal(feed_datagram(), SNIFF_MORE);
	assert_int_equal(quic.whole, 40);
	datagram.len = 0;
	crypto(40, hello.len - 40);
	seal(&how);
	assert_int_equal(feed_datagram(), SNIFF_NAME);
	assert_string_equal(name, "tag.test");
}

/* The client does as a Retry says, or the same sockets begin again: nothing is mixed. */
static void begins_anew(void **state)
{
	struct stage_initial how = begin(SNIFF_QUIC_V1, "one.test", 0);
	struct sniff_quic half;

	(void)state;
	crypto(0, 60);
	seal(&how);
	assert_int_equal(feed_datagram(), SNIFF_MORE);
	half = quic;
	how = begin(SNIFF_QUIC_V1, "two.test", 0);
	quic = half;
	how.dcid = "retried";
	how.token_len = 77;
	crypto(60, hello.len - 60);
	seal(&how);
	assert_int_equal(feed_datagram(), SNIFF_MORE);
	datagram.len = 0;
	crypto(0, 60);
	seal(&how);
	assert_int_equal(feed_datagram(), SNIFF_NAME);
	assert_string_equal(name, "two.test");
}

/* Of bytes told twice the first stand. */
static void first_bytes_stand(void **state)
{
	struct stage_initial how = begin(SNIFF_QUIC_V1, "first.test", 0);
	static struct stage_bytes other;

	(void)state;
	other.len = 0;
	stage_hello(&other, "other.test", 10, 0, 200);
	assert_int_equal(other.len, hello.len);
	crypto(50, hello.len - 50);
	stage_crypto(&frames, 0, other.b, other.len);
	seal(&how);
	assert_int_equal(feed_datagram(), SNIFF_NAME);
	assert_string_equal(name, "first.test");
}

static void bad_names(void **state)
{
	struct stage_initial how = begin(SNIFF_QUIC_V1, "a b.test", 0);

	(void)state;
	crypto(0, hello.len);
	seal(&how);
	assert_int_equal(feed_datagram(), SNIFF_NONE);
	how = begin(SNIFF_QUIC_V2, "192.0.2.1", 0);
	crypto(0, hello.len);
	seal(&how);
	assert_int_equal(feed_datagram(), SNIFF_NONE);
	how = begin(SNIFF_QUIC_V1, "", 0);
	hello.b[0] = 2; /* no ClientHello */
	crypto(0, 1);
	seal(&how);
	assert_int_equal(feed_datagram(), SNIFF_NONE);
}

/* What is beyond the bound is not kept, and a message that needs more has no name. */
static void bounded(void **state)
{
	struct stage_initial how = begin(SNIFF_QUIC_V1, "late.test", 9000);

	(void)state;
	how.padded = 0;
	for (size_t at = 0; at < 9000; at += 3000) {
		datagram.len = 0;
		crypto(at, 3000);
		seal(&how);
		assert_int_equal(feed_datagram(), at < 6000 ? SNIFF_MORE : SNIFF_NONE);
	}
	assert_int_equal(quic.whole, SNIFF_QUIC_MAX);
	how = begin(SNIFF_QUIC_V1, "far.test", 0);
	stage_number(&frames, 6, 1);
	stage_varint(&frames, (1ull << 62) - 1);
	stage_number(&frames, 0x0141, 2);
	stage_crypto(&frames, SNIFF_QUIC_MAX - 1, (const uint8_t *)"abc", 3);
	stage_crypto(&frames, SNIFF_QUIC_MAX, (const uint8_t *)"abc", 3);
	crypto(0, 0);
	crypto(0, hello.len);
	stage_put(&frames, "\x06\x00\xff\xff\xff\xff\xff\xff\xff\xff", 10); /* a lying length */
	seal(&how);
	assert_int_equal(feed_datagram(), SNIFF_NAME);
	assert_string_equal(name, "far.test");
	assert_int_equal(quic.whole, hello.len);
	/* A client that never comes to it is not waited for. */
	how = begin(SNIFF_QUIC_V1, "never.test", 0);
	crypto(0, 10);
	seal(&how);
	for (unsigned i = 1; i < SNIFF_QUIC_DATAGRAMS_MAX; i++)
		assert_int_equal(feed_datagram(), SNIFF_MORE);
	assert_int_equal(feed_datagram(), SNIFF_NONE);
	assert_int_equal(feed_datagram(), SNIFF_NONE);
}

static void not_quic(void **state)
{
	static const uint8_t dns[] = "\x12\x34\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00\x01"
				     "a\x00\x00\x01\x00\x01";
	struct stage_initial how = begin(SNIFF_QUIC_V1, "cut.test", 0);

	(void)state;
	assert_int_equal(feed(dns, sizeof dns - 1), SNIFF_NONE);
	assert_int_equal(feed(NULL, 0), SNIFF_NONE);
	assert_int_equal(feed((const uint8_t *)"\xc0", 1), SNIFF_NONE);
	crypto(0, hello.len);
	seal(&how);
	for (size_t len = 0; len < datagram.len; len++) {
		memset(&quic, 0, sizeof quic);
		assert_int_equal(feed(datagram.b, len), SNIFF_NONE);
	}
	memset(&quic, 0, sizeof quic);
	for (unsigned value = 0; value < 256; value++) { /* each first byte, other versions */
		uint8_t right = datagram.b[0], version = datagram.b[4];

		datagram.b[0] = (uint8_t)value;
		if (value != right)
			assert_int_not_equal(feed_datagram(), SNIFF_NAME);
		datagram.b[0] = right;
		datagram.b[4] = (uint8_t)value;
		if (value != version)
			assert_int_equal(feed_datagram(), SNIFF_NONE);
		datagram.b[4] = version;
		memset(&quic, 0, sizeof quic);
	}
	datagram.b[5] = 21; /* RFC 9000 17.2: at most 20 */
	assert_int_equal(feed_datagram(), SNIFF_NONE);
}

/* A packet that lies about its token and its length. */
static void lying_header(void **state)
{
	enum { TOKEN = 6 + 8 + 1 + 3, LENGTH = TOKEN + 1 };
	static const uint8_t huge[] = {0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff};
	struct stage_initial how = begin(SNIFF_QUIC_V1, "lie.test", 0);

	(void)state;
	crypto(0, hello.len);
	seal(&how);
	for (unsigned n = 0; n < 64; n++) {
		memset(&quic, 0, sizeof quic);
		datagram.b[LENGTH] = (uint8_t)n; /* of one byte: a packet too short for its tag */
		assert_int_equal(feed_datagram(), SNIFF_NONE);
	}
	memcpy(datagram.b + LENGTH, huge, sizeof huge);
	assert_int_equal(feed_datagram(), SNIFF_NONE);
	memcpy(datagram.b + TOKEN, huge, sizeof huge);
	assert_int_equal(feed_datagram(), SNIFF_NONE);
	/* Longer than any client sends: left alone, not cut. */
	how = begin(SNIFF_QUIC_V1, "huge.test", 0);
	how.padded = SNIFF_QUIC_PLAIN_MAX + 100;
	crypto(0, hello.len);
	seal(&how);
	assert_int_equal(feed_datagram(), SNIFF_NONE);
}

/* --- several workers --- */

static void *worker(void *arg)
{
	const struct stage_bytes *packets = arg;
	uintptr_t right = 0;

	for (unsigned i = 0; i < 200; i++) {
		struct sniff_quic *q = calloc(1, sizeof *q);
		char found[SNIFF_NAME_SIZE];

		if (!q)
			break;
		if (sniff_quic_datagram(q, packets[i % 2].b, packets[i % 2].len, found) ==
				SNIFF_NAME &&
			strcmp(found, i % 2 ? "worker1.test" : "worker0.test") == 0)
			right++;
		free(q);
	}
	return (void *)right;
}

static void many_threads(void **state)
{
	static struct stage_bytes packets[2];
	pthread_t threads[4];

	(void)state;
	for (unsigned i = 0; i < 2; i++) {
		struct stage_initial how =
			begin(versions[i], i ? "worker1.test" : "worker0.test", 0);

		crypto(0, hello.len);
		seal(&how);
		packets[i] = datagram;
	}
	for (size_t i = 0; i < COUNT(threads); i++)
		assert_int_equal(pthread_create(&threads[i], NULL, worker, packets), 0);
	for (size_t i = 0; i < COUNT(threads); i++) {
		void *right;

		assert_int_equal(pthread_join(threads[i], &right), 0);
		assert_int_equal((uintptr_t)right, 200);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(many_threads), /* first: they make OpenSSL's things at once */
		cmocka_unit_test(keys_of_the_rfcs), cmocka_unit_test(initials_of_the_rfcs),
		cmocka_unit_test(one_packet), cmocka_unit_test(connection_ids),
		cmocka_unit_test(shuffled_over_datagrams), cmocka_unit_test(random_pieces),
		cmocka_unit_test(coalesced), cmocka_unit_test(acks_are_skipped),
		cmocka_unit_test(frame_cut_off), cmocka_unit_test(wrong_tag),
		cmocka_unit_test(begins_anew), cmocka_unit_test(first_bytes_stand),
		cmocka_unit_test(bad_names), cmocka_unit_test(bounded), cmocka_unit_test(not_quic),
		cmocka_unit_test(lying_header)};

	return cmocka_run_group_tests_name("sniff_quic", tests, NULL, NULL);
}
