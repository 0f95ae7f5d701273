/* SPDX-License-Identifier: MIT */
/*
 * Leads the CPU astray, in the way that the command line names: tables and stacks where no RAM is or where
 * devices are, and states that no CPU can run.
 */
// hostile: it ends by a stop, or not at all
#include "lib/apic.h"
#include "lib/tap.h"

#define HOLE      0xd0000000ull
#define LOW_HOLE  0xa0000ull
#define TWO_PAGES 0x80000000ull         /* linear: a page of RAM, and behind it the local APIC */
#define LONG_32   0x00ef9a000000ffffull /* code, 64 and 32 bits wide at once */
#define SELECTOR  0x38

extern u64 page_tables_2[2048];

struct PACKED table {
    u16 limit;
    u64 base;
};

static void load_idt(u64 base)
{
    struct table idt = {0xfff, base};

    asm volatile("lidt %0; int3; ud2" : : "m"(idt));
}

static void idt_in_hole(void)
{
    load_idt(HOLE);
}

static void idt_in_device(void)
{
    load_idt(LAPIC_BASE);
}

static void gdt_in_hole(void)
{
    struct table gdt = {0xfff, HOLE};

    asm volatile("lgdt %0; mov %1, %%ds" : : "m"(gdt), "r"(0x10));
}

static void stack_in_hole(void)
{
    asm volatile("mov %0, %%rsp; ud2" : : "r"(HOLE + 0x800));
}

static void stack_in_device(void)
{
    asm volatile("mov %0, %%rsp; sti; push %%rax; call *%%rax" : : "r"(LAPIC_BASE + 0x800));
}

static void tables_in_hole(void)
{
    asm volatile("mov %0, %%cr3" : : "r"(HOLE));
}

static void tables_in_device(void)
{
    asm volatile("mov %0, %%cr3" : : "r"(LAPIC_BASE));
}

static void code_in_device(void)
{
    asm volatile("jmp *%0" : : "r"(LAPIC_BASE));
}

/* A call whose last byte is not RAM: its first two stand in the page before. */
static void call_into(u64 next_page)
{
    volatile u8 *at = (u8 *)next_page - 2;

    at[0] = 0x0f;
    at[1] = 0x01;
    asm volatile("jmp *%0" : : "r"(at), "a"(0));
}

static void call_into_hole(void)
{
    call_into(LOW_HOLE);
}

static void call_into_device(void)
{
    static u64 table[512] ALIGNED(4096);
    static u8 page[4096] ALIGNED(4096);

    table[0] = (u64)page | 3;
    table[1] = LAPIC_BASE | 3;
    page_tables_2[TWO_PAGES >> 21] = (u64)table | 3;
    asm volatile("mov %%cr3, %%rax; mov %%rax, %%cr3" : : : "rax", "memory");
    call_into(TWO_PAGES + 4096);
}

/* QEMU loads this segment, and refuses to enter a guest with it; a real CPU raises #GP here. */
static void impossible_state(void)
{
    static u64 descriptors[8];
    struct table gdt;
    struct PACKED {
        u32 offset;
        u16 selector;
    } target = {0, SELECTOR};

    asm volatile("sgdt %0" : "=m"(gdt));
    for (u32 i = 0; i < 7; i++)
        descriptors[i] = ((u64 *)gdt.base)[i];
    descriptors[SELECTOR / 8] = LONG_32;
    gdt = (struct table){sizeof(descriptors) - 1, (u64)descriptors};
    asm volatile("movl $1f, %0; lgdt %1; ljmp *%0; 1: cpuid; cpuid"
                 : "+m"(target)
                 : "m"(gdt)
                 : "eax", "ebx", "ecx", "edx");
}

static const struct {
    const char *name;
    void (*go)(void);
} ways[] = {
    {"idt_in_hole", idt_in_hole},           {"idt_in_device", idt_in_device},
    {"gdt_in_hole", gdt_in_hole},           {"stack_in_hole", stack_in_hole},
    {"stack_in_device", stack_in_device},   {"tables_in_hole", tables_in_hole},
    {"tables_in_device", tables_in_device}, {"code_in_device", code_in_device},
    {"call_into_hole", call_into_hole},     {"call_into_device", call_into_device},
    {"impossible_state", impossible_state},
};

void guest_main(void)
{
    for (u32 i = 0; i < ARRAY_SIZE(ways); i++)
        if (word_given(ways[i].name))
            ways[i].go();
    say("still here");
    interrupts_off();
    for (;;)
        asm volatile("pause");
}
