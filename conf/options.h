/* The option table: all that is known about an option stands in one row, and reading, defaults,
 * checks of single values and the man page follow from it. In paths, NAME stands for a name the
 * user chooses and [] for a place in a list. Rows of one section stand together; the names of all
 * sections are known before any is read. */
#ifndef TUNGATE_CONF_OPTIONS_H
#define TUNGATE_CONF_OPTIONS_H

#include "conf/conf_internal.h"

struct conf_option;

/* How a scalar becomes a value. read: 0, or -EINVAL with r->why (and perhaps r->allowed) set. node
 * is NULL for the text of a default. */
struct conf_type {
	const char *name;    /* as in the man page */
	const char *allowed; /* for messages, unless the option says more */
	size_t size_bytes;
	const void *unset; /* the value of an option without default; NULL: zeroes */
	int (*read)(struct conf_reader *r, const struct conf_option *o,
		const struct conf_node *node, const char *text, void *ret);
	bool words; /* the option's `allowed` are words, in the order of the values */
	bool map;   /* the value is a map, read from node; text is NULL */
};

enum conf_shape {
	CONF_MAP,	  /* options below; with a type, a scalar will do too */
	CONF_MAP_OR_MANY, /* options below, or values as of CONF_MANY */
	CONF_NAMED,	  /* a map of names; an array of items */
	CONF_ITEMS,	  /* a list of maps; an array of items; with a type, scalars will do too */
	CONF_ONE,
	CONF_MANY, /* one or a list; a pointer and a count, appended to */
	CONF_FOLD, /* one or a list, all read into the same value; fallback: words */
};

struct conf_option {
	const char *path;
	enum conf_shape shape;
	const struct conf_type *type;
	size_t offset;	      /* in struct config or the item */
	const char *fallback; /* default, as written; NULL: none */
	const char *allowed;  /* words of an enum in the order of its values, else text */
	int64_t min, max;     /* of numbers and times, in the unit stored; of texts, their length */
	bool zero;	      /* of times: 0 is allowed beside min to max */
	bool required, discard;
	bool single;	  /* ITEMS: one map (or scalar) will do too */
	bool append;	  /* ITEMS: behind those of other options with the same offset */
	size_t items_max; /* of lists; 0: as many as the file has room for */
	/* NAMED and ITEMS */
	size_t item_bytes, name_offset, place_offset; /* CONF_NOWHERE: has none */
	const char *text;
};

#define CONF_NOWHERE ((size_t)-1)

extern const struct conf_option conf_options[];
extern const size_t conf_options_n;

/* Is o directly below the section (NULL: the whole file)? Its own key then, else NULL. */
const char *conf_option_below(const struct conf_option *o, const struct conf_option *section);
/* The row for the items of a NAMED or ITEMS option. */
const struct conf_option *conf_option_item(const struct conf_option *o);

extern const struct conf_type conf_type_bool, conf_type_number, conf_type_workers, conf_type_enum,
	conf_type_choice, conf_type_bits, conf_type_builtin, conf_type_size, conf_type_share,
	conf_type_seconds, conf_type_seconds_or_off, conf_type_seconds_bound,
	conf_type_milliseconds, conf_type_milliseconds_or_off, conf_type_mark, conf_type_path,
	conf_type_path_placed, conf_type_octal, conf_type_text, conf_type_tun, conf_type_interface,
	conf_type_uid, conf_type_gid, conf_type_group, conf_type_cgroup, conf_type_prefix,
	conf_type_address, conf_type_pool4, conf_type_pool6, conf_type_ecs, conf_type_listener,
	conf_type_server, conf_type_server_url, conf_type_pin, conf_type_bind, conf_type_domain,
	conf_type_except, conf_type_rrtype, conf_type_nftset, conf_type_nftmap, conf_type_ipset,
	conf_type_set_ttl, conf_type_set_timeout, conf_type_rule, conf_type_upstream,
	conf_type_egress, conf_type_list, conf_type_list_file, conf_type_list_path,
	conf_type_list_tag, conf_type_name, conf_type_client, conf_type_rule_client,
	conf_type_relay_client, conf_type_sniff, conf_type_proxy, conf_type_password_file,
	conf_type_record, conf_type_rule_record;

enum {
	CONF_DOMAIN_MAX = 253,
	CONF_REGEXP_MAX = 4096,
	CONF_SECRET_MAX = 255 /* RFC 1929, section 2 */
};

/* Digits at *p, which moves behind them. -EINVAL: none; -ERANGE: more than max. */
int conf_digits_read(const char **p, int64_t max, int64_t *ret);
/* A copy of text to the char * at ret. -ENOMEM. */
int conf_text_store(struct conf_reader *r, const char *text, void *ret);
/* An absolute path, from the file's folder, in r->scratch. NULL: no memory. */
const char *conf_path_absolute(struct conf_reader *r, const char *text);
/* A domain name in lower case without trailing dot to out[CONF_DOMAIN_MAX + 1]. */
int conf_domain_canonical(struct conf_reader *r, const char *text, char *out);
/* What the kernel takes as the name of a device. */
bool conf_is_interface(const char *text, size_t len);
/* Room for one more at the end of v, an array in r->arena that has n and was made by this alone.
 * NULL: no memory. */
void *conf_array_room(struct conf_reader *r, void *v, size_t n, size_t size);
/* Appends a copy in r->arena. -ENOMEM. */
int conf_strings_add(struct conf_reader *r, struct conf_strings *strings, const char *text);
int conf_prefix_add(
	struct conf_reader *r, struct conf_prefixes *prefixes, const struct ip_prefix *prefix);
int conf_mac_add(struct conf_reader *r, struct conf_who *who, const struct conf_mac *mac);
/* The index of a group in clients, -1: there is none of that name. Known before `clients` is read.
 */
int conf_client_group(struct conf_reader *r, const char *text);
/* HOST[:PORT] with an address or a name, which is in lower case then; the port is 0 if none is
 * written. */
int conf_host_port_read(struct conf_reader *r, const char *text, struct conf_proxy *ret);
/* No host name, for no top-level domain is a number: a mistyped address. */
bool conf_ends_in_number(const char *name);
/* Can something listen there? text is for the message. */
int conf_address_check(struct conf_reader *r, const char *text, const struct ip_port *at);
bool conf_address_is_any(const struct ip_addr *a);
/* Sets r->why; returns -EINVAL. */
int conf_wrong(struct conf_reader *r, const char *format, ...)
	__attribute__((format(printf, 2, 3)));

#endif
