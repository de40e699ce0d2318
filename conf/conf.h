/* Reading a configuration file: one option table (conf/options.c) drives reading, checking,
 * defaults and the man page. Depends on libyaml only; no global state; called by `check`, `run` and
 * reload in the main thread. */
#ifndef TUNGATE_CONF_CONF_H
#define TUNGATE_CONF_CONF_H

#include "conf/config.h"

enum conf_severity { CONF_ERROR, CONF_WARNING, CONF_NOTE };

/* text: "FILE:LINE:COLUMN: KEY: what is wrong; allowed: …"; warnings and notes have "warning: " or
 * "note: " behind the position. All of a file are reported, in the order of their lines. */
typedef void conf_report(void *arg, enum conf_severity severity, const char *text);

/* Reads path. 0 and *ret; -EINVAL after at least one CONF_ERROR was reported (also for a file that
 * cannot be read). */
int conf_load(const char *path, conf_report *report, void *arg, struct config **ret);
/* The same from memory; path names the text in messages, relative paths in it are relative to
 * path's folder. */
int conf_parse(const char *path, const char *text, size_t len, conf_report *report, void *arg,
	struct config **ret);
void conf_free(struct config *config);

/* The options as troff for the man page tungate.yaml(5), written to out. */
#include <stdio.h>
int conf_write_man(FILE *out);

#endif
