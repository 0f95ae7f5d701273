/* SPDX-License-Identifier: MIT */
/* The serial line: who has it, what is replayed, what the line editor makes of keys. */
// sources: hv/operator/console.c hv/operator/line_editor.c hv/lib/string.c
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "hv/memory/frame.h"
#include "hv/operator/console.h"

#define TO_MONITOR \
    "\r\n-- monitor; `help` lists its commands, Ctrl-] leads back to the console --\r\nlintel> "
#define TO_WEB "\r\n-- console of VM web; Ctrl-] leads to the monitor --\r\n"
#define TO_DB  "\r\n-- console of VM db; Ctrl-] leads to the monitor --\r\n"

static char shown[3 * CONSOLE_RING];
static size_t shown_size;
static char commands[16][128];
static unsigned command_count, at_work, told_web, told_db;
static struct console *web, *db;
static bool memory_short;

void *memory_alloc(u64 bytes, frame_owner_t owner)
{
    assert_true(owner == frame_owner_support(0) || owner == frame_owner_support(1) ||
                owner == frame_owner_support(2));
    return memory_short ? NULL : calloc(1, bytes);
}

static void show(struct console_device *device, const char *text, size_t size)
{
    assert_string_equal(device->name, "test");
    assert_true(shown_size + size < sizeof(shown));
    memcpy(shown + shown_size, text, size);
    shown_size += size;
}
static struct console_device device = {.name = "test", .write = show};

static void expect(const char *text)
{
    shown[shown_size] = '\0';
    assert_string_equal(shown, text);
    shown_size = 0;
}

static void type(const char *text)
{
    console_input(text, strlen(text));
}

static void say(struct console *console, const char *text)
{
    console_guest_write(console, text, strlen(text));
}

static void command(const char *text)
{
    strcpy(commands[command_count++], text);
    at_work++;
}

static void commands_end(void)
{
    for (; at_work; at_work--)
        console_prompt();
}

static void hear(void *context)
{
    ++*(unsigned *)context;
}

/* The module's state lives on from test to test: each begins at the prompt with an empty screen. */
static int setup(void **state)
{
    (void)state;
    commands_end();
    console_focus(NULL);
    type("\x03");
    shown_size = 0;
    command_count = told_web = told_db = 0;
    return 0;
}

static int setup_all(void **state)
{
    (void)state;
    console_device_add(&device);
    console_set_command_handler(command);
    memory_short = true;
    assert_null(console_create("none", 2));
    memory_short = false;
    web = console_create("web", 0);
    /* The first VM has the line without being asked. */
    say(web, "early ");
    expect("early ");
    db = console_create("db", 1);
    assert_ptr_equal(console_create("db", 1), db);
    console_set_listener(web, CONSOLE_UART, hear, &told_web);
    console_set_listener(db, CONSOLE_UART, hear, &told_db);
    assert_false(console_at_prompt());
    return 0;
}

static int teardown_all(void **state)
{
    (void)state;
    free(web);
    free(db);
    return 0;
}

static void test_switching(void **state)
{
    (void)state;
    console_focus(web);
    expect(TO_WEB "early ");
    say(web, "a");
    say(db, "hidden");
    say(web, "bc");
    expect("abc");
    type("\x1d");
    expect(TO_MONITOR);
    assert_true(console_at_prompt());
    say(web, "d");
    expect("");
    type("\x1d");
    expect(TO_WEB "early abcd");
    console_focus(db);
    expect(TO_DB "hidden");
    say(web, "e");
    expect("");
    type("\x1d\x1d");
    expect(TO_MONITOR TO_DB "hidden");
}

static void test_ring_wrap(void **state)
{
    static char text[CONSOLE_RING + 100];
    const char *tail;
    size_t i;

    (void)state;
    for (i = 0; i < sizeof(text); i++)
        text[i] = (char)('A' + i % 23);
    console_guest_write(db, text, sizeof(text)); /* more than the ring in one call */
    for (i = 0; i < 50; i++)
        console_guest_write(db, "0123456789" + i % 10, 1);
    console_guest_write(db, "end", 3);
    console_focus(db);
    assert_int_equal(shown_size, strlen(TO_DB) + CONSOLE_RING);
    assert_memory_equal(shown, TO_DB, strlen(TO_DB));
    assert_memory_equal(shown + strlen(TO_DB), text + 153, sizeof(text) - 153);
    tail = shown + shown_size - 53;
    assert_memory_equal(tail, "01234567890123456789012345678901234567890123456789end", 53);
}

/* The ring filled to its last byte exactly. */
static void test_ring_full(void **state)
{
    static char text[CONSOLE_RING];

    (void)state;
    memset(text, 'x', sizeof(text));
    console_guest_write(db, text, sizeof(text));
    console_focus(db);
    assert_int_equal(shown_size, strlen(TO_DB) + CONSOLE_RING);
    assert_memory_equal(shown + strlen(TO_DB), text, sizeof(text));
}

static void test_input(void **state)
{
    (void)state;
    console_focus(web);
    assert_int_equal(console_guest_read(web, CONSOLE_UART), -1);
    type("l\x03s\r");
    assert_int_equal(told_web, 1);
    assert_int_equal(told_db, 0);
    assert_true(console_guest_readable(web, CONSOLE_UART));
    assert_false(console_guest_readable(db, CONSOLE_UART));
    assert_int_equal(console_guest_read(web, CONSOLE_UART), 'l');
    assert_int_equal(console_guest_read(web, CONSOLE_UART), 3);
    assert_int_equal(console_guest_read(web, CONSOLE_UART), 's');
    type("\xff");
    assert_int_equal(console_guest_read(web, CONSOLE_UART), '\r');
    assert_int_equal(console_guest_read(web, CONSOLE_UART), 0xff);
    assert_int_equal(console_guest_read(web, CONSOLE_UART), -1);
}

/* What is typed is for the port that has sent last. */
static void test_ports(void **state)
{
    unsigned told_uart = told_web, told_virtio = 0;

    (void)state;
    console_set_listener(web, CONSOLE_VIRTIO, hear, &told_virtio);
    console_focus(web);
    console_leave_virtio(web);
    type("a");
    assert_int_equal(told_web, ++told_uart);
    console_guest_write_virtio(web, "$ ", 2);
    assert_false(console_guest_readable(web, CONSOLE_UART)); /* nor what was typed before */
    assert_int_equal(console_guest_read(web, CONSOLE_UART), -1);
    type("b");
    assert_int_equal(told_web, told_uart);
    assert_int_equal(told_virtio, 1);
    assert_int_equal(console_guest_read(web, CONSOLE_VIRTIO), 'a');
    say(web, "# ");
    assert_false(console_guest_readable(web, CONSOLE_VIRTIO));
    assert_int_equal(console_guest_read(web, CONSOLE_UART), 'b');
    console_guest_write_virtio(web, "$ ", 2);
    say(db, "another VM's");
    assert_int_equal(told_virtio, 1);
    type("c");
    assert_int_equal(told_virtio, 2);
    console_input_again(web, CONSOLE_UART); /* it is not for that one */
    assert_int_equal(told_web, told_uart);
    say(web, "# ");
    console_input_again(web, CONSOLE_VIRTIO);
    assert_int_equal(told_virtio, 2);
    console_input_again(web, CONSOLE_UART);
    assert_int_equal(told_web, ++told_uart);
    console_leave_virtio(web);
    assert_int_equal(console_guest_read(web, CONSOLE_VIRTIO), -1);
    assert_int_equal(console_guest_read(web, CONSOLE_UART), 'c');
    console_input_again(web, CONSOLE_UART);
    assert_int_equal(told_web, told_uart);
    console_set_listener(web, CONSOLE_VIRTIO, NULL, NULL);
}

static void test_input_overflow(void **state)
{
    unsigned i;

    (void)state;
    console_focus(web);
    for (i = 0; i < 4096 + 10; i++)
        console_input(i < 4096 ? "x" : "y", 1);
    assert_int_equal(console_input_dropped(web), 10);
    for (i = 0; i < 4096; i++)
        assert_int_equal(console_guest_read(web, CONSOLE_UART), 'x');
    assert_int_equal(console_guest_read(web, CONSOLE_UART), -1);
}

/* One packet with bytes for the guest, a command, and bytes for the guest again. */
static void test_input_mixed(void **state)
{
    (void)state;
    console_focus(web);
    shown_size = 0;
    type("a\x1dvm list\r\n\x1d"
         "b");
    assert_int_equal(command_count, 1);
    assert_string_equal(commands[0], "vm list");
    assert_int_equal(console_guest_read(web, CONSOLE_UART), 'a');
    assert_int_equal(console_guest_read(web, CONSOLE_UART), 'b');
    assert_int_equal(console_guest_read(web, CONSOLE_UART), -1);
}

static void test_editor(void **state)
{
    (void)state;
    type("helo\x7fp\b\blp me\x17you\x15vm\r");
    assert_int_equal(command_count, 1);
    assert_string_equal(commands[0], "vm");
    expect("helo\b \bp\b \b\b \blp me\b \b\b \byou\b \b\b \b\b \b\b \b\b \b\b \b\b \b\b \bvm\r\n");
    type("\x7f\x15\x17"); /* nothing to erase */
    expect("");
    commands_end();
    shown_size = 0;
    type("x\x03");
    expect("x^C\r\nlintel> ");
    type("\r\n\n"); /* CR LF is one end, the LF behind it another; empty lines run nothing */
    expect("\r\nlintel> \r\nlintel> ");
    type("a\t\x01\x80\xe9"
         "b\n");
    assert_int_equal(command_count, 2);
    assert_string_equal(commands[1], "ab");
}

static void test_editor_words(void **state)
{
    (void)state;
    type("one two  \x17three\x17\x17"
         "four\r");
    assert_string_equal(commands[0], "four");
}

static void test_editor_bound(void **state)
{
    char text[140];

    (void)state;
    memset(text, 'z', sizeof(text));
    console_input(text, sizeof(text));
    assert_int_equal(shown_size, 140);
    assert_int_equal(shown[119], 'z');
    assert_int_equal(shown[120], '\a');
    type("\r");
    assert_int_equal(strlen(commands[0]), 120);
}

static void test_history(void **state)
{
    unsigned i;
    char text[8];

    (void)state;
    type("first\rsecond\rsecond\r");
    command_count = 0;
    type("\x1b[A\r");
    assert_string_equal(commands[0], "second");
    type("\x1b[A\x1bOA\r");
    assert_string_equal(commands[1], "first");
    type("typed\x1b[A\x1b[A\x1b[B\r");
    assert_string_equal(commands[2], "first");
    type("\x1b[A\x1b[B\x1b[B"
         "third\r"); /* down from the newest: an empty line */
    assert_string_equal(commands[3], "third");
    type("\x1b[1;5C\x1b[D\x1bz\x1b[3~four\r"); /* other sequences pass unseen */
    assert_string_equal(commands[4], "four");
    for (i = 0; i < 10; i++) {
        snprintf(text, sizeof(text), "c%u\r", i);
        command_count = 0;
        type(text);
    }
    for (i = 0; i < 12; i++) /* only eight are kept */
        type("\x1b[A");
    type("\r");
    assert_string_equal(commands[1], "c2");
}

/* Unfinished typing is shown again behind what a command printed. */
static void test_prompt_keeps_line(void **state)
{
    (void)state;
    type("vm li");
    console_printf("news\nof %d lines\n", 2);
    console_prompt();
    expect("vm linews\r\nof 2 lines\r\nlintel> vm li");
    console_focus(web);
    shown_size = 0;
    console_prompt();
    expect("");
}

/*
 * What the log wrote over is shown again, by a key or after a while, once; and never over a guest's console.
 */
static void test_prompt_comes_back(void **state)
{
    (void)state;
    console_prompt_again();
    expect("");
    type("vm li");
    console_prompt_lost();
    console_prompt_again();
    console_prompt_again();
    expect("vm lilintel> vm li");
    console_prompt_lost();
    type("st");
    console_prompt_again();
    expect("lintel> vm list");
    console_focus(web);
    shown_size = 0;
    console_prompt_lost();
    console_prompt_again();
    expect("");
}

/* Who enters a line sees the log's words, then what the line says, and only then a prompt. */
static void test_no_prompt_before_the_answer(void **state)
{
    (void)state;
    type("vm list\r");
    console_prompt_lost();
    console_prompt_again();
    type("st");
    console_printf("answer\n");
    console_prompt();
    expect("vm list\r\nstanswer\r\nlintel> st");
    console_prompt_lost();
    console_prompt_again();
    expect("lintel> st");
}

/* Lines typed ahead, an empty one among them: answers only, and the prompt behind the last. */
static void test_one_prompt_behind_lines_typed_ahead(void **state)
{
    (void)state;
    type("vm list\r\rhelp\r");
    expect("vm list\r\n\r\nhelp\r\n");
    console_focus(NULL);
    console_prompt();
    console_prompt_lost();
    console_prompt_again();
    console_printf("answer\n");
    expect("answer\r\n");
    console_prompt();
    expect("lintel> ");
}

/* Lines of the log decide what a run was worth: no guest may print one, whole or in pieces, at any column. */
static void test_forged_log(void **state)
{
    (void)state;
    console_focus(web);
    shown_size = 0;
    say(web, "\n[lintel] panic: x\n");
    expect("\n[lintel~] panic: x\n");
    for (const char *at = "[[lintel] power off\r[lin[lintel][lintel"; *at; at++)
        console_guest_write(web, at, 1);
    expect("[[lintel~] power off\r[lin[lintel~][lintel");
    console_focus(db);
    say(db, "] [lin");
    console_focus(web);
    shown_size = 0;
    say(web, "] reset");
    expect("~] reset");
    console_focus(NULL);
    shown_size = 0;
    console_focus(web);
    shown[shown_size] = '\0';
    assert_null(strstr(shown, "[lintel]"));
    assert_non_null(strstr(shown, "[lintel~] panic: x"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(test_switching, setup),
        cmocka_unit_test_setup(test_ring_wrap, setup),
        cmocka_unit_test_setup(test_ring_full, setup),
        cmocka_unit_test_setup(test_input, setup),
        cmocka_unit_test_setup(test_ports, setup),
        cmocka_unit_test_setup(test_input_overflow, setup),
        cmocka_unit_test_setup(test_input_mixed, setup),
        cmocka_unit_test_setup(test_editor, setup),
        cmocka_unit_test_setup(test_editor_words, setup),
        cmocka_unit_test_setup(test_editor_bound, setup),
        cmocka_unit_test_setup(test_history, setup),
        cmocka_unit_test_setup(test_prompt_keeps_line, setup),
        cmocka_unit_test_setup(test_prompt_comes_back, setup),
        cmocka_unit_test_setup(test_no_prompt_before_the_answer, setup),
        cmocka_unit_test_setup(test_one_prompt_behind_lines_typed_ahead, setup),
        cmocka_unit_test_setup(test_forged_log, setup),
    };

    return cmocka_run_group_tests(tests, setup_all, teardown_all);
}
