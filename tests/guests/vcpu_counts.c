/* SPDX-License-Identifier: MIT */
/*
 * Four vCPUs for the operator to play with: 0 tells what the others do, 1 counts, 2 waits in HLT, 3 was never
 * started. tests/system/test_vcpus.py stops, starts and sets them.
 */
// conf: vcpus = 4
// hostile: it never ends by itself
#include "lib/tap.h"
#include "lib/vcpus.h"

#define LOOK_US 50000

static void halt(u32 number)
{
    for (;;) {
        asm volatile("sti; hlt");
        vcpus[number].turns++;
    }
}

/* Said once for each change. */
static void tell(const char **last, const char *now)
{
    if (*last != now)
        say("%s", now);
    *last = now;
}

static void watch(void)
{
    const char *last = NULL;
    u32 begun = vcpus[1].begun, woke = 0;

    for (;;) {
        u32 before = vcpus[1].turns;

        delay_us(LOOK_US);
        if (vcpus[1].begun != begun) {
            say("vCPU 1 begins anew");
            begun = vcpus[1].begun;
        }
        tell(&last, vcpus[1].turns == before ? "vCPU 1 stands still" : "vCPU 1 counts on");
        if (vcpus[2].turns != woke)
            say("vCPU 2 woke");
        woke = vcpus[2].turns;
    }
}

void guest_main(void)
{
    lapic_setup();
    vcpus_setup();
    vcpu_start(1, vcpu_spin);
    vcpu_start(2, halt);
    if (!vcpu_has_begun(1, 1) || !vcpu_has_begun(2, 1))
        bail_out("the others do not start");
    delay_us(LOOK_US);
    say("begun 3");
    watch();
}
