/* The file of learned names: what is read of it, whatever it is; when a line is written, and when
 * all; what happens when it cannot be written, and when others write it. */
#include "tests/unit/learned_stage.h"

#include <signal.h>
#include <sys/resource.h>
#include <sys/wait.h>

static unsigned syncs;

/* The C library's, for the code under test. */
int fsync(int fd)
{
	syncs++;
	return fdatasync(fd);
}

/* --- reading --- */

static void names_come_back(void **state)
{
	struct stage *s = *state;
	struct learned *l;

	file_text(s->path, "full:a.test # asked=1799999900 verified=1799999800\n"
			   "full:b.test # asked=1799999950 verified=1799999800\r\n"
			   "  full:C.Test.\n"
			   "full:a.test # asked=1799999990\n"
			   "full:\\032\\.#.test # asked=1799999999\n"
			   "full:d.test # verified=1799999800 asked=1799999700");
	l = open_with(s, 10, 200, 150, T0);
	assert_int_equal(s->n_told, 0);
	assert_int_equal(info_of(l).names, 5);
	assert_int_equal(info_of(l).lines, 6);
	assert_int_equal(info_of(l).restored, 5);
	assert_int_equal(info_of(l).learned, 0);
	assert_true(holds(l, "c.test", T0));
	assert_true(peek(l, "\\032\\.#.test"));
	assert_false(due(l, "c.test", T0)); /* it has no times */
	assert_true(due(l, "b.test", T0));
	assert_int_equal(tend(l, s, T0 + 1), 0); /* d is too old */
	assert_false(peek(l, "d.test"));
	learned_unref(l);
	assert_file(s->path, "full:a.test # asked=1799999990 verified=1799999800\n"
			     "full:\\032\\.#.test # asked=1799999999\n"
			     "full:c.test\n"
			     "full:b.test # asked=1800000000 verified=1799999800\n");
}

static void times_that_cannot_be_count_as_now(void **state)
{
	static const char *const times[] = {"99999999999999", "18446744073709551617",
		"99999999999999999999999999999999999999999", "-1", "-99999999999999999999", "0",
		"17"};
	struct stage *s = *state;

	for (size_t i = 0; i < sizeof times / sizeof times[0]; i++) {
		struct learned *l;
		char text[256];

		(void)snprintf(text, sizeof text, "full:a.test # asked=%s verified=1799999999\n",
			times[i]);
		file_text(s->path, text);
		l = open_with(s, 10, 100, 1000, T0);
		assert_int_equal(tend(l, s, T0 + 100), 0);
		assert_true(peek(l, "a.test"));
		assert_int_equal(tend(l, s, T0 + 101), 0);
		assert_false(peek(l, "a.test"));
		learned_unref(l);
	}
	assert_int_equal(s->n_told, 0);
}

static void the_oldest_are_left_out(void **state)
{
	enum { N = 30000 };
	struct stage *s = *state;
	struct learned *l;
	FILE *f = fopen(s->path, "w");

	for (unsigned i = 0; i < N; i++) /* the middle was asked last */
		fprintf(f, "full:n%u.test # asked=%" PRId64 " verified=1\n", i,
			T0 - (i < N / 2 ? N / 2 - i : i - N / 2));
	fclose(f);
	l = open_with(s, 100, 0, 0, T0);
	assert_int_equal(info_of(l).names, 100);
	for (unsigned i = 0; i < N; i++) {
		struct dns_name n = name_number(i);

		/* Of two that were asked at the same time, the later line. */
		assert_int_equal(learned_peek(l, &n), i > N / 2 - 50 && i <= N / 2 + 50);
	}
	assert_int_equal(tend(l, s, T0 + 1), 0);
	assert_int_equal(info_of(l).lines, 100);
	assert_int_equal(info_of(l).compactions, 1);
	learned_unref(l);
}

static void lines_that_are_wrong_are_skipped(void **state)
{
	struct stage *s = *state;
	struct learned *l;
	char expected[4096];

	file_text(s->path, "full:a.test\nfull:b.test\nfull:c.test\nfull:d.test\nfull:e.test\n"
			   "full:f.test\nfull:g.test # asked=12x\nx.test\n  domain:x.test\n"
			   "full:a b\nfull:a..b\nfull:\n");
	l = open_with(s, 10, 0, 0, T0);
#define ALLOWED "; allowed: full:NAME # asked=TIME verified=TIME\n"
	(void)snprintf(expected, sizeof expected,
		"%1$s:7:15: warning: learn: not a time" ALLOWED
		"%1$s:8:1: warning: learn: not a learned name" ALLOWED
		"%1$s:9:3: warning: learn: not a learned name" ALLOWED
		"%1$s:10:8: warning: learn: not a comment" ALLOWED
		"%1$s:11:6: warning: learn: not a domain name" ALLOWED
		"%1$s:1:1: note: learn: 6 lines skipped in all, the first 5 are told above\n",
		s->path);
	assert_string_equal(s->told, expected);
	assert_int_equal(info_of(l).names, 6);
	assert_int_equal(info_of(l).lines, 12);
	assert_int_equal(learned_check(s->path, NULL, NULL), 0);
	learned_unref(l);
	assert_int_equal(s->n_told, 6);
}

static void assert_refused(struct stage *s, int error, const char *told)
{
	const struct learned_config c = {10, 0, 0};
	struct learned *l;
	char expected[4096];

	s->told[0] = 0;
	assert_int_equal(learned_open(s->path, &c, T0, stage_complain, s, &l), error);
	(void)snprintf(expected, sizeof expected, "! %s:%s" ALLOWED, s->path, told);
	if (!strstr(s->told, expected))
		fail_msg("%s", s->told);
	s->told[0] = 0;
	assert_int_equal(learned_check(s->path, stage_complain, s), error);
	assert_non_null(strstr(s->told, expected));
}

static void what_is_no_such_file_is_refused(void **state)
{
	static const char nul[] = "full:a.test\nfull:b\0.test\n";
	struct stage *s = *state;
	char *rubbish = malloc(100000);

	file_put(s->path, nul, sizeof nul - 1);
	assert_refused(s, -EINVAL, "2:7: learn: a NUL byte: this is not a text file");
	file_put(s->path, "\0\0x", 3);
	assert_refused(s, -EINVAL, "1:1: learn: a NUL byte: this is not a text file");
	file_text(s->path, "full:a.test\nx\ny\n");
	assert_refused(s, -EINVAL, "1:1: learn: 2 of 3 lines cannot be read");
	memset(rubbish, 'x', 100000);
	rubbish[99999] = '\n';
	file_put(s->path, rubbish, 100000);
	assert_refused(s, -EINVAL, "1:1: learn: 1 of 1 lines cannot be read");
	memcpy(rubbish + 80000, "\nfull:a.test\n", 13);
	file_put(s->path, rubbish, 80013);
	s->told[0] = 0;
	assert_int_equal(learned_check(s->path, stage_complain, s), 0);
	assert_non_null(strstr(s->told, ":1:1: warning: learn: a line above 64 KiB; allowed"));
	unlink(s->path);
	assert_int_equal(mkfifo(s->path, 0600), 0);
	assert_refused(s, -EINVAL, "1:1: learn: not a regular file");
	unlink(s->path);
	assert_int_equal(mkdir(s->path, 0700), 0);
	assert_refused(s, -EINVAL, "1:1: learn: a directory");
	rmdir(s->path);
	assert_int_equal(symlink(s->path, s->path), 0);
	assert_refused(s, -ELOOP, "1:1: learn: Too many levels of symbolic links");
	free(rubbish);
}

static void a_hundred_megabytes_of_rubbish(void **state)
{
	struct stage *s = *state;
	size_t len = 1 << 20;
	char *piece = malloc(len);
	int fd = open(s->path, O_WRONLY | O_CREAT, 0600);

	for (size_t i = 0; i < len; i++)
		piece[i] = (char)(i * 2654435761u >> 13 & 0xff ? i * 2654435761u >> 13 & 0xff : 1);
	for (unsigned i = 0; i < 100; i++)
		assert_int_equal(write(fd, piece, len), (ssize_t)len);
	(void)close(fd);
	assert_int_equal(learned_check(s->path, stage_complain, s), -EINVAL);
	assert_true(s->n_told <= 7);
	free(piece);
}

static void what_a_power_cut_leaves_is_no_reason_to_refuse_it(void **state)
{
	static const char nuls[5000] = {0};
	struct stage *s = *state;
	struct learned *l;
	int fd;

	file_text(s->path, "ful");
	l = open_with(s, 10, 0, 0, T0);
	assert_int_equal(info_of(l).names, 0);
	learned_unref(l);
	/* Half a name would be another, and the user's. */
	file_text(s->path, "full:a.test # asked=1799999999\nfull:b.te");
	fd = open(s->path, O_WRONLY | O_APPEND);
	assert_int_equal(write(fd, nuls, sizeof nuls), sizeof nuls);
	(void)close(fd);
	l = open_with(s, 10, 0, 0, T0);
	assert_int_equal(info_of(l).names, 1);
	assert_non_null(strstr(s->told, ":2:10: warning: learn: NUL bytes to the end, as a power"));
	assert_int_equal(add(l, "c.test", T0), 1);
	assert_file(s->path, "full:a.test # asked=1799999999\n"
			     "full:c.test # asked=1800000000 verified=1800000000\n");
	learned_unref(l);
}

/* The first names, of which nothing came to the disk: the gateway starts all the same. */
static void a_power_cut_may_leave_nothing_else(void **state)
{
	static const char nuls[100] = {0};
	struct stage *s = *state;
	struct learned *l;

	file_put(s->path, nuls, sizeof nuls);
	assert_int_equal(learned_check(s->path, stage_complain, s), 0);
	l = open_with(s, 10, 0, 0, T0);
	assert_int_equal(s->n_told, 2);
	assert_int_equal(tend(l, s, T0), 0);
	assert_file(s->path, "");
	assert_int_equal(add(l, "a.test", T0), 1);
	assert_file(s->path, "full:a.test # asked=1800000000 verified=1800000000\n");
	learned_unref(l);
}

/* --- writing --- */

static void a_new_name_is_a_line_at_once(void **state)
{
	struct stage *s = *state;
	struct learned *l = open_with(s, 10, 0, 0, T0);
	struct stat st;

	assert_int_equal(access(s->path, F_OK), -1); /* made with the first name */
	assert_int_equal(add(l, "a.test", T0), 1);
	assert_file(s->path, "full:a.test # asked=1800000000 verified=1800000000\n");
	assert_int_equal(stat(s->path, &st), 0);
	assert_int_equal(st.st_mode & 07777, 0600);
	assert_int_equal(add(l, "a.test", T0 + 5), 0);
	assert_int_equal(add(l, "\\200\\001\\\\.test", T0 + 5), 1);
	assert_file(s->path, "full:a.test # asked=1800000000 verified=1800000000\n"
			     "full:\\200\\001\\\\.test # asked=1800000005 verified=1800000005\n");
	assert_int_equal(info_of(l).lines, 2);
	assert_int_equal(tend(l, s, T0 + 6), 0);
	assert_int_equal(info_of(l).compactions, 0);
	learned_unref(l); /* times have changed */
	assert_file(s->path, "full:a.test # asked=1800000005 verified=1800000005\n"
			     "full:\\200\\001\\\\.test # asked=1800000005 verified=1800000005\n");
	l = open_with(s, 10, 0, 0, T0);
	assert_true(peek(l, "\\200\\001\\\\.test"));
	learned_unref(l);
	assert_int_equal(s->n_told, 0);
}

static void its_folder_is_made(void **state)
{
	struct stage *s = *state;
	struct learned *l;
	char folder[128], path[128];

	strcpy(path, s->path);
	(void)snprintf(folder, sizeof folder, "%s/new", s->dir);
	(void)snprintf(s->path, sizeof s->path, "%.70s/new/names", s->dir);
	l = open_with(s, 10, 0, 0, T0);
	assert_int_equal(add(l, "a.test", T0), 1);
	assert_int_equal(info_of(l).error, 0);
	learned_unref(l);
	assert_int_equal(unlink(s->path), 0);
	assert_int_equal(rmdir(folder), 0);
	strcpy(s->path, path);
}

static void a_line_begins_on_a_line_of_its_own(void **state)
{
	struct stage *s = *state;
	struct learned *l;

	file_text(s->path, "full:a.test\nfull:b.te");
	l = open_with(s, 10, 0, 0, T0);
	assert_int_equal(add(l, "c.test", T0), 1);
	assert_int_equal(add(l, "d.test", T0), 1);
	assert_file(s->path, "full:a.test\nfull:b.te\n"
			     "full:c.test # asked=1800000000 verified=1800000000\n"
			     "full:d.test # asked=1800000000 verified=1800000000\n");
	assert_int_equal(info_of(l).lines, 4);
	learned_unref(l);
}

static size_t lines_of(const char *path)
{
	char *text = file_get(path);
	size_t n = 0;

	for (const char *at = text; *at; at++)
		n += *at == '\n';
	free(text);
	return n;
}

static void it_is_bounded_and_kept_in_order(void **state)
{
	struct stage *s = *state;
	struct learned *l;

	file_text(s->path, "# mine\n\n#\tmore\nfull:user.test # because\n# lost\n");
	l = open_with(s, 4, 0, 0, T0);
	for (unsigned i = 0; i < 500; i++) {
		struct dns_name n = name_number(i);

		assert_int_equal(learned_add(l, &n, NULL, T0), 1);
		assert_true(holds(l, "user.test", T0));
		assert_true(lines_of(s->path) <= 8 + 3);
		assert_int_equal(lines_of(s->path), info_of(l).lines);
		if (i % 50 == 0)
			assert_int_equal(tend(l, s, T0), 0);
	}
	assert_true(info_of(l).compactions > 50 && info_of(l).compactions < 200);
	learned_unref(l);
	l = open_with(s, 4, 0, 0, T0);
	assert_true(peek(l, "user.test"));
	assert_true(peek(l, "n499.test"));
	assert_true(peek(l, "n497.test"));
	assert_int_equal(info_of(l).names, 4);
	assert_true(learned_remove(l, &(struct dns_name){0}) == false);
	for (unsigned i = 497; i < 500; i++) {
		struct dns_name n = name_number(i);

		assert_true(learned_remove(l, &n));
	}
	assert_int_equal(tend(l, s, T0 + 1), 0); /* what was taken out leaves the file */
	assert_file(s->path, "# mine\n\n#\tmore\nfull:user.test\n");
	learned_unref(l);
}

/* So that a crash does not make names old that are asked each day. */
/* With a small capacity each new name writes all anew: a worker must not wait for a disk then. */
static void a_small_one_is_synced_later(void **state)
{
	struct stage *s = *state;
	struct learned *l = open_with(s, 1, 0, 0, T0);
	char name[32];

	syncs = 0;
	for (unsigned i = 0; i < 100; i++) {
		(void)snprintf(name, sizeof name, "n%u.test", i);
		assert_int_equal(add(l, name, T0), 1);
		assert_in_range(info_of(l).lines, 1, 2);
	}
	assert_true(info_of(l).compactions >= 49);
	assert_int_equal(syncs, 0);
	assert_int_equal(tend(l, s, T0 + 1), 0);
	assert_true(syncs > 0);
	syncs = 0;
	assert_int_equal(tend(l, s, T0 + 2), 0);
	assert_int_equal(syncs, 0);
	assert_int_equal(add(l, "x.test", T0 + 2), 1);
	assert_int_equal(add(l, "y.test", T0 + 2), 1);
	assert_int_equal(syncs, 0);
	learned_unref(l);
	assert_true(syncs > 0);
}

static void a_large_one_is_synced_at_once(void **state)
{
	enum { N = 1025 };
	struct stage *s = *state;
	struct learned *l = open_with(s, N, 0, 0, T0);

	syncs = 0;
	for (unsigned i = 0; i <= 2 * N; i++) {
		struct dns_name n = name_number(i);

		assert_int_equal(syncs, 0);
		assert_int_equal(learned_add(l, &n, NULL, T0), 1);
	}
	assert_int_equal(info_of(l).compactions, 1);
	assert_true(syncs > 0);
	learned_unref(l);
}

static void times_are_written_once_a_day(void **state)
{
	struct stage *s = *state;
	struct learned *l = open_with(s, 10, 30 * 86400, 0, T0);

	assert_int_equal(add(l, "a.test", T0), 1);
	for (int64_t t = T0; t < T0 + 3 * 86400; t += 600) {
		assert_true(holds(l, "a.test", t));
		assert_int_equal(tend(l, s, t), 0);
	}
	assert_int_equal(info_of(l).compactions, 2);
	learned_unref(l);
	assert_file(s->path, "full:a.test # asked=1800258600 verified=1800000000\n");
}

static void a_link_stays_and_modes_are_kept(void **state)
{
	struct stage *s = *state;
	struct learned *l;
	char target[128];
	struct stat st;

	(void)snprintf(target, sizeof target, "%s/target", s->dir);
	assert_int_equal(symlink("target", s->path), 0);
	l = open_with(s, 10, 0, 0, T0);
	assert_int_equal(add(l, "a.test", T0), 1);
	assert_int_equal(add(l, "b.test", T0), 1);
	assert_int_equal(chmod(target, 0644), 0);
	assert_int_equal(tend(l, s, T0), 0);
	assert_int_equal(tend(l, s, T0), 1); /* taken over */
	assert_true(learned_remove(l, &(struct dns_name){.b = "\1b\4test", .len = 8, .labels = 2}));
	assert_int_equal(tend(l, s, T0 + 1), 0);
	assert_int_equal(info_of(l).compactions, 1);
	assert_file(target, "full:a.test # asked=1800000000 verified=1800000000\n");
	assert_int_equal(lstat(s->path, &st), 0);
	assert_true(S_ISLNK(st.st_mode));
	assert_int_equal(stat(s->path, &st), 0);
	assert_int_equal(st.st_mode & 07777, 0644);
	learned_unref(l);
	assert_int_equal(unlink(target), 0);
}

/* The daemon gives up the right to give files away. */
static void a_file_of_another_stays_open_to_him(void **state)
{
	struct stage *s = *state;
	struct stat st;
	pid_t child;
	int status;

	if (geteuid() != 0)
		skip();
	file_text(s->path, "full:a.test\nfull:b.test\n");
	assert_int_equal(chown(s->path, 1234, 1235), 0);
	assert_int_equal(chmod(s->path, 0666), 0);
	assert_int_equal(chmod(s->dir, 0777), 0);
	child = fork();
	if (child == 0) {
		struct dns_name n = name_of("b.test");
		struct learned *l;

		if (setresgid(1236, 1236, 1236) || setresuid(1237, 1237, 1237))
			_exit(2);
		l = open_with(s, 10, 0, 0, T0);
		_exit(!learned_remove(l, &n) || tend(l, s, T0 + 1) || info_of(l).compactions != 1);
	}
	assert_int_equal(waitpid(child, &status, 0), child);
	assert_int_equal(status, 0);
	assert_file(s->path, "full:a.test\n");
	assert_int_equal(stat(s->path, &st), 0);
	assert_int_equal(st.st_uid, 1237);
	assert_int_equal(st.st_mode & 07777, 0606);
}

/* --- what cannot be written --- */

static void limit_files(rlim_t bytes)
{
	struct rlimit r;

	signal(SIGXFSZ, SIG_IGN);
	assert_int_equal(getrlimit(RLIMIT_FSIZE, &r), 0);
	r.rlim_cur = bytes ? bytes : r.rlim_max;
	assert_int_equal(setrlimit(RLIMIT_FSIZE, &r), 0);
}

/* A disk that becomes full in the middle of a line. */
static void names_live_in_memory_while_the_disk_is_full(void **state)
{
	struct stage *s = *state;
	struct learned *l = open_with(s, 10, 0, 0, T0);
	int tended;

	assert_int_equal(add(l, "a.test", T0), 1);
	limit_files(60);
	assert_int_equal(add(l, "b.test", T0), 1);
	limit_files(0);
	assert_file(s->path, "full:a.test # asked=1800000000 verified=1800000000\n");
	assert_int_equal(info_of(l).error, -EFBIG);
	limit_files(60);
	assert_int_equal(tend(l, s, T0 + 1), -EFBIG);
	assert_int_equal(tend(l, s, T0 + 2), 0); /* told once */
	assert_int_equal(add(l, "c.test", T0 + 2), 1);
	assert_int_equal(tend(l, s, T0 + 10), 0);
	assert_true(peek(l, "b.test"));
	limit_files(0);
	assert_int_equal(info_of(l).error, -EFBIG);
	assert_file(s->path, "full:a.test # asked=1800000000 verified=1800000000\n");
	tended = tend(l, s, T0 + 20);
	assert_int_equal(tended, 1);
	assert_int_equal(info_of(l).error, 0);
	assert_file(s->path, "full:a.test # asked=1800000000 verified=1800000000\n"
			     "full:b.test # asked=1800000000 verified=1800000000\n"
			     "full:c.test # asked=1800000002 verified=1800000002\n");
	learned_unref(l);
	assert_int_equal(s->n_told, 0);
}

static void a_full_disk_when_it_must_be_written_anew(void **state)
{
	struct stage *s = *state;
	struct learned *l = open_with(s, 2, 0, 0, T0);
	char *before;

	for (unsigned i = 0; i < 4; i++) {
		struct dns_name n = name_number(i);

		assert_int_equal(learned_add(l, &n, NULL, T0), 1);
	}
	before = file_get(s->path);
	limit_files(10);
	assert_int_equal(add(l, "a.test", T0), 1);
	assert_int_equal(add(l, "b.test", T0), 1);
	assert_int_equal(tend(l, s, T0 + 1), -EFBIG);
	limit_files(0);
	assert_file(s->path, before); /* whole, and nothing beside it */
	assert_int_equal(info_of(l).lines, 4);
	learned_unref(l); /* a last try */
	assert_file(s->path, "full:a.test # asked=1800000000 verified=1800000000\n"
			     "full:b.test # asked=1800000000 verified=1800000000\n");
	free(before);
}

static void a_folder_that_is_not_there(void **state)
{
	struct stage *s = *state;
	struct learned *l;
	char path[128];

	strcpy(path, s->path);
	(void)snprintf(s->path, sizeof s->path, "%.60s/no/such/names", s->dir);
	l = open_with(s, 10, 0, 0, T0);
	assert_int_equal(add(l, "a.test", T0), 1);
	assert_int_equal(info_of(l).error, -ENOENT);
	assert_true(holds(l, "a.test", T0));
	assert_int_equal(tend(l, s, T0 + 1), -ENOENT);
	learned_unref(l);
	strcpy(s->path, path);
}

/* --- what others write --- */

static void look_twice(struct stage *s, struct learned *l, int64_t now_s, int result)
{
	assert_int_equal(tend(l, s, now_s), 0);
	assert_int_equal(tend(l, s, now_s), result);
	assert_int_equal(tend(l, s, now_s), 0);
}

static void an_edit_is_taken_over(void **state)
{
	struct stage *s = *state;
	struct learned *l = open_with(s, 10, 0, 0, T0);
	char *text;

	assert_int_equal(add(l, "a.test", T0), 1);
	assert_int_equal(add(l, "b.test", T0), 1);
	assert_true(holds(l, "b.test", T0 + 7));
	look_twice(s, l, T0 + 7, 0); /* our own writes are no edit */
	file_text(s->path, "full:b.test # asked=1800000000 verified=1800000000\nfull:mine.test\n");
	assert_int_equal(tend(l, s, T0 + 8), 0);
	assert_true(peek(l, "a.test"));
	/* A name that is learned meanwhile is not written into what somebody is writing. */
	assert_int_equal(add(l, "c.test", T0 + 8), 1);
	assert_int_equal(lines_of(s->path), 2);
	assert_int_equal(tend(l, s, T0 + 9), 1);
	assert_false(peek(l, "a.test"));
	assert_true(peek(l, "b.test"));
	assert_true(peek(l, "c.test"));
	assert_true(holds(l, "mine.test", T0 + 9));
	assert_int_equal(info_of(l).names, 3);
	assert_int_equal(info_of(l).unlearned, 0);
	assert_int_equal(info_of(l).error, 0);
	text = file_get(s->path);
	assert_non_null(strstr(text, "full:mine.test\n"));
	assert_non_null(strstr(text, "full:b.test # asked=1800000007 verified=1800000000\n"));
	assert_non_null(strstr(text, "full:c.test # asked=1800000008 verified=1800000008\n"));
	free(text);
	look_twice(s, l, T0 + 10, 0);
	assert_int_equal(add(l, "d.test", T0 + 10), 1);
	assert_int_equal(lines_of(s->path), 4);
	look_twice(s, l, T0 + 10, 0);
	assert_int_equal(s->n_told, 0);
	learned_unref(l);
}

static void one_who_is_still_writing_is_waited_for(void **state)
{
	struct stage *s = *state;
	struct learned *l = open_with(s, 10, 0, 0, T0);
	int fd;

	file_text(s->path, "");
	for (unsigned i = 0; i < 9; i++) {
		fd = open(s->path, O_WRONLY | O_APPEND);
		assert_int_equal(dprintf(fd, "full:n%u.test\n", i), 13);
		(void)close(fd);
		assert_int_equal(tend(l, s, T0), 0);
		assert_int_equal(info_of(l).names, 0);
	}
	assert_int_equal(tend(l, s, T0), 1);
	assert_int_equal(info_of(l).names, 9);
	learned_unref(l);
}

static void a_bad_edit_changes_nothing(void **state)
{
	struct stage *s = *state;
	struct learned *l = open_with(s, 10, 0, 0, T0);

	assert_int_equal(add(l, "a.test", T0), 1);
	file_put(s->path, "\0\0x", 3);
	look_twice(s, l, T0 + 1, -EINVAL);
	assert_int_equal(s->n_told, 1);
	assert_int_equal(info_of(l).error, -EINVAL);
	assert_true(peek(l, "a.test"));
	/* It is the user's to mend: nothing is written into it. */
	assert_int_equal(add(l, "b.test", T0 + 1), 1);
	assert_int_equal(tend(l, s, T0 + 100), 0);
	assert_int_equal(info_of(l).error, -EINVAL);
	learned_unref(learned_ref(l));
	assert_int_equal(unlink(s->path), 0);
	assert_int_equal(mkdir(s->path, 0700), 0);
	look_twice(s, l, T0 + 101, 0);
	assert_int_equal(s->n_told, 2);
	assert_int_equal(add(l, "c.test", T0 + 101), 1);
	assert_int_equal(rmdir(s->path), 0);
	file_text(s->path, "full:z.test\n");
	look_twice(s, l, T0 + 102, 1);
	assert_int_equal(info_of(l).error, 0);
	assert_false(peek(l, "a.test"));
	assert_file(s->path, "full:b.test # asked=1800000001 verified=1800000001\n"
			     "full:c.test # asked=1800000101 verified=1800000101\n"
			     "full:z.test\n");
	learned_unref(l);
}

static void a_file_that_is_removed_is_empty(void **state)
{
	struct stage *s = *state;
	struct learned *l = open_with(s, 10, 0, 0, T0);

	assert_int_equal(add(l, "a.test", T0), 1);
	assert_int_equal(unlink(s->path), 0);
	assert_int_equal(tend(l, s, T0), 0);
	assert_int_equal(add(l, "b.test", T0), 1); /* neither are others' files made anew */
	assert_true(peek(l, "a.test"));
	assert_int_equal(tend(l, s, T0), 1);
	assert_false(peek(l, "a.test"));
	assert_file(s->path, "full:b.test # asked=1800000000 verified=1800000000\n");
	look_twice(s, l, T0, 0);
	assert_int_equal(unlink(s->path), 0);
	look_twice(s, l, T0, 1);
	assert_int_equal(info_of(l).names, 0);
	assert_int_equal(access(s->path, F_OK), -1);
	assert_int_equal(add(l, "c.test", T0), 1);
	assert_file(s->path, "full:c.test # asked=1800000000 verified=1800000000\n");
	learned_unref(l);
}

/* The last write does not undo what somebody did a moment ago. */
static void an_edit_before_the_end_stays(void **state)
{
	struct stage *s = *state;
	struct learned *l = open_with(s, 10, 0, 0, T0);

	assert_int_equal(add(l, "a.test", T0), 1);
	assert_true(holds(l, "a.test", T0 + 5));
	file_text(s->path, "full:mine.test\n");
	learned_unref(l);
	assert_file(s->path, "full:mine.test\n");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		learned_case(names_come_back),
		learned_case(times_that_cannot_be_count_as_now),
		learned_case(the_oldest_are_left_out),
		learned_case(lines_that_are_wrong_are_skipped),
		learned_case(what_is_no_such_file_is_refused),
		learned_case(a_hundred_megabytes_of_rubbish),
		learned_case(what_a_power_cut_leaves_is_no_reason_to_refuse_it),
		learned_case(a_power_cut_may_leave_nothing_else),
		learned_case(a_new_name_is_a_line_at_once),
		learned_case(its_folder_is_made),
		learned_case(a_line_begins_on_a_line_of_its_own),
		learned_case(it_is_bounded_and_kept_in_order),
		learned_case(a_small_one_is_synced_later),
		learned_case(a_large_one_is_synced_at_once),
		learned_case(times_are_written_once_a_day),
		learned_case(a_link_stays_and_modes_are_kept),
		learned_case(a_file_of_another_stays_open_to_him),
		learned_case(names_live_in_memory_while_the_disk_is_full),
		learned_case(a_full_disk_when_it_must_be_written_anew),
		learned_case(a_folder_that_is_not_there),
		learned_case(an_edit_is_taken_over),
		learned_case(one_who_is_still_writing_is_waited_for),
		learned_case(a_bad_edit_changes_nothing),
		learned_case(a_file_that_is_removed_is_empty),
		learned_case(an_edit_before_the_end_stays),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
