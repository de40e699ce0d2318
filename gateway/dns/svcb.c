/* SVCB and HTTPS records (RFC 9460): their hints are addresses, and those of a faked name must not
 * be told.
 *
 * A record is read whole before anything is made of it: a malformed one is left out, never mended,
 * because what a client would make of it is not known. */
#include "gateway/dns/rdata_internal.h"
#include "gateway/dns/stored.h"

#include <errno.h>

#define SVCB_MAX 64 /* records of one answer; no client looks at more */

#define KEY_END 65536 /* above all */

struct param {
	uint16_t key;
	size_t size;
	const uint8_t *value;
};

struct svcb {
	uint16_t priority; /* 0: AliasMode; then there are no params for us */
	const uint8_t *target;
	struct dns_name target_name;
	struct dns_reader params;	      /* at the first */
	struct param mandatory, hint4, hint6; /* size 0: not there */
};

static bool next_param(struct dns_reader *r, struct param *ret)
{
	const uint8_t *head;

	if (r->off == r->len)
		return false;
	head = dns_reader_take(r, 4);
	if (!head)
		return false;
	ret->key = wire_get16(head);
	ret->size = wire_get16(head + 2);
	ret->value = dns_reader_take(r, ret->size);
	return ret->value != NULL;
}

/* --- reading --- */

/* 7.1: one string at least, none empty. */
static bool is_alpn(const struct param *p)
{
	size_t at = 0;

	while (at < p->size && p->value[at] > 0)
		at += p->value[at] + 1u;
	return p->size > 0 && at == p->size;
}

/* 8: ascending, each once, not itself. */
static bool is_mandatory(const struct param *p)
{
	unsigned last = KEY_MANDATORY;

	if (p->size == 0 || p->size % 2)
		return false;
	for (size_t i = 0; i < p->size; i += 2) {
		if (wire_get16(p->value + i) <= last)
			return false;
		last = wire_get16(p->value + i);
	}
	return true;
}

static bool is_well_formed(const struct param *p)
{
	switch (p->key) {
	case KEY_MANDATORY:
		return is_mandatory(p);
	case KEY_ALPN:
		return is_alpn(p);
	case KEY_NO_DEFAULT_ALPN:
		return p->size == 0;
	case KEY_PORT:
		return p->size == 2;
	case KEY_IPV4HINT:
		return p->size > 0 && p->size % 4 == 0;
	case KEY_IPV6HINT:
		return p->size > 0 && p->size % 16 == 0;
	default:
		return true;
	}
}

/* 2.2: keys in ascending order, each once, the lengths fill the data; 8: what is mandatory is
 * there. `mandatory` is the lowest key, so it has been read when the others come. */
static bool read_params(struct svcb *s)
{
	struct dns_reader r = s->params;
	struct param p;
	size_t met = 0;
	int last = -1;

	while (next_param(&r, &p)) {
		if (p.key <= last || !is_well_formed(&p))
			return false;
		last = p.key;
		if (p.key == KEY_MANDATORY)
			s->mandatory = p;
		else if (p.key == KEY_IPV4HINT)
			s->hint4 = p;
		else if (p.key == KEY_IPV6HINT)
			s->hint6 = p;
		if (met < s->mandatory.size && wire_get16(s->mandatory.value + met) == p.key)
			met += 2;
	}
	return !r.bad && met == s->mandatory.size;
}

static bool svcb_read(const uint8_t *msg, const struct dns_record *rec, struct svcb *ret)
{
	struct dns_reader r = {.msg = msg, .len = rec->end, .off = rec->data};
	const uint8_t *priority = dns_reader_take(&r, 2);
	size_t start = r.off;

	*ret = (struct svcb){.target = msg + start};
	/* 2.2: the target is not compressed; then it is as long as what was read of it. */
	if (!priority || dns_name_read(msg, r.len, &r.off, &ret->target_name) ||
		r.off - start != ret->target_name.len)
		return false;
	ret->priority = wire_get16(priority);
	ret->params = r;
	return ret->priority == 0 || read_params(ret);
}

bool dns_svcb_check(const uint8_t *rdata, size_t len)
{
	const struct dns_record rec = {.end = len};
	struct svcb s;

	return svcb_read(rdata, &rec, &s) && read_params(&s);
}

static size_t visit_hint(
	const struct param *p, size_t size, uint32_t ttl_s, dns_address_visit *visit, void *arg)
{
	for (size_t at = 0; at < p->size; at += size)
		visit(arg, p->value + at, size, ttl_s);
	return p->size / size;
}

size_t dns_svcb_hints(
	const uint8_t *msg, const struct dns_record *rec, dns_address_visit *visit, void *arg)
{
	uint32_t ttl_s = dns_ttl_s(rec->ttl);
	struct svcb s;

	if (!svcb_read(msg, rec, &s))
		return 0;
	return visit_hint(&s.hint4, 4, ttl_s, visit, arg) +
	       visit_hint(&s.hint6, 16, ttl_s, visit, arg);
}

/* --- rewriting --- */

/* How one record is written. */
struct plan {
	const struct svcb *s;
	const struct dns_svcb_rewrite *how;
	const struct dns_store_how *store; /* NULL, or: its hints less those that are dropped */
	bool own;			   /* its target is the name that was asked for */
	bool hint4, hint6;
};

static bool keeps(const struct plan *p, unsigned key)
{
	switch (key) {
	case KEY_IPV4HINT:
		return p->hint4 || p->how->own4;
	case KEY_IPV6HINT:
		return p->hint6 || p->how->own6;
	case KEY_ECH:
		return !p->how->drop_ech;
	default:
		return true;
	}
}

/* Bytes that are counted, and written if there is a place for them. */
struct sink {
	uint8_t *to; /* NULL: only counted */
	size_t size;
};

static void put(struct sink *k, const void *bytes, size_t size)
{
	if (k->to)
		memcpy(k->to + k->size, bytes, size);
	k->size += size;
}

static void put_pair(struct sink *k, unsigned first, unsigned second)
{
	uint8_t b[4];

	wire_put16(b, first);
	wire_put16(b + 2, second);
	put(k, b, sizeof b);
}

static void put_param(struct sink *k, unsigned key, const void *value, size_t size)
{
	put_pair(k, key, (unsigned)size);
	put(k, value, size);
}

static void put_mandatory(struct sink *k, const struct plan *p)
{
	const struct param *m = &p->s->mandatory;
	unsigned kept = 0;

	for (size_t i = 0; i < m->size; i += 2)
		kept += keeps(p, wire_get16(m->value + i));
	if (kept == 0)
		return;
	put_pair(k, KEY_MANDATORY, kept * 2);
	for (size_t i = 0; i < m->size; i += 2) {
		if (keeps(p, wire_get16(m->value + i)))
			put(k, m->value + i, 2);
	}
}

static bool is_hint(unsigned key)
{
	return key == KEY_IPV4HINT || key == KEY_IPV6HINT;
}

static size_t hint_size(unsigned key)
{
	return key == KEY_IPV4HINT ? 4 : 16;
}

/* How many of the addresses are dropped. */
static unsigned count_dropped(const struct param *hint, const struct dns_store_how *how)
{
	size_t size = hint_size(hint->key);
	unsigned n = 0;

	for (size_t at = 0; at < hint->size; at += size)
		n += how->drop(how->arg, hint->value + at, size);
	return n;
}

static void put_left(struct sink *k, const struct param *hint, const struct dns_store_how *how)
{
	size_t size = hint_size(hint->key);

	put_pair(k, hint->key, (unsigned)(hint->size - size * count_dropped(hint, how)));
	for (size_t at = 0; at < hint->size; at += size) {
		if (!how->drop(how->arg, hint->value + at, size))
			put(k, hint->value + at, size);
	}
}

/* The hints are written where their keys belong in the order, whether the record had both or one:
 * before the first higher key, or at the end. */
static void put_params(struct sink *k, const struct plan *p)
{
	struct dns_reader r = p->s->params;
	bool due4 = p->hint4, due6 = p->hint6, more = true;
	struct param param = {0};

	while (more) {
		unsigned key;

		more = next_param(&r, &param);
		key = more ? param.key : KEY_END;
		if (due4 && key > KEY_IPV4HINT) {
			put_param(k, KEY_IPV4HINT, p->how->v4, sizeof p->how->v4);
			due4 = false;
		}
		if (due6 && key > KEY_IPV6HINT) {
			put_param(k, KEY_IPV6HINT, p->how->v6, sizeof p->how->v6);
			due6 = false;
		}
		if (key == KEY_MANDATORY)
			put_mandatory(k, p);
		else if (more && !(key == KEY_IPV4HINT && p->hint4) &&
			 !(key == KEY_IPV6HINT && p->hint6) && keeps(p, key)) {
			if (p->store && is_hint(key))
				put_left(k, &param, p->store);
			else
				put_param(k, key, param.value, param.size);
		}
	}
}

static void put_data(struct sink *k, const struct plan *p)
{
	uint8_t priority[2];

	wire_put16(priority, p->s->priority);
	put(k, priority, sizeof priority);
	if (p->own)
		put(k, "", 1);
	else
		put(k, p->s->target, p->s->target_name.len);
	if (p->s->priority)
		put_params(k, p);
}

int dns_svcb_dropped(
	const uint8_t *msg, const struct dns_record *rec, const struct dns_store_how *how)
{
	struct svcb s;

	if (!svcb_read(msg, rec, &s))
		return -EBADMSG;
	return (int)(count_dropped(&s.hint4, how) + count_dropped(&s.hint6, how));
}

size_t dns_svcb_store(const uint8_t *msg, const struct dns_record *rec,
	const struct dns_store_how *how, uint8_t *out)
{
	struct dns_svcb_rewrite left = {0};
	struct sink k = {.to = out};
	struct svcb s;

	if (!svcb_read(msg, rec, &s))
		return 0;
	left.own4 = s.hint4.size / 4 > count_dropped(&s.hint4, how);
	left.own6 = s.hint6.size / 16 > count_dropped(&s.hint6, how);
	put_data(&k, &(struct plan){.s = &s, .how = &left, .store = how});
	return k.size;
}

struct rewrite {
	struct dns_writer *w;
	const struct dns_svcb_rewrite *how;
	uint32_t ttl_s;
	unsigned n;
	uint8_t *data[SVCB_MAX]; /* of those that were written */
};

static bool is_written(const struct rewrite *rw, const uint8_t *data, size_t size)
{
	for (unsigned i = 0; i < rw->n; i++) {
		if (wire_get16(rw->data[i] - 2) == size && memcmp(rw->data[i], data, size) == 0)
			return true;
	}
	return false;
}

static void add(struct rewrite *rw, uint16_t type, const struct plan *p)
{
	struct dns_writer *w = rw->w;
	struct sink k = {0};
	size_t before = w->len;

	put_data(&k, p);
	k.to = dns_writer_record(w, type, 0, k.size);
	if (!k.to) {
		rw->n++;
		return;
	}
	k.size = 0;
	put_data(&k, p);
	if (is_written(rw, k.to, k.size)) {
		w->len = before;
		return;
	}
	rw->data[rw->n++] = k.to;
	w->answers++;
}

static void visit(void *arg, const struct dns_chain *c, const struct dns_record *rec)
{
	struct rewrite *rw = arg;
	struct plan p = {.how = rw->how};
	struct svcb s;
	bool hints;

	if (rec->type != DNS_CNAME && rec->type != c->type)
		return;
	if (rw->ttl_s > dns_ttl_s(rec->ttl))
		rw->ttl_s = dns_ttl_s(rec->ttl);
	if (rec->type == DNS_CNAME || rw->n == SVCB_MAX || rw->w->full ||
		!svcb_read(c->msg, rec, &s))
		return;
	/* "." is the owner itself (2.5.2); in AliasMode that there is no such service (2.5.1). */
	p.s = &s;
	p.own = s.target_name.len == 1 || dns_chain_contains(c, &s.target_name);
	if (s.priority == 0 && p.own && s.target_name.len > 1)
		return;
	hints = p.own && (s.hint4.size || s.hint6.size);
	p.hint4 = hints && rw->how->has4;
	p.hint6 = hints && rw->how->has6;
	add(rw, rec->type, &p);
}

unsigned dns_answer_svcb(
	struct dns_writer *w, const uint8_t *msg, size_t len, const struct dns_svcb_rewrite *how)
{
	struct rewrite rw = {.w = w, .how = how, .ttl_s = how->ttl_max_s};

	if ((w->q->type != DNS_SVCB && w->q->type != DNS_HTTPS) ||
		!dns_response_answers(msg, len, w->q))
		return 0;
	dns_chain_walk(msg, len, visit, &rw);
	/* One TTL for the set (RFC 2181 5.2), known when all have been seen. */
	for (unsigned i = 0; !w->full && i < rw.n; i++)
		wire_put32(rw.data[i] - 6, rw.ttl_s);
	return rw.n;
}
