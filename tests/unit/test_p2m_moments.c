/* SPDX-License-Identifier: MIT */
/*
 * The p2m list on a memory that records every write, whoever makes it: behind each single store the list is
 * looked up, by the window and by its tables, and the tree as a tool from outside would. There is no moment
 * at which an entry is anything but the old or the new, at which it goes back, at which the tree leads to a
 * page that is not lintel's, or says something else than the list while the generation is even.
 */
// sources: tests/unit/fake_memory.c hv/memory/frame.c hv/memory/p2m.c hv/memory/p2m_pages.c
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "hv/lib/errno.h"
#include "hv/memory/p2m_pages.h"
#include "tests/unit/fake_memory.h"

#define SUPPORT frame_owner_support(0)

static struct p2m p2m;
static struct spinlock vm_lock = SPINLOCK_INIT(RANK_VM);

/* Where entries are looked at: on both sides of whatever the operations below touch. */
static const gfn_t gfns[] = {
    0,
    77,
    509,
    510,
    511,
    512,
    513,
    1029,
    1030,
    1031,
    BIT(18) - 1,
    BIT(18),
    BIT(18) + 1,
    BIT(18) + 9,
    2 * BIT(18),
    2 * BIT(18) + 512,
    BIT(27) - 1,
    BIT(27),
    BIT(27) + 3,
    BIT(27) + 4,
    BIT(28),
    BIT(28) + 1,
    P2M_GFN_LIMIT - 1,
};
#define GFNS ARRAY_SIZE(gfns)

static u64 before[GFNS], after[GFNS]; /* the operation under way */
static bool arrived[GFNS];
static u64 moments, odd_moments;

/* The tree as docs/abi.md tells it. */
static u64 tree_lookup(gfn_t gfn)
{
    mfn_t page = p2m.info->root;

    for (unsigned level = P2M_LEVELS; level > 0; level--) {
        frame_owner_t owner = frame_owner(page);

        assert_true(owner == SUPPORT || owner == FRAME_OWNER_HYPERVISOR);
        page = *p2m_slot(page << PAGE_SHIFT, gfn, level);
    }
    assert_true(frame_owner(page) == SUPPORT || frame_owner(page) == FRAME_OWNER_HYPERVISOR);
    return page == p2m.info->identity ? gfn | P2M_IDENTITY : *p2m_slot(page << PAGE_SHIFT, gfn, 0);
}

static void entry_check(unsigned i, bool even)
{
    u64 fast = p2m_lookup(&p2m, gfns[i]), slow = p2m_lookup_slow(&p2m, gfns[i]), tree = tree_lookup(gfns[i]);

    assert_true(slow == after[i] || (slow == before[i] && !arrived[i]));
    arrived[i] = slow == after[i];
    assert_true(fast == before[i] || fast == after[i] || fast == P2M_INVALID);
    assert_true(!even || tree == slow);
}

static void moment(void)
{
    bool even = (p2m.info->generation & 1) == 0;

    for (unsigned i = 0; i < GFNS; i++)
        entry_check(i, even);
    moments++;
    odd_moments += !even;
}

/* What the next operation makes of [gfn, gfn + count): an entry that counts up, or one for all. */
static void expect(gfn_t gfn, u64 count, u64 entry, bool counts_up)
{
    for (unsigned i = 0; i < GFNS; i++) {
        before[i] = after[i];
        arrived[i] = false;
        if (gfns[i] >= gfn && gfns[i] < gfn + count)
            after[i] = entry + (counts_up ? gfns[i] - gfn : 0);
    }
}

static void start(void)
{
    static bool ready;

    fake_memory_begin();
    if (!ready)
        assert_int_equal(p2m_global_init(), 0);
    ready = true;
    assert_int_equal(p2m_init(&p2m, 1, SUPPORT), 0);
    memset(after, 0xff, sizeof(after));
    moments = odd_moments = 0;
}

static void finish(void)
{
    assert_true(p2m_tree_agrees(&p2m));
    p2m_destroy(&p2m);
    assert_int_equal(frame_owned(SUPPORT), 0);
    frame_unpromise(frame_promised(SUPPORT), SUPPORT);
}

#define RECORDED(operation)                                          \
    do {                                                             \
        int status;                                                  \
                                                                     \
        fake_memory_record(moment);                                  \
        status = (operation);                                        \
        fake_memory_record(NULL);                                    \
        assert_int_equal(status, 0);                                 \
        for (unsigned i = 0; i < GFNS; i++)                          \
            assert_true(p2m_lookup_slow(&p2m, gfns[i]) == after[i]); \
    } while (0)

static void set(gfn_t gfn, u64 entry)
{
    expect(gfn, 1, entry, false);
    RECORDED(p2m_set(&p2m, gfn, entry));
}

static void set_range(gfn_t gfn, mfn_t mfn, u64 count)
{
    expect(gfn, count, mfn, true);
    RECORDED(p2m_set_range(&p2m, gfn, mfn, count));
}

static void set_identity(gfn_t gfn, u64 count)
{
    expect(gfn, count, gfn | P2M_IDENTITY, true);
    RECORDED(p2m_set_identity(&p2m, gfn, count));
}

static int remove_all(gfn_t gfn, u64 count)
{
    p2m_remove_range(&p2m, gfn, count);
    return 0;
}

static int collect(void)
{
    p2m_collect(&p2m, &vm_lock);
    return 0;
}

static void test_entries(void **state)
{
    (void)state;
    start();
    set(77, 0x1234); /* tables of all levels */
    assert_true(moments > 5 * 512 && odd_moments > 0);
    set(77, 0x5678);
    set(0, 0x9abc); /* a neighbour in the leaf */
    set(P2M_GFN_LIMIT - 1, 0x777);
    expect(BIT(18) + 1, 1, 0x4711, false);
    RECORDED(p2m_add(&p2m, BIT(18) + 1, 0x4711));
    set(77, P2M_INVALID);
    set(0, P2M_INVALID);
    expect(0, 0, 0, false);
    RECORDED(collect()); /* the first leaf goes back */
    set(511, 0x1111);
    finish();
}

static void test_ranges(void **state)
{
    (void)state;
    start();
    set_range(510, 0x9000, 521); /* three leaves */
    expect(511, 519, P2M_INVALID, false);
    RECORDED(remove_all(511, 519));
    expect(0, 0, 0, false);
    RECORDED(collect());
    set_range(511, 0x7000, 1);
    finish();
}

static void test_identity(void **state)
{
    (void)state;
    start();
    set_identity(BIT(18) - 1,
                 BIT(27) - BIT(18) + 5); /* from the last frame of a GiB to four behind 512 GiB */
    set(2 * BIT(18), 0x4242);            /* a frame in the middle of what is shared */
    set(2 * BIT(18), P2M_INVALID);
    set(BIT(27) + 3, 0x99);
    set_identity(1030, 1); /* an entry alone */
    finish();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_entries),
        cmocka_unit_test(test_ranges),
        cmocka_unit_test(test_identity),
    };

    return cmocka_run_group_tests_name("p2m_moments", tests, NULL, NULL);
}
