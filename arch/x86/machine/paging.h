/* SPDX-License-Identifier: MIT */
/*
 * lintel's own address space: one set of page tables for all CPUs.
 *
 *   ffff8000_00000000  direct map of RAM (large pages, no execute; the image's text and rodata read-only)
 *   ffffc000_00000000  dynamic: device memory and stacks with a guard page below each
 *   ffffc800_00000000  one window of 512 GiB (one PML4 entry) per VM for its linear p2m list
 *   ffffffff_80000000  the image: text r-x, rodata r--, data and bss rw-
 *
 * Boot CPU alone until paging_init is through, then under the paging lock. AMD APM 2, chapter 5.
 */
#ifndef ARCH_X86_MACHINE_PAGING_H
#define ARCH_X86_MACHINE_PAGING_H

#include "hv/lib/types.h"

#define DIRECT_MAP_BASE 0xffff800000000000ull
#define DIRECT_MAP_SIZE (1ull << 46)
#define DYNAMIC_BASE    0xffffc00000000000ull
#define P2M_WINDOW_BASE 0xffffc80000000000ull
#define P2M_WINDOW_SIZE (1ull << 39)
#define P2M_WINDOW_MAX  64
#define IMAGE_BASE      0xffffffff80000000ull

#define PTE_PRESENT       BIT(0)
#define PTE_WRITE         BIT(1)
#define PTE_USER          BIT(2)
#define PTE_WRITE_THROUGH BIT(3)
#define PTE_CACHE_DISABLE BIT(4)
#define PTE_ACCESSED      BIT(5)
#define PTE_DIRTY         BIT(6)
#define PTE_LARGE         BIT(7)
#define PTE_GLOBAL        BIT(8)
#define PTE_NX            BIT(63)
#define PTE_ADDRESS       BITS(51, 12)

#ifdef LINTEL_HOST_TEST
/* Host tests supply the machine's memory themselves. */
void *phys_to_virt(hpa_t hpa);
hpa_t virt_to_phys(const void *at);
#else
static inline void *phys_to_virt(hpa_t hpa)
{
    return (void *)(DIRECT_MAP_BASE + hpa);
}

/* For addresses in the direct map or the image alone. */
static inline hpa_t virt_to_phys(const void *at)
{
    u64 address = (u64)at;

    return address >= IMAGE_BASE ? address - IMAGE_BASE : address - DIRECT_MAP_BASE;
}
#endif

enum paging_cache { CACHE_WRITE_BACK, CACHE_UNCACHED, CACHE_WRITE_COMBINING };
#define MAP_WRITE BIT(0)

/* Where page-table pages come from: a zeroed frame of the hypervisor, or 0 when there is none. */
typedef hpa_t (*paging_alloc_fn)(void);

struct paging_ram {
    hpa_t start, end;
};

/*
 * Build the final tables and switch to them. ram: what the direct map covers. Until then the boot tables map
 * the first 4 GiB at DIRECT_MAP_BASE, so alloc must return frames below 4 GiB. Panics when memory is short.
 */
void paging_init(const struct paging_ram *ram, unsigned count, paging_alloc_fn alloc);

/*
 * Map device memory (or firmware tables) somewhere in the dynamic area: any alignment, returns the address of
 * hpa's first byte, or NULL when there is no memory. flags: MAP_WRITE. Never executable.
 */
void *paging_map_device(hpa_t hpa, u64 size, enum paging_cache cache, u64 flags);
void paging_unmap_device(const void *at, u64 size);

/*
 * A stack of CPU_STACK_SIZE aligned to its size, with an unmapped guard page below; returns its top, beneath
 * the pointer to cpu that it plants, or 0 when there is no memory.
 */
struct cpu;
u64 paging_create_stack(struct cpu *cpu);

/* The top-level entry that covers a p2m window; entry 0 removes it. The caller flushes. */
void paging_set_window(unsigned window, u64 entry);

/*
 * Walk the live tables: panics when a page is both writable and executable, or when a frame that is
 * executable somewhere is writable elsewhere. Returns the number of leaf entries seen.
 */
u64 paging_verify(void);

/*
 * Whether the live tables map address (for reports, before something is read that may be garbage). Any CPU.
 */
bool paging_is_mapped(u64 address);

/* Their root, as CR3 takes it. */
hpa_t paging_root(void);

/* Load the final tables on another CPU, with NX, WP, SMEP, SMAP, UMIP as this CPU has them. */
void paging_load(void);

#endif
