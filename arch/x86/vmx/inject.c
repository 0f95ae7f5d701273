/* SPDX-License-Identifier: MIT */
/*
 * Events into a VMX guest: injection at the next entry, what an exit interrupted, and the windows that tell
 * when interrupts and NMIs can be taken. Intel SDM 3C, 25.8.3 (event injection), 25.9.3 (IDT vectoring), 26.2
 * (windows). The current VMCS is the vCPU's.
 */
#include "arch/x86/machine/exception.h"
#include "arch/x86/machine/lapic.h"
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

    if (event->type == EVENT_NMI)
        vmx_of(vcpu)->nmis_open = false;
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

/*
 * What blocks events. NMIs are masked by one that this vCPU has taken, and by nothing else: Bochs 2.7 lets
 * the masking of the vCPU that was on the CPU before show in the VMCS of the next one.
 */
u32 vmx_blocking(struct vmx_vcpu *vmx)
{
    u32 blocking = vmcs_read32(VMCS_GUEST_INTERRUPTIBILITY);

    if (vmcs_read32(VMCS_ENTRY_EVENT) & EVENT_VALID)
        return blocking; /* an NMI that waits for the entry has masked nothing yet */
    if (likely(!(blocking & BLOCKING_NMI))) {
        vmx->nmis_open = true;
    } else if (unlikely(vmx->nmis_open)) {
        blocking &= ~(u32)BLOCKING_NMI;
        vmcs_write32(VMCS_GUEST_INTERRUPTIBILITY, blocking);
    }
    return blocking;
}

/* An entry refuses an NMI under MOV SS blocking, and some CPUs under STI blocking (27.3.1.5). */
bool vmx_nmi_allowed(const struct vcpu *vcpu)
{
    return !(vmx_blocking(vmx_of(vcpu)) & (BLOCKING_STI | BLOCKING_MOV_SS | BLOCKING_NMI)) &&
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

/*
 * Some CPUs hold the exit back while STI blocks events, on others it comes at once and would come for ever
 * (26.2). A physical interrupt is held back on all of them.
 */
void vmx_nmi_window(struct vcpu *vcpu)
{
    if (vmcs_read32(VMCS_GUEST_INTERRUPTIBILITY) & BLOCKING_STI) {
        vcpu_request(vcpu, REQUEST_NMI);
        host_lapic_send_ipi(host_lapic_id(), HOST_VECTOR_KICK);
        return;
    }
    processor_control(vmx_of(vcpu), PROC_NMI_WINDOW, true);
}

void vmx_nmi_window_close(struct vcpu *vcpu)
{
    processor_control(vmx_of(vcpu), PROC_NMI_WINDOW, false);
}

/*
 * An IRET has ended the masking of NMIs and then met an exit: it will be executed again, masked until then
 * (28.2.3). The exit did not come while an event was being delivered.
 */
void vmx_mask_nmis_again(void)
{
    vmcs_write32(VMCS_GUEST_INTERRUPTIBILITY, vmcs_read32(VMCS_GUEST_INTERRUPTIBILITY) | BLOCKING_NMI);
}

/*
 * INT1 is a trap, which the exit for #DB caught before it was taken: give it back as it was, DR6 too. It
 * pushes the RIP behind it (25.8.3).
 */
void vmx_redeliver_int1(void)
{
    vmcs_write32(VMCS_ENTRY_LENGTH, vmcs_read32(VMCS_EXIT_LENGTH));
    vmcs_write32(VMCS_ENTRY_EVENT, EVENT_VALID | EVENT_TYPE_PRIVILEGED | VECTOR_DB);
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
