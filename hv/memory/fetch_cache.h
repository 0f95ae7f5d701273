/* SPDX-License-Identifier: MIT */
/*
 * Where instructions that exit were found before, per vCPU. A CPU that does not tell the length of an
 * instruction makes lintel look at its bytes at each exit, through the guest's four levels of page tables.
 * The walk is remembered as the entries it went through: when each of them still reads the same, so is its
 * result. The vCPU's own CPU.
 *
 * Must be cleared when frames leave the guest (REQUEST_FLUSH) and at reset, since it points at frames.
 */
#ifndef HV_MEMORY_FETCH_CACHE_H
#define HV_MEMORY_FETCH_CACHE_H

#include "hv/memory/guest_walk.h"

#define FETCH_CACHE_PAGES  8
#define FETCH_CACHE_LEVELS 4

struct fetch_page {
    gva_t page; /* ~0: nothing remembered */
    u64 cr3;
    const u64
        *slots[FETCH_CACHE_LEVELS]; /* of the entries passed; a large page's missing levels repeat its own */
    u64 entries[FETCH_CACHE_LEVELS];
    const u8 *code; /* the page in lintel's address space */
} ALIGNED(128);

struct fetch_cache {
    struct fetch_page pages[FETCH_CACHE_PAGES];
};

void fetch_cache_clear(struct fetch_cache *cache);

static inline struct fetch_page *fetch_cache_page(struct fetch_cache *cache, gva_t gva)
{
    return &cache->pages[gva >> PAGE_SHIFT & (FETCH_CACHE_PAGES - 1)];
}

/* Is the walk that ended here still right for gva under cr3? (64-bit mode, four levels of tables.) */
static inline bool fetch_page_holds(const struct fetch_page *page, u64 cr3, gva_t gva)
{
    return page->page == (gva & PAGE_MASK) && page->cr3 == cr3 &&
           READ_ONCE(*page->slots[0]) == page->entries[0] && READ_ONCE(*page->slots[1]) == page->entries[1] &&
           READ_ONCE(*page->slots[2]) == page->entries[2] && READ_ONCE(*page->slots[3]) == page->entries[3];
}

/* Four bytes at gva, which may be the last of the page and beyond: fetch_page_has tells. */
static inline u32 fetch_page_bytes(const struct fetch_page *page, gva_t gva)
{
    u32 bytes;

    __builtin_memcpy(&bytes, page->code + (gva & ~PAGE_MASK), sizeof(bytes));
    return bytes;
}

static inline bool fetch_page_has(gva_t gva)
{
    return (gva & ~PAGE_MASK) <= PAGE_SIZE - sizeof(u32);
}

/*
 * Walk for gva, which the CPU has just executed under cr3, and remember it. false: the tables changed
 * meanwhile; nothing is remembered.
 */
bool fetch_page_fill(struct fetch_page *page, const struct guest_memory *memory, u64 cr3, gva_t gva);

#endif
