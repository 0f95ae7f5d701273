/* SPDX-License-Identifier: MIT */
/*
 * The parser of the machine's ACPI tables on memory made here. Every map is a copy of exactly the bytes that
 * were asked for, so that the sanitizer sees a read beyond them, and every unmap is counted.
 */
// sources: drivers/acpi.c hv/lib/string.c
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <asm-generic/errno.h>
#include <cmocka.h>

#include "drivers/acpi.h"
#include "drivers/acpi_tables.h"
#include "hv/lib/log.h"

#define MEMORY_SIZE 0x100000 /* the first MiB: BIOS areas and all tables of the tests */

static u8 memory[MEMORY_SIZE];
static int maps;
static int warnings;
static char last_warning[300];

void log_line(enum log_level level, const char *format, ...)
{
    va_list args;

    (void)level;
    va_start(args, format);
    vsnprintf(last_warning, sizeof(last_warning), format, args);
    va_end(args);
    warnings++;
}

static const void *map(hpa_t address, u64 size)
{
    void *copy;

    if (address > MEMORY_SIZE || size > MEMORY_SIZE - address)
        return NULL;
    copy = malloc(size);
    memcpy(copy, memory + address, size);
    maps++;
    return copy;
}

static void unmap(const void *at, u64 size)
{
    (void)size;
    maps--;
    free((void *)(uintptr_t)at);
}

static const struct acpi_memory access = {map, unmap};

static void fix_sum(u8 *sum, const void *at, size_t bytes)
{
    const u8 *byte = at;

    for (*sum = 0; bytes-- > 0; byte++)
        if (byte != sum)
            *sum = (u8)(*sum - *byte);
}

static void finish(hpa_t address, const char *signature, u32 length)
{
    struct acpi_header *header = (void *)(memory + address);

    memcpy(header->signature, signature, 4);
    header->length = length;
    fix_sum(&header->checksum, header, length);
}

enum {
    RSDP = 0xf0000,
    XSDT = 0x1000,
    RSDT = 0x1800,
    MADT = 0x2000,
    FADT = 0x3000,
    DSDT = 0x4000,
    HPET = 0x5000,
    MCFG = 0x6000
};

static void put_rsdp(hpa_t address, u8 revision)
{
    struct acpi_rsdp *rsdp = (void *)(memory + address);

    *rsdp = (struct acpi_rsdp){
        .signature = "RSD PTR ", .revision = revision, .rsdt = RSDT, .length = 36, .xsdt = XSDT};
    fix_sum(&rsdp->checksum, rsdp, 20);
    fix_sum(&rsdp->extended_checksum, rsdp, 36);
}

static void put_roots(void)
{
    static const u64 tables[] = {MADT, FADT, HPET, MCFG};
    size_t i;

    for (i = 0; i < ARRAY_SIZE(tables); i++) {
        memcpy(memory + XSDT + 36 + 8 * i, &tables[i], 8);
        memcpy(memory + RSDT + 36 + 4 * i, &tables[i], 4);
    }
    finish(XSDT, "XSDT", 36 + 8 * 4);
    finish(RSDT, "RSDT", 36 + 4 * 4);
}

/* clang-format off */
static const u8 madt_entries[] = {
    0, 8, 0, 0, 1, 0, 0, 0,                                     /* CPU, APIC 0, enabled */
    0, 8, 1, 5, 0, 0, 0, 0,                                     /* CPU, APIC 5, not enabled */
    0, 8, 2, 0xff, 1, 0, 0, 0,                                  /* no CPU */
    0, 8, 1, 6, 1, 0, 0, 0,                                     /* CPU, APIC 6, enabled */
    9, 16, 0, 0, 6, 0, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0,            /* APIC 6 again */
    9, 16, 0, 0, 0x2c, 1, 0, 0, 1, 0, 0, 0, 3, 0, 0, 0,         /* x2APIC 300 */
    1, 12, 7, 0, 0, 0, 0xc0, 0xfe, 0, 0, 0, 0,                  /* IOAPIC 7 */
    2, 10, 0, 0, 2, 0, 0, 0, 0, 0,                              /* IRQ 0 is GSI 2, as the bus has it */
    2, 10, 0, 9, 9, 0, 0, 0, 0x0f, 0,                           /* IRQ 9: level, low */
    2, 10, 0, 4, 20, 0, 0, 0, 0x05, 0,                          /* IRQ 4 is GSI 20: edge, high */
    4, 6, 0xff, 0, 0, 1,                                        /* NMI: of no interest */
    5, 12, 0, 0, 0, 0, 0xe0, 0xfe, 1, 0, 0, 0,                  /* local APICs at 0x1fee00000 */
};
static const u8 dsdt_body[] = {
    0x10, 0x20, '\\', '_', 'S', 'B', '_',                       /* Scope */
    0x0d, '_', 'S', '5', '_', 0,                                /* a string, not the name */
    0x08, '\\', '_', 'S', '5', '_', 0x12, 0x08, 4, 0x0a, 5, 0x0a, 6, 0, 0,
};
/* clang-format on */

static void put_madt(void)
{
    struct acpi_madt *madt = (void *)(memory + MADT);

    madt->lapic_address = 0xfee00000;
    memcpy(madt + 1, madt_entries, sizeof(madt_entries));
    finish(MADT, "APIC", sizeof(*madt) + sizeof(madt_entries));
}

static void put_fadt(u32 length)
{
    struct acpi_fadt *fadt = (void *)(memory + FADT);

    *fadt = (struct acpi_fadt){.dsdt = DSDT,
                               .smi_command = 0xb2,
                               .acpi_enable = 0xf1,
                               .pm1a_control = 0x604,
                               .pm_timer = 0x608,
                               .flags = ACPI_FADT_RESET | ACPI_FADT_TIMER_32,
                               .reset = {.space = ACPI_SPACE_PORT, .bit_width = 8, .address = 0xcf9},
                               .reset_value = 0x0f,
                               .x_pm1b_control = {.space = ACPI_SPACE_PORT, .address = 0x704}};
    finish(FADT, "FACP", length);
}

static void put_others(void)
{
    struct acpi_hpet *hpet = (void *)(memory + HPET);
    struct acpi_mcfg_entry *range = (void *)(memory + MCFG + sizeof(struct acpi_mcfg));

    memcpy(memory + DSDT + 36, dsdt_body, sizeof(dsdt_body));
    finish(DSDT, "DSDT", 36 + sizeof(dsdt_body));
    hpet->base = (struct acpi_gas){.space = ACPI_SPACE_MEMORY, .address = 0xfed00000};
    finish(HPET, "HPET", sizeof(*hpet));
    range[0] = (struct acpi_mcfg_entry){.base = 0xb0000000, .last_bus = 255};
    range[1] = (struct acpi_mcfg_entry){.base = 0xb0000123, .last_bus = 255};               /* not aligned */
    range[2] = (struct acpi_mcfg_entry){.base = 0xc0000000, .first_bus = 9, .last_bus = 8}; /* backwards */
    finish(MCFG, "MCFG", sizeof(struct acpi_mcfg) + 3 * sizeof(*range));
}

static int setup(void **state)
{
    (void)state;
    memset(memory, 0, sizeof(memory));
    put_rsdp(RSDP, 2);
    put_roots();
    put_madt();
    put_fadt(sizeof(struct acpi_fadt));
    put_others();
    warnings = maps = 0;
    last_warning[0] = 0;
    return 0;
}

static int no_map_is_left(void **state)
{
    (void)state;
    return maps;
}

static struct acpi_info info;

static int parse(void)
{
    return acpi_parse(memory + RSDP, &access, &info);
}

static void test_everything_is_read(void **state)
{
    (void)state;
    assert_int_equal(parse(), 0);
    assert_int_equal(warnings, 2); /* the two impossible MCFG ranges */
    assert_int_equal(info.cpu_count, 3);
    assert_int_equal(info.cpus_disabled, 1);
    assert_int_equal(info.apic_ids[0], 0);
    assert_int_equal(info.apic_ids[1], 6);
    assert_int_equal(info.apic_ids[2], 300);
    assert_int_equal(info.ioapic_count, 1);
    assert_true(info.ioapics[0].address == 0xfec00000 && info.ioapics[0].id == 7);
    assert_true(info.lapic_address == 0x1fee00000);
    assert_true(info.has_fadt && info.pm_timer_32);
    assert_int_equal(info.pm1a_control, 0x604);
    assert_int_equal(info.pm1b_control, 0x704);
    assert_int_equal(info.pm_timer, 0x608);
    assert_int_equal(info.smi_command, 0xb2);
    assert_int_equal(info.acpi_enable, 0xf1);
    assert_true(info.reset.address == 0xcf9 && !info.reset.memory);
    assert_int_equal(info.reset_value, 0x0f);
    assert_int_equal(info.sleep_type_a, 5);
    assert_int_equal(info.sleep_type_b, 6);
    assert_true(info.hpet_address == 0xfed00000);
    assert_int_equal(info.mcfg_count, 1);
    assert_true(info.mcfg[0].base == 0xb0000000 && info.mcfg[0].last_bus == 255);
}

static void test_overrides(void **state)
{
    (void)state;
    assert_int_equal(parse(), 0);
    assert_int_equal(info.isa_irqs[0].gsi, 2);
    assert_false(info.isa_irqs[0].level_triggered || info.isa_irqs[0].active_low);
    assert_int_equal(info.isa_irqs[4].gsi, 20);
    assert_false(info.isa_irqs[4].level_triggered || info.isa_irqs[4].active_low);
    assert_int_equal(info.isa_irqs[9].gsi, 9);
    assert_true(info.isa_irqs[9].level_triggered && info.isa_irqs[9].active_low);
    assert_int_equal(info.isa_irqs[3].gsi, 3);
}

static void test_an_old_machine(void **state)
{
    (void)state;
    put_rsdp(RSDP, 0);
    memset(memory + RSDP + 20, 0xee, 16); /* what follows the old structure is something else */
    put_fadt(ACPI_FADT_SIZE_1);
    memset(memory + FADT + ACPI_FADT_SIZE_1, 0xee, 256);
    assert_int_equal(parse(), 0);
    assert_int_equal(info.cpu_count, 3);
    assert_int_equal(info.pm1a_control, 0x604);
    assert_int_equal(info.pm1b_control, 0);
    assert_true(info.reset.address == 0);
    assert_int_equal(info.sleep_type_a, 5);
}

static void test_a_broken_xsdt_leads_to_the_rsdt(void **state)
{
    (void)state;
    memory[XSDT + 40] ^= 1;
    assert_int_equal(parse(), 0);
    assert_int_equal(info.cpu_count, 3);
    assert_non_null(strstr(last_warning, "PCI configuration"));
    memory[RSDT + 40] ^= 1;
    assert_int_equal(parse(), -EINVAL);
    assert_non_null(strstr(last_warning, "RSDT at 0x1800 has a wrong checksum"));
}

static void test_no_root_pointer_leaves_defaults(void **state)
{
    (void)state;
    memory[RSDP + 9] ^= 1;
    assert_int_equal(parse(), -EINVAL);
    assert_int_equal(info.cpu_count, 0);
    assert_int_equal(info.isa_irqs[15].gsi, 15);
    assert_int_equal(info.sleep_type_a, ACPI_SLEEP_UNKNOWN);
    assert_true(info.lapic_address == 0xfee00000);
    assert_int_equal(acpi_parse(NULL, &access, &info), -ENOENT);
}

static void test_one_bad_table_does_not_spoil_the_others(void **state)
{
    (void)state;
    memory[MADT + 50] ^= 1;
    assert_int_equal(parse(), 0);
    assert_int_equal(info.cpu_count, 0);
    assert_int_equal(info.pm1a_control, 0x604);
}

static void test_lying_lengths(void **state)
{
    static const u32 lengths[] = {0, 35, 43, 0x100001, 0xffffffff};
    size_t i;

    (void)state;
    for (i = 0; i < ARRAY_SIZE(lengths); i++) {
        memcpy(memory + MADT + 4, &lengths[i], 4);
        assert_int_equal(parse(), 0);
        assert_int_equal(info.cpu_count, 0);
    }
}

static void test_broken_madt_entries(void **state)
{
    static const struct {
        u8 bytes[12];
        u32 length;
    } rows[] = {
        {{0, 0}, 8},                                /* an entry of length 0 would be read for ever */
        {{0, 1}, 8},          {{0, 7, 0, 9, 1}, 8}, /* too short for its type */
        {{0, 9, 0, 9, 1}, 8},                       /* longer than the table */
        {{1, 8}, 8},          {{0}, 1},             /* half an entry */
    };
    size_t i;

    (void)state;
    for (i = 0; i < ARRAY_SIZE(rows); i++) {
        setup(NULL);
        memcpy(memory + MADT + 44 + 8, rows[i].bytes, sizeof(rows[i].bytes));
        finish(MADT, "APIC", 44 + 8 + rows[i].length);
        assert_int_equal(parse(), 0);
        assert_int_equal(info.cpu_count, 1);
        assert_int_equal(warnings, 3);
    }
}

/* Firmware lists every CPU that might ever be plugged in; these must not take the room of those that are. */
static void test_many_disabled_cpus(void **state)
{
    u8 *at = memory + MADT + 44;
    u32 i;

    (void)state;
    for (i = 0; i < 200; i++, at += 8)
        memcpy(at, (u8[]){0, 8, 0, (u8)i, i >= 198, 0, 0, 0}, 8);
    finish(MADT, "APIC", (u32)(at - (memory + MADT)));
    assert_int_equal(parse(), 0);
    assert_int_equal(info.cpu_count, 2);
    assert_int_equal(info.cpus_disabled, 198);
    assert_int_equal(info.apic_ids[0], 198);
}

static void test_too_many_of_everything(void **state)
{
    u8 *at = memory + MADT + 44;
    u32 i;

    (void)state;
    for (i = 0; i < 100; i++, at += 8)
        memcpy(at, (u8[]){0, 8, 0, (u8)i, 1, 0, 0, 0}, 8);
    for (i = 0; i < 20; i++, at += 12)
        memcpy(at, (u8[]){1, 12, (u8)i, 0, 0, 0, 0xc0, 0xfe, (u8)i, 0, 0, 0}, 12);
    finish(MADT, "APIC", (u32)(at - (memory + MADT)));
    assert_int_equal(parse(), 0);
    assert_int_equal(info.cpu_count, ACPI_CPUS);
    assert_int_equal(info.ioapic_count, ACPI_IOAPICS);
}

static void test_sleep_types(void **state)
{
    static const struct {
        u8 aml[16];
        u8 length, type_a, type_b;
    } rows[] = {
        {{8, '_', 'S', '5', '_', 0x12, 6, 4, 0, 0, 0, 0}, 12, 0, 0},
        {{8, '_', 'S', '5', '_', 0x12, 6, 2, 1, 0x0a, 7}, 11, 1, 7},
        {{8, '_', 'S', '5', '_', 0x12, 0x46, 0, 2, 1, 1}, 11, 1, 1},       /* PkgLength of two bytes */
        {{8, '_', 'S', '5', '_', 0x12, 6, 1, 1, 1}, 10, 0xff, 0xff},       /* one element */
        {{8, '_', 'S', '5', '_', 0x12, 6, 2, 0x0a, 8, 0}, 11, 0xff, 0xff}, /* SLP_TYP has three bits */
        {{8, '_', 'S', '5', '_', 0x12, 6, 2, 0x0a}, 9, 0xff, 0xff},        /* ends in between */
        {{8, '_', 'S', '5', '_', 0x12, 6, 2, 1}, 9, 0xff, 0xff},
        {{8, '_', 'S', '5', '_', 0x12}, 6, 0xff, 0xff},
        {{8, '_', 'S', '5', '_', 0x12, 0xc6}, 7, 0xff, 0xff},
        {{8, '_', 'S', '5', '_'}, 5, 0xff, 0xff},
        {{9, '_', 'S', '5', '_', 0x12, 6, 2, 0, 0}, 10, 0xff, 0xff}, /* not a NameOp */
        {{'_', 'S', '5', '_', 0x12, 6, 2, 0, 0}, 9, 0xff, 0xff},
        {{0}, 0, 0xff, 0xff},
    };
    size_t i;

    (void)state;
    for (i = 0; i < ARRAY_SIZE(rows); i++) {
        memcpy(memory + DSDT + 36, rows[i].aml, sizeof(rows[i].aml));
        finish(DSDT, "DSDT", 36u + rows[i].length);
        assert_int_equal(parse(), 0);
        assert_int_equal(info.sleep_type_a, rows[i].type_a);
        assert_int_equal(info.sleep_type_b, rows[i].type_b);
    }
}

static void test_the_bios_area_is_searched(void **state)
{
    u8 rsdp[36];

    (void)state;
    assert_int_equal(acpi_find_rsdp(&access, rsdp), 0);
    assert_memory_equal(rsdp, memory + RSDP, 36);
    memset(memory + RSDP, 0, 36);
    assert_int_equal(acpi_find_rsdp(&access, rsdp), -ENOENT);
    put_rsdp(0x9fc10, 2);
    assert_int_equal(acpi_find_rsdp(&access, rsdp), -ENOENT); /* nobody told where the EBDA is */
    memcpy(memory + 0x40e, (u8[]){0xc0, 0x9f}, 2);
    assert_int_equal(acpi_find_rsdp(&access, rsdp), 0);
    assert_memory_equal(rsdp, memory + 0x9fc10, 36);
    memset(memory + 0x9fc10, 0, 36);
    memcpy(memory + 0xffff0 - 16, "RSD PTR ", 8); /* at the very end, and with a wrong sum */
    memcpy(memory + 0xffff0, "RSD PTR ", 8);
    assert_int_equal(acpi_find_rsdp(&access, rsdp), -ENOENT);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, no_map_is_left)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_everything_is_read),
        TEST(test_overrides),
        TEST(test_an_old_machine),
        TEST(test_a_broken_xsdt_leads_to_the_rsdt),
        TEST(test_no_root_pointer_leaves_defaults),
        TEST(test_one_bad_table_does_not_spoil_the_others),
        TEST(test_lying_lengths),
        TEST(test_broken_madt_entries),
        TEST(test_many_disabled_cpus),
        TEST(test_too_many_of_everything),
        TEST(test_sleep_types),
        TEST(test_the_bios_area_is_searched),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
