/* SPDX-License-Identifier: MIT */
/*
 * INIT and SIPI: each event in each power state, Linux's own sequence, and the state in which a vCPU starts.
 */
// sources: guest/startup.c guest/load/start_state.c tests/unit/fake_engine.c
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#include "guest/load/start_state.h"
#include "guest/machine.h"
#include "hv/run/sched.h"
#include "tests/unit/fake_engine.h"

static struct vm vm;
static struct vcpu vcpu;
static struct lapic lapic;
static unsigned lapic_inits, wakes, resets;

void lapic_init_received(struct lapic *at)
{
    assert_ptr_equal(at, &lapic);
    lapic_inits++;
}

void sched_vcpu_wake(struct vcpu *at)
{
    assert_ptr_equal(at, &vcpu);
    assert_int_equal(at->power, VCPU_RUNNABLE);
    wakes++;
}

void vm_request_reset(struct vm *at, const char *why)
{
    assert_ptr_equal(at, &vm);
    assert_non_null(why);
    resets++;
}

void vm_stop(struct vm *at, const char *format, ...)
{
    (void)at;
    fail_msg("stopped: %s", format);
}

static int setup(void **state)
{
    (void)state;
    vm = (struct vm){.name = "web"};
    vcpu = (struct vcpu){.vm = &vm, .index = 1, .lapic = &lapic, .power = VCPU_UNINITIALISED};
    lapic_inits = wakes = resets = 0;
    fake_engine_reset(FAKE_64);
    return 0;
}

static void test_pairs(void **state)
{
    static const struct {
        enum vcpu_power before;
        enum vcpu_startup event;
        enum vcpu_power after;
        unsigned inits, woken;
    } rows[] = {
        {VCPU_RUNNABLE, VCPU_STARTUP_INIT, VCPU_UNINITIALISED, 1, 0},
        {VCPU_RUNNABLE, VCPU_STARTUP_SIPI, VCPU_RUNNABLE, 0, 0},
        {VCPU_HALTED, VCPU_STARTUP_INIT, VCPU_UNINITIALISED, 1, 0},
        {VCPU_HALTED, VCPU_STARTUP_SIPI, VCPU_HALTED, 0, 0},
        {VCPU_UNINITIALISED, VCPU_STARTUP_INIT, VCPU_UNINITIALISED, 1, 0},
        {VCPU_UNINITIALISED, VCPU_STARTUP_SIPI, VCPU_RUNNABLE, 0, 1},
        {VCPU_STOPPED, VCPU_STARTUP_INIT, VCPU_STOPPED, 0, 0},
        {VCPU_STOPPED, VCPU_STARTUP_SIPI, VCPU_STOPPED, 0, 0},
    };

    for (unsigned i = 0; i < ARRAY_SIZE(rows); i++) {
        setup(state);
        vcpu.power = rows[i].before;
        vcpu_startup_event(&vcpu, rows[i].event, 8);
        assert_int_equal(vcpu.power, rows[i].after);
        assert_int_equal(lapic_inits, rows[i].inits);
        assert_int_equal(wakes, rows[i].woken);
        assert_int_equal(resets, 0);
    }
}

static void test_start(void **state)
{
    (void)state;
    vcpu.power = VCPU_HALTED;
    vcpu.halted_masked = true;
    vcpu.requests = REQUEST_NMI | REQUEST_INTERRUPT;
    vcpu_startup_event(&vcpu, VCPU_STARTUP_INIT, 0);
    assert_int_equal(vcpu.requests,
                     REQUEST_RESCHEDULE); /* off its CPU; nothing of before is delivered later */
    assert_false(vcpu.halted_masked);
    vcpu_startup_event(&vcpu, VCPU_STARTUP_SIPI, 0x99);
    vcpu_startup_event(&vcpu, VCPU_STARTUP_SIPI, 0x12); /* Linux's second one */
    assert_int_equal(wakes, 1);
    assert_int_equal(fake_state.segments[SEGMENT_CS].selector, 0x9900);
    assert_int_equal(fake_state.segments[SEGMENT_CS].base, 0x99000);
    assert_int_equal(vcpu.regs.rip, 0);
    assert_int_equal(fake_state.registers[REGISTER_CR0], 0x60000010);
    assert_int_equal(fake_state.registers[REGISTER_EFER], 0);
    assert_int_equal(fake_state.registers[REGISTER_RFLAGS], 2);
    assert_int_equal(fake_state.idtr.limit, 0xffff);
}

static void test_boot_processor(void **state)
{
    (void)state;
    vcpu.index = 0;
    vcpu.power = VCPU_RUNNABLE;
    vcpu_startup_event(&vcpu, VCPU_STARTUP_SIPI, 8);
    assert_int_equal(resets, 0);
    vcpu_startup_event(&vcpu, VCPU_STARTUP_INIT, 0);
    assert_int_equal(resets, 1);
    assert_int_equal(vcpu.power, VCPU_RUNNABLE); /* until the reset is done */
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
    assert_int_equal(reset.registers[REGISTER_DR6], 0xffff0ff0);
    assert_int_equal(reset.registers[REGISTER_DR7], 0x400);
    assert_int_equal(reset.registers[REGISTER_PAT], 0x0007040600070406);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(test_pairs, setup),
        cmocka_unit_test_setup(test_start, setup),
        cmocka_unit_test_setup(test_boot_processor, setup),
        cmocka_unit_test_setup(test_reset_state, setup),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
