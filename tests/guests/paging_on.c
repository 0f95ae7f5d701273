/* SPDX-License-Identifier: MIT */
/*
 * MOV CR0 that switches paging on and changes a bit with it that lintel keeps to itself (CD on VMX), so that
 * lintel carries it out: PAE with its four entries, and what must be refused, as the CPU does it alone.
 */
#include "lib/io.h"
#include "lib/modes.h"
#include "lib/tap.h"

#define SITE         (MODES_LOW + MODES_SITE)
#define STACK        (MODES_LOW + 0x8000)
#define CR0_USUAL    0x33u /* PE, MP, ET, NE */
#define CR0_NW       BIT(29)
#define CR0_CD       BIT(30)
#define CR0_PG       BIT(31)
#define CR4_PAE      0x20
#define UNUSED_ENTRY 2

static u64 table[4] ALIGNED(32);

/* EDX and EBX to CR4 and CR3, ECX to CR0; CPUID, as every exit reads the state; INT 0x80. */
static const u8 code[] = {0x0f, 0x22, 0xe2, 0x0f, 0x22, 0xdb,       0x0f,
                          0x22, 0xc1, 0x0f, 0xa2, 0xcd, VECTOR_BACK};
#define MOV_CR0_AT 6

/* Does the CPU look at the four entries when it loads them? AMD's do when they use them (APM 2, 15.25.10). */
static bool cpu_looks(void)
{
    return cpuid(0, 0).ebx == 0x756e6547 && !word_given("vmmcall");
}

static void try(const char *what, u32 cr0, u64 entry, bool taken)
{
    struct legacy l = {.ecx = CR0_USUAL ^ cr0, .edx = CR4_PAE, .ebx = (u32)(u64)table};
    const u64 *good = (const u64 *)(u64)modes_cr3_pae();

    for (unsigned i = 0; i < sizeof(code); i++)
        ((volatile u8 *)SITE)[i] = code[i];
    for (unsigned i = 0; i < ARRAY_SIZE(table); i++)
        table[i] = i == UNUSED_ENTRY && entry ? entry : good[i];
    l.eip = SITE;
    l.cs = SELECTOR_CODE_32;
    l.esp = STACK;
    l.ss = SELECTOR_DATA;
    l.eflags = 2;
    legacy_run(&l);
    if (taken)
        ok(l.vector == VECTOR_BACK, "%s: paging is on (vector %u)", what, l.vector);
    else
        ok(l.vector == VECTOR_GP && l.error == 0 && l.eip == SITE + MOV_CR0_AT,
           "%s: #GP(0) (vector %u at %x)", what, l.vector, l.eip);
}

void guest_main(void)
{
    bool looks = cpu_looks();

    plan(looks ? 10 : 8);
    modes_setup();
    try("PAE", CR0_PG, 0, true);
    try("PAE and CD", CR0_PG | CR0_CD, 0, true);
    try("PAE, CD and NW", CR0_PG | CR0_CD | CR0_NW, 0, true);
    try("an absent entry is never looked at", CR0_PG | CR0_CD, 0x1e6, true);
    try("a reserved bit 1", CR0_PG, 0x3, !looks);
    try("a reserved bit 1, and CD", CR0_PG | CR0_CD, 0x3, !looks);
    try("a reserved bit 8, and CD", CR0_PG | CR0_CD, 0x101, !looks);
    try("an address beyond all, and CD", CR0_PG | CR0_CD, BIT(51) | 1, !looks);
    if (!looks)
        return; /* MOV CR0 is the CPU's alone, and emulators' answers differ */
    try("NW without CD", CR0_PG | CR0_NW, 0, false);
    try("PG without PE, and CD", (CR0_PG | CR0_CD) ^ 1, 0, false);
}
