/* SPDX-License-Identifier: MIT */
/*
 * guest/devices/pit.c: the modes, latches and calibration loops that kernels use, and a clock that never
 * drifts.
 */
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

#define COUNT_NS 838 /* of one count */

static void program(u8 control, u16 count)
{
    unsigned channel = control >> 6;

    outb(0x43, control);
    outb((u16)(0x40 + channel), (u8)count);
    outb((u16)(0x40 + channel), (u8)(count >> 8));
}

static u16 latched(unsigned channel)
{
    u8 low;

    outb(0x43, (u8)(channel << 6));
    low = inb((u16)(0x40 + channel));
    return (u16)(low | inb((u16)(0x40 + channel)) << 8);
}

static void listen(void)
{
    mmio_out(0, MACHINE_IOAPIC_BASE, 0x14);
    mmio_out(0, MACHINE_IOAPIC_BASE + 0x10, 0x30); /* line 0 is pin 2 */
}

static bool tick(void)
{
    if (take_interrupt(0) != 0x30)
        return false;
    mmio_out(0, MACHINE_LAPIC_BASE + 0xb0, 0);
    return true;
}

/* 100 Hz for ten seconds: exactly a thousand ticks, give or take the one at the end. */
static void test_rate_generator(void **state)
{
    unsigned seen = 0;

    (void)state;
    listen();
    program(0x34, 11932);
    for (unsigned i = 0; i < 4000; i++) {
        time_pass_us(2500);
        seen += tick();
    }
    assert_in_range(seen, 999, 1000);
    assert_in_range(latched(0), 1, 11932);
}

static void test_no_bursts(void **state)
{
    (void)state;
    listen();
    program(0x36, 11932);
    test_now += tsc_from_ns(1000000000); /* the host was away for a second */
    time_pass_tsc(0);
    assert_true(tick());
    assert_false(tick());
    time_pass_us(10001);
    assert_true(tick());
    assert_false(tick());
}

static void test_flood(void **state)
{
    unsigned before = board.wakes[0];

    (void)state;
    listen();
    program(0x34, 1);
    for (unsigned i = 0; i < 100; i++) {
        time_pass_us(100);
        tick();
    }
    assert_in_range(board.wakes[0] - before, 40, 51);
}

/* One shot, as Linux's clock event device uses it: mode 4, and mode 0 to be rid of it. */
static void test_one_shots(void **state)
{
    (void)state;
    listen();
    program(0x38, 1194);
    time_pass_us(900);
    assert_false(tick());
    time_pass_us(102);
    assert_true(tick());
    time_pass_us(100000);
    assert_false(tick());
    program(0x30, 1194);
    time_pass_us(1002);
    assert_true(tick());
    program(0x30, 0);
    time_pass_us(54000);
    assert_false(tick());
    time_pass_us(1000);
    assert_true(tick());
    outb(0x43, 0x34); /* control word alone: stopped until a count comes */
    time_pass_us(100000);
    assert_false(tick());
}

/* Linux's quick calibration: channel 2, mode 0, most significant bytes read as they fly by. */
static void test_quick_calibration(void **state)
{
    u16 previous = 0xffff;

    (void)state;
    outb(0x61, (inb(0x61) & ~0x02) | 0x01);
    program(0xb0, 0xffff);
    for (unsigned i = 0; i < 200; i++) {
        u16 now = inb(0x42);

        now = (u16)(now | inb(0x42) << 8);
        assert_true(now <= previous);
        previous = now;
        time_pass_us(100);
    }
    assert_in_range(0xffff - previous, 23700, 23900);
}

/* The slow one waits for OUT in port 0x61. */
static void test_gate_and_out(void **state)
{
    unsigned us = 0;

    (void)state;
    outb(0x61, 0x01);
    program(0xb0, 59659); /* 50 ms */
    while ((inb(0x61) & 0x20) == 0 && us < 100000) {
        time_pass_us(10);
        us += 10;
    }
    assert_in_range(us, 49990, 50020);
    assert_int_equal(inb(0x61) & 0x0f, 1);
    /* The gate stops the count and lets it go on. */
    program(0xb0, 10000);
    time_pass_us(1000);
    outb(0x61, 0x00);
    time_pass_us(100000);
    assert_in_range(latched(2), 10000 - 1195, 10000 - 1192);
    assert_int_equal(inb(0x61) & 0x20, 0);
    outb(0x61, 0x01);
    time_pass_us(1000);
    assert_in_range(latched(2), 10000 - 2390, 10000 - 2384);
}

static void test_triggered_modes(void **state)
{
    (void)state;
    program(0xb2, 1194); /* one-shot: nothing until the gate rises */
    assert_int_equal(inb(0x61) & 0x20, 0x20);
    time_pass_us(5000);
    outb(0x61, 1);
    assert_int_equal(inb(0x61) & 0x20, 0);
    time_pass_us(500);
    outb(0x61, 0);
    outb(0x61, 1); /* triggered again: all over */
    time_pass_us(900);
    assert_int_equal(inb(0x61) & 0x20, 0);
    time_pass_us(110);
    assert_int_equal(inb(0x61) & 0x20, 0x20);
    program(0xba, 100);
    outb(0x61, 0);
    outb(0x61, 1);
    time_pass_us(1000);
    assert_int_equal(inb(0x61) & 0x20, 0x20);
}

static void test_square_wave(void **state)
{
    unsigned high = 0;

    (void)state;
    outb(0x61, 3);
    program(0xb6, 1193);
    for (unsigned i = 0; i < 1000; i++) {
        time_pass_us(1);
        high += (inb(0x61) & 0x20) != 0;
    }
    assert_in_range(high, 495, 505);
}

static void test_latch_and_read_back(void **state)
{
    u16 first;

    (void)state;
    outb(0x61, 1);
    program(0xb4, 50000);
    outb(0x43, 0xe8); /* status of channel 2 */
    assert_int_equal(inb(0x42), 0xb4);
    time_pass_us(1000);
    outb(0x43, 0x80);
    time_pass_us(1000);
    outb(0x43, 0x80); /* a second latch changes nothing */
    first = inb(0x42);
    first = (u16)(first | inb(0x42) << 8);
    assert_in_range(first, 50000 - 1194, 50000 - 1192);
    outb(0x43, 0xc8); /* both: status comes first */
    assert_int_equal(inb(0x42), 0xb4);
    first = inb(0x42);
    first = (u16)(first | inb(0x42) << 8);
    assert_in_range(first, 50000 - 2388, 50000 - 2385);
    outb(0x43, 0xb4);
    outb(0x43, 0xe8);
    assert_int_equal(inb(0x42), 0xf4); /* no count yet */
    outb(0x43, 0x94);                  /* low byte alone */
    outb(0x42, 200);
    time_pass_us(10);
    assert_in_range(inb(0x42), 187, 189);
    outb(0x43, 0xa4); /* high byte alone */
    outb(0x42, 0x80);
    assert_int_equal(inb(0x42), 0x80);
    assert_int_equal(inb(0x43), 0xff);
}

static void test_decimal(void **state)
{
    (void)state;
    outb(0x61, 1);
    program(0xb1, 0x9999);
    time_pass_tsc(tsc_from_ns(100 * COUNT_NS + 400));
    assert_int_equal(latched(2), 0x9899);
    program(0xb5, 0);
    assert_int_equal(latched(2), 0); /* 10,000 */
    program(0xb5, 0xffff);           /* no decimal digits at all */
    time_pass_us(100000);
    latched(2);
}

static void test_refresh_toggles(void **state)
{
    unsigned changes = 0;
    u8 before = inb(0x61) & 0x10;

    (void)state;
    for (unsigned i = 0; i < 1000; i++) {
        u8 now = inb(0x61) & 0x10;

        changes += now != before;
        before = now;
        time_pass_us(1);
    }
    assert_in_range(changes, 64, 68);
}

static void test_reset_is_power_on(void **state)
{
    struct pit before = board.machine->pit;

    (void)state;
    program(0x34, 1193);
    outb(0x61, 3);
    pit_reset(&board.machine->pit);
    assert_memory_equal(&before, &board.machine->pit, sizeof(before));
}

static void test_abuse(void **state)
{
    (void)state;
    board_abuse(9, 50000, 0x40, 0x43);
    board_abuse(10, 20000, 0x3e, 0x63);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_rate_generator, board_setup, board_teardown),
        cmocka_unit_test_setup_teardown(test_no_bursts, board_setup, board_teardown),
        cmocka_unit_test_setup_teardown(test_flood, board_setup, board_teardown),
        cmocka_unit_test_setup_teardown(test_one_shots, board_setup, board_teardown),
        cmocka_unit_test_setup_teardown(test_quick_calibration, board_setup, board_teardown),
        cmocka_unit_test_setup_teardown(test_gate_and_out, board_setup, board_teardown),
        cmocka_unit_test_setup_teardown(test_triggered_modes, board_setup, board_teardown),
        cmocka_unit_test_setup_teardown(test_square_wave, board_setup, board_teardown),
        cmocka_unit_test_setup_teardown(test_latch_and_read_back, board_setup, board_teardown),
        cmocka_unit_test_setup_teardown(test_decimal, board_setup, board_teardown),
        cmocka_unit_test_setup_teardown(test_refresh_toggles, board_setup, board_teardown),
        cmocka_unit_test_setup_teardown(test_reset_is_power_on, board_setup, board_teardown),
        cmocka_unit_test_setup_teardown(test_abuse, board_setup, board_teardown),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
