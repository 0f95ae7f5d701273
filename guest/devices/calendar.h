/* SPDX-License-Identifier: MIT */
/* Seconds since 1970 and the Gregorian calendar, without a loop. Pure functions; any values are harmless. */
#ifndef GUEST_DEVICES_CALENDAR_H
#define GUEST_DEVICES_CALENDAR_H

#include "hv/lib/types.h"

struct calendar {
    unsigned year, month, day; /* month and day from 1 */
    unsigned hour, minute, second;
    unsigned weekday; /* 0 is Sunday; not read by calendar_to_seconds */
};

/* Negative seconds count as 0. */
void calendar_from_seconds(s64 seconds, struct calendar *date);
/* Fields beyond their range carry over into the next; never below 0. */
s64 calendar_to_seconds(const struct calendar *date);

/*
 * The first second from `from` on with this time of day, -1 for any hour, minute, second; CALENDAR_NEVER if
 * there is none such.
 */
#define CALENDAR_NEVER INT64_MAX
s64 calendar_next_match(s64 from, int at_hour, int at_minute, int at_second);

#endif
