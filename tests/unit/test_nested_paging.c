/* SPDX-License-Identifier: MIT */
/*
 * Nested tables on a memory that watches: after every store that a page walker could see, a walk of our own
 * over the tables finds for each probed page what was mapped before the change or what is mapped after it,
 * and nothing else. A flat array says what that is.
 */
// sources: tests/unit/fake_memory.c hv/memory/frame.c
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
#define __atomic_store_n(slot, value, order) store_recorded(slot, value)
#include "arch/x86/machine/nested_paging.c"
#undef __atomic_store_n

#define UNIVERSE (2 * SIZE_1G) /* of guest memory, at BASE */
#define BASE     (3 * SIZE_1G)
#define PAGES    (UNIVERSE / PAGE_SIZE)
#define POOL     4096u
#define NONE     (~0ull)

/* As Intel's format will be: present is any of three bits, the right to execute a bit of its own. */
static const struct nested_format format_ept = {.table = 7,
                                                .read = BIT(0) | 6 << 3,
                                                .write = BIT(1),
                                                .execute = BIT(2),
                                                .large = BIT(7),
                                                .present = 7,
                                                .levels = 4};

static struct nested_table table;
static u64 model[PAGES], before[PAGES]; /* hpa | access, or NONE */
static bool in_use[POOL];
static u32 budget;
static u32 stores, flushes, in_use_count;
static u64 *last_slot;
static bool replacing_needs_flush;
static u8 *snapshot;
static u64 probes[64];
static u32 probe_count;

static hpa_t pool_alloc(void *context)
{
    (void)context;
    if (budget == 0)
        return 0;
    for (u32 i = 1; i < POOL; i++) {
        if (in_use[i])
            continue;
        in_use[i] = true;
        in_use_count++;
        budget--;
        memset(phys_to_virt(i * PAGE_SIZE), 0, PAGE_SIZE);
        return i * PAGE_SIZE;
    }
    return 0;
}

static void pool_free(void *context, hpa_t page)
{
    (void)context;
    assert_true(in_use[page >> PAGE_SHIFT]);
    /* A page that walkers could reach goes only after a flush. */
    if (replacing_needs_flush && stores > 0)
        assert_true(flushes > 0);
    in_use[page >> PAGE_SHIFT] = false;
    in_use_count--;
    memset(phys_to_virt(page), 0xee, PAGE_SIZE); /* whoever still walks there is found out */
}

static void flush(void *context)
{
    (void)context;
    flushes++;
}

/* The walk as the CPU does it. */
static u64 walk(gpa_t gpa)
{
    hpa_t page = table.root;

    for (int shift = 39; shift >= 12; shift -= 9) {
        u64 entry = ((u64 *)phys_to_virt(page))[(gpa >> shift) & 511];
        u64 access = NESTED_READ;

        if (!(entry & table.format->present))
            return NONE;
        assert_true(in_use[page >> PAGE_SHIFT]);
        if (shift > 12 && !(entry & table.format->large)) {
            assert_int_equal(entry & ~PTE_ADDRESS, table.format->table);
            page = entry & PTE_ADDRESS;
            continue;
        }
        assert_int_equal(entry & table.format->read, table.format->read);
        assert_int_equal(!!(entry & table.format->large), shift > 12); /* at 4 KiB the bit is the PAT's */
        access |= entry & table.format->write & (PTE_WRITE | BIT(1)) ? NESTED_WRITE : 0;
        if (table.format->execute ? (entry & table.format->execute) : !(entry & table.format->no_execute))
            access |= NESTED_EXECUTE;
        return (entry & PTE_ADDRESS & ~(BIT(shift) - 1)) | (gpa & (BIT(shift) - 1) & PAGE_MASK) | access;
    }
    return NONE;
}

static void probes_check(void)
{
    for (u32 i = 0; i < probe_count; i++) {
        u64 now = walk(BASE + probes[i] * PAGE_SIZE);

        assert_true(now == before[probes[i]] || now == model[probes[i]]);
    }
}

static void store_recorded(u64 *slot, u64 value)
{
    assert_true(IS_ALIGNED((u64)slot, 8));
    *(volatile u64 *)slot = value;
    stores++;
    last_slot = slot;
    probes_check();
}

static void start(const struct nested_format *format)
{
    fake_memory_reset();
    memset(in_use, 0, sizeof(in_use));
    in_use_count = 0;
    budget = POOL;
    for (u64 i = 0; i < PAGES; i++)
        model[i] = before[i] = NONE;
    table = (struct nested_table){
        .format = format, .pages_1g = true, .page_alloc = pool_alloc, .page_free = pool_free, .flush = flush};
    assert_int_equal(nested_table_init(&table), 0);
    snapshot = realloc(snapshot, POOL * PAGE_SIZE);
    assert_non_null(snapshot);
}

static void finish(void)
{
    probe_count = 0;
    nested_table_destroy(&table);
    assert_int_equal(in_use_count, 0);
    assert_int_equal(table.pages, 0);
    free(snapshot);
    snapshot = NULL;
}

static bool was_in_use[POOL];

static void op_begin(void)
{
    stores = flushes = 0;
    replacing_needs_flush = true;
    memcpy(was_in_use, in_use, sizeof(in_use));
    for (u32 i = 1; i < POOL; i++)
        if (in_use[i])
            memcpy(snapshot + i * PAGE_SIZE, phys_to_virt(i * PAGE_SIZE), PAGE_SIZE);
}

/* At most one word of the tables that were live has changed: the one that was stored. */
static void op_end(int status)
{
    replacing_needs_flush = false;
    assert_int_equal(stores, status == 0 ? 1 : 0);
    for (u32 i = 1; i < POOL; i++) {
        const u64 *old = (const u64 *)(snapshot + i * PAGE_SIZE), *new = phys_to_virt(i * PAGE_SIZE);

        if (!was_in_use[i] || !in_use[i])
            continue;
        for (u32 k = 0; k < 512; k++)
            if (old[k] != new[k])
                assert_ptr_equal(&new[k], last_slot);
    }
    assert_int_equal(table.pages, in_use_count);
}

static void probes_choose(u64 first, u64 count)
{
    probe_count = 0;
    for (u32 i = 0; i < 48; i++)
        probes[probe_count++] = (first + (u64)random() % count) % PAGES;
    for (u32 i = 0; i < 8; i++)
        probes[probe_count++] = (u64)random() % PAGES;
    probes[probe_count++] = first;
    probes[probe_count++] = first + count - 1;
    probes[probe_count++] = first > 0 ? first - 1 : 0;
    probes[probe_count++] = (first + count) % PAGES;
}

static int map_checked(u64 page, hpa_t hpa, u64 size, u64 access)
{
    u64 count = size / PAGE_SIZE;
    bool taken = false;
    int status;

    for (u64 i = 0; i < count; i++) {
        before[page + i] = model[page + i];
        taken |= model[page + i] != NONE;
    }
    for (u64 i = 0; !taken && i < count; i++)
        model[page + i] = (hpa + i * PAGE_SIZE) | access;
    probes_choose(page, count);
    op_begin();
    status = nested_map(&table, BASE + page * PAGE_SIZE, hpa, size, access);
    op_end(status);
    if (taken)
        assert_int_equal(status, -EEXIST);
    if (status != 0 && !taken)
        memcpy(&model[page], &before[page], count * sizeof(model[0]));
    return status;
}

static int unmap_checked(u64 page)
{
    int status;

    before[page] = model[page];
    model[page] = NONE;
    probes_choose(ALIGN_DOWN(page, 512), 512);
    probes[probe_count++] = page;
    op_begin();
    status = nested_unmap(&table, BASE + page * PAGE_SIZE);
    op_end(status);
    if (status != 0)
        model[page] = before[page];
    if (before[page] == NONE)
        assert_int_equal(status, -ENOENT);
    return status;
}

/* All of 2 MiB by one store; told is the frame of a large page, whole or cut out of a larger one. */
static int unmap_2m_checked(u64 page)
{
    hpa_t hpa = 0, leaf = 0;
    u64 size = 0, access;
    int status;

    nested_lookup(&table, BASE + page * PAGE_SIZE, &leaf, &size, &access);
    for (u64 i = 0; i < 512; i++) {
        before[page + i] = model[page + i];
        model[page + i] = NONE;
    }
    probes_choose(page, 512);
    op_begin();
    status = nested_unmap_2m(&table, BASE + page * PAGE_SIZE, &hpa);
    op_end(status);
    if (status == 0)
        assert_int_equal(hpa, size >= SIZE_2M ? leaf : ~0ull);
    else
        memcpy(&model[page], &before[page], 512 * sizeof(model[0]));
    return status;
}

static void compare_all(u64 step)
{
    for (u64 i = 0; i < PAGES; i += step) {
        hpa_t hpa = 0;
        u64 size = 0, access = 0;
        gpa_t gpa = BASE + i * PAGE_SIZE + 0x123;
        int status = nested_lookup(&table, gpa, &hpa, &size, &access);

        assert_int_equal(walk(gpa & PAGE_MASK), model[i]);
        assert_int_equal(status, model[i] == NONE ? -ENOENT : 0);
        if (status == 0)
            assert_int_equal(hpa, (model[i] & PTE_ADDRESS) + 0x123);
        if (status == 0)
            assert_int_equal(access, model[i] & 7);
    }
}

static void random_operations(const struct nested_format *format)
{
    static const u64 sizes[] = {PAGE_SIZE, PAGE_SIZE, PAGE_SIZE, SIZE_2M, SIZE_2M, SIZE_1G};
    static const u64 accesses[] = {NESTED_READ, NESTED_READ | NESTED_WRITE, NESTED_READ | NESTED_EXECUTE, 7};

    start(format);
    srandom(7);
    for (u32 turn = 0; turn < 1500; turn++) {
        u64 size = sizes[(u64)random() % (turn % 100 == 0 ? 6 : 5)];
        /* few places, so that they meet */
        u64 page = ((u64)random() % 2 << 18) | ((u64)random() % 3 << 9) | ((u64)random() % 6);

        if (turn % 50 == 17)
            budget = (u32)random() % 3;
        if (random() % 2)
            map_checked(ALIGN_DOWN(page, size / PAGE_SIZE), ((u64)random() % 1000) * size, size,
                        accesses[random() % 4]);
        else if (turn % 7 == 0)
            unmap_2m_checked(ALIGN_DOWN(page, 512));
        else
            unmap_checked(page);
        budget = POOL;
        if (turn % 250 == 0)
            compare_all(1);
    }
    compare_all(1);
    finish();
}

static void test_random_amd(void **state)
{
    (void)state;
    random_operations(&nested_format_amd);
}

static void test_random_ept(void **state)
{
    (void)state;
    random_operations(&format_ept);
}

static void test_amd_entries_are_the_manuals(void **state)
{
    hpa_t hpa;
    u64 size, access;

    (void)state;
    start(&nested_format_amd);
    assert_int_equal(map_checked(0, 0x123456000, PAGE_SIZE, 7), 0);
    assert_int_equal(map_checked(512, 0x40000000, SIZE_2M, NESTED_READ), 0);
    assert_int_equal(map_checked(1 << 18, 0x80000000, SIZE_1G, NESTED_READ | NESTED_EXECUTE), 0);
    assert_int_equal(*slot_find(&table, BASE, 0, &(unsigned){0}), 0x123456067);
    assert_int_equal(*slot_find(&table, BASE + SIZE_2M, 0, &(unsigned){0}), 0x80000000400000a5);
    assert_int_equal(*slot_find(&table, BASE + SIZE_1G, 0, &(unsigned){0}), 0x800000a5);
    assert_int_equal(nested_lookup(&table, BASE + SIZE_1G + 0x12345678, &hpa, &size, &access), 0);
    assert_int_equal(hpa, 0x80000000 + 0x12345678);
    assert_int_equal(size, SIZE_1G);
    finish();
}

static void test_bad_arguments(void **state)
{
    (void)state;
    start(&nested_format_amd);
    assert_int_equal(nested_map(&table, 0x1000, 0x800, PAGE_SIZE, 7), -EINVAL);
    assert_int_equal(nested_map(&table, 0x1000, SIZE_2M, SIZE_2M, 7), -EINVAL);
    assert_int_equal(nested_map(&table, 0, 0, 8192, 7), -EINVAL);
    assert_int_equal(nested_map(&table, BIT(48), 0, PAGE_SIZE, 7), -EINVAL);
    assert_int_equal(nested_map(&table, 0, BIT(52), PAGE_SIZE, 7), -EINVAL);
    assert_int_equal(nested_map(&table, BIT(48) - PAGE_SIZE, BIT(52) - PAGE_SIZE, PAGE_SIZE, 7), 0);
    assert_int_equal(nested_unmap(&table, BIT(48)), -ENOENT);
    table.pages_1g = false;
    assert_int_equal(nested_map(&table, 0, 0, SIZE_1G, 7), -EINVAL);
    finish();
}

static void test_no_memory_changes_nothing(void **state)
{
    (void)state;
    start(&nested_format_amd);
    for (u32 pages = 0; pages < 3; pages++) {
        budget = pages;
        assert_int_equal(map_checked(5, 0x5000, PAGE_SIZE, 7), -ENOMEM);
        assert_int_equal(in_use_count, 1);
    }
    budget = 3;
    assert_int_equal(map_checked(5, 0x5000, PAGE_SIZE, 7), 0);
    budget = POOL;
    assert_int_equal(map_checked(1 << 18, SIZE_1G, SIZE_1G, 7), 0);
    for (u32 pages = 0; pages < 2; pages++) {
        budget = pages;
        assert_int_equal(unmap_checked((1 << 18) + 777), -ENOMEM);
    }
    budget = 2;
    assert_int_equal(unmap_checked((1 << 18) + 777), 0);
    compare_all(1);
    budget = 0;
    table.root = 0;
    table.pages = 0;
    assert_int_equal(nested_table_init(&table), -ENOMEM);
    nested_table_destroy(&table); /* harmless */
    free(snapshot);
    snapshot = NULL;
}

static void test_empty_table_gives_way(void **state)
{
    (void)state;
    start(&nested_format_amd);
    assert_int_equal(map_checked(512 + 3, 0x3000, PAGE_SIZE, 7), 0);
    assert_int_equal(map_checked(512, SIZE_2M, SIZE_2M, 7), -EEXIST);
    assert_int_equal(unmap_checked(512 + 3), 0);
    assert_int_equal(table.pages, 4);
    assert_int_equal(map_checked(512, SIZE_2M, SIZE_2M, 7), 0);
    assert_int_equal(flushes, 1);
    assert_int_equal(table.pages, 3);
    for (u32 i = 0; i < 512; i++)
        assert_int_equal(unmap_checked(512 + i), 0);
    assert_int_equal(map_checked(0, 0, SIZE_1G, 7), 0); /* two levels of empty tables */
    assert_int_equal(table.pages, 2);
    compare_all(1);
    finish();
}

static void test_large_pages_are_removed_whole(void **state)
{
    (void)state;
    start(&nested_format_amd);
    assert_int_equal(unmap_2m_checked(512), -ENOENT);
    assert_int_equal(map_checked(512, SIZE_2M, SIZE_2M, 7), 0);
    assert_int_equal(unmap_2m_checked(512), 0);
    assert_int_equal(unmap_2m_checked(512), -ENOENT);
    assert_int_equal(map_checked(512 + 3, 0x3000, PAGE_SIZE, 7), 0);
    assert_int_equal(table.pages, 4);
    assert_int_equal(unmap_2m_checked(512), 0); /* with the table */
    assert_int_equal(table.pages, 3);
    assert_int_equal(flushes, 1);
    assert_int_equal(map_checked(512 + 4, 0x4000, PAGE_SIZE, 7), 0); /* not into the table that is gone */
    assert_int_equal(map_checked(1 << 18, SIZE_1G, SIZE_1G, 7), 0);
    budget = 0;
    assert_int_equal(unmap_2m_checked((1 << 18) + 1024), -ENOMEM);
    budget = 1;
    assert_int_equal(unmap_2m_checked((1 << 18) + 1024), 0); /* out of 1 GiB */
    compare_all(1);
    finish();
}

/* The table that the short way remembers may be gone. */
static void test_remembered_table_is_forgotten(void **state)
{
    (void)state;
    start(&nested_format_amd);
    assert_int_equal(map_checked(512 + 3, 0x3000, PAGE_SIZE, 7), 0);
    assert_int_equal(map_checked(512 + 4, 0x4000, PAGE_SIZE, 7), 0);
    assert_int_equal(map_checked(512 + 4, 0x5000, PAGE_SIZE, 7), -EEXIST);
    assert_int_equal(nested_map(&table, BASE + SIZE_2M + 0x800, 0x6000, PAGE_SIZE, 7), -EINVAL);
    assert_int_equal(unmap_checked(512 + 3), 0);
    assert_int_equal(unmap_checked(512 + 4), 0);
    assert_int_equal(map_checked(512, SIZE_2M, SIZE_2M, 7), 0);
    assert_int_equal(map_checked(512 + 3, 0x3000, PAGE_SIZE, 7), -EEXIST);
    assert_int_equal(unmap_checked(512 + 3), 0);
    assert_int_equal(map_checked(512 + 3, 0x3000, PAGE_SIZE, 7), 0);
    compare_all(1);
    finish();
}

static void test_clear_keeps_the_root(void **state)
{
    hpa_t root;

    (void)state;
    start(&nested_format_amd);
    root = table.root;
    map_checked(0, 0, PAGE_SIZE, 7);
    map_checked(512, 0, SIZE_2M, 7);
    map_checked(1 << 18, 0, SIZE_1G, 7);
    nested_clear(&table);
    assert_int_equal(table.root, root);
    assert_int_equal(table.pages, 1);
    memset(model, 0xff, sizeof(model));
    compare_all(100);
    finish();
}

/* Small pages in a range go, tables and neighbours stay, and holes of any size are stepped over. */
static void test_unmap_range(void **state)
{
    const gpa_t first = SIZE_1G - 2 * PAGE_SIZE,
                pages[] = {first - PAGE_SIZE, first, SIZE_1G, SIZE_1G + SIZE_2M};
    hpa_t hpa;
    u64 size, access, tables;

    (void)state;
    start(&nested_format_amd);
    for (unsigned i = 0; i < ARRAY_SIZE(pages); i++)
        assert_int_equal(nested_map(&table, pages[i], PAGE_SIZE * 8, PAGE_SIZE, NESTED_READ), 0);
    tables = table.pages;
    stores = 0;
    assert_true(nested_unmap_range(&table, first, SIZE_1G + PAGE_SIZE));
    assert_int_equal(stores, 2);
    assert_int_equal(table.pages, tables);
    for (unsigned i = 0; i < ARRAY_SIZE(pages); i++)
        assert_int_equal(nested_lookup(&table, pages[i], &hpa, &size, &access),
                         i == 1 || i == 2 ? -ENOENT : 0);
    assert_false(nested_unmap_range(&table, first, SIZE_1G + PAGE_SIZE));
    assert_false(nested_unmap_range(&table, 2 * SIZE_1G, 512 * SIZE_1G));
    assert_int_equal(nested_map(&table, first, PAGE_SIZE * 8, PAGE_SIZE, NESTED_READ), 0);
    finish();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_amd_entries_are_the_manuals),
        cmocka_unit_test(test_bad_arguments),
        cmocka_unit_test(test_no_memory_changes_nothing),
        cmocka_unit_test(test_empty_table_gives_way),
        cmocka_unit_test(test_large_pages_are_removed_whole),
        cmocka_unit_test(test_remembered_table_is_forgotten),
        cmocka_unit_test(test_unmap_range),
        cmocka_unit_test(test_clear_keeps_the_root),
        cmocka_unit_test(test_random_amd),
        cmocka_unit_test(test_random_ept),
    };

    return cmocka_run_group_tests_name("nested_paging", tests, NULL, NULL);
}
