/* SPDX-License-Identifier: MIT */
/* Descriptors, tables and the way back; the ways in are in modes.asm. */
#include "lib/modes.h"

#include "lib/tap.h"

#define DESCRIPTORS 24
#define CODE_64     0x00209a0000000000ull
#define CODE_32     0x00cf9a000000ffffull
#define CODE_16     (0x00009a000000ffffull | (u64)MODES_LOW << 16)
#define DATA        0x00cf92000000ffffull
#define DPL(ring)   ((u64)(ring) << 45)

extern u64 gdt[7], page_tables_2[2048], page_table_4[512];
extern u8 idt[], tss[];
extern u8 modes_real_start[], modes_real_end[];
extern u32 legacy_tss[26];
extern volatile u8 legacy_stack[4096];
extern u8 legacy_stack_top[];
extern u8 legacy_entry_6[], legacy_entry_8[], legacy_entry_13[], legacy_entry_14[], legacy_entry_80[];

u64 modes_gdt[DESCRIPTORS];
u64 legacy_idt[VECTOR_BACK + 1];
static u32 table_32[1024] ALIGNED(4096);
static u64 table_pae[4] ALIGNED(32);
static struct frame *running;

NORETURN void long_return(void);
void long_enter(struct frame *frame);

static void on_back(struct frame *frame)
{
    *running = *frame;
    long_return();
}

static void gdt_build(void)
{
    unsigned i;

    for (i = 0; i < 7; i++)
        modes_gdt[i] = gdt[i];
    for (i = 0; i < 4; i++) {
        modes_gdt[SELECTOR_CODE_64 / 8 + i] = CODE_64 | DPL(i);
        modes_gdt[SELECTOR_CODE_32 / 8 + i] = CODE_32 | DPL(i);
        modes_gdt[SELECTOR_CODE_16 / 8 + i] = CODE_16 | DPL(i);
        if (i)
            modes_gdt[SELECTOR_STACK / 8 + i - 1] = DATA | DPL(i);
    }
    /* 0xb0: the TSS of protected mode, 104 bytes. */
    modes_gdt[22] = 103 | ((u64)legacy_tss & 0xffffff) << 16 | 0x89ull << 40;
    modes_gdt[23] = 0x000092000000ffff; /* 0xb8: data as real mode has them */
    legacy_tss[1] = (u32)(u64)legacy_stack_top;
    legacy_tss[2] = SELECTOR_DATA;
}

static void gate_32(unsigned vector, const u8 *entry)
{
    u64 at = (u64)entry;

    legacy_idt[vector] = (at & 0xffff) | SELECTOR_CODE_32 << 16 | 0xee00ull << 32 | (at >> 16) << 48;
}

static void tables_build(void)
{
    u64 *table_3 = (u64 *)(page_table_4[0] & ~0xfffull);
    unsigned i;

    page_table_4[0] |= 4;
    for (i = 0; i < 4; i++) {
        table_3[i] |= 4;
        table_pae[i] = (u64)(page_tables_2 + 512 * i) | 1;
    }
    for (i = 0; i < 2048; i++)
        page_tables_2[i] |= 4;
    for (i = 0; i < 1024; i++)
        table_32[i] = i << 22 | 0x87;
    asm volatile("mov %%cr3, %%rax; mov %%rax, %%cr3" : : : "rax", "memory");
}

/* All stacks are touched: Bochs 2.7 mistakes what was being delivered when a page is given under it (SVM). */
void modes_setup(void)
{
    struct PACKED {
        u16 limit;
        u64 base;
    } pointer = {sizeof(modes_gdt) - 1, (u64)modes_gdt};
    u8 *low = (u8 *)MODES_LOW;
    const u8 *from;
    unsigned i;

    gdt_build();
    tables_build();
    gate_32(6, legacy_entry_6);
    gate_32(8, legacy_entry_8);
    gate_32(13, legacy_entry_13);
    gate_32(14, legacy_entry_14);
    gate_32(VECTOR_BACK, legacy_entry_80);
    for (i = 0; i < 0x10000; i++)
        low[i] = 0;
    for (from = modes_real_start; from < modes_real_end; from++)
        *low++ = *from;
    asm volatile("lgdt %0" : : "m"(pointer));
    idt[16 * VECTOR_BACK + 5] = 0xee; /* for every ring */
    legacy_stack[0] = legacy_stack[4095] = 0;
    for (i = 0; i < 8; i++) /* RSP0: not the stack that the guest itself is on */
        tss[4 + i] = (u8)((u64)legacy_stack_top >> (8 * i));
}

void long_run(struct frame *frame)
{
    static const u8 vectors[] = {VECTOR_DB, VECTOR_UD, VECTOR_GP, VECTOR_PF, VECTOR_BACK};
    unsigned i;

    running = frame;
    for (i = 0; i < ARRAY_SIZE(vectors); i++)
        interrupt_handle(vectors[i], on_back);
    long_enter(frame);
    for (i = 0; i < ARRAY_SIZE(vectors); i++)
        interrupt_handle(vectors[i], NULL);
}

u32 modes_cr3_32(void)
{
    return (u32)(u64)table_32;
}

u32 modes_cr3_pae(void)
{
    return (u32)(u64)table_pae;
}
