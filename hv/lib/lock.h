/* SPDX-License-Identifier: MIT */
/*
 * Ticket spin locks. lintel runs with interrupts off, so a lock needs no interrupt state; whoever waits spins
 * fairly in order of arrival. Each lock says at its definition what it guards and which rank it has: a CPU
 * that holds a lock takes only locks of a higher rank.
 */
#ifndef HV_LIB_LOCK_H
#define HV_LIB_LOCK_H

#include "hv/lib/types.h"

/* The order in which locks may be taken, lowest first. */
enum lock_rank {
    RANK_MONITOR = 1, /* operator commands: one at a time */
    RANK_VM_LIST,     /* the list of VMs */
    RANK_VM,          /* one VM's life cycle and its p2m */
    RANK_DEVICE,      /* one VM's device models (all but local APICs) */
    RANK_LAPIC,       /* one vCPU's local APIC */
    RANK_POWER,       /* one vCPU's power state */
    RANK_SCHEDULER,   /* one CPU's run queue */
    RANK_BUDGET,      /* what a capped VM has left */
    RANK_CONSOLE,     /* console rings */
    RANK_MEMORY_WAIT, /* the row of vCPUs that wait for a frame; nothing is locked under it */
    RANK_PAGING,      /* lintel's own page tables; their pages are allocated under it */
    RANK_FRAME,       /* the frame allocator */
    RANK_LOG,         /* the log ring and the list of its sinks */
    RANK_SINK,        /* one sink's own state: the serial ring, the screen */
    RANK_TIMER,       /* one CPU's timer queue; nothing is locked under it, and a sink may set a timer */
};

struct spinlock {
    u32 next;    /* the ticket the next comer draws */
    u32 serving; /* the ticket that may enter */
    u8 rank;     /* enum lock_rank */
};

#define SPINLOCK_INIT(lock_rank) \
    {                            \
        .rank = (lock_rank)      \
    }

static inline void spinlock_init(struct spinlock *lock, enum lock_rank rank)
{
    *lock = (struct spinlock)SPINLOCK_INIT((u8)rank);
}

static inline void spinlock_take(struct spinlock *lock)
{
    u32 ticket = __atomic_fetch_add(&lock->next, 1, __ATOMIC_RELAXED);

    while (unlikely(__atomic_load_n(&lock->serving, __ATOMIC_ACQUIRE) != ticket))
        __builtin_ia32_pause();
}

static inline void spinlock_release(struct spinlock *lock)
{
    /* The holder alone writes it, and a store of x86 is a release: one instruction, without the bus lock. */
    asm volatile("incl %0" : "+m"(lock->serving) : : "memory");
}

static inline bool spinlock_held(const struct spinlock *lock)
{
    return __atomic_load_n(&lock->serving, __ATOMIC_RELAXED) !=
           __atomic_load_n(&lock->next, __ATOMIC_RELAXED);
}

#endif
