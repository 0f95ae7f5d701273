/* SPDX-License-Identifier: MIT */
/*
 * The serial driver on a 16550 made of variables: its FIFO of 16 bytes leaves when the line moves, which a
 * test decides. The driver's source is included, with port access replaced.
 */
// sources: hv/lib/string.c hv/lib/printf.c
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <asm-generic/errno.h>
#include <cmocka.h>

#define ARCH_X86_MACHINE_CPU_H /* the driver gets these in place of the instructions */
#include "hv/lib/types.h"
static u8 in8(u16 port);
static void out8(u16 port, u8 value);
static void cpu_pause(void)
{
}

#include "drivers/serial.c"

/* ---------------------------------------------------------------- the 16550 */

static struct {
    u16 port;
    bool exists, moves; /* moves: the FIFO is empty whenever somebody looks */
    u8 interrupt, line_control, modem, scratch;
    u8 fifo_count;
    bool empty_pending; /* THRE interrupt */
    char sent[400000];
    size_t sent_length;
    const char *input;
    u8 input_status;
    unsigned status_reads;
    unsigned pause; /* reads until it moves again */
} chip;

static u8 read_status(void)
{
    chip.status_reads++;
    if (chip.pause > 0 && --chip.pause == 0)
        chip.moves = true;
    if (chip.moves)
        chip.fifo_count = 0;
    return (u8)((chip.fifo_count == 0 ? STATUS_EMPTY | STATUS_IDLE : 0) |
                (*chip.input ? STATUS_RECEIVED | chip.input_status : 0));
}

static u8 read_identification(void)
{
    if (*chip.input && (chip.interrupt & INTERRUPT_RECEIVED))
        return 0xc4;
    if (chip.fifo_count == 0 && chip.empty_pending && (chip.interrupt & INTERRUPT_EMPTY)) {
        chip.empty_pending = false;
        return 0xc2;
    }
    return 0xc1;
}

static u8 in8(u16 port)
{
    if (!chip.exists || port < chip.port || port > chip.port + 7)
        return 0xff;
    switch (port - chip.port) {
    case REG_DATA: return (u8)(*chip.input ? *chip.input++ : 0);
    case REG_IDENTIFICATION: return read_identification();
    case REG_LINE_STATUS: return read_status();
    case REG_MODEM_STATUS: return chip.modem & 0x10 ? 0x90 : 0xb0;
    case REG_SCRATCH: return chip.scratch;
    default: return 0;
    }
}

static void out8(u16 port, u8 value)
{
    switch (port - chip.port) {
    case REG_DATA:
        if (chip.line_control & LINE_DLAB)
            return;
        assert_in_range(chip.fifo_count, 0, 15); /* the driver never writes into a full FIFO */
        chip.fifo_count++;
        chip.sent[chip.sent_length++] = (char)value;
        return;
    case REG_INTERRUPT:
        if (chip.line_control & LINE_DLAB)
            return;
        chip.empty_pending |= (value & INTERRUPT_EMPTY) != 0;
        chip.interrupt = value;
        return;
    case REG_LINE_CONTROL: chip.line_control = value; return;
    case REG_MODEM_CONTROL: chip.modem = value; return;
    case REG_SCRATCH: chip.scratch = value; return;
    default: return;
    }
}

/* ---------------------------------------------------------------- the driver's neighbours */

static interrupt_handler_fn handler;
static u32 routed_gsi;
static struct console_device *device;
static struct log_sink *sink;
static char typed[400];

int interrupt_allocate(interrupt_handler_fn function, void *context)
{
    (void)context;
    handler = function;
    return 0x31;
}

int host_ioapic_route(u32 gsi, u8 to, u32 apic_id, bool level_triggered, bool active_low)
{
    assert_int_equal(to, 0x31);
    assert_int_equal(apic_id, 7);
    assert_false(level_triggered || active_low);
    routed_gsi = gsi;
    return gsi < 24 ? 0 : -ENODEV;
}

void console_device_add(struct console_device *added)
{
    assert_null(device);
    device = added;
}

void console_input(const char *bytes, size_t size)
{
    assert_false(spinlock_held(&line.lock));
    strncat(typed, bytes, size);
}

void log_sink_add(struct log_sink *added)
{
    assert_null(sink);
    sink = added;
}

void log_replay(void (*write)(void *context, const char *text, size_t size), void *context)
{
    write(context, "[lintel] again\n", 15);
}

static void say(const char *text)
{
    device->write(device, text, strlen(text));
}

static void log_say(const char *text)
{
    sink->write(sink, text, strlen(text), false);
}

/* What went out since the last time. */
static const char *sent(void)
{
    static char text[sizeof(chip.sent)];

    memcpy(text, chip.sent, chip.sent_length);
    text[chip.sent_length] = 0;
    chip.sent_length = 0;
    return text;
}

static struct acpi_info acpi = {.isa_irqs = {[3] = {.gsi = 3}, [4] = {.gsi = 20}}};

static int setup(void **state)
{
    (void)state;
    memset(&chip, 0, sizeof(chip));
    chip.port = 0x3f8;
    chip.exists = chip.moves = true;
    chip.input = "";
    memset(&line, 0, sizeof(line));
    device = NULL;
    sink = NULL;
    vector = 0;
    typed[0] = 0;
    assert_int_equal(serial_init(0x3f8), 0);
    return 0;
}

static void test_absent_lines_are_noticed(void **state)
{
    (void)state;
    assert_int_equal(serial_init(0x2f8), -ENODEV);
    say("still here");
    assert_string_equal(sent(), "still here");
    assert_int_equal(serial_port("com1"), 0x3f8);
    assert_int_equal(serial_port("com4"), 0x2e8);
    assert_int_equal(serial_port("com5"), 0);
}

static void test_log_and_console_share_the_line(void **state)
{
    (void)state;
    log_say("[lintel] one\n");
    assert_string_equal(sent(), "\r\n[lintel] one\r\n"); /* firmware may have left an open line */
    log_say("[lintel] two\n");
    assert_string_equal(sent(), "[lintel] two\r\n");
    say("$ ");
    log_say("[lintel] three\n");
    assert_string_equal(sent(), "$ \r\n[lintel] three\r\n");
    say("a\r\n");
    log_say("[lintel] four\n");
    say("raw\n");
    assert_string_equal(sent(), "a\r\n[lintel] four\r\nraw\n");
}

static void test_output_by_interrupt(void **state)
{
    (void)state;
    chip.moves = false;
    assert_int_equal(serial_take_interrupts(&acpi, 7), 0);
    assert_int_equal(routed_gsi, 20);
    assert_int_equal(chip.interrupt, INTERRUPT_RECEIVED);
    say("0123456789abcdef0123456789ABCDEFgh");
    assert_string_equal(sent(), "0123456789abcdef");
    assert_int_equal(chip.interrupt, INTERRUPT_RECEIVED | INTERRUPT_EMPTY);
    chip.fifo_count = 0;
    handler(NULL);
    assert_string_equal(sent(), "0123456789ABCDEF");
    chip.fifo_count = 0;
    chip.empty_pending = true;
    handler(NULL);
    assert_string_equal(sent(), "gh");
    assert_int_equal(chip.interrupt, INTERRUPT_RECEIVED);
}

static void test_a_byte_is_cheap(void **state)
{
    int i;

    (void)state;
    assert_int_equal(serial_take_interrupts(&acpi, 7), 0);
    chip.status_reads = 0;
    for (i = 0; i < 160; i++)
        say("x");
    assert_int_equal(chip.status_reads, 10);
}

static void test_a_stuck_line_loses_the_oldest_and_says_so(void **state)
{
    const char *text;
    int i;

    (void)state;
    assert_int_equal(serial_take_interrupts(&acpi, 7), 0);
    chip.moves = false;
    chip.status_reads = 0;
    say("first");
    for (i = 0; i < 7000; i++)
        say("0123456789");
    assert_in_range(chip.status_reads, WAIT_READS,
                    WAIT_READS + 7000 * 11); /* it waited once, not for each byte */
    say("last");
    chip.moves = true;
    serial_flush();
    text = sent();
    assert_int_equal(strncmp(text, "first01234567890", 16), 0); /* these were in the FIFO */
    assert_int_equal(strlen(text), 16 + RING_SIZE);
    assert_string_equal(text + strlen(text) - 5, "9last");
    log_say("[lintel] next\n");
    assert_string_equal(sent(),
                        "\r\n[lintel] serial line: 4457 bytes were lost, as it took none for too long\r\n"
                        "[lintel] next\r\n");
}

static void test_a_guest_byte_tells_of_lost_ones_first(void **state)
{
    (void)state;
    assert_int_equal(serial_take_interrupts(&acpi, 7), 0);
    line.room = 1;
    line.dropped = 3;
    say("x");
    assert_string_equal(sent(),
                        "\r\n[lintel] serial line: 3 bytes were lost, as it took none for too long\r\nx");
}

static void test_a_panic_waits_for_no_lock(void **state)
{
    (void)state;
    assert_int_equal(serial_take_interrupts(&acpi, 7), 0);
    spinlock_take(&line.lock);
    sink->write(sink, "[lintel] panic: x\n", 18, true);
    assert_string_equal(sent(), "\r\n[lintel] panic: x\r\n");
}

/* The CPU that has the lock stopped behind the byte, and before the note of it. */
static void test_a_panic_begins_its_line(void **state)
{
    (void)state;
    assert_int_equal(serial_take_interrupts(&acpi, 7), 0);
    say("x\n");
    sent();
    spinlock_take(&line.lock);
    sink->write(sink, "[lintel] panic: x\n", 18, true);
    assert_string_equal(sent(), "\r\n[lintel] panic: x\r\n");
}

/* An emulator may not get the CPU for a while: the last line must come out all the same, and be the last. */
static void test_last_words_outlast_a_pause(void **state)
{
    (void)state;
    assert_int_equal(serial_take_interrupts(&acpi, 7), 0);
    chip.moves = false;
    say("a guest's words, longer than the FIFO is deep");
    assert_true(line.oldest != line.newest);
    for (int i = 0; i < WAIT_READS; i++)
        say("x"); /* until it counts as stalled */
    chip.pause = 20 * WAIT_READS;
    sink->write(sink, "[lintel] back trace\n", 20, true);
    assert_true(chip.moves);
    chip.moves = false;
    chip.pause = 20 * WAIT_READS;
    sink->write(sink, "[lintel] panic: x\n", 18, true);
    assert_non_null(strstr(sent(), "\r\n[lintel] back trace\r\n[lintel] panic: x\r\n"));
    chip.moves = false;
    say("and words to be flushed");
    chip.pause = 20 * WAIT_READS;
    serial_flush();
    assert_true(line.oldest == line.newest && chip.fifo_count == 0);
}

/* ... but a line that takes nothing ever must not keep the other sinks from their last words. */
static void test_patience_ends(void **state)
{
    (void)state;
    chip.moves = false;
    chip.status_reads = 0;
    for (int i = 0; i < 100; i++)
        sink->write(sink, "[lintel] the back trace is long\n", 32, true);
    serial_flush();
    assert_in_range(chip.status_reads, PATIENT_READS, PATIENT_READS + 1000);
}

static void test_input(void **state)
{
    (void)state;
    assert_int_equal(serial_take_interrupts(&acpi, 7), 0);
    chip.input = "uname -a\rand a line that is longer than what one round of the handler takes at once\r";
    handler(NULL);
    assert_string_equal(
        typed, "uname -a\rand a line that is longer than what one round of the handler takes at once\r");
    typed[0] = 0;
    chip.input = "x";
    chip.input_status = STATUS_BREAK;
    handler(NULL);
    assert_string_equal(typed, "");
}

static void test_the_line_moves(void **state)
{
    (void)state;
    assert_int_equal(serial_take_interrupts(&acpi, 7), 0);
    chip.port = 0x2f8;
    assert_int_equal(serial_init(0x2f8), 0);
    assert_string_equal(sent(), "\r\n[lintel] again\r\n");
    assert_int_equal(routed_gsi, 3);
    assert_int_equal(chip.interrupt, INTERRUPT_RECEIVED);
}

#define TEST(name) cmocka_unit_test_setup(name, setup)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_absent_lines_are_noticed),
        TEST(test_log_and_console_share_the_line),
        TEST(test_output_by_interrupt),
        TEST(test_a_byte_is_cheap),
        TEST(test_a_stuck_line_loses_the_oldest_and_says_so),
        TEST(test_a_guest_byte_tells_of_lost_ones_first),
        TEST(test_a_panic_waits_for_no_lock),
        TEST(test_a_panic_begins_its_line),
        TEST(test_last_words_outlast_a_pause),
        TEST(test_patience_ends),
        TEST(test_input),
        TEST(test_the_line_moves),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
