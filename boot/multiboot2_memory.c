/* SPDX-License-Identifier: MIT */
/*
 * RAM as the boot loader tells it: the plain memory map, else the EFI map, else two sizes. Called by
 * multiboot2.c on the boot CPU; the chain of tags has been checked.
 */
#include "boot/memory_ranges.h"
#include "boot/multiboot2_parser.h"

#include "arch/x86/machine/paging.h"
#include "hv/lib/errno.h"
#include "hv/lib/string.h"

#define ONE_MIB        0x100000ull
#define LOWER_KIB_MOST 640u

/* One entry of a map; returns whether it is RAM that lintel may use. */
typedef bool (*map_entry_fn)(const u8 *entry, u64 *start, u64 *bytes);

static bool plain_entry(const u8 *at, u64 *start, u64 *bytes)
{
    struct multiboot2_map_entry entry;

    memcpy(&entry, at, sizeof(entry));
    *start = entry.start;
    *bytes = entry.bytes;
    return entry.type == MEMORY_AVAILABLE;
}

/* Boot services have ended: what was theirs and the loader's is RAM like any other (UEFI 2.9, table 7-10). */
static bool efi_entry(const u8 *at, u64 *start, u64 *bytes)
{
    struct efi_memory_descriptor entry;

    memcpy(&entry, at, sizeof(entry));
    *start = entry.start;
    *bytes = MIN(entry.pages, ~0ull >> PAGE_SHIFT) << PAGE_SHIFT;
    return entry.type == EFI_CONVENTIONAL ||
           (entry.type >= EFI_LOADER_CODE && entry.type <= EFI_BOOT_SERVICES_DATA);
}

static const struct map_format {
    u32 tag_type, entry_bytes;
    map_entry_fn entry;
} map_formats[] = {
    {TAG_MEMORY_MAP, sizeof(struct multiboot2_map_entry), plain_entry},
    {TAG_EFI_MAP, sizeof(struct efi_memory_descriptor), efi_entry},
};

/* Apply those entries of one map tag that are usable, or those that are not. */
static void map_apply(struct memory_ranges *ranges, const struct map_format *format, const u8 *at,
                      bool usable)
{
    struct multiboot2_map map;
    u64 start, bytes, end;

    memcpy(&map, at, sizeof(map));
    if (map.entry_size < format->entry_bytes)
        return;
    for (size_t offset = sizeof(map); map.tag.size - offset >= map.entry_size; offset += map.entry_size) {
        if (format->entry(at + offset, &start, &bytes) != usable)
            continue;
        end = bytes > ~0ull - start ? ~0ull : start + bytes;
        if (usable)
            memory_ranges_add(ranges, start, end);
        else
            memory_ranges_subtract(ranges, ALIGN_DOWN(start, PAGE_SIZE), end);
    }
}

/*
 * All maps of one format. RAM first, then everything else is taken out of it, so that what is not RAM wins
 * where they overlap.
 */
static void maps_apply(const struct parser *parser, struct memory_ranges *ranges,
                       const struct map_format *format)
{
    for (int usable = 1; usable >= 0; usable--) {
        for (const u8 *at = tag_first(parser); at; at = tag_next(at)) {
            if (tag_header(at).type == format->tag_type &&
                tag_header(at).size >= sizeof(struct multiboot2_map))
                map_apply(ranges, format, at, usable);
        }
    }
}

/* The last resort of a loader without any map: two sizes. */
static void basic_memory_apply(const struct parser *parser, struct memory_ranges *ranges)
{
    struct multiboot2_basic_memory memory;

    for (const u8 *at = tag_first(parser); at; at = tag_next(at)) {
        if (tag_header(at).type != TAG_BASIC_MEMORY || tag_header(at).size < sizeof(memory))
            continue;
        memcpy(&memory, at, sizeof(memory));
        memory_ranges_add(ranges, 0, MIN(memory.lower_kib, LOWER_KIB_MOST) * 1024ull);
        memory_ranges_add(ranges, ONE_MIB, ONE_MIB + memory.upper_kib * 1024ull);
    }
}

int multiboot2_parse_memory(struct parser *parser)
{
    struct boot_info *info = parser->info;
    struct memory_ranges ranges = {.list = info->ram, .most = BOOT_RANGES};

    for (unsigned i = 0; i < ARRAY_SIZE(map_formats) && ranges.count == 0; i++)
        maps_apply(parser, &ranges, &map_formats[i]);
    if (ranges.count == 0)
        basic_memory_apply(parser, &ranges);
    memory_ranges_align(&ranges);
    memory_ranges_subtract(&ranges, 0, PAGE_SIZE); /* address 0 means "none" to everybody */
    memory_ranges_subtract(&ranges, DIRECT_MAP_SIZE, ~0ull);
    info->ram_count = ranges.count;
    if (ranges.lost)
        multiboot2_skip(parser, "the memory map has too many pieces: %llu KiB of RAM stay unused",
                        (unsigned long long)(ranges.lost >> 10));
    if (ranges.count > 0)
        return 0;
    parser->why[0] = 0;
    multiboot2_skip(parser, "the boot loader names no usable RAM");
    return -EINVAL;
}
