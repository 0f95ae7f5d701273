/* SPDX-License-Identifier: MIT */
/*
 * The walk of guest page tables: every mode, page size and right, against the manual's rules written a second
 * time.
 */
// sources: tests/unit/fake_memory.c hv/memory/frame.c hv/memory/p2m.c hv/memory/p2m_pages.c
// sources: hv/memory/guest_memory.c hv/memory/memory_audit.c hv/lib/printf.c
// sources: hv/memory/guest_map.c hv/memory/guest_list.c hv/memory/guest_walk.c hv/memory/guest_linear.c
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
#include "hv/memory/guest_walk.h"
#include "tests/unit/fake_memory.h"

#define MIB 0x100000ull
#define P   PTE_PRESENT
#define W   PTE_WRITE
#define U   PTE_USER
#define A   PTE_ACCESSED
#define D   PTE_DIRTY
#define PS  PTE_LARGE

/* Error codes (APM 2, 8.4.2). */
#define E_P   1u
#define E_W   2u
#define E_U   4u
#define E_RSV 8u
#define E_I   16u

struct cpu_features cpu_features = {.physical_bits = 40, .pages_1g = true};

static struct spinlock vm_lock = SPINLOCK_INIT(RANK_VM);
static struct guest_memory memory;
static struct guest_paging paging;
static gpa_t next_table;

static int setup(void **state)
{
    static bool ready;

    (void)state;
    fake_memory_begin();
    if (!ready && p2m_global_init() != 0)
        return -1;
    ready = true;
    memory = (struct guest_memory){.vm = 0, .page_limit = PAGE_SIZE, .lock = &vm_lock};
    memory.nested.format = &nested_format_amd;
    next_table = 2 * MIB;
    cpu_features.pages_1g = true;
    cpu_features.physical_bits = 40;
    return guest_memory_create(&memory, 64 * MIB);
}

static int teardown(void **state)
{
    (void)state;
    fake_memory_begin(); /* the audit reads the list */
    guest_memory_destroy(&memory);
    return 0;
}

static void use_mode(unsigned levels)
{
    paging = (struct guest_paging){.cr0 = CR0_PE | CR0_PG | CR0_WP, .cr3 = MIB};
    if (levels >= 3)
        paging.cr4 |= CR4_PAE;
    if (levels >= 3)
        paging.efer |= EFER_NXE;
    if (levels >= 4)
        paging.efer |= EFER_LME | EFER_LMA;
    if (levels == 5)
        paging.cr4 |= CR4_LA57;
}

static u64 get64(gpa_t gpa)
{
    u64 value = 0;

    assert_int_equal(guest_memory_read(&memory, gpa, &value, 8), 0);
    return value;
}

static void put64(gpa_t gpa, u64 value)
{
    assert_int_equal(guest_memory_write(&memory, gpa, &value, 8), 0);
}

static u32 get32(gpa_t gpa)
{
    u32 value = 0;

    assert_int_equal(guest_memory_read(&memory, gpa, &value, 4), 0);
    return value;
}

static void put32(gpa_t gpa, u32 value)
{
    assert_int_equal(guest_memory_write(&memory, gpa, &value, 4), 0);
}

/*
 * Tables of 8-byte entries that lead gva to `leaf` at `level`; returns where the leaf stands. Flags of the
 * tables: P W U.
 */
static gpa_t map64(unsigned levels, gva_t gva, unsigned level, u64 leaf)
{
    gpa_t table = paging.cr3 & BITS(51, 5);

    for (unsigned at = levels - 1;; at--) {
        gpa_t slot = table + (gva >> (12 + 9 * at) & (levels == 3 && at == 2 ? 3 : 511)) * 8;

        if (at == level) {
            put64(slot, leaf);
            return slot;
        }
        if (get64(slot) == 0) {
            put64(slot, next_table | (levels == 3 && at == 2 ? P : P | W | U));
            next_table += PAGE_SIZE;
        }
        table = get64(slot) & PTE_ADDRESS;
    }
}

static int walk(gva_t gva, u64 access, gpa_t *gpa, u32 *error)
{
    *gpa = 0xdead;
    *error = 0xdead;
    return guest_walk(&memory, &paging, gva, access, gpa, error);
}

static void expect(gva_t gva, u64 access, gpa_t gpa)
{
    gpa_t got;
    u32 error;

    assert_int_equal(walk(gva, access, &got, &error), 0);
    assert_int_equal(got, gpa);
    assert_int_equal(guest_walk_fetched(&memory, &paging, gva, &got), 0);
    assert_int_equal(got, gpa);
}

static void expect_fault(gva_t gva, u64 access, u32 error)
{
    gpa_t gpa;
    u32 got;

    assert_int_equal(walk(gva, access, &gpa, &got), -EFAULT);
    assert_int_equal(got, error);
}

/* cmocka takes the signals after the set-up. */
static void begin(void **state)
{
    (void)state;
    fake_memory_begin();
}

static void test_no_paging(void **state)
{
    begin(state);
    paging = (struct guest_paging){.cr0 = CR0_PE};
    expect(0x12345, 0, 0x12345);
    expect(0x100012345, WALK_WRITE, 0x12345);
}

static void test_pages_of_every_size(void **state)
{
    const gva_t gva = 0xffff812345678abc;

    begin(state);
    for (unsigned levels = 4; levels <= 5; levels++) {
        gva_t high = levels == 5 ? 0xff12812345678abc : gva;

        use_mode(levels);
        paging.cr3 = (levels - 3) * MIB | 0x18; /* with PWT and PCD */
        map64(levels, high, 0, 0x3456000 | P);
        expect(high, 0, 0x3456abc);
        map64(levels, high + SIZE_2M, 1, 0x2200000 | P | PS | BIT(12));
        expect(high + SIZE_2M, 0, 0x2200000 | ((high + SIZE_2M) & (SIZE_2M - 1)));
        map64(levels, high + SIZE_1G, 2, 0xc0000000 | P | PS);
        expect(high + SIZE_1G, 0, 0xc0000000 | ((high + SIZE_1G) & (SIZE_1G - 1)));
    }
}

static void test_pae(void **state)
{
    begin(state);
    use_mode(3);
    paging.cr3 = MIB + 0x7e0; /* 32-byte aligned is enough */
    map64(3, 0xfedcba98, 0, 0x1234567000 | P | W);
    expect(0xfedcba98, WALK_WRITE, 0x1234567a98);
    expect(0x5fedcba98, 0, 0x1234567a98); /* addresses have 32 bits */
    map64(3, 0x40200123, 1, 0x2a00000 | P | PS);
    expect(0x40200123, 0, 0x2a00123);
    assert_int_equal(get64(MIB + 0x7e0 + 3 * 8) & A, 0); /* the top entries have no such bit */
    put64(MIB + 0x7e0 + 8, get64(MIB + 0x7e0 + 8) | W);
    expect_fault(0x40200123, 0, E_P | E_RSV);
}

static void test_32_bit(void **state)
{
    begin(state);
    use_mode(2);
    paging.cr4 = CR4_PSE;
    put32(MIB + (0x80123456u >> 22) * 4, 0x200000 | P | W | U);
    put32(0x200000 + (0x80123456u >> 12 & 0x3ff) * 4, 0x3333000 | P | W);
    expect(0x80123456, 0, 0x3333456);
    assert_int_equal(get32(MIB + (0x80123456u >> 22) * 4), 0x200000 | P | W | U | A);
    assert_int_equal(get32(0x200000 + (0x80123456u >> 12 & 0x3ff) * 4), 0x3333000 | P | W | A);
    expect(0x80123456, WALK_WRITE, 0x3333456);
    assert_int_equal(get32(0x200000 + (0x80123456u >> 12 & 0x3ff) * 4), 0x3333000 | P | W | A | D);
    put32(MIB + 5 * 4, 0x1400000 | P | PS | 0x12 << 13); /* address bits 39:32 = 0x12 */
    expect(5 * 4 * MIB + 0x54321, 0, 0x1201454321);
    put32(MIB + 5 * 4, 0x1400000 | P | PS | BIT(21));
    expect_fault(5 * 4 * MIB, 0, E_P | E_RSV);
    cpu_features.physical_bits = 36;
    put32(MIB + 5 * 4, 0x1400000 | P | PS | 0x12 << 13);
    expect_fault(5 * 4 * MIB, 0, E_P | E_RSV);
    put32(MIB + 5 * 4, 0x1400000 | P | PS | 0x2 << 13);
    expect(5 * 4 * MIB, 0, 0x201400000);
    paging.cr4 = 0; /* then the bit means nothing, and this is a table */
    put32(MIB + 5 * 4, 0x200000 | P | PS);
    put32(0x200000, 0x5555000 | P);
    expect(5 * 4 * MIB + 0x777, 0, 0x5555777);
}

static void test_not_canonical(void **state)
{
    gpa_t gpa;
    u32 error;

    begin(state);
    use_mode(4);
    assert_int_equal(walk(0x0000800000000000, 0, &gpa, &error), -EINVAL);
    assert_int_equal(walk(0xffff7fffffffffff, 0, &gpa, &error), -EINVAL);
    expect_fault(0xffff800000000000, 0, 0);
    expect_fault(0x00007fffffffffff, 0, 0);
    use_mode(5);
    assert_int_equal(walk(0x0100000000000000, 0, &gpa, &error), -EINVAL);
    expect_fault(0x0000800000000000, 0, 0);
}

static void test_accessed_and_dirty(void **state)
{
    gpa_t slot, gpa;
    u32 error;

    begin(state);
    use_mode(4);
    slot = map64(4, 0x1000, 0, 0x5000 | P | W);
    assert_int_equal(guest_walk_fetched(&memory, &paging, 0x1000, &gpa), 0);
    assert_int_equal(get64(slot), 0x5000 | P | W); /* sets nothing */
    expect_fault(0x1000, WALK_USER, E_P | E_U);
    assert_int_equal(get64(slot), 0x5000 | P | W); /* nor does a walk that fails */
    assert_int_equal(walk(0x1000, 0, &gpa, &error), 0);
    assert_int_equal(get64(slot), 0x5000 | P | W | A);
    assert_int_equal(get64(MIB), 2 * MIB | P | W | U | A);
    assert_int_equal(walk(0x1000, WALK_WRITE, &gpa, &error), 0);
    assert_int_equal(get64(slot), 0x5000 | P | W | A | D);
    assert_int_equal(get64(MIB), 2 * MIB | P | W | U | A); /* dirty in the leaf alone */
}

static void test_reserved_bits(void **state)
{
    const struct {
        unsigned level;
        u64 entry;
        bool good;
    } cases[] = {
        {0, 0x5000 | P | BIT(40), false}, {0, 0x5000 | P | BIT(51), false}, {0, 0x5000 | P | BIT(39), true},
        {0, 0x5000 | P | BIT(52), true},  {0, 0x5000 | P | BIT(62), true},  {0, 0x5000 | P | PS, true},
        {1, 0x600000 | P | PS, true},     {1, 0x602000 | P | PS, false},    {1, 0x700000 | P | PS, false},
        {1, 0x601000 | P | PS, true},     {2, 0x40000000 | P | PS, true},   {2, 0x60000000 | P | PS, false},
        {2, 0x40001000 | P | PS, true},   {2, 0x40002000 | P | PS, false},  {3, 0x5000 | P | PS, false},
        {3, 0x5000 | P | BIT(45), false}, {1, 0x5000 | P | BIT(50), false},
    };

    begin(state);
    for (unsigned i = 0; i < ARRAY_SIZE(cases); i++) {
        gpa_t gpa;
        u32 error;
        int status;

        use_mode(4);
        paging.cr3 = 3 * MIB + i * PAGE_SIZE;
        map64(4, 0, cases[i].level, cases[i].entry);
        status = walk(0, 0, &gpa, &error);
        assert_int_equal(status, cases[i].good ? 0 : -EFAULT);
        if (!cases[i].good)
            assert_int_equal(error, E_P | E_RSV);
    }
    use_mode(5);
    paging.cr3 = 4 * MIB;
    map64(5, 0, 3, 0x5000 | P | PS); /* a page of 512 GiB */
    expect_fault(0, 0, E_P | E_RSV);
    use_mode(4);
    paging.cr3 = 5 * MIB;
    map64(4, 0, 2, 0x40000000 | P | PS);
    cpu_features.pages_1g = false;
    expect_fault(0, 0, E_P | E_RSV);
    map64(4, SIZE_1G, 0, 0x5000 | P | PTE_NX);
    paging.efer &= ~EFER_NXE;
    expect_fault(SIZE_1G, WALK_WRITE | WALK_USER, E_P | E_RSV | E_W | E_U);
}

/* The manual's rules, as a list of what forbids. */
static bool is_forbidden(u64 upper, u64 lower, u64 access, bool user)
{
    bool writable = (upper & W) && (lower & W), user_page = (upper & U) && (lower & U);
    bool no_execute = (upper | lower) & PTE_NX;
    bool write = access & WALK_WRITE, fetch = access & WALK_FETCH;

    if (user)
        return !user_page || (write && !writable) || (fetch && no_execute);
    if (write && !writable && (paging.cr0 & CR0_WP))
        return true;
    if (fetch)
        return no_execute || (user_page && (paging.cr4 & CR4_SMEP));
    return user_page && (paging.cr4 & CR4_SMAP) && !(paging.rflags & RFLAGS_AC);
}

static void check_rights(u64 upper, u64 lower, u64 access, u32 variant)
{
    bool user = variant & 1;
    u32 error, expected = E_P;
    gpa_t gpa;
    int status;

    use_mode(4);
    paging.cr3 = MIB;
    paging.cr0 = CR0_PE | CR0_PG | (variant & 2 ? CR0_WP : 0);
    paging.cr4 |= (variant & 4 ? CR4_SMEP : 0) | (variant & 8 ? CR4_SMAP : 0);
    paging.rflags = variant & 16 ? RFLAGS_AC : 0;
    if (user && (variant & 32))
        access |= WALK_USER; /* said by the caller */
    else if (user)
        paging.cpl = 3; /* or by the CPU */
    expected |= (user ? E_U : 0) | (access & WALK_WRITE ? E_W : 0) | (access & WALK_FETCH ? E_I : 0);
    put64(MIB, 0x200000 | P | upper);
    put64(0x202000, 0x5000 | P | lower);
    status = walk(0, access, &gpa, &error);
    if (is_forbidden(upper, lower, access, user)) {
        assert_int_equal(status, -EFAULT);
        assert_int_equal(error, expected);
    } else {
        assert_int_equal(status, 0);
        assert_int_equal(gpa, 0x5000);
    }
}

static void test_every_combination_of_rights(void **state)
{
    static const u64 accesses[] = {0, WALK_WRITE, WALK_FETCH};
    static const u64 bits[] = {0, W, U, W | U, PTE_NX, PTE_NX | W, PTE_NX | U, PTE_NX | W | U};

    begin(state);
    put64(0x200000, 0x201000 | P | W | U);
    put64(0x201000, 0x202000 | P | W | U);
    for (unsigned upper = 0; upper < 8; upper++)
        for (unsigned lower = 0; lower < 8; lower++)
            for (unsigned access = 0; access < 3; access++)
                for (u32 variant = 0; variant < 64; variant++)
                    check_rights(bits[upper], bits[lower], accesses[access], variant);
}

static void test_fetch_is_told_when_it_matters(void **state)
{
    begin(state);
    use_mode(4);
    expect_fault(0x7000, WALK_FETCH, E_I);
    paging.efer &= ~EFER_NXE;
    expect_fault(0x7000, WALK_FETCH, 0);
    paging.cr4 |= CR4_SMEP;
    expect_fault(0x7000, WALK_FETCH, E_I);
}

static void test_tables_outside_ram(void **state)
{
    gpa_t gpa;
    u32 error;

    begin(state);
    use_mode(4);
    paging.cr3 = 0xb8000;
    assert_int_equal(walk(0, 0, &gpa, &error), -ENXIO);
    assert_int_equal(guest_walk_fetched(&memory, &paging, 0, &gpa), -EFAULT);
    paging.cr3 = PTE_ADDRESS;
    assert_int_equal(walk(0, 0, &gpa, &error), -ENXIO);
    assert_int_equal(guest_walk_fetched(&memory, &paging, 0, &gpa), -EFAULT);
    paging.cr3 = 8 * MIB; /* RAM that was never given: no entry is present */
    expect_fault(0, 0, 0);
    assert_int_equal(guest_walk_fetched(&memory, &paging, 0, &gpa), -EFAULT);
}

static void test_linear_copies(void **state)
{
    char out[] = "across two pages that lie apart", in[sizeof(out)];
    gva_t fault = 0;
    u32 error = 0;

    begin(state);
    use_mode(4);
    map64(4, 0x1000, 0, 0x900000 | P | W);
    map64(4, 0x2000, 0, 0x700000 | P | W);
    map64(4, 0x3000, 0, 0xb8000 | P | W);
    map64(4, 0x4000, 0, 0x701000 | P);
    assert_int_equal(guest_write_linear(&memory, &paging, 0x1ff8, out, sizeof(out), 0, &fault, &error), 0);
    assert_int_equal(guest_read_linear(&memory, &paging, 0x1ff8, in, sizeof(in), 0, &fault, &error), 0);
    assert_string_equal(in, out);
    assert_int_equal(guest_memory_read(&memory, 0x700000, in, 4), 0);
    assert_memory_equal(in, out + 8, 4);
    assert_int_equal(guest_read_linear(&memory, &paging, 0x2ffe, in, 4, 0, &fault, &error), -ENXIO);
    assert_int_equal(fault, 0x3000);
    assert_int_equal(guest_write_linear(&memory, &paging, 0x3000, in, 4, 0, &fault, &error), -ENXIO);
    assert_int_equal(guest_write_linear(&memory, &paging, 0x4004, in, 4, 0, &fault, &error), -EFAULT);
    assert_int_equal(fault, 0x4004);
    assert_int_equal(error, E_P | E_W);
    assert_int_equal(guest_read_linear(&memory, &paging, 0x4ffc, in, 8, 0, &fault, &error), -EFAULT);
    assert_int_equal(fault, 0x5000);
    assert_int_equal(error, 0);
    assert_int_equal(guest_read_linear(&memory, &paging, 0x7ffffffffffc, in, 8, 0, &fault, &error), -EFAULT);
    map64(4, 0x7ffffffff000, 0, 0x702000 | P);
    assert_int_equal(guest_read_linear(&memory, &paging, 0x7ffffffffffc, in, 8, 0, &fault, &error), -EINVAL);
    assert_int_equal(fault, 0x800000000000);
}

/* Tables full of noise in every mode: whatever comes back, nothing outside the guest's RAM was touched. */
static void test_random_tables(void **state)
{
    begin(state);
    srandom(5);
    for (unsigned i = 0; i < 16 * 512; i++)
        put64(MIB + i * 8, ((u64)random() << 40 & PTE_NX) | (MIB + (u64)random() % 20 * PAGE_SIZE) |
                               ((u64)random() & 0x1ff) | (random() % 4 ? P : 0));
    for (unsigned turn = 0; turn < 50000; turn++) {
        gva_t gva = (gva_t)random() << 33 ^ (gva_t)random() << 12;
        gpa_t gpa = 0, fetched;
        u32 error;
        int status;

        use_mode(2 + (unsigned)random() % 4);
        paging.cr4 |= random() % 2 ? CR4_PSE : 0;
        if (random() % 4)
            gva = (gva_t)((s64)(gva << 16) >> 16);
        status = walk(gva, (u64)random() & (WALK_WRITE | WALK_USER | WALK_FETCH), &gpa, &error);
        assert_true(status == 0 || status == -EFAULT || status == -EINVAL || status == -ENXIO);
        if (status == 0) {
            assert_int_equal(guest_walk_fetched(&memory, &paging, gva, &fetched), 0);
            assert_int_equal(gpa, fetched);
        }
    }
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_no_paging),
        TEST(test_pages_of_every_size),
        TEST(test_pae),
        TEST(test_32_bit),
        TEST(test_not_canonical),
        TEST(test_accessed_and_dirty),
        TEST(test_reserved_bits),
        TEST(test_every_combination_of_rights),
        TEST(test_fetch_is_told_when_it_matters),
        TEST(test_tables_outside_ram),
        TEST(test_linear_copies),
        TEST(test_random_tables),
    };

    return cmocka_run_group_tests_name("guest_walk", tests, NULL, NULL);
}
