/* The last good addresses of servers with names, kept over a restart:
 * {"GROUP": {"HOST": ["192.0.2.1", "2001:db8::1"]}}, the one that is used now first. */
#include <errno.h>
#include <fcntl.h>
#include <json-c/json.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "gateway/base/file.h"
#include "gateway/resolve/resolve_internal.h"

#define FILE_MAX  262144
#define DEPTH_MAX 4 /* what is not deeper than ours */

/* --- read --- */

/* The whole file, NUL behind it; -EFBIG. */
static int text_read(const char *path, char **ret, size_t *ret_len)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK), error = 0;
	char *text;
	size_t len = 0;

	if (fd < 0)
		return -errno;
	text = malloc(FILE_MAX + 1);
	while (text && !error && len <= FILE_MAX) {
		ssize_t n = read(fd, text + len, FILE_MAX + 1 - len);

		if (n == 0)
			break;
		if (n > 0)
			len += (size_t)n;
		else if (errno != EINTR)
			error = -errno;
	}
	(void)close(fd);
	if (!text || error || len > FILE_MAX) {
		free(text);
		return !text ? -ENOMEM : error ? error : -EFBIG;
	}
	text[len] = 0;
	*ret = text;
	*ret_len = len;
	return 0;
}

/* -EBADMSG: it is no single object. */
static int text_parse(const char *text, size_t len, struct json_object **ret)
{
	struct json_tokener *tokener = json_tokener_new_ex(DEPTH_MAX);
	struct json_object *all;
	int error = 0;

	if (!tokener)
		return -ENOMEM;
	json_tokener_set_flags(tokener, JSON_TOKENER_STRICT | JSON_TOKENER_VALIDATE_UTF8);
	all = json_tokener_parse_ex(tokener, text, (int)len);
	if (!json_object_is_type(all, json_type_object) ||
		strspn(text + json_tokener_get_parse_end(tokener), " \t\r\n") !=
			len - json_tokener_get_parse_end(tokener))
		error = -EBADMSG;
	json_tokener_free(tokener);
	if (error)
		json_object_put(all);
	else
		*ret = all;
	return error;
}

/* v[SERVER_ADDRESSES_MAX]; how many, or -EBADMSG. */
static int addresses_of(struct json_object *value, struct ip_addr *v)
{
	size_t n;

	if (!json_object_is_type(value, json_type_array))
		return -EBADMSG;
	n = json_object_array_length(value);
	if (n > SERVER_ADDRESSES_MAX)
		return -EBADMSG;
	for (size_t i = 0; i < n; i++) {
		struct json_object *a = json_object_array_get_idx(value, i);
		const char *text = json_object_get_string(a);

		if (!json_object_is_type(a, json_type_string) ||
			strlen(text) != (size_t)json_object_get_string_len(a) ||
			ip_addr_parse(text, &v[i]) < 0 || !server_address_is_usable(&v[i]))
			return -EBADMSG;
		for (size_t k = 0; k < i; k++) {
			if (ip_addr_equal(&v[k], &v[i]))
				return -EBADMSG;
		}
	}
	return (int)n;
}

static int check(struct json_object *all)
{
	struct ip_addr v[SERVER_ADDRESSES_MAX];

	json_object_object_foreach(all, group, hosts)
	{
		(void)group;
		if (!json_object_is_type(hosts, json_type_object))
			return -EBADMSG;
		json_object_object_foreach(hosts, host, addresses)
		{
			(void)host;
			if (addresses_of(addresses, v) < 0)
				return -EBADMSG;
		}
	}
	return 0;
}

static void take(struct server *s, struct json_object *all)
{
	struct json_object *hosts, *addresses;
	struct ip_addr v[SERVER_ADDRESSES_MAX];
	int n;

	if (!json_object_object_get_ex(all, s->group, &hosts) ||
		!json_object_object_get_ex(hosts, s->host, &addresses))
		return;
	n = addresses_of(addresses, v);
	if (n > 0)
		server_addresses_load(s, v, (size_t)n);
}

int resolve_addresses_load(struct resolve_groups *g, const char *path)
{
	struct json_object *all = NULL;
	char *text = NULL;
	size_t len = 0;
	int error = text_read(path, &text, &len);

	if (error)
		return error == -EFBIG ? -EBADMSG : error;
	error = text_parse(text, len, &all);
	free(text);
	if (!error)
		error = check(all);
	for (size_t i = 0; !error && i < g->n_groups; i++) {
		for (size_t k = 0; k < g->groups[i].n_servers; k++) {
			if (g->groups[i].servers[k]->host)
				take(g->groups[i].servers[k], all);
		}
	}
	json_object_put(all);
	return error;
}

/* --- written --- */

/* False: no memory. */
static bool put(struct json_object *hosts, struct server *s)
{
	struct ip_addr v[SERVER_ADDRESSES_MAX];
	size_t n = server_addresses_get(s, v);
	struct json_object *array;
	bool fine = true;

	if (!n)
		return true;
	array = json_object_new_array_ext((int)n);
	if (!array)
		return false;
	for (size_t i = 0; fine && i < n; i++) {
		char buf[IP_TEXT_MAX];
		struct json_object *a = json_object_new_string(ip_addr_format(&v[i], buf));

		fine = a && json_object_array_add(array, a) == 0;
		if (!fine)
			json_object_put(a);
	}
	if (fine && json_object_object_add(hosts, s->host, array) == 0)
		return true;
	json_object_put(array);
	return false;
}

static bool put_group(struct json_object *all, const struct group *group)
{
	struct json_object *hosts = json_object_new_object();
	bool fine = hosts != NULL;

	for (size_t k = 0; fine && k < group->n_servers; k++) {
		if (group->servers[k]->host)
			fine = put(hosts, group->servers[k]);
	}
	if (fine && json_object_object_length(hosts) == 0)
		json_object_put(hosts);
	else if (!fine || json_object_object_add(all, group->name, hosts) < 0) {
		json_object_put(hosts);
		return false;
	}
	return true;
}

/* What the file should be: *ret_text belongs to *ret. -EFBIG: nobody would read it back. */
static int text_make(
	const struct resolve_groups *g, struct json_object **ret, const char **ret_text)
{
	struct json_object *all = json_object_new_object();
	const char *text = NULL;
	bool fine = all != NULL;

	for (size_t i = 0; fine && i < g->n_groups; i++)
		fine = put_group(all, &g->groups[i]);
	if (fine)
		text = json_object_to_json_string_ext(
			all, JSON_C_TO_STRING_PRETTY | JSON_C_TO_STRING_NOSLASHESCAPE);
	if (!text || strlen(text) > FILE_MAX) {
		json_object_put(all);
		return text ? -EFBIG : -ENOMEM;
	}
	*ret = all;
	*ret_text = text;
	return 0;
}

static bool is_there(const char *path, const char *text)
{
	char *old = NULL;
	size_t len = 0;
	bool same;

	if (text_read(path, &old, &len) < 0 || !old)
		return false;
	same = len == strlen(text) && memcmp(old, text, len) == 0;
	free(old);
	return same;
}

static int replace(const char *path, const char *text)
{
	size_t size = strlen(path) + sizeof ".new";
	char *new_path = malloc(size);
	int fd, error;

	if (!new_path)
		return -ENOMEM;
	(void)snprintf(new_path, size, "%s.new", path);
	fd = open(new_path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0600);
	error = fd < 0 ? -errno : file_become(fd, new_path, path, text, strlen(text));
	free(new_path);
	return error;
}

int resolve_addresses_save(struct resolve_groups *g, const char *path)
{
	struct json_object *all = NULL;
	const char *text = NULL;
	int error = text_make(g, &all, &text);

	if (error)
		return error;
	/* Nothing is known yet: that is no reason to forget what was. */
	if (json_object_object_length(all) > 0 && !is_there(path, text))
		error = replace(path, text);
	json_object_put(all);
	return error;
}
