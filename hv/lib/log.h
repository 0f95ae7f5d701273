/* SPDX-License-Identifier: MIT */
/*
 * lintel's log: a ring in RAM and the sinks (serial line, screen) that registered. Every line is a sentence;
 * it is stored with its level and time and handed to each sink as "[lintel] text\n". Any CPU; takes the log's
 * own lock (of a high rank: may be called with any lock held but a sink's or a timer queue's).
 */
#ifndef HV_LIB_LOG_H
#define HV_LIB_LOG_H

#include <stdarg.h>

#include "hv/lib/list.h"
#include "hv/lib/types.h"

enum log_level { LOG_ERROR, LOG_WARNING, LOG_INFO, LOG_DEBUG };

/*
 * Write size bytes; must not log, block for long, or fail. panicking: never wait for anything (locks are
 * broken).
 */
struct log_sink {
    const char *name;
    void (*write)(struct log_sink *sink, const char *text, size_t size, bool panicking);
    struct list_node node;
};

void log_line(enum log_level level, const char *format, ...) PRINTF_LIKE(2, 3);
void log_line_args(enum log_level level, const char *format, va_list args);

#define log_error(...)   log_line(LOG_ERROR, __VA_ARGS__)
#define log_warning(...) log_line(LOG_WARNING, __VA_ARGS__)
#define log_info(...)    log_line(LOG_INFO, __VA_ARGS__)
#define log_debug(...)   log_line(LOG_DEBUG, __VA_ARGS__)

/*
 * Register a sink; it first receives every line up to the level that the ring still holds (once: at boot, one
 * CPU).
 */
void log_sink_add(struct log_sink *sink);

/* Lines above this level go to the ring alone (default LOG_INFO). */
void log_level_set(enum log_level level);

/*
 * Where a line's time comes from (nanoseconds since lintel started), once there is a clock. log_replay shows
 * it; lines from before, and the sinks, do without.
 */
void log_clock_set(u64 (*now_ns)(void));

/* Call write for each stored line, oldest first (the monitor's `log`, and a panic). */
void log_replay(void (*write)(void *context, const char *text, size_t size), void *context);

/* From now on no lock is taken and sinks do not wait: for panic alone. */
void log_enter_panic(void);

/*
 * A budget for messages that a guest can cause: at most burst lines per interval. Returns false when this
 * one must be dropped. Zero-initialised; times are TSC ticks handed in by the caller.
 */
struct log_limit {
    u64 window_start;
    u32 used;
    u32 dropped;
};
bool log_limit_pass(struct log_limit *limit, u64 now, u64 interval, u32 burst);

#endif
