/* SPDX-License-Identifier: MIT */
/*
 * A guest's balloon on real tables, lists and frames: what each page is answered, that a frame leaves only
 * behind a finished flush, that what a VM has and is promised follows its target, what a reset and a short
 * host make of it; and random operations against a plain model. Every operation is followed by the audit of
 * the debug build.
 */
// sources: tests/unit/fake_memory.c hv/memory/frame.c hv/memory/p2m.c hv/memory/p2m_pages.c
// sources: hv/memory/guest_map.c hv/memory/guest_list.c hv/memory/guest_memory.c
// sources: hv/memory/memory_audit.c hv/memory/memory.c
// sources: hv/memory/balloon.c hv/memory/locked_set.c hv/memory/guest_take.c hv/lib/printf.c
// sources: arch/x86/machine/nested_paging.c
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "arch/x86/machine/cpu.h"
#include "hv/lib/errno.h"
#include "hv/memory/guest_take.h"
#include "hv/memory/memory_audit.h"
#include "tests/unit/fake_memory.h"

#define MIB      0x100000ull
#define FLUSH    1u
#define VM       1
#define GUEST    frame_owner_guest(VM)
#define SUPPORT  frame_owner_support(VM)
#define FRAMES_M 256ull /* per MiB */
#define BLOCK    512ull

struct cpu_features cpu_features = {.physical_bits = 40};

static struct spinlock vm_lock = SPINLOCK_INIT(RANK_VM);
static struct guest_memory memory;
static u32 requests[2];
static unsigned finished;
static mfn_t watched = MFN_INVALID; /* must be the guest's still when a flush is waited for */
static bool forgetful;
static char why[200];

static void flush(void *context)
{
    (void)context;
    for (u32 i = 0; i < ARRAY_SIZE(requests); i++)
        requests[i] |= FLUSH;
}

/* Both vCPUs leave the guest and come back: hv/run/vm_flush.c. */
static void flush_finish(void *context)
{
    u32 number = flush_debt_now(&memory.flush_debt);

    (void)context;
    assert_false(spinlock_held(&vm_lock));
    if (watched != MFN_INVALID)
        assert_int_equal(frame_owner(watched), GUEST);
    finished++;
    if (forgetful)
        return;
    for (u32 i = 0; i < ARRAY_SIZE(requests); i++) {
        flush_debt_ask(&memory.flush_debt, i);
        requests[i] &= ~FLUSH;
        flush_debt_settle(&memory.flush_debt, i);
        flush_debt_enter(&memory.flush_debt, i, &vm_lock, &requests[i], FLUSH);
    }
    flush_debt_finish(&memory.flush_debt, number);
}

static int create(u64 bytes, u64 promise, u64 page_limit)
{
    static bool ready;
    int status;

    fake_memory_begin();
    fake_memory_make_plenty();
    for (u32 i = 0; i < ARRAY_SIZE(requests); i++)
        flush_debt_settle(&memory.flush_debt, i);
    guest_memory_destroy(&memory); /* of a test that failed */
    if (!ready)
        assert_int_equal(p2m_global_init(), 0);
    ready = true;
    forgetful = false;
    watched = MFN_INVALID;
    finished = 0;
    memset(requests, 0, sizeof(requests));
    memory = (struct guest_memory){.vm = VM,
                                   .page_limit = page_limit,
                                   .promise = promise,
                                   .lock = &vm_lock,
                                   .flush = flush,
                                   .flush_finish = flush_finish};
    memory.nested.format = &nested_format_amd;
    memory.nested.pages_1g = true;
    for (u32 i = 0; i < ARRAY_SIZE(requests); i++)
        flush_debt_enter(&memory.flush_debt, i, &vm_lock, &requests[i], FLUSH);
    status = guest_memory_create(&memory, bytes);
    if (status == 0) /* so that it takes no memory later, which would be counted below */
        assert_int_equal(locked_set_prepare(&memory.balloon.set, 0x2000), 0);
    return status;
}

static void audit(void)
{
    if (guest_memory_audit(&memory, why, sizeof(why)))
        fail_msg("%s", why);
    assert_false(spinlock_held(&vm_lock));
}

static void destroy(void)
{
    audit();
    for (u32 i = 0; i < ARRAY_SIZE(requests); i++)
        flush_debt_settle(&memory.flush_debt, i);
    guest_memory_destroy(&memory);
    assert_int_equal(frame_owned(GUEST) + frame_owned(SUPPORT), 0);
    assert_int_equal(frame_promised(GUEST) + frame_promised(SUPPORT), 0);
}

static enum balloon_status lock(gfn_t gfn, unsigned order)
{
    struct balloon_work work = {0};
    enum balloon_status status;

    balloon_begin(&memory);
    status = balloon_lock(&memory, &work, gfn, order);
    balloon_end(&memory, &work);
    return status;
}

static enum balloon_status unlock(gfn_t gfn, unsigned order)
{
    struct balloon_work work = {0};
    enum balloon_status status;

    balloon_begin(&memory);
    status = balloon_unlock(&memory, &work, gfn, order);
    balloon_end(&memory, &work);
    return status;
}

static u64 unpromised(void)
{
    struct frame_statistics now;

    frame_statistics(&now);
    return now.free - now.promised;
}

static void target(u64 mib)
{
    assert_int_equal(balloon_set_target(&memory, guest_memory_frames_of(&memory, mib * MIB)), 0);
}

static bool is_mapped(gfn_t gfn)
{
    u64 size, access;
    hpa_t hpa;

    return nested_lookup(&memory.nested, gfn << PAGE_SHIFT, &hpa, &size, &access) == 0;
}

static void test_a_page_goes_and_comes_back_zeroed(void **state)
{
    u64 before, word = 0x5ca1ab1e, read;
    const gfn_t gfn = 16 * FRAMES_M + 5;

    (void)state;
    assert_int_equal(create(64 * MIB, 0, PAGE_SIZE), 0);
    target(32);
    assert_int_equal(guest_memory_write(&memory, gfn << PAGE_SHIFT, &word, sizeof(word)), 0);
    before = unpromised();
    watched = p2m_lookup_slow(&memory.p2m, gfn);
    assert_int_equal(lock(gfn, 0), BALLOON_DONE);
    assert_int_equal(finished, 1);
    assert_int_equal(frame_owner(watched), FRAME_OWNER_FREE);
    assert_int_equal(p2m_lookup_slow(&memory.p2m, gfn), P2M_INVALID);
    assert_false(is_mapped(gfn));
    assert_int_equal(unpromised(), before + 1);
    watched = MFN_INVALID;
    assert_int_equal(guest_memory_read(&memory, gfn << PAGE_SHIFT, &read, sizeof(read)), 0);
    assert_int_equal(read, 0);
    assert_int_equal(unlock(gfn, 0), BALLOON_DONE);
    assert_true(is_mapped(gfn)); /* given at once, and cleared */
    assert_int_equal(*(u64 *)guest_memory_at(&memory, gfn << PAGE_SHIFT), 0);
    assert_int_equal(unpromised(), before);
    assert_int_equal(memory.balloon.moved, 2);
    assert_int_equal(memory.balloon.refused, 0);
    destroy();
}

static void test_a_page_never_given_is_a_promise_less(void **state)
{
    u64 before;

    (void)state;
    assert_int_equal(create(64 * MIB, 0, PAGE_SIZE), 0);
    target(32);
    before = unpromised();
    assert_int_equal(lock(0x2000, 0), BALLOON_DONE);
    assert_int_equal(finished, 0); /* there was nothing to forget */
    assert_int_equal(memory.balloon.locked, 1);
    assert_int_equal(unpromised(), before + 1);
    destroy();
}

static void test_each_status_has_its_situation(void **state)
{
    const gfn_t end = 64 * FRAMES_M;

    (void)state;
    assert_int_equal(create(64 * MIB, 0, SIZE_2M), 0);
    assert_int_equal(lock(0x2000, 0), BALLOON_NOT_NEEDED); /* the guest keeps all */
    target(32);
    const gfn_t no_ram[] = {0x9f,    0xa0,    0xc0,    0xff,  end,        end + 1,
                            0xfee00, BIT(32), BIT(36), ~0ull, ~0ull >> 12};
    for (unsigned i = 0; i < ARRAY_SIZE(no_ram); i++) {
        assert_int_equal(lock(no_ram[i], 0), BALLOON_NO_RAM);
        assert_int_equal(unlock(no_ram[i], 0), BALLOON_NO_RAM);
    }
    assert_int_equal(lock(0x2001, 9), BALLOON_NO_RAM); /* misaligned */
    assert_int_equal(lock(0, 9), BALLOON_NO_RAM);      /* a hole in it */
    assert_int_equal(lock(end, 9), BALLOON_NO_RAM);    /* behind the end */
    assert_int_equal(lock(ALIGN_DOWN(~0ull, 512), 9), BALLOON_NO_RAM);
    assert_int_equal(unlock(0x2000, 0), BALLOON_UNLOCKED);
    assert_int_equal(unlock(0x2000, 9), BALLOON_UNLOCKED);
    assert_int_equal(lock(0x2000, 0), BALLOON_DONE);
    assert_int_equal(lock(0x2000, 0), BALLOON_LOCKED);
    assert_int_equal(lock(0x2000, 9), BALLOON_LOCKED);     /* a part of it */
    assert_int_equal(unlock(0x2000, 9), BALLOON_UNLOCKED); /* all but a part of it */
    assert_int_equal(guest_memory_pin(&memory, 0x3001ffc, 8), 0);
    assert_int_equal(lock(0x3001, 0), BALLOON_PINNED); /* across a page's end */
    assert_int_equal(lock(0x3002, 0), BALLOON_PINNED);
    assert_int_equal(lock(0x3000, 9), BALLOON_PINNED);
    assert_int_equal(lock(0x3003, 0), BALLOON_DONE);
    guest_memory_unpin(&memory, 0x3001ffc, 8);
    assert_int_equal(lock(0x3001, 0), BALLOON_DONE);
    assert_int_equal(memory.balloon.locked, 3);
    destroy();
}

static void test_pins_are_counted(void **state)
{
    (void)state;
    assert_int_equal(create(64 * MIB, 0, SIZE_2M), 0);
    target(32);
    assert_int_equal(guest_memory_pin(&memory, 0x2000000, 32), 0);
    assert_int_equal(guest_memory_pin(&memory, 0x2000040, 32), 0);
    guest_memory_unpin(&memory, 0x2000000, 32);
    assert_int_equal(lock(0x2000, 0), BALLOON_PINNED);
    guest_memory_unpin(&memory, 0x2000040, 32);
    guest_memory_unpin(&memory, 0x2000040, 32); /* of none */
    assert_int_equal(memory.pin_count, 0);
    for (u64 i = 0; i < GUEST_PINS; i++)
        assert_int_equal(guest_memory_pin(&memory, i * PAGE_SIZE, 1), 0);
    assert_int_equal(guest_memory_pin(&memory, 0x2000000, 1), -ENOSPC);
    guest_memory_unpin(&memory, 3 * PAGE_SIZE, 1);
    assert_int_equal(guest_memory_pin(&memory, 0x2000000, 1), 0);
    assert_int_equal(lock(0x2000, 0), BALLOON_PINNED);
    guest_memory_reset(&memory);
    assert_int_equal(lock(0x2000, 0), BALLOON_DONE);
    destroy();
}

static void test_large_pages_go_whole_or_in_pieces(void **state)
{
    u64 before;

    (void)state;
    assert_int_equal(create(64 * MIB, 0, SIZE_2M), 0);
    target(32);
    before = unpromised();
    assert_int_equal(guest_memory_fault(&memory, 0x2000000), 0);
    watched = p2m_lookup_slow(&memory.p2m, 0x2000);
    assert_int_equal(lock(0x2000, 9), BALLOON_DONE); /* one large page */
    watched = MFN_INVALID;
    assert_int_equal(unpromised(), before + BLOCK);
    assert_int_equal(unlock(0x2000, 9), BALLOON_DONE);
    assert_false(is_mapped(0x2000)); /* promised; cleared when it is touched */
    assert_int_equal(unpromised(), before);

    assert_int_equal(guest_memory_fault(&memory, 0x2000000), 0);
    assert_int_equal(lock(0x2000, 0), BALLOON_DONE); /* splits it */
    assert_int_equal(unlock(0x2000, 0), BALLOON_DONE);
    assert_int_equal(memory.p2m.present, BLOCK);
    assert_int_equal(lock(0x2000, 9), BALLOON_DONE); /* 512 small ones, and their table */
    assert_int_equal(memory.p2m.present, 0);
    assert_int_equal(memory.retired.frames, 0);
    assert_int_equal(unlock(0x2000, 9), BALLOON_DONE);
    assert_int_equal(guest_memory_fault(&memory, 0x2000000), 0);
    assert_int_equal(memory.p2m.present, BLOCK); /* large again */
    destroy();
}

/* An empty table stands where a large page comes: it goes only when no CPU can walk it any more. */
static void test_an_empty_table_is_retired(void **state)
{
    hpa_t table;

    (void)state;
    assert_int_equal(create(64 * MIB, 0, SIZE_2M), 0);
    target(32);
    assert_int_equal(guest_memory_give(&memory, 0x2000000, PAGE_SIZE), 0);
    for (gfn_t gfn = 0x2000; gfn < 0x2200; gfn++)
        assert_int_equal(lock(gfn, 0), BALLOON_DONE);
    assert_int_equal(unlock(0x2000, 9), BALLOON_DONE);
    finished = 0;
    assert_int_equal(guest_memory_fault(&memory, 0x2000000), 0);
    assert_int_equal(memory.p2m.present, BLOCK);
    assert_int_equal(memory.retired.frames, 1);
    table = memory.retired.first;
    assert_true(table != 0);
    guest_memory_settle(&memory);
    assert_int_equal(finished, 1);
    assert_int_equal(memory.retired.frames, 0);
    destroy();
}

static void test_a_forgotten_flush_is_a_panic(void **state)
{
    (void)state;
    assert_int_equal(create(64 * MIB, 0, PAGE_SIZE), 0);
    target(32);
    assert_int_equal(guest_memory_fault(&memory, 0x2000000), 0);
    forgetful = true;
    EXPECT_PANIC(lock(0x2000, 0));
    forgetful = false;
    spinlock_release(&vm_lock);
    memory.leaving++;
    memory.balloon.moved = 0;
    /* The frame was lost on the way: give it back by hand. */
    memory.leaving--;
    flush_finish(NULL);
}

static void test_promises_follow_the_target(void **state)
{
    u64 before;

    (void)state;
    assert_int_equal(create(64 * MIB, 0, PAGE_SIZE), 0);
    before = unpromised();
    target(60); /* nothing is taken from the guest: it must give */
    assert_int_equal(unpromised(), before);
    assert_int_equal(balloon_wanted(&memory), 4 * FRAMES_M);
    for (gfn_t gfn = 0x2000; gfn < 0x2000 + 4 * FRAMES_M; gfn++)
        assert_int_equal(lock(gfn, 0), BALLOON_DONE);
    assert_int_equal(lock(0x3000, 0), BALLOON_NOT_NEEDED);
    assert_int_equal(unpromised() - before, 4 * FRAMES_M);
    assert_int_equal(guest_memory_due(&memory), memory.frames - 4 * FRAMES_M);
    target(62); /* promised at once, though the guest has not taken it back yet */
    assert_int_equal(guest_memory_due(&memory), memory.frames - 2 * FRAMES_M);
    for (gfn_t gfn = 0x2000; gfn < 0x2000 + 2 * FRAMES_M; gfn++)
        assert_int_equal(unlock(gfn, 0), BALLOON_DONE);
    assert_int_equal(guest_memory_due(&memory), memory.frames - 2 * FRAMES_M);
    assert_int_equal(unlock(0x2000 + 2 * FRAMES_M, 0), BALLOON_DONE); /* beyond the target: the host has it */
    assert_int_equal(guest_memory_due(&memory), memory.frames - 2 * FRAMES_M + 1);
    memory.balloon.limit = 5;
    assert_int_equal(balloon_wanted(&memory), 5);
    destroy();
}

/* 2 MiB pages may go a little below the target; the VM stays promised what it was. */
static void test_the_due_is_never_below_the_target(void **state)
{
    (void)state;
    assert_int_equal(create(64 * MIB, 0, SIZE_2M), 0);
    target(63);
    assert_int_equal(lock(0x2000, 9), BALLOON_DONE);
    assert_int_equal(lock(0x2200, 9), BALLOON_NOT_NEEDED);
    assert_int_equal(guest_memory_due(&memory), memory.balloon.target);
    fake_memory_make_short(0);
    assert_int_equal(unlock(0x2000, 9), BALLOON_BUSY);
    for (unsigned i = 0; i < 256; i++) /* what it has beyond its need */
        assert_int_equal(unlock(0x2000 + i, 0), BALLOON_DONE);
    assert_int_equal(unlock(0x2000 + 256, 0), BALLOON_BUSY);
    assert_int_equal(balloon_set_target(&memory, memory.frames), -ENOMEM);
    assert_int_equal(memory.balloon.target, guest_memory_frames_of(&memory, 63 * MIB));
    fake_memory_make_plenty();
    assert_int_equal(unlock(0x2000 + 256, 0), BALLOON_DONE);
    destroy();
}

static void test_more_than_is_promised(void **state)
{
    u64 promised;

    (void)state;
    assert_int_equal(create(64 * MIB, 16 * MIB, PAGE_SIZE), 0);
    promised = frame_promised(GUEST);
    assert_int_equal(promised, memory.frames - 48 * FRAMES_M);
    fake_memory_make_short(16); /* frames, and for tables */
    for (u64 i = 0; i < promised; i++)
        assert_int_equal(guest_memory_fault(&memory, (0x1000 + i) << PAGE_SHIFT), 0);
    assert_int_equal(guest_memory_fault(&memory, 0x3000000), 0); /* what nobody was promised */
    frame_await(1);
    assert_int_equal(guest_memory_fault(&memory, 0x3001000), -ENOMEM); /* others were first */
    assert_int_equal(lock(0x3002, 0), BALLOON_DONE);
    assert_int_equal(unlock(0x3002, 0), BALLOON_BUSY);
    frame_await(-1);
    assert_int_equal(unlock(0x3002, 0), BALLOON_DONE);
    for (gfn_t gfn = 0x3100; guest_memory_fault(&memory, gfn << PAGE_SHIFT) == 0;)
        gfn++;
    assert_int_equal(unpromised(), 0);
    assert_int_equal(frame_promised(GUEST), 0);
    assert_int_equal(lock(0x1000, 0), BALLOON_DONE); /* what the guest gives, it may use elsewhere */
    assert_int_equal(guest_memory_fault(&memory, 0x3f00000), 0);
    fake_memory_make_plenty();
    destroy();
}

static void test_a_touch_unlocks(void **state)
{
    (void)state;
    assert_int_equal(create(64 * MIB, 0, SIZE_2M), 0);
    target(32);
    assert_int_equal(lock(0x2000, 9), BALLOON_DONE);
    assert_int_equal(guest_memory_fault(&memory, 0x2003000), 0);
    assert_int_equal(memory.p2m.present, 1); /* and not its neighbours, which are locked */
    assert_int_equal(memory.balloon.locked, BLOCK - 1);
    assert_int_equal(unlock(0x2003, 0), BALLOON_UNLOCKED);
    assert_int_equal(unlock(0x2000, 9), BALLOON_UNLOCKED);
    assert_int_equal(guest_memory_write(&memory, 0x2005000, "x", 1), 0);
    assert_int_equal(memory.balloon.locked, BLOCK - 2);
    destroy();
}

static void test_all_come_back_at_once(void **state)
{
    (void)state;
    assert_int_equal(create(64 * MIB, 0, SIZE_2M), 0);
    target(32);
    assert_int_equal(lock(0x2000, 9), BALLOON_DONE);
    assert_int_equal(lock(0x3000, 0), BALLOON_DONE);
    spinlock_take(&vm_lock);
    balloon_forget(&memory);
    spinlock_release(&vm_lock);
    assert_int_equal(memory.balloon.locked, 0);
    assert_int_equal(lock(0x3000, 0), BALLOON_DONE);
    assert_int_equal(guest_memory_fault(&memory, 0x2003000), 0);
    destroy();
}

static void test_reset_shows_what_is_there(void **state)
{
    u64 all;

    (void)state;
    assert_int_equal(create(64 * MIB, 0, SIZE_2M), 0);
    all = memory.frames;
    target(32);
    for (gfn_t gfn = 0x1000; gfn < 0x3000; gfn += BLOCK)
        assert_int_equal(lock(gfn, 9), BALLOON_DONE);
    guest_memory_reset(&memory);
    assert_int_equal(memory.frames, all); /* the host had it */
    assert_int_equal(guest_memory_due(&memory), all);
    for (gfn_t gfn = 0x1000; gfn < 0x3000; gfn += BLOCK)
        assert_int_equal(lock(gfn, 9), BALLOON_DONE);
    fake_memory_make_short(1000);
    guest_memory_reset(&memory);
    assert_in_range(memory.frames, all - 32 * FRAMES_M + 900, all - 32 * FRAMES_M + 1000);
    assert_int_equal(guest_memory_due(&memory), memory.frames);
    assert_int_equal(balloon_wanted(&memory), memory.frames - memory.balloon.target);
    audit();
    fake_memory_make_plenty();
    fake_memory_make_short(0);
    guest_memory_reset(&memory);
    assert_in_range(memory.frames, all - 32 * FRAMES_M + 900,
                    all - 32 * FRAMES_M + 1000); /* it keeps its due */
    fake_memory_make_plenty();
    guest_memory_reset(&memory);
    assert_int_equal(memory.frames, all);
    destroy();
}

static void test_a_terabyte_of_which_little_is_promised(void **state)
{
    (void)state;
    assert_int_equal(create(1024 * SIZE_1G, 64 * MIB, SIZE_2M), 0);
    assert_in_range(frame_owned(SUPPORT) + frame_promised(SUPPORT), 1, 150);
    assert_int_equal(lock(BIT(20), 9), BALLOON_DONE);
    assert_int_equal(lock(BIT(28), 0), BALLOON_DONE);
    destroy();
}

/* ---- the plain model ---- */

#define FIRST 0x1000ull
#define COUNT (24 * FRAMES_M)
enum { NOT_GIVEN, GIVEN, LOCKED };
static u8 model[COUNT];
static u64 model_locked, model_target;

static u64 model_count(u64 at, unsigned order, u8 what)
{
    u64 count = 0;

    for (u64 i = 0; i < BIT(order); i++)
        count += model[at + i] == what;
    return count;
}

static void model_set(u64 at, unsigned order, u8 what)
{
    for (u64 i = 0; i < BIT(order); i++) {
        model_locked += (u64)(what == LOCKED) - (u64)(model[at + i] == LOCKED);
        model[at + i] = what;
    }
}

static void random_lock(u64 at, unsigned order)
{
    enum balloon_status expected = BALLOON_DONE;

    if (model_count(at, order, LOCKED))
        expected = BALLOON_LOCKED;
    else if (model_locked >= memory.frames - model_target)
        expected = BALLOON_NOT_NEEDED;
    assert_int_equal(lock(FIRST + at, order), expected);
    if (expected == BALLOON_DONE)
        model_set(at, order, LOCKED);
}

static void random_unlock(u64 at, unsigned order)
{
    bool all = model_count(at, order, LOCKED) == BIT(order);

    assert_int_equal(unlock(FIRST + at, order), all ? BALLOON_DONE : BALLOON_UNLOCKED);
    if (all)
        model_set(at, order, order ? NOT_GIVEN : GIVEN);
}

static void random_touch(u64 at)
{
    bool block = model_count(ALIGN_DOWN(at, 512), 9, NOT_GIVEN) == BLOCK;

    assert_int_equal(guest_memory_fault(&memory, (FIRST + at) << PAGE_SHIFT), 0);
    guest_memory_settle(&memory);
    if (block)
        model_set(ALIGN_DOWN(at, 512), 9, GIVEN);
    else
        model_set(at, 0, GIVEN);
}

static void random_step(void)
{
    u64 at = (u64)rand() % COUNT;
    unsigned order = rand() % 4 ? 0 : 9;

    if (order)
        at = ALIGN_DOWN(at, 512);
    switch (rand() % 8) {
    case 0:
    case 1:
    case 2: random_lock(at, order); break;
    case 3:
    case 4: random_unlock(at, order); break;
    case 5:
    case 6: random_touch(at); break;
    default:
        model_target = memory.frames - (u64)rand() % COUNT;
        assert_int_equal(balloon_set_target(&memory, model_target), 0);
    }
}

static void test_random_operations(void **state)
{
    (void)state;
    assert_int_equal(create(64 * MIB, 0, SIZE_2M), 0);
    memset(model, NOT_GIVEN, sizeof(model));
    model_locked = 0;
    model_target = memory.balloon.target;
    srand(1);
    for (unsigned i = 0; i < 1500; i++) {
        u64 due = guest_memory_due(&memory), usable;

        random_step();
        usable = memory.frames - model_locked;
        due = guest_memory_due(&memory);
        assert_int_equal(memory.balloon.locked, model_locked);
        assert_true(due >= model_target && due <= MAX(memory.frames, model_target) && due >= usable);
        assert_true(due <= MAX(usable, model_target));
        if (i % 64 == 0)
            for (u64 k = 0; k < COUNT; k++) {
                assert_int_equal(p2m_lookup_slow(&memory.p2m, FIRST + k) != P2M_INVALID, model[k] == GIVEN);
                assert_int_equal(locked_set_count(&memory.balloon.set, FIRST + k, 0), model[k] == LOCKED);
            }
    }
    audit();
    destroy();
}

static void test_down_and_up_a_hundred_times(void **state)
{
    u64 before;

    (void)state;
    assert_int_equal(create(64 * MIB, 0, SIZE_2M), 0);
    before = unpromised();
    for (unsigned turn = 0; turn < 100; turn++) {
        unsigned order = turn % 2 ? 9 : 0;

        target(62);
        for (gfn_t gfn = 0x2000; gfn < 0x2200; gfn += BIT(order))
            assert_int_equal(lock(gfn, order), BALLOON_DONE);
        assert_int_equal(unpromised() - before, 2 * FRAMES_M);
        target(64);
        for (gfn_t gfn = 0x2000; gfn < 0x2200; gfn += BIT(order))
            assert_int_equal(unlock(gfn, order), BALLOON_DONE);
        assert_int_equal(before, unpromised());
    }
    destroy();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_page_goes_and_comes_back_zeroed),
        cmocka_unit_test(test_a_page_never_given_is_a_promise_less),
        cmocka_unit_test(test_each_status_has_its_situation),
        cmocka_unit_test(test_pins_are_counted),
        cmocka_unit_test(test_large_pages_go_whole_or_in_pieces),
        cmocka_unit_test(test_an_empty_table_is_retired),
        cmocka_unit_test(test_promises_follow_the_target),
        cmocka_unit_test(test_the_due_is_never_below_the_target),
        cmocka_unit_test(test_more_than_is_promised),
        cmocka_unit_test(test_a_touch_unlocks),
        cmocka_unit_test(test_all_come_back_at_once),
        cmocka_unit_test(test_reset_shows_what_is_there),
        cmocka_unit_test(test_a_terabyte_of_which_little_is_promised),
        cmocka_unit_test(test_random_operations),
        cmocka_unit_test(test_down_and_up_a_hundred_times),
        cmocka_unit_test(test_a_forgotten_flush_is_a_panic),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
