/* What this host sends: our own packets leave untouched, other programs' queries are taken if
 * gateway.self says so, and packets to the pools go the same way as those of the LAN. */
#include "netlink/heartbeat.h"
#include "netlink/table_internal.h"

#include <errno.h>
#include <linux/rtnetlink.h>
#include <mntent.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#define DNS_PORT  53
#define QUIC_PORT 443
#define FLAGS	  (TH_SYN | TH_ACK | TH_RST)

/* Where the cgroup2 hierarchy is mounted. */
static bool cgroup2_mount(char *ret, size_t size_bytes)
{
	FILE *mounts = setmntent("/proc/self/mounts", "re");
	struct mntent entry;
	char line[4096];
	bool found = false;

	while (mounts && !found && getmntent_r(mounts, &entry, line, sizeof line)) {
		found = strcmp(entry.mnt_type, "cgroup2") == 0 &&
			snprintf(ret, size_bytes, "%s", entry.mnt_dir) < (int)size_bytes;
	}
	if (mounts)
		endmntent(mounts);
	return found;
}

/* The kernel knows a cgroup by its directory's inode and by how deep it lies. */
static int cgroup_find(const char *mount, const char *path, uint32_t *ret_level, uint64_t *ret_id)
{
	char full[8192];
	struct stat st;
	uint32_t level = 0;

	if (snprintf(full, sizeof full, "%s/%s", mount, path) >= (int)sizeof full)
		return -ENAMETOOLONG;
	if (stat(full, &st) < 0)
		return -errno;
	for (const char *s = path; *s;) {
		size_t n = strcspn(s, "/");

		level += n > 0;
		s += n + (s[n] == '/');
	}
	if (!S_ISDIR(st.st_mode) || level == 0)
		return -ENOTDIR;
	*ret_level = level;
	*ret_id = st.st_ino;
	return 0;
}

static void exempt_cgroups(struct table_plan *p, const char *chain)
{
	const struct conf_strings *paths = &p->c->exempt->cgroup;
	struct ruleset *r = &p->rules;
	char mount[4096], text[512];

	if (paths->n && !cgroup2_mount(mount, sizeof mount))
		strcpy(mount, "/sys/fs/cgroup");
	for (size_t i = 0; i < paths->n; i++) {
		uint32_t level = 0;
		uint64_t id = 0;

		if (cgroup_find(mount, paths->v[i], &level, &id) == 0) {
			RULE(r, chain, match_cgroup(r, level, id), act_return(r));
		} else if (p->note && strcmp(chain, "out_dns") == 0) { /* once */
			snprintf(text, sizeof text,
				"gateway.exempt: there is no cgroup %.200s below %.200s, it is not "
				"exempt",
				paths->v[i], mount);
			p->note(p->note_arg, text);
		}
	}
}

void table_exempt_build(struct table_plan *p, const char *chain, bool targets)
{
	const struct conf_exempt *e = p->c->exempt;
	struct ruleset *r = &p->rules;

	if (!e)
		return;
	for (size_t i = 0; i < e->n_mark; i++)
		RULE(r, chain, match_mark(r, e->mark[i].value, e->mark[i].mask), act_return(r));
	for (size_t i = 0; i < e->uid.n; i++)
		RULE(r, chain, match_uid(r, e->uid.v[i]), act_return(r));
	for (size_t i = 0; i < e->gid.n; i++)
		RULE(r, chain, match_gid(r, e->gid.v[i]), act_return(r));
	exempt_cgroups(p, chain);
	EACH_FAMILY(p, f)
	{
		if (targets && f->has_exempt)
			RULE(r, chain, match_address_in(r, DESTINATION, f->family, f->exempt),
				act_return(r));
	}
}

/* By loop-back to the tproxy rules of the raw chain, which count it. */
static void out_tproxy_rule(struct table_plan *p, uint8_t protocol, const struct ip_port *listener)
{
	struct ruleset *r = &p->rules;
	uint32_t way = table_own_way(p->c);

	if (listener->addr.family != IP_NONE)
		RULE(r, "out_dns", match_family(r, listener->addr.family),
			match_protocol(r, protocol), act_notrack(r), act_mark(r, way, way),
			act_accept(r));
}

static void out_dns_build(struct table_plan *p)
{
	static const uint32_t not_taken[] = {RTN_LOCAL, RTN_BROADCAST, RTN_ANYCAST, RTN_MULTICAST};
	/* A link-local target keeps its interface when it is routed again, so no mark leads it to
	 * us. */
	static const struct ip_prefix link_local = {
		.addr = {.b = {0xfe, 0x80}, .family = IP_V6}, .len = 10};
	const struct table_config *c = p->c;
	struct ruleset *r = &p->rules;

	table_gate_build(p, "out_dns");
	table_exempt_build(p, "out_dns", true);
	for (size_t i = 0; i < sizeof not_taken / sizeof not_taken[0]; i++)
		RULE(r, "out_dns", match_destination_type(r, IS, not_taken[i]), act_return(r));
	RULE(r, "out_dns", match_address(r, DESTINATION, IS, &link_local), act_return(r));
	/* By tproxy in every mode: an answer from TUN would have to pass the host's input rules as
	 * a packet of TUN's, one from our socket passes as lo's. */
	out_tproxy_rule(p, IPPROTO_UDP, &c->udp4);
	out_tproxy_rule(p, IPPROTO_UDP, &c->udp6);
	out_tproxy_rule(p, IPPROTO_TCP, &c->tcp4);
	out_tproxy_rule(p, IPPROTO_TCP, &c->tcp6);
}

/* The held SYN of a client, on its way over lo to the relay. Its source may be TUN's address. */
static void put_back_build(struct table_plan *p)
{
	uint32_t way = table_own_way(p->c);
	struct ruleset *r = &p->rules;

	EACH_FAMILY(p, f)
	{
		if (f->pool.addr.family != IP_NONE && f->relay_tcp.addr.family != IP_NONE)
			RULE(r, "own", match_mark(r, way, way),
				match_address(r, DESTINATION, IS, &f->pool), table_alive_match(p),
				act_notrack(r), act_accept(r));
	}
}

/* From a fake address: what the relay, or the kernel for it, tells a client. */
static void from_fake_build(struct table_plan *p, const char *chain)
{
	struct ruleset *r = &p->rules;

	EACH_FAMILY(p, f)
	{
		struct ip_prefix tun = {
			.addr = f->tun, .len = (uint8_t)(ip_addr_size(&f->tun) * 8)};

		if (f->pool.addr.family == IP_NONE)
			continue;
		rule_open(r, chain);
		match_address(r, SOURCE, IS, &f->pool);
		if (tun.addr.family != IP_NONE) /* this host's own connections begin there */
			match_address(r, SOURCE, IS_NOT, &tun);
		table_alive_match(p);
		act_notrack(r);
		act_accept(r);
		rule_close(r);
	}
}

/* Our own answers are not tracked; all that carries our mark leaves as it is. */
static void own_build(struct table_plan *p)
{
	static const uint8_t protocols[] = {IPPROTO_UDP, IPPROTO_TCP};
	struct ruleset *r = &p->rules;

	put_back_build(p);
	for (size_t i = 0; i < sizeof protocols; i++)
		RULE(r, "own", match_protocol(r, protocols[i]), match_port(r, SOURCE, DNS_PORT),
			table_alive_match(p), act_notrack(r), act_accept(r));
	from_fake_build(p, "own");
	RULE(r, "own", act_accept(r));
}

void table_reject_match(struct table_plan *p, const struct table_family *f, size_t egress)
{
	char set[TABLE_SET_NAME_MAX];
	struct ruleset *r = &p->rules;

	match_protocol(r, IPPROTO_UDP);
	if (!p->c->egresses[egress].reject_udp)
		match_port(r, DESTINATION, QUIC_PORT);
	table_egress_set_name(set, egress, f->family);
	match_address_in(r, DESTINATION, f->family, set);
}

static void out_reject_build(struct table_plan *p, const struct table_family *f)
{
	struct ruleset *r = &p->rules;

	for (size_t i = 0; i < p->c->n_egresses; i++) {
		if (p->c->egresses[i].reject_udp || p->c->egresses[i].reject_quic)
			RULE(r, "out_fake", table_reject_match(p, f, i), act_notrack(r),
				act_accept(r));
	}
}

static void out_fake_build(struct table_plan *p, const struct table_family *f)
{
	struct ruleset *r = &p->rules;

	if (!p->c->self) {
		RULE(r, "out_fake", match_address(r, DESTINATION, IS, &f->pool),
			act_count(r, "outside"), act_drop(r));
		return;
	}
	out_reject_build(p, f);
	RULE(r, "out_fake", match_address_in(r, DESTINATION, f->family, f->nat), act_accept(r));
	RULE(r, "out_fake", match_address(r, DESTINATION, IS, &f->pool),
		match_tcp_flags(r, IS_NOT, FLAGS, TH_SYN), act_accept(r));
	RULE(r, "out_fake", match_address(r, DESTINATION, IS, &f->pool), act_notrack(r),
		act_accept(r));
}

/* Nobody else can send from that address and port: no mark is needed. */
static void heartbeat_build(struct table_plan *p)
{
	static const struct ip_prefix loopback = {
		.addr = {.b = {127, 0, 0, 1}, .family = IP_V4}, .len = 32};
	struct ruleset *r = &p->rules;

	RULE(r, "out", match_oif(r, IS, "lo"), match_protocol(r, IPPROTO_UDP),
		match_port(r, SOURCE, p->c->heartbeat_port),
		match_port(r, DESTINATION, p->c->heartbeat_port),
		match_address(r, SOURCE, IS, &loopback),
		act_renew_families(r, "alive", HEARTBEAT_LIFE_MS), act_drop(r));
}

void table_out_build(struct table_plan *p)
{
	const struct table_config *c = p->c;
	struct ruleset *r = &p->rules;

	RULE(r, "out", match_mark(r, c->mark_value, c->mark_mask), act_goto(r, "own"));
	own_build(p);
	from_fake_build(p, "out");
	heartbeat_build(p);
	RULE(r, "out", match_oif(r, IS, "lo"), act_accept(r));
	if (c->self && c->mode != CONF_INTERCEPT_OFF) {
		RULE(r, "out", match_protocol(r, IPPROTO_UDP), match_port(r, DESTINATION, DNS_PORT),
			act_jump(r, "out_dns"));
		RULE(r, "out", match_protocol(r, IPPROTO_TCP), match_port(r, DESTINATION, DNS_PORT),
			act_jump(r, "out_dns"));
		out_dns_build(p);
	}
	if (table_has_pool(c))
		table_gate_build(p, "out_fake");
	EACH_FAMILY(p, f)
	{
		if (f->pool.addr.family == IP_NONE)
			continue;
		RULE(r, "out", match_address(r, DESTINATION, IS, &f->pool),
			act_goto(r, "out_fake"));
		out_fake_build(p, f);
	}
}
