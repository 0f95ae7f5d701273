/* SPDX-License-Identifier: MIT */
/*
 * MSI-X of one PCI device: a table of messages, a bit for each that waits while it is masked, the capability.
 * The device's lock everywhere. PCI 3.0, 6.8.2; the messages: Intel SDM 3A, 11.11.
 */
#ifndef GUEST_DEVICES_MSIX_H
#define GUEST_DEVICES_MSIX_H

#include "guest/devices/pci.h"

#define MSIX_VECTORS_MAX 4u

struct msix_entry {
    u32 words[PCI_MSIX_ENTRY_SIZE / 4]; /* as the guest sees it: address, its upper half, data, control */
};

struct msix {
    struct pci_device *device;
    u8 capability; /* where it stands in configuration space */
    u32 count;
    u32 pending; /* by bit */
    struct msix_entry entries[MSIX_VECTORS_MAX];
};

/*
 * Write the capability for count vectors at this place, `next` behind it, with table and pending bits at
 * these offsets of BAR 0. No vCPU runs.
 */
void msix_init(struct msix *msix, struct pci_device *device, u8 capability, u8 next, u32 count, u32 table,
               u32 pending);
void msix_reset(struct msix *msix);
/* Does the device send messages instead of driving INTA? */
bool msix_is_on(const struct msix *msix);

/* The table in the BAR, by double words. */
u32 msix_read_table(const struct msix *msix, u32 offset);
void msix_write_table(struct msix *msix, u32 offset, u32 value);
u32 msix_read_pending(const struct msix *msix, u32 offset);

/* Send message `vector`, or let it wait while it is masked. Takes local APICs' locks. */
void msix_raise(struct msix *msix, unsigned vector);
/* Something may have been unmasked: send what waits. */
void msix_look(struct msix *msix);

#endif
