/* SPDX-License-Identifier: MIT */
/* guest/devices/uart.c: detection, interrupts, FIFO, loop-back as the 8250 driver uses them. */
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

enum { DATA = 0x3f8, IER, IIR, LCR, MCR, LSR, MSR, SCR };

static bool irq4(void)
{
    return board.machine->uart.line;
}

static void test_detection(void **state)
{
    (void)state;
    outb(IER, 0x0f);
    assert_int_equal(inb(IER), 0x0f);
    outb(IER, 0xf0);
    assert_int_equal(inb(IER), 0);
    outb(MCR, 0x1a);
    assert_int_equal(inb(MSR) & 0xf0, 0x90);
    outb(MCR, 0);
    outb(IIR, 1);
    assert_int_equal(inb(IIR), 0xc1);
    outb(IIR, 0);
    assert_int_equal(inb(IIR), 0x01);
    outb(SCR, 0x5a);
    assert_int_equal(inb(SCR), 0x5a);
    outb(LCR, 0x83);
    port_out(DATA, 2, 0x1234); /* two bytes at once: both halves of the divisor */
    assert_int_equal(port_in(DATA, 2), 0x1234);
    outb(LCR, 0x03);
    assert_int_equal(inb(LCR), 0x03);
    assert_int_equal(inb(IER), 0);
    assert_int_equal(inb(LSR), 0x60);
    assert_int_equal(inb(MSR), 0xb2); /* DSR has changed since the loop-back */
    assert_int_equal(inb(MSR), 0xb0);
}

static void test_output(void **state)
{
    (void)state;
    for (const char *text = "hello\n"; *text != 0; text++) {
        assert_int_equal(inb(LSR) & 0x20, 0x20);
        outb(DATA, (u8)*text);
    }
    assert_int_equal(board.written_size, 6);
    assert_memory_equal(board.written, "hello\n", 6);
}

/* As the driver sends: enable, take the interrupt, read IIR, write a FIFO's worth, read IIR, disable. */
static void test_empty_interrupt(void **state)
{
    (void)state;
    outb(MCR, 0x0b);
    outb(IIR, 0x01);
    assert_false(irq4());
    outb(IER, 0x02);
    assert_true(irq4());
    assert_int_equal(inb(IIR), 0xc2);
    assert_false(irq4());
    assert_int_equal(inb(IIR), 0xc1);
    outb(DATA, 'a');
    assert_true(irq4());
    outb(DATA, 'b');
    assert_int_equal(inb(IIR), 0xc2);
    outb(IER, 0);
    outb(IER, 2); /* enabling it again reports it again */
    assert_int_equal(inb(IIR), 0xc2);
    outb(IER, 2); /* but not when it was on */
    assert_int_equal(inb(IIR), 0xc1);
}

static void test_input(void **state)
{
    (void)state;
    outb(MCR, 0x0b);
    outb(IIR, 0x81); /* trigger at 8 */
    outb(IER, 0x01);
    board_type("abc");
    assert_true(irq4());
    assert_int_equal(inb(IIR), 0xcc); /* fewer than 8: character time-out */
    assert_int_equal(inb(LSR), 0x61);
    board_type("defghijklmnopqrstuvwxyz");
    assert_int_equal(inb(IIR), 0xc4);
    for (char c = 'a'; c <= 'z'; c++)
        assert_int_equal(inb(DATA), c);
    assert_int_equal(inb(LSR), 0x60);
    assert_false(irq4());
    assert_int_equal(inb(DATA), 0);
}

static void test_input_without_fifo(void **state)
{
    (void)state;
    outb(MCR, 0x0b);
    outb(IER, 0x01);
    board_type("xyz");
    assert_int_equal(board.typed_read, 1);
    assert_int_equal(inb(IIR), 0x04);
    assert_int_equal(inb(DATA), 'x');
    assert_true(irq4());
    assert_int_equal(inb(DATA), 'y');
    assert_int_equal(inb(DATA), 'z');
    assert_false(irq4());
}

/* Without OUT2, and in loop-back, a PC's interrupt line stays down. */
static void test_gate(void **state)
{
    (void)state;
    outb(IER, 0x02);
    assert_false(irq4());
    outb(MCR, 0x08);
    assert_true(irq4());
    outb(MCR, 0x18);
    assert_false(irq4());
}

static void test_loop_back(void **state)
{
    (void)state;
    outb(IIR, 0x01);
    outb(MCR, 0x10);
    inb(MSR);
    outb(DATA, 0x55);
    assert_int_equal(inb(LSR), 0x61);
    assert_int_equal(inb(DATA), 0x55);
    assert_int_equal(board.written_size, 0);
    for (unsigned i = 0; i < 17; i++)
        outb(DATA, (u8)i);
    outb(IER, 0x05);
    assert_int_equal(inb(IIR), 0xc6);
    assert_int_equal(inb(LSR), 0x63);
    assert_int_equal(inb(LSR), 0x61);
    assert_int_equal(inb(IIR), 0xc4);
    outb(IIR, 0x03);
    assert_int_equal(inb(LSR), 0x60);
    outb(IER, 0x08);
    outb(MCR, 0x15); /* DTR and OUT1: DSR and RI, whose rise does not count */
    assert_int_equal(inb(IIR), 0xc0);
    assert_int_equal(inb(MSR), 0x62);
    assert_int_equal(inb(MSR), 0x60);
    outb(MCR, 0x10);
    assert_int_equal(inb(MSR), 0x06);
    board_type("typed"); /* waits until the loop is open */
    assert_int_equal(inb(LSR), 0x60);
    outb(MCR, 0x0b);
    assert_int_equal(inb(DATA), 't');
}

static void test_line_reaches_the_controllers(void **state)
{
    (void)state;
    mmio_out(0, MACHINE_IOAPIC_BASE, 0x18);
    mmio_out(0, MACHINE_IOAPIC_BASE + 0x10, 0x34);
    outb(MCR, 0x0b);
    outb(IIR, 0x01);
    outb(IER, 0x01);
    board_type("a");
    assert_int_equal(take_interrupt(0), 0x34);
}

static void test_no_console(void **state)
{
    (void)state;
    board.vm.console = NULL;
    outb(DATA, 'a');
    assert_int_equal(inb(DATA), 0);
    board.vm.console = (struct console *)&board;
}

static void test_reset_is_power_on(void **state)
{
    struct uart before = board.machine->uart;

    (void)state;
    outb(MCR, 0x0b);
    outb(IIR, 0x01);
    outb(IER, 0x0f);
    board_type("abc");
    uart_reset(&board.machine->uart);
    assert_memory_equal(&before, &board.machine->uart, sizeof(before));
}

/* Typed while the virtio console had the keys, which it did not take before this port spoke. */
static void test_another_port_had_the_keys(void **state)
{
    (void)state;
    outb(MCR, 0x0b);
    board.input_port = CONSOLE_VIRTIO;
    board.typed[board.typed_size++] = 'a';
    assert_int_equal(inb(LSR) & 1, 0);
    board.input_port = CONSOLE_UART;
    outb(IER, 1);
    assert_true(irq4());
    assert_int_equal(inb(DATA), 'a');
}

static void test_abuse(void **state)
{
    (void)state;
    board_type("some text that is typed into the middle of all this");
    board_abuse(4, 50000, 0x3f6, 0x401);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_detection, board_setup, board_teardown),
        cmocka_unit_test_setup_teardown(test_output, board_setup, board_teardown),
        cmocka_unit_test_setup_teardown(test_empty_interrupt, board_setup, board_teardown),
        cmocka_unit_test_setup_teardown(test_input, board_setup, board_teardown),
        cmocka_unit_test_setup_teardown(test_input_without_fifo, board_setup, board_teardown),
        cmocka_unit_test_setup_teardown(test_gate, board_setup, board_teardown),
        cmocka_unit_test_setup_teardown(test_loop_back, board_setup, board_teardown),
        cmocka_unit_test_setup_teardown(test_line_reaches_the_controllers, board_setup, board_teardown),
        cmocka_unit_test_setup_teardown(test_no_console, board_setup, board_teardown),
        cmocka_unit_test_setup_teardown(test_another_port_had_the_keys, board_setup, board_teardown),
        cmocka_unit_test_setup_teardown(test_reset_is_power_on, board_setup, board_teardown),
        cmocka_unit_test_setup_teardown(test_abuse, board_setup, board_teardown),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
