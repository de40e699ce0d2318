/* The file behind the fake-address table: opened, locked, read, appended to. The table's format is
 * fakeip's; this owns the descriptor. A store that cannot be used is no reason not to start: the
 * table then lives in memory, and the reason is told. */
#ifndef TUNGATE_STORE_H
#define TUNGATE_STORE_H

#include "fakeip/fakeip.h"

struct store;

/* Opens path (makes its last folder), takes the lock, loads the table. A file that is not ours
 * (ret_result->foreign) is kept as PATH.foreign (.2 to .9 beside older ones). 0 and *ret; -EBUSY:
 * process *ret_pid has the lock (the caller does not start); any other negative errno: the table is
 * memory only, *ret_result is still filled in. */
int store_open(const char *path, struct fakeip_table *table, uint32_t now_s, struct store **ret,
	int *ret_pid, struct fakeip_load_result *ret_result);
void store_close(struct store *s); /* NULL is fine; the table must not be used after it */

#endif
