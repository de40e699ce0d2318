/* Local records: what this host answers on its own, before any rule.
 *
 * Made from `records:` (files, inline) and from what was pushed over the socket; immutable, shared
 * by reference, any thread looks up without a lock. Names with wildcards by RFC 4592. A record may
 * be labelled with lines (groups of clients): it is for clients of that line only; clients of no
 * line get all (`no_line: all`) or the unlabelled ones (`none`). */
#ifndef TUNGATE_POLICY_RECORDS_H
#define TUNGATE_POLICY_RECORDS_H

#include "conf/config.h"
#include "gateway/base/addr.h"
#include "gateway/dns/record.h"
#include "gateway/lists/lists.h"

#define RECORDS_MAX (1u << 20)

struct records;

/* Reads files and inline records, and the pushed ones of the store (conf_records.store; may be
 * missing). complain: as for lists. -EINVAL after at least one error was told; -ENOMEM. What is
 * wrong in the store is a warning only: the source that it is of is left out. *ret is NULL if there
 * is no record. */
int records_read(
	const struct conf_records *c, const struct list_sink *complain, struct records **ret);
struct records *records_ref(struct records *r); /* NULL is fine */
void records_unref(struct records *r);		/* NULL is fine */
size_t records_count(const struct records *r);	/* 0 for NULL */

enum records_result {
	RECORDS_NONE,	/* the name is not ours */
	RECORDS_FOUND,	/* records of this type (or a CNAME): visit was called for each */
	RECORDS_NODATA, /* the name is ours, the type is not */
	RECORDS_DENY,	/* REFUSED */
	RECORDS_PASS,	/* ours, but other types pass on to the rules */
};
struct record {
	uint16_t type;
	uint32_t ttl_s;
	const uint8_t *rdata;
	size_t len;
};
typedef void records_visit(void *arg, const struct record *record);
/* What the name answers for a question of this type (ANY: all) by this client (IP_NONE: of no
 * line). A name that has A, AAAA or a CNAME for anybody is ours: its other family and types 64 and
 * 65 are NODATA, further types pass on unless `whole`. Records that the client's lines leave out
 * are not there for it: NODATA. r NULL: RECORDS_NONE. No allocation. */
enum records_result records_find(const struct records *r, const struct dns_name *name,
	uint16_t type, const struct ip_addr *client, records_visit *visit, void *arg);
/* Does the name, or one below it, have a record? For built-in zones that give way. */
bool records_hold(const struct records *r, const struct dns_name *name);

/* The records of a rule (`answer: local` with records): texts as in conf_record, owned by whatever
 * name is asked; path: of the configuration, for complaints. -EINVAL after at least one; -ENOMEM.
 */
int records_rule_read(const struct conf_record *v, size_t n, const char *path, uint32_t ttl_s,
	const struct list_sink *complain, struct records **ret);
enum records_result records_rule_find(
	const struct records *r, uint16_t type, records_visit *visit, void *arg);

/* --- pushed ones: all of a source or nothing --- */

#define RECORDS_WHY_MAX 512 /* bytes that hold most reasons */

/* Checks the JSON array (the text of `records` of the command), also against all other records of
 * c, and writes the store with the records of `source` replaced; NULL deletes them. The caller then
 * reads again and swaps. A store that cannot be read is kept aside as STORE.broken. -EINVAL and
 * ret_why (size bytes): what is wrong, as "records[3].rdata: …"; -ENOENT: nothing to delete; else
 * the error of the disk, ret_why tells it: the store is as it was. */
int records_store_set(const struct conf_records *c, const char *source, const char *json,
	char *ret_why, size_t size);
/* The JSON of all pushed records: {"SOURCE": [..]}; the caller frees. "{}" if there is no store;
 * -EBADMSG if it is broken; the error of the disk. */
int records_store_list(const char *path, char **ret_json);

#endif
