/* Domain names in wire form (RFC 1035 3.1): length-prefixed labels, ended by the root label; at
 * most 255 bytes. Pure. A name inside the house is always uncompressed; `struct dns_name` is also
 * lower-cased (RFC 4343), so that two of them are the same name exactly if their bytes are. */
#ifndef TUNGATE_DNS_NAME_H
#define TUNGATE_DNS_NAME_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define DNS_NAME_MAX	  255  /* RFC 1035 2.3.4 */
#define DNS_NAME_TEXT_MAX 1025 /* every byte escaped as \DDD, dots, NUL */

/* Lower-cased, uncompressed. The bytes behind len up to the next multiple of 8 are zero, so that
 * names can be hashed and compared in words. */
struct dns_name {
	_Alignas(8) uint8_t b[256];
	uint8_t len;	/* with the root label: 1 for the root */
	uint8_t labels; /* without the root label: 0 to 127 */
};

/* Reads the name at msg[*off], follows pointers backwards only (RFC 1035 4.1.4), lower-cases it
 * into ret and moves *off behind it. -EBADMSG: truncated, looping, forward pointer, reserved label
 * type or too long. */
int dns_name_read(const uint8_t *msg, size_t len, size_t *off, struct dns_name *ret);
/* Moves *off behind the name without reading it. -EBADMSG as above, except that pointers are not
 * followed. */
int dns_name_skip(const uint8_t *msg, size_t len, size_t *off);

/* Text as users write it: "a.test" or "a.test.", \DDD and \X escapes; "." is the root. -EINVAL. */
int dns_name_parse(const char *text, size_t len, struct dns_name *ret);
/* Without the trailing dot, but "." for the root; returns buf[DNS_NAME_TEXT_MAX]. wire must be a
 * whole, valid, uncompressed name. */
const char *dns_name_format(const uint8_t *wire, char *buf);

bool dns_name_equal(const struct dns_name *a, const struct dns_name *b);
/* Is name zone itself or below it? By labels: "guru" is not below "ru". */
bool dns_name_is_below(const struct dns_name *name, const struct dns_name *zone);
/* 64 bits, keyed (the key comes from the kernel's randomness, so that clients cannot aim at one
 * bucket). */
uint64_t dns_name_hash(const struct dns_name *name, uint64_t key);

/* The name of a reverse question: in-addr.arpa (RFC 1035 3.5) or ip6.arpa (RFC 3596 2.5). True and
 * the address (4 or 16 bytes, size in *ret_size) only for a whole address. */
bool dns_name_reverse_address(
	const struct dns_name *name, uint8_t ret_address[16], size_t *ret_size);

#endif
