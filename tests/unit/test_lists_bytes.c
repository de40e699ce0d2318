/* Where a list's bytes come from: what is packed, damaged, or far more than it looked. */
#include <fcntl.h>
#include <unistd.h>
#include <zlib.h>
#include <zstd.h>

#include "gateway/lists/lists_internal.h"
#include "tests/unit/lists_log.h"

#define ROOM (1 << 20)

/* One gzip (31) or zlib (15) member; its size. */
static size_t deflated(const void *bytes, size_t n, int window_bits, uint8_t *ret)
{
	z_stream z = {.next_in = (void *)(uintptr_t)bytes,
		.avail_in = (uInt)n,
		.next_out = ret,
		.avail_out = ROOM};

	assert_int_equal(deflateInit2(&z, 9, Z_DEFLATED, window_bits, 8, Z_DEFAULT_STRATEGY), Z_OK);
	assert_int_equal(deflate(&z, Z_FINISH), Z_STREAM_END);
	n = z.total_out;
	assert_int_equal(deflateEnd(&z), Z_OK);
	return n;
}

static size_t gzipped(const char *text, uint8_t *ret)
{
	return deflated(text, strlen(text), 31, ret);
}

/* Plain, from memory and from a file: both are looked through. */
static int read_packed(struct log *log, const uint8_t *bytes, size_t n)
{
	struct log again = {.stop = 0};
	const char *path = folder_write_bytes("packed", bytes, n);
	int err = log_read(log, LIST_PLAIN, (const char *)bytes, n, NULL);

	assert_int_equal(log_read_path(&again, LIST_PLAIN, path, NULL, NULL), err);
	assert_string_equal(again.entries, log->entries);
	assert_int_equal(again.errors, log->errors);
	return err;
}

static void test_gzip(void **state)
{
	struct log log = {.stop = 0};
	uint8_t *packed = malloc(3 * ROOM);
	size_t n = gzipped("a.test\nb.te", packed);

	(void)state;
	assert_non_null(packed);
	assert_int_equal(read_packed(&log, packed, n), 0);
	assert_string_equal(log.entries, "1:suffix a.test\n2:suffix b.te\n");
	/* Members that follow are joined without a seam, and zeros may fill the rest. */
	n += gzipped("st\nc.test\n", packed + n);
	n += gzipped("", packed + n);
	n += gzipped("d.test", packed + n);
	assert_int_equal(read_packed(&log, packed, n), 0);
	assert_string_equal(log.entries,
		"1:suffix a.test\n2:suffix b.test\n3:suffix c.test\n4:suffix d.test\n");
	memset(packed + n, 0, 512);
	assert_int_equal(read_packed(&log, packed, n + 512), 0);
	assert_string_equal(log.told, "");
	free(packed);
}

static void test_gzip_is_found_out_before_the_format(void **state)
{
	uint8_t *packed = malloc(ROOM);
	size_t n = gzipped("0.0.0.0 a.test\n", packed);
	const char *path = folder_write_bytes("hosts.gz", packed, n);
	struct log log = {.stop = 0};
	enum list_format format;

	(void)state;
	assert_int_equal(log_read_path(&log, LIST_AUTO, path, NULL, &format), 0);
	assert_int_equal(format, LIST_HOSTS);
	assert_string_equal(log.entries, "1:exact a.test\n");
	assert_int_equal(list_detect(path, &format), 0);
	assert_int_equal(format, LIST_HOSTS);
	free(packed);
}

static void test_gzip_damaged(void **state)
{
	uint8_t *packed = malloc(2 * ROOM);
	char *text = malloc(4097);
	struct log log = {.stop = 0};
	size_t n;

	(void)state;
	for (size_t i = 0; i < 4096; i++)
		text[i] = i % 16 == 15 ? '\n' : (char)('a' + i * i % 23);
	text[4096] = 0;
	n = gzipped(text, packed);
	/* Cut at every place. The two bytes of the magic are a text without them. */
	for (size_t cut = 2; cut < n; cut++) {
		assert_int_equal(log_read(&log, LIST_PLAIN, (char *)packed, cut, NULL), -EBADMSG);
		assert_int_equal(log.errors, 1);
		assert_non_null(strstr(log.told, "is damaged or ends early\n"));
	}
	packed[n - 1] ^= 1; /* its length */
	assert_int_equal(read_packed(&log, packed, n), -EBADMSG);
	packed[n - 1] ^= 1;
	packed[n - 8] ^= 1; /* its checksum */
	assert_int_equal(read_packed(&log, packed, n), -EBADMSG);
	packed[n - 8] ^= 1;
	packed[n] = 'x'; /* something behind it */
	assert_int_equal(read_packed(&log, packed, n + 1), -EBADMSG);
	assert_int_equal(list_detect(folder_path("packed"), &(enum list_format){0}), -EBADMSG);
	assert_int_equal(read_packed(&log, packed, n), 0);
	free(packed);
	free(text);
}

/* 320 MiB in 320 kB: the bound ends it. */
static void test_bomb(void **state)
{
	char *text = malloc(ROOM);
	uint8_t *packed = malloc(ROOM), *bomb;
	struct log log = {.stop = 0};
	size_t n;

	(void)state;
	memset(text, 'x', ROOM);
	n = deflated(text, ROOM, 31, packed);
	bomb = malloc(n * 320);
	for (size_t i = 0; i < 320; i++)
		memcpy(bomb + i * n, packed, n);
	assert_true(n * 320 < ROOM);
	assert_int_equal(log_read(&log, LIST_PLAIN, (char *)bomb, n * 320, NULL), -EFBIG);
	assert_int_equal(log.errors, 0);
	/* One that stays below it is read, and is one line too long. */
	assert_int_equal(log_read(&log, LIST_PLAIN, (char *)bomb, n * 8, NULL), -EBADMSG);
	assert_non_null(strstr(log.told, "f:1:1: warning: lists.l: a line above 64 KiB"));
	free(text);
	free(packed);
	free(bomb);
}

/* --- the pieces that formats use --- */

static struct list_bytes *memory(const void *bytes, size_t n)
{
	struct list_bytes *in = NULL;

	assert_int_equal(list_bytes_memory(bytes, n, &in), 0);
	return in;
}

static void test_peek(void **state)
{
	struct list_bytes *in = memory("0123456789", 10);
	const uint8_t *head;
	char buf[16];
	size_t n;

	(void)state;
	assert_int_equal(list_bytes_peek(in, 4, &head, &n), 0);
	assert_int_equal(n, 4);
	assert_memory_equal(head, "0123", 4);
	assert_int_equal(list_bytes_exactly(in, buf, 2), 0);
	assert_memory_equal(buf, "01", 2);
	assert_int_equal(list_bytes_peek(in, 16, &head, &n), 0);
	assert_int_equal(n, 8);
	assert_memory_equal(head, "23456789", 8);
	assert_int_equal(list_bytes_peek(in, 3, &head, &n), 0);
	assert_int_equal(n, 3);
	assert_int_equal(list_bytes_exactly(in, buf, 8), 0);
	assert_memory_equal(buf, "23456789", 8);
	assert_int_equal(list_bytes_read(in, buf, 8), 0);
	assert_int_equal(list_bytes_peek(in, 2, &head, &n), 0);
	assert_int_equal(n, 0);
	list_bytes_free(in);
}

static void test_exactly_and_skip(void **state)
{
	static uint8_t zeros[10000];
	struct list_bytes *in = memory(zeros, sizeof zeros);
	uint8_t buf[16];

	(void)state;
	assert_int_equal(list_bytes_skip(in, 9990), 0);
	assert_int_equal(list_bytes_exactly(in, buf, 10), 0);
	assert_int_equal(list_bytes_exactly(in, buf, 0), 0);
	assert_int_equal(list_bytes_exactly(in, buf, 1), -EBADMSG);
	list_bytes_free(in);
	in = memory(zeros, sizeof zeros);
	assert_int_equal(list_bytes_skip(in, UINT64_MAX), -EBADMSG);
	list_bytes_free(in);
	list_bytes_free(NULL);
}

/* All that comes out of the packed bytes, or what ended it. */
static int64_t drain(struct list_bytes *in, char *ret, size_t room)
{
	int64_t total = 0;

	for (;;) {
		ssize_t n = list_bytes_read(in, ret + total, room - (size_t)total);

		if (n <= 0)
			return n < 0 ? n : total;
		total += n;
	}
}

static int64_t unzstd(const uint8_t *packed, size_t n, uint64_t bound, char *ret)
{
	struct list_bytes *in = memory(packed, n), *out = NULL;
	int64_t total;

	assert_int_equal(list_bytes_unzstd(in, bound, &out), 0);
	total = drain(out, ret, ROOM);
	list_bytes_free(out);
	list_bytes_free(in);
	return total;
}

static void test_zstd(void **state)
{
	char *text = malloc(ROOM), *out = malloc(ROOM);
	uint8_t *packed = malloc(2 * ROOM);
	size_t n;

	(void)state;
	for (size_t i = 0; i < 300000; i++)
		text[i] = (char)(i * i >> 7);
	n = ZSTD_compress(packed, ROOM, text, 300000, 3);
	assert_false(ZSTD_isError(n));
	assert_int_equal(unzstd(packed, n, ROOM, out), 300000);
	assert_memory_equal(out, text, 300000);
	assert_int_equal(unzstd(packed, n, 300000, out), 300000);
	assert_int_equal(unzstd(packed, n, 299999, out), -EFBIG);
	/* Frames that follow. */
	n += ZSTD_compress(packed + n, ROOM, "end", 3, 3);
	assert_int_equal(unzstd(packed, n, ROOM, out), 300003);
	assert_memory_equal(out + 300000, "end", 3);
	for (size_t cut = n - 11; cut < n; cut++)
		assert_int_equal(unzstd(packed, cut, ROOM, out), -EBADMSG);
	assert_int_equal(unzstd(packed, 7, ROOM, out), -EBADMSG);
	assert_int_equal(unzstd(packed, 0, ROOM, out), 0);
	packed[1] ^= 1;
	assert_int_equal(unzstd(packed, n, ROOM, out), -EBADMSG);
	free(text);
	free(out);
	free(packed);
}

/* A frame that wants a gigabyte to look back into. */
static void test_zstd_window(void **state)
{
	uint8_t packed[256];
	char out[256];
	ZSTD_inBuffer in = {"text", 4, 0};
	ZSTD_outBuffer to = {packed, sizeof packed, 0};
	ZSTD_CStream *c = ZSTD_createCStream();
	struct list_bytes *from, *bytes = NULL;

	(void)state;
	assert_false(ZSTD_isError(ZSTD_CCtx_setParameter(c, ZSTD_c_windowLog, 30)));
	while (ZSTD_compressStream2(c, &to, &in, ZSTD_e_flush) != 0)
		;
	while (ZSTD_compressStream2(c, &to, &in, ZSTD_e_end) != 0)
		;
	(void)ZSTD_freeCStream(c);
	from = memory(packed, to.pos);
	assert_int_equal(list_bytes_unzstd(from, ROOM, &bytes), 0);
	assert_int_equal(list_bytes_read(bytes, out, sizeof out), -EBADMSG);
	list_bytes_free(bytes);
	list_bytes_free(from);
}

static void test_zlib(void **state)
{
	uint8_t *packed = malloc(ROOM);
	char out[64];
	size_t n = deflated("some text", 9, 15, packed);

	(void)state;
	for (size_t cut = 0; cut <= n; cut++) {
		struct list_bytes *from = memory(packed, cut), *in = NULL;

		assert_int_equal(list_bytes_inflate(from, 9, &in), 0);
		if (cut < n) {
			assert_true(drain(in, out, sizeof out) == -EBADMSG);
		} else {
			assert_int_equal(drain(in, out, sizeof out), 9);
			assert_memory_equal(out, "some text", 9);
		}
		list_bytes_free(in);
		list_bytes_free(from);
	}
	free(packed);
}

/* --- files --- */

static void test_text_load(void **state)
{
	const char *path = folder_write_bytes("text", "0123456789", 10);
	char *text = NULL;
	size_t len;

	(void)state;
	assert_int_equal(list_text_load(path, 10, &text, &len), 0);
	assert_int_equal(len, 10);
	assert_string_equal(text, "0123456789");
	free(text);
	assert_int_equal(list_text_load(path, 9, &text, &len), -EFBIG);
	assert_int_equal(list_text_load(folder(), 9, &text, &len), -EISDIR);
	assert_int_equal(list_text_load(folder_path("none"), 9, &text, &len), -ENOENT);
	path = folder_write_bytes("empty", "", 0);
	assert_int_equal(list_text_load(path, 10, &text, &len), 0);
	assert_int_equal(len, 0);
	assert_string_equal(text, "");
	free(text);
}

/* A file of 1 GiB that takes no room on the disk; its first bytes are one long line. */
static void test_file_that_is_too_big(void **state)
{
	const char *path = folder_path("big");
	int fd = open(path, O_RDWR | O_CREAT | O_TRUNC, 0600);
	struct list_bytes *in = NULL;
	static char piece[ROOM];
	uint64_t total = 0;
	ssize_t n;

	(void)state;
	assert_true(fd >= 0);
	assert_int_equal(ftruncate(fd, 1 << 30), 0);
	assert_int_equal(list_bytes_file(fd, LIST_FILE_MAX, &in), 0);
	while ((n = list_bytes_read(in, piece, sizeof piece)) > 0)
		total += (uint64_t)n;
	assert_int_equal(n, -EFBIG);
	assert_int_equal(total, LIST_FILE_MAX);
	list_bytes_free(in);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_gzip),
		cmocka_unit_test(test_gzip_is_found_out_before_the_format),
		cmocka_unit_test(test_gzip_damaged),
		cmocka_unit_test(test_bomb),
		cmocka_unit_test(test_peek),
		cmocka_unit_test(test_exactly_and_skip),
		cmocka_unit_test(test_zstd),
		cmocka_unit_test(test_zstd_window),
		cmocka_unit_test(test_zlib),
		cmocka_unit_test(test_text_load),
		cmocka_unit_test(test_file_that_is_too_big),
	};

	return cmocka_run_group_tests(tests, NULL, folder_clear);
}
