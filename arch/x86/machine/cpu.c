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
    {LEAF_POWER, FIELD(arat), EAX, 2},
    {LEAF_STRUCTURED, FIELD(smep), EBX, 7},
    {LEAF_STRUCTURED, FIELD(smap), EBX, 20},
    {LEAF_STRUCTURED, FIELD(umip), ECX, 2},
    {LEAF_EXTENDED_FEATURES, FIELD(svm), ECX, 2},
    {LEAF_EXTENDED_FEATURES, FIELD(nx), EDX, 20},
    {LEAF_EXTENDED_FEATURES, FIELD(pages_1g), EDX, 26},
    {LEAF_EXTENDED_FEATURES, FIELD(rdtscp), EDX, 27},
    {LEAF_POWER_MANAGEMENT, FIELD(invariant_tsc), EDX, 8},
};

static bool leaf_exists(u32 leaf)
{
    return leaf <= (leaf >= LEAF_EXTENDED ? cpu_features.extended_max : cpu_features.basic_max);
}

static void feature_bit_read(const struct feature_bit *feature)
{
    struct cpuid out;
    bool *field = (bool *)((u8 *)&cpu_features + feature->field);

    *field = false;
    if (!leaf_exists(feature->leaf))
        return;
    out = cpuid(feature->leaf, 0);
    *field = (const u32[]){out.eax, out.ebx, out.ecx, out.edx}[feature->output] >> feature->bit & 1;
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
    xsave_read();
}
