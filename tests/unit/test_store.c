/* The file behind the table, on a real file system: made, locked, read, kept, full, read-only. */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sched.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>
#include <cmocka.h>

#include "gateway/dns/name.h"
#include "gateway/store.h"

#define EMPTY  96 /* bytes of a log without mappings: the header, and what was told ahead */
#define LIMITS 32 /* of that */

/* --- system calls of the store: counted, and deadly --- */

ssize_t __wrap_write(int fd, const void *data, size_t len);
ssize_t __real_write(int fd, const void *data, size_t len);
int __wrap_rename(const char *from, const char *to);
int __real_rename(const char *from, const char *to);
int __wrap_ftruncate(int fd, off_t len);
int __real_ftruncate(int fd, off_t len);
int __wrap_fdatasync(int fd);
int __real_fdatasync(int fd);

static unsigned dies_in; /* the how many-th call from now; 0: none */
static bool dies_half_way;
static unsigned syncs;

static bool is_the_last(void)
{
	return dies_in && --dies_in == 0;
}

static void die(void)
{
	kill(getpid(), SIGKILL);
	pause();
}

ssize_t __wrap_write(int fd, const void *data, size_t len)
{
	if (is_the_last()) {
		if (dies_half_way)
			(void)!__real_write(fd, data, (len + 1) / 2);
		die();
	}
	return __real_write(fd, data, len);
}

int __wrap_rename(const char *from, const char *to)
{
	bool last = is_the_last();
	int r;

	if (last && !dies_half_way)
		die();
	r = __real_rename(from, to);
	if (last)
		die();
	return r;
}

int __wrap_ftruncate(int fd, off_t len)
{
	if (is_the_last())
		die();
	return __real_ftruncate(fd, len);
}

int __wrap_fdatasync(int fd)
{
	if (is_the_last())
		die();
	syncs++;
	return __real_fdatasync(fd);
}

struct world {
	char folder[64], path[128];
	struct fakeip_table *table;
	struct store *store;
	struct fakeip_load_result loaded;
	int pid;
};

static uint64_t hash_name(const uint8_t *name, size_t name_len, uint64_t key)
{
	struct dns_name n = {.len = (uint8_t)name_len};

	memcpy(n.b, name, name_len);
	return dns_name_hash(&n, key);
}

static void table_of(struct world *w, uint32_t max)
{
	struct fakeip_pool_config pools = {.net4 = {198, 18},
		.len4 = 16,
		.ttl_s = 1,
		.hold_s = 100,
		.max = max,
		.hash = hash_name};

	fakeip_free(w->table);
	w->table = NULL;
	assert_int_equal(fakeip_new(&pools, 7, &w->table), 0);
}

static void table_open(struct world *w, uint8_t second_byte)
{
	struct fakeip_pool_config pools = {.net4 = {198, second_byte},
		.len4 = 16,
		.net6 = {0xfd},
		.len6 = 64,
		.ttl_s = 1,
		.hold_s = 3600,
		.max = 65536,
		.hash = hash_name};

	assert_int_equal(fakeip_new(&pools, 7, &w->table), 0);
}

/* A store may be there also when it cannot be used yet. */
static int open_store(struct world *w, const char *path)
{
	store_close(w->store);
	w->store = NULL;
	return store_open(path, w->table, 1000, &w->store, &w->pid, &w->loaded);
}

/* As after a restart. */
static void begin_again(struct world *w)
{
	store_close(w->store);
	w->store = NULL;
	fakeip_free(w->table);
	table_open(w, 18);
}

static int open_world(void **state)
{
	struct world *w = calloc(1, sizeof *w);

	assert_non_null(w);
	strcpy(w->folder, "/tmp/tungate-test-store-XXXXXX");
	assert_non_null(mkdtemp(w->folder));
	snprintf(w->path, sizeof w->path, "%s/fakeip.db", w->folder);
	table_open(w, 18);
	*state = w;
	return 0;
}

static int close_world(void **state)
{
	struct world *w = *state;
	char command[128];

	store_close(w->store);
	fakeip_free(w->table);
	snprintf(command, sizeof command, "rm -rf '%s'", w->folder);
	assert_int_equal(system(command), 0);
	free(w);
	return 0;
}

static int assign_at(struct world *w, unsigned number, uint32_t now_s, struct fakeip_pair *ret)
{
	struct dns_name name;
	char text[32];

	snprintf(text, sizeof text, "n%u.test", number);
	assert_int_equal(dns_name_parse(text, strlen(text), &name), 0);
	return fakeip_assign(w->table, name.b, name.len, dns_name_hash(&name, 7), 0, 1, now_s, ret);
}

static uint32_t assign(struct world *w, unsigned number)
{
	struct fakeip_pair pair;

	assert_int_equal(assign_at(w, number, 1000, &pair), 0);
	return pair.index;
}

static off_t size_of(const char *path)
{
	struct stat st;

	return stat(path, &st) ? -1 : st.st_size;
}

static void write_file(const char *path, const void *bytes, size_t len)
{
	int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0600);

	assert_true(fd >= 0);
	assert_int_equal(write(fd, bytes, len), len);
	close(fd);
}

static void assert_file(const char *path, const void *bytes, size_t len)
{
	char *data = malloc(len + 1);
	int fd = open(path, O_RDONLY);

	assert_non_null(data);
	assert_true(fd >= 0);
	assert_int_equal(read(fd, data, len + 1), len);
	assert_memory_equal(data, bytes, len);
	close(fd);
	free(data);
}

static const char *beside(const struct world *w, const char *suffix)
{
	static char path[160];

	snprintf(path, sizeof path, "%s%s", w->path, suffix);
	return path;
}

/* --- the usual --- */

static void mappings_are_there_again(void **state)
{
	struct world *w = *state;
	uint32_t first, second;

	assert_int_equal(open_store(w, w->path), 0);
	assert_int_equal(size_of(w->path), EMPTY);
	assert_int_equal(w->loaded.loaded, 0);
	assert_false(w->loaded.foreign);
	first = assign(w, 1);
	second = assign(w, 2);
	assert_int_equal(fakeip_commit(w->table), 0);
	assert_true(size_of(w->path) > EMPTY);
	begin_again(w);
	assert_int_equal(open_store(w, w->path), 0);
	assert_int_equal(w->loaded.loaded, 2);
	assert_int_equal(w->loaded.lost, 0);
	assert_int_equal(assign(w, 2), second);
	assert_int_equal(assign(w, 1), first);
	assert_int_equal(size_of(beside(w, ".foreign")), -1);
}

static void the_last_folder_is_made(void **state)
{
	struct world *w = *state;
	char path[128];

	snprintf(path, sizeof path, "%s/new/fakeip.db", w->folder);
	assert_int_equal(open_store(w, path), 0);
	assert_int_equal(size_of(path), EMPTY);
	begin_again(w);
	snprintf(path, sizeof path, "%s/not/there/fakeip.db", w->folder);
	assert_int_equal(open_store(w, path), -ENOENT);
}

static void the_file_is_not_for_everybody(void **state)
{
	struct world *w = *state;
	struct stat st;

	assert_int_equal(open_store(w, w->path), 0);
	assert_int_equal(stat(w->path, &st), 0);
	assert_int_equal(st.st_mode & 07, 0);
}

static void a_torn_tail_is_cut_off(void **state)
{
	struct world *w = *state;
	off_t size;
	int fd;

	assert_int_equal(open_store(w, w->path), 0);
	assign(w, 1);
	assert_int_equal(fakeip_commit(w->table), 0);
	size = size_of(w->path);
	assign(w, 2);
	assert_int_equal(fakeip_commit(w->table), 0);
	begin_again(w);
	assert_int_equal(truncate(w->path, size + 3), 0);
	assert_int_equal(open_store(w, w->path), 0);
	assert_int_equal(w->loaded.loaded, 1);
	assert_int_equal(size_of(w->path), size + LIMITS);
	/* Killed while it was made: nothing of value, and not foreign. */
	begin_again(w);
	fd = open(w->path, O_RDWR);
	assert_int_equal(ftruncate(fd, 10), 0);
	close(fd);
	assert_int_equal(open_store(w, w->path), 0);
	assert_false(w->loaded.foreign);
	assert_int_equal(size_of(w->path), EMPTY);
	assert_int_equal(size_of(beside(w, ".foreign")), -1);
}

/* --- not ours --- */

static const char text[] = "gateway:\n  lan: [br-lan]   # whatever fakeip.store was pointed at,\n"
			   "  # it is somebody's only copy\n";

static void a_foreign_file_is_kept(void **state)
{
	struct world *w = *state;
	char suffix[16] = ".foreign";
	uint32_t index;

	for (unsigned i = 1; i <= 9; i++) {
		if (i > 1)
			snprintf(suffix, sizeof suffix, ".foreign.%u", i);
		write_file(w->path, text, sizeof text - i);
		assert_int_equal(open_store(w, w->path), 0);
		assert_true(w->loaded.foreign);
		assert_file(beside(w, suffix), text, sizeof text - i);
		assert_string_equal(store_kept(w->store), beside(w, suffix));
		assert_int_equal(size_of(w->path), EMPTY);
		/* From here on it is a store like any other. */
		index = assign(w, 5);
		assert_int_equal(fakeip_commit(w->table), 0);
		begin_again(w);
		assert_int_equal(open_store(w, w->path), 0);
		assert_false(w->loaded.foreign);
		assert_null(store_kept(w->store));
		assert_int_equal(assign(w, 5), index);
		begin_again(w);
	}
	/* No more places: then it stays where it is. */
	write_file(w->path, text, sizeof text - 10);
	assert_int_equal(open_store(w, w->path), -EEXIST);
	assert_file(w->path, text, sizeof text - 10);
	assert_false(fakeip_is_persistent(w->table));
	assert_file(beside(w, ".foreign"), text, sizeof text - 1);
}

/* 198.18.0.0/16 to 198.51.0.0/16: nothing fits, and the file is one of the new pools. */
static void a_file_of_other_pools_is_written_anew(void **state)
{
	struct world *w = *state;
	struct stat before, after;

	assert_int_equal(open_store(w, w->path), 0);
	assign(w, 1);
	assert_int_equal(fakeip_commit(w->table), 0);
	begin_again(w);
	fakeip_free(w->table);
	table_open(w, 51);
	assert_int_equal(stat(w->path, &before), 0);
	assert_int_equal(open_store(w, w->path), 0);
	assert_true(w->loaded.moved);
	assert_false(w->loaded.foreign);
	assert_int_equal(w->loaded.dropped, 1);
	assert_int_equal(w->loaded.loaded, 0);
	assert_int_equal(stat(w->path, &after), 0);
	assert_int_not_equal(before.st_ino, after.st_ino);
	assert_int_equal(size_of(beside(w, ".foreign")), -1);
	assert_int_equal(size_of(beside(w, ".new")), -1);
	assert_int_equal(size_of(w->path), EMPTY + LIMITS);
}

static void a_file_that_is_too_large_stays(void **state)
{
	struct world *w = *state;

	write_file(w->path, text, sizeof text);
	assert_int_equal(truncate(w->path, (512LL << 20) + 1), 0);
	assert_int_equal(open_store(w, w->path), -EFBIG);
	assert_int_equal(size_of(w->path), (512LL << 20) + 1);
	assert_false(fakeip_is_persistent(w->table));
	assign(w, 1); /* the table works all the same */
	assert_int_equal(fakeip_commit(w->table), 0);
}

static void what_is_no_file(void **state)
{
	struct world *w = *state;
	char inside[160];

	assert_int_equal(mkdir(w->path, 0700), 0);
	assert_int_equal(open_store(w, w->path), -EISDIR);
	assert_int_equal(rmdir(w->path), 0);
	assert_int_equal(mkfifo(w->path, 0600), 0);
	assert_int_equal(open_store(w, w->path), -EINVAL);
	assert_int_equal(unlink(w->path), 0);
	write_file(w->path, text, sizeof text);
	snprintf(inside, sizeof inside, "%s/fakeip.db", w->path);
	assert_int_equal(open_store(w, inside), -ENOTDIR);
	assert_file(w->path, text, sizeof text);
	assert_int_equal(open_store(w, "/dev/full"), -EINVAL);
	assert_false(fakeip_is_persistent(w->table));
	store_close(NULL);
}

/* --- locked --- */

/* Another process that holds the store until it is killed. */
static pid_t holder(struct world *w)
{
	int ready[2];
	char byte;
	pid_t pid;

	assert_int_equal(pipe(ready), 0);
	pid = fork();
	assert_true(pid >= 0);
	if (pid == 0) {
		byte = open_store(w, w->path) == 0 ? 'y' : 'n';
		if (write(ready[1], &byte, 1) != 1)
			_exit(1);
		for (;;)
			pause();
	}
	assert_int_equal(read(ready[0], &byte, 1), 1);
	assert_int_equal(byte, 'y');
	close(ready[0]);
	close(ready[1]);
	return pid;
}

static void end(pid_t pid)
{
	assert_int_equal(kill(pid, SIGKILL), 0);
	assert_int_equal(waitpid(pid, NULL, 0), pid);
}

static void who_holds_it_is_told(void **state)
{
	struct world *w = *state;
	pid_t pid = holder(w);

	assert_int_equal(open_store(w, w->path), -EBUSY);
	assert_int_equal(w->pid, pid);
	end(pid);
	begin_again(w);
	assert_int_equal(open_store(w, w->path), 0); /* a kill leaves no lock */
	assert_int_equal(w->pid, 0);
}

/* The new file behind a foreign one is locked just as well. */
static void a_store_made_anew_is_locked(void **state)
{
	struct world *w = *state;
	pid_t pid;

	write_file(w->path, text, sizeof text);
	pid = holder(w);
	assert_int_equal(open_store(w, w->path), -EBUSY);
	assert_int_equal(w->pid, pid);
	end(pid);
	assert_file(beside(w, ".foreign"), text, sizeof text);
}

/* --- full and read-only --- */

static void a_full_disk(void **state)
{
	struct world *w = *state;
	struct rlimit old, few;
	int error = 0;
	off_t size;
	uint32_t loaded;

	assert_int_equal(open_store(w, w->path), 0);
	assert_int_equal(getrlimit(RLIMIT_FSIZE, &old), 0);
	few = old;
	few.rlim_cur = 1000; /* a write beyond is short, then fails, as on a full disk */
	signal(SIGXFSZ, SIG_IGN);
	assert_int_equal(setrlimit(RLIMIT_FSIZE, &few), 0);
	for (unsigned i = 0; i < 100 && !error; i++) {
		assign(w, i);
		error = fakeip_commit(w->table);
	}
	assert_int_equal(setrlimit(RLIMIT_FSIZE, &old), 0);
	signal(SIGXFSZ, SIG_DFL);
	assert_int_equal(error, -EFBIG);
	assert_false(fakeip_is_persistent(w->table));
	size = size_of(w->path);
	assign(w, 1000);
	assert_int_equal(fakeip_commit(w->table), 0); /* told once */
	assert_int_equal(size_of(w->path), size);
	/* Half a record was cut off again. */
	begin_again(w);
	assert_int_equal(open_store(w, w->path), 0);
	loaded = w->loaded.loaded;
	assert_in_range(loaded, 10, 30);
	assert_int_equal(w->loaded.lost, 0);
	assert_int_equal(size_of(w->path), size + LIMITS);
}

/* --- sooner or later on the disk --- */

static void written_records_are_synced_in_time(void **state)
{
	struct world *w = *state;
	unsigned before;

	assert_int_equal(open_store(w, w->path), 0);
	before = syncs;
	for (uint32_t now_s = 1001; now_s < 1010; now_s++)
		assert_int_equal(store_tick(w->store, now_s), 0);
	assert_int_equal(syncs, before); /* nothing to do */
	assign(w, 1);
	assert_int_equal(fakeip_commit(w->table), 0);
	for (uint32_t now_s = 1010; now_s < 1014; now_s++)
		assert_int_equal(store_tick(w->store, now_s), 0);
	assert_int_equal(syncs, before);
	assert_int_equal(store_tick(w->store, 1014), 0);
	assert_int_equal(syncs, before + 1);
	store_set_sync(w->store, 1);
	assign(w, 2);
	assert_int_equal(fakeip_commit(w->table), 0);
	assert_int_equal(store_tick(w->store, 1015), 0);
	assert_int_equal(syncs, before + 2);
	/* What keeps addresses apart does not wait. */
	store_set_sync(w->store, 3600);
	for (unsigned i = 0; i < 3000; i++)
		assign(w, i);
	assert_int_equal(fakeip_commit(w->table), 0);
	assert_int_equal(store_tick(w->store, 1016), 0);
	assert_int_equal(syncs, before + 3);
	assign(w, 5000);
	assert_int_equal(fakeip_commit(w->table), 0);
	assert_int_equal(store_sync(w->store), 0);
	assert_int_equal(syncs, before + 4);
}

/* Names go through a pool of 2,000; the file does not grow with them. */
static void the_file_stays_small(void **state)
{
	struct world *w = *state;
	struct fakeip_pair pair;
	struct stat before, after;
	uint32_t now_s = 1000, index;
	off_t most = 0;

	table_of(w, 2000);
	assert_int_equal(open_store(w, w->path), 0);
	assert_int_equal(stat(w->path, &before), 0);
	for (unsigned round = 0; round < 40; round++, now_s += 200) {
		for (unsigned i = 0; i < 2000; i++)
			assert_int_equal(assign_at(w, round * 2000 + i, now_s, &pair), 0);
		assert_int_equal(fakeip_commit(w->table), 0);
		most = size_of(w->path) > most ? size_of(w->path) : most;
		assert_int_equal(store_tick(w->store, now_s), 0);
	}
	index = pair.index;
	assert_in_range(most, 1 << 20, 3 << 19);
	assert_int_equal(stat(w->path, &after), 0);
	assert_int_not_equal(before.st_ino, after.st_ino);
	assert_int_equal(after.st_mode & 07, 0);
	assert_int_equal(size_of(beside(w, ".new")), -1);
	store_close(w->store);
	w->store = NULL;
	table_of(w, 2000);
	assert_int_equal(open_store(w, w->path), 0);
	assert_int_equal(w->loaded.loaded, 2000);
	assert_int_equal(w->loaded.lost, 0);
	assert_int_equal(assign_at(w, 39 * 2000 + 1999, now_s, &pair), 0);
	assert_int_equal(pair.index, index);
}

/* The lock goes with the name. */
static void a_file_made_anew_is_still_locked(void **state)
{
	struct world *w = *state;
	int status;
	pid_t pid;

	assert_int_equal(open_store(w, w->path), 0);
	assign(w, 1);
	while (fakeip_snapshot_step(w->table) > 0)
		;
	pid = fork();
	assert_true(pid >= 0);
	if (pid == 0) {
		struct world other = {.store = NULL};

		table_open(&other, 18);
		_exit(open_store(&other, w->path) == -EBUSY && other.pid == getppid() ? 0 : 1);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(status, 0);
}

/* --- lost, and there again --- */

static void a_folder_that_comes_later(void **state)
{
	struct world *w = *state;
	char path[160], folder[128];
	uint32_t index;

	snprintf(folder, sizeof folder, "%s/disk", w->folder);
	snprintf(path, sizeof path, "%s/tungate/fakeip.db", folder);
	assert_int_equal(open_store(w, path), -ENOENT);
	assert_non_null(w->store);
	index = assign(w, 1);
	assert_int_equal(store_tick(w->store, 1030 - 1), 0);
	assert_int_equal(mkdir(folder, 0700), 0);
	assert_int_equal(store_tick(w->store, 1030 - 1), 0);
	assert_false(fakeip_is_persistent(w->table));
	assert_int_equal(store_tick(w->store, 1030), 1);
	assert_true(fakeip_is_persistent(w->table));
	assert_int_equal(store_tick(w->store, 1031), 0);
	begin_again(w);
	assert_int_equal(open_store(w, path), 0);
	assert_int_equal(w->loaded.loaded, 1);
	assert_int_equal(assign(w, 1), index);
}

/* Nothing that is not ours is written over, then or later. */
static void what_is_not_ours_stays(void **state)
{
	struct world *w = *state;

	write_file(w->path, text, sizeof text);
	assert_int_equal(truncate(w->path, (512LL << 20) + 1), 0);
	assert_int_equal(open_store(w, w->path), -EFBIG);
	assign(w, 1);
	assert_int_equal(store_tick(w->store, 1030), 0);
	assert_int_equal(store_tick(w->store, 1060), 0);
	assert_false(fakeip_is_persistent(w->table));
	assert_int_equal(size_of(w->path), (512LL << 20) + 1);
	assert_int_equal(size_of(beside(w, ".new")), -1);
	assert_int_equal(unlink(w->path), 0);
	assert_int_equal(store_tick(w->store, 1090), 1);
	assert_true(size_of(w->path) > EMPTY);
}

/* --- a file system of its own: full, read-only --- */

#define NOT_ALLOWED 77

static int mount_small(struct world *w)
{
	return unshare(CLONE_NEWNS) || mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) ||
			       mount("none", w->folder, "tmpfs", 0, "size=64k")
		       ? NOT_ALLOWED
		       : 0;
}

/* 0: as it should be; NOT_ALLOWED; else the number of the step that went wrong. */
static int try_read_only(struct world *w)
{
	int r = mount_small(w);

	if (r)
		return r;
	if (open_store(w, w->path))
		return 1;
	assign(w, 1);
	if (fakeip_commit(w->table))
		return 2;
	begin_again(w);
	if (mount(NULL, w->folder, NULL, MS_REMOUNT | MS_RDONLY, NULL))
		return NOT_ALLOWED;
	if (open_store(w, w->path) != -EROFS || fakeip_is_persistent(w->table))
		return 3;
	if (w->loaded.loaded != 1 || assign(w, 1) != 2)
		return 4;
	assign(w, 2);
	if (fakeip_commit(w->table) || store_tick(w->store, 1030))
		return 5;
	if (mount(NULL, w->folder, NULL, MS_REMOUNT, NULL))
		return NOT_ALLOWED;
	if (store_tick(w->store, 1059) || store_tick(w->store, 1060) != 1)
		return 6;
	begin_again(w);
	if (open_store(w, w->path) || w->loaded.loaded != 2)
		return 7;
	/* It becomes read-only under the open file. */
	assign(w, 3);
	if (fakeip_commit(w->table))
		return 8;
	return 0;
}

/* A disk that others fill, and empty again. */
static int try_full(struct world *w)
{
	static char zeros[65536];
	char other[128];
	uint32_t index = 0;
	int r = mount_small(w), fd, error = 0;

	if (r)
		return r;
	if (open_store(w, w->path))
		return 1;
	snprintf(other, sizeof other, "%s/other", w->folder);
	fd = open(other, O_WRONLY | O_CREAT, 0600);
	if (fd < 0 || write(fd, zeros, sizeof zeros) <= 0)
		return 2;
	for (unsigned i = 0; i < 1000 && !error; i++) {
		index = assign(w, i);
		error = fakeip_commit(w->table);
	}
	if (error != -ENOSPC || fakeip_is_persistent(w->table))
		return 3;
	if (store_tick(w->store, 1001) || store_tick(w->store, 1031))
		return 4; /* still full */
	if (unlink(other) || close(fd))
		return 5;
	assign(w, 2000);
	if (store_tick(w->store, 1060) || store_tick(w->store, 1061) != 1)
		return 6;
	begin_again(w);
	if (open_store(w, w->path) || w->loaded.lost)
		return 7;
	return assign(w, w->loaded.loaded - 2) == index ? 0 : 8;
}

static void in_a_child(struct world *w, int (*try)(struct world *w))
{
	pid_t pid = fork();
	int status;

	assert_true(pid >= 0);
	if (pid == 0)
		_exit(try(w));
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFEXITED(status));
	if (WEXITSTATUS(status) == NOT_ALLOWED) {
		print_message("not allowed to mount a tmpfs: needs root\n");
		skip();
	}
	assert_int_equal(WEXITSTATUS(status), 0);
}

static void a_read_only_disk(void **state)
{
	in_a_child(*state, try_read_only);
}

static void a_disk_that_others_fill(void **state)
{
	in_a_child(*state, try_full);
}

/* --- killed in every call --- */

struct answers {
	unsigned n;
	struct {
		unsigned name;
		uint32_t index, now_s;
	} a[200];
	bool flushed[64]; /* by index */
	uint32_t now_s;
	bool done;
};

static void ask(struct world *w, struct answers *s, unsigned name, uint32_t now_s)
{
	struct fakeip_pair pair;
	unsigned n = s->n;

	s->now_s = now_s;
	if (assign_at(w, name, now_s, &pair) || fakeip_commit(w->table))
		return;
	s->a[n].name = name;
	s->a[n].index = pair.index;
	s->a[n].now_s = now_s;
	s->flushed[pair.index] = false;
	s->n = n + 1;
}

static void flush(struct world *w, struct answers *s, uint32_t index)
{
	bool kept;

	if (fakeip_flush(w->table, index, s->now_s, &kept) == 0 && fakeip_commit(w->table) == 0)
		s->flushed[index] = true;
}

/* Mappings, flushes, snapshots between other things, indexes for other names, syncs, an orderly
 * end. */
static void play(struct world *w, struct answers *s)
{
	unsigned name = 0;

	table_of(w, 29);
	if (open_store(w, w->path))
		_exit(1);
	while (name < 20)
		ask(w, s, name++, 1000);
	flush(w, s, 5);
	flush(w, s, 9);
	ask(w, s, 3, 1002);
	while (fakeip_snapshot_step(w->table) > 0)
		ask(w, s, name++, 1050);
	store_tick(w->store, 1060);
	for (unsigned i = 0; i < 20; i++)
		ask(w, s, name++, 1150);
	while (fakeip_snapshot_step(w->table) > 0)
		flush(w, s, 2 + name % 29);
	store_tick(w->store, 1160);
	store_close(w->store);
	s->done = true;
	_exit(0);
}

static void check_answers(struct world *w, const struct answers *s)
{
	uint32_t last[64] = {0};

	for (unsigned i = 0; i < s->n; i++)
		last[s->a[i].index] = i + 1;
	for (uint32_t index = 2; index < 64; index++) {
		unsigned i = last[index] - 1;
		struct fakeip_mapping m;
		struct dns_name name;
		char text_of[32];

		if (!last[index] || s->a[i].now_s + 101 < s->now_s)
			continue;
		snprintf(text_of, sizeof text_of, "n%u.test", s->a[i].name);
		assert_int_equal(dns_name_parse(text_of, strlen(text_of), &name), 0);
		assert_int_equal(fakeip_get(w->table, index, &m), 0);
		assert_int_equal(m.name_len, name.len);
		assert_memory_equal(m.name, name.b, name.len);
		assert_true(m.flushed || !s->flushed[index]);
	}
}

static void killed_in_every_call(void **state)
{
	struct world *w = *state;
	struct answers *s =
		mmap(NULL, sizeof *s, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	unsigned deaths = 0;

	assert_true(s != MAP_FAILED);
	for (unsigned call = 1; !s->done; call++) {
		for (unsigned half = 0; half < 2; half++) {
			int status;
			pid_t pid;

			(void)unlink(w->path);
			memset(s, 0, sizeof *s);
			pid = fork();
			assert_true(pid >= 0);
			if (pid == 0) {
				dies_in = call;
				dies_half_way = half;
				play(w, s);
			}
			assert_int_equal(waitpid(pid, &status, 0), pid);
			assert_true(s->done ? status == 0 : WIFSIGNALED(status));
			deaths += !s->done;
			table_of(w, 29);
			assert_int_equal(open_store(w, w->path), 0);
			assert_false(w->loaded.foreign);
			assert_in_range(w->loaded.lost, 0, 1);
			assert_int_equal(size_of(beside(w, ".new")), -1);
			check_answers(w, s);
			store_close(w->store);
			w->store = NULL;
		}
	}
	assert_in_range(deaths, 100, 1000);
	munmap(s, sizeof *s);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, open_world, close_world)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(mappings_are_there_again),
		TEST(the_last_folder_is_made),
		TEST(the_file_is_not_for_everybody),
		TEST(a_torn_tail_is_cut_off),
		TEST(a_foreign_file_is_kept),
		TEST(a_file_of_other_pools_is_written_anew),
		TEST(a_file_that_is_too_large_stays),
		TEST(what_is_no_file),
		TEST(who_holds_it_is_told),
		TEST(a_store_made_anew_is_locked),
		TEST(a_full_disk),
		TEST(written_records_are_synced_in_time),
		TEST(the_file_stays_small),
		TEST(a_file_made_anew_is_still_locked),
		TEST(a_folder_that_comes_later),
		TEST(what_is_not_ours_stays),
		TEST(a_read_only_disk),
		TEST(a_disk_that_others_fill),
		TEST(killed_in_every_call),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
