/* The types of fields that a template can fill, and literals made into their bytes as nft itself
 * writes them. Pure; any thread. */
#ifndef TUNGATE_NETLINK_SET_LITERAL_H
#define TUNGATE_NETLINK_SET_LITERAL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {			   /* nft's numbers of data types (enum datatypes of its datatype.h) */
	SET_TYPE_NONE = 0, /* made by a program that names none */
	SET_TYPE_INTEGER = 4,
	SET_TYPE_IPADDR = 7,
	SET_TYPE_IP6ADDR = 8,
};
#define SET_TYPE_BITS 6 /* of each field in the type of a concatenation */

struct set_field {
	uint32_t type;
	uint8_t size;
	bool host_order; /* an integer without a type of its own */
	/* Of a set of intervals: all numbers are, whatever their type says, so that ranges compare;
	 * nft's rules turn around what they look up. */
	bool network_order;
};

/* Bytes that elements of the type have; 0: the type does not tell, or is not known. */
uint8_t set_type_size(uint32_t type);
/* "a port", "an IPv4 address"; NULL: none that is known here. */
const char *set_type_text(uint32_t type);

/* Writes field->size bytes. -EINVAL: it is no such thing. Where no type is told (SET_TYPE_NONE) the
 * size and the literal decide. */
int set_literal_write(const struct set_field *field, const char *text, size_t len, uint8_t *ret);

#endif
