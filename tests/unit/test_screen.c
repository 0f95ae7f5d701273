/* SPDX-License-Identifier: MIT */
/*
 * The text screen on 20 columns by 8 rows; what it draws is kept, so that a wrong "old" cell or a missed
 * redraw shows. The driver's source is included, so that a test can begin with a screen that nobody has
 * started.
 */
// sources: hv/run/timer.c arch/x86/machine/percpu.c
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "drivers/screen.c"

#define COLUMNS 20
#define ROWS    8

static struct screen_cell shown[ROWS][COLUMNS];
static bool usable = true;
static unsigned drawn; /* cells */
static struct log_sink *sink;
static struct console_device *device;
static struct timer_queue queue;
static u64 programmed; /* the deadline the hardware knows */

static bool is_usable(void)
{
    return usable;
}

static void draw(u32 row, u32 column, struct screen_cell old, struct screen_cell cell)
{
    assert_true(usable && row < ROWS && column < COLUMNS);
    assert_memory_equal(&old, &shown[row][column], sizeof(old));
    assert_memory_not_equal(&old, &cell, sizeof(old));
    shown[row][column] = cell;
    drawn++;
}

u64 tsc_from_ns(u64 ns)
{
    return ns;
}

static void program(u64 deadline_tsc)
{
    programmed = deadline_tsc;
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

static int setup(void **state)
{
    static const struct screen_output output = {COLUMNS, ROWS, is_usable, draw};
    int row, column;

    (void)state;
    memset(&screen, 0, sizeof(screen));
    for (row = 0; row < ROWS; row++)
        for (column = 0; column < COLUMNS; column++)
            shown[row][column] = (struct screen_cell){' ', STYLE_CONSOLE};
    usable = true;
    screen_start(&output);
    drawn = 0;
    return 0;
}

/* From now on drawn by a timer. */
static void have_timers(void)
{
    static const struct timer_hardware timer_chip = {.program = program};

    timer_queue_init(&queue, 0, &timer_chip);
    programmed = TIMER_NEVER;
    screen_draw_by(&queue);
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
    assert_row(0, "2");
    assert_row(6, "8");
    assert_row(7, "");
    say("x");
    assert_row(7, "x");
    say("\x1b[Hy\x1b[9Bz");
    assert_row(0, "y");
    assert_row(7, "xz");
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
        setup(NULL);
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
        assert_true(screen.row < ROWS && screen.line == row_cells(screen.row) && cursor_column() <= COLUMNS);
    }
}

static void test_what_came_meanwhile_is_shown_later(void **state)
{
    (void)state;
    usable = false;
    say("unseen");
    usable = true;
    assert_row(0, "");
    screen_draw();
    assert_row(0, "unseen");
    screen_draw();
    assert_int_equal(drawn, 6); /* what is shown is not drawn again */
}

static void test_a_timer_draws_what_changed(void **state)
{
    (void)state;
    have_timers();
    say("a");
    assert_in_range(programmed, read_tsc(), read_tsc() + DELAY_US * 1000);
    say("b\r\n");
    log_say("[lintel] c\n");
    assert_int_equal(drawn, 0);
    timer_queue_run(&queue, programmed - 1);
    assert_int_equal(drawn, 0);
    timer_queue_run(&queue, programmed);
    assert_row(0, "ab");
    assert_row(1, "[lintel] c");
    assert_int_equal(drawn, 2 + 10);
    assert_int_equal(programmed, TIMER_NEVER); /* a screen that shows all needs no timer */
    say("d");
    assert_int_not_equal(programmed, TIMER_NEVER);
    timer_queue_run(&queue, programmed);
    assert_row(2, "d");
}

static void test_what_has_scrolled_away_is_never_drawn(void **state)
{
    int i;

    (void)state;
    have_timers();
    for (i = 0; i < 1000; i++)
        say("a line\r\n");
    say("\x1b[2J\x1b[Hend");
    timer_queue_run(&queue, programmed);
    assert_row(0, "end");
    assert_row(1, "");
    assert_int_equal(drawn, 3);
}

static void test_a_slow_screen_is_drawn_more_rarely(void **state)
{
    (void)state;
    have_timers();
    screen.draw_ticks = 1000000000;
    say("a");
    assert_true(programmed > read_tsc() + 200ull * 1000000000);
}

static void test_the_end_is_shown_at_once(void **state)
{
    (void)state;
    have_timers();
    say("$ ");
    screen_draw();
    assert_row(0, "$");
    spinlock_take(&screen.lock); /* who panics waits for no lock */
    sink->write(sink, "panic: x\n", 9, true);
    assert_row(1, "panic: x");
}

static void test_no_screen_is_no_harm(void **state)
{
    (void)state;
    memset(&screen, 0, sizeof(screen));
    have_timers();
    screen_draw();
}

#define TEST(name) cmocka_unit_test_setup(name, setup)

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
        TEST(test_a_timer_draws_what_changed),
        TEST(test_what_has_scrolled_away_is_never_drawn),
        TEST(test_a_slow_screen_is_drawn_more_rarely),
        TEST(test_the_end_is_shown_at_once),
        TEST(test_no_screen_is_no_harm),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
