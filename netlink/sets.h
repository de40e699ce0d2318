/* The users' sets: nft sets and maps in their own tables, and ipsets. What a set is (type, flags,
 * size) is read from the kernel once and again when it changes; what we put in is remembered with
 * its time (shadow.h). Each change of a set's state is told in one clear line. Nothing here makes
 * or deletes a set.
 *
 * A kernel set is one that the kernel has; a handle (struct nl_set) is what a rule writes into it,
 * with its template. A lane looks at a set through its own socket and keeps its own view of it, so
 * that none waits for another; the lane that a set belongs to changes with its kind, and an element
 * that was on its way to the other is put in there all the same. */
#ifndef TUNGATE_NETLINK_SETS_H
#define TUNGATE_NETLINK_SETS_H

#include "netlink/commit.h"
#include "netlink/ipset.h"
#include "netlink/set_form.h"
#include "netlink/shadow.h"
#include "netlink/writer.h"

#define SETS_NFT_LANES 2

struct lane;
struct lane_element;
struct kernel_set;

struct set_view {		     /* one lane's own */
	struct commit_target target; /* must be first: look() finds the view by it */
	struct kernel_set *set;
	struct lane *lane;
	bool known; /* it was read, and is a set that elements go into */
	int64_t looked_ms;
	uint32_t looked_generation; /* of all nft tables; 0: not known */
};

struct kernel_set {
	struct sets *owner;
	bool is_ipset;
	uint8_t nfproto;
	char *table, *name;		/* of an ipset the table is its template, if any */
	struct nl_set *_Atomic handles; /* a list that grows at its head */
	_Atomic uint8_t lane;		/* whose it is: enum lane_kind */
	_Atomic bool look_due, fill_due;
	struct shadow shadow;
	struct set_view views[SETS_NFT_LANES];
	/* Of an ipset. */
	struct ipset_kind kind; /* behind the lock of ipsets */
	_Atomic bool known;
	_Atomic int64_t looked_ms;
	size_t fill_cursor, sample_cursor;
	uint32_t fill_mark; /* when the walk through the lost ones began */
};

/* A form that was in force once may still be read. */
struct kept_form {
	struct set_form form;
	struct kept_form *older;
};

struct nl_set {
	struct kernel_set *set;
	struct nl_set *next;  /* of the same kernel set */
	struct conf_set conf; /* its strings are this one's */
	char text[CONF_SET_TEXT_MAX];
	struct kept_form *forms;	      /* all that there were; behind the lock */
	const struct kept_form *last;	      /* that was in force; behind the lock */
	const struct kept_form *_Atomic form; /* NULL: the set is not there, or none of ours */
	_Atomic unsigned users;		      /* 0: its kernel set may have other ones */
	_Atomic int state;		      /* 0, or the errno that its elements get */
	_Atomic uint64_t errors;
	_Atomic int64_t refused_ms; /* when an element of its own was; see is_held_off() */
	/* Behind the lock. */
	int64_t told_ms;
	bool refuses; /* single elements, its kind is right */
	char why[128];
};

struct sets {
	struct writer *w;
	void (*changed)(void *arg, const char *text);
	void *arg;
	pthread_mutex_t lock; /* states, forms, and whoever makes handles */
	struct kernel_set *_Atomic v[WRITER_SETS_MAX]; /* a lane looks at it anew in each turn */
	_Atomic size_t n;
	uint64_t seed;		 /* of shadows */
	size_t around;		 /* the first lane's, see sets_look_around() */
	struct kernel_set *last; /* that an event was of; the main thread's */
	pthread_mutex_t ipset_lock;
	struct ipset_writer *ipset; /* opened at the first use */
};

int sets_init(struct sets *s, struct writer *w); /* -errno of the kernel's randomness */
void sets_fini(struct sets *s);

/* --- handles: sets.c --- */
/* In the first lane's thread. -ENOSPC, -ENOMEM. */
int sets_get(struct sets *s, const struct conf_set *conf, struct nl_set **ret);
void sets_ref(struct nl_set *set);
void sets_unref(struct nl_set *set);
bool set_is_used(const struct kernel_set *set);
/* See writer.h. The thread that waits while handles are made. */
size_t sets_list(struct sets *s, struct writer_set_info *ret, size_t max);
void sets_event(struct sets *s, const struct monitor_set_event *event);
void sets_lost(struct sets *s);
bool sets_hold(const struct nl_set *set, const struct writer_element *e,
	const struct ip_addr *client, int64_t now_ms);
/* There is something to do for whose it is. */
void sets_tell_lane(struct kernel_set *set);
void sets_look_soon(struct kernel_set *set); /* its lane shall */
void sets_fill_soon(struct kernel_set *set);
/* The outcome of an element, or of a look at its set, becomes its state. Any lane. */
void sets_note(struct nl_set *set, int error);

/* --- reading: set_look.c --- */
void set_look_init(struct kernel_set *set, struct writer *w);
/* The form of any of its handles; NULL: none is in force. */
const struct set_form *set_any_form(const struct kernel_set *set);
/* Reads what the set is, through the lane's socket, makes the forms of its handles and says whose
 * it is: 0, or what is wrong with it. */
int set_look(struct kernel_set *set, struct lane *lane);
/* The same for what cannot take an element, if it is time: at most once a second, or when anything
 * of nft has changed. */
void set_look_if_due(struct kernel_set *set, struct lane *lane);

/* --- filling: set_fill.c --- */
/* Puts an element into the lane's commit, or into the ipset at once. 0 and *ret_item (-1: nothing
 * to wait for), or its error. */
int set_add(struct lane *lane, struct writer_element *e, const struct ip_addr *client,
	struct lane_element *ret);
/* What could not be put in, since the set has gone, is kept as lost: it goes in when the set is
 * there again. */
void set_keep_lost(struct kernel_set *set, const uint8_t *key, uint8_t key_size,
	const uint8_t *value, int64_t until_ms);
/* An element that no job puts in is lost from the beginning. Any thread. */
void set_want(struct nl_set *h, const struct writer_element *e, const struct ip_addr *client);
/* What sets of the lane have lost is put in again, some at a time; looks at the sets that have to
 * be looked at. True: there is more to do. */
bool sets_fill(struct sets *s, struct lane *lane);
/* ipsets tell nothing: each is looked at. */
void sets_look_at_ipsets(struct sets *s, struct lane *lane);
/* Each second, the first lane: sets that may have gone without a word. */
void sets_look_around(struct sets *s, struct lane *lane);
void sets_sweep(struct sets *s, const struct lane *lane, int64_t now_ms);

#endif
