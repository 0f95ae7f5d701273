/* SPDX-License-Identifier: MIT */
/*
 * The light SVM exits: CPUID, MSRs, calls of 64-bit kernels, IN and OUT (hv/run/exit.h says what is light
 * about them). Each is decoded and stepped over here and ends in a jump to its answer, so that no function
 * keeps a register. Called by the world switch; what is not answered here goes to exit.c. AMD APM 2, 15.10
 * (ports), 15.11 (MSRs). The vCPU's own CPU.
 */
#include "arch/x86/machine/cpu.h"
#include "arch/x86/svm/opcode.h"
#include "hv/run/exit.h"
#include "hv/run/hypercall.h"

static const struct opcode opcode_cpuid = OPCODE_CPUID, opcode_vmmcall = OPCODE_VMMCALL;
static const struct opcode opcode_msr[2] = {OPCODE_RDMSR, OPCODE_WRMSR};

/*
 * The instruction stands alone: no event was being delivered, and neither a shadow nor a trap ends with it.
 */
static inline bool is_plain(const struct vmcb *vmcb)
{
    return likely(!(vmcb->save.rflags & (RFLAGS_TF | RFLAGS_RF)) &&
                  !(vmcb->control.shadow & SHADOW_INTERRUPT));
}

static inline u32 answer_at(struct vcpu *vcpu, const struct vmcb *vmcb, enum exit_kind kind, u64 end)
{
    if (unlikely(!is_plain(vmcb)))
        return EXIT_NOT_LIGHT;
    vcpu->regs.rip = end;
    return exit_light[kind](vcpu);
}

static __attribute__((noinline)) u32 answer_looked_up(struct vcpu *vcpu, const struct vmcb *vmcb,
                                                      enum exit_kind kind, const struct opcode *opcode)
{
    u64 end = opcode_end(vcpu, vmcb, opcode);

    return likely(end) ? answer_at(vcpu, vmcb, kind, end) : EXIT_NOT_LIGHT;
}

static inline u32 answer_instruction(struct vcpu *vcpu, const struct vmcb *vmcb, enum exit_kind kind,
                                     const struct opcode *opcode)
{
    u64 end = vmcb->control.next_rip; /* stays 0 where the CPU does not tell */

    return end ? answer_at(vcpu, vmcb, kind, end) : answer_looked_up(vcpu, vmcb, kind, opcode);
}

static inline u32 answer_msr(struct vcpu *vcpu, const struct vmcb *vmcb)
{
    if (vmcb->control.exit_info1 & 1)
        return answer_instruction(vcpu, vmcb, EXIT_MSR_WRITE, &opcode_msr[1]);
    return answer_instruction(vcpu, vmcb, EXIT_MSR_READ, &opcode_msr[0]);
}

/* Behind a prefix it is no call: CPUs differ about it. */
static inline u32 answer_hypercall(struct vcpu *vcpu, const struct vmcb *vmcb)
{
    const struct vmcb_save *save = &vmcb->save;
    u64 end = vmcb->control.next_rip;

    if (unlikely(save->cpl || !(save->cs.attributes & SEGMENT_LONG) || !(save->efer & EFER_LMA) ||
                 (end && end != save->rip + HYPERCALL_BYTES)))
        return EXIT_NOT_LIGHT;
    return answer_instruction(vcpu, vmcb, EXIT_HYPERCALL, &opcode_vmmcall);
}

static inline u32 answer_port(struct vcpu *vcpu, const struct vmcb *vmcb)
{
    u32 info = (u32)vmcb->control.exit_info1;

    if (unlikely((info & IO_STRING) || !is_plain(vmcb)))
        return EXIT_NOT_LIGHT;
    vcpu->regs.rip = vmcb->control.exit_info2;
    if (info & IO_IN)
        return exit_in_light(vcpu, info >> 16, info >> 4 & 7);
    return exit_out_light(vcpu, info >> 16, info >> 4 & 7);
}

static inline u32 handle(struct vcpu *vcpu, const struct vmcb *vmcb)
{
    switch (vmcb->control.exit_code) {
    case VMEXIT_IOIO: return answer_port(vcpu, vmcb);
    case VMEXIT_CPUID: return answer_instruction(vcpu, vmcb, EXIT_CPUID, &opcode_cpuid);
    case VMEXIT_MSR: return answer_msr(vcpu, vmcb);
    case VMEXIT_VMMCALL: return answer_hypercall(vcpu, vmcb);
    default: return EXIT_NOT_LIGHT;
    }
}

/*
 * Called by the world switch after each exit, before R12 to R15 are saved. Returns requests, or
 * EXIT_NOT_LIGHT: then svm_handle_exit is called. Clean bits that are cleared stay so, and a flush that was
 * asked for is asked for again: at worst the CPU does once more what it need not.
 */
u32 svm_handle_light(struct vcpu *vcpu)
{
    struct svm_vcpu *svm = svm_of(vcpu);
    u32 requests;

    svm_clean_remember(svm, 0);
    requests = handle(vcpu, &svm->vmcb);
    svm_clean_check(svm);
    return requests;
}
