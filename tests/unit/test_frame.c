/* SPDX-License-Identifier: MIT */
/* The frame allocator: buddies, owners, promises, zeroing, against a plain array of owners. */
// sources: tests/unit/fake_memory.c hv/memory/memory.c
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

/* The allocator's state is private to its file: tests begin with a new one. */
#include "hv/memory/frame.c"

#include "tests/unit/fake_memory.h"

#define MIB     0x100000ull
#define OWNER_A frame_owner_guest(0)
#define OWNER_B frame_owner_guest(1)

static void state_reset(void)
{
    fake_memory_reset();
    range_count = 0;
    taken_count = 0;
    spinlock_init(&lock, RANK_FRAME);
    orders_free = 0;
    now = (struct frame_statistics){0};
    memset(owned, 0, sizeof(owned));
    memset(promised, 0, sizeof(promised));
}

static void boot(const struct memory_range *ram, unsigned count)
{
    state_reset();
    frame_init(ram, count, NULL, 0);
}

static void boot_low(u64 bytes)
{
    const struct memory_range ram[] = {{MIB, MIB + bytes}};

    boot(ram, 1);
}

static bool is_zero(mfn_t mfn, u64 count)
{
    const u64 *words = phys_to_virt(mfn << PAGE_SHIFT);

    for (u64 i = 0; i < count * 512; i++)
        if (words[i] != 0)
            return false;
    return true;
}

/* Walk lists and metadata: every free frame lies in one block, buddies are joined, counters agree. */
static void check_invariants(void)
{
    u64 total_free = 0, counts[FRAME_OWNER_MAX] = {0};

    for (unsigned order = 0; order < FRAME_ORDERS; order++) {
        u32 previous = INDEX_NONE;

        assert_int_equal(!!(orders_free & (1u << order)), lists[order] != INDEX_NONE);
        for (u32 i = lists[order]; i != INDEX_NONE; previous = i, i = frames[i].next) {
            mfn_t mfn = mfn_of_index(i);
            const struct frame_range *range = range_of_mfn(mfn);
            mfn_t buddy = mfn ^ BIT(order);

            assert_true(IS_ALIGNED(mfn, BIT(order)) && mfn + BIT(order) <= range->end);
            assert_int_equal(frames[i].previous, previous);
            assert_int_equal(frames[i].order, order);
            for (u32 k = 0; k < BIT(order); k++)
                assert_int_equal(frames[i + k].owner, FRAME_OWNER_FREE);
            if (order < FRAME_ORDERS - 1 && buddy >= range->start && buddy + BIT(order) <= range->end)
                assert_int_not_equal(frames[index_in_range(range, buddy)].order, order);
            total_free += BIT(order);
        }
    }
    for (u64 i = 0; i < now.total; i++)
        counts[frames[i].owner]++;
    assert_int_equal(total_free, now.free);
    assert_true(now.free >= now.promised);
    for (unsigned owner = FRAME_OWNER_HYPERVISOR; owner < FRAME_OWNER_MAX; owner++)
        assert_int_equal(counts[owner], owned[owner]);
}

static void test_metadata_costs_12_bytes(void **state)
{
    const struct memory_range ram[] = {{MIB, 64 * MIB}, {SIZE_4G, SIZE_4G + 64 * MIB}};
    u64 count = (63 + 64) * MIB / PAGE_SIZE;

    (void)state;
    boot(ram, 2);
    assert_int_equal(now.total, count);
    assert_int_equal(frame_owned(FRAME_OWNER_HYPERVISOR), ALIGN_UP(count * 12, PAGE_SIZE) / PAGE_SIZE);
    check_invariants();
}

static void test_high_frames_wait_for_open(void **state)
{
    const struct memory_range ram[] = {{MIB, 8 * MIB}, {SIZE_4G - 4 * MIB, SIZE_4G + 16 * MIB}};
    mfn_t mfn;
    u64 low = 0;

    (void)state;
    boot(ram, 2);
    while ((mfn = frame_alloc(0, OWNER_A)) != MFN_INVALID) {
        assert_true(mfn < LOW_LIMIT);
        low++;
    }
    assert_int_equal(low, 11 * MIB / PAGE_SIZE - frame_owned(FRAME_OWNER_HYPERVISOR));
    frame_open_all();
    assert_int_equal(now.free, 16 * MIB / PAGE_SIZE);
    assert_true(frame_alloc(0, OWNER_A) >= LOW_LIMIT);
    check_invariants();
}

static void test_used_ranges_keep_their_owner(void **state)
{
    const struct memory_range ram[] = {{0, 0x9f000}, {MIB, 32 * MIB}};
    const struct frame_used used[] = {
        {{4 * MIB, 5 * MIB + 1}, FRAME_OWNER_MODULE}, /* ends inside a frame */
        {{MIB, 3 * MIB}, FRAME_OWNER_HYPERVISOR},
        {{2 * MIB, 4 * MIB + 4096}, FRAME_OWNER_MODULE}, /* overlaps both */
        {{64 * MIB, 65 * MIB}, FRAME_OWNER_MODULE},      /* not RAM */
    };
    mfn_t mfn;

    (void)state;
    state_reset();
    frame_init(ram, 2, used, ARRAY_SIZE(used));
    assert_int_equal(frame_owner(0), FRAME_OWNER_NONE);
    assert_int_equal(frame_owner(1), FRAME_OWNER_FREE);
    assert_int_equal(frame_owner(0xa0), FRAME_OWNER_NONE);
    assert_int_equal(frame_owner(64 * MIB >> PAGE_SHIFT), FRAME_OWNER_NONE);
    assert_int_equal(frame_owner(MIB >> PAGE_SHIFT), FRAME_OWNER_HYPERVISOR);
    assert_int_equal(frame_owner(3 * MIB >> PAGE_SHIFT), FRAME_OWNER_MODULE);
    assert_int_equal(frame_owner(5 * MIB >> PAGE_SHIFT), FRAME_OWNER_MODULE);
    assert_int_equal(frame_owned(FRAME_OWNER_MODULE), 512 + 1);
    check_invariants();
    while ((mfn = frame_alloc(0, OWNER_A)) != MFN_INVALID) {
        hpa_t at = mfn << PAGE_SHIFT;

        assert_true(at > 0 && at < 32 * MIB && (at < 0x9f000 || at > 5 * MIB));
    }
    frame_free(4 * MIB >> PAGE_SHIFT, 8, FRAME_OWNER_MODULE);
    assert_int_equal(frame_alloc(8, OWNER_B), 4 * MIB >> PAGE_SHIFT);
    check_invariants();
}

static void test_no_room_for_metadata_panics(void **state)
{
    const struct memory_range ram[] = {{MIB, 2 * MIB}, {SIZE_4G, SIZE_4G + 1024 * MIB}};

    (void)state;
    state_reset();
    EXPECT_PANIC(frame_init(ram, 2, NULL, 0));
}

static void test_allocation_is_zeroed(void **state)
{
    mfn_t first, again;

    (void)state;
    boot_low(32 * MIB);
    for (unsigned order = 0; order <= FRAME_ORDER_2M; order++) {
        first = frame_alloc(order, OWNER_A);
        assert_true(IS_ALIGNED(first, BIT(order)));
        memset(phys_to_virt(first << PAGE_SHIFT), 0xa5, BIT(order) * PAGE_SIZE);
        frame_free(first, order, OWNER_A);
        again = frame_alloc(order, OWNER_B);
        assert_int_equal(again, first);
        assert_true(is_zero(again, BIT(order)));
        frame_free(again, order, OWNER_B);
    }
    check_invariants();
}

static void test_one_gib(void **state)
{
    const struct memory_range ram[] = {{MIB, 64 * MIB}, {SIZE_4G, SIZE_4G + 2 * SIZE_1G + 5 * PAGE_SIZE}};
    mfn_t a, b;

    (void)state;
    boot(ram, 2);
    fake_memory_alias(SIZE_4G, SIZE_4G + 2 * SIZE_1G);
    frame_open_all();
    a = frame_alloc(FRAME_ORDER_1G, OWNER_A);
    assert_int_equal(a, (SIZE_4G + SIZE_1G) >> PAGE_SHIFT);
    b = frame_alloc(FRAME_ORDER_1G, OWNER_A);
    assert_int_equal(b, SIZE_4G >> PAGE_SHIFT);
    assert_int_equal(frame_alloc(FRAME_ORDER_1G, OWNER_A), MFN_INVALID);
    frame_free(a + 512, FRAME_ORDER_2M, OWNER_A); /* a part of it */
    assert_int_equal(frame_alloc(FRAME_ORDER_2M, OWNER_B), a + 512);
    frame_free(a + 512, FRAME_ORDER_2M, OWNER_B);
    assert_int_equal(frame_owned(OWNER_A), 2 * BIT(18) - 512);
    frame_free(b, FRAME_ORDER_1G, OWNER_A);
    assert_int_equal(frame_alloc(FRAME_ORDER_1G + 0, OWNER_B), b);
}

static void test_wrong_owner_panics(void **state)
{
    mfn_t mfn;

    (void)state;
    boot_low(16 * MIB);
    mfn = frame_alloc(2, OWNER_A);
    EXPECT_PANIC(frame_free(mfn, 2, OWNER_B));
    spinlock_init(&lock, RANK_FRAME);
    EXPECT_PANIC(frame_free(0x90000000, 0, OWNER_A)); /* no RAM */
    EXPECT_PANIC(frame_free(mfn + 1, 1, OWNER_A));    /* not aligned */
    EXPECT_PANIC(frame_free(0x1100, 8, OWNER_A));     /* beyond the end */
    EXPECT_PANIC(frame_alloc(0, FRAME_OWNER_FREE));
    EXPECT_PANIC(frame_alloc(0, FRAME_OWNER_MAX));
    boot_low(16 * MIB);
    mfn = frame_alloc(0, OWNER_A);
    frame_free(mfn, 0, OWNER_A);
    EXPECT_PANIC(frame_free(mfn, 0, OWNER_A)); /* twice */
}

static void test_promises_are_kept(void **state)
{
    u64 rest;

    (void)state;
    boot_low(16 * MIB);
    rest = now.free;
    assert_int_equal(frame_promise(rest + 1, OWNER_A), -ENOMEM);
    assert_int_equal(frame_promise(~0ull, OWNER_A), -ENOMEM);
    assert_int_equal(frame_promise(rest - 100, OWNER_A), 0);
    assert_int_equal(frame_promise(101, OWNER_B), -ENOMEM);
    assert_int_equal(frame_promise(60, OWNER_B), 0);
    /* 40 are left for anybody: six orders of two fit, not one more */
    assert_int_equal(frame_alloc(6, OWNER_A), MFN_INVALID);
    assert_int_not_equal(frame_alloc(5, OWNER_A), MFN_INVALID);
    assert_int_equal(frame_alloc(4, OWNER_A), MFN_INVALID);
    assert_int_not_equal(frame_alloc(3, OWNER_A), MFN_INVALID);
    assert_int_equal(frame_alloc(0, OWNER_A), MFN_INVALID);
    assert_int_equal(frame_alloc_promised(6, OWNER_B), MFN_INVALID); /* more than promised */
    for (u64 i = 0; i < 60; i++)
        assert_int_not_equal(frame_alloc_promised(0, OWNER_B), MFN_INVALID);
    assert_int_equal(frame_alloc_promised(0, OWNER_B), MFN_INVALID);
    for (u64 i = 0; i < rest - 100; i++)
        assert_int_not_equal(frame_alloc_promised(0, OWNER_A), MFN_INVALID);
    assert_int_equal(now.free, 0);
    assert_int_equal(now.promised, 0);
    check_invariants();
    EXPECT_PANIC(frame_unpromise(1, OWNER_A));
}

static void test_as_many_as_there_are(void **state)
{
    u64 rest;

    (void)state;
    boot_low(16 * MIB);
    rest = now.free;
    assert_int_equal(frame_promise_some(100, OWNER_A), 100);
    assert_int_equal(frame_promise_some(rest, OWNER_B), rest - 100);
    assert_int_equal(frame_promise_some(1, OWNER_B), 0);
    assert_int_equal(frame_promised(OWNER_A) + frame_promised(OWNER_B), rest);
    frame_unpromise(100, OWNER_A);
    frame_unpromise(rest - 100, OWNER_B);
}

static void test_lists_link_blocks(void **state)
{
    struct frame_list list = {0};
    mfn_t one, large;
    unsigned order;

    (void)state;
    boot_low(16 * MIB);
    assert_int_equal(frame_list_pop(&list, &order), MFN_INVALID);
    one = frame_alloc(0, OWNER_A);
    large = frame_alloc(9, OWNER_A);
    frame_list_push(&list, one, 0);
    frame_list_push(&list, large, 9);
    assert_int_equal(list.frames, 513);
    assert_int_equal(frame_list_pop(&list, &order), large);
    assert_int_equal(order, 9);
    frame_free(large, 9, OWNER_A);
    assert_int_equal(frame_list_pop(&list, &order), one);
    assert_int_equal(order, 0);
    assert_int_equal(frame_list_pop(&list, &order), MFN_INVALID);
    assert_int_equal(list.frames, 0);
    frame_free(one, 0, OWNER_A);
    check_invariants();
}

static unsigned freed;
static void count_freed(void)
{
    freed++;
}

static void test_who_waits_is_told(void **state)
{
    mfn_t mfn;

    (void)state;
    boot_low(16 * MIB);
    frame_set_freed_hook(count_freed);
    mfn = frame_alloc(0, OWNER_A);
    frame_free(mfn, 0, OWNER_A);
    assert_int_equal(freed, 0);
    frame_await(1);
    assert_true(frame_is_awaited());
    assert_int_equal(frame_promise(2, OWNER_A), 0);
    frame_free_promised(frame_alloc_promised(0, OWNER_A), 0, OWNER_A); /* nobody else can have it */
    assert_int_equal(freed, 0);
    frame_unpromise(2, OWNER_A);
    assert_int_equal(freed, 1);
    mfn = frame_alloc(0, OWNER_A);
    frame_free(mfn, 0, OWNER_A);
    assert_int_equal(freed, 2);
    frame_await(-1);
    assert_false(frame_is_awaited());
}

static void test_free_to_promise(void **state)
{
    mfn_t mfn;

    (void)state;
    boot_low(16 * MIB);
    assert_int_equal(frame_promise(now.free, OWNER_A), 0);
    mfn = frame_alloc_promised(4, OWNER_A);
    assert_int_equal(frame_alloc(0, OWNER_B), MFN_INVALID);
    frame_free_promised(mfn + 8, 3, OWNER_A);
    assert_int_equal(frame_alloc(0, OWNER_B), MFN_INVALID);
    frame_free(mfn, 3, OWNER_A);
    assert_int_not_equal(frame_alloc(3, OWNER_B), MFN_INVALID);
    assert_int_equal(frame_alloc(0, OWNER_B), MFN_INVALID);
    frame_unpromise(frame_promised(OWNER_A), OWNER_A);
    assert_int_equal(now.promised, 0);
    check_invariants();
}

static void test_memory_alloc_rounds_to_pages(void **state)
{
    const u64 sizes[] = {1, 4096, 4097, 5 * 4096, 300000, 7 * MIB};
    u64 before;
    u8 *at;

    (void)state;
    boot_low(32 * MIB);
    before = now.free;
    for (unsigned i = 0; i < ARRAY_SIZE(sizes); i++) {
        at = memory_alloc(sizes[i], FRAME_OWNER_HYPERVISOR);
        assert_non_null(at);
        assert_int_equal(before - now.free, ALIGN_UP(sizes[i], PAGE_SIZE) / PAGE_SIZE);
        assert_true(is_zero(virt_to_phys(at) >> PAGE_SHIFT, ALIGN_UP(sizes[i], PAGE_SIZE) / PAGE_SIZE));
        memset(at, 0xff, sizes[i]);
        check_invariants();
        memory_free(at, sizes[i], FRAME_OWNER_HYPERVISOR);
        assert_int_equal(now.free, before);
    }
    assert_null(memory_alloc(0, FRAME_OWNER_HYPERVISOR));
    assert_null(memory_alloc(~0ull, FRAME_OWNER_HYPERVISOR));
    assert_null(memory_alloc(64 * MIB, FRAME_OWNER_HYPERVISOR));
    memory_free(NULL, 1, FRAME_OWNER_HYPERVISOR);
    check_invariants();
}

#define BLOCKS 400
/* Random requests of two owners over ranges with odd borders; every frame is marked with who has it. */
static void test_random_operations(void **state)
{
    const struct memory_range ram[] = {{0, 0x9f000},
                                       {MIB, 7 * MIB + 0x3000},
                                       {9 * MIB + 0x1000, 16 * MIB},
                                       {SIZE_4G - MIB, SIZE_4G + 5 * MIB + 0x7000}};
    struct {
        mfn_t mfn;
        unsigned order;
        frame_owner_t owner;
    } blocks[BLOCKS];
    unsigned count = 0;
    u64 whole;

    (void)state;
    boot(ram, 4);
    frame_open_all();
    whole = now.free;
    assert_int_equal(frame_promise(500, OWNER_A), 0);
    srandom(1);
    for (unsigned turn = 0; turn < 20000; turn++) {
        unsigned order = (unsigned)random() % 10 * ((unsigned)random() % 2);
        frame_owner_t owner = random() % 2 ? OWNER_A : OWNER_B;

        if (random() % 2 && count < BLOCKS) {
            bool of_promise = random() % 3 == 0;
            mfn_t mfn = of_promise ? frame_alloc_promised(order, owner) : frame_alloc(order, owner);

            if (mfn == MFN_INVALID)
                continue;
            assert_true(is_zero(mfn, BIT(order)));
            for (u64 i = 0; i < BIT(order); i++)
                *(u64 *)phys_to_virt((mfn + i) << PAGE_SHIFT) = owner;
            blocks[count].mfn = mfn;
            blocks[count].order = order;
            blocks[count++].owner = owner;
        } else if (count > 0) {
            unsigned i = (unsigned)random() % count;

            for (u64 k = 0; k < BIT(blocks[i].order); k++)
                assert_int_equal(*(u64 *)phys_to_virt((blocks[i].mfn + k) << PAGE_SHIFT), blocks[i].owner);
            if (blocks[i].order > 0 && random() % 4 == 0) { /* the upper half alone */
                blocks[i].order--;
                frame_free(blocks[i].mfn + BIT(blocks[i].order), blocks[i].order, blocks[i].owner);
                continue;
            }
            if (blocks[i].owner == OWNER_A && random() % 2)
                frame_free_promised(blocks[i].mfn, blocks[i].order, OWNER_A);
            else
                frame_free(blocks[i].mfn, blocks[i].order, blocks[i].owner);
            blocks[i] = blocks[--count];
        }
        if (turn % 500 == 0)
            check_invariants();
    }
    while (count-- > 0)
        frame_free(blocks[count].mfn, blocks[count].order, blocks[count].owner);
    frame_unpromise(frame_promised(OWNER_A), OWNER_A);
    assert_int_equal(now.free, whole);
    check_invariants();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_metadata_costs_12_bytes),
        cmocka_unit_test(test_high_frames_wait_for_open),
        cmocka_unit_test(test_used_ranges_keep_their_owner),
        cmocka_unit_test(test_no_room_for_metadata_panics),
        cmocka_unit_test(test_allocation_is_zeroed),
        cmocka_unit_test(test_one_gib),
        cmocka_unit_test(test_wrong_owner_panics),
        cmocka_unit_test(test_promises_are_kept),
        cmocka_unit_test(test_as_many_as_there_are),
        cmocka_unit_test(test_lists_link_blocks),
        cmocka_unit_test(test_who_waits_is_told),
        cmocka_unit_test(test_free_to_promise),
        cmocka_unit_test(test_memory_alloc_rounds_to_pages),
        cmocka_unit_test(test_random_operations),
    };

    return cmocka_run_group_tests_name("frame", tests, NULL, NULL);
}
