/* SPDX-License-Identifier: MIT */
/*
 * The ACPI tables that lintel reads, as they lie in memory: fields that are used have names, the others are
 * gaps. ACPI 6.5,
 * 5.2.5 to 5.2.12; HPET specification 1.0a, 3.2.4; PCI firmware specification 3.3, 4.1.2 (MCFG).
 */
#ifndef DRIVERS_ACPI_TABLES_H
#define DRIVERS_ACPI_TABLES_H

#include "hv/lib/types.h"

struct PACKED acpi_rsdp {
    char signature[8]; /* "RSD PTR " */
    u8 checksum;       /* of the first 20 bytes */
    char oem[6];
    u8 revision; /* below 2: the structure ends behind rsdt */
    u32 rsdt;
    u32 length;
    u64 xsdt;
    u8 extended_checksum; /* of all length bytes */
    u8 reserved[3];
};
_Static_assert(sizeof(struct acpi_rsdp) == 36 && offsetof(struct acpi_rsdp, xsdt) == 24, "RSDP, 5.2.5.3");
#define ACPI_RSDP_OLD_SIZE 20

struct PACKED acpi_header {
    char signature[4];
    u32 length; /* with this header */
    u8 revision, checksum;
    u8 oem[18];
    u8 creator[4];
    u32 creator_revision;
};
_Static_assert(sizeof(struct acpi_header) == 36, "table header, 5.2.6");

/* Generic Address Structure, 5.2.3.2. */
struct PACKED acpi_gas {
    u8 space; /* 0 memory, 1 I/O ports */
    u8 bit_width, bit_offset, access_size;
    u64 address;
};
_Static_assert(sizeof(struct acpi_gas) == 12, "GAS, 5.2.3.2");
#define ACPI_SPACE_MEMORY 0
#define ACPI_SPACE_PORT   1

/* 5.2.9. A table of revision 1 ends behind flags, one of revision 2 behind its last field here or later. */
struct PACKED acpi_fadt {
    struct acpi_header header;
    u32 facs, dsdt;
    u8 model, profile;
    u16 sci_irq;
    u32 smi_command;
    u8 acpi_enable, acpi_disable, s4bios, pstate;
    u32 pm1a_event, pm1b_event, pm1a_control, pm1b_control, pm2_control, pm_timer, gpe0, gpe1;
    u8 pm1_event_length, pm1_control_length, pm2_control_length, pm_timer_length;
    u8 gap[20];
    u32 flags;
    struct acpi_gas reset;
    u8 reset_value;
    u8 arm[2], minor;
    u64 x_facs, x_dsdt;
    struct acpi_gas x_pm1a_event, x_pm1b_event, x_pm1a_control, x_pm1b_control, x_pm2_control, x_pm_timer;
};
_Static_assert(offsetof(struct acpi_fadt, smi_command) == 48, "FADT, 5.2.9");
_Static_assert(offsetof(struct acpi_fadt, pm1a_control) == 64, "FADT, 5.2.9");
_Static_assert(offsetof(struct acpi_fadt, pm_timer) == 76, "FADT, 5.2.9");
_Static_assert(offsetof(struct acpi_fadt, pm1_event_length) == 88, "FADT, 5.2.9");
_Static_assert(offsetof(struct acpi_fadt, flags) == 112, "FADT, 5.2.9");
_Static_assert(offsetof(struct acpi_fadt, reset) == 116, "FADT, 5.2.9");
_Static_assert(offsetof(struct acpi_fadt, x_dsdt) == 140, "FADT, 5.2.9");
_Static_assert(offsetof(struct acpi_fadt, x_pm1a_control) == 172, "FADT, 5.2.9");
_Static_assert(offsetof(struct acpi_fadt, x_pm_timer) == 208, "FADT, 5.2.9");
#define ACPI_FADT_SIZE_1   116 /* revision 1 */
#define ACPI_FADT_TIMER_32 BIT(8)
#define ACPI_FADT_RESET    BIT(10)

/* 5.2.12, followed by entries. */
struct PACKED acpi_madt {
    struct acpi_header header;
    u32 lapic_address;
    u32 flags;
};
_Static_assert(sizeof(struct acpi_madt) == 44, "MADT, 5.2.12");

struct PACKED acpi_madt_entry {
    u8 type, length;
};

enum {
    MADT_LAPIC = 0,
    MADT_IOAPIC = 1,
    MADT_OVERRIDE = 2,
    MADT_LAPIC_ADDRESS = 5,
    MADT_X2APIC = 9,
};

#define MADT_CPU_ENABLED BIT(0)

struct PACKED acpi_madt_lapic {
    struct acpi_madt_entry entry;
    u8 uid, apic_id;
    u32 flags;
};
_Static_assert(sizeof(struct acpi_madt_lapic) == 8, "5.2.12.2");

struct PACKED acpi_madt_ioapic {
    struct acpi_madt_entry entry;
    u8 id, reserved;
    u32 address, gsi_base;
};
_Static_assert(sizeof(struct acpi_madt_ioapic) == 12, "5.2.12.3");

struct PACKED acpi_madt_override {
    struct acpi_madt_entry entry;
    u8 bus, irq;
    u32 gsi;
    u16 flags; /* bits 1..0: polarity, 3 = low; bits 3..2: trigger, 3 = level */
};
_Static_assert(sizeof(struct acpi_madt_override) == 10, "5.2.12.5");

struct PACKED acpi_madt_lapic_address {
    struct acpi_madt_entry entry;
    u16 reserved;
    u64 address;
};
_Static_assert(sizeof(struct acpi_madt_lapic_address) == 12, "5.2.12.8");

struct PACKED acpi_madt_x2apic {
    struct acpi_madt_entry entry;
    u16 reserved;
    u32 apic_id, flags, uid;
};
_Static_assert(sizeof(struct acpi_madt_x2apic) == 16, "5.2.12.12");

struct PACKED acpi_hpet {
    struct acpi_header header;
    u32 id;
    struct acpi_gas base;
};
_Static_assert(sizeof(struct acpi_hpet) == 52, "HPET, 3.2.4");

/* Followed by ranges. */
struct PACKED acpi_mcfg {
    struct acpi_header header;
    u64 reserved;
};
_Static_assert(sizeof(struct acpi_mcfg) == 44, "MCFG, 4.1.2");

struct PACKED acpi_mcfg_entry {
    u64 base;
    u16 segment;
    u8 first_bus, last_bus;
    u32 reserved;
};
_Static_assert(sizeof(struct acpi_mcfg_entry) == 16, "MCFG, 4.1.2");

#endif
