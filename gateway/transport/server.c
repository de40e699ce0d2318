#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "gateway/transport/transport_internal.h"

static void server_free(struct transport_server *s)
{
	tls_context_free(s->tls);
	egress_set_unref(s->via);
	free(s->conf.host);
	free(s->conf.tls_name);
	free(s->conf.path);
	free(s->conf.url);
	free(s->conf.pins);
	free(s->conf.bind.interface);
	free(s);
}

static bool copy_text(char **to, const char *from)
{
	*to = from ? strdup(from) : NULL;
	return *to || !from;
}

static bool copy_conf(struct conf_server *to, const struct conf_server *from)
{
	size_t size = from->n_pins * sizeof *from->pins;
	bool ok;

	*to = *from;
	to->pins = NULL;
	ok = copy_text(&to->host, from->host);
	ok = copy_text(&to->tls_name, from->tls_name) && ok;
	ok = copy_text(&to->path, from->path) && ok;
	ok = copy_text(&to->url, from->url) && ok;
	ok = copy_text(&to->bind.interface, from->bind.interface) && ok;
	if (ok && size) {
		to->pins = malloc(size);
		if (to->pins)
			memcpy(to->pins, from->pins, size);
		ok = to->pins;
	}
	return ok;
}

static int make_tls(struct transport_server *s, const char *ca, char why[128])
{
	const struct conf_server *c = &s->conf;
	struct tls_config config = {
		.name = c->tls_name,
		.address = c->at.addr,
		.ca = ca,
		.pins = c->pins,
		.n_pins = c->n_pins,
		.alpn = c->transport == CONF_HTTPS ? "h2" : "dot",
	};

	return tls_context_new(&config, &s->tls, why);
}

int transport_server_new(const struct conf_server *conf, const struct transport_way *way,
	struct transport_server **ret, char why[128])
{
	struct transport_server *s = calloc(1, sizeof *s);
	int error;

	why[0] = 0;
	if (!s)
		return -ENOMEM;
	atomic_init(&s->refs, 1);
	s->mark = way->mark;
	s->egress = way->egress;
	if (way->via)
		s->via = egress_set_ref(way->via);
	error = copy_conf(&s->conf, conf) ? 0 : -ENOMEM;
	if (error == 0 && transport_server_is_encrypted(s))
		error = make_tls(s, way->ca, why);
	if (error < 0) {
		server_free(s);
		return error;
	}
	*ret = s;
	return 0;
}

struct transport_server *transport_server_ref(struct transport_server *s)
{
	atomic_fetch_add_explicit(&s->refs, 1, memory_order_relaxed);
	return s;
}

void transport_server_unref(struct transport_server *s)
{
	if (s && atomic_fetch_sub_explicit(&s->refs, 1, memory_order_acq_rel) == 1)
		server_free(s);
}

bool transport_server_is_encrypted(const struct transport_server *s)
{
	return s->conf.transport == CONF_TLS || s->conf.transport == CONF_HTTPS;
}

bool transport_server_goes_by_name(const struct transport_server *s)
{
	return s->via && s->conf.host && egress_goes_by_name(s->via, s->egress);
}

bool transport_server_is_direct(const struct transport_server *s, uint32_t *ret_mark)
{
	unsigned leaf;

	*ret_mark = s->mark;
	if (!s->via)
		return true;
	leaf = egress_choose(s->via, s->egress);
	if (egress_type(s->via, leaf) != CONF_EGRESS_DIRECT)
		return false;
	*ret_mark |= egress_conf(s->via, leaf)->mark.value;
	return true;
}
