#include "netlink/ipset.h"

#include <assert.h>
#include <errno.h>
#include <libipset/data.h>
#include <libipset/session.h>
#include <libipset/types.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define ELEMENT_TEXT_MAX 256 /* with its NUL; the longest that makes sense has some 130 */

/* What of a set an element is written by. */
struct set_shape {
	const struct ipset_type *type;
	uint8_t nfproto;
};

struct listing {
	struct set_shape shape;
	bool timeout;
	uint32_t elements, size;
};

struct ipset_writer {
	struct ipset_session *session;
	struct listing *listing; /* to fill, during ipset_writer_look() */
};

/* --- the session --- */

static struct ipset_data *data_of(const struct ipset_writer *w)
{
	return ipset_session_data(w->session);
}

static uint32_t number_of(const struct ipset_writer *w, enum ipset_opt opt)
{
	const uint32_t *value = ipset_data_get(data_of(w), opt);

	return value ? *value : 0;
}

static struct set_shape shape_of(const struct ipset_writer *w)
{
	return (struct set_shape){
		.type = ipset_data_get(data_of(w), IPSET_OPT_TYPE),
		.nfproto = ipset_data_family(data_of(w)),
	};
}

/* libipset's way to print a listing. The text is of no interest: at this time the session holds the
 * values. */
static int listed(struct ipset_session *session, void *arg, const char *format, ...)
	__attribute__((format(printf, 3, 4)));
static int listed(struct ipset_session *session, void *arg, const char *format, ...)
{
	struct ipset_writer *w = arg;

	(void)session;
	(void)format;
	if (!w->listing)
		return 0;
	*w->listing = (struct listing){
		.shape = shape_of(w),
		.timeout = ipset_data_test(data_of(w), IPSET_OPT_TIMEOUT),
		.elements = number_of(w, IPSET_OPT_ELEMENTS),
		.size = number_of(w, IPSET_OPT_MAXELEM),
	};
	return 0;
}

/* libipset tells what went wrong in words only. */
static int error_from_report(const struct ipset_session *session)
{
	static const struct {
		const char *words;
		int error;
	} known[] = {
		{"name does not exist", -ENOENT},
		{"is full", -ENFILE},
		{"without timeout", -EOPNOTSUPP},
		{"already added", -EEXIST},
		{"Operation not permitted", -EPERM},
		{"llocate memory", -ENOMEM},
		{"incompatib", -EPROTONOSUPPORT},
		{"nternal", -EPROTO},
		{"Protocol error", -EPROTO},
		{"Broken", -EPROTO},
		{"Cannot open session", -EPROTO},
	};
	const char *text = ipset_session_report_msg(session);

	if (!text[0])
		return -EPROTO;
	for (size_t i = 0; i < sizeof known / sizeof known[0]; i++) {
		if (strstr(text, known[i].words))
			return known[i].error;
	}
	return -EINVAL;
}

static int failed(struct ipset_writer *w)
{
	int r = error_from_report(w->session);

	assert(r < 0);
	ipset_session_report_reset(w->session);
	ipset_data_reset(data_of(w));
	return r;
}

static int session_open(struct ipset_writer *w)
{
	w->session = ipset_session_init(listed, w);
	if (!w->session)
		return -ENOMEM;
	ipset_envopt_set(w->session, IPSET_ENV_LIST_HEADER);
	return 0;
}

/* A session that has lost an answer (a signal, no memory) would take each answer for that of the
 * question before. Returns whether it is worth another try. */
static bool renewed(struct ipset_writer *w, int error)
{
	struct ipset_session *old = w->session;

	if (error != -EPROTO)
		return false;
	if (session_open(w) != 0) {
		w->session = old;
		return false;
	}
	ipset_session_fini(old);
	return true;
}

int ipset_writer_open(struct ipset_writer **ret)
{
	static bool types_loaded;
	struct ipset_writer *w = calloc(1, sizeof *w);
	int r;

	if (!w)
		return -ENOMEM;
	if (!types_loaded) {
		ipset_load_types();
		types_loaded = true;
	}
	r = session_open(w);
	if (r == 0 && ipset_cmd(w->session, IPSET_CMD_NONE, 0) < 0) {
		r = failed(w);
		r = r == -EPERM || r == -ENOMEM ? r : -EPROTONOSUPPORT;
	}
	if (r != 0) {
		ipset_writer_close(w);
		return r;
	}
	ipset_session_report_reset(w->session); /* a newer kernel is remarked upon */
	*ret = w;
	return 0;
}

void ipset_writer_close(struct ipset_writer *w)
{
	if (!w)
		return;
	if (w->session)
		ipset_session_fini(w->session);
	free(w);
}

/* --- what a set is --- */

/* libipset cuts a longer name off, and means another set. */
static bool is_name(const char *name)
{
	size_t len = strlen(name);

	return len > 0 && len < IPSET_MAXNAMELEN;
}

/* The d-th of "hash:ip,port,ip". */
static bool dimension_is(const struct ipset_type *type, unsigned d, const char *name)
{
	const char *at = strchr(type->name, ':');
	size_t len = strlen(name);

	for (; at && d; d--)
		at = strchr(at + 1, ',');
	return at && strncmp(at + 1, name, len) == 0 && (!at[1 + len] || at[1 + len] == ',');
}

static uint8_t family_of(const struct set_shape *shape)
{
	return shape->nfproto == NFPROTO_IPV4 ? IP_V4 : IP_V6;
}

static bool takes_addresses(const struct ipset_type *type)
{
	return dimension_is(type, 0, "ip") || dimension_is(type, 0, "net");
}

/* Asks the kernel for the set's type each time, as it may be another set by now. */
static int shape_read(struct ipset_writer *w, const char *name, struct set_shape *ret)
{
	if (!is_name(name))
		return -ENOENT;
	ipset_data_reset(data_of(w));
	ipset_data_set(data_of(w), IPSET_SETNAME, name);
	if (!ipset_type_get(w->session, IPSET_CMD_ADD))
		return failed(w);
	*ret = shape_of(w);
	return takes_addresses(ret->type) ? 0 : -EINVAL;
}

static int look(struct ipset_writer *w, const char *name, struct ipset_kind *ret)
{
	struct listing l = {.timeout = false};
	int r;

	if (!is_name(name))
		return -ENOENT;
	ipset_data_reset(data_of(w));
	ipset_data_set(data_of(w), IPSET_SETNAME, name);
	w->listing = &l;
	r = ipset_cmd(w->session, IPSET_CMD_LIST, 0);
	w->listing = NULL;
	if (r < 0 || !l.shape.type)
		return failed(w);
	if (!takes_addresses(l.shape.type))
		return -EINVAL;
	*ret = (struct ipset_kind){
		.family = family_of(&l.shape),
		.fields = l.shape.type->dimension,
		.timeout = l.timeout,
		.elements = l.elements,
		.size = l.size,
	};
	return 0;
}

int ipset_writer_look(struct ipset_writer *w, const char *name, struct ipset_kind *ret)
{
	int r = look(w, name, ret);

	return renewed(w, r) ? look(w, name, ret) : r;
}

/* --- elements --- */

/* libipset would ask the DNS for a name, that is us, and wait. */
static int put_address(
	struct ipset_writer *w, const struct set_shape *shape, unsigned d, char *text)
{
	bool second = shape->type->elem[d].opt == IPSET_OPT_IP2;
	struct in6_addr aligned;
	struct ip_prefix p;

	if (ip_prefix_parse(text, &p) != 0 || p.addr.family != family_of(shape))
		return -EINVAL;
	memcpy(&aligned, p.addr.b, sizeof aligned);
	ipset_data_set(data_of(w), shape->type->elem[d].opt, &aligned);
	if (p.len == 8 * ip_addr_size(&p.addr))
		return 0;
	if (!dimension_is(shape->type, d, "net"))
		return -EINVAL;
	ipset_data_set(data_of(w), second ? IPSET_OPT_CIDR2 : IPSET_OPT_CIDR, &p.len);
	return 0;
}

static int put_parsed(struct ipset_writer *w, const struct set_shape *shape, unsigned d, char *text)
{
	const struct ipset_elem *elem = &shape->type->elem[d];

	/* It may say that all is well and have reported an error: icmp in an IPv6 set. */
	if (elem->parse(w->session, elem->opt, text) < 0 ||
		ipset_session_report_type(w->session) != IPSET_NO_ERROR)
		return failed(w);
	return ipset_data_test(data_of(w), IPSET_OPT_PORT_TO) ? -EINVAL : 0;
}

/* "tcp:443" is "6:443": libipset would read /etc/protocols, which not every system has. */
static int put_port(struct ipset_writer *w, const struct set_shape *shape, unsigned d, char *text)
{
	static const struct {
		const char *name;
		uint8_t number;
	} protocols[] = {{"tcp", 6}, {"udp", 17}, {"sctp", 132}, {"udplite", 136}, {"icmp", 1},
		{"icmpv6", 58}, {"ipv6-icmp", 58}};
	char numbered[ELEMENT_TEXT_MAX + 4];
	size_t len = strcspn(text, ":");

	for (size_t i = 0; text[len] && i < sizeof protocols / sizeof protocols[0]; i++) {
		if (strlen(protocols[i].name) == len &&
			strncmp(text, protocols[i].name, len) == 0) {
			snprintf(
				numbered, sizeof numbered, "%u%s", protocols[i].number, text + len);
			return put_parsed(w, shape, d, numbered);
		}
	}
	return put_parsed(w, shape, d, text);
}

/* Fills the session's data with everything that the element's message needs. */
static int put_element(struct ipset_writer *w, const char *name, const struct set_shape *shape,
	const char *element)
{
	char text[ELEMENT_TEXT_MAX], *at = text, *field;
	size_t len = strlen(element);
	unsigned d = 0;
	int r = 0;

	if (len >= sizeof text)
		return -EINVAL;
	memcpy(text, element, len + 1);
	ipset_data_reset(data_of(w));
	ipset_data_set(data_of(w), IPSET_SETNAME, name);
	ipset_data_set(data_of(w), IPSET_OPT_FAMILY, &shape->nfproto);
	ipset_data_set(data_of(w), IPSET_OPT_TYPE, shape->type);
	for (; r == 0 && (field = strsep(&at, ",")); d++) {
		if (d == shape->type->dimension || !field[0])
			r = -EINVAL;
		else if (shape->type->elem[d].opt == IPSET_OPT_IP ||
			 shape->type->elem[d].opt == IPSET_OPT_IP2)
			r = put_address(w, shape, d, field);
		else if (shape->type->elem[d].opt == IPSET_OPT_PORT)
			r = put_port(w, shape, d, field);
		else
			r = put_parsed(w, shape, d, field);
	}
	if (r != 0)
		return r;
	return d + shape->type->last_elem_optional >= shape->type->dimension ? 0 : -EINVAL;
}

/* Without a timeout, what is there is left as it is. */
static void put_timeout(struct ipset_writer *w, uint32_t timeout_s, bool has_timeout)
{
	if (!has_timeout && !timeout_s) {
		ipset_envopt_unset(w->session, IPSET_ENV_EXIST);
		return;
	}
	if (timeout_s > IPSET_TIMEOUT_MAX_S)
		timeout_s = IPSET_TIMEOUT_MAX_S;
	ipset_data_set(data_of(w), IPSET_OPT_TIMEOUT, &timeout_s);
	ipset_envopt_set(w->session, IPSET_ENV_EXIST);
}

static int add_shaped(struct ipset_writer *w, const char *name, const struct set_shape *shape,
	const char *element, uint32_t timeout_s, bool has_timeout)
{
	int r = put_element(w, name, shape, element);

	if (r != 0)
		return r;
	put_timeout(w, timeout_s, has_timeout);
	if (ipset_cmd(w->session, IPSET_CMD_ADD, 0) < 0)
		r = failed(w);
	if (r == -EEXIST)
		return 0;
	/* Made anew without timeouts: all of it is permanent. */
	if (r == -EOPNOTSUPP && has_timeout && !timeout_s)
		return add_shaped(w, name, shape, element, 0, false);
	return r;
}

static int add(struct ipset_writer *w, const char *name, const char *element, uint32_t timeout_s,
	bool has_timeout)
{
	struct set_shape shape;
	int r = shape_read(w, name, &shape);

	return r != 0 ? r : add_shaped(w, name, &shape, element, timeout_s, has_timeout);
}

int ipset_writer_add(struct ipset_writer *w, const char *name, const char *element,
	uint32_t timeout_s, bool has_timeout)
{
	int r = add(w, name, element, timeout_s, has_timeout);

	return renewed(w, r) ? add(w, name, element, timeout_s, has_timeout) : r;
}

static int test(struct ipset_writer *w, const char *name, const char *element)
{
	struct set_shape shape;
	int r = shape_read(w, name, &shape);

	if (r == 0)
		r = put_element(w, name, &shape, element);
	if (r != 0)
		return r;
	r = ipset_cmd(w->session, IPSET_CMD_TEST, 0) == 0;
	if (r == 0 && ipset_session_report_type(w->session) != IPSET_NOTICE)
		return failed(w);
	ipset_session_report_reset(w->session);
	return r;
}

int ipset_writer_test(struct ipset_writer *w, const char *name, const char *element)
{
	int r = test(w, name, element);

	return renewed(w, r) ? test(w, name, element) : r;
}

/* --- many elements --- */

/* Lines of a message that failed are sent again; so there are few in the next. */
#define LINES_AFTER_ERROR 32

struct filling {
	const char *name;
	struct set_shape shape;
	bool has_timeout;
	struct ipset_element *elements;
	size_t n, done; /* those before it have their results */
};

/* From "Error in line 7: …"; 0: there is none. */
static size_t line_from_report(const struct ipset_session *session)
{
	static const char words[] = "Error in line ";
	const char *text = ipset_session_report_msg(session);

	if (strncmp(text, words, sizeof words - 1) != 0)
		return 0;
	return strtoul(text + sizeof words - 1, NULL, 10);
}

/* The next elements, up to `end`. Returns 0, and all are done, or the error of the element `done`;
 * those behind it may be in or not. */
static int send_lines(struct ipset_writer *w, struct filling *f, size_t end)
{
	size_t line;
	int r;

	for (size_t i = f->done; i < end; i++) {
		struct ipset_element *e = &f->elements[i];

		e->result = put_element(w, f->name, &f->shape, e->text);
		if (e->result != 0)
			continue;
		put_timeout(w, e->timeout_s, f->has_timeout);
		/* Sends what has gathered when the buffer is full. */
		if (ipset_cmd(w->session, IPSET_CMD_ADD, (uint32_t)i + 1) < 0)
			goto refused;
	}
	if (ipset_commit(w->session) == 0) {
		f->done = end;
		return 0;
	}
refused:
	line = line_from_report(w->session);
	r = failed(w);
	if (line > f->done && line <= end)
		f->done = line - 1;
	return r;
}

/* Errors that the next element would meet, too. */
static bool is_of_all(int error)
{
	return error == -ENOENT || error == -EPERM || error == -ENOMEM || error == -EPROTO ||
	       error == -EPROTONOSUPPORT;
}

/* 0, or the error of all elements from `done` on. */
static int fill(struct ipset_writer *w, struct filling *f)
{
	size_t lines = f->n;
	int r = shape_read(w, f->name, &f->shape);

	if (r != 0)
		return r;
	while (f->done < f->n) {
		struct ipset_element *e;

		r = send_lines(w, f, lines < f->n - f->done ? f->done + lines : f->n);
		if (is_of_all(r))
			return r;
		if (r == 0) {
			lines *= 2;
			continue;
		}
		e = &f->elements[f->done++];
		e->result = r == -EEXIST ? 0 : r;
		if (r == -EOPNOTSUPP && !e->timeout_s) /* as in add_shaped() */
			e->result = add_shaped(w, f->name, &f->shape, e->text, 0, false);
		lines = lines > LINES_AFTER_ERROR ? LINES_AFTER_ERROR : (lines + 1) / 2;
	}
	return 0;
}

size_t ipset_writer_fill(struct ipset_writer *w, const char *name, bool has_timeout,
	struct ipset_element *elements, size_t n)
{
	struct filling f = {.name = name, .has_timeout = has_timeout, .elements = elements, .n = n};
	size_t n_in = 0;
	int r;

	/* Whether what is there is renewed goes for a whole message. */
	for (size_t i = 0; i < n; i++)
		f.has_timeout = f.has_timeout || elements[i].timeout_s;
	r = fill(w, &f);
	if (renewed(w, r))
		r = fill(w, &f);
	for (size_t i = 0; i < n; i++) {
		if (i >= f.done)
			elements[i].result = r;
		n_in += elements[i].result == 0;
	}
	return n_in;
}
