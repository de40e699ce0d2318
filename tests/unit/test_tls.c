/* TLS against a server in memory, with certificates of each kind. */
#include <errno.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>
#include <openssl/err.h>
#include <openssl/pem.h>

#include "tls_stage.h"
#include "tests/unit/addresses.h"

static struct identity ca, other_ca, middle, good, below, expired, early, by_address, alone, liar;
static char ca_file[] = "/tmp/test_tls_ca_XXXXXX";

static int certificates_make(void **state)
{
	const long day = 24 * 3600;

	(void)state;
	ca = identity_new(&(struct identity_plan){.name = "a CA"});
	other_ca = identity_new(&(struct identity_plan){.name = "another CA"});
	middle = identity_new(&(struct identity_plan){.name = "below a CA", .issuer = &ca});
	good = identity_new(
		&(struct identity_plan){"dns", "DNS:dns.test,DNS:*.wild.test", &ca, 0, 0});
	below = identity_new(&(struct identity_plan){"dns", "DNS:dns.test", &middle, 0, 0});
	expired = identity_new(
		&(struct identity_plan){"dns", "DNS:dns.test", &ca, -3 * day, -1 * day});
	early = identity_new(&(struct identity_plan){"dns", "DNS:dns.test", &ca, day, 3 * day});
	by_address = identity_new(
		&(struct identity_plan){"dns", "IP:192.0.2.1,IP:2001:db8::1", &ca, 0, 0});
	alone = identity_new(&(struct identity_plan){"dns", "DNS:dns.test", NULL, 0, 0});
	liar = identity_new(&(struct identity_plan){"dns", "DNS:dns.test", &other_ca, 0, 0});
	identity_write(&ca, ca_file);
	return 0;
}

static int certificates_drop(void **state)
{
	struct identity *all[] = {&ca, &other_ca, &middle, &good, &below, &expired, &early,
		&by_address, &alone, &liar};

	(void)state;
	for (size_t i = 0; i < sizeof all / sizeof *all; i++)
		identity_free(all[i]);
	unlink(ca_file);
	return 0;
}

static struct tls_context *context(const struct tls_config *config)
{
	struct tls_context *c;
	char why[128];

	assert_int_equal(tls_context_new(config, &c, why), 0);
	return c;
}

static struct tls_context *usual_context(void)
{
	return context(&(struct tls_config){.name = "dns.test", .ca = ca_file, .alpn = "dot"});
}

static const struct server_plan usual = {.own = &good};

/* One connection; its plaintext says "hello" and hears it back. Returns what ended it. */
static ssize_t converse(struct tls_context *c, SSL_CTX *server, size_t piece, struct tls **ret)
{
	struct talk *talk = calloc(1, sizeof *talk);
	struct tls *t;
	struct far f;
	ssize_t r;

	talk->piece = piece;
	far_start(&f, server);
	assert_int_equal(tls_new(c, &t), 0);
	assert_false(tls_is_ready(t));
	r = talk_run(talk, t, &f);
	if (!r) {
		assert_true(tls_is_ready(t));
		assert_int_equal(tls_write(t, (const uint8_t *)"hello", 5), 0);
		assert_int_equal(talk_run(talk, t, &f), 0);
		assert_int_equal(talk->got_len, 5);
		assert_memory_equal(talk->got, "hello", 5);
	} else {
		uint8_t byte;

		assert_false(tls_is_ready(t));
		assert_int_equal(tls_write(t, (const uint8_t *)"x", 1), -EPROTO);
		assert_int_equal(tls_read(t, &byte, 1), r);
	}
	far_end(&f);
	free(talk);
	*ret = t;
	return r;
}

/* why: NULL where OpenSSL's version decides. */
static void expect(const struct tls_config *config, const struct server_plan *plan, ssize_t result,
	const char *why)
{
	struct tls_context *c = context(config);
	SSL_CTX *server = server_context(plan);
	struct tls *t;

	assert_int_equal(converse(c, server, 16384, &t), result);
	if (why)
		assert_string_equal(tls_why(t), why);
	tls_free(t);
	SSL_CTX_free(server);
	tls_context_free(c);
}

static void test_certificates(void **state)
{
	const struct tls_config named = {.name = "dns.test", .ca = ca_file, .alpn = "dot"};
	struct tls_config other = named;

	(void)state;
	expect(&named, &usual, 0, "");
	expect(&named, &(struct server_plan){.own = &below, .above = &middle}, 0, "");
	expect(&named, &(struct server_plan){.own = &below}, -EKEYREJECTED,
		"certificate's issuer is unknown");
	expect(&named, &(struct server_plan){.own = &expired}, -EKEYREJECTED,
		"certificate has expired");
	expect(&named, &(struct server_plan){.own = &early}, -EKEYREJECTED,
		"certificate is not valid yet; the clock may be wrong");
	expect(&named, &(struct server_plan){.own = &alone}, -EKEYREJECTED,
		"certificate is self-signed");
	expect(&named, &(struct server_plan){.own = &liar}, -EKEYREJECTED,
		"certificate's issuer is unknown");
	expect(&named, &(struct server_plan){.own = &liar, .above = &other_ca}, -EKEYREJECTED,
		"certificate's issuer is unknown: a self-signed one");
	expect(&named, &(struct server_plan){.own = &by_address}, -EKEYREJECTED,
		"certificate is for another name");
	other.name = "a.wild.test";
	expect(&other, &usual, 0, "");
	other.name = "a.b.wild.test";
	expect(&other, &usual, -EKEYREJECTED, "certificate is for another name");
	other.name = "ns.test";
	expect(&other, &usual, -EKEYREJECTED, "certificate is for another name");
}

static void test_addresses(void **state)
{
	const struct server_plan plan = {.own = &by_address};
	struct tls_config config = {.ca = ca_file, .address = address_of("192.0.2.1")};

	(void)state;
	expect(&config, &plan, 0, "");
	config.address = address_of("2001:db8::1");
	expect(&config, &plan, 0, "");
	config.address = address_of("192.0.2.2");
	expect(&config, &plan, -EKEYREJECTED, "certificate is not for this address");
	expect(&config, &usual, -EKEYREJECTED, "certificate is not for this address");
	config.name = "192.0.2.1"; /* behind '@' */
	expect(&config, &plan, 0, "");
}

/* What the server was told by SNI. */
static int name_told(SSL *ssl, int *alert, void *arg)
{
	const char *name = SSL_get_servername(ssl, TLSEXT_NAMETYPE_host_name);

	(void)alert;
	strcpy(arg, name ? name : "-");
	return SSL_TLSEXT_ERR_OK;
}

static void expect_sni(const struct tls_config *config, const char *wanted)
{
	struct tls_context *c = context(config);
	SSL_CTX *server = server_context(&(struct server_plan){.own = &good});
	char told[256] = "";
	struct tls *t;

	SSL_CTX_set_tlsext_servername_callback(server, name_told);
	SSL_CTX_set_tlsext_servername_arg(server, told);
	converse(c, server, 16384, &t);
	assert_string_equal(told, wanted);
	tls_free(t);
	SSL_CTX_free(server);
	tls_context_free(c);
}

static void test_sni(void **state)
{
	(void)state;
	expect_sni(&(struct tls_config){.name = "dns.test", .ca = ca_file}, "dns.test");
	expect_sni(&(struct tls_config){.address = address_of("192.0.2.1"), .ca = ca_file}, "-");
	expect_sni(&(struct tls_config){.name = "192.0.2.1", .ca = ca_file}, "-");
}

static void expect_pin(const struct identity *pinned, const char *name,
	const struct server_plan *plan, ssize_t result, const char *why)
{
	struct conf_pin pins[2] = {{{0}}, identity_pin(pinned)};
	struct tls_config config = {.name = name, .pins = pins, .n_pins = 2};

	/* The file is not even read. */
	config.ca = "/nonexistent/ca.pem";
	expect(&config, plan, result, why);
}

static void test_pins(void **state)
{
	const struct server_plan chain = {.own = &below, .above = &middle};

	(void)state;
	/* The server's own key decides alone. */
	expect_pin(&good, "dns.test", &usual, 0, "");
	expect_pin(&good, "other.test", &usual, 0, "");
	expect_pin(&expired, "dns.test", &(struct server_plan){.own = &expired}, 0, "");
	expect_pin(&alone, "dns.test", &(struct server_plan){.own = &alone}, 0, "");
	expect_pin(&alone, "dns.test", &usual, -EKEYREJECTED, "no certificate has a pinned key");
	/* One above must have issued it, for this name. */
	expect_pin(&middle, "dns.test", &chain, 0, "");
	expect_pin(&ca, "dns.test", &(struct server_plan){.own = &expired, .above = &ca}, 0, "");
	expect_pin(&middle, "other.test", &chain, -EKEYREJECTED, "certificate is for another name");
	expect_pin(&ca, "dns.test", &chain, -EKEYREJECTED, "no certificate has a pinned key");
}

/* Certificates are public: to present one is no proof. */
static void test_pinned_certificate_of_another(void **state)
{
	(void)state;
	expect_pin(&good, "dns.test", &(struct server_plan){.own = &liar, .above = &good},
		-EKEYREJECTED, "certificate's issuer is unknown");
	expect_pin(&middle, "dns.test", &(struct server_plan){.own = &liar, .above = &middle},
		-EKEYREJECTED, "certificate's issuer is unknown");
	expect_pin(&middle, "dns.test", &(struct server_plan){.own = &alone, .above = &middle},
		-EKEYREJECTED, "certificate is self-signed");
}

static void test_alpn(void **state)
{
	struct tls_config config = {.name = "dns.test", .ca = ca_file, .alpn = "h2"};
	struct server_plan plan = {.own = &good, .alpn = "h2"};

	(void)state;
	expect(&config, &plan, 0, "");
	expect(&config, &usual, -EPROTO, "server does not speak this protocol (ALPN)");
	plan.alpn = "http/1.1";
	expect(&config, &plan, -EPROTO, NULL);
	config.alpn = "dot";
	expect(&config, &plan, -EPROTO, NULL);
	expect(&config, &usual, 0, "");
	plan.alpn = "dot";
	expect(&config, &plan, 0, "");
	config.alpn = NULL;
	expect(&config, &usual, 0, "");
}

static void test_versions(void **state)
{
	const struct tls_config config = {.name = "dns.test", .ca = ca_file};

	(void)state;
	expect(&config, &(struct server_plan){.own = &good, .version = TLS1_3_VERSION}, 0, "");
	expect(&config, &(struct server_plan){.own = &good, .version = TLS1_2_VERSION}, 0, "");
	expect(&config, &(struct server_plan){.own = &good, .version = TLS1_1_VERSION}, -EPROTO,
		"server has no TLS 1.2 or later");
}

static void test_torn(void **state)
{
	const int versions[] = {TLS1_2_VERSION, TLS1_3_VERSION};

	(void)state;
	for (size_t i = 0; i < 2; i++) {
		struct tls_context *c = usual_context();
		SSL_CTX *server =
			server_context(&(struct server_plan){.own = &good, .version = versions[i]});
		struct tls *t;

		assert_int_equal(converse(c, server, 1, &t), 0);
		tls_free(t);
		SSL_CTX_free(server);
		tls_context_free(c);
	}
}

/* --- sessions --- */

static bool resumes(struct tls_context *c, SSL_CTX *server)
{
	struct tls *t;
	bool resumed;

	assert_int_equal(converse(c, server, 16384, &t), 0);
	resumed = tls_is_resumed(t);
	tls_free(t);
	return resumed;
}

static void check_resumption(int version)
{
	struct tls_context *c = usual_context();
	const struct server_plan plan = {.own = &good, .version = version};
	SSL_CTX *server = server_context(&plan), *another = server_context(&plan);

	assert_false(resumes(c, server));
	for (int i = 0; i < 20; i++)
		assert_true(resumes(c, server));
	/* One that knows nothing of them: a whole handshake. */
	assert_false(resumes(c, another));
	assert_true(resumes(c, another));
	SSL_CTX_free(another);
	SSL_CTX_free(server);
	tls_context_free(c);
}

static void test_resumption(void **state)
{
	(void)state;
	check_resumption(TLS1_2_VERSION);
	check_resumption(TLS1_3_VERSION);
}

static void test_tickets_are_used_once(void **state)
{
	struct tls_context *c = usual_context();
	SSL_CTX *server =
		server_context(&(struct server_plan){.own = &good, .version = TLS1_3_VERSION});
	struct tls *t[12];
	struct far f[12];
	struct talk *talk = calloc(1, sizeof *talk);
	size_t resumed = 0;

	(void)state;
	SSL_CTX_set_num_tickets(server, 3);
	assert_false(resumes(c, server));
	for (size_t i = 0; i < 12; i++) /* all go out before one is answered */
		assert_int_equal(tls_new(c, &t[i]), 0);
	talk->piece = 16384;
	for (size_t i = 0; i < 12; i++) {
		far_start(&f[i], server);
		assert_int_equal(talk_run(talk, t[i], &f[i]), 0);
		resumed += tls_is_resumed(t[i]);
		tls_free(t[i]);
		far_end(&f[i]);
	}
	assert_int_equal(resumed, 3);
	free(talk);
	SSL_CTX_free(server);
	tls_context_free(c);
}

/* A server that falls silent when it is offered a session gets a whole handshake next. */
static void test_no_session_after_an_unfinished_handshake(void **state)
{
	struct tls_context *c = usual_context();
	SSL_CTX *server =
		server_context(&(struct server_plan){.own = &good, .version = TLS1_2_VERSION});
	struct tls *t;

	(void)state;
	assert_false(resumes(c, server));
	assert_true(resumes(c, server));
	assert_int_equal(tls_new(c, &t), 0);
	tls_free(t);
	assert_false(resumes(c, server));
	assert_true(resumes(c, server));
	SSL_CTX_free(server);
	tls_context_free(c);
}

/* A refused certificate leaves nothing to resume. */
static void test_no_session_of_a_refused_server(void **state)
{
	struct tls_context *c = usual_context();
	SSL_CTX *server = server_context(&(struct server_plan){.own = &expired});
	struct tls *t;

	(void)state;
	for (int i = 0; i < 3; i++) {
		assert_int_equal(converse(c, server, 16384, &t), -EKEYREJECTED);
		assert_false(tls_is_resumed(t));
		tls_free(t);
	}
	SSL_CTX_free(server);
	tls_context_free(c);
}

/* --- plaintext --- */

static void test_much(void **state)
{
	static uint8_t sent[200000];
	struct tls_context *c = usual_context();
	SSL_CTX *server = server_context(&usual);
	struct talk *talk = calloc(1, sizeof *talk);
	struct tls *t;
	struct far f;

	(void)state;
	for (size_t i = 0; i < sizeof sent; i++)
		sent[i] = (uint8_t)(i * 7 + i / 251);
	talk->piece = 1000;
	far_start(&f, server);
	assert_int_equal(tls_new(c, &t), 0);
	assert_int_equal(talk_run(talk, t, &f), 0);
	assert_int_equal(tls_write(t, sent, 0), 0);
	assert_int_equal(tls_write(t, sent, sizeof sent), 0);
	assert_int_equal(talk_run(talk, t, &f), 0);
	assert_int_equal(talk->got_len, sizeof sent);
	assert_memory_equal(talk->got, sent, sizeof sent);
	tls_free(t);
	far_end(&f);
	free(talk);
	SSL_CTX_free(server);
	tls_context_free(c);
}

/* Nobody takes what is pending, or reads what is fed. */
static void test_bounds(void **state)
{
	static uint8_t much[300000];
	struct tls_context *c = usual_context();
	SSL_CTX *server = server_context(&usual);
	struct talk *talk = calloc(1, sizeof *talk);
	const uint8_t *pending;
	struct tls *t;
	struct far f;
	int r = 0;

	(void)state;
	talk->piece = 16384;
	far_start(&f, server);
	assert_int_equal(tls_new(c, &t), 0);
	assert_int_equal(talk_run(talk, t, &f), 0);
	for (int i = 0; !r && i < 100; i++)
		r = tls_write(t, much, sizeof much);
	assert_int_equal(r, -ENOMEM);
	assert_in_range(tls_pending(t, &pending), 900000, 1 << 20);
	r = 0;
	for (int i = 0; !r && i < 100; i++)
		r = tls_feed(t, much, sizeof much);
	assert_int_equal(r, -ENOMEM);
	tls_free(t);
	far_end(&f);
	free(talk);
	SSL_CTX_free(server);
	tls_context_free(c);
}

static void test_close_notify(void **state)
{
	struct tls_context *c = usual_context();
	SSL_CTX *server = server_context(&usual);
	struct talk *talk = calloc(1, sizeof *talk);
	struct tls *ours, *theirs;
	struct far f;

	(void)state;
	talk->piece = 16384;
	far_start(&f, server);
	assert_int_equal(tls_new(c, &ours), 0);
	assert_int_equal(talk_run(talk, ours, &f), 0);
	tls_close(ours);
	tls_close(ours);
	assert_int_equal(tls_write(ours, (const uint8_t *)"x", 1), -EPROTO);
	assert_int_equal(talk_run(talk, ours, &f), 0);
	assert_true(SSL_get_shutdown(f.ssl) & SSL_RECEIVED_SHUTDOWN);
	tls_free(ours);
	far_end(&f);

	far_start(&f, server);
	assert_int_equal(tls_new(c, &theirs), 0);
	assert_int_equal(talk_run(talk, theirs, &f), 0);
	SSL_shutdown(f.ssl);
	assert_int_equal(talk_run(talk, theirs, &f), -ECONNRESET);
	assert_string_equal(tls_why(theirs), "closed by the server");
	tls_free(theirs);
	far_end(&f);
	free(talk);
	SSL_CTX_free(server);
	tls_context_free(c);
}

/* --- hostile servers --- */

static ssize_t told(const void *data, size_t len, const char **ret_why)
{
	struct tls_context *c = usual_context();
	struct tls *t;
	uint8_t buf[100];
	ssize_t r;

	assert_int_equal(tls_new(c, &t), 0);
	assert_int_equal(tls_feed(t, data, len), 0);
	r = tls_read(t, buf, sizeof buf);
	assert_int_equal(ERR_peek_error(), 0);
	assert_int_equal(tls_read(t, buf, sizeof buf), r);
	*ret_why = strdup(tls_why(t));
	tls_free(t);
	tls_context_free(c);
	return r;
}

static void expect_told(const void *data, size_t len, ssize_t result, const char *wanted)
{
	const char *why;

	assert_int_equal(told(data, len, &why), result);
	assert_string_equal(why, wanted);
	free((void *)why);
}

static void test_nonsense(void **state)
{
	static const uint8_t close_notify[] = {21, 3, 3, 0, 2, 1, 0};
	static const uint8_t no_version[] = {21, 3, 3, 0, 2, 2, 70};
	static const uint8_t half[] = {22, 3, 3, 1};

	(void)state;
	expect_told(
		"HTTP/1.1 400 Bad Request\r\n\r\n", 28, -EPROTO, "server does not speak TLS here");
	expect_told("\0\x1d\x12\x34\x81\x80\0\1\0\1\0\0\0\0\1a", 16, -EPROTO,
		"server does not speak TLS here");
	expect_told(close_notify, sizeof close_notify, -ECONNRESET, "closed by the server");
	expect_told(no_version, sizeof no_version, -EPROTO, "server has no TLS 1.2 or later");
	expect_told(half, sizeof half, 0, "");
	expect_told(half, 0, 0, "");
}

/* A record that was changed on its way. */
static void test_damage(void **state)
{
	struct tls_context *c = usual_context();
	SSL_CTX *server = server_context(&usual);
	struct talk *talk = calloc(1, sizeof *talk);
	uint8_t record[1000];
	struct tls *t;
	struct far f;
	int n;

	(void)state;
	talk->piece = 16384;
	far_start(&f, server);
	assert_int_equal(tls_new(c, &t), 0);
	assert_int_equal(talk_run(talk, t, &f), 0);
	assert_int_equal(SSL_write(f.ssl, "hello", 5), 5);
	n = BIO_read(f.out, record, sizeof record);
	record[n - 1] ^= 1;
	assert_int_equal(tls_feed(t, record, (size_t)n), 0);
	assert_int_equal(tls_read(t, talk->got, sizeof talk->got), -EPROTO);
	assert_int_equal(tls_write(t, record, 1), -EPROTO);
	assert_int_equal(tls_feed(t, record, (size_t)n), 0);
	assert_int_equal(ERR_peek_error(), 0);
	tls_free(t);
	far_end(&f);
	free(talk);
	assert_true(resumes(c, server)); /* a stranger cannot make us forget */
	SSL_CTX_free(server);
	tls_context_free(c);
}

/* It asks for new keys again and again, and does not read our answers. */
static void test_key_updates(void **state)
{
	struct tls_context *c = usual_context();
	SSL_CTX *server =
		server_context(&(struct server_plan){.own = &good, .version = TLS1_3_VERSION});
	struct talk *talk = calloc(1, sizeof *talk);
	const uint8_t *pending;
	uint8_t record[1000];
	struct tls *t;
	struct far f;
	ssize_t r = 0;

	(void)state;
	talk->piece = 16384;
	far_start(&f, server);
	assert_int_equal(tls_new(c, &t), 0);
	assert_int_equal(talk_run(talk, t, &f), 0);
	for (int i = 0; !r && i < 100000; i++) {
		assert_int_equal(SSL_key_update(f.ssl, SSL_KEY_UPDATE_REQUESTED), 1);
		assert_int_equal(SSL_do_handshake(f.ssl), 1);
		tls_feed(t, record, (size_t)BIO_read(f.out, record, sizeof record));
		r = tls_read(t, talk->got, sizeof talk->got);
		assert_in_range(tls_pending(t, &pending), 0, (2 << 20) + 100);
	}
	assert_int_equal(r, -EPROTO);
	tls_free(t);
	far_end(&f);
	free(talk);
	SSL_CTX_free(server);
	tls_context_free(c);
}

/* --- contexts --- */

static void expect_no_context(const struct tls_config *config, int result, const char *part)
{
	struct tls_context *c;
	char why[128];

	assert_int_equal(tls_context_new(config, &c, why), result);
	assert_non_null(strstr(why, part));
	assert_int_equal(ERR_peek_error(), 0);
}

static void test_ca_files(void **state)
{
	char empty[] = "/tmp/test_tls_empty_XXXXXX";
	struct tls_config config = {.name = "dns.test", .ca = "/nonexistent/ca.pem"};
	int fd = mkstemp(empty);

	(void)state;
	expect_no_context(&config, -ENOENT, "/nonexistent/ca.pem: No such file");
	config.ca = empty;
	expect_no_context(&config, -EBADMSG, "no certificates");
	assert_int_equal(write(fd, "-----BEGIN CERTIFICATE-----\nAAAA\n", 33), 33);
	expect_no_context(&config, -EBADMSG, "no certificates");
	expect_no_context(&(struct tls_config){.ca = ca_file}, -EINVAL, "no name");
	close(fd);
	unlink(empty);
	assert_int_equal(mkfifo(empty, 0600), 0);
	expect_no_context(&config, -EBADMSG, "neither a file nor a link to one");
	unlink(empty);
}

static void certificate_add(const struct identity *i, const char *path)
{
	FILE *f = fopen(path, "a");

	assert_non_null(f);
	assert_int_equal(PEM_write_X509(f, i->cert), 1);
	assert_int_equal(fclose(f), 0);
}

/* One store for all that name the same file, as long as it is the same. */
static void test_a_ca_file_that_changes(void **state)
{
	char path[] = "/tmp/test_tls_ca_XXXXXX";
	const struct tls_config config = {.name = "dns.test", .ca = path};
	struct tls_context *before, *same, *after;
	struct tls *t;
	SSL_CTX *server = server_context(&usual);

	(void)state;
	close(mkstemp(path));
	certificate_add(&other_ca, path);
	before = context(&config);
	same = context(&config);
	certificate_add(&ca, path);
	after = context(&config);
	assert_int_equal(converse(same, server, 16384, &t), -EKEYREJECTED);
	tls_free(t);
	assert_int_equal(converse(after, server, 16384, &t), 0);
	tls_free(t);
	tls_context_free(same);
	tls_context_free(before);
	tls_context_free(after);
	SSL_CTX_free(server);
	unlink(path);
}

static void test_system_store(void **state)
{
	const struct tls_config config = {.name = "dns.test"};
	struct tls_context *a, *b;
	struct tls *t;
	SSL_CTX *server = server_context(&usual);

	(void)state;
	setenv("SSL_CERT_DIR", "/nonexistent", 1);
	setenv("SSL_CERT_FILE", "/nonexistent/ca.pem", 1);
	expect_no_context(&config, -ENOENT, "/nonexistent/ca.pem: No such file");
	setenv("SSL_CERT_FILE", ca_file, 1);
	a = context(&config);
	b = context(&config);
	tls_context_free(a);
	assert_int_equal(converse(b, server, 16384, &t), 0);
	tls_free(t);
	tls_context_free(b);
	unsetenv("SSL_CERT_FILE");
	unsetenv("SSL_CERT_DIR");
	/* Read anew: the system's do not know our CA. */
	a = context(&config);
	assert_int_equal(converse(a, server, 16384, &t), -EKEYREJECTED);
	tls_free(t);
	tls_context_free(a);
	SSL_CTX_free(server);
}

static struct tls_context *shared;
static SSL_CTX *shared_server;

static void *thread(void *arg)
{
	size_t *resumed = arg;

	for (int i = 0; i < 30; i++)
		*resumed += resumes(shared, shared_server);
	return NULL;
}

static void check_threads(int version)
{
	pthread_t ids[4];
	size_t resumed[4] = {0};

	shared = usual_context();
	shared_server = server_context(&(struct server_plan){.own = &good, .version = version});
	for (size_t i = 0; i < 4; i++)
		assert_int_equal(pthread_create(&ids[i], NULL, thread, &resumed[i]), 0);
	for (size_t i = 0; i < 4; i++) {
		pthread_join(ids[i], NULL);
		assert_true(resumed[i] > 0);
	}
	SSL_CTX_free(shared_server);
	tls_context_free(shared);
}

static void test_threads(void **state)
{
	(void)state;
	check_threads(TLS1_2_VERSION);
	check_threads(TLS1_3_VERSION);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_certificates),
		cmocka_unit_test(test_addresses),
		cmocka_unit_test(test_sni),
		cmocka_unit_test(test_pins),
		cmocka_unit_test(test_pinned_certificate_of_another),
		cmocka_unit_test(test_alpn),
		cmocka_unit_test(test_versions),
		cmocka_unit_test(test_torn),
		cmocka_unit_test(test_resumption),
		cmocka_unit_test(test_tickets_are_used_once),
		cmocka_unit_test(test_no_session_after_an_unfinished_handshake),
		cmocka_unit_test(test_no_session_of_a_refused_server),
		cmocka_unit_test(test_much),
		cmocka_unit_test(test_bounds),
		cmocka_unit_test(test_close_notify),
		cmocka_unit_test(test_nonsense),
		cmocka_unit_test(test_damage),
		cmocka_unit_test(test_key_updates),
		cmocka_unit_test(test_ca_files),
		cmocka_unit_test(test_a_ca_file_that_changes),
		cmocka_unit_test(test_system_store),
		cmocka_unit_test(test_threads),
	};

	return cmocka_run_group_tests(tests, certificates_make, certificates_drop);
}
