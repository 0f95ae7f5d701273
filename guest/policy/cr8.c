/* SPDX-License-Identifier: MIT */
/*
 * CR8 is a second door to the local APIC's task priority; engines that can't leave it to hardware exit here.
 */
#include "guest/policy/cr8.h"

#include "arch/x86/machine/cpu.h"
#include "guest/devices/lapic.h"

#define CR8_PRIORITY BITS(3, 0)

void policy_cr8(struct vcpu *vcpu, struct vmexit *x)
{
    u64 value;

    if (!x->cr.write) {
        vcpu_gpr_set(vcpu, x->cr.gpr, lapic_get_cr8(vcpu));
        vcpu_skip(vcpu, x);
        return;
    }
    value = vcpu_gpr_get(vcpu, x->cr.gpr);
    if (value & ~CR8_PRIORITY) {
        vcpu_inject_fault(vcpu, VECTOR_GP, 0);
        return;
    }
    lapic_set_cr8(vcpu, value);
    vcpu_skip(vcpu, x);
}
