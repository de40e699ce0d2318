/* Records that are pushed over the control socket: into their file, then into force. */
#include "gateway/daemon_internal.h"
#include "gateway/base/log.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

int daemon_records_set(
	struct daemon *d, const char *source, const char *json, char *ret_why, size_t size)
{
	int error = records_store_set(&d->config->records, source, json, ret_why, size);

	if (error) {
		if (error != -EINVAL && error != -ENOENT)
			log_warn("pushed records cannot be kept: %s; those of before stay in force",
				ret_why);
		return error;
	}
	error = daemon_renew_records(d);
	if (error) {
		(void)snprintf(ret_why, size, "kept, but not in force: %s", strerror(-error));
		return error == -EINVAL ? -EIO : error; /* it was seen to be good */
	}
	log_info("records of %s: %s", source, json ? "pushed" : "deleted");
	return 0;
}

int daemon_records_list(struct daemon *d, char **ret_json)
{
	const char *store = d->config->records.store;

	if (store && *store)
		return records_store_list(store, ret_json);
	*ret_json = strdup("{}");
	return *ret_json ? 0 : -ENOMEM;
}
