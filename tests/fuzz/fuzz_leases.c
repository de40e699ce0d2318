/* Lease files are written by a DHCP server from what strangers tell it. Whatever the bytes: no
 * harm, and each name that an address has is held, has that address, and lies in our own zone. */
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include "gateway/policy/leases.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_name(const struct leases *l, const struct dns_name *name, const struct ip_addr *a,
	const struct dns_name *domain)
{
	struct ip_addr found[64];
	size_t n = leases_addresses(l, name, a->family, found, 64), i = 0;

	while (i < n && !ip_addr_equal(&found[i], a))
		i++;
	if (i == n || !leases_hold(l, name) || !dns_name_is_below(name, domain))
		abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	char path[64], *paths[1] = {path}, lan[] = "lan";
	struct conf_leases c = {.files = {paths, 1}, .domain = lan};
	struct dns_name domain;
	struct leases *l;
	int fd = memfd_create("leases", MFD_CLOEXEC);

	if (fd < 0 || write(fd, data, size) != (ssize_t)size || dns_name_parse(lan, 3, &domain))
		abort();
	(void)snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
	if (leases_read(&c, 1700000000, NULL, &l))
		abort();
	for (unsigned i = 0; i < 512; i++) {
		struct ip_addr a = {{192, 168, 1, (uint8_t)i}, IP_V4};
		const struct dns_name *name;

		if (i >= 256)
			a = (struct ip_addr){{0xfd, [3] = 1, [15] = (uint8_t)i}, IP_V6};
		name = leases_name(l, &a);
		if (name)
			check_name(l, name, &a, &domain);
	}
	leases_unref(l);
	(void)close(fd);
	return 0;
}
