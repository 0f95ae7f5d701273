/* SPDX-License-Identifier: MIT */
/*
 * A guest's ACPI tables: found from the RSDP on as a kernel finds them, checksums, the numbers that devices
 * are built with, and iasl's opinion of each table.
 */
// sources: guest/load/acpi_tables.c guest/load/dsdt.asl tests/unit/fake_guest_ram.c
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "guest/load/acpi_tables.h"
#include "guest/machine.h"
#include "hv/lib/errno.h"
#include "hv/lib/panic.h"
#include "tests/unit/fake_guest_ram.h"

#define BASE MACHINE_ACPI_BASE

static struct guest_memory memory;

NORETURN void panic_at(const char *file, int line, const char *format, ...)
{
    fprintf(stderr, "panic at %s:%d: %s\n", file, line, format);
    abort();
}

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

static const u8 *table_check(u64 gpa, const char *signature)
{
    const u8 *table = fake_guest_ram_at(gpa);

    assert_true(gpa >= BASE && gpa + word_at(table + 4) <= BASE + ACPI_TABLES_SIZE);
    assert_memory_equal(table, signature, 4);
    assert_true(sums_to_zero(table, word_at(table + 4)));
    return table;
}

/* By signature, through RSDP and XSDT. */
static const u8 *table_find(const char *signature)
{
    const u8 *rsdp = fake_guest_ram_at(BASE), *xsdt;
    u64 at;

    assert_memory_equal(rsdp, "RSD PTR ", 8);
    assert_true(sums_to_zero(rsdp, 20) && sums_to_zero(rsdp, 36));
    assert_int_equal(rsdp[15], 2);
    memcpy(&at, rsdp + 24, 8);
    xsdt = table_check(at, "XSDT");
    for (u32 i = 36; i + 8 <= word_at(xsdt + 4); i += 8) {
        memcpy(&at, xsdt + i, 8);
        if (memcmp(fake_guest_ram_at(at), signature, 4) == 0)
            return table_check(at, signature);
    }
    fail_msg("no %s", signature);
    return NULL;
}

static void write_tables(u32 vcpus)
{
    fake_guest_ram_reset(&memory, 16 << 20);
    assert_int_equal(acpi_tables_write(&memory, BASE, vcpus), 0);
}

static void test_fadt(void **state)
{
    const u8 *fadt;

    (void)state;
    write_tables(1);
    fadt = table_find("FACP");
    assert_int_equal(word_at(fadt + 4), 276);
    assert_int_equal(word_at(fadt + 46) & 0xffff, MACHINE_SCI);
    assert_int_equal(word_at(fadt + 48), 0); /* no SMI: ACPI is on */
    assert_int_equal(word_at(fadt + 56), 0x600);
    assert_int_equal(word_at(fadt + 64), 0x604);
    assert_int_equal(word_at(fadt + 76), 0x608);
    assert_int_equal(word_at(fadt + 109) & 0xffff, 5);  /* legacy devices, no VGA, no 8042 */
    assert_int_equal(word_at(fadt + 112) >> 20 & 1, 0); /* not hardware-reduced */
    assert_int_equal(word_at(fadt + 112) >> 10 & 1, 1); /* reset register */
    assert_int_equal(word_at(fadt + 112) >> 8 & 1, 1);  /* 32-bit PM timer */
    assert_int_equal(word_at(fadt + 116), 0x01000801);  /* a port, 8 bits, byte access */
    assert_int_equal(word_at(fadt + 120), MACHINE_RESET_PORT);
    assert_int_equal(fadt[128], 6);
    table_check(word_at(fadt + 40), "DSDT");
    table_check(word_at(fadt + 140), "DSDT");
}

static void test_facs(void **state)
{
    u32 at;

    (void)state;
    write_tables(1);
    at = word_at(table_find("FACP") + 36);
    assert_memory_equal(fake_guest_ram_at(at), "FACS", 4);
    assert_int_equal(at % 64, 0);
    assert_int_equal(word_at(fake_guest_ram_at(at) + 4), 64);
}

/* Entries by type: what they say, and that they fill the table exactly. */
static void test_madt(void **state)
{
    static const u32 counts[] = {1, 2, 7, 32};

    (void)state;
    for (unsigned i = 0; i < ARRAY_SIZE(counts); i++) {
        u32 found[5] = {0}, at = 44, size;
        const u8 *madt;

        write_tables(counts[i]);
        madt = table_find("APIC");
        size = word_at(madt + 4);
        assert_int_equal(word_at(madt + 36), MACHINE_LAPIC_BASE);
        assert_int_equal(word_at(madt + 40), 1);
        for (; at < size; at += madt[at + 1]) {
            assert_true(madt[at] < 5 && madt[at + 1] >= 6);
            if (madt[at] == 0) {
                assert_int_equal(madt[at + 3], found[0]);
                assert_int_equal(word_at(madt + at + 4), 1);
            }
            found[madt[at]]++;
        }
        assert_int_equal(at, size);
        assert_int_equal(found[0], counts[i]);
        assert_int_equal(found[1], 1);
        assert_int_equal(found[2], 2);
        assert_int_equal(found[4], 1);
    }
}

static void test_madt_lines(void **state)
{
    const u8 *madt;
    u32 at = 44;

    (void)state;
    write_tables(1);
    madt = table_find("APIC");
    assert_int_equal(madt[at], 1);
    assert_int_equal(madt[at + 2], IOAPIC_ID);
    assert_int_equal(word_at(madt + at + 4), MACHINE_IOAPIC_BASE);
    assert_int_equal(word_at(madt + at + 8), 0);
    at += madt[at + 1];
    assert_memory_equal(madt + at, "\2\12\0\0\2\0\0\0\0\0", 10); /* line 0 is pin 2 */
    at += madt[at + 1];
    assert_memory_equal(madt + at, "\2\12\0\11\11\0\0\0\15\0", 10); /* SCI: active high, level */
    at += madt[at + 1];
    assert_memory_equal(madt + at, "\4\6\377\0\0\1", 6); /* LINT1 is NMI everywhere */
}

static bool holds(const u8 *in, u32 size, const void *what, u32 length)
{
    for (u32 i = 0; i + length <= size; i++)
        if (memcmp(in + i, what, length) == 0)
            return true;
    return false;
}

/* The numbers that dsdt.asl repeats: they must be those of the devices. */
static void test_dsdt(void **state)
{
    static const u8 s5[] = {'_', 'S', '5', '_', 0x12, 0x08, 4, 0x0a, ACPI_PM_SLEEP_S5};
    const u8 uart[] = {
        0x47,           1, UART_PORT & 0xff, UART_PORT >> 8, UART_PORT & 0xff, UART_PORT >> 8, 8, 8, 0x22,
        1 << UART_LINE, 0};
    const u8 hole[] = {0, 0, 0, (u8)(MACHINE_HOLE_START >> 24)};
    const u8 pci_end[] = {0xff, 0xff, (u8)((MACHINE_PCI_END - 1) >> 16), (u8)((MACHINE_PCI_END - 1) >> 24)};
    const u8 *dsdt;

    (void)state;
    write_tables(1);
    dsdt = table_check(word_at(table_find("FACP") + 40), "DSDT");
    assert_true(holds(dsdt, word_at(dsdt + 4), s5, sizeof(s5)));
    assert_true(holds(dsdt, word_at(dsdt + 4), uart, sizeof(uart)));
    assert_true(holds(dsdt, word_at(dsdt + 4), hole, sizeof(hole)));
    assert_true(holds(dsdt, word_at(dsdt + 4), pci_end, sizeof(pci_end)));
    for (u8 slot = 1; slot < PCI_BUS_SLOTS; slot++) {
        /* _PRT: a package of slot and function, pin A, no link, the IOAPIC's pin. */
        const u8 route[] = {0x04, 0x0c, 0xff, 0xff, slot, 0, 0, 0, 0x0a, (u8)pci_slot_pin(slot)};

        assert_true(holds(dsdt, word_at(dsdt + 4), route, sizeof(route)));
    }
}

/* iasl reads a table back; what it says of it holds none of its words of doubt. */
static void iasl_reads(const char *folder, const char *name, const u8 *table)
{
    static const char *const doubts[] = {"Incorrect checksum", "Invalid", "Error", "Warning",
                                         "should be",          "mismatch"};
    char path[80], command[250], said[20000];
    FILE *file;
    size_t size;

    snprintf(path, sizeof(path), "%s/%s.dat", folder, name);
    file = fopen(path, "w");
    assert_non_null(file);
    assert_int_equal(fwrite(table, 1, word_at(table + 4), file), word_at(table + 4));
    fclose(file);
    snprintf(command, sizeof(command), "cd %s && iasl -d %s.dat 2>&1 && cat %s.dsl", folder, name, name);
    file = popen(command, "r");
    assert_non_null(file);
    size = fread(said, 1, sizeof(said) - 1, file);
    said[size] = 0;
    assert_int_equal(pclose(file), 0);
    for (unsigned i = 0; i < ARRAY_SIZE(doubts); i++)
        if (strstr(said, doubts[i]))
            fail_msg("iasl says of %s: %s", name, said);
}

static void test_iasl(void **state)
{
    char folder[] = "/tmp/lintel-acpi-XXXXXX", command[60];
    const u8 *fadt;

    (void)state;
    write_tables(32);
    assert_non_null(mkdtemp(folder));
    fadt = table_find("FACP");
    iasl_reads(folder, "facp", fadt);
    iasl_reads(folder, "apic", table_find("APIC"));
    iasl_reads(folder, "facs", fake_guest_ram_at(word_at(fadt + 36)));
    iasl_reads(folder, "xsdt", fake_guest_ram_at(word_at(fake_guest_ram_at(BASE) + 24)));
    iasl_reads(folder, "dsdt", fake_guest_ram_at(word_at(fadt + 40)));
    snprintf(command, sizeof(command), "rm -r %s", folder);
    assert_int_equal(system(command), 0);
}

static void test_no_room(void **state)
{
    (void)state;
    fake_guest_ram_reset(&memory, 16 << 20);
    assert_int_equal(acpi_tables_write(&memory, 0xa0000, 1), -EFAULT);
    fake_guest_ram_full = BASE + 0x200;
    assert_int_equal(acpi_tables_write(&memory, BASE, 1), -ENOMEM);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_fadt),       cmocka_unit_test(test_facs), cmocka_unit_test(test_madt),
        cmocka_unit_test(test_madt_lines), cmocka_unit_test(test_dsdt), cmocka_unit_test(test_iasl),
        cmocka_unit_test(test_no_room),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
