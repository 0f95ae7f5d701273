/* SPDX-License-Identifier: MIT */
/*
 * The MC146818 clock and its CMOS memory, ports 0x70 and 0x71, ISA line 8. Flags are worked out from the TSC
 * when somebody looks; the host timer runs only while an interrupt is enabled. Device lock. Motorola
 * MC146818A data sheet.
 */
#ifndef GUEST_DEVICES_RTC_H
#define GUEST_DEVICES_RTC_H

#include "guest/devices/clock.h"
#include "hv/run/timer.h"

struct machine;

#define RTC_CMOS_BYTES 128

struct rtc {
    struct machine *machine;
    struct device_clock clock; /* 32,768 Hz */
    struct timer timer;
    s64 base_seconds; /* since 1970, at base_tsc */
    u64 base_tsc;
    u64 seen_ticks; /* of the clock since base_tsc: flags are worked out up to here */
    u8 index;
    u8 cmos[RTC_CMOS_BYTES];
};

int rtc_init(struct rtc *rtc, struct machine *machine);
void rtc_reset(struct rtc *rtc);

/* Seconds since 1970 (UTC) as the host knows them; boot sets it. NULL: guests start in January 2026. */
extern u64 (*rtc_wall_clock_seconds)(void);

#endif
