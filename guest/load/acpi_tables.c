/* SPDX-License-Identifier: MIT */
/*
 * The ACPI tables of a guest's machine, written from the constants that the devices are built with. Called
 * by guest/machine.c on the boot CPU. ACPI 6.5, chapter 5.2 (tables), 4.8 (fixed hardware); the DSDT is
 * dsdt.asl, compiled by iasl.
 */
#include "guest/load/acpi_tables.h"

#include "guest/machine.h"
#include "hv/lib/panic.h"
#include "hv/lib/string.h"

/* From dsdt.asl, by the Makefile. */
extern const u8 dsdt_aml[];
extern const u32 dsdt_aml_size;

/* Where each table lies, from the base. MADT before DSDT: the DSDT's size is not known here. */
#define RSDP_AT 0x000
#define XSDT_AT 0x040
#define FACS_AT 0x080 /* 64-byte aligned */
#define FADT_AT 0x100
#define MADT_AT 0x240
#define DSDT_AT 0x800

struct rsdp {
    char signature[8];
    u8 checksum; /* of the first 20 bytes */
    char oem[6];
    u8 revision;
    u32 rsdt;
    u32 length;
    u64 xsdt;
    u8 extended_checksum;
    u8 reserved[3];
} PACKED;
_Static_assert(sizeof(struct rsdp) == 36, "RSDP, revision 2");
#define RSDP_FIRST_PART 20

struct table_header {
    char signature[4];
    u32 length;
    u8 revision, checksum;
    char oem[6], oem_table[8];
    u32 oem_revision;
    char creator[4];
    u32 creator_revision;
} PACKED;
_Static_assert(sizeof(struct table_header) == 36, "ACPI 6.5, table 5.4");

struct xsdt {
    struct table_header header;
    u64 tables[2];
} PACKED;

struct generic_address {
    u8 space, width, offset, access;
    u64 address;
} PACKED;
_Static_assert(sizeof(struct generic_address) == 12, "ACPI 6.5, table 5.1");
#define SPACE_PORT   1
#define ACCESS_BYTE  1
#define ACCESS_WORD  2
#define ACCESS_DWORD 3

struct fadt {
    struct table_header header;
    u32 facs, dsdt;
    u8 reserved0, profile;
    u16 sci;
    u32 smi_command;
    u8 acpi_enable, acpi_disable, s4bios, pstate;
    u32 pm1a_event, pm1b_event, pm1a_control, pm1b_control, pm2_control, pm_timer, gpe0, gpe1;
    u8 pm1_event_length, pm1_control_length, pm2_control_length, pm_timer_length, gpe0_length, gpe1_length,
        gpe1_base, cstates;
    u16 c2_latency, c3_latency, flush_size, flush_stride;
    u8 duty_offset, duty_width, day_alarm, month_alarm, century;
    u16 boot_flags;
    u8 reserved1;
    u32 flags;
    struct generic_address reset_register;
    u8 reset_value;
    u16 arm_flags;
    u8 minor;
    u64 x_facs, x_dsdt;
    struct generic_address x_pm1a_event, x_pm1b_event, x_pm1a_control, x_pm1b_control, x_pm2_control,
        x_pm_timer, x_gpe0, x_gpe1, sleep_control, sleep_status;
    u64 hypervisor;
} PACKED;
_Static_assert(sizeof(struct fadt) == 276, "ACPI 6.5, table 5.9");
_Static_assert(offsetof(struct fadt, boot_flags) == 109 && offsetof(struct fadt, flags) == 112,
               "ACPI 6.5, table 5.9");
_Static_assert(offsetof(struct fadt, reset_register) == 116 && offsetof(struct fadt, x_dsdt) == 140,
               "ACPI 6.5, table 5.9");
_Static_assert(offsetof(struct fadt, x_pm_timer) == 208, "ACPI 6.5, table 5.9");

/*
 * 5.2.9.3: bit 1 (8042) is clear, so nobody looks for a keyboard; bit 5 (no CMOS clock) is clear: there is
 * one.
 */
#define BOOT_LEGACY_DEVICES BIT(0)
#define BOOT_NO_VGA         BIT(2)

/* Table 5.10. The power button is the fixed one (PWR_BUTTON clear); a sleep button does not exist. */
#define FADT_WBINVD          BIT(0)
#define FADT_C1              BIT(2)
#define FADT_NO_SLEEP_BUTTON BIT(5)
#define FADT_NO_RTC_WAKE     BIT(6)
#define FADT_TIMER_32        BIT(8)
#define FADT_RESET_REGISTER  BIT(10)
#define RESET_HARD           0x06 /* 0xcf9: reset the CPU, hard */
#define NO_C2                0xfff
#define NO_C3                0xffff
#define RTC_CENTURY          0x32

struct facs {
    char signature[4];
    u32 length, hardware_signature, waking_vector, global_lock, flags;
    u64 x_waking_vector;
    u8 version, reserved[31];
} PACKED;
_Static_assert(sizeof(struct facs) == 64, "ACPI 6.5, table 5.12");

struct madt_lapic {
    u8 type, length, uid, apic_id;
    u32 flags;
} PACKED;
struct madt_ioapic {
    u8 type, length, id, reserved;
    u32 address, first_interrupt;
} PACKED;
struct madt_override {
    u8 type, length, bus, line;
    u32 interrupt;
    u16 flags;
} PACKED;
struct madt_nmi {
    u8 type, length, uid;
    u16 flags;
    u8 lint;
} PACKED;
_Static_assert(sizeof(struct madt_lapic) == 8 && sizeof(struct madt_ioapic) == 12, "ACPI 6.5, 5.2.12");
_Static_assert(sizeof(struct madt_override) == 10 && sizeof(struct madt_nmi) == 6, "ACPI 6.5, 5.2.12");
#define MADT_PCAT_COMPAT    BIT(0) /* there is a pair of 8259 */
#define LAPIC_ENABLED       BIT(0)
#define ALL_PROCESSORS      0xff
#define OVERRIDE_AS_BUS     0    /* ISA: active high, edge */
#define OVERRIDE_HIGH_LEVEL 0x0d /* active high, level: what the SCI is on this machine */
#define PIT_PIN             2

struct madt {
    struct table_header header;
    u32 lapic_base, flags;
    struct madt_ioapic ioapic;
    struct madt_override overrides[2];
    struct madt_nmi nmi;
    struct madt_lapic lapics[VM_VCPUS_MAX]; /* last: cut to the number of vCPUs */
} PACKED;
_Static_assert(FADT_AT + sizeof(struct fadt) <= MADT_AT && MADT_AT + sizeof(struct madt) <= DSDT_AT,
               "tables do not overlap");

static u8 checksum_of(const void *table, size_t size)
{
    const u8 *bytes = table;
    u8 sum = 0;

    for (size_t i = 0; i < size; i++)
        sum = (u8)(sum + bytes[i]);
    return (u8)-sum;
}

static void header_fill(struct table_header *header, const char *signature, u8 revision, u32 length)
{
    memcpy(header->signature, signature, sizeof(header->signature));
    header->length = length;
    header->revision = revision;
    memcpy(header->oem, "LINTEL", sizeof(header->oem));
    memcpy(header->oem_table, "LINTEL  ", sizeof(header->oem_table));
    header->oem_revision = 1;
    memcpy(header->creator, "LINT", sizeof(header->creator));
    header->creator_revision = 1;
}

static int table_write(struct guest_memory *memory, gpa_t at, struct table_header *table)
{
    table->checksum = checksum_of(table, table->length);
    return guest_memory_write(memory, at, table, table->length);
}

static struct generic_address port_address(u64 port, u8 bytes)
{
    const u8 access = bytes == 1 ? ACCESS_BYTE : bytes == 2 ? ACCESS_WORD : ACCESS_DWORD;

    return (struct generic_address){
        .space = SPACE_PORT, .width = (u8)(8 * bytes), .access = access, .address = port};
}

static int rsdp_write(struct guest_memory *memory, gpa_t base)
{
    struct rsdp rsdp = {.revision = 2, .length = sizeof(rsdp), .xsdt = base + XSDT_AT};

    memcpy(rsdp.signature, "RSD PTR ", sizeof(rsdp.signature));
    memcpy(rsdp.oem, "LINTEL", sizeof(rsdp.oem));
    rsdp.checksum = checksum_of(&rsdp, RSDP_FIRST_PART);
    rsdp.extended_checksum = checksum_of(&rsdp, sizeof(rsdp));
    return guest_memory_write(memory, base + RSDP_AT, &rsdp, sizeof(rsdp));
}

static int xsdt_write(struct guest_memory *memory, gpa_t base)
{
    struct xsdt xsdt = {.tables = {base + FADT_AT, base + MADT_AT}};

    header_fill(&xsdt.header, "XSDT", 1, sizeof(xsdt));
    return table_write(memory, base + XSDT_AT, &xsdt.header);
}

static int fadt_write(struct guest_memory *memory, gpa_t base)
{
    struct fadt fadt = {
        .facs = (u32)base + FACS_AT,
        .dsdt = (u32)base + DSDT_AT,
        .x_dsdt = base + DSDT_AT, /* x_facs stays 0: only one of the two may be set */
        .sci = MACHINE_SCI,
        .pm1a_event = MACHINE_PM_BASE + ACPI_PM_EVENT,
        .pm1a_control = MACHINE_PM_BASE + ACPI_PM_CONTROL,
        .pm_timer = MACHINE_PM_BASE + ACPI_PM_TIMER,
        .pm1_event_length = 4,
        .pm1_control_length = 2,
        .pm_timer_length = 4,
        .x_pm1a_event = port_address(MACHINE_PM_BASE + ACPI_PM_EVENT, 4),
        .x_pm1a_control = port_address(MACHINE_PM_BASE + ACPI_PM_CONTROL, 2),
        .x_pm_timer = port_address(MACHINE_PM_BASE + ACPI_PM_TIMER, 4),
        .c2_latency = NO_C2,
        .c3_latency = NO_C3,
        .century = RTC_CENTURY,
        .boot_flags = BOOT_LEGACY_DEVICES | BOOT_NO_VGA,
        .flags = FADT_WBINVD | FADT_C1 | FADT_NO_SLEEP_BUTTON | FADT_NO_RTC_WAKE | FADT_TIMER_32 |
                 FADT_RESET_REGISTER,
        .reset_register = port_address(MACHINE_RESET_PORT, 1),
        .reset_value = RESET_HARD,
    };

    /* Event blocks are read in halves of two bytes: status, then enable. */
    fadt.x_pm1a_event.access = ACCESS_WORD;
    header_fill(&fadt.header, "FACP", 6, sizeof(fadt));
    return table_write(memory, base + FADT_AT, &fadt.header);
}
_Static_assert(ACPI_PM_TIMER_BITS == 32, "FADT_TIMER_32");

static int facs_write(struct guest_memory *memory, gpa_t base)
{
    struct facs facs = {.length = sizeof(facs), .version = 2};

    memcpy(facs.signature, "FACS", sizeof(facs.signature));
    return guest_memory_write(memory, base + FACS_AT, &facs, sizeof(facs));
}

static int madt_write(struct guest_memory *memory, gpa_t base, u32 vcpus)
{
    struct madt madt = {
        .lapic_base = (u32)MACHINE_LAPIC_BASE,
        .flags = MADT_PCAT_COMPAT,
        .ioapic = {.type = 1,
                   .length = sizeof(struct madt_ioapic),
                   .id = IOAPIC_ID,
                   .address = (u32)MACHINE_IOAPIC_BASE},
        .overrides = {{.type = 2,
                       .length = sizeof(struct madt_override),
                       .line = 0,
                       .interrupt = PIT_PIN,
                       .flags = OVERRIDE_AS_BUS},
                      {.type = 2,
                       .length = sizeof(struct madt_override),
                       .line = MACHINE_SCI,
                       .interrupt = MACHINE_SCI,
                       .flags = OVERRIDE_HIGH_LEVEL}},
        .nmi = {.type = 4, .length = sizeof(struct madt_nmi), .uid = ALL_PROCESSORS, .lint = 1},
    };

    for (u32 i = 0; i < vcpus; i++)
        madt.lapics[i] = (struct madt_lapic){
            .length = sizeof(struct madt_lapic), .uid = (u8)i, .apic_id = (u8)i, .flags = LAPIC_ENABLED};
    header_fill(&madt.header, "APIC", 5,
                (u32)(offsetof(struct madt, lapics) + vcpus * sizeof(madt.lapics[0])));
    return table_write(memory, base + MADT_AT, &madt.header);
}

int acpi_tables_write(struct guest_memory *memory, gpa_t base, u32 vcpus)
{
    int error = rsdp_write(memory, base);

    assert(vcpus <= VM_VCPUS_MAX);
    if (!error)
        error = xsdt_write(memory, base);
    if (!error)
        error = fadt_write(memory, base);
    if (!error)
        error = facs_write(memory, base);
    if (!error)
        error = madt_write(memory, base, vcpus);
    /* iasl has already computed its checksum. */
    return error ? error : guest_memory_write(memory, base + DSDT_AT, dsdt_aml, dsdt_aml_size);
}
