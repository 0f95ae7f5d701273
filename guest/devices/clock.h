/* SPDX-License-Identifier: MIT */
/*
 * Time for devices: the host's TSC, and exact conversion between it and a device's own clock without
 * division on the way. No state of its own; any CPU, no lock. Host tests move the time themselves.
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
    return read_tsc();
}
#endif

__extension__ typedef unsigned __int128 device_clock_product;

/*
 * Two rates as fixed-point factors of at least 32 significant bits: an error below one second in a century.
 */
struct device_clock {
    u64 to_device, from_device;
    u8 to_shift, from_shift;
};

static inline u64 device_clock_factor(u64 numerator, u64 denominator, u8 *shift)
{
    *shift = (u8)__builtin_clzll(numerator);
    return (numerator << *shift) / denominator;
}

/* hz: of the device, 1 .. 2^32. */
static inline void device_clock_init(struct device_clock *clock, u64 hz)
{
    u64 tsc_hz = tsc_khz * 1000;

    clock->to_device = device_clock_factor(hz, tsc_hz, &clock->to_shift);
    clock->from_device = device_clock_factor(tsc_hz, hz, &clock->from_shift);
}

/* Device ticks in so many TSC ticks, rounded down. */
static inline u64 device_ticks_from_tsc(const struct device_clock *clock, u64 tsc)
{
    return (u64)((device_clock_product)tsc * clock->to_device >> clock->to_shift);
}

/* TSC ticks after which so many device ticks are over for sure. */
static inline u64 device_ticks_to_tsc(const struct device_clock *clock, u64 ticks)
{
    return (u64)((device_clock_product)ticks * (clock->from_device + 1) >> clock->from_shift) + 1;
}

#endif
