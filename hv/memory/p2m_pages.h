/* SPDX-License-Identifier: MIT */
/*
 * The pages behind a p2m list (p2m_pages.c), for p2m.c alone. Under the VM's lock but for p2m_page_find.
 *
 *    level 3   the VM's directory-pointer page, private from the start     one entry: 512 GiB of guest memory
 *    level 2   directories                                                 1 GiB
 *    level 1   page tables                                                 2 MiB
 *    level 0   leaves: the list itself                                     one frame
 */
#ifndef HV_MEMORY_P2M_PAGES_H
#define HV_MEMORY_P2M_PAGES_H

#include "arch/x86/machine/paging.h"
#include "hv/memory/p2m.h"

#define LEVEL_FRAMES(level) BIT(9 * (level)) /* guest frames that one entry of this level stands for */

enum p2m_hole { HOLE_MISSING, HOLE_IDENTITY, HOLE_KINDS };

static inline u64 *p2m_slot(hpa_t page, gfn_t gfn, unsigned level)
{
    return (u64 *)phys_to_virt(page) + ((gfn >> (9 * level)) & (P2M_ENTRIES - 1));
}

/*
 * The last private page on the way to gfn, and its level: 0 says it is the leaf, any other that a hole of the
 * told kind begins below it.
 */
hpa_t p2m_page_find(const struct p2m *p2m, gfn_t gfn, unsigned *level, enum p2m_hole *hole);
/* The private page of `target` level on the way to gfn, made if need be; 0: no memory, nothing changed. */
hpa_t p2m_page_make(struct p2m *p2m, gfn_t gfn, unsigned target);
/* Let the entry for gfn in the private `page` of `level` (not 0) point to a shared hole. */
void p2m_hole_set(struct p2m *p2m, hpa_t page, gfn_t gfn, unsigned level, enum p2m_hole hole);
/* This CPU's TLB forgets what leads to gfn's entry. */
void p2m_window_forget(const struct p2m *p2m, gfn_t gfn);

/* Around each change: readers of memory images see an odd generation meanwhile. x86 keeps stores in order. */
static inline void p2m_change_begin(struct p2m *p2m)
{
    asm volatile("incq %0" : "+m"(p2m->info->generation) : : "memory");
}

static inline void p2m_change_end(struct p2m *p2m)
{
    asm volatile("incq %0" : "+m"(p2m->info->generation) : : "memory");
}

#endif
