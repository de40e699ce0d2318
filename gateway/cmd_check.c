/* check: reads all that `run` would read, changes nothing. */
#include "gateway/cmd.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "conf/conf.h"
#include "gateway/control/listen.h"
#include "gateway/generation.h"

static void print_conf(void *arg, enum conf_severity severity, const char *text)
{
	(void)arg;
	(void)severity; /* it is in the text */
	fprintf(stderr, "%s\n", text);
}

static void print_policy(void *arg, bool is_error, const char *text)
{
	(void)arg;
	(void)is_error;
	fprintf(stderr, "%s\n", text);
}

static int check_policy(const struct config *config)
{
	const struct policy_build_config pc = {.config = config, .report = print_policy};
	struct policy *policy;
	int err = policy_build(&pc, &policy);

	if (!err)
		policy_unref(policy);
	return err;
}

static int check_control(const struct config *config)
{
	int err = control_path_check(config->control_socket);

	if (!err)
		return 0;
	if (config->control_line)
		fprintf(stderr, "%s:%u:%u: ", config->path, config->control_line,
			config->control_column);
	fprintf(stderr, "control.socket: %s: %s\n", config->control_socket,
		err == -EEXIST ? "there is something else than a socket" : strerror(-err));
	return -EINVAL;
}

int cmd_check(const struct cmd_args *a)
{
	struct config *config;
	int err = conf_load(a->config, print_conf, NULL, &config);

	if (!err) {
		int policy = check_policy(config), control = check_control(config);

		err = generation_check(config, print_policy, NULL);
		err = policy ? policy : err ? err : control;
		conf_free(config);
	}
	if (err && err != -EINVAL) /* else the reasons are told */
		fprintf(stderr, "tungate: %s: %s\n", a->config, strerror(-err));
	return err ? CMD_FAILED : CMD_DONE;
}
