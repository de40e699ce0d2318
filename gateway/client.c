#include "gateway/client.h"

#include <errno.h>
#include <json-c/json.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "gateway/screen.h"

#define ANSWER_WAIT_S	30 /* a reload with large lists takes its time */
#define REPLY_MAX	((size_t)256 << 20)
#define REPLY_DEPTH	16
#define RECEIVE_AT_ONCE ((size_t)64 << 10)

struct client {
	int fd;
	const char *path;
	char *text; /* received, not yet taken */
	size_t len, cap;
};

static int tell(const struct client *c, int err)
{
	switch (-err) {
	case ENOENT:
	case ECONNREFUSED:
		fprintf(stderr, "tungate: the daemon is not running: nobody answers on %s\n",
			c->path);
		break;
	case EAGAIN:
		fprintf(stderr, "tungate: the daemon does not answer on %s\n", c->path);
		break;
	case EPIPE:
	case ECONNRESET:
		fprintf(stderr, "tungate: the daemon has ended: %s was closed without an answer\n",
			c->path);
		break;
	default:
		fprintf(stderr, "tungate: %s: %s\n", c->path, strerror(-err));
	}
	return err;
}

static int connect_to(const char *path, int *ret)
{
	const struct timeval wait = {.tv_sec = ANSWER_WAIT_S};
	struct sockaddr_un at = {.sun_family = AF_UNIX};
	size_t len = strlen(path);
	int fd;

	if (len >= sizeof at.sun_path)
		return -ENAMETOOLONG;
	memcpy(at.sun_path, path, len + 1);
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return -errno;
	if (setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &wait, sizeof wait) ||
		setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &wait, sizeof wait) ||
		connect(fd, (const struct sockaddr *)&at, sizeof at)) {
		int err = -errno;

		close(fd);
		return err;
	}
	*ret = fd;
	return 0;
}

int client_open(const struct cmd_args *a, struct client **ret)
{
	struct client *c = calloc(1, sizeof *c);
	int err;

	if (!c) {
		fputs("tungate: no memory\n", stderr);
		return -ENOMEM;
	}
	c->path = a->socket;
	err = connect_to(c->path, &c->fd);
	if (err) {
		tell(c, err);
		free(c);
		return err;
	}
	*ret = c;
	return 0;
}

void client_close(struct client *c)
{
	if (!c)
		return;
	close(c->fd);
	free(c->text);
	free(c);
}

struct json_object *client_request(const char *cmd)
{
	struct json_object *request = json_object_new_object();

	json_object_object_add(request, "cmd", json_object_new_string(cmd));
	return request;
}

static int send_line(struct client *c, struct json_object *request)
{
	const char *text = json_object_to_json_string_ext(request, JSON_C_TO_STRING_PLAIN);
	size_t len = text ? strlen(text) : 0;

	if (!text)
		return -ENOMEM;
	for (size_t at = 0; at <= len;) {
		ssize_t n = at < len ? send(c->fd, text + at, len - at, MSG_NOSIGNAL)
				     : send(c->fd, "\n", 1, MSG_NOSIGNAL);

		if (n < 0 && errno != EINTR)
			return -errno;
		at += n > 0 ? (size_t)n : 0;
	}
	return 0;
}

static int receive(struct client *c)
{
	ssize_t n;

	if (c->cap - c->len < RECEIVE_AT_ONCE) {
		size_t cap = c->cap ? c->cap * 2 : 2 * RECEIVE_AT_ONCE;
		char *grown = cap > REPLY_MAX ? NULL : realloc(c->text, cap);

		if (!grown)
			return -ENOMEM;
		c->text = grown;
		c->cap = cap;
	}
	do
		n = recv(c->fd, c->text + c->len, RECEIVE_AT_ONCE, 0);
	while (n < 0 && errno == EINTR);
	if (n <= 0)
		return n < 0 ? -errno : -ECONNRESET;
	c->len += (size_t)n;
	return 0;
}

static struct json_object *parse(const char *text, size_t len)
{
	struct json_tokener *tokener = json_tokener_new_ex(REPLY_DEPTH);
	struct json_object *reply = NULL;

	if (tokener)
		reply = json_tokener_parse_ex(tokener, text, (int)len);
	json_tokener_free(tokener);
	if (json_object_is_type(reply, json_type_object))
		return reply;
	json_object_put(reply);
	return NULL;
}

static int receive_line(struct client *c, struct json_object **ret)
{
	size_t scanned = 0;
	char *newline;

	while (c->len == scanned ||
		!(newline = memchr(c->text + scanned, '\n', c->len - scanned))) {
		int err;

		scanned = c->len;
		err = receive(c);
		if (err)
			return err;
	}
	*ret = parse(c->text, (size_t)(newline - c->text));
	c->len -= (size_t)(newline + 1 - c->text);
	memmove(c->text, newline + 1, c->len);
	return *ret ? 0 : -EBADMSG;
}

static void tell_refusal(struct json_object *reply)
{
	struct json_object *errors = screen_get(reply, "errors");
	size_t n =
		json_object_is_type(errors, json_type_array) ? json_object_array_length(errors) : 0;

	if (n == 0)
		fprintf(stderr, "tungate: %s\n", screen_text(reply, "error"));
	for (size_t i = 0; i < n; i++)
		fprintf(stderr, "%s\n", screen_value(json_object_array_get_idx(errors, i)));
}

int client_ask(struct client *c, struct json_object *request, struct json_object **ret)
{
	struct json_object *reply = NULL;
	int err = send_line(c, request);

	json_object_put(request);
	/* Who is refused may find the reason there although nothing can be sent. */
	if (!err || err == -EPIPE)
		err = receive_line(c, &reply);
	if (err)
		return tell(c, err);
	if (!json_object_get_boolean(screen_get(reply, "ok"))) {
		tell_refusal(reply);
		json_object_put(reply);
		return -EREMOTEIO;
	}
	*ret = reply;
	return 0;
}

int client_run(const struct cmd_args *a, struct json_object *request,
	void (*print)(struct json_object *result))
{
	struct json_object *reply;
	struct client *c;
	int err = client_open(a, &c);

	if (err) {
		json_object_put(request);
		return CMD_FAILED;
	}
	err = client_ask(c, request, &reply);
	if (!err) {
		if (a->given & CMD_JSON)
			screen_json(screen_get(reply, "result"), "\n");
		else
			print(screen_get(reply, "result"));
		json_object_put(reply);
	}
	client_close(c);
	return err ? CMD_FAILED : CMD_DONE;
}
