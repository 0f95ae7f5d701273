/* SPDX-License-Identifier: MIT */
/*
 * Model-specific registers as guests see them: one table, a reason per row. Boot wires the two handlers to
 * the exits. What is in no row does not exist: #GP(0), and a line in the log. The vCPU's own CPU, no lock.
 */
#ifndef GUEST_POLICY_MSR_H
#define GUEST_POLICY_MSR_H

#include "hv/run/bus.h"

struct vcpu_snapshot;

/* What a vCPU keeps for MSRs that no device and no engine keeps. */
struct msr_state {
    u64 tsc_adjust;
    u64 mtrr_default;
    u64 hwcr;
};

/* As at power-on. */
void msr_state_reset(struct msr_state *state);

/* Of a snapshot (vcpu_snapshot.h): EFER's bits, and struct snapshot_msrs. set: what is_possible agreed to. */
bool msr_snapshot_is_possible(const struct vcpu *vcpu, const struct vcpu_snapshot *snapshot);
void msr_snapshot_set(struct vcpu *vcpu, const struct vcpu_snapshot *snapshot);

/* The table, for tests and for whoever wants to know. */
extern const struct msr_bus policy_msrs;

void policy_msr_read(struct vcpu *vcpu, struct vmexit *x);
void policy_msr_write(struct vcpu *vcpu, struct vmexit *x);
/* The same where it is no #GP (exit_light): readers and writers never look at vcpu->regs. */
u32 policy_msr_read_light(struct vcpu *vcpu);
u32 policy_msr_write_light(struct vcpu *vcpu);

#endif
