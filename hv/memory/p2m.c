/* SPDX-License-Identifier: MIT */
/*
 * The linear p2m list and the page tables that hold its window (contract in the header). Lookups read the
 * window on any CPU without a lock; changes come under the VM's lock and go through the direct map, so the
 * window is read-only.
 *
 *    level 3   the VM's directory-pointer page, private from the start     one entry: 512 GiB of guest memory
 *    level 2   directories                                                 1 GiB
 *    level 1   page tables                                                 2 MiB
 *    level 0   leaves: the list itself                                     one frame
 *
 * Below the directory-pointer page everything begins as one of three shared pages of holes. The first frame
 * in a hole gets private copies of what is still shared on its way, filled and joined aside, linked by one
 * store. So a reader finds the shared page or the finished private one.
 *
 * Other CPUs may remember the shared page for a while after that. They read P2M_INVALID once more, which is
 * harmless: who misses asks p2m_lookup_slow before he acts, and that walks the tables themselves.
 *
 * Leaves that have become empty stay until p2m_destroy. Giving one back earlier would need every CPU's TLB
 * flushed of the window before the frame has a new owner, since a stale translation would read that owner's
 * data as frames.
 */
#include "hv/memory/p2m.h"

#include "arch/x86/machine/cpu.h"
#include "arch/x86/machine/paging.h"
#include "hv/lib/errno.h"

#define LEVELS              3u
#define ENTRIES             512ull
#define LEVEL_FRAMES(level) BIT(9 * (level)) /* guest frames that one entry of this level stands for */

/* Pages of lintel's own tables that lead to the list: never written through, never executed. */
#define WINDOW_ENTRY (PTE_PRESENT | PTE_ACCESSED | PTE_NX)

/*
 * The shared pages of holes by level: the leaf of missing entries, a page table full of it, a directory full
 * of that.
 */
static hpa_t shared_pages[LEVELS];

#ifdef LINTEL_HOST_TEST
#define window_base       p2m_host_window_base
#define window_forget     p2m_host_window_forget
#define window_forget_all p2m_host_window_forget_all
#else
static u64 window_base(u32 window)
{
    return P2M_WINDOW_BASE + window * P2M_WINDOW_SIZE;
}

static void window_forget(const u64 *at)
{
    tlb_flush_page((u64)at);
}

static void window_forget_all(void)
{
    write_cr3(read_cr3());
}
#endif

static u64 *slot_in(hpa_t page, gfn_t gfn, unsigned level)
{
    return (u64 *)phys_to_virt(page) + ((gfn >> (9 * level)) & (ENTRIES - 1));
}

static void page_fill(hpa_t page, u64 entry)
{
    u64 *entries = phys_to_virt(page);

    for (unsigned i = 0; i < ENTRIES; i++)
        entries[i] = entry;
}

/* What a shared page of this level is full of. */
static u64 hole_entry(unsigned level)
{
    return level == 0 ? P2M_INVALID : shared_pages[level - 1] | WINDOW_ENTRY;
}

/* The last private page on the way to gfn, and its level: 0 says it is the leaf. */
static hpa_t private_page(const struct p2m *p2m, gfn_t gfn, unsigned *level)
{
    hpa_t page = p2m->top;
    unsigned at;

    for (at = LEVELS; at > 0; at--) {
        hpa_t below = READ_ONCE(*slot_in(page, gfn, at)) & PTE_ADDRESS;

        if (below == shared_pages[at - 1])
            break;
        page = below;
    }
    *level = at;
    return page;
}

static hpa_t page_take(frame_owner_t owner)
{
    mfn_t mfn = frame_alloc_table(owner);

    return mfn == MFN_INVALID ? 0 : mfn << PAGE_SHIFT;
}

int p2m_global_init(void)
{
    for (unsigned level = 0; level < LEVELS; level++) {
        shared_pages[level] = page_take(FRAME_OWNER_HYPERVISOR);
        if (shared_pages[level] == 0)
            return -ENOMEM;
        page_fill(shared_pages[level], hole_entry(level));
    }
    return 0;
}

int p2m_init(struct p2m *p2m, u32 window, frame_owner_t support)
{
    hpa_t top = page_take(support);

    if (top == 0)
        return -ENOMEM;
    page_fill(top, hole_entry(LEVELS));
    *p2m = (struct p2m){
        .list = (const u64 *)window_base(window),
        .window = window,
        .support = support,
        .top = top,
        .recent = P2M_INVALID,
        .pages = 1,
    };
    paging_set_window(window, top | WINDOW_ENTRY);
    return 0;
}

/* Free the private pages below a page of `level`. */
static void pages_below_free(struct p2m *p2m, hpa_t page, unsigned level)
{
    const u64 *entries = phys_to_virt(page);

    for (unsigned i = 0; level > 0 && i < ENTRIES; i++) {
        hpa_t below = entries[i] & PTE_ADDRESS;

        if (below == shared_pages[level - 1])
            continue;
        pages_below_free(p2m, below, level - 1);
        frame_free(below >> PAGE_SHIFT, 0, p2m->support);
    }
}

void p2m_destroy(struct p2m *p2m)
{
    if (p2m->top == 0)
        return;
    paging_set_window(p2m->window, 0);
    window_forget_all(); /* before anybody else has the frames */
    pages_below_free(p2m, p2m->top, LEVELS);
    frame_free(p2m->top >> PAGE_SHIFT, 0, p2m->support);
    *p2m = (struct p2m){0};
}

/*
 * A private leaf for gfn: `level` new pages below the private page `above`. Its address, or 0: no memory,
 * nothing changed.
 */
static hpa_t leaf_create(struct p2m *p2m, gfn_t gfn, hpa_t above, unsigned level)
{
    hpa_t pages[LEVELS];

    for (unsigned at = 0; at < level; at++) {
        pages[at] = page_take(p2m->support);
        if (pages[at] == 0) {
            while (at > 0)
                frame_free(pages[--at] >> PAGE_SHIFT, 0, p2m->support);
            return 0;
        }
        page_fill(pages[at], hole_entry(at));
        if (at > 0)
            *slot_in(pages[at], gfn, at) = pages[at - 1] | WINDOW_ENTRY;
    }
    __atomic_store_n(slot_in(above, gfn, level), pages[level - 1] | WINDOW_ENTRY, __ATOMIC_RELEASE);
    window_forget(&p2m->list[gfn]);
    p2m->pages += level;
    return pages[0];
}

static __attribute__((noinline)) hpa_t leaf_walk(struct p2m *p2m, gfn_t gfn)
{
    unsigned level;
    hpa_t page = private_page(p2m, gfn, &level);

    if (level != 0)
        page = leaf_create(p2m, gfn, page, level);
    if (page != 0) {
        p2m->recent = gfn / ENTRIES;
        p2m->recent_leaf = page;
    }
    return page;
}

/* The leaf of gfn, made if need be; 0: no memory. */
static hpa_t leaf_private(struct p2m *p2m, gfn_t gfn)
{
    return likely(gfn / ENTRIES == p2m->recent) ? p2m->recent_leaf : leaf_walk(p2m, gfn);
}

static void entry_set(struct p2m *p2m, u64 *slot, u64 entry)
{
    p2m->present += (entry != P2M_INVALID) - (u64)(*slot != P2M_INVALID);
    __atomic_store_n(slot, entry, __ATOMIC_RELEASE);
}

int p2m_set(struct p2m *p2m, gfn_t gfn, u64 entry)
{
    hpa_t leaf;

    if (gfn >= P2M_GFN_LIMIT)
        return -EINVAL;
    if (entry == P2M_INVALID && p2m_lookup_slow(p2m, gfn) == P2M_INVALID)
        return 0; /* a hole needs no leaf to be one */
    leaf = leaf_private(p2m, gfn);
    if (leaf == 0)
        return -ENOMEM;
    entry_set(p2m, slot_in(leaf, gfn, 0), entry);
    return 0;
}

int p2m_add(struct p2m *p2m, gfn_t gfn, u64 entry)
{
    hpa_t leaf;
    u64 *slot;

    if (gfn >= P2M_GFN_LIMIT)
        return -EINVAL;
    leaf = leaf_private(p2m, gfn);
    if (unlikely(leaf == 0))
        return -ENOMEM;
    slot = slot_in(leaf, gfn, 0);
    if (unlikely(*slot != P2M_INVALID))
        return -EEXIST;
    p2m->present++;
    __atomic_store_n(slot, entry, __ATOMIC_RELEASE);
    return 0;
}

int p2m_set_range(struct p2m *p2m, gfn_t gfn, mfn_t mfn, u64 count)
{
    gfn_t end = gfn + count;
    hpa_t leaf = 0;

    if (gfn >= P2M_GFN_LIMIT || count > P2M_GFN_LIMIT - gfn)
        return -EINVAL;
    /* All leaves first: what can fail fails before an entry changes. */
    for (gfn_t at = gfn; at < end; at = ALIGN_DOWN(at, ENTRIES) + ENTRIES)
        if (leaf_private(p2m, at) == 0)
            return -ENOMEM;
    for (gfn_t at = gfn; at < end; at++) {
        if (leaf == 0 || IS_ALIGNED(at, ENTRIES))
            leaf = leaf_private(p2m, at);
        entry_set(p2m, slot_in(leaf, at, 0), mfn + (at - gfn));
    }
    return 0;
}

u64 p2m_lookup_slow(const struct p2m *p2m, gfn_t gfn)
{
    unsigned level;
    hpa_t page;
    u64 entry;

    if (gfn >= P2M_GFN_LIMIT)
        return P2M_INVALID;
    page = private_page(p2m, gfn, &level);
    if (level != 0)
        return P2M_INVALID;
    entry = READ_ONCE(*slot_in(page, gfn, 0));
    if (entry != P2M_INVALID && p2m_lookup(p2m, gfn) == P2M_INVALID)
        window_forget(&p2m->list[gfn]); /* this CPU still had the shared page in its TLB */
    return entry;
}

gfn_t p2m_next_present(const struct p2m *p2m, gfn_t gfn, gfn_t end)
{
    while (gfn < end) {
        unsigned level;
        hpa_t page = private_page(p2m, gfn, &level);

        if (level == 0) {
            const u64 *slot = slot_in(page, gfn, 0);

            do {
                if (READ_ONCE(*slot++) != P2M_INVALID)
                    return gfn;
                gfn++;
            } while (gfn < end && !IS_ALIGNED(gfn, ENTRIES));
        } else {
            gfn = ALIGN_DOWN(gfn, LEVEL_FRAMES(level)) + LEVEL_FRAMES(level);
        }
    }
    return end;
}
