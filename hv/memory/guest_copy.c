/* SPDX-License-Identifier: MIT */
/*
 * Guest memory for those who are no part of an exit: a drive's data comes when it comes. The VM's lock is
 * held from the look into the p2m to the last byte of a page, so a frame that is being taken away
 * (hv/run/vm_flush.h) is either seen to be gone or not yet given to anybody else.
 */
#include "hv/lib/errno.h"
#include "hv/lib/string.h"
#include "hv/memory/guest_memory.h"

/* Where gpa is up to its page's end; given, if it was missing. NULL: there is no frame. VM's lock held. */
static u8 *page_at(struct guest_memory *memory, gpa_t gpa)
{
    gfn_t gfn = gpa >> PAGE_SHIFT;
    u64 mfn = p2m_lookup_slow(&memory->p2m, gfn);

    if (mfn == P2M_INVALID) {
        if (guest_memory_give_frame(memory, gfn))
            return NULL;
        mfn = p2m_lookup_slow(&memory->p2m, gfn);
    }
    return (u8 *)phys_to_virt(mfn << PAGE_SHIFT) + (gpa & ~PAGE_MASK);
}

int guest_memory_copy(struct guest_memory *memory, gpa_t gpa, void *buffer, u64 bytes, bool to_guest)
{
    u8 *at = buffer;

    if (!guest_memory_is_backed(memory, gpa, bytes))
        return -EFAULT;
    while (bytes > 0) {
        u64 part = MIN(bytes, PAGE_SIZE - (gpa & ~PAGE_MASK));
        u8 *page;

        spinlock_take(memory->lock);
        page = page_at(memory, gpa);
        if (page)
            memcpy(to_guest ? page : at, to_guest ? at : page, part);
        spinlock_release(memory->lock);
        if (!page)
            return -ENOMEM;
        at += part;
        gpa += part;
        bytes -= part;
    }
    return 0;
}
