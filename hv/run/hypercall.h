/* SPDX-License-Identifier: MIT */
/* Calls from guests to lintel: number in RAX, arguments RBX, RCX, RDX, RSI, result in RAX. docs/abi.md. */
#ifndef HV_RUN_HYPERCALL_H
#define HV_RUN_HYPERCALL_H

#include "hv/run/vcpu.h"

/* Answer one call; returns what RAX gets. */
s64 hypercall_perform(struct vcpu *vcpu, u64 number);

#endif
