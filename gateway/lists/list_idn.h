/* Names that lists write in their own script, in the form that the DNS carries (RFC 5891 4.4).
 *
 * Punycode (RFC 3492) after lower-casing Latin, Greek, Cyrillic and Armenian letters. The rest of
 * nameprep is left out: nothing is composed, checked for its direction or forbidden, so a name that
 * needs it comes out as one that no question meets. Pure. */
#ifndef TUNGATE_LISTS_IDN_H
#define TUNGATE_LISTS_IDN_H

#include <stddef.h>

/* Each label with a byte above 0x7f in its xn-- form, the others as they stand; *ret_len bytes and
 * a NUL. -EINVAL: not UTF-8, or a label above 63 bytes; -ENAMETOOLONG: more than size. */
int list_idn_encode(const char *text, size_t len, char *ret, size_t size, size_t *ret_len);

#endif
