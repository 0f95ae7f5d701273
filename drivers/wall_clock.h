/* SPDX-License-Identifier: MIT */
/* What time it is outside, by the machine's CMOS clock (MC146818), and by the TSC since then. */
#ifndef DRIVERS_WALL_CLOCK_H
#define DRIVERS_WALL_CLOCK_H

#include "hv/lib/types.h"

/*
 * Seven registers as the clock holds them, and its status B: seconds since 1970, or 0 when they are no date.
 * Pure.
 */
struct cmos_date {
    u8 second, minute, hour, day, month, year, century, status_b;
};
u64 cmos_date_seconds(struct cmos_date date);

/* Read the clock once, after tsc_calibrate. Boot CPU. */
void wall_clock_init(void);
/* Seconds since 1970, UTC as the CMOS clock is taken to be. Any CPU. */
u64 wall_clock_seconds(void);

#endif
