/* SPDX-License-Identifier: MIT */
/*
 * The ordered end of the machine: every guest hears the power button, has a grace time to switch itself off,
 * and is stopped when it has not. Runs as sched_work on the boot CPU, no lock held.
 */
#ifndef HV_OPERATOR_SHUTDOWN_H
#define HV_OPERATOR_SHUTDOWN_H

#include "hv/lib/types.h"

/*
 * Begin it; what: what the machine is to do then, for the log. grace_s: 0 stops at once. Asked again while
 * it is under way, it does not wait any longer.
 */
void shutdown_begin(const char *what, NORETURN void (*end)(void), u32 grace_s);
bool shutdown_is_under_way(void);
/* A VM has ended: if it was the last, so does the machine. */
void shutdown_look(void);

#endif
