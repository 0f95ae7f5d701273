/* SPDX-License-Identifier: MIT */
/*
 * The registers that INIT, SIPI and CPU_ON make: what INIT keeps, real mode at the vector's page, the PVH
 * entry. When they happen is test_power.c's.
 */
// sources: guest/startup.c guest/load/start_state.c tests/unit/fake_engine.c
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#include "arch/x86/machine/cpu.h"
#include "guest/load/start_state.h"
#include "guest/machine.h"
#include "guest/startup.h"
#include "tests/unit/fake_engine.h"

static struct vm vm;
static struct vcpu vcpu;
static struct lapic lapic;
static struct machine board;
static unsigned lapic_inits, lazy_resets;

void lapic_init_received(struct lapic *at)
{
    assert_ptr_equal(at, &lapic);
    lapic_inits++;
}

void vcpu_reset_lazy(struct vcpu *at)
{
    assert_ptr_equal(at, &vcpu);
    lazy_resets++;
}

void fetch_cache_clear(struct fetch_cache *cache)
{
    assert_ptr_equal(cache, &vcpu.fetch_cache);
}

struct cpuid cpuid_policy_get(const struct cpuid_policy *policy, u32 leaf, u32 subleaf)
{
    (void)policy, (void)subleaf;
    return (struct cpuid){.eax = leaf == 1 ? 0x800f12 : 0};
}

static int setup(void **state)
{
    (void)state;
    vm = (struct vm){.name = "web", .machine = &board};
    vcpu = (struct vcpu){.vm = &vm, .index = 1, .lapic = &lapic};
    lapic_inits = lazy_resets = 0;
    fake_engine_reset(FAKE_64);
    return 0;
}

/* Everything that a kernel may have set, at values of its own. */
static void fill(void)
{
    for (unsigned i = 0; i < REGISTER_COUNT; i++)
        fake_state.registers[i] = 0x1000 + i;
    fake_state.registers[REGISTER_CR0] = CR0_PG | CR0_PE | CR0_ET | CR0_CD;
    for (unsigned i = 0; i < GPR_COUNT; i++)
        vcpu.regs.gpr[i] = 0x77;
    vcpu.debug[3] = 5;
    vcpu.xcr0 = 7;
    vcpu.tsc_aux = 9;
    vcpu.tsc_offset = 11;
}

/* SDM 3A, table 9-1, column INIT; APM 2, table 14-1. */
static void test_init(void **state)
{
    static const u8 kept[] = {REGISTER_PAT,         REGISTER_STAR,         REGISTER_LSTAR,
                              REGISTER_CSTAR,       REGISTER_SFMASK,       REGISTER_KERNEL_GS_BASE,
                              REGISTER_SYSENTER_CS, REGISTER_SYSENTER_ESP, REGISTER_SYSENTER_EIP};
    static const u8 cleared[] = {REGISTER_RSP, REGISTER_CR2, REGISTER_CR3, REGISTER_CR4, REGISTER_EFER};

    (void)state;
    fill();
    assert_int_equal(startup_init(&vcpu), 0);
    assert_int_equal(lapic_inits, 1);
    for (unsigned i = 0; i < ARRAY_SIZE(kept); i++)
        assert_int_equal(fake_state.registers[kept[i]], 0x1000 + kept[i]);
    for (unsigned i = 0; i < ARRAY_SIZE(cleared); i++)
        assert_int_equal(fake_state.registers[cleared[i]], 0);
    assert_int_equal(fake_state.registers[REGISTER_CR0], CR0_ET | CR0_CD); /* the cache bits as they were */
    assert_int_equal(fake_state.registers[REGISTER_RFLAGS], 2);
    assert_int_equal(fake_state.registers[REGISTER_DR6], 0xffff0ff0);
    assert_int_equal(fake_state.registers[REGISTER_DR7], 0x400);
    assert_int_equal(vcpu.regs.rip, 0xfff0);
    assert_int_equal(fake_state.segments[SEGMENT_CS].base, 0xffff0000);
    assert_int_equal(vcpu.regs.gpr[RDX], 0x800f12);
    assert_int_equal(vcpu.regs.gpr[RBX], 0);
    assert_int_equal(vcpu.debug[3], 0);
    assert_int_equal(vcpu.xcr0, 7);
    assert_int_equal(vcpu.tsc_aux, 9);
    assert_int_equal(vcpu.tsc_offset, 11);
    assert_int_equal(lazy_resets, 0);
}

static void test_vector(void **state)
{
    const struct power_begin begin = {.where = 0x99};

    (void)state;
    fill();
    startup_init(&vcpu);
    assert_int_equal(startup_begin(&vcpu, &begin), 0);
    assert_int_equal(fake_state.segments[SEGMENT_CS].selector, 0x9900);
    assert_int_equal(fake_state.segments[SEGMENT_CS].base, 0x99000);
    assert_int_equal(fake_state.segments[SEGMENT_CS].limit, 0xffff);
    assert_int_equal(vcpu.regs.rip, 0);
    assert_int_equal(fake_state.registers[REGISTER_CR0], CR0_ET | CR0_CD);
    assert_int_equal(fake_state.registers[REGISTER_LSTAR], 0x1000 + REGISTER_LSTAR);
    assert_int_equal(vcpu.regs.gpr[RDX], 0x800f12);
    assert_int_equal(lazy_resets, 0);
}

/* CPU_ON: nothing is left of an earlier life. */
static void test_entry(void **state)
{
    const struct power_begin begin = {.at_entry = true, .where = 0xfff00000, .argument = 0xdeadbeef};

    (void)state;
    fill();
    startup_init(&vcpu);
    assert_int_equal(startup_begin(&vcpu, &begin), 0);
    assert_int_equal(vcpu.regs.rip, 0xfff00000);
    assert_int_equal(vcpu.regs.gpr[RBX], 0xdeadbeef);
    assert_int_equal(fake_state.registers[REGISTER_CR0], CR0_ET | CR0_PE);
    assert_int_equal(fake_state.registers[REGISTER_RFLAGS], 2);
    assert_int_equal(fake_state.registers[REGISTER_LSTAR], 0);
    assert_int_equal(fake_state.segments[SEGMENT_CS].base, 0);
    assert_int_equal(fake_state.segments[SEGMENT_CS].limit, 0xffffffff);
    assert_int_equal(fake_state.segments[SEGMENT_DS].limit, 0xffffffff);
    assert_int_equal(lazy_resets, 1);
}

/* APM 2, table 14-1. */
static void test_reset_state(void **state)
{
    struct vcpu_state reset;

    (void)state;
    start_state_reset(&reset);
    assert_int_equal(reset.regs.rip, 0xfff0);
    assert_int_equal(reset.segments[SEGMENT_CS].base, 0xffff0000);
    assert_int_equal(reset.segments[SEGMENT_CS].attributes, 0x9b);
    assert_int_equal(reset.segments[SEGMENT_SS].attributes, 0x93);
    assert_int_equal(reset.segments[SEGMENT_LDTR].attributes, 0x82);
    assert_int_equal(reset.segments[SEGMENT_TR].attributes, 0x8b);
    assert_int_equal(reset.registers[REGISTER_CR0], 0x60000010);
    assert_int_equal(reset.registers[REGISTER_DR6], 0xffff0ff0);
    assert_int_equal(reset.registers[REGISTER_DR7], 0x400);
    assert_int_equal(reset.registers[REGISTER_PAT], 0x0007040600070406);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(test_init, setup),
        cmocka_unit_test_setup(test_vector, setup),
        cmocka_unit_test_setup(test_entry, setup),
        cmocka_unit_test_setup(test_reset_state, setup),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
