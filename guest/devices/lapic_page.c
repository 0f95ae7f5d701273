/* SPDX-License-Identifier: MIT */
/*
 * The local APIC's registers where the CPU answers for them without an exit: a page per vCPU that always
 * reads as the registers do, and the window's mapping. The model stays the truth, but for TPR and the upper
 * half of ICR, which the CPU changes in the page. On the vCPU's own CPU; other CPUs show the interrupts they
 * raise, by vectors_show. Intel SDM 3C, 30.4 (window), 30.5 (x2APIC).
 */
#include "hv/lib/errno.h"

#include "guest/devices/lapic_private.h"

_Static_assert(VCPU_APIC_WINDOW == MACHINE_LAPIC_BASE, "guests find it where CPUs can virtualise it");

static u32 *shown_at(const struct lapic *lapic, unsigned number)
{
    return &lapic->vcpu->apic.page[number * PAGE_STRIDE];
}

void lapic_page_attach(struct lapic *lapic)
{
    lapic->tpr = &lapic->own_tpr;
    if (!lapic->vcpu->apic.page)
        return;
    lapic->tpr = shown_at(lapic, LAPIC_TPR);
    lapic->isr.shown = shown_at(lapic, LAPIC_ISR);
    lapic->tmr.shown = shown_at(lapic, LAPIC_TMR);
    lapic->irr.shown = shown_at(lapic, LAPIC_IRR);
}

/* What the own CPU alone changes, so that no lock is needed. */
static void show_one(struct lapic *lapic, unsigned number)
{
    u32 value = 0;

    lapic_register_read_xapic(lapic, number, &value);
    *shown_at(lapic, number) = value;
}

/* ISR, TMR and IRR show themselves; TPR lives there; the others of the window are never read in the page. */
void lapic_show_all(struct lapic *lapic)
{
    static const u8 numbers[] = {LAPIC_ID,       LAPIC_VERSION, LAPIC_EOI,   LAPIC_LDR,
                                 LAPIC_DFR,      LAPIC_SVR,     LAPIC_ESR,   LAPIC_ICR,
                                 LAPIC_ICR_HIGH, LAPIC_INITIAL, LAPIC_DIVIDE};

    if (!lapic->vcpu->apic.page)
        return;
    for (unsigned i = 0; i < ARRAY_SIZE(numbers); i++)
        show_one(lapic, numbers[i]);
    for (unsigned i = 0; i < LVT_COUNT; i++)
        show_one(lapic, LAPIC_LVT + i);
}

void lapic_show(struct lapic *lapic, unsigned number)
{
    /* SVR masks the LVT's entries, the timer's entry may stop the timer. */
    if (number == LAPIC_SVR || (number >= LAPIC_LVT && number < LAPIC_INITIAL))
        lapic_show_all(lapic);
    else if (number < LAPIC_ISR || number >= LAPIC_ESR)
        show_one(lapic, number);
}

void lapic_fetch_icr(struct lapic *lapic)
{
    if (lapic->vcpu->apic.mode == VCPU_APIC_WINDOW_MODE && lapic->vcpu->apic.page)
        lapic->icr = (u32)lapic->icr | (u64)(*shown_at(lapic, LAPIC_ICR_HIGH) & 0xff000000) << 32;
}

void lapic_page_written(struct vcpu *vcpu, struct vmexit *x)
{
    struct lapic *lapic = lapic_of(vcpu);
    unsigned number = x->apic.offset >> 4;

    lapic_fetch_icr(lapic);
    lapic_window_write(lapic, number, *shown_at(lapic, number));
    lapic_show(lapic, number);
}

void lapic_set_mode(struct lapic *lapic)
{
    u8 mode = VCPU_APIC_PLAIN;

    if (lapic_is_x2apic(lapic))
        mode = VCPU_APIC_MSR_MODE;
    else if (lapic_enabled(lapic) && (lapic->base & PAGE_MASK) == VCPU_APIC_WINDOW)
        mode = VCPU_APIC_WINDOW_MODE;
    WRITE_ONCE(lapic->vcpu->apic.mode, mode);
}

/*
 * A vCPU whose local APIC is off, elsewhere or an x2APIC would find the bare page behind the window's
 * address: it is there while no vCPU is such a one.
 */
static bool window_is_wanted(const void *context)
{
    const struct vm *vm = context;

    for (u32 i = 0; i < vm->vcpu_count; i++)
        if (READ_ONCE(vm->vcpus[i]->apic.mode) != VCPU_APIC_WINDOW_MODE)
            return false;
    return true;
}

void lapic_window_touched(struct lapic *lapic)
{
    struct vcpu *vcpu = lapic->vcpu;
    struct machine *board = vcpu->vm->machine;

    lapic_fetch_icr(lapic);
    if (likely(!vcpu->apic.window || READ_ONCE(board->lapic_window_shown)))
        return;
    /* Without memory for tables it stays as it is: slower. */
    if (guest_memory_show_window(&vcpu->vm->memory, VCPU_APIC_WINDOW, vcpu->apic.window, window_is_wanted,
                                 vcpu->vm) == 0)
        WRITE_ONCE(board->lapic_window_shown, true);
}

void lapic_window_follow(struct lapic *lapic)
{
    struct vcpu *vcpu = lapic->vcpu;

    if (!vcpu->apic.window || vcpu->apic.mode == VCPU_APIC_WINDOW_MODE)
        return;
    guest_memory_hide_window(&vcpu->vm->memory, VCPU_APIC_WINDOW);
    WRITE_ONCE(((struct machine *)vcpu->vm->machine)->lapic_window_shown, false);
}
