/* SPDX-License-Identifier: MIT */
/*
 * The MP table of a guest's machine: processors and interrupt lines for kernels that do not read ACPI.
 * guest/machine.c writes it at creation and reset; boot CPU, VM's lock not held.
 */
#ifndef GUEST_LOAD_MP_TABLE_H
#define GUEST_LOAD_MP_TABLE_H

#include "hv/memory/guest_memory.h"

/* The first place of 0xf0000 - 0xfffff, where kernels search for "_MP_". */
#define MP_TABLE_BASE 0xf0000ull

/*
 * Write floating pointer and configuration table for so many vCPUs, of which `boot` is the boot processor;
 * signature and features are CPUID 1's EAX and EDX. 0, or -EFAULT or -ENOMEM from guest memory.
 */
int mp_table_write(struct guest_memory *memory, u32 vcpus, u32 boot, u32 signature, u32 features);

#endif
