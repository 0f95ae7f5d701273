/* SPDX-License-Identifier: MIT */
/*
 * Budgets of capped VMs (contract in the header). No timer refills them: whoever asks first after the end of
 * a period does. What was used too much, as several CPUs can't stop at the same tick, is owed to the next
 * periods; what was not used is lost, so that nobody saves up for a burst.
 */
#include "hv/run/budget.h"

void budget_init(struct budget *budget, u32 cap, u64 period, u64 now)
{
    *budget = (struct budget){.share = period / 100 * cap, .period = period, .period_end = now + period};
    spinlock_init(&budget->lock, RANK_BUDGET);
    budget->left = (s64)budget->share;
}

static void refill(struct budget *budget, u64 now)
{
    u64 periods;

    lock_assert_held(&budget->lock);
    if (now < budget->period_end)
        return;
    periods = (now - budget->period_end) / budget->period + 1;
    budget->period_end += periods * budget->period;
    budget->left = MIN(budget->left + (s64)(periods * budget->share), (s64)budget->share);
}

u64 budget_left(struct budget *budget, u64 now, u64 *again)
{
    u64 left;

    if (likely(budget->share == 0))
        return ~0ull;
    spinlock_take(&budget->lock);
    refill(budget, now);
    left = (u64)MAX(budget->left, 0);
    *again = budget->period_end;
    spinlock_release(&budget->lock);
    return left;
}

void budget_charge(struct budget *budget, u64 ticks)
{
    if (likely(budget->share == 0))
        return;
    spinlock_take(&budget->lock);
    budget->left -= (s64)ticks;
    spinlock_release(&budget->lock);
}
