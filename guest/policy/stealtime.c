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
#include "hv/memory/guest_take.h"

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

static bool is_on(const struct stealtime *steal)
{
    return steal->record & STEAL_ENABLE;
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

    if (is_on(steal))
        record_write(vcpu, steal); /* one that has become bad in the meantime stays as it is */
}

static void record_unpin(struct guest_memory *memory, const struct stealtime *steal)
{
    guest_memory_unpin(memory, steal->record & ~STEAL_ENABLE, sizeof(struct steal_record));
}

/* Its page can't be given away while it is kept. */
static int record_begin(struct vcpu *vcpu, struct stealtime *steal)
{
    struct guest_memory *memory = &vcpu->vm->memory;
    gpa_t gpa = steal->record & ~STEAL_ENABLE;
    struct steal_record found;
    int error = guest_memory_pin(memory, gpa, sizeof(found));

    if (error)
        return error;
    error = guest_memory_read(memory, gpa, &found, sizeof(found));
    steal->before = found.stolen;
    steal->version = found.version & ~1u;
    if (!error)
        error = record_write(vcpu, steal);
    if (error)
        record_unpin(memory, steal);
    return error;
}

int stealtime_register(struct vcpu *vcpu, u64 record)
{
    struct stealtime *steal = steal_of(vcpu);
    struct stealtime next = {.record = record, .begin = vcpu->sched.waited};
    int error = is_on(&next) ? record_begin(vcpu, &next) : 0;

    if (error)
        return error;
    if (is_on(steal))
        record_unpin(&vcpu->vm->memory, steal);
    *steal = next;
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

bool stealtime_is_possible(const struct vcpu *vcpu, u64 record)
{
    const struct stealtime next = {.record = record};
    struct guest_memory *memory = &vcpu->vm->memory;

    if (personality_is(vcpu, PERSONALITY_NONE))
        return !record;
    if (record & STEAL_RESERVED)
        return false;
    if (!is_on(&next))
        return true;
    if (!guest_memory_is_backed(memory, record & ~STEAL_ENABLE, sizeof(struct steal_record)) ||
        guest_memory_pin(memory, record & ~STEAL_ENABLE, sizeof(struct steal_record)))
        return false;
    record_unpin(memory, &next);
    return true;
}

void stealtime_set(struct vcpu *vcpu, u64 record)
{
    if (steal_of(vcpu)->record != record)
        stealtime_register(vcpu, record);
}
