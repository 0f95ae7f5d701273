/* SPDX-License-Identifier: MIT */
/*
 * The linear p2m list: its entries (contract in the header; the pages behind it are p2m_pages.c's). Lookups
 * read the window on any CPU without a lock; changes come under the VM's lock and go through the direct map,
 * so the window is read-only.
 */
#include "hv/memory/p2m.h"

#include "hv/lib/errno.h"
#include "hv/memory/p2m_pages.h"

static __attribute__((noinline)) hpa_t leaf_walk(struct p2m *p2m, gfn_t gfn)
{
    hpa_t page = p2m_page_make(p2m, gfn, 0);

    if (page != 0) {
        p2m->recent = gfn / P2M_ENTRIES;
        p2m->recent_leaf = page;
    }
    return page;
}

/* The leaf of gfn, made if need be; 0: no memory. */
static hpa_t leaf_private(struct p2m *p2m, gfn_t gfn)
{
    return likely(gfn / P2M_ENTRIES == p2m->recent) ? p2m->recent_leaf : leaf_walk(p2m, gfn);
}

/* Inside p2m_change_begin and _end. */
static void entry_set(struct p2m *p2m, u64 *slot, u64 entry)
{
    p2m->present += (u64)p2m_is_frame(entry) - (u64)p2m_is_frame(*slot);
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
    p2m_change_begin(p2m);
    entry_set(p2m, p2m_slot(leaf, gfn, 0), entry);
    p2m_change_end(p2m);
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
    slot = p2m_slot(leaf, gfn, 0);
    if (unlikely(*slot != P2M_INVALID))
        return -EEXIST;
    p2m->present++;
    p2m_change_begin(p2m);
    __atomic_store_n(slot, entry, __ATOMIC_RELEASE);
    p2m_change_end(p2m);
    return 0;
}

static gfn_t leaf_end(gfn_t gfn)
{
    return ALIGN_DOWN(gfn, P2M_ENTRIES) + P2M_ENTRIES;
}

int p2m_set_range(struct p2m *p2m, gfn_t gfn, mfn_t mfn, u64 count)
{
    gfn_t end = gfn + count;
    hpa_t leaf = 0;

    if (gfn >= P2M_GFN_LIMIT || count > P2M_GFN_LIMIT - gfn)
        return -EINVAL;
    /* All leaves first: what can fail fails before an entry changes. */
    for (gfn_t at = gfn; at < end; at = leaf_end(at))
        if (leaf_private(p2m, at) == 0)
            return -ENOMEM;
    p2m_change_begin(p2m);
    for (gfn_t at = gfn; at < end; at++) {
        if (leaf == 0 || IS_ALIGNED(at, P2M_ENTRIES))
            leaf = leaf_private(p2m, at);
        entry_set(p2m, p2m_slot(leaf, at, 0), mfn + (at - gfn));
    }
    p2m_change_end(p2m);
    return 0;
}

void p2m_remove_range(struct p2m *p2m, gfn_t gfn, u64 count)
{
    gfn_t end = gfn + count;

    p2m_change_begin(p2m);
    while (gfn < end) {
        hpa_t leaf = leaf_private(p2m, gfn); /* it is there: frames stand in it */
        gfn_t stop = MIN(end, leaf_end(gfn));

        for (gfn_t at = gfn; at < stop; at++)
            __atomic_store_n(p2m_slot(leaf, at, 0), P2M_INVALID, __ATOMIC_RELEASE);
        p2m->present -= stop - gfn;
        gfn = stop;
    }
    p2m_change_end(p2m);
}

/*
 * Where a range begins or ends, tables must be private down to the level at whose entries the border lies.
 */
static bool border_make(struct p2m *p2m, gfn_t border)
{
    unsigned level = 0;

    while (level < P2M_LEVELS && IS_ALIGNED(border, LEVEL_FRAMES(level + 1)))
        level++;
    return border == P2M_GFN_LIMIT || p2m_page_make(p2m, border, level) != 0;
}

/* Both borders are made: what begins here as a hole ends within the range. Where to go on. */
static gfn_t identity_step(struct p2m *p2m, gfn_t gfn, gfn_t end)
{
    enum p2m_hole hole;
    unsigned level;
    hpa_t page = p2m_page_find(p2m, gfn, &level, &hole);

    if (level > 0) {
        p2m_hole_set(p2m, page, gfn, level, HOLE_IDENTITY);
        return gfn + LEVEL_FRAMES(level);
    }
    end = MIN(end, leaf_end(gfn));
    for (; gfn < end; gfn++)
        entry_set(p2m, p2m_slot(page, gfn, 0), gfn | P2M_IDENTITY);
    return end;
}

int p2m_set_identity(struct p2m *p2m, gfn_t gfn, u64 count)
{
    gfn_t end = gfn + count;

    if (gfn >= P2M_GFN_LIMIT || count > P2M_GFN_LIMIT - gfn)
        return -EINVAL;
    if (p2m_next_present(p2m, gfn, end) != end)
        return -EEXIST;
    if (!border_make(p2m, gfn) || !border_make(p2m, end))
        return -ENOMEM;
    p2m_change_begin(p2m);
    while (gfn < end)
        gfn = identity_step(p2m, gfn, end);
    p2m->info->highest = MAX(p2m->info->highest, end - 1);
    p2m_change_end(p2m);
    return 0;
}

u64 p2m_lookup_slow(const struct p2m *p2m, gfn_t gfn)
{
    enum p2m_hole hole;
    unsigned level;
    hpa_t page;
    u64 entry;

    if (gfn >= P2M_GFN_LIMIT)
        return P2M_INVALID;
    page = p2m_page_find(p2m, gfn, &level, &hole);
    if (level != 0)
        return hole == HOLE_IDENTITY ? gfn | P2M_IDENTITY : P2M_INVALID;
    entry = READ_ONCE(*p2m_slot(page, gfn, 0));
    if (entry != P2M_INVALID && p2m_lookup(p2m, gfn) == P2M_INVALID)
        p2m_window_forget(p2m, gfn); /* this CPU still had the shared page in its TLB */
    return entry;
}

static enum p2m_kind kind_of(u64 entry)
{
    if (entry == P2M_INVALID)
        return P2M_KIND_MISSING;
    return p2m_is_frame(entry) ? P2M_KIND_FRAME : P2M_KIND_IDENTITY;
}

enum p2m_kind p2m_classify(const struct p2m *p2m, gfn_t gfn)
{
    u64 entry;

    if (gfn >= P2M_GFN_LIMIT)
        return P2M_KIND_BEYOND;
    entry = p2m_lookup(p2m, gfn);
    return kind_of(likely(entry != P2M_INVALID) ? entry : p2m_lookup_slow(p2m, gfn));
}

gfn_t p2m_kind_end(const struct p2m *p2m, gfn_t gfn, gfn_t end, enum p2m_kind kind)
{
    while (gfn < end) {
        enum p2m_hole hole;
        unsigned level;
        hpa_t page = p2m_page_find(p2m, gfn, &level, &hole);

        if (level == 0) {
            if (kind_of(READ_ONCE(*p2m_slot(page, gfn, 0))) != kind)
                return gfn;
            gfn++;
        } else if (kind != (hole == HOLE_IDENTITY ? P2M_KIND_IDENTITY : P2M_KIND_MISSING)) {
            return gfn;
        } else {
            gfn = ALIGN_DOWN(gfn, LEVEL_FRAMES(level)) + LEVEL_FRAMES(level);
        }
    }
    return end;
}

gfn_t p2m_next_present(const struct p2m *p2m, gfn_t gfn, gfn_t end)
{
    while (gfn < end) {
        enum p2m_hole hole;
        unsigned level;
        hpa_t page = p2m_page_find(p2m, gfn, &level, &hole);

        if (level == 0) {
            const u64 *slot = p2m_slot(page, gfn, 0);

            do {
                if (p2m_is_frame(READ_ONCE(*slot++)))
                    return gfn;
                gfn++;
            } while (gfn < end && !IS_ALIGNED(gfn, P2M_ENTRIES));
        } else {
            gfn = ALIGN_DOWN(gfn, LEVEL_FRAMES(level)) + LEVEL_FRAMES(level);
        }
    }
    return end;
}
