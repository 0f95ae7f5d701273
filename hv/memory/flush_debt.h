/* SPDX-License-Identifier: MIT */
/*
 * Who still owes a TLB flush. No emulator shows a forgotten one, so a debug build keeps account: each removal
 * or tightening of a nested mapping is a debt of every vCPU that may hold translations (it entered the guest
 * since its last flush), until that vCPU is outside the guest with a flush ahead of its next entry. A frame
 * that gets another owner meanwhile is a panic, and so is a vCPU that enters with a debt and no flush ahead.
 * Debts are numbered: who takes frames out of a running guest waits for those up to its own (vm_flush.h),
 * whatever others open meanwhile. Nothing of it is left in other builds.
 *
 * Any CPU: words are atomic; debts are opened and asked for under the VM's lock, or while no vCPU runs.
 */
#ifndef HV_MEMORY_FLUSH_DEBT_H
#define HV_MEMORY_FLUSH_DEBT_H

#include "hv/lib/lock.h"
#include "hv/lib/panic.h"

/* One bit per vCPU. */
struct flush_debt {
    u32 holders;  /* may hold translations */
    u32 open;     /* holds such as are wrong now, and nothing was done about it */
    u32 asked;    /* the same, but it will flush before it enters again */
    u32 number;   /* how often debts were opened */
    u32 finished; /* up to this number all of them are done with */
};

#ifdef LINTEL_DEBUG
/* A mapping was removed or tightened. */
static inline void flush_debt_open(struct flush_debt *debt)
{
    __atomic_fetch_add(&debt->number, 1, __ATOMIC_ACQ_REL);
    __atomic_fetch_or(&debt->open, __atomic_load_n(&debt->holders, __ATOMIC_ACQUIRE), __ATOMIC_ACQ_REL);
}

/* The number of the latest debt; what is taken away under the VM's lock belongs to it. */
static inline u32 flush_debt_now(const struct flush_debt *debt)
{
    return __atomic_load_n(&debt->number, __ATOMIC_ACQUIRE);
}

/* Every vCPU has been outside the guest since this number, with a flush ahead. */
static inline void flush_debt_finish(struct flush_debt *debt, u32 number)
{
    u32 finished = __atomic_load_n(&debt->finished, __ATOMIC_RELAXED);

    while ((s32)(number - finished) > 0)
        if (__atomic_compare_exchange_n(&debt->finished, &finished, number, false, __ATOMIC_ACQ_REL,
                                        __ATOMIC_RELAXED))
            return;
}

/* vCPU is outside the guest and stays there meanwhile, and a flush before its next entry is certain. */
static inline void flush_debt_ask(struct flush_debt *debt, u32 vcpu)
{
    u32 bit = __atomic_load_n(&debt->open, __ATOMIC_ACQUIRE) & BIT(vcpu);

    __atomic_fetch_or(&debt->asked, bit, __ATOMIC_ACQ_REL);
    __atomic_fetch_and(&debt->open, ~bit, __ATOMIC_ACQ_REL);
}

/* vCPU's translations are gone, or the vCPU is. */
static inline void flush_debt_settle(struct flush_debt *debt, u32 vcpu)
{
    u32 others = ~(u32)BIT(vcpu);

    __atomic_fetch_and(&debt->holders, others, __ATOMIC_ACQ_REL);
    __atomic_fetch_and(&debt->open, others, __ATOMIC_ACQ_REL);
    __atomic_fetch_and(&debt->asked, others, __ATOMIC_ACQ_REL);
}

/*
 * vCPU enters the guest, unless a flush is among its requests. Who is just changing mappings holds the lock
 * and has not come to asking yet; the order of the three looks makes that sure.
 */
static inline void flush_debt_enter(struct flush_debt *debt, u32 vcpu, const struct spinlock *lock,
                                    const u32 *requests, u32 flush)
{
    bool owes =
        (__atomic_load_n(&debt->open, __ATOMIC_ACQUIRE) | __atomic_load_n(&debt->asked, __ATOMIC_ACQUIRE)) &
        BIT(vcpu);

    if (owes && !spinlock_is_taken(lock) && !(__atomic_load_n(requests, __ATOMIC_ACQUIRE) & flush))
        panic("vCPU %u enters the guest and owes a TLB flush", vcpu);
    __atomic_fetch_or(&debt->holders, (u32)BIT(vcpu), __ATOMIC_ACQ_REL);
}

/*
 * A frame that the guest could reach, and that was taken away when flush_debt_now said `number`, is about to
 * get another owner.
 */
static inline void flush_debt_check_since(const struct flush_debt *debt, u32 number)
{
    u32 open = __atomic_load_n(&debt->open, __ATOMIC_ACQUIRE);

    if (open != 0 && (s32)(__atomic_load_n(&debt->finished, __ATOMIC_ACQUIRE) - number) < 0)
        panic("a frame changes its owner while vCPUs %#x owe a TLB flush", open);
}

/* The same, whenever it was taken away. */
static inline void flush_debt_check(const struct flush_debt *debt)
{
    flush_debt_check_since(debt, flush_debt_now(debt));
}
#else
static inline void flush_debt_open(struct flush_debt *debt)
{
    (void)debt;
}

static inline u32 flush_debt_now(const struct flush_debt *debt)
{
    (void)debt;
    return 0;
}

static inline void flush_debt_finish(struct flush_debt *debt, u32 number)
{
    (void)debt;
    (void)number;
}

static inline void flush_debt_ask(struct flush_debt *debt, u32 vcpu)
{
    (void)debt;
    (void)vcpu;
}

static inline void flush_debt_settle(struct flush_debt *debt, u32 vcpu)
{
    (void)debt;
    (void)vcpu;
}

static inline void flush_debt_enter(struct flush_debt *debt, u32 vcpu, const struct spinlock *lock,
                                    const u32 *requests, u32 flush)
{
    (void)debt;
    (void)vcpu;
    (void)lock;
    (void)requests;
    (void)flush;
}

static inline void flush_debt_check(const struct flush_debt *debt)
{
    (void)debt;
}

static inline void flush_debt_check_since(const struct flush_debt *debt, u32 number)
{
    (void)debt;
    (void)number;
}
#endif

#endif
