/* Questions on connections over TLS, to a server that a thread plays: it sends each message back
 * as the answer to itself. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "tests/unit/tls_stage.h"
#include "tests/unit/transport_stage.h"

struct tls_server {
	SSL_CTX *ctx; /* NULL: never says anything */
	int listener;
	uint16_t port;
	pthread_t thread;
	_Atomic unsigned conns, resumed, clean_ends;
};

static void mark_answers(uint8_t *data, size_t len)
{
	for (size_t at = 0; at + 2 <= len; at += 2u + (size_t)(data[at] << 8 | data[at + 1]))
		data[at + 4] |= 0x80;
}

static void tls_talk(struct tls_server *ts, SSL *ssl)
{
	uint8_t data[16384];
	int n;

	if (SSL_accept(ssl) != 1)
		return;
	ts->resumed += SSL_session_reused(ssl) == 1;
	/* The near end writes whole questions, several to a record. */
	while ((n = SSL_read(ssl, data, sizeof data)) > 0) {
		mark_answers(data, (size_t)n);
		if (SSL_write(ssl, data, n) != n)
			return;
	}
	ts->clean_ends += SSL_get_error(ssl, n) == SSL_ERROR_ZERO_RETURN;
}

static void *tls_serve(void *arg)
{
	struct tls_server *ts = arg;
	uint8_t byte;
	int fd;

	while ((fd = accept4(ts->listener, NULL, NULL, SOCK_CLOEXEC)) >= 0) {
		ts->conns++;
		if (ts->ctx) {
			SSL *ssl = SSL_new(ts->ctx);

			SSL_set_fd(ssl, fd);
			tls_talk(ts, ssl);
			SSL_free(ssl);
		} else {
			while (recv(fd, &byte, 1, 0) > 0)
				;
		}
		close(fd);
	}
	return NULL;
}

struct scene {
	struct stage *s;
	struct tls_server server;
	struct identity ca, own;
	char path[32];
};

static void scene_open(struct scene *k, const char *alt, const char *name, bool speaks)
{
	struct identity_plan ca = {.name = "ca"};
	struct identity_plan own = {.name = "server", .alt = alt, .issuer = &k->ca};
	struct server_plan plan = {.own = &k->own};
	struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	socklen_t len = sizeof at;

	memset(k, 0, sizeof *k);
	k->s = stage_open(CONF_TCP);
	k->ca = identity_new(&ca);
	k->own = identity_new(&own);
	strcpy(k->path, "/tmp/tungate-ca-XXXXXX");
	identity_write(&k->ca, k->path);
	k->server.ctx = speaks ? server_context(&plan) : NULL;
	k->server.listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	assert_int_equal(bind(k->server.listener, (struct sockaddr *)&at, sizeof at), 0);
	assert_int_equal(listen(k->server.listener, 64), 0);
	assert_int_equal(getsockname(k->server.listener, (struct sockaddr *)&at, &len), 0);
	assert_int_equal(pthread_create(&k->server.thread, NULL, tls_serve, &k->server), 0);
	k->s->conf.transport = CONF_TLS;
	k->s->conf.at.port = ntohs(at.sin_port);
	k->s->conf.tls_name = (char *)(uintptr_t)name;
	k->s->ca = k->path;
	k->s->pads = true;
	stage_server(k->s);
}

static void scene_close(struct scene *k)
{
	shutdown(k->server.listener, SHUT_RDWR);
	/* Its connections end first: the thread waits for them. */
	for (unsigned i = 0; i < ASKERS_MAX; i++)
		transport_close(&k->s->askers[i].try);
	transports_stop(k->s->transports, stage_stopped, k->s);
	k->s->transports = NULL;
	STAGE_UNTIL(k->s, k->s->stopped);
	pthread_join(k->server.thread, NULL);
	close(k->server.listener);
	SSL_CTX_free(k->server.ctx);
	stage_close(k->s);
	identity_free(&k->own);
	identity_free(&k->ca);
	unlink(k->path);
}

static void many_share_a_connection(void **state)
{
	struct scene k;

	(void)state;
	scene_open(&k, "IP:127.0.0.1", NULL, true);
	assert_true(transport_server_is_encrypted(k.s->server));
	for (unsigned round = 0; round < 3; round++) {
		for (unsigned i = 0; i < CONN_TRIES_MAX; i++)
			ask(k.s, i);
		play_until_over(k.s, 0, CONN_TRIES_MAX);
		assert_answered(k.s, 0, CONN_TRIES_MAX);
	}
	assert_int_equal(k.server.conns, 1);
	scene_close(&k);
	assert_int_equal(k.server.clean_ends, 1);
}

static void the_next_one_is_resumed(void **state)
{
	struct scene k;

	(void)state;
	scene_open(&k, "DNS:dns.example", "dns.example", true);
	k.s->conf.max_queries = 1;
	stage_server(k.s);
	for (unsigned i = 0; i < 4; i++) {
		ask(k.s, i);
		play_until_over(k.s, i, 1);
		stage_play(k.s, 20);
	}
	assert_answered(k.s, 0, 4);
	scene_close(&k);
	assert_int_equal(k.server.conns, 4);
	assert_int_equal(k.server.resumed, 3);
	assert_int_equal(k.server.clean_ends, 4);
}

static void a_certificate_for_another_name(void **state)
{
	struct scene k;

	(void)state;
	scene_open(&k, "DNS:dns.example", "other.example", true);
	for (unsigned i = 0; i < 5; i++)
		ask(k.s, i);
	play_until_over(k.s, 0, 5);
	for (unsigned i = 0; i < 5; i++)
		assert_int_equal(k.s->askers[i].error, -EKEYREJECTED);
	assert_int_equal(conns_now(k.s), 0);
	assert_false(log_gate_open(&k.s->server->complained, 60000));
	scene_close(&k);
}

static void one_that_says_nothing(void **state)
{
	struct scene k;

	(void)state;
	scene_open(&k, "IP:127.0.0.1", NULL, false);
	ask(k.s, 0);
	ask(k.s, 1);
	stage_play(k.s, 100);
	transport_close(&k.s->askers[1].try);
	play_time_until_over(k.s, 0);
	assert_int_equal(k.s->askers[0].error, -ETIMEDOUT);
	assert_int_equal(k.s->askers[1].failures, 0);
	scene_close(&k);
}

static void one_that_speaks_no_tls(void **state)
{
	struct scene k;

	(void)state;
	scene_open(&k, "IP:127.0.0.1", NULL, true);
	k.s->conf.at.port = k.s->peer->port;
	stage_server(k.s);
	ask(k.s, 0);
	STAGE_UNTIL(k.s, k.s->peer->n_conns);
	assert_int_equal(send(k.s->peer->conns[0].fd, "220 hello there\r\n", 17, 0), 17);
	k.s->peer->conns[0].reads = false;
	play_until_over(k.s, 0, 1);
	assert_int_equal(k.s->askers[0].error, -EPROTO);
	scene_close(&k);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(many_share_a_connection),
		cmocka_unit_test(the_next_one_is_resumed),
		cmocka_unit_test(a_certificate_for_another_name),
		cmocka_unit_test(one_that_says_nothing),
		cmocka_unit_test(one_that_speaks_no_tls),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
