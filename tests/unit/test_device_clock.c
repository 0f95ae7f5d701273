/* SPDX-License-Identifier: MIT */
/*
 * guest/devices/clock.[ch]: conversion between TSC and device ticks is exact, and both ways agree for
 * centuries.
 */
// sources: guest/devices/clock.c
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "guest/devices/clock.h"

u64 tsc_khz;
u64 test_now;

static const u64 tsc_rates[] = {1000, 999999, 1000000, 2599996, 2893437, 5700001, 100000000};
static const u64 device_rates[] = {1, 32768, 1193182, 3579545, 999999999, 1000000000, 4294967296};

/* A timer set for a tick never fires before it, and not more than one tick after it. */
static void test_both_ways(void **state)
{
    (void)state;
    for (unsigned i = 0; i < ARRAY_SIZE(tsc_rates) * ARRAY_SIZE(device_rates); i++) {
        struct device_clock clock;
        u64 hz = device_rates[i % ARRAY_SIZE(device_rates)];

        tsc_khz = tsc_rates[i / ARRAY_SIZE(device_rates)];
        device_clock_init(&clock, hz);
        for (u64 ticks = 1, there = 0; there < 1ull << 61 && ticks < 1ull << 58; ticks += ticks / 3 + 1) {
            u64 back;

            there = device_ticks_to_tsc(&clock, ticks);
            back = device_ticks_from_tsc(&clock, there);
            assert_in_range(back, ticks, ticks + 1 + hz / (tsc_khz * 1000) * 2);
        }
    }
}

static void test_exact(void **state)
{
    struct device_clock clock;

    (void)state;
    tsc_khz = 2893437;
    device_clock_init(&clock, 3579545);
    /* a year, to the tick */
    assert_in_range(device_ticks_from_tsc(&clock, 2893437000ull * 86400 * 365), 3579545ull * 86400 * 365 - 1,
                    3579545ull * 86400 * 365);
    assert_int_equal(device_ticks_from_tsc(&clock, 0), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_both_ways), cmocka_unit_test(test_exact)};

    return cmocka_run_group_tests(tests, NULL, NULL);
}
