/* SPDX-License-Identifier: MIT */
/*
 * The states in which vCPUs begin: at reset, and as the two boot protocols ask for it. Pure; loaders and
 * guest/machine.c call it.
 */
#ifndef GUEST_LOAD_START_STATE_H
#define GUEST_LOAD_START_STATE_H

#include "hv/run/vcpu.h"

/* Selectors of the descriptors that start_gdt makes (Linux: __BOOT_CS, __BOOT_DS). */
#define START_CODE        0x10
#define START_DATA        0x18
#define START_GDT_ENTRIES 4

/* What a processor holds after RESET# or INIT (APM 2, table 14-1; SDM 3A, table 10-1). */
void start_state_reset(struct vcpu_state *state);

/* 64-bit mode on identity page tables at cr3, flat segments out of the GDT at gdt, interrupts off. */
void start_state_long(struct vcpu_state *state, gpa_t gdt, gpa_t cr3, u64 entry);

/* 32-bit protected mode without paging, flat segments, interrupts off. */
void start_state_protected(struct vcpu_state *state, gpa_t gdt, u32 entry);

/* The descriptors that the flat segments come from; wide: code is 64-bit. */
void start_gdt(u64 gdt[START_GDT_ENTRIES], bool wide);

#endif
