/* SPDX-License-Identifier: MIT */
/* GDT and TSS, one set per CPU. AMD APM 2, 4.6 to 4.11 and 12.2.5. */
#ifndef ARCH_X86_MACHINE_DESCRIPTORS_H
#define ARCH_X86_MACHINE_DESCRIPTORS_H

#include "arch/x86/machine/percpu.h"

#define SELECTOR_CODE 0x08
#define SELECTOR_DATA 0x10
#define SELECTOR_TSS  0x18

/* Which entry of the TSS's interrupt stack table an exception uses (0 in a gate: none). */
#define IST_NMI           1
#define IST_DOUBLE_FAULT  2
#define IST_MACHINE_CHECK 3

/*
 * Its four stacks, for a CPU other than the boot CPU: 0 or -ENOMEM. By the boot CPU, before it is started.
 */
int descriptors_create_stacks(struct cpu *cpu);

/*
 * Build and load this CPU's GDT, segments and TSS with its own stacks for NMI, double fault, machine check.
 */
void descriptors_load(struct cpu *cpu);

#endif
