#include "tests/unit/resolve_fake.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define OPEN_MAX 256

struct transport_server {
	atomic_uint refs;
	enum conf_transport transport;
};

static struct transport_try *open_tries[OPEN_MAX];
static unsigned asked[65536], resent[65536];

/* --- what gateway/resolve calls --- */

int transport_server_new(const struct conf_server *conf, const struct transport_way *way,
	struct transport_server **ret, char why[128])
{
	struct transport_server *s = calloc(1, sizeof *s);

	(void)way;
	(void)why;
	assert_non_null(s);
	atomic_init(&s->refs, 1);
	s->transport = conf->transport;
	*ret = s;
	return 0;
}

struct transport_server *transport_server_ref(struct transport_server *s)
{
	s->refs++;
	return s;
}

void transport_server_unref(struct transport_server *s)
{
	if (s && --s->refs == 0)
		free(s);
}

bool transport_server_is_encrypted(const struct transport_server *s)
{
	return s->transport == CONF_TLS || s->transport == CONF_HTTPS;
}

bool transport_server_goes_by_name(const struct transport_server *s)
{
	(void)s;
	return false;
}

int transports_new(const struct transports_config *config, struct transports **ret)
{
	(void)config;
	*ret = NULL;
	return 0;
}

void transports_stop(struct transports *ts, void (*done)(void *arg), void *arg)
{
	(void)ts;
	for (size_t i = 0; i < OPEN_MAX; i++)
		assert_null(open_tries[i]);
	done(arg);
}

void transports_addresses_changed(
	struct transports *ts, bool (*is_ours)(void *arg, const struct ip_addr *a), void *arg)
{
	(void)ts;
	(void)is_ours;
	(void)arg;
}

int transport_open(struct transports *ts, struct transport_try *t)
{
	size_t i = 0;

	(void)ts;
	assert_false(transport_is_open(t));
	while (open_tries[i])
		assert_true(++i < OPEN_MAX);
	open_tries[i] = t;
	t->id = (uint16_t)(0x4000 + i);
	t->asked_us = clock_us();
	t->transport = (const struct transport *)&open_tries;
	asked[t->to.port]++;
	return 0;
}

int transport_resend(struct transport_try *t)
{
	assert_true(transport_is_open(t));
	t->asked_us = 0;
	resent[t->to.port]++;
	return 0;
}

bool transport_is_lossy(const struct transport_try *t)
{
	return t->server->transport == CONF_UDP && !t->stream;
}

void transport_close(struct transport_try *t)
{
	for (size_t i = 0; i < OPEN_MAX; i++)
		if (open_tries[i] == t)
			open_tries[i] = NULL;
	t->transport = NULL;
}

/* --- what tests call --- */

void fake_reset(void)
{
	memset(asked, 0, sizeof asked);
	memset(resent, 0, sizeof resent);
}

unsigned fake_asked(const struct upstream *u)
{
	return asked[u->port];
}

unsigned fake_resent(const struct upstream *u)
{
	return resent[u->port];
}

struct transport_try *fake_try(const struct upstream *u)
{
	for (size_t i = 0; i < OPEN_MAX; i++)
		if (open_tries[i] && open_tries[i]->to.port == u->port)
			return open_tries[i];
	return NULL;
}

/* The question as a response without records; its length. */
static size_t response(const struct transport_try *t, unsigned flags, uint8_t *msg)
{
	size_t end = DNS_HEADER_SIZE;

	assert_true(t->owner->question(t, msg, false) > 0);
	while (msg[end])
		end += 1u + msg[end];
	msg[2] = (uint8_t)(0x81 | flags >> 8);
	msg[3] = (uint8_t)(0x80 | flags);
	memset(msg + 6, 0, 6);
	return end + 5;
}

static size_t add_address(uint8_t *msg, size_t len, const struct ip_addr *a, uint8_t ttl_s)
{
	const uint8_t size = (uint8_t)ip_addr_size(a);
	const uint8_t head[] = {
		0xc0, 12, 0, size == 4 ? DNS_A : DNS_AAAA, 0, 1, 0, 0, 0, ttl_s, 0, size};

	memcpy(msg + len, head, sizeof head);
	memcpy(msg + len + sizeof head, a->b, size);
	msg[7]++;
	return len + sizeof head + size;
}

static void deliver(struct transport_try *t, const uint8_t *msg, size_t len)
{
	(void)t->owner->take(t, msg, len, 0);
}

uint16_t fake_type(const struct upstream *u)
{
	struct transport_try *t = fake_try(u);
	uint8_t msg[TRANSPORT_QUESTION_MAX];
	size_t end;

	assert_non_null(t);
	end = response(t, 0, msg);
	return (uint16_t)(msg[end - 4] << 8 | msg[end - 3]);
}

void fake_answer_for(const struct upstream *u, const char *address, uint8_t ttl_s)
{
	struct transport_try *t = fake_try(u);
	uint8_t msg[TRANSPORT_QUESTION_MAX + 64];
	struct ip_addr a;

	assert_non_null(t);
	assert_int_equal(ip_addr_parse(address, &a), 0);
	deliver(t, msg, add_address(msg, response(t, 0, msg), &a, ttl_s));
}

void fake_answer_address(const struct upstream *u, const char *address)
{
	fake_answer_for(u, address, 60);
}

void fake_answer(const struct upstream *u, uint8_t last)
{
	char text[32];

	snprintf(text, sizeof text, "192.0.2.%u", last);
	fake_answer_address(u, text);
}

void fake_answer_lower(const struct upstream *u, uint8_t last)
{
	struct transport_try *t = fake_try(u);
	struct ip_addr a = ip_addr_v4((uint8_t[]){192, 0, 2, last});
	uint8_t msg[TRANSPORT_QUESTION_MAX + 64];
	size_t len;

	assert_non_null(t);
	len = response(t, 0, msg);
	for (size_t i = DNS_HEADER_SIZE; i < len; i++)
		msg[i] = (uint8_t)tolower(msg[i]);
	deliver(t, msg, add_address(msg, len, &a, 60));
}

void fake_error(const struct upstream *u, unsigned flags)
{
	struct transport_try *t = fake_try(u);
	uint8_t msg[TRANSPORT_QUESTION_MAX];

	assert_non_null(t);
	deliver(t, msg, response(t, flags, msg));
}

void fake_slow(const struct upstream *u)
{
	struct transport_try *t = fake_try(u);

	assert_non_null(t);
	t->owner->slow(t);
}

void fake_fail(const struct upstream *u, int error)
{
	struct transport_try *t = fake_try(u);

	assert_non_null(t);
	transport_close(t);
	(t->owner->fail)(t, error); /* cmocka has a macro of this name */
}
