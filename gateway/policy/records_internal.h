/* What the files of the records share.
 *
 * records_json.c (of a file) with records_record.c (of one record) and records_hosts.c turn texts
 * into parsed records, records_rdata.c the objects that JSON has for data into text; records_read.c
 * says what is read and in which order; records_build.c makes the table; records.c looks up;
 * records_store.c keeps what was pushed.
 *
 * The table: each name is a node, and so is each name above one (an empty non-terminal, RFC 4592
 * 2.2.2), up to the root, so that a walk from the root down ends at the closest encloser. A node
 * holds its records, in the order in which they were written:
 *
 *	node:   name length (1) · flags (1) · records (2) · name · records
 *	record: type (2) · data length (2) · TTL (4) · flags (1) · [lines (8)] · data
 *
 * all in host order and without gaps, so that a record costs little more than its data. */
#ifndef TUNGATE_POLICY_RECORDS_INTERNAL_H
#define TUNGATE_POLICY_RECORDS_INTERNAL_H

#include <endian.h>
#include <stdatomic.h>
#include <string.h>

#include "gateway/base/arena.h"
#include "gateway/match/addresses.h"
#include "gateway/policy/records.h"

struct json_object;

#define RECORD_KEYS "name, type, ttl, rdata, labels, status"

#define RECORDS_FILE_MAX    (64u << 20) /* bytes */
#define RECORDS_STORE_MAX   (16u << 20)
#define RECORDS_LINES_MAX   64u	   /* bits of a set of lines */
#define RECORDS_NAME_MAX    4096u  /* records of one name; more fit into no answer */
#define RECORDS_DATA_MAX    65200u /* bytes; with header, question, name and OPT still an answer */
#define RECORDS_SOURCES_MAX 1024u  /* that push */
#define RECORDS_SOURCE_MAX  128u   /* bytes of a source's name */
#define RECORDS_TOLD_MAX    100u   /* complaints of one reading */
#define RECORDS_ALL_LINES   UINT64_MAX
#define RECORDS_NO_INDEX    UINT32_MAX /* in a file without an array */

/* --- the table --- */

enum {
	NODE_WILDCARD = 1, /* a node "*" is right below */
	NODE_OURS = 2,	   /* has A, AAAA or CNAME, for whomever */
	NODE_LINES = 4,	   /* has labelled records */
};
enum { RECORD_LINES = 1, RECORD_DENY = 2 };

#define NODE_HEAD   4
#define RECORD_HEAD 9

struct records_slot {
	uint32_t tag; /* of the name's hash */
	uint32_t at;  /* of the node; 0: empty (the root has no slot) */
};

struct records {
	_Atomic unsigned refs;
	bool whole, no_line_none;
	bool wildcards; /* there is one */
	uint8_t *nodes; /* the root first */
	size_t nodes_size;
	struct records_slot *slots;
	uint32_t n_slots;
	size_t n_records, n_nodes;
	struct addresses *lines; /* list i: line i; NULL: none */
};

/* n (1 to 8) bytes at b[at] as a little-endian number; reads inside b[256] only. */
static inline uint64_t records_word(const uint8_t *b, size_t at, size_t n)
{
	size_t base = at > 248 ? 248 : at;
	uint64_t word;

	memcpy(&word, b + base, sizeof word);
	word = le64toh(word) >> 8 * (at - base);
	return n == 8 ? word : word & ((1ULL << 8 * n) - 1);
}

static inline uint64_t records_hash_word(uint64_t hash, uint64_t word)
{
	hash = (hash ^ word) * 0x9e3779b97f4a7c15ULL;
	return hash ^ hash >> 32;
}

/* The hash of a name is made label by label from the right: that of what is behind the label at
 * name->b[at], and the label. */
static inline uint64_t records_hash_label(uint64_t hash, const uint8_t *b, size_t at)
{
	size_t end = at + b[at] + 1u;

	for (; end - at > 8; at += 8)
		hash = records_hash_word(hash, records_word(b, at, 8));
	return records_hash_word(hash, records_word(b, at, end - at));
}

/* That of the label "*" in front of a name. */
static inline uint64_t records_hash_wildcard(uint64_t hash)
{
	return records_hash_word(hash, 1 | (uint64_t)'*' << 8);
}

static inline uint32_t records_tag(uint64_t hash)
{
	return (uint32_t)((hash * 0xd6e8feb86659fd93ULL) >> 32);
}

static inline uint32_t records_slot_of(uint32_t tag, uint32_t n_slots)
{
	return (uint32_t)((uint64_t)tag * n_slots >> 32);
}

/* --- reading --- */

/* Where records come from. */
struct records_origin {
	const char *path; /* NULL: no file, positions say nothing */
	const char *key;  /* before the index: "records" */
	int source;	  /* of the pushed ones: which, else -1 */
};

struct records_source {
	const char *name;
	bool dropped; /* something in it is wrong: all of it is left out */
	bool trial;   /* what is wrong in it is an error */
};

struct record_parsed {
	const uint8_t *name, *rdata;
	uint64_t lines; /* 0: for all */
	uint32_t ttl_s, order;
	uint32_t line, column, index;
	uint16_t type, len; /* type 0 of a denial: all */
	uint16_t origin;
	uint8_t name_len;
	bool deny, weak; /* weak: gives way to a record that was written */
};

struct records_reading {
	struct arena *arena;
	struct record_parsed *v;
	size_t n, room;
	struct records_origin *origins;
	size_t n_origins, origins_room;
	struct records_source *sources;
	size_t n_sources, sources_room;
	const char *line_names[RECORDS_LINES_MAX];
	size_t n_lines;
	struct addresses_builder *lines;
	uint32_t ttl_s;
	const struct list_sink *complain;
	unsigned errors; /* that make the reading fail */
	unsigned told;
	uint8_t *rdata; /* DNS_RDATA_MAX bytes to read data into */
	bool nameless;	/* records of a rule */
	/* What is being read. */
	uint16_t origin;
	unsigned index, line, column;
	const char *element; /* its text, NULL: positions in it say nothing */
	size_t element_len;
};

int records_reading_init(struct records_reading *r, const struct list_sink *complain);
void records_reading_fini(struct records_reading *r);
/* What follows comes from there. -ENOMEM; -ENOSPC: too many origins. */
int records_origin_set(struct records_reading *r, const char *path, const char *key, int source);
/* Something is wrong in the record that is being read: told, and counted as an error, or its source
 * is dropped. member: "rdata", NULL: the record as a whole. */
__attribute__((format(printf, 3, 4))) void records_bad(
	struct records_reading *r, const char *member, const char *format, ...);
/* Where a member of the record that is being read stands; NULL: the record. */
void records_member_place(const struct records_reading *r, const char *member, unsigned *ret_line,
	unsigned *ret_column);
/* The same for a record that was read before. */
__attribute__((format(printf, 3, 4))) void records_bad_at(
	struct records_reading *r, const struct record_parsed *at, const char *format, ...);
/* So much is wrong, or the source is left out: the rest need not be read. */
bool records_hopeless(const struct records_reading *r);
/* A parsed record; name, data are copied. -ENOMEM, -ENOSPC (told). */
int records_add(struct records_reading *r, const struct record_parsed *record);

/* A record as json-c has it. 0 also if something was told. */
int records_json_record(struct records_reading *r, struct json_object *object);
bool records_json_is_text(struct json_object *value); /* without a NUL in it */
/* A text of JSON: an array of records, or one. text[len] is 0. 0 also if something was told. */
int records_json_read(struct records_reading *r, const char *text, size_t len);
/* One record of the configuration; line and column are where it stands. */
int records_json_one(struct records_reading *r, const char *text, unsigned index, unsigned line,
	unsigned column);
/* The seed's {"line1": ["192.0.2.0/24"]}. */
int records_json_lines(struct records_reading *r, const char *text, size_t len);
/* {"SOURCE": [records]}: visit is given each source's name and its array's text. -EBADMSG and
 * *ret_at if the text is not like this. */
typedef int records_source_visit(
	void *arg, const char *name, const char *text, size_t len, unsigned line, unsigned column);
int records_json_sources(
	const char *text, size_t len, records_source_visit *visit, void *arg, size_t *ret_at);
/* One array and nothing behind it, as far as brackets tell. */
bool records_json_is_array(const char *text, size_t len);
/* Records of an array that stands at line and column of the file. */
int records_json_array(
	struct records_reading *r, const char *text, size_t len, unsigned line, unsigned column);

/* A text being made; zero-initialise. b[n] is 0 once anything was put. */
struct records_text {
	char *b;
	size_t n, room;
	bool failed; /* no memory */
};
void records_text_put(struct records_text *t, const char *bytes, size_t n);

int records_hosts_read(struct records_reading *r, const char *text, size_t len);

/* The text that dns_rdata_parse() takes, of the object that JSON has for data. The caller frees it.
 * -EINVAL: told. */
int records_rdata_text(struct records_reading *r, uint16_t type, struct json_object *object,
	char **ret, size_t *ret_len);

/* A line's number, added if it is new and `add`; -1: no such line, or too many. */
int records_line(struct records_reading *r, const char *name, size_t len, bool add);

/* Makes the table of what was read. 0, also if something was told: see errors. */
int records_build(struct records_reading *r, struct records **ret);

/* As records_read(), with this text of the store (NULL: what its file holds); what is wrong in
 * `trial` (NULL: none) is an error, told without a position. */
int records_read_with(const struct conf_records *c, const struct list_sink *complain,
	const char *store, const char *trial, struct records **ret);

#endif
