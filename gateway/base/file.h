/* Files that are written whole and last. Any thread. */
#ifndef TUNGATE_BASE_FILE_H
#define TUNGATE_BASE_FILE_H

#include <stddef.h>

/* 0, or the error of write(2): some of it may be there then. */
int file_write_all(int fd, const void *bytes, size_t len);
/* So that a new name outlives a power cut. Not every file system can; then it lasts when it lasts.
 */
void file_sync_folder(const char *path);

#endif
