/* Any bytes as a datagram of nf_tables' news (the seeds are the kernel's): what is told of them
 * lies within them, and is what its kind promises. */
#include "netlink/monitor_internal.h"

#include <libmnl/libmnl.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void require(bool holds)
{
	if (!holds)
		abort();
}

struct message {
	const struct nlmsghdr *h;
	unsigned n_told;
};

static void require_within(const struct message *m, const void *at, size_t size)
{
	const uint8_t *from = (const uint8_t *)m->h, *p = at;

	require(p >= from && p <= from + m->h->nlmsg_len &&
		size <= (size_t)(from + m->h->nlmsg_len - p));
}

static void visit(void *arg, const struct monitor_set_event *e)
{
	struct message *m = arg;

	m->n_told++;
	require_within(m, e->table, strlen(e->table) + 1);
	require((e->set == NULL) == (e->what == MONITOR_TABLE_WENT));
	if (e->set)
		require_within(m, e->set, strlen(e->set) + 1);
	require((e->key_size > 0) ==
		(e->what == MONITOR_ELEMENT_WENT || e->what == MONITOR_ELEMENT_CAME));
	if (e->key_size > 0)
		require_within(m, e->key, e->key_size);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	uint8_t *copy = malloc(size + (size == 0));
	const struct nlmsghdr *h = (const struct nlmsghdr *)copy;
	int left = (int)size;

	require(copy != NULL);
	memcpy(copy, data, size);
	for (; monitor_message_ok(h, left); h = mnl_nlmsg_next(h, &left)) {
		struct monitor_news news = {0}, alone = {0};
		struct message m = {.h = h};

		monitor_nft_take(h, visit, &m, &news);
		monitor_nft_take(h, NULL, NULL, &alone);
		require(memcmp(&news, &alone, sizeof news) == 0);
		require(!news.links && !news.addresses && !news.routes && !news.ours_removed &&
			!news.lost);
	}
	free(copy);
	return 0;
}
