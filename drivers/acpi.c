/* SPDX-License-Identifier: MIT */
/*
 * The parser of the machine's ACPI tables. Firmware is not trusted further than it can be checked: every
 * length is bounded, every checksum verified, every count cut to the room there is; what lies is left out
 * with a sentence. Pure but for the two memory functions and the log; acpi_machine.c calls it on the machine.
 */
#include "drivers/acpi.h"

#include <asm-generic/errno.h>

#include "drivers/acpi_tables.h"
#include "hv/lib/log.h"
#include "hv/lib/string.h"

#define TABLE_MAX           (1u << 20) /* bytes; the largest DSDTs known have a quarter of that */
#define TABLES_MAX          256        /* entries of the root table that are looked at */
#define LAPIC_ADDRESS_USUAL 0xfee00000

struct parser {
    const struct acpi_memory *memory;
    struct acpi_info *info;
};

static bool sum_is_zero(const void *at, size_t bytes)
{
    const u8 *byte = at;
    u8 sum = 0;

    while (bytes-- > 0)
        sum = (u8)(sum + *byte++);
    return sum == 0;
}

static bool has_signature(const struct acpi_header *table, const char *signature)
{
    return memcmp(table->signature, signature, sizeof(table->signature)) == 0;
}

/* The header of the table at address, copied: what firmware says there may be anything. */
static int header_read(const struct parser *parser, hpa_t address, struct acpi_header *header)
{
    const struct acpi_header *mapped;

    if (address == 0 || address >= BIT(52))
        return -EINVAL;
    mapped = parser->memory->map(address, sizeof(*header));
    if (!mapped)
        return -EINVAL;
    *header = *mapped;
    parser->memory->unmap(mapped, sizeof(*header));
    return 0;
}

/*
 * Map the whole table at address, when it has this signature, at least smallest bytes and the right sum; else
 * NULL, with a warning. The length that counts is that of *header, which has been checked; the caller unmaps
 * that many bytes.
 */
static const void *table_map(const struct parser *parser, hpa_t address, const char *signature, u32 smallest,
                             struct acpi_header *header)
{
    const void *table;

    if (header_read(parser, address, header) || !has_signature(header, signature)) {
        log_warning("ACPI: there is no table %s at 0x%llx; it is left out", signature,
                    (unsigned long long)address);
        return NULL;
    }
    if (header->length < smallest || header->length > TABLE_MAX) {
        log_warning("ACPI: table %s says it has %u bytes; %u to %u are possible; it is left out", signature,
                    header->length, smallest, TABLE_MAX);
        return NULL;
    }
    table = parser->memory->map(address, header->length);
    if (!table) {
        log_warning("ACPI: table %s at 0x%llx cannot be mapped; it is left out", signature,
                    (unsigned long long)address);
        return NULL;
    }
    if (!sum_is_zero(table, header->length)) {
        log_warning("ACPI: table %s at 0x%llx has a wrong checksum; it is left out", signature,
                    (unsigned long long)address);
        parser->memory->unmap(table, header->length);
        return NULL;
    }
    return table;
}

/* ---------------------------------------------------------------- MADT */

static void cpu_add(struct acpi_info *info, u32 apic_id, u32 flags)
{
    u32 i;

    if (!(flags & MADT_CPU_ENABLED)) {
        info->cpus_disabled++;
        return;
    }
    for (i = 0; i < info->cpu_count; i++)
        if (info->apic_ids[i] == apic_id) /* listed as local APIC and as x2APIC */
            return;
    if (info->cpu_count == ACPI_CPUS) {
        log_warning("ACPI: the CPU with APIC number %u is left out; lintel has room for %u", apic_id,
                    ACPI_CPUS);
        return;
    }
    info->apic_ids[info->cpu_count++] = apic_id;
}

static void ioapic_add(struct acpi_info *info, const struct acpi_madt_ioapic *entry)
{
    if (info->ioapic_count == ACPI_IOAPICS) {
        log_warning("ACPI: IOAPIC at 0x%x is left out; lintel has room for %u", entry->address, ACPI_IOAPICS);
        return;
    }
    info->ioapics[info->ioapic_count++] =
        (struct acpi_ioapic){.address = entry->address, .gsi_base = entry->gsi_base, .id = entry->id};
}

static void override_add(struct acpi_info *info, const struct acpi_madt_override *entry)
{
    if (entry->bus != 0 || entry->irq >= ACPI_ISA_IRQS) {
        log_warning(
            "ACPI: override of interrupt %u on bus %u is left out; only ISA interrupts 0 to 15 have them",
            entry->irq, entry->bus);
        return;
    }
    info->isa_irqs[entry->irq] = (struct acpi_isa_irq){.gsi = entry->gsi,
                                                       .level_triggered = (entry->flags >> 2 & 3) == 3,
                                                       .active_low = (entry->flags & 3) == 3};
}

static void madt_entry(struct acpi_info *info, const struct acpi_madt_entry *entry)
{
    switch (entry->type) {
    case MADT_LAPIC: {
        const struct acpi_madt_lapic *lapic = (const void *)entry;

        if (lapic->apic_id != 0xff)
            cpu_add(info, lapic->apic_id, lapic->flags);
        return;
    }
    case MADT_X2APIC: {
        const struct acpi_madt_x2apic *x2apic = (const void *)entry;

        if (x2apic->apic_id != ~0u)
            cpu_add(info, x2apic->apic_id, x2apic->flags);
        return;
    }
    case MADT_IOAPIC: ioapic_add(info, (const void *)entry); return;
    case MADT_OVERRIDE: override_add(info, (const void *)entry); return;
    case MADT_LAPIC_ADDRESS:
        info->lapic_address = ((const struct acpi_madt_lapic_address *)(const void *)entry)->address;
        return;
    default: return;
    }
}

/* The size that an entry of a type must have at least; other types are passed over. */
static u32 madt_entry_size(u8 type)
{
    static const u8 sizes[] = {
        [MADT_LAPIC] = sizeof(struct acpi_madt_lapic),
        [MADT_IOAPIC] = sizeof(struct acpi_madt_ioapic),
        [MADT_OVERRIDE] = sizeof(struct acpi_madt_override),
        [MADT_LAPIC_ADDRESS] = sizeof(struct acpi_madt_lapic_address),
        [MADT_X2APIC] = sizeof(struct acpi_madt_x2apic),
    };

    return MAX(type < ARRAY_SIZE(sizes) ? sizes[type] : 0, (u32)sizeof(struct acpi_madt_entry));
}

static void madt_parse(const struct parser *parser, const void *table, u32 length)
{
    const struct acpi_madt *madt = table;
    const u8 *at = (const u8 *)table + sizeof(*madt), *end = (const u8 *)table + length;

    if (madt->lapic_address != 0)
        parser->info->lapic_address = madt->lapic_address;
    while (at < end) {
        const struct acpi_madt_entry *entry = (const void *)at;
        size_t left = (size_t)(end - at);

        if (left < sizeof(*entry) || entry->length > left || entry->length < madt_entry_size(entry->type)) {
            log_warning("ACPI: table APIC has a broken entry at byte %u; the rest of it is left out",
                        (unsigned)(at - (const u8 *)table));
            return;
        }
        madt_entry(parser->info, entry);
        at += entry->length;
    }
}

/* ---------------------------------------------------------------- FADT and DSDT */

/*
 * An integer of AML as \_S5_ has it: ZeroOp, OneOp, OnesOp or a byte. Returns bytes taken, 0 for anything
 * else.
 */
static u32 aml_byte(const u8 *at, const u8 *end, u8 *value)
{
    if (at < end && (*at == 0x00 || *at == 0x01 || *at == 0xff)) {
        *value = *at;
        return 1;
    }
    if (end - at >= 2 && *at == 0x0a) {
        *value = at[1];
        return 2;
    }
    return 0;
}

/* at stands behind the name: PackageOp, PkgLength, NumElements, then SLP_TYPa and SLP_TYPb. */
static bool sleep_package(const u8 *at, const u8 *end, u8 *type_a, u8 *type_b)
{
    u8 a = 0, b = 0;
    u32 taken;

    if (end - at < 2 || *at++ != 0x12)
        return false;
    at += 1 + (*at >> 6); /* PkgLength: its upper two bits count the bytes that follow */
    if (at >= end || *at++ < 2)
        return false;
    taken = aml_byte(at, end, &a);
    if (!taken || !aml_byte(at + taken, end, &b) || a > 7 || b > 7)
        return false;
    *type_a = a;
    *type_b = b;
    return true;
}

/*
 * The sleep types of S5 without an AML interpreter. What is looked for: NameOp, "\" or not, "_S5_", a package
 * of at least two small constants. That is how every firmware writes it, since the name must be there before
 * anything is evaluated. A match elsewhere (in a string, say) would have to look the same down to the
 * package.
 */
static void sleep_types_find(struct acpi_info *info, const u8 *aml, u32 length)
{
    const u8 *end = aml + length;
    u32 i;

    for (i = 1; i + 4 < length; i++) {
        if (memcmp(aml + i, "_S5_", 4) != 0)
            continue;
        if (aml[i - 1] != 0x08 && !(i >= 2 && aml[i - 1] == '\\' && aml[i - 2] == 0x08))
            continue;
        if (sleep_package(aml + i + 4, end, &info->sleep_type_a, &info->sleep_type_b))
            return;
    }
}

static void dsdt_parse(const struct parser *parser, hpa_t address)
{
    struct acpi_header header;
    const u8 *table = table_map(parser, address, "DSDT", sizeof(header), &header);

    if (!table)
        return;
    sleep_types_find(parser->info, table + sizeof(header), header.length - (u32)sizeof(header));
    parser->memory->unmap(table, header.length);
}

/* A port from the FADT's old field and, when that is 0, its extended one. Both may be absent. */
static u16 fadt_port(u32 old, const struct acpi_gas *extended)
{
    if (old != 0 && old <= 0xffff)
        return (u16)old;
    if (extended->space == ACPI_SPACE_PORT && extended->address <= 0xffff)
        return (u16)extended->address;
    return 0;
}

static void fadt_reset(struct acpi_info *info, const struct acpi_fadt *fadt)
{
    bool port = fadt->reset.space == ACPI_SPACE_PORT && fadt->reset.address <= 0xffff;
    bool memory = fadt->reset.space == ACPI_SPACE_MEMORY && fadt->reset.address < BIT(52);

    if (!(fadt->flags & ACPI_FADT_RESET) || !(port || memory))
        return;
    info->reset = (struct acpi_register){fadt->reset.address, memory};
    info->reset_value = fadt->reset_value;
}

/* The copy has zeros where the table of an older revision ends. */
static void fadt_parse(const struct parser *parser, const void *table, u32 length)
{
    struct acpi_info *info = parser->info;
    struct acpi_fadt fadt = {0};

    memcpy(&fadt, table, MIN(length, sizeof(fadt)));
    info->has_fadt = true;
    info->pm1a_control = fadt_port(fadt.pm1a_control, &fadt.x_pm1a_control);
    info->pm1b_control = fadt_port(fadt.pm1b_control, &fadt.x_pm1b_control);
    info->pm_timer = fadt_port(fadt.pm_timer, &fadt.x_pm_timer);
    info->pm_timer_32 = fadt.flags & ACPI_FADT_TIMER_32;
    info->smi_command = fadt.smi_command <= 0xffff ? (u16)fadt.smi_command : 0;
    info->acpi_enable = fadt.acpi_enable;
    fadt_reset(info, &fadt);
    dsdt_parse(parser, fadt.x_dsdt ? fadt.x_dsdt : fadt.dsdt);
}

/* ---------------------------------------------------------------- HPET, MCFG */

static void hpet_parse(const struct parser *parser, const void *table, u32 length)
{
    const struct acpi_hpet *hpet = table;

    (void)length;
    if (hpet->base.space == ACPI_SPACE_MEMORY && hpet->base.address < BIT(52))
        parser->info->hpet_address = hpet->base.address;
}

static void mcfg_parse(const struct parser *parser, const void *table, u32 length)
{
    const struct acpi_mcfg_entry *entry = (const void *)((const u8 *)table + sizeof(struct acpi_mcfg));
    u32 count = (length - (u32)sizeof(struct acpi_mcfg)) / (u32)sizeof(*entry);
    struct acpi_info *info = parser->info;

    for (; count > 0; count--, entry++) {
        if (entry->first_bus > entry->last_bus || entry->base == 0 || entry->base >= BIT(52) ||
            !IS_ALIGNED(entry->base, SIZE_2M / 2) || info->mcfg_count == ACPI_MCFG_RANGES) {
            log_warning("ACPI: PCI configuration space of segment %u, buses %u to %u, is left out",
                        entry->segment, entry->first_bus, entry->last_bus);
            continue;
        }
        info->mcfg[info->mcfg_count++] =
            (struct acpi_mcfg_range){entry->base, entry->segment, entry->first_bus, entry->last_bus};
    }
}

/* ---------------------------------------------------------------- the root */

static const struct {
    const char *signature;
    u32 smallest;
    void (*parse)(const struct parser *parser, const void *table, u32 length);
} tables_of_interest[] = {
    {"APIC", sizeof(struct acpi_madt), madt_parse}, /* CPUs and interrupts */
    {"FACP", ACPI_FADT_SIZE_1, fadt_parse},         /* power, PM timer */
    {"HPET", sizeof(struct acpi_hpet), hpet_parse}, /* a clock to measure the TSC by */
    {"MCFG", sizeof(struct acpi_mcfg), mcfg_parse}, /* PCI configuration space */
};

/*
 * Parse the table at address if it is of interest; each kind once: a second one is ignored, as the first one
 * counts.
 */
static void table_visit(const struct parser *parser, hpa_t address,
                        bool seen[static ARRAY_SIZE(tables_of_interest)])
{
    struct acpi_header header;
    const void *table;
    size_t i;

    if (header_read(parser, address, &header))
        return;
    for (i = 0; i < ARRAY_SIZE(tables_of_interest); i++) {
        if (seen[i] || !has_signature(&header, tables_of_interest[i].signature))
            continue;
        table = table_map(parser, address, tables_of_interest[i].signature, tables_of_interest[i].smallest,
                          &header);
        if (!table)
            return;
        seen[i] = true;
        tables_of_interest[i].parse(parser, table, header.length);
        parser->memory->unmap(table, header.length);
    }
}

static int root_parse(const struct parser *parser, hpa_t address, const char *signature, u32 entry_size)
{
    bool seen[ARRAY_SIZE(tables_of_interest)] = {0};
    struct acpi_header header;
    const u8 *root = table_map(parser, address, signature, sizeof(header), &header);
    u32 count, i;

    if (!root)
        return -EINVAL;
    count = (header.length - (u32)sizeof(header)) / entry_size;
    if (count > TABLES_MAX)
        log_warning("ACPI: table %s names %u tables; the first %u are read", signature, count, TABLES_MAX);
    for (i = 0; i < MIN(count, (u32)TABLES_MAX); i++) {
        u64 entry = 0;

        memcpy(&entry, root + sizeof(header) + (u64)i * entry_size, entry_size);
        table_visit(parser, entry, seen);
    }
    parser->memory->unmap(root, header.length);
    return 0;
}

static void info_reset(struct acpi_info *info)
{
    u32 irq;

    *info = (struct acpi_info){.lapic_address = LAPIC_ADDRESS_USUAL,
                               .sleep_type_a = ACPI_SLEEP_UNKNOWN,
                               .sleep_type_b = ACPI_SLEEP_UNKNOWN};
    for (irq = 0; irq < ACPI_ISA_IRQS; irq++)
        info->isa_irqs[irq].gsi = irq;
}

static bool rsdp_valid(const u8 *rsdp)
{
    return memcmp(rsdp, "RSD PTR ", 8) == 0 && sum_is_zero(rsdp, ACPI_RSDP_OLD_SIZE);
}

int acpi_parse(const u8 *rsdp_bytes, const struct acpi_memory *memory, struct acpi_info *info)
{
    const struct parser parser = {memory, info};
    struct acpi_rsdp rsdp;

    info_reset(info);
    if (!rsdp_bytes)
        return -ENOENT;
    memcpy(&rsdp, rsdp_bytes, sizeof(rsdp));
    if (!rsdp_valid(rsdp_bytes)) {
        log_warning("ACPI: the root pointer's signature or checksum is wrong; there are no ACPI tables then");
        return -EINVAL;
    }
    if (rsdp.revision >= 2 && rsdp.xsdt != 0) {
        if (rsdp.length == sizeof(rsdp) && sum_is_zero(&rsdp, sizeof(rsdp)) &&
            root_parse(&parser, rsdp.xsdt, "XSDT", sizeof(u64)) == 0)
            return 0;
        log_warning("ACPI: the 64-bit root table cannot be believed; the 32-bit one is tried");
    }
    return root_parse(&parser, rsdp.rsdt, "RSDT", sizeof(u32));
}

/* ---------------------------------------------------------------- where a BIOS keeps the RSDP (5.2.5.1) */

#define EBDA_SEGMENT 0x40e /* BIOS data area: segment of the extended BIOS data area */

static int rsdp_scan(const struct acpi_memory *memory, hpa_t start, u64 size, u8 rsdp[static 36])
{
    const u8 *at = memory->map(start, size);
    int result = -ENOENT;
    u64 i;

    if (!at)
        return -ENOENT;
    for (i = 0; i + ACPI_RSDP_OLD_SIZE <= size; i += 16) {
        if (!rsdp_valid(at + i))
            continue;
        memset(rsdp, 0, 36);
        memcpy(rsdp, at + i, MIN(size - i, 36));
        result = 0;
        break;
    }
    memory->unmap(at, size);
    return result;
}

int acpi_find_rsdp(const struct acpi_memory *memory, u8 rsdp[static 36])
{
    const u8 *segment = memory->map(EBDA_SEGMENT, 2);
    hpa_t ebda = 0;

    if (segment) {
        ebda = (hpa_t)(segment[0] | segment[1] << 8) << 4;
        memory->unmap(segment, 2);
    }
    if (ebda >= 0x400 && ebda < 0xa0000 && rsdp_scan(memory, ebda, 1024, rsdp) == 0)
        return 0;
    return rsdp_scan(memory, 0xe0000, 0x20000, rsdp);
}
