/* SPDX-License-Identifier: MIT */
/*
 * Memory for lintel's own objects, in whole pages of the frame allocator (contract in frame.h). Any CPU.
 * What is smaller than a page is part of some larger object: lintel needs no heap.
 */
#include "arch/x86/machine/paging.h"
#include "hv/memory/frame.h"

static void span_free(mfn_t mfn, u64 count, frame_owner_t owner)
{
    while (count > 0) {
        unsigned order = frame_order_fitting(mfn, count);

        frame_free(mfn, order, owner);
        mfn += BIT(order);
        count -= BIT(order);
    }
}

void *memory_alloc(u64 bytes, frame_owner_t owner)
{
    u64 count = bytes / PAGE_SIZE + !IS_ALIGNED(bytes, PAGE_SIZE);
    unsigned order = 0;
    mfn_t mfn;

    if (count == 0 || count > BIT(FRAME_ORDERS - 1))
        return NULL;
    while (BIT(order) < count)
        order++;
    mfn = frame_alloc(order, owner);
    if (mfn == MFN_INVALID)
        return NULL;
    span_free(mfn + count, BIT(order) - count, owner);
    return phys_to_virt(mfn << PAGE_SHIFT);
}

void memory_free(void *at, u64 bytes, frame_owner_t owner)
{
    if (at != NULL)
        span_free(virt_to_phys(at) >> PAGE_SHIFT, ALIGN_UP(bytes, PAGE_SIZE) >> PAGE_SHIFT, owner);
}
