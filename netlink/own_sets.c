/* The filled sets and maps of our own table: fake addresses and their real ones, fake addresses of
 * egresses, real addresses that an egress carries. Their kinds are known, so nothing is read. */
#include "netlink/table_internal.h"
#include "netlink/writer_internal.h"

#include <errno.h>
#include <linux/netfilter.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void target_init(struct commit_target *t, const char *name, uint8_t family)
{
	uint8_t size = family == IP_V4 ? 4 : 16;

	*t = (struct commit_target){
		.at = {.table = TABLE_NAME, .name = name, .nfproto = NFPROTO_INET},
		.key_size = size,
		.has_timeout = true,
	};
}

void own_sets_init(struct writer *w)
{
	target_init(&w->nat4, "nat4", IP_V4);
	target_init(&w->nat6, "nat6", IP_V6);
	w->nat4.value_size = 4;
	w->nat6.value_size = 16;
}

static void own_set_free(struct own_set *s)
{
	if (!s)
		return;
	shadow_fini(&s->shadow);
	free(s);
}

void own_sets_fini(struct writer *w)
{
	for (size_t i = 0; i <= TABLE_EGRESSES_MAX; i++)
		for (int v6 = 0; v6 < 2; v6++) {
			own_set_free(atomic_load(&w->real[i][v6]));
			if (i < TABLE_EGRESSES_MAX)
				own_set_free(w->egresses[i][v6]);
		}
}

static struct own_set *own_set_new(struct writer *w, const char *name, uint8_t family)
{
	struct own_set *s = calloc(1, sizeof *s);

	if (!s)
		return NULL;
	memcpy(s->name, name, sizeof s->name);
	target_init(&s->target, s->name, family);
	shadow_init(&s->shadow, w->sets.seed);
	shadow_shape(&s->shadow, s->target.key_size, 0);
	return s;
}

static struct commit_target *nat_target(struct writer *w, const struct ip_addr *fake)
{
	const struct ip_prefix *pool = fake->family == IP_V4 ? &w->table.pool4 : &w->table.pool6;

	if (!w->table.exists || !ip_prefix_contains(pool, fake))
		return NULL;
	return fake->family == IP_V4 ? &w->nat4 : &w->nat6;
}

static int egress_target(
	struct writer *w, unsigned number, const struct ip_addr *fake, struct commit_target **ret)
{
	char name[TABLE_SET_NAME_MAX] = "";
	struct own_set **s;

	if (number >= w->table.n_egresses || !table_egress_has_set(&w->table.egresses[number]) ||
		!nat_target(w, fake))
		return 0;
	s = &w->egresses[number][fake->family == IP_V6];
	table_egress_set_name(name, number, fake->family);
	if (!*s)
		*s = own_set_new(w, name, fake->family);
	if (!*s)
		return -ENOMEM;
	*ret = &(*s)->target;
	return 0;
}

/* Which of w->real an egress's real addresses go into; -1: none. */
static int real_index(const struct writer *w, unsigned number)
{
	if (number < w->table.n_egresses && table_egress_has_real(&w->table.egresses[number]))
		return (int)number;
	return w->table.carried ? TABLE_EGRESSES_MAX : -1;
}

static int real_target(struct writer *w, unsigned number, const struct ip_addr *real,
	struct commit_target **ret, struct shadow **ret_shadow)
{
	char name[TABLE_SET_NAME_MAX] = "";
	int index = real_index(w, number);
	struct own_set *s;

	if (index < 0 || (real->family != IP_V4 && real->family != IP_V6))
		return 0;
	s = atomic_load(&w->real[index][real->family == IP_V6]);
	if (!s) {
		if (index == TABLE_EGRESSES_MAX)
			(void)snprintf(name, sizeof name, "carried%u", real->family);
		else
			table_real_set_name(name, &w->table.egresses[number], real->family);
		s = own_set_new(w, name, real->family);
		if (!s)
			return -ENOMEM;
		atomic_store(&w->real[index][real->family == IP_V6], s);
	}
	*ret = &s->target;
	*ret_shadow = &s->shadow;
	return 0;
}

int own_set_find(struct writer *w, const struct writer_element *e, struct commit_target **ret,
	struct shadow **ret_shadow)
{
	switch (e->op) {
	case WRITER_NAT_SET:
		*ret = nat_target(w, &e->addr);
		if (!*ret)
			return -ENOENT;
		return e->real.family == e->addr.family ? 0 : -EINVAL;
	case WRITER_NAT_DELETE:
		*ret = nat_target(w, &e->addr);
		return 0;
	case WRITER_EGRESS_SET:
		return egress_target(w, e->number, &e->addr, ret);
	case WRITER_REAL_SET:
		return real_target(w, e->number, &e->addr, ret, ret_shadow);
	default:
		return -EINVAL;
	}
}

/* The numbers of egresses may mean others now. */
void own_sets_forget(struct writer *w)
{
	for (size_t i = 0; i <= TABLE_EGRESSES_MAX; i++)
		for (int v6 = 0; v6 < 2; v6++) {
			struct own_set *s = atomic_load(&w->real[i][v6]);

			if (!s)
				continue;
			shadow_clear(&s->shadow);
			if (i < w->table.n_egresses)
				table_real_set_name(
					s->name, &w->table.egresses[i], v6 ? IP_V6 : IP_V4);
		}
}

bool own_set_holds(struct writer *w, const struct writer_element *e, int64_t now_ms)
{
	bool v6 = e->addr.family == IP_V6;
	struct own_set *relay = atomic_load(&w->real[TABLE_EGRESSES_MAX][v6]);
	struct own_set *own =
		e->number < TABLE_EGRESSES_MAX ? atomic_load(&w->real[e->number][v6]) : NULL;
	int64_t need_ms = now_ms + (int64_t)e->need_s * 1000;
	size_t size = ip_addr_size(&e->addr);

	/* An egress has its own set, or the relay's, which own_sets_forget() empties when that
	 * changes. */
	if (own && shadow_holds(&own->shadow, e->addr.b, size, NULL, need_ms))
		return true;
	return !own && relay && shadow_holds(&relay->shadow, e->addr.b, size, NULL, need_ms);
}
