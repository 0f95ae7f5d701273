/* SPDX-License-Identifier: MIT */
/*
 * Which guest frames are in the guest's balloon: a bit for each, in pages that are made where the guest gives
 * something. Under the VM's lock. Orders are FRAME_ORDER_4K, and larger ones of whole words; gfns are aligned
 * to them.
 */
#ifndef HV_MEMORY_LOCKED_SET_H
#define HV_MEMORY_LOCKED_SET_H

#include "hv/memory/frame.h"

struct locked_set {
    u64 **pages; /* one per 128 MiB of guest-physical space, NULL where nothing was ever given */
    u64 count;   /* of pages */
    frame_owner_t owner;
};

/*
 * For guest frames below end. 0 or -ENOMEM. The first pages are there even when the host has nothing left,
 * out of owner's promise: that is when a guest is asked for memory.
 */
int locked_set_init(struct locked_set *set, gfn_t end, frame_owner_t owner);
void locked_set_destroy(struct locked_set *set);
/* Nothing is locked any more. */
void locked_set_clear(struct locked_set *set);
/* Room for the bits of these frames: 0, or -ENOMEM. */
int locked_set_prepare(struct locked_set *set, gfn_t gfn);

/* How many of 2^order frames are locked. */
u64 locked_set_count(const struct locked_set *set, gfn_t gfn, unsigned order);
/* Room has been made. */
void locked_set_add(struct locked_set *set, gfn_t gfn, unsigned order);
void locked_set_remove(struct locked_set *set, gfn_t gfn, unsigned order);
/* The first locked frame from gfn on; ~0: none. */
gfn_t locked_set_next(const struct locked_set *set, gfn_t gfn);

#endif
