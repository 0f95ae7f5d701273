/* SPDX-License-Identifier: MIT */
/*
 * Who runs on which CPU: one run queue per CPU, the vCPU that had least for its weight comes first, a time
 * slice only where somebody else waits, HLT when nobody does. Every CPU ends its boot in sched_loop.
 *
 * A vCPU belongs to the CPU that vcpu->sched.cpu names; that CPU's lock guards its sched part, and no two of
 * these locks are ever held at once. It changes hands only while it is in no guest and its lazily switched
 * state is on no CPU: when it is woken and its own CPU is busy, or when a CPU with nothing to do takes it out
 * of another's queue. docs/manual.md, keys `weight`, `cap`, `cpus`.
 */
#ifndef HV_RUN_SCHED_H
#define HV_RUN_SCHED_H

#include "hv/run/timer.h"
#include "hv/run/vm.h"
#include "hv/run/work.h"

struct sched_cpu {
    /*
     * RANK_SCHEDULER: guards this line, `running`, `virtual_time`, and the sched part of this CPU's vCPUs.
     * Written by whoever wakes a vCPU here.
     */
    struct spinlock lock ALIGNED(64);
    struct list_node queue; /* vCPUs that wait for the CPU */
    u32 waiting;            /* how many; looked at without the lock, too */
    u32 load;               /* the weights of those who wait and of the one that runs; likewise */
    struct list_node work;

    /* Written by this CPU alone, so that looking whether a vCPU runs here costs its exits nothing. */
    struct vcpu *running ALIGNED(64); /* the one that has the CPU */
    struct vcpu *loaded; /* the one whose lazily switched state is on the CPU; others look under the lock */
    const struct vcpu
        *yielded; /* has offered the CPU, to vCPUs of yielded_vm before others; compared alone */
    const struct vm *yielded_vm;
    u64 virtual_time; /* of the vCPU chosen last: where a woken one starts */
    u64 idle_ticks;
    u64 balanced_at; /* when a vCPU was handed from or to it, to even the load; hint, no lock */

    struct timer_queue timers ALIGNED(64);
    struct timer slice;  /* end of the turn of the one that runs */
    struct timer budget; /* a capped VM may run again */
};
extern struct sched_cpu sched_cpus[];

void sched_init(void);          /* boot CPU, once, before any timer is set */
NORETURN void sched_loop(void); /* each CPU */
/* One round of it: work, then a turn of whoever is to run. False: nobody is; the CPU may sleep. */
bool sched_round(void);

/* Choose its CPU; it may be woken from now on. Boot CPU. */
void sched_vcpu_add(struct vcpu *vcpu);
/* It has something to do: queue it, or make its CPU look at its requests. Any CPU and context. */
void sched_vcpu_wake(struct vcpu *vcpu);
/*
 * Take it from its CPU for good and wait until it has left the guest; its state is in memory then. Boot CPU,
 * as work, no lock held.
 */
void sched_vcpu_remove(struct vcpu *vcpu);

/*
 * Run function on the CPU that has the vCPU's state, with the vCPU out of the guest and nobody giving it a
 * turn, and wait for the end. Boot CPU, as work, no lock held; function may take locks, but not call this.
 */
void sched_call(struct vcpu *vcpu, void (*function)(struct vcpu *vcpu, void *context), void *context);
/*
 * Wait until each other CPU has been between two turns: what it did before (a timer's fire, an exit) is over.
 * Boot CPU, as work, no lock held.
 */
void sched_pass_all(void);
/* Run function on every CPU, between two turns, and wait for the ends. As above. */
void sched_call_all(void (*function)(void));

/* The running vCPU offers its CPU, if anybody waits for it; rather to a vCPU of its own VM. Own CPU. */
void sched_vcpu_yield(struct vcpu *vcpu);

/* Work that was done on behalf of a vCPU that is not on a CPU counts as if it had run. Boot CPU. */
void sched_vcpu_charge(struct vcpu *vcpu, u64 ticks);
/* Ticks of CPU it had, its turn that goes on included; and ticks it waited for a CPU. Any CPU. */
void sched_vcpu_times(struct vcpu *vcpu, u64 *ran, u64 *waited);

static inline struct timer_queue *sched_timers(u32 cpu)
{
    return &sched_cpus[cpu].timers;
}

#endif
