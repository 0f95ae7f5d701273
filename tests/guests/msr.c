/* SPDX-License-Identifier: MIT */
/*
 * Model-specific registers: which exist, what they keep, what they refuse. guest/policy/msr.c. Those of
 * kvm-clock: kvm_features.c.
 */
#include "lib/apic.h"
#include "lib/tap.h"

#define MSR_TSC        0x10
#define MSR_TSC_ADJUST 0x3b
#define MSR_PAT        0x277
#define MSR_EFER       0xc0000080
#define MSR_STAR       0xc0000081
#define MSR_LSTAR      0xc0000082
#define MSR_CSTAR      0xc0000083
#define MSR_SFMASK     0xc0000084
#define MSR_FS_BASE    0xc0000100
#define MSR_GS_BASE    0xc0000101
#define MSR_KERNEL_GS  0xc0000102
#define MSR_TSC_AUX    0xc0000103
#define ADDRESS        0xffff800012345678
#define NOT_CANONICAL  0x0000800000000000

static const struct {
    u32 msr;
    const char *name;
} missing[] = {
    {0x12345, "an unknown one"}, {0x4b564dff, "no kvm MSR"},
    {0xc0000fff, "no AMD MSR"},  {0xdeadbeef, "outside of maps"},
    {0xffffffff, "the last"},    {0xc0010117, "VM_HSAVE_PA"},
    {0x48, "SPEC_CTRL"},         {0x802, "x2APIC ID in xAPIC mode"},
};

static const struct {
    u32 msr;
    u64 value;
    const char *name;
} kept[] = {
    {MSR_STAR, 0x0023001000000000, "STAR"}, {MSR_LSTAR, ADDRESS, "LSTAR"},
    {MSR_CSTAR, ADDRESS, "CSTAR"},          {MSR_SFMASK, 0x47700, "SFMASK"},
    {MSR_FS_BASE, ADDRESS, "FS base"},      {MSR_GS_BASE, ADDRESS, "GS base"},
    {MSR_KERNEL_GS, ADDRESS, "kernel GS"},  {0x174, 0x10, "SYSENTER_CS"},
    {0x175, ADDRESS, "SYSENTER_ESP"},       {0x176, ADDRESS, "SYSENTER_EIP"},
    {MSR_PAT, 0x0007010600070106, "PAT"},   {MSR_TSC_AUX, 0x1234, "TSC_AUX"},
};

static const struct {
    u32 msr;
    u64 value;
    const char *why;
} refused[] = {
    {MSR_LSTAR, NOT_CANONICAL, "LSTAR that is not canonical"},
    {MSR_FS_BASE, NOT_CANONICAL, "FS base that is not canonical"},
    {MSR_KERNEL_GS, NOT_CANONICAL, "kernel GS base that is not canonical"},
    {MSR_PAT, 0x0000000000000002, "a reserved PAT type"},
    {MSR_PAT, 0x0900000000000000, "a PAT type of more than three bits"},
    {MSR_EFER, 0x1d00, "EFER.SVME"},
    {MSR_EFER, BIT(63) | 0xd00, "a reserved bit of EFER"},
    {MSR_EFER, 0, "leaving long mode while paging is on"},
    {MSR_APIC_BASE, BIT(63) | 0xfee00900, "a reserved bit of APIC_BASE"},
    {MSR_TSC_AUX, BIT(32), "TSC_AUX of more than 32 bits"},
};

static void missing_ones(void)
{
    unsigned i;
    u64 value;

    for (i = 0; i < ARRAY_SIZE(missing); i++) {
        ok(rdmsr_try(missing[i].msr, &value) == VECTOR_GP, "reading %x (%s) is #GP", missing[i].msr,
           missing[i].name);
        ok(wrmsr_try(missing[i].msr, 0) == VECTOR_GP && capture.error == 0,
           "writing it, too, with error code 0");
    }
}

static void kept_ones(void)
{
    u64 before, value;
    unsigned i;
    int vector;

    for (i = 0; i < ARRAY_SIZE(kept); i++) {
        before = rdmsr(kept[i].msr);
        vector = wrmsr_try(kept[i].msr, kept[i].value);
        value = rdmsr(kept[i].msr);
        wrmsr(kept[i].msr, before);
        ok(vector == NO_VECTOR && value == kept[i].value, "%s keeps its value: %lx", kept[i].name, value);
    }
}

/*
 * Some of these lintel never sees: whether they are refused is the CPU's affair, and QEMU's lets them pass.
 */
static bool is_the_cpus(u32 msr)
{
    return msr == MSR_LSTAR || msr == MSR_FS_BASE || msr == MSR_KERNEL_GS;
}

static void refused_ones(void)
{
    unsigned i;

    for (i = 0; i < ARRAY_SIZE(refused); i++) {
        u64 before = rdmsr(refused[i].msr);
        int vector = wrmsr_try(refused[i].msr, refused[i].value);

        if (vector == NO_VECTOR && is_the_cpus(refused[i].msr)) {
            wrmsr(refused[i].msr, before);
            ok(true, "%s # SKIP this CPU does not check it", refused[i].why);
        } else {
            ok(vector == VECTOR_GP && rdmsr(refused[i].msr) == before, "%s is refused", refused[i].why);
        }
    }
}

static void time_stamps(void)
{
    u64 adjust = rdmsr(MSR_TSC_ADJUST), before, after;
    u32 aux;

    wrmsr(MSR_TSC, 1ull << 40);
    after = rdtsc();
    ok(after >= 1ull << 40 && after < (1ull << 40) + 10000000000, "the TSC can be set: %lx", after);
    ok(rdmsr(MSR_TSC_ADJUST) != adjust, "TSC_ADJUST tells");
    before = rdtsc();
    wrmsr(MSR_TSC_ADJUST, rdmsr(MSR_TSC_ADJUST) + (1ull << 41));
    ok(rdtsc() - before >= 1ull << 41, "TSC_ADJUST moves the TSC");
    wrmsr(MSR_TSC_ADJUST, adjust);
    if (!(cpuid(0x80000001, 0).edx & BIT(27))) {
        ok(true, "RDTSCP # SKIP this CPU has none");
        return;
    }
    wrmsr(MSR_TSC_AUX, 77);
    asm volatile("rdtscp" : "=c"(aux) : : "eax", "edx");
    ok(aux == 77, "RDTSCP shows TSC_AUX: %u", aux);
}

void guest_main(void)
{
    u64 efer = rdmsr(MSR_EFER), base = rdmsr(MSR_APIC_BASE);

    plan(2 * ARRAY_SIZE(missing) + ARRAY_SIZE(kept) + ARRAY_SIZE(refused) + 6);
    ok((efer & 0x1d00) == 0xd00, "EFER has LME, LMA and NXE, not SVME: %lx", efer);
    ok(base == 0xfee00900, "APIC_BASE is on, of the boot CPU: %lx", base);
    missing_ones();
    kept_ones();
    refused_ones();
    time_stamps();
}
