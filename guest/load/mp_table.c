/* SPDX-License-Identifier: MIT */
/*
 * The MP table: what the MADT says, in the older words. Called by guest/machine.c on the boot CPU. Intel
 * MultiProcessor Specification 1.4, chapter 4: the entries stand in the order of their types.
 */
#include "guest/load/mp_table.h"

#include "guest/machine.h"
#include "hv/lib/string.h"

struct mp_pointer {
    char signature[4];
    u32 table;
    u8 paragraphs, revision, checksum, features[5];
} PACKED;
_Static_assert(sizeof(struct mp_pointer) == 16, "MP 1.4, 4.1");

struct mp_header {
    char signature[4];
    u16 length;
    u8 revision, checksum;
    char oem[8], product[12];
    u32 oem_table;
    u16 oem_table_size, entries;
    u32 lapic_base;
    u16 extended_length;
    u8 extended_checksum, reserved;
} PACKED;
_Static_assert(sizeof(struct mp_header) == 44, "MP 1.4, 4.2");

enum { ENTRY_PROCESSOR, ENTRY_BUS, ENTRY_IOAPIC, ENTRY_INTERRUPT, ENTRY_LOCAL_INTERRUPT };

struct mp_processor {
    u8 type, apic_id, apic_version, flags;
    u32 signature, features, reserved[2];
} PACKED;
struct mp_bus {
    u8 type, id;
    char name[6];
} PACKED;
struct mp_ioapic {
    u8 type, id, version, flags;
    u32 address;
} PACKED;
struct mp_interrupt {
    u8 type, kind;
    u16 flags;
    u8 bus, line, apic, pin;
} PACKED;
_Static_assert(sizeof(struct mp_processor) == 20 && sizeof(struct mp_bus) == 8, "MP 1.4, 4.3");
_Static_assert(sizeof(struct mp_ioapic) == 8 && sizeof(struct mp_interrupt) == 8, "MP 1.4, 4.3");

#define MP_REVISION       4 /* 1.4 */
#define PROCESSOR_ENABLED BIT(0)
#define PROCESSOR_BOOT    BIT(1)
#define LAPIC_VERSION     0x14
#define IOAPIC_VERSION    0x20
#define IOAPIC_ENABLED    BIT(0)
#define BUS_PCI           0
#define BUS_ISA           1
#define EVERY_LAPIC       0xff

enum { KIND_INT, KIND_NMI, KIND_SMI, KIND_EXTINT };
#define FLAGS_AS_BUS     0
#define FLAGS_HIGH_LEVEL 0x0d /* active high, level: what the SCI is on this machine */
#define FLAGS_LOW_LEVEL  0x0f /* active low, level: PCI's INTA */

#define ISA_LINES    16
#define CASCADE_LINE 2
#define PIT_LINE     0
#define PIT_PIN      2

/* The table as it grows in the guest's memory; the checksum grows with it. */
struct mp_writer {
    struct guest_memory *memory;
    gpa_t at;
    u16 entries;
    u8 sum;
    int error; /* of the first write that failed; nothing is written any more */
};

static u8 sum_of(const void *from, size_t size)
{
    const u8 *bytes = from;
    u8 sum = 0;

    for (size_t i = 0; i < size; i++)
        sum = (u8)(sum + bytes[i]);
    return sum;
}

static void entry_write(struct mp_writer *writer, const void *entry, size_t size)
{
    if (writer->error)
        return;
    writer->error = guest_memory_write(writer->memory, writer->at, entry, size);
    writer->at += size;
    writer->sum = (u8)(writer->sum + sum_of(entry, size));
    writer->entries++;
}

static void processors_write(struct mp_writer *writer, u32 vcpus, u32 boot, u32 signature, u32 features)
{
    for (u32 i = 0; i < vcpus; i++) {
        const struct mp_processor processor = {
            .type = ENTRY_PROCESSOR,
            .apic_id = (u8)i,
            .apic_version = LAPIC_VERSION,
            .flags = PROCESSOR_ENABLED | (i == boot ? PROCESSOR_BOOT : 0),
            .signature = signature,
            .features = features,
        };

        entry_write(writer, &processor, sizeof(processor));
    }
}

static void buses_write(struct mp_writer *writer)
{
    const struct mp_bus pci = {ENTRY_BUS, BUS_PCI, {'P', 'C', 'I', ' ', ' ', ' '}};
    const struct mp_bus isa = {ENTRY_BUS, BUS_ISA, {'I', 'S', 'A', ' ', ' ', ' '}};
    const struct mp_ioapic ioapic = {ENTRY_IOAPIC, IOAPIC_ID, IOAPIC_VERSION, IOAPIC_ENABLED,
                                     (u32)MACHINE_IOAPIC_BASE};

    entry_write(writer, &pci, sizeof(pci));
    entry_write(writer, &isa, sizeof(isa));
    entry_write(writer, &ioapic, sizeof(ioapic));
}

static void interrupt_write(struct mp_writer *writer, u16 flags, u8 bus, u8 line, unsigned pin)
{
    const struct mp_interrupt interrupt = {ENTRY_INTERRUPT, KIND_INT, flags, bus, line, IOAPIC_ID, (u8)pin};

    entry_write(writer, &interrupt, sizeof(interrupt));
}

static void interrupts_write(struct mp_writer *writer)
{
    /* What machine_set_line does. */
    for (u8 line = 0; line < ISA_LINES; line++)
        if (line != CASCADE_LINE)
            interrupt_write(writer, line == MACHINE_SCI ? FLAGS_HIGH_LEVEL : FLAGS_AS_BUS, BUS_ISA, line,
                            line == PIT_LINE ? PIT_PIN : line);
    /* INTA of each slot: the line is slot and pin (appendix D.3). */
    for (u8 slot = 1; slot < PCI_BUS_SLOTS; slot++)
        interrupt_write(writer, FLAGS_LOW_LEVEL, BUS_PCI, (u8)(slot << 2), pci_slot_pin(slot));
}

/* The PIC at LINT0 of the boot CPU, NMI at everybody's LINT1. */
static void local_interrupts_write(struct mp_writer *writer, u32 boot)
{
    const struct mp_interrupt pins[] = {
        {ENTRY_LOCAL_INTERRUPT, KIND_EXTINT, FLAGS_AS_BUS, BUS_ISA, 0, (u8)boot, 0},
        {ENTRY_LOCAL_INTERRUPT, KIND_NMI, FLAGS_AS_BUS, BUS_ISA, 0, EVERY_LAPIC, 1},
    };

    entry_write(writer, &pins[0], sizeof(pins[0]));
    entry_write(writer, &pins[1], sizeof(pins[1]));
}

static int header_write(const struct mp_writer *writer, gpa_t at)
{
    struct mp_header header = {
        .signature = {'P', 'C', 'M', 'P'},
        .length = (u16)(writer->at - at),
        .revision = MP_REVISION,
        .oem = {'L', 'I', 'N', 'T', 'E', 'L', ' ', ' '},
        .product = {'V', 'M', ' ', ' ', ' ', ' ', ' ', ' ', ' ', ' ', ' ', ' '},
        .entries = writer->entries,
        .lapic_base = (u32)MACHINE_LAPIC_BASE,
    };

    header.checksum = (u8) - (writer->sum + sum_of(&header, sizeof(header)));
    return guest_memory_write(writer->memory, at, &header, sizeof(header));
}

/* No feature bits: there is a table (no default configuration), and no IMCR (virtual wire mode). */
static int pointer_write(struct guest_memory *memory, gpa_t table)
{
    struct mp_pointer pointer = {
        .signature = {'_', 'M', 'P', '_'}, .table = (u32)table, .paragraphs = 1, .revision = MP_REVISION};

    pointer.checksum = (u8)-sum_of(&pointer, sizeof(pointer));
    return guest_memory_write(memory, MP_TABLE_BASE, &pointer, sizeof(pointer));
}

int mp_table_write(struct guest_memory *memory, u32 vcpus, u32 boot, u32 signature, u32 features)
{
    const gpa_t table = MP_TABLE_BASE + sizeof(struct mp_pointer);
    struct mp_writer writer = {.memory = memory, .at = table + sizeof(struct mp_header)};
    int error;

    processors_write(&writer, vcpus, boot, signature, features);
    buses_write(&writer);
    interrupts_write(&writer);
    local_interrupts_write(&writer, boot);
    error = writer.error ? writer.error : header_write(&writer, table);
    return error ? error : pointer_write(memory, table);
}
