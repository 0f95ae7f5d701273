/* SPDX-License-Identifier: MIT */
/*
 * Work of CPUs between two turns of vCPUs, and what the boot CPU wants of other CPUs and waits for. Nobody
 * else waits for a CPU, and the boot CPU holds no lock meanwhile: so no two can wait for each other.
 */
#include "hv/run/sched_private.h"

#include "hv/lib/panic.h"

void sched_work_queue_on(u32 index, struct sched_work *work)
{
    struct sched_cpu *cpu = &sched_cpus[index];

    spinlock_take(&cpu->lock);
    if (!work->queued) {
        work->queued = true;
        list_add_before(&cpu->work, &work->node);
    }
    if (cpu->running)
        vcpu_request(cpu->running, REQUEST_RESCHEDULE);
    spinlock_release(&cpu->lock);
    cpu_kick(index);
}

void sched_work_queue(struct sched_work *work)
{
    sched_work_queue_on(0, work);
}

static struct sched_work *work_take(struct sched_cpu *cpu)
{
    struct sched_work *work = NULL;

    spinlock_take(&cpu->lock);
    if (!list_empty(&cpu->work)) {
        work = list_entry(cpu->work.next, struct sched_work, node);
        list_remove(&work->node);
        work->queued = false;
    }
    spinlock_release(&cpu->lock);
    return work;
}

void work_run(struct sched_cpu *cpu)
{
    struct sched_work *work;

    while ((work = work_take(cpu)) != NULL) {
        work->run(work);
        lock_assert_none();
    }
}

/* ---------------------------------------------------------------- work that is waited for */

struct call {
    struct sched_work work;
    struct vcpu *vcpu;
    void (*function)(struct vcpu *vcpu, void *context);
    void *context;
    void (*each)(void); /* the same, of no vCPU */
    bool done;
};

static void call_run(struct sched_work *work)
{
    struct call *call = container_of(work, struct call, work);

    if (call->function)
        call->function(call->vcpu, call->context);
    if (call->each)
        call->each();
    __atomic_store_n(&call->done, true, __ATOMIC_RELEASE); /* the caller's stack is not ours from here on */
}

static void call_on(u32 index, struct call *call)
{
    call->work.run = call_run;
    list_init(&call->work.node);
    sched_work_queue_on(index, &call->work);
    while (!__atomic_load_n(&call->done, __ATOMIC_ACQUIRE))
        cpu_pause();
}

void sched_call(struct vcpu *vcpu, void (*function)(struct vcpu *vcpu, void *context), void *context)
{
    struct call call = {.vcpu = vcpu, .function = function, .context = context};
    struct sched_cpu *cpu;

    assert(cpu_this()->index == 0);
    lock_assert_none();
    cpu = vcpu_cpu_take(vcpu);
    vcpu->sched.held = true; /* it stays at this CPU, too */
    spinlock_release(&cpu->lock);
    if (cpu == sched_this())
        function(vcpu, context); /* as work, so nobody has a turn here */
    else
        call_on(cpu_index(cpu), &call);
    vcpu_release(vcpu);
}

static void call_others(void (*function)(void))
{
    lock_assert_none();
    assert(cpu_this()->index == 0);
    for (u32 i = 1; i < cpu_count; i++) {
        struct call call = {.each = function};

        call_on(i, &call);
    }
}

void sched_pass_all(void)
{
    call_others(NULL);
}

void sched_call_all(void (*function)(void))
{
    call_others(function);
    function();
}
