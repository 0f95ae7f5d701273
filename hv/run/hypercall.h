/* SPDX-License-Identifier: MIT */
/*
 * Calls from guests to lintel: number in RAX, arguments in RBX, RCX, RDX, RSI, result in RAX; every other
 * register is kept. The contract for guests is docs/abi.md, the header for their kernels guest/pv/lintel.h.
 * The vCPU's own CPU.
 */
#ifndef HV_RUN_HYPERCALL_H
#define HV_RUN_HYPERCALL_H

#include "hv/run/vm.h"

/* lintel's own calls start here ("LT"), far from the numbers of other hypervisors. */
#define HYPERCALL_BASE  0x4c540000ull
#define HYPERCALL_RANGE 0xffffull

enum hypercall {
    HYPERCALL_VERSION,       /* -> HYPERCALL_ABI_VERSION */
    HYPERCALL_FEATURES,      /* word -> bits; words that do not exist are 0 */
    HYPERCALL_CONSOLE_WRITE, /* gpa, bytes -> bytes written, -EINVAL, -EFAULT */
    HYPERCALL_YIELD,         /* -> 0 */
    HYPERCALL_CPU_ON,        /* vCPU, entry, argument -> 0, -EINVAL, -EALREADY, -EINPROGRESS */
    HYPERCALL_CPU_OFF,       /* -> 0, when the operator starts the vCPU again */
    HYPERCALL_CPU_STATE,     /* vCPU -> HYPERCALL_CPU_IS_*, -EINVAL */
    HYPERCALL_SYSTEM_OFF,    /* does not return */
    HYPERCALL_SYSTEM_RESET,  /* does not return */
    HYPERCALL_P2M_MAP,       /* gpa -> entries there, -EINVAL, -EBUSY, -EALREADY, -EPERM */
    HYPERCALL_P2M_UNMAP,     /* -> 0, -ENOENT, -EPERM */
    HYPERCALL_COUNT,
};

#define HYPERCALL_ABI_VERSION 0x10001 /* major << 16 | minor */

#define HYPERCALL_FEATURE_CONSOLE_WRITE BIT(0)
#define HYPERCALL_FEATURE_YIELD         BIT(1)
#define HYPERCALL_FEATURE_CPU_POWER     BIT(2)
#define HYPERCALL_FEATURE_SYSTEM_POWER  BIT(3)
#define HYPERCALL_FEATURE_P2M           BIT(4) /* of a VM with p2m = shared */

enum hypercall_cpu_state { HYPERCALL_CPU_IS_OFF, HYPERCALL_CPU_IS_ON, HYPERCALL_CPU_IS_PENDING };

#define HYPERCALL_CONSOLE_MAX 4096

#define HYPERCALL_BYTES 3 /* of VMCALL and of VMMCALL */

/* What Linux calls KVM_ENOSYS: the answer to numbers outside lintel's range under personality kvm. */
#define HYPERCALL_KVM_ENOSYS 1000

/* The exit handler of the CPU's own instruction. */
void exit_hypercall(struct vcpu *vcpu, struct vmexit *x);
/* The same where the engine has seen a 64-bit kernel call (exit_light). */
u32 exit_hypercall_light(struct vcpu *vcpu);

/*
 * The guest met #UD: if the bytes at RIP are the other vendor's instruction, it is rewritten, the call is
 * made, and true returned: the guest never sees the exception. hypercall_patch.c.
 */
bool hypercall_undefined(struct vcpu *vcpu);

/* Answer the call that the registers hold and step over its instruction. */
void hypercall_perform(struct vcpu *vcpu, const struct guest_paging *paging);

#endif
