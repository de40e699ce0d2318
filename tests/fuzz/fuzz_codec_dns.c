/* A DNS server may send any bytes over a connection: however they are torn, each message of ours
 * that they hold is handed on whole, in its place and once; others only to be counted, by a try
 * that does not take them. The first byte is the size of the pieces. */
#include <stdlib.h>
#include <string.h>

#include "gateway/transport/conn.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define TRIES 3

struct conn {
	void *state;
	uint16_t random;
	const uint8_t *all; /* what comes, and where the next message is looked for */
	size_t size, at;
};
static struct transport_try tries[TRIES];
static bool open[TRIES];

static void require(bool holds)
{
	if (!holds)
		abort();
}

/* --- what the codec asks of a connection --- */

struct transport_server *conn_server(const struct conn *c)
{
	(void)c;
	return NULL;
}

bool transport_server_is_encrypted(const struct transport_server *s)
{
	(void)s;
	return false;
}

void **conn_codec_state(struct conn *c)
{
	return &c->state;
}

int conn_write(struct conn *c, const uint8_t *data, size_t len)
{
	(void)c;
	require(len == 2 + DNS_HEADER_SIZE && data[0] == 0 && data[1] == DNS_HEADER_SIZE);
	return 0;
}

bool conn_is_closing(const struct conn *c)
{
	(void)c;
	return false;
}

/* Ids 1, 2, 258: the last falls into the second's place and takes another. */
uint16_t conn_random(struct conn *c)
{
	c->random = (uint16_t)(c->random ? c->random * 2 + (c->random > 1) * 254 : 1);
	return c->random;
}

static struct transport_try *try_of(const uint8_t *msg, size_t len)
{
	for (unsigned i = 0; i < TRIES && len >= DNS_HEADER_SIZE; i++) {
		if (open[i] && tries[i].id == (msg[0] << 8 | msg[1]))
			return &tries[i];
	}
	return NULL;
}

/* The next message in what came, and its length; false: there is none. */
static bool next_message(struct conn *c, const uint8_t **ret, size_t *ret_len)
{
	if (c->size - c->at < 2)
		return false;
	*ret = c->all + c->at + 2;
	*ret_len = (size_t)(c->all[c->at] << 8 | c->all[c->at + 1]);
	if (c->size - c->at - 2 < *ret_len)
		return false;
	c->at += 2 + *ret_len;
	return true;
}

/* A message whose third byte is odd is not taken. */
bool conn_answer(
	struct conn *c, struct transport_try *t, const uint8_t *msg, size_t len, uint32_t age_s)
{
	const uint8_t *expected;
	size_t n;

	require(age_s == 0 && open[t - tries]);
	require(next_message(c, &expected, &n));
	while (n != len || memcmp(msg, expected, len) != 0) {
		require(!try_of(expected, n));
		require(next_message(c, &expected, &n));
	}
	if (!try_of(msg, len))
		return false;
	require(try_of(msg, len) == t);
	if (msg[2] & 1)
		return false;
	open[t - tries] = false;
	conn_codec_dns.forget(c, t);
	return true;
}

static size_t question(const struct transport_try *t, uint8_t *buf, bool pad)
{
	require(!pad);
	memset(buf, 0, DNS_HEADER_SIZE);
	buf[0] = (uint8_t)(t->id >> 8);
	buf[1] = (uint8_t)t->id;
	return DNS_HEADER_SIZE;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const struct transport_owner owner = {.question = question};
	struct conn c = {0};
	const uint8_t *msg;
	size_t piece, n;

	if (!size)
		return 0;
	piece = data[0] ? data[0] : size;
	c.all = data + 1;
	c.size = size - 1;
	require(conn_codec_dns.start(&c) == 0);
	for (unsigned i = 0; i < TRIES; i++) {
		tries[i] = (struct transport_try){.owner = &owner};
		open[i] = true;
		require(conn_codec_dns.ask(&c, &tries[i]) == 0);
	}
	for (size_t at = 0; at < c.size; at += n) {
		n = c.size - at < piece ? c.size - at : piece;
		/* A copy of its own, so that reading beyond it shows. */
		uint8_t *copy = malloc(n);

		require(copy);
		memcpy(copy, c.all + at, n);
		require(conn_codec_dns.feed(&c, copy, n) == 0);
		free(copy);
	}
	while (next_message(&c, &msg, &n))
		require(!try_of(msg, n));
	for (unsigned i = 0; i < TRIES; i++) {
		if (open[i])
			conn_codec_dns.forget(&c, &tries[i]);
	}
	conn_codec_dns.end(&c);
	return 0;
}
