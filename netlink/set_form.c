#include "netlink/set_form.h"
#include "netlink/set_literal.h"

#include <errno.h>
#include <linux/netfilter.h>
#include <linux/netfilter/nf_tables.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

static const char *const ordinals[SET_FIELDS_MAX] = {"first", "second", "third", "fourth", "fifth",
	"sixth", "seventh", "eighth", "ninth", "tenth", "eleventh", "twelfth", "thirteenth",
	"fourteenth", "fifteenth", "sixteenth"};

struct why { /* what is said of a set that does not fit */
	char *text;
	size_t size;
};

__attribute__((format(printf, 2, 3))) static int refuse(
	const struct why *why, const char *format, ...)
{
	va_list args;

	va_start(args, format);
	(void)vsnprintf(why->text, why->size, format, args);
	va_end(args);
	return -EINVAL;
}

/* Of a key or a value. */
struct layout {
	struct set_field fields[SET_FIELDS_MAX];
	uint8_t at[SET_FIELDS_MAX]; /* offsets */
	size_t n;
};

/* Each field of a concatenation begins at a multiple of four bytes. */
static uint32_t padded(uint32_t size)
{
	return (size + 3) & ~3u;
}

/* The types of a concatenation, six bits each, the last field in the lowest. */
static size_t types_split(uint32_t type, uint32_t ret[SET_FIELDS_MAX])
{
	size_t n = 0;

	for (uint32_t rest = type; rest; rest >>= SET_TYPE_BITS)
		n++;
	for (size_t i = n; i-- > 0; type >>= SET_TYPE_BITS)
		ret[i] = type & ((1u << SET_TYPE_BITS) - 1);
	return n;
}

static void single_layout(uint32_t type, uint32_t size, bool host_order, struct layout *ret)
{
	ret->n = 1;
	ret->fields[0] =
		(struct set_field){.type = type, .size = (uint8_t)size, .host_order = host_order};
}

static int sizes_check(struct layout *l, uint32_t size, const char *what, const struct why *why)
{
	uint32_t at = 0;

	for (size_t i = 0; i < l->n; i++) {
		uint8_t typed = set_type_size(l->fields[i].type);

		if (l->fields[i].size == 0)
			l->fields[i].size = l->n == 1 ? (uint8_t)size : typed;
		if (l->fields[i].size == 0)
			return refuse(why,
				"the kernel does not tell the size of the %s field of its %s",
				ordinals[i], what);
		if (typed && l->fields[i].size != typed)
			return refuse(why, "the %s field of its %s has %u bytes, %s has %u",
				ordinals[i], what, l->fields[i].size,
				set_type_text(l->fields[i].type), typed);
		l->at[i] = (uint8_t)at;
		at += l->n > 1 ? padded(l->fields[i].size) : l->fields[i].size;
		if (at > size)
			break;
	}
	return at == size ? 0
			  : refuse(why, "its %s has %u bytes, which its fields do not fill", what,
				    size);
}

/* A number in a concatenation has no type of its own; whose bytes come first nft has noted. */
static int integer_settle(struct set_field *f, const struct set_kind_integer *told)
{
	if (f->size == 0)
		f->size = told->size;
	f->host_order = told->order == SET_ORDER_HOST;
	return f->size == 1 || (f->size && f->size == told->size) ? 0 : -EINVAL;
}

static int key_fields(const struct set_kind *k, struct layout *ret, const struct why *why)
{
	uint32_t types[SET_FIELDS_MAX] = {0};
	size_t n = types_split(k->key_type, types);

	if (n < 2 && k->n_fields < 2) {
		single_layout(k->key_type, k->key_size, k->key_host_order, ret);
		return 0;
	}
	/* Where the type does not tell the fields, their sizes do. */
	if (k->n_fields > 1 && k->n_fields != n) {
		memset(types, 0, sizeof types);
		n = k->n_fields;
	}
	ret->n = n;
	for (size_t i = 0; i < n; i++) {
		struct set_field *f = &ret->fields[i];

		*f = (struct set_field){.type = types[i],
			.size = k->n_fields == n ? k->field_size[i] : 0,
			.host_order = k->key_host_order};
		if (f->type == SET_TYPE_INTEGER && integer_settle(f, &k->integers[i]))
			return refuse(why, "its %s field is a number whose form is not told",
				ordinals[i]);
	}
	return 0;
}

static int key_layout(const struct set_kind *k, struct layout *ret, const struct why *why)
{
	int err;

	*ret = (struct layout){0};
	err = key_fields(k, ret, why);
	for (size_t i = 0; i < ret->n; i++)
		ret->fields[i].network_order = k->flags & NFT_SET_INTERVAL;
	return err ? err : sizes_check(ret, k->key_size, "key", why);
}

static int value_layout(const struct set_kind *k, struct layout *ret, const struct why *why)
{
	uint32_t types[SET_FIELDS_MAX] = {0};
	size_t n = types_split(k->data_type, types);

	*ret = (struct layout){0};
	if (n < 2) {
		single_layout(k->data_type, k->data_size, k->data_host_order, ret);
		return sizes_check(ret, k->data_size, "value", why);
	}
	ret->n = n;
	for (size_t i = 0; i < n; i++)
		ret->fields[i] =
			(struct set_field){.type = types[i], .host_order = k->data_host_order};
	return sizes_check(ret, k->data_size, "value", why);
}

/* --- filling in --- */

static uint8_t family_of(const struct set_field *f)
{
	if (f->type == SET_TYPE_IPADDR || (f->type == SET_TYPE_NONE && f->size == 4))
		return IP_V4;
	if (f->type == SET_TYPE_IP6ADDR || (f->type == SET_TYPE_NONE && f->size == 16))
		return IP_V6;
	return IP_NONE;
}

static int not_this(const struct layout *l, size_t i, const char *what,
	const struct conf_set_field *written, const struct why *why)
{
	const char *type = set_type_text(l->fields[i].type);
	char number[48];

	if (!type) {
		if (l->fields[i].type == SET_TYPE_NONE)
			(void)snprintf(number, sizeof number, "%u bytes", l->fields[i].size);
		else
			(void)snprintf(number, sizeof number, "of a type (%u) that is not known",
				l->fields[i].type);
		type = number;
	}
	if (l->n == 1)
		return refuse(why, "its %s is %s, '%.*s' is none", what, type, (int)written->len,
			written->text);
	return refuse(why, "the %s field of its %s is %s, '%.*s' is none", ordinals[i], what, type,
		(int)written->len, written->text);
}

static int variable_put(struct set_form *f, const struct layout *l, size_t i,
	const struct conf_set_field *written, const struct why *why)
{
	bool is_addr = written->kind == CONF_FIELD_ADDR;
	int8_t *at = is_addr ? &f->addr_at : &f->client_at;
	uint8_t family = family_of(&l->fields[i]);

	if (family == IP_NONE)
		return not_this(l, i, "key", written, why);
	if (*at >= 0)
		return refuse(why, "%.*s stands twice", (int)written->len, written->text);
	*at = (int8_t)l->at[i];
	*(is_addr ? &f->family : &f->client_family) = family;
	return 0;
}

static int key_fill(struct set_form *f, const struct conf_set *conf, const struct layout *l,
	const struct why *why)
{
	static const struct conf_set_field addr = {CONF_FIELD_ADDR, "$addr", 5};
	struct conf_set_field written[CONF_SET_FIELDS_MAX] = {addr};
	size_t n = conf->key ? conf_set_fields(conf->key, written) : 1;

	if (!conf->key && l->n == 1 && family_of(&l->fields[0]) == IP_NONE)
		return refuse(why, "its elements are not addresses");
	if (!conf->key && l->n > 1)
		return refuse(why,
			"its elements have %zu fields: a template is needed, as in = "
			"$addr . 443",
			l->n);
	if (n != l->n)
		return refuse(why, "its elements have %zu field%s, the template has %zu", l->n,
			l->n == 1 ? "" : "s", n);
	for (size_t i = 0; i < n; i++) {
		int err = 0;

		if (written[i].kind != CONF_FIELD_LITERAL)
			err = variable_put(f, l, i, &written[i], why);
		else if (set_literal_write(
				 &l->fields[i], written[i].text, written[i].len, f->key + l->at[i]))
			err = not_this(l, i, "key", &written[i], why);
		if (err)
			return err;
	}
	if (conf->family != IP_NONE && f->family != IP_NONE && conf->family != f->family)
		return refuse(why, "its addresses are IPv%u", f->family);
	if (f->family == IP_NONE)
		f->family = conf->family;
	return 0;
}

static int value_fill(struct set_form *f, const struct conf_set *conf, const struct layout *l,
	const struct why *why)
{
	struct conf_set_field written[CONF_SET_FIELDS_MAX];
	size_t n = conf_set_fields(conf->value, written);

	if (n != l->n)
		return refuse(why, "its values have %zu field%s, the one written has %zu", l->n,
			l->n == 1 ? "" : "s", n);
	for (size_t i = 0; i < n; i++)
		if (written[i].kind != CONF_FIELD_LITERAL ||
			set_literal_write(&l->fields[i], written[i].text, written[i].len,
				f->value + l->at[i]))
			return not_this(l, i, "value", &written[i], why);
	return 0;
}

static int verdict_fill(struct set_form *f, const char *text, const struct why *why)
{
	static const struct {
		const char *text;
		int32_t code;
	} verdicts[] = {{"accept", NF_ACCEPT}, {"drop", NF_DROP}, {"continue", NFT_CONTINUE},
		{"return", NFT_RETURN}, {"jump ", NFT_JUMP}, {"goto ", NFT_GOTO}};

	f->verdict = true;
	for (size_t i = 0; i < sizeof verdicts / sizeof verdicts[0]; i++) {
		bool chain = verdicts[i].code == NFT_JUMP || verdicts[i].code == NFT_GOTO;
		size_t len = strlen(verdicts[i].text);

		if (strncmp(text, verdicts[i].text, chain ? len : len + 1) != 0)
			continue;
		f->code = verdicts[i].code;
		if (!chain)
			return 0;
		len = strlen(text += len);
		if (len == 0 || len >= sizeof f->chain || strchr(text, ' '))
			break;
		memcpy(f->chain, text, len + 1);
		return 0;
	}
	return refuse(why, "its value is a verdict, '%s' is none", text);
}

/* So that what is remembered tells one verdict from another (FNV-1a of the chain). */
static void verdict_keep(struct set_form *f)
{
	uint64_t hash = 0xcbf29ce484222325ULL;

	for (const char *p = f->chain; *p; p++)
		hash = (hash ^ (uint8_t)*p) * 0x100000001b3ULL;
	memcpy(f->value, &f->code, sizeof f->code);
	memcpy(f->value + sizeof f->code, &hash, sizeof hash);
	f->kept_size = sizeof f->code + sizeof hash;
}

static int map_fill(struct set_form *f, const struct conf_set *conf, const struct set_kind *kind,
	const struct why *why)
{
	struct layout l;
	int err;

	if (!f->map)
		return conf->value ? refuse(why, "it is a set, not a map") : 0;
	if (!conf->value)
		return refuse(why, "it is a map, and no value is written");
	if (kind->data_type == NFT_DATA_VERDICT) {
		err = verdict_fill(f, conf->value, why);
		verdict_keep(f);
		return err;
	}
	err = value_layout(kind, &l, why);
	if (err)
		return err;
	f->value_size = f->kept_size = (uint8_t)kind->data_size;
	return value_fill(f, conf, &l, why);
}

int set_form_make(const struct conf_set *conf, const struct set_kind *kind, struct set_form *ret,
	char *why_text, size_t size)
{
	struct why why = {why_text, size};
	struct set_form f = {.interval = kind->flags & NFT_SET_INTERVAL,
		.concat = kind->flags & NFT_SET_CONCAT,
		.map = kind->flags & NFT_SET_MAP,
		.has_timeout = kind->flags & NFT_SET_TIMEOUT,
		.key_size = (uint8_t)kind->key_size,
		.addr_at = -1,
		.client_at = -1};
	struct layout l;
	int err;

	if (kind->key_size == 0 || kind->key_size > SET_KEY_MAX || kind->data_size > SET_KEY_MAX)
		return refuse(&why, "its elements are larger than nft's");
	if (kind->flags & NFT_SET_CONSTANT)
		return refuse(&why, "it is constant");
	if (kind->flags & NFT_SET_OBJECT)
		return refuse(&why, "it is a map of objects");
	err = map_fill(&f, conf, kind, &why);
	if (!err)
		err = key_layout(kind, &l, &why);
	if (!err)
		err = key_fill(&f, conf, &l, &why);
	if (!err)
		*ret = f;
	return err;
}

bool set_form_equal(const struct set_form *a, const struct set_form *b)
{
	return a->family == b->family && a->interval == b->interval && a->concat == b->concat &&
	       a->map == b->map && a->has_timeout == b->has_timeout && a->key_size == b->key_size &&
	       a->value_size == b->value_size && a->addr_at == b->addr_at &&
	       a->client_at == b->client_at && a->client_family == b->client_family &&
	       memcmp(a->key, b->key, sizeof a->key) == 0 &&
	       memcmp(a->value, b->value, sizeof a->value) == 0 && a->verdict == b->verdict &&
	       a->code == b->code && strcmp(a->chain, b->chain) == 0;
}

/* --- elements --- */

static struct ip_addr unmapped(const struct ip_addr *a)
{
	return a->family == IP_V6 ? ip_addr_v6(a->b) : *a;
}

bool set_form_key(const struct set_form *f, const struct ip_addr *addr,
	const struct ip_addr *client, uint8_t ret[SET_KEY_MAX])
{
	struct ip_addr a = unmapped(addr);

	if (f->family != IP_NONE && a.family != f->family)
		return false;
	memcpy(ret, f->key, SET_KEY_MAX);
	if (f->addr_at >= 0)
		memcpy(ret + f->addr_at, a.b, ip_addr_size(&a));
	if (f->client_at >= 0) {
		if (!client)
			return false;
		a = unmapped(client);
		if (a.family != f->client_family)
			return false;
		memcpy(ret + f->client_at, a.b, ip_addr_size(&a));
	}
	return true;
}

/* An element's text so far; what does not fit is remembered. */
struct text {
	char *at;
	size_t left;
	bool fits;
};

static void text_add(struct text *t, const char *bytes, size_t len)
{
	t->fits = t->fits && len < t->left;
	if (!t->fits)
		return;
	memcpy(t->at, bytes, len);
	t->at += len;
	t->left -= len;
	*t->at = 0;
}

static void text_add_address(struct text *t, const struct ip_addr *addr)
{
	char buf[IP_TEXT_MAX];

	ip_addr_format(addr, buf);
	text_add(t, buf, strlen(buf));
}

bool set_form_text(const struct conf_set *conf, const struct ip_addr *addr,
	const struct ip_addr *client, char *ret, size_t size)
{
	struct conf_set_field fields[CONF_SET_FIELDS_MAX] = {{CONF_FIELD_ADDR, "$addr", 5}};
	size_t n = conf->key ? conf_set_fields(conf->key, fields) : 1;
	struct ip_addr a = unmapped(addr), c = client ? unmapped(client) : (struct ip_addr){0};
	struct text t = {ret, size, true};

	if (a.family == IP_NONE || (conf->family != IP_NONE && a.family != conf->family))
		return false;
	for (size_t i = 0; i < n; i++) {
		if (i)
			text_add(&t, ",", 1);
		if (fields[i].kind == CONF_FIELD_LITERAL)
			text_add(&t, fields[i].text, fields[i].len);
		else if (fields[i].kind == CONF_FIELD_ADDR)
			text_add_address(&t, &a);
		else if (c.family == a.family) /* an ipset has one family */
			text_add_address(&t, &c);
		else
			return false;
	}
	return t.fits;
}
