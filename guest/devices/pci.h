/* SPDX-License-Identifier: MIT */
/*
 * PCI configuration mechanism 1 (ports 0xcf8, 0xcfc) with a host bridge at 00:00.0 and nothing else. Device
 * lock. PCI 3.0, 3.2.2.3.
 */
#ifndef GUEST_DEVICES_PCI_H
#define GUEST_DEVICES_PCI_H

#include "hv/lib/types.h"

struct machine;

struct pci_host {
    struct machine *machine;
    u32 address; /* what was written to 0xcf8 */
};

int pci_host_init(struct pci_host *pci, struct machine *machine);
void pci_host_reset(struct pci_host *pci);

#endif
