/* SPDX-License-Identifier: MIT */
/* See measure.h. */
#include "lib/measure.h"

#include "lib/tap.h"

u64 measured[MEASURE_ROUNDS];
static u64 empty;

static void sort(u64 *values, unsigned count)
{
    for (unsigned i = 1; i < count; i++)
        for (unsigned j = i; j > 0 && values[j] < values[j - 1]; j--) {
            u64 swap = values[j];

            values[j] = values[j - 1];
            values[j - 1] = swap;
        }
}

static u64 less_empty(u64 ticks)
{
    return ticks > empty ? ticks - empty : 0;
}

void measure_setup(void)
{
    MEASURE("", : : : "memory")
    sort(measured, MEASURE_ROUNDS);
    empty = measured[0];
}

void measure_report(const char *name)
{
    sort(measured, MEASURE_ROUNDS);
    say("bench %s %lu %lu", name, less_empty(measured[0]), less_empty(measured[MEASURE_ROUNDS / 2]));
}
