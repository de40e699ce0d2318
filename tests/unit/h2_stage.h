/* The HTTP/2 codec between a connection of ours, whose functions stand here, and a server of
 * nghttp2's in the same process. Bytes move when h2_stage_turn() says so. */
#ifndef TUNGATE_TESTS_H2_STAGE_H
#define TUNGATE_TESTS_H2_STAGE_H

#include <nghttp2/nghttp2.h>

#include "gateway/transport/conn.h"

#define STAGE_TRIES 600
#define STAGE_BYTES (4 << 20)

struct conn {
	struct conf_server conf;
	void *state;
	uint8_t *out; /* what the codec has written; to the server or, without one, kept */
	size_t out_len;
	bool closing, retired;
	bool close_on_answer;
};

struct stage_try {
	struct transport_try t;
	size_t question_len;
	bool over, refuse; /* refuse: no answer is the right one */
	int error;	   /* of fail() */
	bool may_retry;
	size_t answer_len; /* 0: none */
	uint8_t answer[64];
	uint32_t age_s;
	struct stage_try *closes; /* another that its answer closes */
};

struct stage_request {
	int32_t id;
	char text[2048]; /* "name: value\n" */
	uint8_t body[TRANSPORT_QUESTION_MAX];
	size_t body_len;
	bool complete;
	uint32_t reset; /* the code + 1 of RST_STREAM */
	const uint8_t *reply;
	size_t reply_len, reply_sent;
};

struct stage {
	struct conn conn;
	nghttp2_session *server;
	struct stage_try tries[STAGE_TRIES];
	struct stage_request requests[STAGE_TRIES];
	unsigned n_requests;
	size_t piece;	      /* the client gets so many bytes at once; 0: all */
	int feed;	      /* what the codec said last */
	size_t goaways, acks; /* frames that the server saw */
};

/* A connection to https://HOST with these settings of the server's. */
struct stage *h2_stage_new(
	const struct conf_server *conf, const nghttp2_settings_entry *settings, size_t n);
void h2_stage_free(struct stage *st);
int h2_stage_ask(struct stage *st, unsigned number, size_t question_len);
void h2_stage_close(struct stage *st, unsigned number);
void h2_stage_turn(struct stage *st); /* until nobody has anything to send */
int h2_stage_raw(struct stage *st, const uint8_t *bytes, size_t len); /* from the server */
/* The server answers request i; body NULL: no body. More headers: name, value, … NULL. */
void h2_stage_answer(struct stage *st, unsigned i, const char *status, const char *type,
	const uint8_t *body, size_t len, const char *const *more);
bool h2_stage_asked(const struct stage *st, unsigned i, const char *line);

#endif
