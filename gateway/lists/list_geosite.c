/* geosite.dat of the v2ray family: categories of domains.
 *
 *   GeoSiteList { repeated GeoSite entry = 1 }
 *   GeoSite     { string country_code = 1; repeated Domain domain = 2 }
 *   Domain      { Type type = 1; string value = 2; repeated Attribute attribute = 3 }
 *   Attribute   { string key = 1; oneof { bool = 2; int64 = 3 } }
 *
 * Files are read as a stream: one category out of 1,500 costs its own domains and no more. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "gateway/lists/list_category.h"
#include "gateway/match/patterns.h"

enum { SITE_DOMAIN = 2 };
enum { DOMAIN_TYPE = 1, DOMAIN_VALUE = 2, DOMAIN_ATTRIBUTE = 3 };
enum { ATTRIBUTE_KEY = 1 };
/* What the value is. The first is what a missing field means. */
enum { TYPE_KEYWORD, TYPE_REGEXP, TYPE_DOMAIN, TYPE_FULL };

#define ATTRIBUTE_MAX 64 /* bytes of a key that can be asked for */

struct domain {
	uint64_t type;
	bool too_long, has_attribute; /* the one that is asked for */
	size_t len;
	char value[PATTERNS_REGEXP_MAX + 1];
};

static int attribute_read(
	struct list_reader *r, struct list_wire *w, uint64_t end, struct domain *domain)
{
	struct list_proto_field field;
	int more;

	while ((more = list_proto_next(w, end, &field)) > 0) {
		char key[ATTRIBUTE_MAX + 1] = "";
		int err;

		if (field.number != ATTRIBUTE_KEY || !field.has_bytes ||
			field.value > ATTRIBUTE_MAX) {
			err = list_proto_skip(w, &field);
		} else {
			err = list_wire_bytes(w, key, (size_t)field.value);
			if (!err && strcasecmp(key, r->source->attribute) == 0)
				domain->has_attribute = true;
		}
		if (err)
			return err;
	}
	return more;
}

static int domain_read(struct list_reader *r, struct list_wire *w, uint64_t end, struct domain *ret)
{
	struct list_proto_field field;
	int more;

	ret->type = TYPE_KEYWORD;
	ret->len = 0;
	ret->too_long = ret->has_attribute = false;
	while ((more = list_proto_next(w, end, &field)) > 0) {
		int err = 0;

		if (field.number == DOMAIN_TYPE && !field.has_bytes) {
			ret->type = field.value;
		} else if (field.number == DOMAIN_VALUE && field.has_bytes) {
			ret->too_long = field.value >= sizeof ret->value;
			ret->len = ret->too_long ? 0 : (size_t)field.value;
			err = ret->too_long ? list_proto_skip(w, &field)
					    : list_wire_bytes(w, ret->value, ret->len);
		} else if (field.number == DOMAIN_ATTRIBUTE && field.has_bytes &&
			   r->source->attribute) {
			err = attribute_read(r, w, w->at + field.value, ret);
		} else {
			err = list_proto_skip(w, &field);
		}
		if (err)
			return err;
	}
	return more;
}

static int domain_emit(struct list_reader *r, const struct domain *domain)
{
	if (r->source->attribute && !domain->has_attribute) {
		list_passed(r);
		return 0;
	}
	if (domain->too_long) {
		list_bad(r, 1, "a value above 4 KiB");
		return 0;
	}
	switch (domain->type) {
	case TYPE_KEYWORD:
		return list_emit_keyword(r, LIST_HOLDS, domain->value, domain->len);
	case TYPE_REGEXP:
		return list_emit_regexp(r, LIST_HOLDS, domain->value, domain->len);
	case TYPE_DOMAIN:
		return list_emit_name(r, LIST_HOLDS, MATCHER_SUFFIX, domain->value, domain->len);
	case TYPE_FULL:
		return list_emit_name(r, LIST_HOLDS, MATCHER_EXACT, domain->value, domain->len);
	default:
		list_bad(r, 1, "a domain of an unknown type");
		return 0;
	}
}

static int site_read(struct list_reader *r, struct list_wire *w, uint64_t end)
{
	struct domain *domain = malloc(sizeof *domain);
	struct list_proto_field field;
	int more, err = 0;

	if (!domain)
		return -ENOMEM;
	while (!err && (more = list_proto_next(w, end, &field)) > 0) {
		if (field.number != SITE_DOMAIN || !field.has_bytes) {
			err = list_proto_skip(w, &field);
			continue;
		}
		list_item_begin(r);
		err = domain_read(r, w, w->at + field.value, domain);
		if (!err)
			err = domain_emit(r, domain);
		list_item_end(r);
	}
	free(domain);
	return err ? err : more;
}

int list_geosite_pull(struct list_reader *r, struct list_bytes *in)
{
	return list_category_read(r, in, site_read);
}
