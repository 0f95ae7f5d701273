/* SPDX-License-Identifier: MIT */
/* Steal time: what the record says, that it counts on over a second registration, and what is refused. */
// sources: hv/memory/guest_map.c
// sources: guest/policy/stealtime.c tests/unit/fake_guest_ram.c
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "guest/machine.h"
#include "tests/unit/fake_guest_ram.h"

#define RECORD  0x2340
#define VERSION 8
#define RAM     (16ull << 20)

u64 test_now;

u64 tsc_to_ns(u64 ticks)
{
    return ticks / 2;
}

static struct machine *machine_of_test;
static struct vm_config config;
static struct vm vm;
static struct vcpu vcpu;

static int setup(void **state)
{
    (void)state;
    machine_of_test = calloc(1, sizeof(*machine_of_test) + 2 * sizeof(struct machine_vcpu));
    config = (struct vm_config){.personality = PERSONALITY_KVM};
    vm = (struct vm){.machine = machine_of_test, .config = &config};
    fake_guest_ram_reset(&vm.memory, RAM);
    vcpu = (struct vcpu){.vm = &vm, .index = 1, .sched.waited = 1000};
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    free(machine_of_test);
    return 0;
}

static u64 nanoseconds(void)
{
    u64 value;

    memcpy(&value, fake_guest_ram_at(RECORD), sizeof(value));
    return value;
}

static u32 version(void)
{
    u32 value;

    memcpy(&value, fake_guest_ram_at(RECORD + VERSION), sizeof(value));
    return value;
}

static void waits(u64 ticks)
{
    vcpu.sched.waited += ticks;
    stealtime_update(&vcpu);
}

static void test_record(void **state)
{
    u64 value;

    (void)state;
    waits(500);
    assert_int_equal(nanoseconds(), 0); /* nobody has asked for it */
    assert_int_equal(stealtime_msr_write(&vcpu, MSR_KVM_STEAL_TIME, RECORD | 1), 0);
    assert_int_equal(stealtime_msr_read(&vcpu, MSR_KVM_STEAL_TIME, &value), 0);
    assert_int_equal(value, RECORD | 1);
    assert_int_equal(nanoseconds(), 0);
    assert_int_equal(version(), 2);
    waits(3000);
    assert_int_equal(nanoseconds(), 1500);
    assert_int_equal(version(), 4);
    assert_int_equal(stealtime_msr_write(&vcpu, MSR_KVM_STEAL_TIME, 0), 0);
    waits(3000);
    assert_int_equal(nanoseconds(), 1500);
}

/* A CPU that Linux takes offline and online again goes on with the same record. */
static void test_registered_again(void **state)
{
    (void)state;
    stealtime_msr_write(&vcpu, MSR_KVM_STEAL_TIME, RECORD | 1);
    waits(3000);
    stealtime_msr_write(&vcpu, MSR_KVM_STEAL_TIME, 0);
    waits(5000);
    stealtime_msr_write(&vcpu, MSR_KVM_STEAL_TIME, RECORD | 1);
    assert_int_equal(nanoseconds(), 1500);
    waits(1000);
    assert_int_equal(nanoseconds(), 2000);
    assert_int_equal(version() & 1, 0);
}

/* The guest's own memory is not believed: an odd version or any time in it do no harm. */
static void test_odd_record(void **state)
{
    (void)state;
    memset(fake_guest_ram_at(RECORD), 0xff, 64);
    assert_int_equal(stealtime_msr_write(&vcpu, MSR_KVM_STEAL_TIME, RECORD | 1), 0);
    waits(2000);
    assert_int_equal(nanoseconds(), 999);
    assert_int_equal(version() & 1, 0);
    assert_int_equal(*fake_guest_ram_at(RECORD + 12), 0xff); /* what is not lintel's stays */
    assert_int_equal(*fake_guest_ram_at(RECORD + 63), 0xff);
}

static void test_refused(void **state)
{
    u64 value;

    (void)state;
    stealtime_msr_write(&vcpu, MSR_KVM_STEAL_TIME, RECORD | 1);
    for (unsigned bit = 1; bit <= 5; bit++)
        assert_true(stealtime_msr_write(&vcpu, MSR_KVM_STEAL_TIME, RECORD | 1 | BIT(bit)) < 0);
    assert_true(stealtime_msr_write(&vcpu, MSR_KVM_STEAL_TIME, RAM | 1) < 0);
    assert_true(stealtime_msr_write(&vcpu, MSR_KVM_STEAL_TIME, ~0x3eull) < 0);
    stealtime_msr_read(&vcpu, MSR_KVM_STEAL_TIME, &value);
    assert_int_equal(value, RECORD | 1); /* as it was */
    waits(2000);
    assert_int_equal(nanoseconds(), 1000);
    config.personality = PERSONALITY_NONE;
    assert_true(stealtime_msr_write(&vcpu, MSR_KVM_STEAL_TIME, RECORD | 1) < 0);
    assert_true(stealtime_msr_read(&vcpu, MSR_KVM_STEAL_TIME, &value) < 0);
}

/* The record's RAM is gone for lintel: the vCPU runs on. */
static void test_bad_in_the_meantime(void **state)
{
    (void)state;
    stealtime_msr_write(&vcpu, MSR_KVM_STEAL_TIME, RECORD | 1);
    fake_guest_ram_full = 0;
    waits(2000);
    fake_guest_ram_full = ~0ull;
    waits(2000);
    assert_int_equal(nanoseconds(), 2000);
    assert_int_equal(version() & 1, 0);
}

/* While lintel writes the record its page stays the guest's; one that is refused leaves no pin. */
static void test_pinned(void **state)
{
    const gpa_t other = RECORD + 0x5000;

    (void)state;
    stealtime_msr_write(&vcpu, MSR_KVM_STEAL_TIME, RECORD | 1);
    stealtime_msr_write(&vcpu, MSR_KVM_STEAL_TIME, RECORD | 1);
    assert_int_equal(fake_guest_ram_pins(RECORD), 1);
    assert_true(stealtime_msr_write(&vcpu, MSR_KVM_STEAL_TIME, RAM | 1) < 0);
    assert_int_equal(fake_guest_ram_pins(RAM), 0);
    fake_guest_ram_no_pins = true;
    assert_true(stealtime_msr_write(&vcpu, MSR_KVM_STEAL_TIME, other | 1) < 0);
    fake_guest_ram_no_pins = false;
    waits(2000);
    assert_int_equal(nanoseconds(), 1000); /* it is still this one */
    stealtime_msr_write(&vcpu, MSR_KVM_STEAL_TIME, other | 1);
    assert_int_equal(fake_guest_ram_pins(RECORD), 0);
    assert_int_equal(fake_guest_ram_pins(other), 1);
    stealtime_msr_write(&vcpu, MSR_KVM_STEAL_TIME, 0);
    assert_int_equal(fake_guest_ram_pins(other), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_record, setup, teardown),
        cmocka_unit_test_setup_teardown(test_registered_again, setup, teardown),
        cmocka_unit_test_setup_teardown(test_odd_record, setup, teardown),
        cmocka_unit_test_setup_teardown(test_refused, setup, teardown),
        cmocka_unit_test_setup_teardown(test_bad_in_the_meantime, setup, teardown),
        cmocka_unit_test_setup_teardown(test_pinned, setup, teardown),
    };

    return cmocka_run_group_tests_name("stealtime", tests, NULL, NULL);
}
