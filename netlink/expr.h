/* Rules of our nft table, written as sequences of small steps: each function appends the
 * expressions that `nft` would make of one phrase to the rule that is open. RULE(r, "chain",
 * match…, action…) is one rule.
 *
 * The error is sticky (r->error, -ENOMEM): check it once at the end. Used while a table is built,
 * in the writer's thread. Built on libnftnl; the messages go into a batch. */
#ifndef TUNGATE_NETLINK_EXPR_H
#define TUNGATE_NETLINK_EXPR_H

#include "gateway/base/addr.h"
#include "netlink/batch.h"

struct nftnl_rule;

struct ruleset {
	struct nft_batch *batch;
	const char *table;	 /* of family inet */
	struct nftnl_rule *rule; /* the open one */
	int error;
};

void rule_open(struct ruleset *r, const char *chain);
void rule_close(struct ruleset *r);
#define RULE(r, chain, ...) (rule_open((r), (chain)), __VA_ARGS__, rule_close(r))

enum rule_is { IS, IS_NOT };
enum rule_side { SOURCE, DESTINATION };

/* --- what a packet must be --- */
void match_family(struct ruleset *r, uint8_t family); /* enum ip_family */
void match_protocol(struct ruleset *r, uint8_t protocol);
void match_port(struct ruleset *r, enum rule_side side, uint16_t port); /* after match_protocol() */
void match_udp_length_up_to(
	struct ruleset *r, uint16_t bytes); /* with its header; after match_protocol() */
void match_tcp_flags(
	struct ruleset *r, enum rule_is is, uint8_t mask, uint8_t value); /* TCP is matched too */
void match_iif(
	struct ruleset *r, enum rule_is is, const char *name); /* trailing '*': all that begin so */
void match_oif(struct ruleset *r, enum rule_is is, const char *name);
void match_mark(struct ruleset *r, uint32_t value, uint32_t mask);
void match_uid(struct ruleset *r, uint32_t uid);
void match_gid(struct ruleset *r, uint32_t gid);
void match_cgroup(
	struct ruleset *r, uint32_t level, uint64_t id); /* cgroup v2; level: how deep it lies */
/* A packet for a transparent socket that is there already; also an ICMP error about what it sent.
 */
void match_socket_transparent(struct ruleset *r);
void match_ether_source(struct ruleset *r, const uint8_t address[6]);
/* The family is matched too. */
void match_address(
	struct ruleset *r, enum rule_side side, enum rule_is is, const struct ip_prefix *prefix);
void match_address_in(struct ruleset *r, enum rule_side side, uint8_t family, const char *set);
void match_family_in(struct ruleset *r, enum rule_is is, const char *set); /* set of nfproto */
void match_destination_type(
	struct ruleset *r, enum rule_is is, uint32_t rtn_type); /* RTN_LOCAL, … */
void match_source_type(struct ruleset *r, enum rule_is is, uint32_t rtn_type);
/* Its route leads out of this interface; prerouting only. */
void match_destination_behind(struct ruleset *r, const char *name);
void match_ct_original(struct ruleset *r);				      /* its direction */
void match_ct_new(struct ruleset *r);					      /* its state */
void match_ct_dnat(struct ruleset *r);					      /* its status */
void match_ct_destination(struct ruleset *r, const struct ip_prefix *prefix); /* before any NAT */
void match_ct_destination_in(struct ruleset *r, uint8_t family, const char *set); /* likewise */
void match_ct_mark(struct ruleset *r, uint32_t value, uint32_t mask);
void match_ct_invalid(struct ruleset *r);

/* --- what is done with it --- */
void act_mark(struct ruleset *r, uint32_t value, uint32_t mask); /* mark = (mark & ~mask) | value */
void act_ct_mark(struct ruleset *r, uint32_t value, uint32_t mask);
void act_count(struct ruleset *r, const char *counter);
void act_notrack(struct ruleset *r);
/* Ends the rule here if there is no such socket. */
void act_tproxy(struct ruleset *r, const struct ip_port *listener);
void act_log(struct ruleset *r, uint16_t group); /* the whole packet, one message each */
void act_dnat_by(struct ruleset *r, uint8_t family,
	const char *map); /* to where the map sends the destination */
void act_masquerade(struct ruleset *r);
/* Both families are in that set of nfproto from now on, for so long. The set is dynamic. */
void act_renew_families(struct ruleset *r, const char *set, uint64_t timeout_ms);
void act_accept(struct ruleset *r);
void act_drop(struct ruleset *r);
void act_return(struct ruleset *r);
void act_jump(struct ruleset *r, const char *chain);
void act_goto(struct ruleset *r, const char *chain);

#endif
