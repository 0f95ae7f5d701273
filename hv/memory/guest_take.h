/* SPDX-License-Identifier: MIT */
/*
 * Taking frames out of a guest that runs, and what keeps one from it. In three steps (hv/run/vm_flush.h):
 * taken out of nested tables and p2m under the VM's lock; every TLB has forgotten them, by
 * memory->flush_finish, with no lock; given back. A table that was taken out waits likewise, as `retired`.
 */
#ifndef HV_MEMORY_GUEST_TAKE_H
#define HV_MEMORY_GUEST_TAKE_H

#include "hv/memory/guest_memory.h"

/*
 * Take what was given of 2^order frames (FRAME_ORDER_4K or _2M, aligned), all or nothing. 0, also when there
 * was none; -ENOMEM: no table to split a large page. VM's lock held.
 */
int guest_memory_take(struct guest_memory *memory, gfn_t gfn, unsigned order, struct frame_list *taken);
/* They go back to the VM's promise. debt: flush_debt_now of the last step of taking. VM's lock held. */
void guest_memory_taken_free(struct guest_memory *memory, struct frame_list *taken, u32 debt);

/* Who retires a table: struct nested_table. VM's lock held. */
void guest_memory_table_retire(void *context, hpa_t page);
/*
 * Free retired tables, if there are any. In an exit or as work on the boot CPU, no lock held; or no vCPU
 * runs.
 */
void guest_memory_settle_now(struct guest_memory *memory);
static inline void guest_memory_settle(struct guest_memory *memory)
{
    if (unlikely(READ_ONCE(memory->retired.frames) != 0))
        guest_memory_settle_now(memory);
}

/*
 * lintel itself uses this range of the guest's RAM (a record it writes, a buffer in flight): the guest can't
 * give it away meanwhile. Ranges may overlap and be pinned many times; unpin takes one that was pinned. A
 * reset unpins all. -ENOSPC: too many; then it is not pinned. Any CPU, no lock held.
 */
int guest_memory_pin(struct guest_memory *memory, gpa_t gpa, u64 bytes);
void guest_memory_unpin(struct guest_memory *memory, gpa_t gpa, u64 bytes);
/* Is any of these frames pinned? VM's lock held. */
bool guest_memory_is_pinned(const struct guest_memory *memory, gfn_t gfn, u64 count);

#endif
