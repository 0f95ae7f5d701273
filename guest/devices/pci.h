/* SPDX-License-Identifier: MIT */
/*
 * A PCI bus: configuration mechanism 1 (ports 0xcf8, 0xcfc), a host bridge at 00:00.0, and what else
 * guest/machine.c plugs in, one function per slot, one memory BAR each. PCI 3.0, 3.2.2.3 and 6.
 */
#ifndef GUEST_DEVICES_PCI_H
#define GUEST_DEVICES_PCI_H

#include <linux/pci_regs.h>

#include "hv/lib/lock.h"

#define PCI_BUS_SLOTS   16
#define PCI_CONFIG_SIZE 256u
/* INTA of slot n is pin PCI_FIRST_PIN + n % PCI_PINS of the IOAPIC: level, and low on a real bus. */
#define PCI_FIRST_PIN 16u
#define PCI_PINS      8u
static inline unsigned pci_slot_pin(unsigned slot)
{
    return PCI_FIRST_PIN + slot % PCI_PINS;
}

struct machine;
struct pci_device;
struct vcpu;

struct pci_device_ops {
    /* Accesses to BAR 0 within its size, naturally sized; no lock held. */
    u64 (*bar_read)(struct pci_device *device, u64 offset, unsigned size);
    void (*bar_write)(struct pci_device *device, struct vcpu *vcpu, u64 offset, unsigned size, u64 value);
    /* The guest looks at, or has just written, configuration space from here on; the device's lock held. */
    void (*config_before_read)(struct pci_device *device, unsigned offset);
    void (*config_written)(struct pci_device *device, struct vcpu *vcpu, unsigned offset);
};

struct pci_device {
    const struct pci_device_ops *ops; /* NULL: a bridge, which has no registers of its own */
    struct machine *machine;
    unsigned slot;
    struct spinlock lock; /* RANK_PCI: all below, and the device's own state */
    u32 bar_size;         /* 0: none */
    u32 bar;              /* where BAR 0 answers, PCI_BAR_OFF: nowhere; looked at without the lock */
    bool interrupt;       /* INTA is asserted */
    u8 config[PCI_CONFIG_SIZE];
    u8 writable[PCI_CONFIG_SIZE]; /* bits that the guest may change */
};
#define PCI_BAR_OFF 0xffffffffu

struct pci_host {
    struct machine *machine;
    u32 address; /* what was written to 0xcf8 */
    struct pci_device bridge;
    struct pci_device *slots[PCI_BUS_SLOTS]; /* NULL: empty */
    u16 asserted[PCI_PINS];                  /* per pin: slots whose INTA is; device lock */
};

int pci_host_init(struct pci_host *pci, struct machine *machine);
void pci_host_reset(struct pci_host *pci);

/* Little-endian fields of configuration space. The device's lock, or nobody knows it yet. */
static inline u16 pci_config_16(const struct pci_device *device, unsigned offset)
{
    return (u16)(device->config[offset] | device->config[offset + 1] << 8);
}
void pci_config_set(struct pci_device *device, unsigned offset, unsigned size, u32 value);
/* The same for what the guest may change. */
void pci_config_allow(struct pci_device *device, unsigned offset, unsigned size, u32 bits);

/*
 * Plug a device in whose ops are set: the usual registers, INTA, and a BAR of so many bytes (a power of two,
 * at least 4 KiB). No vCPU runs.
 */
void pci_device_init(struct pci_device *device, struct machine *machine, unsigned slot, u32 bar_size);
/* Registers as after power-on, with a BAR where a firmware would have put it. The device's lock held. */
void pci_device_reset(struct pci_device *device);
/* Drive INTA; the command register may gate it. The device's lock held, no lock of a higher rank. */
void pci_set_interrupt(struct pci_device *device, bool asserted);
/* May it read and write memory, and send messages? */
static inline bool pci_is_master(const struct pci_device *device)
{
    return pci_config_16(device, PCI_COMMAND) & PCI_COMMAND_MASTER;
}

#endif
