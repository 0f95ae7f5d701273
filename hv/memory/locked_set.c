/* SPDX-License-Identifier: MIT */
/* The bits of a balloon's frames (contract in the header). */
#include "hv/memory/locked_set.h"

#include "arch/x86/machine/paging.h"
#include "hv/lib/errno.h"

#define PAGE_BITS  (PAGE_SIZE * 8)
#define PAGE_WORDS (PAGE_SIZE / 8)

int locked_set_init(struct locked_set *set, gfn_t end, frame_owner_t owner)
{
    *set = (struct locked_set){.count = ALIGN_UP(end, PAGE_BITS) / PAGE_BITS, .owner = owner};
    set->pages = memory_alloc(set->count * sizeof(*set->pages), owner);
    return set->pages ? 0 : -ENOMEM;
}

void locked_set_destroy(struct locked_set *set)
{
    locked_set_clear(set);
    memory_free(set->pages, set->count * sizeof(*set->pages), set->owner);
    *set = (struct locked_set){0};
}

void locked_set_clear(struct locked_set *set)
{
    for (u64 i = 0; i < set->count; i++) {
        if (!set->pages[i])
            continue;
        frame_free_promised(virt_to_phys(set->pages[i]) >> PAGE_SHIFT, FRAME_ORDER_4K, set->owner);
        set->pages[i] = NULL;
    }
}

int locked_set_prepare(struct locked_set *set, gfn_t gfn)
{
    mfn_t mfn;

    if (likely(set->pages[gfn / PAGE_BITS]))
        return 0;
    mfn = frame_alloc_table(set->owner);
    if (mfn == MFN_INVALID)
        return -ENOMEM;
    set->pages[gfn / PAGE_BITS] = phys_to_virt(mfn << PAGE_SHIFT);
    return 0;
}

/* The word with the bit of gfn; NULL: nothing was given around there. */
static u64 *word_of(const struct locked_set *set, gfn_t gfn)
{
    u64 *page = gfn / PAGE_BITS < set->count ? set->pages[gfn / PAGE_BITS] : NULL;

    return page ? &page[gfn / 64 % PAGE_WORDS] : NULL;
}

static u64 bit_of(gfn_t gfn)
{
    return BIT(gfn % 64);
}

u64 locked_set_count(const struct locked_set *set, gfn_t gfn, unsigned order)
{
    gfn_t end = gfn + BIT(order);
    const u64 *word = word_of(set, gfn);
    u64 count = 0;

    if (order == FRAME_ORDER_4K)
        return word && (*word & bit_of(gfn));
    for (; gfn < end; gfn += 64) {
        word = word_of(set, gfn);
        for (u64 bits = word ? *word : 0; bits != 0; bits &= bits - 1)
            count++;
    }
    return count;
}

void locked_set_add(struct locked_set *set, gfn_t gfn, unsigned order)
{
    u64 *word = word_of(set, gfn);

    if (order == FRAME_ORDER_4K) {
        *word |= bit_of(gfn);
        return;
    }
    for (gfn_t end = gfn + BIT(order); gfn < end; gfn += 64)
        *word_of(set, gfn) = ~0ull;
}

void locked_set_remove(struct locked_set *set, gfn_t gfn, unsigned order)
{
    u64 *word = word_of(set, gfn);

    if (order == FRAME_ORDER_4K) {
        *word &= ~bit_of(gfn);
        return;
    }
    for (gfn_t end = gfn + BIT(order); gfn < end; gfn += 64)
        *word_of(set, gfn) = 0;
}

gfn_t locked_set_next(const struct locked_set *set, gfn_t gfn)
{
    while (gfn / PAGE_BITS < set->count) {
        const u64 *word = word_of(set, gfn);
        u64 bits = word ? *word & ~(bit_of(gfn) - 1) : 0;

        if (bits != 0)
            return ALIGN_DOWN(gfn, 64) + (u64)__builtin_ctzll(bits);
        gfn = ALIGN_DOWN(gfn, word ? 64 : PAGE_BITS) + (word ? 64 : PAGE_BITS);
    }
    return ~0ull;
}
