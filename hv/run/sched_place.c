/* SPDX-License-Identifier: MIT */
/*
 * Where a vCPU waits: which CPU's queue it goes to when it is added or woken, and which CPU takes it from
 * another's queue. Any CPU; the lock of one CPU at a time.
 *
 * One that wakes starts at most one slice behind the others, so that sleeping earns no more than a prompt
 * start; one that has had less than the vCPU that runs takes the CPU from it at once.
 */
#include "hv/lib/panic.h"
#include "hv/run/sched_private.h"

#define BALANCE_US 100000
#define TURN_US    10000000 /* in which one that was handed over has its turn, on a slow emulator, too */

/*
 * One bit per CPU that has nothing to do and has found nothing in others' queues. Whoever has something for
 * one takes its bit away, so that no second one counts on it.
 */
static u64 idle_cpus ALIGNED(64);

void idle_announce(const struct sched_cpu *cpu)
{
    __atomic_fetch_or(&idle_cpus, BIT(cpu_index(cpu)), __ATOMIC_SEQ_CST);
}

void idle_over(const struct sched_cpu *cpu)
{
    __atomic_fetch_and(&idle_cpus, ~BIT(cpu_index(cpu)), __ATOMIC_SEQ_CST);
}

bool idle_claim(u64 among, u32 *index)
{
    u64 idle;

    while ((idle = READ_ONCE(idle_cpus) & among) != 0) {
        *index = (u32)__builtin_ctzll(idle);
        if (__atomic_fetch_and(&idle_cpus, ~BIT(*index), __ATOMIC_SEQ_CST) & BIT(*index))
            return true;
    }
    return false;
}

struct sched_cpu *vcpu_cpu_take(const struct vcpu *vcpu)
{
    for (;;) {
        u32 index = READ_ONCE(vcpu->sched.cpu);
        struct sched_cpu *cpu = &sched_cpus[index];

        spinlock_take(&cpu->lock);
        if (READ_ONCE(vcpu->sched.cpu) == index)
            return cpu;
        spinlock_release(&cpu->lock); /* it was moved meanwhile */
    }
}

/*
 * Where a woken vCPU shall wait: at its own CPU if that one is free, or still has its state; else at one that
 * idles. Lock of its CPU held.
 */
static struct sched_cpu *choose_cpu(struct sched_cpu *own, const struct vcpu *vcpu)
{
    u32 index;

    lock_assert_held(&own->lock);
    if (vcpu->sched.held || own->loaded == vcpu || (!own->running && list_empty(&own->queue)))
        return own;
    return idle_claim(vcpu_allowed(vcpu), &index) ? &sched_cpus[index] : own;
}

bool may_queue(const struct sched_cpu *cpu, const struct vcpu *vcpu)
{
    lock_assert_held(&cpu->lock);
    return vcpu->sched.active && !vcpu->sched.queued && cpu->running != vcpu && power_wants_turn(vcpu) &&
           !READ_ONCE(vcpu->memory_wait.waits);
}

/*
 * Somebody waits for this CPU: does it have to look at once? Yes if nothing runs, or what runs has had more;
 * else at the end of a slice. Lock held.
 */
static bool must_look(struct sched_cpu *cpu, const struct vcpu *waiting, u64 now)
{
    struct vcpu *running = cpu->running;
    u64 had;

    lock_assert_held(&cpu->lock);
    if (!running)
        return true;
    had = running->sched.virtual_time + vcpu_weighted(running, now - running->sched.started);
    if (virtual_before(waiting->sched.virtual_time, had)) {
        vcpu_request(running, REQUEST_RESCHEDULE);
        return true;
    }
    if (READ_ONCE(cpu->slice.deadline) > now + slice_ticks())
        timer_set(&cpu->slice, now + slice_ticks());
    return false;
}

/* Lock held. Returns whether the CPU must look at once. */
static bool enqueue(struct sched_cpu *cpu, struct vcpu *vcpu)
{
    u64 now = sched_now();

    vcpu_catch_up(cpu, vcpu, now, slice_ticks());
    queue_insert(cpu, vcpu, now);
    return must_look(cpu, vcpu, now);
}

/*
 * It goes from this queue, where it is not any more, to that one. The lock of the first is held, and released
 * here.
 */
static void hand_over(struct vcpu *vcpu, struct sched_cpu *from, const struct sched_cpu *to)
{
    struct sched_cpu *cpu = from;
    bool kick = true; /* whoever was promised something looks, even if it has gone */

    if (from != to) {
        vcpu_move(vcpu, from, to);
        spinlock_release(&from->lock);
        cpu = vcpu_cpu_take(vcpu);
    }
    if (may_queue(cpu, vcpu))
        kick = enqueue(cpu, vcpu);
    spinlock_release(&cpu->lock);
    if (kick)
        cpu_kick(cpu_index(cpu));
}

/* Queue it where it best waits. The lock of its CPU is held, and released here. */
static void place(struct sched_cpu *own, struct vcpu *vcpu)
{
    struct sched_cpu *chosen = choose_cpu(own, vcpu);
    bool busy = chosen == own && own->running;
    u64 allowed = vcpu_allowed(vcpu); /* behind the lock it is somebody else's */
    u32 index;

    hand_over(vcpu, own, chosen);
    if (!busy)
        return;
    /* One may have gone to sleep before this queue was written; sched_round does both the other way round. */
    __atomic_thread_fence(__ATOMIC_SEQ_CST);
    if (idle_claim(allowed & ~BIT(cpu_index(own)), &index))
        cpu_kick(index);
}

void sched_vcpu_wake(struct vcpu *vcpu)
{
    struct sched_cpu *cpu = &sched_cpus[READ_ONCE(vcpu->sched.cpu)];
    bool runs;

    if (cpu == sched_this() && cpu->running == vcpu)
        return; /* it looks at its requests before it enters the guest again */
    cpu = vcpu_cpu_take(vcpu);
    if (may_queue(cpu, vcpu)) {
        place(cpu, vcpu);
        return;
    }
    runs = cpu->running == vcpu;
    spinlock_release(&cpu->lock);
    if (runs)
        cpu_kick(cpu_index(cpu));
}

/* The one among these with the least weight of vCPUs that want it; NULL: there is none. */
static struct sched_cpu *lightest(u64 among)
{
    struct sched_cpu *best = NULL;

    for (u32 i = 0; i < cpu_count; i++) {
        struct sched_cpu *cpu = &sched_cpus[i];

        if ((among & BIT(i)) && (!best || READ_ONCE(cpu->load) < READ_ONCE(best->load)))
            best = cpu;
    }
    return best;
}

void sched_vcpu_add(struct vcpu *vcpu)
{
    struct sched_cpu *cpu = vcpu_cpu_take(vcpu), *chosen = lightest(vcpu_allowed(vcpu));

    assert(chosen); /* vm_start has looked that there is one */
    vcpu_move(vcpu, cpu, chosen);
    spinlock_release(&cpu->lock);
    cpu = vcpu_cpu_take(vcpu);
    vcpu_catch_up(cpu, vcpu, sched_now(), 0);
    vcpu->sched.active = true;
    spinlock_release(&cpu->lock);
    vcpu_release(vcpu);
}

void vcpu_release(struct vcpu *vcpu)
{
    struct sched_cpu *cpu = vcpu_cpu_take(vcpu);

    vcpu->sched.held = false;
    if (may_queue(cpu, vcpu)) {
        enqueue(cpu, vcpu);
    } else if (vcpu->sched.queued) {
        must_look(cpu, vcpu, sched_now());
    }
    spinlock_release(&cpu->lock);
    cpu_kick(cpu_index(cpu));
}

/* Take a vCPU out of the queue of another CPU. */
static bool take_from(struct sched_cpu *from, struct sched_cpu *to)
{
    u64 now = sched_now();
    struct vcpu *vcpu;

    if (!READ_ONCE(from->waiting))
        return false;
    spinlock_take(&from->lock);
    vcpu = queue_choose(from, to, now);
    if (vcpu) {
        queue_take(from, vcpu, now);
        vcpu_move(vcpu, from, to);
    }
    spinlock_release(&from->lock);
    if (!vcpu)
        return false;
    spinlock_take(&to->lock);
    /* Unless somebody woke, removed or took it in between. */
    if (vcpu->sched.cpu == cpu_index(to) && may_queue(to, vcpu))
        queue_insert(to, vcpu, now);
    spinlock_release(&to->lock);
    return true;
}

bool take_from_others(struct sched_cpu *cpu)
{
    for (u32 i = 1; i < cpu_count; i++)
        if (take_from(&sched_cpus[(cpu_index(cpu) + i) % cpu_count], cpu))
            return true;
    return false;
}

/* Would it do better elsewhere? Yes where this CPU is no lighter afterwards than that one is. Lock held. */
static struct sched_cpu *better_cpu(const struct sched_cpu *cpu, const struct vcpu *vcpu)
{
    struct sched_cpu *to = lightest(vcpu_allowed(vcpu));

    if (vcpu->sched.held || cpu->loaded == vcpu || to == cpu)
        return NULL;
    return READ_ONCE(to->load) + vcpu->vm->config->weight <= cpu->load ? to : NULL;
}

/* Since it was handed over: else it is this CPU's to give it one; very unequal weights may take too long. */
static bool had_turn(const struct vcpu *vcpu, u64 now)
{
    return vcpu->sched.started >= vcpu->sched.moved_at || now - vcpu->sched.moved_at > tsc_from_us(TURN_US);
}

/*
 * Of those who would do better elsewhere the one that has been handed over longest ago. Lock held. Where CPUs
 * stand still for more than BALANCE_US, as an emulator's and a nested hypervisor's do, one that has had no
 * turn yet would go from each to the next for ever.
 */
static struct vcpu *surplus(const struct sched_cpu *cpu, u64 now)
{
    struct vcpu *vcpu, *best = NULL;

    lock_assert_held(&cpu->lock);
    list_for_each (vcpu, &cpu->queue, sched.node)
        if ((!best || vcpu->sched.moved_at < best->sched.moved_at) && had_turn(vcpu, now) &&
            better_cpu(cpu, vcpu))
            best = vcpu;
    return best;
}

/*
 * Where two CPUs can't be even, as with three equal vCPUs, one is handed to and fro: so that each is the
 * third in turn, but seldom, as it leaves behind what caches know of it.
 */
void balance(struct sched_cpu *cpu)
{
    u64 now = sched_now();
    struct sched_cpu *to;
    struct vcpu *vcpu;

    if (!READ_ONCE(cpu->waiting) || now - cpu->balanced_at < tsc_from_us(BALANCE_US))
        return;
    WRITE_ONCE(cpu->balanced_at, now);
    spinlock_take(&cpu->lock);
    vcpu = surplus(cpu, now);
    to = vcpu ? better_cpu(cpu, vcpu) : NULL; /* asked again: that one's load changes without this lock */
    if (!to) {
        spinlock_release(&cpu->lock);
        return;
    }
    queue_take(cpu, vcpu, now);
    vcpu->sched.moved_at = now;
    WRITE_ONCE(to->balanced_at, now);
    hand_over(vcpu, cpu, to);
}
