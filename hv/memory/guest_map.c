/* SPDX-License-Identifier: MIT */
/*
 * Where a guest has RAM, and what its memory map says about it. Laid out once at creation, as on a PC; types
 * change only while the guest is being built. No lock.
 */
#include "hv/lib/errno.h"
#include "hv/lib/string.h"
#include "hv/memory/guest_memory.h"

#define LOW_RAM_END    0x9f000ull /* below lies RAM, as the memory map says */
#define LOW_END        0xa0000ull /* up to here it is reserved: the extended BIOS data area of a PC */
#define FIRMWARE_START 0xc0000ull /* option ROMs, ACPI and SMBIOS tables are searched for here */
#define FIRMWARE_END   0x100000ull
#define BELOW_4G_END   0xc0000000ull

static void region_add(struct guest_memory *memory, gpa_t start, gpa_t end, enum guest_region_type type)
{
    if (start >= end)
        return;
    memory->regions[memory->region_count++] = (struct guest_region){start, end, type};
    memory->frames += (end - start) / PAGE_SIZE;
}

int guest_memory_lay_out(struct guest_memory *memory, u64 bytes)
{
    u64 above = bytes > BELOW_4G_END ? bytes - BELOW_4G_END : 0;

    if (!IS_ALIGNED(bytes, PAGE_SIZE) || bytes < FIRMWARE_END ||
        bytes > (P2M_GFN_LIMIT << PAGE_SHIFT) - SIZE_4G)
        return -EINVAL;
    memory->region_count = 0;
    memory->frames = 0;
    region_add(memory, 0, LOW_RAM_END, REGION_RAM);
    region_add(memory, LOW_RAM_END, LOW_END, REGION_RESERVED);
    region_add(memory, FIRMWARE_START, FIRMWARE_END, REGION_RESERVED);
    region_add(memory, FIRMWARE_END, MIN(bytes, BELOW_4G_END), REGION_RAM);
    region_add(memory, SIZE_4G, SIZE_4G + above, REGION_RAM);
    return 0;
}

bool guest_memory_is_backed(const struct guest_memory *memory, gpa_t gpa, u64 bytes)
{
    gpa_t end = gpa + bytes;

    if (bytes > ~gpa)
        return false;
    for (u32 i = 0; i < memory->region_count && gpa < end; i++)
        if (gpa >= memory->regions[i].start && gpa < memory->regions[i].end)
            gpa = memory->regions[i].end;
    return gpa >= end;
}

/* Regions being rebuilt: neighbours of one type are one. */
static int region_append(struct guest_region *regions, u32 *count, struct guest_region region)
{
    struct guest_region *last = *count > 0 ? &regions[*count - 1] : NULL;

    if (region.start >= region.end)
        return 0;
    if (last != NULL && last->end == region.start && last->type == region.type) {
        last->end = region.end;
        return 0;
    }
    if (*count == GUEST_REGIONS)
        return -ENOSPC;
    regions[(*count)++] = region;
    return 0;
}

int guest_memory_set_type(struct guest_memory *memory, gpa_t start, gpa_t end, enum guest_region_type type)
{
    struct guest_region regions[GUEST_REGIONS];
    u32 count = 0;

    if (start >= end || !IS_ALIGNED(start | end, PAGE_SIZE) ||
        !guest_memory_is_backed(memory, start, end - start))
        return -EINVAL;
    for (u32 i = 0; i < memory->region_count; i++) {
        const struct guest_region old = memory->regions[i];
        gpa_t from = MIN(MAX(start, old.start), old.end), to = MIN(MAX(end, old.start), old.end);

        if (region_append(regions, &count, (struct guest_region){old.start, from, old.type}) ||
            region_append(regions, &count, (struct guest_region){from, to, type}) ||
            region_append(regions, &count, (struct guest_region){to, old.end, old.type}))
            return -ENOSPC;
    }
    memcpy(memory->regions, regions, count * sizeof(regions[0]));
    memory->region_count = count;
    return 0;
}
