/* SPDX-License-Identifier: MIT */
/*
 * One CPU's run queue, as sched.c uses it under the CPU's lock: who waits, who comes next.
 *
 * Fairness: each vCPU carries the ticks it has had, divided by its VM's weight (virtual_time); the least goes
 * first. A VM with a cap whose budget is used up is passed over until its period ends.
 */
#include "hv/run/sched_private.h"

#define WEIGHT_UNIT_SHIFT 8 /* ticks count as they are at weight 256 */

u64 vcpu_weighted(const struct vcpu *vcpu, u64 ticks)
{
    return (ticks << WEIGHT_UNIT_SHIFT) / vcpu->vm->config->weight;
}

u64 vcpu_allowed(const struct vcpu *vcpu)
{
    u64 online = ~0ull >> (CPU_MAX - cpu_count);

    return vcpu->vm->config->cpus ? vcpu->vm->config->cpus & online : online;
}

void queue_insert(struct sched_cpu *cpu, struct vcpu *vcpu, u64 now)
{
    lock_assert_held(&cpu->lock);
    vcpu->sched.queued = true;
    vcpu->sched.queued_at = now;
    list_add_before(&cpu->queue, &vcpu->sched.node);
    WRITE_ONCE(cpu->waiting, cpu->waiting + 1);
    WRITE_ONCE(cpu->load, cpu->load + vcpu->vm->config->weight);
}

void queue_take(struct sched_cpu *cpu, struct vcpu *vcpu, u64 now)
{
    lock_assert_held(&cpu->lock);
    vcpu->sched.queued = false;
    vcpu->sched.waited += now - vcpu->sched.queued_at;
    list_remove(&vcpu->sched.node);
    WRITE_ONCE(cpu->waiting, cpu->waiting - 1);
    WRITE_ONCE(cpu->load, cpu->load - vcpu->vm->config->weight);
}

/* How far it lies behind or before the others is kept, measured at the new CPU's time. */
void vcpu_move(struct vcpu *vcpu, const struct sched_cpu *from, const struct sched_cpu *to)
{
    lock_assert_held(&from->lock);
    vcpu->sched.virtual_time += READ_ONCE(to->virtual_time) - READ_ONCE(from->virtual_time);
    WRITE_ONCE(vcpu->sched.cpu, cpu_index(to));
}

/* From another CPU's queue only where that CPU has put its state into memory, and it may run here. */
static bool may_take(const struct sched_cpu *from, const struct sched_cpu *to, const struct vcpu *vcpu)
{
    if (vcpu->sched.held)
        return false;
    return from == to || (__atomic_load_n(&from->loaded, __ATOMIC_ACQUIRE) != vcpu &&
                          (vcpu_allowed(vcpu) & BIT(cpu_index(to))));
}

/*
 * Where those who have something to do stand. Only while nobody waits, the one that runs is far from where it
 * was chosen.
 */
static u64 virtual_now(const struct sched_cpu *cpu, u64 now)
{
    const struct vcpu *running = cpu->running;
    u64 had;

    if (!running || cpu->waiting)
        return cpu->virtual_time;
    had = running->sched.virtual_time + vcpu_weighted(running, now - running->sched.started);
    return virtual_before(cpu->virtual_time, had) ? had : cpu->virtual_time;
}

void vcpu_catch_up(const struct sched_cpu *cpu, struct vcpu *vcpu, u64 now, u64 behind)
{
    u64 earliest = virtual_now(cpu, now) - vcpu_weighted(vcpu, behind);

    lock_assert_held(&cpu->lock);
    if (virtual_before(vcpu->sched.virtual_time, earliest))
        vcpu->sched.virtual_time = earliest;
}

static struct vcpu *earlier(struct vcpu *one, struct vcpu *other)
{
    return one && !virtual_before(other->sched.virtual_time, one->sched.virtual_time) ? one : other;
}

/*
 * After a yield: the own VM's vCPUs first, unless they are a whole slice ahead of the others, which would
 * wait for ever else; the one that has yielded last.
 */
static struct vcpu *prefer(struct vcpu *best, struct vcpu *sibling, struct vcpu *yielded)
{
    if (!best)
        return yielded;
    if (sibling && virtual_before(sibling->sched.virtual_time,
                                  best->sched.virtual_time + vcpu_weighted(sibling, slice_ticks())))
        return sibling;
    return best;
}

struct vcpu *queue_choose(struct sched_cpu *from, struct sched_cpu *to, u64 now)
{
    struct vcpu *vcpu, *best = NULL, *sibling = NULL, *yielded = NULL;
    u64 soonest = TIMER_NEVER;

    lock_assert_held(&from->lock);
    list_for_each (vcpu, &from->queue, sched.node) {
        u64 again = TIMER_NEVER;

        if (!may_take(from, to, vcpu))
            continue;
        if (!budget_left(&vcpu->vm->budget, now, &again)) {
            soonest = MIN(soonest, again);
            if (from == to)
                vcpu_catch_up(to, vcpu, now, slice_ticks()); /* it might as well sleep */
            continue;
        }
        if (vcpu == to->yielded) {
            yielded = vcpu;
            continue;
        }
        best = earlier(best, vcpu);
        if (vcpu->vm == to->yielded_vm)
            sibling = earlier(sibling, vcpu);
    }
    if (soonest != TIMER_NEVER)
        timer_set(&to->budget, soonest);
    return prefer(best, sibling, yielded);
}
