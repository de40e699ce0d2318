#include "netlink/heartbeat.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "gateway/base/clock.h"
#include "gateway/base/count.h"
#include "gateway/base/thread.h"

struct heartbeat {
	struct heartbeat_config config;
	int fd;
	struct sockaddr_in at;
	pthread_t thread;
	pthread_mutex_t lock; /* of what follows, but for the counter */
	pthread_cond_t woken;
	bool held, lapsed, stopping;
	int64_t due_ms, beaten_ms;
	_Atomic uint64_t n_beats;
};

/* The rule drops what it has seen, and who sends that is told so: -EPERM. What arrives had no rule.
 */
static int send_beat(struct heartbeat *h)
{
	char none;

	if (sendto(h->fd, "", 0, MSG_DONTWAIT, (const struct sockaddr *)&h->at, sizeof h->at) < 0)
		return errno == EPERM ? 0 : -errno;
	(void)recv(h->fd, &none, sizeof none, MSG_DONTWAIT);
	return -ENOENT;
}

static void tell(const struct heartbeat *h, bool lapsed, int64_t ms, int error)
{
	if (h->config.lapsed)
		(h->config.lapsed)(h->config.arg, lapsed, ms, error);
}

/* With the lock. */
static void beat(struct heartbeat *h)
{
	bool late = clock_ms() - h->due_ms > HEARTBEAT_LIFE_MS / 2;
	bool alive = h->config.pulse(h->config.arg);
	int error = alive ? send_beat(h) : 0;
	int64_t now_ms = clock_ms(), since_ms = now_ms - h->beaten_ms;

	h->due_ms = now_ms + HEARTBEAT_EVERY_MS;
	if (since_ms > HEARTBEAT_LIFE_MS && !h->lapsed) {
		h->lapsed = true;
		tell(h, true, since_ms - HEARTBEAT_LIFE_MS, late ? -ETIME : error);
	}
	if (!alive || error)
		return;
	count_add_shared(&h->n_beats, 1);
	if (h->lapsed)
		tell(h, false, since_ms - HEARTBEAT_LIFE_MS, 0);
	h->lapsed = false;
	h->beaten_ms = now_ms;
}

static void *run(void *arg)
{
	struct heartbeat *h = arg;

	pthread_mutex_lock(&h->lock);
	while (!h->stopping) {
		if (!h->held) {
			pthread_cond_wait(&h->woken, &h->lock);
			continue;
		}
		if (clock_ms() >= h->due_ms)
			beat(h);
		thread_wait_until(&h->woken, &h->lock, h->due_ms);
	}
	pthread_mutex_unlock(&h->lock);
	return NULL;
}

static int open_socket(struct heartbeat *h)
{
	socklen_t len = sizeof h->at;
	int yes = 1;

	h->at = (struct sockaddr_in){
		.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	h->fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	/* lo may come up later. */
	if (h->fd < 0 || setsockopt(h->fd, IPPROTO_IP, IP_FREEBIND, &yes, sizeof yes) < 0 ||
		bind(h->fd, (const struct sockaddr *)&h->at, len) < 0 ||
		getsockname(h->fd, (struct sockaddr *)&h->at, &len) < 0)
		return -errno;
	return 0;
}

static void heartbeat_free(struct heartbeat *h)
{
	if (h->fd >= 0)
		close(h->fd);
	pthread_cond_destroy(&h->woken);
	pthread_mutex_destroy(&h->lock);
	free(h);
}

int heartbeat_start(const struct heartbeat_config *config, struct heartbeat **ret)
{
	struct heartbeat *h = calloc(1, sizeof *h);
	int error;

	if (!h)
		return -ENOMEM;
	h->config = *config;
	pthread_mutex_init(&h->lock, NULL);
	thread_condition_init(&h->woken);
	error = open_socket(h);
	if (!error)
		error = thread_start(&h->thread, 0, run, h);
	if (error) {
		heartbeat_free(h);
		return error;
	}
	*ret = h;
	return 0;
}

void heartbeat_stop(struct heartbeat *h)
{
	if (!h)
		return;
	pthread_mutex_lock(&h->lock);
	h->stopping = true;
	pthread_cond_signal(&h->woken);
	pthread_mutex_unlock(&h->lock);
	pthread_join(h->thread, NULL);
	heartbeat_free(h);
}

uint16_t heartbeat_port(const struct heartbeat *h)
{
	return ntohs(h->at.sin_port);
}

void heartbeat_hold(struct heartbeat *h, bool held)
{
	pthread_mutex_lock(&h->lock);
	if (held && !h->held) {
		h->beaten_ms = clock_ms();
		h->lapsed = false;
	}
	h->held = held;
	if (held)
		beat(h);
	pthread_cond_signal(&h->woken);
	pthread_mutex_unlock(&h->lock);
}

uint64_t heartbeat_count(const struct heartbeat *h)
{
	return count_get(&h->n_beats);
}
