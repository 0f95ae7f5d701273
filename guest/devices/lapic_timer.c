/* SPDX-License-Identifier: MIT */
/*
 * The local APIC's timer: one-shot, periodic, TSC deadline. It never ticks: the current count is worked out
 * of the TSC, and the host timer is set only while an interrupt can come of it. Called by lapic_registers.c
 * on the vCPU's own CPU, and by the timer queue; the local APIC's lock. Intel SDM 3A, 11.5.4.
 */
#include "guest/devices/lapic_private.h"
#include "hv/run/sched.h"

/*
 * A guest that asks for less gets less: it would otherwise keep the host in its timer interrupt. So would the
 * many vCPUs of one that takes no tick; hence the next one is not armed before the last has been taken.
 */
#define PERIOD_MIN_TICKS (LAPIC_TIMER_HZ / 20000) /* 50 us */

static enum lapic_timer_mode timer_mode(const struct lapic *lapic)
{
    return (enum lapic_timer_mode)LVT_TIMER_MODE(lapic->lvt[LVT_TIMER]);
}

/* Divide register: bits 3, 1, 0 say 2, 4, 8 .. 128, and 1 last. */
static unsigned timer_shift(const struct lapic *lapic)
{
    return (((lapic->divide & 3) | (lapic->divide >> 1 & 4)) + 1) & 7;
}

static void timer_expiry_set(struct lapic *lapic, u64 expiry)
{
    if (expiry == TIMER_NEVER && lapic->expiry == TIMER_NEVER)
        return;
    lapic->expiry = expiry;
    if (expiry == TIMER_NEVER)
        timer_cancel(&lapic->timer);
    else
        timer_set(&lapic->timer, expiry);
}

/* The next end of a period after now, TIMER_NEVER when none comes. */
static u64 timer_next(const struct lapic *lapic, u64 now)
{
    u64 elapsed = now - lapic->timer_start;

    if (lapic->timer_period == 0)
        return TIMER_NEVER;
    if (elapsed < lapic->timer_period)
        return lapic->timer_start + lapic->timer_period;
    if (timer_mode(lapic) != TIMER_PERIODIC)
        return TIMER_NEVER;
    return now + lapic->timer_period - elapsed % lapic->timer_period;
}

/* Host TSC at which the guest's TSC reaches the deadline; now or earlier when it has. */
static u64 timer_deadline_host(const struct lapic *lapic, u64 now)
{
    u64 guest_now = now + lapic->vcpu->tsc_offset;

    if (lapic->deadline <= guest_now)
        return now;
    if (lapic->deadline - guest_now >= TIMER_NEVER - now)
        return TIMER_NEVER - 1;
    return now + (lapic->deadline - guest_now);
}

/* The last tick has not been taken yet: another one would change nothing. */
static bool timer_tick_waits(const struct lapic *lapic)
{
    u8 vector = (u8)lapic->lvt[LVT_TIMER];

    if (vector < FIRST_VECTOR)
        return (lapic->error_pending & ERROR_RECEIVE_VECTOR) != 0;
    return vectors_test(&lapic->irr, vector);
}

/*
 * Set the host timer to what the registers say. A deadline that went by while nobody could hear it is gone.
 */
static void timer_arm(struct lapic *lapic, u64 now)
{
    u64 expiry = TIMER_NEVER;

    if (timer_mode(lapic) == TIMER_PERIODIC && timer_tick_waits(lapic)) {
        expiry = TIMER_NEVER;
    } else if (timer_mode(lapic) != TIMER_DEADLINE) {
        expiry = timer_next(lapic, now);
    } else if (lapic->deadline != 0) {
        expiry = timer_deadline_host(lapic, now);
        if (expiry == now) {
            lapic->deadline = 0;
            expiry = TIMER_NEVER;
        }
    }
    timer_expiry_set(lapic, lapic->lvt[LVT_TIMER] & LVT_MASKED ? TIMER_NEVER : expiry);
}

/*
 * If the armed expiry is over, what it promised happens, and a period begins anew. Missed periods are not
 * made up for.
 */
static bool timer_expire(struct lapic *lapic, u64 now)
{
    if (lapic->expiry == TIMER_NEVER || now < lapic->expiry)
        return false;
    lapic->expiry = TIMER_NEVER;
    if (timer_mode(lapic) == TIMER_DEADLINE)
        lapic->deadline = 0;
    else if (timer_mode(lapic) == TIMER_PERIODIC)
        lapic->timer_start = now - (now - lapic->timer_start) % lapic->timer_period;
    lapic_raise_lvt(lapic, LVT_TIMER);
    return true;
}

static void lapic_timer_fire(struct timer *timer)
{
    struct lapic *lapic = container_of(timer, struct lapic, timer);
    u64 now = device_now();

    spinlock_take(&lapic->lock);
    if (timer_expire(lapic, now)) {
        timer_arm(lapic, now);
        lapic_notify(lapic);
    }
    spinlock_release(&lapic->lock);
}

void lapic_timer_taken(struct lapic *lapic)
{
    if (timer_mode(lapic) == TIMER_PERIODIC && lapic->expiry == TIMER_NEVER)
        timer_arm(lapic, device_now());
}

static u64 timer_period_of(const struct lapic *lapic, u32 count)
{
    u64 ticks = (u64)count << timer_shift(lapic);

    if (count == 0)
        return 0;
    if (timer_mode(lapic) == TIMER_PERIODIC)
        ticks = MAX(ticks, PERIOD_MIN_TICKS);
    return device_ticks_to_tsc(&lapic->clock, ticks);
}

/* Timer counts since the period began, at most the initial count. */
static u32 timer_elapsed(const struct lapic *lapic, u64 now)
{
    u64 elapsed = now - lapic->timer_start;
    u64 count;

    if (lapic->timer_period == 0)
        return lapic->initial_count;
    if (timer_mode(lapic) == TIMER_PERIODIC)
        elapsed %= lapic->timer_period;
    else if (elapsed >= lapic->timer_period)
        return lapic->initial_count;
    count = device_ticks_from_tsc(&lapic->clock, elapsed) >> timer_shift(lapic);
    return (u32)MIN(count, lapic->initial_count);
}

u32 lapic_timer_current(const struct lapic *lapic)
{
    if (timer_mode(lapic) == TIMER_DEADLINE)
        return 0;
    return lapic->initial_count - timer_elapsed(lapic, device_now());
}

void lapic_timer_set_initial(struct lapic *lapic, u32 count)
{
    u64 now = device_now();

    if (timer_mode(lapic) == TIMER_DEADLINE)
        return;
    lapic->initial_count = count;
    lapic->timer_start = now;
    lapic->timer_period = timer_period_of(lapic, count);
    timer_arm(lapic, now);
}

/* Rate or kind changes: the count goes on from where it is. */
static void timer_rescale(struct lapic *lapic, u32 elapsed, u64 now)
{
    bool over = elapsed >= lapic->initial_count;

    lapic->timer_period =
        timer_period_of(lapic, over && timer_mode(lapic) == TIMER_ONE_SHOT ? 0 : lapic->initial_count);
    if (!over)
        lapic->timer_start = now - device_ticks_to_tsc(&lapic->clock, (u64)elapsed << timer_shift(lapic));
}

void lapic_timer_set_divide(struct lapic *lapic, u32 divide)
{
    u64 now = device_now();
    u32 elapsed = timer_elapsed(lapic, now);

    if (divide == lapic->divide)
        return;
    timer_expire(lapic, now);
    lapic->divide = divide;
    timer_rescale(lapic, elapsed, now);
    timer_arm(lapic, now);
}

void lapic_timer_set_lvt(struct lapic *lapic, u32 lvt)
{
    u64 now = device_now();
    enum lapic_timer_mode old = timer_mode(lapic);
    u32 elapsed = timer_elapsed(lapic, now);

    /* What was due is delivered by the old entry, not lost because the host was late. */
    timer_expire(lapic, now);
    lapic->lvt[LVT_TIMER] = lvt;
    if ((old == TIMER_DEADLINE) != (timer_mode(lapic) == TIMER_DEADLINE)) {
        lapic->deadline = 0;
        lapic->initial_count = 0;
        lapic->timer_period = 0;
    } else if (old != timer_mode(lapic)) {
        timer_rescale(lapic, elapsed, now);
    }
    timer_arm(lapic, now);
}

int lapic_deadline_read(struct vcpu *vcpu, u32 msr, u64 *value)
{
    struct lapic *lapic = lapic_of(vcpu);

    (void)msr;
    spinlock_take(&lapic->lock);
    *value = lapic->deadline > device_now() + vcpu->tsc_offset ? lapic->deadline : 0;
    spinlock_release(&lapic->lock);
    return 0;
}

/* A deadline that no timer can wait for: none, one that is over or masked, or one in centuries. */
static __attribute__((noinline)) void deadline_special(struct lapic *lapic, u64 now)
{
    if (lapic->deadline != 0 && timer_deadline_host(lapic, now) == now) {
        lapic->deadline = 0;
        lapic_raise_lvt(lapic, LVT_TIMER);
        lapic_notify_self(lapic);
    }
    timer_arm(lapic, now);
}

/* Hot: a tickless kernel comes here at each timer event and each time it goes idle. */
int lapic_deadline_write(struct vcpu *vcpu, u32 msr, u64 value)
{
    struct lapic *lapic = lapic_of(vcpu);
    u64 now = device_now();
    s64 ahead = (s64)(value - vcpu->tsc_offset - now);

    (void)msr;
    if (timer_mode(lapic) != TIMER_DEADLINE)
        return 0;
    spinlock_take(&lapic->lock);
    lapic->deadline = value;
    if (likely(ahead > 0 && value != 0 && !(lapic->lvt[LVT_TIMER] & LVT_MASKED))) {
        lapic->expiry = now + (u64)ahead;
        timer_set(&lapic->timer, lapic->expiry);
    } else {
        deadline_special(lapic, now);
    }
    spinlock_release(&lapic->lock);
    return 0;
}

void lapic_tsc_offset_changed(struct vcpu *vcpu)
{
    struct lapic *lapic = lapic_of(vcpu);

    if (timer_mode(lapic) == TIMER_DEADLINE)
        lapic_deadline_write(vcpu, MSR_TSC_DEADLINE, lapic->deadline);
}

void lapic_timer_init(struct lapic *lapic)
{
    device_clock_init(&lapic->clock, LAPIC_TIMER_HZ);
    timer_init(&lapic->timer, sched_timers(lapic->vcpu->sched.loaded_last), lapic_timer_fire);
    lapic->expiry = TIMER_NEVER;
}

void lapic_timer_move(struct vcpu *vcpu, struct timer_queue *queue)
{
    struct lapic *lapic = lapic_of(vcpu);

    spinlock_take(&lapic->lock);
    timer_move(&lapic->timer, queue);
    spinlock_release(&lapic->lock);
}

bool lapic_timer_is_possible(const struct lapic *lapic, u64 expiry)
{
    bool deadline_mode = timer_mode(lapic) == TIMER_DEADLINE;
    bool armed = expiry != TIMER_NEVER;

    if (deadline_mode ? lapic->initial_count || lapic->timer_period : lapic->deadline)
        return false;
    if (lapic->timer_period && lapic->timer_period != timer_period_of(lapic, lapic->initial_count))
        return false;
    if (!lapic->timer_period && lapic->timer_start)
        return false;
    if (!armed)
        return true;
    return !(lapic->lvt[LVT_TIMER] & LVT_MASKED) && (deadline_mode ? lapic->deadline : lapic->timer_period);
}

void lapic_timer_resume(struct lapic *lapic, u64 expiry)
{
    timer_expiry_set(lapic, expiry);
}

/* Everything about the timer as after power-on but the LVT. */
void lapic_timer_stop(struct lapic *lapic)
{
    timer_expiry_set(lapic, TIMER_NEVER);
    lapic->divide = 0;
    lapic->initial_count = 0;
    lapic->timer_start = 0;
    lapic->timer_period = 0;
    lapic->deadline = 0;
}
