/* SPDX-License-Identifier: MIT */
/*
 * The local APIC's states as a whole: power-on, INIT, off and on again, x2APIC. Called at VM creation and
 * reset, and for the base MSR on the vCPU's own CPU; the local APIC's lock. AMD APM 2, 16.3.1 and 16.9;
 * Intel SDM 3A, 11.12.5.
 */
#include "hv/lib/errno.h"

#include "guest/devices/lapic_private.h"

#define WINDOW_SIZE 0x1000
#define SVR_RESET   0xff
#define LVT_EXTINT  (LAPIC_EXTINT << 8)
#define LVT_NMI     (LAPIC_NMI << 8)

/* Registers as after power-on; ID, base and what the pins show stay. */
static void lapic_clear(struct lapic *lapic)
{
    lapic_timer_stop(lapic);
    vectors_reset(&lapic->irr);
    vectors_reset(&lapic->isr);
    vectors_reset(&lapic->tmr);
    *lapic->tpr = 0;
    lapic->svr = SVR_RESET;
    lapic->logical_id = 0;
    lapic->destination_format = ~0u;
    lapic->error = lapic->error_pending = 0;
    lapic->icr = 0;
    lapic->extint = false;
    for (unsigned i = 0; i < LVT_COUNT; i++)
        lapic->lvt[i] = LVT_MASKED;
}

/*
 * There is one window for all vCPUs of a VM: kernels that move it move it alike. RAM in its way stays in
 * front.
 */
static void lapic_move_window(struct lapic *lapic)
{
    struct mmio_bus *mmio = &lapic->vcpu->vm->mmio;

    for (u32 i = 0; i < mmio->count; i++) {
        if (mmio->ranges[i].read == lapic_mmio_read)
            WRITE_ONCE(mmio->ranges[i].start, lapic->base & PAGE_MASK);
    }
}

void lapic_set_base(struct lapic *lapic, u64 base)
{
    bool moved = ((lapic->base ^ base) & PAGE_MASK) != 0;

    lapic->base = base;
    lapic_set_mode(lapic);
    if (moved)
        lapic_move_window(lapic);
}

/*
 * No firmware runs before our kernels, so the boot vCPU finds what firmware leaves behind: PIC by LINT0, NMI
 * by LINT1.
 */
static void lapic_set_virtual_wire(struct lapic *lapic)
{
    lapic->svr |= SVR_ENABLED;
    lapic->lvt[LVT_LINT0] = LVT_EXTINT;
    lapic->lvt[LVT_LINT1] = LVT_NMI;
}

void lapic_reset(struct lapic *lapic)
{
    bool boot = lapic->vcpu == lapic->vcpu->vm->boot_vcpu;

    spinlock_take(&lapic->lock);
    lapic_clear(lapic);
    lapic->lint[0] = lapic->lint[1] = false;
    lapic_set_base(lapic, MACHINE_LAPIC_BASE | BASE_ENABLED | (boot ? BASE_BOOT : 0));
    if (boot)
        lapic_set_virtual_wire(lapic);
    lapic_show_all(lapic);
    spinlock_release(&lapic->lock);
}

void lapic_init_received(struct lapic *lapic)
{
    spinlock_take(&lapic->lock);
    lapic_clear(lapic);
    if (lapic_is_x2apic(lapic))
        lapic->logical_id = lapic_x2apic_logical_id(lapic);
    lapic_show_all(lapic);
    spinlock_release(&lapic->lock);
}

void lapic_init(struct lapic *lapic, struct vcpu *vcpu)
{
    *lapic = (struct lapic){.vcpu = vcpu, .id = vcpu->index, .base = MACHINE_LAPIC_BASE};
    lapic_page_attach(lapic);
    spinlock_init(&lapic->lock, RANK_LAPIC);
    lapic_timer_init(lapic);
    lapic_reset(lapic);
    vcpu->lapic = lapic;
}

int lapic_register_mmio(struct machine *board)
{
    const struct mmio_range range = {
        .start = MACHINE_LAPIC_BASE,
        .size = WINDOW_SIZE,
        .read = lapic_mmio_read,
        .write = lapic_mmio_write,
        .device = board,
        .name = "local apic",
    };

    return mmio_bus_add(&board->vm->mmio, &range);
}

bool lapic_is_enabled(const struct vcpu *vcpu)
{
    return lapic_enabled(lapic_of(vcpu));
}

int lapic_base_read(struct vcpu *vcpu, u32 msr, u64 *value)
{
    (void)msr;
    *value = lapic_of(vcpu)->base;
    return 0;
}

/* Off to xAPIC to x2APIC, and from both to off: no other way (Intel SDM 3A, figure 11-27). */
static bool base_may_change(u64 from, u64 to)
{
    from &= BASE_MODE;
    to &= BASE_MODE;
    if (to == BASE_X2APIC)
        return false;
    if (from == 0)
        return to != BASE_MODE;
    return from != BASE_MODE || to != BASE_ENABLED;
}

int lapic_base_write(struct vcpu *vcpu, u32 msr, u64 value)
{
    struct lapic *lapic = lapic_of(vcpu);
    u64 known = (BIT(cpu_features.physical_bits) - PAGE_SIZE) | BASE_MODE | BASE_BOOT;
    u64 old = lapic->base;

    (void)msr;
    if ((value & ~known) != 0 || !base_may_change(old, value))
        return -EINVAL;
    lapic_fetch_icr(lapic);
    spinlock_take(&lapic->lock);
    lapic_set_base(lapic, (value & ~BASE_BOOT) | (old & BASE_BOOT));
    if (((old ^ value) & BASE_ENABLED) != 0)
        lapic_clear(lapic);
    else if (((old ^ value) & BASE_X2APIC) != 0)
        lapic->logical_id = lapic_x2apic_logical_id(lapic);
    lapic_show_all(lapic);
    /* Past a local APIC that is off the PIC has the CPU. */
    vcpu_request(vcpu, REQUEST_INTERRUPT);
    spinlock_release(&lapic->lock);
    lapic_window_follow(lapic);
    return 0;
}
