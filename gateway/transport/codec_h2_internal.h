/* What the codec of HTTP/2 keeps for a connection and for a question; codec_h2_request.c writes the
 * questions, codec_h2.c does the rest. */
#ifndef TUNGATE_TRANSPORT_CODEC_H2_INTERNAL_H
#define TUNGATE_TRANSPORT_CODEC_H2_INTERNAL_H

#include <nghttp2/nghttp2.h>

#include "gateway/base/slab.h"
#include "gateway/transport/conn.h"

#define H2_PATH_MAX	 1024
#define H2_AUTHORITY_MAX 272

struct h2_stream {
	struct transport_try *t;	/* NULL: nobody waits for it any more */
	struct h2_stream *next, **prev; /* all, the oldest first */
	int32_t id;
	uint32_t age_s;
	uint32_t headers_bytes; /* of the section that is being received */
	uint16_t status;
	bool is_dns;  /* content-type */
	bool in_body; /* the final header section is complete; what comes now are trailers */
	bool refused; /* the question never left */
	bool reset;
	uint16_t question_len, question_sent;
	size_t body_len, body_room;
	uint8_t *body;			       /* `bytes`, or on the heap */
	uint8_t bytes[TRANSPORT_QUESTION_MAX]; /* the question until it is sent, then the body */
};

struct h2 {
	struct conn *conn;
	nghttp2_session *session;
	struct slab slab;
	struct h2_stream *streams, **last;
	unsigned n_open;   /* streams but reset ones: what the peer counts, or will */
	unsigned n_wanted; /* streams with a try */
	size_t bodies_bytes;
	bool retired;
	int32_t last_taken; /* of GOAWAY: later streams were not looked at; 0: none has come */
	char authority[H2_AUTHORITY_MAX], path[H2_PATH_MAX];
};

/* The name that the certificate is for, else the address; the port if it is not 443 (RFC 9113
 * 8.3.1, RFC 3986 3.2.2). */
void h2_write_authority(const struct conf_server *conf, char ret[H2_AUTHORITY_MAX]);
/* s->bytes holds a question of question_len (RFC 8484 4.1). The stream's number, or an error of
 * nghttp2's. */
int32_t h2_submit(struct h2 *h2, struct h2_stream *s, enum conf_method method);

#endif
