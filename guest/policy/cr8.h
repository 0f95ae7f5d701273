/* SPDX-License-Identifier: MIT */
/* MOV to and from CR8: the task priority of the local APIC. APM 2, 16.6.4. The vCPU's own CPU. */
#ifndef GUEST_POLICY_CR8_H
#define GUEST_POLICY_CR8_H

#include "hv/run/vcpu.h"

/* The exit's handler. */
void policy_cr8(struct vcpu *vcpu, struct vmexit *x);

#endif
