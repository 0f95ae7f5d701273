/* SPDX-License-Identifier: MIT */
/* Port 0x5658: each call, whole registers, what is no call, and the record of stolen time in ticks. */
// sources: guest/policy/vmware.c guest/policy/stealtime.c hv/memory/guest_map.c hv/run/bus.c
// sources: tests/unit/fake_guest_ram.c
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "guest/machine.h"
#include "tests/unit/fake_guest_ram.h"

#define PORT   0x5658
#define MAGIC  0x564d5868u
#define RECORD 0x2340
#define RAM    (16ull << 20)
#define DIRTY  0xdeadbeef00000000ull
#define ALL    0xffffffffull

u64 test_now;
u64 tsc_khz = 4300123; /* more than 32 bits of Hz */

u64 tsc_to_ns(u64 ticks)
{
    fail();
    return ticks;
}

static struct machine *machine_of_test;
static struct vm_config config;
static struct port_bus ports;
static struct vm vm;
static struct vcpu vcpu;

static int setup(void **state)
{
    (void)state;
    machine_of_test = calloc(1, sizeof(*machine_of_test) + 2 * sizeof(struct machine_vcpu));
    config = (struct vm_config){.personality = PERSONALITY_VMWARE};
    port_bus_init(&ports);
    vm = (struct vm){.machine = machine_of_test, .config = &config, .ports = &ports};
    machine_of_test->vm = &vm;
    fake_guest_ram_reset(&vm.memory, RAM);
    vcpu = (struct vcpu){.vm = &vm, .index = 1, .sched.waited = 1000};
    assert_int_equal(vmware_init(machine_of_test), 0);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    free(machine_of_test);
    return 0;
}

static u64 reg(enum gpr gpr)
{
    return vcpu.regs.gpr[gpr];
}

/* As a kernel that leaves rubbish in every upper half. */
static bool call(u32 magic, u32 command, u32 rsi, u32 rdi)
{
    for (unsigned i = 0; i < GPR_COUNT; i++)
        vcpu.regs.gpr[i] = DIRTY | i;
    vcpu.regs.gpr[RAX] = DIRTY | magic;
    vcpu.regs.gpr[RBX] = DIRTY | ALL;
    vcpu.regs.gpr[RCX] = DIRTY | command;
    vcpu.regs.gpr[RSI] = DIRTY | rsi;
    vcpu.regs.gpr[RDI] = DIRTY | rdi;
    return port_bus_call(&ports, &vcpu, PORT) == PORT_CALL_DONE;
}

/* All registers but these are as `call` has left them. */
static void expect_untouched(unsigned replied, u32 command)
{
    for (unsigned i = 0; i < GPR_COUNT; i++) {
        if (replied & 1u << i)
            continue;
        if (i == RCX)
            assert_true(reg(RCX) == (DIRTY | command));
        else if (i == RBX)
            assert_true(reg(RBX) == (DIRTY | ALL));
        else if (i != RSI && i != RDI)
            assert_true(reg(i) == (DIRTY | i));
    }
    assert_true(reg(RSI) >> 32 == DIRTY >> 32 && reg(RDI) >> 32 == DIRTY >> 32);
}

static void test_version(void **state)
{
    (void)state;
    assert_true(call(MAGIC, 10, 6, 7));
    assert_true(reg(RAX) == 6 && reg(RBX) == MAGIC);
    expect_untouched(1u << RAX | 1u << RBX, 10);
}

static void test_hz(void **state)
{
    (void)state;
    assert_true(call(MAGIC, 45, 6, 7));
    assert_true((reg(RBX) << 32 | reg(RAX)) == 4300123000ull);
    assert_true(reg(RBX) == 1 && reg(RAX) == 4300123000ull - (1ull << 32));
    assert_true(reg(RCX) == 1000000000);
    expect_untouched(1u << RAX | 1u << RBX | 1u << RCX, 45);
}

static void test_vcpu_info(void **state)
{
    (void)state;
    assert_true(call(MAGIC, 68, 6, 7));
    assert_true(reg(RAX) == 8);
    expect_untouched(1u << RAX, 68);
}

static void test_commands_that_nobody_knows(void **state)
{
    static const u32 unknown[] = {0, 1, 9, 11, 44, 46, 67, 69, 90, 92, 45 | 1u << 16, 45 | 1u << 31, ~0u};

    (void)state;
    for (unsigned i = 0; i < ARRAY_SIZE(unknown); i++) {
        assert_true(call(MAGIC, unknown[i], 6, 7));
        assert_true(reg(RAX) == ALL);
        expect_untouched(1u << RAX, unknown[i]);
    }
}

static void test_what_is_no_call(void **state)
{
    static const u32 magics[] = {0, MAGIC - 1, MAGIC ^ 1u << 31, 0x456c6d6f, ~0u};

    (void)state;
    for (unsigned i = 0; i < ARRAY_SIZE(magics); i++) {
        assert_false(call(magics[i], 45, 6, 7));
        assert_true(reg(RAX) == (DIRTY | magics[i]));
        expect_untouched(1u << RAX, 45);
    }
    call(0, 45, 6, 7);
    vcpu.regs.gpr[RAX] = MAGIC;
    for (unsigned size = 1; size <= 4; size *= 2)
        assert_true(port_bus_read(&ports, &vcpu, PORT, size) == ALL >> (32 - 8 * size));
    port_bus_write(&ports, &vcpu, PORT, 4, MAGIC);
    expect_untouched(1u << RAX, 45);
}

static void test_other_personalities_have_no_port(void **state)
{
    (void)state;
    port_bus_init(&ports);
    for (unsigned i = 0; i < 2; i++) {
        config.personality = i ? PERSONALITY_KVM : PERSONALITY_NONE;
        assert_int_equal(vmware_init(machine_of_test), 0);
        assert_false(call(MAGIC, 45, 6, 7));
    }
}

/* ------------------------------------------------------------------ stolen time */

static u64 stolen(void)
{
    u64 value;

    memcpy(&value, fake_guest_ram_at(RECORD), sizeof(value));
    return value;
}

static u64 steal_clock(u64 record)
{
    assert_true(call(MAGIC, 91, (u32)(record >> 32), (u32)record));
    expect_untouched(1u << RAX, 91);
    return reg(RAX);
}

static void waits(u64 ticks)
{
    vcpu.sched.waited += ticks;
    stealtime_update(&vcpu);
}

static void test_steal_clock(void **state)
{
    (void)state;
    assert_int_equal(steal_clock(1), 0); /* Linux: is it there? */
    waits(500);
    assert_int_equal(stolen(), 0);
    memset(fake_guest_ram_at(RECORD + 8), 0xff, 56);
    assert_int_equal(steal_clock(RECORD), 1);
    assert_int_equal(stolen(), 0);
    waits(3001);
    assert_int_equal(stolen(), 3001);
    assert_int_equal(steal_clock(1), 0);
    waits(70);
    assert_int_equal(stolen(), 3001);
    assert_int_equal(steal_clock(RECORD), 1); /* online again: it counts on */
    waits(9);
    assert_int_equal(stolen(), 3010);
    for (unsigned i = 8; i < 64; i++)
        assert_int_equal(*fake_guest_ram_at(RECORD + i), 0xff); /* Linux's own, or for later */
}

static void test_records_that_cannot_be(void **state)
{
    static const u64 wrong[] = {RECORD + 1, RECORD + 8,          RECORD + 32, RAM,
                                RAM - 32,   1ull << 32 | RECORD, ~0ull,       ~63ull};

    (void)state;
    for (unsigned i = 0; i < ARRAY_SIZE(wrong); i++) {
        assert_int_equal(steal_clock(RECORD), 1);
        waits(10);
        assert_int_equal(steal_clock(wrong[i]), 0);
        waits(100);
        assert_int_equal(stolen(), 10 * (i + 1)); /* off */
    }
}

static void test_reset_forgets_the_record(void **state)
{
    (void)state;
    assert_int_equal(steal_clock(RECORD), 1);
    stealtime_reset(&machine_of_test->vcpus[1].steal);
    waits(100);
    assert_int_equal(stolen(), 0);
}

/* Of KVM's records a VM with this personality has none, nor the other way round. */
static void test_msr_is_not_there(void **state)
{
    u64 value;

    (void)state;
    assert_true(stealtime_msr_write(&vcpu, MSR_KVM_STEAL_TIME, RECORD | 1) < 0);
    assert_true(stealtime_msr_read(&vcpu, MSR_KVM_STEAL_TIME, &value) < 0);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_version),
        TEST(test_hz),
        TEST(test_vcpu_info),
        TEST(test_commands_that_nobody_knows),
        TEST(test_what_is_no_call),
        TEST(test_other_personalities_have_no_port),
        TEST(test_steal_clock),
        TEST(test_records_that_cannot_be),
        TEST(test_reset_forgets_the_record),
        TEST(test_msr_is_not_there),
    };

    return cmocka_run_group_tests_name("vmware", tests, NULL, NULL);
}
