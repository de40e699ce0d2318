/* A DNS over HTTPS server may send any bytes to two questions: each is answered at most once or
 * fails once, and what is answered has come. The first byte is the size of the pieces; its highest
 * bit closes the second question before. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "gateway/transport/conn.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct conn {
	void *state;
	size_t received;
	bool retired;
};
static const struct conf_server conf = {
	.transport = CONF_HTTPS, .tls_name = "dns.test", .at.port = 443, .path = "/dns-query"};
static unsigned ends[2]; /* of each question */
static struct transport_try tries[2];

static void require(bool holds)
{
	if (!holds)
		abort();
}

struct transport_server *conn_server(const struct conn *c)
{
	(void)c;
	return NULL;
}

const struct conf_server *conn_conf(const struct conn *c)
{
	(void)c;
	return &conf;
}

void **conn_codec_state(struct conn *c)
{
	return &c->state;
}

int conn_write(struct conn *c, const uint8_t *data, size_t len)
{
	(void)c;
	require(data && len);
	return 0;
}

static void end_try(struct conn *c, struct transport_try *t)
{
	ends[t - tries]++;
	conn_codec_h2.forget(c, t);
}

bool conn_answer(
	struct conn *c, struct transport_try *t, const uint8_t *msg, size_t len, uint32_t age_s)
{
	unsigned sum = 0;

	require(len <= c->received && age_s <= INT32_MAX);
	for (size_t i = 0; i < len; i++)
		sum += msg[i];
	if (sum % 16 == 1)
		return false;
	end_try(c, t);
	return true;
}

void conn_fail(struct conn *c, struct transport_try *t, int error, bool may_retry)
{
	(void)may_retry;
	require(error < 0);
	end_try(c, t);
}

void conn_retire(struct conn *c)
{
	c->retired = true;
}

bool conn_is_closing(const struct conn *c)
{
	(void)c;
	return false;
}

uint16_t conn_random(struct conn *c)
{
	(void)c;
	return 0;
}

static size_t write_question(const struct transport_try *t, uint8_t *buf, bool pad)
{
	(void)t;
	memset(buf, pad, 128);
	return 128;
}

static const struct transport_owner owner = {.question = write_question};

static void feed_all(struct conn *c, const uint8_t *data, size_t size, size_t piece)
{
	int r = 0;

	for (size_t at = 0; at < size && !r; at += piece) {
		size_t n = size - at < piece ? size - at : piece;
		uint8_t *exact = malloc(n);

		require(exact);
		memcpy(exact, data + at, n);
		c->received += n;
		r = conn_codec_h2.feed(c, exact, n);
		if (!r)
			r = conn_codec_h2.flush(c);
		free(exact);
	}
	require(r == 0 || r == -EPROTO);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct conn c = {0};

	if (size < 2)
		return 0;
	memset(ends, 0, sizeof ends);
	require(conn_codec_h2.start(&c) == 0);
	for (unsigned i = 0; i < 2; i++) {
		tries[i] = (struct transport_try){.owner = &owner};
		require(conn_codec_h2.ask(&c, &tries[i]) == 0);
	}
	require(conn_codec_h2.flush(&c) == 0);
	if (data[0] & 0x80)
		end_try(&c, &tries[1]);
	feed_all(&c, data + 1, size - 1, (data[0] & 0x7f) * 8u + 1);
	for (unsigned i = 0; i < 2; i++) {
		require(ends[i] <= 1 && (ends[i] == 1) == !tries[i].codec_link);
		conn_codec_h2.forget(&c, &tries[i]);
	}
	conn_codec_h2.end(&c);
	return 0;
}
