#include "gateway/worker.h"
#include "gateway/base/clock.h"
#include "gateway/base/container.h"
#include "gateway/base/log.h"
#include "gateway/base/thread.h"
#include "gateway/probe.h"
#include "gateway/serve/tcp.h"
#include "gateway/serve/tun.h"
#include "gateway/serve/udp.h"

#include <errno.h>
#include <netinet/in.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* A burst of this many packets is taken in one turn. */
#define TUN_BUFFERS	 256
#define TUN_BUFFER_BYTES 2048
#define TUN_BUFFER_JUMBO 16384 /* for an MTU above what fits the other */
#define TCP_BUFFERS	 32
#define TCP_BUFFER_BYTES 2048
#define UDP_SOCKETS_MAX	 16
#define STOP_MS		 1000
#define STACK_BYTES	 (256 << 10)

struct worker {
	struct worker_config c;
	pthread_t thread;
	struct loop *loop;
	struct loop_buffers *tun_buffers, *tcp_buffers;
	struct serve_in *in;
	struct resolver *resolver;
	struct writer_client *writer_client;
	struct query_engine *engine;
	struct serve_out *out;
	struct serve_tcp *tcp;
	struct serve_udp *udp[UDP_SOCKETS_MAX];
	size_t n_udp;
	struct serve_tun tun;
	struct carry *carry;
	struct loop_op tun_op, nflog_op;
	struct loop_waker waker;
	struct loop_hook turn_hook;
	struct loop_timer stop_timer;
	_Atomic(struct generation *) next_gen;
	_Atomic int next_tun, tun_fd;
	_Atomic bool stop_asked, lame_asked, network_changed;
	bool stopping, resolver_stopped;
	bool late; /* operations are still in flight: their memory stays until the process ends */
};

/* --- packets --- */

static void tun_packet_arrived(struct worker *w, uint8_t *data, size_t len)
{
	struct tun_packet p;
	struct ip_addr target;

	if (tun_packet_parse(data, len, &p))
		return;
	if (p.protocol == IPPROTO_UDP && p.target_port == 53 && p.fragment == TUN_WHOLE) {
		target = tun_packet_target(&p);
		if (!ip_addr_equal(&target, &w->c.probe->to) ||
			!probe_take(w->c.probe, p.data + p.payload, p.payload_len))
			serve_tun_packet(&w->tun, &p);
		return;
	}
	target = tun_packet_target(&p);
	if (fakeip_in_pools(w->c.fakeip, target.b, ip_addr_size(&target)))
		carry_packet(w->carry, data, len, 0);
}

static void change_tun(struct worker *w);

static void tun_read(struct loop_op *op, int32_t res, uint8_t *data, bool last)
{
	struct worker *w = container_of(op, struct worker, tun_op);

	if (res > 0 && !w->stopping)
		tun_packet_arrived(w, data, (size_t)res);
	if (!last || w->stopping)
		return;
	if (w->next_tun >= 0) /* the new queue was waiting for the old one's end */
		change_tun(w);
	else
		w->c.tun_failed(w->c.arg);
}

static void change_tun(struct worker *w)
{
	w->tun.fd = w->next_tun;
	w->next_tun = -1;
	carry_set_tun(w->carry, w->tun.fd);
	if (loop_read_start(w->loop, &w->tun_op, w->tun.fd, w->tun_buffers, tun_read))
		w->c.tun_failed(w->c.arg);
}

static void nflog_arrived(void *arg, uint8_t *packet, size_t len, unsigned ifindex)
{
	struct worker *w = arg;

	carry_packet(w->carry, packet, len, ifindex);
}

static void nflog_ready(struct loop_op *op, int32_t res, uint8_t *data, bool last)
{
	struct worker *w = container_of(op, struct worker, nflog_op);

	(void)res;
	(void)data;
	if (w->stopping || last)
		return;
	/* Until it is empty: the poll tells of what is new only. */
	while (nflog_read(w->c.nflog, nflog_arrived, w) > 0)
		;
}

/* --- what other threads ask --- */

static void take_generation(struct worker *w)
{
	struct generation *g = atomic_exchange(&w->next_gen, NULL);

	if (!g)
		return;
	resolver_use(w->resolver, g->groups);
	query_engine_use(w->engine, g);
	carry_use(w->carry, g);
	generation_unref(g);
}

static void take_tun(struct worker *w)
{
	if (w->next_tun < 0)
		return;
	if (loop_op_busy(&w->tun_op))
		loop_op_cancel(&w->tun_op);
	else
		change_tun(w);
}

static void resolver_is_stopped(void *arg)
{
	((struct worker *)arg)->resolver_stopped = true;
}

static void stop_begin(struct worker *w)
{
	w->stopping = true;
	query_engine_stop(w->engine);
	carry_stop(w->carry);
	loop_op_cancel(&w->tun_op);
	loop_op_cancel(&w->nflog_op);
	for (size_t i = 0; i < w->n_udp; i++)
		serve_udp_stop(w->udp[i]);
	resolver_stop(w->resolver, resolver_is_stopped, w);
	loop_timer_set(w->loop, &w->stop_timer, loop_now_ms(w->loop) + STOP_MS);
}

static bool is_ours(void *arg, const struct ip_addr *a)
{
	const struct worker *w = arg;

	return ip_addr_is_loopback(a) || hosts_contain(w->c.hosts, a);
}

static void woken(struct loop_waker *waker)
{
	struct worker *w = container_of(waker, struct worker, waker);

	writer_client_run(w->writer_client);
	take_generation(w);
	if (w->stopping)
		return;
	take_tun(w);
	if (atomic_exchange(&w->network_changed, false))
		resolver_network_changed(w->resolver, is_ours, w);
	if (w->lame_asked)
		query_engine_set_lame(w->engine);
	if (w->stop_asked)
		stop_begin(w);
}

/* The thread goes when nothing is parked, held or in flight any more. */
static void stop_check(struct worker *w)
{
	bool busy;

	if (w->resolver_stopped && query_engine_idle(w->engine) && carry_idle(w->carry))
		serve_tcp_stop(w->tcp); /* what was parked has been answered */
	busy = !w->resolver_stopped || !query_engine_idle(w->engine) || !carry_idle(w->carry) ||
	       !serve_tcp_idle(w->tcp) || loop_op_busy(&w->tun_op) || loop_op_busy(&w->nflog_op);
	for (size_t i = 0; i < w->n_udp; i++)
		busy |= !serve_udp_idle(w->udp[i]);
	if (!busy)
		loop_stop(w->loop);
}

/* After the answers of the turn have left. */
static void turn_end(struct loop_hook *hook)
{
	struct worker *w = container_of(hook, struct worker, turn_hook);

	w->tun_fd = w->tun.fd; /* nothing is written to the one before any more */
	if (w->stopping)
		stop_check(w);
}

static void stop_late(struct loop_timer *t)
{
	struct worker *w = container_of(t, struct worker, stop_timer);

	log_warn("worker %u: something did not end in %d ms", w->c.number, STOP_MS);
	w->late = true;
	loop_stop(w->loop);
}

static void wake_for_jobs(void *arg)
{
	loop_wake(((struct worker *)arg)->loop);
}

/* --- what queries tell the carrying --- */

static void hook_faked(void *arg, uint32_t index, const struct policy_rule *rule,
	const struct ip_addr *client, const struct dns_name *name)
{
	carry_faked(((struct worker *)arg)->carry, index, rule, client, name);
}

static void hook_told(void *arg, const struct ip_addr *client, const struct dns_name *name,
	const uint8_t *msg, size_t len)
{
	carry_told(((struct worker *)arg)->carry, client, name, msg, len);
}

/* --- what resolving asks --- */

static bool holds_fake(void *arg, const uint8_t *address, size_t size)
{
	const struct worker *w = arg;

	return fakeip_in_pools(w->c.fakeip, address, size);
}

static bool is_in_pools(void *arg, const struct ip_port *to)
{
	return holds_fake(arg, to->addr.b, ip_addr_size(&to->addr));
}

/* --- start and stop --- */

static int make_rooms(struct worker *w)
{
	struct query_engine_config qc;
	struct carry_config cc;
	const struct resolver_config rc = {
		.loop = w->loop,
		.cache = w->c.cache,
		.hash_key = w->c.hash_key,
		.forbidden = is_in_pools,
		.in_pools = holds_fake,
		.arg = w,
		.probes = w->c.number == 0,
	};
	int error = resolver_new(&rc, &w->resolver);

	if (!error)
		error = writer_client_new(w->c.writer, wake_for_jobs, w, &w->writer_client);
	if (error)
		return error;
	qc = (struct query_engine_config){
		.loop = w->loop,
		.resolver = w->resolver,
		.fakeip = w->c.fakeip,
		.hash_key = w->c.hash_key,
		.writer = w->c.writer,
		.writer_client = w->writer_client,
		.forgetter = w->c.forgetter,
		.hosts = w->c.hosts,
		.neighbours = w->c.neighbours,
		.ways = w->c.ways,
		.clock_s = w->c.clock_s,
		.hooks = {.arg = w, .faked = hook_faked, .told = hook_told},
	};
	cc = (struct carry_config){
		.loop = w->loop,
		.resolver = w->resolver,
		.fakeip = w->c.fakeip,
		.writer = w->c.writer,
		.writer_client = w->writer_client,
		.inject = w->c.inject,
		.shared = w->c.carry_shared,
		.hosts = w->c.hosts,
		.neighbours = w->c.neighbours,
		.own_ports = w->c.own_ports,
		.n_own_ports = w->c.n_own_ports,
		.clock_s = w->c.clock_s,
		.tun_fd = w->c.tun_fd,
		.max_flows = w->c.max_flows,
		.sniff = w->c.sniff,
		.checks = w->c.number == 0,
	};
	error = query_engine_new(&qc, &w->engine);
	if (!error)
		error = carry_new(&cc, &w->carry);
	if (error)
		return error;
	resolver_use(w->resolver, w->c.gen->groups);
	query_engine_use(w->engine, w->c.gen);
	carry_use(w->carry, w->c.gen);
	error = query_engine_warm(w->engine, w->c.hot, w->c.n_hot, w->c.warm_rate);
	return error ? error : serve_out_new(w->loop, w->engine, &w->out);
}

static int make_buffers(struct worker *w)
{
	size_t tun_bytes = w->c.mtu <= TUN_BUFFER_BYTES ? TUN_BUFFER_BYTES : TUN_BUFFER_JUMBO;
	int error = loop_buffers_new(w->loop, tun_bytes, TUN_BUFFERS, &w->tun_buffers);

	if (!error)
		error = serve_in_new(&w->in);
	if (!error)
		error = loop_buffers_new(w->loop, TCP_BUFFER_BYTES, TCP_BUFFERS, &w->tcp_buffers);
	return error;
}

static int open_sockets(struct worker *w)
{
	int error = serve_tcp_new(w->loop, w->tcp_buffers, w->engine, &w->tcp);

	for (size_t i = 0; i < w->c.n_sockets && !error; i++) {
		const struct worker_socket *s = &w->c.sockets[i];

		if (s->relay)
			error = s->stream ? carry_listen(w->carry, s->fd)
					  : carry_receive(w->carry, s->fd);
		else if (s->stream)
			error = serve_tcp_listen(w->tcp, s->fd, s->listener);
		else if (w->n_udp == UDP_SOCKETS_MAX)
			error = -ENOSPC;
		else
			error = serve_udp_start(w->loop, w->in, w->engine, w->out, s->fd,
				s->listener, &w->udp[w->n_udp]);
		if (error)
			close(s->fd);
		else if (!s->relay && !s->stream)
			w->n_udp++;
	}
	return error;
}

static int start_reading(struct worker *w)
{
	int error;

	w->tun = (struct serve_tun){.engine = w->engine, .out = w->out, .fd = w->c.tun_fd};
	w->tun_fd = w->c.tun_fd;
	error = loop_read_start(w->loop, &w->tun_op, w->c.tun_fd, w->tun_buffers, tun_read);
	if (!error && w->c.nflog)
		error = loop_poll_start(
			w->loop, &w->nflog_op, nflog_fd(w->c.nflog), POLLIN, nflog_ready);
	return error;
}

static void worker_free(struct worker *w)
{
	struct generation *unused = atomic_exchange(&w->next_gen, NULL);

	generation_unref(unused);
	for (size_t i = 0; i < w->n_udp; i++)
		serve_udp_free(w->udp[i]);
	serve_tcp_free(w->tcp);
	serve_out_free(w->out);
	carry_free(w->carry);
	query_engine_free(w->engine);
	if (w->writer_client)
		writer_client_free(w->writer_client);
	if (w->resolver && !w->resolver_stopped) /* never ran: nothing is in flight */
		resolver_stop(w->resolver, resolver_is_stopped, w);
	if (w->tun_buffers)
		loop_buffers_free(w->tun_buffers);
	serve_in_free(w->in);
	if (w->tcp_buffers)
		loop_buffers_free(w->tcp_buffers);
	loop_free(w->loop);
	free(w);
}

static void *run(void *arg)
{
	struct worker *w = arg;
	int error = loop_run(w->loop);

	if (error)
		log_error("worker %u: io_uring: %s", w->c.number, strerror(-error));
	return NULL;
}

int worker_start(const struct worker_config *config, struct worker **ret)
{
	struct worker *w = calloc(1, sizeof *w);
	int error;

	if (!w)
		return -ENOMEM;
	w->c = *config;
	w->next_tun = -1;
	w->waker.woken = woken;
	w->turn_hook.run = turn_end;
	w->stop_timer.fire = stop_late;
	error = loop_new(&w->loop);
	if (error)
		goto fail;
	loop_on_wake(w->loop, &w->waker);
	error = make_buffers(w);
	if (!error)
		error = make_rooms(w);
	if (!error)
		error = open_sockets(w);
	if (!error)
		error = start_reading(w);
	if (error)
		goto fail;
	loop_on_turn_end(w->loop, &w->turn_hook);
	error = thread_start(&w->thread, STACK_BYTES, run, w);
	if (error)
		goto fail;
	*ret = w;
	return 0;
fail:
	worker_free(w);
	return error;
}

void worker_use(struct worker *w, struct generation *g)
{
	generation_unref(atomic_exchange(&w->next_gen, generation_ref(g)));
	loop_wake(w->loop);
}

/* What it has taken is in force before it reads the next query. */
bool worker_uses_latest(const struct worker *w)
{
	return !atomic_load(&w->next_gen);
}

void worker_set_tun(struct worker *w, int fd)
{
	w->next_tun = fd;
	loop_wake(w->loop);
}

int worker_tun_fd(const struct worker *w)
{
	return w->tun_fd;
}

void worker_set_lame(struct worker *w)
{
	w->lame_asked = true;
	loop_wake(w->loop);
}

void worker_stop(struct worker *w)
{
	w->stop_asked = true;
	loop_wake(w->loop);
	pthread_join(w->thread, NULL);
	if (!w->late)
		worker_free(w);
}

void worker_network_changed(struct worker *w)
{
	w->network_changed = true;
	loop_wake(w->loop);
}

void worker_poke(struct worker *w)
{
	loop_wake(w->loop);
}

int64_t worker_last_turn_ms(const struct worker *w)
{
	return loop_last_turn_ms(w->loop);
}

const struct query_counters *worker_query_counters(const struct worker *w)
{
	return query_engine_counters(w->engine);
}

const struct carry *worker_carry(const struct worker *w)
{
	return w->carry;
}
