/* SPDX-License-Identifier: MIT */
/* guest/devices/pic.c: the 8259 pair as kernels drive it, and as nobody does. */
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

/* As Linux: vectors 0x30 and 0x38, cascade on 2, 8086 mode. */
static void pic_program(u8 icw4)
{
    outb(0x20, 0x11);
    outb(0x21, 0x30);
    outb(0x21, 0x04);
    outb(0x21, icw4);
    outb(0xa0, 0x11);
    outb(0xa1, 0x38);
    outb(0xa1, 0x02);
    outb(0xa1, icw4);
}

static void line(unsigned number, bool level)
{
    spinlock_take(&board.vm.device_lock);
    machine_set_line(board.machine, number, level);
    spinlock_release(&board.vm.device_lock);
}

static void pulse(unsigned number)
{
    line(number, true);
    line(number, false);
}

static void test_masked_after_power_on(void **state)
{
    (void)state;
    assert_int_equal(inb(0x21), 0xff);
    assert_int_equal(inb(0xa1), 0xff);
    pulse(1);
    assert_int_equal(take_interrupt(0), -1);
}

/* Linux finds out whether there is a PIC by reading its mask back. */
static void test_probe(void **state)
{
    (void)state;
    outb(0xa1, 0xff);
    outb(0x21, 0xfb);
    assert_int_equal(inb(0x21), 0xfb);
}

static void test_priority_and_eoi(void **state)
{
    (void)state;
    pic_program(1);
    assert_int_equal(inb(0x21), 0);
    pulse(4);
    pulse(1);
    assert_int_equal(take_interrupt(0), 0x31);
    assert_int_equal(take_interrupt(0), -1); /* 4 is lower than 1 in service */
    pulse(0);
    assert_int_equal(take_interrupt(0), 0x30);
    outb(0x20, 0x20);
    outb(0x20, 0x20);
    assert_int_equal(take_interrupt(0), 0x34);
    outb(0x20, 0x64); /* specific end of 4 */
    assert_false(pic_output(&board.machine->pic));
}

static void test_slave(void **state)
{
    (void)state;
    pic_program(1);
    pulse(8);
    pulse(12);
    assert_int_equal(take_interrupt(0), 0x38);
    outb(0xa0, 0x0b);
    assert_int_equal(inb(0xa0), 0x01);
    outb(0xa0, 0x0a);
    assert_int_equal(inb(0xa0), 0x10);
    outb(0xa0, 0x20);
    outb(0x20, 0x20);
    assert_int_equal(take_interrupt(0), 0x3c);
}

/* Both spurious vectors: the request is masked between INT and acknowledgement. */
static void test_spurious(void **state)
{
    struct pic *pic = &board.machine->pic;

    (void)state;
    pic_program(1);
    pulse(3);
    outb(0x21, 0xff);
    assert_int_equal(pic_acknowledge(pic), 0x37);
    outb(0x20, 0x0b);
    assert_int_equal(inb(0x20), 0);
    outb(0x21, 0);
    assert_int_equal(take_interrupt(0), 0x33);
}

static void test_level_follows_the_line(void **state)
{
    (void)state;
    pic_program(1);
    port_out(0x4d0, 2, 0xffff);
    assert_int_equal(port_in(0x4d0, 2), 0xdef8);
    line(5, true);
    line(5, false);
    assert_int_equal(take_interrupt(0), -1);
    line(5, true);
    assert_int_equal(take_interrupt(0), 0x35);
    outb(0x20, 0x20);
    assert_int_equal(take_interrupt(0), 0x35); /* still up: again */
    line(5, false);
    outb(0x20, 0x20);
    assert_int_equal(take_interrupt(0), -1);
}

static void test_rotation(void **state)
{
    (void)state;
    pic_program(1);
    pulse(0);
    assert_int_equal(take_interrupt(0), 0x30);
    outb(0x20, 0xa0); /* rotate on non-specific EOI: 0 is lowest now */
    pulse(0);
    pulse(7);
    assert_int_equal(take_interrupt(0), 0x37);
    outb(0x20, 0x20);
    outb(0x20, 0xc2); /* 2 is lowest: 3 highest */
    pulse(3);
    assert_int_equal(take_interrupt(0), 0x33);
    outb(0x20, 0xe3); /* ends 3 and makes it lowest */
    assert_int_equal(take_interrupt(0), 0x30);
}

static void test_special_mask(void **state)
{
    (void)state;
    pic_program(1);
    pulse(1);
    assert_int_equal(take_interrupt(0), 0x31);
    pulse(4);
    outb(0x21, 0x02);
    assert_int_equal(take_interrupt(0), -1);
    outb(0x20, 0x68);
    assert_int_equal(take_interrupt(0), 0x34);
}

static void test_auto_eoi(void **state)
{
    (void)state;
    pic_program(3);
    pulse(6);
    pulse(5);
    assert_int_equal(take_interrupt(0), 0x35);
    assert_int_equal(take_interrupt(0), 0x36);
    assert_int_equal(take_interrupt(0), -1);
}

static void test_poll(void **state)
{
    (void)state;
    pic_program(1);
    outb(0x20, 0x0c);
    assert_int_equal(inb(0x20), 0);
    pulse(6);
    outb(0x20, 0x0c);
    assert_int_equal(inb(0x20), 0x86);
    assert_int_equal(inb(0x20), 0); /* IRR: it is in service */
    assert_int_equal(take_interrupt(0), -1);
}

/* The IOAPIC's pin 0 in ExtINT mode is the other way to the CPU. */
static void test_through_ioapic(void **state)
{
    (void)state;
    mmio_out(0, MACHINE_LAPIC_BASE + 0x350, 0x10000);
    pic_program(1);
    pulse(4);
    assert_int_equal(take_interrupt(0), -1);
    outb(0x20, 0x20);
    pic_acknowledge(&board.machine->pic);
    outb(0x20, 0x20);
    mmio_out(0, MACHINE_IOAPIC_BASE, 0x10);
    mmio_out(0, MACHINE_IOAPIC_BASE + 0x10, 0x700);
    pulse(3);
    assert_int_equal(take_interrupt(0), 0x33);
    assert_int_equal(take_interrupt(0), -1);
}

static void test_reset_is_power_on(void **state)
{
    struct pic before = board.machine->pic;

    (void)state;
    pic_program(3);
    line(5, true);
    pic_reset(&board.machine->pic);
    assert_memory_equal(&before, &board.machine->pic, sizeof(before));
}

static void test_abuse(void **state)
{
    (void)state;
    board_abuse(1, 20000, 0x20, 0x21);
    board_abuse(2, 20000, 0xa0, 0xa1);
    board_abuse(3, 2000, 0x4ce, 0x4d3);
    for (unsigned i = 0; i < 40; i++)
        line(i, true);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_masked_after_power_on, board_setup, board_teardown),
        cmocka_unit_test_setup_teardown(test_probe, board_setup, board_teardown),
        cmocka_unit_test_setup_teardown(test_priority_and_eoi, board_setup, board_teardown),
        cmocka_unit_test_setup_teardown(test_slave, board_setup, board_teardown),
        cmocka_unit_test_setup_teardown(test_spurious, board_setup, board_teardown),
        cmocka_unit_test_setup_teardown(test_level_follows_the_line, board_setup, board_teardown),
        cmocka_unit_test_setup_teardown(test_rotation, board_setup, board_teardown),
        cmocka_unit_test_setup_teardown(test_special_mask, board_setup, board_teardown),
        cmocka_unit_test_setup_teardown(test_auto_eoi, board_setup, board_teardown),
        cmocka_unit_test_setup_teardown(test_poll, board_setup, board_teardown),
        cmocka_unit_test_setup_teardown(test_through_ioapic, board_setup, board_teardown),
        cmocka_unit_test_setup_teardown(test_reset_is_power_on, board_setup, board_teardown),
        cmocka_unit_test_setup_teardown(test_abuse, board_setup, board_teardown),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
