/* SPDX-License-Identifier: MIT */
/*
 * What lintel reads from the machine's own ACPI tables, and how. The parser touches memory only through the
 * two functions it is given, so that the same code runs on the machine, in unit tests and under the fuzzer.
 * Boot CPU, once. ACPI 6.5, chapters 5.2 (tables) and 4.8 (fixed hardware).
 */
#ifndef DRIVERS_ACPI_H
#define DRIVERS_ACPI_H

#include "hv/lib/types.h"

#define ACPI_CPUS          64
#define ACPI_IOAPICS       16
#define ACPI_ISA_IRQS      16
#define ACPI_MCFG_RANGES   8
#define ACPI_SLEEP_UNKNOWN 0xff

struct acpi_ioapic {
    hpa_t address;
    u32 gsi_base;
    u8 id;
};

/* Where an ISA interrupt arrives; without an override: gsi = irq, edge, active high. */
struct acpi_isa_irq {
    u32 gsi;
    bool level_triggered, active_low;
};

/* A register as firmware describes it (ACPI's Generic Address Structure, cut to what is used). */
struct acpi_register {
    u64 address; /* 0: there is none */
    bool memory; /* else an I/O port */
};

/* PCI configuration space in memory: buses first_bus .. last_bus of segment; base is that of bus 0. */
struct acpi_mcfg_range {
    hpa_t base;
    u16 segment;
    u8 first_bus, last_bus;
};

struct acpi_info {
    hpa_t lapic_address;
    u32 apic_ids[ACPI_CPUS]; /* of the CPUs that the firmware has enabled */
    u32 cpu_count;
    u32 cpus_disabled; /* entries for CPUs that may be plugged in, or that the firmware has switched off */
    struct acpi_ioapic ioapics[ACPI_IOAPICS];
    u32 ioapic_count;
    struct acpi_isa_irq isa_irqs[ACPI_ISA_IRQS];

    bool has_fadt;
    u16 pm1a_control, pm1b_control; /* ports; 0: none */
    u16 pm_timer;                   /* port of the 3.579545 MHz counter; 0: none */
    bool pm_timer_32;               /* counts 32 bits, else 24 */
    u16 smi_command; /* port; write acpi_enable there to leave legacy mode; 0: always in ACPI mode */
    u8 acpi_enable;
    struct acpi_register reset;
    u8 reset_value;
    u8 sleep_type_a, sleep_type_b; /* SLP_TYP of S5; ACPI_SLEEP_UNKNOWN: the DSDT did not tell */

    hpa_t hpet_address; /* 0: none */
    struct acpi_mcfg_range mcfg[ACPI_MCFG_RANGES];
    u32 mcfg_count;
};

/* How to see physical memory: NULL when it cannot be mapped. Every map is followed by its unmap. */
struct acpi_memory {
    const void *(*map)(hpa_t address, u64 size);
    void (*unmap)(const void *at, u64 size);
};

/*
 * Read every table of interest that the RSDP leads to. rsdp: its bytes, room for 36, of which 20 count below
 * revision 2. A table that lies is left out with a warning. 0; -EINVAL when not even the root table can be
 * believed; -ENOENT when rsdp is NULL. info is valid in all cases (defaults: no CPUs, ISA interrupts one to
 * one).
 */
int acpi_parse(const u8 *rsdp, const struct acpi_memory *memory, struct acpi_info *info);

/*
 * Look for the RSDP where a BIOS puts it: the first KiB of the EBDA and 0xe0000 .. 0xfffff. -ENOENT when
 * there is none.
 */
int acpi_find_rsdp(const struct acpi_memory *memory, u8 rsdp[static 36]);

/*
 * The machine's tables, through paging_map_device, so after paging_init. rsdp: the loader's copy, or NULL:
 * then a BIOS machine is searched (not with efi: the memory there means nothing). Says in the log what it
 * found. As acpi_parse, and -ENOENT.
 */
int acpi_init(const u8 *rsdp, bool efi, struct acpi_info *info);

#endif
