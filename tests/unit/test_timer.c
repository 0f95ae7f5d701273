/* SPDX-License-Identifier: MIT */
/* The timer queue against a plain array of deadlines, and what it tells the hardware. */
// sources: hv/run/timer.c arch/x86/machine/percpu.c
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "arch/x86/machine/percpu.h"
#include "hv/run/timer.h"

#define TIMERS 200u

static struct timer_queue queue;
static struct timer timers[TIMERS];
static u64 model[TIMERS];
static u64 hardware;
static unsigned programmed, kicks;
static unsigned fired[TIMERS];
static u64 now, latest_fired;
static u64 again_after[TIMERS]; /* a timer sets itself again so much later; 0: it does not */

static void program(u64 deadline)
{
    assert_true(spinlock_held(&queue.lock));
    hardware = deadline;
    programmed++;
}

static void kick(u32 cpu)
{
    assert_true(spinlock_held(&queue.lock));
    assert_int_equal(cpu, 0);
    kicks++;
}

static const struct timer_hardware timer_chip = {program, kick};

static void fire(struct timer *timer)
{
    u64 i = (u64)(timer - timers);

    assert_false(spinlock_held(&queue.lock));
    assert_false(timer_is_set(timer));
    assert_true(model[i] <= now);
    assert_true(model[i] >= latest_fired); /* in order */
    latest_fired = model[i];
    model[i] = TIMER_NEVER;
    fired[i]++;
    if (again_after[i] > 0) {
        model[i] = now + again_after[i];
        timer_set(timer, model[i]);
    }
}

static void start(void)
{
    timer_queue_init(&queue, 0, &timer_chip);
    for (unsigned i = 0; i < TIMERS; i++) {
        timer_init(&timers[i], &queue, fire);
        model[i] = TIMER_NEVER;
        fired[i] = 0;
        again_after[i] = 0;
    }
    hardware = TIMER_NEVER;
    programmed = kicks = 0;
    host_test_cpu = 0;
    now = latest_fired = 0;
}

/* Each timer is due no earlier than the one above it, links lead back, and the count is right. */
static unsigned check_heap(const struct timer *heap, u64 least)
{
    unsigned count = 0;

    for (; heap != NULL; heap = heap->sibling) {
        assert_ptr_equal(*heap->link, heap);
        assert_true(heap->deadline >= least);
        assert_int_equal(heap->deadline, model[heap - timers]);
        count += 1 + check_heap(heap->child, heap->deadline);
    }
    return count;
}

static void check(void)
{
    u64 least = TIMER_NEVER;
    unsigned set = 0;

    for (unsigned i = 0; i < TIMERS; i++) {
        set += model[i] != TIMER_NEVER;
        if (model[i] < least)
            least = model[i];
        assert_int_equal(timer_is_set(&timers[i]), model[i] != TIMER_NEVER);
    }
    assert_int_equal(check_heap(queue.first, 0), set);
    assert_int_equal(hardware, least);
    assert_false(spinlock_held(&queue.lock));
}

static void run(u64 until)
{
    now = until;
    latest_fired = 0;
    timer_queue_run(&queue, now);
}

static void test_set_and_cancel(void **state)
{
    (void)state;
    start();
    timer_cancel(&timers[0]); /* harmless */
    assert_int_equal(programmed, 0);
    timer_set(&timers[0], model[0] = 100);
    timer_set(&timers[1], model[1] = 50);
    timer_set(&timers[2], model[2] = 75);
    check();
    timer_cancel(&timers[1]);
    model[1] = TIMER_NEVER;
    check();
    timer_set(&timers[2], TIMER_NEVER);
    model[2] = TIMER_NEVER;
    check();
    timer_set(&timers[0], model[0] = 10);
    check();
    timer_set(&timers[0], model[0] = 1000);
    check();
    timer_cancel(&timers[0]);
    model[0] = TIMER_NEVER;
    check();
}

static void test_hardware_is_written_when_needed(void **state)
{
    (void)state;
    start();
    timer_set(&timers[0], model[0] = 100);
    assert_int_equal(programmed, 1);
    timer_set(&timers[1], model[1] = 200); /* later: nothing to write */
    timer_set(&timers[2], model[2] = 300);
    timer_cancel(&timers[2]);
    model[2] = TIMER_NEVER;
    timer_set(&timers[1], model[1] = 150);
    assert_int_equal(programmed, 1);
    timer_set(&timers[0], model[0] = 160);
    assert_int_equal(programmed, 2);
    again_after[0] = 1000;
    again_after[1] = 500;
    run(170); /* both set themselves again: one write all the same */
    assert_int_equal(programmed, 3);
    check();
    run(171); /* an interrupt a little early: the shot is spent, so it is set again */
    assert_int_equal(programmed, 4);
    check();
}

static void test_due_ones_fire_in_order(void **state)
{
    (void)state;
    start();
    for (unsigned i = 0; i < 50; i++)
        timer_set(&timers[i], model[i] = (i * 37 + 11) % 53);
    run(30);
    for (unsigned i = 0; i < 50; i++)
        assert_int_equal(fired[i], (i * 37 + 11) % 53 <= 30);
    check();
}

static void test_one_that_is_always_due_ends(void **state)
{
    (void)state;
    start();
    timer_set(&timers[0], model[0] = 5);
    again_after[0] = 0;
    for (unsigned i = 1; i < TIMERS; i++)
        timer_set(&timers[i], model[i] = 10);
    run(100); /* more than one run fires: the rest is due at once */
    assert_true(fired[0] == 1);
    assert_int_equal(hardware, 10);
    for (unsigned i = 0; i < 4; i++)
        run(100);
    for (unsigned i = 0; i < TIMERS; i++)
        assert_int_equal(fired[i], 1);
    assert_int_equal(hardware, TIMER_NEVER);
}

static void fire_now_again(struct timer *timer)
{
    fired[timer - timers]++;
    timer_set(timer, 0);
}

static void test_setting_itself_to_the_past_ends(void **state)
{
    (void)state;
    start();
    timer_init(&timers[0], &queue, fire_now_again);
    timer_set(&timers[0], 5);
    run(100);
    assert_true(fired[0] >= 1 && fired[0] <= 1000);
    assert_int_equal(hardware, 0);
    timer_cancel(&timers[0]);
}

static struct timer *victim;

static void fire_and_cancel(struct timer *timer)
{
    fired[timer - timers]++;
    timer_cancel(victim);
}

static void test_cancelled_while_others_fire(void **state)
{
    (void)state;
    start();
    victim = &timers[1];
    timer_init(&timers[0], &queue, fire_and_cancel);
    timer_set(&timers[0], 5);
    timer_set(&timers[1], 6);
    run(10);
    assert_int_equal(fired[0], 1);
    assert_int_equal(fired[1], 0);
    assert_int_equal(hardware, TIMER_NEVER);
}

static void test_random_operations(void **state)
{
    (void)state;
    start();
    srandom(11);
    for (unsigned turn = 0; turn < 40000; turn++) {
        unsigned i = (unsigned)random() % TIMERS;

        switch (random() % 8) {
        case 0:
            timer_cancel(&timers[i]);
            model[i] = TIMER_NEVER;
            break;
        case 1:
            run(now + (u64)random() % 40);
            for (unsigned k = 0; k < TIMERS; k++)
                while (model[k] <= now) /* more than one run may fire */
                    run(now);
            break;
        default:
            again_after[i] = random() % 4 == 0 ? (u64)random() % 100 + 1 : 0;
            model[i] = now + 1 + (u64)random() % 1000;
            timer_set(&timers[i], model[i]);
        }
        if (turn % 16 == 0)
            check();
    }
    check();
}

/* A timer of another CPU's queue: that CPU is kicked, for an earlier deadline alone, and programs itself. */
static void test_another_cpu(void **state)
{
    (void)state;
    start();
    timer_set(&timers[0], model[0] = 100);
    cpus[1].index = 1;
    host_test_cpu = 1;
    timer_set(&timers[1], model[1] = 200);
    timer_cancel(&timers[1]);
    assert_int_equal(kicks, 0);
    timer_set(&timers[1], model[1] = 50);
    assert_int_equal(kicks, 1);
    timer_cancel(&timers[0]);
    assert_true(programmed == 1 && hardware == 100);
    host_test_cpu = 0;
    timer_queue_look(&queue);
    assert_true(programmed == 2 && hardware == 50);
    timer_queue_look(&queue);
    assert_int_equal(programmed, 2);
}

static struct timer_queue other;
static u64 other_hardware;

static void other_program(u64 deadline)
{
    assert_true(spinlock_held(&other.lock));
    other_hardware = deadline;
}

/* To another queue of this CPU, and back, with the deadline. */
static void test_move(void **state)
{
    static const struct timer_hardware other_chip = {.program = other_program};

    (void)state;
    start();
    timer_queue_init(&other, 0, &other_chip);
    timer_move(&timers[0], &other);
    assert_false(timer_is_set(&timers[0]));
    timer_set(&timers[0], model[0] = 100);
    assert_true(other_hardware == 100 && hardware == TIMER_NEVER);
    timer_move(&timers[0], &queue);
    assert_true(other_hardware == TIMER_NEVER && hardware == 100);
    timer_move(&timers[0], &queue);
    assert_int_equal(programmed, 1);
    now = 100;
    timer_queue_run(&queue, now);
    assert_int_equal(fired[0], 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_set_and_cancel),
        cmocka_unit_test(test_hardware_is_written_when_needed),
        cmocka_unit_test(test_due_ones_fire_in_order),
        cmocka_unit_test(test_one_that_is_always_due_ends),
        cmocka_unit_test(test_setting_itself_to_the_past_ends),
        cmocka_unit_test(test_cancelled_while_others_fire),
        cmocka_unit_test(test_random_operations),
        cmocka_unit_test(test_another_cpu),
        cmocka_unit_test(test_move),
    };

    return cmocka_run_group_tests_name("timer", tests, NULL, NULL);
}
