#include "netlink/ipset.h"

#include <errno.h>
#include <libipset/data.h>
#include <libipset/parse.h>
#include <libipset/session.h>
#include <libipset/types.h>
#include <stdlib.h>
#include <string.h>

struct ipset_writer {
	struct ipset_session *session;
};

static int discard(struct ipset_session *session, void *arg, const char *format, ...)
	__attribute__((format(printf, 3, 4)));
static int discard(struct ipset_session *session, void *arg, const char *format, ...)
{
	(void)session;
	(void)arg;
	(void)format;
	return 0;
}

int ipset_writer_open(struct ipset_writer **ret)
{
	static bool types_loaded;
	struct ipset_writer *w = calloc(1, sizeof *w);

	if (!w)
		return -ENOMEM;
	if (!types_loaded) {
		ipset_load_types();
		types_loaded = true;
	}
	w->session = ipset_session_init(discard, NULL);
	if (!w->session) {
		free(w);
		return -EPROTONOSUPPORT;
	}
	ipset_envopt_set(w->session, IPSET_ENV_EXIST);
	*ret = w;
	return 0;
}

void ipset_writer_close(struct ipset_writer *w)
{
	if (!w)
		return;
	ipset_session_fini(w->session);
	free(w);
}

/* libipset tells what went wrong in words only; these are the ones of its table of errors that
 * matter to us. */
static int error_from_report(const struct ipset_session *session)
{
	static const struct {
		const char *words;
		int error;
	} known[] = {
		{"does not exist", -ENOENT},
		{"is full", -ENFILE},
		{"without timeout", -EOPNOTSUPP},
		{"Operation not permitted", -EPERM},
		{"protocol", -EPROTONOSUPPORT},
	};
	const char *text = ipset_session_report_msg(session);

	for (size_t i = 0; text && i < sizeof known / sizeof known[0]; i++) {
		if (strstr(text, known[i].words))
			return known[i].error;
	}
	return -EINVAL;
}

static int failed(struct ipset_writer *w)
{
	int r = error_from_report(w->session);

	ipset_session_report_reset(w->session);
	ipset_data_reset(ipset_session_data(w->session));
	return r;
}

/* Names the set and learns its type from the kernel. NULL and *ret_error. */
static const struct ipset_type *choose(struct ipset_writer *w, const char *name, int *ret_error)
{
	const struct ipset_type *type = NULL;

	if (ipset_session_data_set(w->session, IPSET_SETNAME, name) == 0)
		type = ipset_type_get(w->session, IPSET_CMD_ADD);
	if (!type)
		*ret_error = failed(w);
	return type;
}

static uint8_t chosen_family(struct ipset_writer *w)
{
	return ipset_data_family(ipset_session_data(w->session)) == 2 /* NFPROTO_IPV4 */ ? IP_V4
											 : IP_V6;
}

int ipset_writer_look(struct ipset_writer *w, const char *name, uint8_t *ret_family)
{
	int r = 0;
	const struct ipset_type *type = choose(w, name, &r);

	if (!type)
		return r;
	*ret_family = chosen_family(w);
	if (type->dimension != IPSET_DIM_ONE || strcmp(type->name, "bitmap:port") == 0 ||
		strncmp(type->name, "list:", 5) == 0)
		r = -EINVAL;
	ipset_data_reset(ipset_session_data(w->session));
	return r;
}

int ipset_writer_add(
	struct ipset_writer *w, const char *name, const struct ip_addr *addr, uint32_t timeout_s)
{
	int r = 0;
	const struct ipset_type *type = choose(w, name, &r);
	char text[IP_TEXT_MAX];

	if (!type)
		return r;
	ip_addr_format(addr, text);
	if (ipset_parse_elem(w->session, type->last_elem_optional, text) < 0)
		return failed(w);
	if (timeout_s && ipset_session_data_set(w->session, IPSET_OPT_TIMEOUT, &timeout_s) < 0)
		return failed(w);
	if (ipset_cmd(w->session, IPSET_CMD_ADD, 0) < 0)
		return failed(w);
	ipset_data_reset(ipset_session_data(w->session));
	return 0;
}
