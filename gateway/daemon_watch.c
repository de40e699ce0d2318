/* The kernel's news and what the daemon does about them: interfaces that come and go, addresses,
 * rules and routes that somebody removed, a firewall that was reloaded, users' sets that were
 * re-created, a TUN device that was deleted. News are gathered until they pause for a moment, then
 * acted on once. */
#include "gateway/daemon_internal.h"
#include "gateway/base/clock.h"
#include "gateway/base/container.h"
#include "gateway/base/log.h"

#include <errno.h>
#include <net/if.h>
#include <poll.h>
#include <stdatomic.h>
#include <string.h>
#include <unistd.h>

#define SETTLE_MS      200
#define SETTLE_LOST_MS 1000
#define REMAKE_MS      1000
#define REPROBE_MS     2000
#define REPROBE_MAX_MS 60000

/* --- warnings about the host --- */

struct overlap {
	const struct ip_prefix *pool;
	char text[IP_TEXT_MAX];
	unsigned own_ifindex;
};

static void note_overlap(void *arg, const struct ip_prefix *to, unsigned ifindex)
{
	struct overlap *o = arg;

	if (to->len > 0 && ifindex != o->own_ifindex && !o->text[0])
		ip_prefix_format(to, o->text);
}

void daemon_check_routes(struct daemon *d)
{
	const struct ip_prefix *pools[] = {&d->plumbing.pool4, &d->plumbing.pool6};
	char pool[IP_TEXT_MAX];
	int forwarding = 1;

	daemon_clear_problem(d, PROBLEM_POOL);
	for (size_t i = 0; i < 2; i++) {
		struct overlap o = {.pool = pools[i], .own_ifindex = d->plumbing.tun_index};

		if (pools[i]->addr.family == IP_NONE ||
			rt_routes_overlapping(d->plumbing.rt, pools[i], note_overlap, &o))
			continue;
		if (o.text[0])
			daemon_set_problem(d, PROBLEM_POOL,
				"the pool %s overlaps the route to %s: choose another "
				"fakeip.pool%c",
				ip_prefix_format(pools[i], pool), o.text, i == 0 ? '4' : '6');
	}
	if (d->config->gateway.lan.n && rt_sysctl_get("ipv4/ip_forward", &forwarding) == 0 &&
		!forwarding)
		daemon_set_problem(d, PROBLEM_FORWARD,
			"net.ipv4.ip_forward is 0: this host forwards nothing for its LAN");
	else
		daemon_clear_problem(d, PROBLEM_FORWARD);
}

/* --- the way of interception --- */

/* A firewall that does not let us through may be on its way out, and a busy host may have lost the
 * probe: asked again, at first soon. */
static void probe_again_later(struct daemon *d)
{
	int64_t wait_ms = d->reprobe_ms ? d->reprobe_ms * 2 : REPROBE_MS;

	d->reprobe_ms = wait_ms > REPROBE_MAX_MS ? REPROBE_MAX_MS : wait_ms;
	loop_timer_set(d->loop, &d->reprobe, loop_now_ms(d->loop) + d->reprobe_ms);
}

static enum conf_intercept probe_mode(struct daemon *d)
{
	unsigned ifindex = 0;
	char lan[IF_NAMESIZE] = "?";
	const char *tun = d->plumbing.tun;
	enum probe_result result = probe_run(
		&d->plumbing, d->config, d->writer, d->inject, &d->probe_target, &ifindex);

	if_indextoname(ifindex, lan);
	switch (result) {
	case PROBE_PASSES:
		d->reprobe_ms = 0;
		loop_timer_cancel(d->loop, &d->reprobe);
		daemon_clear_problem(d, PROBLEM_INTERCEPT);
		return CONF_INTERCEPT_TUN;
	case PROBE_LAN_TO_TUN_BLOCKED:
	case PROBE_TUN_TO_LAN_BLOCKED:
		daemon_set_problem(d, PROBLEM_INTERCEPT,
			"this host's firewall does not forward between %s and %s: intercepting by "
			"tproxy. For TUN let both ways pass: iifname \"%s\" oifname \"%s\" accept; "
			"iifname \"%s\" oifname \"%s\" accept (OpenWrt: put %s into the lan zone)",
			lan, tun, lan, tun, tun, lan, tun);
		probe_again_later(d);
		return CONF_INTERCEPT_TPROXY;
	case PROBE_UNKNOWN:
		break;
	}
	daemon_clear_problem(d, PROBLEM_INTERCEPT);
	return CONF_INTERCEPT_TPROXY; /* it works behind any firewall */
}

static void look_at_bridges(struct daemon *d)
{
	if (!d->plumbing.bridge_netfilter) {
		daemon_clear_problem(d, PROBLEM_BRIDGE);
		return;
	}
	daemon_set_problem(d, PROBLEM_BRIDGE,
		"bridged packets of the LAN go through br_netfilter, which breaks tproxy: queries "
		"over TCP and to this host's own addresses are not intercepted, and real addresses "
		"are not carried by a proxy. Set "
		"net.bridge.bridge-nf-call-iptables=0 and net.bridge.bridge-nf-call-ip6tables=0");
	probe_again_later(d); /* a sysctl sends no news */
}

/* Where packets are put back follows the LAN's interfaces. Returns whether the table must follow,
 * too. */
static bool look_at_lan(struct daemon *d)
{
	bool had_bridge_netfilter = d->plumbing.bridge_netfilter;
	const char *tun = d->plumbing.tun;
	int error = plumbing_point_inject(&d->plumbing, d->config, d->inject);

	if (error)
		daemon_set_problem(d, PROBLEM_INJECT,
			"packets cannot be put back where they came in (%s; OpenWrt: "
			"kmod-sched-core): they go "
			"through %s, and the firewall must let it reach the uplink: iifname \"%s\" "
			"accept",
			strerror(-error), tun, tun);
	else
		daemon_clear_problem(d, PROBLEM_INJECT);
	return d->plumbing.bridge_netfilter != had_bridge_netfilter;
}

int daemon_choose_intercept(struct daemon *d, bool force, const char **ret_what)
{
	enum conf_intercept wanted = d->config->gateway.intercept, running = d->plumbing.mode;
	int error;

	force |= look_at_lan(d);
	if (wanted == CONF_INTERCEPT_AUTO) {
		/* The probe needs the table and its devices, and chains of its own, which cost
		 * every packet of the router something; tproxy is the mode that is right while we
		 * do not know. */
		if (running == CONF_INTERCEPT_AUTO || running == CONF_INTERCEPT_OFF)
			running = CONF_INTERCEPT_TPROXY;
		d->plumbing.probing = true;
		error = plumbing_table(
			&d->plumbing, d->config, d->writer, d->inject, running, ret_what);
		d->plumbing.probing = false;
		if (error)
			return error;
		wanted = probe_mode(d);
		force = true;
	}
	look_at_bridges(d);
	if (wanted == running && !force)
		return 0;
	error = plumbing_table(&d->plumbing, d->config, d->writer, d->inject, wanted, ret_what);
	if (!error && running != CONF_INTERCEPT_AUTO && wanted != running)
		log_info("intercepting by %s", wanted == CONF_INTERCEPT_TUN ? "tun" : "tproxy");
	return error;
}

/* --- the TUN device --- */

static void close_old_tun(struct daemon *d)
{
	for (unsigned i = 0; i < d->n_workers; i++)
		if (worker_tun_fd(d->workers[i]) != d->plumbing.tun_fds[i])
			return;
	for (unsigned i = 0; i < d->n_workers; i++)
		close(d->old_tun_fds[i]);
	d->has_old_tun = false;
}

static void remake_tun(struct daemon *d)
{
	int error;

	if (d->has_old_tun) /* the workers have not let go of the one before */
		close_old_tun(d);
	error = d->has_old_tun ? -EBUSY
			       : plumbing_remake_tun(&d->plumbing, d->config, d->old_tun_fds);
	if (error) {
		daemon_set_problem(d, PROBLEM_TUN,
			"the device %s is gone and cannot be made again: %s; DNS goes the old way",
			d->plumbing.tun, strerror(-error));
		loop_timer_set(d->loop, &d->remake, loop_now_ms(d->loop) + REMAKE_MS);
		return;
	}
	d->tun_failed = false;
	d->has_old_tun = true;
	for (unsigned i = 0; i < d->n_workers; i++)
		worker_set_tun(d->workers[i], d->plumbing.tun_fds[i]);
	loop_timer_set(d->loop, &d->remake, loop_now_ms(d->loop) + REMAKE_MS);
	daemon_clear_problem(d, PROBLEM_TUN);
	log_warn("the device %s was deleted; made again", d->plumbing.tun);
}

static void remake_due(struct loop_timer *t)
{
	struct daemon *d = container_of(t, struct daemon, remake);

	if (d->tun_failed)
		remake_tun(d);
	else if (d->has_old_tun) {
		close_old_tun(d);
		if (d->has_old_tun)
			loop_timer_set(d->loop, &d->remake, loop_now_ms(d->loop) + REMAKE_MS);
	}
}

static void woken(struct loop_waker *w)
{
	struct daemon *d = container_of(w, struct daemon, waker);

	if (d->tun_failed && d->state == DAEMON_RUNNING && !d->remake.slot)
		remake_tun(d);
}

/* --- the news --- */

static void note_table(struct daemon *d, int error, const char *what)
{
	if (error)
		daemon_set_problem(d, PROBLEM_INTERCEPT,
			"nftables%s%s: %s; the table of before stays in force", what ? ", " : "",
			what ? what : "", strerror(-error));
}

void daemon_choose_again(struct daemon *d, bool force)
{
	const char *what = NULL;
	int error = daemon_choose_intercept(d, force, &what);

	note_table(d, error, what);
}

void daemon_forget_decisions(struct daemon *d)
{
	const char *what = NULL;
	int error;

	d->plumbing.forget = true;
	error = plumbing_table(
		&d->plumbing, d->config, d->writer, d->inject, d->plumbing.mode, &what);
	note_table(d, error, what);
}

static void look_at_ways(struct daemon *d)
{
	bool changed = false;
	int error = ways_reload(d->ways, d->plumbing.rt, &changed);

	if (error)
		log_warn("routes cannot be asked for: %s; `filter: auto` goes by those of before",
			strerror(-error));
	else if (changed)
		log_info("what families the egresses have a route for has changed");
}

void daemon_set_ways(struct daemon *d)
{
	struct plumbing_marks marks = plumbing_marks(&d->config->gateway);
	const struct conf_mark own = {.value = marks.value, .mask = marks.value};
	int error = ways_set(d->ways, d->plumbing.rt, d->config, own);

	if (error)
		log_warn("routes cannot be asked for: %s; `filter: auto` filters nothing",
			strerror(-error));
}

/* Connections to upstreams may stand on an address that is gone; and what failed for want of a way
 * may have one now. */
static void tell_network(struct daemon *d)
{
	for (unsigned i = 0; i < d->n_workers; i++)
		worker_network_changed(d->workers[i]);
}

static void settled(struct loop_timer *t)
{
	struct daemon *d = container_of(t, struct daemon, settle);
	struct monitor_news news = d->news;

	memset(&d->news, 0, sizeof d->news);
	if (d->state != DAEMON_RUNNING)
		return;
	if (news.addresses || news.links || news.lost)
		hosts_reload(d->hosts, d->plumbing.rt);
	if (news.routes || news.addresses || news.links || news.lost) {
		look_at_ways(d);
		tell_network(d);
	}
	if (news.addresses || news.links || news.lost) {
		if (d->neighbours)
			(void)neighbours_reload(d->neighbours, d->plumbing.rt);
		daemon_check_routes(d);
	}
	if ((news.ours_removed || news.lost) && !d->tun_failed) {
		int error = plumbing_repair(&d->plumbing, d->config);

		if (error)
			log_warn("routes or rules of ours were removed and cannot be put back: %s",
				strerror(-error));
	}
	/* A new interface of the LAN needs its device for putting packets back, so the table is set
	 * again for it. */
	if (news.links || news.addresses || news.nft_rules || news.lost)
		daemon_choose_again(d, false);
}

/* While the news are read. */
static void set_event(void *arg, const struct monitor_set_event *event)
{
	const struct daemon *d = arg;

	writer_set_event(d->writer, event);
}

static void add_news(struct monitor_news *to, const struct monitor_news *news)
{
	to->nft_rules |= news->nft_rules;
	to->links |= news->links;
	to->addresses |= news->addresses;
	to->routes |= news->routes;
	to->ours_removed |= news->ours_removed;
	to->lost |= news->lost;
}

static void arrived(struct daemon *d)
{
	struct monitor_news news = {0};
	int error = monitor_read(d->monitor, &news);

	if (error)
		log_warn("the kernel's news cannot be read: %s", strerror(-error));
	if (news.lost)
		writer_sets_lost(d->writer); /* answers may miss their sets: at once */
	if (news.more)
		loop_timer_set(d->loop, &d->more_news, loop_now_ms(d->loop));
	add_news(&d->news, &news);
	loop_timer_set(d->loop, &d->settle,
		loop_now_ms(d->loop) + (d->news.lost ? SETTLE_LOST_MS : SETTLE_MS));
}

static void more_due(struct loop_timer *t)
{
	arrived(container_of(t, struct daemon, more_news));
}

static void nft_arrived(struct loop_op *op, int32_t res, uint8_t *data, bool last)
{
	(void)res;
	(void)data;
	(void)last;
	arrived(container_of(op, struct daemon, nft_op));
}

static void route_arrived(struct loop_op *op, int32_t res, uint8_t *data, bool last)
{
	(void)res;
	(void)data;
	(void)last;
	arrived(container_of(op, struct daemon, route_op));
}

static void neighbour_arrived(struct loop_op *op, int32_t res, uint8_t *data, bool last)
{
	struct daemon *d = container_of(op, struct daemon, neighbour_op);
	int error = neighbours_read(d->neighbours);

	(void)res;
	(void)data;
	(void)last;
	if (error)
		log_warn("the neighbour table cannot be read: %s", strerror(-error));
}

static void reprobe_due(struct loop_timer *t)
{
	struct daemon *d = container_of(t, struct daemon, reprobe);

	if (d->state == DAEMON_RUNNING)
		daemon_choose_again(d, false);
}

int daemon_watch_start(struct daemon *d)
{
	uint32_t ports[MONITOR_OWN_MAX];
	size_t n_ports = writer_ports(d->writer, ports);
	int error = monitor_open(set_event, d, &d->monitor);

	if (!error)
		error = monitor_set_own(d->monitor, ports, n_ports);
	if (error) {
		log_error("netlink: %s", strerror(-error));
		return error;
	}
	d->settle.fire = settled;
	d->more_news.fire = more_due;
	d->remake.fire = remake_due;
	d->reprobe.fire = reprobe_due;
	d->waker.woken = woken;
	loop_on_wake(d->loop, &d->waker);
	daemon_check_routes(d);
	if (d->plumbing.no_ipv6)
		daemon_set_problem(d, PROBLEM_IPV6,
			"this host has no IPv6: AAAA questions are answered, nothing is carried");
	error = loop_poll_start(
		d->loop, &d->nft_op, monitor_nft_fd(d->monitor), POLLIN, nft_arrived);
	if (!error)
		error = loop_poll_start(
			d->loop, &d->route_op, monitor_route_fd(d->monitor), POLLIN, route_arrived);
	if (!error && d->neighbours)
		error = loop_poll_start(d->loop, &d->neighbour_op, neighbours_fd(d->neighbours),
			POLLIN, neighbour_arrived);
	return error;
}

void daemon_watch_stop(struct daemon *d)
{
	if (!d->monitor)
		return;
	loop_timer_cancel(d->loop, &d->settle);
	loop_timer_cancel(d->loop, &d->more_news);
	loop_timer_cancel(d->loop, &d->remake);
	loop_timer_cancel(d->loop, &d->reprobe);
	loop_op_cancel(&d->nft_op);
	loop_op_cancel(&d->route_op);
	loop_op_cancel(&d->neighbour_op);
}

bool daemon_watch_idle(const struct daemon *d)
{
	return !loop_op_busy(&d->nft_op) && !loop_op_busy(&d->route_op) &&
	       !loop_op_busy(&d->neighbour_op);
}

void daemon_watch_free(struct daemon *d)
{
	if (d->monitor)
		monitor_close(d->monitor);
	if (d->has_old_tun)
		for (unsigned i = 0; i < d->n_workers; i++)
			close(d->old_tun_fds[i]);
}
