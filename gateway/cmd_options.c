#include "gateway/cmd.h"

#include <errno.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

static const struct option {
	enum cmd_option bit;
	const char *name;
	const char *value; /* what it is; NULL: the option has none */
	size_t offset;
} options[] = {
	{CMD_CONFIG, "-c", "FILE", offsetof(struct cmd_args, config)},
	{CMD_SOCKET, "-s", "SOCKET", offsetof(struct cmd_args, socket)},
	{CMD_JSON, "--json", NULL, 0},
	{CMD_CLIENT, "--client", "IP", offsetof(struct cmd_args, client)},
	{CMD_TYPE, "--type", "TYPE", offsetof(struct cmd_args, type)},
	{CMD_FORMAT, "--format", "FORMAT", offsetof(struct cmd_args, format)},
	{CMD_RULE, "--rule", "RULE", offsetof(struct cmd_args, rule)},
	{CMD_OUTPUT, "-o", "FILE", offsetof(struct cmd_args, output)},
};
#define N_OPTIONS (sizeof options / sizeof options[0])

const char *cmd_option_name(unsigned bits)
{
	for (size_t i = 0; i < N_OPTIONS; i++)
		if (bits & options[i].bit)
			return options[i].name;
	return "";
}

/* "-c", "-cFILE", "--type", "--type=A": *ret_value is what is joined to it, or NULL. */
static const struct option *option_find(const char *word, const char **ret_value)
{
	for (size_t i = 0; i < N_OPTIONS; i++) {
		size_t len = strlen(options[i].name);
		bool is_short = options[i].name[1] != '-';

		if (strncmp(word, options[i].name, len) != 0)
			continue;
		*ret_value = NULL;
		if (word[len] == 0)
			return &options[i];
		if (!options[i].value || (!is_short && word[len] != '='))
			continue;
		*ret_value = word + len + !is_short;
		return &options[i];
	}
	return NULL;
}

static int take_option(int argc, char **argv, int *at, struct cmd_args *a)
{
	const char *value, *word = argv[*at];
	const struct option *o = option_find(word, &value);

	if (!o) {
		fprintf(stderr, "tungate: unknown option %s\n", word);
		return -EINVAL;
	}
	if (o->value && !value) {
		if (++*at == argc) {
			fprintf(stderr, "tungate: %s wants a value: %s\n", o->name, o->value);
			return -EINVAL;
		}
		value = argv[*at];
	}
	if (o->value)
		memcpy((char *)a + o->offset, &value, sizeof value);
	a->given |= o->bit;
	return 0;
}

int cmd_args_parse(int argc, char **argv, struct cmd_args *ret)
{
	struct cmd_args a = {
		.config = "/etc/tungate/tungate.yaml",
		.socket = "/run/tungate.sock",
	};
	bool words_only = false;

	for (int at = 1; at < argc; at++) {
		const char *word = argv[at];

		if (!words_only && strcmp(word, "--") == 0) {
			words_only = true;
		} else if (!words_only && word[0] == '-' && word[1]) {
			if (take_option(argc, argv, &at, &a))
				return -EINVAL;
		} else if (a.n_words == CMD_WORDS_MAX) {
			fprintf(stderr, "tungate: too many words: %s\n", word);
			return -EINVAL;
		} else {
			a.words[a.n_words++] = word;
		}
	}
	*ret = a;
	return 0;
}
