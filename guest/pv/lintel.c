/* SPDX-License-Identifier: MIT */
/* See lintel.h. Not part of lintel itself: kernels link it. */
#include "guest/pv/lintel.h"

struct leaf {
    uint32_t eax, ebx, ecx, edx;
};

static enum { BY_VENDOR, VMCALL, VMMCALL } chosen;

static struct leaf cpuid(uint32_t number)
{
    struct leaf leaf;

    __asm__ volatile("cpuid"
                     : "=a"(leaf.eax), "=b"(leaf.ebx), "=c"(leaf.ecx), "=d"(leaf.edx)
                     : "0"(number), "2"(0));
    return leaf;
}

/* Four letters as a register holds them. */
#define LETTERS(a, b, c, d) ((uint32_t)(a) | (uint32_t)(b) << 8 | (uint32_t)(c) << 16 | (uint32_t)(d) << 24)

/* Leaves from 0x40000000 on mean something only where bit 31 says that a hypervisor is there. */
bool lintel_available(void)
{
    struct leaf leaf;

    if (!(cpuid(1).ecx >> 31))
        return false;
    leaf = cpuid(LINTEL_CPUID_SIGNATURE);
    return leaf.ebx == LETTERS('L', 'i', 'n', 'u') && leaf.ecx == LETTERS('x', 'P', 'V', 'L') &&
           leaf.edx == LETTERS('i', 'n', 'u', 'x');
}

void lintel_choose(enum lintel_instruction instruction)
{
    chosen = instruction == LINTEL_VMMCALL ? VMMCALL : VMCALL;
}

/* AuthenticAMD and HygonGenuine; all others have Intel's. */
static void choose_by_vendor(void)
{
    uint32_t vendor = cpuid(0).ebx;

    chosen =
        vendor == LETTERS('A', 'u', 't', 'h') || vendor == LETTERS('H', 'y', 'g', 'o') ? VMMCALL : VMCALL;
}

__attribute__((noinline)) intptr_t lintel_call4(uintptr_t number, uintptr_t a, uintptr_t b, uintptr_t c,
                                                uintptr_t d)
{
    if (chosen == BY_VENDOR)
        choose_by_vendor();
    if (chosen == VMMCALL)
        __asm__ volatile("vmmcall" : "+a"(number) : "b"(a), "c"(b), "d"(c), "S"(d) : "memory");
    else
        __asm__ volatile("vmcall" : "+a"(number) : "b"(a), "c"(b), "d"(c), "S"(d) : "memory");
    return (intptr_t)number;
}

bool lintel_has(unsigned feature)
{
    intptr_t bits = lintel_call1(LINTEL_CALL_FEATURES, feature / 32);

    return bits >= 0 && (bits >> feature % 32 & 1);
}
