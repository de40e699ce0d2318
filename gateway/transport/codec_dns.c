/* Messages behind a length of two bytes, answers in any order, told apart by their ids (RFC 7766;
 * over TLS RFC 7858). */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "gateway/base/wire.h"
#include "gateway/transport/conn.h"

#define SLOTS	 256
#define SLOTS_IN 192 /* used at once, so that a free one is found soon */
#define KEPT_MAX 4096

struct dns_codec {
	struct transport_try *slots[SLOTS]; /* by the low byte of the id */
	uint16_t gone[SLOTS]; /* the slot's last question that is over: its answer is late, not
				 wrong */
	unsigned used;
	uint8_t prefix[2], prefix_got;
	size_t want, got, room;
	uint8_t *message; /* made when one comes in pieces */
};

static int dns_start(struct conn *c)
{
	struct dns_codec *d = calloc(1, sizeof *d);

	if (!d)
		return -ENOMEM;
	d->gone[0] = 1; /* no slot holds an id that is not its own: none is gone */
	*conn_codec_state(c) = d;
	return 0;
}

static void dns_end(struct conn *c)
{
	struct dns_codec *d = *conn_codec_state(c);

	free(d->message);
	free(d);
}

/* --- out --- */

static uint16_t dns_free_id(struct conn *c, const struct dns_codec *d)
{
	uint16_t id = conn_random(c);
	unsigned slot = id % SLOTS;

	while (d->slots[slot])
		slot = (slot + 1) % SLOTS;
	return (uint16_t)((id & ~(SLOTS - 1u)) | slot);
}

static int dns_ask(struct conn *c, struct transport_try *t)
{
	struct dns_codec *d = *conn_codec_state(c);
	uint8_t buf[2 + TRANSPORT_QUESTION_MAX];
	size_t len;
	int error;

	if (d->used == SLOTS_IN)
		return -EAGAIN;
	t->id = dns_free_id(c, d);
	len = t->owner->question(t, buf + 2, transport_server_is_encrypted(conn_server(c)));
	wire_put16(buf, (unsigned)len);
	error = conn_write(c, buf, 2 + len);
	if (error < 0)
		return error;
	d->slots[t->id % SLOTS] = t;
	d->used++;
	return 0;
}

static void dns_forget(struct conn *c, struct transport_try *t)
{
	struct dns_codec *d = *conn_codec_state(c);

	d->slots[t->id % SLOTS] = NULL;
	d->gone[t->id % SLOTS] = t->id;
	d->used--;
}

/* --- in --- */

/* An answer to nobody's question is shown to somebody, who knows better and counts it. */
static struct transport_try *dns_anybody(const struct dns_codec *d)
{
	for (unsigned i = 0; i < SLOTS; i++)
		if (d->slots[i])
			return d->slots[i];
	return NULL;
}

static void dns_message(struct conn *c, struct dns_codec *d, const uint8_t *msg, size_t len)
{
	struct transport_try *t = NULL;
	unsigned id;

	if (len >= DNS_HEADER_SIZE) {
		id = wire_get16(msg);
		t = d->slots[id % SLOTS];
		if (t && t->id != id)
			t = NULL;
		if (!t && d->gone[id % SLOTS] == id)
			return;
	}
	if (!t)
		t = dns_anybody(d);
	if (t)
		(void)conn_answer(c, t, msg, len, 0);
}

static int dns_reserve(struct dns_codec *d)
{
	uint8_t *p;

	if (d->want <= d->room)
		return 0;
	p = realloc(d->message, d->want);
	if (!p)
		return -ENOMEM;
	d->message = p;
	d->room = d->want;
	return 0;
}

static void dns_give_back(struct dns_codec *d)
{
	if (d->room <= KEPT_MAX)
		return;
	free(d->message);
	d->message = NULL;
	d->room = 0;
}

/* Takes the next piece: a byte of the length, a whole message where it lies, or a part of one.
 * Returns how much it took, or -ENOMEM. */
static ssize_t dns_feed_piece(struct conn *c, struct dns_codec *d, const uint8_t *data, size_t len)
{
	size_t n = d->want - d->got;
	int error;

	if (d->prefix_got < 2) {
		d->prefix[d->prefix_got++] = data[0];
		d->want = wire_get16(d->prefix);
		d->got = 0;
		if (d->prefix_got == 2 && d->want == 0)
			d->prefix_got = 0;
		return 1;
	}
	if (d->got == 0 && len >= n) {
		d->prefix_got = 0;
		dns_message(c, d, data, n);
		return (ssize_t)n;
	}
	error = dns_reserve(d);
	if (error < 0)
		return error;
	if (n > len)
		n = len;
	memcpy(d->message + d->got, data, n);
	d->got += n;
	if (d->got == d->want) {
		d->prefix_got = 0;
		dns_message(c, d, d->message, d->want);
		dns_give_back(d);
	}
	return (ssize_t)n;
}

static int dns_feed(struct conn *c, const uint8_t *data, size_t len)
{
	struct dns_codec *d = *conn_codec_state(c);
	ssize_t n;

	for (size_t at = 0; at < len && !conn_is_closing(c); at += (size_t)n) {
		n = dns_feed_piece(c, d, data + at, len - at);
		if (n < 0)
			return (int)n;
	}
	return 0;
}

const struct conn_codec conn_codec_dns = {
	.start = dns_start,
	.end = dns_end,
	.ask = dns_ask,
	.forget = dns_forget,
	.feed = dns_feed,
};
