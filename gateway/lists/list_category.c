/* Finding a category in a file of many. */
#include "gateway/lists/list_category.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#define FIELD_ENTRY 1 /* of GeoSiteList, GeoIPList */
#define FIELD_NAME  1 /* country_code of GeoSite, GeoIP */
/* Names that are compared with what was wanted; whoever has more of them gets no better advice. */
#define COMPARED_MAX 16384

#define NAME_MAX_BYTES 64 /* bytes of a name; a longer one is none that can be wanted */
#define NEAR_MAX       10 /* told of those that are there */

struct near_name {
	char name[NAME_MAX_BYTES + 1];
	unsigned distance;
};

struct category {
	const char *wanted;
	bool found;
	size_t seen, n_near;
	struct near_name near[NEAR_MAX]; /* closest first */
};

static unsigned least(unsigned a, unsigned b)
{
	return a < b ? a : b;
}

static unsigned char lower(char c)
{
	return (unsigned char)(c >= 'A' && c <= 'Z' ? c + 32 : c);
}

/* Changes of a letter that lead from one to the other (Levenshtein); a name that contains the other
 * is as close as one change. */
static unsigned name_distance(const char *a, const char *b)
{
	unsigned row[NAME_MAX_BYTES + 1];
	size_t a_len = strlen(a), b_len = strlen(b);

	if (strcasestr(a, b) || strcasestr(b, a))
		return 1;
	for (size_t j = 0; j <= b_len; j++)
		row[j] = (unsigned)j;
	for (size_t i = 1; i <= a_len; i++) {
		unsigned corner = row[0];

		row[0] = (unsigned)i;
		for (size_t j = 1; j <= b_len; j++) {
			unsigned changed = corner + (lower(a[i - 1]) != lower(b[j - 1]));

			corner = row[j];
			row[j] = least(changed, least(row[j - 1], row[j]) + 1);
		}
	}
	return row[b_len];
}

static void near_note(struct category *c, const char *name)
{
	struct near_name *at;
	unsigned distance;
	size_t i;

	if (c->seen++ >= COMPARED_MAX || strlen(c->wanted) > NAME_MAX_BYTES || !*name)
		return;
	distance = name_distance(c->wanted, name);
	for (i = 0; i < c->n_near; i++)
		if (distance < c->near[i].distance)
			break;
	if (i == NEAR_MAX)
		return;
	c->n_near += c->n_near < NEAR_MAX;
	at = &c->near[i];
	memmove(at + 1, at, (c->n_near - i - 1) * sizeof *at);
	at->distance = distance;
	(void)snprintf(at->name, sizeof at->name, "%s", name);
}

/* *ret_wanted: is the category that the next field of an entry names the one? */
static int name_read(struct list_reader *r, struct list_wire *w, struct category *c, uint64_t end,
	bool *ret_wanted)
{
	char name[NAME_MAX_BYTES + 1] = "";
	struct list_proto_field field;
	int err = list_proto_next(w, end, &field);

	*ret_wanted = false;
	if (err < 0)
		return err;
	if (err == 0 || field.number != FIELD_NAME || !field.has_bytes)
		return list_broken(r, 0, 1,
			"a category without a name in front, noticed at byte %llu",
			(unsigned long long)w->at);
	if (field.value > NAME_MAX_BYTES)
		return list_proto_skip(w, &field);
	err = list_wire_bytes(w, name, (size_t)field.value);
	if (err)
		return err;
	*ret_wanted = strcasecmp(name, c->wanted) == 0;
	if (*ret_wanted)
		c->found = true;
	else
		near_note(c, name);
	return 0;
}

static int entry_read(struct list_reader *r, struct list_wire *w, struct category *c, uint64_t end,
	list_category_body *body)
{
	bool wanted;
	int err = name_read(r, w, c, end, &wanted);

	if (err)
		return err;
	return wanted ? body(r, w, end) : list_wire_skip(w, end - w->at);
}

static int entries_read(
	struct list_reader *r, struct list_wire *w, struct category *c, list_category_body *body)
{
	struct list_proto_field field;
	int more;

	while ((more = list_proto_next(w, LIST_PROTO_ALL, &field)) > 0) {
		int err;

		if (field.number == FIELD_ENTRY && field.has_bytes)
			err = entry_read(r, w, c, w->at + field.value, body);
		else
			err = list_proto_skip(w, &field);
		if (err)
			return err;
	}
	return more;
}

static int missing_tell(struct list_reader *r, const struct category *c)
{
	char near[NEAR_MAX * (NAME_MAX_BYTES + 2) + 1] = "";
	size_t used = 0;

	for (size_t i = 0; i < c->n_near; i++)
		used += (size_t)snprintf(
			near + used, sizeof near - used, "%s%s", i ? ", " : "", c->near[i].name);
	return list_broken(r, 0, 1, "no category \"%s\" among its %zu; %s: %s", c->wanted, c->seen,
		c->n_near < c->seen ? "the closest" : "allowed", used ? near : "none");
}

int list_category_read(struct list_reader *r, struct list_bytes *in, list_category_body *body)
{
	struct category *c;
	struct list_wire *w;
	int err = -ENOMEM;

	if (!r->source->tag || !*r->source->tag)
		return list_broken(r, 0, 1,
			"a file of many categories; one of them is named behind it: path:tag");
	c = calloc(1, sizeof *c);
	w = malloc(sizeof *w);
	if (c && w) {
		c->wanted = r->source->tag;
		list_wire_init(w, in);
		err = entries_read(r, w, c, body);
		if (err == -EBADMSG)
			err = list_wire_broken(r, w);
		else if (!err && !c->found)
			err = missing_tell(r, c);
	}
	free(c);
	free(w);
	return err;
}
