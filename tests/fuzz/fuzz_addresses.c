/* The file of servers' addresses. Whatever the bytes: all of it is taken or nothing; what is taken
 * could be a server's, and is written as it would be read again. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "gateway/resolve/resolve_internal.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void require(bool holds)
{
	if (!holds)
		abort();
}

static struct server *server_of(const char *group, const char *host)
{
	struct server *s = aligned_alloc(_Alignof(struct server), sizeof *s);

	require(s);
	memset(s, 0, sizeof *s);
	s->group = (char *)group;
	s->host = (char *)host;
	server_addresses_init(s, NULL);
	return s;
}

#define SERVERS 3

static void groups_make(struct resolve_groups *g, struct group *group, struct server **servers)
{
	servers[0] = server_of("one", "dns.test");
	servers[1] = server_of("one", "other.test");
	servers[2] = server_of("two", "dns.test");
	group[0] = (struct group){.name = (char *)"one", .servers = servers, .n_servers = 2};
	group[1] = (struct group){.name = (char *)"two", .servers = servers + 2, .n_servers = 1};
	g->groups = group;
	g->n_groups = 2;
}

static void groups_drop(struct server **servers)
{
	for (size_t i = 0; i < SERVERS; i++) {
		server_addresses_fini(servers[i]);
		free(servers[i]);
	}
}

static size_t known(struct server *s, struct ip_addr *v)
{
	size_t n = server_addresses_get(s, v);

	require(n <= SERVER_ADDRESSES_MAX);
	for (size_t i = 0; i < n; i++)
		require(server_address_is_usable(&v[i]));
	return n;
}

/* What a writes, b reads. */
static void write_and_read(struct resolve_groups *a, struct server **of_a, size_t total)
{
	static struct resolve_groups b;
	struct group group[2];
	struct server *of_b[SERVERS];
	char path[64];

	groups_make(&b, group, of_b);
	(void)snprintf(path, sizeof path, "/tmp/fuzz-addresses-%d", (int)getpid());
	require(resolve_addresses_save(a, path) == 0);
	require(resolve_addresses_load(&b, path) == (total ? 0 : -ENOENT));
	for (size_t i = 0; i < SERVERS; i++) {
		struct ip_addr v[SERVER_ADDRESSES_MAX], w[SERVER_ADDRESSES_MAX];
		size_t n = known(of_a[i], v);

		require(known(of_b[i], w) == n);
		for (size_t k = 0; k < n; k++)
			require(ip_addr_equal(&v[k], &w[k]));
	}
	(void)unlink(path);
	groups_drop(of_b);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct resolve_groups g;
	struct group group[2];
	struct server *servers[SERVERS];
	char path[64];
	size_t total = 0;
	int fd = memfd_create("addresses", MFD_CLOEXEC), err;

	require(fd >= 0 && write(fd, data, size) == (ssize_t)size);
	(void)snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
	groups_make(&g, group, servers);
	err = resolve_addresses_load(&g, path);
	require(err == 0 || err == -EBADMSG);
	for (size_t i = 0; i < SERVERS; i++) {
		struct ip_addr v[SERVER_ADDRESSES_MAX];

		total += known(servers[i], v);
	}
	require(!err || !total);
	write_and_read(&g, servers, total);
	groups_drop(servers);
	(void)close(fd);
	return 0;
}
