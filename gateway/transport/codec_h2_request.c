/* A question as an HTTP request: POST with the message as body, or GET with it in the path. Field
 * values that do not change are lent to nghttp2, which then copies nothing and finds most of them
 * in its table. */
#include <stdio.h>
#include <string.h>

#include "gateway/transport/codec_h2_internal.h"

void h2_write_authority(const struct conf_server *conf, char ret[H2_AUTHORITY_MAX])
{
	const char *name = conf->tls_name ? conf->tls_name : conf->host;
	char address[IP_TEXT_MAX], port[8] = "";
	bool brackets = !name && conf->at.addr.family == IP_V6;

	if (conf->at.port != 443)
		snprintf(port, sizeof port, ":%u", conf->at.port);
	snprintf(ret, H2_AUTHORITY_MAX, "%s%.255s%s%s", brackets ? "[" : "",
		name ? name : ip_addr_format(&conf->at.addr, address), brackets ? "]" : "", port);
}

/* base64url without padding (RFC 4648 5, RFC 8484 4.1.1). The length. */
static size_t write_base64url(const uint8_t *from, size_t len, char *to)
{
	static const char digit[] =
		"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
	size_t n = 0;

	for (size_t i = 0; i < len; i += 3) {
		size_t left = len - i;
		uint32_t three = (uint32_t)from[i] << 16;

		three |= left > 1 ? (uint32_t)from[i + 1] << 8 : 0;
		three |= left > 2 ? from[i + 2] : 0u;
		to[n++] = digit[three >> 18];
		to[n++] = digit[three >> 12 & 63];
		if (left > 1)
			to[n++] = digit[three >> 6 & 63];
		if (left > 2)
			to[n++] = digit[three & 63];
	}
	return n;
}

static nghttp2_nv header(const char *name, const char *value, size_t value_len, uint8_t flags)
{
	return (nghttp2_nv){.name = (uint8_t *)name,
		.namelen = strlen(name),
		.value = (uint8_t *)value,
		.valuelen = value_len,
		.flags = (uint8_t)(flags | NGHTTP2_NV_FLAG_NO_COPY_NAME)};
}

static nghttp2_nv lasting(const char *name, const char *value)
{
	return header(name, value, strlen(value), NGHTTP2_NV_FLAG_NO_COPY_VALUE);
}

static ssize_t read_question(nghttp2_session *session, int32_t id, uint8_t *buf, size_t size,
	uint32_t *flags, nghttp2_data_source *source, void *arg)
{
	struct h2_stream *s = source->ptr;
	size_t n = (size_t)(s->question_len - s->question_sent);

	(void)session, (void)id, (void)arg;
	if (n > size)
		n = size;
	memcpy(buf, s->bytes + s->question_sent, n);
	s->question_sent = (uint16_t)(s->question_sent + n);
	if (s->question_sent == s->question_len)
		*flags |= NGHTTP2_DATA_FLAG_EOF;
	return (ssize_t)n;
}

static int32_t submit_post(struct h2 *h2, struct h2_stream *s)
{
	static const char type[] = "application/dns-message";
	char length[8];
	int length_len = snprintf(length, sizeof length, "%u", s->question_len);
	nghttp2_nv nv[] = {lasting(":method", "POST"), lasting(":scheme", "https"),
		lasting(":authority", h2->authority), lasting(":path", h2->path),
		lasting("accept", type), lasting("content-type", type),
		header("content-length", length, (size_t)length_len, 0)};
	nghttp2_data_provider body = {.source.ptr = s, .read_callback = read_question};

	return nghttp2_submit_request(h2->session, NULL, nv, sizeof nv / sizeof *nv, &body, s);
}

static int32_t submit_get(struct h2 *h2, struct h2_stream *s)
{
	char path[H2_PATH_MAX + sizeof "?dns=" + TRANSPORT_QUESTION_MAX +
		  TRANSPORT_QUESTION_MAX / 3 + 4];
	size_t len = (size_t)snprintf(
		path, sizeof path, "%s%cdns=", h2->path, strchr(h2->path, '?') ? '&' : '?');

	len += write_base64url(s->bytes, s->question_len, path + len);
	s->question_sent = s->question_len;
	nghttp2_nv nv[] = {lasting(":method", "GET"), lasting(":scheme", "https"),
		lasting(":authority", h2->authority), header(":path", path, len, 0),
		lasting("accept", "application/dns-message")};

	return nghttp2_submit_request(h2->session, NULL, nv, sizeof nv / sizeof *nv, NULL, s);
}

int32_t h2_submit(struct h2 *h2, struct h2_stream *s, enum conf_method method)
{
	return method == CONF_GET ? submit_get(h2, s) : submit_post(h2, s);
}
