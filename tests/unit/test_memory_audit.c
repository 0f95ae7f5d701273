/* SPDX-License-Identifier: MIT */
/*
 * The audit of a guest's memory finds each kind of difference, and the account of TLB flushes finds the flush
 * that was forgotten: both are planted here.
 */
// sources: tests/unit/fake_memory.c hv/memory/frame.c hv/memory/p2m.c hv/memory/p2m_pages.c
// sources: hv/memory/guest_map.c hv/memory/guest_list.c hv/memory/guest_memory.c
// sources: hv/memory/memory_audit.c hv/lib/printf.c
// sources: hv/memory/balloon.c hv/memory/locked_set.c hv/memory/guest_take.c hv/memory/memory.c
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
#include "hv/memory/memory_audit.h"
#include "hv/memory/p2m_pages.h"
#include "tests/unit/fake_memory.h"

#define MIB   0x100000ull
#define FLUSH 1u

struct cpu_features cpu_features = {.physical_bits = 40};

static struct spinlock vm_lock = SPINLOCK_INIT(RANK_VM);
static struct guest_memory memory;
static u32 requests[2];
static bool forgetful;
static char why[160];

/* What hv/run/vm.c does. */
static void flush(void *context)
{
    (void)context;
    for (u32 i = 0; i < ARRAY_SIZE(requests) && !forgetful; i++) {
        requests[i] |= FLUSH;
        flush_debt_ask(&memory.flush_debt, i);
    }
}

static void enter(u32 vcpu)
{
    flush_debt_enter(&memory.flush_debt, vcpu, &vm_lock, &requests[vcpu], FLUSH);
}

/* The door into the guest: hv/run/exit.c. */
static void flush_and_enter(u32 vcpu)
{
    requests[vcpu] &= ~FLUSH;
    flush_debt_settle(&memory.flush_debt, vcpu);
    enter(vcpu);
}

static void create(void)
{
    static bool ready;

    fake_memory_begin();
    if (!ready)
        assert_int_equal(p2m_global_init(), 0);
    ready = true;
    forgetful = false;
    memset(requests, 0, sizeof(requests));
    memory = (struct guest_memory){.vm = 1, .page_limit = SIZE_2M, .lock = &vm_lock, .flush = flush};
    memory.nested.format = &nested_format_amd;
    assert_int_equal(guest_memory_create(&memory, 64 * MIB), 0);
    for (gpa_t gpa = 0; gpa < 8 * MIB; gpa += MIB / 2 + PAGE_SIZE)
        assert_in_range(guest_memory_fault(&memory, gpa) + 100, 100 - ENXIO, 100);
    assert_int_equal(guest_memory_audit(&memory, why, sizeof(why)), 0);
}

static void destroy(void)
{
    assert_int_equal(guest_memory_audit(&memory, why, sizeof(why)), 0);
    guest_memory_destroy(&memory);
    assert_int_equal(frame_owned(frame_owner_guest(1)) + frame_owned(frame_owner_support(1)), 0);
}

/* The audit says no, and the sentence holds this. */
static void assert_found(const char *words)
{
    assert_int_equal(guest_memory_audit(&memory, why, sizeof(why)), -EINVAL);
    assert_non_null(strstr(why, words));
    EXPECT_PANIC(guest_memory_prove(&memory));
    assert_false(spinlock_held(&vm_lock));
}

static void test_frames(void **state)
{
    u64 *slot, entry;
    mfn_t other;

    (void)state;
    create();
    slot = p2m_slot(p2m_page_make(&memory.p2m, 0, 0), 0, 0);
    entry = *slot;
    *slot = *p2m_slot(p2m_page_make(&memory.p2m, 0x400, 0), 0x400, 0);
    assert_found("stands in the list twice");
    other = frame_alloc(0, FRAME_OWNER_MODULE);
    *slot = other;
    assert_found("which owner 3 has");
    frame_free(other, 0, FRAME_OWNER_MODULE);
    *slot = P2M_INVALID;
    assert_found("counts");
    memory.p2m.present--;
    assert_found("but the VM owns");
    memory.p2m.present++;
    *slot = entry;
    assert_int_equal(p2m_add(&memory.p2m, 0xb0, frame_alloc(0, frame_owner_guest(1))), 0);
    assert_found("where the memory map has no RAM");
    frame_free(p2m_lookup(&memory.p2m, 0xb0), 0, frame_owner_guest(1));
    p2m_remove_range(&memory.p2m, 0xb0, 1);
    destroy();
}

static void test_nested(void **state)
{
    mfn_t mfn, window;

    (void)state;
    create();
    mfn = p2m_lookup(&memory.p2m, 0);
    nested_unmap(&memory.nested, 0);
    assert_int_equal(guest_memory_audit(&memory, why, sizeof(why)), 0); /* nested tables may lack entries */
    nested_map(&memory.nested, 0, (mfn + 1) << PAGE_SHIFT, PAGE_SIZE, NESTED_READ);
    assert_found("gpa 0 is mapped to");
    nested_unmap(&memory.nested, 0);
    nested_map(&memory.nested, 60 * MIB, mfn << PAGE_SHIFT, PAGE_SIZE, NESTED_READ);
    assert_found("but the list has 0xffffffffffffffff");
    nested_unmap(&memory.nested, 60 * MIB);
    /* A page of lintel's is no guest frame: it may stand where no RAM is, and nowhere else. */
    window = frame_alloc(0, frame_owner_support(1));
    nested_map(&memory.nested, 0xfee00000, window << PAGE_SHIFT, PAGE_SIZE, NESTED_READ);
    assert_int_equal(guest_memory_audit(&memory, why, sizeof(why)), 0);
    nested_map(&memory.nested, 60 * MIB, window << PAGE_SHIFT, PAGE_SIZE, NESTED_READ);
    assert_found("gpa 0x3c00000 is mapped to");
    nested_unmap(&memory.nested, 60 * MIB);
    nested_unmap(&memory.nested, 0xfee00000);
    frame_free(window, 0, frame_owner_support(1));
    destroy();
}

static void test_identity_and_tree(void **state)
{
    u64 *twin;

    (void)state;
    create();
    twin = p2m_slot(memory.p2m.tree, 0, 3);
    assert_int_equal(p2m_set_identity(&memory.p2m, 0xfed00, 3), 0); /* no RAM of this machine */
    assert_int_equal(guest_memory_audit(&memory, why, sizeof(why)), 0);
    ++*twin;
    assert_found("the tree");
    --*twin;
    memory.p2m.info->generation++;
    assert_found("the tree");
    memory.p2m.info->generation++;
    assert_int_equal(p2m_set_identity(&memory.p2m, 0x100ff0, 0x20), 0); /* all of it RAM */
    assert_found("of an identity range is RAM");
    for (gfn_t gfn = 0x100ff0; gfn < 0x101010; gfn++)
        assert_int_equal(p2m_set(&memory.p2m, gfn, P2M_INVALID), 0);
    destroy();
}

/* A debug build proves all that a small guest has, of a large one at least the 2 MiB that were touched. */
static void test_every_operation_proves_its_part(void **state)
{
    u64 *slot, entry, *twin;
    mfn_t foreign;

    (void)state;
    create();
    memory.page_limit = PAGE_SIZE;
    assert_int_equal(guest_memory_fault(&memory, 32 * MIB), 0);
    slot = p2m_slot(p2m_leaf(&memory.p2m, 0x2000), 0x2000, 0);
    entry = *slot;
    foreign = frame_alloc(0, FRAME_OWNER_MODULE);
    *slot = foreign;
    EXPECT_PANIC(guest_memory_fault(&memory, 32 * MIB + PAGE_SIZE)); /* another owner's */
    spinlock_release(&vm_lock);
    *slot = entry;
    *p2m_slot(p2m_leaf(&memory.p2m, 0x2005), 0x2005, 0) = P2M_INVALID;
    nested_map(&memory.nested, 32 * MIB + 5 * PAGE_SIZE, entry << PAGE_SHIFT, PAGE_SIZE, NESTED_READ);
    EXPECT_PANIC(guest_memory_fault(&memory, 32 * MIB + 2 * PAGE_SIZE)); /* mapped, and not in the list */
    spinlock_release(&vm_lock);
    nested_unmap(&memory.nested, 32 * MIB + 5 * PAGE_SIZE);
    twin = p2m_slot(memory.p2m.tree, 0x2000, 3);
    ++*twin;
    EXPECT_PANIC(guest_memory_fault(&memory, 32 * MIB + 3 * PAGE_SIZE)); /* the tree */
    spinlock_release(&vm_lock);
    --*twin;
    memory.p2m.present++;
    EXPECT_PANIC(guest_memory_fault(&memory, 0)); /* counters, wherever */
    spinlock_release(&vm_lock);
    memory.p2m.present--;
    *slot = foreign;
    EXPECT_PANIC(guest_memory_fault(&memory, 40 * MIB)); /* far from there, as the guest has not much */
    spinlock_release(&vm_lock);
    *slot = entry;
    frame_free(foreign, 0, FRAME_OWNER_MODULE);
    destroy();
}

/* All is well as long as the flush follows. */
static void test_flush_in_time(void **state)
{
    (void)state;
    create();
    enter(0);
    enter(1);
    guest_memory_reset(&memory);
    assert_int_equal(requests[0] & requests[1], FLUSH);
    enter(0); /* goes by the door first: the request is still there */
    flush_and_enter(0);
    flush_and_enter(1);
    assert_int_equal(guest_memory_fault(&memory, MIB), 0);
    destroy();
}

/* The last test, as the panic leaves the memory half taken down. */
static void test_forgotten_flush_before_a_new_owner(void **state)
{
    (void)state;
    create();
    enter(0);
    forgetful = true;
    EXPECT_PANIC(guest_memory_reset(&memory));
}

static void test_forgotten_flush_before_an_entry(void **state)
{
    (void)state;
    create();
    enter(0);
    enter(1);
    assert_int_equal(nested_unmap(&memory.nested, 0), 0);
    EXPECT_PANIC(enter(0)); /* nobody asked for the flush */
    flush(NULL);
    requests[1] = 0; /* asked, and lost */
    flush_and_enter(0);
    EXPECT_PANIC(enter(1));
    flush_and_enter(1);
    /* One that never entered, or is gone, owes nothing. */
    flush_debt_settle(&memory.flush_debt, 1);
    assert_int_equal(nested_unmap(&memory.nested, 0x81000), 0);
    enter(1);
    flush(NULL);
    destroy();
}

/* Two CPUs take frames out of a running guest: each waits for its own flush, not for the other's. */
static void test_debts_are_numbered(void **state)
{
    struct flush_debt *debt = &memory.flush_debt;
    u32 mine, others;

    (void)state;
    create();
    enter(0);
    assert_int_equal(nested_unmap(&memory.nested, 0), 0);
    mine = flush_debt_now(debt);
    EXPECT_PANIC(flush_debt_check_since(debt, mine));
    assert_int_equal(nested_unmap(&memory.nested, 0x81000), 0);
    others = flush_debt_now(debt);
    flush_debt_finish(debt, mine);
    flush_debt_check_since(debt, mine);
    EXPECT_PANIC(flush_debt_check_since(debt, others));
    EXPECT_PANIC(flush_debt_check(debt));
    flush_debt_finish(debt, others);
    flush_debt_finish(debt, mine); /* it was the slower one */
    flush_debt_check(debt);
    flush(NULL);
    flush_and_enter(0);
    destroy();
}

/* Another CPU is in the middle of a change: it has the lock, and will ask. */
static void test_entry_beside_a_change(void **state)
{
    (void)state;
    create();
    enter(0);
    spinlock_take(&vm_lock);
    assert_int_equal(nested_unmap(&memory.nested, 0), 0);
    enter(0);
    flush(NULL);
    spinlock_release(&vm_lock);
    flush_and_enter(0);
    destroy();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_frames),
        cmocka_unit_test(test_nested),
        cmocka_unit_test(test_identity_and_tree),
        cmocka_unit_test(test_every_operation_proves_its_part),
        cmocka_unit_test(test_flush_in_time),
        cmocka_unit_test(test_forgotten_flush_before_an_entry),
        cmocka_unit_test(test_entry_beside_a_change),
        cmocka_unit_test(test_debts_are_numbered),
        cmocka_unit_test(test_forgotten_flush_before_a_new_owner),
    };

    return cmocka_run_group_tests_name("memory_audit", tests, NULL, NULL);
}
