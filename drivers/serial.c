/* SPDX-License-Identifier: MIT */
/*
 * The 16550 driver. Bytes wait in a ring and leave as fast as the line takes them: at once while the
 * transmitter has room, else by its interrupt; polled before there are interrupts and in a panic. Nobody
 * waits long: when the ring is full, the writer waits for one FIFO to leave (1.4 ms at 115200 baud; so a
 * guest that prints faster than the line is slowed to the line's speed), and when even that does not happen,
 * the oldest bytes are dropped, counted and said.
 *
 * Log lines and console share the line: a log line that arrives in the middle of a console line begins on a
 * fresh one. Guest's bytes pass unchanged; the log's newlines become CR LF. One lock, RANK_SINK. PC16550D
 * data sheet, section 8.
 */
#include "drivers/serial.h"

#include <asm-generic/errno.h>

#include "arch/x86/machine/cpu.h"
#include "arch/x86/machine/exception.h"
#include "arch/x86/machine/ioapic.h"
#include "hv/lib/lock.h"
#include "hv/lib/log.h"
#include "hv/lib/printf.h"
#include "hv/lib/string.h"
#include "hv/operator/console.h"

/* Registers, relative to the port. */
enum {
    REG_DATA = 0,           /* with DLAB: divisor low */
    REG_INTERRUPT = 1,      /* with DLAB: divisor high */
    REG_IDENTIFICATION = 2, /* read */
    REG_FIFO = 2,           /* write */
    REG_LINE_CONTROL = 3,
    REG_MODEM_CONTROL = 4,
    REG_LINE_STATUS = 5,
    REG_MODEM_STATUS = 6,
    REG_SCRATCH = 7,
};

#define INTERRUPT_RECEIVED  BIT(0)
#define INTERRUPT_EMPTY     BIT(1)
#define IDENTIFICATION_NONE BIT(0)
#define IDENTIFICATION_FIFO 0xc0
#define FIFO_CLEAR          0x07 /* on, both sides emptied, an interrupt for each byte */
#define LINE_8N1            0x03
#define LINE_DLAB           0x80
#define MODEM_LOOPBACK      0x1a /* loop, with RTS and OUT2 */
#define MODEM_ON            0x0b /* DTR, RTS, OUT2: the interrupt's gate */
#define STATUS_RECEIVED     BIT(0)
#define STATUS_BREAK        BIT(4)
#define STATUS_EMPTY        BIT(5) /* the FIFO has room for all it can hold */
#define STATUS_IDLE         BIT(6) /* ... and the last bit has left */

#define FIFO_DEPTH     16
#define DIVISOR_115200 1
#define RING_SIZE      65536u

/*
 * Reads of a status register, about 1 us each on a machine: much longer than a FIFO takes, short enough to
 * bear once.
 */
#define WAIT_READS 20000
/*
 * What comes before the end (a panic, power-off) is lost for ever if it is lost: all that together is waited
 * for some seconds, as an emulator on a busy machine may take nothing for a while.
 */
#define PATIENT_READS 5000000
/* What one interrupt handles at most; far above what a line can bring meanwhile. */
#define ROUNDS_MAX 256

static struct {
    struct spinlock lock; /* RANK_SINK: all of this and the 16550 itself */
    u16 port;             /* 0: no line */
    u8 fifo;              /* bytes that an empty transmitter takes */
    u8 room;              /* bytes it still takes without being asked */
    u8 interrupts;        /* what REG_INTERRUPT holds */
    bool by_interrupt;    /* serial_take_interrupts was successful */
    bool stalled;         /* the line took nothing for WAIT_READS: do not wait again until it does */
    u32 patience;         /* what is left of PATIENT_READS */
    char last;            /* the last byte of the stream */
    u32 oldest, newest;   /* positions in the ring; they count on for ever */
    u64 dropped;          /* bytes, not yet told */
    char ring[RING_SIZE];
} line = {.lock = SPINLOCK_INIT(RANK_SINK)};

static u8 line_read(unsigned reg)
{
    return in8((u16)(line.port + reg));
}

static void line_write(unsigned reg, u8 value)
{
    out8((u16)(line.port + reg), value);
}

/* ---------------------------------------------------------------- output; the lock is held, or we panic */

static bool transmitter_has_room(void)
{
    if (line.room == 0 && (line_read(REG_LINE_STATUS) & STATUS_EMPTY)) {
        line.room = line.fifo;
        line.stalled = false;
    }
    return line.room > 0;
}

static bool wait_for_room(void)
{
    int reads;

    for (reads = 0; reads < WAIT_READS && !line.stalled; reads++) {
        if (transmitter_has_room())
            return true;
        cpu_pause();
    }
    line.stalled = !transmitter_has_room();
    return !line.stalled;
}

/* Hand over what the transmitter takes now; the rest leaves by interrupt. */
static void transmit(void)
{
    u8 interrupts = line.by_interrupt ? INTERRUPT_RECEIVED : 0;

    while (line.oldest != line.newest && transmitter_has_room()) {
        line_write(REG_DATA, (u8)line.ring[line.oldest++ % RING_SIZE]);
        line.room--;
    }
    if (line.by_interrupt && line.oldest != line.newest)
        interrupts |= INTERRUPT_EMPTY;
    if (interrupts != line.interrupts) {
        line.interrupts = interrupts;
        line_write(REG_INTERRUPT, interrupts);
    }
}

static void transmit_all(void)
{
    while (line.oldest != line.newest && wait_for_room())
        transmit();
}

/* Nothing else is to be done any more. */
static void transmit_patiently(void)
{
    while (line.oldest != line.newest && (transmitter_has_room() || line.patience > 0)) {
        if (line.room > 0) {
            transmit();
            continue;
        }
        line.patience--;
        cpu_pause();
    }
}

static void put(char c)
{
    if (line.newest - line.oldest == RING_SIZE && wait_for_room())
        transmit();
    if (line.newest - line.oldest == RING_SIZE) {
        line.oldest++;
        line.dropped++;
    }
    line.ring[line.newest++ % RING_SIZE] = c;
    line.last = c;
}

static void put_text(const char *text, size_t size)
{
    for (; size > 0; text++, size--) {
        if (*text == '\n')
            put('\r');
        put(*text);
    }
}

/* Once there is room again, say what was lost in between. */
static void tell_dropped(void)
{
    char text[96];
    int length;

    if (line.dropped == 0 || line.newest - line.oldest > RING_SIZE / 2)
        return;
    length = snprintf(text, sizeof(text),
                      "\n[lintel] serial line: %llu bytes were lost, as it took none for too long\n",
                      (unsigned long long)line.dropped);
    line.dropped = 0;
    put_text(text, (size_t)length);
}

static void start_output(void)
{
    lock_assert_held(&line.lock);
    if (line.by_interrupt)
        transmit();
    else
        transmit_all();
}

/* ---------------------------------------------------------------- the two faces: log sink, console device */

static void put_log(const char *text, size_t size)
{
    tell_dropped();
    if (line.last != '\n')
        put_text("\n", 1);
    put_text(text, size);
}

static void log_write(struct log_sink *sink, const char *text, size_t size, bool panicking)
{
    (void)sink;
    if (panicking) {
        transmit_patiently();
        if (spinlock_is_taken(&line.lock))
            line.last = 0; /* unknown: its holder may be stopped for ever between a byte and the note of it */
        put_log(text, size);
        transmit_patiently();
        return;
    }
    spinlock_take(&line.lock);
    put_log(text, size);
    start_output();
    spinlock_release(&line.lock);
}

static __attribute__((noinline)) void put_console(const char *text, size_t size)
{
    tell_dropped();
    while (size-- > 0)
        put(*text++);
    start_output();
}

/*
 * Called for each byte that a guest prints. Bytes wait only where there is no room, so where there is, it may
 * leave now.
 */
static void console_write(struct console_device *device, const char *text, size_t size)
{
    (void)device;
    spinlock_take(&line.lock);
    if (likely(size == 1 && line.room > 0 && line.dropped == 0)) {
        line_write(REG_DATA, (u8)*text);
        line.room--;
        line.last = *text;
    } else {
        put_console(text, size);
    }
    spinlock_release(&line.lock);
}

static struct log_sink log_sink = {.name = "serial line", .write = log_write};
static struct console_device console_device = {.name = "serial line", .write = console_write};

void serial_flush(void)
{
    if (!line.port)
        return;
    spinlock_take(&line.lock);
    transmit_patiently();
    for (; line.patience > 0 && !(line_read(REG_LINE_STATUS) & STATUS_IDLE); line.patience--)
        cpu_pause();
    spinlock_release(&line.lock);
}

/* ---------------------------------------------------------------- input */

/* Up to size bytes that have come in; the lock is held. A break is no character. */
static size_t receive(char *to, size_t size)
{
    size_t count = 0;
    u8 status;

    lock_assert_held(&line.lock);
    while (count < size && ((status = line_read(REG_LINE_STATUS)) & STATUS_RECEIVED)) {
        char c = (char)line_read(REG_DATA);

        if (!(status & STATUS_BREAK))
            to[count++] = c;
    }
    return count;
}

/*
 * The interrupt is an edge: there is a next one only if the 16550 had no reason left at some moment, so it is
 * served until it says so. console_input may write to this very line, hence without the lock.
 */
static void handle_interrupt(void *context)
{
    char input[64];
    size_t count;
    int rounds;

    (void)context;
    for (rounds = 0; rounds < ROUNDS_MAX && !(line_read(REG_IDENTIFICATION) & IDENTIFICATION_NONE);
         rounds++) {
        spinlock_take(&line.lock);
        count = receive(input, sizeof(input));
        transmit();
        spinlock_release(&line.lock);
        if (count > 0)
            console_input(input, count);
    }
    if (rounds < ROUNDS_MAX)
        return;
    spinlock_take(&line.lock);
    line_write(REG_INTERRUPT, 0); /* make an edge of what is left */
    line_write(REG_INTERRUPT, line.interrupts);
    spinlock_release(&line.lock);
}

/* ---------------------------------------------------------------- start */

static const struct {
    const char *name;
    u16 port;
    u8 irq; /* ISA */
} customary_ports[] = {{"com1", 0x3f8, 4}, {"com2", 0x2f8, 3}, {"com3", 0x3e8, 4}, {"com4", 0x2e8, 3}};

u16 serial_port(const char *name)
{
    size_t i;

    for (i = 0; i < ARRAY_SIZE(customary_ports); i++)
        if (strcmp(customary_ports[i].name, name) == 0)
            return customary_ports[i].port;
    return 0;
}

static bool scratch_holds(u16 port, u8 value)
{
    out8((u16)(port + REG_SCRATCH), value);
    return in8((u16)(port + REG_SCRATCH)) == value;
}

/* A register that remembers, and modem lines that in loopback show RTS as CTS and OUT2 as DCD. */
static bool line_exists(u16 port)
{
    u8 status;

    if (!scratch_holds(port, 0x5a) || !scratch_holds(port, 0xa5))
        return false;
    out8((u16)(port + REG_MODEM_CONTROL), MODEM_LOOPBACK);
    status = in8((u16)(port + REG_MODEM_STATUS)) & 0xf0;
    out8((u16)(port + REG_MODEM_CONTROL), MODEM_ON);
    return status == 0x90;
}

static void line_start(u16 port)
{
    if (line.port)
        line_write(REG_INTERRUPT, 0); /* the line that is left behind keeps quiet */
    line.port = port;
    line_write(REG_INTERRUPT, 0);
    line_write(REG_LINE_CONTROL, LINE_DLAB);
    line_write(REG_DATA, DIVISOR_115200);
    line_write(REG_INTERRUPT, 0);
    line_write(REG_LINE_CONTROL, LINE_8N1);
    line_write(REG_FIFO, FIFO_CLEAR);
    line_write(REG_MODEM_CONTROL, MODEM_ON);
    line.fifo = (line_read(REG_IDENTIFICATION) & IDENTIFICATION_FIFO) == IDENTIFICATION_FIFO ? FIFO_DEPTH : 1;
    line.room = 0;
    line.interrupts = 0;
    line.by_interrupt = false;
    line.stalled = false;
    line.patience = PATIENT_READS;
    line.last = 0; /* unknown: what firmware printed may not have ended its line */
}

/* Kept from serial_take_interrupts for a line that moves later; vector 0: not called yet. Boot CPU alone. */
static const struct acpi_info *isa;
static u32 target;
static u8 vector;

static u8 line_irq(void)
{
    size_t i;

    for (i = 0; i < ARRAY_SIZE(customary_ports); i++)
        if (customary_ports[i].port == line.port)
            return customary_ports[i].irq;
    return customary_ports[0].irq;
}

int serial_take_interrupts(const struct acpi_info *acpi, u32 apic_id)
{
    const struct acpi_isa_irq *irq = &acpi->isa_irqs[line_irq()];
    int error;

    isa = acpi;
    target = apic_id;
    if (!vector) {
        int allocated = interrupt_allocate(handle_interrupt, NULL);

        if (allocated < 0)
            return allocated;
        vector = (u8)allocated;
    }
    if (!line.port)
        return 0;
    error = host_ioapic_route(irq->gsi, vector, apic_id, irq->level_triggered, irq->active_low);
    if (error)
        return error;
    spinlock_take(&line.lock);
    line.by_interrupt = true;
    transmit(); /* switches the receive interrupt on */
    spinlock_release(&line.lock);
    return 0;
}

static void replay_write(void *context, const char *text, size_t size)
{
    (void)context;
    log_write(&log_sink, text, size, false);
}

int serial_init(u16 port)
{
    bool moving = line.port != 0;

    if (port == line.port)
        return 0;
    if (!line_exists(port))
        return -ENODEV;
    serial_flush();
    spinlock_take(&line.lock);
    line_start(port);
    spinlock_release(&line.lock);
    if (moving) {
        log_replay(replay_write, NULL);
    } else {
        log_sink_add(&log_sink);
        console_device_add(&console_device);
    }
    return vector ? serial_take_interrupts(isa, target) : 0;
}
