/* SPDX-License-Identifier: MIT */
/*
 * The PCI bus of a guest. Ports and the memory window call in without a lock: the address is one word, which
 * each handler reads or writes once, the slots never change while vCPUs run, and each device has a lock of
 * its own. PCI 3.0, 3.2.2.3.2 (configuration), 6.1, 6.2.
 */
#include "guest/devices/pci.h"

#include "guest/machine.h"
#include "hv/lib/panic.h"
#include "hv/lib/string.h"

#define ADDRESS_PORT     0xcf8
#define DATA_PORT        0xcfc
#define ADDRESS_ENABLE   BIT(31)
#define ADDRESS_EXTENDED BITS(27, 24) /* register bits 11:8, an AMD extension that Linux tries */
#define ADDRESS_WRITABLE (ADDRESS_ENABLE | BITS(27, 2))
#define ADDRESS_BUS      BITS(23, 16)
#define ADDRESS_FUNCTION BITS(10, 8)

/* A generic host bridge, for which no kernel has quirks. */
#define BRIDGE_VENDOR 0x1b36
#define BRIDGE_DEVICE 0x0008
#define BRIDGE_CLASS  0x0600

#define COMMAND_BITS (PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER | PCI_COMMAND_INTX_DISABLE)

/* ---------------------------------------------------------------- configuration space */

static u32 config_get(const struct pci_device *device, unsigned offset, unsigned size)
{
    u32 value = 0;

    for (unsigned i = 0; i < size; i++)
        value |= (u32)device->config[offset + i] << (8 * i);
    return value;
}

void pci_config_set(struct pci_device *device, unsigned offset, unsigned size, u32 value)
{
    for (unsigned i = 0; i < size; i++)
        device->config[offset + i] = (u8)(value >> (8 * i));
}

void pci_config_allow(struct pci_device *device, unsigned offset, unsigned size, u32 bits)
{
    for (unsigned i = 0; i < size; i++)
        device->writable[offset + i] = (u8)(bits >> (8 * i));
}

/* What the command register and the BAR say now. A BAR outside the window is there, and never reached. */
static void decode_bar(struct pci_device *device)
{
    bool on = device->bar_size && (pci_config_16(device, PCI_COMMAND) & PCI_COMMAND_MEMORY);

    WRITE_ONCE(device->bar,
               on ? config_get(device, PCI_BASE_ADDRESS_0, 4) & (u32)PCI_BASE_ADDRESS_MEM_MASK : PCI_BAR_OFF);
}

static u32 config_read(struct pci_device *device, unsigned offset, unsigned size)
{
    u32 value;

    spinlock_take(&device->lock);
    if (device->ops)
        device->ops->config_before_read(device, offset);
    value = config_get(device, offset, size);
    spinlock_release(&device->lock);
    return value;
}

static void config_write(struct pci_device *device, struct vcpu *vcpu, unsigned offset, unsigned size,
                         u32 value)
{
    spinlock_take(&device->lock);
    for (unsigned i = 0; i < size; i++) {
        u8 mask = device->writable[offset + i], *at = &device->config[offset + i];

        *at = (u8)((*at & ~mask) | (value >> (8 * i) & mask));
    }
    decode_bar(device);
    if (device->ops) {
        pci_set_interrupt(device, device->interrupt); /* the gate may have moved */
        device->ops->config_written(device, vcpu, offset);
    }
    spinlock_release(&device->lock);
}

/* ---------------------------------------------------------------- mechanism 1 */

/* Whom the address speaks of, and which register; NULL: nobody. */
static struct pci_device *device_addressed(const struct pci_host *pci, u16 port, unsigned *offset)
{
    u32 address = READ_ONCE(pci->address), slot = address >> 11 & 31;

    *offset = (address & 0xfc) | (port & 3);
    if ((address & ADDRESS_ENABLE) == 0 ||
        (address & (ADDRESS_EXTENDED | ADDRESS_BUS | ADDRESS_FUNCTION)) != 0)
        return NULL;
    return slot < PCI_BUS_SLOTS ? pci->slots[slot] : NULL;
}

/* 0xcf9 lies in the middle of the address port, but only whole double words reach that. */
static u32 address_read(struct vcpu *vcpu, void *device, u16 port, unsigned size)
{
    struct pci_host *pci = device;

    (void)vcpu;
    if (port == ADDRESS_PORT && size == 4)
        return READ_ONCE(pci->address);
    if (port == MACHINE_RESET_PORT && size == 1)
        return reset_control_read(&pci->machine->reset);
    return ~0u;
}

static void address_write(struct vcpu *vcpu, void *device, u16 port, unsigned size, u32 value)
{
    struct pci_host *pci = device;

    (void)vcpu;
    if (port == ADDRESS_PORT && size == 4)
        WRITE_ONCE(pci->address, value & (u32)ADDRESS_WRITABLE);
    else if (port == MACHINE_RESET_PORT && size == 1)
        reset_control_write(&pci->machine->reset, (u8)value);
}

/* The range ends with the double word, so no access crosses its end. */
static u32 data_read(struct vcpu *vcpu, void *host, u16 port, unsigned size)
{
    unsigned offset;
    struct pci_device *device = device_addressed(host, port, &offset);

    (void)vcpu;
    return device ? config_read(device, offset, size) : ~0u;
}

static void data_write(struct vcpu *vcpu, void *host, u16 port, unsigned size, u32 value)
{
    unsigned offset;
    struct pci_device *device = device_addressed(host, port, &offset);

    if (device)
        config_write(device, vcpu, offset, size, value);
}

/* ---------------------------------------------------------------- memory */

/* Whose BAR holds the whole access; *offset comes as the distance from the window's start. */
static struct pci_device *device_at(const struct pci_host *pci, u64 *offset, unsigned size)
{
    u64 gpa = MACHINE_HOLE_START + *offset;

    for (unsigned slot = 1; slot < PCI_BUS_SLOTS; slot++) {
        struct pci_device *device = pci->slots[slot];
        u32 bar = device ? READ_ONCE(device->bar) : PCI_BAR_OFF;

        if (bar == PCI_BAR_OFF || gpa < bar || gpa - bar + size > device->bar_size)
            continue;
        *offset = gpa - bar;
        return device;
    }
    return NULL;
}

static u64 window_read(struct vcpu *vcpu, void *host, u64 offset, unsigned size)
{
    struct pci_device *device = device_at(host, &offset, size);

    (void)vcpu;
    return device ? device->ops->bar_read(device, offset, size) : ~0ull;
}

static void window_write(struct vcpu *vcpu, void *host, u64 offset, unsigned size, u64 value)
{
    struct pci_device *device = device_at(host, &offset, size);

    if (device)
        device->ops->bar_write(device, vcpu, offset, size, value);
}

/* ---------------------------------------------------------------- INTA */

void pci_set_interrupt(struct pci_device *device, bool asserted)
{
    struct machine *m = device->machine;
    unsigned pin = device->slot % PCI_PINS;
    u16 *slots = &m->pci.asserted[pin], mask = (u16)BIT(device->slot);
    bool gated = pci_config_16(device, PCI_COMMAND) & PCI_COMMAND_INTX_DISABLE;
    bool level = asserted && !gated;

    device->interrupt = asserted;
    device->config[PCI_STATUS] &= (u8)~PCI_STATUS_INTERRUPT;
    device->config[PCI_STATUS] |= asserted ? PCI_STATUS_INTERRUPT : 0;
    if (((READ_ONCE(*slots) & mask) != 0) == level) /* our own bit, which this device's lock guards, too */
        return;
    spinlock_take(&m->vm->device_lock);
    WRITE_ONCE(*slots, *slots ^ mask);
    ioapic_set_pin(&m->ioapic, pci_slot_pin(device->slot), *slots != 0);
    spinlock_release(&m->vm->device_lock);
}

/* ---------------------------------------------------------------- devices */

void pci_device_reset(struct pci_device *device)
{
    pci_set_interrupt(device, false);
    for (unsigned i = 0; i < PCI_CONFIG_SIZE; i++)
        device->config[i] &= (u8)~device->writable[i];
    pci_config_set(device, PCI_BASE_ADDRESS_0, 4, (u32)(MACHINE_PCI_BASE + device->slot * MACHINE_PCI_STEP));
    device->config[PCI_INTERRUPT_LINE] = (u8)pci_slot_pin(device->slot);
    decode_bar(device);
}

void pci_device_init(struct pci_device *device, struct machine *m, unsigned slot, u32 bar_size)
{
    assert(slot < PCI_BUS_SLOTS && !m->pci.slots[slot] && bar_size <= MACHINE_PCI_STEP);
    device->machine = m;
    device->slot = slot;
    device->bar_size = bar_size;
    spinlock_init(&device->lock, RANK_PCI);
    pci_config_allow(device, PCI_COMMAND, 2, COMMAND_BITS);
    pci_config_allow(device, PCI_CACHE_LINE_SIZE, 1, 0xff);
    pci_config_allow(device, PCI_BASE_ADDRESS_0, 4, ~(bar_size - 1));
    pci_config_allow(device, PCI_INTERRUPT_LINE, 1, 0xff);
    device->config[PCI_INTERRUPT_PIN] = 1; /* INTA */
    m->pci.slots[slot] = device;
}

void pci_host_reset(struct pci_host *pci)
{
    pci->address = 0;
}

/* All of it that can't be written, and no BAR. */
static void bridge_init(struct pci_host *pci)
{
    struct pci_device *bridge = &pci->bridge;

    spinlock_init(&bridge->lock, RANK_PCI);
    bridge->bar = PCI_BAR_OFF;
    pci_config_set(bridge, PCI_VENDOR_ID, 2, BRIDGE_VENDOR);
    pci_config_set(bridge, PCI_DEVICE_ID, 2, BRIDGE_DEVICE);
    pci_config_set(bridge, PCI_CLASS_DEVICE, 2, BRIDGE_CLASS);
    pci->slots[0] = bridge;
}

int pci_host_init(struct pci_host *pci, struct machine *board)
{
    struct port_range range = {
        .first = ADDRESS_PORT,
        .last = ADDRESS_PORT + 3,
        .read = address_read,
        .write = address_write,
        .device = pci,
        .name = "pci address",
    };
    const struct mmio_range window = {
        .start = MACHINE_HOLE_START,
        .size = MACHINE_PCI_END - MACHINE_HOLE_START,
        .read = window_read,
        .write = window_write,
        .device = pci,
        .name = "pci memory",
    };
    int error;

    memset(pci, 0, sizeof(*pci));
    pci->machine = board;
    bridge_init(pci);
    error = mmio_bus_add(&board->vm->mmio, &window);
    if (error != 0)
        return error;
    error = port_bus_add(board->vm->ports, &range);
    if (error != 0)
        return error;
    range.first = DATA_PORT;
    range.last = DATA_PORT + 3;
    range.read = data_read;
    range.write = data_write;
    range.name = "pci data";
    return port_bus_add(board->vm->ports, &range);
}
