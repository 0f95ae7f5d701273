/* SPDX-License-Identifier: MIT */
/* The remembered walks of instruction fetches (contract in the header; page tables: APM 2, 5.3). */
#include "hv/memory/fetch_cache.h"

#include "arch/x86/machine/paging.h"

void fetch_cache_clear(struct fetch_cache *cache)
{
    for (unsigned i = 0; i < FETCH_CACHE_PAGES; i++)
        cache->pages[i].page = ~0ull;
}

/* The frame in lintel's address space; NULL: never given, or no RAM. */
static const void *frame_of(const struct guest_memory *memory, gfn_t gfn)
{
    u64 mfn = p2m_lookup(&memory->p2m, gfn);

    return mfn == P2M_INVALID ? NULL : phys_to_virt(mfn << PAGE_SHIFT);
}

bool fetch_page_fill(struct fetch_page *page, const struct guest_memory *memory, u64 cr3, gva_t gva)
{
    u64 entry = cr3, inside;
    unsigned level;

    page->page = ~0ull;
    for (level = 0; level < FETCH_CACHE_LEVELS; level++) {
        const u64 *table = frame_of(memory, (entry & PTE_ADDRESS) >> PAGE_SHIFT);

        if (!table)
            return false;
        page->slots[level] = &table[gva >> (39 - 9 * level) & 0x1ff];
        entry = READ_ONCE(*page->slots[level]);
        page->entries[level] = entry;
        if (!(entry & PTE_PRESENT))
            return false;
        if (level > 0 && (entry & PTE_LARGE))
            break;
    }
    level = MIN(level, FETCH_CACHE_LEVELS - 1u);
    inside = BIT(39 - 9 * level) - 1;
    page->code = frame_of(memory, ((entry & PTE_ADDRESS & ~inside) | (gva & inside)) >> PAGE_SHIFT);
    if (!page->code)
        return false;
    for (unsigned i = level + 1; i < FETCH_CACHE_LEVELS; i++) {
        page->slots[i] = page->slots[level];
        page->entries[i] = page->entries[level];
    }
    page->cr3 = cr3;
    page->page = gva & PAGE_MASK;
    return true;
}
