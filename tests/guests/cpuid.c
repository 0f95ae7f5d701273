/* SPDX-License-Identifier: MIT */
/*
 * What CPUID says of a VM with personality = kvm: nothing is promised that lintel does not give, and the
 * leaves by which kernels know where they are. guest/policy/cpuid_table.c.
 */
#include "lib/apic.h"
#include "lib/tap.h"

#define CR4_OSXSAVE BIT(18)

/* A bit of a leaf and whether it must be there. */
static const struct {
    u32 leaf;
    u8 word; /* 0 EAX .. 3 EDX */
    u8 bit;
    bool set;
    const char *name;
} rows[] = {
    {0x1, 2, 31, true, "hypervisor present"},
    {0x1, 2, 21, true, "x2APIC"},
    {0x1, 2, 24, true, "TSC deadline timer"},
    {0x1, 3, 9, true, "local APIC"},
    {0x6, 0, 2, true, "APIC timer never stops"},
    {0x80000007, 3, 8, true, "invariant TSC"},
    {0x80000001, 3, 29, true, "long mode"},
    {0x80000001, 3, 20, true, "no-execute"},
    {0x7, 1, 1, true, "TSC_ADJUST"},
    {0x1, 2, 3, false, "MONITOR"},
    {0x1, 2, 5, false, "VMX"},
    {0x1, 2, 6, false, "SMX"},
    {0x7, 1, 2, false, "SGX"},
    {0x7, 2, 16, false, "five-level paging"},
    {0x80000001, 2, 2, false, "SVM"},
    {0x80000001, 2, 12, false, "SKINIT"},
    {0x80000001, 2, 29, false, "MONITORX"},
    {0x40000001, 0, 3, true, "kvm-clock"},
    {0x40000001, 0, 5, true, "steal time"},
    {0x40000001, 0, 24, true, "stable kvm-clock"},
    {0x40000001, 0, 4, false, "asynchronous page faults"},
    {0x40000001, 0, 6, false, "PV EOI"},
    {0x40000001, 0, 7, false, "PV unhalt"},
    {0x40000001, 0, 9, false, "PV TLB flush"},
    {0x40000001, 0, 11, false, "PV IPIs"},
};

static u32 word_of(u32 leaf, u8 word)
{
    struct cpuid c = cpuid(leaf, 0);
    u32 words[] = {c.eax, c.ebx, c.ecx, c.edx};

    return words[word];
}

/* CPUID.1 ECX bit 27 is the guest's own CR4.OSXSAVE. */
static bool osxsave_follows(void)
{
    u64 cr4;
    bool before, during;

    if (!(word_of(1, 2) & BIT(26)))
        return !(word_of(1, 2) & BIT(27));
    asm volatile("mov %%cr4, %0" : "=r"(cr4));
    before = word_of(1, 2) & BIT(27);
    asm volatile("mov %0, %%cr4" : : "r"(cr4 | CR4_OSXSAVE));
    during = word_of(1, 2) & BIT(27);
    asm volatile("mov %0, %%cr4" : : "r"(cr4));
    return !before && during;
}

static bool is_kvm(u32 base)
{
    struct cpuid c = cpuid(base, 0);

    return c.ebx == 0x4b4d564b && c.ecx == 0x564b4d56 && c.edx == 0x4d;
}

void guest_main(void)
{
    struct cpuid c;
    unsigned i;

    plan(ARRAY_SIZE(rows) + 9);
    for (i = 0; i < ARRAY_SIZE(rows); i++)
        ok(!!(word_of(rows[i].leaf, rows[i].word) & BIT(rows[i].bit)) == rows[i].set, "%s is %s",
           rows[i].name, rows[i].set ? "there" : "hidden");
    c = cpuid(0x8000000a, 0);
    ok(!(c.eax | c.ebx | c.ecx | c.edx), "the SVM leaf is empty");
    ok(is_kvm(0x40000000), "0x40000000 says KVM");
    ok(!is_kvm(0x40000100), "0x40000100 does not");
    /* d is XSAVE's; what lintel itself models reaches to b on every CPU. */
    ok(cpuid(0, 0).eax >= (cpuid(1, 0).ecx & BIT(26) ? 0xd : 0xb), "the highest leaf is %x", cpuid(0, 0).eax);
    ok((cpuid(1, 0).ebx >> 24) == lapic_read(LAPIC_ID) >> 24, "leaf 1 has the local APIC's ID");
    ok(osxsave_follows(), "OSXSAVE follows CR4");
    ok(TRY("monitor", : : "a"(&c), "c"(0), "d"(0)) == VECTOR_UD, "MONITOR is #UD");
    ok(TRY("mwait", : : "a"(0), "c"(0)) == VECTOR_UD, "MWAIT is #UD");
    ok(TRY(".byte 0x0f, 0x01, 0xfb", : : "a"(0), "c"(0)) == VECTOR_UD, "MWAITX is #UD");
}
