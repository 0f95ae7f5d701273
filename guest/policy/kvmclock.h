/* SPDX-License-Identifier: MIT */
/*
 * kvm-clock: a page of guest memory per vCPU that turns the guest's TSC into nanoseconds since the VM's
 * start, and the wall-clock time of that start. Offered by personality kvm alone. Linux: asm/pvclock-abi.h,
 * asm/kvm_para.h. The vCPU's own CPU, no lock.
 */
#ifndef GUEST_POLICY_KVMCLOCK_H
#define GUEST_POLICY_KVMCLOCK_H

#include "hv/lib/types.h"

struct vcpu;

#define KVM_FEATURE_CLOCKSOURCE        0x1u       /* MSRs 0x11, 0x12 */
#define KVM_FEATURE_NOP_IO_DELAY       0x2u       /* ports need no delay */
#define KVM_FEATURE_CLOCKSOURCE2       0x8u       /* MSRs 0x4b564d00, 0x4b564d01 */
#define KVM_FEATURE_CLOCKSOURCE_STABLE (1u << 24) /* the pages of all vCPUs agree */

#define MSR_KVM_WALL_CLOCK      0x11
#define MSR_KVM_SYSTEM_TIME     0x12
#define MSR_KVM_WALL_CLOCK_NEW  0x4b564d00
#define MSR_KVM_SYSTEM_TIME_NEW 0x4b564d01

struct kvmclock {
    u64 system_time; /* MSR as written: address and enable bit */
    u64 wall_clock;
    u32 version; /* of the page: odd while it is written */
};

/* ns = (ticks << shift, or >> -shift) * mul >> 32. khz: 1 .. 10^8. */
void kvmclock_factors(u64 khz, u32 *mul, s8 *shift);

/* Forget what the guest registered (reset). */
void kvmclock_reset(struct kvmclock *clock);
/* Write the vCPU's page, if it has one: after its TSC offset changed. 0, or -EFAULT when it is not in RAM. */
int kvmclock_update(struct vcpu *vcpu);

/*
 * The two MSRs of a snapshot: could the guest have written them? And put them in place; its page is written
 * if that or the TSC (told by the caller) makes it another one.
 */
bool kvmclock_is_possible(const struct vcpu *vcpu, u64 system_time, u64 wall_clock);
void kvmclock_set(struct vcpu *vcpu, u64 system_time, u64 wall_clock, bool tsc_moved);

/* Handlers for struct msr_range. */
int kvmclock_msr_read(struct vcpu *vcpu, u32 msr, u64 *value);
int kvmclock_msr_write(struct vcpu *vcpu, u32 msr, u64 value);

#endif
