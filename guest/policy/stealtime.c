/* SPDX-License-Identifier: MIT */
/*
 * The record of steal time (Linux: struct kvm_steal_time). It is written when the vCPU runs again after it
 * has waited, not at exits. What the guest's memory says is read once, when the record is registered, and
 * then counted on from there: a kernel that takes a CPU offline and online again sees no jump.
 */
#include "guest/policy/stealtime.h"

#include "arch/x86/machine/tsc.h"
#include "guest/machine.h"
#include "hv/lib/errno.h"

#define STEAL_ENABLE   BIT(0)
#define STEAL_RESERVED BITS(5, 1) /* the record is aligned to its size */

struct steal_record {
    u64 nanoseconds;
    u32 version;
    u32 flags;
    u8 preempted; /* 0: lintel writes the record only when the vCPU runs */
    u8 reserved[47];
};
_Static_assert(sizeof(struct steal_record) == 64, "Linux: struct kvm_steal_time");

static struct stealtime *steal_of(const struct vcpu *vcpu)
{
    return &((struct machine *)vcpu->vm->machine)->vcpus[vcpu->index].steal;
}

void stealtime_reset(struct stealtime *steal)
{
    *steal = (struct stealtime){0};
}

/* Odd version, the time, even version: who reads meanwhile tries again. */
static int record_write(struct vcpu *vcpu, struct stealtime *steal)
{
    struct guest_memory *memory = &vcpu->vm->memory;
    gpa_t gpa = steal->msr & ~STEAL_ENABLE, version = gpa + offsetof(struct steal_record, version);
    u64 nanoseconds = steal->before + tsc_to_ns(vcpu->sched.waited - steal->begin);
    int error;

    steal->version |= 1;
    error = guest_memory_write(memory, version, &steal->version, sizeof(steal->version));
    if (!error)
        error = guest_memory_write(memory, gpa, &nanoseconds, sizeof(nanoseconds));
    steal->version++;
    return error ? error : guest_memory_write(memory, version, &steal->version, sizeof(steal->version));
}

void stealtime_update(struct vcpu *vcpu)
{
    struct stealtime *steal = steal_of(vcpu);

    if (steal->msr & STEAL_ENABLE)
        record_write(vcpu, steal); /* one that has become bad in the meantime stays as it is */
}

static bool is_offered(const struct vcpu *vcpu)
{
    return vcpu->vm->config->personality == PERSONALITY_KVM;
}

int stealtime_msr_read(struct vcpu *vcpu, u32 msr, u64 *value)
{
    (void)msr;
    if (!is_offered(vcpu))
        return -ENXIO;
    *value = steal_of(vcpu)->msr;
    return 0;
}

int stealtime_msr_write(struct vcpu *vcpu, u32 msr, u64 value)
{
    struct stealtime next = {.msr = value, .begin = vcpu->sched.waited};
    struct steal_record record;
    int error;

    (void)msr;
    if (!is_offered(vcpu))
        return -ENXIO;
    if (value & STEAL_RESERVED)
        return -EINVAL;
    if (value & STEAL_ENABLE) {
        error = guest_memory_read(&vcpu->vm->memory, value & ~STEAL_ENABLE, &record, sizeof(record));
        next.before = record.nanoseconds;
        next.version = record.version & ~1u;
        if (!error)
            error = record_write(vcpu, &next);
        if (error)
            return error;
    }
    *steal_of(vcpu) = next;
    return 0;
}
