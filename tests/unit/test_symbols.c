/* SPDX-License-Identifier: MIT */
/* Which function an address is in, by a table of three. */
// sources: hv/lib/symbols.c
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "hv/lib/symbols.h"

const u32 symbol_count = 3;
const struct symbol symbol_table[] = {{0x1000, 0}, {0x1010, 6}, {0x2000, 13}};
const char symbol_names[] = "first\0second\0third";

static void finds_the_function_below(void **state)
{
    static const struct {
        u64 offset;
        const char *name;
        u64 into;
    } cases[] = {
        {0x1000, "first", 0},      {0x100f, "first", 0xf}, {0x1010, "second", 0},
        {0x1fff, "second", 0xfef}, {0x2000, "third", 0},   {~0ull, "third", ~0ull - 0x2000},
    };
    u64 into;

    (void)state;
    for (unsigned i = 0; i < ARRAY_SIZE(cases); i++) {
        assert_string_equal(symbol_find(cases[i].offset, &into), cases[i].name);
        assert_int_equal(into, cases[i].into);
    }
}

static void finds_nothing_before_the_first(void **state)
{
    u64 into;

    (void)state;
    assert_null(symbol_find(0xfff, &into));
    assert_null(symbol_find(0, &into));
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(finds_the_function_below),
        cmocka_unit_test(finds_nothing_before_the_first),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
