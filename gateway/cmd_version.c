#include "gateway/cmd.h"

#include <stdio.h>

int cmd_version(const struct cmd_args *a)
{
	if (a->given & CMD_JSON)
		puts("{\"version\":\"" TUNGATE_VERSION "\"}");
	else
		puts("tungate " TUNGATE_VERSION);
	return CMD_DONE;
}
