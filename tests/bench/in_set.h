/* Is an address in a set of another network namespace? Asked of the kernel itself, so without what
 * a process like nft(8) takes: what is found was there then. */
#ifndef TUNGATE_BENCH_IN_SET_H
#define TUNGATE_BENCH_IN_SET_H

#include <stdbool.h>
#include <stdint.h>

struct in_set;

/* text: nft#TABLE#SET of family inet, nft#TABLE#SET#HEX where the key goes on with these bytes
 * behind the address, or ipset#SET. Ends the program if it is none; the set need not be there yet.
 */
struct in_set *in_set_open(const char *netns, const char *text);
bool in_set_has(struct in_set *s, const uint8_t address[4]);
/* Is the set itself there? */
bool in_set_exists(struct in_set *s);

#endif
