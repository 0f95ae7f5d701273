/* SPDX-License-Identifier: MIT */
/* guest/devices/acpi_pm.c: the power button, power-off, the PM timer and its carry. */
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

enum { STATUS = MACHINE_PM_BASE, ENABLE = STATUS + 2, CONTROL = STATUS + 4, TIMER = STATUS + 8 };

static bool sci(void)
{
    return (board.machine->ioapic.asserted & 1u << MACHINE_SCI) != 0;
}

static void test_power_button(void **state)
{
    (void)state;
    acpi_pm_power_button(&board.machine->acpi_pm);
    assert_false(sci());
    assert_int_equal(port_in(STATUS, 2), 0x100);
    port_out(ENABLE, 2, 0xffff);
    assert_int_equal(port_in(ENABLE, 2), 0x521);
    assert_true(sci());
    assert_int_equal(port_in(STATUS, 4), 0x05210100);
    port_out(STATUS, 2, 0x20); /* another event */
    assert_true(sci());
    port_out(STATUS, 2, 0x100);
    assert_false(sci());
    assert_int_equal(port_in(STATUS, 2), 0);
}

static void test_byte_access(void **state)
{
    (void)state;
    acpi_pm_power_button(&board.machine->acpi_pm);
    assert_int_equal(inb(STATUS + 1), 1);
    outb(ENABLE + 1, 0xff);
    assert_int_equal(port_in(ENABLE, 2), 0x500);
    outb(STATUS, 0xff);
    assert_int_equal(inb(STATUS + 1), 1);
    outb(STATUS + 1, 1);
    assert_false(sci());
}

static void test_power_off(void **state)
{
    (void)state;
    assert_int_equal(port_in(CONTROL, 2), 1); /* ACPI mode is on */
    port_out(CONTROL, 2, ACPI_PM_SLEEP_S5 << 10);
    assert_int_equal(board.power_offs, 0);
    assert_int_equal(port_in(CONTROL, 2), ACPI_PM_SLEEP_S5 << 10 | 1);
    port_out(CONTROL, 2, 1 << 10 | 1 << 13); /* another state */
    assert_int_equal(board.power_offs, 0);
    port_out(CONTROL, 2, ACPI_PM_SLEEP_S5 << 10 | 1 << 13);
    assert_int_equal(board.power_offs, 1);
    assert_int_equal(port_in(CONTROL, 2), ACPI_PM_SLEEP_S5 << 10 | 1);
    outb(CONTROL + 1, ACPI_PM_SLEEP_S5 << 2 | 1 << 5);
    assert_int_equal(board.power_offs, 2);
}

static void test_timer(void **state)
{
    u32 before = port_in(TIMER, 4);

    (void)state;
    time_pass_us(1000000);
    assert_in_range(port_in(TIMER, 4) - before, 3579544, 3579546);
    port_out(TIMER, 4, 0);
    assert_in_range(port_in(TIMER, 4) - before, 3579544, 3579546);
    assert_int_equal(inb(TIMER + 1), (u8)(port_in(TIMER, 4) >> 8));
}

/* The highest bit changes every ten minutes. */
static void test_carry(void **state)
{
    const u64 half = (1ull << 31) * 1000000 / ACPI_PM_TIMER_HZ + 1;

    (void)state;
    assert_int_equal(port_in(STATUS, 2), 0);
    time_pass_us(half);
    assert_int_equal(port_in(STATUS, 2), 1); /* without any timer of the host */
    assert_false(sci());
    port_out(STATUS, 2, 1);
    assert_int_equal(port_in(STATUS, 2), 0);
    port_out(ENABLE, 2, 1);
    assert_true(timer_is_set(&board.machine->acpi_pm.timer));
    time_pass_us(half);
    assert_true(sci());
    assert_false(timer_is_set(&board.machine->acpi_pm.timer));
    port_out(STATUS, 2, 1);
    assert_false(sci());
    assert_true(timer_is_set(&board.machine->acpi_pm.timer));
    port_out(ENABLE, 2, 0);
    assert_false(timer_is_set(&board.machine->acpi_pm.timer));
}

static void test_reset_is_power_on(void **state)
{
    struct acpi_pm before = board.machine->acpi_pm;

    (void)state;
    acpi_pm_power_button(&board.machine->acpi_pm);
    port_out(ENABLE, 2, 0xffff);
    port_out(CONTROL, 2, 0x1c00);
    acpi_pm_reset(&board.machine->acpi_pm);
    assert_memory_equal(&before, &board.machine->acpi_pm, sizeof(before));
}

static void test_abuse(void **state)
{
    (void)state;
    board_abuse(5, 20000, 0x5fe, 0x60e);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_power_button, board_setup, board_teardown),
        cmocka_unit_test_setup_teardown(test_byte_access, board_setup, board_teardown),
        cmocka_unit_test_setup_teardown(test_power_off, board_setup, board_teardown),
        cmocka_unit_test_setup_teardown(test_timer, board_setup, board_teardown),
        cmocka_unit_test_setup_teardown(test_carry, board_setup, board_teardown),
        cmocka_unit_test_setup_teardown(test_reset_is_power_on, board_setup, board_teardown),
        cmocka_unit_test_setup_teardown(test_abuse, board_setup, board_teardown),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
