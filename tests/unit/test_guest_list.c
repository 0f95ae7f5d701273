/* SPDX-License-Identifier: MIT */
/*
 * A guest's own view of its p2m list, read as the CPU would read it: through the nested tables, with a TLB
 * that forgets when it is told to. Each entry is what the p2m says, whatever comes and goes, and every
 * change of pages is proved by the audit.
 */
// sources: tests/unit/fake_memory.c hv/memory/frame.c hv/memory/p2m.c hv/memory/p2m_pages.c
// sources: hv/memory/guest_map.c hv/memory/guest_memory.c hv/memory/guest_list.c hv/memory/guest_window.c
// sources: hv/memory/balloon.c hv/memory/locked_set.c hv/memory/guest_take.c hv/memory/memory.c
// sources: hv/memory/memory_audit.c hv/lib/printf.c arch/x86/machine/nested_paging.c
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "arch/x86/machine/cpu.h"
#include "hv/lib/errno.h"
#include "hv/memory/memory_audit.h"
#include "hv/memory/p2m_pages.h"
#include "tests/unit/fake_memory.h"

#define MIB   0x100000ull
#define LIST  0xd0000000ull
#define BYTES (5 * SIZE_1G / PAGE_SIZE * 8) /* of a guest with RAM up to 5 GiB */

struct cpu_features cpu_features = {.physical_bits = 40};

static struct spinlock vm_lock = SPINLOCK_INIT(RANK_VM);
static struct guest_memory memory;
static unsigned flushes;
static bool forgetful, list_shared = true;
static char why[160];

/* What one vCPU remembers of the list's pages. */
static hpa_t tlb[BYTES / PAGE_SIZE];

static void flush(void *context)
{
    assert_ptr_equal(context, &memory);
    flushes++;
    memset(tlb, 0, forgetful ? 0 : sizeof(tlb));
    flush_debt_ask(&memory.flush_debt, 0);
}

/* The boot CPU's word that every CPU was outside: a vCPU has flushed by then, if it was asked to. */
static void windows_flush(void)
{
    p2m_windows_forget();
    flush_debt_enter(&memory.flush_debt, 0, &vm_lock, &(u32){1}, 1);
    flush_debt_settle(&memory.flush_debt, 0);
}

static void create(u64 bytes)
{
    static bool ready;

    fake_memory_begin();
    if (!ready)
        assert_int_equal(p2m_global_init(), 0);
    ready = true;
    forgetful = false;
    flushes = 0;
    memset(tlb, 0, sizeof(tlb));
    p2m_set_flush_hook(windows_flush);
    memory = (struct guest_memory){.vm = 1,
                                   .page_limit = PAGE_SIZE,
                                   .lock = &vm_lock,
                                   .flush = flush,
                                   .flush_context = &memory,
                                   .list_shared = list_shared};
    memory.nested.format = &nested_format_amd;
    assert_int_equal(guest_memory_create(&memory, bytes), 0);
}

static void prove(void)
{
    if (guest_memory_audit(&memory, why, sizeof(why)))
        fail_msg("%s", why);
}

static void destroy(void)
{
    prove();
    guest_memory_destroy(&memory);
    assert_int_equal(memory.list.bytes, 0);
    assert_int_equal(frame_owned(frame_owner_guest(1)) + frame_owned(frame_owner_support(1)), 0);
    p2m_set_flush_hook(p2m_windows_forget);
}

/* The guest's load: by the TLB, by the nested tables, or by a fault and then again. */
static u64 entry_seen(gpa_t at, gfn_t gfn)
{
    hpa_t *known = &tlb[gfn / P2M_ENTRIES];
    u64 size, access;

    if (*known == 0) {
        if (nested_lookup(&memory.nested, at + gfn * 8, known, &size, &access))
            assert_int_equal(guest_memory_list_fault(&memory, at + gfn * 8), 0);
        assert_int_equal(nested_lookup(&memory.nested, at + gfn * 8, known, &size, &access), 0);
        assert_int_equal(size, PAGE_SIZE);
        assert_int_equal(access, NESTED_READ);
        *known &= PAGE_MASK;
        flush_debt_enter(&memory.flush_debt, 0, &vm_lock, &(u32){1}, 1);
    }
    return ((const u64 *)phys_to_virt(*known))[gfn % P2M_ENTRIES];
}

static void assert_seen(gpa_t at, gfn_t gfn)
{
    u64 seen = entry_seen(at, gfn), kept = p2m_lookup_slow(&memory.p2m, gfn);

    if (seen == P2M_INVALID && (kept & P2M_IDENTITY))
        return; /* holes and identity ranges share pages that read alike */
    assert_int_equal(seen, kept);
    assert_int_equal(guest_memory_list_read(&memory, at + gfn * 8, 8), seen);
    assert_int_equal(guest_memory_list_read(&memory, at + gfn * 8 + 1, 2), seen >> 8 & 0xffff);
}

static void test_places(void **state)
{
    static const struct {
        gpa_t at;
        int status;
    } rows[] = {
        {LIST + 8, -EINVAL},
        {BIT(40), -EINVAL},
        {BIT(40) - BYTES + PAGE_SIZE, -EINVAL},
        {~0ull << PAGE_SHIFT, -EINVAL},
        {0, -EBUSY},
        {0xa0000, -EBUSY},
        {0xc0000000 - PAGE_SIZE, -EBUSY},
        {SIZE_4G - BYTES + PAGE_SIZE, -EBUSY},
        {SIZE_4G - BYTES, 0},
        {0xc0000000, 0},
        {5 * SIZE_1G, 0},
        {5 * SIZE_1G + 7 * PAGE_SIZE, 0},
        {BIT(40) - BYTES, 0},
    };

    (void)state;
    create(4 * SIZE_1G);
    assert_int_equal(guest_memory_list_bytes(&memory), BYTES);
    for (unsigned i = 0; i < ARRAY_SIZE(rows); i++) {
        assert_int_equal(guest_memory_show_list(&memory, rows[i].at), rows[i].status);
        if (rows[i].status)
            continue;
        assert_int_equal(guest_memory_show_list(&memory, rows[i].at), -EALREADY);
        memset(tlb, 0, sizeof(tlb));
        assert_seen(rows[i].at, 0);
        assert_seen(rows[i].at, BYTES / 8 - 1);
        assert_false(guest_memory_in_list(&memory, rows[i].at - 1));
        assert_false(guest_memory_in_list(&memory, rows[i].at + BYTES));
        prove();
        assert_int_equal(guest_memory_hide_list(&memory), 0);
        assert_int_equal(guest_memory_hide_list(&memory), -ENOENT);
        assert_false(guest_memory_in_list(&memory, rows[i].at));
        prove();
    }
    cpu_features.physical_bits = 52; /* of which guests are shown 48 */
    assert_int_equal(guest_memory_show_list(&memory, BIT(48) - BYTES + PAGE_SIZE), -EINVAL);
    assert_int_equal(guest_memory_show_list(&memory, BIT(48) - BYTES), 0);
    assert_seen(BIT(48) - BYTES, BYTES / 8 - 1);
    cpu_features.physical_bits = 40;
    destroy();
}

static void test_rounding(void **state)
{
    (void)state;
    create(65 * MIB + PAGE_SIZE);
    assert_int_equal(guest_memory_list_bytes(&memory), 33 * PAGE_SIZE);
    destroy();
}

static bool wanted(const void *context)
{
    (void)context;
    return true;
}

/* A window of lintel's is there: the list does not come, and the other way round. */
static void test_neighbours(void **state)
{
    mfn_t page;

    (void)state;
    create(64 * MIB);
    page = frame_alloc(0, frame_owner_support(1));
    assert_int_equal(
        guest_memory_show_window(&memory, LIST + PAGE_SIZE, phys_to_virt(page << PAGE_SHIFT), wanted, NULL),
        0);
    assert_int_equal(guest_memory_show_list(&memory, LIST), -EBUSY);
    assert_int_equal(guest_memory_show_list(&memory, LIST + 2 * PAGE_SIZE), 0);
    guest_memory_hide_window(&memory, LIST + PAGE_SIZE);
    assert_int_equal(guest_memory_show_window(&memory, LIST + 3 * PAGE_SIZE, phys_to_virt(page << PAGE_SHIFT),
                                              wanted, NULL),
                     -EAGAIN);
    prove();
    frame_free(page, 0, frame_owner_support(1));
    destroy();
}

/* Leaves that appear and disappear are followed, each by one flush and only where a page was seen. */
static void test_leaves_are_followed(void **state)
{
    (void)state;
    create(64 * MIB);
    assert_int_equal(guest_memory_show_list(&memory, LIST), 0);
    assert_seen(LIST, 0x1000);
    assert_int_equal(guest_memory_fault(&memory, 0x1000000), 0);
    assert_int_equal(flushes, 1);
    assert_seen(LIST, 0x1000);
    assert_true(p2m_is_frame(entry_seen(LIST, 0x1000)));
    assert_int_equal(guest_memory_fault(&memory, 0x1001000), 0); /* in the same leaf */
    assert_int_equal(guest_memory_fault(&memory, 0x2000000), 0); /* not seen yet */
    assert_int_equal(flushes, 1);
    assert_seen(LIST, 0x1001);
    assert_seen(LIST, 0x2000);
    prove();
    /* The frames of one leaf go, as a balloon takes them, and the leaf when it is looked for. */
    for (gfn_t gfn = 0x1000; gfn < 0x1002; gfn++) {
        mfn_t mfn = p2m_lookup_slow(&memory.p2m, gfn);

        assert_int_equal(nested_unmap(&memory.nested, gfn << PAGE_SHIFT), 0);
        p2m_remove_range(&memory.p2m, gfn, 1);
        flush(&memory);
        frame_free_promised(mfn, 0, frame_owner_guest(1));
        assert_seen(LIST, gfn);
    }
    flushes = 0;
    p2m_collect(&memory.p2m, &vm_lock);
    assert_int_equal(flushes, 1);
    prove();
    assert_seen(LIST, 0x1000);
    assert_seen(LIST, 0x2000);
    assert_int_equal(guest_memory_fault(&memory, 0x1000000), 0);
    assert_seen(LIST, 0x1000);
    destroy();
}

/* Whole directories that change at once, and one leaf of them that becomes private. */
static void test_identity(void **state)
{
    const gfn_t start = 0x40000 + 3, end = 0xa0000 + 5; /* behind the machine's RAM */

    (void)state;
    create(64 * MIB);
    memory.regions[memory.region_count++] = (struct guest_region){4 * SIZE_1G, 5 * SIZE_1G, REGION_RAM};
    memory.frames += SIZE_1G / PAGE_SIZE;
    assert_int_equal(guest_memory_show_list(&memory, LIST), 0);
    for (gfn_t gfn = start - 600; gfn < end + 600; gfn += 511)
        assert_seen(LIST, gfn);
    assert_int_equal(p2m_set_identity(&memory.p2m, start, end - start), 0);
    assert_true(flushes > 0);
    for (gfn_t gfn = start - 600; gfn < end + 600; gfn += 511)
        assert_seen(LIST, gfn);
    assert_seen(LIST, start);
    assert_int_equal(entry_seen(LIST, start), start | P2M_IDENTITY);
    assert_int_equal(p2m_set(&memory.p2m, 0x60001, P2M_INVALID), 0);
    assert_int_equal(entry_seen(LIST, 0x60002), 0x60002 | P2M_IDENTITY);
    assert_seen(LIST, 0x60001);
    destroy();
}

static void test_reset_and_end(void **state)
{
    (void)state;
    create(64 * MIB);
    assert_int_equal(guest_memory_show_list(&memory, LIST), 0);
    assert_int_equal(guest_memory_fault(&memory, 0x1000000), 0);
    assert_seen(LIST, 0x1000);
    guest_memory_reset(&memory);
    assert_false(guest_memory_in_list(&memory, LIST));
    assert_int_equal(guest_memory_hide_list(&memory), -ENOENT);
    assert_int_equal(guest_memory_list_read(&memory, LIST, 8), ~0ull);
    assert_int_equal(guest_memory_list_fault(&memory, LIST),
                     0); /* another vCPU was faster; nothing is shown */
    assert_int_equal(guest_memory_show_list(&memory, 5 * SIZE_1G), 0);
    assert_seen(5 * SIZE_1G, 0x1000);
    destroy();
}

/* The promise covers tables for a list that is seen as a whole, however it lies, and all of RAM beside it. */
static void test_tables_are_promised(void **state)
{
    u64 promised;

    (void)state;
    create(3 * SIZE_1G);
    promised = frame_promised(frame_owner_support(1));
    destroy();
    list_shared = false;
    create(3 * SIZE_1G);
    assert_int_equal(promised - frame_promised(frame_owner_support(1)), 3 + 6);
    destroy();
    list_shared = true;
    create(300 * MIB);
    fake_memory_make_short(0);
    assert_int_equal(guest_memory_show_list(&memory, 512 * SIZE_1G - PAGE_SIZE), 0);
    for (gpa_t gpa = 0; gpa < 300 * MIB; gpa += PAGE_SIZE)
        if (guest_memory_is_ram(&memory, gpa))
            assert_int_equal(guest_memory_fault(&memory, gpa), 0);
    for (gfn_t gfn = 0; gfn < guest_memory_list_bytes(&memory) / 8; gfn += 100)
        assert_seen(512 * SIZE_1G - PAGE_SIZE, gfn);
    fake_memory_make_plenty();
    destroy();
}

/* The audit knows the list's pages, and nothing but the right one, read-only, is right there. */
static void test_audit(void **state)
{
    hpa_t other;

    (void)state;
    create(64 * MIB);
    assert_int_equal(guest_memory_show_list(&memory, LIST), 0);
    assert_int_equal(guest_memory_fault(&memory, 0x1000000), 0);
    assert_seen(LIST, 0x1000);
    assert_seen(LIST, 0);
    other = p2m_leaf(&memory.p2m, 0x3000);
    nested_unmap(&memory.nested, LIST + 0x8000);
    nested_map(&memory.nested, LIST + 0x8000, other, PAGE_SIZE, NESTED_READ);
    assert_int_equal(guest_memory_audit(&memory, why, sizeof(why)), -EINVAL);
    assert_non_null(strstr(why, "gpa 0xd0008000, where the guest sees its list"));
    nested_unmap(&memory.nested, LIST + 0x8000);
    nested_map(&memory.nested, LIST + 0x8000, p2m_leaf(&memory.p2m, 0x1000), PAGE_SIZE,
               NESTED_READ | NESTED_WRITE);
    assert_int_equal(guest_memory_audit(&memory, why, sizeof(why)), -EINVAL);
    nested_unmap(&memory.nested, LIST + 0x8000);
    nested_map(&memory.nested, LIST + 0x8000, p2m_leaf(&memory.p2m, 0x1000), PAGE_SIZE,
               NESTED_READ | NESTED_EXECUTE);
    assert_int_equal(guest_memory_audit(&memory, why, sizeof(why)), -EINVAL);
    nested_unmap(&memory.nested, LIST + 0x8000);
    prove();
    destroy();
}

/* A leaf that is nobody's of lintel's is never shown. */
static void test_foreign_page_is_a_panic(void **state)
{
    mfn_t foreign;
    u64 *slot, entry;

    (void)state;
    create(64 * MIB);
    assert_int_equal(guest_memory_fault(&memory, 0x1000000), 0);
    assert_int_equal(guest_memory_show_list(&memory, LIST), 0);
    foreign = frame_alloc(0, frame_owner_guest(1));
    slot = p2m_slot(p2m_page_make(&memory.p2m, 0x1000, 1), 0x1000, 1);
    entry = *slot;
    *slot = (entry & ~PTE_ADDRESS) | foreign << PAGE_SHIFT;
    EXPECT_PANIC(guest_memory_list_fault(&memory, LIST + 0x8000));
    spinlock_release(&vm_lock);
    *slot = entry;
    frame_free(foreign, 0, frame_owner_guest(1));
    destroy();
}

/* The flush behind a page that went is forgotten: the vCPU that enters next owes it. The last test. */
static void test_forgotten_flush(void **state)
{
    (void)state;
    create(64 * MIB);
    assert_int_equal(guest_memory_show_list(&memory, LIST), 0);
    assert_seen(LIST, 0x1000);
    memory.flush = NULL;
    assert_int_equal(guest_memory_fault(&memory, 0x1000000), 0);
    EXPECT_PANIC(flush_debt_enter(&memory.flush_debt, 0, &vm_lock, &(u32){0}, 1));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_places),
        cmocka_unit_test(test_rounding),
        cmocka_unit_test(test_neighbours),
        cmocka_unit_test(test_leaves_are_followed),
        cmocka_unit_test(test_identity),
        cmocka_unit_test(test_reset_and_end),
        cmocka_unit_test(test_tables_are_promised),
        cmocka_unit_test(test_audit),
        cmocka_unit_test(test_foreign_page_is_a_panic),
        cmocka_unit_test(test_forgotten_flush),
    };

    return cmocka_run_group_tests_name("guest_list", tests, NULL, NULL);
}
