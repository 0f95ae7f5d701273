/* SPDX-License-Identifier: MIT */
/*
 * The IOAPIC: turns lines into messages to local APICs. Its window comes from the MMIO bus, pins from
 * machine_set_line and the PIC, ends of interrupts from lapic.c: device lock everywhere. Intel 82093AA data
 * sheet; EOI register: ICH9 data sheet, 13.5.
 */
#include "guest/devices/ioapic.h"

#include "guest/machine.h"

#define WINDOW_SIZE    0x100
#define OFFSET_SELECT  0x00
#define OFFSET_DATA    0x10
#define OFFSET_EOI     0x40
#define REGISTER_ID    0x00
#define REGISTER_VER   0x01
#define REGISTER_ARB   0x02
#define REGISTER_TABLE 0x10
#define VERSION        ((IOAPIC_PINS - 1) << 16 | 0x20)
#define ID_SHIFT       24
#define ID_BITS        0xf

#define REDIRECTION_LOGICAL    BIT(11)
#define REDIRECTION_REMOTE_IRR BIT(14)
#define REDIRECTION_LEVEL      BIT(15)
#define REDIRECTION_MASKED     BIT(16)
/* Delivery status is never seen busy; remote IRR belongs to the hardware. */
#define REDIRECTION_WRITABLE (BITS(63, 56) | BITS(16, 15) | BIT(13) | BITS(11, 0))

static u8 redirection_vector(u64 entry)
{
    return (u8)entry;
}

static u8 redirection_mode(u64 entry)
{
    return entry >> 8 & 7;
}

static u8 redirection_destination(u64 entry)
{
    return (u8)(entry >> 56);
}

/* Only these two modes know level triggering; the others are edges, whatever the entry says. */
static bool redirection_is_level(u64 entry)
{
    return (entry & REDIRECTION_LEVEL) != 0 && redirection_mode(entry) <= LAPIC_LOWEST;
}

/* Send pin's message, if its entry lets it. */
static void ioapic_send(struct ioapic *ioapic, unsigned pin)
{
    u64 *entry = &ioapic->redirection[pin];
    u8 destination = redirection_destination(*entry);
    struct lapic_message message = {
        .destination = destination == 0xff ? LAPIC_BROADCAST : destination,
        .logical = (*entry & REDIRECTION_LOGICAL) != 0,
        .level = redirection_is_level(*entry),
        .mode = redirection_mode(*entry),
        .vector = redirection_vector(*entry),
    };

    if ((*entry & (REDIRECTION_MASKED | REDIRECTION_REMOTE_IRR)) != 0)
        return;
    /* With nobody to take it a level stays a request; the guest's next write to the entry tries again. */
    if (lapic_deliver(ioapic->machine->vm, &message) != 0 && message.level)
        *entry |= REDIRECTION_REMOTE_IRR;
}

static bool ioapic_is_asserted(const struct ioapic *ioapic, unsigned pin)
{
    return (ioapic->asserted & BIT(pin)) != 0;
}

/*
 * The polarity bit is kept but not obeyed: the caller says what the line means, and whoever described it
 * knows its voltage.
 */
void ioapic_set_pin(struct ioapic *ioapic, unsigned pin, bool asserted)
{
    if (pin >= IOAPIC_PINS || ioapic_is_asserted(ioapic, pin) == asserted)
        return;
    ioapic->asserted ^= (u32)BIT(pin);
    if (asserted)
        ioapic_send(ioapic, pin);
}

void ioapic_eoi(struct ioapic *ioapic, u8 vector)
{
    for (unsigned pin = 0; pin < IOAPIC_PINS; pin++) {
        u64 *entry = &ioapic->redirection[pin];

        if (redirection_vector(*entry) != vector || (*entry & REDIRECTION_REMOTE_IRR) == 0)
            continue;
        *entry &= ~REDIRECTION_REMOTE_IRR;
        if (ioapic_is_asserted(ioapic, pin))
            ioapic_send(ioapic, pin);
    }
}

static void ioapic_write_entry(struct ioapic *ioapic, unsigned index, u32 value)
{
    u64 *entry = &ioapic->redirection[index / 2];
    unsigned shift = index % 2 * 32;
    u64 writable = REDIRECTION_WRITABLE & ((u64)0xffffffff << shift);

    *entry = (*entry & ~writable) | ((u64)value << shift & writable);
    /* Kernels clear a stuck remote IRR by switching to edge and back. */
    if (!redirection_is_level(*entry))
        *entry &= ~REDIRECTION_REMOTE_IRR;
    else if (ioapic_is_asserted(ioapic, index / 2))
        ioapic_send(ioapic, index / 2);
}

static void ioapic_write_register(struct ioapic *ioapic, u32 value)
{
    if (ioapic->select == REGISTER_ID)
        ioapic->id = value >> ID_SHIFT & ID_BITS;
    else if (ioapic->select >= REGISTER_TABLE && ioapic->select < REGISTER_TABLE + 2 * IOAPIC_PINS)
        ioapic_write_entry(ioapic, ioapic->select - REGISTER_TABLE, value);
}

static u32 ioapic_read_register(const struct ioapic *ioapic)
{
    unsigned index = ioapic->select - (unsigned)REGISTER_TABLE;

    switch (ioapic->select) {
    case REGISTER_ID:
    case REGISTER_ARB: return (u32)ioapic->id << ID_SHIFT;
    case REGISTER_VER: return VERSION;
    default: break;
    }
    if (index >= 2 * IOAPIC_PINS)
        return ~0u;
    return (u32)(ioapic->redirection[index / 2] >> (index % 2 * 32));
}

static u64 ioapic_mmio_read(struct vcpu *vcpu, void *device, u64 offset, unsigned size)
{
    struct ioapic *ioapic = device;

    (void)vcpu;
    (void)size;
    if (offset == OFFSET_SELECT)
        return ioapic->select;
    return offset == OFFSET_DATA ? ioapic_read_register(ioapic) : 0;
}

static void ioapic_mmio_write(struct vcpu *vcpu, void *device, u64 offset, unsigned size, u64 value)
{
    struct ioapic *ioapic = device;

    (void)vcpu;
    if (offset == OFFSET_SELECT)
        ioapic->select = (u8)value;
    else if (offset == OFFSET_EOI)
        ioapic_eoi(ioapic, (u8)value);
    else if (offset == OFFSET_DATA && size >= 4)
        ioapic_write_register(ioapic, (u32)value);
}

void ioapic_reset(struct ioapic *ioapic)
{
    *ioapic = (struct ioapic){.machine = ioapic->machine, .id = IOAPIC_ID};
    for (unsigned pin = 0; pin < IOAPIC_PINS; pin++)
        ioapic->redirection[pin] = REDIRECTION_MASKED;
}

int ioapic_init(struct ioapic *ioapic, struct machine *board)
{
    const struct mmio_range range = {
        .start = MACHINE_IOAPIC_BASE,
        .size = WINDOW_SIZE,
        .read = ioapic_mmio_read,
        .write = ioapic_mmio_write,
        .device = ioapic,
        .lock = &board->vm->device_lock,
        .name = "ioapic",
    };

    ioapic->machine = board;
    ioapic_reset(ioapic);
    return mmio_bus_add(&board->vm->mmio, &range);
}
