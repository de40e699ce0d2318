/* Requests wait in a list of bounded length that the thread takes as a whole. What it took becomes
 * a small hash table for each family, and a dump of the kernel's table is matched against it; where
 * they ask about few clients, or one address, the kernel is told, and makes no message of any other
 * flow (IPv4 only). A flow is deleted by the very tuple, zone and number that the kernel showed, so
 * no other one can be meant. */
#include "netlink/forgetter.h"
#include "gateway/base/clock.h"
#include "gateway/base/count.h"
#include "gateway/base/thread.h"
#include "netlink/conntrack_internal.h"

#include <errno.h>
#include <libmnl/libmnl.h>
#include <linux/netfilter/nfnetlink_conntrack.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

enum {
	LOOK_MS = 10000,
	REST_MAX_MS = 1000,
	SLOTS = FORGETTER_QUEUE_MAX * 2,
	TUPLE_MAX = 256,
	/* To look for so many one by one is cheaper than to be shown everybody's flows. */
	CLIENTS_FEW = 3,
};

struct pair {
	struct ip_addr client, address;
};

struct forgetter {
	pthread_mutex_t lock;
	pthread_cond_t asked; /* or stopping */
	pthread_t thread;
	bool started; /* with the lock, as the next two */
	struct pair waiting[FORGETTER_QUEUE_MAX];
	size_t n_waiting;
	_Atomic bool stopping;
	_Atomic uint64_t n_asked, n_flows, n_dropped, n_errors;

	/* The thread's. */
	struct pair pairs[FORGETTER_QUEUE_MAX]; /* of this look */
	size_t n_pairs;
	uint16_t slots[SLOTS];	      /* pair + 1, of one family */
	struct conntrack *show, *cut; /* a dump goes on while its flows are deleted */
};

/* --- one look --- */

static size_t slot_of(const struct ip_addr *client, const struct ip_addr *address)
{
	return (ip_addr_hash(client) * 31 + ip_addr_hash(address)) % SLOTS;
}

/* The slot of this pair, or the free one where it belongs: half of them stay free. */
static uint16_t *find(
	struct forgetter *f, const struct ip_addr *client, const struct ip_addr *address)
{
	size_t i = slot_of(client, address);

	for (; f->slots[i]; i = (i + 1) % SLOTS) {
		const struct pair *p = &f->pairs[f->slots[i] - 1];

		if (ip_addr_equal(&p->address, address) && ip_addr_equal(&p->client, client))
			break;
	}
	return &f->slots[i];
}

static void put_again(struct nlmsghdr *h, const struct nlattr *attr)
{
	if (attr)
		mnl_attr_put(h, attr->nla_type, mnl_attr_get_payload_len(attr),
			mnl_attr_get_payload(attr));
}

static int take_flow(void *arg, const struct conntrack_flow *flow)
{
	struct forgetter *f = arg;
	struct conntrack_request r;
	int error;

	if (atomic_load_explicit(&f->stopping, memory_order_relaxed))
		return -ECANCELED;
	if (!*find(f, &flow->source, &flow->target) || !flow->tuple ||
		mnl_attr_get_payload_len(flow->tuple) > TUPLE_MAX)
		return 0;
	conntrack_request_init(f->cut, &r, IPCTNL_MSG_CT_DELETE, 0, flow->target.family);
	put_again(r.h, flow->tuple);
	put_again(r.h, flow->zone);
	put_again(r.h, flow->id);
	error = conntrack_delete(f->cut, &r);
	if (error != -ENOENT) /* it ended by itself */
		count_add_shared(error ? &f->n_errors : &f->n_flows, 1);
	return 0;
}

/* What the pairs of a look have in common. */
struct common {
	struct ip_addr clients[CLIENTS_FEW];
	size_t n_clients; /* CLIENTS_FEW + 1: many */
	struct ip_addr address;
	bool one_address;
};

static void note(struct common *c, const struct pair *p)
{
	size_t i = 0;

	if (c->n_clients == 0)
		c->address = p->address;
	c->one_address =
		(c->n_clients == 0 || c->one_address) && ip_addr_equal(&c->address, &p->address);
	while (i < c->n_clients && i < CLIENTS_FEW && !ip_addr_equal(&c->clients[i], &p->client))
		i++;
	if (i < c->n_clients)
		return;
	if (i < CLIENTS_FEW)
		c->clients[i] = p->client;
	c->n_clients = i + 1;
}

/* client NULL: all. */
static int look(
	struct forgetter *f, uint8_t family, const struct common *c, const struct ip_addr *client)
{
	struct conntrack_request r;

	conntrack_request_init(f->show, &r, IPCTNL_MSG_CT_GET, NLM_F_DUMP, family);
	conntrack_put_filter(r.h, client, c->one_address ? &c->address : NULL);
	return conntrack_dump(f->show, &r, LOOK_MS, take_flow, f);
}

static int look_through(struct forgetter *f, uint8_t family)
{
	struct common c = {.n_clients = 0};
	int error = 0;

	memset(f->slots, 0, sizeof f->slots);
	for (size_t i = 0; i < f->n_pairs; i++) {
		const struct pair *p = &f->pairs[i];

		if (p->client.family == family) {
			note(&c, p);
			*find(f, &p->client, &p->address) = (uint16_t)(i + 1);
		}
	}
	if (c.n_clients == 0)
		return 0;
	if (family != IP_V4 || c.n_clients > CLIENTS_FEW)
		return look(f, family, &c, NULL);
	for (size_t i = 0; i < c.n_clients && !error; i++)
		error = look(f, family, &c, &c.clients[i]);
	return error;
}

static void close_sockets(struct forgetter *f)
{
	conntrack_close(f->show);
	conntrack_close(f->cut);
	f->show = f->cut = NULL;
}

static void forget(struct forgetter *f)
{
	int error = f->show ? 0 : conntrack_open(&f->show);

	if (!error && !f->cut)
		error = conntrack_open(&f->cut);
	if (!error)
		error = look_through(f, IP_V4);
	if (!error)
		error = look_through(f, IP_V6);
	if (!error)
		return;
	if (error != -ECANCELED)
		count_add_shared(&f->n_errors, 1);
	close_sockets(f);
}

/* --- the thread --- */

/* Waits for requests and takes them all; false: it is over. */
static bool take_requests(struct forgetter *f)
{
	bool goes_on;

	pthread_mutex_lock(&f->lock);
	while (f->n_waiting == 0 && !atomic_load(&f->stopping))
		pthread_cond_wait(&f->asked, &f->lock);
	memcpy(f->pairs, f->waiting, f->n_waiting * sizeof f->pairs[0]);
	f->n_pairs = f->n_waiting;
	f->n_waiting = 0;
	goes_on = !atomic_load(&f->stopping);
	pthread_mutex_unlock(&f->lock);
	return goes_on;
}

/* Half of the time at most is spent on looking, however many flows and requests there are; what
 * is asked meanwhile shares the next look. */
static void rest(struct forgetter *f, int64_t ms)
{
	int64_t until_ms = clock_ms() + (ms > REST_MAX_MS ? REST_MAX_MS : ms);

	pthread_mutex_lock(&f->lock);
	while (ms > 0 && !atomic_load(&f->stopping) && clock_ms() < until_ms)
		thread_wait_until(&f->asked, &f->lock, until_ms);
	pthread_mutex_unlock(&f->lock);
}

static void *run(void *arg)
{
	struct forgetter *f = arg;

	while (take_requests(f)) {
		int64_t began_ms = clock_ms();

		forget(f);
		rest(f, clock_ms() - began_ms);
	}
	close_sockets(f);
	return NULL;
}

/* With the lock. */
static void start(struct forgetter *f)
{
	f->started = thread_start(&f->thread, 0, run, f) == 0;
	if (!f->started)
		count_add_shared(&f->n_errors, 1); /* the next request tries again */
}

/* --- what others call --- */

int forgetter_new(struct forgetter **ret)
{
	struct forgetter *f = calloc(1, sizeof *f);

	if (!f)
		return -ENOMEM;
	pthread_mutex_init(&f->lock, NULL);
	thread_condition_init(&f->asked);
	*ret = f;
	return 0;
}

void forgetter_free(struct forgetter *f)
{
	if (!f)
		return;
	pthread_mutex_lock(&f->lock);
	atomic_store(&f->stopping, true);
	pthread_cond_signal(&f->asked);
	pthread_mutex_unlock(&f->lock);
	if (f->started)
		pthread_join(f->thread, NULL);
	pthread_cond_destroy(&f->asked);
	pthread_mutex_destroy(&f->lock);
	free(f);
}

void forgetter_submit(
	struct forgetter *f, const struct ip_addr *client, const struct ip_addr *address)
{
	if (client->family != address->family || client->family == IP_NONE)
		return;
	count_add_shared(&f->n_asked, 1);
	pthread_mutex_lock(&f->lock);
	if (f->n_waiting == FORGETTER_QUEUE_MAX) {
		count_add_shared(&f->n_dropped, 1);
	} else {
		f->waiting[f->n_waiting++] = (struct pair){*client, *address};
		if (!f->started)
			start(f);
		if (f->n_waiting == 1)
			pthread_cond_signal(&f->asked);
	}
	pthread_mutex_unlock(&f->lock);
}

void forgetter_stats(struct forgetter *f, struct forgetter_stats *ret)
{
	memset(ret, 0, sizeof *ret);
	if (!f)
		return;
	ret->asked = count_get(&f->n_asked);
	ret->flows = count_get(&f->n_flows);
	ret->dropped = count_get(&f->n_dropped);
	ret->errors = count_get(&f->n_errors);
}
