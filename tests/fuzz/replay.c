/* Runs every seed file of the given directories through a fuzz target: the normal build's stand-in
 * for libFuzzer. Each seed is also cut at every eighth of its length, since a parser's ends are
 * where it fails. */
#include <dirent.h>
#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SEED_MAX (1 << 20)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void run(const uint8_t *bytes, size_t size)
{
	uint8_t *copy = malloc(size ? size : 1); /* exactly as long, for ASan */

	if (!copy)
		abort();
	memcpy(copy, bytes, size);
	LLVMFuzzerTestOneInput(copy, size);
	free(copy);
}

static int run_file(const char *path)
{
	static uint8_t bytes[SEED_MAX];
	FILE *file = fopen(path, "rb");
	size_t size;
	int r = 0;

	if (!file)
		return -errno;
	size = fread(bytes, 1, sizeof bytes, file);
	if (ferror(file))
		r = -EIO;
	fclose(file);
	if (r)
		return r;
	for (unsigned eighth = 0; eighth <= 8; eighth++)
		run(bytes, size * eighth / 8);
	return 0;
}

/* How many files were run, or a negative errno. */
static int run_directory(const char *path)
{
	DIR *dir = opendir(path);
	struct dirent *entry;
	char file[4096];
	int n = 0, r;

	if (!dir)
		return -errno;
	while ((entry = readdir(dir))) {
		if (entry->d_name[0] == '.')
			continue;
		snprintf(file, sizeof file, "%s/%s", path, entry->d_name);
		r = run_file(file);
		if (r) {
			fprintf(stderr, "%s: %s\n", file, strerror(-r));
			n = r;
			break;
		}
		n++;
	}
	closedir(dir);
	return n;
}

int main(int argc, char **argv)
{
	int total = 0;

	for (int i = 1; i < argc; i++) {
		int n = run_directory(argv[i]);

		if (n < 0) {
			fprintf(stderr, "%s: %s\n", argv[i], strerror(-n));
			return 1;
		}
		total += n;
	}
	printf("%d seeds\n", total);
	return total ? 0 : 1;
}
