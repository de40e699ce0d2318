/* The log: one line a message on stderr, "level: text", cut at 1 KiB. Only those who decide log
 * (daemon, workers' rooms); library code returns an errno. Any thread; a line is one write(2). */
#ifndef TUNGATE_BASE_LOG_H
#define TUNGATE_BASE_LOG_H

#include <stdbool.h>
#include <stdint.h>

enum log_level { LOG_LEVEL_ERROR, LOG_LEVEL_WARN, LOG_LEVEL_INFO, LOG_LEVEL_DEBUG };

void log_set_level(enum log_level level);
void log_write(enum log_level level, const char *format, ...) __attribute__((format(printf, 2, 3)));

#define log_error(...) log_write(LOG_LEVEL_ERROR, __VA_ARGS__)
#define log_warn(...)  log_write(LOG_LEVEL_WARN, __VA_ARGS__)
#define log_info(...)  log_write(LOG_LEVEL_INFO, __VA_ARGS__)
#define log_debug(...) log_write(LOG_LEVEL_DEBUG, __VA_ARGS__)

/* A gate for messages that packets can cause: true at most once in every_ms. Zero-initialise; any
 * thread. */
struct log_gate {
	_Atomic int64_t next_ms;
};
bool log_gate_open(struct log_gate *gate, int64_t every_ms);

#endif
