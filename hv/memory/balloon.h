/* SPDX-License-Identifier: MIT */
/*
 * A guest's balloon: how much memory it is to keep (the target), which frames it has given (the locked set),
 * and what it is promised meanwhile. Knows no device: guest/devices/vmw_balloon.c speaks with the guest,
 * hv/operator sets targets.
 *
 * What a VM has and is promised, together, is its due. It starts as the target and follows it: a higher
 * target is promised at once or refused; a lower one takes effect frame by frame, as the guest gives them,
 * and never takes a frame that the guest may use. So the due is never below the target, and never above both
 * the target and all frames that are not locked. Where the target is below what the memory map shows, a guest
 * may touch more than its due: then it gets what nobody was promised, or waits.
 *
 * A locked frame has no machine frame. One that the guest touches all the same is unlocked thereby.
 */
#ifndef HV_MEMORY_BALLOON_H
#define HV_MEMORY_BALLOON_H

#include "hv/memory/locked_set.h"

struct guest_memory;

/* What the guest's driver says of its memory, by VIRTIO_BALLOON_S_*; of no use but to be shown. */
#define BALLOON_STATISTICS 8
struct balloon_statistics {
    u64 at;    /* host TSC when it said so; 0: never */
    u32 known; /* bit n: value n was among them */
    u64 values[BALLOON_STATISTICS];
};

struct balloon {
    u64 target; /* frames that the guest is to keep */
    u64 locked; /* frames it has given */
    struct locked_set set;
    u64 limit;   /* frames the guest says it has; 0: it has not said */
    u64 moved;   /* frames locked and unlocked since the VM's start */
    u64 rate;    /* likewise, in the second before the guest asked for its target last */
    u64 refused; /* pages that the guest offered or wanted in vain */
    struct balloon_statistics statistics;
};

/* What became of a page. */
enum balloon_status {
    BALLOON_DONE,
    BALLOON_NO_RAM,     /* no usable RAM there, of the memory map, or not in all of the page */
    BALLOON_LOCKED,     /* the page, or a part of it, is locked already */
    BALLOON_UNLOCKED,   /* the page, or a part of it, is not locked */
    BALLOON_PINNED,     /* lintel uses it for this guest */
    BALLOON_NOT_NEEDED, /* the guest has given enough */
    BALLOON_BUSY,       /* the host lacks memory for it now */
    BALLOON_STATUS_COUNT,
};

/* A row of pages locked or unlocked in one go; zero to begin with. */
struct balloon_work {
    struct frame_list taken; /* from the guest, but TLBs may still know them */
    u32 debt;
    u32 cost; /* in hundreds of instructions, about */
    bool all; /* what the guest offers is taken, though it has given enough */
};

/*
 * Any CPU, in an exit, no lock held. Between begin and end the VM's lock is held; end waits until every TLB
 * has forgotten the frames that were taken, and gives them back. Pages of order FRAME_ORDER_4K or _2M.
 */
void balloon_begin(struct guest_memory *memory);
enum balloon_status balloon_lock(struct guest_memory *memory, struct balloon_work *work, gfn_t gfn,
                                 unsigned order);
enum balloon_status balloon_unlock(struct guest_memory *memory, struct balloon_work *work, gfn_t gfn,
                                   unsigned order);
void balloon_end(struct guest_memory *memory, struct balloon_work *work);
/* Let go of the lock before the end; what was taken stays in work. */
void balloon_pause(struct guest_memory *memory);

/* The whole locked set comes back: the guest has forgotten it. VM's lock held, or no vCPU runs. */
void balloon_forget(struct guest_memory *memory);

/* Frames that the guest is to have locked in all. VM's lock held. */
u64 balloon_wanted(const struct guest_memory *memory);

/*
 * Keep so many frames from now on. 0, or -ENOMEM: the host can't promise them, nothing has changed. Any CPU,
 * no lock held.
 */
int balloon_set_target(struct guest_memory *memory, u64 frames);

/* For guest_memory.c, VM's lock held: is any of it locked? And: it was given, so it is locked no more. */
static inline bool balloon_has(const struct balloon *balloon, gfn_t gfn, unsigned order)
{
    return unlikely(balloon->locked) && locked_set_count(&balloon->set, gfn, order) != 0;
}

void balloon_touched(struct guest_memory *memory, gfn_t gfn);
static inline void balloon_given(struct guest_memory *memory, const struct balloon *balloon, gfn_t gfn)
{
    if (unlikely(balloon->locked))
        balloon_touched(memory, gfn);
}

#endif
