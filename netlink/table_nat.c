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

/* On its way out by something else than TUN or lo, on the first packet's way. */
static void match_leaves(struct table_plan *p)
{
	struct ruleset *r = &p->rules;

	match_oif(r, IS_NOT, p->c->tun);
	match_oif(r, IS_NOT, "lo");
	match_ct_original(r);
}

static void egress_source_build(struct table_plan *p, const struct table_family *f)
{
	struct ruleset *r = &p->rules;
	char set[TABLE_SET_NAME_MAX];

	for (size_t i = 0; i < p->c->n_egresses; i++) {
		enum conf_masquerade how = p->c->egresses[i].masquerade;

		if (how == CONF_MASQUERADE_AUTO)
			continue;
		rule_open(r, "nat_source");
		match_leaves(p);
		/* After DNAT the packet itself says nothing of the fake address. */
		match_ct_destination_in(r, f->family, table_egress_set_name(set, i, f->family));
		if (how == CONF_MASQUERADE_YES)
			act_masquerade(r);
		else
			act_accept(r);
		rule_close(r);
	}
}

/* Rewritten only where the source could not be answered: TUN's own address, a unique local one
 * that leaves its site. What else needs it is the host's own firewall's business. */
static void snat_build(struct table_plan *p, const struct table_family *f)
{
	static const struct ip_prefix unique_local = {
		.addr = {.b = {0xfc}, .family = IP_V6}, .len = 7};
	struct ip_prefix tun = {.addr = f->tun, .len = (uint8_t)(ip_addr_size(&f->tun) * 8)};
	struct ruleset *r = &p->rules;

	egress_source_build(p, f);
	if (f->family == IP_V6)
		RULE(r, "nat_source", match_leaves(p), match_ct_destination(r, &f->pool),
			match_address(r, SOURCE, IS, &unique_local),
			match_address(r, DESTINATION, IS_NOT, &unique_local), act_masquerade(r));
	if (tun.addr.family != IP_NONE)
		RULE(r, "nat_source", match_leaves(p), match_ct_destination(r, &f->pool),
			match_address(r, SOURCE, IS, &tun), act_masquerade(r));
}

/* The mark goes into the connection by the set, and from the connection onto each packet, so that
 * it stays when the element is gone. */
static void mark_build(struct table_plan *p, const char *chain)
{
	struct ruleset *r = &p->rules;
	char set[TABLE_SET_NAME_MAX];

	for (size_t i = 0; i < p->c->n_egresses; i++) {
		uint32_t value = p->c->egresses[i].value, mask = p->c->egresses[i].mask;

		EACH_FAMILY(p, f)
		{
			if (!mask || f->pool.addr.family == IP_NONE)
				continue;
			table_egress_set_name(set, i, f->family);
			RULE(r, chain, match_address(r, DESTINATION, IS, &f->pool),
				match_address_in(r, DESTINATION, f->family, set),
				act_ct_mark(r, value, mask));
			RULE(r, chain, match_ct_original(r), match_ct_destination(r, &f->pool),
				match_ct_mark(r, value, mask), act_mark(r, value, mask));
		}
	}
}

/* The same for real addresses, of which only what begins now takes a new way. */
static void mark_real_build(struct table_plan *p)
{
	struct ruleset *r = &p->rules;
	const struct table_config *c = p->c;
	char set[TABLE_SET_NAME_MAX];
	bool any = false;

	for (size_t i = 0; i < c->n_egresses; i++) {
		const struct table_egress *e = &c->egresses[i];

		if (!table_egress_has_real(e) || table_have_real(c->egresses, i, e))
			continue;
		any = true;
		EACH_FAMILY(p, f)
		{
			table_real_set_name(set, e, f->family);
			RULE(r, "marks_real", match_ct_new(r),
				match_address_in(r, DESTINATION, f->family, set),
				act_ct_mark(r, e->value, e->mask));
		}
		RULE(r, "marks_real", match_ct_original(r), match_ct_mark(r, e->value, e->mask),
			act_mark(r, e->value, e->mask));
	}
	for (size_t i = 0; any && i < c->n_lan; i++)
		RULE(r, "marks_in", match_iif(r, IS, c->lan[i]), act_jump(r, "marks_real"));
	if (!any || !c->self)
		return;
	RULE(r, "marks_out", match_mark(r, c->mark_value, c->mark_mask), act_accept(r));
	table_exempt_build(p, "marks_out", false);
	RULE(r, "marks_out", act_jump(r, "marks_real"));
}

void table_nat_build(struct table_plan *p)
{
	const struct table_config *c = p->c;
	struct ruleset *r = &p->rules;

	mark_build(p, "marks_in");
	mark_build(p, "marks_out");
	mark_real_build(p);
	if (!table_has_pool(c))
		return;
	/* A segment on its way to the relay, of a name that goes direct by now. */
	if (c->self && table_relays_fakes(c))
		RULE(r, "nat_out", match_mark(r, table_own_way(c), table_own_way(c)),
			act_accept(r));
	dnat_build(p, "nat_in");
	dnat_build(p, "nat_out");
	EACH_FAMILY(p, f)
	{
		if (f->pool.addr.family != IP_NONE)
			snat_build(p, f);
	}
}
