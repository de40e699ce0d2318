/* What only the files of gateway/egress see. */
#ifndef TUNGATE_EGRESS_INTERNAL_H
#define TUNGATE_EGRESS_INTERNAL_H

#include <pthread.h>
#include <stdatomic.h>

#include "gateway/base/arena.h"
#include "gateway/base/container.h"
#include "gateway/egress/egress.h"
#include "gateway/egress/guard.h"
#include "gateway/egress/http_connect.h"
#include "gateway/egress/socks5.h"

#define EGRESS_ADDRESSES_MAX	8  /* of a named proxy */
#define EGRESS_LEAVES_MAX	64 /* of a group, those of its groups included */
#define EGRESS_DEPTH_MAX	8  /* groups in groups */
#define EGRESS_DIALS_MAX	16384
#define EGRESS_DIALS_KEPT	1024 /* free ones that are not given back to the heap */
#define EGRESS_ADDRESSES_MIN_S	60
#define EGRESS_LOOKUP_AGAIN_MS	5000
#define EGRESS_UDP_REFUSED_MS	60000
#define EGRESS_CHECK_DOWN_MS	2000 /* doubles up to the next */
#define EGRESS_CHECK_SLOW_MS	30000
#define EGRESS_DATAGRAM_BYTES	65536 /* of a relay, its header included: any that there is */
#define EGRESS_DATAGRAM_BUFFERS 256   /* touched as they are needed */
#define EGRESS_QUEUE_MAX	8
#define EGRESS_QUEUE_BYTES	16384
#define EGRESS_NEVER_MS		INT64_MAX

/* --- state.c: what outlives a configuration; any thread --- */

struct egress_state {
	atomic_uint refs;
	enum conf_egress_type type;
	char *name, *server; /* server "": none */
	atomic_bool up;
	atomic_bool here; /* the proxy listens on this host; known after the first connect */
	_Atomic uint32_t flows, rtt_us;
	_Atomic uint64_t failures, dropped;
	_Atomic int64_t udp_refused_until_ms;
	struct guard guard;
	/* A named proxy's addresses, the one that went well last first; n 0: not known. */
	pthread_mutex_t lock;
	struct ip_addr addresses[EGRESS_ADDRESSES_MAX];
	size_t n;
	int64_t valid_until_ms;
};

int state_new(const struct conf_egress *conf, struct egress_state **ret);
struct egress_state *state_ref(struct egress_state *st);
void state_unref(struct egress_state *st);
bool state_is_of(const struct egress_state *st, const struct conf_egress *conf);
void state_worked(struct egress_state *st, uint32_t rtt_us); /* 0: not measured */
void state_failed(struct egress_state *st, bool count);

/* Copies the addresses to ret[EGRESS_ADDRESSES_MAX]; *ret_fresh false: ask again. */
size_t state_addresses_get(
	struct egress_state *st, int64_t now_ms, struct ip_addr *ret, bool *ret_fresh);
/* n 0: the look-up failed; what was known before stays in use for a while. */
void state_addresses_set(
	struct egress_state *st, const struct ip_addr *v, size_t n, uint32_t ttl_s, int64_t now_ms);
void state_address_worked(struct egress_state *st, const struct ip_addr *a);

/* --- set.c --- */

struct egress {
	struct conf_egress conf; /* without secrets; strings are the set's */
	const char *user, *password, *credentials;
	uint32_t mark;
	struct egress_state *state;
	atomic_uint chosen;	    /* group, fastest: the leaf taken last */
	unsigned *leaves, n_leaves; /* group: its members that are no groups; else itself */
};

struct egress_set {
	atomic_uint refs;
	size_t n;
	struct arena *arena;
	struct egress v[]; /* behind those of the configuration the one for EGRESS_DIRECT */
};

static inline unsigned set_at(const struct egress_set *s, unsigned egress)
{
	return egress == EGRESS_DIRECT ? (unsigned)s->n : egress;
}

bool set_leaf_is_up(const struct egress_set *s, unsigned leaf);

/* --- dialer.c --- */

struct dial;

struct egress_dialer {
	struct egress_dialer_config config;
	struct loop *loop;
	struct loop_buffers *one_byte;	/* see dial.c */
	struct loop_buffers *datagrams; /* made for the first association */
	struct dial *dials, *free;
	unsigned dials_now, dials_max, dials_kept;
	struct egress_dial *refused, *refused_last; /* failed at once; told by `soon` */
	struct loop_timer soon;			    /* always set, so that setting it cannot fail */
	struct egress_udp *associations;
	unsigned associations_now;
	struct checker *checker;
	unsigned holds; /* dials and associations that are not freed yet */
	bool stopping;
	void (*stopped)(void *arg);
	void *stopped_arg;
};

void dialer_soon(struct egress_dialer *d); /* `soon` fires in the next turn */
void dialer_hold(struct egress_dialer *d);
void dialer_release(struct egress_dialer *d);

/* --- dial.c --- */

enum dial_purpose {
	DIAL_STREAM,
	DIAL_ASSOCIATE, /* fd: the control connection, or -1 with error 0: leaf is a direct egress
			 */
	DIAL_CHECK,	/* as far as the proxy alone goes */
};

/* Ends with dial->done like egress_connect(). *ret_bound, if not NULL, is written before that: the
 * relay's address, family IP_NONE for a direct egress. *ret_proxy: where the proxy was reached. */
struct dial_order {
	enum dial_purpose purpose;
	struct socks5_address *ret_bound;
	struct ip_port *ret_proxy;
};
void dial_start(struct egress_dialer *d, struct egress_set *s, unsigned egress,
	const struct egress_target *target, const struct dial_order *order,
	struct egress_dial *owner, egress_done *done);
void dials_end(struct egress_dialer *d);  /* all, with -ECANCELED */
void dials_tell(struct egress_dialer *d); /* those refused at once */
void dials_free(struct egress_dialer *d);
int dial_socket(const struct egress *e, int family, int type); /* blocking; with its mark */
void egress_target_copy(struct egress_target *to, const struct egress_target *from);

/* --- guard.c --- */

/* guard_enter() for a proxy and a client that is told: the slot, and whose guard it is (a
 * reference); -1: nothing is guarded; -ELOOP. */
int guard_begin(struct egress_set *s, unsigned leaf, const struct egress_target *t,
	struct egress_state **ret_guarded);
void guard_proxy_connected(struct egress_state *st, int fd, const struct sockaddr_storage *to);

/* --- udp.c --- */

void associations_end(struct egress_dialer *d);

/* --- health.c --- */

void checker_stop(struct egress_dialer *d);

#endif
