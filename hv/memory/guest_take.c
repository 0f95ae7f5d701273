/* SPDX-License-Identifier: MIT */
/* Frames leave a guest that runs (contract in the header). */
#include "hv/memory/guest_take.h"

#include "hv/lib/errno.h"

static void taken_note(struct guest_memory *memory, struct frame_list *taken, mfn_t mfn, unsigned order)
{
    frame_list_push(taken, mfn, order);
    memory->leaving += BIT(order);
}

static void flush_request(struct guest_memory *memory)
{
    if (memory->flush)
        memory->flush(memory->flush_context);
}

static int frame_take(struct guest_memory *memory, gfn_t gfn, struct frame_list *taken)
{
    u64 mfn = p2m_lookup(&memory->p2m, gfn);
    int status;

    if (unlikely(mfn == P2M_INVALID))
        mfn = p2m_lookup_slow(&memory->p2m, gfn);
    if (mfn == P2M_INVALID)
        return 0;
    status = nested_unmap(&memory->nested, gfn << PAGE_SHIFT);
    if (status == -ENOMEM)
        return status;
    p2m_remove_range(&memory->p2m, gfn, 1);
    taken_note(memory, taken, mfn, FRAME_ORDER_4K);
    flush_request(memory);
    return 0;
}

/* They are 512 frames of which nobody knows whether they belong together. */
static void frames_take_singly(struct guest_memory *memory, gfn_t gfn, struct frame_list *taken)
{
    gfn_t end = gfn + BIT(FRAME_ORDER_2M);

    while ((gfn = p2m_next_present(&memory->p2m, gfn, end)) < end) {
        taken_note(memory, taken, p2m_lookup_slow(&memory->p2m, gfn), FRAME_ORDER_4K);
        p2m_remove_range(&memory->p2m, gfn, 1);
    }
}

static int block_take(struct guest_memory *memory, gfn_t gfn, struct frame_list *taken)
{
    hpa_t hpa = ~0ull;
    int status = nested_unmap_2m(&memory->nested, gfn << PAGE_SHIFT, &hpa);

    if (status == -ENOMEM)
        return status;
    if (hpa != ~0ull) { /* a large page maps one block, and the p2m says the same */
        p2m_remove_range(&memory->p2m, gfn, BIT(FRAME_ORDER_2M));
        taken_note(memory, taken, hpa >> PAGE_SHIFT, FRAME_ORDER_2M);
    } else {
        frames_take_singly(memory, gfn, taken);
    }
    flush_request(memory);
    return 0;
}

int guest_memory_take(struct guest_memory *memory, gfn_t gfn, unsigned order, struct frame_list *taken)
{
    return order == FRAME_ORDER_4K ? frame_take(memory, gfn, taken) : block_take(memory, gfn, taken);
}

void guest_memory_taken_free(struct guest_memory *memory, struct frame_list *taken, u32 debt)
{
    frame_owner_t owner = frame_owner_guest(memory->vm);
    unsigned order;
    mfn_t mfn;

    if (taken->frames == 0)
        return;
    flush_debt_check_since(&memory->flush_debt, debt);
    memory->leaving -= taken->frames;
    while ((mfn = frame_list_pop(taken, &order)) != MFN_INVALID)
        frame_free_promised(mfn, order, owner);
}

/* ---- tables ---- */

void guest_memory_table_retire(void *context, hpa_t page)
{
    struct guest_memory *memory = context;

    frame_list_push(&memory->retired, page >> PAGE_SHIFT, FRAME_ORDER_4K);
    memory->retired_debt = flush_debt_now(&memory->flush_debt);
    flush_request(memory);
}

void guest_memory_settle_now(struct guest_memory *memory)
{
    struct frame_list tables;
    unsigned order;
    mfn_t mfn;
    u32 debt;

    spinlock_take(memory->lock);
    tables = memory->retired;
    debt = memory->retired_debt;
    memory->retired = (struct frame_list){0};
    spinlock_release(memory->lock);
    if (memory->flush_finish)
        memory->flush_finish(memory->flush_context);
    flush_debt_check_since(&memory->flush_debt, debt);
    while ((mfn = frame_list_pop(&tables, &order)) != MFN_INVALID)
        frame_free_promised(mfn, order, frame_owner_support(memory->vm));
}

/* ---- pins ---- */

static struct guest_pin *pin_find(struct guest_memory *memory, gfn_t first, gfn_t last)
{
    for (u32 i = 0; i < memory->pin_count; i++)
        if (memory->pins[i].first == first && memory->pins[i].last == last)
            return &memory->pins[i];
    return NULL;
}

int guest_memory_pin(struct guest_memory *memory, gpa_t gpa, u64 bytes)
{
    gfn_t first = gpa >> PAGE_SHIFT, last = (gpa + bytes - 1) >> PAGE_SHIFT;
    struct guest_pin *pin;
    int error = 0;

    spinlock_take(memory->lock);
    pin = pin_find(memory, first, last);
    if (pin)
        pin->uses++;
    else if (memory->pin_count == GUEST_PINS)
        error = -ENOSPC;
    else
        memory->pins[memory->pin_count++] = (struct guest_pin){first, last, 1};
    spinlock_release(memory->lock);
    return error;
}

void guest_memory_unpin(struct guest_memory *memory, gpa_t gpa, u64 bytes)
{
    struct guest_pin *pin;

    spinlock_take(memory->lock);
    pin = pin_find(memory, gpa >> PAGE_SHIFT, (gpa + bytes - 1) >> PAGE_SHIFT);
    if (pin && --pin->uses == 0)
        *pin = memory->pins[--memory->pin_count];
    spinlock_release(memory->lock);
}

bool guest_memory_is_pinned(const struct guest_memory *memory, gfn_t gfn, u64 count)
{
    for (u32 i = 0; i < memory->pin_count; i++)
        if (memory->pins[i].first < gfn + count && memory->pins[i].last >= gfn)
            return true;
    return false;
}
