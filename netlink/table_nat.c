/* What the kernel carries by itself: fake → real, the source where replies could not come back
 * otherwise, and the marks of egresses. A connection lives on its conntrack entry; the elements are
 * only needed for its first packet. */
#include "netlink/table_internal.h"

static void dnat_build(struct table_plan *p, const char *chain)
{
	struct ruleset *r = &p->rules;

	EACH_FAMILY(p, f)
	{
		if (f->pool.addr.family != IP_NONE)
			RULE(r, chain, match_address(r, DESTINATION, IS, &f->pool),
				act_dnat_by(r, f->family, f->nat));
	}
}

static void masquerade_rule(
	struct table_plan *p, const struct table_family *f, const struct ip_prefix *source)
{
	struct ruleset *r = &p->rules;

	rule_open(r, "nat_source");
	match_oif(r, IS_NOT, p->c->tun);
	match_oif(r, IS_NOT, "lo");
	match_ct_original(r);
	match_ct_destination(r, &f->pool);
	match_address(r, SOURCE, IS, source);
	act_masquerade(r);
	rule_close(r);
}

/* Rewritten only where the source could not be answered: TUN's own address, a unique local one.
 * What else needs it is the host's own firewall's business. */
static void snat_build(struct table_plan *p)
{
	static const struct ip_prefix unique_local = {
		.addr = {.b = {0xfc}, .family = IP_V6}, .len = 7};

	EACH_FAMILY(p, f)
	{
		struct ip_prefix tun = {
			.addr = f->tun, .len = (uint8_t)(ip_addr_size(&f->tun) * 8)};

		if (f->pool.addr.family == IP_NONE)
			continue;
		if (f->family == IP_V6)
			masquerade_rule(p, f, &unique_local);
		if (tun.addr.family != IP_NONE && !ip_prefix_contains(&unique_local, &tun.addr))
			masquerade_rule(p, f, &tun);
	}
}

/* The mark goes into the connection by the set, and from the connection onto each packet, so that
 * it stays when the element is gone. */
static void mark_build(struct table_plan *p, const char *chain)
{
	struct ruleset *r = &p->rules;
	char set[TABLE_SET_NAME_MAX];

	for (size_t i = 0; i < p->c->n_marks; i++) {
		uint32_t value = p->c->marks[i].value, mask = p->c->marks[i].mask;

		EACH_FAMILY(p, f)
		{
			if (!mask || f->pool.addr.family == IP_NONE)
				continue;
			table_mark_set_name(set, i, f->family);
			RULE(r, chain, match_address(r, DESTINATION, IS, &f->pool),
				match_address_in(r, DESTINATION, f->family, set),
				act_ct_mark(r, value, mask));
			RULE(r, chain, match_ct_original(r), match_ct_destination(r, &f->pool),
				match_ct_mark(r, value, mask), act_mark(r, value, mask));
		}
	}
}

void table_nat_build(struct table_plan *p)
{
	const struct table_config *c = p->c;
	bool marks = false;

	if (c->pool4.addr.family == IP_NONE && c->pool6.addr.family == IP_NONE)
		return;
	dnat_build(p, "nat_in");
	dnat_build(p, "nat_out");
	snat_build(p);
	for (size_t i = 0; i < c->n_marks; i++)
		marks |= c->marks[i].mask != 0;
	if (marks) {
		mark_build(p, "marks_in");
		mark_build(p, "marks_out");
	}
}
