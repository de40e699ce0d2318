/* Files that are written whole and last, and what was in their place. Any thread. */
#ifndef TUNGATE_BASE_FILE_H
#define TUNGATE_BASE_FILE_H

#include <stddef.h>

/* 0, or the error of write(2): some of it may be there then. */
int file_write_all(int fd, const void *bytes, size_t len);
/* What path is may be read whole, moved aside and replaced: 0, too, if nothing is there; -EISDIR;
 * -ENOTSUP: a device, a pipe or a socket, which others would miss. */
int file_check(const char *path);
/* As rename(2), but over nothing: -EEXIST. */
int file_move(const char *from, const char *to);
/* Moves what is not ours out of our way, and over nothing that was kept before: the first of
 * PATH.foreign and PATH.foreign.2 to .9 that is not there yet. *ret: which; free(3) it. -EEXIST:
 * all are there. */
int file_keep_aside(const char *path, char **ret);
/* Writes the new file behind fd, which is closed, and puts it in the place of path, if that passes
 * file_check(): a crash or a full disk leaves the old or the new one. The first error; then
 * new_path is removed. */
int file_become(int fd, const char *new_path, const char *path, const void *bytes, size_t len);
/* So that a new name outlives a power cut. Not every file system can; then it lasts when it lasts.
 */
void file_sync_folder(const char *path);

#endif
