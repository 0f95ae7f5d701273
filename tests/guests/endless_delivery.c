/* SPDX-License-Identifier: MIT */
/*
 * An interrupt whose delivery never succeeds: the stack lies on the local APIC, and the code that it
 * interrupts is one long row of stores to the very place where the delivery faults. Each exit is answered,
 * each entry exits again before anything else can happen: the others must get their share all the same.
 */
// hostile: it never ends by itself
#include "lib/apic.h"
#include "lib/tap.h"

#define ROW_START    (1ull << 39)        /* PML4[1] */
#define STACK        (LAPIC_BASE + 0x90) /* the first push goes 8 below, where writes mean nothing */
#define PUSHED       (STACK - 8)
#define STORE        0x0889 /* mov [rax], ecx */
#define PAGE_2M      0x200000ull
#define TABLE_FLAGS  3
#define LARGE_FLAGS  0x83
#define VECTOR_NEVER 0x40

extern u64 page_table_4[512];
static u64 table_3[512] ALIGNED(4096), table_2[512] ALIGNED(4096);
static u16 row[PAGE_2M / 2] ALIGNED(PAGE_2M);

/* 512 GiB of addresses, all of them the same 2 MiB. */
static void row_build(void)
{
    for (u32 i = 0; i < ARRAY_SIZE(row); i++)
        row[i] = STORE;
    for (u32 i = 0; i < 512; i++) {
        table_2[i] = (u64)row | LARGE_FLAGS;
        table_3[i] = (u64)table_2 | TABLE_FLAGS;
    }
    page_table_4[1] = (u64)table_3 | TABLE_FLAGS;
}

void guest_main(void)
{
    lapic_setup();
    row_build();
    say("delivering for ever");
    interrupts_off();
    lapic_write(LAPIC_ICR, ICR_SELF | VECTOR_NEVER);
    asm volatile("movq %0, %%rsp\n\tsti\n\tjmp *%1" : : "r"(STACK), "r"(ROW_START), "a"(PUSHED));
}
