/* SPDX-License-Identifier: MIT */
/* guest/devices/reset.c: every way to reset, and a keyboard controller without keyboard. */
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

enum { DATA = 0x60, COMMAND = 0x64, OUTPUT_FULL = 1, INPUT_FULL = 2 };

static void test_control(void **state)
{
    (void)state;
    outb(0xcf9, 0x02);
    assert_int_equal(inb(0xcf9), 0x02);
    assert_int_equal(board.resets, 0);
    outb(0xcf9, 0x06);
    assert_int_equal(board.resets, 1);
    outb(0xcf9, 0x0f);
    assert_int_equal(board.resets, 2);
}

static void test_keyboard_controller(void **state)
{
    (void)state;
    outb(COMMAND, 0xff);
    outb(COMMAND, 0xf1);
    assert_int_equal(board.resets, 0);
    outb(COMMAND, 0xfe);
    assert_int_equal(board.resets, 1);
    outb(COMMAND, 0xd1);
    outb(DATA, 0xdf);
    assert_int_equal(board.resets, 1);
    outb(COMMAND, 0xd1);
    outb(DATA, 0xde);
    assert_int_equal(board.resets, 2);
    outb(DATA, 0xfe); /* to the keyboard */
    assert_int_equal(board.resets, 2);
}

static void test_fast_port(void **state)
{
    (void)state;
    assert_int_equal(inb(0x92), 2);
    outb(0x92, 2);
    outb(0x92, 0);
    assert_int_equal(inb(0x92), 2);
    assert_int_equal(board.resets, 0);
    outb(0x92, 3);
    assert_int_equal(board.resets, 1);
}

static u8 answer(void)
{
    assert_int_equal(inb(COMMAND) & (OUTPUT_FULL | INPUT_FULL), OUTPUT_FULL);
    return inb(DATA);
}

/* What i8042.c asks; each answer is there at once. */
static void test_probe(void **state)
{
    u8 mode;

    (void)state;
    assert_int_equal(inb(COMMAND) & (OUTPUT_FULL | INPUT_FULL), 0);
    outb(COMMAND, 0x20);
    mode = answer();
    outb(COMMAND, 0x60);
    outb(DATA, mode | 0x30);
    outb(COMMAND, 0x20);
    assert_int_equal(answer(), mode | 0x30);
    outb(COMMAND, 0xaa);
    assert_int_equal(answer(), 0x55);
    outb(COMMAND, 0xd3);
    outb(DATA, 0x5a);
    assert_int_equal(inb(COMMAND) & 0x20, 0); /* not from a mouse */
    assert_int_equal(answer(), 0x5a);
    outb(COMMAND, 0xa9);
    assert_int_equal(answer(), 1);
    outb(COMMAND, 0xab);
    assert_int_equal(answer(), 1);
    outb(COMMAND, 0xd0);
    assert_int_equal(answer(), 3);
    outb(COMMAND, 0xd4);
    outb(DATA, 0xf2);
    outb(COMMAND, 0xad);
    outb(DATA, 0xed);
    assert_int_equal(inb(COMMAND) & OUTPUT_FULL, 0);
}

static void test_reset_is_power_on(void **state)
{
    struct reset_ports before = board.machine->reset;

    (void)state;
    outb(0xcf9, 0x0a);
    outb(COMMAND, 0x20);
    outb(COMMAND, 0x60);
    reset_ports_reset(&board.machine->reset);
    assert_memory_equal(&before, &board.machine->reset, sizeof(before));
}

static void test_abuse(void **state)
{
    (void)state;
    board_abuse(7, 20000, 0x5e, 0x66);
    board_abuse(8, 2000, 0x90, 0x94);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_control, board_setup, board_teardown),
        cmocka_unit_test_setup_teardown(test_keyboard_controller, board_setup, board_teardown),
        cmocka_unit_test_setup_teardown(test_fast_port, board_setup, board_teardown),
        cmocka_unit_test_setup_teardown(test_probe, board_setup, board_teardown),
        cmocka_unit_test_setup_teardown(test_reset_is_power_on, board_setup, board_teardown),
        cmocka_unit_test_setup_teardown(test_abuse, board_setup, board_teardown),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
