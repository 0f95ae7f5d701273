/* SPDX-License-Identifier: MIT */
/*
 * Every clock against the PM timer: PIT, RTC, the local APIC's timer in its three modes; and the local APIC
 * switched off and on again by its base MSR. Bounds are wide: the emulator's own timers may be late, but
 * never early.
 */
#include "lib/apic.h"
#include "lib/tap.h"

#define VECTOR_TIMER 0x60
#define VECTOR_PIC   0x20
#define PIT_HZ       1193182u
#define PIT_COMMAND  0x43
/* A busy host may let a guest wait. The PM timer of QEMU, of 24 bits, begins anew after 4.6 s. */
#define PATIENCE_US 4000000

static void on_timer(struct frame *frame)
{
    (void)frame;
    lapic_eoi();
}

static void on_rtc(struct frame *frame)
{
    (void)frame;
    out8(0x70, 0x0c);
    (void)in8(0x71); /* reading register C lets the next one come */
    pic_eoi(8);
}

static void on_pit(struct frame *frame)
{
    (void)frame;
    pic_eoi(0);
}

/* Time is counted from before the timer is set, so that whatever comes between cannot make it look early. */
static u32 start;

static void watch(u8 vector)
{
    interrupts[vector] = 0;
    start = in32(PM_TIMER);
}

static u32 pm_us(void)
{
    return (u32)((u64)((in32(PM_TIMER) - start) & 0xffffff) * 1000000 / PM_TIMER_HZ);
}

/*
 * Let time pass with interrupts on, at most so long, until the vector has come often enough; us since
 * watch.
 */
static u32 wait_for(u8 vector, u32 count, u32 most_us)
{
    u32 us;

    do {
        interrupt_window();
        us = pm_us();
    } while (interrupts[vector] < count && us < most_us);
    return us;
}

static void pit_polled(void)
{
    u32 us, low, high;

    out8(0x61, (in8(0x61) & ~2) | 1); /* gate of channel 2 on, speaker off */
    watch(VECTOR_PIC);
    out8(PIT_COMMAND, 0xb0); /* channel 2, mode 0 */
    ok(!(in8(0x61) & 0x20), "channel 2 of the PIT begins low");
    out8(0x42, 0xff); /* as long as it can: 54.9 ms */
    out8(0x42, 0xff);
    out8(PIT_COMMAND, 0x80); /* latch */
    low = in8(0x42);
    high = in8(0x42);
    ok((high << 8 | low) < 0xffff, "and counts down: %u", high << 8 | low);
    while (!(in8(0x61) & 0x20) && pm_us() < PATIENCE_US)
        ;
    us = pm_us();
    ok(us >= 54000 && us < PATIENCE_US, "its 55 ms take %u us", us);
}

static void pit_interrupts(void)
{
    u32 us;

    lapic_write(LAPIC_LVT_LINT0, 0x700);
    pic_setup(VECTOR_PIC, VECTOR_PIC + 8);
    interrupt_handle(VECTOR_PIC, on_pit);
    watch(VECTOR_PIC);
    out8(PIT_COMMAND, 0x30); /* channel 0, mode 0: once */
    out8(0x40, (u8)(PIT_HZ / 200));
    out8(0x40, (u8)(PIT_HZ / 200 >> 8));
    pic_mask((u16)~BIT(0));
    us = wait_for(VECTOR_PIC, 1, PATIENCE_US);
    ok(interrupts[VECTOR_PIC] == 1 && us >= 4800, "one-shot of 5 ms: after %u us", us);
    watch(VECTOR_PIC);
    out8(PIT_COMMAND, 0x34); /* mode 2: periodic */
    out8(0x40, (u8)(PIT_HZ / 500));
    out8(0x40, (u8)(PIT_HZ / 500 >> 8));
    us = wait_for(VECTOR_PIC, 5, PATIENCE_US);
    ok(interrupts[VECTOR_PIC] >= 5 && us >= 9600, "five periods of 2 ms: after %u us", us);
    pic_mask(0xffff);
}

static u8 rtc_read(u8 index)
{
    out8(0x70, index);
    return in8(0x71);
}

static void rtc(void)
{
    u32 us;
    u8 second;

    interrupt_handle(VECTOR_PIC + 8, on_rtc);
    watch(VECTOR_PIC + 8);
    out8(0x70, 0x0a);
    out8(0x71, 0x26); /* 1024 Hz */
    out8(0x70, 0x0b);
    out8(0x71, 0x42); /* periodic interrupt, 24 hours */
    (void)rtc_read(0x0c);
    pic_mask((u16) ~(BIT(2) | BIT(8)));
    us = wait_for(VECTOR_PIC + 8, 8, PATIENCE_US);
    pic_mask(0xffff);
    out8(0x70, 0x0b);
    out8(0x71, 0x02);
    /* The first may have waited already, the second may end a period that had begun. */
    ok(interrupts[VECTOR_PIC + 8] >= 8 && us >= 5800, "eight periods of the RTC at 1024 Hz: after %u us", us);
    second = rtc_read(0);
    watch(VECTOR_PIC + 8);
    while (rtc_read(0) == second && pm_us() < PATIENCE_US)
        ;
    ok(rtc_read(0) != second, "its second ends within %u us", pm_us());
    lapic_write(LAPIC_LVT_LINT0, (u32)LVT_MASKED | 0x700);
}

/* Ticks of the local APIC's timer, divided by 16, in 10 ms. */
static u32 lapic_rate(void)
{
    lapic_write(LAPIC_DIVIDE, 3);
    lapic_write(LAPIC_LVT_TIMER, (u32)LVT_MASKED | VECTOR_TIMER);
    lapic_write(LAPIC_INITIAL, 0xffffffff);
    delay_us(10000);
    return 0xffffffff - lapic_read(LAPIC_CURRENT);
}

static void lapic_counting(void)
{
    u32 rate = lapic_rate(), us;

    ok(rate > 1000, "the local APIC's timer counts: %u ticks in 10 ms", rate);
    interrupt_handle(VECTOR_TIMER, on_timer);
    watch(VECTOR_TIMER);
    lapic_write(LAPIC_LVT_TIMER, VECTOR_TIMER);
    lapic_write(LAPIC_INITIAL, rate / 2);
    us = wait_for(VECTOR_TIMER, 1, PATIENCE_US);
    ok(interrupts[VECTOR_TIMER] == 1 && us >= 4800, "its one-shot of 5 ms: after %u us", us);
    wait_for(VECTOR_TIMER, 2, us + 20000);
    ok(interrupts[VECTOR_TIMER] == 1 && lapic_read(LAPIC_CURRENT) == 0, "comes once");
    lapic_write(LAPIC_LVT_TIMER, (u32)LVT_PERIODIC | VECTOR_TIMER);
    watch(VECTOR_TIMER);
    lapic_write(LAPIC_INITIAL, rate / 5);
    us = wait_for(VECTOR_TIMER, 5, PATIENCE_US);
    ok(interrupts[VECTOR_TIMER] >= 5 && us >= 9600, "five periods of 2 ms: after %u us", us);
    lapic_write(LAPIC_INITIAL, 0);
    interrupt_window(); /* one more may have come meanwhile */
    watch(VECTOR_TIMER);
    wait_for(VECTOR_TIMER, 1, 20000);
    ok(interrupts[VECTOR_TIMER] == 0, "an initial count of 0 stops it");
}

static void lapic_deadline(void)
{
    u64 tsc = rdtsc(), ticks;
    u32 us;

    delay_us(10000);
    ticks = rdtsc() - tsc; /* of 10 ms */
    lapic_write(LAPIC_LVT_TIMER, (u32)LVT_DEADLINE | VECTOR_TIMER);
    wrmsr(MSR_TSC_DEADLINE, tsc + ticks * 1000);
    ok(rdmsr(MSR_TSC_DEADLINE) == tsc + ticks * 1000, "a TSC deadline can be read back");
    watch(VECTOR_TIMER);
    wrmsr(MSR_TSC_DEADLINE, rdtsc() + ticks / 2);
    us = wait_for(VECTOR_TIMER, 1, PATIENCE_US);
    ok(interrupts[VECTOR_TIMER] == 1 && us >= 4800, "it comes after 5 ms: %u us", us);
    ok(rdmsr(MSR_TSC_DEADLINE) == 0, "and is disarmed then");
    watch(VECTOR_TIMER);
    wrmsr(MSR_TSC_DEADLINE, 1);
    wait_for(VECTOR_TIMER, 1, PATIENCE_US);
    ok(interrupts[VECTOR_TIMER] == 1, "one in the past comes at once");
    watch(VECTOR_TIMER);
    /* Far enough for a busy host not to let it pass between the two. */
    wrmsr(MSR_TSC_DEADLINE, rdtsc() + ticks * 50);
    wrmsr(MSR_TSC_DEADLINE, 0);
    wait_for(VECTOR_TIMER, 1, 700000);
    ok(interrupts[VECTOR_TIMER] == 0, "writing 0 disarms");
    watch(VECTOR_TIMER);
    wrmsr(MSR_TSC_DEADLINE, rdtsc() + ticks / 2);
    interrupt_wait();
    ok(interrupts[VECTOR_TIMER] == 1, "it wakes a HLT");
}

static void lapic_off_and_on(void)
{
    u64 base = rdmsr(MSR_APIC_BASE);

    lapic_write(LAPIC_TPR, 0x30);
    wrmsr(MSR_APIC_BASE, base & ~APIC_BASE_ENABLED);
    ok(!(cpuid(1, 0).edx & BIT(9)), "switched off by its MSR, the local APIC leaves CPUID");
    ok(lapic_read(LAPIC_VERSION) == 0xffffffff, "and memory: %x", lapic_read(LAPIC_VERSION));
    wrmsr(MSR_APIC_BASE, base);
    ok(cpuid(1, 0).edx & BIT(9), "switched on it is there again");
    ok(lapic_read(LAPIC_TPR) == 0 && lapic_read(LAPIC_SVR) == 0xff, "as after power-on");
    lapic_setup();
    watch(VECTOR_TIMER);
    lapic_write(LAPIC_DIVIDE, 3);
    lapic_write(LAPIC_LVT_TIMER, VECTOR_TIMER);
    lapic_write(LAPIC_INITIAL, 1000);
    wait_for(VECTOR_TIMER, 1, PATIENCE_US);
    ok(interrupts[VECTOR_TIMER] == 1, "and its timer works");
}

void guest_main(void)
{
    plan(23);
    lapic_setup();
    pit_polled();
    pit_interrupts();
    rtc();
    lapic_counting();
    lapic_deadline();
    lapic_off_and_on();
}
