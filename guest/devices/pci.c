/* SPDX-License-Identifier: MIT */
/*
 * PCI without devices: enough for a kernel to see that there is a bus, and that it is empty. The port bus
 * calls in without a lock: the only state is one word, which each handler reads or writes once. PCI 3.0,
 * 3.2.2.3.2 and 6.1.
 */
#include "guest/devices/pci.h"

#include "guest/machine.h"

#define ADDRESS_PORT     0xcf8
#define DATA_PORT        0xcfc
#define ADDRESS_ENABLE   BIT(31)
#define ADDRESS_EXTENDED BITS(27, 24) /* register bits 11:8, an AMD extension that Linux tries */
#define ADDRESS_WRITABLE (ADDRESS_ENABLE | BITS(27, 2))
#define ADDRESS_FUNCTION BITS(23, 8)

/*
 * Configuration space of 00:00.0, by double word; all the rest of its 256 bytes is zero, and nothing can be
 * written.
 */
static const u32 host_bridge[] = {
    0x00081b36, /* 0x00: a generic host bridge, for which no kernel has quirks */
    0x00000000, /* 0x04: no command bits, no status */
    0x06000000, /* 0x08: class host bridge */
    0x00000000, /* 0x0c: type 0, one function */
};

static u32 config_read(u32 address)
{
    u32 index = (address & 0xfc) / 4;

    if ((address & ADDRESS_ENABLE) == 0 || (address & (ADDRESS_EXTENDED | ADDRESS_FUNCTION)) != 0)
        return ~0u;
    return index < ARRAY_SIZE(host_bridge) ? host_bridge[index] : 0;
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

static u32 data_read(struct vcpu *vcpu, void *device, u16 port, unsigned size)
{
    const struct pci_host *pci = device;

    (void)vcpu;
    (void)size;
    return config_read(READ_ONCE(pci->address)) >> (port & 3) * 8;
}

static void data_write(struct vcpu *vcpu, void *device, u16 port, unsigned size, u32 value)
{
    (void)vcpu;
    (void)device;
    (void)port;
    (void)size;
    (void)value;
}

void pci_host_reset(struct pci_host *pci)
{
    pci->address = 0;
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
    int error;

    *pci = (struct pci_host){.machine = board};
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
