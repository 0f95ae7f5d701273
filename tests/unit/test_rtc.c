/* SPDX-License-Identifier: MIT */
/* guest/devices/rtc.c and calendar.c: time in all its forms, setting it, alarms and flags, CMOS. */
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

#include "guest/devices/calendar.h"

enum { A = 10, B, C, D };

static u8 cmos(u8 index)
{
    outb(0x70, index);
    return inb(0x71);
}

static void cmos_out(u8 index, u8 value)
{
    outb(0x70, index);
    outb(0x71, value);
}

static bool irq8(void)
{
    return (board.machine->ioapic.asserted & 1u << 8) != 0;
}

static u64 host_seconds;
static u64 host_clock(void)
{
    return host_seconds;
}

static void start_at(u64 seconds)
{
    host_seconds = seconds;
    rtc_wall_clock_seconds = host_clock;
    rtc_reset(&board.machine->rtc);
    rtc_wall_clock_seconds = NULL;
}

static void test_time(void **state)
{
    (void)state;
    start_at(1709210096); /* 2024-02-29 12:34:56, a Thursday */
    assert_int_equal(cmos(0), 0x56);
    assert_int_equal(cmos(2), 0x34);
    assert_int_equal(cmos(4), 0x12);
    assert_int_equal(cmos(6), 5);
    assert_int_equal(cmos(7), 0x29);
    assert_int_equal(cmos(8), 0x02);
    assert_int_equal(cmos(9), 0x24);
    assert_int_equal(cmos(0x32), 0x20);
    assert_int_equal(cmos(D), 0x80);
    cmos_out(B, 0x06); /* binary */
    assert_int_equal(cmos(0), 56);
    cmos_out(B, 0x00); /* BCD, 12 hours */
    assert_int_equal(cmos(4), 0x92);
    time_pass_us(12 * 3600 * 1000000ull);
    assert_int_equal(cmos(4), 0x12);
    assert_int_equal(cmos(7), 0x01);
    assert_int_equal(cmos(8), 0x03);
    assert_int_equal(cmos(0xff), cmos(0x7f)); /* bit 7 masks NMIs */
    assert_int_equal(inb(0x70), 0xff);
    port_out(0x70, 2, 0x4232); /* index and value in one access */
    assert_int_equal(cmos(0x32), 0x42);
}

static void set_time(const u8 *fields)
{
    static const u8 places[] = {0x32, 9, 8, 7, 4, 2, 0};

    for (unsigned i = 0; i < ARRAY_SIZE(places); i++)
        cmos_out(places[i], fields[i]);
}

static void test_set(void **state)
{
    static const u8 last_second_of_1999[] = {0x19, 0x99, 0x12, 0x31, 0x23, 0x59, 0x59};

    (void)state;
    cmos_out(B, 0x82);
    set_time(last_second_of_1999);
    time_pass_us(5000000); /* stands still */
    assert_int_equal(cmos(0), 0x59);
    cmos_out(B, 0x02);
    time_pass_us(1000000);
    assert_int_equal(cmos(0), 0);
    assert_int_equal(cmos(4), 0);
    assert_int_equal(cmos(7), 1);
    assert_int_equal(cmos(8), 1);
    assert_int_equal(cmos(9), 0);
    assert_int_equal(cmos(0x32), 0x20);
    assert_int_equal(cmos(6), 7); /* a Saturday */
    cmos_out(2, 0x30);            /* without stopping the clock */
    time_pass_us(60000000);
    assert_int_equal(cmos(2), 0x31);
}

/* The driver holds the divider too: the first update comes half a second after it lets go. */
static void test_divider(void **state)
{
    static const u8 noon[] = {0x20, 0x26, 0x07, 0x04, 0x12, 0x00, 0x00};

    (void)state;
    cmos_out(B, 0x82);
    cmos_out(A, 0x76);
    set_time(noon);
    cmos_out(B, 0x02);
    time_pass_us(3000000);
    assert_int_equal(cmos(0), 0);
    cmos_out(A, 0x26);
    time_pass_us(499000);
    assert_int_equal(cmos(0), 0);
    time_pass_us(1100);
    assert_int_equal(cmos(0), 1);
}

/* It warns before each update, and never for long. */
static void test_update_in_progress(void **state)
{
    unsigned seen = 0;
    u8 second = cmos(0);

    (void)state;
    for (unsigned i = 0; i < 20000; i++) {
        time_pass_us(100);
        if (cmos(A) & 0x80)
            seen++;
        else if (cmos(0) != second)
            second = cmos(0);
    }
    assert_in_range(seen, 4, 6);
    cmos_out(A, 0xa6);
    assert_int_equal(cmos(A) & 0x7f, 0x26);
    cmos_out(B, 0x82);
    time_pass_us(999900);
    assert_int_equal(cmos(A) & 0x80, 0);
}

static void test_update_interrupt(void **state)
{
    (void)state;
    cmos_out(B, 0x12);
    time_pass_us(999000);
    assert_false(irq8());
    time_pass_us(1001);
    assert_true(irq8());
    assert_false(timer_is_set(&board.machine->rtc.timer)); /* nothing new until this one is read */
    time_pass_us(5000000);
    assert_int_equal(cmos(C) & 0x90, 0x90);
    assert_false(irq8());
    assert_int_equal(cmos(C), 0);
    assert_true(timer_is_set(&board.machine->rtc.timer));
    cmos_out(B, 0x92); /* setting the time ends update interrupts */
    assert_int_equal(cmos(B), 0x82);
    time_pass_us(2000000);
    assert_false(irq8());
}

static void test_periodic_interrupt(void **state)
{
    unsigned seen = 0;

    (void)state;
    cmos_out(A, 0x26); /* 1024 Hz */
    cmos_out(B, 0x42);
    for (unsigned i = 0; i < 10000; i++) {
        time_pass_us(100);
        if (irq8()) {
            assert_int_equal(cmos(C) & 0xc0, 0xc0);
            seen++;
        }
    }
    assert_in_range(seen, 1022, 1025);
    cmos_out(A, 0x2f); /* 2 Hz */
    cmos(C);
    time_pass_us(501000);
    assert_true(irq8());
    cmos(C);
    cmos_out(A, 0x20);
    time_pass_us(2000000);
    assert_false(irq8());
}

static void test_flags_without_interrupts(void **state)
{
    (void)state;
    cmos(C);
    time_pass_us(1500000);
    assert_int_equal(cmos(C) & 0xf0, 0x50);
    cmos_out(B, 0x02);
    time_pass_us(1000000);
    cmos_out(B, 0x12); /* a flag that waits interrupts as soon as it may */
    assert_true(irq8());
}

static void test_alarm(void **state)
{
    (void)state;
    start_at(1709210096); /* 12:34:56 */
    cmos_out(5, 0x12);
    cmos_out(3, 0x35);
    cmos_out(1, 0x10);
    cmos_out(B, 0x22);
    time_pass_us(13000000);
    assert_false(irq8());
    time_pass_us(1001000);
    assert_true(irq8());
    assert_int_equal(cmos(C) & 0xa0, 0xa0);
    cmos_out(5, 0xc0); /* any hour */
    cmos_out(3, 0xff); /* any minute */
    time_pass_us(59000000);
    assert_false(irq8());
    time_pass_us(1000000);
    assert_true(irq8());
    cmos(C);
    cmos_out(1, 0x77); /* never */
    time_pass_us(200000000);
    assert_false(irq8());
}

static void test_calendar(void **state)
{
    struct calendar date;

    (void)state;
    for (s64 seconds = 0; seconds < 40000000000; seconds += 86399 * 3) {
        calendar_from_seconds(seconds, &date);
        assert_int_equal(calendar_to_seconds(&date), seconds);
        assert_in_range(date.month, 1, 12);
        assert_in_range(date.day, 1, 31);
    }
    calendar_from_seconds(951782400, &date); /* 2000-02-29 */
    assert_int_equal(date.day, 29);
    calendar_from_seconds(4107542400, &date); /* 2100-03-01 */
    assert_int_equal(date.day, 1);
    assert_int_equal(date.month, 3);
    calendar_from_seconds(-5, &date);
    assert_int_equal(date.year, 1970);
    date = (struct calendar){.year = 0};
    assert_int_equal(calendar_to_seconds(&date), 0);
}

/* The closed form against a walk through the seconds. */
static void test_next_match(void **state)
{
    static const int hours[] = {-1, 0, 1, 12, 23}, minutes[] = {-1, 0, 30, 59};

    (void)state;
    for (unsigned i = 0; i < 5 * 4 * 4 * 50; i++) {
        int hour = hours[i % 5], minute = minutes[i / 5 % 4], second = minutes[i / 20 % 4];
        s64 from = 86400 * 3 + (s64)(i * 7919) % 86400, at = from;

        while ((hour >= 0 && at / 3600 % 24 != hour) || (minute >= 0 && at / 60 % 60 != minute) ||
               (second >= 0 && at % 60 != second))
            at++;
        assert_int_equal(calendar_next_match(from, hour, minute, second), at);
    }
    assert_true(calendar_next_match(0, 24, 0, 0) == CALENDAR_NEVER);
}

static void test_memory_sizes(void **state)
{
    (void)state;
    assert_int_equal(cmos(0x15) | cmos(0x16) << 8, 640);
    assert_int_equal(cmos(0x17) | cmos(0x18) << 8, 0xffff);
    assert_int_equal(cmos(0x34) | cmos(0x35) << 8, 0xbf00);                     /* 3 GiB - 16 MiB */
    assert_int_equal(cmos(0x5b) | cmos(0x5c) << 8 | cmos(0x5d) << 16, 5 << 14); /* 5 GiB */
    board.config.memory = 8 << 20;
    rtc_reset(&board.machine->rtc);
    assert_int_equal(cmos(0x30) | cmos(0x31) << 8, 7168);
    assert_int_equal(cmos(0x34) | cmos(0x35) << 8, 0);
    board.config.memory = 64 << 10;
    rtc_reset(&board.machine->rtc);
    assert_int_equal(cmos(0x30) | cmos(0x31) << 8, 0);
}

/* A year of uptime: an interrupt comes at its time and not before, over and over. */
static void test_long_uptime(void **state)
{
    (void)state;
    test_now += (u64)tsc_khz * 1000 * 86400 * 365;
    cmos_out(B, 0x12);
    cmos(C);
    for (unsigned i = 0; i < 10; i++) {
        time_pass_us(1000001);
        assert_true(irq8());
        cmos(C);
    }
}

static void test_reset_is_power_on(void **state)
{
    struct rtc before = board.machine->rtc;

    (void)state;
    cmos_out(B, 0x72);
    cmos_out(0x40, 1);
    rtc_reset(&board.machine->rtc);
    assert_memory_equal(&before, &board.machine->rtc, sizeof(before));
}

static void test_abuse(void **state)
{
    (void)state;
    board_abuse(11, 50000, 0x70, 0x71);
    board_abuse(12, 5000, 0x6e, 0x73);
    for (unsigned i = 0; i < 256; i++) {
        for (unsigned value = 0; value < 256; value += 15) {
            cmos_out((u8)i, (u8)value);
            cmos((u8)(i + 1));
            time_pass_us(700000);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_time, board_setup, board_teardown),
        cmocka_unit_test_setup_teardown(test_set, board_setup, board_teardown),
        cmocka_unit_test_setup_teardown(test_divider, board_setup, board_teardown),
        cmocka_unit_test_setup_teardown(test_update_in_progress, board_setup, board_teardown),
        cmocka_unit_test_setup_teardown(test_update_interrupt, board_setup, board_teardown),
        cmocka_unit_test_setup_teardown(test_periodic_interrupt, board_setup, board_teardown),
        cmocka_unit_test_setup_teardown(test_flags_without_interrupts, board_setup, board_teardown),
        cmocka_unit_test_setup_teardown(test_alarm, board_setup, board_teardown),
        cmocka_unit_test_setup_teardown(test_calendar, board_setup, board_teardown),
        cmocka_unit_test_setup_teardown(test_next_match, board_setup, board_teardown),
        cmocka_unit_test_setup_teardown(test_memory_sizes, board_setup, board_teardown),
        cmocka_unit_test_setup_teardown(test_long_uptime, board_setup, board_teardown),
        cmocka_unit_test_setup_teardown(test_reset_is_power_on, board_setup, board_teardown),
        cmocka_unit_test_setup_teardown(test_abuse, board_setup, board_teardown),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
