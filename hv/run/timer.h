/* SPDX-License-Identifier: MIT */
/*
 * Timers: one queue per CPU, ordered by deadline in ticks of the boot CPU's TSC; the local APIC's timer is
 * set to the earliest (no periodic tick). fire runs on the queue's CPU with no lock held; it may set the
 * timer again. Whoever owns a timer sees to it (by a lock of theirs) that it is not set, cancelled and moved
 * at once.
 */
#ifndef HV_RUN_TIMER_H
#define HV_RUN_TIMER_H

#include "hv/lib/lock.h"

#define TIMER_NEVER (~0ull)

struct timer {
    u64 deadline; /* TIMER_NEVER: not set */
    void (*fire)(struct timer *timer);
    struct timer_queue *queue;
    struct timer *child, *sibling, **link; /* pairing heap */
};

struct timer_queue {
    struct timer *first;  /* the earliest */
    struct spinlock lock; /* RANK_TIMER: all of the queue and its timers' places in it */
    u64 programmed;       /* deadline the hardware knows */
    bool running;         /* in timer_queue_run, which programs the hardware at its end */
    u32 cpu;              /* index of the CPU that owns the queue */
    const struct timer_hardware *hardware;
};

/* Called under the queue's lock. */
struct timer_hardware {
    void (*program)(u64 deadline_tsc); /* the timer of this CPU, which owns the queue */
    void (*kick)(u32 cpu);             /* another CPU owns it: make it call timer_queue_look */
};

void timer_queue_init(struct timer_queue *queue, u32 cpu, const struct timer_hardware *hardware);
void timer_init(struct timer *timer, struct timer_queue *queue, void (*fire)(struct timer *timer));

/*
 * (Re)set or cancel; harmless when not set. Any CPU: that of the queue is kicked if the timer is due before
 * all it knows of. After timer_cancel on another CPU fire may still be running there.
 */
void timer_set(struct timer *timer, u64 deadline_tsc);
void timer_cancel(struct timer *timer);
/* To another queue, with its deadline if it is set. Any CPU. */
void timer_move(struct timer *timer, struct timer_queue *queue);
static inline bool timer_is_set(const struct timer *timer)
{
    return READ_ONCE(timer->deadline) != TIMER_NEVER;
}

/* Fire all that are due at `now`, then program the hardware anew. Owner CPU. */
void timer_queue_run(struct timer_queue *queue, u64 now);
/* Another CPU may have set a timer: program the hardware if so. Owner CPU. */
void timer_queue_look(struct timer_queue *queue);

#endif
