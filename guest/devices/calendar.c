/* SPDX-License-Identifier: MIT */
/*
 * The calendar for the RTC. Years are counted from March, so that the leap day is the last of its year and
 * the lengths of months follow one straight line: (153 m + 2) / 5 days lie before month m. Pure; called by
 * rtc.c.
 */
#include "guest/devices/calendar.h"

#define SECONDS_PER_DAY 86400
#define DAYS_PER_400    146097 /* years: then the calendar repeats */
#define DAYS_PER_100    36524
#define DAYS_PER_4      1461
#define EPOCH_DAY       719468 /* 1970-01-01, counted from 0000-03-01 */

void calendar_from_seconds(s64 seconds, struct calendar *date)
{
    u64 at = (u64)MAX(seconds, 0);
    u64 days = at / SECONDS_PER_DAY + EPOCH_DAY;
    unsigned second = (unsigned)(at % SECONDS_PER_DAY);
    unsigned day = (unsigned)(days % DAYS_PER_400), centuries, fours, years, months;

    /* The last century of 400 years, and the last year of four, have a day more: hence the minima. */
    centuries = MIN(day / DAYS_PER_100, 3u);
    day -= centuries * DAYS_PER_100;
    fours = day / DAYS_PER_4;
    day -= fours * DAYS_PER_4;
    years = MIN(day / 365, 3u);
    day -= years * 365;
    months = (5 * day + 2) / 153;

    date->year = (unsigned)(days / DAYS_PER_400) * 400 + centuries * 100 + fours * 4 + years + (months >= 10);
    date->month = months < 10 ? months + 3 : months - 9;
    date->day = day - (153 * months + 2) / 5 + 1;
    date->weekday = (unsigned)((at / SECONDS_PER_DAY + 4) % 7); /* 1970 began on a Thursday */
    date->hour = second / 3600;
    date->minute = second / 60 % 60;
    date->second = second % 60;
}

s64 calendar_to_seconds(const struct calendar *date)
{
    s64 months = (s64)date->year * 12 + date->month - 3; /* since March of year 0 */
    s64 year = months / 12, month = months % 12;
    s64 days;

    if (months < 0)
        return 0;
    days =
        365 * year + year / 4 - year / 100 + year / 400 + (153 * month + 2) / 5 + date->day - 1 - EPOCH_DAY;
    return MAX(((days * 24 + date->hour) * 60 + date->minute) * 60 + date->second, 0);
}

s64 calendar_next_match(s64 from, int at_hour, int at_minute, int at_second)
{
    s64 day = from / SECONDS_PER_DAY;
    int left = (int)(from % SECONDS_PER_DAY);
    int hour = left / 3600, minute = left / 60 % 60, second = left % 60;

    if (at_hour > 23 || at_minute > 59 || at_second > 59)
        return CALENDAR_NEVER;
    if (at_second >= 0) {
        minute += second > at_second;
        second = at_second;
    }
    if (minute == 60) {
        minute = 0;
        hour++;
    }
    if (at_minute >= 0 && minute != at_minute) {
        hour += minute > at_minute;
        minute = at_minute;
        second = MAX(at_second, 0);
    }
    if (hour == 24) {
        hour = 0;
        day++;
    }
    if (at_hour >= 0 && hour != at_hour) {
        day += hour > at_hour;
        hour = at_hour;
        minute = MAX(at_minute, 0);
        second = MAX(at_second, 0);
    }
    return day * SECONDS_PER_DAY + hour * 3600 + minute * 60 + second;
}
