/* SPDX-License-Identifier: MIT */
/* All RAM that the memory map names is there, is zero before anybody wrote it, and keeps what is written. */
// conf: memory = 128M
#include "lib/io.h"
#include "lib/tap.h"

/* struct hvm_start_info and its map (Xen's public/arch-x86/hvm/start_info.h). */
struct start {
    u32 magic, version, flags, module_count;
    u64 modules, cmdline, rsdp, map;
    u32 map_count, reserved;
};
struct map_entry {
    u64 start, size;
    u32 type, reserved;
};
_Static_assert(sizeof(struct start) == 56 && sizeof(struct map_entry) == 24, "layout of the PVH ABI");

extern u8 image_start[], image_end[];

/*
 * What a loader may put into RAM lies below 1 MiB or with the image: those pages are not expected to be
 * empty.
 */
static bool is_ours(u64 page)
{
    u64 info = start_info & ~0xfffull;

    return page < 0x100000 || (page >= (u64)image_start && page < (u64)image_end) || page == info;
}

static bool page_is_zero(u64 page)
{
    const u64 *word = (const u64 *)page;
    unsigned i;

    for (i = 0; i < 512; i++)
        if (word[i])
            return false;
    return true;
}

static u64 pages_walk(const struct map_entry *map, u32 count, bool (*good)(u64 page), u64 *bad)
{
    u64 pages = 0, page;
    u32 i;

    *bad = 0;
    for (i = 0; i < count; i++) {
        if (map[i].type != 1 || map[i].start >= 0x100000000)
            continue;
        for (page = ALIGN_UP(map[i].start, 4096ull); page + 4096 <= map[i].start + map[i].size;
             page += 4096) {
            if (is_ours(page))
                continue;
            pages++;
            if (!good(page) && !*bad)
                *bad = page;
        }
    }
    return pages;
}

static bool page_mark(u64 page)
{
    *(volatile u64 *)page = page ^ 0x5a5a5a5a;
    *(volatile u64 *)(page + 4088) = ~page;
    return true;
}

static bool page_is_marked(u64 page)
{
    return *(volatile u64 *)page == (page ^ 0x5a5a5a5a) && *(volatile u64 *)(page + 4088) == ~page;
}

void guest_main(void)
{
    const struct start *start = (const struct start *)start_info;
    const struct map_entry *map = (const struct map_entry *)start->map;
    u64 pages, bad, total = 0;
    u32 i;

    plan(6);
    ok(start->magic == 0x336ec578 && start->version >= 1, "a start_info of version %u", start->version);
    for (i = 0; i < start->map_count; i++) {
        say("%lx + %lx: type %u", map[i].start, map[i].size, map[i].type);
        total += map[i].type == 1 ? map[i].size : 0;
    }
    ok(total <= 128 << 20 && total >= 126 << 20, "nearly all of 128 MiB is usable: %lu KiB", total >> 10);
    pages = pages_walk(map, start->map_count, page_is_zero, &bad);
    ok(!bad, "%lu pages are zero at the start (%lx)", pages, bad);
    pages_walk(map, start->map_count, page_mark, &bad);
    pages_walk(map, start->map_count, page_is_marked, &bad);
    ok(!bad, "all keep what is written (%lx)", bad);
    ok(start->rsdp && *(const u64 *)start->rsdp == 0x2052545020445352,
       "ACPI's root pointer is where start_info says");
    ok(*(volatile u32 *)(map[start->map_count - 1].start + map[start->map_count - 1].size > 0xc0000000
                             ? 0xd0000000ull
                             : 128ull << 20) == 0xffffffff,
       "behind the end nothing is");
}
