/* SPDX-License-Identifier: MIT */
/*
 * Model-specific registers: the table's order, what each row answers, what it refuses, and that unknown ones
 * are #GP.
 */
// sources: hv/memory/guest_map.c
// sources: guest/policy/msr.c guest/policy/kvmclock.c guest/policy/stealtime.c guest/policy/cpuid.c
// sources: guest/policy/cpuid_table.c hv/run/vcpu_check.c
// sources: hv/run/bus.c tests/unit/fake_engine.c tests/unit/fake_guest_ram.c
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "arch/x86/machine/fpu.h"
#include "guest/machine.h"
#include "hv/lib/errno.h"
#include "hv/run/exit.h"
#include "hv/run/memory_wait.h"
#include "tests/unit/fake_engine.h"
#include "tests/unit/fake_guest_ram.h"

u64 test_now;
u64 tsc_khz = 2000000;
struct cpu_features cpu_features = {.physical_bits = 40};
u64 (*rtc_wall_clock_seconds)(void);

static struct machine *machine_of_test;
static struct vm_config config;
static struct vm vm;
static struct vcpu vcpu;
static unsigned faults, lines, deadlines_moved;
static char said[200];
static u64 host_tsc_aux;
static u32 lapic_msr;
static u64 lapic_value;

u64 tsc_to_ns(u64 ticks)
{
    return ticks / 2;
}

u64 tsc_from_ns(u64 ns)
{
    return ns * 2;
}

int rdmsr_safe(u32 msr, u64 *value)
{
    *value = 0x8001234;
    return msr == 0x8b ? 0 : -EFAULT;
}

int wrmsr_safe(u32 msr, u64 value)
{
    host_tsc_aux = value;
    return msr == MSR_TSC_AUX ? 0 : -EFAULT;
}

void vcpu_inject_fault(struct vcpu *at, u8 vector, u32 error_code)
{
    assert_ptr_equal(at, &vcpu);
    assert_int_equal(vector, 13);
    assert_int_equal(error_code, 0);
    faults++;
}

static gpa_t waits_for;
void memory_wait(struct vcpu *at, gpa_t gpa, const char *device)
{
    assert_ptr_equal(at, &vcpu);
    assert_null(device);
    waits_for = gpa;
}

void log_line(enum log_level level, const char *format, ...)
{
    va_list args;

    assert_int_equal(level, LOG_WARNING);
    va_start(args, format);
    vsnprintf(said, sizeof(said), format, args);
    va_end(args);
    lines++;
}

bool log_limit_pass(struct log_limit *limit, u64 now, u64 interval, u32 burst)
{
    assert_ptr_equal(limit, &vm.log_limit);
    assert_int_equal(now, test_now);
    assert_int_equal(interval, 2000000000);
    return limit->used++ < burst;
}

#define FAKE_LAPIC(name)                                          \
    int lapic_##name##_read(struct vcpu *at, u32 msr, u64 *value) \
    {                                                             \
        (void)at;                                                 \
        lapic_msr = msr;                                          \
        *value = lapic_value;                                     \
        return lapic_value == ~0ull ? -EINVAL : 0;                \
    }                                                             \
    int lapic_##name##_write(struct vcpu *at, u32 msr, u64 value) \
    {                                                             \
        (void)at;                                                 \
        lapic_msr = msr;                                          \
        lapic_value = value;                                      \
        return value == ~0ull ? -EINVAL : 0;                      \
    }
FAKE_LAPIC(base)
FAKE_LAPIC(deadline)
FAKE_LAPIC(msr)

void lapic_tsc_offset_changed(struct vcpu *at)
{
    (void)at;
    deadlines_moved++;
}

u64 fpu_xcr0(void)
{
    return 1;
}

bool lapic_is_enabled(const struct vcpu *at)
{
    (void)at;
    return true;
}

static struct cpuid host(u32 leaf, u32 subleaf)
{
    (void)subleaf;
    if (leaf == 0 || leaf == 0x80000000)
        return (struct cpuid){leaf | 8, 0, 0, 0};
    return (struct cpuid){0, 0, 0, leaf == 0x80000001 ? 1u << 20 : 0}; /* NX, but not FFXSR */
}

static int setup(void **state)
{
    (void)state;
    machine_of_test = calloc(1, sizeof(*machine_of_test) + sizeof(struct machine_vcpu));
    config = (struct vm_config){.vcpus = 1, .personality = PERSONALITY_KVM};
    cpuid_policy_build(&machine_of_test->cpuid, &config, host);
    msr_state_reset(&machine_of_test->vcpus[0].msrs);
    test_now = 1000000;
    machine_of_test->start_tsc = test_now;
    vm = (struct vm){.name = "web", .machine = machine_of_test, .config = &config};
    fake_guest_ram_reset(&vm.memory, 2 << 20);
    vcpu = (struct vcpu){.vm = &vm, .tsc_offset = 0 - test_now, .clock = &machine_of_test->vcpus[0].clock};
    faults = lines = deadlines_moved = 0;
    fake_engine_reset(FAKE_64);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    free(machine_of_test);
    return 0;
}

/* As the exits: false when the guest got #GP instead of a step forward. */
static bool guest_read(u32 msr, u64 *value)
{
    struct vmexit x = {.kind = EXIT_MSR_READ, .length = 2};
    unsigned before = faults;

    vcpu.regs.rip = 0x1000;
    vcpu.regs.gpr[RCX] = 0x1234567800000000 | msr;
    vcpu.regs.gpr[RAX] = vcpu.regs.gpr[RDX] = ~0ull;
    if (policy_msr_read_light(&vcpu) == EXIT_NOT_LIGHT)
        policy_msr_read(&vcpu, &x);
    else
        vcpu_skip(&vcpu, &x); /* as the engine */
    if (faults != before) {
        assert_int_equal(vcpu.regs.rip, 0x1000);
        assert_int_equal(vcpu.regs.gpr[RAX], ~0ull);
        return false;
    }
    assert_int_equal(vcpu.regs.rip, 0x1002);
    assert_int_equal(vcpu.regs.gpr[RAX] >> 32 | vcpu.regs.gpr[RDX] >> 32, 0);
    *value = vcpu.regs.gpr[RDX] << 32 | vcpu.regs.gpr[RAX];
    return true;
}

static bool guest_write(u32 msr, u64 value)
{
    struct vmexit x = {.kind = EXIT_MSR_WRITE, .length = 2};
    unsigned before = faults;

    vcpu.regs.rip = 0x1000;
    vcpu.regs.gpr[RCX] = 0x1234567800000000 | msr;
    vcpu.regs.gpr[RAX] = 0xabababab00000000 | (u32)value; /* upper halves count for nothing */
    vcpu.regs.gpr[RDX] = 0xcdcdcdcd00000000 | value >> 32;
    if (policy_msr_write_light(&vcpu) == EXIT_NOT_LIGHT)
        policy_msr_write(&vcpu, &x);
    else
        vcpu_skip(&vcpu, &x);
    assert_int_equal(vcpu.regs.rip, faults != before ? 0x1000 : 0x1002);
    return faults == before;
}

static u64 value_of(u32 msr)
{
    u64 value = 0;

    if (!guest_read(msr, &value))
        fail_msg("MSR %#x can't be read", msr);
    return value;
}

static void test_table(void **state)
{
    (void)state;
    for (u32 i = 0; i < policy_msrs.count; i++) {
        const struct msr_range *row = &policy_msrs.ranges[i];

        assert_true(row->first <= row->last);
        assert_true(strlen(row->reason) > 5);
        if (i + 1 < policy_msrs.count)
            assert_true(row->last < row[1].first);
        assert_ptr_equal(msr_bus_find(&policy_msrs, row->first), row);
        assert_ptr_equal(msr_bus_find(&policy_msrs, row->last), row);
    }
}

/* The full way (as under a single step) does what the light one does, which counts and tells requests. */
static void test_light_and_full(void **state)
{
    struct vmexit x = {.length = 2};

    (void)state;
    vcpu.requests = REQUEST_NMI;
    vcpu.regs = (struct vcpu_regs){.gpr = {[RCX] = 0x2ff, [RAX] = 6}, .rip = 0x1000};
    policy_msr_write(&vcpu, &x);
    policy_msr_read(&vcpu, &x);
    assert_int_equal(vcpu.regs.rip, 0x1004);
    assert_int_equal(vcpu.regs.gpr[RAX], 6);
    assert_int_equal(vcpu.exits[EXIT_MSR_READ] + vcpu.exits[EXIT_MSR_WRITE], 0); /* exit_dispatch counts */
    assert_int_equal(policy_msr_write_light(&vcpu), REQUEST_NMI);
    assert_int_equal(policy_msr_read_light(&vcpu), REQUEST_NMI);
    assert_int_equal(vcpu.regs.rip, 0x1004);
    assert_int_equal(vcpu.exits[EXIT_MSR_READ], 1);
    assert_int_equal(vcpu.exits[EXIT_MSR_WRITE], 1);
    vcpu.regs.gpr[RCX] = 0x34;
    assert_int_equal(policy_msr_read_light(&vcpu), EXIT_NOT_LIGHT);
    assert_int_equal(policy_msr_write_light(&vcpu), EXIT_NOT_LIGHT);
    assert_int_equal(vcpu.exits[EXIT_MSR_READ], 1);
    assert_int_equal(faults, 0);
}

/* Read-only constants, and what ignores writes. */
static void test_constants(void **state)
{
    static const struct {
        u32 msr;
        u64 value;
        bool writable;
    } rows[] = {
        {0x17, 0, false},
        {0x8b, 0x8001234, true},
        {0xfe, 0x400, false},
        {0x179, 0, false},
        {0x17a, 0, true},
        {0x1a0, 0x1801, true},
        {0xc0010000, 0, true},
        {0xc0010007, 0, true},
        {0xc0010010, 0, true},
        {0xc001001f, 0, true},
        {0xc0010055, 0, true},
        {0xc0011029, 2, true},
        {0xc0010015, 1 << 24, true},
    };

    (void)state;
    for (unsigned i = 0; i < ARRAY_SIZE(rows); i++) {
        assert_int_equal(value_of(rows[i].msr), rows[i].value);
        assert_int_equal(guest_write(rows[i].msr, rows[i].value), rows[i].writable);
        assert_int_equal(value_of(rows[i].msr), rows[i].value);
    }
    assert_int_equal(lines, 0);
}

static void test_unknown(void **state)
{
    static const u32 unknown[] = {0,          0xf,        0x13,       0x200,      0x250,
                                  0x400,      0x7ff,      0x900,      0x4b564d02, 0x4b564cff,
                                  0xc0000000, 0xc0000104, 0xc0010008, 0xc001102a, 0xffffffff};
    u64 value;

    (void)state;
    for (unsigned i = 0; i < ARRAY_SIZE(unknown); i++) {
        assert_false(guest_read(unknown[i], &value));
        assert_false(guest_write(unknown[i], 0));
    }
    assert_int_equal(lines, 5); /* no more than the budget */
    assert_string_equal(said, "VM web: vCPU 0 reads MSR 0x13, which does not exist; it gets #GP.");
}

static void test_absent_without_a_word(void **state)
{
    static const u32 absent[] = {0x34,  0x48,  0x49,       0xce,       0x10a,      0x122,     0x140,
                                 0x345, 0x606, 0xc0010114, 0xc0010117, 0xc0010140, 0xc0011020};
    u64 value;

    (void)state;
    for (unsigned i = 0; i < ARRAY_SIZE(absent); i++) {
        assert_false(guest_read(absent[i], &value));
        assert_false(guest_write(absent[i], 0));
    }
    assert_int_equal(lines, 0);
}

static void test_tsc(void **state)
{
    (void)state;
    test_now += 500;
    assert_int_equal(value_of(0x10), 500);
    assert_true(guest_write(0x10, 0x123456789abc));
    assert_int_equal(value_of(0x10), 0x123456789abc);
    assert_int_equal(value_of(0x3b), 0x123456789abc - 500);
    assert_true(guest_write(0x3b, 7));
    assert_int_equal(value_of(0x10), 507);
    assert_int_equal(deadlines_moved, 2);
    assert_true(guest_write(0x3b, 7));
    assert_int_equal(deadlines_moved, 2); /* nothing moved */
    assert_true(guest_write(0x10, 0));
    assert_int_equal(value_of(0x10), 0);
    assert_int_equal(value_of(0x3b), 0 - 500ull);
}

/* The clock page follows the TSC, so that the guest's time does not jump with it. */
static void test_tsc_and_clock(void **state)
{
    const u64 *page = (const u64 *)fake_guest_ram_at(0x3000);

    (void)state;
    assert_true(guest_write(0x4b564d01, 0x3001));
    assert_int_equal(value_of(0x4b564d01), 0x3001);
    assert_int_equal(page[1], 0);
    assert_true(guest_write(0x10, 1ull << 40));
    assert_int_equal(page[1], 1ull << 40);
    assert_false(guest_write(0x12, 0xfee00001));
    config.personality = PERSONALITY_NONE;
    assert_false(guest_write(0x4b564d01, 0x3001));
}

static void test_lapic(void **state)
{
    static const u32 msrs[] = {0x1b, 0x6e0, 0x800, 0x80b, 0x830, 0x8ff};

    (void)state;
    for (unsigned i = 0; i < ARRAY_SIZE(msrs); i++) {
        assert_true(guest_write(msrs[i], 0xfee00900 + i));
        assert_int_equal(lapic_msr, msrs[i]);
        assert_int_equal(value_of(msrs[i]), 0xfee00900 + i);
        assert_false(guest_write(msrs[i], ~0ull));
    }
    assert_int_equal(lines, 0);
}

static void test_tsc_aux(void **state)
{
    (void)state;
    assert_true(guest_write(0xc0000103, 0xffffffff));
    assert_int_equal(vcpu.tsc_aux, 0xffffffff);
    assert_int_equal(host_tsc_aux, 0xffffffff);
    assert_int_equal(value_of(0xc0000103), 0xffffffff);
    assert_false(guest_write(0xc0000103, 0x100000000));
    assert_int_equal(vcpu.tsc_aux, 0xffffffff);
}

static void test_pat(void **state)
{
    static const u64 bad[] = {2, 3ull << 8, 8ull << 56, 0xffull << 24, 0x0007040600070402};

    (void)state;
    assert_true(guest_write(0x277, 0x0007010600070106));
    assert_int_equal(value_of(0x277), 0x0007010600070106);
    for (unsigned i = 0; i < ARRAY_SIZE(bad); i++)
        assert_false(guest_write(0x277, bad[i]));
    assert_int_equal(engine->register_get(&vcpu, REGISTER_PAT), 0x0007010600070106);
}

static void test_efer(void **state)
{
    static const u64 bad[] = {EFER_SVME, EFER_LMSLE, EFER_FFXSR, 1 << 15, 1 << 1, 1ull << 63};

    (void)state;
    engine->register_set(&vcpu, REGISTER_CR0, CR0_PE | CR0_PG);
    engine->register_set(&vcpu, REGISTER_EFER, EFER_LME | EFER_LMA);
    assert_true(guest_write(0xc0000080, EFER_LME | EFER_SCE | EFER_NXE)); /* LMA stays, as on a CPU */
    assert_int_equal(value_of(0xc0000080), EFER_LME | EFER_LMA | EFER_SCE | EFER_NXE);
    assert_false(guest_write(0xc0000080, 0)); /* LME while paging is on */
    for (unsigned i = 0; i < ARRAY_SIZE(bad); i++)
        assert_false(guest_write(0xc0000080, EFER_LME | bad[i]));
    engine->register_set(&vcpu, REGISTER_CR0, CR0_PE);
    engine->register_set(&vcpu, REGISTER_EFER, 0);
    assert_true(guest_write(0xc0000080, EFER_LME | EFER_LMA));
    assert_int_equal(value_of(0xc0000080), EFER_LME); /* LMA comes with paging */
    assert_true(guest_write(0xc0000080, 0));
}

static void test_system_calls(void **state)
{
    static const struct {
        u32 msr;
        enum vcpu_register which;
        bool address;
    } rows[] = {
        {0x174, REGISTER_SYSENTER_CS, false}, {0x175, REGISTER_SYSENTER_ESP, true},
        {0x176, REGISTER_SYSENTER_EIP, true}, {0xc0000081, REGISTER_STAR, false},
        {0xc0000082, REGISTER_LSTAR, true},   {0xc0000083, REGISTER_CSTAR, true},
        {0xc0000084, REGISTER_SFMASK, false}, {0xc0000102, REGISTER_KERNEL_GS_BASE, true},
    };

    (void)state;
    for (unsigned i = 0; i < ARRAY_SIZE(rows); i++) {
        u64 value = rows[i].address ? 0xffff800012345678 : 0x23001000000000ull + i;

        assert_true(guest_write(rows[i].msr, value));
        assert_int_equal(engine->register_get(&vcpu, rows[i].which), value);
        assert_int_equal(value_of(rows[i].msr), value);
        assert_int_equal(guest_write(rows[i].msr, 0x0000800000000000), !rows[i].address);
    }
}

static void test_mtrr(void **state)
{
    static const u64 bad[] = {0x802, 0x803, 0x807, 0xc06, 0x1806, 1ull << 40};

    (void)state;
    assert_int_equal(value_of(0x2ff), 0x806);
    assert_true(guest_write(0x2ff, 0));
    assert_int_equal(value_of(0x2ff), 0);
    assert_true(guest_write(0x2ff, 0x806));
    for (unsigned i = 0; i < ARRAY_SIZE(bad); i++)
        assert_false(guest_write(0x2ff, bad[i]));
    msr_state_reset(&machine_of_test->vcpus[0].msrs);
    assert_int_equal(value_of(0x2ff), 0x806);
}

static void test_other_writes(void **state)
{
    (void)state;
    assert_true(guest_write(0x1d9, 3));
    assert_int_equal(value_of(0x1d9), 0);
    assert_false(guest_write(0x1d9, 4));
    assert_true(guest_write(0xc0010015, 0x40000010));
    assert_int_equal(value_of(0xc0010015), 0x41000010);
    assert_true(guest_write(0x79, 0x1000));
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_table),
        TEST(test_light_and_full),
        TEST(test_constants),
        TEST(test_unknown),
        TEST(test_absent_without_a_word),
        TEST(test_tsc),
        TEST(test_tsc_and_clock),
        TEST(test_lapic),
        TEST(test_tsc_aux),
        TEST(test_pat),
        TEST(test_efer),
        TEST(test_system_calls),
        TEST(test_mtrr),
        TEST(test_other_writes),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
