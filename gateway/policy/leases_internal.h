/* What reading leases and looking them up share. */
#ifndef TUNGATE_POLICY_LEASES_INTERNAL_H
#define TUNGATE_POLICY_LEASES_INTERNAL_H

#include "gateway/policy/leases.h"

#define LEASES_MAX	16384u /* of all files; the largest DHCP pool of a home is 65536 >> 2 */
#define LEASES_MAC_SIZE 6u

struct lease {
	struct dns_name name; /* with the domain */
	struct ip_addr addr;
	uint32_t order; /* in which it was read */
	bool has_mac;
	uint8_t mac[LEASES_MAC_SIZE];
};

struct lease_address {
	struct ip_addr addr;
	uint32_t order, lease; /* lease: which one */
};

struct lease_file {
	char *path;
	struct list_stamp stamp;
};

struct leases {
	_Atomic unsigned refs;
	bool answer;
	struct dns_name domain;		  /* len 0: none */
	struct lease *leases;		  /* by name, family and order */
	struct lease_address *by_address; /* by address and order */
	size_t n;
	struct lease_file *files;
	size_t n_files;
};

/* Reading all files of one struct leases, one after the other. */
struct leases_reading {
	struct leases *l;
	size_t room;
	int64_t now_s;
	const struct list_sink *complain;
	const char *path;
	unsigned line, skipped;
	/* The leases from here on are those of hosts lines whose lease has not come yet. */
	size_t pending;
	bool full;
};

/* Adds the leases of a file, in the order in which they stand there. A file that is not there, or
 * cannot be read, adds none. -ENOMEM. */
int leases_file_read(struct leases_reading *r, struct lease_file *file);

/* Puts the domain behind a name of one label. False: too long. */
bool leases_name_qualify(const struct leases *l, struct dns_name *name);

#endif
