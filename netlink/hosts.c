#include "netlink/hosts.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#define HOSTS_MAX 256

struct list {
	size_t n;
	struct ip_addr v[HOSTS_MAX];
};

struct hosts {
	pthread_rwlock_t lock;
	struct list list;
};

int hosts_new(struct hosts **ret)
{
	struct hosts *h = calloc(1, sizeof *h);

	if (!h)
		return -ENOMEM;
	pthread_rwlock_init(&h->lock, NULL);
	*ret = h;
	return 0;
}

void hosts_free(struct hosts *h)
{
	if (!h)
		return;
	pthread_rwlock_destroy(&h->lock);
	free(h);
}

static void add(void *arg, unsigned ifindex, const struct ip_addr *address, uint8_t len)
{
	struct list *list = arg;

	(void)ifindex;
	(void)len;
	if (list->n < HOSTS_MAX)
		list->v[list->n++] = *address;
}

int hosts_reload(struct hosts *h, struct rt *rt)
{
	struct list fresh = {0};
	int error = rt_addresses(rt, add, &fresh);

	if (error)
		return error;
	pthread_rwlock_wrlock(&h->lock);
	h->list = fresh;
	pthread_rwlock_unlock(&h->lock);
	return 0;
}

bool hosts_contain(const struct hosts *h, const struct ip_addr *a)
{
	pthread_rwlock_t *lock = (pthread_rwlock_t *)&h->lock;
	bool found = ip_addr_is_loopback(a);

	pthread_rwlock_rdlock(lock);
	for (size_t i = 0; i < h->list.n && !found; i++)
		found = ip_addr_equal(&h->list.v[i], a);
	pthread_rwlock_unlock(lock);
	return found;
}
