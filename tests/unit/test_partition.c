/* SPDX-License-Identifier: MIT */
/* Partition tables, right and wrong, on a drive of 8192 sectors made here. */
// sources: hv/storage/partition.c
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "hv/lib/errno.h"
#include "hv/storage/partition.h"
#include "tests/unit/crc32.h"

#define SECTORS 8192u
#define LAST    (SECTORS - 1)

static u8 content[SECTORS][512];
static u64 unreadable;
static struct partition_table table;

static int read_sector(struct partition_source *source, u64 number)
{
    assert_true(number < SECTORS);
    memcpy(source->sector, content[number], 512);
    return number == unreadable ? -EIO : 0;
}

static int parse(void)
{
    struct partition_source source = {read_sector, SECTORS, {0}};

    return partition_table_read(&source, &table);
}

static void begin(void)
{
    memset(content, 0, sizeof(content));
    unreadable = ~0ull;
}

static void put32(u8 *at, u64 value)
{
    for (u32 i = 0; i < 4; i++)
        at[i] = (u8)(value >> 8 * i);
}

static void put64(u8 *at, u64 value)
{
    put32(at, value);
    put32(at + 4, value >> 32);
}

static void mbr_entry(u64 sector, u32 entry, u8 type, u32 first, u32 sectors)
{
    u8 *at = content[sector] + 446 + 16 * entry;

    at[4] = type;
    put32(at + 8, first);
    put32(at + 12, sectors);
    content[sector][510] = 0x55;
    content[sector][511] = 0xaa;
}

static void gpt_sums(u64 self, u64 entries)
{
    u8 *header = content[self];

    put32(header + 88, crc32_of(content[entries], 128 * 128));
    put32(header + 16, 0);
    put32(header + 16, crc32_of(header, 92));
}

static void gpt_copy(u64 self, u64 entries)
{
    u8 *header = content[self];

    memcpy(header, "EFI PART\0\0\1\0", 12);
    put32(header + 12, 92);
    put64(header + 24, self);
    put64(header + 32, LAST - self + 1);
    put64(header + 40, 34);
    put64(header + 48, LAST - 33);
    put64(header + 72, entries);
    put32(header + 80, 128);
    put32(header + 84, 128);
    gpt_sums(self, entries);
}

static void gpt_entry(u64 entries, u32 number, u64 first, u64 last)
{
    u8 *at = content[entries] + 128 * number;

    memset(at, 0x42, 32);
    put64(at + 32, first);
    put64(at + 40, last);
}

static void gpt_begin(void)
{
    begin();
    mbr_entry(0, 0, 0xee, 1, LAST);
    for (u32 copy = 0; copy < 2; copy++) {
        u64 entries = copy ? LAST - 32 : 2;

        gpt_entry(entries, 0, 40, 99);
        gpt_entry(entries, 2, 100, 100);
        gpt_entry(entries, 31, 200, LAST - 33);
        gpt_copy(copy ? LAST : 1, entries);
    }
}

static void check(u32 number, u64 first, u64 sectors)
{
    assert_int_equal(table.partitions[number - 1].sectors, sectors);
    if (sectors)
        assert_int_equal(table.partitions[number - 1].first, first);
}

static void test_none(void **state)
{
    (void)state;
    begin();
    assert_int_equal(parse(), 0);
    assert_int_equal(table.kind, PARTITIONS_NONE);
    mbr_entry(0, 0, 0x83, 1, 10);
    content[0][446] = 0x13; /* code, as of a file system's first sector */
    assert_int_equal(parse(), 0);
    assert_int_equal(table.kind, PARTITIONS_NONE);
    unreadable = 0;
    assert_int_equal(parse(), -EIO);
}

static void test_mbr(void **state)
{
    (void)state;
    begin();
    mbr_entry(0, 0, 0x83, 63, 100);
    mbr_entry(0, 1, 0x05, 1000, 1000);
    mbr_entry(0, 3, 0x07, 4000, SECTORS - 4000);
    mbr_entry(1000, 0, 0x83, 10, 90);
    mbr_entry(1000, 1, 0x05, 500, 200);
    mbr_entry(1500, 0, 0x82, 1, 100);
    assert_int_equal(parse(), 0);
    assert_int_equal(table.kind, PARTITIONS_MBR);
    assert_null(table.why);
    check(1, 63, 100);
    check(2, 0, 0); /* the container is none */
    check(4, 4000, SECTORS - 4000);
    check(5, 1010, 90);
    check(6, 1501, 100);
    check(7, 0, 0);
    unreadable = 1500;
    assert_int_equal(parse(), -EIO);
}

static void test_bad_mbr(void **state)
{
    (void)state;
    begin();
    mbr_entry(0, 0, 0x83, 63, SECTORS - 62); /* a sector too many */
    mbr_entry(0, 1, 0x83, 0, 10);
    mbr_entry(0, 2, 0x83, 0xffffffff, 0xffffffff);
    mbr_entry(0, 3, 0x0f, 100, 100);
    mbr_entry(100, 0, 0x83, 1, 10); /* a chain without end, which names one place again and again */
    mbr_entry(100, 1, 0x0f, 0, 100);
    assert_int_equal(parse(), 0);
    for (u32 i = 1; i <= PARTITIONS_MAX; i++)
        check(i, 0, 0);
    assert_non_null(strstr(table.why, "overlap"));
    mbr_entry(100, 1, 0x0f, 0xfffffff0, 100);
    assert_int_equal(parse(), 0);
    check(5, 101, 10);
    assert_non_null(strstr(table.why, "broken chain"));
}

static void test_overlap(void **state)
{
    (void)state;
    begin();
    mbr_entry(0, 0, 0x83, 63, 100);
    mbr_entry(0, 1, 0x83, 162, 100);
    mbr_entry(0, 2, 0x83, 262, 100);
    assert_int_equal(parse(), 0);
    check(1, 0, 0);
    check(2, 0, 0);
    check(3, 262, 100);
}

static void test_gpt(void **state)
{
    (void)state;
    gpt_begin();
    assert_int_equal(parse(), 0);
    assert_int_equal(table.kind, PARTITIONS_GPT);
    assert_null(table.why);
    check(1, 40, 60);
    check(2, 0, 0);
    check(3, 100, 1);
    check(32, 200, LAST - 33 - 200 + 1);
    gpt_entry(2, 40, 150, 160); /* more than are offered */
    gpt_sums(1, 2);
    assert_int_equal(parse(), 0);
    assert_non_null(strstr(table.why, "more partitions"));
}

/* Each byte of the first copy, and what makes it point elsewhere: the second copy counts. */
static void test_broken_gpt(void **state)
{
    (void)state;
    for (u32 at = 0; at < 92; at++) {
        gpt_begin();
        content[1][at] ^= 0x10;
        assert_int_equal(parse(), 0);
        check(1, 40, 60);
        assert_non_null(strstr(table.why, "second one"));
    }
    gpt_begin();
    content[2][500] ^= 1;
    assert_int_equal(parse(), 0);
    check(3, 100, 1);
    assert_non_null(strstr(table.why, "second one"));
    content[LAST][30] ^= 1;
    assert_int_equal(parse(), 0);
    assert_int_equal(table.kind, PARTITIONS_GPT);
    check(1, 0, 0);
    assert_non_null(strstr(table.why, "two broken copies"));
}

/* Its sums are right, and still it lies. */
static void test_lying_gpt(void **state)
{
    static const struct {
        u32 offset, bytes;
        u64 value;
    } lies[] = {{12, 4, 513},        {12, 4, 91},    {48, 8, SECTORS}, {40, 8, LAST},
                {72, 8, SECTORS},    {72, 8, ~0ull}, {80, 4, 0},       {80, 4, 1025},
                {80, 4, 0xffffffff}, {84, 4, 64},    {84, 4, 192},     {84, 4, 0x80000000}};

    (void)state;
    for (u32 i = 0; i < ARRAY_SIZE(lies); i++) {
        gpt_begin();
        if (lies[i].bytes == 8)
            put64(content[1] + lies[i].offset, lies[i].value);
        else
            put32(content[1] + lies[i].offset, lies[i].value);
        put32(content[1] + 16, 0);
        put32(content[1] + 16, crc32_of(content[1], lies[i].offset == 12 && lies[i].value > 92 ? 512 : 92));
        assert_int_equal(parse(), 0);
        assert_non_null(strstr(table.why, "second one"));
        check(1, 40, 60);
    }
    gpt_begin();
    gpt_entry(2, 0, 33, 50);
    gpt_entry(2, 2, 100, LAST);
    gpt_entry(2, 31, ~0ull, 0);
    gpt_sums(1, 2);
    assert_int_equal(parse(), 0);
    check(1, 0, 0);
    check(3, 0, 0);
    check(32, 0, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_none),      cmocka_unit_test(test_mbr), cmocka_unit_test(test_bad_mbr),
        cmocka_unit_test(test_overlap),   cmocka_unit_test(test_gpt), cmocka_unit_test(test_broken_gpt),
        cmocka_unit_test(test_lying_gpt),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
