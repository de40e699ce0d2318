/* Connections. Each takes one step at a time: read a piece, answer its lines one after the other,
 * read again when the last answer has been sent. So a client that does not read holds one piece of
 * a reply and one line, and its other requests wait in the kernel.
 *
 *   reading --a line--> sending --all sent--> the next line, or reading
 *   any --end, error, stop--> closing --no operation is busy--> free */
#include "gateway/control/control.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "gateway/base/container.h"
#include "gateway/control/command.h"
#include "gateway/control/input.h"
#include "gateway/control/listen.h"

#define CONNECTIONS_MAX	 32
#define SILENT_MS	 30000 /* who was silent so long gives way to a new client */
#define ACCEPT_RETRY_MS	 100
#define REPLY_KEPT_BYTES (128u << 10) /* a larger buffer is not kept for the next reply */

struct connection {
	struct control *control;
	struct loop_op recv, send;
	int fd;
	bool open, closing, eof;
	int64_t last_ms; /* of the last bytes, in or out */
	struct control_input in;
	struct control_reply out;
};

struct control {
	struct loop *loop;
	struct daemon *d;
	struct loop_buffers *buffers;
	struct loop_op accept;
	struct loop_timer accept_retry;
	struct control_listener listener;
	bool stopping;
	struct connection connections[CONNECTIONS_MAX];
};

static void received(struct loop_op *op, int32_t res, uint8_t *data, bool last);
static void sent(struct loop_op *op, int32_t res, uint8_t *data, bool last);

/* --- a connection's end --- */

static void free_if_done(struct connection *c)
{
	if (!c->closing || loop_op_busy(&c->recv) || loop_op_busy(&c->send))
		return;
	close(c->fd);
	control_input_fini(&c->in);
	free(c->out.text);
	c->out = (struct control_reply){0};
	c->open = c->closing = false;
}

static void connection_close(struct connection *c)
{
	if (c->closing)
		return;
	c->closing = true;
	if (c->out.waits)
		control_command_forget(&c->out);
	loop_op_cancel(&c->recv);
	loop_op_cancel(&c->send);
	free_if_done(c);
}

/* --- requests and replies --- */

/* Makes the reply to the next line. False: there is no line. */
static bool answer_next(struct connection *c)
{
	struct daemon *d = c->control->d;
	const char *line;
	size_t len;
	enum control_line kind = control_input_next(&c->in, &line, &len);

	if (kind == CONTROL_LINE_NONE && c->eof)
		kind = control_input_rest(&c->in, &line, &len);
	switch (kind) {
	case CONTROL_LINE_NONE:
		return false;
	case CONTROL_LINE_WHOLE:
		control_command_run(d, line, len, &c->out);
		break;
	case CONTROL_LINE_TOO_LONG:
		control_command_too_long(&c->out);
		break;
	}
	return true;
}

static void out_reset(struct control_reply *out)
{
	out->len = 0;
	if (out->cap > REPLY_KEPT_BYTES) {
		free(out->text);
		out->text = NULL;
		out->cap = 0;
	}
}

static void advance(struct connection *c)
{
	struct control *control = c->control;
	int err;

	if (c->out.broken)
		err = -ENOMEM;
	else if (c->out.len > 0)
		err = loop_send(control->loop, &c->send, c->fd, c->out.text, c->out.len, sent);
	else if (c->eof)
		err = -ECONNRESET;
	else
		err = loop_recv_once(control->loop, &c->recv, c->fd, control->buffers, received);
	if (err)
		connection_close(c);
}

/* Nothing is being read or sent: what comes next? */
static void step(struct connection *c)
{
	out_reset(&c->out);
	if (c->out.more)
		control_command_more(c->control->d, &c->out);
	else
		answer_next(c);
	if (!c->out.waits)
		advance(c);
}

static void ready(struct control_reply *out)
{
	struct connection *c = container_of(out, struct connection, out);

	c->last_ms = loop_now_ms(c->control->loop);
	advance(c);
}

static void received(struct loop_op *op, int32_t res, uint8_t *data, bool last)
{
	struct connection *c = container_of(op, struct connection, recv);

	(void)last;
	if (c->closing) {
		free_if_done(c);
		return;
	}
	if (res < 0) {
		connection_close(c);
		return;
	}
	c->last_ms = loop_now_ms(c->control->loop);
	if (res == 0) /* perhaps only its half: what it asked is still answered */
		c->eof = true;
	else if (control_input_feed(&c->in, (const char *)data, (size_t)res)) {
		connection_close(c);
		return;
	}
	step(c);
}

static void sent(struct loop_op *op, int32_t res, uint8_t *data, bool last)
{
	struct connection *c = container_of(op, struct connection, send);

	(void)data;
	(void)last;
	if (c->closing) {
		free_if_done(c);
	} else if (res < 0 || (size_t)res < c->out.len) {
		connection_close(c);
	} else {
		c->last_ms = loop_now_ms(c->control->loop);
		step(c);
	}
}

/* --- new clients --- */

/* A free place. If there is none, the client that was silent for longest makes one by the time that
 * its operations have ended, and this one is told to try again. */
static struct connection *connection_take(struct control *control)
{
	struct connection *oldest = NULL;

	for (unsigned i = 0; i < CONNECTIONS_MAX; i++) {
		struct connection *c = &control->connections[i];

		if (!c->open)
			return c;
		if (!c->closing && (!oldest || c->last_ms < oldest->last_ms))
			oldest = c;
	}
	if (!oldest || loop_now_ms(control->loop) - oldest->last_ms < SILENT_MS)
		return NULL;
	connection_close(oldest);
	return oldest->open ? NULL : oldest;
}

static void refuse(int fd)
{
	static const char busy[] =
		"{\"ok\":false,\"code\":503,\"error\":\"too many connections, try again\"}\n";

	/* A new socket has room for it; if not, the close says the same. */
	(void)!send(fd, busy, sizeof busy - 1, MSG_DONTWAIT | MSG_NOSIGNAL);
	close(fd);
}

static void connection_start(struct control *control, int fd)
{
	struct connection *c = connection_take(control);

	if (!c) {
		refuse(fd);
		return;
	}
	*c = (struct connection){
		.control = control,
		.fd = fd,
		.open = true,
		.last_ms = loop_now_ms(control->loop),
		.out = {.ready = ready},
	};
	step(c);
}

static void accepted(struct loop_op *op, int32_t res, uint8_t *data, bool last)
{
	struct control *control = container_of(op, struct control, accept);

	(void)data;
	if (res >= 0 && control->stopping)
		close(res);
	else if (res >= 0)
		connection_start(control, res);
	if (last && !control->stopping) /* out of descriptors or the like */
		loop_timer_set(control->loop, &control->accept_retry,
			loop_now_ms(control->loop) + ACCEPT_RETRY_MS);
}

static void accept_again(struct loop_timer *t)
{
	struct control *control = container_of(t, struct control, accept_retry);

	if (loop_accept_start(control->loop, &control->accept, control->listener.fd, accepted))
		loop_timer_set(control->loop, t, loop_now_ms(control->loop) + ACCEPT_RETRY_MS);
}

/* --- the whole --- */

int control_open(struct loop *loop, struct daemon *d, const char *path, unsigned mode,
	const char *group, int *ret_pid, struct control **ret)
{
	struct control *c = calloc(1, sizeof *c);
	int err;

	if (!c)
		return -ENOMEM;
	c->loop = loop;
	c->d = d;
	c->accept_retry.fire = accept_again;
	err = control_listen(path, mode, group, ret_pid, &c->listener);
	if (err)
		goto free_control;
	err = loop_buffers_new(loop, CONTROL_PIECE_MAX, CONNECTIONS_MAX, &c->buffers);
	if (err)
		goto close_listener;
	err = loop_accept_start(loop, &c->accept, c->listener.fd, accepted);
	if (err)
		goto free_buffers;
	*ret = c;
	return 0;

free_buffers:
	loop_buffers_free(c->buffers);
close_listener:
	control_listener_remove(&c->listener);
	close(c->listener.fd);
free_control:
	free(c);
	return err;
}

void control_stop(struct control *c)
{
	if (c->stopping)
		return;
	c->stopping = true;
	control_listener_remove(&c->listener);
	loop_timer_cancel(c->loop, &c->accept_retry);
	loop_op_cancel(&c->accept);
	for (unsigned i = 0; i < CONNECTIONS_MAX; i++)
		if (c->connections[i].open)
			connection_close(&c->connections[i]);
}

bool control_idle(const struct control *c)
{
	for (unsigned i = 0; i < CONNECTIONS_MAX; i++)
		if (c->connections[i].open)
			return false;
	return !loop_op_busy(&c->accept);
}

void control_free(struct control *c)
{
	/* Not idle: the loop was not run to the end, the kernel may still write here. */
	if (!c || !control_idle(c))
		return;
	close(c->listener.fd);
	loop_buffers_free(c->buffers);
	free(c);
}
