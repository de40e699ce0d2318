/* The file behind the table, on a real file system: made, locked, read, kept, full, read-only. */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sched.h>
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

static uint32_t assign(struct world *w, unsigned number)
{
	struct dns_name name;
	struct fakeip_pair pair;
	char text[32];

	snprintf(text, sizeof text, "n%u.test", number);
	assert_int_equal(dns_name_parse(text, strlen(text), &name), 0);
	assert_int_equal(fakeip_assign(w->table, name.b, name.len, dns_name_hash(&name, 7), 0, 1,
				 1000, &pair),
		0);
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
		assert_int_equal(size_of(w->path), EMPTY);
		/* From here on it is a store like any other. */
		index = assign(w, 5);
		assert_int_equal(fakeip_commit(w->table), 0);
		begin_again(w);
		assert_int_equal(open_store(w, w->path), 0);
		assert_false(w->loaded.foreign);
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

/* In a mount namespace of its own. 0: as it should be; 77: not allowed to try. */
static int try_read_only(struct world *w)
{
	if (unshare(CLONE_NEWNS) || mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) ||
		mount("none", w->folder, "tmpfs", 0, "size=16k"))
		return 77;
	if (open_store(w, w->path))
		return 1;
	assign(w, 1);
	if (fakeip_commit(w->table))
		return 2;
	begin_again(w);
	if (mount(NULL, w->folder, NULL, MS_REMOUNT | MS_RDONLY, NULL))
		return 77;
	if (open_store(w, w->path) != -EROFS || fakeip_is_persistent(w->table))
		return 3;
	assign(w, 2);
	return fakeip_commit(w->table) ? 4 : 0;
}

static void a_read_only_disk(void **state)
{
	struct world *w = *state;
	int status;
	pid_t pid = fork();

	assert_true(pid >= 0);
	if (pid == 0)
		_exit(try_read_only(w));
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFEXITED(status));
	if (WEXITSTATUS(status) == 77)
		skip();
	assert_int_equal(WEXITSTATUS(status), 0);
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
		TEST(a_read_only_disk),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
