/* SPDX-License-Identifier: MIT */
/*
 * The frame allocator: binary buddies over the machine's RAM, one owner per frame. Used by everybody, on any
 * CPU, under its own lock (RANK_FRAME).
 *
 * Each frame of RAM has 12 bytes of metadata. The ranges of RAM lie in one array end to end, so holes cost
 * nothing; a frame is known by its index there. Buddies are found by machine address and never lie in
 * different ranges.
 *
 * Zeroing: a frame is cleared (or filled by a copy) once, when it is given, outside the lock. Free frames
 * keep what their last owner left, which nobody can read, since nothing maps them but the direct map.
 *
 * Promises are counts, not frames. The invariant free >= promised makes a promised single frame certain: any
 * free block can be split down to one frame.
 */
#include "hv/memory/frame.h"

#include "arch/x86/machine/paging.h"
#include "hv/lib/errno.h"
#include "hv/lib/lock.h"
#include "hv/lib/panic.h"
#include "hv/lib/string.h"

#define FRAME_RANGES 512
#define TAKEN_MAX    160 /* more than the modules that boot keeps account of */
#define INDEX_NONE   0xffffffffu
#define ORDER_NONE   0xff
#define LOW_LIMIT    (SIZE_4G >> PAGE_SHIFT)
/* The first MiB is left to what needs it: start code of other CPUs, firmware data. */
#define METADATA_LOWEST 0x100000ull

struct frame {
    u32 next, previous; /* neighbours in the list of free blocks of this order; or frame_list's */
    frame_owner_t owner;
    u8 order;    /* in the first frame of a free block; ORDER_NONE in all others */
    bool marked; /* an audit's */
};
_Static_assert(sizeof(struct frame) == 12, "frame metadata costs 12 bytes per frame");

struct frame_range {
    mfn_t start, end;
    u32 first; /* index of start */
};

/* Written at boot alone. */
static struct frame *frames;
static struct frame_range ranges[FRAME_RANGES];
static unsigned range_count;
static struct frame_span {
    mfn_t start, end;
} taken[TAKEN_MAX]; /* in use when frame_init came; in no order, and they may overlap */
static unsigned taken_count;

/* Guards all that follows and the metadata. */
static struct spinlock lock = SPINLOCK_INIT(RANK_FRAME);
static u32 lists[FRAME_ORDERS]; /* first free block of each order */
static u32 orders_free;         /* bit n: lists[n] is not empty */
static struct frame_statistics now;
static u64 owned[FRAME_OWNER_MAX];
static u64 promised[FRAME_OWNER_MAX];

static u32 awaited; /* how many wait for frames; atomic */
static void (*freed_hook)(void);

/* Both searches begin at the top, since nearly all RAM of a machine lies in its last range or two. */
static const struct frame_range *range_of_mfn(mfn_t mfn)
{
    for (unsigned i = range_count; i-- > 0;)
        if (mfn >= ranges[i].start)
            return mfn < ranges[i].end ? &ranges[i] : NULL;
    return NULL;
}

static mfn_t mfn_of_index(u32 index)
{
    const struct frame_range *range = &ranges[range_count - 1];

    while (index < range->first)
        range--;
    return range->start + (index - range->first);
}

static u32 index_in_range(const struct frame_range *range, mfn_t mfn)
{
    return range->first + (u32)(mfn - range->start);
}

static void list_push(u32 index, unsigned order)
{
    u32 next = lists[order];

    lock_assert_held(&lock);
    frames[index].next = next;
    frames[index].previous = INDEX_NONE;
    frames[index].order = (u8)order;
    if (next != INDEX_NONE)
        frames[next].previous = index;
    lists[order] = index;
    orders_free |= 1u << order;
}

/* Take the first block off a list that has one. */
static inline __attribute__((always_inline)) u32 list_pop(unsigned order)
{
    u32 index = lists[order], next = frames[index].next;

    lock_assert_held(&lock);
    lists[order] = next;
    if (next != INDEX_NONE)
        frames[next].previous = INDEX_NONE;
    else
        orders_free &= ~(1u << order);
    frames[index].order = ORDER_NONE;
    return index;
}

static void list_remove(u32 index, unsigned order)
{
    struct frame *frame = &frames[index];

    lock_assert_held(&lock);
    if (frame->next != INDEX_NONE)
        frames[frame->next].previous = frame->previous;
    if (frame->previous != INDEX_NONE)
        frames[frame->previous].next = frame->next;
    else
        lists[order] = frame->next;
    if (lists[order] == INDEX_NONE)
        orders_free &= ~(1u << order);
    frame->order = ORDER_NONE;
}

/* Put a block on its list, joined with its free buddies as far up as possible. */
static void block_put(const struct frame_range *range, mfn_t mfn, unsigned order)
{
    for (; order < FRAME_ORDERS - 1; order++) {
        mfn_t buddy = mfn ^ BIT(order);

        if (buddy < range->start || buddy + BIT(order) > range->end)
            break;
        if (frames[index_in_range(range, buddy)].order != order)
            break;
        list_remove(index_in_range(range, buddy), order);
        mfn &= ~BIT(order);
    }
    list_push(index_in_range(range, mfn), order);
}

/*
 * A block of this order cut from the smallest larger one; its index, or INDEX_NONE. The orders between have
 * no blocks yet, so that each upper half becomes the only one on its list.
 */
static __attribute__((noinline)) u32 block_split(unsigned order)
{
    u32 fitting = orders_free >> order;
    unsigned from;
    u32 index;

    if (fitting == 0)
        return INDEX_NONE;
    from = order + (unsigned)__builtin_ctz(fitting);
    index = list_pop(from);
    orders_free |= (1u << from) - (1u << order);
    while (from > order) {
        u32 upper = index + (1u << --from);

        frames[upper].next = INDEX_NONE;
        frames[upper].previous = INDEX_NONE;
        frames[upper].order = (u8)from;
        lists[from] = upper;
    }
    return index;
}

static inline __attribute__((always_inline)) u32 block_take(unsigned order)
{
    return likely(lists[order] != INDEX_NONE) ? list_pop(order) : block_split(order);
}

static void frames_zero(mfn_t mfn, u64 count)
{
    void *at = phys_to_virt(mfn << PAGE_SHIFT);
    u64 words = count * (PAGE_SIZE / 8);

    asm volatile("rep stosq" : "+D"(at), "+c"(words) : "a"(0ull) : "memory");
}

/* ---- giving and taking ---- */

static void check_owner(frame_owner_t owner)
{
    if (owner <= FRAME_OWNER_FREE || owner >= FRAME_OWNER_MAX)
        panic("frames are asked for owner %u, which is none", owner);
}

/*
 * Not zeroed yet. of_promise: count against the owner's promise, otherwise leave all promised frames alone.
 * Inlined, so that a guest's first touch of a page, order 0 by promise, is a short straight line.
 */
static inline __attribute__((always_inline)) mfn_t frames_take(unsigned order, frame_owner_t owner,
                                                               bool of_promise)
{
    u64 count = BIT(order);
    u32 index = INDEX_NONE;

    check_owner(owner);
    spinlock_take(&lock);
    if ((of_promise ? promised[owner] : now.free - now.promised) >= count)
        index = block_take(order);
    if (index != INDEX_NONE) {
        for (u64 i = 0; i < count; i++)
            frames[index + i].owner = owner;
        now.free -= count;
        owned[owner] += count;
        if (of_promise) {
            promised[owner] -= count;
            now.promised -= count;
        }
    }
    spinlock_release(&lock);
    return index == INDEX_NONE ? MFN_INVALID : mfn_of_index(index);
}

/* There may be more frames now that nobody was promised. */
static void tell_freed(void)
{
    if (unlikely(READ_ONCE(awaited)))
        freed_hook();
}

static void frames_give_back(mfn_t mfn, unsigned order, frame_owner_t owner, bool to_promise)
{
    const struct frame_range *range = range_of_mfn(mfn);
    u64 count = BIT(order);
    struct frame *first;

    check_owner(owner);
    if (range == NULL || !IS_ALIGNED(mfn, count) || mfn + count > range->end)
        panic("%llu frames at frame %#llx are no block of RAM that could be freed", (unsigned long long)count,
              (unsigned long long)mfn);
    first = &frames[index_in_range(range, mfn)];
    spinlock_take(&lock);
    for (u64 i = 0; i < count; i++) {
        if (first[i].owner != owner)
            panic("frame %#llx is freed by owner %u, but owner %u has it", (unsigned long long)(mfn + i),
                  owner, first[i].owner);
        first[i].owner = FRAME_OWNER_FREE;
    }
    now.free += count;
    owned[owner] -= count;
    if (to_promise) {
        promised[owner] += count;
        now.promised += count;
    }
    block_put(range, mfn, order);
    spinlock_release(&lock);
}

static mfn_t frames_cleared(mfn_t mfn, u64 count)
{
    if (likely(mfn != MFN_INVALID))
        frames_zero(mfn, count);
    return mfn;
}

mfn_t frame_alloc(unsigned order, frame_owner_t owner)
{
    return frames_cleared(frames_take(order, owner, false), BIT(order));
}

static __attribute__((noinline)) mfn_t block_take_promised(unsigned order, frame_owner_t owner)
{
    return frames_take(order, owner, true);
}

mfn_t frame_alloc_promised(unsigned order, frame_owner_t owner)
{
    if (unlikely(order != FRAME_ORDER_4K))
        return frames_cleared(block_take_promised(order, owner), BIT(order));
    return frames_cleared(frames_take(FRAME_ORDER_4K, owner, true), 1);
}

mfn_t frame_alloc_promised_copy(unsigned order, frame_owner_t owner, const void *from)
{
    mfn_t mfn = block_take_promised(order, owner);

    if (mfn != MFN_INVALID)
        memcpy(phys_to_virt(mfn << PAGE_SHIFT), from, PAGE_SIZE << order);
    return mfn;
}

void frame_free(mfn_t mfn, unsigned order, frame_owner_t owner)
{
    frames_give_back(mfn, order, owner, false);
    tell_freed();
}

void frame_free_promised(mfn_t mfn, unsigned order, frame_owner_t owner)
{
    frames_give_back(mfn, order, owner, true);
}

frame_owner_t frame_owner(mfn_t mfn)
{
    const struct frame_range *range = range_of_mfn(mfn);

    return range == NULL ? FRAME_OWNER_NONE : READ_ONCE(frames[index_in_range(range, mfn)].owner);
}

bool frame_mark(mfn_t mfn, bool marked)
{
    const struct frame_range *range = range_of_mfn(mfn);
    struct frame *frame;
    bool was;

    if (range == NULL)
        return false;
    frame = &frames[index_in_range(range, mfn)];
    was = frame->marked;
    frame->marked = marked;
    return was;
}

mfn_t frame_end(void)
{
    return range_count == 0 ? 0 : ranges[range_count - 1].end;
}

int frame_promise(u64 count, frame_owner_t owner)
{
    bool enough;

    check_owner(owner);
    spinlock_take(&lock);
    enough = now.free - now.promised >= count;
    if (enough) {
        promised[owner] += count;
        now.promised += count;
    }
    spinlock_release(&lock);
    return enough ? 0 : -ENOMEM;
}

void frame_unpromise(u64 count, frame_owner_t owner)
{
    check_owner(owner);
    spinlock_take(&lock);
    if (promised[owner] < count)
        panic("owner %u gives up a promise of %llu frames, but has one of %llu", owner,
              (unsigned long long)count, (unsigned long long)promised[owner]);
    promised[owner] -= count;
    now.promised -= count;
    spinlock_release(&lock);
    tell_freed();
}

u64 frame_promise_some(u64 most, frame_owner_t owner)
{
    u64 count;

    check_owner(owner);
    spinlock_take(&lock);
    count = MIN(most, now.free - now.promised);
    promised[owner] += count;
    now.promised += count;
    spinlock_release(&lock);
    return count;
}

void frame_list_push(struct frame_list *list, mfn_t mfn, unsigned order)
{
    u32 index = index_in_range(range_of_mfn(mfn), mfn);

    frames[index].next = list->first;
    frames[index].previous = order;
    list->first = index + 1; /* frame 0 of RAM may be in a list, and an empty one is all zero */
    list->frames += BIT(order);
}

mfn_t frame_list_pop(struct frame_list *list, unsigned *order)
{
    const struct frame *frame;
    mfn_t mfn;

    if (list->first == 0)
        return MFN_INVALID;
    frame = &frames[list->first - 1];
    mfn = mfn_of_index(list->first - 1);
    *order = frame->previous;
    list->frames -= BIT(*order);
    list->first = frame->next;
    return mfn;
}

void frame_await(int change)
{
    __atomic_fetch_add(&awaited, (u32)change, __ATOMIC_SEQ_CST);
}

bool frame_is_awaited(void)
{
    return READ_ONCE(awaited) != 0;
}

void frame_set_freed_hook(void (*freed)(void))
{
    freed_hook = freed;
}

void frame_statistics(struct frame_statistics *statistics)
{
    spinlock_take(&lock);
    *statistics = now;
    spinlock_release(&lock);
}

u64 frame_owned(frame_owner_t owner)
{
    return owner < FRAME_OWNER_MAX ? READ_ONCE(owned[owner]) : 0;
}

u64 frame_promised(frame_owner_t owner)
{
    return owner < FRAME_OWNER_MAX ? READ_ONCE(promised[owner]) : 0;
}

/* ---- boot ---- */

static void range_add(mfn_t start, mfn_t end)
{
    struct frame_range *range = &ranges[range_count];

    if (start >= end)
        return;
    if (range_count == FRAME_RANGES || now.total + (end - start) >= INDEX_NONE)
        panic("the memory map has more than %u ranges or 16 TiB of RAM", FRAME_RANGES);
    *range = (struct frame_range){start, end, (u32)now.total};
    now.total += end - start;
    range_count++;
}

/* Where `bytes` lie in RAM below 4 GiB beside all that is used. Each turn moves `at` up, so it ends. */
static hpa_t room_in_range(const struct memory_range *ram, const struct frame_used *used, unsigned used_count,
                           u64 bytes)
{
    hpa_t at = MAX(ram->start, METADATA_LOWEST);
    unsigned i = 0;

    while (i < used_count) {
        if (used[i].range.start < at + bytes && used[i].range.end > at) {
            at = ALIGN_UP(used[i].range.end, PAGE_SIZE);
            i = 0;
        } else {
            i++;
        }
    }
    return at + bytes <= MIN(ram->end, SIZE_4G) ? at : 0;
}

static hpa_t metadata_place(const struct memory_range *ram, unsigned ram_count, const struct frame_used *used,
                            unsigned used_count, u64 bytes)
{
    for (unsigned i = 0; i < ram_count; i++) {
        hpa_t at = room_in_range(&ram[i], used, used_count, bytes);

        if (at != 0)
            return at;
    }
    panic("no RAM below 4 GiB has room for the %llu bytes that describe %llu frames",
          (unsigned long long)bytes, (unsigned long long)now.total);
}

/* All alike to begin with: what is filled is copied behind itself, which doubles it. */
static void metadata_fill(u64 count)
{
    frames[0] = (struct frame){.owner = FRAME_OWNER_FREE, .order = ORDER_NONE};
    for (u64 done = 1; done < count; done *= 2)
        memcpy(&frames[done], frames, MIN(done, count - done) * sizeof(struct frame));
}

/* Who came first keeps a frame: ranges in use may overlap. What is not RAM is skipped. */
static void range_mark(mfn_t start, mfn_t end, frame_owner_t owner)
{
    for (unsigned i = 0; i < range_count; i++) {
        mfn_t last = MIN(end, ranges[i].end);

        for (mfn_t mfn = MAX(start, ranges[i].start); mfn < last; mfn++) {
            struct frame *frame = &frames[index_in_range(&ranges[i], mfn)];

            if (frame->owner != FRAME_OWNER_FREE)
                continue;
            frame->owner = owner;
            owned[owner]++;
        }
    }
}

/*
 * Mark frames that are in use and remember where they are, so that nobody has to look for the free ones frame
 * by frame.
 */
static void span_take(mfn_t start, mfn_t end, frame_owner_t owner)
{
    if (taken_count == TAKEN_MAX)
        panic("more than %u ranges of memory are in use at boot", TAKEN_MAX);
    taken[taken_count++] = (struct frame_span){start, end};
    range_mark(start, end, owner);
}

/* Where the run of free frames, or of taken ones, that begins at `at` ends. */
static mfn_t run_end(mfn_t at, mfn_t end, bool *is_free)
{
    *is_free = true;
    for (unsigned i = 0; i < taken_count; i++) {
        if (taken[i].start <= at && at < taken[i].end) {
            *is_free = false;
            return taken[i].end;
        }
        if (taken[i].start > at)
            end = MIN(end, taken[i].start);
    }
    return end;
}

/* Put all free frames of a range on the lists, in the largest blocks that fit. */
static void range_open(const struct frame_range *range)
{
    mfn_t at = range->start;

    while (at < range->end) {
        bool is_free;
        mfn_t end = run_end(at, range->end, &is_free);

        if (!is_free) {
            at = end;
            continue;
        }
        now.free += end - at;
        while (at < end) {
            unsigned order = frame_order_fitting(at, end - at);

            block_put(range, at, order);
            at += BIT(order);
        }
    }
}

static void ranges_open(bool low)
{
    spinlock_take(&lock);
    for (unsigned i = 0; i < range_count; i++)
        if ((ranges[i].end <= LOW_LIMIT) == low)
            range_open(&ranges[i]);
    spinlock_release(&lock);
}

void frame_init(const struct memory_range *ram, unsigned ram_count, const struct frame_used *used,
                unsigned used_count)
{
    hpa_t metadata;
    u64 bytes;

    for (unsigned i = 0; i < ram_count; i++) {
        mfn_t start = ram[i].start >> PAGE_SHIFT, end = ram[i].end >> PAGE_SHIFT;

        range_add(start, MIN(end, LOW_LIMIT));
        range_add(MAX(start, LOW_LIMIT), end);
    }
    bytes = ALIGN_UP(now.total * sizeof(struct frame), PAGE_SIZE);
    metadata = metadata_place(ram, ram_count, used, used_count, bytes);
    frames = phys_to_virt(metadata);
    metadata_fill(now.total);
    for (unsigned i = 0; i < FRAME_ORDERS; i++)
        lists[i] = INDEX_NONE;

    span_take(0, 1, FRAME_OWNER_NONE); /* address 0 stands for "no frame" in many places */
    for (unsigned i = 0; i < used_count; i++)
        span_take(used[i].range.start >> PAGE_SHIFT, ALIGN_UP(used[i].range.end, PAGE_SIZE) >> PAGE_SHIFT,
                  used[i].owner);
    span_take(metadata >> PAGE_SHIFT, (metadata + bytes) >> PAGE_SHIFT, FRAME_OWNER_HYPERVISOR);
    ranges_open(true);
}

void frame_open_all(void)
{
    ranges_open(false);
}
