#include "gateway/client.h"

#include <json-c/json.h>
#include <stdio.h>

#include "gateway/screen.h"

static void print_head(struct json_object *s)
{
	struct json_object *marks = screen_get(s, "marks"), *lapses = screen_get(s, "lapses");
	char text[32];

	printf("tungate %s  %s for %s, pid %s, workers %s\n", screen_text(s, "version"),
		screen_text(s, "state"), screen_duration(screen_number(s, "uptime_s"), text),
		screen_text(s, "pid"), screen_text(s, "workers"));
	printf("intercept  %s  marks: own %s  tun %s  tproxy %s\n", screen_text(s, "intercept"),
		screen_text(marks, "own"), screen_text(marks, "tun"), screen_text(marks, "tproxy"));
	if (screen_number(lapses, "times"))
		printf("lapsed     %s times, %.1f s in all%s\n", screen_text(lapses, "times"),
			(double)screen_number(lapses, "ms") / 1000,
			json_object_get_boolean(screen_get(lapses, "now")) ? ", and is lapsed NOW"
									   : "");
}

static void print_counters(struct json_object *s)
{
	struct json_object *q = screen_get(s, "queries");

	printf("queries    total %s  fake %s  real %s  block %s  local %s  failed %s  rerouted "
	       "%s\n",
		screen_text(q, "total"), screen_text(q, "fake"), screen_text(q, "real"),
		screen_text(q, "block"), screen_text(q, "local"), screen_text(q, "failed"),
		screen_text(q, "rerouted"));
	printf("stopped    loops %s  leaks %s  stray %s  outside %s  unmapped %s  push errors %s\n",
		screen_text(s, "loops_stopped"), screen_text(s, "leaks_stopped"),
		screen_text(s, "stray"), screen_text(s, "outside"), screen_text(s, "unmapped"),
		screen_text(s, "push_errors"));
}

static void print_fakeip(struct json_object *f)
{
	printf("fakeip     %s  %s  used %s of %s, free %s, in hold %s, exhausted %s\n",
		screen_text(f, "pool4"), screen_text(f, "pool6"), screen_text(f, "used"),
		screen_text(f, "size"), screen_text(f, "free"), screen_text(f, "in_hold"),
		screen_text(f, "exhausted"));
	printf("store      %s\n", screen_text(f, "store"));
}

static void print_cache(struct json_object *c, struct json_object *a)
{
	printf("cache      %s answers, %s bytes  hits %s  misses %s  stale %s  evicted %s\n",
		screen_text(c, "entries"), screen_text(c, "bytes"), screen_text(c, "hits"),
		screen_text(c, "misses"), screen_text(c, "stale"), screen_text(c, "evicted"));
	printf("answers    private addresses removed %s  forged %s  bogus %s  poisoned names %s\n",
		screen_text(a, "rebind"), screen_text(a, "forged"), screen_text(a, "bogus"),
		screen_text(a, "poisoned_names"));
}

/* --- sections with a line for each of theirs --- */

static void print_upstream(struct json_object *u)
{
	printf("%-12s %-32s %-4s rtt %.1f ms  queries %s  failures %s  wrong %s\n",
		screen_text(u, "group"), screen_text(u, "url"),
		json_object_get_boolean(screen_get(u, "up")) ? "up" : "DOWN",
		(double)screen_number(u, "rtt_us") / 1000, screen_text(u, "queries"),
		screen_text(u, "failures"), screen_text(u, "wrong_answers"));
}

static void print_egress(struct json_object *e)
{
	printf("%-12s %-8s %-4s flows %s  failures %s", screen_text(e, "name"),
		screen_text(e, "type"),
		json_object_get_boolean(screen_get(e, "up")) ? "up" : "DOWN",
		screen_text(e, "flows"), screen_text(e, "failures"));
	if (screen_number(e, "rtt_us"))
		printf("  rtt %.1f ms", (double)screen_number(e, "rtt_us") / 1000);
	if (screen_get(e, "member"))
		printf("  takes %s", screen_text(e, "member"));
	puts("");
}

static void print_relay(struct json_object *relay)
{
	struct json_object *tcp = screen_get(relay, "tcp"), *udp = screen_get(relay, "udp");

	printf("relay      tcp %s flows, %s live, %s bytes out, %s in; udp %s flows, %s live, "
	       "%s datagrams out, %s in, %s dropped\n",
		screen_text(tcp, "flows"), screen_text(tcp, "live"),
		screen_text(tcp, "to_egress_bytes"), screen_text(tcp, "to_client_bytes"),
		screen_text(udp, "flows"), screen_text(udp, "live"), screen_text(udp, "to_egress"),
		screen_text(udp, "to_client"), screen_text(udp, "dropped"));
}

static void print_set(struct json_object *s)
{
	printf("%-32s %-10s elements %s  errors %s\n", screen_text(s, "set"),
		screen_text(s, "state"), screen_text(s, "elements"), screen_text(s, "errors"));
}

static void print_list(struct json_object *l)
{
	struct json_object *error = screen_get(l, "error");

	printf("%-12s names %s  cidrs %s  files %s%s%s\n", screen_text(l, "name"),
		screen_text(l, "names"), screen_text(l, "cidrs"), screen_text(l, "files"),
		error ? "  " : "", error ? screen_value(error) : "");
}

static void print_learned(struct json_object *l)
{
	struct json_object *error = screen_get(l, "error");

	printf("%-12s %s  names %s  learned %s  unlearned %s%s%s\n", screen_text(l, "rule"),
		screen_text(l, "file"), screen_text(l, "names"), screen_text(l, "learned"),
		screen_text(l, "unlearned"), error ? "  " : "", error ? screen_value(error) : "");
}

static void print_problem(struct json_object *p)
{
	puts(screen_value(p));
}

static void print_section(struct json_object *status, const char *key, const char *label,
	void (*print_line)(struct json_object *line))
{
	struct json_object *lines = screen_get(status, key);

	for (size_t i = 0; i < screen_count(lines); i++) {
		printf("%-10s ", i ? "" : label);
		print_line(json_object_array_get_idx(lines, i));
	}
}

static void print(struct json_object *s)
{
	print_head(s);
	print_counters(s);
	print_fakeip(screen_get(s, "fakeip"));
	print_cache(screen_get(s, "cache"), screen_get(s, "answers"));
	print_section(s, "upstreams", "upstreams", print_upstream);
	print_section(s, "egress", "egress", print_egress);
	print_relay(screen_get(s, "relay"));
	print_section(s, "sets", "sets", print_set);
	print_section(s, "lists", "lists", print_list);
	print_section(s, "learned", "learned", print_learned);
	print_section(s, "problems", "PROBLEMS", print_problem);
	if (screen_count(screen_get(s, "problems")) == 0)
		puts("problems   none");
}

int cmd_status(const struct cmd_args *a)
{
	return client_run(a, client_request("status"), print);
}
