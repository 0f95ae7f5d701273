/* SPDX-License-Identifier: MIT */
/*
 * Who runs on which CPU: one run queue per CPU, the vCPU that had least comes first, a time slice only where
 * somebody else waits, HLT when nobody does. Every CPU ends its boot in sched_loop.
 */
#ifndef HV_RUN_SCHED_H
#define HV_RUN_SCHED_H

#include "hv/run/timer.h"
#include "hv/run/vm.h"
#include "hv/run/work.h"

struct sched_cpu {
    struct spinlock
        lock; /* RANK_SCHEDULER: guards the queue, the work list and the sched part of this CPU's vCPUs */
    struct list_node queue; /* runnable vCPUs that wait */
    struct list_node work;
    struct vcpu *running; /* the one that has the CPU */
    struct vcpu *loaded;  /* the one whose lazily switched state is on the CPU; own CPU alone */
    struct timer_queue timers;
    struct timer slice;
    u64 virtual_time; /* of the vCPU chosen last: where a woken one starts */
    u64 idle_ticks;
};
extern struct sched_cpu sched_cpus[];

void sched_init(void);          /* boot CPU, once, before any timer is set */
NORETURN void sched_loop(void); /* each CPU */

void sched_vcpu_add(struct vcpu *vcpu);  /* choose its CPU; it may be woken from now on */
void sched_vcpu_wake(struct vcpu *vcpu); /* it has something to do: queue it, or make its CPU look */
/*
 * Take it from its CPU for good and wait until it has left the guest; its state is in memory then. Not from
 * an exit of that very vCPU: use work.
 */
void sched_vcpu_remove(struct vcpu *vcpu);

/* Does anybody else wait for this CPU? */
bool sched_others_wait(void);

static inline struct timer_queue *sched_timers(u32 cpu)
{
    return &sched_cpus[cpu].timers;
}

#endif
