/* SPDX-License-Identifier: MIT */
/*
 * What CPUID says of this machine, as far as lintel itself asks. Boot CPU, once, before anything looks at
 * cpu_features. AMD APM 3, appendix E; Intel SDM 2A, CPUID.
 */
#include "arch/x86/machine/cpu.h"
#include "hv/lib/string.h"

#define LEAF_FEATURES          1
#define LEAF_POWER             6
#define LEAF_STRUCTURED        7
#define LEAF_XSAVE             0xd
#define LEAF_EXTENDED          0x80000000u
#define LEAF_EXTENDED_FEATURES 0x80000001u
#define LEAF_BRAND             0x80000002u
#define LEAF_POWER_MANAGEMENT  0x80000007u
#define LEAF_ADDRESS_SIZES     0x80000008u

#define PHYSICAL_BITS_DEFAULT 36
#define PHYSICAL_BITS_MOST    52
#define FXSAVE_BYTES          512

struct cpu_features cpu_features;

enum cpuid_register { EAX, EBX, ECX, EDX };

/* One row per feature bit: where CPUID tells it and which field takes it. */
struct feature_bit {
    u32 leaf;
    u16 field; /* offset in struct cpu_features */
    u8 output; /* enum cpuid_register */
    u8 bit;
};
#define FIELD(name) (u16) offsetof(struct cpu_features, name)

static const struct feature_bit feature_bits[] = {
    {LEAF_FEATURES, FIELD(vmx), ECX, 5},
    {LEAF_FEATURES, FIELD(x2apic), ECX, 21},
    {LEAF_FEATURES, FIELD(tsc_deadline), ECX, 24},
    {LEAF_FEATURES, FIELD(xsave), ECX, 26},
    {LEAF_FEATURES, FIELD(rdrand), ECX, 30},
    {LEAF_POWER, FIELD(arat), EAX, 2},
    {LEAF_STRUCTURED, FIELD(smep), EBX, 7},
    {LEAF_STRUCTURED, FIELD(rdseed), EBX, 18},
    {LEAF_STRUCTURED, FIELD(smap), EBX, 20},
    {LEAF_STRUCTURED, FIELD(umip), ECX, 2},
    {LEAF_EXTENDED_FEATURES, FIELD(svm), ECX, 2},
    {LEAF_EXTENDED_FEATURES, FIELD(nx), EDX, 20},
    {LEAF_EXTENDED_FEATURES, FIELD(pages_1g), EDX, 26},
    {LEAF_EXTENDED_FEATURES, FIELD(rdtscp), EDX, 27},
    {LEAF_POWER_MANAGEMENT, FIELD(invariant_tsc), EDX, 8},
};

/* Bits of CR4, and the CPUID bit of leaf 1 or 7 that stands for them (SDM 3A, 2.5; APM 2, 3.1.3). */
static const struct cr4_bit {
    u64 bits;
    u8 leaf, output, bit;
} cr4_bits[] = {
    {CR4_VME | CR4_PVI, LEAF_FEATURES, EDX, 1}, {CR4_DE, LEAF_FEATURES, EDX, 2},
    {CR4_PSE, LEAF_FEATURES, EDX, 3},           {CR4_TSD, LEAF_FEATURES, EDX, 4},
    {CR4_PAE, LEAF_FEATURES, EDX, 6},           {CR4_MCE, LEAF_FEATURES, EDX, 7},
    {CR4_PGE, LEAF_FEATURES, EDX, 13},          {CR4_OSFXSR, LEAF_FEATURES, EDX, 24},
    {CR4_OSXMMEXCPT, LEAF_FEATURES, EDX, 25},   {CR4_PCIDE, LEAF_FEATURES, ECX, 17},
    {CR4_OSXSAVE, LEAF_FEATURES, ECX, 26},      {CR4_FSGSBASE, LEAF_STRUCTURED, EBX, 0},
    {CR4_SMEP, LEAF_STRUCTURED, EBX, 7},        {CR4_SMAP, LEAF_STRUCTURED, EBX, 20},
    {CR4_UMIP, LEAF_STRUCTURED, ECX, 2},        {CR4_PKE, LEAF_STRUCTURED, ECX, 3},
    {CR4_LA57, LEAF_STRUCTURED, ECX, 16},
};

static bool leaf_exists(u32 leaf)
{
    return leaf <= (leaf >= LEAF_EXTENDED ? cpu_features.extended_max : cpu_features.basic_max);
}

static bool cpuid_bit(u32 leaf, u8 output, u8 bit)
{
    struct cpuid out;

    if (!leaf_exists(leaf))
        return false;
    out = cpuid(leaf, 0);
    return (const u32[]){out.eax, out.ebx, out.ecx, out.edx}[output] >> bit & 1;
}

static void feature_bit_read(const struct feature_bit *feature)
{
    bool *field = (bool *)((u8 *)&cpu_features + feature->field);

    *field = cpuid_bit(feature->leaf, feature->output, feature->bit);
}

static void cr4_read(void)
{
    cpu_features.cr4_known = CR4_PCE;
    for (unsigned i = 0; i < ARRAY_SIZE(cr4_bits); i++)
        if (cpuid_bit(cr4_bits[i].leaf, cr4_bits[i].output, cr4_bits[i].bit))
            cpu_features.cr4_known |= cr4_bits[i].bits;
}

static void limits_read(void)
{
    struct cpuid out = cpuid(0, 0);

    cpu_features.basic_max = out.eax;
    memcpy(cpu_features.vendor, &out.ebx, 4);
    memcpy(cpu_features.vendor + 4, &out.edx, 4);
    memcpy(cpu_features.vendor + 8, &out.ecx, 4);
    out = cpuid(LEAF_EXTENDED, 0);
    cpu_features.extended_max = out.eax >= LEAF_EXTENDED ? out.eax : 0;
}

static void brand_read(void)
{
    struct cpuid out;

    if (!leaf_exists(LEAF_BRAND + 2))
        return;
    for (u32 part = 0; part < 3; part++) {
        out = cpuid(LEAF_BRAND + part, 0);
        memcpy(cpu_features.brand + part * sizeof(out), &out, sizeof(out));
    }
}

static void physical_bits_read(void)
{
    u8 bits = PHYSICAL_BITS_DEFAULT;

    if (leaf_exists(LEAF_ADDRESS_SIZES))
        bits = (u8)cpuid(LEAF_ADDRESS_SIZES, 0).eax;
    cpu_features.physical_bits = MIN(bits, PHYSICAL_BITS_MOST);
}

/* The size for all components, not for those that XCR0 holds at the moment (subleaf 0, ECX). */
static void xsave_read(void)
{
    struct cpuid out;

    cpu_features.xsave_bytes = FXSAVE_BYTES;
    cpu_features.xsave = cpu_features.xsave && leaf_exists(LEAF_XSAVE);
    if (!cpu_features.xsave)
        return;
    out = cpuid(LEAF_XSAVE, 0);
    cpu_features.xsave_mask = (u64)out.edx << 32 | out.eax;
    cpu_features.xsave_bytes = (u16)out.ecx;
    cpu_features.xsaveopt = cpuid(LEAF_XSAVE, 1).eax & 1;
}

void cpu_features_read(void)
{
    limits_read();
    brand_read();
    physical_bits_read();
    for (unsigned i = 0; i < ARRAY_SIZE(feature_bits); i++)
        feature_bit_read(&feature_bits[i]);
    cr4_read();
    xsave_read();
}
