/* A configuration of arbitrary bytes: it is read, or at least one error is told; every message is
 * one line that begins with the file's name, and the messages come in the order of their lines. */
#include <errno.h>
#include <stdint.h>
#include <stdio.h>
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

static size_t strings_walk(const struct conf_strings *strings)
{
	size_t sum = 0;

	for (size_t i = 0; i < strings->n; i++)
		sum += strlen(strings->v[i]);
	return sum;
}

static size_t who_walk(const struct conf_who *who)
{
	size_t sum = strings_walk(&who->hosts) + strings_walk(&who->interfaces);

	for (size_t i = 0; i < who->prefixes.n; i++)
		sum += who->prefixes.v[i].len;
	for (size_t i = 0; i < who->n_macs; i++)
		sum += who->macs[i].b[0];
	return sum;
}

/* The text is one object, its quotes in pairs and its brackets too; what is read of it elsewhere
 * does not have to be valid. */
static size_t record_walk(const struct conf_record *record)
{
	const char *p = record->json;
	unsigned depth = 0;
	bool quoted = false;

	for (; *p; p++) {
		if ((unsigned char)*p < 0x20)
			abort();
		if (quoted && *p == '\\' && p[1])
			p++;
		else if (*p == '"')
			quoted = !quoted;
		else if (!quoted && (*p == '{' || *p == '['))
			depth++;
		else if (!quoted && (*p == '}' || *p == ']'))
			depth--;
	}
	if (record->json[0] != '{' || p[-1] != '}' || quoted || depth)
		abort();
	return (size_t)(p - record->json);
}

static size_t lists_walk(const struct config *c)
{
	size_t sum = 0;

	for (size_t i = 0; i < c->n_lists; i++)
		for (size_t j = 0; j < c->lists[i].n_files; j++) {
			const struct conf_list_file *f = &c->lists[i].files[j];

			if (f->path[0] != '/' || f->line == 0)
				abort();
			sum += (f->tag ? strlen(f->tag) : 0) +
			       (f->attribute ? strlen(f->attribute) : 0);
		}
	return sum;
}

static size_t records_walk(const struct conf_records *records)
{
	size_t sum = strings_walk(&records->files) + strlen(records->store) + strlen(records->from);

	for (size_t i = 0; i < records->n_records; i++)
		sum += record_walk(&records->records[i]);
	for (size_t i = 0; i < records->n_lines; i++)
		sum += strlen(records->lines[i].name) + records->lines[i].clients.n;
	return sum;
}

static void nothing_said(void *arg, enum conf_severity severity, const char *text)
{
	(void)arg, (void)severity, (void)text;
}

/* As it is shown, a set is read back as the same. */
static size_t set_walk(const struct conf_set *set)
{
	struct conf_set_field fields[CONF_SET_FIELDS_MAX];
	size_t n = conf_set_fields(set->key, fields), addrs = 0, clients = 0;
	char shown[CONF_SET_TEXT_MAX], text[CONF_SET_TEXT_MAX + 64], again[CONF_SET_TEXT_MAX];
	struct config *c = NULL;

	for (size_t i = 0; i < n; i++) {
		addrs += fields[i].kind == CONF_FIELD_ADDR;
		clients += fields[i].kind == CONF_FIELD_CLIENT;
		if (!fields[i].len)
			abort();
	}
	if (set->key && (n < 2 || addrs != 1 || clients > 1 || set->value))
		abort();
	conf_set_format(set, shown, sizeof shown);
	if (strlen(shown) + 1 >= sizeof shown)
		abort();
	if (strstr(shown, "${"))
		return 1;
	snprintf(text, sizeof text, "rules: [{name: a, also: yes, %s: '%s'}]",
		set->is_ipset ? "ipset"
		: set->value  ? "nftmap"
			      : "nftset",
		shown);
	if (conf_parse("/f", text, strlen(text), nothing_said, NULL, &c) || c->rules[0].n_sets != 1)
		abort();
	if (strcmp(conf_set_format(&c->rules[0].sets[0], again, sizeof again), shown) != 0)
		abort();
	conf_free(c);
	return strlen(shown);
}

static size_t checks_walk(const struct config *c, const struct conf_rule *r)
{
	size_t sum = 0;

	if (r->n_checks && (r->also || r->answer != CONF_ANSWER_REAL))
		abort();
	for (size_t i = 0; i < r->n_checks; i++) {
		const struct conf_check *k = &r->checks[i];
		const struct conf_rule *other = &c->rules[k->rule];

		if (other == r || other->also || !k->n_lists || !k->line)
			abort();
		if (k->learn && (k->learn[0] != '/' || !k->capacity || k->capacity > 1000000))
			abort();
		for (size_t j = 0; j < k->n_lists; j++)
			sum += strlen(c->lists[k->lists[j]].name);
		sum += strlen(other->name);
	}
	return sum;
}

/* What a rule has beside its answer, egress and upstream. */
static size_t rule_walk(const struct config *c, const struct conf_rule *r)
{
	size_t sum = strings_walk(&r->domain) + strings_walk(&r->except_names) +
		     who_walk(&r->client) + r->not_client.n + (r->cname ? strlen(r->cname) : 0);

	for (size_t i = 0; i < r->n_lists; i++)
		sum += strlen(c->lists[r->lists[i]].files[0].path);
	for (size_t i = 0; i < r->n_except_lists; i++)
		sum += strlen(c->lists[r->except_lists[i]].name);
	for (size_t i = 0; i < r->n_to; i++)
		sum += strlen(c->lists[r->to[i]].name);
	for (size_t i = 0; i < r->n_sets; i++)
		sum += set_walk(&r->sets[i]);
	for (size_t i = 0; i < r->n_records; i++)
		sum += record_walk(&r->records[i]);
	if (r->also ? !r->n_sets
		    : r->answer == CONF_ANSWER_LOCAL && !r->n_addresses && !r->n_records &&
				!r->cname)
		abort();
	if (!r->push_timeout_ms || r->push_timeout_ms > 5000)
		abort();
	return sum + checks_walk(c, r);
}

static size_t server_walk(const struct conf_server *s)
{
	size_t sum = strlen(s->url) + (s->host ? strlen(s->host) : 0) +
		     (s->bind.interface ? strlen(s->bind.interface) : 0);
	bool encrypted = s->transport == CONF_TLS || s->transport == CONF_HTTPS;

	if (!s->at.port || !s->host != (s->at.addr.family != IP_NONE) || !s->line)
		abort();
	if (!s->path != (s->transport != CONF_HTTPS) || (s->path && s->path[0] != '/'))
		abort();
	if (!encrypted && (s->n_pins || (s->tls_name && s->tls_name != s->host)))
		abort();
	for (size_t i = 0; i < s->n_pins; i++)
		sum += s->pins[i].sha256[31];
	return sum + (s->tls_name ? strlen(s->tls_name) : 0) + (s->path ? strlen(s->path) : 0);
}

/* A name has somebody to resolve it, and ways to fall back end. */
static size_t upstream_walk(const struct config *c, const struct conf_upstream *u)
{
	size_t sum = strlen(u->name) + (u->ca ? strlen(u->ca) : 0), steps = 0;

	if (!u->n_servers || !u->total_ms || (u->leak_strict && !u->n_lists))
		abort();
	for (size_t i = 0; i < u->n_servers; i++) {
		sum += server_walk(&u->servers[i]);
		if (u->servers[i].host && u->bootstrap < 0 && u->via < 0)
			abort();
	}
	if (u->via >= 0)
		sum += strlen(c->egresses[u->via].name);
	if (u->bootstrap >= 0)
		sum += strlen(c->upstreams[u->bootstrap].name);
	if (u->strict_to >= 0)
		sum += strlen(c->upstreams[u->strict_to].name);
	for (size_t i = 0; i < u->n_lists; i++)
		sum += strlen(c->lists[u->lists[i]].name);
	for (const struct conf_upstream *f = u; f->fallback >= 0; f = &c->upstreams[f->fallback])
		if (++steps > c->n_upstreams)
			abort();
	return sum + u->ignore_ip.n + u->bogus_nxdomain.n;
}

/* Reads every reference and string, for ASan. */
static size_t config_walk(const struct config *c)
{
	size_t sum = strlen(c->gateway.tun) + strlen(c->fakeip.store) + strlen(c->control_socket);

	for (size_t i = 0; i < c->n_upstreams; i++)
		sum += upstream_walk(c, &c->upstreams[i]);
	if (c->cache.min_ttl_s > c->cache.max_ttl_s || c->cache.prefetch_percent > 90)
		abort();
	sum += strlen(c->cache.store);
	for (size_t i = 0; i < c->n_rules; i++) {
		const struct conf_rule *r = &c->rules[i];

		sum += strlen(r->name);
		if ((r->answer == CONF_ANSWER_REAL && !r->also) || r->upstream >= 0)
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
		sum += rule_walk(c, r);
	}
	for (size_t i = 0; i < c->n_clients; i++)
		sum += strlen(c->clients[i].name) + who_walk(&c->clients[i].who);
	return sum + lists_walk(c) + records_walk(&c->records) +
	       who_walk(&c->gateway.relay_clients);
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
