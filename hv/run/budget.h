/* SPDX-License-Identifier: MIT */
/*
 * The cap of a VM: how many ticks of CPU its vCPUs may use together in each period. The scheduler asks and
 * charges, on any CPU; the budget's own lock. docs/manual.md, key `cap`.
 */
#ifndef HV_RUN_BUDGET_H
#define HV_RUN_BUDGET_H

#include "hv/lib/lock.h"

#define BUDGET_PERIOD_MS 100

struct budget {
    struct spinlock lock; /* RANK_BUDGET: all below */
    u64 share;            /* ticks in each period; 0: no cap, and nothing below counts */
    u64 period;           /* its length in ticks */
    u64 period_end;       /* host TSC */
    s64 left;             /* of this period; below 0: owed to the next ones */
};

/* cap: percent of one CPU, 0 for none. period: in ticks. */
void budget_init(struct budget *budget, u32 cap, u64 period, u64 now);

/* Ticks that may be used now: 0 for none before *again; ~0 without a cap. */
u64 budget_left(struct budget *budget, u64 now, u64 *again);
void budget_charge(struct budget *budget, u64 ticks);

#endif
