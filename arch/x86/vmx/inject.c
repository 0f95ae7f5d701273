/* SPDX-License-Identifier: MIT */
/*
 * Events into a VMX guest: injection at the next entry, what an exit interrupted, and the windows that tell
 * when interrupts and NMIs can be taken. Intel SDM 3C, 25.8.3 (event injection), 25.9.3 (IDT vectoring), 26.2
 * (windows). The current VMCS is the vCPU's.
 */
#include "arch/x86/vmx/vmx.h"

static const u64 event_types[] = {
    [EVENT_INTERRUPT] = EVENT_TYPE_INTERRUPT,
    [EVENT_NMI] = EVENT_TYPE_NMI,
    [EVENT_EXCEPTION] = EVENT_TYPE_EXCEPTION,
    [EVENT_SOFTWARE] = EVENT_TYPE_SOFTWARE,
};

void vmx_inject(struct vcpu *vcpu, const struct vcpu_event *event)
{
    u64 word = EVENT_VALID | event_types[event->type] | event->vector;

    (void)vcpu;
    /* In real mode exceptions push no error code, and an entry that asked for one would fail (27.2.1.3). */
    if (event->has_error && (vmcs_read(VMCS_GUEST_CR0) & CR0_PE)) {
        word |= EVENT_ERROR_VALID;
        vmcs_write32(VMCS_ENTRY_ERROR_CODE, event->error_code);
    }
    if (event->type == EVENT_SOFTWARE)
        vmcs_write32(VMCS_ENTRY_LENGTH, event->length);
    vmcs_write32(VMCS_ENTRY_EVENT, word);
}

bool vmx_event_pending(const struct vcpu *vcpu, struct vcpu_event *event)
{
    u64 word = vmcs_read32(VMCS_ENTRY_EVENT);

    (void)vcpu;
    if (!(word & EVENT_VALID))
        return false;
    *event = (struct vcpu_event){
        .type = EVENT_SOFTWARE,
        .vector = word & EVENT_VECTOR,
        .has_error = word & EVENT_ERROR_VALID,
        .error_code = vmcs_read32(VMCS_ENTRY_ERROR_CODE),
    };
    for (unsigned type = EVENT_INTERRUPT; type <= EVENT_SOFTWARE; type++)
        if ((word & EVENT_TYPE) == event_types[type])
            event->type = (u8)type;
    return true;
}

bool vmx_interrupt_allowed(const struct vcpu *vcpu)
{
    (void)vcpu;
    return (vmcs_read(VMCS_GUEST_RFLAGS) & RFLAGS_IF) &&
           !(vmcs_read32(VMCS_GUEST_INTERRUPTIBILITY) & (BLOCKING_STI | BLOCKING_MOV_SS)) &&
           !(vmcs_read32(VMCS_ENTRY_EVENT) & EVENT_VALID);
}

/* An entry refuses an NMI under MOV SS blocking, and some CPUs under STI blocking (27.3.1.5). */
bool vmx_nmi_allowed(const struct vcpu *vcpu)
{
    (void)vcpu;
    return !(vmcs_read32(VMCS_GUEST_INTERRUPTIBILITY) & (BLOCKING_STI | BLOCKING_MOV_SS | BLOCKING_NMI)) &&
           !(vmcs_read32(VMCS_ENTRY_EVENT) & EVENT_VALID);
}

static void processor_control(struct vmx_vcpu *vmx, u64 control, bool on)
{
    u32 value = on ? vmx->processor | (u32)control : vmx->processor & ~(u32)control;

    if (value == vmx->processor)
        return;
    vmx->processor = value;
    vmcs_write32(VMCS_PROCESSOR_CONTROLS, value);
}

void vmx_interrupt_window(struct vcpu *vcpu, bool wanted)
{
    processor_control(vmx_of(vcpu), PROC_INTERRUPT_WINDOW, wanted);
}

void vmx_nmi_window(struct vcpu *vcpu)
{
    processor_control(vmx_of(vcpu), PROC_NMI_WINDOW, true);
}

void vmx_nmi_window_close(struct vcpu *vcpu)
{
    processor_control(vmx_of(vcpu), PROC_NMI_WINDOW, false);
}

/*
 * The exit came while an event was being delivered: deliver it again at the next entry. INT n, INT3, INTO and
 * INT1 are simply executed again, since RIP still points at them. An NMI that did not arrive has masked
 * nothing yet (26.7.1.2).
 */
void vmx_redeliver(void)
{
    u32 word = vmcs_read32(VMCS_VECTORING_EVENT);
    u64 type = word & EVENT_TYPE;

    if (type == EVENT_TYPE_SOFTWARE || type == EVENT_TYPE_SOFT_EXCEPTION || type == EVENT_TYPE_PRIVILEGED)
        return;
    if (type == EVENT_TYPE_NMI)
        vmcs_write32(VMCS_GUEST_INTERRUPTIBILITY, vmcs_read32(VMCS_GUEST_INTERRUPTIBILITY) & ~BLOCKING_NMI);
    if (word & EVENT_ERROR_VALID)
        vmcs_write32(VMCS_ENTRY_ERROR_CODE, vmcs_read32(VMCS_VECTORING_ERROR_CODE));
    vmcs_write32(VMCS_ENTRY_EVENT, word & (u32)(EVENT_VALID | EVENT_ERROR_VALID | EVENT_TYPE | EVENT_VECTOR));
}
