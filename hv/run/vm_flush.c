/* SPDX-License-Identifier: MIT */
/*
 * Flushes of nested translations, finished (contract in the header). Each vCPU has two numbers: how many
 * flushes were wanted of it, and up to which it has promised. Who wants one draws a number, sets
 * REQUEST_FLUSH and kicks; the vCPU leaves the guest, finds the request at the door back into it, where
 * requests are tested anyway, and promises. So the common exits know nothing of all this.
 */
#include "hv/run/vm_flush.h"

#include "hv/run/sched_private.h"

/*
 * The CPU on which it has a turn, if that is another one: else it is outside the guest, and its next entry
 * begins with its requests. While this CPU looks it neither begins a turn nor ends one.
 */
static struct sched_cpu *cpu_of_turn(const struct vcpu *vcpu, struct flush_debt *debt)
{
    struct sched_cpu *cpu = vcpu_cpu_take(vcpu);
    bool elsewhere = cpu->running == vcpu && cpu != sched_this();

    if (!elsewhere)
        flush_debt_ask(debt, vcpu->index);
    spinlock_release(&cpu->lock);
    return elsewhere ? cpu : NULL;
}

void vm_flush_request(void *context)
{
    struct vm *vm = context;

    for (u32 i = 0; i < vm->vcpu_count; i++) {
        struct vcpu *vcpu = vm->vcpus[i];
        struct sched_cpu *cpu;

        __atomic_fetch_add(&vcpu->flush.wanted, 1, __ATOMIC_ACQ_REL);
        vcpu_request(vcpu, REQUEST_FLUSH);
        cpu = cpu_of_turn(vcpu, &vm->memory.flush_debt);
        if (cpu)
            cpu_kick(cpu_index(cpu));
    }
}

/*
 * The vCPU that is served here waits, too, and is outside the guest. Whoever wants a flush of it may not have
 * come to set the request yet, so it is set here.
 */
static void promise_own(void)
{
    struct vcpu *own = sched_this()->running;

    if (!own || READ_ONCE(own->flush.wanted) == own->flush.promised)
        return;
    vcpu_request(own, REQUEST_FLUSH);
    vcpu_flush_promise(own);
}

static bool has_promised(const struct vcpu *vcpu, u32 wanted)
{
    return (s32)(__atomic_load_n(&vcpu->flush.promised, __ATOMIC_ACQUIRE) - wanted) >= 0;
}

/* The end of a turn is as good as a promise: the handler is over, and the next turn begins with requests. */
static void flush_wait(struct vcpu *vcpu, struct flush_debt *debt)
{
    u32 wanted = __atomic_load_n(&vcpu->flush.wanted, __ATOMIC_ACQUIRE);
    const struct sched_cpu *cpu;

    if (has_promised(vcpu, wanted))
        return;
    cpu = cpu_of_turn(vcpu, debt);
    while (cpu && !has_promised(vcpu, wanted) && __atomic_load_n(&cpu->running, __ATOMIC_ACQUIRE) == vcpu) {
        promise_own();
        sched_pause();
    }
}

void vm_flush_finish(struct vm *vm)
{
    u32 debts = flush_debt_now(&vm->memory.flush_debt);

    lock_assert_none();
    for (u32 i = 0; i < vm->vcpu_count; i++)
        flush_wait(vm->vcpus[i], &vm->memory.flush_debt);
    flush_debt_finish(&vm->memory.flush_debt, debts);
}
