/* SPDX-License-Identifier: MIT */
/*
 * The pages behind the linear p2m list (contract in p2m.h and p2m_pages.h): the page tables of its window,
 * the shared pages that stand for holes, and the tree of machine frame numbers that says the same.
 *
 * Below the directory-pointer page everything begins as one of three shared pages of holes; there is a set of
 * them for missing entries and one for identity. All leaves of holes read P2M_INVALID; which page it is tells
 * the two apart. The first entry in a hole gets private copies of what is still shared on its way, filled and
 * joined aside, linked by one store. So a reader finds the shared page or the finished private one.
 *
 * Other CPUs may remember the shared page for a while after that. They read P2M_INVALID once more, which is
 * harmless: who misses asks p2m_lookup_slow before he acts, and that walks the tables themselves.
 *
 * The other way round it is not: an empty leaf that were given away while some TLB still leads to it would
 * show its new owner's data as frames. So it is taken out of the tables, empty as it is, and given away when
 * all TLBs were flushed: p2m_collect, between turns of vCPUs.
 */
#include "hv/memory/p2m_pages.h"

#include "arch/x86/machine/cpu.h"
#include "hv/lib/errno.h"
#include "hv/lib/string.h"

/* Pages of lintel's own tables that lead to the list: never written through, never executed. */
#define WINDOW_ENTRY (PTE_PRESENT | PTE_ACCESSED | PTE_NX)

_Static_assert(sizeof(struct p2m_info) <= PAGE_SIZE, "the info page is one page");
_Static_assert(__builtin_offsetof(struct p2m_info, generation) == 16, "docs/abi.md");
_Static_assert(__builtin_offsetof(struct p2m_info, identity) == 40, "docs/abi.md");

/* By kind of hole and level: the leaf, a page table full of it, a directory full of that. */
static hpa_t shared_pages[HOLE_KINDS][P2M_LEVELS];
/* The tree's: [0] is the leaf again, the others are full of the number of the one before. */
static hpa_t shared_tree[HOLE_KINDS][P2M_LEVELS];

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

void p2m_windows_forget(void)
{
    window_forget_all();
}

static void (*flush_hook)(void) = p2m_windows_forget;

void p2m_set_flush_hook(void (*flush)(void))
{
    flush_hook = flush;
}

void p2m_window_forget(const struct p2m *p2m, gfn_t gfn)
{
    window_forget(&p2m->list[gfn]);
}

/* ---- shared pages ---- */

static void page_fill(hpa_t page, u64 entry, u64 step)
{
    u64 *entries = phys_to_virt(page);

    for (unsigned i = 0; i < P2M_ENTRIES; i++, entry += step)
        entries[i] = entry;
}

static hpa_t page_take(frame_owner_t owner)
{
    mfn_t mfn = frame_alloc_table(owner);

    return mfn == MFN_INVALID ? 0 : mfn << PAGE_SHIFT;
}

static u64 window_entry(hpa_t page)
{
    return page | WINDOW_ENTRY;
}

static bool is_shared(hpa_t page, unsigned level)
{
    return page == shared_pages[HOLE_MISSING][level] || page == shared_pages[HOLE_IDENTITY][level];
}

int p2m_global_init(void)
{
    for (unsigned hole = 0; hole < HOLE_KINDS; hole++)
        for (unsigned level = 0; level < P2M_LEVELS; level++) {
            hpa_t page = page_take(FRAME_OWNER_HYPERVISOR);
            hpa_t tree = level == 0 ? page : page_take(FRAME_OWNER_HYPERVISOR);

            if (page == 0 || tree == 0)
                return -ENOMEM;
            shared_pages[hole][level] = page;
            shared_tree[hole][level] = tree;
            page_fill(page, level == 0 ? P2M_INVALID : window_entry(shared_pages[hole][level - 1]), 0);
            if (level > 0)
                page_fill(tree, shared_tree[hole][level - 1] >> PAGE_SHIFT, 0);
        }
    return 0;
}

/* ---- creation and end ---- */

static void pages_fail(struct p2m *p2m)
{
    const hpa_t pages[] = {p2m->top, p2m->tree};

    for (unsigned i = 0; i < ARRAY_SIZE(pages); i++)
        if (pages[i] != 0)
            frame_free(pages[i] >> PAGE_SHIFT, 0, p2m->support);
    *p2m = (struct p2m){0};
}

int p2m_init(struct p2m *p2m, u32 window, frame_owner_t support)
{
    hpa_t info;

    *p2m = (struct p2m){
        .list = (const u64 *)window_base(window),
        .window = window,
        .support = support,
        .top = page_take(support),
        .tree = page_take(support),
        .recent = P2M_INVALID,
        .pages = 3,
    };
    info = page_take(support);
    if (p2m->top == 0 || p2m->tree == 0 || info == 0) {
        pages_fail(p2m);
        return -ENOMEM;
    }
    page_fill(p2m->top, window_entry(shared_pages[HOLE_MISSING][P2M_LEVELS - 1]), 0);
    page_fill(p2m->tree, shared_tree[HOLE_MISSING][P2M_LEVELS - 1] >> PAGE_SHIFT, 0);
    p2m->info = phys_to_virt(info);
    *p2m->info = (struct p2m_info){.version = P2M_INFO_VERSION,
                                   .window = window,
                                   .root = p2m->tree >> PAGE_SHIFT,
                                   .identity = shared_pages[HOLE_IDENTITY][0] >> PAGE_SHIFT};
    memcpy(p2m->info->magic, P2M_INFO_MAGIC, sizeof(p2m->info->magic));
    paging_set_window(window, window_entry(p2m->top));
    return 0;
}

static void page_free(struct p2m *p2m, hpa_t page)
{
    frame_free(page >> PAGE_SHIFT, 0, p2m->support);
    p2m->pages--;
}

/* Free the private pages below a page of `level` and its twin in the tree. */
static void pages_below_free(struct p2m *p2m, hpa_t page, hpa_t tree, unsigned level)
{
    const u64 *entries = phys_to_virt(page), *twins = phys_to_virt(tree);

    for (unsigned i = 0; i < P2M_ENTRIES; i++) {
        hpa_t below = entries[i] & PTE_ADDRESS, twin = twins[i] << PAGE_SHIFT;

        if (is_shared(below, level - 1))
            continue;
        if (level > 1) {
            pages_below_free(p2m, below, twin, level - 1);
            page_free(p2m, twin);
        }
        page_free(p2m, below);
    }
}

void p2m_destroy(struct p2m *p2m)
{
    if (p2m->top == 0)
        return;
    paging_set_window(p2m->window, 0);
    flush_hook(); /* before anybody else has the frames */
    memset(p2m->info, 0, sizeof(*p2m->info));
    pages_below_free(p2m, p2m->top, p2m->tree, P2M_LEVELS);
    page_free(p2m, p2m->top);
    page_free(p2m, p2m->tree);
    page_free(p2m, virt_to_phys(p2m->info));
    *p2m = (struct p2m){0};
}

/* ---- private pages ---- */

hpa_t p2m_page_find(const struct p2m *p2m, gfn_t gfn, unsigned *level, enum p2m_hole *hole)
{
    hpa_t page = p2m->top;
    unsigned at;

    *hole = HOLE_MISSING;
    for (at = P2M_LEVELS; at > 0; at--) {
        hpa_t below = READ_ONCE(*p2m_slot(page, gfn, at)) & PTE_ADDRESS;

        if (is_shared(below, at - 1)) {
            *hole = below == shared_pages[HOLE_IDENTITY][at - 1] ? HOLE_IDENTITY : HOLE_MISSING;
            break;
        }
        page = below;
    }
    *level = at;
    return page;
}

/* The window's page of `level` on the way to gfn. */
static hpa_t window_page(const struct p2m *p2m, gfn_t gfn, unsigned level)
{
    hpa_t page = p2m->top;

    for (unsigned at = P2M_LEVELS; at > level; at--)
        page = *p2m_slot(page, gfn, at) & PTE_ADDRESS;
    return page;
}

hpa_t p2m_leaf(const struct p2m *p2m, gfn_t gfn)
{
    return window_page(p2m, gfn, 0);
}

static void tell_leaves_changed(struct p2m *p2m, gfn_t gfn, u64 frames)
{
    if (p2m->leaves_changed != NULL)
        p2m->leaves_changed(p2m->leaves_context, ALIGN_DOWN(gfn, frames), frames);
}

/* The tree's; it is private where the window's is. */
static hpa_t tree_page(const struct p2m *p2m, gfn_t gfn, unsigned level)
{
    hpa_t page = p2m->tree;

    for (unsigned at = P2M_LEVELS; at > level; at--)
        page = *p2m_slot(page, gfn, at) << PAGE_SHIFT;
    return page;
}

/* Entry and twin for gfn in a private page of `level`, one store each. */
static void page_link(struct p2m *p2m, hpa_t page, gfn_t gfn, unsigned level, hpa_t below, hpa_t twin)
{
    *p2m_slot(tree_page(p2m, gfn, level), gfn, level) = twin >> PAGE_SHIFT;
    __atomic_store_n(p2m_slot(page, gfn, level), window_entry(below), __ATOMIC_RELEASE);
}

/* What a new private page of `level` around gfn is full of: the hole that it replaces. */
static void page_fill_hole(hpa_t page, hpa_t twin, gfn_t gfn, unsigned level, enum p2m_hole hole)
{
    if (level == 0 && hole == HOLE_IDENTITY) {
        page_fill(page, ALIGN_DOWN(gfn, P2M_ENTRIES) | P2M_IDENTITY, 1);
    } else if (level == 0) {
        page_fill(page, P2M_INVALID, 0);
    } else {
        page_fill(page, window_entry(shared_pages[hole][level - 1]), 0);
        page_fill(twin, shared_tree[hole][level - 1] >> PAGE_SHIFT, 0);
    }
}

struct page_pair {
    hpa_t page, twin; /* a leaf is its own twin */
};

/* Pairs for the levels [from, to), or none: false. */
static bool pairs_take(struct p2m *p2m, struct page_pair *pairs, unsigned from, unsigned to)
{
    unsigned taken = 0;

    for (unsigned at = from; at < to; at++) {
        pairs[at].page = page_take(p2m->support);
        pairs[at].twin = at > 0 && pairs[at].page != 0 ? page_take(p2m->support) : pairs[at].page;
        if (pairs[at].twin == 0)
            goto fail;
        taken += at > 0 ? 2 : 1;
    }
    p2m->pages += taken;
    return true;

fail:
    for (unsigned at = from; at < to && pairs[at].page != 0; at++) {
        frame_free(pairs[at].page >> PAGE_SHIFT, 0, p2m->support);
        if (pairs[at].twin == 0)
            break;
        if (at > 0)
            frame_free(pairs[at].twin >> PAGE_SHIFT, 0, p2m->support);
    }
    return false;
}

hpa_t p2m_page_make(struct p2m *p2m, gfn_t gfn, unsigned target)
{
    struct page_pair pairs[P2M_LEVELS] = {0};
    enum p2m_hole hole;
    unsigned level;
    hpa_t above = p2m_page_find(p2m, gfn, &level, &hole);

    if (level <= target)
        return window_page(p2m, gfn, target);
    if (!pairs_take(p2m, pairs, target, level))
        return 0;
    p2m_change_begin(p2m);
    for (unsigned at = target; at < level; at++) {
        page_fill_hole(pairs[at].page, pairs[at].twin, gfn, at, hole);
        if (at > target) {
            *p2m_slot(pairs[at].page, gfn, at) = window_entry(pairs[at - 1].page);
            *p2m_slot(pairs[at].twin, gfn, at) = pairs[at - 1].twin >> PAGE_SHIFT;
        }
    }
    page_link(p2m, above, gfn, level, pairs[level - 1].page, pairs[level - 1].twin);
    p2m->info->highest = MAX(p2m->info->highest, gfn | (LEVEL_FRAMES(target + 1) - 1));
    p2m_change_end(p2m);
    p2m_window_forget(p2m, gfn);
    if (target == 0)
        tell_leaves_changed(p2m, gfn, P2M_ENTRIES);
    return pairs[target].page;
}

void p2m_hole_set(struct p2m *p2m, hpa_t page, gfn_t gfn, unsigned level, enum p2m_hole hole)
{
    page_link(p2m, page, gfn, level, shared_pages[hole][level - 1], shared_tree[hole][level - 1]);
    tell_leaves_changed(p2m, gfn, LEVEL_FRAMES(level));
}

/* ---- empty leaves ---- */

#define COLLECTED_AT_ONCE 32u

static bool leaf_is_empty(hpa_t leaf)
{
    const u64 *entries = phys_to_virt(leaf);

    for (unsigned i = 0; i < P2M_ENTRIES; i++)
        if (entries[i] != P2M_INVALID)
            return false;
    return true;
}

static void leaf_take_out(struct p2m *p2m, gfn_t gfn)
{
    p2m_change_begin(p2m);
    p2m_hole_set(p2m, window_page(p2m, gfn, 1), gfn, 1, HOLE_MISSING);
    p2m->recent = P2M_INVALID;
    p2m->pages--;
    p2m_change_end(p2m);
}

/* Empty leaves from *gfn on, up to as many as there is room for; how many. Lock held. */
static unsigned leaves_take_out(struct p2m *p2m, gfn_t *gfn, hpa_t leaves[COLLECTED_AT_ONCE])
{
    unsigned count = 0;

    while (*gfn < P2M_GFN_LIMIT && count < COLLECTED_AT_ONCE) {
        enum p2m_hole hole;
        unsigned level;
        hpa_t page = p2m_page_find(p2m, *gfn, &level, &hole);

        if (level == 0 && leaf_is_empty(page)) {
            leaf_take_out(p2m, *gfn);
            leaves[count++] = page;
        }
        level = MAX(level, 1u);
        *gfn = ALIGN_DOWN(*gfn, LEVEL_FRAMES(level)) + LEVEL_FRAMES(level);
    }
    return count;
}

void p2m_collect(struct p2m *p2m, struct spinlock *lock)
{
    hpa_t leaves[COLLECTED_AT_ONCE];
    gfn_t gfn = 0;

    while (gfn < P2M_GFN_LIMIT) {
        unsigned count;

        spinlock_take(lock);
        count = leaves_take_out(p2m, &gfn, leaves);
        spinlock_release(lock);
        if (count > 0)
            flush_hook();
        while (count > 0)
            frame_free_promised(leaves[--count] >> PAGE_SHIFT, 0, p2m->support);
    }
}

/* ---- the tree against the tables ---- */

/* What the tree must have for the page `below` of `level` in the tables; 0: the twin of a private page. */
static hpa_t twin_expected(hpa_t below, unsigned level)
{
    if (level == 0)
        return below;
    return is_shared(below, level) ? shared_tree[below == shared_pages[HOLE_IDENTITY][level]][level] : 0;
}

/* A wrong number is not followed: it must be a frame of ours, at least. */
static bool twin_agrees(hpa_t page, hpa_t twin, unsigned level, frame_owner_t support)
{
    const u64 *entries = phys_to_virt(page), *twins = phys_to_virt(twin);

    if (frame_owner(twin >> PAGE_SHIFT) != support)
        return false;
    for (unsigned i = 0; i < P2M_ENTRIES; i++) {
        hpa_t below = entries[i] & PTE_ADDRESS, expected = twin_expected(below, level - 1);

        if (expected == 0) {
            if (!twin_agrees(below, twins[i] << PAGE_SHIFT, level - 1, support))
                return false;
        } else if (twins[i] != expected >> PAGE_SHIFT) {
            return false;
        }
    }
    return true;
}

static bool info_agrees(const struct p2m *p2m)
{
    return (p2m->info->generation & 1) == 0 && p2m->info->root == p2m->tree >> PAGE_SHIFT;
}

bool p2m_tree_agrees(const struct p2m *p2m)
{
    return info_agrees(p2m) && twin_agrees(p2m->top, p2m->tree, P2M_LEVELS, p2m->support);
}

bool p2m_tree_agrees_at(const struct p2m *p2m, gfn_t gfn)
{
    hpa_t page = p2m->top, twin = p2m->tree, expected = 0;

    for (unsigned level = P2M_LEVELS; level > 0 && expected == 0; level--) {
        page = *p2m_slot(page, gfn, level) & PTE_ADDRESS;
        twin = *p2m_slot(twin, gfn, level) << PAGE_SHIFT;
        expected = twin_expected(page, level - 1);
        if (expected == 0 ? frame_owner(twin >> PAGE_SHIFT) != p2m->support : twin != expected)
            return false;
    }
    return info_agrees(p2m);
}
