/* SPDX-License-Identifier: MIT */
/*
 * Where instructions that exit were found before, per vCPU. A CPU that does not tell the length of an instruction makes lintel
 * look at its bytes at each exit, through the guest's four levels of page tables. The walk is remembered as the entries it
 * went through: when each of them still reads the same, so is its result. The vCPU's own CPU.
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
};

struct fetch_cache {
    struct fetch_page pages[FETCH_CACHE_PAGES];
};

void fetch_cache_clear(struct fetch_cache *cache);

/*
 * The four bytes at gva, which the CPU has just executed in 64-bit mode with four levels of tables at cr3. false: they can't be had
 * this way (over the end of the page, tables changed under us): decode the long way.
 */
bool fetch_cache_read(struct fetch_cache *cache, const struct guest_memory *memory, u64 cr3, gva_t gva,
                      u32 *bytes);

#endif
