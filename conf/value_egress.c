/* Readers of single values of an egress: where a proxy listens, and its password from a file. No
 * message shows what may be a secret. */
#include "conf/options.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static int port_read(const char *text, uint16_t *ret)
{
	int64_t port;

	if (conf_digits_read(&text, UINT16_MAX, &port) || *text || port == 0)
		return -EINVAL;
	*ret = (uint16_t)port;
	return 0;
}

bool conf_ends_in_number(const char *name)
{
	const char *dot = strrchr(name, '.');
	const char *label = dot ? dot + 1 : name;

	return strspn(label, "0123456789") == strlen(label);
}

static int name_port_read(struct conf_reader *r, const char *text, struct conf_proxy *ret)
{
	const char *colon = strchr(text, ':');
	char name[CONF_DOMAIN_MAX + 1];
	const char *host = text;

	if (colon && port_read(colon + 1, &ret->at.port))
		return conf_wrong(r, "%s is not a port", conf_quote(r, colon + 1));
	if (colon)
		host = arena_strndup(r->scratch, text, (size_t)(colon - text));
	if (!host)
		return -ENOMEM;
	if (conf_domain_canonical(r, host, name))
		return -EINVAL;
	if (conf_ends_in_number(name))
		return conf_wrong(
			r, "%s is neither an address nor a host name", conf_quote(r, host));
	return conf_text_store(r, name, &ret->host);
}

int conf_host_port_read(struct conf_reader *r, const char *text, struct conf_proxy *ret)
{
	const char *colon = strchr(text, ':');

	*ret = (struct conf_proxy){0};
	if (ip_port_parse(text, 0, &ret->at)) {
		*ret = (struct conf_proxy){0};
		if (text[0] == '[' || strchr(text, '%') || (colon && strchr(colon + 1, ':')))
			return conf_wrong(r,
				"%s is not an address with a port, or its interface does not exist",
				conf_quote(r, text));
		return name_port_read(r, text, ret);
	}
	if (conf_address_check(r, text, &ret->at))
		return -EINVAL;
	return conf_address_is_any(&ret->at.addr)
		       ? conf_wrong(r, "%s is no address of a server", conf_quote(r, text))
		       : 0;
}

/* The port is 0 if none is written: the default depends on the type. */
static int proxy_read(struct conf_reader *r, const struct conf_option *o,
	const struct conf_node *node, const char *text, void *ret)
{
	struct conf_proxy proxy;
	int err;

	(void)o, (void)node;
	/* Perhaps socks5://user:password@host; not quoted. */
	if (strstr(text, "://") || strchr(text, '@'))
		return conf_wrong(r, "is not the server alone; type, user and password have keys "
				     "of their own");
	err = conf_host_port_read(r, text, &proxy);
	if (!err)
		*(struct conf_proxy *)ret = proxy;
	return err;
}

const struct conf_type conf_type_proxy = {"server",
	"ADDRESS[:PORT], HOST[:PORT]; IPv6 as [ADDRESS]:PORT, link-local ones with %INTERFACE",
	sizeof(struct conf_proxy), NULL, .read = proxy_read};

/* Its beginning, at most size bytes. A FIFO or device could make us wait, and is refused. */
static ssize_t file_head_read(const char *path, char *buf, size_t size, const char **ret_why)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
	struct stat st;
	ssize_t n = -1;

	if (fd < 0 || fstat(fd, &st) < 0) {
		*ret_why = strerror(errno);
	} else if (!S_ISREG(st.st_mode)) {
		*ret_why = S_ISDIR(st.st_mode) ? "it is a directory" : "it is not a file";
	} else {
		do
			n = read(fd, buf, size);
		while (n < 0 && errno == EINTR);
		if (n < 0)
			*ret_why = strerror(errno);
	}
	if (fd >= 0)
		close(fd);
	return n;
}

static int line_store(struct conf_reader *r, const char *line, size_t n, void *ret)
{
	char *copy = arena_strndup(r->arena, line, n);

	if (!copy)
		return -ENOMEM;
	memcpy(ret, &copy, sizeof copy);
	return 0;
}

static int password_file_read(struct conf_reader *r, const struct conf_option *o,
	const struct conf_node *node, const char *text, void *ret)
{
	const char *path = conf_path_absolute(r, text), *why = NULL;
	char line[CONF_SECRET_MAX + 3]; /* and CR LF, and one that is too many */
	size_t n;
	ssize_t got;
	int err;

	(void)o, (void)node;
	if (!text[0])
		return conf_wrong(r, "is empty");
	if (!path)
		return -ENOMEM;
	got = file_head_read(path, line, sizeof line - 1, &why);
	if (got < 0)
		return conf_wrong(r, "%s cannot be read: %s", conf_quote(r, path), why);
	line[got] = 0;
	n = strcspn(line, "\r\n");
	if (n < (size_t)got && !line[n])
		err = conf_wrong(
			r, "the first line of %s contains a NUL character", conf_quote(r, path));
	else if (n == 0)
		err = conf_wrong(r, "the first line of %s is empty", conf_quote(r, path));
	else if (n > CONF_SECRET_MAX)
		err = conf_wrong(r, "the first line of %s is longer than %d bytes",
			conf_quote(r, path), CONF_SECRET_MAX);
	else
		err = line_store(r, line, n, ret);
	explicit_bzero(line, sizeof line);
	return err;
}

const struct conf_type conf_type_password_file = {"path",
	"a file whose first line is the password, 1 to 255 bytes", sizeof(char *), NULL,
	.read = password_file_read};
