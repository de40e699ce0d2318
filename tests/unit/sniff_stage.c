#include "tests/unit/sniff_stage.h"

#include <openssl/core_names.h>
#include <openssl/evp.h>
#include <openssl/kdf.h>
#include <stdlib.h>
#include <string.h>

#define V2 0x6b3343cfu

static void require(int holds)
{
	if (!holds)
		abort();
}

void stage_put(struct stage_bytes *s, const void *data, size_t len)
{
	require(len <= sizeof s->b - s->len);
	if (len > 0)
		memcpy(s->b + s->len, data, len);
	s->len += len;
}

void stage_number(struct stage_bytes *s, uint64_t n, unsigned bytes)
{
	while (bytes-- > 0)
		stage_put(s, &(uint8_t){(uint8_t)(n >> 8 * bytes)}, 1);
}

void stage_zeros(struct stage_bytes *s, size_t n)
{
	while (n-- > 0)
		stage_put(s, "", 1);
}

void stage_varint(struct stage_bytes *s, uint64_t n)
{
	if (n < 1 << 6)
		stage_number(s, n, 1);
	else if (n < 1 << 14)
		stage_number(s, n | 1u << 14, 2);
	else if (n < 1 << 30)
		stage_number(s, n | 2u << 30, 4);
	else
		stage_number(s, n | 3ull << 62, 8);
}

static void filler(struct stage_bytes *s, unsigned type, size_t size)
{
	if (size == 0)
		return;
	stage_number(s, type, 2);
	stage_number(s, size - 4, 2);
	for (size_t i = 4; i < size; i++)
		stage_number(s, i, 1);
}

void stage_hello(
	struct stage_bytes *s, const void *name, size_t name_len, size_t before, size_t after)
{
	size_t extensions = before + after + (name ? 9 + name_len : 0);

	stage_number(s, 1, 1); /* ClientHello */
	stage_number(s, 2 + 32 + 33 + 4 + 2 + 2 + extensions, 3);
	stage_number(s, 0x0303, 2);
	for (unsigned i = 0; i < 32; i++)
		stage_number(s, 0xe0 + i, 1);
	stage_number(s, 32, 1);
	for (unsigned i = 0; i < 32; i++)
		stage_number(s, 0xa0 + i, 1);
	stage_number(s, 0x00021301, 4); /* one cipher suite */
	stage_number(s, 0x0100, 2);	/* one compression method */
	stage_number(s, extensions, 2);
	filler(s, 51, before);
	if (name) {
		stage_number(s, 0, 2);
		stage_number(s, name_len + 5, 2);
		stage_number(s, name_len + 3, 2);
		stage_number(s, 0, 1);
		stage_number(s, name_len, 2);
		stage_put(s, name, name_len);
	}
	filler(s, 21, after);
}

void stage_records(struct stage_bytes *s, const uint8_t *data, size_t len, size_t size)
{
	for (size_t at = 0; at < len; at += size) {
		size_t part = len - at < size ? len - at : size;

		stage_number(s, 0x160301, 3);
		stage_number(s, part, 2);
		stage_put(s, data + at, part);
	}
}

void stage_crypto(struct stage_bytes *s, uint64_t offset, const uint8_t *data, size_t len)
{
	stage_number(s, 6, 1);
	stage_varint(s, offset);
	stage_varint(s, len);
	stage_put(s, data, len);
}

static void hkdf(int mode, const uint8_t *salt, size_t salt_len, const void *key, size_t key_len,
	const struct stage_bytes *info, uint8_t *ret, size_t len)
{
	EVP_KDF *kdf = EVP_KDF_fetch(NULL, "HKDF", NULL);
	EVP_KDF_CTX *c = EVP_KDF_CTX_new(kdf);
	OSSL_PARAM p[6], *next = p;

	*next++ = OSSL_PARAM_construct_int(OSSL_KDF_PARAM_MODE, &mode);
	*next++ = OSSL_PARAM_construct_utf8_string(OSSL_KDF_PARAM_DIGEST, (char[]){"SHA256"}, 0);
	*next++ = OSSL_PARAM_construct_octet_string(OSSL_KDF_PARAM_KEY, (void *)key, key_len);
	if (salt)
		*next++ = OSSL_PARAM_construct_octet_string(
			OSSL_KDF_PARAM_SALT, (void *)salt, salt_len);
	if (info)
		*next++ = OSSL_PARAM_construct_octet_string(
			OSSL_KDF_PARAM_INFO, (void *)info->b, info->len);
	*next = OSSL_PARAM_construct_end();
	require(c && EVP_KDF_derive(c, ret, len, p) == 1);
	EVP_KDF_CTX_free(c);
	EVP_KDF_free(kdf);
}

static void expand(const uint8_t secret[32], const char *label, uint8_t *ret, size_t len)
{
	static struct stage_bytes info;

	info.len = 0;
	stage_number(&info, len, 2);
	stage_number(&info, 6 + strlen(label), 1);
	stage_put(&info, "tls13 ", 6);
	stage_put(&info, label, strlen(label));
	stage_number(&info, 0, 1);
	hkdf(EVP_KDF_HKDF_MODE_EXPAND_ONLY, NULL, 0, secret, 32, &info, ret, len);
}

struct keys {
	uint8_t key[16], iv[12], hp[16];
};

static struct keys keys_of(const struct stage_initial *how)
{
	static const uint8_t v1[] = {0x38, 0x76, 0x2c, 0xf7, 0xf5, 0x59, 0x34, 0xb3, 0x4d, 0x17,
		0x9a, 0xe6, 0xa4, 0xc8, 0x0c, 0xad, 0xcc, 0xbb, 0x7f, 0x0a};
	static const uint8_t v2[] = {0x0d, 0xed, 0xe3, 0xde, 0xf7, 0x00, 0xa6, 0xdb, 0x81, 0x93,
		0x81, 0xbe, 0x6e, 0x26, 0x9d, 0xcb, 0xf9, 0xbd, 0x2e, 0xd9};
	int second = how->version == V2;
	uint8_t initial[32], client[32];
	struct keys k;

	hkdf(EVP_KDF_HKDF_MODE_EXTRACT_ONLY, second ? v2 : v1, sizeof v1, how->dcid,
		strlen(how->dcid), NULL, initial, sizeof initial);
	expand(initial, "client in", client, sizeof client);
	expand(client, second ? "quicv2 key" : "quic key", k.key, sizeof k.key);
	expand(client, second ? "quicv2 iv" : "quic iv", k.iv, sizeof k.iv);
	expand(client, second ? "quicv2 hp" : "quic hp", k.hp, sizeof k.hp);
	return k;
}

static void write_header(struct stage_bytes *s, const struct stage_initial *how, size_t body)
{
	unsigned type = how->version == V2 ? 0x10 : 0x00;

	stage_number(s, 0xc0 | type | (how->number_size - 1), 1);
	stage_number(s, how->version, 4);
	stage_number(s, strlen(how->dcid), 1);
	stage_put(s, how->dcid, strlen(how->dcid));
	stage_number(s, strlen(how->scid), 1);
	stage_put(s, how->scid, strlen(how->scid));
	stage_varint(s, how->token_len);
	stage_zeros(s, how->token_len);
	stage_number(s, 0x4000 | body, 2); /* in two bytes always */
	stage_number(s, how->number, how->number_size);
}

static void encrypt(const struct keys *k, uint32_t number, const uint8_t *header, size_t header_len,
	const uint8_t *plain, size_t len, uint8_t *ret_sealed)
{
	EVP_CIPHER_CTX *c = EVP_CIPHER_CTX_new();
	uint8_t nonce[12];
	int n;

	memcpy(nonce, k->iv, sizeof nonce);
	for (unsigned i = 0; i < 4; i++)
		nonce[8 + i] ^= (uint8_t)(number >> (24 - 8 * i));
	require(c && EVP_EncryptInit_ex(c, EVP_aes_128_gcm(), NULL, k->key, nonce) == 1 &&
		EVP_EncryptUpdate(c, NULL, &n, header, (int)header_len) == 1 &&
		EVP_EncryptUpdate(c, ret_sealed, &n, plain, (int)len) == 1 &&
		EVP_EncryptFinal_ex(c, ret_sealed + len, &n) == 1 &&
		EVP_CIPHER_CTX_ctrl(c, EVP_CTRL_AEAD_GET_TAG, 16, ret_sealed + len) == 1);
	EVP_CIPHER_CTX_free(c);
}

static void mask(const struct keys *k, uint8_t *first, uint8_t *number, unsigned size)
{
	EVP_CIPHER_CTX *c = EVP_CIPHER_CTX_new();
	uint8_t m[32];
	int n;

	require(c && EVP_EncryptInit_ex(c, EVP_aes_128_ecb(), NULL, k->hp, NULL) == 1 &&
		EVP_EncryptUpdate(c, m, &n, number + 4, 16) == 1);
	EVP_CIPHER_CTX_free(c);
	*first ^= m[0] & 0x0f;
	for (unsigned i = 0; i < size; i++)
		number[i] ^= m[1 + i];
}

void stage_seal(
	struct stage_bytes *s, const struct stage_initial *how, const uint8_t *frames, size_t len)
{
	static struct stage_bytes plain;
	struct keys k = keys_of(how);
	size_t begin = s->len, header, fixed;

	plain.len = 0;
	stage_put(&plain, frames, len);
	fixed = 7 + strlen(how->dcid) + strlen(how->scid) + (how->token_len < 64 ? 1 : 2) +
		how->token_len + 2 + how->number_size;
	while (fixed + plain.len + 16 < how->padded || plain.len + how->number_size < 4)
		stage_number(&plain, 0, 1);
	write_header(s, how, how->number_size + plain.len + 16);
	header = s->len - begin;
	require(header == fixed && sizeof s->b - s->len >= plain.len + 16);
	encrypt(&k, how->number, s->b + begin, header, plain.b, plain.len, s->b + s->len);
	s->len += plain.len + 16;
	mask(&k, s->b + begin, s->b + begin + header - how->number_size, how->number_size);
}
