/* SPDX-License-Identifier: MIT */
/*
 * The light VMX exits: CPUID, MSRs, calls of 64-bit kernels, IN and OUT (hv/run/exit.h says what is light
 * about them). Each is decoded and stepped over here and ends in a jump to its answer, so that no function
 * keeps a register. Called by the world switch; what is not answered here goes to exit.c. Intel SDM 3C,
 * chapter 28. The vCPU's own CPU; its VMCS is current.
 */
#include "arch/x86/vmx/reasons.h"
#include "arch/x86/vmx/vmx.h"
#include "hv/run/exit.h"
#include "hv/run/hypercall.h"

/*
 * The instruction stands alone: no event was being delivered, and neither a shadow nor a trap ends with it.
 */
static inline bool is_plain(void)
{
    return likely(!(vmcs_read(VMCS_GUEST_RFLAGS) & (RFLAGS_TF | RFLAGS_RF)) &&
                  !(vmcs_read32(VMCS_GUEST_INTERRUPTIBILITY) & (BLOCKING_STI | BLOCKING_MOV_SS)));
}

static inline u32 answer_instruction(struct vcpu *vcpu, enum exit_kind kind)
{
    if (unlikely(!is_plain()))
        return EXIT_NOT_LIGHT;
    vcpu->regs.rip = vmcs_read(VMCS_GUEST_RIP) + vmcs_read_raw(VMCS_EXIT_LENGTH);
    return exit_light[kind](vcpu);
}

/* Behind a prefix it is no call: CPUs differ about it. */
static inline u32 answer_hypercall(struct vcpu *vcpu)
{
    if (unlikely(!(vmcs_read_raw(VMCS_GUEST_RIGHTS + 2 * SEGMENT_CS) & RIGHTS_LONG) ||
                 (vmcs_read_raw(VMCS_GUEST_RIGHTS + 2 * SEGMENT_SS) & RIGHTS_PRIVILEGE) ||
                 !(vmcs_read64(VMCS_GUEST_EFER) & EFER_LMA) ||
                 vmcs_read_raw(VMCS_EXIT_LENGTH) != HYPERCALL_BYTES || !is_plain()))
        return EXIT_NOT_LIGHT;
    vcpu->regs.rip = vmcs_read(VMCS_GUEST_RIP) + HYPERCALL_BYTES;
    return exit_light[EXIT_HYPERCALL](vcpu);
}

static inline u32 answer_port(struct vcpu *vcpu)
{
    u32 qualification = (u32)vmcs_read(VMCS_EXIT_QUALIFICATION);

    if (unlikely((qualification & PORT_STRING) || !is_plain()))
        return EXIT_NOT_LIGHT;
    vcpu->regs.rip = vmcs_read(VMCS_GUEST_RIP) + vmcs_read_raw(VMCS_EXIT_LENGTH);
    if (qualification & PORT_IN)
        return exit_in_light(vcpu, qualification >> 16, (qualification & 7) + 1);
    return exit_out_light(vcpu, qualification >> 16, (qualification & 7) + 1);
}

/*
 * Called by the world switch after each exit, before R12 to R15 are saved. Returns requests, or
 * EXIT_NOT_LIGHT: then vmx_handle_exit is called.
 */
u32 vmx_handle_light(struct vcpu *vcpu)
{
    switch (vmcs_read32(VMCS_EXIT_REASON)) {
    case REASON_IO: return answer_port(vcpu);
    case REASON_CPUID: return answer_instruction(vcpu, EXIT_CPUID);
    case REASON_RDMSR: return answer_instruction(vcpu, EXIT_MSR_READ);
    case REASON_WRMSR: return answer_instruction(vcpu, EXIT_MSR_WRITE);
    case REASON_VMCALL: return answer_hypercall(vcpu);
    default: return EXIT_NOT_LIGHT;
    }
}
