/* geoip.dat of the v2ray family: categories of prefixes.
 *
 *   GeoIPList { repeated GeoIP entry = 1 }
 *   GeoIP     { string country_code = 1; repeated CIDR cidr = 2; bool inverse_match = 3 }
 *   CIDR      { bytes ip = 1; uint32 prefix = 2 }
 *
 * Read as a stream, as geosite.dat is. */
#include <errno.h>

#include "gateway/lists/list_category.h"
#include "gateway/lists/list_range.h"

enum { GEOIP_CIDR = 2, GEOIP_INVERSE = 3 };
enum { CIDR_IP = 1, CIDR_PREFIX = 2 };

struct cidr {
	uint8_t ip[16];
	uint64_t size, bits; /* size: of ip, or what it should have been */
};

static int cidr_read(struct list_wire *w, uint64_t end, struct cidr *ret)
{
	struct list_proto_field field;
	int more;

	*ret = (struct cidr){0};
	while ((more = list_proto_next(w, end, &field)) > 0) {
		int err = 0;

		if (field.number == CIDR_PREFIX && !field.has_bytes) {
			ret->bits = field.value;
		} else if (field.number == CIDR_IP && field.has_bytes) {
			ret->size = field.value;
			err = ret->size <= sizeof ret->ip
				      ? list_wire_bytes(w, ret->ip, (size_t)ret->size)
				      : list_proto_skip(w, &field);
		} else {
			err = list_proto_skip(w, &field);
		}
		if (err)
			return err;
	}
	return more;
}

static int cidr_emit(struct list_reader *r, const struct cidr *cidr)
{
	struct ip_prefix prefix;

	if (list_range_prefix(cidr->ip, (size_t)cidr->size, cidr->bits, &prefix)) {
		list_bad(r, 1, "not a prefix: an address has 4 or 16 bytes, a length no more bits");
		return 0;
	}
	return list_emit_prefix(r, &prefix);
}

static int geoip_read(struct list_reader *r, struct list_wire *w, uint64_t end)
{
	struct list_proto_field field;
	int more;

	while ((more = list_proto_next(w, end, &field)) > 0) {
		struct cidr cidr;
		int err;

		if (field.number == GEOIP_INVERSE && !field.has_bytes && field.value)
			return list_broken(r, 0, 1,
				"the category means all addresses but these (inverse_match) and "
				"cannot be used");
		if (field.number != GEOIP_CIDR || !field.has_bytes) {
			err = list_proto_skip(w, &field);
		} else {
			list_item_begin(r);
			err = cidr_read(w, w->at + field.value, &cidr);
			if (!err)
				err = cidr_emit(r, &cidr);
			list_item_end(r);
		}
		if (err)
			return err;
	}
	return more;
}

int list_geoip_pull(struct list_reader *r, struct list_bytes *in)
{
	return list_category_read(r, in, geoip_read);
}
