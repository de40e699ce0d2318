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
#define MTU	    1500

struct device {
	unsigned ifindex; /* of the LAN's interface */
	int fd;
};

struct inject {
	int raw4, raw6;
	int relay4, relay6; /* the same with the mark that leads to the relay */
	bool has_raw6;
	pthread_rwlock_t lock; /* of all below */
	bool raw_errors;
	size_t n_devices, n_interfaces;
	struct device devices[DEVICES_MAX];
	struct inject_interface interfaces[INJECT_INTERFACES_MAX];
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

static int open_sockets(struct inject *i, uint32_t mark, uint32_t to_relay)
{
	i->raw4 = raw_socket(AF_INET, mark);
	if (i->raw4 < 0)
		return i->raw4;
	i->relay4 = raw_socket(AF_INET, mark | to_relay);
	if (i->relay4 < 0)
		return i->relay4;
	i->raw6 = raw_socket(AF_INET6, mark);
	i->relay6 = raw_socket(AF_INET6, mark | to_relay);
	i->has_raw6 = i->raw6 >= 0 && i->relay6 >= 0;
	return 0;
}

static void close_socket(int fd)
{
	if (fd >= 0)
		close(fd);
}

static void close_sockets(struct inject *i)
{
	close_socket(i->raw4);
	close_socket(i->relay4);
	close_socket(i->raw6);
	close_socket(i->relay6);
}

int inject_new(uint32_t mark, uint32_t to_relay, struct inject **ret)
{
	struct inject *i = calloc(1, sizeof *i);
	int error;

	if (!i)
		return -ENOMEM;
	i->raw4 = i->raw6 = i->relay4 = i->relay6 = -1;
	error = open_sockets(i, mark, to_relay);
	if (error) {
		close_sockets(i);
		free(i);
		return error;
	}
	pthread_rwlock_init(&i->lock, NULL);
	*ret = i;
	return 0;
}

void inject_free(struct inject *i)
{
	if (!i)
		return;
	for (size_t k = 0; k < i->n_devices; k++)
		close(i->devices[k].fd);
	close_sockets(i);
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
	for (size_t k = 0; k < i->n_devices; k++)
		if (i->devices[k].ifindex == ifindex)
			return &i->devices[k];
	return NULL;
}

/* The device of the interface that a client with this address is behind: the longest prefix that
 * holds it. */
static struct device *find_by_source(struct inject *i, const struct ip_addr *source)
{
	const struct inject_interface *best = NULL;

	for (size_t k = 0; k < i->n_interfaces; k++) {
		const struct inject_interface *it = &i->interfaces[k];

		if (ip_prefix_contains(&it->prefix, source) &&
			(!best || it->prefix.len > best->prefix.len))
			best = it;
	}
	/* Behind another router of the LAN: with one interface there is no question which. */
	if (!best && i->n_devices == 1)
		return &i->devices[0];
	return best ? find(i, best->ifindex) : NULL;
}

static bool listed(unsigned ifindex, const struct inject_interface *v, size_t n)
{
	for (size_t k = 0; k < n; k++)
		if (v[k].ifindex == ifindex)
			return true;
	return false;
}

int inject_set_interfaces(
	struct inject *i, struct rt *rt, const struct inject_interface *v, size_t n)
{
	int first_error = 0;

	if (n > INJECT_INTERFACES_MAX)
		n = INJECT_INTERFACES_MAX;
	pthread_rwlock_wrlock(&i->lock);
	if (n) /* else v may be NULL */
		memcpy(i->interfaces, v, n * sizeof *v);
	i->n_interfaces = n;
	for (size_t k = 0; k < i->n_devices;) {
		if (listed(i->devices[k].ifindex, v, n)) {
			k++;
			continue;
		}
		close(i->devices[k].fd);
		i->devices[k] = i->devices[--i->n_devices];
	}
	for (size_t k = 0; k < n; k++) {
		int error = -ENOSPC;

		if (find(i, v[k].ifindex))
			continue;
		if (i->n_devices < DEVICES_MAX)
			error = open_device(rt, v[k].ifindex, &i->devices[i->n_devices]);
		if (!error)
			i->n_devices++;
		else if (!first_error)
			first_error = error;
	}
	pthread_rwlock_unlock(&i->lock);
	return first_error;
}

void inject_set_raw_errors(struct inject *i, bool raw)
{
	pthread_rwlock_wrlock(&i->lock);
	i->raw_errors = raw;
	pthread_rwlock_unlock(&i->lock);
}

static int write_packet(int fd, const uint8_t *packet, size_t len)
{
	ssize_t n = write(fd, packet, len);

	if (n < 0)
		return -errno;
	return (size_t)n == len ? 0 : -EIO;
}

/* Packets of more than MTU bytes in pieces: nobody on their way makes them of one of IPv6, and the
 * raw socket of neither. */
struct pieces {
	uint8_t piece[MTU];
	const uint8_t *packet;
	size_t len, done;
	uint32_t id;
};

static void pieces_begin(struct pieces *p, const uint8_t *packet, size_t len)
{
	static _Atomic uint32_t ids;

	p->packet = packet;
	p->len = len;
	p->done = 0;
	p->id = ++ids;
}

/* The next one's size, 0 behind the last. */
static size_t pieces_next(struct pieces *p)
{
	return tun_packet_fragment(p->piece, p->packet, p->len, MTU, p->id, &p->done);
}

static int write_in_pieces(int fd, const uint8_t *packet, size_t len)
{
	struct pieces p;
	int error = 0;
	size_t n;

	pieces_begin(&p, packet, len);
	while (!error && (n = pieces_next(&p)) > 0)
		error = write_packet(fd, p.piece, n);
	return error;
}

static struct ip_addr source_of(const uint8_t *packet)
{
	return packet[0] >> 4 == 6 ? ip_addr_v6(packet + 8) : ip_addr_v4(packet + 12);
}

static int send_raw(struct inject *i, bool to_relay, const uint8_t *packet, size_t len)
{
	struct ip_port to = {0};
	struct sockaddr_storage sa;
	socklen_t sa_len;
	bool v6 = packet[0] >> 4 == 6;
	int fd = v6 ? (to_relay ? i->relay6 : i->raw6) : (to_relay ? i->relay4 : i->raw4);

	if (v6 && !i->has_raw6)
		return -EAFNOSUPPORT;
	to.addr = v6 ? ip_addr_v6(packet + 24) : ip_addr_v4(packet + 16);
	sa_len = ip_port_to_sockaddr(&to, &sa);
	return sendto(fd, packet, len, 0, (struct sockaddr *)&sa, sa_len) < 0 ? -errno : 0;
}

int inject_to_relay(struct inject *i, const uint8_t *packet, size_t len)
{
	return send_raw(i, true, packet, len);
}

int inject_raw(struct inject *i, const uint8_t *packet, size_t len)
{
	return send_raw(i, false, packet, len);
}

int inject_put_back(
	struct inject *i, int tun_fd, const uint8_t *packet, size_t len, unsigned ifindex, bool own)
{
	bool whole = packet[0] >> 4 == 4 || len <= MTU;
	const struct device *device;
	struct ip_addr source = source_of(packet);
	int error, fd;

	if (own)
		return send_raw(i, false, packet, len);
	pthread_rwlock_rdlock(&i->lock);
	device = ifindex ? find(i, ifindex) : find_by_source(i, &source);
	fd = device ? device->fd : tun_fd;
	error = whole ? write_packet(fd, packet, len) : write_in_pieces(fd, packet, len);
	pthread_rwlock_unlock(&i->lock);
	return error;
}

static int send_raw_in_pieces(struct inject *i, const uint8_t *packet, size_t len)
{
	struct pieces p;
	int error = 0;
	size_t n;

	pieces_begin(&p, packet, len);
	while (!error && (n = pieces_next(&p)) > 0)
		error = send_raw(i, false, p.piece, n);
	return error;
}

int inject_error(struct inject *i, int tun_fd, const uint8_t *packet, size_t len, unsigned ifindex)
{
	bool raw;

	pthread_rwlock_rdlock(&i->lock);
	raw = ifindex && i->raw_errors;
	pthread_rwlock_unlock(&i->lock);
	if (len <= MTU)
		return raw ? send_raw(i, false, packet, len) : write_packet(tun_fd, packet, len);
	return raw ? send_raw_in_pieces(i, packet, len) : write_in_pieces(tun_fd, packet, len);
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
