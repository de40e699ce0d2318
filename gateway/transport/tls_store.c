/* The certificates of the system: one store for all contexts, since it takes megabytes; read when
 * the first context needs it and dropped with the last one. */
#include "gateway/transport/tls_internal.h"

#include <errno.h>
#include <openssl/err.h>
#include <openssl/x509.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static struct {
	pthread_mutex_t lock;
	X509_STORE *store;
	size_t users;
} shared = {.lock = PTHREAD_MUTEX_INITIALIZER};

/* OpenSSL takes no notice of places that are not there. */
static int places_check(char why[128])
{
	const char *file = secure_getenv(X509_get_default_cert_file_env());
	const char *dir = secure_getenv(X509_get_default_cert_dir_env());

	if (file && access(file, R_OK)) {
		snprintf(why, 128, "%s: %s", file, strerror(errno));
		return -ENOENT;
	}
	if (file || dir || !access(X509_get_default_cert_file(), R_OK) ||
		!access(X509_get_default_cert_dir(), R_OK))
		return 0;
	snprintf(why, 128, "the system has no certificates: neither %s nor %s is there",
		X509_get_default_cert_file(), X509_get_default_cert_dir());
	return -ENOENT;
}

static int shared_read(char why[128])
{
	int r = places_check(why);

	if (r)
		return r;
	shared.store = X509_STORE_new();
	if (shared.store && X509_STORE_set_default_paths(shared.store) == 1)
		return 0;
	X509_STORE_free(shared.store);
	shared.store = NULL;
	return -ENOMEM;
}

int tls_store_get(X509_STORE **ret, char why[128])
{
	int r = 0;

	pthread_mutex_lock(&shared.lock);
	if (!shared.store)
		r = shared_read(why);
	if (!r) {
		shared.users++;
		X509_STORE_up_ref(shared.store);
		*ret = shared.store;
	}
	pthread_mutex_unlock(&shared.lock);
	return r;
}

void tls_store_put(void)
{
	pthread_mutex_lock(&shared.lock);
	if (!--shared.users) {
		X509_STORE_free(shared.store);
		shared.store = NULL;
	}
	pthread_mutex_unlock(&shared.lock);
}
