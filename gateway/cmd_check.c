/* check: reads all that `run` would read, changes nothing. */
#include "gateway/cmd.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "conf/conf.h"
#include "gateway/policy/policy.h"

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

int cmd_check(const struct cmd_args *a)
{
	struct config *config;
	struct policy *policy;
	int err = conf_load(a->config, print_conf, NULL, &config);

	if (!err) {
		err = policy_build(config, print_policy, NULL, &policy);
		if (!err)
			policy_unref(policy);
		conf_free(config);
	}
	if (err && err != -EINVAL) /* else the reasons are told */
		fprintf(stderr, "tungate: %s: %s\n", a->config, strerror(-err));
	return err ? CMD_FAILED : CMD_DONE;
}
