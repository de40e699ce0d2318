/* DHCP leases: names of the LAN that are never faked, and what they answer. Read from the lease
 * files of dnsmasq and odhcpd; which of them a file is, its content tells. Immutable, shared by
 * reference; a changed file makes a new one.
 *
 * A host is known by its name and, with `domain: lan`, by NAME.lan; it has any number of addresses
 * of both families. Leases that have expired are left out when the file is read (expiry 0: never).
 */
#ifndef TUNGATE_POLICY_LEASES_H
#define TUNGATE_POLICY_LEASES_H

#include "conf/config.h"
#include "gateway/base/addr.h"
#include "gateway/dns/name.h"
#include "gateway/lists/lists.h"

struct leases;

/* A file that is not there yet is no error (the DHCP server has given nothing out); what is wrong
 * in one goes through complain, as for lists, and what could be read is taken. now_s: wall clock.
 * -ENOMEM. */
int leases_read(const struct conf_leases *c, int64_t now_s, const struct list_sink *complain,
	struct leases **ret);
struct leases *leases_ref(struct leases *l);
void leases_unref(struct leases *l); /* NULL is fine */
/* One of the files is not as it was read: leases_read() again. */
bool leases_changed(const struct leases *l);

/* The name is a lease's. */
bool leases_hold(const struct leases *l, const struct dns_name *name);
/* Its addresses of this family: up to max into ret, returns how many. */
size_t leases_addresses(const struct leases *l, const struct dns_name *name, uint8_t family,
	struct ip_addr *ret, size_t max);
/* The name (with the domain) that has this address, NULL: none. For PTR. */
const struct dns_name *leases_name(const struct leases *l, const struct ip_addr *a);
/* Does a host of this name (with or without the domain) have this address, or one of its leases
 * this MAC address (6 bytes; NULL: not known)? So a client is known by its IPv4 lease also when it
 * asks from an IPv6 address that it made itself. Whoever asks for a lease chooses its name. l NULL:
 * no. */
bool leases_client_is(
	const struct leases *l, const char *host, const struct ip_addr *addr, const uint8_t *mac);
bool leases_answer(const struct leases *l); /* `answer: yes` */
size_t leases_count(const struct leases *l);

#endif
