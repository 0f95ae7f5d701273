/* SPDX-License-Identifier: MIT */
/*
 * CPUID for guests: what of a host that has everything, or nothing, gets through; topology, XSAVE sizes, the
 * exit itself.
 */
// sources: guest/policy/cpuid.c guest/policy/cpuid_table.c tests/unit/fake_engine.c
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "arch/x86/machine/fpu.h"
#include "guest/machine.h"
#include "guest/policy/cpuid_table.h"
#include "hv/run/exit.h"
#include "tests/unit/fake_engine.h"

u64 tsc_khz = 2600000; /* the machine would have measured it */

static struct cpuid_policy policy;
static struct vm_config config;
static bool apic_enabled;
static u64 xcr0;

bool lapic_is_enabled(const struct vcpu *vcpu)
{
    (void)vcpu;
    return apic_enabled;
}

u64 fpu_xcr0(void)
{
    return xcr0;
}

/* A CPU with every bit set, of AMD's and Intel's leaves alike. */
static struct cpuid host_all(u32 leaf, u32 subleaf)
{
    static const struct cpuid caches[] = {{0xfc03c121, 1, 2, 3},
                                          {0xfc03c122, 1, 2, 3},
                                          {0xfc03c143, 1, 2, 3},
                                          {0xfffff163, 1, 2, 3},
                                          {0, 0, 0, 0}};
    static const struct cpuid parts[] = {{256, 576, 0, 0}, {64, 960, 0, 0},   {64, 1024, 0, 0},
                                         {64, 1088, 0, 0}, {512, 1152, 2, 0}, {1024, 1664, 2, 0},
                                         {8, 2688, 0, 0}};

    switch (leaf) {
    case 0: return (struct cpuid){0x20, 1, 2, 3};
    case 4:
    case 0x8000001d: return caches[subleaf < 5 ? subleaf : 4];
    case 0xd:
        if (subleaf >= 2)
            return subleaf - 2 < ARRAY_SIZE(parts) ? parts[subleaf - 2] : (struct cpuid){0};
        break;
    case 0x80000000: return (struct cpuid){0x80000028, 1, 2, 3};
    case 0x80000008: return (struct cpuid){0x00003934, ~0u, ~0u, ~0u};
    default: break;
    }
    return (struct cpuid){~0u, ~0u, ~0u, ~0u};
}

/*
 * The oldest that lintel could run on: no leaf above 1 and 80000001. What lies above repeats garbage, as
 * Intel's do.
 */
static struct cpuid host_old(u32 leaf, u32 subleaf)
{
    (void)subleaf;
    if (leaf == 0)
        return (struct cpuid){1, 1, 2, 3};
    if (leaf == 0x80000000)
        return (struct cpuid){0x80000001, 1, 2, 3};
    if (leaf == 1)
        return (struct cpuid){0xf62, 0x00000800, 0x04000001, 0x078bfbff};
    if (leaf == 0x80000001)
        return (struct cpuid){0xf62, 0, 0, 0x2fd3fbff};
    return (struct cpuid){0xdeadbeef, 0xdeadbeef, 0xdeadbeef, 0xdeadbeef};
}

static void build(u32 vcpus, enum personality personality, struct cpuid (*host)(u32, u32))
{
    config = (struct vm_config){.vcpus = vcpus, .personality = personality};
    cpuid_policy_build(&policy, &config, host);
}

static u32 get(u32 leaf, u32 subleaf, unsigned word)
{
    struct cpuid out = cpuid_policy_get(&policy, leaf, subleaf);

    return word == 0 ? out.eax : word == 1 ? out.ebx : word == 2 ? out.ecx : out.edx;
}
enum { EAX, EBX, ECX, EDX };

static void test_table(void **state)
{
    (void)state;
    for (unsigned i = 0; i < cpuid_row_count; i++) {
        const struct cpuid_row *row = &cpuid_rows[i], *next = row + 1;

        assert_non_null(row->reason);
        assert_true(strlen(row->reason) > 5);
        if (i + 1 < cpuid_row_count)
            assert_true(row->leaf < next->leaf || (row->leaf == next->leaf && row->subleaf < next->subleaf));
    }
}

/* Bits that no guest may see, whatever the host has; and those that all see. */
static const struct {
    u32 leaf, subleaf;
    unsigned word;
    u32 bit;
    bool shown;
    const char *name;
} bits[] = {
    {1, 0, ECX, 3, false, "MONITOR"},
    {1, 0, ECX, 5, false, "VMX"},
    {1, 0, ECX, 6, false, "SMX"},
    {1, 0, ECX, 15, false, "PDCM"},
    {1, 0, ECX, 17, true, "PCID, which the host has"},
    {1, 0, ECX, 21, true, "x2APIC"},
    {1, 0, ECX, 24, true, "TSC deadline"},
    {1, 0, ECX, 27, false, "OSXSAVE before CR4 has it"},
    {1, 0, ECX, 31, true, "hypervisor"},
    {1, 0, EDX, 7, true, "MCE"},
    {1, 0, EDX, 9, true, "APIC"},
    {1, 0, EDX, 12, true, "MTRR"},
    {1, 0, EDX, 14, true, "MCA"},
    {1, 0, EDX, 21, false, "DS"},
    {1, 0, EDX, 28, false, "HTT with one vCPU"},
    {6, 0, EAX, 2, true, "ARAT"},
    {6, 0, ECX, 0, false, "APERF"},
    {7, 0, EBX, 0, true, "FSGSBASE"},
    {7, 0, EBX, 1, true, "TSC_ADJUST"},
    {7, 0, EBX, 2, false, "SGX"},
    {7, 0, EBX, 4, false, "HLE"},
    {7, 0, EBX, 11, false, "RTM"},
    {7, 0, EBX, 20, true, "SMAP"},
    {7, 0, EBX, 25, false, "PT"},
    {7, 0, ECX, 3, false, "PKU"},
    {7, 0, ECX, 7, false, "CET_SS"},
    {7, 0, ECX, 16, false, "LA57"},
    {7, 0, EDX, 20, false, "CET_IBT"},
    {7, 0, EDX, 26, false, "SPEC_CTRL"},
    {7, 0, EDX, 29, false, "ARCH_CAPABILITIES"},
    {0xd, 1, EAX, 3, false, "XSAVES"},
    {0x80000001, 0, ECX, 1, false, "CmpLegacy with one vCPU"},
    {0x80000001, 0, ECX, 2, false, "SVM"},
    {0x80000001, 0, ECX, 5, true, "ABM"},
    {0x80000001, 0, ECX, 10, false, "IBS"},
    {0x80000001, 0, ECX, 12, false, "SKINIT"},
    {0x80000001, 0, ECX, 15, false, "LWP"},
    {0x80000001, 0, ECX, 23, false, "PerfCtrExtCore"},
    {0x80000001, 0, ECX, 29, false, "MONITORX"},
    {0x80000001, 0, EDX, 20, true, "NX"},
    {0x80000001, 0, EDX, 26, true, "1 GiB pages"},
    {0x80000001, 0, EDX, 29, true, "long mode"},
    {0x80000007, 0, EDX, 8, true, "invariant TSC"},
    {0x80000007, 0, EDX, 7, false, "hardware P-states"},
    {0x80000008, 0, EBX, 4, false, "RDPRU"},
    {0x80000008, 0, EBX, 12, false, "IBPB"},
};

static void test_bits(void **state)
{
    (void)state;
    build(1, PERSONALITY_KVM, host_all);
    for (unsigned i = 0; i < ARRAY_SIZE(bits); i++)
        if ((get(bits[i].leaf, bits[i].subleaf, bits[i].word) >> bits[i].bit & 1) != bits[i].shown)
            fail_msg("%s is wrong", bits[i].name);
}

static void test_empty_leaves(void **state)
{
    static const u32 empty[] = {3,          5,          8,          9,          0xa,
                                0xc,        0xe,        0x14,       0x80000009, 0x8000000a,
                                0x8000001b, 0x8000001c, 0x8000001f, 0x80000022, 0x40000004,
                                0x4000000f, 0x40000011, 0x40000100, 0xc0000000, 0xffffffff};

    (void)state;
    build(1, PERSONALITY_KVM, host_all);
    for (unsigned i = 0; i < ARRAY_SIZE(empty); i++)
        for (unsigned word = EAX; word <= EDX; word++)
            assert_int_equal(get(empty[i], 0, word), 0);
}

static void test_limits(void **state)
{
    (void)state;
    build(1, PERSONALITY_KVM, host_all);
    assert_int_equal(get(0, 0, EAX), 0xd);
    assert_int_equal(get(0, 0, EBX), 1);
    assert_int_equal(get(0x80000000, 0, EAX), 0x80000021);
    assert_int_equal(get(0x80000008, 0, EAX), 0x3030); /* 52 bits and more are cut to 48 */
    build(1, PERSONALITY_KVM, host_old);
    assert_int_equal(get(0, 0, EAX), 0xb);
    assert_int_equal(get(0x80000000, 0, EAX), 0x80000008);
    assert_int_equal(get(0x80000008, 0, EAX), 0x3024);
}

/* Nothing of an old host's garbage gets through; what lintel models is there all the same. */
static void test_old_host(void **state)
{
    (void)state;
    build(1, PERSONALITY_KVM, host_old);
    assert_int_equal(get(1, 0, ECX),
                     1 | 1 << 21 | 1 << 24 | 1u << 31); /* XSAVE without its leaf is no XSAVE */
    assert_int_equal(get(6, 0, EAX), 4);
    assert_int_equal(get(7, 0, EBX), 2);
    assert_int_equal(get(7, 0, EDX), 0);
    assert_int_equal(get(7, 1, EAX), 0);
    assert_int_equal(get(4, 0, EAX), 0);
    assert_int_equal(get(0x80000002, 0, EAX), 0);
    assert_int_equal(get(0x80000007, 0, EDX), 0x100);
}

static void test_personalities(void **state)
{
    struct cpuid signature;

    (void)state;
    build(1, PERSONALITY_KVM, host_all);
    signature = cpuid_policy_get(&policy, 0x40000000, 0);
    assert_int_equal(signature.eax, 0x40000010);
    assert_memory_equal(&signature.ebx, "KVMKVMKVM\0\0\0", 12);
    assert_int_equal(get(0x40000001, 0, EAX), 0x0100002b);
    assert_int_equal(get(0x40000001, 0, EDX), 0);
    signature = cpuid_policy_get(&policy, 0x40000002, 0);
    assert_int_equal(signature.eax, 0);
    assert_memory_equal(&signature.ebx, "LinuxPVLinux", 12);
    assert_int_equal(get(0x40000003, 0, EAX), 1);
    assert_int_equal(get(0x40000010, 0, EAX), tsc_khz);
    assert_int_equal(get(0x40000010, 0, EBX), 1000000);
    build(1, PERSONALITY_VMWARE, host_all);
    signature = cpuid_policy_get(&policy, 0x40000000, 0);
    assert_int_equal(signature.eax, 0x40000010);
    assert_memory_equal(&signature.ebx, "VMwareVMware", 12);
    assert_int_equal(get(1, 0, ECX) >> 31, 1);
    assert_int_equal(get(0x40000001, 0, EAX), 0);
    assert_memory_equal(&policy.groups[1].leaves[2].ebx, "LinuxPVLinux", 12);
    assert_int_equal(get(0x40000003, 0, EAX), 1);
    assert_int_equal(get(0x40000010, 0, EAX), tsc_khz);
    assert_int_equal(get(0x40000010, 0, EBX), 1000000);
    assert_int_equal(get(0x40000010, 0, ECX) | get(0x40000010, 0, EDX), 0); /* no calls by VMCALL */
    build(1, PERSONALITY_NONE, host_all);
    assert_int_equal(get(1, 0, ECX) >> 31, 0);
    assert_int_equal(get(0x40000000, 0, EAX) | get(0x40000000, 0, EBX) | get(0x40000001, 0, EAX), 0);
}

static void test_topology(void **state)
{
    static const struct {
        u32 vcpus, shift;
    } rows[] = {{1, 0}, {2, 1}, {3, 2}, {4, 2}, {5, 3}, {32, 5}};

    (void)state;
    for (unsigned i = 0; i < ARRAY_SIZE(rows); i++) {
        u32 n = rows[i].vcpus, all = (1u << rows[i].shift) - 1;

        build(n, PERSONALITY_KVM, host_all);
        assert_int_equal(get(1, 0, EDX) >> 28 & 1, n > 1);
        assert_int_equal(get(1, 0, EBX) >> 16, n > 1 ? n : 0);
        assert_int_equal(get(0x80000001, 0, ECX) >> 1 & 1, n > 1);
        assert_int_equal(get(0x80000008, 0, ECX), rows[i].shift << 12 | (n - 1));
        assert_int_equal(get(0xb, 0, EAX), 0);
        assert_int_equal(get(0xb, 0, EBX), 1);
        assert_int_equal(get(0xb, 0, ECX), 0x100);
        assert_int_equal(get(0xb, 1, EAX), rows[i].shift);
        assert_int_equal(get(0xb, 1, EBX), n);
        assert_int_equal(get(0xb, 1, ECX), 0x200);
        assert_int_equal(get(4, 0, EAX), all << 26 | 0x121); /* L1: its own */
        assert_int_equal(get(4, 3, EAX), all << 26 | all << 14 | 0x3163);
        assert_int_equal(get(4, 4, EAX), 0);
        assert_int_equal(get(0x8000001d, 2, EAX), 0x143);
        assert_int_equal(get(0x8000001d, 3, EAX), all << 14 | 0x3163);
    }
}

/* ---- exits */

static struct machine *machine_of_test;
static struct vm vm;
static struct vcpu vcpu;

static int setup_exit(void **state)
{
    (void)state;
    machine_of_test = calloc(1, sizeof(*machine_of_test) + 4 * sizeof(struct machine_vcpu));
    build(4, PERSONALITY_KVM, host_all);
    machine_of_test->cpuid = policy;
    vm = (struct vm){.machine = machine_of_test, .config = &config};
    vcpu = (struct vcpu){.vm = &vm, .index = 3};
    apic_enabled = true;
    xcr0 = 1;
    fake_engine_reset(FAKE_64);
    engine->register_set(&vcpu, REGISTER_CR4, CR4_PAE);
    return 0;
}

static int teardown_exit(void **state)
{
    (void)state;
    free(machine_of_test);
    return 0;
}

static void exit_with(u32 leaf, u32 subleaf)
{
    struct vmexit x = {.kind = EXIT_CPUID, .length = 2};
    u32 light;

    /* The upper halves are the guest's: not looked at, and cleared. */
    vcpu.regs.gpr[RAX] = 0xabcdabcd00000000 | leaf;
    vcpu.regs.gpr[RCX] = 0xabcdabcd00000000 | subleaf;
    vcpu.regs.gpr[RBX] = vcpu.regs.gpr[RDX] = ~0ull;
    vcpu.regs.rip = 0x1000;
    vcpu.requests = REQUEST_INTERRUPT;
    light = policy_cpuid_light(&vcpu);
    if (light == EXIT_NOT_LIGHT) {
        assert_int_equal(vcpu.regs.gpr[RBX], ~0ull);
        policy_cpuid(&vcpu, &x);
        assert_int_equal(vcpu.regs.rip, 0x1002);
    } else {
        struct vcpu answered = vcpu;

        assert_int_equal(light, REQUEST_INTERRUPT);
        assert_int_equal(vcpu.regs.rip, 0x1000); /* the engine's */
        vcpu.regs.gpr[RAX] = leaf;
        vcpu.regs.gpr[RCX] = subleaf;
        policy_cpuid(&vcpu, &x); /* the full way says the same */
        assert_int_equal(vcpu.regs.rip, 0x1002);
        assert_memory_equal(vcpu.regs.gpr, answered.regs.gpr, sizeof(vcpu.regs.gpr));
    }
    for (unsigned i = RAX; i <= RBX; i++)
        assert_int_equal(vcpu.regs.gpr[i] >> 32, 0);
}

static void test_exit_plain(void **state)
{
    (void)state;
    exit_with(0x40000000, 77);
    assert_int_equal(vcpu.regs.gpr[RAX], 0x40000010);
    assert_int_equal(vcpu.regs.gpr[RBX], 0x4b4d564b);
    assert_int_equal(vcpu.regs.gpr[RCX], 0x564b4d56);
    assert_int_equal(vcpu.regs.gpr[RDX], 0x4d);
    exit_with(0x80000008, 0);
    assert_int_equal(vcpu.regs.gpr[RAX], 0x3030);
}

static void test_exit_none(void **state)
{
    static const u32 leaves[] = {0xe,        0x3f,       0x40,       0x41,       0x40000004,
                                 0x40000100, 0x80000022, 0x80000040, 0x80000080, 0xbfffffff,
                                 0xc0000000, 0xffffffff, 0x3fffffff};

    (void)state;
    for (unsigned i = 0; i < ARRAY_SIZE(leaves); i++) {
        exit_with(leaves[i], 0);
        assert_int_equal(vcpu.regs.gpr[RAX] | vcpu.regs.gpr[RBX] | vcpu.regs.gpr[RCX] | vcpu.regs.gpr[RDX],
                         0);
    }
}

static void test_exit_state(void **state)
{
    (void)state;
    exit_with(1, 99);
    assert_int_equal(vcpu.regs.gpr[RBX] >> 24, 3);
    assert_int_equal(vcpu.regs.gpr[RCX] >> 27 & 1, 0);
    assert_int_equal(vcpu.regs.gpr[RDX] >> 9 & 1, 1);
    engine->register_set(&vcpu, REGISTER_CR4, CR4_PAE | CR4_OSXSAVE);
    apic_enabled = false;
    exit_with(1, 0);
    assert_int_equal(vcpu.regs.gpr[RCX] >> 27 & 1, 1);
    assert_int_equal(vcpu.regs.gpr[RDX] >> 9 & 1, 0);
    exit_with(0x80000001, 5);
    assert_int_equal(vcpu.regs.gpr[RDX] >> 9 & 1, 0);
    assert_int_equal(vcpu.regs.gpr[RDX] >> 29 & 1, 1);
    exit_with(0x8000001e, 0);
    assert_int_equal(vcpu.regs.gpr[RAX], 3);
    assert_int_equal(vcpu.regs.gpr[RBX], 3);
    exit_with(0xb, 1);
    assert_int_equal(vcpu.regs.gpr[RCX], 0x201);
    assert_int_equal(vcpu.regs.gpr[RDX], 3);
    exit_with(0xb, 0x107);
    assert_int_equal(vcpu.regs.gpr[RBX], 0);
    assert_int_equal(vcpu.regs.gpr[RCX], 7);
    assert_int_equal(vcpu.regs.gpr[RDX], 3);
}

/* Sizes by what XCR0 enables: with gaps (subleaf 0) and without (subleaf 1). */
static void test_exit_xsave(void **state)
{
    static const struct {
        u64 xcr0;
        u32 size, packed;
    } rows[] = {{1, 576, 576}, {3, 576, 576}, {7, 832, 832}, {0xe7, 2688, 832 + 64 + 512 + 1024}};

    (void)state;
    for (unsigned i = 0; i < ARRAY_SIZE(rows); i++) {
        xcr0 = rows[i].xcr0;
        exit_with(0xd, 0);
        assert_int_equal(vcpu.regs.gpr[RAX], 0xe7);
        assert_int_equal(vcpu.regs.gpr[RBX], rows[i].size);
        assert_int_equal(vcpu.regs.gpr[RCX], 2688);
        exit_with(0xd, 1);
        assert_int_equal(vcpu.regs.gpr[RAX], 7);
        assert_int_equal(vcpu.regs.gpr[RBX], rows[i].packed);
        assert_int_equal(vcpu.regs.gpr[RCX] | vcpu.regs.gpr[RDX], 0);
    }
    exit_with(0xd, 2);
    assert_int_equal(vcpu.regs.gpr[RBX], 576);
    exit_with(0xd, 8);
    assert_int_equal(vcpu.regs.gpr[RAX] | vcpu.regs.gpr[RBX], 0);
    exit_with(0xd, 9);
    assert_int_equal(vcpu.regs.gpr[RAX] | vcpu.regs.gpr[RBX], 0);
}

static void test_exit_no_xsave(void **state)
{
    (void)state;
    build(1, PERSONALITY_KVM, host_old);
    machine_of_test->cpuid = policy;
    engine->register_set(&vcpu, REGISTER_CR4, CR4_OSXSAVE);
    exit_with(1, 0);
    assert_int_equal(vcpu.regs.gpr[RCX] >> 26 & 3, 0);
    exit_with(0xd, 0);
    assert_int_equal(vcpu.regs.gpr[RAX] | vcpu.regs.gpr[RBX] | vcpu.regs.gpr[RCX], 0);
}

#define EXIT_TEST(name) cmocka_unit_test_setup_teardown(name, setup_exit, teardown_exit)

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_table),        cmocka_unit_test(test_bits),
        cmocka_unit_test(test_empty_leaves), cmocka_unit_test(test_limits),
        cmocka_unit_test(test_old_host),     cmocka_unit_test(test_personalities),
        cmocka_unit_test(test_topology),     EXIT_TEST(test_exit_plain),
        EXIT_TEST(test_exit_none),           EXIT_TEST(test_exit_state),
        EXIT_TEST(test_exit_xsave),          EXIT_TEST(test_exit_no_xsave),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
