/* SPDX-License-Identifier: MIT */
/*
 * Time for devices: the boot CPU's TSC on whatever CPU, and exact conversion between it and a device's own
 * clock without division on the way. No state of its own; any CPU, no lock. Host tests move the time
 * themselves.
 */
#ifndef GUEST_DEVICES_CLOCK_H
#define GUEST_DEVICES_CLOCK_H

#include "arch/x86/machine/tsc.h"

#ifdef LINTEL_HOST_TEST
extern u64 test_now; /* tests/unit/device_fakes.c */
static inline u64 device_now(void)
{
    return test_now;
}
#else
static inline u64 device_now(void)
{
    return tsc_boot_now();
}
#endif

__extension__ typedef unsigned __int128 device_clock_product;

/*
 * Both rates as fixed-point factors with 64 significant bits: however long the machine has been up, the two
 * directions agree, so that a timer set for a tick never fires before it.
 */
struct device_clock {
    u64 to_device, from_device;
    u8 to_shift, from_shift;
};

/* hz: of the device, 1 .. 2^32. After tsc_calibrate. */
void device_clock_init(struct device_clock *clock, u64 hz);

/* Device ticks in so many TSC ticks, rounded down. */
static inline u64 device_ticks_from_tsc(const struct device_clock *clock, u64 tsc)
{
    return (u64)((device_clock_product)tsc * clock->to_device >> clock->to_shift);
}

/*
 * TSC ticks after which so many device ticks are over for sure: the factor is raised by three units of its
 * last place, one for its own rounding and two for that of the way back.
 */
static inline u64 device_ticks_to_tsc(const struct device_clock *clock, u64 ticks)
{
    device_clock_product product =
        (device_clock_product)ticks * clock->from_device + 3 * (device_clock_product)ticks;

    return (u64)(product >> clock->from_shift) + 1;
}

#endif
