/* The daemon: the order of start, stop and reload; owner of every long-lived object. What is
 * declared here is all that the control room may call. Main thread only. */
#ifndef TUNGATE_DAEMON_H
#define TUNGATE_DAEMON_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "fakeip/fakeip.h"
#include "gateway/egress/egress.h"
#include "gateway/learned/learned.h"
#include "gateway/policy/policy.h"
#include "gateway/resolve/resolve.h"
#include "netlink/writer.h"

struct daemon;

/* `tungate run -c FILE`: returns the exit status. Errors are on stderr. */
int daemon_main(const char *config_path);

enum daemon_state { DAEMON_STARTING, DAEMON_RUNNING, DAEMON_LAME_DUCK, DAEMON_STOPPING };

struct daemon_status {
	enum daemon_state state;
	int64_t uptime_s;
	unsigned workers;
	const char *intercept; /* what is in force: "tun", "tproxy", "off" */
	uint32_t mark_value, mark_mask, mark_tun, mark_tproxy;
	struct {
		uint64_t total, fake, real, block, local, failed, rerouted;
	} queries;
	struct fakeip_stats fakeip;
	char pool4[64], pool6[64]; /* "off" */
	const char *store;	   /* its path; "memory"; or what is wrong */
	struct cache_stats cache;
	struct resolve_counters answers; /* what was removed from them, and kept out */
	uint64_t leaks_stopped;
	struct { /* of interception: queries passed us */
		uint64_t times, ms;
		bool now;
	} lapses;
	uint64_t loops_stopped, push_errors;
	/* Answers and their sets, see struct query_counters; elements that the kernel had lost; old
	 * flows that were forgotten. */
	struct {
		uint64_t waited, held, late, async, queued, dropped, refilled, forgotten;
	} pushes;
	uint64_t stray, outside; /* packets dropped by our table, see netlink/table.h */
	uint64_t unmapped;	 /* packets to fake addresses that mean nothing */
	struct {
		uint64_t flows, live, to_egress_bytes, to_client_bytes;
	} tcp;
	struct {
		uint64_t flows, live, to_egress, to_client, dropped; /* datagrams */
	} udp;
};
void daemon_status(struct daemon *d, struct daemon_status *ret);
/* Each returns how many there are, up to max of them in ret; texts live until the next reload. */
size_t daemon_servers(struct daemon *d, struct resolve_server_info *ret, size_t max);
size_t daemon_egresses(struct daemon *d, struct egress_info *ret, size_t max);
size_t daemon_sets(struct daemon *d, struct writer_set_info *ret, size_t max);
size_t daemon_problems(struct daemon *d, const char **ret, size_t max);
const struct policy *daemon_policy(struct daemon *d); /* the current one; borrow within one call */
const char *daemon_group_name(struct daemon *d, int group);

/* The fake-address table. `seconds` are relative to now. */
struct daemon_mapping {
	struct fakeip_mapping m;
	char name[1025];
	const char *view; /* "" or the client condition's id in hex */
	char view_text[24];
	const char *rule, *egress; /* NULL: the rule is gone, has none */
	bool in_hold;		   /* no client should still use it, but it is not yet free */
	uint32_t last_answer_s;	   /* ago */
	uint32_t expires_in_s;	   /* until the answer's TTL is over; 0: it is */
	struct {
		const char *egress; /* that carried last; NULL: nothing was carried yet */
		bool unless;	    /* that, and not the rule, chose it */
		struct ip_addr address4, address6; /* behind the fake ones; IP_NONE: none known */
	} verdict;
};
int daemon_mapping_next(
	struct daemon *d, uint32_t after, struct daemon_mapping *ret); /* see fakeip_next() */
/* query: a name or an address. Up to max mappings (several views of a name). 0: none. */
size_t daemon_mapping_find(
	struct daemon *d, const char *query, struct daemon_mapping *ret, size_t max);

/* `fakeip flush`: names get new addresses when next asked; the old ones stay reserved, and carried,
 * until their hold is over. query: a name (all its views) or an address; NULL: all. -ENOENT: there
 * is none. */
struct daemon_flush {
	uint64_t flushed, kept; /* kept: of these, still in use */
};
int daemon_flush(struct daemon *d, const char *query, struct daemon_flush *ret);

/* `cache show` and `cache flush`: name NULL: all. -EINVAL: that is no name. How many were shown, at
 * most max, or flushed. */
int64_t daemon_cache_show(
	struct daemon *d, const char *name, size_t max, cache_visit *visit, void *arg);
int64_t daemon_cache_flush(struct daemon *d, const char *name);

/* `learned`: the names that checks have learned, table by table; rule: only those that it takes,
 * NULL: all. -ENOENT: no check learns names for it. */
typedef void daemon_learned_visit(void *arg, const char *rule, const struct learned_name *name);
int daemon_learned(struct daemon *d, const char *rule, daemon_learned_visit *visit, void *arg);
struct daemon_learned_file {
	const char *file, *rule;
	struct learned_info info;
};
size_t daemon_learned_files(struct daemon *d, struct daemon_learned_file *ret, size_t max);

/* `explain`. name, type (a text, NULL: A) and client (NULL: unknown) as users write them. -EINVAL
 * and *ret_error tells which is wrong. The winner and its question; sink gets the lists and rules
 * on the way. */
struct daemon_explanation {
	char name[1025];
	char type[16];
	const struct policy_rule *rule;
	bool never_fake; /* the rule says fake, the answer is real */
	bool own; /* answered before any rule: by records, a lease, the table, a built-in name */
	bool records;		 /* by local records */
	uint64_t also;		 /* see policy_also() */
	enum conf_filter filter; /* in force for this question */
	enum conf_https https;
	const char *upstream;	  /* NULL: none */
	struct cache_found cache; /* of a real answer */
	bool has_mapping;
	struct daemon_mapping mapping;
};
int daemon_explain(struct daemon *d, const char *name, const char *type, const char *client,
	const struct policy_explain_sink *sink, struct daemon_explanation *ret,
	const char **ret_error);

/* Reads the configuration again. Errors and warnings, and what changed, are told line by line. 0:
 * the lists are being read, and done (NULL is fine) is called later, with 0 or an error after which
 * the running configuration stays in force. -EINVAL: the configuration has errors; -EBUSY: a reload
 * is under way already; else the lists cannot be read now. */
typedef void daemon_tell(void *arg, bool is_error, const char *text);
typedef void daemon_reloaded(void *arg, int error);
int daemon_reload(struct daemon *d, daemon_tell *tell, daemon_reloaded *done, void *arg);

/* Pushed records: `json`, the text of an array, instead of what `source` had; NULL: nothing any
 * more. On disk and in force when it returns 0. -EINVAL: nothing has changed, and ret_why tells
 * what is wrong in which record; -ENOENT: nothing to delete; else the error of the disk, told there
 * too. */
#define DAEMON_WHY_MAX 512
int daemon_records_set(
	struct daemon *d, const char *source, const char *json, char *ret_why, size_t size);
/* {"SOURCE": [records]}; the caller frees. The error of the disk; -EBADMSG: the file is broken. */
int daemon_records_list(struct daemon *d, char **ret_json);

#endif
