/* Readers of single values: numbers, times, words, marks, names of sections. */
#include "conf/options.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

static const int no_reference = -1;

static bool is_digit(char c)
{
	return c >= '0' && c <= '9';
}

int conf_digits_read(const char **p, int64_t max, int64_t *ret)
{
	int64_t value = 0;

	if (!is_digit(**p))
		return -EINVAL;
	for (; is_digit(**p); (*p)++) {
		if (value > (max - (**p - '0')) / 10)
			return -ERANGE;
		value = value * 10 + (**p - '0');
	}
	*ret = value;
	return 0;
}

static int bool_read(struct conf_reader *r, const struct conf_option *o,
	const struct conf_node *node, const char *text, void *ret)
{
	static const char *const words[] = {"no", "yes", "false", "true", "off", "on"};

	(void)o, (void)node;
	for (size_t i = 0; i < sizeof words / sizeof words[0]; i++)
		if (strcasecmp(text, words[i]) == 0) {
			*(bool *)ret = i & 1;
			return 0;
		}
	return conf_wrong(r, "%s is neither yes nor no", conf_quote(r, text));
}

const struct conf_type conf_type_bool = {
	"boolean", "yes, no, true, false, on, off", sizeof(bool), NULL, .read = bool_read};

static int count_read(
	struct conf_reader *r, const struct conf_option *o, const char *text, int64_t *ret)
{
	const char *p = text;
	int64_t value, factor = 1;
	int err = conf_digits_read(&p, UINT32_MAX, &value);

	if (!err && *p) {
		factor = *p == 'k' ? 1000 : *p == 'm' ? 1000000 : *p == 'g' ? 1000000000 : 0;
		if (!factor || p[1])
			err = -EINVAL;
	}
	if (err == -EINVAL)
		return conf_wrong(r, "%s is not a number", conf_quote(r, text));
	if (err || value < (o->min + factor - 1) / factor || value > o->max / factor)
		return conf_wrong(r, "%s is out of bounds", conf_quote(r, text));
	*ret = value * factor;
	return 0;
}

static int number_read(struct conf_reader *r, const struct conf_option *o,
	const struct conf_node *node, const char *text, void *ret)
{
	int64_t value = 0;
	int err = count_read(r, o, text, &value);

	(void)node;
	if (!err)
		*(unsigned *)ret = (unsigned)value;
	return err;
}

const struct conf_type conf_type_number = {
	"number", "a number", sizeof(unsigned), NULL, .read = number_read};

static int size_read(struct conf_reader *r, const struct conf_option *o,
	const struct conf_node *node, const char *text, void *ret)
{
	int64_t value = 0;
	int err = count_read(r, o, text, &value);

	(void)node;
	if (!err)
		*(size_t *)ret = (size_t)value;
	return err;
}

const struct conf_type conf_type_size = {
	"number", "a number", sizeof(size_t), NULL, .read = size_read};

static int share_read(struct conf_reader *r, const struct conf_option *o,
	const struct conf_node *node, const char *text, void *ret)
{
	const char *p = text;
	int64_t value = 0;
	int err;

	(void)node;
	if (strcasecmp(text, "off") == 0) {
		*(unsigned *)ret = 0;
		return 0;
	}
	err = conf_digits_read(&p, UINT32_MAX, &value);
	if (err == -EINVAL || strcmp(p, "%") != 0)
		return conf_wrong(r, "%s is not a share such as 20%%", conf_quote(r, text));
	if (err || value < o->min || value > o->max)
		return conf_wrong(r, "%s is out of bounds", conf_quote(r, text));
	*(unsigned *)ret = (unsigned)value;
	return 0;
}

const struct conf_type conf_type_share = {
	"share", "off, a share such as 20%", sizeof(unsigned), NULL, .read = share_read};

static int workers_read(struct conf_reader *r, const struct conf_option *o,
	const struct conf_node *node, const char *text, void *ret)
{
	if (strcmp(text, "auto") != 0)
		return number_read(r, o, node, text, ret);
	*(unsigned *)ret = 0;
	return 0;
}

const struct conf_type conf_type_workers = {
	"number", "auto, a number", sizeof(unsigned), NULL, .read = workers_read};

enum { DAY_MS = 86400000 };
static const int64_t time_max_ms = INT64_C(36500) * DAY_MS;

/* "1d12h", "500ms"; a bare number is seconds. */
static int time_read(struct conf_reader *r, const char *text, int64_t *ret_ms)
{
	static const struct {
		const char *unit;
		int64_t ms;
	} units[] = {{"ms", 1}, {"s", 1000}, {"m", 60000}, {"h", 3600000}, {"d", DAY_MS}};
	const char *p = text;
	int64_t sum = 0;

	do {
		int64_t value, ms = 0;
		int err = conf_digits_read(&p, time_max_ms, &value);

		for (size_t i = 0; !err && !ms && i < sizeof units / sizeof units[0]; i++) {
			size_t n = strlen(units[i].unit);

			if (strncmp(p, units[i].unit, n) == 0) {
				ms = units[i].ms;
				p += n;
			}
		}
		if (!err && !ms && !*p && sum == 0)
			ms = 1000;
		if (err == -EINVAL || (!err && !ms))
			return conf_wrong(r, "%s is not a time such as 500ms, 30, 10m or 1d12h",
				conf_quote(r, text));
		if (err || value > (time_max_ms - sum) / ms)
			return conf_wrong(r, "%s is too long", conf_quote(r, text));
		sum += value * ms;
	} while (*p);
	*ret_ms = sum;
	return 0;
}

static int seconds_read(struct conf_reader *r, const struct conf_option *o,
	const struct conf_node *node, const char *text, void *ret)
{
	int64_t ms = 0;
	int err = time_read(r, text, &ms);

	(void)node;
	if (err)
		return err;
	if (ms % 1000)
		return conf_wrong(r, "%s is not a whole number of seconds", conf_quote(r, text));
	if (ms / 1000 < o->min || ms / 1000 > o->max)
		return conf_wrong(r, "%s is out of bounds", conf_quote(r, text));
	*(uint32_t *)ret = (uint32_t)(ms / 1000);
	return 0;
}

const struct conf_type conf_type_seconds = {
	"time", "a time", sizeof(uint32_t), NULL, .read = seconds_read};

static int milliseconds_read(struct conf_reader *r, const struct conf_option *o,
	const struct conf_node *node, const char *text, void *ret)
{
	int64_t ms = 0;
	int err = time_read(r, text, &ms);

	(void)node;
	if (err)
		return err;
	if ((ms < o->min && !(ms == 0 && o->zero)) || ms > o->max)
		return conf_wrong(r, "%s is out of bounds", conf_quote(r, text));
	*(unsigned *)ret = (unsigned)ms;
	return 0;
}

const struct conf_type conf_type_milliseconds = {
	"time", "a time", sizeof(unsigned), NULL, .read = milliseconds_read};

static int seconds_or_off_read(struct conf_reader *r, const struct conf_option *o,
	const struct conf_node *node, const char *text, void *ret)
{
	return seconds_read(r, o, node, strcasecmp(text, "off") ? text : "0", ret);
}

const struct conf_type conf_type_seconds_or_off = {
	"time", "off, a time", sizeof(uint32_t), NULL, .read = seconds_or_off_read};

static int milliseconds_or_off_read(struct conf_reader *r, const struct conf_option *o,
	const struct conf_node *node, const char *text, void *ret)
{
	return milliseconds_read(r, o, node, strcasecmp(text, "off") ? text : "0", ret);
}

const struct conf_type conf_type_milliseconds_or_off = {
	"time", "off, a time", sizeof(unsigned), NULL, .read = milliseconds_or_off_read};

/* Not written, it bounds nothing. */
static const uint32_t no_bound = UINT32_MAX;

const struct conf_type conf_type_seconds_bound = {
	"time", "a time", sizeof(uint32_t), &no_bound, .read = seconds_read};

static int set_ttl_read(struct conf_reader *r, const struct conf_option *o,
	const struct conf_node *node, const char *text, void *ret)
{
	struct conf_set_ttl *ttl = ret;

	if (strcmp(text, "permanent") != 0)
		return seconds_read(r, o, node, text, &ttl->fixed_s);
	ttl->permanent = true;
	return 0;
}

const struct conf_type conf_type_set_ttl = {
	"time", NULL, sizeof(struct conf_set_ttl), NULL, .read = set_ttl_read};

static int u32_read(const char **p, uint32_t *ret)
{
	int64_t value = 0;
	int err;

	if ((*p)[0] == '0' && ((*p)[1] == 'x' || (*p)[1] == 'X')) {
		char *end;
		unsigned long long hex;

		*p += 2;
		if (!strspn(*p, "0123456789abcdefABCDEF"))
			return -EINVAL;
		errno = 0;
		hex = strtoull(*p, &end, 16);
		if (errno || hex > UINT32_MAX)
			return -ERANGE;
		*p = end;
		*ret = (uint32_t)hex;
		return 0;
	}
	err = conf_digits_read(p, UINT32_MAX, &value);
	if (!err)
		*ret = (uint32_t)value;
	return err;
}

static int mark_read(struct conf_reader *r, const struct conf_option *o,
	const struct conf_node *node, const char *text, void *ret)
{
	struct conf_mark mark = {0};
	const char *p = text;
	int err = u32_read(&p, &mark.value);

	(void)o, (void)node;
	mark.mask = mark.value;
	if (!err && *p == '/') {
		p++;
		err = u32_read(&p, &mark.mask);
	}
	if (err || *p)
		return conf_wrong(r, "%s is not a mark of 32 bits", conf_quote(r, text));
	if (!mark.mask)
		return conf_wrong(r, "the mask of %s is 0", conf_quote(r, text));
	if (mark.value & ~mark.mask)
		return conf_wrong(r, "%s has bits outside its mask", conf_quote(r, text));
	if (!mark.value)
		return conf_wrong(r, "the value of %s is 0, as of any packet without a mark",
			conf_quote(r, text));
	*(struct conf_mark *)ret = mark;
	return 0;
}

const struct conf_type conf_type_mark = {"mark",
	"VALUE or VALUE/MASK, each decimal or 0x and hexadecimal", sizeof(struct conf_mark), NULL,
	.read = mark_read};

static int octal_read(struct conf_reader *r, const struct conf_option *o,
	const struct conf_node *node, const char *text, void *ret)
{
	size_t n = strlen(text);

	(void)o, (void)node;
	if (n < 3 || n > 4 || strspn(text, "01234567") != n || (n == 4 && text[0] != '0'))
		return conf_wrong(r, "%s is not a file mode", conf_quote(r, text));
	*(unsigned *)ret = (unsigned)strtoul(text, NULL, 8);
	return 0;
}

const struct conf_type conf_type_octal = {
	"mode", "three octal digits such as 0660", sizeof(unsigned), NULL, .read = octal_read};

/* The index of a name in an array of structs that begin with it; r->allowed is set to all names if
 * it is not there. */
static int name_find(struct conf_reader *r, const void *items, size_t n, size_t item_bytes,
	const char *what, const char *text, int *ret)
{
	char *list = NULL, *name;

	for (size_t i = 0; i < n; i++) {
		memcpy(&name, (const char *)items + i * item_bytes, sizeof name);
		if (name && strcmp(name, text) == 0) {
			*ret = (int)i;
			return 0;
		}
	}
	for (size_t i = 0; i < n && i < 32; i++) {
		memcpy(&name, (const char *)items + i * item_bytes, sizeof name);
		list = arena_printf(r->scratch, "%s%s%.40s", list ? list : "", list ? ", " : "",
			name ? name : "");
	}
	r->allowed = list;
	return conf_wrong(r, "there is no %s %s", what, conf_quote(r, text));
}

_Static_assert(offsetof(struct conf_upstream, name) == 0 &&
		       offsetof(struct conf_egress, name) == 0 &&
		       offsetof(struct conf_list, name) == 0,
	"name_find looks for the name there");

static int upstream_read(struct conf_reader *r, const struct conf_option *o,
	const struct conf_node *node, const char *text, void *ret)
{
	(void)o, (void)node;
	return name_find(r, r->config->upstreams, r->config->n_upstreams,
		sizeof *r->config->upstreams, "group in upstreams named", text, ret);
}

const struct conf_type conf_type_upstream = {
	"group", "a name in upstreams", sizeof(int), &no_reference, .read = upstream_read};

static int egress_read(struct conf_reader *r, const struct conf_option *o,
	const struct conf_node *node, const char *text, void *ret)
{
	(void)o, (void)node;
	return name_find(r, r->config->egresses, r->config->n_egresses, sizeof *r->config->egresses,
		"egress named", text, ret);
}

const struct conf_type conf_type_egress = {
	"egress", "a name in egress", sizeof(int), &no_reference, .read = egress_read};

static int list_read(struct conf_reader *r, const struct conf_option *o,
	const struct conf_node *node, const char *text, void *ret)
{
	(void)o, (void)node;
	return name_find(r, r->config->lists, r->config->n_lists, sizeof *r->config->lists,
		"list named", text, ret);
}

const struct conf_type conf_type_list = {
	"list", "a name in lists", sizeof(int), &no_reference, .read = list_read};

static const char *rule_name(const struct conf_node *rule)
{
	const struct conf_node *name = conf_node_get(rule, "name");

	return name && name->kind == CONF_NODE_SCALAR ? name->text : NULL;
}

/* By the tree: rules behind this one are not read yet. */
static int rule_read(struct conf_reader *r, const struct conf_option *o,
	const struct conf_node *node, const char *text, void *ret)
{
	const struct conf_node *first = conf_node_at(conf_node_get(r->root, "rules"), 0);
	const char *list = NULL;
	unsigned n = 0;
	int i = 0;

	(void)o, (void)node;
	for (const struct conf_node *rule = first; rule; rule = rule->next, i++) {
		const char *name = rule_name(rule);

		if (name && strcmp(name, text) == 0) {
			*(int *)ret = i;
			return 0;
		}
	}
	for (const struct conf_node *rule = first; rule && n < 32; rule = rule->next, n++) {
		const char *name = rule_name(rule);

		if (name)
			list = arena_printf(
				r->scratch, "%s%s%.40s", list ? list : "", list ? ", " : "", name);
	}
	r->allowed = list;
	return conf_wrong(r, "there is no rule named %s", conf_quote(r, text));
}

const struct conf_type conf_type_rule = {
	"rule", "a name in rules", sizeof(int), &no_reference, .read = rule_read};
