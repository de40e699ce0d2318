/* Who may take the last descriptors. What traffic opens could use up all of them; then neither the
 * control socket nor the daemon's files would get any. So each kind of user stops at a bound of its
 * own, the daemon itself at the limit. The kernel hands out the lowest free number: one at or above
 * a bound says that so many are in use. Any thread; until descriptors_init() there are no bounds.
 */
#ifndef TUNGATE_BASE_DESCRIPTORS_H
#define TUNGATE_BASE_DESCRIPTORS_H

#include <stdbool.h>
#include <stdint.h>

enum descriptors_user {
	DESCRIPTORS_SPARE,  /* kept open to be faster next time: up to half of the room */
	DESCRIPTORS_CLIENT, /* clients' connections and where they lead: three quarters */
	DESCRIPTORS_ASK,    /* questions to upstream: all but the reserve */
};

/* limit: RLIMIT_NOFILE. What is open now is taken for what stays; the room is above it, and a
 * reserve for the daemon itself at its end. */
void descriptors_init(unsigned limit);
/* fd: what made a descriptor for this user returned, or a negative errno, which is handed on. One
 * beyond the user's bound is closed: -EMFILE. */
int descriptors_take(enum descriptors_user user, int fd);
/* May this open one be kept, though nobody uses it now? */
bool descriptors_to_spare(int fd);
/* How often somebody went without. */
uint64_t descriptors_refused(void);

#endif
