/* The command line: main.c has the table of sub-commands and reads the options, cmd_*.c holds one
 * sub-command each. Exit statuses: 0 done, 1 failed and why on stderr, 2 wrong usage. */
#ifndef TUNGATE_CMD_H
#define TUNGATE_CMD_H

#include <stdbool.h>

enum cmd_status { CMD_DONE, CMD_FAILED, CMD_USAGE };

enum cmd_option {
	CMD_CONFIG = 1,
	CMD_SOCKET = 2,
	CMD_JSON = 4,
	CMD_CLIENT = 8,
	CMD_TYPE = 16,
	CMD_FORMAT = 32,
	CMD_OUTPUT = 64,
	CMD_RULE = 128,
};

#define CMD_WORDS_MAX 256 /* as many as a shell makes of a folder of lists */
struct cmd_args {
	unsigned given;		     /* enum cmd_option */
	const char *config, *socket; /* or their defaults */
	const char *client, *type;   /* NULL: not given */
	const char *format, *output, *rule;
	const char *words[CMD_WORDS_MAX]; /* what is no option; for a command: behind its name */
	unsigned n_words;
};

/* Each gets only options and as many words as its line of the table allows. */
int cmd_run(const struct cmd_args *a);
int cmd_check(const struct cmd_args *a);
int cmd_status(const struct cmd_args *a);
int cmd_fakeip_list(const struct cmd_args *a);
int cmd_fakeip_lookup(const struct cmd_args *a);
int cmd_fakeip_flush(const struct cmd_args *a);
int cmd_cache_show(const struct cmd_args *a);
int cmd_cache_flush(const struct cmd_args *a);
int cmd_explain(const struct cmd_args *a);
int cmd_learned(const struct cmd_args *a);
int cmd_reload(const struct cmd_args *a);
int cmd_compile(const struct cmd_args *a);
int cmd_version(const struct cmd_args *a);

/* cmd_options.c: options may stand anywhere before "--". -EINVAL: told on stderr. */
int cmd_args_parse(int argc, char **argv, struct cmd_args *ret);
/* The text of the first option in `options` (one bit or several), for messages: "--json". */
const char *cmd_option_name(unsigned options);

#endif
