/* SPDX-License-Identifier: MIT */
/* What drives have around them: one CPU's timers, the test's own time in microseconds, a log that is kept. */
#ifndef TESTS_UNIT_DRIVE_WORLD_H
#define TESTS_UNIT_DRIVE_WORLD_H

#include "hv/run/sched.h"

extern u64 drive_time;
extern char said[8000];

/* The CPU has timers, none of which is set. */
void drive_world_timers(void);
/* No drive has media yet, and nobody polls. */
void drive_world_media(void);

#endif
