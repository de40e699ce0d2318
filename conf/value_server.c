/* Readers of single values of an upstream's server: its URL, the pins of its keys, where it is
 * asked from. No message shows what may be a secret. */
#include "conf/options.h"

#include <errno.h>
#include <string.h>
#include <strings.h>

#include "gateway/base/container.h"

enum { PATH_BYTES_MAX = 1024, PIN_TEXT = 44 };

static const struct scheme {
	const char *prefix;
	enum conf_transport transport;
	uint16_t port;
} schemes[] = {{"udp://", CONF_UDP, 53}, {"tcp://", CONF_TCP, 53}, {"dns://", CONF_DNS, 53},
	{"tls://", CONF_TLS, 853}, {"https://", CONF_HTTPS, 443}};

static bool is_encrypted(const struct scheme *scheme)
{
	return scheme->transport == CONF_TLS || scheme->transport == CONF_HTTPS;
}

static bool is_hex(char c)
{
	return c && strchr("0123456789abcdefABCDEF", c) != NULL;
}

/* A path and perhaps a query as RFC 3986, section 3.3 and 3.4, has them. */
static int path_check(struct conf_reader *r, const char *path)
{
	static const char known[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"
				    "-._~!$&'()*+,;=:/?";

	if (strlen(path) > PATH_BYTES_MAX)
		return conf_wrong(r, "the path is longer than %d bytes", PATH_BYTES_MAX);
	for (const char *p = path; *p; p++) {
		if (*p == '%' ? !is_hex(p[1]) || !is_hex(p[2]) : !strchr(known, *p))
			return conf_wrong(r, "the path %s has a character that must be %%XX",
				conf_quote(r, path));
	}
	return 0;
}

/* path: behind HOST, NULL if there is none. "{?dns}" is the template of RFC 8484, section 4.1. */
static int path_read(
	struct conf_reader *r, const struct scheme *scheme, char *path, struct conf_server *s)
{
	static const char template[] = "{?dns}";
	size_t n = path ? strlen(path) : 0, tail = sizeof template - 1;

	if (path && scheme->transport != CONF_HTTPS) {
		r->allowed = "a path with https://";
		return conf_wrong(r, "has a path, which %s has not", scheme->prefix);
	}
	if (n >= tail && strcmp(path + n - tail, template) == 0)
		path[n - tail] = 0;
	if (path && path_check(r, path))
		return -EINVAL;
	if (scheme->transport == CONF_HTTPS)
		return conf_text_store(r, path ? path : "/dns-query", &s->path);
	return 0;
}

/* name: behind the last '@', NULL if there is none. */
static int tls_name_read(
	struct conf_reader *r, const struct scheme *scheme, const char *name, struct conf_server *s)
{
	char canonical[CONF_DOMAIN_MAX + 1];

	if (name && !is_encrypted(scheme)) {
		r->allowed = "@TLS-NAME with tls://, https://";
		return conf_wrong(r, "has an '@', which %s has not", scheme->prefix);
	}
	if (!name) {
		s->tls_name = s->host;
		return 0;
	}
	if (!name[0])
		return conf_wrong(r, "ends in '@', without a name behind it");
	if (conf_domain_canonical(r, name, canonical))
		return -EINVAL;
	if (conf_ends_in_number(canonical))
		return conf_wrong(
			r, "%s is not a name, and an address needs none", conf_quote(r, name));
	return conf_text_store(r, canonical, &s->tls_name);
}

/* "user:password@host" and what else is not HOST[:PORT][/path][@TLS-NAME]. */
static bool has_userinfo(const char *authority, const char *name)
{
	const char *colon = strrchr(authority, ':'), *close = strrchr(authority, ']');

	if (!name)
		return false;
	if (strpbrk(name, "/:") || strchr(authority, '@'))
		return true;
	return colon && (!close || colon > close) &&
	       colon[1 + strspn(colon + 1, "0123456789abcdefABCDEF")] != 0;
}

/* Cuts rest, what is behind the scheme, into its parts. */
static int parts_read(
	struct conf_reader *r, const struct scheme *scheme, char *rest, struct conf_server *s)
{
	char *at = strrchr(rest, '@'), *name = at ? at + 1 : NULL, *path;
	struct conf_proxy host;
	int err;

	if (at)
		*at = 0;
	path = strchr(rest, '/');
	if (path) /* it needs its slash */
		path = arena_strdup(r->scratch, path);
	rest[strcspn(rest, "/")] = 0;
	if (has_userinfo(rest, name) || (name && path && strchr(path, '@')))
		return conf_wrong(r, "has more before or behind an '@' than a name; a user and a "
				     "password are not supported");
	if (!rest[0])
		return conf_wrong(r, "has no host");
	err = conf_host_port_read(r, rest, &host);
	if (err)
		return err;
	s->host = host.host;
	s->at = host.at;
	if (!s->at.port)
		s->at.port = scheme->port;
	err = path_read(r, scheme, path, s);
	return err ? err : tls_name_read(r, scheme, name, s);
}

static int server_url_read(struct conf_reader *r, const char *text, struct conf_server *s)
{
	const struct scheme *scheme = NULL;
	const char *colon = strstr(text, "://");
	char *rest;

	for (size_t i = 0; i < sizeof schemes / sizeof schemes[0] && !scheme; i++)
		if (strncasecmp(text, schemes[i].prefix, strlen(schemes[i].prefix)) == 0)
			scheme = &schemes[i];
	if (!scheme && colon)
		return conf_wrong(r, "has the unknown scheme %s",
			conf_quote(r, arena_strndup(r->scratch, text, (size_t)(colon - text))));
	if (!scheme)
		return conf_wrong(r, "does not begin with udp://, tcp://, dns://, tls:// or "
				     "https://");
	rest = arena_strdup(r->scratch, text + strlen(scheme->prefix));
	if (!rest)
		return -ENOMEM;
	s->transport = scheme->transport;
	if (parts_read(r, scheme, rest, s))
		return -EINVAL;
	return conf_text_store(r, text, &s->url);
}

static int server_read(struct conf_reader *r, const struct conf_option *o,
	const struct conf_node *node, const char *text, void *ret)
{
	(void)o, (void)node;
	return server_url_read(r, text, ret);
}

#define SERVER_FORMS                                                                               \
	"udp://HOST[:PORT], tcp://HOST[:PORT], dns://HOST[:PORT], tls://HOST[:PORT][@TLS-NAME], "  \
	"https://HOST[:PORT][/PATH][@TLS-NAME]; IPv6 as [ADDRESS], link-local ones with "          \
	"%INTERFACE"

const struct conf_type conf_type_server = {
	"URL", SERVER_FORMS, sizeof(struct conf_server), NULL, .read = server_read};

static int server_url_key_read(struct conf_reader *r, const struct conf_option *o,
	const struct conf_node *node, const char *text, void *ret)
{
	(void)o, (void)node;
	return server_url_read(r, text, container_of(ret, struct conf_server, url));
}

const struct conf_type conf_type_server_url = {
	"URL", SERVER_FORMS, sizeof(char *), NULL, .read = server_url_key_read};

/* 44 characters of base64 (RFC 4648, section 4), which are 32 bytes and nothing else. */
static int base64_read(const char *text, uint8_t out[32])
{
	static const char digits[] =
		"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
	uint32_t bits = 0;
	size_t n = 0;

	if (strlen(text) != PIN_TEXT || text[PIN_TEXT - 1] != '=')
		return -EINVAL;
	for (size_t i = 0; i < PIN_TEXT - 1; i++) {
		const char *digit = strchr(digits, text[i]);

		if (!digit)
			return -EINVAL;
		bits = bits << 6 | (uint32_t)(digit - digits);
		/* The k-th digit ends the byte (6 k) / 8. */
		if (i % 4)
			out[n++] = (uint8_t)(bits >> (6 - 2 * (i % 4)));
	}
	return bits & 3 ? -EINVAL : 0;
}

static int pin_read(struct conf_reader *r, const struct conf_option *o,
	const struct conf_node *node, const char *text, void *ret)
{
	struct conf_pin pin;

	(void)o, (void)node;
	if (strncmp(text, "sha256/", 7) != 0)
		return conf_wrong(r, "%s does not begin with sha256/", conf_quote(r, text));
	if (base64_read(text + 7, pin.sha256))
		return conf_wrong(r, "%s is not 32 bytes in base64", conf_quote(r, text + 7));
	*(struct conf_pin *)ret = pin;
	return 0;
}

const struct conf_type conf_type_pin = {
	"pin", "sha256/BASE64 of 32 bytes", sizeof(struct conf_pin), NULL, .read = pin_read};

static int bind_read(struct conf_reader *r, const struct conf_option *o,
	const struct conf_node *node, const char *text, void *ret)
{
	struct conf_bind bind = {0};
	struct ip_port at = {0};

	(void)o, (void)node;
	if (ip_addr_parse(text, &at.addr) == 0) {
		if (conf_address_check(r, text, &at))
			return -EINVAL;
		if (conf_address_is_any(&at.addr))
			return conf_wrong(r, "%s is any address", conf_quote(r, text));
		bind.address = at.addr;
	} else if (!conf_is_interface(text, strlen(text)) ||
		   strspn(text, "0123456789.") == strlen(text)) {
		return conf_wrong(r, "%s is neither an address nor the name of an interface",
			conf_quote(r, text));
	} else if (conf_text_store(r, text, &bind.interface)) {
		return -ENOMEM;
	}
	*(struct conf_bind *)ret = bind;
	return 0;
}

const struct conf_type conf_type_bind = {"address", "an address, the name of an interface",
	sizeof(struct conf_bind), NULL, .read = bind_read};
