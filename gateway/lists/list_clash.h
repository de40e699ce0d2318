/* One rule of a Clash or Surge list, wherever it stands. */
#ifndef TUNGATE_LISTS_CLASH_H
#define TUNGATE_LISTS_CLASH_H

#include "gateway/lists/lists_internal.h"

/* text: without blanks at its ends and without a comment of a whole line. dot_holds_itself: ".x"
 * is x and all below it, as in a Surge domain set, not only what is below. */
int list_clash_rule(struct list_reader *r, const char *text, size_t len, bool dot_holds_itself);

#endif
