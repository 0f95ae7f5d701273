/* SPDX-License-Identifier: MIT */
/*
 * The scheduler's loop on each CPU: work, then a turn of a vCPU, or sleep. A turn is one call of
 * engine->vcpu_run: it ends when the vCPU halts, stops, or is asked for the CPU (REQUEST_RESCHEDULE). Who
 * comes next is in sched_queue.c, where a vCPU waits in sched_place.c, work in sched_work.c.
 */
#include "hv/run/sched.h"

#include "arch/x86/machine/cpu.h"
#include "arch/x86/machine/exception.h"
#include "arch/x86/machine/lapic.h"
#include "hv/lib/panic.h"
#include "hv/run/exit.h"
#include "hv/run/sched_private.h"

struct sched_cpu sched_cpus[CPU_MAX];

void cpu_kick(u32 index)
{
    if (index != cpu_this()->index)
        host_lapic_send_ipi(cpus[index].apic_id, HOST_VECTOR_KICK);
}

/* Deadlines are the boot CPU's time, the hardware goes by its own. */
static void timer_program(u64 deadline)
{
    host_lapic_timer_set(deadline == TIMER_NEVER ? TIMER_NEVER : deadline - cpu_this()->tsc_offset);
}

static void timer_interrupt(void *context)
{
    (void)context;
    timer_queue_run(&sched_this()->timers, sched_now());
}

/* The exit, or the end of the sleep, is most of what was wanted. */
static void kick_interrupt(void *context)
{
    (void)context;
    timer_queue_look(&sched_this()->timers);
}

static void turn_end_request(const struct sched_cpu *cpu)
{
    struct vcpu *vcpu = READ_ONCE(cpu->running);

    if (vcpu)
        vcpu_request(vcpu, REQUEST_RESCHEDULE);
}

static void slice_over(struct timer *timer)
{
    turn_end_request(container_of(timer, struct sched_cpu, slice));
}

static void budget_again(struct timer *timer)
{
    turn_end_request(container_of(timer, struct sched_cpu, budget));
}

void sched_init(void)
{
    static const struct timer_hardware hardware = {timer_program, cpu_kick};

    for (u32 i = 0; i < CPU_MAX; i++) {
        struct sched_cpu *cpu = &sched_cpus[i];

        spinlock_init(&cpu->lock, RANK_SCHEDULER);
        list_init(&cpu->queue);
        list_init(&cpu->work);
        timer_queue_init(&cpu->timers, i, &hardware);
        timer_init(&cpu->slice, &cpu->timers, slice_over);
        timer_init(&cpu->budget, &cpu->timers, budget_again);
    }
    interrupt_set_handler(HOST_VECTOR_TIMER, timer_interrupt, NULL);
    interrupt_set_handler(HOST_VECTOR_KICK, kick_interrupt, NULL);
}

/* ---------------------------------------------------------------- turns */

/* It runs now: until when, if nobody wants it before? Lock held. */
static void start_turn(struct sched_cpu *cpu, struct vcpu *vcpu, u64 now)
{
    u64 again, left = budget_left(&vcpu->vm->budget, now, &again);

    lock_assert_held(&cpu->lock);
    queue_take(cpu, vcpu, now);
    vcpu->sched.started = now;
    cpu->running = vcpu;
    WRITE_ONCE(cpu->load, cpu->load + vcpu->vm->config->weight);
    cpu->yielded = NULL;
    cpu->yielded_vm = NULL;
    if (virtual_before(cpu->virtual_time, vcpu->sched.virtual_time))
        cpu->virtual_time = vcpu->sched.virtual_time;
    if (cpu->waiting)
        left = MIN(left, slice_ticks());
    if (left != ~0ull)
        timer_set(&cpu->slice, now + left);
    /* Under the lock, so that nobody's later wish is forgotten; work that has come by now ends the turn. */
    if (list_empty(&cpu->work))
        vcpu_request_done(vcpu, REQUEST_RESCHEDULE);
    else
        vcpu_request(vcpu, REQUEST_RESCHEDULE);
}

/* The waiting vCPU that has had least; it runs now. NULL: nobody waits. */
static struct vcpu *choose(struct sched_cpu *cpu)
{
    u64 now = sched_now();
    struct vcpu *vcpu;

    spinlock_take(&cpu->lock);
    vcpu = queue_choose(cpu, cpu, now);
    if (vcpu)
        start_turn(cpu, vcpu, now);
    spinlock_release(&cpu->lock);
    return vcpu;
}

/*
 * A vCPU that runs now: of the own queue, else of another CPU's. The bit is set before the queues are looked
 * at for the last time: who finds it clear queues in time, who finds it set kicks.
 */
static struct vcpu *choose_anywhere(struct sched_cpu *cpu)
{
    struct vcpu *vcpu = choose(cpu);

    if (vcpu)
        return vcpu;
    idle_announce(cpu);
    take_from_others(cpu);
    vcpu = choose(cpu);
    if (vcpu)
        idle_over(cpu);
    return vcpu;
}

/*
 * Lazily switched state changes hands only when another vCPU runs. The one that had to go may have something
 * to do, and can be taken by another CPU from now on: say so to one that idles.
 */
static void load(struct sched_cpu *cpu, struct vcpu *vcpu)
{
    struct vcpu *old = cpu->loaded;
    u64 others = 0;
    u32 index;

    if (old == vcpu)
        return;
    if (old) {
        vcpu_put(old);
        others = old->sched.queued ? vcpu_allowed(old) : 0;
    }
    if (vcpu->sched.loaded_last != cpu_index(cpu)) {
        vcpu->sched.loaded_last = cpu_index(cpu);
        machine->vcpu_moved(vcpu);
    }
    vcpu_load(vcpu);
    __atomic_store_n(&cpu->loaded, vcpu, __ATOMIC_SEQ_CST); /* `old` may be gone behind this */
    if (others && idle_claim(others, &index))
        cpu_kick(index);
}

/* Its state is in memory alone from here on. */
static void unload(struct sched_cpu *cpu, struct vcpu *vcpu)
{
    if (cpu->loaded != vcpu)
        return;
    vcpu_put(vcpu);
    __atomic_store_n(&cpu->loaded, NULL, __ATOMIC_SEQ_CST);
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

/*
 * Whatever its power state: what it asked of a device it, or another vCPU, may wait for. The device may ask
 * for another turn, so that one comes after the other without an entry into the guest.
 */
static void device_turn(struct vcpu *vcpu)
{
    vcpu_request_done(vcpu, REQUEST_DEVICE);
    machine->device_work(vcpu);
    sched_take_interrupts();
}

static void run_turn(struct sched_cpu *cpu, struct vcpu *vcpu)
{
    /* Who has asked for the VM's end, or for a reset, does not see that take its time on another CPU. */
    if (!READ_ONCE(vcpu->sched.active) || vm_is_leaving(vcpu->vm))
        return;
    if (READ_ONCE(vcpu->requests) & REQUEST_DEVICE)
        device_turn(vcpu);
    if (READ_ONCE(vcpu->requests) & REQUEST_POWER) {
        unload(cpu, vcpu);
        power_carry_out(vcpu);
    }
    if (vcpu->power.now.state == POWER_HALTED && halt_ends(vcpu))
        power_event(vcpu, POWER_INTERRUPT, 0, 0);
    if (READ_ONCE(vcpu->power.now.state) != POWER_RUNNABLE)
        return;
    load(cpu, vcpu);
    if (vcpu->sched.waited != vcpu->sched.waited_told) {
        vcpu->sched.waited_told = vcpu->sched.waited;
        machine->vcpu_waited(vcpu);
    }
    if (!READ_ONCE(vcpu->requests) || exit_prepare_entry(vcpu))
        engine->vcpu_run(vcpu);
}

static void end_turn(struct sched_cpu *cpu, struct vcpu *vcpu)
{
    u64 now;

    if (timer_is_set(&cpu->slice))
        timer_cancel(&cpu->slice);
    spinlock_take(&cpu->lock);
    now = sched_now();
    vcpu->sched.ran += now - vcpu->sched.started;
    vcpu->sched.virtual_time += vcpu_weighted(vcpu, now - vcpu->sched.started);
    budget_charge(&vcpu->vm->budget, now - vcpu->sched.started);
    if (!cpu->waiting && virtual_before(cpu->virtual_time, vcpu->sched.virtual_time))
        cpu->virtual_time = vcpu->sched.virtual_time;
    cpu->running = NULL;
    WRITE_ONCE(cpu->load, cpu->load - vcpu->vm->config->weight);
    if (may_queue(cpu, vcpu))
        queue_insert(cpu, vcpu, now);
    spinlock_release(&cpu->lock);
}

bool sched_round(void)
{
    struct sched_cpu *cpu = sched_this();
    struct vcpu *vcpu;

    lock_assert_none();
    work_run(cpu);
    balance(cpu);
    vcpu = choose_anywhere(cpu);
    if (!vcpu)
        return false;
    run_turn(cpu, vcpu);
    end_turn(cpu, vcpu);
    return true;
}

/*
 * Nobody wants this CPU: sleep until an interrupt. What came before HLT wakes it at once, since interrupts
 * were off.
 */
static void idle(struct sched_cpu *cpu)
{
    u64 start = sched_now();

    cpu_idle();
    cpu->idle_ticks += sched_now() - start;
    idle_over(cpu);
}

NORETURN void sched_loop(void)
{
    for (;;)
        if (!sched_round())
            idle(sched_this());
}

/* ---------------------------------------------------------------- what the rest of lintel asks */

/* On the CPU that has it. */
static void state_put(struct vcpu *vcpu, void *context)
{
    (void)context;
    unload(sched_this(), vcpu);
}

void sched_vcpu_remove(struct vcpu *vcpu)
{
    struct sched_cpu *cpu = vcpu_cpu_take(vcpu);
    bool on_cpu = cpu->running == vcpu || cpu->loaded == vcpu;

    WRITE_ONCE(vcpu->sched.active, false);
    if (vcpu->sched.queued)
        queue_take(cpu, vcpu, sched_now());
    spinlock_release(&cpu->lock);
    if (on_cpu)
        sched_call(vcpu, state_put, NULL);
}

void sched_vcpu_yield(struct vcpu *vcpu)
{
    struct sched_cpu *cpu = sched_this();

    if (list_empty(&cpu->work) && !READ_ONCE(cpu->waiting))
        return;
    cpu->yielded = vcpu;
    cpu->yielded_vm = vcpu->vm;
    vcpu_request(vcpu, REQUEST_RESCHEDULE);
}

void sched_vcpu_charge(struct vcpu *vcpu, u64 ticks)
{
    struct sched_cpu *cpu = vcpu_cpu_take(vcpu);

    vcpu->sched.virtual_time += vcpu_weighted(vcpu, ticks);
    spinlock_release(&cpu->lock);
    budget_charge(&vcpu->vm->budget, ticks);
}

void sched_vcpu_times(struct vcpu *vcpu, u64 *ran, u64 *waited)
{
    struct sched_cpu *cpu = vcpu_cpu_take(vcpu);
    u64 now = sched_now();

    *ran = vcpu->sched.ran + (cpu->running == vcpu ? now - vcpu->sched.started : 0);
    *waited = vcpu->sched.waited + (vcpu->sched.queued ? now - vcpu->sched.queued_at : 0);
    spinlock_release(&cpu->lock);
}
