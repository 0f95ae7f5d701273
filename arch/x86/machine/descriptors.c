/* SPDX-License-Identifier: MIT */
/*
 * One GDT and one TSS per CPU. The TSS is there for its interrupt stack table alone: NMI, double fault and
 * machine check must find a good stack whatever RSP holds. Called once on each CPU before exceptions are
 * taken; no lock, the CPU's own data.
 */
#include "arch/x86/machine/descriptors.h"

#include "arch/x86/machine/image.h"
#include "arch/x86/machine/paging.h"
#include "hv/lib/errno.h"

/* AMD APM 2, figure 12-8. */
struct tss {
    u32 reserved0;
    u32 rsp[6];
    u32 reserved1[2];
    u32 stacks[14]; /* IST 1 to 7, low and high halves */
    u32 reserved2[2];
    u16 reserved3;
    u16 io_map;
} PACKED;
_Static_assert(sizeof(struct tss) == 104, "TSS");
_Static_assert(offsetof(struct tss, stacks) == 0x24, "IST 1");
_Static_assert(offsetof(struct tss, io_map) == 0x66, "I/O map base");

#define GDT_ENTRIES 5
#define GDT_CODE    0x00af9b000000ffffull /* 64-bit, ring 0, accessed */
#define GDT_DATA    0x00cf93000000ffffull
#define GDT_TSS     (0x89ull << 40) /* available 64-bit TSS, present */

/* Aligned so that neither part crosses a page. */
struct cpu_descriptors {
    u64 gdt[GDT_ENTRIES];
    struct tss tss;
} ALIGNED(256);
_Static_assert(sizeof(struct cpu_descriptors) == 256, "one set");

struct gdt_pointer {
    u16 limit;
    u64 base;
} PACKED;

static struct cpu_descriptors sets[CPU_MAX];

/* The boot CPU's stacks are in the image: they must be there before there is memory to allocate. */
static void boot_stacks_provide(struct cpu *cpu)
{
    cpu->stack_top = percpu_prepare_stack(cpu, (u64)boot_stack);
    cpu->nmi_stack_top = percpu_prepare_stack(cpu, (u64)boot_nmi_stack);
    cpu->double_fault_stack_top = percpu_prepare_stack(cpu, (u64)boot_double_fault_stack);
    cpu->machine_check_stack_top = percpu_prepare_stack(cpu, (u64)boot_machine_check_stack);
}

int descriptors_create_stacks(struct cpu *cpu)
{
    cpu->stack_top = paging_create_stack(cpu);
    cpu->nmi_stack_top = paging_create_stack(cpu);
    cpu->double_fault_stack_top = paging_create_stack(cpu);
    cpu->machine_check_stack_top = paging_create_stack(cpu);
    return cpu->stack_top && cpu->nmi_stack_top && cpu->double_fault_stack_top && cpu->machine_check_stack_top
               ? 0
               : -ENOMEM;
}

static void tss_set_stack(struct tss *tss, unsigned ist, u64 top)
{
    tss->stacks[(ist - 1) * 2] = (u32)top;
    tss->stacks[(ist - 1) * 2 + 1] = (u32)(top >> 32);
}

/* AMD APM 2, 4.8.3: a system descriptor of 16 bytes. */
static void gdt_set_tss(u64 *entry, const struct tss *tss)
{
    u64 base = (u64)tss;

    entry[0] = GDT_TSS | (sizeof(*tss) - 1) | (base & BITS(23, 0)) << 16 | (base >> 24 & 0xff) << 56;
    entry[1] = base >> 32;
}

static void segments_load(void)
{
    asm volatile("pushq %0\n"
                 "leaq 1f(%%rip), %%rax\n"
                 "pushq %%rax\n"
                 "lretq\n"
                 "1:\n"
                 "mov %1, %%ds\n"
                 "mov %1, %%es\n"
                 "mov %1, %%ss\n"
                 "mov %2, %%fs\n"
                 "mov %2, %%gs\n"
                 "ltr %w3\n"
                 :
                 : "i"(SELECTOR_CODE), "r"(SELECTOR_DATA), "r"(0), "r"(SELECTOR_TSS)
                 : "rax", "memory");
}

void descriptors_load(struct cpu *cpu)
{
    struct cpu_descriptors *set = &sets[cpu->index];
    struct gdt_pointer pointer = {sizeof(set->gdt) - 1, (u64)set->gdt};

    if (cpu->index == 0)
        boot_stacks_provide(cpu);
    set->tss = (struct tss){.io_map = sizeof(set->tss)};
    tss_set_stack(&set->tss, IST_NMI, cpu->nmi_stack_top);
    tss_set_stack(&set->tss, IST_DOUBLE_FAULT, cpu->double_fault_stack_top);
    tss_set_stack(&set->tss, IST_MACHINE_CHECK, cpu->machine_check_stack_top);
    set->gdt[SELECTOR_CODE / 8] = GDT_CODE;
    set->gdt[SELECTOR_DATA / 8] = GDT_DATA;
    gdt_set_tss(&set->gdt[SELECTOR_TSS / 8], &set->tss);
    cpu->descriptors = (u64)set;
    asm volatile("lgdt %0" : : "m"(pointer));
    segments_load();
}
