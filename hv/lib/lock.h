/* SPDX-License-Identifier: MIT */
/*
 * Ticket spin locks. lintel runs with interrupts off, so a lock needs no interrupt state; whoever waits spins
 * fairly in order of arrival. Each lock says at its definition what it guards and which rank it has: a CPU
 * that holds a lock takes only locks of a higher rank.
 */
#ifndef HV_LIB_LOCK_H
#define HV_LIB_LOCK_H

#include "hv/lib/panic.h"
#include "hv/lib/types.h"

/* The order in which locks may be taken, lowest first: RANK_MONITOR, and what its locks guard. */
#define LOCK_RANKS(RANK)                                                                    \
    RANK(MONITOR, "the operator's line that waits for the boot CPU")                        \
    RANK(PCI, "one PCI device of a VM, which copies guest memory under it")                 \
    RANK(MEDIA, "the drives with removable media, and what is known of their events")       \
    RANK(DRIVE, "one drive of the machine, whose data is copied under it")                  \
    RANK(CHANNEL, "which of two drives has their IDE channel")                              \
    RANK(VM, "one VM's nested tables and p2m")                                              \
    RANK(DEVICE, "one VM's device models, all but local APICs")                             \
    RANK(LAPIC, "one vCPU's local APIC")                                                    \
    RANK(POWER, "one vCPU's power state")                                                   \
    RANK(SCHEDULER, "one CPU's run queue")                                                  \
    RANK(BUDGET, "what a capped VM has left")                                               \
    RANK(CONSOLE, "the consoles' rings and who has the line")                               \
    RANK(MEMORY_WAIT, "the row of vCPUs that wait for a frame")                             \
    RANK(PAGING, "lintel's own page tables, whose pages are allocated under it; I/O APICs") \
    RANK(FRAME, "the frame allocator")                                                      \
    RANK(LOG, "the log's ring and the list of its sinks")                                   \
    RANK(SINK, "one sink's own state: the serial line, the screen")                         \
    RANK(TIMER, "one CPU's timer queue")

enum lock_rank {
    RANK_NONE,
#define LOCK_RANK(name, guards) RANK_##name,
    LOCK_RANKS(LOCK_RANK)
#undef LOCK_RANK
        RANK_COUNT
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

/*
 * A debug build keeps a list of the locks that each CPU holds (lock_check.c), and panics where a lock is
 * taken out of order, or released by a CPU that does not hold it. Of host tests those look that link it.
 */
#ifdef LINTEL_HOST_TEST
#define LOCK_CHECK    __attribute__((weak))
#define LOCKS_CHECKED (lock_check_take != NULL)
#else
#define LOCK_CHECK
#ifdef LINTEL_DEBUG
#define LOCKS_CHECKED true
#else
#define LOCKS_CHECKED false
#endif
#endif
void lock_check_take(const struct spinlock *lock) LOCK_CHECK; /* this CPU is about to */
void lock_check_release(const struct spinlock *lock) LOCK_CHECK;
bool lock_check_holds(const struct spinlock *lock) LOCK_CHECK; /* does this CPU? */
bool lock_check_holds_none(void) LOCK_CHECK;
/* Which CPU is this? Until it is told there is one alone. */
void lock_check_start(u32 (*cpu)(void)) LOCK_CHECK;
/* lintel panics: no order counts any more. */
void lock_check_end(void) LOCK_CHECK;

static inline void spinlock_init(struct spinlock *lock, enum lock_rank rank)
{
    *lock = (struct spinlock)SPINLOCK_INIT((u8)rank);
}

static inline void spinlock_take(struct spinlock *lock)
{
    u32 ticket;

    if (LOCKS_CHECKED)
        lock_check_take(lock);
    ticket = __atomic_fetch_add(&lock->next, 1, __ATOMIC_RELAXED);
    while (unlikely(__atomic_load_n(&lock->serving, __ATOMIC_ACQUIRE) != ticket))
        __builtin_ia32_pause();
}

static inline void spinlock_release(struct spinlock *lock)
{
    if (LOCKS_CHECKED)
        lock_check_release(lock);
    /* The holder alone writes it, and a store of x86 is a release: one instruction, without the bus lock. */
    asm volatile("incl %0" : "+m"(lock->serving) : : "memory");
}

/* By whichever CPU. */
static inline bool spinlock_is_taken(const struct spinlock *lock)
{
    return __atomic_load_n(&lock->serving, __ATOMIC_RELAXED) !=
           __atomic_load_n(&lock->next, __ATOMIC_RELAXED);
}

/* By this CPU, as far as the build knows: for assertions. */
static inline bool spinlock_held(const struct spinlock *lock)
{
    if (LOCKS_CHECKED)
        return lock_check_holds(lock);
    return spinlock_is_taken(lock);
}

static inline bool spinlock_held_none(void)
{
    if (LOCKS_CHECKED)
        return lock_check_holds_none();
    return true;
}

/* What a function wants of its caller; debug builds alone look. Not all host tests link a panic. */
#ifdef LINTEL_HOST_TEST
#define lock_assert(condition) ((condition) ? (void)0 : __builtin_trap())
#else
#define lock_assert(condition) debug_assert(condition)
#endif
#define lock_assert_held(lock) lock_assert(spinlock_held(lock))
#define lock_assert_none()     lock_assert(spinlock_held_none())

#endif
