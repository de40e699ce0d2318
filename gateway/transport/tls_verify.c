/* What a server's certificate must show, and what its refusal is called. */
#include "gateway/transport/tls_internal.h"

#include <errno.h>
#include <openssl/err.h>
#include <openssl/sha.h>
#include <openssl/x509_vfy.h>
#include <openssl/x509v3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static bool is_pinned(const struct tls_context *c, const X509 *cert)
{
	uint8_t hash[SHA256_DIGEST_LENGTH], *key = NULL;
	int len = i2d_X509_PUBKEY(X509_get_X509_PUBKEY(cert), &key);
	bool found = false;

	if (len <= 0)
		return false;
	SHA256(key, (size_t)len, hash);
	OPENSSL_free(key);
	for (size_t i = 0; i < c->n_pins && !found; i++)
		found = !memcmp(c->pins[i].sha256, hash, sizeof hash);
	return found;
}

/* A pinned certificate that was presented is what the chain must lead to: who presents it need not
 * have its key. */
static int verify_up_to(X509_STORE_CTX *ctx, X509 *pinned)
{
	STACK_OF(X509) *trusted = sk_X509_new_null();
	int ok = 0;

	if (trusted && sk_X509_push(trusted, pinned)) {
		X509_STORE_CTX_set0_trusted_stack(ctx, trusted);
		X509_STORE_CTX_set_flags(
			ctx, X509_V_FLAG_PARTIAL_CHAIN | X509_V_FLAG_NO_CHECK_TIME);
		ok = X509_verify_cert(ctx) == 1;
	} else {
		X509_STORE_CTX_set_error(ctx, X509_V_ERR_OUT_OF_MEM);
	}
	sk_X509_free(trusted);
	return ok;
}

static int verify_pins(X509_STORE_CTX *ctx, void *arg)
{
	const struct tls_context *c = arg;
	STACK_OF(X509) *presented = X509_STORE_CTX_get0_untrusted(ctx);
	X509 *own = X509_STORE_CTX_get0_cert(ctx);

	/* The handshake proves that the peer has this one's key. */
	if (is_pinned(c, own)) {
		X509_STORE_CTX_set_error(ctx, X509_V_OK);
		return 1;
	}
	for (int i = 0; i < sk_X509_num(presented); i++)
		if (is_pinned(c, sk_X509_value(presented, i)))
			return verify_up_to(ctx, sk_X509_value(presented, i));
	X509_STORE_CTX_set_error(ctx, X509_V_ERR_APPLICATION_VERIFICATION);
	return 0;
}

int tls_verify_setup(struct tls_context *c, const struct tls_config *config, char why[128])
{
	X509_VERIFY_PARAM *param = SSL_CTX_get0_param(c->ssl);
	int ok, r;

	SSL_CTX_set_verify(c->ssl, SSL_VERIFY_PEER, NULL);
	X509_VERIFY_PARAM_set_hostflags(param, X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS);
	if (!config->name && config->address.family == IP_NONE)
		ok = 0;
	else if (config->name)
		ok = X509_VERIFY_PARAM_set1_host(param, config->name, 0);
	else
		ok = X509_VERIFY_PARAM_set1_ip(
			param, config->address.b, ip_addr_size(&config->address));
	if (ok != 1) {
		snprintf(why, 128, "no name or address that a certificate could be for");
		return -EINVAL;
	}
	if (c->n_pins) {
		SSL_CTX_set_cert_verify_callback(c->ssl, verify_pins, c);
		return 0;
	}
	r = tls_store_get(config->ca, &c->store, why);
	if (!r)
		tls_store_use(c->store, c->ssl);
	return r;
}

static const struct {
	int code;
	const char *text;
} refusals[] = {
	{X509_V_ERR_CERT_HAS_EXPIRED, "certificate has expired"},
	{X509_V_ERR_CERT_NOT_YET_VALID, "certificate is not valid yet; the clock may be wrong"},
	{X509_V_ERR_HOSTNAME_MISMATCH, "certificate is for another name"},
	{X509_V_ERR_IP_ADDRESS_MISMATCH, "certificate is not for this address"},
	{X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT, "certificate's issuer is unknown"},
	{X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT_LOCALLY, "certificate's issuer is unknown"},
	{X509_V_ERR_UNABLE_TO_VERIFY_LEAF_SIGNATURE, "certificate's issuer is unknown"},
	{X509_V_ERR_DEPTH_ZERO_SELF_SIGNED_CERT, "certificate is self-signed"},
	{X509_V_ERR_SELF_SIGNED_CERT_IN_CHAIN,
		"certificate's issuer is unknown: a self-signed one"},
	{X509_V_ERR_APPLICATION_VERIFICATION, "no certificate has a pinned key"},
};

static const char *refusal_text(long code)
{
	for (size_t i = 0; i < sizeof refusals / sizeof *refusals; i++)
		if (refusals[i].code == code)
			return refusals[i].text;
	return X509_verify_cert_error_string(code);
}

static const struct {
	int reason; /* of ERR_LIB_SSL */
	const char *text;
} troubles[] = {
	{SSL_R_UNSUPPORTED_PROTOCOL, "server has no TLS 1.2 or later"},
	{SSL_R_TLSV1_ALERT_PROTOCOL_VERSION, "server has no TLS 1.2 or later"},
	{SSL_R_WRONG_VERSION_NUMBER, "server does not speak TLS here"},
	{SSL_R_TLSV1_ALERT_NO_APPLICATION_PROTOCOL, "server does not speak this protocol (ALPN)"},
	{SSL_R_SSLV3_ALERT_HANDSHAKE_FAILURE, "server has no TLS parameters in common with us"},
	{SSL_R_TLSV1_UNRECOGNIZED_NAME, "server does not know this name (SNI)"},
};

static const char *trouble_text(unsigned long error)
{
	const char *text = ERR_reason_error_string(error);

	for (size_t i = 0; i < sizeof troubles / sizeof *troubles; i++)
		if (ERR_GET_LIB(error) == ERR_LIB_SSL &&
			troubles[i].reason == ERR_GET_REASON(error))
			return troubles[i].text;
	return text ? text : "TLS is broken";
}

int tls_error(const SSL *ssl, int ssl_error, const char **ret_why)
{
	unsigned long error = ERR_peek_last_error();

	if (ERR_GET_LIB(error) == ERR_LIB_SSL &&
		ERR_GET_REASON(error) == SSL_R_CERTIFICATE_VERIFY_FAILED) {
		*ret_why = refusal_text(SSL_get_verify_result(ssl));
		return -EKEYREJECTED;
	}
	if (ssl_error == SSL_ERROR_ZERO_RETURN || !error) {
		*ret_why = "closed by the server";
		return -ECONNRESET;
	}
	*ret_why = trouble_text(error);
	return -EPROTO;
}
