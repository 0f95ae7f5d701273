/* SPDX-License-Identifier: MIT */
/*
 * Instructions that lintel steps over at the end of 32-bit code's 4 GiB: the next one is at 0, as behind any
 * other. (CS ends where its base, and the code, lie in RAM.)
 */
#include "guest/pv/lintel.h"
#include "lib/apic.h"
#include "lib/io.h"
#include "lib/modes.h"
#include "lib/tap.h"

#define SITE     (MODES_LOW + MODES_SITE)
#define BASE(at) ((u64)((at)&0xffffff) << 16 | (u64)((at) >> 24) << 56)

extern u64 modes_gdt[];

static volatile u8 *const site = (u8 *)SITE;

static const struct row {
    const char *name;
    u8 bytes[4], count;
    u32 rax, rcx, rdx;
} rows[] = {
    {"an instruction that does not exit", {0x66, 0x90}, 2, 0, 0, 0},
    {"CPUID", {0x0f, 0xa2}, 2, 0, 0, 0},
    {"RDMSR", {0x0f, 0x32}, 2, 0, MSR_APIC_BASE, 0},
    {"IN", {0xec}, 1, 0, 0, 0x80},
    {"OUT", {0xee}, 1, 0, 0, 0x80},
    {"VMCALL", {0x0f, 0x01, 0xc1}, 3, LINTEL_CALL_VERSION, 0, 0},
    {"VMMCALL", {0x0f, 0x01, 0xd9}, 3, LINTEL_CALL_VERSION, 0, 0},
    {"a device in memory", {0x8b, 0x01}, 2, 0, LAPIC_BASE + LAPIC_VERSION, 0},
    {"WBINVD", {0x0f, 0x09}, 2, 0, 0, 0},
    {"PAUSE", {0xf3, 0x90}, 2, 0, 0, 0},
};

/* The instruction, and INT 0x80 behind it. */
static void put(const struct row *row)
{
    unsigned i;

    for (i = 0; i < row->count; i++)
        site[i] = row->bytes[i];
    site[i] = 0xcd;
    site[i + 1] = VECTOR_BACK;
}

static void wraps(const struct row *row)
{
    u64 *code = &modes_gdt[SELECTOR_CODE_32 / 8], before = *code;
    struct frame frame = {.rax = row->rax, .rcx = row->rcx, .rdx = row->rdx};

    frame.rip = (u32)(0 - (u32)row->count);
    frame.cs = SELECTOR_CODE_32;
    frame.ss = SELECTOR_DATA;
    frame.rsp = MODES_LOW + 0x8000;
    frame.rflags = 2;
    put(row);
    *code = before | BASE(SITE + row->count);
    long_run(&frame);
    *code = before;
    /* QEMU 7.2 pushes bit 32 of an EIP that has wrapped. */
    ok(frame.vector == VECTOR_BACK && (u32)frame.rip == 2, "behind %s: vector %lu at %lx", row->name,
       frame.vector, frame.rip);
}

void guest_main(void)
{
    plan(ARRAY_SIZE(rows));
    modes_setup();
    for (unsigned i = 0; i < ARRAY_SIZE(rows); i++)
        wraps(&rows[i]);
}
