/* SPDX-License-Identifier: MIT */
/* guest/devices/ioapic.c: pins to messages, levels, ends of interrupts. */
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

#define SELECT (MACHINE_IOAPIC_BASE + 0x00)
#define DATA   (MACHINE_IOAPIC_BASE + 0x10)
#define EOI    (MACHINE_IOAPIC_BASE + 0x40)
#define MASKED 0x10000u
#define LEVEL  0x8000u
#define REMOTE 0x4000u

static u32 register_in(u8 number)
{
    mmio_out(0, SELECT, number);
    return mmio_in(0, DATA);
}

static void register_out(u8 number, u32 value)
{
    mmio_out(0, SELECT, number);
    mmio_out(0, DATA, value);
}

static void entry_out(unsigned pin, u32 high, u32 low)
{
    register_out((u8)(0x11 + 2 * pin), high);
    register_out((u8)(0x10 + 2 * pin), low);
}

static void pin(unsigned number, bool asserted)
{
    spinlock_take(&board.vm.device_lock);
    ioapic_set_pin(&board.machine->ioapic, number, asserted);
    spinlock_release(&board.vm.device_lock);
}

static void lapic_eoi(unsigned vcpu)
{
    mmio_out(vcpu, MACHINE_LAPIC_BASE + 0xb0, 0);
}

static void test_registers(void **state)
{
    (void)state;
    assert_int_equal(register_in(1), 0x170020);
    register_out(0, 0xff000000);
    assert_int_equal(register_in(0), 0x0f000000);
    assert_int_equal(register_in(2), 0x0f000000);
    assert_int_equal(register_in(0x10), MASKED);
    assert_int_equal(register_in(0x3f), 0);
    assert_int_equal(register_in(0x40), ~0u);
    assert_int_equal(register_in(0xff), ~0u);
    entry_out(5, ~0u, ~0u);
    assert_int_equal(register_in(0x1a), 0x1afff); /* neither status nor remote IRR */
    assert_int_equal(register_in(0x1b), 0xff000000);
    assert_int_equal(mmio_in(0, SELECT), 0x1b);
}

static void test_edge(void **state)
{
    (void)state;
    entry_out(4, 0, 0x34);
    pin(4, true);
    pin(4, true);
    assert_int_equal(take_interrupt(0), 0x34);
    lapic_eoi(0);
    assert_int_equal(take_interrupt(0), -1);
    pin(4, false);
    pin(4, true);
    assert_int_equal(take_interrupt(0), 0x34);
}

/* An edge under the mask is lost, as on the chip. */
static void test_masked_edge(void **state)
{
    (void)state;
    entry_out(4, 0, MASKED | 0x34);
    pin(4, true);
    entry_out(4, 0, 0x34);
    assert_int_equal(take_interrupt(0), -1);
}

static void test_level(void **state)
{
    (void)state;
    entry_out(9, 0, LEVEL | 0x39);
    pin(9, true);
    assert_int_equal(register_in(0x22), REMOTE | LEVEL | 0x39);
    assert_int_equal(take_interrupt(0), 0x39);
    lapic_eoi(0); /* still asserted: comes again */
    assert_int_equal(take_interrupt(0), 0x39);
    pin(9, false);
    lapic_eoi(0);
    assert_int_equal(take_interrupt(0), -1);
    assert_int_equal(register_in(0x22), LEVEL | 0x39);
}

/*
 * A level is seen when the mask goes, and at the end it does not come through a mask that was set meanwhile.
 */
static void test_masked_level(void **state)
{
    (void)state;
    entry_out(9, 0, MASKED | LEVEL | 0x39);
    pin(9, true);
    assert_int_equal(take_interrupt(0), -1);
    entry_out(9, 0, LEVEL | 0x39);
    assert_int_equal(take_interrupt(0), 0x39);
    entry_out(9, 0, MASKED | LEVEL | 0x39);
    lapic_eoi(0);
    assert_int_equal(take_interrupt(0), -1);
    entry_out(9, 0, LEVEL | 0x39);
    assert_int_equal(take_interrupt(0), 0x39);
}

/* Kernels free a stuck remote IRR by going to edge and back; newer ones by the EOI register. */
static void test_stuck_remote_irr(void **state)
{
    (void)state;
    entry_out(9, 0, LEVEL | 0x39);
    pin(9, true);
    assert_int_equal(take_interrupt(0), 0x39);
    pin(9, false);
    entry_out(9, 0, MASKED | 0x39);
    entry_out(9, 0, MASKED | LEVEL | 0x39);
    assert_int_equal(register_in(0x22), MASKED | LEVEL | 0x39);
    entry_out(9, 0, LEVEL | 0x39);
    pin(9, true);
    assert_int_equal(register_in(0x22), REMOTE | LEVEL | 0x39);
    pin(9, false);
    mmio_out(0, EOI, 0x39);
    assert_int_equal(register_in(0x22), LEVEL | 0x39);
}

static void test_destinations(void **state)
{
    (void)state;
    mmio_out(1, MACHINE_LAPIC_BASE + 0xf0, 0x1ff);
    entry_out(3, 1u << 24, 0x43);
    pin(3, true);
    assert_int_equal(take_interrupt(0), -1);
    assert_int_equal(take_interrupt(1), 0x43);
    mmio_out(1, MACHINE_LAPIC_BASE + 0xd0, 2u << 24); /* logical */
    entry_out(5, 2u << 24, 0x855);
    pin(5, true);
    assert_int_equal(take_interrupt(0), -1);
    assert_int_equal(take_interrupt(1), 0x55);
    entry_out(6, 0xffu << 24, 0x66); /* everybody */
    pin(6, true);
    assert_int_equal(take_interrupt(0), 0x66);
    assert_int_equal(take_interrupt(1), 0x66);
    entry_out(7, 0xffu << 24, 0x177); /* one of them: the one that has less in service */
    lapic_eoi(1);
    lapic_eoi(1);
    lapic_eoi(1);
    pin(7, true);
    assert_int_equal(take_interrupt(0), -1);
    assert_int_equal(take_interrupt(1), 0x77);
    entry_out(8, 9u << 24, LEVEL | 0x48); /* nobody: stays a request */
    pin(8, true);
    assert_int_equal(register_in(0x20), LEVEL | 0x48);
}

static void test_other_modes(void **state)
{
    (void)state;
    entry_out(10, 0, 0x400);
    pin(10, true);
    assert_int_equal(board.nmis[0], 1);
    entry_out(11, 1u << 24, LEVEL | 0x500);
    pin(11, true);
    assert_int_equal(board.inits[1], 1);
    assert_int_equal(register_in(0x26), LEVEL | 0x500);
    entry_out(12, 0, 0x200);
    pin(12, true);
    entry_out(13, 0, 0x33b); /* reserved */
    pin(13, true);
    assert_int_equal(take_interrupt(0), -1);
}

static void test_odd_accesses(void **state)
{
    (void)state;
    for (gpa_t at = MACHINE_IOAPIC_BASE; at < MACHINE_IOAPIC_BASE + 0x100; at++) {
        for (unsigned size = 1; size <= 8; size *= 2) {
            mmio_bus_read(&board.vm.mmio, &board.vcpus[0], at, size);
            mmio_bus_write(&board.vm.mmio, &board.vcpus[0], at, size, ~0ull);
        }
    }
    for (unsigned i = 0; i < 64; i++)
        pin(i, true);
}

static void test_reset_is_power_on(void **state)
{
    struct ioapic before = board.machine->ioapic;

    (void)state;
    entry_out(9, ~0u, ~0u);
    pin(9, true);
    ioapic_reset(&board.machine->ioapic);
    assert_memory_equal(&before, &board.machine->ioapic, sizeof(before));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_registers, board_setup, board_teardown),
        cmocka_unit_test_setup_teardown(test_edge, board_setup, board_teardown),
        cmocka_unit_test_setup_teardown(test_masked_edge, board_setup, board_teardown),
        cmocka_unit_test_setup_teardown(test_level, board_setup, board_teardown),
        cmocka_unit_test_setup_teardown(test_masked_level, board_setup, board_teardown),
        cmocka_unit_test_setup_teardown(test_stuck_remote_irr, board_setup, board_teardown),
        cmocka_unit_test_setup_teardown(test_destinations, board_setup, board_teardown),
        cmocka_unit_test_setup_teardown(test_other_modes, board_setup, board_teardown),
        cmocka_unit_test_setup_teardown(test_odd_accesses, board_setup, board_teardown),
        cmocka_unit_test_setup_teardown(test_reset_is_power_on, board_setup, board_teardown),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
