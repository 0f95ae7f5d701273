/* SPDX-License-Identifier: MIT */
/* The remembered walks of instruction fetches (contract in the header; page tables: APM 2, 5.3). */
#include "hv/memory/fetch_cache.h"

#include "arch/x86/machine/paging.h"

void fetch_cache_clear(struct fetch_cache *cache)
{
    for (unsigned i = 0; i < FETCH_CACHE_PAGES; i++)
        cache->pages[i].page = ~0ull;
}

static const void *frame_of(const struct guest_memory *memory, gfn_t gfn)
{
    u64 mfn = p2m_lookup(&memory->p2m, gfn);

    return mfn == P2M_INVALID ? NULL : phys_to_virt(mfn << PAGE_SHIFT);
}

/* Walk and remember; false leaves nothing remembered. */
static __attribute__((noinline)) bool fill(struct fetch_page *page, const struct guest_memory *memory,
                                           u64 cr3, gva_t at)
{
    u64 entry = cr3, inside;
    unsigned level;

    page->page = ~0ull;
    for (level = 0; level < FETCH_CACHE_LEVELS; level++) {
        unsigned shift = 39 - 9 * level;
        const u64 *table = frame_of(memory, (entry & PTE_ADDRESS) >> PAGE_SHIFT);

        if (!table)
            return false;
        page->slots[level] = &table[at >> shift & 0x1ff];
        entry = READ_ONCE(*page->slots[level]);
        page->entries[level] = entry;
        if (!(entry & PTE_PRESENT))
            return false;
        if (level > 0 && level < 3 && (entry & PTE_LARGE))
            break;
    }
    level = MIN(level, FETCH_CACHE_LEVELS - 1u);
    inside = BIT(39 - 9 * level) - 1;
    page->code = frame_of(memory, ((entry & PTE_ADDRESS & ~inside) | (at & inside)) >> PAGE_SHIFT);
    if (!page->code)
        return false;
    for (unsigned i = level + 1; i < FETCH_CACHE_LEVELS; i++) {
        page->slots[i] = page->slots[level];
        page->entries[i] = page->entries[level];
    }
    page->cr3 = cr3;
    page->page = at & PAGE_MASK;
    return true;
}

static inline bool is_unchanged(const struct fetch_page *page)
{
    return READ_ONCE(*page->slots[0]) == page->entries[0] && READ_ONCE(*page->slots[1]) == page->entries[1] &&
           READ_ONCE(*page->slots[2]) == page->entries[2] && READ_ONCE(*page->slots[3]) == page->entries[3];
}

bool fetch_cache_read(struct fetch_cache *cache, const struct guest_memory *memory, u64 cr3, gva_t gva,
                      u32 *bytes)
{
    struct fetch_page *page = &cache->pages[gva >> PAGE_SHIFT & (FETCH_CACHE_PAGES - 1)];
    u64 offset = gva & ~PAGE_MASK;

    if (unlikely(offset > PAGE_SIZE - sizeof(*bytes)))
        return false;
    if (unlikely(page->page != gva - offset || page->cr3 != cr3 || !is_unchanged(page)) &&
        !fill(page, memory, cr3, gva))
        return false;
    __builtin_memcpy(bytes, page->code + offset, sizeof(*bytes));
    return true;
}
