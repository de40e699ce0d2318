/* cache.show, cache.flush. */
#include "gateway/control/command_internal.h"

#include <json-c/json.h>

#define SHOW_LIMIT 1000

static void add_address(void *arg, const uint8_t *address, size_t size, uint32_t ttl_s)
{
	struct ip_addr a = ip_addr_of(address, size);
	char text[IP_TEXT_MAX];

	(void)ttl_s;
	json_object_array_add(arg, reply_string(ip_addr_format(&a, text)));
}

static const char *state_name(enum cache_state state)
{
	return state == CACHE_FRESH ? "fresh" : state == CACHE_STALE ? "stale" : "failed";
}

static void add_entry(void *arg, const struct cache_shown *e)
{
	struct json_object *j = json_object_new_object(), *addresses = json_object_new_array();
	char name[DNS_NAME_TEXT_MAX], type[16];

	if (e->msg)
		dns_response_addresses(e->msg, e->len, add_address, addresses);
	reply_add_text(j, "name", dns_name_format(e->name.b, name));
	reply_add_text(j, "type", dns_type_format(e->type, type));
	reply_add_number(j, "ttl_s", e->ttl_s);
	reply_add_number(j, "rcode", e->msg ? dns_message_rcode(e->msg) : DNS_SERVFAIL);
	json_object_object_add(j, "addresses", addresses);
	reply_add_number(j, "records", e->msg ? (uint64_t)(e->msg[6] << 8 | e->msg[7]) : 0);
	reply_add_text(j, "state", state_name(e->state));
	reply_add_number(j, "hits", e->hits);
	json_object_array_add(arg, j);
}

void command_cache_show(struct daemon *d, const struct control_request *q, struct control_reply *r)
{
	struct json_object *all = json_object_new_array();
	size_t limit = q->given & CONTROL_ARG_LIMIT ? q->limit : SHOW_LIMIT;

	if (daemon_cache_show(d, q->name, limit, add_entry, all) < 0) {
		json_object_put(all);
		reply_error(r, CONTROL_BAD_REQUEST, "name: not a domain name");
		return;
	}
	reply_result(r, all);
}

void command_cache_flush(struct daemon *d, const struct control_request *q, struct control_reply *r)
{
	struct json_object *j;
	int64_t n = daemon_cache_flush(d, q->name);

	if (n < 0) {
		reply_error(r, CONTROL_BAD_REQUEST, "name: not a domain name");
		return;
	}
	j = json_object_new_object();
	reply_add_number(j, "flushed", (uint64_t)n);
	reply_result(r, j);
}
