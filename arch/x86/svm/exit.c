/* SPDX-License-Identifier: MIT */
/*
 * From an SVM exit to struct vmexit, and back into the guest. svm_handle_exit is the straight line that every
 * exit runs along but the light ones (exit_light.c); what only some exits need stands in functions of its
 * own. AMD APM 2, 15.5 to 15.15 and appendix C. The vCPU's own CPU.
 */
#include "hv/run/exit.h"
#include "arch/x86/machine/cpu.h"
#include "arch/x86/machine/lapic.h"
#include "arch/x86/svm/opcode.h"
#include "arch/x86/svm/svm.h"
#include "hv/run/decode.h"
#include "hv/run/emulate.h"

struct reason {
    u8 kind;
    u8 vector; /* FORBIDDEN: what the guest gets */
    struct opcode opcode;
};

/*
 * Exit codes below VMEXIT_NPF that need nothing but their kind and length; a missing row is an unknown
 * reason.
 */
static const struct reason reasons[0x90] = {
    [VMEXIT_INTR] = {.kind = EXIT_INTERRUPT},
    [VMEXIT_NMI] = {.kind = EXIT_NMI},
    [VMEXIT_RDPMC] = {.kind = EXIT_FORBIDDEN,
                      .vector = VECTOR_GP}, /* no counters, and CR4.PCE says nothing about lintel's */
    [VMEXIT_CPUID] = {.kind = EXIT_CPUID, .opcode = OPCODE_CPUID},
    [VMEXIT_RSM] = {.kind = EXIT_FORBIDDEN, .vector = VECTOR_UD}, /* outside system management mode */
    [VMEXIT_INVD] = {.kind = EXIT_WBINVD, .opcode = {0x080f, 0xffff, 2, OP_INVD}},
    [VMEXIT_PAUSE] = {.kind = EXIT_PAUSE, .opcode = {0x90f3, 0xffff, 2, OP_PAUSE}},
    [VMEXIT_HLT] = {.kind = EXIT_HLT, .opcode = {0xf4, 0xff, 1, OP_HLT}},
    [VMEXIT_INVLPGA] = {.kind = EXIT_FORBIDDEN, .vector = VECTOR_UD},
    [VMEXIT_SHUTDOWN] = {.kind = EXIT_TRIPLE_FAULT},
    [VMEXIT_VMRUN] = {.kind = EXIT_FORBIDDEN, .vector = VECTOR_UD},
    [VMEXIT_VMMCALL] = {.kind = EXIT_HYPERCALL, .opcode = OPCODE_VMMCALL},
    [VMEXIT_VMLOAD] = {.kind = EXIT_FORBIDDEN, .vector = VECTOR_UD},
    [VMEXIT_VMSAVE] = {.kind = EXIT_FORBIDDEN, .vector = VECTOR_UD},
    [VMEXIT_STGI] = {.kind = EXIT_FORBIDDEN, .vector = VECTOR_UD},
    [VMEXIT_CLGI] = {.kind = EXIT_FORBIDDEN, .vector = VECTOR_UD},
    [VMEXIT_SKINIT] = {.kind = EXIT_FORBIDDEN, .vector = VECTOR_UD},
    [VMEXIT_WBINVD] = {.kind = EXIT_WBINVD, .opcode = {0x090f, 0xffff, 2, OP_WBINVD}},
    [VMEXIT_MONITOR] = {.kind = EXIT_FORBIDDEN, .vector = VECTOR_UD},
    [VMEXIT_MWAIT] = {.kind = EXIT_FORBIDDEN, .vector = VECTOR_UD},
    [VMEXIT_MWAIT_ARMED] = {.kind = EXIT_FORBIDDEN, .vector = VECTOR_UD},
    [VMEXIT_XSETBV] = {.kind = EXIT_XSETBV, .opcode = {0xd1010f, 0xffffff, 3, OP_XSETBV}},
    [VMEXIT_RDPRU] = {.kind = EXIT_FORBIDDEN, .vector = VECTOR_UD},
};
/* VMEXIT_MSR tells by EXITINFO1 which of the two it was. */
static const struct reason msr_reasons[2] = {
    {.kind = EXIT_MSR_READ, .opcode = OPCODE_RDMSR},
    {.kind = EXIT_MSR_WRITE, .opcode = OPCODE_WRMSR},
};

/*
 * The first exit on a page, prefixes before the opcode, unusual modes, changed bytes: the decoder tells, or
 * 0.
 */
static __attribute__((noinline, cold)) u8 opcode_length_slow(struct vcpu *vcpu, const struct opcode *opcode)
{
    const struct vmcb_save *save = &svm_of(vcpu)->vmcb.save;
    struct instruction instruction;

    if ((save->cs.attributes & SEGMENT_LONG) && (save->efer & EFER_LMA) && !(save->cr4 & CR4_LA57))
        fetch_page_fill(fetch_cache_page(&vcpu->fetch_cache, save->rip), &vcpu->vm->memory, save->cr3,
                        save->rip);
    if (emulate_fetch(vcpu, &instruction) || instruction.operation != opcode->operation)
        return 0;
    return instruction.length;
}

/*
 * Length of the instruction that exited; where the CPU does not tell, look at it through the guest's paging.
 * 0: it has gone.
 */
static inline u8 opcode_length(struct vcpu *vcpu, const struct vmcb *vmcb, const struct opcode *opcode)
{
    u64 end = svm_features.next_rip ? vmcb->control.next_rip : opcode_end(vcpu, vmcb, opcode);

    return likely(end) ? (u8)(end - vmcb->save.rip) : opcode_length_slow(vcpu, opcode);
}

/*
 * EXITINFO1 as 15.10.2 lays it out (one bit for a size of 1, 2, 4 bytes: its value is the size); EXITINFO2
 * holds the next RIP on every CPU.
 */
static void decode_port(const struct vmcb_control *control, u64 rip, struct vmexit *x)
{
    u32 info = (u32)control->exit_info1;

    x->kind = EXIT_PORT;
    x->length = (u8)(control->exit_info2 - rip);
    x->io.flags = info & (IO_IN | IO_STRING | IO_REP); /* the same bits */
    x->io.size = info >> 4 & 7;
    x->io.port = (u16)(info >> 16);
}

static void decode_nested_fault(const struct vmcb_control *control, struct vmexit *x)
{
    x->kind = EXIT_NESTED_FAULT;
    x->length = 0;
    x->fault.gpa = control->exit_info2;
    x->fault.access = control->exit_info1; /* the same bits */
}

static void decode_raw(const struct vmcb_control *control, u8 kind, struct vmexit *x)
{
    x->kind = kind;
    x->length = 0;
    x->raw.reason = control->exit_code;
    x->raw.info1 = control->exit_info1;
    x->raw.info2 = control->exit_info2;
}

/*
 * MOV to or from CR8; without decode assists (EXITINFO1 bit 63) the register number stands in the instruction
 * alone.
 */
static bool decode_cr8(struct vcpu *vcpu, struct vmexit *x, bool write)
{
    const struct vmcb *vmcb = &svm_of(vcpu)->vmcb;
    struct instruction instruction;

    x->kind = EXIT_CR;
    x->cr.cr = 8;
    x->cr.write = write;
    if (svm_features.decode_assists && svm_features.next_rip) {
        x->cr.gpr = vmcb->control.exit_info1 & 0xf;
        x->length = (u8)(vmcb->control.next_rip - vmcb->save.rip);
        return true;
    }
    if (emulate_fetch(vcpu, &instruction))
        return false;
    if (instruction.operation != (write ? OP_MOV_TO_CR : OP_MOV_FROM_CR) || instruction.cr != 8)
        return false;
    x->cr.gpr = instruction.rm_gpr;
    x->length = instruction.length;
    return true;
}

static bool decode_exception(struct svm_vcpu *svm, struct vmexit *x)
{
    u8 vector = (u8)(svm->vmcb.control.exit_code - VMEXIT_EXCEPTION);

    x->length = 0;
    if (vector == VECTOR_DB && svm->nmi_step && !svm_step_exit(svm)) {
        x->kind = EXIT_NMI_WINDOW;
        if (!svm->nmi_window)
            return false;
        svm->nmi_window = false;
        return true;
    }
    x->kind = EXIT_EXCEPTION;
    x->exception.vector = vector;
    x->exception.error_code = (u32)svm->vmcb.control.exit_info1;
    x->exception.address = svm->vmcb.control.exit_info2;
    return true;
}

/* Exits that are rare, or need more than their row. false: nothing to dispatch, enter again. */
static __attribute__((noinline)) bool decode_rare(struct vcpu *vcpu, struct svm_vcpu *svm, struct vmexit *x)
{
    struct vmcb_control *control = &svm->vmcb.control;
    u64 code = control->exit_code;

    if ((u32)code == VMEXIT_INVALID) {
        decode_raw(control, EXIT_INVALID_STATE, x);
        return true;
    }
    if (code >= VMEXIT_EXCEPTION && code < VMEXIT_EXCEPTION + 32)
        return decode_exception(svm, x);
    switch (code) {
    case VMEXIT_CR_READ + 8:
    case VMEXIT_CR_WRITE + 8: return decode_cr8(vcpu, x, code == VMEXIT_CR_WRITE + 8);
    case VMEXIT_VINTR:
        host_lapic_look_again(); /* as svm_prepare_entry, which finds the window closed */
        svm_interrupt_window(vcpu, false);
        x->kind = EXIT_INTERRUPT_WINDOW;
        return true;
    case VMEXIT_IRET: svm_iret_exit(svm); return false;
    default: decode_raw(control, EXIT_UNKNOWN, x); return true;
    }
}

/*
 * A host interrupt came between STI and the HLT behind it. QEMU 7.2 loads no shadow at VMRUN: what became due
 * meanwhile would be delivered before HLT, which then slept over it for ever. Nothing may come in between on
 * any CPU, so HLT is next, and it exits anyway: let it be this exit. (The host has taken its interrupt.)
 */
static __attribute__((noinline, cold)) void decode_shadowed(struct vcpu *vcpu, struct vmexit *x)
{
    u8 byte;

    if (emulate_fetch_bytes(vcpu, &byte, 1) != 1 || byte != reasons[VMEXIT_HLT].opcode.bytes)
        return;
    x->kind = EXIT_HLT;
    x->length = reasons[VMEXIT_HLT].opcode.length;
}

/* Decode; false when nothing is left to dispatch: the guest is entered again. */
static inline bool decode(struct vcpu *vcpu, const struct vmcb *vmcb, struct vmexit *x)
{
    const struct vmcb_control *control = &vmcb->control;
    const struct reason *row;
    u64 code = control->exit_code;

    if (code == VMEXIT_NPF) {
        decode_nested_fault(control, x);
        return true;
    }
    if (code == VMEXIT_IOIO) {
        decode_port(control, vmcb->save.rip, x);
        return true;
    }
    if (code == VMEXIT_MSR)
        row = &msr_reasons[control->exit_info1 & 1];
    else if (likely(code < ARRAY_SIZE(reasons) && reasons[code].kind != EXIT_UNKNOWN))
        row = &reasons[code];
    else
        return decode_rare(vcpu, svm_of(vcpu), x);
    x->kind = row->kind;
    x->exception.vector = row->vector;
    x->length = 0;
    if (row->opcode.length == 0) {
        if (unlikely(control->shadow & SHADOW_INTERRUPT) && (code == VMEXIT_INTR || code == VMEXIT_NMI))
            decode_shadowed(vcpu, x);
        return true;
    }
    x->length = opcode_length(vcpu, vmcb, &row->opcode);
    /* 0: another vCPU changed the bytes or the mapping between exit and fetch: let the CPU look again. */
    return x->length != 0;
}

/*
 * An instruction was stepped over whose end is more than the next RIP: RF ends with it, and a guest that
 * single-steps gets the trap that the CPU would have raised.
 */
static __attribute__((noinline, cold)) void finish_instruction(struct vcpu *vcpu)
{
    struct svm_vcpu *svm = svm_of(vcpu);

    svm->vmcb.save.rflags &= ~RFLAGS_RF;
    if (!(svm->vmcb.save.rflags & RFLAGS_TF))
        return;
    vmcb_set_dr6(svm, vmcb_dr6(svm) | BIT(14));
    if (!(svm->vmcb.control.event_inject & EVENT_VALID))
        vcpu_inject_exception(vcpu, VECTOR_DB);
}

/*
 * Called by the world switch after each exit that was no light one. Afterwards the guest is entered again,
 * unless requests wait: then svm_prepare_entry is asked.
 */
void svm_handle_exit(struct vcpu *vcpu)
{
    struct svm_vcpu *svm = svm_of(vcpu);
    struct vmcb *vmcb = &svm->vmcb;
    struct vmexit x;

    vcpu->regs.rip = vmcb->save.rip;
    vmcb->control.clean = svm_features.clean_mask;
    vmcb->control.tlb_control = TLB_KEEP;
    svm_clean_remember(svm, CLEAN_ALL);
    if (unlikely(vmcb->control.exit_int_info & EVENT_VALID))
        svm_redeliver(svm);

    if (likely(decode(vcpu, vmcb, &x)))
        exit_dispatch(vcpu, &x);

    if (vcpu->regs.rip != vmcb->save.rip) {
        vmcb->control.shadow = 0; /* of the instruction that is over */
        if (unlikely(vmcb->save.rflags & (RFLAGS_TF | RFLAGS_RF)))
            finish_instruction(vcpu);
    }
    svm_clean_check(svm);
    exit_check_entry(vcpu);
}

/* Called by the world switch when requests wait after an exit. Returns whether to enter the guest again. */
bool svm_prepare_entry(struct vcpu *vcpu)
{
    bool enter;

    /*
     * An entry with V_IRQ writes QEMU 7.2's word of interrupt requests without its lock: a physical interrupt
     * that another thread raises at that moment is gone, though the local APIC has it, and a guest that
     * spins next would never be ended.
     */
    if (vmcb_v_intr(svm_of(vcpu)) & V_IRQ)
        host_lapic_look_again();
    enter = exit_prepare_entry(vcpu);
    if (enter) {
        svm_flush_due(svm_of(vcpu));
        exit_check_entry(vcpu);
    }
    svm_clean_check(svm_of(vcpu));
    return enter;
}
