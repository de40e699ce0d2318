/* The file behind the fake-address table: opened, locked, read, appended to, synced and written
 * anew. The table's format is fakeip's; this owns the descriptors. Main thread only; what other
 * threads append goes through fakeip_commit(). A store that cannot be used is no reason not to
 * start: the table then lives in memory, the reason is told, and it is tried again. */
#ifndef TUNGATE_STORE_H
#define TUNGATE_STORE_H

#include "fakeip/fakeip.h"

#define STORE_SYNC_S  5	 /* unless store_set_sync() says otherwise */
#define STORE_RETRY_S 30 /* from one attempt to write a lost store again to the next */

struct store;

/* Opens path (makes its last folder), takes the lock, loads the table. A file that is not ours
 * (ret_result->foreign) is kept as PATH.foreign (.2 to .9 beside older ones).
 *
 * 0: all is well. -EBUSY: process *ret_pid has the lock (the caller does not start); -ENOMEM. With
 * these two there is no store. Any other negative errno: the table is memory only, *ret_result is
 * filled in as far as the file could be read (-EROFS, -EACCES: all of it), and *ret is a store that
 * tries again. */
int store_open(const char *path, struct fakeip_table *table, uint32_t now_s, struct store **ret,
	int *ret_pid, struct fakeip_load_result *ret_result);
/* Clean: what was written is durable, and the next start knows exactly what was given out. NULL is
 * fine. Before fakeip_free(), after the last fakeip_assign(). */
void store_close(struct store *s);
/* As it was opened, whatever the configuration says by now. */
const char *store_path(const struct store *s);
/* Where a file that was not ours is kept now; NULL: there was none, or it still has our name. */
const char *store_kept(const struct store *s);

/* fakeip.sync: written records reach the disk at most so late. */
void store_set_sync(struct store *s, uint32_t sync_s);
int store_sync(struct store *s); /* now; see fakeip_sync() */

/* Every second: syncs when due, goes on with a snapshot, tries again what was lost. 0: nothing to
 * tell; 1: the table is persistent again; negative errno: from now on it is memory only (told once,
 * here or by fakeip_commit()). */
int store_tick(struct store *s, uint32_t now_s);

#endif
