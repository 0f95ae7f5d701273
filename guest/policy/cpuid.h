/* SPDX-License-Identifier: MIT */
/*
 * What CPUID tells a guest. The answers are worked out once, at VM creation, out of the host's and one
 * table of masks; an exit is one look into an array. guest/machine.c builds, boot wires policy_cpuid to the
 * exit. Read-only afterwards: no lock.
 */
#ifndef GUEST_POLICY_CPUID_H
#define GUEST_POLICY_CPUID_H

#include "arch/x86/machine/cpu.h"
#include "hv/run/vm_config.h"
#include "hv/run/vmexit.h"

struct vcpu;

#define CPUID_LEAVES \
    63 /* per group, from its first: more than lintel shows of any CPU; makes a group 1 KiB */
#define CPUID_SUBLEAVES 24 /* of all leaves that have any */
#define CPUID_GROUPS    4  /* by bits 31:30: basic, hypervisor, extended, nobody's */

struct cpuid_group {
    /* Leaves, by bit, that the array answers: the others do not exist, have subleaves, or follow the vCPU. */
    u64 plain;
    u32 count; /* leaves beyond are zero */
    u32 reserved;
    struct cpuid leaves[CPUID_LEAVES];
};
_Static_assert(sizeof(struct cpuid_group) == 1024, "a group is found by a shift");

struct cpuid_subleaf {
    u32 leaf, subleaf;
    struct cpuid out;
};

struct cpuid_policy {
    struct cpuid_group groups[CPUID_GROUPS];
    struct cpuid_subleaf subleaves[CPUID_SUBLEAVES];
    u32 subleaf_count;
};

/* Fill policy for a VM; host asks the CPU. Boot CPU, once per VM. */
void cpuid_policy_build(struct cpuid_policy *policy, const struct vm_config *config,
                        struct cpuid (*host)(u32 leaf, u32 subleaf));

/* The answer that does not depend on a vCPU's state; for other policies (does this VM have NX?) and tests. */
struct cpuid cpuid_policy_get(const struct cpuid_policy *policy, u32 leaf, u32 subleaf);

/* The exit's handler: answers into RAX, RBX, RCX, RDX and steps over the instruction. The vCPU's own CPU. */
void policy_cpuid(struct vcpu *vcpu, struct vmexit *x);
/* The same for a leaf that the array answers (exit_light); others: EXIT_NOT_LIGHT. */
u32 policy_cpuid_light(struct vcpu *vcpu);

#endif
