#include "gateway/privileges.h"
#include "gateway/base/log.h"

#include <errno.h>
#include <linux/capability.h>
#include <stdint.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

static const uint32_t kept = 1u << CAP_NET_ADMIN | 1u << CAP_NET_BIND_SERVICE;

static int fail(const char *what)
{
	int error = -errno;

	log_error("%s: %s", what, strerror(-error));
	return error;
}

int privileges_drop(void)
{
	struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
	struct __user_cap_data_struct data[2] = {0};

	/* The bounding set needs CAP_SETPCAP, which a service manager may have taken already: then
	 * it is small anyway. */
	for (int cap = 0; cap <= CAP_LAST_CAP; cap++)
		if (!(cap < 32 && kept & 1u << cap) && prctl(PR_CAPBSET_DROP, cap, 0, 0, 0) &&
			errno != EPERM && errno != EINVAL)
			return fail("capability bounding set");
	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0))
		return fail("no_new_privs");
	if (syscall(SYS_capget, &header, data))
		return fail("capget");
	data[0].effective &= kept;
	data[0].permitted &= kept;
	data[0].inheritable = 0;
	data[1] = (struct __user_cap_data_struct){0};
	if (syscall(SYS_capset, &header, data))
		return fail("capset");
	return 0;
}
