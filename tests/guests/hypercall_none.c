/* SPDX-License-Identifier: MIT */
/*
 * personality = none: CPUID shows neither a hypervisor nor a leaf of one, calls work all the same, and every
 * number that nobody has is -38.
 */
// conf: personality = none
#include "guest/pv/lintel.h"
#include "lib/io.h"
#include "lib/tap.h"

static void numbers(const char *name)
{
    static const u64 unknown[] = {LINTEL_CALL_P2M_UNMAP + 1,
                                  LINTEL_CALL_BASE - 1,
                                  LINTEL_CALL_BASE + LINTEL_CALL_RANGE,
                                  LINTEL_CALL_BASE + LINTEL_CALL_RANGE + 1,
                                  0,
                                  1,
                                  1ull << 32 | LINTEL_CALL_VERSION,
                                  ~0ull};

    ok(lintel_call0(LINTEL_CALL_VERSION) == LINTEL_ABI_VERSION, "%s: the version is told", name);
    for (unsigned i = 0; i < ARRAY_SIZE(unknown); i++) {
        s64 result = lintel_call0(unknown[i]);

        ok(result == -LINTEL_ENOSYS, "%s: number %lx is answered by %ld", name, unknown[i], result);
    }
}

void guest_main(void)
{
    unsigned shown = 0;
    u32 leaf;

    plan(2 + 2 * 9);
    ok(!(cpuid(1, 0).ecx >> 31) && !lintel_available(), "CPUID shows no hypervisor");
    for (leaf = 0x40000000; leaf < 0x40000120; leaf++) {
        struct cpuid out = cpuid(leaf, 0);

        shown += (out.eax | out.ebx | out.ecx | out.edx) != 0;
    }
    ok(shown == 0, "%u leaves of one say something", shown);
    lintel_choose(LINTEL_VMCALL);
    numbers("VMCALL");
    lintel_choose(LINTEL_VMMCALL);
    numbers("VMMCALL");
}
