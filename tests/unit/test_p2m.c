/* SPDX-License-Identifier: MIT */
/*
 * The p2m list, read through a window whose pages a fault handler fills from the very tables, as a CPU fills
 * its TLB. Every published store is followed by lookups: none of them finds anything but the value before or
 * the value after.
 */
// sources: tests/unit/fake_memory.c hv/memory/frame.c
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "tests/unit/fake_memory.h"

static void store_recorded(u64 *slot, u64 value);

/* The code under test publishes its changes by this one builtin. */
#include "hv/lib/lock.h"
#define __atomic_store_n(slot, value, order) store_recorded(slot, value)
#include "hv/memory/p2m.c"
#include "hv/memory/p2m_pages.c"
#undef __atomic_store_n

#define MIB     0x100000ull
#define SUPPORT frame_owner_support(0)

#define EMPTY_PAGES 3u /* the window's top page, the tree's, the info page */

/* Guest frames that random tests use: near every border of the tables, few enough to meet again. */
static const gfn_t bases[] = {0,           512 - 3, BIT(18) - 5, 0xc0000 - 4,      0x100000 - 2,
                              BIT(27) - 4, BIT(28), BIT(35) - 1, P2M_GFN_LIMIT - 8};
#define SPAN 8u
#define GFNS (ARRAY_SIZE(bases) * SPAN)

static struct p2m p2m;
static u64 model[GFNS], before[GFNS];
static u32 stores;
static bool checking;

static gfn_t gfn_at(u64 i)
{
    return bases[i / SPAN] + i % SPAN;
}

static void lookups_check(void)
{
    for (u64 i = 0; i < GFNS; i++) {
        u64 fast = p2m_lookup(&p2m, gfn_at(i)), true_entry = p2m_lookup_slow(&p2m, gfn_at(i));

        assert_true(true_entry == before[i] || true_entry == model[i]);
        assert_true(fast == before[i] || fast == model[i] || fast == P2M_INVALID);
    }
}

static void store_recorded(u64 *slot, u64 value)
{
    *(volatile u64 *)slot = value;
    stores++;
    if (checking)
        lookups_check();
}

static void start(void)
{
    fake_memory_begin();
    memset(model, 0xff, sizeof(model));
    memset(before, 0xff, sizeof(before));
    if (shared_pages[0][0] == 0)
        assert_int_equal(p2m_global_init(), 0);
    assert_int_equal(p2m_init(&p2m, 1, SUPPORT), 0);
}

static void finish(void)
{
    assert_true(p2m_tree_agrees(&p2m));
    p2m_destroy(&p2m);
    assert_int_equal(frame_owned(SUPPORT), 0);
    frame_unpromise(frame_promised(SUPPORT), SUPPORT);
    assert_int_equal(fake_window_entries[1], 0);
}

static void test_holes_cost_nothing(void **state)
{
    const gfn_t far_away[] = {0, 1, 511, 512, BIT(18), BIT(27) + 5, BIT(35), P2M_GFN_LIMIT - 1};

    (void)state;
    start();
    assert_int_equal(p2m.pages, EMPTY_PAGES);
    assert_int_equal(p2m_lookup(&p2m, P2M_GFN_LIMIT), P2M_INVALID);
    assert_int_equal(p2m_lookup_slow(&p2m, ~0ull), P2M_INVALID);
    for (unsigned i = 0; i < ARRAY_SIZE(far_away); i++)
        assert_int_equal(p2m_lookup(&p2m, far_away[i]), P2M_INVALID);
    assert_int_equal(p2m_next_present(&p2m, 0, P2M_GFN_LIMIT), P2M_GFN_LIMIT);
    assert_int_equal(p2m_set(&p2m, 77, P2M_INVALID), 0);
    assert_int_equal(p2m.pages, EMPTY_PAGES);
    assert_int_equal(p2m_set(&p2m, 77, 0x1234), 0);
    assert_int_equal(p2m.pages, EMPTY_PAGES + 5);
    assert_int_equal(frame_owned(SUPPORT), EMPTY_PAGES + 5);
    assert_int_equal(p2m_set(&p2m, P2M_GFN_LIMIT - 1, 0x777), 0);
    assert_int_equal(p2m.pages, EMPTY_PAGES + 10);
    assert_int_equal(p2m.present, 2);
    assert_int_equal(p2m_lookup(&p2m, 77), 0x1234);
    assert_int_equal(p2m_lookup(&p2m, P2M_GFN_LIMIT - 1), 0x777);
    assert_int_equal(p2m_next_present(&p2m, 0, P2M_GFN_LIMIT), 77);
    assert_int_equal(p2m_next_present(&p2m, 78, P2M_GFN_LIMIT), P2M_GFN_LIMIT - 1);
    assert_int_equal(p2m_next_present(&p2m, 78, 1000), 1000);
    assert_int_equal(p2m_next_present(&p2m, 0, 77), 77);
    finish();
}

static void test_beyond_the_range(void **state)
{
    (void)state;
    start();
    assert_int_equal(p2m_set(&p2m, P2M_GFN_LIMIT, 1), -EINVAL);
    assert_int_equal(p2m_set(&p2m, ~0ull, 1), -EINVAL);
    assert_int_equal(p2m_set_range(&p2m, P2M_GFN_LIMIT - 1, 1, 2), -EINVAL);
    assert_int_equal(p2m_set_range(&p2m, 1, 1, ~0ull), -EINVAL);
    assert_int_equal(p2m_set_range(&p2m, P2M_GFN_LIMIT - 2, 1, 2), 0);
    finish();
}

static void test_windows_are_apart(void **state)
{
    struct p2m other;

    (void)state;
    start();
    assert_int_equal(p2m_init(&other, 2, frame_owner_support(1)), 0);
    assert_int_equal(p2m_set(&p2m, 5, 100), 0);
    assert_int_equal(p2m_set(&other, 5, 200), 0);
    assert_int_equal(p2m_lookup(&p2m, 5), 100);
    assert_int_equal(p2m_lookup(&other, 5), 200);
    p2m_destroy(&other);
    assert_int_equal(frame_owned(frame_owner_support(1)), 0);
    assert_int_equal(p2m_lookup(&p2m, 5), 100);
    finish();
}

static void test_no_memory_changes_nothing(void **state)
{
    (void)state;
    start();
    for (unsigned spare = 0; spare < 5; spare++) {
        fake_memory_make_short(spare);
        stores = 0;
        assert_int_equal(p2m_set(&p2m, 4711, 1), -ENOMEM);
        assert_int_equal(p2m_set_range(&p2m, 4711, 1, 5), -ENOMEM);
        assert_int_equal(stores, 0);
        assert_int_equal(p2m.pages, EMPTY_PAGES);
        assert_int_equal(p2m.present, 0);
        assert_int_equal(frame_owned(SUPPORT), EMPTY_PAGES);
        assert_int_equal(p2m_lookup(&p2m, 4711), P2M_INVALID);
        fake_memory_make_plenty();
    }
    finish();
}

static void test_range(void **state)
{
    (void)state;
    start();
    assert_int_equal(p2m_set_range(&p2m, 500, 9000, 1100), 0); /* three leaves and parts */
    for (u64 i = 0; i < 1100; i++)
        assert_int_equal(p2m_lookup(&p2m, 500 + i), 9000 + i);
    assert_int_equal(p2m_lookup(&p2m, 499), P2M_INVALID);
    assert_int_equal(p2m_lookup(&p2m, 1600), P2M_INVALID);
    assert_int_equal(p2m.present, 1100);
    assert_int_equal(p2m.pages, EMPTY_PAGES + 4 + 4);
    assert_int_equal(p2m_set(&p2m, 7, 5 | P2M_IDENTITY), 0);
    assert_int_equal(p2m_lookup(&p2m, 7), 5 | P2M_IDENTITY);
    finish();
}

/*
 * A CPU whose TLB still holds the shared page reads "missing" once more, asks the slow way, and then knows.
 */
static void test_stale_tlb_is_harmless(void **state)
{
    (void)state;
    start();
    assert_int_equal(p2m_lookup(&p2m, 600), P2M_INVALID);
    fake_tlb_is_remote = true; /* the change comes from elsewhere */
    assert_int_equal(p2m_set(&p2m, 600, 42), 0);
    fake_tlb_is_remote = false;
    assert_int_equal(p2m_lookup(&p2m, 600), P2M_INVALID);
    assert_int_equal(p2m_lookup_slow(&p2m, 600), 42);
    assert_int_equal(p2m_lookup(&p2m, 600), 42);
    finish();
}

/*
 * Identity ranges that start and end anywhere. What is given afterwards takes a page out of them, and what is
 * removed leaves a hole, not identity.
 */
static void test_identity(void **state)
{
    static const struct {
        gfn_t start, end;
        u64 pages; /* private ones that it takes at most */
    } ranges[] = {
        {5, 6, 5},
        {500, 1030, 2 + 4},
        {512, 1024, 4},
        {BIT(18) - 1, 3 * BIT(18) + 1, 10},
        {BIT(18), BIT(27), 2},
        {BIT(27), 3 * BIT(27), 0},
        {BIT(27) - 3, BIT(28) + 700, 10},
        {P2M_GFN_LIMIT - 1, P2M_GFN_LIMIT, 5},
        {0, P2M_GFN_LIMIT, 0},
    };

    (void)state;
    for (unsigned i = 0; i < ARRAY_SIZE(ranges); i++) {
        const gfn_t start_gfn = ranges[i].start, end = ranges[i].end, middle = (start_gfn + end) / 2;

        start();
        assert_int_equal(p2m_set_identity(&p2m, start_gfn, end - start_gfn), 0);
        assert_in_range(p2m.pages, EMPTY_PAGES, EMPTY_PAGES + ranges[i].pages);
        assert_int_equal(p2m.present, 0);
        assert_int_equal(p2m.info->highest >= end - 1, 1);
        assert_int_equal(p2m_lookup_slow(&p2m, start_gfn), start_gfn | P2M_IDENTITY);
        assert_int_equal(p2m_lookup_slow(&p2m, middle), middle | P2M_IDENTITY);
        assert_int_equal(p2m_classify(&p2m, end - 1), P2M_KIND_IDENTITY);
        if (start_gfn > 0)
            assert_int_equal(p2m_classify(&p2m, start_gfn - 1), P2M_KIND_MISSING);
        assert_int_equal(p2m_classify(&p2m, end), end == P2M_GFN_LIMIT ? P2M_KIND_BEYOND : P2M_KIND_MISSING);
        assert_int_equal(p2m_kind_end(&p2m, 0, P2M_GFN_LIMIT, P2M_KIND_MISSING), start_gfn);
        assert_int_equal(p2m_kind_end(&p2m, start_gfn, P2M_GFN_LIMIT, P2M_KIND_IDENTITY), end);
        assert_int_equal(p2m_next_present(&p2m, 0, P2M_GFN_LIMIT), P2M_GFN_LIMIT);
        assert_true(p2m_tree_agrees(&p2m));
        assert_int_equal(p2m_set(&p2m, middle, 4711), 0);
        assert_int_equal(p2m_classify(&p2m, middle), P2M_KIND_FRAME);
        assert_int_equal(p2m_set_identity(&p2m, start_gfn, end - start_gfn), -EEXIST);
        assert_int_equal(p2m_set(&p2m, middle, P2M_INVALID), 0);
        assert_int_equal(p2m_classify(&p2m, middle), P2M_KIND_MISSING);
        if (middle + 1 < end)
            assert_int_equal(p2m_lookup(&p2m, middle + 1), (middle + 1) | P2M_IDENTITY);
        assert_int_equal(p2m.present, 0);
        finish();
    }
    start();
    assert_int_equal(p2m_set_identity(&p2m, P2M_GFN_LIMIT - 1, 2), -EINVAL);
    assert_int_equal(p2m_set_identity(&p2m, 1, ~0ull), -EINVAL);
    fake_memory_make_short(4);
    assert_int_equal(p2m_set_identity(&p2m, 3, 4), -ENOMEM);
    assert_int_equal(p2m_classify(&p2m, 3), P2M_KIND_MISSING);
    assert_int_equal(p2m.pages, EMPTY_PAGES);
    fake_memory_make_plenty();
    finish();
}

/* From every place beside a border of a table to every other one, and a few in the middle of tables. */
static void test_identity_off_every_boundary(void **state)
{
    static const gfn_t borders[] = {0,       512,           BIT(18),     BIT(18) + 512, 2 * BIT(18),
                                    BIT(27), BIT(27) + 512, 2 * BIT(27), BIT(35),       P2M_GFN_LIMIT};
    gfn_t places[3 * ARRAY_SIZE(borders)];
    unsigned count = 0;

    (void)state;
    for (unsigned i = 0; i < ARRAY_SIZE(borders); i++)
        for (int offset = -1; offset <= 1; offset++)
            if (borders[i] + (u64)offset <= P2M_GFN_LIMIT)
                places[count++] = borders[i] + (u64)offset;
    for (unsigned from = 0; from < count; from++)
        for (unsigned to = from + 1; to < count; to++) {
            start();
            assert_int_equal(p2m_set_identity(&p2m, places[from], places[to] - places[from]), 0);
            assert_in_range(p2m.pages, EMPTY_PAGES, EMPTY_PAGES + 10);
            for (unsigned i = 0; i < count; i++) {
                bool inside = places[i] >= places[from] && places[i] < places[to];
                u64 expected = inside ? places[i] | P2M_IDENTITY : P2M_INVALID;

                assert_true(p2m_lookup_slow(&p2m, places[i]) == expected);
                assert_true(p2m_tree_agrees_at(&p2m, MIN(places[i], P2M_GFN_LIMIT - 1)));
            }
            assert_true(p2m_kind_end(&p2m, 0, P2M_GFN_LIMIT, P2M_KIND_MISSING) == places[from]);
            assert_true(p2m_kind_end(&p2m, places[from], P2M_GFN_LIMIT, P2M_KIND_IDENTITY) == places[to]);
            finish();
        }
}

static struct spinlock vm_lock = SPINLOCK_INIT(RANK_VM);
static unsigned flushes;

static void flush_all(void)
{
    assert_false(spinlock_held(&vm_lock));
    flushes++;
    p2m_windows_forget();
}

/* Empty leaves go back when they are collected, behind a flush of all TLBs. */
static void test_empty_leaf_goes_back(void **state)
{
    (void)state;
    start();
    p2m_set_flush_hook(flush_all);
    flushes = 0;
    p2m_collect(&p2m, &vm_lock);
    assert_int_equal(flushes, 0);
    for (u64 leaf = 0; leaf < 100; leaf++)
        assert_int_equal(p2m_set_range(&p2m, leaf * 512 + 100, 5000, 7), 0);
    p2m_remove_range(&p2m, 100, 7);
    p2m_remove_range(&p2m, 4 * 512 + 100, 6);
    p2m_collect(&p2m, &vm_lock);
    assert_int_equal(flushes, 1);
    assert_int_equal(p2m.pages, EMPTY_PAGES + 4 + 99);
    assert_int_equal(p2m_lookup(&p2m, 4 * 512 + 106), 5006);
    for (u64 leaf = 1; leaf < 100; leaf++)
        for (gfn_t gfn = leaf * 512 + 100; gfn < leaf * 512 + 107; gfn++)
            assert_int_equal(p2m_set(&p2m, gfn, P2M_INVALID), 0);
    assert_int_equal(p2m.present, 0);
    p2m_collect(&p2m, &vm_lock);
    assert_int_equal(p2m.pages, EMPTY_PAGES + 4);
    assert_int_equal(frame_owned(SUPPORT), p2m.pages);
    /* Identity is not emptiness, and the leaf changed last may be among those that go. */
    assert_int_equal(p2m_set_identity(&p2m, 5, 1), 0);
    assert_int_equal(p2m_set(&p2m, 100000, 1), 0);
    assert_int_equal(p2m_set(&p2m, 100000, P2M_INVALID), 0);
    p2m_collect(&p2m, &vm_lock);
    assert_int_equal(p2m_set(&p2m, 100001, 2), 0);
    assert_int_equal(p2m_lookup_slow(&p2m, 100001), 2);
    assert_int_equal(p2m_classify(&p2m, 5), P2M_KIND_IDENTITY);
    p2m_set_flush_hook(p2m_windows_forget);
    finish();
}

/* 0.25% of dense memory; 64 KiB for an empty TiB, or one of which 64 MiB are there. */
static void test_size(void **state)
{
    (void)state;
    start();
    assert_int_equal(p2m_set_range(&p2m, BIT(18), 1, BIT(18)), 0);
    assert_in_range(p2m.pages * PAGE_SIZE, 0, SIZE_1G / 400);
    finish();
    start();
    assert_int_equal(p2m_set_range(&p2m, BIT(28) - 1000, 1, 64 * MIB / PAGE_SIZE), 0);
    assert_in_range(p2m.pages * PAGE_SIZE, 0, 64 * 1024 + 64 * MIB / 400);
    finish();
}

/* A reader from outside: odd generations while entries change, and the highest frame covers all. */
static void test_info_page(void **state)
{
    u64 generation;

    (void)state;
    start();
    assert_memory_equal(p2m.info->magic, P2M_INFO_MAGIC, 8);
    assert_int_equal(p2m.info->version, 1);
    assert_int_equal(p2m.info->window, 1);
    assert_int_equal(p2m.info->identity, shared_pages[HOLE_IDENTITY][0] >> PAGE_SHIFT);
    generation = p2m.info->generation;
    assert_int_equal(p2m_add(&p2m, 3000, 77), 0);
    assert_true(p2m.info->generation > generation);
    assert_int_equal(p2m.info->generation & 1, 0);
    assert_in_range(p2m.info->highest, 3000, 3071);
    assert_true(p2m_tree_agrees(&p2m));
    *p2m_slot(p2m.tree, 3000, 3) += 1;
    assert_false(p2m_tree_agrees(&p2m));
    *p2m_slot(p2m.tree, 3000, 3) -= 1;
    finish();
}

static void change(u64 i, u64 entry)
{
    memcpy(before, model, sizeof(model));
    model[i] = entry;
    assert_int_equal(p2m_set(&p2m, gfn_at(i), entry), 0);
}

static bool frames_between(u64 i, u64 last)
{
    for (; i <= last; i++)
        if (p2m_is_frame(model[i]))
            return true;
    return false;
}

static void change_to_identity(u64 i, u64 last)
{
    int expected = frames_between(i, last) ? -EEXIST : 0;

    memcpy(before, model, sizeof(model));
    for (u64 k = i; k <= last && expected == 0; k++)
        model[k] = gfn_at(k) | P2M_IDENTITY;
    assert_int_equal(p2m_set_identity(&p2m, gfn_at(i), gfn_at(last) + 1 - gfn_at(i)), expected);
}

static void test_random_operations(void **state)
{
    u64 present = 0;

    (void)state;
    start();
    checking = true;
    srandom(3);
    for (unsigned turn = 0; turn < 3000; turn++) {
        u64 i = (u64)random() % GFNS, last = i + (u64)random() % 20;

        if (random() % 4 == 0)
            change_to_identity(i, MIN(last, GFNS - 1));
        else
            change(i, random() % 3 ? P2M_INVALID : (u64)random());
        if (turn % 100 == 0)
            p2m_collect(&p2m, &vm_lock);
        if (turn % 64 == 0)
            assert_true(p2m_tree_agrees(&p2m));
    }
    checking = false;
    memcpy(before, model, sizeof(model));
    lookups_check();
    for (u64 i = 0; i < GFNS; i++)
        present += p2m_is_frame(model[i]);
    assert_int_equal(p2m.present, present);
    for (gfn_t gfn = 0; (gfn = p2m_next_present(&p2m, gfn, P2M_GFN_LIMIT)) != P2M_GFN_LIMIT; gfn++) {
        present--;
        assert_int_not_equal(p2m_lookup(&p2m, gfn), P2M_INVALID);
    }
    assert_int_equal(present, 0);
    assert_int_equal(frame_owned(SUPPORT), p2m.pages);
    finish();
}

#define RACE_GFNS 20000u
static bool racing;

static void *race_reader(void *wrong)
{
    unsigned seed = (unsigned)(u64)&seed;

    while (__atomic_load_n(&racing, __ATOMIC_RELAXED)) {
        gfn_t gfn = (gfn_t)rand_r(&seed) % RACE_GFNS * 37;
        u64 entry = p2m_lookup(&p2m, gfn);

        if (entry != P2M_INVALID && entry != gfn + 1000000)
            __atomic_fetch_add((u32 *)wrong, 1, __ATOMIC_RELAXED);
    }
    return NULL;
}

/* A tool that looks from outside: what it read while the generation was even and stayed the same is right. */
static void *race_tree_reader(void *wrong)
{
    unsigned seed = (unsigned)(u64)&seed;

    while (__atomic_load_n(&racing, __ATOMIC_RELAXED)) {
        gfn_t gfn = (gfn_t)rand_r(&seed) % RACE_GFNS * 37;
        u64 generation = __atomic_load_n(&p2m.info->generation, __ATOMIC_ACQUIRE);
        u64 entry = __atomic_load_n(&p2m.info->root, __ATOMIC_ACQUIRE);

        for (unsigned level = P2M_LEVELS + 1; level-- > 0;)
            entry = __atomic_load_n(p2m_slot(entry << PAGE_SHIFT, gfn, level), __ATOMIC_ACQUIRE);
        if ((generation & 1) || generation != __atomic_load_n(&p2m.info->generation, __ATOMIC_ACQUIRE))
            continue;
        if (entry != P2M_INVALID && entry != gfn + 1000000)
            __atomic_fetch_add((u32 *)wrong, 1, __ATOMIC_RELAXED);
    }
    return NULL;
}

static void test_lookups_race_with_changes(void **state)
{
    pthread_t readers[5];
    u32 wrong = 0;

    (void)state;
    start();
    racing = true;
    for (unsigned i = 0; i < ARRAY_SIZE(readers); i++)
        assert_int_equal(pthread_create(&readers[i], NULL, i < 4 ? race_reader : race_tree_reader, &wrong),
                         0);
    for (unsigned i = 0; i < RACE_GFNS; i++) {
        assert_int_equal(p2m_set(&p2m, (gfn_t)i * 37, (gfn_t)i * 37 + 1000000), 0);
        if (i % 3 == 0)
            assert_int_equal(p2m_set(&p2m, (gfn_t)(i / 2) * 37, P2M_INVALID), 0);
        if (i % 1000 == 999) /* some leaves become empty */
            for (unsigned k = i - 800; k < i - 700; k++)
                assert_int_equal(p2m_set(&p2m, (gfn_t)k * 37, P2M_INVALID), 0);
        if (i % 4000 == 3999)
            p2m_collect(&p2m, &vm_lock);
    }
    __atomic_store_n(&racing, false, __ATOMIC_RELAXED);
    for (unsigned i = 0; i < ARRAY_SIZE(readers); i++)
        pthread_join(readers[i], NULL);
    assert_int_equal(wrong, 0);
    finish();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_holes_cost_nothing),
        cmocka_unit_test(test_beyond_the_range),
        cmocka_unit_test(test_windows_are_apart),
        cmocka_unit_test(test_no_memory_changes_nothing),
        cmocka_unit_test(test_range),
        cmocka_unit_test(test_stale_tlb_is_harmless),
        cmocka_unit_test(test_identity),
        cmocka_unit_test(test_identity_off_every_boundary),
        cmocka_unit_test(test_empty_leaf_goes_back),
        cmocka_unit_test(test_size),
        cmocka_unit_test(test_info_page),
        cmocka_unit_test(test_random_operations),
        cmocka_unit_test(test_lookups_race_with_changes),
    };

    return cmocka_run_group_tests_name("p2m", tests, NULL, NULL);
}
