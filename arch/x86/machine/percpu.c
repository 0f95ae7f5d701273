/* SPDX-License-Identifier: MIT */
/*
 * The records of the physical CPUs. The boot CPU's exists from the first instruction of C on: boot/entry.asm
 * plants its address on the boot stack. No lock: the boot CPU writes a record while it starts the CPU
 * (arch/x86/machine/smp.c); from then on nobody does.
 */
#include "arch/x86/machine/percpu.h"

struct cpu cpus[CPU_MAX] = {[0] = {.online = true}};
u32 cpu_count = 1;

u64 percpu_prepare_stack(struct cpu *cpu, u64 base)
{
    u64 *top = (u64 *)(base + CPU_STACK_SIZE);

    top[-1] = (u64)cpu;
    return (u64)&top[-2];
}
