/* tungate: finds the sub-command and checks that what was given suits it. */
#include "gateway/cmd.h"

#include <stdio.h>
#include <string.h>

static int cmd_help(const struct cmd_args *a);

static const struct command {
	const char *name, *sub; /* sub NULL: the name is one word */
	const char *usage;
	const char *help;
	unsigned options;	     /* enum cmd_option */
	unsigned n_words, max_words; /* behind the name: at least, at most */
	int (*run)(const struct cmd_args *a);
} commands[] = {
	{"run", NULL, "[-c FILE]", "be the gateway until a signal ends it", CMD_CONFIG, 0, 0,
		cmd_run},
	{"check", NULL, "[-c FILE]", "tell all that is wrong with the configuration", CMD_CONFIG, 0,
		0, cmd_check},
	{"status", NULL, "[--json] [-s SOCKET]", "what the running gateway does",
		CMD_SOCKET | CMD_JSON, 0, 0, cmd_status},
	{"fakeip", "list", "[--json] [-s SOCKET]", "the names that have fake addresses",
		CMD_SOCKET | CMD_JSON, 0, 0, cmd_fakeip_list},
	{"fakeip", "lookup", "NAME|ADDRESS [--client IP] [--json] [-s SOCKET]",
		"the fake addresses of a name, or the name of one",
		CMD_SOCKET | CMD_JSON | CMD_CLIENT, 1, 1, cmd_fakeip_lookup},
	{"fakeip", "flush", "[NAME|ADDRESS] [--json] [-s SOCKET]",
		"new fake addresses when next asked; those in use stay reserved",
		CMD_SOCKET | CMD_JSON, 0, 1, cmd_fakeip_flush},
	{"cache", "show", "[NAME] [--json] [-s SOCKET]", "the answers of upstreams that are kept",
		CMD_SOCKET | CMD_JSON, 0, 1, cmd_cache_show},
	{"cache", "flush", "[NAME] [--json] [-s SOCKET]", "forget the answers of a name, or all",
		CMD_SOCKET | CMD_JSON, 0, 1, cmd_cache_flush},
	{"explain", NULL, "NAME [--client IP] [--type TYPE] [--json] [-s SOCKET]",
		"how a name would be answered, and why",
		CMD_SOCKET | CMD_JSON | CMD_CLIENT | CMD_TYPE, 1, 1, cmd_explain},
	{"learned", NULL, "[--rule RULE] [--json] [-s SOCKET]",
		"the names that checks have learned", CMD_SOCKET | CMD_JSON | CMD_RULE, 0, 0,
		cmd_learned},
	{"reload", NULL, "[--json] [-s SOCKET]", "take the changed configuration",
		CMD_SOCKET | CMD_JSON, 0, 0, cmd_reload},
	{"compile", NULL, "LIST... [--format FORMAT] -o FILE [--json]",
		"make one list of many that is loaded at once", CMD_FORMAT | CMD_OUTPUT | CMD_JSON,
		1, CMD_WORDS_MAX, cmd_compile},
	{"version", NULL, "[--json]", "print the version", CMD_SOCKET | CMD_JSON, 0, 0,
		cmd_version},
	{"help", NULL, "", "print this", 0, 0, CMD_WORDS_MAX, cmd_help},
};
#define N_COMMANDS (sizeof commands / sizeof commands[0])

static void print_usage(FILE *out)
{
	fputs("usage:\n", out);
	for (size_t i = 0; i < N_COMMANDS; i++) {
		const struct command *c = &commands[i];

		fprintf(out, "  tungate %s%s%s%s%s\n        %s\n", c->name, c->sub ? " " : "",
			c->sub ? c->sub : "", *c->usage ? " " : "", c->usage, c->help);
	}
	fputs("defaults: -c /etc/tungate/tungate.yaml, -s /run/tungate.sock; see tungate(8)\n",
		out);
}

static int cmd_help(const struct cmd_args *a)
{
	(void)a;
	print_usage(stdout);
	return CMD_DONE;
}

static const struct command *command_find(const struct cmd_args *a)
{
	for (size_t i = 0; i < N_COMMANDS; i++) {
		const struct command *c = &commands[i];

		if (a->n_words > 0 && strcmp(a->words[0], c->name) == 0 &&
			(!c->sub || (a->n_words > 1 && strcmp(a->words[1], c->sub) == 0)))
			return c;
	}
	return NULL;
}

static int command_usage(const struct command *c)
{
	fprintf(stderr, "usage: tungate %s%s%s %s\n", c->name, c->sub ? " " : "",
		c->sub ? c->sub : "", c->usage);
	return CMD_USAGE;
}

static int usage_error(const struct command *c, const char *what, const char *which)
{
	fprintf(stderr, "tungate: %s%s\n", what, which);
	if (c)
		return command_usage(c);
	print_usage(stderr);
	return CMD_USAGE;
}

static int dispatch(struct cmd_args *a)
{
	const struct command *c = command_find(a);
	unsigned n_name;
	int status;

	if (!c)
		return usage_error(NULL, a->n_words ? "no such command: " : "a command is missing",
			a->n_words ? a->words[0] : "");
	n_name = c->sub ? 2 : 1;
	a->n_words -= n_name;
	memmove(a->words, a->words + n_name, a->n_words * sizeof a->words[0]);
	if (a->given & ~c->options)
		return usage_error(
			c, "does not apply here: ", cmd_option_name(a->given & ~c->options));
	if (a->n_words < c->n_words)
		return usage_error(c, "something is missing", "");
	if (a->n_words > c->max_words)
		return usage_error(c, "too much: ", a->words[c->max_words]);
	status = c->run(a);
	return status == CMD_USAGE ? command_usage(c) : status; /* it has told why */
}

/* What is everywhere tried first. */
static const char *alias(const char *word)
{
	if (strcmp(word, "--help") == 0 || strcmp(word, "-h") == 0)
		return "help";
	if (strcmp(word, "--version") == 0 || strcmp(word, "-V") == 0)
		return "version";
	return NULL;
}

int main(int argc, char **argv)
{
	const char *word = argc == 2 ? alias(argv[1]) : NULL;
	struct cmd_args a = {.words = {word}, .n_words = 1};
	int status;

	if (!word && cmd_args_parse(argc, argv, &a)) {
		fputs("\"tungate help\" tells what there is\n", stderr);
		return CMD_USAGE;
	}
	status = dispatch(&a);
	if (fflush(stdout) && status == CMD_DONE) {
		perror("tungate: standard output");
		status = CMD_FAILED;
	}
	return status;
}
