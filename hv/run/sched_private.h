/* SPDX-License-Identifier: MIT */
/* What sched.c, sched_place.c, sched_queue.c and sched_work.c share. */
#ifndef HV_RUN_SCHED_PRIVATE_H
#define HV_RUN_SCHED_PRIVATE_H

#include "arch/x86/machine/cpu.h"
#include "arch/x86/machine/percpu.h"
#include "arch/x86/machine/tsc.h"
#include "hv/run/sched.h"

#define SLICE_US 4000

/* Host tests move the time themselves, have CPUs of their own, and let those go on meanwhile. */
#ifdef LINTEL_HOST_TEST
u64 sched_now(void);
void sched_pause(void);
void sched_take_interrupts(void);
#else
static inline void sched_take_interrupts(void)
{
    cpu_take_interrupts();
}

static inline void sched_pause(void)
{
    cpu_pause();
}

static inline u64 sched_now(void)
{
    return tsc_boot_now();
}
#endif

static inline struct sched_cpu *sched_this(void)
{
    return &sched_cpus[cpu_this()->index];
}

static inline u32 cpu_index(const struct sched_cpu *cpu)
{
    return (u32)(cpu - sched_cpus);
}

static inline u64 slice_ticks(void)
{
    return tsc_from_us(SLICE_US);
}

/* Virtual times have no fixed beginning: only how far one lies behind another counts. */
static inline bool virtual_before(u64 one, u64 other)
{
    return (s64)(one - other) < 0;
}

/* sched.c: make a CPU look at its requests: it leaves the guest, or its idle sleep. */
void cpu_kick(u32 index);

/* sched_place.c; no lock held but where it says so. */
/* Take the lock of the CPU to which the vCPU belongs. */
struct sched_cpu *vcpu_cpu_take(const struct vcpu *vcpu);
/* Lock held: it wants a turn, may have one, and waits in no queue. */
bool may_queue(const struct sched_cpu *cpu, const struct vcpu *vcpu);
/* sched_call has ended, or its life at this CPU begins: it may have turns again. */
void vcpu_release(struct vcpu *vcpu);
/* Take a vCPU out of another CPU's queue into that of this CPU, which has nothing to do. */
bool take_from_others(struct sched_cpu *cpu);
/* This CPU, which runs nobody, hands a vCPU that waits here to one for which less wait, if there is such. */
void balance(struct sched_cpu *cpu);
/* This CPU is about to sleep, or has something to do. */
void idle_announce(const struct sched_cpu *cpu);
void idle_over(const struct sched_cpu *cpu);
/* Take the bit of one that sleeps among these: the caller has something for it and kicks it. False: none. */
bool idle_claim(u64 among, u32 *index);

/* sched_queue.c; the CPU's lock is held. */
void queue_insert(struct sched_cpu *cpu, struct vcpu *vcpu, u64 now);
void queue_take(struct sched_cpu *cpu, struct vcpu *vcpu, u64 now);
/* It belongs to another CPU now; it is not queued. */
void vcpu_move(struct vcpu *vcpu, const struct sched_cpu *from, const struct sched_cpu *to);
/* One that was away may be so many ticks behind those of this CPU, not more. */
void vcpu_catch_up(const struct sched_cpu *cpu, struct vcpu *vcpu, u64 now, u64 behind);
/*
 * The vCPU in the queue of `from` that is to run next on `to`, which may be another CPU; NULL: none. Where a
 * budget is all that keeps one from it, the timer `to->budget` is set.
 */
struct vcpu *queue_choose(struct sched_cpu *from, struct sched_cpu *to, u64 now);
/* Ticks that count less the heavier the vCPU's VM is. */
u64 vcpu_weighted(const struct vcpu *vcpu, u64 ticks);
/* CPUs on which it may run, one bit each. */
u64 vcpu_allowed(const struct vcpu *vcpu);

/* sched_work.c: do the work of this CPU; between two turns, no lock held. */
void work_run(struct sched_cpu *cpu);

#endif
