/* SPDX-License-Identifier: MIT */
/* A VM that only is there: it sleeps for ten seconds, which cost no time under -icount, and ends. */
#include "guest/pv/lintel.h"
#include "lib/apic.h"
#include "lib/tap.h"

#define VECTOR  0x40
#define SLEEP_S 10

static volatile bool over;

static void timer_handler(struct frame *frame)
{
    (void)frame;
    over = true;
}

void guest_main(void)
{
    u64 hz = (u64)cpuid(LINTEL_CPUID_TIMING, 0).eax * 1000;

    interrupt_handle(VECTOR, timer_handler);
    lapic_write(LAPIC_SVR, 0x1ff);
    lapic_write(LAPIC_LVT_TIMER, (u32)LVT_DEADLINE | VECTOR);
    wrmsr(MSR_TSC_DEADLINE, rdtsc() + SLEEP_S * hz);
    while (!over)
        interrupt_wait();
    lintel_call0(LINTEL_CALL_SYSTEM_OFF);
}
