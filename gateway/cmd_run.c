#include "gateway/cmd.h"
#include "gateway/daemon.h"

int cmd_run(const struct cmd_args *a)
{
	return daemon_main(a->config);
}
