/* Connections to real addresses that were brought to the relay: accepted already, they have nothing
 * to lose by a look at their first bytes.
 *
 *   name known or nothing to sniff ---------> dial -> relay
 *   else: wait for bytes, 300 ms at most --->
 *
 * Who waits for the server to speak first is carried after that time by what is known. */
#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "gateway/base/container.h"
#include "gateway/base/count.h"
#include "gateway/carry/real_internal.h"
#include "gateway/carry/sniff.h"

#define CONNS_MAX  16384
#define HEADS_MAX  1024
#define HEAD_BYTES 4096

struct real_conn {
	struct real *real;
	struct real_conn *next, **link;
	int fd; /* the client's */
	struct ip_port client, to;
	struct real_name name;
	/* While it is sniffed. */
	struct loop_op op;
	struct loop_timer timer;
	bool late, ended; /* no more time; no more bytes */
	uint8_t *head;	  /* HEAD_BYTES; kept until the relay has them, NULL: none */
	size_t head_len;
	/* While it is dialled. */
	struct egress_dial dial;
	struct generation *gen; /* a reference, else NULL */
};

static struct real_conn *conn_take(struct real *r)
{
	struct real_conn *k = slab_take(&r->conns);

	if (!k)
		return NULL;
	*k = (struct real_conn){.real = r, .next = r->first, .link = &r->first};
	if (k->next)
		k->next->link = &k->next;
	r->first = k;
	r->n_conns++;
	return k;
}

/* Its descriptor has found its end. */
static void conn_give(struct real_conn *k)
{
	struct real *r = k->real;

	*k->link = k->next;
	if (k->next)
		k->next->link = k->link;
	if (k->head)
		slab_give(&r->heads, k->head);
	generation_unref(k->gen);
	r->n_conns--;
	slab_give(&r->conns, k);
}

static void conn_refuse(struct real_conn *k)
{
	accept_refuse(k->fd);
	conn_give(k);
}

/* --- dial --- */

static void dialled(struct egress_dial *dial, int fd, unsigned egress, int error)
{
	struct real_conn *k = container_of(dial, struct real_conn, dial);
	struct carry *c = k->real->carry;
	struct relay_flow_config flow = {.client_fd = k->fd,
		.egress_fd = fd,
		.first = k->head,
		.first_len = k->head_len,
		.number = UINT32_MAX};

	if (fd < 0) {
		answer_note_failure(c, error, "a relayed connection");
		conn_refuse(k);
		return;
	}
	flow.idle_ms = egress_conf(k->gen->egresses, egress)->idle_ms;
	flow.owner = egress_flow_begin(k->gen->egresses, egress);
	count_add(&c->counters.decided, 1);
	if (relay_start(c->relay, &flow)) {
		count_add(&c->counters.overflow, 1);
		egress_flow_end(flow.owner);
	}
	conn_give(k);
}

static void decide(struct real_conn *k)
{
	struct carry *c = k->real->carry;
	struct egress_target target = {.at = k->to,
		.client = k->client.addr,
		.accepted = true,
		.client_is_host = hosts_contain(c->c.hosts, &k->client.addr)};
	struct real_way way;

	if (!real_way_find(c, &k->client.addr, &k->to.addr, &k->name, &way)) {
		count_add(&c->counters.refused, 1);
		conn_refuse(k);
		return;
	}
	if (way.host[0]) {
		target.at.addr = (struct ip_addr){0};
		memcpy(target.host, way.host, sizeof target.host);
	}
	k->gen = generation_ref(c->gen);
	egress_connect(c->dialer, c->gen->egresses, way.egress, &target, &k->dial, dialled);
}

/* --- sniff --- */

static void read_head(struct real_conn *k)
{
	ssize_t n = 1;

	while (k->head_len < HEAD_BYTES && n > 0) {
		n = recv(k->fd, k->head + k->head_len, HEAD_BYTES - k->head_len, MSG_DONTWAIT);
		if (n > 0)
			k->head_len += (size_t)n;
		else if (n == 0 || errno != EAGAIN)
			k->ended = true; /* the relay will meet it again */
	}
}

static void bytes_came(struct loop_op *op, int32_t res, uint8_t *data, bool last);

static void look(struct real_conn *k)
{
	struct carry *c = k->real->carry;
	unsigned bits = c->c.sniff;
	char text[SNIFF_NAME_SIZE];
	enum sniff_result r;

	read_head(k);
	r = sniff_stream(bits & CONF_SNIFF_TLS, bits & CONF_SNIFF_HTTP, k->head, k->head_len, text);
	if (r == SNIFF_NAME)
		real_name_sniffed(&k->name, text);
	if (r == SNIFF_MORE && !k->late && !k->ended && k->head_len < HEAD_BYTES &&
		loop_poll_once(c->c.loop, &k->op, k->fd, POLLIN | POLLRDHUP, bytes_came) == 0)
		return;
	loop_timer_cancel(c->c.loop, &k->timer);
	decide(k);
}

static void bytes_came(struct loop_op *op, int32_t res, uint8_t *data, bool last)
{
	struct real_conn *k = container_of(op, struct real_conn, op);

	(void)data;
	(void)last; /* it always is */
	if (k->real->stopping) {
		conn_refuse(k);
		return;
	}
	if (res < 0)
		k->late = true;
	look(k);
}

static void time_is_up(struct loop_timer *t)
{
	struct real_conn *k = container_of(t, struct real_conn, timer);

	k->late = true;
	loop_op_cancel(&k->op);
}

/* Whether it can be; else it is decided by what is known. */
static bool sniff(struct real_conn *k)
{
	struct carry *c = k->real->carry;

	if (k->name.sure || !(c->c.sniff & (CONF_SNIFF_TLS | CONF_SNIFF_HTTP)))
		return false;
	k->timer.fire = time_is_up;
	if (loop_timer_set(c->c.loop, &k->timer, loop_now_ms(c->c.loop) + REAL_SNIFF_MS))
		return false;
	k->head = slab_take(&k->real->heads);
	if (!k->head) {
		loop_timer_cancel(c->c.loop, &k->timer);
		return false;
	}
	look(k);
	return true;
}

void real_accepted(struct real *r, int fd, const struct ip_port *client, const struct ip_port *to)
{
	struct carry *c = r->carry;
	struct real_conn *k = NULL;

	if (!r->stopping && carry_is_far(c, &to->addr)) {
		k = conn_take(r);
		count_add(&c->counters.overflow, k ? 0 : 1);
	}
	if (!k) {
		count_add(&c->counters.refused, 1);
		accept_refuse(fd);
		return;
	}
	k->fd = fd;
	k->client = *client;
	k->to = *to;
	real_name_find(c, &client->addr, &to->addr, &k->name);
	if (!sniff(k))
		decide(k);
}

/* --- start and stop --- */

int real_new(struct carry *c, struct real **ret)
{
	struct real *r = calloc(1, sizeof *r);

	if (!r)
		return -ENOMEM;
	r->carry = c;
	slab_init(&r->conns, sizeof(struct real_conn), CONNS_MAX);
	slab_init(&r->heads, HEAD_BYTES, HEADS_MAX);
	real_udp_init(r);
	*ret = r;
	return 0;
}

void real_stop(struct real *r)
{
	struct real_conn *next;

	r->stopping = true;
	real_udp_stop(r);
	for (struct real_conn *k = r->first; k; k = next) {
		next = k->next;
		loop_timer_cancel(r->carry->c.loop, &k->timer);
		if (loop_op_busy(&k->op)) {
			loop_op_cancel(&k->op); /* it ends there */
			continue;
		}
		egress_cancel(&k->dial);
		conn_refuse(k);
	}
}

bool real_idle(const struct real *r)
{
	return r->n_conns == 0;
}

void real_free(struct real *r)
{
	if (!r)
		return;
	real_udp_fini(r);
	slab_fini(&r->conns);
	slab_fini(&r->heads);
	free(r);
}
