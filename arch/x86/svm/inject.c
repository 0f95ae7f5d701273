/* SPDX-License-Identifier: MIT */
/*
 * Events into an SVM guest: injection at the next entry, what an exit interrupted, and the windows that tell
 * when interrupts and NMIs can be taken. AMD APM 2, 15.20 (event injection), 15.7.2 (EXITINTINFO), 15.21.4
 * (virtual interrupts). The vCPU's own CPU.
 */
#include "arch/x86/machine/cpu.h"
#include "arch/x86/machine/exception.h"
#include "arch/x86/machine/lapic.h"
#include "arch/x86/svm/svm.h"

static const u64 event_types[] = {
    [EVENT_INTERRUPT] = EVENT_TYPE_INTERRUPT,
    [EVENT_NMI] = EVENT_TYPE_NMI,
    [EVENT_EXCEPTION] = EVENT_TYPE_EXCEPTION,
    [EVENT_SOFTWARE] = EVENT_TYPE_SOFTWARE,
};

/*
 * QEMU 7.2 delivers an injected interrupt once more, whatever IF says, if its main loop is left before the
 * next exit, as it is when another CPU's turn comes (its helper_vmrun leaves the vector in exception_index).
 * A physical interrupt that is due at the entry makes the exit come first.
 */
static void event_put(struct svm_vcpu *svm, u64 word)
{
    svm->vmcb.control.event_inject = word;
    if (unlikely(svm_features.injects_twice) && (word & EVENT_TYPE) == EVENT_TYPE_INTERRUPT)
        host_lapic_send_ipi(host_lapic_id(), HOST_VECTOR_KICK);
}

void svm_inject(struct vcpu *vcpu, const struct vcpu_event *event)
{
    struct svm_vcpu *svm = svm_of(vcpu);
    u64 word = EVENT_VALID | event_types[event->type] | event->vector;

    if (event->has_error)
        word |= EVENT_ERROR_VALID | (u64)event->error_code << 32;
    event_put(svm, word);
    if (event->type != EVENT_NMI)
        return;
    svm->nmi_masked = true;
    vmcb_set_intercept1(svm, vmcb_intercept1(svm) | (u32)INTERCEPT_IRET);
}

bool svm_event_pending(const struct vcpu *vcpu, struct vcpu_event *event)
{
    u64 word = svm_of(vcpu)->vmcb.control.event_inject;

    if (!(word & EVENT_VALID))
        return false;
    *event = (struct vcpu_event){
        .type = EVENT_SOFTWARE,
        .vector = word & EVENT_VECTOR,
        .has_error = word & EVENT_ERROR_VALID,
        .error_code = (u32)(word >> 32),
    };
    for (unsigned int type = EVENT_INTERRUPT; type <= EVENT_SOFTWARE; type++)
        if ((word & EVENT_TYPE) == event_types[type])
            event->type = (u8)type;
    return true;
}

bool svm_interrupt_allowed(const struct vcpu *vcpu)
{
    const struct vmcb *vmcb = &svm_of(vcpu)->vmcb;

    return (vmcb->save.rflags & RFLAGS_IF) && !(vmcb->control.shadow & SHADOW_INTERRUPT) &&
           !(vmcb->control.event_inject & EVENT_VALID);
}

/* An STI shadow need not hold NMIs back. */
bool svm_nmi_allowed(const struct vcpu *vcpu)
{
    const struct svm_vcpu *svm = svm_of(vcpu);

    return !svm->nmi_masked && !(svm->vmcb.control.event_inject & EVENT_VALID);
}

/*
 * A virtual interrupt of highest priority that is intercepted before it is delivered: an exit as soon as IF
 * opens. Until then every exit asks again: Bochs 2.7 looks at V_IRQ only when IF changes inside the guest, so
 * that an entry with IF = 1 (behind a physical interrupt that came first, or in a shadow) would lose it.
 */
void svm_interrupt_window(struct vcpu *vcpu, bool wanted)
{
    struct svm_vcpu *svm = svm_of(vcpu);

    if (wanted)
        vcpu_request(vcpu, REQUEST_INTERRUPT);
    if (wanted == !!(vmcb_v_intr(svm) & V_IRQ))
        return;
    vmcb_set_v_intr(svm, V_INTR_MASKING | (wanted ? V_IRQ | V_INTR_PRIORITY_HIGHEST | V_IGNORE_TPR : 0));
    if (wanted)
        vmcb_set_intercept1(svm, vmcb_intercept1(svm) | (u32)INTERCEPT_VINTR);
    else
        vmcb_set_intercept1(svm, vmcb_intercept1(svm) & ~(u32)INTERCEPT_VINTR);
}

/* NMIs are masked until the IRET that svm_inject asked to see: nothing more is needed. */
void svm_nmi_window(struct vcpu *vcpu)
{
    svm_of(vcpu)->nmi_window = true;
}

/*
 * The exit came while an event was being delivered: deliver it again at the next entry. INT n, INT3 and INTO
 * are simply executed again, since RIP still points at them. (Type 4, and exceptions 3 and 4, which some CPUs
 * report as type 3.)
 */
void svm_redeliver(struct svm_vcpu *svm)
{
    u64 word = svm->vmcb.control.exit_int_info;
    u64 type = word & EVENT_TYPE, vector = word & EVENT_VECTOR;

    if (type == EVENT_TYPE_SOFTWARE || (type == EVENT_TYPE_EXCEPTION && (vector == 3 || vector == 4)))
        return;
    event_put(svm, word);
}

/*
 * IRET ends the masking of NMIs, but only when it has completed, and the intercept comes before it: step over
 * it with TF. IRET itself loads the guest's own flags, so that nothing has to be put back.
 */
void svm_iret_exit(struct svm_vcpu *svm)
{
    vmcb_set_intercept1(svm, vmcb_intercept1(svm) & ~(u32)INTERCEPT_IRET);
    svm->nmi_step = true;
    svm->nmi_step_guest = svm->vmcb.save.rflags & RFLAGS_TF;
    svm->vmcb.save.rflags |= RFLAGS_TF;
}

/* The trap after that IRET. Returns whether the guest itself was stepping and must get it. */
bool svm_step_exit(struct svm_vcpu *svm)
{
    svm->nmi_step = false;
    svm->nmi_masked = false;
    if (svm->nmi_step_guest)
        return true;
    vmcb_set_dr6(svm, vmcb_dr6(svm) & ~BIT(14));
    return false;
}
