/* SPDX-License-Identifier: MIT */
/* The time stamp counter: lintel's only clock. Calibrated once at boot against HPET, PM timer or PIT. */
#ifndef ARCH_X86_MACHINE_TSC_H
#define ARCH_X86_MACHINE_TSC_H

#include "arch/x86/machine/cpu.h"
#include "arch/x86/machine/percpu.h"

struct tsc_reference {
    u16 pm_timer_port;  /* 0: none (ACPI FADT) */
    volatile u32 *hpet; /* NULL: none; mapped registers */
};

/* Measure; also gives the rate of the local APIC timer. Panics only if no reference counts at all. */
void tsc_calibrate(const struct tsc_reference *reference);

extern u64 tsc_khz;
extern u64 lapic_timer_khz;

/* Durations; exact to a few ppm, no overflow below 2^64 results. */
u64 tsc_from_ns(u64 ns);
u64 tsc_to_ns(u64 ticks);
static inline u64 tsc_from_us(u64 us)
{
    return tsc_from_ns(us * 1000);
}

/*
 * The boot CPU's time stamp counter at the moment when that of cpu was `tsc`, to within what was measured
 * when cpu was started (tsc_offset.h). Times that CPUs compare, or that outlive a CPU, are the boot CPU's.
 */
static inline u64 tsc_to_boot(const struct cpu *cpu, u64 tsc)
{
    return tsc + cpu->tsc_offset;
}

static inline u64 tsc_boot_now(void)
{
    return tsc_to_boot(cpu_this(), read_tsc());
}

/*
 * A CPU's counter was found apart from the boot CPU's. What CPUs make of their counters is then alike to
 * within what was measured, and not better: read on one CPU after another, time may step back by so much.
 * Set by smp_start.
 */
#ifdef LINTEL_HOST_TEST
__attribute__((weak)) bool tsc_unsynchronised;
#else
extern bool tsc_unsynchronised;
#endif

/* From then to now; 0 where another CPU's counter was read then, and this one's is a little behind it. */
static inline u64 tsc_passed(u64 then, u64 now)
{
    return now > then ? now - then : 0;
}

/* Spin; for device start-up only. */
void tsc_delay_us(u64 us);

#endif
