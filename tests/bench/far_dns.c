/* An upstream that does not get in the way, over all that upstreams speak: UDP and TCP, DNS over
 * TLS, DNS over HTTPS (HTTP/2, POST and GET). One thread.
 *   far_dns [-t TTL] [-l PER_MILLE] ADDRESS PORT DOT_PORT DOH_PORT CERT KEY
 * Every A and AAAA has one address, made of its name: 20.0.0.0/8, 2600::/16; other types have none.
 * -l: so many questions of a thousand over UDP get no answer. Prints "ready"; SIGUSR1: how many
 * questions came over each since the last one and its own CPU time for each of them, "udp tcp dot
 * doh us"; ends with SIGTERM. */
#include "tests/bench/bench.h"
#include "tests/bench/self.h"

#include <errno.h>
#include <netinet/tcp.h>
#include <nghttp2/nghttp2.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <signal.h>
#include <sys/epoll.h>
#include <unistd.h>

#define BATCH	    64
#define MESSAGE_MAX 2048
#define RECORD_MAX  28 /* AAAA with a compressed name */
#define IN_MAX	    65536
#define OUT_MAX	    (1 << 20)
#define EVENTS	    64
#define STREAMS_MAX 256
#define N_LISTENERS 4

enum kind { UDP, TCP, DOT, DOH };
static const char *const kind_names[] = {"udp", "tcp", "dot", "doh"};

struct conn {
	enum kind kind;
	int fd;
	SSL *ssl;	     /* DOT, DOH */
	nghttp2_session *h2; /* DOH */
	bool wants_out;
	size_t in_len, out_len;
	uint8_t in[IN_MAX], out[OUT_MAX];
};
struct stream { /* of HTTP */
	struct stream *next;
	size_t len, sent;
	uint8_t message[MESSAGE_MAX + RECORD_MAX];
};

static struct conn listeners[N_LISTENERS];
static SSL_CTX *contexts[N_LISTENERS];
static nghttp2_session_callbacks *callbacks;
static struct stream *free_streams;
static uint32_t ttl_s = 60, loss, random_state = 1;
static unsigned long counts[N_LISTENERS];
static volatile sig_atomic_t told;
static int poller;

/* Turns the question at d into its answer; its length, 0 if it is none. RECORD_MAX bytes more must
 * be there. */
static size_t make_answer(uint8_t *d, size_t len)
{
	uint32_t hash = 2166136261u; /* FNV-1a */
	size_t at = 12, rdata_len;

	if (len < 17 || (d[2] & 0x80))
		return 0;
	for (; at < len && d[at]; at++)
		hash = (hash ^ (d[at] | 0x20)) * 16777619u;
	at += 5;
	if (at > len)
		return 0;
	rdata_len = d[at - 3] == 1 ? 4 : d[at - 3] == 28 ? 16 : 0;
	d[2] = (uint8_t)(0x80 | (d[2] & 1));
	d[3] = 0x80;
	memset(d + 6, 0, 6);
	d[7] = rdata_len > 0;
	if (!rdata_len)
		return at;
	memcpy(d + at, "\xc0\x0c\0\0\0\1", 6);
	d[at + 3] = d[at - 3];
	for (int i = 0; i < 4; i++)
		d[at + 6 + (size_t)i] = (uint8_t)(ttl_s >> (24 - 8 * i));
	d[at + 10] = 0;
	d[at + 11] = (uint8_t)rdata_len;
	at += 12;
	memset(d + at, 0, rdata_len);
	d[at] = rdata_len == 4 ? 20 : 0x26;
	for (size_t i = 1; i < 4; i++)
		d[at + rdata_len - i] = (uint8_t)(hash >> 8 * i);
	return at + rdata_len;
}

static bool is_lost(void)
{
	random_state = random_state * 1664525 + 1013904223;
	return (random_state >> 8) % 1000 < loss;
}

static void take_datagrams(int fd)
{
	static uint8_t data[BATCH][MESSAGE_MAX + RECORD_MAX];
	static struct sockaddr_storage from[BATCH];
	struct mmsghdr messages[BATCH], answers[BATCH];
	struct iovec vec[BATCH];
	unsigned n_answers = 0;
	int n;

	for (int i = 0; i < BATCH; i++) {
		vec[i] = (struct iovec){data[i], MESSAGE_MAX};
		messages[i].msg_hdr = (struct msghdr){.msg_name = &from[i],
			.msg_namelen = sizeof from[i],
			.msg_iov = &vec[i],
			.msg_iovlen = 1};
	}
	n = recvmmsg(fd, messages, BATCH, MSG_DONTWAIT, NULL);
	for (int i = 0; i < n; i++) {
		counts[UDP]++;
		vec[i].iov_len = make_answer(data[i], messages[i].msg_len);
		if (vec[i].iov_len && !(loss && is_lost()))
			answers[n_answers++] = messages[i];
	}
	if (n_answers && sendmmsg(fd, answers, n_answers, 0) < 0)
		perror("sendmmsg");
}

/* --- HTTP --- */

static int on_begin(nghttp2_session *session, const nghttp2_frame *frame, void *arg)
{
	struct stream *s = free_streams;

	(void)arg;
	if (s)
		free_streams = s->next;
	else if (!(s = malloc(sizeof *s)))
		return NGHTTP2_ERR_CALLBACK_FAILURE;
	s->len = s->sent = 0;
	return nghttp2_session_set_stream_user_data(session, frame->hd.stream_id, s);
}

static int base64_value(char c)
{
	static const char digits[] =
		"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
	const char *at = c ? strchr(digits, c) : NULL;

	return at ? (int)(at - digits) : -1;
}

static void read_base64(struct stream *s, const char *text, size_t len)
{
	uint32_t bits = 0;

	for (size_t i = 0; i < len && base64_value(text[i]) >= 0 && s->len < MESSAGE_MAX; i++) {
		bits = bits << 6 | (uint32_t)base64_value(text[i]);
		if (i % 4)
			s->message[s->len++] = (uint8_t)(bits >> (6 - 2 * (i % 4)));
	}
}

static int on_header(nghttp2_session *session, const nghttp2_frame *frame, const uint8_t *name,
	size_t name_len, const uint8_t *value, size_t value_len, uint8_t flags, void *arg)
{
	struct stream *s = nghttp2_session_get_stream_user_data(session, frame->hd.stream_id);
	const char *question;

	(void)flags, (void)arg;
	if (!s || name_len != 5 || memcmp(name, ":path", 5) != 0)
		return 0;
	question = memmem(value, value_len, "?dns=", 5);
	if (question)
		read_base64(
			s, question + 5, value_len - (size_t)(question + 5 - (const char *)value));
	return 0;
}

static int on_data(nghttp2_session *session, uint8_t flags, int32_t id, const uint8_t *data,
	size_t len, void *arg)
{
	struct stream *s = nghttp2_session_get_stream_user_data(session, id);

	(void)flags, (void)arg;
	if (!s || s->len + len > MESSAGE_MAX)
		return 0;
	memcpy(s->message + s->len, data, len);
	s->len += len;
	return 0;
}

static ssize_t read_answer(nghttp2_session *session, int32_t id, uint8_t *buf, size_t size,
	uint32_t *flags, nghttp2_data_source *source, void *arg)
{
	struct stream *s = source->ptr;
	size_t n = s->len - s->sent < size ? s->len - s->sent : size;

	(void)session, (void)id, (void)arg;
	memcpy(buf, s->message + s->sent, n);
	s->sent += n;
	if (s->sent == s->len)
		*flags |= NGHTTP2_DATA_FLAG_EOF;
	return (ssize_t)n;
}

#define NV(n, v, v_len)                                                                            \
	{                                                                                          \
		.name = (uint8_t *)(n), .namelen = sizeof(n) - 1, .value = (uint8_t *)(v),         \
		.valuelen = (size_t)(v_len), .flags = NGHTTP2_NV_FLAG_NO_COPY_NAME                 \
	}

static int on_frame(nghttp2_session *session, const nghttp2_frame *frame, void *arg)
{
	struct stream *s;
	char length[8], age[32];
	int length_len, age_len;

	(void)arg;
	if ((frame->hd.type != NGHTTP2_HEADERS && frame->hd.type != NGHTTP2_DATA) ||
		!(frame->hd.flags & NGHTTP2_FLAG_END_STREAM))
		return 0;
	s = nghttp2_session_get_stream_user_data(session, frame->hd.stream_id);
	if (!s)
		return 0;
	counts[DOH]++;
	s->len = make_answer(s->message, s->len);
	length_len = snprintf(length, sizeof length, "%zu", s->len);
	age_len = snprintf(age, sizeof age, "max-age=%u", ttl_s);
	nghttp2_nv good[] = {NV(":status", "200", 3),
		NV("content-type", "application/dns-message", 23),
		NV("content-length", length, length_len), NV("cache-control", age, age_len)};
	nghttp2_nv bad[] = {NV(":status", "400", 3)};
	nghttp2_data_provider data = {.source.ptr = s, .read_callback = read_answer};

	if (s->len == 0)
		return nghttp2_submit_response(session, frame->hd.stream_id, bad, 1, NULL);
	return nghttp2_submit_response(session, frame->hd.stream_id, good, 4, &data);
}

static int on_close(nghttp2_session *session, int32_t id, uint32_t code, void *arg)
{
	struct stream *s = nghttp2_session_get_stream_user_data(session, id);

	(void)code, (void)arg;
	if (s) {
		s->next = free_streams;
		free_streams = s;
	}
	return 0;
}

static void make_callbacks(void)
{
	if (nghttp2_session_callbacks_new(&callbacks))
		exit(1);
	nghttp2_session_callbacks_set_on_begin_headers_callback(callbacks, on_begin);
	nghttp2_session_callbacks_set_on_header_callback(callbacks, on_header);
	nghttp2_session_callbacks_set_on_data_chunk_recv_callback(callbacks, on_data);
	nghttp2_session_callbacks_set_on_frame_recv_callback(callbacks, on_frame);
	nghttp2_session_callbacks_set_on_stream_close_callback(callbacks, on_close);
}

static bool speak_http(struct conn *c)
{
	const nghttp2_settings_entry streams = {
		NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS, STREAMS_MAX};

	return nghttp2_session_server_new(&c->h2, callbacks, c) == 0 &&
	       nghttp2_submit_settings(c->h2, NGHTTP2_FLAG_NONE, &streams, 1) == 0;
}

/* --- streams --- */

static bool put(struct conn *c, const uint8_t *data, size_t len)
{
	if (c->out_len + len > OUT_MAX)
		return false;
	memcpy(c->out + c->out_len, data, len);
	c->out_len += len;
	return true;
}

/* Whole messages, each behind its length (RFC 7766 8). */
static bool answer_messages(struct conn *c)
{
	uint8_t message[IN_MAX + 2];
	size_t at = 0;

	while (c->in_len - at >= 2) {
		size_t len = (size_t)c->in[at] << 8 | c->in[at + 1];

		if (len > MESSAGE_MAX)
			return false;
		if (c->in_len - at - 2 < len)
			break;
		memcpy(message + 2, c->in + at + 2, len);
		at += 2 + len;
		counts[c->kind]++;
		len = make_answer(message + 2, len);
		message[0] = (uint8_t)(len >> 8);
		message[1] = (uint8_t)len;
		if (!len || !put(c, message, len + 2))
			return false;
	}
	c->in_len -= at;
	memmove(c->in, c->in + at, c->in_len);
	return true;
}

static bool answer_http(struct conn *c)
{
	const uint8_t *data;
	ssize_t len = nghttp2_session_mem_recv(c->h2, c->in, c->in_len);

	c->in_len = 0;
	if (len < 0)
		return false;
	while (OUT_MAX - c->out_len > IN_MAX && (len = nghttp2_session_mem_send(c->h2, &data)) > 0)
		if (!put(c, data, (size_t)len))
			return false;
	return len >= 0 && nghttp2_session_want_read(c->h2);
}

static void close_conn(struct conn *c)
{
	nghttp2_session_del(c->h2);
	SSL_free(c->ssl);
	close(c->fd);
	free(c);
}

/* Bytes, 0: none now, -1: it is over. */
static ssize_t get_some(struct conn *c)
{
	size_t room = IN_MAX - c->in_len;
	ssize_t n;

	if (c->ssl) {
		int got;

		ERR_clear_error();
		got = SSL_read(c->ssl, c->in + c->in_len, (int)room);
		if (got > 0)
			return got;
		got = SSL_get_error(c->ssl, got);
		return got == SSL_ERROR_WANT_READ || got == SSL_ERROR_WANT_WRITE ? 0 : -1;
	}
	n = recv(c->fd, c->in + c->in_len, room, MSG_DONTWAIT);
	if (n > 0)
		return n;
	return n < 0 && errno == EAGAIN ? 0 : -1;
}

static bool send_all(struct conn *c)
{
	struct epoll_event e = {.events = EPOLLIN, .data.ptr = c};
	size_t sent = 0;
	ssize_t n = 1;

	while (sent < c->out_len && n > 0) {
		size_t len = c->out_len - sent;

		ERR_clear_error();
		n = c->ssl ? SSL_write(c->ssl, c->out + sent, (int)len)
			   : send(c->fd, c->out + sent, len, MSG_DONTWAIT | MSG_NOSIGNAL);
		if (n > 0)
			sent += (size_t)n;
		else if (c->ssl ? SSL_get_error(c->ssl, (int)n) != SSL_ERROR_WANT_WRITE
				: errno != EAGAIN)
			return false;
	}
	c->out_len -= sent;
	memmove(c->out, c->out + sent, c->out_len);
	if (c->wants_out != (c->out_len > 0)) {
		c->wants_out = c->out_len > 0;
		e.events |= c->wants_out ? EPOLLOUT : 0u;
		epoll_ctl(poller, EPOLL_CTL_MOD, c->fd, &e);
	}
	return true;
}

static bool serve(struct conn *c)
{
	ssize_t n;

	while ((n = get_some(c)) > 0) {
		c->in_len += (size_t)n;
		if (!(c->h2 ? answer_http(c) : answer_messages(c)))
			return false;
		if (!c->ssl) /* what is left is told again */
			break;
	}
	return n >= 0 && send_all(c);
}

static void accept_all(struct conn *listener)
{
	int fd;

	while ((fd = accept4(listener->fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC)) >= 0) {
		struct conn *c = malloc(sizeof *c); /* its buffers are not touched yet */
		struct epoll_event e = {.events = EPOLLIN, .data.ptr = c};

		if (!c)
			exit(1);
		memset(c, 0, offsetof(struct conn, in));
		c->fd = fd;
		c->kind = listener->kind;
		bench_set(fd, IPPROTO_TCP, TCP_NODELAY, 1);
		if (contexts[c->kind]) {
			c->ssl = SSL_new(contexts[c->kind]);
			if (!c->ssl || !SSL_set_fd(c->ssl, fd))
				exit(1);
			SSL_set_accept_state(c->ssl);
		}
		if ((c->kind == DOH && !speak_http(c)) || epoll_ctl(poller, EPOLL_CTL_ADD, fd, &e))
			close_conn(c);
	}
}

/* --- start --- */

static int choose_alpn(SSL *ssl, const unsigned char **out, unsigned char *out_len,
	const unsigned char *in, unsigned in_len, void *arg)
{
	const unsigned char *protocol = arg;

	(void)ssl;
	return SSL_select_next_proto((unsigned char **)out, out_len, protocol, protocol[0] + 1u, in,
		       in_len) == OPENSSL_NPN_NEGOTIATED
		       ? SSL_TLSEXT_ERR_OK
		       : SSL_TLSEXT_ERR_NOACK;
}

static SSL_CTX *make_context(const char *cert, const char *key, const char *alpn)
{
	SSL_CTX *context = SSL_CTX_new(TLS_server_method());

	if (!context || SSL_CTX_use_certificate_chain_file(context, cert) != 1 ||
		SSL_CTX_use_PrivateKey_file(context, key, SSL_FILETYPE_PEM) != 1) {
		ERR_print_errors_fp(stderr);
		exit(1);
	}
	SSL_CTX_set_alpn_select_cb(context, choose_alpn, (void *)(uintptr_t)alpn);
	SSL_CTX_set_mode(
		context, SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
	return context;
}

static void listen_at(enum kind kind, const char *address, const char *port)
{
	struct epoll_event e = {.events = EPOLLIN, .data.ptr = &listeners[kind]};
	struct sockaddr_storage at;
	socklen_t len = bench_address(address, port, &at);

	listeners[kind].kind = kind;
	listeners[kind].fd =
		bench_bind((kind == UDP ? SOCK_DGRAM : SOCK_STREAM) | SOCK_NONBLOCK, &at, len);
	bench_set(listeners[kind].fd, SOL_SOCKET, SO_RCVBUFFORCE, 8 << 20);
	bench_set(listeners[kind].fd, SOL_SOCKET, SO_SNDBUFFORCE, 8 << 20);
	if (epoll_ctl(poller, EPOLL_CTL_ADD, listeners[kind].fd, &e))
		exit(1);
}

static void on_signal(int number)
{
	(void)number;
	told = 1;
}

static void tell(void)
{
	static double told_cpu_s;
	double cpu_s = self_cpu_s();
	unsigned long n = 0;

	told = 0;
	for (int i = 0; i < N_LISTENERS; i++) {
		printf("%s %lu ", kind_names[i], counts[i]);
		n += counts[i];
		counts[i] = 0;
	}
	printf("us %.2f\n", n ? (cpu_s - told_cpu_s) * 1e6 / (double)n : 0);
	fflush(stdout);
	told_cpu_s = cpu_s;
}

static void turn(void)
{
	struct epoll_event e[EVENTS];
	int n = epoll_wait(poller, e, EVENTS, -1);

	for (int i = 0; i < n; i++) {
		struct conn *c = e[i].data.ptr;

		if (c == &listeners[UDP])
			take_datagrams(c->fd);
		else if (c >= listeners && c < listeners + N_LISTENERS)
			accept_all(c);
		else if (!serve(c))
			close_conn(c);
	}
	if (told)
		tell();
}

int main(int argc, char **argv)
{
	struct sigaction action = {.sa_handler = on_signal};
	int option;

	while ((option = getopt(argc, argv, "+t:l:")) != -1) {
		if (option == 't')
			ttl_s = (uint32_t)atoi(optarg);
		else if (option == 'l')
			loss = (uint32_t)atoi(optarg);
		else
			return 2;
	}
	argv += optind;
	if (argc - optind != 6)
		return 2;
	bench_many_files();
	sigaction(SIGUSR1, &action, NULL);
	(void)signal(SIGPIPE, SIG_IGN); /* of OpenSSL's writes */
	poller = epoll_create1(EPOLL_CLOEXEC);
	make_callbacks();
	contexts[DOT] = make_context(argv[4], argv[5], "\3dot");
	contexts[DOH] = make_context(argv[4], argv[5], "\2h2");
	listen_at(UDP, argv[0], argv[1]);
	listen_at(TCP, argv[0], argv[1]);
	listen_at(DOT, argv[0], argv[2]);
	listen_at(DOH, argv[0], argv[3]);
	bench_ready();
	for (;;)
		turn();
}
