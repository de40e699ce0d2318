/* A configuration of arbitrary bytes: it is read, or at least one error is told; every message is
 * one line that begins with the file's name, and the messages come in the order of their lines. */
#include <errno.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "conf/conf.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct seen {
	unsigned errors;
	unsigned long line;
};

static void message_check(void *arg, enum conf_severity severity, const char *text)
{
	struct seen *seen = arg;
	unsigned long line;

	if (strncmp(text, "/f:", 3) != 0)
		abort();
	line = strtoul(text + 3, NULL, 10);
	if (line < seen->line)
		abort();
	for (const char *p = text; *p; p++)
		if ((unsigned char)*p < 0x20 || *p == 0x7f)
			abort();
	seen->line = line;
	seen->errors += severity == CONF_ERROR;
}

/* Of a rule that answers fake: what is needed to carry is there, and groups end. */
static size_t egress_walk(const struct config *c, const struct conf_egress *e)
{
	size_t sum = strlen(e->name);

	for (size_t i = 0; i < c->n_egresses && e->type == CONF_EGRESS_GROUP; i++)
		e = &c->egresses[e->of[0]];
	switch (e->type) {
	case CONF_EGRESS_DIRECT:
		return sum + strlen(c->upstreams[e->upstream].name);
	case CONF_EGRESS_SOCKS5:
	case CONF_EGRESS_HTTP:
		if (!e->server.at.port || !e->user != !e->password)
			abort();
		if (e->server.host)
			sum += strlen(e->server.host) + strlen(c->upstreams[e->bootstrap].name);
		return sum + (e->user ? strlen(e->user) + strlen(e->password) : 0);
	case CONF_EGRESS_REJECT:
		return sum;
	case CONF_EGRESS_GROUP:
		break;
	}
	abort();
}

/* Reads every reference and string, for ASan. */
static size_t config_walk(const struct config *c)
{
	size_t sum = strlen(c->gateway.tun) + strlen(c->fakeip.store) + strlen(c->control_socket);

	for (size_t i = 0; i < c->n_upstreams; i++) {
		if (!c->upstreams[i].n_servers)
			abort();
		for (size_t j = 0; j < c->upstreams[i].n_servers; j++)
			sum += strlen(c->upstreams[i].servers[j].url);
	}
	for (size_t i = 0; i < c->n_rules; i++) {
		const struct conf_rule *r = &c->rules[i];

		sum += strlen(r->name);
		if (r->answer == CONF_ANSWER_REAL || r->upstream >= 0)
			sum += strlen(c->upstreams[r->upstream].name);
		if (r->answer == CONF_ANSWER_FAKE)
			sum += egress_walk(c, &c->egresses[r->egress]);
		for (size_t j = 0; j < r->n_unless; j++) {
			const struct conf_unless *u = &r->unless[j];

			if (!u->n_lists)
				abort();
			sum += strlen(c->lists[u->lists[u->n_lists - 1]].name) +
			       strlen(c->upstreams[u->upstream].name) +
			       strlen(c->egresses[u->egress].name);
		}
		for (size_t j = 0; j < r->domain.n; j++)
			sum += strlen(r->domain.v[j]);
		for (size_t j = 0; j < r->n_lists; j++)
			sum += strlen(c->lists[r->lists[j]].paths.v[0]);
		for (size_t j = 0; j < r->n_sets; j++)
			sum += strlen(r->sets[j].name);
	}
	return sum;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct seen seen = {0};
	struct config *config = NULL;
	int err = conf_parse("/f", (const char *)data, size, message_check, &seen, &config);

	if (err != (seen.errors ? -EINVAL : 0) || !config != (err != 0))
		abort();
	if (config && config_walk(config) == 0)
		abort();
	conf_free(config);
	return 0;
}
