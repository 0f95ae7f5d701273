/* SPDX-License-Identifier: MIT */
/*
 * hv/lib/printf.c against the C library's vsnprintf: thousands of random directives, and every size of the
 * buffer.
 */
// sources: hv/lib/printf.c
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "hv/lib/types.h"

int lintel_vsnprintf(char *to, size_t size, const char *format, va_list args);
int lintel_snprintf(char *to, size_t size, const char *format, ...);

/* Both, on the same arguments; texts, lengths and the bytes behind the buffer's end must agree. */
static void compare(size_t size, const char *format, ...)
{
    char ours[300], theirs[300];
    va_list args, again;
    int our_length, their_length;

    memset(ours, '~', sizeof(ours));
    memset(theirs, '~', sizeof(theirs));
    va_start(args, format);
    va_copy(again, args);
    our_length = lintel_vsnprintf(ours, size, format, args);
    their_length = vsnprintf(theirs, size, format, again);
    va_end(again);
    va_end(args);
    if (our_length != their_length || memcmp(ours, theirs, sizeof(ours)))
        print_message("format \"%s\": ours \"%.60s\" (%d), theirs \"%.60s\" (%d)\n", format, ours, our_length,
                      theirs, their_length);
    assert_int_equal(our_length, their_length);
    assert_memory_equal(ours, theirs, sizeof(ours));
}

static const char *pick(const char *const *list, size_t count)
{
    return list[(size_t)rand() % count];
}

static u64 random_number(void)
{
    u64 bits = (u64)rand() << 62 ^ (u64)rand() << 31 ^ (u64)rand();

    return rand() % 8 == 0 ? 0 : bits >> rand() % 64;
}

/* Flags, width and precision; "-*.*" too. Returns how many int arguments '*' takes. */
static int random_head(char *head, const char *flags)
{
    int stars = 0;

    *head++ = '%';
    for (; *flags; flags++)
        if (rand() % 3 == 0)
            *head++ = *flags;
    if (rand() % 8 == 0) {
        *head++ = '*';
        stars++;
    } else if (rand() % 2) {
        head += sprintf(head, "%d", 1 + rand() % 30);
    }
    if (rand() % 3 == 0) {
        *head++ = '.';
        if (stars && rand() % 2) {
            *head++ = '*';
            stars++;
        } else if (rand() % 4) {
            head += sprintf(head, "%d", rand() % 25);
        }
    }
    *head = 0;
    return stars;
}

static void compare_number(const char *format, int stars, bool wide, u64 value)
{
    int width = rand() % 50 - 25, precision = rand() % 30 - 5;

    if (stars == 2 && wide)
        compare(300, format, width, precision, value);
    else if (stars == 2)
        compare(300, format, width, precision, (unsigned)value);
    else if (stars == 1 && wide)
        compare(300, format, width, value);
    else if (stars == 1)
        compare(300, format, width, (unsigned)value);
    else if (wide)
        compare(300, format, value);
    else
        compare(300, format, (unsigned)value);
}

static void test_random_numbers(void **state)
{
    static const char *const lengths[] = {"", "hh", "h", "l", "ll", "z", "t"};
    static const struct {
        const char *conversion, *flags; /* only those that ISO C defines for it */
    } rows[] = {{"d", "-0+ "}, {"i", "-0+ "}, {"u", "-0"}, {"x", "-0#"}, {"X", "-0#"}, {"o", "-0#"}};
    char format[64];
    int round;

    (void)state;
    for (round = 0; round < 60000; round++) {
        size_t row = (size_t)rand() % ARRAY_SIZE(rows);
        const char *length = pick(lengths, ARRAY_SIZE(lengths));
        int stars;

        strcpy(format, "<");
        stars = random_head(format + 1, rows[row].flags);
        strcat(format, length);
        strcat(format, rows[row].conversion);
        strcat(format, ">");
        compare_number(format, stars, length[0] && length[0] != 'h', random_number());
    }
}

static void test_random_texts(void **state)
{
    static const char *const words[] = {"", "a", "lintel", "a rather long text with many words"};
    char format[64];
    int round;

    (void)state;
    for (round = 0; round < 5000; round++) {
        int stars = random_head(format, "-"), width = rand() % 50 - 25, precision = rand() % 20 - 3;
        const char *word = pick(words, ARRAY_SIZE(words));

        strcat(format, "s|");
        if (stars == 2)
            compare(300, format, width, precision, word);
        else if (stars == 1)
            compare(300, format, width, word);
        else
            compare(300, format, word);
    }
}

static void test_every_buffer_size(void **state)
{
    size_t size;

    (void)state;
    for (size = 0; size < 60; size++)
        compare(size, "VM %s: %-8u|%#010x|%c%%|%p|%5c|%-3c.", "web", 42u, 0xbeefu, 'x', (void *)0x1234, 'y',
                'z');
}

static void test_what_the_library_leaves_open(void **state)
{
    char text[40];

    (void)state;
    lintel_snprintf(text, sizeof(text), "%s", NULL);
    assert_string_equal(text, "(null)");
    lintel_snprintf(text, sizeof(text), "%p", NULL);
    assert_string_equal(text, "0x0");
    assert_int_equal(lintel_snprintf(NULL, 0, "%d", 12345), 5);
    assert_int_equal(lintel_snprintf(text, sizeof(text), "%99999999999d", 1), 65535);
    lintel_snprintf(text, sizeof(text), "%y");
    assert_string_equal(text, "(bad format)");
    lintel_snprintf(text, sizeof(text), "50%");
    assert_string_equal(text, "50(bad format)");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_random_numbers),
        cmocka_unit_test(test_random_texts),
        cmocka_unit_test(test_every_buffer_size),
        cmocka_unit_test(test_what_the_library_leaves_open),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
