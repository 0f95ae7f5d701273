/* SPDX-License-Identifier: MIT */
/*
 * The table behind guest/policy/cpuid.c: what of the host's CPUID a guest gets to see, row by row.
 * Constant.
 */
#ifndef GUEST_POLICY_CPUID_TABLE_H
#define GUEST_POLICY_CPUID_TABLE_H

#include "arch/x86/machine/cpu.h"

/* The guest's word = host's word & allow | force. A leaf without a row is zero. */
struct cpuid_row {
    u32 leaf, subleaf;
    struct cpuid allow, force;
    const char *reason;
};

/* Sorted by leaf and subleaf. */
extern const struct cpuid_row cpuid_rows[];
extern const unsigned cpuid_row_count;

#define CPUID_BASIC_LAST     0xd /* no leaf above has a row */
#define CPUID_BASIC_LEAST    0xb /* ARAT, TSC_ADJUST and the topology are offered on every host */
#define CPUID_EXTENDED       0x80000000u
#define CPUID_EXTENDED_LAST  0x80000021u
#define CPUID_EXTENDED_LEAST 0x80000008u
#define CPUID_HYPERVISOR     0x40000000u
#define CPUID_LINTEL         0x40000002u /* signature; features in the next leaf */
#define CPUID_TIMING         0x40000010u /* kHz of TSC and local APIC timer; the highest of this group */

#define CPUID_LINTEL_NOP_IO_DELAY BIT(0)

#define CPUID_1_ECX_X2APIC            BIT(21)
#define CPUID_1_ECX_XSAVE             BIT(26)
#define CPUID_1_ECX_OSXSAVE           BIT(27)
#define CPUID_1_ECX_HYPERVISOR        BIT(31)
#define CPUID_1_EDX_APIC              BIT(9)
#define CPUID_1_EDX_HTT               BIT(28)
#define CPUID_80000001_ECX_CMP_LEGACY BIT(1)
#define CPUID_80000001_ECX_TOPOEXT    BIT(22)
#define CPUID_80000001_EDX_NX         BIT(20)
#define CPUID_80000001_EDX_FFXSR      BIT(25)

/* XCR0 bits that guests may have: x87, SSE, AVX and the three of AVX-512. */
#define CPUID_XCR0 0xe7u

#endif
