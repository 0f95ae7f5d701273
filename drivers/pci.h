/* SPDX-License-Identifier: MIT */
/*
 * The machine's own PCI functions: found once at boot, by the boot CPU, bus by bus from 0 on and behind
 * bridges. Firmware has given them their addresses; lintel changes nothing of a function that it does not
 * drive. PCI Local Bus 3.0, chapter 6; register names: linux/pci_regs.h.
 */
#ifndef DRIVERS_PCI_H
#define DRIVERS_PCI_H

#include "drivers/acpi.h"

#define HOST_PCI_FUNCTIONS 96

struct host_pci_function {
    u16 address; /* bus << 8 | device << 3 | function */
    u16 vendor, device;
    u32 class; /* base class << 16 | subclass << 8 | programming interface */
};

/* In this order they are the same at each boot: by bus, device, function. */
extern struct host_pci_function host_pci_functions[HOST_PCI_FUNCTIONS];
extern u32 host_pci_count;

/* Find them, and say how many there are. After acpi_init. */
void host_pci_init(const struct acpi_info *acpi);
/* One line each on the monitor. */
void host_pci_show(void);

/* Little-endian fields of configuration space within a dword. Boot CPU. */
u8 host_pci_read_8(u16 address, unsigned offset);
u16 host_pci_read_16(u16 address, unsigned offset);
u32 host_pci_read_32(u16 address, unsigned offset);

/* Where the next capability of this kind is behind `behind` (0: the first one); 0: there is none. */
u8 host_pci_capability(u16 address, u8 kind, u8 behind);
/* Where a memory BAR begins; 0: it is none, or nobody has given it an address. */
hpa_t host_pci_bar(u16 address, unsigned bar);
/* A port BAR likewise. */
u16 host_pci_port_bar(u16 address, unsigned bar);
/* It may read and write memory from now on, or no more; it answers, and never interrupts. */
void host_pci_enable(u16 address, bool master);

/* How configuration space is reached (pci_access.c): whole dwords. ~0 where nobody is. */
void host_pci_access_init(const struct acpi_info *acpi);
u32 host_pci_access_read(u16 address, unsigned offset);
void host_pci_access_write(u16 address, unsigned offset, u32 value);
/* In words, for the log. */
const char *host_pci_access_name(void);

#endif
