/* SPDX-License-Identifier: MIT */
/* The parser of partition tables (contract in the header). Pure but for the reader it is given. */
#include "hv/storage/partition.h"

#include "hv/lib/errno.h"
#include "hv/lib/printf.h"
#include "hv/lib/string.h"

#define SECTOR PARTITION_SECTOR

struct mbr_entry {
    u8 active, head_first[3], type, head_last[3];
    u32 first, sectors;
} PACKED;

struct mbr {
    struct mbr_entry entries[4];
    u16 signature;
} PACKED;

#define MBR_OFFSET     446 /* behind code */
#define MBR_SIGNATURE  0xaa55
#define MBR_ACTIVE     0x80
#define TYPE_EXTENDED  0x05
#define TYPE_EXTENDED2 0x0f
#define TYPE_EXTENDED3 0x85
#define TYPE_GPT       0xee
#define LOGICAL_FIRST  4 /* part5 */

struct gpt_header {
    u8 signature[8];
    u32 revision, size, sum, reserved;
    u64 self, other, first_usable, last_usable;
    u8 disk[16];
    u64 entries;
    u32 entry_count, entry_size, entries_sum;
} PACKED;
_Static_assert(sizeof(struct gpt_header) == 92, "UEFI 2.10, 5.3.2");

struct gpt_entry {
    u8 type[16], name[16];
    u64 first, last;
} PACKED;
_Static_assert(sizeof(struct gpt_entry) == 48, "the part of UEFI 2.10, 5.3.3, that is read");

#define GPT_ENTRY_MIN   128u
#define GPT_ENTRIES_MAX 1024u
#define GPT_BYTES_MAX   (GPT_ENTRIES_MAX * GPT_ENTRY_MIN)

/* ---------------------------------------------------------------- what both have */

static bool overlap(const struct partition *a, const struct partition *b)
{
    return a->sectors && b->sectors && a->first < b->first + b->sectors && b->first < a->first + a->sectors;
}

/* Two that share a sector are both unusable: whoever has one could write to the other. */
static void overlaps_drop(struct partition_table *table)
{
    bool bad[PARTITIONS_MAX] = {0};

    for (u32 i = 0; i < PARTITIONS_MAX; i++)
        for (u32 j = i + 1; j < PARTITIONS_MAX; j++)
            if (overlap(&table->partitions[i], &table->partitions[j]))
                bad[i] = bad[j] = true;
    for (u32 i = 0; i < PARTITIONS_MAX; i++) {
        if (!bad[i])
            continue;
        table->partitions[i].sectors = 0;
        table->why = "has partitions that overlap, which are left out";
    }
}

/* Sector 0 holds the table itself. */
static void partition_add(struct partition_table *table, struct partition_source *source, u32 number,
                          u64 first, u64 sectors)
{
    if (sectors == 0)
        return;
    if (first == 0 || first >= source->sectors || sectors > source->sectors - first) {
        table->why = "has a partition that does not lie on the drive, which is left out";
        return;
    }
    if (number < PARTITIONS_MAX)
        table->partitions[number] = (struct partition){first, sectors};
    else
        table->why = "has more partitions than are offered";
}

/* ---------------------------------------------------------------- MBR */

static bool is_extended(u8 type)
{
    return type == TYPE_EXTENDED || type == TYPE_EXTENDED2 || type == TYPE_EXTENDED3;
}

_Static_assert(MBR_OFFSET + sizeof(struct mbr) == SECTOR, "UEFI 2.10, 5.2.1");

/* Also the first sector of a file system may have the signature; its code is no table. */
static bool is_table(const struct mbr *mbr)
{
    if (mbr->signature != MBR_SIGNATURE)
        return false;
    for (u32 i = 0; i < ARRAY_SIZE(mbr->entries); i++)
        if (mbr->entries[i].active & ~MBR_ACTIVE)
            return false;
    return true;
}

static int mbr_load(struct partition_source *source, u64 sector, struct mbr *mbr)
{
    int error = source->read(source, sector);

    memcpy(mbr, source->sector + MBR_OFFSET, sizeof(*mbr));
    return error;
}

/*
 * Each link names one partition, from the link on, and the next link, from the container on. Links come in
 * any order, so their number is what ends a circle.
 */
static int logical_read(struct partition_source *source, struct partition_table *table,
                        const struct mbr_entry *container)
{
    u64 base = container->first, link = base;
    struct mbr mbr;

    for (u32 number = LOGICAL_FIRST; number <= PARTITIONS_MAX; number++) {
        const struct mbr_entry *data = &mbr.entries[0], *next = &mbr.entries[1];
        int error = link < source->sectors ? mbr_load(source, link, &mbr) : -EINVAL;

        if (error && error != -EINVAL)
            return error;
        if (error || !is_table(&mbr)) {
            table->why = "has a broken chain of logical partitions";
            return 0;
        }
        if (data->type && !is_extended(data->type))
            partition_add(table, source, number, link + data->first, data->sectors);
        if (!is_extended(next->type) || !next->sectors)
            return 0;
        link = base + next->first;
    }
    return 0;
}

static int mbr_read(struct partition_source *source, struct partition_table *table, const struct mbr *mbr)
{
    bool chained = false;

    table->kind = PARTITIONS_MBR;
    for (u32 i = 0; i < ARRAY_SIZE(mbr->entries); i++) {
        const struct mbr_entry *entry = &mbr->entries[i];

        if (entry->type && !is_extended(entry->type))
            partition_add(table, source, i, entry->first, entry->sectors);
    }
    for (u32 i = 0; i < ARRAY_SIZE(mbr->entries) && !chained; i++) {
        int error;

        if (!is_extended(mbr->entries[i].type))
            continue;
        error = logical_read(source, table, &mbr->entries[i]);
        if (error)
            return error;
        chained = true;
    }
    return 0;
}

/* ---------------------------------------------------------------- GPT */

static u32 crc32_add(u32 crc, const void *data, size_t bytes)
{
    const u8 *at = data;

    while (bytes-- > 0) {
        crc ^= *at++;
        for (u32 bit = 0; bit < 8; bit++)
            crc = crc >> 1 ^ (crc & 1 ? 0xedb88320u : 0);
    }
    return crc;
}

/* The header in this sector; -EINVAL: it is not to be believed. */
static int gpt_header_read(struct partition_source *source, u64 sector, struct gpt_header *header)
{
    u8 *bytes = source->sector;
    int error = source->read(source, sector);
    u32 sum;

    if (error)
        return error;
    memcpy(header, bytes, sizeof(*header));
    if (memcmp(header->signature, "EFI PART", 8) != 0 || header->size < sizeof(*header) ||
        header->size > SECTOR || header->self != sector)
        return -EINVAL;
    sum = header->sum;
    memset(bytes + offsetof(struct gpt_header, sum), 0, sizeof(sum));
    if (~crc32_add(~0u, bytes, header->size) != sum)
        return -EINVAL;
    if (header->entry_size < GPT_ENTRY_MIN || header->entry_size > SECTOR ||
        header->entry_size & (header->entry_size - 1) || header->entry_count == 0 ||
        header->entry_count > GPT_BYTES_MAX / header->entry_size)
        return -EINVAL;
    if (header->last_usable >= source->sectors || header->first_usable > header->last_usable ||
        header->entries >= source->sectors)
        return -EINVAL;
    return 0;
}

static void gpt_entry_add(struct partition_source *source, struct partition_table *table,
                          const struct gpt_header *header, u32 number, const u8 *at)
{
    static const u8 unused[16];
    struct gpt_entry entry;

    memcpy(&entry, at, sizeof(entry));
    if (memcmp(entry.type, unused, sizeof(unused)) == 0)
        return;
    if (entry.first < header->first_usable || entry.last > header->last_usable || entry.first > entry.last)
        table->why = "has a partition that does not lie on the drive, which is left out";
    else
        partition_add(table, source, number, entry.first, entry.last - entry.first + 1);
}

/* -EINVAL: their sum is wrong; then table is not what it was. */
static int gpt_entries_read(struct partition_source *source, const struct gpt_header *header,
                            struct partition_table *table)
{
    u64 bytes = (u64)header->entry_count * header->entry_size, done = 0;
    u32 sum = ~0u;

    while (done < bytes) {
        u64 sector = header->entries + done / SECTOR, part = MIN(bytes - done, SECTOR);
        int error = sector < source->sectors ? source->read(source, sector) : -EINVAL;

        if (error)
            return error;
        sum = crc32_add(sum, source->sector, part);
        for (u32 at = 0; at < part; at += header->entry_size)
            gpt_entry_add(source, table, header, (u32)((done + at) / header->entry_size),
                          source->sector + at);
        done += part;
    }
    return ~sum == header->entries_sum ? 0 : -EINVAL;
}

static void table_clear(struct partition_table *table, enum partition_table_kind kind)
{
    memset(table, 0, sizeof(*table));
    table->kind = kind;
}

/* The first copy behind the MBR, or else the second one in the last sector. */
static int gpt_read(struct partition_source *source, struct partition_table *table)
{
    const u64 places[] = {1, source->sectors - 1};
    struct gpt_header header;

    for (u32 i = 0; i < ARRAY_SIZE(places); i++) {
        int error;

        table_clear(table, PARTITIONS_GPT);
        error = gpt_header_read(source, places[i], &header);
        if (!error)
            error = gpt_entries_read(source, &header, table);
        if (error && error != -EINVAL)
            return error;
        if (!error && i > 0)
            table->why = "has a broken first copy; the second one is taken";
        if (!error)
            return 0;
    }
    table_clear(table, PARTITIONS_GPT);
    table->why = "has two broken copies; no partition is offered";
    return 0;
}

/* ---------------------------------------------------------------- which of them */

int partition_table_read(struct partition_source *source, struct partition_table *table)
{
    struct mbr mbr;
    bool gpt = false;
    int error;

    table_clear(table, PARTITIONS_NONE);
    if (source->sectors < 3)
        return 0;
    error = mbr_load(source, 0, &mbr);
    if (error)
        return error;
    if (!is_table(&mbr))
        return 0;
    for (u32 i = 0; i < ARRAY_SIZE(mbr.entries); i++)
        gpt |= mbr.entries[i].type == TYPE_GPT;
    error = gpt ? gpt_read(source, table) : mbr_read(source, table, &mbr);
    if (!error)
        overlaps_drop(table);
    return error;
}

void partition_names(const struct partition_table *table, char *list, size_t size)
{
    list[0] = '\0';
    for (u32 i = 0; i < PARTITIONS_MAX; i++) {
        size_t used = strlen(list);

        if (table->partitions[i].sectors && used + sizeof(", part32") <= size)
            snprintf(list + used, size - used, "%spart%u", used ? ", " : "", i + 1);
    }
}

/* ---------------------------------------------------------------- images in memory */

struct file_source {
    struct partition_source source;
    const struct boot_file *file;
};

static int file_read(struct partition_source *source, u64 number)
{
    const struct boot_file *file = container_of(source, struct file_source, source)->file;

    memcpy(source->sector, file->start + number * SECTOR, SECTOR);
    return 0;
}

void partition_table_of_file(const struct boot_file *file, struct partition_table *table)
{
    struct file_source reader = {{file_read, file->size / SECTOR, {0}}, file};

    partition_table_read(&reader.source, table);
}
