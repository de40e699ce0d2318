/* What issuers are trusted: one store for all contexts that name the same file, since that of the
 * system takes megabytes and tens of milliseconds; dropped with the last of them. A file that has
 * changed since is read anew. */
#include "gateway/transport/tls_internal.h"

#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <openssl/x509.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "gateway/base/file.h"

struct tls_store {
	struct tls_store *next;
	X509_STORE *x509;
	char *path; /* NULL: the system's */
	struct stat file;
	size_t users;
};

static struct {
	pthread_mutex_t lock;
	struct tls_store *first;
} all = {.lock = PTHREAD_MUTEX_INITIALIZER};

/* One that OpenSSL would find: 9d66eef0.0. */
static bool is_hashed(const char *name)
{
	for (unsigned i = 0; i < 8; i++) {
		if (!isxdigit((unsigned char)name[i]))
			return false;
	}
	return name[8] == '.' && isdigit((unsigned char)name[9]);
}

static bool has_hashed(const char *path)
{
	DIR *dir = opendir(path);
	const struct dirent *e;
	bool found = false;

	while (dir && !found && (e = readdir(dir)))
		found = is_hashed(e->d_name);
	if (dir)
		(void)closedir(dir);
	return found;
}

/* A pipe would never end. */
static int file_look(const char *path, struct stat *ret, char why[128])
{
	memset(ret, 0, sizeof *ret);
	if (file_check(path) == -ENOTSUP) {
		snprintf(why, 128, "%s: neither a file nor a link to one", path);
		return -EBADMSG;
	}
	if (!access(path, R_OK) && !stat(path, ret))
		return 0;
	snprintf(why, 128, "%s: %s", path, strerror(errno));
	return -ENOENT;
}

/* OpenSSL takes no notice of places that are not there. */
static int system_look(struct stat *ret, char why[128])
{
	const char *file = secure_getenv(X509_get_default_cert_file_env());
	const char *dir = secure_getenv(X509_get_default_cert_dir_env());
	int r = file_look(file ? file : X509_get_default_cert_file(), ret, why);

	if (r != -ENOENT || file)
		return r;
	if (dir || has_hashed(X509_get_default_cert_dir()))
		return 0;
	snprintf(why, 128, "the system has no certificates, neither %s nor any in %s",
		X509_get_default_cert_file(), X509_get_default_cert_dir());
	return r;
}

static bool is_same(const struct tls_store *s, const char *path, const struct stat *file)
{
	return (s->path && path ? !strcmp(s->path, path) : s->path == path) &&
	       s->file.st_dev == file->st_dev && s->file.st_ino == file->st_ino &&
	       s->file.st_size == file->st_size && s->file.st_mtim.tv_sec == file->st_mtim.tv_sec &&
	       s->file.st_mtim.tv_nsec == file->st_mtim.tv_nsec;
}

static void store_free(struct tls_store *s)
{
	X509_STORE_free(s->x509);
	free(s->path);
	free(s);
}

static int store_new(const char *path, struct tls_store **ret, char why[128])
{
	struct tls_store *s = calloc(1, sizeof *s);
	int r = -ENOMEM;

	if (!s)
		return r;
	s->x509 = X509_STORE_new();
	if ((path && !(s->path = strdup(path))) || !s->x509)
		goto fail;
	if (path && X509_STORE_load_file(s->x509, path) != 1) {
		snprintf(why, 128, "%s: no certificates in it, or broken ones", path);
		r = -EBADMSG;
		goto fail;
	}
	if (!path && X509_STORE_set_default_paths(s->x509) != 1)
		goto fail;
	*ret = s;
	return 0;
fail:
	store_free(s);
	return r;
}

/* The lock is held. */
static int store_find(const char *path, struct tls_store **ret, char why[128])
{
	struct tls_store *s = all.first;
	struct stat file;
	int r = path ? file_look(path, &file, why) : system_look(&file, why);

	if (r)
		return r;
	while (s && !is_same(s, path, &file))
		s = s->next;
	if (!s) {
		r = store_new(path, &s, why);
		if (r)
			return r;
		s->file = file;
		s->next = all.first;
		all.first = s;
	}
	*ret = s;
	return 0;
}

int tls_store_get(const char *path, struct tls_store **ret, char why[128])
{
	int r;

	pthread_mutex_lock(&all.lock);
	r = store_find(path, ret, why);
	if (!r)
		(*ret)->users++;
	pthread_mutex_unlock(&all.lock);
	return r;
}

void tls_store_use(struct tls_store *s, SSL_CTX *ssl)
{
	SSL_CTX_set1_cert_store(ssl, s->x509);
}

void tls_store_put(struct tls_store *s)
{
	struct tls_store **at = &all.first;

	if (!s)
		return;
	pthread_mutex_lock(&all.lock);
	if (!--s->users) {
		while (*at != s)
			at = &(*at)->next;
		*at = s->next;
		store_free(s);
	}
	pthread_mutex_unlock(&all.lock);
}
