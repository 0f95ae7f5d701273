/* SPDX-License-Identifier: MIT */
/*
 * The heart of the local APIC: what arrives, what is delivered, what ends. Messages come from the IOAPIC and
 * from other vCPUs, so each function takes the lock of the one local APIC it works on; the device lock may
 * be held by the caller where lapic.h says so. AMD APM 2, 16.3 - 16.6; Intel SDM 3A, 11.12 (x2APIC).
 */
#include "guest/devices/lapic_private.h"

#define FORMAT_FLAT 0xf

/* ---------------------------------------------------------------- local sources */

void lapic_set_error(struct lapic *lapic, u32 error)
{
    u32 lvt = lapic->lvt[LVT_ERROR];

    if (lapic->error_pending & error)
        return;
    lapic->error_pending |= error;
    /* An error entry with an illegal vector would report itself for ever: it stays silent. */
    if ((lvt & LVT_MASKED) == 0 && (u8)lvt >= FIRST_VECTOR)
        lapic_raise(lapic, (u8)lvt, false);
}

void lapic_raise_lvt(struct lapic *lapic, enum lapic_lvt source)
{
    u32 lvt = lapic->lvt[source];

    if (lvt & LVT_MASKED)
        return;
    if ((u8)lvt < FIRST_VECTOR)
        lapic_set_error(lapic, ERROR_RECEIVE_VECTOR);
    else
        lapic_raise(lapic, (u8)lvt, false);
}

/* LINT pins are edges but for ExtINT, which is a level that lapic_extint_wanted looks at. */
static void lint_rises(struct lapic *lapic, unsigned pin)
{
    u32 lvt = lapic->lvt[LVT_LINT0 + pin];

    if (lvt & LVT_MASKED)
        return;
    switch (LVT_MODE(lvt)) {
    case LAPIC_FIXED: lapic_raise_lvt(lapic, LVT_LINT0 + pin); break;
    case LAPIC_NMI: power_event(lapic->vcpu, POWER_NMI, 0, 0); break;
    default: break; /* nothing in a VM sends SMI or INIT this way */
    }
}

/* Does the PIC's INT reach the CPU? By an IOAPIC's message, by LINT0, or past a local APIC that is off. */
static bool lapic_extint_wanted(const struct lapic *lapic)
{
    u32 lvt = lapic->lvt[LVT_LINT0];

    if (READ_ONCE(lapic->extint))
        return true;
    if (!READ_ONCE(lapic->lint[0]))
        return false;
    return !lapic_enabled(lapic) || ((lvt & LVT_MASKED) == 0 && LVT_MODE(lvt) == LAPIC_EXTINT);
}

void lapic_set_lint(struct vcpu *vcpu, unsigned pin, bool level)
{
    struct lapic *lapic = lapic_of(vcpu);

    spinlock_take(&lapic->lock);
    if (lapic->lint[pin] != level) {
        lapic->lint[pin] = level;
        if (level && lapic_enabled(lapic))
            lint_rises(lapic, pin);
        if (level && lapic_extint_wanted(lapic))
            vcpu_wake(vcpu, REQUEST_INTERRUPT);
        lapic_notify(lapic);
    }
    spinlock_release(&lapic->lock);
}

/* ---------------------------------------------------------------- messages */

static bool lapic_matches_logical(const struct lapic *lapic, u32 destination)
{
    u32 own = lapic->logical_id >> 24;

    if (lapic_is_x2apic(lapic))
        return destination >> 16 == lapic->logical_id >> 16 &&
               (destination & lapic->logical_id & 0xffff) != 0;
    if (destination > 0xff)
        return false;
    if (lapic->destination_format >> 28 == FORMAT_FLAT)
        return (destination & own) != 0;
    return (destination >> 4 == own >> 4 || destination >> 4 == 0xf) && (destination & own & 0xf) != 0;
}

static bool lapic_matches(const struct lapic *lapic, const struct lapic_message *message)
{
    if (!lapic_enabled(lapic))
        return false;
    if (message->destination == LAPIC_BROADCAST)
        return true;
    return message->logical ? lapic_matches_logical(lapic, message->destination)
                            : message->destination == lapic->id;
}

static bool lapic_receive_fixed(struct lapic *lapic, const struct lapic_message *message)
{
    if (!lapic_software_enabled(lapic))
        return false;
    if (message->vector < FIRST_VECTOR)
        lapic_set_error(lapic, ERROR_RECEIVE_VECTOR);
    else
        lapic_raise(lapic, message->vector, message->level);
    lapic_notify(lapic);
    return true;
}

/* What a vCPU sends to itself may have been overtaken. */
static void power_event_by(const struct lapic_message *message, struct vcpu *vcpu, enum power_event event)
{
    if (message->sender == vcpu)
        power_event_self(vcpu, event, message->vector);
    else
        power_event(vcpu, event, message->vector, 0);
}

/* Lock held; INIT and SIPI are only accepted here, their effect comes without the lock. */
static bool lapic_receive_locked(struct lapic *lapic, const struct lapic_message *message)
{
    lock_assert_held(&lapic->lock);
    if (!lapic_matches(lapic, message))
        return false;
    switch (message->mode) {
    case LAPIC_FIXED:
    case LAPIC_LOWEST: return lapic_receive_fixed(lapic, message);
    case LAPIC_NMI: power_event_by(message, lapic->vcpu, POWER_NMI); return true;
    case LAPIC_EXTINT:
        lapic->extint = true;
        vcpu_wake(lapic->vcpu, REQUEST_INTERRUPT);
        return true;
    case LAPIC_SMI:
    case LAPIC_INIT:
    case LAPIC_STARTUP: return true;
    default: return false;
    }
}

static bool lapic_receive(struct vcpu *vcpu, const struct lapic_message *message)
{
    struct lapic *lapic = lapic_of(vcpu);
    bool taken;

    spinlock_take(&lapic->lock);
    taken = lapic_receive_locked(lapic, message);
    spinlock_release(&lapic->lock);
    if (taken && message->mode == LAPIC_INIT)
        power_event_by(message, vcpu, POWER_INIT);
    else if (taken && message->mode == LAPIC_STARTUP)
        power_event_by(message, vcpu, POWER_SIPI);
    return taken;
}

/* The priority of a candidate for lowest-priority delivery; above all others when it is none. */
static u32 lapic_arbitration(struct vcpu *vcpu, const struct lapic_message *message)
{
    struct lapic *lapic = lapic_of(vcpu);
    u32 priority = ~0u;

    spinlock_take(&lapic->lock);
    if (lapic_matches(lapic, message) && lapic_software_enabled(lapic))
        priority = lapic_ppr(lapic);
    spinlock_release(&lapic->lock);
    return priority;
}

static bool vcpu_takes_part(const struct vcpu *vcpu, const struct lapic *except)
{
    return vcpu != NULL && vcpu->lapic != NULL && vcpu->lapic != except;
}

static unsigned deliver_lowest(struct vm *vm, const struct lapic_message *message, const struct lapic *except)
{
    struct vcpu *best = NULL;
    u32 lowest = ~0u;

    for (u32 i = 0; i < vm->vcpu_count; i++) {
        u32 priority;

        if (!vcpu_takes_part(vm->vcpus[i], except))
            continue;
        priority = lapic_arbitration(vm->vcpus[i], message);
        if (priority < lowest) {
            lowest = priority;
            best = vm->vcpus[i];
        }
    }
    return best != NULL && lapic_receive(best, message);
}

static unsigned deliver(struct vm *vm, const struct lapic_message *message, const struct lapic *except)
{
    unsigned taken = 0;

    if (message->mode == LAPIC_LOWEST)
        return deliver_lowest(vm, message, except);
    for (u32 i = 0; i < vm->vcpu_count; i++) {
        if (vcpu_takes_part(vm->vcpus[i], except))
            taken += lapic_receive(vm->vcpus[i], message);
    }
    return taken;
}

unsigned lapic_deliver(struct vm *vm, const struct lapic_message *message)
{
    u32 index = message->destination;

    if (message->logical || index == LAPIC_BROADCAST)
        return deliver(vm, message, NULL);
    /* A physical destination is the vCPU's number. */
    if (index >= vm->vcpu_count || !vcpu_takes_part(vm->vcpus[index], NULL))
        return 0;
    return lapic_receive(vm->vcpus[index], message);
}

/* ---------------------------------------------------------------- what the own CPU does */

void lapic_send_self(struct lapic *lapic, u8 vector)
{
    spinlock_take(&lapic->lock);
    if (vector < FIRST_VECTOR)
        lapic_set_error(lapic, ERROR_SEND_VECTOR);
    else if (lapic_software_enabled(lapic))
        lapic_raise(lapic, vector, false);
    lapic_notify_self(lapic);
    spinlock_release(&lapic->lock);
}

static void lapic_send_error(struct lapic *lapic)
{
    spinlock_take(&lapic->lock);
    lapic_set_error(lapic, ERROR_SEND_VECTOR);
    lapic_notify_self(lapic);
    spinlock_release(&lapic->lock);
}

/* An INIT that is de-asserted only synchronised arbitration, long ago; the others are no modes of the ICR. */
static bool icr_is_sent(u64 icr, u8 mode)
{
    if (mode == LAPIC_INIT)
        return (icr & (ICR_LEVEL | ICR_ASSERT)) != ICR_LEVEL;
    return mode != 3 && mode != LAPIC_EXTINT;
}

void lapic_send(struct lapic *lapic, u64 icr)
{
    struct vm *vm = lapic->vcpu->vm;
    struct lapic_message message = {
        .destination = (u32)(icr >> 32),
        .logical = (icr & ICR_LOGICAL) != 0,
        .mode = icr >> 8 & 7,
        .vector = (u8)icr,
        .sender = lapic->vcpu,
    };

    if (!icr_is_sent(icr, message.mode))
        return;
    if (message.mode <= LAPIC_LOWEST && message.vector < FIRST_VECTOR) {
        lapic_send_error(lapic);
        return;
    }
    switch (ICR_SHORTHAND(icr)) {
    case SHORTHAND_NONE: lapic_deliver(vm, &message); return;
    case SHORTHAND_SELF:
        if (message.mode == LAPIC_FIXED)
            lapic_send_self(lapic, message.vector);
        return;
    default: break;
    }
    message.destination = LAPIC_BROADCAST;
    deliver(vm, &message, ICR_SHORTHAND(icr) == SHORTHAND_OTHERS ? lapic : NULL);
}

void lapic_end_interrupt(struct lapic *lapic)
{
    struct vm *vm = lapic->vcpu->vm;
    bool level = false;
    int vector;

    spinlock_take(&lapic->lock);
    vector = vectors_highest(&lapic->isr);
    if (vector >= 0) {
        vectors_clear(&lapic->isr, (u8)vector);
        level = vectors_test(&lapic->tmr, (u8)vector);
        lapic_notify_self(lapic);
    }
    spinlock_release(&lapic->lock);
    if (likely(!level))
        return;
    spinlock_take(&vm->device_lock);
    ioapic_eoi(&((struct machine *)vm->machine)->ioapic, (u8)vector);
    spinlock_release(&vm->device_lock);
}

/*
 * ExtINT knows its vector only when it is taken: until then it shows as vector 0, which nothing else can
 * have.
 */
int lapic_interrupt_pending(struct vcpu *vcpu)
{
    const struct lapic *lapic = lapic_of(vcpu);
    u32 waiting = lapic_waiting_class(lapic);

    vcpu->apic.tpr_threshold = waiting <= *lapic->tpr >> 4 ? (u8)waiting : 0;
    if (unlikely(lapic_extint_wanted(lapic)))
        return 0;
    return lapic_deliverable(lapic);
}

static int lapic_accept_extint(struct lapic *lapic)
{
    struct vm *vm = lapic->vcpu->vm;
    int vector;

    spinlock_take(&vm->device_lock);
    WRITE_ONCE(lapic->extint, false);
    vector = pic_acknowledge(&((struct machine *)vm->machine)->pic);
    spinlock_release(&vm->device_lock);
    return vector;
}

int lapic_interrupt_accept(struct vcpu *vcpu)
{
    struct lapic *lapic = lapic_of(vcpu);
    int vector;

    if (unlikely(lapic_extint_wanted(lapic)))
        return lapic_accept_extint(lapic);
    spinlock_take(&lapic->lock);
    vector = lapic_deliverable(lapic);
    if (vector >= 0) {
        vectors_clear(&lapic->irr, (u8)vector);
        vectors_set(&lapic->isr, (u8)vector);
        if ((u8)lapic->lvt[LVT_TIMER] == vector)
            lapic_timer_taken(lapic);
    }
    spinlock_release(&lapic->lock);
    return vector;
}

u64 lapic_get_cr8(struct vcpu *vcpu)
{
    return *lapic_of(vcpu)->tpr >> 4;
}

void lapic_set_cr8(struct vcpu *vcpu, u64 value)
{
    struct lapic *lapic = lapic_of(vcpu);

    spinlock_take(&lapic->lock);
    *lapic->tpr = (u32)(value & 15) << 4;
    lapic_notify_self(lapic);
    spinlock_release(&lapic->lock);
}
