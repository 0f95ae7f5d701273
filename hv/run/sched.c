/* SPDX-License-Identifier: MIT */
/*
 * The scheduler. A vCPU's turn is one call of engine->vcpu_run: it ends when the vCPU halts, stops, or is
 * asked for the CPU (REQUEST_RESCHEDULE). All CPUs; a CPU's queue under its lock.
 *
 * Fairness: each vCPU carries the ticks it has had (virtual_time); the least goes first. One that wakes
 * starts at most one slice behind the others, so that sleeping earns no more than a prompt start.
 */
#include "hv/run/sched.h"

#include "arch/x86/machine/cpu.h"
#include "arch/x86/machine/exception.h"
#include "arch/x86/machine/lapic.h"
#include "arch/x86/machine/percpu.h"
#include "arch/x86/machine/tsc.h"
#include "hv/lib/panic.h"
#include "hv/run/exit.h"

#define SLICE_US 4000

struct sched_cpu sched_cpus[CPU_MAX];

static struct sched_cpu *sched_this(void)
{
    return &sched_cpus[cpu_this()->index];
}

/* Make a CPU look at its requests: it leaves the guest, or its idle sleep. */
static void cpu_kick(u32 index)
{
    if (index != cpu_this()->index)
        host_lapic_send_ipi(cpus[index].apic_id, HOST_VECTOR_KICK);
}

static void timer_interrupt(void *context)
{
    (void)context;
    timer_queue_run(&sched_this()->timers, read_tsc());
}

/* The exit, or the end of the sleep, was all that was wanted. */
static void kick_interrupt(void *context)
{
    (void)context;
}

static void slice_over(struct timer *timer)
{
    struct sched_cpu *cpu = container_of(timer, struct sched_cpu, slice);
    struct vcpu *vcpu = READ_ONCE(cpu->running);

    if (vcpu)
        vcpu_request(vcpu, REQUEST_RESCHEDULE);
}

void sched_init(void)
{
    for (u32 i = 0; i < CPU_MAX; i++) {
        struct sched_cpu *cpu = &sched_cpus[i];

        spinlock_init(&cpu->lock, RANK_SCHEDULER);
        list_init(&cpu->queue);
        list_init(&cpu->work);
        timer_queue_init(&cpu->timers, host_lapic_timer_set);
        timer_init(&cpu->slice, &cpu->timers, slice_over);
    }
    interrupt_set_handler(HOST_VECTOR_TIMER, timer_interrupt, NULL);
    interrupt_set_handler(HOST_VECTOR_KICK, kick_interrupt, NULL);
}

void sched_work_queue(struct sched_work *work)
{
    struct sched_cpu *cpu = &sched_cpus[0];
    struct vcpu *running;

    spinlock_take(&cpu->lock);
    if (!work->queued) {
        work->queued = true;
        list_add_before(&cpu->work, &work->node);
    }
    running = cpu->running;
    if (running)
        vcpu_request(running, REQUEST_RESCHEDULE);
    spinlock_release(&cpu->lock);
    cpu_kick(0);
}

static void work_run(struct sched_cpu *cpu)
{
    for (;;) {
        struct sched_work *work;

        spinlock_take(&cpu->lock);
        if (list_empty(&cpu->work)) {
            spinlock_release(&cpu->lock);
            return;
        }
        work = list_entry(cpu->work.next, struct sched_work, node);
        list_remove(&work->node);
        work->queued = false;
        spinlock_release(&cpu->lock);
        work->run(work);
    }
}

/* Lock held. */
static void queue_vcpu(struct sched_cpu *cpu, struct vcpu *vcpu)
{
    vcpu->sched.queued = true;
    list_add_before(&cpu->queue, &vcpu->sched.node);
}

void sched_vcpu_add(struct vcpu *vcpu)
{
    vcpu->sched.cpu = 0;
    vcpu->sched.virtual_time = MAX(vcpu->sched.virtual_time, sched_cpus[0].virtual_time);
    vcpu->sched.active = true;
    sched_vcpu_wake(vcpu);
}

/* The one that runs has had more than the one that waits: take turns. Lock held. */
static void preempt_if_due(struct sched_cpu *cpu, const struct vcpu *waiting)
{
    struct vcpu *running = cpu->running;

    if (!running)
        return;
    if (waiting->sched.virtual_time < running->sched.virtual_time + (read_tsc() - running->sched.started))
        vcpu_request(running, REQUEST_RESCHEDULE);
    else if (!timer_is_set(&cpu->slice))
        timer_set(&cpu->slice, read_tsc() + tsc_from_us(SLICE_US));
}

void sched_vcpu_wake(struct vcpu *vcpu)
{
    struct sched_cpu *cpu = &sched_cpus[vcpu->sched.cpu];
    u64 earliest;

    if (cpu->running == vcpu && vcpu->sched.cpu == cpu_this()->index)
        return; /* it looks at its requests before it enters the guest again */
    spinlock_take(&cpu->lock);
    if (vcpu->sched.active && power_wants_turn(vcpu) && !vcpu->sched.queued && cpu->running != vcpu) {
        earliest = cpu->virtual_time - MIN(cpu->virtual_time, tsc_from_us(SLICE_US));
        vcpu->sched.virtual_time = MAX(vcpu->sched.virtual_time, earliest);
        queue_vcpu(cpu, vcpu);
        preempt_if_due(cpu, vcpu);
    }
    spinlock_release(&cpu->lock);
    cpu_kick(vcpu->sched.cpu);
}

/* The waiting vCPU that has had least; it runs now. NULL: nobody waits. */
static struct vcpu *choose(struct sched_cpu *cpu)
{
    struct vcpu *vcpu, *best = NULL;

    spinlock_take(&cpu->lock);
    list_for_each (vcpu, &cpu->queue, sched.node)
        if (!best || vcpu->sched.virtual_time < best->sched.virtual_time)
            best = vcpu;
    if (best) {
        list_remove(&best->sched.node);
        best->sched.queued = false;
        best->sched.started = read_tsc();
        cpu->running = best;
        cpu->virtual_time = MAX(cpu->virtual_time, best->sched.virtual_time);
        if (!list_empty(&cpu->queue))
            timer_set(&cpu->slice, best->sched.started + tsc_from_us(SLICE_US));
    }
    spinlock_release(&cpu->lock);
    return best;
}

/* Lazily switched state changes hands only when another vCPU runs. */
static void load(struct sched_cpu *cpu, struct vcpu *vcpu)
{
    if (cpu->loaded == vcpu)
        return;
    if (cpu->loaded)
        vcpu_put(cpu->loaded);
    vcpu_load(vcpu);
    cpu->loaded = vcpu;
}

/* Its state is in memory alone from here on. */
static void unload(struct sched_cpu *cpu, struct vcpu *vcpu)
{
    if (cpu->loaded != vcpu)
        return;
    vcpu_put(vcpu);
    cpu->loaded = NULL;
}

/* A halted vCPU was woken: is there really something that ends its halt? */
static bool halt_ends(struct vcpu *vcpu)
{
    if (READ_ONCE(vcpu->requests) & REQUEST_NMI) {
        vcpu_request(vcpu, REQUEST_INTERRUPT); /* some may have come and been put off below */
        return true;
    }
    vcpu_request_done(vcpu, REQUEST_INTERRUPT);
    if (vcpu->power.now.masked || machine->interrupt_pending(vcpu) < 0)
        return false;
    vcpu_request(vcpu, REQUEST_INTERRUPT);
    return true;
}

static void run_turn(struct sched_cpu *cpu, struct vcpu *vcpu)
{
    vcpu_request_done(vcpu, REQUEST_RESCHEDULE);
    if (!READ_ONCE(vcpu->sched.active))
        return;
    if (READ_ONCE(vcpu->requests) & REQUEST_POWER) {
        unload(cpu, vcpu);
        power_carry_out(vcpu);
    }
    if (vcpu->power.now.state == POWER_HALTED && halt_ends(vcpu))
        power_event(vcpu, POWER_INTERRUPT, 0, 0);
    if (READ_ONCE(vcpu->power.now.state) != POWER_RUNNABLE)
        return;
    load(cpu, vcpu);
    if (!READ_ONCE(vcpu->requests) || exit_prepare_entry(vcpu))
        engine->vcpu_run(vcpu);
}

static void end_turn(struct sched_cpu *cpu, struct vcpu *vcpu)
{
    u64 ticks = read_tsc() - vcpu->sched.started;

    timer_cancel(&cpu->slice);
    spinlock_take(&cpu->lock);
    vcpu->sched.ran += ticks;
    vcpu->sched.virtual_time += ticks;
    cpu->running = NULL;
    if (vcpu->sched.active && power_wants_turn(vcpu))
        queue_vcpu(cpu, vcpu);
    spinlock_release(&cpu->lock);
}

void sched_vcpu_remove(struct vcpu *vcpu)
{
    struct sched_cpu *cpu = &sched_cpus[vcpu->sched.cpu];

    spinlock_take(&cpu->lock);
    WRITE_ONCE(vcpu->sched.active, false);
    if (vcpu->sched.queued) {
        list_remove(&vcpu->sched.node);
        vcpu->sched.queued = false;
    }
    spinlock_release(&cpu->lock);
    vcpu_request(vcpu, REQUEST_RESCHEDULE);
    cpu_kick(vcpu->sched.cpu);
    while (READ_ONCE(cpu->running) == vcpu)
        cpu_pause();
    assert(cpu == sched_this());
    unload(cpu, vcpu);
}

bool sched_others_wait(void)
{
    struct sched_cpu *cpu = sched_this();

    return !list_empty(&cpu->queue) || !list_empty(&cpu->work);
}

/*
 * Nobody wants this CPU: sleep until an interrupt. What came before HLT wakes it at once, since interrupts
 * were off.
 */
static void idle(struct sched_cpu *cpu)
{
    u64 start = read_tsc();

    cpu_idle();
    cpu->idle_ticks += read_tsc() - start;
}

NORETURN void sched_loop(void)
{
    struct sched_cpu *cpu = sched_this();

    for (;;) {
        struct vcpu *vcpu;

        if (cpu == &sched_cpus[0])
            work_run(cpu);
        vcpu = choose(cpu);
        if (!vcpu) {
            idle(cpu);
            continue;
        }
        run_turn(cpu, vcpu);
        end_turn(cpu, vcpu);
    }
}
