/* SPDX-License-Identifier: MIT */
/*
 * Offsets for world_switch.asm, computed by the compiler: C is the only place where layouts are stated. Never
 * linked.
 */
#include "arch/x86/machine/asm_offsets.h"
#include "arch/x86/vmx/vmcs.h"

#define GPR_OFFSET(name) OFFSET(VCPU_##name, offsetof(struct vcpu, regs.gpr[name]))

void asm_offsets(void)
{
    GPR_OFFSET(RAX);
    GPR_OFFSET(RCX);
    GPR_OFFSET(RDX);
    GPR_OFFSET(RBX);
    GPR_OFFSET(RBP);
    GPR_OFFSET(RSI);
    GPR_OFFSET(RDI);
    GPR_OFFSET(R8);
    GPR_OFFSET(R9);
    GPR_OFFSET(R10);
    GPR_OFFSET(R11);
    GPR_OFFSET(R12);
    GPR_OFFSET(R13);
    GPR_OFFSET(R14);
    GPR_OFFSET(R15);
    OFFSET(VCPU_RIP, offsetof(struct vcpu, regs.rip));
    OFFSET(VCPU_REQUESTS, offsetof(struct vcpu, requests));
    OFFSET(HOST_RSP_FIELD, VMCS_HOST_RSP);
    OFFSET(GUEST_RIP_FIELD, VMCS_GUEST_RIP);
}
