#include "gateway/match/matcher_internal.h"

/* Below this, moving each to its place is faster than dealing them out. */
#define FEW 24

/* What is sorted by, as ten bytes, the heaviest first: hash, then element. */
#define KEY_BYTES 10

static unsigned key_byte(const struct matcher_added *a, unsigned i)
{
	return i < 8 ? (uint8_t)(a->hash >> (56 - 8 * i)) : (uint8_t)(a->element >> (72 - 8 * i));
}

static bool is_before(const struct matcher_added *a, const struct matcher_added *b)
{
	return a->hash != b->hash ? a->hash < b->hash : a->element < b->element;
}

static void sort_few(struct matcher_added *added, size_t n)
{
	for (size_t i = 1; i < n; i++) {
		struct matcher_added one = added[i];
		size_t at = i;

		for (; at > 0 && is_before(&one, &added[at - 1]); at--)
			added[at] = added[at - 1];
		added[at] = one;
	}
}

/* Deals them out by one byte of the key, in place: whoever lies in a wrong pile changes places with
 * the first of its own pile that is not dealt yet. ret_ends: of each pile. */
static void deal(struct matcher_added *added, size_t n, unsigned byte, size_t ret_ends[256])
{
	size_t next[256] = {0}, sum = 0;

	for (size_t i = 0; i < n; i++)
		next[key_byte(&added[i], byte)]++;
	for (unsigned pile = 0; pile < 256; pile++) {
		size_t size = next[pile];

		next[pile] = sum;
		sum += size;
		ret_ends[pile] = sum;
	}
	for (unsigned pile = 0; pile < 256; pile++) {
		while (next[pile] < ret_ends[pile]) {
			struct matcher_added one = added[next[pile]];
			unsigned own = key_byte(&one, byte);

			while (own != pile) {
				struct matcher_added other = added[next[own]];

				added[next[own]++] = one;
				one = other;
				own = key_byte(&one, byte);
			}
			added[next[pile]++] = one;
		}
	}
}

/* byte: all are the same before this one. */
static void sort_by(struct matcher_added *added, size_t n, unsigned byte)
{
	size_t ends[256], start = 0;

	if (n <= FEW) {
		sort_few(added, n);
		return;
	}
	if (byte == KEY_BYTES)
		return;
	deal(added, n, byte, ends);
	for (unsigned pile = 0; pile < 256; pile++) {
		sort_by(added + start, ends[pile] - start, byte + 1);
		start = ends[pile];
	}
}

void matcher_sort(struct matcher_added *added, size_t n)
{
	sort_by(added, n, 0);
}
