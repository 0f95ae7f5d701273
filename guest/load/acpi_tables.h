/* SPDX-License-Identifier: MIT */
/*
 * The ACPI tables of a guest's machine. guest/machine.c writes them at creation and reset; boot CPU, VM's
 * lock not held.
 */
#ifndef GUEST_LOAD_ACPI_TABLES_H
#define GUEST_LOAD_ACPI_TABLES_H

#include "hv/memory/guest_memory.h"

/* Room that acpi_tables_write may use. */
#define ACPI_TABLES_SIZE 0x4000ull

/*
 * Write RSDP (at base itself, so that a search of the firmware area finds it), XSDT, FADT, FACS, MADT and
 * DSDT for so many vCPUs. base: page aligned, below 4 GiB, in reserved RAM. 0, or -EFAULT or -ENOMEM from
 * guest memory.
 */
int acpi_tables_write(struct guest_memory *memory, gpa_t base, u32 vcpus);

#endif
