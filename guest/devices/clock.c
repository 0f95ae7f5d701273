/* SPDX-License-Identifier: MIT */
/* The factors of clock.h: long division, once per device. Called by each device's init. */
#include "guest/devices/clock.h"

/* numerator / denominator as factor / 2^shift, with all 64 bits of factor used. Both are below 2^62. */
static u64 factor_make(u64 numerator, u64 denominator, u8 *shift)
{
    u64 factor = numerator / denominator, rest = numerator % denominator;

    for (*shift = 0; factor >> 63 == 0 && *shift < 127; ++*shift) {
        rest <<= 1;
        factor = factor << 1 | (rest >= denominator);
        if (rest >= denominator)
            rest -= denominator;
    }
    return factor;
}

void device_clock_init(struct device_clock *clock, u64 hz)
{
    u64 tsc_hz = tsc_khz * 1000;

    clock->to_device = factor_make(hz, tsc_hz, &clock->to_shift);
    clock->from_device = factor_make(tsc_hz, hz, &clock->from_shift);
}
