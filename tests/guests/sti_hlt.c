/* SPDX-License-Identifier: MIT */
/*
 * STI; HLT with an interrupt that comes just then, at every distance: were it delivered between the two, HLT
 * would sleep over it for ever. Linux's idle loop rests on that. A guest that hangs here fails by time.
 */
#include "lib/apic.h"
#include "lib/tap.h"

#define VECTOR_TIMER 0x60
#define ROUNDS       40000u
#define STEP_TICKS   37u
#define MOST_TICKS   60000u

static void on_timer(struct frame *frame)
{
    (void)frame;
    lapic_eoi();
}

void guest_main(void)
{
    u64 distance = 0;
    unsigned i;

    plan(1);
    pic_setup(0x20, 0x28);
    lapic_setup();
    interrupt_handle(VECTOR_TIMER, on_timer);
    lapic_write(LAPIC_LVT_TIMER, (u32)LVT_DEADLINE | VECTOR_TIMER);
    for (i = 0; i < ROUNDS; i++) {
        distance = (distance + STEP_TICKS) % MOST_TICKS;
        wrmsr(MSR_TSC_DEADLINE, rdtsc() + distance);
        interrupt_wait();
    }
    ok(interrupts[VECTOR_TIMER] == ROUNDS, "each of %u waits ended by its interrupt: %u", ROUNDS,
       interrupts[VECTOR_TIMER]);
}
