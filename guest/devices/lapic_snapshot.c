/* SPDX-License-Identifier: MIT */
/*
 * The local APIC's part of a vCPU's snapshot: registers as they are kept, times as the guest's TSC counts.
 * guest/snapshot.c calls it while nothing of the VM moves; the local APIC's lock. What the pins show is not
 * part of it: that is the other devices'.
 */
#include "guest/devices/lapic_private.h"
#include "hv/lib/string.h"
#include "hv/run/vcpu_snapshot.h"

_Static_assert(ARRAY_SIZE(((struct snapshot_lapic *)0)->lvt) == LVT_COUNT, "one for one");

/* TIMER_NEVER and SNAPSHOT_NEVER stay what they are. */
static u64 time_moved(u64 time, u64 by)
{
    return time == TIMER_NEVER ? TIMER_NEVER : time + by;
}

void lapic_snapshot_read(struct lapic *lapic, u64 tsc_offset, struct snapshot_lapic *out)
{
    spinlock_take(&lapic->lock);
    lapic_fetch_icr(lapic);
    memcpy(out->irr, lapic->irr.words, sizeof(out->irr));
    memcpy(out->isr, lapic->isr.words, sizeof(out->isr));
    memcpy(out->tmr, lapic->tmr.words, sizeof(out->tmr));
    out->base = lapic->base;
    out->icr = lapic->icr;
    out->id = lapic->id;
    out->tpr = *lapic->tpr;
    out->svr = lapic->svr;
    out->logical_id = lapic->logical_id;
    out->destination_format = lapic->destination_format;
    out->error = lapic->error;
    out->error_pending = lapic->error_pending;
    memcpy(out->lvt, lapic->lvt, sizeof(out->lvt));
    out->divide = lapic->divide;
    out->initial_count = lapic->initial_count;
    out->extint = lapic->extint;
    out->timer_start = lapic->timer_period ? lapic->timer_start + tsc_offset : 0;
    out->timer_period = lapic->timer_period;
    out->timer_expiry = time_moved(lapic->expiry, tsc_offset);
    out->tsc_deadline = lapic->deadline;
    spinlock_release(&lapic->lock);
}

static void vectors_fill(struct lapic_vectors *vectors, const u32 words[8])
{
    vectors->summary = 0;
    for (unsigned i = 0; i < ARRAY_SIZE(vectors->words); i++) {
        vectors->words[i] = words[i];
        if (words[i])
            vectors->summary |= (u8)(1u << i);
    }
}

/* All but TPR and base, whose places are elsewhere, and the expiry. */
static void fill(struct lapic *lapic, u64 tsc_offset, const struct snapshot_lapic *from)
{
    vectors_fill(&lapic->irr, from->irr);
    vectors_fill(&lapic->isr, from->isr);
    vectors_fill(&lapic->tmr, from->tmr);
    lapic->icr = from->icr;
    lapic->svr = from->svr;
    lapic->logical_id = from->logical_id;
    lapic->destination_format = from->destination_format;
    lapic->error = from->error;
    lapic->error_pending = from->error_pending;
    memcpy(lapic->lvt, from->lvt, sizeof(lapic->lvt));
    lapic->divide = from->divide;
    lapic->initial_count = from->initial_count;
    lapic->extint = from->extint;
    lapic->timer_start = from->timer_period ? from->timer_start - tsc_offset : 0;
    lapic->timer_period = from->timer_period;
    lapic->deadline = from->tsc_deadline;
}

static bool base_is_possible(const struct lapic *lapic, u64 base)
{
    u64 known = (BIT(cpu_features.physical_bits) - PAGE_SIZE) | BASE_MODE | BASE_BOOT;

    return !(base & ~known) && (base & BASE_MODE) != BASE_X2APIC && !((base ^ lapic->base) & BASE_BOOT);
}

/* As the registers' own writes leave them (lapic_registers.c). */
static bool registers_are_possible(const struct lapic *lapic, const struct snapshot_lapic *from)
{
    bool x2apic = (from->base & BASE_MODE) == BASE_MODE;
    u32 errors = ERROR_SEND_VECTOR | ERROR_RECEIVE_VECTOR | ERROR_REGISTER;

    if (from->id != lapic->id || from->tpr > 0xff || (from->svr & ~SVR_WRITABLE) || from->extint > 1)
        return false;
    if (x2apic ? from->logical_id != lapic_x2apic_logical_id(lapic) : from->logical_id & 0xffffff)
        return false;
    if (~from->destination_format & 0x0fffffff || ((from->error | from->error_pending) & ~errors))
        return false;
    if (from->icr & ~(x2apic ? ICR_X2_WRITABLE : BITS(63, 56) | ICR_WRITABLE))
        return false;
    return !(from->divide & ~DIVIDE_WRITABLE);
}

static bool entries_are_possible(const struct snapshot_lapic *from)
{
    for (unsigned i = 0; i < LVT_COUNT; i++)
        if ((from->lvt[i] & ~lapic_lvt_writable[i]) ||
            (!(from->svr & SVR_ENABLED) && !(from->lvt[i] & LVT_MASKED)))
            return false;
    return true;
}

bool lapic_snapshot_is_possible(const struct lapic *lapic, u64 tsc_offset, const struct snapshot_lapic *from)
{
    const u32 exceptions = BIT(FIRST_VECTOR) - 1;
    struct lapic next = *lapic;

    if (((from->irr[0] | from->isr[0] | from->tmr[0]) & exceptions) || !base_is_possible(lapic, from->base) ||
        !registers_are_possible(lapic, from) || !entries_are_possible(from))
        return false;
    if (!from->timer_period && from->timer_start)
        return false;
    fill(&next, tsc_offset, from);
    return lapic_timer_is_possible(&next, time_moved(from->timer_expiry, 0 - tsc_offset));
}

void lapic_snapshot_set(struct lapic *lapic, u64 tsc_offset, const struct snapshot_lapic *from)
{
    spinlock_take(&lapic->lock);
    fill(lapic, tsc_offset, from);
    *lapic->tpr = from->tpr;
    for (unsigned i = 0; i < ARRAY_SIZE(from->irr); i++) {
        vectors_show(&lapic->irr, i);
        vectors_show(&lapic->isr, i);
        vectors_show(&lapic->tmr, i);
    }
    lapic_set_base(lapic, from->base);
    lapic_show_all(lapic);
    lapic_timer_resume(lapic, time_moved(from->timer_expiry, 0 - tsc_offset));
    spinlock_release(&lapic->lock);
    lapic_window_follow(lapic);
}
