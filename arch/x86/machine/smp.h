/* SPDX-License-Identifier: MIT */
/* Starting the other CPUs of the machine. Boot CPU, once. */
#ifndef ARCH_X86_MACHINE_SMP_H
#define ARCH_X86_MACHINE_SMP_H

#include "arch/x86/machine/percpu.h"

/* What a CPU does once it runs with stacks, tables and local APIC of its own; interrupts are off. */
struct smp_hooks {
    int (*start)(void); /* 0, or negative (said in the log): the CPU is left out then */
    NORETURN void (*run)(void);
};

/*
 * Start each CPU of apic_ids but this one; they get the numbers 1, 2, .. in that order. A CPU that can't be
 * started, or does not answer, is named in the log and left out. page: free memory below 1 MiB, which the
 * caller may have back afterwards, or 0 for none. The log tells how many run and whether their time stamp
 * counters agree.
 */
void smp_start(const u32 *apic_ids, u32 count, hpa_t page, const struct smp_hooks *hooks);

#endif
