/* SPDX-License-Identifier: MIT */
/* guest/devices/pci.c: a bus with a host bridge and nothing else; test_virtio_blk.c plugs a device in. */
// sources: tests/unit/device_fakes.c hv/run/bus.c hv/run/timer.c guest/devices/acpi_pm.c
// sources: guest/devices/calendar.c guest/devices/clock.c guest/devices/ioapic.c guest/devices/lapic.c
// sources: guest/devices/lapic_base.c guest/devices/lapic_page.c guest/devices/lapic_registers.c
// sources: guest/devices/lapic_timer.c guest/devices/pci.c guest/devices/pic.c guest/devices/pit.c
// sources: guest/devices/reset.c guest/devices/rtc.c guest/devices/uart.c
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#include "tests/unit/device_fakes.h"

static u32 config(u32 bus, u32 device, u32 function, u32 offset)
{
    port_out(0xcf8, 4, 0x80000000 | bus << 16 | device << 11 | function << 8 | (offset & 0xfc));
    return port_in(0xcfc, 4);
}

/* As Linux checks for mechanism 1. */
static void test_mechanism(void **state)
{
    (void)state;
    outb(0xcfb, 1);
    port_out(0xcf8, 4, 0x80000000);
    assert_int_equal(port_in(0xcf8, 4), 0x80000000);
    port_out(0xcf8, 4, ~0u);
    assert_int_equal(port_in(0xcf8, 4), 0x8ffffffc);
}

static void test_host_bridge(void **state)
{
    (void)state;
    assert_int_not_equal(config(0, 0, 0, 0) & 0xffff, 0xffff);
    assert_int_equal(config(0, 0, 0, 8) >> 16, 0x0600);
    assert_int_equal(port_in(0xcfe, 2), 0x0600);
    assert_int_equal(inb(0xcff), 0x06);
    assert_int_equal(config(0, 0, 0, 0xc), 0);
    for (unsigned bar = 0x10; bar < 0x28; bar += 4) {
        config(0, 0, 0, bar);
        port_out(0xcfc, 4, ~0u);
        assert_int_equal(port_in(0xcfc, 4), 0);
    }
    assert_int_equal(config(0, 0, 0, 0xfc), 0);
}

static void test_nobody_else(void **state)
{
    (void)state;
    assert_int_equal(config(0, 0, 1, 0), ~0u);
    assert_int_equal(config(0, 1, 0, 0), ~0u);
    assert_int_equal(config(0, PCI_BUS_SLOTS, 0, 0), ~0u);
    assert_int_equal(config(1, 0, 0, 0), ~0u);
    assert_int_equal(config(255, 31, 7, 0xfc), ~0u);
    assert_int_equal(mmio_in(0, MACHINE_HOLE_START), ~0u); /* and nobody's memory */
    mmio_out(0, MACHINE_PCI_END - 4, 0);
    assert_int_equal(mmio_in(0, MACHINE_PCI_END - 4), ~0u);
    port_out(0xcf8, 4, 0x81000000); /* an extended register of the bridge */
    assert_int_equal(port_in(0xcfc, 4), ~0u);
    port_out(0xcf8, 4, 0); /* not enabled */
    assert_int_equal(port_in(0xcfc, 4), ~0u);
}

/* The reset port lies inside; narrow accesses to the address are none. */
static void test_narrow_accesses(void **state)
{
    (void)state;
    port_out(0xcf8, 4, 0x80000000);
    port_out(0xcf8, 2, 0xffff);
    outb(0xcfa, 0xff);
    assert_int_equal(board.resets, 0);
    assert_int_equal(inb(0xcf8), 0xff);
    assert_int_equal(inb(0xcf9), 0);
    assert_int_equal(port_in(0xcf8, 4), 0x80000000);
}

static void test_reset_is_power_on(void **state)
{
    struct pci_host before = board.machine->pci;

    (void)state;
    port_out(0xcf8, 4, ~0u);
    pci_host_reset(&board.machine->pci);
    assert_memory_equal(&before, &board.machine->pci, sizeof(before));
}

static void test_abuse(void **state)
{
    (void)state;
    board_abuse(6, 20000, 0xcf5, 0xd03);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_mechanism, board_setup, board_teardown),
        cmocka_unit_test_setup_teardown(test_host_bridge, board_setup, board_teardown),
        cmocka_unit_test_setup_teardown(test_nobody_else, board_setup, board_teardown),
        cmocka_unit_test_setup_teardown(test_narrow_accesses, board_setup, board_teardown),
        cmocka_unit_test_setup_teardown(test_reset_is_power_on, board_setup, board_teardown),
        cmocka_unit_test_setup_teardown(test_abuse, board_setup, board_teardown),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
