/* SPDX-License-Identifier: MIT */
/*
 * A guest's memory: its map, giving at first touch in pages that fit, copying on a guest's word, reset, and
 * the end.
 */
// sources: tests/unit/fake_memory.c hv/memory/frame.c hv/memory/p2m.c hv/memory/p2m_pages.c
// sources: hv/memory/guest_map.c hv/memory/guest_list.c hv/memory/memory_audit.c hv/lib/printf.c
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
#include "hv/memory/p2m.h"
#include "tests/unit/fake_memory.h"

struct cpu_features cpu_features = {.physical_bits = 40};

/* Large frames can be made scarce: a machine whose memory is in pieces. */
static unsigned largest_order;
static mfn_t alloc_promised_scarce(unsigned order, frame_owner_t owner)
{
    return order > largest_order ? MFN_INVALID : frame_alloc_promised(order, owner);
}
static mfn_t alloc_promised_copy_scarce(unsigned order, frame_owner_t owner, const void *from)
{
    return order > largest_order ? MFN_INVALID : frame_alloc_promised_copy(order, owner, from);
}
/* Another vCPU gives each frame away as soon as it is there. */
static bool gone_again;
static u64 lookup_slow_racing(const struct p2m *p2m, gfn_t gfn)
{
    return gone_again ? P2M_INVALID : p2m_lookup_slow(p2m, gfn);
}
#define p2m_lookup_slow           lookup_slow_racing
#define frame_alloc_promised      alloc_promised_scarce
#define frame_alloc_promised_copy alloc_promised_copy_scarce
#include "hv/memory/guest_memory.c"
#undef p2m_lookup_slow
#undef frame_alloc_promised
#undef frame_alloc_promised_copy

#define MIB 0x100000ull

static struct spinlock vm_lock = SPINLOCK_INIT(RANK_VM);
static struct guest_memory memory;
static unsigned flushes;

static void count_flush(void *context)
{
    assert_ptr_equal(context, &memory);
    flushes++;
}

static int create(u64 bytes, u64 page_limit)
{
    static bool ready;

    fake_memory_begin();
    if (!ready)
        assert_int_equal(p2m_global_init(), 0);
    ready = true;
    largest_order = FRAME_ORDER_1G;
    flushes = 0;
    memory = (struct guest_memory){
        .vm = 1, .page_limit = page_limit, .lock = &vm_lock, .flush = count_flush, .flush_context = &memory};
    memory.nested.format = &nested_format_amd;
    memory.nested.pages_1g = true;
    return guest_memory_create(&memory, bytes);
}

static void destroy(void)
{
    guest_memory_destroy(&memory);
    assert_int_equal(frame_owned(frame_owner_guest(1)), 0);
    assert_int_equal(frame_owned(frame_owner_support(1)), 0);
    assert_int_equal(frame_promised(frame_owner_guest(1)), 0);
    guest_memory_destroy(&memory); /* harmless */
}

/* Nested tables, p2m, owners and counters agree about every frame that is there. */
static void audit(void)
{
    u64 found = 0;

    for (gfn_t gfn = 0; (gfn = p2m_next_present(&memory.p2m, gfn, P2M_GFN_LIMIT)) < P2M_GFN_LIMIT; gfn++) {
        mfn_t mfn = p2m_lookup(&memory.p2m, gfn);
        u64 size, access;
        hpa_t hpa;

        assert_true(guest_memory_is_ram(&memory, gfn << PAGE_SHIFT));
        assert_int_equal(frame_owner(mfn), frame_owner_guest(1));
        if (nested_lookup(&memory.nested, gfn << PAGE_SHIFT, &hpa, &size, &access) == 0) {
            assert_int_equal(hpa, mfn << PAGE_SHIFT);
            assert_int_equal(access, GUEST_ACCESS);
        }
        found++;
    }
    assert_int_equal(found, memory.p2m.present);
    assert_int_equal(found, frame_owned(frame_owner_guest(1)));
    assert_int_equal(found + frame_promised(frame_owner_guest(1)), memory.frames);
    /* and the page that leads to what is locked */
    assert_int_equal(memory.p2m.pages + memory.nested.pages + 1, frame_owned(frame_owner_support(1)));
}

static u64 mapped_size(gpa_t gpa)
{
    u64 size = 0, access;
    hpa_t hpa;

    nested_lookup(&memory.nested, gpa, &hpa, &size, &access);
    return size;
}

static void check_region(u32 i, gpa_t start, gpa_t end, enum guest_region_type type)
{
    assert_true(i < memory.region_count);
    assert_int_equal(memory.regions[i].start, start);
    assert_int_equal(memory.regions[i].end, end);
    assert_int_equal(memory.regions[i].type, type);
}

static void test_layout(void **state)
{
    (void)state;
    assert_int_equal(create(512 * MIB, PAGE_SIZE), 0);
    assert_int_equal(memory.region_count, 4);
    check_region(0, 0, 0x9f000, REGION_RAM);
    check_region(1, 0x9f000, 0xa0000, REGION_RESERVED);
    check_region(2, 0xc0000, MIB, REGION_RESERVED);
    check_region(3, MIB, 512 * MIB, REGION_RAM);
    assert_int_equal(memory.frames, (0xa0000 + 0x40000 + 511 * MIB) / PAGE_SIZE);
    assert_int_equal(frame_promised(frame_owner_guest(1)), memory.frames);
    destroy();
    assert_int_equal(create(2049 * MIB, PAGE_SIZE), 0);
    check_region(3, MIB, 2049 * MIB, REGION_RAM);
    destroy();
    assert_int_equal(create(5000 * MIB, PAGE_SIZE), 0);
    assert_int_equal(memory.region_count, 5);
    check_region(3, MIB, 3072 * MIB, REGION_RAM);
    check_region(4, SIZE_4G, SIZE_4G + 1928 * MIB, REGION_RAM);
    destroy();
    assert_int_equal(create(MIB, PAGE_SIZE), 0);
    assert_int_equal(memory.region_count, 3);
    destroy();
}

static void test_impossible_sizes(void **state)
{
    (void)state;
    assert_int_equal(create(MIB - PAGE_SIZE, PAGE_SIZE), -EINVAL);
    assert_int_equal(create(16 * MIB + 1, PAGE_SIZE), -EINVAL);
    assert_int_equal(create(~0ull << PAGE_SHIFT, PAGE_SIZE), -EINVAL);
    assert_int_equal(create(BIT(48), PAGE_SIZE), -EINVAL);
    assert_int_equal(create(6000 * MIB, PAGE_SIZE), -ENOMEM);
    assert_int_equal(frame_promised(frame_owner_guest(1)), 0);
    for (u64 spare = 0; spare < 2; spare++) { /* the promise fits, the tables do not */
        fake_memory_begin();
        fake_memory_make_short(4096 - 0x20 + spare);
        assert_int_equal(create(16 * MIB, PAGE_SIZE), -ENOMEM);
        assert_int_equal(frame_owned(frame_owner_support(1)), 0);
        assert_int_equal(frame_promised(frame_owner_guest(1)), 0);
        fake_memory_make_plenty();
    }
    guest_memory_destroy(&memory); /* of what was never created */
}

static void test_first_touch_gives_one_frame(void **state)
{
    const gpa_t ram[] = {0, 0x9e123, 0x9f000, 0xc0000, 0xfffff, MIB, 512 * MIB - 1, 200 * MIB + 7};
    const gpa_t holes[] = {0xa0000, 0xbffff, 512 * MIB, 0xc0000000, 0xfee00000, SIZE_4G, BIT(48), ~0ull};

    (void)state;
    assert_int_equal(create(512 * MIB, PAGE_SIZE), 0);
    for (unsigned i = 0; i < ARRAY_SIZE(ram); i++) {
        const u64 *page;

        assert_int_equal(guest_memory_fault(&memory, ram[i]), 0);
        assert_int_equal(mapped_size(ram[i]), PAGE_SIZE);
        assert_int_equal(memory.p2m.present, i + 1);
        page = guest_memory_at(&memory, ram[i] & PAGE_MASK);
        for (unsigned k = 0; k < 512; k++)
            assert_int_equal(page[k], 0);
        assert_int_equal(guest_memory_fault(&memory, ram[i]), 0); /* again: nothing new */
        assert_int_equal(memory.p2m.present, i + 1);
    }
    for (unsigned i = 0; i < ARRAY_SIZE(holes); i++)
        assert_int_equal(guest_memory_fault(&memory, holes[i]), -ENXIO);
    audit();
    assert_false(spinlock_held(&vm_lock));
    destroy();
}

static void test_largest_page_that_fits(void **state)
{
    (void)state;
    assert_int_equal(create(4096 * MIB, SIZE_2M), 0);
    guest_memory_fault(&memory, 0x3000); /* holes around */
    assert_int_equal(mapped_size(0x3000), PAGE_SIZE);
    guest_memory_fault(&memory, MIB); /* its 2 MiB begin in the hole */
    assert_int_equal(mapped_size(MIB), PAGE_SIZE);
    guest_memory_fault(&memory, 3 * MIB + 5);
    assert_int_equal(mapped_size(2 * MIB), SIZE_2M);
    audit();
    largest_order = FRAME_ORDER_4K;
    guest_memory_fault(&memory, 4 * MIB + 0x5000);
    assert_int_equal(mapped_size(4 * MIB + 0x5000), PAGE_SIZE);
    largest_order = FRAME_ORDER_1G;
    guest_memory_fault(&memory, 4 * MIB); /* a part is given already */
    assert_int_equal(mapped_size(4 * MIB), PAGE_SIZE);
    guest_memory_fault(&memory, SIZE_4G + 7 * MIB);
    assert_int_equal(mapped_size(SIZE_4G + 6 * MIB), SIZE_2M);
    audit();
    destroy();
}

static void test_type_border_inside_a_large_page(void **state)
{
    (void)state;
    assert_int_equal(create(9 * MIB, SIZE_2M), 0);
    assert_int_equal(guest_memory_set_type(&memory, 5 * MIB, 6 * MIB, REGION_ACPI), 0);
    guest_memory_fault(&memory, 4 * MIB); /* RAM all the same */
    assert_int_equal(mapped_size(4 * MIB), SIZE_2M);
    guest_memory_fault(&memory, 8 * MIB); /* but here it ends */
    assert_int_equal(mapped_size(8 * MIB), PAGE_SIZE);
    audit();
    destroy();
}

static void test_gigabyte_page(void **state)
{
    (void)state;
    assert_int_equal(create(2560 * MIB, SIZE_1G), 0);
    fake_memory_alias(7 * SIZE_1G, 8 * SIZE_1G); /* where the allocator's last block lies */
    assert_int_equal(guest_memory_fault(&memory, SIZE_1G + 12345), 0); /* a touch gives no more than 2 MiB */
    assert_int_equal(mapped_size(SIZE_1G), SIZE_2M);
    destroy();
    assert_int_equal(create(2560 * MIB, SIZE_1G), 0);
    fake_memory_alias(7 * SIZE_1G, 8 * SIZE_1G);
    assert_int_equal(guest_memory_give(&memory, SIZE_1G + 12345, SIZE_1G), 0);
    assert_int_equal(p2m_lookup(&memory.p2m, SIZE_1G >> PAGE_SHIFT), 7 * SIZE_1G >> PAGE_SHIFT);
    assert_int_equal(mapped_size(SIZE_1G), SIZE_1G);
    assert_int_equal(memory.p2m.present, BIT(18));
    guest_memory_give(&memory, 3 * MIB, SIZE_1G); /* the first GiB has holes */
    assert_int_equal(mapped_size(3 * MIB), SIZE_2M);
    guest_memory_give(&memory, 2559 * MIB, SIZE_1G); /* and the last is none */
    assert_int_equal(mapped_size(2559 * MIB), SIZE_2M);
    audit();
    destroy();
}

static void test_out_of_tables(void **state)
{
    (void)state;
    assert_int_equal(create(64 * MIB, PAGE_SIZE), 0);
    frame_unpromise(frame_promised(frame_owner_support(1)), frame_owner_support(1));
    fake_memory_make_short(5); /* for the p2m's five pages */
    assert_int_equal(guest_memory_fault(&memory, 32 * MIB), -ENOMEM);
    assert_int_equal(memory.p2m.present, 1);
    assert_int_equal(mapped_size(32 * MIB), 0);
    audit();
    fake_memory_make_plenty();
    assert_int_equal(guest_memory_fault(&memory, 32 * MIB), 0);
    assert_int_equal(mapped_size(32 * MIB), PAGE_SIZE);
    assert_int_equal(memory.p2m.present, 1);
    destroy();

    assert_int_equal(create(64 * MIB, PAGE_SIZE), 0);
    frame_unpromise(frame_promised(frame_owner_support(1)), frame_owner_support(1));
    fake_memory_make_short(4);
    assert_int_equal(guest_memory_fault(&memory, 32 * MIB), -ENOMEM);
    assert_int_equal(memory.p2m.present, 0);
    assert_int_equal(guest_memory_write(&memory, 32 * MIB, "x", 1), -ENOMEM);
    audit();
    fake_memory_make_plenty();
    destroy();
}

/* Nothing is left but what was promised: every page of the guest can be touched all the same, one by one. */
static void test_tables_are_promised(void **state)
{
    (void)state;
    assert_int_equal(create(64 * MIB, PAGE_SIZE), 0);
    fake_memory_make_short(0);
    for (u32 i = 0; i < memory.region_count; i++)
        for (gpa_t gpa = memory.regions[i].start; gpa < memory.regions[i].end; gpa += PAGE_SIZE)
            assert_int_equal(guest_memory_fault(&memory, gpa), 0);
    assert_int_equal(memory.p2m.present, memory.frames);
    guest_memory_reset(&memory);
    assert_int_equal(guest_memory_fault(&memory, 32 * MIB), 0);
    fake_memory_make_plenty();
    destroy();
    assert_int_equal(frame_promised(frame_owner_support(1)), 0);
}

static void test_copy(void **state)
{
    static u8 out[3 * 4096], in[3 * 4096];

    (void)state;
    assert_int_equal(create(16 * MIB, PAGE_SIZE), 0);
    for (unsigned i = 0; i < sizeof(out); i++)
        out[i] = (u8)(i * 7 + 1);
    memset(in, 0xff, sizeof(in));
    assert_int_equal(guest_memory_read(&memory, 2 * MIB + 100, in, sizeof(in)), 0);
    for (unsigned i = 0; i < sizeof(in); i++)
        assert_int_equal(in[i], 0);
    assert_int_equal(memory.p2m.present, 0); /* reading gives nothing */
    assert_int_equal(guest_memory_zero(&memory, 2 * MIB + 100, sizeof(in)), 0);
    assert_int_equal(memory.p2m.present, 0);
    assert_int_equal(guest_memory_write(&memory, 2 * MIB + 100, out, sizeof(out)), 0);
    assert_int_equal(memory.p2m.present, 4);
    assert_int_equal(guest_memory_read(&memory, 2 * MIB + 100, in, sizeof(in)), 0);
    assert_memory_equal(in, out, sizeof(in));
    assert_int_equal(*(u8 *)guest_memory_at(&memory, 2 * MIB + 4096), out[4096 - 100]);
    assert_null(guest_memory_at(&memory, 3 * MIB));
    assert_int_equal(guest_memory_zero(&memory, 2 * MIB + 4000, 200), 0);
    memset(out + 3900, 0, 200);
    assert_int_equal(guest_memory_read(&memory, 2 * MIB + 100, in, sizeof(in)), 0);
    assert_memory_equal(in, out, sizeof(in));
    /* Another CPU gave the frame: this one's TLB still leads to the hole. */
    assert_int_equal(p2m_lookup(&memory.p2m, 0x9f), P2M_INVALID);
    fake_tlb_is_remote = true;
    assert_int_equal(guest_memory_write(&memory, 0x9f000, "A", 1), 0);
    fake_tlb_is_remote = false;
    assert_int_equal(guest_memory_read(&memory, 0x9f000, in, 1), 0);
    assert_int_equal(in[0], 'A');
    audit();
    destroy();
}

/*
 * What fills a large page becomes one; all else behaves as if it came byte by byte, and nothing of an earlier
 * guest shows.
 */
static void test_copy_of_whole_large_pages(void **state)
{
    static u8 text[7 * MIB], in[16 * MIB];
    const u64 at = 3 * MIB + 12345;

    (void)state;
    for (u64 i = 0; i < sizeof(text); i++)
        text[i] = (u8)(i * 13 + i / 4096);
    for (unsigned round = 0; round < 3; round++) {
        assert_int_equal(create(16 * MIB, SIZE_2M), 0);
        if (round == 1)
            assert_int_equal(guest_memory_fault(&memory, 7 * MIB), 0); /* a page that is there already */
        if (round == 2)
            largest_order = FRAME_ORDER_2M - 1;
        assert_int_equal(guest_memory_write(&memory, at, text, sizeof(text)), 0);
        assert_int_equal(mapped_size(5 * MIB), round == 2 ? PAGE_SIZE : SIZE_2M);
        assert_int_equal(guest_memory_read(&memory, MIB, in, 15 * MIB), 0);
        for (u64 i = 0; i < 15 * MIB; i++)
            if (in[i] != (MIB + i >= at && MIB + i < at + sizeof(text) ? text[MIB + i - at] : 0))
                fail_msg("byte at %#llx", (unsigned long long)(MIB + i));
        audit();
        for (gpa_t gpa = MIB; gpa < 16 * MIB; gpa += PAGE_SIZE) { /* for the next round to find */
            memset(in, 0xee, PAGE_SIZE);
            assert_int_equal(guest_memory_write(&memory, gpa, in, PAGE_SIZE), 0);
        }
        destroy();
    }
}

static void test_copy_outside_ram(void **state)
{
    const struct {
        gpa_t gpa;
        u64 bytes;
    } bad[] = {{0xa0000, 1},   {0x9ffff, 2},      {0xbffff, 2},    {16 * MIB, 1},
               {0, 16 * MIB},  {~0ull, 1},        {~0ull - 1, 2},  {MIB, ~0ull},
               {MIB, 0 - MIB}, {16 * MIB - 1, 2}, {0xfee00000, 4}, {BIT(48), 8}};
    u8 byte[8] = {0};

    (void)state;
    assert_int_equal(create(16 * MIB, PAGE_SIZE), 0);
    for (unsigned i = 0; i < ARRAY_SIZE(bad); i++) {
        assert_int_equal(guest_memory_read(&memory, bad[i].gpa, byte, bad[i].bytes), -EFAULT);
        assert_int_equal(guest_memory_write(&memory, bad[i].gpa, byte, bad[i].bytes), -EFAULT);
        assert_int_equal(guest_memory_zero(&memory, bad[i].gpa, bad[i].bytes), -EFAULT);
    }
    assert_int_equal(memory.p2m.present, 0);
    assert_int_equal(guest_memory_write(&memory, 16 * MIB - 1, byte, 1), 0);
    assert_int_equal(guest_memory_write(&memory, 0x9f000 - 1, byte, 2), 0); /* two regions that adjoin */
    assert_int_equal(guest_memory_read(&memory, 0xa0000, byte, 0), 0);
    destroy();
}

static void test_reset_is_as_created(void **state)
{
    u8 byte = 0;
    u64 frames;

    (void)state;
    assert_int_equal(create(64 * MIB, SIZE_2M), 0);
    frames = memory.frames;
    for (gpa_t gpa = 0; gpa < 64 * MIB; gpa += 777777)
        if (guest_memory_is_ram(&memory, gpa))
            assert_int_equal(guest_memory_write(&memory, gpa, "Z", 1), 0);
    audit();
    guest_memory_reset(&memory);
    assert_int_equal(flushes, 1);
    assert_int_equal(memory.p2m.present, 0);
    assert_int_equal(memory.nested.pages, 1);
    assert_int_equal(memory.frames, frames);
    audit();
    for (gpa_t gpa = 0; gpa < 64 * MIB; gpa += 777777) {
        if (!guest_memory_is_ram(&memory, gpa))
            continue;
        assert_int_equal(guest_memory_fault(&memory, gpa), 0);
        assert_int_equal(guest_memory_read(&memory, gpa, &byte, 1), 0);
        assert_int_equal(byte, 0);
    }
    assert_int_equal(mapped_size(32 * MIB), SIZE_2M);
    audit();
    destroy();
}

static void test_prefault(void **state)
{
    (void)state;
    assert_int_equal(create(16 * MIB, SIZE_2M), 0);
    assert_int_equal(guest_memory_prefault(&memory), 0);
    assert_int_equal(memory.p2m.present, memory.frames);
    assert_int_equal(frame_promised(frame_owner_guest(1)), 0);
    for (gpa_t gpa = 0; gpa < 17 * MIB; gpa += PAGE_SIZE)
        assert_int_equal(mapped_size(gpa) != 0, guest_memory_is_ram(&memory, gpa));
    assert_int_equal(mapped_size(2 * MIB), SIZE_2M);
    audit();
    destroy();
    assert_int_equal(create(16 * MIB, PAGE_SIZE), 0);
    frame_unpromise(frame_promised(frame_owner_support(1)), frame_owner_support(1));
    fake_memory_make_short(5);
    assert_int_equal(guest_memory_prefault(&memory), -ENOMEM);
    fake_memory_make_plenty();
    audit();
    destroy();
}

static void test_types_in_the_map(void **state)
{
    (void)state;
    assert_int_equal(create(16 * MIB, PAGE_SIZE), 0);
    assert_int_equal(guest_memory_set_type(&memory, MIB, MIB, REGION_ACPI), -EINVAL);
    assert_int_equal(guest_memory_set_type(&memory, MIB + 1, 2 * MIB, REGION_ACPI), -EINVAL);
    assert_int_equal(guest_memory_set_type(&memory, 0x9f000, 0xc1000, REGION_ACPI), -EINVAL); /* hole */
    assert_int_equal(guest_memory_set_type(&memory, 15 * MIB, 17 * MIB, REGION_ACPI), -EINVAL);
    assert_int_equal(guest_memory_set_type(&memory, 0xf0000, 2 * MIB, REGION_ACPI), 0); /* over a border */
    assert_int_equal(memory.region_count, 5);
    check_region(2, 0xc0000, 0xf0000, REGION_RESERVED);
    check_region(3, 0xf0000, 2 * MIB, REGION_ACPI);
    check_region(4, 2 * MIB, 16 * MIB, REGION_RAM);
    assert_int_equal(guest_memory_set_type(&memory, 0xf0000, MIB, REGION_RESERVED), 0); /* joins */
    check_region(2, 0xc0000, MIB, REGION_RESERVED);
    check_region(3, MIB, 2 * MIB, REGION_ACPI);
    assert_int_equal(guest_memory_set_type(&memory, 3 * MIB, 4 * MIB, REGION_RESERVED), 0);
    assert_int_equal(memory.region_count, 7);
    assert_int_equal(guest_memory_set_type(&memory, 5 * MIB, 6 * MIB, REGION_RESERVED), -ENOSPC);
    assert_int_equal(memory.region_count, 7);
    assert_int_equal(guest_memory_set_type(&memory, 15 * MIB, 16 * MIB, REGION_RESERVED), 0);
    assert_int_equal(memory.region_count, 8);
    check_region(7, 15 * MIB, 16 * MIB, REGION_RESERVED);
    destroy();
}

static void test_a_frame_is_gone_again(void **state)
{
    u8 byte = 1;

    (void)state;
    assert_int_equal(create(16 * MIB, 0), 0);
    gone_again = true;
    assert_int_equal(guest_memory_write(&memory, 5 * MIB, &byte, 1), -ENOMEM);
    gone_again = false;
    assert_int_equal(guest_memory_write(&memory, 5 * MIB, &byte, 1), 0);
    audit();
    destroy();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_frame_is_gone_again),
        cmocka_unit_test(test_layout),
        cmocka_unit_test(test_impossible_sizes),
        cmocka_unit_test(test_first_touch_gives_one_frame),
        cmocka_unit_test(test_largest_page_that_fits),
        cmocka_unit_test(test_type_border_inside_a_large_page),
        cmocka_unit_test(test_gigabyte_page),
        cmocka_unit_test(test_out_of_tables),
        cmocka_unit_test(test_tables_are_promised),
        cmocka_unit_test(test_copy),
        cmocka_unit_test(test_copy_of_whole_large_pages),
        cmocka_unit_test(test_copy_outside_ram),
        cmocka_unit_test(test_reset_is_as_created),
        cmocka_unit_test(test_prefault),
        cmocka_unit_test(test_types_in_the_map),
    };

    return cmocka_run_group_tests_name("guest_memory", tests, NULL, NULL);
}
