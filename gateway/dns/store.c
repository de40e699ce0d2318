/* A response becomes a stored message. First a look at all its records: which go, what their TTLs
 * are to be. Then it is copied: in one piece if what goes stands at the end, as an OPT nearly
 * always does, else record by record with the names in full, because pointers do not survive that
 * what they lead to moves.
 *
 * A name may, against all sense, run through the fixed fields of a record; it would change with the
 * TTL. So a message is copied in one piece only if all its pointers lead to labels of names. */
#include "gateway/dns/stored.h"

#include <errno.h>

#include "gateway/dns/dns_internal.h"

#define RECORDS_MAX (DNS_MESSAGE_MAX / 11) /* none is shorter */
#define SETS_MAX    64			   /* the last one is that of all others */
#define GONE	    255			   /* the set of a record that is left out */
#define POINTED_MAX 0x4000		   /* no pointer reaches farther */

enum {
	TYPE_SIG = 24,
	TYPE_RRSIG = 46,
	TYPE_TSIG = 250,
};

struct set {
	uint64_t owner; /* its hash */
	uint32_t ttl_s; /* the least */
	uint16_t type, class, covered;
	bool is_answer, is_soa;
};

struct store {
	const uint8_t *msg;
	size_t len;
	const struct dns_store_how *how;
	struct dns_stored_info *info;
	struct dns_name name; /* the question's */
	uint64_t name_hash;
	uint16_t type;
	size_t question_end, kept_end; /* kept_end: of the last record that stays */
	unsigned counts[3], kept[3];   /* records of the sections */
	bool rebuild;
	unsigned n_sets;
	struct set sets[SETS_MAX];
	uint8_t set[RECORDS_MAX]; /* of each record */
	uint8_t labels[POINTED_MAX / 8];
};

/* --- the look --- */

static void note_label(struct store *s, size_t at)
{
	if (at < POINTED_MAX)
		s->labels[at / 8] |= (uint8_t)(1 << at % 8);
}

/* Notes where the labels of a name start. False: its pointer leads to none that was noted. */
static bool note_labels(struct store *s, size_t at)
{
	const uint8_t *msg = s->msg;
	size_t target;

	for (; msg[at] && msg[at] < 0xc0; at += msg[at] + 1u)
		note_label(s, at);
	note_label(s, at); /* the root, or a pointer */
	if (!msg[at])
		return true;
	target = (size_t)(msg[at] & 0x3f) << 8 | msg[at + 1];
	return target < at && s->labels[target / 8] & 1 << target % 8;
}

/* False: the record's names depend on bytes that are no names. */
static bool note_names(struct store *s, const size_t at[DNS_RECORD_NAMES], int n)
{
	bool sound = true;

	for (int i = 0; i < n; i++)
		sound = note_labels(s, at[i]) && sound;
	return sound;
}

static bool owner_hash(const struct store *s, const struct dns_record *rec, uint64_t *ret)
{
	struct dns_name owner;
	size_t off = rec->owner;

	*ret = s->name_hash;
	if (s->msg[off] == 0xc0 && s->msg[off + 1] == DNS_HEADER_SIZE)
		return true;
	if (dns_name_read(s->msg, s->len, &off, &owner))
		return false;
	*ret = dns_name_hash(&owner, 0);
	return true;
}

/* The RRset of a record: owner, type, class; signatures are of the type that they cover. When there
 * are too many, some are taken for one, whose TTL is the least of all. -EBADMSG. */
static int set_of(struct store *s, const struct dns_record *rec, uint32_t ttl_s)
{
	struct set want = {.ttl_s = ttl_s, .type = rec->type, .class = rec->class};
	unsigned i = 0;

	if (!owner_hash(s, rec, &want.owner))
		return -EBADMSG;
	if (rec->type == TYPE_RRSIG && rec->end - rec->data >= 2)
		want.covered = wire_get16(s->msg + rec->data);
	while (i < s->n_sets &&
		(s->sets[i].owner != want.owner || s->sets[i].type != want.type ||
			s->sets[i].class != want.class || s->sets[i].covered != want.covered))
		i++;
	if (i == SETS_MAX)
		i--;
	else if (i == s->n_sets)
		s->sets[s->n_sets++] = want;
	if (s->sets[i].ttl_s > ttl_s)
		s->sets[i].ttl_s = ttl_s;
	return (int)i;
}

static bool is_hop_by_hop(const uint8_t *msg, const struct dns_record *rec)
{
	switch (rec->type) {
	case DNS_OPT:
	case TYPE_TSIG:
		return true;
	case TYPE_SIG: /* SIG(0) covers no type (RFC 2931 3) */
		return rec->end - rec->data < 2 || wire_get16(msg + rec->data) == 0;
	default:
		return false;
	}
}

/* Is the record left out for its addresses? One that only loses hints has to be written anew. */
static bool is_dropped(struct store *s, const struct dns_record *rec)
{
	const struct dns_store_how *how = s->how;
	size_t size = rec->end - rec->data;
	int n;

	if (!how->drop || rec->class != DNS_CLASS_IN)
		return false;
	if (rec->type == DNS_A || rec->type == DNS_AAAA) {
		n = how->drop(how->arg, s->msg + rec->data, size);
		s->info->dropped += (unsigned)n;
		return n;
	}
	if (rec->type != DNS_SVCB && rec->type != DNS_HTTPS)
		return false;
	n = dns_svcb_dropped(s->msg, rec, how);
	if (n < 0) /* what a client would make of it is not known */
		return true;
	s->info->dropped += (unsigned)n;
	s->rebuild |= n > 0;
	return false;
}

/* Of a negative answer's SOA the least of TTL and MINIMUM (RFC 2308 5). */
static uint32_t record_ttl(const struct store *s, const struct dns_record *rec, bool soa)
{
	uint32_t ttl_s = dns_ttl_s(rec->ttl), minimum_s;

	if (!soa)
		return ttl_s;
	minimum_s = dns_ttl_s(wire_get32(s->msg + rec->end - 4));
	return minimum_s < ttl_s ? minimum_s : ttl_s;
}

static int look_at(struct store *s, const struct dns_record *rec, unsigned section, uint8_t *ret)
{
	size_t at[DNS_RECORD_NAMES];
	int names = dns_record_names(s->msg, rec, at), set;
	bool soa = section == 1 && s->info->negative && rec->type == DNS_SOA &&
		   rec->class == DNS_CLASS_IN;

	*ret = GONE;
	if (names < 0)
		return -EBADMSG;
	if (is_hop_by_hop(s->msg, rec))
		return rec->type == DNS_OPT && rec->ttl >> 24 ? -EBADMSG : 0; /* extended rcode */
	set = set_of(s, rec, record_ttl(s, rec, soa));
	if (set < 0)
		return set;
	s->sets[set].is_answer |= section == 0;
	s->sets[set].is_soa |= soa;
	if (is_dropped(s, rec))
		return 0;
	*ret = (uint8_t)set;
	s->rebuild |= s->kept_end != rec->owner;
	s->rebuild |= !note_names(s, at, names);
	s->kept_end = rec->end;
	s->kept[section]++;
	return 0;
}

/* NXDOMAIN, and NODATA: no record of the type that was asked for (RFC 2308 2). */
static bool is_negative(const struct store *s, bool has_type)
{
	return dns_message_rcode(s->msg) == DNS_NXDOMAIN ||
	       (dns_message_rcode(s->msg) == DNS_NOERROR && !has_type);
}

static int look(struct store *s)
{
	struct dns_reader r = {.msg = s->msg, .len = s->len, .off = s->question_end};
	bool has_type = false;
	struct dns_record rec;
	unsigned i = 0;

	for (unsigned section = 0; section < 3; section++) {
		for (unsigned n = 0; n < s->counts[section]; n++) {
			int e;

			if (i == RECORDS_MAX || !dns_reader_record(&r, &rec))
				return -EBADMSG;
			has_type |= section == 0 && (rec.type == s->type || s->type == DNS_ANY);
			e = look_at(s, &rec, section, &s->set[i++]);
			if (e)
				return e;
		}
		if (section == 0)
			s->info->negative = is_negative(s, has_type);
	}
	return 0;
}

/* --- times --- */

static uint32_t bounded(uint32_t ttl_s, const struct dns_store_how *how)
{
	ttl_s = ttl_s > how->age_s ? ttl_s - how->age_s : 0;
	if (ttl_s < how->ttl_min_s && (ttl_s || how->zero))
		ttl_s = how->ttl_min_s;
	return ttl_s < how->ttl_max_s ? ttl_s : how->ttl_max_s;
}

/* Final TTLs of the sets, and how long the whole may be kept. */
static void set_times(struct store *s)
{
	unsigned rcode = dns_message_rcode(s->msg);
	uint32_t life_s = UINT32_MAX;
	bool has_soa = false;

	for (unsigned i = 0; i < s->n_sets; i++) {
		struct set *set = &s->sets[i];

		set->ttl_s = bounded(set->ttl_s, s->how);
		if (set->is_soa && set->ttl_s > s->how->negative_max_s)
			set->ttl_s = s->how->negative_max_s;
		if ((set->is_answer || set->is_soa) && set->ttl_s < life_s)
			life_s = set->ttl_s;
		has_soa |= set->is_soa;
	}
	if (s->info->negative && life_s > s->how->negative_max_s)
		life_s = s->how->negative_max_s;
	if ((s->info->negative && !has_soa) || (rcode != DNS_NOERROR && rcode != DNS_NXDOMAIN) ||
		dns_message_flags(s->msg) & DNS_TC)
		life_s = 0;
	s->info->life_s = life_s;
}

/* --- the copy --- */

static void copy_head(uint8_t *buf, const struct store *s)
{
	unsigned kept = DNS_RD | DNS_CD | 15;

	if (s->info->dropped == 0) /* AD is for whole sets (RFC 4035 3.2.3) */
		kept |= DNS_AD;
	wire_put16(buf, 0);
	wire_put16(buf + 2, DNS_QR | DNS_RA | (dns_message_flags(s->msg) & kept));
	wire_put16(buf + 4, 1);
	for (size_t i = 0; i < 3; i++)
		wire_put16(buf + 6 + 2 * i, s->kept[i]);
	memcpy(buf + DNS_HEADER_SIZE, s->name.b, s->name.len);
	memcpy(buf + s->question_end - 4, s->msg + s->question_end - 4, 4);
}

/* Nothing moves. */
static int copy_whole(uint8_t *buf, size_t size, const struct store *s)
{
	struct dns_reader r = {.msg = buf, .len = s->kept_end, .off = s->question_end};
	struct dns_record rec;

	if (s->kept_end > size)
		return -ENOSPC;
	copy_head(buf, s);
	memcpy(buf + r.off, s->msg + r.off, s->kept_end - r.off);
	for (unsigned i = 0; r.off < r.len && dns_reader_record(&r, &rec); i++)
		wire_put32(buf + rec.ttl_at, s->sets[s->set[i]].ttl_s);
	return (int)s->kept_end;
}

struct copy {
	const struct store *s;
	uint8_t *buf;
	size_t size, len;
	struct dns_name owner; /* of the last record */
	size_t owner_at;
};

/* The owner, as a pointer if it is the question's or that of the record before. */
static int copy_owner(struct copy *c, size_t off)
{
	const struct store *s = c->s;
	struct dns_name lower, name;
	size_t again = off;
	bool asked;

	if (dns_name_read(s->msg, s->len, &off, &lower) ||
		dns_name_expand(s->msg, s->len, &again, &name))
		return -EBADMSG;
	asked = dns_name_equal(&lower, &s->name);
	if (asked || (dns_name_equal(&lower, &c->owner) && c->owner_at < POINTED_MAX)) {
		name.len = 2;
		wire_put16(name.b, 0xc000 | (unsigned)(asked ? DNS_HEADER_SIZE : c->owner_at));
	} else {
		c->owner = lower;
		c->owner_at = c->len;
	}
	if (c->size - c->len < name.len)
		return -ENOSPC;
	memcpy(c->buf + c->len, name.b, name.len);
	c->len += name.len;
	return 0;
}

/* out: NULL only counts. */
static size_t copy_data(
	const struct store *s, const struct dns_record *rec, uint8_t *out, bool *bad)
{
	bool svcb = rec->type == DNS_SVCB || rec->type == DNS_HTTPS;

	*bad = false;
	if (svcb && s->how->drop && rec->class == DNS_CLASS_IN)
		return dns_svcb_store(s->msg, rec, s->how, out);
	return dns_data_expand(s->msg, s->len, rec, out, bad);
}

static int copy_record(struct copy *c, const struct dns_record *rec, uint32_t ttl_s)
{
	int e = copy_owner(c, rec->owner);
	uint8_t *fixed = c->buf + c->len;
	size_t size;
	bool bad;

	if (e)
		return e;
	size = copy_data(c->s, rec, NULL, &bad);
	if (bad)
		return -EBADMSG;
	if (c->size - c->len < 10 + size)
		return -ENOSPC;
	wire_put16(fixed, rec->type);
	wire_put16(fixed + 2, rec->class);
	wire_put32(fixed + 4, ttl_s);
	wire_put16(fixed + 8, (unsigned)size);
	(void)copy_data(c->s, rec, fixed + 10, &bad);
	c->len += 10 + size;
	return 0;
}

static int copy_records(uint8_t *buf, size_t size, const struct store *s)
{
	struct dns_reader r = {.msg = s->msg, .len = s->len, .off = s->question_end};
	struct copy c = {
		.s = s, .buf = buf, .size = size, .owner = s->name, .owner_at = DNS_HEADER_SIZE};
	struct dns_record rec;

	if (size < s->question_end)
		return -ENOSPC;
	copy_head(buf, s);
	c.len = s->question_end;
	for (unsigned i = 0; r.off < s->kept_end && dns_reader_record(&r, &rec); i++) {
		int e = s->set[i] == GONE ? 0 : copy_record(&c, &rec, s->sets[s->set[i]].ttl_s);

		if (e)
			return e;
	}
	return (int)c.len;
}

static int begin(struct store *s)
{
	size_t off = DNS_HEADER_SIZE;
	size_t noted = s->len < POINTED_MAX ? s->len : POINTED_MAX;

	if (s->len < DNS_HEADER_SIZE || s->len > DNS_MESSAGE_MAX || wire_get16(s->msg + 4) != 1 ||
		dns_name_read(s->msg, s->len, &off, &s->name) || s->len - off < 4)
		return -EBADMSG;
	s->name_hash = dns_name_hash(&s->name, 0);
	s->type = wire_get16(s->msg + off);
	s->question_end = s->kept_end = off + 4;
	for (size_t i = 0; i < 3; i++) {
		s->counts[i] = wire_get16(s->msg + 6 + 2 * i);
		s->kept[i] = 0;
	}
	s->rebuild = false;
	s->n_sets = 0;
	memset(s->labels, 0, (noted + 7) / 8);
	(void)note_labels(s, DNS_HEADER_SIZE);
	return 0;
}

int dns_store(uint8_t *buf, size_t size, const uint8_t *msg, size_t len,
	const struct dns_store_how *how, struct dns_stored_info *ret)
{
	struct store s; /* large: its tables are not cleared */
	int e;

	*ret = (struct dns_stored_info){0};
	s.msg = msg;
	s.len = len;
	s.how = how;
	s.info = ret;
	e = begin(&s);
	if (!e)
		e = look(&s);
	if (e)
		return e;
	set_times(&s);
	if (size > DNS_MESSAGE_MAX)
		size = DNS_MESSAGE_MAX;
	return s.rebuild ? copy_records(buf, size, &s) : copy_whole(buf, size, &s);
}
