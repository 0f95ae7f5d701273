/* SPDX-License-Identifier: MIT */
/*
 * What the machine keeps for a vCPU, as its snapshot has it: local APIC, kvm-clock, steal time and the other
 * MSRs of guest/policy. The VM is frozen; no lock held.
 */
#include "guest/snapshot.h"

#include "guest/machine.h"

static struct machine_vcpu *part_of(const struct vcpu *vcpu)
{
    return &((struct machine *)vcpu->vm->machine)->vcpus[vcpu->index];
}

void snapshot_read(struct vcpu *vcpu, struct vcpu_snapshot *snapshot)
{
    struct machine_vcpu *part = part_of(vcpu);

    snapshot->msrs = (struct snapshot_msrs){
        .tsc_adjust = part->msrs.tsc_adjust,
        .mtrr_default = part->msrs.mtrr_default,
        .hwcr = part->msrs.hwcr,
        .kvm_system_time = part->clock.system_time,
        .kvm_wall_clock = part->clock.wall_clock,
        .steal_record = part->steal.record,
    };
    lapic_snapshot_read(&part->lapic, vcpu->tsc_offset, &snapshot->lapic);
}

bool snapshot_is_possible(struct vcpu *vcpu, const struct vcpu_snapshot *snapshot)
{
    return msr_snapshot_is_possible(vcpu, snapshot) &&
           lapic_snapshot_is_possible(&part_of(vcpu)->lapic, snapshot->tsc_offset, &snapshot->lapic);
}

void snapshot_set(struct vcpu *vcpu, const struct vcpu_snapshot *snapshot)
{
    msr_snapshot_set(vcpu, snapshot);
    lapic_snapshot_set(&part_of(vcpu)->lapic, snapshot->tsc_offset, &snapshot->lapic);
}
