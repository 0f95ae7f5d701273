/* SPDX-License-Identifier: MIT */
/* PCI functions of the machine, in a configuration space made here: buses behind bridges, some mad. */
// sources: drivers/pci.c
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>
#include <linux/pci_regs.h>

#include "drivers/pci.h"
#include "hv/lib/log.h"
#include "hv/operator/console.h"

#define FUNCTIONS 200

static struct {
    u16 address;
    u32 space[64];
} functions[FUNCTIONS];
static u32 count, reads;
static struct acpi_info acpi;

void log_line(enum log_level level, const char *format, ...)
{
    (void)level, (void)format;
}

void console_printf(const char *format, ...)
{
    (void)format;
}

void host_pci_access_init(const struct acpi_info *info)
{
    (void)info;
}

const char *host_pci_access_name(void)
{
    return "a test";
}

static u32 *space_of(u16 address)
{
    for (u32 i = 0; i < count; i++)
        if (functions[i].address == address)
            return functions[i].space;
    return NULL;
}

u32 host_pci_access_read(u16 address, unsigned offset)
{
    u32 *space = space_of(address);

    assert_true(offset < 256);
    reads++;
    return space ? space[offset / 4] : ~0u;
}

/* Bits of the status register that are written as ones are cleared. */
void host_pci_access_write(u16 address, unsigned offset, u32 value)
{
    u32 *at = &space_of(address)[offset / 4];

    if (offset == PCI_COMMAND)
        value = (value & 0xffff) | (*at & 0xffff0000 & ~value);
    *at = value;
}

static u32 *add(u32 bus, u32 device, u32 function, u32 header)
{
    functions[count].address = (u16)(bus << 8 | device << 3 | function);
    memset(functions[count].space, 0, 256);
    functions[count].space[0] = 0x12340000 + count;
    functions[count].space[PCI_CLASS_REVISION / 4] = 0x01060155;
    functions[count].space[PCI_HEADER_TYPE / 4] = header << 16;
    return functions[count++].space;
}

static void begin(void)
{
    count = reads = 0;
    memset(&acpi, 0, sizeof(acpi));
}

static void test_buses(void **state)
{
    static const u16 expected[] = {0x0000, 0x0008, 0x00f8, 0x00fa, 0x0300, 0x0500};

    (void)state;
    begin();
    add(0, 0, 0, 0);
    add(0, 1, 0, 1)[PCI_PRIMARY_BUS / 4] = 0x00050300; /* a bridge to bus 3 */
    add(0, 31, 0, 0x80);
    add(0, 31, 2, 0);
    add(3, 0, 0, 1)[PCI_PRIMARY_BUS / 4] = 0x00050503;
    add(3, 0, 1, 0);                                   /* not to be found: 3:0.0 has one function */
    add(5, 0, 0, 1)[PCI_PRIMARY_BUS / 4] = 0x00000005; /* a bridge back to bus 0 */
    add(4, 0, 0, 0);                                   /* nobody leads there */
    host_pci_init(&acpi);
    assert_int_equal(host_pci_count, 6);
    for (u32 i = 0; i < 6; i++)
        assert_int_equal(host_pci_functions[i].address, expected[i]);
    assert_int_equal(host_pci_functions[3].class, 0x010601);
    acpi.mcfg[0] = (struct acpi_mcfg_range){0x1000, 0, 4, 4};
    acpi.mcfg_count = 1;
    host_pci_init(&acpi);
    assert_int_equal(host_pci_count, 7);
}

static void test_too_many(void **state)
{
    (void)state;
    begin();
    for (u32 i = 0; i < 150; i++)
        add(0, i / 8, i % 8, 0x80);
    host_pci_init(&acpi);
    assert_int_equal(host_pci_count, HOST_PCI_FUNCTIONS);
}

static void test_capabilities(void **state)
{
    u32 *space;

    (void)state;
    begin();
    space = add(0, 0, 0, 0);
    assert_int_equal(host_pci_capability(0, 9, 0), 0);
    space[PCI_CAPABILITY_LIST / 4] = 0x40;
    assert_int_equal(host_pci_capability(0, 9, 0), 0); /* the status has no such bit */
    space[PCI_COMMAND / 4] = PCI_STATUS_CAP_LIST << 16;
    space[0x40 / 4] = 0x00005009;
    space[0x50 / 4] = 0x00006011;
    space[0x60 / 4] = 0x00000009;
    assert_int_equal(host_pci_capability(0, 9, 0), 0x40);
    assert_int_equal(host_pci_capability(0, 9, 0x40), 0x60);
    assert_int_equal(host_pci_capability(0, 9, 0x60), 0);
    assert_int_equal(host_pci_capability(0, 0x11, 0), 0x50);
    space[0x60 / 4] = 0x00004009; /* a circle */
    assert_int_equal(host_pci_capability(0, 5, 0), 0);
    space[PCI_CAPABILITY_LIST / 4] = 0x10; /* into the header */
    assert_int_equal(host_pci_capability(0, 5, 0), 0);
}

static void test_bars(void **state)
{
    u32 *space;

    (void)state;
    begin();
    space = add(0, 0, 0, 0);
    space[0x10 / 4] = 0xfebf0000;
    space[0x14 / 4] = 0xc001;
    space[0x18 / 4] = 0x8000000c;
    space[0x1c / 4] = 0x12;
    space[0x24 / 4] = 0x80000004; /* 64 bits, and no room for the upper half */
    assert_int_equal(host_pci_bar(0, 0), 0xfebf0000);
    assert_int_equal(host_pci_bar(0, 1), 0);
    assert_int_equal(host_pci_port_bar(0, 1), 0xc000);
    assert_int_equal(host_pci_port_bar(0, 0), 0);
    assert_int_equal(host_pci_bar(0, 2), 0x1280000000);
    assert_int_equal(host_pci_bar(0, 5), 0);
    assert_int_equal(host_pci_bar(0, 255), 0);
}

/* Masters one by one; interrupts off; no bit of the status register is cleared. */
static void test_enable(void **state)
{
    u32 *space;

    (void)state;
    begin();
    space = add(0, 0, 0, 0);
    space[PCI_COMMAND / 4] = 0xf9100100;
    space[PCI_CAPABILITY_LIST / 4] = 0x40;
    space[0x40 / 4] = 0x80015011; /* MSI-X, on */
    space[0x50 / 4] = 0x00810005; /* MSI, on */
    host_pci_enable(0, true);
    assert_int_equal(space[PCI_COMMAND / 4], 0xf9100507);
    assert_int_equal(space[0x40 / 4], 0x00015011);
    assert_int_equal(space[0x50 / 4], 0x00800005);
    host_pci_enable(0, false);
    assert_int_equal(space[PCI_COMMAND / 4], 0xf9100503);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_buses), cmocka_unit_test(test_too_many), cmocka_unit_test(test_capabilities),
        cmocka_unit_test(test_bars),  cmocka_unit_test(test_enable),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
