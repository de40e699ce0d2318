/* What other threads ask of the writer and wait for: the table, counters, handles of sets. */
#include "netlink/writer_internal.h"

#include <arpa/inet.h>
#include <endian.h>
#include <errno.h>
#include <libmnl/libmnl.h>
#include <linux/netfilter.h>
#include <linux/netfilter/nf_tables.h>
#include <linux/netfilter/nfnetlink.h>
#include <stdio.h>
#include <sys/socket.h>

#define TABLE_TIMEOUT_MS 2000
#define GET_TIMEOUT_MS	 200
#define TABLE_BYTES	 (64 << 10)

struct writer_call {
	void (*run)(struct writer *w, void *arg);
	void *arg;
	bool done;
	struct writer_call *next;
};

void writer_call(struct writer *w, void (*run)(struct writer *w, void *arg), void *arg)
{
	struct writer_call c = {.run = run, .arg = arg};
	struct writer_call **end;

	pthread_mutex_lock(&w->lock);
	for (end = &w->calls; *end; end = &(*end)->next)
		;
	*end = &c;
	lane_wake(&w->lanes[LANE_HASH]);
	while (!c.done)
		pthread_cond_wait(&w->called, &w->lock);
	pthread_mutex_unlock(&w->lock);
}

void writer_calls_run(struct writer *w)
{
	struct writer_call *list, *c;

	pthread_mutex_lock(&w->lock);
	list = w->calls;
	w->calls = NULL;
	pthread_mutex_unlock(&w->lock);
	while ((c = list)) {
		list = c->next;
		c->run(w, c->arg);
		pthread_mutex_lock(&w->lock);
		c->done = true;
		pthread_cond_broadcast(&w->called);
		pthread_mutex_unlock(&w->lock);
	}
}

bool writer_calls_waiting(struct writer *w)
{
	bool has;

	pthread_mutex_lock(&w->lock);
	has = w->calls != NULL;
	pthread_mutex_unlock(&w->lock);
	return has;
}

/* --- the table --- */

struct table_call {
	const struct table_config *config;
	int result;
	struct nft_batch batch;
	struct writer *w;
	bool blamed;
};

static void table_error(void *arg, const struct nft_error *error)
{
	struct table_call *c = arg;

	if (!c->blamed)
		table_blame(&c->batch, error, c->w->what, sizeof c->w->what);
	c->blamed = true;
}

static void run_table_set(struct writer *w, void *arg)
{
	struct table_call *c = arg;
	struct table_state next;
	int r = nft_batch_init(&c->batch, TABLE_BYTES);

	c->w = w;
	if (r == 0) {
		nft_batch_begin(&c->batch, &w->lanes[LANE_HASH].socket);
		r = table_build(&c->batch, &w->table, c->config, w->config.set_changed,
			w->config.arg, &next);
	}
	if (r == 0)
		r = nft_batch_commit(
			&c->batch, &w->lanes[LANE_HASH].socket, TABLE_TIMEOUT_MS, table_error, c);
	if (r == 0) {
		w->table = next;
		commit_forget(w->lanes[LANE_HASH].commit);
		own_sets_forget(w);
		heartbeat_hold(w->heartbeat, true); /* before anybody is told of the table */
	}
	nft_batch_fini(&c->batch);
	c->result = r == -ENOENT && c->blamed ? -EOPNOTSUPP : r;
}

int writer_table_set(struct writer *w, const struct table_config *config, const char **ret_what)
{
	struct table_config with_heartbeat = *config;
	struct table_call c = {.config = &with_heartbeat};

	with_heartbeat.heartbeat_port = heartbeat_port(w->heartbeat);
	writer_call(w, run_table_set, &c);
	if (c.result < 0 && ret_what)
		*ret_what = c.blamed		 ? w->what
			    : c.result == -E2BIG ? "more egresses than the table has mark sets for"
						 : "nf_tables";
	return c.result;
}

struct owner_call {
	uint32_t owner, own;
	int result;
};

static int take_owner(const struct nlattr *attr, void *arg)
{
	struct owner_call *c = arg;

	if (mnl_attr_get_type(attr) == NFTA_TABLE_OWNER && mnl_attr_get_payload_len(attr) == 4)
		c->owner = ntohl(mnl_attr_get_u32(attr));
	return MNL_CB_OK;
}

static int take_table(void *arg, const struct nlmsghdr *answer)
{
	mnl_attr_parse(answer, sizeof(struct nfgenmsg), take_owner, arg);
	return 0;
}

static void fill_table(struct nlmsghdr *h, const void *arg)
{
	(void)arg;
	mnl_attr_put_strz(h, NFTA_TABLE_NAME, TABLE_NAME);
}

static void run_table_check(struct writer *w, void *arg)
{
	struct owner_call *c = arg;
	struct sockaddr_nl own = {0};
	socklen_t len = sizeof own;

	if (getsockname(w->lanes[LANE_HASH].socket.fd, (struct sockaddr *)&own, &len)) {
		c->result = -errno;
		return;
	}
	c->result = nft_request(&w->lanes[LANE_HASH].socket, NFT_MSG_GETTABLE, NFPROTO_INET, 0,
		fill_table, NULL, take_table, c, GET_TIMEOUT_MS);
	if (c->result == -ENOENT)
		c->result = 0;
	else if (c->result == 0 && c->owner && c->owner != own.nl_pid)
		c->result = -EBUSY;
}

int writer_table_check(struct writer *w)
{
	struct owner_call c = {0};

	writer_call(w, run_table_check, &c);
	return c.result;
}

static void run_table_drop(struct writer *w, void *arg)
{
	struct nft_batch batch;
	int *result = arg;

	*result = w->table.exists ? nft_batch_init(&batch, TABLE_BYTES) : 0;
	if (*result || !w->table.exists)
		return;
	heartbeat_hold(w->heartbeat, false);
	nft_batch_begin(&batch, &w->lanes[LANE_HASH].socket);
	table_drop_build(&batch);
	*result =
		nft_batch_commit(&batch, &w->lanes[LANE_HASH].socket, TABLE_TIMEOUT_MS, NULL, NULL);
	if (*result == 0) {
		w->table = (struct table_state){0};
		commit_forget(w->lanes[LANE_HASH].commit);
		own_sets_forget(w);
	}
	nft_batch_fini(&batch);
}

int writer_table_drop(struct writer *w)
{
	int result;

	writer_call(w, run_table_drop, &result);
	return result;
}

struct counter_call {
	const char *name;
	uint64_t packets;
	bool found;
	int result;
};

static int take_packets(const struct nlattr *attr, void *arg)
{
	struct counter_call *c = arg;

	if (mnl_attr_get_type(attr) == NFTA_COUNTER_PACKETS &&
		mnl_attr_get_payload_len(attr) == 8) {
		c->packets = be64toh(mnl_attr_get_u64(attr));
		c->found = true;
	}
	return MNL_CB_OK;
}

static int take_object(const struct nlattr *attr, void *arg)
{
	if (mnl_attr_get_type(attr) == NFTA_OBJ_DATA)
		return mnl_attr_parse_nested(attr, take_packets, arg);
	return MNL_CB_OK;
}

static int take_counter(void *arg, const struct nlmsghdr *answer)
{
	mnl_attr_parse(answer, sizeof(struct nfgenmsg), take_object, arg);
	return 0;
}

static void fill_counter(struct nlmsghdr *h, const void *arg)
{
	const struct counter_call *c = arg;

	mnl_attr_put_strz(h, NFTA_OBJ_TABLE, TABLE_NAME);
	mnl_attr_put_strz(h, NFTA_OBJ_NAME, c->name);
	mnl_attr_put_u32(h, NFTA_OBJ_TYPE, htonl(NFT_OBJECT_COUNTER));
}

static void run_counter(struct writer *w, void *arg)
{
	struct counter_call *c = arg;

	c->result = nft_request(&w->lanes[LANE_HASH].socket, NFT_MSG_GETOBJ, NFPROTO_INET, 0,
		fill_counter, c, take_counter, c, GET_TIMEOUT_MS);
	if (c->result == 0 && !c->found)
		c->result = -EBADMSG;
}

int writer_counter(struct writer *w, const char *name, uint64_t *ret_packets)
{
	struct counter_call c = {.name = name};

	writer_call(w, run_counter, &c);
	if (c.result == 0)
		*ret_packets = c.packets;
	return c.result;
}

/* --- users' sets --- */

struct set_call {
	const struct conf_set *conf;
	struct nl_set *set;
	int result;
};

static void run_set_get(struct writer *w, void *arg)
{
	struct set_call *c = arg;

	c->result = sets_get(&w->sets, c->conf, &c->set);
}

int writer_set_get(struct writer *w, const struct conf_set *set, struct nl_set **ret)
{
	struct set_call c = {.conf = set};

	writer_call(w, run_set_get, &c);
	if (c.result == 0)
		*ret = c.set;
	return c.result;
}

struct nl_set *writer_set_ref(struct nl_set *set)
{
	sets_ref(set);
	return set;
}

void writer_set_unref(struct nl_set *set)
{
	sets_unref(set);
}

void writer_set_event(struct writer *w, const struct monitor_set_event *event)
{
	sets_event(&w->sets, event);
}

void writer_sets_lost(struct writer *w)
{
	sets_lost(&w->sets);
}

size_t writer_set_list(struct writer *w, struct writer_set_info *ret, size_t max)
{
	return sets_list(&w->sets, ret, max);
}
