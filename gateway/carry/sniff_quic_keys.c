/* The protection of Initial packets with OpenSSL. Its algorithms are looked up once a process, in a
 * library context of our own so that no configuration of OpenSSL's is read; its contexts are made
 * once a thread and freed when that ends, since making them costs more than a packet. */
#include "gateway/carry/sniff_internal.h"

#include <errno.h>
#include <openssl/core_names.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#define HASH_SIZE 32 /* SHA-256 */

static const struct parameters {
	uint32_t version;
	uint8_t salt[20];
	const char *key, *iv, *hp; /* labels */
} versions[] = {
	{SNIFF_QUIC_V1, /* RFC 9001 5.1, 5.2 */
		{0x38, 0x76, 0x2c, 0xf7, 0xf5, 0x59, 0x34, 0xb3, 0x4d, 0x17, 0x9a, 0xe6, 0xa4, 0xc8,
			0x0c, 0xad, 0xcc, 0xbb, 0x7f, 0x0a},
		"tls13 quic key", "tls13 quic iv", "tls13 quic hp"},
	{SNIFF_QUIC_V2, /* RFC 9369 3.3 */
		{0x0d, 0xed, 0xe3, 0xde, 0xf7, 0x00, 0xa6, 0xdb, 0x81, 0x93, 0x81, 0xbe, 0x6e, 0x26,
			0x9d, 0xcb, 0xf9, 0xbd, 0x2e, 0xd9},
		"tls13 quicv2 key", "tls13 quicv2 iv", "tls13 quicv2 hp"},
};

static struct {
	pthread_once_t once;
	pthread_key_t of_thread; /* struct tools */
	bool ready;
	EVP_CIPHER *gcm, *ecb;
	EVP_MAC *hmac;
} algorithms = {.once = PTHREAD_ONCE_INIT};

struct tools {
	EVP_CIPHER_CTX *gcm, *ecb;
	EVP_MAC_CTX *hmac;
};

static void tools_free(void *arg)
{
	struct tools *t = arg;

	EVP_MAC_CTX_free(t->hmac);
	EVP_CIPHER_CTX_free(t->ecb);
	EVP_CIPHER_CTX_free(t->gcm);
	free(t);
}

static void algorithms_find(void)
{
	OSSL_LIB_CTX *library = OSSL_LIB_CTX_new();

	if (!library)
		return;
	algorithms.gcm = EVP_CIPHER_fetch(library, "AES-128-GCM", NULL);
	algorithms.ecb = EVP_CIPHER_fetch(library, "AES-128-ECB", NULL);
	algorithms.hmac = EVP_MAC_fetch(library, "HMAC", NULL);
	if (algorithms.gcm && algorithms.ecb && algorithms.hmac &&
		pthread_key_create(&algorithms.of_thread, tools_free) == 0) {
		algorithms.ready = true; /* and kept as long as the process lives */
		return;
	}
	EVP_MAC_free(algorithms.hmac);
	EVP_CIPHER_free(algorithms.ecb);
	EVP_CIPHER_free(algorithms.gcm);
	OSSL_LIB_CTX_free(library);
}

static struct tools *tools_new(void)
{
	char sha256[] = "SHA256";
	const OSSL_PARAM digest[] = {
		OSSL_PARAM_construct_utf8_string(OSSL_MAC_PARAM_DIGEST, sha256, 0),
		OSSL_PARAM_construct_end()};
	struct tools *t = calloc(1, sizeof *t);

	if (!t)
		return NULL;
	t->gcm = EVP_CIPHER_CTX_new();
	t->ecb = EVP_CIPHER_CTX_new();
	t->hmac = EVP_MAC_CTX_new(algorithms.hmac);
	if (t->gcm && t->ecb && t->hmac &&
		EVP_DecryptInit_ex2(t->gcm, algorithms.gcm, NULL, NULL, NULL) == 1 &&
		EVP_EncryptInit_ex2(t->ecb, algorithms.ecb, NULL, NULL, NULL) == 1 &&
		EVP_CIPHER_CTX_set_padding(t->ecb, 0) == 1 &&
		EVP_MAC_CTX_set_params(t->hmac, digest) == 1 &&
		pthread_setspecific(algorithms.of_thread, t) == 0)
		return t;
	tools_free(t);
	return NULL;
}

/* This thread's, NULL if OpenSSL could not. */
static struct tools *tools_get(void)
{
	struct tools *t;

	if (pthread_once(&algorithms.once, algorithms_find) != 0 || !algorithms.ready)
		return NULL;
	t = pthread_getspecific(algorithms.of_thread);
	return t ? t : tools_new();
}

static bool hmac(struct tools *t, const uint8_t *key, size_t key_len, const uint8_t *data,
	size_t len, uint8_t ret_mac[HASH_SIZE])
{
	size_t size;

	return EVP_MAC_init(t->hmac, key, key_len, NULL) == 1 &&
	       EVP_MAC_update(t->hmac, data, len) == 1 &&
	       EVP_MAC_final(t->hmac, ret_mac, &size, HASH_SIZE) == 1;
}

/* HKDF-Expand-Label (RFC 8446 7.1) without a context. Never more than one hash is wanted, so
 * HKDF-Expand (RFC 5869 2.3) comes down to its first round. */
static bool expand_label(struct tools *t, const uint8_t secret[HASH_SIZE], const char *label,
	uint8_t *ret, size_t len)
{
	uint8_t info[64], mac[HASH_SIZE];
	size_t size = strlen(label), n = 0;

	info[n++] = 0;
	info[n++] = (uint8_t)len;
	info[n++] = (uint8_t)size;
	memcpy(info + n, label, size);
	n += size;
	info[n++] = 0; /* the context's length */
	info[n++] = 1; /* the round */
	if (!hmac(t, secret, HASH_SIZE, info, n, mac))
		return false;
	memcpy(ret, mac, len);
	return true;
}

static bool derive(struct tools *t, const struct parameters *v, struct sniff_quic_keys *k)
{
	uint8_t secret[HASH_SIZE];

	return hmac(t, v->salt, sizeof v->salt, k->dcid, k->dcid_len, secret) &&
	       expand_label(t, secret, "tls13 client in", secret, sizeof secret) &&
	       expand_label(t, secret, v->key, k->key, sizeof k->key) &&
	       expand_label(t, secret, v->iv, k->iv, sizeof k->iv) &&
	       expand_label(t, secret, v->hp, k->hp, sizeof k->hp);
}

int sniff_quic_keys_derive(
	uint32_t version, const uint8_t *dcid, size_t dcid_len, struct sniff_quic_keys *ret_keys)
{
	const struct parameters *v = &versions[version == SNIFF_QUIC_V2];
	struct sniff_quic_keys keys = {.version = version, .dcid_len = (uint8_t)dcid_len};
	struct tools *t = tools_get();
	int r = 0;

	if (!t || v->version != version || dcid_len > sizeof keys.dcid)
		return -EIO;
	memcpy(keys.dcid, dcid, dcid_len);
	ERR_set_mark(); /* who uses OpenSSL next in this thread does not find our failures */
	if (derive(t, v, &keys))
		*ret_keys = keys;
	else
		r = -EIO;
	ERR_pop_to_mark();
	return r;
}

/* Header protection (RFC 9001 5.4): the first byte and the packet number as they were. Returns the
 * size of the number, 0 if OpenSSL could not. */
static unsigned unmask(struct tools *t, const struct sniff_quic_keys *keys,
	const struct sniff_quic_packet *packet, uint8_t *ret_first, uint8_t ret_number[4])
{
	const uint8_t *number = packet->data + packet->number_at;
	uint8_t mask[16];
	unsigned size;
	int n;

	if (EVP_EncryptInit_ex2(t->ecb, NULL, keys->hp, NULL, NULL) != 1 ||
		EVP_EncryptUpdate(t->ecb, mask, &n, number + 4, sizeof mask) != 1)
		return 0;
	*ret_first = packet->data[0] ^ (mask[0] & 0x0f);
	size = (*ret_first & 3u) + 1;
	for (unsigned i = 0; i < size; i++)
		ret_number[i] = number[i] ^ mask[1 + i];
	return size;
}

/* RFC 9001 5.3. What is authentic beside the frames is the header as it was before its protection.
 * The number is whole: nothing has been acknowledged yet (RFC 9000 17.1). */
static int decrypt(struct tools *t, const struct sniff_quic_keys *keys,
	const struct sniff_quic_packet *packet, uint8_t ret_plain[SNIFF_QUIC_PLAIN_MAX])
{
	uint8_t first, number[4], nonce[12], tag[SNIFF_QUIC_TAG];
	unsigned size = unmask(t, keys, packet, &first, number);
	const uint8_t *sealed = packet->data + packet->number_at + size;
	int len = (int)(packet->len - packet->number_at - size) - SNIFF_QUIC_TAG, n;

	if (size == 0)
		return -EIO;
	memcpy(tag, sealed + len, sizeof tag);
	memcpy(nonce, keys->iv, sizeof nonce);
	for (unsigned i = 0; i < size; i++)
		nonce[sizeof nonce - size + i] ^= number[i];
	if (EVP_DecryptInit_ex2(t->gcm, NULL, keys->key, nonce, NULL) != 1 ||
		EVP_DecryptUpdate(t->gcm, NULL, &n, &first, 1) != 1 ||
		EVP_DecryptUpdate(t->gcm, NULL, &n, packet->data + 1, (int)packet->number_at - 1) !=
			1 ||
		EVP_DecryptUpdate(t->gcm, NULL, &n, number, (int)size) != 1 ||
		EVP_DecryptUpdate(t->gcm, ret_plain, &n, sealed, len) != 1 ||
		EVP_CIPHER_CTX_ctrl(t->gcm, EVP_CTRL_AEAD_SET_TAG, sizeof tag, tag) != 1)
		return -EIO;
	return EVP_DecryptFinal_ex(t->gcm, ret_plain + len, &n) == 1 ? len : -EBADMSG;
}

int sniff_quic_open(const struct sniff_quic_keys *keys, const struct sniff_quic_packet *packet,
	uint8_t ret_plain[SNIFF_QUIC_PLAIN_MAX])
{
	size_t body = packet->len - packet->number_at;
	struct tools *t;
	int r;

	/* The sample is taken as if the number had four bytes, RFC 9001 5.4.2. */
	if (body < 4 + 16 || body > SNIFF_QUIC_PLAIN_MAX || packet->len > UINT16_MAX)
		return -EBADMSG;
	t = tools_get();
	if (!t)
		return -EIO;
	ERR_set_mark();
	r = decrypt(t, keys, packet, ret_plain);
	ERR_pop_to_mark();
	return r;
}
