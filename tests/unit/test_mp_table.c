/* SPDX-License-Identifier: MIT */
/* A guest's MP table: found and walked as a kernel does it, entry by entry, and compared with the devices. */
// sources: guest/load/mp_table.c tests/unit/fake_guest_ram.c
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#include "guest/load/mp_table.h"
#include "guest/machine.h"
#include "hv/lib/errno.h"
#include "tests/unit/fake_guest_ram.h"

#define SIGNATURE 0x00800f12u
#define FEATURES  0x178bfbffu

static struct guest_memory memory;

static u32 word_at(const u8 *at)
{
    return at[0] | at[1] << 8 | at[2] << 16 | (u32)at[3] << 24;
}

static bool sums_to_zero(const u8 *at, u32 size)
{
    u8 sum = 0;

    for (u32 i = 0; i < size; i++)
        sum = (u8)(sum + at[i]);
    return sum == 0;
}

/* The configuration table, by the floating pointer that is searched for from 0xf0000 on. */
static const u8 *table_find(u32 vcpus, u32 boot)
{
    const u8 *pointer, *table;

    fake_guest_ram_reset(&memory, 64 << 20);
    assert_int_equal(mp_table_write(&memory, vcpus, boot, SIGNATURE, FEATURES), 0);
    pointer = fake_guest_ram_at(0xf0000);
    assert_memory_equal(pointer, "_MP_", 4);
    assert_int_equal(pointer[8], 1); /* of 16 bytes */
    assert_int_equal(pointer[9], 4);
    assert_memory_equal(pointer + 11, "\0\0\0\0\0", 5);
    assert_true(sums_to_zero(pointer, 16));
    table = fake_guest_ram_at(word_at(pointer + 4));
    assert_memory_equal(table, "PCMP", 4);
    assert_int_equal(table[6], 4);
    assert_true(sums_to_zero(table, word_at(table + 4) & 0xffff));
    assert_int_equal(word_at(table + 36), MACHINE_LAPIC_BASE);
    return table;
}

/* Entries by type; they fill the table exactly and stand in the order of their types. */
static void count_entries(const u8 *table, u32 counts[5])
{
    u32 at = 44, length = word_at(table + 4) & 0xffff, entries = word_at(table + 34) & 0xffff, last = 0;

    memset(counts, 0, 5 * sizeof(counts[0]));
    for (u32 i = 0; i < entries; i++) {
        assert_true(table[at] < 5 && table[at] >= last);
        last = table[at];
        counts[last]++;
        at += last == 0 ? 20 : 8;
    }
    assert_int_equal(at, length);
}

static void test_processors(void **state)
{
    static const u32 sizes[] = {1, 2, 5, 32};

    (void)state;
    for (unsigned i = 0; i < ARRAY_SIZE(sizes); i++) {
        const u8 *table = table_find(sizes[i], 0);
        u32 counts[5];

        count_entries(table, counts);
        assert_int_equal(counts[0], sizes[i]);
        assert_int_equal(counts[1], 2);
        assert_int_equal(counts[2], 1);
        assert_int_equal(counts[3], 15 + PCI_BUS_SLOTS - 1);
        assert_int_equal(counts[4], 2);
        for (u32 cpu = 0; cpu < sizes[i]; cpu++) { /* the first of them is the boot processor */
            const u8 *entry = table + 44 + 20 * cpu;

            assert_int_equal(entry[1], cpu);
            assert_int_equal(entry[2], 0x14);
            assert_int_equal(entry[3], cpu == 0 ? 3 : 1);
            assert_int_equal(word_at(entry + 4), SIGNATURE);
            assert_int_equal(word_at(entry + 8), FEATURES);
        }
    }
}

/* Behind one processor: buses, IOAPIC, the lines, the local pins. */
static void test_lines(void **state)
{
    const u8 *at = table_find(1, 0) + 44 + 20;
    unsigned line = 0;

    (void)state;
    assert_memory_equal(at, "\1\0PCI   ", 8);
    assert_memory_equal(at + 8, "\1\1ISA   ", 8);
    at += 16;
    assert_int_equal(at[1], IOAPIC_ID);
    assert_int_equal(at[2], 0x20);
    assert_int_equal(at[3], 1);
    assert_int_equal(word_at(at + 4), MACHINE_IOAPIC_BASE);
    for (at += 8; *at == 3 && at[4] == 1; at += 8, line++) {
        u8 expected[8] = {3, 0, 0, 0, 1, 0, IOAPIC_ID, 0};

        line += line == 2; /* the cascade is no line */
        expected[2] = line == 9 ? 0x0d : 0;
        expected[5] = (u8)line;
        expected[7] = (u8)(line == 0 ? 2 : line);
        assert_memory_equal(at, expected, sizeof(expected));
    }
    assert_int_equal(line, 16);
    for (u8 slot = 1; slot < PCI_BUS_SLOTS; slot++, at += 8) { /* INTA of each slot: low, level */
        const u8 expected[8] = {3, 0, 0x0f, 0, 0, (u8)(slot << 2), IOAPIC_ID, (u8)(16 + slot % 8)};

        assert_memory_equal(at, expected, sizeof(expected));
    }
    assert_memory_equal(at, "\4\3\0\0\1\0\0\0", 8);       /* ExtINT: LINT0 of the boot CPU */
    assert_memory_equal(at + 8, "\4\1\0\0\1\0\377\1", 8); /* NMI: LINT1 of all */
}

/* Another one is the boot processor: its flag, and where ExtINT arrives. */
static void test_another_boots(void **state)
{
    const u8 *at = table_find(3, 2) + 44;
    u32 length = word_at(at - 44 + 4) & 0xffff;

    (void)state;
    assert_int_equal(at[3], 1);
    assert_int_equal(at[23], 1);
    assert_int_equal(at[43], 3);
    assert_memory_equal(at - 44 + length - 16, "\4\3\0\0\1\0\2\0", 8);
}

static void test_no_room(void **state)
{
    (void)state;
    fake_guest_ram_reset(&memory, 64 << 20);
    fake_guest_ram_full = 0xf0000;
    assert_int_equal(mp_table_write(&memory, 2, 0, 0, 0), -ENOMEM);
    fake_guest_ram_full = 0xf0000 + 16 + 44 + 100;
    assert_int_equal(mp_table_write(&memory, 32, 0, 0, 0), -ENOMEM);
    fake_guest_ram_full = ~0ull;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_processors),
        cmocka_unit_test(test_lines),
        cmocka_unit_test(test_another_boots),
        cmocka_unit_test(test_no_room),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
