/* The tables of a process, by path. */
#include "gateway/learned/learned.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "gateway/base/grow.h"
#include "gateway/learned/learned_internal.h"

struct learned_files {
	pthread_mutex_t lock;
	struct learned **v; /* with a reference each */
	size_t n, room;
};

int learned_files_new(struct learned_files **ret)
{
	struct learned_files *f = calloc(1, sizeof *f);

	if (!f)
		return -ENOMEM;
	pthread_mutex_init(&f->lock, NULL);
	*ret = f;
	return 0;
}

void learned_files_free(struct learned_files *f)
{
	if (!f)
		return;
	for (size_t i = 0; i < f->n; i++)
		learned_unref(f->v[i]);
	pthread_mutex_destroy(&f->lock);
	free(f->v);
	free(f);
}

/* With a reference for the caller; NULL: it is not open. Under the lock. */
static struct learned *find(struct learned_files *f, const char *path)
{
	for (size_t i = 0; i < f->n; i++)
		if (strcmp(learned_path(f->v[i]), path) == 0)
			return learned_ref(f->v[i]);
	return NULL;
}

/* One that another thread has opened meanwhile goes before. Takes l. */
static int keep(struct learned_files *f, struct learned *l, struct learned **ret)
{
	struct learned *other, *spare = NULL;
	int err = 0;

	pthread_mutex_lock(&f->lock);
	other = find(f, learned_path(l));
	if (!other)
		err = room_grow((void **)&f->v, &f->room, f->n, 1, sizeof(*f->v));
	if (other || err)
		spare = l;
	else
		f->v[f->n++] = learned_ref(l);
	pthread_mutex_unlock(&f->lock);
	learned_unref(spare);
	if (!err)
		*ret = other ? other : l;
	return err;
}

int learned_files_get(struct learned_files *f, const char *path,
	const struct learned_config *config, int64_t now_s, learned_complain *complain, void *arg,
	struct learned **ret)
{
	struct learned *l;
	int err;

	pthread_mutex_lock(&f->lock);
	l = find(f, path);
	pthread_mutex_unlock(&f->lock);
	if (l) {
		*ret = l;
		return 0;
	}
	err = learned_open(path, config, now_s, complain, arg, &l);
	return err ? err : keep(f, l, ret);
}

/* One that nobody else has; NULL: there is none. */
static struct learned *take_unused(struct learned_files *f)
{
	struct learned *l = NULL;

	pthread_mutex_lock(&f->lock);
	for (size_t i = 0; i < f->n && !l; i++)
		if (atomic_load(&f->v[i]->refs) == 1) { /* nobody can get another one: the lock */
			l = f->v[i];
			f->v[i] = f->v[--f->n];
		}
	pthread_mutex_unlock(&f->lock);
	return l;
}

static struct learned *get(struct learned_files *f, size_t i)
{
	struct learned *l;

	pthread_mutex_lock(&f->lock);
	l = i < f->n ? learned_ref(f->v[i]) : NULL;
	pthread_mutex_unlock(&f->lock);
	return l;
}

void learned_files_tend(struct learned_files *f, int64_t now_s, learned_complain *complain,
	learned_tell *tell, void *arg)
{
	struct learned *l;

	while ((l = take_unused(f)))
		learned_unref(l);
	for (size_t i = 0; (l = get(f, i)); i++) {
		int result = learned_tend(l, now_s, complain, arg);

		if (tell)
			tell(arg, l, result);
		learned_unref(l);
	}
}
