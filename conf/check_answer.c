/* What must hold between a rule's answer, its other options and the egress that it names. */
#include "conf/check.h"

#include <string.h>

#define BIT(answer) (1U << CONF_ANSWER_##answer)
#define ALL	    (BIT(FAKE) | BIT(REAL) | BIT(BLOCK) | BIT(LOCAL))

static const char *const answer_words[] = {"fake", "real", "block", "local"};

/* The options of a rule beside its name and conditions: with which answers they have an effect,
 * whether it is an error to write them with another one, and whether a rule with `also` may have
 * them. */
static const struct {
	const char *key;
	unsigned answers;
	bool strict, also;
	const char *allowed;
} option_answers[] = {{"answer", ALL, false, false, NULL},
	{"egress", BIT(FAKE) | BIT(REAL), false, false, NULL},
	{"upstream", BIT(FAKE) | BIT(REAL), false, false, NULL},
	{"nftset", BIT(REAL), false, true, NULL}, {"nftmap", BIT(REAL), false, true, NULL},
	{"ipset", BIT(REAL), false, true, NULL}, {"set_ttl", BIT(REAL), false, true, NULL},
	{"push", BIT(REAL), false, true, NULL}, {"push_timeout", BIT(REAL), false, true, NULL},
	{"on_error", ALL, false, true, NULL}, {"conntrack", BIT(REAL), false, true, NULL},
	{"carry", BIT(REAL), false, false, NULL},
	{"filter", BIT(FAKE) | BIT(REAL) | BIT(LOCAL), false, false, NULL},
	{"ttl", BIT(FAKE) | BIT(REAL), false, false, NULL},
	{"cache", BIT(FAKE) | BIT(REAL), false, false, NULL},
	{"rebind", BIT(FAKE) | BIT(REAL), false, false, NULL},
	{"unless", ALL, false, false, NULL}, /* has a check of its own */
	{"check", BIT(REAL), true, false, "with answer: real"},
	{"block", BIT(BLOCK), true, false, "with answer: block"},
	{"address", BIT(LOCAL), true, false, "with answer: local"},
	{"cname", BIT(LOCAL), true, false, "with answer: local"},
	{"records", BIT(LOCAL), true, false, "with answer: local"}};

/* A direct egress needs the real address, found from where its traffic leaves. seen: of each
 * egress, for all rules, so that this is told once and no circle of groups holds us. */
static void egress_resolves(
	struct conf_reader *r, int egress, const struct conf_rule *rule, uint8_t *seen)
{
	const struct conf_egress *e = &r->config->egresses[egress];
	struct conf_node *node = conf_item_node(r, "egress", (size_t)egress);

	if (seen[egress] || !node || conf_node_broken(node))
		return;
	seen[egress] = 1;
	if (e->type == CONF_EGRESS_DIRECT && e->upstream < 0) {
		conf_say(r, CONF_ERROR, node, "upstream", conf_upstream_names(r, NULL),
			"is missing; the rule %s answers fake with it",
			conf_quote(r, rule->name ? rule->name : ""));
		node->bad = true;
	}
	for (size_t i = 0; e->type == CONF_EGRESS_GROUP && i < e->n_of; i++)
		egress_resolves(r, e->of[i], rule, seen);
}

/* HTTPS records that are rewritten come from an upstream, and not from just any. */
static void rewrite_check(
	struct conf_reader *r, const struct conf_rule *rule, struct conf_node *node)
{
	const struct conf_egress *e = &r->config->egresses[rule->egress];
	struct conf_node *at = conf_item_node(r, "egress", (size_t)rule->egress);

	if (r->config->fakeip.https != CONF_HTTPS_REWRITE || e->upstream >= 0 ||
		e->type == CONF_EGRESS_REJECT || conf_node_get(node, "upstream") || !at ||
		conf_node_broken(at))
		return;
	conf_say(r, CONF_ERROR, at, "upstream", conf_upstream_names(r, NULL),
		"is missing; fakeip.https: rewrite needs it for the rule %s",
		conf_quote(r, rule->name ? rule->name : ""));
	at->bad = true;
}

static void fake_check(
	struct conf_reader *r, const struct conf_rule *rule, struct conf_node *node, uint8_t *seen)
{
	const struct config *c = r->config;
	struct conf_node *egress = conf_node_get(node, "egress");

	if (!egress)
		conf_say(r, CONF_ERROR, node, "egress", c->n_egresses ? NULL : "a name in egress",
			"is missing; answer: fake needs a way for the traffic");
	if (c->fakeip.pool4.addr.family == IP_NONE && c->fakeip.pool6.addr.family == IP_NONE &&
		!conf_node_broken(conf_node_get(r->root, "fakeip")))
		conf_error(r, conf_node_get(node, "answer"), "real, block, local",
			"fakeip.pool4 and fakeip.pool6 are both off");
	if (!conf_node_good(egress))
		return;
	egress_resolves(r, rule->egress, rule, seen);
	rewrite_check(r, rule, node);
}

static void unless_item_check(struct conf_reader *r, const struct conf_rule *rule,
	struct conf_unless *u, struct conf_node *node, uint8_t *seen)
{
	const struct config *c = r->config;
	struct conf_node *egress = conf_node_get(node, "egress");
	struct conf_node *upstream = conf_node_get(node, "upstream");
	const struct conf_egress *e;

	if (!conf_node_good(egress) || (upstream && !conf_node_good(upstream)))
		return;
	e = &c->egresses[u->egress];
	if (u->egress == rule->egress)
		conf_warning(r, egress, "is the rule's own egress, which is taken anyway");
	if (!upstream)
		u->upstream = e->upstream;
	if (u->upstream < 0) {
		if (!conf_node_broken(conf_item_node(r, "egress", (size_t)u->egress)))
			conf_say(r, CONF_ERROR, node, "upstream", conf_upstream_names(r, NULL),
				"is missing; the egress %s has none", conf_quote(r, e->name));
		return;
	}
	/* With a group of its own, a direct egress goes where that has found the name to be. */
	if (e->type != CONF_EGRESS_DIRECT)
		egress_resolves(r, u->egress, rule, seen);
	conf_say(r, CONF_NOTE, upstream ? upstream : node, NULL, NULL,
		"every name of the rule is asked at %s",
		conf_quote(r, c->upstreams[u->upstream].name));
}

static void unless_check(
	struct conf_reader *r, struct conf_rule *rule, struct conf_node *node, uint8_t *seen)
{
	struct conf_node *unless = conf_node_get(node, "unless");

	if (!conf_node_good(unless))
		return;
	if (rule->answer != CONF_ANSWER_FAKE) {
		conf_say_key(r, unless, "with answer: fake", "needs a fake answer");
		return;
	}
	for (size_t i = 0; i < rule->n_unless; i++)
		unless_item_check(r, rule, &rule->unless[i], conf_value_node(unless, i), seen);
}

/* Of a rule that answers with real addresses. */
static void carry_check(struct conf_reader *r, const struct conf_rule *rule, struct conf_node *node)
{
	struct conf_node *carry = conf_node_get(node, "carry");
	struct conf_node *egress = conf_node_get(node, "egress");
	const struct conf_egress *e;

	if (!conf_node_good(carry) || (egress && !conf_node_good(egress)))
		return;
	e = egress ? &r->config->egresses[rule->egress] : NULL;
	if (!e || (e->type == CONF_EGRESS_DIRECT && !e->mark.mask &&
			  !conf_node_broken(conf_item_node(r, "egress", (size_t)rule->egress))))
		conf_warning(r, carry,
			"has no effect: the rule has no egress that is a proxy or has a mark");
}

static void upstream_fill(struct conf_reader *r, struct conf_rule *rule, struct conf_node *node)
{
	const struct config *c = r->config;
	struct conf_node *own = conf_node_get(node, "upstream");
	struct conf_node *egress = conf_node_get(node, "egress");
	int of_egress = conf_node_good(egress) && rule->egress >= 0
				? c->egresses[rule->egress].upstream
				: -1;

	if ((own && !conf_node_good(own)) || (egress && !conf_node_good(egress)))
		return;
	if (own && of_egress >= 0 && of_egress != rule->upstream &&
		!conf_node_broken(conf_item_node(r, "egress", (size_t)rule->egress)))
		conf_warning(r, own,
			"%s is not the upstream of the egress %s, which is %s: names may be "
			"resolved for another place than the traffic leaves from",
			c->upstreams[rule->upstream].name, c->egresses[rule->egress].name,
			c->upstreams[of_egress].name);
	if (!own)
		rule->upstream = of_egress >= 0 ? of_egress : c->default_upstream;
	if (rule->upstream < 0 && rule->answer == CONF_ANSWER_REAL)
		conf_say(r, CONF_ERROR, node, "upstream", "a name in upstreams",
			"is missing; answer: real needs a group to ask, and upstreams has none");
}

static void rebind_fill(struct conf_reader *r, struct conf_rule *rule, struct conf_node *node)
{
	rule->rebind_set = conf_node_get(node, "rebind") != NULL;
	if (!rule->rebind_set && rule->upstream >= 0)
		rule->rebind = r->config->upstreams[rule->upstream].rebind;
}

/* Of a proxy nobody here knows which families it reaches. */
static void filter_check(
	struct conf_reader *r, const struct conf_rule *rule, struct conf_node *node)
{
	struct conf_node *filter = conf_node_get(node, "filter");
	struct conf_node *type;

	if (!conf_node_good(filter) || rule->filter != CONF_FILTER_AUTO ||
		!conf_node_good(conf_node_get(node, "egress")))
		return;
	type = conf_node_get(conf_item_node(r, "egress", (size_t)rule->egress), "type");
	if (conf_node_good(type) && r->config->egresses[rule->egress].type != CONF_EGRESS_DIRECT &&
		r->config->egresses[rule->egress].type != CONF_EGRESS_GROUP)
		conf_warning(r, filter, "auto has no effect with an egress of type %s", type->text);
}

/* What a rule says beside its answer and what never comes to pass. */
static void options_check(
	struct conf_reader *r, const struct conf_rule *rule, struct conf_node *node)
{
	for (size_t i = 0; i < sizeof option_answers / sizeof option_answers[0]; i++) {
		struct conf_node *value = conf_node_get(node, option_answers[i].key);

		if (!conf_node_good(value) || option_answers[i].answers & 1U << rule->answer)
			continue;
		if (option_answers[i].strict)
			conf_say_key(r, value, option_answers[i].allowed,
				"is no option of answer: %s", answer_words[rule->answer]);
		else
			conf_warning(r, value, "has no effect with answer: %s",
				answer_words[rule->answer]);
	}
}

/* "full:x" and the like: does it take the name? An expression is not tried. */
static bool pattern_takes(const char *pattern, const char *name)
{
	size_t n, len = strlen(name);

	if (strcmp(pattern, ".") == 0)
		return true;
	if (strncmp(pattern, "full:", 5) == 0)
		return strcmp(pattern + 5, name) == 0;
	if (strncmp(pattern, "keyword:", 8) == 0)
		return strstr(name, pattern + 8) != NULL;
	if (strncmp(pattern, "regexp:", 7) == 0)
		return false;
	n = strlen(pattern);
	return n <= len && strcmp(name + len - n, pattern) == 0 &&
	       (n == len || name[len - n - 1] == '.');
}

static bool patterns_take(const struct conf_strings *patterns, const char *name)
{
	for (size_t i = 0; i < patterns->n; i++)
		if (pattern_takes(patterns->v[i], name))
			return true;
	return false;
}

/* As far as can be told without reading lists. */
static bool rule_takes(const struct conf_rule *rule, const char *name)
{
	bool all = !rule->domain.n && !rule->unqualified && !rule->n_lists;

	if (rule->n_except_lists || patterns_take(&rule->except_names, name))
		return false;
	return all || patterns_take(&rule->domain, name) ||
	       (rule->unqualified && !strchr(name, '.'));
}

static void local_check(struct conf_reader *r, const struct conf_rule *rule, struct conf_node *node)
{
	struct conf_node *cname = conf_node_get(node, "cname");
	struct conf_node *address = conf_node_get(node, "address");
	struct conf_node *records = conf_node_get(node, "records");

	if (!conf_node_broken(address) && !conf_node_broken(records) && !cname &&
		!rule->n_addresses && !rule->n_records)
		conf_say(r, CONF_ERROR, node, "address", "address, cname, records",
			"is missing; answer: local needs something to answer");
	if (!conf_node_good(cname))
		return;
	/* RFC 1034, 3.6.2. */
	if (rule->n_addresses || rule->n_records)
		conf_error(r, cname, "cname alone", "a name that has a CNAME has no other record");
	else if (!conf_node_broken(conf_node_get(node, "domain")) &&
		 !conf_node_broken(conf_node_get(node, "except")) && rule_takes(rule, rule->cname))
		conf_error(r, cname, "a name that the rule does not take; see except",
			"the rule takes %s itself: its answer would lead back to it",
			conf_quote(r, rule->cname));
}

/* A rule that adds its sets and decides nothing. */
static void also_check(struct conf_reader *r, struct conf_rule *rule, struct conf_node *node)
{
	for (size_t i = 0; i < sizeof option_answers / sizeof option_answers[0]; i++) {
		struct conf_node *value = conf_node_get(node, option_answers[i].key);

		if (value && !value->bad && !option_answers[i].also)
			conf_say_key(r, value,
				CONF_SET_KEYS ", set_ttl, push, push_timeout, on_error, conntrack",
				"decides, and a rule with also: yes decides nothing");
	}
	if (!rule->n_sets && !conf_sets_broken(node))
		conf_say(r, CONF_ERROR, node, "nftset", CONF_SET_KEYS,
			"is missing; a rule with also: yes adds sets and does nothing else");
	rule->answer = CONF_ANSWER_REAL;
	rule->egress = rule->upstream = -1;
}

void conf_answer_check(
	struct conf_reader *r, struct conf_rule *rule, struct conf_node *node, uint8_t *seen)
{
	struct conf_node *answer = conf_node_get(node, "answer");
	struct conf_node *also = conf_node_get(node, "also");
	struct conf_node *ttl = conf_node_get(node, "ttl");

	if (also && also->bad)
		return;
	if (rule->also) {
		also_check(r, rule, node);
		conf_sets_check(r, rule, node);
		return;
	}
	if (!answer)
		conf_say(r, CONF_ERROR, node, "answer", "fake, real, block, local", "is missing");
	if (!conf_node_good(answer))
		return;
	options_check(r, rule, node);
	conf_ttl_check(r, conf_node_get(ttl, "min"), conf_node_get(ttl, "max"), rule->ttl.min_s,
		rule->ttl.max_s);
	if (rule->answer == CONF_ANSWER_FAKE)
		fake_check(r, rule, node, seen);
	else if (rule->answer == CONF_ANSWER_REAL) {
		carry_check(r, rule, node);
		conf_sets_check(r, rule, node);
	} else if (rule->answer == CONF_ANSWER_LOCAL)
		local_check(r, rule, node);
	if (rule->answer == CONF_ANSWER_FAKE || rule->answer == CONF_ANSWER_REAL)
		filter_check(r, rule, node);
	unless_check(r, rule, node, seen);
	if (rule->answer == CONF_ANSWER_BLOCK || rule->answer == CONF_ANSWER_LOCAL)
		rule->upstream = -1;
	else
		upstream_fill(r, rule, node);
	rebind_fill(r, rule, node);
}
