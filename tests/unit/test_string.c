/* SPDX-License-Identifier: MIT */
/*
 * hv/lib/string.c against byte loops and the C library: every alignment, every short length, overlaps both
 * ways.
 */
// sources: hv/lib/string.c
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <asm-generic/errno.h>
#include <cmocka.h>

#include "hv/lib/string.h"

/* Host builds give lintel's own functions these names. */
void *lintel_memcpy(void *restrict to, const void *restrict from, size_t bytes);
void *lintel_memmove(void *to, const void *from, size_t bytes);
void *lintel_memset(void *at, int value, size_t bytes);
int lintel_memcmp(const void *a, const void *b, size_t bytes);
size_t lintel_strlen(const char *text);
size_t lintel_strnlen(const char *text, size_t most);
int lintel_strcmp(const char *a, const char *b);
int lintel_strncmp(const char *a, const char *b, size_t most);
char *lintel_strchr(const char *text, int c);

#define ROOM 192

static void fill(u8 *at, size_t bytes)
{
    while (bytes-- > 0)
        *at++ = (u8)rand();
}

static void test_memcpy_copies_just_the_bytes(void **state)
{
    u8 from[ROOM], to[ROOM], expected[ROOM];
    size_t a, b, bytes;

    (void)state;
    fill(from, ROOM);
    for (a = 0; a < 9; a++)
        for (b = 0; b < 9; b++)
            for (bytes = 0; bytes < 80; bytes++) {
                fill(to, ROOM);
                memcpy(expected, to, ROOM);
                for (size_t i = 0; i < bytes; i++)
                    expected[a + i] = from[b + i];
                assert_ptr_equal(lintel_memcpy(to + a, from + b, bytes), to + a);
                assert_memory_equal(to, expected, ROOM);
            }
}

static void test_memmove_survives_overlaps(void **state)
{
    u8 at[ROOM], expected[ROOM], old[ROOM];
    size_t to, from, bytes;

    (void)state;
    for (to = 0; to < 40; to++)
        for (from = 0; from < 40; from++)
            for (bytes = 0; bytes < 70; bytes += 1 + bytes / 24) {
                fill(at, ROOM);
                memcpy(old, at, ROOM);
                memcpy(expected, at, ROOM);
                for (size_t i = 0; i < bytes; i++)
                    expected[to + i] = old[from + i];
                assert_ptr_equal(lintel_memmove(at + to, at + from, bytes), at + to);
                assert_memory_equal(at, expected, ROOM);
            }
}

static void test_memset_sets_just_the_bytes(void **state)
{
    u8 at[ROOM];
    size_t offset, bytes, i;

    (void)state;
    for (offset = 0; offset < 9; offset++)
        for (bytes = 0; bytes < 80; bytes++) {
            memset(at, 0x11, ROOM);
            assert_ptr_equal(lintel_memset(at + offset, 0x1a5, bytes), at + offset);
            for (i = 0; i < ROOM; i++)
                assert_int_equal(at[i], i >= offset && i < offset + bytes ? 0xa5 : 0x11);
        }
}

static int sign(int value)
{
    return (value > 0) - (value < 0);
}

static void test_memcmp_orders_like_the_c_library(void **state)
{
    u8 a[40], b[40];
    int round;

    (void)state;
    for (round = 0; round < 20000; round++) {
        size_t bytes = (size_t)rand() % 33, offset = (size_t)rand() % 7;

        fill(a, sizeof(a));
        memcpy(b, a, sizeof(b));
        if (rand() % 4)
            b[(size_t)rand() % 40] = (u8)rand();
        assert_int_equal(sign(lintel_memcmp(a + offset, b + offset, bytes)),
                         sign(memcmp(a + offset, b + offset, bytes)));
    }
}

static void test_text_functions(void **state)
{
    static const char *const words[] = {"", "a", "ab", "abc", "b", "\xff", "a\xff"};
    size_t i, j, most;

    (void)state;
    for (i = 0; i < ARRAY_SIZE(words); i++) {
        assert_int_equal(lintel_strlen(words[i]), strlen(words[i]));
        for (most = 0; most < 5; most++)
            assert_int_equal(lintel_strnlen(words[i], most), strnlen(words[i], most));
        for (j = 0; j < ARRAY_SIZE(words); j++) {
            assert_int_equal(sign(lintel_strcmp(words[i], words[j])), sign(strcmp(words[i], words[j])));
            for (most = 0; most < 5; most++)
                assert_int_equal(sign(lintel_strncmp(words[i], words[j], most)),
                                 sign(strncmp(words[i], words[j], most)));
        }
        assert_ptr_equal(lintel_strchr(words[i], 'b'), strchr(words[i], 'b'));
        assert_ptr_equal(lintel_strchr(words[i], 0), strchr(words[i], 0));
    }
    assert_int_equal(lintel_strnlen("ab", 1), 1);
}

static void test_string_copy_ends_with_nul_and_tells_of_a_cut(void **state)
{
    char to[4] = "xyz";

    (void)state;
    assert_int_equal(string_copy(to, "ab", sizeof(to)), 2);
    assert_string_equal(to, "ab");
    assert_int_equal(string_copy(to, "abcdef", sizeof(to)), 6);
    assert_string_equal(to, "abc");
    assert_int_equal(string_copy(to, "abcdef", 0), 6);
    assert_string_equal(to, "abc");
    assert_int_equal(string_copy(to, "abcdef", 1), 6);
    assert_string_equal(to, "");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_memcpy_copies_just_the_bytes),
        cmocka_unit_test(test_memmove_survives_overlaps),
        cmocka_unit_test(test_memset_sets_just_the_bytes),
        cmocka_unit_test(test_memcmp_orders_like_the_c_library),
        cmocka_unit_test(test_text_functions),
        cmocka_unit_test(test_string_copy_ends_with_nul_and_tells_of_a_cut),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
