/* SPDX-License-Identifier: MIT */
/*
 * COM1, polled: no interrupt is enabled, so that every guest may use the interrupt controllers as it likes.
 */
#include "lib/serial.h"

#include "lib/io.h"

#define COM1 0x3f8

void serial_setup(void)
{
    out8(COM1 + 1, 0);    /* no interrupts */
    out8(COM1 + 3, 0x80); /* divisor 1 */
    out8(COM1 + 0, 1);
    out8(COM1 + 1, 0);
    out8(COM1 + 3, 3);    /* 8 bits, no parity */
    out8(COM1 + 2, 7);    /* FIFOs on and empty */
    out8(COM1 + 4, 0x0b); /* DTR, RTS, OUT2: which connects its interrupt */
}

void serial_put(char c)
{
    while (!(in8(COM1 + 5) & 0x20))
        ;
    out8(COM1, (u8)c);
}

void serial_write(const char *text)
{
    for (; *text; text++) {
        if (*text == '\n')
            serial_put('\r');
        serial_put(*text);
    }
}

bool serial_has_key(void)
{
    return in8(COM1 + 5) & 1;
}

char serial_key(void)
{
    return (char)in8(COM1);
}
