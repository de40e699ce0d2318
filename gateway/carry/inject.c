#include "gateway/carry/inject.h"
#include "gateway/tun/device.h"
#include "gateway/tun/packet.h"

#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define DEVICES_MAX 64

struct device {
	unsigned ifindex; /* of the LAN's interface */
	int fd;
};

struct inject {
	int raw4, raw6;
	bool has_raw6;
	pthread_rwlock_t lock; /* devices and mode */
	bool firewall_path;
	size_t n;
	struct device devices[DEVICES_MAX];
};

static int raw_socket(int family, uint32_t mark)
{
	int one = 1;
	int fd = socket(family, SOCK_RAW | SOCK_CLOEXEC | SOCK_NONBLOCK,
		IPPROTO_RAW); /* headers are included */

	if (fd < 0)
		return -errno;
	if (setsockopt(fd, SOL_SOCKET, SO_MARK, &mark, sizeof mark) ||
		(family == AF_INET6 &&
			setsockopt(fd, IPPROTO_IPV6, IPV6_HDRINCL, &one, sizeof one))) {
		int error = -errno;

		close(fd);
		return error;
	}
	return fd;
}

int inject_new(uint32_t mark, struct inject **ret)
{
	struct inject *i = calloc(1, sizeof *i);

	if (!i)
		return -ENOMEM;
	i->raw4 = raw_socket(AF_INET, mark);
	if (i->raw4 < 0) {
		int error = i->raw4;

		free(i);
		return error;
	}
	i->raw6 = raw_socket(AF_INET6, mark);
	i->has_raw6 = i->raw6 >= 0;
	pthread_rwlock_init(&i->lock, NULL);
	*ret = i;
	return 0;
}

static void close_devices(struct inject *i)
{
	for (size_t k = 0; k < i->n; k++)
		close(i->devices[k].fd);
	i->n = 0;
}

void inject_free(struct inject *i)
{
	if (!i)
		return;
	close_devices(i);
	close(i->raw4);
	if (i->has_raw6)
		close(i->raw6);
	pthread_rwlock_destroy(&i->lock);
	free(i);
}

static int open_device(struct rt *rt, unsigned ifindex, struct device *ret)
{
	char name[16], path[64];
	unsigned index;
	int error;

	snprintf(name, sizeof name, "tgin%u", ifindex);
	error = tun_device_open(name, 1, &ret->fd);
	if (error)
		return error;
	snprintf(path, sizeof path, "ipv6/conf/%s/disable_ipv6", name);
	rt_sysctl_set(path, 1); /* it must say nothing of its own */
	error = rt_link_index(rt, name, &index);
	if (!error)
		error = rt_link_up(rt, index, 0, 0);
	if (!error)
		error = rt_redirect_ingress(rt, index, ifindex);
	if (error) {
		close(ret->fd);
		return error;
	}
	ret->ifindex = ifindex;
	return 0;
}

static struct device *find(struct inject *i, unsigned ifindex)
{
	for (size_t k = 0; k < i->n; k++)
		if (i->devices[k].ifindex == ifindex)
			return &i->devices[k];
	return NULL;
}

static bool listed(unsigned ifindex, const unsigned *ifindexes, size_t n)
{
	for (size_t k = 0; k < n; k++)
		if (ifindexes[k] == ifindex)
			return true;
	return false;
}

int inject_use_firewall_path(struct inject *i, struct rt *rt, const unsigned *ifindexes, size_t n)
{
	int first_error = 0;

	pthread_rwlock_wrlock(&i->lock);
	i->firewall_path = true;
	for (size_t k = 0; k < i->n;) {
		if (listed(i->devices[k].ifindex, ifindexes, n)) {
			k++;
			continue;
		}
		close(i->devices[k].fd);
		i->devices[k] = i->devices[--i->n];
	}
	for (size_t k = 0; k < n; k++) {
		int error = -ENOSPC;

		if (find(i, ifindexes[k]))
			continue;
		if (i->n < DEVICES_MAX)
			error = open_device(rt, ifindexes[k], &i->devices[i->n]);
		if (!error)
			i->n++;
		else if (!first_error)
			first_error = error;
	}
	pthread_rwlock_unlock(&i->lock);
	return first_error;
}

void inject_use_tun_path(struct inject *i)
{
	pthread_rwlock_wrlock(&i->lock);
	i->firewall_path = false;
	close_devices(i);
	pthread_rwlock_unlock(&i->lock);
}

static int write_packet(int fd, const uint8_t *packet, size_t len)
{
	ssize_t n = write(fd, packet, len);

	if (n < 0)
		return -errno;
	return (size_t)n == len ? 0 : -EIO;
}

static int send_raw(struct inject *i, const uint8_t *packet, size_t len)
{
	struct ip_port to = {0};
	struct sockaddr_storage sa;
	socklen_t sa_len;
	bool v6 = packet[0] >> 4 == 6;

	if (v6 && !i->has_raw6)
		return -EAFNOSUPPORT;
	to.addr = v6 ? ip_addr_v6(packet + 24) : ip_addr_v4(packet + 16);
	sa_len = ip_port_to_sockaddr(&to, &sa);
	return sendto(v6 ? i->raw6 : i->raw4, packet, len, 0, (struct sockaddr *)&sa, sa_len) < 0
		       ? -errno
		       : 0;
}

int inject_put_back(
	struct inject *i, int tun_fd, const uint8_t *packet, size_t len, unsigned ifindex, bool own)
{
	const struct device *device;
	int error;

	if (own)
		return send_raw(i, packet, len);
	pthread_rwlock_rdlock(&i->lock);
	device = ifindex ? find(i, ifindex) : NULL;
	error = write_packet(device ? device->fd : tun_fd, packet, len);
	pthread_rwlock_unlock(&i->lock);
	return error;
}

int inject_error(struct inject *i, int tun_fd, const uint8_t *packet, size_t len, unsigned ifindex)
{
	bool raw;

	pthread_rwlock_rdlock(&i->lock);
	raw = ifindex && i->firewall_path;
	pthread_rwlock_unlock(&i->lock);
	return raw ? send_raw(i, packet, len) : write_packet(tun_fd, packet, len);
}

int inject_from(struct inject *i, unsigned ifindex, const uint8_t *packet, size_t len)
{
	const struct device *device;
	int error = -ENODEV;

	pthread_rwlock_rdlock(&i->lock);
	device = find(i, ifindex);
	if (device)
		error = write_packet(device->fd, packet, len);
	pthread_rwlock_unlock(&i->lock);
	return error;
}
