/* SPDX-License-Identifier: MIT */
/*
 * Steal time: a record in guest memory per vCPU that tells for how long the vCPU had something to do and no
 * CPU to do it on. Personality kvm has it by an MSR (Linux: asm/kvm_para.h), vmware by a port call (Linux:
 * cpu/vmware.c), each with a record of its own. The vCPU's own CPU, no lock.
 */
#ifndef GUEST_POLICY_STEALTIME_H
#define GUEST_POLICY_STEALTIME_H

#include "hv/lib/types.h"

struct vcpu;

#define KVM_FEATURE_STEAL_TIME 0x20u /* the MSR below */

#define MSR_KVM_STEAL_TIME 0x4b564d03

#define STEAL_ENABLE   BIT(0)
#define STEAL_RESERVED BITS(5, 1) /* the record is aligned to its size */

struct stealtime {
    u64 record;  /* its address, and STEAL_ENABLE; KVM's MSR as written */
    u64 before;  /* what the record said when it was registered: nanoseconds, under vmware ticks */
    u64 begin;   /* ticks the vCPU had waited then */
    u32 version; /* of kvm's record: odd while it is written */
};

/* Forget what the guest registered (reset). */
void stealtime_reset(struct stealtime *steal);
/* Write the record, if there is one: the vCPU has waited and is about to run (struct machine_ops). */
void stealtime_update(struct vcpu *vcpu);
/*
 * Keep the record at this address from now on (STEAL_ENABLE; no reserved bit), or none; it is pinned
 * meanwhile. Negative: it is not in RAM, or can't be given or pinned, and nothing changes.
 */
int stealtime_register(struct vcpu *vcpu, u64 record);

/* Of a snapshot: could the guest have registered it? And register it, unless it is so already. */
bool stealtime_is_possible(const struct vcpu *vcpu, u64 record);
void stealtime_set(struct vcpu *vcpu, u64 record);

/* Handlers for struct msr_range. */
int stealtime_msr_read(struct vcpu *vcpu, u32 msr, u64 *value);
int stealtime_msr_write(struct vcpu *vcpu, u32 msr, u64 value);

#endif
