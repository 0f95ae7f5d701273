/* SPDX-License-Identifier: MIT */
/*
 * kvm-clock. Every page is computed from the same origin, the TSC at which the VM started, so that the
 * pages of all vCPUs agree to the tick, and a page is written once and never again until the TSC jumps. The
 * stable bit promises more: that time never steps back from one vCPU to another. MSR exits and
 * guest/machine.c call it, on the vCPU's own CPU (or while it does not run); no lock of its own. Linux:
 * asm/pvclock-abi.h, asm/kvm_para.h, Documentation/virt/kvm/x86/msr.rst.
 */
#include "guest/policy/kvmclock.h"

#include "guest/machine.h"
#include "hv/lib/errno.h"
#include "hv/memory/guest_take.h"

#define CLOCK_ENABLE      BIT(0)
#define CLOCK_FLAG_STABLE 1
#define NS_PER_SECOND     1000000000ull

struct clock_page {
    u32 version, pad;
    u64 tsc_timestamp, system_time;
    u32 mul;
    s8 shift;
    u8 flags, pad2[2];
};
_Static_assert(sizeof(struct clock_page) == 32, "pvclock_vcpu_time_info");
_Static_assert(offsetof(struct clock_page, mul) == 24 && offsetof(struct clock_page, flags) == 29,
               "pvclock_vcpu_time_info");

struct wall_clock {
    u32 version, seconds, nanoseconds;
};
_Static_assert(sizeof(struct wall_clock) == 12, "pvclock_wall_clock");

/*
 * mul = 10^6 * 2^(32 - shift) / khz, with the shift that gives it all of its 32 bits; rounded down, so that
 * Linux, which divides back, finds khz again (to the bits that a negative shift drops).
 */
void kvmclock_factors(u64 khz, u32 *mul, s8 *shift)
{
    int up = 0;

    /* Scaled to (10^6, 2 * 10^6] kHz, the quotient lies in [2^31, 2^32). */
    while ((up < 0 ? khz >> -up : khz << up) <= 1000000)
        up++;
    while ((up < 0 ? (khz - 1) >> -up : (khz - 1) << up) >= 2000000)
        up--;
    *shift = (s8)up;
    *mul = up < 0 ? (u32)((1000000ull << (32 - up)) / khz) : (u32)((1000000ull << 32) / (khz << up));
}

static const struct machine *machine_of(const struct vcpu *vcpu)
{
    return vcpu->vm->machine;
}

void kvmclock_reset(struct kvmclock *clock)
{
    *clock = (struct kvmclock){0};
}

int kvmclock_update(struct vcpu *vcpu)
{
    struct kvmclock *clock = vcpu->clock;
    gpa_t gpa = clock->system_time & ~CLOCK_ENABLE;
    struct guest_memory *memory = &vcpu->vm->memory;
    struct clock_page page = {
        .tsc_timestamp = machine_of(vcpu)->start_tsc + vcpu->tsc_offset,
        .flags = tsc_unsynchronised ? 0 : CLOCK_FLAG_STABLE,
    };
    int error;

    if (!(clock->system_time & CLOCK_ENABLE))
        return 0;
    kvmclock_factors(tsc_khz, &page.mul, &page.shift);
    /* Odd first, even last: another vCPU that reads meanwhile tries again. */
    page.version = ++clock->version;
    error = guest_memory_write(memory, gpa, &page, sizeof(page));
    page.version = ++clock->version;
    if (!error)
        error = guest_memory_write(memory, gpa, &page.version, sizeof(page.version));
    return error;
}

/* The time of day at which system_time was 0. */
static int wall_clock_write(struct vcpu *vcpu, gpa_t gpa)
{
    u64 ran = tsc_to_ns(device_now() - machine_of(vcpu)->start_tsc);
    u64 now = rtc_wall_clock_seconds ? rtc_wall_clock_seconds() * NS_PER_SECOND : 0;
    u64 start = now > ran ? now - ran : 0;
    struct wall_clock wall = {
        .version = 1, .seconds = (u32)(start / NS_PER_SECOND), .nanoseconds = (u32)(start % NS_PER_SECOND)};
    int error = guest_memory_write(&vcpu->vm->memory, gpa, &wall, sizeof(wall));

    wall.version = 2;
    return error ? error : guest_memory_write(&vcpu->vm->memory, gpa, &wall.version, sizeof(wall.version));
}

static bool is_offered(const struct vcpu *vcpu)
{
    return vcpu->vm->config->personality == PERSONALITY_KVM;
}

static bool is_wall_clock(u32 msr)
{
    return msr == MSR_KVM_WALL_CLOCK || msr == MSR_KVM_WALL_CLOCK_NEW;
}

static void page_unpin(struct vcpu *vcpu, u64 system_time)
{
    if (system_time & CLOCK_ENABLE)
        guest_memory_unpin(&vcpu->vm->memory, system_time & ~CLOCK_ENABLE, sizeof(struct clock_page));
}

/* The page can't be given away while it is kept. */
static int system_time_write(struct vcpu *vcpu, u64 value)
{
    struct kvmclock *clock = vcpu->clock;
    u64 before = clock->system_time;
    int error = 0;

    if (value & CLOCK_ENABLE)
        error = guest_memory_pin(&vcpu->vm->memory, value & ~CLOCK_ENABLE, sizeof(struct clock_page));
    if (error)
        return error;
    clock->system_time = value;
    error = kvmclock_update(vcpu);
    if (error)
        clock->system_time = before;
    page_unpin(vcpu, error ? value : before);
    return error;
}

bool kvmclock_is_possible(const struct vcpu *vcpu, u64 system_time, u64 wall_clock)
{
    struct guest_memory *memory = &vcpu->vm->memory;
    gpa_t page = system_time & ~CLOCK_ENABLE;

    if (!is_offered(vcpu))
        return !system_time && !wall_clock;
    if (!(system_time & CLOCK_ENABLE))
        return true;
    if (!guest_memory_is_backed(memory, page, sizeof(struct clock_page)) ||
        guest_memory_pin(memory, page, sizeof(struct clock_page)))
        return false;
    guest_memory_unpin(memory, page, sizeof(struct clock_page));
    return true;
}

void kvmclock_set(struct vcpu *vcpu, u64 system_time, u64 wall_clock, bool tsc_moved)
{
    struct kvmclock *clock = vcpu->clock;

    clock->wall_clock = wall_clock;
    if (clock->system_time != system_time)
        system_time_write(vcpu, system_time);
    else if (tsc_moved)
        kvmclock_update(vcpu);
}

int kvmclock_msr_read(struct vcpu *vcpu, u32 msr, u64 *value)
{
    const struct kvmclock *clock = vcpu->clock;

    if (!is_offered(vcpu))
        return -ENXIO;
    *value = is_wall_clock(msr) ? clock->wall_clock : clock->system_time;
    return 0;
}

int kvmclock_msr_write(struct vcpu *vcpu, u32 msr, u64 value)
{
    struct kvmclock *clock = vcpu->clock;

    if (!is_offered(vcpu))
        return -ENXIO;
    if (!is_wall_clock(msr))
        return system_time_write(vcpu, value);
    clock->wall_clock = value;
    return wall_clock_write(vcpu, value);
}
