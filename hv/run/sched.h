/* SPDX-License-Identifier: MIT */
/*
 * Who runs on which CPU: one run queue per CPU, the vCPU that had least comes first, a time slice only where somebody
 * else waits, HLT when nobody does. Every CPU ends its boot in sched_loop.
 */
#ifndef HV_RUN_SCHED_H
#define HV_RUN_SCHED_H

#include "hv/run/timer.h"
#include "hv/run/vm.h"

/* Something to do on a CPU between vCPUs (monitor lines, resets): runs once per sched_work_queue. */
struct sched_work {
    void (*run)(struct sched_work *work);
    struct list_node node;
    bool queued;
};

struct sched_cpu {
    struct spinlock lock;       /* RANK_SCHEDULER: queue and work */
    struct list_node queue;     /* runnable vCPUs that wait */
    struct list_node work;
    struct vcpu *running;       /* the one that has the CPU */
    struct vcpu *loaded;        /* the one whose lazily switched state is on the CPU */
    struct timer_queue timers;
    struct timer slice;
    u64 virtual_time;           /* the least any runnable one has had: where a waking one starts */
    u64 idle_ticks;
};
extern struct sched_cpu sched_cpus[];

void sched_init(void);                        /* boot CPU, once */
NORETURN void sched_loop(void);               /* each CPU */
void sched_work_queue(struct sched_work *work); /* runs on the boot CPU */
void sched_vcpu_add(struct vcpu *vcpu);       /* choose its CPU */
void sched_vcpu_wake(struct vcpu *vcpu);      /* became runnable */
void sched_vcpu_remove(struct vcpu *vcpu);    /* halted, stopped; waits until it has left the guest unless called on its own CPU */

static inline struct timer_queue *sched_timers(u32 cpu)
{
    return &sched_cpus[cpu].timers;
}

#endif
