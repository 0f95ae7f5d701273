/* SPDX-License-Identifier: MIT */
/*
 * The machine's RAM, frame by frame: a buddy allocator in which every frame has exactly one recorded owner. A
 * frame is zeroed whenever it changes owner; handing back a frame one does not own is a panic. Any CPU; own
 * lock.
 */
#ifndef HV_MEMORY_FRAME_H
#define HV_MEMORY_FRAME_H

#include "hv/lib/types.h"

#define MFN_INVALID (~0ull)

/* Owners are small numbers; those of VMs follow from the VM's number. */
typedef u16 frame_owner_t;
#define FRAME_OWNER_NONE       0 /* not RAM, or the firmware's: never given */
#define FRAME_OWNER_FREE       1
#define FRAME_OWNER_HYPERVISOR 2   /* image, tables, per-CPU data */
#define FRAME_OWNER_MODULE     3   /* what GRUB loaded */
#define FRAME_OWNER_VM_FIRST   16  /* guest RAM of VM n: FRAME_OWNER_VM_FIRST + 2n */
#define FRAME_OWNER_MAX        160 /* ... and what the hypervisor keeps for it: + 2n + 1 */
static inline frame_owner_t frame_owner_guest(u32 vm)
{
    return (frame_owner_t)(FRAME_OWNER_VM_FIRST + 2 * vm);
}
static inline frame_owner_t frame_owner_support(u32 vm)
{
    return (frame_owner_t)(FRAME_OWNER_VM_FIRST + 2 * vm + 1);
}

#define FRAME_ORDER_4K 0
#define FRAME_ORDER_2M 9
#define FRAME_ORDER_1G 18
#define FRAME_ORDERS   19

/* A piece of the firmware's memory map or of what is in use; bytes, end exclusive. */
struct memory_range {
    hpa_t start, end;
};

/*
 * Boot: ram = usable ranges, sorted, disjoint, page aligned; used = ranges already occupied with their owners
 * (image, modules, boot data). Metadata (at most 12 bytes per frame) is placed in free RAM below 4 GiB. Only
 * frames below
 * 4 GiB are given until frame_open_all. Panics when there is not even room for the metadata.
 */
struct frame_used {
    struct memory_range range;
    frame_owner_t owner;
};
void frame_init(const struct memory_range *ram, unsigned ram_count, const struct frame_used *used,
                unsigned used_count);
/* The direct map covers all RAM now: frames above 4 GiB may be given too. */
void frame_open_all(void);

/* 2^order aligned, contiguous, zeroed frames for owner, or MFN_INVALID. */
mfn_t frame_alloc(unsigned order, frame_owner_t owner);
/* Give back what owner got, whole or any aligned part of it. */
void frame_free(mfn_t mfn, unsigned order, frame_owner_t owner);
frame_owner_t frame_owner(mfn_t mfn);
/* One bit of an audit's own per frame of RAM: set or clear it; what it was. Under a lock of the owner's. */
bool frame_mark(mfn_t mfn, bool marked);
mfn_t frame_end(void); /* no RAM from here on */

/* The order of the largest aligned block at mfn within count frames; count is not 0. */
static inline unsigned frame_order_fitting(mfn_t mfn, u64 count)
{
    unsigned size = 63 - (unsigned)__builtin_clzll(count);
    unsigned align = mfn == 0 ? FRAME_ORDERS : (unsigned)__builtin_ctzll(mfn);

    return MIN(MIN(size, align), FRAME_ORDERS - 1u);
}

/*
 * Promises: frames set aside, by number, for an owner to take later. frame_alloc_promised takes one promise
 * per frame and cannot fail for order 0 while promises last; frame_alloc leaves promised frames alone.
 */
int frame_promise(u64 frames, frame_owner_t owner); /* 0 or -ENOMEM */
void frame_unpromise(u64 frames, frame_owner_t owner);
u64 frame_promise_some(u64 most, frame_owner_t owner); /* as many as there are; how many */
mfn_t frame_alloc_promised(unsigned order, frame_owner_t owner);
/* The same, but filled with a copy of as many bytes from `from` in place of zeros. */
mfn_t frame_alloc_promised_copy(unsigned order, frame_owner_t owner, const void *from);
/* Give back and have the same number of frames promised again, in one step: nobody can come between. */
void frame_free_promised(mfn_t mfn, unsigned order, frame_owner_t owner);
u64 frame_promised(frame_owner_t owner); /* frames that owner may still take */

/* One frame for a table: out of owner's promise while it lasts, else out of what is free. */
static inline mfn_t frame_alloc_table(frame_owner_t owner)
{
    mfn_t mfn = frame_alloc_promised(FRAME_ORDER_4K, owner);

    return likely(mfn != MFN_INVALID) ? mfn : frame_alloc(FRAME_ORDER_4K, owner);
}

/*
 * Blocks of an owner's frames, linked by what describes them, so that any number of them needs no memory. The
 * owner's lock.
 */
struct frame_list {
    u32 first;  /* 0: empty */
    u64 frames; /* in all blocks */
};
void frame_list_push(struct frame_list *list, mfn_t mfn, unsigned order);
mfn_t frame_list_pop(struct frame_list *list, unsigned *order); /* MFN_INVALID: empty */

/*
 * Somebody waits for frames (change: 1), or one less (-1). While anybody does, `freed` is called whenever
 * there are more frames that nobody was promised; with the locks of whoever lets go of them, up to RANK_VM.
 */
void frame_await(int change);
bool frame_is_awaited(void);
void frame_set_freed_hook(void (*freed)(void)); /* boot, once */

struct frame_statistics {
    u64 total, free, promised; /* frames */
};
void frame_statistics(struct frame_statistics *statistics);
u64 frame_owned(frame_owner_t owner); /* frames that owner holds now */

/* Zeroed memory for lintel's own objects, rounded up to whole pages; NULL when there is none. */
void *memory_alloc(u64 bytes, frame_owner_t owner);
void memory_free(void *at, u64 bytes, frame_owner_t owner);

#endif
