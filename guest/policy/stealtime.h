/* SPDX-License-Identifier: MIT */
/*
 * Steal time: a record in guest memory per vCPU that tells for how long the vCPU had something to do and no
 * CPU to do it on. Offered by personality kvm alone. Linux: asm/kvm_para.h. The vCPU's own CPU, no lock.
 */
#ifndef GUEST_POLICY_STEALTIME_H
#define GUEST_POLICY_STEALTIME_H

#include "hv/lib/types.h"

struct vcpu;

#define KVM_FEATURE_STEAL_TIME 0x20u /* the MSR below */

#define MSR_KVM_STEAL_TIME 0x4b564d03

struct stealtime {
    u64 msr;     /* as written: address and enable bit */
    u64 before;  /* nanoseconds that the record held when it was registered */
    u64 begin;   /* ticks the vCPU had waited then */
    u32 version; /* of the record: odd while it is written */
};

/* Forget what the guest registered (reset). */
void stealtime_reset(struct stealtime *steal);
/* Write the record, if there is one: the vCPU has waited and is about to run (struct machine_ops). */
void stealtime_update(struct vcpu *vcpu);

/* Handlers for struct msr_range. */
int stealtime_msr_read(struct vcpu *vcpu, u32 msr, u64 *value);
int stealtime_msr_write(struct vcpu *vcpu, u32 msr, u64 value);

#endif
