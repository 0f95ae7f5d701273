/* SPDX-License-Identifier: MIT */
/* The machine's part of a vCPU's snapshot: the machine_ops behind hv/run/vcpu_snapshot.c, contract there. */
#ifndef GUEST_SNAPSHOT_H
#define GUEST_SNAPSHOT_H

#include "hv/run/vcpu_snapshot.h"

void snapshot_read(struct vcpu *vcpu, struct vcpu_snapshot *snapshot);
bool snapshot_is_possible(struct vcpu *vcpu, const struct vcpu_snapshot *snapshot);
void snapshot_set(struct vcpu *vcpu, const struct vcpu_snapshot *snapshot);

#endif
