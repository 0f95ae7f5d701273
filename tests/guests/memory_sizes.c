/* SPDX-License-Identifier: MIT */
/*
 * RAM at the edges of the memory map, whatever its size: the first, the middle and the last page of every
 * range are there, each with a frame of its own by the guest's p2m list, and beside them are holes. With the
 * word stay it waits, so that the operator can look.
 */
// conf: p2m = shared
#include "guest/pv/lintel.h"
#include "lib/io.h"
#include "lib/tap.h"

#define PAGES_MAX 64
#define POOL      24
#define MARK      0x5a5a5a5a5a5a5a5aull

struct start {
    u32 magic, version, flags, module_count;
    u64 modules, cmdline, rsdp, map;
    u32 map_count, reserved;
};
struct map_entry {
    u64 start, size;
    u32 type, reserved;
};

extern u64 page_table_4[512];
extern u8 image_end[];

static u64 pool[POOL][512] ALIGNED(4096);
static unsigned pool_used;
static u64 pages[PAGES_MAX];
static unsigned count;
static volatile const u64 *list; /* behind the end of RAM */

/* The table that an entry leads to, made if need be. */
static u64 *table_below(u64 *entry)
{
    if (!(*entry & 1)) {
        if (pool_used == POOL)
            bail_out("too few tables for this memory map");
        *entry = (u64)pool[pool_used++] | 3;
    }
    return (u64 *)(*entry & ~0xfffull);
}

/* The 2 MiB around it, to where they are. The first 4 GiB are mapped from the start. */
static void address_map(u64 address)
{
    u64 *table = table_below(&page_table_4[address >> 39 & 511]);

    table = table_below(&table[address >> 30 & 511]);
    table[address >> 21 & 511] = (address & ~0x1fffffull) | 0x83;
}

static void page_note(u64 page)
{
    bool ours = page < (u64)image_end; /* below is what the loader put there, too */

    for (unsigned i = 0; i < count; i++)
        ours |= pages[i] == page;
    if (ours || count == PAGES_MAX)
        return;
    address_map(page);
    pages[count++] = page;
}

static u64 marked(u64 page)
{
    return page ^ MARK;
}

static unsigned pages_wrong(bool (*wrong)(u64 page))
{
    unsigned found = 0;

    for (unsigned i = 0; i < count; i++)
        if (wrong(pages[i])) {
            say("wrong at %lx", pages[i]);
            found++;
        }
    return found;
}

static bool is_used(u64 page)
{
    return *(volatile u64 *)page != 0;
}

static bool is_not_kept(u64 page)
{
    return *(volatile u64 *)page != marked(page);
}

static bool is_not_listed(u64 page)
{
    bool wrong = list[page >> 12] >= 1ull << 36;

    for (unsigned i = 0; i < count; i++)
        wrong |= pages[i] != page && list[pages[i] >> 12] == list[page >> 12];
    return wrong;
}

static u64 list_show(u64 address)
{
    u64 entries = (u64)lintel_call1(LINTEL_CALL_P2M_MAP, address);

    list = (volatile const u64 *)address;
    for (u64 at = 0; at < entries * 8 && entries < 1ull << 36; at += 0x200000)
        address_map(address + at);
    return entries;
}

/* Neither RAM nor anything in the list; or beyond what the CPU can address. */
static bool is_hole(u64 address, u64 entries)
{
    bool listed = address >> 12 < entries && list[address >> 12] != LINTEL_P2M_MISSING;

    if (address >> (cpuid(0x80000008, 0).eax & 0xff))
        return true;
    address_map(address);
    return *(volatile u64 *)address == ~0ull && !listed;
}

void guest_main(void)
{
    const struct start *start = (const struct start *)start_info;
    const struct map_entry *map = (const struct map_entry *)start->map;
    u64 kib = 0, end = 0, entries = 0;

    plan(6);
    for (u32 i = 0; i < start->map_count; i++) {
        say("%lx + %lx: type %u", map[i].start, map[i].size, map[i].type);
        kib += map[i].size >> 10;
        end = map[i].start + map[i].size;
        page_note(map[i].start);
        page_note((map[i].start + map[i].size / 2) & ~0xfffull);
        page_note(end - 4096);
    }
    ok(pages_wrong(is_used) == 0, "%lu KiB of RAM up to %lx, %u pages to be tried", kib, end, count);
    for (unsigned i = 0; i < count; i++)
        *(volatile u64 *)pages[i] = marked(pages[i]);
    ok(pages_wrong(is_not_kept) == 0, "they were zero, and keep what is written");
    if (lintel_has(LINTEL_FEATURE_P2M))
        entries = list_show(ALIGN_UP(end, 0x200000ull));
    ok(!entries || entries == ((end >> 12) + 511) / 512 * 512, "a list of %lu entries", entries);
    ok(!entries || pages_wrong(is_not_listed) == 0, "each page has a frame of its own");
    ok(is_hole(0xa0000, entries) && is_hole(0xbf000, entries), "a hole below 1 MiB");
    ok((entries || is_hole(end, entries)) && (end <= 0xe0000000 || is_hole(0xe0000000, entries)),
       "a hole behind the end");
    while (word_given("stay"))
        asm volatile("sti; hlt");
}
