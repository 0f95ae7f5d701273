/* SPDX-License-Identifier: MIT */
/*
 * Timers: one queue per CPU, ordered by deadline in host TSC ticks; the local APIC's timer is set to the
 * earliest (no periodic tick). A timer belongs to one queue for life. fire runs on that queue's CPU with no
 * lock held; it may set the timer again.
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
    struct timer *first; /* the earliest */
    struct spinlock lock;
    u64 programmed;                    /* deadline the hardware knows */
    bool running;                      /* in timer_queue_run, which programs the hardware at its end */
    void (*program)(u64 deadline_tsc); /* hardware of the CPU that owns the queue */
};

void timer_queue_init(struct timer_queue *queue, void (*program)(u64 deadline_tsc));
void timer_init(struct timer *timer, struct timer_queue *queue, void (*fire)(struct timer *timer));

/*
 * (Re)set or cancel; harmless when not set. Any CPU; a timer of another CPU's queue is seen by it at its next
 * interrupt.
 */
void timer_set(struct timer *timer, u64 deadline_tsc);
void timer_cancel(struct timer *timer);
static inline bool timer_is_set(const struct timer *timer)
{
    return timer->deadline != TIMER_NEVER;
}

/* Fire all that are due at `now`, then program the hardware anew. Owner CPU. */
void timer_queue_run(struct timer_queue *queue, u64 now);

#endif
