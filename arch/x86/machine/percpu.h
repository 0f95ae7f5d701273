/* SPDX-License-Identifier: MIT */
/*
 * What belongs to one physical CPU. Found through the stack pointer, not through GS: while a vCPU is loaded,
 * GS base and TR hold the guest's values. Every lintel stack is CPU_STACK_SIZE long, aligned to its size, and
 * carries the pointer to its CPU in its topmost eight bytes.
 */
#ifndef ARCH_X86_MACHINE_PERCPU_H
#define ARCH_X86_MACHINE_PERCPU_H

#include "hv/lib/types.h"

#define CPU_MAX        64
#define CPU_NONE       (~0u) /* no CPU's index */
#define CPU_STACK_SIZE 0x4000ull

struct cpu {
    u32 index; /* 0 is the boot CPU */
    u32 apic_id;
    u64 stack_top; /* below the pointer to this structure */
    u64 nmi_stack_top, double_fault_stack_top, machine_check_stack_top;
    u64 descriptors; /* GDT and TSS, private to arch/x86/machine/descriptors.c */
    u64 tsc_offset;  /* what its TSC lacks of the boot CPU's: tsc_to_boot (tsc.h) */
    bool online;
};

extern struct cpu cpus[CPU_MAX];
extern u32 cpu_count; /* CPUs that run; indices 0 .. cpu_count - 1 */

/*
 * Plant the pointer to cpu at the top of the stack at base (aligned to CPU_STACK_SIZE); returns its first
 * stack pointer.
 */
u64 percpu_prepare_stack(struct cpu *cpu, u64 base);

#ifdef LINTEL_HOST_TEST
__attribute__((weak)) _Thread_local u32 host_test_cpu; /* the CPU that the test pretends to run on */
static inline struct cpu *cpu_this(void)
{
    return &cpus[host_test_cpu];
}
#else
static inline struct cpu *cpu_this(void)
{
    u64 rsp;

    asm("mov %%rsp, %0" : "=r"(rsp));
    return *(struct cpu **)((rsp | (CPU_STACK_SIZE - 1)) - 7);
}
#endif

#endif
