/* SPDX-License-Identifier: MIT */
/*
 * An interrupt waits until its guest opens its window; meanwhile the machine's timer comes due for another
 * one, at every distance behind the entry with which the waiting began. Were that lost, as QEMU 7.2 may lose
 * it at such an entry, nothing would wake anybody: this guest hangs and fails by time. With the word long it
 * tries often enough: every third run hung before lintel looked behind the window's own exit, too.
 */
#include "lib/apic.h"
#include "lib/tap.h"

#define VECTOR_TIMER  0x60
#define VECTOR_PIC    0x20
#define PIT_COMMAND   0x43
#define PIT_CHANNEL_0 0x40
#define STEP_TICKS    37u /* TSC */
#define MOST_TICKS    150000u
#define CLOSED_TICKS  400000u
#define PIT_COUNT     48 /* 40 us */

static void on_timer(struct frame *frame)
{
    (void)frame;
    lapic_eoi();
}

static void on_pit(struct frame *frame)
{
    (void)frame;
    pic_eoi(0);
}

/* Without an exit of its own. */
static void spin(u64 ticks)
{
    u64 begun = rdtsc();

    while (rdtsc() - begun < ticks)
        ;
}

static void both_wait(u64 distance)
{
    u32 pits = interrupts[VECTOR_PIC] + 1, timers = interrupts[VECTOR_TIMER] + 1;

    out8(PIT_COMMAND, 0x30); /* channel 0, mode 0: once */
    out8(PIT_CHANNEL_0, PIT_COUNT);
    out8(PIT_CHANNEL_0, 0);
    wrmsr(MSR_TSC_DEADLINE, rdtsc() + distance);
    spin(CLOSED_TICKS);
    interrupt_window();
    while (interrupts[VECTOR_PIC] < pits || interrupts[VECTOR_TIMER] < timers)
        interrupt_wait();
}

void guest_main(void)
{
    u32 rounds = word_given("long") ? 20000 : 1000;
    u64 distance = 0;

    plan(1);
    pic_setup(VECTOR_PIC, VECTOR_PIC + 8);
    lapic_setup();
    lapic_write(LAPIC_LVT_LINT0, 0x700);
    interrupt_handle(VECTOR_TIMER, on_timer);
    interrupt_handle(VECTOR_PIC, on_pit);
    lapic_write(LAPIC_LVT_TIMER, (u32)LVT_DEADLINE | VECTOR_TIMER);
    pic_mask((u16)~BIT(0));
    for (unsigned i = 0; i < rounds; i++) {
        distance = (distance + STEP_TICKS) % MOST_TICKS;
        both_wait(distance);
    }
    ok(interrupts[VECTOR_PIC] == rounds && interrupts[VECTOR_TIMER] == rounds,
       "in %u rounds no interrupt was lost or doubled: %u and %u", rounds, interrupts[VECTOR_PIC],
       interrupts[VECTOR_TIMER]);
}
