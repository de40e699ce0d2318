/* check: reads all that `run` would read, changes nothing. */
#include "gateway/cmd.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "conf/conf.h"
#include "gateway/policy/policy.h"
#include "gateway/policy/records.h"

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
	struct records *records;
	int err = conf_load(a->config, print_conf, NULL, &config);

	if (!err) {
		const struct list_sink complain = {.complain = print_policy};
		const struct policy_build_config pc = {.config = config, .report = print_policy};
		int records_err = records_read(&config->records, &complain, &records);

		err = policy_build(&pc, &policy);
		if (!err)
			policy_unref(policy);
		if (!records_err)
			records_unref(records);
		err = err ? err : records_err;
		conf_free(config);
	}
	if (err && err != -EINVAL) /* else the reasons are told */
		fprintf(stderr, "tungate: %s: %s\n", a->config, strerror(-err));
	return err ? CMD_FAILED : CMD_DONE;
}
