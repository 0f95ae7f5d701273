/* SPDX-License-Identifier: MIT */
/*
 * From one VM to another on one CPU: both yield again and again, "measure" on the command line makes one of
 * them look at the clock. A yield and the answer to it are two switches.
 */
#include "guest/pv/lintel.h"
#include "lib/io.h"
#include "lib/measure.h"
#include "lib/tap.h"

static void yield(void)
{
    lintel_call0(LINTEL_CALL_YIELD);
}

void guest_main(void)
{
    if (!word_given("measure")) {
        for (unsigned i = 0; i < 5 * MEASURE_ROUNDS; i++)
            yield();
        lintel_call0(LINTEL_CALL_SYSTEM_OFF);
    }
    plan(1);
    measure_setup();
    for (unsigned i = 0; i < MEASURE_ROUNDS; i++) {
        u64 before = rdtsc();

        yield();
        measured[i] = (rdtsc() - before) / 2;
    }
    measure_report("vm_switch");
    ok(true, "measured");
}
