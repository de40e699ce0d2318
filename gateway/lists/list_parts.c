#include "gateway/lists/lists.h"

static bool has(const struct matcher_hits *hits, const int sources[LIST_PARTS], enum list_part part)
{
	return sources[part] >= 0 && matcher_hits_has(hits, (unsigned)sources[part]);
}

bool list_parts_hold(const struct matcher *m, const int sources[LIST_PARTS],
	const struct dns_name *name, const struct matcher_hits *hits)
{
	if (has(hits, sources, LIST_EXCEPT_IMPORTANT))
		return false;
	if (has(hits, sources, LIST_HOLDS_IMPORTANT))
		return true;
	if (has(hits, sources, LIST_EXCEPT) || !has(hits, sources, LIST_HOLDS))
		return false;
	if (!has(hits, sources, LIST_EXCEPT_CLOSER))
		return true;
	/* What only a keyword or expression holds is held from the farthest: -1. */
	return matcher_closest(m, name, (unsigned)sources[LIST_EXCEPT_CLOSER]) <
	       matcher_closest(m, name, (unsigned)sources[LIST_HOLDS]);
}
