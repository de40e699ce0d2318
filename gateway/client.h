/* The commands' side of the control socket: a request, its reply. What goes wrong is told on
 * stderr here, in one line. */
#ifndef TUNGATE_CLIENT_H
#define TUNGATE_CLIENT_H

#include "gateway/cmd.h"

struct client;
struct json_object;

/* Connects to a->socket. 0, or a negative errno that has been told. */
int client_open(const struct cmd_args *a, struct client **ret);
void client_close(struct client *c); /* NULL is fine */

/* {"cmd": cmd}, for client_ask(); add arguments to it. */
struct json_object *client_request(const char *cmd);
/* Takes request. *ret: the whole reply, ok is true. -EREMOTEIO: the daemon said no, and why has
 * been told; other negative errno: it has not answered, told. */
int client_ask(struct client *c, struct json_object *request, struct json_object **ret);

/* All at once: asks, prints the result as JSON or with print, closes. An exit status. */
int client_run(const struct cmd_args *a, struct json_object *request,
	void (*print)(struct json_object *result));

#endif
