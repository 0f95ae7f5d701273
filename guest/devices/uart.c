/* SPDX-License-Identifier: MIT */
/*
 * The serial port. Bytes go to the console as they are written; input is fetched from it while the receive
 * FIFO has room. The port bus and the console's listener call in; device lock (the listener takes it here).
 * National PC16550D data sheet, 8.
 */
#include "guest/devices/uart.h"

#include "guest/devices/byte_port.h"
#include "guest/machine.h"
#include "hv/operator/console.h"

enum uart_register {
    DATA,
    INTERRUPT_ENABLE,
    INTERRUPT_ID,
    LINE_CONTROL,
    MODEM_CONTROL,
    LINE_STATUS,
    MODEM_STATUS,
    SCRATCH
};

#define IER_RECEIVED BIT(0)
#define IER_EMPTY    BIT(1)
#define IER_LINE     BIT(2)
#define IER_MODEM    BIT(3)
#define IER_WRITABLE 0x0f

#define IIR_NONE     0x01
#define IIR_MODEM    0x00
#define IIR_EMPTY    0x02
#define IIR_RECEIVED 0x04
#define IIR_LINE     0x06
#define IIR_TIMEOUT  0x0c /* bytes wait, fewer than the trigger level */
#define IIR_FIFO     0xc0
#define IIR_CAUSE    0x0f

#define FCR_ENABLE   BIT(0)
#define FCR_CLEAR    BIT(1)
#define FCR_WRITABLE (BITS(7, 6) | BIT(3) | FCR_ENABLE)

#define LCR_DIVISOR BIT(7)

#define MCR_OUT2     BIT(3) /* on a PC it lets the interrupt through */
#define MCR_LOOP     BIT(4)
#define MCR_WRITABLE 0x1f

#define LSR_READY   BIT(0)
#define LSR_OVERRUN BIT(1)
#define LSR_EMPTY   (BIT(5) | BIT(6)) /* nothing to send is left, ever */

#define MSR_RING  BIT(6)
#define MSR_READY (BIT(7) | BIT(5) | BIT(4)) /* carrier, data set ready, clear to send */

#define DIVISOR_RESET 12 /* 9600 baud; any value is as fast */

static struct console *uart_console(const struct uart *uart)
{
    return uart->machine->vm->console;
}

static unsigned uart_capacity(const struct uart *uart)
{
    return uart->fcr & FCR_ENABLE ? UART_FIFO : 1;
}

static unsigned uart_trigger(const struct uart *uart)
{
    static const u8 levels[4] = {1, 4, 8, 14};

    return uart->fcr & FCR_ENABLE ? levels[uart->fcr >> 6] : 1;
}

/*
 * The interrupt of highest priority, as IIR shows it. A character time-out comes at once: the next byte may
 * be minutes away.
 */
static u8 uart_cause(const struct uart *uart)
{
    if ((uart->ier & IER_LINE) != 0 && uart->line_errors != 0)
        return IIR_LINE;
    if ((uart->ier & IER_RECEIVED) != 0 && uart->fifo_count != 0)
        return uart->fifo_count >= uart_trigger(uart) ? IIR_RECEIVED : IIR_TIMEOUT;
    if ((uart->ier & IER_EMPTY) != 0 && uart->thre_pending)
        return IIR_EMPTY;
    if ((uart->ier & IER_MODEM) != 0 && uart->msr_delta != 0)
        return IIR_MODEM;
    return IIR_NONE;
}

static __attribute__((noinline)) void uart_update(struct uart *uart)
{
    bool line = uart_cause(uart) != IIR_NONE && (uart->mcr & (MCR_OUT2 | MCR_LOOP)) == MCR_OUT2;

    if (line == uart->line)
        return;
    uart->line = line;
    machine_set_line(uart->machine, UART_LINE, line);
}

/* ---------------------------------------------------------------- receiving */

static void fifo_push(struct uart *uart, u8 byte)
{
    if (uart->fifo_count >= uart_capacity(uart)) {
        uart->line_errors |= LSR_OVERRUN;
        return;
    }
    uart->fifo[(uart->fifo_first + uart->fifo_count) % UART_FIFO] = byte;
    uart->fifo_count++;
}

static u8 fifo_pop(struct uart *uart)
{
    u8 byte = uart->fifo[uart->fifo_first];

    if (uart->fifo_count == 0)
        return 0;
    uart->fifo_first = (uart->fifo_first + 1) % UART_FIFO;
    uart->fifo_count--;
    return byte;
}

static void fifo_clear(struct uart *uart)
{
    uart->fifo_first = 0;
    uart->fifo_count = 0;
}

/* Take what the console has, while there is room: typing never overruns. */
static void uart_fill(struct uart *uart)
{
    if (uart_console(uart) == NULL || (uart->mcr & MCR_LOOP) != 0)
        return;
    while (uart->fifo_count < uart_capacity(uart)) {
        int byte = console_guest_read(uart_console(uart), CONSOLE_UART);

        if (byte < 0)
            return;
        fifo_push(uart, (u8)byte);
    }
}

static void uart_input_ready(void *context)
{
    struct uart *uart = context;

    spinlock_take(&uart->machine->vm->device_lock);
    uart_fill(uart);
    uart_update(uart);
    spinlock_release(&uart->machine->vm->device_lock);
}

/* ---------------------------------------------------------------- registers */

/* The modem's side of MSR; looped back, it is what MCR drives. */
static u8 modem_lines(const struct uart *uart)
{
    u8 mcr = uart->mcr;

    if ((mcr & MCR_LOOP) == 0)
        return MSR_READY;
    /* RTS to CTS, DTR to DSR, OUT1 to RI, OUT2 to DCD */
    return (u8)((mcr & BIT(1)) << 3 | (mcr & BIT(0)) << 5 | (mcr & BIT(2)) << 4 | (mcr & BIT(3)) << 4);
}

static void write_modem_control(struct uart *uart, u8 value)
{
    u8 before = modem_lines(uart), changed;

    uart->mcr = value & MCR_WRITABLE;
    changed = before ^ modem_lines(uart);
    /* Of the ring indicator only the end counts. */
    if ((before & MSR_RING) == 0)
        changed &= (u8)~MSR_RING;
    uart->msr_delta |= changed >> 4;
    uart_fill(uart);
}

static void write_fifo_control(struct uart *uart, u8 value)
{
    bool toggled = ((uart->fcr ^ value) & FCR_ENABLE) != 0;

    uart->fcr = value & FCR_ENABLE ? value & FCR_WRITABLE : 0;
    if (toggled || (value & FCR_CLEAR) != 0)
        fifo_clear(uart);
    uart_fill(uart);
}

/* Rarely does a byte change the interrupt: the driver has it off, or has not yet read that it may send. */
static __attribute__((noinline)) void write_data(struct uart *uart, u8 value)
{
    const char byte = (char)value;

    if (unlikely(!uart->thre_pending)) {
        uart->thre_pending = true;
        uart_update(uart);
    }
    if (unlikely(uart->mcr & MCR_LOOP)) {
        fifo_push(uart, value);
        uart_update(uart);
    } else if (likely(uart_console(uart) != NULL)) {
        console_guest_write(uart_console(uart), &byte, 1);
    }
}

static void write_interrupt_enable(struct uart *uart, u8 value)
{
    /* Enabling it while nothing is left to send, that is always, reports it anew. */
    if ((value & ~uart->ier & IER_EMPTY) != 0)
        uart->thre_pending = true;
    uart->ier = value & IER_WRITABLE;
    uart_fill(uart); /* what was typed for the virtio console may be this port's by now */
}

static void uart_write(void *device, u16 port, u8 value)
{
    struct uart *uart = device;
    bool divisor = (uart->lcr & LCR_DIVISOR) != 0;

    switch ((enum uart_register)(port & 7)) {
    case DATA:
        if (divisor)
            uart->divisor = (u16)((uart->divisor & 0xff00) | value);
        else
            write_data(uart, value);
        break;
    case INTERRUPT_ENABLE:
        if (divisor)
            uart->divisor = (u16)((uart->divisor & 0xff) | value << 8);
        else
            write_interrupt_enable(uart, value);
        break;
    case INTERRUPT_ID: write_fifo_control(uart, value); break;
    case LINE_CONTROL: uart->lcr = value; break;
    case MODEM_CONTROL: write_modem_control(uart, value); break;
    case LINE_STATUS:
    case MODEM_STATUS: break; /* factory tests */
    case SCRATCH: uart->scratch = value; break;
    }
    uart_update(uart);
}

static u8 read_data(struct uart *uart)
{
    u8 byte = fifo_pop(uart);

    uart_fill(uart);
    return byte;
}

static u8 read_interrupt_id(struct uart *uart)
{
    u8 cause = uart_cause(uart);

    if (cause == IIR_EMPTY)
        uart->thre_pending = false;
    return cause | (uart->fcr & FCR_ENABLE ? IIR_FIFO : 0);
}

/* An error is shown once. */
static __attribute__((noinline)) u8 read_line_errors(struct uart *uart, u8 status)
{
    status |= uart->line_errors;
    uart->line_errors = 0;
    uart_update(uart);
    return status;
}

static inline u8 read_line_status(struct uart *uart)
{
    u8 status = LSR_EMPTY | (uart->fifo_count != 0 ? LSR_READY : 0);

    return likely(uart->line_errors == 0) ? status : read_line_errors(uart, status);
}

static u8 read_modem_status(struct uart *uart)
{
    u8 status = modem_lines(uart) | uart->msr_delta;

    uart->msr_delta = 0;
    return status;
}

static u8 uart_read(void *device, u16 port)
{
    struct uart *uart = device;
    bool divisor = (uart->lcr & LCR_DIVISOR) != 0;
    u8 value = 0xff;

    switch ((enum uart_register)(port & 7)) {
    case DATA: value = divisor ? (u8)uart->divisor : read_data(uart); break;
    case INTERRUPT_ENABLE: value = divisor ? (u8)(uart->divisor >> 8) : uart->ier; break;
    case INTERRUPT_ID: value = read_interrupt_id(uart); break;
    case LINE_CONTROL: value = uart->lcr; break;
    case MODEM_CONTROL: value = uart->mcr; break;
    case LINE_STATUS: value = read_line_status(uart); break;
    case MODEM_STATUS: value = read_modem_status(uart); break;
    case SCRATCH: value = uart->scratch; break;
    }
    uart_update(uart);
    return value;
}

static __attribute__((noinline)) u32 port_read(struct uart *uart, u16 port, unsigned size)
{
    struct spinlock *lock = &uart->machine->vm->device_lock;
    u32 value;

    spinlock_take(lock);
    value = byte_port_read(uart, port, size, uart_read);
    spinlock_release(lock);
    return value;
}

/*
 * What a driver does for each byte it sends, read LSR and write it, goes straight there. LSR alone needs no
 * lock while nothing is to be cleared: two bytes are looked at, each whole.
 */
static u32 uart_port_read(struct vcpu *vcpu, void *device, u16 port, unsigned size)
{
    struct uart *uart = device;

    (void)vcpu;
    if (likely(port == UART_PORT + LINE_STATUS && size == 1 && READ_ONCE(uart->line_errors) == 0))
        return LSR_EMPTY | (READ_ONCE(uart->fifo_count) != 0 ? LSR_READY : 0);
    return port_read(uart, port, size);
}

static void uart_port_write(struct vcpu *vcpu, void *device, u16 port, unsigned size, u32 value)
{
    struct uart *uart = device;
    struct spinlock *lock = &uart->machine->vm->device_lock;

    (void)vcpu;
    spinlock_take(lock);
    if (likely(port == UART_PORT + DATA && size == 1 && (uart->lcr & LCR_DIVISOR) == 0))
        write_data(uart, (u8)value);
    else
        byte_port_write(uart, port, size, value, uart_write);
    spinlock_release(lock);
}

void uart_reset(struct uart *uart)
{
    *uart = (struct uart){.machine = uart->machine, .divisor = DIVISOR_RESET};
}

int uart_init(struct uart *uart, struct machine *board)
{
    const struct port_range range = {
        .first = UART_PORT,
        .last = UART_PORT + 7,
        .read = uart_port_read,
        .write = uart_port_write,
        .device = uart,
        .name = "uart", /* takes the device lock itself */
    };
    int error;

    uart->machine = board;
    uart_reset(uart);
    error = port_bus_add(board->vm->ports, &range);
    if (error == 0 && uart_console(uart) != NULL)
        console_set_listener(uart_console(uart), CONSOLE_UART, uart_input_ready, uart);
    return error;
}

void uart_destroy(struct uart *uart)
{
    if (uart_console(uart) != NULL)
        console_set_listener(uart_console(uart), CONSOLE_UART, NULL, NULL);
}
