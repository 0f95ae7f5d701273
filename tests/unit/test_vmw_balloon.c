/* SPDX-License-Identifier: MIT */
/*
 * The balloon's port on a balloon that takes every page and costs what a test says: batches that take several
 * calls, one whose connection ends under it, registers of 32-bit code, and who may call at all. What each
 * status means is hv/memory/balloon.c's (test_balloon.c), and tests/guests/balloon.c's from end to end.
 */
// sources: guest/devices/vmw_balloon.c tests/unit/fake_engine.c tests/unit/fake_guest_ram.c
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "guest/machine.h"
#include "tests/unit/fake_engine.h"
#include "tests/unit/fake_guest_ram.h"

#define MAGIC 0x456c6d6f
#define PAGE  0x200ull /* the batch's */

u64 test_now = 1000;
u64 tsc_khz = 1000;

static struct vm_config config;
static struct vm vm;
static struct vcpu vcpus[2];
static struct machine *board;
static struct port_range port;
static u32 cost, locked, begun, forgotten;

int port_bus_add(struct port_bus *bus, const struct port_range *range)
{
    (void)bus;
    port = *range;
    return 0;
}

void balloon_begin(struct guest_memory *memory)
{
    spinlock_take(memory->lock);
    begun++;
}

void balloon_pause(struct guest_memory *memory)
{
    spinlock_release(memory->lock);
}

void balloon_end(struct guest_memory *memory, struct balloon_work *work)
{
    (void)work;
    spinlock_release(memory->lock);
}

enum balloon_status balloon_lock(struct guest_memory *memory, struct balloon_work *work, gfn_t gfn,
                                 unsigned order)
{
    assert_true(spinlock_held(memory->lock));
    assert_int_equal(gfn, (locked % 512) << order);
    work->cost += cost;
    locked++;
    return BALLOON_DONE;
}

enum balloon_status balloon_unlock(struct guest_memory *memory, struct balloon_work *work, gfn_t gfn,
                                   unsigned order)
{
    return balloon_lock(memory, work, gfn, order);
}

void balloon_forget(struct guest_memory *memory)
{
    assert_true(spinlock_held(memory->lock));
    forgotten++;
}

u64 balloon_wanted(const struct guest_memory *memory)
{
    assert_true(spinlock_held(memory->lock));
    return 0x123456789;
}

static enum port_call call(unsigned vcpu, u64 command, u64 first, u64 second)
{
    u64 *gpr = vcpus[vcpu].regs.gpr;

    gpr[RAX] = MAGIC;
    gpr[RCX] = command;
    gpr[RBX] = first;
    gpr[RSI] = second;
    return port.call(&vcpus[vcpu], port.device);
}

static int setup(void **state)
{
    (void)state;
    config = (struct vm_config){.balloon_forms = BALLOON_2M};
    memset(&vm, 0, sizeof(vm));
    memset(vcpus, 0, sizeof(vcpus));
    board = calloc(1, sizeof(*board));
    board->vm = &vm;
    fake_guest_ram_reset(&vm.memory, 16 << 20);
    vm.config = &config;
    vm.memory.lock = &vm.lock;
    for (unsigned i = 0; i < 2; i++) {
        vcpus[i].vm = &vm;
        vcpus[i].index = i;
    }
    fake_engine_reset(FAKE_64);
    cost = locked = begun = forgotten = 0;
    assert_int_equal(vmw_balloon_init(&board->balloon, board), 0);
    vmw_balloon_reset(&board->balloon);
    assert_int_equal(call(0, 0, 0x3e, 0), PORT_CALL_DONE);
    for (u64 i = 0; i < 512; i++)
        ((u64 *)fake_guest_ram_at(PAGE << 12))[i] = i << 12;
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    assert_false(spinlock_held(&vm.lock));
    free(board);
    return 0;
}

static void test_a_batch_takes_several_calls(void **state)
{
    unsigned calls = 1;

    (void)state;
    cost = 100;
    while (call(0, 6, PAGE, 512) == PORT_CALL_AGAIN) {
        assert_int_equal(vcpus[0].regs.gpr[RAX], MAGIC); /* registers are as before */
        assert_int_equal(vcpus[0].regs.gpr[RBX], PAGE);
        assert_in_range(locked, calls * 15, calls * 15);
        calls++;
    }
    assert_int_equal(calls, 35);
    assert_int_equal(locked, 512); /* each once, in order */
    assert_int_equal(vcpus[0].regs.gpr[RAX], 0);
    assert_int_equal(vcpus[0].regs.gpr[RBX], 0x123456789);
    assert_int_equal(vcpus[0].regs.gpr[RSI], 512);
}

static void test_start_ends_a_batch_under_way(void **state)
{
    (void)state;
    cost = 100;
    assert_int_equal(call(0, 6, PAGE, 512), PORT_CALL_AGAIN);
    assert_int_equal(call(1, 0, 0x3e, 0), PORT_CALL_DONE);
    assert_int_equal(forgotten, 2);
    assert_int_equal(call(0, 6, PAGE, 512), PORT_CALL_DONE);
    assert_int_equal(vcpus[0].regs.gpr[RAX], 7);
    assert_int_equal(locked, 15);
    locked = 0;
    assert_int_equal(call(0, 6, PAGE, 512), PORT_CALL_AGAIN); /* the next one begins at its beginning */
    assert_int_equal(locked, 15);
}

/* It is told so once, also where no connection stands, or one without batches: not behind the next START. */
static void test_a_batch_that_was_refused_is_over(void **state)
{
    static const struct {
        u64 offers;
        u32 status;
    } rows[] = {{0, 7}, {2, 1}};

    (void)state;
    cost = 100;
    for (u32 i = 0; i < ARRAY_SIZE(rows); i++) {
        locked = 0;
        assert_int_equal(call(0, 6, PAGE, 512), PORT_CALL_AGAIN);
        assert_int_equal(call(1, 0, rows[i].offers, 0), PORT_CALL_DONE);
        assert_int_equal(call(0, 6, PAGE, 512), PORT_CALL_DONE);
        assert_int_equal(vcpus[0].regs.gpr[RAX], rows[i].status);
        assert_int_equal(call(1, 0, 0x3e, 0), PORT_CALL_DONE);
        locked = 0;
        assert_int_equal(call(0, 6, PAGE, 512), PORT_CALL_AGAIN);
        assert_int_equal(locked, 15);
        assert_int_equal(call(1, 0, 0x3e, 0), PORT_CALL_DONE);
        assert_int_equal(call(0, 6, PAGE, 512), PORT_CALL_DONE);
    }
}

static void test_another_batch_begins_anew(void **state)
{
    (void)state;
    cost = 100;
    assert_int_equal(call(0, 6, PAGE, 512), PORT_CALL_AGAIN);
    locked = 0;
    assert_int_equal(call(0, 6, PAGE, 10), PORT_CALL_DONE);
    assert_int_equal(locked, 10);
    locked = 0;
    assert_int_equal(call(1, 6, PAGE, 10), PORT_CALL_DONE);
    assert_int_equal(locked, 10);
}

static void test_forms_that_are_granted(void **state)
{
    static const u32 granted[] = {[BALLOON_BASIC] = 0x22, [BALLOON_BATCH] = 0x26, [BALLOON_2M] = 0x2e};

    (void)state;
    for (u32 i = 0; i < ARRAY_SIZE(granted); i++) {
        config.balloon_forms = (enum balloon_forms)i;
        assert_int_equal(call(0, 0, 0x3e, 0), PORT_CALL_DONE);
        assert_int_equal(vcpus[0].regs.gpr[RAX], 0x03000000);
        assert_int_equal(vcpus[0].regs.gpr[RCX], granted[i]);
        call(0, 8, PAGE, 0);
        assert_int_equal(vcpus[0].regs.gpr[RAX], i == BALLOON_2M ? 0 : 1);
    }
}

/* Linux on 32 bits offers no 64-bit target, and upper halves mean nothing there. */
static void test_narrow_code(void **state)
{
    (void)state;
    fake_engine_reset(FAKE_32);
    call(0, 0xdead00000000, 0xbeef0000001e, 0);
    assert_int_equal(vcpus[0].regs.gpr[RCX], 0x0e);
    call(0, 0xdead00000001, 0xbeef00001000, 0);
    assert_int_equal(vm.memory.balloon.limit, 0x1000);
    assert_int_equal(vcpus[0].regs.gpr[RBX], 0xffffffff); /* as much as fits */
    assert_int_equal(vcpus[0].regs.gpr[RAX], 0);
}

static void test_rate(void **state)
{
    (void)state;
    call(0, 1, 100, 0);
    vm.memory.balloon.moved = 500;
    test_now += 2 * tsc_khz * 1000;
    call(0, 1, 100, 0);
    assert_int_equal(vm.memory.balloon.rate, 250);
}

static void test_programs_and_others(void **state)
{
    (void)state;
    fake_state.cpl = 3;
    assert_int_equal(call(0, 1, 100, 0), PORT_CALL_NONE);
    fake_state.cpl = 0;
    vcpus[0].regs.gpr[RAX] = 0x564d5868;
    assert_int_equal(port.call(&vcpus[0], port.device), PORT_CALL_NONE);
    vmw_balloon_reset(&board->balloon);
    call(0, 1, 100, 0);
    assert_int_equal(vcpus[0].regs.gpr[RAX], 7);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_a_batch_takes_several_calls, setup, teardown),
        cmocka_unit_test_setup_teardown(test_start_ends_a_batch_under_way, setup, teardown),
        cmocka_unit_test_setup_teardown(test_a_batch_that_was_refused_is_over, setup, teardown),
        cmocka_unit_test_setup_teardown(test_another_batch_begins_anew, setup, teardown),
        cmocka_unit_test_setup_teardown(test_forms_that_are_granted, setup, teardown),
        cmocka_unit_test_setup_teardown(test_narrow_code, setup, teardown),
        cmocka_unit_test_setup_teardown(test_rate, setup, teardown),
        cmocka_unit_test_setup_teardown(test_programs_and_others, setup, teardown),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
