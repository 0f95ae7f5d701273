/* SPDX-License-Identifier: MIT */
/*
 * From a VMX exit to struct vmexit, and back into the guest. vmx_handle_exit is the straight line that every
 * exit runs along but the light ones (exit_light.c); what only some exits need stands in functions of its
 * own. Intel SDM 3C, chapter 28 and appendix C (reasons), 28.2.1 (qualifications). The vCPU's own CPU; its
 * VMCS is current.
 */
#include "hv/run/exit.h"
#include "arch/x86/machine/exception.h"
#include "arch/x86/vmx/reasons.h"
#include "arch/x86/vmx/vmx.h"
#include "hv/lib/errno.h"
#include "hv/lib/panic.h"

struct reason {
    u8 kind;
    u8 vector;    /* FORBIDDEN: what the guest gets */
    bool counted; /* an instruction: the CPU tells its length */
};

/* Reasons that need nothing but their kind and length; a missing row is looked at in decode_rare. */
static const struct reason reasons[REASON_COUNT] = {
    [REASON_INTERRUPT] = {.kind = EXIT_INTERRUPT},
    [REASON_TRIPLE_FAULT] = {.kind = EXIT_TRIPLE_FAULT},
    [REASON_INIT] = {.kind = EXIT_NMI}, /* another CPU's mistake: lintel sends none to a running one */
    [REASON_CPUID] = {.kind = EXIT_CPUID, .counted = true},
    [REASON_GETSEC] = {.kind = EXIT_FORBIDDEN, .vector = VECTOR_UD},
    [REASON_HLT] = {.kind = EXIT_HLT, .counted = true},
    [REASON_INVD] = {.kind = EXIT_WBINVD, .counted = true},
    [REASON_RDPMC] = {.kind = EXIT_FORBIDDEN, .vector = VECTOR_GP},
    [REASON_RSM] = {.kind = EXIT_FORBIDDEN, .vector = VECTOR_UD},
    [REASON_VMCALL] = {.kind = EXIT_HYPERCALL, .counted = true},
    [REASON_VMCLEAR] = {.kind = EXIT_FORBIDDEN, .vector = VECTOR_UD},
    [REASON_VMLAUNCH] = {.kind = EXIT_FORBIDDEN, .vector = VECTOR_UD},
    [REASON_VMPTRLD] = {.kind = EXIT_FORBIDDEN, .vector = VECTOR_UD},
    [REASON_VMPTRST] = {.kind = EXIT_FORBIDDEN, .vector = VECTOR_UD},
    [REASON_VMREAD] = {.kind = EXIT_FORBIDDEN, .vector = VECTOR_UD},
    [REASON_VMRESUME] = {.kind = EXIT_FORBIDDEN, .vector = VECTOR_UD},
    [REASON_VMWRITE] = {.kind = EXIT_FORBIDDEN, .vector = VECTOR_UD},
    [REASON_VMXOFF] = {.kind = EXIT_FORBIDDEN, .vector = VECTOR_UD},
    [REASON_VMXON] = {.kind = EXIT_FORBIDDEN, .vector = VECTOR_UD},
    [REASON_RDMSR] = {.kind = EXIT_MSR_READ, .counted = true},
    [REASON_WRMSR] = {.kind = EXIT_MSR_WRITE, .counted = true},
    [REASON_MWAIT] = {.kind = EXIT_FORBIDDEN, .vector = VECTOR_UD},
    [REASON_MONITOR] = {.kind = EXIT_FORBIDDEN, .vector = VECTOR_UD},
    [REASON_PAUSE] = {.kind = EXIT_PAUSE, .counted = true},
    [REASON_TPR_THRESHOLD] = {.kind = EXIT_INTERRUPT_WINDOW}, /* behind the instruction that wrote TPR */
    [REASON_INVEPT] = {.kind = EXIT_FORBIDDEN, .vector = VECTOR_UD},
    [REASON_PREEMPTION_TIMER] = {.kind = EXIT_INTERRUPT}, /* the interrupts that wait have been taken */
    [REASON_INVVPID] = {.kind = EXIT_FORBIDDEN, .vector = VECTOR_UD},
    [REASON_WBINVD] = {.kind = EXIT_WBINVD, .counted = true},
    [REASON_XSETBV] = {.kind = EXIT_XSETBV, .counted = true},
};

static void decode_port(struct vmexit *x)
{
    u32 qualification = (u32)vmcs_read(VMCS_EXIT_QUALIFICATION);

    x->kind = EXIT_PORT;
    x->length = (u8)vmcs_read32(VMCS_EXIT_LENGTH);
    x->io.size = (u8)((qualification & 7) + 1);
    x->io.port = (u16)(qualification >> 16);
    x->io.flags = (u8)((qualification & PORT_IN ? IO_IN : 0) | (qualification & PORT_STRING ? IO_STRING : 0) |
                       (qualification & PORT_REP ? IO_REP : 0));
}

/* Table 28-7. */
static void decode_nested_fault(struct vmexit *x)
{
    u64 qualification = vmcs_read(VMCS_EXIT_QUALIFICATION);

    x->kind = EXIT_NESTED_FAULT;
    x->length = 0;
    x->fault.gpa = vmcs_read64(VMCS_GUEST_PHYSICAL);
    x->fault.access = (qualification & BIT(1) ? FAULT_WRITE : 0) | (qualification & BIT(2) ? FAULT_FETCH : 0);
    if ((qualification & BITS(8, 7)) == BIT(7))
        x->fault.access |= FAULT_TABLE_WALK;
    if (unlikely(qualification & BIT(12)) && !(vmcs_read32(VMCS_VECTORING_EVENT) & EVENT_VALID))
        vmx_mask_nmis_again();
}

static void decode_raw(u8 kind, u32 reason, struct vmexit *x)
{
    x->kind = kind;
    x->length = 0;
    x->raw.reason = reason;
    x->raw.info1 = vmcs_read(VMCS_EXIT_QUALIFICATION);
    x->raw.info2 = vmcs_read32(VMCS_EXIT_EVENT);
}

/*
 * The CPU reports the causes of #DB in the qualification and leaves DR6 and DR7 alone (28.2.1, table 28-1).
 */
static void debug_exception(struct vcpu *vcpu)
{
    const u64 causes = BITS(3, 0) | BIT(13) | BIT(14);
    u64 found = vmcs_read(VMCS_EXIT_QUALIFICATION) & causes;
    u64 dr6 = vmx_register_get(vcpu, REGISTER_DR6);

    vmx_register_set(vcpu, REGISTER_DR6, (dr6 & ~BITS(3, 0)) | found);
    if (found & BIT(13))
        vmcs_write(VMCS_GUEST_DR7, vmcs_read(VMCS_GUEST_DR7) & ~BIT(13)); /* GD */
}

static bool decode_exception_or_nmi(struct vcpu *vcpu, struct vmexit *x)
{
    u32 event = vmcs_read32(VMCS_EXIT_EVENT);

    x->length = 0;
    if ((event & EVENT_TYPE) == EVENT_TYPE_NMI) {
        x->kind = EXIT_NMI;
        asm volatile("int $2"); /* the exit has taken it: lintel's handler has not seen it */
        return true;
    }
    if ((event & EVENT_TYPE) == EVENT_TYPE_PRIVILEGED) {
        vmx_redeliver_int1();
        return false;
    }
    x->kind = EXIT_EXCEPTION;
    x->exception.vector = event & EVENT_VECTOR;
    x->exception.error_code = vmcs_read32(VMCS_EXIT_ERROR_CODE);
    x->exception.address = vmcs_read(VMCS_EXIT_QUALIFICATION);
    if (x->exception.vector == VECTOR_DB)
        debug_exception(vcpu);
    return true;
}

/*
 * Outside 64-bit code the instruction pointer wraps at 4 GiB. Where lintel has stepped over an instruction at
 * that end it lies beyond; no exit pays for looking, since the entry does (27.3.1.4), and changes nothing.
 */
bool vmx_wrap_rip(struct vcpu *vcpu)
{
    u64 rip = vcpu->regs.rip;

    if (!(rip >> 32) || ((vmcs_read_raw(VMCS_GUEST_RIGHTS + 2 * SEGMENT_CS) & RIGHTS_LONG) &&
                         (vmcs_read64(VMCS_GUEST_EFER) & EFER_LMA)))
        return false;
    vcpu->regs.rip = (u32)rip;
    return true;
}

/* Exits that are rare, or need more than their row. false: nothing to dispatch, enter again. */
static __attribute__((noinline)) bool decode_rare(struct vcpu *vcpu, u32 reason, struct vmexit *x)
{
    if (reason & REASON_ENTRY_FAILED) {
        if (vmx_wrap_rip(vcpu))
            return false;
        decode_raw(EXIT_INVALID_STATE, reason, x);
        log_error("VM %s: vCPU %u can't enter: %s", vcpu->vm->name, vcpu->index, vmx_explain_entry(reason));
        return true;
    }
    switch (reason & REASON_BASIC) {
    case REASON_EXCEPTION_NMI: return decode_exception_or_nmi(vcpu, x);
    case REASON_CR: x->length = (u8)vmcs_read32(VMCS_EXIT_LENGTH); return vmx_cr_exit(vcpu, x);
    case REASON_INTERRUPT_WINDOW:
        vmx_interrupt_window(vcpu, false);
        x->kind = EXIT_INTERRUPT_WINDOW;
        return true;
    case REASON_NMI_WINDOW:
        vmx_nmi_window_close(vcpu);
        x->kind = EXIT_NMI_WINDOW;
        return true;
    case REASON_APIC_WRITE: vmx_apic_decode_write(x); return true;
    case REASON_APIC_ACCESS: vmx_apic_decode_access(x); return true;
    case REASON_TASK_SWITCH: decode_raw(EXIT_TASK_SWITCH, reason, x); return true;
    default: decode_raw(EXIT_UNKNOWN, reason, x); return true;
    }
}

static inline bool decode(struct vcpu *vcpu, struct vmexit *x)
{
    u32 reason = vmcs_read32(VMCS_EXIT_REASON);
    const struct reason *row = &reasons[reason & (REASON_COUNT - 1)];

    if (reason == REASON_EPT_VIOLATION) {
        decode_nested_fault(x);
        return true;
    }
    if (reason == REASON_IO) {
        decode_port(x);
        return true;
    }
    if (unlikely(reason >= REASON_COUNT || row->kind == EXIT_UNKNOWN))
        return decode_rare(vcpu, reason, x);
    x->kind = row->kind;
    x->exception.vector = row->vector;
    x->length = row->counted ? (u8)vmcs_read32(VMCS_EXIT_LENGTH) : 0;
    return true;
}

/* An instruction was stepped over: what the CPU would have done at its end. */
static void finish_instruction(struct vcpu *vcpu)
{
    u32 blocking = vmcs_read32(VMCS_GUEST_INTERRUPTIBILITY);
    u64 rflags = vmcs_read(VMCS_GUEST_RFLAGS);
    struct vcpu_event pending;

    if (blocking & (BLOCKING_STI | BLOCKING_MOV_SS))
        vmcs_write32(VMCS_GUEST_INTERRUPTIBILITY, blocking & ~(BLOCKING_STI | BLOCKING_MOV_SS));
    if (likely(!(rflags & (RFLAGS_TF | RFLAGS_RF))))
        return;
    vmcs_write(VMCS_GUEST_RFLAGS, rflags & ~RFLAGS_RF); /* it ends with the instruction */
    if (!(rflags & RFLAGS_TF))
        return;
    vmx_register_set(vcpu, REGISTER_DR6, vmx_register_get(vcpu, REGISTER_DR6) | BIT(14));
    if (!vmx_event_pending(vcpu, &pending))
        vcpu_inject_exception(vcpu, VECTOR_DB);
}

/*
 * Called by the world switch after each exit that was no light one. Afterwards the guest is entered again,
 * unless requests wait: then vmx_prepare_entry is asked.
 */
void vmx_handle_exit(struct vcpu *vcpu)
{
    u64 rip = vmcs_read(VMCS_GUEST_RIP);
    bool held = vmcs_read32(VMCS_VECTORING_EVENT) & EVENT_VALID;
    struct vmexit x;

    vcpu->regs.rip = rip;
    if (unlikely(held))
        vmx_redeliver();
    if (likely(decode(vcpu, &x)))
        exit_dispatch(vcpu, &x);
    if (vcpu->regs.rip != rip)
        finish_instruction(vcpu);
    else
        held = true;
    /*
     * An entry takes physical interrupts only behind the event that it injects, or behind the instruction
     * in a shadow. A guest can arrange that either exits again for ever: let them in here.
     */
    if (unlikely(held))
        cpu_take_interrupts();
    exit_check_entry(vcpu);
}

/* Called by the world switch when requests wait after an exit. Returns whether to enter the guest again. */
bool vmx_prepare_entry(struct vcpu *vcpu)
{
    bool again;

    vmx_of(vcpu)->launched = true;
    again = exit_prepare_entry(vcpu);
    vmx_apic_update(vcpu);
    if (again)
        exit_check_entry(vcpu);
    return again;
}

/* VMLAUNCH or VMRESUME failed without an exit: lintel's own mistake or an impossible control (31.4). */
void vmx_entry_failed(struct vcpu *vcpu)
{
    u32 error = vmcs_read32(VMCS_INSTRUCTION_ERROR);

    vcpu_dump(vcpu);
    vm_stop(vcpu->vm, "vCPU %u: the CPU refused to enter the guest, error %u: %s", vcpu->index, error,
            vmx_explain_error(error));
}
