/* SPDX-License-Identifier: MIT */
/*
 * Locking, unlocking, targets and promises of a guest's balloon (contract in the header). Exits of any vCPU
 * come here, and the monitor; all under the VM's lock, so that the two numbers that make a VM's due are never
 * seen in between.
 */
#include "hv/memory/balloon.h"

#include "hv/lib/errno.h"
#include "hv/memory/guest_take.h"
#include "hv/memory/memory_audit.h"

/* Counted as work->cost does. */
#define COST_4K    10
#define COST_PIECE 6
#define COST_2M    90
#define COST_TABLE 32 /* cleared and filled */

void balloon_begin(struct guest_memory *memory)
{
    spinlock_take(memory->lock);
}

void balloon_pause(struct guest_memory *memory)
{
    spinlock_release(memory->lock);
}

u64 balloon_wanted(const struct guest_memory *memory)
{
    const struct balloon *balloon = &memory->balloon;
    u64 wanted = memory->frames - MIN(memory->frames, balloon->target);

    return balloon->limit ? MIN(wanted, balloon->limit) : wanted;
}

/* Promises beyond what the target and the guest's memory make due go back to everybody. */
static void due_trim(struct guest_memory *memory)
{
    frame_owner_t owner = frame_owner_guest(memory->vm);
    u64 due = guest_memory_due(memory);
    u64 most = MAX(memory->balloon.target, memory->frames - memory->balloon.locked);

    if (due > most)
        frame_unpromise(MIN(due - most, frame_promised(owner)), owner);
}

/* All of it in one region that the memory map shows as usable. */
static bool is_usable(const struct guest_memory *memory, gfn_t gfn, unsigned order)
{
    gpa_t start = gfn << PAGE_SHIFT, end = start + (PAGE_SIZE << order);

    if (gfn >= P2M_GFN_LIMIT || !IS_ALIGNED(gfn, BIT(order)))
        return false;
    for (u32 i = memory->region_count; i-- > 0;)
        if (start >= memory->regions[i].start && end <= memory->regions[i].end)
            return memory->regions[i].type == REGION_RAM;
    return false;
}

static enum balloon_status lock_check(struct guest_memory *memory, gfn_t gfn, unsigned order, bool all)
{
    const struct balloon *balloon = &memory->balloon;

    if (!is_usable(memory, gfn, order))
        return BALLOON_NO_RAM;
    if (balloon_has(balloon, gfn, order))
        return BALLOON_LOCKED;
    if (guest_memory_is_pinned(memory, gfn, BIT(order)))
        return BALLOON_PINNED;
    return all || balloon->locked < balloon_wanted(memory) ? BALLOON_DONE : BALLOON_NOT_NEEDED;
}

static enum balloon_status page_lock(struct guest_memory *memory, struct balloon_work *work, gfn_t gfn,
                                     unsigned order)
{
    struct balloon *balloon = &memory->balloon;
    enum balloon_status status = lock_check(memory, gfn, order, work->all);
    u64 before = work->taken.frames;

    if (status != BALLOON_DONE)
        return status;
    if (locked_set_prepare(&balloon->set, gfn) || guest_memory_take(memory, gfn, order, &work->taken))
        return BALLOON_BUSY;
    work->debt = flush_debt_now(&memory->flush_debt);
    locked_set_add(&balloon->set, gfn, order);
    balloon->locked += BIT(order);
    /* A large page that was given in pieces goes back in pieces. */
    if (order != FRAME_ORDER_4K && work->taken.frames - before < BIT(order))
        work->cost += (u32)(work->taken.frames - before) * COST_PIECE;
    return BALLOON_DONE;
}

/* Promise what a VM is due for so many frames more; what it has beyond its due comes first. */
static int unlock_promise(struct guest_memory *memory, u64 frames)
{
    u64 usable = memory->frames - memory->balloon.locked, due = guest_memory_due(memory);
    u64 spare = due - MIN(due, usable);

    if (frames <= spare)
        return 0;
    return frame_is_awaited() ? -ENOMEM : frame_promise(frames - spare, frame_owner_guest(memory->vm));
}

static enum balloon_status page_unlock(struct guest_memory *memory, gfn_t gfn, unsigned order)
{
    struct balloon *balloon = &memory->balloon;

    if (!is_usable(memory, gfn, order))
        return BALLOON_NO_RAM;
    if (!balloon->locked || locked_set_count(&balloon->set, gfn, order) != BIT(order))
        return BALLOON_UNLOCKED;
    if (unlock_promise(memory, BIT(order)))
        return BALLOON_BUSY;
    locked_set_remove(&balloon->set, gfn, order);
    balloon->locked -= BIT(order);
    /* A large page is cleared when the guest touches it; a small one now, which saves it the exit. */
    if (order == FRAME_ORDER_4K)
        guest_memory_give_frame(memory, gfn);
    return BALLOON_DONE;
}

/* Its frame came out of what was promised for others; so it is promised anew, if there is one. */
void balloon_touched(struct guest_memory *memory, gfn_t gfn)
{
    struct balloon *balloon = &memory->balloon;

    if (!locked_set_count(&balloon->set, gfn, FRAME_ORDER_4K))
        return;
    locked_set_remove(&balloon->set, gfn, FRAME_ORDER_4K);
    balloon->locked--;
    if (guest_memory_due(memory) < memory->frames - balloon->locked && !frame_is_awaited())
        frame_promise_some(1, frame_owner_guest(memory->vm));
}

static u64 tables(const struct guest_memory *memory)
{
    return memory->nested.pages + memory->p2m.pages;
}

/* What every page costs, and the tables that were made for it. */
static void account(struct guest_memory *memory, struct balloon_work *work, enum balloon_status status,
                    unsigned order, u64 tables_before)
{
    u64 made = tables(memory) - MIN(tables(memory), tables_before);

    work->cost += (order == FRAME_ORDER_4K ? COST_4K : COST_2M) + (u32)made * COST_TABLE;
    if (status == BALLOON_DONE)
        memory->balloon.moved += BIT(order);
    else
        memory->balloon.refused++;
}

enum balloon_status balloon_lock(struct guest_memory *memory, struct balloon_work *work, gfn_t gfn,
                                 unsigned order)
{
    u64 before = tables(memory);
    enum balloon_status status = page_lock(memory, work, gfn, order);

    account(memory, work, status, order, before);
    return status;
}

enum balloon_status balloon_unlock(struct guest_memory *memory, struct balloon_work *work, gfn_t gfn,
                                   unsigned order)
{
    u64 before = tables(memory);
    enum balloon_status status = page_unlock(memory, gfn, order);

    account(memory, work, status, order, before);
    return status;
}

void balloon_end(struct guest_memory *memory, struct balloon_work *work)
{
    bool flush = work->taken.frames != 0 || memory->retired.frames != 0;

    spinlock_release(memory->lock);
    if (flush && memory->flush_finish)
        memory->flush_finish(memory->flush_context);
    spinlock_take(memory->lock);
    guest_memory_taken_free(memory, &work->taken, work->debt);
    due_trim(memory);
    spinlock_release(memory->lock);
    guest_memory_settle(memory);
    guest_memory_prove(memory);
}

void balloon_forget(struct guest_memory *memory)
{
    locked_set_clear(&memory->balloon.set);
    memory->balloon.locked = 0;
}

int balloon_set_target(struct guest_memory *memory, u64 frames)
{
    int error;

    spinlock_take(memory->lock);
    error = guest_memory_promise(memory, frames);
    if (!error) {
        memory->balloon.target = frames;
        due_trim(memory);
    }
    spinlock_release(memory->lock);
    return error;
}
