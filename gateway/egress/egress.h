/* Ways out: where connections of the relay and datagrams leave. Knows no DNS and no fake address: a
 * target is a host name, which a proxy resolves, or a real address; who resolves the name of a
 * proxy is a callback's business.
 *
 * An egress_set is what one configuration says of its egresses, immutable, shared by the workers.
 * What lives longer than a configuration (health, flows, a proxy's resolved address) is an
 * egress_state, one for each name, which sets hand on to their successors. Each worker has a
 * dialer.
 *
 * Never ourselves: no address that `forbidden` refuses is dialled (pools, own addresses with our
 * ports), and of one client's dials to one destination through a proxy only so many may be on
 * their way without any of them getting through: a loop that slips through is stopped there
 * (-ELOOP, for two seconds; guard.h says why). */
#ifndef TUNGATE_EGRESS_EGRESS_H
#define TUNGATE_EGRESS_EGRESS_H

#include "conf/config.h"
#include "gateway/base/addr.h"
#include "gateway/loop/loop.h"

#define EGRESS_HOST_MAX 255
/* As `egress`: none of the configuration, this host's own routes, with the defaults of a direct
 * egress. What a dial then tells as the one who connected is as good as this. */
#define EGRESS_DIRECT UINT32_MAX

struct egress_set;
struct egress_state;
struct egress_dialer;

/* own_mark goes on every packet, or-ed with the egress's mark. previous (NULL: none) hands on the
 * states of egresses that have the same name, type and server. Copies what it needs. */
int egress_set_new(const struct config *config, uint32_t own_mark, struct egress_set *previous,
	struct egress_set **ret);
struct egress_set *egress_set_ref(struct egress_set *s);
void egress_set_unref(struct egress_set *s); /* NULL is fine; any thread */

struct egress_info {
	const char *name;
	enum conf_egress_type type;
	bool up;
	uint32_t flows;
	uint32_t rtt_us;    /* of the last connect to the proxy; 0: not known */
	uint64_t failures;  /* dials that failed because of the egress, not of the target */
	uint64_t dropped;   /* datagrams from a relay: nonsense, fragments, too large for us */
	const char *member; /* group: who would be taken now */
};
size_t egress_list(const struct egress_set *s, struct egress_info *ret, size_t max);

/* Which member a group would take for a new connection; the egress itself if it is no group. */
unsigned egress_choose(const struct egress_set *s, unsigned egress);
/* Properties of an egress that is no group. */
enum conf_egress_type egress_type(const struct egress_set *s, unsigned egress);
const struct conf_egress *egress_conf(const struct egress_set *s, unsigned egress); /* no secrets */
/* Whether no member is a direct one, which needs an address. */
bool egress_goes_by_name(const struct egress_set *s, unsigned egress);
/* False: it refused UDP ASSOCIATE within the last 60 s, or its configuration rejects UDP; of a
 * group: it does, or each member. */
bool egress_takes_udp(const struct egress_set *s, unsigned egress);

/* Whether egress i of a carries as j of b does, one of them before a reload: the same name, type,
 * server, mark and credentials; of groups, the same members in this order. */
bool egress_same(const struct egress_set *a, unsigned i, const struct egress_set *b, unsigned j);

/* A flow counts from begin to end; the state outlives the set. Any thread. */
struct egress_state *egress_flow_begin(struct egress_set *s, unsigned egress);
void egress_flow_end(struct egress_state *st);

/* --- dialling; a dialer is its worker's --- */

/* A question for the address of a proxy, embedded in the dial. */
struct egress_lookup {
	void (*done)(struct egress_lookup *l, const struct ip_addr *v, size_t n, uint32_t ttl_s,
		int error);
	void *priv; /* the answerer's own */
};

struct egress_dialer_config {
	struct loop *loop;
	/* Resolves a proxy's name by group `bootstrap` (-1: none is configured) of the
	 * configuration that s is of, which may be over by now; both families; done() once, perhaps
	 * at once. */
	void (*resolve)(void *arg, const struct egress_set *s, int bootstrap, const char *host,
		struct egress_lookup *l);
	/* l is not wanted any more: done() will not come. */
	void (*resolve_cancel)(void *arg, struct egress_lookup *l);
	/* True: this is ourselves. */
	bool (*forbidden)(void *arg, const struct ip_port *to);
	void *arg;
};
int egress_dialer_new(const struct egress_dialer_config *config, struct egress_dialer **ret);
/* Ends all dials with -ECANCELED, closes all associations (without a word: they are gone when this
 * returns), frees once the last operation has ended,
 * then calls done(arg): before this returns if nothing was in flight. */
void egress_dialer_stop(struct egress_dialer *d, void (*done)(void *arg), void *arg);

/* Health checks of groups' members and of proxies that failed: one worker's dialer does them. */
void egress_dialer_check(struct egress_dialer *d, struct egress_set *s);

struct egress_target {
	struct ip_port at;		/* family IP_NONE: by name; its port counts in both cases */
	char host[EGRESS_HOST_MAX + 1]; /* "": by address. A direct egress needs the address */
	/* For whom, so that loops are seen: IP_NONE (us) is never refused. */
	struct ip_addr client;
	bool client_is_host; /* client is an address of this host */
	bool accepted;	     /* client's connection stands already: a loop's would connect, too */
};

/* A dial: connect, and for a proxy its handshake, until the far end is connected. Embedded in who
 * asks; stays where it is until done or cancelled.
 *
 * done: fd is the connected socket (TCP_NODELAY, nothing in flight on it, bytes that the far end
 * has already sent are still to be read from it) and the caller's; egress: who it was (a group's
 * member). Or fd -1 and error: -ECONNREFUSED the target, or the proxy itself, refused;
 * -EHOSTUNREACH, -ENETUNREACH, -ETIMEDOUT; -EACCES the proxy does not allow it, or not us;
 * -EPROTO the proxy answered nonsense; -ELOOP; -EMFILE, -ENOMEM; -ECANCELED. */
struct egress_dial;
typedef void egress_done(struct egress_dial *dial, int fd, unsigned egress, int error);
struct egress_dial {
	egress_done *done;
	void *priv; /* egress's own from here on; NULL: nothing is going on */
	struct egress_dial *next;
	unsigned egress;
	int verdict;
};
/* done() is not called before this returns. The set is held while it lasts. Deadline: the egress's
 * connect_timeout. */
void egress_connect(struct egress_dialer *d, struct egress_set *s, unsigned egress,
	const struct egress_target *target, struct egress_dial *dial, egress_done *done);
void egress_cancel(struct egress_dial *dial); /* no callback; fine when nothing is going on */

/* --- datagrams --- */

/* One association: a SOCKS5 UDP ASSOCIATE with its control connection, or, for a direct egress, a
 * socket of each family as needed. Sends at once when it stands; before that keeps a few datagrams.
 * Endpoint-independent: answers of anybody come in. */
struct egress_udp;
struct egress_udp_config {
	/* from.family IP_NONE: the proxy told a name; port as told. payload valid until it returns.
	 */
	void (*received)(void *arg, const struct ip_port *from, const uint8_t *payload, size_t len);
	/* It is over (as errors above; -EOPNOTSUPP: the proxy takes no UDP). Called once, not from
	 * within a call of ours, not after egress_udp_close(). Close it then. */
	void (*closed)(void *arg, int error);
	void *arg;
};
int egress_udp_open(struct egress_dialer *d, struct egress_set *s, unsigned egress,
	const struct egress_udp_config *config, struct egress_udp **ret);
/* 0; -EAGAIN: dropped, as a full socket would; -EMSGSIZE; -ELOOP. */
int egress_udp_send(struct egress_udp *u, const struct egress_target *target,
	const uint8_t *payload, size_t len);
void egress_udp_close(struct egress_udp *u); /* frees when its operations have ended */

#endif
