/* SPDX-License-Identifier: MIT */
/*
 * The physical local APIC (xAPIC or x2APIC) of this CPU, its timer and IPIs; and the switched-off 8259 pair.
 * SDM 3A, chapter 11.
 */
#ifndef ARCH_X86_MACHINE_LAPIC_H
#define ARCH_X86_MACHINE_LAPIC_H

#include "hv/lib/types.h"

/* Mask both 8259s, map the registers; once, on the boot CPU, after paging_init. */
int host_lapic_init(void);
/* Switch this CPU's local APIC on, timer masked. Each CPU. */
void host_lapic_enable(void);
u32 host_lapic_id(void);
void host_lapic_eoi(void);
/* Let it compare what waits with the priority once more: changes nothing where no interrupt was lost. */
void host_lapic_look_again(void);
/* Fixed interrupt to one CPU. */
void host_lapic_send_ipi(u32 apic_id, u8 vector);
/* NMI to one CPU: for a panic that stops the others. */
void lapic_send_nmi(u32 apic_id);
/* INIT to one CPU, and the order to begin in real mode at page (below 1 MiB): for smp.c. */
void lapic_send_init(u32 apic_id);
void lapic_send_startup(u32 apic_id, hpa_t page);
/* Whether an interrupt can be sent there at all: numbers above 254 need x2APIC mode. */
bool lapic_can_reach(u32 apic_id);
/* Whether this CPU's local APIC waits for the EOI of vector. */
bool lapic_in_service(u8 vector);

/*
 * For the calibration (tsc.c): let the timer count down freely, without interrupts, from the highest value;
 * and what it stands at. Afterwards tell the rate, without which host_lapic_timer_set can't count in TSC
 * ticks; it is the same for all CPUs. Each CPU then starts its own timer.
 */
void lapic_timer_run_free(void);
u32 lapic_timer_count(void);
void lapic_timer_set_rate(u64 timer_khz, u64 ticks_khz);
void lapic_timer_start(void);

/*
 * Ask for one interrupt (HOST_VECTOR_TIMER) at a TSC value of this CPU; ~0 for none; a value in the past
 * fires at once. A later deadline than the timer can count fires early: the caller looks at the time.
 */
void host_lapic_timer_set(u64 deadline_tsc);

#endif
