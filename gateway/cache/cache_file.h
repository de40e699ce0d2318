/* The file's form. What stands outside of the zstd frame: magic and version. In the frame, which
 * ends with its checksum and is the last of the file: the time of day when it was written, then
 * records up to its end. Little endian. */
#ifndef TUNGATE_CACHE_FILE_H
#define TUNGATE_CACHE_FILE_H

#include <stdint.h>

#define FILE_HEAD_SIZE	 12
#define FILE_HEAD	 "TGCACHE\n\1\0\0" /* version 1; with its NUL */
#define FILE_WALL_SIZE	 8
#define FILE_RECORD_SIZE 24
#define FILE_WINDOW_LOG	 20 /* what reading it may take: 1 MiB */

/* Before each message. */
struct file_record {
	uint16_t len, type;
	uint8_t flags, queue;
	uint16_t hits;
	uint64_t view;
	uint32_t age_s, life_s; /* age: when it was written */
};

static inline uint8_t *file_put(uint8_t *at, uint64_t value, unsigned size)
{
	for (unsigned i = 0; i < size; i++)
		*at++ = (uint8_t)(value >> 8 * i);
	return at;
}

static inline uint64_t file_take(const uint8_t **at, unsigned size)
{
	uint64_t value = 0;

	for (unsigned i = 0; i < size; i++)
		value |= (uint64_t)(*(*at)++) << 8 * i;
	return value;
}

#endif
