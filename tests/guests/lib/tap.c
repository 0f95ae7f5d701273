/* SPDX-License-Identifier: MIT */
/* The guest's life from guest_start to power-off, and its TAP lines. */
#include "lib/tap.h"

#include <stdarg.h>

#include "lib/interrupt.h"
#include "lib/io.h"
#include "lib/serial.h"

/* SLP_TYP 5 (lintel's _S5), then 0 (QEMU's, for runs without lintel), each with SLP_EN. */
#define SLEEP_LINTEL (5 << 10 | BIT(13))
#define SLEEP_QEMU   BIT(13)

void guest_start(void);

static unsigned points;

/* ---------------------------------------------------------------- formatting */

static void put_number(u64 value, unsigned base)
{
    char digits[24];
    unsigned i = sizeof(digits);

    digits[--i] = '\0';
    do {
        digits[--i] = "0123456789abcdef"[value % base];
        value /= base;
    } while (value);
    serial_write(digits + i);
}

static void put_signed(s64 value)
{
    if (value < 0)
        serial_put('-');
    put_number(value < 0 ? -(u64)value : (u64)value, 10);
}

static void put_formatted(const char *format, va_list args)
{
    for (; *format; format++) {
        bool wide = false;

        if (*format != '%') {
            serial_put(*format);
            continue;
        }
        format++;
        if (*format == 'l') {
            wide = true;
            format++;
        }
        switch (*format) {
        case 'u': put_number(wide ? va_arg(args, u64) : va_arg(args, u32), 10); break;
        case 'x': put_number(wide ? va_arg(args, u64) : va_arg(args, u32), 16); break;
        case 'd': put_signed(wide ? va_arg(args, s64) : va_arg(args, s32)); break;
        case 's': serial_write(va_arg(args, const char *)); break;
        default: serial_put(*format); break;
        }
    }
    serial_write("\n");
}

/* ---------------------------------------------------------------- TAP */

void plan(unsigned count)
{
    serial_write("1..");
    put_number(count, 10);
    serial_write("\n");
}

bool ok(bool condition, const char *format, ...)
{
    va_list args;

    serial_write(condition ? "ok " : "not ok ");
    put_number(++points, 10);
    serial_put(' ');
    va_start(args, format);
    put_formatted(format, args);
    va_end(args);
    return condition;
}

void say(const char *format, ...)
{
    va_list args;

    serial_write("# ");
    va_start(args, format);
    put_formatted(format, args);
    va_end(args);
}

void finish(void)
{
    serial_write("# end\n");
    interrupts_off();
    out16(PM_CONTROL, SLEEP_LINTEL);
    out16(PM_CONTROL, SLEEP_QEMU);
    for (;;)
        asm volatile("hlt");
}

void bail_out(const char *format, ...)
{
    va_list args;

    serial_write("Bail out! ");
    va_start(args, format);
    put_formatted(format, args);
    va_end(args);
    finish();
}

/* ---------------------------------------------------------------- life */

/* struct hvm_start_info: magic, version, flags, modules, then at 24 the command line's address. */
bool word_given(const char *word)
{
    const char *at = *(const char *const *)(start_info + 24);

    while (at && *at) {
        const char *w = word;

        while (*w && *at == *w) {
            at++;
            w++;
        }
        if (!*w && (!*at || *at == ' '))
            return true;
        while (*at && *at != ' ')
            at++;
        while (*at == ' ')
            at++;
    }
    return false;
}

void delay_us(u32 us)
{
    u32 start = in32(PM_TIMER), ticks = (u32)((u64)us * PM_TIMER_HZ / 1000000);

    /* QEMU's PM timer has 24 bits, lintel's 32. */
    while (((in32(PM_TIMER) - start) & 0xffffff) < ticks)
        asm volatile("pause");
}

void guest_start(void)
{
    interrupt_setup();
    serial_setup();
    guest_main();
    finish();
}
