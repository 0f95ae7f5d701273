/* SPDX-License-Identifier: MIT */
/*
 * Calls of lintel by both vendors' instructions, through guest/pv: what CPUID tells, version, features and
 * yield, and numbers nobody has (-38 among lintel's, -1000 elsewhere under KVM's signature). docs/abi.md.
 */
#include "guest/pv/lintel.h"
#include "lib/io.h"
#include "lib/tap.h"

#define CPUID_KVM      0x40000000
#define CPUID_KVM_LAST 0x40000010
#define KVM_FEATURES   0x0100002b

static void leaves(void)
{
    struct cpuid signature = cpuid(CPUID_KVM, 0), timing = cpuid(LINTEL_CPUID_TIMING, 0);
    unsigned strange = 0;
    u32 leaf;

    ok(lintel_available(), "CPUID shows lintel");
    ok(signature.eax == CPUID_KVM_LAST && signature.ebx == 0x4b4d564b, "beside KVM, up to leaf %x",
       signature.eax);
    ok(cpuid(CPUID_KVM + 1, 0).eax == KVM_FEATURES,
       "whose features are the clock's, steal time and NOP_IO_DELAY");
    ok(cpuid(LINTEL_CPUID_SIGNATURE, 0).eax == 0, "its signature has no leaf of its own");
    ok(cpuid(LINTEL_CPUID_FEATURES, 0).eax == LINTEL_CPUID_NO_IO_DELAY, "ports need no delay");
    ok(timing.eax > 1000 && timing.ebx == 1000000, "the TSC has %u kHz, the APIC's timer %u", timing.eax,
       timing.ebx);
    for (leaf = CPUID_KVM + 4; leaf < CPUID_KVM + 0x120; leaf++) {
        struct cpuid out = cpuid(leaf, 0);

        if (leaf != LINTEL_CPUID_TIMING)
            strange += (out.eax | out.ebx | out.ecx | out.edx) != 0;
    }
    ok(strange == 0, "%u other leaves say something", strange);
}

static void numbers(const char *name)
{
    static const struct {
        u64 number;
        s64 result;
    } rows[] = {
        {LINTEL_CALL_VERSION, LINTEL_ABI_VERSION},
        {LINTEL_CALL_FEATURES, 1 << LINTEL_FEATURE_CONSOLE_WRITE | 1 << LINTEL_FEATURE_YIELD |
                                   1 << LINTEL_FEATURE_CPU_POWER | 1 << LINTEL_FEATURE_SYSTEM_POWER},
        {LINTEL_CALL_YIELD, 0},
        {LINTEL_CALL_P2M_MAP, -LINTEL_EPERM}, /* not allowed to this VM, and so no feature */
        {LINTEL_CALL_P2M_UNMAP, -LINTEL_EPERM},
        {LINTEL_CALL_P2M_UNMAP + 1, -LINTEL_ENOSYS},
        {LINTEL_CALL_BASE + LINTEL_CALL_RANGE, -LINTEL_ENOSYS},
        {LINTEL_CALL_BASE - 1, -LINTEL_KVM_ENOSYS},
        {LINTEL_CALL_BASE + LINTEL_CALL_RANGE + 1, -LINTEL_KVM_ENOSYS},
        {0, -LINTEL_KVM_ENOSYS},
        {5, -LINTEL_KVM_ENOSYS},
        {0x80000000, -LINTEL_KVM_ENOSYS},
        {1ull << 32 | LINTEL_CALL_VERSION, -LINTEL_KVM_ENOSYS}, /* all 64 bits count */
        {~0ull, -LINTEL_KVM_ENOSYS},
    };

    for (unsigned i = 0; i < ARRAY_SIZE(rows); i++) {
        s64 result = lintel_call0(rows[i].number);

        ok(result == rows[i].result, "%s: number %lx is answered by %ld", name, rows[i].number, result);
    }
    ok(lintel_call1(LINTEL_CALL_FEATURES, 1) == 0, "%s: features beyond the known are none", name);
    ok(lintel_has(LINTEL_FEATURE_YIELD) && !lintel_has(31) && !lintel_has(32), "%s: by number too", name);
}

void guest_main(void)
{
    plan(7 + 2 * 16);
    leaves();
    lintel_choose(LINTEL_VMCALL);
    numbers("VMCALL");
    lintel_choose(LINTEL_VMMCALL);
    numbers("VMMCALL");
}
