/* Packets to fake addresses that an egress carries: the SYN that is held until it has connected,
 * datagrams, echo requests, and what is refused; and who comes to the relay's listeners. */
#include "tests/unit/carry_stage.h"

#include <linux/in6.h>
#include <sys/socket.h>
#include <unistd.h>

/* A fake address of a name below the zone of a rule of the same name. */
static struct fakeip_pair of(struct world *w, const char *rule)
{
	char name[64];

	snprintf(name, sizeof name, "www.%s.test", rule);
	return map(w->s, name, rule);
}

static uint32_t flows_of(struct world *w, uint32_t index)
{
	struct fakeip_mapping m;

	assert_int_equal(fakeip_get(w->s->fakeip, index, &m), 0);
	return m.flows;
}

/* --- SYN first --- */

static void a_syn_waits_for_the_egress(void **state)
{
	struct world *w = *state;
	struct fakeip_pair pair = of(w, "proxy");
	struct waiting_key key = {.client = stage_origin("10.1.1.1", false).client};
	struct waiting_conn conn;
	uint8_t syn[40];

	build_tcp(pair.v4, false, TUN_TCP_SYN, 1);
	memcpy(syn, packet, sizeof syn);
	give(w, 0);
	assert_int_equal(n_sent, 0);
	assert_int_equal(w->s->n_asked, 0); /* by name: nobody resolves it here */
	assert_int_equal(played.n_dials, 1);
	assert_int_equal(played.dials[0].egress, PROXY);
	assert_string_equal(played.dials[0].target.host, "www.proxy.test");
	assert_int_equal(played.dials[0].target.at.port, 80);
	assert_int_equal(played.dials[0].target.at.addr.family, IP_NONE);
	assert_true(ip_addr_equal(&played.dials[0].target.client, &key.client.addr));
	assert_false(played.dials[0].target.client_is_host);
	assert_int_equal(flows_of(w, pair.index), 1);
	assert_false(carry_idle(w->carry));
	/* Sent again meanwhile: not dialled again. */
	give(w, 0);
	assert_int_equal(played.n_dials, 1);
	assert_int_equal(n_sent, 0);
	dial_end(dup(0), 0);
	assert_int_equal(n_sent, 1);
	assert_int_equal(sent[0].how, TO_RELAY);
	assert_int_equal(sent[0].len, sizeof syn);
	assert_memory_equal(sent[0].packet, syn, sizeof syn);
	assert_int_equal(COUNTER(w, decided), 1);
	assert_int_equal(played.flows, 1);
	/* And again: it did not arrive. */
	give(w, 0);
	assert_int_equal(played.n_dials, 1);
	assert_int_equal(n_sent, 2);
	assert_int_equal(sent[1].how, TO_RELAY);
	/* The connection waits with all that goes with it. */
	key.fake = (struct ip_port){.addr = ip_addr_v4(pair.v4), .port = 80};
	assert_int_equal(waiting_take(w->shared->waiting, &key, &conn), 0);
	assert_int_equal(conn.index, pair.index);
	assert_int_equal(conn.idle_ms, 300000 + PROXY);
	assert_int_equal(flows_of(w, pair.index), 1);
	close(conn.fd);
	egress_flow_end(conn.state);
	fakeip_release(w->s->fakeip, conn.index);
}

static void what_a_failed_dial_means(void **state)
{
	static const struct {
		int error;
		unsigned type4, code4, type6, code6; /* 0: a reset */
	} v[] = {
		{-ECONNREFUSED, 0, 0, 0, 0},
		{-ELOOP, 0, 0, 0, 0},
		{-EACCES, 3, 13, 1, 1},
		{-ENETUNREACH, 3, 0, 1, 0},
		{-EHOSTUNREACH, 3, 1, 1, 3},
		{-ETIMEDOUT, 3, 1, 1, 3},
		{-EPROTO, 3, 1, 1, 3},
	};
	struct world *w = *state;
	struct fakeip_pair pair = of(w, "proxy");

	for (unsigned i = 0; i < sizeof v / sizeof v[0]; i++) {
		for (unsigned v6 = 0; v6 < 2; v6++) {
			unsigned at = i * 2 + v6;

			build_tcp(v6 ? pair.v6 : pair.v4, v6, TUN_TCP_SYN, 1);
			give(w, v6 ? LAN : 0);
			dial_end(-1, v[i].error);
			assert_int_equal(n_sent, at + 1);
			assert_int_equal(sent[at].ifindex, v6 ? LAN : 0);
			if (!v[i].type4)
				assert_reset(at);
			else if (v6)
				assert_icmp(at, v[i].type6, v[i].code6);
			else
				assert_icmp(at, v[i].type4, v[i].code4);
			assert_int_equal(flows_of(w, pair.index), 0);
		}
	}
	assert_int_equal(COUNTER(w, failed), 14);
	assert_int_equal(COUNTER(w, loops), 2);
	/* Nothing of it is remembered. */
	build_tcp(pair.v4, false, TUN_TCP_SYN, 1);
	played.n_dials = played.n_ended = 0;
	give(w, 0);
	assert_int_equal(played.n_dials, 1);
	dial_end(-1, -ETIMEDOUT);
}

/* More options than most SYNs have. */
static void a_long_syn(void **state)
{
	struct world *w = *state;
	struct fakeip_pair pair = of(w, "proxy");
	uint8_t *tcp = build(pair.v4, false, IPPROTO_TCP, 300);

	tcp[12] = 0x50; /* data on a SYN */
	tcp[13] = TUN_TCP_SYN;
	finish();
	give(w, 0);
	dial_end(dup(0), 0);
	assert_int_equal(sent[0].how, TO_RELAY);
	assert_int_equal(sent[0].len, 320);
	assert_memory_equal(sent[0].packet, packet, 320);
}

/* NFLOG sees packets of this machine before their checksum is made. */
static void the_checksum_of_a_syn(void **state)
{
	struct world *w = *state;
	struct fakeip_pair pair = of(w, "proxy");

	build_tcp(pair.v4, false, TUN_TCP_SYN, 1);
	packet[20 + 16] ^= 0x5a;
	give(w, LAN);
	dial_end(dup(0), 0);
	parse_sent(0); /* looks at it */
}

static void the_end_with_a_syn_in_hand(void **state)
{
	struct world *w = *state;
	struct fakeip_pair pair = of(w, "proxy");

	build_tcp(pair.v4, false, TUN_TCP_SYN, 1);
	give(w, 0);
	carry_stop(w->carry);
	assert_true(carry_idle(w->carry));
	assert_int_equal(n_sent, 0);
	assert_int_equal(flows_of(w, pair.index), 0);
	give(w, 0);
	assert_int_equal(played.n_dials, 1);
}

/* --- who decides --- */

static void a_groups_choice(void **state)
{
	struct world *w = *state;
	struct fakeip_pair pair = of(w, "any");

	/* The group is dialled: its members are tried in turn. */
	build_tcp(pair.v4, false, TUN_TCP_SYN, 1);
	give(w, 0);
	assert_int_equal(played.dials[0].egress, ANY);
	dial_end(-1, -ETIMEDOUT);
	assert_int_equal(n_sent, 1);
	played.choice = NO_QUIC;
	give(w, 0);
	assert_int_equal(played.dials[1].egress, ANY);
	/* Meanwhile its direct member is left only: the packet begins again. */
	played.choice = DIRECT;
	assert_int_equal(w->s->n_asked, 0);
	dial_end(-1, -EHOSTUNREACH);
	assert_int_equal(n_sent, 1);
	assert_int_equal(played.n_dials, 2);
	assert_int_equal(w->s->n_asked, 1);
}

static void a_rejecting_egress(void **state)
{
	struct world *w = *state;
	struct fakeip_pair pair = of(w, "nobody");

	build_tcp(pair.v4, false, TUN_TCP_SYN, 1);
	give(w, 0);
	assert_icmp(0, 3, 13);
	build_udp(pair.v6, true, 4);
	give(w, 0);
	assert_icmp(1, 1, 1);
	assert_int_equal(played.n_dials, 0);
}

/* A proxy is told host names only. */
static void a_name_that_is_no_host(void **state)
{
	struct world *w = *state;
	struct dns_name name = name_of("a-b.proxy.test");
	struct fakeip_pair pair;

	name.b[2] = ' ';
	assert_int_equal(fakeip_assign(w->s->fakeip, name.b, name.len, dns_name_hash(&name, 7), 0,
				 policy_id("proxy"), stage_clock_s(), &pair),
		0);
	build_tcp(pair.v4, false, TUN_TCP_SYN, 1);
	give(w, 0);
	assert_host_unreachable(0);
	assert_int_equal(played.n_dials, 0);
}

/* --- datagrams --- */

static void put_port(uint16_t port, bool v6)
{
	packet[(v6 ? 40 : 20) + 2] = (uint8_t)(port >> 8);
	packet[(v6 ? 40 : 20) + 3] = (uint8_t)port;
	finish();
}

static void datagrams(void **state)
{
	struct world *w = *state;
	struct fakeip_pair pair = of(w, "proxy");

	build_udp(pair.v4, false, 4);
	give(w, 0);
	assert_int_equal(played.n_udp_opened, 1);
	assert_int_equal(played.n_udp_taken, 1);
	assert_int_equal(played.udp_index, pair.index);
	assert_int_equal(played.udp_way.egress, PROXY);
	assert_int_equal(played.udp_way.idle_ms, 60000 + PROXY);
	assert_string_equal(played.udp_way.target.host, "www.proxy.test");
	assert_int_not_equal(played.udp_way.target.client.family, IP_NONE);
	give(w, 0);
	assert_int_equal(played.n_udp_opened, 1);
	assert_int_equal(played.n_udp_taken, 2);
	assert_int_equal(n_sent, 0);
	played.udp_has_flow = false;
	played.udp_error = -ENOSPC;
	give(w, 0);
	assert_icmp(0, 3, 3);
	assert_int_equal(COUNTER(w, overflow), 1);
}

static void rejected_datagrams(void **state)
{
	struct world *w = *state;
	static const struct {
		const char *rule;
		uint16_t port;
		bool taken;
	} v[] = {
		{"noudp", 80, false},
		{"web", 80, false},
		{"noquic", 443, false},
		{"noquic", 80, true},
		{"proxy", 443, true},
	};

	for (unsigned i = 0; i < sizeof v / sizeof v[0]; i++) {
		struct fakeip_pair pair = of(w, v[i].rule);

		for (int v6 = 0; v6 < 2; v6++) {
			n_sent = played.n_udp_taken = 0;
			played.udp_has_flow = false;
			build_udp(v6 ? pair.v6 : pair.v4, v6, 4);
			put_port(v[i].port, v6);
			give(w, 0);
			assert_int_equal(played.n_udp_taken, v[i].taken);
			assert_int_equal(n_sent, !v[i].taken);
			if (!v[i].taken)
				assert_icmp(0, v6 ? 1 : 3, v6 ? 4 : 3);
		}
	}
	/* A proxy that is known not to take any. */
	played.takes_no_udp = true;
	played.udp_has_flow = false;
	n_sent = 0;
	build_udp(of(w, "proxy").v4, false, 4);
	give(w, 0);
	assert_icmp(0, 3, 3);
}

/* --- what no proxy carries --- */

static void echo_requests(void **state)
{
	struct world *w = *state;
	struct fakeip_pair silent = of(w, "proxy"), pings = of(w, "pings");
	struct tun_packet p;

	build_echo(silent.v4, false);
	give(w, 0);
	assert_host_unreachable(0);
	build_echo(silent.v6, true);
	give(w, 0);
	assert_host_unreachable(1);
	for (int v6 = 0; v6 < 2; v6++) {
		build_echo(v6 ? pings.v6 : pings.v4, v6);
		give(w, LAN);
		p = parse_sent(2 + (size_t)v6);
		assert_int_equal(sent[2 + v6].packet[p.transport], v6 ? 129 : 0);
		assert_int_equal(sent[2 + v6].ifindex, LAN);
	}
}

static void other_protocols(void **state)
{
	struct world *w = *state;
	struct fakeip_pair pair = of(w, "pings");

	build(pair.v4, false, 47, 20); /* GRE */
	give(w, 0);
	assert_icmp(0, 3, 2);
	build(pair.v6, true, 132, 20); /* SCTP */
	give(w, 0);
	assert_icmp(1, 4, 1);
	/* An echo reply that nobody asked for. */
	build_echo(pair.v4, false);
	packet[20] = 0;
	finish();
	give(w, 0);
	assert_icmp(2, 3, 2);
}

static void fragments(void **state)
{
	struct world *w = *state;
	struct fakeip_pair pair = of(w, "proxy");

	/* The first tells its sender; the others may not be answered (RFC 1122 3.2.2). */
	for (unsigned protocol = 0; protocol < 2; protocol++) {
		n_sent = 0;
		if (protocol)
			build_tcp(pair.v4, false, TUN_TCP_SYN, 1);
		else
			build_udp(pair.v4, false, 32);
		packet[6] = 0x20;
		checksum4(packet);
		give(w, 0);
		assert_int_equal(n_sent, 1);
		assert_host_unreachable(0);
		packet[6] = 0;
		packet[7] = 4;
		checksum4(packet);
		give(w, 0);
		assert_int_equal(n_sent, 1);
	}
	assert_int_equal(played.n_dials, 0);
	assert_int_equal(played.n_udp_opened, 0);
}

/* The kernel may have begun to track it, without NAT. */
static void a_stray_segment(void **state)
{
	struct world *w = *state;
	struct fakeip_pair pair = of(w, "proxy");

	build_tcp(pair.v4, false, TUN_TCP_ACK, 1);
	give(w, 0);
	assert_reset(0);
	assert_int_equal(played.forgotten, 1);
	assert_int_equal(played.n_dials, 0);
}

/* --- the listeners --- */

static struct ip_port own_name;
int __real_getsockname(int fd, struct sockaddr *sa, socklen_t *len);
int __wrap_getsockname(int fd, struct sockaddr *sa, socklen_t *len);

/* A transparent socket's own name is where the client wanted to go. */
int __wrap_getsockname(int fd, struct sockaddr *sa, socklen_t *len)
{
	struct sockaddr_storage name;

	if (own_name.addr.family == IP_NONE)
		return __real_getsockname(fd, sa, len);
	*len = ip_port_to_sockaddr(&own_name, &name);
	memcpy(sa, &name, *len);
	return 0;
}

/* Our end of a connection; *ret_client is the other, *ret_from its name. */
static int accepted(int *ret_client, struct ip_port *ret_from)
{
	struct sockaddr_in sa = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	int listener = socket(AF_INET, SOCK_STREAM, 0), fd;
	struct sockaddr_storage from;
	socklen_t len = sizeof sa;

	assert_int_equal(bind(listener, (struct sockaddr *)&sa, sizeof sa), 0);
	assert_int_equal(listen(listener, 1), 0);
	assert_int_equal(__real_getsockname(listener, (struct sockaddr *)&sa, &len), 0);
	*ret_client = socket(AF_INET, SOCK_STREAM, 0);
	assert_int_equal(connect(*ret_client, (struct sockaddr *)&sa, sizeof sa), 0);
	len = sizeof from;
	fd = accept(listener, (struct sockaddr *)&from, &len);
	assert_true(fd >= 0);
	ip_port_from_sockaddr((struct sockaddr *)&from, ret_from);
	close(listener);
	return fd;
}

static void assert_was_reset(int client)
{
	char byte;

	assert_int_equal(recv(client, &byte, 1, 0), -1);
	assert_int_equal(errno, ECONNRESET);
	close(client);
}

static void connections_find_what_waits(void **state)
{
	struct world *w = *state;
	struct fakeip_pair pair = of(w, "proxy");
	struct waiting_conn conn = {.index = pair.index, .idle_ms = 77};
	struct waiting_key key;
	int client, fd, listener = dup(0);

	assert_int_equal(carry_listen(w->carry, listener), 0);
	own_name = key.fake = (struct ip_port){.addr = ip_addr_v4(pair.v4), .port = 80};
	/* Nothing waits for this one. */
	fd = accepted(&client, &key.client);
	played.accepted(played.accepting, fd, NULL, false);
	assert_was_reset(client);
	for (int full = 0; full < 2; full++) {
		fd = accepted(&client, &key.client);
		conn.fd = dup(0);
		conn.state = egress_flow_begin(NULL, PROXY);
		fakeip_hold(w->s->fakeip, pair.index);
		assert_int_equal(waiting_claim(w->shared->waiting, &key, 1000000), 0);
		waiting_ready(w->shared->waiting, &key, &conn, 1000000);
		played.relay_error = full ? -ENOSPC : 0;
		played.accepted(played.accepting, fd, NULL, false);
		assert_int_equal(played.n_relayed, 1);
		assert_int_equal(played.relayed.idle_ms, 77);
		assert_int_equal(played.relayed.number, pair.index);
		assert_int_equal(played.relayed.first_len, 0);
		if (!full)
			played.relay_config.ended(played.relay_config.arg, played.relayed.owner,
				played.relayed.number);
		assert_int_equal(flows_of(w, pair.index), 0);
		assert_int_equal(played.flows, 0);
		close(client);
	}
	assert_int_equal(COUNTER(w, overflow), 1);
	own_name = (struct ip_port){0};
}

static void connections_to_real_addresses(void **state)
{
	struct world *w = *state;
	struct ip_port from;
	int client, fd = accepted(&client, &from);

	assert_int_equal(carry_listen(w->carry, dup(0)), 0);
	own_name = (struct ip_port){.addr = ip_addr_v4("\300\0\2\11"), .port = 443};
	played.accepted(played.accepting, fd, NULL, false);
	own_name = (struct ip_port){0};
	assert_int_equal(played.n_real, 1);
	assert_int_equal(played.real_fd, fd);
	assert_int_equal(played.real_to.port, 443);
	assert_int_equal(played.real_to.addr.b[3], 9);
	assert_int_equal(played.real_client.port, from.port);
	close(fd);
	close(client);
	/* An error that passes: again after a while. */
	played.accepting->state = 0;
	played.accepted(played.accepting, -EMFILE, NULL, true);
	played.accept_error = -ENOMEM;
	stage_pass(w->s, 100);
	assert_int_equal(played.accepting->state, 0);
	played.accept_error = 0;
	stage_pass(w->s, 100);
	assert_int_equal(played.accepting->state, 1);
	carry_stop(w->carry);
	fd = accepted(&client, &from);
	played.accepted(played.accepting, fd, NULL, true);
	assert_was_reset(client);
}

static void datagrams_to_real_addresses(void **state)
{
	struct world *w = *state;
	struct fakeip_pair pair = of(w, "proxy");
	union {
		char bytes[CMSG_SPACE(sizeof(struct sockaddr_in))];
		struct cmsghdr align;
	} control = {0};
	struct cmsghdr *c = &control.align;
	struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons(9)};
	struct sockaddr_storage from = {0};
	struct ip_port client = stage_origin("10.1.1.1", false).client;
	struct loop_datagram d = {.from = &from, .payload = (uint8_t *)"hello", .len = 5};

	assert_int_equal(carry_receive(w->carry, dup(0)), 0);
	ip_port_to_sockaddr(&client, &from);
	/* Nobody says where it was going. */
	played.received(played.receiving, 5, (uint8_t *)&d, false);
	assert_int_equal(played.n_real_datagrams, 0);
	c->cmsg_len = CMSG_LEN(sizeof to);
	c->cmsg_level = IPPROTO_IP;
	c->cmsg_type = IP_ORIGDSTADDR;
	d.control = (uint8_t *)control.bytes;
	d.control_len = sizeof control.bytes;
	to.sin_addr.s_addr = htonl(0xc0000209);
	memcpy(CMSG_DATA(c), &to, sizeof to);
	played.received(played.receiving, 5, (uint8_t *)&d, false);
	assert_int_equal(played.n_real_datagrams, 1);
	assert_int_equal(played.real_to.port, 9);
	assert_int_equal(played.real_client.port, 4001);
	played.udp_has_flow = true;
	played.received(played.receiving, 5, (uint8_t *)&d, false);
	assert_int_equal(played.n_real_datagrams, 1);
	assert_int_equal(played.n_udp_real, 1);
	d.truncated = true;
	played.received(played.receiving, 5, (uint8_t *)&d, false);
	assert_int_equal(played.n_udp_real, 1);
	assert_int_equal(COUNTER(w, overflow), 1);
	/* To a fake address nothing comes this way. */
	d.truncated = false;
	memcpy(&to.sin_addr, pair.v4, 4);
	memcpy(CMSG_DATA(c), &to, sizeof to);
	played.received(played.receiving, 5, (uint8_t *)&d, false);
	assert_int_equal(played.n_udp_real, 1);
	assert_int_equal(COUNTER(w, unmapped), 1);
}

/* --- what the dialer asks for --- */

struct asker {
	struct egress_lookup lookup;
	unsigned ends;
	int error;
};

static void looked_up(
	struct egress_lookup *l, const struct ip_addr *v, size_t n, uint32_t ttl_s, int error)
{
	struct asker *a = (struct asker *)l;

	(void)v;
	(void)n;
	(void)ttl_s;
	a->ends++;
	a->error = error;
}

static void look_up(const struct egress_set *s, int bootstrap, struct asker *ret)
{
	*ret = (struct asker){.lookup.done = looked_up};
	played.dialer.resolve(played.dialer.arg, s, bootstrap, "proxy.test", &ret->lookup);
}

static void names_of_proxies(void **state)
{
	struct world *w = *state;
	const struct egress_set *now = w->s->gen->egresses;
	struct asker a;

	look_up(now, -1, &a);
	assert_int_equal(a.ends, 1);
	assert_int_equal(a.error, -EHOSTUNREACH);
	look_up(now, 1, &a);
	assert_int_equal(w->s->n_asked, 2);
	assert_int_equal(question(w)->group, 1);
	played.dialer.resolve_cancel(played.dialer.arg, &a.lookup);
	assert_null(question(w));
	assert_int_equal(a.ends, 0);
}

/* What a dial that began before a reload asks for: its group's number may be nobody's now. */
static void a_name_of_a_configuration_that_is_over(void **state)
{
	struct world *w = *state;
	struct asker a;

	look_up((const struct egress_set *)w, 99, &a);
	assert_int_equal(a.ends, 1);
	assert_int_equal(a.error, -EHOSTUNREACH);
	assert_int_equal(w->s->n_asked, 0);
}

static void a_generation_that_comes_after_the_stop(void **state)
{
	struct world *w = *state;

	assert_int_equal(played.n_checked, 1);
	carry_stop(w->carry);
	carry_use(w->carry, w->s->gen); /* the dialer may be gone */
	assert_int_equal(played.n_checked, 1);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, open_world, close_world)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(a_syn_waits_for_the_egress),
		TEST(what_a_failed_dial_means),
		TEST(a_long_syn),
		TEST(the_checksum_of_a_syn),
		TEST(the_end_with_a_syn_in_hand),
		TEST(a_groups_choice),
		TEST(a_rejecting_egress),
		TEST(a_name_that_is_no_host),
		TEST(datagrams),
		TEST(rejected_datagrams),
		TEST(echo_requests),
		TEST(other_protocols),
		TEST(fragments),
		TEST(a_stray_segment),
		TEST(connections_find_what_waits),
		TEST(connections_to_real_addresses),
		TEST(datagrams_to_real_addresses),
		TEST(names_of_proxies),
		TEST(a_name_of_a_configuration_that_is_over),
		TEST(a_generation_that_comes_after_the_stop),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
