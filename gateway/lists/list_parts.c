/* What the parts of a list mean together. */
#include "gateway/lists/lists.h"

bool list_parts_hold(const struct matcher *m, const int sources[LIST_PARTS],
	const struct dns_name *name, const struct matcher_hits *hits)
{
	bool hit[LIST_PARTS];

	for (unsigned part = 0; part < LIST_PARTS; part++)
		hit[part] = sources[part] >= 0 && matcher_hits_has(hits, (unsigned)sources[part]);
	if (hit[LIST_EXCEPT_IMPORTANT])
		return false;
	if (hit[LIST_HOLDS_IMPORTANT])
		return true;
	if (hit[LIST_EXCEPT] || !hit[LIST_HOLDS])
		return false;
	return !hit[LIST_EXCEPT_CLOSER] ||
	       matcher_closest(m, name, (unsigned)sources[LIST_EXCEPT_CLOSER]) <
		       matcher_closest(m, name, (unsigned)sources[LIST_HOLDS]);
}
