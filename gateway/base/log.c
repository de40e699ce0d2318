#include "gateway/base/log.h"
#include "gateway/base/clock.h"

#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

static _Atomic int current_level = LOG_LEVEL_INFO;

void log_set_level(enum log_level level)
{
	current_level = (int)level;
}

void log_write(enum log_level level, const char *format, ...)
{
	static const char *const names[] = {"error", "warn", "info", "debug"};
	char line[1024];
	va_list args;
	int n, head;

	if ((int)level > current_level)
		return;
	head = snprintf(line, sizeof line, "%s: ", names[level]);
	va_start(args, format);
	n = vsnprintf(line + head, sizeof line - (size_t)head - 1, format, args);
	va_end(args);
	if (n < 0)
		return;
	n += head;
	if (n > (int)sizeof line - 2)
		n = (int)sizeof line - 2;
	line[n++] = '\n';
	/* A log that cannot be written has nowhere to complain. */
	if (write(STDERR_FILENO, line, (size_t)n) < 0)
		return;
}

bool log_gate_open(struct log_gate *gate, int64_t every_ms)
{
	int64_t now = clock_ms(), next = atomic_load_explicit(&gate->next_ms, memory_order_relaxed);

	return now >= next && atomic_compare_exchange_strong(&gate->next_ms, &next, now + every_ms);
}
