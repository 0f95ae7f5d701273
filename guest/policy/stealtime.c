/* SPDX-License-Identifier: MIT */
/*
 * The records of steal time (Linux: struct kvm_steal_time, struct vmware_steal_time). They are written when
 * the vCPU runs again after it has waited, not at exits. What the guest's memory says is read once, when the
 * record is registered, and then counted on from there: a kernel that takes a CPU offline and online again
 * sees no jump.
 */
#include "guest/policy/stealtime.h"

#include "arch/x86/machine/tsc.h"
#include "guest/machine.h"
#include "hv/lib/errno.h"

struct steal_record {
    u64 stolen; /* nanoseconds, under vmware ticks of the TSC; what follows is kvm's alone */
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

static bool personality_is(const struct vcpu *vcpu, enum personality personality)
{
    return vcpu->vm->config->personality == personality;
}

/* vmware: one aligned word, whole for whoever reads it meanwhile. */
static int ticks_write(struct vcpu *vcpu, const struct stealtime *steal)
{
    u64 ticks = steal->before + vcpu->sched.waited - steal->begin;

    return guest_memory_write(&vcpu->vm->memory, steal->record & ~STEAL_ENABLE, &ticks, sizeof(ticks));
}

/* kvm: odd version, the time, even version: who reads meanwhile tries again. */
static int nanoseconds_write(struct vcpu *vcpu, struct stealtime *steal)
{
    struct guest_memory *memory = &vcpu->vm->memory;
    gpa_t gpa = steal->record & ~STEAL_ENABLE, version = gpa + offsetof(struct steal_record, version);
    u64 nanoseconds = steal->before + tsc_to_ns(vcpu->sched.waited - steal->begin);
    int error;

    steal->version |= 1;
    error = guest_memory_write(memory, version, &steal->version, sizeof(steal->version));
    if (!error)
        error = guest_memory_write(memory, gpa, &nanoseconds, sizeof(nanoseconds));
    steal->version++;
    return error ? error : guest_memory_write(memory, version, &steal->version, sizeof(steal->version));
}

static int record_write(struct vcpu *vcpu, struct stealtime *steal)
{
    return personality_is(vcpu, PERSONALITY_VMWARE) ? ticks_write(vcpu, steal)
                                                    : nanoseconds_write(vcpu, steal);
}

void stealtime_update(struct vcpu *vcpu)
{
    struct stealtime *steal = steal_of(vcpu);

    if (steal->record & STEAL_ENABLE)
        record_write(vcpu, steal); /* one that has become bad in the meantime stays as it is */
}

int stealtime_register(struct vcpu *vcpu, u64 record)
{
    struct stealtime next = {.record = record, .begin = vcpu->sched.waited};
    struct steal_record found;
    int error;

    if (record & STEAL_ENABLE) {
        error = guest_memory_read(&vcpu->vm->memory, record & ~STEAL_ENABLE, &found, sizeof(found));
        next.before = found.stolen;
        next.version = found.version & ~1u;
        if (!error)
            error = record_write(vcpu, &next);
        if (error)
            return error;
    }
    *steal_of(vcpu) = next;
    return 0;
}

int stealtime_msr_read(struct vcpu *vcpu, u32 msr, u64 *value)
{
    (void)msr;
    if (!personality_is(vcpu, PERSONALITY_KVM))
        return -ENXIO;
    *value = steal_of(vcpu)->record;
    return 0;
}

int stealtime_msr_write(struct vcpu *vcpu, u32 msr, u64 value)
{
    (void)msr;
    if (!personality_is(vcpu, PERSONALITY_KVM))
        return -ENXIO;
    return value & STEAL_RESERVED ? -EINVAL : stealtime_register(vcpu, value);
}
