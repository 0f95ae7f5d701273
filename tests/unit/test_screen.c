/* SPDX-License-Identifier: MIT */
/* The text screen on 20 columns by 8 rows; what it draws is kept, so that a wrong "old" cell or a missed redraw shows. */
// sources: drivers/screen.c
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "drivers/screen.h"
#include "hv/lib/log.h"
#include "hv/operator/console.h"

#define COLUMNS 20
#define ROWS    8

static struct screen_cell shown[ROWS][COLUMNS];
static bool usable = true;
static struct log_sink *sink;
static struct console_device *device;

static bool is_usable(void)
{
    return usable;
}

static void draw(u32 row, u32 column, const struct screen_cell *old, struct screen_cell cell)
{
    assert_true(usable && row < ROWS && column < COLUMNS);
    if (old)
        assert_memory_equal(old, &shown[row][column], sizeof(*old));
    shown[row][column] = cell;
}

void log_sink_add(struct log_sink *added)
{
    sink = added;
}

void console_device_add(struct console_device *added)
{
    device = added;
}

static void say(const char *text)
{
    device->write(device, text, strlen(text));
}

static void log_say(const char *text)
{
    sink->write(sink, text, strlen(text), false);
}

static void assert_row(u32 row, const char *expected)
{
    char text[COLUMNS + 1];
    int i;

    for (i = 0; i < COLUMNS; i++)
        text[i] = (char)shown[row][i].character;
    for (; i > 0 && text[i - 1] == ' '; i--)
        ;
    text[i] = 0;
    assert_string_equal(text, expected);
}

static int clear(void **state)
{
    static const struct screen_output output = {COLUMNS, ROWS, is_usable, draw};

    (void)state;
    if (!device)
        screen_start(&output);
    usable = true;
    say("\x1b[2J\x1b[H");
    return 0;
}

static void test_log_and_console_share_the_screen(void **state)
{
    (void)state;
    log_say("[lintel] one\n");
    say("$ ls");
    log_say("[lintel] two\n");
    assert_row(0, "[lintel] one");
    assert_row(1, "$ ls");
    assert_row(2, "[lintel] two");
    assert_int_equal(shown[2][0].style, STYLE_LOG);
    assert_int_equal(shown[1][0].style, STYLE_CONSOLE);
}

static void test_long_lines_wrap(void **state)
{
    (void)state;
    say("0123456789012345678");
    say("9\r\n"); /* fills the row: the next line is the next row */
    say("abcdefghijabcdefghijK");
    assert_row(0, "01234567890123456789");
    assert_row(1, "abcdefghijabcdefghij");
    assert_row(2, "K");
}

static void test_scrolling(void **state)
{
    int i;

    (void)state;
    for (i = 0; i < 9; i++)
        say((char[]){(char)('0' + i), '\r', '\n', 0});
    assert_row(0, "2"); /* by a quarter: two rows */
    assert_row(6, "8");
    assert_row(7, "");
    say("x");
    assert_row(7, "x");
}

static void test_control_characters(void **state)
{
    (void)state;
    say("abc\b\bX\rY\tZ\a\x7f!");
    assert_row(0, "YXc     Z!");
}

static void test_control_sequences(void **state)
{
    static const struct {
        const char *text, *row0, *row1;
    } rows[] = {
        {"abc\x1b[1;31mdef\x1b[0m", "abcdef", ""}, /* colours are passed over */
        {"abcdef\r\x1b[2CX\x1b[DY", "abYdef", ""},
        {"abcdef\x1b[3D\x1b[K", "abc", ""},
        {"abc\r\ndef\x1b[A\x1b[J", "abc", ""},
        {"abc\x1b[2;3Hdef", "abc", "  def"},
        {"abc\x1b[2;3fdef", "abcdef", ""},
        {"abc\x1b[999999999999999999;0H\x1b[H!", "!bc", ""},
        {"abc\x1b[9A\x1b[999D!", "!bc", ""},
        {"a\x1b[1;2;3;4;5;6;7;8Hb", "ab", ""},
        {"a\x1b(Bb", "ab", ""},
        {"a\x1b[\x1b[Kb", "ab", ""},
    };
    size_t i;

    (void)state;
    for (i = 0; i < ARRAY_SIZE(rows); i++) {
        clear(NULL);
        say(rows[i].text);
        assert_row(0, rows[i].row0);
        assert_row(1, rows[i].row1);
    }
}

static void test_garbage_stays_on_the_screen(void **state)
{
    char text[64];
    int round, i;

    (void)state;
    for (round = 0; round < 20000; round++) {
        for (i = 0; i < (int)sizeof(text); i++)
            text[i] = rand() % 4 ? "\x1b[;HABCDJK0123456789\n\t\b"[rand() % 24] : (char)rand();
        device->write(device, text, sizeof(text));
        if (round % 16 == 0)
            log_say("[lintel] a line\n");
    }
}

static void test_what_came_meanwhile_is_shown_later(void **state)
{
    (void)state;
    usable = false;
    say("unseen");
    usable = true;
    assert_row(0, "");
    screen_redraw();
    assert_row(0, "unseen");
}

#define TEST(name) cmocka_unit_test_setup(name, clear)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_log_and_console_share_the_screen),
        TEST(test_long_lines_wrap),
        TEST(test_scrolling),
        TEST(test_control_characters),
        TEST(test_control_sequences),
        TEST(test_garbage_stays_on_the_screen),
        TEST(test_what_came_meanwhile_is_shown_later),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
