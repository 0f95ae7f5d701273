/* SPDX-License-Identifier: MIT */
/* Comparing two time stamp counters: what the rounds tell, and the exchange with a thread as other CPU. */
// sources: arch/x86/machine/tsc_offset.c arch/x86/machine/percpu.c
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "arch/x86/machine/tsc.h"
#include "arch/x86/machine/tsc_offset.h"
#include "hv/lib/errno.h"

#define FOR_EVER (~0ull)

u64 tsc_from_ns(u64 ns)
{
    return ns * 3;
}

static void test_the_tightest_round_counts(void **state)
{
    struct tsc_offset offset = {0};

    (void)state;
    tsc_offset_round(&offset, 1000, 900, 1400);
    assert_true(offset.ticks == 300 && offset.error == 200);
    tsc_offset_round(&offset, 2000, 1950, 2020);
    assert_true(offset.ticks == 60 && offset.error == 10);
    tsc_offset_round(&offset, 3000, 500, 3100);
    assert_true(offset.ticks == 60 && offset.error == 10);
    assert_int_equal(offset.rounds, 3);
}

static void test_what_is_a_difference(void **state)
{
    static const struct {
        u64 before, there, after;
        bool synchronised;
    } rows[] = {
        {100, 100, 200, true},  {100, 200, 200, true},  /* the very ends of the round */
        {100, 99, 200, false},  {100, 201, 200, false}, /* just outside */
        {100, 150, 100, false}, {1ull << 63, 5, 1ull << 63, false},
        {100, 100, 100, true},  {5, ~0ull - 3, 6, false}, /* behind by a wrap: 9 ahead of it */
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        struct tsc_offset offset = {0};

        tsc_offset_round(&offset, rows[i].before, rows[i].there, rows[i].after);
        assert_int_equal(tsc_offset_synchronised(&offset), rows[i].synchronised);
    }
}

/* Whatever the other counter says: with the offset it is the boot CPU's. */
static void test_an_offset_leads_back(void **state)
{
    static const u64 theirs[] = {0, 12345, 1ull << 62, ~0ull - 50};

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(theirs); i++) {
        struct cpu cpu = {.index = 1};
        struct tsc_offset offset = {0};

        tsc_offset_round(&offset, 1000000, theirs[i], 1000010);
        cpu.tsc_offset = (u64)offset.ticks;
        assert_true(tsc_to_boot(&cpu, theirs[i] + 7) == 1000005 + 7);
    }
}

static void *answer(void *unused)
{
    (void)unused;
    tsc_offset_answer();
    return NULL;
}

static void test_the_same_counter_is_found_synchronised(void **state)
{
    struct tsc_offset offset;
    pthread_t other;

    (void)state;
    tsc_offset_prepare();
    pthread_create(&other, NULL, answer, NULL);
    assert_int_equal(tsc_offset_measure(&offset, FOR_EVER), 0);
    tsc_offset_finish();
    pthread_join(other, NULL);
    assert_true(tsc_offset_synchronised(&offset));
    assert_true(offset.rounds >= 4);
}

static void test_nobody_answers(void **state)
{
    struct tsc_offset offset;

    (void)state;
    tsc_offset_prepare();
    assert_int_equal(tsc_offset_measure(&offset, 100000), -EIO);
    assert_int_equal(offset.rounds, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_the_tightest_round_counts),
        cmocka_unit_test(test_what_is_a_difference),
        cmocka_unit_test(test_an_offset_leads_back),
        cmocka_unit_test(test_the_same_counter_is_found_synchronised),
        cmocka_unit_test(test_nobody_answers),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
