/* SPDX-License-Identifier: MIT */
/*
 * Formatting into a bounded buffer: see the header for what is understood. No lock, no allocation, no
 * floating point.
 */
#ifdef LINTEL_HOST_TEST
/* On the host everybody else uses the C library; ours stand beside it. */
#define vsnprintf lintel_vsnprintf
#define snprintf  lintel_snprintf
#endif

#include "hv/lib/printf.h"

enum flags {
    FLAG_LEFT = BIT(0),  /* '-' */
    FLAG_ZERO = BIT(1),  /* '0' */
    FLAG_PLUS = BIT(2),  /* '+' */
    FLAG_SPACE = BIT(3), /* ' ' */
    FLAG_FORM = BIT(4),  /* '#' */
};

/* How wide the argument is, in the order in which the letters of a length modifier count. */
enum length { LENGTH_CHAR, LENGTH_SHORT, LENGTH_INT, LENGTH_LONG };

struct directive {
    unsigned flags;
    enum length length;
    int width;
    int precision; /* -1: none given */
    char conversion;
};

/* Where the text goes; length counts on when the room is used up. */
struct output {
    char *to;
    size_t size;
    size_t length;
};

static void put(struct output *out, char c)
{
    if (out->length < out->size)
        out->to[out->length] = c;
    out->length++;
}

static void put_repeated(struct output *out, char c, int count)
{
    for (; count > 0; count--)
        put(out, c);
}

static void put_text(struct output *out, const struct directive *directive, const char *text)
{
    int length = 0, i;

    if (!text)
        text = "(null)";
    while ((directive->precision < 0 || length < directive->precision) && text[length])
        length++;
    if (!(directive->flags & FLAG_LEFT))
        put_repeated(out, ' ', directive->width - length);
    for (i = 0; i < length; i++)
        put(out, text[i]);
    if (directive->flags & FLAG_LEFT)
        put_repeated(out, ' ', directive->width - length);
}

static void put_char(struct output *out, const struct directive *directive, char c)
{
    if (!(directive->flags & FLAG_LEFT))
        put_repeated(out, ' ', directive->width - 1);
    put(out, c);
    if (directive->flags & FLAG_LEFT)
        put_repeated(out, ' ', directive->width - 1);
}

/* The digits of value, last one first; returns how many. Zero has none: the precision brings it. */
static int write_digits(char digits[static 22], u64 value, unsigned base, bool capital)
{
    const char *alphabet = capital ? "0123456789ABCDEF" : "0123456789abcdef";
    int count = 0;

    for (; value; value /= base)
        digits[count++] = alphabet[value % base];
    return count;
}

/* prefix: sign or "0x"; zeros: what precision or the '0' flag ask for. */
static void put_number(struct output *out, const struct directive *directive, u64 value, unsigned base,
                       const char *prefix)
{
    char digits[22];
    int count = write_digits(digits, value, base, directive->conversion == 'X');
    int zeros = MAX((directive->precision < 0 ? 1 : directive->precision) - count, 0);
    int prefix_length = prefix[0] ? (prefix[1] ? 2 : 1) : 0;
    int padding;

    if (base == 8 && (directive->flags & FLAG_FORM) && zeros == 0)
        zeros = 1; /* '#' wants an octal number to begin with 0, at least one */
    padding = directive->width - prefix_length - zeros - count;
    if ((directive->flags & (FLAG_ZERO | FLAG_LEFT)) == FLAG_ZERO && directive->precision < 0 &&
        padding > 0) {
        zeros += padding;
        padding = 0;
    }
    if (!(directive->flags & FLAG_LEFT))
        put_repeated(out, ' ', padding);
    for (; *prefix; prefix++)
        put(out, *prefix);
    put_repeated(out, '0', zeros);
    while (count > 0)
        put(out, digits[--count]);
    if (directive->flags & FLAG_LEFT)
        put_repeated(out, ' ', padding);
}

static void put_signed(struct output *out, const struct directive *directive, s64 value)
{
    const char *sign = value < 0                       ? "-"
                       : directive->flags & FLAG_PLUS  ? "+"
                       : directive->flags & FLAG_SPACE ? " "
                                                       : "";

    put_number(out, directive, value < 0 ? 0 - (u64)value : (u64)value, 10, sign);
}

static void put_unsigned(struct output *out, const struct directive *directive, u64 value)
{
    bool form = (directive->flags & FLAG_FORM) && value;

    switch (directive->conversion) {
    case 'u': put_number(out, directive, value, 10, ""); return;
    case 'o': put_number(out, directive, value, 8, ""); return;
    case 'X': put_number(out, directive, value, 16, form ? "0X" : ""); return;
    default: put_number(out, directive, value, 16, form ? "0x" : ""); return;
    }
}

static void put_pointer(struct output *out, const struct directive *directive, uintptr_t value)
{
    struct directive hexadecimal = *directive;

    hexadecimal.conversion = 'x';
    put_number(out, &hexadecimal, value, 16, "0x");
}

static s64 cut_signed(s64 value, enum length length)
{
    switch (length) {
    case LENGTH_CHAR: return (s8)value;
    case LENGTH_SHORT: return (s16)value;
    default: return value;
    }
}

static u64 cut_unsigned(u64 value, enum length length)
{
    switch (length) {
    case LENGTH_CHAR: return (u8)value;
    case LENGTH_SHORT: return (u16)value;
    default: return value;
    }
}

static const char *parse_flags(const char *format, struct directive *directive)
{
    for (;; format++) {
        switch (*format) {
        case '-': directive->flags |= FLAG_LEFT; break;
        case '0': directive->flags |= FLAG_ZERO; break;
        case '+': directive->flags |= FLAG_PLUS; break;
        case ' ': directive->flags |= FLAG_SPACE; break;
        case '#': directive->flags |= FLAG_FORM; break;
        default: return format;
        }
    }
}

/* A number no text of ours reaches keeps the arithmetic on widths away from overflow. */
#define WIDTH_MAX 65535

static const char *parse_number(const char *format, int *number)
{
    for (*number = 0; *format >= '0' && *format <= '9'; format++)
        *number = MIN(*number * 10 + (*format - '0'), WIDTH_MAX);
    return format;
}

/* The argument of a '*'. */
static int bound_number(int number)
{
    return MAX(MIN(number, WIDTH_MAX), -WIDTH_MAX);
}

static const char *parse_length(const char *format, struct directive *directive)
{
    directive->length = LENGTH_INT;
    switch (*format) {
    case 'h': directive->length = format[1] == 'h' ? LENGTH_CHAR : LENGTH_SHORT; break;
    case 'l':
    case 'z':
    case 't': directive->length = LENGTH_LONG; break; /* all of them, and ll, are 64 bits here */
    default: return format;
    }
    return format + (format[1] == format[0] && (*format == 'h' || *format == 'l') ? 2 : 1);
}

/* format stands behind the '%'; returns what follows the conversion letter. */
static const char *parse_directive(const char *format, struct directive *directive, va_list *args)
{
    *directive = (struct directive){.precision = -1};
    format = parse_flags(format, directive);
    if (*format == '*') {
        directive->width = bound_number(va_arg(*args, int));
        if (directive->width < 0) {
            directive->flags |= FLAG_LEFT;
            directive->width = -directive->width;
        }
        format++;
    } else {
        format = parse_number(format, &directive->width);
    }
    if (*format == '.' && format[1] == '*') {
        directive->precision = bound_number(va_arg(*args, int)); /* negative: none */
        format += 2;
    } else if (*format == '.') {
        format = parse_number(format + 1, &directive->precision);
    }
    format = parse_length(format, directive);
    directive->conversion = *format;
    return *format ? format + 1 : format;
}

static s64 take_signed(const struct directive *directive, va_list *args)
{
    if (directive->length == LENGTH_LONG)
        return va_arg(*args, s64);
    return cut_signed(va_arg(*args, int), directive->length);
}

static u64 take_unsigned(const struct directive *directive, va_list *args)
{
    if (directive->length == LENGTH_LONG)
        return va_arg(*args, u64);
    return cut_unsigned(va_arg(*args, unsigned), directive->length);
}

static void put_directive(struct output *out, const struct directive *directive, va_list *args)
{
    switch (directive->conversion) {
    case 'd':
    case 'i': put_signed(out, directive, take_signed(directive, args)); break;
    case 'u':
    case 'o':
    case 'x':
    case 'X': put_unsigned(out, directive, take_unsigned(directive, args)); break;
    case 'c': put_char(out, directive, (char)va_arg(*args, int)); break;
    case 's': put_text(out, directive, va_arg(*args, const char *)); break;
    case 'p': put_pointer(out, directive, (uintptr_t)va_arg(*args, void *)); break;
    case '%': put(out, '%'); break;
    default: put_text(out, directive, "(bad format)"); break; /* the compiler's check leaves none */
    }
}

int vsnprintf(char *to, size_t size, const char *format, va_list args)
{
    struct output out = {to, size, 0};
    struct directive directive;
    va_list rest;

    va_copy(rest,
            args); /* a parameter of this type may be an array: its address would not be that of a va_list */
    while (*format) {
        if (*format != '%') {
            put(&out, *format++);
            continue;
        }
        format = parse_directive(format + 1, &directive, &rest);
        put_directive(&out, &directive, &rest);
    }
    va_end(rest);
    if (size > 0)
        to[MIN(out.length, size - 1)] = 0;
    return (int)out.length;
}

int snprintf(char *to, size_t size, const char *format, ...)
{
    va_list args;
    int length;

    va_start(args, format);
    length = vsnprintf(to, size, format, args);
    va_end(args);
    return length;
}
