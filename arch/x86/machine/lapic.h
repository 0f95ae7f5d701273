/* SPDX-License-Identifier: MIT */
/* The physical local APIC (xAPIC or x2APIC) of this CPU, its timer and IPIs; and the switched-off 8259 pair. SDM 3A, chapter 11. */
#ifndef ARCH_X86_MACHINE_LAPIC_H
#define ARCH_X86_MACHINE_LAPIC_H

#include "hv/lib/types.h"

/* Mask both 8259s, map the registers; once, on the boot CPU, after paging_init. */
int lapic_init(void);
/* Switch this CPU's local APIC on, timer masked. Each CPU. */
void lapic_enable(void);
u32 lapic_id(void);
void lapic_eoi(void);
/* Fixed interrupt to one CPU. */
void lapic_send_ipi(u32 apic_id, u8 vector);

/*
 * Ask for one interrupt (HOST_VECTOR_TIMER) at a TSC value of this CPU; ~0 for none; a value in the past fires at once.
 * A later deadline than the timer can count fires early: the caller looks at the time.
 */
void lapic_timer_set(u64 deadline_tsc);

#endif
