/* SPDX-License-Identifier: MIT */
/*
 * vCPUs of several VMs wait for frames: served in the order in which they came, over all VMs; who is served
 * is promised a frame that nobody else can have, and keeps his place if it was taken by his own VM's other
 * vCPU; who goes away is forgotten.
 */
// sources: hv/run/memory_wait.c tests/unit/fake_memory.c hv/memory/frame.c
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "hv/run/memory_wait.h"
#include "hv/run/sched_private.h"
#include "tests/unit/fake_memory.h"

#define VMS       3
#define GUEST(vm) frame_owner_guest((vm)->index)

u64 tsc_khz = 1000;
static struct vm vm_of[VMS];
static struct vcpu vcpu_of[2 * VMS];
static struct sched_work *queued;
static struct vcpu *woken[16];
static unsigned woken_count, told;

u64 sched_now(void)
{
    return 12345;
}

void sched_work_queue(struct sched_work *work)
{
    queued = work;
}

void sched_vcpu_wake(struct vcpu *vcpu)
{
    assert_false(vcpu->memory_wait.waits);
    woken[woken_count++] = vcpu;
}

bool log_limit_pass(struct log_limit *limit, u64 now, u64 interval, u32 burst)
{
    assert_int_equal(now, 12345);
    assert_int_equal(interval, 10000000);
    return limit->used++ < burst;
}

void log_line(enum log_level level, const char *format, ...)
{
    assert_int_equal(level, LOG_WARNING);
    assert_non_null(strstr(format, "waits for memory"));
    told++;
}

static void work(void)
{
    while (queued) {
        struct sched_work *now = queued;

        queued = NULL;
        now->run(now);
    }
}

static int setup(void **state)
{
    static bool ready;

    (void)state;
    fake_memory_begin();
    fake_memory_make_plenty();
    if (!ready)
        memory_wait_init();
    ready = true;
    memset(vm_of, 0, sizeof(vm_of));
    memset(vcpu_of, 0, sizeof(vcpu_of));
    for (u32 i = 0; i < 2 * VMS; i++) {
        struct vm *vm = &vm_of[i / 2];

        vcpu_of[i].vm = vm;
        vcpu_of[i].index = i % 2;
        vm->vcpus[i % 2] = &vcpu_of[i];
        vm->vcpu_count = 2;
        vm->index = i / 2;
        vm->memory.vm = vm->index;
        vm->memory.lock = &vm->lock;
        spinlock_init(&vm->lock, RANK_VM);
    }
    woken_count = told = 0;
    fake_memory_make_short(0);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    for (u32 i = 0; i < 2 * VMS; i++)
        memory_wait_cancel(&vcpu_of[i]);
    for (u32 i = 0; i < VMS; i++) {
        frame_unpromise(frame_promised(frame_owner_guest(i)), frame_owner_guest(i));
        frame_unpromise(frame_promised(frame_owner_support(i)), frame_owner_support(i));
    }
    fake_memory_make_plenty();
    assert_false(frame_is_awaited());
    return 0;
}

static void wait(unsigned i)
{
    memory_wait(&vcpu_of[i], 0x1000, NULL);
    assert_true(vcpu_of[i].requests & REQUEST_RESCHEDULE);
}

/* What it takes to serve one: a frame and 12 tables. */
static void frames_come(u64 frames)
{
    frame_unpromise(frames, FRAME_OWNER_MODULE);
}

static void test_first_come_first_served(void **state)
{
    static const unsigned order[] = {4, 0, 2, 1};

    (void)state;
    for (unsigned i = 0; i < ARRAY_SIZE(order); i++)
        wait(order[i]);
    work();
    assert_int_equal(woken_count, 0);
    assert_int_equal(told, 3); /* once per VM */
    assert_true(memory_wait_any(&vm_of[0]) && memory_wait_any(&vm_of[1]) && memory_wait_any(&vm_of[2]));
    for (unsigned i = 0; i < ARRAY_SIZE(order); i++) {
        struct vm *vm = vcpu_of[order[i]].vm;
        u64 before = frame_promised(GUEST(vm));

        frames_come(12);
        work();
        if (i < 3)
            assert_int_equal(woken_count, i); /* tables for it, and no frame */
        frames_come(1);
        work();
        assert_int_equal(woken_count, i + 1);
        assert_ptr_equal(woken[i], &vcpu_of[order[i]]);
        assert_int_equal(frame_promised(GUEST(vm)), before + 1);
    }
    assert_false(memory_wait_any(&vm_of[0]));
    assert_false(frame_is_awaited());
}

static void test_what_became_free_in_between(void **state)
{
    (void)state;
    frames_come(13); /* before it stands in the row: nobody was told */
    wait(0);
    work();
    assert_int_equal(woken_count, 1);
}

static void test_who_was_too_late_keeps_his_place(void **state)
{
    (void)state;
    wait(0);
    wait(2);
    frames_come(13);
    work();
    assert_ptr_equal(woken[0], &vcpu_of[0]);
    /* vCPU 1 of the same VM was faster. */
    assert_int_not_equal(frame_alloc_promised(0, GUEST(&vm_of[0])), MFN_INVALID);
    wait(0);
    assert_int_equal(told, 2);
    frames_come(1);
    work();
    assert_int_equal(woken_count, 2);
    assert_ptr_equal(woken[1], &vcpu_of[0]);  /* not the other, who came before it the second time */
    vcpu_of[0].exits[EXIT_NESTED_FAULT] += 2; /* it got it, and touches something new */
    wait(0);
    frames_come(13);
    work();
    assert_ptr_equal(woken[2], &vcpu_of[2]);
    for (mfn_t mfn = 0; mfn < frame_end(); mfn++)
        if (frame_owner(mfn) == GUEST(&vm_of[0])) {
            frame_free(mfn, 0, GUEST(&vm_of[0]));
            break;
        }
}

/* The second one finds out in the next turn: a vCPU stands in the row once. */
static void test_two_devices_of_one_turn(void **state)
{
    (void)state;
    memory_wait(&vcpu_of[0], 0x1000, "disk0");
    memory_wait(&vcpu_of[0], 0x2000, "disk1");
    wait(2);
    frames_come(13);
    work();
    assert_int_equal(woken_count, 1);
    assert_ptr_equal(woken[0], &vcpu_of[0]);
    frames_come(13);
    work();
    assert_int_equal(woken_count, 2);
    assert_ptr_equal(woken[1], &vcpu_of[2]);
    assert_false(frame_is_awaited());
}

static void test_who_goes_away_is_forgotten(void **state)
{
    (void)state;
    wait(0);
    wait(2);
    memory_wait_cancel(&vcpu_of[0]);
    memory_wait_cancel(&vcpu_of[0]);
    memory_wait_cancel(&vcpu_of[4]); /* never waited */
    frames_come(13);
    work();
    assert_int_equal(woken_count, 1);
    assert_ptr_equal(woken[0], &vcpu_of[2]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_first_come_first_served, setup, teardown),
        cmocka_unit_test_setup_teardown(test_what_became_free_in_between, setup, teardown),
        cmocka_unit_test_setup_teardown(test_who_was_too_late_keeps_his_place, setup, teardown),
        cmocka_unit_test_setup_teardown(test_two_devices_of_one_turn, setup, teardown),
        cmocka_unit_test_setup_teardown(test_who_goes_away_is_forgotten, setup, teardown),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
