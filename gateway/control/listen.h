/* The socket's file: made, taken over from a dead process, removed. No loop, no threads. */
#ifndef TUNGATE_CONTROL_LISTEN_H
#define TUNGATE_CONTROL_LISTEN_H

#include <stdbool.h>
#include <sys/types.h>

struct control_listener {
	int fd;
	dev_t dev; /* which file is ours */
	ino_t ino;
	char path[108];
};

/* As control_open(). */
int control_listen(const char *path, unsigned mode, const char *group, int *ret_pid,
	struct control_listener *ret);
/* Whether control_listen() could make a socket there: -EEXIST something else is there; other
 * negative errno: of the folder. Of rights, and of who listens there now, nothing is told. */
int control_path_check(const char *path);
/* Removes the file, if it is still ours. The descriptor stays open. */
void control_listener_remove(struct control_listener *l);

#endif
