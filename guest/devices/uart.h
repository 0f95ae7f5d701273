/* SPDX-License-Identifier: MIT */
/*
 * A 16550A serial port at 0x3f8, ISA line 4, whose other end is the VM's console. It sends at once and takes
 * input only as fast as the guest reads, so only loop-back can overrun. Device lock. National PC16550D data
 * sheet.
 */
#ifndef GUEST_DEVICES_UART_H
#define GUEST_DEVICES_UART_H

#include "hv/lib/types.h"

#define UART_PORT 0x3f8
#define UART_LINE 4
#define UART_FIFO 16

struct machine;

struct uart {
    struct machine *machine;
    u8 ier, fcr, lcr, mcr, scratch;
    u8 msr_delta;      /* bits 0 .. 3 of MSR */
    u8 line_errors;    /* bit 1 of LSR: overrun */
    bool thre_pending; /* "transmitter empty" was not yet read from IIR */
    bool line;         /* level of the interrupt line */
    u16 divisor;
    u8 fifo[UART_FIFO]; /* received */
    u8 fifo_first, fifo_count;
};

int uart_init(struct uart *uart, struct machine *machine);
void uart_reset(struct uart *uart);
/* Before the machine's memory goes: the console must not call any more. No lock held. */
void uart_destroy(struct uart *uart);

#endif
