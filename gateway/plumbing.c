#include "gateway/plumbing.h"
#include "gateway/tun/device.h"

#include <errno.h>
#include <linux/ethtool.h>
#include <linux/sockios.h>
#include <net/if.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <stdlib.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

/* Tables and preferences that the tested recipes use (facts/kernel.md, a). */
#define TABLE_TUN     198
#define TABLE_TPROXY  199
#define PREF_NOT_TUN  898
#define PREF_NOT_SELF 899
#define PREF_TUN      900
#define PREF_TPROXY   901
#define PREF_ON	      902
#define METRIC_LAST   4294967295u
#define TUN_QUEUE_LEN 4000 /* packets; a burst of the LAN waits here */

/* Where the tproxy sockets are bound. Nobody sends there: the rule hands them packets for other
 * addresses. */
static const uint8_t tproxy4[4] = {127, 1, 1, 53};
static const uint8_t tproxy6_default[16] = {0xfd, 0x00, 0x01, 0x98, 0x00, 0x18, [15] = 1};

struct plumbing_marks plumbing_marks(const struct conf_gateway *g)
{
	unsigned top = 31;

	while (top && !(g->mark.mask & 1u << top))
		top--;
	return (struct plumbing_marks){.value = g->mark.value,
		.mask = g->mark.mask,
		.tun = 2u << top,
		.tproxy = 4u << top};
}

/* The n-th address of a prefix; n < 256. */
static struct ip_addr nth(const struct ip_prefix *p, uint8_t n)
{
	struct ip_addr a = p->addr;

	if (a.family != IP_NONE)
		a.b[ip_addr_size(&a) - 1] = (uint8_t)(a.b[ip_addr_size(&a) - 1] + n);
	return a;
}

static struct ip_addr last_address(const struct ip_prefix *p)
{
	struct ip_addr a = p->addr;

	for (unsigned bit = p->len; bit < ip_addr_size(&a) * 8; bit++)
		a.b[bit / 8] |= (uint8_t)(0x80 >> bit % 8);
	return a;
}

static bool host_has_ipv6(void)
{
	int off;

	return rt_sysctl_get("ipv6/conf/all/disable_ipv6", &off) == 0 && !off;
}

void plumbing_init(struct plumbing *p, const struct config *config)
{
	static const uint8_t documentation[4] = {192, 0, 2, 53};
	bool has4 = config->fakeip.pool4.addr.family != IP_NONE,
	     has6 = config->fakeip.pool6.addr.family != IP_NONE;

	memset(p, 0, sizeof *p);
	strncpy(p->tun, config->gateway.tun, sizeof p->tun - 1);
	for (size_t i = 0; i < PLUMBING_WORKERS_MAX; i++)
		p->tun_fds[i] = -1;
	p->pool4 = config->fakeip.pool4;
	p->pool6 = config->fakeip.pool6;
	p->tun4 = nth(&p->pool4, 1);
	p->tun6 = nth(&p->pool6, 1);
	p->udp4 = (struct ip_port){.addr = ip_addr_v4(tproxy4), .port = 53};
	p->udp6 =
		(struct ip_port){.addr = has6 ? p->tun6 : ip_addr_v6(tproxy6_default), .port = 53};
	p->tcp4 = (struct ip_port){.addr = p->udp4.addr};
	p->tcp6 = (struct ip_port){.addr = p->udp6.addr};
	p->relay_udp4 = p->relay_tcp4 = p->tcp4;
	p->relay_udp6 = p->relay_tcp6 = p->tcp6;
	/* The last address of the pool is reserved, so no mapping can be meant by it. */
	p->probe = has4 ? last_address(&p->pool4) : ip_addr_v4(documentation);
	p->no_ipv6 = !host_has_ipv6();
	if (p->no_ipv6)
		p->udp6.addr.family = p->tcp6.addr.family = p->relay_udp6.addr.family =
			p->relay_tcp6.addr.family = IP_NONE;
	p->mode = CONF_INTERCEPT_AUTO;
}

/* --- rules and routes --- */

/* Where src_valid_mark is set (wg-quick does it), the kernel looks up a packet's source with its
 * mark, too, as if it came in by lo, or by where the packet goes. Our ways are not meant for that:
 * this host's own packets, which lo stands for otherwise, carry both bits. */
static int add_rules(struct plumbing *p, const struct config *config, uint8_t family)
{
	struct plumbing_marks m = plumbing_marks(&config->gateway);
	uint32_t both = m.tun | m.tproxy;
	const struct rt_rule rules[] = {
		{.family = family, .pref = PREF_ON},
		{family, PREF_NOT_TUN, m.tun, both, .skip = PREF_ON, .iif = p->tun},
		{family, PREF_NOT_SELF, m.tproxy, both, .skip = PREF_ON, .iif = "lo"},
		{family, PREF_TPROXY, m.tproxy, m.tproxy, .table = TABLE_TPROXY},
		{family, PREF_TUN, m.tun, both, .table = TABLE_TUN},
	};
	struct rt_route to_tun = {.to.addr.family = family,
		.type = RT_UNICAST,
		.ifindex = p->tun_index,
		.table = TABLE_TUN};
	struct rt_route to_local = {
		.to.addr.family = family, .type = RT_LOCAL, .ifindex = 1, .table = TABLE_TPROXY};
	int error = rt_route_add(p->rt, &to_local);

	if (!error)
		error = rt_route_add(p->rt, &to_tun);
	for (size_t i = 0; i < sizeof rules / sizeof rules[0] && !error; i++)
		error = rt_rule_add(p->rt, &rules[i]);
	return error;
}

/* The pool goes to TUN; when TUN is gone, nowhere: clients fail fast and nothing leaks to the
 * provider. */
static int add_pool(struct plumbing *p, const struct ip_prefix *pool)
{
	struct rt_route to_tun = {.to = *pool, .type = RT_UNICAST, .ifindex = p->tun_index};
	struct rt_route nowhere = {.to = *pool, .type = RT_UNREACHABLE, .metric = METRIC_LAST};
	int error;

	if (pool->addr.family == IP_NONE)
		return 0;
	error = rt_route_add(p->rt, &nowhere);
	return error ? error : rt_route_add(p->rt, &to_tun);
}

static int add_address(struct plumbing *p, const struct ip_addr *a)
{
	struct ip_prefix host = {.addr = *a, .len = (uint8_t)(ip_addr_size(a) * 8)};

	return a->family == IP_NONE ? 0 : rt_address_add(p->rt, p->tun_index, &host);
}

/* Replies come out of TUN with any source. Effective rp_filter is the greater of all and the
 * interface's own; strict on one side and off on the other breaks, loose (2) wins over strict; 0
 * also works without a default route (facts a4). */
static void set_sysctls(const struct plumbing *p)
{
	char path[64];
	int all = 0;

	rt_sysctl_get("ipv4/conf/all/rp_filter", &all);
	snprintf(path, sizeof path, "ipv4/conf/%s/rp_filter", p->tun);
	rt_sysctl_set(path, all ? 2 : 0);
}

static int configure(struct plumbing *p, const struct config *config, const char **ret_what)
{
	int error;

	*ret_what = "interface";
	error = rt_link_index(p->rt, p->tun, &p->tun_index);
	if (!error) {
		set_sysctls(p);
		error = rt_link_up(p->rt, p->tun_index, config->gateway.mtu, TUN_QUEUE_LEN);
	}
	if (error)
		return error;
	*ret_what = "address";
	error = add_address(p, &p->tun4);
	if (!error && !p->no_ipv6)
		error = add_address(p, &p->tun6);
	if (error)
		return error;
	*ret_what = "route";
	error = add_rules(p, config, IP_V4);
	if (!error)
		error = add_pool(p, &p->pool4);
	if (!error && !p->no_ipv6)
		error = add_rules(p, config, IP_V6);
	if (!error && !p->no_ipv6)
		error = add_pool(p, &p->pool6);
	return error;
}

static void close_queues(int *fds, unsigned queues)
{
	for (unsigned i = 0; i < queues; i++) {
		close(fds[i]);
		fds[i] = -1;
	}
}

int plumbing_up(
	struct plumbing *p, const struct config *config, unsigned queues, const char **ret_what)
{
	int error;

	*ret_what = "rtnetlink";
	error = rt_open(&p->rt);
	if (error)
		return error;
	*ret_what = "tun";
	error = tun_device_open(p->tun, queues, p->tun_fds);
	if (error)
		goto close_rt;
	p->queues = queues;
	*ret_what = "route";
	error = rt_clean(p->rt, NULL);
	if (!error)
		error = configure(p, config, ret_what);
	if (!error)
		return 0;
	rt_clean(p->rt, NULL);
	close_queues(p->tun_fds, queues);
close_rt:
	rt_close(p->rt);
	p->rt = NULL;
	return error;
}

void plumbing_down(struct plumbing *p)
{
	if (!p->rt)
		return;
	rt_clean(p->rt, NULL);
	close_queues(p->tun_fds, p->queues);
	rt_close(p->rt);
	p->rt = NULL;
}

int plumbing_repair(struct plumbing *p, const struct config *config)
{
	const char *what;

	return configure(p, config, &what);
}

int plumbing_remake_tun(
	struct plumbing *p, const struct config *config, int old_fds[PLUMBING_WORKERS_MAX])
{
	int fresh[PLUMBING_WORKERS_MAX];
	int error = tun_device_open(p->tun, p->queues, fresh);

	if (error)
		return error;
	error = plumbing_repair(p, config);
	if (error) { /* or the name would be taken at the next try */
		close_queues(fresh, p->queues);
		return error;
	}
	memcpy(old_fds, p->tun_fds, sizeof p->tun_fds);
	memcpy(p->tun_fds, fresh, p->queues * sizeof fresh[0]);
	return 0;
}

/* --- the table --- */

static bool lan_matches(const struct config *config, const char *name)
{
	for (size_t i = 0; i < config->gateway.lan.n; i++) {
		const char *want = config->gateway.lan.v[i];
		size_t n = strlen(want);

		if (n && want[n - 1] == '*' ? strncmp(name, want, n - 1) == 0
					    : strcmp(name, want) == 0)
			return true;
	}
	return false;
}

struct lan_search {
	const struct config *config;
	struct plumbing_lan *lan;
};

static void lan_link(void *arg, unsigned ifindex, const char *name)
{
	struct lan_search *s = arg;

	if (s->lan->n < INJECT_INTERFACES_MAX && lan_matches(s->config, name))
		s->lan->v[s->lan->n++] = (struct inject_interface){.ifindex = ifindex};
}

static void lan_address(void *arg, unsigned ifindex, const struct ip_addr *address, uint8_t len)
{
	struct plumbing_lan *lan = ((struct lan_search *)arg)->lan;

	for (size_t i = 0; i < lan->n; i++) {
		if (lan->v[i].ifindex != ifindex)
			continue;
		if (lan->v[i].prefix.addr.family != IP_NONE) {
			if (lan->n == INJECT_INTERFACES_MAX)
				return;
			i = lan->n++;
			lan->v[i].ifindex = ifindex;
		}
		lan->v[i].prefix = (struct ip_prefix){.addr = *address, .len = len};
		return;
	}
}

int plumbing_lan(struct plumbing *p, const struct config *config, struct plumbing_lan *ret)
{
	struct lan_search search = {config, ret};
	int error;

	memset(ret, 0, sizeof *ret);
	error = rt_links(p->rt, lan_link, &search);
	return error ? error : rt_addresses(p->rt, lan_address, &search);
}

/* Asked of the driver: /sys may be another namespace's. */
static bool is_bridge(unsigned ifindex)
{
	struct ethtool_drvinfo info = {.cmd = ETHTOOL_GDRVINFO};
	struct ifreq request = {.ifr_data = (void *)&info};
	int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	bool found = fd >= 0 && if_indextoname(ifindex, request.ifr_name) &&
		     ioctl(fd, SIOCETHTOOL, &request) == 0 && strcmp(info.driver, "bridge") == 0;

	if (fd >= 0)
		close(fd);
	return found;
}

/* docker, libvirt and others load br_netfilter, which by default hands bridged frames to iptables.
 */
static bool bridge_netfilter(const struct plumbing_lan *lan)
{
	int v4 = 0, v6 = 0;

	rt_sysctl_get("bridge/bridge-nf-call-iptables", &v4);
	rt_sysctl_get("bridge/bridge-nf-call-ip6tables", &v6);
	for (size_t i = 0; (v4 || v6) && i < lan->n; i++)
		if (is_bridge(lan->v[i].ifindex))
			return true;
	return false;
}

int plumbing_point_inject(struct plumbing *p, const struct config *config, struct inject *inject)
{
	struct plumbing_lan lan;
	int error = plumbing_lan(p, config, &lan);

	p->bridge_netfilter = !error && bridge_netfilter(&lan);
	return error ? error : inject_set_interfaces(inject, p->rt, lan.v, lan.n);
}

/* A socket that was not opened (its port is still 0) is not there. */
static struct ip_port opened(const struct ip_port *at)
{
	static const struct ip_port none;

	return at->port ? *at : none;
}

/* What the kernel does for direct egresses; of the others it knows nothing. */
static void fill_egresses(
	const struct plumbing *p, const struct config *config, struct table_egress *ret)
{
	for (size_t i = 0; i < config->n_egresses; i++) {
		const struct conf_egress *e = &config->egresses[i];

		if (e->type == CONF_EGRESS_DIRECT)
			ret[i] = (struct table_egress){.value = e->mark.value,
				.mask = e->mark.mask,
				.masquerade = e->masquerade,
				.reject_udp = e->udp == CONF_CARRY_REJECT,
				.reject_quic = e->quic == CONF_CARRY_REJECT,
				.real = p->marked_real};
	}
}

/* What real traffic was once led somewhere stays there until its connections end: the rules that
 * hold them outlive the configuration that asked for them. */
static void note_real(struct plumbing *p, const struct config *config)
{
	const struct conf_gateway *g = &config->gateway;

	p->relayed_real |= p->carried || g->relay_mark.mask || g->relay_clients.prefixes.n ||
			   g->relay_clients.n_macs;
	for (size_t i = 0; i < TABLE_EGRESSES_MAX; i++)
		p->marked_real |= p->real[i];
}

int plumbing_table(struct plumbing *p, const struct config *config, struct writer *w,
	struct inject *inject, enum conf_intercept mode, const char **ret_what)
{
	struct plumbing_marks marks = plumbing_marks(&config->gateway);
	struct table_egress *egresses = calloc(config->n_egresses + 1, sizeof *egresses);
	static const struct ip_prefix no_prefix;
	struct table_config t;
	int error;

	if (!egresses)
		return -ENOMEM;
	note_real(p, config);
	fill_egresses(p, config, egresses);
	t = (struct table_config){
		.lan = (const char *const *)config->gateway.lan.v,
		.n_lan = config->gateway.lan.n,
		.self = config->gateway.self,
		.exempt = &config->gateway.exempt,
		.tun = p->tun,
		.mode = mode,
		.mark_value = marks.value,
		.mark_mask = marks.mask,
		.mark_tun = marks.tun,
		.mark_tproxy = marks.tproxy,
		.pool4 = p->pool4,
		.pool6 = p->no_ipv6 ? no_prefix : p->pool6,
		.tun4 = p->tun4,
		.tun6 = p->no_ipv6 ? no_prefix.addr : p->tun6,
		.udp4 = p->udp4,
		.udp6 = p->udp6,
		.tcp4 = p->tcp4,
		.tcp6 = p->tcp6,
		.relay_tcp4 = opened(&p->relay_tcp4),
		.relay_tcp6 = opened(&p->relay_tcp6),
		.relay_udp4 = opened(&p->relay_udp4),
		.relay_udp6 = opened(&p->relay_udp6),
		.carried = p->relayed_real,
		.relay_mark = config->gateway.relay_mark,
		.relay_clients = &config->gateway.relay_clients,
		.egresses = egresses,
		.n_egresses = config->n_egresses,
		.no_lan_tproxy = p->bridge_netfilter,
		.forget = p->forget,
		.nflog_group = p->has_nflog ? PLUMBING_NFLOG_GROUP : 0,
		.probe_from = p->probing ? p->probe : no_prefix.addr,
		.probe_port = PLUMBING_PROBE_PORT,
	};
	inject_set_raw_errors(inject, mode == CONF_INTERCEPT_TPROXY);
	error = writer_table_set(w, &t, ret_what);
	free(egresses);
	if (error)
		return error;
	p->mode = mode;
	p->forget = false;
	return 0;
}
