/* SPDX-License-Identifier: MIT */
/*
 * The checks of locks in debug builds: each way to break the rules is planted here and ends in a panic that
 * names both ranks. Threads prove that a lock keeps them apart.
 */
// sources: hv/lib/lock_check.c
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "hv/lib/lock.h"

static _Thread_local u32 this_cpu;
static char said[300];
static jmp_buf out;

NORETURN void panic_at(const char *file, int line, const char *format, ...)
{
    va_list args;

    (void)file, (void)line;
    va_start(args, format);
    vsnprintf(said, sizeof(said), format, args);
    va_end(args);
    longjmp(out, 1);
}

#define EXPECT_PANIC(words, statement)    \
    do {                                  \
        if (setjmp(out) == 0) {           \
            statement;                    \
            fail_msg("no panic");         \
        }                                 \
        if (!strstr(said, (words)))       \
            fail_msg("it says %s", said); \
    } while (0)

/* Ranks are numbered in the order of lock.h. */
static const char *words(const char *format, ...)
{
    static char text[sizeof(said)];
    va_list args;

    va_start(args, format);
    vsnprintf(text, sizeof(text), format, args);
    va_end(args);
    return text;
}

static u32 cpu(void)
{
    return this_cpu;
}

static struct spinlock vm = SPINLOCK_INIT(RANK_VM), other_vm = SPINLOCK_INIT(RANK_VM);
static struct spinlock scheduler = SPINLOCK_INIT(RANK_SCHEDULER), timer = SPINLOCK_INIT(RANK_TIMER);

static void test_in_order(void **state)
{
    (void)state;
    assert_true(spinlock_held_none());
    spinlock_take(&vm);
    spinlock_take(&scheduler);
    spinlock_take(&timer);
    assert_true(spinlock_held(&vm) && spinlock_held(&scheduler) && spinlock_held(&timer));
    spinlock_release(&scheduler); /* not the one that was taken last */
    assert_true(spinlock_held(&vm) && !spinlock_held(&scheduler) && spinlock_held(&timer));
    spinlock_release(&timer);
    spinlock_take(&scheduler);
    spinlock_release(&scheduler);
    spinlock_release(&vm);
    assert_true(spinlock_held_none() && !spinlock_is_taken(&vm));
}

static void test_out_of_order(void **state)
{
    (void)state;
    spinlock_take(&scheduler);
    EXPECT_PANIC(words("rank %u (one VM's nested tables and p2m) is taken by who holds "
                       "one of rank %u (one CPU's run queue)",
                       RANK_VM, RANK_SCHEDULER),
                 spinlock_take(&vm));
    assert_false(spinlock_is_taken(&vm));
    spinlock_release(&scheduler);
    /* The lowest counts, also when it was not taken last. */
    spinlock_take(&vm);
    spinlock_take(&timer);
    spinlock_release(&vm);
    EXPECT_PANIC(words("rank %u ", RANK_SCHEDULER), spinlock_take(&scheduler));
    spinlock_release(&timer);
}

static void test_twice(void **state)
{
    (void)state;
    spinlock_take(&vm);
    EXPECT_PANIC(words("holds one of rank %u ", RANK_VM), spinlock_take(&vm));
    EXPECT_PANIC(words("holds one of rank %u ", RANK_VM), spinlock_take(&other_vm));
    spinlock_release(&vm);
}

static void test_release(void **state)
{
    (void)state;
    EXPECT_PANIC(words("rank %u (one VM's nested tables and p2m) is released by a CPU "
                       "that does not hold it; nobody does",
                       RANK_VM),
                 spinlock_release(&vm));
    spinlock_take(&vm);
    this_cpu = 1;
    assert_true(spinlock_is_taken(&vm) && !spinlock_held(&vm) && spinlock_held_none());
    EXPECT_PANIC("another one does", spinlock_release(&vm));
    this_cpu = 0;
    assert_true(spinlock_held(&vm));
    spinlock_release(&vm);
}

static void test_without_a_rank(void **state)
{
    struct spinlock forgotten = {0}, wrong = SPINLOCK_INIT(RANK_COUNT);

    (void)state;
    EXPECT_PANIC("spinlock_init was forgotten", spinlock_take(&forgotten));
    EXPECT_PANIC("spinlock_init was forgotten", spinlock_take(&wrong));
}

/* CPUs that hold the same locks in the same order do not feel each other. */
static u32 counter;

static void *count(void *argument)
{
    this_cpu = (u32)(u64)argument;
    for (unsigned i = 0; i < 20000; i++) {
        spinlock_take(&vm);
        spinlock_take(&scheduler);
        counter++;
        spinlock_release(&scheduler);
        spinlock_release(&vm);
    }
    return NULL;
}

static void test_two_cpus(void **state)
{
    pthread_t threads[2];

    (void)state;
    for (u64 i = 0; i < 2; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, count, (void *)(i + 1)), 0);
    for (u64 i = 0; i < 2; i++)
        pthread_join(threads[i], NULL);
    assert_int_equal(counter, 40000);
}

/* The last test: in a panic no order counts, and every wish for a lock is granted by the list. */
static void test_in_a_panic(void **state)
{
    (void)state;
    spinlock_take(&scheduler);
    lock_check_end();
    spinlock_take(&vm);
    assert_true(spinlock_held(&timer) && spinlock_held_none());
    spinlock_release(&other_vm);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_in_order),       cmocka_unit_test(test_out_of_order),
        cmocka_unit_test(test_twice),          cmocka_unit_test(test_release),
        cmocka_unit_test(test_without_a_rank), cmocka_unit_test(test_two_cpus),
        cmocka_unit_test(test_in_a_panic),
    };

    lock_check_start(cpu);
    return cmocka_run_group_tests_name("lock", tests, NULL, NULL);
}
