/* SPDX-License-Identifier: MIT */
/* Hypercalls. No call has a number yet: each is answered by -ENOSYS, so that guests can probe. docs/abi.md. */

#include "hv/lib/errno.h"
#include "hv/run/exit.h"

void exit_hypercall(struct vcpu *vcpu, struct vmexit *x)
{
    vcpu->regs.gpr[RAX] = (u64)-ENOSYS;
    vcpu_skip(vcpu, x);
}
