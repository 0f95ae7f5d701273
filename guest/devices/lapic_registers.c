/* SPDX-License-Identifier: MIT */
/*
 * The registers of the local APIC, by MMIO (xAPIC) and by MSR (x2APIC): one read and one write function by
 * register number, that is offset / 16, as both ways number them alike. On the vCPU's own CPU, in an exit,
 * without any lock: taken here. AMD APM 2, 16.3.2; Intel SDM 3A, table 11-6.
 */
#include "hv/lib/errno.h"

#include "guest/devices/lapic_private.h"

#define X2APIC_FIRST 0x800
/* Integrated, six LVT entries (the last is number 5), no suppression of EOI messages. */
#define VERSION (0x14 | (LVT_COUNT - 1) << 16)

#define LVT_READ_ONLY (BIT(12) | BIT(14)) /* delivery status and remote IRR: never set here */

/* Vector 7:0, mode 10:8, polarity 13, trigger 15, mask 16, timer mode 18:17: each entry has its choice. */
const u32 lapic_lvt_writable[LVT_COUNT] = {
    [LVT_TIMER] = 0x700ff, [LVT_THERMAL] = 0x107ff, [LVT_PERFORMANCE] = 0x107ff,
    [LVT_LINT0] = 0x1a7ff, [LVT_LINT1] = 0x1a7ff,   [LVT_ERROR] = 0x100ff,
};

static u32 lapic_id_register(const struct lapic *lapic)
{
    return lapic_is_x2apic(lapic) ? lapic->id : lapic->id << 24;
}

/* Lock held, but for what the own CPU alone changes. -EINVAL: there is no such register to read. */
static int lapic_register_read(struct lapic *lapic, unsigned number, u32 *value)
{
    switch (number) {
    case LAPIC_ID: *value = lapic_id_register(lapic); return 0;
    case LAPIC_VERSION: *value = VERSION; return 0;
    case LAPIC_TPR: *value = *lapic->tpr; return 0;
    case LAPIC_PPR: *value = lapic_ppr(lapic); return 0;
    case LAPIC_LDR: *value = lapic->logical_id; return 0;
    case LAPIC_SVR: *value = lapic->svr; return 0;
    case LAPIC_ISR ... LAPIC_ISR + 7: *value = lapic->isr.words[number - LAPIC_ISR]; return 0;
    case LAPIC_TMR ... LAPIC_TMR + 7: *value = lapic->tmr.words[number - LAPIC_TMR]; return 0;
    case LAPIC_IRR ... LAPIC_IRR + 7: *value = lapic->irr.words[number - LAPIC_IRR]; return 0;
    case LAPIC_ESR: *value = lapic->error; return 0;
    case LAPIC_ICR: *value = (u32)lapic->icr; return 0;
    case LAPIC_LVT ... LAPIC_LVT + LVT_COUNT - 1: *value = lapic->lvt[number - LAPIC_LVT]; return 0;
    case LAPIC_INITIAL: *value = lapic->initial_count; return 0;
    case LAPIC_CURRENT: *value = lapic_timer_current(lapic); return 0;
    case LAPIC_DIVIDE: *value = lapic->divide; return 0;
    default: return -EINVAL;
    }
}

int lapic_register_read_xapic(struct lapic *lapic, unsigned number, u32 *value)
{
    switch (number) {
    case LAPIC_APR:
    case LAPIC_EOI:
    case LAPIC_RRD: *value = 0; return 0;
    case LAPIC_DFR: *value = lapic->destination_format; return 0;
    case LAPIC_ICR_HIGH: *value = (u32)(lapic->icr >> 32); return 0;
    default: return lapic_register_read(lapic, number, value);
    }
}

static void lapic_write_lvt(struct lapic *lapic, unsigned index, u32 value)
{
    value &= lapic_lvt_writable[index];
    if (!lapic_software_enabled(lapic))
        value |= LVT_MASKED;
    if (index == LVT_TIMER)
        lapic_timer_set_lvt(lapic, value);
    else
        lapic->lvt[index] = value;
    /* LINT0 may let the PIC through now. */
    if (index == LVT_LINT0)
        vcpu_request(lapic->vcpu, REQUEST_INTERRUPT);
    lapic_notify_self(lapic);
}

static void lapic_write_svr(struct lapic *lapic, u32 value)
{
    lapic->svr = value & SVR_WRITABLE;
    if (lapic_software_enabled(lapic))
        return;
    for (unsigned i = 0; i < LVT_COUNT; i++)
        lapic_write_lvt(lapic, i, lapic->lvt[i]);
}

/* Lock held. -EINVAL: no such register to write. Those that send something come before, without the lock. */
static int lapic_register_write(struct lapic *lapic, unsigned number, u32 value)
{
    lock_assert_held(&lapic->lock);
    switch (number) {
    case LAPIC_TPR:
        *lapic->tpr = value & 0xff;
        lapic_notify_self(lapic);
        return 0;
    case LAPIC_SVR: lapic_write_svr(lapic, value); return 0;
    case LAPIC_ESR:
        lapic->error = lapic->error_pending;
        lapic->error_pending = 0;
        return 0;
    case LAPIC_LVT ... LAPIC_LVT + LVT_COUNT - 1: lapic_write_lvt(lapic, number - LAPIC_LVT, value); return 0;
    case LAPIC_INITIAL: lapic_timer_set_initial(lapic, value); return 0;
    case LAPIC_DIVIDE: lapic_timer_set_divide(lapic, value & DIVIDE_WRITABLE); return 0;
    default: return -EINVAL;
    }
}

static int lapic_register_write_xapic(struct lapic *lapic, unsigned number, u32 value)
{
    switch (number) {
    case LAPIC_LDR: lapic->logical_id = value & 0xff000000; return 0;
    case LAPIC_DFR: lapic->destination_format = value | 0x0fffffff; return 0;
    case LAPIC_ICR_HIGH: lapic->icr = (u32)lapic->icr | (u64)(value & 0xff000000) << 32; return 0;
    case LAPIC_ID:
    case LAPIC_VERSION:
    case LAPIC_APR:
    case LAPIC_PPR:
    case LAPIC_RRD:
    case LAPIC_ISR ... LAPIC_IRR + 7:
    case LAPIC_CURRENT: return 0; /* read only */
    default: return lapic_register_write(lapic, number, value);
    }
}

/* ---------------------------------------------------------------- xAPIC */

/* With the local APIC off, or in x2APIC mode, the window is not there. */
static bool lapic_has_window(const struct lapic *lapic)
{
    return (lapic->base & BASE_MODE) == BASE_ENABLED;
}

u64 lapic_mmio_read(struct vcpu *vcpu, void *device, u64 offset, unsigned size)
{
    struct lapic *lapic = lapic_of(vcpu);
    u32 value = 0;

    (void)device;
    (void)size;
    if (!lapic_has_window(lapic))
        return ~0ull;
    if (vcpu->apic.page)
        lapic_window_touched(lapic);
    if ((offset & 0xc) != 0)
        return 0; /* twelve of sixteen bytes are nothing */
    spinlock_take(&lapic->lock);
    if (unlikely(lapic_register_read_xapic(lapic, (unsigned)offset >> 4, &value) != 0))
        lapic_set_error(lapic, ERROR_REGISTER);
    spinlock_release(&lapic->lock);
    return value >> (offset & 3) * 8;
}

static void lapic_write_icr_xapic(struct lapic *lapic, u32 value)
{
    u64 icr = (lapic->icr & BITS(63, 32)) | (value & ICR_WRITABLE);
    u64 destination = icr >> 56;

    lapic->icr = icr;
    if (destination == 0xff)
        destination = LAPIC_BROADCAST;
    lapic_send(lapic, destination << 32 | (u32)icr);
}

void lapic_window_write(struct lapic *lapic, unsigned number, u32 value)
{
    if (number == LAPIC_EOI) {
        lapic_end_interrupt(lapic);
        return;
    }
    if (number == LAPIC_ICR) {
        lapic_write_icr_xapic(lapic, value);
        return;
    }
    spinlock_take(&lapic->lock);
    if (unlikely(lapic_register_write_xapic(lapic, number, value) != 0)) {
        lapic_set_error(lapic, ERROR_REGISTER);
        lapic_notify_self(lapic);
    }
    spinlock_release(&lapic->lock);
}

/*
 * The manuals leave narrow writes undefined. Here they change their part of the register, as they do on CPUs
 * that keep the registers in a page.
 */
static u32 lapic_merge(struct vcpu *vcpu, u64 offset, unsigned size, u32 value)
{
    unsigned shift = (offset & 3) * 8;
    u32 mask = (u32)(BIT(size * 8) - 1) << shift;
    u32 old = (u32)lapic_mmio_read(vcpu, NULL, offset & ~3ull, 4);

    return (old & ~mask) | (value << shift & mask);
}

void lapic_mmio_write(struct vcpu *vcpu, void *device, u64 offset, unsigned size, u64 value)
{
    struct lapic *lapic = lapic_of(vcpu);
    unsigned number = (unsigned)offset >> 4;

    (void)device;
    if (!lapic_has_window(lapic))
        return;
    if (vcpu->apic.page)
        lapic_window_touched(lapic);
    if ((offset & 0xc) != 0 || (offset & 3) + MIN(size, 4u) > 4)
        return;
    lapic_window_write(lapic, number,
                       likely(size >= 4) ? (u32)value : lapic_merge(vcpu, offset, size, (u32)value));
    if (vcpu->apic.page)
        lapic_show(lapic, number);
}

/* ---------------------------------------------------------------- x2APIC */

int lapic_msr_read(struct vcpu *vcpu, u32 msr, u64 *value)
{
    struct lapic *lapic = lapic_of(vcpu);
    unsigned number = msr - X2APIC_FIRST;
    u32 word = 0;
    int error = 0;

    if (!lapic_is_x2apic(lapic))
        return -EINVAL;
    spinlock_take(&lapic->lock);
    if (number == LAPIC_ICR) {
        *value = lapic->icr;
    } else {
        error = lapic_register_read(lapic, number, &word);
        *value = word;
    }
    spinlock_release(&lapic->lock);
    return error;
}

/* Bits that a register of the x2APIC takes without #GP. */
static u64 x2apic_writable(unsigned number)
{
    switch (number) {
    case LAPIC_TPR:
    case LAPIC_SELF: return 0xff;
    case LAPIC_SVR: return SVR_WRITABLE;
    case LAPIC_ICR: return ICR_X2_WRITABLE;
    case LAPIC_LVT ... LAPIC_LVT + LVT_COUNT - 1:
        return lapic_lvt_writable[number - LAPIC_LVT] | LVT_READ_ONLY;
    case LAPIC_INITIAL: return 0xffffffff;
    case LAPIC_DIVIDE: return DIVIDE_WRITABLE;
    default: return 0; /* EOI and ESR want 0; the others do not exist and say so themselves */
    }
}

int lapic_msr_write(struct vcpu *vcpu, u32 msr, u64 value)
{
    struct lapic *lapic = lapic_of(vcpu);
    unsigned number = msr - X2APIC_FIRST;
    int error;

    if (!lapic_is_x2apic(lapic))
        return -EINVAL;
    if (likely(number == LAPIC_EOI && value == 0)) {
        lapic_end_interrupt(lapic);
        return 0;
    }
    if ((value & ~x2apic_writable(number)) != 0)
        return -EINVAL;
    switch (number) {
    case LAPIC_ICR:
        lapic->icr = value;
        lapic_send(lapic, value);
        return 0;
    case LAPIC_SELF: lapic_send_self(lapic, (u8)value); return 0;
    default: break;
    }
    spinlock_take(&lapic->lock);
    error = lapic_register_write(lapic, number, (u32)value);
    spinlock_release(&lapic->lock);
    if (vcpu->apic.page)
        lapic_show(lapic, number);
    return error;
}
