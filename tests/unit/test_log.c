/* SPDX-License-Identifier: MIT */
/* The log's ring, sinks and levels, and the order of a panic's last words. */
// sources: hv/lib/log.c hv/lib/panic.c hv/lib/printf.c hv/lib/string.c
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "hv/lib/log.h"
#include "hv/lib/panic.h"

static char seen[300000];
static size_t seen_length;

static void keep(const char *text, size_t size)
{
    assert_true(seen_length + size < sizeof(seen));
    memcpy(seen + seen_length, text, size);
    seen_length += size;
    seen[seen_length] = 0;
}

static void sink_write(struct log_sink *to, const char *text, size_t size, bool panicking)
{
    (void)to;
    if (!panicking)
        keep(text, size);
}

static void replay_write(void *context, const char *text, size_t size)
{
    if (context)
        log_info("written while the log is replayed"); /* must neither hang nor be replayed */
    keep(text, size);
}

static const char *replay(void *context)
{
    seen_length = 0;
    seen[0] = 0;
    log_replay(replay_write, context);
    return seen;
}

static struct log_sink sink = {.name = "test", .write = sink_write};

static void test_a_sink_gets_what_was_said_before(void **state)
{
    (void)state;
    log_info("first %d", 1);
    log_debug("not shown");
    log_error("second");
    log_sink_add(&sink);
    assert_string_equal(seen, "[lintel] first 1\n[lintel] second\n");
    log_warning("third");
    log_debug("not shown either");
    assert_string_equal(seen, "[lintel] first 1\n[lintel] second\n[lintel] third\n");
    log_level_set(LOG_DEBUG);
    log_debug("shown");
    log_level_set(LOG_INFO);
    assert_non_null(strstr(seen, "third\n[lintel] shown\n"));
}

static void test_replay_has_every_level(void **state)
{
    (void)state;
    assert_non_null(strstr(replay(NULL), "[lintel] first 1\n[lintel] not shown\n[lintel] second\n"));
}

static void test_each_line_has_its_prefix(void **state)
{
    (void)state;
    seen_length = 0;
    log_info("one\ntwo\n");
    log_info("%s", "");
    log_info("tab\there, escape \x1b[2J, delete \x7f");
    assert_string_equal(seen,
                        "[lintel] one\n[lintel] two\n[lintel] \n[lintel] tab here, escape ?[2J, delete ?\n");
}

static void test_a_long_line_is_cut(void **state)
{
    char text[3000];

    (void)state;
    memset(text, 'x', sizeof(text) - 1);
    text[sizeof(text) - 1] = 0;
    seen_length = 0;
    log_info("%s", text);
    assert_int_equal(seen_length, strlen("[lintel] ") + 480 + 1);
}

static u64 now_ns(void)
{
    return 12345678901ull;
}

static void test_replay_shows_the_time(void **state)
{
    (void)state;
    log_clock_set(now_ns);
    log_info("timed");
    log_clock_set(NULL);
    assert_non_null(strstr(replay(NULL), "[lintel]  12.345678 timed\n"));
}

static void test_the_ring_forgets_the_oldest(void **state)
{
    char *line;
    int number, i;

    (void)state;
    for (i = 0; i < 5000; i++) {
        seen_length = 0;
        log_info("line %d %.*s", i, i % 200,
                 "........................................................................"
                 "........................................................................"
                 "........................................................................");
    }
    assert_non_null(strstr(replay(NULL), "[lintel] line 4999 "));
    assert_in_range(seen_length, 40000, 65536);
    number = atoi(strstr(seen, "line ") + 5);
    assert_in_range(number, 4000, 4800);
    for (line = seen; *line; line = strchr(line, '\n') + 1, number++)
        assert_int_equal(strncmp(line, "[lintel] line ", 14) ? -1 : atoi(line + 14), number);
    assert_int_equal(number, 5000);
    log_level_set(LOG_ERROR); /* what the callback says goes to the ring alone */
    assert_null(strstr(replay(&sink), "written while"));
    assert_non_null(strstr(seen, "[lintel] line 4999 "));
    log_level_set(LOG_INFO);
    assert_non_null(strstr(replay(NULL), "written while"));
}

static void test_a_guest_has_a_budget(void **state)
{
    struct log_limit limit = {0};
    int passed = 0, i;

    (void)state;
    for (i = 0; i < 100; i++)
        passed += log_limit_pass(&limit, 1000 + (u64)i, 200, 5);
    assert_int_equal(passed, 5);
    assert_int_equal(limit.dropped, 95);
    assert_true(log_limit_pass(&limit, 1200, 200, 5));
}

/* ---- panics, each in a child whose sink writes into a pipe */

static int pipe_end;

static void pipe_write(struct log_sink *to, const char *text, size_t size, bool panicking)
{
    (void)to;
    if (!panicking)
        return;
    assert_int_equal(write(pipe_end, text, size), size);
}

static void dump(void)
{
    log_error("back trace");
}

static void dump_that_panics(void)
{
    if (pipe_end)
        panic("again");
}

static bool served(char *text, size_t size)
{
    snprintf(text, size, "VM web, vCPU 1");
    return true;
}

static u32 cpu(void)
{
    return 3;
}

static void stop(void)
{
    log_error("others stand");
}

/* What a child says that does this; its lines are in seen. */
static int in_child(const struct panic_hooks *hooks, void (*act)(void))
{
    struct log_sink to = {.name = "pipe", .write = pipe_write};
    int ends[2], status;
    ssize_t got;

    assert_int_equal(pipe(ends), 0);
    if (fork() == 0) {
        signal(SIGSEGV, SIG_DFL); /* cmocka's handler would go on with the next test */
        pipe_end = ends[1];
        log_sink_add(&to);
        panic_hooks_set(hooks);
        act();
        _exit(99);
    }
    close(ends[1]);
    seen_length = 0;
    while ((got = read(ends[0], seen + seen_length, sizeof(seen) - 1 - seen_length)) > 0)
        seen_length += (size_t)got;
    seen[seen_length] = 0;
    close(ends[0]);
    wait(&status);
    return status;
}

static void act_panic(void)
{
    panic_at("a/b.c", 12, "frame %d is lost", 5);
}

static void act_exception(void)
{
    panic_exception("page fault at 0x10");
}

static void test_the_panic_line_comes_last(void **state)
{
    int status = in_child(&(struct panic_hooks){dump, served, stop, cpu}, act_panic);

    (void)state;
    assert_false(WIFEXITED(status)); /* "cli" kills the child: it does not go on */
    assert_string_equal(seen, "[lintel] back trace\n"
                              "[lintel] others stand\n"
                              "[lintel] panic: a/b.c:12: frame 5 is lost (CPU 3, serving VM web, vCPU 1)\n");
}

static void test_an_exception_ends_alike(void **state)
{
    (void)state;
    in_child(&(struct panic_hooks){0}, act_exception);
    assert_string_equal(seen, "[lintel] panic: page fault at 0x10\n");
}

static void test_a_panic_within_a_panic_halts(void **state)
{
    int status = in_child(&(struct panic_hooks){.dump = dump_that_panics, .stop = stop}, act_panic);

    (void)state;
    assert_false(WIFEXITED(status));
    assert_non_null(strstr(seen, "[lintel] panic: within a panic: tests/unit/test_log.c:"));
    assert_null(strstr(seen, "frame 5"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_sink_gets_what_was_said_before), /* first: the ring is still empty */
        cmocka_unit_test(test_replay_has_every_level),
        cmocka_unit_test(test_each_line_has_its_prefix),
        cmocka_unit_test(test_a_long_line_is_cut),
        cmocka_unit_test(test_replay_shows_the_time),
        cmocka_unit_test(test_the_ring_forgets_the_oldest),
        cmocka_unit_test(test_a_guest_has_a_budget),
        cmocka_unit_test(test_the_panic_line_comes_last),
        cmocka_unit_test(test_an_exception_ends_alike),
        cmocka_unit_test(test_a_panic_within_a_panic_halts),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
